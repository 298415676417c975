//! One partition, whoever reads it: where it ended when, and what the broker told of that.

use highwater_model::UnixNanos;
use highwater_model::broker::PartitionOffsets;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::history::EndHistory;

/// What is known of one partition, whoever reads it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Partition {
    pub(super) ends: EndHistory,
    /// The log of this name is this one since then; what was seen before is of another.
    #[serde(default)]
    pub(super) log_since: UnixNanos,
    /// As last known.
    pub(super) log_start: Option<i64>,
    /// As known before that.
    pub(super) log_start_before: Option<i64>,
    pub(super) last_stable: Option<i64>,
    /// The last stable offset stands where it stands since.
    pub(super) stable_since: UnixNanos,
    /// The broker was asked for its past.
    pub(super) seeded: bool,
    /// The gap last asked about: asked once.
    pub(super) asked: Option<(UnixNanos, UnixNanos)>,
    #[serde(default)]
    pub(super) clock: Clock,
}

impl Partition {
    /// Takes a reading. `whole`: records are deleted from the start of the log only.
    pub(super) fn observe(&mut self, read: &PartitionOffsets, whole: bool) {
        if let Ok(log_start) = read.log_start {
            // A log start that went back is another log, with a past of its own.
            if self.log_start.is_some_and(|before| log_start < before) {
                self.ends.clear();
                self.log_start = None;
                self.log_since = read.read_at;
                self.forget_answers();
            }
            self.log_start_before = self.log_start;
            self.log_start = Some(log_start);
        }
        if let Ok(end) = read.end {
            match self.ends.last() {
                Some(last) if end < last.end => self.forget_answers(),
                Some(last) if end > last.end && read.read_at > last.at => self.clock.moved_on(last),
                _ => {}
            }
            self.ends.observe(read.read_at, end);
        }
        if read.log_start.is_err() {
            self.clock.cannot_judge();
        }
        // Of a log without a record nothing is suspect, and one with gaps cannot be behind for all that is known.
        let suspect = self.clock.suspect();
        if read.end.is_ok() && read.end == read.log_start {
            self.clock = Clock::default();
        } else if !whole {
            self.clock.has_gaps();
        }
        if suspect != self.clock.suspect() {
            self.ask_anew();
        }
        let last_stable = read.last_stable.as_ref().ok().copied();
        if self.last_stable != last_stable {
            self.last_stable = last_stable;
            self.stable_since = read.read_at;
        }
    }

    /// What the broker told of the past was of other records: it is asked anew.
    fn forget_answers(&mut self) {
        self.ask_anew();
        self.clock = Clock::default();
    }

    fn ask_anew(&mut self) {
        self.seeded = false;
        self.asked = None;
    }

    /// Takes where the broker says that it ended at `at`; says whether that agrees with what is known.
    pub(super) fn answer(&mut self, at: UnixNanos, offset: Option<i64>) -> bool {
        let Some(last) = self.ends.last() else {
            return true;
        };
        let before = self.clock.suspect();
        self.clock.answer(at, offset, last);
        if self.clock.suspect().is_some() {
            self.ends.forget_told();
            return false;
        }
        if before.is_some() {
            self.ask_anew();
        }
        // A time to come was asked for the clock alone.
        at > last.at || self.ends.seed(at, offset.unwrap_or(last.end))
    }
}
