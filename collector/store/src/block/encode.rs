//! From the spans of a commit to blocks.

use highwater_model::{Batch, BatchSpan, UnixNanos};

use super::body::BodyBuilder;
use super::bytes::{compress, put, put_bytes};
use super::fingerprint::Fingerprint;
use super::gathered::{Gathered, GatheredSpan, Numbers, Renumbered};
use super::head::{HeadBuilder, RowView};
use super::interner::Interner;
use super::runs::Keys;

/// Services of a block that its `meta` row names; with more, a search reads the head instead.
const MAX_SERVICES: usize = 64;

/// A block before compression: copied together while the batches are borrowed.
#[derive(Debug)]
pub(crate) struct RawBlock {
    pub(crate) summary: Summary,
    pub(crate) keys: Keys,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A block as it is stored.
#[derive(Debug)]
pub(crate) struct EncodedBlock {
    pub(crate) summary: Summary,
    pub(crate) keys: Keys,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// What `meta` tells of a block.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) spans: u64,
    pub(crate) min_start: u64,
    pub(crate) max_start: u64,
    pub(crate) max_duration: u64,
    pub(crate) has_error: bool,
    /// Length-prefixed names; `None` when there are many.
    pub(crate) services: Option<Vec<u8>>,
}

/// What of a span of another block its row does not tell.
pub(crate) struct Moved<'a, Records> {
    pub(crate) arrived: UnixNanos,
    pub(crate) records: Records,
    pub(crate) origin: &'a bytes::Bytes,
    pub(crate) span: GatheredSpan,
}

/// Cuts the spans that `keep` says yes to into blocks of at most `max_spans` spans and about `max_bytes` bytes.
/// `open` is empty, before and after.
pub(crate) fn blocks(
    open: &mut OpenBlock,
    batches: &[Batch],
    keep: &[bool],
    max_spans: usize,
    max_bytes: usize,
) -> Vec<RawBlock> {
    let all = batches
        .iter()
        .flat_map(|batch| batch.spans.iter().map(move |span| (batch, span)));
    let kept = all.zip(keep).filter(|(_, keep)| **keep);
    let mut blocks = Vec::new();
    for ((batch, span), _) in kept {
        if open.len() >= max_spans.max(1) || open.bytes >= max_bytes {
            blocks.push(open.finish());
        }
        open.push(batch, span);
    }
    if open.len() > 0 {
        blocks.push(open.finish());
    }
    blocks
}

/// A block that spans are added to.
#[derive(Debug, Default)]
pub(crate) struct OpenBlock {
    head: HeadBuilder,
    body: BodyBuilder,
    bytes: usize,
    origins: Interner,
    min_start: Option<u64>,
    max_start: u64,
    max_duration: u64,
    has_error: bool,
}

impl OpenBlock {
    fn push(&mut self, batch: &Batch, one: &BatchSpan) {
        static NO_ORIGIN: bytes::Bytes = bytes::Bytes::new();
        let blob = batch.origins.get(one.origin as usize).unwrap_or(&NO_ORIGIN);
        let origin = self.origin(blob);
        let span = &one.span;
        self.count(span.start.0, span.duration_ns(), span.error.is_some());
        self.bytes += one.raw.len();
        let known = self.head.push(span, one.hash, origin, one.raw.len());
        self.body.push_span(&one.raw, known);
    }

    /// Adds a span of another block. `renumbered` is of that block and of this one, `numbers` are of these `gathered`
    /// and of this block.
    pub(crate) fn push_row(
        &mut self,
        row: RowView<'_>,
        moved: Moved<'_, impl IntoIterator<Item = Fingerprint>>,
        renumbered: &mut Renumbered,
        gathered: &Gathered,
        numbers: &mut Numbers,
    ) {
        let origin = match renumbered.origins.get(row.row.origin) {
            Some(origin) => origin,
            None => {
                let origin = self.origin(moved.origin);
                renumbered.origins.set(row.row.origin, origin);
                origin
            }
        };
        self.count(row.row.start, row.row.duration, row.row.failed);
        let bytes = moved.span.bytes();
        self.bytes += bytes;
        let known = self.head.push_row(
            row,
            moved.arrived,
            moved.records,
            origin,
            bytes,
            &mut renumbered.texts,
        );
        self.body
            .push_gathered(gathered, moved.span, known, numbers);
    }

    fn origin(&mut self, blob: &bytes::Bytes) -> u32 {
        let (origin, new) = self.origins.intern(blob);
        if new {
            self.bytes += blob.len();
            self.body.push_origin(blob.clone());
        }
        origin
    }

    fn count(&mut self, start: u64, duration: u64, failed: bool) {
        self.min_start = Some(self.min_start.map_or(start, |least| least.min(start)));
        self.max_start = self.max_start.max(start);
        self.max_duration = self.max_duration.max(duration);
        self.has_error |= failed;
    }

    pub(crate) fn len(&self) -> usize {
        self.head.len()
    }

    /// Bytes of its spans as they were sent, and of their resources.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The block; this one is empty then, and has its room still.
    pub(crate) fn finish(&mut self) -> RawBlock {
        let head = self.head.finish();
        let services = head.services();
        let services = (services.len() <= MAX_SERVICES).then(|| {
            let mut out = Vec::new();
            put(&mut out, services.len() as u64);
            for service in services {
                put_bytes(&mut out, service.as_bytes());
            }
            out
        });
        let block = RawBlock {
            summary: Summary {
                spans: head.len() as u64,
                min_start: self.min_start.take().unwrap_or(0),
                max_start: std::mem::take(&mut self.max_start),
                max_duration: std::mem::take(&mut self.max_duration),
                has_error: std::mem::take(&mut self.has_error),
                services,
            },
            keys: head.keys(self.body.attributes()),
            head: head.encode(),
            body: self.body.finish(),
        };
        self.head.clear();
        self.bytes = 0;
        self.origins.clear();
        block
    }
}

impl RawBlock {
    /// Compresses; the one step that costs, so it runs beside the writer's thread.
    pub(crate) fn compress(self) -> std::io::Result<EncodedBlock> {
        Ok(EncodedBlock {
            summary: self.summary,
            keys: self.keys,
            head: compress(&self.head)?,
            body: compress(&self.body)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use highwater_model::UnixNanos;
    use highwater_model::normalise::Rules;
    use proptest::prelude::*;

    use super::{OpenBlock, blocks};
    use crate::block::body::Body;
    use crate::block::bytes::decompress;
    use crate::block::head::Head;
    use crate::testing::{batch, spans};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_block_gives_back_its_spans_and_its_head_agrees_with_them(
            spans in spans(40),
            max_spans in 1_usize..20,
            max_bytes in 1_usize..4_000,
        ) {
            let batch = batch(&spans);
            let keep = vec![true; batch.spans.len()];
            let mut seen = Vec::new();
            let batches = std::slice::from_ref(&batch);
            let mut open = OpenBlock::default();
            for block in blocks(&mut open, batches, &keep, max_spans, max_bytes) {
                let keys = block.keys.clone();
                let block = block.compress().unwrap();
                let head = Head::decode(&decompress(&block.head).unwrap()).unwrap();
                let body = Body::decode(decompress(&block.body).unwrap(), &head).unwrap();
                prop_assert!(head.len() <= max_spans);
                prop_assert_eq!(head.keys(body.attributes().unwrap()), keys);
                for row in head.rows() {
                    let stored = body.stored(row, UnixNanos(7), &Rules::default()).unwrap();
                    let span = &stored.span;
                    let messaging = span.messaging.as_ref();
                    prop_assert_eq!(row.trace(), span.trace_id);
                    prop_assert_eq!(row.row.start, span.start.0);
                    prop_assert_eq!(row.row.duration, span.duration_ns());
                    prop_assert_eq!(row.service(), &*span.service.name);
                    prop_assert_eq!(row.environment(), &*span.service.environment);
                    prop_assert_eq!(row.operation(), &*span.name);
                    prop_assert_eq!(row.row.failed, span.error.is_some());
                    prop_assert_eq!(row.row.kind, span.kind);
                    prop_assert_eq!(row.row.status, span.status);
                    prop_assert_eq!(row.destination(), messaging.and_then(|m| m.destination.as_deref()));
                    prop_assert_eq!(row.group(), messaging.and_then(|m| m.group.as_deref()));
                    prop_assert_eq!(row.row.partition, messaging.and_then(|m| m.partition));
                    prop_assert_eq!(row.row.offset, messaging.and_then(|m| m.offset));
                    prop_assert!(row.correlations().eq(span.correlations.iter().map(|c| &*c.value)));
                    prop_assert_eq!(row.link_fingerprints().len(), span.links.len());
                    seen.push(stored);
                }
            }
            prop_assert_eq!(seen.len(), spans.len());
            for (stored, (origin, raw)) in seen.iter().zip(&spans) {
                prop_assert_eq!(&*stored.origin, origin);
                prop_assert_eq!(&stored.raw, raw);
            }
        }

        #[test]
        fn a_damaged_block_is_an_error_and_never_a_panic(
            spans in spans(8),
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let batch = batch(&spans);
            let keep = vec![true; batch.spans.len()];
            let batches = std::slice::from_ref(&batch);
            for block in blocks(&mut OpenBlock::default(), batches, &keep, 100, 100_000) {
                let mut bytes = block.head;
                let index = at.index(bytes.len());
                bytes[index] ^= 1 << bit;
                if let Ok(head) = Head::decode(&bytes)
                    && let Ok(body) = Body::decode(block.body, &head)
                {
                    for row in head.rows() {
                        let _ = (row.correlations().count(), row.link_fingerprints().len(), row.arrived());
                        let _ = body.stored(row, UnixNanos(0), &Rules::default());
                    }
                }
            }
        }
    }
}
