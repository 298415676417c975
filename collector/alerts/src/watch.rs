//! What a rule can watch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The unit of a watch's values and of its rule's `over`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A duration, written `90s` or `1m 30s`; a value is in milliseconds.
    Duration,
    /// A count, written `10000` or `10k`.
    Count,
    /// A rate, written `1/min`, `5/s` or `20/h`; a value is per hour.
    Rate,
    /// A share, written `5%`; a value is from 0 to 100.
    Percent,
}

/// What a watch is about: there is one alert for a rule and one of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A consumer group.
    Group,
    /// A dead-letter queue.
    Queue,
    /// A topic and a group that consumes it.
    Edge,
    /// A cluster.
    Cluster,
    /// A service.
    Service,
    /// The collector itself.
    Collector,
}

/// What a rule watches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Messages a group has not read.
    OffsetLag,
    /// Age of the oldest message a group has not read.
    TimeLag,
    /// Time until caught up, or never catching up.
    FallingBehind,
    /// A partition does not move while others of the group do.
    Stalled,
    /// A group does not move, or has no members.
    Stopped,
    /// Committed past the end.
    BeyondEnd,
    /// Committed went back.
    Rewind,
    /// Time until unread messages are deleted: the one watch where less is worse.
    RetentionMargin,
    /// Messages were deleted unread.
    DataLoss,
    /// Partitions without a member, though the group has members.
    UnassignedPartitions,
    /// Changes of membership within a window.
    RebalanceStorm,
    /// Age of the oldest open transaction.
    OpenTransaction,
    /// Dead letters that arrived within a window.
    DeadLettersNew,
    /// Dead letters by time.
    DeadLetterRate,
    /// Age of the oldest dead letter.
    DeadLetterAge,
    /// A cause never seen before in its queue.
    DeadLetterCause,
    /// A group's lag is unknown.
    NoData,
    /// A service that used to send spans sends none.
    NoSpans,
    /// A cluster cannot be read.
    BrokerUnreachable,
    /// Share of attempts that failed, of at least ten.
    EdgeErrors,
    /// The 95th percentile of the time in the broker.
    EdgeWait,
    /// Requests with spans that the collector refused within a window.
    CollectorRefuses,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Watch {
    /// Every watch, in the order a form lists them.
    pub const ALL: [Self; 22] = [
        Self::TimeLag,
        Self::OffsetLag,
        Self::FallingBehind,
        Self::Stopped,
        Self::Stalled,
        Self::Rewind,
        Self::BeyondEnd,
        Self::RetentionMargin,
        Self::DataLoss,
        Self::UnassignedPartitions,
        Self::RebalanceStorm,
        Self::OpenTransaction,
        Self::NoData,
        Self::DeadLettersNew,
        Self::DeadLetterRate,
        Self::DeadLetterAge,
        Self::DeadLetterCause,
        Self::EdgeErrors,
        Self::EdgeWait,
        Self::NoSpans,
        Self::BrokerUnreachable,
        Self::CollectorRefuses,
    ];

    /// The name on the wire: `time_lag`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OffsetLag => "offset_lag",
            Self::TimeLag => "time_lag",
            Self::FallingBehind => "falling_behind",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::BeyondEnd => "beyond_end",
            Self::Rewind => "rewind",
            Self::RetentionMargin => "retention_margin",
            Self::DataLoss => "data_loss",
            Self::UnassignedPartitions => "unassigned_partitions",
            Self::RebalanceStorm => "rebalance_storm",
            Self::OpenTransaction => "open_transaction",
            Self::DeadLettersNew => "dead_letters_new",
            Self::DeadLetterRate => "dead_letter_rate",
            Self::DeadLetterAge => "dead_letter_age",
            Self::DeadLetterCause => "dead_letter_cause",
            Self::NoData => "no_data",
            Self::NoSpans => "no_spans",
            Self::BrokerUnreachable => "broker_unreachable",
            Self::EdgeErrors => "edge_errors",
            Self::EdgeWait => "edge_wait",
            Self::CollectorRefuses => "collector_refuses",
        }
    }

    /// The watch of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|watch| watch.as_str() == name)
    }

    /// What a form calls it: `Time lag`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OffsetLag => "Offset lag",
            Self::TimeLag => "Time lag",
            Self::FallingBehind => "Falling behind, drains in",
            Self::Stalled => "Group stalled",
            Self::Stopped => "Group stopped",
            Self::BeyondEnd => "Committed past the end",
            Self::Rewind => "Group went back",
            Self::RetentionMargin => "Retention left",
            Self::DataLoss => "Messages deleted unread",
            Self::UnassignedPartitions => "Partitions without a member",
            Self::RebalanceStorm => "Rebalances",
            Self::OpenTransaction => "Transaction open",
            Self::DeadLettersNew => "New dead letters",
            Self::DeadLetterRate => "Dead letters arriving",
            Self::DeadLetterAge => "Oldest dead letter",
            Self::DeadLetterCause => "New cause of dead letters",
            Self::NoData => "Lag unknown",
            Self::NoSpans => "No spans",
            Self::BrokerUnreachable => "Cluster cannot be read",
            Self::EdgeErrors => "Failed attempts",
            Self::EdgeWait => "Time in broker p95",
            Self::CollectorRefuses => "Collector refuses spans",
        }
    }

    /// The unit of its values; `None` where there is no threshold.
    #[must_use]
    pub const fn unit(self) -> Option<Unit> {
        match self {
            Self::TimeLag
            | Self::FallingBehind
            | Self::RetentionMargin
            | Self::OpenTransaction
            | Self::DeadLetterAge
            | Self::NoSpans
            | Self::EdgeWait => Some(Unit::Duration),
            Self::OffsetLag
            | Self::RebalanceStorm
            | Self::DeadLettersNew
            | Self::CollectorRefuses => Some(Unit::Count),
            Self::DeadLetterRate => Some(Unit::Rate),
            Self::EdgeErrors => Some(Unit::Percent),
            Self::Stalled
            | Self::Stopped
            | Self::BeyondEnd
            | Self::Rewind
            | Self::DataLoss
            | Self::UnassignedPartitions
            | Self::DeadLetterCause
            | Self::NoData
            | Self::BrokerUnreachable => None,
        }
    }

    /// What it is about.
    #[must_use]
    pub const fn about(self) -> About {
        match self {
            Self::DeadLettersNew
            | Self::DeadLetterRate
            | Self::DeadLetterAge
            | Self::DeadLetterCause => About::Queue,
            Self::EdgeErrors | Self::EdgeWait => About::Edge,
            Self::BrokerUnreachable => About::Cluster,
            Self::NoSpans => About::Service,
            Self::CollectorRefuses => About::Collector,
            _ => About::Group,
        }
    }

    /// Whether a value under the threshold fires, not one over it.
    #[must_use]
    pub const fn less_is_worse(self) -> bool {
        matches!(self, Self::RetentionMargin)
    }

    /// The window of a watch that counts, when its rule names none; `None`: it does not count.
    #[must_use]
    pub const fn default_within(self) -> Option<Duration> {
        match self {
            Self::RebalanceStorm | Self::DeadLettersNew => Some(Duration::from_secs(600)),
            Self::CollectorRefuses => Some(Duration::from_secs(300)),
            Self::DeadLetterCause => Some(Duration::from_secs(3_600)),
            _ => None,
        }
    }

    /// The threshold when a rule names none; `None`: it has to name one, or there is none.
    #[must_use]
    pub const fn default_over(self) -> Option<&'static str> {
        match self {
            Self::FallingBehind => Some("30m"),
            Self::DeadLettersNew | Self::CollectorRefuses => Some("0"),
            _ => None,
        }
    }

    /// How long before it fires, when its rule does not say.
    #[must_use]
    pub const fn default_hold(self) -> Duration {
        match self {
            Self::TimeLag | Self::OffsetLag | Self::DeadLetterRate => Duration::from_secs(120),
            Self::FallingBehind
            | Self::NoData
            | Self::UnassignedPartitions
            | Self::EdgeErrors
            | Self::EdgeWait => Duration::from_secs(300),
            Self::BeyondEnd | Self::BrokerUnreachable | Self::RetentionMargin => MINUTE,
            // The lag room has waited for its own window before it says so.
            Self::Stopped | Self::Stalled => MINUTE,
            Self::Rewind
            | Self::DataLoss
            | Self::RebalanceStorm
            | Self::OpenTransaction
            | Self::DeadLettersNew
            | Self::DeadLetterAge
            | Self::DeadLetterCause
            | Self::NoSpans
            | Self::CollectorRefuses => Duration::ZERO,
        }
    }

    /// How long it must be clear, when its rule does not say.
    #[must_use]
    pub const fn default_clear_for(self) -> Duration {
        match self {
            Self::TimeLag
            | Self::OffsetLag
            | Self::FallingBehind
            | Self::RetentionMargin
            | Self::DeadLetterRate
            | Self::EdgeErrors
            | Self::EdgeWait
            | Self::RebalanceStorm
            | Self::DataLoss => Duration::from_secs(300),
            Self::Stopped
            | Self::Stalled
            | Self::UnassignedPartitions
            | Self::OpenTransaction
            | Self::BrokerUnreachable
            | Self::NoData
            | Self::NoSpans => Duration::from_secs(120),
            Self::BeyondEnd | Self::Rewind => MINUTE,
            // Their windows are their memory: what left the window has been clear for as long.
            Self::DeadLettersNew
            | Self::DeadLetterCause
            | Self::CollectorRefuses
            | Self::DeadLetterAge => Duration::ZERO,
        }
    }
}
