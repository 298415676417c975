//! What each watch means: from a look to a level and a value.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{Bound, PartitionLag, State};
use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

use crate::counts::{Counts, Place};
use crate::facts::{ClusterFacts, EdgeFacts, QueueFacts, ServiceFacts};
use crate::look::{GroupLook, GroupView, Standing};
use crate::rule::Rule;
use crate::track::Level;
use crate::watch::Watch;

/// Attempts below which a share of errors says nothing.
const LEAST_ATTEMPTS: u64 = 10;

/// What a look says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    /// In the measure of the watch's unit.
    pub(crate) value: Option<f64>,
    /// Why nothing can be said; empty when something can.
    pub(crate) why_unknown: &'static str,
}

impl Verdict {
    pub(crate) const fn unknown(why: &'static str) -> Self {
        Self {
            level: Level::Unknown,
            value: None,
            why_unknown: why,
        }
    }

    const fn known(level: Level, value: Option<f64>) -> Self {
        Self {
            level,
            value,
            why_unknown: "",
        }
    }
}

/// Where a value stands against a rule's thresholds.
fn level(rule: &Rule, value: f64) -> Level {
    let over = rule.threshold.unwrap_or(0.0);
    let clear = rule.clear_under.unwrap_or(over);
    if value > over {
        Level::Breach(None)
    } else if value <= clear {
        Level::Clear
    } else {
        Level::Between
    }
}

fn measured(rule: &Rule, value: Option<f64>, why: &'static str) -> Verdict {
    value.map_or(Verdict::unknown(why), |value| {
        Verdict::known(level(rule, value), Some(value))
    })
}

pub(crate) fn as_millis(duration: Duration) -> f64 {
    duration.as_millis() as f64
}

/// A value of which a part may be missing: beyond the threshold it is certain, below it is not.
fn at_least(rule: &Rule, value: f64, certain: bool, why: &'static str) -> Verdict {
    match level(rule, value) {
        Level::Breach(since) => Verdict::known(Level::Breach(since), Some(value)),
        _ if !certain => Verdict::unknown(why),
        level => Verdict::known(level, Some(value)),
    }
}

const PARTIAL: &str = "the lag of some of its partitions is unknown";

/// Judges a group. `now` is the time of the look.
pub(crate) fn group(rule: &Rule, look: &GroupLook<'_>, now: UnixNanos) -> Verdict {
    let nothing = Verdict::unknown("its lag is unknown");
    match rule.watch {
        Watch::OffsetLag => look.lag_messages.map_or(nothing, |lag| {
            at_least(rule, lag as f64, !look.partial, PARTIAL)
        }),
        // "At most" counts as if it were so: it soon becomes exact, or it is all that will ever be known.
        Watch::TimeLag => look.time_lag.map_or(nothing, |time| {
            let certain = !look.partial && time.bound != Bound::AtLeast;
            at_least(rule, as_millis(time.duration), certain, PARTIAL)
        }),
        Watch::Stopped => standing(look, State::Stopped),
        Watch::Stalled => standing(look, State::Stalled),
        Watch::BeyondEnd => standing(look, State::BeyondEnd),
        Watch::Rewind => rewind(look),
        Watch::DataLoss => {
            let mut verdict = standing(look, State::DataLoss);
            verdict.value = look.facts.as_ref().and_then(lost).map(|lost| lost as f64);
            verdict
        }
        Watch::NoData => match look.state {
            None => nothing,
            Some(State::Unknown) => Verdict::known(Level::Breach(Some(look.state_since)), None),
            Some(_) => Verdict::known(Level::Clear, None),
        },
        _ => look
            .facts
            .as_ref()
            .map_or(nothing, |view| present(rule, look, view, now)),
    }
}

fn standing(look: &GroupLook<'_>, state: State) -> Verdict {
    match look.standing(state) {
        Standing::In(since) => Verdict::known(Level::Breach(Some(since)), None),
        Standing::Out => Verdict::known(Level::Clear, None),
        Standing::Unknown => Verdict::unknown("its state is unknown"),
    }
}

/// A group that went back and stands still since is called stopped: the worse state does not undo that it went back.
fn rewind(look: &GroupLook<'_>) -> Verdict {
    let partitions = look.facts.iter().flat_map(|view| &view.partitions);
    let rewound = partitions
        .filter_map(|(_, lag)| Some(lag.rewound?.at))
        .min();
    match rewound {
        Some(since) => Verdict::known(Level::Breach(Some(since)), None),
        None => standing(look, State::Rewound),
    }
}

fn lost(view: &GroupView<'_>) -> Option<u64> {
    view.partitions
        .iter()
        .filter_map(|(_, lag)| lag.lost_messages)
        .reduce(u64::saturating_add)
}

/// Judges what needs more than history keeps.
fn present(rule: &Rule, look: &GroupLook<'_>, view: &GroupView<'_>, now: UnixNanos) -> Verdict {
    match rule.watch {
        Watch::FallingBehind => falling_behind(rule, look, view),
        Watch::RetentionMargin => retention_margin(rule, look, view),
        Watch::UnassignedPartitions => match view.group.members {
            None => Verdict::unknown("its members are unknown"),
            // That it has none at all is another matter, and no end of this one.
            Some(0) => Verdict::known(Level::Between, None),
            Some(_) => {
                let without = unassigned(view).len();
                let level = if without > 0 {
                    Level::Breach(None)
                } else {
                    Level::Clear
                };
                Verdict::known(level, Some(without as f64))
            }
        },
        Watch::OpenTransaction => {
            let oldest = oldest_transaction(view).map_or(0.0, |(_, lag)| open_ms(lag, now));
            let certain = !view
                .partitions
                .iter()
                .any(|(_, lag)| lag.last_stable.is_none() && lag.state != State::NoCommit);
            at_least(rule, oldest, certain, "some of its partitions are not read")
        }
        _ => Verdict::unknown("no such figure is kept of a group"),
    }
}

fn falling_behind(rule: &Rule, look: &GroupLook<'_>, view: &GroupView<'_>) -> Verdict {
    if look.lag_messages == Some(0) && !look.partial {
        return Verdict::known(Level::Clear, Some(0.0));
    }
    let drain = if view.whole {
        view.group.drain
    } else {
        let drains: Option<Vec<Duration>> =
            view.partitions.iter().map(|(_, lag)| lag.drain).collect();
        drains.and_then(|drains| drains.into_iter().max())
    };
    match (drain, look.standing(State::FallingBehind)) {
        (None, Standing::In(_)) => Verdict::known(Level::Breach(None), None),
        (None, Standing::Unknown) => Verdict::unknown("its rates are unknown"),
        (None, Standing::Out) => {
            let rates = view.group.in_per_s.zip(view.group.out_per_s);
            match rates {
                // It keeps up, and no more.
                Some(_) => Verdict::known(Level::Between, None),
                None => Verdict::unknown("its rates are unknown"),
            }
        }
        (Some(drain), _) => {
            let drain_ms = as_millis(drain);
            // What is always a little behind drains by the small difference of two rates, which says hours by chance.
            let far_behind = look
                .time_lag
                .is_some_and(|time| time.duration > view.group.mark);
            match level(rule, drain_ms) {
                Level::Breach(_) if !far_behind => Verdict::known(Level::Between, Some(drain_ms)),
                level => Verdict::known(level, Some(drain_ms)),
            }
        }
    }
}

/// The least margin. A short retention is not always in breach: the threshold is a quarter of it at most.
fn retention_margin(rule: &Rule, look: &GroupLook<'_>, view: &GroupView<'_>) -> Verdict {
    let (Some(over), Some(clear)) = (rule.threshold, rule.clear_under) else {
        return Verdict::unknown("its rule has no threshold");
    };
    let judged = |left: Duration, whole: Option<Duration>| {
        let left = as_millis(left);
        let over = whole.map_or(over, |whole| over.min(as_millis(whole) / 4.0));
        // Never further away from the threshold than the rule asks for.
        let clear = clear.min(over * (clear / rule.threshold.unwrap_or(clear)).max(1.0));
        let level = if left < over {
            Level::Breach(None)
        } else if left >= clear {
            Level::Clear
        } else {
            Level::Between
        };
        (level, left)
    };
    let mut worst: Option<(Level, f64)> = None;
    let mut unknown = look.partial;
    for (_, lag) in &view.partitions {
        let Some(left) = lag.retention_left else {
            // Nothing unread, or kept for ever, or not known.
            unknown |= lag.lag_messages.is_some_and(|lag| lag > 0)
                && (lag.time_lag.is_none() || lag.margin_is_unknown())
                && view.group.retention_ms.is_none_or(|millis| millis >= 0);
            continue;
        };
        // What is left and what has passed is the whole, except that "at least" has passed more.
        let exact = lag.time_lag.filter(|time| time.bound == Bound::Exact);
        let whole = exact
            .map(|time| left.saturating_add(time.duration))
            .filter(|_| !left.is_zero())
            .or_else(|| {
                let millis = u64::try_from(view.group.retention_ms?).ok()?;
                Some(Duration::from_millis(millis))
            });
        let (level, left) = judged(left, whole);
        if lag
            .time_lag
            .is_some_and(|time| time.bound == Bound::AtLeast)
            && !matches!(level, Level::Breach(_))
        {
            unknown = true;
            continue;
        }
        let severity = |level: Level| match level {
            Level::Breach(_) => 0,
            Level::Between => 1,
            Level::Clear | Level::Unknown => 2,
        };
        if worst.is_none_or(|(known, least)| (severity(level), left) < (severity(known), least)) {
            worst = Some((level, left));
        }
    }
    match worst {
        Some((level @ Level::Breach(_), left)) => Verdict::known(level, Some(left)),
        _ if unknown => Verdict::unknown("what is left of some partitions is unknown"),
        Some((level, left)) => Verdict::known(level, Some(left)),
        None => Verdict::known(Level::Clear, None),
    }
}

/// Partitions without a member. A topic that no member is assigned at all may have been left on purpose: it counts only
/// when nothing is assigned.
pub(crate) fn unassigned<'a>(view: &GroupView<'a>) -> Vec<&'a TopicPartition> {
    let assigned: BTreeSet<&Arc<str>> = view
        .opened
        .iter()
        .filter(|(_, lag)| lag.member.is_some())
        .map(|(place, _)| &place.topic)
        .collect();
    view.partitions
        .iter()
        .filter(|(place, lag)| {
            lag.member.is_none() && (assigned.is_empty() || assigned.contains(&place.topic))
        })
        .map(|(place, _)| *place)
        .collect()
}

fn oldest_transaction<'a>(view: &GroupView<'a>) -> Option<(&'a TopicPartition, &'a PartitionLag)> {
    view.worst(|lag| lag.open_transaction.map(|open| u64::MAX - open.since.0))
}

pub(crate) fn open_ms(lag: &PartitionLag, now: UnixNanos) -> f64 {
    lag.open_transaction
        .map_or(0.0, |open| (now.since(open.since) / 1_000_000) as f64)
}

/// The worst partition of a group, as its rule sees it.
pub(crate) fn worst_partition<'a>(
    rule: &Rule,
    look: &GroupLook<'a>,
) -> Option<(&'a TopicPartition, &'a PartitionLag)> {
    let view = look.facts.as_ref()?;
    let in_state = |state: State| {
        view.worst(move |lag| (lag.state == state).then(|| lag.lag_messages.unwrap_or(0)))
    };
    match rule.watch {
        Watch::OffsetLag => view.worst(|lag| lag.lag_messages.filter(|lag| *lag > 0)),
        Watch::TimeLag => view.worst(|lag| {
            lag.time_lag
                .map(|time| time.duration)
                .filter(|time| !time.is_zero())
        }),
        Watch::FallingBehind => in_state(State::FallingBehind)
            .or_else(|| view.worst(|lag| lag.drain.filter(|drain| !drain.is_zero()))),
        Watch::Stopped => in_state(State::Stopped),
        Watch::Stalled => in_state(State::Stalled),
        Watch::BeyondEnd => in_state(State::BeyondEnd),
        Watch::Rewind => in_state(State::Rewound)
            .or_else(|| view.worst(|lag| lag.rewound.map(|rewound| rewound.messages))),
        Watch::DataLoss => view.worst(|lag| lag.lost_messages),
        Watch::NoData => in_state(State::Unknown),
        Watch::RetentionMargin => view.worst(|lag| lag.retention_left.map(std::cmp::Reverse)),
        Watch::OpenTransaction => oldest_transaction(view),
        Watch::UnassignedPartitions => {
            let first = *unassigned(view).first()?;
            view.partitions
                .iter()
                .copied()
                .find(|(place, _)| *place == first)
        }
        _ => None,
    }
}

/// Judges changes of membership.
pub(crate) fn rebalances(rule: &Rule, place: &Place, counts: &Counts, now: UnixNanos) -> Verdict {
    let changes = counts.rebalances(place, rule.within.unwrap_or_default(), now);
    measured(rule, changes.map(|n| n as f64), "its members are unknown")
}

/// Judges a dead-letter queue.
pub(crate) fn queue(
    rule: &Rule,
    facts: &QueueFacts,
    place: &Place,
    counts: &Counts,
    now: UnixNanos,
) -> Verdict {
    let within = rule.within.unwrap_or_default();
    let unread = "its messages are not read";
    match rule.watch {
        Watch::DeadLettersNew => {
            let arrived = counts.arrived(place, within, now);
            // What was counted before says nothing of what has come since.
            let arrived = arrived.filter(|_| facts.arrived_total.is_some());
            measured(rule, arrived.map(|n| n as f64), unread)
        }
        Watch::DeadLetterRate => measured(
            rule,
            facts.per_hour.filter(|rate| rate.is_finite()),
            "the rate of its arrivals is unknown",
        ),
        Watch::DeadLetterAge => {
            let oldest = facts.oldest_at.map(|at| (now.since(at) / 1_000_000) as f64);
            let oldest = oldest.or((facts.retained == Some(0)).then_some(0.0));
            measured(rule, oldest, unread)
        }
        Watch::DeadLetterCause => {
            counts
                .new_causes(place, within, now)
                .map_or(Verdict::unknown(unread), |causes| {
                    let level = if causes.is_empty() {
                        Level::Clear
                    } else {
                        Level::Breach(None)
                    };
                    Verdict::known(level, Some(causes.len() as f64))
                })
        }
        _ => Verdict::unknown("no such figure is kept of a queue"),
    }
}

/// Judges an edge.
pub(crate) fn edge(rule: &Rule, facts: &EdgeFacts) -> Verdict {
    match rule.watch {
        Watch::EdgeErrors => {
            let share = (facts.attempts >= LEAST_ATTEMPTS)
                .then(|| facts.errors.min(facts.attempts) as f64 * 100.0 / facts.attempts as f64);
            measured(rule, share, "there were fewer than 10 attempts")
        }
        _ => measured(
            rule,
            facts.wait_p95.map(as_millis),
            "its time in the broker is unknown",
        ),
    }
}

/// Judges a cluster.
pub(crate) fn cluster(facts: &ClusterFacts) -> Verdict {
    match (&facts.unreachable, facts.last_read) {
        (Some(_), _) => Verdict::known(Level::Breach(Some(facts.since)), None),
        (None, Some(_)) => Verdict::known(Level::Clear, None),
        (None, None) => Verdict::unknown("it has not been read yet"),
    }
}

/// Judges a service.
pub(crate) fn service(rule: &Rule, facts: &ServiceFacts, now: UnixNanos) -> Verdict {
    let silent_ms = (now.since(facts.last_span_at) / 1_000_000) as f64;
    measured(rule, Some(silent_ms), "")
}

/// Judges the collector.
pub(crate) fn collector(rule: &Rule, counts: &Counts, now: UnixNanos) -> Verdict {
    let refused = counts.refused(rule.within.unwrap_or_default(), now);
    measured(rule, refused.map(|n| n as f64), "nothing was counted yet")
}
