//! Offsets that hold no message: open and aborted transactions, and the bounded reads that tell.

use highwater_lag::State;

use super::{Bench, at, only, place, row, said};

#[test]
fn an_open_transaction_is_not_readable_and_says_since_when() {
    // The third row of the measured table: an open transaction of 20 behind committed 100.
    let mut bench = Bench::new();
    let row = row(0, 100, 120).stable_to(100);
    bench.poll(std::slice::from_ref(&row));
    let group = bench.poll(&[row]);
    let lag = only(&group);
    assert_eq!(lag.lag_messages, Some(0));
    assert_eq!(lag.lag_by_tools, Some(20));
    let open = lag.open_transaction.unwrap();
    assert_eq!((open.messages, open.since), (20, at(0)));
    assert_eq!(
        said(&lag.reason("billing", &place("orders", 0))),
        "billing is up to date on orders/0; 20 messages in a transaction open for 15 s."
    );
}

#[test]
fn a_consumer_of_uncommitted_records_is_not_held_to_the_last_stable_offset() {
    let group = Bench::new().poll(&[row(0, 110, 120).stable_to(100)]);
    assert_eq!(only(&group).lag_messages, Some(10));
    assert_eq!(only(&group).open_transaction, None);
}

#[test]
fn an_aborted_transaction_is_nothing_to_read_once_a_read_has_shown_it() {
    // The fourth row of the measured table: 20 aborted records and their marker.
    let mut bench = Bench::new();
    // The group has stood there since before they came.
    bench.polls(2, |_| vec![row(0, 100, 100)]);
    bench.poll(&[row(0, 100, 120)]);
    assert!(
        bench.marker_questions().is_empty(),
        "something came just now"
    );
    bench.polls(5, |_| vec![row(0, 100, 121)]);
    assert_eq!(bench.group().lag_messages, Some(21), "by offsets");
    assert_eq!(bench.marker_questions()[0].committed, 100);
    bench.answer_marker(None, 121);
    let group = bench.poll(&[row(0, 100, 121)]);
    let lag = only(&group);
    assert_eq!((lag.lag_messages, lag.lag_by_tools), (Some(0), Some(21)));
    assert!(lag.nothing_readable);
    assert_eq!(lag.state, State::Ok);
    assert!(bench.marker_questions().is_empty());
    // What comes afterwards counts, and nothing else.
    let group = bench.poll(&[row(0, 100, 125)]);
    assert_eq!(only(&group).lag_messages, Some(4));
    let group = bench.poll(&[row(0, 125, 125)]);
    assert_eq!(only(&group).lag_messages, Some(0));
    assert!(!only(&group).nothing_readable);
}

#[test]
fn a_message_that_waits_on_a_quiet_partition_is_stuck_once_a_read_has_shown_it() {
    let mut bench = Bench::new();
    let group = bench.polls(25, |_| vec![row(0, 90, 100)]);
    assert_eq!(group.state, State::Ok, "an uncommitted tail is no alarm");
    bench.answer_marker(Some(90), 100);
    let group = bench.poll(&[row(0, 90, 100)]);
    assert_eq!(group.state, State::Stopped);
}

#[test]
fn what_was_read_in_a_log_tells_nothing_of_one_made_anew() {
    let mut bench = Bench::new();
    let old = row(0, 98, 100).kept_from(50);
    bench.polls(6, |_| vec![old.clone()]);
    bench.answer_marker(None, 100);
    assert_eq!(bench.poll(&[old]).lag_messages, Some(0));
    // The new log has a record at 98.
    let group = bench.poll(&[row(0, 98, 100)]);
    assert_eq!(group.lag_messages, Some(2));
    assert_eq!(only(&group).out_per_s, None, "rates begin anew");
}
