//! What an operator does with the data directory: kills over it, checks, copies and exports from it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use highwater_shared::traces::Trace;
use highwater_tests::highwater::Highwater;
use highwater_tests::process::binary;
use serde_json::Value;

use crate::kills::{self, Kills};
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
