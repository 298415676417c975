//! Whether the timestamps of a partition's records tell when they came.
//!
//! A broker's time index answers by timestamps, and those are its producers': they may be wrong by minutes or by years,
//! and what copies records or makes them of others (MirrorMaker, Kafka Streams) hands on older ones. Two questions tell,
//! because their answers are known where timestamps are right:
//!
//! - of a time to come: no record is stamped later than now;
//! - of a time well before one of our own readings, after which the end moved on: the record at that end came later, so
//!   the answer is that record or an earlier one.

use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::Skew;
use crate::history::{EndPoint, since};

/// So much may lie between a timestamp and when its record came: clocks drift, and a producer keeps records for two
/// minutes, unless told otherwise, while a broker is away.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Asked again after that time.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// What is held of the timestamps of one partition.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// Our newest reading after which the end moved on.
    moved_on: Option<EndPoint>,
    /// The reading after which it was asked last.
    asked: Option<UnixNanos>,
    /// What was asked: the record at this end came after this time.
    about: Option<EndPoint>,
    /// That was asked at all; since a time to come was last answered, for the past could not be judged until then.
    asked_of_past: bool,
    /// The last answer says otherwise than what is held. Log starts move and topics are made anew between a reading and
    /// a question: it takes two answers in a row.
    doubted: bool,
    suspect: Option<Skew>,
}

impl Clock {
    pub(crate) const fn suspect(&self) -> Option<Skew> {
        self.suspect
    }

    /// The end moved on after this reading.
    pub(crate) fn moved_on(&mut self, before: EndPoint) {
        self.moved_on = Some(before);
    }

    /// Where the log begins is not known: an answer may be of what is left only.
    pub(crate) fn cannot_judge(&mut self) {
        self.moved_on = None;
        self.doubted = false;
    }

    /// Records may be missing from the middle of the log: where the index finds the next one tells nothing.
    pub(crate) fn has_gaps(&mut self) {
        self.cannot_judge();
        if self.suspect == Some(Skew::Behind) {
            self.suspect = None;
        }
    }

    /// The times to ask the broker about, after the reading `last`.
    pub(crate) fn questions(
        &mut self,
        last: EndPoint,
        log_start: Option<i64>,
        now: UnixNanos,
    ) -> impl Iterator<Item = UnixNanos> + use<> {
        let about = self
            .moved_on
            .filter(|before| before.end >= log_start.unwrap_or(0));
        let due = self.asked.is_none_or(|at| {
            let news = self.doubted || (about.is_some() && !self.asked_of_past);
            (news && last.at > at) || since(last.at, at) >= EVERY
        });
        if due {
            self.asked = Some(last.at);
            self.about = about;
            self.asked_of_past |= about.is_some();
            self.doubted &= about.is_some();
        }
        let times = [
            about.map(|before| before.at - TOLERANCE),
            Some(now + TOLERANCE),
        ];
        times.into_iter().flatten().filter(move |_| due)
    }

    /// Takes the answer to a question of `at`, after the reading `last`: the first offset stamped then or later, if any.
    pub(crate) fn answer(&mut self, at: UnixNanos, offset: Option<i64>, last: EndPoint) {
        if at > last.at {
            if offset.is_some() {
                self.suspect = Some(Skew::Ahead);
            } else if self.suspect == Some(Skew::Ahead) {
                // Whether the past was right meanwhile is not known.
                self.suspect = None;
                self.asked_of_past = false;
            }
            return;
        }
        let Some(about) = self.about.filter(|about| at == about.at - TOLERANCE) else {
            return;
        };
        self.about = None;
        let behind = offset.is_none_or(|offset| offset > about.end);
        if self.suspect == Some(Skew::Ahead) || behind == (self.suspect == Some(Skew::Behind)) {
            self.doubted = false;
        } else if self.doubted {
            self.doubted = false;
            self.suspect = behind.then_some(Skew::Behind);
        } else {
            self.doubted = true;
        }
    }
}
