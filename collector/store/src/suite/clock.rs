//! Facts of a clock that jumps: what is acknowledged is found, files stay few, and nothing goes before its time.

use std::time::Duration;

use highwater_model::UnixNanos;

use super::Engine;
use super::sqlite::Sqlite;
use crate::engine::{Inspection, Store};
use crate::options::Options;
use crate::search::SearchQuery;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, trace_id};

const SECOND: i64 = 1;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Writes after each jump.
const WRITES: u64 = 12;

fn options() -> Options {
    Options {
        retention: Duration::from_secs(7 * 86_400),
        partition_width: None,
        seal_spans: 20,
        block_spans: 4,
        ..Options::default()
    }
}

/// The true time of the `n`th write: ten seconds apart, far from the beginning of time.
fn truly(n: u64) -> UnixNanos {
    at(100 * DAY as u64 + n * 10)
}

fn shifted(time: UnixNanos, seconds: i64) -> UnixNanos {
    UnixNanos(time.0.wrapping_add_signed(seconds * 1_000_000_000))
}

/// Five spans, whose own times are right: they are of another machine.
async fn write(store: &Store, n: u64, now: UnixNanos) {
    let spans: Vec<_> = (0..5)
        .map(|span| (origin("shop"), plain(n, span, truly(n))))
        .collect();
    let written = store.write(&[batch(&spans)], now).await.unwrap();
    assert_eq!(written.stored, [5]);
}

async fn everything_is_found_newest_first(store: &Store, writes: u64) {
    for n in 0..writes {
        let found = store.trace(trace_id(n), 100).await.unwrap();
        assert_eq!(found.spans.len(), 5, "trace {n} of {writes}");
    }
    let mut query = SearchQuery::new(UnixNanos(0), UnixNanos(u64::MAX));
    query.limit = 7;
    let mut newest = Vec::new();
    loop {
        let page = store.search(&query).await.unwrap();
        newest.extend(page.hits.iter().map(|hit| hit.trace_id));
        let Some(next) = page.next else { break };
        query.cursor = Some(next);
    }
    let expected: Vec<_> = (0..writes).rev().map(trace_id).collect();
    assert_eq!(newest, expected);
    let scanned = store.scan_after(0, usize::MAX >> 1).await.unwrap();
    assert!(scanned.is_sorted_by(|a, b| a.block < b.block));
}

/// Writes on while the clock is off by each of `jumps` in turn; gives how many writes there were.
async fn jumping(engine: &Sqlite, jumps: &[i64]) -> u64 {
    let mut store = engine.open().await;
    let mut n = 0;
    for (jump, turn) in jumps.iter().zip(1..) {
        for _ in 0..WRITES {
            let now = shifted(truly(n), *jump);
            write(&store, n, now).await;
            n += 1;
        }
        let partitions = store.stats().partitions;
        assert!(
            partitions <= turn,
            "{partitions} files after {turn} jumps of {jumps:?}"
        );
        // The clock may be right again before retention is asked, or only after.
        let now = shifted(truly(n), jump.min(&0).to_owned());
        store.retain(now).await.unwrap();
        everything_is_found_newest_first(&store, n).await;
        if turn % 2 == 0 {
            store.close().await;
            store = Store::open(engine.dir.path(), engine.options.clone(), now)
                .await
                .unwrap();
        }
    }
    store.retain(truly(n)).await.unwrap();
    everything_is_found_newest_first(&store, n).await;
    let last = store.last_block();
    store.history().save_flow(&[], b"", last).await.unwrap();
    store.settle().await.unwrap();
    everything_is_found_newest_first(&store, n).await;
    store.close().await;
    let checked = Inspection::new(engine.dir.path())
        .unwrap()
        .check()
        .await
        .unwrap();
    assert_eq!((checked.findings, checked.spans), (Vec::new(), n * 5));
    n
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_opens_no_file_a_write() {
    for jumps in [
        &[0, -SECOND, 0, -SECOND][..],
        &[0, -HOUR, 0, HOUR, 0],
        &[0, -10 * DAY, 0, -10 * DAY, 0],
        &[0, 10 * DAY, 0, 10 * DAY, 0],
        &[10 * DAY, 0, -10 * DAY, -100 * DAY],
    ] {
        let engine = Sqlite::new(options());
        jumping(&engine, jumps).await;
    }
}

#[tokio::test]
async fn seconds_and_hours_back_stay_in_the_file() {
    for jumps in [[0, -SECOND, 0], [0, -HOUR, 0]] {
        let engine = Sqlite::new(options());
        jumping(&engine, &jumps).await;
        let store = engine.open().await;
        assert_eq!(store.stats().partitions, 1, "{jumps:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn once_the_clock_is_right_spans_go_when_they_are_old_and_not_before() {
    for jump in [-10 * DAY, 10 * DAY] {
        let engine = Sqlite::new(options());
        let n = jumping(&engine, &[0, jump, 0]).await;
        let open = |now| Store::open(engine.dir.path(), engine.options.clone(), now);
        let week = 7 * DAY;
        let before = open(shifted(truly(0), week - HOUR)).await.unwrap();
        everything_is_found_newest_first(&before, n).await;
        before.close().await;
        // A file goes when all its time is old; it holds seven hours.
        let after = open(shifted(truly(n), week + DAY)).await.unwrap();
        assert_eq!(after.stats().spans, 0, "{jump}");
        after.close().await;
    }
}
