//! `cargo xtask shop`: the workload, and what to do to it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::step::{cargo, run, step, target};
use crate::{broker, demo};

/// Where the running shop writes the address of its control port.
pub(crate) fn control_file() -> PathBuf {
    target("demo/shop-control")
}

/// Runs the shop in the foreground against the Kafka that runs here.
pub(crate) fn start(arguments: &[String]) -> Result<()> {
    step("build the shop", || {
        run(&mut cargo([
            "build",
            "--quiet",
            "--package",
            "highwater-shop",
        ]))
    })?;
    let mut command = Command::new(demo::binary("shop"));
    if !arguments
        .iter()
        .any(|argument| argument.starts_with("--kafka"))
    {
        let kafka =
            broker::running().context("no Kafka is running here: cargo xtask kafka start")?;
        command.args(["--kafka", &kafka]);
    }
    fs::create_dir_all(target("demo"))?;
    command
        .arg("--control-file")
        .arg(control_file())
        .args(arguments);
    run(&mut command)
}

/// Tells the running shop to do `action` to `service`.
pub(crate) fn control(action: &str, service: &str) -> Result<()> {
    println!(
        "{}",
        ask(|address| http::post(address, &format!("/{action}/{service}")))?
    );
    Ok(())
}

/// Prints what the running shop says about itself.
pub(crate) fn status() -> Result<()> {
    println!("{}", ask(|address| http::get(address, "/status"))?);
    Ok(())
}

fn ask(question: impl FnOnce(std::net::SocketAddr) -> Result<String>) -> Result<String> {
    let file = control_file();
    let Ok(text) = fs::read_to_string(&file) else {
        bail!("no shop is running here: cargo xtask demo, or cargo xtask shop start");
    };
    question(http::address(&text)?)
}
