//! What happened beside the figures: another version of a service, another membership of a group, offsets that went
//! back. Seen as spans and samples pass, kept in history, drawn beside a group's curve.
//!
//! What is named comes from outside, so all of it is bounded; a landmark that finds the store too slow is left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_api::landmark::{self, DEPLOYED, REBALANCED, REWOUND, VERSION};
use highwater_lag::{GroupLag, words};
use highwater_model::broker::{GroupMember, Sample};
use highwater_model::{ServiceKey, UnixNanos};
use highwater_store::{Landmark, Store};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

/// A version that was not seen for so long while another one was is deployed again when it comes back. A roll-out, in
/// which both are seen, takes less.
const GONE_AFTER: Duration = Duration::from_secs(10 * 60);
/// Services whose versions are followed.
const MOST_SERVICES: usize = 10_000;
/// Versions of one service that are told apart; what was seen longest ago goes.
const MOST_VERSIONS: usize = 32;
/// Bytes kept of a version: a commit's hash with a name before it has room.
const VERSION_BYTES: usize = 64;
/// Groups whose membership is followed.
const MOST_GROUPS: usize = 100_000;

/// A group's cluster and its name.
type GroupName = (Arc<str>, Arc<str>);
/// Groups as the lag engine has them.
type Groups = BTreeMap<GroupName, Arc<GroupLag>>;

/// Sees what is worth a mark, and hands it to the history.
#[derive(Debug)]
pub(super) struct Landmarks {
    versions: Mutex<Versions>,
    memberships: Mutex<HashMap<GroupName, Membership>>,
    kept: mpsc::Sender<Vec<Landmark>>,
}

/// Who was a member when a group was last settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Membership {
    members: usize,
    fingerprint: u64,
}

impl Landmarks {
    /// Remembers the versions that history knows, and keeps what comes from now on.
    pub(super) async fn open(store: &Store, now: UnixNanos) -> anyhow::Result<Self> {
        let known = store.history().landmarks_of([VERSION, DEPLOYED]).await?;
        let mut versions = Versions::default();
        for landmark in known {
            // As if seen a moment ago: how long nobody looked tells nothing.
            versions.remember(landmark.subject, landmark.text.into(), now);
        }
        let (kept, mut coming) = mpsc::channel::<Vec<Landmark>>(64);
        let store = store.clone();
        tokio::spawn(async move {
            while let Some(landmarks) = coming.recv().await {
                if let Err(error) = store.history().add_landmarks(&landmarks).await {
                    tracing::error!(%error, "landmarks could not be written; figures are not affected");
                }
            }
        });
        Ok(Self {
            versions: Mutex::new(versions),
            memberships: Mutex::default(),
            kept,
        })
    }

    /// Takes the versions that a request names.
    pub(super) fn note_releases(&self, releases: &[(ServiceKey, Arc<str>)], now: UnixNanos) {
        if releases.is_empty() {
            return;
        }
        let mut versions = self.versions.lock();
        let seen = releases
            .iter()
            .filter_map(|(service, version)| versions.note(service, version, now))
            .collect();
        drop(versions);
        self.keep(seen);
    }

    /// Takes a sample and what it made of its cluster's groups.
    pub(super) fn note_sample(&self, sample: &Sample, groups: &Groups, now: UnixNanos) {
        let mut seen = self.rebalances(sample, now);
        for ((cluster, name), group) in groups {
            if *cluster == sample.cluster
                && let Some((at, text)) = went_back(group)
            {
                seen.push(Landmark {
                    subject: landmark::of_group(cluster, name),
                    at,
                    kind: REWOUND.to_owned(),
                    text,
                });
            }
        }
        self.keep(seen);
    }

    fn rebalances(&self, sample: &Sample, now: UnixNanos) -> Vec<Landmark> {
        let mut memberships = self.memberships.lock();
        memberships.retain(|(cluster, name), _| {
            *cluster != sample.cluster || sample.groups.contains_key(name)
        });
        let mut seen = Vec::new();
        for (name, facts) in &sample.groups {
            // In the middle of a rebalance nothing is assigned: it is over once the group is settled again.
            let settled = matches!(facts.broker_state.as_deref(), Ok("Stable" | "Empty"));
            let (true, Ok(members)) = (settled, &facts.members) else {
                continue;
            };
            let key = (Arc::clone(&sample.cluster), Arc::clone(name));
            if memberships.len() >= MOST_GROUPS && !memberships.contains_key(&key) {
                continue;
            }
            let is = Membership {
                members: members.len(),
                fingerprint: membership(members),
            };
            if let Some(was) = memberships.insert(key, is)
                && was != is
            {
                seen.push(Landmark {
                    subject: landmark::of_group(&sample.cluster, name),
                    at: now,
                    kind: REBALANCED.to_owned(),
                    text: rebalanced(was.members, is.members),
                });
            }
        }
        seen
    }

    fn keep(&self, landmarks: Vec<Landmark>) {
        if !landmarks.is_empty() && self.kept.try_send(landmarks).is_err() {
            tracing::warn!("the store is too slow: landmarks of one reading are left out");
        }
    }
}

/// Says how many members a group has after a rebalance: `3 members, 2 before`.
fn rebalanced(was: usize, is: usize) -> String {
    let members = match is {
        0 => "no members".to_owned(),
        is => words::plural(is as u64, "member"),
    };
    if was == is {
        format!("{members}, partitions moved")
    } else {
        format!("{members}, {was} before")
    }
}

/// Says when and by how much committed offsets were seen to go back by the newest reading; `None` when they did not.
fn went_back(group: &GroupLag) -> Option<(UnixNanos, String)> {
    let (mut newest, mut messages, mut partitions) = (None, 0_u64, 0_u64);
    for lag in group.partitions.values() {
        if let Some(rewound) = lag.rewound
            && Some(rewound.at) == lag.read_at
        {
            newest = newest.max(Some(rewound.at));
            messages = messages.saturating_add(rewound.messages);
            partitions += 1;
        }
    }
    let text = format!(
        "{} back on {}",
        words::messages(messages),
        words::plural(partitions, "partition")
    );
    newest.map(|at| (at, text))
}

/// A hash of who is a member and reads what: it changes with every rebalance that changes something.
pub(super) fn membership(members: &[GroupMember]) -> u64 {
    let mut members: Vec<&GroupMember> = members.iter().collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    let mut hash = Xxh3::new();
    for member in members {
        hash.update(member.member_id.as_bytes());
        hash.update(&[0xff]);
        let mut assigned: Vec<_> = member.assignment.iter().collect();
        assigned.sort();
        for place in assigned {
            hash.update(place.topic.as_bytes());
            hash.update(&place.partition.to_be_bytes());
        }
        hash.update(&[0xfe]);
    }
    hash.digest()
}

/// When each version of each service was last seen.
#[derive(Debug, Default)]
struct Versions(HashMap<String, HashMap<Arc<str>, UnixNanos>>);

impl Versions {
    fn remember(&mut self, service: String, version: Arc<str>, now: UnixNanos) {
        if self.0.len() < MOST_SERVICES || self.0.contains_key(&service) {
            self.0.entry(service).or_default().insert(version, now);
        }
    }

    /// Notes that a service runs a version; a landmark when that is news.
    fn note(&mut self, service: &ServiceKey, version: &str, now: UnixNanos) -> Option<Landmark> {
        let version = version.get(..version.floor_char_boundary(VERSION_BYTES))?;
        let subject = landmark::of_service(&service.environment, &service.name);
        let news = |kind: &str, subject: String| {
            Some(Landmark {
                subject,
                at: now,
                kind: kind.to_owned(),
                text: version.to_owned(),
            })
        };
        let Some(known) = self.0.get_mut(&subject) else {
            if self.0.len() >= MOST_SERVICES {
                return None;
            }
            self.remember(subject.clone(), version.into(), now);
            // Nobody knows how long it has been running: no deploy, but to be known after a restart.
            return news(VERSION, subject);
        };
        let last = known.get(version).copied();
        let newest = known.values().copied().max();
        let gone = last.is_some_and(|last| {
            now.since(last) > GONE_AFTER.as_nanos() as u64 && newest.is_some_and(|at| at > last)
        });
        if last.is_none() && known.len() >= MOST_VERSIONS {
            let oldest = known.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(version, _)| Arc::clone(version)) {
                known.remove(&oldest);
            }
        }
        match known.get_mut(version) {
            Some(last) => *last = now,
            None => {
                known.insert(version.into(), now);
            }
        }
        if last.is_none() || gone {
            return news(DEPLOYED, subject);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceKey {
        ServiceKey {
            environment: "prod".into(),
            namespace: "shop".into(),
            name: "billing".into(),
        }
    }

    fn minute(minutes: u64) -> UnixNanos {
        UnixNanos(minutes * 60_000_000_000)
    }

    fn kind(noted: Option<Landmark>) -> Option<String> {
        noted.map(|landmark| landmark.kind)
    }

    #[test]
    fn another_version_is_a_deploy_and_the_first_one_is_none() {
        let mut versions = Versions::default();
        let mut note = |version, minutes| kind(versions.note(&service(), version, minute(minutes)));
        assert_eq!(note("4.17.0", 1).as_deref(), Some(VERSION));
        assert_eq!(note("4.17.0", 2), None);
        assert_eq!(note("4.18.0", 3).as_deref(), Some(DEPLOYED));
        // A roll-out: both are there.
        assert_eq!(note("4.17.0", 4), None);
        assert_eq!(note("4.18.0", 5), None);
        // Back to the old one, an hour later.
        assert_eq!(note("4.18.0", 60), None);
        assert_eq!(note("4.17.0", 65).as_deref(), Some(DEPLOYED));
        // A service that was silent is not deployed by going on.
        assert_eq!(note("4.17.0", 600), None);
    }

    #[test]
    fn versions_from_outside_stay_bounded() {
        let mut versions = Versions::default();
        for number in 0..1_000 {
            let version = format!("{number:0>200}");
            let noted = versions.note(&service(), &version, minute(number));
            assert!(noted.is_none_or(|landmark| landmark.text.len() <= VERSION_BYTES));
        }
        for number in 0..1_000 {
            versions.note(&service(), &format!("v{number}"), minute(number));
        }
        assert_eq!(versions.0.len(), 1);
        assert!(
            versions
                .0
                .values()
                .all(|known| known.len() <= MOST_VERSIONS)
        );
    }

    #[test]
    fn what_a_rebalance_changed_is_said() {
        assert_eq!(rebalanced(2, 3), "3\u{a0}members, 2 before");
        assert_eq!(rebalanced(2, 0), "no members, 2 before");
        assert_eq!(rebalanced(2, 2), "2\u{a0}members, partitions moved");
    }
}
