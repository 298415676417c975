//! A look at a data directory from outside: checks it, measures it, takes a trace or a copy out of it.
//!
//! Reads only, without the directory's lock, so a collector may run on it meanwhile. What the collector commits, moves
//! or removes during the look is either seen whole or not at all: blocks never change, and a file that is gone when it
//! is opened is looked up in the catalog again.

mod backup;
mod check;
mod export;
mod usage;

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::catalog::{Listed, partition_file};
use super::sqlite::{self, int, unsigned};
use crate::error::{Result, StoreError};

pub use backup::BackedUp;
pub use check::{Checked, Finding};
pub use export::{Exported, TracePart};
pub use usage::{FileUsage, SpansUsage, Usage};

const CATALOG: &str = "catalog.db";
const HISTORY: &str = "history.db";

/// A data directory that is looked at. Holds no file open between two calls.
#[derive(Clone, Debug)]
pub struct Inspection {
    dir: PathBuf,
}

/// What the catalog says.
struct Listing {
    /// Those that are not being removed, as they were begun.
    partitions: Vec<Listed>,
    /// Highest block of what was removed.
    retired_block: u64,
}

impl Inspection {
    /// Looks whether there is a store in `dir`.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(dir: &Path) -> Result<Self> {
        if !dir.join(CATALOG).is_file() {
            return Err(StoreError::NoStore {
                dir: dir.to_owned(),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    fn catalog(&self) -> PathBuf {
        self.dir.join(CATALOG)
    }

    fn history(&self) -> PathBuf {
        self.dir.join(HISTORY)
    }

    fn partition(&self, listed: &Listed) -> PathBuf {
        partition_file(&self.dir, listed.id)
    }

    /// Reads the catalog. One of an earlier version is read as it is.
    async fn list(&self) -> Result<Listing> {
        let (mut connection, format) =
            sqlite::open_reader(&self.catalog(), sqlite::CATALOG).await?;
        let listing = read_catalog(&mut connection, format).await;
        let _ = connection.close().await;
        listing.map_err(|source| StoreError::Catalog {
            step: "list partitions",
            source,
        })
    }

    /// Whether the catalog still has a partition.
    async fn still_has(&self, listed: &Listed) -> Result<bool> {
        let now = self.list().await?;
        Ok(now.partitions.iter().any(|other| other.id == listed.id))
    }

    /// What it means that a partition cannot be read: a finding where it is damaged or missing, and nothing where it was
    /// removed meanwhile.
    async fn unread(&self, listed: &Listed, error: StoreError) -> Result<Option<Finding>> {
        if !self.still_has(listed).await? {
            return Ok(None);
        }
        let file = self.partition(listed);
        if file.is_file() && !error.is_damage() {
            return Err(error);
        }
        Ok(Some(Finding::of_file(&file, &error)))
    }

    /// The last block that the flow's checkpoint has in it; 0 when there is none.
    async fn checkpoint_block(&self) -> Result<u64> {
        if !self.history().is_file() {
            return Ok(0);
        }
        let (mut connection, _) = sqlite::open_reader(&self.history(), sqlite::HISTORY).await?;
        let block = sqlx::query_scalar("SELECT coalesce(max(last_block), 0) FROM flow_checkpoint")
            .fetch_one(&mut connection)
            .await;
        let _ = connection.close().await;
        block
            .map(unsigned)
            .map_err(|source| StoreError::ReadHistory {
                what: "the flow",
                source,
            })
    }
}

async fn read_catalog(connection: &mut SqliteConnection, format: i64) -> sqlx::Result<Listing> {
    // The column came with format 2.
    let sql = if format < 2 {
        "SELECT id, opens, closes, 0 FROM partition WHERE retiring = 0 ORDER BY id"
    } else {
        "SELECT id, opens, closes, settled FROM partition WHERE retiring = 0 ORDER BY id"
    };
    let rows = sqlx::query(sql).fetch_all(&mut *connection).await?;
    let partitions = rows.iter().map(|row| Listed {
        id: row.get(0),
        opens: unsigned(row.get(1)),
        closes: unsigned(row.get(2)),
        retiring: false,
        settled: row.get(3),
    });
    let retired = sqlx::query_scalar("SELECT retired_block FROM store")
        .fetch_one(connection)
        .await?;
    Ok(Listing {
        partitions: partitions.collect(),
        retired_block: unsigned(retired),
    })
}

/// A segment as its partition lists it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    id: i64,
    first_block: u64,
    last_block: u64,
    spans: u64,
}

async fn segments(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Segment>> {
    let rows =
        sqlx::query("SELECT id, first_block, last_block, spans FROM segment ORDER BY first_block")
            .fetch_all(connection)
            .await?;
    let segments = rows.iter().map(|row| Segment {
        id: row.get(0),
        first_block: unsigned(row.get(1)),
        last_block: unsigned(row.get(2)),
        spans: unsigned(row.get(3)),
    });
    Ok(segments.collect())
}

/// The `limit` rows of `meta` after a block.
async fn metas(
    connection: &mut SqliteConnection,
    after: u64,
    limit: i64,
) -> sqlx::Result<Vec<SqliteRow>> {
    sqlx::query(
        "SELECT block, arrived, spans, min_start, max_start, max_duration FROM meta \
         WHERE block > ? ORDER BY block LIMIT ?",
    )
    .bind(int(after))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// A block's head or body; `None` when there is none.
async fn blob(
    connection: &mut SqliteConnection,
    sql: &'static str,
    block: u64,
) -> sqlx::Result<Option<Vec<u8>>> {
    let row = sqlx::query(sql)
        .bind(int(block))
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

const HEAD: &str = "SELECT columns FROM head WHERE block = ?";
const BODY: &str = "SELECT spans FROM body WHERE block = ?";

/// Bytes of a database with its log and the log's index.
fn bytes_of(file: &Path) -> u64 {
    super::retain::files(file)
        .iter()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// A file's name, as it is shown.
pub(super) fn name(file: &Path) -> String {
    file.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
