//! What one sample makes of one group: every partition judged, and the group by its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_model::UnixNanos;
use highwater_model::broker::{
    GroupFacts, Known, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};

use super::{Group, Partition, enter, unknown_now};
use crate::assess::{self, Facts, GroupMotion};
use crate::history::since;
use crate::packed::Partitions;
use crate::points::Point;
use crate::reasons::group_reason;
use crate::track::Track;
use crate::types::{Config, GroupLag, PartitionLag, State, Why};

/// One group's step.
pub(super) struct Step<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) facts: &'a GroupFacts,
    pub(super) sample: &'a Sample,
    pub(super) partitions: &'a BTreeMap<TopicPartition, Partition>,
    pub(super) config: &'a Config,
    pub(super) now: UnixNanos,
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
    pub(super) fn run(&self, group: &mut Group, previous: Option<&GroupLag>) -> (GroupLag, u64) {
        let facts = self.facts;
        let committed = facts.committed.open();
        if facts
            .members
            .as_ref()
            .is_ok_and(|members| !members.is_empty())
        {
            group.had_members = true;
        }
        if facts.error.is_none() {
            group.tracks.retain(|key, _| committed.contains_key(key));
            group.untracked.retain(|key, _| committed.contains_key(key));
        }
        // First every partition's window: what one does is judged by what the others do.
        let readable: BTreeMap<&TopicPartition, Readable<'_>> = committed
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
        let mut partitions = Vec::with_capacity(committed.len());
        if let Some(why) = &facts.error {
            // Its partitions do not vanish because they could not be read this time.
            let why = Why::GroupUnknown(format!("{why}.").into());
            let last: Vec<(TopicPartition, PartitionLag)> = match previous {
                Some(previous) => previous
                    .partitions
                    .iter()
                    .map(|(key, last)| (key, unknown_now(&last, why.clone())))
                    .collect(),
                None => group
                    .places()
                    .map(|key| {
                        (
                            key.clone(),
                            self.forgotten(group.tracks.get(key), why.clone()),
                        )
                    })
                    .collect(),
            };
            for (key, lag) in last {
                let state_since = group.enter(&key, State::Unknown, self.now);
                partitions.push((key, PartitionLag { state_since, ..lag }));
            }
        }
        for (key, committed) in &committed {
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
    fn forgotten(&self, track: Option<&Track>, why: Why) -> PartitionLag {
        let last = track.map(Track::last);
        PartitionLag {
            committed: last.map(|last| last.committed),
            end: last.map(|last| last.end),
            read_at: last.map(|last| last.at),
            moved_at: track.and_then(|track| track.moved_at),
            ..PartitionLag::unknown(why, self.now)
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
            committed: known.committed,
            log_start: known.read.log_start.as_ref().ok().copied(),
            log_start_before: known.remembered.log_start_before,
            end: known.end,
            last_stable: known
                .remembered
                .last_stable
                .map(|stable| stable.min(known.end)),
            stable_since: known.remembered.stable_since,
            clock_suspect: known.remembered.clock.suspect(),
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
        let read = self.sample.partitions.get(key);
        let topic: Option<&TopicFacts> = self.sample.topics.get(&key.topic);
        // Without a commit the group starts wherever its reset policy says; in an empty log that is nothing either way.
        let empty = committed == &Ok(None)
            && read.is_some_and(|read| read.end.is_ok() && read.end == read.log_start);
        let (state, why) = match (committed, topic, read.map(|read| &read.end)) {
            (Err(why), _, _) => (State::Unknown, Why::Unknown(Arc::clone(why))),
            (Ok(Some(_)), None, _) => (
                State::Unknown,
                Why::Unknown("the topic is gone, and the commit is an orphan offset".into()),
            ),
            (Ok(Some(_)), Some(_), None) => (
                State::Unknown,
                Why::Unknown(
                    "the topic has no such partition any more, and the commit is an orphan offset"
                        .into(),
                ),
            ),
            (Ok(Some(_)), _, Some(Err(why))) => (State::Unknown, Why::Unknown(Arc::clone(why))),
            (Ok(_), _, _) if empty => (State::Ok, Why::Empty),
            (Ok(_), _, _) => (State::NoCommit, Why::NoCommit),
        };
        let known =
            |value: Option<&Known<i64>>| value.and_then(|value| value.as_ref().ok()).copied();
        PartitionLag {
            state,
            committed: committed.as_ref().ok().copied().flatten(),
            log_start: known(read.map(|read| &read.log_start)),
            end: known(read.map(|read| &read.end)),
            last_stable: known(read.map(|read| &read.last_stable)),
            member: self.member(key),
            lag_messages: empty.then_some(0),
            read_at: read.map(|read| read.read_at),
            ..PartitionLag::unknown(why, self.now)
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
            partitions: Partitions::default(),
        };
        lag.topics = topics;
        lag.reason = match &facts.error {
            Some(why) => format!("The lag of {} is unknown: {why}.", self.name),
            None => group_reason(self.name, &lag, &partitions),
        };
        lag.partitions = partitions.into();
        lag
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
