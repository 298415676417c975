//! What outlives the spans: the flow's aggregates and the history of lag, in `history.db`.
//!
//! The store does not know what a flow row means, and does not read a lag: keys and values are bytes, offsets are
//! numbers. Lag is packed by poll and group, ends by poll and topic, since a row for each partition and poll would
//! take ten times the space.

mod flow;
mod lag;
mod pack;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use crate::engine::sqlite::{self, int};
use crate::error::{Result, StoreError};

pub use flow::{FlowCheckpoint, FlowRow};
pub use lag::{EndRow, LagRow, MAX_ROWS};

/// The open history. Clones share it. Reading does not wait for writing.
#[derive(Clone, Debug)]
pub struct History {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    retention: Duration,
    writer: Mutex<Writer>,
    readers: SqlitePool,
}

#[derive(Debug)]
struct Writer {
    /// `None` after a failure: the next write begins with a new one.
    connection: Option<SqliteConnection>,
    /// Groups and topics by (cluster, kind, name), as `lag_source` numbers them.
    sources: HashMap<(Arc<str>, u8, Arc<str>), i64>,
}

impl History {
    pub(crate) async fn open(file: &Path, retention: Duration) -> Result<Self> {
        let connection = sqlite::open_writer(file, sqlite::HISTORY).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                file: file.to_owned(),
                retention,
                writer: Mutex::new(Writer {
                    connection: Some(connection),
                    sources: HashMap::new(),
                }),
                readers: sqlite::open_readers(file, 2),
            }),
        })
    }

    pub(crate) async fn close(&self) {
        let mut writer = self.inner.writer.lock().await;
        self.inner.readers.close().await;
        if let Some(connection) = writer.connection.take() {
            sqlite::close_writer(connection).await;
        }
    }

    /// Removes lag history older than the retention. Flow rows are the flow's to remove: only it knows its buckets.
    ///
    /// # Errors
    /// When nothing was removed.
    pub async fn retain(&self, now: UnixNanos) -> Result<()> {
        let before = int((now - self.inner.retention).0);
        self.write("old lag history", async |connection, _| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for statement in [
                // Source by source: that is a range of the key each, and not a look at every row.
                "DELETE FROM lag_group WHERE source IN (SELECT id FROM lag_source) AND at < ?",
                "DELETE FROM lag_topic WHERE source IN (SELECT id FROM lag_source) AND at < ?",
            ] {
                sqlx::query(statement)
                    .bind(before)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Runs one write. After an error the connection is dropped, and with it whatever was begun.
    async fn write<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(
            &mut SqliteConnection,
            &mut HashMap<(Arc<str>, u8, Arc<str>), i64>,
        ) -> sqlx::Result<T>,
    ) -> Result<T> {
        let writer = &mut *self.inner.writer.lock().await;
        let mut connection = match writer.connection.take() {
            Some(connection) => connection,
            None => sqlite::open_writer(&self.inner.file, sqlite::HISTORY).await?,
        };
        match work(&mut connection, &mut writer.sources).await {
            Ok(done) => {
                writer.connection = Some(connection);
                Ok(done)
            }
            Err(source) => {
                // A source may have been numbered in what is now undone.
                writer.sources.clear();
                Err(StoreError::WriteHistory { what, source })
            }
        }
    }
}
