//! Rules and watches in words, as a list of rules and a form say them.

use std::time::Duration;

use crate::alert::EventKind;
use crate::rule::Rule;
use crate::selector::Globs;
use crate::watch::{About, Watch};
use crate::words;

impl Rule {
    /// What it looks at: `every group`, `group in shop.*`, `every queue, cluster in prod-*`.
    #[must_use]
    pub fn looks_at(&self) -> String {
        let (what, own): (&str, Option<&Globs>) = match self.watch.about() {
            About::Group => ("group", Some(&self.selector.group)),
            About::Queue => ("dead-letter queue", Some(&self.selector.topic)),
            About::Edge => ("topic and group", None),
            About::Cluster => ("cluster", Some(&self.selector.cluster)),
            About::Service => ("service", Some(&self.selector.service)),
            About::Collector => return "the collector".to_owned(),
        };
        let is_own = |globs: &Globs| own.is_some_and(|own| std::ptr::eq(own, globs));
        let mut text = match own.filter(|globs| !globs.is_empty()) {
            Some(globs) => format!("{what} {}", listed(globs)),
            None => format!("every {what}"),
        };
        let lists = [
            ("group", &self.selector.group),
            ("topic", &self.selector.topic),
            ("service", &self.selector.service),
            ("cluster", &self.selector.cluster),
        ];
        for (name, globs) in lists {
            if !globs.is_empty() && !is_own(globs) {
                text.push_str(&format!(", {name} {}", listed(globs)));
            }
        }
        text
    }

    /// When it fires: `1 m for 2 m`, `under 12 h for 1 m`, `any in 10 m`, `at once`.
    #[must_use]
    pub fn fires_when(&self) -> String {
        let mut parts = Vec::new();
        if let (Some(over), Some(unit)) = (self.threshold, self.watch.unit()) {
            let value = words::value(unit, over);
            parts.push(match (self.watch.less_is_worse(), over > 0.0) {
                (true, _) => format!("under {value}"),
                (false, true) => value,
                (false, false) => "any".to_owned(),
            });
        }
        if let Some(within) = self.within.filter(|_| !parts.is_empty()) {
            parts.push(format!("in {}", words::duration(within)));
        }
        if self.hold > Duration::ZERO {
            parts.push(format!("for {}", words::duration(self.hold)));
        }
        if parts.is_empty() {
            return "at once".to_owned();
        }
        parts.join(" ")
    }
}

fn listed(globs: &Globs) -> String {
    let (not, are): (Vec<&str>, Vec<&str>) = globs
        .0
        .iter()
        .map(String::as_str)
        .partition(|glob| glob.starts_with('!'));
    let not: Vec<&str> = not.iter().map(|glob| &glob[1..]).collect();
    match (are.is_empty(), not.is_empty()) {
        (false, true) => format!("in {}", are.join(", ")),
        (false, false) => format!("in {} but not {}", are.join(", "), not.join(", ")),
        (true, _) => format!("not in {}", not.join(", ")),
    }
}

impl Watch {
    /// What it means, in a sentence for a form.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::TimeLag => {
                "How old the oldest message is that the group has not read. Unknown lag never fires this rule; watch \"Lag unknown\" for that."
            }
            Self::OffsetLag => {
                "Messages that the group can still read. Unknown lag never fires this rule."
            }
            Self::FallingBehind => {
                "The group's lag only grows, and at these rates it would take longer than this to catch up, or never does."
            }
            Self::Stopped => {
                "Nothing of the group moves while messages arrive, or it has no members."
            }
            Self::Stalled => {
                "One partition does not move while messages arrive there and the group reads others."
            }
            Self::Rewind => "The committed offset went back: messages are read again.",
            Self::BeyondEnd => {
                "The committed offset is past the end of the partition: a topic was made anew, or cut."
            }
            Self::RetentionMargin => {
                "Unread messages are deleted in less than this, or in less than a quarter of the topic's retention where that is shorter."
            }
            Self::DataLoss => "Messages were deleted before the group had read them.",
            Self::UnassignedPartitions => {
                "The group has members, and partitions that none of them reads."
            }
            Self::RebalanceStorm => "Members or their partitions changed more often than this.",
            Self::OpenTransaction => {
                "A transaction has been open for longer than this: readers of committed records wait behind it."
            }
            Self::NoData => {
                "The group's lag could not be read. While its cluster cannot be read at all, that alert says so instead."
            }
            Self::DeadLettersNew => "More dead letters than this arrived in the queue.",
            Self::DeadLetterRate => "Dead letters arrive faster than this.",
            Self::DeadLetterAge => "The oldest dead letter has waited longer than this.",
            Self::DeadLetterCause => {
                "An error class among the newest dead letters that the queue has not had before."
            }
            Self::EdgeErrors => {
                "The share of failed attempts of a group on a topic over 5 minutes, of at least 10 attempts. From spans."
            }
            Self::EdgeWait => {
                "The 95th percentile of the time between a message's producer and its consumer over 5 minutes. From spans."
            }
            Self::NoSpans => "A service that used to send spans has sent none for this long.",
            Self::BrokerUnreachable => {
                "The cluster does not answer. Every other alert of it waits meanwhile."
            }
            Self::CollectorRefuses => {
                "Requests with spans that the collector turned away: its queue or disk is full, or they could not be read."
            }
        }
    }
}

impl EventKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Resolved => "resolved",
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
        }
    }
}
