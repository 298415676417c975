//! A small world: a cluster, groups, and an engine with a clock that tests turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_alerts::{
    Alert, ClusterFacts, Engine, Facts, GroupFacts, Memory, Notice, NoticeKind, Options, Outcome,
    Phase, QueueFacts, Rule, RuleSpec,
};
use highwater_lag::{Bound, GroupLag, PartitionLag, Partitions, State, TimeLag, Why};
use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

pub(crate) const POLL: u64 = 15;

pub(crate) fn at(seconds: u64) -> UnixNanos {
    UnixNanos(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
}

pub(crate) fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

/// A rule from TOML, without its header.
pub(crate) fn rule(text: &str) -> Rule {
    Rule::from_spec(toml::from_str::<RuleSpec>(text).unwrap()).unwrap()
}

pub(crate) fn time_lag_rule() -> Rule {
    rule(
        "id = 'time-lag'\nwatch = 'time_lag'\nover = '1m'\nfor = '2m'\nclear_for = '5m'\nseverity = 'critical'",
    )
}

/// A group that is up to date.
pub(crate) fn lag(state: State) -> GroupLag {
    GroupLag {
        state,
        reason: format!("the group is {}.", state.as_str()),
        state_since: at(0),
        mark: Duration::from_secs(60),
        lag_messages: Some(0),
        lag_by_tools: Some(0),
        time_lag: exact(0),
        in_per_s: Some(1.0),
        out_per_s: Some(1.0),
        rate_from: None,
        drain: Some(Duration::ZERO),
        retention_left: None,
        retention_ms: Some(7 * 86_400_000),
        read_at: None,
        moved_at: None,
        topics: vec!["orders".into()],
        partitions_read: 0,
        partitions_total: Some(0),
        members: Some(1),
        broker_state: Some("Stable".into()),
        kind: "classic".into(),
        partitions: Partitions::default(),
    }
}

pub(crate) fn exact(seconds: u64) -> Option<TimeLag> {
    Some(TimeLag {
        duration: Duration::from_secs(seconds),
        bound: Bound::Exact,
    })
}

/// A group that is `seconds` behind.
pub(crate) fn behind(seconds: u64) -> GroupLag {
    GroupLag {
        lag_messages: Some(seconds * 62),
        time_lag: exact(seconds),
        drain: None,
        ..lag(State::Ok)
    }
}

/// A group of which nothing is known.
pub(crate) fn unknown() -> GroupLag {
    GroupLag {
        lag_messages: None,
        time_lag: None,
        drain: None,
        reason: "not authorised to read its offsets.".into(),
        ..lag(State::Unknown)
    }
}

/// A partition that is `seconds` behind and has a member.
pub(crate) fn partition(seconds: u64) -> PartitionLag {
    PartitionLag {
        state: State::Ok,
        committed: Some(0),
        log_start: Some(0),
        end: Some(0),
        last_stable: Some(0),
        member: Some("member-0".into()),
        lag_messages: Some(seconds * 62),
        lag_by_tools: Some(0),
        time_lag: exact(seconds),
        ..PartitionLag::unknown(Why::NoCommit, at(0))
    }
}

pub(crate) fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

/// A group of these partitions, with the figures that follow from them.
pub(crate) fn of_partitions(partitions: Vec<(TopicPartition, PartitionLag)>) -> GroupLag {
    let worst = partitions.iter().map(|(_, lag)| lag.state).min().unwrap();
    let mut topics: Vec<Arc<str>> = partitions
        .iter()
        .map(|(place, _)| Arc::clone(&place.topic))
        .collect();
    topics.dedup();
    GroupLag {
        lag_messages: partitions
            .iter()
            .filter_map(|(_, lag)| lag.lag_messages)
            .reduce(|a, b| a + b),
        time_lag: partitions
            .iter()
            .filter_map(|(_, lag)| lag.time_lag)
            .max_by_key(|time| time.duration),
        topics,
        partitions: Partitions::from(BTreeMap::from_iter(partitions)),
        drain: None,
        ..lag(worst)
    }
}

pub(crate) fn queue(topic: &str, arrived: u64, causes: &[&str]) -> QueueFacts {
    QueueFacts {
        cluster: "eu".into(),
        topic: topic.into(),
        groups: vec!["billing".into()],
        retained: Some(arrived),
        arrived_total: Some(arrived),
        per_hour: Some(0.0),
        oldest_at: None,
        causes: causes.iter().map(|cause| Arc::from(*cause)).collect(),
        read_at: Some(at(0)),
    }
}

/// An engine, its facts, and its clock.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) facts: Facts,
    pub(crate) now: u64,
}

impl World {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self::telling(rules, &["oncall"])
    }

    pub(crate) fn telling(rules: Vec<Rule>, channels: &[&str]) -> Self {
        let channels = channels.iter().map(|name| Arc::from(*name)).collect();
        let engine = Engine::new(rules, channels, Options::default(), Memory::default());
        let cluster = ClusterFacts {
            name: "eu".into(),
            environment: "prod".into(),
            unreachable: None,
            since: at(0),
            last_read: Some(at(0)),
        };
        let facts = Facts {
            clusters: vec![cluster],
            ..Facts::default()
        };
        Self {
            engine,
            facts,
            now: 0,
        }
    }

    /// The group stands so from now on.
    pub(crate) fn group(&mut self, name: &str, lag: GroupLag) {
        let facts = GroupFacts {
            cluster: "eu".into(),
            group: name.into(),
            services: vec!["billing-service".into()],
            lag: Arc::new(lag),
            membership: None,
        };
        self.facts.groups.retain(|known| &*known.group != name);
        self.facts.groups.push(facts);
    }

    pub(crate) fn gone(&mut self, name: &str) {
        self.facts.groups.retain(|known| &*known.group != name);
    }

    pub(crate) fn outage(&mut self) {
        self.facts.clusters[0].unreachable = Some("no broker answers".into());
        self.facts.clusters[0].since = at(self.now);
    }

    pub(crate) fn back(&mut self) {
        self.facts.clusters[0].unreachable = None;
        self.facts.clusters[0].since = at(self.now);
    }

    /// A poll later: the facts are read, and the engine steps.
    pub(crate) fn step(&mut self) -> Outcome {
        if self.facts.clusters[0].unreachable.is_none() {
            self.facts.clusters[0].last_read = Some(at(self.now));
        }
        let outcome = self.engine.step(&self.facts, at(self.now));
        self.now += POLL;
        outcome
    }

    /// Steps for so long, and gives everything that came.
    pub(crate) fn run(&mut self, seconds: u64) -> Outcome {
        let mut all = Outcome::default();
        for _ in 0..seconds / POLL {
            let outcome = self.step();
            all.events.extend(outcome.events);
            all.notices.extend(outcome.notices);
            all.not_kept += outcome.not_kept;
        }
        all
    }

    pub(crate) fn in_phase(&self, phase: Phase) -> Vec<&Alert> {
        self.engine
            .alerts()
            .filter(|alert| alert.phase == phase)
            .collect()
    }

    pub(crate) fn firing(&self) -> Vec<&Alert> {
        self.in_phase(Phase::Firing)
    }

    /// The rules' ids of what fires.
    pub(crate) fn firing_rules(&self) -> Vec<&str> {
        let mut rules: Vec<&str> = self.firing().iter().map(|alert| &*alert.rule).collect();
        rules.sort_unstable();
        rules
    }

    /// What JSON keeps is what goes on.
    pub(crate) fn restart(&mut self) {
        let json = serde_json::to_vec(self.engine.memory()).unwrap();
        let memory: Memory = serde_json::from_slice(&json).unwrap();
        assert_eq!(&memory, self.engine.memory());
        self.engine = Engine::new(
            self.engine.rules().to_vec(),
            vec!["oncall".into()],
            Options::default(),
            memory,
        );
    }
}

/// Channels and the number of alerts of these notices.
pub(crate) fn told(outcome: &Outcome, kind: NoticeKind) -> Vec<(&str, usize)> {
    let of_kind = |notice: &&Notice| notice.kind == kind;
    outcome
        .notices
        .iter()
        .filter(of_kind)
        .map(|notice| (&*notice.channel, notice.alerts.len()))
        .collect()
}
