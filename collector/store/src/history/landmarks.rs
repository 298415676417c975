//! What happened beside the figures: landmarks of a group or a service, to be read beside a curve.

use std::time::Duration;

use highwater_model::UnixNanos;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection, Row, Sqlite};

use super::{History, cannot_read};
use crate::engine::sqlite::{int, unsigned};
use crate::error::Result;

/// What errors call them.
const LANDMARKS: &str = "landmarks";

/// So many landmarks are kept, the newest, whatever their age: what they name comes from outside.
pub const MAX_LANDMARKS: u32 = 100_000;

/// Something that happened to a group or a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Landmark {
    /// Whose it is.
    pub subject: String,
    /// When it was seen.
    pub at: UnixNanos,
    /// What happened: a word of the collector's, such as `rebalanced`.
    pub kind: String,
    /// More of it, for people.
    pub text: String,
}

impl History {
    /// Keeps landmarks; one that is known is kept once.
    ///
    /// # Errors
    /// When nothing of it was kept.
    pub async fn add_landmarks(&self, landmarks: &[Landmark]) -> Result<()> {
        if landmarks.is_empty() {
            return Ok(());
        }
        self.write("landmarks", async |connection, _| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for landmark in landmarks {
                sqlx::query(
                    "INSERT OR IGNORE INTO landmark (subject, at, kind, text) VALUES (?, ?, ?, ?)",
                )
                .bind(&landmark.subject)
                .bind(int(landmark.at.0))
                .bind(&landmark.kind)
                .bind(&landmark.text)
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Returns what happened to a subject from `from` to before `to`, at most `limit` landmarks, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn landmarks(
        &self,
        subject: &str,
        from: UnixNanos,
        to: UnixNanos,
        limit: u32,
    ) -> Result<Vec<Landmark>> {
        let query = sqlx::query(
            "SELECT subject, at, kind, text FROM landmark \
             WHERE subject = ? AND at >= ? AND at < ? ORDER BY at DESC LIMIT ?",
        )
        .bind(subject)
        .bind(int(from.0))
        .bind(int(to.0))
        .bind(limit);
        self.read_landmarks(query).await
    }

    /// Returns what happened to anybody from `from` to before `to`, at most `limit` landmarks, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn newest_landmarks(
        &self,
        from: UnixNanos,
        to: UnixNanos,
        limit: u32,
    ) -> Result<Vec<Landmark>> {
        let query = sqlx::query(
            "SELECT subject, at, kind, text FROM landmark WHERE at >= ? AND at < ? \
             ORDER BY at DESC LIMIT ?",
        )
        .bind(int(from.0))
        .bind(int(to.0))
        .bind(limit);
        self.read_landmarks(query).await
    }

    /// Returns every landmark of these kinds, the oldest first: what a start remembers.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn landmarks_of(&self, kinds: [&str; 2]) -> Result<Vec<Landmark>> {
        let query = sqlx::query(
            "SELECT subject, at, kind, text FROM landmark WHERE kind IN (?, ?) ORDER BY at LIMIT ?",
        )
        .bind(kinds[0])
        .bind(kinds[1])
        .bind(MAX_LANDMARKS);
        self.read_landmarks(query).await
    }

    async fn read_landmarks(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<Landmark>> {
        query
            .try_map(|row: SqliteRow| read(&row))
            .fetch_all(&self.inner.readers)
            .await
            .map_err(cannot_read(LANDMARKS))
    }
}

/// Removes landmarks older than the retention and the oldest of too many. `kept` are of a kind that is remembered
/// whatever its age.
pub(super) async fn retain(
    connection: &mut SqliteConnection,
    now: UnixNanos,
    retention: Duration,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // The version that a service runs may have been seen first long ago: forgotten, it would be a deploy again.
    sqlx::query("DELETE FROM landmark WHERE at < ? AND kind NOT IN ('version', 'deployed')")
        .bind(int((now - retention).0))
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "DELETE FROM landmark WHERE at < \
         (SELECT at FROM landmark ORDER BY at DESC LIMIT 1 OFFSET ?)",
    )
    .bind(MAX_LANDMARKS)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

fn read(row: &SqliteRow) -> sqlx::Result<Landmark> {
    Ok(Landmark {
        subject: row.try_get(0)?,
        at: UnixNanos(unsigned(row.try_get(1)?)),
        kind: row.try_get(2)?,
        text: row.try_get(3)?,
    })
}
