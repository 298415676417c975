//! Facts of what the handlings of a group tell.
#![allow(clippy::unwrap_used, reason = "tests panic on surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{Bound, GroupLag, LagEngine, PartitionLag, TimeLag, Why};
use highwater_model::broker::TopicPartition;
use highwater_model::{Messaging, Operation, ServiceKey, TraceId};

use super::*;

fn service(name: &str) -> ServiceKey {
    ServiceKey {
        environment: "default".into(),
        namespace: "".into(),
        name: name.into(),
    }
}

/// A span of a service from one millisecond to another.
fn span(id: u64, parent: u64, name: &str, from: u64, to: u64) -> Span {
    let mut span = Span::plain(
        TraceId::from_hex("000000000000000000000000000000aa").unwrap(),
        SpanId::from_hex(&format!("{id:016x}")).unwrap(),
        service(name),
        (UnixNanos(from * 1_000_000), UnixNanos(to * 1_000_000)),
    );
    span.name = "call".into();
    span.parent = SpanId::from_hex(&format!("{parent:016x}"));
    span
}

fn messaging(mut span: Span, operation: Operation, topic: &str) -> Span {
    span.messaging = Some(Messaging::kafka(operation, topic));
    span
}

fn handler(id: u64, from: u64, to: u64) -> Span {
    let span = span(id, 0, "billing", from, to);
    messaging(span, Operation::Process, "orders")
}

fn hit(spans: Vec<Span>) -> TraceHit {
    TraceHit {
        trace_id: spans[0].trace_id,
        newest: spans[0].start,
        matched: vec![0],
        spans,
        truncated: false,
    }
}

/// What the handlings in these traces spent their time on.
fn shares(traces: impl IntoIterator<Item = Vec<Span>>) -> Vec<(Option<String>, f64)> {
    let hits: Vec<TraceHit> = traces.into_iter().map(hit).collect();
    time_shares(&work_of(&hits))
        .into_iter()
        .map(|share| (share.call, (share.share * 1_000.0).round() / 1_000.0))
        .collect()
}

#[test]
fn the_time_of_a_handling_is_its_calls_and_what_is_left_its_own() {
    let told = shares([vec![
        handler(1, 0, 100),
        // Answered by another service: that is what is waited for.
        span(2, 1, "billing", 10, 90),
        span(3, 2, "psp-gateway", 12, 88),
        span(4, 1, "ledger", 90, 95),
        // Handles what was sent meanwhile; nobody waits for it.
        messaging(
            span(5, 1, "shipping", 40, 4_000),
            Operation::Process,
            "payments",
        ),
    ]]);
    assert_eq!(
        told,
        [
            (Some("psp-gateway call".to_owned()), 0.8),
            (None, 0.15),
            (Some("ledger call".to_owned()), 0.05),
        ]
    );
}

#[test]
fn calls_side_by_side_are_counted_once_and_no_further_than_their_handler() {
    let stock = [(2, 90, 150), (3, 120, 160), (4, 190, 900)];
    let calls = stock.map(|(id, from, to)| span(id, 1, "stock", from, to));
    let told = shares([[vec![handler(1, 100, 200)], calls.into()].concat()]);
    assert_eq!(told, [(Some("stock call".to_owned()), 0.7), (None, 0.3)]);
    assert_eq!(shares([]), []);
}

#[test]
fn a_poll_is_no_handling_where_handlers_are_told() {
    let poll = span(9, 0, "billing", 0, 5_000);
    let poll = messaging(poll, Operation::Receive, "orders");
    let (polled, worked) = (hit(vec![poll]), hit(vec![handler(1, 0, 10)]));
    let hits = [polled, worked];
    let told = work_of(&hits);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.duration_ns(), 10_000_000);
    assert_eq!(work_of(&hits[..1]).len(), 1, "better than nothing");
}

fn keyed(keys: impl IntoIterator<Item = String>) -> Vec<Span> {
    keys.into_iter()
        .map(|key| {
            let mut span = handler(1, 0, 1);
            span.messaging.as_mut().unwrap().key = Some(key.into());
            span
        })
        .collect()
}

#[test]
fn a_key_stands_out_when_it_is_of_many_and_of_more_than_its_part() {
    let hot = keyed((0..40).map(|n| {
        if n % 2 == 0 {
            "cust-7".into()
        } else {
            format!("cust-{n}x")
        }
    }));
    let told = hot_key(hot.iter()).unwrap();
    assert_eq!(
        (told.key.as_str(), told.handlings, told.of),
        ("cust-7", 20, 40)
    );
    let even = keyed((0..40).map(|n| format!("cust-{}", n % 2)));
    assert_eq!(hot_key(even.iter()), None, "two keys share evenly");
    let few = keyed(std::iter::repeat_n("cust-7".to_owned(), 19));
    assert_eq!(hot_key(few.iter()), None, "too few to tell");
    assert_eq!(
        hot_key([handler(1, 0, 1)].iter()),
        None,
        "no span names a key"
    );
}

fn place(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "orders".into(),
        partition,
    }
}

/// A group of one topic, as an engine gives it, with these partitions' rates and time lags.
fn group(partitions: &[(Option<f64>, f64, u64)]) -> GroupLag {
    let mut group = blank_group();
    group.partitions = partitions
        .iter()
        .enumerate()
        .map(|(number, &(in_per_s, out_per_s, lag_ms))| {
            let lag = PartitionLag {
                in_per_s,
                out_per_s: Some(out_per_s),
                time_lag: Some(TimeLag {
                    duration: Duration::from_millis(lag_ms),
                    bound: Bound::Exact,
                }),
                ..blank_partition()
            };
            (place(number as i32), lag)
        })
        .collect::<BTreeMap<_, _>>()
        .into();
    group
}

/// What an engine says of a group that has read everything.
fn blank_group() -> GroupLag {
    use highwater_model::broker::{GroupFacts, PartitionOffsets, Sample};
    let at = UnixNanos(1_000_000_000);
    let facts = GroupFacts {
        broker_state: Ok("Stable".into()),
        kind: "classic".into(),
        members: Ok(Vec::new()),
        committed: [(place(0), Ok(Some(5)))].into(),
        error: None,
        read_at: at,
    };
    let ends = PartitionOffsets {
        log_start: Ok(0),
        end: Ok(5),
        last_stable: Ok(5),
        read_at: at,
    };
    let sample = Sample {
        cluster: "kafka".into(),
        cluster_id: None,
        started: at,
        finished: at,
        topics: BTreeMap::new(),
        brokers: Default::default(),
        partitions: BTreeMap::from([(place(0), ends)]),
        groups: BTreeMap::from([(Arc::from("billing"), facts)]),
    };
    let mut engine = LagEngine::new(highwater_lag::Config::default());
    engine.step(&sample, at);
    let (_, group) = engine.groups().first_key_value().unwrap();
    group.as_ref().clone()
}

fn blank_partition() -> PartitionLag {
    PartitionLag::unknown(Why::NoCommit, UnixNanos(0))
}

#[test]
fn a_partition_stands_out_when_it_takes_nearly_twice_its_part() {
    let rates = |rates: &[f64]| {
        let partitions: Vec<_> = rates.iter().map(|rate| (Some(*rate), 1.0, 0)).collect();
        hot_partition(&group(&partitions))
    };
    let hot = rates(&[1.0, 1.0, 6.0, 1.0]).unwrap();
    assert_eq!((hot.partition, hot.of), (2, 4));
    assert!((hot.share - 6.0 / 9.0).abs() < 1e-9);
    assert_eq!(rates(&[3.0, 3.0, 4.0]), None);
    assert_eq!(rates(&[7.0]), None, "alone it is no other's");
    assert_eq!(rates(&[0.0, 0.0]), None, "nothing comes in");
    let unknown = group(&[(None, 1.0, 0), (Some(9.0), 1.0, 0), (Some(1.0), 1.0, 0)]);
    assert_eq!(
        hot_partition(&unknown),
        None,
        "what is not known has no share"
    );
}

#[test]
fn spans_and_offsets_disagree_only_where_both_tell_of_the_same() {
    let moving = |lags: &[u64]| {
        let partitions: Vec<_> = lags.iter().map(|ms| (Some(1.0), 1.0, *ms)).collect();
        group(&partitions)
    };
    // Commits come every few seconds: that is no disagreement.
    assert_eq!(disagreement(200, 900, &moving(&[5_000, 6_000])), None);
    let late = disagreement(2_000, 4_000, &moving(&[180_000, 190_000])).unwrap();
    assert!(
        late.starts_with("Offsets say 3\u{a0}m, spans 4\u{a0}s"),
        "{late}"
    );
    let early = disagreement(180_000, 200_000, &moving(&[1_000])).unwrap();
    assert!(
        early.starts_with("Spans say 3\u{a0}m, offsets 1\u{a0}s"),
        "{early}"
    );
    // One partition stands still: its age is no contradiction to what the others wait.
    let stalled = group(&[(Some(1.0), 0.0, 900_000), (Some(1.0), 1.0, 2_000)]);
    assert_eq!(disagreement(1_000, 2_000, &stalled), None);
    assert_eq!(disagreement(1_000, 2_000, &group(&[])), None);
}
