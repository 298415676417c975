//! What must survive a restart, as rows that merge.
//!
//! Three sorts of rows, told apart by the first byte of the key: buckets of series (0 to 2, by width), segments of
//! the stitching table (3), facts of a cluster (4). A checkpoint holds only what changed since the last one. A second
//! byte is the version of the encoding; a row of another version is left out and counted, never guessed at.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater_model::{Operation, ServiceKey, SpanId, TraceId, UnixNanos};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::cell::Cell;
use crate::facts::ClusterFacts;
use crate::flow::{Config, Flow, Stats};
use crate::identities::SpanRef;
use crate::key::{Key, Reader};
use crate::series::{Delta, Tier, Timed, Widths};
use crate::table::{Facts, Role, SEGMENT, Stored, lane_of};

const VERSION: u8 = 1;
const SEGMENTS: u8 = 3;
const FACTS: u8 = 4;
/// Rows taken up between two looks at the room they take.
const ROWS_BETWEEN: usize = 50_000;

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
    applied: Option<(u32, u64, StoredDelta)>,
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
    let mut encoded = postcard::to_allocvec(value).unwrap_or_default();
    // There are many, some of them long, until the store has written all of them.
    encoded.shrink_to_fit();
    encoded
}

/// A delta with its times, so that a row can be read alone.
#[derive(Serialize, Deserialize)]
struct StoredDelta {
    messages: u32,
    errors: u32,
    unplaced: u32,
    produce: Option<u64>,
    process: Option<u64>,
    in_broker: SmallVec<[u64; 1]>,
    records: SmallVec<[(i32, i64); 1]>,
}

impl StoredDelta {
    fn new(delta: Delta, took_ns: u64) -> Self {
        let took = |timed| (delta.timed == timed).then_some(took_ns);
        Self {
            messages: delta.messages,
            errors: delta.errors,
            unplaced: delta.unplaced,
            produce: took(Timed::Produce),
            process: took(Timed::Process),
            in_broker: delta.in_broker,
            records: delta.records,
        }
    }

    fn delta(self) -> Delta {
        Delta {
            messages: self.messages,
            errors: self.errors,
            unplaced: self.unplaced,
            timed: match (self.produce, self.process) {
                (Some(_), _) => Timed::Produce,
                (None, Some(_)) => Timed::Process,
                (None, None) => Timed::No,
            },
            in_broker: self.in_broker,
            records: self.records,
        }
    }
}

/// Gives what a segment names a number of its own, from 0, and keeps its value.
struct Numbered<I, T> {
    index: HashMap<I, u32, RandomState>,
    values: Vec<T>,
}

impl<I: Copy + Eq + Hash, T: Clone> Numbered<I, T> {
    fn new() -> Self {
        Self {
            index: HashMap::default(),
            values: Vec::new(),
        }
    }

    /// `None` for what has no value.
    fn of(&mut self, id: I, value: Option<&T>) -> Option<u32> {
        if let Some(&at) = self.index.get(&id) {
            return Some(at);
        }
        let at = self.values.len() as u32;
        self.values.push(value?.clone());
        self.index.insert(id, at);
        Some(at)
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

/// The key of a segment's row: sorts by lane and place.
fn segment_key(lane: usize, segment: u64) -> Vec<u8> {
    let mut key = vec![SEGMENTS, VERSION, lane as u8];
    key.extend(segment.to_be_bytes());
    key
}

impl Flow {
    /// Returns what changed since the last call, and the last block it covers.
    ///
    /// The caller writes it in one transaction. If that fails it gives the rows back: see [`Flow::put_back`].
    pub fn take_checkpoint(&mut self) -> Checkpoint {
        let mut rows = Vec::new();
        for aggregate in self.aggregates.iter_mut() {
            if !aggregate.series.has_dirty() {
                continue;
            }
            let name = encode(&aggregate.key);
            aggregate.series.take_dirty(|tier, bucket, cell| {
                let mut row_key = Vec::with_capacity(name.len() + 2);
                row_key.extend([tier as u8, VERSION]);
                row_key.extend(&name);
                rows.push(Row {
                    key: row_key,
                    bucket: UnixNanos(bucket),
                    value: cell.map(encode).unwrap_or_default(),
                });
            });
        }
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
        // Of two rows for one place the new one comes first, and stays.
        rows.append(&mut self.unsaved);
        rows.sort_by(|a, b| (&a.key, a.bucket).cmp(&(&b.key, b.bucket)));
        rows.dedup_by(|b, a| a.key == b.key && a.bucket == b.bucket);
        let lane = |at: usize| (self.table.lanes[at].first, self.table.lane_len(at) as u64);
        let mut pending = encode(&State {
            version: VERSION,
            stats: self.stats,
            capped: self.table.capped,
            now: self.now,
            lanes: [lane(0), lane(1)],
        });
        pending.extend(encode(&self.widths.stored()));
        Checkpoint {
            rows,
            pending,
            last_block: self.last_block,
        }
    }

    /// Takes the rows of a checkpoint back that could not be written: those that do not change again until then are
    /// part of the next.
    pub fn put_back(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.unsaved.extend(rows);
    }

    fn segment_rows(&mut self, rows: &mut Vec<Row>) {
        for lane in 0..self.table.lanes.len() {
            let dirty = self.table.lanes[lane].take_dirty();
            let (first, length) = (
                self.table.lanes[lane].first,
                self.table.lane_len(lane) as u64,
            );
            let first_kept = first / SEGMENT;
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
                let from = (segment * SEGMENT).max(first) - first;
                let to = ((segment + 1) * SEGMENT).saturating_sub(first).min(length);
                if from >= to {
                    continue;
                }
                rows.push(Row {
                    key: segment_key(lane, segment),
                    bucket: UnixNanos(u64::MAX >> 1),
                    value: self.encode_segment(lane, from, to),
                });
                self.stored_segments[lane].insert(segment);
            }
        }
    }

    /// Encodes the entries of a lane from one place to another, counted from the front.
    fn encode_segment(&self, lane: usize, from: u64, to: u64) -> Vec<u8> {
        let mut services = Numbered::new();
        let mut readers = Numbered::new();
        let mut keys = Numbered::new();
        let entries = self.table.range(lane, from, to).enumerate();
        let entries = entries
            .filter_map(|(place, at)| {
                let entry = at.entry;
                let id = self.table.id(entry.ident);
                let message = match at.message() {
                    None => None,
                    Some(message) => {
                        let reader = message.reading.reader;
                        Some(StoredMessage {
                            operation: message.facts.operation,
                            reader: readers.of(reader.0, self.names.reader_of(reader))?,
                            partition: message.facts.partition,
                            offset: message.facts.offset,
                            named: message.facts.named,
                            batch: message.facts.batch,
                            work: message.facts.work,
                            backoff: message.facts.backoff,
                            links: message
                                .links
                                .iter()
                                .map(|link| {
                                    let to = self.table.id(link.to);
                                    (to.trace.0, to.span.0, link.record)
                                })
                                .collect(),
                        })
                    }
                };
                let applied = self.table.counted(at.slot).and_then(|(series, delta)| {
                    let key = self.aggregates.get(series).map(|aggregate| &aggregate.key);
                    Some((
                        keys.of(series, key)?,
                        entry.counts_at().0,
                        StoredDelta::new(delta, entry.took_ns()),
                    ))
                });
                let service = services.of(entry.service, self.names.service_key(entry.service))?;
                Some(StoredEntry {
                    trace: id.trace.0,
                    span: id.span.0,
                    parent: entry.parent.map(|parent| self.table.id(parent).span.0),
                    service,
                    role: role_number(entry.role),
                    start: entry.start.0,
                    duration: entry.took_ns(),
                    failed: entry.failed,
                    seq: self.table.lanes[lane].first + from + place as u64,
                    message,
                    applied,
                })
            })
            .collect();
        encode(&Segment {
            services: services.values,
            readers: readers.values,
            keys: keys.values,
            entries,
        })
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
        let (state, widths) =
            postcard::take_from_bytes::<State>(pending).map_err(RestoreError::ReadState)?;
        // The first of this version did not store them: then they are what they should be.
        let widths = postcard::from_bytes(widths).unwrap_or_default();
        flow.stats = state.stats;
        flow.now = state.now;
        flow.last_block = last_block;
        let mut unreadable = 0;
        flow.widths = Widths::restored(widths);
        flow.widths.advance(&flow.config.horizons(), flow.now);
        let mut segments: [BTreeMap<u64, Segment>; 2] = Default::default();
        for (at, row) in rows.into_iter().enumerate() {
            // More may be stored than can be held.
            if at % ROWS_BETWEEN == ROWS_BETWEEN - 1 {
                flow.roll();
            }
            if row.value.is_empty() {
                continue;
            }
            let read = match row.key.as_slice() {
                [tier @ 0..=2, VERSION, key @ ..] => {
                    flow.restore_cell(Tier::ALL[usize::from(*tier)], key, row.bucket.0, &row.value)
                }
                [SEGMENTS, VERSION, lane @ 0..=1, segment @ ..] => <[u8; 8]>::try_from(segment)
                    .ok()
                    .zip(postcard::from_bytes(&row.value).ok())
                    .map(|(number, segment)| {
                        segments[usize::from(*lane)].insert(u64::from_be_bytes(number), segment);
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
            for (number, segment) in segments {
                flow.stored_segments[lane].insert(number);
                // A row written before the last eviction may hold entries that have gone since.
                let held = first..first.saturating_add(length);
                unreadable += u64::from(flow.restore_segment(lane, segment, &held).is_none());
            }
            flow.table.lanes[lane].take_dirty();
        }
        flow.table.capped = state.capped;
        flow.roll();
        Ok((flow, unreadable))
    }

    fn restore_cell(&mut self, tier: Tier, key: &[u8], bucket: u64, value: &[u8]) -> Option<()> {
        let key: Key = postcard::from_bytes(key).ok()?;
        let cell: Cell = postcard::from_bytes(value).ok()?;
        self.know_environment(key.environment());
        let raw = self.names.raw(&key);
        let series = self.aggregates.make(raw, key);
        self.aggregates.put(series, tier, bucket, cell);
        Some(())
    }

    /// Puts the entries of a segment back that are still held; `None` when one cannot be read.
    fn restore_segment(&mut self, lane: usize, stored: Segment, held: &Range<u64>) -> Option<()> {
        let services: Vec<_> = stored
            .services
            .iter()
            .map(|service| self.names.service(service))
            .collect();
        let readers: Vec<_> = stored
            .readers
            .iter()
            .map(|reader| self.names.reader(reader))
            .collect();
        let mut keys = Vec::with_capacity(stored.keys.len());
        for key in stored.keys {
            let raw = self.names.raw(&key);
            keys.push(self.aggregates.make(raw, key));
        }
        let entries = stored
            .entries
            .into_iter()
            .filter(|entry| held.contains(&entry.seq));
        for entry in entries {
            let role = *ROLES.get(usize::from(entry.role))?;
            let (message, links) = match entry.message {
                None => (None, Vec::new()),
                Some(message) => {
                    let facts = Facts {
                        operation: message.operation,
                        partition: message.partition,
                        offset: message.offset,
                        named: message.named,
                        batch: message.batch,
                        work: message.work,
                        backoff: message.backoff,
                    };
                    let reading = *readers.get(message.reader as usize)?;
                    let links = message.links.into_iter().map(|(trace, span, record)| {
                        let (trace, span) = (TraceId(trace), SpanId(span));
                        (SpanRef { trace, span }, record)
                    });
                    (Some((reading, facts)), links.collect())
                }
            };
            if lane_of(role) != lane || message.is_some() != (lane == 0) {
                return None;
            }
            let counted = match entry.applied {
                None => None,
                Some((key, _, delta)) => Some((*keys.get(key as usize)?, delta.delta())),
            };
            self.table.restore(Stored {
                id: SpanRef {
                    trace: TraceId(entry.trace),
                    span: SpanId(entry.span),
                },
                parent: entry.parent.map(SpanId),
                service: *services.get(entry.service as usize)?,
                role,
                failed: entry.failed,
                start: UnixNanos(entry.start),
                end: UnixNanos(entry.start.saturating_add(entry.duration)),
                message,
                links,
                counted,
            });
        }
        Some(())
    }
}
