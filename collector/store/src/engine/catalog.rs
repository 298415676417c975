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
    connection: SqliteConnection,
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
        let connection = sqlite::open_writer(&file, sqlite::CATALOG).await?;
        Ok(Self { connection })
    }

    /// The partitions, as they were begun.
    pub(super) async fn list(&mut self) -> Result<Vec<Listed>> {
        let rows =
            sqlx::query("SELECT id, opens, closes, retiring, settled FROM partition ORDER BY id")
                .fetch_all(&mut self.connection)
                .await
                .map_err(failed("list partitions"))?;
        let listed = rows.iter().map(|row| Listed {
            id: row.get(0),
            opens: unsigned(row.get(1)),
            closes: unsigned(row.get(2)),
            retiring: row.get(3),
            settled: row.get(4),
        });
        Ok(listed.collect())
    }

    /// The number of the next partition, and the last block of those that are gone.
    pub(super) async fn counters(&mut self) -> Result<(i64, u64)> {
        let row = sqlx::query("SELECT next_partition, retired_block FROM store")
            .fetch_one(&mut self.connection)
            .await
            .map_err(failed("read the counters"))?;
        Ok((row.get(0), unsigned(row.get(1))))
    }

    /// Adds a partition whose file is there already.
    pub(super) async fn add(&mut self, listed: Listed) -> Result<()> {
        let add = async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
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
        };
        add.await.map_err(failed("add a partition"))
    }

    /// Says that a partition's files go now, and that its blocks up to `last_block` are gone.
    pub(super) async fn retire(&mut self, id: i64, last_block: u64) -> Result<()> {
        let retire = async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("UPDATE partition SET retiring = 1 WHERE id = ?")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE store SET retired_block = max(retired_block, ?)")
                .bind(int(last_block))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        retire.await.map_err(failed("retire a partition"))
    }

    /// Forgets a partition whose files are gone.
    pub(super) async fn forget(&mut self, id: i64) -> Result<()> {
        sqlx::query("DELETE FROM partition WHERE id = ?")
            .bind(id)
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(failed("forget a partition"))
    }
}

fn failed(step: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Catalog { step, source }
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
