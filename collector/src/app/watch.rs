//! Clusters: from a poller's sample to lag, flow, dead letters, history and pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use highwater_api::{Clusters, Events, Sparks, topic};
use highwater_brokers::{KafkaConfig, KafkaRecords, Poller, PollerEvent, PollerOptions, Questions};
use highwater_deadletters::DeadLetters;
use highwater_flow::{ClusterConfig, Config as FlowConfig, Flow};
use highwater_lag::{Config as LagConfig, Reading, TimeLag};
use highwater_model::UnixNanos;
use highwater_model::broker::{ClusterState, ClusterStatus, Sample};
use highwater_pipeline::Stats;
use highwater_store::Store;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::landmarks::Landmarks;
use super::{SharedLag, now};
use crate::config::{KafkaSettings, Settings};

/// How often pages are told of new spans: a page fetches at most so often.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Where nothing comes, rates and ages still move.
const TELL_ANYWAY: u32 = 20;

/// Quiet partitions are looked into this often, so many in a round.
const MARKERS_EVERY: Duration = Duration::from_secs(15);
const MARKERS_AT_ONCE: usize = 50;
/// Readings that wait for the store. Each holds every group of its cluster as it was.
const READINGS_WAITING: usize = 4;
const MARKER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a sample changes.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) flow: Arc<RwLock<Flow>>,
    pub(super) lag: SharedLag,
    pub(super) clusters: Arc<Clusters>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) sparks: Arc<Sparks>,
    pub(super) events: Arc<Events>,
    pub(super) landmarks: Arc<Landmarks>,
    pub(super) store: Store,
}

/// The flow's bounds and the clusters it resolves names to.
pub(super) fn flow_config(settings: &Settings) -> FlowConfig {
    let clusters = settings.kafka.iter().map(|cluster| ClusterConfig {
        name: cluster.name.as_str().into(),
        environment: cluster.environment.as_str().into(),
        addresses: cluster
            .bootstrap
            .iter()
            .map(|address| address.as_str().into())
            .collect(),
    });
    let defaults = FlowConfig::default();
    FlowConfig {
        clusters: clusters.collect(),
        // Counts outlive the spans they were made of.
        retention: defaults.retention.max(settings.retention.0),
        ..defaults
    }
}

/// How lag is judged.
pub(super) fn lag_config(settings: &Settings) -> LagConfig {
    LagConfig {
        window: settings.lag.window.0,
        mark: settings.lag.mark.0,
        exact_gap: (settings.poll_interval.0 * 3).max(LagConfig::default().exact_gap),
        ..LagConfig::default()
    }
}

fn kafka_config(cluster: &KafkaSettings, settings: &Settings) -> KafkaConfig {
    let mut config = KafkaConfig::new(
        cluster.name.as_str(),
        cluster.bootstrap.iter().map(String::as_str),
    );
    config.environment = cluster.environment.as_str().into();
    config.properties = cluster.properties.clone();
    // Groups come and go faster where somebody polls faster.
    config.list_groups_every = (settings.poll_interval.0 * 4).min(config.list_groups_every);
    config
}

impl Watch {
    /// Starts a poller a cluster; they stop when dropped. Ends with `stop` what runs beside them.
    pub(super) fn start(
        &self,
        settings: &Settings,
        stop: &CancellationToken,
    ) -> Result<Vec<Poller>> {
        let (readings, mut kept) = mpsc::channel::<Reading>(READINGS_WAITING);
        let store = self.store.clone();
        tokio::spawn(async move {
            while let Some(reading) = kept.recv().await {
                if let Err(error) = store.history().append_lag(reading.rows()).await {
                    tracing::error!(%error, "lag's history could not be written; lag itself goes on");
                }
            }
        });
        let options = PollerOptions {
            interval: settings.poll_interval.0,
            ..PollerOptions::default()
        };
        let mut pollers = Vec::new();
        let mut readers = BTreeMap::new();
        for cluster in &settings.kafka {
            let config = kafka_config(cluster, settings);
            self.clusters.set_status(connecting(&config));
            let records = Arc::new(KafkaRecords::new(config.clone()));
            self.dead_letters
                .add_source(&cluster.name, Arc::clone(&records) as _);
            readers.insert(Arc::clone(&config.name), records);
            let (watch, readings) = (self.clone(), readings.clone());
            let listener = move |event| watch.take(event, &readings);
            pollers.push(Poller::start(config, options, listener)?);
        }
        tokio::spawn(look_for_markers(
            Arc::clone(&self.lag),
            readers,
            stop.clone(),
        ));
        Ok(pollers)
    }

    /// On the poller's thread.
    fn take(&self, event: PollerEvent, readings: &mpsc::Sender<Reading>) -> Questions {
        let at = now();
        match event {
            PollerEvent::Sample { sample, status } => {
                let sample = Arc::new(*sample);
                let changed = self.clusters.set_status(status);
                self.dead_letters.observe(&sample);
                let questions = {
                    let mut lag = self.lag.write();
                    lag.step(&sample, at);
                    lag.questions(&sample.cluster, at)
                };
                {
                    let mut flow = self.flow.write();
                    flow.observe(&sample);
                    for (cluster, topic, kind) in self.dead_letters.kinds() {
                        flow.set_topic_kind(&cluster, &topic, Some(kind));
                    }
                }
                self.note(&sample, at, readings);
                self.landmarks
                    .note_sample(&sample, self.lag.read().groups(), at);
                self.clusters.set_sample(sample);
                for topic in [topic::GROUPS, topic::DEAD_LETTERS, topic::TOPOLOGY] {
                    self.events.publish(topic, at);
                }
                if changed {
                    self.events.publish(topic::BROKERS, at);
                }
                questions
            }
            PollerEvent::Lost { reason, status, .. } => {
                self.lag.write().cluster_lost(&status.name, &reason, at);
                self.clusters.set_status(status);
                for topic in [topic::BROKERS, topic::GROUPS, topic::TOPOLOGY] {
                    self.events.publish(topic, at);
                }
                Questions::new()
            }
            PollerEvent::Ends { cluster, ends } => {
                let mut lag = self.lag.write();
                let refused = lag.seed(
                    &cluster,
                    ends.into_iter()
                        .map(|end| (end.partition, end.at, end.offset)),
                );
                if refused > 0 {
                    tracing::debug!(%cluster, refused, "the broker's time index contradicts what was seen");
                }
                lag.questions(&cluster, at)
            }
        }
    }

    /// Keeps the reading: small charts now, history when the store has time.
    fn note(&self, sample: &Sample, at: UnixNanos, readings: &mpsc::Sender<Reading>) {
        let lag = self.lag.read();
        for ((cluster, group), lag) in lag
            .groups()
            .iter()
            .filter(|((cluster, _), _)| *cluster == sample.cluster)
        {
            let time_lag_ms = lag.time_lag.map(TimeLag::millis);
            self.sparks.push(cluster, group, at, time_lag_ms);
        }
        if readings.try_send(lag.reading(&sample.cluster, at)).is_err() {
            tracing::warn!("the store is too slow for lag's history: one reading is left out");
        }
    }
}

/// Asks whether there is anything to read where a lag stands still at the end of a quiet partition: transaction markers
/// and aborted records keep such a lag for ever. Reads are bounded, join no group, and are made off the poller's thread.
async fn look_for_markers(
    lag: SharedLag,
    readers: BTreeMap<Arc<str>, Arc<KafkaRecords>>,
    stop: CancellationToken,
) {
    while tokio::time::timeout(MARKERS_EVERY, stop.cancelled())
        .await
        .is_err()
    {
        let questions = lag.read().marker_questions(now(), MARKERS_AT_ONCE);
        for question in questions {
            let Some(records) = readers.get(&question.cluster).map(Arc::clone) else {
                continue;
            };
            let at = question.clone();
            let read = tokio::task::spawn_blocking(move || {
                let place = &at.partition;
                records.first_readable(&place.topic, place.partition, at.committed, MARKER_TIMEOUT)
            });
            match read.await {
                Ok(Ok((first, end))) => lag.write().answer_marker(&question, first, end),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a quiet partition could not be looked into")
                }
                Err(_) => return,
            }
        }
    }
}

fn connecting(config: &KafkaConfig) -> ClusterStatus {
    ClusterStatus {
        name: Arc::clone(&config.name),
        system: "kafka".into(),
        environment: Arc::clone(&config.environment),
        bootstrap: config.bootstrap.clone(),
        cluster_id: None,
        state: ClusterState::Connecting,
        since: now(),
        last_read: None,
        last_poll_ns: None,
        incomplete: None,
    }
}

/// Tells the pages of new spans, at most twice a second.
pub(super) async fn tell(
    stats: Arc<Stats>,
    events: Arc<Events>,
    stop: CancellationToken,
) -> Result<()> {
    let (mut seen, mut quiet) = (stats.committed_spans(), 0);
    while tokio::time::timeout(TELL_EVERY, stop.cancelled())
        .await
        .is_err()
    {
        let committed = stats.committed_spans();
        quiet += 1;
        if committed != seen || quiet >= TELL_ANYWAY {
            let at = now();
            if committed != seen {
                events.publish(topic::TRACES, at);
            }
            events.publish(topic::TOPOLOGY, at);
            events.publish(topic::STATUS, at);
            (seen, quiet) = (committed, 0);
        }
    }
    Ok(())
}
