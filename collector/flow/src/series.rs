//! Counts and latencies over time, in buckets of three widths.
//!
//! The last hour is kept by 10 s, the last day by the minute, the rest by the hour. Which width an instant has is a
//! function of that instant and of now alone, so arrival order leaves no trace. Where that takes too much room the times
//! are shorter: see [`Horizons::pressed`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use highwater_model::UnixNanos;
use smallvec::SmallVec;

use crate::cell::{Cell, Total};

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

    /// How much time one total is over.
    const fn total_width(self) -> u64 {
        match self {
            Self::Hot => 5 * MINUTE,
            Self::Warm => HOUR,
            Self::Cold => 24 * HOUR,
        }
    }

    /// Start of the total that a bucket is part of.
    const fn total_of(self, start: u64) -> u64 {
        start - start % self.total_width()
    }
}

/// How long each width is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Horizons {
    pub(crate) hot: u64,
    pub(crate) warm: u64,
    /// How long hours keep their latencies.
    pub(crate) detail: u64,
    pub(crate) retention: u64,
}

impl Horizons {
    /// Levels of [`Horizons::pressed`].
    pub(crate) const LEVELS: u32 = 24;

    /// What is left when history has to take less room: minutes go first, for they are as many as 24 days of hours;
    /// then the latencies of old hours, the tens of seconds, and at last the oldest hours.
    pub(crate) fn pressed(self, level: u32) -> Self {
        let step = |first: u32, steps: u32| level.saturating_sub(first).min(steps);
        let halved = |ns: u64, times: u32, least: u64| (ns >> times).max(least.min(ns));
        let hours = step(11, 12);
        Self {
            hot: halved(self.hot, step(9, 2), 10 * MINUTE),
            warm: halved(self.warm, step(0, 3) + hours.min(2), HOUR),
            detail: halved(self.detail, step(3, 6) + hours, HOUR),
            retention: halved(self.retention, hours, 2 * HOUR),
        }
    }
}

/// Since when there are buckets of each width, at one moment. None of these instants ever goes back: what was rolled up
/// stays so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Widths {
    now: u64,
    hot: u64,
    warm: u64,
    cold: u64,
    detail: u64,
}

impl Widths {
    /// Moves on to `now`. The instants lie on edges of the wider buckets, so that buckets of different widths never
    /// overlap.
    pub(crate) fn advance(&mut self, horizons: &Horizons, now: u64) {
        let since = |tier: Tier, horizon: u64| tier.floor(now.saturating_sub(horizon));
        self.now = now;
        self.cold = self.cold.max(since(Tier::Cold, horizons.retention));
        self.detail = self.detail.max(since(Tier::Cold, horizons.detail));
        self.warm = self.warm.max(since(Tier::Cold, horizons.warm));
        self.hot = self.hot.max(since(Tier::Warm, horizons.hot)).max(self.warm);
    }

    /// As they were stored: see [`Widths::stored`].
    pub(crate) fn restored([hot, warm, cold, detail]: [u64; 4]) -> Self {
        Self {
            now: 0,
            hot,
            warm,
            cold,
            detail,
        }
    }

    pub(crate) fn stored(&self) -> [u64; 4] {
        [self.hot, self.warm, self.cold, self.detail]
    }

    /// Start of the oldest bucket kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.cold
    }

    /// The width that an instant's bucket has.
    pub(crate) fn tier(&self, at: u64) -> Tier {
        if at >= self.hot {
            Tier::Hot
        } else if at >= self.warm {
            Tier::Warm
        } else {
            Tier::Cold
        }
    }

    fn start_of(&self, tier: Tier) -> u64 {
        match tier {
            Tier::Hot => self.hot,
            Tier::Warm => self.warm,
            Tier::Cold => self.cold,
        }
    }
}

/// Which latency a span's own duration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Timed {
    /// None.
    #[default]
    No,
    /// Of handing a message to the broker.
    Produce,
    /// Of a handler's work, or a server's.
    Process,
}

/// What one span adds to one series. When, and how long it took, are the span's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delta {
    pub(crate) messages: u32,
    pub(crate) errors: u32,
    /// Messages whose offset is not known.
    pub(crate) unplaced: u32,
    pub(crate) timed: Timed,
    pub(crate) in_broker: SmallVec<[u64; 1]>,
    pub(crate) records: SmallVec<[(i32, i64); 1]>,
}

impl Delta {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0 && self.errors == 0
    }
}

/// A bucket with its place in time.
#[derive(Clone, Debug)]
struct Bucket {
    start: u64,
    /// Changed or made since the last checkpoint.
    dirty: bool,
    /// In [`Series::open`].
    open: bool,
    cell: Cell,
}

/// One aggregate over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// By start. Spans are of the present: nearly always the last one is meant.
    tiers: [VecDeque<Bucket>; 3],
    /// Sums of buckets whose time is over, by start. What they cost is saved by every map of a long time.
    totals: [BTreeMap<u64, Total>; 3],
    /// Buckets that are open. Their spans have no total.
    open: Vec<(Tier, u64)>,
    /// Spans of time of which a total is to be made.
    unsummed: BTreeSet<(Tier, u64)>,
    /// Buckets gone since the last checkpoint.
    gone: BTreeSet<(Tier, u64)>,
    /// A bucket is dirty or gone.
    dirty: bool,
    /// Hours before this have no latencies.
    detail: u64,
}

/// A piece of a range: many buckets at once, or one.
pub(crate) enum Part<'s> {
    /// The sum of some.
    Total(&'s Total),
    /// One, with its start.
    Bucket(u64, &'s Cell),
}

/// Where a bucket stands, or would.
fn find(buckets: &VecDeque<Bucket>, start: u64) -> Result<usize, usize> {
    match buckets.back() {
        Some(last) if last.start == start => Ok(buckets.len() - 1),
        Some(last) if last.start > start => {
            buckets.binary_search_by_key(&start, |bucket| bucket.start)
        }
        _ => Err(buckets.len()),
    }
}

impl Series {
    /// A bucket that is about to change, made where there is none.
    fn bucket(&mut self, tier: Tier, start: u64) -> (usize, &mut Bucket) {
        self.dirty = true;
        let buckets = &mut self.tiers[tier as usize];
        let at = find(buckets, start).unwrap_or_else(|at| {
            let (dirty, open) = (true, false);
            let cell = Cell::default();
            let bucket = Bucket {
                start,
                dirty,
                open,
                cell,
            };
            buckets.insert(at, bucket);
            at
        });
        let bucket = &mut buckets[at];
        bucket.dirty = true;
        if !bucket.open {
            bucket.open = true;
            let whole = tier.total_of(start);
            self.open.push((tier, start));
            self.unsummed.insert((tier, whole));
            self.totals[tier as usize].remove(&whole);
        }
        (at, bucket)
    }

    /// Adds what a span of `took_ns` nanoseconds counts for.
    pub(crate) fn add(&mut self, at: UnixNanos, delta: &Delta, took_ns: u64, widths: &Widths) {
        let tier = widths.tier(at.0);
        let (_, bucket) = self.bucket(tier, tier.floor(at.0));
        bucket.cell.add(delta, took_ns);
    }

    /// Takes back what was added.
    pub(crate) fn subtract(&mut self, at: UnixNanos, delta: &Delta, took_ns: u64, widths: &Widths) {
        let tier = widths.tier(at.0);
        let start = tier.floor(at.0);
        let (at, bucket) = self.bucket(tier, start);
        bucket.cell.subtract(delta, took_ns);
        if bucket.cell.is_empty() {
            self.tiers[tier as usize].remove(at);
            self.gone.insert((tier, start));
        }
    }

    /// Moves buckets that are too old for their width into the next, and drops those past retention; then seals those
    /// whose time is over.
    pub(crate) fn roll(&mut self, widths: &Widths) {
        for tier in Tier::ALL {
            let start = widths.start_of(tier);
            while let Some(bucket) = self.tiers[tier as usize].pop_front_if(|b| b.start < start) {
                self.dirty = true;
                self.gone.insert((tier, bucket.start));
                self.totals[tier as usize].remove(&tier.total_of(bucket.start));
                if tier != Tier::Cold {
                    let wider = widths.tier(bucket.start);
                    let (_, target) = self.bucket(wider, wider.floor(bucket.start));
                    target.cell.merge(bucket.cell);
                }
            }
        }
        self.seal(widths);
        if self.detail < widths.detail {
            let hours = &mut self.tiers[Tier::Cold as usize];
            let from = hours.partition_point(|bucket| bucket.start < self.detail);
            let to = hours.partition_point(|bucket| bucket.start < widths.detail);
            hours
                .range_mut(from..to)
                .for_each(|bucket| bucket.cell.drop_latencies());
            self.detail = widths.detail;
        }
    }

    /// Bytes it takes, nearly.
    pub(crate) fn size(&self) -> usize {
        let buckets = self.tiers.iter().flatten();
        let totals = self.totals.iter().flat_map(BTreeMap::values);
        buckets
            .map(|bucket| size_of::<Bucket>() + bucket.cell.size())
            .chain(totals.map(|total| size_of::<(u64, Total)>() + total.size()))
            .sum()
    }

    /// Seals buckets whose time has been over for a minute, and sums up what is sealed.
    fn seal(&mut self, widths: &Widths) {
        let over = |end: u64| end.saturating_add(MINUTE) <= widths.now;
        let tiers = &mut self.tiers;
        self.open.retain(|&(tier, start)| {
            if !over(start.saturating_add(tier.width())) {
                return true;
            }
            let buckets = &mut tiers[tier as usize];
            if let Ok(at) = find(buckets, start) {
                buckets[at].open = false;
                buckets[at].cell.seal();
            }
            false
        });
        self.unsummed.retain(|&(tier, whole)| {
            let end = whole.saturating_add(tier.total_width());
            if !over(end) {
                return true;
            }
            let buckets = &tiers[tier as usize];
            let from = buckets.partition_point(|bucket| bucket.start < whole);
            let to = buckets.partition_point(|bucket| bucket.start < end);
            // Part of it may have been rolled up already: then the rest of it will be soon.
            if to > from + 1 && whole >= widths.start_of(tier) {
                let cells = buckets.range(from..to).map(|bucket| &bucket.cell);
                self.totals[tier as usize].insert(whole, Total::of(cells));
            }
            false
        });
    }

    /// Puts a stored bucket back.
    pub(crate) fn put(&mut self, tier: Tier, start: u64, mut cell: Cell) {
        cell.seal();
        let buckets = &mut self.tiers[tier as usize];
        let bucket = Bucket {
            start,
            dirty: false,
            open: false,
            cell,
        };
        match find(buckets, start) {
            Ok(at) => buckets[at] = bucket,
            Err(at) => buckets.insert(at, bucket),
        }
        self.unsummed.insert((tier, tier.total_of(start)));
    }

    /// Buckets that begin in `[from, to)`, with their start.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Cell)> {
        Tier::ALL.into_iter().flat_map(move |tier| {
            let buckets = &self.tiers[tier as usize];
            let first = buckets.partition_point(|bucket| bucket.start < from);
            let end = buckets.partition_point(|bucket| bucket.start < to);
            buckets
                .range(first..end.max(first))
                .map(|bucket| (bucket.start, &bucket.cell))
        })
    }

    /// The same in as few pieces as there are; from `single` on, each bucket by itself.
    pub(crate) fn parts<'s>(
        &'s self,
        from: u64,
        to: u64,
        single: u64,
        mut each: impl FnMut(Part<'s>),
    ) {
        for tier in Tier::ALL {
            let (buckets, totals) = (&self.tiers[tier as usize], &self.totals[tier as usize]);
            let mut at = buckets.partition_point(|bucket| bucket.start < from);
            let end = buckets.partition_point(|bucket| bucket.start < to);
            let mut looked_up = None;
            while at < end {
                let bucket = &buckets[at];
                let whole = tier.total_of(bucket.start);
                if looked_up != Some(whole) {
                    looked_up = Some(whole);
                    let next = whole.saturating_add(tier.total_width());
                    if whole >= from
                        && next <= to.min(single)
                        && let Some(total) = totals.get(&whole)
                    {
                        each(Part::Total(total));
                        at = buckets.partition_point(|bucket| bucket.start < next);
                        continue;
                    }
                }
                each(Part::Bucket(bucket.start, &bucket.cell));
                at += 1;
            }
        }
    }

    /// Start and end of the last bucket that begins in `[from, to)`.
    pub(crate) fn last(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        Tier::ALL.into_iter().find_map(|tier| {
            let buckets = &self.tiers[tier as usize];
            let end = buckets.partition_point(|bucket| bucket.start < to);
            let last = &buckets[end.checked_sub(1)?];
            (last.start >= from).then(|| (last.start, last.start.saturating_add(tier.width())))
        })
    }

    /// Start of the earliest bucket.
    pub(crate) fn first(&self) -> Option<u64> {
        let firsts = self.tiers.iter().filter_map(VecDeque::front);
        firsts.map(|bucket| bucket.start).min()
    }

    /// What changed since the last call; `None` for a bucket that is gone.
    pub(crate) fn take_dirty(&mut self, mut changed: impl FnMut(Tier, u64, Option<&Cell>)) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for (tier, start) in std::mem::take(&mut self.gone) {
            if find(&self.tiers[tier as usize], start).is_err() {
                changed(tier, start, None);
            }
        }
        for tier in Tier::ALL {
            for bucket in &mut self.tiers[tier as usize] {
                if std::mem::take(&mut bucket.dirty) {
                    changed(tier, bucket.start, Some(&bucket.cell));
                }
            }
        }
    }

    pub(crate) fn has_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tiers.iter().all(VecDeque::is_empty)
    }
}
