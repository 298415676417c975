//! Every rule of lag that samples alone can show, named after the fact.
#![allow(clippy::unwrap_used, reason = "tests panic on surprise")]

mod ages;
mod clocks;
mod motion;
mod offsets;
mod restarts;
mod topics;
mod transactions;
mod unseen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{Config, GroupLag, LagEngine, MarkerQuestion, PartitionLag};
use highwater_model::UnixNanos;
use highwater_model::broker::{
    Committed, GroupFacts, GroupMember, Known, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};

const POLL: u64 = 15;

fn at(seconds: u64) -> UnixNanos {
    UnixNanos(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

/// One partition of one group in one sample.
#[derive(Clone)]
struct Row {
    place: TopicPartition,
    committed: Known<Option<i64>>,
    log_start: Known<i64>,
    last_stable: Option<Known<i64>>,
    end: Known<i64>,
}

fn row(partition: i32, committed: i64, end: i64) -> Row {
    Row {
        place: place("orders", partition),
        committed: Ok(Some(committed)),
        log_start: Ok(0),
        last_stable: None,
        end: Ok(end),
    }
}

/// As [`row`], of a group that has not committed.
fn uncommitted(partition: i32, end: i64) -> Row {
    Row {
        committed: Ok(None),
        ..row(partition, 0, end)
    }
}

impl Row {
    /// The log was cut up to there.
    fn kept_from(self, log_start: i64) -> Self {
        Self {
            log_start: Ok(log_start),
            ..self
        }
    }

    /// Behind that offset a transaction is open.
    fn stable_to(self, offset: i64) -> Self {
        Self {
            last_stable: Some(Ok(offset)),
            ..self
        }
    }

    fn without_a_leader(self) -> Self {
        Self {
            end: Err(reason("the partition has no leader")),
            ..self
        }
    }
}

fn reason(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// A cluster with one group, `billing`, that has one member.
struct Bench {
    engine: LagEngine,
    now: u64,
    members: usize,
    retention_ms: Option<i64>,
    compacted: Option<bool>,
    ends_read_early: bool,
    error: Option<Arc<str>>,
    partitions: u32,
    topics: Vec<&'static str>,
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: LagEngine::new(Config::default()),
            now: 0,
            members: 1,
            retention_ms: Some(7 * 86_400_000),
            compacted: Some(false),
            ends_read_early: false,
            error: None,
            partitions: 1,
            topics: vec!["orders"],
        }
    }

    fn sample(&self, rows: &[Row]) -> Sample {
        let read_at = at(self.now);
        let topics = self.topics.iter().map(|topic| {
            let facts = TopicFacts {
                partitions: self.partitions,
                internal: false,
                retention_ms: self.retention_ms,
                compacted: self.compacted,
                dead_letter_enabled: false,
            };
            (Arc::from(*topic), facts)
        });
        let partitions = rows
            .iter()
            .filter(|row| self.topics.contains(&&*row.place.topic))
            .map(|row| {
                let offsets = PartitionOffsets {
                    log_start: row.log_start.clone(),
                    end: row.end.clone(),
                    last_stable: row.last_stable.clone().unwrap_or_else(|| row.end.clone()),
                    read_at,
                };
                (row.place.clone(), offsets)
            });
        let member = |index: usize| GroupMember {
            member_id: Arc::from(format!("member-{index}")),
            client_id: Arc::from("billing"),
            host: Arc::from("/127.0.0.1"),
            assignment: rows
                .iter()
                .filter(|_| index == 0)
                .map(|row| row.place.clone())
                .collect(),
        };
        let before = if self.ends_read_early {
            Duration::ZERO
        } else {
            Duration::from_millis(20)
        };
        let group = GroupFacts {
            broker_state: Ok(reason(if self.members == 0 { "Empty" } else { "Stable" })),
            kind: reason("classic"),
            members: Ok((0..self.members).map(member).collect()),
            committed: if self.error.is_some() {
                Committed::default()
            } else {
                rows.iter()
                    .map(|row| (row.place.clone(), row.committed.clone()))
                    .collect()
            },
            error: self.error.clone(),
            read_at: if self.ends_read_early {
                read_at + Duration::from_millis(20)
            } else {
                read_at - before
            },
        };
        Sample {
            cluster: reason("kafka"),
            cluster_id: None,
            started: read_at,
            finished: read_at,
            brokers: Vec::new(),
            topics: topics.collect(),
            partitions: partitions.collect(),
            groups: BTreeMap::from([(reason("billing"), group)]),
        }
    }

    /// Polls once and goes on by an interval.
    fn poll(&mut self, rows: &[Row]) -> GroupLag {
        let sample = self.sample(rows);
        self.engine.step(&sample, at(self.now));
        self.now += POLL;
        self.group()
    }

    /// Polls `times`, with rows made from the count of polls.
    fn polls(&mut self, times: i64, rows: impl Fn(i64) -> Vec<Row>) -> GroupLag {
        for index in 0..times {
            self.poll(&rows(index));
        }
        self.group()
    }

    /// Nobody can reach the cluster at that time.
    fn lose(&mut self, reason: &str, at: UnixNanos) {
        self.engine.cluster_lost("kafka", reason, at);
    }

    /// What the engine wants to know of the past.
    fn questions(&mut self) -> Vec<(TopicPartition, UnixNanos)> {
        self.engine.questions("kafka", at(self.now))
    }

    /// Where the engine wants a bounded read.
    fn marker_questions(&self) -> Vec<MarkerQuestion> {
        self.engine.marker_questions(at(self.now), usize::MAX)
    }

    /// Answers the one question for a bounded read.
    fn answer_marker(&mut self, first_readable: Option<i64>, end: i64) {
        let questions = self.marker_questions();
        assert_eq!(questions.len(), 1, "{questions:?}");
        self.engine
            .answer_marker(&questions[0], first_readable, end);
    }

    fn restart(&mut self) {
        let kept = serde_json::to_string(self.engine.checkpoint()).unwrap();
        self.engine = LagEngine::restore(Config::default(), serde_json::from_str(&kept).unwrap());
    }

    fn group(&self) -> GroupLag {
        self.engine.groups()[&(reason("kafka"), reason("billing"))]
            .as_ref()
            .clone()
    }
}

fn only(group: &GroupLag) -> PartitionLag {
    assert_eq!(group.partitions.len(), 1);
    let (_, lag) = group.partitions.iter().next().unwrap();
    lag
}

/// With ordinary spaces, as a person would type it.
fn said(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

#[track_caller]
fn assert_begins(reason: &str, words: &str) {
    assert!(said(reason).starts_with(words), "{reason}");
}
