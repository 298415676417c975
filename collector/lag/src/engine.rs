//! Steps from sample to sample.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::{
    GroupFacts, Known, LagRow, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};
use serde::{Deserialize, Serialize};

use crate::assess::{self, Facts, GroupMotion};
use crate::history::{EndHistory, since};
use crate::points::Point;
use crate::track::Track;
use crate::types::{Config, GroupLag, PartitionLag, State, TimeLag};

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

/// What is known of one partition, whoever reads it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Partition {
    ends: EndHistory,
    /// The log of this name is this one since then; what was seen before is of another.
    #[serde(default)]
    log_since: UnixNanos,
    /// As last known.
    log_start: Option<i64>,
    /// As known before that.
    log_start_before: Option<i64>,
    last_stable: Option<i64>,
    /// The last stable offset stands where it stands since.
    stable_since: UnixNanos,
    /// The broker was asked for its past.
    seeded: bool,
    /// The gap last asked about: asked once.
    asked: Option<(UnixNanos, UnixNanos)>,
}

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

    /// Every partition that was last told.
    fn places(&self) -> impl Iterator<Item = &TopicPartition> {
        self.tracks.keys().chain(self.untracked.keys())
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Cluster {
    last_sample: Option<UnixNanos>,
    #[serde(with = "highwater_model::pairs")]
    partitions: BTreeMap<TopicPartition, Partition>,
    groups: BTreeMap<Arc<str>, Group>,
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

/// Computes lag from samples. Holds up to a few kilobytes a partition.
#[derive(Debug)]
pub struct LagEngine {
    config: Config,
    memory: Checkpoint,
    /// Behind pointers: whoever judges them elsewhere takes them along without copying every partition.
    groups: BTreeMap<(Arc<str>, Arc<str>), Arc<GroupLag>>,
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
    pub fn groups(&self) -> &BTreeMap<(Arc<str>, Arc<str>), Arc<GroupLag>> {
        &self.groups
    }

    /// What history keeps of a cluster's groups as they are now, read at `at`: a row a partition.
    #[must_use]
    pub fn rows(&self, cluster: &str, at: UnixNanos) -> Vec<LagRow> {
        let groups = || self.groups.iter().filter(|((c, _), _)| **c == *cluster);
        // Of a large cluster this is the largest piece: doubling would copy it, and leave room empty.
        let mut rows = Vec::with_capacity(groups().map(|(_, lag)| lag.partitions.len()).sum());
        for ((name, group), lag) in groups() {
            rows.extend(lag.partitions.iter().map(|(key, lag)| LagRow {
                cluster: Arc::clone(name),
                group: Arc::clone(group),
                topic: Arc::clone(&key.topic),
                partition: key.partition,
                at,
                committed: lag.committed,
                end: lag.end,
                log_start: lag.log_start,
                time_lag_ms: lag.time_lag.map(TimeLag::millis),
                state: lag.state as u8,
            }));
        }
        rows
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
    /// refused; producers' clocks may be wrong.
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
            let Some(end) = offset.or_else(|| partition.ends.last().map(|last| last.end)) else {
                continue;
            };
            if !partition.ends.seed(at, end) {
                refused += 1;
            }
        }
        refused
    }

    /// What to ask the broker of the past, so that time lags become exact: where partitions ended at some times. Only of
    /// partitions with lag; each gap is asked about once. Answers go to [`Self::seed`], and new questions may follow.
    pub fn questions(&mut self, cluster: &str, now: UnixNanos) -> Vec<(TopicPartition, UnixNanos)> {
        let Some(memory) = self.memory.clusters.get_mut(cluster) else {
            return Vec::new();
        };
        let mut questions = Vec::new();
        let mut asked_now: BTreeSet<&TopicPartition> = BTreeSet::new();
        for ((name, _), group) in &self.groups {
            if &**name != cluster {
                continue;
            }
            for (key, lag) in &group.partitions {
                let (Some(committed), Some(1..)) = (lag.committed, lag.lag_messages) else {
                    continue;
                };
                let Some(partition) = memory.partitions.get_mut(key) else {
                    continue;
                };
                let position = committed.max(lag.log_start.unwrap_or(0));
                if !partition.seeded {
                    partition.seeded = true;
                    asked_now.insert(key);
                    let oldest = partition.ends.first().map_or(now, |first| first.at);
                    questions.extend(
                        SEED_AGES
                            .iter()
                            .map(|&age| now - age)
                            .filter(|&at| at < oldest)
                            .map(|at| (key.clone(), at)),
                    );
                } else if asked_now.insert(key)
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
            for (key, lag) in &group.partitions {
                let (Some(committed), Some(1..)) = (lag.committed, lag.lag_messages) else {
                    continue;
                };
                let (Some(track), Some(partition)) =
                    (remembered.tracks.get(key), memory.partitions.get(key))
                else {
                    continue;
                };
                let quiet = track.still_for(patience, now)
                    && partition
                        .ends
                        .still_since()
                        .is_some_and(|at| since(now, at) >= patience);
                if quiet
                    && lag.open_transaction.is_none()
                    && track.found().readable_at != Some(committed)
                {
                    if questions.len() == most {
                        return questions;
                    }
                    questions.push(MarkerQuestion {
                        cluster: Arc::clone(cluster),
                        group: Arc::clone(name),
                        partition: key.clone(),
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
        let Some(track) = self
            .memory
            .clusters
            .get_mut(&question.cluster)
            .and_then(|cluster| cluster.groups.get_mut(&question.group))
            .and_then(|group| group.tracks.get_mut(&question.partition))
        else {
            return;
        };
        match first_readable {
            Some(_) => track.find(|found| found.readable_at = Some(question.committed)),
            None => track.find(|found| found.empty = Some((question.committed, end))),
        }
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
            let (lag, clamps) = Step {
                name,
                facts,
                sample,
                partitions: &cluster.partitions,
                config: &self.config,
                now,
            }
            .run(group, self.groups.get(&key).map(|lag| &**lag));
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
        // Also those that nobody was told of since a restart: it was unknown then.
        for group in memory.groups.values_mut() {
            enter(&mut group.state, State::Unknown, now);
            let states = group.tracks.values_mut().map(|track| &mut track.state);
            for state in states {
                enter(state, State::Unknown, now);
            }
            for (state, since) in group.untracked.values_mut() {
                if *state != State::Unknown {
                    (*state, *since) = (State::Unknown, now);
                }
            }
        }
        for ((owner, name), group) in &mut self.groups {
            if &**owner != cluster {
                continue;
            }
            let group = Arc::make_mut(group);
            let sentence = format!("The lag of {name} is unknown: {reason}");
            let mut remembered = memory.groups.get_mut(name);
            let mut enter_unknown = |key: &TopicPartition| {
                let group = remembered.as_mut();
                group.map_or(now, |group| group.enter(key, State::Unknown, now))
            };
            for (key, lag) in &mut group.partitions {
                *lag = PartitionLag {
                    state_since: enter_unknown(key),
                    ..unknown_now(lag, sentence.clone())
                };
            }
            group.state = State::Unknown;
            group.state_since =
                remembered.map_or(now, |group| enter(&mut group.state, State::Unknown, now));
            group.reason = sentence;
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
    }
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
fn unknown_now(last: &PartitionLag, reason: String) -> PartitionLag {
    PartitionLag {
        log_start: last.log_start,
        end: last.end,
        last_stable: last.last_stable,
        moved_at: last.moved_at,
        read_at: last.read_at,
        ..assess::unreadable(
            State::Unknown,
            reason,
            last.committed,
            last.member.clone(),
            last.state_since,
        )
    }
}

impl Cluster {
    /// Takes the partitions' offsets.
    fn observe(&mut self, sample: &Sample, config: &Config, now: UnixNanos) {
        self.last_sample = Some(sample.finished);
        // A topic that is gone is forgotten; a partition that could not be read is not.
        self.partitions
            .retain(|key, _| sample.topics.contains_key(&key.topic));
        let mut consumed: BTreeSet<&TopicPartition> = BTreeSet::new();
        for (name, facts) in &sample.groups {
            consumed.extend(facts.committed.keys());
            // One that could not be read this time goes on reading what it read.
            if facts.error.is_some()
                && let Some(group) = self.groups.get(name)
            {
                consumed.extend(group.places());
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
            partition.observe(read);
            if !consumed.contains(key) {
                partition.ends.keep_since(now - config.window * 2);
                partition.seeded = false;
            }
        }
    }
}

impl Partition {
    fn observe(&mut self, read: &PartitionOffsets) {
        if let Ok(log_start) = read.log_start {
            // A log start that went back is another log, with a past of its own.
            if self.log_start.is_some_and(|before| log_start < before) {
                self.ends.clear();
                self.log_start = None;
                self.log_since = read.read_at;
                self.forget_answers();
            }
            self.log_start_before = self.log_start;
            self.log_start = Some(log_start);
        }
        if let Ok(end) = read.end {
            if self.ends.last().is_some_and(|last| end < last.end) {
                self.forget_answers();
            }
            self.ends.observe(read.read_at, end);
        }
        let last_stable = read.last_stable.as_ref().ok().copied();
        if self.last_stable != last_stable {
            self.last_stable = last_stable;
            self.stable_since = read.read_at;
        }
    }

    /// What the broker told of the past was of other records: it is asked anew.
    fn forget_answers(&mut self) {
        self.seeded = false;
        self.asked = None;
    }
}

/// One group's step.
struct Step<'a> {
    name: &'a Arc<str>,
    facts: &'a GroupFacts,
    sample: &'a Sample,
    partitions: &'a BTreeMap<TopicPartition, Partition>,
    config: &'a Config,
    now: UnixNanos,
}

/// A partition of the group whose offsets are all known.
struct Readable<'a> {
    committed: i64,
    end: i64,
    read: &'a PartitionOffsets,
    remembered: &'a Partition,
}

impl Step<'_> {
    /// Judges the group. Also counts the clamps.
    fn run(&self, group: &mut Group, previous: Option<&GroupLag>) -> (GroupLag, u64) {
        let facts = self.facts;
        if facts
            .members
            .as_ref()
            .is_ok_and(|members| !members.is_empty())
        {
            group.had_members = true;
        }
        if facts.error.is_none() {
            group
                .tracks
                .retain(|key, _| facts.committed.contains_key(key));
            group
                .untracked
                .retain(|key, _| facts.committed.contains_key(key));
        }
        // First every partition's window: what one does is judged by what the others do.
        let readable: BTreeMap<&TopicPartition, Readable<'_>> = facts
            .committed
            .iter()
            .filter_map(|(key, committed)| Some((key, self.readable(key, committed)?)))
            .collect();
        let outage = self.config.window.max(self.config.exact_gap);
        let mut new_tracks = Vec::new();
        for (&key, known) in &readable {
            let point = Point {
                at: known.read.read_at,
                committed: known.committed,
                end: known.end,
            };
            let log_since = known.remembered.log_since;
            if let Some(track) = group.tracks.get_mut(key) {
                track.observe(point, log_since, self.config.window, outage);
            } else {
                let mut track = Track::new(point);
                track.state = group.untracked.remove(key);
                new_tracks.push((key.clone(), track));
            }
        }
        // A map that is made of all its pairs at once has no room left in it; pairs added in order leave half.
        if group.tracks.is_empty() {
            group.tracks = new_tracks.into_iter().collect();
        } else {
            group.tracks.extend(new_tracks);
        }
        let motion = self.motion(group);

        let mut clamps = 0;
        let mut partitions = Vec::with_capacity(facts.committed.len());
        if let Some(why) = &facts.error {
            // Its partitions do not vanish because they could not be read this time.
            let keys: Vec<TopicPartition> = match previous {
                Some(previous) => previous.partitions.keys().cloned().collect(),
                None => group.places().cloned().collect(),
            };
            for key in keys {
                let reason = format!("The lag of {} is unknown: {why}.", self.name);
                let last = previous.and_then(|previous| previous.partitions.get(&key));
                let state_since = group.enter(&key, State::Unknown, self.now);
                let lag = match last {
                    Some(last) => unknown_now(last, reason),
                    None => self.forgotten(group.tracks.get(&key), reason),
                };
                partitions.push((key, PartitionLag { state_since, ..lag }));
            }
        }
        for (key, committed) in &facts.committed {
            let mut lag = match (readable.get(key), group.tracks.get_mut(key)) {
                (Some(known), Some(track)) => {
                    let (lag, clamped) = self.assess(key, known, track, motion);
                    clamps += u64::from(clamped);
                    lag
                }
                (_, track) => PartitionLag {
                    moved_at: track.and_then(|track| track.moved_at),
                    ..self.unreadable(key, committed)
                },
            };
            lag.state_since = group.enter(key, lag.state, self.now);
            partitions.push((key.clone(), lag));
        }
        (
            self.summarise(group, partitions.into_iter().collect()),
            clamps,
        )
    }

    fn readable<'a>(
        &'a self,
        key: &TopicPartition,
        committed: &Known<Option<i64>>,
    ) -> Option<Readable<'a>> {
        let read = self.sample.partitions.get(key)?;
        Some(Readable {
            committed: (*committed.as_ref().ok()?)?,
            end: *read.end.as_ref().ok()?,
            read,
            remembered: self.partitions.get(key)?,
        })
    }

    /// A partition that cannot be read, and was last read before a restart.
    fn forgotten(&self, track: Option<&Track>, reason: String) -> PartitionLag {
        let last = track.map(Track::last);
        PartitionLag {
            end: last.map(|last| last.end),
            read_at: last.map(|last| last.at),
            moved_at: track.and_then(|track| track.moved_at),
            ..assess::unreadable(
                State::Unknown,
                reason,
                last.map(|last| last.committed),
                None,
                self.now,
            )
        }
    }

    fn motion(&self, group: &Group) -> GroupMotion {
        let moved = group.tracks.values().any(|track| {
            track
                .moved_at
                .is_some_and(|at| since(self.now, at) < self.config.window)
        });
        let empty = self.facts.members.as_ref().is_ok_and(Vec::is_empty);
        GroupMotion {
            // A consumer that assigns itself partitions commits without being a member: as long as it moves, it lives.
            abandoned: empty && (group.had_members || !moved),
            moved,
        }
    }

    fn member(&self, key: &TopicPartition) -> Option<Arc<str>> {
        let members = self.facts.members.as_ref().ok()?;
        members
            .iter()
            .find(|member| member.assignment.contains(key))
            .map(|member| Arc::clone(&member.member_id))
    }

    fn assess(
        &self,
        key: &TopicPartition,
        known: &Readable<'_>,
        track: &mut Track,
        motion: GroupMotion,
    ) -> (PartitionLag, bool) {
        let facts = Facts {
            group: self.name,
            place: format!("{}/{}", key.topic, key.partition),
            committed: known.committed,
            log_start: known.read.log_start.as_ref().ok().copied(),
            log_start_before: known.remembered.log_start_before,
            end: known.end,
            last_stable: known
                .remembered
                .last_stable
                .map(|stable| stable.min(known.end)),
            stable_since: known.remembered.stable_since,
            race: known.read.read_at < self.facts.read_at,
            topic: self.sample.topics.get(&key.topic),
            member: self.member(key),
            motion,
            read_at: known.read.read_at,
        };
        assess::assess(facts, track, &known.remembered.ends, self.config, self.now)
    }

    /// A partition of which an offset is missing.
    fn unreadable(&self, key: &TopicPartition, committed: &Known<Option<i64>>) -> PartitionLag {
        let group = self.name;
        let place = format!("{}/{}", key.topic, key.partition);
        let read = self.sample.partitions.get(key);
        let unknown = |why: &str| {
            (
                State::Unknown,
                format!("The lag of {group} on {place} is unknown: {why}."),
            )
        };
        let topic: Option<&TopicFacts> = self.sample.topics.get(&key.topic);
        // Without a commit the group starts wherever its reset policy says; in an empty log that is nothing either way.
        let empty = committed == &Ok(None)
            && read.is_some_and(|read| read.end.is_ok() && read.end == read.log_start);
        let (state, reason) = match (committed, topic, read.map(|read| &read.end)) {
            (Err(why), _, _) => unknown(why),
            (Ok(Some(_)), None, _) => {
                unknown("the topic is gone, and the commit is an orphan offset")
            }
            (Ok(Some(_)), Some(_), None) => unknown(
                "the topic has no such partition any more, and the commit is an orphan offset",
            ),
            (Ok(Some(_)), _, Some(Err(why))) => unknown(why),
            (Ok(_), _, _) if empty => (
                State::Ok,
                format!("{place} is empty, and {group} has no commit on it."),
            ),
            (Ok(_), _, _) => (
                State::NoCommit,
                format!("{group} has no commit yet on {place}."),
            ),
        };
        let known =
            |value: Option<&Known<i64>>| value.and_then(|value| value.as_ref().ok()).copied();
        PartitionLag {
            log_start: known(read.map(|read| &read.log_start)),
            end: known(read.map(|read| &read.end)),
            last_stable: known(read.map(|read| &read.last_stable)),
            lag_messages: empty.then_some(0),
            read_at: read.map(|read| read.read_at),
            ..assess::unreadable(
                state,
                reason,
                committed.as_ref().ok().copied().flatten(),
                self.member(key),
                self.now,
            )
        }
    }

    fn summarise(
        &self,
        group: &mut Group,
        partitions: BTreeMap<TopicPartition, PartitionLag>,
    ) -> GroupLag {
        let facts = self.facts;
        let all = || partitions.values();
        let mut topics: Vec<Arc<str>> = partitions
            .keys()
            .map(|key| Arc::clone(&key.topic))
            .collect();
        topics.dedup();
        let known_topics = || {
            topics
                .iter()
                .filter_map(|topic| self.sample.topics.get(topic))
        };
        let lagging = || all().filter(|lag| lag.lag_messages != Some(0));
        let drain = if lagging().all(|lag| lag.drain.is_some()) && !partitions.is_empty() {
            // Nothing to read is caught up, also where there are no rates to tell it from.
            Some(all().filter_map(|lag| lag.drain).max().unwrap_or_default())
        } else {
            None
        };
        let state = match &facts.error {
            Some(_) => State::Unknown,
            None => all().map(|lag| lag.state).min().unwrap_or(State::Ok),
        };
        let mut lag = GroupLag {
            state,
            reason: String::new(),
            state_since: enter(&mut group.state, state, self.now),
            mark: self.config.mark,
            lag_messages: assess::sum(all().map(|lag| lag.lag_messages)),
            lag_by_tools: assess::sum(all().map(|lag| lag.lag_by_tools)),
            time_lag: assess::longest(all().map(|lag| lag.time_lag)),
            in_per_s: assess::sum(all().map(|lag| lag.in_per_s)),
            out_per_s: assess::sum(all().map(|lag| lag.out_per_s)),
            rate_from: all().filter_map(|lag| lag.rate_from).min(),
            drain,
            retention_left: all().filter_map(|lag| lag.retention_left).min(),
            retention_ms: {
                let limited = known_topics().filter_map(|topic| topic.retention_ms);
                // Unlimited (negative) counts as the longest.
                limited.min_by_key(|&ms| if ms < 0 { i64::MAX } else { ms })
            },
            read_at: facts.error.is_none().then_some(facts.read_at),
            moved_at: all().filter_map(|lag| lag.moved_at).max(),
            partitions_read: count(all().filter(|lag| lag.lag_by_tools.is_some()).count()),
            partitions_total: match &facts.error {
                Some(_) => None,
                None if topics.is_empty() => Some(0),
                None => assess::sum(known_topics().map(|topic| Some(topic.partitions))),
            },
            topics: Vec::new(),
            members: facts
                .members
                .as_ref()
                .ok()
                .map(|members| count(members.len())),
            broker_state: facts.broker_state.as_ref().ok().cloned(),
            kind: Arc::clone(&facts.kind),
            partitions,
        };
        lag.topics = topics;
        lag.reason = match &facts.error {
            Some(why) => format!("The lag of {} is unknown: {why}.", self.name),
            None => assess::group_reason(self.name, &lag),
        };
        lag
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
