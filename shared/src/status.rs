//! Status of the collector and its brokers.

use std::collections::BTreeMap;

use crate::{Instant, wire};

wire! {
    /// `GET /api/v1/status`.
    pub struct Status {
        /// Version of the binary.
        pub version: String,
        /// Start of the process.
        pub started_at: Instant,
        /// The collector's clock.
        pub now: Instant,
        /// Nothing has arrived yet: no span, no readable cluster.
        pub first_run: bool,
        /// Where it listens.
        pub listeners: Listeners,
        /// Ingest.
        pub ingest: Ingest,
        /// The store.
        pub store: Store,
        /// The flow.
        pub flow: FlowStatus,
        /// Environments seen or configured, the configured first.
        pub environments: Vec<String>,
        /// Clusters configured.
        pub clusters: Vec<String>,
        /// Services seen.
        pub services: Vec<ServiceStatus>,
        /// Poll interval of offsets.
        pub poll_interval_ms: u64,
    }

    /// Addresses.
    pub struct Listeners {
        /// Dashboard and API.
        pub dashboard: String,
        /// OTLP over gRPC.
        pub otlp_grpc: String,
        /// OTLP over HTTP.
        pub otlp_http: String,
    }

    /// Ingest since the start of the process.
    #[derive(Default)]
    pub struct Ingest {
        /// Requests.
        pub requests: u64,
        /// Spans in them.
        pub spans_received: u64,
        /// Spans committed (a resend counts once).
        pub spans_committed: u64,
        /// Resends recognised.
        pub duplicates: u64,
        /// Spans rejected, by reason.
        pub rejected: BTreeMap<String, u64>,
        /// Requests answered "try again".
        pub refused_retryable: u64,
        /// Requests that could not be read.
        pub refused_bad: u64,
        /// Requests above the size limit.
        pub refused_too_large: u64,
        /// Requests whose body did not arrive in time.
        pub refused_too_slow: u64,
        /// Requests without the token.
        pub refused_unauthenticated: u64,
        /// Connections turned away because so many were open.
        pub refused_connections: u64,
        /// Metric points refused.
        pub metrics_rejected: u64,
        /// Log records refused.
        pub logs_rejected: u64,
        /// Spans too far ahead or too old to aggregate.
        pub not_aggregated: u64,
        /// Spans a second over the last minute.
        pub spans_per_s: f64,
        /// Bytes of the requests in flight, from their arrival to their commit.
        pub in_flight_bytes: u64,
        /// Bytes they may have; what would go beyond is answered "try again".
        pub in_flight_limit_bytes: u64,
        /// Spans waiting for the writer.
        pub queue_spans: u64,
        /// Spans the queue holds at most.
        pub queue_capacity: u64,
        /// Commit latency, since start.
        pub commit_p50_ns: Option<u64>,
        /// Commit latency, since start.
        pub commit_p99_ns: Option<u64>,
        /// Why the writer cannot write, when it cannot.
        pub write_error: Option<String>,
    }

    /// The store.
    #[derive(Default)]
    pub struct Store {
        /// Directory.
        pub path: String,
        /// Bytes of all files.
        pub bytes: u64,
        /// Spans kept.
        pub spans: u64,
        /// Partition files.
        pub partitions: u64,
        /// Oldest arrival kept.
        pub oldest: Option<Instant>,
        /// Newest arrival.
        pub newest: Option<Instant>,
        /// Spans are kept this long.
        pub retention_ms: u64,
        /// Spans are kept up to this size.
        pub retention_bytes: u64,
        /// Free space on its disk.
        pub free_bytes: Option<u64>,
        /// How it grows, and what ends that; `null` in the first ten minutes, and when nothing came for a day.
        pub forecast: Option<Forecast>,
        /// Blocks of spans that cannot be read and are left out, as far as they were met since the start.
        pub damaged_blocks: u64,
        /// Span files with damage in them, as far as it was met since the start.
        pub damaged_files: u64,
        /// What is damaged, by file; 100 files at most.
        pub damage: Vec<Damage>,
    }

    /// Damage of one span file.
    pub struct Damage {
        /// The file, in the store's directory.
        pub file: String,
        /// Blocks of it that are left out, each some spans that arrived together; `null` where it is not known how many,
        /// because more than blocks is damaged.
        pub blocks: Option<u64>,
        /// What was found, each thing once; 10 at most.
        pub found: Vec<String>,
    }

    /// What comes of the spans of the last day, should as many come every day.
    pub struct Forecast {
        /// Bytes of spans a day, as of the last day, or since the first span, where that is shorter.
        pub bytes_per_day: u64,
        /// What is reached first: `age` or `size`, the retention's, or `disk`, what must stay free of it.
        pub limit: String,
        /// When the oldest spans begin to go for it.
        pub at: Instant,
    }

    /// The flow.
    #[derive(Default)]
    pub struct FlowStatus {
        /// Nodes.
        pub nodes: u64,
        /// Edges.
        pub edges: u64,
        /// Spans kept, so that later ones can be stitched to them.
        pub pending: u64,
        /// Nodes or edges folded into `(other)`.
        pub truncated: bool,
        /// Bytes of history held in memory.
        pub history_bytes: u64,
        /// Bytes it may have; beyond, the past becomes coarser.
        pub history_limit_bytes: u64,
        /// What of the past is kept coarser or shorter than it should be, to stay within that: a sentence; `null` while
        /// nothing is.
        pub coarser: Option<String>,
    }

    /// A service seen.
    pub struct ServiceStatus {
        /// Environment.
        pub environment: String,
        /// Namespace; empty when none.
        pub namespace: String,
        /// Name.
        pub name: String,
        /// Last span.
        pub last_seen: Instant,
        /// Spans since the store's begin or the process's start, whichever is later.
        pub spans: u64,
    }

    /// `GET /api/v1/brokers`.
    pub struct Brokers {
        /// One a configured cluster.
        pub clusters: Vec<Cluster>,
    }

    /// A cluster.
    pub struct Cluster {
        /// Configured name.
        pub name: String,
        /// `kafka`.
        pub system: String,
        /// Environment.
        pub environment: String,
        /// Bootstrap addresses.
        pub bootstrap: Vec<String>,
        /// The broker's own id.
        pub cluster_id: Option<String>,
        /// `connecting`, `ok`, `unreachable`.
        pub state: String,
        /// Why, or what could not be read of a cluster that is `ok`: a sentence with what to do.
        pub reason: Option<String>,
        /// In this state since.
        pub since: Instant,
        /// Last successful read.
        pub last_read: Option<Instant>,
        /// How long it took.
        pub last_poll_ns: Option<u64>,
        /// Brokers: `host:port`; null before the first read.
        pub brokers: Option<Vec<String>>,
        /// Topics, internal ones left out.
        pub topics: Option<u64>,
        /// Partitions.
        pub partitions: Option<u64>,
        /// Groups.
        pub groups: Option<u64>,
    }
}
