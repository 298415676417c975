//! From a record to its trace: by the offset of the original first, then by the `traceparent` it carries.
//!
//! The order matters: a record that cannot be deserialised never gets a process span, and the Java agent's publish to
//! the dead-letter topic then starts a new trace and overwrites `traceparent`. Kafka Connect keeps the original.

use std::future::Future;

use highwater_model::{Operation, Span, SpanId, TraceId, UnixNanos};

use crate::headers::{Header, Hop};
use crate::record::DeadLetter;

/// A W3C trace context as a record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent the record.
    pub span_id: SpanId,
    /// A bit field: `03` (random) and `02` (not sampled) occur beside `01`.
    pub flags: u8,
}

impl TraceParent {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`, and later versions that begin so; `None` when malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.is_ascii() || text.len() < 55 || text.len() > 256 {
            return None;
        }
        let bytes = text.as_bytes();
        if bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let version = hex_byte(&text[..2])?;
        let length_fits = match version {
            0 => text.len() == 55,
            0xff => false,
            _ => text.len() == 55 || bytes[55] == b'-',
        };
        if !length_fits {
            return None;
        }
        Some(Self {
            trace_id: TraceId::from_hex(&text[3..35])?,
            span_id: SpanId::from_hex(&text[36..52])?,
            flags: hex_byte(&text[53..55])?,
        })
    }

    /// Bit 0: somebody recorded this trace.
    #[must_use]
    pub fn sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The last `traceparent` that can be read, as propagators do.
    pub(crate) fn from_headers(headers: &[Header]) -> Option<Self> {
        headers
            .iter()
            .rev()
            .filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"))
            .find_map(|(_, value)| Self::parse(std::str::from_utf8(value.as_deref()?).ok()?))
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// How a record's trace was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// Spans of the original's topic, partition and offset.
    OriginOffset,
    /// The record's own context.
    TraceParent,
}

impl FoundBy {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OriginOffset => "origin_offset",
            Self::TraceParent => "traceparent",
        }
    }
}

/// A record's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// The span to open at.
    pub span_id: Option<SpanId>,
    /// How it was found.
    pub found_by: FoundBy,
    /// The trace is in the store.
    pub stored: bool,
}

/// The spans a record may belong to. Implemented over the store by whoever wires the rooms.
pub trait SpanLookup: Sync {
    /// Why spans could not be read.
    type Error: std::error::Error + Send;

    /// Spans that name this topic, partition and offset; a few hundred at most.
    fn by_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> impl Future<Output = Result<Vec<Span>, Self::Error>> + Send;

    /// Whether any span of the trace is stored.
    fn has_trace(&self, trace: TraceId) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// Finds a record's trace: the offset join first, then its `traceparent`.
///
/// `cluster_id` is the broker's own id of the record's cluster, where known: it keeps topics of the same name apart.
///
/// # Errors
/// When the spans cannot be read.
pub async fn trace_of<L: SpanLookup>(
    record: &DeadLetter,
    cluster_id: Option<&str>,
    lookup: &L,
) -> Result<Option<RecordTrace>, L::Error> {
    if let Some(origin) = &record.analysis.origin
        && let (Some(topic), Some(partition), Some(offset)) =
            (&origin.topic, origin.partition, origin.offset)
    {
        let spans = lookup.by_offset(topic, partition, offset).await?;
        if let Some(span) = choose_span(&spans, origin, cluster_id, record.timestamp) {
            return Ok(Some(RecordTrace {
                trace_id: span.trace_id,
                span_id: Some(span.span_id),
                found_by: FoundBy::OriginOffset,
                stored: true,
            }));
        }
    }
    let Some(context) = record.traceparent else {
        return Ok(None);
    };
    Ok(Some(RecordTrace {
        trace_id: context.trace_id,
        span_id: Some(context.span_id),
        found_by: FoundBy::TraceParent,
        stored: lookup.has_trace(context.trace_id).await?,
    }))
}

/// Of the spans that name a record's origin, the one that says most about its death.
///
/// A handler's failure in the group that gave up; else any failure; else any handling; else the send. Of equals the
/// last that began before the record died. Spans of another cluster, back-off waits and settling are left out.
#[must_use]
pub fn choose_span<'a>(
    spans: &'a [Span],
    origin: &Hop,
    cluster_id: Option<&str>,
    died: Option<UnixNanos>,
) -> Option<&'a Span> {
    let rank = |span: &Span| {
        let messaging = span.messaging.as_ref()?;
        let other_cluster = match (messaging.cluster.id.as_deref(), cluster_id) {
            (Some(says), Some(is)) => says != is,
            _ => false,
        };
        if other_cluster || messaging.backoff || messaging.operation == Operation::Settle {
            return None;
        }
        let consumes = matches!(messaging.operation, Operation::Process | Operation::Receive);
        let in_group = consumes
            && origin.group.is_some()
            && messaging.group.as_deref() == origin.group.as_deref();
        let works = messaging.operation == Operation::Process;
        // A millisecond of grace: record timestamps are cut to milliseconds.
        let before = died.is_none_or(|died| span.start.0 <= died.0.saturating_add(1_000_000));
        Some((
            before,
            consumes && span.error.is_some() && in_group,
            consumes && span.error.is_some(),
            in_group,
            works,
            consumes,
            span.start,
            span.span_id,
        ))
    };
    spans
        .iter()
        .filter_map(|span| rank(span).map(|rank| (rank, span)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, span)| span)
}

#[cfg(test)]
mod tests;
