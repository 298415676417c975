//! Generated messages to the raw span, and back.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use prost::Message;

use super::{DecodeError, OriginMessage};
use crate::ids::{SpanId, TraceId};
use crate::raw::{Attributes, Origin, RawEvent, RawLink, RawSpan, SpanKind, StatusCode, Value};
use crate::time::UnixNanos;

pub(super) fn raw_span(span: ProtoSpan) -> Result<RawSpan, DecodeError> {
    let trace_id = TraceId::from_bytes(&span.trace_id).ok_or(DecodeError::TraceId)?;
    let span_id = SpanId::from_bytes(&span.span_id).ok_or(DecodeError::SpanId)?;
    let status = span.status.unwrap_or_default();
    Ok(RawSpan {
        trace_id,
        span_id,
        // A parent that is no id is no parent: the span itself is good.
        parent_span_id: SpanId::from_bytes(&span.parent_span_id),
        flags: span.flags,
        name: span.name,
        kind: match span.kind {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        },
        start: UnixNanos(span.start_time_unix_nano),
        end: UnixNanos(span.end_time_unix_nano),
        attributes: attributes(span.attributes),
        events: span
            .events
            .into_iter()
            .map(|event| RawEvent {
                time: UnixNanos(event.time_unix_nano),
                name: event.name,
                attributes: attributes(event.attributes),
            })
            .collect(),
        links: span
            .links
            .into_iter()
            .filter_map(|link| {
                Some(RawLink {
                    trace_id: TraceId::from_bytes(&link.trace_id)?,
                    span_id: SpanId::from_bytes(&link.span_id)?,
                    attributes: attributes(link.attributes),
                })
            })
            .collect(),
        status: match status.code {
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            _ => StatusCode::Unset,
        },
        status_message: status.message,
    })
}

/// Encodes a raw span as `opentelemetry.proto.trace.v1.Span`; the inverse of [`super::decode_span`].
///
/// Trace state, the links' flags and dropped counts, which [`RawSpan`] does not keep, are lost: what arrives from
/// outside is stored as its own bytes and does not come this way.
#[must_use]
pub fn encode_span(span: &RawSpan) -> Bytes {
    let message = ProtoSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        parent_span_id: span
            .parent_span_id
            .map(|id| id.0.to_vec())
            .unwrap_or_default(),
        flags: span.flags,
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Unspecified => 0,
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
        start_time_unix_nano: span.start.0,
        end_time_unix_nano: span.end.0,
        attributes: key_values(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_unix_nano: event.time.0,
                name: event.name.clone(),
                attributes: key_values(&event.attributes),
                ..Event::default()
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace_id.0.to_vec(),
                span_id: link.span_id.0.to_vec(),
                attributes: key_values(&link.attributes),
                ..Link::default()
            })
            .collect(),
        status: (span.status != StatusCode::Unset || !span.status_message.is_empty()).then(|| {
            Status {
                code: match span.status {
                    StatusCode::Unset => 0,
                    StatusCode::Ok => 1,
                    StatusCode::Error => 2,
                },
                message: span.status_message.clone(),
            }
        }),
        ..ProtoSpan::default()
    };
    message.encode_to_vec().into()
}

pub(super) fn origin(message: OriginMessage) -> Origin {
    let scope = message.scope.unwrap_or_default();
    Origin {
        resource: attributes(message.resource.unwrap_or_default().attributes),
        scope_name: scope.name,
        scope_version: scope.version,
        scope: attributes(scope.attributes),
        schema_url: message.schema_url,
    }
}

pub(super) fn origin_message(origin: &Origin) -> OriginMessage {
    OriginMessage {
        resource: Some(Resource {
            attributes: key_values(&origin.resource),
            ..Resource::default()
        }),
        scope: Some(InstrumentationScope {
            name: origin.scope_name.clone(),
            version: origin.scope_version.clone(),
            attributes: key_values(&origin.scope),
            ..InstrumentationScope::default()
        }),
        schema_url: origin.schema_url.clone(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs
        .into_iter()
        .map(|pair| (pair.key, value(pair.value)))
        .collect()
}

/// Recurses as deep as the message was, which prost's decoder has bounded to 100 levels.
fn value(value_in: Option<AnyValue>) -> Value {
    match value_in.and_then(|any| any.value) {
        None => Value::Empty,
        Some(any_value::Value::StringValue(text)) => Value::Str(text),
        Some(any_value::Value::BoolValue(flag)) => Value::Bool(flag),
        Some(any_value::Value::IntValue(number)) => Value::Int(number),
        Some(any_value::Value::DoubleValue(number)) => Value::Double(number),
        Some(any_value::Value::BytesValue(bytes)) => Value::Bytes(bytes),
        Some(any_value::Value::ArrayValue(array)) => Value::Array(
            array
                .values
                .into_iter()
                .map(|item| value(Some(item)))
                .collect(),
        ),
        Some(any_value::Value::KvlistValue(list)) => Value::Map(attributes(list.values)),
        // A reference into a profile's string table: OTLP asks other signals to treat it as absent.
        Some(any_value::Value::StringValueStrindex(_)) => Value::Empty,
    }
}

fn key_values(attributes: &[(String, Value)]) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| KeyValue {
            key: key.clone(),
            value: Some(any(value)),
            ..KeyValue::default()
        })
        .collect()
}

fn any(value: &Value) -> AnyValue {
    use any_value::Value as Any;
    let value = match value {
        Value::Empty => None,
        Value::Str(text) => Some(Any::StringValue(text.clone())),
        Value::Int(number) => Some(Any::IntValue(*number)),
        Value::Double(number) => Some(Any::DoubleValue(*number)),
        Value::Bool(flag) => Some(Any::BoolValue(*flag)),
        Value::Bytes(bytes) => Some(Any::BytesValue(bytes.clone())),
        Value::Array(items) => Some(Any::ArrayValue(ArrayValue {
            values: items.iter().map(any).collect(),
        })),
        Value::Map(pairs) => Some(Any::KvlistValue(KeyValueList {
            values: key_values(pairs),
        })),
    };
    AnyValue { value }
}
