//! Timestamps that are not of when their records came.

use std::time::Duration;

use highwater_lag::{Bound, GroupLag, Skew};
use highwater_model::UnixNanos;

use super::{Bench, POLL, Row, at, only, row, said};

/// Ten a second, of which the group has read what is two polls old.
fn steady(poll: i64) -> Vec<Row> {
    vec![row(0, 1_000 + (poll - 2) * 150, 1_000 + poll * 150)]
}

/// Polls once more.
fn poll(bench: &mut Bench) -> GroupLag {
    let polls = (bench.now / POLL) as i64;
    bench.poll(&steady(polls))
}

/// Where [`steady`] ended then, as an index of right timestamps has it.
fn right(time: UnixNanos) -> Option<i64> {
    let polls = time.since(at(0)) / (POLL * 1_000_000_000);
    (time >= at(0)).then(|| 1_000 + polls as i64 * 150)
}

/// As an index has it in which every timestamp is of long ago.
fn nothing_later(_: UnixNanos) -> Option<i64> {
    None
}

/// Answers what is asked after a poll: of a time to come, and of the past. Says how much was asked.
fn answer(
    bench: &mut Bench,
    to_come: Option<i64>,
    past: fn(UnixNanos) -> Option<i64>,
) -> (usize, usize) {
    let now = at(bench.now);
    let questions = bench.questions();
    let of_past = questions.iter().filter(|(_, time)| *time <= now).count();
    let asked = (questions.len() - of_past, of_past);
    let answers = questions.into_iter().map(|(place, time)| {
        let offset = if time > now { to_come } else { past(time) };
        (place, time, offset)
    });
    let answers: Vec<_> = answers.collect();
    bench.engine.seed("kafka", answers);
    asked
}

/// A day of nothing, then two polls.
fn begun() -> Bench {
    let mut bench = Bench::new();
    bench.now = 86_400;
    poll(&mut bench);
    poll(&mut bench);
    bench
}

#[test]
fn a_record_stamped_with_a_time_to_come_makes_the_clock_suspect() {
    let mut bench = begun();
    let (to_come, past) = answer(&mut bench, Some(10), right);
    assert!(to_come == 1 && past > 1);
    let group = poll(&mut bench);
    let lag = only(&group);
    assert_eq!(lag.clock_suspect, Some(Skew::Ahead));
    assert_eq!(lag.retention_left, None, "brokers delete by timestamps");
    let words = "; clock suspect: records are stamped more than 5 m after they came, so their ages are of Highwater's own readings and their retention margin is unknown.";
    assert!(said(&group.reason).ends_with(words), "{}", group.reason);
    // Of three readings of our own, the first is as old as what the group reads next.
    let age = lag.time_lag.unwrap();
    assert_eq!(
        (age.bound, age.duration),
        (Bound::Exact, Duration::from_secs(30))
    );
}

#[test]
fn while_a_clock_is_suspect_the_past_is_not_asked_for_and_then_it_is() {
    let mut bench = begun();
    answer(&mut bench, Some(10), right);
    for _ in 0..39 {
        poll(&mut bench);
        assert_eq!(answer(&mut bench, Some(10), right), (0, 0));
    }
    poll(&mut bench);
    let (to_come, past) = answer(&mut bench, None, right);
    assert_eq!((to_come, past), (1, 1), "after ten minutes, both questions");
    assert!(answer(&mut bench, None, right).1 > 1, "its past");
    let lag = only(&poll(&mut bench));
    assert_eq!(lag.clock_suspect, None);
    assert!(lag.retention_left.is_some());
}

#[test]
fn records_stamped_before_they_came_make_the_clock_suspect_at_the_second_answer() {
    let mut bench = begun();
    answer(&mut bench, None, nothing_later);
    assert_eq!(
        only(&poll(&mut bench)).clock_suspect,
        None,
        "once is chance"
    );
    answer(&mut bench, None, nothing_later);
    let group = poll(&mut bench);
    let lag = only(&group);
    assert_eq!(lag.clock_suspect, Some(Skew::Behind));
    assert!(said(&group.reason).contains("stamped more than 5 m before they came"));
    let age = lag.time_lag.unwrap();
    assert_eq!(
        (age.bound, age.duration),
        (Bound::Exact, Duration::from_secs(30))
    );

    bench.restart();
    assert_eq!(
        only(&poll(&mut bench)).clock_suspect,
        Some(Skew::Behind),
        "kept over a restart"
    );
    bench.polls(40, |i| steady((86_400 / POLL) as i64 + 5 + i));
    answer(&mut bench, None, right);
    assert_eq!(
        only(&poll(&mut bench)).clock_suspect,
        Some(Skew::Behind),
        "one right answer is chance as well"
    );
    answer(&mut bench, None, right);
    assert_eq!(only(&poll(&mut bench)).clock_suspect, None);
}

#[test]
fn one_answer_that_deletion_explains_makes_no_clock_suspect() {
    let mut bench = begun();
    for _ in 0..20 {
        // Between the reading and the answer all was deleted; at the next question it was not.
        assert!(answer(&mut bench, None, nothing_later).1 > 0);
        poll(&mut bench);
        assert!(answer(&mut bench, None, right).1 > 0);
        for _ in 0..41 {
            assert_eq!(only(&poll(&mut bench)).clock_suspect, None);
        }
    }
}

#[test]
fn gaps_of_a_compacted_topic_tell_nothing_of_a_clock() {
    for compacted in [Some(true), None] {
        let mut bench = Bench::new();
        bench.compacted = compacted;
        bench.now = 86_400;
        for _ in 0..100 {
            assert_eq!(only(&poll(&mut bench)).clock_suspect, None);
            answer(&mut bench, None, nothing_later);
        }
    }
}

#[test]
fn a_topic_made_anew_has_clocks_of_its_own() {
    let mut bench = begun();
    answer(&mut bench, Some(10), right);
    assert!(only(&poll(&mut bench)).clock_suspect.is_some());
    let anew = bench.poll(&[row(0, 0, 10)]);
    assert_eq!(only(&anew).clock_suspect, None);
}

#[test]
fn a_suspicion_ends_also_where_nothing_is_left_to_read() {
    let mut bench = begun();
    answer(&mut bench, Some(10), right);
    let all_read = |bench: &mut Bench| {
        let end = 1_000 + (bench.now / POLL) as i64 * 150;
        only(&bench.poll(&[row(0, end, end)]))
    };
    let suspect = all_read(&mut bench);
    assert_eq!(suspect.clock_suspect, Some(Skew::Ahead));
    for _ in 0..41 {
        all_read(&mut bench);
    }
    answer(&mut bench, None, right);
    assert_eq!(all_read(&mut bench).clock_suspect, None);
    // And a log without a record has no timestamps.
    answer(&mut bench, Some(10), right);
    for _ in 0..41 {
        all_read(&mut bench);
    }
    poll(&mut bench);
    answer(&mut bench, Some(10), right);
    assert!(all_read(&mut bench).clock_suspect.is_some());
    let end = 1_000 + (bench.now / POLL) as i64 * 150;
    let empty = only(&bench.poll(&[row(0, end, end).kept_from(end)]));
    assert_eq!(empty.clock_suspect, None);
}

#[test]
fn a_topic_that_becomes_compacted_is_no_longer_behind() {
    let mut bench = begun();
    answer(&mut bench, None, nothing_later);
    poll(&mut bench);
    answer(&mut bench, None, nothing_later);
    assert!(only(&poll(&mut bench)).clock_suspect.is_some());
    bench.compacted = Some(true);
    assert_eq!(only(&poll(&mut bench)).clock_suspect, None);
    assert!(answer(&mut bench, None, right).1 > 1, "its past");
}

#[test]
fn when_a_time_to_come_is_gone_the_past_is_judged_before_long() {
    let mut bench = begun();
    answer(&mut bench, Some(10), nothing_later);
    assert_eq!(only(&poll(&mut bench)).clock_suspect, Some(Skew::Ahead));
    bench.polls(40, |i| steady((86_400 / POLL) as i64 + 3 + i));
    for _ in 0..3 {
        answer(&mut bench, None, nothing_later);
        poll(&mut bench);
    }
    let lag = only(&poll(&mut bench));
    assert_eq!(lag.clock_suspect, Some(Skew::Behind));
}

#[test]
fn what_was_watched_of_an_idle_topic_outlives_what_the_broker_told() {
    let mut bench = Bench::new();
    bench.now = 86_400;
    let idle = || vec![row(0, 50, 100)];
    bench.poll(&idle());
    answer(&mut bench, None, nothing_later);
    bench.polls(720, |_| idle());
    answer(&mut bench, None, nothing_later);
    // A record with a time to come.
    bench.polls(41, |_| vec![row(0, 50, 101)]);
    answer(&mut bench, Some(100), nothing_later);
    let lag = only(&bench.poll(&[row(0, 50, 101)]));
    assert_eq!(lag.clock_suspect, Some(Skew::Ahead));
    let age = lag.time_lag.unwrap();
    assert_eq!(age.bound, Bound::AtLeast);
    assert_eq!(age.duration, Duration::from_secs((720 + 42) * POLL));
}

#[test]
fn a_group_says_of_how_many_partitions_and_in_which_direction() {
    let mut bench = Bench::new();
    bench.partitions = 3;
    bench.now = 86_400;
    let rows = |bench: &Bench| -> Vec<Row> {
        let polls = (bench.now / POLL) as i64;
        (0..3)
            .map(|n| row(n, polls * 150, 1_000 + polls * 150))
            .collect()
    };
    for _ in 0..4 {
        bench.poll(&rows(&bench));
        let now = at(bench.now);
        let questions = bench.questions();
        let answers = questions.into_iter().map(|(place, time)| {
            let offset = match (place.partition, time > now) {
                (0, true) => Some(7),
                (1, false) => None,
                (_, true) => None,
                (_, false) => right(time),
            };
            (place, time, offset)
        });
        let answers: Vec<_> = answers.collect();
        bench.engine.seed("kafka", answers);
    }
    let group = bench.poll(&rows(&bench));
    let skews: Vec<_> = group
        .partitions
        .values()
        .map(|lag| lag.clock_suspect)
        .collect();
    assert_eq!(skews, [Some(Skew::Ahead), Some(Skew::Behind), None]);
    let words = "records of 2 of 3 partitions are stamped more than 5 m before or after they came";
    assert!(said(&group.reason).contains(words), "{}", group.reason);
}

#[test]
fn where_nothing_is_deleted_by_time_no_margin_is_unknown() {
    let mut bench = begun();
    answer(&mut bench, Some(10), right);
    assert!(only(&poll(&mut bench)).margin_is_unknown());
    bench.retention_ms = Some(-1);
    let lag = only(&poll(&mut bench));
    assert!(lag.clock_suspect.is_some() && !lag.margin_is_unknown());
    assert!(!said(&bench.group().reason).contains("margin"));
}
