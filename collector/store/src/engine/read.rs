//! Loading blocks, and scanning them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use highwater_model::{CommittedBlock, Span, UnixNanos};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::partition::{Partition, decode_body, decode_head};
use super::sqlite::{int, is_damage, unsigned};
use super::store::{Inner, Store};
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::head::Head;
use crate::error::{Result, StoreError};
use crate::search::{SearchPage, SearchQuery};
use crate::spans::{Found, SpanReader, Wanted};

/// Heads fetched by one statement.
pub(super) const HEADS_AT_ONCE: usize = 64;
/// Bodies fetched by one statement hold at most so many bytes, or are one.
const BODY_BYTES_AT_ONCE: u64 = 8 << 20;

/// A decoded head with what `meta` adds.
#[derive(Debug)]
pub(super) struct LoadedHead {
    pub(super) block: u64,
    pub(super) arrived: UnixNanos,
    pub(super) head: Head,
}

impl LoadedHead {
    /// Out of a row of block, arrival and columns.
    pub(super) fn decode(block: u64, row: &SqliteRow) -> Result<Self> {
        Ok(Self {
            block,
            arrived: UnixNanos(unsigned(row.get(1))),
            head: decode_head(block, row.get(2))?,
        })
    }
}

/// A block's head and body.
pub(super) type LoadedBlock = (Arc<LoadedHead>, Arc<Body>);

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
                    LoadedHead::decode(unsigned(row.get(0)), row)
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

pub(super) async fn fetch(
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
    async fn find(&self, wanted: &[(Wanted, usize)]) -> Result<Vec<Found>> {
        self.inner.find(wanted).await
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
