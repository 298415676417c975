//! The unit that travels from a receiver to the store: one request's spans.

use std::sync::Arc;

use bytes::Bytes;

use crate::span::{ServiceKey, Span};
use crate::time::UnixNanos;

/// A normalised span with the bytes it came in.
#[derive(Clone, Debug)]
pub struct BatchSpan {
    /// What was read out of it.
    pub span: Span,
    /// The `opentelemetry.proto.trace.v1.Span` message, as sent (re-encoded when it came as JSON).
    pub raw: Bytes,
    /// Index into [`Batch::origins`].
    pub origin: u32,
    /// xxh3-64 of `raw`: with the ids, the identity of a resend.
    pub hash: u64,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Encoded [`crate::otlp::OriginMessage`]s (resource, scope and schema), each once.
    pub origins: Vec<Bytes>,
    /// The spans, in order of arrival.
    pub spans: Vec<BatchSpan>,
    /// Which version of which service (`service.version`) the origins name; one that recurs is listed once in a row.
    pub releases: Vec<(ServiceKey, Arc<str>)>,
}

impl Batch {
    /// Bytes held by the raw spans and origins.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.spans.iter().map(|span| span.raw.len()).sum::<usize>()
            + self.origins.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Spans that are committed, as the flow and its rebuild see them.
#[derive(Clone, Debug)]
pub struct CommittedBlock {
    /// Ever rising over the life of a data directory.
    pub block: u64,
    /// When its requests arrived.
    pub arrived: UnixNanos,
    /// What it holds.
    pub spans: Arc<[Span]>,
}
