//! The map as of a range: nodes, edges and their figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_model::UnixNanos;
use highwater_model::names::TopicKind;

use crate::sketch::{Bar, Percentiles, Sketch};

/// What map is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopologyQuery {
    /// Start of the range.
    pub from: UnixNanos,
    /// End of the range.
    pub to: UnixNanos,
    /// The one environment it is of.
    pub environment: String,
    /// Only these clusters; empty for all.
    pub clusters: Vec<String>,
    /// Only what lies around this node.
    pub focus: Option<String>,
    /// How many edges away from `focus`; ignored without one.
    pub hops: u32,
}

/// The range an answer is really of: snapped outward to the edges of the buckets kept for that time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Counts begin here.
    pub from: UnixNanos,
    /// Counts end here.
    pub to: UnixNanos,
    /// Rates and latencies begin here: 5 minutes before `to`, or at `from` when that is later.
    pub rate_from: UnixNanos,
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeKind {
    /// A service.
    Service,
    /// A topic.
    Topic,
    /// A topic of messages waiting to be tried again.
    RetryTopic,
    /// A topic of messages given up.
    DeadLetterTopic,
    /// A consumer group.
    Group,
    /// Somebody who sends no spans, or cannot be told.
    Unknown,
}

impl NodeKind {
    pub(crate) fn of_topic(kind: TopicKind) -> Self {
        match kind {
            TopicKind::Topic => Self::Topic,
            TopicKind::RetryTopic => Self::RetryTopic,
            TopicKind::DeadLetterTopic => Self::DeadLetterTopic,
        }
    }

    /// Whether it is a topic of any kind.
    #[must_use]
    pub fn is_topic(self) -> bool {
        matches!(self, Self::Topic | Self::RetryTopic | Self::DeadLetterTopic)
    }
}

/// Where a rate comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RateSource {
    /// Counted from spans.
    Spans,
    /// From the broker's offsets.
    Offsets,
}

/// A node of the map.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// `service:NAMESPACE/NAME`, `topic:CLUSTER/NAME`, `group:CLUSTER/NAME`, `unknown:...`.
    pub id: Arc<str>,
    /// Its kind.
    pub kind: NodeKind,
    /// What to call it.
    pub name: Arc<str>,
    /// The cluster of a topic or group, or of what is unknown about them.
    pub cluster: Option<Arc<str>>,
    /// The namespace of a service, where it has one.
    pub namespace: Option<Arc<str>>,
    /// Spans were seen for it in the range.
    pub instrumented: bool,
    /// A group that spans do not name, told from the broker's facts.
    pub inferred: bool,
    /// When it was last seen, to the width of a bucket: the end of the last bucket that holds something of it.
    pub last_seen: Option<UnixNanos>,
    /// Messages a second in (topic: produced; group: handled; service: handled, and requests served).
    pub rate: Option<f64>,
    /// Where `rate` comes from.
    pub rate_source: Option<RateSource>,
    /// Durations of a service's work: its handlers and its server spans.
    pub work: Sketch,
    /// Partitions of a topic, as the broker says.
    pub partitions: Option<u32>,
}

/// What an edge is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EdgeKind {
    /// service -> topic.
    Produces,
    /// topic -> group.
    Delivers,
    /// group -> service.
    Consumes,
    /// group (or service) -> retry topic.
    Retries,
    /// group (or service) -> dead-letter topic.
    DeadLetters,
    /// service -> service.
    Calls,
    /// topic -> topic, through a service.
    Derives,
}

impl EdgeKind {
    /// The word in the edge's id.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Produces => "produces",
            Self::Delivers => "delivers",
            Self::Consumes => "consumes",
            Self::Retries => "retries",
            Self::DeadLetters => "dead_letters",
            Self::Calls => "calls",
            Self::Derives => "derives",
        }
    }
}

/// The parts of a hop's latency, over the rate window.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// The producer span; on `delivers`, that of all who produce to the topic.
    pub produce: Sketch,
    /// From the producer's end to the delivery.
    pub in_broker: Sketch,
    /// The handler's work (`calls`: the server span); empty where no span covers it.
    pub process: Sketch,
}

/// An edge of the map.
#[derive(Clone, PartialEq, Debug)]
pub struct Edge {
    /// `KIND FROM>TO`.
    pub id: Arc<str>,
    /// The node it leaves.
    pub from: Arc<str>,
    /// The node it enters.
    pub to: Arc<str>,
    /// Its kind.
    pub kind: EdgeKind,
    /// Spans say so; false: known from offsets only.
    pub instrumented: bool,
    /// Messages in the range; `None` where no spans can tell.
    pub messages: Option<u64>,
    /// Distinct (partition, offset) in the range; `None` where offsets are missing.
    pub records: Option<u64>,
    /// Failed attempts in the range.
    pub errors: u64,
    /// Messages a second over the rate window.
    pub rate: Option<f64>,
    /// Where `rate` comes from.
    pub rate_source: Option<RateSource>,
    /// Latencies over the rate window.
    pub latency: Latency,
}

impl Edge {
    /// What the side panel's histogram is of, and its bars: time in broker where it is known, else the handler's
    /// work, else the producer span.
    #[must_use]
    pub fn histogram(&self, bars: usize) -> (&'static str, Vec<Bar>) {
        let Latency {
            produce,
            in_broker,
            process,
        } = &self.latency;
        match self.kind {
            EdgeKind::Delivers if !in_broker.is_empty() => ("in_broker", in_broker.histogram(bars)),
            EdgeKind::Delivers | EdgeKind::Consumes | EdgeKind::Calls => {
                ("process", process.histogram(bars))
            }
            _ => ("produce", produce.histogram(bars)),
        }
    }
}

/// A map.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    /// The range.
    pub window: Window,
    /// Changes when nodes or edges come or go, not when figures move.
    pub version: String,
    /// By id.
    pub nodes: Vec<Node>,
    /// By id.
    pub edges: Vec<Edge>,
    /// Something was folded into `(other)` or left out.
    pub truncated: bool,
}

impl Topology {
    /// A node by id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes
            .binary_search_by(|node| (*node.id).cmp(id))
            .ok()
            .map(|at| &self.nodes[at])
    }

    /// An edge by id.
    #[must_use]
    pub fn edge(&self, id: &str) -> Option<&Edge> {
        self.edges
            .binary_search_by(|edge| (*edge.id).cmp(id))
            .ok()
            .map(|at| &self.edges[at])
    }

    /// Median, 95th and 99th of a service's work; `None` when none was measured.
    #[must_use]
    pub fn work(&self, id: &str) -> Option<Percentiles> {
        self.node(id)?.work.percentiles()
    }

    /// The version of a set of nodes and edges.
    pub(crate) fn hash(nodes: &[Node], edges: &[Edge]) -> String {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for node in nodes {
            hasher.update(node.id.as_bytes());
            hasher.update(&[0, node.kind as u8, u8::from(node.instrumented)]);
        }
        for edge in edges {
            hasher.update(edge.id.as_bytes());
            hasher.update(&[0, u8::from(edge.instrumented)]);
        }
        format!("{:016x}", hasher.digest())
    }

    /// Ids of the nodes within `hops` edges of `focus`, in either direction.
    pub(crate) fn around(&self, focus: &str, hops: u32) -> BTreeSet<Arc<str>> {
        let mut graph = petgraph::graphmap::UnGraphMap::<usize, ()>::new();
        let index: BTreeMap<&str, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (&*node.id, at))
            .collect();
        for edge in &self.edges {
            if let (Some(&a), Some(&b)) = (index.get(&*edge.from), index.get(&*edge.to)) {
                graph.add_edge(a, b, ());
            }
        }
        let Some(&start) = index.get(focus) else {
            return BTreeSet::new();
        };
        let mut near = BTreeSet::from([start]);
        let mut level = vec![start];
        for _ in 0..hops {
            level = level
                .into_iter()
                .flat_map(|node| graph.neighbors(node).collect::<Vec<_>>())
                .filter(|node| near.insert(*node))
                .collect();
            if level.is_empty() {
                break;
            }
        }
        near.into_iter()
            .map(|at| self.nodes[at].id.clone())
            .collect()
    }

    /// Keeps only the nodes asked for, and the edges between them.
    pub(crate) fn retain(&mut self, keep: &BTreeSet<Arc<str>>) {
        self.nodes.retain(|node| keep.contains(&node.id));
        self.edges
            .retain(|edge| keep.contains(&edge.from) && keep.contains(&edge.to));
    }
}
