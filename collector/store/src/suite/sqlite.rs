//! The facts on the embedded engine, and those that are its own: files, crashes, versions, retention.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};

use super::{Engine, facts, small};
use crate::engine::Store;
use crate::error::StoreError;
use crate::options::Options;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, trace_id};

/// A temporary directory, opened as a data directory.
pub(super) struct Sqlite {
    pub(super) dir: tempfile::TempDir,
    pub(super) options: Options,
}

impl Sqlite {
    /// Changes a file behind the store's back.
    pub(super) async fn change(&self, file: &str, statement: &'static str) {
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.dir.path().join(file))
            .connect()
            .await
            .unwrap();
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

impl Engine for Sqlite {
    type Store = Store;

    fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, options }
    }

    async fn open(&self) -> Store {
        Store::open(self.dir.path(), self.options.clone(), at(0))
            .await
            .unwrap()
    }

    async fn close(&self, store: Store) {
        store.close().await;
    }

    async fn settle(&self, store: &Store) {
        store.settle().await.unwrap();
    }
}

facts!(Sqlite:
    writing::what_is_written_is_found_as_it_was_sent,
    writing::an_empty_write_writes_nothing,
    writing::a_resend_is_stored_once,
    writing::a_resend_too_late_to_be_recognised_is_read_once,
    writing::equal_ids_with_other_content_are_both_kept,
    writing::a_restart_finds_everything_and_goes_on,
    writing::a_scan_gives_every_committed_block_once_and_in_order,
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
    super::properties::search_is_what_a_look_at_every_span_finds::<Sqlite>();
}

#[test]
fn keys_find_what_a_look_at_every_span_finds() {
    super::properties::keys_find_what_a_look_at_every_span_finds::<Sqlite>();
}

/// Writes traces of five spans, a minute of arrival each.
async fn write(store: &Store, traces: std::ops::Range<u64>) {
    for n in traces {
        write_one(store, n).await.unwrap();
    }
}

async fn write_one(store: &Store, n: u64) -> crate::error::Result<()> {
    let spans: Vec<_> = (0..5)
        .map(|span| (origin("shop"), plain(n, span, at(n))))
        .collect();
    store.write(&[batch(&spans)], at(n * 60)).await?;
    Ok(())
}

/// As the flow does once it has seen everything.
pub(super) async fn checkpoint(store: &Store) {
    let last = store.last_block();
    store.history().save_flow(&[], b"", last).await.unwrap();
}

async fn spans_of(store: &Store, n: u64) -> usize {
    store.trace(trace_id(n), 100).await.unwrap().spans.len()
}

pub(super) fn span_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        file.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("spans-")
    });
    files.sort();
    files
}

#[tokio::test]
async fn sealing_moves_the_index_from_memory_to_disk() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write(&store, 0..30).await;
    store.settle().await.unwrap();
    // Segments of 20 spans, and whatever a partition ended with; the rest is the newest, still open.
    assert!(store.stats().unsealed_spans < 20, "{:?}", store.stats());
    for n in 0..30 {
        assert_eq!(spans_of(&store, n).await, 5);
    }
    store.close().await;
    let store = engine.open().await;
    assert!(store.stats().unsealed_spans < 20);
    assert_eq!(store.stats().spans, 150);
    for n in 0..30 {
        assert_eq!(spans_of(&store, n).await, 5);
    }
}

#[tokio::test]
async fn retention_by_age_unlinks_whole_partitions() {
    let engine = Sqlite::new(Options {
        retention: Duration::from_secs(1_800),
        ..small()
    });
    let store = engine.open().await;
    write(&store, 0..60).await;
    store.settle().await.unwrap();
    assert_eq!(store.stats().partitions, 6);
    let last_block = store.last_block();
    // At minute 55, arrivals before minute 25 are too old: the partitions of minutes 0 to 19 are wholly so.
    let retired = store.retain(at(55 * 60)).await.unwrap();
    assert_eq!(retired.partitions, 2);
    assert!(retired.bytes > 0 && retired.files >= 2);
    assert_eq!(store.retain(at(55 * 60)).await.unwrap().partitions, 0);
    let left = span_files(engine.dir.path());
    assert!(left.iter().all(|file| {
        let file = file.to_string_lossy();
        !file.contains("spans-000001") && !file.contains("spans-000002")
    }));
    for n in 0..60 {
        assert_eq!(spans_of(&store, n).await, if n < 20 { 0 } else { 5 }, "{n}");
    }
    // Much later everything goes, and block numbers still rise.
    assert_eq!(store.retain(at(86_400)).await.unwrap().partitions, 4);
    assert!(span_files(engine.dir.path()).is_empty());
    store.close().await;
    let store = engine.open().await;
    assert_eq!(store.last_block(), last_block);
    write_one(&store, 2_000).await.unwrap();
    assert!(store.last_block() > last_block);
    assert_eq!(spans_of(&store, 2_000).await, 5);
}

#[tokio::test]
async fn retention_by_size_removes_the_oldest_and_never_the_one_written_to() {
    let engine = Sqlite::new(Options {
        retention_bytes: 500_000,
        ..small()
    });
    let store = engine.open().await;
    write(&store, 0..60).await;
    store.settle().await.unwrap();
    let retired = store.retain(at(60 * 60)).await.unwrap();
    let kept = store.stats().partitions;
    assert!(retired.partitions > 0 && kept > 0, "{retired:?} {kept}");
    assert_eq!(spans_of(&store, 0).await, 0);
    assert_eq!(spans_of(&store, 59).await, 5);
    let bytes: u64 = span_files(engine.dir.path())
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(bytes <= 500_000 || kept == 1, "{bytes}");
}

#[tokio::test]
async fn a_wrong_clock_opens_no_partition_that_stays_for_ever() {
    let engine = Sqlite::new(Options {
        retention: Duration::from_secs(1_800),
        ..small()
    });
    let store = engine.open().await;
    // A clock that jumps far ahead for one write, and a span dated into the far future.
    write_one(&store, 10_000_000).await.unwrap();
    write(&store, 0..3).await;
    assert_eq!(store.stats().partitions, 2);
    let retired = store.retain(at(86_400)).await.unwrap();
    assert_eq!(retired.partitions, 2);
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    let error = Store::open(engine.dir.path(), small(), at(0))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(
        error.to_string().starts_with("another highwater is using "),
        "{error}"
    );
    store.close().await;
    engine.open().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Store::open(&file.join("data"), small(), at(0))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot write to the data directory "),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    for name in ["catalog.db", "spans-000001.db", "history.db"] {
        let engine = Sqlite::new(small());
        let store = engine.open().await;
        write_one(&store, 1).await.unwrap();
        store.close().await;
        let file = engine.dir.path().join(name);
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&file)
            .connect()
            .await
            .unwrap();
        sqlx::query("PRAGMA user_version = 99")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let error = Store::open(engine.dir.path(), small(), at(0))
            .await
            .unwrap_err();
        let StoreError::Newer {
            file: named, found, ..
        } = &error
        else {
            panic!("{name}: {error}")
        };
        assert_eq!((named, *found), (&file, 99));
        assert!(error.to_string().contains("newer highwater"), "{error}");
    }
}

#[tokio::test]
async fn span_files_without_their_list_are_not_taken_for_an_empty_store() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write_one(&store, 1).await.unwrap();
    store.close().await;
    std::fs::remove_file(engine.dir.path().join("catalog.db")).unwrap();
    let error = Store::open(engine.dir.path(), small(), at(0))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NoCatalog { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_span_file_costs_its_spans_only() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write(&store, 0..30).await;
    store.settle().await.unwrap();
    store.close().await;
    std::fs::remove_file(engine.dir.path().join("spans-000002.db")).unwrap();
    let store = engine.open().await;
    assert_eq!(spans_of(&store, 5).await, 5);
    assert_eq!(spans_of(&store, 15).await, 0);
    assert_eq!(spans_of(&store, 25).await, 5);
}

#[tokio::test]
async fn a_damaged_block_is_left_out_and_the_rest_is_found() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write(&store, 0..3).await;
    store.close().await;
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(engine.dir.path().join("spans-000001.db"))
        .connect()
        .await
        .unwrap();
    sqlx::query("UPDATE body SET spans = x'0a0000000102030405' WHERE block = 1")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = engine.open().await;
    assert_eq!(spans_of(&store, 0).await, 1, "of the block after it");
    assert_eq!(store.damage().len(), 1);
    assert_eq!(spans_of(&store, 2).await, 5);
}

#[tokio::test]
async fn a_full_disk_fails_the_write_whole_and_later_writes_work_again() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write(&store, 0..3).await;
    let blocks = store.last_block();
    // SQLite's own limit gives the error that a full disk gives, at the same places.
    store.allow_pages(2).await;
    let large: Vec<_> = (0..2_000)
        .map(|span| (origin("shop"), plain(100, span, at(span))))
        .collect();
    let request = batch(&large);
    let error = store
        .write(std::slice::from_ref(&request), at(180))
        .await
        .unwrap_err();
    let StoreError::WriteSpans {
        spans: 2_000,
        source,
    } = &error
    else {
        panic!("{error}")
    };
    assert!(source.to_string().contains("full"), "{source}");
    assert_eq!(store.last_block(), blocks);
    assert_eq!(spans_of(&store, 100).await, 0, "nothing is half applied");
    // The limit went with the connection; the same request is not taken for a resend.
    let written = store.write(&[request], at(181)).await.unwrap();
    assert_eq!(written.stored, [2_000]);
    assert!(written.block > blocks);
    let found = store.trace(trace_id(100), 10_000).await.unwrap();
    assert_eq!(found.spans.len(), 2_000);
    assert_eq!(spans_of(&store, 1).await, 5);
    assert_eq!(store.stats().spans, 2_015);
}

#[tokio::test]
async fn a_write_that_is_given_up_half_way_leaves_the_store_whole() {
    let engine = Sqlite::new(small());
    let store = engine.open().await;
    write(&store, 0..3).await;
    // Dropped after ever more polls: before, within and after the transaction.
    for polls in 0..40 {
        let request = batch(&[(origin("shop"), plain(100 + polls, 0, at(polls)))]);
        let requests = [request];
        let mut writing = Box::pin(store.write(&requests, at(180)));
        for _ in 0..polls {
            if futures_poll(&mut writing).await {
                break;
            }
        }
        drop(writing);
        write_one(&store, 1_000 + polls).await.unwrap();
        assert_eq!(spans_of(&store, 1_000 + polls).await, 5);
    }
    let scanned = store.scan_after(0, 10_000).await.unwrap();
    let spans: usize = scanned.iter().map(|block| block.spans.len()).sum();
    store.close().await;
    let store = engine.open().await;
    assert_eq!(store.stats().spans as usize, spans);
}

/// Polls once, then lets others run; true when it is done.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    let mut polled = false;
    let done = std::future::poll_fn(|context| {
        if polled {
            return std::task::Poll::Ready(false);
        }
        polled = true;
        match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(_) => std::task::Poll::Ready(true),
            // Woken when there is progress.
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await;
    tokio::task::yield_now().await;
    done
}

/// Partitions of a few writes, so that some are clustered between any two kills.
fn killed() -> Options {
    Options {
        partition_spans: 20,
        background_nice: 0,
        ..small()
    }
}

const CHILD_DIR: &str = "HIGHWATER_STORE_TEST_DIR";

/// Not a test of its own: the process that `kill_9_loses_nothing_acknowledged` kills.
#[test]
#[ignore = "the child of kill_9_loses_nothing_acknowledged"]
fn writer_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&dir), killed(), at(0)).await.unwrap();
        let first = store.last_block();
        // Writes again by trace all the while, so that a kill comes in the midst of that too.
        tokio::spawn({
            let store = store.clone();
            async move {
                loop {
                    let last = store.last_block();
                    store.history().save_flow(&[], b"", last).await.unwrap();
                    while store.cluster_next().await.unwrap().is_some() {}
                    tokio::task::yield_now().await;
                }
            }
        });
        for n in first.. {
            write_one(&store, n).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

fn spawn_writer(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "suite::sqlite::writer_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child write until so many are acknowledged, kills it, and gives all that it acknowledged.
fn acknowledged_before_kill(dir: &Path, enough: usize) -> Vec<u64> {
    let mut child = spawn_writer(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut take = |line: std::io::Result<String>| {
        // The harness prints its own lines, and once without an end.
        if let Some((_, n)) = line.unwrap().split_once("acknowledged ") {
            acknowledged.push(n.parse().unwrap());
        }
        acknowledged.len()
    };
    for line in lines.by_ref() {
        if take(line) >= enough {
            break;
        }
    }
    // SIGKILL, in the midst of whatever it does.
    child.kill().unwrap();
    for line in lines.map_while(Result::ok) {
        // A last line that was cut is no acknowledgement anybody read.
        if line
            .strip_prefix("acknowledged ")
            .is_some_and(|n| n.parse::<u64>().is_ok())
        {
            take(Ok(line));
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= enough);
    acknowledged
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let engine = Sqlite::new(killed());
    let (mut acknowledged, mut clustered) = (Vec::new(), 0);
    for round in 1..=4 {
        acknowledged.extend(acknowledged_before_kill(engine.dir.path(), 11 * round));
        let store = engine.open().await;
        for n in &acknowledged {
            assert_eq!(spans_of(&store, *n).await, 5, "round {round}, trace {n}");
        }
        let scanned = store.scan_after(0, 100_000).await.unwrap();
        let spans: usize = scanned.iter().map(|block| block.spans.len()).sum();
        assert!(spans >= 5 * acknowledged.len());
        assert_eq!(spans as u64, store.stats().spans);
        clustered = store.stats().spans - store.stats().unclustered_spans;
        store.close().await;
    }
    assert!(clustered > 0);
}

fn newest_log(dir: &Path) -> PathBuf {
    let logs = span_files(dir);
    let logs = logs.into_iter().filter(|file| {
        file.to_string_lossy().ends_with("-wal") && file.metadata().unwrap().len() > 0
    });
    logs.max().unwrap()
}

#[tokio::test]
async fn a_torn_tail_costs_what_was_torn_and_no_more() {
    let options = Options {
        // One partition: its log has everything since the last checkpoint.
        partition_width: Some(Duration::from_secs(1 << 30)),
        seal_spans: 1_000_000,
        ..small()
    };
    let engine = Sqlite::new(options.clone());
    let store = engine.open().await;
    write(&store, 0..5).await;
    // Copied while open: a machine that stops here has these bytes.
    let crashed = Sqlite::new(options);
    for file in std::fs::read_dir(engine.dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.dir.path().join(file.file_name())).unwrap();
    }
    let log = newest_log(crashed.dir.path());

    // A write that was cut off: half a frame, of rubbish.
    let whole = std::fs::read(&log).unwrap();
    let mut torn = whole.clone();
    torn.extend((0..9_000_u32).map(|i| (i * 7) as u8));
    std::fs::write(&log, &torn).unwrap();
    let again = crashed.open().await;
    for n in 0..5 {
        assert_eq!(spans_of(&again, n).await, 5);
    }
    write_one(&again, 50).await.unwrap();
    again.close().await;
    let again = crashed.open().await;
    assert_eq!(spans_of(&again, 50).await, 5);
    again.close().await;

    // The disk lost the end of the log: the last commits are gone, the ones before are whole.
    let crashed = Sqlite::new(crashed.options.clone());
    for file in std::fs::read_dir(engine.dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.dir.path().join(file.file_name())).unwrap();
    }
    let log = newest_log(crashed.dir.path());
    std::fs::write(&log, &whole[..whole.len() - 20_000]).unwrap();
    let again = crashed.open().await;
    let found: Vec<usize> = {
        let mut found = Vec::new();
        for n in 0..5 {
            found.push(spans_of(&again, n).await);
        }
        found
    };
    assert_eq!(found, [5, 5, 5, 5, 0]);
    write_one(&again, 4).await.unwrap();
    assert_eq!(
        spans_of(&again, 4).await,
        5,
        "a resend of what was lost is stored"
    );
    store.close().await;
}
