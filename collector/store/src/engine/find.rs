//! Finding by key: several keys at once, for one way from thread to thread takes longer than a look into an index, the
//! longer the busier the machine is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::try_join_all;
use highwater_model::Span;
use highwater_model::normalise::Rules;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::partition::{Key, Partition, decode_body};
use super::read::{HEADS_AT_ONCE, LoadedBlock, LoadedHead, by_size, fetch, off_the_runtime};
use super::sqlite::unsigned;
use super::store::Inner;
use crate::block::Corrupt;
use crate::block::body::Body;
use crate::block::fingerprint::{self, Kind};
use crate::block::head::RowView;
use crate::block::recent::IdentitySet;
use crate::error::Result;
use crate::spans::{Found, StoredSpan, Wanted};

/// A key in more blocks has their heads read first, and only those bodies that have it.
const FEW_BLOCKS: usize = 32;
/// Blocks read whole by one statement.
const BLOCKS_AT_ONCE: usize = 8;
/// So few are decoded where they were asked for: that takes less time than a way to another thread and back.
const DECODED_HERE: usize = 4;

impl Wanted {
    fn key(&self) -> Key {
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

    fn may_be_in(&self, head: &LoadedHead) -> bool {
        head.head.rows().any(|row| self.may_be(row))
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
    /// What each key finds, at most so many spans of it.
    pub(super) async fn find(&self, wanted: &[(Wanted, usize)]) -> Result<Vec<Found>> {
        let keys: Vec<Key> = wanted.iter().map(|(wanted, _)| wanted.key()).collect();
        let mut finders: Vec<Finder> = wanted.iter().map(Finder::new).collect();
        let partitions = self.partitions();
        let indexes = partitions
            .iter()
            .rev()
            .map(|partition| partition.find(&keys));
        let listed = try_join_all(indexes).await?;
        for (partition, blocks_of) in partitions.iter().rev().zip(listed) {
            // The keys that have each block; the newest first.
            let mut few: BTreeMap<Reverse<u64>, Vec<usize>> = BTreeMap::new();
            for (of, (finder, blocks)) in finders.iter_mut().zip(blocks_of).enumerate() {
                if finder.taken.found.truncated {
                    continue;
                }
                if blocks.len() <= FEW_BLOCKS {
                    for block in blocks {
                        few.entry(Reverse(block)).or_default().push(of);
                    }
                } else {
                    self.find_in_many(partition, &blocks, finder).await?;
                }
            }
            let few: Vec<_> = few.into_iter().map(|(block, of)| (block.0, of)).collect();
            for few in few.chunks(BLOCKS_AT_ONCE) {
                self.find_in_few(partition, few, &mut finders).await?;
            }
        }
        Ok(finders.into_iter().map(Finder::finish).collect())
    }

    /// Finds one key in many blocks: heads first, then the bodies of those that have it, a few megabytes at a time.
    async fn find_in_many(
        &self,
        partition: &Partition,
        blocks: &[u64],
        finder: &mut Finder,
    ) -> Result<()> {
        for chunk in blocks.chunks(HEADS_AT_ONCE) {
            let mut heads = self.heads(partition, chunk).await?;
            heads.retain(|head| finder.wanted.may_be_in(head));
            for group in by_size(&heads) {
                let loaded = self.bodies(partition, group).await?;
                let mut moved = finder.moved();
                let rules = self.options.rules.clone();
                *finder = off_the_runtime(move |asked| {
                    for (head, body) in &loaded {
                        asked.still()?;
                        moved.add(head, body, &rules);
                    }
                    Ok(moved)
                })
                .await?;
                finder.tell(partition);
            }
            if finder.taken.found.truncated {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Finds keys in a few blocks: one statement, and what is not in memory is decoded once for all keys.
    async fn find_in_few(
        &self,
        partition: &Partition,
        blocks: &[(u64, Vec<usize>)],
        finders: &mut [Finder],
    ) -> Result<()> {
        let id = partition.listed.id;
        let mut loaded: HashMap<u64, LoadedBlock> = HashMap::new();
        let mut missing: HashMap<u64, Vec<Wanted>> = HashMap::new();
        for (block, of) in blocks {
            let open = of.iter().map(|&of| &finders[of]);
            let wanted = open.filter(|finder| !finder.taken.found.truncated);
            let wanted: Vec<Wanted> = wanted.map(|finder| finder.wanted.clone()).collect();
            if wanted.is_empty() || partition.damage.has(*block) {
                continue;
            }
            let key = (id, *block);
            match self.heads.get(key).zip(self.bodies.get(key)) {
                Some(cached) => {
                    loaded.insert(*block, cached);
                }
                None => {
                    missing.insert(*block, wanted);
                }
            }
        }
        for decoded in read_blocks(partition, missing).await? {
            let Some((head, body)) = partition.damage.leave_out(decoded)? else {
                continue;
            };
            let key = (id, head.block);
            self.heads.put(key, &head, head.head.weight());
            if let Some(body) = body {
                self.bodies.put(key, &body, body.weight());
                loaded.insert(head.block, (head, body));
            }
        }
        for (block, of) in blocks {
            let Some((head, body)) = loaded.get(block) else {
                continue;
            };
            for &of in of {
                finders[of].add(head, body, &self.options.rules);
                finders[of].tell(partition);
            }
        }
        Ok(())
    }
}

/// A block's head, and its body where that says that it has what is wanted.
type HeadAndBody = (Arc<LoadedHead>, Option<Arc<Body>>);

/// Reads blocks whole by one statement.
async fn read_blocks(
    partition: &Partition,
    wanted: HashMap<u64, Vec<Wanted>>,
) -> Result<Vec<Result<HeadAndBody>>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT h.block, m.arrived, h.columns, b.spans FROM head h JOIN meta m ON m.block = h.block \
               JOIN body b ON b.block = h.block WHERE h.block IN (SELECT value FROM json_each(?))";
    let blocks: Vec<u64> = wanted.keys().copied().collect();
    let rows = fetch(partition, sql, &blocks, "blocks").await?;
    let decode = move |row: &SqliteRow| {
        let block = unsigned(row.get(0));
        let head = LoadedHead::decode(block, row)?;
        let of_block = wanted.get(&block).map_or(&[][..], Vec::as_slice);
        let body = if of_block.iter().any(|wanted| wanted.may_be_in(&head)) {
            Some(Arc::new(decode_body(block, row.get(3), &head.head)?))
        } else {
            None
        };
        Ok((Arc::new(head), body))
    };
    if rows.len() <= DECODED_HERE {
        return Ok(rows.iter().map(decode).collect());
    }
    off_the_runtime(move |asked| {
        let still = |row| asked.still().map(|()| decode(row));
        rows.iter().map(still).collect()
    })
    .await
}

/// Collects what one key finds out of blocks, the newest block first.
struct Finder {
    wanted: Wanted,
    limit: usize,
    taken: Taken,
}

/// What was found so far.
#[derive(Default)]
struct Taken {
    seen: IdentitySet,
    found: Found,
    /// Blocks with a span that could not be read; the others of the block count.
    damaged: Vec<(u64, Corrupt)>,
}

impl Finder {
    fn new((wanted, limit): &(Wanted, usize)) -> Self {
        Self {
            wanted: wanted.clone(),
            limit: *limit,
            taken: Taken::default(),
        }
    }

    /// Itself, for another thread; nothing has been found here meanwhile.
    fn moved(&mut self) -> Self {
        Self {
            wanted: self.wanted.clone(),
            limit: self.limit,
            taken: std::mem::take(&mut self.taken),
        }
    }

    fn add(&mut self, head: &LoadedHead, body: &Body, rules: &Rules) {
        let Taken {
            seen,
            found,
            damaged,
        } = &mut self.taken;
        for row in head.head.rows().filter(|row| self.wanted.may_be(*row)) {
            let stored = match body.stored(row, head.arrived, rules) {
                Ok(stored) => stored,
                Err(reason) => {
                    damaged.push((head.block, reason));
                    continue;
                }
            };
            if !self.wanted.is(&stored.span) {
                continue;
            }
            // A resend that came too late to be recognised is dropped here.
            if !seen.insert(row.identity()) {
                continue;
            }
            if found.spans.len() >= self.limit {
                found.truncated = true;
                return;
            }
            found.spans.push(stored);
        }
    }

    /// Reports what of the partition could not be read.
    fn tell(&mut self, partition: &Partition) {
        for (block, reason) in self.taken.damaged.drain(..) {
            partition.damage.of_block(block, &reason);
        }
    }

    fn finish(self) -> Found {
        let mut found = self.taken.found;
        found
            .spans
            .sort_by_key(|stored: &StoredSpan| (stored.span.start, stored.span.span_id));
        found
    }
}
