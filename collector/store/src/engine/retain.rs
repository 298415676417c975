//! Retention: whole partitions go, by age and by size, without a row being touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;

use super::partition::Partition;
use super::store::Store;
use crate::error::{Result, StoreError};

/// What retention removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retired {
    /// Partitions.
    pub partitions: usize,
    /// Files: databases and their logs.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A reader in the midst of a file is waited for this long; then the file goes, and the reader ends on its own copy.
const READERS_FINISH: Duration = Duration::from_secs(5);

impl Store {
    /// Removes partitions whose last arrival is older than the retention, then the oldest ones while all span files
    /// take more than the retention's bytes, or while less of the disk is free than must be; and lag history that is
    /// too old or too large. Cheap when there is nothing to do.
    ///
    /// # Errors
    /// When a file could not be removed; a later call, or the next start, goes on from there.
    pub async fn retain(&self, now: UnixNanos) -> Result<Retired> {
        let mut retired = Retired::default();
        // Files first: on a full disk nothing can be deleted from a database.
        let kept = self.retain_partitions(now, &mut retired).await;
        if retired.partitions > 0 {
            tracing::info!(
                partitions = retired.partitions,
                bytes = retired.bytes,
                "retention removed partitions"
            );
        }
        kept?;
        self.history().retain(now).await?;
        Ok(retired)
    }

    async fn retain_partitions(&self, now: UnixNanos, retired: &mut Retired) -> Result<()> {
        self.remove_left().await?;
        loop {
            let partitions = self.inner.partitions();
            let Some(oldest) = partitions.first() else {
                break;
            };
            let is_last = partitions.len() == 1;
            let too_much = !is_last && (self.is_too_large(&partitions) || self.lacks_room());
            if self.has_expired(&partitions, now) || too_much {
                self.remove(oldest, is_last, now, retired).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Whether all spans of the first partition are too old.
    ///
    /// Partitions stand in the order in which they were begun, whatever the clock said then. One that ends later than
    /// any that is begun now was begun by a clock that ran ahead: its spans arrived before the end of the next one that
    /// was not, so it still goes. Otherwise the next one tells nothing: it may be of a clock that had gone back.
    fn has_expired(&self, partitions: &[Arc<Partition>], now: UnixNanos) -> bool {
        let options = &self.inner.options;
        let latest = now.0.saturating_add(options.width_ns());
        let mut closes = partitions.iter().map(|partition| partition.listed.closes);
        let ended = closes.find(|closes| *closes <= latest);
        ended.is_some_and(|ended| UnixNanos(ended) + options.retention <= now)
    }

    fn is_too_large(&self, partitions: &[Arc<Partition>]) -> bool {
        let sizes = partitions.iter().map(|partition| size_of(&partition.file));
        sizes.sum::<u64>() > self.inner.options.retention_bytes
    }

    async fn remove(
        &self,
        partition: &Arc<Partition>,
        is_last: bool,
        now: UnixNanos,
        retired: &mut Retired,
    ) -> Result<()> {
        let inner = &self.inner;
        let _not_while_sealing = inner.sealing.lock().await;
        {
            let mut writer = inner.writer.lock().await;
            if is_last {
                // A write may have begun a partition, or used this one, while this waited.
                let partitions = inner.partitions();
                if partitions.len() > 1 || !self.has_expired(&partitions, now) {
                    return Ok(());
                }
                writer.connection = None;
            }
            let mut catalog = inner.catalog.lock().await;
            let listed = partition.listed.id;
            catalog.retire(listed, partition.facts().last_block).await?;
            let mut partitions = inner.partitions.write();
            let mut list = Vec::clone(&partitions);
            list.retain(|other| !Arc::ptr_eq(other, partition));
            *partitions = Arc::new(list);
        }
        partition.retire();
        let _ = tokio::time::timeout(READERS_FINISH, partition.readers.close()).await;
        let (files, bytes) = remove_files(&partition.file)?;
        retired.partitions += 1;
        retired.files += files;
        retired.bytes += bytes;
        let mut catalog = inner.catalog.lock().await;
        catalog.forget(partition.listed.id).await
    }
}

/// A database with its log and the log's index.
pub(super) fn files(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// Bytes of a database with its log.
pub(super) fn size_of(file: &Path) -> u64 {
    let sizes = files(file).into_iter();
    sizes
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// Removes the files that are there; gives their number and bytes.
pub(super) fn remove_files(file: &Path) -> Result<(usize, u64)> {
    let (mut removed, mut bytes) = (0, 0);
    for file in files(file) {
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        match std::fs::remove_file(&file) {
            Ok(()) => {
                removed += 1;
                bytes += len;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Remove { file, source }),
        }
    }
    Ok((removed, bytes))
}
