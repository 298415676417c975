//! Opening, writing and sealing.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::BuildHasherDefault;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use highwater_model::{Batch, UnixNanos};
use parking_lot::{Mutex, RwLock};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex as AsyncMutex;

use super::cache::Cache;
use super::catalog::{Catalog, Listed};
use super::cluster::Pace;
use super::damage::{self, Damage};
use super::inspect::Finding;
use super::partition::{Partition, remove_after, write_blocks, write_segment};
use super::{retain, room, sqlite};
use crate::block::body::Body;
use crate::block::encode::{EncodedBlock, OpenBlock, RawBlock, blocks};
use crate::block::recent::{Identity, IdentitySet, Recent, identity};
use crate::block::runs::Index;
use crate::error::{Result, StoreError};
use crate::history::History;
use crate::options::Options;
use crate::spans::{SpanWriter, Written};

/// Numbers of blocks that are passed over where the newest file cannot be read at the start: more than it has blocks. It may be
/// read at the next start, and two blocks of a number would be taken for one that was clustered.
const BLOCKS_UNSEEN: u64 = 1 << 24;

/// The embedded store of one data directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    /// Oldest first; replaced whole when one is added or retired, so that a reader keeps what it began with.
    pub(super) partitions: RwLock<Arc<Vec<Arc<Partition>>>>,
    pub(super) catalog: AsyncMutex<Catalog>,
    pub(super) writer: AsyncMutex<Writer>,
    /// Held while a segment is packed and written, and while a partition is retired.
    pub(super) sealing: AsyncMutex<()>,
    /// Held while a partition is clustered. Taken before all others.
    pub(super) clustering: AsyncMutex<()>,
    /// Clustered partitions whose files wait for their last reader.
    pub(super) left: Mutex<Vec<Arc<Partition>>>,
    pub(super) making_room: AtomicBool,
    /// Files of which nothing can be read: some that the catalog lists, and a history that was set aside.
    unreadable: Vec<Damage>,
    closing: AtomicBool,
    pub(super) heads: Cache<super::read::LoadedHead>,
    pub(super) bodies: Cache<Body>,
    pub(super) last_block: AtomicU64,
    pub(super) history: History,
    lock: Mutex<Option<File>>,
}

/// What only the one writer touches.
#[derive(Debug)]
pub(super) struct Writer {
    /// To the newest partition; `None` after a failure and before the first write.
    pub(super) connection: Option<SqliteConnection>,
    next_block: u64,
    recent: Recent,
    /// Empty between commits; it has the room that its blocks take.
    open: OpenBlock,
    /// A commit began and its end was not seen: what it may have left is removed before the next.
    unsure: bool,
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Bytes of all files, logs and history included.
    pub bytes: u64,
    /// Spans stored, resends that were not recognised at once included.
    pub spans: u64,
    /// Blocks.
    pub blocks: u64,
    /// Partition files.
    pub partitions: u64,
    /// First arrival kept.
    pub oldest: Option<UnixNanos>,
    /// Last arrival.
    pub newest: Option<UnixNanos>,
    /// Spans whose index is in memory still.
    pub unsealed_spans: u64,
    /// Spans that stand in order of arrival still.
    pub unclustered_spans: u64,
    /// Blocks that cannot be read and are left out, as far as they were met.
    pub damaged_blocks: u64,
    /// Files with damage in them; see [`Store::damage`].
    pub damaged_files: u64,
    /// Bytes that this process may still write to the file system of the data directory; `None` when it does not say.
    pub free_bytes: Option<u64>,
}

impl Store {
    /// Opens a data directory, or makes it, and holds it against other processes until the last clone is gone.
    ///
    /// Reads the heads of the open segment, about 0.2 s at its full half million spans. `now` decides what
    /// retention removes at once.
    ///
    /// # Errors
    /// The directory cannot be written, another process has it, a file is from a newer version, or the catalog is damaged.
    /// What retention cannot remove at once is logged, and is no error.
    pub async fn open(dir: &Path, options: Options, now: UnixNanos) -> Result<Self> {
        let lock = lock(dir)?;
        let mut catalog = Catalog::open(dir).await?;
        let (history, lost) = open_history(dir, &options, now).await?;
        let (_, retired_block) = catalog.counters().await?;
        // Also past what the flow has seen: should the disk have lost the end of a log, its ids are not used again.
        let mut last_block = retired_block.max(history.checkpoint_block().await?);
        let (mut partitions, mut unreadable) = (Vec::new(), Vec::from_iter(lost));
        let mut recent = Recent::new(options.recent_spans);
        let mut newest_unseen = false;
        for listed in catalog.list().await? {
            let file = super::catalog::partition_file(dir, listed.id);
            // A file is never empty from its beginning on: its first page is written with it. One of which the disk does not
            // tell its size is there, for all that is known.
            let gone = match file.metadata() {
                Ok(metadata) => metadata.len() == 0,
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            };
            if listed.retiring || gone {
                if !listed.retiring {
                    tracing::error!(file = %file.display(), "a span file is missing or empty; its spans are lost");
                }
                retain::remove_files(&file)?;
                catalog.forget(listed.id).await?;
                continue;
            }
            let cut = damage::lengthen(&file);
            let opened = Partition::open(dir, listed, options.readers, last_block + 1, |head| {
                head.rows().for_each(|row| recent.insert(row.identity()));
            })
            .await;
            let (partition, connection) = match opened {
                Ok(opened) => opened,
                Err(error) if error.is_damage() => {
                    if UnixNanos(listed.closes) + options.retention <= now {
                        retain::remove_files(&file)?;
                        catalog.forget(listed.id).await?;
                        continue;
                    }
                    let unread = Damage::new(&file);
                    unread.of_file(&format!("none of it can be read: {}", error.chain()));
                    unreadable.push(unread);
                    newest_unseen |= !listed.settled;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(missing) = cut {
                let what = format!("it ended {missing} bytes too early");
                partition.damage.of_file(&what);
            }
            last_block = last_block.max(partition.facts().last_block);
            newest_unseen &= listed.settled || partition.facts().blocks == 0;
            sqlite::close_writer(connection).await;
            partitions.push(partition);
        }
        if newest_unseen {
            last_block += BLOCKS_UNSEEN;
        }
        let partitions = without_settled(partitions, &mut catalog).await?;
        let store = Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                partitions: RwLock::new(Arc::new(partitions)),
                catalog: AsyncMutex::new(catalog),
                writer: AsyncMutex::new(Writer {
                    connection: None,
                    next_block: last_block + 1,
                    recent,
                    open: OpenBlock::default(),
                    unsure: false,
                }),
                sealing: AsyncMutex::new(()),
                clustering: AsyncMutex::new(()),
                left: Mutex::new(Vec::new()),
                making_room: AtomicBool::new(false),
                unreadable,
                closing: AtomicBool::new(false),
                heads: Cache::new(options.cache_bytes / 3),
                bodies: Cache::new(options.cache_bytes - options.cache_bytes / 3),
                last_block: AtomicU64::new(last_block),
                history,
                lock: Mutex::new(Some(lock)),
                options,
            }),
        };
        if let Err(error) = store.retain(now).await {
            // A full disk, say: what is there can be read, and room is made when it can be.
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "retention failed at the start; it is tried again");
        }
        store.seal_what_a_stop_left();
        Ok(store)
    }

    /// Aggregates and lag history.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    /// What the store holds now. Asks the file system for sizes, and nothing of the databases.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for partition in self.inner.partitions().iter() {
            let facts = partition.facts();
            stats.partitions += 1;
            stats.damaged_blocks += partition.damage.blocks();
            stats.damaged_files += u64::from(partition.damage.any());
            if facts.blocks == 0 {
                continue;
            }
            stats.spans += facts.spans;
            stats.blocks += facts.blocks;
            let oldest = stats
                .oldest
                .map_or(facts.first_arrival, |at| at.0.min(facts.first_arrival));
            let newest = stats
                .newest
                .map_or(facts.last_arrival, |at| at.0.max(facts.last_arrival));
            stats.oldest = Some(UnixNanos(oldest));
            stats.newest = Some(UnixNanos(newest));
            stats.unsealed_spans += partition.unsealed_spans();
            if !partition.listed.settled {
                stats.unclustered_spans += facts.spans;
            }
        }
        stats.damaged_files += self.inner.unreadable.len() as u64;
        if let Ok(entries) = std::fs::read_dir(&self.inner.dir) {
            let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
            stats.bytes = sizes.map(|metadata| metadata.len()).sum();
        }
        stats.free_bytes = room::disk(&self.inner.dir).map(|disk| disk.free);
        stats
    }

    /// What cannot be read and is left out, by file and block, and a history that was set aside: what was met since the start, and not
    /// what nobody has read; [`crate::Inspection::check`] looks at everything.
    #[must_use]
    pub fn damage(&self) -> Vec<Finding> {
        let partitions = self.inner.partitions();
        let damages = partitions.iter().map(|partition| &partition.damage);
        damages
            .chain(&self.inner.unreadable)
            .flat_map(Damage::findings)
            .collect()
    }

    /// Does what is done in the background, at once: every full segment's index is on disk, and what can be
    /// clustered is, when it returns.
    ///
    /// # Errors
    /// When something could not be written; it stays as it was, and is tried again.
    pub async fn settle(&self) -> Result<()> {
        self.seal_frozen().await?;
        while self.cluster(Pace::Now).await?.is_some() {}
        self.wait_for_left().await
    }

    /// Ends writing and reading, moves the logs into their files, and lets the directory go.
    pub async fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        let _clustering = self.inner.clustering.lock().await;
        let _sealing = self.inner.sealing.lock().await;
        let mut writer = self.inner.writer.lock().await;
        for partition in self.inner.partitions().iter() {
            partition.readers.close().await;
        }
        if let Some(connection) = writer.connection.take() {
            sqlite::close_writer(connection).await;
        }
        self.inner.history.close().await;
        self.inner.catalog.lock().await.close().await;
        self.inner.lock.lock().take();
    }

    /// Lets the newest partition grow by so many pages and no more, until its connection is made anew.
    #[cfg(test)]
    pub(crate) async fn allow_pages(&self, pages: i64) {
        let mut writer = self.inner.writer.lock().await;
        let connection = writer.connection.as_mut().unwrap();
        let now: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", now + pages));
        sqlx::query(limit).execute(connection).await.unwrap();
    }

    /// Older partitions take no more spans, and a full segment must not grow: both are packed now.
    fn seal_what_a_stop_left(&self) {
        let partitions = self.inner.partitions();
        let mut pending = false;
        for (i, partition) in partitions.iter().enumerate() {
            let closed = i + 1 < partitions.len();
            if closed || partition.unsealed_spans() >= self.inner.options.seal_spans {
                pending |= partition.freeze();
            }
        }
        if pending {
            self.seal_in_background();
        }
    }
}

/// Opens the history. One that is damaged, also when it is looked at again, is set aside, and a new one begun: the flow is then
/// counted anew from the spans, and the history of lag begins now.
async fn open_history(
    dir: &Path,
    options: &Options,
    now: UnixNanos,
) -> Result<(History, Option<Damage>)> {
    let file = dir.join("history.db");
    let open = || History::open(&file, options.history_retention, options.history_bytes);
    let open_and_read = async || {
        let history = open().await?;
        match history.try_reading().await {
            Ok(()) => Ok(history),
            Err(error) => {
                history.close().await;
                Err(error)
            }
        }
    };
    let mut opened = open_and_read().await;
    if opened.as_ref().is_err_and(StoreError::is_damage) {
        // A disk that did not read for a moment must not cost the whole history.
        opened = open_and_read().await;
    }
    let error = match opened {
        Ok(history) => return Ok((history, None)),
        Err(error) if error.is_damage() => error,
        Err(error) => return Err(error),
    };
    let aside = damage::set_aside(&file, now)?;
    let damage = Damage::new(&file);
    damage.of_file(&format!(
        "it was damaged, is kept as {aside}, and begun anew: {}",
        error.chain()
    ));
    Ok((open().await?, Some(damage)))
}

/// Takes the directory for this process.
fn lock(dir: &Path) -> Result<File> {
    let failed = |source| StoreError::Directory {
        dir: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

impl SpanWriter for Store {
    async fn write(&self, batches: &[Batch], now: UnixNanos) -> Result<Written> {
        let inner = &self.inner;
        let writer = &mut *inner.writer.lock().await;
        let (mut written, fresh) = writer.recognise(batches);
        if fresh.is_empty() {
            written.block = inner.last_block.load(Ordering::Acquire);
            return Ok(written);
        }
        self.look_for_room(now)?;
        let options = &inner.options;
        let raw = blocks(
            &mut writer.open,
            batches,
            &written.kept,
            options.block_spans,
            options.block_bytes,
        );
        let encoded = compress(raw, fresh.len()).await?;
        let partition = self.ready(writer, now).await?;
        let first = writer.next_block;
        let numbered: Vec<(u64, EncodedBlock)> = (first..).zip(encoded).collect();
        // Numbers are spent even when the commit fails: one that was not seen to end may still have happened.
        writer.next_block += numbered.len() as u64;
        writer.unsure = true;
        let Some(connection) = writer.connection.as_mut() else {
            return Err(cannot_write(fresh.len(), sqlx::Error::PoolClosed));
        };
        if let Err(source) = write_blocks(connection, &numbered, now).await {
            if sqlite::is_damage(&source) {
                partition.spoil(&source);
            }
            return Err(cannot_write(fresh.len(), source));
        }
        writer.unsure = false;
        written.block = writer.next_block - 1;
        inner.last_block.store(written.block, Ordering::Release);
        let full = partition.publish(&numbered, now, options.seal_spans);
        fresh.into_iter().for_each(|id| writer.recent.insert(id));
        if full && partition.freeze() {
            self.seal_in_background();
        }
        Ok(written)
    }
}

/// Opens the newest partition to write; without the blocks of a commit whose end was not seen, where there may be one.
async fn reopened(partition: &Partition, unsure: bool) -> Result<SqliteConnection> {
    let mut connection = sqlite::open_writer(&partition.file, sqlite::PARTITION).await?;
    if unsure {
        remove_after(&mut connection, partition.facts().last_block)
            .await
            .map_err(|source| StoreError::Open {
                file: partition.file.clone(),
                source,
            })?;
    }
    Ok(connection)
}

fn cannot_write(spans: usize, source: sqlx::Error) -> StoreError {
    StoreError::WriteSpans { spans, source }
}

/// Compresses beside the runtime's threads: 20 ms for a full commit.
async fn compress(raw: Vec<RawBlock>, spans: usize) -> Result<Vec<EncodedBlock>> {
    let compressed = tokio::task::spawn_blocking(move || {
        raw.into_iter()
            .map(RawBlock::compress)
            .collect::<std::io::Result<Vec<_>>>()
    });
    compressed
        .await
        .map_err(StoreError::Background)?
        .map_err(|source| StoreError::Compress { spans, source })
}

impl Writer {
    /// Tells resends from new spans. Nothing is remembered before the commit: until then a resend is welcome.
    fn recognise(&self, batches: &[Batch]) -> (Written, Vec<Identity>) {
        let mut written = Written::default();
        let spans = batches.iter().flat_map(|batch| &batch.spans);
        let identities: Vec<Identity> = spans
            .map(|one| identity(one.span.trace_id, one.span.span_id, one.hash as u32))
            .collect();
        // Looked up with nothing between one and the next, so that the waits for memory overlap: the sets are far
        // larger than a cache.
        let known: Vec<bool> = identities
            .iter()
            .map(|identity| self.recent.contains(*identity))
            .collect();
        let mut here =
            IdentitySet::with_capacity_and_hasher(identities.len(), BuildHasherDefault::default());
        let mut fresh = Vec::with_capacity(identities.len());
        written.kept.reserve_exact(identities.len());
        let mut of_spans = identities.iter().zip(known);
        for batch in batches {
            let before = fresh.len();
            for (identity, known) in of_spans.by_ref().take(batch.spans.len()) {
                let identity = *identity;
                let keep = !known && here.insert(identity);
                written.kept.push(keep);
                if keep {
                    fresh.push(identity);
                }
            }
            let stored = fresh.len() - before;
            written.stored.push(stored);
            written.duplicates += batch.spans.len() - stored;
        }
        (written, fresh)
    }
}

/// Orders partitions by what they hold, and removes those whose spans are in a settled one too: a crash came between
/// the two steps of clustering.
async fn without_settled(
    mut partitions: Vec<Arc<Partition>>,
    catalog: &mut Catalog,
) -> Result<Vec<Arc<Partition>>> {
    partitions.sort_by_key(|partition| {
        let facts = partition.facts();
        let first = if facts.blocks == 0 {
            u64::MAX
        } else {
            facts.first_block
        };
        (first, !partition.listed.settled, partition.listed.id)
    });
    let mut kept: Vec<Arc<Partition>> = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let first = partition.facts().first_block;
        // One that is empty was begun for spans that never came.
        let mut settled = partition.listed.settled && partition.facts().blocks == 0;
        for other in kept.iter().filter(|other| other.listed.settled) {
            settled |= !partition.listed.settled && first > 0 && other.has_segment(first).await?;
        }
        if settled {
            catalog
                .retire(partition.listed.id, partition.facts().last_block)
                .await?;
            retain::remove_files(&partition.file)?;
            catalog.forget(partition.listed.id).await?;
        } else {
            kept.push(partition);
        }
    }
    Ok(kept)
}

impl Inner {
    /// Ends work in the background when the store is being closed.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.closing.load(Ordering::Acquire) {
            return Err(StoreError::Closing);
        }
        Ok(())
    }

    pub(super) fn partitions(&self) -> Arc<Vec<Arc<Partition>>> {
        Arc::clone(&self.partitions.read())
    }

    /// A clock that goes back by less than a width stays in the partition: it opens no second one for the same time.
    fn takes(&self, partition: &Partition, now: UnixNanos) -> bool {
        let Listed { opens, closes, .. } = partition.listed;
        now.0 < closes
            && now.0.saturating_add(self.options.width_ns()) >= opens
            && partition.facts().bytes < self.options.partition_bytes()
            && partition.facts().spans < self.options.partition_spans
            && !partition.spoiled.load(Ordering::Acquire)
    }
}

impl Store {
    /// Gives the partition for an arrival at `now`, with a good connection in the writer.
    async fn ready(&self, writer: &mut Writer, now: UnixNanos) -> Result<Arc<Partition>> {
        let last = self.inner.partitions().last().cloned();
        let Some(partition) = last.filter(|last| !last.listed.settled) else {
            writer.unsure = false;
            return self.roll(writer, now).await;
        };
        if writer.unsure {
            // Whatever state the connection is in, a new one has none.
            writer.connection = None;
        }
        if writer.connection.is_none() {
            match reopened(&partition, writer.unsure).await {
                Ok(connection) => writer.connection = Some(connection),
                // What a commit may have left in it stays: the spans are sent again, and found once.
                Err(error) if error.is_damage() => {
                    partition.spoil(&error.chain());
                }
                Err(error) => return Err(error),
            }
            writer.unsure = false;
        }
        if self.inner.takes(&partition, now) {
            Ok(partition)
        } else {
            self.roll(writer, now).await
        }
    }

    /// Begins a partition. Its file is made first: a crash between leaves an empty file, used by the next attempt.
    async fn roll(&self, writer: &mut Writer, now: UnixNanos) -> Result<Arc<Partition>> {
        let inner = &self.inner;
        let mut catalog = inner.catalog.lock().await;
        let (id, _) = catalog.counters().await?;
        let width = inner.options.width_ns();
        let opens = now.0 / width * width;
        let listed = Listed {
            id,
            opens,
            closes: opens.saturating_add(width),
            retiring: false,
            settled: false,
        };
        let readers = inner.options.readers;
        let (partition, connection) =
            Partition::open(&inner.dir, listed, readers, writer.next_block, |_| {}).await?;
        catalog.add(listed).await?;
        let before = {
            let mut partitions = inner.partitions.write();
            let before = partitions.last().cloned();
            let mut list = Vec::clone(&partitions);
            list.push(Arc::clone(&partition));
            *partitions = Arc::new(list);
            before
        };
        if let Some(old) = writer.connection.replace(connection) {
            // Nobody needs to wait for the log to be moved.
            tokio::spawn(sqlite::close_writer(old));
        }
        tracing::info!(file = %partition.file.display(), "began a partition");
        if before.is_some_and(|before| before.freeze()) {
            self.seal_in_background();
        }
        Ok(partition)
    }

    fn seal_in_background(&self) {
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.seal_frozen().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a segment's index stays in memory"
                );
            }
        });
    }

    /// Packs full segments, one after the other: `segment` must never name a block before one that is not packed. A file
    /// that cannot be written keeps its own in memory, and gives its error when the others are done.
    async fn seal_frozen(&self) -> Result<()> {
        let inner = &self.inner;
        let _one_at_a_time = inner.sealing.lock().await;
        let mut outcome = Ok(());
        for partition in inner.partitions().iter() {
            while let Some(segment) = partition.frozen() {
                if let Err(error) = self.seal(partition, &segment).await {
                    outcome = outcome.and(Err(error));
                    break;
                }
            }
        }
        outcome
    }

    async fn seal(&self, partition: &Arc<Partition>, segment: &Arc<Index>) -> Result<()> {
        let inner = &self.inner;
        let packing = Arc::clone(segment);
        let rows = tokio::task::spawn_blocking(move || packing.pack())
            .await
            .map_err(StoreError::Background)?;
        let is_newest = || {
            let partitions = inner.partitions();
            partitions
                .last()
                .is_some_and(|newest| Arc::ptr_eq(newest, partition))
        };
        // SQLite has one writer a file. What is the newest no more takes nothing but its index, which is written here only:
        // nobody waits for that. While this waits for the newest, another may become it.
        let mut writer = None;
        if is_newest() {
            writer = Some(inner.writer.lock().await).filter(|_| is_newest());
        }
        let own = writer.as_mut().filter(|writer| !writer.unsure);
        let outcome = match own.and_then(|writer| writer.connection.as_mut()) {
            Some(connection) => {
                let outcome = write_segment(connection, segment, rows, partition.attributes).await;
                if outcome.is_err()
                    && let Some(writer) = &mut writer
                {
                    writer.connection = None;
                }
                outcome
            }
            None => {
                let mut connection =
                    sqlite::open_writer(&partition.file, sqlite::PARTITION).await?;
                let outcome =
                    write_segment(&mut connection, segment, rows, partition.attributes).await;
                sqlite::close_writer(connection).await;
                outcome
            }
        };
        outcome.map_err(|source| StoreError::WriteIndex { source })?;
        partition.sealed(segment);
        Ok(())
    }
}
