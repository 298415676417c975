//! The flow itself: spans and samples in, maps and checkpoints out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::broker::Sample;
use highwater_model::names::TopicKind;
use highwater_model::raw::SpanKind;
use highwater_model::{Span, UnixNanos};

use crate::aggregates::{Aggregates, SeriesId};
use crate::checkpoint::Row;
use crate::evaluate::{Under, evaluate};
use crate::facts::Facts;
use crate::identities::Slot;
use crate::key::OTHER;
use crate::names::{Names, RawKey};
use crate::series::{Delta, HOUR, Horizons, MINUTE, Tier, Timed, Widths};
use crate::table::{Role, Table, WARMED};
use crate::touched::Touched;
use crate::trace::words;

/// Time that moves on by more than this at once has leapt.
const LEAP: u64 = HOUR;
/// A leap is believed when time has gone on behind it for so long.
const LEAP_LASTS: u64 = 10 * MINUTE;

/// A cluster that the operator configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// Its name, as ids carry it.
    pub name: Arc<str>,
    /// The environment it belongs to.
    pub environment: Arc<str>,
    /// Bootstrap addresses, `host:port`, and whatever else spans may call it by.
    pub addresses: Vec<Arc<str>>,
}

/// Bounds and horizons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The configured clusters.
    pub clusters: Vec<ClusterConfig>,
    /// Spans of messages kept for others to stitch to; about 250 bytes each. Of links, twice as many are kept.
    pub pending_messages: usize,
    /// Other spans kept, to lead from a send to its handler; about 100 bytes each.
    pub pending_others: usize,
    /// Aggregates kept; what comes beyond is counted under `(other)`.
    pub max_series: usize,
    /// Bytes of history held in memory; beyond, older buckets become wider and fewer. See [`Stats::coarsened`].
    pub max_history: usize,
    /// Nodes of one map; what comes beyond is folded into `(other)`.
    pub max_nodes: usize,
    /// Edges of one map; what comes beyond is left out, least traffic first.
    pub max_edges: usize,
    /// How long 10 s buckets are kept.
    pub hot: Duration,
    /// How long 1 min buckets are kept.
    pub warm: Duration,
    /// How long 1 h buckets are kept; spans older than this are not aggregated.
    pub retention: Duration,
    /// Spans further ahead of now than this are not aggregated.
    pub max_ahead: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clusters: Vec::new(),
            pending_messages: 120_000,
            pending_others: 60_000,
            max_series: 120_000,
            max_history: 80 << 20,
            max_nodes: 20_000,
            max_edges: 100_000,
            hot: Duration::from_secs(3_600),
            warm: Duration::from_secs(24 * 3_600),
            retention: Duration::from_secs(90 * 24 * 3_600),
            max_ahead: Duration::from_secs(600),
        }
    }
}

impl Config {
    pub(crate) fn horizons(&self) -> Horizons {
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Horizons {
            hot: ns(self.hot),
            warm: ns(self.warm),
            detail: ns(self.retention),
            retention: ns(self.retention),
        }
    }
}

/// Environments told apart when aggregates are folded.
pub(crate) const MAX_ENVIRONMENTS: usize = 256;

/// What the flow counts of itself, since the data directory was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// Spans taken in.
    pub spans: u64,
    /// Spans with an id that was there already.
    pub repeated: u64,
    /// Spans not aggregated: more than 10 minutes ahead of now.
    pub ahead: u64,
    /// Spans not aggregated: older than the retention of aggregates.
    pub too_old: u64,
    /// Spans let go from the stitching table because it was full.
    pub evicted: u64,
    /// References not stitched because one span had more than 1,024.
    pub unstitched: u64,
    /// Contributions counted under `(other)` because there were too many aggregates.
    pub folded: u64,
    /// How far history is coarser now than it should be, because it took too much room: 1 to 3, fewer minutes; to 9,
    /// fewer latencies of old hours; to 11, fewer tens of seconds; beyond, fewer hours.
    #[serde(skip)]
    pub coarsened: u32,
}

/// The event flow: counts and latencies by edge, stitched across traces.
///
/// Deterministic: the same spans and samples give the same map, in whatever order and in whatever batches they came,
/// as long as the stitching table was large enough to hold what belongs together.
#[derive(Clone, Debug)]
pub struct Flow {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) aggregates: Aggregates,
    /// What the widths of buckets are now.
    pub(crate) widths: Widths,
    /// Empty between blocks.
    touched: Touched,
    /// Environments that spans named.
    pub(crate) environments: BTreeSet<Arc<str>>,
    pub(crate) facts: Facts,
    pub(crate) overrides: BTreeMap<(Arc<str>, Arc<str>), TopicKind>,
    pub(crate) stats: Stats,
    /// The latest instant heard of; never goes back.
    pub(crate) now: u64,
    /// Where time leapt to, while it is not believed yet.
    leapt: Option<u64>,
    pub(crate) last_block: u64,
    /// Segments of the stitching table that the store holds, by lane: so that they can be deleted.
    pub(crate) stored_segments: [BTreeSet<u64>; 2],
    pub(crate) facts_dirty: bool,
    /// Rows of checkpoints that could not be written.
    pub(crate) unsaved: Vec<Row>,
}

impl Flow {
    /// An empty flow.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            facts: Facts::new(&config.clusters),
            config,
            table: Table::default(),
            names: Names::default(),
            aggregates: Aggregates::default(),
            widths: Widths::default(),
            touched: Touched::default(),
            environments: BTreeSet::new(),
            overrides: BTreeMap::new(),
            stats: Stats::default(),
            now: 0,
            leapt: None,
            last_block: 0,
            stored_segments: Default::default(),
            facts_dirty: false,
            unsaved: Vec::new(),
        }
    }

    /// Takes the spans of a committed block in. A block that was applied already is left alone, so that a replay may
    /// begin too early. `now`: when the block was committed, not when it is replayed.
    pub fn apply<'s>(
        &mut self,
        spans: impl IntoIterator<Item = &'s Span>,
        block: u64,
        now: UnixNanos,
    ) {
        if block <= self.last_block && self.last_block > 0 {
            return;
        }
        self.last_block = block;
        self.advance(now);
        let mut arrived = Vec::new();
        let ahead = now + self.config.max_ahead;
        let mut spans = spans.into_iter();
        let mut next = Vec::with_capacity(WARMED);
        loop {
            next.clear();
            next.extend(spans.by_ref().take(WARMED));
            if next.is_empty() {
                break;
            }
            self.table.warm(&next);
            for &span in &next {
                // A consumer counts by its start, a producer by its end: both must lie within the buckets.
                if span.end.max(span.start) > ahead {
                    self.stats.ahead += 1;
                } else if span.start.0 < self.widths.oldest() {
                    self.stats.too_old += 1;
                } else if let Some(slot) = self.table.insert(span, &mut self.names) {
                    self.stats.spans += 1;
                    self.count_seen(span, slot);
                    arrived.push(slot);
                } else {
                    self.stats.repeated += 1;
                }
            }
        }
        self.reevaluate(&arrived);
        let evicted = self.table.evict(0, self.config.pending_messages)
            + self.table.evict(1, self.config.pending_others);
        self.stats.evicted += evicted;
        self.stats.unstitched = self.table.capped;
        if self.names.crowded() {
            self.sweep();
        }
    }

    /// A service is on the map because it sends spans. The work of one that handles requests is its server spans.
    fn count_seen(&mut self, span: &Span, slot: Slot) {
        let serves = span.kind == SpanKind::Server;
        let delta = Delta {
            messages: 1,
            errors: u32::from(serves && span.error.is_some()),
            timed: if serves { Timed::Process } else { Timed::No },
            ..Delta::default()
        };
        let service = self.table.at(slot).map(|at| at.entry.service);
        if let Some(series) = service.and_then(|of| self.series_of(RawKey::Seen(of))) {
            self.aggregates
                .add(series, span.start, &delta, span.duration_ns(), &self.widths);
        }
    }

    fn reevaluate(&mut self, arrived: &[Slot]) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.begin(&self.table);
        for &slot in arrived {
            if let Some(at) = self.table.at(slot) {
                touched.arrived(&self.table, at);
            }
        }
        // A handler that names no cluster takes it from the producer it is stitched to, and its sends with it.
        for index in 0..touched.len() {
            if let Some(at) = touched.get(index).and_then(|slot| self.table.at(slot))
                && let Some(message) = at.is(Role::Consumer)
                && message.reading.cluster.is_none()
                && self.table.is_named(at.ident())
            {
                touched.sends_below(&self.table, at);
            }
        }
        while let Some(slot) = touched.pop() {
            self.count(slot);
        }
        self.touched = touched;
    }

    /// Counts an entry for what it is now worth.
    fn count(&mut self, slot: Slot) {
        let Some(at) = self.table.at(slot) else {
            return;
        };
        let new = evaluate(&self.table, at);
        let (when, took_ns) = (at.entry.counts_at(), at.entry.took_ns());
        let counted = at.entry.counted_in.is_some();
        let new = new.and_then(|(under, delta)| {
            let raw = self.raw_key(under);
            Some((self.series_of(raw)?, delta))
        });
        match &new {
            None if !counted => return,
            Some((series, delta)) if self.table.is_counted(slot, *series, delta) => return,
            _ => {}
        }
        if let Some((series, delta)) = self.table.counted(slot) {
            self.aggregates
                .subtract(series, when, &delta, took_ns, &self.widths);
        }
        if let Some((series, delta)) = &new {
            self.aggregates
                .add(*series, when, delta, took_ns, &self.widths);
        }
        self.table.set_counted(slot, new);
    }

    fn raw_key(&mut self, under: Under) -> RawKey {
        match under {
            Under::Produce(service, topic, via) => {
                RawKey::Produce(service, topic, via.map(|via| self.names.locate(via)))
            }
            Under::Consume(service, reader) => RawKey::Consume(service, self.names.locate(reader)),
            Under::Call(caller, callee) => RawKey::Call(caller, callee),
        }
    }

    /// The series that counts under a key: `(other)` when there are too many. `None` for a key that was never made.
    fn series_of(&mut self, raw: RawKey) -> Option<SeriesId> {
        if let Some(found) = self.aggregates.find(raw) {
            return Some(found);
        }
        let (mut raw, mut key) = (raw, self.names.key(raw)?);
        if self.aggregates.len() >= self.config.max_series {
            self.stats.folded += 1;
            let known = self.environments.get(key.environment()).cloned();
            key = key.folded(known.unwrap_or_else(|| OTHER.into()));
            raw = self.names.raw(&key);
        }
        self.know_environment(key.environment());
        Some(self.aggregates.make(raw, key))
    }

    pub(crate) fn know_environment(&mut self, environment: &Arc<str>) {
        if self.environments.len() < MAX_ENVIRONMENTS && !self.environments.contains(environment) {
            self.environments.insert(environment.clone());
        }
    }

    /// Moves time on: buckets that have become too old for their width are rolled up, once a minute.
    pub(crate) fn advance(&mut self, now: UnixNanos) {
        if !self.is_believed(now.0) {
            return;
        }
        let before = self.now;
        self.now = self.now.max(now.0);
        if Tier::Warm.floor(before) == Tier::Warm.floor(self.now) {
            return;
        }
        self.roll();
        if Tier::Cold.floor(before) != Tier::Cold.floor(self.now) {
            self.sweep();
        }
    }

    /// Whether it may be so late. What is rolled up stays so, and what is let go is gone: a clock that was set wrong for a
    /// minute must not do that to a year of counts. A pause looks the same, and nothing is lost by rolling up later.
    fn is_believed(&mut self, now: u64) -> bool {
        if self.now == 0 || now <= self.now.saturating_add(LEAP) {
            self.leapt = None;
            return true;
        }
        let since = self.leapt.filter(|since| *since <= now);
        let since = *self.leapt.insert(since.unwrap_or(now));
        now - since >= LEAP_LASTS
    }

    /// Rolls up what has become too old for its width; and more, where history takes too much room.
    pub(crate) fn roll(&mut self) {
        loop {
            let level = self.stats.coarsened;
            let horizons = self.config.horizons().pressed(level);
            self.widths.advance(&horizons, self.now);
            self.aggregates.roll(&self.widths);
            let size = self.aggregates.size();
            if size > self.config.max_history && level < Horizons::LEVELS {
                self.stats.coarsened += 1;
                continue;
            }
            if size < self.config.max_history / 4 {
                self.stats.coarsened = level.saturating_sub(1);
            }
            return;
        }
    }

    /// Bytes of history held in memory, nearly.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.aggregates.size()
    }

    /// [`Config::max_history`].
    #[must_use]
    pub fn history_limit_bytes(&self) -> usize {
        self.config.max_history
    }

    /// What of the past is kept coarser or shorter than configured, because history took too much room: a sentence,
    /// `None` while nothing is. See [`Stats::coarsened`].
    #[must_use]
    pub fn coarser(&self) -> Option<String> {
        let whole = self.config.horizons();
        let left = whole.pressed(self.stats.coarsened);
        let shorter = |what: &str, left: u64, whole: u64| {
            let (is, was) = (words::duration(left), words::duration(whole));
            (left < whole).then(|| format!("{what} for {is} instead of {was}"))
        };
        let parts: Vec<String> = [
            shorter("steps of 10\u{a0}s", left.hot, whole.hot),
            shorter("minutes", left.warm, whole.warm),
            shorter("latencies", left.detail, whole.detail),
            shorter("counts", left.retention, whole.retention),
        ]
        .into_iter()
        .flatten()
        .collect();
        let limit = words::bytes(self.config.max_history);
        (!parts.is_empty()).then(|| {
            format!(
                "To stay within {limit}, the map keeps {}.",
                parts.join(", ")
            )
        })
    }

    /// Forgets series and names that nothing needs any more.
    fn sweep(&mut self) {
        let mut names = self.names.unused();
        let mut counted_in = self.aggregates.unused();
        self.table.mark(&mut names, &mut counted_in);
        self.aggregates.sweep(&counted_in, &mut names);
        self.names.sweep(&names);
    }

    /// Takes a broker's facts in: what its topics, groups, id and addresses are now, and how its offsets moved.
    pub fn observe(&mut self, sample: &Sample) {
        self.advance(sample.finished);
        self.facts.observe(sample);
        self.facts_dirty = true;
    }

    /// Says what a topic is for, whatever its name looks like; `None` goes back to the name.
    pub fn set_topic_kind(&mut self, cluster: &str, topic: &str, kind: Option<TopicKind>) {
        let key = (cluster.into(), topic.into());
        match kind {
            Some(kind) => self.overrides.insert(key, kind),
            None => self.overrides.remove(&key),
        };
    }

    /// What a topic is for: as told, else by its name.
    #[must_use]
    pub fn topic_kind(&self, cluster: &str, topic: &str) -> TopicKind {
        self.overrides
            .get(&(Arc::from(cluster), Arc::from(topic)))
            .copied()
            .unwrap_or_else(|| TopicKind::from_name(topic))
    }

    /// Environments known from spans and from configuration.
    #[must_use]
    pub fn environments(&self) -> BTreeSet<Arc<str>> {
        let configured = self.facts.clusters.values().map(|c| c.environment.clone());
        self.environments
            .iter()
            .cloned()
            .chain(configured)
            .collect()
    }

    /// Counts of itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Spans in the stitching table now.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.table.len()
    }

    /// The last block applied; 0 when none.
    #[must_use]
    pub fn last_block(&self) -> u64 {
        self.last_block
    }
}
