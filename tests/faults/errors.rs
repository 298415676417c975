//! The disk answers with errors for a while: a write is refused whole, and goes on by itself when the disk does.

use highwater_store::{SpanReader, Store, StoreError};

use crate::disk::{Fault, How, Kind, Random};
use crate::vfs::Watch;
use crate::work::{Traces, at, beside, is_whole, options, write};

/// Writes of a life.
const WRITES: u64 = 44;
/// A sender tries again so often; each try may meet a few operations that fail.
const TRIES: u64 = 60;
/// Lives with each kind of error.
const LIVES: u64 = 3;

/// Where errors come: by operation, and by file.
const PLACES: [(How, Option<Kind>, &str); 12] = [
    (How::Device, Some(Kind::Write), "spans-"),
    (How::Device, Some(Kind::Sync), "spans-"),
    (How::Full, Some(Kind::Write), "spans-"),
    (How::Device, Some(Kind::Truncate), ""),
    (How::Device, Some(Kind::Write), "catalog"),
    (How::Device, Some(Kind::Sync), "catalog"),
    (How::Full, Some(Kind::Write), "catalog"),
    (How::Device, Some(Kind::Write), "history"),
    (How::Device, Some(Kind::Sync), "history"),
    (How::Full, Some(Kind::Write), "history"),
    (How::Device, None, ""),
    (How::Full, Some(Kind::Write), ""),
];

#[derive(Default)]
struct Counts {
    faults: u64,
    refused: u64,
    acknowledged: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_disk_refuse_writes_whole_and_writing_goes_on_by_itself() {
    let mut counts = Counts::default();
    for (place, seed) in PLACES.into_iter().zip(0..) {
        for life in 0..LIVES {
            let seed = seed * LIVES + life;
            one_life(place, seed, &mut counts).await;
        }
    }
    let Counts {
        faults,
        refused,
        acknowledged,
    } = counts;
    println!(
        "{faults} operations failed, {refused} writes refused, {acknowledged} spans acknowledged, 0 missing"
    );
    assert!(faults > 200 && refused > 20, "{faults} {refused}");
}

async fn one_life(
    (how, kind, file): (How, Option<Kind>, &'static str),
    seed: u64,
    counts: &mut Counts,
) {
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::new(dir.path(), seed);
    let mut random = Random(seed);
    let store = Store::open(dir.path(), options(), at(0)).await.unwrap();
    let mut traces = Traces::default();
    for n in 1..=WRITES {
        // A few errors, or many, now and then; in between the disk is well.
        if random.below(6) == 0 {
            let (_, failed) = watch.disk.counts();
            counts.faults += failed;
            watch.disk.fail(Some(Fault {
                how,
                kind,
                file,
                first: random.below(12),
                count: 1 + random.below(3) * random.below(8),
            }));
        }
        let mut tries = 0;
        while let Err(error) = write(&store, n).await {
            assert!(is_retryable(&error), "{how:?} {kind:?} {file}: {error:?}");
            traces.refused.push(n);
            counts.refused += 1;
            tries += 1;
            assert!(
                tries < TRIES,
                "{how:?} {kind:?} {file}, seed {seed}: {error:?}"
            );
        }
        traces.acknowledged.push(n);
        // What it leaves undone it does later.
        let _ = beside(&store, n).await;
    }
    let (_, failed) = watch.disk.counts();
    counts.faults += failed;
    watch.disk.fail(None);
    assert_eq!(
        traces.missing_of(&store).await,
        0,
        "{how:?} {kind:?} {file}, seed {seed}"
    );
    // The disk is well: nothing is left undone.
    let last = store.last_block();
    store.history().save_flow(&[], b"flow", last).await.unwrap();
    store.settle().await.unwrap();
    store.retain(at(WRITES)).await.unwrap();
    let stats = store.stats();
    assert_eq!(stats.spans, WRITES * 5);
    assert!(stats.unclustered_spans <= 40, "{stats:?}");
    assert_eq!(
        traces.missing_of(&store).await,
        0,
        "{how:?} {kind:?} {file}, seed {seed}"
    );
    store.close().await;
    is_whole(dir.path()).await;

    // And the power goes: what was acknowledged was on the disk for sure.
    let left = tempfile::tempdir().unwrap();
    watch.disk.survives_in(left.path());
    let store = Store::open(left.path(), options(), at(WRITES))
        .await
        .unwrap();
    assert_eq!(
        traces.missing_of(&store).await,
        0,
        "{how:?} {kind:?} {file}, seed {seed}"
    );
    store.close().await;
    is_whole(left.path()).await;
    counts.acknowledged += traces.acknowledged.len() as u64 * 5;
}

/// The pipeline answers "try again" to every error of a write; none of these says that the data is bad.
fn is_retryable(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::WriteSpans { .. }
            | StoreError::Open { .. }
            | StoreError::Migrate { .. }
            | StoreError::Read { .. }
            | StoreError::Catalog { .. }
    )
}
