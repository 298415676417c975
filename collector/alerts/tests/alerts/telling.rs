//! Who is told: grouping, silences, acknowledgement, reminders, bounds.

use std::sync::Arc;

use highwater_alerts::{
    Engine, EngineError, Globs, Maintenance, MaintenanceSpec, Matchers, Memory, NoticeKind,
    Options, Silence, SilenceError,
};

use crate::support::{World, at, behind, rule, time_lag_rule, told};

fn silence(id: &str, group: &str, from: u64, to: u64) -> Silence {
    Silence {
        id: id.into(),
        matchers: Matchers {
            group: Globs(vec![group.to_owned()]),
            ..Matchers::default()
        },
        starts: at(from),
        ends: at(to),
        author: "j.lindqvist".into(),
        comment: "access request open".into(),
        created_at: at(from),
        ended: None,
    }
}

#[test]
fn alerts_of_one_step_and_cluster_are_one_notice() {
    let mut world = World::telling(vec![time_lag_rule()], &["oncall", "mail"]);
    for index in 0..30 {
        world.group(&format!("group-{index}"), behind(200));
    }
    let outcome = world.run(150);
    assert_eq!(
        told(&outcome, NoticeKind::Fired),
        [("mail", 30), ("oncall", 30)]
    );
    assert_eq!(outcome.notices[0].cluster.as_deref(), Some("eu"));
    assert_eq!(outcome.events.len(), 30);
}

#[test]
fn a_resolve_is_told_to_exactly_those_who_were_told() {
    let mut only = time_lag_rule();
    only.tell = vec!["mail".into(), "nobody".into()];
    let mut world = World::telling(vec![only.clone()], &["oncall", "mail"]);
    world.group("billing", behind(200));
    let outcome = world.run(150);
    assert_eq!(told(&outcome, NoticeKind::Fired), [("mail", 1)]);
    let unknown: Vec<_> = world
        .engine
        .unknown_channels()
        .map(|(_, name)| &**name)
        .collect();
    assert_eq!(unknown, ["nobody"]);
    only.tell = vec!["oncall".into()];
    world.engine.set_rules(vec![only]);
    assert_eq!(told(&world.step(), NoticeKind::Fired), [("oncall", 1)]);
    world.group("billing", behind(0));
    let outcome = world.run(330);
    assert_eq!(
        told(&outcome, NoticeKind::Resolved),
        [("mail", 1), ("oncall", 1)]
    );
}

#[test]
fn an_alert_that_fires_still_is_told_when_its_silence_ends() {
    let mut world = World::new(vec![time_lag_rule()]);
    world
        .engine
        .silence(silence("s1", "bill*", 0, 600))
        .unwrap();
    world.group("billing", behind(200));
    world.group("shipping", behind(200));
    let outcome = world.run(600);
    assert_eq!(told(&outcome, NoticeKind::Fired), [("oncall", 1)]);
    assert_eq!(
        &*outcome.notices[0].alerts[0].subject.group.clone().unwrap(),
        "shipping"
    );
    let silenced: Vec<_> = world
        .firing()
        .iter()
        .filter_map(|alert| alert.silenced_by.clone())
        .collect();
    assert_eq!(silenced, [Arc::from("s1")]);
    assert_eq!(told(&world.step(), NoticeKind::Fired), [("oncall", 1)]);
}

#[test]
fn one_that_resolves_while_it_is_silenced_is_never_told() {
    let mut world = World::new(vec![time_lag_rule()]);
    world
        .engine
        .silence(silence("s1", "*", 0, 100_000))
        .unwrap();
    world.group("billing", behind(200));
    let mut outcome = world.run(300);
    world.group("billing", behind(0));
    outcome.notices.extend(world.run(600).notices);
    assert!(world.firing().is_empty());
    assert!(outcome.notices.is_empty());
}

#[test]
fn a_silence_that_is_ended_early_counts_no_more() {
    let mut world = World::new(vec![time_lag_rule()]);
    world
        .engine
        .silence(silence("s1", "*", 0, 100_000))
        .unwrap();
    world.group("billing", behind(200));
    assert!(world.run(300).notices.is_empty());
    world
        .engine
        .end_silence("s1", "ana", at(world.now))
        .unwrap();
    assert_eq!(told(&world.step(), NoticeKind::Fired), [("oncall", 1)]);
    assert_eq!(
        world.engine.end_silence("s1", "ana", at(world.now)),
        Err(EngineError::SilenceOver("s1".into()))
    );
    assert_eq!(
        &*world.engine.silences()[0].ended.clone().unwrap().by,
        "ana"
    );
}

#[test]
fn a_silence_needs_an_end_within_30_days_an_author_and_something_to_silence() {
    let mut engine = Engine::new(vec![], vec![], Options::default(), Memory::default());
    let good = silence("s", "x", 0, 600);
    let cases = [
        (
            Silence {
                ends: at(0),
                ..good.clone()
            },
            SilenceError::EndsBeforeStart,
        ),
        (
            Silence {
                created_at: at(600),
                ..good.clone()
            },
            SilenceError::EndsInThePast,
        ),
        (
            Silence {
                ends: at(30 * 86_400 + 1),
                ..good.clone()
            },
            SilenceError::TooLong,
        ),
        (
            Silence {
                matchers: Matchers::default(),
                ..good.clone()
            },
            SilenceError::NamesNothing,
        ),
        (
            Silence {
                author: " ".into(),
                ..good.clone()
            },
            SilenceError::Text {
                key: "author",
                why: "is missing".to_owned(),
            },
        ),
    ];
    for (bad, why) in cases {
        assert_eq!(engine.silence(bad), Err(EngineError::Silence(why)));
    }
    engine.silence(good.clone()).unwrap();
    assert_eq!(
        engine.silence(good),
        Err(EngineError::Silence(SilenceError::Taken("s".into())))
    );
    for index in 0..999 {
        engine
            .silence(silence(&format!("n{index}"), "x", 0, 600))
            .unwrap();
    }
    let more = silence("more", "x", 0, 600);
    assert_eq!(
        engine.silence(more),
        Err(EngineError::Silence(SilenceError::TooMany(1_000)))
    );
}

#[test]
fn a_maintenance_window_recurs_and_may_pass_midnight() {
    // 17 March 2026 was a Tuesday; 1,773,705,600 is its midnight.
    let tuesday = 1_773_705_600_u64;
    let moment =
        |hours: f64| highwater_model::UnixNanos(((tuesday as f64 + hours * 3_600.0) * 1e9) as u64);
    let window = |days: &[&str], from: &str, to: &str| {
        let spec = MaintenanceSpec {
            name: "backup".to_owned(),
            days: days.iter().map(|day| (*day).to_owned()).collect(),
            from: from.to_owned(),
            to: to.to_owned(),
            ..MaintenanceSpec::default()
        };
        Maintenance::from_spec(spec)
    };
    let night = window(&["tue"], "22:00", "04:00").unwrap();
    for (hours, active) in [
        (0.0, false),
        (21.9, false),
        (22.0, true),
        (27.9, true),
        (28.0, false),
        (46.0, false),
        (22.0 + 7.0 * 24.0, true),
    ] {
        assert_eq!(night.is_active(moment(hours)), active, "{hours}");
    }
    let always = window(&[], "00:00", "24:00").unwrap();
    assert!(always.is_active(moment(0.0)) && always.is_active(moment(23.99)));
    for (days, from, to, named) in [
        (vec!["someday"], "02:00", "04:00", "days = \"someday\""),
        (vec![], "2:00", "04:00", "from = \"2:00\""),
        (vec![], "02:00", "25:00", "to = \"25:00\""),
        (vec![], "02:00", "02:00", "to = \"02:00\""),
    ] {
        let error = window(&days, from, to).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("backup"), "{error}");
    }
}

#[test]
fn a_maintenance_window_silences_as_a_silence_does() {
    let mut world = World::new(vec![time_lag_rule()]);
    let spec = MaintenanceSpec {
        name: "all day".to_owned(),
        from: "00:00".to_owned(),
        to: "24:00".to_owned(),
        group: Globs(vec!["billing".to_owned()]),
        ..MaintenanceSpec::default()
    };
    world
        .engine
        .set_maintenance(vec![Maintenance::from_spec(spec).unwrap()]);
    world.group("billing", behind(200));
    assert!(world.run(300).notices.is_empty());
    assert_eq!(
        world.firing()[0].silenced_by.as_deref(),
        Some("maintenance:all day")
    );
    world.engine.set_maintenance(vec![]);
    assert_eq!(told(&world.step(), NoticeKind::Fired), [("oncall", 1)]);
}

#[test]
fn a_critical_alert_that_nobody_acknowledged_is_told_again_after_four_hours() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(150);
    let quiet = world.run(4 * 3_600 - 30);
    assert!(quiet.notices.is_empty());
    let again = world.run(60);
    assert_eq!(told(&again, NoticeKind::Fired), [("oncall", 1)]);
    assert!(again.notices[0].reminder && again.events.is_empty());
    let id = world.firing()[0].id.clone();
    let event = world
        .engine
        .acknowledge(&id, " ana ", at(world.now))
        .unwrap();
    assert_eq!(event.by.as_deref(), Some("ana"));
    assert!(world.run(10 * 3_600).notices.is_empty());
    assert_eq!(&*world.firing()[0].acknowledged.clone().unwrap().by, "ana");
    world
        .engine
        .unacknowledge(&id, "ana", at(world.now))
        .unwrap();
    assert_eq!(told(&world.step(), NoticeKind::Fired), [("oncall", 1)]);
    // Its end is told all the same.
    world.engine.acknowledge(&id, "ana", at(world.now)).unwrap();
    world.group("billing", behind(0));
    assert_eq!(told(&world.run(330), NoticeKind::Resolved), [("oncall", 1)]);
    assert_eq!(
        world.engine.acknowledge(&id, "ana", at(world.now)),
        Err(EngineError::NotFiring(id))
    );
}

#[test]
fn a_warning_is_told_once() {
    let mut world = World::new(vec![rule(
        "id = 'w'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'",
    )]);
    world.group("billing", behind(200));
    let outcome = world.run(20 * 3_600);
    assert_eq!(told(&outcome, NoticeKind::Fired), [("oncall", 1)]);
}

#[test]
fn of_too_many_alerts_the_worst_stay_and_the_rest_is_counted() {
    let rules = vec![
        rule(
            "id = 'z'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'\nseverity = 'critical'\ngroup = ['bad-*']",
        ),
        rule("id = 'w'\nwatch = 'time_lag'\nover = '1m'\nfor = '0'\nclear_for = '0'"),
    ];
    let mut world = World::new(rules.clone());
    let options = Options {
        most_alerts: 10,
        ..Options::default()
    };
    world.engine = Engine::new(rules, vec!["oncall".into()], options, Memory::default());
    for index in 0..12 {
        world.group(&format!("a-{index:02}"), behind(200));
    }
    for index in 0..4 {
        world.group(&format!("bad-{index}"), behind(200));
    }
    let outcome = world.step();
    assert_eq!(outcome.not_kept, 10);
    assert_eq!(outcome.events.len(), 10);
    assert_eq!(world.firing().len(), 10);
    assert_eq!(
        world
            .firing_rules()
            .iter()
            .filter(|rule| **rule == "z")
            .count(),
        4
    );
    // Nobody is told twice of those who stay, nor once of those who do not.
    assert!(world.run(150).notices.is_empty());
}

#[test]
fn a_restart_neither_forgets_nor_fires_twice() {
    let mut world = World::new(vec![time_lag_rule()]);
    world.group("billing", behind(200));
    world.run(60);
    world.restart();
    assert!(world.run(60).events.is_empty());
    let outcome = world.step();
    assert_eq!(told(&outcome, NoticeKind::Fired), [("oncall", 1)]);
    let id = world.firing()[0].id.clone();
    world.engine.acknowledge(&id, "ana", at(world.now)).unwrap();
    world.restart();
    // It was away for a day.
    world.now += 86_400;
    assert_eq!(world.run(60).notices, []);
    let alert = world.firing()[0];
    assert_eq!((&alert.id, alert.acknowledged.is_some()), (&id, true));
}
