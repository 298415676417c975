//! `cargo xtask demo`: the whole thing, running: Kafka, collector, shop, and the address to open.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::guard::Guarded;
use crate::kafka::Kafka;
use crate::step::{cargo, is_there, run, seconds, step, target};
use crate::{dashboard, http, setup, shop};

/// Set by Ctrl-C and by a request to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How the demo runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// A Kafka that is there already; else one is started.
    pub(crate) kafka: Option<String>,
    /// Leaves every consumer at its pace.
    pub(crate) calm: bool,
    /// Port of dashboard and API; 0 for any.
    pub(crate) port: u16,
    /// Ends by itself after this time.
    pub(crate) duration: Option<Duration>,
    /// Opens the address in the desktop's browser.
    pub(crate) open: bool,
}

/// The running demo; ends in order when dropped.
pub(crate) struct Demo {
    shop: Guarded,
    collector: Guarded,
    kafka: Option<Kafka>,
    /// Dashboard and API.
    pub(crate) address: SocketAddr,
}

/// Runs the demo until Ctrl-C or its time is over.
pub(crate) fn demo(options: &Options) -> Result<()> {
    let started = Instant::now();
    let mut demo = Demo::start(options)?;
    println!();
    println!("  Highwater    http://{}", demo.address);
    println!("  ready after  {}", seconds(started.elapsed()));
    if !options.calm {
        println!(
            "  in a minute  billing becomes slow; back to normal with: cargo xtask shop resume billing"
        );
    }
    println!("  to end       Ctrl-C");
    println!();
    if options.open {
        open(demo.address);
    }
    let end = options.duration.map(|duration| Instant::now() + duration);
    while !INTERRUPTED.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        demo.check()?;
        thread::sleep(Duration::from_millis(100));
    }
    demo.stop()
}

impl Demo {
    /// Builds what is stale, starts everything, and returns when the first live map is there.
    pub(crate) fn start(options: &Options) -> Result<Demo> {
        listen_for_interrupts()?;
        let home = target("demo");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home)?;
        if options.kafka.is_none() {
            setup::kafka_jars()?;
        }
        // A broker needs seconds to start, and neither build needs it or the other: the last minute of the dashboard's
        // build is a linker on one core.
        let kafka = thread::scope(|scope| -> Result<Option<Kafka>> {
            let broker = options.kafka.is_none().then(|| {
                scope.spawn(|| {
                    step("start Apache Kafka", || {
                        Ok(Kafka::start_in(&home.join("kafka"), None)?)
                    })
                })
            });
            let page = scope.spawn(dashboard::build_if_stale);
            build()?;
            join(page)?;
            broker.map(join).transpose()
        })?;
        let bootstrap = match (&kafka, &options.kafka) {
            (Some(kafka), _) => kafka.bootstrap(),
            (None, Some(bootstrap)) => bootstrap.clone(),
            (None, None) => bail!("no Kafka to use"),
        };
        fs::write(home.join("kafka-address"), &bootstrap)?;

        let log = home.join("highwater.log");
        let mut collector = step("start the collector", || {
            start_collector(options, &bootstrap, &log)
        })?;
        let (address, otlp) = match addresses(&mut collector, &log) {
            Ok(addresses) => addresses,
            Err(error) => bail!(
                "{error:#}\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            ),
        };
        let shop = step("start the shop", || {
            start_shop(options, &bootstrap, &otlp, &home)
        })?;
        let mut demo = Demo {
            shop,
            collector,
            kafka,
            address,
        };
        step("wait for the first live map", || demo.first_map())?;
        Ok(demo)
    }

    fn first_map(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.check()?;
            let map = http::get(self.address, "/api/v1/topology")
                .and_then(|body| Ok(serde_json::from_str::<Value>(&body)?));
            // The broker alone already gives nodes and dashed edges; a live map has spans on it.
            let lives = |map: &Value| {
                let edges = map["edges"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                edges.iter().any(|edge| edge["messages"].as_u64() > Some(0))
            };
            match map {
                Ok(map) if lives(&map) => return Ok(()),
                Ok(_) if Instant::now() > deadline => bail!("the map is still empty after 60 s"),
                Err(error) if Instant::now() > deadline => return Err(error),
                _ if INTERRUPTED.load(Ordering::Relaxed) => bail!("interrupted"),
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Fails when one of the programs has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (name, program, log) in [
            ("the shop", &mut self.shop, "shop.log"),
            ("the collector", &mut self.collector, "highwater.log"),
        ] {
            if let Some(status) = program.exited()? {
                let log = target("demo").join(log);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(20)..].join("\n");
                bail!(
                    "{name} ended with {status}; the end of {}:\n{last}",
                    log.display()
                );
            }
        }
        Ok(())
    }

    /// Ends the shop, then the collector when it has drained, then Kafka.
    pub(crate) fn stop(mut self) -> Result<()> {
        step("stop the shop", || {
            self.shop
                .stop(Duration::from_secs(30))
                .map(drop)
                .map_err(Into::into)
        })?;
        step("stop the collector", || {
            self.collector
                .stop(Duration::from_secs(30))
                .map(drop)
                .map_err(Into::into)
        })?;
        let _ = fs::remove_file(shop::control_file());
        if let Some(mut kafka) = self.kafka.take() {
            step("stop Kafka", || Ok(kafka.stop()?))?;
            let _ = fs::remove_file(target("demo/kafka-address"));
        }
        Ok(())
    }
}

/// Returns where cargo puts one of our programs.
pub(crate) fn binary(name: &str) -> PathBuf {
    target("debug").join(name)
}

/// Builds the collector and the shop.
pub(crate) fn build() -> Result<()> {
    step("build the collector and the shop", || {
        run(&mut cargo([
            "build",
            "--quiet",
            "--package",
            "highwater",
            "--package",
            "highwater-shop",
        ]))
    })
}

fn join<T>(work: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    work.join().unwrap_or_else(|_| bail!("a step panicked"))
}

/// Says whether Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

fn listen_for_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .context("cannot listen for Ctrl-C")
}

fn start_collector(options: &Options, bootstrap: &str, log: &Path) -> Result<Guarded> {
    // The well-known OTLP ports, so that other programs can be pointed at the demo; any others when they are taken.
    let otlp = |port: u16| {
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        format!("127.0.0.1:{}", if is_free { port } else { 0 })
    };
    let mut command = Command::new(binary("highwater"));
    command
        .args(["--kafka", &format!("demo={bootstrap}")])
        .arg("--data-dir")
        .arg(target("demo/data"))
        .args(["--listen", &format!("127.0.0.1:{}", options.port)])
        .args(["--otlp-grpc", &otlp(4317), "--otlp-http", &otlp(4318)])
        .args(["--poll-interval", "2s"])
        // A configuration file of the person who runs the demo is not meant for it.
        .current_dir(target("demo"));
    start(&command, log)
}

fn start_shop(options: &Options, bootstrap: &str, otlp: &str, home: &Path) -> Result<Guarded> {
    let mut command = Command::new(binary("shop"));
    command
        .args(["--kafka", bootstrap, "--otlp", otlp])
        .arg("--control-file")
        .arg(shop::control_file())
        .arg("--ledger")
        .arg(home.join("ledger.json"));
    if options.calm {
        command.arg("--calm");
    }
    start(&command, &home.join("shop.log"))
}

fn start(command: &Command, log: &Path) -> Result<Guarded> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone()?;
    let program = command.get_program().to_string_lossy().into_owned();
    Guarded::start(command, |command| {
        command.stdout(out).stderr(err);
    })
    .with_context(|| format!("cannot start {program}"))
}

/// Waits until the collector has printed its addresses; returns the dashboard's and that of OTLP over gRPC.
fn addresses(collector: &mut Guarded, log: &Path) -> Result<(SocketAddr, String)> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let printed = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.starts_with(' ').then(|| line.trim().to_owned())
        };
        if let (Some(dashboard), Some(otlp)) = (printed("dashboard"), printed("otlp-grpc")) {
            return Ok((http::address(&dashboard)?, otlp));
        }
        if let Some(status) = collector.exited()? {
            bail!("the collector ended with {status}");
        }
        if Instant::now() > deadline {
            bail!("the collector printed no addresses within 30 s");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Opens the address in the desktop's browser where there is a desktop; it is printed in any case.
fn open(address: SocketAddr) {
    let has_desktop =
        std::env::var_os("DISPLAY").is_some() || std::env::var_os("WAYLAND_DISPLAY").is_some();
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if has_desktop && is_there("xdg-open", "--version") {
        "xdg-open"
    } else {
        return;
    };
    let _ = Command::new(opener)
        .arg(format!("http://{address}"))
        .status();
}
