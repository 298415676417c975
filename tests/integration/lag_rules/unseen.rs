//! What cannot be seen: rights that are denied, clusters that are away.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use highwater_brokers::{KafkaConfig, KafkaProbe, Poller, PollerEvent, PollerOptions, Questions};
use highwater_lag::{Config, LagEngine, State};
use highwater_tests::kafka::{Kafka, tools};

use super::{WINDOW, Watch};
use crate::kafka_clients::{PATIENCE, Scene, group};

#[test]
fn what_the_probe_may_not_see_is_unknown_with_the_missing_right_and_disturbs_nothing_else() {
    let kafka = Kafka::start_with_login("probe", "let-me-in").unwrap();
    let open = Scene::on(&kafka, "open", 1, "reader");
    let (closed, secret) = (open.of_topic("closed"), open.of_group("secret"));
    closed.create_topic(1);
    for scene in [&open, &closed] {
        scene.produce(&[(0, 10)]);
    }
    open.commit(&[(0, 7)]);
    secret.commit(&[(0, 7)]);
    let _member = closed.read("classic", 1);

    let mut config = KafkaConfig::new("kafka", [kafka.login_bootstrap().unwrap()]);
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "probe"),
        ("sasl.password", "let-me-in"),
    ] {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    let probe = KafkaProbe::connect(config).unwrap();
    let mut watch = Watch::with(probe, &open, WINDOW);
    watch.until("what nobody denies", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(3))
    });
    let known = group(&watch.engine, &secret.group);
    assert_eq!(known.lag_messages, Some(3));

    let resources = ["--topic", &closed.topic, "--group", &secret.group];
    let acl = |verb: &[&str]| {
        let deny = ["--deny-principal", "User:probe", "--operation", "Describe"];
        let arguments = [verb, &deny, &resources].concat();
        kafka.tool(tools::ACLS, &arguments).unwrap();
    };
    acl(&["--add"]);
    let part = watch.until("the topic's denial", |group| {
        let hidden = group.partitions.get(&closed.place(0));
        hidden.is_some_and(|lag| lag.state == State::Unknown)
    });
    let partitions = part.partitions.open();
    let place = closed.place(0);
    let (hidden, seen) = (&partitions[&place], &partitions[&open.place(0)]);
    assert_eq!((hidden.lag_messages, hidden.committed), (None, None));
    assert_eq!(
        hidden.reason(&closed.group, &place),
        format!(
            "The lag of {} on {}/0 is unknown: Broker: Topic authorization failed; the probe's user needs the right to DESCRIBE the topic.",
            closed.group, closed.topic
        )
    );
    assert_eq!((seen.lag_messages, seen.lag_by_tools), (Some(3), Some(3)));
    assert_eq!(part.lag_messages, Some(3), "of what is known");
    let denied = group(&watch.engine, &secret.group);
    assert_eq!(
        (denied.state, denied.lag_messages, denied.members),
        (State::Unknown, None, None)
    );
    assert_eq!(
        denied.reason,
        format!(
            "The lag of {} is unknown: Broker: Group authorization failed; the probe's user needs the right to DESCRIBE the group.",
            secret.group
        )
    );

    acl(&["--remove", "--force"]);
    watch.until("what is allowed again", |group| {
        (group.partitions_read, group.lag_messages) == (2, Some(3))
    });
    assert_eq!(group(&watch.engine, &secret.group).lag_messages, Some(3));
    assert_eq!(watch.rewinds, BTreeSet::new());
}

#[test]
fn a_cluster_that_is_away_or_silent_does_not_disturb_another() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let scene = Scene::shared("near", 1, "undisturbed");
    scene.produce(&[(0, 10)]);
    scene.commit(&[(0, 6)]);
    let mut far = Kafka::start().unwrap();
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silent.local_addr().unwrap().to_string();

    // One engine for all, as in the product.
    let engine = Arc::new(Mutex::new(LagEngine::new(Config::default())));
    let (told, heard) = mpsc::channel();
    let clusters = [
        ("kafka", scene.bootstrap.clone()),
        ("far", far.bootstrap()),
        ("silent", silence),
    ];
    let pollers: Vec<Poller> = clusters
        .into_iter()
        .map(|(cluster, bootstrap)| {
            let options = PollerOptions {
                interval: INTERVAL,
                ..PollerOptions::default()
            };
            let (engine, told, name) = (Arc::clone(&engine), told.clone(), scene.group.clone());
            let listener = move |event| {
                let mut engine = engine.lock().unwrap();
                let read = match event {
                    PollerEvent::Sample { sample, .. } => {
                        engine.step(&sample, sample.finished);
                        true
                    }
                    PollerEvent::Lost { reason, at, .. } => {
                        engine.cluster_lost(cluster, &reason, at);
                        false
                    }
                    PollerEvent::Ends { .. } => return Questions::new(),
                };
                if cluster == "kafka" {
                    assert_eq!(group(&engine, &name).lag_messages, Some(4));
                }
                told.send((cluster, read, Instant::now())).ok();
                Questions::new()
            };
            Poller::start(
                KafkaConfig::new(cluster, [bootstrap.as_str()]),
                options,
                listener,
            )
            .unwrap()
        })
        .collect();

    // When the near cluster was read, until the others are as awaited.
    let reads_until = |awaited: &mut BTreeSet<(&str, bool)>| {
        let deadline = Instant::now() + PATIENCE;
        let mut reads = vec![Instant::now()];
        while !awaited.is_empty() {
            let (cluster, read, at) = heard.recv_timeout(PATIENCE).unwrap();
            assert!(Instant::now() < deadline, "waiting for {awaited:?}");
            assert!(cluster != "kafka" || read, "the near cluster was lost");
            if cluster == "kafka" {
                reads.push(at);
            }
            awaited.remove(&(cluster, read));
        }
        reads.push(Instant::now());
        let gaps = reads.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        (reads.len() - 2, gaps.max().unwrap())
    };
    let (_, before) = reads_until(&mut BTreeSet::from([("kafka", true), ("far", true)]));
    far.kill().unwrap();
    let (reads, widest) = reads_until(&mut BTreeSet::from([("far", false), ("silent", false)]));
    eprintln!(
        "{reads} reads while two clusters were away, {widest:?} apart at most ({before:?} before)"
    );
    assert!(reads >= 5, "{reads} reads");
    // Away costs ten seconds a call; a poll of the near cluster waits for none of them.
    assert!(
        widest < Duration::from_secs(4),
        "{widest:?} between two reads"
    );
    for poller in pollers {
        assert!(poller.stop(PATIENCE));
    }
}
