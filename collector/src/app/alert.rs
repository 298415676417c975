//! What the alert engine is told, and when: the rooms' newest words, put together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use highwater_alerting::Desk;
use highwater_alerts::{
    ClusterFacts, CollectorFacts, EdgeFacts, Facts, GroupFacts, QueueFacts, ServiceFacts,
};
use highwater_api::{Clusters, Entry, Events, Services, topic};
use highwater_deadletters::DeadLetters;
use highwater_flow::{EdgeKind, Flow, TopologyQuery};
use highwater_model::UnixNanos;
use highwater_model::broker::ClusterState;
use highwater_receivers::Counters;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{SharedLag, landmarks, now};

/// The engine looks this often at most; a rule's `for` is in these steps.
const STEP_EVERY: Duration = Duration::from_secs(5);
/// Error rates and waits are of this long, as those of the map.
const EDGES_OVER: Duration = Duration::from_secs(300);
/// A map of five minutes costs tens of milliseconds: it is not asked for at every step.
const EDGES_EVERY: Duration = Duration::from_secs(15);

/// The rooms that know something.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) flow: Arc<RwLock<Flow>>,
    pub(super) lag: SharedLag,
    pub(super) clusters: Arc<Clusters>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) services: Arc<Services>,
    pub(super) counters: Arc<Counters>,
}

/// Services by cluster and group.
type Consumers = HashMap<(Arc<str>, Arc<str>), BTreeSet<Arc<str>>>;

/// What spans say of the last minutes.
#[derive(Clone, Default)]
struct Seen {
    edges: Vec<EdgeFacts>,
    consumers: Consumers,
}

/// Steps the engine until `stop`. What could not be kept is kept with the next step.
pub(super) async fn watch(
    desk: Arc<Desk>,
    sources: Sources,
    events: Arc<Events>,
    poll_interval: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let every = poll_interval.min(STEP_EVERY);
    let (mut seen, mut seen_at) = (Seen::default(), None::<UnixNanos>);
    while tokio::time::timeout(every, stop.cancelled()).await.is_err() {
        let at = now();
        if seen_at.is_none_or(|last| at.0.saturating_sub(last.0) >= EDGES_EVERY.as_nanos() as u64) {
            let sources = sources.clone();
            seen = tokio::task::spawn_blocking(move || sources.seen(at)).await?;
            seen_at = Some(at);
        }
        let (from, spans) = (sources.clone(), seen.clone());
        let facts = tokio::task::spawn_blocking(move || from.facts(spans)).await?;
        match desk.step(&facts, at).await {
            Ok(true) => events.publish(topic::ALERTS, at),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "what alerts came to could not be kept; it is tried again");
            }
        }
    }
    Ok(())
}

impl Sources {
    fn facts(&self, seen: Seen) -> Facts {
        let entries = self.clusters.all();
        let by_name: BTreeMap<Arc<str>, &Entry> = entries
            .iter()
            .map(|entry| (Arc::clone(&entry.status.name), entry))
            .collect();
        Facts {
            clusters: entries.iter().map(cluster).collect(),
            groups: self.groups(&by_name, &seen),
            queues: self.queues(&by_name),
            edges: seen.edges,
            services: self
                .services
                .all()
                .into_iter()
                .map(|service| ServiceFacts {
                    service: service.name.into(),
                    last_span_at: UnixNanos(service.last_seen.0),
                })
                .collect(),
            collector: CollectorFacts {
                refused_requests_total: self.refused(),
            },
        }
    }

    /// Requests with spans that were turned away, for whatever reason; senders try again after most of them.
    fn refused(&self) -> u64 {
        let counters = self.counters.snapshot();
        counters.refused_retryable + counters.refused_bad + counters.refused_too_large
    }

    fn groups(&self, clusters: &BTreeMap<Arc<str>, &Entry>, seen: &Seen) -> Vec<GroupFacts> {
        let lag = self.lag.read();
        let groups = lag.groups().iter();
        groups
            .map(|((cluster, group), lag)| {
                let sample = clusters
                    .get(cluster)
                    .and_then(|entry| entry.sample.as_ref());
                let read = sample.and_then(|sample| sample.groups.get(group));
                let members = read.and_then(|facts| facts.members.as_ref().ok());
                let key = (Arc::clone(cluster), Arc::clone(group));
                let services = seen.consumers.get(&key);
                GroupFacts {
                    cluster: Arc::clone(cluster),
                    group: Arc::clone(group),
                    services: services.into_iter().flatten().cloned().collect(),
                    lag: Arc::clone(lag),
                    membership: members.map(|members| landmarks::membership(members)),
                }
            })
            .collect()
    }

    fn queues(&self, clusters: &BTreeMap<Arc<str>, &Entry>) -> Vec<QueueFacts> {
        let queues = self.dead_letters.topics().into_iter();
        queues
            .map(|queue| {
                let sample = clusters
                    .get(&queue.cluster)
                    .and_then(|entry| entry.sample.as_ref());
                QueueFacts {
                    arrived_total: sample.and_then(|sample| {
                        let ends = sample.partitions.iter();
                        ends.filter(|(place, _)| place.topic == queue.topic)
                            .map(|(_, read)| u64::try_from(*read.end.as_ref().ok()?).ok())
                            .sum()
                    }),
                    causes: queue.causes.into_iter().map(|cause| cause.cause).collect(),
                    cluster: queue.cluster,
                    topic: queue.topic,
                    groups: queue.groups,
                    retained: queue.retained,
                    per_hour: queue.arrivals_per_hour,
                    oldest_at: queue.oldest_at,
                    read_at: queue.read_at,
                }
            })
            .collect()
    }

    /// Reads the map of the last minutes, of every environment.
    fn seen(&self, at: UnixNanos) -> Seen {
        let mut seen = Seen::default();
        let environments = self.flow.read().environments();
        for environment in environments {
            let query = TopologyQuery {
                from: at - EDGES_OVER,
                to: at,
                environment: environment.to_string(),
                ..TopologyQuery::default()
            };
            let map = self.flow.read().topology(&query, at);
            for edge in map
                .edges
                .iter()
                .filter(|edge| edge.kind == EdgeKind::Consumes)
            {
                if let (Some(group), Some(service)) = (map.node(&edge.from), map.node(&edge.to))
                    && let Some(cluster) = &group.cluster
                {
                    let key = (Arc::clone(cluster), Arc::clone(&group.name));
                    seen.consumers
                        .entry(key)
                        .or_default()
                        .insert(Arc::clone(&service.name));
                }
            }
            for edge in map
                .edges
                .iter()
                .filter(|edge| edge.kind == EdgeKind::Delivers)
            {
                let (Some(topic), Some(group)) = (map.node(&edge.from), map.node(&edge.to)) else {
                    continue;
                };
                let (Some(cluster), Some(attempts)) = (&group.cluster, edge.messages) else {
                    continue;
                };
                let key = (Arc::clone(cluster), Arc::clone(&group.name));
                let services = seen.consumers.get(&key);
                seen.edges.push(EdgeFacts {
                    cluster: Arc::clone(cluster),
                    topic: Arc::clone(&topic.name),
                    group: Arc::clone(&group.name),
                    services: services.into_iter().flatten().cloned().collect(),
                    attempts,
                    errors: edge.errors,
                    wait_p95: edge
                        .latency
                        .in_broker
                        .quantile(0.95)
                        .map(Duration::from_nanos),
                    window: EDGES_OVER,
                });
            }
        }
        seen
    }
}

fn cluster(entry: &Entry) -> ClusterFacts {
    let status = &entry.status;
    ClusterFacts {
        name: Arc::clone(&status.name),
        environment: Arc::clone(&status.environment),
        unreachable: match &status.state {
            ClusterState::Unreachable { reason } => Some(Arc::clone(reason)),
            _ => None,
        },
        since: status.since,
        last_read: status.last_read,
    }
}
