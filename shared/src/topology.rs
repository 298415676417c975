//! The flow map.

use crate::{Instant, Level, Window, wire};

wire! {
    /// `GET /api/v1/topology`.
    pub struct Topology {
        /// The range.
        pub window: Window,
        /// Changes when nodes or edges come or go, not when numbers move: the layout's key.
        pub version: String,
        /// Nodes, by id.
        pub nodes: Vec<Node>,
        /// Edges, by id.
        pub edges: Vec<Edge>,
        /// Set when nodes or edges were folded into `(other)`.
        pub truncated: bool,
    }

    /// What a node is.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
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
        /// Somebody who sends no spans.
        Unknown,
    }

    /// A node of the map.
    pub struct Node {
        /// `service:NAMESPACE/NAME`, `topic:CLUSTER/NAME`, `group:CLUSTER/NAME`, `unknown:...`.
        pub id: String,
        /// Its kind.
        pub kind: NodeKind,
        /// What to call it.
        pub name: String,
        /// The cluster of a topic or group.
        pub cluster: Option<String>,
        /// The namespace of a service.
        pub namespace: Option<String>,
        /// Spans were seen for it.
        pub instrumented: bool,
        /// A group that spans do not name, taken from the broker's facts.
        pub inferred: bool,
        /// When its last span or record was seen.
        pub last_seen: Option<Instant>,
        /// Messages a second in (topic: produced; group, service: handled), over the rate window.
        pub rate: Option<f64>,
        /// Where `rate` comes from: `spans` or `offsets`.
        pub rate_source: Option<String>,
        /// Duration of its work (service), over the rate window.
        pub work: Option<Percentiles>,
        /// Partitions of a topic.
        pub partitions: Option<u32>,
        /// State and lag of a group.
        pub lag: Option<NodeLag>,
        /// Depth of a dead-letter topic.
        pub dead_letters: Option<NodeDeadLetters>,
        /// Colour: from lag for a group, from growth for a dead-letter topic; `ok` for the rest.
        pub level: Level,
    }

    /// A group's lag as a node shows it.
    pub struct NodeLag {
        /// `data_loss`, `stopped`, ... `ok`.
        pub state: crate::lag::State,
        /// Why, in a sentence.
        pub reason: String,
        /// Readable messages behind.
        pub lag_messages: Option<u64>,
        /// Time behind.
        pub time_lag_ms: Option<u64>,
        /// The mark it is drawn against.
        pub mark_ms: u64,
    }

    /// A dead-letter topic's depth as a node shows it.
    pub struct NodeDeadLetters {
        /// Records kept.
        pub retained: Option<u64>,
        /// Arrivals an hour, over the rate window.
        pub arrivals_per_hour: Option<f64>,
    }

    /// What an edge is.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
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

    /// An edge of the map.
    pub struct Edge {
        /// `KIND FROM>TO`.
        pub id: String,
        /// The node it leaves.
        pub from: String,
        /// The node it enters.
        pub to: String,
        /// Its kind.
        pub kind: EdgeKind,
        /// Spans say so; false: known from offsets only, drawn dashed.
        pub instrumented: bool,
        /// Messages in the range (`delivers`, `consumes`: processing attempts). Null where no spans can tell.
        pub messages: Option<u64>,
        /// Distinct (partition, offset) in the range; null where offsets are missing.
        pub records: Option<u64>,
        /// Failed attempts in the range. Null where no spans can tell.
        pub errors: Option<u64>,
        /// Messages a second over the rate window.
        pub rate: Option<f64>,
        /// Where `rate` comes from: `spans` or `offsets`.
        pub rate_source: Option<String>,
        /// Latencies over the rate window.
        pub latency: Latency,
    }

    /// The three parts of a hop.
    #[derive(Default)]
    pub struct Latency {
        /// The producer span.
        pub produce: Option<Percentiles>,
        /// From the producer's end to the consumer's start.
        pub in_broker: Option<Percentiles>,
        /// The handler's work; null where no span covers it.
        pub process: Option<Percentiles>,
    }

    /// Percentiles from a sketch with 1% relative error.
    #[derive(Copy)]
    pub struct Percentiles {
        /// Median.
        pub p50_ns: u64,
        /// 95th.
        pub p95_ns: u64,
        /// 99th.
        pub p99_ns: u64,
        /// How many samples.
        pub samples: u64,
    }

    /// `GET /api/v1/topology/layout`.
    pub struct Layout {
        /// The topology version it is of.
        pub version: String,
        /// Extent, in pixels at 100%.
        pub width: f64,
        /// Extent, in pixels at 100%.
        pub height: f64,
        /// Boxes.
        pub nodes: Vec<PlacedNode>,
        /// Curves.
        pub edges: Vec<PlacedEdge>,
    }

    /// A node's box; `x`, `y` are its top left corner.
    pub struct PlacedNode {
        /// The node.
        pub id: String,
        /// Left.
        pub x: f64,
        /// Top.
        pub y: f64,
        /// Width.
        pub w: f64,
        /// Height.
        pub h: f64,
        /// The service whose left edge this group stands at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dock: Option<String>,
    }

    /// An edge's curve: cubic Bezier points, 1 + 3n of them.
    pub struct PlacedEdge {
        /// The edge.
        pub id: String,
        /// `[x, y]` pairs.
        pub points: Vec<[f64; 2]>,
    }

    /// `GET /api/v1/topology/edge?id=`: what the side panel adds to an edge.
    pub struct EdgeDetail {
        /// The range.
        pub window: Window,
        /// The edge.
        pub edge: Edge,
        /// Time in broker (for `delivers`), else produce or process time: counts by bucket, over the rate window.
        pub histogram: Vec<HistogramBucket>,
        /// What the histogram is of: `in_broker`, `produce`, `process`.
        pub histogram_of: String,
        /// Example traces: errors first, then slow, typical, fastest.
        pub examples: Vec<ExampleTrace>,
    }

    /// A bar of a histogram.
    pub struct HistogramBucket {
        /// Lower bound.
        pub from_ns: u64,
        /// Upper bound.
        pub to_ns: u64,
        /// Messages.
        pub count: u64,
    }

    /// A trace worth opening.
    pub struct ExampleTrace {
        /// `error`, `slow`, `typical`, `fastest`.
        pub label: String,
        /// The trace.
        pub trace_id: String,
        /// The span of this edge.
        pub span_id: String,
        /// The figure it was chosen by.
        pub duration_ns: u64,
        /// When it started.
        pub start: Instant,
    }
}
