//! Random histories of a small Kafka: the engine against a slow and obvious model, restarts, and idle partitions.
#![allow(clippy::unwrap_used, reason = "tests panic on surprise")]

mod model;
mod world;

use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{
    Bound, Checkpoint, Config, LagEngine, PartitionLag, Skew, State, TimeLag, Why,
};
use highwater_model::UnixNanos;
use proptest::prelude::*;

use model::{Model, Opened, Said};
use world::{CLUSTER, GROUPS, Happening, Restart, Round, World, round};

fn groups(engine: &LagEngine) -> Said {
    let groups = engine.groups().iter();
    groups
        .map(|((_, name), group)| (Arc::clone(name), Opened::of(group)))
        .collect()
}

fn restarted(engine: &LagEngine, config: &Config, how: Restart) -> LagEngine {
    let kept: Checkpoint = match how {
        Restart::Postcard => {
            postcard::from_bytes(&postcard::to_allocvec(engine.checkpoint()).unwrap()).unwrap()
        }
        Restart::Json => {
            serde_json::from_slice(&serde_json::to_vec(engine.checkpoint()).unwrap()).unwrap()
        }
    };
    assert_eq!(&kept, engine.checkpoint());
    LagEngine::restore(config.clone(), kept)
}

/// Figures without sentences; those in floating point agree where they are as close as those are.
fn compared(said: Said, meant: &Said) -> Said {
    let near = |a: &mut Option<f64>, b: Option<f64>| {
        if let (Some(x), Some(y)) = (*a, b)
            && (x - y).abs() <= 1e-6 * y.abs().max(1.0)
        {
            *a = b;
        }
    };
    let near_time = |a: &mut Duration, b: Duration| {
        if a.abs_diff(b) < Duration::from_micros(1) {
            *a = b;
        }
    };
    let near_times = |a: &mut Option<Duration>, b: Option<Duration>| {
        if let (Some(a), Some(b)) = (a, b) {
            near_time(a, b);
        }
    };
    let near_lags = |a: &mut Option<TimeLag>, b: Option<TimeLag>| {
        if let (Some(a), Some(b)) = (a, b) {
            near_time(&mut a.duration, b.duration);
        }
    };
    let mut said = said;
    for (name, group) in &mut said {
        group.reason.clear();
        let Some(meant) = meant.get(name) else {
            continue;
        };
        near(&mut group.in_per_s, meant.in_per_s);
        near(&mut group.out_per_s, meant.out_per_s);
        near_times(&mut group.drain, meant.drain);
        near_times(&mut group.retention_left, meant.retention_left);
        near_lags(&mut group.time_lag, meant.time_lag);
        for (place, lag) in &mut group.partitions {
            lag.why = Why::NoCommit;
            let Some(meant) = meant.partitions.get(place) else {
                continue;
            };
            near(&mut lag.in_per_s, meant.in_per_s);
            near(&mut lag.out_per_s, meant.out_per_s);
            near_times(&mut lag.drain, meant.drain);
            near_times(&mut lag.retention_left, meant.retention_left);
            near_lags(&mut lag.time_lag, meant.time_lag);
        }
    }
    said
}

/// Where a group's offsets cannot be read, those of before are shown: the checkpoint holds their meaning, not all of them.
fn without_old_offsets(groups: &Said) -> Said {
    let mut groups = groups.clone();
    for group in groups.values_mut().filter(|group| group.read_at.is_none()) {
        group.moved_at = None;
        for lag in group.partitions.values_mut() {
            let old = lag.clone();
            *lag = PartitionLag {
                committed: None,
                log_start: None,
                end: None,
                last_stable: None,
                member: None,
                moved_at: None,
                read_at: None,
                ..old
            };
        }
    }
    groups
}

/// Lets a history happen to an engine and to the model, and compares them after every round.
fn agree(config: &Config, rounds: &[Round]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let mut engine = LagEngine::new(config.clone());
    let mut model = Model::new(config.clone());
    // Until the next sample, a new process knows no group by name.
    let (mut nameless, mut restarts) = (false, false);
    for (index, round) in rounds.iter().enumerate() {
        world.pass(round);
        if let Some(how) = round.restart {
            engine = restarted(&engine, config, how);
            (nameless, restarts) = (true, true);
        }
        let now = world.now;
        let mut meant = if round.outage {
            engine.cluster_lost(CLUSTER, "no broker answers", now);
            model.lost(now)
        } else {
            let sample = world.sample(round);
            engine.step(&sample, now);
            nameless = false;
            model.sample(&sample, now)
        };
        if nameless {
            prop_assert!(engine.groups().is_empty());
            continue;
        }
        let mut said = compared(groups(&engine), &meant);
        if restarts {
            (said, meant) = (without_old_offsets(&said), without_old_offsets(&meant));
        }
        for (name, group) in &meant {
            for (place, lag) in &group.partitions {
                let said = said.get(name).and_then(|group| group.partitions.get(place));
                prop_assert_eq!(said, Some(lag), "{} {:?}, round {}", name, place, index);
            }
        }
        prop_assert_eq!(&said, &meant, "round {}", index);
        if round.seed {
            for (place, at) in engine.questions(CLUSTER, now) {
                let (first, end) = world.index(&place, at);
                engine.seed(CLUSTER, [(place.clone(), at, first)]);
                model.past(place, at, first.unwrap_or(end));
            }
        }
        if let Some(readable) = round.markers {
            for question in engine.marker_questions(now, usize::MAX) {
                let lag = &said[&question.group].partitions[&question.partition];
                prop_assert_eq!(lag.committed, Some(question.committed));
                prop_assert!(lag.lag_messages > Some(0) && lag.open_transaction.is_none());
                let (committed, end) = (question.committed, lag.end.unwrap());
                engine.answer_marker(&question, readable.then_some(committed), end);
                model.read(question.group, question.partition, committed, readable, end);
            }
        }
    }
    Ok(())
}

fn configs() -> impl Strategy<Value = Config> {
    (
        prop_oneof![Just(60_u64), Just(120), Just(300)],
        prop_oneof![3 => Just(0_u64), 1 => Just(5)],
    )
        .prop_map(|(window, allowed_lag)| Config {
            window: Duration::from_secs(window),
            allowed_lag,
            ..Config::default()
        })
}

/// Enough that each state is reached often; `PROPTEST_CASES` asks for more.
fn cases(number: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(asked.and_then(|cases| cases.parse().ok()).unwrap_or(number))
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_engine_says_what_lag_means(
        config in configs(),
        rounds in prop::collection::vec(round(), 1..70),
    ) {
        agree(&config, &rounds)?;
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_restart_at_any_moment_changes_nothing(
        config in configs(),
        rounds in prop::collection::vec(round(), 1..50),
    ) {
        let mut world = World::new();
        let mut steady = LagEngine::new(config.clone());
        let mut stopped = LagEngine::new(config.clone());
        for (index, round) in rounds.iter().enumerate() {
            world.pass(round);
            if let Some(how) = round.restart {
                stopped = restarted(&stopped, &config, how);
            }
            for engine in [&mut steady, &mut stopped] {
                if round.outage {
                    engine.cluster_lost(CLUSTER, "no broker answers", world.now);
                } else {
                    engine.step(&world.sample(round), world.now);
                }
            }
            prop_assert_eq!(steady.checkpoint(), stopped.checkpoint(), "round {}", index);
            if !round.outage {
                let (steady, stopped) = (groups(&steady), groups(&stopped));
                // Also to the sentence, where offsets could be read.
                for (name, group) in steady.iter().filter(|(_, group)| group.read_at.is_some()) {
                    prop_assert_eq!(Some(group), stopped.get(name), "round {}", index);
                }
            }
        }
    }

    /// Ages where timestamps are wrong: what the broker's index told is taken back once that shows.
    #[test]
    fn wrong_clocks_are_suspected_and_ages_are_of_our_own_readings(
        off in 400_i64..100_000,
        ahead in any::<bool>(),
        produced in 1_i64..20,
        polls in 10_usize..60,
        behind in 1_usize..8,
    ) {
        let mut world = World::new();
        let mut engine = LagEngine::new(Config::default());
        let clock = Happening::Clock { place: 0, ahead: if ahead { off } else { -off } };
        let produce = Happening::ProduceOn { place: 0, records: produced };
        let mut happenings = vec![clock, produce];
        let mut ends = Vec::new();
        let place = world.sample(&Round::default()).partitions.into_keys().next().unwrap();
        for poll in 0..polls {
            let seek = poll.checked_sub(behind).map(|then: usize| {
                let (_, offset): (UnixNanos, i64) = ends[then];
                Happening::SeekTo { group: 0, place: 0, offset }
            });
            happenings.extend(seek);
            let happenings = std::mem::take(&mut happenings);
            let round = Round { pause: 15, happenings, ..Round::default() };
            world.pass(&round);
            let sample = world.sample(&round);
            engine.step(&sample, world.now);
            ends.push((world.now, world.index(&place, world.now).1));
            loop {
                let questions = engine.questions(CLUSTER, world.now);
                if questions.is_empty() {
                    break;
                }
                let answers = questions.into_iter().map(|(place, at)| {
                    let (first, _) = world.index(&place, at);
                    (place, at, first)
                });
                engine.seed(CLUSTER, answers.collect::<Vec<_>>());
            }
        }
        let groups = groups(&engine);
        let partitions = &groups[GROUPS[0]].partitions;
        let lag = &partitions[&place];
        prop_assert_eq!(lag.clock_suspect, Some(if ahead { Skew::Ahead } else { Skew::Behind }));
        prop_assert_eq!(lag.retention_left, None);
        let meant = Duration::from_secs(15 * behind as u64);
        prop_assert_eq!(lag.time_lag, Some(TimeLag { duration: meant, bound: Bound::Exact }));
        // The clocks of the others are right.
        for (other, lag) in partitions {
            prop_assert!(other == &place || lag.clock_suspect.is_none());
        }
    }

    #[test]
    fn idle_partitions_never_alarm_however_long_they_idle(
        config in configs(),
        read_to_the_end in any::<bool>(),
        pauses in prop::collection::vec(1_u64..2_000, 1..60),
        restarts in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut engine = LagEngine::new(config.clone());
        let quiet = Round::default();
        for group in 0..if read_to_the_end { GROUPS.len() } else { 0 } {
            world.read_everything(group);
        }
        for pause in pauses {
            world.pass(&Round { pause, ..quiet.clone() });
            if restarts {
                engine = restarted(&engine, &config, Restart::Postcard);
            }
            engine.step(&world.sample(&quiet), world.now);
            for group in groups(&engine).values() {
                // What waits on a topic where nothing comes may be only what is not committed yet.
                prop_assert_eq!(group.state, State::Ok);
                prop_assert_eq!(group.lag_messages == Some(0), read_to_the_end);
                for lag in group.partitions.values() {
                    prop_assert_eq!(lag.state, State::Ok);
                    prop_assert_eq!(lag.state_since, group.state_since);
                    let age = lag.time_lag.map(|age| age.duration);
                    prop_assert_eq!(age == Some(Duration::ZERO), read_to_the_end);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(30))]

    /// Over a long time the engine lets go of points; what it then says is off by a few hundredths of the age.
    #[test]
    fn a_long_history_keeps_ages_within_four_hundredths(
        paces in prop::collection::vec((1_usize..80, 1_i64..200), 8..20),
        behind in prop::collection::vec(1_usize..1_000, 20),
    ) {
        let mut world = World::new();
        let mut engine = LagEngine::new(Config::default());
        // When the end was where, at every poll.
        let mut ends: Vec<(UnixNanos, i64)> = Vec::new();
        let produce_on = |records| Happening::ProduceOn { place: 0, records };
        let mut happenings: Vec<Happening> = vec![produce_on(0)];
        for (polls, records) in paces {
            happenings = vec![produce_on(records)];
            for _ in 0..polls {
                let happenings = std::mem::take(&mut happenings);
                let round = Round { pause: 15, happenings, ..Round::default() };
                world.pass(&round);
                let sample = world.sample(&round);
                engine.step(&sample, world.now);
                ends.push((world.now, sample.partitions.values().next().unwrap().end.clone().unwrap()));
            }
        }
        for behind in behind {
            let (at, end) = ends[ends.len() - 1 - behind.min(ends.len() - 1)];
            if end == ends[ends.len() - 1].1 {
                continue;
            }
            let seek = Happening::SeekTo { group: 0, place: 0, offset: end };
            let round = Round { pause: 0, happenings: vec![produce_on(0), seek], ..Round::default() };
            world.pass(&round);
            let sample = world.sample(&round);
            let mut looking = restarted(&engine, &Config::default(), Restart::Postcard);
            looking.step(&sample, world.now);
            let age = Duration::from_nanos(world.now.since(at));
            let groups = groups(&looking);
            let said = groups[GROUPS[0]].partitions.values().next().unwrap().time_lag.unwrap();
            prop_assert_eq!(said.bound, Bound::Exact);
            let off = said.duration.abs_diff(age).as_secs_f64();
            prop_assert!(off <= 0.04 * age.as_secs_f64(), "{:?} for {:?}", said.duration, age);
        }
    }
}
