//! Committed offsets that a tool moves, and offsets that hold no message.

use std::collections::BTreeSet;
use std::time::Instant;

use highwater_lag::State;
use rdkafka::producer::Producer;

use super::{WINDOW, Watch, assert_begins, only};
use crate::kafka_clients::{PATIENCE, Scene, marker_question, now};

#[test]
fn a_reset_backwards_is_told_with_its_width_until_the_window_has_passed() {
    let scene = Scene::shared("reset", 1, "resetter");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 100)]);
    let mut watch = Watch::new(&scene);
    watch.until("no lag", |group| group.lag_messages == Some(0));

    watch.during(|| scene.reset(&["--to-offset", "40"]));
    let back = watch.until("the reset", |group| group.lag_messages == Some(60));
    let lag = only(&back);
    assert_eq!(
        (lag.state, lag.rewound.unwrap().messages),
        (State::Rewound, 60)
    );
    assert_begins(
        &lag.reason(name, &scene.place(0)),
        &format!("{name} went back by 60 messages on {topic}/0"),
    );

    let member = scene.read("classic", 1);
    let again = watch.until("what was read again", |group| group.lag_messages == Some(0));
    assert_eq!(again.state, State::Ok, "{}", again.reason);
    let over = watch.until("the window's end", |group| only(group).rewound.is_none());
    assert_eq!(
        (over.state, over.reason),
        (State::Ok, format!("{name} is up to date on {topic}/0."))
    );
    drop(member);
    watch.was_only(&[State::Ok, State::Rewound]);
    assert_eq!(watch.rewinds, BTreeSet::from([60]));
}

#[test]
fn a_reset_forwards_is_no_rewind_and_no_alarm() {
    let scene = Scene::shared("skipped", 1, "skipper");
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 20)]);
    let mut watch = Watch::new(&scene);
    watch.until("the lag", |group| group.lag_messages == Some(80));
    // A group without members that owes messages is stopped from its first sample on; what counts is what comes then.
    watch.was_only(&[State::Ok, State::Stopped]);
    watch.states.clear();

    watch.during(|| scene.reset(&["--shift-by", "50"]));
    let ahead = watch.until("the reset", |group| group.lag_messages == Some(30));
    assert_eq!((ahead.state, only(&ahead).rewound), (State::Ok, None));
    watch.states.clear();
    watch.during(|| scene.reset(&["--to-latest"]));
    watch.until("the second reset", |group| group.lag_messages == Some(0));
    let later = Instant::now() + WINDOW;
    let still = watch.until("a window without an alarm", |_| Instant::now() > later);
    assert_eq!((still.state, still.lag_by_tools), (State::Ok, Some(0)));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn a_commit_marker_behind_the_last_record_is_nothing_to_read() {
    let scene = Scene::shared("marked", 1, "precise");
    let transactional = scene.producer_in_transaction();
    scene.produce_by(&transactional, &[(0, 10)]);
    transactional.commit_transaction(PATIENCE).unwrap();
    // Ten records, one marker: the reader has read all there is.
    scene.commit(&[(0, 10)]);
    let mut watch = Watch::new(&scene);
    let question = marker_question(&scene, || {
        watch.until("the marker", |group| only(group).end == Some(11));
        watch.engine.marker_questions(now(), usize::MAX)
    });
    let (first, end) = scene
        .records()
        .first_readable(&scene.topic, 0, question.committed, PATIENCE)
        .unwrap();
    assert_eq!((first, end), (None, 11));
    watch.engine.answer_marker(&question, first, end);
    let known = watch.until("the answer", |group| group.lag_messages == Some(0));
    assert_eq!((known.state, known.lag_by_tools), (State::Ok, Some(1)));
    assert!(only(&known).nothing_readable);
    assert_eq!(scene.oracle_lag(), [Some(1)]);
}
