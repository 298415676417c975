//! What brokers said: which cluster is which, who reads what, and which offsets moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use highwater_model::broker::Sample;
use serde::{Deserialize, Serialize};

use crate::flow::ClusterConfig;
use crate::series::{MINUTE, SECOND};

/// Offset sums kept for a rate: ten minutes, a point every ten seconds at most.
const POINTS: usize = 64;
const POINTS_SPAN: u64 = 10 * MINUTE;
const POINT_SPACING: u64 = 10 * SECOND - SECOND / 2;

/// How a sum of offsets moved.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Moves {
    /// First and last time it was seen to have grown.
    pub(crate) grew: Option<(u64, u64)>,
    /// `(time, sum, partitions)`; rates are only taken between equal sets of partitions.
    #[serde(skip)]
    points: VecDeque<(u64, i64, u32)>,
}

impl Moves {
    fn push(&mut self, at: u64, sum: i64, partitions: u32) {
        if let Some(&(last_at, last_sum, last_partitions)) = self.points.back() {
            if at <= last_at {
                return;
            }
            if last_partitions == partitions && sum < last_sum {
                // Recreated, or set back: the past tells nothing about the rate.
                self.points.clear();
            } else if last_partitions == partitions && sum > last_sum {
                self.grew = Some((self.grew.map_or(at, |(first, _)| first), at));
            }
        }
        // The newest point is replaced while it is too near to the one before it.
        if let [.., (before, _, _), _] = self.points.make_contiguous()
            && at - *before < POINT_SPACING
        {
            self.points.pop_back();
        }
        self.points.push_back((at, sum, partitions));
        while self.points.len() > POINTS
            || self
                .points
                .front()
                .is_some_and(|&(first, _, _)| at - first > POINTS_SPAN)
        {
            self.points.pop_front();
        }
    }

    /// Messages a second between the first point at or before `from` (else the first there is) and the last at or
    /// before `to`; `None` with fewer than two points.
    pub(crate) fn rate(&self, from: u64, to: u64) -> Option<f64> {
        let end = self.points.iter().rev().find(|&&(at, _, _)| at <= to)?;
        let start = self
            .points
            .iter()
            .rev()
            .find(|&&(at, _, n)| at <= from && n == end.2)
            .or_else(|| {
                self.points
                    .iter()
                    .find(|&&(at, _, n)| at >= from && n == end.2)
            })?;
        let seconds = (end.0.checked_sub(start.0)? as f64) / SECOND as f64;
        (seconds > 0.0 && end.0 > from).then(|| (end.1 - start.1).max(0) as f64 / seconds)
    }

    /// Whether it grew at some time in the range.
    pub(crate) fn grew_in(&self, from: u64, to: u64) -> bool {
        self.grew
            .is_some_and(|(first, last)| first <= to && last >= from)
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TopicState {
    pub(crate) partitions: u32,
    pub(crate) internal: bool,
    pub(crate) ends: Moves,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GroupState {
    /// Topics it has committed on, or has members assigned to.
    pub(crate) reads: BTreeMap<Arc<str>, Moves>,
    pub(crate) clients: BTreeSet<Arc<str>>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClusterFacts {
    #[serde(skip)]
    pub(crate) environment: Arc<str>,
    #[serde(skip)]
    pub(crate) configured: BTreeSet<Arc<str>>,
    pub(crate) id: Option<Arc<str>>,
    pub(crate) brokers: BTreeSet<Arc<str>>,
    pub(crate) topics: BTreeMap<Arc<str>, TopicState>,
    pub(crate) groups: BTreeMap<Arc<str>, GroupState>,
}

impl ClusterFacts {
    pub(crate) fn answers_to(&self, address: &str) -> bool {
        self.configured.contains(address) || self.brokers.contains(address)
    }
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) clusters: BTreeMap<Arc<str>, ClusterFacts>,
}

impl Facts {
    pub(crate) fn new(configured: &[ClusterConfig]) -> Self {
        Self {
            clusters: configured
                .iter()
                .map(|cluster| {
                    (
                        cluster.name.clone(),
                        ClusterFacts {
                            environment: cluster.environment.clone(),
                            configured: cluster.addresses.iter().cloned().collect(),
                            ..ClusterFacts::default()
                        },
                    )
                })
                .collect(),
        }
    }

    /// Puts stored facts back into a configured cluster; those of one that is configured no more are dropped.
    pub(crate) fn put(&mut self, name: &str, stored: ClusterFacts) {
        if let Some(facts) = self.clusters.get_mut(name) {
            *facts = ClusterFacts {
                environment: facts.environment.clone(),
                configured: facts.configured.clone(),
                ..stored
            };
        }
    }

    pub(crate) fn observe(&mut self, sample: &Sample) {
        let facts = self
            .clusters
            .entry(sample.cluster.clone())
            .or_insert_with(|| ClusterFacts {
                environment: "default".into(),
                ..ClusterFacts::default()
            });
        let at = sample.finished.0;
        if sample.cluster_id.is_some() {
            facts.id.clone_from(&sample.cluster_id);
        }
        facts.brokers = sample.brokers.iter().map(|(_, a)| a.clone()).collect();

        facts
            .topics
            .retain(|topic, _| sample.topics.contains_key(topic));
        for (topic, seen) in &sample.topics {
            let state = facts.topics.entry(topic.clone()).or_default();
            state.partitions = seen.partitions;
            state.internal = seen.internal;
        }
        let mut ends: BTreeMap<&Arc<str>, Option<(i64, u32)>> = BTreeMap::new();
        for (partition, offsets) in &sample.partitions {
            let sum = ends.entry(&partition.topic).or_insert(Some((0, 0)));
            // One end that could not be read makes the sum unknown: no point this time.
            *sum = match (*sum, &offsets.end) {
                (Some((sum, n)), Ok(end)) => Some((sum.saturating_add(*end), n + 1)),
                _ => None,
            };
        }
        for (topic, sum) in ends {
            if let (Some(state), Some((sum, n))) = (facts.topics.get_mut(topic), sum) {
                state.ends.push(at, sum, n);
            }
        }

        facts
            .groups
            .retain(|group, _| sample.groups.contains_key(group));
        for (group, seen) in &sample.groups {
            let state = facts.groups.entry(group.clone()).or_default();
            if let Ok(members) = &seen.members {
                state.clients = members.iter().map(|m| m.client_id.clone()).collect();
            }
            if seen.error.is_some() {
                continue;
            }
            let mut sums: BTreeMap<Arc<str>, Option<(i64, u32)>> = BTreeMap::new();
            for (partition, committed) in seen.committed.iter() {
                match committed {
                    Ok(Some(offset)) => {
                        let sum = sums.entry(partition.topic.clone()).or_insert(Some((0, 0)));
                        *sum = sum.map(|(sum, n)| (sum.saturating_add(offset), n + 1));
                    }
                    Ok(None) => {}
                    Err(_) => {
                        // Unknown now; if it was known to read this topic, it still does.
                        if state.reads.contains_key(&partition.topic) {
                            sums.insert(partition.topic.clone(), None);
                        }
                    }
                }
            }
            for member in seen.members.iter().flatten() {
                for partition in &member.assignment {
                    sums.entry(partition.topic.clone()).or_insert(None);
                }
            }
            state.reads.retain(|topic, _| sums.contains_key(topic));
            for (topic, sum) in sums {
                let moves = state.reads.entry(topic).or_default();
                if let Some((sum, n)) = sum {
                    moves.push(at, sum, n);
                }
            }
        }
    }
}
