//! Clustering: the spans of a full arrival partition are written again by trace, into a settled one.
//!
//! Spans of a trace arrive apart; a reader of the trace then reads a block for each, and every block has the trace's
//! ids and values once more. Written by trace they take less, and a trace is found in a block or two.
//!
//! - One transaction writes a partition's spans and their index; then the catalog says in one transaction that the
//!   arrival partition goes. A crash between leaves the spans in both files, and the next start removes the first.
//! - A reader keeps the partitions that it began with: an arrival partition's file goes when the last of them ends.
//! - Only what the flow's checkpoint has in it is clustered: what a start must replay stands in order of arrival.
//! - Traces stand by their first start, so that a settled block has spans of about one time, as a search expects.
//! - The work runs on a thread of its own that gives way to all others, and holds a few ten megabytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_model::{TraceId, UnixNanos};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::Listed;
use super::partition::{Facts, Partition, decode_body, decode_head, insert_block, insert_segment};
use super::sqlite::{self, int, unsigned};
use super::store::{Inner, Store};
use crate::block::Corrupt;
use crate::block::encode::{EncodedBlock, Moved, OpenBlock};
use crate::block::fingerprint::{Fingerprint, linked_records};
use crate::block::gathered::{Gathered, GatheredSpan, Numbers, Renumbered};
use crate::block::head::Head;
use crate::block::runs::Index;
use crate::error::{Result, StoreError};

/// Spans in memory at once, as they were sent. With less, a block is decoded more often.
const BATCH_BYTES: u64 = 24 << 20;
/// Spans looked at together before they are moved: three waits each, and a core has some twenty under way at once.
const WARMED: usize = 16;
/// Blocks read by one statement.
const BLOCKS_AT_ONCE: i64 = 16;
/// A partition of an earlier version may hold many more spans than one of now: it is left as it is.
const TIMES_TOO_LARGE: u64 = 4;
/// How often it is seen whether the last reader of a partition has gone.
const READERS_SEEN: Duration = Duration::from_millis(20);

/// What clustering did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clustered {
    /// Spans that stand by trace now.
    pub spans: u64,
    /// Bytes of the file they were in.
    pub bytes_before: u64,
    /// Bytes they take now, without the index.
    pub bytes_after: u64,
}

/// How the work gives way to other work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    Background,
    Now,
}

/// Where a span stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    trace: u64,
    start: u64,
    block: u32,
    row: u32,
}

/// What was written.
#[derive(Default)]
struct Rewritten {
    blocks: u64,
    bytes: u64,
}

impl Store {
    /// Clusters the oldest partition that is full and that the flow's checkpoint has in it; `None` when there is
    /// none, or no room on the disk for it. Dropping the future does not stop what has begun.
    ///
    /// # Errors
    /// When a file cannot be read or written; nothing has changed then.
    pub async fn cluster_next(&self) -> Result<Option<Clustered>> {
        self.cluster(Pace::Background).await
    }

    pub(super) async fn cluster(&self, pace: Pace) -> Result<Option<Clustered>> {
        let store = self.clone();
        // A task of its own: between the commit and the change of the list there must be no end.
        tokio::spawn(async move { store.cluster_oldest(pace).await })
            .await
            .map_err(StoreError::Background)?
    }

    async fn cluster_oldest(&self, pace: Pace) -> Result<Option<Clustered>> {
        let inner = &self.inner;
        let _one_at_a_time = inner.clustering.lock().await;
        self.remove_left().await?;
        let Some((source, target)) = self.next_to_cluster().await? else {
            return Ok(None);
        };
        let facts = source.facts();
        let target = match target {
            Some(target) => target,
            None => self.begin_settled(&source).await?,
        };
        let rewritten = self.rewrite(&source, &target, pace).await;
        if let Err(error) = &rewritten
            && error.is_damage()
        {
            source.stuck.store(true, Ordering::Release);
        }
        let rewritten = rewritten?;
        let bytes_before = std::fs::metadata(&source.file).map_or(0, |metadata| metadata.len());
        self.replace(&source, &target, &facts, &rewritten).await?;
        self.remove_left().await?;
        if let Err(error) = self.merge(&target, pace).await {
            // The spans are clustered, and found as they were: more slowly, until it succeeds.
            tracing::warn!(error = &error as &dyn std::error::Error, file = %target.file.display(), "cannot merge an index");
        }
        let done = Clustered {
            spans: facts.spans,
            bytes_before,
            bytes_after: rewritten.bytes,
        };
        tracing::debug!(?done, file = %target.file.display(), "clustered a partition");
        Ok(Some(done))
    }

    /// The oldest partition that can be clustered, where the disk has room for it, and the settled one before it, where its spans belong in that.
    async fn next_to_cluster(&self) -> Result<Option<(Arc<Partition>, Option<Arc<Partition>>)>> {
        let inner = &self.inner;
        let replayed = inner.history.checkpoint_block().await?;
        let partitions = inner.partitions();
        let Some((_, closed)) = partitions.split_last() else {
            return Ok(None);
        };
        let fits = |partition: &Partition| {
            let facts = partition.facts();
            !partition.listed.settled
                && facts.blocks > 0
                && facts.last_block <= replayed
                && facts.spans / TIMES_TOO_LARGE <= inner.options.partition_spans
                && !partition.stuck.load(Ordering::Acquire)
        };
        let Some(place) = closed.iter().position(|partition| fits(partition)) else {
            return Ok(None);
        };
        let source = Arc::clone(&closed[place]);
        if !self.has_room_to_cluster(&source) {
            tracing::debug!(file = %source.file.display(), "no room on the disk to cluster a partition");
            return Ok(None);
        }
        let before = place.checked_sub(1).map(|before| &closed[before]);
        let target = before.filter(|before| {
            let (settled, arrived) = (&before.listed, &source.listed);
            settled.settled
                && (settled.opens, settled.closes) == (arrived.opens, arrived.closes)
                && before.facts().bytes < inner.options.partition_bytes()
        });
        Ok(Some((source, target.cloned())))
    }

    /// Begins a settled partition, which stands before `source` and takes its time.
    async fn begin_settled(&self, source: &Arc<Partition>) -> Result<Arc<Partition>> {
        let inner = &self.inner;
        let mut catalog = inner.catalog.lock().await;
        let (id, _) = catalog.counters().await?;
        let listed = Listed {
            id,
            settled: true,
            retiring: false,
            ..source.listed
        };
        let first = source.facts().first_block;
        let (target, connection) =
            Partition::open(&inner.dir, listed, inner.options.readers, first, |_| {}).await?;
        sqlite::close_writer(connection).await;
        catalog.add(listed).await?;
        let mut partitions = inner.partitions.write();
        let mut list = Vec::clone(&partitions);
        let place = list.iter().position(|other| Arc::ptr_eq(other, source));
        list.insert(place.unwrap_or(0), Arc::clone(&target));
        *partitions = Arc::new(list);
        Ok(target)
    }

    /// Writes the spans of `source` into `target`, by trace, in one transaction.
    async fn rewrite(
        &self,
        source: &Arc<Partition>,
        target: &Arc<Partition>,
        pace: Pace,
    ) -> Result<Rewritten> {
        let (inner, source, target) = (
            Arc::clone(&self.inner),
            Arc::clone(source),
            Arc::clone(target),
        );
        self.on_a_thread(pace, "cluster", async move || {
            let mut connection = sqlite::open_writer(&target.file, sqlite::PARTITION).await?;
            let written = write_by_trace(&inner, &source, &mut connection).await;
            // After a failure, with it goes what was begun.
            sqlite::close_writer(connection).await;
            written
        })
        .await?
    }

    /// Runs work on a thread of its own, which gives way to all others where the pace says so.
    ///
    /// A connection's thread gives way as the thread does that opens it. So the work opens those that it uses itself, and asks
    /// nothing of a partition's readers: they would serve look-ups as slowly afterwards.
    pub(super) async fn on_a_thread<T: Send + 'static>(
        &self,
        pace: Pace,
        name: &str,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let nice = self.inner.options.background_nice;
        let (done, outcome) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if pace == Pace::Background {
                    // Of this thread only, as Linux has it; elsewhere it is at worst not nice.
                    let _ = rustix::process::nice(nice);
                }
                let _ = done.send(runtime.block_on(work()));
            })
            .map_err(|source| StoreError::Directory {
                dir: self.inner.dir.clone(),
                source,
            })?;
        outcome.await.map_err(|_| {
            cannot_cluster(sqlx::Error::Protocol("the clustering thread ended".into()))
        })
    }

    /// From here on readers find the spans in `target`; `source` goes when those that have it now are done.
    async fn replace(
        &self,
        source: &Arc<Partition>,
        target: &Arc<Partition>,
        facts: &Facts,
        rewritten: &Rewritten,
    ) -> Result<()> {
        let inner = &self.inner;
        let _not_while_sealing = inner.sealing.lock().await;
        let mut catalog = inner.catalog.lock().await;
        let still_there = |wanted: &Arc<Partition>| {
            let partitions = inner.partitions();
            partitions.iter().any(|other| Arc::ptr_eq(other, wanted))
        };
        if !still_there(source) || !still_there(target) {
            // Retention was faster; what is left of the two is whole.
            return Ok(());
        }
        catalog.retire(source.listed.id, facts.last_block).await?;
        let mut partitions = inner.partitions.write();
        let mut list = Vec::clone(&partitions);
        target.absorb(facts, rewritten.blocks, rewritten.bytes);
        list.retain(|other| !Arc::ptr_eq(other, source));
        *partitions = Arc::new(list);
        inner.left.lock().push(Arc::clone(source));
        Ok(())
    }

    /// Removes the files of partitions that were clustered and that no reader has any more.
    pub(super) async fn remove_left(&self) -> Result<()> {
        let inner = &self.inner;
        loop {
            let free = {
                let mut left = inner.left.lock();
                let free = left
                    .iter()
                    .position(|partition| Arc::strong_count(partition) == 1);
                free.map(|place| left.swap_remove(place))
            };
            let Some(partition) = free else {
                return Ok(());
            };
            partition.retire();
            partition.readers.close().await;
            super::retain::remove_files(&partition.file)?;
            let mut catalog = inner.catalog.lock().await;
            catalog.forget(partition.listed.id).await?;
        }
    }

    /// Waits until no reader has a partition that was clustered, and removes them.
    pub(super) async fn wait_for_left(&self) -> Result<()> {
        loop {
            self.remove_left().await?;
            if self.inner.left.lock().is_empty() {
                return Ok(());
            }
            // Nothing tells when the last reader of a file lets go: it is looked for.
            tokio::time::sleep(READERS_SEEN).await;
        }
    }
}

pub(super) fn cannot_cluster(source: sqlx::Error) -> StoreError {
    StoreError::Cluster { source }
}

/// The work of the thread.
async fn write_by_trace(
    inner: &Inner,
    source: &Partition,
    connection: &mut SqliteConnection,
) -> Result<Rewritten> {
    let facts = source.facts();
    let (mut reader, _) = sqlite::open_reader(&source.file, sqlite::PARTITION).await?;
    let plan = plan(inner, source, &mut reader).await?;
    let transaction = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = transaction.map_err(cannot_cluster)?;
    remove_between(&mut transaction, facts.first_block, facts.last_block)
        .await
        .map_err(cannot_cluster)?;
    let mut writer = Writer {
        transaction,
        open: OpenBlock::default(),
        blocks: 1,
        arrived: UnixNanos(0),
        held: None,
        next: facts.first_block,
        last: facts.last_block,
        index: Index::new(facts.first_block),
        numbers: Numbers::default(),
        rewritten: Rewritten::default(),
    };
    let mut gathered = Gathered::default();
    for batch in &plan {
        let (mut sources, spans) = spans_of(inner, &mut reader, batch, &mut gathered).await?;
        writer.numbers.clear();
        for next in spans.chunks(WARMED) {
            warm(&sources, &gathered, next);
            for span in next {
                let source = &mut sources[span.source as usize];
                writer.push(inner, &gathered, source, *span).await?;
            }
        }
    }
    writer.finish().await
}

/// Removes what an earlier attempt left: a commit that failed may still be found, once its log is read again.
async fn remove_between(
    connection: &mut SqliteConnection,
    first: u64,
    last: u64,
) -> sqlx::Result<()> {
    for statement in [
        "DELETE FROM meta WHERE block BETWEEN ? AND ?",
        "DELETE FROM head WHERE block BETWEEN ? AND ?",
        "DELETE FROM body WHERE block BETWEEN ? AND ?",
        "DELETE FROM segment WHERE id BETWEEN ? AND ?",
        "DELETE FROM ix WHERE segment BETWEEN ? AND ?",
    ] {
        sqlx::query(statement)
            .bind(int(first))
            .bind(int(last))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The places of all spans in their new order, cut into batches that fit in memory: (block, row).
async fn plan(
    inner: &Inner,
    source: &Partition,
    reader: &mut SqliteConnection,
) -> Result<Vec<Vec<(u64, u32)>>> {
    let first = source.facts().first_block;
    let mut places = Vec::with_capacity(source.facts().spans as usize);
    let mut sizes: Vec<(u64, u64)> = Vec::new();
    let mut after = 0;
    loop {
        inner.go_on()?;
        let rows =
            sqlx::query("SELECT block, columns FROM head WHERE block > ? ORDER BY block LIMIT ?")
                .bind(int(after))
                .bind(BLOCKS_AT_ONCE)
                .fetch_all(&mut *reader)
                .await
                .map_err(cannot_cluster)?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            after = unsigned(row.get(0));
            let head = decode_head(after, row.get(1))?;
            let block = u32::try_from(after.saturating_sub(first)).unwrap_or(u32::MAX);
            sizes.push((after, head.body_bytes() / (head.len() as u64).max(1)));
            places.extend(head.rows().zip(0..).map(|(row, index)| Place {
                trace: trace_key(row.trace()),
                start: row.row.start,
                block,
                row: index,
            }));
        }
    }
    let known = source.facts();
    if (places.len() as u64) < known.spans {
        return Err(missing(known.first_block));
    }
    places.sort_unstable();
    let mut traces: Vec<(u64, u64, &[Place])> = places
        .chunk_by(|a, b| a.trace == b.trace)
        .map(|trace| (trace[0].start, trace[0].trace, trace))
        .collect();
    traces.sort_unstable_by_key(|(start, key, _)| (*start, *key));
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for place in traces.into_iter().flat_map(|(_, _, trace)| trace) {
        let block = first + u64::from(place.block);
        let size = sizes.binary_search_by_key(&block, |(block, _)| *block);
        bytes += size.map_or(0, |place| sizes[place].1);
        batch.push((block, place.row));
        if bytes >= BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    batches.push(batch);
    Ok(batches)
}

fn missing(block: u64) -> StoreError {
    StoreError::Damaged {
        block,
        source: Corrupt("spans of this block or one after it are missing"),
    }
}

fn trace_key(trace: TraceId) -> u64 {
    xxh3_64(&trace.0)
}

/// A block that spans are moved from: what of them their pieces do not tell.
struct Source {
    arrived: UnixNanos,
    head: Head,
    origins: Vec<bytes::Bytes>,
    /// The records that the links of its spans name, in order, with the row of each.
    records: Vec<(u32, Fingerprint)>,
    renumbered: Renumbered,
    /// The block that it is renumbered for.
    renumbered_for: u64,
}

/// A span on its way from block to block.
#[derive(Clone, Copy)]
struct Moving {
    /// Its place among the sources.
    source: u32,
    row: u32,
    span: GatheredSpan,
}

/// Looks at spans that are moved next. By trace they stand far from each other, and one after the other each is waited for: here
/// the waits overlap.
fn warm(sources: &[Source], gathered: &Gathered, spans: &[Moving]) {
    for span in spans {
        let row = sources[span.source as usize].head.row(span.row as usize);
        std::hint::black_box((row.row.start, gathered.newest(span.span)));
    }
}

/// Reads spans into `gathered`; gives the blocks they are from, and them in the order of `places`.
async fn spans_of(
    inner: &Inner,
    reader: &mut SqliteConnection,
    places: &[(u64, u32)],
    gathered: &mut Gathered,
) -> Result<(Vec<Source>, Vec<Moving>)> {
    gathered.clear();
    let mut numbers = Numbers::default();
    let mut by_block: Vec<(u64, u32, usize)> = places
        .iter()
        .enumerate()
        .map(|(at, (block, row))| (*block, *row, at))
        .collect();
    by_block.sort_unstable();
    let mut moved: Vec<Option<Moving>> = vec![None; places.len()];
    let mut sources = Vec::new();
    let blocks: Vec<&[(u64, u32, usize)]> = by_block.chunk_by(|a, b| a.0 == b.0).collect();
    for blocks in blocks.chunks(BLOCKS_AT_ONCE as usize) {
        inner.go_on()?;
        let wanted: Vec<u64> = blocks.iter().map(|spans| spans[0].0).collect();
        let rows = sqlx::query(
            "SELECT h.block, m.arrived, h.columns, b.spans FROM head h JOIN meta m ON m.block = h.block \
             JOIN body b ON b.block = h.block WHERE h.block IN (SELECT value FROM json_each(?)) ORDER BY h.block",
        )
        .bind(format!("{wanted:?}"))
        .fetch_all(&mut *reader)
        .await
        .map_err(cannot_cluster)?;
        let mut rows = rows.iter();
        for spans in blocks {
            let block = spans[0].0;
            // A block of which a part is gone has no row; what is left of it is in this file only.
            let row = rows.next().filter(|row| unsigned(row.get(0)) == block);
            let row = row.ok_or(missing(block))?;
            let head = decode_head(block, row.get(2))?;
            let body = decode_body(block, row.get(3), &head)?;
            numbers.clear();
            let mut records = Vec::new();
            let source = sources.len() as u32;
            for (_, row, at) in *spans {
                let damaged = |source| StoreError::Damaged { block, source };
                let view = head.row(*row as usize);
                body.origin_blob(view).map_err(damaged)?;
                if !view.link_fingerprints().is_empty() {
                    let span = body.span(view, &inner.options.rules).map_err(damaged)?;
                    records.extend(linked_records(&span).map(|record| (*row, record)));
                }
                let span = body.gather(view, gathered, &mut numbers);
                moved[*at] = Some(Moving {
                    source,
                    row: *row,
                    span: span.map_err(damaged)?,
                });
            }
            sources.push(Source {
                arrived: UnixNanos(unsigned(row.get(1))),
                origins: body.into_origin_blobs(),
                head,
                records,
                renumbered: Renumbered::default(),
                renumbered_for: 0,
            });
        }
    }
    Ok((sources, moved.into_iter().flatten().collect()))
}

/// Writes blocks with the numbers of those that they replace. The last one gets the last number, so that a scan goes
/// on behind it; so one is always held back.
struct Writer<'a> {
    transaction: sqlx::Transaction<'a, sqlx::Sqlite>,
    open: OpenBlock,
    /// How many blocks there were, the open one too.
    blocks: u64,
    /// The last arrival in the open block.
    arrived: UnixNanos,
    held: Option<(EncodedBlock, UnixNanos)>,
    next: u64,
    last: u64,
    index: Index,
    /// Of the open block and the spans that are being written.
    numbers: Numbers,
    rewritten: Rewritten,
}

impl Writer<'_> {
    async fn push(
        &mut self,
        inner: &Inner,
        gathered: &Gathered,
        source: &mut Source,
        span: Moving,
    ) -> Result<()> {
        let options = &inner.options;
        let full = self.open.len() >= options.block_spans.max(1)
            || self.open.bytes() >= options.block_bytes;
        // Should numbers run out, which takes spans of very different sizes, the last block takes the rest.
        if full && self.next + u64::from(self.held.is_some()) < self.last {
            inner.go_on()?;
            self.close_block().await?;
        }
        if source.renumbered_for != self.blocks {
            source.renumbered.clear();
            source.renumbered_for = self.blocks;
        }
        let row = source.head.row(span.row as usize);
        let arrived = row.arrived().unwrap_or(source.arrived);
        self.arrived = self.arrived.max(arrived);
        let from = source.records.partition_point(|(of, _)| *of < span.row);
        let records = source.records[from..].iter();
        let moved = Moved {
            arrived,
            records: records
                .take_while(|(of, _)| *of == span.row)
                .map(|(_, record)| *record),
            origin: &source.origins[row.row.origin as usize],
            span: span.span,
        };
        self.open.push_row(
            row,
            moved,
            &mut source.renumbered,
            gathered,
            &mut self.numbers,
        );
        Ok(())
    }

    async fn close_block(&mut self) -> Result<()> {
        let spans = self.open.len();
        self.numbers.clear();
        self.blocks += 1;
        let block = self.open.finish().compress();
        let block = block.map_err(|source| StoreError::Compress { spans, source })?;
        let arrived = std::mem::take(&mut self.arrived);
        if let Some((before, arrived)) = self.held.replace((block, arrived)) {
            let number = self.next;
            self.next += 1;
            self.write(number, &before, arrived).await?;
        }
        Ok(())
    }

    async fn write(&mut self, number: u64, block: &EncodedBlock, arrived: UnixNanos) -> Result<()> {
        insert_block(&mut self.transaction, number, block, arrived)
            .await
            .map_err(cannot_cluster)?;
        self.index.push(number, block.summary.spans, &block.keys);
        self.rewritten.blocks += 1;
        self.rewritten.bytes += (block.head.len() + block.body.len()) as u64;
        Ok(())
    }

    async fn finish(mut self) -> Result<Rewritten> {
        if self.open.len() > 0 {
            self.close_block().await?;
        }
        if let Some((block, arrived)) = self.held.take() {
            self.write(self.last, &block, arrived).await?;
        }
        insert_segment(&mut self.transaction, &self.index, self.index.pack(), true)
            .await
            .map_err(cannot_cluster)?;
        self.transaction.commit().await.map_err(cannot_cluster)?;
        Ok(self.rewritten)
    }
}
