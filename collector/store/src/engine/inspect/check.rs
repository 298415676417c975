//! Whether everything that is stored can be read, and is what was written.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use highwater_model::UnixNanos;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{BODY, HEAD, Inspection, Segment, blob, bytes_of, metas, name, segments};
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::bytes::decompress;
use crate::block::fingerprint::Fingerprint;
use crate::block::head::Head;
use crate::block::runs::{Keys, entries};
use crate::engine::catalog::Listed;
use crate::engine::sqlite::{self, Migrations, int, unsigned};
use crate::error::{Result, StoreError, chain};

/// Rows of `meta` read by one statement.
const METAS_AT_ONCE: i64 = 256;
/// A file that was written to so lately may have been begun just now.
const BEGUN: Duration = Duration::from_secs(60);
/// A damaged file may have a finding a page: what SQLite says of it ends here.
const MESSAGES: i64 = 20;

/// Something that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file, without its directory.
    pub file: String,
    /// The block, where it is of one.
    pub block: Option<u64>,
    /// What is wrong, in a sentence without a full stop.
    pub what: String,
}

impl Finding {
    /// Of a file as a whole.
    pub(super) fn of_file(file: &Path, error: &StoreError) -> Self {
        Self {
            file: name(file),
            block: None,
            what: chain(error),
        }
    }
}

/// What a check saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Files read.
    pub files: u64,
    /// Their bytes, logs included.
    pub bytes: u64,
    /// Blocks decompressed, with every span in them decoded and its hash compared.
    pub blocks: u64,
    /// Spans in them.
    pub spans: u64,
    /// Segments whose index was compared with the keys of their blocks.
    pub segments: u64,
    /// Segments that could not be compared, since a block of theirs is damaged.
    pub segments_skipped: u64,
    /// What is wrong; empty when all is well.
    pub findings: Vec<Finding>,
}

impl Checked {
    fn find(&mut self, file: &Path, block: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding {
            file: name(file),
            block,
            what: what.into(),
        });
    }
}

/// One block as it was read.
struct Block {
    spans: u64,
    keys: Keys,
}

impl Inspection {
    /// Reads every file whole: SQLite's own check of its pages, each block's compression checksum, each span and its
    /// hash, what `meta` says of the block, and the index of every segment against its blocks.
    ///
    /// Takes about the time of reading all files, and the memory of a few blocks. What is damaged is in the
    /// answer, and never an error.
    ///
    /// # Errors
    /// When the catalog cannot be read, or a file is of a newer version.
    pub async fn check(&self) -> Result<Checked> {
        let mut checked = Checked::default();
        // First, so that a collector that goes on meanwhile cannot make it look ahead.
        let replayed = self.check_history(&mut checked).await?;
        self.check_pages(&self.catalog(), sqlite::CATALOG, &mut checked)
            .await?;
        let mut last_block = 0;
        let mut done = BTreeSet::new();
        // Twice, since clustering may have begun a file, and removed one, meanwhile.
        for _ in 0..2 {
            let listing = self.list().await?;
            last_block = last_block.max(listing.retired_block);
            for listed in &listing.partitions {
                if done.insert(listed.id) {
                    let last = self.check_partition(listed, &mut checked).await?;
                    last_block = last_block.max(last);
                }
            }
        }
        if replayed > last_block {
            let what = format!(
                "the flow has seen block {replayed}, but the last one stored is {last_block}: the end of a log is lost"
            );
            checked.find(&self.history(), None, what);
        }
        self.check_strays(&done, &mut checked).await?;
        Ok(checked)
    }

    async fn check_history(&self, checked: &mut Checked) -> Result<u64> {
        let file = self.history();
        if !file.is_file() {
            checked.find(&file, None, "the file is missing");
            return Ok(0);
        }
        self.check_pages(&file, sqlite::HISTORY, checked).await?;
        match self.checkpoint_block().await {
            Ok(block) => Ok(block),
            Err(error) => {
                checked.find(&file, None, chain(&error));
                Ok(0)
            }
        }
    }

    /// SQLite's own check; a connection where the file can be opened at all.
    async fn check_pages(
        &self,
        file: &Path,
        migrations: Migrations,
        checked: &mut Checked,
    ) -> Result<Option<SqliteConnection>> {
        checked.files += 1;
        checked.bytes += bytes_of(file);
        let mut connection = match sqlite::open_reader(file, migrations).await {
            Ok((connection, _)) => connection,
            Err(error @ StoreError::Newer { .. }) => return Err(error),
            Err(error) => {
                checked.find(file, None, chain(&error));
                return Ok(None);
            }
        };
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA integrity_check({MESSAGES})"));
        let messages = sqlx::query_scalar::<_, String>(pragma)
            .fetch_all(&mut connection)
            .await;
        match messages {
            Ok(messages) => {
                for message in messages.iter().filter(|message| *message != "ok") {
                    checked.find(file, None, message.replace('\n', " "));
                }
            }
            Err(error) => checked.find(file, None, chain(&error)),
        }
        Ok(Some(connection))
    }

    /// Gives the last block that the partition lists.
    async fn check_partition(&self, listed: &Listed, checked: &mut Checked) -> Result<u64> {
        let file = self.partition(listed);
        if !file.is_file() {
            if self.still_has(listed).await? {
                checked.find(&file, None, "the file is missing; its spans are lost");
            }
            return Ok(0);
        }
        let found = checked.findings.len();
        let connection = self.check_pages(&file, sqlite::PARTITION, checked).await?;
        let last = match connection {
            None => 0,
            Some(mut connection) => {
                let last = check_blocks(&mut connection, &file, checked).await;
                let _ = connection.close().await;
                last.unwrap_or_else(|error| {
                    checked.find(&file, None, chain(&error));
                    0
                })
            }
        };
        if checked.findings.len() > found && !self.still_has(listed).await? {
            // It was removed while it was read.
            checked.findings.truncate(found);
        }
        Ok(last)
    }

    async fn check_strays(&self, done: &BTreeSet<i64>, checked: &mut Checked) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return Ok(());
        };
        let ids = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let id = name.to_str()?.strip_prefix("spans-")?.strip_suffix(".db")?;
            id.parse::<i64>().ok()
        });
        let strays: Vec<i64> = ids.filter(|id| !done.contains(id)).collect();
        if strays.is_empty() {
            return Ok(());
        }
        // One that was begun a moment ago is in the catalog by now; one being removed is no stray either.
        let known = self.all_ids().await?;
        for id in strays.iter().filter(|id| !known.contains(id)) {
            let file = crate::engine::catalog::partition_file(&self.dir, *id);
            // A file is there before it is listed.
            let touched = file.metadata().and_then(|metadata| metadata.modified());
            let settled =
                touched.is_ok_and(|touched| touched.elapsed().is_ok_and(|elapsed| elapsed > BEGUN));
            if settled {
                checked.find(
                    &file,
                    None,
                    "the catalog does not list this file; nothing reads it",
                );
            }
        }
        Ok(())
    }

    async fn all_ids(&self) -> Result<BTreeSet<i64>> {
        let (mut connection, _) = sqlite::open_reader(&self.catalog(), sqlite::CATALOG).await?;
        let ids = sqlx::query_scalar("SELECT id FROM partition")
            .fetch_all(&mut connection)
            .await;
        let _ = connection.close().await;
        let ids: Vec<i64> = ids.map_err(|source| StoreError::Catalog {
            step: "list partitions",
            source,
        })?;
        Ok(ids.into_iter().collect())
    }
}

/// Reads the blocks of a partition in order, and the index of each segment once its blocks are read.
async fn check_blocks(
    connection: &mut SqliteConnection,
    file: &Path,
    checked: &mut Checked,
) -> sqlx::Result<u64> {
    // The file as of one moment: segments may be merged meanwhile.
    let connection = &mut *connection.begin().await?;
    let mut open: Option<Rebuilt> = None;
    let segments = segments(connection).await?;
    let mut ahead = segments.iter().copied().peekable();
    let (mut last, mut blocks) = (0, 0_i64);
    loop {
        let page = metas(connection, last, METAS_AT_ONCE).await?;
        if page.is_empty() {
            break;
        }
        for meta in &page {
            let block = unsigned(meta.get(0));
            last = block;
            blocks += 1;
            while let Some(done) = open.take_if(|open| open.segment.last_block < block) {
                done.compare(connection, file, checked).await?;
            }
            if open.is_none()
                && let Some(segment) = ahead.next_if(|segment| segment.first_block <= block)
            {
                open = Some(Rebuilt::new(segment));
            }
            let read = check_block(connection, file, meta, checked).await;
            if let Some(open) = &mut open {
                open.push(block, read);
            }
        }
    }
    for done in open.into_iter().chain(ahead.map(Rebuilt::new)) {
        done.compare(connection, file, checked).await?;
    }
    for (table, sql) in [
        ("head", "SELECT count(*) FROM head"),
        ("body", "SELECT count(*) FROM body"),
    ] {
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
        // A collector that commits meanwhile adds to all of them.
        let later: i64 = sqlx::query_scalar("SELECT count(*) FROM meta WHERE block > ?")
            .bind(int(last))
            .fetch_one(&mut *connection)
            .await?;
        if rows > blocks + later {
            let what = format!("{table} has {rows} blocks, and meta {blocks}");
            checked.find(file, None, what);
        }
    }
    Ok(last)
}

/// Reads a block whole; `None` when something is wrong with it.
async fn check_block(
    connection: &mut SqliteConnection,
    file: &Path,
    meta: &sqlx::sqlite::SqliteRow,
    checked: &mut Checked,
) -> Option<Block> {
    let block = unsigned(meta.get(0));
    checked.blocks += 1;
    let told = Told {
        arrived: UnixNanos(unsigned(meta.get(1))),
        spans: unsigned(meta.get(2)),
        min_start: meta.get(3),
        max_start: meta.get(4),
        max_duration: meta.get(5),
    };
    let head = blob(connection, HEAD, block).await;
    let body = blob(connection, BODY, block).await;
    let read = match (head, body) {
        (Ok(Some(head)), Ok(Some(body))) => {
            let work = tokio::task::spawn_blocking(move || read_block(&head, &body, &told));
            work.await
                .unwrap_or_else(|_| Err("decoding it panicked".to_owned()))
        }
        (Ok(None), _) => Err("its head is missing".to_owned()),
        (_, Ok(None)) => Err("its body is missing".to_owned()),
        (Err(error), _) => Err(format!("its head cannot be read: {}", chain(&error))),
        (_, Err(error)) => Err(format!("its body cannot be read: {}", chain(&error))),
    };
    match read {
        Ok(read) => {
            checked.spans += read.spans;
            Some(read)
        }
        Err(what) => {
            checked.find(file, Some(block), what);
            None
        }
    }
}

/// What `meta` says of a block.
struct Told {
    arrived: UnixNanos,
    spans: u64,
    min_start: i64,
    max_start: i64,
    max_duration: i64,
}

fn read_block(head: &[u8], body: &[u8], told: &Told) -> Result<Block, String> {
    let head = decompress(head)
        .and_then(|bytes| Head::decode(&bytes))
        .map_err(|error| format!("its head is damaged: {error}"))?;
    let body = decompress(body)
        .and_then(|bytes| Body::decode(bytes, &head))
        .map_err(|error| format!("its body is damaged: {error}"))?;
    let rules = highwater_model::normalise::Rules::default();
    for (row, nth) in head.rows().zip(1..) {
        let bytes = body
            .bytes(row)
            .map_err(|error| format!("span {nth} is damaged: {error}"))?;
        if xxh3_64(&bytes) as u32 != row.row.hash {
            return Err(format!("span {nth} is not what was sent: its hash differs"));
        }
        body.stored(row, told.arrived, &rules)
            .map_err(|error| format!("span {nth} cannot be read: {error}"))?;
    }
    let spans = head.len() as u64;
    let starts = || head.rows().map(|row| row.row.start);
    let ends = (
        starts().min().map_or(0, int),
        starts().max().map_or(0, int),
        head.rows().map(|row| row.row.duration).max().map_or(0, int),
    );
    if spans != told.spans {
        return Err(format!(
            "it has {spans} spans, and meta says {}",
            told.spans
        ));
    }
    if ends != (told.min_start, told.max_start, told.max_duration) {
        return Err("meta says other instants than its spans".to_owned());
    }
    Ok(Block {
        spans,
        keys: head.keys(body.attributes().unwrap_or_default()),
    })
}

/// What a segment's index must have, as its blocks tell: without keeping it, for a segment may have 20 million keys.
struct Rebuilt {
    segment: Segment,
    keys: Tally,
    spans: u64,
    whole: bool,
}

/// A set of keys of blocks, as their number and the sum of their hashes: the order does not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    keys: u64,
    sum: u128,
}

impl Tally {
    fn add(&mut self, kind: u8, fingerprint: Fingerprint, block: u64) {
        let mut key = [kind; 13];
        key[1..5].copy_from_slice(&fingerprint.to_le_bytes());
        key[5..].copy_from_slice(&block.to_le_bytes());
        self.keys += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(&key));
    }
}

impl Rebuilt {
    fn new(segment: Segment) -> Self {
        Self {
            segment,
            keys: Tally::default(),
            spans: 0,
            whole: true,
        }
    }

    fn push(&mut self, block: u64, read: Option<Block>) {
        let Some(read) = read else {
            self.whole = false;
            return;
        };
        self.spans += read.spans;
        for (kind, keys) in (0..).zip(&read.keys.0) {
            keys.iter().for_each(|key| self.keys.add(kind, *key, block));
        }
    }

    async fn compare(
        self,
        connection: &mut SqliteConnection,
        file: &Path,
        checked: &mut Checked,
    ) -> sqlx::Result<()> {
        if !self.whole {
            checked.segments_skipped += 1;
            return Ok(());
        }
        checked.segments += 1;
        let first = self.segment.first_block;
        if self.spans != self.segment.spans {
            let (has, says) = (self.spans, self.segment.spans);
            let what = format!("segment {first} says {says} spans, and its blocks have {has}");
            checked.find(file, None, what);
        }
        let differs = match stored(connection, &self.segment).await {
            Err(error) => {
                let error = chain(&error);
                format!("the index of segment {first} cannot be read: {error}")
            }
            Ok(Err(corrupt)) => format!("the index of segment {first} is damaged: {corrupt}"),
            Ok(Ok(stored)) if stored == self.keys => return Ok(()),
            Ok(Ok(_)) => format!("the index of segment {first} is not that of its blocks"),
        };
        checked.find(file, None, differs);
        Ok(())
    }
}

/// What a segment's index has; an error where a look-up would miss some of it.
async fn stored(
    connection: &mut SqliteConnection,
    segment: &Segment,
) -> sqlx::Result<Result<Tally, Corrupt>> {
    let mut rows =
        sqlx::query("SELECT kind, bucket, entries FROM ix WHERE segment = ? ORDER BY kind, bucket")
            .bind(segment.id)
            .fetch(connection);
    let mut tally = Tally::default();
    // Of the bucket before.
    let mut last: Option<(u8, Fingerprint)> = None;
    while let Some(row) = rows.try_next().await? {
        let (kind, bucket) = (row.try_get(0)?, row.try_get(1)?);
        let before = last.filter(|(of, _)| *of == kind);
        if before.map_or(bucket != 0, |(_, last)| bucket <= last) {
            return Ok(Err(Corrupt("a bucket stands in the wrong place")));
        }
        let mut at = bucket;
        for entry in entries(row.try_get(2)?, segment.first_block) {
            match entry {
                Ok((fingerprint, block)) if fingerprint >= at => {
                    tally.add(kind, fingerprint, block);
                    at = fingerprint;
                }
                Ok(_) => return Ok(Err(Corrupt("a bucket has another's entries"))),
                Err(corrupt) => return Ok(Err(corrupt)),
            }
        }
        last = Some((kind, at));
    }
    Ok(Ok(tally))
}
