//! Finding by key, and scanning.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures::future::try_join_all;
use highwater_model::{CommittedBlock, Span, SpanId, TraceId, UnixNanos};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::partition::{Partition, decode_body, decode_head};
use super::sqlite::{int, is_damage, unsigned};
use super::store::{Inner, Store};
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::fingerprint::{self, Fingerprint, Kind};
use crate::block::head::{Head, RowView};
use crate::block::recent::IdentitySet;
use crate::error::{Result, StoreError};
use crate::search::{SearchPage, SearchQuery};
use crate::spans::{Found, SpanReader, StoredSpan};

/// Heads fetched by one statement.
const HEADS_AT_ONCE: usize = 64;
/// Bodies fetched by one statement hold at most so many bytes, or are one.
const BODY_BYTES_AT_ONCE: u64 = 8 << 20;

/// So few blocks are read whole, in one go: a way from thread to thread for each step takes longer than a body that was
/// not needed.
const FEW_BLOCKS: usize = 4;

/// A decoded head with what `meta` adds.
#[derive(Debug)]
pub(super) struct LoadedHead {
    pub(super) block: u64,
    pub(super) arrived: UnixNanos,
    pub(super) head: Head,
}

/// A block's head and body.
pub(super) type LoadedBlock = (Arc<LoadedHead>, Arc<Body>);

/// What is looked for: the key in the index, and the test that leaves out what only shares its fingerprint.
#[derive(Clone, Debug)]
enum Wanted {
    Trace(TraceId),
    Correlation(Arc<str>),
    LinkingTo(TraceId, Option<SpanId>),
    Record(Arc<str>, i32, i64),
}

impl Wanted {
    fn key(&self) -> (Kind, Fingerprint) {
        match self {
            Self::Trace(id) => (Kind::Trace, fingerprint::trace(*id)),
            Self::Correlation(value) => (Kind::Correlation, fingerprint::correlation(value)),
            Self::LinkingTo(trace, _) => (Kind::LinkTarget, fingerprint::link_target(*trace)),
            Self::Record(topic, partition, offset) => (
                Kind::Record,
                fingerprint::record(topic, *partition, *offset),
            ),
        }
    }

    /// Whether a span may be meant, by its block's head.
    fn may_be(&self, row: RowView<'_>) -> bool {
        match self {
            Self::Trace(id) => row.trace() == *id,
            Self::Correlation(value) => row.correlations().any(|other| other == &**value),
            Self::LinkingTo(trace, _) => {
                let target = fingerprint::link_target(*trace);
                row.link_fingerprints().contains(&target)
            }
            Self::Record(topic, partition, offset) => {
                row.destination() == Some(topic)
                    && (!row.link_fingerprints().is_empty()
                        || (row.row.partition, row.row.offset) == (Some(*partition), Some(*offset)))
            }
        }
    }

    /// Whether a span is meant.
    fn is(&self, span: &Span) -> bool {
        match self {
            Self::Trace(id) => span.trace_id == *id,
            Self::Correlation(value) => span.correlations.iter().any(|c| c.value == *value),
            Self::LinkingTo(trace, target) => span.links.iter().any(|link| {
                link.trace_id == *trace && target.is_none_or(|target| link.span_id == target)
            }),
            Self::Record(topic, partition, offset) => {
                span.messaging.as_ref().is_some_and(|messaging| {
                    let record = (Some(*partition), Some(*offset));
                    messaging.destination.as_ref() == Some(topic)
                        && ((messaging.partition, messaging.offset) == record
                            || span
                                .links
                                .iter()
                                .any(|link| (link.partition, link.offset) == record))
                })
            }
        }
    }
}

impl Inner {
    /// Loads the heads of `blocks`, in their order; those that are gone are left out.
    pub(super) async fn heads(
        &self,
        partition: &Partition,
        blocks: &[u64],
    ) -> Result<Vec<Arc<LoadedHead>>> {
        let mut cached: Vec<_> = blocks
            .iter()
            .map(|block| self.heads.get((partition.listed.id, *block)))
            .collect();
        let missing: Vec<u64> = blocks
            .iter()
            .zip(&cached)
            .filter_map(|(block, head)| head.is_none().then_some(*block))
            .filter(|block| !partition.damage.has(*block))
            .collect();
        for chunk in missing.chunks(HEADS_AT_ONCE) {
            let sql = "SELECT h.block, m.arrived, h.columns FROM head h JOIN meta m ON m.block = h.block \
                       WHERE h.block IN (SELECT value FROM json_each(?))";
            let rows = fetch(partition, sql, chunk, "heads of blocks").await?;
            let heads = off_the_runtime(move |asked| {
                let heads = rows.iter().map(|row| {
                    asked.still()?;
                    let block = unsigned(row.get(0));
                    Ok(LoadedHead {
                        block,
                        arrived: UnixNanos(unsigned(row.get(1))),
                        head: decode_head(block, row.get(2))?,
                    })
                });
                Ok(heads.collect::<Vec<Result<_>>>())
            })
            .await?;
            for head in heads {
                let Some(head) = partition.damage.leave_out(head)? else {
                    continue;
                };
                let head = Arc::new(head);
                let key = (partition.listed.id, head.block);
                self.heads.put(key, &head, head.head.weight());
                let places = blocks.iter().zip(&mut cached);
                for (_, place) in places.filter(|(block, _)| **block == head.block) {
                    *place = Some(Arc::clone(&head));
                }
            }
        }
        Ok(cached.into_iter().flatten().collect())
    }

    /// Loads the bodies that belong to `heads`, in their order; those that are gone are left out.
    pub(super) async fn bodies(
        &self,
        partition: &Partition,
        heads: &[Arc<LoadedHead>],
    ) -> Result<Vec<LoadedBlock>> {
        let mut loaded = Vec::with_capacity(heads.len());
        let missing: Vec<u64> = {
            let mut missing = Vec::new();
            for head in heads {
                match self.bodies.get((partition.listed.id, head.block)) {
                    Some(body) => loaded.push((Arc::clone(head), body)),
                    None if partition.damage.has(head.block) => {}
                    None => missing.push(head.block),
                }
            }
            missing
        };
        if !missing.is_empty() {
            let sql =
                "SELECT block, spans FROM body WHERE block IN (SELECT value FROM json_each(?))";
            let rows = fetch(partition, sql, &missing, "bodies of blocks").await?;
            let of_block: HashMap<u64, Arc<LoadedHead>> = heads
                .iter()
                .map(|head| (head.block, Arc::clone(head)))
                .collect();
            let bodies = off_the_runtime(move |asked| {
                let decoded = rows.iter().filter_map(|row| {
                    let block = unsigned(row.get(0));
                    let head = Arc::clone(of_block.get(&block)?);
                    if let Err(given_up) = asked.still() {
                        return Some(Err(given_up));
                    }
                    let body = decode_body(block, row.get(1), &head.head);
                    Some(body.map(|body| (head, Arc::new(body))))
                });
                Ok(decoded.collect::<Vec<Result<_>>>())
            })
            .await?;
            for body in bodies {
                let Some((head, body)) = partition.damage.leave_out(body)? else {
                    continue;
                };
                let key = (partition.listed.id, head.block);
                self.bodies.put(key, &body, body.weight());
                loaded.push((head, body));
            }
            let place = |block: u64| heads.iter().position(|head| head.block == block);
            loaded.sort_by_key(|(head, _)| place(head.block));
        }
        Ok(loaded)
    }

    async fn find(&self, wanted: Wanted, limit: usize) -> Result<Found> {
        let (kind, fingerprint) = wanted.key();
        let mut found = Finder {
            seen: IdentitySet::default(),
            found: Found::default(),
            damaged: Vec::new(),
            limit,
        };
        let partitions = self.partitions();
        // All at once: from thread to thread and back takes longer than a look into an index, the longer the busier the
        // machine is.
        let indexes = partitions
            .iter()
            .rev()
            .map(|partition| partition.find(kind, fingerprint));
        let listed = try_join_all(indexes).await?;
        for (partition, blocks) in partitions.iter().rev().zip(listed) {
            if blocks.is_empty() {
                continue;
            }
            if blocks.len() <= FEW_BLOCKS {
                found = self.find_in(partition, &blocks, &wanted, found).await?;
                if found.found.truncated {
                    return Ok(found.finish());
                }
                continue;
            }
            for chunk in blocks.chunks(HEADS_AT_ONCE) {
                let mut heads = self.heads(partition, chunk).await?;
                heads.retain(|head| head.head.rows().any(|row| wanted.may_be(row)));
                for group in by_size(&heads) {
                    let loaded = self.bodies(partition, group).await?;
                    let (wanted, rules) = (wanted.clone(), self.options.rules.clone());
                    found = off_the_runtime(move |asked| {
                        for (head, body) in &loaded {
                            asked.still()?;
                            found.add(head, body, &wanted, &rules);
                        }
                        Ok(found)
                    })
                    .await?;
                    for (block, reason) in found.damaged.drain(..) {
                        partition.damage.of_block(block, &reason);
                    }
                }
                if found.found.truncated {
                    return Ok(found.finish());
                }
            }
        }
        Ok(found.finish())
    }
}

impl Inner {
    /// Finds what is wanted in a few blocks: one statement, and what is not in memory is decoded here. That takes less
    /// time than two ways from thread to thread, and the threads of pages have nothing else to do.
    async fn find_in(
        &self,
        partition: &Partition,
        blocks: &[u64],
        wanted: &Wanted,
        mut found: Finder,
    ) -> Result<Finder> {
        let id = partition.listed.id;
        let blocks = blocks.iter().filter(|block| !partition.damage.has(**block));
        let cached: Vec<(u64, Option<LoadedBlock>)> = blocks
            .map(|block| {
                let key = (id, *block);
                (*block, self.heads.get(key).zip(self.bodies.get(key)))
            })
            .collect();
        let missing: Vec<u64> = cached
            .iter()
            .filter_map(|(block, loaded)| loaded.is_none().then_some(*block))
            .collect();
        let rows = if missing.is_empty() {
            Vec::new()
        } else {
            let sql = "SELECT h.block, m.arrived, h.columns, b.spans FROM head h JOIN meta m ON m.block = h.block \
                       JOIN body b ON b.block = h.block WHERE h.block IN (SELECT value FROM json_each(?))";
            fetch(partition, sql, &missing, "blocks").await?
        };
        let rules = &self.options.rules;
        for (block, loaded) in cached {
            if let Some((head, body)) = loaded {
                found.add(&head, &body, wanted, rules);
                continue;
            }
            let row = rows.iter().find(|row| unsigned(row.get(0)) == block);
            let Some(row) = row else { continue };
            let decoded = decode_if(block, row, wanted);
            let Some((head, body)) = partition.damage.leave_out(decoded)? else {
                continue;
            };
            let key = (id, block);
            self.heads.put(key, &head, head.head.weight());
            if let Some(body) = body {
                found.add(&head, &body, wanted, rules);
                self.bodies.put(key, &body, body.weight());
            }
        }
        for (block, reason) in found.damaged.drain(..) {
            partition.damage.of_block(block, &reason);
        }
        Ok(found)
    }
}

/// Decodes a block; only its head, where that tells that nothing in it is wanted.
fn decode_if(
    block: u64,
    row: &SqliteRow,
    wanted: &Wanted,
) -> Result<(Arc<LoadedHead>, Option<Arc<Body>>)> {
    let head = LoadedHead {
        block,
        arrived: UnixNanos(unsigned(row.get(1))),
        head: decode_head(block, row.get(2))?,
    };
    let body = if head.head.rows().any(|row| wanted.may_be(row)) {
        Some(Arc::new(decode_body(block, row.get(3), &head.head)?))
    } else {
        None
    };
    Ok((Arc::new(head), body))
}

/// Collects what is wanted out of blocks, the newest block first.
struct Finder {
    seen: IdentitySet,
    found: Found,
    /// Blocks with a span that could not be read; the others of the block count.
    damaged: Vec<(u64, Corrupt)>,
    limit: usize,
}

impl Finder {
    fn add(
        &mut self,
        head: &LoadedHead,
        body: &Body,
        wanted: &Wanted,
        rules: &highwater_model::normalise::Rules,
    ) {
        for row in head.head.rows().filter(|row| wanted.may_be(*row)) {
            let stored = body.stored(row, head.arrived, rules);
            let stored = match stored {
                Ok(stored) => stored,
                Err(reason) => {
                    self.damaged.push((head.block, reason));
                    continue;
                }
            };
            if !wanted.is(&stored.span) {
                continue;
            }
            // A resend that came too late to be recognised is dropped here.
            if !self.seen.insert(row.identity()) {
                continue;
            }
            if self.found.spans.len() >= self.limit {
                self.found.truncated = true;
                return;
            }
            self.found.spans.push(stored);
        }
    }

    fn finish(mut self) -> Found {
        self.found
            .spans
            .sort_by_key(|stored: &StoredSpan| (stored.span.start, stored.span.span_id));
        self.found
    }
}

/// Cuts a run of heads into groups whose bodies fit in memory together.
pub(super) fn by_size(heads: &[Arc<LoadedHead>]) -> Vec<&[Arc<LoadedHead>]> {
    let mut groups = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (i, head) in heads.iter().enumerate() {
        bytes += head.head.body_bytes();
        if bytes > BODY_BYTES_AT_ONCE && i > from {
            groups.push(&heads[from..i]);
            (from, bytes) = (i, head.head.body_bytes());
        }
    }
    if from < heads.len() {
        groups.push(&heads[from..]);
    }
    groups
}

async fn fetch(
    partition: &Partition,
    sql: &'static str,
    blocks: &[u64],
    what: &'static str,
) -> Result<Vec<SqliteRow>> {
    // A list of numbers as JSON: one statement, prepared once, whatever their number.
    let list = format!("{blocks:?}");
    let rows = sqlx::query(sql)
        .bind(list)
        .fetch_all(&partition.readers)
        .await;
    match rows {
        Ok(rows) => Ok(rows),
        Err(source) if is_damage(&source) => one_by_one(partition, sql, blocks, what).await,
        Err(source) => partition.read_error(what, source).map(|()| Vec::new()),
    }
}

/// Fetches each block for itself, and sets those aside that SQLite cannot read.
async fn one_by_one(
    partition: &Partition,
    sql: &'static str,
    blocks: &[u64],
    what: &'static str,
) -> Result<Vec<SqliteRow>> {
    let mut rows = Vec::with_capacity(blocks.len());
    for block in blocks {
        let row = sqlx::query(sql)
            .bind(format!("[{block}]"))
            .fetch_optional(&partition.readers)
            .await;
        match row {
            Ok(row) => rows.extend(row),
            Err(source) if is_damage(&source) => partition.damage.of_block(*block, &source),
            Err(source) => partition.read_error(what, source)?,
        }
    }
    Ok(rows)
}

/// Runs decoding beside the runtime's threads: a slow reader never slows a writer. When the future is dropped, the
/// work is told at its next block.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce(&Asked) -> Result<T> + Send + 'static,
) -> Result<T> {
    // Lives in the future, and dies with it.
    let asks = Arc::new(());
    let asked = Asked(Arc::downgrade(&asks));
    let done = tokio::task::spawn_blocking(move || work(&asked)).await;
    drop(asks);
    done.map_err(StoreError::Background)?
}

/// Whether somebody waits for an answer still.
#[derive(Debug)]
pub(super) struct Asked(Weak<()>);

impl Asked {
    pub(super) fn still(&self) -> Result<()> {
        if self.0.strong_count() == 0 {
            return Err(StoreError::GivenUp);
        }
        Ok(())
    }
}

/// The numbers of up to `limit` blocks after one, up to another.
async fn blocks_between(
    partition: &Partition,
    after: u64,
    last: u64,
    limit: usize,
) -> Result<Vec<u64>> {
    let blocks = sqlx::query_scalar::<_, i64>(
        "SELECT block FROM meta WHERE block > ? AND block <= ? ORDER BY block LIMIT ?",
    )
    .bind(int(after))
    .bind(int(last))
    .bind(int(limit as u64))
    .fetch_all(&partition.readers)
    .await;
    match blocks {
        Ok(blocks) => Ok(blocks.into_iter().map(unsigned).collect()),
        Err(source) => {
            partition.list_error(source)?;
            Ok(Vec::new())
        }
    }
}

/// Blocks with the spans of them that can be read, and those with one that cannot.
fn replayed(
    loaded: &[LoadedBlock],
    rules: &highwater_model::normalise::Rules,
) -> (Vec<CommittedBlock>, Vec<(u64, Corrupt)>) {
    let mut damaged = Vec::new();
    let blocks = loaded.iter().map(|(head, body)| {
        let spans = head.head.rows().filter_map(|row| {
            let span = body.span(row, rules);
            span.map_err(|reason| damaged.push((head.block, reason)))
                .ok()
        });
        CommittedBlock {
            block: head.block,
            arrived: head.arrived,
            spans: spans.collect::<Vec<Span>>().into(),
        }
    });
    (blocks.collect(), damaged)
}

impl SpanReader for Store {
    async fn trace(&self, id: TraceId, limit: usize) -> Result<Found> {
        self.inner.find(Wanted::Trace(id), limit).await
    }

    async fn by_correlation(&self, value: &str, limit: usize) -> Result<Found> {
        self.inner
            .find(Wanted::Correlation(value.into()), limit)
            .await
    }

    async fn linking_to(
        &self,
        trace: TraceId,
        span: Option<SpanId>,
        limit: usize,
    ) -> Result<Found> {
        self.inner.find(Wanted::LinkingTo(trace, span), limit).await
    }

    async fn by_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        limit: usize,
    ) -> Result<Found> {
        let wanted = Wanted::Record(topic.into(), partition, offset);
        self.inner.find(wanted, limit).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        self.find_traces(query).await
    }

    async fn scan_after(&self, block: u64, limit: usize) -> Result<Vec<CommittedBlock>> {
        let inner = &self.inner;
        let mut scanned = Vec::new();
        for partition in inner.partitions().iter() {
            let left = limit - scanned.len();
            if left == 0 {
                break;
            }
            // What a commit that failed may have left behind it is nobody's.
            let last = partition.facts().last_block.min(self.last_block());
            if last <= block {
                continue;
            }
            let mut after = block;
            // On to the next ones when none of these can be read: an empty answer is the end.
            while scanned.is_empty() || after == block {
                let listed = blocks_between(partition, after, last, left).await?;
                let Some(last) = listed.last() else { break };
                after = *last;
                for chunk in listed.chunks(HEADS_AT_ONCE) {
                    let heads = inner.heads(partition, chunk).await?;
                    for group in by_size(&heads) {
                        let loaded = inner.bodies(partition, group).await?;
                        let rules = inner.options.rules.clone();
                        let (blocks, damaged) =
                            off_the_runtime(move |_| Ok(replayed(&loaded, &rules))).await?;
                        for (block, reason) in damaged {
                            partition.damage.of_block(block, &reason);
                        }
                        scanned.extend(blocks);
                    }
                }
            }
        }
        Ok(scanned)
    }

    fn last_block(&self) -> u64 {
        self.inner.last_block.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::off_the_runtime;

    #[tokio::test]
    async fn work_beside_the_runtime_ends_when_nobody_waits_for_it() {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (ended, has_ended) = std::sync::mpsc::channel();
        let search = tokio::spawn(off_the_runtime(move |asked| {
            asked.still()?;
            begun.send(()).unwrap();
            while asked.still().is_ok() {
                std::thread::yield_now();
            }
            ended.send(()).unwrap();
            asked.still()
        }));
        tokio::task::spawn_blocking(move || {
            has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        })
        .await
        .unwrap();
        search.abort();
        tokio::task::spawn_blocking(move || {
            has_ended.recv_timeout(Duration::from_secs(30)).unwrap();
        })
        .await
        .unwrap();
    }
}
