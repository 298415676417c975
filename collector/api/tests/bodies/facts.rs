//! What a broker says in the tests: polls built by hand around the capture's topics and groups, so that every state of a
//! group and every unknown is there to be seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_api::landmark;
use highwater_model::UnixNanos;
use highwater_model::broker::{
    ClusterState, ClusterStatus, GroupFacts, GroupMember, Known, PartitionOffsets, Sample,
    TopicFacts, TopicPartition,
};
use highwater_store::Landmark;

use crate::world::NOW;

/// The cluster that can be read.
pub(crate) const CLUSTER: &str = "kafka";
/// Its own id, as the capture's spans carry it.
const CLUSTER_ID: &str = "M1y5XfG1RJi899AQntlxYA";
/// Its environment: the capture's.
pub(crate) const ENVIRONMENT: &str = "capture";
/// Polls, the last one five seconds ago.
pub(crate) const POLLS: u32 = 21;
/// Between two of them.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Topic, partition, first offset kept, and the ends at the first and the last poll. Of the capture's topics the last
/// ends are those of its ledger.
const PARTITIONS: &[(&str, i32, i64, i64, i64)] = &[
    ("spring-micrometer.orders", 0, 0, 0, 11),
    ("spring-micrometer.orders", 1, 0, 0, 31),
    ("spring-micrometer.orders", 2, 0, 0, 18),
    ("spring-micrometer.payments", 0, 0, 0, 17),
    ("spring-micrometer.payments", 1, 0, 0, 23),
    ("spring-micrometer.payments-retry-400", 0, 0, 6, 6),
    ("spring-micrometer.payments-retry-800", 0, 0, 3, 3),
    ("spring-micrometer.payments-dlt", 0, 0, 2, 2),
    ("spring-micrometer.orders-dlt", 0, 0, 0, 0),
    ("spring-micrometer.orders-dlt", 1, 0, 0, 2),
    ("spring-micrometer.orders-dlt", 2, 0, 2, 2),
    ("carts-dlt", 0, 0, 3, 3),
    ("shipments", 0, 500, 1_000, 2_000),
    ("shipments", 1, 500, 1_500, 1_500),
    ("carts", 0, 40, 90, 90),
];

/// A partition whose leader is away: nothing of it is known.
const UNREADABLE: (&str, i32) = ("carts", 1);
const LEADERLESS: &str = "the partition has no leader";

/// What a group has committed on a partition, at the first and the last poll; `None`: nothing yet.
type Committed = (&'static str, i32, Option<(i64, i64)>);

/// Group, the broker's word, its kind, members, commits.
const GROUPS: &[(&str, &str, &str, u32, &[Committed])] = &[
    (
        "spring-micrometer.fraud",
        "Stable",
        "classic",
        1,
        &[
            ("spring-micrometer.orders", 0, Some((0, 11))),
            ("spring-micrometer.orders", 1, Some((0, 31))),
            ("spring-micrometer.orders", 2, Some((0, 18))),
        ],
    ),
    // Spans do not name it: Micrometer makes none for a batch listener.
    (
        "spring-micrometer.analytics",
        "Stable",
        "consumer",
        2,
        &[
            ("spring-micrometer.orders", 0, Some((0, 11))),
            ("spring-micrometer.orders", 1, Some((0, 31))),
            ("spring-micrometer.orders", 2, Some((0, 18))),
        ],
    ),
    // Falls behind on one partition of two.
    (
        "spring-micrometer.receipts",
        "Stable",
        "classic",
        2,
        &[
            ("spring-micrometer.payments", 0, Some((0, 5))),
            ("spring-micrometer.payments", 1, Some((0, 23))),
        ],
    ),
    (
        "spring-micrometer.receipts-retry-400",
        "Stable",
        "classic",
        1,
        &[("spring-micrometer.payments-retry-400", 0, Some((6, 6)))],
    ),
    (
        "spring-micrometer.receipts-retry-800",
        "Stable",
        "classic",
        1,
        &[("spring-micrometer.payments-retry-800", 0, None)],
    ),
    (
        "spring-micrometer.receipts-dlt",
        "Stable",
        "classic",
        1,
        &[("spring-micrometer.payments-dlt", 0, Some((2, 2)))],
    ),
    (
        "shipping",
        "Empty",
        "classic",
        0,
        &[
            ("shipments", 0, Some((900, 900))),
            ("shipments", 1, Some((1_500, 1_500))),
        ],
    ),
    (
        "reports",
        "Stable",
        "classic",
        1,
        &[("shipments", 0, Some((100, 100)))],
    ),
    (
        "mirror",
        "Stable",
        "classic",
        1,
        &[("shipments", 1, Some((3_000, 3_000)))],
    ),
    // One of its partitions cannot be read.
    (
        "checkout",
        "Stable",
        "classic",
        1,
        &[("carts", 0, Some((80, 80))), ("carts", 1, Some((10, 10)))],
    ),
];

/// A group that nothing could be read of.
const REFUSED: &str = "audit";
const REFUSAL: &str = "not allowed to read the group (GROUP_AUTHORIZATION_FAILED)";

/// When poll `n` ended.
pub(crate) fn polled_at(n: u32) -> UnixNanos {
    NOW - Duration::from_secs(5) - POLL_INTERVAL * (POLLS - 1 - n)
}

/// A value between the first and the last poll.
fn between((first, last): (i64, i64), n: u32) -> i64 {
    first + (last - first) * i64::from(n) / i64::from(POLLS - 1)
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.into(),
        partition,
    }
}

/// Poll `n` of [`POLLS`].
pub(crate) fn sample(n: u32) -> Sample {
    let at = polled_at(n);
    let mut sample = Sample {
        cluster: CLUSTER.into(),
        cluster_id: Some(CLUSTER_ID.into()),
        started: at - Duration::from_millis(12),
        finished: at,
        brokers: vec![(1, "127.0.0.1:9092".into())],
        topics: BTreeMap::new(),
        partitions: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    for &(topic, partition, log_start, first, last) in PARTITIONS {
        let end = between((first, last), n);
        let offsets = PartitionOffsets {
            log_start: Ok(log_start),
            end: Ok(end),
            last_stable: Ok(end),
            read_at: at,
        };
        add_partition(&mut sample, place(topic, partition), offsets);
    }
    let unknown = || Err(Arc::from(LEADERLESS));
    let offsets = PartitionOffsets {
        log_start: unknown(),
        end: unknown(),
        last_stable: unknown(),
        read_at: at,
    };
    add_partition(&mut sample, place(UNREADABLE.0, UNREADABLE.1), offsets);
    if let Some(shipments) = sample.topics.get_mut("shipments") {
        shipments.retention_ms = Some(3_600_000);
        shipments.compacted = Some(true);
    }
    for &(name, broker_state, kind, members, commits) in GROUPS {
        let facts = group(name, broker_state, kind, members, commits, n);
        sample.groups.insert(name.into(), facts);
    }
    sample.groups.insert(REFUSED.into(), refused(at));
    sample
}

fn add_partition(sample: &mut Sample, at: TopicPartition, offsets: PartitionOffsets) {
    let topic = sample.topics.entry(Arc::clone(&at.topic)).or_default();
    *topic = TopicFacts {
        partitions: topic.partitions + 1,
        retention_ms: Some(604_800_000),
        compacted: Some(false),
        ..TopicFacts::default()
    };
    sample.partitions.insert(at, offsets);
}

fn group(
    name: &str,
    broker_state: &str,
    kind: &str,
    members: u32,
    commits: &[Committed],
    n: u32,
) -> GroupFacts {
    let committed = commits.iter().map(|&(topic, partition, offsets)| {
        let offset = offsets.map(|offsets| between(offsets, n));
        (place(topic, partition), Ok(offset))
    });
    // Partitions go round.
    let member = |index: u32| GroupMember {
        member_id: format!("{name}-{index}-5f1c0a7e").into(),
        client_id: format!("{name}-{index}").into(),
        host: "/127.0.0.1".into(),
        assignment: commits
            .iter()
            .skip(index as usize)
            .step_by(members as usize)
            .map(|&(topic, partition, _)| place(topic, partition))
            .collect(),
    };
    GroupFacts {
        broker_state: Ok(broker_state.into()),
        kind: kind.into(),
        members: Ok((0..members).map(member).collect()),
        committed: committed.collect(),
        error: None,
        read_at: polled_at(n) - Duration::from_millis(8),
    }
}

fn refused(at: UnixNanos) -> GroupFacts {
    fn no<T>() -> Known<T> {
        Err(REFUSAL.into())
    }
    GroupFacts {
        broker_state: no(),
        kind: "classic".into(),
        members: no(),
        committed: highwater_model::broker::Committed::default(),
        error: Some(REFUSAL.into()),
        read_at: at,
    }
}

/// The state of the cluster that is read, after its last poll.
pub(crate) fn readable() -> ClusterStatus {
    ClusterStatus {
        cluster_id: Some(CLUSTER_ID.into()),
        last_read: Some(polled_at(POLLS - 1)),
        last_poll_ns: Some(12_000_000),
        ..status(CLUSTER, ClusterState::Ok)
    }
}

/// A cluster that is away since before the collector started.
pub(crate) fn unreachable() -> ClusterStatus {
    let reason = "No broker of 127.0.0.1:9092 answers: is it running, and is the address right?";
    status(
        "kafka-2",
        ClusterState::Unreachable {
            reason: reason.into(),
        },
    )
}

/// A cluster of another environment, just started with.
pub(crate) fn connecting() -> ClusterStatus {
    ClusterStatus {
        environment: "staging".into(),
        ..status("kafka-3", ClusterState::Connecting)
    }
}

fn status(name: &str, state: ClusterState) -> ClusterStatus {
    ClusterStatus {
        name: name.into(),
        system: "kafka".into(),
        environment: ENVIRONMENT.into(),
        bootstrap: vec!["127.0.0.1:9092".into()],
        cluster_id: None,
        state,
        since: polled_at(0),
        last_read: None,
        last_poll_ns: None,
        incomplete: None,
    }
}

/// What happened beside the figures; the last is of another environment, and a version that is seen first is no change.
pub(crate) fn landmarks() -> Vec<Landmark> {
    let landmark = |subject, minutes: u64, kind: &str, text: &str| Landmark {
        subject,
        at: NOW - Duration::from_secs(minutes * 60),
        kind: kind.to_owned(),
        text: text.to_owned(),
    };
    let receipts = || landmark::of_group(CLUSTER, "spring-micrometer.receipts");
    let service = |environment| landmark::of_service(environment, "receipts");
    vec![
        landmark(service(ENVIRONMENT), 30, landmark::VERSION, "1.0.0"),
        landmark(service(ENVIRONMENT), 4, landmark::DEPLOYED, "1.1.0"),
        landmark(receipts(), 3, landmark::REBALANCED, "2 members, 1 before"),
        landmark(
            receipts(),
            2,
            landmark::REWOUND,
            "12 messages back on 1 partition",
        ),
        landmark(service("staging"), 1, landmark::DEPLOYED, "1.2.0-rc1"),
    ]
}
