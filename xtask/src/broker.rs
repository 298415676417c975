//! `cargo xtask kafka`: a broker that stays, and Apache Kafka's own tools.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::kafka::{self, Kafka, tools};
use crate::setup;
use crate::step::{output, step, target};

/// Starts a broker that stays after this command; says where it is when it runs already.
pub(crate) fn start(port: u16) -> Result<()> {
    if let Some((pid, bootstrap)) = standing() {
        println!("Kafka {bootstrap} (process {pid})");
        return Ok(());
    }
    setup::kafka_jars()?;
    let kafka = step("start Apache Kafka", || {
        Ok(Kafka::start_in(
            &kafka::home().join("standing"),
            Some(port),
        )?)
    })?;
    let bootstrap = kafka.bootstrap();
    let pid = kafka.leave_running().context("Kafka ended at once")?;
    fs::write(target("kafka/running"), format!("{pid} {bootstrap}"))?;
    println!("Kafka {bootstrap} (process {pid})");
    Ok(())
}

/// Stops the broker that `start` left; its data stays.
pub(crate) fn stop() -> Result<()> {
    let Some((pid, bootstrap)) = standing() else {
        println!("no Kafka of `cargo xtask kafka start` is running");
        return Ok(());
    };
    step(&format!("stop Kafka {bootstrap}"), || {
        signal("TERM", &pid)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while standing().is_some() {
            if Instant::now() > deadline {
                signal("KILL", &pid)?;
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(fs::remove_file(target("kafka/running"))?)
    })
}

/// Runs one of Apache Kafka's own tools, by a short name or its class, against the broker that runs.
pub(crate) fn tool(name: &str, arguments: &[String], bootstrap: Option<&str>) -> Result<()> {
    let class = match name {
        "topics" => tools::TOPICS,
        "groups" => tools::GROUPS,
        "offsets" => tools::OFFSETS,
        "producer" => tools::PRODUCER,
        "consumer" => tools::CONSUMER,
        class if class.contains('.') => class,
        other => bail!(
            "{other:?} is neither topics, groups, offsets, producer, consumer nor the class of a tool"
        ),
    };
    let bootstrap = bootstrap.map(str::to_owned).or_else(running).context(
        "no Kafka is running here: cargo xtask kafka start, or cargo xtask demo, or name one with --kafka HOST:PORT",
    )?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    print!("{}", kafka::tool(&bootstrap, class, &arguments)?);
    Ok(())
}

/// Returns the address of the broker that runs here: the standing one, else the demo's.
pub(crate) fn running() -> Option<String> {
    let demo = || {
        let bootstrap = fs::read_to_string(target("demo/kafka-address")).ok()?;
        let port = bootstrap.rsplit(':').next()?.parse().ok()?;
        kafka::answers(port).then_some(bootstrap)
    };
    standing().map(|(_, bootstrap)| bootstrap).or_else(demo)
}

/// Returns process id and address of the broker that `start` left, if it still runs.
fn standing() -> Option<(String, String)> {
    let text = fs::read_to_string(target("kafka/running")).ok()?;
    let (pid, bootstrap) = text.split_once(' ')?;
    // A process id is used again after a while: it must still be that broker.
    let command = output(Command::new("ps").args(["-o", "args=", "-p", pid])).ok()?;
    let is_ours = command.contains("kafka.Kafka") && command.contains("kafka/standing");
    is_ours.then(|| (pid.to_owned(), bootstrap.to_owned()))
}

fn signal(name: &str, pid: &str) -> Result<()> {
    output(Command::new("kill").args(["-s", name, pid])).map(drop)
}
