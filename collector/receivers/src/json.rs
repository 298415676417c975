//! OTLP's JSON, which is not quite protobuf's: ids are hexadecimal of either case, enums are integers, 64-bit
//! integers are strings or numbers, and unknown fields are ignored.
//!
//! A request is walked as raw text down to each span, and one span at a time is decoded and encoded as protobuf,
//! which is then read like any other. So JSON has the same bounds as protobuf (an empty attribute is 3 bytes in
//! text and 64 in memory), and a span that cannot be read costs only itself.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use highwater_model::Batch;
use highwater_model::otlp::{
    Decoder, MALFORMED_SPAN, MAX_ORIGIN_BYTES, MAX_SPAN_BYTES, ORIGIN_TOO_LARGE, Rejected,
    ResourceHead, SPAN_TOO_LARGE,
};
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::ingest::Failure;

/// Texts from this length on have their objects counted before they are read: an attribute of three letters takes a hundred
/// and fifty bytes then.
const LONG_TEXT: usize = 64 << 10;

/// What the objects of a message take while it is read, where they are many; `None` where it cannot fit in `most` bytes once it
/// is encoded.
fn weigh(message: &RawValue, most: usize) -> Option<usize> {
    let text = message.get();
    // Base64 of either alphabet grows by a third and escapes may double text; an object is encoded in two bytes at least.
    if text.len() > 4 * most {
        return None;
    }
    let objects = match text.len() {
        ..LONG_TEXT => 0,
        _ => objects(text),
    };
    (objects <= most / 2).then_some(objects * size_of::<KeyValueJson>())
}

/// Objects in a JSON text, its own included.
fn objects(text: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    resource_spans: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default)]
    scope_spans: Option<&'a RawValue>,
    #[serde(default)]
    schema_url: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default)]
    spans: Option<&'a RawValue>,
    #[serde(default)]
    schema_url: Option<String>,
}

/// Reads an `ExportTraceServiceRequest` in JSON. `take` gets the bytes that the batch comes to hold beside the text,
/// piece by piece: its spans are encoded anew.
pub(crate) fn batch(
    body: &[u8],
    decoder: &mut Decoder,
    mut take: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<(Batch, Rejected), Failure> {
    let mut builder = decoder.builder();
    let request: Request<'_> = parse_body(body)?;
    for_each(request.resource_spans, |resource_spans| {
        let of_resource: ResourceSpans<'_> = parse(resource_spans)?;
        let resource = head::<ResourceJson>(of_resource.resource, &mut take)?
            .map(|head| head.map(|json| Resource::from(json).encode_to_vec()));
        let mut resource_head = resource.as_ref().map(|resource| {
            ResourceHead::new(
                resource.as_deref().unwrap_or_default(),
                of_resource.schema_url.as_deref().unwrap_or_default(),
            )
        });
        for_each(of_resource.scope_spans, |scope_spans| {
            let of_scope: ScopeSpans<'_> = parse(scope_spans)?;
            let scope = head::<ScopeJson>(of_scope.scope, &mut take)?.map(|head| {
                head.map(|json| common::InstrumentationScope::from(json).encode_to_vec())
            });
            let mut origin = None;
            for_each(of_scope.spans, |span| {
                let index = match origin {
                    Some(known) => known,
                    // Only for the first span: an origin without one is not kept.
                    None => *origin.insert(match (&mut resource_head, &scope) {
                        (Some(head), Some(scope)) => builder.push_scope(
                            head,
                            scope.as_deref().unwrap_or_default(),
                            of_scope.schema_url.as_deref().unwrap_or_default(),
                        )?,
                        _ => Err(ORIGIN_TOO_LARGE),
                    }),
                };
                match (index, weigh(span, MAX_SPAN_BYTES)) {
                    (Err(reason), _) => builder.reject(reason)?,
                    (Ok(_), None) => builder.reject(SPAN_TOO_LARGE)?,
                    (Ok(index), Some(weight)) => {
                        take(weight)?;
                        match parse::<SpanJson>(span) {
                            Ok(json) => builder
                                .push_span(index, trace::Span::from(json).encode_to_vec().into())?,
                            Err(_) => builder.reject(MALFORMED_SPAN)?,
                        }
                    }
                }
                builder.grown().map_or(Ok(()), &mut take)
            })
        })
    })?;
    take(builder.tell())?;
    Ok(builder.finish())
}

/// Reads a resource or a scope: the outer `None` is one that is too long to be read, the inner one that was not sent.
#[expect(
    clippy::option_option,
    reason = "absent and too long are different answers"
)]
fn head<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    take: &mut impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Option<Option<T>>, Failure> {
    let Some(raw) = raw else {
        return Ok(Some(None));
    };
    let Some(weight) = weigh(raw, MAX_ORIGIN_BYTES) else {
        return Ok(None);
    };
    take(weight)?;
    Ok(Some(Some(parse(raw)?)))
}

/// Parses a message. Only objects are: serde would take an array for a struct, field by field.
fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Failure> {
    if !raw.get().starts_with('{') {
        return Err(Failure::Bad(
            "not valid OTLP JSON: a message must be an object".into(),
        ));
    }
    serde_json::from_str(raw.get()).map_err(bad)
}

fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    parse(serde_json::from_slice(body).map_err(bad)?)
}

fn bad(error: serde_json::Error) -> Failure {
    Failure::Bad(format!("not valid OTLP JSON: {error}"))
}

/// Visits the elements of an array as text, holding none of them.
fn for_each<'a>(
    array: Option<&'a RawValue>,
    visit: impl FnMut(&'a RawValue) -> Result<(), Failure>,
) -> Result<(), Failure> {
    struct Each<'f, F> {
        visit: F,
        failure: &'f mut Option<Failure>,
    }
    impl<'de, F: FnMut(&'de RawValue) -> Result<(), Failure>> DeserializeSeed<'de> for Each<'_, F> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de, F: FnMut(&'de RawValue) -> Result<(), Failure>> Visitor<'de> for Each<'_, F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element::<&'de RawValue>()? {
                if let Err(failure) = (self.visit)(element) {
                    *self.failure = Some(failure);
                    return Err(A::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }
    let Some(array) = array else { return Ok(()) };
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_str(array.get());
    let outcome = Each {
        visit,
        failure: &mut failure,
    }
    .deserialize(&mut deserializer);
    match (failure, outcome) {
        (Some(failure), _) => Err(failure),
        (None, outcome) => outcome.map_err(bad),
    }
}

/// `null` is what is absent, as in protobuf's JSON.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An id in hexadecimal; what is not becomes empty bytes, which every reader takes for invalid.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text
        .and_then(|text| hex::decode(text).ok())
        .unwrap_or_default())
}

/// A 64-bit integer as a number or a string of digits.
struct Number<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Visitor<'_> for Number<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, or a string of digits")
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        whole(i128::from(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        whole(i128::from(number))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // 1.7e18 is an integer in JSON's eyes, and some senders write it so.
        if number.fract() != 0.0 || number.abs() > 1e20 {
            return Err(E::custom("not an integer"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 1e20")]
        whole(number as i128)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        whole(text.parse().map_err(E::custom)?)
    }
}

fn whole<T: TryFrom<i128>, E: Error>(number: i128) -> Result<T, E> {
    T::try_from(number).map_err(|_| E::custom("an integer out of range"))
}

/// Newtype over [`Number`], so that it can stand in `Option` and be absent.
struct Integer<T>(T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Number::<T>(PhantomData))
            .map(Self)
    }
}

fn integer<'de, D: Deserializer<'de>, T: TryFrom<i128> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number: Option<Integer<T>> = Option::deserialize(deserializer)?;
    Ok(number.map(|number| number.0).unwrap_or_default())
}

/// An enum: an integer and nothing else, so that `"SPAN_KIND_SERVER"` is malformed as OTLP says.
fn enumeration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A double, also as the strings that protobuf's JSON uses for what JSON has no number for.
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyDouble;
        impl Visitor<'_> for AnyDouble {
            type Value = f64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }
            #[expect(clippy::cast_precision_loss, reason = "a double was meant")]
            fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }
            #[expect(clippy::cast_precision_loss, reason = "a double was meant")]
            fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
                match text {
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    other => other.parse().map_err(E::custom),
                }
            }
        }
        deserializer.deserialize_any(AnyDouble).map(Self)
    }
}

/// Bytes in base64 of either alphabet.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(&text)
            .or_else(|_| BASE64_URL_SAFE.decode(&text))
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceJson {
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<KeyValueJson>,
    #[serde(deserialize_with = "integer")]
    dropped_attributes_count: u32,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeJson {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    version: String,
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<KeyValueJson>,
    #[serde(deserialize_with = "integer")]
    dropped_attributes_count: u32,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct KeyValueJson {
    #[serde(deserialize_with = "or_default")]
    key: String,
    value: Option<AnyJson>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct AnyJson {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Integer<i64>>,
    double_value: Option<Double>,
    array_value: Option<ArrayJson>,
    kvlist_value: Option<KeyValueListJson>,
    bytes_value: Option<Base64>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct ArrayJson {
    #[serde(deserialize_with = "or_default")]
    values: Vec<AnyJson>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct KeyValueListJson {
    #[serde(deserialize_with = "or_default")]
    values: Vec<KeyValueJson>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SpanJson {
    #[serde(deserialize_with = "id")]
    trace_id: Vec<u8>,
    #[serde(deserialize_with = "id")]
    span_id: Vec<u8>,
    #[serde(deserialize_with = "or_default")]
    trace_state: String,
    #[serde(deserialize_with = "id")]
    parent_span_id: Vec<u8>,
    #[serde(deserialize_with = "integer")]
    flags: u32,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "enumeration")]
    kind: i32,
    #[serde(deserialize_with = "integer")]
    start_time_unix_nano: u64,
    #[serde(deserialize_with = "integer")]
    end_time_unix_nano: u64,
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<KeyValueJson>,
    #[serde(deserialize_with = "integer")]
    dropped_attributes_count: u32,
    #[serde(deserialize_with = "or_default")]
    events: Vec<EventJson>,
    #[serde(deserialize_with = "integer")]
    dropped_events_count: u32,
    #[serde(deserialize_with = "or_default")]
    links: Vec<LinkJson>,
    #[serde(deserialize_with = "integer")]
    dropped_links_count: u32,
    status: Option<StatusJson>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct EventJson {
    #[serde(deserialize_with = "integer")]
    time_unix_nano: u64,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<KeyValueJson>,
    #[serde(deserialize_with = "integer")]
    dropped_attributes_count: u32,
}

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LinkJson {
    #[serde(deserialize_with = "id")]
    trace_id: Vec<u8>,
    #[serde(deserialize_with = "id")]
    span_id: Vec<u8>,
    #[serde(deserialize_with = "or_default")]
    trace_state: String,
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<KeyValueJson>,
    #[serde(deserialize_with = "integer")]
    dropped_attributes_count: u32,
    #[serde(deserialize_with = "integer")]
    flags: u32,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct StatusJson {
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(deserialize_with = "enumeration")]
    code: i32,
}

impl From<ResourceJson> for Resource {
    fn from(json: ResourceJson) -> Self {
        Self {
            attributes: key_values(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count,
            ..Self::default()
        }
    }
}

impl From<ScopeJson> for common::InstrumentationScope {
    fn from(json: ScopeJson) -> Self {
        Self {
            name: json.name,
            version: json.version,
            attributes: key_values(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count,
        }
    }
}

impl From<SpanJson> for trace::Span {
    fn from(json: SpanJson) -> Self {
        Self {
            trace_id: json.trace_id,
            span_id: json.span_id,
            trace_state: json.trace_state,
            parent_span_id: json.parent_span_id,
            flags: json.flags,
            name: json.name,
            kind: json.kind,
            start_time_unix_nano: json.start_time_unix_nano,
            end_time_unix_nano: json.end_time_unix_nano,
            attributes: key_values(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count,
            events: json
                .events
                .into_iter()
                .map(|event| trace::span::Event {
                    time_unix_nano: event.time_unix_nano,
                    name: event.name,
                    attributes: key_values(event.attributes),
                    dropped_attributes_count: event.dropped_attributes_count,
                })
                .collect(),
            dropped_events_count: json.dropped_events_count,
            links: json
                .links
                .into_iter()
                .map(|link| trace::span::Link {
                    trace_id: link.trace_id,
                    span_id: link.span_id,
                    trace_state: link.trace_state,
                    attributes: key_values(link.attributes),
                    dropped_attributes_count: link.dropped_attributes_count,
                    flags: link.flags,
                })
                .collect(),
            dropped_links_count: json.dropped_links_count,
            status: json.status.map(|status| trace::Status {
                message: status.message,
                code: status.code,
            }),
        }
    }
}

fn key_values(pairs: Vec<KeyValueJson>) -> Vec<common::KeyValue> {
    pairs
        .into_iter()
        .map(|pair| common::KeyValue {
            key: pair.key,
            value: pair.value.map(any),
            ..common::KeyValue::default()
        })
        .collect()
}

/// Recurses no deeper than the text did, which serde_json has bounded to 128 levels.
fn any(json: AnyJson) -> common::AnyValue {
    use common::any_value::Value;
    let value = None
        .or(json.string_value.map(Value::StringValue))
        .or(json.bool_value.map(Value::BoolValue))
        .or(json.int_value.map(|number| Value::IntValue(number.0)))
        .or(json.double_value.map(|number| Value::DoubleValue(number.0)))
        .or(json.array_value.map(|array| {
            Value::ArrayValue(common::ArrayValue {
                values: array.values.into_iter().map(any).collect(),
            })
        }))
        .or(json.kvlist_value.map(|list| {
            Value::KvlistValue(common::KeyValueList {
                values: key_values(list.values),
            })
        }))
        .or(json.bytes_value.map(|bytes| Value::BytesValue(bytes.0)));
    common::AnyValue { value }
}

/// A part of a request that is only counted. Its array holds nothing: elements are added up as they are read.
trait Count: Default {
    fn count(&self) -> u64;
}

/// The sum over an array's elements.
struct Sum<T>(u64, PhantomData<T>);

impl<T> Default for Sum<T> {
    fn default() -> Self {
        Self(0, PhantomData)
    }
}

impl<'de, T: Count + Deserialize<'de>> Deserialize<'de> for Sum<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Add<T>(PhantomData<T>);
        impl<'de, T: Count + Deserialize<'de>> Visitor<'de> for Add<T> {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_unit<E: Error>(self) -> Result<u64, E> {
                Ok(0)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
                let mut sum = 0;
                while let Some(element) = seq.next_element::<T>()? {
                    sum += element.count();
                }
                Ok(sum)
            }
        }
        let sum = deserializer.deserialize_any(Add::<T>(PhantomData))?;
        Ok(Self(sum, PhantomData))
    }
}

/// One point or record, whatever it holds.
impl Count for IgnoredAny {
    fn count(&self) -> u64 {
        1
    }
}

macro_rules! counted {
    ($name:ident { $($field:ident: $inner:ty),+ $(,)? }) => {
        #[derive(serde::Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct $name { $($field: Sum<$inner>),+ }
        impl Count for $name {
            fn count(&self) -> u64 { 0 $(+ self.$field.0)+ }
        }
    };
}

counted!(LogsJson {
    resource_logs: ResourceLogs
});
counted!(ResourceLogs {
    scope_logs: ScopeLogs
});
counted!(ScopeLogs {
    log_records: IgnoredAny
});
counted!(MetricsJson {
    resource_metrics: ResourceMetrics
});
counted!(ResourceMetrics {
    scope_metrics: ScopeMetrics
});
counted!(ScopeMetrics { metrics: Metric });
counted!(Points {
    data_points: IgnoredAny
});

#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metric {
    gauge: Option<Points>,
    sum: Option<Points>,
    histogram: Option<Points>,
    exponential_histogram: Option<Points>,
    summary: Option<Points>,
}

impl Count for Metric {
    fn count(&self) -> u64 {
        [
            &self.gauge,
            &self.sum,
            &self.histogram,
            &self.exponential_histogram,
            &self.summary,
        ]
        .into_iter()
        .flatten()
        .map(Count::count)
        .sum()
    }
}

/// Metric points of an `ExportMetricsServiceRequest`.
pub(crate) fn count_metric_points(body: &[u8]) -> Result<u64, Failure> {
    Ok(parse_body::<MetricsJson>(body)?.count())
}

/// Log records of an `ExportLogsServiceRequest`.
pub(crate) fn count_log_records(body: &[u8]) -> Result<u64, Failure> {
    Ok(parse_body::<LogsJson>(body)?.count())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use highwater_model::normalise::Rules;
    use proptest::prelude::*;

    use super::{Decoder, batch, count_log_records, count_metric_points, objects};
    use crate::ingest::Failure;

    const SAMPLE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
        "scopeSpans":[{"scope":{"name":"s"},"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
        "kind":5,"startTimeUnixNano":"1","attributes":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":1}]}}}]}]}]}]}"#;

    fn decoder() -> Decoder {
        Decoder::new(Arc::new(Rules::default()))
    }

    /// So many spans of 75 bytes of text.
    fn tiny_spans(count: usize) -> String {
        let ids = r#"{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}"#;
        let spans = vec![ids; count].join(",");
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
    }

    #[test]
    fn memory_is_asked_for_while_spans_are_made_and_all_of_it_is() {
        let mut asked = Vec::new();
        let (batch, _) = batch(tiny_spans(5_000).as_bytes(), &mut decoder(), |more| {
            asked.push(more);
            Ok(())
        })
        .unwrap();
        let held = batch.spans.len() * size_of_val(&batch.spans[0]) + batch.bytes();
        assert!(asked.iter().sum::<usize>() >= held);
        assert!(asked.len() > 5, "{asked:?}");
    }

    #[test]
    fn a_span_of_nothing_but_attributes_is_asked_memory_for_or_rejected_before_it_is_read() {
        let with = |attributes: usize| {
            let empty = vec!["{}"; attributes].join(",");
            let text = SAMPLE.replace(r#""attributes":["#, &format!(r#""attributes":[{empty},"#));
            let mut asked = 0;
            let (batch, rejected) = batch(text.as_bytes(), &mut decoder(), |more| {
                asked += more;
                Ok(())
            })
            .unwrap();
            (batch.spans.len(), rejected.count, asked)
        };
        assert_eq!((with(10).0, with(10).1), (1, 0));
        let (taken, rejected, asked) = with(100_000);
        assert_eq!((taken, rejected), (1, 0));
        assert!(asked > 100_000 * 100, "{asked}");
        let (taken, rejected, asked) = with(3_000_000);
        assert_eq!((taken, rejected), (0, 1));
        assert!(asked < 100_000, "{asked}");
        // Braces within texts are none.
        assert_eq!(objects(r#"{"a":"{\"{","b":[{},{"c\\":{}}]}"#), 4);
    }

    #[test]
    fn a_refusal_of_memory_ends_the_reading() {
        // They would become some 14 MB.
        const ROOM: usize = 1_000_000;
        let mut asked = 0;
        let outcome = batch(tiny_spans(20_000).as_bytes(), &mut decoder(), |more| {
            asked += more;
            if asked > ROOM {
                return Err(Failure::Retry("no room".into()));
            }
            Ok(())
        });
        assert!(matches!(outcome, Err(Failure::Retry(_))));
        // The list of spans grows by doubling, and is told when it has.
        assert!(asked < 3 * ROOM, "{asked}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = batch(&bytes, &mut decoder(), |_| Ok(()));
            let _ = count_metric_points(&bytes);
            let _ = count_log_records(&bytes);
        }

        #[test]
        fn a_damaged_request_is_an_answer(at in 0..SAMPLE.len(), to in any::<u8>()) {
            let mut bytes = SAMPLE.as_bytes().to_vec();
            bytes[at] = to;
            if let Ok((batch, rejected)) = batch(&bytes, &mut decoder(), |_| Ok(())) {
                prop_assert!(batch.spans.len() as u64 + rejected.count <= 1);
            }
        }
    }
}
