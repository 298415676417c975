//! The whole way of a span, through the real binary: gRPC, commit, index, map; then found again by its trace id.
//!
//! `cargo xtask bench ingest [--spans N] [--against BINARY]`. The five spans of a trace arrive in five requests of five
//! services (scattered), about 800 bytes of OTLP and 25 attributes each. What the binary uses is read from the kernel,
//! the sender's own work is not counted. CPU time is that of ingest and of what runs behind it until it rests; of the
//! last million spans too, so that one sees whether it is flat.
//!
//! Another build is measured at the same time, not after: what a machine does in a CPU second differs by a third from
//! one minute to the next, on both builds alike. Then only the ratio compares builds: for the figures of one, it runs
//! without `--against`.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use highwater_tests::highwater::Highwater;

use support::figures::quantiles;
use support::load::{Load, Shape};
use support::requests::{SPANS_A_TRACE, trace_id};
use support::rest::{bytes_in, rest};
use support::usage::Usage;

/// Spans between two lines of progress.
const PART: u64 = 1_000_000;

#[derive(Parser)]
struct Arguments {
    /// Spans to send
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// Spans a second, and no more; as fast as they are acknowledged when not given
    #[arg(long, value_name = "SPANS")]
    rate: Option<u64>,
    #[command(flatten)]
    shape: Shape,
    /// Another build of the binary, measured at the same time; the figures of both are printed
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// How often it is measured, and the other build with it
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
    let mut ratios = Vec::new();
    for _ in 0..arguments.rounds {
        let Some(other) = &arguments.against else {
            print(&own, &measure(&own, &arguments).await?, arguments.spans);
            continue;
        };
        let (ours, theirs) =
            tokio::try_join!(measure(&own, &arguments), measure(other, &arguments))?;
        print(&own, &ours, arguments.spans);
        print(other, &theirs, arguments.spans);
        ratios.push(theirs.settled_cpu / ours.settled_cpu);
    }
    if !ratios.is_empty() {
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "spans per CPU second until it rests: {} times the other build's",
            each.join(", ")
        );
    }
    Ok(())
}

async fn measure(binary: &Path, arguments: &Arguments) -> Result<Figures> {
    let data = tempfile::tempdir()?;
    let highwater = Highwater::start_binary(binary, data.path(), &[]).await?;
    let load = Load::new(arguments.shape);
    let load = match arguments.rate {
        Some(rate) => load.at(rate),
        None => load,
    };
    let before = Usage::of(highwater.id())?.cpu_s;
    let started = Instant::now();
    let (mut acks, mut raw_bytes, mut retried, mut left) = (Vec::new(), 0, 0, arguments.spans);
    while left > 0 {
        let part = left.min(PART);
        let (begun, used) = (Instant::now(), Usage::of(highwater.id())?.cpu_s);
        let sent = load.send(&highwater, part, &Arc::default()).await?;
        let usage = Usage::of(highwater.id())?;
        left -= part;
        println!(
            "{}: {:.1}M sent: {:.0} spans/s of wall clock, {:.0} per CPU second, {} MiB resident at most",
            binary.display(),
            (arguments.spans - left) as f64 / 1e6,
            part as f64 / begun.elapsed().as_secs_f64(),
            part as f64 / (usage.cpu_s - used),
            usage.peak_kib / 1_024,
        );
        acks.extend(sent.acks);
        raw_bytes += sent.raw_bytes;
        retried += sent.retried;
    }
    let wall = started.elapsed().as_secs_f64();
    let cpu = Usage::of(highwater.id())?.cpu_s - before;
    rest(highwater.id()).await?;
    let after = Usage::of(highwater.id())?;
    // All of it is found.
    let traces = load.whole_traces().max(1);
    for nth in 0..200 {
        let trace = nth * 7_919 % traces;
        let id: String = trace_id(trace).iter().map(|b| format!("{b:02x}")).collect();
        let body: serde_json::Value = highwater.get(&format!("/api/v1/traces/{id}")).await?;
        let found = body["spans"].as_array().map_or(0, Vec::len);
        ensure!(
            found as u64 == SPANS_A_TRACE,
            "trace {trace} has {found} spans"
        );
    }
    let figures = Figures {
        wall,
        cpu,
        settled_cpu: after.cpu_s - before,
        acks,
        peak_kib: after.peak_kib,
        raw_bytes,
        disk_bytes: bytes_in(data.path())?,
        retried,
    };
    highwater.interrupt().await?;
    Ok(figures)
}

fn print(binary: &Path, figures: &Figures, spans: u64) {
    let spans = spans as f64;
    println!("{}", binary.display());
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
}
