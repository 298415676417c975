//! A process and a directory that have come to rest.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::usage::Usage;

/// The longest time that what runs behind ingest may take to come to rest.
const REST: Duration = Duration::from_secs(600);
/// Without work for this long, it rests.
const QUIET: Duration = Duration::from_secs(24);
const LOOK: Duration = Duration::from_secs(2);

/// Waits until the process has had nothing to do but its clocks for a while: what runs behind ingest begins with the
/// next checkpoint of the flow.
pub(crate) async fn rest(id: u32) -> Result<()> {
    let until = Instant::now() + REST;
    let (mut before, mut quiet) = (Usage::of(id)?.cpu_s, Duration::ZERO);
    while quiet < QUIET && Instant::now() < until {
        // The interval that CPU time is measured over: its length is the measurement.
        tokio::time::sleep(LOOK).await;
        let now = Usage::of(id)?.cpu_s;
        let busy = now - before > LOOK.as_secs_f64() * 0.05;
        quiet = if busy { Duration::ZERO } else { quiet + LOOK };
        before = now;
    }
    ensure!(quiet >= QUIET, "it has not come to rest within {REST:?}");
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
