//! Which message: partition, offset, ids, key, group, sizes.

use std::sync::Arc;

use super::MAX_NAME;
use super::values::{View, cut, int};
use crate::sent::{Known, keys};
use crate::words::Words;

/// A name that recurs, cut to [`MAX_NAME`]; `None` when empty.
pub(super) fn name(text: &str, words: &mut Words) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| words.share(cut(text, MAX_NAME)))
}

/// What is one message's own, cut to [`MAX_NAME`]; `None` when empty.
fn own(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| cut(text, MAX_NAME).into())
}

/// Negative is what a failed send reports (`"-1"`): absent.
pub(super) fn partition(attributes: &Known<'_>) -> Option<i32> {
    let keys = &keys![
        "messaging.destination.partition.id",
        "messaging.kafka.destination.partition",
        "messaging.kafka.source.partition",
        "messaging.kafka.partition",
    ];
    let number = int(attributes, keys)?;
    i32::try_from(number).ok().filter(|number| *number >= 0)
}

/// Negative is what a failed send reports: absent.
pub(super) fn offset(attributes: &Known<'_>) -> Option<i64> {
    let keys = &keys!["messaging.kafka.offset", "messaging.kafka.message.offset"];
    int(attributes, keys).filter(|number| *number >= 0)
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
    let id = view.text(&keys!["messaging.message.id", "messaging.message_id"]);
    let mut message = Message {
        partition: partition(&view.span.attributes),
        offset: offset(&view.span.attributes),
        id: None,
    };
    let Some(id) = id else { return message };
    if system == "kafka" {
        if view.scope().ends_with("otelsarama") {
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
    message.id = own(&id);
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
pub(super) fn group(view: &View<'_>, words: &mut Words) -> Option<Arc<str>> {
    if let Some(group) = view.text(&keys![
        "messaging.consumer.group.name",
        "messaging.kafka.consumer.group",
        "messaging.rocketmq.client_group",
        "messaging.eventhubs.consumer.group",
        "messaging.kafka.consumer_group",
    ]) {
        return name(&group, words);
    }
    if let Some(both) = view.text(&keys!["messaging.consumer.id", "messaging.consumer_id"]) {
        let known = client(view);
        let group = known
            .as_deref()
            .and_then(|client| both.strip_suffix(client)?.strip_suffix(" - "))
            .or_else(|| both.split_once(" - ").map(|(group, _)| group));
        if let Some(group) = group {
            return name(group, words);
        }
    }
    let subscription = view.text(&keys![
        "messaging.destination.subscription.name",
        "messaging.servicebus.destination.subscription_name",
    ])?;
    name(&subscription, words)
}

fn client<'a>(view: &View<'a>) -> Option<std::borrow::Cow<'a, str>> {
    view.text(&keys![
        "messaging.client.id",
        "messaging.client_id",
        "messaging.kafka.client_id",
    ])
}

/// The client id; out of "group - client" where nothing else names it.
pub(super) fn client_id(view: &View<'_>, words: &mut Words) -> Option<Arc<str>> {
    if let Some(client) = client(view) {
        return name(&client, words);
    }
    let both = view.text(&keys!["messaging.consumer.id", "messaging.consumer_id"])?;
    name(both.split_once(" - ")?.1, words)
}

/// The message's key.
pub(super) fn key(view: &View<'_>) -> Option<Arc<str>> {
    own(&view.text(&keys![
        "messaging.kafka.message.key",
        "messaging.kafka.message_key"
    ])?)
}

/// Messages in a batch; an empty poll has 0.
pub(super) fn batch_count(view: &View<'_>) -> Option<u32> {
    u32::try_from(view.int(&keys!["messaging.batch.message_count"])?).ok()
}

/// A record with a null value.
pub(super) fn tombstone(view: &View<'_>) -> bool {
    view.flag(&keys![
        "messaging.kafka.message.tombstone",
        "messaging.kafka.tombstone",
    ])
}

/// The body's size. sarama's `payload_size_bytes` counts key, headers and overhead (83 for a body of 7): unknown.
pub(super) fn body_size(view: &View<'_>) -> Option<u64> {
    if view.scope().ends_with("otelsarama") {
        return None;
    }
    u64::try_from(view.int(&keys![
        "messaging.message.body.size",
        "messaging.message.envelope.size",
        "messaging.message.payload_size_bytes",
        "messaging.message_payload_size_bytes",
    ])?)
    .ok()
}
