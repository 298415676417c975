//! Every capture of real instrumentation, normalised, against the ledger of what truly happened.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use highwater_model::normalise::Rules;
use highwater_model::otlp::{
    ExportTraceServiceRequest, batch_from_bytes, batch_from_request, decode_origin, decode_span,
    encode_span, origin_to_bytes,
};
use highwater_model::{Operation, Span};
use prost::Message;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default, rename = "note")]
    _note: String,
    produced: Vec<Produced>,
    #[serde(default)]
    recovered: Vec<Recovered>,
    #[serde(default)]
    failed: Vec<Failed>,
    handled: Vec<Handled>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Produced {
    service: String,
    topic: String,
    messages: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovered {
    service: String,
    group: String,
    topic: String,
    messages: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    service: String,
    topic: String,
    spans: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Handled {
    service: String,
    topic: String,
    group: Option<String>,
    ledger_group: String,
    ledger: u64,
    messages: u64,
    records: Option<u64>,
    errors: u64,
    #[serde(default)]
    why: Option<String>,
}

#[derive(Deserialize)]
struct Ledger {
    spans_in_capture: u64,
    spans_by_service: BTreeMap<String, u64>,
    produced: Vec<LedgerProduced>,
    handled: Vec<LedgerHandled>,
    edges_group_recoverer_topic: Vec<LedgerRecovered>,
}

#[derive(Deserialize)]
struct LedgerProduced {
    service: String,
    topic: String,
    acked: u64,
}

#[derive(Deserialize)]
struct LedgerHandled {
    group: String,
    topic: String,
    service: String,
    handler_calls: u64,
}

#[derive(Deserialize)]
struct LedgerRecovered {
    original_group: String,
    service: String,
    topic: String,
    records: u64,
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn requests(name: &str) -> Vec<Bytes> {
    let mut file = Bytes::from(std::fs::read(fixtures().join(format!("{name}.otlp"))).unwrap());
    let mut requests = Vec::new();
    while !file.is_empty() {
        let head = file.split_to(4);
        let length = u32::from_be_bytes(head[..].try_into().unwrap());
        requests.push(file.split_to(length as usize));
    }
    requests
}

fn spans(name: &str) -> Vec<Span> {
    let rules = Rules::default();
    let mut spans = Vec::new();
    for request in requests(name) {
        let (batch, rejected) = batch_from_bytes(request, &rules).unwrap();
        assert_eq!(rejected.count, 0, "{name}: {rejected:?}");
        spans.extend(batch.spans.into_iter().map(|span| span.span));
    }
    spans
}

fn ledger(name: &str) -> Ledger {
    let text = std::fs::read_to_string(fixtures().join(format!("{name}.ledger.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn expected() -> BTreeMap<String, Expected> {
    toml::from_str(&std::fs::read_to_string(fixtures().join("expected.toml")).unwrap()).unwrap()
}

type Key = (String, String);

fn sends(spans: &[Span], failed: bool) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for span in spans {
        let Some(messaging) = &span.messaging else {
            continue;
        };
        if messaging.operation == Operation::Send && span.error.is_some() == failed {
            let topic = messaging.destination.as_deref().unwrap().to_owned();
            *counts
                .entry((span.service.name.to_string(), topic))
                .or_default() += 1;
        }
    }
    counts
}

#[derive(Default, Debug, PartialEq)]
struct Attempts {
    messages: u64,
    errors: u64,
    records: BTreeSet<(i32, i64)>,
}

/// The counting rule of the flow in its simplest form: process spans, a batch's by its links; where a service has
/// none for a topic, receive spans that are not of a batch.
fn attempts(spans: &[Span]) -> BTreeMap<(String, String, Option<String>), Attempts> {
    let consumers = || {
        spans.iter().filter_map(|span| {
            let messaging = span.messaging.as_ref()?;
            let topic = messaging.destination.as_deref()?.to_owned();
            matches!(messaging.operation, Operation::Receive | Operation::Process).then_some((
                span,
                messaging,
                (span.service.name.to_string(), topic),
            ))
        })
    };
    let processed: BTreeSet<Key> = consumers()
        .filter(|(_, messaging, _)| messaging.operation == Operation::Process)
        .map(|(_, _, key)| key)
        .collect();
    let mut counts = BTreeMap::<_, Attempts>::new();
    for (span, messaging, key) in consumers() {
        let process = messaging.operation == Operation::Process;
        if !process && (processed.contains(&key) || messaging.batch_count.is_some()) {
            continue;
        }
        let group = messaging.group.as_deref().map(str::to_owned);
        let entry = counts.entry((key.0, key.1, group)).or_default();
        entry.messages += if process {
            span.links.len().max(1) as u64
        } else {
            1
        };
        entry.errors += u64::from(span.error.is_some());
        entry
            .records
            .extend(messaging.partition.zip(messaging.offset));
    }
    counts
}

#[test]
fn expected_toml_says_of_every_capture_what_its_ledger_says() {
    let expected = expected();
    let captures: BTreeSet<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".otlp")?
                    .to_owned(),
            )
        })
        .collect();
    assert_eq!(captures, expected.keys().cloned().collect());
    for (name, expected) in expected {
        let ledger = ledger(&name);
        let said: BTreeMap<Key, u64> = expected
            .produced
            .into_iter()
            .map(|p| ((p.service, p.topic), p.messages))
            .collect();
        let true_: BTreeMap<Key, u64> = ledger
            .produced
            .into_iter()
            .map(|p| ((p.service, p.topic), p.acked))
            .collect();
        assert_eq!(said, true_, "{name}: produced");

        let said: BTreeSet<_> = expected
            .recovered
            .into_iter()
            .map(|r| (r.group, r.service, r.topic, r.messages))
            .collect();
        let true_: BTreeSet<_> = ledger
            .edges_group_recoverer_topic
            .into_iter()
            .map(|r| (r.original_group, r.service, r.topic, r.records))
            .collect();
        assert_eq!(said, true_, "{name}: recovered");

        let mut true_ = BTreeMap::<_, u64>::new();
        for handled in ledger.handled {
            *true_
                .entry((handled.group, handled.topic, handled.service))
                .or_default() += handled.handler_calls;
        }
        let said: BTreeMap<_, _> = expected
            .handled
            .iter()
            .map(|h| {
                (
                    (h.ledger_group.clone(), h.topic.clone(), h.service.clone()),
                    h.ledger,
                )
            })
            .collect();
        assert_eq!(said, true_, "{name}: handled");
        for handled in expected.handled {
            let same = handled.group.as_ref() == Some(&handled.ledger_group)
                && handled.messages == handled.ledger
                && handled.records.is_some();
            assert!(
                same || handled.why.is_some(),
                "{name}: {} of {} differs without a reason",
                handled.ledger_group,
                handled.topic
            );
        }
    }
}

#[test]
fn sends_of_every_capture_equal_what_its_ledger_says_was_produced() {
    for (name, expected) in expected() {
        let spans = spans(&name);
        let ledger = ledger(&name);
        assert_eq!(spans.len() as u64, ledger.spans_in_capture, "{name}");
        let mut by_service = BTreeMap::<_, u64>::new();
        for span in &spans {
            *by_service.entry(span.service.name.to_string()).or_default() += 1;
            assert_eq!(
                (&*span.service.namespace, &*span.service.environment),
                ("shop", "capture")
            );
        }
        assert_eq!(by_service, ledger.spans_by_service, "{name}");

        let mut true_: BTreeMap<Key, u64> = ledger
            .produced
            .into_iter()
            .map(|p| ((p.service, p.topic), p.acked))
            .collect();
        for recovered in ledger.edges_group_recoverer_topic {
            *true_
                .entry((recovered.service, recovered.topic))
                .or_default() += recovered.records;
        }
        assert_eq!(sends(&spans, false), true_, "{name}");
        let failed: BTreeMap<Key, u64> = expected
            .failed
            .into_iter()
            .map(|f| ((f.service, f.topic), f.spans))
            .collect();
        assert_eq!(sends(&spans, true), failed, "{name}: failed sends");
    }
}

#[test]
fn attempts_of_every_capture_equal_what_its_spans_can_show() {
    for (name, expected) in expected() {
        let mut found = attempts(&spans(&name));
        for handled in expected.handled {
            let key = (
                handled.service.clone(),
                handled.topic.clone(),
                handled.group.clone(),
            );
            let attempts = found.remove(&key).unwrap_or_default();
            assert_eq!(attempts.messages, handled.messages, "{name}: {key:?}");
            assert_eq!(attempts.errors, handled.errors, "{name}: {key:?} errors");
            assert_eq!(
                attempts.records.len() as u64,
                handled.records.unwrap_or(0),
                "{name}: {key:?} records"
            );
        }
        assert_eq!(found, BTreeMap::new(), "{name}: attempts that nobody made");
    }
}

#[test]
fn clusters_keys_and_ids_are_read_from_every_sdk_that_sends_them() {
    let of = |name: &str, test: fn(&highwater_model::Messaging) -> bool| {
        spans(name)
            .iter()
            .filter(|span| span.messaging.as_ref().is_some_and(test))
            .count()
    };
    let cluster =
        |m: &highwater_model::Messaging| m.cluster.id.as_deref() == Some("M1y5XfG1RJi899AQntlxYA");
    let address =
        |m: &highwater_model::Messaging| m.cluster.address.as_deref() == Some("127.0.0.1:29092");
    // All but the first send of each producer, which had not connected yet.
    assert_eq!(of("java-default", cluster), 181);
    assert_eq!(of("node-kafkajs", cluster), 256);
    assert_eq!(of("spring-micrometer", cluster), 229);
    assert_eq!(of("py-kafka-python", address), 240);
    assert_eq!(of("py-aiokafka", address), 308);
    assert_eq!(of("py-confluent", address), 238);
    assert_eq!(of("py-aiokafka", |m| m.key.is_some()), 51 + 51 * 2 + 51 * 2);
    assert_eq!(of("java-default", |m| m.tombstone), 15);
    assert_eq!(
        of("go-sarama", |m| m.offset.is_some()
            && m.partition.is_some()
            && m.message_id.is_none()),
        180
    );
}

#[test]
fn correlation_ids_of_java_spans_are_those_of_the_ledger() {
    let ledger: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(fixtures().join("java-receive.ledger.json")).unwrap(),
    )
    .unwrap();
    let true_: BTreeSet<&str> = ledger["all_correlations"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let spans = spans("java-receive");
    let found: BTreeSet<&str> = spans
        .iter()
        .flat_map(|span| &span.correlations)
        .map(|c| {
            assert_eq!(&*c.key, "correlation");
            &*c.value
        })
        .collect();
    assert_eq!(found, true_);
    // A poll holds one a record, everything else one.
    for span in &spans {
        let polled = span.messaging.as_ref().and_then(|m| m.batch_count);
        let sent = u32::from(span.error.is_none());
        assert_eq!(
            span.correlations.len() as u32,
            polled.unwrap_or(sent),
            "{}",
            span.name
        );
    }
}

#[test]
fn links_of_a_poll_carry_each_record_and_take_the_partition_from_a_poll_of_one() {
    let polls: Vec<Span> = spans("java-semconv-receive")
        .into_iter()
        .filter(|span| {
            span.messaging
                .as_ref()
                .is_some_and(|m| m.batch_count.is_some())
        })
        .collect();
    let records: BTreeSet<_> = polls
        .iter()
        .flat_map(|poll| &poll.links)
        .map(|link| (link.partition.unwrap(), link.offset.unwrap()))
        .collect();
    assert_eq!(records.len(), 60);
}

#[test]
fn durations_are_work_only_where_a_span_covers_the_handler() {
    let work = |name: &str| {
        spans(name)
            .iter()
            .filter(|s| s.messaging.as_ref().is_some_and(|m| m.duration_is_work))
            .count()
    };
    assert_eq!(work("java-receive"), 60);
    assert_eq!(work("spring-micrometer"), 114);
    assert_eq!(work("py-confluent"), 58);
    assert_eq!(work("py-aiokafka"), 0);
    assert_eq!(work("py-kafka-python"), 0);
    assert_eq!(work("go-sarama"), 0);
    assert_eq!(work("node-kafkajs"), 51, "eachMessage, not eachBatch");
}

/// The walk and prost must see the same spans, and what we encode must decode to what it was.
#[test]
fn a_walked_request_equals_a_decoded_one_and_every_span_survives_a_round_trip() {
    let rules = Rules::default();
    for name in expected().into_keys() {
        for request in requests(&name) {
            let decoded = ExportTraceServiceRequest::decode(request.clone()).unwrap();
            let (walked, _) = batch_from_bytes(request, &rules).unwrap();
            let (again, _) = batch_from_request(&decoded, &rules);
            let spans = |batch: &highwater_model::Batch| {
                batch
                    .spans
                    .iter()
                    .map(|s| s.span.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(spans(&walked), spans(&again), "{name}");
            for span in &walked.spans {
                let raw = decode_span(&span.raw).unwrap();
                assert_eq!(decode_span(&encode_span(&raw)).unwrap(), raw);
            }
            for origin in &walked.origins {
                let origin = decode_origin(origin).unwrap();
                assert_eq!(decode_origin(&origin_to_bytes(&origin)).unwrap(), origin);
            }
        }
    }
}
