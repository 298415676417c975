//! Every rule of lag that samples alone can show, named after the fact.
#![allow(clippy::unwrap_used, reason = "tests panic on surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{Bound, Config, GroupLag, LagEngine, PartitionLag, State};
use highwater_model::UnixNanos;
use highwater_model::broker::{
    GroupFacts, GroupMember, Known, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};

const POLL: u64 = 15;

fn at(seconds: u64) -> UnixNanos {
    UnixNanos(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

/// One partition of one group in one sample.
#[derive(Clone)]
struct Row {
    place: TopicPartition,
    committed: Known<Option<i64>>,
    log_start: Known<i64>,
    last_stable: Option<Known<i64>>,
    end: Known<i64>,
}

fn row(partition: i32, committed: i64, end: i64) -> Row {
    Row {
        place: place("orders", partition),
        committed: Ok(Some(committed)),
        log_start: Ok(0),
        last_stable: None,
        end: Ok(end),
    }
}

fn reason(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// A cluster with one group, `billing`, that has one member.
struct Bench {
    engine: LagEngine,
    now: u64,
    members: usize,
    retention_ms: Option<i64>,
    compacted: Option<bool>,
    ends_read_early: bool,
    error: Option<Arc<str>>,
    partitions: u32,
    topics: Vec<&'static str>,
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: LagEngine::new(Config::default()),
            now: 0,
            members: 1,
            retention_ms: Some(7 * 86_400_000),
            compacted: Some(false),
            ends_read_early: false,
            error: None,
            partitions: 1,
            topics: vec!["orders"],
        }
    }

    fn sample(&self, rows: &[Row]) -> Sample {
        let read_at = at(self.now);
        let topics = self.topics.iter().map(|topic| {
            let facts = TopicFacts {
                partitions: self.partitions,
                internal: false,
                retention_ms: self.retention_ms,
                compacted: self.compacted,
                dead_letter_enabled: false,
            };
            (Arc::from(*topic), facts)
        });
        let partitions = rows
            .iter()
            .filter(|row| self.topics.contains(&&*row.place.topic))
            .map(|row| {
                let offsets = PartitionOffsets {
                    log_start: row.log_start.clone(),
                    end: row.end.clone(),
                    last_stable: row.last_stable.clone().unwrap_or_else(|| row.end.clone()),
                    read_at,
                };
                (row.place.clone(), offsets)
            });
        let member = |index: usize| GroupMember {
            member_id: Arc::from(format!("member-{index}")),
            client_id: Arc::from("billing"),
            host: Arc::from("/127.0.0.1"),
            assignment: rows
                .iter()
                .filter(|_| index == 0)
                .map(|row| row.place.clone())
                .collect(),
        };
        let before = if self.ends_read_early {
            Duration::ZERO
        } else {
            Duration::from_millis(20)
        };
        let group = GroupFacts {
            broker_state: Ok(reason(if self.members == 0 { "Empty" } else { "Stable" })),
            kind: reason("classic"),
            members: Ok((0..self.members).map(member).collect()),
            committed: if self.error.is_some() {
                BTreeMap::new()
            } else {
                rows.iter()
                    .map(|row| (row.place.clone(), row.committed.clone()))
                    .collect()
            },
            error: self.error.clone(),
            read_at: if self.ends_read_early {
                read_at + Duration::from_millis(20)
            } else {
                read_at - before
            },
        };
        Sample {
            cluster: reason("kafka"),
            cluster_id: None,
            started: read_at,
            finished: read_at,
            brokers: Vec::new(),
            topics: topics.collect(),
            partitions: partitions.collect(),
            groups: BTreeMap::from([(reason("billing"), group)]),
        }
    }

    /// Polls once and goes on by an interval.
    fn poll(&mut self, rows: &[Row]) -> GroupLag {
        let sample = self.sample(rows);
        self.engine.step(&sample, at(self.now));
        self.now += POLL;
        self.group()
    }

    /// Polls `times`, with rows made from the count of polls.
    fn polls(&mut self, times: i64, rows: impl Fn(i64) -> Vec<Row>) -> GroupLag {
        for index in 0..times {
            self.poll(&rows(index));
        }
        self.group()
    }

    fn restart(&mut self) {
        let kept = serde_json::to_string(self.engine.checkpoint()).unwrap();
        self.engine = LagEngine::restore(Config::default(), serde_json::from_str(&kept).unwrap());
    }

    fn group(&self) -> GroupLag {
        self.engine.groups()[&(reason("kafka"), reason("billing"))]
            .as_ref()
            .clone()
    }
}

fn only(group: &GroupLag) -> &PartitionLag {
    assert_eq!(group.partitions.len(), 1);
    group.partitions.values().next().unwrap()
}

/// With ordinary spaces, as a person would type it.
fn said(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

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
    let mut none = row(0, 0, 100);
    none.committed = Ok(None);
    let group = Bench::new().poll(&[none]);
    assert_eq!(group.state, State::NoCommit);
    assert_eq!((group.lag_messages, group.lag_by_tools), (None, None));
    assert_eq!(group.reason, "billing has no commit yet on orders/0.");
}

#[test]
fn an_empty_partition_without_a_commit_is_no_trouble() {
    let mut none = row(1, 0, 0);
    none.committed = Ok(None);
    let mut bench = Bench::new();
    bench.partitions = 2;
    let group = bench.poll(&[row(0, 10, 10), none]);
    assert_eq!(group.state, State::Ok);
    assert_eq!(group.partitions[&place("orders", 1)].lag_by_tools, None);
}

#[test]
fn a_group_of_empty_partitions_is_caught_up() {
    let mut none = row(0, 0, 0);
    none.committed = Ok(None);
    let group = Bench::new().poll(&[none]);
    assert_eq!(
        (group.lag_messages, group.drain),
        (Some(0), Some(Duration::ZERO))
    );
}

#[test]
fn a_missing_end_is_unknown_with_the_reason_and_never_zero() {
    let mut row = row(0, 10, 0);
    row.end = Err(reason("the partition has no leader"));
    let group = Bench::new().poll(&[row]);
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
fn deleted_unread_messages_are_lost_and_the_rest_is_left_to_read() {
    // The second row of the measured table: committed 10, log start 50, end 100.
    let mut bench = Bench::new();
    let mut row = row(0, 10, 100);
    row.log_start = Ok(50);
    let first = bench.poll(std::slice::from_ref(&row));
    assert_eq!(only(&first).lag_messages, Some(50));
    assert_eq!(only(&first).lost_messages, None, "one sample may be a race");
    let group = bench.poll(&[row]);
    let lag = only(&group);
    assert_eq!(lag.state, State::DataLoss);
    assert_eq!(lag.lost_messages, Some(40));
    assert_eq!(lag.lag_messages, Some(50));
    assert_eq!(lag.lag_by_tools, Some(90), "as Kafka's tools have it");
    assert!(
        said(&lag.reason).starts_with("billing lost 40 messages on orders/0"),
        "{}",
        lag.reason
    );
}

#[test]
fn a_log_cut_right_behind_its_reader_is_no_loss() {
    // Kafka Streams deletes what it has committed: between this sample's two readings both moved.
    let mut bench = Bench::new();
    let group = bench.polls(20, |i| {
        let mut row = row(0, i * 100, i * 100 + 110);
        row.log_start = Ok(i * 100 + 50);
        vec![row]
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
    assert!(
        said(&lag.reason).starts_with(
            "billing is 50 messages past the end of orders/0 (committed 150, end 100)"
        ),
        "{}",
        lag.reason
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
fn an_open_transaction_is_not_readable_and_says_since_when() {
    // The third row of the measured table: an open transaction of 20 behind committed 100.
    let mut bench = Bench::new();
    let mut row = row(0, 100, 120);
    row.last_stable = Some(Ok(100));
    bench.poll(std::slice::from_ref(&row));
    let group = bench.poll(&[row]);
    let lag = only(&group);
    assert_eq!(lag.lag_messages, Some(0));
    assert_eq!(lag.lag_by_tools, Some(20));
    let open = lag.open_transaction.unwrap();
    assert_eq!((open.messages, open.since), (20, at(0)));
    assert_eq!(
        said(&lag.reason),
        "billing is up to date on orders/0; 20 messages in a transaction open for 15 s."
    );
}

#[test]
fn a_consumer_of_uncommitted_records_is_not_held_to_the_last_stable_offset() {
    let mut row = row(0, 110, 120);
    row.last_stable = Some(Ok(100));
    let group = Bench::new().poll(&[row]);
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
        bench
            .engine
            .marker_questions(at(bench.now), usize::MAX)
            .is_empty(),
        "something came just now"
    );
    bench.polls(5, |_| vec![row(0, 100, 121)]);
    assert_eq!(bench.group().lag_messages, Some(21), "by offsets");
    let questions = bench.engine.marker_questions(at(bench.now), usize::MAX);
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].committed, 100);
    bench.engine.answer_marker(&questions[0], None, 121);
    let group = bench.poll(&[row(0, 100, 121)]);
    let lag = only(&group);
    assert_eq!((lag.lag_messages, lag.lag_by_tools), (Some(0), Some(21)));
    assert!(lag.nothing_readable);
    assert_eq!(lag.state, State::Ok);
    assert!(
        bench
            .engine
            .marker_questions(at(bench.now), usize::MAX)
            .is_empty()
    );
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
    let question = bench
        .engine
        .marker_questions(at(bench.now), usize::MAX)
        .remove(0);
    bench.engine.answer_marker(&question, Some(90), 100);
    let group = bench.poll(&[row(0, 90, 100)]);
    assert_eq!(group.state, State::Stopped);
}

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
            .map(|(partition, time)| (partition, time, Some(ended(time))))
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
fn a_topic_made_anew_does_not_keep_the_old_ones_ages() {
    let mut bench = Bench::new();
    bench.polls(20, |i| vec![row(0, i * 10, i * 10)]);
    // Made anew: ends begin at 0 again, and the group reads from the start.
    let group = bench.polls(4, |i| vec![row(0, 0, i * 30)]);
    let time = group.time_lag.unwrap();
    assert!(time.duration <= Duration::from_secs(60), "{time:?}");
    assert_eq!(group.lag_messages, Some(90));
}

#[test]
fn the_past_of_a_topic_made_anew_is_asked_again() {
    let mut bench = Bench::new();
    let old = Row {
        log_start: Ok(30),
        ..row(0, 90, 100)
    };
    bench.poll(std::slice::from_ref(&old));
    assert_eq!(bench.engine.questions("kafka", at(bench.now)).len(), 7);
    bench.poll(&[old]);
    assert_eq!(bench.engine.questions("kafka", at(bench.now)), []);
    // Its log start went back, and the points of the old topic went with it.
    bench.poll(&[row(0, 5, 20)]);
    assert_eq!(bench.engine.questions("kafka", at(bench.now)).len(), 7);
    // Made anew once more, and only its end is lower.
    bench.poll(&[row(0, 5, 10)]);
    assert_eq!(bench.engine.questions("kafka", at(bench.now)).len(), 7);
}

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
    assert!(
        said(&group.reason).starts_with("billing has not moved and is 420 messages ("),
        "{}",
        group.reason
    );
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
    let stalled = &group.partitions[&place("orders", 0)];
    assert!(
        said(&stalled.reason).starts_with("billing has not moved on orders/0 for 5 m 30 s"),
        "{}",
        stalled.reason
    );
}

#[test]
fn one_partition_that_does_not_move_while_others_do_is_stalled() {
    let mut bench = Bench::new();
    bench.partitions = 2;
    let group = bench.polls(25, |i| {
        vec![row(0, i * 10, i * 10), row(1, 50, 100 + i * 10)]
    });
    assert_eq!(group.partitions[&place("orders", 0)].state, State::Ok);
    assert_eq!(group.partitions[&place("orders", 1)].state, State::Stalled);
    assert_eq!(group.state, State::Stalled, "a group shows its worst");
    assert!(
        said(&group.reason).starts_with(
            "billing does not move on orders (1 of 2 partitions), while its other partitions do"
        ),
        "{}",
        group.reason
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

#[test]
fn a_committed_offset_that_went_back_is_rewound_until_the_window_has_passed() {
    let mut bench = Bench::new();
    bench.polls(3, |_| vec![row(0, 500, 500)]);
    let group = bench.poll(&[row(0, 100, 500)]);
    assert_eq!(group.state, State::Rewound);
    assert!(
        said(&group.reason).starts_with("billing went back by 400 messages on orders/0"),
        "{}",
        group.reason
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
fn a_lost_cluster_makes_its_groups_unknown_and_not_zero() {
    let mut bench = Bench::new();
    bench.polls(4, |i| vec![row(0, i * 10, i * 20)]);
    bench.engine.cluster_lost(
        "kafka",
        "cannot reach 127.0.0.1:9092: connection refused.",
        at(bench.now),
    );
    let group = bench.group();
    assert_eq!(group.state, State::Unknown);
    assert_eq!(
        (group.lag_messages, group.lag_by_tools, group.time_lag),
        (None, None, None)
    );
    assert_eq!(only(&group).end, Some(60), "as read last");
    assert!(group.reason.contains("connection refused"));
    assert_eq!(group.state_since, at(bench.now));
    bench
        .engine
        .cluster_lost("kafka", "still.", at(bench.now + 5));
    assert_eq!(
        bench.group().state_since,
        at(bench.now),
        "the same state since"
    );
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

#[test]
fn a_partition_without_a_commit_is_in_that_state_since_it_was_first_seen_so() {
    let mut bench = Bench::new();
    let mut none = row(0, 0, 100);
    none.committed = Ok(None);
    bench.polls(3, |_| vec![none.clone()]);
    bench.restart();
    let group = bench.poll(&[none.clone()]);
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
    bench.engine.cluster_lost("kafka", "no broker.", lost);
    bench.now += POLL;
    let group = bench.poll(&[row(0, 10, 100)]);
    assert!(group.state_since > lost && only(&group).state_since > lost);
}

#[test]
fn a_group_that_cannot_be_read_for_a_while_keeps_the_ages_of_what_it_reads() {
    let mut bench = Bench::new();
    let steady = |i: i64| vec![row(0, 0, 100 + i * 10)];
    bench.polls(100, steady);
    bench.error = Some(reason("the group's coordinator is not available"));
    bench.poll(&steady(100));
    bench.error = None;
    let mut read = row(0, 200, 1_110);
    read.log_start = Ok(100);
    let age = only(&bench.poll(&[read])).time_lag.unwrap();
    assert_eq!(age.bound, Bound::Exact);
    assert_eq!(age.duration, Duration::from_secs((101 - 10) * POLL));
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

#[test]
fn a_log_start_that_could_not_be_read_once_hides_no_loss_and_no_other_log() {
    let from = |start: Known<i64>, committed: i64, end: i64| {
        let mut row = row(0, committed, end);
        row.log_start = start;
        vec![row]
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
fn what_was_read_in_a_log_tells_nothing_of_one_made_anew() {
    let mut bench = Bench::new();
    let mut old = row(0, 98, 100);
    old.log_start = Ok(50);
    bench.polls(6, |_| vec![old.clone()]);
    let question = bench
        .engine
        .marker_questions(at(bench.now), usize::MAX)
        .remove(0);
    bench.engine.answer_marker(&question, None, 100);
    assert_eq!(bench.poll(&[old]).lag_messages, Some(0));
    // The new log has a record at 98.
    let group = bench.poll(&[row(0, 98, 100)]);
    assert_eq!(group.lag_messages, Some(2));
    assert_eq!(only(&group).out_per_s, None, "rates begin anew");
}

#[test]
fn a_partition_that_cannot_be_read_still_says_when_it_moved() {
    let mut bench = Bench::new();
    bench.polls(3, |i| vec![row(0, i * 10, 100)]);
    let mut row = row(0, 20, 0);
    row.end = Err(reason("the partition has no leader"));
    let group = bench.poll(&[row]);
    assert_eq!(only(&group).moved_at, Some(at(2 * POLL)));
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

#[test]
fn a_group_that_is_gone_is_gone() {
    let mut bench = Bench::new();
    bench.poll(&[row(0, 1, 1)]);
    let mut sample = bench.sample(&[]);
    sample.groups.clear();
    bench.engine.step(&sample, at(bench.now));
    assert!(bench.engine.groups().is_empty());
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
