//! Worlds of spans for the tests: traces as SDKs make them, out of a few shapes that combine.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several tests, each of which uses a part"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_flow::{ClusterConfig, Config, TopologyQuery};
use highwater_model::broker::{GroupFacts, PartitionOffsets, Sample, TopicFacts, TopicPartition};
use highwater_model::raw::SpanKind;
use highwater_model::span::{ClusterHint, ErrorInfo, Link, Messaging};
use highwater_model::{Operation, ServiceKey, Span, SpanId, TraceId, UnixNanos};
use proptest::prelude::*;

pub const NOW: UnixNanos = UnixNanos(1_773_717_160_000_000_000);
pub const MS: u64 = 1_000_000;

pub fn config() -> Config {
    Config {
        clusters: ["east", "west"]
            .iter()
            .map(|name| ClusterConfig {
                name: (*name).into(),
                environment: "prod".into(),
                addresses: vec![format!("{name}:9092").into()],
            })
            .collect(),
        ..Config::default()
    }
}

pub fn query() -> TopologyQuery {
    TopologyQuery {
        from: UnixNanos(NOW.0 - 3_600_000 * MS),
        to: NOW,
        environment: "prod".into(),
        ..TopologyQuery::default()
    }
}

pub fn service(name: &str) -> ServiceKey {
    ServiceKey {
        environment: "prod".into(),
        namespace: "".into(),
        name: name.into(),
    }
}

/// Builds spans with ids that count up.
#[derive(Clone, Debug)]
pub struct Maker {
    next: u64,
    /// Every span's start is this far after the one before it.
    pub at: u64,
    pub spans: Vec<Span>,
}

impl Default for Maker {
    fn default() -> Self {
        Self {
            next: 1,
            at: NOW.0 - 120_000 * MS,
            spans: Vec::new(),
        }
    }
}

impl Maker {
    pub fn trace(&mut self) -> TraceId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.id().to_be_bytes());
        TraceId(id)
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        // Ids that do not sort by time.
        self.next.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// A span of 5 ms, 10 ms after the last one began.
    pub fn span(
        &mut self,
        trace: TraceId,
        parent: Option<SpanId>,
        service_name: &str,
        kind: SpanKind,
    ) -> &mut Span {
        self.at += 10 * MS;
        let span_id = SpanId(self.id().to_be_bytes());
        let time = (UnixNanos(self.at), UnixNanos(self.at + 5 * MS));
        self.spans.push(Span {
            parent,
            scope: "test".into(),
            kind,
            ..Span::plain(trace, span_id, service(service_name), time)
        });
        self.spans.last_mut().unwrap()
    }

    pub fn send(
        &mut self,
        trace: TraceId,
        parent: Option<SpanId>,
        name: &str,
        topic: &str,
    ) -> &mut Span {
        let span = self.span(trace, parent, name, SpanKind::Producer);
        span.messaging = Some(Messaging::kafka(Operation::Send, topic));
        span
    }

    pub fn process(
        &mut self,
        trace: TraceId,
        parent: Option<SpanId>,
        name: &str,
        topic: &str,
        group: Option<&str>,
    ) -> &mut Span {
        let span = self.span(trace, parent, name, SpanKind::Consumer);
        let mut m = Messaging::kafka(Operation::Process, topic);
        m.group = group.map(Into::into);
        span.messaging = Some(m);
        span
    }

    pub fn receive(
        &mut self,
        trace: TraceId,
        parent: Option<SpanId>,
        name: &str,
        topic: &str,
        group: Option<&str>,
    ) -> &mut Span {
        let span = self.process(trace, parent, name, topic, group);
        let m = span.messaging.as_mut().unwrap();
        m.operation = Operation::Receive;
        m.duration_is_work = false;
        span
    }
}

/// Changes a span's messaging half.
pub fn edit(span: &mut Span, change: impl FnOnce(&mut Messaging)) -> &mut Span {
    change(span.messaging.as_mut().unwrap());
    span
}

pub fn place(span: &mut Span, partition: i32, offset: i64) -> &mut Span {
    edit(span, |m| {
        m.partition = Some(partition);
        m.offset = Some(offset);
    })
}

pub fn link(span: &mut Span, to: (TraceId, SpanId)) {
    span.links.push(Link {
        trace_id: to.0,
        span_id: to.1,
        partition: None,
        offset: None,
    });
}

pub fn fail(span: &mut Span) {
    span.error = Some(ErrorInfo {
        kind: "Boom".into(),
        message: "".into(),
    });
}

pub fn ids(span: &Span) -> (TraceId, SpanId) {
    (span.trace_id, span.span_id)
}

/// One cluster's facts: topics with partitions, groups with what they have committed on.
pub fn sample(
    cluster: &str,
    at: UnixNanos,
    topics: &[(&str, i64)],
    groups: &[(&str, &[(&str, i64)])],
) -> Sample {
    let mut sample = Sample {
        cluster: cluster.into(),
        cluster_id: Some(format!("id-{cluster}").into()),
        started: at,
        finished: at,
        brokers: vec![(1, format!("{cluster}-1:9092").into())],
        topics: BTreeMap::new(),
        partitions: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    for &(topic, end) in topics {
        sample.topics.insert(
            topic.into(),
            TopicFacts {
                partitions: 3,
                ..TopicFacts::default()
            },
        );
        sample.partitions.insert(
            TopicPartition {
                topic: topic.into(),
                partition: 0,
            },
            PartitionOffsets {
                log_start: Ok(0),
                end: Ok(end),
                last_stable: Ok(end),
                read_at: at,
            },
        );
    }
    for &(group, committed) in groups {
        sample.groups.insert(
            group.into(),
            GroupFacts {
                broker_state: Ok("Stable".into()),
                kind: "classic".into(),
                members: Ok(Vec::new()),
                committed: committed
                    .iter()
                    .map(|&(topic, offset)| {
                        (
                            TopicPartition {
                                topic: topic.into(),
                                partition: 0,
                            },
                            Ok(Some(offset)),
                        )
                    })
                    .collect(),
                error: None,
                read_at: at,
            },
        );
    }
    sample
}

/// Spans and facts of a generated world.
#[derive(Clone, Debug)]
pub struct World {
    pub spans: Vec<Span>,
    pub sample: Sample,
}

/// How a consumer's SDK shows what it handles.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// process, child of the producer
    Child,
    /// process, child of and linked to the producer
    ChildAndLink,
    /// receive with a process child that links to the producer
    ReceiveThenLink,
    /// receive, child of the producer, with a process child (kotel)
    Nested,
    /// receive linked to the producer, process in a trace of its own linked to the receive (kotel, LinkSpans)
    Chained,
    /// receive alone, child of the producer
    ReceiveOnly,
    /// a poll with links beside process children of the producers
    PollBeside,
    /// one process span over a batch, linked
    BatchProcess,
    /// a batch receive linked to per-message receives (aiokafka)
    BatchLinksReceives,
    /// no context at all: only the offset
    Lone,
    /// process inside process: two instrumentations
    Doubled,
}

const STYLES: [Style; 11] = [
    Style::Child,
    Style::ChildAndLink,
    Style::ReceiveThenLink,
    Style::Nested,
    Style::Chained,
    Style::ReceiveOnly,
    Style::PollBeside,
    Style::BatchProcess,
    Style::BatchLinksReceives,
    Style::Lone,
    Style::Doubled,
];

#[derive(Clone, Debug)]
pub struct Hop {
    topic: u8,
    style: Style,
    service: u8,
    group: Option<u8>,
    messages: u8,
    placed: bool,
    hint: u8,
    failed: bool,
    again: bool,
    sends: u8,
    depth: u8,
}

fn any_hop() -> impl Strategy<Value = Hop> {
    (
        (
            0u8..4,
            0usize..STYLES.len(),
            0u8..3,
            prop::option::of(0u8..3),
        ),
        (1u8..4, any::<bool>(), 0u8..4, prop::bool::weighted(0.2)),
        (prop::bool::weighted(0.3), 0u8..5, 0u8..4),
    )
        .prop_map(
            |(
                (topic, style, service, group),
                (messages, placed, hint, failed),
                (again, sends, depth),
            )| Hop {
                topic,
                style: STYLES[style],
                service,
                group,
                messages,
                placed,
                hint,
                failed,
                again,
                sends,
                depth,
            },
        )
}

/// Several hops, each with its producers, its consumers and what their handlers send.
pub fn any_world() -> impl Strategy<Value = World> {
    prop::collection::vec(any_hop(), 1..7).prop_map(|hops| {
        let mut maker = Maker::default();
        let mut offset = 0;
        for hop in &hops {
            build(&mut maker, hop, &mut offset);
        }
        World {
            spans: maker.spans,
            sample: sample(
                "east",
                NOW,
                &[
                    ("t0", 10),
                    ("t1", 10),
                    ("t2", 10),
                    ("out", 3),
                    ("t0-dlt", 1),
                ],
                &[
                    ("g0", &[("t0", 5)]),
                    ("silent", &[("t1", 5), ("t2", 1)]),
                    ("other", &[("t2", 1)]),
                ],
            ),
        }
    })
}

fn hint(which: u8) -> ClusterHint {
    let id = |id: &str| Some(Arc::from(id));
    match which {
        0 => ClusterHint {
            id: id("id-east"),
            address: None,
        },
        1 => ClusterHint {
            id: None,
            address: id("east-1:9092"),
        },
        2 => ClusterHint {
            id: id("id-nobody"),
            address: None,
        },
        _ => ClusterHint::default(),
    }
}

fn build(maker: &mut Maker, hop: &Hop, offset: &mut i64) {
    let topic = format!("t{}", hop.topic);
    let name = format!("consumer-{}", hop.service);
    let group = hop.group.map(|g| format!("g{g}"));
    let group = group.as_deref();
    let mut sent = Vec::new();
    for _ in 0..hop.messages {
        let trace = maker.trace();
        let root = maker.span(trace, None, "front", SpanKind::Server).span_id;
        let span = maker.send(trace, Some(root), "front", &topic);
        *offset += 1;
        if hop.placed {
            place(span, 0, *offset);
        }
        edit(span, |m| m.cluster = hint(hop.hint));
        sent.push((ids(span), *offset));
    }
    let rounds = if hop.again { 2 } else { 1 };
    for _ in 0..rounds {
        let handlers = consume(maker, hop, &sent, &name, &topic, group);
        for (trace, handler) in handlers {
            let mut parent = handler;
            for _ in 0..hop.depth {
                parent = maker
                    .span(trace, Some(parent), &name, SpanKind::Internal)
                    .span_id;
            }
            match hop.sends {
                0 => {}
                1 => {
                    maker.send(trace, Some(parent), &name, "out");
                }
                2 => {
                    maker.send(trace, Some(parent), &name, &format!("{topic}-dlt"));
                }
                3 => {
                    let outer = maker.send(trace, Some(parent), &name, "out").span_id;
                    maker.send(trace, Some(outer), &name, "out");
                }
                _ => {
                    let client = maker
                        .span(trace, Some(parent), &name, SpanKind::Client)
                        .span_id;
                    maker.span(trace, Some(client), "back", SpanKind::Server);
                    let create = maker.send(trace, Some(parent), &name, "out");
                    edit(create, |m| m.operation = Operation::Create);
                    let create = ids(create);
                    let send = maker.send(trace, Some(parent), &name, "out");
                    link(send, create);
                }
            }
        }
    }
}

type Sent = ((TraceId, SpanId), i64);

fn consume(
    maker: &mut Maker,
    hop: &Hop,
    sent: &[Sent],
    name: &str,
    topic: &str,
    group: Option<&str>,
) -> Vec<(TraceId, SpanId)> {
    let finish = |span: &mut Span, offset: i64| {
        if hop.placed {
            place(span, 0, offset);
        }
        if hop.failed {
            fail(span);
        }
        ids(span)
    };
    let mut handlers = Vec::new();
    match hop.style {
        Style::BatchProcess => {
            let trace = maker.trace();
            let span = maker.process(trace, None, name, topic, group);
            for (to, _) in sent {
                link(span, *to);
            }
            handlers.push(ids(span));
        }
        Style::PollBeside => {
            let trace = maker.trace();
            let poll = maker.receive(trace, None, name, topic, group);
            edit(poll, |m| m.batch_count = Some(sent.len() as u32));
            for (to, _) in sent {
                link(poll, *to);
            }
            for (to, offset) in &sent[1..] {
                let span = maker.process(to.0, Some(to.1), name, topic, group);
                handlers.push(finish(span, *offset));
            }
        }
        Style::BatchLinksReceives => {
            let records: Vec<_> = sent
                .iter()
                .map(|(to, offset)| {
                    let span = maker.receive(to.0, Some(to.1), name, topic, group);
                    edit(span, |m| m.message_id = Some("id".into()));
                    finish(span, *offset)
                })
                .collect();
            let trace = maker.trace();
            let batch = maker.receive(trace, None, name, topic, group);
            edit(batch, |m| m.batch_count = Some(records.len() as u32));
            for record in records {
                link(batch, record);
            }
            handlers.push(ids(batch));
        }
        style => {
            for (to, offset) in sent {
                let trace = maker.trace();
                let handler = match style {
                    Style::Child => {
                        finish(maker.process(to.0, Some(to.1), name, topic, group), *offset)
                    }
                    Style::ChildAndLink => {
                        let span = maker.process(to.0, Some(to.1), name, topic, group);
                        link(span, *to);
                        finish(span, *offset)
                    }
                    Style::ReceiveThenLink => {
                        let receive = ids(maker.receive(trace, None, name, topic, group));
                        let span = maker.process(trace, Some(receive.1), name, topic, group);
                        link(span, *to);
                        finish(span, *offset)
                    }
                    Style::Nested => {
                        let receive =
                            finish(maker.receive(to.0, Some(to.1), name, topic, group), *offset);
                        finish(
                            maker.process(to.0, Some(receive.1), name, topic, group),
                            *offset,
                        )
                    }
                    Style::Chained => {
                        let span = maker.receive(trace, None, name, topic, group);
                        link(span, *to);
                        let receive = finish(span, *offset);
                        let own = maker.trace();
                        let span = maker.process(own, None, name, topic, group);
                        link(span, receive);
                        finish(span, *offset)
                    }
                    Style::ReceiveOnly => {
                        finish(maker.receive(to.0, Some(to.1), name, topic, group), *offset)
                    }
                    Style::Lone => finish(maker.process(trace, None, name, topic, group), *offset),
                    _ => {
                        let outer =
                            finish(maker.process(to.0, Some(to.1), name, topic, group), *offset);
                        let inner = maker.receive(to.0, Some(outer.1), name, topic, group);
                        edit(inner, |m| m.duration_is_work = true);
                        finish(inner, *offset)
                    }
                };
                handlers.push(handler);
            }
        }
    }
    handlers
}

/// A permutation by seed.
pub fn shuffled(spans: &[Span], seed: u64) -> Vec<Span> {
    let mut state = seed | 1;
    let mut keyed: Vec<(u64, &Span)> = spans
        .iter()
        .map(|span| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state, span)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, span)| span.clone()).collect()
}
