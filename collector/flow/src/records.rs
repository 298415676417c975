//! Distinct records: which (partition, offset) were seen, exactly, in little space.
//!
//! Offsets of a partition are dense, so runs are kept in place of single offsets: a busy edge needs one run a
//! partition. An offset that is added again (a redelivery) is counted apart, so that every addition can be taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Runs of one partition: `(start, end)`, both included, ascending, with gaps between them. Nearly always one.
type Runs = SmallVec<[(i64, i64); 1]>;

/// A multiset of (partition, offset).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    /// By partition, ascending.
    runs: Vec<(i32, Runs)>,
    /// How often more than once.
    again: BTreeMap<(i32, i64), u32>,
    /// Runs and repeats held.
    size: u32,
    /// The bound was reached: what is here is no longer exact.
    overflowed: bool,
}

impl Records {
    /// Runs and repeats one set may hold; above, [`Records::distinct`] is unknown.
    pub const BOUND: u32 = 8_192;

    fn partition(&mut self, partition: i32) -> &mut Runs {
        let at = match self.runs.binary_search_by_key(&partition, |(of, _)| *of) {
            Ok(at) => at,
            Err(at) => {
                self.runs.insert(at, (partition, Runs::new()));
                at
            }
        };
        &mut self.runs[at].1
    }

    /// Counts one addition of what is there already.
    fn repeat(&mut self, partition: i32, offset: i64, times: u32) {
        let again = self.again.entry((partition, offset)).or_insert(0);
        if *again == 0 {
            self.size += 1;
        }
        *again = again.saturating_add(times);
    }

    /// Adds one.
    pub fn insert(&mut self, partition: i32, offset: i64) {
        if self.overflowed {
            return;
        }
        let runs = self.partition(partition);
        // Offsets come nearly in order: the last run is looked at first.
        let at = match runs.last() {
            Some(&(start, _)) if start <= offset => runs.len(),
            _ => runs.partition_point(|&(start, _)| start <= offset),
        };
        let before = at.checked_sub(1).map(|before| runs[before].1);
        let follows = before.is_some_and(|end| end.checked_add(1) == Some(offset));
        let leads = runs
            .get(at)
            .is_some_and(|&(start, _)| offset.checked_add(1) == Some(start));
        match (follows, leads) {
            _ if before.is_some_and(|end| end >= offset) => self.repeat(partition, offset, 1),
            (true, true) => {
                runs[at - 1].1 = runs[at].1;
                runs.remove(at);
                self.size = self.size.saturating_sub(1);
            }
            (true, false) => runs[at - 1].1 = offset,
            (false, true) => runs[at].0 = offset,
            (false, false) => {
                runs.insert(at, (offset, offset));
                self.size += 1;
            }
        }
        if self.size > Self::BOUND {
            self.overflow();
        }
    }

    /// Takes one back that was added before.
    pub fn remove(&mut self, partition: i32, offset: i64) {
        if self.overflowed {
            return;
        }
        if let Some(again) = self.again.get_mut(&(partition, offset)) {
            *again -= 1;
            if *again == 0 {
                self.again.remove(&(partition, offset));
                self.size = self.size.saturating_sub(1);
            }
            return;
        }
        let Ok(of) = self.runs.binary_search_by_key(&partition, |(of, _)| *of) else {
            return;
        };
        let runs = &mut self.runs[of].1;
        let Some(at) = runs
            .partition_point(|&(start, _)| start <= offset)
            .checked_sub(1)
        else {
            return;
        };
        let (start, end) = runs[at];
        if end < offset {
            return;
        }
        match (start < offset, offset < end) {
            (true, true) => {
                runs[at].1 = offset - 1;
                runs.insert(at + 1, (offset + 1, end));
                self.size += 1;
            }
            (true, false) => runs[at].1 = offset - 1,
            (false, true) => runs[at].0 = offset + 1,
            (false, false) => {
                runs.remove(at);
                self.size = self.size.saturating_sub(1);
            }
        }
        if runs.is_empty() {
            self.runs.remove(of);
        }
        if self.size > Self::BOUND {
            self.overflow();
        }
    }

    /// Adds all of `other`, repeats too.
    pub fn merge(&mut self, other: &Self) {
        if self.overflowed || other.overflowed {
            self.overflow();
            return;
        }
        if self.runs.is_empty() {
            self.clone_from(other);
            return;
        }
        for (partition, runs) in &other.runs {
            for &(start, end) in runs {
                self.insert_run(*partition, start, end, true);
                if self.overflowed {
                    return;
                }
            }
        }
        for (&(partition, offset), &times) in &other.again {
            self.repeat(partition, offset, times);
        }
        if self.size > Self::BOUND {
            self.overflow();
        }
    }

    /// Adds what `other` has seen and forgets how often: for answers, which never take anything back.
    pub fn union(&mut self, other: &Self) {
        if self.overflowed || other.overflowed {
            self.overflow();
            return;
        }
        for (partition, runs) in &other.runs {
            for &(start, end) in runs {
                self.insert_run(*partition, start, end, false);
                if self.overflowed {
                    return;
                }
            }
        }
    }

    /// Adds a whole run; offsets that are there already become repeats if asked for.
    fn insert_run(&mut self, partition: i32, start: i64, end: i64, count_repeats: bool) {
        let runs = self.partition(partition);
        // Nearly always a run follows on the last one.
        if let Some(last) = runs.last_mut()
            && last.0 <= start
            && last.1.saturating_add(1) == start
        {
            last.1 = end;
            return;
        }
        // Those that it touches or overlaps.
        let first = runs.partition_point(|&(_, e)| e < start.saturating_sub(1));
        let after = runs.partition_point(|&(s, _)| s <= end.saturating_add(1));
        if first >= after {
            runs.insert(first, (start, end));
            self.size += 1;
        } else {
            let touching = after - first;
            let overlap: Vec<(i64, i64)> = runs[first..after]
                .iter()
                .map(|&(s, e)| (s.max(start), e.min(end)))
                .filter(|(from, to)| count_repeats && from <= to)
                .collect();
            runs[first] = (runs[first].0.min(start), runs[after - 1].1.max(end));
            runs.drain(first + 1..after);
            self.size = self.size.saturating_sub(touching as u32 - 1);
            for (from, to) in overlap {
                if to.saturating_sub(from) >= i64::from(Self::BOUND) {
                    self.overflow();
                    return;
                }
                for offset in from..=to {
                    self.repeat(partition, offset, 1);
                }
            }
        }
        if self.size > Self::BOUND {
            self.overflow();
        }
    }

    fn overflow(&mut self) {
        *self = Self {
            overflowed: true,
            ..Self::default()
        };
    }

    /// How many distinct ones; `None` when there were too many scattered ones to tell.
    #[must_use]
    pub fn distinct(&self) -> Option<u64> {
        if self.overflowed {
            return None;
        }
        Some(
            self.runs
                .iter()
                .flat_map(|(_, runs)| runs)
                .map(|&(start, end)| end.abs_diff(start).saturating_add(1))
                .fold(0, u64::saturating_add),
        )
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && !self.overflowed
    }
}
