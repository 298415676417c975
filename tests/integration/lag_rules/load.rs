//! Lag while messages come.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use highwater_lag::{GroupLag, State};
use highwater_tests::oracle::{self, Place, Reading};
use rdkafka::producer::{BaseRecord, Producer};

use super::Watch;
use crate::kafka_clients::{Background, PATIENCE, Scene};

/// Some 1,500 messages a second until dropped, evenly over a topic's partitions.
fn load(scene: &Scene, partitions: i32) -> Background {
    const EVERY: Duration = Duration::from_millis(20);
    const AT_ONCE: usize = 30;
    let (topic, producer) = (scene.topic.clone(), scene.producer());
    Background::start(move |stop| {
        let mut partitions = (0..partitions).cycle();
        while !stop.load(Ordering::Relaxed) {
            for partition in partitions.by_ref().take(AT_ONCE) {
                let record = BaseRecord::<str, str>::to(&topic)
                    .partition(partition)
                    .payload("x");
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.poll(Duration::ZERO);
            std::thread::park_timeout(EVERY);
        }
        producer.flush(PATIENCE).unwrap();
    })
}

#[test]
fn under_load_lag_by_tools_lies_within_two_readings_of_kafkas_own_tool() {
    const PARTITIONS: usize = 4;
    const ROUNDS: usize = 4;
    let scene = Scene::shared("load", PARTITIONS as i32, "worker");
    let _load = load(&scene, PARTITIONS as i32);
    let _member = scene.read("classic", PARTITIONS);
    let mut watch = Watch::new(&scene);
    let begun = Instant::now();
    let first = watch.until("commits on every partition", |group| {
        group.partitions_read == PARTITIONS as u32
    });
    let read = || -> BTreeMap<Place, Reading> {
        oracle::offsets(&scene.bootstrap, &["--group", &scene.group]).unwrap()
    };
    let mut before = read();
    let mut widest = 0;
    for round in 1..=ROUNDS {
        let ours = watch.poll().unwrap().unwrap();
        let after = read();
        for (place, lag) in ours.partitions.iter() {
            let key = (scene.group.clone(), scene.topic.clone(), place.partition);
            let ((committed, end), (committed_after, end_after)) =
                (before[&key].known(), after[&key].known());
            let (our_committed, our_end) = (lag.committed.unwrap(), lag.end.unwrap());
            assert!(
                (committed..=committed_after).contains(&our_committed),
                "committed {our_committed}, not within {committed} and {committed_after}"
            );
            assert!(
                (end..=end_after).contains(&our_end),
                "end {our_end}, not within {end} and {end_after}"
            );
            let by_tools = lag.lag_by_tools.unwrap();
            assert_eq!(by_tools, our_end - our_committed);
            let bounds = (end - committed_after)..=(end_after - committed);
            assert!(bounds.contains(&by_tools), "{by_tools} not in {bounds:?}");
            widest = widest.max(bounds.end() - bounds.start());
            eprintln!(
                "round {round}, partition {}: committed {committed} <= {our_committed} <= {committed_after}, end {end} <= {our_end} <= {end_after}, lag by tools {by_tools} in {bounds:?}",
                place.partition
            );
        }
        assert_eq!(ours.partitions.len(), PARTITIONS);
        assert!(
            ours.partitions.values().all(|lag| lag.state == State::Ok),
            "{ours:#?}"
        );
        before = after;
    }
    let ends = |group: &GroupLag| -> i64 {
        let ends = group.partitions.values();
        ends.map(|lag| lag.end.unwrap()).sum()
    };
    let last = watch.poll().unwrap().unwrap();
    let rate = (ends(&last) - ends(&first)) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{ROUNDS} rounds at {rate:.0} messages a second, the widest bounds {widest} apart");
    assert!(rate > 300.0, "{rate:.0} messages a second are no load");
}
