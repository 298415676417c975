//! What happens to topics: they grow, are compacted, are deleted and made anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use highwater_lag::State;
use highwater_tests::kafka::{self, Kafka};

use super::{Watch, exact_age, hours, only, said};
use crate::kafka_clients::Scene;

#[test]
fn added_partitions_are_told_as_not_read_and_count_once_they_are_assigned_or_committed() {
    let scene = Scene::shared("grown", 2, "growing");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 10), (1, 10)]);
    let _member = scene.read("classic", 2);
    let by_hand = scene.of_group("by-hand");
    by_hand.commit(&[(0, 10), (1, 10)]);

    let mut watch = Watch::new(&scene);
    let whole = watch.until("both partitions read", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(0))
    });
    assert_eq!(whole.partitions_total, Some(2));
    assert!(!whole.reason.contains("partitions read"), "{whole:?}");

    scene.add_partitions(4);
    let part = watch.until("the new partitions", |group| {
        group.partitions_total == Some(4)
    });
    assert_eq!((part.partitions_read, part.state), (2, State::Ok));
    assert_eq!(
        said(&part.reason),
        format!("{name} is up to date on {topic}; 2 of 4 partitions read.")
    );
    let assigned = watch.until("their assignment", |group| group.partitions.len() == 4);
    let new = &assigned.partitions.open()[&scene.place(3)];
    assert_eq!((new.state, new.committed), (State::Ok, None));
    assert!(new.member.is_some());
    scene.produce(&[(2, 5), (3, 5)]);
    let read = watch.until("four partitions read", |group| {
        (group.partitions_read, group.lag_messages) == (4, Some(0))
    });
    assert_eq!(
        said(&read.reason),
        format!("{name} is up to date on {topic}.")
    );
    // Between its assignment and its first commit, a partition has no commit: that is said, and is no alarm.
    watch.was_only(&[State::Ok, State::NoCommit]);

    // A group without members, whose partitions are those it has commits on.
    let mut watch = Watch::new(&by_hand);
    let part = watch.until("the group", |_| true);
    assert_eq!(
        (part.partitions_read, part.partitions_total),
        (2, Some(4)),
        "{part:#?}"
    );
    by_hand.commit(&[(2, 5)]);
    watch.until("the third partition", |group| group.partitions_read == 3);
    watch.was_only(&[State::Ok]);
}

#[test]
fn the_lag_on_a_compacted_topic_is_labelled_an_upper_bound() {
    let compacted = Scene::without_topic(kafka::shared(), "compacted", "keeper");
    let plain = compacted.of_topic("plain");
    for (scene, policy) in [(&compacted, "compact"), (&plain, "delete")] {
        scene.create_topic_with(1, &[("cleanup.policy", policy)]);
        scene.produce_keyed(50);
        scene.commit(&[(0, 10)]);
    }
    let mut watch = Watch::new(&compacted);
    let both = watch.until("both topics", |group| group.partitions.len() == 2);
    let (bound, exact) = (
        &both.partitions.open()[&compacted.place(0)],
        &both.partitions.open()[&plain.place(0)],
    );
    assert_eq!(
        (bound.lag_messages, exact.lag_messages),
        (Some(40), Some(40))
    );
    assert!(bound.lag_is_upper_bound && !exact.lag_is_upper_bound);
    // What compaction leaves out is no data loss, and its age is no matter of retention.
    assert_eq!((bound.lost_messages, bound.retention_left), (None, None));
    compacted.commit(&[(0, 50)]);
    let read = watch.until("the compacted topic read", |group| {
        group.partitions.open()[&compacted.place(0)].lag_messages == Some(0)
    });
    assert!(!read.partitions.open()[&compacted.place(0)].lag_is_upper_bound);
}

#[test]
fn a_topic_made_anew_leaves_committed_offsets_beyond_its_end_and_says_so() {
    let scene = Scene::shared("anew", 1, "survivor");
    let (topic, name) = scene.names();
    // The old topic's hundred records are ten hours old, and the first thirty are gone.
    let ages = std::iter::repeat_n(hours(10), 100);
    scene.produce_aged(ages);
    scene.delete_records(0, 30);
    scene.commit(&[(0, 90)]);
    let mut watch = Watch::new(&scene);
    let old = watch.until("the old topic's age", |group| {
        exact_age(group).is_some_and(|age| age > hours(9))
    });
    assert_eq!((old.lag_messages, old.lag_by_tools), (Some(10), Some(10)));

    // Between two polls: nobody saw that it was away.
    let made = Instant::now();
    scene.delete_topic();
    scene.create_topic(1);
    scene.produce(&[(0, 20)]);
    // A reader that did not notice commits where it thinks it is.
    scene.commit(&[(0, 100)]);
    let beyond = watch.until("the new end", |group| only(group).end == Some(20));
    let lag = only(&beyond);
    assert_eq!(
        (lag.state, lag.lag_messages, lag.lag_by_tools, lag.time_lag),
        (State::BeyondEnd, None, Some(-80), None)
    );
    assert_eq!(
        said(&lag.reason(name, &scene.place(0))),
        format!(
            "{name} is 80 messages past the end of {topic}/0 (committed 100, end 20): the topic was made anew or cut, and what {name} reads next is up to its reset policy."
        )
    );
    assert_eq!(scene.oracle_lag(), [Some(-80)]);

    scene.reset(&["--to-offset", "5"]);
    let again = watch.until("the reset and its age", |group| {
        only(group).committed == Some(5) && exact_age(group).is_some()
    });
    assert_eq!(again.lag_messages, Some(15));
    // Nothing of the old topic's hours is left: its record is as old as the new topic at most.
    let age = again.time_lag.unwrap().duration;
    let oldest = made.elapsed() + Duration::from_secs(1);
    assert!(age <= oldest, "{age:?} of a topic that is {oldest:?} old");
    scene.reset(&["--to-latest"]);
    let fine = watch.until("the window's end", |group| {
        group.lag_messages == Some(0) && only(group).rewound.is_none()
    });
    assert_eq!(
        (fine.state, fine.lag_by_tools, only(&fine).lost_messages),
        (State::Ok, Some(0), None)
    );
}

#[test]
fn a_deleted_topic_takes_its_commits_along_and_leaves_the_rest_of_the_group_alone() {
    let kept = Scene::without_topic(kafka::shared(), "kept", "reader-of-two");
    let gone = kept.of_topic("gone");
    for scene in [&kept, &gone] {
        scene.create_topic(1);
        scene.produce(&[(0, 10)]);
        scene.commit(&[(0, 4)]);
    }
    let mut watch = Watch::new(&kept);
    watch.until("both topics", |group| group.lag_messages == Some(12));
    gone.delete_topic();
    let left = watch.until("the topic's end", |group| group.partitions.len() == 1);
    let lag = &left.partitions.open()[&kept.place(0)];
    assert_eq!((left.lag_messages, lag.lag_messages), (Some(6), Some(6)));
    assert_eq!((left.partitions_read, left.partitions_total), (1, Some(1)));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn commits_that_outlive_their_topic_are_orphans_and_beyond_its_end_once_it_is_made_anew() {
    // A broker forgets the commits of a topic that it sees deleted. Here it gets them back, as from a backup. Kafka's own
    // tool is no oracle for them: it gives up on the whole group.
    let mut kafka = Kafka::start().unwrap();
    let scene = Scene::on(&kafka, "restored", 1, "orphan");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 80)]);
    let mut watch = Watch::new(&scene);
    watch.until("the lag", |group| group.lag_messages == Some(20));

    let backup = tempfile::tempdir().unwrap();
    kafka.kill().unwrap();
    copy_offsets(&kafka.data(), backup.path());
    kafka.start_again().unwrap();
    scene.delete_topic();
    watch.until("the commit's end", |group| group.partitions.is_empty());
    kafka.kill().unwrap();
    copy_offsets(backup.path(), &kafka.data());
    kafka.start_again().unwrap();

    let orphan = watch.until("the orphan", |group| !group.partitions.is_empty());
    let lag = only(&orphan);
    assert_eq!(
        (lag.state, lag.committed, lag.end),
        (State::Unknown, Some(80), None)
    );
    assert_eq!(
        (lag.lag_messages, lag.lag_by_tools, lag.time_lag),
        (None, None, None)
    );
    assert_eq!(
        orphan.reason,
        format!(
            "The lag of {name} on {topic}/0 is unknown: the topic is gone, and the commit is an orphan offset."
        )
    );

    scene.create_topic(1);
    scene.produce(&[(0, 20)]);
    let beyond = watch.until("the new topic", |group| {
        group.state == State::BeyondEnd && only(group).end == Some(20)
    });
    assert_eq!(
        (beyond.lag_messages, beyond.lag_by_tools),
        (None, Some(-60))
    );
    assert_eq!(scene.oracle_lag(), [Some(-60)]);
}

/// Copies the partitions of the topic that holds commits from one folder of data to another, in place of what is there.
fn copy_offsets(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("__consumer_offsets-")
        {
            continue;
        }
        let copy = to.join(entry.file_name());
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(entry.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
}
