//! Journeys over the captures of real instrumentations, against their ledgers: which records of a correlation id the
//! spans lead to, and that they never lead to another id's.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use highwater_flow::journey::{Bounds, Journey, Need, NoFacts};
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
        let view = journey.tell(&NoFacts, UnixNanos(u64::MAX));
        assert!(!view.sentence.is_empty());
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

fn found(ids: usize, unseen: usize, complete: usize, records: usize, of: usize) -> Found {
    Found {
        ids,
        unseen,
        complete,
        records,
        of,
    }
}

#[test]
fn print() {
    for name in [
        "java-default",
        "java-receive",
        "java-semconv-receive",
        "spring-micrometer",
        "py-confluent",
        "py-kafka-python",
        "py-aiokafka",
        "node-kafkajs",
        "go-sarama",
    ] {
        eprintln!("{name}: {:?} {:?}", as_sent(name), marked(name));
        let _ = found(0, 0, 0, 0, 0);
    }
}
