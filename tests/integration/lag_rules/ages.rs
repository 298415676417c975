//! Ages of messages: until retention deletes them, and by clocks that are wrong.

use std::time::{Duration, Instant};

use highwater_lag::{Bound, State};
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
