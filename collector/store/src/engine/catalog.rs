//! The list of partition files.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::sqlite::{self, int, unsigned};
use crate::error::{Result, StoreError};

const FILE: &str = "catalog.db";

/// A partition as it is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) id: i64,
    /// First arrival it takes.
    pub(super) opens: u64,
    /// First arrival it no longer takes.
    pub(super) closes: u64,
    /// Its files are being removed.
    pub(super) retiring: bool,
    /// It holds spans by trace, and takes no arrivals.
    pub(super) settled: bool,
}

/// The open catalog.
#[derive(Debug)]
pub(super) struct Catalog {
    file: PathBuf,
    /// `None` after a failure: a transaction that SQLite ended by itself leaves a connection that begins no other.
    connection: Option<SqliteConnection>,
}

/// The file of a partition.
pub(super) fn partition_file(dir: &Path, id: i64) -> PathBuf {
    dir.join(format!("spans-{id:06}.db"))
}

impl Catalog {
    pub(super) async fn open(dir: &Path) -> Result<Self> {
        let file = dir.join(FILE);
        if !file.exists() && holds_spans(dir) {
            return Err(StoreError::NoCatalog {
                dir: dir.to_owned(),
            });
        }
        match sqlite::open_writer(&file, sqlite::CATALOG).await {
            Ok(connection) => Ok(Self {
                file,
                connection: Some(connection),
            }),
            Err(error) => Err(damaged(file, error)),
        }
    }

    /// Moves its log into its file.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            sqlite::close_writer(connection).await;
        }
    }

    /// Does one step. After an error the connection is dropped, and with it whatever was begun.
    async fn step<T>(
        &mut self,
        step: &'static str,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => sqlite::open_writer(&self.file, sqlite::CATALOG).await?,
        };
        let done = work(&mut connection).await;
        let done = done
            .map_err(|source| damaged(self.file.clone(), StoreError::Catalog { step, source }))?;
        self.connection = Some(connection);
        Ok(done)
    }

    /// The partitions, as they were begun.
    pub(super) async fn list(&mut self) -> Result<Vec<Listed>> {
        self.step("list partitions", async |connection| {
            let sql = "SELECT id, opens, closes, retiring, settled FROM partition ORDER BY id";
            let rows = sqlx::query(sql).fetch_all(connection).await?;
            let listed = rows.iter().map(|row| Listed {
                id: row.get(0),
                opens: unsigned(row.get(1)),
                closes: unsigned(row.get(2)),
                retiring: row.get(3),
                settled: row.get(4),
            });
            Ok(listed.collect())
        })
        .await
    }

    /// The number of the next partition, and the last block of those that are gone.
    pub(super) async fn counters(&mut self) -> Result<(i64, u64)> {
        self.step("read the counters", async |connection| {
            let row = sqlx::query("SELECT next_partition, retired_block FROM store")
                .fetch_one(connection)
                .await?;
            Ok((row.get(0), unsigned(row.get(1))))
        })
        .await
    }

    /// Adds a partition whose file is there already.
    pub(super) async fn add(&mut self, listed: Listed) -> Result<()> {
        self.step("add a partition", async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO partition (id, opens, closes, settled) VALUES (?, ?, ?, ?)")
                .bind(listed.id)
                .bind(int(listed.opens))
                .bind(int(listed.closes))
                .bind(listed.settled)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE store SET next_partition = max(next_partition, ? + 1)")
                .bind(listed.id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// Says that a partition's files go now, and that its blocks up to `last_block` are gone.
    pub(super) async fn retire(&mut self, id: i64, last_block: u64) -> Result<()> {
        self.step("retire a partition", async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("UPDATE partition SET retiring = 1 WHERE id = ?")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE store SET retired_block = max(retired_block, ?)")
                .bind(int(last_block))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    /// Forgets a partition whose files are gone.
    pub(super) async fn forget(&mut self, id: i64) -> Result<()> {
        self.step("forget a partition", async |connection| {
            sqlx::query("DELETE FROM partition WHERE id = ?")
                .bind(id)
                .execute(connection)
                .await
                .map(|_| ())
        })
        .await
    }
}

/// Says what can be done, where the file is not what was written to it.
fn damaged(file: PathBuf, error: StoreError) -> StoreError {
    if !error.is_damage() {
        return error;
    }
    let source = Box::new(error);
    StoreError::DamagedCatalog { file, source }
}

fn holds_spans(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.filter_map(std::io::Result::ok).any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("spans-") && name.ends_with(".db")
        })
    })
}
