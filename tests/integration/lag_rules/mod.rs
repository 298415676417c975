//! The rules of lag on a real Apache Kafka, each named after the fact it shows.
//!
//! What samples alone can show is in the lag room's own tests; here a broker, its clients and its own tools do what the
//! rule is about, and the probe and the engine look on.

mod ages;
mod groups;
mod load;
mod offsets;
mod topics;
mod unseen;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use highwater_brokers::{KafkaProbe, ProbeError};
use highwater_lag::{Bound, Config, GroupLag, LagEngine, PartitionLag, State};

use crate::kafka_clients::{PATIENCE, Scene, group, now, seed};

/// A window that a test can wait for.
const WINDOW: Duration = Duration::from_secs(4);
/// Between two polls.
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds of questions after one sample, as the poller has them.
const QUESTION_ROUNDS: usize = 8;

/// One group, watched as the product watches it: poll, judge, ask the broker's time index what the engine wants to know.
struct Watch {
    probe: KafkaProbe,
    engine: LagEngine,
    group: String,
    /// Every state that any partition of the group was in, with the first sentence that said so.
    states: BTreeMap<State, String>,
    /// Every way back that was told.
    rewinds: BTreeSet<u64>,
}

impl Watch {
    fn new(scene: &Scene) -> Self {
        Self::over(scene, WINDOW)
    }

    fn over(scene: &Scene, window: Duration) -> Self {
        Self::with(scene.probe(), scene, window)
    }

    fn with(probe: KafkaProbe, scene: &Scene, window: Duration) -> Self {
        Self {
            probe,
            engine: LagEngine::new(Config {
                window,
                exact_gap: Duration::from_secs(1),
                ..Config::default()
            }),
            group: scene.group.clone(),
            states: BTreeMap::new(),
            rewinds: BTreeSet::new(),
        }
    }

    /// Polls once. `None`: the cluster has no such group.
    fn poll(&mut self) -> Result<Option<GroupLag>, ProbeError> {
        let sample = self.probe.poll(now())?;
        self.engine.step(&sample, sample.finished);
        for _ in 0..QUESTION_ROUNDS {
            let mut questions = self.engine.questions("kafka", sample.finished);
            // The broker is shared: what other tests' groups make the engine ask is theirs to wait for.
            questions.retain(|(partition, _)| {
                let committed = sample.groups.get(self.group.as_str());
                committed.is_some_and(|group| group.committed.contains(partition))
            });
            if questions.is_empty() {
                break;
            }
            let ends = self.probe.offsets_at_times(&questions)?;
            seed(&mut self.engine, "kafka", ends);
        }
        if !sample.groups.contains_key(self.group.as_str()) {
            return Ok(None);
        }
        let group = group(&self.engine, &self.group);
        for (place, lag) in group.partitions.iter() {
            self.states
                .entry(lag.state)
                .or_insert_with(|| format!("{} {:#?}", lag.reason(&self.group, &place), group));
            self.rewinds.extend(lag.rewound.map(|way| way.messages));
            assert!(
                matches!(lag.state, State::Ok | State::DataLoss | State::Rewound)
                    || lag.lag_messages != Some(0),
                "a lag that is not known is never 0: {lag:?}"
            );
        }
        Ok(Some(group))
    }

    /// Polls until the group is as awaited.
    fn until(&mut self, what: &str, done: impl Fn(&GroupLag) -> bool) -> GroupLag {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.poll() {
                Ok(Some(group)) if done(&group) => return group,
                other => assert!(Instant::now() < deadline, "waiting for {what}: {other:#?}"),
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Goes on polling while something is done: a tool may take longer than the window, and what nobody looks at for so
    /// long cannot be told.
    fn during(&mut self, work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            while !work.is_finished() {
                self.poll().unwrap();
                std::thread::park_timeout(PAUSE);
            }
        });
    }

    /// Polls until the cluster has no such group any more.
    fn until_gone(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(group) = self.poll().unwrap() {
            assert!(Instant::now() < deadline, "still there: {group:#?}");
            std::thread::park_timeout(PAUSE);
        }
    }

    /// No partition was ever in another state than these.
    fn was_only(&self, allowed: &[State]) {
        let mut other = self.states.clone();
        other.retain(|state, _| !allowed.contains(state));
        assert!(other.is_empty(), "{other:?}");
    }
}

/// The group's only partition.
fn only(group: &GroupLag) -> PartitionLag {
    assert_eq!(group.partitions.len(), 1, "{group:#?}");
    group.partitions.values().next().unwrap()
}

/// With ordinary spaces, as a person would type it.
fn said(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

#[track_caller]
fn assert_begins(reason: &str, words: &str) {
    assert!(said(reason).starts_with(words), "{reason}");
}

/// The group's age, once the broker's word on the past has made it exact.
fn exact_age(group: &GroupLag) -> Option<Duration> {
    let exact = group.time_lag.filter(|time| time.bound == Bound::Exact);
    exact.map(|time| time.duration)
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}
