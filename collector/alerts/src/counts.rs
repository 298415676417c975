//! What the engine counts itself, because no fact says it: changes of membership, arrivals, refusals, and causes never
//! seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, QueueFacts};
use crate::rule::LONGEST_WITHIN;

/// Changes, samples of a counter, and causes that are remembered of one thing.
const MOST: usize = 1_000;
/// Samples of a counter stand at least this far apart: a window is right to that.
const SAMPLE_GAP: Duration = Duration::from_secs(15);
/// Groups and queues of which something is remembered.
const MOST_SUBJECTS: usize = 20_000;
/// After the first sight of a cluster its queues are recognised one after another: those are not new.
const SETTLING: Duration = Duration::from_secs(120);

/// A cluster and a group or queue of it.
pub(crate) type Place = (Arc<str>, Arc<str>);

/// Changes of a group's membership.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Membership {
    last: Option<u64>,
    changes: Vec<UnixNanos>,
    missing_since: Option<UnixNanos>,
}

/// Samples of a counter that only grows, thinned.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Counter {
    /// The total and when it was that. A later total starts where the one before ends.
    samples: Vec<(UnixNanos, u64)>,
    last: Option<u64>,
}

impl Counter {
    /// Takes a total. A smaller one than before begins anew.
    fn observe(&mut self, total: u64, at: UnixNanos) {
        let went_back = self.last.is_some_and(|last| total < last);
        // What a topic made anew, or a process started anew, counts since then is not known to be new.
        if went_back {
            self.samples.clear();
        }
        // A clock that went back leaves samples of the future: they would never fall out.
        self.samples.retain(|(then, _)| *then <= at);
        let changed = self.samples.last().map(|(_, kept)| *kept) != Some(total);
        let apart = self
            .samples
            .last()
            .is_none_or(|(then, _)| at.since(*then) >= nanos(SAMPLE_GAP));
        if changed && apart {
            self.samples.push((at, total));
        }
        self.last = Some(total);
        // One older than every window is kept: it is where the oldest window begins.
        let cutoff = at - LONGEST_WITHIN;
        while self.samples.len() > 1 && self.samples[1].0 <= cutoff {
            self.samples.remove(0);
        }
        if self.samples.len() > MOST {
            // Every other one: the past becomes coarser, not shorter.
            let newest = self.samples.len() - 1;
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1 || index > newest
            });
        }
    }

    /// How much it grew within the window before `now`; `None` before it was seen.
    fn within(&self, window: Duration, now: UnixNanos) -> Option<u64> {
        let last = self.last?;
        let cutoff = now - window;
        let base = self
            .samples
            .iter()
            .rev()
            .find(|(at, _)| *at <= cutoff)
            .or_else(|| self.samples.first())?;
        Some(last.saturating_sub(base.1))
    }
}

/// Causes of one queue.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Queue {
    arrived: Counter,
    /// What it holds at its first reading was there before anybody looked.
    seeds_in_silence: bool,
    causes_seeded: bool,
    /// When each was first seen; `None`: before anybody looked.
    causes: BTreeMap<Arc<str>, Option<UnixNanos>>,
    missing_since: Option<UnixNanos>,
}

/// What is counted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// When each cluster was first read.
    clusters: BTreeMap<Arc<str>, UnixNanos>,
    #[serde(with = "highwater_model::pairs")]
    memberships: BTreeMap<Place, Membership>,
    #[serde(with = "highwater_model::pairs")]
    queues: BTreeMap<Place, Queue>,
    refused: Counter,
}

impl Counts {
    /// Takes the facts of a step.
    pub(crate) fn observe(&mut self, facts: &Facts, now: UnixNanos) {
        let readable: BTreeSet<&Arc<str>> = facts
            .clusters
            .iter()
            .filter(|cluster| cluster.unreachable.is_none() && cluster.last_read.is_some())
            .map(|cluster| &cluster.name)
            .collect();
        for name in &readable {
            self.clusters.entry(Arc::clone(name)).or_insert(now);
        }
        self.forget(facts, &readable, now);
        for group in &facts.groups {
            if let Some(membership) = group.membership
                && readable.contains(&group.cluster)
            {
                self.observe_membership(&group.cluster, &group.group, membership, now);
            }
        }
        for queue in &facts.queues {
            if readable.contains(&queue.cluster) {
                self.observe_queue(queue, now);
            }
        }
        // The total is of this process: a new one begins at 0.
        let refused = facts.collector.refused_requests_total;
        if self.refused.last.is_some_and(|last| refused < last) {
            self.refused.observe(0, now);
        }
        self.refused.observe(refused, now);
    }

    /// Forgets what is gone for a day: groups and queues of clusters that were read without them, and clusters no
    /// longer configured. Not sooner: after a start, queues are recognised one after another.
    fn forget(&mut self, facts: &Facts, readable: &BTreeSet<&Arc<str>>, now: UnixNanos) {
        let configured: BTreeSet<&Arc<str>> =
            facts.clusters.iter().map(|cluster| &cluster.name).collect();
        self.clusters.retain(|name, _| configured.contains(name));
        let stays = |(cluster, name): &Place,
                     present: &BTreeSet<(&str, &str)>,
                     missing_since: &mut Option<UnixNanos>| {
            if present.contains(&(&**cluster, &**name)) {
                *missing_since = None;
            } else if readable.contains(cluster) {
                let since = missing_since.map_or(now, |since| since.min(now));
                *missing_since = Some(since);
                return now.since(since) < nanos(LONGEST_WITHIN);
            }
            configured.contains(cluster)
        };
        let groups: BTreeSet<(&str, &str)> = facts
            .groups
            .iter()
            .map(|group| (&*group.cluster, &*group.group))
            .collect();
        self.memberships
            .retain(|place, seen| stays(place, &groups, &mut seen.missing_since));
        let queues: BTreeSet<(&str, &str)> = facts
            .queues
            .iter()
            .map(|queue| (&*queue.cluster, &*queue.topic))
            .collect();
        self.queues
            .retain(|place, queue| stays(place, &queues, &mut queue.missing_since));
    }

    fn observe_membership(
        &mut self,
        cluster: &Arc<str>,
        group: &Arc<str>,
        membership: u64,
        now: UnixNanos,
    ) {
        let key = (Arc::clone(cluster), Arc::clone(group));
        if self.memberships.len() >= MOST_SUBJECTS && !self.memberships.contains_key(&key) {
            return;
        }
        let seen = self.memberships.entry(key).or_default();
        let changed = seen.last.is_some_and(|last| last != membership);
        seen.last = Some(membership);
        let cutoff = now - LONGEST_WITHIN;
        seen.changes.retain(|at| *at >= cutoff && *at <= now);
        if changed {
            if seen.changes.len() >= MOST {
                seen.changes.remove(0);
            }
            seen.changes.push(now);
        }
    }

    fn observe_queue(&mut self, facts: &QueueFacts, now: UnixNanos) {
        let key = (Arc::clone(&facts.cluster), Arc::clone(&facts.topic));
        let first_sight = self.clusters.get(&facts.cluster).copied().unwrap_or(now);
        if self.queues.len() >= MOST_SUBJECTS && !self.queues.contains_key(&key) {
            return;
        }
        let queue = self.queues.entry(key).or_insert_with(|| {
            let younger_than_us = facts.oldest_at.is_some_and(|at| at > first_sight);
            let settling = now.since(first_sight) < nanos(SETTLING);
            let mut queue = Queue {
                seeds_in_silence: now <= first_sight || (settling && !younger_than_us),
                ..Queue::default()
            };
            // A queue that appears later begins with nothing, unless what it holds is older than our first sight.
            let held_before = facts.oldest_at.is_some_and(|at| at <= first_sight);
            if !queue.seeds_in_silence && !held_before {
                queue.arrived.observe(0, now);
            }
            queue
        });
        if let Some(total) = facts.arrived_total {
            queue.arrived.observe(total, now);
        }
        if facts.read_at.is_none() {
            return;
        }
        let silent = queue.seeds_in_silence && !queue.causes_seeded;
        queue.causes_seeded = true;
        let present: BTreeSet<&Arc<str>> = facts.causes.iter().collect();
        for cause in present.iter().take(MOST) {
            if queue.causes.contains_key(*cause) {
                continue;
            }
            if queue.causes.len() >= MOST {
                // Makes room by forgetting the one seen longest ago that is no longer there.
                let oldest = queue
                    .causes
                    .iter()
                    .filter(|(known, _)| !present.contains(known))
                    .min_by_key(|(_, at)| **at)
                    .map(|(known, _)| Arc::clone(known));
                let Some(oldest) = oldest else {
                    break;
                };
                queue.causes.remove(&oldest);
            }
            queue
                .causes
                .insert(Arc::clone(cause), (!silent).then_some(now));
        }
    }

    /// Changes of a group's membership within the window; `None` before it was seen.
    pub(crate) fn rebalances(
        &self,
        place: &Place,
        window: Duration,
        now: UnixNanos,
    ) -> Option<u64> {
        let seen = self.memberships.get(place)?;
        let cutoff = now - window;
        let changes = seen
            .changes
            .iter()
            .filter(|at| **at > cutoff && **at <= now);
        seen.last.map(|_| changes.count() as u64)
    }

    /// Dead letters that arrived within the window; `None` unknown.
    pub(crate) fn arrived(&self, place: &Place, window: Duration, now: UnixNanos) -> Option<u64> {
        self.queues.get(place)?.arrived.within(window, now)
    }

    /// Causes first seen within the window, the newest first; `None` before the queue was read.
    pub(crate) fn new_causes(
        &self,
        place: &Place,
        window: Duration,
        now: UnixNanos,
    ) -> Option<Vec<Arc<str>>> {
        let queue = self.queues.get(place)?;
        let cutoff = now - window;
        let mut causes: Vec<(UnixNanos, &Arc<str>)> = queue
            .causes
            .iter()
            .filter_map(|(cause, at)| Some(((*at)?, cause)))
            .filter(|(at, _)| *at > cutoff)
            .collect();
        causes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        queue.causes_seeded.then(|| {
            causes
                .into_iter()
                .map(|(_, cause)| Arc::clone(cause))
                .collect()
        })
    }

    /// Spans refused within the window.
    pub(crate) fn refused(&self, window: Duration, now: UnixNanos) -> Option<u64> {
        self.refused.within(window, now)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
