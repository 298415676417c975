//! `highwater store`: looks at a data directory from outside, and says what it found to people or to programs.

mod export;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use highwater_model::UnixNanos;
use highwater_store::{BackedUp, Checked, Finding, Inspection, Usage};
use serde_json::{Value, json};

use crate::app::now;
use crate::cli::{Flags, StoreCommand, StoreFlags};
use crate::config::Settings;

/// Findings that are printed to people; programs get all.
const FINDINGS_SHOWN: usize = 50;

/// Runs one of the commands. The exit code says whether all is well.
pub(crate) fn run(command: StoreCommand) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        match command {
            StoreCommand::Check { at } => {
                let checked = open(&at, Flags::default())?.0.check().await?;
                print(&at, &check_json(&checked), &check_text(&checked))?;
                Ok(exit_code(&checked.findings))
            }
            StoreCommand::Stats {
                at,
                retention,
                retention_size,
            } => {
                let flags = Flags {
                    retention,
                    retention_size,
                    ..Flags::default()
                };
                let (inspection, settings) = open(&at, flags)?;
                let now = now();
                let usage = inspection.usage(now).await?;
                let forecast = Forecast::of(&usage, &settings, now);
                let text = stats_text(&usage, forecast.as_ref(), now);
                print(&at, &stats_json(&usage, forecast.as_ref()), &text)?;
                Ok(exit_code(&usage.findings))
            }
            StoreCommand::Export { at, trace } => {
                let (inspection, _) = open(&at, Flags::default())?;
                export::run(&inspection, &trace).await
            }
            StoreCommand::Backup { at, to } => {
                let (inspection, _) = open(&at, Flags::default())?;
                let done = inspection.back_up(&to).await?;
                let mut text = format!(
                    "{} files, {} copied to {}\n",
                    done.files,
                    ByteSize(done.bytes),
                    to.display()
                );
                text += &findings_text(&done.findings);
                print(&at, &backup_json(&done), &text)?;
                Ok(exit_code(&done.findings))
            }
        }
    })
}

fn exit_code(findings: &[Finding]) -> ExitCode {
    if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Finds the data directory as the collector would.
fn open(at: &StoreFlags, flags: Flags) -> Result<(Inspection, Settings)> {
    let settings = Settings::load(Flags {
        config: at.config.clone(),
        data_dir: at.data_dir.clone(),
        // Nothing listens here, so an address that is open to others is nobody's danger.
        allow_anonymous: true,
        ..flags
    })?;
    Ok((Inspection::new(&settings.data_dir)?, settings))
}

fn print(at: &StoreFlags, value: &Value, text: &str) -> Result<()> {
    if at.json {
        write_out(&format!("{value:#}\n"))
    } else {
        write_out(text)
    }
}

/// A reader that had enough is no failure.
fn write_out(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the answer"),
    }
}

fn check_json(checked: &Checked) -> Value {
    json!({
        "ok": checked.findings.is_empty(),
        "files": checked.files,
        "bytes": checked.bytes,
        "blocks": checked.blocks,
        "spans": checked.spans,
        "segments": checked.segments,
        "segments_skipped": checked.segments_skipped,
        "findings": findings_json(&checked.findings),
    })
}

fn check_text(checked: &Checked) -> String {
    let mut text = format!(
        "{} files, {}: {} blocks with {} spans read, the index of {} segments compared\n",
        checked.files,
        ByteSize(checked.bytes),
        checked.blocks,
        checked.spans,
        checked.segments
    );
    if checked.segments_skipped > 0 {
        let skipped = checked.segments_skipped;
        text += &format!("{skipped} segments not compared, since a block of theirs is damaged\n");
    }
    text += &findings_text(&checked.findings);
    if checked.findings.is_empty() {
        text += "all is well\n";
    }
    text
}

fn findings_json(findings: &[Finding]) -> Value {
    let findings = findings.iter().map(
        |finding| json!({ "file": finding.file, "block": finding.block, "what": finding.what }),
    );
    findings.collect()
}

fn findings_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings.iter().take(FINDINGS_SHOWN) {
        let block = finding
            .block
            .map_or_else(String::new, |block| format!(" block {block}"));
        text += &format!("damaged  {}{block}: {}\n", finding.file, finding.what);
    }
    if findings.len() > FINDINGS_SHOWN {
        let more = findings.len() - FINDINGS_SHOWN;
        text += &format!("and {more} more; --json prints all\n");
    }
    text
}

/// When retention begins to remove, should spans keep coming as on the last day.
struct Forecast {
    bytes_a_day: f64,
    /// What the spans of a whole retention take.
    bytes_at_retention: f64,
    /// Until the size limit, where that comes before the age limit.
    full_in: Option<Duration>,
    /// Until the disk has no room, where that comes first of all.
    disk_full_in: Option<Duration>,
}

impl Forecast {
    fn of(usage: &Usage, settings: &Settings, now: UnixNanos) -> Option<Self> {
        let bytes_a_day = usage.bytes_a_day(now)?;
        let days = settings.retention.0.as_secs_f64() / 86_400.0;
        let bytes_at_retention = bytes_a_day * days;
        let until = |bytes: f64| Duration::try_from_secs_f64(bytes / bytes_a_day * 86_400.0).ok();
        let limit = settings.retention_size.0 as f64;
        let left = (limit - usage.span_bytes as f64).max(0.0);
        let free = usage.free_bytes.map(|free| free as f64);
        let grows_to = bytes_at_retention.min(limit) - usage.span_bytes as f64;
        Some(Self {
            bytes_a_day,
            bytes_at_retention,
            full_in: (bytes_at_retention > limit).then(|| until(left)).flatten(),
            disk_full_in: free.filter(|free| *free < grows_to).and_then(until),
        })
    }
}

fn stats_json(usage: &Usage, forecast: Option<&Forecast>) -> Value {
    let files = usage.files.iter().map(|file| {
        let spans = file.spans.map(|spans| {
            json!({
                "by_trace": spans.by_trace,
                "spans": spans.spans,
                "blocks": spans.blocks,
                "oldest": spans.oldest.map(instant),
                "newest": spans.newest.map(instant),
            })
        });
        json!({ "file": file.file, "bytes": file.bytes, "holds": spans })
    });
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
    json!({
        "bytes": usage.bytes,
        "span_bytes": usage.span_bytes,
        "spans": usage.spans,
        "blocks": usage.blocks,
        "bytes_a_span": usage.bytes_a_span(),
        "oldest": usage.oldest.map(instant),
        "newest": usage.newest.map(instant),
        "spans_last_day": usage.day_spans,
        "free_bytes": usage.free_bytes,
        "forecast": forecast.map(|forecast| json!({
            "bytes_a_day": forecast.bytes_a_day.round(),
            "bytes_at_retention": forecast.bytes_at_retention.round(),
            "size_limit_in_s": seconds(forecast.full_in),
            "disk_full_in_s": seconds(forecast.disk_full_in),
        })),
        "files": files.collect::<Vec<_>>(),
        "findings": findings_json(&usage.findings),
    })
}

fn stats_text(usage: &Usage, forecast: Option<&Forecast>, now: UnixNanos) -> String {
    let mut rows =
        vec![["file", "size", "spans", "blocks", "oldest", "newest", ""].map(str::to_owned)];
    for file in &usage.files {
        let cells = file.spans.map_or_else(Default::default, |spans| {
            [
                spans.spans.to_string(),
                spans.blocks.to_string(),
                spans.oldest.map_or_else(String::new, instant),
                spans.newest.map_or_else(String::new, instant),
                if spans.by_trace { "by trace" } else { "" }.to_owned(),
            ]
        });
        let [spans, blocks, oldest, newest, order] = cells;
        let size = ByteSize(file.bytes).to_string();
        rows.push([
            file.file.clone(),
            size,
            spans,
            blocks,
            oldest,
            newest,
            order,
        ]);
    }
    let mut text = table(&rows);
    text += &format!("\n{} spans, {}", usage.spans, ByteSize(usage.bytes));
    if let Some(bytes) = usage.bytes_a_span() {
        text += &format!(", {bytes:.0} bytes a span");
    }
    text += "\n";
    text += &findings_text(&usage.findings);
    if let Some(free) = usage.free_bytes {
        text += &format!("{} free on the disk\n", ByteSize(free));
    }
    match forecast {
        None => text += "no forecast: it needs an hour of spans, and some in the last day\n",
        Some(forecast) => {
            let per_day = ByteSize(forecast.bytes_a_day as u64);
            let whole = ByteSize(forecast.bytes_at_retention as u64);
            text +=
                &format!("{per_day} a day as of the last day, {whole} when retention is reached\n");
            if let Some(until) = forecast.full_in {
                text += &format!(
                    "the size limit comes before the age limit: {}\n",
                    when(until, now)
                );
            }
            if let Some(until) = forecast.disk_full_in {
                text += &format!("the disk is full before: {}\n", when(until, now));
            }
        }
    }
    text
}

/// Columns as wide as their widest cell; numbers to the right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if (1..4).contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn backup_json(done: &BackedUp) -> Value {
    json!({
        "files": done.files,
        "bytes": done.bytes,
        "flow_block": done.last_block,
        "findings": findings_json(&done.findings),
    })
}

fn instant(at: UnixNanos) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_nanos(at.0);
    humantime::format_rfc3339_seconds(at).to_string()
}

fn when(until: Duration, now: UnixNanos) -> String {
    let at = UnixNanos(
        now.0
            .saturating_add(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX)),
    );
    if until < Duration::from_secs(60) {
        return "now".to_owned();
    }
    let whole = Duration::from_secs(until.as_secs() / 60 * 60);
    format!("in {}, {}", humantime::format_duration(whole), instant(at))
}
