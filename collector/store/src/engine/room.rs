//! Room on the disk: how much there is, how much must stay free, and how long it will last.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_model::UnixNanos;

use super::partition::Partition;
use super::store::Store;
use crate::error::{Result, StoreError};

/// A rate is said of the last day, and only after so long.
const DAY: Duration = Duration::from_secs(24 * 3_600);
const RATE_FROM: Duration = Duration::from_secs(10 * 60);
/// Below this part of the floor no span is taken: what is left is for histories and for SQLite to tidy up.
const REFUSED_BELOW: u64 = 4;

/// A file system's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Disk {
    /// That this process may still write.
    pub(super) free: u64,
    pub(super) total: u64,
}

/// `None` when the file system does not say.
pub(super) fn disk(dir: &Path) -> Option<Disk> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(Disk {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        total: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}

/// When something ends what the store keeps, should spans go on coming as they did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Bytes of spans a day, as of the last day, or of the time since the first span, where that is shorter.
    pub bytes_per_day: u64,
    /// What comes first.
    pub limit: Limit,
    /// When.
    pub at: UnixNanos,
}

/// What ends what the store keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The oldest spans become too old.
    Age,
    /// The span files become too large.
    Size,
    /// The disk has no more than must stay free. Nothing is lost of it by itself: the oldest spans go.
    Disk,
}

impl Store {
    /// Bytes that must stay free: as the options say, else the lesser of 1 GiB and a 50th of the disk.
    pub(super) fn floor(&self, disk: Disk) -> u64 {
        let floor = self.inner.options.min_free_bytes;
        floor.unwrap_or_else(|| (1 << 30).min(disk.total / 50))
    }

    /// Whether less is free than must be.
    pub(super) fn lacks_room(&self) -> bool {
        disk(&self.inner.dir).is_some_and(|disk| disk.free < self.floor(disk))
    }

    /// Whether clustering a partition leaves room for senders: until its file goes, its spans take as much again in another,
    /// and as much in that one's log.
    ///
    /// Below the floor it may come for that long: where retention keeps the disk at its floor, there is never more room than
    /// one file gives, and nothing would be clustered.
    pub(super) fn has_room_to_cluster(&self, partition: &Partition) -> bool {
        let needed = super::retain::size_of(&partition.file).saturating_mul(2);
        disk(&self.inner.dir)
            .is_none_or(|disk| disk.free >= needed.saturating_add(self.floor(disk) / REFUSED_BELOW))
    }

    /// Before a write: begins to make room where there is little, and refuses where there is next to none.
    pub(super) fn look_for_room(&self, now: UnixNanos) -> Result<()> {
        let Some(disk) = disk(&self.inner.dir) else {
            return Ok(());
        };
        let floor = self.floor(disk);
        if disk.free >= floor {
            return Ok(());
        }
        if !self.inner.making_room.swap(true, Ordering::AcqRel) {
            let store = self.clone();
            tokio::spawn(async move {
                if let Err(error) = store.retain(now).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "cannot make room on the disk");
                }
                store.inner.making_room.store(false, Ordering::Release);
            });
        }
        if disk.free < floor / REFUSED_BELOW {
            return Err(StoreError::NoRoom {
                free: disk.free,
                floor,
            });
        }
        Ok(())
    }

    /// When retention or the disk ends what is kept. `None` while too little is known: fewer spans than of ten
    /// minutes, or none in the last day.
    #[must_use]
    pub fn forecast(&self, now: UnixNanos) -> Option<Forecast> {
        let partitions = self.inner.partitions();
        let facts: Vec<_> = partitions
            .iter()
            .map(|partition| (partition.facts(), super::retain::size_of(&partition.file)))
            .filter(|(facts, _)| facts.blocks > 0)
            .collect();
        let all: u64 = facts.iter().map(|(_, bytes)| bytes).sum();
        let oldest = facts.iter().map(|(facts, _)| facts.first_arrival).min()?;
        let since = (now - DAY).0;
        let recent = facts.iter().filter(|(facts, _)| facts.last_arrival > since);
        let bytes: u64 = recent.clone().map(|(_, bytes)| bytes).sum();
        let first = recent.map(|(facts, _)| facts.first_arrival).min()?;
        let time = now.since(UnixNanos(first));
        if time < RATE_FROM.as_nanos() as u64 {
            return None;
        }
        let per_day = (bytes as f64 * DAY.as_nanos() as f64 / time as f64) as u64;
        let options = &self.inner.options;
        // In a year's time nobody knows.
        let after = |bytes: u64| {
            let days = (bytes as f64 / (per_day.max(1)) as f64).min(3_650.0);
            now + DAY.mul_f64(days)
        };
        let size = after(options.retention_bytes.saturating_sub(all));
        let age = (UnixNanos(oldest) + options.retention).max(now);
        let disk = disk(&self.inner.dir);
        let disk = disk.map(|disk| after(disk.free.saturating_sub(self.floor(disk))));
        let limits = [
            Some((age, Limit::Age)),
            Some((size, Limit::Size)),
            disk.map(|at| (at, Limit::Disk)),
        ];
        let (at, limit) = limits.into_iter().flatten().min_by_key(|(at, _)| *at)?;
        Some(Forecast {
            bytes_per_day: per_day,
            limit,
            at,
        })
    }
}
