//! Merging: the segments of a settled partition's index become fewer, so that a look-up asks in few places.
//!
//! Clustering adds a segment for each partition of arrivals. Eight neighbours of a level become one of the next, as in
//! a log-structured merge tree: a file of 64 segments has one or two places to look in instead of 64, and each entry
//! was written twice more for it, in order.
//!
//! - The entries are written under a number that no segment has, a few megabytes a transaction. The last transaction
//!   puts the new segment in the place of the old ones: a reader finds a key in one or in the others. What a crash
//!   leaves under that number is removed by the next attempt, which takes the same number.
//! - Memory is a bucket of each of the eight.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row, Sqlite, Transaction};

use super::cluster::{Pace, cannot_cluster};
use super::partition::{Bucket, Partition, insert_entries};
use super::sqlite::{self, int, unsigned};
use super::store::{Inner, Store};
use crate::block::Corrupt;
use crate::block::fingerprint::{Fingerprint, Kind};
use crate::block::runs::{BucketWriter, entries};
use crate::error::{Result, StoreError};

/// So many neighbours become one.
const FAN_IN: usize = 8;
/// Bytes of a transaction: more would stay in the log until it is moved.
const COMMIT_BYTES: usize = 4 << 20;

/// A segment to be merged.
#[derive(Clone, Copy, Debug)]
struct Source {
    id: i64,
    first_block: u64,
    last_block: u64,
    spans: u64,
    attributes: bool,
    level: i64,
}

impl Store {
    /// Merges what can be merged of a settled partition. The caller is the only one who writes to it.
    pub(super) async fn merge(&self, partition: &Partition, pace: Pace) -> Result<()> {
        if partition.unmergeable.load(Ordering::Acquire) {
            return Ok(());
        }
        let (inner, file) = (Arc::clone(&self.inner), partition.file.clone());
        let merged = self
            .on_a_thread(pace, "merge", async move || {
                let mut connection = sqlite::open_writer(&file, sqlite::PARTITION).await?;
                let merged = merge_all(&inner, &mut connection).await;
                sqlite::close_writer(connection).await;
                merged
            })
            .await?;
        if let Err(error) = &merged
            && error.is_damage()
        {
            partition.unmergeable.store(true, Ordering::Release);
        }
        merged
    }
}

async fn merge_all(inner: &Inner, connection: &mut SqliteConnection) -> Result<()> {
    while let Some(sources) = next(connection).await.map_err(cannot_cluster)? {
        merge_one(inner, connection, &sources).await?;
    }
    Ok(())
}

/// The oldest neighbours of a level that are enough.
async fn next(connection: &mut SqliteConnection) -> sqlx::Result<Option<Vec<Source>>> {
    let rows = sqlx::query(
        "SELECT id, first_block, last_block, spans, attributes, level FROM segment ORDER BY first_block",
    )
    .fetch_all(connection)
    .await?;
    let sources: Vec<Source> = rows
        .iter()
        .map(|row| Source {
            id: row.get(0),
            first_block: unsigned(row.get(1)),
            last_block: unsigned(row.get(2)),
            spans: unsigned(row.get(3)),
            attributes: row.get(4),
            level: row.get(5),
        })
        .collect();
    let mut levels = sources.chunk_by(|a, b| a.level == b.level);
    let enough = levels.find(|level| level.len() >= FAN_IN);
    Ok(enough.map(|level| level[..FAN_IN].to_vec()))
}

async fn merge_one(
    inner: &Inner,
    connection: &mut SqliteConnection,
    sources: &[Source],
) -> Result<()> {
    let id: i64 = sqlx::query_scalar("SELECT min(0, coalesce(min(id), 0)) - 1 FROM segment")
        .fetch_one(&mut *connection)
        .await
        .map_err(cannot_cluster)?;
    delete_entries(connection, id)
        .await
        .map_err(cannot_cluster)?;
    let base = sources.first().map_or(0, |source| source.first_block);
    for kind in Kind::ALL {
        let mut cursors = Vec::with_capacity(sources.len());
        for source in sources {
            let mut cursor = Cursor::new(source, kind);
            cursor.fill(connection).await?;
            cursors.push(cursor);
        }
        let mut writer = BucketWriter::default();
        let mut written: Vec<Bucket> = Vec::new();
        let mut bytes = 0;
        loop {
            // The older one first, where two have a key: its blocks have the lower numbers.
            let first = cursors
                .iter()
                .enumerate()
                .filter_map(|(i, cursor)| Some((cursor.peek()?.0, i)))
                .min();
            let Some((_, first)) = first else { break };
            let cursor = &mut cursors[first];
            if let Some((fingerprint, block)) = cursor.take() {
                let block = u32::try_from(block.saturating_sub(base)).unwrap_or(u32::MAX);
                let full = writer.push(fingerprint, block);
                written.extend(full.map(|(lowest, entries)| {
                    bytes += entries.len();
                    (kind, lowest, entries)
                }));
            }
            if cursor.peek().is_none() {
                inner.go_on()?;
                cursor.fill(connection).await?;
            }
            if bytes >= COMMIT_BYTES {
                write(connection, id, &written)
                    .await
                    .map_err(cannot_cluster)?;
                written.clear();
                bytes = 0;
            }
        }
        let last = writer.finish();
        written.extend(last.map(|(lowest, entries)| (kind, lowest, entries)));
        write(connection, id, &written)
            .await
            .map_err(cannot_cluster)?;
    }
    replace(connection, id, sources)
        .await
        .map_err(cannot_cluster)
}

async fn delete_entries(connection: &mut SqliteConnection, segment: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM ix WHERE segment = ?")
        .bind(segment)
        .execute(connection)
        .await
        .map(drop)
}

async fn write(
    connection: &mut SqliteConnection,
    segment: i64,
    rows: &[Bucket],
) -> sqlx::Result<()> {
    let mut transaction = begin(connection).await?;
    insert_entries(&mut transaction, segment, rows).await?;
    transaction.commit().await
}

async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<Transaction<'_, Sqlite>> {
    connection.begin_with("BEGIN IMMEDIATE").await
}

/// From here on a look-up reads the new segment.
async fn replace(
    connection: &mut SqliteConnection,
    id: i64,
    sources: &[Source],
) -> sqlx::Result<()> {
    let mut transaction = begin(connection).await?;
    for source in sources {
        sqlx::query("DELETE FROM segment WHERE id = ?")
            .bind(source.id)
            .execute(&mut *transaction)
            .await?;
        delete_entries(&mut transaction, source.id).await?;
    }
    let first = sources.first().map_or(0, |source| source.first_block);
    let last = sources.last().map_or(0, |source| source.last_block);
    let level = sources.first().map_or(0, |source| source.level);
    sqlx::query(
        "INSERT INTO segment (id, first_block, last_block, spans, attributes, level) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(int(first))
    .bind(int(last))
    .bind(int(sources.iter().map(|source| source.spans).sum()))
    .bind(sources.iter().all(|source| source.attributes))
    .bind(level + 1)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Reads the entries of a kind of one segment, a bucket at a time.
struct Cursor {
    segment: i64,
    first_block: u64,
    kind: Kind,
    /// The last bucket read and the last fingerprint in it; `None` before the first.
    read: Option<(Fingerprint, Fingerprint)>,
    /// Entries of it, the next one last.
    left: Vec<(Fingerprint, u64)>,
}

impl Cursor {
    const fn new(source: &Source, kind: Kind) -> Self {
        Self {
            segment: source.id,
            first_block: source.first_block,
            kind,
            read: None,
            left: Vec::new(),
        }
    }

    fn peek(&self) -> Option<(Fingerprint, u64)> {
        self.left.last().copied()
    }

    fn take(&mut self) -> Option<(Fingerprint, u64)> {
        self.left.pop()
    }

    /// Reads the next bucket, if there is one.
    async fn fill(&mut self, connection: &mut SqliteConnection) -> Result<()> {
        let row = sqlx::query(
            "SELECT bucket, entries FROM ix WHERE segment = ? AND kind = ? AND bucket > ? ORDER BY bucket LIMIT 1",
        )
        .bind(self.segment)
        .bind(self.kind as u8)
        .bind(self.read.map_or(-1, |(bucket, _)| i64::from(bucket)))
        .fetch_optional(connection)
        .await
        .map_err(cannot_cluster)?;
        let Some(row) = row else { return Ok(()) };
        let bucket = row.try_get(0).map_err(cannot_cluster)?;
        let packed: &[u8] = row.try_get(1).map_err(cannot_cluster)?;
        let read: Result<Vec<_>, Corrupt> = entries(packed, self.first_block).collect();
        let read = read.and_then(|read| {
            let (Some(first), Some(last)) = (read.first(), read.last()) else {
                return Err(Corrupt("a bucket is empty"));
            };
            // A bucket has whole fingerprints, and the next one higher ones.
            if first.0 < bucket || self.read.is_some_and(|(_, before)| first.0 <= before) {
                return Err(Corrupt("a bucket has another's entries"));
            }
            Ok(((bucket, last.0), read))
        });
        let (read, mut left) = read.map_err(|source| StoreError::DamagedIndex {
            segment: self.first_block,
            source,
        })?;
        left.reverse();
        self.left = left;
        self.read = Some(read);
        Ok(())
    }
}
