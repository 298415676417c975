//! What could not be read, or is gone.

use highwater_lag::{Bound, State};
use highwater_model::broker::Known;

use super::{Bench, POLL, Row, at, only, reason, row};

#[test]
fn a_missing_end_is_unknown_with_the_reason_and_never_zero() {
    let group = Bench::new().poll(&[row(0, 10, 0).without_a_leader()]);
    assert_eq!(group.state, State::Unknown);
    assert_eq!((group.lag_messages, group.time_lag), (None, None));
    assert_eq!(
        group.reason,
        "The lag of billing on orders/0 is unknown: the partition has no leader."
    );
}

#[test]
fn a_refused_commit_is_unknown_with_the_reason_and_never_zero() {
    let mut row = row(0, 10, 100);
    row.committed = Err(reason("Broker: Topic authorization failed"));
    let group = Bench::new().poll(&[row]);
    assert_eq!(group.state, State::Unknown);
    assert_eq!((group.lag_messages, group.lag_by_tools), (None, None));
    assert!(group.reason.contains("Topic authorization failed"));
}

#[test]
fn a_group_that_cannot_be_read_is_unknown_and_keeps_its_partitions() {
    let mut bench = Bench::new();
    bench.poll(&[row(0, 10, 100)]);
    bench.error = Some(reason("Broker: Group authorization failed"));
    let group = bench.poll(&[row(0, 10, 100)]);
    assert_eq!(group.state, State::Unknown);
    assert_eq!(group.lag_messages, None);
    assert_eq!(only(&group).state, State::Unknown);
    assert_eq!(only(&group).lag_messages, None);
    assert_eq!(
        group.reason,
        "The lag of billing is unknown: Broker: Group authorization failed."
    );
}

#[test]
fn a_lost_cluster_makes_its_groups_unknown_and_not_zero() {
    let mut bench = Bench::new();
    bench.polls(4, |i| vec![row(0, i * 10, i * 20)]);
    let lost = at(bench.now);
    bench.lose("cannot reach 127.0.0.1:9092: connection refused.", lost);
    let group = bench.group();
    assert_eq!(group.state, State::Unknown);
    assert_eq!(
        (group.lag_messages, group.lag_by_tools, group.time_lag),
        (None, None, None)
    );
    assert_eq!(only(&group).end, Some(60), "as read last");
    assert!(group.reason.contains("connection refused"));
    assert_eq!(group.state_since, lost);
    bench.lose("still.", at(bench.now + 5));
    assert_eq!(bench.group().state_since, lost, "the same state since");
    let group = bench.poll(&[row(0, 80, 80)]);
    assert_eq!((group.state, group.lag_messages), (State::Ok, Some(0)));
}

#[test]
fn an_outage_longer_than_the_window_does_not_make_a_group_look_stopped() {
    let mut bench = Bench::new();
    bench.polls(10, |i| vec![row(0, i * 10, i * 10)]);
    bench.now += 3_600;
    // Producers came back first.
    let group = bench.poll(&[row(0, 90, 500)]);
    assert_eq!(group.state, State::Ok);
    assert_eq!(group.time_lag.unwrap().bound, Bound::AtMost);
}

#[test]
fn a_log_start_that_could_not_be_read_once_hides_no_loss_and_no_other_log() {
    let from = |log_start: Known<i64>, committed: i64, end: i64| {
        [Row {
            log_start,
            ..row(0, committed, end)
        }]
    };
    let mut bench = Bench::new();
    bench.poll(&from(Ok(50), 60, 100));
    bench.poll(&from(Err(reason("no leader")), 60, 100));
    // Deleted up to 80 by then: one sample may be a race, but 60 was kept two samples ago.
    assert_eq!(
        only(&bench.poll(&from(Ok(80), 40, 100))).lost_messages,
        Some(10)
    );
    bench.poll(&from(Err(reason("no leader")), 40, 100));
    // Made anew, and filled further than it was.
    let age = only(&bench.poll(&from(Ok(0), 90, 120))).time_lag;
    assert_eq!(age, None, "one reading of this log is known");
}

#[test]
fn a_partition_that_cannot_be_read_still_says_when_it_moved() {
    let mut bench = Bench::new();
    bench.polls(3, |i| vec![row(0, i * 10, 100)]);
    let group = bench.poll(&[row(0, 20, 0).without_a_leader()]);
    assert_eq!(only(&group).moved_at, Some(at(2 * POLL)));
}

#[test]
fn a_group_that_is_gone_is_gone() {
    let mut bench = Bench::new();
    bench.poll(&[row(0, 1, 1)]);
    let mut sample = bench.sample(&[]);
    sample.groups.clear();
    bench.engine.step(&sample, at(bench.now));
    assert!(bench.engine.groups().is_empty());
}
