//! The whole way of a span, through the real binary: gRPC, commit, index, map; then found again by its trace id.
//!
//! `cargo xtask bench ingest [--spans N] [--against BINARY]`. The five spans of a trace arrive in five requests of five
//! services (scattered), about 800 bytes of OTLP and 25 attributes each. What the binary uses is read from the kernel,
//! the sender's own work is not counted. CPU time is that of ingest and of what runs behind it until it rests.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use highwater_tests::highwater::Highwater;
use tokio::task::JoinSet;

use support::requests::{Requests, SPANS_A_TRACE, trace_id};
use support::sender::Sender;
use support::usage::{Usage, bytes_in};

/// The longest time that what runs behind ingest may take to come to rest.
const REST: Duration = Duration::from_secs(180);
/// Without work for this long, it rests.
const QUIET: Duration = Duration::from_secs(24);
const LOOK: Duration = Duration::from_secs(2);
/// Between two lookups while ingest runs.
const LOOKUPS_EVERY: Duration = Duration::from_millis(50);
/// Between two searches while ingest runs: a page that is open asks at most once a second.
const SEARCHES_EVERY: Duration = Duration::from_millis(250);
/// What the Traces page asks for when it opens, and when a person looks for a topic's failures and for an attribute.
const SEARCHES: [&str; 3] = [
    "/api/v1/traces?limit=50",
    "/api/v1/traces?limit=50&q=topic%20%3D%20topic-7",
    "/api/v1/traces?limit=20&q=app.attribute.3%20%3D%20%22value%207%20of%203%22",
];

#[derive(Parser)]
struct Arguments {
    /// Spans to send
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// Connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Spans a request
    #[arg(long, default_value_t = 512)]
    per_request: u64,
    /// Another build of the binary, measured in the same run; the figures of both are printed
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// How often each is measured
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

struct Figures {
    wall: f64,
    cpu: f64,
    settled_cpu: f64,
    acks: Vec<Duration>,
    lookups: Vec<Duration>,
    searches: Vec<Duration>,
    peak_kib: u64,
    raw_bytes: u64,
    disk_bytes: u64,
    retried: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let own = PathBuf::from(std::env::var_os("HIGHWATER_BIN").context(
        "HIGHWATER_BIN does not name the binary: run this by \"cargo xtask bench ingest\"",
    )?);
    let requests = Arc::new(Requests::new(arguments.per_request));
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..arguments.rounds {
        let binaries = [Some(&own), arguments.against.as_ref()];
        for (rates, binary) in rates.iter_mut().zip(binaries) {
            let Some(binary) = binary else { continue };
            println!("{}", binary.display());
            let figures = measure(binary, &requests, &arguments).await?;
            print(&figures, arguments.spans);
            rates.push(arguments.spans as f64 / figures.settled_cpu);
        }
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    if let [ours, theirs @ ..] = &rates[..]
        && let [theirs] = theirs
        && !theirs.is_empty()
    {
        println!(
            "spans per CPU second: {:.2} times the other build's",
            mean(ours) / mean(theirs)
        );
    }
    Ok(())
}

async fn measure(
    binary: &Path,
    requests: &Arc<Requests>,
    arguments: &Arguments,
) -> Result<Figures> {
    let data = tempfile::tempdir()?;
    let highwater = Arc::new(Highwater::start_binary(binary, data.path(), &[]).await?);
    let before = Usage::of(highwater.id())?;
    let started = Instant::now();
    let total = arguments.spans.div_ceil(arguments.per_request);
    // Whole rounds, so that every trace is whole.
    let total = total.next_multiple_of(SPANS_A_TRACE);
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..arguments.connections {
        let sender = Sender::connect(&highwater.otlp_grpc).await?;
        for _ in 0..arguments.in_flight {
            let (sender, next) = (sender.clone(), Arc::clone(&next));
            let requests = Arc::clone(requests);
            senders.spawn(async move {
                let (mut acks, mut raw, mut retried) = (Vec::new(), 0, 0);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return anyhow::Ok((acks, raw, retried));
                    }
                    let body = requests.body(number);
                    raw += body.len() as u64;
                    let begun = Instant::now();
                    retried += sender.send(body).await?;
                    acks.push(begun.elapsed());
                }
            });
        }
    }
    let sending = Arc::new(AtomicBool::new(true));
    let reader = tokio::spawn(look_up(
        Arc::clone(&highwater),
        Arc::clone(&next),
        Arc::clone(&sending),
        arguments.per_request,
    ));
    let searcher = tokio::spawn(search(Arc::clone(&highwater), Arc::clone(&sending)));
    let (mut acks, mut raw_bytes, mut retried) = (Vec::new(), 0, 0);
    while let Some(sent) = senders.join_next().await {
        let (times, raw, again) = sent??;
        acks.extend(times);
        raw_bytes += raw;
        retried += again;
    }
    let wall = started.elapsed().as_secs_f64();
    let cpu = Usage::of(highwater.id())?.cpu_s - before.cpu_s;
    sending.store(false, Ordering::Relaxed);
    let lookups = reader.await??;
    let searches = searcher.await??;
    rest(highwater.id()).await?;
    let after = Usage::of(highwater.id())?;
    // All of it is found.
    let traces = total / SPANS_A_TRACE * arguments.per_request;
    for nth in 0..200 {
        let trace = nth * 7_919 % traces;
        let found = spans_of(&highwater, trace).await?;
        ensure!(
            found as u64 == SPANS_A_TRACE,
            "trace {trace} has {found} spans"
        );
    }
    let disk_bytes = bytes_in(data.path())?;
    Ok(Figures {
        wall,
        cpu,
        settled_cpu: after.cpu_s - before.cpu_s,
        acks,
        lookups,
        searches,
        peak_kib: after.peak_kib,
        raw_bytes,
        disk_bytes,
        retried,
    })
}

/// Looks traces up that were acknowledged a while ago, until told to stop.
async fn look_up(
    highwater: Arc<Highwater>,
    next: Arc<AtomicU64>,
    sending: Arc<AtomicBool>,
    per_request: u64,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut nth = 0_u64;
    while sending.load(Ordering::Relaxed) {
        // The load that is put on: so many a second.
        tokio::time::sleep(LOOKUPS_EVERY).await;
        let rounds = next.load(Ordering::Relaxed).saturating_sub(64) / SPANS_A_TRACE;
        if rounds == 0 {
            continue;
        }
        nth += 1;
        let trace = nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (rounds * per_request);
        let begun = Instant::now();
        let found = spans_of(&highwater, trace).await?;
        times.push(begun.elapsed());
        ensure!(
            found as u64 == SPANS_A_TRACE,
            "trace {trace} has {found} spans while ingest runs"
        );
    }
    Ok(times)
}

/// Searches as open Traces pages do, until told to stop.
async fn search(highwater: Arc<Highwater>, sending: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for path in SEARCHES.into_iter().cycle() {
        // The load that is put on: so many a second.
        tokio::time::sleep(SEARCHES_EVERY).await;
        if !sending.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let page: serde_json::Value = highwater.get(path).await?;
        times.push(begun.elapsed());
        ensure!(page["traces"].is_array(), "{path}: {page}");
    }
    Ok(times)
}

async fn spans_of(highwater: &Highwater, trace: u64) -> Result<usize> {
    let id: String = trace_id(trace)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let body: serde_json::Value = highwater.get(&format!("/api/v1/traces/{id}")).await?;
    Ok(body["spans"].as_array().map_or(0, Vec::len))
}

/// Waits until the process has had nothing to do but its clocks for a while: what runs behind ingest begins with the
/// next checkpoint of the flow.
async fn rest(id: u32) -> Result<()> {
    let until = Instant::now() + REST;
    let (mut before, mut quiet) = (Usage::of(id)?.cpu_s, Duration::ZERO);
    while quiet < QUIET && Instant::now() < until {
        // The interval that CPU time is measured over.
        tokio::time::sleep(LOOK).await;
        let now = Usage::of(id)?.cpu_s;
        let busy = now - before > LOOK.as_secs_f64() * 0.05;
        quiet = if busy { Duration::ZERO } else { quiet + LOOK };
        before = now;
    }
    Ok(())
}

fn print(figures: &Figures, spans: u64) {
    let spans = spans as f64;
    println!("  {:>9.0} spans/s of wall clock", spans / figures.wall);
    println!(
        "  {:>9.0} spans per CPU second, {:.0} with what runs behind until it rests",
        spans / figures.cpu,
        spans / figures.settled_cpu
    );
    println!(
        "  {:>9.1} bytes a span of OTLP, {:.1} on disk: {:.1}%",
        figures.raw_bytes as f64 / spans,
        figures.disk_bytes as f64 / spans,
        figures.disk_bytes as f64 / figures.raw_bytes as f64 * 100.0
    );
    println!("  {:>9} MiB resident at most", figures.peak_kib / 1_024);
    println!(
        "  acknowledged in {}, {} requests asked to come again",
        quantiles(&figures.acks),
        figures.retried
    );
    println!(
        "  a trace through the API while ingest runs: {} ({} of them)",
        quantiles(&figures.lookups),
        figures.lookups.len()
    );
    println!(
        "  a search of the Traces page while ingest runs: {} ({} of them)",
        quantiles(&figures.searches),
        figures.searches.len()
    );
}

fn quantiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |q: f64| {
        let index = (times.len() as f64 * q) as usize;
        times.get(index.min(times.len().saturating_sub(1)))
    };
    match (at(0.5), at(0.95), at(0.99)) {
        (Some(p50), Some(p95), Some(p99)) => {
            format!("p50 {p50:.1?}, p95 {p95:.1?}, p99 {p99:.1?}")
        }
        _ => "none".to_owned(),
    }
}
