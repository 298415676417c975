//! The history of lag.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use highwater_model::UnixNanos;
pub use highwater_model::broker::LagRow;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::pack::{self, GroupSample, TopicSample};
use super::{History, cannot_read};
use crate::engine::sqlite::{int, unsigned};
use crate::error::{Result, StoreError};

/// What errors call it.
const LAG: &str = "lag history";

/// A read gives at most so many rows, the newest.
pub const MAX_ROWS: usize = 1_000_000;

const GROUP: u8 = 0;
const TOPIC: u8 = 1;

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

/// Samples of groups, packed as soon as the next group's come: of a large cluster they are many, and come group by group.
#[derive(Default)]
struct GroupPolls {
    packed: BTreeMap<(i64, i64), Vec<u8>>,
    /// The group and the instant whose samples come.
    key: (i64, i64),
    open: Vec<GroupSample>,
}

impl GroupPolls {
    fn push(&mut self, key: (i64, i64), sample: GroupSample) {
        if key != self.key {
            self.close();
            self.key = key;
            // None, unless its samples do not stand together.
            if let Some(Ok(samples)) = self
                .packed
                .remove(&key)
                .map(|packed| pack::read_group(&packed))
            {
                self.open = samples;
            }
        }
        self.open.push(sample);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.open
                .sort_by_key(|sample| (sample.topic, sample.partition));
            self.packed.insert(self.key, pack::group(&self.open));
            self.open.clear();
        }
    }

    /// By group and instant.
    fn finish(mut self) -> BTreeMap<(i64, i64), Vec<u8>> {
        self.close();
        self.packed
    }
}

/// Group number, instant and samples.
type GroupPoll = (i64, i64, Vec<GroupSample>);

/// Rows of source, instant and samples, as SQLite finds them.
type Polls<'a> = BoxStream<'a, sqlx::Result<SqliteRow>>;

const EVERY_POLL: &str = "SELECT source, at, samples FROM lag_group \
     WHERE source = ?1 AND at >= ?2 AND at < ?3 ORDER BY at DESC";

/// Leaps from step to step with a look-up each: a chart of 90 days does not read what it leaves out.
const FIRST_POLL_OF_EACH_STEP: &str = "WITH RECURSIVE step(at) AS (\
     SELECT min(at) FROM lag_group WHERE source = ?1 AND at >= ?2 AND at < ?3 UNION ALL \
     SELECT (SELECT min(at) FROM lag_group WHERE source = ?1 AND at >= (step.at / ?4 + 1) * ?4 AND at < ?3) \
     FROM step WHERE step.at IS NOT NULL) \
     SELECT g.source, g.at, g.samples FROM step JOIN lag_group g ON g.source = ?1 AND g.at = step.at \
     ORDER BY g.at DESC";

/// Ends by topic number, instant and partition.
type Ends = HashMap<(i64, i64), Vec<TopicSample>>;

impl History {
    /// Appends the rows of one or several polls in one transaction. Writing a poll again replaces it.
    ///
    /// # Errors
    /// When nothing was written.
    pub async fn append_lag(&self, rows: impl IntoIterator<Item = LagRow>) -> Result<()> {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        self.write("lag history", async |connection, sources| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut groups = GroupPolls::default();
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
                groups.push(
                    (group, at),
                    GroupSample {
                        topic,
                        partition: row.partition,
                        committed: row.committed,
                        time_lag_ms: row.time_lag_ms,
                        state: row.state,
                    },
                );
            }
            for ((group, at), samples) in groups.finish() {
                sqlx::query(
                    "INSERT OR REPLACE INTO lag_group (source, at, samples) VALUES (?, ?, ?)",
                )
                .bind(group)
                .bind(at)
                .bind(samples)
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
        let readers = &self.inner.readers;
        let (from, to) = (int(from.0), int(to.0));
        let step = step.map(|step| int(u64::try_from(step.as_nanos()).unwrap_or(u64::MAX)));
        let polls = match step.filter(|step| *step > 1) {
            None => group_polls(
                sqlx::query(EVERY_POLL)
                    .bind(source)
                    .bind(from)
                    .bind(to)
                    .fetch(readers),
            ),
            Some(step) => group_polls(
                sqlx::query(FIRST_POLL_OF_EACH_STEP)
                    .bind(source)
                    .bind(from)
                    .bind(to)
                    .bind(step)
                    .fetch(readers),
            ),
        };
        let polls = polls.await?;
        self.assemble(cluster, polls).await
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
        .fetch(&self.inner.readers);
        let polls = group_polls(polls).await?;
        self.assemble(cluster, polls).await
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
        .fetch(&self.inner.readers);
        let names = HashMap::from([(source, Arc::from(topic))]);
        end_rows(polls, &names, partition).await
    }

    /// The ends of every topic of a cluster from `at` on, topics that no group reads included. At most [`MAX_ROWS`],
    /// the newest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn ends_since(&self, cluster: &str, at: UnixNanos) -> Result<Vec<EndRow>> {
        let names = self.names(cluster, TOPIC).await?;
        let polls = sqlx::query(
            "SELECT t.source, t.at, t.samples FROM lag_source s JOIN lag_topic t ON t.source = s.id \
             WHERE s.cluster = ? AND s.kind = ? AND t.at >= ? ORDER BY t.at DESC",
        )
        .bind(cluster)
        .bind(TOPIC)
        .bind(int(at.0))
        .fetch(&self.inner.readers);
        end_rows(polls, &names, None).await
    }

    /// Joins the samples of groups with the ends of the same polls.
    async fn assemble(&self, cluster: &str, polls: Vec<GroupPoll>) -> Result<Vec<LagRow>> {
        let ends = self.ends_of(&polls).await?;
        let topic_names = self.names(cluster, TOPIC).await?;
        let group_names = self.names(cluster, GROUP).await?;
        let cluster: Arc<str> = cluster.into();
        let mut rows = Vec::new();
        for (group, at, poll) in polls {
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

    async fn ends_of(&self, polls: &[GroupPoll]) -> Result<Ends> {
        let samples = polls.iter().flat_map(|(_, _, samples)| samples);
        let topics: BTreeSet<i64> = samples.map(|sample| sample.topic).collect();
        let instants: BTreeSet<i64> = polls.iter().map(|(_, at, _)| *at).collect();
        let mut rows = sqlx::query(
            "SELECT source, at, samples FROM lag_topic WHERE source IN (SELECT value FROM json_each(?)) \
             AND at IN (SELECT value FROM json_each(?))",
        )
        .bind(format!("{:?}", Vec::from_iter(topics)))
        .bind(format!("{:?}", Vec::from_iter(instants)))
        .fetch(&self.inner.readers);
        let mut ends = Ends::new();
        while let Some(row) = rows.try_next().await.map_err(cannot_read(LAG))? {
            let samples = pack::read_topic(row.get(2)).map_err(damaged)?;
            ends.insert((row.get(0), row.get(1)), samples);
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
            .map_err(cannot_read(LAG))
    }

    async fn names(&self, cluster: &str, kind: u8) -> Result<HashMap<i64, Arc<str>>> {
        let rows = sqlx::query("SELECT id, name FROM lag_source WHERE cluster = ? AND kind = ?")
            .bind(cluster)
            .bind(kind)
            .fetch_all(&self.inner.readers)
            .await
            .map_err(cannot_read(LAG))?;
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

/// Decodes polls of groups as they come, newest first, until [`MAX_ROWS`] are there.
async fn group_polls(mut polls: Polls<'_>) -> Result<Vec<GroupPoll>> {
    let (mut taken, mut decoded) = (0, Vec::new());
    while let Some(poll) = polls.try_next().await.map_err(cannot_read(LAG))? {
        let samples = pack::read_group(poll.get(2)).map_err(damaged)?;
        taken += samples.len();
        if taken > MAX_ROWS {
            break;
        }
        decoded.push((poll.get(0), poll.get(1), samples));
    }
    Ok(decoded)
}

/// Decodes polls of topics as they come, newest first, until [`MAX_ROWS`] are there.
async fn end_rows(
    mut polls: Polls<'_>,
    names: &HashMap<i64, Arc<str>>,
    partition: Option<i32>,
) -> Result<Vec<EndRow>> {
    let mut rows = Vec::new();
    while let Some(poll) = polls.try_next().await.map_err(cannot_read(LAG))? {
        let Some(topic) = names.get(&poll.get::<i64, _>(0)) else {
            continue;
        };
        let mut samples = pack::read_topic(poll.get(2)).map_err(damaged)?;
        samples.retain(|sample| partition.is_none_or(|wanted| wanted == sample.partition));
        if rows.len() + samples.len() > MAX_ROWS {
            break;
        }
        rows.extend(samples.into_iter().map(|sample| EndRow {
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

fn damaged(source: crate::block::Corrupt) -> StoreError {
    StoreError::DamagedHistory { what: LAG, source }
}
