//! All series, by what they count.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater_model::UnixNanos;

use crate::cell::Cell;
use crate::key::Key;
use crate::names::{RawKey, ServiceId, Used};
use crate::series::{Delta, Series, Tier, Widths};

/// A series' number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SeriesId(u32);

/// A series and what it counts.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    raw: RawKey,
    pub(crate) key: Key,
    pub(crate) series: Series,
}

/// Series, each found by its key or by its number.
#[derive(Clone, Default, Debug)]
pub(crate) struct Aggregates {
    all: Vec<Option<Aggregate>>,
    free: Vec<u32>,
    index: HashMap<RawKey, SeriesId, RandomState>,
    /// That of a service's own spans, by the service's number: every span asks.
    seen: Vec<Option<SeriesId>>,
}

impl Aggregates {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, raw: RawKey) -> Option<SeriesId> {
        if let RawKey::Seen(service) = raw {
            return self.seen(service);
        }
        self.index.get(&raw).copied()
    }

    pub(crate) fn seen(&self, service: ServiceId) -> Option<SeriesId> {
        *self.seen.get(service.0 as usize)?
    }

    /// Makes an empty series, unless there is one.
    pub(crate) fn make(&mut self, raw: RawKey, key: Key) -> SeriesId {
        if let Some(found) = self.find(raw) {
            return found;
        }
        let aggregate = Some(Aggregate {
            raw,
            key,
            series: Series::default(),
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.all[id as usize] = aggregate;
                SeriesId(id)
            }
            None => {
                self.all.push(aggregate);
                SeriesId(self.all.len() as u32 - 1)
            }
        };
        self.index.insert(raw, id);
        if let RawKey::Seen(service) = raw {
            let at = service.0 as usize;
            if self.seen.len() <= at {
                self.seen.resize(at + 1, None);
            }
            self.seen[at] = Some(id);
        }
        id
    }

    fn series(&mut self, id: SeriesId) -> Option<&mut Series> {
        Some(&mut self.all.get_mut(id.0 as usize)?.as_mut()?.series)
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Aggregate> {
        self.all.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn add(
        &mut self,
        id: SeriesId,
        at: UnixNanos,
        delta: &Delta,
        took_ns: u64,
        widths: &Widths,
    ) {
        if let Some(series) = self.series(id) {
            series.add(at, delta, took_ns, widths);
        }
    }

    pub(crate) fn subtract(
        &mut self,
        id: SeriesId,
        at: UnixNanos,
        delta: &Delta,
        took_ns: u64,
        widths: &Widths,
    ) {
        if let Some(series) = self.series(id) {
            series.subtract(at, delta, took_ns, widths);
        }
    }

    /// Puts a stored bucket back.
    pub(crate) fn put(&mut self, id: SeriesId, tier: Tier, bucket: u64, cell: Cell) {
        if let Some(series) = self.series(id) {
            series.put(tier, bucket, cell);
        }
    }

    /// Rolls all up that is too old for its width.
    pub(crate) fn roll(&mut self, widths: &Widths) {
        for aggregate in self.iter_mut() {
            aggregate.series.roll(widths);
        }
    }

    /// Bytes that history takes, nearly.
    pub(crate) fn size(&self) -> usize {
        self.iter().map(|aggregate| aggregate.series.size()).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Aggregate> + Clone {
        self.all.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Aggregate> {
        self.all.iter_mut().flatten()
    }

    /// Series by number that nothing refers to yet: see [`Aggregates::sweep`].
    pub(crate) fn unused(&self) -> Vec<bool> {
        vec![false; self.all.len()]
    }

    pub(crate) fn mark(used: &mut [bool], id: SeriesId) {
        if let Some(used) = used.get_mut(id.0 as usize) {
            *used = true;
        }
    }

    /// Forgets the series that hold nothing, that the store knows nothing of, and that no span was counted in; says
    /// which names the others use.
    pub(crate) fn sweep(&mut self, counted_in: &[bool], names: &mut Used) {
        for (at, slot) in self.all.iter_mut().enumerate() {
            let Some(aggregate) = slot else { continue };
            let held = counted_in.get(at).copied().unwrap_or(false)
                || !aggregate.series.is_empty()
                || aggregate.series.has_dirty();
            if held {
                names.key(aggregate.raw);
                continue;
            }
            self.index.remove(&aggregate.raw);
            if let RawKey::Seen(service) = aggregate.raw
                && let Some(seen) = self.seen.get_mut(service.0 as usize)
            {
                *seen = None;
            }
            *slot = None;
            self.free.push(at as u32);
        }
    }
}
