//! A place of the disk cannot be read: what is on it is left out, and everything else is found, opened and written.

use std::collections::BTreeSet;
use std::path::Path;

use highwater_model::UnixNanos;
use highwater_store::{SearchQuery, SpanReader, Store};

use crate::disk::BadPlace;
use crate::vfs::Watch;
use crate::work::{SPANS, at, found, is_whole, options, trace_id, write};

/// The size of a page: it is lost whole.
const PAGE: u64 = 16 * 1024;
/// Enough for three files of eight.
const WRITES: u64 = 24;
const OF_A_FILE: u64 = 8;

async fn written(dir: &Path) {
    let store = Store::open(dir, options(), at(0)).await.unwrap();
    for n in 1..=WRITES {
        write(&store, n).await.unwrap();
    }
    store.close().await;
}

/// The traces that a search gives, over all pages.
async fn searched(store: &Store) -> BTreeSet<u64> {
    let mut query = SearchQuery::new(UnixNanos(0), UnixNanos(u64::MAX));
    query.limit = 5;
    let mut seen = BTreeSet::new();
    loop {
        let page = store.search(&query).await.unwrap();
        let of = |hit: &highwater_store::TraceHit| {
            let n = (1..=WRITES).find(|n| trace_id(*n) == hit.trace_id);
            n.unwrap()
        };
        for n in page.hits.iter().map(of) {
            assert!(seen.insert(n), "trace {n} is given twice");
        }
        let Some(next) = page.next else { return seen };
        query.cursor = Some(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_cannot_be_read_costs_what_is_on_it() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let file = "spans-000002.db";
    let pages = std::fs::metadata(dir.path().join(file)).unwrap().len() / PAGE;
    let watch = Watch::new(dir.path(), 0);
    let (mut unreadable, mut in_part) = (0, 0);
    for page in 0..pages {
        watch.disk.spoil(Some(BadPlace {
            file,
            bytes: page * PAGE..(page + 1) * PAGE,
        }));
        let store = Store::open(dir.path(), options(), at(WRITES))
            .await
            .unwrap();
        let given = searched(&store).await;
        let mut missing = 0;
        for n in 1..=WRITES {
            let there = found(&store, n).await;
            let beside = !(OF_A_FILE + 1..=2 * OF_A_FILE).contains(&n);
            assert!(
                !beside || (there == SPANS && given.contains(&n)),
                "page {page} cost trace {n}, which is in another file"
            );
            missing += SPANS - there;
        }
        let scanned = store.scan_after(0, usize::MAX >> 1).await.unwrap();
        let scanned: usize = scanned.iter().map(|block| block.spans.len()).sum();
        assert_eq!(scanned as u64, WRITES * SPANS - missing, "page {page}");
        assert!(missing == 0 || !store.damage().is_empty(), "page {page}");
        unreadable += u64::from(missing == OF_A_FILE * SPANS);
        // Of one block, or of two where the page has the ends of both.
        in_part += u64::from((1..=8).contains(&missing));
        store.close().await;
    }
    assert!(
        in_part > pages / 3 && unreadable < pages / 2,
        "of {pages} pages {in_part} cost a block, {unreadable} the file"
    );
    watch.disk.spoil(None);
    is_all_there(dir.path(), WRITES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_out_of_reach_at_a_start_is_there_at_the_next() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let watch = Watch::new(dir.path(), 0);
    watch.disk.spoil(Some(BadPlace {
        file: "spans-000003.db",
        bytes: 0..u64::MAX,
    }));
    let store = Store::open(dir.path(), options(), at(WRITES))
        .await
        .unwrap();
    assert_eq!(store.stats().damaged_files, 1);
    for n in WRITES + 1..=3 * WRITES {
        write(&store, n).await.unwrap();
    }
    // What is written by trace has its blocks' numbers: those of the file that was not seen are not among them.
    let last = store.last_block();
    store.history().save_flow(&[], b"flow", last).await.unwrap();
    store.settle().await.unwrap();
    assert!(store.stats().unclustered_spans <= 40);
    store.close().await;
    watch.disk.spoil(None);
    is_all_there(dir.path(), 3 * WRITES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_any_more_does_not_end_the_writing() {
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::new(dir.path(), 0);
    let store = Store::open(dir.path(), options(), at(0)).await.unwrap();
    for n in 1..=2 {
        write(&store, n).await.unwrap();
    }
    // A commit that fails makes the next one read what it may have left.
    watch.disk.fail(Some(crate::disk::Fault {
        how: crate::disk::How::Device,
        kind: Some(crate::disk::Kind::Write),
        file: "spans-000001",
        first: 0,
        count: 1,
    }));
    write(&store, 3).await.unwrap_err();
    watch.disk.spoil(Some(BadPlace {
        file: "spans-000001",
        bytes: 0..u64::MAX,
    }));
    for n in 3..=WRITES {
        write(&store, n).await.unwrap();
    }
    watch.disk.spoil(None);
    store.close().await;
    is_all_there(dir.path(), WRITES).await;
}

/// Whether traces 1 to `last` are there, once each, and nothing is damaged.
async fn is_all_there(dir: &Path, last: u64) {
    let store = Store::open(dir, options(), at(last)).await.unwrap();
    assert_eq!(store.damage(), []);
    for n in 1..=last {
        assert_eq!(found(&store, n).await, SPANS, "trace {n}");
    }
    store.close().await;
    is_whole(dir).await;
}
