//! One partition: a file, its readers, and what is known of it in memory.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_model::UnixNanos;
use parking_lot::RwLock;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::catalog::{Listed, partition_file};
use super::damage::Damage;
use super::sqlite::{self, int, is_damage, unsigned};
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::bytes::decompress;
use crate::block::encode::EncodedBlock;
use crate::block::fingerprint::{Fingerprint, Kind};
use crate::block::head::Head;
use crate::block::runs::{Index, Keys, find_packed};
use crate::error::{Result, StoreError};

/// Blocks read at once when the open segment's index is rebuilt.
const REBUILD_CHUNK: i64 = 16;

/// Buckets of an index, of some 800 bytes, that are written by one statement: each statement is a way to the
/// connection's thread and back, and a hundred spans fill a bucket.
const BUCKETS_AT_ONCE: usize = 64;

/// What an index finds blocks by.
pub(super) type Key = (Kind, Fingerprint);

/// A row of a packed index: what its entries are of, the first of their fingerprints, and they.
pub(super) type Bucket = (Kind, Fingerprint, Vec<u8>);

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) listed: Listed,
    pub(super) file: PathBuf,
    pub(super) readers: SqlitePool,
    /// Its file is gone or going: an error of a reader then means "nothing there".
    retired: AtomicBool,
    /// It could not be clustered, and stays as it is until the next start.
    pub(super) stuck: AtomicBool,
    /// Its index is damaged, and stays in as many segments as it is.
    pub(super) unmergeable: AtomicBool,
    /// Its index has the attributes of all its spans: not so of blocks of the first format.
    pub(super) attributes: bool,
    /// Its file is damaged where new blocks belong: the next write begins another.
    pub(super) spoiled: AtomicBool,
    /// What of it cannot be read.
    pub(super) damage: Damage,
    /// A std-like lock: no await happens while it is held.
    memory: RwLock<Memory>,
}

/// What changes with every commit.
#[derive(Debug)]
struct Memory {
    open: Index,
    /// Full, being packed; the oldest first.
    frozen: Vec<Arc<Index>>,
    /// There are segments on disk: where there are none, a look-up need not ask.
    packed: bool,
    facts: Facts,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) spans: u64,
    pub(super) blocks: u64,
    /// 0 when it has none.
    pub(super) first_block: u64,
    /// 0 when it has none.
    pub(super) last_block: u64,
    pub(super) min_start: u64,
    pub(super) max_start: u64,
    pub(super) first_arrival: u64,
    pub(super) last_arrival: u64,
    /// Of blobs written since the process started, and the file's size before.
    pub(super) bytes: u64,
}

impl Facts {
    fn add(&mut self, block: u64, encoded: &EncodedBlock, arrived: UnixNanos) {
        let summary = &encoded.summary;
        if self.blocks == 0 {
            self.first_block = block;
            self.min_start = summary.min_start;
            self.first_arrival = arrived.0;
        }
        self.spans += summary.spans;
        self.blocks += 1;
        self.last_block = block;
        self.min_start = self.min_start.min(summary.min_start);
        self.max_start = self.max_start.max(summary.max_start);
        self.first_arrival = self.first_arrival.min(arrived.0);
        self.last_arrival = self.last_arrival.max(arrived.0);
        self.bytes += (encoded.head.len() + encoded.body.len()) as u64;
    }

    /// Adds what another partition held, which now takes `blocks` blocks and `bytes` bytes.
    fn absorb(&mut self, other: &Self, blocks: u64, bytes: u64) {
        if self.blocks == 0 {
            self.first_block = other.first_block;
            self.min_start = other.min_start;
            self.first_arrival = other.first_arrival;
        }
        self.spans += other.spans;
        self.blocks += blocks;
        self.last_block = self.last_block.max(other.last_block);
        self.min_start = self.min_start.min(other.min_start);
        self.max_start = self.max_start.max(other.max_start);
        self.first_arrival = self.first_arrival.min(other.first_arrival);
        self.last_arrival = self.last_arrival.max(other.last_arrival);
        self.bytes += bytes;
    }
}

impl Partition {
    /// Opens a partition, or makes its file, and gives a connection that can write to it.
    ///
    /// Blocks after the last sealed segment are read whole for their keys; `each` sees their heads in order.
    pub(super) async fn open(
        dir: &Path,
        listed: Listed,
        readers: u32,
        next_block: u64,
        mut each: impl FnMut(&Head) + Send,
    ) -> Result<(Arc<Self>, SqliteConnection)> {
        let file = partition_file(dir, listed.id);
        let mut connection = sqlite::open_writer(&file, sqlite::PARTITION).await?;
        let facts = facts(&mut connection, &file).await?;
        let sealed = sealed_block(&mut connection).await?;
        let base = if facts.blocks == 0 {
            next_block
        } else {
            sealed + 1
        };
        let mut attributes = attributes_indexed(&mut connection).await?;
        let mut open = Index::new(base);
        let mut after = sealed;
        let damage = Damage::new(&file);
        loop {
            let (chunk, last) = blocks_after(&mut connection, after, &damage).await?;
            let Some(last) = last else {
                break;
            };
            after = last;
            let blocks = tokio::task::spawn_blocking(move || decode_all(chunk))
                .await
                .map_err(StoreError::Background)?;
            for decoded in blocks {
                let Some(one) = damage.leave_out(decoded)? else {
                    continue;
                };
                attributes &= one.attributes;
                open.push(one.block, one.head.len() as u64, &one.keys);
                each(&one.head);
            }
        }
        let partition = Arc::new(Self {
            listed,
            readers: sqlite::open_readers(&file, readers),
            file,
            retired: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            unmergeable: AtomicBool::new(false),
            attributes,
            spoiled: AtomicBool::new(false),
            damage,
            memory: RwLock::new(Memory {
                open,
                frozen: Vec::new(),
                packed: sealed > 0,
                facts,
            }),
        });
        Ok((partition, connection))
    }

    pub(super) fn facts(&self) -> Facts {
        self.memory.read().facts
    }

    /// Counts what was another partition's, and is now in this one's file, in a segment of its own.
    pub(super) fn absorb(&self, other: &Facts, blocks: u64, bytes: u64) {
        let memory = &mut *self.memory.write();
        memory.facts.absorb(other, blocks, bytes);
        memory.packed = true;
    }

    /// Makes committed blocks visible; true when the open segment is full.
    pub(super) fn publish(
        &self,
        blocks: &[(u64, EncodedBlock)],
        arrived: UnixNanos,
        seal_spans: u64,
    ) -> bool {
        let memory = &mut *self.memory.write();
        for (block, encoded) in blocks {
            memory
                .open
                .push(*block, encoded.summary.spans, &encoded.keys);
            memory.facts.add(*block, encoded, arrived);
        }
        memory.open.spans() >= seal_spans
    }

    /// Closes the open segment and begins another; true when there is something to pack.
    pub(super) fn freeze(&self) -> bool {
        let memory = &mut *self.memory.write();
        if memory.open.spans() > 0 {
            let next = Index::new(memory.open.last_block() + 1);
            let full = std::mem::replace(&mut memory.open, next);
            memory.frozen.push(Arc::new(full));
        }
        !memory.frozen.is_empty()
    }

    /// The oldest segment that waits to be packed.
    pub(super) fn frozen(&self) -> Option<Arc<Index>> {
        self.memory.read().frozen.first().cloned()
    }

    /// Drops a segment from memory once it is on disk.
    pub(super) fn sealed(&self, segment: &Arc<Index>) {
        let memory = &mut *self.memory.write();
        memory.packed = true;
        memory.frozen.retain(|frozen| !Arc::ptr_eq(frozen, segment));
    }

    /// Spans whose index is in memory only.
    pub(super) fn unsealed_spans(&self) -> u64 {
        let memory = self.memory.read();
        let frozen: u64 = memory.frozen.iter().map(|segment| segment.spans()).sum();
        memory.open.spans() + frozen
    }

    /// Whether a segment on disk has `block`.
    pub(super) async fn has_segment(&self, block: u64) -> Result<bool> {
        let sql = "SELECT count(*) FROM segment WHERE ? BETWEEN first_block AND last_block";
        let found = sqlx::query_scalar::<_, i64>(sql)
            .bind(int(block))
            .fetch_one(&self.readers)
            .await;
        found
            .map(|count| count > 0)
            .map_err(|source| StoreError::Read {
                what: "the list of segments",
                source,
            })
    }

    /// Says that new blocks belong elsewhere, and why.
    pub(super) fn spoil(&self, reason: &dyn Display) {
        self.damage
            .of_file(&format!("no more can be written to it: {reason}"));
        self.spoiled.store(true, Ordering::Release);
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// What a failed read means: nothing, when the file went away meanwhile.
    pub(super) fn read_error(&self, what: &'static str, source: sqlx::Error) -> Result<()> {
        if self.retired.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(StoreError::Read { what, source })
    }

    /// The blocks that may hold each of some keys, newest first, each once.
    pub(super) async fn find(&self, keys: &[Key]) -> Result<Vec<Vec<u64>>> {
        let mut blocks_of = vec![Vec::new(); keys.len()];
        let packed = {
            // Memory first: a segment leaves it only after it is on disk, so it is seen in one of the two.
            let memory = self.memory.read();
            for (&(kind, fingerprint), blocks) in keys.iter().zip(&mut blocks_of) {
                memory.open.find(kind, fingerprint, blocks);
                for frozen in &memory.frozen {
                    frozen.find(kind, fingerprint, blocks);
                }
            }
            memory.packed
        };
        if packed {
            self.find_on_disk(keys, &mut blocks_of).await?;
        }
        for blocks in &mut blocks_of {
            blocks.sort_unstable_by(|a, b| b.cmp(a));
            blocks.dedup();
        }
        Ok(blocks_of)
    }

    /// Appends the blocks that the packed segments name. One statement, whatever the number of keys.
    async fn find_on_disk(&self, keys: &[Key], blocks_of: &mut [Vec<u64>]) -> Result<()> {
        let keys_as_numbers: Vec<[u32; 2]> = keys
            .iter()
            .map(|&(kind, fingerprint)| [u32::from(kind as u8), fingerprint])
            .collect();
        // A join would leave SQLite the choice to read all of `ix` and look each row's segment up, and it took it.
        let rows = sqlx::query(
            "SELECT first_block, last_block, (SELECT entries FROM ix WHERE segment = segment.id \
             AND kind = wanted.value ->> 0 AND bucket <= wanted.value ->> 1 ORDER BY bucket DESC LIMIT 1), \
             wanted.key FROM json_each(?) wanted CROSS JOIN segment",
        )
        .bind(format!("{keys_as_numbers:?}"))
        .fetch_all(&self.readers)
        .await;
        match rows {
            Ok(rows) => {
                for row in rows {
                    let first = unsigned(row.get(0));
                    let of = unsigned(row.get(3)) as usize;
                    let (Some(&(_, fingerprint)), Some(blocks)) =
                        (keys.get(of), blocks_of.get_mut(of))
                    else {
                        continue;
                    };
                    // Null where the segment has no key of this kind.
                    let bucket = row
                        .try_get::<Option<&[u8]>, _>(2)
                        .map_err(|_| Corrupt("a bucket is no blob"));
                    let searched = bucket.and_then(|bucket| {
                        find_packed(bucket.unwrap_or_default(), fingerprint, first, blocks)
                    });
                    if let Err(error) = searched {
                        // Without its index every block of a segment may hold the key: slower, and as right.
                        self.damage
                            .of_file(&format!("the index of segment {first}: {error}"));
                        let last = unsigned(row.get(1));
                        blocks.extend(self.all_blocks(first, last).await?);
                    }
                }
            }
            Err(source) if is_damage(&source) => {
                self.damage.of_file(&format!("an index: {source}"));
                let all = self.all_blocks(0, u64::MAX).await?;
                for blocks in blocks_of {
                    blocks.extend_from_slice(&all);
                }
            }
            Err(source) => self.read_error("the index", source)?,
        }
        Ok(())
    }
}

impl Partition {
    /// The blocks from `first` to `last` that are there.
    async fn all_blocks(&self, first: u64, last: u64) -> Result<Vec<u64>> {
        let blocks = sqlx::query_scalar("SELECT block FROM meta WHERE block BETWEEN ? AND ?")
            .bind(int(first))
            .bind(int(last))
            .fetch_all(&self.readers)
            .await;
        match blocks {
            Ok(blocks) => Ok(blocks.into_iter().map(unsigned).collect()),
            Err(source) => {
                self.list_error(source)?;
                Ok(Vec::new())
            }
        }
    }

    /// What it means that the list of blocks cannot be read: where the file is damaged, its blocks are not found.
    pub(super) fn list_error(&self, source: sqlx::Error) -> Result<()> {
        if is_damage(&source) {
            self.damage
                .of_file(&format!("the list of blocks: {source}"));
            return Ok(());
        }
        self.read_error("the list of blocks", source)
    }
}

/// Writes a packed segment. Its number is its first block, so that writing it again after a cut changes nothing.
pub(super) async fn write_segment(
    connection: &mut SqliteConnection,
    segment: &Index,
    rows: Vec<Bucket>,
    attributes: bool,
) -> sqlx::Result<()> {
    use sqlx::Connection;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    insert_segment(&mut transaction, segment, rows, attributes).await?;
    transaction.commit().await
}

/// The statements of [`write_segment`].
pub(super) async fn insert_segment(
    connection: &mut SqliteConnection,
    segment: &Index,
    rows: Vec<Bucket>,
    attributes: bool,
) -> sqlx::Result<()> {
    let id = int(segment.first_block());
    insert_entries(connection, id, &rows).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO segment (id, first_block, last_block, spans, attributes) VALUES (?1, ?1, ?2, ?3, ?4)",
    )
    .bind(id)
    .bind(int(segment.last_block()))
    .bind(int(segment.spans()))
    .bind(attributes)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes entries of an index. What they replace is the same, from an attempt before.
pub(super) async fn insert_entries(
    connection: &mut SqliteConnection,
    segment: i64,
    rows: &[Bucket],
) -> sqlx::Result<()> {
    for rows in rows.chunks(BUCKETS_AT_ONCE) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO ix (segment, kind, bucket, entries) ",
        );
        insert.push_values(rows, |mut values, (kind, bucket, entries)| {
            values
                .push_bind(segment)
                .push_bind(*kind as u8)
                .push_bind(*bucket)
                .push_bind(&entries[..]);
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes blocks in one transaction.
pub(super) async fn write_blocks(
    connection: &mut SqliteConnection,
    blocks: &[(u64, EncodedBlock)],
    arrived: UnixNanos,
) -> sqlx::Result<()> {
    use sqlx::Connection;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (block, encoded) in blocks {
        insert_block(&mut transaction, *block, encoded, arrived).await?;
    }
    transaction.commit().await
}

/// The statements of one block.
pub(super) async fn insert_block(
    connection: &mut SqliteConnection,
    block: u64,
    encoded: &EncodedBlock,
    arrived: UnixNanos,
) -> sqlx::Result<()> {
    let block = int(block);
    let summary = &encoded.summary;
    // As one: what waits for the connection's thread waits once a block.
    sqlx::query(
        "INSERT INTO meta (block, arrived, spans, min_start, max_start, max_duration, has_error, services) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?); \
         INSERT INTO head (block, columns) VALUES (?, ?); \
         INSERT INTO body (block, spans) VALUES (?, ?)",
    )
    .bind(block)
    .bind(int(arrived.0))
    .bind(int(summary.spans))
    .bind(int(summary.min_start))
    .bind(int(summary.max_start))
    .bind(int(summary.max_duration))
    .bind(summary.has_error)
    .bind(summary.services.as_deref())
    .bind(block)
    .bind(&encoded.head[..])
    .bind(block)
    .bind(&encoded.body[..])
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes blocks after `block`: a commit whose outcome was not seen, and which nobody was told of.
pub(super) async fn remove_after(
    connection: &mut SqliteConnection,
    block: u64,
) -> sqlx::Result<()> {
    use sqlx::Connection;
    let last: Option<i64> = sqlx::query_scalar("SELECT max(block) FROM meta")
        .fetch_one(&mut *connection)
        .await?;
    if last.is_none_or(|last| unsigned(last) <= block) {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for statement in [
        "DELETE FROM meta WHERE block > ?",
        "DELETE FROM head WHERE block > ?",
        "DELETE FROM body WHERE block > ?",
    ] {
        sqlx::query(statement)
            .bind(int(block))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

async fn facts(connection: &mut SqliteConnection, file: &Path) -> Result<Facts> {
    let row = sqlx::query(
        "SELECT coalesce(sum(spans), 0), count(*), coalesce(min(block), 0), coalesce(max(block), 0), coalesce(min(min_start), 0), \
         coalesce(max(max_start), 0), coalesce(min(arrived), 0), coalesce(max(arrived), 0) FROM meta",
    )
    .fetch_one(connection)
    .await
    .map_err(|source| StoreError::Read {
        what: "a partition's summary",
        source,
    })?;
    Ok(Facts {
        spans: unsigned(row.get(0)),
        blocks: unsigned(row.get(1)),
        first_block: unsigned(row.get(2)),
        last_block: unsigned(row.get(3)),
        min_start: unsigned(row.get(4)),
        max_start: unsigned(row.get(5)),
        first_arrival: unsigned(row.get(6)),
        last_arrival: unsigned(row.get(7)),
        bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
    })
}

async fn attributes_indexed(connection: &mut SqliteConnection) -> Result<bool> {
    sqlx::query_scalar::<_, i64>("SELECT count(*) FROM segment WHERE attributes = 0")
        .fetch_one(connection)
        .await
        .map(|without| without == 0)
        .map_err(|source| StoreError::Read {
            what: "the list of segments",
            source,
        })
}

async fn sealed_block(connection: &mut SqliteConnection) -> Result<u64> {
    sqlx::query_scalar("SELECT coalesce(max(last_block), 0) FROM segment")
        .fetch_one(connection)
        .await
        .map(unsigned)
        .map_err(|source| StoreError::Read {
            what: "the list of segments",
            source,
        })
}

/// A block's number, head and body.
type Blobs = (u64, Vec<u8>, Vec<u8>);

/// The next blocks, and the number of the last of them, which may be one that cannot be read.
async fn blocks_after(
    connection: &mut SqliteConnection,
    block: u64,
    damage: &Damage,
) -> Result<(Vec<Blobs>, Option<u64>)> {
    let failed = |source| StoreError::Read {
        what: "the blocks of the open segment",
        source,
    };
    let rows = sqlx::query(
        "SELECT h.block, h.columns, b.spans FROM head h JOIN body b ON b.block = h.block \
         WHERE h.block > ? ORDER BY h.block LIMIT ?",
    )
    .bind(int(block))
    .bind(REBUILD_CHUNK)
    .fetch_all(&mut *connection)
    .await;
    let blobs = |row: &SqliteRow| (unsigned(row.get(0)), row.get(1), row.get(2));
    match rows {
        Ok(rows) => {
            let blobs: Vec<Blobs> = rows.iter().map(blobs).collect();
            let last = blobs.last().map(|(block, ..)| *block);
            Ok((blobs, last))
        }
        Err(error) if is_damage(&error) => {
            // One of them, or the tree that leads to them: each for itself then.
            let numbers: Vec<i64> =
                sqlx::query_scalar("SELECT block FROM meta WHERE block > ? ORDER BY block LIMIT ?")
                    .bind(int(block))
                    .bind(REBUILD_CHUNK)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(failed)?;
            let mut read = Vec::new();
            for number in &numbers {
                let row = sqlx::query(
                    "SELECT h.block, h.columns, b.spans FROM head h JOIN body b ON b.block = h.block \
                     WHERE h.block = ?",
                )
                .bind(number)
                .fetch_optional(&mut *connection)
                .await;
                match row {
                    Ok(row) => read.extend(row.as_ref().map(blobs)),
                    Err(error) if is_damage(&error) => damage.of_block(unsigned(*number), &error),
                    Err(error) => return Err(failed(error)),
                }
            }
            Ok((read, numbers.last().map(|number| unsigned(*number))))
        }
        Err(error) => Err(failed(error)),
    }
}

/// A block as its index is rebuilt from it.
struct Indexed {
    block: u64,
    head: Head,
    keys: Keys,
    /// Its keys have all its attributes.
    attributes: bool,
}

fn decode_all(chunk: Vec<Blobs>) -> Vec<Result<Indexed>> {
    let decode = |(block, head, body): Blobs| {
        let head = decode_head(block, &head)?;
        // A damaged body costs a start nothing but the attributes that would find it.
        let attributes = decode_body(block, &body, &head).map(|body| body.attributes());
        let attributes = attributes.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(block, error, "a block is found by its head only");
            None
        });
        Ok(Indexed {
            block,
            attributes: attributes.is_some(),
            keys: head.keys(attributes.unwrap_or_default()),
            head,
        })
    };
    chunk.into_iter().map(decode).collect()
}

pub(super) fn decode_head(block: u64, blob: &[u8]) -> Result<Head> {
    let decode = || -> Result<Head, Corrupt> { Head::decode(&decompress(blob)?) };
    decode().map_err(|source| StoreError::Damaged { block, source })
}

pub(super) fn decode_body(block: u64, blob: &[u8], head: &Head) -> Result<Body> {
    let decode = || -> Result<Body, Corrupt> { Body::decode(decompress(blob)?, head) };
    decode().map_err(|source| StoreError::Damaged { block, source })
}
