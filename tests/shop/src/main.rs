//! `shop`: runs the shop until it is told to end, with its control port on loopback.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use highwater_shop::dials::Mode;
use highwater_shop::{Config, Shop, control};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser, Debug)]
#[command(
    about = "A shop on a real Kafka: services that produce, consume and send spans",
    version
)]
struct Arguments {
    /// Bootstrap servers
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// Where spans go, over gRPC
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4317")]
    otlp: String,
    /// Address of the control port; port 0 for any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Write the control port's address into this file
    #[arg(long, value_name = "FILE")]
    control_file: Option<PathBuf>,
    /// Write the ledger into this file at the end
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Equal seeds give equal orders and failures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take this many orders, wait until all is worked off, and end; endless without
    #[arg(long)]
    orders: Option<u64>,
    /// Stay after the last order was worked off
    #[arg(long, requires = "orders")]
    stay: bool,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// Orders a second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// How long simulated work takes: 1 as in life, 0 not at all
    #[arg(long, default_value_t = 1.0)]
    work: f64,
    /// Slow no service after a minute
    #[arg(long)]
    calm: bool,
    /// Put before the names of topics and groups
    #[arg(long, default_value = "")]
    prefix: String,
    /// deployment.environment.name of all services
    #[arg(long, default_value = "default")]
    environment: String,
    /// What the map calls the cluster, for the ledger's edges
    #[arg(long, default_value = "demo")]
    cluster: String,
    /// Number of the first order
    #[arg(long, default_value_t = 1)]
    first_order: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,librdkafka=error")),
        )
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let config = Config {
        prefix: arguments.prefix,
        environment: arguments.environment,
        cluster: arguments.cluster,
        seed: arguments.seed,
        rate: arguments.rate,
        work: arguments.work.max(0.0),
        first_order: arguments.first_order,
        ..Config::new(arguments.kafka, endpoint(&arguments.otlp))
    };
    let shop = tokio::select! {
        shop = Shop::open(config) => shop?,
        _ = terminate.recv() => return Ok(()),
        _ = tokio::signal::ctrl_c() => return Ok(()),
    };
    let listener = tokio::net::TcpListener::bind(arguments.control)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.control))?;
    let address = listener.local_addr()?;
    println!("control  http://{address}");
    if let Some(file) = &arguments.control_file {
        std::fs::write(file, address.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let server =
        tokio::spawn(axum::serve(listener, control::router(Arc::clone(&shop))).into_future());

    let slow = tokio::spawn(slow_billing(Arc::clone(&shop), arguments.calm));
    let work = async {
        shop.take_orders(arguments.orders).await;
        shop.drained(Duration::from_secs(600)).await?;
        println!("drained");
        if arguments.stay {
            std::future::pending::<()>().await;
        }
        anyhow::Ok(())
    };
    let end = async {
        match arguments.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let worked = tokio::select! {
        worked = work => worked,
        () = end => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    slow.abort();
    shop.close().await;
    if let Some(file) = &arguments.ledger {
        // After closing, so that it holds what the members committed when they left.
        match shop.ledger().await {
            Ok(ledger) => std::fs::write(file, serde_json::to_vec_pretty(&ledger)?)
                .with_context(|| format!("cannot write {}", file.display()))?,
            Err(error) => tracing::warn!("no ledger was written: {error:#}"),
        }
    }
    server.abort();
    if let Some(file) = &arguments.control_file {
        let _ = std::fs::remove_file(file);
    }
    println!("closed after {} orders", shop.status().orders);
    worked
}

/// Gives whoever watches something to see.
async fn slow_billing(shop: Arc<Shop>, calm: bool) {
    if calm {
        return;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    // It comes with a release, as it mostly does.
    if let Err(error) = shop.release("billing", "0.2.0") {
        tracing::warn!(%error, "billing could not be released");
    }
    match shop.turn("billing", Mode::Slow) {
        Ok(()) => tracing::info!("billing 0.2.0 is slow from now on"),
        Err(error) => tracing::warn!(%error, "billing could not be slowed"),
    }
}

/// Takes `HOST:PORT` as well as a URL.
fn endpoint(otlp: &str) -> String {
    if otlp.contains("://") {
        otlp.to_owned()
    } else {
        format!("http://{otlp}")
    }
}
