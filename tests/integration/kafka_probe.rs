//! The Kafka probe and the lag engine against a real Apache Kafka, with Kafka's own tools as the oracle.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use highwater_brokers::{
    BrokerRecord, Poller, PollerEvent, PollerOptions, Questions, ReadOptions, ReadStop,
};
use highwater_lag::{Bound, Config, GroupLag, LagEngine, State};
use highwater_model::UnixNanos;
use highwater_model::broker::ClusterState;
use highwater_tests::kafka::{self, Kafka, tools};
use highwater_tests::oracle;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::kafka_clients::{PATIENCE, Scene, group, marker_question, now, poll_until, seed};

#[test]
fn every_partitions_lag_by_tools_is_what_kafkas_own_tool_prints() {
    let behind = Scene::shared("oracle", 4, "behind");
    behind.produce(&[(0, 100), (1, 37), (2, 100)]);
    // Of partition 2, the first 50 are deleted.
    behind.delete_records(2, 50);

    let (beyond, live) = (behind.of_group("beyond"), behind.of_group("live"));
    behind.commit(&[(0, 60), (1, 37), (2, 10)]);
    beyond.commit(&[(0, 150)]);
    live.commit(&[(0, 1), (1, 2)]);
    let _member = live.join("classic", 4);

    let names = [&behind, &beyond, &live].map(|scene| scene.group.as_str());
    let mut probe = behind.probe();
    let mut engine = LagEngine::new(Config::default());
    for _ in 0..2 {
        let sample = poll_until(&mut probe, "three groups, one with a member", |sample| {
            let assigned = |name: &str| {
                let members = sample.groups.get(name)?.members.as_ref().ok()?;
                Some(
                    members
                        .iter()
                        .map(|member| member.assignment.len())
                        .sum::<usize>(),
                )
            };
            names.iter().all(|name| sample.groups.contains_key(*name))
                && assigned(&live.group) == Some(4)
        });
        engine.step(&sample, sample.finished);
    }

    let ours: BTreeMap<oracle::Place, Option<i64>> = names
        .iter()
        .flat_map(|name| {
            let lags = group(&engine, name).partitions;
            let lags = lags.open().into_iter();
            lags.map(|(place, lag)| {
                let key = ((*name).to_owned(), place.topic.to_string(), place.partition);
                (key, lag.lag_by_tools)
            })
        })
        .collect();
    let asked: Vec<&str> = names.iter().flat_map(|name| ["--group", name]).collect();
    let theirs = oracle::lag(&behind.bootstrap, &asked).unwrap();
    assert_eq!(theirs.len(), 3 + 1 + 4, "{theirs:?}");
    assert_eq!(ours, theirs);

    // And beside their number, what can still be read.
    let lost = group(&engine, &behind.group);
    let cut = &lost.partitions.open()[&behind.place(2)];
    assert_eq!((cut.lag_messages, cut.lost_messages), (Some(50), Some(40)));
    assert_eq!(lost.state, State::DataLoss);
    let beyond = group(&engine, &beyond.group);
    assert_eq!(
        (beyond.state, beyond.lag_messages),
        (State::BeyondEnd, None)
    );
    assert_eq!(beyond.lag_by_tools, Some(-50));
    let partitions = group(&engine, &live.group).partitions.open();
    let (none, empty) = (&partitions[&live.place(2)], &partitions[&live.place(3)]);
    assert_eq!(none.state, State::NoCommit);
    assert_eq!(none.lag_messages, None);
    assert_eq!(empty.state, State::Ok, "it is empty");
}

#[test]
fn groups_of_both_protocols_are_listed_with_their_members() {
    let scene = Scene::shared("members", 3, "nobody");
    let (topic, _) = scene.names();
    let mut probe = scene.probe();
    poll_until(&mut probe, "the topic", |sample| {
        sample.topics.contains_key(topic)
    });
    for protocol in ["classic", "consumer"] {
        let scene = scene.of_group(protocol);
        let (_, name) = scene.names();
        // The probe listed the groups before this one was there, and finds it all the same.
        let member = scene.join(protocol, 3);
        let sample = poll_until(&mut probe, "a stable group", |sample| {
            let group = sample.groups.get(name);
            group.is_some_and(|group| {
                group.broker_state.as_deref() == Ok("Stable")
                    && group.members.as_ref().is_ok_and(|members| {
                        members.iter().any(|member| member.assignment.len() == 3)
                    })
            })
        });
        let group = &sample.groups[name];
        assert_eq!(&*group.kind, protocol);
        let members = group.members.as_ref().unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(&*members[0].client_id, "the-member");
        assert!(members[0].host.contains("127.0.0.1"), "{}", members[0].host);
        assert!(!members[0].member_id.is_empty());
        let expected = [0, 1, 2].map(|partition| scene.place(partition));
        let mut assigned = members[0].assignment.clone();
        assigned.sort();
        assert_eq!(assigned, expected);
        drop(member);
        poll_until(&mut probe, "an empty group", |sample| {
            let group = sample.groups.get(name);
            group.is_none_or(|group| group.members.as_ref().is_ok_and(Vec::is_empty))
        });
    }
    let sample = probe.poll(now()).unwrap();
    assert_eq!(sample.brokers.len(), 1);
    assert_eq!(&*sample.brokers[0].1, scene.bootstrap);
    assert!(sample.cluster_id.is_some());
    let facts = &sample.topics[topic];
    assert_eq!((facts.partitions, facts.internal), (3, false));
    assert_eq!(facts.retention_ms, Some(7 * 86_400_000));
    assert_eq!(facts.compacted, Some(false));
}

#[test]
fn records_are_read_back_with_keys_values_headers_and_times() {
    let scene = Scene::shared("records", 2, "nobody");
    let (topic, _) = scene.names();
    let producer = scene.producer();
    let stamp = now().as_millis() as i64 - 5_000;
    let original = 88_213_407_i64.to_be_bytes();
    for index in 0..250_i64 {
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "traceparent",
                value: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"),
            })
            .insert(Header {
                key: "kafka_dlt-original-offset",
                value: Some(&original),
            })
            .insert(Header {
                key: "twice",
                value: Some("first"),
            })
            .insert(Header {
                key: "twice",
                value: None::<&str>,
            });
        let (key, value) = (format!("key-{index}"), format!("value-{index}"));
        let mut record = BaseRecord::to(topic)
            .partition(1)
            .key(&key)
            .timestamp(stamp + index)
            .headers(headers);
        // The last is a tombstone.
        if index < 249 {
            record = record.payload(&value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();

    let records = scene.records();
    let hundred = ReadOptions {
        timeout: PATIENCE,
        ..ReadOptions::default()
    };
    let page = records.read(topic, 1, 0, None, hundred).unwrap();
    assert_eq!((page.log_start, page.end), (0, 250));
    assert_eq!((page.stop, page.next), (ReadStop::Full, Some(100)));
    let first = BrokerRecord {
        partition: 1,
        offset: 0,
        timestamp: Some(UnixNanos::from_millis(stamp)),
        timestamp_kind: highwater_brokers::TimestampKind::CreateTime,
        key: Some(b"key-0".to_vec()),
        value: Some(b"value-0".to_vec()),
        headers: vec![
            (
                "traceparent".to_owned(),
                Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03".to_vec()),
            ),
            (
                "kafka_dlt-original-offset".to_owned(),
                Some(original.to_vec()),
            ),
            ("twice".to_owned(), Some(b"first".to_vec())),
            ("twice".to_owned(), None),
        ],
    };
    assert_eq!(page.records[0], first);

    // Newest first, page by page, without a gap.
    let mut offsets = Vec::new();
    let mut before = None;
    loop {
        let page = records.read_before(topic, 1, before, hundred).unwrap();
        assert!(page.records.len() <= 100);
        offsets.extend(page.records.iter().map(|record| record.offset));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert!(offsets.iter().copied().eq((0..250).rev()), "{offsets:?}");

    // A page that is bounded by bytes has fewer, and says where to go on.
    let small = ReadOptions {
        max_bytes: 2_000,
        ..hundred
    };
    let page = records.read_before(topic, 1, None, small).unwrap();
    let bytes: usize = page.records.iter().map(BrokerRecord::size).sum();
    assert!(bytes <= 2_000 && !page.records.is_empty(), "{bytes}");
    assert_eq!(page.records[0].offset, 249);
    assert_eq!(
        page.records[0].value, None,
        "a tombstone is null, not empty"
    );
    assert_eq!(page.next, page.records.last().map(|record| record.offset));

    let edges = records.edges(topic, 1, PATIENCE).unwrap();
    assert_eq!(
        edges.oldest.unwrap().timestamp,
        Some(UnixNanos::from_millis(stamp))
    );
    assert_eq!(
        edges.newest.unwrap().timestamp,
        Some(UnixNanos::from_millis(stamp + 249))
    );
    let empty = records.edges(topic, 0, PATIENCE).unwrap();
    assert_eq!(empty, highwater_brokers::Edges::default());
    assert!(records.read(topic, 7, 0, None, hundred).is_err());
    let missing = records
        .read("probe-no-such-topic", 0, 0, None, hundred)
        .unwrap_err();
    assert_eq!(
        missing.to_string(),
        "probe-no-such-topic has no partition 0 in this cluster"
    );

    // Reading left no trace: no group, and no topic that was only asked for.
    let listed = |tool| kafka::tool(&scene.bootstrap, tool, &["--list"]).unwrap();
    let groups = listed(tools::GROUPS);
    assert!(!groups.contains("highwater"), "{groups}");
    let topics = listed(tools::TOPICS);
    assert!(!topics.contains("probe-no-such-topic"), "{topics}");
}

#[test]
fn open_and_aborted_transactions_are_not_lag_that_could_be_read() {
    let scene = Scene::shared("transactions", 1, "reader");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 100)]);
    scene.commit(&[(0, 100)]);
    let transactional = scene.producer_in_transaction();
    scene.produce_by(&transactional, &[(0, 20)]);

    let mut probe = scene.probe();
    let mut engine = LagEngine::new(Config {
        window: Duration::from_millis(100),
        ..Config::default()
    });
    let partition = scene.place(0);
    let mut step = |engine: &mut LagEngine, end: i64| {
        let sample = poll_until(&mut probe, "the group and the end", |sample| {
            sample.groups.contains_key(name) && sample.partitions[&partition].end == Ok(end)
        });
        engine.step(&sample, sample.finished);
        group(engine, name).partitions.open()[&partition].clone()
    };
    let open = step(&mut engine, 120);
    assert_eq!((open.lag_messages, open.lag_by_tools), (Some(0), Some(20)));
    assert_eq!(open.open_transaction.unwrap().messages, 20);

    transactional.abort_transaction(PATIENCE).unwrap();
    // 20 records that nobody will read, and the marker that says so.
    let aborted = step(&mut engine, 121);
    assert_eq!(
        (aborted.lag_messages, aborted.lag_by_tools),
        (Some(21), Some(21))
    );
    let records = scene.records();
    let question = marker_question(&scene, || {
        step(&mut engine, 121);
        engine.marker_questions(now(), usize::MAX)
    });
    let (first, end) = records
        .first_readable(topic, 0, question.committed, PATIENCE)
        .unwrap();
    assert_eq!((first, end), (None, 121));
    engine.answer_marker(&question, first, end);
    let known = step(&mut engine, 121);
    assert_eq!(
        (known.lag_messages, known.lag_by_tools),
        (Some(0), Some(21))
    );
    assert!(known.nothing_readable);
    assert_eq!(scene.oracle_lag(), [Some(21)]);

    scene.produce(&[(0, 1)]);
    let (first, _) = records.first_readable(topic, 0, 100, PATIENCE).unwrap();
    assert_eq!(first, Some(121));
    assert_eq!(step(&mut engine, 122).lag_messages, Some(1));
}

#[test]
fn a_group_that_was_hours_behind_at_start_is_told_so_by_the_brokers_time_index() {
    let scene = Scene::shared("hours", 1, "sleeper");
    // A record a minute for twenty hours; the group stopped thirteen hours ago.
    let start = now() - Duration::from_secs(20 * 3_600);
    scene.produce_stamped((0..1_200).map(|minute| start + Duration::from_secs(minute * 60)));
    scene.commit(&[(0, 7 * 60)]);

    let mut engine = LagEngine::new(Config::default());
    let (told, heard) = mpsc::channel();
    let options = PollerOptions {
        interval: Duration::from_millis(200),
        ..PollerOptions::default()
    };
    let name = scene.group.clone();
    let listener = move |event| match event {
        PollerEvent::Sample { sample, .. } => {
            engine.step(&sample, sample.finished);
            if sample.groups.contains_key(name.as_str()) {
                told.send(group(&engine, &name)).ok();
            }
            engine.questions("kafka", sample.finished)
        }
        PollerEvent::Ends { cluster, ends } => {
            seed(&mut engine, &cluster, ends);
            engine.questions("kafka", now())
        }
        PollerEvent::Lost { reason, .. } => panic!("{reason}"),
    };
    let poller = Poller::start(scene.kafka_config(), options, listener).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let time = loop {
        let group = heard.recv_timeout(PATIENCE).unwrap();
        if let Some(time) = group.time_lag.filter(|time| time.bound == Bound::Exact) {
            break time;
        }
        assert!(Instant::now() < deadline, "still {:?}", group.time_lag);
    };
    // Exact is within a twentieth here: the gap asked down to is a fifth of the age at most.
    let error = time.duration.abs_diff(Duration::from_secs(13 * 3_600));
    assert!(error < Duration::from_secs(2_400), "{time:?}");
    assert!(poller.stop(PATIENCE));
}

#[test]
fn questions_that_one_sample_leaves_are_asked_after_the_next() {
    const ASKED: u64 = 30;
    let scene = Scene::shared("curious", 1, "nobody");
    scene.produce(&[(0, 1)]);
    let (told, heard) = mpsc::channel();
    let options = PollerOptions {
        interval: Duration::from_millis(200),
        ..PollerOptions::default()
    };
    let place = scene.place(0);
    let (mut next, mut samples) = (0, 0);
    // Asks for one time at the first sample, and after each answer for the next.
    let listener = move |event| {
        match event {
            PollerEvent::Sample { .. } => {
                samples += 1;
                if samples > 1 {
                    return Questions::new();
                }
            }
            PollerEvent::Ends { ends, .. } => {
                assert_eq!(ends.len(), 1);
                told.send((ends[0].at, samples)).ok();
            }
            PollerEvent::Lost { reason, .. } => panic!("{reason}"),
        }
        next += 1;
        vec![(place.clone(), UnixNanos(next * 1_000_000))]
    };
    let poller = Poller::start(scene.kafka_config(), options, listener).unwrap();
    let answers: Vec<_> = (0..ASKED)
        .map(|_| heard.recv_timeout(PATIENCE).unwrap())
        .collect();
    let times: Vec<_> = answers.iter().map(|(at, _)| at.0 / 1_000_000).collect();
    assert_eq!(times, (1..=ASKED).collect::<Vec<_>>());
    let samples = answers.last().unwrap().1;
    assert!((2..10).contains(&samples), "{samples}");
    assert!(poller.stop(PATIENCE));
}

#[test]
fn a_stopped_broker_is_a_state_within_the_deadline_and_reading_goes_on_after_its_start() {
    let mut kafka = Kafka::start().unwrap();
    let scene = Scene::on(&kafka, "outage", 1, "survivor");
    let (bootstrap, (_, name)) = (&scene.bootstrap, scene.names());
    scene.produce(&[(0, 30)]);
    scene.commit(&[(0, 10)]);

    let mut engine = LagEngine::new(Config::default());
    let (told, heard) = mpsc::channel();
    let options = PollerOptions {
        interval: Duration::from_millis(300),
        max_back_off: Duration::from_secs(1),
        ..PollerOptions::default()
    };
    let listener = move |event| {
        let lost = match event {
            PollerEvent::Sample { sample, .. } => {
                engine.step(&sample, sample.finished);
                None
            }
            PollerEvent::Lost { reason, at, .. } => {
                engine.cluster_lost("kafka", &reason, at);
                Some(reason)
            }
            PollerEvent::Ends { .. } => return Questions::new(),
        };
        told.send((lost, engine.groups().clone())).ok();
        Questions::new()
    };
    let poller = Poller::start(scene.kafka_config(), options, listener).unwrap();
    let key = (Arc::from("kafka"), Arc::<str>::from(name));
    let wait = |what: &str, done: &dyn Fn(Option<&str>, Option<&GroupLag>) -> bool| {
        let begun = Instant::now();
        loop {
            let (lost, groups) = heard
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
            if done(lost.as_deref(), groups.get(&key).map(|lag| &**lag)) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "waiting for {what}");
        }
    };
    wait("the lag", &|lost, group| {
        lost.is_none() && group.is_some_and(|group| group.lag_messages == Some(20))
    });
    assert_eq!(poller.status().state, ClusterState::Ok);

    kafka.kill().unwrap();
    let noticed = wait("the outage", &|lost, group| {
        lost.is_some_and(|reason| {
            reason.starts_with("cannot reach") || reason.starts_with("the cluster answered")
        }) && group
            .is_some_and(|group| group.state == State::Unknown && group.lag_messages.is_none())
    });
    assert!(
        noticed < Duration::from_secs(25),
        "noticed after {noticed:?}"
    );
    wait("the reason", &|lost, _| {
        lost == Some(
            format!("cannot reach {bootstrap}: connection refused; is the broker running, and is this its address?")
                .as_str(),
        )
    });
    assert!(matches!(
        poller.status().state,
        ClusterState::Unreachable { .. }
    ));

    kafka.start_again().unwrap();
    let back = wait("the lag again", &|lost, group| {
        lost.is_none() && group.is_some_and(|group| group.lag_messages == Some(20))
    });
    eprintln!("outage noticed after {noticed:?}, read again {back:?} after the start");
    assert_eq!(poller.status().state, ClusterState::Ok);
    assert!(poller.stop(PATIENCE));
}

#[test]
fn a_share_group_is_listed_and_its_backlog_is_unknown_with_the_reason() {
    // Share groups are a feature that is switched on for a whole cluster: not on the shared one.
    let kafka = Kafka::start().unwrap();
    kafka
        .tool(
            "org.apache.kafka.tools.FeatureCommand",
            &["upgrade", "--feature", "share.version=1"],
        )
        .unwrap();
    let scene = Scene::on(&kafka, "shared", 1, "sharers");
    let (topic, name) = scene.names();
    scene.produce(&[(0, 10)]);
    scene.of_group("classic").commit(&[(0, 10)]);
    // Joins, waits for records in vain (a share group starts at the end) and leaves.
    kafka
        .tool(
            "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
            &["--topic", topic, "--group", name, "--timeout-ms", "8000"],
        )
        .unwrap();
    let mut probe = scene.probe();
    let sample = poll_until(&mut probe, "the share group", |sample| {
        sample.groups.contains_key(name)
    });
    let kinds: HashMap<&str, &str> = sample
        .groups
        .iter()
        .map(|(name, group)| (&**name, &*group.kind))
        .collect();
    assert_eq!(kinds.get(name), Some(&"share"), "{kinds:?}");
    assert_eq!(kinds.values().filter(|kind| **kind == "classic").count(), 1);
    let mut engine = LagEngine::new(Config::default());
    engine.step(&sample, sample.finished);
    let group = group(&engine, name);
    assert_eq!(group.state, State::Unknown);
    assert_eq!(
        (group.lag_messages, group.lag_by_tools, group.members),
        (None, None, None)
    );
    assert!(group.reason.contains("share group"), "{}", group.reason);
}
