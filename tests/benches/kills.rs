//! Kills the real binary again and again while it is sent to, and counts what it acknowledged and no longer has.
//!
//! `cargo xtask bench kills [--rounds N]`. Several connections send over gRPC as fast as they are answered; at a random
//! moment the process gets SIGKILL, and is started again on the same directory and ports. Every span of every request
//! that was acknowledged since the last round, and a sample of the earlier ones, is then read through the API; at the end one of all.
//!
//! A kill is no power cut: what the process had handed to the kernel is still written. Logs that lost their end, and
//! damaged pages, are facts of the store's own suite; a disk that lies about what it has written is nowhere simulated.

#[path = "support/kills.rs"]
mod kills;
#[path = "support/requests.rs"]
mod requests;
#[path = "support/sender.rs"]
mod sender;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use kills::Kills;

#[derive(Parser)]
struct Arguments {
    /// How often it is killed
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// The longest time between a start and its kill, in milliseconds
    #[arg(long, default_value_t = 1_500)]
    longest_ms: u64,
    /// Of the random moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let spans = kills::run(&Kills {
        rounds: arguments.rounds,
        connections: arguments.connections,
        in_flight: arguments.in_flight,
        longest: Duration::from_millis(arguments.longest_ms),
        seed: arguments.seed,
    })
    .await?;
    ensure!(spans > 0, "nothing was acknowledged");
    Ok(())
}
