//! Facts of clustering: the same spans are found, in fewer bytes and blocks, whatever comes between.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection};

use super::sqlite::{Sqlite, checkpoint};
use super::{Engine, facts, small};
use crate::engine::{Inspection, Store};
use crate::options::Options;
use crate::query::parse;
use crate::search::SearchQuery;
use crate::spans::{SpanReader, SpanWriter, StoredSpan};
use crate::testing::{Sent, at, batch, origin, plain, text, trace_id, with};

/// The embedded engine once more, with everything clustered that can be whenever it settles or stops.
struct Clustered(Sqlite);

impl Engine for Clustered {
    type Store = Store;

    fn new(options: Options) -> Self {
        Self(Sqlite::new(Options {
            partition_spans: 40,
            ..options
        }))
    }

    async fn open(&self) -> Store {
        self.0.open().await
    }

    async fn close(&self, store: Store) {
        self.settle(&store).await;
        store.close().await;
    }

    async fn settle(&self, store: &Store) {
        checkpoint(store).await;
        store.settle().await.unwrap();
    }
}

facts!(Clustered:
    writing::what_is_written_is_found_as_it_was_sent,
    writing::a_resend_is_stored_once,
    writing::a_resend_too_late_to_be_recognised_is_read_once,
    writing::equal_ids_with_other_content_are_both_kept,
    writing::a_restart_finds_everything_and_goes_on,
    writing::readers_and_a_writer_work_side_by_side,
    find::a_correlation_value_finds_its_spans_over_traces,
    find::links_are_followed_backwards,
    find::a_record_finds_who_sent_it_and_who_read_it,
    find::keys_asked_for_together_find_what_each_is_of,
    find::an_expression_finds_the_traces_that_it_describes,
    find::a_hit_has_its_whole_trace_and_says_what_matched,
    find::a_range_counts_the_starts_of_matching_spans,
    find::a_search_stops_at_its_cost_and_goes_on_from_there,
    find::large_traces_end_a_page_at_its_cost,
);

#[test]
fn search_is_what_a_look_at_every_span_finds() {
    super::properties::search_is_what_a_look_at_every_span_finds::<Clustered>();
}

#[test]
fn keys_find_what_a_look_at_every_span_finds() {
    super::properties::keys_find_what_a_look_at_every_span_finds::<Clustered>();
}

/// One partition takes 100 spans, and all arrive within its time.
fn options() -> Options {
    Options {
        partition_spans: 100,
        partition_width: Some(Duration::from_secs(1 << 30)),
        ..small()
    }
}

/// Five commits, each with one span of the same twenty traces.
fn scattered(first: u64) -> Vec<Vec<Sent>> {
    let one = |step: u64, n: u64| {
        let span = plain(first + n, step, at(n * 10 + step));
        let order = format!("order-{}", first + n);
        let attributes = [("order.id", text(&order)), ("step", text("same for all"))];
        (origin("shop"), with(span, &attributes))
    };
    (0..5)
        .map(|step| (0..20).map(|n| one(step, n)).collect())
        .collect()
}

async fn write(store: &Store, commits: &[Vec<Sent>]) {
    for (i, commit) in (0..).zip(commits) {
        store.write(&[batch(commit)], at(i)).await.unwrap();
    }
}

async fn all(store: &Store, traces: std::ops::Range<u64>) -> Vec<StoredSpan> {
    let mut all = Vec::new();
    for n in traces {
        all.extend(store.trace(trace_id(n), 100).await.unwrap().spans);
    }
    all
}

/// Three full partitions, and one that is begun.
async fn filled(engine: &Sqlite) -> (Store, Vec<StoredSpan>) {
    let store = engine.open().await;
    for first in [0, 100, 200, 300] {
        let commits = scattered(first);
        let commits = if first == 300 {
            &commits[..2]
        } else {
            &commits[..]
        };
        write(&store, commits).await;
    }
    let before = all(&store, 0..400).await;
    assert_eq!(before.len(), 340);
    (store, before)
}

#[tokio::test]
async fn what_was_clustered_is_found_as_it_was() {
    let engine = Sqlite::new(options());
    let (store, before) = filled(&engine).await;
    let partitions = store.stats().partitions;
    checkpoint(&store).await;
    store.settle().await.unwrap();
    let stats = store.stats();
    assert_eq!(partitions, 4);
    assert_eq!(
        stats.partitions, 2,
        "one that is settled, one that is written to"
    );
    assert_eq!((stats.spans, stats.unclustered_spans), (340, 40));
    for open_again in [false, true] {
        let store = if open_again {
            store.close().await;
            engine.open().await
        } else {
            store.clone()
        };
        assert_eq!(all(&store, 0..400).await, before);
        for n in [0, 119, 219, 301] {
            let query = parse(&format!("order.id = order-{n}")).unwrap().unwrap();
            let query = SearchQuery::new(at(0), at(3_600)).and(query);
            let page = store.search(&query).await.unwrap();
            assert_eq!(page.hits.len(), 1, "order {n}");
            assert_eq!(page.hits[0].trace_id, trace_id(n));
        }
        let query = SearchQuery::new(at(0), at(3_600)).and(parse("step ~ same").unwrap().unwrap());
        let page = SearchQuery {
            limit: 500,
            ..query
        };
        assert_eq!(store.search(&page).await.unwrap().hits.len(), 80);
        assert_eq!(store.stats().spans, 340);
    }
}

#[tokio::test]
async fn an_index_without_attributes_hides_nothing() {
    let engine = Sqlite::new(options());
    let (store, _) = filled(&engine).await;
    store.settle().await.unwrap();
    store.close().await;
    // As a file of the first format is.
    for file in ["spans-000001.db", "spans-000002.db", "spans-000003.db"] {
        engine.change(file, "DELETE FROM ix WHERE kind = 4").await;
        engine
            .change(file, "UPDATE segment SET attributes = 0")
            .await;
    }
    let store = engine.open().await;
    for clustered in [false, true] {
        for n in [0, 119, 219, 301] {
            let query = parse(&format!("order.id = order-{n}")).unwrap().unwrap();
            let query = SearchQuery::new(at(0), at(3_600)).and(query);
            let page = store.search(&query).await.unwrap();
            assert_eq!(page.hits.len(), 1, "order {n}, clustered {clustered}");
        }
        checkpoint(&store).await;
        store.settle().await.unwrap();
    }
    assert_eq!(store.stats().unclustered_spans, 40);
}

#[tokio::test]
async fn a_trace_stands_in_a_block_or_two() {
    let engine = Sqlite::new(options());
    let (store, _) = filled(&engine).await;
    checkpoint(&store).await;
    store.settle().await.unwrap();
    // Blocks of four spans and traces of five.
    let scanned = store.scan_after(0, 1_000).await.unwrap();
    let settled = scanned.iter().filter(|block| block.spans.len() == 4);
    let crowded = settled.filter(|block| {
        let traces: std::collections::BTreeSet<_> =
            block.spans.iter().map(|span| span.trace_id).collect();
        traces.len() > 2
    });
    // The partition that is written to has four traces a block, in 10 blocks.
    assert_eq!(crowded.count(), 10);
}

#[tokio::test]
async fn what_a_start_must_replay_stays_in_order_of_arrival() {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    write(&store, &scattered(0)).await;
    let seen = store.last_block();
    write(&store, &scattered(100)).await;
    write(&store, &scattered(200)).await;
    let order = store.scan_after(seen, 1_000).await.unwrap();
    // Nothing was ever replayed: nothing is clustered.
    store.settle().await.unwrap();
    assert_eq!(store.stats().unclustered_spans, 300);
    store.history().save_flow(&[], b"", seen).await.unwrap();
    store.settle().await.unwrap();
    assert_eq!(store.stats().unclustered_spans, 200);
    let replayed = store.scan_after(seen, 1_000).await.unwrap();
    let spans = |blocks: &[highwater_model::CommittedBlock]| -> Vec<_> {
        blocks
            .iter()
            .map(|block| (block.block, block.spans.to_vec()))
            .collect()
    };
    assert_eq!(spans(&replayed), spans(&order));
    // And what was clustered is behind it, whole, when the flow is built from nothing.
    let from_nothing = store.scan_after(0, 1_000).await.unwrap();
    let count: usize = from_nothing.iter().map(|block| block.spans.len()).sum();
    assert_eq!(count, 300);
    assert!(from_nothing.is_sorted_by(|a, b| a.block < b.block));
}

#[tokio::test]
async fn a_crash_between_the_two_steps_leaves_every_span_once() {
    let engine = Sqlite::new(options());
    let (store, before) = filled(&engine).await;
    checkpoint(&store).await;
    store.close().await;
    // The files as they were before; then those of a store that clustered; then the old ones and the old list again,
    // beside the new: what a crash after the first step leaves.
    let crashed = Sqlite::new(options());
    for file in std::fs::read_dir(engine.dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.dir.path().join(file.file_name())).unwrap();
    }
    let store = engine.open().await;
    assert!(store.cluster_next().await.unwrap().is_some());
    store.close().await;
    let settled = "spans-000005.db";
    let from = engine.dir.path().join(settled);
    std::fs::copy(from, crashed.dir.path().join(settled)).unwrap();
    crashed
        .change("catalog.db", "INSERT INTO partition (id, opens, closes, settled) SELECT 5, opens, closes, 1 FROM partition WHERE id = 1")
        .await;
    crashed
        .change("catalog.db", "UPDATE store SET next_partition = 6")
        .await;
    let store = crashed.open().await;
    assert_eq!(store.stats().spans, 340);
    assert_eq!(all(&store, 0..400).await, before);
    assert!(!crashed.dir.path().join("spans-000001.db").exists());
    store.settle().await.unwrap();
    assert_eq!(all(&store, 0..400).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_find_every_span_while_partitions_are_clustered() {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    write(&store, &scattered(0)).await;
    let reader = store.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reading = tokio::spawn(async move {
        let mut rounds = 0;
        while stopped.try_recv().is_err() {
            for n in 0..20 {
                let found = reader.trace(trace_id(n), 100).await.unwrap();
                assert_eq!(found.spans.len(), 5, "trace {n}");
            }
            let query = SearchQuery::new(at(0), at(3_600));
            let page = reader
                .search(&SearchQuery {
                    limit: 500,
                    ..query
                })
                .await;
            assert!(page.unwrap().hits.len() >= 20);
            rounds += 1;
        }
        rounds
    });
    for first in (100..1_000).step_by(100) {
        write(&store, &scattered(first)).await;
        checkpoint(&store).await;
        store.cluster_next().await.unwrap();
    }
    stop.send(()).unwrap();
    assert!(reading.await.unwrap() > 0);
    store.settle().await.unwrap();
    assert_eq!(all(&store, 0..1_000).await.len(), 1_000);
    assert_eq!(store.stats().unclustered_spans, 100);
}

/// Segments of all files, each compared with its blocks.
async fn segments(engine: &Sqlite) -> u64 {
    let checked = Inspection::new(engine.dir.path()).unwrap().check().await;
    let checked = checked.unwrap();
    assert_eq!(checked.findings, []);
    checked.segments
}

#[tokio::test]
async fn a_settled_partition_has_few_segments_however_much_it_holds() {
    let engine = Sqlite::new(Options {
        partition_spans: 20,
        ..options()
    });
    let store = engine.open().await;
    for round in 0..5 {
        // Five partitions of 20 spans for each 20 traces, of which the last is written to.
        for first in (0..700).step_by(100) {
            write(&store, &scattered(round * 1_000 + first)).await;
        }
        checkpoint(&store).await;
        store.settle().await.unwrap();
        let mut clustered = (round + 1) * 35 - 1;
        let mut expected = 1;
        while clustered > 0 {
            expected += clustered % 8;
            clustered /= 8;
        }
        assert_eq!(segments(&engine).await, expected, "in round {round}");
        for first in (0..700).step_by(100) {
            let first = round * 1_000 + first;
            let spans = all(&store, first..first + 20).await;
            assert_eq!(spans.len(), 100, "traces from {first}");
        }
    }
    store.close().await;
    let store = engine.open().await;
    assert_eq!(all(&store, 0..5_000).await.len(), 5 * 700);
    assert_eq!(store.stats().spans, 5 * 700);
}

#[tokio::test]
async fn what_a_merge_left_that_was_cut_off_is_in_nobodys_way() {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    for first in (0..800).step_by(100) {
        write(&store, &scattered(first)).await;
    }
    checkpoint(&store).await;
    store.settle().await.unwrap();
    assert_eq!(store.stats().unclustered_spans, 100);
    store.close().await;
    for entries in ["x'0101'", "x'ffff'"] {
        let insert = format!("INSERT INTO ix VALUES (-1, 4, 7, {entries})");
        engine
            .change("spans-000009.db", "DELETE FROM ix WHERE segment = -1")
            .await;
        engine.change("spans-000009.db", insert.leak()).await;
        let store = engine.open().await;
        assert_eq!(all(&store, 0..800).await.len(), 800);
        store.close().await;
    }
    let store = engine.open().await;
    for first in (800..1_000).step_by(100) {
        write(&store, &scattered(first)).await;
    }
    checkpoint(&store).await;
    store.settle().await.unwrap();
    assert_eq!(all(&store, 0..1_000).await.len(), 1_000);
    // Eight clusterings are one now, one came after; the partition that is written to has one for each 20 spans.
    assert_eq!(segments(&engine).await, 2 + 5);
}

#[tokio::test]
async fn an_index_that_is_damaged_is_not_merged_and_hides_nothing() {
    for (damage, hurt) in [
        ("UPDATE ix SET entries = x'ffffffffffffffffffffffff'", true),
        ("UPDATE ix SET entries = x''", false),
        ("UPDATE ix SET entries = 17 WHERE kind = 0", true),
    ] {
        let engine = Sqlite::new(options());
        let store = engine.open().await;
        for first in (0..500).step_by(100) {
            write(&store, &scattered(first)).await;
        }
        checkpoint(&store).await;
        store.settle().await.unwrap();
        store.close().await;
        engine.change("spans-000006.db", damage).await;
        let store = engine.open().await;
        for first in (500..1_400).step_by(100) {
            write(&store, &scattered(first)).await;
        }
        checkpoint(&store).await;
        store.settle().await.unwrap();
        assert_eq!(store.stats().unclustered_spans, 100, "{damage}");
        let found = all(&store, 0..1_400).await.len();
        // An empty bucket says that nothing is there: only a check can tell.
        assert_eq!(found == 1_400, hurt, "{damage}: {found}");
        assert_eq!(all(&store, 500..1_400).await.len(), 900, "{damage}");
        let checked = Inspection::new(engine.dir.path()).unwrap().check().await;
        let findings = checked.unwrap().findings;
        assert_eq!(findings.len(), 4, "{damage}: {findings:?}");
    }
}

#[tokio::test]
async fn a_partition_that_lacks_a_part_of_a_block_is_kept_as_it_is() {
    for damage in [
        "DELETE FROM head WHERE block = 2",
        "DELETE FROM body WHERE block = 2",
        "DELETE FROM meta WHERE block = 2",
    ] {
        let engine = Sqlite::new(options());
        let (store, _) = filled(&engine).await;
        store.close().await;
        let file = "spans-000001.db";
        engine.change(file, damage).await;
        let store = engine.open().await;
        let before = all(&store, 0..400).await.len();
        checkpoint(&store).await;
        let waiting = store.stats().unclustered_spans;
        // The two other full partitions are clustered all the same.
        while store.settle().await.is_err() {}
        let left = store.stats().unclustered_spans;
        assert_eq!(waiting - left, 200, "{damage}");
        assert!(engine.dir.path().join(file).exists(), "{damage}");
        assert_eq!(all(&store, 0..400).await.len(), before, "{damage}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_settled_partition_goes_with_its_time() {
    let engine = Sqlite::new(Options {
        partition_width: Some(Duration::from_secs(600)),
        retention: Duration::from_secs(1_800),
        ..options()
    });
    let store = engine.open().await;
    for (i, first) in [0, 100, 200].into_iter().enumerate() {
        for commit in scattered(first) {
            store
                .write(&[batch(&commit)], at(600 * i as u64))
                .await
                .unwrap();
        }
    }
    checkpoint(&store).await;
    store.settle().await.unwrap();
    assert_eq!(store.stats().partitions, 3);
    let retired = store.retain(at(600 + 1_800)).await.unwrap();
    assert_eq!(retired.partitions, 1);
    assert_eq!(all(&store, 0..100).await.len(), 0);
    assert_eq!(all(&store, 100..300).await.len(), 200);
}

/// The niceness of the threads of all connections of this process.
#[cfg(target_os = "linux")]
fn niceness_of_connections() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = threads.filter_map(|thread| {
        // One that ended meanwhile has none.
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        // The 19th field, of which the second ended just now.
        let nice = rest.split_whitespace().nth(16)?.parse().ok()?;
        name.contains("sqlx").then_some(nice)
    });
    stats.collect()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_that_cluster_give_way_and_serve_nobody_else() {
    /// That of no other test.
    const NICE: i32 = 13;
    let count = || {
        let all = niceness_of_connections().into_iter();
        all.filter(|nice| *nice == NICE).count()
    };
    let until = async |wanted: usize| {
        let begun = std::time::Instant::now();
        while count() != wanted {
            assert!(begun.elapsed() < Duration::from_secs(8), "{}", count());
            // Nothing tells that a connection's thread has begun or ended: it is looked for.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let engine = Sqlite::new(Options {
        background_nice: NICE,
        ..options()
    });
    let (store, before) = filled(&engine).await;
    checkpoint(&store).await;
    store.cluster_next().await.unwrap().unwrap();
    until(0).await;
    // The next one waits for the file that it writes to, with what it reads open.
    let settled = engine.dir.path().join("spans-000005.db");
    let mut holds = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(settled)
        .connect()
        .await
        .unwrap();
    let held = holds.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let clustering = tokio::spawn({
        let store = store.clone();
        async move { store.cluster_next().await }
    });
    until(2).await;
    held.rollback().await.unwrap();
    clustering.await.unwrap().unwrap().unwrap();
    assert_eq!(all(&store, 0..400).await, before);
    until(0).await;
}
