//! The power goes in the midst of any write: what was acknowledged is there at the next start.

use crate::disk::{Fault, How, Random};
use crate::vfs::Watch;
use crate::work::{Traces, at, beside, is_whole, options, write};
use highwater_store::Store;

/// Data directories that live through cuts, and cuts that each of them lives through.
const LIVES: u64 = 24;
const CUTS: u64 = 3;
/// A cut comes after so many operations at most, which are about 150 writes.
const OPERATIONS: u64 = 1_500;

/// `FAULT_LIVES=1000 cargo test -p highwater-faults` looks for longer.
fn lives() -> u64 {
    let lives = std::env::var("FAULT_LIVES").ok();
    lives.and_then(|lives| lives.parse().ok()).unwrap_or(LIVES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_any_write_loses_nothing_acknowledged() {
    let (mut cuts, mut acknowledged, mut refused, mut missing) = (0, 0, 0, 0);
    for life in 0..lives() {
        let mut random = Random(life);
        let mut dir = tempfile::tempdir().unwrap();
        let mut traces = Traces::default();
        let mut next = 1;
        for cut in 0..CUTS {
            let watch = Watch::new(dir.path(), life * CUTS + cut);
            // Many more cuts come early, where a start, the first file and the first log are made.
            let operations = OPERATIONS >> random.below(8);
            watch.disk.fail(Some(Fault {
                how: How::PowerCut,
                kind: None,
                file: "",
                first: random.below(operations),
                count: 1,
            }));
            work_until_the_cut(&watch, dir.path(), &mut traces, &mut next).await;
            let left = tempfile::tempdir().unwrap();
            watch.disk.survives_in(left.path());
            drop(watch);
            dir = left;
            cuts += 1;

            if dir.path().join("catalog.db").exists() {
                let store = Store::open(dir.path(), options(), at(next)).await;
                let store =
                    store.unwrap_or_else(|error| panic!("life {life}, cut {cut}: {error:?}"));
                let lost = traces.missing_of(&store).await;
                assert_eq!(lost, 0, "life {life}, cut {cut}");
                missing += lost;
                store.close().await;
                is_whole(dir.path()).await;
            } else {
                assert!(traces.acknowledged.is_empty());
            }
        }
        acknowledged += traces.acknowledged.len() * 5;
        refused += traces.refused.len() * 5;
    }
    println!(
        "{cuts} power cuts, {acknowledged} spans acknowledged, {missing} missing; {refused} spans refused or cut off"
    );
    assert!(acknowledged > 1_000, "{acknowledged}");
}

async fn work_until_the_cut(
    watch: &Watch,
    dir: &std::path::Path,
    traces: &mut Traces,
    next: &mut u64,
) {
    let Ok(store) = Store::open(dir, options(), at(*next)).await else {
        assert!(
            watch.disk.is_off(),
            "a start failed, and the power is there"
        );
        return;
    };
    while !watch.disk.is_off() {
        let n = *next;
        *next += 1;
        match write(&store, n).await {
            Ok(()) => traces.acknowledged.push(n),
            Err(error) => {
                assert!(watch.disk.is_off(), "{error:?}");
                traces.refused.push(n);
            }
        }
        if let Err(error) = beside(&store, n).await {
            assert!(watch.disk.is_off(), "{error:?}");
        }
    }
    store.close().await;
}
