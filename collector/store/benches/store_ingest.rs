//! Writes spans as they arrive: spans a second of wall clock and of CPU, latency of a commit, bytes a span, memory.
//!
//! `cargo xtask bench store_ingest --spans 20000000`; also `--commit` (spans a commit, 8,192) and `--slice` (commits
//! a slice, 25). First the write path alone, then the clustering alone, so that each has its CPU; then slices of
//! writing with and without clustering beside them, in turn, so that both have the same noise. Making spans is not
//! counted: the thread that makes them knows its CPU.

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_model::Batch;
use highwater_store::{Options, SpanReader, SpanWriter, Store};
use support::{BEGIN, argument, arrival, commit, percentile, process_cpu, thread_cpu};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What writing so far took.
#[derive(Default)]
struct Meter {
    wall: Duration,
    commits: Vec<Duration>,
    raw_bytes: usize,
    spans: u64,
    /// CPU of making the spans, which is not the store's.
    making: Duration,
}

impl Meter {
    async fn write(&mut self, store: &Store, first: u64, spans: u64) -> Outcome<()> {
        let before = thread_cpu();
        let batches = commit(first..first + spans);
        self.making += thread_cpu() - before;
        self.raw_bytes += batches.iter().map(Batch::bytes).sum::<usize>();
        let started = Instant::now();
        let written = store.write(&batches, arrival(first)).await?;
        self.wall += started.elapsed();
        self.commits.push(started.elapsed());
        assert_eq!(written.stored.iter().sum::<usize>() as u64, spans);
        self.spans += spans;
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.spans as f64 / self.wall.as_secs_f64()
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let spans = argument("--spans", 1_000_000);
    let per_commit = argument("--commit", 8_192);
    let slice = argument("--slice", 25);
    let dir = support::data_dir("store-ingest");
    let store = Store::open(&dir, Options::default(), BEGIN).await?;

    let mut meter = Meter::default();
    let cpu = process_cpu();
    let (mut million, mut marks) = (Meter::default(), Vec::new());
    let mut first = 0;
    while first < spans {
        let count = per_commit.min(spans - first);
        million.write(&store, first, count).await?;
        first += count;
        if million.spans >= 1_000_000 || first == spans {
            marks.push(million.rate());
            meter.wall += million.wall;
            meter.commits.append(&mut million.commits);
            meter.raw_bytes += million.raw_bytes;
            meter.spans += million.spans;
            meter.making += million.making;
            million = Meter::default();
        }
    }
    let write_cpu = (process_cpu() - cpu).saturating_sub(meter.making);
    let raw = meter.raw_bytes as f64 / spans as f64;
    println!("{spans} spans of {raw:.0} bytes of OTLP, {per_commit} a commit, scattered");
    println!("write path");
    println!("  {:>9.0} spans/s of wall clock", meter.rate());
    println!(
        "  {:>9.0} spans/s of CPU",
        spans as f64 / write_cpu.as_secs_f64()
    );
    println!(
        "  {:>9.2?} a commit at p50, {:.2?} at p99",
        percentile(&mut meter.commits, 50),
        percentile(&mut meter.commits, 99)
    );
    let rates: Vec<String> = marks
        .iter()
        .map(|rate| format!("{:.0}", rate / 1e3))
        .collect();
    println!("  of each million, thousand spans/s: {}", rates.join(" "));
    let stats = store.stats();
    println!(
        "  {:>9.1} bytes a span on disk, {:.1}% of raw",
        stats.bytes as f64 / spans as f64,
        stats.bytes as f64 / meter.raw_bytes as f64 * 100.0
    );
    println!("  {:>9} MiB peak memory", support::peak_memory_mib());

    // The file that is written to is never clustered: another arrival begins the next one.
    store
        .history()
        .save_flow(&[], &[], store.last_block())
        .await?;
    let (cpu, wall) = (process_cpu(), Instant::now());
    store.settle().await?;
    let cluster_cpu = process_cpu() - cpu;
    let stats = store.stats();
    let clustered = stats.spans - stats.unclustered_spans;
    println!("clustering, alone, {clustered} of the spans");
    println!(
        "  {:>9.0} spans/s of wall clock",
        clustered as f64 / wall.elapsed().as_secs_f64()
    );
    println!(
        "  {:>9.0} spans/s of CPU",
        clustered as f64 / cluster_cpu.as_secs_f64()
    );
    let per_span = write_cpu.as_secs_f64() / spans as f64
        + cluster_cpu.as_secs_f64() / clustered.max(1) as f64;
    println!(
        "  {:>9.0} spans/s of CPU, written and clustered",
        1.0 / per_span
    );
    println!(
        "  {:>9.1} bytes a span on disk, {:.1}% of raw",
        stats.bytes as f64 / spans as f64,
        stats.bytes as f64 / meter.raw_bytes as f64 * 100.0
    );
    println!("  {:>9} MiB peak memory", support::peak_memory_mib());

    side_by_side(&store, first, per_commit, slice).await?;
    println!("  {:>9} MiB peak memory", support::peak_memory_mib());
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Slices of writing alone and beside the clustering, in turn.
async fn side_by_side(store: &Store, mut first: u64, per_commit: u64, slice: u64) -> Outcome<()> {
    let mut write = async |slices: u64, meter: &mut Meter| -> Outcome<()> {
        for _ in 0..slices * slice {
            meter.write(store, first, per_commit).await?;
            first += per_commit;
        }
        Ok(())
    };
    // Something to cluster.
    write(6, &mut Meter::default()).await?;
    store
        .history()
        .save_flow(&[], &[], store.last_block())
        .await?;
    let (mut alone, mut beside) = (Meter::default(), Meter::default());
    let mut clustered = 0;
    for _ in 0..4 {
        write(1, &mut alone).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let clustering = tokio::spawn({
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            async move {
                let mut spans = 0;
                while !stop.load(Ordering::Acquire) {
                    match store.cluster_next().await {
                        Ok(Some(done)) => spans += done.spans,
                        Ok(None) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                spans
            }
        });
        write(1, &mut beside).await?;
        stop.store(true, Ordering::Release);
        clustered += clustering.await?;
        store
            .history()
            .save_flow(&[], &[], store.last_block())
            .await?;
    }
    println!(
        "clustering beside writing, {clustered} spans clustered while {} came",
        beside.spans
    );
    println!("  {:>9.0} spans/s written alone", alone.rate());
    println!(
        "  {:>9.0} spans/s written beside it: {:.0}% of that",
        beside.rate(),
        beside.rate() / alone.rate() * 100.0
    );
    println!(
        "  {:>9.2?} a commit at p99 alone, {:.2?} beside it",
        percentile(&mut alone.commits, 99),
        percentile(&mut beside.commits, 99)
    );
    Ok(())
}
