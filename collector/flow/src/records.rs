//! Distinct records: which (partition, offset) were seen, exactly, in little space.
//!
//! Offsets of a partition are dense, so runs are kept in place of single offsets: a busy edge needs one run a
//! partition. An offset that is added again (a redelivery) is counted apart, so that every addition can be taken back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A multiset of (partition, offset).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    /// Runs by partition: start -> end, both included.
    runs: BTreeMap<i32, BTreeMap<i64, i64>>,
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

    /// Adds one.
    pub fn insert(&mut self, partition: i32, offset: i64) {
        if self.overflowed {
            return;
        }
        let runs = self.runs.entry(partition).or_default();
        let before = runs.range(..=offset).next_back().map(|(&s, &e)| (s, e));
        if before.is_some_and(|(_, end)| end >= offset) {
            let again = self.again.entry((partition, offset)).or_insert(0);
            if *again == 0 {
                self.size += 1;
            }
            *again = again.saturating_add(1);
        } else {
            let left = before.filter(|&(_, end)| end.checked_add(1) == Some(offset));
            let right = offset
                .checked_add(1)
                .and_then(|next| runs.get(&next).map(|&end| (next, end)));
            match (left, right) {
                (Some((start, _)), Some((next, end))) => {
                    runs.remove(&next);
                    runs.insert(start, end);
                    self.size -= 1;
                }
                (Some((start, _)), None) => {
                    runs.insert(start, offset);
                }
                (None, Some((next, end))) => {
                    runs.remove(&next);
                    runs.insert(offset, end);
                }
                (None, None) => {
                    runs.insert(offset, offset);
                    self.size += 1;
                }
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
                self.size -= 1;
            }
            return;
        }
        let Some(runs) = self.runs.get_mut(&partition) else {
            return;
        };
        let Some((&start, &end)) = runs.range(..=offset).next_back() else {
            return;
        };
        if end < offset {
            return;
        }
        runs.remove(&start);
        self.size -= 1;
        if start < offset {
            runs.insert(start, offset - 1);
            self.size += 1;
        }
        if offset < end {
            runs.insert(offset + 1, end);
            self.size += 1;
        }
        if runs.is_empty() {
            self.runs.remove(&partition);
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
            *self = other.clone();
            return;
        }
        for (&partition, runs) in &other.runs {
            for (&start, &end) in runs {
                self.insert_run(partition, start, end, true);
                if self.overflowed {
                    return;
                }
            }
        }
        for (&(partition, offset), &times) in &other.again {
            let again = self.again.entry((partition, offset)).or_insert(0);
            if *again == 0 {
                self.size += 1;
            }
            *again = again.saturating_add(times);
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
        for (&partition, runs) in &other.runs {
            for (&start, &end) in runs {
                self.insert_run(partition, start, end, false);
                if self.overflowed {
                    return;
                }
            }
        }
    }

    /// Adds a whole run; offsets that are there already become repeats if asked for.
    fn insert_run(&mut self, partition: i32, start: i64, end: i64, count_repeats: bool) {
        let runs = self.runs.entry(partition).or_default();
        // Nearly always a run follows on the last one, or stands alone.
        if let Some((&s, e)) = runs.range_mut(..=end.saturating_add(1)).next_back() {
            if s <= start && e.saturating_add(1) == start {
                *e = end;
                return;
            }
            if !count_repeats && s <= start && *e >= end {
                return;
            }
        }
        let touching: Vec<(i64, i64)> = runs
            .range(..=end.saturating_add(1))
            .rev()
            .take_while(|&(_, &e)| e >= start.saturating_sub(1))
            .map(|(&s, &e)| (s, e))
            .collect();
        let (mut low, mut high) = (start, end);
        let mut overlap = Vec::new();
        for &(s, e) in &touching {
            runs.remove(&s);
            low = low.min(s);
            high = high.max(e);
            let (from, to) = (s.max(start), e.min(end));
            if count_repeats && from <= to {
                overlap.push((from, to));
            }
        }
        runs.insert(low, high);
        self.size = self.size + 1 - touching.len() as u32;
        for (from, to) in overlap {
            if to - from >= i64::from(Self::BOUND) {
                self.overflow();
                return;
            }
            for offset in from..=to {
                let again = self.again.entry((partition, offset)).or_insert(0);
                if *again == 0 {
                    self.size += 1;
                }
                *again = again.saturating_add(1);
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
                .values()
                .flatten()
                .map(|(&start, &end)| end.abs_diff(start) + 1)
                .sum(),
        )
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && !self.overflowed
    }
}
