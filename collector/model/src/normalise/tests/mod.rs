//! Tests of the normaliser: one case for each instrumentation, each generation of keys, each trap.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brokers;
mod correlation;
mod generations;
mod kafka;

use proptest::prelude::*;

use crate::ids::{SpanId, TraceId};
use crate::normalise::{Rules, normalise};
use crate::raw::{Attributes, Origin, RawEvent, RawLink, RawSpan, SpanKind, StatusCode, Value};
use crate::span::{Messaging, Span};
use crate::time::UnixNanos;

/// Scopes as the captures carry them.
const AGENT_KAFKA: &str = "io.opentelemetry.kafka-clients-0.11";
const AGENT_RABBIT: &str = "io.opentelemetry.rabbitmq-2.7";
const MICROMETER: &str = "org.springframework.boot";
const CONFLUENT: &str = "opentelemetry.instrumentation.confluent_kafka";
const KAFKA_PYTHON: &str = "opentelemetry.instrumentation.kafka";
const AIOKAFKA: &str = "opentelemetry.instrumentation.aiokafka";
const KAFKAJS: &str = "@opentelemetry/instrumentation-kafkajs";
const KOTEL: &str = "github.com/twmb/franz-go/plugin/kotel";
const SARAMA: &str = "go.opentelemetry.io/contrib/instrumentation/github.com/IBM/sarama/otelsarama";

/// A span under construction.
struct Sent {
    origin: Origin,
    raw: RawSpan,
}

fn sent(kind: SpanKind, name: &str) -> Sent {
    Sent {
        origin: Origin::default(),
        raw: RawSpan {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_span_id: Some(SpanId([3; 8])),
            flags: 3,
            name: name.to_owned(),
            kind,
            start: UnixNanos(1_000),
            end: UnixNanos(5_000),
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: StatusCode::Unset,
            status_message: String::new(),
        },
    }
}

fn producer(name: &str) -> Sent {
    sent(SpanKind::Producer, name)
}

fn consumer(name: &str) -> Sent {
    sent(SpanKind::Consumer, name)
}

fn client(name: &str) -> Sent {
    sent(SpanKind::Client, name)
}

impl Sent {
    fn scope(mut self, scope: &str) -> Self {
        self.origin.scope_name = scope.to_owned();
        self
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.raw.attributes.push((key.to_owned(), value.into()));
        self
    }

    fn kafka(self) -> Self {
        self.with("messaging.system", "kafka")
    }

    fn resource(mut self, key: &str, value: &str) -> Self {
        self.origin.resource.push((key.to_owned(), value.into()));
        self
    }

    fn link(mut self, attributes: Attributes) -> Self {
        self.raw.links.push(RawLink {
            trace_id: TraceId([9; 16]),
            span_id: SpanId([9; 8]),
            attributes,
        });
        self
    }

    fn failed(mut self, message: &str) -> Self {
        self.raw.status = StatusCode::Error;
        self.raw.status_message = message.to_owned();
        self
    }

    fn exception(mut self, kind: &str, message: &str, stack: &str) -> Self {
        self.raw.events.push(RawEvent {
            time: UnixNanos(4_000),
            name: "exception".to_owned(),
            attributes: vec![
                ("exception.type".to_owned(), kind.into()),
                ("exception.message".to_owned(), message.into()),
                ("exception.stacktrace".to_owned(), stack.into()),
            ],
        });
        self
    }

    fn span(&self) -> Span {
        normalise(&self.origin, &self.raw, &Rules::default())
    }

    fn messaging(&self) -> Messaging {
        self.span().messaging.unwrap()
    }

    /// Asserts that the span is no messaging span.
    fn is_no_hop(&self) {
        assert_eq!(self.span().messaging, None, "{}", self.raw.name);
    }
}

#[test]
fn service_and_environment_come_from_the_resource() {
    let span = sent(SpanKind::Internal, "work")
        .resource("service.name", "billing")
        .resource("service.namespace", "shop")
        .resource("deployment.environment", "old-key")
        .resource("deployment.environment.name", "production")
        .resource("service.instance.id", "billing-7")
        .span();
    assert_eq!(&*span.service.name, "billing");
    assert_eq!(&*span.service.namespace, "shop");
    assert_eq!(&*span.service.environment, "production");
    assert_eq!(span.instance.as_deref(), Some("billing-7"));

    let span = sent(SpanKind::Internal, "work")
        .resource("deployment.environment", "staging")
        .span();
    assert_eq!(&*span.service.name, "unknown_service");
    assert_eq!(&*span.service.namespace, "");
    assert_eq!(&*span.service.environment, "staging");
    assert_eq!(
        &*sent(SpanKind::Internal, "work").span().service.environment,
        "default"
    );
}

#[test]
fn a_span_that_ends_before_it_starts_has_no_duration() {
    let mut sent = producer("x");
    sent.raw.end = UnixNanos(1);
    assert_eq!(sent.span().end, sent.raw.start);
    assert_eq!(sent.span().duration_ns(), 0);
}

#[test]
fn an_ordinary_span_is_no_messaging_span_and_fails_by_its_status_alone() {
    let request = sent(SpanKind::Server, "POST /orders")
        .with("server.address", "127.0.0.1")
        .exception("E", "handled", "");
    request.is_no_hop();
    assert_eq!(request.span().error, None);
    let failed = request.failed("no stock").span().error.unwrap();
    assert_eq!((&*failed.kind, &*failed.message), ("E", "no stock"));
}

#[test]
fn everything_from_outside_is_bounded() {
    let long = "ü".repeat(5_000);
    let mut sent = consumer(&long)
        .kafka()
        .scope(&long)
        .with("messaging.destination.name", long.as_str())
        .with("messaging.consumer.group.name", long.as_str())
        .with("messaging.kafka.message.key", long.as_str())
        .with("messaging.message.id", long.as_str())
        .with("error.type", long.as_str())
        .with("order", long.as_str());
    for _ in 0..5_000 {
        sent = sent.link(Vec::new());
    }
    let many: Vec<Value> = (0..5_000).map(Value::Int).collect();
    sent.raw
        .attributes
        .push(("messaging.header.correlation_id".into(), Value::Array(many)));
    let rules = Rules {
        correlation_attributes: vec!["order".into()],
        ..Rules::default()
    };
    let span = normalise(&sent.origin, &sent.raw, &rules);
    let messaging = span.messaging.unwrap();
    assert!(span.name.len() <= 256 && span.scope.len() <= 256);
    for name in [
        messaging.destination,
        messaging.group,
        messaging.key,
        messaging.message_id,
    ] {
        assert_eq!(name.unwrap().len(), 1024);
    }
    assert_eq!(span.error.unwrap().kind.len(), 256);
    assert_eq!(span.links.len(), 4096);
    assert_eq!(span.correlations.len(), 512);
    assert!(
        span.correlations.iter().all(|c| &*c.key == "correlation"),
        "an id that is too long is left out, not cut"
    );
}

/// Keys that the normaliser reads, and words that mean something to it.
const KEYS: [&str; 24] = [
    "messaging.system",
    "messaging.destination.name",
    "messaging.destination",
    "messaging.destination.temporary",
    "messaging.operation",
    "messaging.operation.type",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.message.id",
    "messaging.consumer.id",
    "messaging.client.id",
    "messaging.batch.message_count",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.url",
    "messaging.header.correlation_id",
    "messaging.message.conversation_id",
    "server.address",
    "server.port",
    "peer.service",
    "rpc.method",
    "error.type",
    "correlation_id",
    "aws.sqs.queue.url",
    "az.namespace",
];
const WORDS: [&str; 32] = [
    "kafka",
    "rabbitmq",
    "aws_sqs",
    "aws_sns",
    "gcp_pubsub",
    "pulsar",
    "nats",
    "jms",
    "publish",
    "receive",
    "process",
    "settle",
    "x:k:q",
    "k",
    ",",
    ":",
    "<default>",
    "a.1.2",
    "..",
    "-1",
    "T-partition-3-S-DLQ",
    "-partition-",
    "$JS.ACK.",
    "$JS.ACK.a.b.c.d.e.f.g.h.i",
    "arn:aws:sns:",
    "http://",
    "https://h/1/q",
    "amqp://u:p@h:1/v",
    "[\"",
    "\"h:1\"",
    " - ",
    "ü",
];

proptest! {
    #[test]
    fn any_span_has_a_meaning_within_the_bounds(
        kind in 0..6_usize,
        scope in prop::sample::select(vec![AGENT_KAFKA, AGENT_RABBIT, MICROMETER, KAFKAJS, SARAMA, "google.cloud.pubsub_v1", "celery", ""]),
        name in prop::sample::select(WORDS.to_vec()),
        attributes in proptest::collection::vec(
            (
                prop::sample::select(KEYS.to_vec()),
                prop_oneof![
                    prop::sample::select(WORDS.to_vec()).prop_map(Value::from),
                    any::<i64>().prop_map(Value::Int),
                    any::<f64>().prop_map(Value::Double),
                    any::<bool>().prop_map(Value::Bool),
                    ".{0,6}".prop_map(Value::Str),
                    prop::sample::select(WORDS.to_vec()).prop_map(|word| Value::from([word, word])),
                ],
            ),
            0..10,
        ),
    ) {
        let kinds = [SpanKind::Unspecified, SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
        let mut sent = sent(kinds[kind], name).scope(scope);
        for (key, value) in attributes {
            sent.raw.attributes.push((key.to_owned(), value));
        }
        let span = sent.span();
        if let Some(messaging) = span.messaging {
            prop_assert!(messaging.partition.is_none_or(|n| n >= 0));
            prop_assert!(messaging.offset.is_none_or(|n| n >= 0));
            for name in [&messaging.destination, &messaging.group, &messaging.client_id, &messaging.message_id, &messaging.cluster.address] {
                prop_assert!(name.as_ref().is_none_or(|name| !name.is_empty()));
            }
            let address = messaging.cluster.address.unwrap_or_default();
            prop_assert!(!address.contains("u:p"), "a secret in {address}");
        }
    }
}
