//! What OTLP's JSON says differently from protobuf's.

use highwater_model::raw::{SpanKind, StatusCode, Value};

use super::http::{JSON, PROTOBUF, parts, post};
use super::{receiver, request, span};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
use prost::Message;
use serde_json::json;

fn one_span(fields: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{
        "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"{fields}}}]}}]}}]}}"#
    )
}

#[tokio::test]
async fn the_protocols_own_example_is_read() {
    // opentelemetry-proto, examples/trace.json.
    let example = r#"{
      "resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
        "scopeSpans": [{
          "scope": {"name": "my.library", "version": "1.0.0",
            "attributes": [{"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}]},
          "spans": [{
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "EEE19B7EC3C1B174",
            "parentSpanId": "EEE19B7EC3C1B173",
            "name": "I'm a server span",
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661000000000",
            "kind": 2,
            "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}]
          }]
        }]
      }]
    }"#;
    let receiver = receiver().await;
    assert!(
        post(&receiver, JSON, example)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let span = &receiver.spans()[0];
    assert_eq!(span.trace_id.to_hex(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.span_id.to_hex(), "eee19b7ec3c1b174");
    assert_eq!(span.parent.unwrap().to_hex(), "eee19b7ec3c1b173");
    assert_eq!(
        (&*span.service.name, &*span.scope, &*span.name),
        ("my.service", "my.library", "I'm a server span")
    );
    assert_eq!(
        (span.start.0, span.end.0),
        (1_544_712_660_000_000_000, 1_544_712_661_000_000_000)
    );
    assert_eq!(span.kind, SpanKind::Server);
}

#[tokio::test]
async fn every_kind_of_value_is_read_in_both_encodings() {
    let receiver = receiver().await;
    let body = one_span(
        r#","attributes":[
        {"key":"empty","value":{}},{"key":"none"},{"key":"null","value":null},
        {"key":"text","value":{"stringValue":""}},
        {"key":"int as text","value":{"intValue":"-9223372036854775808"}},
        {"key":"int","value":{"intValue":42}},
        {"key":"double","value":{"doubleValue":1.5}},{"key":"whole double","value":{"doubleValue":2}},
        {"key":"infinite","value":{"doubleValue":"-Infinity"}},
        {"key":"bool","value":{"boolValue":false}},
        {"key":"bytes","value":{"bytesValue":"AP8="}},{"key":"url bytes","value":{"bytesValue":"_-8="}},
        {"key":"mixed","value":{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a"},{},{"arrayValue":{}}]}}},
        {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}}]"#,
    );
    assert!(
        post(&receiver, JSON, body)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let from_json = receiver.raw_spans().remove(0);
    let expected: Vec<(&str, Value)> = vec![
        ("empty", Value::Empty),
        ("none", Value::Empty),
        ("null", Value::Empty),
        ("text", "".into()),
        ("int as text", Value::Int(i64::MIN)),
        ("int", Value::Int(42)),
        ("double", Value::Double(1.5)),
        ("whole double", Value::Double(2.0)),
        ("infinite", Value::Double(f64::NEG_INFINITY)),
        ("bool", Value::Bool(false)),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("url bytes", Value::Bytes(vec![255, 239])),
        (
            "mixed",
            Value::Array(vec![
                Value::Int(1),
                "a".into(),
                Value::Empty,
                Value::Array(vec![]),
            ]),
        ),
        ("map", Value::Map(vec![("k".into(), Value::Bool(true))])),
    ];
    let expected: Vec<(String, Value)> = expected
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    assert_eq!(from_json.attributes, expected);

    // The same span as protobuf is the same span.
    let bytes = highwater_model::otlp::encode_span(&from_json);
    let proto = opentelemetry_proto::tonic::trace::v1::Span::decode(bytes).unwrap();
    let body = request(vec![proto]).encode_to_vec();
    assert!(
        post(&receiver, PROTOBUF, body)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert_eq!(receiver.raw_spans()[1], from_json);
}

#[tokio::test]
async fn links_events_and_status_are_read_and_unknown_fields_are_ignored() {
    let receiver = receiver().await;
    let body = one_span(
        r#","kind":5,"flags":259,"startTimeUnixNano":1544712660000000001,"endTimeUnixNano":1.5447126610e18,
        "fieldOfTheFuture":{"deep":[1,2,{"x":null}]},"droppedLinksCount":3,
        "events":[{"timeUnixNano":"7","name":"exception","attributes":[{"key":"exception.type","value":{"stringValue":"E"}}],"other":1}],
        "links":[{"traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":"B7AD6B7169203332","flags":1},{"traceId":"","spanId":""}],
        "status":{"code":2,"message":"broken"}"#,
    );
    assert!(
        post(&receiver, JSON, body)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let span = receiver.raw_spans().remove(0);
    assert_eq!(
        (span.kind, span.flags, span.start.0, span.end.0),
        (
            SpanKind::Consumer,
            259,
            1_544_712_660_000_000_001,
            1_544_712_661_000_000_000
        )
    );
    assert_eq!(
        (span.events[0].time.0, span.events[0].name.as_str()),
        (7, "exception")
    );
    assert_eq!(span.links.len(), 1, "a link without ids is left out");
    assert_eq!(
        (span.status, span.status_message.as_str()),
        (StatusCode::Error, "broken")
    );
}

#[tokio::test]
async fn enums_are_integers_and_a_span_with_a_name_for_one_is_rejected_alone() {
    let receiver = receiver().await;
    let body = one_span(
        r#","name":"good","kind":3}, {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203332","kind":"SPAN_KIND_SERVER""#,
    );
    let answer: serde_json::Value = post(&receiver, JSON, body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    assert_eq!(receiver.names(), ["good"]);
    assert_eq!(receiver.counters().rejected["malformed_span"], 1);
}

#[tokio::test]
async fn a_resend_has_the_same_hash_and_other_content_another() {
    let receiver = receiver().await;
    for name in ["a", "a", "b"] {
        let body = one_span(&format!(r#","name":"{name}""#));
        assert!(
            post(&receiver, JSON, body)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    for id in [1, 1, 2] {
        let body = request(vec![span(id)]).encode_to_vec();
        assert!(
            post(&receiver, PROTOBUF, body)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    let hashes: Vec<u64> = receiver
        .kept
        .lock()
        .iter()
        .flat_map(|batch| &batch.spans)
        .map(|span| span.hash)
        .collect();
    assert!(hashes[0] == hashes[1] && hashes[1] != hashes[2]);
    assert!(hashes[3] == hashes[4] && hashes[4] != hashes[5]);
}

#[tokio::test]
async fn values_nested_too_deep_cost_their_span_or_their_request_and_never_the_process() {
    let receiver = receiver().await;
    for depth in [20, 60, 200, 100_000] {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        let close = "]}}".repeat(depth);
        let body = one_span(&format!(
            r#","attributes":[{{"key":"deep","value":{open}{close}}}]"#
        ));
        let status = post(&receiver, JSON, body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16();
        assert!(status == 200 || status == 400, "{depth}: {status}");
    }
    assert_eq!(receiver.spans().len(), 1, "twenty levels are fine");
}

#[tokio::test]
async fn a_large_resource_with_many_scopes_loses_the_same_spans_in_both_encodings() {
    const SCOPES: usize = 100;
    let name = "x".repeat(1_000_000);
    let mut sent = request(Vec::new());
    sent.resource_spans[0].resource = Some(Resource {
        attributes: vec![KeyValue {
            key: "service.name".to_owned(),
            value: Some(AnyValue {
                value: Some(Any::StringValue(name.clone())),
            }),
            ..KeyValue::default()
        }],
        ..Resource::default()
    });
    sent.resource_spans[0].scope_spans = (0..SCOPES)
        .map(|n| ScopeSpans {
            scope: Some(InstrumentationScope {
                name: format!("scope {n}"),
                ..InstrumentationScope::default()
            }),
            spans: vec![span(n as u8 + 1)],
            schema_url: String::new(),
        })
        .collect();
    let scopes = (0..SCOPES).map(|n| {
        let id = n + 1;
        json!({"scope": {"name": format!("scope {n}")}, "spans": [{
            "traceId": format!("{id:02x}").repeat(16), "spanId": format!("{id:02x}").repeat(8), "name": format!("span {id}"),
            "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
        }]})
    });
    let text = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]},
        "scopeSpans": scopes.collect::<Vec<_>>(),
    }]});
    let mut outcomes = Vec::new();
    for (encoding, body) in [
        (PROTOBUF, sent.encode_to_vec()),
        (JSON, text.to_string().into_bytes()),
    ] {
        let receiver = receiver().await;
        let (status, _, answer) = parts(post(&receiver, encoding, body)).await;
        assert_eq!(status, 200, "{encoding}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains("longer than 16 MiB"),
            "{encoding}: {answer}"
        );
        let kept = receiver.kept.lock().clone();
        let origins: Vec<_> = kept
            .iter()
            .flat_map(|batch| batch.origins.clone())
            .collect();
        assert_eq!(receiver.context.in_flight().bytes(), 0);
        outcomes.push((receiver.names(), origins, receiver.counters().rejected));
    }
    // The one that was sent, and what 16 MiB hold.
    assert_eq!(outcomes[0].0.len(), 17);
    assert_eq!(outcomes[0].1.len(), 17);
    assert!(outcomes[0] == outcomes[1]);
}
