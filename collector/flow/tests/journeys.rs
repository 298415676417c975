//! Journeys over the captures of real instrumentations, against their ledgers: which records of a correlation id the
//! spans lead to, and that they never lead to another id's.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use highwater_flow::journey::{Bounds, Journey, Need, NoFacts};
use highwater_flow::trace::assemble;
use highwater_model::normalise::Rules;
use highwater_model::otlp::batch_from_bytes;
use highwater_model::{Correlation, Span, SpanId, TraceId, UnixNanos};
use serde::Deserialize;

/// Topic, partition, offset.
type Record = (String, i32, i64);
type Key = (TraceId, SpanId);

#[derive(Deserialize)]
struct Ledger {
    all_correlations: BTreeMap<String, BTreeMap<String, Vec<(i32, i64)>>>,
}

#[derive(Deserialize)]
struct LedgerRecord {
    topic: String,
    partition: i32,
    offset: i64,
    headers: Vec<LedgerHeader>,
}

#[derive(Deserialize)]
struct LedgerHeader {
    name: String,
    text: Option<String>,
}

struct Capture {
    spans: Vec<Span>,
    ledger: BTreeMap<String, BTreeSet<Record>>,
    /// The records each producer span sent, by the `traceparent` they carry: many SDKs name no offset.
    sent: HashMap<Key, Vec<Record>>,
    /// By correlation id: the producer span of its first record.
    first: BTreeMap<String, Key>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn load(name: &str) -> Capture {
    let file = std::fs::read(fixture(&format!("{name}.otlp"))).unwrap();
    let mut rest = file.as_slice();
    let mut spans = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let (request, next) = tail.split_at(u32::from_be_bytes(*head) as usize);
        let (batch, _) = batch_from_bytes(request.to_vec().into(), &Rules::default()).unwrap();
        spans.extend(batch.spans.into_iter().map(|span| span.span));
        rest = next;
    }
    let text = std::fs::read_to_string(fixture(&format!("{name}.ledger.json"))).unwrap();
    let ledger: Ledger = serde_json::from_str(&text).unwrap();
    let ledger = ledger
        .all_correlations
        .into_iter()
        .map(|(id, topics)| {
            let records = topics.into_iter().flat_map(|(topic, at)| {
                at.into_iter()
                    .map(move |(partition, offset)| (topic.clone(), partition, offset))
            });
            (id, records.collect())
        })
        .collect();

    let mut sent: HashMap<Key, Vec<Record>> = HashMap::new();
    let mut first = BTreeMap::new();
    let text = std::fs::read_to_string(fixture(&format!("{name}.records.jsonl"))).unwrap();
    for line in text.lines() {
        let record: LedgerRecord = serde_json::from_str(line).unwrap();
        let header = |name: &str| {
            let found = record.headers.iter().find(|header| header.name == name);
            found.and_then(|header| header.text.clone())
        };
        let Some(context) = header("traceparent") else {
            continue;
        };
        let key = (
            TraceId::from_hex(&context[3..35]).unwrap(),
            SpanId::from_hex(&context[36..52]).unwrap(),
        );
        if let Some(id) = header("correlation-id")
            && (record.topic.ends_with(".in") || record.topic.ends_with(".orders"))
        {
            first.entry(id).or_insert(key);
        }
        let at = (record.topic.clone(), record.partition, record.offset);
        sent.entry(key).or_default().push(at);
    }
    Capture {
        spans,
        ledger,
        sent,
        first,
    }
}

fn about(id: &str) -> Correlation {
    Correlation {
        key: "correlation".into(),
        value: id.into(),
    }
}

impl Capture {
    fn answer(&self, need: Need) -> Vec<Span> {
        let wanted = |span: &&Span| match need {
            Need::Trace(trace) => span.trace_id == trace,
            Need::LinksTo { trace, span: at } => span
                .links
                .iter()
                .any(|link| (link.trace_id, link.span_id) == (trace, at)),
        };
        self.spans.iter().filter(wanted).cloned().collect()
    }

    fn follow(&self, id: &str) -> Journey {
        let carrying = self
            .spans
            .iter()
            .filter(|span| span.correlations.contains(&about(id)));
        let mut journey = Journey::start(about(id), carrying.cloned().collect(), Bounds::default());
        loop {
            let needs = journey.needs();
            if needs.is_empty() {
                return journey;
            }
            for need in needs {
                let answer = self.answer(need);
                journey.feed(need, answer);
            }
        }
    }

    /// Records that the members tell of: by their own offsets, or as what a member sent. What a span over several
    /// messages says is not of this journey alone.
    fn records(&self, journey: &Journey) -> BTreeSet<Record> {
        let mut records = BTreeSet::new();
        for (span, _) in journey.members() {
            if let Some(messaging) = &span.messaging
                && messaging.batch_count.is_none_or(|count| count == 1)
                && span.links.len() < 2
                && let (Some(topic), Some(partition), Some(offset)) = (
                    &messaging.destination,
                    messaging.partition,
                    messaging.offset,
                )
            {
                records.insert((topic.to_string(), partition, offset));
            }
            let key = (span.trace_id, span.span_id);
            records.extend(self.sent.get(&key).into_iter().flatten().cloned());
        }
        records
    }

    /// Has the first producer of each id carry it, as a service that names its attribute does.
    fn mark_first_producers(&mut self) {
        let ids: HashMap<Key, &String> = self.first.iter().map(|(id, key)| (*key, id)).collect();
        for span in &mut self.spans {
            if let Some(id) = ids.get(&(span.trace_id, span.span_id)) {
                span.correlations = vec![about(id)];
            }
        }
    }
}

/// What the journeys of a capture come to.
#[derive(Debug, PartialEq, Eq, Default)]
struct Found {
    ids: usize,
    /// Ids that no span carries.
    unseen: usize,
    /// Journeys with every record of their id.
    complete: usize,
    records: usize,
    of: usize,
    /// Journeys by where they stand.
    states: BTreeMap<&'static str, usize>,
}

fn follow_all(name: &str, capture: &Capture) -> Found {
    let mut found = Found::default();
    for (id, records) in &capture.ledger {
        let journey = capture.follow(id);
        let seen = capture.records(&journey);
        let strangers: Vec<_> = seen.difference(records).collect();
        assert!(
            strangers.is_empty(),
            "{name}: the journey of {id} leads to {strangers:?}"
        );
        assert!(!journey.truncated());
        found.ids += 1;
        found.unseen += usize::from(journey.members().is_empty());
        found.complete += usize::from(seen == *records);
        found.records += seen.len();
        found.of += records.len();
        let view = journey.tell(&NoFacts, UnixNanos(1_795_300_000_000_000_000));
        *found.states.entry(view.state.as_str()).or_default() += 1;
    }
    found
}

/// From the ids that spans themselves carry.
fn as_sent(name: &str) -> Found {
    follow_all(name, &load(name))
}

/// From ids put on the first producer span of each: what parents and links alone lead to.
fn marked(name: &str) -> Found {
    let mut capture = load(name);
    capture.mark_first_producers();
    follow_all(name, &capture)
}

/// Hops of all traces with both ends known, each once: (topic, hops).
fn hops(name: &str) -> BTreeMap<String, usize> {
    let capture = load(name);
    let mut by_trace: BTreeMap<TraceId, Vec<&Span>> = BTreeMap::new();
    for span in &capture.spans {
        by_trace.entry(span.trace_id).or_default().push(span);
    }
    let by_key: HashMap<Key, &Span> = capture
        .spans
        .iter()
        .map(|s| ((s.trace_id, s.span_id), s))
        .collect();
    let mut hops = BTreeSet::new();
    for (trace, spans) in &by_trace {
        let mut foreign: Vec<&Span> = Vec::new();
        for link in spans.iter().flat_map(|span| &span.links) {
            foreign.extend(by_key.get(&(link.trace_id, link.span_id)));
        }
        let links_here = |span: &&Span| span.links.iter().any(|link| link.trace_id == *trace);
        foreign.extend(capture.spans.iter().filter(links_here));
        let view = assemble(*trace, spans, &foreign);
        assert_eq!(view.rows.len(), spans.len());
        for hop in view.hops {
            if let (Some(from), Some(to)) = (hop.producer_span, hop.consumer_span) {
                hops.insert((hop.topic.to_string(), from, to));
            }
        }
    }
    let mut by_topic = BTreeMap::new();
    for (topic, ..) in hops {
        *by_topic.entry(topic).or_default() += 1;
    }
    by_topic
}

/// What must come out: ids, ids without any span, complete journeys, records found, records there are.
fn expect(found: &Found, numbers: [usize; 5], states: &[(&'static str, usize)]) {
    let [ids, unseen, complete, records, of] = numbers;
    let expected = Found {
        ids,
        unseen,
        complete,
        records,
        of,
        states: states.iter().copied().collect(),
    };
    assert_eq!(*found, expected);
}

const ALL_DONE: &[(&str, usize)] = &[("done", 60)];

#[test]
fn the_java_agents_journeys_are_complete_with_and_without_receive_telemetry() {
    for name in ["java-default", "java-receive", "java-semconv-receive"] {
        expect(&as_sent(name), [60, 0, 60, 120, 120], ALL_DONE);
        // The id on one producer span only: parents and links find the rest.
        expect(&marked(name), [60, 0, 60, 120, 120], ALL_DONE);
    }
}

#[test]
fn springs_own_journeys_are_complete_over_retries_and_dead_letters() {
    // 5 orders end in dead-letter topics: 3 of the fraud check, 1 after three attempts at its receipt, and one that
    // could not be read at all (twice). Its dead letters hang under spans that were never exported.
    let states = &[("dead_lettered", 5), ("done", 55)];
    expect(&as_sent("spring-micrometer"), [60, 0, 60, 115, 115], states);
    expect(&marked("spring-micrometer"), [60, 0, 60, 115, 115], states);
}

#[test]
fn saramas_journeys_are_complete_once_a_span_carries_the_id() {
    expect(&marked("go-sarama"), [60, 0, 60, 120, 120], ALL_DONE);
}

#[test]
fn a_batch_of_confluent_kafka_or_kafkajs_hides_which_message_led_to_which() {
    // 60 records in and 55 out: poll() gives no span for the 5 without a value, and their sends become roots. The 60 of
    // the other group: consume(n) makes one process span a batch, over what is sent for all of it.
    expect(&marked("py-confluent"), [60, 0, 0, 115, 180], ALL_DONE);
    // 51 in and 51 out. The 51 of the other group: eachBatch sends under the poll, beside the process spans. The
    // record of the 52nd id has no `.in` record to begin at.
    expect(
        &marked("node-kafkajs"),
        [52, 1, 0, 102, 154],
        &[("done", 52)],
    );
}

#[test]
fn receives_that_are_not_current_cut_a_journey_at_the_first_hop() {
    // kafka-python and aiokafka: what a handler sends is the root of a new trace, joined by nothing.
    expect(&marked("py-kafka-python"), [60, 0, 0, 60, 180], ALL_DONE);
    expect(&marked("py-aiokafka"), [60, 0, 0, 60, 180], ALL_DONE);
}

#[test]
fn ids_that_no_span_carries_begin_no_journey() {
    // Only the Java agent and Spring show headers or attributes with the id.
    for name in [
        "py-confluent",
        "py-kafka-python",
        "py-aiokafka",
        "node-kafkajs",
        "go-sarama",
    ] {
        let found = as_sent(name);
        assert_eq!((found.unseen, found.records), (found.ids, 0), "{name}");
    }
}

#[test]
fn every_stitch_of_a_capture_is_a_hop() {
    let one = |name: &str, count: usize| {
        assert_eq!(
            hops(name),
            BTreeMap::from([(format!("{name}.in"), count)]),
            "{name}"
        );
    };
    one("java-default", 60);
    one("java-receive", 60);
    // 60 process spans, and in the 3 polls' own traces their 60 links.
    one("java-semconv-receive", 120);
    one("go-sarama", 60);
    // getone and getmany.
    one("py-aiokafka", 120);
    // poll() of kafka-python gives no span.
    one("py-kafka-python", 60);
    // 55 polled, 60 in batches.
    one("py-confluent", 115);
    one("node-kafkajs", 102);
    let spring = [
        ("orders", 59),
        ("payments", 39),
        ("payments-dlt", 1),
        ("payments-retry-400", 6),
        ("payments-retry-800", 3),
    ];
    let spring = spring.map(|(topic, hops)| (format!("spring-micrometer.{topic}"), hops));
    // One order and its payment could not be read: no handler's span.
    assert_eq!(hops("spring-micrometer"), BTreeMap::from(spring));
}
