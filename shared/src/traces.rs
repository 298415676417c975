//! Traces and journeys.

use crate::{Instant, Window, wire};

wire! {
    /// `GET /api/v1/traces`.
    pub struct Traces {
        /// The range.
        pub window: Window,
        /// Newest first.
        pub traces: Vec<TraceSummary>,
        /// Pass as `cursor` for the next page.
        pub next_cursor: Option<String>,
        /// Spans looked at.
        pub searched: u64,
        /// Spans in the range.
        pub total: u64,
        /// The search stopped at its cost limit before the range's end.
        pub partial: bool,
    }

    /// A trace in a list.
    pub struct TraceSummary {
        /// The trace.
        pub trace_id: String,
        /// Service of the first root, or of the earliest span.
        pub service: String,
        /// Its operation.
        pub operation: String,
        /// First start.
        pub start: Instant,
        /// First start to last end.
        pub duration_ns: u64,
        /// Spans.
        pub spans: u32,
        /// Failed spans.
        pub errors: u32,
        /// Services in order of appearance.
        pub services: Vec<String>,
        /// Topics in order of appearance.
        pub topics: Vec<String>,
        /// Longest time in a broker; 0: every message was delivered before its producer's span ended.
        pub in_broker_ns: Option<u64>,
        /// Business identities found.
        pub correlations: Vec<CorrelationValue>,
    }

    /// A business identity.
    #[derive(Eq)]
    pub struct CorrelationValue {
        /// `correlation`, or the attribute's name.
        pub key: String,
        /// The value.
        pub value: String,
    }

    /// `GET /api/v1/traces/{trace_id}`.
    pub struct Trace {
        /// The trace.
        pub trace_id: String,
        /// First start.
        pub start: Instant,
        /// First start to last end.
        pub duration_ns: u64,
        /// Parents before children, siblings by start; a consumer stands under its producer also when only a link joins them.
        pub spans: Vec<TraceSpan>,
        /// Hops in order.
        pub hops: Vec<Hop>,
        /// Business identities.
        pub correlations: Vec<CorrelationValue>,
        /// Traces linked from or to this one.
        pub linked: Vec<LinkedTrace>,
        /// What a reader must know: clock skew, missing parents, still arriving, cut short.
        pub notices: Vec<String>,
        /// Set when there were more spans than could be sent.
        pub truncated: bool,
    }

    /// A span of a trace.
    pub struct TraceSpan {
        /// The span.
        pub span_id: String,
        /// Its parent, whether or not it arrived.
        pub parent_span_id: Option<String>,
        /// Nesting as drawn; 0 for a root.
        pub depth: u32,
        /// Service.
        pub service: String,
        /// Name.
        pub name: String,
        /// `internal`, `server`, `client`, `producer`, `consumer`, `unspecified`.
        pub kind: String,
        /// Start.
        pub start: Instant,
        /// Duration.
        pub duration_ns: u64,
        /// `unset`, `ok`, `error`.
        pub status: String,
        /// Error class and message.
        pub error: Option<SpanError>,
        /// Its messaging half.
        pub messaging: Option<SpanMessaging>,
        /// Producer's end to this span's start; 0 when it started before: the acknowledgement came after the delivery.
        /// Null without a producer.
        pub in_broker_ns: Option<u64>,
        /// This process span starts before its producer starts: a clock is wrong.
        pub clock_skew: bool,
        /// Its parent was never received.
        pub missing_parent: bool,
        /// Attributes as sent.
        pub attributes: Vec<Attribute>,
        /// Resource attributes.
        pub resource: Vec<Attribute>,
        /// Instrumentation scope.
        pub scope: String,
        /// Events.
        pub events: Vec<SpanEvent>,
        /// Links it has.
        pub links: Vec<SpanLink>,
        /// Links that point at it.
        pub linked_from: Vec<SpanLink>,
    }

    /// Why a span failed.
    pub struct SpanError {
        /// Class.
        pub kind: String,
        /// Message.
        pub message: String,
    }

    /// A span's messaging half.
    pub struct SpanMessaging {
        /// `kafka`.
        pub system: String,
        /// `create`, `send`, `receive`, `process`, `settle`.
        pub operation: String,
        /// Topic.
        pub destination: Option<String>,
        /// Group.
        pub group: Option<String>,
        /// Partition.
        pub partition: Option<i32>,
        /// Offset.
        pub offset: Option<i64>,
        /// Messages in the batch.
        pub batch_count: Option<u32>,
    }

    /// An attribute as text, with its type.
    pub struct Attribute {
        /// Key.
        pub key: String,
        /// Value as text, at most 4 KiB.
        pub value: String,
        /// `string`, `int`, `double`, `bool`, `bytes`, `array`, `map`, `empty`.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// An event.
    pub struct SpanEvent {
        /// When.
        pub at: Instant,
        /// Name.
        pub name: String,
        /// Attributes.
        pub attributes: Vec<Attribute>,
    }

    /// A link, either direction.
    pub struct SpanLink {
        /// The other trace.
        pub trace_id: String,
        /// The other span.
        pub span_id: String,
        /// Its service, when known.
        pub service: Option<String>,
        /// Its name, when known.
        pub name: Option<String>,
    }

    /// A trace joined by links.
    pub struct LinkedTrace {
        /// The trace.
        pub trace_id: String,
        /// `to`: this trace links to it; `from`: it links here.
        pub direction: String,
        /// How many links.
        pub links: u32,
        /// Service of the linked span, when known.
        pub service: Option<String>,
        /// Name of the linked span, when known.
        pub name: Option<String>,
    }

    /// A hop: a message through a topic to a group.
    pub struct Hop {
        /// Service that sent it; null when unknown.
        pub producer: Option<String>,
        /// Topic.
        pub topic: String,
        /// Group; null when unknown.
        pub group: Option<String>,
        /// Service that handled it; null while nobody has.
        pub consumer: Option<String>,
        /// Producer span.
        pub producer_span_id: Option<String>,
        /// Consumer span.
        pub consumer_span_id: Option<String>,
        /// Time in broker; 0 when it was delivered before its producer's span ended.
        pub in_broker_ns: Option<u64>,
        /// Handling time; null where no span covers it.
        pub process_ns: Option<u64>,
        /// The handling failed.
        pub error: bool,
        /// Partition.
        pub partition: Option<i32>,
        /// Offset.
        pub offset: Option<i64>,
    }

    /// `GET /api/v1/journeys/{key}/{value}`.
    pub struct Journey {
        /// `correlation`, or the attribute's name.
        pub key: String,
        /// The value.
        pub value: String,
        /// Where it stands now, in a sentence.
        pub sentence: String,
        /// `in_progress`, `done`, `failed`, `dead_lettered`. `done` means: every message seen sent was handled by every group seen.
        pub state: String,
        /// First start.
        pub start: Instant,
        /// Last end.
        pub end: Instant,
        /// Traces, in order of start.
        pub traces: Vec<TraceSummary>,
        /// Steps, in order of start.
        pub steps: Vec<Step>,
        /// Services and topics in order of first appearance: the lifelines.
        pub lanes: Vec<Lane>,
        /// Set when there were more spans than could be followed.
        pub truncated: bool,
    }

    /// A lifeline.
    pub struct Lane {
        /// Node id.
        pub id: String,
        /// `service`, `topic`, `retry_topic`, `dead_letter_topic`.
        pub kind: String,
        /// Name.
        pub name: String,
    }

    /// A step of a journey.
    pub struct Step {
        /// `produced`, `handled`, `failed`, `retried`, `dead_lettered`, `waiting`.
        pub kind: String,
        /// In a sentence: "billing handled orders in 41 ms".
        pub sentence: String,
        /// Start.
        pub at: Instant,
        /// Duration; null for waiting.
        pub duration_ns: Option<u64>,
        /// Time in broker before it; 0 when it was delivered before its producer's span ended.
        pub in_broker_ns: Option<u64>,
        /// Lane it leaves.
        pub from: String,
        /// Lane it enters.
        pub to: String,
        /// Group.
        pub group: Option<String>,
        /// Partition.
        pub partition: Option<i32>,
        /// Offset.
        pub offset: Option<i64>,
        /// Error class and message.
        pub error: Option<SpanError>,
        /// How it was joined: `id`, `parent`, `link`.
        pub joined_by: String,
        /// The trace.
        pub trace_id: String,
        /// The span.
        pub span_id: String,
    }

    /// `GET /api/v1/journeys?value=`.
    pub struct Journeys {
        /// Keys under which the value was found.
        pub found: Vec<CorrelationValue>,
    }
}
