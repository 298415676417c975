//! Each field under each generation of keys.

use super::{client, consumer, producer, sent};
use crate::raw::{SpanKind, Value};
use crate::span::{Messaging, Operation};

type Read = fn(&Messaging) -> Option<String>;

fn text(value: Option<&std::sync::Arc<str>>) -> Option<String> {
    value.map(ToString::to_string)
}

/// A consumer's span with nothing but its system and one attribute.
fn only(key: &str, value: Value) -> Messaging {
    consumer("t process")
        .kafka()
        .with("messaging.operation", "process")
        .with(key, value)
        .messaging()
}

#[test]
fn every_key_of_every_generation_is_read() {
    let destination: Read = |m| text(m.destination.as_ref());
    let group: Read = |m| text(m.group.as_ref());
    let partition: Read = |m| m.partition.map(|n| n.to_string());
    let offset: Read = |m| m.offset.map(|n| n.to_string());
    let id: Read = |m| text(m.message_id.as_ref());
    let size: Read = |m| m.body_size.map(|n| n.to_string());
    let client_id: Read = |m| text(m.client_id.as_ref());
    let key: Read = |m| text(m.key.as_ref());
    let tombstone: Read = |m| m.tombstone.then(|| "true".to_owned());
    let cluster: Read = |m| text(m.cluster.id.as_ref());
    let address: Read = |m| text(m.cluster.address.as_ref());
    let rows: &[(Read, &str, &[&str])] = &[
        (
            destination,
            "orders",
            &[
                "messaging.destination.name",
                "messaging.source.name",
                "messaging.destination",
                "message_bus.destination",
            ],
        ),
        (
            group,
            "g1",
            &[
                "messaging.consumer.group.name",
                "messaging.kafka.consumer.group",
                "messaging.kafka.consumer_group",
                "messaging.rocketmq.client_group",
                "messaging.eventhubs.consumer.group",
                "messaging.destination.subscription.name",
                "messaging.servicebus.destination.subscription_name",
            ],
        ),
        (
            partition,
            "7",
            &[
                "messaging.destination.partition.id",
                "messaging.kafka.destination.partition",
                "messaging.kafka.source.partition",
                "messaging.kafka.partition",
            ],
        ),
        (
            offset,
            "7",
            &["messaging.kafka.offset", "messaging.kafka.message.offset"],
        ),
        (id, "m-1", &["messaging.message.id", "messaging.message_id"]),
        (
            size,
            "7",
            &[
                "messaging.message.body.size",
                "messaging.message.envelope.size",
                "messaging.message.payload_size_bytes",
                "messaging.message_payload_size_bytes",
            ],
        ),
        (
            client_id,
            "c-1",
            &[
                "messaging.client.id",
                "messaging.client_id",
                "messaging.kafka.client_id",
            ],
        ),
        (
            key,
            "k-1",
            &["messaging.kafka.message.key", "messaging.kafka.message_key"],
        ),
        (
            tombstone,
            "true",
            &[
                "messaging.kafka.message.tombstone",
                "messaging.kafka.tombstone",
            ],
        ),
        (cluster, "abc", &["messaging.kafka.cluster.id"]),
        (
            address,
            "b1:9092",
            &[
                "server.address",
                "messaging.url",
                "net.peer.name",
                "network.peer.address",
                "peer.address",
            ],
        ),
    ];
    for (read, value, keys) in rows {
        for key in *keys {
            assert_eq!(
                read(&only(key, (*value).into())).as_deref(),
                Some(*value),
                "{key}"
            );
            assert_eq!(read(&only("nothing", (*value).into())), None);
        }
        // With all generations at once the newest wins.
        let mut all = consumer("t process")
            .kafka()
            .with("messaging.operation", "process");
        for key in keys.iter().skip(1).rev() {
            all = all.with(key, if *value == "7" { "8" } else { "older:1" });
        }
        let all = all.with(keys[0], *value).messaging();
        assert_eq!(read(&all).as_deref(), Some(*value), "{}", keys[0]);
    }
}

#[test]
fn batch_counts_are_read_as_number_or_digits() {
    for value in [Value::Int(25), Value::from("25"), Value::Double(25.0)] {
        let messaging = only("messaging.batch.message_count", value);
        assert_eq!(messaging.batch_count, Some(25));
    }
    assert_eq!(
        only("messaging.batch.message_count", Value::Double(2.5)).batch_count,
        None
    );
}

#[test]
fn negative_places_of_failed_sends_are_absent() {
    let messaging = producer("t publish")
        .kafka()
        .with("messaging.destination.partition.id", "-1")
        .with("messaging.kafka.message.offset", -1)
        .messaging();
    assert_eq!((messaging.partition, messaging.offset), (None, None));
}

#[test]
fn unusable_values_fall_through_to_the_next_key() {
    let messaging = consumer("t process")
        .kafka()
        .with("messaging.destination.name", "")
        .with("messaging.destination", "orders")
        .with("messaging.kafka.offset", Value::Empty)
        .with("messaging.kafka.message.offset", "12")
        .with("messaging.destination.partition.id", Value::Bytes(vec![1]))
        .with("messaging.kafka.partition", 3)
        .messaging();
    assert_eq!(messaging.destination.as_deref(), Some("orders"));
    assert_eq!((messaging.partition, messaging.offset), (Some(3), Some(12)));
}

#[test]
fn operation_words_of_all_generations_decide_before_the_kind() {
    use Operation::{Create, Process, Receive, Send, Settle};
    let words = [
        ("create", Create),
        ("send", Send),
        ("publish", Send),
        ("request", Send),
        ("receive", Receive),
        ("poll", Receive),
        ("process", Process),
        ("deliver", Process),
        ("settle", Settle),
        ("ack", Settle),
        ("nack", Settle),
        ("modack", Settle),
        ("delete", Settle),
    ];
    for key in [
        "messaging.operation.type",
        "messaging.operation",
        "messaging.operation.name",
    ] {
        for (word, operation) in words {
            for kind in [SpanKind::Client, SpanKind::Consumer, SpanKind::Producer] {
                let found = sent(kind, "anything").kafka().with(key, word).messaging();
                assert_eq!(found.operation, operation, "{key} = {word}, {kind:?}");
            }
        }
    }
    // The type says what a name of the SDK's own does not.
    let found = client("poll t")
        .kafka()
        .with("messaging.operation.name", "fetchMessages")
        .with("messaging.operation.type", "receive");
    assert_eq!(found.messaging().operation, Receive);
}

#[test]
fn without_an_operation_producer_and_consumer_go_by_kind_and_name() {
    let of = |sent: super::Sent| {
        sent.kafka()
            .with("messaging.destination", "t")
            .messaging()
            .operation
    };
    assert_eq!(of(producer("t send")), Operation::Send);
    assert_eq!(of(producer("anything")), Operation::Send);
    assert_eq!(of(consumer("t receive")), Operation::Receive);
    assert_eq!(of(consumer("t process")), Operation::Process);
    assert_eq!(of(consumer("run/tasks.add")), Operation::Process);
}

#[test]
fn without_an_operation_client_internal_and_server_spans_are_no_hop() {
    for kind in [
        SpanKind::Client,
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Unspecified,
    ] {
        sent(kind, "t process")
            .kafka()
            .with("messaging.destination.name", "t")
            .is_no_hop();
    }
}

#[test]
fn errors_come_from_error_type_then_status_then_exception() {
    let base = || {
        consumer("t process")
            .kafka()
            .with("messaging.operation", "process")
    };
    let error = |sent: super::Sent| {
        sent.span()
            .error
            .map(|error| (error.kind.to_string(), error.message.to_string()))
    };
    let some = |kind: &str, message: &str| Some((kind.to_owned(), message.to_owned()));
    assert_eq!(error(base()), None);
    assert_eq!(
        error(base().with("error.type", "E1").exception("E2", "why", "")),
        some("E1", "why")
    );
    assert_eq!(error(base().failed("broken")), some("error", "broken"));
    assert_eq!(
        error(base().failed("").exception("E2", "why", "")),
        some("E2", "why")
    );
    assert_eq!(error(base().exception("E2", "why", "")), some("E2", "why"));
    let mut dealt_with = base().exception("E2", "why", "");
    dealt_with.raw.status = crate::raw::StatusCode::Ok;
    assert_eq!(error(dealt_with), None);
}
