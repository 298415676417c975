//! How long one condition holds: pending, firing, clear, and nothing else. Stepping and trying a rule on history both
//! go through here.

use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;

const HOUR: Duration = Duration::from_secs(3_600);
/// Firings within an hour from which on it flaps.
const FLAPS: usize = 3;
/// How slowly what flaps clears at most.
const SLOWEST_CLEAR: Duration = Duration::from_secs(1_800);
/// What flaps and would clear at once takes this long instead.
const LEAST_FLAP_CLEAR: Duration = Duration::from_secs(60);
/// Firings that are remembered: more make no difference.
const MOST_FIRES: usize = 16;

/// What one look says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Level {
    /// Beyond the threshold. With the time since when the facts themselves say so, if they do.
    Breach(Option<UnixNanos>),
    /// Neither beyond it nor clear.
    Between,
    /// Clear.
    Clear,
    /// Nothing can be said.
    Unknown,
}

/// What a look changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It holds, not yet for long enough.
    Began,
    /// It held for long enough; it was pending before, or began and fired at once.
    Fired,
    /// It no longer holds, and never fired.
    Dropped,
    /// It fired and has been clear for long enough.
    Resolved,
}

/// How long one condition holds. Counts only time between two looks that both knew, not far apart: what passed while
/// nothing was known, or while nobody looked, is no time at all. So a clock that jumps moves nothing either.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Track {
    /// It holds for so long, without interruption.
    pub(crate) held: Option<Duration>,
    /// It has fired and not resolved.
    pub(crate) firing: bool,
    /// While it fires: it is clear for so long.
    clear: Option<Duration>,
    /// The last look that knew.
    seen_at: UnixNanos,
    /// One that did not know came after that.
    blind: bool,
    /// When it fired, of the last hour.
    fires: Vec<UnixNanos>,
    /// How often within an hour, counted when it last fired.
    flaps: usize,
}

impl Track {
    /// Takes a look. `longest_gap` is how far apart two looks may be for the time between them to count.
    pub(crate) fn look(
        &mut self,
        rule: &Rule,
        longest_gap: Duration,
        level: Level,
        now: UnixNanos,
    ) -> Change {
        if level == Level::Unknown {
            self.blind = true;
            return Change::None;
        }
        let gap = Duration::from_nanos(now.since(self.seen_at));
        let passed = if self.blind || gap > longest_gap {
            Duration::ZERO
        } else {
            gap
        };
        self.seen_at = now;
        self.blind = false;
        match (self.firing, level) {
            (false, Level::Breach(since)) => {
                let began = self.held.is_none();
                let counted = self
                    .held
                    .map_or(Duration::ZERO, |held| held.saturating_add(passed));
                let told = since.map_or(Duration::ZERO, |at| Duration::from_nanos(now.since(at)));
                let held = counted.max(told);
                self.held = Some(held);
                if held >= rule.hold {
                    self.fire(now);
                    Change::Fired
                } else if began {
                    Change::Began
                } else {
                    Change::None
                }
            }
            (false, _) => {
                if self.held.take().is_some() {
                    Change::Dropped
                } else {
                    Change::None
                }
            }
            (true, Level::Clear) => {
                let clear = self
                    .clear
                    .map_or(Duration::ZERO, |clear| clear.saturating_add(passed));
                self.clear = Some(clear);
                if clear >= self.clear_for(rule) {
                    self.end();
                    Change::Resolved
                } else {
                    Change::None
                }
            }
            (true, _) => {
                self.clear = None;
                Change::None
            }
        }
    }

    /// Ends it, whatever it was.
    pub(crate) fn end(&mut self) {
        self.held = None;
        self.clear = None;
        self.firing = false;
    }

    /// It fires so often that it clears more slowly.
    pub(crate) fn is_flapping(&self) -> bool {
        self.firing && self.flaps >= FLAPS
    }

    /// How long it must be clear.
    pub(crate) fn clear_for(&self, rule: &Rule) -> Duration {
        if self.flaps < FLAPS {
            return rule.clear_for;
        }
        let doublings = u32::try_from(self.flaps + 1 - FLAPS).unwrap_or(u32::MAX);
        let slowed = rule
            .clear_for
            .max(LEAST_FLAP_CLEAR)
            .saturating_mul(2_u32.saturating_pow(doublings));
        slowed.min(SLOWEST_CLEAR).max(rule.clear_for)
    }

    /// Whether nothing would be forgotten with it.
    pub(crate) fn is_idle(&self, now: UnixNanos) -> bool {
        self.held.is_none() && !self.firing && !self.fires.iter().any(|at| lately(*at, now))
    }

    fn fire(&mut self, now: UnixNanos) {
        self.firing = true;
        self.clear = None;
        self.fires.retain(|at| lately(*at, now));
        if self.fires.len() == MOST_FIRES {
            self.fires.remove(0);
        }
        self.fires.push(now);
        self.flaps = self.fires.len();
    }
}

/// Within the last hour. What lies ahead was written by a clock that has gone back since.
fn lately(at: UnixNanos, now: UnixNanos) -> bool {
    at <= now && now <= at + HOUR
}
