//! `cargo xtask`: set-up and automation of this repository, in Rust.
//!
//! Every verb does the set-up that a fresh machine lacks, says what it does as it does it, and can be run twice: the
//! second run starts in seconds.

mod broker;
mod dashboard;
mod demo;
mod fuzz;
mod http;
mod release;
mod screenshots;
mod setup;
mod shop;
mod step;
mod verify;

// One way to start a real Kafka, for tests and for people. Included, not depended on: the crate around them needs
// the whole of the tests' dependencies.
#[allow(
    dead_code,
    unreachable_pub,
    reason = "written as public modules of the tests' library"
)]
#[path = "../../tests/support/fetched.rs"]
mod fetched;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "written as public modules of the tests' library"
)]
#[path = "../../tests/support/guard.rs"]
mod guard;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "written as public modules of the tests' library"
)]
#[path = "../../tests/support/kafka.rs"]
mod kafka;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up and automation of Highwater",
    version
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the whole: a real Kafka, the collector, the shop; print the address
    Demo {
        /// Use this Kafka instead of starting one
        #[arg(long, value_name = "HOST:PORT")]
        kafka: Option<String>,
        /// Slow no consumer after a minute
        #[arg(long)]
        calm: bool,
        /// Port of dashboard and API; 0 for any
        #[arg(long, default_value_t = 8844)]
        port: u16,
        /// End after this many seconds
        #[arg(long, value_name = "SECONDS")]
        duration: Option<u64>,
        /// Do not open a browser
        #[arg(long)]
        no_open: bool,
    },
    /// Run every test there is; words after `--` go to the test programs
    Test {
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Feed what reads bytes from outside with made-up ones; without a target, all of them in turn
    Fuzz {
        /// decoder, block or query
        target: Option<String>,
        /// Inputs a target is given
        #[arg(long, default_value_t = 1_000_000)]
        runs: u64,
        /// Ends a target earlier
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Check formatting, lints and documentation
    Check,
    /// Build the dashboard into dashboard/dist
    Dashboard {
        /// Compile sooner; larger and slower in the browser
        #[arg(long)]
        dev: bool,
    },
    /// Build the collector as it is given out: optimised for what it did under the load of the benches
    Release {
        /// Run the load again, though there is a profile of an earlier run
        #[arg(long)]
        train: bool,
    },
    /// A Kafka that stays, and Apache Kafka's own tools
    #[command(subcommand)]
    Kafka(KafkaVerb),
    /// The shop, and what to do to the running one
    #[command(subcommand)]
    Shop(ShopVerb),
    /// Run a bench; without a name, list them
    Bench {
        /// Of the binary that `release` builds
        #[arg(long)]
        trained: bool,
        name: Option<String>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Take a picture of every page, dark and light, into target/screenshots
    Screenshots,
}

#[derive(Subcommand)]
enum KafkaVerb {
    /// Start a broker on loopback that stays; its data is kept in target/kafka/standing
    Start {
        #[arg(long, default_value_t = 9092)]
        port: u16,
    },
    /// Stop it
    Stop,
    /// Run a tool of Apache Kafka: topics, groups, offsets, producer, consumer, or a class
    Tool {
        /// The broker; the one that runs here when not given
        #[arg(long, value_name = "HOST:PORT")]
        kafka: Option<String>,
        name: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ShopVerb {
    /// Run the shop here, against the Kafka that runs; its own flags may follow
    Start {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Pause a service: its partitions are paused, polling goes on
    Pause { service: String },
    /// Take a service back to normal
    Resume { service: String },
    /// Make every piece of work of a service slow
    Slow { service: String },
    /// Make every piece of work of a service fail
    Fail { service: String },
    /// Let a service work off what waits as fast as it can
    Drain { service: String },
    /// Print how the running shop is doing
    Status,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    match run(arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "\nxtask: {error:#} (after {})",
                step::seconds(started.elapsed())
            );
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Demo {
            kafka,
            calm,
            port,
            duration,
            no_open,
        } => demo::demo(&demo::Options {
            kafka,
            calm,
            port,
            duration: duration.map(Duration::from_secs),
            open: !no_open,
        }),
        Verb::Test { arguments } => verify::test(&arguments),
        Verb::Fuzz {
            target,
            runs,
            seconds,
        } => fuzz::fuzz(target.as_deref(), &fuzz::Bounds { runs, seconds }),
        Verb::Check => verify::check(),
        Verb::Dashboard { dev } => verify::dashboard(dev),
        Verb::Kafka(KafkaVerb::Start { port }) => broker::start(port),
        Verb::Kafka(KafkaVerb::Stop) => broker::stop(),
        Verb::Kafka(KafkaVerb::Tool {
            kafka,
            name,
            arguments,
        }) => broker::tool(&name, &arguments, kafka.as_deref()),
        Verb::Shop(ShopVerb::Start { arguments }) => shop::start(&arguments),
        Verb::Shop(ShopVerb::Pause { service }) => shop::control("pause", &service),
        Verb::Shop(ShopVerb::Resume { service }) => shop::control("resume", &service),
        Verb::Shop(ShopVerb::Slow { service }) => shop::control("slow", &service),
        Verb::Shop(ShopVerb::Fail { service }) => shop::control("fail", &service),
        Verb::Shop(ShopVerb::Drain { service }) => shop::control("drain", &service),
        Verb::Shop(ShopVerb::Status) => shop::status(),
        Verb::Release { train } => {
            let binary = release::release(train)?;
            println!("{}", binary.display());
            Ok(())
        }
        Verb::Bench {
            trained,
            name,
            arguments,
        } => verify::bench(name.as_deref(), trained, &arguments),
        Verb::Screenshots => screenshots::take(),
    }
}
