//! Pending, firing, clear; and what is unknown in between.

use highwater_alerts::{EventKind, NoticeKind, Phase};
use highwater_lag::{Bound, PartitionLag, Rewound, Seen, Skew, State, TimeLag, Why};
use highwater_model::UnixNanos;
use std::time::Duration;

use crate::support::{
    World, at, behind, exact, lag, of_partitions, partition, place, plain, rule, time_lag_rule,
    told, unknown,
};

#[test]
fn it_fires_after_its_time_and_not_a_poll_sooner() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    let before = world.run(120);
    assert!(before.events.is_empty());
    let [pending] = world.in_phase(Phase::Pending)[..] else {
        panic!("none is pending");
    };
    assert_eq!(world.engine.fires_at(pending), Some(at(120)));
    let outcome = world.step();
    assert_eq!(outcome.events.len(), 1);
    assert_eq!(world.engine.fires_at(world.firing()[0]), None);
    assert_eq!(outcome.events[0].kind, EventKind::Fired);
    assert_eq!(told(&outcome, NoticeKind::Fired), [("oncall", 1)]);
    let alert = world.firing()[0];
    assert_eq!(alert.pending_since, at(0));
    assert_eq!(alert.fired_at, Some(at(120)));
    assert_eq!((alert.value, alert.over), (Some(200_000.0), Some(60_000.0)));
}

#[test]
fn a_pending_alert_that_is_interrupted_begins_anew() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(105);
    // Exactly at the threshold is not over it.
    world.group("billing", behind(60));
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    world.group("billing", behind(200));
    assert!(world.run(120).events.is_empty());
    assert_eq!(world.step().events.len(), 1);
}

#[test]
fn it_clears_only_under_the_lower_threshold_for_long_enough() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    assert_eq!(world.firing().len(), 1);
    // Under the threshold, over half of it: neither.
    world.group("billing", behind(45));
    world.run(3_600);
    assert_eq!(world.firing().len(), 1);
    world.group("billing", behind(30));
    world.run(285);
    // A breach in between starts the time over.
    world.group("billing", behind(61));
    world.step();
    world.group("billing", behind(10));
    assert!(world.run(300).events.is_empty());
    let outcome = world.step();
    assert_eq!(outcome.events[0].kind, EventKind::Resolved);
    assert_eq!(told(&outcome, NoticeKind::Resolved), [("oncall", 1)]);
    let resolved = world.in_phase(Phase::Resolved)[0];
    let why = plain(resolved.why_resolved.as_deref().unwrap());
    assert_eq!(why, "It has been at 30 s or under for 5 m.");
}

#[test]
fn a_resolved_alert_is_shown_for_an_hour() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    world.group("billing", behind(0));
    world.run(330);
    assert_eq!(world.in_phase(Phase::Resolved).len(), 1);
    world.run(3_500);
    assert_eq!(world.in_phase(Phase::Resolved).len(), 1);
    world.run(150);
    assert_eq!(world.engine.alerts().count(), 0);
}

#[test]
fn no_data_is_neither_fine_nor_a_breach() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(60);
    // Time in which nothing is known does not count towards firing, nor does it end a pending alert.
    world.group("billing", unknown());
    assert!(world.run(3_600).events.is_empty());
    let pending = world.in_phase(Phase::Pending)[0];
    let (since, why) = pending.unknown_since.clone().unwrap();
    assert_eq!(since, at(60));
    assert!(why.contains("not authorised"), "{why}");
    assert_eq!(world.engine.fires_at(pending), None);
    world.group("billing", behind(200));
    assert!(world.run(75).events.is_empty());
    assert_eq!(world.step().events.len(), 1);
    // Nor does it end one that fires.
    world.group("billing", unknown());
    assert!(world.run(7_200).events.is_empty());
    assert_eq!(world.firing().len(), 1);
    // Nor does it count towards clear.
    world.group("billing", behind(0));
    world.run(150);
    world.group("billing", unknown());
    world.run(600);
    world.group("billing", behind(0));
    assert!(world.run(150).events.is_empty());
    assert_eq!(world.run(45).events.len(), 1);
}

#[test]
fn unknown_lag_of_one_partition_is_no_all_clear() {
    let mut world = World::new(vec![time_lag_rule()]);
    let known = |seconds| (place("orders", 0), partition(seconds));
    let mut blind = partition(0);
    (blind.lag_messages, blind.time_lag, blind.state) = (None, None, State::Unknown);
    let blind = (place("orders", 1), blind);
    world.group("billing", of_partitions(vec![known(200), blind.clone()]));
    world.run(150);
    assert_eq!(world.firing().len(), 1, "what is known is enough to fire");
    world.group("billing", of_partitions(vec![known(0), blind]));
    world.run(3_600);
    assert_eq!(world.firing().len(), 1);
    assert!(world.firing()[0].unknown_since.is_some());
}

#[test]
fn a_lag_of_at_least_something_below_the_threshold_is_unknown() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    let mut bounded = behind(20);
    bounded.time_lag = Some(TimeLag {
        duration: Duration::from_secs(20),
        bound: Bound::AtLeast,
    });
    world.group("billing", bounded);
    assert!(world.run(1_200).events.is_empty());
    assert_eq!(world.firing().len(), 1);
}

#[test]
fn the_time_a_group_is_stopped_counts_from_when_it_stopped() {
    let stopped = rule("id = 's'\nwatch = 'stopped'\nfor = '10m'");
    let mut world = World::new(vec![stopped]);
    world.now = 1_000;
    let mut group = lag(State::Stopped);
    group.state_since = at(460);
    world.group("billing", group.clone());
    assert!(world.run(60).events.is_empty());
    assert_eq!(world.in_phase(Phase::Pending)[0].pending_since, at(460));
    assert_eq!(world.step().events.len(), 1);
}

#[test]
fn a_worse_state_of_another_partition_hides_nothing() {
    let stalled = rule("id = 's'\nwatch = 'stalled'\nfor = '1m'");
    let mut world = World::new(vec![stalled]);
    let mut lost = partition(10);
    lost.state = State::DataLoss;
    let mut stuck = partition(90);
    stuck.state = State::Stalled;
    stuck.why = Why::Offsets(Seen {
        at: at(100),
        still_since: at(10),
        abandoned: false,
        end_moved_on: true,
        drains: false,
        retention_ms: None,
    });
    let group = of_partitions(vec![
        (place("orders", 0), lost),
        (place("orders", 1), stuck),
    ]);
    assert_eq!(group.state, State::DataLoss);
    world.now = 100;
    world.group("billing", group);
    world.step();
    let alert = world.firing()[0];
    assert_eq!(alert.subject.partition, Some(1));
    assert!(
        plain(&alert.sentence).starts_with("billing has not moved on orders/1 for 1 m 30 s"),
        "{}",
        alert.sentence
    );
}

#[test]
fn a_reset_of_a_group_that_is_stopped_is_told() {
    let mut world = World::new(vec![rule("id = 'rewind'\nwatch = 'rewind'\nfor = '0s'")]);
    let stopped = |rewound: Option<Rewound>| PartitionLag {
        state: State::Stopped,
        why: Why::GroupUnknown("it has no members.".into()),
        rewound,
        ..partition(90)
    };
    let group = |rewound| of_partitions(vec![(place("points", 3), stopped(rewound))]);
    world.group("loyalty", group(None));
    assert!(world.run(30).events.is_empty());
    let rewound = Rewound {
        at: at(30),
        messages: 4_000,
    };
    world.group("loyalty", group(Some(rewound)));
    world.step();
    let alert = world.firing()[0];
    assert!(
        plain(&alert.sentence)
            .starts_with("loyalty went back by 4,000 messages on partition 3 of points"),
        "{}",
        alert.sentence
    );
    assert_eq!(alert.subject.partition, Some(3));
    world.group("loyalty", group(None));
    world.run(90);
    assert!(world.firing().is_empty());
}

#[test]
fn a_sentence_says_who_how_much_on_what_and_which_way() {
    let mut world = World::new(vec![time_lag_rule()]);
    let mut one = partition(200);
    (one.lag_messages, one.state) = (Some(12_400), State::FallingBehind);
    world.group(
        "billing",
        of_partitions(vec![(place("orders", 0), one.clone())]),
    );
    world.run(150);
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "billing is 12,400 messages (3 m 20 s) behind on orders and falling further behind."
    );
    let other = (place("orders", 1), partition(10));
    world.group(
        "billing",
        of_partitions(vec![(place("orders", 0), one), other]),
    );
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "billing is 13,020 messages (3 m 20 s) behind on orders and falling further behind; \
         the worst is partition 0 of orders with 12,400 messages (3 m 20 s)."
    );
}

#[test]
fn what_fires_three_times_in_an_hour_flaps_and_clears_more_slowly() {
    let quick = rule("id = 'q'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'\nclear_for = '2m'");
    let mut world = World::new(vec![quick]);
    let mut fired = Vec::new();
    for _ in 0..3 {
        world.group("billing", behind(200));
        world.step();
        assert_eq!(world.firing().len(), 1);
        fired.push(world.firing()[0].flapping);
        world.group("billing", behind(0));
        if fired.len() < 3 {
            world.run(135);
            assert!(world.firing().is_empty());
        }
    }
    assert_eq!(fired, [false, false, true]);
    // Twice as long now.
    world.run(240);
    assert_eq!(world.firing().len(), 1);
    world.step();
    assert!(world.firing().is_empty());
    // And twice as long again the next time: waves shorter than that are one alert.
    world.group("billing", behind(200));
    world.step();
    let mut events = 0;
    for _ in 0..5 {
        world.group("billing", behind(0));
        events += world.run(300).events.len();
        world.group("billing", behind(200));
        events += world.run(30).events.len();
    }
    assert_eq!(events, 0);
    assert_eq!(world.firing().len(), 1);
}

#[test]
fn a_clock_that_goes_back_fires_nothing_and_ends_nothing() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.now = 1_000_000;
    world.run(60);
    world.now = 10;
    assert!(world.step().events.is_empty());
    assert_eq!(world.in_phase(Phase::Pending).len(), 1);
    // What it held before still counts, and the rest is waited for on the new clock.
    assert!(world.run(60).events.is_empty());
    assert_eq!(world.run(30).events.len(), 1);
    for extreme in [0, u64::MAX] {
        let outcome = world.engine.step(&world.facts, UnixNanos(extreme));
        assert!(outcome.events.is_empty());
    }
    assert_eq!(world.firing().len(), 1);
}

#[test]
fn a_clock_that_jumps_ahead_is_no_time_that_passed() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.step();
    world.now += 86_400;
    assert!(world.step().events.is_empty());
    assert_eq!(world.in_phase(Phase::Pending).len(), 1);
}

#[test]
fn a_rule_about_a_topic_sees_only_its_partitions() {
    let only = rule("id = 'o'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'\ntopic = ['refunds']");
    let mut world = World::new(vec![only]);
    let group = |orders, refunds| {
        of_partitions(vec![
            (place("orders", 0), partition(orders)),
            (place("refunds", 0), partition(refunds)),
        ])
    };
    world.group("billing", group(500, 5));
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    world.group("billing", group(0, 90));
    world.step();
    assert_eq!(world.firing()[0].value, Some(90_000.0));
}

#[test]
fn falling_behind_needs_a_lag_above_the_mark_or_the_state() {
    let slow = rule("id = 'f'\nwatch = 'falling_behind'\nover = '30m'\nfor = '0'");
    let mut world = World::new(vec![slow]);
    // Always half a second behind: the difference of two equal rates says hours by chance.
    let mut steady = behind(1);
    steady.drain = Some(Duration::from_secs(7_200));
    world.group("billing", steady.clone());
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    steady.time_lag = exact(61);
    world.group("billing", steady);
    world.step();
    assert_eq!(world.firing().len(), 1);
    let mut never = behind(5);
    never.state = State::FallingBehind;
    world.group("shipping", never);
    world.step();
    assert_eq!(world.firing().len(), 2);
}

#[test]
fn a_short_retention_is_not_always_in_breach() {
    let margin =
        rule("id = 'm'\nwatch = 'retention_margin'\nover = '12h'\nfor = '0'\nclear_for = '0'");
    let mut world = World::new(vec![margin]);
    let with = |left: u64, seconds: u64| {
        let mut one = partition(seconds);
        one.retention_left = Some(Duration::from_secs(left));
        of_partitions(vec![(place("orders", 0), one)])
    };
    // Of an hour, fifty minutes are left.
    world.group("billing", with(3_000, 600));
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    // Of an hour, ten minutes are left.
    world.group("billing", with(600, 3_000));
    // Of a week, eleven hours are left.
    world.group("shipping", with(11 * 3_600, 157 * 3_600));
    world.step();
    assert_eq!(world.firing().len(), 2);
    let sentences: Vec<String> = world
        .firing()
        .iter()
        .map(|alert| plain(&alert.sentence))
        .collect();
    assert!(
        sentences[0].starts_with("billing loses unread messages of partition 0 of orders in 10 m"),
        "{sentences:?}"
    );
    // Nothing unread, nothing to lose.
    world.group(
        "billing",
        of_partitions(vec![(place("orders", 0), partition(0))]),
    );
    world.step();
    assert_eq!(world.firing().len(), 1);
}

#[test]
fn a_margin_that_a_suspect_clock_makes_unknown_is_not_all_right() {
    let margin =
        rule("id = 'm'\nwatch = 'retention_margin'\nover = '12h'\nfor = '0'\nclear_for = '0'");
    let mut world = World::new(vec![margin]);
    let with = |left: Option<u64>, skew: Option<Skew>| {
        let mut one = partition(3_000);
        one.why = Why::Offsets(Seen {
            at: at(100),
            still_since: at(10),
            abandoned: false,
            end_moved_on: true,
            drains: false,
            retention_ms: Some(7 * 86_400_000),
        });
        one.retention_left = left.map(Duration::from_secs);
        one.clock_suspect = skew;
        of_partitions(vec![(place("orders", 0), one)])
    };
    world.group("billing", with(Some(600), None));
    world.step();
    assert_eq!(world.firing().len(), 1);
    world.group("billing", with(None, Some(Skew::Behind)));
    world.run(300);
    assert_eq!(world.firing().len(), 1, "not known is not over");
    world.group("billing", with(Some(600_000), None));
    world.step();
    assert_eq!(world.firing().len(), 0);
    world.group("billing", with(Some(600), None));
    world.step();
    assert_eq!(world.firing().len(), 1);
    // Of a compacted topic nothing is deleted by its age, so that nothing is unknown of it.
    let mut compacted = with(None, Some(Skew::Ahead)).partitions.open();
    for lag in compacted.values_mut() {
        lag.lag_is_upper_bound = true;
    }
    world.group("billing", of_partitions(compacted.into_iter().collect()));
    world.step();
    assert_eq!(world.firing().len(), 0);
}

#[test]
fn partitions_without_a_member_count_only_where_others_have_one() {
    let lone = rule("id = 'u'\nwatch = 'unassigned_partitions'\nfor = '0'");
    let mut world = World::new(vec![lone]);
    let mut without = partition(0);
    without.member = None;
    // A topic the group has left keeps its commits.
    let left = of_partitions(vec![
        (place("old", 0), without.clone()),
        (place("orders", 0), partition(0)),
    ]);
    world.group("billing", left);
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    let half = of_partitions(vec![
        (place("orders", 0), partition(0)),
        (place("orders", 1), without),
    ]);
    world.group("billing", half);
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "partition 1 of orders has no member of billing: nobody reads it."
    );
}

#[test]
fn a_transaction_open_for_long_fires_with_its_age() {
    let open = rule("id = 't'\nwatch = 'open_transaction'\nover = '15m'");
    let mut world = World::new(vec![open]);
    world.now = 2_000;
    let mut stuck = partition(0);
    stuck.open_transaction = Some(highwater_lag::OpenTransaction {
        messages: 20,
        since: at(1_000),
    });
    world.group("billing", of_partitions(vec![(place("orders", 3), stuck)]));
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "A transaction on partition 3 of orders is open for 16 m 40 s: 20 messages that billing cannot read yet."
    );
}
