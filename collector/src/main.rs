//! `highwater`: see where your events flow, and where they back up.
//!
//! This crate names every room; no other does. `cli` and `config` read what is asked for, `app` builds the rooms, runs
//! them and drains them.

mod app;
mod cli;
mod config;
mod logging;
mod store_command;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Flags};
use config::Settings;

/// At full rate it holds the least: spans are made by one thread and freed by another, and what is freed must go back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => serve(cli.flags),
        Some(Command::Serve(flags)) => serve(*flags),
        Some(Command::Config(flags)) => print_config(*flags),
        Some(Command::Store(command)) => store_command::run(command),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "highwater",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("highwater: {error:#}");
        // Settings that do not fit are a matter of usage, all else is a failure.
        if error.is::<config::ConfigError>() {
            ExitCode::from(2)
        } else {
            ExitCode::FAILURE
        }
    })
}

fn serve(flags: Flags) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(flags)?;
    logging::start(&settings.log, settings.log_format)?;
    app::run(settings)?;
    Ok(ExitCode::SUCCESS)
}

fn print_config(flags: Flags) -> anyhow::Result<ExitCode> {
    print!("{}", Settings::load(flags)?.shown()?);
    Ok(ExitCode::SUCCESS)
}
