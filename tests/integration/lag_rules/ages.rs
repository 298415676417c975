//! Ages of messages: until retention deletes them, and by clocks that are wrong.

use std::time::{Duration, Instant};

use highwater_lag::{Bound, Skew, State};
use highwater_tests::kafka;

use super::{Watch, assert_begins, exact_age, hours, only};
use crate::kafka_clients::{Scene, now};

#[test]
fn the_margin_of_retention_is_told_before_messages_are_lost_and_the_loss_is_counted_after() {
    let scene = Scene::without_topic(kafka::shared(), "short-lived", "laggard");
    let (topic, name) = scene.names();
    let retention = (hours(14).as_millis()).to_string();
    scene.create_topic_with(1, &[("retention.ms", &retention)]);
    // A record a minute for twenty hours: a segment goes as a whole, so that older ones are there yet.
    let minutes = (0..1_200).rev();
    scene.produce_aged(minutes.map(|minute| Duration::from_secs(minute * 60)));
    scene.commit(&[(0, 7 * 60)]);
    let mut watch = Watch::new(&scene);
    let warned = watch.until("the margin", |group| exact_age(group).is_some());
    let lag = only(&warned);
    let left = lag.retention_left.unwrap();
    assert!(
        left.abs_diff(hours(1)) < Duration::from_secs(2_400),
        "{left:?} of fourteen hours"
    );
    assert_eq!(warned.retention_left, lag.retention_left);
    assert!(
        warned.reason.contains("; unread messages are deleted in "),
        "{}",
        warned.reason
    );
    assert_eq!((lag.lag_messages, lag.lost_messages), (Some(780), None));

    scene.delete_records(0, 460);
    let lost = watch.until("the loss", |group| group.state == State::DataLoss);
    let lag = only(&lost);
    assert_eq!(
        (lag.lag_messages, lag.lost_messages, lag.lag_by_tools),
        (Some(740), Some(40), Some(780))
    );
    assert_begins(
        &lag.reason(name, &scene.place(0)),
        &format!("{name} lost 40 messages on {topic}/0"),
    );
    assert_eq!(scene.oracle_lag(), [Some(780)]);

    scene.commit(&[(0, 1_200)]);
    let over = watch.until("the window's end", |group| group.state == State::Ok);
    assert_eq!((over.lag_messages, over.retention_left), (Some(0), None));
}

#[test]
fn a_producers_wrong_clock_does_not_age_what_was_seen_to_arrive() {
    let scene = Scene::shared("misdated", 1, "dated");
    scene.commit(&[(0, 0)]);
    let mut watch = Watch::new(&scene);
    watch.until("the empty topic", |group| group.lag_messages == Some(0));
    let made = Instant::now();
    // Of two days ago, of now, and of half an hour to come: a broker takes an hour at most.
    scene.produce_aged(std::iter::repeat_n(hours(48), 10));
    scene.produce(&[(0, 10)]);
    scene.produce_stamped([now() + hours(1) / 2]);
    for committed in [5, 15, 20] {
        scene.commit(&[(0, committed)]);
        let seen = watch.until("its age", |group| {
            only(group).committed == Some(committed) && only(group).end == Some(21)
        });
        let time = seen.time_lag.unwrap();
        // It arrived after the last poll before it was made.
        let oldest = made.elapsed() + Duration::from_secs(2);
        assert_eq!(time.bound, Bound::Exact);
        assert!(time.duration <= oldest, "{time:?}, not {oldest:?} at most");
    }
}

#[test]
fn a_timestamp_that_is_still_to_come_makes_the_clock_suspect() {
    let scene = Scene::shared("to-come", 1, "early");
    let (_, name) = scene.names();
    scene.produce(&[(0, 5)]);
    scene.commit(&[(0, 2)]);
    let mut watch = Watch::new(&scene);
    let right = watch.until("the lag", |group| group.lag_messages == Some(3));
    assert_eq!(only(&right).clock_suspect, None);
    // The engine asks about clocks every ten minutes: another one asks at once.
    scene.produce_stamped([now() + hours(1) / 2]);
    let mut watch = Watch::new(&scene);
    let wrong = watch.until("the doubt", |group| only(group).clock_suspect.is_some());
    let lag = only(&wrong);
    assert_eq!(lag.clock_suspect, Some(Skew::Ahead));
    assert_eq!((lag.lag_messages, lag.retention_left), (Some(4), None));
    let said = lag.reason(name, &scene.place(0)).replace('\u{a0}', " ");
    assert!(
        said.contains("; clock suspect: records are stamped more than 5 m after they came"),
        "{said}"
    );
}

#[test]
fn timestamps_of_before_a_record_came_make_the_clock_suspect() {
    let scene = Scene::shared("copied", 1, "copier");
    scene.produce(&[(0, 5)]);
    scene.commit(&[(0, 2)]);
    let mut watch = Watch::new(&scene);
    watch.until("the lag", |group| group.lag_messages == Some(3));
    // As MirrorMaker has it: what comes now is of an hour ago. The five before are of now, so they are deleted.
    scene.produce_aged(std::iter::repeat_n(hours(1), 10));
    scene.delete_records(0, 5);
    scene.commit(&[(0, 7)]);
    let wrong = watch.until("the doubt", |group| only(group).clock_suspect.is_some());
    let lag = only(&wrong);
    assert_eq!(lag.clock_suspect, Some(Skew::Behind));
    assert_eq!((lag.lag_messages, lag.retention_left), (Some(8), None));
    let time = lag.time_lag.unwrap();
    assert!(
        time.duration < Duration::from_secs(600),
        "{time:?}: of what was seen, not of the timestamps"
    );
}
