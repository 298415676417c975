//! What is kept of alerts: the engine's memory, what happened, and the messages that are to leave.
//!
//! The three are written in one transaction: after a restart an alert is as it was, and what it had to tell is told
//! once, neither forgotten nor decided again.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_model::UnixNanos;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::{History, cannot_read};
use crate::engine::sqlite::{int, unsigned};
use crate::error::Result;

/// What errors call them.
const ALERTS: &str = "alerts";

/// So many events are kept, the newest, whatever their age.
pub const MAX_ALERT_EVENTS: u32 = 100_000;

/// So many messages that are over are kept, the newest, whatever their age.
pub const MAX_DELIVERIES: u32 = 20_000;

/// Messages are kept so long: they are looked at when one did not arrive, not to see how last quarter went.
const DELIVERY_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Characters kept of what an attempt came to: it may quote what a server answered.
const DETAIL_CHARS: usize = 1_000;

/// A message waits for the earlier ones of its channel until they were tried so often. So a "resolved" does not arrive
/// before its "fired" when a server is away for a moment, and one message that its server never takes holds up the
/// others for minutes only.
const ATTEMPTS_IN_ORDER: u32 = 5;

const PENDING: u8 = 0;
const DELIVERED: u8 = 1;
const FAILED: u8 = 2;

/// What a start loads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AlertRecords {
    /// Values by name, as they were last saved.
    pub memory: BTreeMap<String, Vec<u8>>,
}

/// Something that happened to an alert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertEvent {
    /// When.
    pub at: UnixNanos,
    /// The alert's id.
    pub alert: String,
    /// What happened: a word of the engine's, such as `fired`.
    pub kind: String,
    /// The id of its rule.
    pub rule: String,
    /// Its cluster; `None` where it is of none.
    pub cluster: Option<String>,
    /// What it is about, as text.
    pub subject: String,
    /// Its severity: a word of the engine's.
    pub severity: String,
    /// What was said.
    pub sentence: String,
    /// Who did it, as claimed; `None` where nobody did.
    pub by_whom: Option<String>,
}

/// An event as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAlertEvent {
    /// Its number; rises, and is never used twice.
    pub id: i64,
    /// What happened.
    pub event: AlertEvent,
}

/// How often something happened to the alerts of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertEventCount {
    /// The id of the rule.
    pub rule: String,
    /// What happened.
    pub kind: String,
    /// How often.
    pub events: u64,
}

/// A message that is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewDelivery {
    /// The name of the channel.
    pub channel: String,
    /// When it was decided, and from when on it is due.
    pub created_at: UnixNanos,
    /// What kind of message, a word of the notifiers'.
    pub kind: String,
    /// The message, as the notifiers encode it.
    pub message: Vec<u8>,
    /// How many alerts it is of.
    pub alerts: u32,
}

/// A message whose time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueDelivery {
    /// Its number.
    pub id: i64,
    /// The name of the channel.
    pub channel: String,
    /// The message, as it was given.
    pub message: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was decided.
    pub created_at: UnixNanos,
}

/// How far a message got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// It is to be tried, for the first time or again.
    Pending,
    /// The other side has it.
    Delivered,
    /// Given up.
    Failed,
}

/// A message and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryRow {
    /// Its number; rises, and is never used twice.
    pub id: i64,
    /// The name of the channel.
    pub channel: String,
    /// When it was decided.
    pub created_at: UnixNanos,
    /// What kind of message.
    pub kind: String,
    /// The message, as it was given.
    pub message: Vec<u8>,
    /// How many alerts it is of.
    pub alerts: u32,
    /// How far it got.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; `None` once it is over.
    pub next_at: Option<UnixNanos>,
    /// When it was tried last; `None` before.
    pub last_at: Option<UnixNanos>,
    /// What the last attempt came to; `None` before.
    pub detail: Option<String>,
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryOutcome {
    /// The other side has it.
    Delivered {
        /// What it answered.
        detail: String,
    },
    /// It is to be tried again.
    Retry {
        /// Not before.
        at: UnixNanos,
        /// Why it did not work.
        detail: String,
    },
    /// It is given up.
    Failed {
        /// Why.
        detail: String,
    },
}

impl History {
    /// Loads what was saved last.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn load_alerts(&self) -> Result<AlertRecords> {
        let read = async {
            sqlx::query("SELECT name, value FROM alert_memory")
                .try_map(|row: SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?)))
                .fetch_all(&self.inner.readers)
                .await
        };
        let memory = read
            .await
            .map_err(cannot_read(ALERTS))?
            .into_iter()
            .collect();
        Ok(AlertRecords { memory })
    }

    /// Saves changed values, what happened and what is to be sent, in one transaction. A name that is not given keeps
    /// its value; one with an empty value is deleted. Gives the numbers of the deliveries, in their order.
    ///
    /// # Errors
    /// When nothing of it was saved.
    pub async fn save_alerts(
        &self,
        memory: &[(&str, &[u8])],
        events: &[AlertEvent],
        deliveries: &[NewDelivery],
    ) -> Result<Vec<i64>> {
        if memory.is_empty() && events.is_empty() && deliveries.is_empty() {
            return Ok(Vec::new());
        }
        self.write("alerts", async |connection, _| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for (name, value) in memory {
                let statement = if value.is_empty() {
                    sqlx::query("DELETE FROM alert_memory WHERE name = ?").bind(*name)
                } else {
                    sqlx::query("INSERT OR REPLACE INTO alert_memory (name, value) VALUES (?, ?)")
                        .bind(*name)
                        .bind(*value)
                };
                statement.execute(&mut *transaction).await?;
            }
            for event in events {
                insert_event(&mut transaction, event).await?;
            }
            let mut ids = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                ids.push(insert_delivery(&mut transaction, delivery).await?);
            }
            transaction.commit().await?;
            Ok(ids)
        })
        .await
    }

    /// Returns messages whose time has come, at most `limit`, the oldest first. Of one channel an earlier message that
    /// waits for its next attempt holds the later ones back, for its first five attempts.
    ///
    /// A message stays due until [`History::note_delivery`]: after a crash in between it is sent again, and only the
    /// receiver can see by its key that it is the same.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn due_deliveries(&self, now: UnixNanos, limit: u32) -> Result<Vec<DueDelivery>> {
        sqlx::query(
            "SELECT id, channel, message, attempts, created_at FROM alert_delivery AS due \
             WHERE state = 0 AND next_at <= ?1 AND NOT EXISTS (\
                 SELECT 1 FROM alert_delivery AS earlier WHERE earlier.state = 0 \
                 AND earlier.channel = due.channel AND earlier.id < due.id \
                 AND earlier.attempts < ?2 AND earlier.next_at > ?1) \
             ORDER BY id LIMIT ?3",
        )
        .bind(int(now.0))
        .bind(ATTEMPTS_IN_ORDER)
        .bind(limit)
        .try_map(|row: SqliteRow| {
            Ok(DueDelivery {
                id: row.try_get(0)?,
                channel: row.try_get(1)?,
                message: row.try_get(2)?,
                attempts: row.try_get(3)?,
                created_at: UnixNanos(unsigned(row.try_get(4)?)),
            })
        })
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read(ALERTS))
    }

    /// Notes what an attempt at a pending message came to. `false`: there is none of that number, or it is over, and
    /// nothing was changed.
    ///
    /// # Errors
    /// When nothing was noted.
    pub async fn note_delivery(
        &self,
        id: i64,
        outcome: &DeliveryOutcome,
        now: UnixNanos,
    ) -> Result<bool> {
        self.write("what became of a message", async |connection, _| {
            update_delivery(connection, id, outcome, now).await
        })
        .await
    }

    /// Keeps a message that was sent already, with what came of it. Returns its number.
    ///
    /// # Errors
    /// When nothing was kept.
    pub async fn record_delivery(
        &self,
        delivery: &NewDelivery,
        outcome: &DeliveryOutcome,
        now: UnixNanos,
    ) -> Result<i64> {
        self.write("a message", async |connection, _| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let id = insert_delivery(&mut transaction, delivery).await?;
            update_delivery(&mut transaction, id, outcome, now).await?;
            transaction.commit().await?;
            Ok(id)
        })
        .await
    }

    /// Returns messages and what became of them, at most `limit`, the newest first; of every channel when none is
    /// named.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn deliveries(&self, channel: Option<&str>, limit: u32) -> Result<Vec<DeliveryRow>> {
        let query = match channel {
            Some(channel) => sqlx::query(
                "SELECT id, channel, created_at, kind, alerts, state, attempts, next_at, last_at, detail, message \
                 FROM alert_delivery WHERE channel = ? ORDER BY id DESC LIMIT ?",
            )
            .bind(channel),
            None => sqlx::query(
                "SELECT id, channel, created_at, kind, alerts, state, attempts, next_at, last_at, detail, message \
                 FROM alert_delivery ORDER BY id DESC LIMIT ?",
            ),
        };
        query
            .bind(limit)
            .try_map(|row: SqliteRow| read_delivery(&row))
            .fetch_all(&self.inner.readers)
            .await
            .map_err(cannot_read(ALERTS))
    }

    /// Returns what happened from `from` to before `to`, at most `limit` events, the newest first; before the event
    /// `before_id` where it is given: the last of one page begins the next.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn alert_events(
        &self,
        from: UnixNanos,
        to: UnixNanos,
        limit: u32,
        before_id: Option<i64>,
    ) -> Result<Vec<StoredAlertEvent>> {
        sqlx::query(
            "SELECT id, at, alert, kind, rule, cluster, subject, severity, sentence, by_whom \
             FROM alert_event WHERE at >= ? AND at < ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(int(from.0))
        .bind(int(to.0))
        .bind(before_id.unwrap_or(i64::MAX))
        .bind(limit)
        .try_map(|row: SqliteRow| {
            Ok(StoredAlertEvent {
                id: row.try_get(0)?,
                event: read_event(&row)?,
            })
        })
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read(ALERTS))
    }

    /// Returns what happened to the alerts of a subject from `from` to before `to`, at most `limit` events, the newest
    /// first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn alert_events_of(
        &self,
        subject: &str,
        from: UnixNanos,
        to: UnixNanos,
        limit: u32,
    ) -> Result<Vec<AlertEvent>> {
        sqlx::query(
            "SELECT id, at, alert, kind, rule, cluster, subject, severity, sentence, by_whom \
             FROM alert_event WHERE at >= ? AND at < ? AND subject = ? ORDER BY id DESC LIMIT ?",
        )
        .bind(int(from.0))
        .bind(int(to.0))
        .bind(subject)
        .bind(limit)
        .try_map(|row: SqliteRow| read_event(&row))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read(ALERTS))
    }

    /// Returns how often what has happened to the alerts of each rule from `since` on.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn count_alert_events(&self, since: UnixNanos) -> Result<Vec<AlertEventCount>> {
        sqlx::query(
            "SELECT rule, kind, count(*) FROM alert_event WHERE at >= ? \
             GROUP BY rule, kind ORDER BY rule, kind",
        )
        .bind(int(since.0))
        .try_map(|row: SqliteRow| {
            Ok(AlertEventCount {
                rule: row.try_get(0)?,
                kind: row.try_get(1)?,
                events: unsigned(row.try_get(2)?),
            })
        })
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read(ALERTS))
    }
}

/// Removes events older than the retention, messages older than theirs, and the oldest of too many. A message that is
/// still to be sent is not removed for being one of too many.
pub(super) async fn retain(
    connection: &mut SqliteConnection,
    now: UnixNanos,
    retention: Duration,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (statement, before, newest) in [
        (
            "DELETE FROM alert_event WHERE at < ?1 \
             OR id <= (SELECT max(id) FROM alert_event) - ?2",
            now - retention,
            MAX_ALERT_EVENTS,
        ),
        (
            "DELETE FROM alert_delivery WHERE created_at < ?1 \
             OR state <> 0 AND id <= (SELECT max(id) FROM alert_delivery) - ?2",
            now - retention.min(DELIVERY_RETENTION),
            MAX_DELIVERIES,
        ),
    ] {
        sqlx::query(statement)
            .bind(int(before.0))
            .bind(newest)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

fn read_event(row: &SqliteRow) -> sqlx::Result<AlertEvent> {
    Ok(AlertEvent {
        at: UnixNanos(unsigned(row.try_get(1)?)),
        alert: row.try_get(2)?,
        kind: row.try_get(3)?,
        rule: row.try_get(4)?,
        cluster: row.try_get(5)?,
        subject: row.try_get(6)?,
        severity: row.try_get(7)?,
        sentence: row.try_get(8)?,
        by_whom: row.try_get(9)?,
    })
}

async fn insert_event(connection: &mut SqliteConnection, event: &AlertEvent) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO alert_event (at, alert, kind, rule, cluster, subject, severity, sentence, by_whom) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(int(event.at.0))
    .bind(&event.alert)
    .bind(&event.kind)
    .bind(&event.rule)
    .bind(&event.cluster)
    .bind(&event.subject)
    .bind(&event.severity)
    .bind(&event.sentence)
    .bind(&event.by_whom)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_delivery(
    connection: &mut SqliteConnection,
    delivery: &NewDelivery,
) -> sqlx::Result<i64> {
    let created_at = int(delivery.created_at.0);
    let inserted = sqlx::query(
        "INSERT INTO alert_delivery (channel, created_at, kind, message, alerts, state, attempts, next_at, detail) \
         VALUES (?, ?, ?, ?, ?, 0, 0, ?, '')",
    )
    .bind(&delivery.channel)
    .bind(created_at)
    .bind(&delivery.kind)
    .bind(&delivery.message)
    .bind(delivery.alerts)
    .bind(created_at)
    .execute(connection)
    .await?;
    Ok(inserted.last_insert_rowid())
}

/// Notes what an attempt came to; `false` where it is over.
async fn update_delivery(
    connection: &mut SqliteConnection,
    id: i64,
    outcome: &DeliveryOutcome,
    now: UnixNanos,
) -> sqlx::Result<bool> {
    let (state, next_at, detail) = match outcome {
        DeliveryOutcome::Delivered { detail } => (DELIVERED, None, detail),
        DeliveryOutcome::Retry { at, detail } => (PENDING, Some(int(at.0)), detail),
        DeliveryOutcome::Failed { detail } => (FAILED, None, detail),
    };
    let detail: String = detail.chars().take(DETAIL_CHARS).collect();
    let changed = sqlx::query(
        "UPDATE alert_delivery SET state = ?, next_at = ?, detail = ?, last_at = ?, \
         attempts = attempts + 1 WHERE id = ? AND state = 0",
    )
    .bind(state)
    .bind(next_at)
    .bind(detail)
    .bind(int(now.0))
    .bind(id)
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

fn read_delivery(row: &SqliteRow) -> sqlx::Result<DeliveryRow> {
    let instant = |column: usize| -> sqlx::Result<Option<UnixNanos>> {
        let at: Option<i64> = row.try_get(column)?;
        Ok(at.map(|at| UnixNanos(unsigned(at))))
    };
    let state = match row.try_get(5)? {
        PENDING => DeliveryState::Pending,
        DELIVERED => DeliveryState::Delivered,
        FAILED => DeliveryState::Failed,
        other => {
            return Err(sqlx::Error::ColumnDecode {
                index: "state".into(),
                source: format!("{other} is no state of a message").into(),
            });
        }
    };
    let last_at = instant(8)?;
    let detail: String = row.try_get(9)?;
    Ok(DeliveryRow {
        id: row.try_get(0)?,
        channel: row.try_get(1)?,
        created_at: UnixNanos(unsigned(row.try_get(2)?)),
        kind: row.try_get(3)?,
        message: row.try_get(10)?,
        alerts: row.try_get(4)?,
        state,
        attempts: row.try_get(6)?,
        next_at: instant(7)?,
        last_at,
        detail: last_at.map(|_| detail),
    })
}
