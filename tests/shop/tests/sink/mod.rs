//! A collector that keeps every span it is sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// The running collector; ends with the test's runtime.
pub(crate) struct Sink {
    port: u16,
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

/// A record that a producer span says was sent.
pub(crate) struct Send {
    pub(crate) service: String,
    pub(crate) topic: String,
}

/// A delivery attempt that a consumer span, or a link of a batch's span, says there was.
pub(crate) struct Attempt {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) failed: bool,
}

struct Receiver(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource_spans in request.into_inner().resource_spans {
            let resource = resource_spans.resource.unwrap_or_default();
            let service = text(&resource.attributes, "service.name").unwrap_or_default();
            assert_eq!(
                text(&resource.attributes, "service.namespace").as_deref(),
                Some("shop")
            );
            let spans = resource_spans
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            self.0
                .lock()
                .unwrap()
                .extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Sink {
    pub(crate) async fn start() -> Sink {
        let spans = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = TraceServiceServer::new(Receiver(Arc::clone(&spans)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Sink { port, spans }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Producer spans without an error; each must say which record it sent, and whose.
    pub(crate) fn sends(&self) -> Vec<Send> {
        let spans = self.spans.lock().unwrap();
        let sends = spans
            .iter()
            .filter(|(_, span)| span.kind == SpanKind::Producer as i32 && !failed(span));
        sends
            .map(|(service, span)| {
                assert!(
                    integer(&span.attributes, "messaging.kafka.offset").is_some(),
                    "{span:?}"
                );
                assert!(
                    text(&span.attributes, "messaging.destination.partition.id").is_some(),
                    "{span:?}"
                );
                assert!(
                    value(&span.attributes, "messaging.header.correlation_id").is_some(),
                    "{span:?}"
                );
                Send {
                    service: service.clone(),
                    topic: text(&span.attributes, "messaging.destination.name").unwrap(),
                }
            })
            .collect()
    }

    /// Delivery attempts; those of a single record are children of its send, those of a batch link to theirs.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let spans = self.spans.lock().unwrap();
        let sent: std::collections::HashSet<_> = spans
            .iter()
            .filter(|(_, span)| span.kind == SpanKind::Producer as i32)
            .map(|(_, span)| (span.trace_id.clone(), span.span_id.clone()))
            .collect();
        let mut attempts = Vec::new();
        for (_, span) in spans
            .iter()
            .filter(|(_, span)| span.kind == SpanKind::Consumer as i32)
        {
            let attempt = || Attempt {
                group: text(&span.attributes, "messaging.consumer.group.name").unwrap(),
                topic: text(&span.attributes, "messaging.destination.name").unwrap(),
                failed: failed(span),
            };
            if span.links.is_empty() {
                assert!(
                    sent.contains(&(span.trace_id.clone(), span.parent_span_id.clone())),
                    "no send: {span:?}"
                );
                attempts.push(attempt());
            } else {
                assert!(
                    span.parent_span_id.is_empty(),
                    "a batch is a root: {span:?}"
                );
                let count = integer(&span.attributes, "messaging.batch.message_count");
                assert_eq!(count, i64::try_from(span.links.len()).ok());
                for link in &span.links {
                    assert!(
                        sent.contains(&(link.trace_id.clone(), link.span_id.clone())),
                        "no send: {link:?}"
                    );
                    assert!(
                        integer(&link.attributes, "messaging.kafka.offset").is_some(),
                        "{link:?}"
                    );
                    attempts.push(attempt());
                }
            }
        }
        attempts
    }
}

fn failed(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code == StatusCode::Error as i32)
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|attribute| attribute.key == key)?
        .value
        .as_ref()?
        .value
        .as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn integer(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}
