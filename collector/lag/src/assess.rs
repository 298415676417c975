//! Judges one partition of a group: numbers, state, and what its sentence is made of.

use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::TopicFacts;

use crate::history::EndHistory;
use crate::track::Track;
use crate::types::{
    Bound, Config, OpenTransaction, PartitionLag, Rewound, Seen, Skew, State, TimeLag, Why,
};

/// What the rest of the group does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupMotion {
    /// It is known to have no members, though it had some, or none of its offsets moved within the window.
    pub(crate) abandoned: bool,
    /// One of its partitions moved within the window.
    pub(crate) moved: bool,
}

/// Everything known of one partition of a group.
pub(crate) struct Facts<'a> {
    pub(crate) committed: i64,
    pub(crate) log_start: Option<i64>,
    /// Log start as known before this sample: below it, nothing was left when the committed offset was read.
    pub(crate) log_start_before: Option<i64>,
    pub(crate) end: i64,
    pub(crate) last_stable: Option<i64>,
    /// The last stable offset stands where it stands since.
    pub(crate) stable_since: UnixNanos,
    pub(crate) clock_suspect: Option<Skew>,
    /// The end was read before the committed offset: being ahead of it proves nothing.
    pub(crate) race: bool,
    pub(crate) topic: Option<&'a TopicFacts>,
    pub(crate) member: Option<Arc<str>>,
    pub(crate) motion: GroupMotion,
    pub(crate) read_at: UnixNanos,
}

/// Judges a partition whose committed offset and end are known. Says beside it whether a clamp was needed.
pub(crate) fn assess(
    facts: Facts<'_>,
    track: &mut Track,
    history: &EndHistory,
    config: &Config,
    now: UnixNanos,
) -> (PartitionLag, bool) {
    let clamped = facts.race && facts.committed > facts.end;
    let beyond_end = !facts.race && facts.committed > facts.end;
    let compacted = facts.topic.and_then(|topic| topic.compacted) == Some(true);

    let lost = lost_messages(&facts, track, now);
    let found = track.found();
    let position = facts.committed.max(facts.log_start.unwrap_or(0));
    let nothing_readable = found
        .empty
        .is_some_and(|(from, upto)| from == facts.committed && upto >= facts.end && from < upto);
    let (lag_messages, open_transaction) = if beyond_end {
        (None, None)
    } else if nothing_readable {
        (Some(0), None)
    } else {
        let (readable, open) = readable(&facts, position);
        // What a bounded read has shown to be empty stays so when more is appended.
        let empty = found
            .empty
            .filter(|(from, upto)| *from == facts.committed && *upto < facts.end)
            .map_or(0, |(from, upto)| distance(from, upto));
        (Some(readable.saturating_sub(empty)), open)
    };
    if lag_messages == Some(0) {
        track.rest(facts.read_at, facts.end);
    }
    let time_lag = lag_messages.and_then(|lag| {
        if lag == 0 {
            return Some(TimeLag {
                duration: Duration::ZERO,
                bound: Bound::Exact,
            });
        }
        let unread = found
            .empty
            .filter(|(from, _)| *from == facts.committed)
            .map_or(position, |(_, upto)| upto.max(position));
        history.time_lag(unread, now, config.exact_gap)
    });

    let rates = track.rates();
    let in_per_s = rates
        .map(|(appended, _)| appended)
        .or_else(|| history.rate(config.window));
    let out_per_s = rates.map(|(_, committed)| committed);
    let rate_from = in_per_s.and_then(|_| match rates {
        Some(_) => Some(track.rates_from()),
        None => history.rate_from(config.window),
    });
    let drain = drain(lag_messages, rates);
    let retention_left = retention_left(&facts, lag_messages, time_lag, compacted);

    let seen = Seen {
        at: now,
        still_since: track.still_since,
        abandoned: facts.motion.abandoned,
        end_moved_on: track.end_moved_on(),
        drains: track.drains(),
        retention_ms: facts.topic.and_then(|topic| topic.retention_ms),
    };
    let mut lag = PartitionLag {
        state: State::Ok,
        why: Why::Offsets(seen),
        state_since: now,
        committed: Some(facts.committed),
        log_start: facts.log_start,
        end: Some(facts.end),
        last_stable: facts.last_stable,
        member: facts.member.clone(),
        lag_messages,
        lag_is_upper_bound: compacted && lag_messages.is_some_and(|lag| lag > 0),
        lag_by_tools: Some(facts.end.saturating_sub(facts.committed)),
        lost_messages: lost,
        open_transaction,
        nothing_readable,
        clock_suspect: facts.clock_suspect,
        time_lag,
        in_per_s,
        out_per_s,
        rate_from,
        drain,
        retention_left,
        moved_at: track.moved_at,
        rewound: found.rewind.map(|rewind| Rewound {
            at: rewind.at,
            messages: rewind.by,
        }),
        read_at: Some(facts.read_at),
    };
    lag.state = state(&lag, &facts, track, config, now, beyond_end);
    (lag, clamped)
}

pub(crate) fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// Messages that can be read from `position`, and those that an open transaction still withholds.
fn readable(facts: &Facts<'_>, position: i64) -> (u64, Option<OpenTransaction>) {
    let to_end = distance(position, facts.end);
    match facts.last_stable {
        // A committed offset past the last stable one is of a consumer that reads uncommitted records.
        Some(stable) if stable < facts.end && facts.committed <= stable => {
            let reach = stable.max(position);
            let open = OpenTransaction {
                messages: distance(reach, facts.end),
                since: facts.stable_since,
            };
            (distance(position, reach), Some(open))
        }
        _ => (to_end, None),
    }
}

/// Messages deleted unread: what lies between the committed offset and the log start.
///
/// The log start of the sample before decides: the group may have read on, and the log may have been cut behind it,
/// between this sample's two readings (Kafka Streams cuts its own topics that way all the time).
fn lost_messages(facts: &Facts<'_>, track: &mut Track, now: UnixNanos) -> Option<u64> {
    if let (Some(before), Some(start)) = (facts.log_start_before, facts.log_start) {
        let lost = distance(facts.committed, before.min(start));
        if lost > 0 {
            track.find(|found| found.lost = Some((now, lost)));
        }
    }
    track.found().lost.map(|(_, lost)| lost)
}

fn drain(lag_messages: Option<u64>, rates: Option<(f64, f64)>) -> Option<Duration> {
    let lag = lag_messages?;
    if lag == 0 {
        return Some(Duration::ZERO);
    }
    let (appended, committed) = rates?;
    let gain = committed - appended;
    // Beyond a year it is no forecast.
    let seconds = lag as f64 / gain;
    (gain > 0.0 && seconds < 31_536_000.0).then(|| Duration::from_secs_f64(seconds))
}

fn retention_left(
    facts: &Facts<'_>,
    lag_messages: Option<u64>,
    time_lag: Option<TimeLag>,
    compacted: bool,
) -> Option<Duration> {
    if compacted || facts.clock_suspect.is_some() || lag_messages? == 0 {
        return None;
    }
    let retention = u64::try_from(facts.topic?.retention_ms?).ok()?;
    Some(Duration::from_millis(retention).saturating_sub(time_lag?.duration))
}

/// The worst state that applies.
fn state(
    lag: &PartitionLag,
    facts: &Facts<'_>,
    track: &Track,
    config: &Config,
    now: UnixNanos,
    beyond_end: bool,
) -> State {
    if lag.lost_messages.is_some() {
        return State::DataLoss;
    }
    if beyond_end {
        return State::BeyondEnd;
    }
    let behind = lag.lag_messages.is_some_and(|lag| lag > config.allowed_lag);
    if !behind {
        return State::Ok;
    }
    if facts.motion.abandoned {
        return State::Stopped;
    }
    // A consumer may leave the tail of a quiet topic uncommitted. It is stuck when the end moved on without it, or
    // when a read has shown that a message waits.
    let waits = track.end_moved_on() || track.found().readable_at == Some(facts.committed);
    if track.still_for(config.window, now) && waits {
        return if facts.motion.moved {
            State::Stalled
        } else {
            State::Stopped
        };
    }
    if track.falls_behind(config.window) {
        return State::FallingBehind;
    }
    if lag.rewound.is_some() {
        return State::Rewound;
    }
    State::Ok
}

/// Sum of what is known; `None` when nothing is.
pub(crate) fn sum<T: std::ops::Add<Output = T>>(
    values: impl Iterator<Item = Option<T>>,
) -> Option<T> {
    values.flatten().reduce(|a, b| a + b)
}

/// The longest; of equal ones the surest.
pub(crate) fn longest(times: impl Iterator<Item = Option<TimeLag>>) -> Option<TimeLag> {
    times
        .flatten()
        .max_by_key(|time| (time.duration, time.bound == Bound::Exact))
}
