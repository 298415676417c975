//! The body of a block: the spans as they were sent, after each resource and scope once.

use std::sync::Arc;

use highwater_model::normalise::{OriginFacts, Rules, normalise_from};
use highwater_model::otlp::{decode_origin, decode_span};
use highwater_model::{Span, UnixNanos, raw};

use super::bytes::{Corrupt, Reader, put, put_bytes};
use super::head::RowView;
use crate::spans::StoredSpan;

/// Collects the bytes of spans and origins.
#[derive(Debug, Default)]
pub(crate) struct BodyBuilder {
    origins: Vec<bytes::Bytes>,
    spans: Vec<u8>,
}

impl BodyBuilder {
    /// Adds an origin blob and returns its index.
    pub(crate) fn push_origin(&mut self, origin: &bytes::Bytes) -> u32 {
        self.origins.push(origin.clone());
        self.origins.len() as u32 - 1
    }

    pub(crate) fn push_span(&mut self, raw: &[u8]) {
        self.spans.extend_from_slice(raw);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let origins: usize = self.origins.iter().map(|origin| origin.len() + 5).sum();
        let mut out = Vec::with_capacity(origins + self.spans.len() + 5);
        put(&mut out, self.origins.len() as u64);
        for origin in &self.origins {
            put_bytes(&mut out, origin);
        }
        out.extend_from_slice(&self.spans);
        out
    }
}

/// A decoded body.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Where the spans begin in `bytes`.
    spans_at: usize,
    origins: Vec<(Arc<raw::Origin>, OriginFacts)>,
}

impl Body {
    /// Takes the decompressed blob.
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(&bytes);
        let count = reader.count()?;
        let origins = (0..count)
            .map(|_| {
                let origin = decode_origin(reader.bytes()?)
                    .map_err(|_| Corrupt("a resource and scope cannot be read"))?;
                let facts = OriginFacts::read(&origin);
                Ok((Arc::new(origin), facts))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let spans_at = bytes.len() - reader.remaining();
        Ok(Self {
            bytes,
            spans_at,
            origins,
        })
    }

    /// What it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.spans_at * 4
    }

    /// Decodes one span.
    pub(crate) fn raw(&self, row: RowView<'_>) -> Result<raw::RawSpan, Corrupt> {
        let bytes = self.bytes[self.spans_at..]
            .get(row.body())
            .ok_or(Corrupt("a span lies past the end of its block"))?;
        decode_span(bytes).map_err(|_| Corrupt("a stored span cannot be decoded"))
    }

    /// The origin of a span.
    pub(crate) fn origin(
        &self,
        row: RowView<'_>,
    ) -> Result<&(Arc<raw::Origin>, OriginFacts), Corrupt> {
        let origin = self.origins.get(row.row.origin as usize);
        origin.ok_or(Corrupt("a span's resource is missing"))
    }

    /// Decodes and normalises one span.
    pub(crate) fn span(&self, row: RowView<'_>, rules: &Rules) -> Result<Span, Corrupt> {
        let (_, facts) = self.origin(row)?;
        Ok(normalise_from(facts, &self.raw(row)?, rules))
    }

    /// Decodes and normalises one span and keeps what it was made of.
    pub(crate) fn stored(
        &self,
        row: RowView<'_>,
        arrived: UnixNanos,
        rules: &Rules,
    ) -> Result<StoredSpan, Corrupt> {
        let (origin, facts) = self.origin(row)?;
        let raw = self.raw(row)?;
        let span = normalise_from(facts, &raw, rules);
        Ok(StoredSpan {
            origin: Arc::clone(origin),
            raw,
            span,
            arrived,
        })
    }
}
