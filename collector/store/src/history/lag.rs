//! The history of lag.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::History;
use super::pack::{self, GroupSample, TopicSample};
use crate::engine::sqlite::{int, unsigned};
use crate::error::{Result, StoreError};

/// A read gives at most so many rows, the newest.
pub const MAX_ROWS: usize = 1_000_000;

const GROUP: u8 = 0;
const TOPIC: u8 = 1;

/// One partition of one group at one poll.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LagRow {
    /// The cluster's configured name.
    pub cluster: Arc<str>,
    /// The group. Empty: only the partition's ends are kept, for a topic that no group reads.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The poll, the same for all rows of it. Two rows with the same cluster, topic, partition and instant have the
    /// same `end` and `log_start`; the last written count.
    pub at: UnixNanos,
    /// Committed offset; `None` unknown or never committed, which `state` tells.
    pub committed: Option<i64>,
    /// End offset; `None` unknown.
    pub end: Option<i64>,
    /// Log start offset; `None` unknown.
    pub log_start: Option<i64>,
    /// Time lag in milliseconds; `None` unknown.
    pub time_lag_ms: Option<u64>,
    /// The partition's state, as the lag room numbers it.
    pub state: u8,
}

/// The ends of one partition at one poll.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EndRow {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The poll.
    pub at: UnixNanos,
    /// End offset; `None` unknown.
    pub end: Option<i64>,
    /// Log start offset; `None` unknown.
    pub log_start: Option<i64>,
}

/// Ends by topic number, instant and partition.
type Ends = HashMap<(i64, i64), Vec<TopicSample>>;

impl History {
    /// Appends the rows of one or several polls in one transaction. Writing a poll again replaces it.
    ///
    /// # Errors
    /// When nothing was written.
    pub async fn append_lag(&self, rows: &[LagRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.write("lag history", async |connection, sources| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut groups: BTreeMap<(i64, i64), Vec<GroupSample>> = BTreeMap::new();
            let mut topics: BTreeMap<(i64, i64), BTreeMap<i32, TopicSample>> = BTreeMap::new();
            for row in rows {
                let at = int(row.at.0);
                let mut number = async |kind, name: &Arc<str>| {
                    let key = (Arc::clone(&row.cluster), kind, Arc::clone(name));
                    if let Some(id) = sources.get(&key) {
                        return Ok(*id);
                    }
                    let id = source(&mut transaction, &row.cluster, kind, name).await?;
                    sources.insert(key, id);
                    Ok::<_, sqlx::Error>(id)
                };
                let topic = number(TOPIC, &row.topic).await?;
                let sample = TopicSample {
                    partition: row.partition,
                    end: row.end,
                    log_start: row.log_start,
                };
                topics
                    .entry((topic, at))
                    .or_default()
                    .insert(row.partition, sample);
                if row.group.is_empty() {
                    continue;
                }
                let group = number(GROUP, &row.group).await?;
                groups.entry((group, at)).or_default().push(GroupSample {
                    topic,
                    partition: row.partition,
                    committed: row.committed,
                    time_lag_ms: row.time_lag_ms,
                    state: row.state,
                });
            }
            for ((group, at), mut samples) in groups {
                samples.sort_by_key(|sample| (sample.topic, sample.partition));
                sqlx::query(
                    "INSERT OR REPLACE INTO lag_group (source, at, samples) VALUES (?, ?, ?)",
                )
                .bind(group)
                .bind(at)
                .bind(pack::group(&samples))
                .execute(&mut *transaction)
                .await?;
            }
            for ((topic, at), samples) in topics {
                let samples: Vec<_> = samples.into_values().collect();
                sqlx::query(
                    "INSERT OR REPLACE INTO lag_topic (source, at, samples) VALUES (?, ?, ?)",
                )
                .bind(topic)
                .bind(at)
                .bind(pack::topic(&samples))
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// The rows of one group from `from` (inclusive) to `to` (exclusive), by instant, topic and partition.
    ///
    /// With a `step`, only the first poll of each step is given: what a chart of a long range needs. At most
    /// [`MAX_ROWS`], the newest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn lag_rows(
        &self,
        cluster: &str,
        group: &str,
        from: UnixNanos,
        to: UnixNanos,
        step: Option<Duration>,
    ) -> Result<Vec<LagRow>> {
        let Some(source) = self.find_source(cluster, GROUP, group).await? else {
            return Ok(Vec::new());
        };
        let step = step.map_or(1, |step| {
            int(u64::try_from(step.as_nanos()).unwrap_or(u64::MAX))
        });
        // A bare column beside min() is that of the least row: SQLite says so.
        let polls = sqlx::query(
            "SELECT source, min(at), samples FROM lag_group WHERE source = ? AND at >= ? AND at < ? \
             GROUP BY at / ? ORDER BY at DESC",
        )
        .bind(source)
        .bind(int(from.0))
        .bind(int(to.0))
        .bind(step.max(1))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read)?;
        self.assemble(cluster, &polls).await
    }

    /// The rows of every group of a cluster from `at` on: what a start seeds its windows with. At most [`MAX_ROWS`],
    /// the newest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn lag_since(&self, cluster: &str, at: UnixNanos) -> Result<Vec<LagRow>> {
        let polls = sqlx::query(
            "SELECT g.source, g.at, g.samples FROM lag_source s JOIN lag_group g ON g.source = s.id \
             WHERE s.cluster = ? AND s.kind = ? AND g.at >= ? ORDER BY g.at DESC",
        )
        .bind(cluster)
        .bind(GROUP)
        .bind(int(at.0))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read)?;
        self.assemble(cluster, &polls).await
    }

    /// The ends of a topic's partitions from `from` (inclusive) to `to` (exclusive), by instant and partition; of one
    /// partition where one is given. At most [`MAX_ROWS`], the newest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn ends(
        &self,
        cluster: &str,
        topic: &str,
        partition: Option<i32>,
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<Vec<EndRow>> {
        let Some(source) = self.find_source(cluster, TOPIC, topic).await? else {
            return Ok(Vec::new());
        };
        let polls = sqlx::query(
            "SELECT source, at, samples FROM lag_topic WHERE source = ? AND at >= ? AND at < ? ORDER BY at DESC",
        )
        .bind(source)
        .bind(int(from.0))
        .bind(int(to.0))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read)?;
        let names = HashMap::from([(source, Arc::from(topic))]);
        end_rows(&polls, &names, partition)
    }

    /// The ends of every topic of a cluster from `at` on, topics that no group reads included. At most [`MAX_ROWS`],
    /// the newest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn ends_since(&self, cluster: &str, at: UnixNanos) -> Result<Vec<EndRow>> {
        let polls = sqlx::query(
            "SELECT t.source, t.at, t.samples FROM lag_source s JOIN lag_topic t ON t.source = s.id \
             WHERE s.cluster = ? AND s.kind = ? AND t.at >= ? ORDER BY t.at DESC",
        )
        .bind(cluster)
        .bind(TOPIC)
        .bind(int(at.0))
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read)?;
        let names = self.names(cluster, TOPIC).await?;
        end_rows(&polls, &names, None)
    }

    /// Joins the samples of groups, newest first, with the ends of the same polls.
    async fn assemble(&self, cluster: &str, polls: &[SqliteRow]) -> Result<Vec<LagRow>> {
        let mut taken = 0;
        let mut samples = Vec::new();
        for poll in polls {
            let decoded = pack::read_group(poll.get(2)).map_err(damaged)?;
            taken += decoded.len();
            if taken > MAX_ROWS {
                break;
            }
            samples.push((poll.get::<i64, _>(0), poll.get::<i64, _>(1), decoded));
        }
        let (Some((_, newest, _)), Some((_, oldest, _))) = (samples.first(), samples.last()) else {
            return Ok(Vec::new());
        };
        let polled: std::collections::HashSet<i64> = samples.iter().map(|(_, at, _)| *at).collect();
        let topics = samples
            .iter()
            .flat_map(|(_, _, poll)| poll.iter().map(|sample| sample.topic));
        let topics: std::collections::BTreeSet<i64> = topics.collect();
        let ends = self.ends_of(&topics, *oldest, *newest, &polled).await?;
        let topic_names = self.names(cluster, TOPIC).await?;
        let group_names = self.names(cluster, GROUP).await?;
        let cluster: Arc<str> = cluster.into();
        let mut rows = Vec::with_capacity(taken);
        for (group, at, poll) in samples {
            let Some(group) = group_names.get(&group) else {
                continue;
            };
            for sample in poll {
                let Some(topic) = topic_names.get(&sample.topic) else {
                    continue;
                };
                let end = ends.get(&(sample.topic, at)).and_then(|samples| {
                    samples
                        .iter()
                        .find(|other| other.partition == sample.partition)
                });
                rows.push(LagRow {
                    cluster: Arc::clone(&cluster),
                    group: Arc::clone(group),
                    topic: Arc::clone(topic),
                    partition: sample.partition,
                    at: UnixNanos(unsigned(at)),
                    committed: sample.committed,
                    end: end.and_then(|end| end.end),
                    log_start: end.and_then(|end| end.log_start),
                    time_lag_ms: sample.time_lag_ms,
                    state: sample.state,
                });
            }
        }
        rows.sort_by(|a, b| {
            (a.at, &a.group, &a.topic, a.partition).cmp(&(b.at, &b.group, &b.topic, b.partition))
        });
        Ok(rows)
    }

    async fn ends_of(
        &self,
        topics: &std::collections::BTreeSet<i64>,
        oldest: i64,
        newest: i64,
        polled: &std::collections::HashSet<i64>,
    ) -> Result<Ends> {
        let list: Vec<i64> = topics.iter().copied().collect();
        let rows = sqlx::query(
            "SELECT source, at, samples FROM lag_topic \
             WHERE source IN (SELECT value FROM json_each(?)) AND at BETWEEN ? AND ?",
        )
        .bind(format!("{list:?}"))
        .bind(oldest)
        .bind(newest)
        .fetch_all(&self.inner.readers)
        .await
        .map_err(cannot_read)?;
        let mut ends = Ends::new();
        for row in &rows {
            let (source, at) = (row.get(0), row.get(1));
            if polled.contains(&at) {
                let samples = pack::read_topic(row.get(2)).map_err(damaged)?;
                ends.insert((source, at), samples);
            }
        }
        Ok(ends)
    }

    async fn find_source(&self, cluster: &str, kind: u8, name: &str) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM lag_source WHERE cluster = ? AND kind = ? AND name = ?")
            .bind(cluster)
            .bind(kind)
            .bind(name)
            .fetch_optional(&self.inner.readers)
            .await
            .map_err(cannot_read)
    }

    async fn names(&self, cluster: &str, kind: u8) -> Result<HashMap<i64, Arc<str>>> {
        let rows = sqlx::query("SELECT id, name FROM lag_source WHERE cluster = ? AND kind = ?")
            .bind(cluster)
            .bind(kind)
            .fetch_all(&self.inner.readers)
            .await
            .map_err(cannot_read)?;
        let names = rows
            .iter()
            .map(|row| (row.get(0), Arc::from(row.get::<&str, _>(1))));
        Ok(names.collect())
    }
}

async fn source(
    connection: &mut SqliteConnection,
    cluster: &str,
    kind: u8,
    name: &str,
) -> sqlx::Result<i64> {
    sqlx::query("INSERT OR IGNORE INTO lag_source (cluster, kind, name) VALUES (?, ?, ?)")
        .bind(cluster)
        .bind(kind)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT id FROM lag_source WHERE cluster = ? AND kind = ? AND name = ?")
        .bind(cluster)
        .bind(kind)
        .bind(name)
        .fetch_one(connection)
        .await
}

fn end_rows(
    polls: &[SqliteRow],
    names: &HashMap<i64, Arc<str>>,
    partition: Option<i32>,
) -> Result<Vec<EndRow>> {
    let mut rows = Vec::new();
    for poll in polls {
        let Some(topic) = names.get(&poll.get::<i64, _>(0)) else {
            continue;
        };
        let samples = pack::read_topic(poll.get(2)).map_err(damaged)?;
        if rows.len() + samples.len() > MAX_ROWS {
            break;
        }
        let wanted = |sample: &TopicSample| partition.is_none_or(|p| p == sample.partition);
        rows.extend(samples.into_iter().filter(wanted).map(|sample| EndRow {
            topic: Arc::clone(topic),
            partition: sample.partition,
            at: UnixNanos(unsigned(poll.get(1))),
            end: sample.end,
            log_start: sample.log_start,
        }));
    }
    rows.sort_by(|a, b| (a.at, &a.topic, a.partition).cmp(&(b.at, &b.topic, b.partition)));
    Ok(rows)
}

fn cannot_read(source: sqlx::Error) -> StoreError {
    StoreError::ReadHistory {
        what: "lag history",
        source,
    }
}

fn damaged(source: crate::block::Corrupt) -> StoreError {
    StoreError::DamagedHistory {
        what: "lag history",
        source,
    }
}
