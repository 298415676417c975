//! Facts of a look from outside: at a store that runs, one that was stopped, one of the first format, and a copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater_model::otlp::{decode_origin, decode_span, encode_span};

use super::sqlite::{Sqlite, checkpoint};
use super::{Engine, small};
use crate::engine::{Inspection, Store};
use crate::error::StoreError;
use crate::options::Options;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, text, trace_id, with};

fn options() -> Options {
    Options {
        partition_spans: 100,
        ..small()
    }
}

/// Commits of five spans, each of another trace, from two services.
async fn write(store: &Store, commits: std::ops::Range<u64>) {
    for n in commits {
        let spans: Vec<_> = (0..5)
            .map(|i| {
                let attributes = [("order.id", text(&format!("order-{n}")))];
                let span = with(plain(n / 5 * 5 + i, n, at(n)), &attributes);
                (origin(if i < 3 { "shop" } else { "billing" }), span)
            })
            .collect();
        store.write(&[batch(&spans)], at(n * 20)).await.unwrap();
    }
}

/// A store with settled partitions, sealed ones and an open segment.
async fn filled(engine: &Sqlite) -> Store {
    let store = engine.open().await;
    write(&store, 0..60).await;
    checkpoint(&store).await;
    store.settle().await.unwrap();
    write(&store, 60..120).await;
    let stats = store.stats();
    assert!(
        stats.unclustered_spans > 0 && stats.unclustered_spans < 600,
        "{stats:?}"
    );
    store
}

#[tokio::test]
async fn a_check_of_a_store_that_runs_or_was_stopped_finds_nothing() {
    let engine = Sqlite::new(options());
    let store = filled(&engine).await;
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let running = inspection.check().await.unwrap();
    assert_eq!(running.findings, []);
    assert_eq!((running.spans, running.blocks), (600, store.stats().blocks));
    assert!(running.segments > 3, "{running:?}");
    store.close().await;
    let stopped = inspection.check().await.unwrap();
    assert_eq!(stopped.findings, []);
    assert_eq!(stopped.spans, 600);
}

#[tokio::test]
async fn a_check_beside_a_writer_finds_nothing() {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    write(&store, 0..1).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..200 {
                write(&store, n..n + 1).await;
                if n % 40 == 0 {
                    checkpoint(&store).await;
                    store.settle().await.unwrap();
                }
            }
        }
    });
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let mut checks = 0;
    while !writer.is_finished() || checks == 0 {
        let checked = inspection.check().await.unwrap();
        assert_eq!(checked.findings, []);
        checks += 1;
    }
    writer.await.unwrap();
    assert_eq!(inspection.check().await.unwrap().spans, 1_000);
}

#[tokio::test]
async fn usage_counts_what_the_store_counts() {
    let engine = Sqlite::new(options());
    let store = filled(&engine).await;
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let now = at(120 * 20);
    let usage = inspection.usage(now).await.unwrap();
    let stats = store.stats();
    assert_eq!((usage.spans, usage.blocks), (stats.spans, stats.blocks));
    assert_eq!(usage.newest, stats.newest);
    // A block written by trace counts by its last arrival.
    assert!(
        usage.oldest >= stats.oldest && usage.oldest < Some(at(100)),
        "{usage:?}"
    );
    assert_eq!(usage.day_spans, 600);
    assert_eq!(usage.files.len() as u64, 2 + stats.partitions);
    // 40 minutes are too few to tell; two hours after the first arrival, a day has twelve times as much.
    assert_eq!(usage.bytes_a_day(now), None);
    let later = usage.oldest.unwrap() + Duration::from_secs(7_200);
    let rate = usage.bytes_a_day(later).unwrap();
    let expected = usage.span_bytes as f64 * 12.0;
    assert!((rate / expected - 1.0).abs() < 1e-6, "{rate} {expected}");
}

#[tokio::test]
async fn an_exported_trace_has_its_spans_as_they_were_sent() {
    let engine = Sqlite::new(options());
    let store = filled(&engine).await;
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    for n in [0, 4, 61, 118] {
        let found = store.trace(trace_id(n), 100).await.unwrap().spans;
        let exported = inspection.trace(trace_id(n)).await.unwrap();
        assert!(exported.damaged.is_empty(), "{:?}", exported.damaged);
        let mut spans: Vec<_> = exported
            .parts
            .iter()
            .flat_map(|part| {
                let origin = decode_origin(&part.origin).unwrap();
                let spans = part.spans.iter();
                spans.map(move |span| (origin.clone(), decode_span(span).unwrap(), span.clone()))
            })
            .collect();
        spans.sort_by_key(|(_, span, _)| (span.start, span.span_id));
        assert!(!found.is_empty());
        assert_eq!(spans.len(), found.len());
        for ((origin, span, bytes), stored) in spans.iter().zip(&found) {
            assert_eq!((origin, span), (&*stored.origin, &stored.raw));
            assert_eq!(encode_span(span), *bytes);
        }
    }
    let none = inspection.trace(trace_id(9_999)).await.unwrap();
    assert_eq!(none.parts, []);
}

#[tokio::test]
async fn a_backup_of_a_store_that_is_written_to_is_whole() {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    write(&store, 0..30).await;
    checkpoint(&store).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut stopped = stopped;
            for n in 30.. {
                write(&store, n..n + 1).await;
                checkpoint(&store).await;
                if n % 20 == 0 {
                    store.settle().await.unwrap();
                }
                if stopped.try_recv().is_ok() {
                    return n;
                }
            }
            0
        }
    });
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let mut copies = Vec::new();
    for _ in 0..5 {
        let copy = tempfile::tempdir().unwrap();
        let before = store.stats().spans;
        let last = store.last_block();
        inspection.back_up(copy.path()).await.unwrap();
        copies.push((copy, before, last));
    }
    stop.send(()).unwrap();
    writer.await.unwrap();
    for (copy, before, last) in copies {
        let checked = Inspection::new(copy.path()).unwrap().check().await.unwrap();
        assert_eq!(checked.findings, []);
        let copied = Store::open(copy.path(), options(), at(0)).await.unwrap();
        assert!(copied.last_block() >= last);
        let stats = copied.stats();
        assert!(stats.spans >= before, "{stats:?}, {before} before");
        // Every span once, in whichever file, and without a gap: a commit is five spans of five traces.
        let commits = stats.spans / 5;
        assert_eq!(stats.spans % 5, 0);
        let mut found = 0;
        for trace in 0..commits.next_multiple_of(5) {
            found += copied
                .trace(trace_id(trace), 100)
                .await
                .unwrap()
                .spans
                .len() as u64;
        }
        assert_eq!(found, stats.spans);
        write(&copied, 10_000..10_001).await;
        copied.close().await;
    }
}

#[tokio::test]
async fn a_backup_is_not_written_over_anything() {
    let engine = Sqlite::new(options());
    let store = filled(&engine).await;
    store.close().await;
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let error = inspection.back_up(engine.dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error}");
    let nothing = tempfile::tempdir().unwrap();
    let error = Inspection::new(nothing.path()).unwrap_err();
    assert!(matches!(error, StoreError::NoStore { .. }), "{error}");
}

/// The formats that left a data directory in `tests/fixtures/store`.
pub(super) const FORMATS: [&str; 3] = ["v1", "v2", "v3"];

/// Unpacks one of them.
pub(crate) fn of_format(format: &str) -> tempfile::TempDir {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/store");
    let fixture = fixtures.join(format);
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture).unwrap() {
        let packed: PathBuf = entry.unwrap().path();
        if packed.extension().is_some_and(|kind| kind == "zst") {
            let name = packed.file_stem().unwrap();
            let bytes = zstd::decode_all(std::fs::File::open(&packed).unwrap()).unwrap();
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
    }
    dir
}

/// What the programs that made the fixtures wrote: `tests/fixtures/store/README.md`.
pub(super) const FIRST_COMMITS: u64 = 40;

#[tokio::test]
async fn a_directory_of_an_earlier_format_is_read_whole_and_written_on() {
    for format in FORMATS {
        let alerts = usize::from(format == "v3");
        is_read_whole_and_written_on(&of_format(format), alerts).await;
    }
}

async fn is_read_whole_and_written_on(dir: &tempfile::TempDir, alerts: usize) {
    let inspection = Inspection::new(dir.path()).unwrap();
    // As it is, before anything is brought to a later format.
    let checked = inspection.check().await.unwrap();
    assert_eq!(checked.findings, []);
    assert_eq!(checked.spans, FIRST_COMMITS * 5);
    assert!(checked.segments > 2, "{checked:?}");
    let options = Options {
        retention: Duration::from_secs(1 << 31),
        ..options()
    };
    let store = Store::open(dir.path(), options.clone(), at(0))
        .await
        .unwrap();
    for n in 0..FIRST_COMMITS {
        let found = store.trace(trace_id(n), 100).await.unwrap().spans;
        assert_eq!(found.len(), 5, "trace {n}");
        let order = format!("order-{n}");
        let sent = with(plain(n, 3, at(n)), &[("order.id", text(&order))]);
        assert_eq!(found[3].raw, sent);
        assert_eq!(*found[3].origin, origin("shop"));
    }
    let saved = store.history().load_flow(0).await.unwrap();
    assert_eq!(saved.pending.as_deref(), Some(&b"pending"[..]));
    assert_eq!(saved.rows.len(), 1);
    let memory = store.history().load_alerts().await.unwrap().memory;
    let events = store.history().alert_events(at(0), at(100), 10, None);
    let due = store.history().due_deliveries(at(100), 10);
    // The history of the formats before knew no alerts.
    let (events, due) = (events.await.unwrap(), due.await.unwrap());
    assert_eq!(
        (memory.len(), events.len(), due.len()),
        (alerts, alerts, alerts)
    );
    for event in &events {
        assert_eq!(event.event.sentence, "billing is 4 m behind");
    }
    write(&store, 1_000..1_100).await;
    checkpoint(&store).await;
    store.settle().await.unwrap();
    store.close().await;
    assert_eq!(inspection.check().await.unwrap().findings, []);
    let store = Store::open(dir.path(), options, at(0)).await.unwrap();
    assert_eq!(store.stats().spans, FIRST_COMMITS * 5 + 500);
    assert_eq!(store.trace(trace_id(7), 100).await.unwrap().spans.len(), 5);
    store.close().await;
}

/// Overwrites a file behind its first page, as far as its data goes.
fn spoil(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[16 * 1024..].fill(0x5A);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_file_costs_a_backup_usage_and_an_export_that_file_only() {
    let engine = Sqlite::new(options());
    filled(&engine).await.close().await;
    let inspection = Inspection::new(engine.dir.path()).unwrap();
    let whole = inspection.usage(at(0)).await.unwrap();
    let is_of_spans = |file: &&crate::engine::FileUsage| file.spans.is_some();
    let names: Vec<_> = whole.files.iter().filter(is_of_spans).collect();
    let (damaged, missing) = (names[0], names[2]);
    spoil(&engine.dir.path().join(&damaged.file));
    std::fs::remove_file(engine.dir.path().join(&missing.file)).unwrap();
    let lost = damaged.spans.unwrap().spans + missing.spans.unwrap().spans;

    let usage = inspection.usage(at(0)).await.unwrap();
    let files = |findings: &[crate::engine::Finding]| -> Vec<String> {
        findings.iter().map(|found| found.file.clone()).collect()
    };
    let expected = vec![damaged.file.clone(), missing.file.clone()];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(files(&usage.findings)), sorted(expected.clone()));
    assert_eq!(usage.spans, whole.spans - lost);
    let mut exported = 0;
    for n in 0..120 {
        let trace = inspection.trace(trace_id(n)).await.unwrap();
        assert_eq!(sorted(files(&trace.findings)), sorted(expected.clone()));
        exported += trace
            .parts
            .iter()
            .map(|part| part.spans.len())
            .sum::<usize>() as u64;
    }
    assert_eq!(exported, usage.spans);

    let copy = tempfile::tempdir().unwrap();
    let done = inspection.back_up(copy.path()).await.unwrap();
    assert_eq!(
        sorted(files(&done.findings)),
        sorted(expected),
        "{:?}",
        done.findings
    );
    let same = |name: &String| {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        read(engine.dir.path()) == read(copy.path())
    };
    assert!(same(&damaged.file));
    let of_copy = Inspection::new(copy.path()).unwrap();
    assert_eq!(
        of_copy.usage(at(0)).await.unwrap().spans,
        whole.spans - lost
    );
}
