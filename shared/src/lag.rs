//! Consumer lag.

use crate::{Instant, Level, Window, wire};

wire! {
    /// State of a partition or group, worst first.
    #[derive(Copy, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "snake_case")]
    pub enum State {
        /// Committed below log start: records were deleted unread.
        DataLoss,
        /// Nothing of the group moves while ends do, or it has no members.
        Stopped,
        /// This partition does not move, another of the group does.
        Stalled,
        /// Committed past the end.
        BeyondEnd,
        /// Lag never fell over the window and grew.
        FallingBehind,
        /// Committed went back.
        Rewound,
        /// Could not be read.
        Unknown,
        /// Members, no commit yet.
        NoCommit,
        /// Fine.
        Ok,
    }

    /// How sure a time lag is.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum Bound {
        /// Interpolated between two samples.
        Exact,
        /// The history begins later.
        AtLeast,
        /// Less than this.
        AtMost,
    }

    /// How the timestamps of a partition's records contradict when those came.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum Skew {
        /// A record is stamped with a time that is still to come.
        Ahead,
        /// Records are stamped with a time before they came.
        Behind,
    }

    /// `GET /api/v1/groups`.
    pub struct Groups {
        /// The range.
        pub window: Window,
        /// Worst first.
        pub groups: Vec<GroupSummary>,
    }

    /// A group.
    pub struct GroupSummary {
        /// The cluster's configured name.
        pub cluster: String,
        /// The group.
        pub group: String,
        /// Worst state of its partitions.
        pub state: State,
        /// In this state since.
        pub state_since: Option<Instant>,
        /// Why, in a sentence.
        pub reason: String,
        /// Colour, from level against mark.
        pub level: Level,
        /// The mark.
        pub mark_ms: u64,
        /// Messages that can still be read.
        pub lag_messages: Option<u64>,
        /// end - committed summed, as Kafka's own tool prints it.
        pub lag_by_tools: Option<i64>,
        /// Worst partition's time lag.
        pub time_lag_ms: Option<u64>,
        /// How sure.
        pub time_lag_bound: Option<Bound>,
        /// Produced to its partitions.
        pub in_per_s: Option<f64>,
        /// Committed by it.
        pub out_per_s: Option<f64>,
        /// Start of the time that these two rates are of, whatever the range: 5 minutes (`[lag] window`) before
        /// `read_at`, or since the first reading when that is later. Null where they are.
        pub rate_from: Option<Instant>,
        /// Until caught up at these rates; null when never or unknown.
        pub drain_ms: Option<u64>,
        /// Least time until unread records are deleted; null unknown, unlimited, or with nothing unread.
        pub retention_left_ms: Option<u64>,
        /// Smallest `retention.ms` of its topics; negative unlimited.
        pub retention_ms: Option<i64>,
        /// When its offsets were read.
        pub read_at: Option<Instant>,
        /// Topics it reads.
        pub topics: Vec<String>,
        /// Partitions read.
        pub partitions_read: u32,
        /// Partitions its topics have; null while it is not known what it reads.
        pub partitions_total: Option<u32>,
        /// Members; null unknown.
        pub members: Option<u32>,
        /// The broker's word: `Stable`, `Empty`.
        pub broker_state: Option<String>,
        /// `classic`, `consumer`, `share`.
        pub protocol: String,
        /// Services seen consuming in it, from spans; empty: not instrumented.
        pub services: Vec<String>,
        /// Time lag over the range, up to 60 points, oldest first; null where not read.
        pub spark_ms: Vec<Option<u64>>,
    }

    /// `GET /api/v1/groups/{cluster}/{group}`.
    pub struct GroupDetail {
        /// The range.
        pub window: Window,
        /// The group.
        #[serde(flatten)]
        pub summary: GroupSummary,
        /// Its partitions.
        pub partitions: Vec<PartitionLag>,
        /// How long messages waited in the broker, as spans have it; null where no span tells.
        pub observed: Option<ObservedLag>,
    }

    /// How long messages waited before they were handled: from the end of sending to the start of handling, from spans.
    pub struct ObservedLag {
        /// Half of them waited no longer.
        pub p50_ms: u64,
        /// 95 of 100 waited no longer.
        pub p95_ms: u64,
        /// Messages handled in that time.
        pub messages: u64,
        /// From here to `to`.
        pub from: Instant,
        /// End of that time.
        pub to: Instant,
        /// Set when this and the time lag from offsets cannot both be right, with what that may mean.
        pub disagrees: Option<String>,
    }

    /// A partition of a group.
    pub struct PartitionLag {
        /// The topic.
        pub topic: String,
        /// The partition.
        pub partition: i32,
        /// State.
        pub state: State,
        /// Why, in a sentence.
        pub reason: String,
        /// Committed offset; null: none or unknown (`state` tells).
        pub committed_offset: Option<i64>,
        /// First kept.
        pub log_start_offset: Option<i64>,
        /// High watermark.
        pub end_offset: Option<i64>,
        /// Reachable by read_committed.
        pub last_stable_offset: Option<i64>,
        /// Who reads it.
        pub member: Option<String>,
        /// Messages that can still be read.
        pub lag_messages: Option<u64>,
        /// An upper bound (compacted topic).
        pub lag_is_upper_bound: bool,
        /// end - committed.
        pub lag_by_tools: Option<i64>,
        /// Records deleted unread.
        pub lost_messages: Option<u64>,
        /// Set where timestamps are more than five minutes from when records came: time lag is then from Highwater's own
        /// readings alone.
        pub clock_suspect: Option<Skew>,
        /// Time lag.
        pub time_lag_ms: Option<u64>,
        /// How sure.
        pub time_lag_bound: Option<Bound>,
        /// Produced.
        pub in_per_s: Option<f64>,
        /// Committed.
        pub out_per_s: Option<f64>,
        /// Start of the time that these two rates are of.
        pub rate_from: Option<Instant>,
        /// Until caught up.
        pub drain_ms: Option<u64>,
        /// When its offsets were read.
        pub read_at: Option<Instant>,
    }

    /// `GET /api/v1/groups/{cluster}/{group}/history`.
    pub struct GroupHistory {
        /// The range.
        pub window: Window,
        /// Width of a point.
        pub step_ms: u64,
        /// One a step, oldest first.
        pub points: Vec<LagPoint>,
        /// One row a partition, aligned with `points`.
        pub partitions: Vec<PartitionHistory>,
        /// Process time of the group's consumers, aligned with `points`; from spans.
        pub process: Vec<ProcessPoint>,
        /// Slowest traces of the group in the range.
        pub slowest: Vec<SlowTrace>,
        /// Newest failed handlings of the group in the range.
        pub failing: Vec<FailedTrace>,
        /// What happened beside the figures, oldest first.
        pub events: Vec<GroupEvent>,
        /// What its spans say of the reason.
        pub why: Why,
    }

    /// What happened.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum GroupEventKind {
        /// A service that reads for the group came with another `service.version`.
        Deployed,
        /// Its members or what they read changed.
        Rebalanced,
        /// Committed offsets went back.
        Rewound,
        /// An alert of it fired.
        Fired,
        /// That alert is over.
        Resolved,
    }

    /// Something that happened to a group, or to who reads for it.
    pub struct GroupEvent {
        /// When it was seen.
        pub at: Instant,
        /// What.
        pub kind: GroupEventKind,
        /// More of it: `billing 4.18.0`, `3 members, 2 before`.
        pub text: String,
    }

    /// `GET /api/v1/changes`.
    pub struct Changes {
        /// Newest first.
        pub changes: Vec<ChangeRecord>,
        /// There are older ones in the range.
        pub more: bool,
    }

    /// Something that happened to a group or a service.
    pub struct ChangeRecord {
        /// When it was seen.
        pub at: Instant,
        /// What.
        pub kind: GroupEventKind,
        /// The cluster; null where it is of a service.
        pub cluster: Option<String>,
        /// Whose it is: the service of a deploy, the group of what happened to one, and of an alert its subject in words,
        /// `billing on kafka`.
        pub subject: String,
        /// More of it: the version, `3 members, 2 before`, the name of the alert's rule.
        pub text: String,
    }

    /// What the newest handlings of a group in the range say of why it is behind.
    #[derive(Default)]
    pub struct Why {
        /// Handlings looked at: the newest of the range, of at most 500 traces.
        pub handlings: u32,
        /// Of so many of the slowest of them the shares of time are.
        pub slow_handlings: u32,
        /// Where the time of the slowest goes, the largest share first; empty where no span tells.
        pub time: Vec<TimeShare>,
        /// The key that much of the handlings are of; null where none stands out, or no span names keys.
        pub hot_key: Option<HotKey>,
        /// The partition that much of what comes in goes to; null where none stands out.
        pub hot_partition: Option<HotPartition>,
    }

    /// What a handling waits for.
    pub struct TimeShare {
        /// The call, named as `longest_child`; null for the handler itself.
        pub call: Option<String>,
        /// Its share of the handlings' time, 0 to 1. Calls that overlap each count in full.
        pub share: f64,
    }

    /// A message key that stands out.
    pub struct HotKey {
        /// The key, as spans name it.
        pub key: String,
        /// Handlings of it.
        pub handlings: u32,
        /// Handlings whose spans name a key.
        pub of: u32,
    }

    /// A partition that stands out.
    pub struct HotPartition {
        /// The topic.
        pub topic: String,
        /// The partition.
        pub partition: i32,
        /// Its share of what comes in on the topic's partitions that this group reads, 0 to 1.
        pub share: f64,
        /// How many partitions share it.
        pub of: u32,
    }

    /// A failed handling of a group.
    pub struct FailedTrace {
        /// The trace.
        pub trace_id: String,
        /// The process span.
        pub span_id: String,
        /// Its duration.
        pub process_ns: u64,
        /// What failed: the type of the error.
        pub error: String,
        /// The message; empty when none.
        pub message: String,
        /// When it started.
        pub start: Instant,
    }

    /// A point of a group's lag; null where not read.
    pub struct LagPoint {
        /// Start of the step.
        pub at: Instant,
        /// Messages.
        pub lag_messages: Option<u64>,
        /// Time.
        pub time_lag_ms: Option<u64>,
    }

    /// A partition's time lag over the steps.
    pub struct PartitionHistory {
        /// The topic.
        pub topic: String,
        /// The partition.
        pub partition: i32,
        /// Aligned with the group's points.
        pub time_lag_ms: Vec<Option<u64>>,
    }

    /// Process time in a step.
    pub struct ProcessPoint {
        /// Start of the step.
        pub at: Instant,
        /// Percentiles; null without spans.
        pub p95_ns: Option<u64>,
        /// 99th.
        pub p99_ns: Option<u64>,
        /// Attempts; null where no span of the group was ever seen.
        pub messages: Option<u64>,
        /// Failed attempts; null where no span of the group was ever seen.
        pub errors: Option<u64>,
    }

    /// A slow trace of a group.
    pub struct SlowTrace {
        /// The trace.
        pub trace_id: String,
        /// The process span.
        pub span_id: String,
        /// Its duration.
        pub process_ns: u64,
        /// It failed.
        pub error: bool,
        /// Longest child span: its name, after that of the service that answered it where it is another one.
        pub longest_child: Option<String>,
        /// Its duration.
        pub longest_child_ns: Option<u64>,
        /// When it started.
        pub start: Instant,
    }

    /// `GET /api/v1/groups/{cluster}/{group}/members`.
    pub struct GroupMembers {
        /// Null when describing failed.
        pub members: Option<Vec<Member>>,
        /// Why they are unknown.
        pub reason: Option<String>,
    }

    /// A member of a group.
    pub struct Member {
        /// Broker-assigned id.
        pub member_id: String,
        /// Chosen client id.
        pub client_id: String,
        /// Where it connects from.
        pub host: String,
        /// What it reads.
        pub partitions: Vec<MemberPartition>,
    }

    /// A partition of a member.
    pub struct MemberPartition {
        /// The topic.
        pub topic: String,
        /// The partition.
        pub partition: i32,
    }

    /// `GET /api/v1/topics`.
    pub struct Topics {
        /// By cluster and name.
        pub topics: Vec<TopicSummary>,
    }

    /// A topic.
    pub struct TopicSummary {
        /// The cluster.
        pub cluster: String,
        /// The topic.
        pub topic: String,
        /// `topic`, `retry_topic`, `dead_letter_topic`.
        pub kind: String,
        /// Partitions.
        pub partitions: u32,
        /// Records kept: sum(end - log start); null unknown.
        pub retained: Option<u64>,
        /// Sum of ends; null unknown.
        pub end_offsets: Option<u64>,
        /// Produced a second, from offsets.
        pub in_per_s: Option<f64>,
        /// Start of the time that this rate is of: 5 minutes (`[lag] window`) before the last reading, or since the first
        /// when that is later.
        pub rate_from: Option<Instant>,
        /// `retention.ms`; negative unlimited.
        pub retention_ms: Option<i64>,
        /// `cleanup.policy` compacts.
        pub compacted: Option<bool>,
        /// Groups with commits on it.
        pub groups: Vec<String>,
    }
}
