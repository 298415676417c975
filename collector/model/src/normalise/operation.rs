//! What a messaging span does.

use super::is_message_kind;
use super::values::{View, lower};
use crate::raw::SpanKind;
use crate::sent::keys;
use crate::span::Operation;

/// The words of all generations: `publish` was `send` before 1.28, `deliver` was `process` in 1.24, `request` is
/// NATS's send, the acknowledging words are all one to a flow. `None` for any other word.
fn word(word: &str) -> Option<Operation> {
    Some(match word {
        "create" => Operation::Create,
        "send" | "publish" | "request" => Operation::Send,
        "receive" | "poll" | "fetch" | "subscribe" => Operation::Receive,
        "process" | "deliver" | "consume" => Operation::Process,
        "settle" | "ack" | "nack" | "modack" | "delete" | "commit" => Operation::Settle,
        _ => return None,
    })
}

/// Tells what the span does; `None` when it is no hop and no part of one.
///
/// The type decides, then the older key, then the operation's name. Without any of them PRODUCER and CONSUMER go by
/// kind (kafka-python, boto3sqs and Celery send no operation), and a CLIENT or INTERNAL span is **no hop**:
/// `basic.qos`, `queue.declare`, `Sqs.DeleteMessage` are half of some captures. [`by_exception`] has the exceptions.
pub(super) fn classify(view: &View<'_>, system: &str) -> Option<Operation> {
    let said = keys![
        "messaging.operation.type",
        "messaging.operation",
        "messaging.operation.name",
    ]
    .iter()
    .find_map(|key| word(&lower(view.text(&[*key])?)));
    let operation = match said {
        Some(operation) => operation,
        None if is_message_kind(view.span.kind) => by_kind(view),
        None => return by_exception(view, system),
    };
    if operation == Operation::Receive && receive_is_the_handler(view) {
        return Some(Operation::Process);
    }
    Some(operation)
}

/// A CONSUMER is what the last word of its name says, if that is a word of a consumer; else it processes.
fn by_kind(view: &View<'_>) -> Operation {
    if view.span.kind == SpanKind::Producer {
        return Operation::Send;
    }
    match word(view.last_word()) {
        Some(operation @ (Operation::Receive | Operation::Settle)) => operation,
        _ => Operation::Process,
    }
}

/// The CLIENT and INTERNAL spans without an operation that *are* hops: SNS publish through the Java agent, botocore
/// where no other instrumentation speaks, and the handler span of Google's Pub/Sub client.
fn by_exception(view: &View<'_>, system: &str) -> Option<Operation> {
    if system == "gcp_pubsub"
        && view.span.kind == SpanKind::Internal
        && view.last_word() == "process"
    {
        return Some(Operation::Process);
    }
    if view.span.kind != SpanKind::Client {
        return None;
    }
    let method = view.text(&keys!["rpc.method"])?;
    match (system, &*method) {
        ("aws_sns", "Publish") => Some(Operation::Send),
        ("aws_sqs", "SendMessage" | "SendMessageBatch") if view.scope().contains("botocore") => {
            Some(Operation::Send)
        }
        ("aws_sqs", "ReceiveMessage") if view.scope().contains("botocore") => {
            Some(Operation::Receive)
        }
        _ => None,
    }
}

/// SDKs whose span named *receive* lasts as long as the handler and holds its errors and children: Spring's own
/// Micrometer observation, pika's callbacks and aio-pika's. To a flow that is processing: its start is the delivery,
/// where a real receive starts when the waiting starts.
fn receive_is_the_handler(view: &View<'_>) -> bool {
    view.span.kind == SpanKind::Consumer
        && (view.scope().starts_with("org.springframework")
            || view.has(&keys!["spring.kafka.listener.id"])
            || view.scope().ends_with("instrumentation.pika")
            || view.scope().ends_with("instrumentation.aio_pika"))
}

/// Whether the span's duration is a handler's work on what the span names.
///
/// Never for a receive: polling is waiting, and the records aiokafka, kafka-python and sarama make for a received
/// message end before the handler starts. Nor for kafkajs's `eachBatch`, whose process spans all last as long as
/// the batch; they are told from `eachMessage` by their links, since there the producer is the parent.
pub(super) fn duration_is_work(view: &View<'_>, operation: Operation, linked: bool) -> bool {
    operation == Operation::Process && !(linked && view.scope().contains("kafkajs"))
}
