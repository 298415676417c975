//! What a committed offset and the ends of a log mean: lag, loss, beyond the end, back.

use std::time::Duration;

use highwater_lag::State;

use super::{Bench, assert_begins, only, place, row, said, uncommitted};

#[test]
fn lag_is_end_minus_committed_and_agrees_with_the_tools() {
    let group = Bench::new().poll(&[row(0, 60, 100)]);
    let lag = only(&group);
    assert_eq!((lag.lag_messages, lag.lag_by_tools), (Some(40), Some(40)));
    assert_eq!((lag.committed, lag.end), (Some(60), Some(100)));
    assert_eq!(lag.member.as_deref(), Some("member-0"));
    assert_eq!(
        (group.lag_messages, group.lag_by_tools),
        (Some(40), Some(40))
    );
}

#[test]
fn a_caught_up_group_is_ok_with_lag_zero() {
    let group = Bench::new().poll(&[row(0, 100, 100)]);
    assert_eq!(group.state, State::Ok);
    assert_eq!(group.lag_messages, Some(0));
    assert_eq!(group.time_lag.unwrap().duration, Duration::ZERO);
    assert_eq!(group.drain, Some(Duration::ZERO));
    assert_eq!(said(&group.reason), "billing is up to date on orders/0.");
}

#[test]
fn no_commit_is_neither_unknown_nor_zero() {
    let none = uncommitted(0, 100);
    let group = Bench::new().poll(&[none]);
    assert_eq!(group.state, State::NoCommit);
    assert_eq!((group.lag_messages, group.lag_by_tools), (None, None));
    assert_eq!(group.reason, "billing has no commit yet on orders/0.");
}

#[test]
fn an_empty_partition_without_a_commit_is_no_trouble() {
    let none = uncommitted(1, 0);
    let mut bench = Bench::new();
    bench.partitions = 2;
    let group = bench.poll(&[row(0, 10, 10), none]);
    assert_eq!(group.state, State::Ok);
    assert_eq!(
        group.partitions.open()[&place("orders", 1)].lag_by_tools,
        None
    );
}

#[test]
fn a_group_of_empty_partitions_is_caught_up() {
    let none = uncommitted(0, 0);
    let group = Bench::new().poll(&[none]);
    assert_eq!(
        (group.lag_messages, group.drain),
        (Some(0), Some(Duration::ZERO))
    );
}

#[test]
fn deleted_unread_messages_are_lost_and_the_rest_is_left_to_read() {
    // The second row of the measured table: committed 10, log start 50, end 100.
    let mut bench = Bench::new();
    let row = row(0, 10, 100).kept_from(50);
    let first = bench.poll(std::slice::from_ref(&row));
    assert_eq!(only(&first).lag_messages, Some(50));
    assert_eq!(only(&first).lost_messages, None, "one sample may be a race");
    let group = bench.poll(&[row]);
    let lag = only(&group);
    assert_eq!(lag.state, State::DataLoss);
    assert_eq!(lag.lost_messages, Some(40));
    assert_eq!(lag.lag_messages, Some(50));
    assert_eq!(lag.lag_by_tools, Some(90), "as Kafka's tools have it");
    assert_begins(
        &lag.reason("billing", &place("orders", 0)),
        "billing lost 40 messages on orders/0",
    );
}

#[test]
fn a_log_cut_right_behind_its_reader_is_no_loss() {
    // Kafka Streams deletes what it has committed: between this sample's two readings both moved.
    let mut bench = Bench::new();
    let group = bench.polls(20, |i| {
        vec![row(0, i * 100, i * 100 + 110).kept_from(i * 100 + 50)]
    });
    assert_eq!(only(&group).lost_messages, None);
    assert_ne!(group.state, State::DataLoss);
}

#[test]
fn a_committed_offset_past_the_end_is_beyond_end_and_readable_lag_is_unknown() {
    // The first row of the measured table: committed 150, end 100.
    let group = Bench::new().poll(&[row(0, 150, 100)]);
    let lag = only(&group);
    assert_eq!(lag.state, State::BeyondEnd);
    assert_eq!(lag.lag_messages, None);
    assert_eq!(lag.lag_by_tools, Some(-50));
    assert_begins(
        &lag.reason("billing", &place("orders", 0)),
        "billing is 50 messages past the end of orders/0 (committed 150, end 100)",
    );
}

#[test]
fn an_end_read_before_the_commit_is_clamped_and_counted() {
    let mut bench = Bench::new();
    bench.ends_read_early = true;
    let group = bench.poll(&[row(0, 103, 100)]);
    assert_eq!(group.state, State::Ok);
    assert_eq!(group.lag_messages, Some(0));
    assert_eq!(only(&group).lag_by_tools, Some(-3));
    assert_eq!(bench.engine.clamps(), 1);
}

#[test]
fn a_committed_offset_that_went_back_is_rewound_until_the_window_has_passed() {
    let mut bench = Bench::new();
    bench.polls(3, |_| vec![row(0, 500, 500)]);
    let group = bench.poll(&[row(0, 100, 500)]);
    assert_eq!(group.state, State::Rewound);
    assert_begins(
        &group.reason,
        "billing went back by 400 messages on orders/0",
    );
    let group = bench.polls(5, |i| vec![row(0, 100 + (i + 1) * 80, 500)]);
    assert_eq!(group.state, State::Ok, "caught up again");
}

#[test]
fn a_reset_of_a_group_without_members_is_seen_though_it_stays_stopped() {
    let mut bench = Bench::new();
    bench.polls(3, |i| vec![row(0, 500 + i * 10, 500 + i * 10)]);
    bench.members = 0;
    bench.poll(&[row(0, 530, 700)]);
    let group = bench.poll(&[row(0, 0, 720)]);
    assert_eq!(group.state, State::Stopped);
    let rewound = only(&group).rewound.unwrap();
    assert_eq!(rewound.messages, 530);
}

#[test]
fn an_offset_set_back_while_nobody_looked_is_rewound() {
    let mut bench = Bench::new();
    bench.polls(10, |i| vec![row(0, i * 10, i * 10)]);
    bench.now += 3_600;
    let group = bench.poll(&[row(0, 40, 90)]);
    assert_eq!(group.state, State::Rewound);
    assert_eq!(only(&group).rewound.unwrap().messages, 50);
}
