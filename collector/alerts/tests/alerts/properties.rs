//! Properties: against a slow, obvious model; restarts; and a trial that says what a step would have said.

use std::time::Duration;

use highwater_alerts::{
    EventKind, NotInHistory, Options, Outcome, Phase, Point, Rule, Trial, trial,
};
use highwater_lag::State;
use proptest::prelude::*;

use crate::support::{POLL, World, at, behind, lag, rule, time_lag_rule, unknown};

/// What one poll shows of a group; `None`: nothing is known.
fn series() -> impl Strategy<Value = Vec<Option<u64>>> {
    // Runs of one level, as lag has them: independent values would hardly ever hold for long.
    let run = (prop::option::weighted(0.9, 0_u64..120), 1_usize..14);
    prop::collection::vec(run, 1..16).prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(value, times)| std::iter::repeat_n(value, times))
            .collect()
    })
}

fn rules() -> impl Strategy<Value = Rule> {
    (0_u64..8, 0_u64..8).prop_map(|(hold, clear_for)| {
        rule(&format!(
            "id = 'm'\nwatch = 'time_lag'\nover = '60s'\nclear_under = '30s'\nfor = '{}s'\nclear_for = '{}s'",
            hold * POLL,
            clear_for * POLL
        ))
    })
}

/// Time between neighbouring known polls of the longest run at the end of `seen` in which every known value passes.
fn lasted(seen: &[Option<u64>], passes: impl Fn(u64) -> bool) -> Option<Duration> {
    let mut run = Vec::new();
    for value in seen.iter().rev() {
        match value {
            Some(value) if !passes(*value) => break,
            other => run.push(other.is_some()),
        }
    }
    let last_known = run.first().copied().unwrap_or(false);
    let polls = run.windows(2).filter(|pair| pair[0] && pair[1]).count() as u64;
    last_known.then(|| Duration::from_secs(polls * POLL))
}

/// The obvious model: at each poll it reads the whole past anew. Firings in polls: when, and when over.
fn model(rule: &Rule, values: &[Option<u64>]) -> Vec<(usize, Option<usize>)> {
    let mut firings: Vec<(usize, Option<usize>)> = Vec::new();
    for now in 0..values.len() {
        let last = firings.last().copied();
        match last {
            Some((from, None)) => {
                let past = &values[from + 1..=now];
                let recent = firings
                    .iter()
                    .filter(|(at, _)| (from - at) as u64 * POLL <= 3_600)
                    .count();
                let mut clear_for = rule.clear_for;
                if recent >= 3 {
                    let doubled =
                        clear_for.max(Duration::from_secs(60)) * (1 << (recent - 2).min(10));
                    clear_for = doubled.min(Duration::from_secs(1_800)).max(rule.clear_for);
                }
                if lasted(past, |value| value <= 30).is_some_and(|clear| clear >= clear_for) {
                    firings.last_mut().unwrap().1 = Some(now);
                }
            }
            _ => {
                let from = last.and_then(|(_, to)| to).map_or(0, |to| to + 1);
                let past = &values[from..=now];
                if lasted(past, |value| value > 60).is_some_and(|held| held >= rule.hold) {
                    firings.push((now, None));
                }
            }
        }
    }
    firings
}

/// What the engine says of the same values.
fn stepped(rule: &Rule, values: &[Option<u64>]) -> Vec<(usize, Option<usize>)> {
    let mut world = World::new(vec![rule.clone()]);
    let mut firings = Vec::new();
    for (index, value) in values.iter().enumerate() {
        world.group("billing", value.map_or_else(unknown, behind));
        for event in world.step().events {
            match event.kind {
                EventKind::Fired => firings.push((index, None)),
                _ => firings.last_mut().unwrap().1 = Some(index),
            }
        }
    }
    firings
}

/// Random groups of one step: how far each is behind, or that nothing is known.
fn worlds() -> impl Strategy<Value = Vec<(Vec<Option<u64>>, bool, bool)>> {
    let groups = prop::collection::vec(
        prop::option::weighted(0.85, prop::sample::select(vec![0_u64, 20, 45, 90, 400])),
        3,
    );
    let step = (
        groups,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.08),
    );
    prop::collection::vec((step, 1_usize..6), 1..20).prop_map(|steps| {
        steps
            .into_iter()
            .flat_map(|(step, times)| std::iter::repeat_n(step, times))
            .collect()
    })
}

fn many_rules() -> Vec<Rule> {
    vec![
        time_lag_rule(),
        rule("id = 'quick'\nwatch = 'offset_lag'\nover = '2k'\nfor = '15s'\nclear_for = '15s'"),
        rule(
            "id = 'stopped'\nwatch = 'stopped'\nfor = '30s'\nclear_for = '30s'\nseverity = 'critical'",
        ),
        rule("id = 'blind'\nwatch = 'no_data'\nfor = '45s'\nclear_for = '15s'"),
        rule("id = 'down'\nwatch = 'broker_unreachable'\nfor = '30s'\nclear_for = '15s'"),
        rule("id = 'storm'\nwatch = 'rebalance_storm'\nover = '2'\nwithin = '2m'"),
    ]
}

fn walk(steps: &[(Vec<Option<u64>>, bool, bool)], restart_at: Option<usize>) -> Vec<Outcome> {
    let mut world = World::new(many_rules());
    let mut outcomes = Vec::new();
    for (index, (groups, down, gone)) in steps.iter().enumerate() {
        match (*down, world.facts.clusters[0].unreachable.is_some()) {
            (true, false) => world.outage(),
            (false, true) => world.back(),
            _ => {}
        }
        for (number, value) in groups.iter().enumerate() {
            let name = format!("group-{number}");
            let mut facts = value.map_or_else(unknown, behind);
            if value == &Some(400) {
                facts.state = State::Stopped;
            }
            facts.state_since = at(world.now);
            world.group(&name, facts);
            world.facts.groups.last_mut().unwrap().membership = *value;
        }
        if *gone {
            world.gone("group-1");
        }
        if restart_at == Some(index) {
            world.restart();
        }
        outcomes.push(world.step());
    }
    outcomes
}

/// A point of history, and the group that it is of.
fn points() -> impl Strategy<Value = Vec<Point>> {
    let states = prop::sample::select(vec![
        None,
        Some(State::Unknown),
        Some(State::Ok),
        Some(State::FallingBehind),
        Some(State::Stopped),
        Some(State::Stalled),
        Some(State::DataLoss),
    ]);
    let run = (
        states,
        0_u64..200,
        1_usize..12,
        prop::sample::select(vec![15_u64, 15, 15, 60, 900]),
    );
    prop::collection::vec(run, 1..14).prop_map(|runs| {
        let mut points = Vec::new();
        let mut now = 0;
        for (state, seconds, times, gap) in runs {
            for _ in 0..times {
                now += gap;
                let known = !matches!(state, None | Some(State::Unknown));
                points.push(Point {
                    at: at(now),
                    time_lag_ms: known.then_some(seconds * 1_000),
                    lag_messages: known.then_some(seconds * 62),
                    state,
                });
            }
        }
        points
    })
}

fn tried() -> impl Strategy<Value = Rule> {
    prop::sample::select(vec![
        rule("id = 't'\nwatch = 'time_lag'\nover = '1m'\nfor = '1m'\nclear_for = '1m'"),
        rule("id = 't'\nwatch = 'offset_lag'\nover = '5k'\nfor = '30s'\nclear_for = '0'"),
        rule("id = 't'\nwatch = 'stopped'\nfor = '1m'\nclear_for = '30s'"),
        rule("id = 't'\nwatch = 'stalled'\nfor = '0'\nclear_for = '1m'"),
        rule("id = 't'\nwatch = 'data_loss'"),
        rule("id = 't'\nwatch = 'no_data'\nfor = '1m'\nclear_for = '30s'"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_fires_and_clears_as_the_obvious_model_does(rule in rules(), values in series()) {
        prop_assert_eq!(stepped(&rule, &values), model(&rule, &values));
    }

    #[test]
    fn a_restart_at_any_moment_changes_nothing(steps in worlds(), at in any::<prop::sample::Index>()) {
        let restarted = walk(&steps, Some(at.index(steps.len())));
        prop_assert_eq!(restarted, walk(&steps, None));
    }

    #[test]
    fn a_trial_says_what_a_step_would_have_said(rule in tried(), points in points()) {
        let Trial { firings, points: looked, .. } = trial(&rule, &points, &Options::default()).unwrap();
        prop_assert_eq!(looked, points.len());
        let mut world = World::new(vec![rule]);
        let mut events = Vec::new();
        let mut since = (None, at(0));
        for point in &points {
            if since.0 != Some(point.state) {
                since = (Some(point.state), point.at);
            }
            // Where history has nothing, the cluster could not be read.
            match point.state {
                None if world.facts.clusters[0].unreachable.is_none() => {
                    world.facts.clusters[0].unreachable = Some("away".into());
                }
                Some(_) => world.facts.clusters[0].unreachable = None,
                None => {}
            }
            let mut group = lag(point.state.unwrap_or(State::Unknown));
            group.state_since = since.1;
            group.lag_messages = point.lag_messages;
            group.time_lag = point.time_lag_ms.and_then(|millis| crate::support::exact(millis / 1_000));
            world.group("billing", group);
            world.facts.clusters[0].last_read = Some(point.at);
            let outcome = world.engine.step(&world.facts, point.at);
            events.extend(outcome.events.into_iter().map(|event| (event.kind, event.at)));
        }
        let expected: Vec<_> = firings
            .iter()
            .flat_map(|firing| {
                let over = firing.to.map(|to| (EventKind::Resolved, to));
                std::iter::once((EventKind::Fired, firing.from)).chain(over)
            })
            .collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn any_facts_at_any_times_keep_the_books_straight(
        steps in worlds(),
        times in prop::collection::vec(any::<u64>(), 100),
    ) {
        let mut world = World::new(many_rules());
        let mut open = std::collections::BTreeSet::new();
        for ((groups, down, _), now) in steps.iter().zip(&times) {
            world.facts.clusters[0].unreachable = down.then(|| "away".into());
            for (number, value) in groups.iter().enumerate() {
                world.group(&format!("group-{number}"), value.map_or_else(unknown, behind));
            }
            let outcome = world.engine.step(&world.facts, highwater_model::UnixNanos(*now));
            for event in outcome.events {
                // Fires once, and resolves only what fired.
                match event.kind {
                    EventKind::Fired => prop_assert!(open.insert(event.alert)),
                    _ => prop_assert!(open.remove(&event.alert)),
                }
            }
            prop_assert_eq!(world.in_phase(Phase::Firing).len(), open.len());
        }
    }
}

#[test]
fn the_model_sees_firings_at_all() {
    // Guards the property above against a model and an engine that agree on nothing happening.
    let values: Vec<Option<u64>> = [[Some(90); 10], [Some(10); 10], [Some(90); 10]].concat();
    let rule = rule("id = 'm'\nwatch = 'time_lag'\nover = '60s'\nfor = '30s'\nclear_for = '45s'");
    assert_eq!(model(&rule, &values), [(2, Some(13)), (22, None)]);
    assert_eq!(stepped(&rule, &values), model(&rule, &values));
}

#[test]
fn what_history_does_not_keep_cannot_be_tried_and_says_so() {
    let rule = rule("id = 'x'\nwatch = 'rebalance_storm'\nover = '5'");
    let NotInHistory(why) = trial(&rule, &[], &Options::default()).unwrap_err();
    assert!(why.starts_with("Rebalances cannot be tried"), "{why}");
}
