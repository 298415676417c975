//! What outlives a restart, and that samples alone decide.

use std::time::Duration;

use highwater_lag::{Bound, CheckpointBefore, Config, LagEngine, State};

use super::{Bench, POLL, at, only, reason, row, uncommitted};

#[test]
fn a_restart_keeps_states_and_ages() {
    let mut bench = Bench::new();
    let stopped = |i: i64| vec![row(0, 100, 100 + i * 10)];
    bench.polls(25, stopped);
    let before = bench.group();
    assert_eq!(before.state, State::Stopped);
    bench.restart();
    let after = bench.poll(&stopped(25));
    assert_eq!(after.state, State::Stopped);
    assert_eq!(after.state_since, before.state_since);
    assert_eq!(
        after.time_lag.unwrap().bound,
        before.time_lag.unwrap().bound
    );
    assert!(after.time_lag.unwrap().duration > before.time_lag.unwrap().duration);
}

/// The file is of the version before: a group with a stalled partition, and what the broker told of the day before.
#[test]
fn what_the_version_before_kept_is_read() {
    let kept: CheckpointBefore =
        postcard::from_bytes(include_bytes!("data/checkpoint-before-clocks.postcard")).unwrap();
    let mut bench = Bench::new();
    bench.engine = LagEngine::restore(Config::default(), kept.into());
    bench.now = 86_865;
    let group = bench.poll(&[row(0, 100, 1_290).kept_from(50), row(1, 530, 530)]);
    assert_eq!(
        (group.state, group.state_since),
        (State::Stalled, at(86_700))
    );
    let time = group.time_lag.unwrap();
    assert_eq!(
        (time.bound, time.duration),
        (Bound::AtMost, Duration::from_secs(86_850))
    );
    // What of that the broker told was not noted: where its clock is wrong, all that may be goes.
    let questions = bench.questions();
    let answers: Vec<_> = questions
        .into_iter()
        .map(|(place, time)| (place, time, Some(100)))
        .collect();
    bench.engine.seed("kafka", answers);
    let group = bench.poll(&[row(0, 100, 1_290).kept_from(50), row(1, 531, 531)]);
    let time = group.time_lag.unwrap();
    assert_eq!(
        (time.bound, time.duration),
        (Bound::AtLeast, Duration::from_secs(30))
    );
}

#[test]
fn a_partition_without_a_commit_is_in_that_state_since_it_was_first_seen_so() {
    let mut bench = Bench::new();
    let none = uncommitted(0, 100);
    bench.polls(3, |_| vec![none.clone()]);
    bench.restart();
    let group = bench.poll(&[none]);
    assert_eq!(only(&group).state, State::NoCommit);
    assert_eq!(only(&group).state_since, at(0));
    let group = bench.poll(&[row(0, 100, 100)]);
    assert_eq!(only(&group).state_since, at(bench.now - POLL));
}

#[test]
fn a_group_that_cannot_be_read_right_after_a_restart_keeps_its_partitions() {
    let mut bench = Bench::new();
    bench.poll(&[row(0, 10, 100)]);
    bench.restart();
    bench.error = Some(reason("Broker: Group authorization failed"));
    let group = bench.poll(&[row(0, 10, 100)]);
    let lag = only(&group);
    assert_eq!((lag.state, lag.lag_messages), (State::Unknown, None));
    assert_eq!((lag.committed, lag.end), (Some(10), Some(100)));
    bench.error = None;
    let group = bench.poll(&[row(0, 10, 100)]);
    let known_again = at(bench.now - POLL);
    assert_eq!(only(&group).state_since, known_again);
    // Nor is a cluster forgotten that cannot be reached then.
    bench.restart();
    let lost = at(bench.now);
    bench.lose("no broker.", lost);
    bench.now += POLL;
    let group = bench.poll(&[row(0, 10, 100)]);
    assert!(group.state_since > lost && only(&group).state_since > lost);
}

#[test]
fn two_engines_fed_alike_say_the_same() {
    let run = || {
        let mut bench = Bench::new();
        bench.partitions = 2;
        bench.polls(30, |i| vec![row(0, i * 7, i * 9), row(1, 50, 60 + i)])
    };
    assert_eq!(run(), run());
}
