//! What the engine says.

use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::packed::Partitions;

/// How the engine judges.
#[derive(Clone, Debug)]
pub struct Config {
    /// W: how long something must not move before it counts as stopped; also what rates are over.
    pub window: Duration,
    /// The time lag at which a group is critical: only carried along, colours are the API's.
    pub mark: Duration,
    /// Messages of lag that are always fine.
    pub allowed_lag: u64,
    /// Samples further apart than this bound a time lag instead of giving it (unless that is little of its age).
    /// At least three poll intervals.
    pub exact_gap: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            mark: Duration::from_secs(60),
            allowed_lag: 0,
            exact_gap: Duration::from_secs(60),
        }
    }
}

/// State of a partition, worst first; a group shows its worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Committed below log start: records were deleted unread.
    DataLoss,
    /// No partition of the group moved while ends did, or it has no members.
    Stopped,
    /// This partition did not move while its end did, and another of the group moved.
    Stalled,
    /// Committed past the end.
    BeyondEnd,
    /// Lag never fell and grew.
    FallingBehind,
    /// Committed went back.
    Rewound,
    /// Could not be read.
    Unknown,
    /// No commit yet.
    NoCommit,
    /// Fine.
    Ok,
}

impl State {
    /// Every state, worst first.
    pub const ALL: [Self; 9] = [
        Self::DataLoss,
        Self::Stopped,
        Self::Stalled,
        Self::BeyondEnd,
        Self::FallingBehind,
        Self::Rewound,
        Self::Unknown,
        Self::NoCommit,
        Self::Ok,
    ];

    /// The state that history kept as this number (`state as u8`); `None` of no state.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name on the wire: `data_loss`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataLoss => "data_loss",
            Self::Stopped => "stopped",
            Self::Stalled => "stalled",
            Self::BeyondEnd => "beyond_end",
            Self::FallingBehind => "falling_behind",
            Self::Rewound => "rewound",
            Self::Unknown => "unknown",
            Self::NoCommit => "no_commit",
            Self::Ok => "ok",
        }
    }
}

/// How sure a time lag is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Interpolated between two samples.
    Exact,
    /// The history begins later: it is this or more.
    AtLeast,
    /// The record came somewhere in a gap of the history: it is this or less.
    AtMost,
}

/// The age of the oldest unread record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeLag {
    /// The age.
    pub duration: Duration,
    /// How sure.
    pub bound: Bound,
}

impl TimeLag {
    /// The age in whole milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Messages that a read_committed consumer cannot reach yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenTransaction {
    /// Offsets between the last stable offset (or the position, if further) and the end.
    pub messages: u64,
    /// The last stable offset stands there since, as far as seen.
    pub since: UnixNanos,
}

/// How the timestamps of a partition's records contradict when those came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skew {
    /// A record is stamped with a time that is still to come.
    Ahead,
    /// Records are stamped with a time before they came.
    Behind,
}

/// A committed offset that went back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewound {
    /// When that was seen.
    pub at: UnixNanos,
    /// By how much.
    pub messages: u64,
}

/// What the sentence about a partition is made of, beside its numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its offsets are known.
    Offsets(Seen),
    /// The group has no commit on it.
    NoCommit,
    /// The group has no commit on it, and it is empty.
    Empty,
    /// An offset of it is unknown, for this reason.
    Unknown(Arc<str>),
    /// Nothing of the group is known: how that sentence ends.
    GroupUnknown(Arc<str>),
}

/// What was seen of a partition and its group when it was judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When it was judged: what ages sentences tell are of.
    pub at: UnixNanos,
    /// The committed offset stands, with messages to read, since then.
    pub still_since: UnixNanos,
    /// The group has no members.
    pub abandoned: bool,
    /// The end moved on since the committed offset stands.
    pub end_moved_on: bool,
    /// The lag shrank over the window.
    pub drains: bool,
    /// `retention.ms` of the topic.
    pub retention_ms: Option<i64>,
}

/// A partition of a group.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionLag {
    /// State.
    pub state: State,
    /// Why, for [`Self::reason`].
    pub why: Why,
    /// In this state since.
    pub state_since: UnixNanos,
    /// Committed offset; `None`: no commit, or unknown (`state` tells).
    pub committed: Option<i64>,
    /// First offset kept.
    pub log_start: Option<i64>,
    /// High watermark.
    pub end: Option<i64>,
    /// Last stable offset.
    pub last_stable: Option<i64>,
    /// The member it is assigned to: its broker-assigned id.
    pub member: Option<Arc<str>>,
    /// Messages that can still be read.
    pub lag_messages: Option<u64>,
    /// The topic is compacted: there are that many messages or fewer.
    pub lag_is_upper_bound: bool,
    /// end - committed, as Kafka's own tool prints it; may be negative.
    pub lag_by_tools: Option<i64>,
    /// Messages deleted before they were read.
    pub lost_messages: Option<u64>,
    /// Messages of transactions that are still open.
    pub open_transaction: Option<OpenTransaction>,
    /// A bounded read has shown that the offsets up to the end hold no message (transaction markers, aborted records).
    pub nothing_readable: bool,
    /// Its records' timestamps are not of when they came, by more than five minutes: ages are of our own readings alone.
    pub clock_suspect: Option<Skew>,
    /// Age of the oldest unread message.
    pub time_lag: Option<TimeLag>,
    /// Appended a second, over the window.
    pub in_per_s: Option<f64>,
    /// Committed a second, over the window.
    pub out_per_s: Option<f64>,
    /// Since when these rates are: the window before `read_at`, or less where less was seen.
    pub rate_from: Option<UnixNanos>,
    /// Until caught up at these rates; `None` when never, or unknown.
    pub drain: Option<Duration>,
    /// Until the oldest unread message is deleted; `None` unlimited, unknown, or nothing unread. Unknown where the clock
    /// is suspect: brokers delete by timestamps.
    pub retention_left: Option<Duration>,
    /// When the committed offset last changed, if that was seen.
    pub moved_at: Option<UnixNanos>,
    /// It went back within the window; a worse state does not hide that.
    pub rewound: Option<Rewound>,
    /// When its end was read.
    pub read_at: Option<UnixNanos>,
}

impl PartitionLag {
    /// One of which nothing is known, in that state since `now`.
    #[must_use]
    pub const fn unknown(why: Why, now: UnixNanos) -> Self {
        Self {
            state: State::Unknown,
            why,
            state_since: now,
            committed: None,
            log_start: None,
            end: None,
            last_stable: None,
            member: None,
            lag_messages: None,
            lag_is_upper_bound: false,
            lag_by_tools: None,
            lost_messages: None,
            open_transaction: None,
            nothing_readable: false,
            clock_suspect: None,
            time_lag: None,
            in_per_s: None,
            out_per_s: None,
            rate_from: None,
            drain: None,
            retention_left: None,
            moved_at: None,
            rewound: None,
            read_at: None,
        }
    }

    /// Brokers will delete what it has not read, and by timestamps that are not of when it came: nobody knows when.
    #[must_use]
    pub fn margin_is_unknown(&self) -> bool {
        let limited = self.seen().and_then(|seen| seen.retention_ms);
        self.clock_suspect.is_some()
            && self.lag_messages != Some(0)
            && !self.lag_is_upper_bound
            && limited.is_some_and(|millis| millis >= 0)
    }

    /// What was seen of it, where its offsets are known.
    pub(crate) const fn seen(&self) -> Option<&Seen> {
        match &self.why {
            Why::Offsets(seen) => Some(seen),
            _ => None,
        }
    }
}

/// A group.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupLag {
    /// Worst state of its partitions.
    pub state: State,
    /// Why, in a sentence.
    pub reason: String,
    /// In this state since.
    pub state_since: UnixNanos,
    /// The mark, as configured.
    pub mark: Duration,
    /// Messages that can still be read, of the partitions where that is known; `None` when of none.
    pub lag_messages: Option<u64>,
    /// end - committed summed, of the partitions where that is known; `None` when of none.
    pub lag_by_tools: Option<i64>,
    /// Worst partition's time lag.
    pub time_lag: Option<TimeLag>,
    /// Appended a second to its partitions.
    pub in_per_s: Option<f64>,
    /// Committed a second by it.
    pub out_per_s: Option<f64>,
    /// Since when these rates are: the earliest of its partitions'.
    pub rate_from: Option<UnixNanos>,
    /// Until every partition is caught up.
    pub drain: Option<Duration>,
    /// Least of its partitions'.
    pub retention_left: Option<Duration>,
    /// Smallest `retention.ms` of its topics; negative is unlimited and only given when all are.
    pub retention_ms: Option<i64>,
    /// When its committed offsets were read.
    pub read_at: Option<UnixNanos>,
    /// When one of its committed offsets last changed, if that was seen.
    pub moved_at: Option<UnixNanos>,
    /// Topics it reads.
    pub topics: Vec<Arc<str>>,
    /// Partitions that it has a commit on, and that could be read.
    pub partitions_read: u32,
    /// Partitions of its topics; `None` while it is not known what it reads, or how many those have.
    pub partitions_total: Option<u32>,
    /// Members; `None` unknown.
    pub members: Option<u32>,
    /// The broker's word: `Stable`, `Empty`; `None` unknown.
    pub broker_state: Option<Arc<str>>,
    /// `classic`, `consumer`, `share`, `streams`.
    pub kind: Arc<str>,
    /// Its partitions: every one that is assigned or has a commit.
    pub partitions: Partitions,
}
