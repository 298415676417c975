//! Outages, groups that are gone, and what inhibits what.

use highwater_alerts::{EdgeFacts, NoticeKind, Phase, ServiceFacts, default_rules};
use highwater_lag::State;
use std::time::Duration;

use crate::support::{
    World, at, behind, lag, of_partitions, partition, place, plain, rule, time_lag_rule, told,
    unknown,
};

#[test]
fn the_default_rules_are_quiet_on_an_idle_cluster() {
    let mut world = World::new(default_rules());
    for index in 0..20 {
        world.group(&format!("group-{index}"), lag(State::Ok));
    }
    // A batch group that is not running, a short retention, a new group, a share group.
    let mut idle = lag(State::Ok);
    idle.members = Some(0);
    world.group("batch", idle);
    let mut short = partition(120);
    short.retention_left = Some(Duration::from_secs(3_480));
    let mut short = of_partitions(vec![(place("hourly", 0), short)]);
    short.time_lag = crate::support::exact(20);
    world.group("hourly", short);
    world.group("new", lag(State::NoCommit));
    let mut share = unknown();
    share.kind = "share".into();
    world.group("share", share);
    world.facts.queues.push(crate::support::queue(
        "orders-dlt",
        5_000,
        &["TimeoutException"],
    ));
    let outcome = world.run(7_200);
    assert!(outcome.events.is_empty(), "{:?}", outcome.events);
    assert_eq!(world.engine.alerts().count(), 0);
}

#[test]
fn an_outage_is_one_alert_of_500_groups() {
    let mut world = World::new(default_rules());
    for index in 0..500 {
        world.group(&format!("group-{index}"), lag(State::Ok));
    }
    world.run(60);
    world.outage();
    let mut events = Vec::new();
    for _ in 0..80 {
        // Some facts stay as they were, some turn unknown, some are missing.
        world.group("group-1", unknown());
        world.gone("group-2");
        events.extend(world.step().events);
    }
    assert_eq!(events.len(), 1);
    assert_eq!(world.firing_rules(), ["broker-unreachable"]);
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "eu cannot be read for 19 m 45 s: no broker answers."
    );
    // Back again: what settles within a minute is no alert.
    world.back();
    for index in 0..500 {
        let mut stopped = behind(1_200);
        (stopped.state, stopped.state_since) = (State::Stopped, at(0));
        world.group(&format!("group-{index}"), stopped);
    }
    let mut outcome = world.run(45);
    for index in 0..500 {
        world.group(&format!("group-{index}"), lag(State::Ok));
    }
    outcome.events.extend(world.run(300).events);
    let kinds: Vec<_> = outcome
        .events
        .iter()
        .map(|event| (&*event.rule, event.kind))
        .collect();
    assert_eq!(
        kinds,
        [("broker-unreachable", highwater_alerts::EventKind::Resolved)]
    );
}

#[test]
fn an_alert_of_before_an_outage_stays_and_is_not_told_again() {
    let mut rules = default_rules();
    rules.retain(|rule| ["time-lag", "broker-unreachable"].contains(&&*rule.id));
    let mut world = World::new(rules);
    world.group("billing", behind(200));
    world.run(150);
    let id = world.firing()[0].id.clone();
    world.outage();
    let during = world.run(1_200);
    assert_eq!(
        told(&during, NoticeKind::Fired),
        [("oncall", 1)],
        "the outage itself"
    );
    let inhibited = world
        .firing()
        .into_iter()
        .find(|alert| alert.id == id)
        .unwrap();
    assert!(inhibited.inhibited_by.is_some());
    world.back();
    let after = world.run(600);
    assert!(told(&after, NoticeKind::Fired).is_empty(), "{after:?}");
    assert_eq!(world.firing()[0].id, id);
    assert!(world.firing()[0].inhibited_by.is_none());
}

#[test]
fn an_edge_of_an_unreachable_cluster_is_shown_and_not_told() {
    let edges = rule("id = 'e'\nwatch = 'edge_errors'\nover = '5%'\nfor = '0'");
    let down = rule("id = 'b'\nwatch = 'broker_unreachable'\nfor = '1m'");
    let mut world = World::new(vec![edges, down]);
    world.run(30);
    world.outage();
    world.facts.edges.push(edge(100, 40));
    let outcome = world.run(60);
    assert_eq!(world.firing_rules(), ["e"]);
    assert!(outcome.notices.is_empty());
}

fn edge(attempts: u64, errors: u64) -> EdgeFacts {
    EdgeFacts {
        cluster: "eu".into(),
        topic: "orders".into(),
        group: "billing".into(),
        services: vec![],
        attempts,
        errors,
        wait_p95: None,
        window: Duration::from_secs(300),
    }
}

#[test]
fn errors_of_fewer_than_ten_attempts_say_nothing_and_are_let_go_after_an_hour() {
    let errors = rule("id = 'e'\nwatch = 'edge_errors'\nover = '5%'\nfor = '0'");
    let wait = rule("id = 'w'\nwatch = 'edge_wait'\nover = '5s'\nfor = '0'");
    let mut world = World::new(vec![errors, wait]);
    world.facts.edges = vec![edge(9, 9)];
    world.step();
    assert_eq!(world.engine.alerts().count(), 0);
    let mut slow = edge(41, 1);
    slow.errors = 3;
    slow.wait_p95 = Some(Duration::from_millis(5_001));
    world.facts.edges = vec![slow];
    world.step();
    assert_eq!(world.firing_rules(), ["e", "w"]);
    let errors = world
        .firing()
        .into_iter()
        .find(|alert| &*alert.rule == "e")
        .unwrap();
    assert_eq!(
        plain(&errors.sentence),
        "billing fails 7.3% of its attempts on orders: 3 of 41 in 5 m."
    );
    world.facts.edges = vec![edge(3, 0)];
    world.run(3_600);
    assert_eq!(world.firing().len(), 2);
    world.facts.edges.clear();
    world.run(60);
    assert!(world.firing().is_empty());
    let why = world.in_phase(Phase::Resolved)[0]
        .why_resolved
        .clone()
        .unwrap();
    assert_eq!(plain(&why), "Nothing has been known of it for 1 h.");
}

#[test]
fn a_group_that_is_gone_resolves_with_that_reason() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    world.gone("billing");
    // One look without it may be a look at facts of different moments.
    assert!(world.step().events.is_empty());
    // Nor is another look at the same read.
    let again = world.engine.step(&world.facts, at(world.now));
    assert!(again.events.is_empty());
    world.now += 15;
    let outcome = world.step();
    assert_eq!(told(&outcome, NoticeKind::Resolved), [("oncall", 1)]);
    assert_eq!(
        outcome.events[0].sentence,
        "billing is no longer there on eu."
    );
}

#[test]
fn a_group_that_cannot_be_seen_is_not_gone() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    world.outage();
    world.gone("billing");
    assert!(world.run(7_200).events.is_empty());
    assert_eq!(world.firing().len(), 1);
    assert_eq!(
        &*world.firing()[0].unknown_since.clone().unwrap().1,
        "no broker answers"
    );
}

#[test]
fn a_cluster_that_is_no_longer_configured_takes_its_alerts_along() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    world.facts.clusters[0].name = "us".into();
    let outcome = world.step();
    assert_eq!(outcome.events[0].sentence, "eu is no longer configured.");
}

#[test]
fn a_rule_that_is_removed_or_off_takes_its_alerts_along() {
    for off in [true, false] {
        let mut world = World::new(vec![time_lag_rule()]);
        world.group("billing", behind(200));
        world.run(150);
        let mut other = time_lag_rule();
        other.enabled = false;
        world
            .engine
            .set_rules(if off { vec![other] } else { vec![] });
        let outcome = world.step();
        let why = if off {
            "Its rule was switched off."
        } else {
            "Its rule was removed."
        };
        assert_eq!(outcome.events[0].sentence, why);
        assert!(world.firing().is_empty());
    }
}

#[test]
fn a_stopped_group_inhibits_its_lag_but_not_what_is_worse() {
    let rules = vec![
        rule("id = 'stopped'\nwatch = 'stopped'\nfor = '0'"),
        time_lag_rule(),
        rule("id = 'offset-lag'\nwatch = 'offset_lag'\nover = '1k'\nfor = '0'"),
        rule("id = 'margin'\nwatch = 'retention_margin'\nover = '12h'\nfor = '0'"),
    ];
    let mut world = World::new(rules);
    let mut one = partition(200);
    (one.state, one.retention_left) = (State::Stopped, Some(Duration::from_secs(60)));
    world.group("billing", of_partitions(vec![(place("orders", 0), one)]));
    let outcome = world.run(300);
    assert_eq!(
        world.firing_rules(),
        ["margin", "offset-lag", "stopped", "time-lag"]
    );
    let mut told: Vec<&str> = outcome
        .notices
        .iter()
        .flat_map(|notice| notice.alerts.iter().map(|alert| &*alert.rule))
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["margin", "stopped"]);
    // It moves again and is still behind: now the lag is worth telling, and offset lag is not beside it.
    world.group(
        "billing",
        of_partitions(vec![(place("orders", 0), partition(200))]),
    );
    let outcome = world.run(300);
    let fired: Vec<&str> = outcome
        .notices
        .iter()
        .filter(|notice| notice.kind == NoticeKind::Fired)
        .flat_map(|notice| notice.alerts.iter().map(|alert| &*alert.rule))
        .collect();
    assert_eq!(fired, ["time-lag"]);
}

#[test]
fn a_service_that_falls_silent_fires_and_one_silent_for_a_week_is_retired() {
    let silent = rule("id = 'n'\nwatch = 'no_spans'\nover = '10m'\nservice = ['bill*']");
    let mut world = World::new(vec![silent]);
    world.now = 1_000_000;
    let service = |name: &str, seconds| ServiceFacts {
        service: name.into(),
        last_span_at: at(seconds),
    };
    world.facts.services = vec![
        service("billing", 1_000_000 - 601),
        service("billing-old", 1_000_000 - 8 * 86_400),
        service("shipping", 0),
    ];
    world.step();
    let names: Vec<_> = world
        .firing()
        .iter()
        .map(|alert| alert.subject.service.clone())
        .collect();
    assert_eq!(names, [Some("billing".into())]);
    world.facts.services[0].last_span_at = at(world.now);
    world.run(150);
    assert!(world.firing().is_empty());
}

#[test]
fn lag_that_is_unknown_is_an_alert_of_its_own() {
    let blind = rule("id = 'no-data'\nwatch = 'no_data'\nfor = '5m'");
    let mut world = World::new(vec![blind]);
    world.now = 1_000;
    let mut group = unknown();
    group.state_since = at(1_000);
    world.group("billing", group);
    assert!(world.run(300).events.is_empty());
    assert_eq!(world.step().events.len(), 1);
    assert_eq!(
        world.firing()[0].sentence,
        "The lag of billing is unknown: not authorised to read its offsets."
    );
}

#[test]
fn spans_refused_by_the_collector_fire_and_a_restart_of_it_is_no_refusal() {
    let mut rules = default_rules();
    rules.retain(|rule| &*rule.id == "collector-refuses");
    let mut world = World::new(rules);
    world.facts.collector.refused_requests_total = 70;
    assert!(
        world.run(60).events.is_empty(),
        "refused before anybody looked"
    );
    world.facts.collector.refused_requests_total = 90;
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "The collector refused 20 requests in 5 m."
    );
    world.run(600);
    assert!(world.firing().is_empty());
    world.facts.collector.refused_requests_total = 0;
    assert!(world.run(60).events.is_empty());
    world.facts.collector.refused_requests_total = 3;
    world.step();
    assert_eq!(
        plain(&world.firing()[0].sentence),
        "The collector refused 3 requests in 5 m."
    );
}
