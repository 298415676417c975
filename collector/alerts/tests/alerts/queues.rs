//! Dead letters and rebalances: what the engine counts itself.

use highwater_alerts::Phase;

use crate::support::{World, at, lag, plain, queue, rule};
use highwater_lag::State;

#[test]
fn causes_at_the_first_sight_are_old_and_later_ones_are_new() {
    let mut world = World::new(vec![rule("id = 'c'\nwatch = 'dead_letter_cause'")]);
    world.facts.queues = vec![queue("orders-dlt", 3, &["Timeout", "Refused"])];
    world.run(300);
    assert_eq!(world.engine.alerts().count(), 0);
    world.restart();
    world.facts.queues = vec![queue("orders-dlt", 4, &["Timeout", "BadCard"])];
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "orders-dlt has a cause never seen before: BadCard."
    );
    // It was gone for a while and is not new again.
    world.facts.queues = vec![queue("orders-dlt", 4, &["Timeout"])];
    world.run(3_700);
    assert!(world.firing().is_empty());
    world.facts.queues = vec![queue("orders-dlt", 5, &["BadCard", "Refused"])];
    world.run(60);
    assert!(world.firing().is_empty());
}

#[test]
fn a_queue_that_appears_later_begins_with_nothing() {
    let mut world = World::new(vec![
        rule("id = 'c'\nwatch = 'dead_letter_cause'"),
        rule("id = 'n'\nwatch = 'dead_letters_new'"),
    ]);
    world.run(300);
    world.facts.queues = vec![queue("orders-dlt", 3, &["Timeout"])];
    world.step();
    assert_eq!(world.firing_rules(), ["c", "n"]);
    // Not so one that was there all the time and was only recognised later.
    let mut old = queue("old-dlt", 9_000, &[]);
    old.oldest_at = Some(at(0));
    world.facts.queues.push(old);
    world.step();
    assert_eq!(world.firing_rules(), ["c", "n"]);
}

#[test]
fn queues_recognised_one_after_another_at_a_start_are_not_new() {
    let mut world = World::new(vec![
        rule("id = 'c'\nwatch = 'dead_letter_cause'"),
        rule("id = 'n'\nwatch = 'dead_letters_new'"),
    ]);
    world.run(30);
    let mut unread = queue("orders-dlt", 700, &[]);
    (unread.arrived_total, unread.read_at) = (None, None);
    world.facts.queues = vec![unread];
    world.run(120);
    world.facts.queues = vec![queue("orders-dlt", 700, &["Timeout"])];
    world.run(60);
    assert_eq!(world.engine.alerts().count(), 0);
}

#[test]
fn dead_letters_are_new_for_their_window() {
    let mut world = World::new(vec![rule(
        "id = 'n'\nwatch = 'dead_letters_new'\nover = '4'\nwithin = '10m'",
    )]);
    world.facts.queues = vec![queue("orders-dlt", 1_000, &[])];
    world.run(60);
    world.facts.queues = vec![queue("orders-dlt", 1_004, &[])];
    world.run(30);
    assert_eq!(world.engine.alerts().count(), 0);
    world.facts.queues = vec![queue("orders-dlt", 1_005, &[])];
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "orders-dlt got 5 dead letters in 10 m and holds 1,005."
    );
    world.run(600);
    assert_eq!(world.in_phase(Phase::Resolved).len(), 1);
    // A topic made anew counts from its new end.
    world.facts.queues = vec![queue("orders-dlt", 50, &[])];
    world.run(60);
    assert!(world.firing().is_empty());
}

#[test]
fn arrivals_between_two_kept_samples_leave_the_window_too() {
    let mut world = World::new(vec![rule("id = 'n'\nwatch = 'dead_letters_new'")]);
    world.facts.queues = vec![queue("orders-dlt", 10, &[])];
    world.step();
    // A second look a second later, and then nothing more.
    world.now -= 14;
    world.facts.queues = vec![queue("orders-dlt", 12, &[])];
    world.step();
    assert_eq!(world.firing().len(), 1);
    world.run(660);
    assert!(world.firing().is_empty());
}

#[test]
fn rate_and_age_of_dead_letters_are_judged_as_told() {
    let mut world = World::new(vec![
        rule("id = 'rate'\nwatch = 'dead_letter_rate'\nover = '1/min'\nfor = '0'"),
        rule("id = 'age'\nwatch = 'dead_letter_age'\nover = '1d'"),
    ]);
    world.now = 200_000;
    let mut facts = queue("orders-dlt", 245, &[]);
    (facts.per_hour, facts.oldest_at) = (Some(306.0), Some(at(100_000)));
    world.facts.queues = vec![facts.clone()];
    world.step();
    let sentences: Vec<String> = world
        .firing()
        .iter()
        .map(|alert| plain(&alert.sentence))
        .collect();
    assert_eq!(
        sentences,
        [
            "The oldest dead letter of orders-dlt is 1 d 4 h old.",
            "orders-dlt grows by 5.1/min and holds 245."
        ]
    );
    // Unknown ends neither.
    (facts.per_hour, facts.oldest_at) = (None, None);
    world.facts.queues = vec![facts.clone()];
    world.run(600);
    assert_eq!(world.firing().len(), 2);
    (facts.per_hour, facts.retained) = (Some(0.0), Some(0));
    world.facts.queues = vec![facts];
    world.run(600);
    assert!(world.firing().is_empty());
}

#[test]
fn more_changes_of_membership_than_allowed_are_a_storm() {
    let mut world = World::new(vec![rule(
        "id = 'r'\nwatch = 'rebalance_storm'\nover = '5'\nwithin = '10m'\nclear_for = '0'",
    )]);
    world.group("billing", lag(State::Ok));
    let members = |world: &mut World, hash| {
        world.facts.groups[0].membership = hash;
        world.step();
    };
    // The first sight is no change, and unknown is none either.
    for hash in [
        Some(1),
        None,
        Some(1),
        Some(2),
        Some(3),
        Some(4),
        Some(5),
        None,
        Some(6),
    ] {
        members(&mut world, hash);
    }
    assert!(world.firing().is_empty());
    members(&mut world, Some(7));
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "The members of billing or their assignments changed 6 times in 10 m."
    );
    world.run(600);
    assert!(world.firing().is_empty());
}
