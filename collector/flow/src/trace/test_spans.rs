//! Spans for tests, a field at a time.

use highwater_model::raw::{SpanKind, StatusCode};
use highwater_model::span::{ErrorInfo, Link, Messaging, ServiceKey};
use highwater_model::{Correlation, Operation, Span, SpanId, TraceId, UnixNanos};

const MS: u64 = 1_000_000;

pub(crate) fn trace(n: u64) -> TraceId {
    let mut id = [0xaa; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    TraceId(id)
}

pub(crate) fn id(n: u64) -> SpanId {
    SpanId((n + 1).to_be_bytes())
}

/// A plain span of `service`, from and to in milliseconds.
pub(crate) fn span(t: u64, n: u64, service: &str, from: u64, to: u64) -> Span {
    let service = ServiceKey {
        environment: "default".into(),
        namespace: "".into(),
        name: service.into(),
    };
    let time = (UnixNanos(from * MS), UnixNanos(to * MS));
    Span {
        scope: "test".into(),
        name: "work".into(),
        ..Span::plain(trace(t), id(n), service, time)
    }
}

pub(crate) trait With: Sized {
    fn under(self, parent: u64) -> Self;
    fn linked(self, t: u64, n: u64) -> Self;
    fn message(self, operation: Operation, topic: &str) -> Self;
    fn group(self, group: &str) -> Self;
    fn at(self, partition: i32, offset: i64) -> Self;
    fn batch(self, count: u32) -> Self;
    fn failed(self, kind: &str) -> Self;
    fn waiting(self) -> Self;
    fn about(self, value: &str) -> Self;
}

impl With for Span {
    fn under(mut self, parent: u64) -> Self {
        self.parent = Some(id(parent));
        self
    }

    fn linked(mut self, t: u64, n: u64) -> Self {
        self.links.push(Link {
            trace_id: trace(t),
            span_id: id(n),
            partition: None,
            offset: None,
        });
        self
    }

    fn message(mut self, operation: Operation, topic: &str) -> Self {
        self.kind = match operation {
            Operation::Create | Operation::Send => SpanKind::Producer,
            _ => SpanKind::Consumer,
        };
        self.name = format!("{topic} {operation:?}").into();
        self.messaging = Some(Messaging::kafka(operation, topic));
        self
    }

    fn group(mut self, group: &str) -> Self {
        self.messaging.as_mut().unwrap().group = Some(group.into());
        self
    }

    fn at(mut self, partition: i32, offset: i64) -> Self {
        let messaging = self.messaging.as_mut().unwrap();
        messaging.partition = Some(partition);
        messaging.offset = Some(offset);
        self
    }

    fn batch(mut self, count: u32) -> Self {
        self.messaging.as_mut().unwrap().batch_count = Some(count);
        self
    }

    fn failed(mut self, kind: &str) -> Self {
        self.status = StatusCode::Error;
        self.error = Some(ErrorInfo {
            kind: kind.into(),
            message: "it broke".into(),
        });
        self
    }

    fn waiting(mut self) -> Self {
        self.messaging.as_mut().unwrap().backoff = true;
        self
    }

    fn about(mut self, value: &str) -> Self {
        self.correlations.push(Correlation {
            key: "correlation".into(),
            value: value.into(),
        });
        self
    }
}
