//! Tests of the walk: it sees what prost sees, loses only what is bad, and takes any bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, span};
use proptest::prelude::*;
use prost::Message;

use super::{
    DecodeError, Decoder, MAX_COPIED_BYTES, MAX_ORIGIN_BYTES, MAX_SPAN_BYTES, MAX_SPANS,
    batch_from_bytes, count_messages, decode_origin, decode_span, encode_span,
};
use crate::normalise::{Rules, normalise};
use crate::raw::{RawLink, RawSpan, SpanKind, StatusCode, Value};

fn attribute(key: &str, value: Option<Any>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    }
}

fn service(name: &str) -> Resource {
    Resource {
        attributes: vec![attribute(
            "service.name",
            Some(Any::StringValue(name.to_owned())),
        )],
        ..Resource::default()
    }
}

fn proto_span(id: u8) -> ProtoSpan {
    ProtoSpan {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: format!("span {id}"),
        ..ProtoSpan::default()
    }
}

fn request(spans: Vec<ProtoSpan>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(service("billing")),
            scope_spans: vec![ScopeSpans {
                scope: None,
                spans,
                schema_url: String::new(),
            }],
            schema_url: "https://example.org/1".to_owned(),
        }],
    }
}

fn walk(
    request: &ExportTraceServiceRequest,
) -> Result<(crate::Batch, super::Rejected), DecodeError> {
    batch_from_bytes(request.encode_to_vec().into(), &Rules::default())
}

#[test]
fn spans_with_invalid_ids_are_rejected_and_the_rest_is_kept() {
    let mut spans: Vec<_> = (1..=7).map(proto_span).collect();
    spans[0].trace_id = vec![0; 16];
    spans[1].trace_id = vec![1; 15];
    spans[2].span_id = vec![0; 8];
    spans[3].span_id = Vec::new();
    spans[4].parent_span_id = vec![1; 3];
    let (batch, rejected) = walk(&request(spans)).unwrap();
    assert_eq!(rejected.count, 4);
    assert_eq!(
        rejected.reasons.into_iter().collect::<Vec<_>>(),
        [("invalid_span_id", 2), ("invalid_trace_id", 2)]
    );
    let kept: Vec<_> = batch.spans.iter().map(|span| &*span.span.name).collect();
    assert_eq!(kept, ["span 5", "span 6", "span 7"]);
    assert_eq!(
        batch.spans[0].span.parent, None,
        "a parent that is no id is no parent"
    );
}

#[test]
fn a_span_that_is_not_protobuf_costs_only_itself() {
    let mut bytes = Vec::new();
    let good = proto_span(1).encode_to_vec();
    // An invalid UTF-8 name; a field cut off.
    let mut bad_name = proto_span(2).encode_to_vec();
    let at = bad_name.iter().position(|byte| *byte == b's').unwrap();
    bad_name[at] = 0xff;
    let spans = [
        good.clone(),
        bad_name,
        good[..good.len() - 1].to_vec(),
        good,
    ];
    let mut scope = Vec::new();
    for span in &spans {
        prost::encoding::bytes::encode(2, span, &mut scope);
    }
    let mut resource = Vec::new();
    prost::encoding::bytes::encode(2, &scope, &mut resource);
    prost::encoding::bytes::encode(1, &resource, &mut bytes);
    let (batch, rejected) = batch_from_bytes(bytes.into(), &Rules::default()).unwrap();
    assert_eq!((batch.spans.len(), rejected.count), (2, 2));
    assert_eq!(rejected.message(), "2 rejected: the span cannot be decoded");
}

/// Protobuf allows any order of fields, and a message field that is repeated merges.
#[test]
fn a_resource_may_follow_its_spans_and_come_in_parts() {
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: "s".to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: vec![proto_span(1)],
        schema_url: String::new(),
    };
    let mut resource_spans = Vec::new();
    prost::encoding::message::encode(2, &scope_spans, &mut resource_spans);
    prost::encoding::message::encode(1, &service("billing"), &mut resource_spans);
    let more = Resource {
        attributes: vec![attribute(
            "service.namespace",
            Some(Any::StringValue("shop".to_owned())),
        )],
        ..Resource::default()
    };
    prost::encoding::message::encode(1, &more, &mut resource_spans);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(1, &resource_spans, &mut bytes);
    let (batch, _) = batch_from_bytes(bytes.into(), &Rules::default()).unwrap();
    let span = &batch.spans[0].span;
    assert_eq!(
        (&*span.service.name, &*span.service.namespace, &*span.scope),
        ("billing", "shop", "s")
    );
}

#[test]
fn equal_origins_are_kept_once_and_carry_the_schema_of_the_scope_or_the_resource() {
    let mut twice = request(vec![proto_span(1)]);
    twice.resource_spans.push(twice.resource_spans[0].clone());
    twice.resource_spans.push(ResourceSpans {
        schema_url: String::new(),
        ..twice.resource_spans[0].clone()
    });
    let (batch, _) = walk(&twice).unwrap();
    assert_eq!(batch.origins.len(), 2);
    assert_eq!(
        batch
            .spans
            .iter()
            .map(|span| span.origin)
            .collect::<Vec<_>>(),
        [0, 0, 1]
    );
    assert_eq!(
        decode_origin(&batch.origins[0]).unwrap().schema_url,
        "https://example.org/1"
    );
}

#[test]
fn the_bytes_of_a_span_are_those_that_were_sent_and_equal_bytes_hash_equal() {
    // A field of a newer OTLP survives.
    let mut newer = proto_span(1).encode_to_vec();
    prost::encoding::string::encode(2_000, &"from the future".to_owned(), &mut newer);
    let mut scope = Vec::new();
    for _ in 0..2 {
        prost::encoding::bytes::encode(2, &newer, &mut scope);
    }
    let mut resource = Vec::new();
    prost::encoding::bytes::encode(2, &scope, &mut resource);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(1, &resource, &mut bytes);
    let (batch, _) = batch_from_bytes(bytes.into(), &Rules::default()).unwrap();
    assert_eq!(batch.spans[0].raw, newer);
    assert_eq!(batch.spans[0].hash, batch.spans[1].hash);
    let (other, _) = walk(&request(vec![proto_span(2)])).unwrap();
    assert_ne!(batch.spans[0].hash, other.spans[0].hash);
}

#[test]
fn oversized_spans_and_origins_are_rejected_alone() {
    let mut large = proto_span(1);
    large.name = "x".repeat(MAX_SPAN_BYTES);
    let (batch, rejected) = walk(&request(vec![large, proto_span(2)])).unwrap();
    assert_eq!(
        (batch.spans.len(), rejected.reasons["span_too_large"]),
        (1, 1)
    );

    let mut two = request(vec![proto_span(1)]);
    two.resource_spans.push(ResourceSpans {
        resource: Some(service(&"x".repeat(MAX_ORIGIN_BYTES))),
        ..two.resource_spans[0].clone()
    });
    let (batch, rejected) = walk(&two).unwrap();
    assert_eq!(
        (batch.spans.len(), rejected.reasons["origin_too_large"]),
        (1, 1)
    );
}

/// One resource of half a MiB, and a span in each of so many scopes.
fn scopes_of_a_large_resource(names: impl Iterator<Item = String>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(service(&"x".repeat(MAX_ORIGIN_BYTES / 2))),
        scope_spans: names
            .map(|name| ScopeSpans {
                scope: Some(InstrumentationScope {
                    name,
                    ..InstrumentationScope::default()
                }),
                spans: vec![proto_span(1)],
                schema_url: String::new(),
            })
            .collect(),
        schema_url: String::new(),
    }
}

#[test]
fn a_resource_is_not_copied_for_any_number_of_scopes() {
    let mut large = request(vec![proto_span(1)]);
    let scopes = (0..10_000).map(|n| format!("scope {n}"));
    large
        .resource_spans
        .insert(0, scopes_of_a_large_resource(scopes));
    let (batch, rejected) = walk(&large).unwrap();
    // The one that was sent, 31 copies (with a few bytes each around the half MiB), and the other resource.
    assert_eq!(batch.spans.len(), 1 + 31 + 1);
    assert_eq!(rejected.reasons["origins_too_large"], 10_000 - 32);
    assert!(rejected.message().contains("longer than 16 MiB"));
    assert!(batch.bytes() < MAX_COPIED_BYTES + 2 * MAX_ORIGIN_BYTES);
}

#[test]
fn a_scope_that_recurs_is_no_further_copy() {
    let mut recurring = request(Vec::new());
    let scopes = (0..10_000).map(|n| format!("scope {}", n % 2));
    recurring.resource_spans = vec![scopes_of_a_large_resource(scopes)];
    let (batch, rejected) = walk(&recurring).unwrap();
    assert_eq!((batch.spans.len(), rejected.count), (10_000, 0));
    let scopes = batch.origins.iter().map(|origin| decode_origin(origin));
    let scopes: Vec<_> = scopes.map(|origin| origin.unwrap().scope_name).collect();
    assert_eq!(scopes, ["scope 0", "scope 1"]);
    assert!(
        batch
            .spans
            .iter()
            .zip(0..)
            .all(|(span, n)| span.origin == n % 2)
    );
}

#[test]
fn a_scope_with_its_own_schema_is_another_than_one_that_inherits() {
    let mut urls = request(Vec::new());
    let resource = &mut urls.resource_spans[0];
    resource.scope_spans = ["", "https://example.org/2", "", "https://example.org/1"]
        .map(|url| ScopeSpans {
            schema_url: url.to_owned(),
            ..scopes_of_a_large_resource(["s".to_owned()].into_iter()).scope_spans[0].clone()
        })
        .into();
    let (batch, _) = walk(&urls).unwrap();
    let schema = |span: &crate::BatchSpan| {
        let origin = &batch.origins[span.origin as usize];
        decode_origin(origin).unwrap().schema_url
    };
    let schemas: Vec<_> = batch.spans.iter().map(schema).collect();
    let [first, second] = ["https://example.org/1", "https://example.org/2"];
    assert_eq!(schemas, [first, second, first, first]);
    assert_eq!(batch.origins.len(), 2);
}

#[test]
fn memory_is_asked_for_piece_by_piece_and_a_refusal_ends_the_reading() {
    let mut large = request(vec![proto_span(1)]);
    let scopes = (0..20).map(|n| format!("scope {n}"));
    large
        .resource_spans
        .push(scopes_of_a_large_resource(scopes));
    let bytes = Bytes::from(large.encode_to_vec());
    let mut decoder = Decoder::new(std::sync::Arc::default());
    let mut asked = 0;
    let (batch, _) = decoder
        .batch_within(&bytes, |more| {
            asked += more;
            Ok::<_, DecodeError>(())
        })
        .unwrap();
    let spans = batch.spans.len() * size_of::<crate::BatchSpan>();
    let origins: usize = batch.origins.iter().map(Bytes::len).sum();
    assert!((spans + origins..spans + origins + 20_000).contains(&asked));

    let mut refused_at = 0;
    let outcome = decoder.batch_within(&bytes, |more| {
        refused_at += more;
        if refused_at > 2 * MAX_ORIGIN_BYTES {
            return Err(DecodeError::TooManySpans);
        }
        Ok(())
    });
    assert!(outcome.is_err());
    assert!(refused_at < 3 * MAX_ORIGIN_BYTES, "{refused_at}");
}

#[test]
fn more_spans_than_a_request_may_hold_are_refused_before_they_are_decoded() {
    // `12 00` is an empty span: two bytes on the wire.
    let scope = [0x12, 0x00].repeat(MAX_SPANS + 1);
    let mut resource = Vec::new();
    prost::encoding::bytes::encode(2, &scope, &mut resource);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(1, &resource, &mut bytes);
    let outcome = batch_from_bytes(bytes.into(), &Rules::default());
    assert!(matches!(outcome, Err(DecodeError::TooManySpans)));
}

#[test]
fn values_nested_too_deep_reject_the_span_and_do_not_overflow_the_stack() {
    let mut value = Any::StringValue("core".to_owned());
    for level in 0..400 {
        let inner = AnyValue { value: Some(value) };
        value = if level % 2 == 0 {
            Any::ArrayValue(ArrayValue {
                values: vec![inner],
            })
        } else {
            Any::KvlistValue(KeyValueList {
                values: vec![KeyValue {
                    key: "k".to_owned(),
                    value: Some(inner),
                    ..KeyValue::default()
                }],
            })
        };
    }
    let mut deep = proto_span(1);
    deep.attributes.push(attribute("deep", Some(value)));
    // Encoding computes each level's length anew, so more levels take long; prost stops at 100.
    let encoded = request(vec![deep, proto_span(2)]).encode_to_vec();
    let (batch, rejected) = batch_from_bytes(encoded.into(), &Rules::default()).unwrap();
    assert_eq!((batch.spans.len(), rejected.count), (1, 1));
}

#[test]
fn a_request_without_spans_is_an_empty_batch() {
    for request in [ExportTraceServiceRequest::default(), request(Vec::new())] {
        let (batch, rejected) = walk(&request).unwrap();
        assert!(batch.spans.is_empty() && batch.origins.is_empty() && rejected.count == 0);
    }
}

#[test]
fn broken_frames_are_errors() {
    let good = request(vec![proto_span(1)]).encode_to_vec();
    assert!(
        batch_from_bytes(
            Bytes::from(good[..good.len() - 1].to_vec()),
            &Rules::default()
        )
        .is_err()
    );
    for bytes in [
        &b"{\"resourceSpans\":[]}"[..], // a client that mixed up its content types
        &[0x08, 0x01],                  // a number where a message belongs
        &[0x0b],                        // a group
        &[0x00],                        // field number 0
        &[
            0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ], // an endless varint
    ] {
        let outcome = batch_from_bytes(Bytes::copy_from_slice(bytes), &Rules::default());
        assert!(outcome.is_err(), "{bytes:?}");
    }
}

#[test]
fn messages_are_counted_along_their_path() {
    let body = Bytes::from(request(vec![proto_span(1), proto_span(2)]).encode_to_vec());
    assert_eq!(count_messages(&body, &[&[1], &[2], &[2]]).unwrap(), 2);
    assert_eq!(count_messages(&body, &[&[1], &[1, 2]]).unwrap(), 2);
    assert_eq!(count_messages(&body, &[&[9]]).unwrap(), 0);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        ".{0,8}".prop_map(Value::Str),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("NaN equals nothing", |n| !n.is_nan())
            .prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((".{0,4}", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

fn any_raw_span() -> impl Strategy<Value = RawSpan> {
    let attributes = || proptest::collection::vec((".{0,12}", any_value()), 0..5);
    let id =
        || (1_u8..=255).prop_map(|byte| (crate::TraceId([byte; 16]), crate::SpanId([byte; 8])));
    let kind = prop_oneof![
        Just(SpanKind::Unspecified),
        Just(SpanKind::Internal),
        Just(SpanKind::Server),
        Just(SpanKind::Client),
        Just(SpanKind::Producer),
        Just(SpanKind::Consumer),
    ];
    let status = prop_oneof![
        Just(StatusCode::Unset),
        Just(StatusCode::Ok),
        Just(StatusCode::Error)
    ];
    (
        (
            id(),
            proptest::option::of(id()),
            any::<u32>(),
            ".{0,20}",
            kind,
        ),
        (any::<u64>(), any::<u64>(), attributes()),
        proptest::collection::vec((id(), attributes()), 0..3),
        proptest::collection::vec((any::<u64>(), ".{0,8}", attributes()), 0..3),
        (status, ".{0,8}"),
    )
        .prop_map(
            |(
                (id, parent, flags, name, kind),
                (start, end, attributes),
                links,
                events,
                (status, message),
            )| RawSpan {
                trace_id: id.0,
                span_id: id.1,
                parent_span_id: parent.map(|parent| parent.1),
                flags,
                name,
                kind,
                start: crate::UnixNanos(start),
                end: crate::UnixNanos(end),
                attributes,
                events: events
                    .into_iter()
                    .map(|(time, name, attributes)| crate::raw::RawEvent {
                        time: crate::UnixNanos(time),
                        name,
                        attributes,
                    })
                    .collect(),
                links: links
                    .into_iter()
                    .map(|(id, attributes)| RawLink {
                        trace_id: id.0,
                        span_id: id.1,
                        attributes,
                    })
                    .collect(),
                status,
                status_message: message,
            },
        )
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = batch_from_bytes(bytes.clone().into(), &Rules::default());
        let _ = decode_span(&bytes);
        let _ = decode_origin(&bytes);
        let _ = count_messages(&bytes, &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]]);
    }

    #[test]
    fn a_damaged_request_is_an_answer(at in any::<prop::sample::Index>(), to in any::<u8>(), raw in any_raw_span()) {
        let span = ProtoSpan::decode(encode_span(&raw)).unwrap();
        let mut bytes = request(vec![span]).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = batch_from_bytes(bytes.into(), &Rules::default());
    }

    #[test]
    fn any_span_survives_encoding(raw in any_raw_span()) {
        prop_assert_eq!(decode_span(&encode_span(&raw)).unwrap(), raw);
    }

    #[test]
    fn the_walk_sees_what_prost_sees(spans in proptest::collection::vec(any_raw_span(), 0..4)) {
        let spans: Vec<ProtoSpan> = spans.iter().map(|raw| ProtoSpan::decode(encode_span(raw)).unwrap()).collect();
        let bytes = Bytes::from(request(spans).encode_to_vec());
        let decoded = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        let (walked, _) = batch_from_bytes(bytes, &Rules::default()).unwrap();
        let decoded = &decoded.resource_spans[0].scope_spans[0].spans;
        prop_assert_eq!(walked.spans.len(), decoded.len());
        for (walked_span, decoded) in walked.spans.iter().zip(decoded) {
            // The other way to the same meaning: prost decodes, and the normaliser reads what it made.
            let raw = Bytes::from(decoded.encode_to_vec());
            let origin = decode_origin(&walked.origins[walked_span.origin as usize]).unwrap();
            let meaning = normalise(&origin, &decode_span(&raw).unwrap(), &Rules::default());
            prop_assert_eq!(&walked_span.span, &meaning);
            prop_assert_eq!(&walked_span.raw, &raw);
        }
    }
}

#[test]
fn links_with_invalid_ids_are_left_out() {
    let mut with_links = proto_span(1);
    with_links.links = vec![
        span::Link {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            ..span::Link::default()
        },
        span::Link {
            trace_id: vec![0; 16],
            span_id: vec![1; 8],
            ..span::Link::default()
        },
        span::Link {
            trace_id: vec![1; 16],
            span_id: vec![1; 4],
            ..span::Link::default()
        },
    ];
    let (batch, rejected) = walk(&request(vec![with_links])).unwrap();
    assert_eq!((batch.spans[0].span.links.len(), rejected.count), (1, 0));
}
