use super::*;

fn state() -> TopicState {
    TopicState::new(Recognition {
        by: RecognisedBy::Name,
        kind: TopicKind::DeadLetterTopic,
    })
}

const SECOND: u64 = 1_000_000_000;

fn offsets(log_start: i64, end: i64, at_s: u64) -> PartitionOffsets {
    PartitionOffsets {
        log_start: Ok(log_start),
        end: Ok(end),
        last_stable: Ok(end),
        read_at: UnixNanos(at_s * SECOND),
    }
}

fn observe(state: &mut TopicState, partitions: &[PartitionOffsets]) {
    let numbered = (0..).zip(partitions);
    state.observe(u32::try_from(partitions.len()).unwrap(), numbered);
}

fn summary(state: &TopicState) -> TopicSummary {
    state.summary(&"kafka".into(), &"orders-dlt".into())
}

fn record(partition: i32, offset: i64, second: u64) -> SourceRecord {
    SourceRecord {
        partition,
        offset,
        timestamp: Some(UnixNanos(second * SECOND)),
        ..SourceRecord::default()
    }
}

#[test]
fn depth_is_unknown_with_the_reason_when_one_partition_is() {
    let mut state = state();
    assert_eq!(summary(&state).retained, None);
    observe(&mut state, &[offsets(3, 10, 1), offsets(0, 5, 1)]);
    assert_eq!(
        (summary(&state).retained, summary(&state).reason),
        (Some(12), None)
    );
    let mut lost = offsets(0, 0, 2);
    lost.end = Err("no leader for partition 1".into());
    observe(&mut state, &[offsets(3, 11, 2), lost]);
    let unknown = summary(&state);
    assert_eq!(unknown.retained, None);
    assert_eq!(unknown.reason.as_deref(), Some("no leader for partition 1"));
    // Partition 0 was read.
    assert_eq!(unknown.read_at, Some(UnixNanos(2 * SECOND)));
}

#[test]
fn a_partition_that_was_not_sampled_makes_depth_unknown() {
    let mut state = state();
    state.observe(2, [(0, &offsets(0, 4, 1))].into_iter());
    assert_eq!(summary(&state).retained, None);
    assert_eq!(
        summary(&state).reason.as_deref(),
        Some("the offsets of 1 of 2 partitions were not read")
    );
}

#[test]
fn arrivals_are_counted_over_the_last_five_minutes() {
    let mut state = state();
    observe(&mut state, &[offsets(0, 100, 0)]);
    assert_eq!(
        summary(&state).arrivals_per_hour,
        None,
        "one sample is no rate"
    );
    // 1,000 at once, then one each 15 s.
    for step in 1..=41 {
        observe(
            &mut state,
            &[offsets(0, 1_100 + i64::try_from(step).unwrap(), step * 15)],
        );
    }
    let now = summary(&state);
    assert_eq!(now.arrivals_window_ns, Some(300 * SECOND));
    assert!((now.arrivals_per_hour.unwrap() - 240.0).abs() < 1e-9);
}

#[test]
fn arrivals_begin_anew_when_a_topic_is_made_anew() {
    let mut state = state();
    observe(&mut state, &[offsets(0, 1_000, 0)]);
    observe(&mut state, &[offsets(0, 1_010, 60)]);
    state.take_newest(
        Range {
            partition: 0,
            from: 1_009,
            to: 1_010,
        },
        vec![Brief::of("orders-dlt", &record(0, 1_009, 5))],
    );
    observe(&mut state, &[offsets(0, 3, 120)]);
    let anew = summary(&state);
    assert_eq!(anew.arrivals_per_hour, None);
    assert_eq!((anew.sampled, anew.retained), (0, Some(3)));
    assert_eq!(
        state.work().newest,
        [Range {
            partition: 0,
            from: 0,
            to: 3
        }]
    );
}

#[test]
fn only_what_moved_is_read() {
    let mut state = state();
    observe(
        &mut state,
        &[offsets(10, 1_000, 1), offsets(0, 0, 1), offsets(5, 8, 1)],
    );
    let work = state.work();
    assert_eq!(
        work.newest,
        [
            Range {
                partition: 0,
                from: 800,
                to: 1_000
            },
            Range {
                partition: 2,
                from: 5,
                to: 8
            }
        ]
    );
    assert_eq!(work.oldest, [(0, 10), (2, 5)]);
    for range in work.newest {
        state.take_newest(
            range,
            vec![Brief::of("t", &record(range.partition, range.to - 1, 70))],
        );
    }
    state.take_oldest(0, 10, Some(UnixNanos(20 * SECOND)));
    state.take_oldest(2, 5, Some(UnixNanos(10 * SECOND)));
    assert!(state.work().is_empty());
    assert_eq!(summary(&state).oldest_at, Some(UnixNanos(10 * SECOND)));
    assert_eq!(summary(&state).newest_at, Some(UnixNanos(70 * SECOND)));

    observe(
        &mut state,
        &[offsets(10, 1_000, 2), offsets(0, 0, 2), offsets(6, 9, 2)],
    );
    let work = state.work();
    assert_eq!(
        work.newest,
        [Range {
            partition: 2,
            from: 8,
            to: 9
        }]
    );
    assert_eq!(work.oldest, [(2, 6)]);
}

#[test]
fn what_retention_deleted_is_no_longer_counted() {
    let mut state = state();
    observe(&mut state, &[offsets(0, 2, 1)]);
    let briefs = [record(0, 0, 1), record(0, 1, 2)].map(|r| Brief::of("t", &r));
    state.take_newest(
        Range {
            partition: 0,
            from: 0,
            to: 2,
        },
        briefs.to_vec(),
    );
    assert_eq!(summary(&state).sampled, 2);
    observe(&mut state, &[offsets(2, 2, 2)]);
    let empty = summary(&state);
    assert_eq!(
        (empty.sampled, empty.retained, empty.oldest_at),
        (0, Some(0), None)
    );
}

#[test]
fn the_newest_two_hundred_are_kept_over_all_partitions() {
    let mut state = state();
    observe(&mut state, &[offsets(0, 200, 1), offsets(0, 200, 1)]);
    for partition in 0..2 {
        let briefs = (0..200).map(|n| {
            let second = u64::try_from(n).unwrap() * 2 + u64::try_from(partition).unwrap();
            Brief::of("t", &record(partition, n, second))
        });
        state.take_newest(
            Range {
                partition,
                from: 0,
                to: 200,
            },
            briefs.collect(),
        );
    }
    assert_eq!(summary(&state).sampled, 200);
    assert!(
        state
            .briefs
            .iter()
            .all(|brief| brief.timestamp >= Some(UnixNanos(200 * SECOND)))
    );
}

#[test]
fn origins_are_the_mappings_else_the_records_else_the_names() {
    let mut state = state();
    state.set_named(Some("orders".into()), None);
    assert_eq!(summary(&state).origin_topics, ["orders".into()]);
    let real = crate::test_records::spring("payments-dlt", 0, 0);
    state.take_newest(
        Range {
            partition: 0,
            from: 0,
            to: 1,
        },
        vec![Brief::of("payments-dlt", &real)],
    );
    let read = summary(&state);
    assert_eq!(
        (read.origin_topics, read.groups),
        (vec!["payments".into()], vec!["receipts".into()])
    );
    assert_eq!(
        read.recognised_by,
        RecognisedBy::Headers,
        "records confirm what the name says"
    );
    state.set_mapped(vec!["mapped".into()], Vec::new());
    assert_eq!(summary(&state).origin_topics, ["mapped".into()]);
}
