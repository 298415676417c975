//! The flow's rows and its checkpoint.

use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::{History, cannot_read};
use crate::engine::sqlite::{int, unsigned};
use crate::error::Result;

/// What errors call it.
const FLOW: &str = "the flow";

/// Rows of one statement: single-row statements cost ten times as much.
const ROWS_AT_ONCE: usize = 500;
/// And no more once they hold so many bytes: a statement copies what is bound to it.
const BYTES_AT_ONCE: usize = 1 << 20;

/// A mergeable row of the flow's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlowRow {
    /// Begin of its time bucket, in the flow's unit; below 2^63.
    pub bucket: u64,
    /// What it is of. With the bucket, its identity.
    pub key: Vec<u8>,
    /// Its value, as the flow encodes it.
    pub value: Vec<u8>,
}

/// What a start loads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowCheckpoint {
    /// Rows, by bucket, then key.
    pub rows: Vec<FlowRow>,
    /// What waited for its other half; `None` when nothing was ever saved.
    pub pending: Option<Vec<u8>>,
    /// The last block that all this has in it; 0 when nothing was ever saved.
    pub last_block: u64,
}

/// Cuts rows into those of one statement each.
fn statements<'r>(mut rows: &'r [&'r FlowRow]) -> impl Iterator<Item = &'r [&'r FlowRow]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let more = rows.iter().take(ROWS_AT_ONCE).take_while(|row| {
            let fits = bytes < BYTES_AT_ONCE;
            bytes += row.key.len() + row.value.len();
            fits
        });
        let (these, rest) = rows.split_at(more.count());
        rows = rest;
        (!these.is_empty()).then_some(these)
    })
}

impl History {
    /// Saves changed rows, what is pending and the last block applied, in one transaction. A row without a value is
    /// deleted.
    ///
    /// # Errors
    /// When nothing of it was saved.
    pub async fn save_flow(&self, rows: &[FlowRow], pending: &[u8], last_block: u64) -> Result<()> {
        self.write("the flow", async |connection, _| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let (kept, gone): (Vec<&FlowRow>, Vec<&FlowRow>) =
                rows.iter().partition(|row| !row.value.is_empty());
            for row in gone {
                sqlx::query("DELETE FROM flow WHERE bucket = ? AND key = ?")
                    .bind(int(row.bucket))
                    .bind(&row.key[..])
                    .execute(&mut *transaction)
                    .await?;
            }
            for chunk in statements(&kept) {
                let mut insert = QueryBuilder::<Sqlite>::new(
                    "INSERT OR REPLACE INTO flow (bucket, key, value) ",
                );
                insert.push_values(chunk, |mut values, row| {
                    values
                        .push_bind(int(row.bucket))
                        .push_bind(&row.key[..])
                        .push_bind(&row.value[..]);
                });
                insert.build().execute(&mut *transaction).await?;
            }
            sqlx::query(
                "INSERT OR REPLACE INTO flow_checkpoint (id, last_block, pending) VALUES (1, ?, ?)",
            )
            .bind(int(last_block))
            .bind(pending)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        })
        .await
    }

    /// Loads the rows of buckets from `from_bucket` on, and the checkpoint, as of one moment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn load_flow(&self, from_bucket: u64) -> Result<FlowCheckpoint> {
        let mut reader = self
            .inner
            .readers
            .begin()
            .await
            .map_err(cannot_read(FLOW))?;
        let checkpoint = sqlx::query("SELECT last_block, pending FROM flow_checkpoint")
            .fetch_optional(&mut *reader)
            .await
            .map_err(cannot_read(FLOW))?;
        let rows = sqlx::query(
            "SELECT bucket, key, value FROM flow WHERE bucket >= ? ORDER BY bucket, key",
        )
        .bind(int(from_bucket))
        // Row by row: there may be hundreds of thousands, and one copy of them is enough.
        .map(|row: SqliteRow| FlowRow {
            bucket: unsigned(row.get(0)),
            key: row.get(1),
            value: row.get(2),
        })
        .fetch_all(&mut *reader)
        .await
        .map_err(cannot_read(FLOW))?;
        Ok(FlowCheckpoint {
            rows,
            last_block: checkpoint.as_ref().map_or(0, |row| unsigned(row.get(0))),
            pending: checkpoint.map(|row| row.get(1)),
        })
    }

    /// Removes the rows of buckets before `bucket`; gives their number.
    ///
    /// # Errors
    /// When none was removed.
    pub async fn delete_flow_before(&self, bucket: u64) -> Result<u64> {
        self.write("the flow", async |connection, _| {
            let deleted = sqlx::query("DELETE FROM flow WHERE bucket < ?")
                .bind(int(bucket))
                .execute(connection)
                .await?;
            Ok(deleted.rows_affected())
        })
        .await
    }

    /// Reads all that a start needs and all that keeping to the retention goes through, the indexes too, and keeps none
    /// of it: whether it can be read.
    pub(crate) async fn try_reading(&self) -> Result<()> {
        let read = async {
            let mut rows = sqlx::query(
                "SELECT last_block, pending, pending FROM flow_checkpoint UNION ALL \
                 SELECT bucket, key, value FROM flow UNION ALL SELECT id, x'', x'' FROM lag_source UNION ALL \
                 SELECT 0, value, x'' FROM alert_memory UNION ALL \
                 SELECT id, message, x'' FROM alert_delivery NOT INDEXED UNION ALL \
                 SELECT id, sentence, x'' FROM alert_event NOT INDEXED UNION ALL \
                 SELECT count(*), x'', x'' FROM alert_event INDEXED BY alert_event_at UNION ALL \
                 SELECT count(*), x'', x'' FROM alert_event INDEXED BY alert_event_subject UNION ALL \
                 SELECT at, text, x'' FROM landmark NOT INDEXED UNION ALL \
                 SELECT count(*), x'', x'' FROM landmark INDEXED BY landmark_at UNION ALL \
                 SELECT count(*), x'', x'' FROM alert_delivery INDEXED BY alert_delivery_channel UNION ALL \
                 SELECT count(*), x'', x'' FROM alert_delivery INDEXED BY alert_delivery_pending WHERE state = 0",
            )
            .fetch(&self.inner.readers);
            while let Some(row) = rows.try_next().await? {
                let _: (i64, Vec<u8>, Vec<u8>) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            }
            Ok(())
        };
        read.await.map_err(cannot_read(FLOW))
    }

    /// The last block the flow has seen.
    pub(crate) async fn checkpoint_block(&self) -> Result<u64> {
        let block: Option<i64> = sqlx::query_scalar("SELECT last_block FROM flow_checkpoint")
            .fetch_optional(&self.inner.readers)
            .await
            .map_err(cannot_read(FLOW))?;
        Ok(block.map_or(0, unsigned))
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_AT_ONCE, FlowRow, ROWS_AT_ONCE, statements};

    #[test]
    fn a_statement_has_few_rows_or_few_bytes_and_all_rows_have_one() {
        let row = |bytes: usize| FlowRow {
            bucket: 0,
            key: Vec::new(),
            value: vec![1; bytes],
        };
        let (small, large) = (row(1), row(BYTES_AT_ONCE));
        let mut rows = vec![&small; ROWS_AT_ONCE + 2];
        rows.extend([&large, &large, &small]);
        let lengths: Vec<usize> = statements(&rows).map(<[_]>::len).collect();
        assert_eq!(lengths, [ROWS_AT_ONCE, 3, 1, 1]);
        assert_eq!(statements(&[]).count(), 0);
    }
}
