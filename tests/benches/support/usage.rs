//! What a process has used, as the kernel tells it.

use anyhow::{Context, Result};

/// The kernel's clock ticks a second, the same on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

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
