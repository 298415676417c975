//! A rule tried on stored history: "would have fired 3 times last week". Judged and counted by the code of a step.

use highwater_lag::{Bound, State, TimeLag};
use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

use crate::engine::Options;
use crate::judge;
use crate::look::GroupLook;
use crate::rule::Rule;
use crate::track::{Change, Track};
use crate::watch::Watch;

/// What history keeps of a group at one poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The poll.
    pub at: UnixNanos,
    /// Its time lag in milliseconds; `None` unknown.
    pub time_lag_ms: Option<u64>,
    /// Messages not read; `None` unknown.
    pub lag_messages: Option<u64>,
    /// Its worst state; `None`: nothing was kept.
    pub state: Option<State>,
}

/// A time at which a rule would have fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Firing {
    /// From.
    pub from: UnixNanos,
    /// Until; `None`: it would fire still.
    pub to: Option<UnixNanos>,
}

/// What a trial showed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// When it would have fired, the oldest first.
    pub firings: Vec<Firing>,
    /// Points that were looked at.
    pub points: usize,
    /// Those of them that said nothing either way.
    pub unknown: usize,
}

/// What a rule watches is not kept in history.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct NotInHistory(pub String);

/// Tries a rule on the history of one group, the oldest point first; points out of order are passed over. Whether the
/// rule is on, and what it selects, is not asked.
///
/// # Errors
/// History does not keep what the rule watches.
pub fn trial(rule: &Rule, history: &[Point], options: &Options) -> Result<Trial, NotInHistory> {
    if !rule.watch.in_history() {
        return Err(NotInHistory(format!(
            "{} cannot be tried: the history of lag keeps time lag, messages and states of groups, and not this.",
            rule.watch.label()
        )));
    }
    let mut trial = Trial::default();
    let mut track = Track::default();
    let mut last: Option<(UnixNanos, Option<State>)> = None;
    let mut state_since = UnixNanos(0);
    for point in history {
        if last.is_some_and(|(at, _)| point.at <= at) {
            continue;
        }
        if last.map(|(_, state)| state) != Some(point.state) {
            state_since = point.at;
        }
        last = Some((point.at, point.state));
        let verdict = judge::group(rule, &look(point, state_since), point.at);
        trial.points += 1;
        trial.unknown += usize::from(verdict.level == crate::track::Level::Unknown);
        match track.look(rule, options.longest_gap, verdict.level, point.at) {
            Change::Fired => trial.firings.push(Firing {
                from: point.at,
                to: None,
            }),
            Change::Resolved => {
                if let Some(firing) = trial.firings.last_mut() {
                    firing.to = Some(point.at);
                }
            }
            Change::None | Change::Began | Change::Dropped => {}
        }
    }
    Ok(trial)
}

fn look(point: &Point, state_since: UnixNanos) -> GroupLook<'static> {
    GroupLook {
        lag_messages: point.lag_messages,
        time_lag: point.time_lag_ms.map(|millis| TimeLag {
            duration: Duration::from_millis(millis),
            bound: Bound::Exact,
        }),
        state: point.state,
        state_since,
        partial: false,
        facts: None,
    }
}

impl Watch {
    /// Whether a rule on it can be tried on stored history.
    #[must_use]
    pub const fn in_history(self) -> bool {
        matches!(
            self,
            Self::TimeLag
                | Self::OffsetLag
                | Self::Stopped
                | Self::Stalled
                | Self::Rewind
                | Self::BeyondEnd
                | Self::DataLoss
                | Self::NoData
        )
    }
}
