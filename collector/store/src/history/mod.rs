//! What outlives the spans: the flow's aggregates, the history of lag and its landmarks, and alerts, in `history.db`.
//!
//! The store does not know what a flow row means, does not read a lag, and knows no rule: keys and values are bytes,
//! offsets are numbers, what happened to an alert is text. Lag is packed by poll and group, ends by poll and topic, since a row for each partition and poll would
//! take ten times the space.

mod alerts;
#[cfg(test)]
mod alerts_tests;
mod flow;
mod lag;
mod landmarks;
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

pub use alerts::{
    AlertEvent, AlertEventCount, AlertRecords, DeliveryOutcome, DeliveryRow, DeliveryState,
    DueDelivery, MAX_ALERT_EVENTS, MAX_DELIVERIES, NewDelivery, StoredAlertEvent,
};
pub use flow::{FlowCheckpoint, FlowRow};
pub use lag::{EndRow, LagRow, MAX_ROWS};
pub use landmarks::{Landmark, MAX_LANDMARKS};

/// The open history. Clones share it. Reading does not wait for writing.
#[derive(Clone, Debug)]
pub struct History {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    retention: Duration,
    max_bytes: u64,
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
    pub(crate) async fn open(file: &Path, retention: Duration, max_bytes: u64) -> Result<Self> {
        let connection = sqlite::open_shrinking(file, sqlite::HISTORY).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                file: file.to_owned(),
                retention,
                max_bytes,
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

    /// Removes what happened to alerts and lag history older than the retention, and messages that are over and older
    /// than 30 days; then, while the file holds more than it may, an eighth of the lag history's
    /// time, the oldest. Flow rows are the flow's to remove: only it knows its buckets.
    ///
    /// # Errors
    /// When nothing was removed.
    pub async fn retain(&self, now: UnixNanos) -> Result<()> {
        let before = int((now - self.inner.retention).0);
        self.write("old history", async |connection, _| {
            alerts::retain(connection, now, self.inner.retention).await?;
            landmarks::retain(connection, now, self.inner.retention).await?;
            delete_lag_before(connection, before).await?;
            while used_bytes(connection).await? > self.inner.max_bytes {
                let oldest: Option<i64> = sqlx::query_scalar(OLDEST_LAG)
                    .fetch_one(&mut *connection)
                    .await?;
                let Some(oldest) = oldest else { break };
                let eighth = (int(now.0) - oldest).max(0) / 8;
                delete_lag_before(connection, oldest + eighth.max(1)).await?;
            }
            // Pages that became free go back to the disk; a file of an earlier version uses them again.
            sqlx::query("PRAGMA incremental_vacuum")
                .execute(&mut *connection)
                .await?;
            Ok(())
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
            None => sqlite::open_shrinking(&self.inner.file, sqlite::HISTORY).await?,
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

/// Source by source, which is a look-up each.
const OLDEST_LAG: &str = "SELECT min(oldest) FROM (\
     SELECT (SELECT min(at) FROM lag_group WHERE source = s.id) AS oldest FROM lag_source s UNION ALL \
     SELECT (SELECT min(at) FROM lag_topic WHERE source = s.id) FROM lag_source s)";

async fn delete_lag_before(connection: &mut SqliteConnection, before: i64) -> sqlx::Result<()> {
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
}

/// Bytes of the pages that hold something.
async fn used_bytes(connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let pages: i64 = sqlx::query_scalar(
        "SELECT (pages.page_count - free.freelist_count) * size.page_size \
         FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

/// The error of a read of `what`.
fn cannot_read(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::ReadHistory { what, source }
}
