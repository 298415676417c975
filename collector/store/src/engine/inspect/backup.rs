//! A copy of a data directory that a collector may be writing to.
//!
//! Each file is copied by SQLite (`VACUUM INTO`), as of one moment and without what was freed in it. The files are not
//! copied at one moment, so their order matters:
//!
//! - History first: the flow's last block is then in the copy of a partition, and a start replays what came after.
//! - Then the partitions in order of arrival, then those by trace: what is moved from the first to the second meanwhile
//!   is in one copy at least, and in both at most, which a start puts right.
//! - A partition that was the newest when it was copied, and is not any more, is copied again, so that there is no gap
//!   between it and the next.
//! - The catalog last: without it a copy that was cut off is not taken for a store.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::Connection;

use super::{CATALOG, HISTORY, Inspection, Listing};
use crate::engine::catalog::{Listed, partition_file};
use crate::engine::sqlite::{self, Migrations, int};
use crate::error::{Result, StoreError};

/// Passes over the catalog; each but the first copies what was begun during the one before.
const PASSES: usize = 5;

/// A copy that is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackedUp {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Every block up to this one is in it, as far as it was kept; later ones may be.
    pub last_block: u64,
}

impl Inspection {
    /// Copies the directory to `to`, which is made, or is empty. Needs the space of the original at most.
    ///
    /// What was acknowledged before the call is in the copy. A running collector is not slowed but by the reading; its
    /// newest log grows until its file is copied.
    ///
    /// # Errors
    /// When a file cannot be read or the copy not be written; what there is of it then has no catalog.
    pub async fn back_up(&self, to: &Path) -> Result<BackedUp> {
        make_empty(to)?;
        let last_block = self.checkpoint_block().await?;
        if self.history().is_file() {
            copy(&self.history(), &to.join(HISTORY), sqlite::HISTORY).await?;
        }
        let mut copied: BTreeMap<i64, Copied> = BTreeMap::new();
        let mut listing = self.list().await?;
        for _ in 0..PASSES {
            self.copy_partitions(&listing, to, &mut copied).await?;
            let now = self.list().await?;
            let all = now.partitions.iter().all(|listed| {
                let copied = copied.get(&listed.id);
                copied.is_some_and(|copied| !copied.newest || is_newest(listed, &now))
            });
            listing = now;
            if all {
                break;
            }
        }
        self.write_catalog(to, &copied).await?;
        let mut done = BackedUp {
            last_block,
            ..BackedUp::default()
        };
        for entry in std::fs::read_dir(to).map_err(|source| cannot_write(to, source))? {
            let metadata = entry.and_then(|entry| entry.metadata());
            done.bytes += metadata.map_err(|source| cannot_write(to, source))?.len();
            done.files += 1;
        }
        Ok(done)
    }

    async fn copy_partitions(
        &self,
        listing: &Listing,
        to: &Path,
        copied: &mut BTreeMap<i64, Copied>,
    ) -> Result<()> {
        let mut partitions = listing.partitions.clone();
        partitions.sort_by_key(|listed| (listed.settled, listed.id));
        for listed in partitions {
            let newest = is_newest(&listed, listing);
            if copied
                .get(&listed.id)
                .is_some_and(|copied| newest || !copied.newest)
            {
                continue;
            }
            let (from, target) = (self.partition(&listed), partition_file(to, listed.id));
            if target.exists() {
                std::fs::remove_file(&target).map_err(|source| cannot_write(to, source))?;
            }
            match copy(&from, &target, sqlite::PARTITION).await {
                Ok(()) => {
                    copied.insert(listed.id, Copied { listed, newest });
                }
                // Retired or clustered meanwhile.
                Err(_) if !self.still_has(&listed).await? => {
                    let _ = std::fs::remove_file(&target);
                    copied.remove(&listed.id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The catalog of the copy lists what was copied, and is there at once or not at all.
    async fn write_catalog(&self, to: &Path, copied: &BTreeMap<i64, Copied>) -> Result<()> {
        let part = to.join("catalog.part");
        copy(&self.catalog(), &part, sqlite::CATALOG).await?;
        // Brought to the present format, so that it has all columns.
        let mut connection = sqlite::open_writer(&part, sqlite::CATALOG).await?;
        let write = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM partition")
                .execute(&mut *transaction)
                .await?;
            for Copied { listed, .. } in copied.values() {
                sqlx::query(
                    "INSERT INTO partition (id, opens, closes, settled) VALUES (?, ?, ?, ?)",
                )
                .bind(listed.id)
                .bind(int(listed.opens))
                .bind(int(listed.closes))
                .bind(listed.settled)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            // One file, so that it can be renamed.
            sqlx::query("PRAGMA journal_mode = DELETE")
                .execute(&mut connection)
                .await?;
            connection.close().await
        };
        write.await.map_err(|source| StoreError::Copy {
            file: self.catalog(),
            source,
        })?;
        let rename = || {
            std::fs::rename(&part, to.join(CATALOG))?;
            File::open(to)?.sync_all()
        };
        rename().map_err(|source| cannot_write(to, source))
    }
}

/// A partition in the copy.
struct Copied {
    listed: Listed,
    /// Spans arrived in it when it was copied.
    newest: bool,
}

fn is_newest(listed: &Listed, listing: &Listing) -> bool {
    let arrivals = listing.partitions.iter().filter(|other| !other.settled);
    !listed.settled && arrivals.map(|other| other.id).max() == Some(listed.id)
}

fn make_empty(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|source| cannot_write(to, source))?;
    let mut entries = std::fs::read_dir(to).map_err(|source| cannot_write(to, source))?;
    if entries.next().is_some() {
        return Err(StoreError::NotEmpty { dir: to.to_owned() });
    }
    Ok(())
}

fn cannot_write(dir: &Path, source: std::io::Error) -> StoreError {
    StoreError::Directory {
        dir: dir.to_owned(),
        source,
    }
}

/// Copies one file as of one moment, and waits until it is on the disk.
async fn copy(from: &Path, to: &Path, migrations: Migrations) -> Result<()> {
    let (mut connection, _) = sqlite::open_reader(from, migrations).await?;
    let copied = sqlx::query("VACUUM INTO ?")
        .bind(to.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    let _ = connection.close().await;
    copied.map_err(|source| StoreError::Copy {
        file: from.to_owned(),
        source,
    })?;
    let file = PathBuf::from(to);
    tokio::task::spawn_blocking(move || File::open(&file)?.sync_all())
        .await
        .map_err(StoreError::Background)?
        .map_err(|source| cannot_write(to, source))
}
