//! OTLP protobuf to the model and back.
//!
//! A request is walked, not decoded whole: each span's bytes stay a slice of the request's body, are hashed and
//! stored as they were sent, and are read in one borrowed walk for the normaliser. So a span that cannot be read
//! costs only itself, fields of a newer OTLP survive storage, and a resend has the same hash. prost decodes what a
//! page shows whole ([`decode_span`]), and is the reference that the borrowed walk is compared with: both take the
//! same spans, refuse the same spans and give the same meaning.
//!
//! Bounds, because every byte comes from outside: [`MAX_SPAN_BYTES`] and [`MAX_ORIGIN_BYTES`] keep what one decoded
//! message may grow to (an empty attribute is 2 bytes on the wire and 64 in memory), [`MAX_SPANS`] keeps a request's
//! normalised spans, [`MAX_COPIED_BYTES`] what its scopes make of a resource that was sent once, and messages are nested
//! at most 100 deep, counted from the span.

mod batch;
mod convert;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
pub use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::normalise::{self, OriginFacts, Rules};
use crate::raw::{Origin, RawSpan};
use crate::sent::Sent;
use crate::span::Span;
use crate::words::Words;
use wire::{Fields, Malformed};

pub use batch::{BatchBuilder, Decoder, ResourceHead, batch_from_bytes, batch_from_request};
pub use convert::encode_span;

/// A span whose encoding is longer is rejected: 4 MiB, the size at which gRPC refuses a whole message by default.
pub const MAX_SPAN_BYTES: usize = 4 << 20;
/// A resource with its scope whose encoding is longer has its spans rejected.
pub const MAX_ORIGIN_BYTES: usize = 1 << 20;
/// An origin is stored with each of its scopes, so a resource is copied for each distinct scope after its first. Where
/// the copies of one request would become longer together, the spans concerned are rejected.
///
/// A Collector's usual batch of 8,192 spans stays below it even if each has a scope of its own, beside a resource of
/// 2 KiB. Only copies count, not what was sent, so neither the request's size nor its encoding matters.
pub const MAX_COPIED_BYTES: usize = 16 << 20;
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

impl From<Malformed> for DecodeError {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Wire(why)
    }
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
/// Reason: see [`MAX_COPIED_BYTES`].
pub const ORIGINS_TOO_LARGE: &str = "origins_too_large";

fn explain(reason: &str) -> &str {
    match reason {
        INVALID_TRACE_ID => "the trace id is all zero or not 16 bytes long",
        INVALID_SPAN_ID => "the span id is all zero or not 8 bytes long",
        MALFORMED_SPAN => "the span cannot be decoded",
        SPAN_TOO_LARGE => "the span is longer than 4 MiB",
        ORIGIN_TOO_LARGE => "its resource and scope are longer than 1 MiB",
        ORIGINS_TOO_LARGE => {
            "the request's resources, once for each of their scopes, are longer than 16 MiB: send fewer scopes a request"
        }
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

/// Reads the meaning of an encoded `opentelemetry.proto.trace.v1.Span` without decoding it whole; the same as
/// [`normalise::normalise_from`] of [`decode_span`], at about a third of the cost.
///
/// # Errors
/// As [`decode_span`].
pub fn read_span(
    origin: &OriginFacts,
    bytes: &[u8],
    rules: &Rules,
    words: &mut Words,
) -> Result<Span, DecodeError> {
    read_span_with(origin, bytes, rules, words, &mut Sent::default())
}

/// [`read_span`] with memory that is used for one span after the other.
fn read_span_with<'a>(
    origin: &OriginFacts,
    bytes: &'a [u8],
    rules: &Rules,
    words: &mut Words,
    sent: &mut Sent<'a>,
) -> Result<Span, DecodeError> {
    if sent.read(bytes, rules)? {
        return Ok(normalise::of_sent(origin, sent, rules, words));
    }
    let span = decode_span(bytes)?;
    let mut sent = Sent::of(&span, rules);
    Ok(normalise::of_sent(origin, &mut sent, rules, words))
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

/// Counts the messages at the end of a path of field numbers, without decoding any: how a receiver tells the number
/// of metric points or log records that it refuses. Each step lists the fields that are followed.
///
/// # Errors
/// Malformed protobuf along the path.
pub fn count_messages(body: &[u8], path: &[&[u32]]) -> Result<u64, DecodeError> {
    let Some((step, rest)) = path.split_first() else {
        return Ok(1);
    };
    let (mut count, mut fields) = (0, Fields::new(body));
    while let Some((number, field)) = fields.next()? {
        if step.contains(&number) {
            count += count_messages(field.bytes()?, rest)?;
        }
    }
    Ok(count)
}

/// Counts the spans of an encoded `ExportTraceServiceRequest`, those included that cannot be read.
///
/// # Errors
/// A malformed frame.
fn count_spans(body: &[u8]) -> Result<u64, DecodeError> {
    count_messages(body, &[&[1], &[2], &[2]])
}
