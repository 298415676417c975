//! What a fresh machine lacks: installed where that is possible, else named with the one command that does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use crate::fetched;
use crate::kafka;
use crate::step::{is_there, output, run, step};

/// Makes sure that Rust can compile to WebAssembly.
pub(crate) fn wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let library =
        output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    let is_there = Path::new(library.trim())
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    if is_there {
        return Ok(());
    }
    step("add the Rust target wasm32-unknown-unknown", || {
        run(Command::new("rustup").args(["target", "add", TARGET])).map_err(|error| {
            anyhow!("{error:#}; the command that adds it: rustup target add {TARGET}")
        })
    })
}

/// Makes sure that the tool which reads the profiles of this compiler's binaries is here; gives its path.
pub(crate) fn profile_tool() -> Result<PathBuf> {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let tool = Path::new(libraries.trim())
        .with_file_name("bin")
        .join("llvm-profdata");
    if !tool.is_file() {
        const COMPONENT: &str = "llvm-tools";
        step("add the Rust component llvm-tools", || {
            run(Command::new("rustup").args(["component", "add", COMPONENT])).map_err(|error| {
                anyhow!("{error:#}; the command that adds it: rustup component add {COMPONENT}")
            })
        })?;
    }
    Ok(tool)
}

/// Makes sure that Java and Kafka's jars are here.
pub(crate) fn kafka_jars() -> Result<()> {
    if !is_there("java", "-version") || !is_there("mvn", "-version") {
        debian(
            "install Java and Maven",
            &["openjdk-17-jre-headless", "maven"],
        )?;
    }
    if kafka::home()
        .join("libs")
        .join(kafka::KAFKA_VERSION)
        .is_dir()
    {
        return Ok(());
    }
    step("bring Apache Kafka's jars from Maven Central", || {
        Ok(kafka::jars().map(drop)?)
    })
}

/// Makes sure that a browser and its driver are here.
pub(crate) fn browser() -> Result<()> {
    if is_there("chromium", "--version") && is_there("chromedriver", "--version") {
        return Ok(());
    }
    debian(
        "install Chromium and its driver",
        &["chromium", "chromium-driver"],
    )
}

/// Makes sure that the servers which alerts are delivered to in tests are here.
pub(crate) fn alert_receivers() -> Result<()> {
    step(
        "bring Alertmanager from Debian and an SMTP server from PyPI",
        || {
            fetched::alertmanager()?;
            fetched::smtp_python()?;
            Ok(())
        },
    )
}

fn debian(what: &str, packages: &[&str]) -> Result<()> {
    let command = format!("apt-get install -y {}", packages.join(" "));
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root || !is_there("apt-get", "--version") {
        bail!("cannot {what} here; on Debian, as root: {command}");
    }
    step(what, || {
        let mut install = Command::new("apt-get");
        install
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        // A new machine may have an old list of packages, or none.
        run(Command::new("apt-get").args(["update", "-qq"]))
            .and_then(|()| run(&mut install))
            .map_err(|error| anyhow!("{error:#}; the command that installs them: {command}"))
    })
}
