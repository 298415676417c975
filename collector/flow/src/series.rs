//! Counts and latencies over time, in buckets of three widths.
//!
//! The last hour is kept by 10 s, the last day by the minute, the rest by the hour. Which width an instant has is a
//! function of that instant and of now alone, so arrival order leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::records::Records;
use crate::sketch::Sketch;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// Width of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Tier {
    Hot,
    Warm,
    Cold,
}

impl Tier {
    pub(crate) const ALL: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    pub(crate) const fn width(self) -> u64 {
        match self {
            Self::Hot => 10 * SECOND,
            Self::Warm => MINUTE,
            Self::Cold => HOUR,
        }
    }

    pub(crate) const fn floor(self, at: u64) -> u64 {
        at - at % self.width()
    }
}

/// How long each width is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Horizons {
    pub(crate) hot: u64,
    pub(crate) warm: u64,
    pub(crate) retention: u64,
}

impl Horizons {
    /// The width that an instant's bucket has at `now`. The boundaries themselves lie on edges of the wider buckets,
    /// so that buckets of different widths never overlap.
    pub(crate) fn tier(&self, at: u64, now: u64) -> Tier {
        if at >= self.start_of(Tier::Hot, now) {
            Tier::Hot
        } else if at >= self.start_of(Tier::Warm, now) {
            Tier::Warm
        } else {
            Tier::Cold
        }
    }

    /// First instant that has buckets of this width at `now`.
    pub(crate) fn start_of(&self, tier: Tier, now: u64) -> u64 {
        match tier {
            Tier::Hot => Tier::Warm
                .floor(now.saturating_sub(self.hot))
                .max(self.start_of(Tier::Warm, now)),
            Tier::Warm => Tier::Cold.floor(now.saturating_sub(self.warm)),
            Tier::Cold => Tier::Cold.floor(now.saturating_sub(self.retention)),
        }
    }
}

/// What one span adds to one series.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub(crate) messages: u32,
    pub(crate) errors: u32,
    /// Messages whose offset is not known.
    pub(crate) unplaced: u32,
    pub(crate) produce: Option<u64>,
    pub(crate) process: Option<u64>,
    pub(crate) in_broker: Vec<u64>,
    pub(crate) records: Vec<(i32, i64)>,
}

/// One bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) unplaced: u64,
    pub(crate) produce: Sketch,
    pub(crate) in_broker: Sketch,
    pub(crate) process: Sketch,
    pub(crate) records: Records,
}

impl Cell {
    fn add(&mut self, delta: &Delta) {
        self.messages += u64::from(delta.messages);
        self.errors += u64::from(delta.errors);
        self.unplaced += u64::from(delta.unplaced);
        if let Some(ns) = delta.produce {
            self.produce.add(ns);
        }
        if let Some(ns) = delta.process {
            self.process.add(ns);
        }
        for &ns in &delta.in_broker {
            self.in_broker.add(ns);
        }
        for &(partition, offset) in &delta.records {
            self.records.insert(partition, offset);
        }
    }

    fn subtract(&mut self, delta: &Delta) {
        self.messages = self.messages.saturating_sub(u64::from(delta.messages));
        self.errors = self.errors.saturating_sub(u64::from(delta.errors));
        self.unplaced = self.unplaced.saturating_sub(u64::from(delta.unplaced));
        if let Some(ns) = delta.produce {
            self.produce.remove(ns);
        }
        if let Some(ns) = delta.process {
            self.process.remove(ns);
        }
        for &ns in &delta.in_broker {
            self.in_broker.remove(ns);
        }
        for &(partition, offset) in &delta.records {
            self.records.remove(partition, offset);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.errors += other.errors;
        self.unplaced += other.unplaced;
        self.produce.merge(&other.produce);
        self.in_broker.merge(&other.in_broker);
        self.process.merge(&other.process);
        self.records.merge(&other.records);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0 && self.errors == 0
    }
}

/// One aggregate over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    tiers: [BTreeMap<u64, Cell>; 3],
    /// Buckets changed, made or gone since the last checkpoint.
    dirty: BTreeSet<(Tier, u64)>,
}

impl Series {
    fn cell(&mut self, at: UnixNanos, horizons: &Horizons, now: u64) -> &mut Cell {
        let tier = horizons.tier(at.0, now);
        let bucket = tier.floor(at.0);
        self.dirty.insert((tier, bucket));
        self.tiers[tier as usize].entry(bucket).or_default()
    }

    pub(crate) fn add(&mut self, at: UnixNanos, delta: &Delta, horizons: &Horizons, now: u64) {
        self.cell(at, horizons, now).add(delta);
    }

    pub(crate) fn subtract(&mut self, at: UnixNanos, delta: &Delta, horizons: &Horizons, now: u64) {
        let cell = self.cell(at, horizons, now);
        cell.subtract(delta);
        if cell.is_empty() {
            let tier = horizons.tier(at.0, now);
            self.tiers[tier as usize].remove(&tier.floor(at.0));
        }
    }

    /// Moves buckets that are too old for their width into the next, and drops those past retention. Returns how
    /// many are left.
    pub(crate) fn roll(&mut self, horizons: &Horizons, now: u64) -> usize {
        for tier in [Tier::Hot, Tier::Warm] {
            let start = horizons.start_of(tier, now);
            while let Some((&bucket, _)) = self.tiers[tier as usize].first_key_value() {
                if bucket >= start {
                    break;
                }
                let Some(cell) = self.tiers[tier as usize].remove(&bucket) else {
                    break;
                };
                self.dirty.insert((tier, bucket));
                let wider = horizons.tier(bucket, now);
                let target = wider.floor(bucket);
                self.dirty.insert((wider, target));
                self.tiers[wider as usize]
                    .entry(target)
                    .or_default()
                    .merge(&cell);
            }
        }
        let start = horizons.start_of(Tier::Cold, now);
        while let Some((&bucket, _)) = self.tiers[Tier::Cold as usize].first_key_value() {
            if bucket >= start {
                break;
            }
            self.tiers[Tier::Cold as usize].remove(&bucket);
            self.dirty.insert((Tier::Cold, bucket));
        }
        self.tiers.iter().map(BTreeMap::len).sum()
    }

    /// Puts a stored bucket back.
    pub(crate) fn put(&mut self, tier: Tier, bucket: u64, cell: Cell) {
        self.tiers[tier as usize].insert(bucket, cell);
    }

    /// Buckets that begin in `[from, to)`, with their start.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Tier, &Cell)> {
        Tier::ALL.into_iter().flat_map(move |tier| {
            self.tiers[tier as usize]
                .range(from..to.max(from))
                .map(move |(&bucket, cell)| (bucket, tier, cell))
        })
    }

    /// Start of the earliest bucket.
    pub(crate) fn first(&self) -> Option<u64> {
        let firsts = self.tiers.iter().filter_map(|tier| tier.first_key_value());
        firsts.map(|(&bucket, _)| bucket).min()
    }

    /// What changed since the last call; `None` for a bucket that is gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(Tier, u64, Option<&Cell>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|(tier, bucket)| (tier, bucket, self.tiers[tier as usize].get(&bucket)))
            .collect()
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tiers.iter().all(BTreeMap::is_empty)
    }
}
