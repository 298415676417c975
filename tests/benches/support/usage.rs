//! What a process has used, as the kernel tells it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The kernel's clock ticks a second, the same on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// The longest time that what runs behind ingest may take to come to rest.
const REST: Duration = Duration::from_secs(600);
/// Without work for this long, it rests.
const QUIET: Duration = Duration::from_secs(24);
const LOOK: Duration = Duration::from_secs(2);

/// Figures of one process.
pub(crate) struct Usage {
    /// User and system time of all threads, in seconds.
    pub(crate) cpu_s: f64,
    /// Most memory that was resident at once, in KiB.
    pub(crate) peak_kib: u64,
}

impl Usage {
    /// Reads the figures of a running process.
    pub(crate) fn of(id: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name in brackets may hold spaces; fields 14 and 15 follow it.
        let (_, after) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks: u64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(Self {
            cpu_s: ticks as f64 / TICKS_A_SECOND,
            peak_kib: peak.context("no VmHWM in status")?,
        })
    }
}

/// Waits until the process has had nothing to do but its clocks for a while: what runs behind ingest begins with the
/// next checkpoint of the flow.
pub(crate) async fn rest(id: u32) -> Result<()> {
    let until = Instant::now() + REST;
    let (mut before, mut quiet) = (Usage::of(id)?.cpu_s, Duration::ZERO);
    while quiet < QUIET && Instant::now() < until {
        // The interval that CPU time is measured over.
        tokio::time::sleep(LOOK).await;
        let now = Usage::of(id)?.cpu_s;
        let busy = now - before > LOOK.as_secs_f64() * 0.05;
        quiet = if busy { Duration::ZERO } else { quiet + LOOK };
        before = now;
    }
    Ok(())
}

/// Bytes of all files in a directory.
pub(crate) fn bytes_in(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_in(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
