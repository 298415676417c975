//! Why a partition and a group are in their state, in sentences: made when somebody asks, for there are many partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_model::broker::TopicPartition;

use crate::assess::{distance, longest, sum};
use crate::clock::TOLERANCE;
use crate::history::since;
use crate::types::{GroupLag, PartitionLag, Seen, Skew, State, Why};
use crate::words::{amount, count, duration, messages};

impl PartitionLag {
    /// Why it is in its state, in a sentence. `group` and `place` are whose it is: it does not know.
    #[must_use]
    pub fn reason(&self, group: &str, place: &TopicPartition) -> String {
        let place = format!("{}/{}", place.topic, place.partition);
        match &self.why {
            Why::Offsets(seen) => seen.sentence(self, group, &place),
            Why::NoCommit => format!("{group} has no commit yet on {place}."),
            Why::Empty => format!("{place} is empty, and {group} has no commit on it."),
            Why::Unknown(why) => format!("The lag of {group} on {place} is unknown: {why}."),
            Why::GroupUnknown(why) => format!("The lag of {group} is unknown: {why}"),
        }
    }
}

impl Seen {
    fn sentence(&self, lag: &PartitionLag, group: &str, place: &str) -> String {
        let amount = amount(lag.lag_messages, lag.time_lag);
        let (committed, end) = (lag.committed.unwrap_or(0), lag.end.unwrap_or(0));
        let still = duration(since(self.at, self.still_since));
        let base = match lag.state {
            State::DataLoss => {
                let lost = messages(lag.lost_messages.unwrap_or(0));
                format!(
                    "{group} lost {lost} on {place}: they were deleted before they were read; {amount} are left to read"
                )
            }
            State::Stopped if self.abandoned && !self.end_moved_on => {
                format!("{group} has no members, and {amount} wait on {place}")
            }
            State::Stopped if self.abandoned => {
                format!("{group} has no members and is {amount} behind on {place}")
            }
            State::Stopped => {
                format!("{group} has not moved for {still} and is {amount} behind on {place}")
            }
            State::Stalled => format!(
                "{group} has not moved on {place} for {still}, while its other partitions do, and is {amount} behind"
            ),
            State::BeyondEnd => format!(
                "{group} is {} past the end of {place} (committed {}, end {}): the topic was made anew or cut, and what {group} reads next is up to its reset policy",
                messages(distance(end, committed)),
                count(u64::try_from(committed).unwrap_or(0)),
                count(u64::try_from(end).unwrap_or(0)),
            ),
            State::FallingBehind => {
                format!("{group} is {amount} behind on {place} and falling further behind")
            }
            State::Rewound => {
                let (by, ago) = lag.rewound.map_or((0, Duration::ZERO), |rewind| {
                    (rewind.messages, since(self.at, rewind.at))
                });
                format!(
                    "{group} went back by {} on {place} {} ago and is {amount} behind",
                    messages(by),
                    duration(ago)
                )
            }
            State::Unknown | State::NoCommit | State::Ok => match lag.lag_messages {
                Some(0) if lag.nothing_readable && lag.lag_by_tools != Some(0) => format!(
                    "{group} is up to date on {place}: the last {} hold no message, only transaction markers or aborted records",
                    offsets(lag.lag_by_tools.unwrap_or(0)),
                ),
                Some(0) => format!("{group} is up to date on {place}"),
                _ => {
                    let trend = match (lag.drain, self.drains) {
                        (Some(left), true) => {
                            format!(" and draining, caught up in {}", duration(left))
                        }
                        _ => String::new(),
                    };
                    format!("{group} is {amount} behind on {place}{trend}")
                }
            },
        };
        let mut sentence = base;
        if let Some(open) = lag.open_transaction {
            sentence.push_str(&format!(
                "; {} in a transaction open for {}",
                messages(open.messages),
                duration(since(self.at, open.since))
            ));
        }
        sentence.push_str(&retention(lag.retention_left, self.retention_ms));
        if let Some(skew) = lag.clock_suspect {
            sentence.push_str(&clock("", when(skew), lag.margin_is_unknown()));
        }
        sentence.push('.');
        sentence
    }
}

fn offsets(number: i64) -> String {
    let number = number.unsigned_abs();
    if number == 1 {
        "offset".to_owned()
    } else {
        format!("{} offsets", count(number))
    }
}

/// Says what a suspect clock leaves unknown. `of`: of which partitions, where not all are.
fn clock(of: &str, when: &str, margin_is_unknown: bool) -> String {
    let margin = if margin_is_unknown {
        " and their retention margin is unknown"
    } else {
        ""
    };
    format!(
        "; clock suspect: records{of} are stamped more than {} {when} they came, so their ages are of Highwater's own readings{margin}",
        duration(TOLERANCE)
    )
}

const fn when(skew: Skew) -> &'static str {
    match skew {
        Skew::Ahead => "after",
        Skew::Behind => "before",
    }
}

/// Warns when more than half of the retention is used up.
fn retention(left: Option<Duration>, retention_ms: Option<i64>) -> String {
    let (Some(left), Some(Ok(whole))) = (left, retention_ms.map(u64::try_from)) else {
        return String::new();
    };
    if left.as_millis() * 2 > u128::from(whole) {
        return String::new();
    }
    format!("; unread messages are deleted in {}", duration(left))
}

/// The group's own sentence.
pub(crate) fn group_reason(
    name: &str,
    group: &GroupLag,
    partitions: &BTreeMap<TopicPartition, PartitionLag>,
) -> String {
    let worst = |state: State| partitions.iter().filter(move |(_, lag)| lag.state == state);
    let affected = worst(group.state).count();
    let mut topics: Vec<&str> = worst(group.state).map(|(place, _)| &*place.topic).collect();
    topics.dedup();
    // One partition alone says it best.
    if affected == 1 && partitions.len() == 1 {
        return worst(group.state)
            .next()
            .map_or_else(String::new, |(place, lag)| lag.reason(name, place));
    }
    let place = match topics.as_slice() {
        [] => "no topic".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [one, rest @ ..] => format!("{one} and {} more topics", rest.len()),
    };
    let lag: Option<u64> = sum(worst(group.state).map(|(_, lag)| lag.lag_messages));
    let time = longest(worst(group.state).map(|(_, lag)| lag.time_lag));
    let amount = amount(lag, time);
    let which = if affected < partitions.len() {
        format!(" ({affected} of {} partitions)", partitions.len())
    } else {
        String::new()
    };
    let mut sentence = match group.state {
        State::DataLoss => {
            let lost = sum(worst(State::DataLoss).map(|(_, lag)| lag.lost_messages));
            format!(
                "{name} lost {} on {place}{which}: they were deleted before they were read; {amount} are left to read",
                messages(lost.unwrap_or(0))
            )
        }
        State::Stopped if group.members == Some(0) => {
            format!("{name} has no members and is {amount} behind on {place}{which}")
        }
        State::Stopped => {
            let still = match (group.moved_at, group.read_at) {
                (Some(moved), Some(now)) => format!(" for {}", duration(since(now, moved))),
                _ => String::new(),
            };
            format!("{name} has not moved{still} and is {amount} behind on {place}{which}")
        }
        State::Stalled => format!(
            "{name} does not move on {place}{which}, while its other partitions do, and is {amount} behind there"
        ),
        State::BeyondEnd => format!(
            "{name} is past the end of {place}{which}: the topic was made anew or cut, and what {name} reads next is up to its reset policy"
        ),
        State::FallingBehind => {
            format!("{name} is {amount} behind on {place}{which} and falling further behind")
        }
        State::Rewound => format!("{name} went back on {place}{which} and is {amount} behind"),
        State::Unknown => {
            let first = worst(State::Unknown).next();
            return first.map_or_else(String::new, |(place, lag)| lag.reason(name, place));
        }
        State::NoCommit => format!("{name} has no commit yet on {place}{which}"),
        State::Ok if partitions.is_empty() => {
            format!("{name} has no commits and no assignment")
        }
        State::Ok if lag == Some(0) => format!("{name} is up to date on {place}"),
        State::Ok => {
            let trend = match (group.drain, group.in_per_s, group.out_per_s) {
                (Some(left), Some(appended), Some(committed)) if committed > appended => {
                    format!(" and draining, caught up in {}", duration(left))
                }
                _ => String::new(),
            };
            format!("{name} is {amount} behind on {place}{trend}")
        }
    };
    sentence.push_str(&retention(group.retention_left, group.retention_ms));
    let skewed: Vec<Skew> = partitions
        .values()
        .filter_map(|lag| lag.clock_suspect)
        .collect();
    if let Some(first) = skewed.first() {
        let of = format!(" of {} of {} partitions", skewed.len(), partitions.len());
        let when = if skewed.iter().all(|skew| skew == first) {
            when(*first)
        } else {
            "before or after"
        };
        let margin_is_unknown = partitions.values().any(PartitionLag::margin_is_unknown);
        sentence.push_str(&clock(&of, when, margin_is_unknown));
    }
    if let Some(total) = group.partitions_total
        && group.partitions_read < total
    {
        sentence.push_str(&format!(
            "; {} of {total} partitions read",
            group.partitions_read
        ));
    }
    sentence.push('.');
    sentence
}
