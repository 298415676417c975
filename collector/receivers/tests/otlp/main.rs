//! The receivers over real sockets: each row of OTLP's rules, over gRPC and over HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backpressure;
mod fairness;
mod faults;
mod grpc;
mod http;
mod json;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use highwater_model::normalise::Rules;
use highwater_model::otlp::decode_span;
use highwater_model::raw::RawSpan;
use highwater_model::{Batch, Span};
use highwater_pipeline::{Commit, CommitError, Committed, pipeline};
use highwater_receivers::{
    CountersSnapshot, Options, ReceiverContext, ServeError, serve_grpc, serve_http,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; a test that needs it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the writer at the end of the pipeline does: it commits when the gate lets it, and keeps what it committed.
/// A real store cannot be made to wait or to fail at a chosen moment.
struct Store {
    /// One permit a commit.
    gate: Arc<Semaphore>,
    /// One permit a commit that has begun.
    begun: Arc<Semaphore>,
    fail_next: Arc<Mutex<bool>>,
    kept: Arc<Mutex<Vec<Batch>>>,
}

impl Commit for Store {
    async fn commit(&mut self, batches: &[Batch]) -> Result<Committed, CommitError> {
        self.begun.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        if std::mem::take(&mut *self.fail_next.lock()) {
            return Err(CommitError {
                reason: "no space left on device".into(),
            });
        }
        self.kept.lock().extend_from_slice(batches);
        Ok(Committed {
            block: 1,
            stored: batches.iter().map(|batch| batch.spans.len()).sum(),
            duplicates: 0,
        })
    }
}

/// Both receivers on free ports, with a pipeline behind them.
struct Receiver {
    http: SocketAddr,
    grpc: SocketAddr,
    gate: Arc<Semaphore>,
    begun: Arc<Semaphore>,
    fail_next: Arc<Mutex<bool>>,
    kept: Arc<Mutex<Vec<Batch>>>,
    context: Arc<ReceiverContext>,
    shutdown: CancellationToken,
    servers: Vec<JoinHandle<Result<(), ServeError>>>,
}

/// As it is by default, with a queue of 1,000 spans and a store that commits at once.
async fn receiver() -> Receiver {
    receiver_with(Options::default(), 1_000).await
}

async fn receiver_with(options: Options, queue_spans: usize) -> Receiver {
    let (sender, writer) = pipeline(queue_spans);
    let gate = Arc::new(Semaphore::new(100_000));
    let begun = Arc::new(Semaphore::new(0));
    let fail_next = Arc::default();
    let kept = Arc::default();
    tokio::spawn(writer.run(Store {
        gate: Arc::clone(&gate),
        begun: Arc::clone(&begun),
        fail_next: Arc::clone(&fail_next),
        kept: Arc::clone(&kept),
    }));
    let context = Arc::new(ReceiverContext::new(sender, Rules::default(), options));
    let shutdown = CancellationToken::new();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Receiver {
        http: http.local_addr().unwrap(),
        grpc: grpc.local_addr().unwrap(),
        gate,
        begun,
        fail_next,
        kept,
        servers: vec![
            tokio::spawn(serve_http(http, Arc::clone(&context), shutdown.clone())),
            tokio::spawn(serve_grpc(grpc, Arc::clone(&context), shutdown.clone())),
        ],
        context,
        shutdown,
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Receiver {
    /// From here on commits wait for [`Self::open`].
    fn close(&self) {
        self.gate.forget_permits(usize::MAX >> 4);
    }

    fn open(&self) {
        self.gate.add_permits(100_000);
    }

    /// Waits until the writer is inside a commit.
    async fn commit_begins(&self) {
        within(self.begun.acquire()).await.unwrap().forget();
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    fn spans(&self) -> Vec<Span> {
        self.kept
            .lock()
            .iter()
            .flat_map(|batch| batch.spans.iter().map(|span| span.span.clone()))
            .collect()
    }

    fn raw_spans(&self) -> Vec<RawSpan> {
        self.kept
            .lock()
            .iter()
            .flat_map(|batch| &batch.spans)
            .map(|span| decode_span(&span.raw).unwrap())
            .collect()
    }

    fn names(&self) -> Vec<String> {
        self.spans()
            .iter()
            .map(|span| span.name.to_string())
            .collect()
    }

    fn counters(&self) -> CountersSnapshot {
        self.context.counters().snapshot()
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}"))
}

fn span(id: u8) -> ProtoSpan {
    ProtoSpan {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: format!("span {id}"),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_000,
        ..ProtoSpan::default()
    }
}

fn request(spans: Vec<ProtoSpan>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![KeyValue {
                    key: "service.name".to_owned(),
                    value: Some(AnyValue {
                        value: Some(Value::StringValue("billing".to_owned())),
                    }),
                    ..KeyValue::default()
                }],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: None,
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// A request whose encoding is at least so long and compresses well.
fn large_request(bytes: usize) -> ExportTraceServiceRequest {
    let mut large = span(1);
    large.name = "x".repeat(bytes);
    request(vec![large])
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// `google.rpc.Status`, read independently of the code under test.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
