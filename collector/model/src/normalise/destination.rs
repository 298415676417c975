//! Which system, and which topic, queue or subject.

use std::sync::Arc;

use super::fields;
use super::is_message_kind;
use super::values::{View, lower};
use crate::raw::SpanKind;
use crate::sent::{Key, keys};
use crate::span::Operation;
use crate::words::Words;

const NAME: [Key; 4] = keys![
    "messaging.destination.name",
    // Consumers of 1.17 to 1.20, and Spring's Micrometer still.
    "messaging.source.name",
    "messaging.destination",
    // Azure's first SDKs.
    "message_bus.destination",
];
const OPERATION: [Key; 3] = keys![
    "messaging.operation.type",
    "messaging.operation",
    "messaging.operation.name",
];
const QUEUE_URL: [Key; 3] = keys!["aws.sqs.queue.url", "aws.queue_url", "messaging.url"];
const ARN: &str = "arn:aws";
/// Where replies go: one node for all of them, since every requester makes its own.
const TEMPORARY: &str = "(temporary)";

/// Names the messaging system, or says with `None` that this is no messaging span.
///
/// Spans without `messaging.system` are told by scope or destination: Celery never sends one, the Java agent's SNS
/// publish has only an ARN. confluent-kafka's `recv` has no attribute at all and so is none.
pub(super) fn system(view: &View<'_>) -> Option<&'static str> {
    if let Some(system) = view.text(&keys!["messaging.system"]) {
        return Some(known_system(&lower(system)));
    }
    let destination = view.text(&NAME);
    let by_scope = view.origin.system;
    if by_scope == Some("gcp_pubsub") && view.span.kind == SpanKind::Internal {
        return by_scope;
    }
    let destination = match destination {
        Some(destination) => destination,
        None if is_message_kind(view.span.kind) && view.has(&OPERATION) => {
            return Some(by_scope.unwrap_or("unknown"));
        }
        None => return None,
    };
    if destination.starts_with(ARN) {
        return Some(if destination.contains(":sns:") {
            "aws_sns"
        } else {
            "aws_sqs"
        });
    }
    Some(match view.text(&keys!["az.namespace"]).as_deref() {
        Some("Microsoft.ServiceBus") => "servicebus",
        Some("Microsoft.EventHub") => "eventhubs",
        _ => by_scope.unwrap_or("unknown"),
    })
}

/// One spelling a system. What is not in the list is `unknown`: the set is closed so that no sender can fill a map
/// of systems. `sent` is in lower case.
fn known_system(sent: &str) -> &'static str {
    match sent {
        "kafka" => "kafka",
        "rabbitmq" => "rabbitmq",
        "aws_sqs" | "aws.sqs" | "amazonsqs" | "sqs" => "aws_sqs",
        "aws_sns" | "aws.sns" | "amazonsns" | "sns" => "aws_sns",
        "gcp_pubsub" | "pubsub" => "gcp_pubsub",
        "servicebus" => "servicebus",
        "eventhubs" => "eventhubs",
        "eventgrid" => "eventgrid",
        "pulsar" => "pulsar",
        "nats" => "nats",
        "jms" => "jms",
        "activemq" => "activemq",
        "rocketmq" => "rocketmq",
        "redis" => "redis",
        "celery" => "celery",
        "mqtt" => "mqtt",
        _ => "unknown",
    }
}

pub(super) fn system_of_scope(scope: &str) -> Option<&'static str> {
    [
        ("celery", "celery"),
        ("kafka", "kafka"),
        ("sarama", "kafka"),
        ("kotel", "kafka"),
        ("rabbit", "rabbitmq"),
        ("amqplib", "rabbitmq"),
        ("pika", "rabbitmq"),
        ("pubsub", "gcp_pubsub"),
        ("boto3sqs", "aws_sqs"),
        ("pulsar", "pulsar"),
        ("nats", "nats"),
        ("jms", "jms"),
        ("rocketmq", "rocketmq"),
    ]
    .iter()
    .find(|(part, _)| scope.contains(part))
    .map(|(_, system)| *system)
}

/// Where a message goes or comes from.
#[derive(Default)]
pub(super) struct Place {
    /// The topic; see [`crate::span::Messaging::destination`].
    pub(super) destination: Option<Arc<str>>,
    /// A group that the destination itself tells (a queue, a durable consumer).
    pub(super) group: Option<Arc<str>>,
    /// A partition that the destination's name holds.
    pub(super) partition: Option<i32>,
    /// Set when the destination shows that the span does something else.
    pub(super) operation: Option<Operation>,
}

impl Place {
    fn topic(name: &str, words: &mut Words) -> Self {
        Self {
            destination: fields::name(name, words),
            ..Self::default()
        }
    }
}

/// Reads the place. Each broker has its own way to say it; Kafka's is to say the topic.
pub(super) fn place(
    view: &View<'_>,
    system: &str,
    operation: Operation,
    words: &mut Words,
) -> Place {
    if view.flag(&keys!["messaging.destination.temporary"]) && system != "nats" {
        return Place::topic(TEMPORARY, words);
    }
    let sent = view.text(&NAME);
    let sent = sent.as_deref();
    let topic = match system {
        "kafka" => sent,
        "rabbitmq" => return rabbitmq(view, sent.unwrap_or_default(), operation, words),
        "aws_sqs" => return sqs(view, sent, words),
        "aws_sns" => sent.map(|name| tail(name, ':')),
        "gcp_pubsub" => match sent {
            Some(name) => Some(tail(name, '/')),
            // The handler's span names its subscription only in `S process`.
            None => view.span.name.strip_suffix(" process"),
        },
        "pulsar" => {
            return sent.map_or_else(Place::default, |name| pulsar(name, words));
        }
        "nats" => return sent.map_or_else(Place::default, |name| nats(name, words)),
        "jms" | "activemq" if sent.is_some_and(is_uuid) => Some(TEMPORARY),
        _ => {
            let template = view.text(&keys!["messaging.destination.template"]);
            return template
                .as_deref()
                .or(sent)
                .map_or_else(Place::default, |name| Place::topic(name, words));
        }
    };
    topic.map_or_else(Place::default, |name| Place::topic(name, words))
}

/// RabbitMQ's destination is not the queue, and one binding has many spellings: `X`, `X:K` and `X:K:Q` (the agent's
/// opt-in), `X,K` (aio-pika), K alone, `""` or `<default>`. The exchange is the topic here and the queue, where the
/// span tells it, the group: that is how a queue relates to an exchange. On the default exchange the key is the queue.
///
/// Exchange names may hold colons (MassTransit's do), so the name is split at the routing key that the span also
/// carries, and without one only where it has exactly three parts.
fn rabbitmq(view: &View<'_>, sent: &str, operation: Operation, words: &mut Words) -> Place {
    let key = view.text(&keys![
        "messaging.rabbitmq.destination.routing_key",
        "messaging.rabbitmq.routing_key",
    ]);
    let key = key.as_deref().unwrap_or_default();
    let consumer = matches!(operation, Operation::Receive | Operation::Process);
    let (mut exchange, mut queue) = (sent, None);
    if !key.is_empty() && sent != key {
        if let Some(rest) = sent
            .strip_suffix(key)
            .and_then(|rest| rest.strip_suffix(':'))
        {
            exchange = rest;
        } else if let Some((head, last)) = sent.split_once(&format!(":{key}:")) {
            (exchange, queue) = (head, Some(last));
        }
    } else if consumer && sent.matches(':').count() == 2 {
        let mut parts = sent.split(':');
        exchange = parts.next().unwrap_or_default();
        queue = parts.nth(1);
    }
    if let Some((head, rest)) = exchange.split_once(',') {
        exchange = if head.is_empty() { rest } else { head };
    }
    if consumer && queue.is_none() && queue_is_in_the_name(view) {
        queue = view.span.name.rsplit_once(' ').map(|(queue, _)| queue);
    }
    if matches!(exchange, "" | "<default>") {
        exchange = if key.is_empty() {
            queue.unwrap_or_default()
        } else {
            key
        };
    }
    Place {
        destination: fields::name(exchange, words),
        group: queue.and_then(|queue| fields::name(queue, words)),
        ..Place::default()
    }
}

/// `Q process` and `Q receive`: the only place of the queue with the Java agent's default and with amqplib.
fn queue_is_in_the_name(view: &View<'_>) -> bool {
    matches!(view.last_word(), "process" | "receive")
        && (view.scope().starts_with("io.opentelemetry.rabbitmq")
            || view.scope().ends_with("instrumentation-amqplib"))
}

/// A queue's name, or the tail of its URL or ARN.
fn sqs(view: &View<'_>, sent: Option<&str>, words: &mut Words) -> Place {
    let url = view.text(&QUEUE_URL);
    let Some(name) = sent.or(url.as_deref()) else {
        return Place::default();
    };
    let queue = match name.split_once("://") {
        Some((_, rest)) => rest.rsplit_once('/').map_or("", |(_, queue)| queue),
        None if name.starts_with(ARN) => tail(name, ':'),
        None => name,
    };
    Place::topic(queue, words)
}

/// Strips `-partition-N`, which is the partition, also from inside a dead-letter topic's `T-partition-N-S-DLQ`.
fn pulsar(sent: &str, words: &mut Words) -> Place {
    let Some((topic, rest)) = sent.rsplit_once("-partition-") else {
        return Place::topic(sent, words);
    };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = rest.split_at(digits);
    if number.is_empty() || !(suffix.is_empty() || suffix.starts_with('-')) {
        return Place::topic(sent, words);
    }
    Place {
        partition: number.parse().ok(),
        ..Place::topic(&format!("{topic}{suffix}"), words)
    }
}

/// `$JS.API.>`, `_INBOX.>` and `(temporary)` are plumbing, and `$JS.ACK...` is unique to each message: none is a
/// topic. An acknowledgement is a settle whatever its kind says, and the one place that names the durable consumer.
fn nats(sent: &str, words: &mut Words) -> Place {
    if let Some(rest) = sent.strip_prefix("$JS.ACK.") {
        let parts: Vec<&str> = rest.split('.').collect();
        // Newer servers put the domain and the account's hash first.
        let consumer = if parts.len() >= 9 {
            parts.get(3)
        } else {
            parts.get(1)
        };
        return Place {
            group: consumer.and_then(|name| fields::name(name, words)),
            operation: Some(Operation::Settle),
            ..Place::default()
        };
    }
    if sent.starts_with("$JS.API.") || sent.starts_with("_INBOX.") || sent == TEMPORARY {
        return Place::default();
    }
    Place::topic(sent, words)
}

fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn tail(name: &str, separator: char) -> &str {
    name.rsplit(separator).next().unwrap_or(name)
}

/// The part of a queue's URL that tells the broker: host and account. `None` when no URL was sent. A user and
/// password before the host never leave here.
pub(super) fn sqs_broker(view: &View<'_>, words: &mut Words) -> Option<Arc<str>> {
    let url = view.text(&QUEUE_URL)?;
    let (_, rest) = url.split_once("://")?;
    let mut parts = rest.split('/');
    let authority = parts.next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let account = parts.next().filter(|_| parts.next().is_some());
    match account {
        Some(account) => fields::name(&format!("{host}/{account}"), words),
        None => fields::name(host, words),
    }
}
