//! Ages of messages, and what retention leaves of them.

use std::time::Duration;

use highwater_lag::Bound;
use highwater_model::UnixNanos;

use super::{Bench, POLL, at, only, reason, row, said};

#[test]
fn time_lag_is_the_age_of_the_record_at_the_committed_offset() {
    let mut bench = Bench::new();
    // Ten a second; the group reads what is 60 s old.
    let group = bench.polls(20, |i| vec![row(0, (i * 150 - 600).max(0), i * 150)]);
    let time = group.time_lag.unwrap();
    assert_eq!(time.bound, Bound::Exact);
    assert_eq!(time.duration, Duration::from_secs(60));
}

#[test]
fn a_time_lag_older_than_the_history_is_at_least_that() {
    let mut bench = Bench::new();
    let group = bench.polls(5, |i| vec![row(0, 10, 1_000 + i * 10)]);
    let time = group.time_lag.unwrap();
    assert_eq!(time.bound, Bound::AtLeast);
    assert_eq!(time.duration, Duration::from_secs(60));
}

#[test]
fn a_group_that_was_hours_behind_at_start_is_exact_after_a_few_questions() {
    // One message a second since long ago; the group is 13 h behind.
    let ended = |time: UnixNanos| ((time.0 - at(0).0) / 1_000_000_000) as i64;
    let mut bench = Bench::new();
    bench.now = 30 * 86_400;
    let now = bench.now;
    bench.poll(&[row(0, now as i64 - 46_800, now as i64)]);
    assert_eq!(
        bench.group().time_lag,
        None,
        "one sample alone tells nothing"
    );
    let mut rounds = 0;
    loop {
        let questions = bench.engine.questions("kafka", at(now));
        if questions.is_empty() {
            break;
        }
        let answers: Vec<_> = questions
            .into_iter()
            .map(|(partition, time)| {
                let first = (time <= at(now)).then(|| ended(time));
                (partition, time, first)
            })
            .collect();
        assert_eq!(bench.engine.seed("kafka", answers), 0);
        // The same sample's groups are judged anew by the next one, of the same instant.
        let sample = bench.sample(&[row(0, now as i64 - 46_800, now as i64)]);
        bench.engine.step(&sample, at(now));
        rounds += 1;
        assert!(rounds < 8);
    }
    let time = bench.group().time_lag.unwrap();
    assert_eq!(time.bound, Bound::Exact);
    assert!(time.duration.abs_diff(Duration::from_secs(46_800)) < Duration::from_secs(60));
}

#[test]
fn of_many_partitions_every_past_is_asked_for_some_at_a_time() {
    let mut bench = Bench::new();
    let many: Vec<_> = (0..3_000).map(|partition| row(partition, 0, 10)).collect();
    bench.poll(&many);
    let mut asked = std::collections::BTreeSet::new();
    for round in 0..8 {
        let questions = bench.questions();
        assert!(questions.len() < 10_010, "{}", questions.len());
        if questions.is_empty() {
            assert!(round > 1);
            break;
        }
        let of_past = questions.iter().filter(|(_, time)| *time < at(0));
        asked.extend(of_past.map(|(place, _)| place.partition));
    }
    assert_eq!(asked.len(), 3_000);
}

#[test]
fn the_margin_of_retention_is_told_before_messages_are_lost() {
    let mut bench = Bench::new();
    bench.retention_ms = Some(600_000);
    let group = bench.polls(30, |i| vec![row(0, 10, 10 + i * 10)]);
    let left = group.retention_left.unwrap();
    assert!(left < Duration::from_secs(180), "{left:?}");
    assert!(
        said(&group.reason).contains("unread messages are deleted in 2 m"),
        "{}",
        group.reason
    );
    bench.retention_ms = Some(-1);
    assert_eq!(
        bench.poll(&[row(0, 10, 400)]).retention_left,
        None,
        "unlimited"
    );
}

#[test]
fn a_group_that_cannot_be_read_for_a_while_keeps_the_ages_of_what_it_reads() {
    let mut bench = Bench::new();
    let steady = |i: i64| vec![row(0, 0, 100 + i * 10)];
    bench.polls(100, steady);
    bench.error = Some(reason("the group's coordinator is not available"));
    bench.poll(&steady(100));
    bench.error = None;
    let read = bench.poll(&[row(0, 200, 1_110).kept_from(100)]);
    let age = only(&read).time_lag.unwrap();
    assert_eq!(age.bound, Bound::Exact);
    assert_eq!(age.duration, Duration::from_secs((101 - 10) * POLL));
}
