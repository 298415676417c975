//! Which message: partition, offset, ids, key, group, sizes.

use std::sync::Arc;

use super::MAX_NAME;
use super::values::{View, cut};

/// A name, cut to [`MAX_NAME`]; `None` when empty.
pub(super) fn name(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| cut(text, MAX_NAME).into())
}

/// Negative is what a failed send reports (`"-1"`): absent.
pub(super) fn partition(view: &View<'_>) -> Option<i32> {
    let number = view.int(&[
        "messaging.destination.partition.id",
        "messaging.kafka.destination.partition",
        "messaging.kafka.source.partition",
        "messaging.kafka.partition",
    ])?;
    i32::try_from(number).ok().filter(|number| *number >= 0)
}

/// Negative is what a failed send reports: absent.
pub(super) fn offset(view: &View<'_>) -> Option<i64> {
    view.int(&["messaging.kafka.offset", "messaging.kafka.message.offset"])
        .filter(|number| *number >= 0)
}

/// A message's place in its topic and its id.
pub(super) struct Message {
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    pub(super) id: Option<Arc<str>>,
}

/// Reads them, with two fallbacks out of the message id, both Kafka's: confluent-kafka writes
/// `topic.partition.offset` and nothing else, sarama writes the bare offset. The first is believed only if it agrees
/// with the topic and the partition that the span names.
pub(super) fn message(view: &View<'_>, system: &str, destination: Option<&str>) -> Message {
    let id = view.text(&["messaging.message.id", "messaging.message_id"]);
    let mut message = Message {
        partition: partition(view),
        offset: offset(view),
        id: None,
    };
    let Some(id) = id else { return message };
    if system == "kafka" {
        if view.scope.ends_with("otelsarama") {
            // Not kept as an id: "0" is the id of a record in every partition.
            message.offset = message.offset.or_else(|| digits(&id));
            return message;
        }
        if let Some((topic, partition, offset)) = triple(&id)
            && destination == Some(topic)
            && message.partition.is_none_or(|said| said == partition)
        {
            message.partition = Some(partition);
            message.offset = message.offset.or(Some(offset));
        }
    }
    message.id = name(&id);
    message
}

fn triple(id: &str) -> Option<(&str, i32, i64)> {
    let (rest, offset) = id.rsplit_once('.')?;
    let (topic, partition) = rest.rsplit_once('.')?;
    Some((
        topic,
        i32::try_from(digits(partition)?).ok()?,
        digits(offset)?,
    ))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The consumer group under any generation's key; else out of `messaging.consumer.id`, which Spring and old agents
/// write as "group - client"; else a subscription, which is to a topic what a group is.
pub(super) fn group(view: &View<'_>) -> Option<Arc<str>> {
    if let Some(group) = view.text(&[
        "messaging.consumer.group.name",
        "messaging.kafka.consumer.group",
        "messaging.rocketmq.client_group",
        "messaging.eventhubs.consumer.group",
        "messaging.kafka.consumer_group",
    ]) {
        return name(&group);
    }
    if let Some(both) = view.text(&["messaging.consumer.id", "messaging.consumer_id"]) {
        let known = client(view);
        let group = known
            .as_deref()
            .and_then(|client| both.strip_suffix(client)?.strip_suffix(" - "))
            .or_else(|| both.split_once(" - ").map(|(group, _)| group));
        if let Some(group) = group {
            return name(group);
        }
    }
    let subscription = view.text(&[
        "messaging.destination.subscription.name",
        "messaging.servicebus.destination.subscription_name",
    ])?;
    name(&subscription)
}

fn client<'a>(view: &View<'a>) -> Option<std::borrow::Cow<'a, str>> {
    view.text(&[
        "messaging.client.id",
        "messaging.client_id",
        "messaging.kafka.client_id",
    ])
}

/// The client id; out of "group - client" where nothing else names it.
pub(super) fn client_id(view: &View<'_>) -> Option<Arc<str>> {
    if let Some(client) = client(view) {
        return name(&client);
    }
    let both = view.text(&["messaging.consumer.id", "messaging.consumer_id"])?;
    name(both.split_once(" - ")?.1)
}

/// The message's key.
pub(super) fn key(view: &View<'_>) -> Option<Arc<str>> {
    name(&view.text(&["messaging.kafka.message.key", "messaging.kafka.message_key"])?)
}

/// Messages in a batch; an empty poll has 0.
pub(super) fn batch_count(view: &View<'_>) -> Option<u32> {
    u32::try_from(view.int(&["messaging.batch.message_count"])?).ok()
}

/// A record with a null value.
pub(super) fn tombstone(view: &View<'_>) -> bool {
    view.flag(&[
        "messaging.kafka.message.tombstone",
        "messaging.kafka.tombstone",
    ])
}

/// The body's size. sarama's `payload_size_bytes` counts key, headers and overhead (83 for a body of 7): unknown.
pub(super) fn body_size(view: &View<'_>) -> Option<u64> {
    if view.scope.ends_with("otelsarama") {
        return None;
    }
    u64::try_from(view.int(&[
        "messaging.message.body.size",
        "messaging.message.envelope.size",
        "messaging.message.payload_size_bytes",
        "messaging.message_payload_size_bytes",
    ])?)
    .ok()
}
