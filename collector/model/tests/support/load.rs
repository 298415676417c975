//! Requests as the design's measurements have them, for benches: about 800 bytes and 25 attributes a span, five
//! services, arrival scattered over traces. Made from the span's number, so that every run is the same.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// What the spans are about. Not every bench has both.
#[allow(dead_code, reason = "not every bench has both kinds")]
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Sends and handlers of Kafka messages, as the Java agent writes them.
    Messaging,
    /// HTTP servers.
    Plain,
}

const SERVICES: u64 = 5;
const BEGIN: u64 = 1_773_716_400_000_000_000;

/// A request of `count` spans from number `first` on, under one resource a service as a Collector batches them.
pub(crate) fn request(kind: Kind, first: u64, count: u64) -> ExportTraceServiceRequest {
    let resource_spans = (0..SERVICES)
        .map(|service| ResourceSpans {
            resource: Some(resource(service)),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: match kind {
                        Kind::Messaging => "io.opentelemetry.kafka-clients-2.6",
                        Kind::Plain => "io.opentelemetry.tomcat-10.0",
                    }
                    .to_owned(),
                    version: "2.20.1-alpha".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: (first..first + count)
                    .filter(|n| n % SERVICES == service)
                    .map(|n| span(kind, n))
                    .collect(),
                schema_url: String::new(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.37.0".to_owned(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

fn resource(service: u64) -> Resource {
    Resource {
        attributes: vec![
            text("service.name", format!("service-{service}")),
            text("service.namespace", "shop".to_owned()),
            text("service.instance.id", format!("0f3a-{service}")),
            text("deployment.environment.name", "production".to_owned()),
            text("host.name", format!("node-{}", service % 3)),
            text("telemetry.sdk.language", "java".to_owned()),
        ],
        ..Resource::default()
    }
}

fn span(kind: Kind, n: u64) -> Span {
    let random = mix(n);
    let topic = format!("orders-{}", n % 12);
    let mut attributes = match kind {
        Kind::Messaging => vec![
            text("messaging.system", "kafka".to_owned()),
            text("messaging.operation.type", "process".to_owned()),
            text("messaging.operation.name", "process".to_owned()),
            text("messaging.destination.name", topic.clone()),
            text("messaging.destination.partition.id", (n % 6).to_string()),
            integer("messaging.kafka.offset", n),
            text(
                "messaging.consumer.group.name",
                format!("billing-{}", n % 4),
            ),
            text(
                "messaging.client.id",
                format!("consumer-billing-{}", n % 16),
            ),
            text(
                "messaging.kafka.message.key",
                format!("{:08x}", random >> 40),
            ),
            integer("messaging.message.body.size", 200 + random % 900),
            text("server.address", "kafka-1.shop.svc".to_owned()),
            integer("server.port", 9092),
            list(
                "messaging.header.correlation_id",
                format!("order-{:08x}", n / 3),
            ),
        ],
        Kind::Plain => vec![
            text("http.request.method", "GET".to_owned()),
            integer("http.response.status_code", 200),
            text("http.route", format!("/orders/{{id}}/lines-{}", n % 12)),
            text(
                "url.path",
                format!("/orders/{}/lines-{}", random % 9999, n % 12),
            ),
            text("url.scheme", "http".to_owned()),
            text("server.address", "shop.example".to_owned()),
            integer("server.port", 8080),
            text("client.address", format!("10.0.{}.{}", n % 7, n % 250)),
            text(
                "network.peer.address",
                format!("10.1.{}.{}", n % 7, n % 250),
            ),
            integer("network.peer.port", 30_000 + n % 30_000),
            text("network.protocol.version", "1.1".to_owned()),
            text("user_agent.original", "okhttp/4.12.0".to_owned()),
            text("error.type", "500".to_owned()),
        ],
    };
    attributes.extend([
        integer("thread.id", 40 + n % 8),
        text("thread.name", format!("container-{}-C-1", n % 8)),
    ]);
    attributes.extend((0..10).map(|i| {
        let value = (random >> (i % 8)) % 50;
        text(&format!("app.tag.{i}"), format!("value {value} of {i}"))
    }));
    let start = BEGIN + n * 10_000;
    Span {
        trace_id: [mix(n / 5).to_be_bytes(), mix(!(n / 5)).to_be_bytes()].concat(),
        span_id: mix(n ^ 0xABCD).to_be_bytes().to_vec(),
        parent_span_id: mix(n ^ 0xDCBA).to_be_bytes().to_vec(),
        flags: 0x101,
        name: match kind {
            Kind::Messaging => format!("process {topic}"),
            Kind::Plain => format!("GET /orders/{{id}}/lines-{}", n % 12),
        },
        kind: match kind {
            Kind::Messaging => 5,
            Kind::Plain => 2,
        },
        start_time_unix_nano: start,
        end_time_unix_nano: start + random % 50_000_000,
        attributes,
        status: n.is_multiple_of(50).then(|| Status {
            message: "no stock".to_owned(),
            code: 2,
        }),
        ..Span::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, text: String) -> KeyValue {
    attribute(key, Value::StringValue(text))
}

fn integer(key: &str, number: u64) -> KeyValue {
    attribute(key, Value::IntValue(number as i64))
}

fn list(key: &str, item: String) -> KeyValue {
    let item = AnyValue {
        value: Some(Value::StringValue(item)),
    };
    attribute(key, Value::ArrayValue(ArrayValue { values: vec![item] }))
}

/// splitmix64: numbers that look random and come again.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// CPU time of this thread; zero where the kernel does not tell.
#[allow(dead_code, reason = "not every bench measures a thread")]
pub(crate) fn thread_cpu() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text
        .split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok());
    std::time::Duration::from_nanos(ns.unwrap_or(0))
}
