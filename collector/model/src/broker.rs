//! One vocabulary for what a broker says, whichever broker it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::committed::Committed;
use crate::time::UnixNanos;

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// Something that may be unknown, and then says why.
pub type Known<T> = Result<T, Arc<str>>;

/// Offsets of one partition. A value that could not be read carries the reason.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionOffsets {
    /// First offset still kept.
    pub log_start: Known<i64>,
    /// High watermark: one past the last replicated record.
    pub end: Known<i64>,
    /// Last stable offset: what a read_committed consumer can reach.
    pub last_stable: Known<i64>,
    /// When the end was read.
    pub read_at: UnixNanos,
}

/// What is known of a topic.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TopicFacts {
    /// Partition count.
    pub partitions: u32,
    /// Broker-internal (`__consumer_offsets`).
    pub internal: bool,
    /// `retention.ms`; `None` unknown, negative unlimited.
    pub retention_ms: Option<i64>,
    /// `cleanup.policy` contains `compact`; `None` unknown.
    pub compacted: Option<bool>,
    /// `errors.deadletterqueue.group.enable` (KIP-1191).
    pub dead_letter_enabled: bool,
}

/// A member of a consumer group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupMember {
    /// Broker-assigned id.
    pub member_id: Arc<str>,
    /// The client id it chose.
    pub client_id: Arc<str>,
    /// Where it connects from.
    pub host: Arc<str>,
    /// What it is assigned.
    pub assignment: Vec<TopicPartition>,
}

/// A consumer group as the broker describes it.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupFacts {
    /// `Stable`, `Empty`, `PreparingRebalance`, ... or the broker's word.
    pub broker_state: Known<Arc<str>>,
    /// `classic`, `consumer` or `share`.
    pub kind: Arc<str>,
    /// Its members; unknown with the reason when describing failed.
    pub members: Known<Vec<GroupMember>>,
    /// Committed offsets.
    pub committed: Committed,
    /// Set when nothing of the group's offsets could be read.
    pub error: Option<Arc<str>>,
    /// When its offsets were read: always before the partitions' ends.
    pub read_at: UnixNanos,
}

/// One poll of one cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// The configured name.
    pub cluster: Arc<str>,
    /// The broker's own cluster id.
    pub cluster_id: Option<Arc<str>>,
    /// When the poll began.
    pub started: UnixNanos,
    /// When it ended.
    pub finished: UnixNanos,
    /// Brokers: id, `host:port`.
    pub brokers: Vec<(i32, Arc<str>)>,
    /// Topics.
    pub topics: BTreeMap<Arc<str>, TopicFacts>,
    /// Partition offsets.
    pub partitions: BTreeMap<TopicPartition, PartitionOffsets>,
    /// Groups.
    pub groups: BTreeMap<Arc<str>, GroupFacts>,
}

/// Whether a cluster can be read, and since when.
#[derive(Clone, PartialEq, Debug)]
pub enum ClusterState {
    /// Not yet read since start.
    Connecting,
    /// The last poll succeeded.
    Ok,
    /// The last poll failed.
    Unreachable {
        /// Why, in a sentence.
        reason: Arc<str>,
    },
}

/// A cluster's state as the pages show it.
#[derive(Clone, PartialEq, Debug)]
pub struct ClusterStatus {
    /// The configured name.
    pub name: Arc<str>,
    /// `kafka`.
    pub system: Arc<str>,
    /// The environment it belongs to.
    pub environment: Arc<str>,
    /// Bootstrap addresses as configured.
    pub bootstrap: Vec<Arc<str>>,
    /// The broker's own id, once known.
    pub cluster_id: Option<Arc<str>>,
    /// State.
    pub state: ClusterState,
    /// In this state since.
    pub since: UnixNanos,
    /// Last successful read.
    pub last_read: Option<UnixNanos>,
    /// How long the last successful poll took, in nanoseconds.
    pub last_poll_ns: Option<u64>,
    /// What the last successful poll could not read, and why.
    pub incomplete: Option<Arc<str>>,
}

/// One partition of one group at one poll, as lag told it and history keeps it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LagRow {
    /// The cluster's configured name.
    pub cluster: Arc<str>,
    /// The group. Empty: only the partition's ends are kept, for a topic that no group reads.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The poll, the same for all rows of it. Two rows with the same cluster, topic, partition and instant have the
    /// same `end` and `log_start`; the last written count.
    pub at: UnixNanos,
    /// Committed offset; `None` unknown or never committed, which `state` tells.
    pub committed: Option<i64>,
    /// End offset; `None` unknown.
    pub end: Option<i64>,
    /// Log start offset; `None` unknown.
    pub log_start: Option<i64>,
    /// Time lag in milliseconds; `None` unknown.
    pub time_lag_ms: Option<u64>,
    /// The partition's state, as the lag room numbers it.
    pub state: u8,
}
