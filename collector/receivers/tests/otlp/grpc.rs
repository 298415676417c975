//! OTLP over gRPC, by the stock client and by hand.

use highwater_receivers::Options;
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use prost::Message;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tower::{Service, ServiceExt};

use super::{Receiver, gzip, large_request, receiver, receiver_with, request, span};

pub(super) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

async fn channel(receiver: &Receiver) -> Channel {
    Endpoint::from_shared(format!("http://{}", receiver.grpc))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// Sends `body` as it is, and returns the call's status.
pub(super) async fn raw(
    receiver: &Receiver,
    path: &str,
    encoding: Option<&str>,
    body: Vec<u8>,
) -> (Code, String) {
    call(receiver, path, encoding, Body::new(Full::from(body))).await
}

pub(super) async fn call(
    receiver: &Receiver,
    path: &str,
    encoding: Option<&str>,
    body: Body,
) -> (Code, String) {
    let mut builder = http::Request::post(format!("http://{}{path}", receiver.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        builder = builder.header("grpc-encoding", encoding);
    }
    let request = builder.body(body).unwrap();
    let mut channel = channel(receiver).await;
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let trailers = body
        .collect()
        .await
        .unwrap()
        .trailers()
        .cloned()
        .unwrap_or_default();
    let of = |name: &str| {
        head.headers
            .get(name)
            .or_else(|| trailers.get(name))
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let code: i32 = of("grpc-status").unwrap().parse().unwrap();
    (Code::from(code), of("grpc-message").unwrap_or_default())
}

pub(super) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn the_stock_client_is_served_plain_and_gzipped() {
    let receiver = receiver().await;
    let mut client = TraceServiceClient::new(channel(&receiver).await);
    let response = client
        .export(request(vec![span(1)]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(response.partial_success, None);
    let mut client = client
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    client.export(request(vec![span(2)])).await.unwrap();
    // Larger than tonic's own limit of 4 MiB, and decoded on a blocking thread.
    let many = (0..100_000)
        .map(|n| span(u8::try_from(n % 255).unwrap() + 1))
        .collect();
    let large = request(many);
    assert!(large.encoded_len() > 4 << 20);
    client.export(large).await.unwrap();
    assert_eq!(receiver.spans().len(), 100_002);
    assert_eq!(&*receiver.spans()[0].service.name, "billing");
}

#[tokio::test]
async fn an_empty_request_succeeds() {
    let receiver = receiver().await;
    let mut client = TraceServiceClient::new(channel(&receiver).await);
    assert_eq!(
        client
            .export(request(Vec::new()))
            .await
            .unwrap()
            .into_inner()
            .partial_success,
        None
    );
    assert_eq!(
        raw(&receiver, EXPORT, None, frame(0, b"")).await.0,
        Code::Ok
    );
    assert_eq!(
        raw(&receiver, EXPORT, Some("identity"), frame(0, b""))
            .await
            .0,
        Code::Ok
    );
}

#[tokio::test]
async fn spans_with_invalid_ids_are_a_partial_success() {
    let receiver = receiver().await;
    let mut bad = span(1);
    bad.trace_id = Vec::new();
    let mut client = TraceServiceClient::new(channel(&receiver).await);
    let partial = client
        .export(request(vec![bad, span(2)]))
        .await
        .unwrap()
        .into_inner()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("trace id"));
    assert_eq!(receiver.names(), ["span 2"]);
}

#[tokio::test]
async fn a_message_above_the_limit_is_resource_exhausted_without_retry_info() {
    let options = Options {
        max_request_bytes: 100_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    let mut plain = TraceServiceClient::new(channel(&receiver).await);
    let mut gzipped = plain.clone().send_compressed(CompressionEncoding::Gzip);
    for client in [&mut plain, &mut gzipped] {
        let refused = client.export(large_request(100_001)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.details().is_empty(),
            "RetryInfo would make it come again"
        );
        client.export(large_request(90_000)).await.unwrap();
    }
    let bomb = frame(1, &gzip(&vec![0; 10_000_000]));
    assert_eq!(
        raw(&receiver, EXPORT, Some("gzip"), bomb).await.0,
        Code::ResourceExhausted
    );
    assert_eq!(receiver.counters().refused_too_large, 3);
}

#[tokio::test]
async fn malformed_calls_are_invalid_arguments() {
    let receiver = receiver().await;
    let good = request(vec![span(1)]).encode_to_vec();
    let cut = &good[..good.len() - 1];
    for (encoding, body) in [
        (None, frame(0, cut)),
        (None, frame(0, b"{}")),
        (None, vec![]),
        (None, vec![0, 0, 0]),
        (None, frame(7, &good)),
        (None, frame(1, &gzip(&good))),
        (Some("gzip"), frame(1, &good)),
        (None, frame(0, &good)[..20].to_vec()),
        (None, [frame(0, &good), frame(0, &good)].concat()),
    ] {
        let (code, message) = raw(&receiver, EXPORT, encoding, body).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(!message.is_empty());
    }
    // Uncompressed under an announced encoding is allowed.
    assert_eq!(
        raw(&receiver, EXPORT, Some("gzip"), frame(0, &good))
            .await
            .0,
        Code::Ok
    );
    assert_eq!(receiver.names(), ["span 1"]);
}

#[tokio::test]
async fn unknown_encodings_methods_and_types_are_refused() {
    let receiver = receiver().await;
    let good = frame(0, &request(vec![span(1)]).encode_to_vec());
    assert_eq!(
        raw(&receiver, EXPORT, Some("snappy"), good.clone()).await.0,
        Code::Unimplemented
    );
    let other = "/opentelemetry.proto.collector.trace.v1.TraceService/Import";
    assert_eq!(
        raw(&receiver, other, None, good).await.0,
        Code::Unimplemented
    );
    let request = http::Request::post(format!("http://{}{EXPORT}", receiver.grpc))
        .body(Body::empty())
        .unwrap();
    let response = channel(&receiver)
        .await
        .ready()
        .await
        .unwrap()
        .call(request)
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 415);
    assert!(receiver.spans().is_empty());
}

#[tokio::test]
async fn metrics_and_logs_are_a_success_with_everything_rejected() {
    let receiver = receiver().await;
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    data: Some(Data::Gauge(Gauge {
                        data_points: vec![NumberDataPoint::default(); 3],
                    })),
                    ..Metric::default()
                }],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let mut client = MetricsServiceClient::new(channel(&receiver).await);
    let partial = client
        .export(metrics)
        .await
        .unwrap()
        .into_inner()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_data_points, 3);
    assert!(partial.error_message.contains("not metrics"));
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord::default(); 2],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let mut client = LogsServiceClient::new(channel(&receiver).await);
    let partial = client
        .export(logs)
        .await
        .unwrap()
        .into_inner()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_log_records, 2);
    let counters = receiver.counters();
    assert_eq!(
        (
            counters.requests,
            counters.metrics_rejected,
            counters.logs_rejected
        ),
        (2, 3, 2)
    );
}

#[tokio::test]
async fn a_token_is_asked_for_when_one_is_set() {
    let options = Options {
        auth_token: Some("secret".into()),
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    let mut client = TraceServiceClient::new(channel(&receiver).await);
    let refused = client.export(request(vec![span(1)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for (token, ok) in [("Bearer secret", true), ("Bearer other!", false)] {
        let mut call = Request::new(request(vec![span(1)]));
        call.metadata_mut()
            .insert("authorization", token.parse().unwrap());
        assert_eq!(client.export(call).await.is_ok(), ok, "{token}");
    }
    assert_eq!(
        (
            receiver.spans().len(),
            receiver.counters().refused_unauthenticated
        ),
        (1, 2)
    );
}
