//! What an operator does with the data directory: kills over it, fills its disk, checks, copies and exports from it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use highwater_shared::traces::Trace;
use highwater_tests::highwater::Highwater;
use highwater_tests::process::binary;
use serde_json::Value;

use crate::kills::{self, Kills};
use crate::requests::Requests;
use crate::sender::Sender;
use crate::stage::{send_json, span_json};

/// Every kind of value that OTLP has, an event, a link, and a state.
const RICH: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"rich"}}]},
"scopeSpans":[{"scope":{"name":"library","version":"2"},"schemaUrl":"https://opentelemetry.io/schemas/1.37.0","spans":[{
"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7","name":"r\u00e9charge",
"traceState":"vendor=1","flags":257,"kind":5,"startTimeUnixNano":"1760000000000000001","endTimeUnixNano":"1760000000000000002",
"attributes":[{"key":"text","value":{"stringValue":"a"}},{"key":"int","value":{"intValue":"-9007199254740993"}},
{"key":"double","value":{"doubleValue":0.1}},{"key":"bool","value":{"boolValue":true}},{"key":"bytes","value":{"bytesValue":"AAH/"}},
{"key":"array","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"2"}]}}},
{"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}],
"events":[{"timeUnixNano":"1760000000000000001","name":"e","attributes":[{"key":"n","value":{"intValue":"1"}}]}],
"links":[{"traceId":"0af7651916cd43dd8448eb211c80319d","spanId":"b7ad6b7169203332","attributes":[{"key":"l","value":{"stringValue":"m"}}]}],
"status":{"code":2,"message":"no"}}]}]}]}"#;
const RICH_ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn store(data: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("HIGHWATER_BIN", "highwater", "highwater")?);
    command
        .arg("store")
        .args(arguments)
        .arg("--data-dir")
        .arg(data);
    // Settings of the machine under the test must not reach the binary.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HIGHWATER_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", data).current_dir(data);
    command.output().context("cannot run highwater store")
}

fn success(output: &Output) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {printed}{errors}",
        output.status
    );
    Ok(printed)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_acknowledged_under_load_survive_kills() -> Result<()> {
    let spans = kills::run(&Kills {
        rounds: 3,
        connections: 2,
        in_flight: 4,
        longest: Duration::from_millis(400),
        seed: 3,
    })
    .await?;
    ensure!(spans > 0, "nothing was acknowledged");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_collectors_directory_is_checked_measured_and_copied() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let highwater = Highwater::start(dir.path(), &[]).await?;
    for number in 1..=20 {
        send_json(&highwater.otlp_http, &span_json("kept", number, 1)).await?;
    }
    let checked: Value =
        serde_json::from_str(&success(&store(dir.path(), &["check", "--json"])?)?)?;
    ensure!(checked["ok"] == true && checked["spans"] == 20, "{checked}");
    let stats: Value = serde_json::from_str(&success(&store(dir.path(), &["stats", "--json"])?)?)?;
    ensure!(stats["spans"] == 20, "{stats}");
    let table = success(&store(dir.path(), &["stats"])?)?;
    ensure!(
        table.contains("20 spans") && table.contains("spans-000001.db"),
        "{table}"
    );

    let copies = tempfile::tempdir()?;
    let copy = copies.path().join("copy");
    let to = copy.to_str().context("a path that is no text")?;
    success(&store(dir.path(), &["backup", to])?)?;
    let again = store(dir.path(), &["backup", to])?;
    ensure!(
        again.status.code() == Some(1),
        "a copy was written over: {again:?}"
    );
    let checked = success(&store(&copy, &["check"])?)?;
    ensure!(checked.contains("all is well"), "{checked}");
    let copied = Highwater::start(&copy, &[]).await?;
    for number in 1..=20_u128 {
        let path = format!("/api/v1/traces/{number:032x}");
        let (before, after): (Trace, Trace) =
            (highwater.get(&path).await?, copied.get(&path).await?);
        ensure!(before == after, "{before:?} {after:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_trace_sent_elsewhere_is_the_same_trace() -> Result<()> {
    let (dir, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let highwater = Highwater::start(dir.path(), &[]).await?;
    let client = reqwest::Client::new();
    let send = async |address: &str, body: String| -> Result<()> {
        let request = client
            .post(format!("{address}/v1/traces"))
            .header("content-type", "application/json");
        let answer = request.body(body).send().await?.error_for_status()?;
        let answer = answer.text().await?;
        ensure!(!answer.contains("rejectedSpans"), "{answer}");
        Ok(())
    };
    send(&highwater.otlp_http, RICH.to_owned()).await?;
    let exported = success(&store(dir.path(), &["export", "--trace", RICH_ID])?)?;
    let elsewhere = Highwater::start(other.path(), &[]).await?;
    send(&elsewhere.otlp_http, exported.clone()).await?;
    let path = format!("/api/v1/traces/{RICH_ID}");
    let (sent, came): (Value, Value) = (highwater.get(&path).await?, elsewhere.get(&path).await?);
    ensure!(sent["spans"] == came["spans"], "{sent}\n{came}");
    let again = success(&store(other.path(), &["export", "--trace", RICH_ID])?)?;
    ensure!(exported == again, "{exported}\n{again}");
    let none = store(
        dir.path(),
        &["export", "--trace", "00000000000000000000000000000001"],
    )?;
    ensure!(none.status.code() == Some(1), "{none:?}");
    Ok(())
}

/// A file system of 64 MiB, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, which is said, where the process may not mount one.
    fn mount() -> Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
            .arg(dir.path())
            .output()?;
        if mounted.status.success() {
            return Ok(Some(Self(dir)));
        }
        println!("skipped: no file system can be mounted here: {mounted:?}");
        Ok(None)
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Takes all the room there is.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let piece = vec![7; 64 << 10];
        loop {
            match ballast.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the collector may have it open still, where the test failed.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_loses_nothing_and_spans_are_taken_again_when_there_is_room()
-> Result<()> {
    let Some(disk) = SmallDisk::mount()? else {
        return Ok(());
    };
    let data = disk.0.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("highwater.toml"), "[store]\nmin_free = \"0\"\n")?;
    let settings = data.join("highwater.toml");
    let settings = settings.to_str().context("a path that is no text")?;
    let highwater = Highwater::start(&data, &["--config", settings]).await?;
    let sender = Sender::connect(&highwater.otlp_grpc).await?;
    let requests = Requests::new(kills::PER_REQUEST);
    let ready = async || -> Result<u16> {
        let url = format!("{}/readyz", highwater.dashboard);
        Ok(reqwest::get(url).await?.status().as_u16())
    };
    let mut acknowledged = Vec::new();
    for number in 0..100 {
        sender.send(requests.body(number)).await?;
        acknowledged.push(number);
    }
    ensure!(ready().await? == 200);
    for round in 1..=2_u64 {
        disk.fill()?;
        // What room the files have within them is used up first.
        let first = round * 1_000_000;
        let mut number = first;
        let held_back = loop {
            ensure!(number < first + 100_000, "the disk never was full");
            let sending = sender.send(requests.body(number));
            let Ok(sent) = tokio::time::timeout(Duration::from_secs(2), sending).await else {
                break number;
            };
            sent?;
            acknowledged.push(number);
            number += 1;
        };
        ensure!(
            ready().await? == 503,
            "a full disk, and it says it is ready"
        );
        let status: Value = highwater.get("/api/v1/status").await?;
        let told = status["ingest"]["write_error"].as_str().unwrap_or_default();
        ensure!(told.contains("full"), "{status}");
        ensure!(kills::missing(&highwater, &acknowledged).await? == 0);
        std::fs::remove_file(disk.ballast())?;
        // By itself, and without a start.
        let sent = sender.send(requests.body(held_back));
        tokio::time::timeout(Duration::from_secs(20), sent)
            .await
            .context("there is room again, and nothing is taken")??;
        acknowledged.push(held_back);
        ensure!(ready().await? == 200);
    }
    let highwater = highwater.kill_and_restart().await?;
    let missing = kills::missing(&highwater, &acknowledged).await?;
    let spans = acknowledged.len() as u64 * kills::PER_REQUEST;
    println!("disk full twice: {spans} spans acknowledged, {missing} missing");
    ensure!(missing == 0, "{missing} acknowledged spans are lost");
    Ok(())
}
