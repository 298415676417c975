//! Spans from outside: what a stranger's tools send shows up.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use highwater_shared::problem::Problem;
use highwater_shared::topology::Topology;
use highwater_shared::traces::{Trace, Traces};
use highwater_tests::highwater::Highwater;
use highwater_tests::process::{binary, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::stage::{send_json, span_json};

const SOON: Duration = Duration::from_secs(10);

/// Runs a command to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_json_example_sent_with_curl_shows_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let highwater = Highwater::start(dir.path(), &[]).await?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/data/otlp-example.json");
    let answer = run(Command::new("curl").args([
        "--silent",
        "--show-error",
        "--fail-with-body",
        "-H",
        "Content-Type: application/json",
        "--data",
        &format!("@{}", example.display()),
        &format!("{}/v1/traces", highwater.otlp_http),
    ]))?;
    ensure!(!answer.contains("rejectedSpans"), "{answer}");

    let id = "5b8efff798038103d269b633813fc60c";
    let trace: Trace = highwater.get(&format!("/api/v1/traces/{id}")).await?;
    ensure!(
        trace.spans.len() == 1 && trace.spans[0].service == "my.service",
        "{trace:?}"
    );
    ensure!(trace.spans[0].missing_parent, "its parent was never sent");
    // Dated 2018: found by an absolute range, and by nothing relative to now.
    let found: Traces = highwater
        .get("/api/v1/traces?from=2018-12-13T00:00:00Z&to=2018-12-14T00:00:00Z")
        .await?;
    ensure!(found.traces.iter().any(|t| t.trace_id == id), "{found:?}");
    let recent: Traces = highwater.get("/api/v1/traces").await?;
    ensure!(recent.traces.is_empty(), "{recent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_python_sdk_draws_its_edge() -> Result<()> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
    let python = venv.join("bin/python");
    if !venv.join("ready").is_file() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "opentelemetry-sdk",
            "opentelemetry-exporter-otlp-proto-http",
        ]))?;
        std::fs::write(venv.join("ready"), "")?;
    }
    let dir = tempfile::tempdir()?;
    let highwater = Highwater::start(dir.path(), &[]).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/data/python_sdk.py");
    let printed = run(Command::new(&python)
        .arg(script)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &highwater.otlp_http))?;

    let trace: Trace = highwater
        .get(&format!("/api/v1/traces/{}", printed.trim()))
        .await?;
    ensure!(trace.spans.len() == 2, "{trace:?}");
    ensure!(
        trace.hops.len() == 1 && trace.hops[0].group.as_deref() == Some("python-group"),
        "{trace:?}"
    );
    eventually("the edges of the Python services", SOON, || async {
        let topology: Topology = highwater.get("/api/v1/topology").await?;
        for edge in ["service:python-producer>", ">service:python-consumer", ">group:unknown/python-group"] {
            ensure!(
                topology.edges.iter().any(|e| format!("{}>{}", e.from, e.to).contains(edge) && e.messages == Some(1)),
                "no {edge} in {:?}",
                topology.edges
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_span_is_found_after_kill_9_and_a_resend_is_stored_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut highwater = Highwater::start(dir.path(), &[]).await?;
    let mut sent = Vec::new();
    for number in 1..=50 {
        let body = span_json("killed", 0xabc0_0000 + number, 1);
        send_json(&highwater.otlp_http, &body).await?;
        sent.push(body);
        if number % 10 == 0 {
            highwater = highwater.kill_and_restart().await?;
        }
    }
    for body in &sent {
        send_json(&highwater.otlp_http, body).await?;
    }
    for number in 1..=50 {
        let path = format!("/api/v1/traces/{:032x}", 0xabc0_0000_u128 + number);
        let trace: Trace = highwater.get(&path).await?;
        ensure!(
            trace.spans.len() == 1,
            "span {number}: {} copies",
            trace.spans.len()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problem_documents_and_foreign_hosts_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let highwater = Highwater::start(dir.path(), &[]).await?;
    let client = reqwest::Client::new();
    for (path, status, word) in [
        (
            "/api/v1/traces/00000000000000000000000000000001",
            404,
            "trace",
        ),
        ("/api/v1/traces/xyz", 400, "xyz"),
        ("/api/v1/topology?from=yesterday", 400, "yesterday"),
        ("/api/v1/traces?q=service%20%3D", 400, "service"),
        ("/api/v1/nothing", 404, "nothing"),
    ] {
        let response = client
            .get(format!("{}{path}", highwater.dashboard))
            .send()
            .await?;
        ensure!(response.status() == status, "{path}: {}", response.status());
        let kind = response.headers()["content-type"].to_str()?.to_owned();
        ensure!(kind == "application/problem+json", "{path}: {kind}");
        let problem: Problem = response.json().await?;
        ensure!(
            problem.status == status && problem.detail.contains(word),
            "{path}: {problem:?}"
        );
    }
    for (header, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let url = format!("{}/api/v1/status", highwater.dashboard);
        let response = client.get(&url).header(header, value).send().await?;
        ensure!(response.status() == 403, "{header}: {}", response.status());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_drains_and_says_what_it_did() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let highwater = Highwater::start(dir.path(), &[]).await?;
    let (code, output) = highwater.interrupt().await?;
    ensure!(code == Some(0), "{code:?}: {output:?}");
    ensure!(
        output.iter().any(|line| line.contains("drained")),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("--otlp-grpc={}", taken.local_addr()?);
    let dir = tempfile::tempdir()?;
    let error = Highwater::start(dir.path(), &[&address])
        .await
        .unwrap_err()
        .to_string();
    ensure!(
        error.contains(&taken.local_addr()?.to_string()) && error.contains("otlp-grpc"),
        "{error}"
    );
    Ok(())
}

/// A script that runs the binary with a limit on open files, as a shell sets it.
fn with_limit(dir: &Path, ulimit: &str) -> Result<PathBuf> {
    let binary = binary("HIGHWATER_BIN", "highwater", "highwater")?;
    let script = dir.join("limited");
    let text = format!("#!/bin/sh\n{ulimit} && exec {binary:?} \"$@\"\n");
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// Connections that never ask for anything, beside which a span is taken and found.
async fn is_served_beside_idle_connections(ulimit: &str) -> Result<Vec<String>> {
    const IDLE: usize = 1_500;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("this test needs 2,000 open files")?;
    let dir = tempfile::tempdir()?;
    let highwater =
        Highwater::start_binary(&with_limit(dir.path(), ulimit)?, dir.path(), &[]).await?;
    let mut idle = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        // Half of them where pages are served.
        let port = [&highwater.otlp_http, &highwater.dashboard][n % 2];
        let connected = tokio::net::TcpStream::connect(port.trim_start_matches("http://")).await;
        idle.push(connected.with_context(|| format!("cannot open connection {n}"))?);
    }
    send_json(&highwater.otlp_http, &span_json("beside", 7, 7)).await?;
    let trace: Trace = highwater.get(&format!("/api/v1/traces/{:032x}", 7)).await?;
    ensure!(trace.spans.len() == 1, "{trace:?}");
    drop(idle);
    let (_, output) = highwater.interrupt().await?;
    ensure!(
        !output
            .iter()
            .any(|line| line.contains("Too many open files")),
        "{output:#?}"
    );
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_limit_of_a_thousand_open_files_is_raised() -> Result<()> {
    let output = is_served_beside_idle_connections("ulimit -Sn 1024").await?;
    let limit = getrlimit(Resource::Nofile);
    // The hard limit may be small on this machine too.
    if limit.maximum.is_none_or(|files| files >= 2 * 4_096 + 2_048) {
        ensure!(
            !output.iter().any(|line| line.contains("few files")),
            "{output:#?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_hard_limit_of_a_thousand_open_files_connections_leave_some_to_the_store()
-> Result<()> {
    let output = is_served_beside_idle_connections("ulimit -n 1024").await?;
    ensure!(
        // The figures stand between colours.
        output
            .iter()
            .any(|line| line.contains("few files may be open") && line.contains("1024")),
        "{output:#?}"
    );
    Ok(())
}
