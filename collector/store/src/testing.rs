//! Spans for tests: made from small vocabularies, so that keys repeat, ids collide and resends happen.

use std::time::Duration;

use highwater_model::normalise::Rules;
use highwater_model::otlp::{BatchBuilder, encode_span, origin_to_bytes};
use highwater_model::raw::{Origin, RawEvent, RawLink, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{Batch, SpanId, TraceId, UnixNanos};
use proptest::prelude::*;

/// A span and what it was sent under.
pub(crate) type Sent = (Origin, RawSpan);

/// 2026-03-17T03:00:00Z: the hour that generated spans start in.
pub(crate) const HOUR: UnixNanos = UnixNanos(1_773_716_400_000_000_000);

pub(crate) fn at(seconds: u64) -> UnixNanos {
    HOUR + Duration::from_secs(seconds)
}

pub(crate) fn trace_id(n: u64) -> TraceId {
    let mut id = [0xA0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    TraceId(id)
}

pub(crate) fn span_id(n: u64) -> SpanId {
    SpanId((n + 1).to_be_bytes())
}

pub(crate) fn origin(service: &str) -> Origin {
    Origin {
        resource: vec![
            ("service.name".into(), Value::Str(service.into())),
            ("host.name".into(), Value::Str("node-1".into())),
        ],
        scope_name: "kafka".into(),
        ..Origin::default()
    }
}

/// A span of one second that says nothing more.
pub(crate) fn plain(trace: u64, span: u64, start: UnixNanos) -> RawSpan {
    RawSpan {
        trace_id: trace_id(trace),
        span_id: span_id(span),
        parent_span_id: None,
        flags: 1,
        name: "work".into(),
        kind: SpanKind::Internal,
        start,
        end: start + Duration::from_secs(1),
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: StatusCode::Unset,
        status_message: String::new(),
    }
}

pub(crate) fn with(mut span: RawSpan, attributes: &[(&str, Value)]) -> RawSpan {
    let attributes = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    span.attributes.extend(attributes);
    span
}

pub(crate) fn text(value: &str) -> Value {
    Value::Str(value.into())
}

/// A request with these spans, as a receiver makes it.
pub(crate) fn batch(sent: &[Sent]) -> Batch {
    let rules = Rules::default();
    let mut builder = BatchBuilder::new(&rules);
    for (origin, span) in sent {
        let origin = builder.push_origin(origin_to_bytes(origin)).unwrap();
        builder.push_span(origin, encode_span(span)).unwrap();
    }
    let (batch, rejected) = builder.finish();
    assert_eq!(rejected.count, 0);
    batch
}

/// Up to `n` spans.
pub(crate) fn spans(n: usize) -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec(sent(), 0..=n)
}

fn sent() -> impl Strategy<Value = Sent> {
    let service = prop::sample::select(vec!["shop", "billing", "stock"]);
    let start = prop_oneof![
        20 => (0_u64..3_600).prop_map(at),
        1 => Just(UnixNanos(0)),
        1 => Just(UnixNanos(u64::MAX)),
    ];
    let duration = prop::sample::select(vec![0, 1_000_000, 250_000_000, 5_000_000_000]);
    let kind = prop::sample::select(vec![
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ]);
    let status = prop::sample::select(vec![
        StatusCode::Unset,
        StatusCode::Unset,
        StatusCode::Ok,
        StatusCode::Error,
    ]);
    let ids = (0_u64..12, 0_u64..6, prop::option::of(0_u64..6));
    let links = prop::collection::vec((0_u64..14, 0_u64..6), 0..3);
    let name = prop::sample::select(vec!["GET /cart", "orders process", "charge", "récharge"]);
    (
        ids,
        service,
        name,
        kind,
        status,
        start,
        duration,
        attributes(),
        links,
        any::<bool>(),
    )
        .prop_map(
            |(
                (trace, span, parent),
                service,
                name,
                kind,
                status,
                start,
                duration,
                attributes,
                links,
                event,
            )| {
                let span = RawSpan {
                    parent_span_id: parent.map(span_id),
                    name: name.into(),
                    kind,
                    end: UnixNanos(start.0.saturating_add(duration)),
                    attributes,
                    events: event
                        .then(|| RawEvent {
                            time: start,
                            name: "exception".into(),
                            attributes: vec![("exception.message".into(), text("Card declined"))],
                        })
                        .into_iter()
                        .collect(),
                    links: links
                        .into_iter()
                        .map(|(trace, span)| RawLink {
                            trace_id: trace_id(trace),
                            span_id: span_id(span),
                            attributes: Vec::new(),
                        })
                        .collect(),
                    status,
                    ..plain(trace, span, start)
                };
                (origin(service), span)
            },
        )
}

fn attributes() -> impl Strategy<Value = Vec<(String, Value)>> {
    let kafka = (
        prop::sample::select(vec!["orders", "payments"]),
        prop::option::of(prop::sample::select(vec!["billing", "audit"])),
        0_i64..3,
        0_i64..4,
        prop::sample::select(vec!["send", "process", "receive"]),
    )
        .prop_map(|(topic, group, partition, offset, operation)| {
            let mut attributes = vec![
                ("messaging.system".to_owned(), text("kafka")),
                ("messaging.destination.name".to_owned(), text(topic)),
                ("messaging.operation.type".to_owned(), text(operation)),
                (
                    "messaging.destination.partition.id".to_owned(),
                    text(&partition.to_string()),
                ),
                ("messaging.kafka.offset".to_owned(), Value::Int(offset)),
            ];
            attributes.extend(
                group.map(|group| ("messaging.consumer.group.name".to_owned(), text(group))),
            );
            attributes
        });
    let order = (0_i64..5).prop_map(|id| ("order.id".to_owned(), Value::Int(id)));
    let correlation = (0_u8..5).prop_map(|id| {
        let values = vec![text(&format!("c-{id}"))];
        (
            "messaging.header.correlation_id".to_owned(),
            Value::Array(values),
        )
    });
    (
        prop::option::of(kafka),
        prop::option::of(order),
        prop::option::of(correlation),
    )
        .prop_map(|(kafka, order, correlation)| {
            let mut attributes = kafka.unwrap_or_default();
            attributes.extend(order);
            attributes.extend(correlation);
            attributes
        })
}
