//! A small Kafka that anything may happen to, and the samples a poller takes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::{
    GroupFacts, GroupMember, Known, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};
use proptest::prelude::*;

pub(crate) const CLUSTER: &str = "kafka";
pub(crate) const GROUPS: [&str; 2] = ["billing", "search"];
const TOPICS: [&str; 2] = ["orders", "payments"];
/// Partitions: the topic's place in [`TOPICS`], and the number.
const PLACES: [(usize, i32); 3] = [(0, 0), (0, 1), (1, 0)];

/// When the world begins.
const BEGIN: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

/// Something that happens between two polls.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// Records come, once.
    Produce { place: usize, records: i64 },
    /// Records come before every poll from now on.
    ProduceOn { place: usize, records: i64 },
    /// The clock of what produces there is so many seconds ahead from now on.
    Clock { place: usize, ahead: i64 },
    /// A group reads on, once.
    Consume {
        group: usize,
        place: usize,
        records: i64,
    },
    /// A group reads on before every poll from now on; 0 is a pause.
    ConsumeOn {
        group: usize,
        place: usize,
        records: i64,
    },
    /// The committed offset is set: per mille of what is kept, and more is past the end.
    Seek {
        group: usize,
        place: usize,
        permille: i64,
    },
    /// The committed offset is set.
    SeekTo {
        group: usize,
        place: usize,
        offset: i64,
    },
    /// The committed offset goes back.
    Back {
        group: usize,
        place: usize,
        records: i64,
    },
    /// There is no commit (any more), though the partition is assigned.
    NoCommit { group: usize, place: usize },
    /// The partition is neither assigned nor committed.
    Leave { group: usize, place: usize },
    /// The end is cut.
    Cut { place: usize, records: i64 },
    /// Retention deletes.
    Delete { place: usize, records: i64 },
    /// The partition is made anew with some records in it.
    Anew { place: usize, records: i64 },
    /// A transaction is opened at the end, or the open one is closed.
    Transaction { place: usize },
    /// The topic is deleted, or comes back empty.
    Topic { topic: usize },
    /// The topic's policy.
    Policy {
        topic: usize,
        retention_ms: Option<i64>,
        compacted: Option<bool>,
    },
    /// So many members; `None` cannot be told.
    Members { group: usize, count: Option<usize> },
    /// The group is deleted, or comes back with its commits.
    Group { group: usize },
}

/// What the next poll fails to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    End(usize),
    LogStart(usize),
    LastStable(usize),
    Commit(usize, usize),
    Group(usize),
}

/// How the engine is stopped and started before a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Restart {
    Postcard,
    Json,
}

/// One round: time passes, things happen, the cluster is polled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) pause: u64,
    pub(crate) happenings: Vec<Happening>,
    pub(crate) misses: Vec<Miss>,
    pub(crate) restart: Option<Restart>,
    /// The cluster cannot be reached.
    pub(crate) outage: bool,
    /// The ends were read before the committed offsets.
    pub(crate) race: bool,
    /// Answer what the engine asks of the past.
    pub(crate) seed: bool,
    /// Answer whether there is anything to read where a lag stands still.
    pub(crate) markers: Option<bool>,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (place, group, topic) = (0..PLACES.len(), 0..GROUPS.len(), 0..TOPICS.len());
    let both = (group.clone(), place.clone());
    prop_oneof![
        4 => (place.clone(), 1_i64..60).prop_map(|(place, records)| Happening::Produce { place, records }),
        6 => (place.clone(), prop_oneof![Just(0), 1_i64..40])
            .prop_map(|(place, records)| Happening::ProduceOn { place, records }),
        4 => (both.clone(), 1_i64..60)
            .prop_map(|((group, place), records)| Happening::Consume { group, place, records }),
        8 => (both.clone(), prop_oneof![Just(0), 1_i64..40])
            .prop_map(|((group, place), records)| Happening::ConsumeOn { group, place, records }),
        3 => (both.clone(), 0_i64..1_300)
            .prop_map(|((group, place), permille)| Happening::Seek { group, place, permille }),
        3 => (both.clone(), 1_i64..50)
            .prop_map(|((group, place), records)| Happening::Back { group, place, records }),
        1 => both.clone().prop_map(|(group, place)| Happening::NoCommit { group, place }),
        1 => both.prop_map(|(group, place)| Happening::Leave { group, place }),
        2 => (place.clone(), 1_i64..60).prop_map(|(place, records)| Happening::Cut { place, records }),
        2 => (place.clone(), 1_i64..150).prop_map(|(place, records)| Happening::Delete { place, records }),
        2 => (place.clone(), 0_i64..300).prop_map(|(place, records)| Happening::Anew { place, records }),
        2 => place.prop_map(|place| Happening::Transaction { place }),
        1 => topic.clone().prop_map(|topic| Happening::Topic { topic }),
        1 => (topic, prop::option::of(prop_oneof![Just(-1), 60_000_i64..3_600_000]), any::<Option<bool>>())
            .prop_map(|(topic, retention_ms, compacted)| Happening::Policy { topic, retention_ms, compacted }),
        3 => (group.clone(), prop::option::weighted(0.8, 0_usize..3))
            .prop_map(|(group, count)| Happening::Members { group, count }),
        1 => group.prop_map(|group| Happening::Group { group }),
    ]
}

fn miss() -> impl Strategy<Value = Miss> {
    let (place, group) = (0..PLACES.len(), 0..GROUPS.len());
    prop_oneof![
        place.clone().prop_map(Miss::End),
        place.clone().prop_map(Miss::LogStart),
        place.clone().prop_map(Miss::LastStable),
        (group.clone(), place).prop_map(|(group, place)| Miss::Commit(group, place)),
        group.prop_map(Miss::Group),
    ]
}

/// A round. Most are quiet: states that take a window to arise would never be reached otherwise.
pub(crate) fn round() -> impl Strategy<Value = Round> {
    let pause = prop_oneof![
        2 => Just(5_u64), 12 => Just(15), 4 => Just(30), 2 => 1_u64..70, 1 => 290_u64..420, 1 => 600_u64..5_000
    ];
    let happenings = prop_oneof![
        3 => Just(Vec::new()).boxed(),
        2 => prop::collection::vec(happening(), 1..4).boxed(),
    ];
    let misses = prop_oneof![
        8 => Just(Vec::new()).boxed(),
        1 => prop::collection::vec(miss(), 1..4).boxed(),
    ];
    let restart = prop_oneof![
        12 => Just(None), 1 => Just(Some(Restart::Postcard)), 1 => Just(Some(Restart::Json))
    ];
    let markers = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (
        pause,
        happenings,
        misses,
        restart,
        prop::bool::weighted(0.04),
        prop::bool::weighted(0.06),
        prop::bool::weighted(0.2),
        markers,
    )
        .prop_map(
            |(pause, happenings, misses, restart, outage, race, seed, markers)| Round {
                pause,
                happenings,
                misses,
                restart,
                outage,
                race,
                seed,
                markers,
            },
        )
}

#[derive(Clone, Debug)]
struct Log {
    start: i64,
    end: i64,
    /// Where an open transaction begins.
    open: Option<i64>,
    produce: i64,
    /// What was appended at once: its first offset, and its timestamp. What a broker's time index answers by.
    batches: Vec<(i64, UnixNanos)>,
    /// Seconds by which its producer's clock is ahead.
    ahead: i64,
}

impl Log {
    fn append(&mut self, records: i64, now: UnixNanos) {
        let stamp = now.0.saturating_add_signed(self.ahead * 1_000_000_000);
        if records > 0 {
            self.batches.push((self.end, UnixNanos(stamp)));
        }
        self.end += records;
    }

    /// The first record that is stamped then or later, as a broker's time index has it.
    fn first_stamped(&self, at: UnixNanos) -> Option<i64> {
        let ends = self.batches.iter().skip(1).map(|(first, _)| *first);
        let mut batches = self.batches.iter().zip(ends.chain([self.end]));
        batches
            .find(|((_, stamp), end)| *end > self.start && *stamp >= at)
            .map(|((first, _), _)| *first.max(&self.start))
    }
}

#[derive(Clone, Debug)]
struct Consumer {
    there: bool,
    members: Option<usize>,
    /// `None`: neither assigned nor committed.
    commits: [Option<Option<i64>>; PLACES.len()],
    pace: [i64; PLACES.len()],
}

#[derive(Clone, Debug)]
struct Topic {
    there: bool,
    retention_ms: Option<i64>,
    compacted: Option<bool>,
}

/// The cluster as it is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: UnixNanos,
    logs: [Log; PLACES.len()],
    groups: [Consumer; GROUPS.len()],
    topics: [Topic; TOPICS.len()],
}

fn reason(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn place(index: usize) -> TopicPartition {
    let (topic, partition) = PLACES[index];
    TopicPartition {
        topic: reason(TOPICS[topic]),
        partition,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let log = Log {
            start: 20,
            end: 200,
            open: None,
            produce: 0,
            batches: vec![(0, BEGIN - Duration::from_secs(86_400))],
            ahead: 0,
        };
        let consumer = Consumer {
            there: true,
            members: Some(1),
            commits: [Some(Some(150)); PLACES.len()],
            pace: [0; PLACES.len()],
        };
        let topic = Topic {
            there: true,
            retention_ms: Some(7 * 86_400_000),
            compacted: Some(false),
        };
        Self {
            now: BEGIN,
            logs: [log.clone(), log.clone(), log],
            groups: [consumer.clone(), consumer],
            topics: [topic.clone(), topic],
        }
    }

    /// Time passes, and things happen in it.
    pub(crate) fn pass(&mut self, round: &Round) {
        self.now = self.now + Duration::from_secs(round.pause);
        for happening in &round.happenings {
            self.happen(happening);
        }
        for log in &mut self.logs {
            log.append(log.produce, self.now);
        }
        for group in 0..GROUPS.len() {
            for place in 0..PLACES.len() {
                let pace = self.groups[group].pace[place];
                self.consume(group, place, pace);
            }
        }
    }

    /// The group reads all there is.
    pub(crate) fn read_everything(&mut self, group: usize) {
        for place in 0..PLACES.len() {
            self.groups[group].commits[place] = Some(Some(self.logs[place].end));
        }
    }

    fn consume(&mut self, group: usize, place: usize, records: i64) {
        let log = &self.logs[place];
        if records == 0 || !self.topics[PLACES[place].0].there {
            return;
        }
        if let Some(commit) = &mut self.groups[group].commits[place] {
            let from = commit.unwrap_or(log.start).max(log.start);
            *commit = Some((from + records).min(log.end));
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Produce { place, records } => self.logs[place].append(records, self.now),
            Happening::Clock { place, ahead } => self.logs[place].ahead = ahead,
            Happening::ProduceOn { place, records } => self.logs[place].produce = records,
            Happening::Consume {
                group,
                place,
                records,
            } => self.consume(group, place, records),
            Happening::ConsumeOn {
                group,
                place,
                records,
            } => self.groups[group].pace[place] = records,
            Happening::Seek {
                group,
                place,
                permille,
            } => {
                let log = &self.logs[place];
                let to = log.start + (log.end - log.start) * permille / 1_000;
                self.groups[group].commits[place] = Some(Some(to));
            }
            Happening::SeekTo {
                group,
                place,
                offset,
            } => self.groups[group].commits[place] = Some(Some(offset)),
            Happening::Back {
                group,
                place,
                records,
            } => {
                if let Some(Some(commit)) = &mut self.groups[group].commits[place] {
                    *commit = (*commit - records).max(0);
                }
            }
            Happening::NoCommit { group, place } => {
                self.groups[group].commits[place] = Some(None);
            }
            Happening::Leave { group, place } => self.groups[group].commits[place] = None,
            Happening::Cut { place, records } => {
                let log = &mut self.logs[place];
                log.end = (log.end - records).max(log.start);
                log.batches.retain(|(first, _)| *first < log.end);
                log.open = log.open.map(|open| open.min(log.end));
            }
            Happening::Delete { place, records } => {
                let log = &mut self.logs[place];
                log.start = (log.start + records).min(log.end);
                log.open = log.open.map(|open| open.max(log.start));
            }
            Happening::Anew { place, records } => self.anew(place, records),
            Happening::Transaction { place } => {
                let log = &mut self.logs[place];
                log.open = match log.open {
                    None => Some(log.end),
                    Some(_) => None,
                };
            }
            Happening::Topic { topic } => {
                self.topics[topic].there ^= true;
                for place in (0..PLACES.len()).filter(|&place| PLACES[place].0 == topic) {
                    self.anew(place, 0);
                }
            }
            Happening::Policy {
                topic,
                retention_ms,
                compacted,
            } => {
                self.topics[topic].retention_ms = retention_ms;
                self.topics[topic].compacted = compacted;
            }
            Happening::Members { group, count } => self.groups[group].members = count,
            Happening::Group { group } => self.groups[group].there ^= true,
        }
    }

    fn anew(&mut self, place: usize, records: i64) {
        let old = &self.logs[place];
        let mut log = Log {
            start: 0,
            end: 0,
            open: None,
            produce: old.produce,
            batches: Vec::new(),
            ahead: old.ahead,
        };
        log.append(records, self.now);
        self.logs[place] = log;
    }

    /// What the broker's time index says of a time: the first record stamped then or later, and where the log ends.
    pub(crate) fn index(&self, asked: &TopicPartition, at: UnixNanos) -> (Option<i64>, i64) {
        let index = (0..PLACES.len()).find(|&index| place(index) == *asked);
        let log = &self.logs[index.unwrap()];
        (log.first_stamped(at), log.end)
    }

    /// Polls.
    pub(crate) fn sample(&self, round: &Round) -> Sample {
        let unless = |missed: bool, value: i64| -> Known<i64> {
            if missed {
                Err(reason("the partition has no leader"))
            } else {
                Ok(value)
            }
        };
        let there = |index: usize| self.topics[PLACES[index].0].there;
        let partitions = (0..PLACES.len())
            .filter(|&index| there(index))
            .map(|index| {
                let log = &self.logs[index];
                let missed = |of: fn(usize) -> Miss| round.misses.contains(&of(index));
                let offsets = PartitionOffsets {
                    log_start: unless(missed(Miss::LogStart), log.start),
                    end: unless(missed(Miss::End), log.end),
                    last_stable: unless(missed(Miss::LastStable), log.open.unwrap_or(log.end)),
                    read_at: self.now,
                };
                (place(index), offsets)
            });
        let topics = (0..TOPICS.len()).filter(|&topic| self.topics[topic].there);
        let topics = topics.map(|topic| {
            let facts = TopicFacts {
                partitions: PLACES.iter().filter(|place| place.0 == topic).count() as u32,
                internal: false,
                retention_ms: self.topics[topic].retention_ms,
                compacted: self.topics[topic].compacted,
                dead_letter_enabled: false,
            };
            (reason(TOPICS[topic]), facts)
        });
        let groups = (0..GROUPS.len()).filter(|&group| self.groups[group].there);
        Sample {
            cluster: reason(CLUSTER),
            cluster_id: None,
            started: self.now,
            finished: self.now,
            brokers: Vec::new(),
            topics: topics.collect(),
            partitions: partitions.collect(),
            groups: groups
                .map(|group| (reason(GROUPS[group]), self.facts(group, round)))
                .collect(),
        }
    }

    fn facts(&self, index: usize, round: &Round) -> GroupFacts {
        let group = &self.groups[index];
        let mut committed: BTreeMap<TopicPartition, Known<Option<i64>>> = (0..PLACES.len())
            .filter_map(|place_| Some((place(place_), Ok(group.commits[place_]?))))
            .collect();
        let mut error = None;
        for miss in &round.misses {
            match *miss {
                Miss::Commit(of, at) if of == index => {
                    if let Some(commit) = committed.get_mut(&place(at)) {
                        *commit = Err(reason("Broker: Topic authorization failed"));
                    }
                }
                Miss::Group(of) if of == index => {
                    error = Some(reason("Broker: Group authorization failed"));
                }
                _ => {}
            }
        }
        if error.is_some() {
            committed.clear();
        }
        let assigned: Vec<TopicPartition> = committed.keys().cloned().collect();
        let members = group.members.map(|count| {
            let member = |member: usize| GroupMember {
                member_id: reason(&format!("member-{member}")),
                client_id: reason(GROUPS[index]),
                host: reason("/127.0.0.1"),
                // Every other partition each, so that two members share them.
                assignment: assigned
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| at % count == member)
                    .map(|(_, place)| place.clone())
                    .collect(),
            };
            (0..count).map(member).collect()
        });
        let little = Duration::from_millis(20);
        GroupFacts {
            broker_state: Ok(reason(if group.members == Some(0) {
                "Empty"
            } else {
                "Stable"
            })),
            kind: reason("classic"),
            members: members.ok_or_else(|| reason("Broker: Group authorization failed")),
            committed: committed.into(),
            error,
            read_at: if round.race {
                self.now + little
            } else {
                self.now - little
            },
        }
    }
}
