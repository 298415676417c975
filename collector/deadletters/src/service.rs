//! Summaries of all dead-letter topics, kept fresh in the background without hammering a broker.
//!
//! Offsets come with every poll and cost nothing here. Records are read only where ends have moved, and only the new
//! ones; topics whose names say nothing have the headers of their newest records looked at, a few topics a round.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::{Sample, TopicPartition};
use highwater_model::names::TopicKind;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::spawn_blocking;

use crate::headers::{Analysis, analyse};
use crate::reader::{Page, PageQuery, ReadError, read_page};
use crate::recognise::{MappedTopic, RecognisedBy, Recognition, origin_by_name, recognise};
use crate::record::{RecordSource, SourceError};
use crate::summary::{Brief, Range, TopicState, TopicSummary, Work};

/// Newest records of an unnamed topic whose headers are looked at.
const PROBED: usize = 3;

/// How the room works.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the operator says of topics; first match wins.
    pub mapping: Vec<MappedTopic>,
    /// Look into topics whose names say nothing.
    pub probe_headers: bool,
    /// Topics looked into in one round.
    pub probes_per_round: usize,
    /// A topic is not looked into again sooner, and only if its end has moved.
    pub probe_again_after: Duration,
    /// Dead-letter topics read in one round.
    pub topics_per_round: usize,
    /// After a failed read a topic is left alone this long.
    pub retry_after: Duration,
    /// Between two rounds.
    pub between_rounds: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mapping: Vec::new(),
            probe_headers: true,
            probes_per_round: 8,
            probe_again_after: Duration::from_secs(600),
            topics_per_round: 32,
            retry_after: Duration::from_secs(30),
            between_rounds: Duration::from_secs(2),
        }
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefreshReport {
    /// Topics whose records were read.
    pub read: usize,
    /// Topics whose headers were looked into.
    pub probed: usize,
    /// Topics that could not be read.
    pub failed: usize,
}

/// The room's service: summaries, pages, and what kind each topic is.
#[derive(Debug)]
pub struct DeadLetters {
    config: Config,
    /// Std, because no await happens while it is held.
    state: Mutex<BTreeMap<Arc<str>, Cluster>>,
    moved: Notify,
    version: watch::Sender<u64>,
    /// Pages read at the same time, so that many readers do not take all blocking threads.
    pages: Semaphore,
}

#[derive(Default)]
struct Cluster {
    source: Option<Arc<dyn RecordSource>>,
    cluster_id: Option<Arc<str>>,
    topics: BTreeMap<Arc<str>, TopicState>,
    /// Topics whose names say nothing.
    unnamed: BTreeMap<Arc<str>, Probe>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("cluster_id", &self.cluster_id)
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}

/// What is known of a topic whose name says nothing.
#[derive(Debug, Default)]
struct Probe {
    /// Partition with the most records, and how many.
    fullest: Option<(i32, i64)>,
    ends: i64,
    /// When it was looked into, and the sum of ends then.
    probed: Option<(UnixNanos, i64)>,
    sampled: Vec<Analysis>,
}

impl DeadLetters {
    /// Starts with no cluster.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: Mutex::new(BTreeMap::new()),
            moved: Notify::new(),
            version: watch::Sender::new(0),
            pages: Semaphore::new(4),
        }
    }

    /// Names where a cluster's records are read from.
    pub fn add_source(&self, cluster: &str, source: Arc<dyn RecordSource>) {
        self.lock().entry(cluster.into()).or_default().source = Some(source);
    }

    /// Takes a poll: recognises topics, measures depth and arrivals. Cheap; reads no records.
    pub fn observe(&self, sample: &Sample) {
        let mut state = self.lock();
        let cluster = state.entry(sample.cluster.clone()).or_default();
        cluster.cluster_id = sample.cluster_id.clone().or(cluster.cluster_id.take());
        let gone: BTreeSet<Arc<str>> = cluster
            .topics
            .keys()
            .chain(cluster.unnamed.keys())
            .filter(|topic| !sample.topics.contains_key(*topic))
            .cloned()
            .collect();
        for topic in &gone {
            cluster.topics.remove(topic);
            cluster.unnamed.remove(topic);
        }
        let before: Vec<(Arc<str>, Recognition)> = cluster
            .topics
            .iter()
            .map(|(topic, known)| (topic.clone(), known.recognition))
            .collect();
        for (topic, facts) in &sample.topics {
            self.observe_topic(cluster, sample, topic, facts);
        }
        let after = cluster
            .topics
            .iter()
            .map(|(topic, known)| (topic, known.recognition));
        let changed = !after.eq(before.iter().map(|(topic, known)| (topic, *known)));
        drop(state);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        self.moved.notify_one();
    }

    fn observe_topic(
        &self,
        cluster: &mut Cluster,
        sample: &Sample,
        topic: &Arc<str>,
        facts: &highwater_model::broker::TopicFacts,
    ) {
        let first = TopicPartition {
            topic: topic.clone(),
            partition: i32::MIN,
        };
        let partitions = || {
            sample
                .partitions
                .range(first.clone()..)
                .take_while(|(at, _)| at.topic == *topic)
                .map(|(at, offsets)| (at.partition, offsets))
        };
        let sampled = cluster
            .unnamed
            .get(topic)
            .map_or(&[][..], |probe| &probe.sampled);
        let recognition = recognise(
            &sample.cluster,
            topic,
            Some(facts),
            sampled,
            &self.config.mapping,
        );
        if !facts.internal && TopicKind::from_name(topic) == TopicKind::Topic {
            let probe = cluster.unnamed.entry(topic.clone()).or_default();
            probe.observe(partitions());
        }
        let Some(recognition) = recognition else {
            cluster.topics.remove(topic);
            return;
        };
        let known = cluster
            .topics
            .entry(topic.clone())
            .or_insert_with(|| TopicState::new(recognition));
        // Headers are stronger than a name: a name once confirmed by records stays so.
        if !(known.recognition.by == RecognisedBy::Headers && recognition.by == RecognisedBy::Name)
        {
            known.recognition = recognition;
        }
        if let Some(mapped) = self
            .config
            .mapping
            .iter()
            .find(|m| m.matches(&sample.cluster, topic))
        {
            known.set_mapped(mapped.origins.clone(), mapped.groups.clone());
        }
        let (origin, group) = origin_by_name(
            topic,
            |name| name != &**topic && sample.topics.contains_key(name),
            |name| sample.groups.contains_key(name),
        );
        known.set_named(origin.map(Into::into), group.map(Into::into));
        known.observe(facts.partitions, partitions());
    }

    /// Dead-letter topics, deepest first; then those whose depth is unknown.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicSummary> {
        self.summaries(TopicKind::DeadLetterTopic)
    }

    /// Retry topics, deepest first: waiting, not given up.
    #[must_use]
    pub fn retry_topics(&self) -> Vec<TopicSummary> {
        self.summaries(TopicKind::RetryTopic)
    }

    /// One topic, if it is known to hold dead letters or retries.
    #[must_use]
    pub fn topic(&self, cluster: &str, topic: &str) -> Option<TopicSummary> {
        let state = self.lock();
        let (cluster, known) = state.get_key_value(cluster)?;
        let (topic, known) = known.topics.get_key_value(topic)?;
        Some(known.summary(cluster, topic))
    }

    fn summaries(&self, kind: TopicKind) -> Vec<TopicSummary> {
        let mut summaries: Vec<TopicSummary> = self
            .lock()
            .iter()
            .flat_map(|(name, cluster)| {
                cluster
                    .topics
                    .iter()
                    .filter(|(_, known)| known.recognition.kind == kind)
                    .map(|(topic, known)| known.summary(name, topic))
            })
            .collect();
        summaries.sort_by(|a, b| {
            b.retained
                .cmp(&a.retained)
                .then_with(|| (&a.cluster, &a.topic).cmp(&(&b.cluster, &b.topic)))
        });
        summaries
    }

    /// What every recognised topic is, as (cluster, topic, kind): the flow's override of what names say.
    #[must_use]
    pub fn kinds(&self) -> Vec<(Arc<str>, Arc<str>, TopicKind)> {
        self.lock()
            .iter()
            .flat_map(|(name, cluster)| {
                cluster
                    .topics
                    .iter()
                    .map(|(topic, known)| (name.clone(), topic.clone(), known.recognition.kind))
            })
            .collect()
    }

    /// The broker's own id of a configured cluster, once known: for [`crate::trace_of`].
    #[must_use]
    pub fn cluster_id(&self, cluster: &str) -> Option<Arc<str>> {
        self.lock().get(cluster)?.cluster_id.clone()
    }

    /// Rises whenever a summary may have changed by more than its offsets.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads a page of a recognised topic, from a blocking thread, four at a time.
    ///
    /// # Errors
    /// When the topic is not known to hold dead letters or retries, the query makes no sense, or the broker does not
    /// answer.
    pub async fn records(
        &self,
        cluster: &str,
        topic: &str,
        query: PageQuery,
    ) -> Result<Page, ReadError> {
        let (source, partitions) = self
            .lock()
            .get(cluster)
            .and_then(|known| {
                let partitions = known.topics.get(topic)?.bounds();
                Some((known.source.clone()?, partitions))
            })
            .ok_or_else(|| ReadError::NotDeadLetters {
                cluster: cluster.to_owned(),
                topic: topic.to_owned(),
            })?;
        let _permit = self
            .pages
            .acquire()
            .await
            .map_err(|_| ReadError::Cancelled)?;
        let topic = topic.to_owned();
        spawn_blocking(move || read_page(&*source, &topic, &partitions, &query))
            .await
            .map_err(|_| ReadError::Cancelled)?
    }

    /// Runs rounds until `stop` is ready: one after each poll that was observed, never two at a time.
    pub async fn run(
        &self,
        clock: impl Fn() -> UnixNanos + Send,
        stop: impl Future<Output = ()> + Send,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = self.moved.notified() => {}
            }
            self.refresh(clock()).await;
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(self.config.between_rounds) => {}
            }
        }
    }

    /// One round: reads what moved since the last, one topic after the other.
    pub async fn refresh(&self, now: UnixNanos) -> RefreshReport {
        let mut report = RefreshReport::default();
        let (reads, probes) = self.due(now);
        for due in reads {
            let Due {
                cluster,
                topic,
                source,
                task,
            } = due;
            let name = topic.clone();
            let result = spawn_blocking(move || read_work(&*source, &name, &task)).await;
            let result = result.unwrap_or_else(|_| Err(cut_short()));
            match &result {
                Ok(_) => report.read += 1,
                Err(_) => report.failed += 1,
            }
            self.take_read(&cluster, &topic, result, now);
        }
        for due in probes {
            let Due {
                cluster,
                topic,
                source,
                task,
            } = due;
            let name = topic.clone();
            let result = spawn_blocking(move || {
                let page = source.read_before(&name, task, None, PROBED)?;
                let headers = page.records.iter().map(|record| analyse(&record.headers));
                Ok(headers.collect::<Vec<Analysis>>())
            })
            .await;
            match result.unwrap_or_else(|_| Err(cut_short())) {
                Ok(sampled) => {
                    report.probed += 1;
                    self.take_probe(&cluster, &topic, sampled);
                }
                Err(_) => report.failed += 1,
            }
        }
        if report.read + report.probed + report.failed > 0 {
            self.version.send_modify(|version| *version += 1);
        }
        report
    }

    /// What to read now, bounded; marks probes as made, so that a failing one is not tried every round.
    fn due(&self, now: UnixNanos) -> (Vec<Due<Work>>, Vec<Due<i32>>) {
        let mut reads = Vec::new();
        let mut probes = Vec::new();
        let mut state = self.lock();
        for (name, cluster) in state.iter_mut() {
            let Some(source) = cluster.source.clone() else {
                continue;
            };
            for (topic, known) in &cluster.topics {
                if reads.len() >= self.config.topics_per_round || known.not_before > now {
                    continue;
                }
                let task = known.work();
                if !task.is_empty() {
                    reads.push(Due::new(name, topic, &source, task));
                }
            }
            if !self.config.probe_headers {
                continue;
            }
            // The longest untouched first, so that every topic has its turn.
            let again = u64::try_from(self.config.probe_again_after.as_nanos()).unwrap_or(u64::MAX);
            let mut candidates: Vec<(&Arc<str>, &mut Probe)> = cluster
                .unnamed
                .iter_mut()
                .filter(|(_, probe)| probe.is_due(now, again))
                .collect();
            candidates.sort_by_key(|(_, probe)| probe.probed.map(|(at, _)| at));
            for (topic, probe) in candidates {
                if probes.len() >= self.config.probes_per_round {
                    break;
                }
                if let Some((partition, _)) = probe.fullest {
                    probe.probed = Some((now, probe.ends));
                    probes.push(Due::new(name, topic, &source, partition));
                }
            }
        }
        (reads, probes)
    }

    fn take_read(
        &self,
        cluster: &str,
        topic: &str,
        result: Result<WorkDone, SourceError>,
        now: UnixNanos,
    ) {
        let mut state = self.lock();
        let Some(known) = state.get_mut(cluster).and_then(|c| c.topics.get_mut(topic)) else {
            return;
        };
        match result {
            Ok(done) => {
                known.read_error = None;
                for (range, briefs) in done.newest {
                    known.take_newest(range, briefs);
                }
                for (partition, log_start, at) in done.oldest {
                    known.take_oldest(partition, log_start, at);
                }
            }
            Err(error) => {
                known.read_error = Some(error.reason);
                known.not_before = now + self.config.retry_after;
            }
        }
    }

    fn take_probe(&self, cluster: &str, topic: &str, sampled: Vec<Analysis>) {
        let mut state = self.lock();
        let Some(known) = state.get_mut(cluster) else {
            return;
        };
        let Some((topic, probe)) = known
            .unnamed
            .get_mut(topic)
            .map(|probe| (Arc::<str>::from(topic), probe))
        else {
            return;
        };
        // The next poll measures its depth and lists it.
        let found = recognise(cluster, &topic, None, &sampled, &self.config.mapping);
        probe.sampled = sampled;
        if let Some(recognition) = found {
            let entry = known.topics.entry(topic);
            entry.or_insert_with(|| TopicState::new(recognition));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Cluster>> {
        // A panic while it was held leaves summaries that the next poll sets right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    fn observe<'a>(
        &mut self,
        partitions: impl Iterator<Item = (i32, &'a highwater_model::broker::PartitionOffsets)>,
    ) {
        self.fullest = None;
        self.ends = 0;
        for (partition, offsets) in partitions {
            let (Ok(log_start), Ok(end)) = (&offsets.log_start, &offsets.end) else {
                continue;
            };
            self.ends = self.ends.saturating_add(*end);
            let kept = end - log_start;
            if kept > 0 && self.fullest.is_none_or(|(_, most)| kept > most) {
                self.fullest = Some((partition, kept));
            }
        }
    }

    fn is_due(&self, now: UnixNanos, again: u64) -> bool {
        self.fullest.is_some()
            && self
                .probed
                .is_none_or(|(at, ends)| now.since(at) >= again && ends != self.ends)
    }
}

/// A topic to read, and what of it.
struct Due<T> {
    cluster: Arc<str>,
    topic: Arc<str>,
    source: Arc<dyn RecordSource>,
    task: T,
}

impl<T> Due<T> {
    fn new(cluster: &Arc<str>, topic: &Arc<str>, source: &Arc<dyn RecordSource>, task: T) -> Self {
        Self {
            cluster: cluster.clone(),
            topic: topic.clone(),
            source: source.clone(),
            task,
        }
    }
}

/// What was read for a [`Work`].
struct WorkDone {
    newest: Vec<(Range, Vec<Brief>)>,
    /// Partition, its log start, the first record's timestamp.
    oldest: Vec<(i32, i64, Option<UnixNanos>)>,
}

fn read_work(source: &dyn RecordSource, topic: &str, work: &Work) -> Result<WorkDone, SourceError> {
    let newest = work
        .newest
        .iter()
        .map(|range| Ok((*range, read_newest(source, topic, *range)?)))
        .collect::<Result<_, SourceError>>()?;
    let oldest = work
        .oldest
        .iter()
        .map(|(partition, log_start)| {
            let record = source.oldest(topic, *partition)?;
            let at = record.and_then(|record| record.timestamp);
            Ok((*partition, *log_start, at))
        })
        .collect::<Result<_, SourceError>>()?;
    Ok(WorkDone { newest, oldest })
}

/// Reads a range back from its end, payloads dropped page by page.
fn read_newest(
    source: &dyn RecordSource,
    topic: &str,
    range: Range,
) -> Result<Vec<Brief>, SourceError> {
    let mut briefs = Vec::new();
    let mut before = range.to;
    while before > range.from {
        let left = usize::try_from(before - range.from).unwrap_or(usize::MAX);
        let page = source.read_before(topic, range.partition, Some(before), left)?;
        briefs.extend(
            page.records
                .iter()
                .filter(|record| record.offset >= range.from)
                .map(|record| Brief::of(topic, record)),
        );
        match page.next {
            Some(next) if next < before => before = next,
            _ => break,
        }
    }
    Ok(briefs)
}

fn cut_short() -> SourceError {
    SourceError {
        reason: "the read was cut short".into(),
    }
}

#[cfg(test)]
mod tests;
