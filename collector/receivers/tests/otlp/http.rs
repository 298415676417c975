//! OTLP over HTTP.

use bytes::Bytes;
use futures::TryStreamExt;
use highwater_receivers::Options;
use http_body_util::StreamBody;
use hyper::body::Frame;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    metric::Data,
};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Client, Method, RequestBuilder, Response};

use super::{
    DEADLINE, Receiver, RpcStatus, gzip, large_request, receiver, receiver_with, request, span,
};

pub(super) const PROTOBUF: &str = "application/x-protobuf";
pub(super) const JSON: &str = "application/json";

pub(super) fn post(
    receiver: &Receiver,
    content_type: &str,
    body: impl Into<Body>,
) -> RequestBuilder {
    post_to(receiver, "/v1/traces", content_type, body)
}

fn post_to(
    receiver: &Receiver,
    path: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> RequestBuilder {
    Client::new()
        .post(receiver.url(path))
        .timeout(DEADLINE)
        .header(CONTENT_TYPE, content_type)
        .body(body)
}

/// Status code, content type, body.
pub(super) async fn parts(request: RequestBuilder) -> (u16, String, Vec<u8>) {
    let response = request.send().await.unwrap();
    (
        response.status().as_u16(),
        content_type(&response),
        response.bytes().await.unwrap().to_vec(),
    )
}

fn content_type(response: &Response) -> String {
    header(response.headers(), "content-type").unwrap_or_default()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().unwrap().to_owned())
}

const JSON_SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
    {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"from json"}]}]}]}"#;

#[tokio::test]
async fn protobuf_and_json_are_taken_on_one_port_and_answered_in_kind() {
    let receiver = receiver().await;
    let body = request(vec![span(1)]).encode_to_vec();
    // Everything taken: partial_success is unset, which is an empty message.
    assert_eq!(
        parts(post(&receiver, PROTOBUF, body)).await,
        (200, PROTOBUF.into(), vec![])
    );
    let with_charset = post(&receiver, "application/json; charset=utf-8", JSON_SPAN);
    assert_eq!(
        parts(with_charset).await,
        (200, JSON.into(), b"{}".to_vec())
    );
    assert_eq!(receiver.names(), ["span 1", "from json"]);
    assert_eq!(&*receiver.spans()[0].service.name, "billing");
    let counters = receiver.counters();
    assert_eq!((counters.requests, counters.spans_received), (2, 2));
}

#[tokio::test]
async fn gzip_is_taken_in_both_encodings() {
    let receiver = receiver().await;
    let small = gzip(&request(vec![span(1)]).encode_to_vec());
    // Decoded on a blocking thread.
    let large = gzip(&request((1..=255).map(span).cycle().take(900).collect()).encode_to_vec());
    for (content_type, body) in [
        (PROTOBUF, small),
        (PROTOBUF, large),
        (JSON, gzip(JSON_SPAN.as_bytes())),
    ] {
        let response = post(&receiver, content_type, body).header("content-encoding", "gzip");
        assert_eq!(parts(response).await.0, 200);
    }
    assert_eq!(receiver.spans().len(), 1 + 900 + 1);
}

#[tokio::test]
async fn identity_is_taken_and_other_compressions_are_415() {
    let receiver = receiver().await;
    let body = request(vec![span(1)]).encode_to_vec();
    let identity = post(&receiver, PROTOBUF, body.clone()).header("content-encoding", "identity");
    assert_eq!(parts(identity).await.0, 200);
    for other in ["lz4", "br", "gzip, gzip"] {
        let (status, _, _) =
            parts(post(&receiver, PROTOBUF, body.clone()).header("content-encoding", other)).await;
        assert_eq!(status, 415, "{other}");
    }
}

#[tokio::test]
async fn the_size_limit_holds_before_and_after_decompression() {
    let options = Options {
        max_request_bytes: 100_000,
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    let over = large_request(100_001).encode_to_vec();
    let (status, kind, body) = parts(post(&receiver, PROTOBUF, over.clone())).await;
    assert_eq!((status, kind.as_str()), (413, PROTOBUF));
    assert_eq!(
        RpcStatus::decode(&*body).unwrap().code,
        8,
        "RESOURCE_EXHAUSTED"
    );
    // Without a Content-Length it is found while reading.
    let chunks = over
        .chunks(10_000)
        .map(|chunk| Ok(chunk.to_vec()))
        .collect::<Vec<_>>();
    let stream = streamed(futures::stream::iter(chunks));
    assert_eq!(parts(post(&receiver, PROTOBUF, stream)).await.0, 413);
    // A bomb: 1,000 bytes of it are a megabyte.
    let bomb = gzip(&vec![0; 10_000_000]);
    assert!(bomb.len() < 100_000);
    let (status, ..) =
        parts(post(&receiver, PROTOBUF, bomb).header("content-encoding", "gzip")).await;
    assert_eq!(status, 413);
    let fits = gzip(&large_request(90_000).encode_to_vec());
    assert_eq!(
        parts(post(&receiver, PROTOBUF, fits).header("content-encoding", "gzip"))
            .await
            .0,
        200
    );
    assert_eq!(receiver.counters().refused_too_large, 3);
}

/// A body that is sent in chunks, without a Content-Length.
pub(super) fn streamed(
    chunks: impl futures::Stream<Item = Result<Vec<u8>, std::io::Error>> + Send + Sync + 'static,
) -> Body {
    let frames = chunks.map_ok(|chunk| Frame::data(Bytes::from(chunk)));
    Body::wrap(StreamBody::new(frames))
}

#[tokio::test]
async fn an_empty_request_succeeds() {
    let receiver = receiver().await;
    assert_eq!(
        parts(post(&receiver, PROTOBUF, "")).await,
        (200, PROTOBUF.into(), vec![])
    );
    for body in [
        "{}",
        r#"{"resourceSpans":[]}"#,
        r#"{"resourceSpans":null}"#,
        r#"{"resourceSpans":[{"scopeSpans":[]}]}"#,
    ] {
        assert_eq!(
            parts(post(&receiver, JSON, body)).await,
            (200, JSON.into(), b"{}".to_vec()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn spans_with_invalid_ids_are_a_partial_success_and_the_rest_is_kept() {
    let receiver = receiver().await;
    let mut spans: Vec<_> = (1..=4).map(span).collect();
    spans[0].trace_id = vec![0; 16];
    spans[1].span_id = vec![1; 7];
    let (status, _, body) = parts(post(&receiver, PROTOBUF, request(spans).encode_to_vec())).await;
    let partial = ExportTraceServiceResponse::decode(&*body)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!((status, partial.rejected_spans), (200, 2));
    assert!(
        partial.error_message.contains("trace id is all zero"),
        "{}",
        partial.error_message
    );

    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"00000000000000000000000000000000","spanId":"b7ad6b7169203331","name":"zero"},
        {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b716920333","name":"odd"},
        {"traceId":"not hexadecimal","spanId":"b7ad6b7169203331","name":"text"},
        {"name":"none"},
        {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"good"}]}]}]}"#;
    let (status, _, body) = parts(post(&receiver, JSON, body)).await;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "4", "{answer}");
    assert!(
        !answer["partialSuccess"]["errorMessage"]
            .as_str()
            .unwrap()
            .is_empty()
    );

    assert_eq!(receiver.names(), ["span 3", "span 4", "good"]);
    let rejected = receiver.counters().rejected;
    assert_eq!(
        rejected.into_iter().collect::<Vec<_>>(),
        [("invalid_span_id", 2), ("invalid_trace_id", 4)]
    );
}

#[tokio::test]
async fn bad_data_is_400_with_a_status_in_the_encoding_of_the_request() {
    let receiver = receiver().await;
    for bad in [&b"\x0a\xff"[..], JSON_SPAN.as_bytes()] {
        let (status, kind, body) = parts(post(&receiver, PROTOBUF, bad.to_vec())).await;
        assert_eq!((status, kind.as_str()), (400, PROTOBUF));
        let rpc = RpcStatus::decode(&*body).unwrap();
        assert_eq!(rpc.code, 3, "INVALID_ARGUMENT");
        assert!(!rpc.message.is_empty() && rpc.details.is_empty());
    }
    for bad in [
        "",
        "{",
        "[]",
        r#"{"resourceSpans":{}}"#,
        r#"{"resourceSpans":[7]}"#,
        "\u{0}",
    ] {
        let (status, kind, body) = parts(post(&receiver, JSON, bad)).await;
        assert_eq!((status, kind.as_str()), (400, JSON), "{bad}");
        let rpc: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(rpc["code"], 3);
        assert!(rpc["message"].as_str().unwrap().contains("JSON"));
    }
    let not_gzip = post(&receiver, PROTOBUF, "plain").header("content-encoding", "gzip");
    assert_eq!(parts(not_gzip).await.0, 400);
    assert_eq!(receiver.spans().len(), 0);
    assert_eq!(receiver.counters().refused_bad, 9);
}

#[tokio::test]
async fn other_methods_are_405_other_types_415_other_paths_404() {
    let receiver = receiver().await;
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let response = Client::new()
                .request(method, receiver.url(path))
                .send()
                .await
                .unwrap();
            assert_eq!(response.status().as_u16(), 405);
            assert_eq!(header(response.headers(), "allow").as_deref(), Some("POST"));
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
        ] {
            let (status, ..) = parts(post_to(&receiver, path, kind, JSON_SPAN)).await;
            assert_eq!(
                status, 415,
                "{kind}: a browser sends such a type without asking"
            );
        }
    }
    let no_type = Client::new()
        .post(receiver.url("/v1/traces"))
        .body(JSON_SPAN);
    assert_eq!(parts(no_type).await.0, 415);
    assert_eq!(
        parts(post_to(&receiver, "/v1/other", JSON, "{}")).await.0,
        404
    );
    assert_eq!(receiver.spans().len(), 0);
}

#[tokio::test]
async fn metrics_and_logs_are_a_success_with_everything_rejected_and_counted() {
    let receiver = receiver().await;
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![
                    Metric {
                        data: Some(Data::Gauge(Gauge {
                            data_points: vec![NumberDataPoint::default(); 3],
                        })),
                        ..Metric::default()
                    },
                    Metric {
                        data: Some(Data::Histogram(Histogram {
                            data_points: vec![HistogramDataPoint::default(); 2],
                            ..Histogram::default()
                        })),
                        ..Metric::default()
                    },
                ],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let (status, kind, body) = parts(post_to(
        &receiver,
        "/v1/metrics",
        PROTOBUF,
        metrics.encode_to_vec(),
    ))
    .await;
    let partial = ExportMetricsServiceResponse::decode(&*body)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(
        (status, kind.as_str(), partial.rejected_data_points),
        (200, PROTOBUF, 5)
    );
    assert!(partial.error_message.contains("not metrics"));

    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord::default(); 4],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let (_, _, body) = parts(
        post_to(&receiver, "/v1/logs", PROTOBUF, gzip(&logs.encode_to_vec()))
            .header("content-encoding", "gzip"),
    )
    .await;
    let partial = ExportLogsServiceResponse::decode(&*body)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_log_records, 4);

    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","sum":{"dataPoints":[{"asInt":"1"},{}]}},{"summary":{"dataPoints":[{}]}},{"gauge":null}]}]}]}"#;
    let (_, _, body) = parts(post_to(&receiver, "/v1/metrics", JSON, json)).await;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "3");
    let json =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}},{}]}]}]}"#;
    let (_, _, body) = parts(post_to(&receiver, "/v1/logs", JSON, json)).await;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedLogRecords"], "2");

    // Nothing to reject, nothing partial.
    assert_eq!(
        parts(post_to(&receiver, "/v1/metrics", JSON, "{}")).await.2,
        b"{}"
    );
    assert_eq!(
        parts(post_to(&receiver, "/v1/logs", PROTOBUF, "")).await.2,
        b""
    );
    assert_eq!(
        parts(post_to(&receiver, "/v1/logs", PROTOBUF, "\u{1}"))
            .await
            .0,
        400
    );
    let counters = receiver.counters();
    assert_eq!((counters.metrics_rejected, counters.logs_rejected), (8, 6));
}

#[tokio::test]
async fn browsers_are_allowed_only_from_listed_origins() {
    let preflight = |receiver: &Receiver, origin: &str| {
        Client::new()
            .request(Method::OPTIONS, receiver.url("/v1/traces"))
            .header("origin", origin.to_owned())
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let allowed = |response: &Response| header(response.headers(), "access-control-allow-origin");

    let off = receiver().await;
    let response = preflight(&off, "https://shop.example")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), allowed(&response)),
        (405, None)
    );

    let options = Options {
        cors_origins: vec!["https://shop.example".into()],
        ..Options::default()
    };
    let on = receiver_with(options, 1_000).await;
    let response = preflight(&on, "https://shop.example").send().await.unwrap();
    assert_eq!(allowed(&response).as_deref(), Some("https://shop.example"));
    assert!(response.status().is_success());
    assert_eq!(
        allowed(&preflight(&on, "https://evil.example").send().await.unwrap()),
        None
    );
    let sent = post(&on, JSON, JSON_SPAN)
        .header("origin", "https://shop.example")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (sent.status().as_u16(), allowed(&sent).as_deref()),
        (200, Some("https://shop.example"))
    );
}

#[tokio::test]
async fn an_origin_that_is_none_is_refused_at_start() {
    for bad in ["shop.example", "https://shop.example/", "https://a\nb"] {
        let options = Options {
            cors_origins: vec![bad.into()],
            ..Options::default()
        };
        let mut receiver = receiver_with(options, 10).await;
        let error = super::within(receiver.servers.remove(0))
            .await
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("is not an origin"), "{error}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_when_one_is_set() {
    let options = Options {
        auth_token: Some("secret".into()),
        ..Options::default()
    };
    let receiver = receiver_with(options, 1_000).await;
    for wrong in [
        None,
        Some("Bearer wrong!"),
        Some("Bearer secret2"),
        Some("Basic secret"),
        Some("secret"),
        Some("Bearer "),
    ] {
        let mut request = post(&receiver, JSON, JSON_SPAN);
        if let Some(wrong) = wrong {
            request = request.header("authorization", wrong);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{wrong:?}");
        assert_eq!(
            header(response.headers(), "www-authenticate").as_deref(),
            Some("Bearer")
        );
    }
    for right in ["Bearer secret", "bearer secret"] {
        assert_eq!(
            parts(post(&receiver, JSON, JSON_SPAN).header("authorization", right))
                .await
                .0,
            200
        );
    }
    assert_eq!(receiver.spans().len(), 2);
    assert_eq!(receiver.counters().refused_unauthenticated, 6);
}
