//! Rates, and who falls behind, stalls or has stopped.

use std::time::Duration;

use highwater_lag::State;

use super::{Bench, assert_begins, at, place, row, said};

#[test]
fn rates_and_drain_time_follow_from_the_window() {
    let mut bench = Bench::new();
    let group = bench.polls(21, |i| vec![row(0, i * 300, 9_000 + i * 150)]);
    assert_eq!(group.in_per_s, Some(10.0));
    assert_eq!(group.out_per_s, Some(20.0));
    // 6,000 left, 10 a second gained.
    assert_eq!(group.lag_messages, Some(6_000));
    assert_eq!(group.drain, Some(Duration::from_secs(600)));
    assert_eq!(group.state, State::Ok);
    assert!(
        said(&group.reason).contains("draining, caught up in 10 m"),
        "{}",
        group.reason
    );
}

#[test]
fn a_slowed_consumer_falls_behind_long_before_the_window_ends() {
    let mut bench = Bench::new();
    let slowed = |i: i64| vec![row(0, i * 600, i * 930)];
    let group = bench.polls(5, slowed);
    assert_eq!(
        group.state,
        State::FallingBehind,
        "after 60 s of a window of 300"
    );
    assert_eq!(group.drain, None);
    let group = bench.polls(1, |_| slowed(5));
    let sentence = said(&group.reason);
    assert!(
        sentence.starts_with("billing is 1,650 messages (")
            && sentence.ends_with(") behind on orders/0 and falling further behind."),
        "{sentence}"
    );
    assert_eq!(group.state_since, at(60));
}

#[test]
fn a_group_that_does_not_move_while_ends_do_is_stopped() {
    let mut bench = Bench::new();
    bench.partitions = 2;
    let stopped = |i: i64| vec![row(0, 100, 100 + i * 10), row(1, 100, 100 + i * 10)];
    let group = bench.polls(18, stopped);
    assert_ne!(group.state, State::Stopped, "the window has not ended");
    let group = bench.polls(4, |i| stopped(18 + i));
    assert_eq!(group.state, State::Stopped);
    assert!(
        group
            .partitions
            .values()
            .all(|lag| lag.state == State::Stopped)
    );
    assert_begins(&group.reason, "billing has not moved and is 420 messages (");
    // The producer goes quiet: stopped it stays.
    let group = bench.polls(40, |_| stopped(21));
    assert_eq!(group.state, State::Stopped);
}

#[test]
fn an_idle_topic_is_not_a_stopped_group() {
    let mut bench = Bench::new();
    let group = bench.polls(100, |_| vec![row(0, 100, 100)]);
    assert_eq!(group.state, State::Ok);
}

#[test]
fn what_comes_after_a_quiet_hour_does_not_make_a_caught_up_group_stopped() {
    let mut bench = Bench::new();
    bench.polls(240, |_| vec![row(0, 100, 100), row(1, 100, 100)]);
    // The poll sees the messages before the group has committed them.
    let group = bench.poll(&[row(0, 100, 110), row(1, 105, 110)]);
    assert_eq!(group.state, State::Ok, "{}", group.reason);
    // They wait from now on, and not since an hour.
    let group = bench.polls(21, |i| vec![row(0, 100, 110), row(1, 110 + i, 110 + i)]);
    assert_eq!(group.state, State::Stalled, "{}", group.reason);
    let stalled = &group.partitions.open()[&place("orders", 0)];
    assert_begins(
        &stalled.reason("billing", &place("orders", 0)),
        "billing has not moved on orders/0 for 5 m 30 s",
    );
}

#[test]
fn one_partition_that_does_not_move_while_others_do_is_stalled() {
    let mut bench = Bench::new();
    bench.partitions = 2;
    let group = bench.polls(25, |i| {
        vec![row(0, i * 10, i * 10), row(1, 50, 100 + i * 10)]
    });
    assert_eq!(
        group.partitions.open()[&place("orders", 0)].state,
        State::Ok
    );
    assert_eq!(
        group.partitions.open()[&place("orders", 1)].state,
        State::Stalled
    );
    assert_eq!(group.state, State::Stalled, "a group shows its worst");
    assert_begins(
        &group.reason,
        "billing does not move on orders (1 of 2 partitions), while its other partitions do",
    );
}

#[test]
fn a_group_without_members_and_with_lag_is_stopped_at_once() {
    let mut bench = Bench::new();
    bench.polls(3, |i| vec![row(0, i * 10, i * 10)]);
    bench.members = 0;
    let group = bench.poll(&[row(0, 30, 55)]);
    assert_eq!(group.state, State::Stopped);
    assert_eq!(group.members, Some(0));
    assert!(
        said(&group.reason).contains("has no members"),
        "{}",
        group.reason
    );
}

#[test]
fn a_group_without_members_that_owes_nothing_is_ok() {
    let mut bench = Bench::new();
    bench.members = 0;
    assert_eq!(bench.poll(&[row(0, 30, 30)]).state, State::Ok);
}

#[test]
fn a_consumer_that_commits_without_being_a_member_is_not_stopped() {
    let mut bench = Bench::new();
    bench.members = 0;
    let group = bench.polls(10, |i| vec![row(0, i * 10, i * 10 + 5)]);
    assert_ne!(group.state, State::Stopped);
}
