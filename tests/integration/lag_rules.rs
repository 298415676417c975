//! The rules of lag on a real Apache Kafka, each named after the fact it shows.
//!
//! What samples alone can show is in the lag room's own tests; here a broker, its clients and its own tools do what the
//! rule is about, and the probe and the engine look on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use highwater_brokers::{
    KafkaConfig, KafkaProbe, Poller, PollerEvent, PollerOptions, ProbeError, Questions,
};
use highwater_lag::{Bound, Config, GroupLag, LagEngine, PartitionLag, State};
use highwater_tests::kafka::{self, Kafka, tools};
use highwater_tests::oracle::{self, Place, Reading};
use rdkafka::producer::{BaseRecord, Producer};

use crate::kafka_clients::{Background, PATIENCE, Scene, group, marker_question, now, seed};

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
                committed.is_some_and(|group| group.committed.contains_key(partition))
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
        for lag in group.partitions.values() {
            self.states
                .entry(lag.state)
                .or_insert_with(|| format!("{} {:#?}", lag.reason, group));
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
fn only(group: &GroupLag) -> &PartitionLag {
    assert_eq!(group.partitions.len(), 1, "{group:#?}");
    group.partitions.values().next().unwrap()
}

/// With ordinary spaces, as a person would type it.
fn said(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

/// The group's age, once the broker's word on the past has made it exact.
fn exact_age(group: &GroupLag) -> Option<Duration> {
    let exact = group.time_lag.filter(|time| time.bound == Bound::Exact);
    exact.map(|time| time.duration)
}

#[test]
fn added_partitions_are_told_as_not_read_and_count_once_they_are_assigned_or_committed() {
    let scene = Scene::shared("grown", 2, "growing");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 10), (1, 10)]);
    let _member = scene.read("classic", 2);
    let by_hand = scene.of_group("by-hand");
    by_hand.commit(&[(0, 10), (1, 10)]);

    let mut watch = Watch::new(&scene);
    let whole = watch.until("both partitions read", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(0))
    });
    assert_eq!(whole.partitions_total, Some(2));
    assert!(!whole.reason.contains("partitions read"), "{whole:?}");

    scene.add_partitions(4);
    let part = watch.until("the new partitions", |group| {
        group.partitions_total == Some(4)
    });
    assert_eq!((part.partitions_read, part.state), (2, State::Ok));
    assert_eq!(
        said(&part.reason),
        format!("{name} is up to date on {topic}; 2 of 4 partitions read.")
    );
    let assigned = watch.until("their assignment", |group| group.partitions.len() == 4);
    let new = &assigned.partitions[&scene.place(3)];
    assert_eq!((new.state, new.committed), (State::Ok, None));
    assert!(new.member.is_some());
    scene.produce(&[(2, 5), (3, 5)]);
    let read = watch.until("four partitions read", |group| {
        (group.partitions_read, group.lag_messages) == (4, Some(0))
    });
    assert_eq!(
        said(&read.reason),
        format!("{name} is up to date on {topic}.")
    );
    // Between its assignment and its first commit, a partition has no commit: that is said, and is no alarm.
    watch.was_only(&[State::Ok, State::NoCommit]);

    // A group without members, whose partitions are those it has commits on.
    let mut watch = Watch::new(&by_hand);
    let part = watch.until("the group", |_| true);
    assert_eq!(
        (part.partitions_read, part.partitions_total),
        (2, Some(4)),
        "{part:#?}"
    );
    by_hand.commit(&[(2, 5)]);
    watch.until("the third partition", |group| group.partitions_read == 3);
    watch.was_only(&[State::Ok]);
}

#[test]
fn a_reset_backwards_is_told_with_its_width_until_the_window_has_passed() {
    let scene = Scene::shared("reset", 1, "resetter");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 100)]);
    let mut watch = Watch::new(&scene);
    watch.until("no lag", |group| group.lag_messages == Some(0));

    scene.reset(&["--to-offset", "40"]);
    let back = watch.until("the reset", |group| group.lag_messages == Some(60));
    let lag = only(&back);
    assert_eq!(
        (lag.state, lag.rewound.unwrap().messages),
        (State::Rewound, 60)
    );
    assert!(
        said(&lag.reason).starts_with(&format!("{name} went back by 60 messages on {topic}/0")),
        "{}",
        lag.reason
    );

    let member = scene.read("classic", 1);
    let again = watch.until("what was read again", |group| group.lag_messages == Some(0));
    assert_eq!(again.state, State::Ok, "{}", again.reason);
    let over = watch.until("the window's end", |group| only(group).rewound.is_none());
    assert_eq!(
        (over.state, over.reason),
        (State::Ok, format!("{name} is up to date on {topic}/0."))
    );
    drop(member);
    watch.was_only(&[State::Ok, State::Rewound]);
    assert_eq!(watch.rewinds, BTreeSet::from([60]));
}

#[test]
fn a_reset_forwards_is_no_rewind_and_no_alarm() {
    let scene = Scene::shared("skipped", 1, "skipper");
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 20)]);
    let mut watch = Watch::new(&scene);
    watch.until("the lag", |group| group.lag_messages == Some(80));
    // A group without members that owes messages is stopped from its first sample on; what counts is what comes then.
    watch.was_only(&[State::Ok, State::Stopped]);
    watch.states.clear();

    scene.reset(&["--shift-by", "50"]);
    let ahead = watch.until("the reset", |group| group.lag_messages == Some(30));
    assert_eq!((ahead.state, only(&ahead).rewound), (State::Ok, None));
    watch.states.clear();
    scene.reset(&["--to-latest"]);
    watch.until("the second reset", |group| group.lag_messages == Some(0));
    let later = Instant::now() + WINDOW;
    let still = watch.until("a window without an alarm", |_| Instant::now() > later);
    assert_eq!((still.state, still.lag_by_tools), (State::Ok, Some(0)));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn a_group_that_moves_to_the_consumer_protocol_goes_on_under_its_name() {
    let scene = Scene::shared("moved", 2, "mover");
    scene.produce(&[(0, 100), (1, 100)]);
    let classic = scene.read("classic", 2);
    // Members of the new protocol hear of their assignment by heartbeats, five seconds apart: what is called standing
    // still has to be longer.
    let mut watch = Watch::over(&scene, WINDOW * 5);
    let before = watch.until("the classic group at work", |group| {
        (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    assert_eq!(&*before.kind, "classic");

    // The new member comes while the old one is there, as one instance after the other is replaced.
    let modern = scene.read("consumer", 1);
    let both = watch.until("both members", |group| group.members == Some(2));
    assert_eq!(&*both.kind, "consumer");
    drop(classic);
    scene.produce(&[(0, 20), (1, 20)]);
    let after = watch.until("the new member alone, at work", |group| {
        let assigned = group.partitions.values().all(|lag| lag.member.is_some());
        assigned && (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    assert_eq!(&*after.kind, "consumer");
    assert_eq!(after.broker_state.as_deref(), Some("Stable"));
    assert_eq!(
        after.partitions[&scene.place(0)].committed,
        Some(120),
        "{after:#?}"
    );
    drop(modern);
    // A partition between two owners falls behind for a heartbeat; it is not stopped, and nothing goes back.
    watch.was_only(&[State::Ok, State::NoCommit, State::FallingBehind]);
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn an_empty_group_is_kept_with_its_lag_and_a_deleted_one_is_gone() {
    let scene = Scene::shared("left", 1, "leaver");
    let (_, name) = scene.names();
    scene.produce(&[(0, 30)]);
    let member = scene.read("classic", 1);
    let mut watch = Watch::new(&scene);
    watch.until("a group at work", |group| {
        (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    drop(member);
    let empty = watch.until("the empty group", |group| group.members == Some(0));
    assert_eq!(
        (
            empty.state,
            empty.lag_messages,
            empty.broker_state.as_deref()
        ),
        (State::Ok, Some(0), Some("Empty")),
        "it owes nothing"
    );
    scene.produce(&[(0, 5)]);
    let owing = watch.until("its lag", |group| group.lag_messages == Some(5));
    assert_eq!(owing.state, State::Stopped);
    assert!(
        said(&owing.reason).starts_with(&format!("{name} has no members and")),
        "{}",
        owing.reason
    );

    let delete = ["--delete", "--group", name];
    kafka::tool(&scene.bootstrap, tools::GROUPS, &delete).unwrap();
    watch.until_gone();
    let key = ("kafka".into(), name.into());
    assert!(!watch.engine.groups().contains_key(&key));
}

#[test]
fn a_group_with_members_and_without_a_commit_has_no_commit_and_no_lag_of_zero() {
    let scene = Scene::shared("silent", 1, "newcomer");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 7)]);
    let _member = scene.join("consumer", 1);
    let mut watch = Watch::new(&scene);
    let none = watch.until("its assignment", |group| !group.partitions.is_empty());
    let lag = only(&none);
    assert_eq!((none.state, none.lag_messages), (State::NoCommit, None));
    assert_eq!(
        (lag.committed, lag.lag_by_tools, lag.time_lag, lag.end),
        (None, None, None, Some(7))
    );
    assert_eq!((none.partitions_read, none.partitions_total), (0, Some(1)));
    assert_eq!(
        lag.reason,
        format!("{name} has no commit yet on {topic}/0.")
    );
    assert_eq!(scene.oracle_lag(), [None]);
}

#[test]
fn the_lag_on_a_compacted_topic_is_labelled_an_upper_bound() {
    let compacted = Scene::without_topic(kafka::shared(), "compacted", "keeper");
    let plain = compacted.of_topic("plain");
    for (scene, policy) in [(&compacted, "compact"), (&plain, "delete")] {
        scene.create_topic_with(1, &[("cleanup.policy", policy)]);
        scene.produce_keyed(50);
        scene.commit(&[(0, 10)]);
    }
    let mut watch = Watch::new(&compacted);
    let both = watch.until("both topics", |group| group.partitions.len() == 2);
    let (bound, exact) = (
        &both.partitions[&compacted.place(0)],
        &both.partitions[&plain.place(0)],
    );
    assert_eq!(
        (bound.lag_messages, exact.lag_messages),
        (Some(40), Some(40))
    );
    assert!(bound.lag_is_upper_bound && !exact.lag_is_upper_bound);
    // What compaction leaves out is no data loss, and its age is no matter of retention.
    assert_eq!((bound.lost_messages, bound.retention_left), (None, None));
    compacted.commit(&[(0, 50)]);
    let read = watch.until("the compacted topic read", |group| {
        group.partitions[&compacted.place(0)].lag_messages == Some(0)
    });
    assert!(!read.partitions[&compacted.place(0)].lag_is_upper_bound);
}

#[test]
fn a_topic_made_anew_leaves_committed_offsets_beyond_its_end_and_says_so() {
    let scene = Scene::shared("anew", 1, "survivor");
    let (topic, name) = scene.names();
    // The old topic's hundred records are ten hours old, and the first thirty are gone.
    let ages = std::iter::repeat_n(hours(10), 100);
    scene.produce_aged(ages);
    scene.delete_records(0, 30);
    scene.commit(&[(0, 90)]);
    let mut watch = Watch::new(&scene);
    let old = watch.until("the old topic's age", |group| {
        exact_age(group).is_some_and(|age| age > hours(9))
    });
    assert_eq!((old.lag_messages, old.lag_by_tools), (Some(10), Some(10)));

    // Between two polls: nobody saw that it was away.
    scene.delete_topic();
    scene.create_topic(1);
    let made = Instant::now();
    scene.produce(&[(0, 20)]);
    // A reader that did not notice commits where it thinks it is.
    scene.commit(&[(0, 100)]);
    let beyond = watch.until("the new end", |group| only(group).end == Some(20));
    let lag = only(&beyond);
    assert_eq!(
        (lag.state, lag.lag_messages, lag.lag_by_tools, lag.time_lag),
        (State::BeyondEnd, None, Some(-80), None)
    );
    assert_eq!(
        said(&lag.reason),
        format!(
            "{name} is 80 messages past the end of {topic}/0 (committed 100, end 20): the topic was made anew or cut, and what {name} reads next is up to its reset policy."
        )
    );
    assert_eq!(scene.oracle_lag(), [Some(-80)]);

    scene.reset(&["--to-offset", "5"]);
    let again = watch.until("the reset and its age", |group| {
        only(group).committed == Some(5) && exact_age(group).is_some()
    });
    assert_eq!(again.lag_messages, Some(15));
    // Nothing of the old topic's hours is left: its record is as old as the new topic at most.
    let age = again.time_lag.unwrap().duration;
    let oldest = made.elapsed() + Duration::from_secs(1);
    assert!(age <= oldest, "{age:?} of a topic that is {oldest:?} old");
    scene.reset(&["--to-latest"]);
    let fine = watch.until("the window's end", |group| {
        group.lag_messages == Some(0) && only(group).rewound.is_none()
    });
    assert_eq!(
        (fine.state, fine.lag_by_tools, only(&fine).lost_messages),
        (State::Ok, Some(0), None)
    );
}

#[test]
fn the_margin_of_retention_is_told_before_messages_are_lost_and_the_loss_is_counted_after() {
    let scene = Scene::without_topic(kafka::shared(), "short-lived", "laggard");
    let (topic, name) = scene.names();
    let retention = (hours(14).as_millis()).to_string();
    scene.create_topic_with(1, &[("retention.ms", &retention)]);
    // A record a minute for twenty hours: a segment goes as a whole, so that older ones are there yet.
    let minutes = (0..1_200).rev();
    scene.produce_aged(minutes.map(|minute| Duration::from_secs(minute * 60)));
    scene.commit(&[(0, 7 * 60)]);
    let mut watch = Watch::new(&scene);
    let warned = watch.until("the margin", |group| exact_age(group).is_some());
    let lag = only(&warned);
    let left = lag.retention_left.unwrap();
    assert!(
        left.abs_diff(hours(1)) < Duration::from_secs(2_400),
        "{left:?} of fourteen hours"
    );
    assert_eq!(warned.retention_left, lag.retention_left);
    assert!(
        warned.reason.contains("; unread messages are deleted in "),
        "{}",
        warned.reason
    );
    assert_eq!((lag.lag_messages, lag.lost_messages), (Some(780), None));

    scene.delete_records(0, 460);
    let lost = watch.until("the loss", |group| group.state == State::DataLoss);
    let lag = only(&lost);
    assert_eq!(
        (lag.lag_messages, lag.lost_messages, lag.lag_by_tools),
        (Some(740), Some(40), Some(780))
    );
    assert!(
        said(&lag.reason).starts_with(&format!("{name} lost 40 messages on {topic}/0")),
        "{}",
        lag.reason
    );
    assert_eq!(scene.oracle_lag(), [Some(780)]);

    scene.commit(&[(0, 1_200)]);
    let over = watch.until("the window's end", |group| group.state == State::Ok);
    assert_eq!((over.lag_messages, over.retention_left), (Some(0), None));
}

#[test]
fn a_commit_marker_behind_the_last_record_is_nothing_to_read() {
    let scene = Scene::shared("marked", 1, "precise");
    let transactional = scene.producer_in_transaction();
    scene.produce_by(&transactional, &[(0, 10)]);
    transactional.commit_transaction(PATIENCE).unwrap();
    // Ten records, one marker: the reader has read all there is.
    scene.commit(&[(0, 10)]);
    let mut watch = Watch::new(&scene);
    let question = marker_question(&scene, || {
        watch.until("the marker", |group| only(group).end == Some(11));
        watch.engine.marker_questions(now(), usize::MAX)
    });
    let (first, end) = scene
        .records()
        .first_readable(&scene.topic, 0, question.committed, PATIENCE)
        .unwrap();
    assert_eq!((first, end), (None, 11));
    watch.engine.answer_marker(&question, first, end);
    let known = watch.until("the answer", |group| group.lag_messages == Some(0));
    assert_eq!((known.state, known.lag_by_tools), (State::Ok, Some(1)));
    assert!(only(&known).nothing_readable);
    assert_eq!(scene.oracle_lag(), [Some(1)]);
}

/// Some 1,500 messages a second until dropped, evenly over a topic's partitions.
fn load(scene: &Scene, partitions: i32) -> Background {
    const EVERY: Duration = Duration::from_millis(20);
    const AT_ONCE: usize = 30;
    let (topic, producer) = (scene.topic.clone(), scene.producer());
    Background::start(move |stop| {
        let mut partitions = (0..partitions).cycle();
        while !stop.load(Ordering::Relaxed) {
            for partition in partitions.by_ref().take(AT_ONCE) {
                let record = BaseRecord::<str, str>::to(&topic)
                    .partition(partition)
                    .payload("x");
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.poll(Duration::ZERO);
            std::thread::park_timeout(EVERY);
        }
        producer.flush(PATIENCE).unwrap();
    })
}

#[test]
fn under_load_lag_by_tools_lies_within_two_readings_of_kafkas_own_tool() {
    const PARTITIONS: usize = 4;
    const ROUNDS: usize = 4;
    let scene = Scene::shared("load", PARTITIONS as i32, "worker");
    let _load = load(&scene, PARTITIONS as i32);
    let _member = scene.read("classic", PARTITIONS);
    let mut watch = Watch::new(&scene);
    let begun = Instant::now();
    let first = watch.until("commits on every partition", |group| {
        group.partitions_read == PARTITIONS as u32
    });
    let read = || -> BTreeMap<Place, Reading> {
        oracle::offsets(&scene.bootstrap, &["--group", &scene.group]).unwrap()
    };
    let mut before = read();
    let mut widest = 0;
    for round in 1..=ROUNDS {
        let ours = watch.poll().unwrap().unwrap();
        let after = read();
        for (place, lag) in &ours.partitions {
            let key = (scene.group.clone(), scene.topic.clone(), place.partition);
            let ((committed, end), (committed_after, end_after)) =
                (before[&key].known(), after[&key].known());
            let (our_committed, our_end) = (lag.committed.unwrap(), lag.end.unwrap());
            assert!(
                (committed..=committed_after).contains(&our_committed),
                "committed {our_committed}, not within {committed} and {committed_after}"
            );
            assert!(
                (end..=end_after).contains(&our_end),
                "end {our_end}, not within {end} and {end_after}"
            );
            let by_tools = lag.lag_by_tools.unwrap();
            assert_eq!(by_tools, our_end - our_committed);
            let bounds = (end - committed_after)..=(end_after - committed);
            assert!(bounds.contains(&by_tools), "{by_tools} not in {bounds:?}");
            widest = widest.max(bounds.end() - bounds.start());
            eprintln!(
                "round {round}, partition {}: committed {committed} <= {our_committed} <= {committed_after}, end {end} <= {our_end} <= {end_after}, lag by tools {by_tools} in {bounds:?}",
                place.partition
            );
        }
        assert_eq!(ours.partitions.len(), PARTITIONS);
        assert!(
            ours.partitions.values().all(|lag| lag.state == State::Ok),
            "{ours:#?}"
        );
        before = after;
    }
    let ends = |group: &GroupLag| -> i64 {
        let ends = group.partitions.values();
        ends.map(|lag| lag.end.unwrap()).sum()
    };
    let last = watch.poll().unwrap().unwrap();
    let rate = (ends(&last) - ends(&first)) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{ROUNDS} rounds at {rate:.0} messages a second, the widest bounds {widest} apart");
    assert!(rate > 300.0, "{rate:.0} messages a second are no load");
}

#[test]
fn every_partition_that_is_assigned_or_has_a_commit_is_shown() {
    let assigned = Scene::shared("assigned", 2, "half");
    let left = assigned.of_topic("left-behind");
    left.create_topic(2);
    assigned.produce(&[(0, 5)]);
    left.produce(&[(1, 5)]);
    // It read another topic before, and has not read this one yet.
    left.commit(&[(1, 2)]);
    let _member = assigned.join("classic", 2);
    let mut watch = Watch::new(&assigned);
    let whole = watch.until("its assignment", |group| group.partitions.len() == 3);
    let states: Vec<(State, Option<u64>)> = [assigned.place(0), assigned.place(1), left.place(1)]
        .iter()
        .map(|place| {
            let lag = &whole.partitions[place];
            (lag.state, lag.lag_messages)
        })
        .collect();
    assert_eq!(
        states,
        [
            (State::NoCommit, None),
            (State::Ok, Some(0)),
            (State::Ok, Some(3))
        ]
    );
    assert_eq!(
        (whole.partitions_read, whole.partitions_total),
        (1, Some(4))
    );
}

#[test]
fn a_producers_wrong_clock_does_not_age_what_was_seen_to_arrive() {
    let scene = Scene::shared("misdated", 1, "dated");
    scene.commit(&[(0, 0)]);
    let mut watch = Watch::new(&scene);
    watch.until("the empty topic", |group| group.lag_messages == Some(0));
    let made = Instant::now();
    // Of two days ago, of now, and of half an hour to come: a broker takes an hour at most.
    scene.produce_aged(std::iter::repeat_n(hours(48), 10));
    scene.produce(&[(0, 10)]);
    scene.produce_stamped([now() + hours(1) / 2]);
    for committed in [5, 15, 20] {
        scene.commit(&[(0, committed)]);
        let seen = watch.until("its age", |group| {
            only(group).committed == Some(committed) && only(group).end == Some(21)
        });
        let time = seen.time_lag.unwrap();
        // It arrived after the last poll before it was made.
        let oldest = made.elapsed() + Duration::from_secs(2);
        assert_eq!(time.bound, Bound::Exact);
        assert!(time.duration <= oldest, "{time:?}, not {oldest:?} at most");
    }
}

#[test]
fn a_deleted_topic_takes_its_commits_along_and_leaves_the_rest_of_the_group_alone() {
    let kept = Scene::without_topic(kafka::shared(), "kept", "reader-of-two");
    let gone = kept.of_topic("gone");
    for scene in [&kept, &gone] {
        scene.create_topic(1);
        scene.produce(&[(0, 10)]);
        scene.commit(&[(0, 4)]);
    }
    let mut watch = Watch::new(&kept);
    watch.until("both topics", |group| group.lag_messages == Some(12));
    gone.delete_topic();
    let left = watch.until("the topic's end", |group| group.partitions.len() == 1);
    let lag = &left.partitions[&kept.place(0)];
    assert_eq!((left.lag_messages, lag.lag_messages), (Some(6), Some(6)));
    assert_eq!((left.partitions_read, left.partitions_total), (1, Some(1)));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn commits_that_outlive_their_topic_are_orphans_and_beyond_its_end_once_it_is_made_anew() {
    // A broker forgets the commits of a topic that it sees deleted. Here it gets them back, as from a backup. Kafka's own
    // tool is no oracle for them: it gives up on the whole group.
    let mut kafka = Kafka::start().unwrap();
    let scene = Scene::on(&kafka, "restored", 1, "orphan");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 80)]);
    let mut watch = Watch::new(&scene);
    watch.until("the lag", |group| group.lag_messages == Some(20));

    let backup = tempfile::tempdir().unwrap();
    kafka.kill().unwrap();
    copy_offsets(&kafka.data(), backup.path());
    kafka.start_again().unwrap();
    scene.delete_topic();
    watch.until("the commit's end", |group| group.partitions.is_empty());
    kafka.kill().unwrap();
    copy_offsets(backup.path(), &kafka.data());
    kafka.start_again().unwrap();

    let orphan = watch.until("the orphan", |group| !group.partitions.is_empty());
    let lag = only(&orphan);
    assert_eq!(
        (lag.state, lag.committed, lag.end),
        (State::Unknown, Some(80), None)
    );
    assert_eq!(
        (lag.lag_messages, lag.lag_by_tools, lag.time_lag),
        (None, None, None)
    );
    assert_eq!(
        orphan.reason,
        format!(
            "The lag of {name} on {topic}/0 is unknown: the topic is gone, and the commit is an orphan offset."
        )
    );

    scene.create_topic(1);
    scene.produce(&[(0, 20)]);
    let beyond = watch.until("the new topic", |group| {
        group.state == State::BeyondEnd && only(group).end == Some(20)
    });
    assert_eq!(
        (beyond.lag_messages, beyond.lag_by_tools),
        (None, Some(-60))
    );
    assert_eq!(scene.oracle_lag(), [Some(-60)]);
}

/// Copies the partitions of the topic that holds commits from one folder of data to another, in place of what is there.
fn copy_offsets(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("__consumer_offsets-")
        {
            continue;
        }
        let copy = to.join(entry.file_name());
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(entry.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
}

#[test]
fn what_the_probe_may_not_see_is_unknown_with_the_missing_right_and_disturbs_nothing_else() {
    let kafka = Kafka::start_with_login("probe", "let-me-in").unwrap();
    let open = Scene::on(&kafka, "open", 1, "reader");
    let (closed, secret) = (open.of_topic("closed"), open.of_group("secret"));
    closed.create_topic(1);
    for scene in [&open, &closed] {
        scene.produce(&[(0, 10)]);
    }
    open.commit(&[(0, 7)]);
    secret.commit(&[(0, 7)]);
    let _member = closed.read("classic", 1);

    let mut config = KafkaConfig::new("kafka", [kafka.login_bootstrap().unwrap()]);
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "probe"),
        ("sasl.password", "let-me-in"),
    ] {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    let probe = KafkaProbe::connect(config).unwrap();
    let mut watch = Watch::with(probe, &open, WINDOW);
    watch.until("what nobody denies", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(3))
    });
    let known = group(&watch.engine, &secret.group);
    assert_eq!(known.lag_messages, Some(3));

    let resources = ["--topic", &closed.topic, "--group", &secret.group];
    let acl = |verb: &[&str]| {
        let deny = ["--deny-principal", "User:probe", "--operation", "Describe"];
        let arguments = [verb, &deny, &resources].concat();
        kafka.tool(tools::ACLS, &arguments).unwrap();
    };
    acl(&["--add"]);
    let part = watch.until("the topic's denial", |group| {
        let hidden = group.partitions.get(&closed.place(0));
        hidden.is_some_and(|lag| lag.state == State::Unknown)
    });
    let (hidden, seen) = (
        &part.partitions[&closed.place(0)],
        &part.partitions[&open.place(0)],
    );
    assert_eq!((hidden.lag_messages, hidden.committed), (None, None));
    assert_eq!(
        hidden.reason,
        format!(
            "The lag of {} on {}/0 is unknown: Broker: Topic authorization failed; the probe's user needs the right to DESCRIBE the topic.",
            closed.group, closed.topic
        )
    );
    assert_eq!((seen.lag_messages, seen.lag_by_tools), (Some(3), Some(3)));
    assert_eq!(part.lag_messages, Some(3), "of what is known");
    let denied = group(&watch.engine, &secret.group);
    assert_eq!(
        (denied.state, denied.lag_messages, denied.members),
        (State::Unknown, None, None)
    );
    assert_eq!(
        denied.reason,
        format!(
            "The lag of {} is unknown: Broker: Group authorization failed; the probe's user needs the right to DESCRIBE the group.",
            secret.group
        )
    );

    acl(&["--remove", "--force"]);
    watch.until("what is allowed again", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(3))
    });
    assert_eq!(group(&watch.engine, &secret.group).lag_messages, Some(3));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn a_cluster_that_is_away_or_silent_does_not_disturb_another() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let scene = Scene::shared("near", 1, "undisturbed");
    scene.produce(&[(0, 10)]);
    scene.commit(&[(0, 6)]);
    let mut far = Kafka::start().unwrap();
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silent.local_addr().unwrap().to_string();

    // One engine for all, as in the product.
    let engine = Arc::new(Mutex::new(LagEngine::new(Config::default())));
    let (told, heard) = mpsc::channel();
    let clusters = [
        ("kafka", scene.bootstrap.clone()),
        ("far", far.bootstrap()),
        ("silent", silence),
    ];
    let pollers: Vec<Poller> = clusters
        .into_iter()
        .map(|(cluster, bootstrap)| {
            let options = PollerOptions {
                interval: INTERVAL,
                ..PollerOptions::default()
            };
            let (engine, told, name) = (Arc::clone(&engine), told.clone(), scene.group.clone());
            let listener = move |event| {
                let mut engine = engine.lock().unwrap();
                let read = match event {
                    PollerEvent::Sample { sample, .. } => {
                        engine.step(&sample, sample.finished);
                        true
                    }
                    PollerEvent::Lost { reason, at, .. } => {
                        engine.cluster_lost(cluster, &reason, at);
                        false
                    }
                    PollerEvent::Ends { .. } => return Questions::new(),
                };
                if cluster == "kafka" {
                    assert_eq!(group(&engine, &name).lag_messages, Some(4));
                }
                told.send((cluster, read, Instant::now())).ok();
                Questions::new()
            };
            Poller::start(
                KafkaConfig::new(cluster, [bootstrap.as_str()]),
                options,
                listener,
            )
            .unwrap()
        })
        .collect();

    // When the near cluster was read, until the others are as awaited.
    let reads_until = |awaited: &mut BTreeSet<(&str, bool)>| {
        let deadline = Instant::now() + PATIENCE;
        let mut reads = vec![Instant::now()];
        while !awaited.is_empty() {
            let (cluster, read, at) = heard.recv_timeout(PATIENCE).unwrap();
            assert!(Instant::now() < deadline, "waiting for {awaited:?}");
            assert!(cluster != "kafka" || read, "the near cluster was lost");
            if cluster == "kafka" {
                reads.push(at);
            }
            awaited.remove(&(cluster, read));
        }
        reads.push(Instant::now());
        let gaps = reads.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        (reads.len() - 2, gaps.max().unwrap())
    };
    let (_, before) = reads_until(&mut BTreeSet::from([("kafka", true), ("far", true)]));
    far.kill().unwrap();
    let (reads, widest) = reads_until(&mut BTreeSet::from([("far", false), ("silent", false)]));
    eprintln!(
        "{reads} reads while two clusters were away, {widest:?} apart at most ({before:?} before)"
    );
    assert!(reads >= 5, "{reads} reads");
    // Away costs ten seconds a call; a poll of the near cluster waits for none of them.
    assert!(
        widest < Duration::from_secs(4),
        "{widest:?} between two reads"
    );
    for poller in pollers {
        assert!(poller.stop(PATIENCE));
    }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}
