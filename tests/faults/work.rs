//! What a collector does with a store: traces of five spans, checkpoints of the flow, clustering, retention.

use std::path::Path;
use std::time::Duration;

use highwater_model::normalise::Rules;
use highwater_model::otlp::{BatchBuilder, encode_span, origin_to_bytes};
use highwater_model::raw::{Origin, RawSpan, SpanKind, StatusCode};
use highwater_model::{Batch, SpanId, TraceId, UnixNanos};
use highwater_store::{Inspection, Options, SpanReader, SpanWriter, Store, StoreError};

use crate::disk::Random;

pub(crate) const SPANS: u64 = 5;
/// Writes between two checkpoints of the flow; what is clustered is behind them.
const CHECKPOINT_EVERY: u64 = 6;
const CLUSTER_EVERY: u64 = 8;
const RETAIN_EVERY: u64 = 20;

/// Small files, blocks and segments, so that a few writes do everything that many do.
pub(crate) fn options() -> Options {
    Options {
        partition_width: Some(Duration::from_secs(3_600)),
        partition_spans: 40,
        seal_spans: 20,
        block_spans: 4,
        background_nice: 0,
        // What is read comes from the disk.
        cache_bytes: 0,
        ..Options::default()
    }
}

pub(crate) fn at(n: u64) -> UnixNanos {
    UnixNanos(1_773_716_400_000_000_000) + Duration::from_secs(n * 20)
}

pub(crate) fn trace_id(n: u64) -> TraceId {
    let mut id = [0xA0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    TraceId(id)
}

/// The spans of trace `n`, half of them too large for one page, and not compressible.
fn spans(n: u64) -> Vec<RawSpan> {
    let span = |nth: u64| {
        let mut random = Random(n * SPANS + nth);
        let noise = (0..(nth % 2) * 1_200).map(|_| format!("{:016x}", random.below(u64::MAX)));
        RawSpan {
            trace_id: trace_id(n),
            span_id: SpanId((nth + 1).to_be_bytes()),
            parent_span_id: None,
            flags: 1,
            name: "work".into(),
            kind: SpanKind::Internal,
            start: at(n),
            end: at(n) + Duration::from_secs(1),
            attributes: vec![("noise".into(), noise.collect::<String>().as_str().into())],
            events: Vec::new(),
            links: Vec::new(),
            status: StatusCode::Unset,
            status_message: String::new(),
        }
    };
    (0..SPANS).map(span).collect()
}

fn batch(n: u64) -> Batch {
    let rules = Rules::default();
    let mut builder = BatchBuilder::new(&rules);
    let origin = Origin {
        resource: vec![("service.name".into(), "shop".into())],
        ..Origin::default()
    };
    let origin = builder.push_origin(origin_to_bytes(&origin)).unwrap();
    for span in spans(n) {
        builder.push_span(origin, encode_span(&span)).unwrap();
    }
    builder.finish().0
}

pub(crate) async fn write(store: &Store, n: u64) -> Result<(), StoreError> {
    store.write(&[batch(n)], at(n)).await.map(|_| ())
}

/// What runs beside the writes, each in its turn. Errors are the caller's to expect.
pub(crate) async fn beside(store: &Store, n: u64) -> Result<(), StoreError> {
    if n.is_multiple_of(CHECKPOINT_EVERY) {
        let last = store.last_block();
        store.history().save_flow(&[], b"flow", last).await?;
    }
    if n.is_multiple_of(CLUSTER_EVERY) {
        store.cluster_next().await?;
    }
    if n.is_multiple_of(RETAIN_EVERY) {
        store.retain(at(n)).await?;
    }
    Ok(())
}

/// What became of the traces that were tried.
#[derive(Default)]
pub(crate) struct Traces {
    pub(crate) acknowledged: Vec<u64>,
    /// Refused, or cut off: each may be there whole, or not at all.
    pub(crate) refused: Vec<u64>,
}

impl Traces {
    /// Looks for everything in every way. Gives how many acknowledged spans are missing; nothing else may be there
    /// than what was tried, and no commit in part.
    pub(crate) async fn missing_of(&self, store: &Store) -> u64 {
        let (mut missing, mut there) = (0, 0);
        for n in &self.acknowledged {
            let found = found(store, *n).await;
            missing += SPANS - found;
            there += found;
        }
        for n in &self.refused {
            if self.acknowledged.contains(n) {
                continue;
            }
            let found = found(store, *n).await;
            assert!(
                found == 0 || found == SPANS,
                "trace {n} is there in part: {found}"
            );
            there += found;
        }
        let scanned = store.scan_after(0, usize::MAX >> 1).await.unwrap();
        assert!(scanned.is_sorted_by(|a, b| a.block < b.block));
        let scanned: usize = scanned.iter().map(|block| block.spans.len()).sum();
        assert_eq!(scanned as u64, there, "nothing was invented");
        assert_eq!(store.damage(), []);
        missing
    }
}

/// How many spans of a trace are there; each is as it was sent, and there once.
pub(crate) async fn found(store: &Store, n: u64) -> u64 {
    let found = store.trace(trace_id(n), 1_000).await.unwrap();
    let sent = spans(n);
    let mut seen = Vec::new();
    for stored in &found.spans {
        assert!(
            sent.contains(&stored.raw),
            "trace {n} has what was never sent"
        );
        seen.push(stored.raw.span_id);
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "trace {n} has a span twice");
    all as u64
}

/// Everything on the disk is as it was written.
pub(crate) async fn is_whole(dir: &Path) {
    let checked = Inspection::new(dir).unwrap().check().await.unwrap();
    assert_eq!(checked.findings, [], "{}", dir.display());
}
