//! Steps from sample to sample.

mod before;
mod partition;
mod step;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::{LagRow, Sample, TopicPartition};
use serde::{Deserialize, Serialize};

pub use self::before::CheckpointBefore;
use self::partition::Partition;
use self::step::Step;
use crate::history::since;
use crate::track::Track;
use crate::tracks::Tracks;
use crate::types::{Config, GroupLag, PartitionLag, State, TimeLag, Why};

/// Ages at which a partition's end is asked for when nothing is known of its past.
const SEED_AGES: [Duration; 7] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(7 * 24 * 3_600),
];

/// Questions of the past after which the rest waits for the next round.
const QUESTIONS_AT_ONCE: usize = 10_000;

/// What is known of one group, while it is looked at. Elsewhere it is a [`PackedGroup`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Group {
    /// It had members at some time: without them it is abandoned, not merely managed by hand.
    had_members: bool,
    state: Option<(State, UnixNanos)>,
    #[serde(with = "highwater_model::pairs")]
    tracks: BTreeMap<TopicPartition, Track>,
    /// States of partitions that have no offsets to follow: no commit yet, or none that could be read.
    #[serde(default, with = "highwater_model::pairs")]
    untracked: BTreeMap<TopicPartition, (State, UnixNanos)>,
}

impl Group {
    /// Notes a partition's state; says since when it holds.
    fn enter(&mut self, key: &TopicPartition, state: State, now: UnixNanos) -> UnixNanos {
        if let Some(track) = self.tracks.get_mut(key) {
            return enter(&mut track.state, state, now);
        }
        match self.untracked.get(key) {
            Some((held, since)) if *held == state => *since,
            _ => {
                self.untracked.insert(key.clone(), (state, now));
                now
            }
        }
    }

    /// Nothing is known of it now.
    fn enter_unknown(&mut self, now: UnixNanos) {
        enter(&mut self.state, State::Unknown, now);
        for track in self.tracks.values_mut() {
            enter(&mut track.state, State::Unknown, now);
        }
        for (state, since) in self.untracked.values_mut() {
            if *state != State::Unknown {
                (*state, *since) = (State::Unknown, now);
            }
        }
    }

    /// Every partition that was last told.
    fn places(&self) -> impl Iterator<Item = &TopicPartition> {
        self.tracks.keys().chain(self.untracked.keys())
    }
}

/// A group between two looks at it. In a checkpoint it is written as the group it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Group", from = "Group")]
struct PackedGroup {
    had_members: bool,
    state: Option<(State, UnixNanos)>,
    tracks: Tracks,
    untracked: BTreeMap<TopicPartition, (State, UnixNanos)>,
}

impl PackedGroup {
    /// Lets `look` see the group and change it.
    fn open<T>(&mut self, look: impl FnOnce(&mut Group) -> T) -> T {
        let mut group = Group::from(std::mem::take(self));
        let seen = look(&mut group);
        *self = group.into();
        seen
    }

    /// Every partition that was last told.
    fn places(&self) -> Vec<TopicPartition> {
        let tracks = self.tracks.open().into_keys();
        tracks.chain(self.untracked.keys().cloned()).collect()
    }
}

impl From<PackedGroup> for Group {
    fn from(packed: PackedGroup) -> Self {
        Self {
            had_members: packed.had_members,
            state: packed.state,
            tracks: packed.tracks.open(),
            untracked: packed.untracked,
        }
    }
}

impl From<Group> for PackedGroup {
    fn from(group: Group) -> Self {
        Self {
            had_members: group.had_members,
            state: group.state,
            tracks: group.tracks.into(),
            untracked: group.untracked,
        }
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(bound(serialize = "P: Serialize", deserialize = "P: Deserialize<'de>"))]
struct Cluster<P = Partition> {
    last_sample: Option<UnixNanos>,
    #[serde(with = "highwater_model::pairs")]
    partitions: BTreeMap<TopicPartition, P>,
    groups: BTreeMap<Arc<str>, PackedGroup>,
}

/// What the engine remembers, to be kept over a restart: history of ends, windows, states. Serialisable; a partition
/// takes up to a few kilobytes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    clusters: BTreeMap<Arc<str>, Cluster>,
}

/// "Is there anything to read?": asked where a lag stands still at the end of a quiet partition. Transaction markers and
/// aborted records keep such a lag for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarkerQuestion {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// The partition.
    pub partition: TopicPartition,
    /// Read from here, as read_committed, up to the end.
    pub committed: i64,
}

/// A group's cluster and its name.
type GroupName = (Arc<str>, Arc<str>);

/// What history keeps of one sample. It shares the groups with the engine: the rows of a large cluster are many, and made
/// as they are written.
#[derive(Clone, Debug)]
pub struct Reading {
    at: UnixNanos,
    groups: Vec<(GroupName, Arc<GroupLag>)>,
}

impl Reading {
    /// A row a partition of each group.
    pub fn rows(&self) -> impl Iterator<Item = LagRow> {
        self.groups.iter().flat_map(|((cluster, group), lag)| {
            lag.partitions.iter().map(|(key, lag)| LagRow {
                cluster: Arc::clone(cluster),
                group: Arc::clone(group),
                topic: key.topic,
                partition: key.partition,
                at: self.at,
                committed: lag.committed,
                end: lag.end,
                log_start: lag.log_start,
                time_lag_ms: lag.time_lag.map(TimeLag::millis),
                state: lag.state as u8,
            })
        })
    }
}

/// Computes lag from samples. Holds up to a few kilobytes a partition.
#[derive(Debug)]
pub struct LagEngine {
    config: Config,
    memory: Checkpoint,
    /// Behind pointers: whoever judges them elsewhere takes them along without copying every partition.
    groups: BTreeMap<GroupName, Arc<GroupLag>>,
    clamps: u64,
}

impl LagEngine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::restore(config, Checkpoint::default())
    }

    /// An engine that goes on where another one stopped. Groups show up with their cluster's next sample.
    #[must_use]
    pub fn restore(config: Config, checkpoint: Checkpoint) -> Self {
        Self {
            config,
            memory: checkpoint,
            groups: BTreeMap::new(),
            clamps: 0,
        }
    }

    /// What is to be kept over a restart.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.memory
    }

    /// Every group of the last samples, by cluster and name.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<GroupName, Arc<GroupLag>> {
        &self.groups
    }

    /// A cluster's groups as they are now, read at `at`, for history to keep.
    #[must_use]
    pub fn reading(&self, cluster: &str, at: UnixNanos) -> Reading {
        let of_cluster = self.groups.iter().filter(|((c, _), _)| **c == *cluster);
        Reading {
            at,
            groups: of_cluster
                .map(|(name, lag)| (name.clone(), Arc::clone(lag)))
                .collect(),
        }
    }

    /// How often a committed offset was ahead of an end that had been read before it, and lag was held at 0.
    #[must_use]
    pub const fn clamps(&self) -> u64 {
        self.clamps
    }

    /// Messages appended a second to one partition over the window; `None` before there are two samples.
    #[must_use]
    pub fn append_rate(&self, cluster: &str, partition: &TopicPartition) -> Option<f64> {
        let partition = self
            .memory
            .clusters
            .get(cluster)?
            .partitions
            .get(partition)?;
        partition.ends.rate(self.config.window)
    }

    /// Messages appended a second to a whole topic over the window, and since when that is: the earliest of its
    /// partitions'. `None` when it is known of none of them.
    #[must_use]
    pub fn topic_rate(&self, cluster: &str, topic: &str) -> Option<(f64, UnixNanos)> {
        let partitions = &self.memory.clusters.get(cluster)?.partitions;
        let first = TopicPartition {
            topic: Arc::from(topic),
            partition: i32::MIN,
        };
        let window = self.config.window;
        partitions
            .range(&first..)
            .take_while(|(partition, _)| &*partition.topic == topic)
            .filter_map(|(_, partition)| {
                let ends = &partition.ends;
                ends.rate(window).zip(ends.rate_from(window))
            })
            .reduce(|(sum, from), (rate, since)| (sum + rate, from.min(since)))
    }

    /// Adds what the broker's time index, or stored history, tells of the past: where a partition ended at a time.
    /// `None` for the offset means "where it ends now". Says how many points contradicted what is known and were
    /// refused; producers' clocks may be wrong, and are judged by what they answer.
    pub fn seed(
        &mut self,
        cluster: &str,
        points: impl IntoIterator<Item = (TopicPartition, UnixNanos, Option<i64>)>,
    ) -> usize {
        let Some(cluster) = self.memory.clusters.get_mut(cluster) else {
            return 0;
        };
        let mut refused = 0;
        for (key, at, offset) in points {
            let Some(partition) = cluster.partitions.get_mut(&key) else {
                continue;
            };
            refused += usize::from(!partition.answer(at, offset));
        }
        refused
    }

    /// What to ask the broker of the past, so that time lags become exact: where partitions ended at some times. Only of
    /// partitions with lag; each gap is asked about once. Answers go to [`Self::seed`], and new questions may follow: of
    /// many partitions, not all are asked about at once.
    pub fn questions(&mut self, cluster: &str, now: UnixNanos) -> Vec<(TopicPartition, UnixNanos)> {
        let Some(memory) = self.memory.clusters.get_mut(cluster) else {
            return Vec::new();
        };
        let mut questions = Vec::new();
        let mut asked_now: BTreeSet<TopicPartition> = BTreeSet::new();
        for ((name, _), group) in &self.groups {
            if &**name != cluster {
                continue;
            }
            for (key, lag) in group.partitions.iter() {
                if questions.len() >= QUESTIONS_AT_ONCE {
                    return questions;
                }
                let Some(partition) = memory.partitions.get_mut(&key) else {
                    continue;
                };
                let unread = lag.lag_messages.is_some_and(|lag| lag > 0);
                // A suspicion ends whether or not anything is left to read.
                if (unread || partition.clock.suspect().is_some())
                    && let Some(last) = partition.ends.last()
                {
                    let times = partition.clock.questions(last, partition.log_start, now);
                    questions.extend(times.map(|at| (key.clone(), at)));
                }
                let (true, Some(committed), None) =
                    (unread, lag.committed, partition.clock.suspect())
                else {
                    continue;
                };
                let position = committed.max(lag.log_start.unwrap_or(0));
                if !partition.seeded {
                    partition.seeded = true;
                    asked_now.insert(key.clone());
                    let oldest = partition.ends.first().map_or(now, |first| first.at);
                    questions.extend(
                        SEED_AGES
                            .iter()
                            .map(|&age| now - age)
                            .filter(|&at| at < oldest)
                            .map(|at| (key.clone(), at)),
                    );
                } else if asked_now.insert(key.clone())
                    && let Some(gap) = partition
                        .ends
                        .question(position, now, self.config.exact_gap)
                    && partition.asked != Some(gap)
                {
                    partition.asked = Some(gap);
                    questions.push((key.clone(), gap.0 + since(gap.1, gap.0) / 2));
                }
            }
        }
        questions
    }

    /// Where a bounded, group-less read should look whether there is anything to read: `most` places at most. Answers go
    /// to [`Self::answer_marker`]; until then the lag stands as the offsets have it.
    #[must_use]
    pub fn marker_questions(&self, now: UnixNanos, most: usize) -> Vec<MarkerQuestion> {
        let patience = self.config.window.min(Duration::from_secs(60));
        let mut questions = Vec::new();
        for ((cluster, name), group) in &self.groups {
            let Some(memory) = self.memory.clusters.get(cluster) else {
                continue;
            };
            let Some(remembered) = memory.groups.get(name) else {
                continue;
            };
            let tracks = LazyCell::new(|| remembered.tracks.open());
            for (key, lag) in group.partitions.iter() {
                let (Some(committed), Some(1..)) = (lag.committed, lag.lag_messages) else {
                    continue;
                };
                let partition = memory.partitions.get(&key);
                let stands = partition
                    .and_then(|partition| partition.ends.still_since())
                    .is_some_and(|at| since(now, at) >= patience);
                if !stands || lag.open_transaction.is_some() {
                    continue;
                }
                if let Some(track) = tracks.get(&key)
                    && track.still_for(patience, now)
                    && track.found().readable_at != Some(committed)
                {
                    if questions.len() == most {
                        return questions;
                    }
                    questions.push(MarkerQuestion {
                        cluster: Arc::clone(cluster),
                        group: Arc::clone(name),
                        partition: key,
                        committed,
                    });
                }
            }
        }
        questions
    }

    /// Takes the answer of a bounded read: the first offset that can be read at or after the question's, or none up to
    /// `end`. Counts from the next sample on.
    pub fn answer_marker(
        &mut self,
        question: &MarkerQuestion,
        first_readable: Option<i64>,
        end: i64,
    ) {
        let Some(group) = self
            .memory
            .clusters
            .get_mut(&question.cluster)
            .and_then(|cluster| cluster.groups.get_mut(&question.group))
        else {
            return;
        };
        group.open(|group| {
            let Some(track) = group.tracks.get_mut(&question.partition) else {
                return;
            };
            match first_readable {
                Some(_) => track.find(|found| found.readable_at = Some(question.committed)),
                None => track.find(|found| found.empty = Some((question.committed, end))),
            }
        });
    }

    /// Takes a sample. Groups of its cluster that it does not hold are gone.
    pub fn step(&mut self, sample: &Sample, now: UnixNanos) {
        let cluster = self
            .memory
            .clusters
            .entry(Arc::clone(&sample.cluster))
            .or_default();
        cluster.observe(sample, &self.config, now);
        cluster
            .groups
            .retain(|name, _| sample.groups.contains_key(name));
        self.groups.retain(|(owner, name), _| {
            *owner != sample.cluster || sample.groups.contains_key(name)
        });
        for (name, facts) in &sample.groups {
            let key = (Arc::clone(&sample.cluster), Arc::clone(name));
            let group = cluster.groups.entry(Arc::clone(name)).or_default();
            let step = Step {
                name,
                facts,
                sample,
                partitions: &cluster.partitions,
                config: &self.config,
                now,
            };
            let previous = self.groups.get(&key).map(|lag| &**lag);
            let (lag, clamps) = group.open(|group| step.run(group, previous));
            self.clamps += clamps;
            self.groups.insert(key, Arc::new(lag));
        }
    }

    /// The cluster cannot be read: every group of it is unknown, with the reason, until its next sample. What was read
    /// last stays as offsets with their time; lag of now is unknown.
    pub fn cluster_lost(&mut self, cluster: &str, reason: &str, now: UnixNanos) {
        let Some(memory) = self.memory.clusters.get_mut(cluster) else {
            return;
        };
        let cluster: Arc<str> = cluster.into();
        for (name, group) in &mut memory.groups {
            // Nobody was told of it where it was not read since a restart: it was unknown then, too.
            let told = self
                .groups
                .get_mut(&(Arc::clone(&cluster), Arc::clone(name)));
            group.open(|group| {
                group.enter_unknown(now);
                if let Some(told) = told {
                    lose(Arc::make_mut(told), name, group, reason, now);
                }
            });
        }
    }
}

/// A group that was told is unknown now.
fn lose(group: &mut GroupLag, name: &str, remembered: &mut Group, reason: &str, now: UnixNanos) {
    let why = Why::GroupUnknown(reason.into());
    let mut partitions = group.partitions.open();
    for (key, lag) in &mut partitions {
        *lag = PartitionLag {
            state_since: remembered.enter(key, State::Unknown, now),
            ..unknown_now(lag, why.clone())
        };
    }
    group.partitions = partitions.into();
    group.state = State::Unknown;
    group.state_since = enter(&mut remembered.state, State::Unknown, now);
    group.reason = format!("The lag of {name} is unknown: {reason}");
    group.lag_messages = None;
    group.lag_by_tools = None;
    group.time_lag = None;
    group.in_per_s = None;
    group.out_per_s = None;
    group.rate_from = None;
    group.drain = None;
    group.retention_left = None;
    group.partitions_read = 0;
    group.members = None;
    group.broker_state = None;
}

/// Notes a state; says since when it holds.
fn enter(slot: &mut Option<(State, UnixNanos)>, state: State, now: UnixNanos) -> UnixNanos {
    match slot {
        Some((held, since)) if *held == state => *since,
        _ => {
            *slot = Some((state, now));
            now
        }
    }
}

/// Offsets as last read, and nothing of now.
fn unknown_now(last: &PartitionLag, why: Why) -> PartitionLag {
    PartitionLag {
        committed: last.committed,
        log_start: last.log_start,
        end: last.end,
        last_stable: last.last_stable,
        member: last.member.clone(),
        moved_at: last.moved_at,
        read_at: last.read_at,
        ..PartitionLag::unknown(why, last.state_since)
    }
}

impl Cluster {
    /// Takes the partitions' offsets.
    fn observe(&mut self, sample: &Sample, config: &Config, now: UnixNanos) {
        self.last_sample = Some(sample.finished);
        // A topic that is gone is forgotten; a partition that could not be read is not.
        self.partitions
            .retain(|key, _| sample.topics.contains_key(&key.topic));
        let mut consumed: BTreeMap<Arc<str>, BTreeSet<i32>> = BTreeMap::new();
        for (name, facts) in &sample.groups {
            for (topic, partitions) in facts.committed.topics() {
                let consumed = consumed.entry(Arc::clone(topic)).or_default();
                consumed.extend(partitions);
            }
            // One that could not be read this time goes on reading what it read.
            if facts.error.is_some()
                && let Some(group) = self.groups.get(name)
            {
                for place in group.places() {
                    consumed
                        .entry(place.topic)
                        .or_default()
                        .insert(place.partition);
                }
            }
        }
        for (key, read) in &sample.partitions {
            let partition = self
                .partitions
                .entry(key.clone())
                .or_insert_with(|| Partition {
                    log_since: read.read_at,
                    ..Partition::default()
                });
            let topic = sample.topics.get(&key.topic);
            partition.observe(read, topic.and_then(|topic| topic.compacted) == Some(false));
            let of_topic = consumed.get(&key.topic);
            if !of_topic.is_some_and(|partitions| partitions.contains(&key.partition)) {
                partition.ends.keep_since(now - config.window * 2);
                partition.seeded = false;
            }
        }
    }
}
