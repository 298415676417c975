//! Finds spans among many through the API of the real binary: at rest, while it ingests at full rate, after a kill.
//!
//! `cargo xtask bench lookup [--spans 20000000] [--browser] [--against BINARY]`. Traces by id, journeys by correlation id, an attribute that two traces
//! have and one that none has, and what the Traces page asks for; every time of other spans, as people ask. The CPU
//! time of a lookup is the process's, so it is told for the round at rest only. With `--browser` a real one types
//! conditions into the Traces page while it ingests. Another build is measured at the same time, with spans of its own: then only
//! the ratio says something, as with `ingest`.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use highwater_tests::browser::Browser;
use highwater_tests::highwater::Highwater;
use highwater_tests::process::eventually;
use thirtyfour::Key;

use support::figures::{quantile, quantiles};
use support::load::{Load, Shape};
use support::requests::{SPANS_A_TRACE, order, trace_id};
use support::rest::{bytes_in, rest};
use support::usage::Usage;

/// Spans between two lines of progress.
const PART: u64 = 2_000_000;

#[derive(Parser)]
struct Arguments {
    /// Spans to look among
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// Lookups of each kind in a round
    #[arg(long, default_value_t = 100)]
    lookups: u64,
    /// Search in the Traces page of a browser too, while it ingests
    #[arg(long)]
    browser: bool,
    /// A round beside so many spans a second too, before the one at full rate
    #[arg(long, value_name = "SPANS")]
    at_rate: Option<u64>,
    /// Another build of the binary, measured at the same time
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is asked for, and whether an answer is right.
#[derive(Clone, Copy)]
enum Kind {
    Trace,
    Correlation,
    Attribute,
    NoSuchAttribute,
    Newest,
    Topic,
    Common,
}

impl Kind {
    const ALL: [(Self, &str); 7] = [
        (Self::Trace, "a trace by its id"),
        (Self::Correlation, "a journey by its correlation id"),
        (Self::Attribute, "an attribute of two traces"),
        (Self::NoSuchAttribute, "an attribute that none has"),
        (Self::Newest, "the newest 50 traces"),
        (Self::Topic, "the newest 50 of a topic"),
        (Self::Common, "the newest 20 of a common attribute"),
    ];

    fn path(self, trace: u64) -> String {
        let search = |limit: u64, query: String| {
            let query = query
                .replace(' ', "%20")
                .replace('"', "%22")
                .replace('=', "%3D");
            format!("/api/v1/traces?limit={limit}&q={query}")
        };
        match self {
            Self::Trace => {
                let id: String = trace_id(trace).iter().map(|b| format!("{b:02x}")).collect();
                format!("/api/v1/traces/{id}")
            }
            Self::Correlation => format!("/api/v1/journeys/correlation/{}", order(trace)),
            Self::Attribute => search(
                20,
                format!("messaging.message.conversation_id = \"{}\"", order(trace)),
            ),
            Self::NoSuchAttribute => search(20, format!("app.key.3 = \"none {trace}\"")),
            Self::Newest => "/api/v1/traces?limit=50".to_owned(),
            Self::Topic => search(50, format!("topic = topic-{}", trace % 12)),
            Self::Common => search(
                20,
                format!(
                    "app.key.{} = \"{} of {}\"",
                    trace % 10,
                    trace % 50,
                    trace % 10
                ),
            ),
        }
    }

    fn check(self, body: &serde_json::Value) -> Result<()> {
        let length = |name: &str| body[name].as_array().map_or(0, Vec::len);
        let right = match self {
            Self::Trace => length("spans") as u64 == SPANS_A_TRACE,
            Self::Correlation | Self::Attribute => length("traces") == 2,
            Self::NoSuchAttribute => length("traces") == 0,
            Self::Newest | Self::Topic => length("traces") == 50,
            Self::Common => body["traces"].is_array(),
        };
        ensure!(right, "{body:.400}");
        Ok(())
    }
}

/// Where the figures of one binary go.
#[derive(Clone, Default)]
struct Told {
    /// Begins each line, where two are measured.
    of: String,
    /// What was timed, and its p95, in order.
    p95: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Told {
    fn line(&self, line: &str) {
        println!("{}{line}", self.of);
    }

    fn times(&self, what: &str, times: &[Duration], more: &str) {
        self.line(&format!("  {what:<36} {}{more}", quantiles(times)));
        if let Some(p95) = quantile(times, 0.95) {
            self.lock().push((what.to_owned(), p95));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Duration)>> {
        self.p95.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let own = PathBuf::from(std::env::var_os("HIGHWATER_BIN").context(
        "HIGHWATER_BIN does not name the binary: run this by \"cargo xtask bench lookup\"",
    )?);
    let Some(other) = &arguments.against else {
        return measure(&own, &arguments, &Told::default()).await;
    };
    let [ours, theirs] = [&own, other].map(|binary| Told {
        of: format!("{}: ", binary.display()),
        ..Told::default()
    });
    tokio::try_join!(
        measure(&own, &arguments, &ours),
        measure(other, &arguments, &theirs)
    )?;
    println!("p95, times the other build's");
    for ((what, ours), (_, theirs)) in ours.lock().iter().zip(theirs.lock().iter()) {
        println!(
            "  {what:<36} {:.2}",
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
    Ok(())
}

async fn measure(binary: &Path, arguments: &Arguments, told: &Told) -> Result<()> {
    let data = tempfile::tempdir()?;
    let highwater = Highwater::start_binary(binary, data.path(), &[]).await?;
    let load = Load::new(arguments.shape);
    let used = Usage::of(highwater.id())?.cpu_s;
    let (mut acks, mut left) = (Vec::new(), arguments.spans);
    while left > 0 {
        let part = left.min(PART);
        let begun = Instant::now();
        acks.extend(load.send(&highwater, part, &Arc::default()).await?.acks);
        left -= part;
        told.line(&format!(
            "{:.1}M sent, {:.0} spans/s",
            (arguments.spans - left) as f64 / 1e6,
            part as f64 / begun.elapsed().as_secs_f64()
        ));
    }
    rest(highwater.id()).await?;
    let usage = Usage::of(highwater.id())?;
    told.line(&format!(
        "{:.0} spans per CPU second until it rests, acknowledged in {}",
        arguments.spans as f64 / (usage.cpu_s - used),
        quantiles(&acks)
    ));
    told.line(&format!(
        "{:.1} bytes a span, {} MiB resident at most",
        bytes_in(data.path())? as f64 / arguments.spans as f64,
        usage.peak_kib / 1_024
    ));

    told.line("at rest");
    round(&highwater, &load, arguments.lookups, true, told).await?;
    if let Some(rate) = arguments.at_rate {
        told.line(&format!("while it ingests {rate} spans/s"));
        meanwhile(&highwater, &load.at(rate), arguments, told).await?;
    }
    told.line("while it ingests at full rate");
    meanwhile(&highwater, &load, arguments, told).await?;
    told.line(&format!(
        "  {} MiB resident at most",
        Usage::of(highwater.id())?.peak_kib / 1_024
    ));

    let begun = Instant::now();
    let highwater = highwater.kill_and_restart().await?;
    told.line(&format!("killed and back in {:.1?}", begun.elapsed()));
    round(&highwater, &load, 5, false, told).await?;
    highwater.interrupt().await?;
    Ok(())
}

/// A round of lookups beside a load.
async fn meanwhile(
    highwater: &Highwater,
    load: &Load,
    arguments: &Arguments,
    told: &Told,
) -> Result<()> {
    let stop = Arc::<AtomicBool>::default();
    let ingest = async {
        let begun = Instant::now();
        let sent = load.send(highwater, u64::MAX / 2, &stop).await?;
        let rate = sent.acks.len() as f64 * arguments.shape.per_request as f64;
        told.line(&format!(
            "  {:.0} spans/s were taken meanwhile, acknowledged in {}",
            rate / begun.elapsed().as_secs_f64(),
            quantiles(&sent.acks)
        ));
        anyhow::Ok(())
    };
    let read = async {
        let mut done = round(highwater, load, arguments.lookups, false, told).await;
        if arguments.browser && done.is_ok() {
            done = page(highwater, arguments.lookups, told).await;
        }
        stop.store(true, Ordering::Relaxed);
        done
    };
    let (ingested, read) = tokio::join!(ingest, read);
    ingested?;
    read
}

/// What somebody types into the Traces page, and the browser's own account of how long the answers took.
async fn page(highwater: &Highwater, searches: u64, told: &Told) -> Result<()> {
    let browser = Browser::start().await?;
    browser
        .driver
        .goto(format!("{}/traces", highwater.dashboard))
        .await?;
    browser.find("trace-row").await?;
    let mut answered = Vec::new();
    for nth in 0..searches {
        let condition = format!("topic = topic-{}", nth % 12);
        let query = browser.find("trace-query").await?;
        query.send_keys(Key::Control + "a").await?;
        query.send_keys(condition.as_str()).await?;
        browser
            .driver
            .execute("performance.clearResourceTimings()", Vec::new())
            .await?;
        query.send_keys(Key::Enter + "").await?;
        // The answer to this search: the page goes on asking for what has changed.
        let wanted = format!("topic-{}&", nth % 12);
        let taken = eventually("an answer", Duration::from_secs(20), || async {
            let script = "const mine = performance.getEntriesByType('resource').filter(e => e.responseEnd > 0 && \
                          e.name.includes('/api/v1/traces?') && (decodeURIComponent(e.name) + '&').includes(arguments[0])); \
                          return mine.length ? mine[0].responseEnd - mine[0].startTime : null;";
            let arguments = vec![serde_json::Value::from(wanted.as_str())];
            let found = browser.driver.execute(script, arguments).await?;
            found.json().as_f64().context("no answer yet")
        })
        .await?;
        answered.push(Duration::from_secs_f64(taken / 1e3));
    }
    told.times("the Traces page: a search's answer", &answered, "");
    browser.quit().await
}

/// Asks for every kind in turn, so that all have the same noise.
///
/// From a thread of its own: among the tasks that make the load an answer would wait for these, and its time be theirs.
async fn round(
    highwater: &Highwater,
    load: &Load,
    lookups: u64,
    cpu: bool,
    told: &Told,
) -> Result<()> {
    let (id, dashboard, load) = (highwater.id(), highwater.dashboard.clone(), load.clone());
    let told = told.clone();
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(ask(id, &dashboard, &load, lookups, cpu, &told))
    })
    .await?
}

async fn ask(
    id: u32,
    dashboard: &str,
    load: &Load,
    lookups: u64,
    cpu: bool,
    told: &Told,
) -> Result<()> {
    let client = reqwest::Client::new();
    let mut times = [const { Vec::new() }; Kind::ALL.len()];
    let mut used = [0.0; Kind::ALL.len()];
    let mut nth = 0_u64;
    // The kernel counts CPU time in hundredths of a second: each kind is asked for several times in a row.
    let in_a_row = lookups.clamp(1, 20);
    for _ in 0..lookups / in_a_row {
        for (index, (kind, _)) in Kind::ALL.iter().enumerate() {
            let before = Usage::of(id)?.cpu_s;
            for _ in 0..in_a_row {
                nth += 1;
                // Golden ratio: spread over all that was sent.
                let trace = nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) % load.whole_traces().max(1);
                let path = kind.path(trace);
                let begun = Instant::now();
                let answer = client.get(format!("{dashboard}{path}")).send().await?;
                let answer = answer.error_for_status()?.bytes().await?;
                times[index].push(begun.elapsed());
                kind.check(&serde_json::from_slice(&answer)?)?;
            }
            used[index] += Usage::of(id)?.cpu_s - before;
        }
    }
    for (((_, name), times), used) in Kind::ALL.iter().zip(&times).zip(used) {
        let each = used * 1e3 / times.len() as f64;
        let cpu = if cpu {
            format!(", {each:.1} CPU-ms each")
        } else {
            String::new()
        };
        told.times(name, times, &cpu);
    }
    Ok(())
}
