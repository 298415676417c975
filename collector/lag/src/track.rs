//! What a group did on a partition over the window.

use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::history::since;
use crate::points::{Point, Points};
use crate::types::State;

/// Points kept at most: a poll a second over the default window.
const MAX_POINTS: usize = 320;
/// Shares of a window after which a growing lag may be told.
const EARLY: u32 = 5;
/// Clients commit every five seconds unless told otherwise: lag swings by what comes in meanwhile.
const COMMIT_SWING: Duration = Duration::from_secs(5);
/// Points that a trend needs.
const TREND_POINTS: usize = 4;
/// Steps up that a trend needs: what came at once is a burst, and has not shown that it stays.
const TREND_RISES: usize = 2;

/// A committed offset that went back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Rewind {
    pub(crate) at: UnixNanos,
    pub(crate) by: u64,
}

/// The committed offset of one group on one partition, over the window.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) points: Points,
    /// The committed offset has stood where it stands, with messages to read, since then, as far as seen.
    pub(crate) still_since: UnixNanos,
    /// The end at that time.
    pub(crate) end_when_still: i64,
    /// When it was last seen to change.
    pub(crate) moved_at: Option<UnixNanos>,
    /// What few partitions have: behind a pointer, for there are many partitions.
    found: Option<Box<Found>>,
    /// The state last told, and since when.
    pub(crate) state: Option<(State, UnixNanos)>,
}

/// What was found out of a partition beside its offsets.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// It went back within the window.
    pub(crate) rewind: Option<Rewind>,
    /// Messages lost, and when that was last seen.
    pub(crate) lost: Option<(UnixNanos, u64)>,
    /// A bounded read found nothing to read from this committed offset up to this end.
    pub(crate) empty: Option<(i64, i64)>,
    /// A bounded read found something to read at this committed offset.
    pub(crate) readable_at: Option<i64>,
}

impl Track {
    pub(crate) fn new(point: Point) -> Self {
        Self::over(Points::new(point))
    }

    /// Over these points, with nothing else known of it.
    pub(crate) fn over(points: Points) -> Self {
        let last = points.last();
        Self {
            points,
            still_since: last.at,
            end_when_still: last.end,
            moved_at: None,
            found: None,
            state: None,
        }
    }

    /// What was found out of it.
    pub(crate) fn found(&self) -> Found {
        self.found.as_deref().copied().unwrap_or_default()
    }

    /// Notes what was found out of it.
    pub(crate) fn find(&mut self, note: impl FnOnce(&mut Found)) {
        let mut found = self.found();
        note(&mut found);
        self.found = (found != Found::default()).then(|| Box::new(found));
    }

    /// Takes a sample of the log that is there since `log_since`. After a gap longer than `outage`, what stands still is
    /// counted anew.
    pub(crate) fn observe(
        &mut self,
        point: Point,
        log_since: UnixNanos,
        window: Duration,
        outage: Duration,
    ) {
        let last = self.points.last();
        if last.at >= point.at {
            return;
        }
        let another_log = last.at < log_since;
        let cut = point.end < last.end || another_log;
        // Also when nobody looked meanwhile: that it went back is seen now.
        let rewind = (point.committed < last.committed).then(|| Rewind {
            at: point.at,
            by: last.committed.abs_diff(point.committed),
        });
        let known = self.found();
        if since(point.at, last.at) > outage {
            // Nobody looked for a long time: what stood still in between cannot be told. What a read has
            // shown holds as long as the committed offset is the same.
            let before = std::mem::replace(self, Self::new(point));
            self.state = before.state;
            self.moved_at = before.moved_at;
            self.find(|found| {
                found.rewind = rewind;
                if !cut {
                    (found.empty, found.readable_at) = (known.empty, known.readable_at);
                }
            });
            return;
        }
        if point.committed != last.committed {
            self.still_since = point.at;
            self.end_when_still = point.end;
            self.moved_at = Some(point.at);
        }
        if another_log {
            self.end_when_still = point.end;
        } else if cut {
            self.end_when_still = self.end_when_still.min(point.end);
        }
        if rewind.is_some() || cut {
            // Rates and trends begin anew.
            self.points = Points::new(point);
        } else {
            self.points.push(point);
            // One point at or before the window's start stays, as the baseline.
            self.points.keep_from(point.at - window);
            if self.points.len() > MAX_POINTS {
                self.points.remove_second();
            }
        }
        if known == Found::default() && rewind.is_none() {
            return;
        }
        let recent = |at: UnixNanos| since(point.at, at) <= window;
        self.find(|found| {
            found.rewind = rewind.or(known.rewind).filter(|rewind| recent(rewind.at));
            found.lost = known.lost.filter(|(at, _)| recent(*at));
            if cut {
                // The log was cut or made anew: what was found in it is of other records.
                (found.empty, found.readable_at) = (None, None);
            }
        });
    }

    /// Nothing waits at this sample: who owes nothing does not stand still, and what comes later waits from now on.
    pub(crate) fn rest(&mut self, at: UnixNanos, end: i64) {
        self.still_since = at;
        self.end_when_still = end;
    }

    /// The committed offset stood still for the window, and the end moved on meanwhile.
    pub(crate) fn still_for(&self, window: Duration, now: UnixNanos) -> bool {
        since(now, self.still_since) >= window
    }

    /// The last sample.
    pub(crate) fn last(&self) -> Point {
        self.points.last()
    }

    /// The end has moved on since the committed offset stands.
    pub(crate) fn end_moved_on(&self) -> bool {
        self.points.last().end > self.end_when_still
    }

    /// Appended and committed a second, over the points kept.
    pub(crate) fn rates(&self) -> Option<(f64, f64)> {
        let (first, last) = (self.points.first(), self.points.last());
        let span = since(last.at, first.at).as_secs_f64();
        (span >= 0.5).then(|| {
            (
                (last.end - first.end).max(0) as f64 / span,
                (last.committed - first.committed).max(0) as f64 / span,
            )
        })
    }

    /// Since when [`Track::rates`] are.
    pub(crate) fn rates_from(&self) -> UnixNanos {
        self.points.first().at
    }

    /// The lag grows: it never fell by more than the samples' own noise, and each third of the points is higher on
    /// average than the one before. Told after a fifth of the window, long before it ends.
    pub(crate) fn falls_behind(&self, window: Duration) -> bool {
        let (first, last) = (self.points.first(), self.points.last());
        let span = since(last.at, first.at);
        if self.points.len() < TREND_POINTS || span < window / EARLY {
            return false;
        }
        let Some((in_per_s, _)) = self.rates() else {
            return false;
        };
        let noise = in_per_s * COMMIT_SWING.as_secs_f64();
        let lags: Vec<f64> = self.points.iter().map(|point| point.lag() as f64).collect();
        let mut highest: f64 = 0.0;
        for &lag in &lags {
            if lag < highest - noise {
                return false;
            }
            highest = highest.max(lag);
        }
        let rises = lags.windows(2).filter(|pair| pair[1] > pair[0]).count();
        if rises < TREND_RISES {
            return false;
        }
        let third = lags.len() / 3;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (early, middle, late) = (
            mean(&lags[..third.max(1)]),
            mean(&lags[third.max(1)..lags.len() - third.max(1)]),
            mean(&lags[lags.len() - third.max(1)..]),
        );
        early < middle && middle < late && late - early > noise
    }

    /// The lag shrank over the points kept.
    pub(crate) fn drains(&self) -> bool {
        self.points.last().lag() < self.points.first().lag()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> UnixNanos {
        UnixNanos(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn track(points: impl IntoIterator<Item = (u64, i64, i64)>) -> Track {
        let mut points = points.into_iter().map(|(seconds, committed, end)| Point {
            at: at(seconds),
            committed,
            end,
        });
        let mut track = Track::new(points.next().unwrap());
        for point in points {
            track.observe(point, at(0), WINDOW, WINDOW);
        }
        track
    }

    #[test]
    fn a_growing_lag_is_told_after_a_fifth_of_the_window() {
        // 62 in, 40 out a second, every 15 s.
        let slowed =
            |samples: u64| track((0..samples).map(|i| (i * 15, i as i64 * 600, i as i64 * 930)));
        assert!(!slowed(4).falls_behind(WINDOW), "45 s are too few");
        assert!(
            slowed(5).falls_behind(WINDOW),
            "60 s are a fifth of five minutes"
        );
    }

    #[test]
    fn a_steady_saw_tooth_is_not_falling_behind() {
        // Commits every 20 s, samples every 15 s: the lag swings between 0 and 200 and goes nowhere.
        let saw = track((0..20).map(|i| {
            let end = i * 150;
            (i as u64 * 15, end - (i * 15 % 20) * 10, end)
        }));
        assert!(!saw.falls_behind(WINDOW));
    }

    #[test]
    fn a_burst_that_waits_to_be_read_is_not_falling_behind() {
        let end = |i: u64| if i < 3 { 100 } else { 120 };
        let burst = track((0..5).map(|i| (i * 15, 100, end(i))));
        assert!(!burst.falls_behind(WINDOW));
    }

    #[test]
    fn a_draining_lag_is_not_falling_behind() {
        let draining = track((0..20).map(|i| (i as u64 * 15, i * 200, 10_000 + i * 100)));
        assert!(!draining.falls_behind(WINDOW));
        assert!(draining.drains());
    }

    #[test]
    fn standing_still_is_counted_from_the_last_move() {
        let still = track([(0, 10, 100), (15, 20, 110), (30, 20, 120), (400, 20, 130)]);
        // More than a window between two samples: nothing can be said of the time between.
        assert!(!still.still_for(WINDOW, at(400)));
        let still = track((0..30).map(|i| (i * 15, 20, 100 + i as i64)));
        assert!(still.still_for(WINDOW, at(29 * 15)) && still.end_moved_on());
    }

    #[test]
    fn points_older_than_the_window_go_but_for_a_baseline() {
        let long = track((0..1_000).map(|i| (i, i as i64, i as i64)));
        assert!(long.points.len() <= 302);
        assert_eq!(long.rates(), Some((1.0, 1.0)));
    }
}
