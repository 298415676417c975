//! Time lag of each group by the minute, for the small charts of lists: the store is not asked for every row.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use highwater_model::UnixNanos;
use parking_lot::RwLock;

const MINUTE: u64 = 60_000_000_000;
/// A day.
const MINUTES_KEPT: usize = 1_440;
/// Points of a small chart.
const POINTS: u64 = 60;

/// Cluster and group.
type GroupKey = (Arc<str>, Arc<str>);
/// Minute and worst value, rising; `None`: read, and unknown.
type Series = VecDeque<(u64, Option<u64>)>;

/// The worst time lag of each minute, by cluster and group.
#[derive(Debug, Default)]
pub struct Sparks(RwLock<BTreeMap<GroupKey, Series>>);

impl Sparks {
    /// Notes one reading; instants must not go back.
    pub fn push(
        &self,
        cluster: &Arc<str>,
        group: &Arc<str>,
        at: UnixNanos,
        time_lag_ms: Option<u64>,
    ) {
        let mut all = self.0.write();
        let series = all
            .entry((Arc::clone(cluster), Arc::clone(group)))
            .or_default();
        let minute = at.0 / MINUTE;
        match series.back_mut() {
            Some((last, worst)) if *last == minute => *worst = (*worst).max(time_lag_ms),
            _ => series.push_back((minute, time_lag_ms)),
        }
        if series.len() > MINUTES_KEPT {
            series.pop_front();
        }
    }

    /// At most 60 points over the range, oldest first, the worst of each; `None` where nothing was read.
    #[must_use]
    pub fn points(
        &self,
        cluster: &str,
        group: &str,
        from: UnixNanos,
        to: UnixNanos,
    ) -> Vec<Option<u64>> {
        let (first, last) = (from.0 / MINUTE, to.0 / MINUTE);
        let step = (last - first).div_ceil(POINTS).max(1);
        let mut points = vec![None; ((last - first) / step + 1) as usize];
        let all = self.0.read();
        if let Some(series) = all.get(&(Arc::from(cluster), Arc::from(group))) {
            for (minute, value) in series
                .iter()
                .filter(|(minute, _)| (first..=last).contains(minute))
            {
                let point = &mut points[((minute - first) / step) as usize];
                *point = (*point).max(*value);
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::{MINUTE, Sparks};
    use highwater_model::UnixNanos;
    use std::sync::Arc;

    #[test]
    fn a_minute_keeps_its_worst_and_a_gap_stays_unknown() {
        let sparks = Sparks::default();
        let (cluster, group): (Arc<str>, Arc<str>) = ("c".into(), "g".into());
        for (minute, lag) in [(10, Some(5)), (10, Some(9)), (12, Some(1)), (13, None)] {
            sparks.push(&cluster, &group, UnixNanos(minute * MINUTE), lag);
        }
        let at = |minute| UnixNanos(minute * MINUTE);
        assert_eq!(
            sparks.points("c", "g", at(9), at(13)),
            [None, Some(9), None, Some(1), None]
        );
        assert_eq!(sparks.points("c", "other", at(9), at(10)), [None, None]);
    }
}
