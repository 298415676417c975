//! The body of a block: the spans as they were sent, after each resource and scope once.

use std::sync::Arc;

use highwater_model::normalise::{OriginFacts, Rules, normalise_from};
use highwater_model::otlp::{decode_origin, decode_span};
use highwater_model::{Span, UnixNanos, raw};

use super::bytes::{Corrupt, Reader, put, put_bytes};
use super::fingerprint::Fingerprint;
use super::gathered::{Gathered, GatheredSpan, Numbers};
use super::head::{Head, RowView};
use super::pieces::{Known, Pieces, PiecesBuilder};
use super::wire::origin_attributes;
use crate::spans::StoredSpan;

/// Collects the bytes of spans and origins.
#[derive(Debug, Default)]
pub(crate) struct BodyBuilder {
    origins: Vec<bytes::Bytes>,
    spans: PiecesBuilder,
}

impl BodyBuilder {
    /// Adds an origin blob and returns its index.
    pub(crate) fn push_origin(&mut self, origin: bytes::Bytes) -> u32 {
        self.origins.push(origin);
        self.origins.len() as u32 - 1
    }

    pub(crate) fn push_span(&mut self, raw: &[u8], known: Known) {
        self.spans.push(raw, known);
    }

    pub(crate) fn push_gathered(
        &mut self,
        gathered: &Gathered,
        span: GatheredSpan,
        known: Known,
        numbers: &mut Numbers,
    ) {
        self.spans.push_gathered(gathered, span, known, numbers);
    }

    /// The fingerprints of all attributes; some may be there more than once.
    pub(crate) fn attributes(&self) -> Vec<Fingerprint> {
        let mut attributes = self.spans.attributes().to_vec();
        for origin in &self.origins {
            origin_attributes(origin, &mut attributes);
        }
        attributes
    }

    /// The block's body; the builder is empty then, and has its room still.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.origins.len() as u64);
        for origin in &self.origins {
            put_bytes(&mut out, origin);
        }
        self.spans.finish(&mut out);
        self.origins.clear();
        self.spans.clear();
        out
    }
}

/// The decoded body of a block. Spans are decoded one by one, when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    origins: Vec<Origin>,
    spans: Spans,
}

#[derive(Clone, Debug)]
struct Origin {
    raw: Arc<raw::Origin>,
    facts: OriginFacts,
    blob: bytes::Bytes,
}

#[derive(Clone, Debug)]
enum Spans {
    Pieces(Pieces),
    /// As blocks were at first: one after the other, where the head says.
    Joined {
        bytes: Vec<u8>,
        from: usize,
    },
}

impl Body {
    /// Reads the body that belongs to `head`.
    pub(crate) fn decode(bytes: Vec<u8>, head: &Head) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(&bytes);
        let count = reader.count()?;
        let origins = (0..count)
            .map(|_| {
                let blob = reader.bytes()?;
                let raw = decode_origin(blob)
                    .map_err(|_| Corrupt("a resource and scope cannot be read"))?;
                Ok(Origin {
                    facts: OriginFacts::read(&raw),
                    raw: Arc::new(raw),
                    blob: bytes::Bytes::copy_from_slice(blob),
                })
            })
            .collect::<Result<Vec<_>, Corrupt>>()?;
        let from = bytes.len() - reader.remaining();
        let spans = if head.tells_places() {
            Spans::Joined { bytes, from }
        } else {
            let pieces = Pieces::decode(bytes, from)?;
            if pieces.len() != head.len() {
                return Err(Corrupt("head and body are of different spans"));
            }
            Spans::Pieces(pieces)
        };
        Ok(Self { origins, spans })
    }

    /// What it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        let origins: usize = self
            .origins
            .iter()
            .map(|origin| origin.blob.len() * 4)
            .sum();
        origins
            + match &self.spans {
                Spans::Pieces(pieces) => pieces.weight(),
                Spans::Joined { bytes, .. } => bytes.len(),
            }
    }

    /// One span as it was sent.
    pub(crate) fn bytes(&self, row: RowView<'_>) -> Result<Vec<u8>, Corrupt> {
        match &self.spans {
            Spans::Pieces(pieces) => {
                let mut out = Vec::with_capacity(1024);
                pieces.raw(
                    row.index(),
                    row.known(),
                    row.sent_bytes_at_most(),
                    |index| row.span_id_of(index),
                    &mut out,
                )?;
                Ok(out)
            }
            Spans::Joined { bytes, from } => bytes[*from..]
                .get(row.place())
                .map(<[u8]>::to_vec)
                .ok_or(Corrupt("a span lies past the end of its block")),
        }
    }

    /// Adds one span to those gathered. `numbers` are of this block and of them.
    pub(crate) fn gather(
        &self,
        row: RowView<'_>,
        gathered: &mut Gathered,
        numbers: &mut Numbers,
    ) -> Result<GatheredSpan, Corrupt> {
        let span = match &self.spans {
            Spans::Pieces(pieces) => pieces.gather(
                row.index(),
                |index| row.span_id_of(index),
                gathered,
                numbers,
            )?,
            Spans::Joined { .. } => gathered.add_raw(&self.bytes(row)?, row.known()),
        };
        if span.bytes() > row.sent_bytes_at_most() {
            return Err(Corrupt("a span is larger than its block"));
        }
        Ok(span)
    }

    /// Decodes one span.
    pub(crate) fn raw(&self, row: RowView<'_>) -> Result<raw::RawSpan, Corrupt> {
        let bytes = self.bytes(row)?;
        decode_span(&bytes).map_err(|_| Corrupt("a stored span cannot be decoded"))
    }

    fn origin(&self, row: RowView<'_>) -> Result<&Origin, Corrupt> {
        let origin = self.origins.get(row.row.origin as usize);
        origin.ok_or(Corrupt("a span's resource is missing"))
    }

    /// A span's resource and scope, encoded.
    pub(crate) fn origin_blob(&self, row: RowView<'_>) -> Result<&bytes::Bytes, Corrupt> {
        Ok(&self.origin(row)?.blob)
    }

    /// The encoded resources and scopes of its spans, by the number that a row has of them.
    pub(crate) fn into_origin_blobs(self) -> Vec<bytes::Bytes> {
        let blobs = self.origins.into_iter().map(|origin| origin.blob);
        blobs.collect()
    }

    /// Decodes and normalises one span.
    pub(crate) fn span(&self, row: RowView<'_>, rules: &Rules) -> Result<Span, Corrupt> {
        let facts = &self.origin(row)?.facts;
        Ok(normalise_from(facts, &self.raw(row)?, rules))
    }

    /// Decodes and normalises one span and keeps what it was made of. `arrived` counts where the head has no instant
    /// of the span's own.
    pub(crate) fn stored(
        &self,
        row: RowView<'_>,
        arrived: UnixNanos,
        rules: &Rules,
    ) -> Result<StoredSpan, Corrupt> {
        let origin = self.origin(row)?;
        let raw = self.raw(row)?;
        let span = normalise_from(&origin.facts, &raw, rules);
        Ok(StoredSpan {
            origin: Arc::clone(&origin.raw),
            raw,
            span,
            arrived: row.arrived().unwrap_or(arrived),
        })
    }

    /// Of each span, whether it may have an attribute with the fingerprint, its resource's included. `None` when
    /// only the spans themselves can tell.
    pub(crate) fn with_attribute(&self, wanted: Fingerprint) -> Option<Vec<bool>> {
        let Spans::Pieces(pieces) = &self.spans else {
            return None;
        };
        let mut of_origins = Vec::new();
        for origin in &self.origins {
            origin_attributes(&origin.blob, &mut of_origins);
        }
        (!of_origins.contains(&wanted)).then(|| pieces.with_attribute(wanted))
    }

    /// The fingerprints of all attributes, as the builder knew them. `None` of a block of the first format.
    pub(crate) fn attributes(&self) -> Option<Vec<Fingerprint>> {
        let Spans::Pieces(pieces) = &self.spans else {
            return None;
        };
        let mut attributes = Vec::new();
        pieces.attributes(&mut attributes);
        for origin in &self.origins {
            origin_attributes(&origin.blob, &mut attributes);
        }
        Some(attributes)
    }
}
