//! Groups and what they are shown with: members, protocols, partitions.

use std::collections::BTreeSet;

use highwater_lag::State;
use highwater_tests::kafka::{self, tools};

use super::{WINDOW, Watch, assert_begins, only};
use crate::kafka_clients::Scene;

#[test]
fn a_group_that_moves_to_the_consumer_protocol_goes_on_under_its_name() {
    let scene = Scene::shared("moved", 2, "mover");
    scene.produce(&[(0, 100), (1, 100)]);
    let classic = scene.read("classic", 2);
    // Members of the new protocol hear of their assignment by heartbeats, five seconds apart: what is called standing
    // still has to be longer.
    let mut watch = Watch::over(&scene, WINDOW * 5);
    let before = watch.until("the classic group at work", |group| {
        (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    assert_eq!(&*before.kind, "classic");

    // The new member comes while the old one is there, as one instance after the other is replaced.
    let modern = scene.read("consumer", 1);
    let both = watch.until("both members", |group| group.members == Some(2));
    assert_eq!(&*both.kind, "consumer");
    drop(classic);
    scene.produce(&[(0, 20), (1, 20)]);
    let after = watch.until("the new member alone, at work", |group| {
        let assigned = group.partitions.values().all(|lag| lag.member.is_some());
        assigned && (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    assert_eq!(&*after.kind, "consumer");
    assert_eq!(after.broker_state.as_deref(), Some("Stable"));
    assert_eq!(
        after.partitions.open()[&scene.place(0)].committed,
        Some(120),
        "{after:#?}"
    );
    drop(modern);
    // A partition between two owners falls behind for a heartbeat; it is not stopped, and nothing goes back.
    watch.was_only(&[State::Ok, State::NoCommit, State::FallingBehind]);
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn an_empty_group_is_kept_with_its_lag_and_a_deleted_one_is_gone() {
    let scene = Scene::shared("left", 1, "leaver");
    let (_, name) = scene.names();
    scene.produce(&[(0, 30)]);
    let member = scene.read("classic", 1);
    let mut watch = Watch::new(&scene);
    watch.until("a group at work", |group| {
        (group.lag_messages, group.members) == (Some(0), Some(1))
    });
    drop(member);
    let empty = watch.until("the empty group", |group| group.members == Some(0));
    assert_eq!(
        (
            empty.state,
            empty.lag_messages,
            empty.broker_state.as_deref()
        ),
        (State::Ok, Some(0), Some("Empty")),
        "it owes nothing"
    );
    scene.produce(&[(0, 5)]);
    let owing = watch.until("its lag", |group| group.lag_messages == Some(5));
    assert_eq!(owing.state, State::Stopped);
    assert_begins(&owing.reason, &format!("{name} has no members and"));

    let delete = ["--delete", "--group", name];
    kafka::tool(&scene.bootstrap, tools::GROUPS, &delete).unwrap();
    watch.until_gone();
    let key = ("kafka".into(), name.into());
    assert!(!watch.engine.groups().contains_key(&key));
}

#[test]
fn a_group_with_members_and_without_a_commit_has_no_commit_and_no_lag_of_zero() {
    let scene = Scene::shared("silent", 1, "newcomer");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 7)]);
    let _member = scene.join("consumer", 1);
    let mut watch = Watch::new(&scene);
    let none = watch.until("its assignment", |group| !group.partitions.is_empty());
    let lag = only(&none);
    assert_eq!((none.state, none.lag_messages), (State::NoCommit, None));
    assert_eq!(
        (lag.committed, lag.lag_by_tools, lag.time_lag, lag.end),
        (None, None, None, Some(7))
    );
    assert_eq!((none.partitions_read, none.partitions_total), (0, Some(1)));
    assert_eq!(
        lag.reason(name, &scene.place(0)),
        format!("{name} has no commit yet on {topic}/0.")
    );
    assert_eq!(scene.oracle_lag(), [None]);
}

#[test]
fn every_partition_that_is_assigned_or_has_a_commit_is_shown() {
    let assigned = Scene::shared("assigned", 2, "half");
    let left = assigned.of_topic("left-behind");
    left.create_topic(2);
    assigned.produce(&[(0, 5)]);
    left.produce(&[(1, 5)]);
    // It read another topic before, and has not read this one yet.
    left.commit(&[(1, 2)]);
    let _member = assigned.join("classic", 2);
    let mut watch = Watch::new(&assigned);
    let whole = watch.until("its assignment", |group| group.partitions.len() == 3);
    let states: Vec<(State, Option<u64>)> = [assigned.place(0), assigned.place(1), left.place(1)]
        .iter()
        .map(|place| {
            let lag = whole.partitions.get(place).unwrap();
            (lag.state, lag.lag_messages)
        })
        .collect();
    assert_eq!(
        states,
        [
            (State::NoCommit, None),
            (State::Ok, Some(0)),
            (State::Ok, Some(3))
        ]
    );
    assert_eq!(
        (whole.partitions_read, whole.partitions_total),
        (1, Some(4))
    );
}
