//! The sentence of an alert: what a tired person reads first.

use std::time::Duration;

use highwater_lag::{PartitionLag, State};
use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

use crate::counts::{Counts, Place};
use crate::facts::{ClusterFacts, EdgeFacts, GroupFacts, QueueFacts, ServiceFacts};
use crate::judge::{Verdict, open_ms, unassigned, worst_partition};
use crate::look::{GroupLook, GroupView, Standing};
use crate::rule::Rule;
use crate::watch::Watch;
use crate::words::{amount, count, counted, duration, millis, name, percent, rate};

/// Says how a group stands, as its rule sees it.
pub(crate) fn group(
    rule: &Rule,
    facts: &GroupFacts,
    look: &GroupLook<'_>,
    verdict: &Verdict,
    now: UnixNanos,
) -> String {
    let group = name(&facts.group);
    let worst = worst_partition(rule, look);
    let Some(view) = &look.facts else {
        return String::new();
    };
    let place = worst.map_or_else(String::new, |(place, _)| spelled(place));
    let within = duration(rule.within.unwrap_or_default());
    let number = verdict.value.unwrap_or(0.0);
    match rule.watch {
        Watch::OffsetLag | Watch::TimeLag | Watch::FallingBehind => {
            behind(&group, look, view, worst)
        }
        Watch::RetentionMargin => match worst {
            Some((_, lag)) => format!(
                "{group} loses unread messages of {place} in {}: it is {} behind.",
                duration(lag.retention_left.unwrap_or_default()),
                amount(lag.lag_messages, lag.time_lag),
            ),
            None => format!("No unread message of {group} is about to be deleted."),
        },
        Watch::UnassignedPartitions => {
            let without = unassigned(view).len() as u64;
            match (without, view.group.members) {
                (_, Some(0)) => format!("{group} has no members."),
                (0, _) => format!("Every partition of {group} has a member."),
                (1, _) => format!("{place} has no member of {group}: nobody reads it."),
                _ => format!(
                    "{} of {group} have no member: nobody reads {place} and {} more.",
                    counted(without, "partition"),
                    count(without - 1),
                ),
            }
        }
        Watch::RebalanceStorm => format!(
            "The members of {group} or their assignments changed {} in {within}.",
            counted(number as u64, "time"),
        ),
        Watch::OpenTransaction => match worst {
            Some((_, lag)) => format!(
                "A transaction on {place} is open for {}: {} that {group} cannot read yet.",
                duration(millis(open_ms(lag, now))),
                counted(
                    lag.open_transaction.map_or(0, |open| open.messages),
                    "message"
                ),
            ),
            None => format!("No transaction is open on what {group} reads."),
        },
        Watch::Rewind => match worst.and_then(|(at, lag)| Some((at, lag, lag.rewound?))) {
            Some((at, lag, rewound)) if lag.state != State::Rewound => format!(
                "{group} went back by {} on {place} {} ago. {}",
                counted(rewound.messages, "message"),
                duration(Duration::from_nanos(now.since(rewound.at))),
                lag.reason(&group, at)
            ),
            _ => state_sentence(rule.watch, &group, view, worst),
        },
        _ => state_sentence(rule.watch, &group, view, worst),
    }
}

/// The lag room's own words, of the group where that is what it says, of the worst partition where a worse state hides
/// it.
fn state_sentence(
    watch: Watch,
    group: &str,
    view: &GroupView<'_>,
    worst: Option<(&TopicPartition, &PartitionLag)>,
) -> String {
    let state = match watch {
        Watch::Stopped => State::Stopped,
        Watch::Stalled => State::Stalled,
        Watch::BeyondEnd => State::BeyondEnd,
        Watch::Rewind => State::Rewound,
        Watch::DataLoss => State::DataLoss,
        _ => State::Unknown,
    };
    let reason = match worst {
        Some((at, lag)) if !view.whole || view.group.state != state => lag.reason(group, at),
        _ => view.group.reason.clone(),
    };
    if reason.is_empty() {
        return format!("{group} is {}.", state.as_str().replace('_', " "));
    }
    if watch == Watch::NoData && view.group.state == State::Unknown && !reason.contains(group) {
        return format!("The lag of {group} is unknown: {reason}");
    }
    reason
}

/// `billing is 12,400 messages (3 m 20 s) behind on orders and falling further behind.`
fn behind(
    group: &str,
    look: &GroupLook<'_>,
    view: &GroupView<'_>,
    worst: Option<(&TopicPartition, &PartitionLag)>,
) -> String {
    let topics = view.topics();
    let place = match topics.as_slice() {
        [] => String::new(),
        [one] => format!(" on {}", name(one)),
        [one, two] => format!(" on {} and {}", name(one), name(two)),
        [one, rest @ ..] => format!(" on {} and {} more topics", name(one), rest.len()),
    };
    if look.lag_messages == Some(0) {
        return format!("{group} is up to date{place}.");
    }
    let drain = view
        .group
        .drain
        .filter(|drain| !drain.is_zero() && view.whole);
    let trend = match (look.standing(State::FallingBehind), drain) {
        (Standing::In(_), _) => " and falling further behind".to_owned(),
        (_, Some(drain)) => format!(" and draining, caught up in {}", duration(drain)),
        _ => String::new(),
    };
    // The worst partition is worth a word where there are others.
    let most = match worst {
        Some((place, lag)) if view.partitions.len() > 1 => format!(
            "; the worst is {} with {}",
            spelled(place),
            amount(lag.lag_messages, lag.time_lag)
        ),
        _ => String::new(),
    };
    let amount = amount(look.lag_messages, look.time_lag);
    format!("{group} is {amount} behind{place}{trend}{most}.")
}

fn spelled(place: &TopicPartition) -> String {
    format!("partition {} of {}", place.partition, name(&place.topic))
}

/// Says how a queue stands, as its rule sees it.
pub(crate) fn queue(
    rule: &Rule,
    facts: &QueueFacts,
    place: &Place,
    counts: &Counts,
    verdict: &Verdict,
    now: UnixNanos,
) -> String {
    let topic = name(&facts.topic);
    let within = rule.within.unwrap_or_default();
    let number = verdict.value.unwrap_or(0.0);
    let held = facts.retained.map_or_else(String::new, |retained| {
        format!(" and holds {}", count(retained))
    });
    match rule.watch {
        Watch::DeadLettersNew => format!(
            "{topic} got {} in {}{held}.",
            counted(number as u64, "dead letter"),
            duration(within)
        ),
        Watch::DeadLetterRate => format!("{topic} grows by {}{held}.", rate(number)),
        Watch::DeadLetterAge if facts.oldest_at.is_none() => format!("{topic} is empty."),
        Watch::DeadLetterAge => format!(
            "The oldest dead letter of {topic} is {} old.",
            duration(millis(number))
        ),
        _ => {
            let causes = counts.new_causes(place, within, now).unwrap_or_default();
            match causes.as_slice() {
                [] => format!("{topic} has had no new cause for {}.", duration(within)),
                [one] => format!("{topic} has a cause never seen before: {}.", name(one)),
                [one, rest @ ..] => format!(
                    "{topic} has {} causes never seen before: {} and {} more.",
                    rest.len() + 1,
                    name(one),
                    rest.len()
                ),
            }
        }
    }
}

/// Says how an edge stands.
pub(crate) fn edge(rule: &Rule, facts: &EdgeFacts, verdict: &Verdict) -> String {
    let (group, topic) = (name(&facts.group), name(&facts.topic));
    let window = duration(facts.window);
    let number = verdict.value.unwrap_or(0.0);
    match rule.watch {
        Watch::EdgeErrors => format!(
            "{group} fails {} of its attempts on {topic}: {} of {} in {window}.",
            percent(number),
            count(facts.errors),
            count(facts.attempts)
        ),
        _ => format!(
            "Messages of {topic} wait {} in the broker for {group} (95th percentile of {window}).",
            duration(millis(number))
        ),
    }
}

/// Says how a cluster stands.
pub(crate) fn cluster(facts: &ClusterFacts, now: UnixNanos) -> String {
    let cluster = name(&facts.name);
    match &facts.unreachable {
        Some(why) => format!(
            "{cluster} cannot be read for {}: {}",
            duration(Duration::from_nanos(now.since(facts.since))),
            stopped_sentence(why)
        ),
        None => format!("{cluster} can be read."),
    }
}

/// Says how a service stands.
pub(crate) fn service(facts: &ServiceFacts, now: UnixNanos) -> String {
    format!(
        "{} has sent no span for {}.",
        name(&facts.service),
        duration(Duration::from_nanos(now.since(facts.last_span_at)))
    )
}

/// Says how the collector stands.
pub(crate) fn collector(rule: &Rule, verdict: &Verdict) -> String {
    format!(
        "The collector refused {} in {}.",
        counted(verdict.value.unwrap_or(0.0) as u64, "request"),
        duration(rule.within.unwrap_or_default())
    )
}

/// Ends with one full stop.
fn stopped_sentence(text: &str) -> String {
    format!("{}.", text.trim_end().trim_end_matches('.'))
}
