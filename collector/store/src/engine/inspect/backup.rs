//! A copy of a data directory that a collector may be writing to.
//!
//! Each file is copied by SQLite (`VACUUM INTO`), as of one moment and without what was freed in it. The files are not
//! copied at one moment, so their order matters:
//!
//! - History first: the flow's last block is then in the copy of a partition, and a start replays what came after.
//! - Then the partitions that are listed after that, in order of arrival. What arrives in a later one arrived after the
//!   copy was begun, and is not in it: the copy ends within the last of these.
//! - Then those by trace: what is moved meanwhile is in one copy at least, and in both at most, which a start puts right. Where
//!   one in order of arrival was gone when its turn came, the file that it was moved to may have been begun since: those that the
//!   catalog has by then are copied too. Each has all that was moved before it was begun, so there is no gap.
//! - The catalog last: without it a copy that was cut off is not taken for a store.
//!
//! A file that is damaged is copied byte by byte, so that whoever may know how to save something of it has it in the copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::Connection;

use super::{CATALOG, Finding, HISTORY, Inspection, Listing};
use crate::engine::catalog::{Listed, partition_file};
use crate::engine::retain::files;
use crate::engine::sqlite::{self, Migrations, int};
use crate::error::{Result, StoreError};

/// A copy that is whole, but for what is damaged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackedUp {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Every block up to this one is in it, as far as it was kept; later ones may be. 0 when the history does not say.
    pub last_block: u64,
    /// Files that SQLite cannot copy, since they are damaged, and what was done instead; empty when all is well.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Copies the directory to `to`, which is made, or is empty. Needs the space of the original at most.
    ///
    /// What was acknowledged before the call is in the copy. A running collector is not slowed but by the reading; its
    /// newest log grows until its file is copied. What is damaged is in the answer, and no error.
    ///
    /// # Errors
    /// When the catalog cannot be read or the copy not be written; what there is of it then has no catalog.
    pub async fn back_up(&self, to: &Path) -> Result<BackedUp> {
        make_empty(to)?;
        let mut copying = Copying::new(self, to);
        let last_block = copying.history().await?;
        let listing = self.list().await?;
        let moved = copying.arrivals(&listing).await?;
        copying.settled(&listing).await?;
        if moved {
            copying.settled(&self.list().await?).await?;
        }
        copying.write_catalog().await?;
        let mut done = BackedUp {
            last_block,
            findings: copying.findings,
            ..BackedUp::default()
        };
        for entry in std::fs::read_dir(to).map_err(|source| cannot_write(to, source))? {
            let metadata = entry.and_then(|entry| entry.metadata());
            done.bytes += metadata.map_err(|source| cannot_write(to, source))?.len();
            done.files += 1;
        }
        Ok(done)
    }
}

/// A copy on its way.
struct Copying<'a> {
    from: &'a Inspection,
    to: &'a Path,
    copied: BTreeMap<i64, Listed>,
    findings: Vec<Finding>,
}

impl<'a> Copying<'a> {
    fn new(from: &'a Inspection, to: &'a Path) -> Self {
        Self {
            from,
            to,
            copied: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// Copies the history, and gives the last block that its flow has seen.
    async fn history(&mut self) -> Result<u64> {
        let (from, target) = (self.from.history(), self.to.join(HISTORY));
        if !from.is_file() {
            return Ok(0);
        }
        let last_block = match self.from.checkpoint_block().await {
            Err(error) if error.is_damage() => 0,
            read => read?,
        };
        match copy(&from, &target, sqlite::HISTORY).await {
            Err(error) if error.is_damage() => {
                let finding = Finding::of_file(&from, &error);
                self.as_it_is(&from, &target, sqlite::HISTORY, finding)
                    .await;
            }
            copied => copied?,
        }
        Ok(last_block)
    }

    /// Copies those in order of arrival; true when one of them was gone.
    async fn arrivals(&mut self, listing: &Listing) -> Result<bool> {
        let mut gone = false;
        for listed in listing.partitions.iter().filter(|listed| !listed.settled) {
            gone |= !self.partition(listed).await?;
        }
        Ok(gone)
    }

    /// Copies those by trace that are not copied yet.
    async fn settled(&mut self, listing: &Listing) -> Result<()> {
        for listed in listing.partitions.iter().filter(|listed| listed.settled) {
            if !self.copied.contains_key(&listed.id) {
                self.partition(listed).await?;
            }
        }
        Ok(())
    }

    /// Copies a partition; false when it was retired or clustered meanwhile.
    async fn partition(&mut self, listed: &Listed) -> Result<bool> {
        let (from, target) = (
            self.from.partition(listed),
            partition_file(self.to, listed.id),
        );
        if let Err(error) = copy(&from, &target, sqlite::PARTITION).await {
            remove(&target);
            let Some(finding) = self.from.unread(listed, error).await? else {
                return Ok(false);
            };
            let there = self.as_it_is(&from, &target, sqlite::PARTITION, finding);
            if !there.await {
                return Ok(true);
            }
        }
        self.copied.insert(listed.id, *listed);
        Ok(true)
    }

    /// Copies a damaged file as it is, and says so; false when even that fails, and it is left out.
    async fn as_it_is(
        &mut self,
        from: &Path,
        to: &Path,
        migrations: Migrations,
        finding: Finding,
    ) -> bool {
        remove(to);
        let copied = copy_bytes(from, to, migrations).await;
        let what = match &copied {
            Ok(()) => format!("copied as it is, since it is damaged: {}", finding.what),
            Err(cause) => {
                remove(to);
                format!("left out: {}: {cause}", finding.what)
            }
        };
        self.findings.push(Finding { what, ..finding });
        copied.is_ok()
    }

    /// The catalog of the copy lists what was copied, and is there at once or not at all.
    async fn write_catalog(&self) -> Result<()> {
        let to = self.to;
        let part = to.join("catalog.part");
        copy(&self.from.catalog(), &part, sqlite::CATALOG).await?;
        // Brought to the present format, so that it has all columns.
        let mut connection = sqlite::open_writer(&part, sqlite::CATALOG).await?;
        let write = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM partition")
                .execute(&mut *transaction)
                .await?;
            for listed in self.copied.values() {
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
            file: self.from.catalog(),
            source,
        })?;
        let rename = || {
            std::fs::rename(&part, to.join(CATALOG))?;
            File::open(to)?.sync_all()
        };
        rename().map_err(|source| cannot_write(to, source))
    }
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

/// Copies a database and its log byte by byte.
async fn copy_bytes(from: &Path, to: &Path, migrations: Migrations) -> std::io::Result<()> {
    // As long as one reads, the log is not begun anew, and nothing is moved into the file that it does not have: the two
    // belong together. Who cannot read it cannot write to it either.
    let mut reader = sqlite::open_reader(from, migrations).await.ok();
    if let Some((connection, _)) = &mut reader {
        for statement in ["BEGIN", "SELECT count(*) FROM sqlite_schema"] {
            let _ = sqlx::query(statement).execute(&mut *connection).await;
        }
    }
    let [file, log, _] = files(from);
    let [to, to_log, _] = files(to);
    let copied = tokio::task::spawn_blocking(move || {
        std::fs::copy(&file, &to)?;
        File::open(&to)?.sync_all()?;
        if log.is_file() {
            std::fs::copy(&log, &to_log)?;
            File::open(&to_log)?.sync_all()?;
        }
        Ok(())
    });
    let copied = copied.await.unwrap_or_else(|error| Err(error.into()));
    if let Some((connection, _)) = reader {
        let _ = connection.close().await;
    }
    copied
}

/// Removes what there is of a copy that failed. Where that fails too, no catalog lists it.
fn remove(file: &Path) {
    for file in files(file) {
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Copying;
    use crate::engine::{Inspection, Store};
    use crate::options::Options;
    use crate::spans::{SpanReader, SpanWriter};
    use crate::testing::{at, batch, origin, plain, trace_id};

    fn options() -> Options {
        Options {
            partition_spans: 20,
            seal_spans: 10,
            block_spans: 4,
            ..Options::default()
        }
    }

    /// Commits of one trace of five spans.
    async fn write(store: &Store, traces: std::ops::Range<u64>) {
        for n in traces {
            let spans: Vec<_> = (0..5)
                .map(|i| (origin("shop"), plain(n, i, at(n))))
                .collect();
            store.write(&[batch(&spans)], at(n)).await.unwrap();
        }
    }

    /// Writes by trace what is not in the newest file.
    async fn cluster(store: &Store) {
        let last = store.last_block();
        store.history().save_flow(&[], b"", last).await.unwrap();
        store.settle().await.unwrap();
    }

    /// How many of the first traces are there; none may be behind one that is not.
    async fn traces_of(copy: &Path) -> u64 {
        let checked = Inspection::new(copy).unwrap().check().await.unwrap();
        assert_eq!(checked.findings, []);
        let store = Store::open(copy, options(), at(0)).await.unwrap();
        let (mut there, mut gap) = (0, false);
        for n in 0..100 {
            let found = store.trace(trace_id(n), 100).await.unwrap().spans.len();
            assert!(found == 0 || (found == 5 && !gap), "trace {n}: {found}");
            gap |= found == 0;
            there += u64::from(found > 0);
        }
        store.close().await;
        there
    }

    #[tokio::test]
    async fn what_is_clustered_at_any_step_of_a_backup_is_in_it_without_a_gap() {
        for (step, first) in (0..4).flat_map(|step| [(step, 10), (step, 30)]) {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), options(), at(0)).await.unwrap();
            write(&store, 0..10).await;
            // With a file by trace that the later spans are moved to, and without one.
            if first == 30 {
                cluster(&store).await;
            }
            write(&store, 10..first).await;
            let inspection = Inspection::new(dir.path()).unwrap();
            let copy = tempfile::tempdir().unwrap();
            let mut copying = Copying::new(&inspection, copy.path());
            copying.history().await.unwrap();
            // The newest is closed, and others after it, and all of them are moved.
            let goes_on = async |now: u64| {
                if now == step {
                    write(&store, first..first + 20).await;
                    cluster(&store).await;
                }
            };
            let listing = inspection.list().await.unwrap();
            goes_on(0).await;
            let moved = copying.arrivals(&listing).await.unwrap();
            assert_eq!(moved, step == 0);
            goes_on(1).await;
            copying.settled(&listing).await.unwrap();
            goes_on(2).await;
            if moved {
                let now = inspection.list().await.unwrap();
                goes_on(3).await;
                copying.settled(&now).await.unwrap();
            }
            copying.write_catalog().await.unwrap();
            assert_eq!(copying.findings, []);
            store.close().await;
            let there = traces_of(copy.path()).await;
            assert!(there >= first, "step {step}: {there} of {first}");
        }
    }
}
