//! What must survive a restart, as rows that merge.
//!
//! Three sorts of rows, told apart by the first byte of the key: buckets of series (0 to 2, by width), segments of
//! the stitching table (3), facts of a cluster (4). A checkpoint holds only what changed since the last one. A second
//! byte is the version of the encoding; a row of another version is left out and counted, never guessed at.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use highwater_model::{Operation, ServiceKey, SpanId, TraceId, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::facts::ClusterFacts;
use crate::flow::{Config, Flow, MAX_ENVIRONMENTS, Stats};
use crate::key::{Key, Reader};
use crate::series::{Cell, Delta, Series, Tier};
use crate::table::{Applied, Entry, LinkTo, Message, Role, SEGMENT, SpanRef};

const VERSION: u8 = 1;
const SEGMENTS: u8 = 3;
const FACTS: u8 = 4;

/// A row of history: `(key, bucket)` is its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What it is of.
    pub key: Vec<u8>,
    /// Start of its time bucket; for rows that are no buckets, a time not before they can be let go.
    pub bucket: UnixNanos,
    /// Its value; **empty: the row is to be deleted**.
    pub value: Vec<u8>,
}

/// All that changed since the last checkpoint, to be written in one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Rows to write, or to delete where the value is empty.
    pub rows: Vec<Row>,
    /// Small state that replaces that of the last checkpoint.
    pub pending: Vec<u8>,
    /// Blocks after this one are to be replayed.
    pub last_block: u64,
}

/// Why a stored flow cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The small state is malformed.
    #[error("cannot read the flow's stored state")]
    ReadState(#[source] postcard::Error),
    /// It was written by another version.
    #[error("the flow's stored state has version {found}, this program reads {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u8,
    stats: Stats,
    capped: u64,
    now: u64,
    /// First place and length of each lane.
    lanes: [(u64, u64); 2],
}

#[derive(Serialize, Deserialize)]
struct Segment {
    services: Vec<ServiceKey>,
    readers: Vec<Reader>,
    keys: Vec<Key>,
    entries: Vec<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    service: u32,
    role: u8,
    start: u64,
    duration: u64,
    failed: bool,
    seq: u64,
    message: Option<StoredMessage>,
    applied: Option<(u32, u64, Delta)>,
}

#[derive(Serialize, Deserialize)]
struct StoredMessage {
    operation: Operation,
    reader: u32,
    partition: Option<i32>,
    offset: Option<i64>,
    named: bool,
    batch: Option<u32>,
    work: bool,
    backoff: bool,
    #[expect(clippy::type_complexity, reason = "a plain tuple encodes smallest")]
    links: Vec<([u8; 16], [u8; 8], Option<(i32, i64)>)>,
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Encoding into memory cannot fail for these types: no maps of unknown length, no custom errors. Were it to, the
    // empty value deletes the row, and the restart counts from the blocks that are left.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Gives equal values one number.
struct Numbered<T> {
    index: HashMap<Arc<T>, u32>,
    values: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn new() -> Self {
        Self {
            index: HashMap::new(),
            values: Vec::new(),
        }
    }

    fn of(&mut self, value: &Arc<T>) -> u32 {
        if let Some(&at) = self.index.get(value) {
            return at;
        }
        let at = self.values.len() as u32;
        self.index.insert(value.clone(), at);
        self.values.push((**value).clone());
        at
    }
}

const ROLES: [Role; 5] = [
    Role::Producer,
    Role::Consumer,
    Role::Client,
    Role::Server,
    Role::Plain,
];

fn role_number(role: Role) -> u8 {
    match role {
        Role::Producer => 0,
        Role::Consumer => 1,
        Role::Client => 2,
        Role::Server => 3,
        Role::Plain => 4,
    }
}

fn encode_segment<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<u8> {
    let mut services = Numbered::new();
    let mut readers = Numbered::new();
    let mut keys = Numbered::new();
    let entries = entries
        .map(|entry| StoredEntry {
            trace: entry.id.trace.0,
            span: entry.id.span.0,
            parent: entry.parent.map(|parent| parent.0),
            service: services.of(&entry.service),
            role: role_number(entry.role),
            start: entry.start.0,
            duration: entry.end.since(entry.start),
            failed: entry.failed,
            seq: entry.seq,
            message: entry.message.as_ref().map(|message| StoredMessage {
                operation: message.operation,
                reader: readers.of(&message.reader),
                partition: message.partition,
                offset: message.offset,
                named: message.named,
                batch: message.batch,
                work: message.work,
                backoff: message.backoff,
                links: message
                    .links
                    .iter()
                    .map(|link| (link.to.trace.0, link.to.span.0, link.record))
                    .collect(),
            }),
            applied: entry
                .applied
                .as_ref()
                .map(|a| (keys.of(&a.key), a.at.0, a.delta.clone())),
        })
        .collect();
    encode(&Segment {
        services: services.values,
        readers: readers.values,
        keys: keys.values,
        entries,
    })
}

/// The key of a segment's row: sorts by lane and place.
fn segment_key(lane: usize, segment: u64) -> Vec<u8> {
    let mut key = vec![SEGMENTS, VERSION, lane as u8];
    key.extend(segment.to_be_bytes());
    key
}

impl Flow {
    /// Returns what changed since the last call, and the last block it covers.
    ///
    /// The caller writes it in one transaction. If that fails the changes are lost to the store: the flow is then
    /// restored from the last checkpoint that was written, and later blocks replayed.
    pub fn take_checkpoint(&mut self) -> Checkpoint {
        let mut rows = Vec::new();
        for (key, (_, series)) in &mut self.series {
            if !series.has_dirty() {
                continue;
            }
            let name = encode(&**key);
            for (tier, bucket, cell) in series.take_dirty() {
                let mut row_key = Vec::with_capacity(name.len() + 2);
                row_key.extend([tier as u8, VERSION]);
                row_key.extend(&name);
                rows.push(Row {
                    key: row_key,
                    bucket: UnixNanos(bucket),
                    value: cell.map(encode).unwrap_or_default(),
                });
            }
        }
        self.series.retain(|_, (_, series)| !series.is_empty());
        self.segment_rows(&mut rows);
        if std::mem::take(&mut self.facts_dirty) {
            for (name, facts) in &self.facts.clusters {
                let mut key = vec![FACTS, VERSION];
                key.extend(name.as_bytes());
                rows.push(Row {
                    key,
                    // Facts are replaced, never expired: the bucket is the same for ever.
                    bucket: UnixNanos(u64::MAX >> 1),
                    value: encode(facts),
                });
            }
        }
        rows.sort_by(|a, b| (&a.key, a.bucket).cmp(&(&b.key, b.bucket)));
        let lane = |at: usize| {
            let lane = &self.table.lanes[at];
            (lane.first, lane.order.len() as u64)
        };
        Checkpoint {
            rows,
            pending: encode(&State {
                version: VERSION,
                stats: self.stats,
                capped: self.table.capped,
                now: self.now,
                lanes: [lane(0), lane(1)],
            }),
            last_block: self.last_block,
        }
    }

    fn segment_rows(&mut self, rows: &mut Vec<Row>) {
        for lane in 0..self.table.lanes.len() {
            let dirty = std::mem::take(&mut self.table.lanes[lane].dirty);
            let state = &self.table.lanes[lane];
            let first_kept = state.first / SEGMENT;
            let gone: Vec<u64> = self.stored_segments[lane]
                .range(..first_kept)
                .copied()
                .collect();
            for segment in gone {
                self.stored_segments[lane].remove(&segment);
                rows.push(Row {
                    key: segment_key(lane, segment),
                    bucket: UnixNanos(u64::MAX >> 1),
                    value: Vec::new(),
                });
            }
            for segment in dirty {
                let from = (segment * SEGMENT).max(state.first) - state.first;
                let to = ((segment + 1) * SEGMENT)
                    .saturating_sub(state.first)
                    .min(state.order.len() as u64);
                if from >= to {
                    continue;
                }
                let entries = state
                    .order
                    .range(from as usize..to as usize)
                    .filter_map(|id| self.table.get(*id));
                rows.push(Row {
                    key: segment_key(lane, segment),
                    bucket: UnixNanos(u64::MAX >> 1),
                    value: encode_segment(entries),
                });
                self.stored_segments[lane].insert(segment);
            }
        }
    }

    /// Takes a stored flow up where its last checkpoint left it. Rows that cannot be read are left out; their number
    /// is returned, so that somebody is told.
    ///
    /// # Errors
    ///
    /// The small state is malformed or of another version: then the flow has to be built anew from the blocks.
    pub fn restore(
        config: Config,
        rows: impl IntoIterator<Item = Row>,
        pending: &[u8],
        last_block: u64,
    ) -> Result<(Self, u64), RestoreError> {
        let mut flow = Self::new(config);
        let found = pending.first().copied().unwrap_or(0);
        if found != VERSION {
            return Err(RestoreError::Version { found });
        }
        let state: State = postcard::from_bytes(pending).map_err(RestoreError::ReadState)?;
        flow.stats = state.stats;
        flow.now = state.now;
        flow.last_block = last_block;
        let mut unreadable = 0;
        let mut segments: [BTreeMap<u64, Vec<Entry>>; 2] = Default::default();
        for row in rows {
            if row.value.is_empty() {
                continue;
            }
            let read = match row.key.as_slice() {
                [tier @ 0..=2, VERSION, key @ ..] => {
                    flow.restore_cell(Tier::ALL[usize::from(*tier)], key, row.bucket.0, &row.value)
                }
                [SEGMENTS, VERSION, lane @ 0..=1, segment @ ..] => <[u8; 8]>::try_from(segment)
                    .ok()
                    .zip(flow.decode_segment(&row.value))
                    .map(|(segment, entries)| {
                        segments[usize::from(*lane)].insert(u64::from_be_bytes(segment), entries);
                    }),
                [FACTS, VERSION, name @ ..] => std::str::from_utf8(name)
                    .ok()
                    .zip(postcard::from_bytes::<ClusterFacts>(&row.value).ok())
                    .map(|(name, facts)| flow.facts.put(name, facts)),
                _ => None,
            };
            unreadable += u64::from(read.is_none());
        }
        for (lane, segments) in segments.into_iter().enumerate() {
            let (first, length) = state.lanes[lane];
            flow.table.lanes[lane].first = first;
            for (segment, entries) in segments {
                flow.stored_segments[lane].insert(segment);
                for mut entry in entries {
                    // A row written before the last eviction may hold entries that have gone since.
                    if entry.seq >= first && entry.seq < first.saturating_add(length) {
                        entry.seq = first + flow.table.lanes[lane].order.len() as u64;
                        flow.table.put(entry);
                    }
                }
            }
            flow.table.lanes[lane].dirty.clear();
        }
        flow.table.capped = state.capped;
        for (_, series) in flow.series.values_mut() {
            series.take_dirty();
        }
        Ok((flow, unreadable))
    }

    fn restore_cell(&mut self, tier: Tier, key: &[u8], bucket: u64, value: &[u8]) -> Option<()> {
        let key: Key = postcard::from_bytes(key).ok()?;
        let cell: Cell = postcard::from_bytes(value).ok()?;
        if self.environments.len() < MAX_ENVIRONMENTS {
            self.environments.insert(key.environment().clone());
        }
        let key = Arc::new(key);
        self.series
            .entry(key.clone())
            .or_insert_with(|| (key, Series::default()))
            .1
            .put(tier, bucket, cell);
        Some(())
    }

    fn decode_segment(&mut self, value: &[u8]) -> Option<Vec<Entry>> {
        let stored: Segment = postcard::from_bytes(value).ok()?;
        let services: Vec<_> = stored
            .services
            .into_iter()
            .map(|service| self.table.services.get(service))
            .collect();
        let readers: Vec<_> = stored
            .readers
            .into_iter()
            .map(|reader| self.table.readers.get(reader))
            .collect();
        let keys: Vec<Arc<Key>> = stored
            .keys
            .into_iter()
            .map(|key| match self.series.get(&key) {
                Some((own, _)) => own.clone(),
                None => Arc::new(key),
            })
            .collect();
        stored
            .entries
            .into_iter()
            .map(|entry| {
                let message = match entry.message {
                    None => None,
                    Some(message) => Some(Box::new(Message {
                        operation: message.operation,
                        reader: readers.get(message.reader as usize)?.clone(),
                        partition: message.partition,
                        offset: message.offset,
                        named: message.named,
                        batch: message.batch,
                        work: message.work,
                        backoff: message.backoff,
                        links: message
                            .links
                            .into_iter()
                            .map(|(trace, span, record)| LinkTo {
                                to: SpanRef {
                                    trace: TraceId(trace),
                                    span: SpanId(span),
                                },
                                record,
                            })
                            .collect(),
                    })),
                };
                let applied = match entry.applied {
                    None => None,
                    Some((key, at, delta)) => Some(Box::new(Applied {
                        key: keys.get(key as usize)?.clone(),
                        at: UnixNanos(at),
                        delta,
                    })),
                };
                Some(Entry {
                    id: SpanRef {
                        trace: TraceId(entry.trace),
                        span: SpanId(entry.span),
                    },
                    parent: entry.parent.map(SpanId),
                    service: services.get(entry.service as usize)?.clone(),
                    role: *ROLES.get(usize::from(entry.role))?,
                    start: UnixNanos(entry.start),
                    end: UnixNanos(entry.start.saturating_add(entry.duration)),
                    failed: entry.failed,
                    message,
                    applied,
                    seq: entry.seq,
                })
            })
            .collect()
    }
}
