//! Where a partition ended, and when: the clock behind time lag.

use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::{Bound, TimeLag};

/// Points kept of a partition at most.
const MAX_POINTS: usize = 512;
/// A point is dropped when its neighbours are closer together than this share of its age: what is interpolated over an
/// older stretch is off by so little.
const THINNING: f64 = 0.04;
/// Nothing is dropped that is younger.
const DENSE: Duration = Duration::from_secs(600);
/// Nothing is kept that is older, but for the last such point.
const HORIZON: Duration = Duration::from_secs(8 * 86_400);

/// A partition's end at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EndPoint {
    pub(crate) at: UnixNanos,
    pub(crate) end: i64,
    /// By the broker, of the past; all others are readings of our own.
    #[serde(default)]
    pub(crate) told: bool,
}

/// Ends over time; neither time nor end ever falls from one point to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EndHistory {
    points: Vec<EndPoint>,
}

impl EndHistory {
    /// Points of which nobody noted whether the broker told them: all may be, but for the newest.
    pub(crate) fn from_before(points: Vec<(UnixNanos, i64)>, seeded: bool) -> Self {
        let last = points.len().saturating_sub(1);
        let points = points.into_iter().enumerate();
        let points = points.map(|(index, (at, end))| EndPoint {
            at,
            end,
            told: seeded && index < last,
        });
        Self {
            points: points.collect(),
        }
    }

    /// Takes a fresh reading. A lower end than before means that the log was cut or the topic made anew: points above
    /// it are of records that no longer are, and are thrown away.
    pub(crate) fn observe(&mut self, at: UnixNanos, end: i64) {
        if self.points.last().is_some_and(|last| last.at >= at) {
            // A reading of the past, or a clock that was set back: keeping order matters more than one point.
            return;
        }
        while self.points.last().is_some_and(|last| last.end > end) {
            self.points.pop();
        }
        // A flat stretch is its first and its last point. What was told may be taken back: it is no first one.
        if let [.., first, last] = self.points.as_mut_slice()
            && !first.told
            && first.end == end
            && last.end == end
        {
            last.at = at;
            return;
        }
        let told = false;
        self.points.push(EndPoint { at, end, told });
        if self.points.len() > MAX_POINTS / 2 && self.points.len().is_multiple_of(32) {
            self.thin(at);
        }
        if self.points.len() > MAX_POINTS {
            self.points.remove(1);
        }
    }

    /// Adds a point of the past, told by the broker's time index. Says whether it was taken: one that contradicts
    /// its neighbours (timestamps set by producers may lie) is not.
    pub(crate) fn seed(&mut self, at: UnixNanos, end: i64) -> bool {
        let index = self.points.partition_point(|point| point.at < at);
        let there = self.points.get(index);
        if there.is_some_and(|point| (point.at, point.end) == (at, end)) {
            return true;
        }
        let fits_after = index == 0 || self.points[index - 1].end <= end;
        let fits_before = self
            .points
            .get(index)
            .is_none_or(|next| next.at > at && end <= next.end);
        // The newest point is our own reading: nothing is seeded after it.
        let fits = fits_after && fits_before && index < self.points.len();
        if fits && self.points.len() < MAX_POINTS {
            let told = true;
            self.points.insert(index, EndPoint { at, end, told });
        }
        fits
    }

    /// Takes back what the broker told.
    pub(crate) fn forget_told(&mut self) {
        self.points.retain(|point| !point.told);
    }

    /// Forgets everything: the topic is another one.
    pub(crate) fn clear(&mut self) {
        self.points.clear();
    }

    /// Keeps the youngest points only, from the last one at or before `at`: a partition that nobody reads needs no more.
    pub(crate) fn keep_since(&mut self, at: UnixNanos) {
        let later = self.points.partition_point(|point| point.at <= at);
        self.points.drain(..later.saturating_sub(1));
    }

    pub(crate) fn last(&self) -> Option<EndPoint> {
        self.points.last().copied()
    }

    /// Since when the end stands where it stands, as far as seen.
    pub(crate) fn still_since(&self) -> Option<UnixNanos> {
        let last = self.points.last()?;
        let first = self.points.partition_point(|point| point.end < last.end);
        Some(self.points[first].at)
    }

    pub(crate) fn first(&self) -> Option<EndPoint> {
        self.points.first().copied()
    }

    /// The age of the record at `offset`: how long ago the end was there.
    ///
    /// Interpolated between the two points around it; never negative, and never rising with the offset. `None` with
    /// fewer than two points.
    pub(crate) fn time_lag(
        &self,
        offset: i64,
        now: UnixNanos,
        exact_gap: Duration,
    ) -> Option<TimeLag> {
        let last = self.points.last()?;
        if offset >= last.end {
            return Some(TimeLag {
                duration: Duration::ZERO,
                bound: Bound::Exact,
            });
        }
        let Some((before, after)) = self.bracket(offset) else {
            // Older than anything known: extrapolating to the left would be invention.
            return (self.points.len() >= 2).then(|| TimeLag {
                duration: since(now, self.points[0].at),
                bound: Bound::AtLeast,
            });
        };
        if wide(before, after, now, exact_gap) {
            return Some(TimeLag {
                duration: since(now, before.at),
                bound: Bound::AtMost,
            });
        }
        let share = (offset - before.end) as f64 / (after.end - before.end) as f64;
        let into = since(after.at, before.at).mul_f64(share.clamp(0.0, 1.0));
        Some(TimeLag {
            duration: since(now, before.at + into),
            bound: Bound::Exact,
        })
    }

    /// A time at which knowing the end would make the age of the record at `offset` exact.
    pub(crate) fn question(
        &self,
        offset: i64,
        now: UnixNanos,
        exact_gap: Duration,
    ) -> Option<(UnixNanos, UnixNanos)> {
        let (before, after) = self.bracket(offset)?;
        wide(before, after, now, exact_gap).then_some((before.at, after.at))
    }

    /// The points just before and just after the end was at `offset`.
    fn bracket(&self, offset: i64) -> Option<(EndPoint, EndPoint)> {
        let after = self.points.partition_point(|point| point.end <= offset);
        let before = after.checked_sub(1)?;
        Some((self.points[before], *self.points.get(after)?))
    }

    /// Messages appended a second over the `window` before the last point; over what is known, if that is shorter.
    pub(crate) fn rate(&self, window: Duration) -> Option<f64> {
        let last = self.points.last()?;
        let from = last.at - window;
        let later = self.points.partition_point(|point| point.at <= from);
        let (at, end) = match later.checked_sub(1) {
            None => (self.points[0].at, self.points[0].end as f64),
            Some(before) => {
                let (a, b) = (self.points[before], self.points.get(later)?);
                let share = since(from, a.at).as_secs_f64() / since(b.at, a.at).as_secs_f64();
                (from, a.end as f64 + share * (b.end - a.end) as f64)
            }
        };
        let span = since(last.at, at).as_secs_f64();
        (span >= 0.5).then(|| ((last.end as f64 - end) / span).max(0.0))
    }

    /// Since when [`EndHistory::rate`] is.
    pub(crate) fn rate_from(&self, window: Duration) -> Option<UnixNanos> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        Some(first.at.max(last.at - window))
    }

    /// Drops points that interpolation hardly misses. The ends of flat stretches stay: between them nothing came, and
    /// after them something did, at a known time.
    fn thin(&mut self, now: UnixNanos) {
        let horizon = now - HORIZON;
        let old = self.points.partition_point(|point| point.at < horizon);
        self.points.drain(..old.saturating_sub(1));
        let mut kept: Vec<EndPoint> = Vec::with_capacity(self.points.len());
        for (index, &point) in self.points.iter().enumerate() {
            let (Some(before), Some(after)) = (kept.last(), self.points.get(index + 1)) else {
                kept.push(point);
                continue;
            };
            let age = since(now, point.at);
            let close = since(after.at, before.at).as_secs_f64() < THINNING * age.as_secs_f64();
            let edge = before.end == point.end || point.end == after.end;
            if age < DENSE || !close || edge {
                kept.push(point);
            }
        }
        self.points = kept;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

/// Whether two points are too far apart for what lies between them to be called exact.
fn wide(before: EndPoint, after: EndPoint, now: UnixNanos, exact_gap: Duration) -> bool {
    let gap = since(after.at, before.at);
    gap > exact_gap && gap * 5 > since(now, before.at)
}

pub(crate) fn since(later: UnixNanos, earlier: UnixNanos) -> Duration {
    Duration::from_nanos(later.since(earlier))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> UnixNanos {
        UnixNanos(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn history(points: &[(u64, i64)]) -> EndHistory {
        let mut history = EndHistory::default();
        for &(seconds, end) in points {
            history.observe(at(seconds), end);
        }
        history
    }

    fn lag(history: &EndHistory, offset: i64, now: u64) -> Option<(f64, Bound)> {
        history
            .time_lag(offset, at(now), GAP)
            .map(|lag| (lag.duration.as_secs_f64(), lag.bound))
    }

    #[test]
    fn time_lag_is_interpolated_between_two_samples() {
        let history = history(&[(0, 0), (15, 150), (30, 300)]);
        assert_eq!(lag(&history, 75, 30), Some((22.5, Bound::Exact)));
        assert_eq!(lag(&history, 300, 30), Some((0.0, Bound::Exact)));
    }

    #[test]
    fn what_is_older_than_the_history_is_a_lower_bound() {
        let history = history(&[(0, 100), (15, 150)]);
        assert_eq!(lag(&history, 50, 20), Some((20.0, Bound::AtLeast)));
    }

    #[test]
    fn one_sample_alone_tells_no_time_lag_above_zero() {
        let history = history(&[(0, 100)]);
        assert_eq!(lag(&history, 50, 1), None);
        assert_eq!(lag(&history, 100, 1), Some((0.0, Bound::Exact)));
    }

    #[test]
    fn what_came_while_nobody_looked_has_an_upper_bound() {
        // The cluster could not be read from 15 to 1,000.
        let history = history(&[(0, 0), (15, 10), (1_000, 500), (1_015, 510)]);
        assert_eq!(lag(&history, 10, 1_015), Some((1_000.0, Bound::AtMost)));
        assert_eq!(lag(&history, 505, 1_015), Some((7.5, Bound::Exact)));
    }

    #[test]
    fn an_idle_stretch_does_not_make_a_new_record_look_old() {
        let mut points: Vec<(u64, i64)> = (0..100).map(|i| (i * 15, 40)).collect();
        points.push((1_500, 41));
        let history = history(&points);
        let (seconds, bound) = lag(&history, 40, 1_500).unwrap();
        assert!(seconds <= 15.0, "{seconds}");
        assert_eq!(bound, Bound::Exact);
        assert!(history.len() <= 3);
    }

    #[test]
    fn a_lower_end_throws_away_the_points_above_it() {
        let mut history = history(&[(0, 50), (15, 150), (30, 300)]);
        history.observe(at(45), 100);
        // Point 50 is of a record that may still be: the log was cut behind it.
        assert_eq!(history.len(), 2);
        assert_eq!(history.last().unwrap().end, 100);
        assert_eq!(lag(&history, 100, 45), Some((0.0, Bound::Exact)));
    }

    #[test]
    fn seeds_of_the_past_fill_in_and_those_that_contradict_are_refused() {
        let mut history = history(&[(100_000, 1_000)]);
        assert!(history.seed(at(0), 100));
        assert!(history.seed(at(50_000), 500));
        assert!(!history.seed(at(60_000), 499), "below an earlier end");
        assert!(!history.seed(at(40_000), 501), "above a later end");
        assert!(!history.seed(at(200_000), 2_000), "after our own reading");
        let (seconds, bound) = lag(&history, 600, 100_000).unwrap();
        assert_eq!((seconds, bound), (50_000.0, Bound::AtMost));
    }

    #[test]
    fn asking_for_the_middle_makes_a_wide_bracket_exact_in_few_rounds() {
        // One message a second for a week; the history knows only the two ends.
        let now = 604_800;
        let mut history = history(&[(now, now as i64)]);
        assert!(history.seed(at(0), 0));
        let offset = 400_000;
        let mut rounds = 0;
        while let Some((before, after)) = history.question(offset, at(now), GAP) {
            let middle = before + since(after, before) / 2;
            let end = since(middle, at(0)).as_secs() as i64;
            assert!(history.seed(middle, end));
            rounds += 1;
        }
        assert!(rounds <= 6, "{rounds}");
        let (seconds, bound) = lag(&history, offset, now).unwrap();
        assert_eq!(bound, Bound::Exact);
        assert!((seconds - 204_800.0).abs() < 60.0, "{seconds}");
    }

    #[test]
    fn a_week_of_samples_is_a_few_hundred_points_and_stays_within_four_percent() {
        let mut history = EndHistory::default();
        let total = 7 * 86_400;
        for seconds in (0..=total).step_by(15) {
            history.observe(at(seconds), seconds as i64 * 7);
        }
        assert!(history.len() <= MAX_POINTS, "{}", history.len());
        for age in [30, 600, 3_600, 86_400, 6 * 86_400] {
            let (seconds, bound) = lag(&history, (total as i64 - age) * 7, total).unwrap();
            assert_eq!(bound, Bound::Exact);
            assert!(
                (seconds - age as f64).abs() <= 0.04 * age as f64,
                "{age}: {seconds}"
            );
        }
    }

    #[test]
    fn rates_are_of_the_window() {
        let history = history(&[(0, 0), (100, 10_000), (400, 13_000)]);
        assert_eq!(history.rate(Duration::from_secs(300)), Some(10.0));
        assert_eq!(
            history.rate(Duration::from_secs(350)),
            Some(8_000.0 / 350.0)
        );
        assert_eq!(EndHistory::default().rate(GAP), None);
        assert_eq!(EndHistory::default().rate_from(GAP), None);
    }

    proptest! {
        #[test]
        fn time_lag_is_never_negative_and_never_rises_with_the_offset(
            steps in prop::collection::vec((1_u64..400, 0_i64..1_000), 1..200),
            seeds in prop::collection::vec((0_u64..100_000, 0_i64..100_000), 0..20),
            ahead in 0_u64..600,
        ) {
            let mut history = EndHistory::default();
            let (mut seconds, mut end) = (100_000, 50_000);
            for (step, grown) in steps {
                seconds += step;
                end += grown;
                history.observe(at(seconds), end);
            }
            for (seconds, end) in seeds {
                history.seed(at(seconds), end);
            }
            // A wide gap is said by its older side, which is monotone too.
            let mut before = Duration::MAX;
            for offset in (0..=end + 10).step_by(251) {
                if let Some(lag) = history.time_lag(offset, at(seconds + ahead), GAP) {
                    prop_assert!(lag.duration <= before, "offset {offset}");
                    before = lag.duration;
                }
            }
            // Nor does a clock that stands behind the samples make it negative.
            if let Some(lag) = history.time_lag(end - 1, at(0), GAP) {
                prop_assert_eq!(lag.duration, Duration::ZERO);
            }
        }

        #[test]
        fn any_order_of_readings_leaves_a_history_in_order(
            readings in prop::collection::vec((0_u64..10_000, 0_i64..500), 0..300),
        ) {
            let mut history = EndHistory::default();
            for (seconds, end) in readings {
                history.observe(at(seconds), end);
                prop_assert!(history.points.is_sorted_by(|a, b| a.at < b.at && a.end <= b.end));
            }
        }
    }
}
