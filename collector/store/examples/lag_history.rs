//! Appends polls of many groups and reads them back: what lag history costs in time and on disk.
//!
//! `cargo run --release -p highwater-store --example lag_history -- [GROUPS, 200] [PARTITIONS, 100] [POLLS, 240]`.
//! Each group reads one topic of its own; every offset moves between polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_model::UnixNanos;
use highwater_store::{LagRow, Options, Store};

const BEGIN: UnixNanos = UnixNanos(1_773_716_400_000_000_000);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u32>());
    let groups = args.next().transpose()?.unwrap_or(200);
    let partitions = args.next().transpose()?.unwrap_or(100);
    let polls = args.next().transpose()?.unwrap_or(240);
    let dir = std::env::temp_dir().join(format!("highwater-lag-history-{}", std::process::id()));
    let store = Store::open(&dir, Options::default(), BEGIN).await?;
    let history = store.history();
    let cluster: Arc<str> = "kafka".into();
    let names: Vec<(Arc<str>, Arc<str>)> = (0..groups)
        .map(|n| (format!("group-{n}").into(), format!("topic-{n}").into()))
        .collect();
    let mut times = Vec::new();
    for poll in 0..polls {
        let mut rows = Vec::new();
        for (n, (group, topic)) in (0..).zip(&names) {
            for partition in 0..partitions {
                let end = i64::from(poll * (17 + partition % 13) + n * 1_000_003) + 1_000_000;
                rows.push(LagRow {
                    cluster: Arc::clone(&cluster),
                    group: Arc::clone(group),
                    topic: Arc::clone(topic),
                    partition: partition as i32,
                    at: BEGIN + Duration::from_secs(u64::from(poll) * 15),
                    committed: Some(end - i64::from(poll % 300)),
                    end: Some(end),
                    log_start: Some(end - 900_000),
                    time_lag_ms: Some(u64::from(poll % 300) * 16),
                    state: 0,
                });
            }
        }
        let started = Instant::now();
        history.append_lag(rows).await?;
        times.push(started.elapsed());
    }
    let rows = u64::from(groups * partitions * polls);
    times.sort();
    println!(
        "{rows} rows in {polls} polls of {} each",
        rows / u64::from(polls)
    );
    println!(
        "  append of a poll: p50 {:.1?}, worst {:.1?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let started = Instant::now();
    let end = BEGIN + Duration::from_secs(86_400);
    let read = history
        .lag_rows("kafka", "group-7", BEGIN, end, None)
        .await?;
    println!(
        "  one group, every poll: {} rows in {:.1?}",
        read.len(),
        started.elapsed()
    );
    let started = Instant::now();
    let from = BEGIN + Duration::from_secs(u64::from(polls.saturating_sub(20)) * 15);
    let read = history.lag_since("kafka", from).await?;
    println!(
        "  all groups, last 20 polls: {} rows in {:.1?}",
        read.len(),
        started.elapsed()
    );
    store.close().await;
    let bytes = std::fs::metadata(dir.join("history.db"))?.len();
    println!("  {:.1} bytes a row on disk", bytes as f64 / rows as f64);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
