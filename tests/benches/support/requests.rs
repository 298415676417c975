//! Requests as a company's services would send them, made once and then only stamped with new ids and times, so that
//! the sender takes little of the machine that is measured.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

/// Spans of a trace, each in another request of another service.
pub(crate) const SPANS_A_TRACE: u64 = 5;
/// Templates of each of the five: 65,000 spans before values come again, more than a block compresses together.
const VARIANTS: u64 = 26;
/// Offsets from here on take five bytes as a varint, so that one can be written over another.
const FIRST_OFFSET: u64 = 1 << 28;
const CORRELATION: &str = "order-0000000000";

/// Templates of requests.
pub(crate) struct Requests {
    templates: Vec<Template>,
    per_request: u64,
}

struct Template {
    body: Vec<u8>,
    spans: Vec<Places>,
}

/// Where a span's varying bytes stand in the body.
struct Places {
    trace: usize,
    span: usize,
    parent: Option<usize>,
    start: usize,
    end: usize,
    offset: Option<usize>,
    correlation: usize,
    duration_ns: u64,
}

/// The id of the `n`th trace.
pub(crate) fn trace_id(n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(n).to_be_bytes());
    id[8..].copy_from_slice(&mix(!n).to_be_bytes());
    id
}

pub(crate) fn span_id(trace: u64, role: u64) -> [u8; 8] {
    mix(trace * SPANS_A_TRACE + role).to_be_bytes()
}

/// The correlation id of a trace, which it shares with one other.
pub(crate) fn order(trace: u64) -> String {
    format!("order-{:010x}", trace / 2)
}

/// splitmix64: ids that look random and come again.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

impl Requests {
    /// Makes the templates.
    pub(crate) fn new(per_request: u64) -> Self {
        let variants = (0..VARIANTS).flat_map(|variant| {
            (0..SPANS_A_TRACE).map(move |role| Template::new(role, variant, per_request))
        });
        Self {
            templates: variants.collect(),
            per_request,
        }
    }

    /// The `number`th request: span `number % 5` of the traces of its round.
    pub(crate) fn body(&self, number: u64) -> Bytes {
        let (round, role) = (number / SPANS_A_TRACE, number % SPANS_A_TRACE);
        let index = (round % VARIANTS) * SPANS_A_TRACE + role;
        let template = &self.templates[usize::try_from(index).unwrap_or(0)];
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut body = template.body.clone();
        for (nth, places) in (0..).zip(&template.spans) {
            let trace = round * self.per_request + nth;
            put(&mut body, places.trace, &trace_id(trace));
            put(&mut body, places.span, &span_id(trace, role));
            if let Some(parent) = places.parent {
                put(&mut body, parent, &span_id(trace, role - 1));
            }
            let start = now - (SPANS_A_TRACE - role) * 5_000_000;
            put(&mut body, places.start, &start.to_le_bytes());
            put(
                &mut body,
                places.end,
                &(start + places.duration_ns).to_le_bytes(),
            );
            if let Some(offset) = places.offset {
                let mut bytes = Vec::with_capacity(5);
                encode_varint(FIRST_OFFSET + trace / 72, &mut bytes);
                put(&mut body, offset, &bytes);
            }
            put(&mut body, places.correlation, order(trace).as_bytes());
        }
        body.into()
    }
}

fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    body[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Template {
    fn new(role: u64, variant: u64, per_request: u64) -> Self {
        let service = variant % 4 * SPANS_A_TRACE + role;
        let resource = Resource {
            attributes: vec![
                text("service.name", format!("service-{service}")),
                text("service.namespace", "shop".to_owned()),
                text("deployment.environment.name", "prod".to_owned()),
                text("host.name", format!("node-{}", service % 16)),
                text("telemetry.sdk.language", "java".to_owned()),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope {
            name: "io.opentelemetry.kafka-clients-2.6".to_owned(),
            version: "2.20.1".to_owned(),
            ..InstrumentationScope::default()
        };
        let spans: Vec<(Vec<u8>, Places)> = (0..per_request)
            .map(|nth| span(role, variant, nth))
            .collect();

        // Written by hand, because the places of the spans in it must be known.
        let mut inner = Vec::new();
        field(1, &scope.encode_to_vec(), &mut inner);
        let mut places = Vec::new();
        for (bytes, mut at) in spans {
            let start = field(2, &bytes, &mut inner);
            at.shift(start);
            places.push(at);
        }
        let mut middle = Vec::new();
        field(1, &resource.encode_to_vec(), &mut middle);
        let first = field(2, &inner, &mut middle);
        let mut body = Vec::new();
        let second = field(1, &middle, &mut body);
        for at in &mut places {
            at.shift(first + second);
        }
        Self {
            body,
            spans: places,
        }
    }
}

impl Places {
    fn shift(&mut self, by: usize) {
        for at in [
            &mut self.trace,
            &mut self.span,
            &mut self.start,
            &mut self.end,
            &mut self.correlation,
        ] {
            *at += by;
        }
        for at in [&mut self.parent, &mut self.offset].into_iter().flatten() {
            *at += by;
        }
    }
}

/// Appends a message field and returns where its content begins.
fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) -> usize {
    out.reserve(bytes.len() + 1 + encoded_len_varint(bytes.len() as u64));
    out.push(tag << 3 | 2);
    encode_varint(bytes.len() as u64, out);
    let start = out.len();
    out.extend_from_slice(bytes);
    start
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// One span with the places of its stamps, which hold recognisable bytes until then.
fn span(role: u64, variant: u64, nth: u64) -> (Vec<u8>, Places) {
    const TRACE: [u8; 16] = [0xA1; 16];
    const SPAN: [u8; 8] = [0xA2; 8];
    const PARENT: [u8; 8] = [0xA3; 8];
    const START: u64 = 0xA4A4_A4A4_A4A4_A4A4;
    const END: u64 = 0xA5A5_A5A5_A5A5_A5A5;
    const OFFSET: i64 = 0x0355_5555;
    let random = mix(variant << 32 | nth << 8 | role);
    let topic = variant % 12;
    let (kind, name) = match role {
        0 => (SpanKind::Server, format!("POST /orders/{}", variant % 7)),
        1 => (SpanKind::Producer, format!("send topic-{topic}")),
        2 => (SpanKind::Consumer, format!("process topic-{topic}")),
        3 => (SpanKind::Client, "UPDATE stock".to_owned()),
        _ => (SpanKind::Internal, "price basket".to_owned()),
    };
    let mut attributes = vec![text(
        "messaging.message.conversation_id",
        CORRELATION.to_owned(),
    )];
    let messages = matches!(kind, SpanKind::Producer | SpanKind::Consumer);
    if messages {
        let operation = if role == 1 { "send" } else { "process" };
        attributes.extend([
            text("messaging.system", "kafka".to_owned()),
            text("messaging.destination.name", format!("topic-{topic}")),
            text("messaging.operation.type", operation.to_owned()),
            text("messaging.destination.partition.id", (nth % 6).to_string()),
            attribute("messaging.kafka.offset", Value::IntValue(OFFSET << 4)),
            text("messaging.client.id", format!("client-{}", random % 6)),
        ]);
        if role == 2 {
            let group = text("messaging.consumer.group.name", format!("group-{topic}"));
            attributes.push(group);
        }
    }
    let plain = 25 - attributes.len() as u64;
    attributes.extend((0..plain).map(|i| {
        let value = (random >> (i % 24)) % 50;
        text(&format!("app.key.{i}"), format!("{value} of {i}"))
    }));
    let span = Span {
        trace_id: TRACE.to_vec(),
        span_id: SPAN.to_vec(),
        parent_span_id: if role == 0 {
            Vec::new()
        } else {
            PARENT.to_vec()
        },
        flags: 0x101,
        name,
        kind: kind.into(),
        start_time_unix_nano: START,
        end_time_unix_nano: END,
        attributes,
        ..Span::default()
    };
    let bytes = span.encode_to_vec();
    let mut offset = Vec::new();
    encode_varint((OFFSET << 4) as u64, &mut offset);
    let places = Places {
        trace: place(&bytes, &TRACE).unwrap_or(0),
        span: place(&bytes, &SPAN).unwrap_or(0),
        parent: place(&bytes, &PARENT),
        start: place(&bytes, &START.to_le_bytes()).unwrap_or(0),
        end: place(&bytes, &END.to_le_bytes()).unwrap_or(0),
        offset: messages.then(|| place(&bytes, &offset)).flatten(),
        correlation: place(&bytes, CORRELATION.as_bytes()).unwrap_or(0),
        duration_ns: random % 20_000_000,
    };
    (bytes, places)
}

fn place(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
