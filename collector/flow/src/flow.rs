//! The flow itself: spans and samples in, maps and checkpoints out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::broker::Sample;
use highwater_model::names::TopicKind;
use highwater_model::{ServiceKey, Span, UnixNanos};

use crate::evaluate::{evaluate, sends_below, touched_by};
use crate::facts::Facts;
use crate::key::{Key, OTHER};
use crate::series::{Delta, Horizons, Series, Tier};
use crate::table::{Applied, Role, SpanRef, Table};

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
    /// Spans of messages kept for others to stitch to; about 400 bytes each.
    pub pending_messages: usize,
    /// Other spans kept, to lead from a send to its handler; about 200 bytes each.
    pub pending_others: usize,
    /// Aggregates kept; what comes beyond is counted under `(other)`.
    pub max_series: usize,
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
}

/// The event flow: counts and latencies by edge, stitched across traces.
///
/// Deterministic: the same spans and samples give the same map, in whatever order and in whatever batches they came,
/// as long as the stitching table was large enough to hold what belongs together.
#[derive(Clone, Debug)]
pub struct Flow {
    pub(crate) config: Config,
    pub(crate) horizons: Horizons,
    pub(crate) table: Table,
    /// With the one copy of each key that contributions hold.
    pub(crate) series: HashMap<Arc<Key>, (Arc<Key>, Series)>,
    /// Environments that spans named.
    pub(crate) environments: BTreeSet<Arc<str>>,
    pub(crate) facts: Facts,
    pub(crate) overrides: BTreeMap<(Arc<str>, Arc<str>), TopicKind>,
    pub(crate) stats: Stats,
    /// The latest instant heard of; never goes back.
    pub(crate) now: u64,
    pub(crate) last_block: u64,
    /// Segments of the stitching table that the store holds, by lane: so that they can be deleted.
    pub(crate) stored_segments: [BTreeSet<u64>; 2],
    pub(crate) facts_dirty: bool,
}

impl Flow {
    /// An empty flow.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let horizons = config.horizons();
        Self {
            facts: Facts::new(&config.clusters),
            config,
            horizons,
            table: Table::default(),
            series: HashMap::new(),
            environments: BTreeSet::new(),
            overrides: BTreeMap::new(),
            stats: Stats::default(),
            now: 0,
            last_block: 0,
            stored_segments: Default::default(),
            facts_dirty: false,
        }
    }

    /// Takes the spans of a committed block in. A block that was applied already is left alone, so that a replay may
    /// begin too early. `now`: when the block was committed, not when it is replayed.
    pub fn apply(&mut self, spans: &[Span], block: u64, now: UnixNanos) {
        if block <= self.last_block && self.last_block > 0 {
            return;
        }
        self.last_block = block;
        self.advance(now);
        let mut arrived = Vec::with_capacity(spans.len());
        let mut seen: HashMap<&ServiceKey, Arc<Key>> = HashMap::new();
        let ahead = now + self.config.max_ahead;
        let oldest = self.horizons.start_of(Tier::Cold, self.now);
        for span in spans {
            // A consumer counts by its start, a producer by its end: both must lie within the buckets.
            if span.end.max(span.start) > ahead {
                self.stats.ahead += 1;
            } else if span.start.0 < oldest {
                self.stats.too_old += 1;
            } else if !self.table.insert(span) {
                self.stats.repeated += 1;
            } else {
                self.stats.spans += 1;
                arrived.push(SpanRef {
                    trace: span.trace_id,
                    span: span.span_id,
                });
                let at = seen.entry(&span.service).or_insert_with(|| {
                    Arc::new(Key::Seen {
                        service: span.service.clone(),
                    })
                });
                let key = at.clone();
                self.count_seen(span, key);
            }
        }
        self.reevaluate(&arrived);
        let evicted = self.table.evict(0, self.config.pending_messages)
            + self.table.evict(1, self.config.pending_others);
        self.stats.evicted += evicted;
        self.stats.unstitched = self.table.capped;
    }

    /// A service is on the map because it sends spans. The work of one that handles requests is its server spans.
    fn count_seen(&mut self, span: &Span, key: Arc<Key>) {
        let serves = span.kind == highwater_model::raw::SpanKind::Server;
        let delta = Delta {
            messages: 1,
            errors: u32::from(serves && span.error.is_some()),
            process: serves.then(|| span.duration_ns()),
            ..Delta::default()
        };
        self.add(Applied {
            key,
            at: span.start,
            delta,
        });
    }

    fn reevaluate(&mut self, arrived: &[SpanRef]) {
        let mut touched = HashSet::with_capacity(arrived.len() * 2);
        for &id in arrived {
            if let Some(entry) = self.table.get(id) {
                touched_by(&self.table, entry, &mut touched);
            }
        }
        // A handler that names no cluster takes it from the producer it is stitched to, and its sends with it.
        let handlers: Vec<SpanRef> = touched.iter().copied().collect();
        for id in handlers {
            if let Some(entry) = self.table.get(id)
                && let Some(message) = entry.is(Role::Consumer)
                && message.reader.topic.cluster_id.is_none()
            {
                sends_below(&self.table, entry, &mut touched);
            }
        }
        for id in touched {
            let Some(entry) = self.table.get(id) else {
                continue;
            };
            let new = evaluate(&self.table, entry);
            if entry.applied.as_deref() == new.as_ref() {
                continue;
            }
            let old = entry.applied.clone();
            if let Some(old) = old {
                self.subtract(&old);
            }
            let new = new.map(|new| Box::new(self.add(new)));
            self.table.set_applied(id, new);
        }
    }

    /// Adds a contribution, under the key it is really counted by: `(other)` when there are too many.
    fn add(&mut self, what: Applied) -> Applied {
        let (horizons, now) = (self.horizons, self.now);
        if let Some((key, series)) = self.series.get_mut(&what.key) {
            series.add(what.at, &what.delta, &horizons, now);
            return Applied {
                key: key.clone(),
                ..what
            };
        }
        let key = if self.series.len() < self.config.max_series {
            what.key.clone()
        } else {
            self.stats.folded += 1;
            let environment = what.key.environment().clone();
            Arc::new(
                what.key
                    .folded(if self.environments.contains(&environment) {
                        environment
                    } else {
                        OTHER.into()
                    }),
            )
        };
        if self.environments.len() < MAX_ENVIRONMENTS {
            self.environments.insert(key.environment().clone());
        }
        self.series
            .entry(key.clone())
            .or_insert_with(|| (key.clone(), Series::default()))
            .1
            .add(what.at, &what.delta, &horizons, now);
        Applied { key, ..what }
    }

    fn subtract(&mut self, what: &Applied) {
        let (horizons, now) = (self.horizons, self.now);
        if let Some((_, series)) = self.series.get_mut(&what.key) {
            series.subtract(what.at, &what.delta, &horizons, now);
        }
    }

    /// Moves time on: buckets that have become too old for their width are rolled up, once a minute.
    pub(crate) fn advance(&mut self, now: UnixNanos) {
        let before = self.now;
        self.now = self.now.max(now.0);
        if Tier::Warm.floor(before) == Tier::Warm.floor(self.now) {
            return;
        }
        let (horizons, now) = (self.horizons, self.now);
        for (_, series) in self.series.values_mut() {
            series.roll(&horizons, now);
        }
        self.series
            .retain(|_, (_, series)| !series.is_empty() || series.has_dirty());
        self.table.services.sweep();
        self.table.readers.sweep();
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
