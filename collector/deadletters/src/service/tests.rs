use std::sync::atomic::Ordering;

use highwater_model::broker::{Committed, GroupFacts, PartitionOffsets, TopicFacts};

use super::*;
use crate::record::SourceRecord;
use crate::test_records::{Memory, all_connect, all_spring};

const SECOND: u64 = 1_000_000_000;

/// A poll that sees these partitions: topic, partition, log start, end.
fn sample(at_s: u64, partitions: &[(&str, i32, i64, i64)]) -> Sample {
    let at = UnixNanos(at_s * SECOND);
    let mut sample = Sample {
        cluster: "kafka".into(),
        cluster_id: Some("abc".into()),
        started: at,
        finished: at,
        brokers: Vec::new(),
        topics: BTreeMap::new(),
        partitions: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    for &(topic, partition, log_start, end) in partitions {
        let facts: &mut TopicFacts = sample.topics.entry(topic.into()).or_default();
        facts.partitions += 1;
        let offsets = PartitionOffsets {
            log_start: Ok(log_start),
            end: Ok(end),
            last_stable: Ok(end),
            read_at: at,
        };
        let at = TopicPartition {
            topic: topic.into(),
            partition,
        };
        sample.partitions.insert(at, offsets);
    }
    let group = GroupFacts {
        broker_state: Ok("Stable".into()),
        kind: "classic".into(),
        members: Ok(Vec::new()),
        committed: Committed::default(),
        error: None,
        read_at: at,
    };
    sample.groups.insert("fraud".into(), group);
    sample
}

fn service(
    records: impl IntoIterator<Item = (String, SourceRecord)>,
) -> (DeadLetters, Arc<Memory>) {
    let source = Arc::new(Memory::with(records));
    let service = DeadLetters::new(Config::default());
    service.add_source("kafka", source.clone());
    (service, source)
}

const SPRING: [(&str, i32, i64, i64); 8] = [
    ("orders", 0, 0, 22),
    ("orders", 1, 0, 21),
    ("orders-dlt", 0, 0, 1),
    ("orders-dlt", 1, 0, 2),
    ("payments", 2, 0, 25),
    ("payments-dlt", 0, 0, 2),
    ("payments-retry-400", 0, 0, 3),
    ("payments-retry-800", 0, 0, 3),
];

#[tokio::test]
async fn real_dead_letters_are_summed_up() {
    let (service, _) = service(all_spring());
    service.observe(&sample(100, &SPRING));
    service.refresh(UnixNanos(101 * SECOND)).await;
    let topics = service.topics();
    let names: Vec<&str> = topics.iter().map(|t| &*t.topic).collect();
    assert_eq!(names, ["orders-dlt", "payments-dlt"]);
    let orders = &topics[0];
    assert_eq!(orders.retained, Some(3));
    assert_eq!(orders.recognised_by, RecognisedBy::Headers);
    assert_eq!(orders.origin_topics, ["orders".into()]);
    assert_eq!(orders.groups, ["fraud".into()]);
    assert_eq!(orders.causes.len(), 1);
    assert_eq!(
        (
            &*orders.causes[0].cause,
            orders.causes[0].count,
            orders.sampled
        ),
        ("java.lang.IllegalStateException", 3, 3)
    );
    assert_eq!(
        orders.newest_at,
        Some(UnixNanos::from_millis(1_795_225_894_173))
    );
    assert!(orders.oldest_at < orders.newest_at);
    assert_eq!(orders.arrivals_per_hour, None);

    let retries: Vec<_> = service
        .retry_topics()
        .into_iter()
        .map(|t| t.topic)
        .collect();
    assert_eq!(
        retries,
        ["payments-retry-400".into(), "payments-retry-800".into()]
    );
    assert_eq!(service.kinds().len(), 4);
    assert_eq!(service.cluster_id("kafka").as_deref(), Some("abc"));
}

#[tokio::test]
async fn nothing_is_read_while_no_end_moves() {
    let (service, source) = service(all_spring());
    service.observe(&sample(100, &SPRING));
    service.refresh(UnixNanos(101 * SECOND)).await;
    let reads = source.reads.load(Ordering::Relaxed);
    for second in 102..110 {
        service.observe(&sample(second, &SPRING));
        let report = service.refresh(UnixNanos(second * SECOND)).await;
        assert_eq!(report, RefreshReport::default());
    }
    assert_eq!(source.reads.load(Ordering::Relaxed), reads);
}

#[tokio::test]
async fn a_new_record_is_read_alone() {
    let (service, source) = service(all_spring());
    service.observe(&sample(100, &SPRING));
    service.refresh(UnixNanos(101 * SECOND)).await;
    let reads = source.reads.load(Ordering::Relaxed);
    let mut late = crate::test_records::spring("orders-dlt", 1, 1);
    late.offset = 2;
    source.push("orders-dlt", late);
    let mut moved = SPRING;
    moved[3].3 = 3;
    service.observe(&sample(160, &moved));
    let report = service.refresh(UnixNanos(160 * SECOND)).await;
    assert_eq!((report.read, report.probed), (1, 0));
    assert_eq!(source.reads.load(Ordering::Relaxed), reads + 1);
    let orders = service.topic("kafka", "orders-dlt").unwrap();
    assert_eq!((orders.sampled, orders.retained), (4, Some(4)));
    assert!((orders.arrivals_per_hour.unwrap() - 60.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_topic_whose_name_says_nothing_is_found_by_its_headers() {
    let records = all_connect()
        .into_iter()
        .map(|(_, record)| ("graveyard".to_owned(), record));
    let (service, _) = service(records);
    let poll = |at| sample(at, &[("graveyard", 0, 0, 5), ("connect.in", 0, 0, 9)]);
    service.observe(&poll(100));
    assert!(service.topics().is_empty());
    let mut changes = service.changes();
    assert_eq!(service.refresh(UnixNanos(100 * SECOND)).await.probed, 2);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    service.observe(&poll(115));
    service.refresh(UnixNanos(115 * SECOND)).await;
    let found = service.topics();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].recognised_by, RecognisedBy::Headers);
    assert_eq!((found[0].retained, found[0].sampled), (Some(5), 5));
    assert_eq!(found[0].origin_topics, ["connect.in".into()]);
    assert_eq!(found[0].groups, ["connect-archive-file".into()]);
    let causes: Vec<_> = found[0]
        .causes
        .iter()
        .map(|c| (&*c.cause, c.count))
        .collect();
    assert_eq!(
        causes,
        [
            ("org.apache.kafka.common.errors.SerializationException", 3),
            ("java.lang.NumberFormatException", 2)
        ]
    );
}

#[tokio::test]
async fn a_source_that_fails_leaves_depth_standing_and_is_left_alone_for_a_while() {
    let (service, source) = service(all_spring());
    *source.broken.lock().unwrap() = Some("cannot reach 127.0.0.1:9092");
    service.observe(&sample(100, &SPRING));
    assert!(service.refresh(UnixNanos(100 * SECOND)).await.failed > 0);
    let orders = service.topic("kafka", "orders-dlt").unwrap();
    assert_eq!(orders.retained, Some(3));
    assert_eq!(
        orders.reason.as_deref(),
        Some("cannot reach 127.0.0.1:9092")
    );
    let reads = source.reads.load(Ordering::Relaxed);
    service.refresh(UnixNanos(110 * SECOND)).await;
    assert_eq!(source.reads.load(Ordering::Relaxed), reads);
    *source.broken.lock().unwrap() = None;
    service.refresh(UnixNanos(131 * SECOND)).await;
    let orders = service.topic("kafka", "orders-dlt").unwrap();
    assert_eq!((orders.sampled, orders.reason), (3, None));
}

#[tokio::test]
async fn pages_are_given_of_dead_letters_only() {
    let (service, _) = service(all_spring());
    service.observe(&sample(100, &SPRING));
    let query = PageQuery {
        limit: 2,
        ..PageQuery::default()
    };
    let page = service
        .records("kafka", "orders-dlt", query.clone())
        .await
        .unwrap();
    assert_eq!(page.records.len(), 2);
    let next = PageQuery {
        cursor: page.next,
        ..query.clone()
    };
    let rest = service.records("kafka", "orders-dlt", next).await.unwrap();
    assert_eq!((rest.records.len(), rest.next), (1, None));
    for (cluster, topic) in [
        ("kafka", "orders"),
        ("kafka", "nothing"),
        ("other", "orders-dlt"),
    ] {
        let refused = service.records(cluster, topic, query.clone()).await;
        assert!(
            matches!(refused, Err(ReadError::NotDeadLetters { .. })),
            "{cluster}/{topic}"
        );
    }
}

#[tokio::test]
async fn a_topic_that_is_gone_is_forgotten() {
    let (service, _) = service(all_spring());
    service.observe(&sample(100, &SPRING));
    service.observe(&sample(115, &SPRING[..4]));
    let names: Vec<_> = service.topics().into_iter().map(|t| t.topic).collect();
    assert_eq!(names, ["orders-dlt".into()]);
}

#[tokio::test]
async fn the_background_reads_after_a_poll_and_ends_when_told() {
    let (service, _) = service(all_spring());
    let service = Arc::new(service);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let service = service.clone();
        async move {
            let stopped = async { drop(stopped.await) };
            service.run(|| UnixNanos(100 * SECOND), stopped).await;
        }
    });
    let mut changes = service.changes();
    service.observe(&sample(100, &SPRING));
    let read = changes.wait_for(|_| {
        service
            .topic("kafka", "orders-dlt")
            .is_some_and(|t| t.sampled == 3)
    });
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    drop(stop);
    tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .unwrap()
        .unwrap();
}
