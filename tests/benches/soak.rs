//! Half an hour of a shop in trouble: a ledger of faults against the alerts that fired.
//!
//! `cargo xtask bench soak`. A real Kafka, the shop at work on it, and a group read by Kafka's own console consumer.
//! Consumers are paused, slowed, killed and made to fail, offsets are reset by Kafka's own tool, and the broker is stopped
//! and started again. Every fault has the rule that must fire for it and those that may; whatever else fires is false.
//! What is told is received by an HTTP server of this program.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use clap::Parser;
use highwater_shared::alerts::{AlertEvent, AlertHistory};
use highwater_shop::dials::Mode;
use highwater_shop::{Config, Shop};
use highwater_tests::guard::Guarded;
use highwater_tests::highwater::Highwater;
use highwater_tests::kafka::{self, Kafka, tools};
use parking_lot::Mutex;

/// A group that Kafka's own consumer reads as.
const READER: &str = "reader";
const TOPIC: &str = "orders";
const DEAD_LETTERS: &str = "orders.billing.dlt";
const SECRET: &str = "the soak's secret";
/// What the shop does all the time is no fault: its first dead letter of a kind is news all the same.
const BY_DESIGN: (&str, &str) = ("dead-letter-cause", DEAD_LETTERS);
/// After a fault has ended, its alerts may still begin: what waits is worked off, windows pass.
const AFTERWARDS: Duration = Duration::from_secs(180);

/// What an operator would set, but for two things: the window is a minute and not five, since there is half an hour for
/// six faults; and new dead letters are no news in this shop, which gives some orders up by design.
const SETTINGS: &str = "
[lag]
window = '1m'

[[channel]]
name = 'sink'
kind = 'webhook'
url = 'SINK'
secret_file = 'SECRET'
";
const RULES: &str = "
[[rule]]
id = 'dead-letters-new'
watch = 'dead_letters_new'
enabled = false

[[rule]]
id = 'dead-letter-rate'
watch = 'dead_letter_rate'
over = '120/min'
for = '30s'
severity = 'critical'
";

#[derive(Parser)]
struct Arguments {
    /// How long everything is: 1 is half an hour
    #[arg(long, default_value_t = 1.0)]
    pace: f64,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Something that was done, and what has to come of it.
struct Fault {
    what: &'static str,
    /// What the alerts are about: a service's groups suffer together.
    subjects: &'static [&'static str],
    /// One of these has to fire.
    must: &'static [&'static str],
    /// These may.
    may: &'static [&'static str],
    began: u64,
    ended: u64,
}

type Told = Arc<Mutex<Vec<(u64, String)>>>;

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Takes messages; returns where.
async fn sink(told: Told) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let take = |State(told): State<Told>, body: String| async move {
        told.lock().push((now_ms(), body));
    };
    let router = Router::new().route("/", post(take)).with_state(told);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// Kafka's own consumer, in a process that can be killed.
fn reader(bootstrap: &str) -> Result<Guarded> {
    let mut command = Command::new("java");
    command
        .args([
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
        ])
        .arg(format!("{}/*", kafka::jars()?.display()))
        .arg(tools::CONSUMER)
        .args([
            "--bootstrap-server",
            bootstrap,
            "--topic",
            TOPIC,
            "--group",
            READER,
        ])
        .args(["--consumer-property", "auto.commit.interval.ms=1000"])
        .args(["--consumer-property", "session.timeout.ms=10000"]);
    Ok(Guarded::start(&command, |command| {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    })?)
}

struct Soak {
    pace: f64,
    faults: Vec<Fault>,
}

impl Soak {
    /// A fault lasts as long as it is said to last: what fires, and what does not, is a matter of time here.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds as f64 * self.pace)).await;
    }

    fn note(
        &mut self,
        what: &'static str,
        subjects: &'static [&'static str],
        must: &'static [&'static str],
        may: &'static [&'static str],
    ) {
        println!("{:>6} s  {what}", (now_ms() - self.start()) / 1_000);
        self.faults.push(Fault {
            what,
            subjects,
            must,
            may,
            began: now_ms(),
            ended: u64::MAX,
        });
    }

    fn start(&self) -> u64 {
        self.faults.first().map_or_else(now_ms, |fault| fault.began)
    }

    fn over(&mut self) {
        if let Some(last) = self.faults.last_mut() {
            last.ended = now_ms();
            println!("{:>6} s  over", (last.ended - self.start()) / 1_000);
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let told = Told::default();
    let sink = sink(Arc::clone(&told)).await?;
    let mut broker = tokio::task::spawn_blocking(Kafka::start).await??;
    let data = tempfile::tempdir()?;
    let highwater = collector(data.path(), &broker.bootstrap(), &sink).await?;
    let shop = Shop::open(Config::new(broker.bootstrap(), highwater.otlp_grpc.clone())).await?;
    let orders = {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move { shop.take_orders(None).await })
    };
    let mut reading = reader(&broker.bootstrap())?;
    let mut soak = Soak {
        pace: arguments.pace,
        faults: Vec::new(),
    };

    soak.pass(120).await;
    soak.note(
        "billing pauses",
        &["billing", "billing-retry"],
        &["time-lag", "stopped"],
        &["falling-behind", "stalled"],
    );
    shop.turn("billing", Mode::Paused)?;
    soak.pass(240).await;
    shop.turn("billing", Mode::Draining)?;
    soak.over();
    soak.pass(120).await;
    shop.turn("billing", Mode::Normal)?;

    soak.note(
        "the reader is killed",
        &[READER],
        &["stopped"],
        &["time-lag", "falling-behind", "stalled"],
    );
    reading.kill()?;
    soak.pass(240).await;
    soak.over();

    soak.note(
        "its offsets are reset to the beginning",
        &[READER],
        &["rewind"],
        &["stopped", "time-lag", "falling-behind"],
    );
    let reset = [
        "--group",
        READER,
        "--topic",
        TOPIC,
        "--reset-offsets",
        "--to-earliest",
        "--execute",
    ];
    broker.tool(tools::GROUPS, &reset)?;
    soak.pass(60).await;
    reading = reader(&broker.bootstrap())?;
    soak.pass(60).await;
    soak.over();
    soak.pass(60).await;

    soak.note("Kafka is stopped", &["demo"], &["broker-unreachable"], &[]);
    broker.stop()?;
    soak.pass(150).await;
    broker.start_again()?;
    soak.over();
    soak.pass(150).await;

    soak.note(
        "fraud becomes slow",
        &["fraud"],
        &["time-lag", "falling-behind"],
        &["stalled"],
    );
    shop.turn("fraud", Mode::Slow)?;
    soak.pass(270).await;
    shop.turn("fraud", Mode::Draining)?;
    soak.over();
    soak.pass(90).await;

    soak.note(
        "billing fails",
        &[DEAD_LETTERS],
        &["dead-letter-rate"],
        &["dead-letter-cause"],
    );
    shop.turn("billing", Mode::Failing)?;
    soak.pass(150).await;
    shop.turn("billing", Mode::Normal)?;
    soak.over();
    soak.pass(120).await;

    let history: AlertHistory = highwater
        .get("/api/v1/alerts/history?from=now-3h&limit=1000")
        .await?;
    orders.abort();
    drop(reading);
    let false_or_missed = report(&soak, &history.events, &told.lock());
    shop.close().await;
    highwater.interrupt().await?;
    ensure!(
        false_or_missed == 0,
        "{false_or_missed} alerts are false or missing"
    );
    Ok(())
}

async fn collector(data: &Path, bootstrap: &str, sink: &str) -> Result<Highwater> {
    let (settings, rules) = (data.join("settings.toml"), data.join("rules.toml"));
    let secret = data.join("secret");
    std::fs::write(&secret, SECRET)?;
    let text = SETTINGS
        .replace("SINK", sink)
        .replace("SECRET", &secret.display().to_string());
    std::fs::write(&settings, text)?;
    std::fs::write(&rules, RULES)?;
    let arguments = [
        format!("--kafka=demo={bootstrap}"),
        format!("--config={}", settings.display()),
        format!("--rules={}", rules.display()),
        "--poll-interval=5s".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Highwater::start(data, &arguments)
        .await
        .context("the collector does not start")
}

/// Prints the ledger against the alerts; returns how many of either have no match.
fn report(soak: &Soak, events: &[AlertEvent], told: &[(u64, String)]) -> usize {
    let ms = |event: &AlertEvent| event.at.0 / 1_000_000;
    let fired: Vec<&AlertEvent> = events
        .iter()
        .filter(|event| event.kind == "fired")
        .collect();
    let is_of = |fault: &Fault, event: &AlertEvent| {
        let about = event.subject.split(" on ").next();
        about.is_some_and(|about| fault.subjects.contains(&about))
            && ms(event) >= fault.began
            && ms(event) <= fault.ended.saturating_add(AFTERWARDS.as_millis() as u64)
    };
    let mut explained: BTreeSet<&str> = BTreeSet::new();
    let mut wrong = 0;
    println!(
        "\n{:<40} {:<20} {:>10} {:>10}  also",
        "fault", "alert", "fired", "told"
    );
    for fault in &soak.faults {
        let mut own: Vec<&&AlertEvent> = fired.iter().filter(|event| is_of(fault, event)).collect();
        own.sort_by_key(|event| event.at.0);
        let allowed = |event: &&&&AlertEvent| {
            let rule = event.rule.as_str();
            fault.must.contains(&rule) || fault.may.contains(&rule)
        };
        explained.extend(own.iter().filter(allowed).map(|event| event.alert.as_str()));
        let first = own
            .iter()
            .find(|event| fault.must.contains(&event.rule.as_str()));
        let Some(first) = first else {
            wrong += 1;
            println!(
                "{:<40} {:<20} {:>10}",
                fault.what,
                fault.must.join(" or "),
                "MISSED"
            );
            continue;
        };
        let message = told.iter().find(|(_, body)| body.contains(&first.alert));
        let after = |at: u64| format!("{:.1} s", at.saturating_sub(fault.began) as f64 / 1e3);
        let also: BTreeSet<&str> = own
            .iter()
            .filter(allowed)
            .map(|event| event.rule.as_str())
            .filter(|rule| *rule != first.rule)
            .collect();
        println!(
            "{:<40} {:<20} {:>10} {:>10}  {}",
            fault.what,
            first.rule,
            after(ms(first)),
            message.map_or("not".to_owned(), |(at, _)| after(*at)),
            also.into_iter().collect::<Vec<_>>().join(", ")
        );
        wrong += usize::from(message.is_none());
    }
    for event in fired
        .iter()
        .filter(|event| event.rule == BY_DESIGN.0 && event.subject.starts_with(BY_DESIGN.1))
    {
        if explained.insert(event.alert.as_str()) {
            println!("{:<40} {}", "by the shop's design, at no fault", event.rule);
        }
    }
    for event in fired
        .iter()
        .filter(|event| !explained.contains(event.alert.as_str()))
    {
        wrong += 1;
        let at = ms(event).saturating_sub(soak.start()) / 1_000;
        println!(
            "FALSE at {at} s: {} for {}: {}",
            event.rule, event.subject, event.sentence
        );
    }
    println!(
        "{} faults, {} alerts fired, {} messages told, {wrong} missing or false",
        soak.faults.len(),
        fired.len(),
        told.len()
    );
    wrong
}
