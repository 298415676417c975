//! Real telemetry against what truly happened: the map of a capture has the ledger's edges and no others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use highwater_flow::{ClusterConfig, Config, EdgeKind, Flow, NodeKind, Topology, TopologyQuery};
use highwater_model::broker::{GroupFacts, Sample, TopicFacts, TopicPartition};
use highwater_model::normalise::Rules;
use highwater_model::{Span, UnixNanos, otlp};
use serde_json::Value;

const NAMES: [&str; 9] = [
    "java-default",
    "java-receive",
    "java-semconv-receive",
    "spring-micrometer",
    "py-confluent",
    "py-kafka-python",
    "py-aiokafka",
    "node-kafkajs",
    "go-sarama",
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// Requests as they were sent: a length in four bytes, big endian, then the message.
fn spans(name: &str) -> Vec<Vec<Span>> {
    let bytes = std::fs::read(fixture(&format!("{name}.otlp"))).unwrap();
    let mut rest = bytes.as_slice();
    let mut requests = Vec::new();
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let (request, after) = body.split_at(u32::from_be_bytes(*length) as usize);
        let (batch, rejected) =
            otlp::batch_from_bytes(request.to_vec().into(), &Rules::default()).unwrap();
        assert_eq!(rejected.count, 0);
        requests.push(batch.spans.into_iter().map(|s| s.span).collect());
        rest = after;
    }
    requests
}

fn ledger(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(&format!("{name}.ledger.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn expected(name: &str) -> toml::Table {
    let text = std::fs::read_to_string(fixture("expected.toml")).unwrap();
    let mut all: toml::Table = toml::from_str(&text).unwrap();
    match all.remove(name).unwrap() {
        toml::Value::Table(table) => table,
        other => panic!("{other}"),
    }
}

/// The ledger's groups and topics as a broker would tell them.
fn facts(ledger: &Value, now: UnixNanos) -> Sample {
    let mut sample = Sample {
        cluster: "kafka".into(),
        cluster_id: None,
        started: now,
        finished: now,
        brokers: Vec::new(),
        topics: BTreeMap::new(),
        partitions: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    for (topic, facts) in ledger["topics"].as_object().unwrap() {
        sample.topics.insert(
            topic.as_str().into(),
            TopicFacts {
                partitions: facts["partitions"].as_object().unwrap().len() as u32,
                ..TopicFacts::default()
            },
        );
    }
    for (group, facts) in ledger["groups"].as_object().unwrap() {
        let committed = facts["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                (
                    TopicPartition {
                        topic: p["topic"].as_str().unwrap().into(),
                        partition: p["partition"].as_i64().unwrap() as i32,
                    },
                    Ok(p["committed"].as_i64()),
                )
            })
            .collect();
        sample.groups.insert(
            group.as_str().into(),
            GroupFacts {
                broker_state: Ok("Stable".into()),
                kind: "classic".into(),
                members: Ok(Vec::new()),
                committed,
                error: None,
                read_at: now,
            },
        );
    }
    sample
}

fn config() -> Config {
    Config {
        clusters: vec![ClusterConfig {
            name: "kafka".into(),
            environment: "default".into(),
            addresses: Vec::new(),
        }],
        ..Config::default()
    }
}

struct Captured {
    flow: Flow,
    query: TopologyQuery,
    now: UnixNanos,
}

impl Captured {
    fn of(name: &str) -> Self {
        let requests = spans(name);
        let all = || requests.iter().flatten();
        let first = all().map(|s| s.start).min().unwrap();
        let now = all().map(|s| s.end).max().unwrap();
        let environments: BTreeSet<&Arc<str>> = all().map(|s| &s.service.environment).collect();
        assert_eq!(environments.len(), 1);
        let query = TopologyQuery {
            from: first,
            to: now,
            environment: environments.first().unwrap().to_string(),
            ..TopologyQuery::default()
        };
        let mut flow = Flow::new(config());
        for (block, request) in requests.iter().enumerate() {
            flow.apply(request, block as u64 + 1, now);
        }
        Self { flow, query, now }
    }

    fn map(&self) -> Topology {
        self.flow.topology(&self.query, self.now)
    }

    fn observe(&mut self, sample: &Sample) {
        self.flow.observe(sample);
    }
}

type Edges = BTreeSet<(EdgeKind, String, String, Option<u64>)>;

fn edges(map: &Topology, kinds: &[EdgeKind]) -> Edges {
    map.edges
        .iter()
        .filter(|e| kinds.contains(&e.kind))
        .map(|e| (e.kind, plain(map, &e.from), plain(map, &e.to), e.messages))
        .collect()
}

/// The id without the namespace, which ledgers do not tell.
fn plain(map: &Topology, id: &str) -> String {
    let node = map.node(id).unwrap();
    match node.kind {
        NodeKind::Service => format!("service:{}", node.name),
        _ => id.to_owned(),
    }
}

fn text(value: &toml::Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn number(value: &toml::Value, key: &str) -> Option<u64> {
    value.get(key)?.as_integer().map(|n| n as u64)
}

#[test]
fn a_capture_gives_the_ledgers_producers_and_no_others() {
    for name in NAMES {
        let mut captured = Captured::of(name);
        let ledger = ledger(name);
        captured.observe(&facts(&ledger, captured.now));
        let map = captured.map();
        let truth: Edges = ledger["produced"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                (
                    EdgeKind::Produces,
                    format!("service:{}", p["service"].as_str().unwrap()),
                    format!("topic:kafka/{}", p["topic"].as_str().unwrap()),
                    p["acked"].as_u64(),
                )
            })
            .collect();
        assert_eq!(edges(&map, &[EdgeKind::Produces]), truth, "{name}");
        let truth: Edges = ledger["edges_group_recoverer_topic"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                let topic = e["topic"].as_str().unwrap();
                let kind = if topic.ends_with("-dlt") {
                    EdgeKind::DeadLetters
                } else {
                    EdgeKind::Retries
                };
                (
                    kind,
                    format!("group:kafka/{}", e["original_group"].as_str().unwrap()),
                    format!("topic:kafka/{topic}"),
                    e["records"].as_u64(),
                )
            })
            .collect();
        assert_eq!(
            edges(&map, &[EdgeKind::Retries, EdgeKind::DeadLetters]),
            truth,
            "{name}"
        );
        assert_eq!(edges(&map, &[EdgeKind::Calls]), Edges::new(), "{name}");
        let topics: BTreeSet<&str> = map
            .nodes
            .iter()
            .filter(|n| n.kind.is_topic())
            .map(|n| &*n.name)
            .collect();
        let truth: BTreeSet<&str> = ledger["topics"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert!(topics.is_subset(&truth), "{name}: {topics:?}");
    }
}

#[test]
fn a_capture_shows_the_handling_its_spans_can_show() {
    for name in NAMES {
        let captured = Captured::of(name);
        // Without broker facts: groups as spans name them.
        let map = captured.map();
        let mut truth = Edges::new();
        for handled in expected(name)["handled"].as_array().unwrap() {
            let service = format!("service:{}", text(handled, "service").unwrap());
            let topic = text(handled, "topic").unwrap();
            let messages = number(handled, "messages").unwrap();
            if messages == 0 {
                continue;
            }
            let group = match text(handled, "group") {
                Some(group) => format!("group:unknown/{group}"),
                None => format!("unknown:group/unknown/{topic}"),
            };
            let edge = map
                .edges
                .iter()
                .find(|e| {
                    e.kind == EdgeKind::Consumes
                        && *e.from == *group
                        && plain(&map, &e.to) == service
                })
                .unwrap_or_else(|| {
                    panic!(
                        "{name}: {group} {service}: {:#?}",
                        edges(&map, &[EdgeKind::Consumes])
                    )
                });
            assert_eq!(edge.messages, Some(messages), "{name} {topic} {group}");
            assert_eq!(
                edge.records,
                number(handled, "records"),
                "{name} {topic} {group}"
            );
            assert_eq!(
                Some(edge.errors),
                number(handled, "errors"),
                "{name} {topic} {group}"
            );
            truth.insert((EdgeKind::Consumes, group, service, Some(messages)));
        }
        assert_eq!(edges(&map, &[EdgeKind::Consumes]), truth, "{name}");
        let delivered: u64 = map
            .edges
            .iter()
            .filter(|e| e.kind == EdgeKind::Delivers)
            .filter_map(|e| e.messages)
            .sum();
        assert_eq!(
            delivered,
            truth.iter().filter_map(|e| e.3).sum::<u64>(),
            "{name}"
        );
    }
}

#[test]
fn groups_that_spans_do_not_name_are_inferred_or_stay_unknown() {
    // One group reads the topic of the only consumer: it is that one.
    let mut captured = Captured::of("go-sarama");
    let mut ledger_facts = ledger("go-sarama");
    ledger_facts["groups"] = serde_json::json!({"go-sarama.g1": {"partitions": [
        {"topic": "go-sarama.in", "partition": 0, "committed": 20}
    ]}});
    captured.observe(&facts(&ledger_facts, captured.now));
    let map = captured.map();
    let group = map.node("group:kafka/go-sarama.g1").unwrap();
    assert!(group.inferred && group.instrumented);
    assert!(!map.nodes.iter().any(|n| n.kind == NodeKind::Unknown));

    // Two groups read it and nobody can tell which is whose: both are shown as the broker knows them, beside the unknown one.
    let mut captured = Captured::of("py-confluent");
    captured.observe(&facts(&ledger("py-confluent"), captured.now));
    let map = captured.map();
    let unknown = "unknown:group/kafka/py-confluent.in";
    assert_eq!(map.node(unknown).unwrap().kind, NodeKind::Unknown);
    for group in ["py-confluent.g1", "py-confluent.g2"] {
        let id = format!("delivers topic:kafka/py-confluent.in>group:kafka/{group}");
        assert!(!map.edge(&id).unwrap().instrumented);
        assert_eq!(map.edge(&id).unwrap().messages, None);
    }
    assert!(
        !map.nodes
            .iter()
            .any(|n| n.id.starts_with("unknown:service/"))
    );
}

#[test]
fn a_group_without_spans_is_drawn_from_the_brokers_facts() {
    let mut captured = Captured::of("spring-micrometer");
    captured.observe(&facts(&ledger("spring-micrometer"), captured.now));
    let map = captured.map();
    let group = map.node("group:kafka/spring-micrometer.analytics").unwrap();
    assert!(!group.instrumented && !group.inferred);
    let edge = map
        .edge(
            "delivers topic:kafka/spring-micrometer.orders>group:kafka/spring-micrometer.analytics",
        )
        .unwrap();
    assert_eq!(
        (edge.instrumented, edge.messages, edge.records),
        (false, None, None)
    );
    let edge = map
        .edge("consumes group:kafka/spring-micrometer.analytics>unknown:service/kafka/spring-micrometer.analytics")
        .unwrap();
    assert!(!edge.instrumented);
}

#[test]
fn time_in_broker_is_measured_once_a_message() {
    for (name, group, samples) in [
        ("java-default", "group:unknown/java-default.g1", 60),
        (
            "java-semconv-receive",
            "group:unknown/java-semconv-receive.g1",
            60,
        ),
        // Three attempts at each of three records: only the first waited in the broker.
        (
            "spring-micrometer",
            "group:unknown/spring-micrometer.fraud",
            59,
        ),
        ("py-aiokafka", "group:unknown/py-aiokafka.g2", 60),
    ] {
        let map = Captured::of(name).map();
        let edge = map
            .edges
            .iter()
            .find(|e| e.kind == EdgeKind::Delivers && &*e.to == group)
            .unwrap();
        assert_eq!(edge.latency.in_broker.count(), samples, "{name}");
    }
    // No span covers the work of an aiokafka handler.
    let map = Captured::of("py-aiokafka").map();
    assert!(map.edges.iter().all(|e| e.latency.process.is_empty()));
}

#[test]
fn what_a_handler_sends_derives_one_topic_from_another() {
    for (name, from, to) in [
        ("java-default", "java-default.in", "java-default.out"),
        ("java-receive", "java-receive.in", "java-receive.out"),
        ("py-confluent", "py-confluent.in", "py-confluent.out2"),
        ("node-kafkajs", "node-kafkajs.in", "node-kafkajs.out2"),
    ] {
        let map = Captured::of(name).map();
        let id = format!("derives topic:unknown/{from}>topic:unknown/{to}");
        assert!(
            map.edge(&id).is_some(),
            "{name}: {:?}",
            edges(&map, &[EdgeKind::Derives])
        );
    }
}
