//! OTLP protobuf to the model and back.
//!
//! A request is walked, not decoded whole: each span's bytes stay a slice of the request's body, are hashed and
//! stored as they were sent, and are decoded once for the normaliser. So a span that cannot be read costs only
//! itself, fields of a newer OTLP survive storage, and a resend has the same hash.
//!
//! Bounds, because every byte comes from outside: [`MAX_SPAN_BYTES`] and [`MAX_ORIGIN_BYTES`] keep what one decoded
//! message may grow to (an empty attribute is 2 bytes on the wire and 64 in memory), [`MAX_SPANS`] keeps a request's
//! normalised spans, prost's recursion limit keeps nesting.

mod convert;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
pub use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::batch::{Batch, BatchSpan};
use crate::normalise::{OriginFacts, Rules, normalise_from};
use crate::raw::{Origin, RawSpan};
use wire::{Field, next_field};

pub use convert::encode_span;

/// A span whose encoding is longer is rejected: 4 MiB, the size at which gRPC refuses a whole message by default.
pub const MAX_SPAN_BYTES: usize = 4 << 20;
/// A resource with its scope whose encoding is longer has its spans rejected.
pub const MAX_ORIGIN_BYTES: usize = 1 << 20;
/// A request with more spans is refused whole; 4,227 is the most that was seen from a Collector.
pub const MAX_SPANS: usize = 200_000;

/// Why bytes could not be read as OTLP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame of the request is broken.
    #[error("not a valid OTLP protobuf message: {0}")]
    Wire(&'static str),
    /// A message in it cannot be decoded.
    #[error("cannot decode {message}")]
    Message {
        /// Which message.
        message: &'static str,
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
    /// A span's trace id is all zero or not 16 bytes long.
    #[error("a trace id is all zero or not 16 bytes long")]
    TraceId,
    /// A span's own id is all zero or not 8 bytes long.
    #[error("a span id is all zero or not 8 bytes long")]
    SpanId,
    /// More than [`MAX_SPANS`].
    #[error("more than {MAX_SPANS} spans in one request")]
    TooManySpans,
}

/// Spans of one request that were left out while the rest was kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// How many for each reason; the names are stable, metrics carry them.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Rejected {
    /// Counts one span.
    pub fn add(&mut self, reason: &'static str) {
        self.count += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// A sentence for `partial_success.error_message`; empty when nothing was rejected.
    #[must_use]
    pub fn message(&self) -> String {
        self.reasons
            .iter()
            .map(|(reason, count)| format!("{count} rejected: {}", explain(reason)))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Reason: see [`DecodeError::TraceId`].
pub const INVALID_TRACE_ID: &str = "invalid_trace_id";
/// Reason: see [`DecodeError::SpanId`].
pub const INVALID_SPAN_ID: &str = "invalid_span_id";
/// Reason: the span's own bytes cannot be read.
pub const MALFORMED_SPAN: &str = "malformed_span";
/// Reason: longer than [`MAX_SPAN_BYTES`].
pub const SPAN_TOO_LARGE: &str = "span_too_large";
/// Reason: resource and scope are longer than [`MAX_ORIGIN_BYTES`].
pub const ORIGIN_TOO_LARGE: &str = "origin_too_large";

fn explain(reason: &str) -> &str {
    match reason {
        INVALID_TRACE_ID => "the trace id is all zero or not 16 bytes long",
        INVALID_SPAN_ID => "the span id is all zero or not 8 bytes long",
        MALFORMED_SPAN => "the span cannot be decoded",
        SPAN_TOO_LARGE => "the span is longer than 4 MiB",
        ORIGIN_TOO_LARGE => "its resource and scope are longer than 1 MiB",
        other => other,
    }
}

/// A resource, scope and schema, as they are stored once a block.
///
/// Fields 1 and 2 are OTLP's own messages, so the sender's bytes are copied in as they came.
#[derive(Clone, PartialEq, Message)]
pub struct OriginMessage {
    /// The resource.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// The scope.
    #[prost(message, optional, tag = "2")]
    pub scope: Option<InstrumentationScope>,
    /// The scope's schema, else the resource's.
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// Decodes one `opentelemetry.proto.trace.v1.Span`.
///
/// # Errors
/// Malformed protobuf, or an id that is all zero or of a wrong length. Links with such ids are left out instead.
pub fn decode_span(bytes: &[u8]) -> Result<RawSpan, DecodeError> {
    let span = ProtoSpan::decode(bytes).map_err(|source| DecodeError::Message {
        message: "a span",
        source,
    })?;
    convert::raw_span(span)
}

/// Encodes what [`decode_origin`] reads, from the encoded `Resource` and `InstrumentationScope` as they were sent.
///
/// An empty slice is left out.
#[must_use]
pub fn encode_origin(resource: &[u8], scope: &[u8], schema_url: &str) -> Bytes {
    let mut out = Vec::with_capacity(resource.len() + scope.len() + schema_url.len() + 24);
    for (tag, bytes) in [(1, resource), (2, scope), (3, schema_url.as_bytes())] {
        if !bytes.is_empty() {
            encode_key(tag, WireType::LengthDelimited, &mut out);
            encode_varint(bytes.len() as u64, &mut out);
            out.extend_from_slice(bytes);
        }
    }
    out.into()
}

/// Decodes an origin blob.
///
/// # Errors
/// Malformed protobuf.
pub fn decode_origin(bytes: &[u8]) -> Result<Origin, DecodeError> {
    let message = OriginMessage::decode(bytes).map_err(|source| DecodeError::Message {
        message: "a resource and scope",
        source,
    })?;
    Ok(convert::origin(message))
}

/// Encodes an origin that was put together in memory; the inverse of [`decode_origin`].
#[must_use]
pub fn origin_to_bytes(origin: &Origin) -> Bytes {
    convert::origin_message(origin).encode_to_vec().into()
}

/// Collects spans into a [`Batch`], keeping each distinct origin once.
///
/// A Collector does not merge equal resources (85 `resource_spans` of 5 services in one captured request), so
/// origins are matched by their bytes.
pub struct BatchBuilder<'a> {
    rules: &'a Rules,
    batch: Batch,
    facts: Vec<OriginFacts>,
    known: HashMap<Bytes, u32>,
    rejected: Rejected,
    seen: usize,
}

impl<'a> BatchBuilder<'a> {
    /// An empty batch.
    #[must_use]
    pub fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            batch: Batch::default(),
            facts: Vec::new(),
            known: HashMap::new(),
            rejected: Rejected::default(),
            seen: 0,
        }
    }

    /// Adds an origin blob (see [`encode_origin`]) and returns the index for [`Self::push_span`].
    ///
    /// # Errors
    /// Malformed protobuf.
    pub fn push_origin(&mut self, blob: Bytes) -> Result<u32, DecodeError> {
        if let Some(index) = self.known.get(&blob) {
            return Ok(*index);
        }
        let facts = OriginFacts::read(&decode_origin(&blob)?);
        let index = u32::try_from(self.facts.len()).map_err(|_| DecodeError::TooManySpans)?;
        self.facts.push(facts);
        self.batch.origins.push(blob.clone());
        self.known.insert(blob, index);
        Ok(index)
    }

    /// Adds one encoded span; a span that cannot be read is counted as rejected.
    ///
    /// # Errors
    /// [`DecodeError::TooManySpans`] only.
    pub fn push_span(&mut self, origin: u32, raw: Bytes) -> Result<(), DecodeError> {
        self.count_span()?;
        let Some(facts) = self.facts.get(origin as usize) else {
            self.rejected.add(MALFORMED_SPAN);
            return Ok(());
        };
        if raw.len() > MAX_SPAN_BYTES {
            self.rejected.add(SPAN_TOO_LARGE);
            return Ok(());
        }
        match decode_span(&raw) {
            Ok(span) => {
                let hash = xxhash_rust::xxh3::xxh3_64(&raw);
                let span = normalise_from(facts, &span, self.rules);
                self.batch.spans.push(BatchSpan {
                    span,
                    raw,
                    origin,
                    hash,
                });
            }
            Err(DecodeError::TraceId) => self.rejected.add(INVALID_TRACE_ID),
            Err(DecodeError::SpanId) => self.rejected.add(INVALID_SPAN_ID),
            Err(_) => self.rejected.add(MALFORMED_SPAN),
        }
        Ok(())
    }

    /// Counts a span that could not even be encoded.
    ///
    /// # Errors
    /// [`DecodeError::TooManySpans`] only.
    pub fn reject(&mut self, reason: &'static str) -> Result<(), DecodeError> {
        self.count_span()?;
        self.rejected.add(reason);
        Ok(())
    }

    /// What was collected.
    #[must_use]
    pub fn finish(self) -> (Batch, Rejected) {
        (self.batch, self.rejected)
    }

    fn count_span(&mut self) -> Result<(), DecodeError> {
        self.seen += 1;
        if self.seen > MAX_SPANS {
            return Err(DecodeError::TooManySpans);
        }
        Ok(())
    }
}

/// Reads an encoded `ExportTraceServiceRequest`. The batch's spans are slices of `body`, which they keep alive.
///
/// # Errors
/// A request whose frame, resource or scope is malformed, or that holds more than [`MAX_SPANS`]. A span that cannot
/// be read is rejected alone.
pub fn batch_from_bytes(mut body: Bytes, rules: &Rules) -> Result<(Batch, Rejected), DecodeError> {
    let mut builder = BatchBuilder::new(rules);
    while let Some((number, field)) = next_field(&mut body)? {
        if number == 1 {
            resource_spans(&mut builder, message(field)?)?;
        }
    }
    Ok(builder.finish())
}

/// The same for a request that is decoded already: re-encodes it. An infallible form for what our own code made.
///
/// Spans of a malformed or oversized part are counted as rejected.
#[must_use]
pub fn batch_from_request(request: &ExportTraceServiceRequest, rules: &Rules) -> (Batch, Rejected) {
    let spans = || {
        request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len())
            .sum::<usize>()
    };
    batch_from_bytes(request.encode_to_vec().into(), rules).unwrap_or_else(|_| {
        let count = spans() as u64;
        let rejected = Rejected {
            count,
            reasons: BTreeMap::from([(MALFORMED_SPAN, count)]),
        };
        (Batch::default(), rejected)
    })
}

fn message(field: Field) -> Result<Bytes, DecodeError> {
    match field {
        Field::Bytes(bytes) => Ok(bytes),
        Field::Number => Err(DecodeError::Wire("a number stands where a message belongs")),
    }
}

/// Protobuf lets fields come in any order and lets a message field occur more than once, which merges. So what is
/// repeated is concatenated (that *is* the merge), and spans are visited after what they belong to is known.
#[derive(Default)]
struct Part {
    head: Vec<u8>,
    children: Vec<Bytes>,
    schema_url: Bytes,
}

fn part(mut bytes: Bytes) -> Result<Part, DecodeError> {
    let mut part = Part::default();
    while let Some((number, field)) = next_field(&mut bytes)? {
        match number {
            1 => {
                let head = message(field)?;
                // Kept to one byte more than is allowed, so that the excess is seen and not held.
                let room = (MAX_ORIGIN_BYTES + 1).saturating_sub(part.head.len());
                part.head.extend_from_slice(&head[..head.len().min(room)]);
            }
            2 => {
                if part.children.len() >= MAX_SPANS {
                    return Err(DecodeError::TooManySpans);
                }
                part.children.push(message(field)?);
            }
            3 => part.schema_url = message(field)?,
            _ => {}
        }
    }
    Ok(part)
}

fn resource_spans(builder: &mut BatchBuilder<'_>, bytes: Bytes) -> Result<(), DecodeError> {
    let resource = part(bytes)?;
    for scope_bytes in resource.children {
        let scope = part(scope_bytes)?;
        if scope.children.is_empty() {
            continue;
        }
        let schema_url = if scope.schema_url.is_empty() {
            &resource.schema_url
        } else {
            &scope.schema_url
        };
        let schema_url = std::str::from_utf8(schema_url)
            .map_err(|_| DecodeError::Wire("a schema_url is not UTF-8"))?;
        if resource.head.len() + scope.head.len() + schema_url.len() > MAX_ORIGIN_BYTES {
            for _ in &scope.children {
                builder.reject(ORIGIN_TOO_LARGE)?;
            }
            continue;
        }
        let origin = builder.push_origin(encode_origin(&resource.head, &scope.head, schema_url))?;
        for span in scope.children {
            builder.push_span(origin, span)?;
        }
    }
    Ok(())
}

/// Counts the messages at the end of a path of field numbers, without decoding any: how a receiver tells the number
/// of metric points or log records that it refuses. Each step lists the fields that are followed.
///
/// # Errors
/// Malformed protobuf along the path.
pub fn count_messages(mut body: Bytes, path: &[&[u32]]) -> Result<u64, DecodeError> {
    let Some((step, rest)) = path.split_first() else {
        return Ok(1);
    };
    let mut count = 0;
    while let Some((number, field)) = next_field(&mut body)? {
        if step.contains(&number) {
            count += count_messages(message(field)?, rest)?;
        }
    }
    Ok(count)
}
