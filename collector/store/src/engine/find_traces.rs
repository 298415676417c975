//! Search: traces of a range that match, the newest first, exactly, without a sort of the range.
//!
//! Blocks are read by their newest span, falling. A trace stands by its newest *matching* span; once that is newer
//! than anything unread can be, its place is certain. It is then read whole, tested exactly, and given.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::future::try_join_all;
use highwater_model::normalise::Rules;
use highwater_model::{TraceId, UnixNanos};
use sqlx::Row;

use super::partition::{Key, Partition};
use super::read::{Asked, LoadedBlock, LoadedHead, by_size, off_the_runtime};
use super::sqlite::{int, unsigned};
use super::store::{Inner, Store};
use crate::block::Corrupt;
use crate::block::bytes::Reader;
use crate::block::fingerprint::{self, Kind};
use crate::error::Result;
use crate::query::{Comparison, Expr, Field, SpanFacts, Test, TraceContext, Truth};
use crate::search::{Cursor, SearchPage, SearchQuery, TraceHit};
use crate::spans::{Found, SpanReader, Wanted};

/// Rows of `meta` fetched by one statement.
const METAS_AT_ONCE: i64 = 512;
/// A span that is decoded costs as much as so many that only their columns are looked at.
const COST_OF_A_BODY: u64 = 8;
/// Blocks that are read by their numbers; of more, each page of the walk is held against the list.
const BLOCKS_BY_NUMBER: usize = 2_048;
/// Blocks looked at together: few at first, since the first page mostly needs few.
const FIRST_STEP: usize = 4;
const LARGEST_STEP: usize = 32;
/// Traces read whole at once, while the cost limit allows for it: each waits for other threads more than it works.
const TRACES_AT_ONCE: usize = 8;

/// A row of `meta`.
#[derive(Clone, Debug)]
struct Meta {
    block: u64,
    spans: u64,
    max_start: i64,
    max_duration: u64,
    has_error: bool,
    services: Option<Vec<u8>>,
}

/// Walks a partition's blocks by their newest span, falling.
struct Walk {
    partition: Arc<Partition>,
    page: VecDeque<Meta>,
    /// Blocks from here on are not fetched yet; `None` when all are.
    unread: Option<(i64, i64)>,
    /// The only blocks that can match, where that is known and they are many.
    among: Option<HashSet<u64>>,
}

impl Walk {
    /// No unread block has a span that starts after this.
    fn bound(&self) -> Option<i64> {
        let first = self.page.front().map(|meta| meta.max_start);
        first.or(self.unread.map(|(max_start, _)| max_start))
    }
}

/// What a block must have, read off the conditions that every match satisfies.
#[derive(Default)]
struct Hints {
    service: Option<String>,
    failed: bool,
    min_duration: u64,
    keys: Vec<Key>,
}

impl Hints {
    fn of(filter: &Expr) -> Self {
        let mut hints = Self::default();
        for condition in filter.required() {
            let only = condition.only();
            match (&condition.field, &condition.test, only) {
                (Field::Service, _, Some(service)) => hints.service = Some(service.to_owned()),
                (Field::Status, _, Some("error")) => hints.failed = true,
                (
                    Field::Duration,
                    Test::Order(Comparison::More | Comparison::AtLeast, least),
                    _,
                ) => {
                    hints.min_duration = hints.min_duration.max(*least as u64);
                }
                (Field::Trace, _, Some(id)) => {
                    let trace = TraceId::from_hex(id);
                    let key = trace.map(|trace| (Kind::Trace, fingerprint::trace(trace)));
                    hints.keys.extend(key);
                }
                (Field::Correlation, _, Some(value)) => {
                    let key = (Kind::Correlation, fingerprint::correlation(value));
                    hints.keys.push(key);
                }
                (Field::Attribute(name), _, Some(value)) if is_indexed(name) => {
                    let value = fingerprint::attribute_text(name.as_bytes(), value.as_bytes());
                    hints.keys.push((Kind::Attribute, value));
                }
                _ => {}
            }
        }
        hints
    }

    /// The attributes that a matching span has.
    fn attributes(&self) -> Vec<fingerprint::Fingerprint> {
        let attributes = self.keys.iter().filter(|key| key.0 == Kind::Attribute);
        attributes.map(|key| key.1).collect()
    }

    fn exclude(&self, meta: &Meta) -> bool {
        (self.failed && !meta.has_error)
            || meta.max_duration < self.min_duration
            || self.service.as_ref().is_some_and(|service| {
                let named = meta.services.as_ref();
                named.is_some_and(|services| !names(services, service))
            })
    }
}

/// Whether the index has every value of an attribute: not of those that stand for a field of the scope.
fn is_indexed(name: &str) -> bool {
    !name.starts_with("otel.scope.") && !name.starts_with("otel.library.")
}

/// Whether a list of length-prefixed names has one; a list that cannot be read might.
fn names(list: &[u8], wanted: &str) -> bool {
    let mut reader = Reader::new(list);
    let Ok(count) = reader.count() else {
        return true;
    };
    (0..count).any(|_| reader.bytes().is_ok_and(|name| name == wanted.as_bytes()))
}

/// A place in the order of a search: start of the newest matching span, and trace.
type Place = (u64, TraceId);

struct Search<'a> {
    inner: &'a Inner,
    query: &'a SearchQuery,
    filter: Arc<Expr>,
    below: Option<Place>,
    walks: Vec<Walk>,
    hints: Hints,
    /// Traces of which a span may match, at the newest such span.
    candidates: BTreeSet<Place>,
    candidate_of: HashMap<TraceId, u64>,
    /// Traces that were read whole, at their newest matching span.
    verified: BTreeMap<Place, TraceHit>,
    decided: HashSet<TraceId>,
    page: SearchPage,
    /// Spans decoded, those of whole traces included: what the cost limit is held against.
    cost: u64,
}

impl Store {
    pub(super) async fn find_traces(&self, query: &SearchQuery) -> Result<SearchPage> {
        if query.from >= query.to || query.limit == 0 {
            return Ok(SearchPage::default());
        }
        let filter = query.filter.clone().unwrap_or(Expr::All(Vec::new()));
        let mut search = Search {
            inner: &self.inner,
            query,
            hints: Hints::of(&filter),
            filter: Arc::new(filter),
            below: query.cursor.map(|cursor| (cursor.start.0, cursor.trace)),
            walks: Vec::new(),
            candidates: BTreeSet::new(),
            candidate_of: HashMap::new(),
            verified: BTreeMap::new(),
            decided: HashSet::new(),
            page: SearchPage::default(),
            cost: 0,
        };
        search.begin().await?;
        search.run(self).await?;
        Ok(search.page)
    }
}

impl Search<'_> {
    /// The newest start that the page may have.
    fn newest(&self) -> u64 {
        let last = self.query.to.0 - 1;
        self.below.map_or(last, |(start, trace)| {
            // No trace stands below the zero id: such a cursor is the end of the instant before.
            let newest = start.saturating_sub(u64::from(trace == TraceId::default()));
            last.min(newest)
        })
    }

    async fn begin(&mut self) -> Result<()> {
        let (from, last) = (self.query.from.0, self.query.to.0 - 1);
        let partitions = self.inner.partitions();
        // Saturated as `meta` is, so that what lies beyond its numbers is kept in.
        let in_range = partitions.iter().filter(|partition| {
            let facts = partition.facts();
            facts.blocks > 0
                && int(facts.max_start) >= int(from)
                && int(facts.min_start) <= int(last)
        });
        // All at once: each waits for other threads more than it works.
        let begun = in_range.map(async |partition| {
            let walk = self.walk(partition);
            let (total, walk) = tokio::join!(total(partition, from, last), walk);
            Ok((total?, walk?))
        });
        let begun: Vec<(u64, Walk)> = try_join_all(begun).await?;
        for (total, walk) in begun {
            self.page.total += total;
            self.walks.push(walk);
        }
        Ok(())
    }

    async fn walk(&self, partition: &Arc<Partition>) -> Result<Walk> {
        let mut walk = Walk {
            partition: Arc::clone(partition),
            page: VecDeque::new(),
            unread: Some((int(partition.facts().max_start), i64::MAX)),
            among: None,
        };
        if let Some(blocks) = self.with_keys(partition).await? {
            if blocks.len() > BLOCKS_BY_NUMBER {
                walk.among = Some(blocks);
            } else {
                walk.page = self.by_number(partition, blocks).await?;
                walk.unread = None;
            }
        }
        Ok(walk)
    }

    /// The blocks that have every key that a match must have; `None` when there is no key that the index has.
    async fn with_keys(&self, partition: &Partition) -> Result<Option<HashSet<u64>>> {
        let keys = self.hints.keys.iter().copied();
        let keys: Vec<Key> = keys
            .filter(|(kind, _)| *kind != Kind::Attribute || partition.attributes)
            .collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let found = partition.find(&keys).await?.into_iter();
        Ok(found
            .map(|blocks| blocks.into_iter().collect::<HashSet<u64>>())
            .reduce(|before, found| &before & &found))
    }

    async fn by_number(
        &self,
        partition: &Partition,
        blocks: HashSet<u64>,
    ) -> Result<VecDeque<Meta>> {
        let list: Vec<u64> = blocks.into_iter().collect();
        let rows = sqlx::query(
            "SELECT block, spans, max_start, max_duration, has_error, services FROM meta \
             WHERE block IN (SELECT value FROM json_each(?)) AND max_start >= ? AND min_start <= ? \
             ORDER BY max_start DESC, block DESC",
        )
        .bind(format!("{list:?}"))
        .bind(int(self.query.from.0))
        .bind(int(self.newest()))
        .fetch_all(&partition.readers)
        .await;
        metas(partition, rows)
    }

    async fn run(&mut self, store: &Store) -> Result<()> {
        let limit = self.query.limit.min(SearchQuery::MAX_LIMIT);
        let mut step = FIRST_STEP;
        loop {
            self.fill().await?;
            let bound = self.walks.iter().filter_map(Walk::bound).max();
            if self.give(store, bound, limit).await? {
                return Ok(());
            }
            let Some(bound) = bound else {
                return Ok(());
            };
            // Some progress is made in any case, lest a page's cursor lead to the same page.
            if self.cost >= self.query.max_spans && bound < int(self.newest()) {
                self.page.partial = true;
                self.page.next = Some(Cursor {
                    start: UnixNanos(unsigned(bound).saturating_add(1)),
                    trace: TraceId::default(),
                });
                return Ok(());
            }
            self.step(step).await?;
            step = (step * 2).min(LARGEST_STEP);
        }
    }

    /// Makes the next block of every walk that may be next known.
    async fn fill(&mut self) -> Result<()> {
        let (from, newest) = (self.query.from.0, self.newest());
        loop {
            let best = (0..self.walks.len())
                .filter(|i| self.walks[*i].bound().is_some())
                .max_by_key(|i| self.walks[*i].bound());
            let Some(best) = best else { return Ok(()) };
            let walk = &mut self.walks[best];
            let (true, Some((max_start, block))) = (walk.page.is_empty(), walk.unread) else {
                return Ok(());
            };
            let rows = sqlx::query(
                "SELECT block, spans, max_start, max_duration, has_error, services FROM meta \
                 WHERE (max_start, block) < (?, ?) AND max_start >= ? AND min_start <= ? \
                 ORDER BY max_start DESC, block DESC LIMIT ?",
            )
            .bind(max_start)
            .bind(block)
            .bind(int(from))
            .bind(int(newest))
            .bind(METAS_AT_ONCE)
            .fetch_all(&walk.partition.readers)
            .await;
            walk.page = metas(&walk.partition, rows)?;
            let full = walk.page.len() as i64 == METAS_AT_ONCE;
            let last = walk
                .page
                .back()
                .map(|meta| (meta.max_start, int(meta.block)));
            walk.unread = last.filter(|_| full);
            if let Some(among) = &walk.among {
                walk.page.retain(|meta| among.contains(&meta.block));
            }
        }
    }

    /// Looks at the next blocks.
    async fn step(&mut self, blocks: usize) -> Result<()> {
        let mut wanted: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for _ in 0..blocks {
            let best = (0..self.walks.len())
                .filter(|i| self.walks[*i].bound().is_some())
                .max_by_key(|i| self.walks[*i].bound());
            let Some(best) = best else { break };
            // A page that ran out is filled before the next step.
            let Some(meta) = self.walks[best].page.pop_front() else {
                break;
            };
            self.page.searched += meta.spans;
            if !self.hints.exclude(&meta) {
                wanted.entry(best).or_default().push(meta.block);
            }
        }
        for (walk, blocks) in wanted {
            let partition = Arc::clone(&self.walks[walk].partition);
            let heads = self.inner.heads(&partition, &blocks).await?;
            self.cost += heads.iter().map(|head| head.head.len() as u64).sum::<u64>();
            let range = (self.query.from.0, self.query.to.0, self.below);
            let filter = Arc::clone(&self.filter);
            let scanned = off_the_runtime(move |_| Ok(scan_heads(heads, &filter, range))).await?;
            self.add(scanned.places);
            for group in by_size(&scanned.undecided) {
                let loaded = self.inner.bodies(&partition, group).await?;
                let filter = Arc::clone(&self.filter);
                let rules = self.inner.options.rules.clone();
                let attributes = self.hints.attributes();
                let scanned = off_the_runtime(move |asked| {
                    scan_bodies(&loaded, &filter, range, &rules, &attributes, asked)
                })
                .await?;
                self.cost += COST_OF_A_BODY * scanned.decoded;
                for (block, reason) in scanned.damaged {
                    partition.damage.of_block(block, &reason);
                }
                let places = scanned.places;
                self.add(places);
            }
        }
        Ok(())
    }

    fn add(&mut self, places: Vec<Place>) {
        for (start, trace) in places {
            if self.decided.contains(&trace) {
                continue;
            }
            match self.candidate_of.get(&trace) {
                Some(before) if *before >= start => continue,
                Some(before) => {
                    self.candidates.remove(&(*before, trace));
                }
                None => {}
            }
            self.candidate_of.insert(trace, start);
            self.candidates.insert((start, trace));
        }
    }

    /// Gives the traces whose place is certain; true when the page ends: it is full, or has a trace and cost enough.
    async fn give(&mut self, store: &Store, bound: Option<i64>, limit: usize) -> Result<bool> {
        let certain = |place: &Place| bound.is_none_or(|bound| int(place.0) > bound);
        loop {
            let more = bound.is_some() || !self.candidates.is_empty() || !self.verified.is_empty();
            if self.page.hits.len() >= limit {
                let last = self.page.hits.last().filter(|_| more);
                self.page.next = last.map(|hit| Cursor {
                    start: hit.newest,
                    trace: hit.trace_id,
                });
                return Ok(true);
            }
            let verified = self.verified.last_key_value().map(|(place, _)| *place);
            let candidate = self.candidates.last().copied();
            let Some(next) = verified.max(candidate).filter(certain) else {
                return Ok(false);
            };
            if verified == Some(next) {
                let hit = self.verified.pop_last().map(|(_, hit)| hit);
                self.page.hits.extend(hit);
                continue;
            }
            let left = self.query.max_spans.saturating_sub(self.cost);
            // Every trace below it is looked for again by the next page, those too that were read and not given.
            if left == 0
                && let Some(hit) = self.page.hits.last()
            {
                self.page.partial = true;
                self.page.next = Some(Cursor {
                    start: hit.newest,
                    trace: hit.trace_id,
                });
                return Ok(true);
            }
            // Each of them may be as large as one can be; one is read in any case.
            let affordable = (left / TraceHit::MAX_SPANS as u64).clamp(1, TRACES_AT_ONCE as u64);
            let at_once = (affordable as usize).min(limit - self.page.hits.len());
            let newest = self.candidates.iter().rev().copied();
            let next: Vec<Place> = newest.take_while(certain).take(at_once).collect();
            for place in &next {
                self.candidates.remove(place);
                self.candidate_of.remove(&place.1);
                self.decided.insert(place.1);
            }
            for hit in self.read_whole(store, next).await? {
                self.verified(hit);
            }
        }
    }

    /// Reads traces whole and finds their true places, which are never newer than the candidates'.
    async fn read_whole(&self, store: &Store, places: Vec<Place>) -> Result<Vec<TraceHit>> {
        let wanted = places
            .iter()
            .map(|(_, trace)| (Wanted::Trace(*trace), TraceHit::MAX_SPANS));
        let found = store.find(&wanted.collect::<Vec<_>>()).await?;
        let filter = Arc::clone(&self.filter);
        let range = self.query.from..self.query.to;
        off_the_runtime(move |asked| {
            let hits = places.into_iter().zip(found).map(|(place, found)| {
                asked.still()?;
                Ok(hit(place, found, &filter, &range))
            });
            hits.collect()
        })
        .await
    }

    fn verified(&mut self, hit: TraceHit) {
        self.cost += hit.spans.len() as u64;
        if hit.matched.is_empty() && !hit.truncated {
            return;
        }
        let place = (hit.newest.0, hit.trace_id);
        // A trace with a matching span above the cursor was on an earlier page.
        if self.below.is_none_or(|below| place < below) {
            self.verified.insert(place, hit);
        }
    }
}

/// What of a whole trace matches.
fn hit(
    (start, trace): Place,
    found: Found,
    filter: &Expr,
    range: &std::ops::Range<UnixNanos>,
) -> TraceHit {
    let context = TraceContext::of(found.spans.iter().map(|stored| &stored.span));
    let matched = (0..found.spans.len()).filter(|i| {
        let stored = &found.spans[*i];
        range.contains(&stored.span.start)
            && SpanFacts::from_span(&stored.origin, &stored.raw, &stored.span)
                .in_trace(&context, *i)
                .truth(filter)
                == Truth::Yes
    });
    let matched: Vec<usize> = matched.collect();
    let spans: Vec<_> = found.spans.into_iter().map(|stored| stored.span).collect();
    let newest = matched.iter().map(|i| spans[*i].start).max();
    // What matched may be among the spans that were not given.
    let unsure = matched.is_empty() && found.truncated;
    TraceHit {
        trace_id: trace,
        newest: newest.unwrap_or(UnixNanos(if unsure { start } else { 0 })),
        spans,
        matched,
        truncated: found.truncated,
    }
}

struct Scanned {
    places: Vec<Place>,
    /// Heads with spans that only their bodies can decide.
    undecided: Vec<Arc<LoadedHead>>,
}

type Range = (u64, u64, Option<Place>);

fn in_range(place: Place, (from, to, below): Range) -> bool {
    (from..to).contains(&place.0) && below.is_none_or(|below| place < below)
}

/// Tests spans by their heads. "Maybe" goes on to the body when the body can tell more.
fn scan_heads(heads: Vec<Arc<LoadedHead>>, filter: &Expr, range: Range) -> Scanned {
    let more_in_body = filter.needs_body();
    let mut scanned = Scanned {
        places: Vec::new(),
        undecided: Vec::new(),
    };
    for head in heads {
        let mut undecided = false;
        for row in head.head.rows() {
            let place = (row.row.start, row.trace());
            if !in_range(place, range) {
                continue;
            }
            match SpanFacts::from_row(row).truth(filter) {
                Truth::No => {}
                Truth::Maybe if more_in_body => undecided = true,
                Truth::Yes | Truth::Maybe => scanned.places.push(place),
            }
        }
        if undecided {
            scanned.undecided.push(head);
        }
    }
    scanned
}

/// What the bodies told.
#[derive(Default)]
struct Decided {
    /// Of the spans that match.
    places: Vec<Place>,
    /// Spans that were decoded for it.
    decoded: u64,
    /// Blocks with a span that cannot be read, and why.
    damaged: Vec<(u64, Corrupt)>,
}

/// Tests the spans that their heads left open and that have the attributes that a match must have.
fn scan_bodies(
    loaded: &[LoadedBlock],
    filter: &Expr,
    range: Range,
    rules: &Rules,
    attributes: &[fingerprint::Fingerprint],
    asked: &Asked,
) -> Result<Decided> {
    let mut decided = Decided::default();
    for (head, body) in loaded {
        asked.still()?;
        let with: Vec<Vec<bool>> = attributes
            .iter()
            .filter_map(|attribute| body.with_attribute(*attribute))
            .collect();
        for row in head.head.rows() {
            let place = (row.row.start, row.trace());
            let may_have = |with: &Vec<bool>| with.get(row.index()).is_none_or(|may| *may);
            if !in_range(place, range)
                || !with.iter().all(may_have)
                || SpanFacts::from_row(row).truth(filter) != Truth::Maybe
            {
                continue;
            }
            decided.decoded += 1;
            let stored = match body.stored(row, head.arrived, rules) {
                Ok(stored) => stored,
                Err(reason) => {
                    decided.damaged.push((head.block, reason));
                    continue;
                }
            };
            let facts = SpanFacts::from_span(&stored.origin, &stored.raw, &stored.span);
            if facts.truth(filter) != Truth::No {
                decided.places.push(place);
            }
        }
    }
    Ok(decided)
}

fn metas(
    partition: &Partition,
    rows: sqlx::Result<Vec<sqlx::sqlite::SqliteRow>>,
) -> Result<VecDeque<Meta>> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(source) => {
            partition.list_error(source)?;
            Vec::new()
        }
    };
    let metas = rows.iter().map(|row| Meta {
        block: unsigned(row.get(0)),
        spans: unsigned(row.get(1)),
        max_start: row.get(2),
        max_duration: unsigned(row.get(3)),
        has_error: row.get(4),
        services: row.get(5),
    });
    Ok(metas.collect())
}

/// Spans of the blocks that touch a range, from an index alone; of a partition that lies in it from memory.
async fn total(partition: &Partition, from: u64, last: u64) -> Result<u64> {
    let facts = partition.facts();
    if from <= facts.min_start && facts.max_start <= last {
        return Ok(facts.spans);
    }
    let sum = sqlx::query_scalar::<_, i64>(
        "SELECT coalesce(sum(spans), 0) FROM meta WHERE max_start >= ? AND min_start <= ?",
    )
    .bind(int(from))
    .bind(int(last))
    .fetch_one(&partition.readers)
    .await;
    match sum {
        Ok(sum) => Ok(unsigned(sum)),
        Err(source) => partition.list_error(source).map(|()| 0),
    }
}
