//! What a topic is, and becomes: compacted, larger, deleted, made anew.

use std::time::Duration;

use highwater_lag::State;

use super::{Bench, POLL, Row, at, only, place, row};

#[test]
fn the_lag_of_a_compacted_topic_is_an_upper_bound() {
    let mut bench = Bench::new();
    bench.compacted = Some(true);
    assert!(only(&bench.poll(&[row(0, 10, 100)])).lag_is_upper_bound);
    assert!(!only(&bench.poll(&[row(0, 100, 100)])).lag_is_upper_bound);
}

#[test]
fn a_deleted_topic_leaves_an_orphan_offset() {
    let mut bench = Bench::new();
    bench.topics.clear();
    let group = bench.poll(&[row(0, 10, 100)]);
    assert_eq!(group.state, State::Unknown);
    assert_eq!(group.lag_messages, None);
    assert!(group.reason.contains("orphan offset"), "{}", group.reason);
}

#[test]
fn partitions_that_the_group_does_not_read_yet_are_told() {
    let mut bench = Bench::new();
    bench.partitions = 6;
    let rows: Vec<Row> = (0..4).map(|partition| row(partition, 5, 5)).collect();
    let group = bench.poll(&rows);
    assert_eq!(
        (group.partitions_read, group.partitions_total),
        (4, Some(6))
    );
    assert_eq!(
        group.reason,
        "billing is up to date on orders; 4 of 6 partitions read."
    );
}

#[test]
fn a_topic_made_anew_does_not_keep_the_old_ones_ages() {
    let mut bench = Bench::new();
    bench.polls(20, |i| vec![row(0, i * 10, i * 10)]);
    // Made anew: ends begin at 0 again, and the group reads from the start.
    let group = bench.polls(4, |i| vec![row(0, 0, i * 30)]);
    let time = group.time_lag.unwrap();
    assert!(time.duration <= Duration::from_secs(60), "{time:?}");
    assert_eq!(group.lag_messages, Some(90));
}

fn asked_of_the_past(bench: &mut Bench) -> usize {
    let now = at(bench.now);
    let questions = bench.questions();
    questions.iter().filter(|(_, time)| *time < now).count()
}

#[test]
fn the_past_of_a_topic_made_anew_is_asked_again() {
    let mut bench = Bench::new();
    let old = row(0, 90, 100).kept_from(30);
    bench.poll(std::slice::from_ref(&old));
    assert_eq!(asked_of_the_past(&mut bench), 7);
    bench.poll(&[old]);
    assert_eq!(bench.questions(), []);
    // Its log start went back, and the points of the old topic went with it.
    bench.poll(&[row(0, 5, 20)]);
    assert_eq!(asked_of_the_past(&mut bench), 7);
    // Made anew once more, and only its end is lower.
    bench.poll(&[row(0, 5, 10)]);
    assert_eq!(asked_of_the_past(&mut bench), 7);
}

#[test]
fn a_topics_rate_needs_no_group() {
    let mut bench = Bench::new();
    for index in 0..5_i64 {
        let mut sample = bench.sample(&[row(0, 0, index * 150), row(1, 0, index * 30)]);
        sample.groups.clear();
        bench.engine.step(&sample, at(bench.now));
        bench.now += POLL;
    }
    let begin = at(bench.now - POLL * 5);
    assert_eq!(
        bench.engine.topic_rate("kafka", "orders"),
        Some((12.0, begin))
    );
    assert_eq!(bench.engine.topic_rate("kafka", "nothing"), None);
    assert_eq!(
        bench.engine.append_rate("kafka", &place("orders", 1)),
        Some(2.0)
    );
}
