//! The normalised span: what every other room reads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{SpanId, TraceId};
use crate::raw::{SpanKind, StatusCode};
use crate::time::UnixNanos;

/// A service's identity within an environment.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ServiceKey {
    /// `deployment.environment.name`, else `deployment.environment`, else `default`.
    pub environment: Arc<str>,
    /// `service.namespace`; empty when none.
    pub namespace: Arc<str>,
    /// `service.name`; `unknown_service` when none.
    pub name: Arc<str>,
}

/// What a messaging span does with its message. Classified by operation type first, by kind only as a fallback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The message was made; its context travels, sending is another span.
    Create,
    /// The message was handed to the broker.
    Send,
    /// One or more messages were fetched.
    Receive,
    /// A handler worked on one or more messages.
    Process,
    /// Ack, nack, delete, commit: never a hop.
    Settle,
}

/// What a span said about its cluster, before it is resolved to a configured name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct ClusterHint {
    /// `messaging.kafka.cluster.id`, or Spring's `peer.service`.
    pub id: Option<Arc<str>>,
    /// `host:port` without quotes, from `server.address`, `messaging.url` or `net.peer.name`.
    pub address: Option<Arc<str>>,
}

/// The messaging half of a span.
#[derive(Clone, PartialEq, Debug)]
pub struct Messaging {
    /// `kafka`, `rabbitmq`, ...; lower case.
    pub system: Arc<str>,
    /// What it does.
    pub operation: Operation,
    /// The topic. `None` where a span names none (confluent's `recv`, some aiokafka batches): no hop is drawn for it.
    pub destination: Option<Arc<str>>,
    /// The consumer group as the span names it.
    pub group: Option<Arc<str>>,
    /// The partition; negative ones are absent.
    pub partition: Option<i32>,
    /// The offset; negative ones are absent.
    pub offset: Option<i64>,
    /// The broker's or framework's message id.
    pub message_id: Option<Arc<str>>,
    /// The client id.
    pub client_id: Option<Arc<str>>,
    /// The message key, where the SDK writes it.
    pub key: Option<Arc<str>>,
    /// Messages in a batch, where this span is one over a batch.
    pub batch_count: Option<u32>,
    /// A record with a null value.
    pub tombstone: bool,
    /// Bytes of the body.
    pub body_size: Option<u64>,
    /// What it says about its cluster.
    pub cluster: ClusterHint,
    /// This span's duration is a handler's work. False for polls, fetches, aiokafka's and kafka-python's
    /// receives, and kafkajs batches, whose process spans last as long as the batch.
    pub duration_is_work: bool,
    /// Spring's back-off wait (`KafkaBackoffException`): not an attempt, not an error.
    pub backoff: bool,
}

impl Messaging {
    /// A message of one of Kafka's topics, and nothing else told; a process covers its handler's work.
    #[must_use]
    pub fn kafka(operation: Operation, topic: impl Into<Arc<str>>) -> Self {
        Self {
            system: "kafka".into(),
            operation,
            destination: Some(topic.into()),
            group: None,
            partition: None,
            offset: None,
            message_id: None,
            client_id: None,
            key: None,
            batch_count: None,
            tombstone: false,
            body_size: None,
            cluster: ClusterHint::default(),
            duration_is_work: operation == Operation::Process,
            backoff: false,
        }
    }
}

/// A link, with the per-message attributes some SDKs write there.
#[derive(Clone, PartialEq, Debug)]
pub struct Link {
    /// The linked trace.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
    /// Partition of the linked message.
    pub partition: Option<i32>,
    /// Offset of the linked message.
    pub offset: Option<i64>,
}

/// A business identity found on a span.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Correlation {
    /// `correlation` for all default sources; an attribute the operator named keeps its name.
    pub key: Arc<str>,
    /// The value, at most 256 bytes.
    pub value: Arc<str>,
}

/// Why a span failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// `error.type`, else the exception's type, else `error`.
    pub kind: Arc<str>,
    /// Message, at most 1 KiB; empty when none.
    pub message: Arc<str>,
}

/// A span with its meaning read.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// `None` for a root.
    pub parent: Option<SpanId>,
    /// Who sent it.
    pub service: ServiceKey,
    /// `service.instance.id`, where sent.
    pub instance: Option<Arc<str>>,
    /// Scope name.
    pub scope: Arc<str>,
    /// Name as sent, at most 256 bytes.
    pub name: Arc<str>,
    /// Kind as sent.
    pub kind: SpanKind,
    /// Start.
    pub start: UnixNanos,
    /// End, never before `start`.
    pub end: UnixNanos,
    /// Status as sent.
    pub status: StatusCode,
    /// Set when the span failed (and it is no back-off).
    pub error: Option<ErrorInfo>,
    /// Set when it is a messaging span.
    pub messaging: Option<Messaging>,
    /// Links, at most 4,096.
    pub links: Vec<Link>,
    /// Correlation values. More than one value of a key: a batch, which joins no journey.
    pub correlations: Vec<Correlation>,
}

impl Span {
    /// A root that a service did by itself, and nothing else told.
    #[must_use]
    pub fn plain(
        trace_id: TraceId,
        span_id: SpanId,
        service: ServiceKey,
        (start, end): (UnixNanos, UnixNanos),
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            service,
            instance: None,
            scope: "".into(),
            name: "span".into(),
            kind: SpanKind::Internal,
            start,
            end,
            status: StatusCode::Unset,
            error: None,
            messaging: None,
            links: Vec::new(),
            correlations: Vec::new(),
        }
    }

    /// Nanoseconds from start to end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end.since(self.start)
    }
}
