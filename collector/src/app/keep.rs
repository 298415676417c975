//! What outlives the process: checkpoints of the flow and of lag, and what is let go.

use std::io::{BufWriter, IntoInnerError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use highwater_api::{Services, Sparks};
use highwater_flow::{Config as FlowConfig, Flow, Row};
use highwater_lag::{
    Checkpoint as LagCheckpoint, CheckpointBefore, Config as LagConfig, LagEngine,
};
use highwater_model::UnixNanos;
use highwater_store::{FlowRow, SpanReader, Store, StoreError};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::{SharedLag, now};
use crate::config::Settings;

/// A checkpoint is as old as this at most; later blocks are replayed after a crash.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// How often it is seen whether a file of arrivals is full.
const CLUSTER_EVERY: Duration = Duration::from_secs(2);
/// Blocks replayed in one step.
const REPLAY_STEP: usize = 64;
/// Small charts go back this far after a restart.
const SPARKS_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Lag's memory, beside the flow's rows: the flow's own keys begin with 0 to 4.
const LAG_KEY: &[u8] = &[0xfe, b'l', b'a', b'g'];
/// The first byte of lag's memory: postcard, compressed. A hundred thousand partitions of groups are 20 MB of that, which
/// would be in memory three times while it is written, and a fifth compressed.
const LAG_FORMAT: u8 = 4;
/// Without what is held of clocks.
const LAG_FORMAT_3: u8 = 3;
/// As 3, and not compressed. Before it was JSON, which begins otherwise. 1 knew partitions with offsets only.
const LAG_FORMAT_2: u8 = 2;
/// What is compressed at once: postcard writes byte by byte.
const LAG_PIECE: usize = 64 << 10;
/// That of a large cluster is written less often, so that no more than this is written a second.
const LAG_BYTES_A_SECOND: usize = 1 << 20;
/// Rows that are no buckets stay.
const FOR_EVER: UnixNanos = UnixNanos(u64::MAX >> 1);

/// Takes the flow up where the last checkpoint left it, and replays the blocks after it.
pub(super) async fn restore_flow(
    store: &Store,
    config: FlowConfig,
    services: &Services,
) -> Result<Flow> {
    let saved = store
        .history()
        .load_flow(0)
        .await
        .context("cannot read the flow's history")?;
    let mut flow = match saved.pending {
        None => Flow::new(config),
        Some(pending) => {
            let rows = saved.rows.into_iter().filter(|row| row.key != LAG_KEY);
            let rows = rows.map(|row| Row {
                key: row.key,
                bucket: UnixNanos(row.bucket),
                value: row.value,
            });
            match Flow::restore(config.clone(), rows, &pending, saved.last_block) {
                Ok((flow, 0)) => flow,
                Ok((flow, unreadable)) => {
                    tracing::warn!(
                        unreadable,
                        "rows of the flow's history cannot be read and are left out"
                    );
                    flow
                }
                Err(error) => {
                    tracing::warn!(%error, "the flow is built anew from the stored spans");
                    Flow::new(config)
                }
            }
        }
    };
    let (mut after, mut replayed) = (flow.last_block(), 0);
    loop {
        let blocks = store
            .scan_after(after, REPLAY_STEP)
            .await
            .context("cannot replay stored spans")?;
        let Some(last) = blocks.last() else { break };
        after = last.block;
        for block in &blocks {
            replayed += block.spans.len();
            services.note(&*block.spans, block.arrived);
            flow.apply(&*block.spans, block.block, block.arrived);
        }
    }
    if replayed > 0 {
        tracing::info!(
            spans = replayed,
            "replayed what came after the last checkpoint"
        );
    }
    Ok(flow)
}

/// Lag goes on where it stopped; a memory that cannot be read is started anew.
pub(super) async fn restore_lag(store: &Store, config: LagConfig) -> Result<LagEngine> {
    let saved = store
        .history()
        .load_flow(FOR_EVER.0)
        .await
        .context("cannot read lag's history")?;
    let checkpoint = saved
        .rows
        .iter()
        .find(|row| row.key == LAG_KEY)
        .and_then(|row| {
            lag_memory(&row.value)
                .inspect_err(|error| {
                    tracing::warn!(error = %error, "lag's memory cannot be read; it begins anew");
                })
                .ok()
        });
    Ok(LagEngine::restore(config, checkpoint.unwrap_or_default()))
}

fn lag_memory(kept: &[u8]) -> Result<LagCheckpoint> {
    Ok(match kept.split_first() {
        Some((&LAG_FORMAT, memory)) => postcard::from_bytes(&zstd::decode_all(memory)?)?,
        Some((&LAG_FORMAT_3, memory)) => {
            postcard::from_bytes::<CheckpointBefore>(&zstd::decode_all(memory)?)?.into()
        }
        Some((&LAG_FORMAT_2, memory)) => postcard::from_bytes::<CheckpointBefore>(memory)?.into(),
        _ => serde_json::from_slice(kept)?,
    })
}

fn lag_row(lag: &SharedLag) -> Result<FlowRow> {
    let lag = lag.read();
    let encoded = || -> Result<Vec<u8>> {
        let compressed = zstd::Encoder::new(vec![LAG_FORMAT], 1)?;
        let pieces = BufWriter::with_capacity(LAG_PIECE, compressed);
        let pieces = postcard::to_io(lag.checkpoint(), pieces)?;
        let compressed = pieces.into_inner().map_err(IntoInnerError::into_error)?;
        Ok(compressed.finish()?)
    };
    let value = encoded().context("cannot encode lag's memory")?;
    Ok(FlowRow {
        key: LAG_KEY.to_vec(),
        bucket: FOR_EVER.0,
        value,
    })
}

/// Fills the small charts from the history of lag.
pub(super) async fn restore_sparks(
    store: &Store,
    settings: &Settings,
    sparks: &Sparks,
    now: UnixNanos,
) {
    for cluster in &settings.kafka {
        // A row that is damaged costs the small charts of this start, and not the start.
        let rows = match store
            .history()
            .lag_since(&cluster.name, now - SPARKS_BACK)
            .await
        {
            Ok(rows) => rows,
            Err(error) => {
                let cluster = cluster.name.as_str();
                tracing::error!(%error, cluster, "lag's history cannot be read: small charts begin now");
                continue;
            }
        };
        for row in rows {
            sparks.push(
                &Arc::from(&*row.cluster),
                &Arc::from(&*row.group),
                row.at,
                row.time_lag_ms,
            );
        }
    }
}

/// Writes what changed, in one transaction. What could not be written is written with the next.
pub(super) async fn checkpoint(store: &Store, flow: &RwLock<Flow>, lag: &SharedLag) -> Result<()> {
    write(store, flow, Some(lag_row(lag)?)).await
}

async fn write(store: &Store, flow: &RwLock<Flow>, lag: Option<FlowRow>) -> Result<()> {
    let taken = flow.write().take_checkpoint();
    let of_lag = usize::from(lag.is_some());
    let mut rows: Vec<FlowRow> = taken
        .rows
        .into_iter()
        .map(|row| FlowRow {
            key: row.key,
            bucket: row.bucket.0,
            value: row.value,
        })
        .chain(lag)
        .collect();
    let saved = store
        .history()
        .save_flow(&rows, &taken.pending, taken.last_block)
        .await;
    if saved.is_err() {
        rows.truncate(rows.len() - of_lag);
        flow.write().put_back(rows.into_iter().map(|row| Row {
            key: row.key,
            bucket: UnixNanos(row.bucket),
            value: row.value,
        }));
    }
    saved.context("cannot write the flow's checkpoint")
}

/// Checkpoints at once, so that what this start replayed no later one replays, and every ten seconds: a process that is
/// killed again and again within them would take longer to start each time. One that cannot be written makes a restart dearer, not wrong: the last one that was
/// stands, and the blocks after it are replayed.
pub(super) async fn checkpoints(
    store: Store,
    flow: Arc<RwLock<Flow>>,
    lag: SharedLag,
    stop: CancellationToken,
) -> Result<()> {
    let mut lag_due = Instant::now();
    loop {
        let of_lag = if Instant::now() >= lag_due {
            let row = lag_row(&lag)?;
            let rest = Duration::from_secs((row.value.len() / LAG_BYTES_A_SECOND) as u64);
            lag_due = Instant::now() + rest;
            Some(row)
        } else {
            None
        };
        if let Err(error) = write(&store, &flow, of_lag).await {
            tracing::error!(
                error = format!("{error:#}"),
                "checkpoint failed; its changes are written with the next"
            );
        }
        if pause(CHECKPOINT_EVERY, &stop).await {
            return Ok(());
        }
    }
}

/// Lets go what is older or larger than wanted.
pub(super) async fn retention(store: Store, stop: CancellationToken) -> Result<()> {
    let mut clock = Steady::new(now(), Instant::now());
    while !pause(RETAIN_EVERY, &stop).await {
        match store.retain(clock.believe(now(), Instant::now())).await {
            Ok(retired) if retired.files > 0 => {
                tracing::info!(
                    files = retired.files,
                    bytes = retired.bytes,
                    "retention removed span files"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "retention failed"),
        }
    }
    Ok(())
}

/// A wall clock that has moved on by more than this beyond the time that passed was set anew.
const LEAP: Duration = Duration::from_secs(3_600);
/// So long it must stay there to be believed.
const LEAP_LASTS: Duration = Duration::from_secs(600);

/// The wall clock, for what is deleted by it: where it is set ahead for a minute, nothing grows old meanwhile. The flow judges
/// the instants of its blocks in the same way by themselves, since a replay brings those of another day.
struct Steady {
    wall: UnixNanos,
    at: Instant,
    leapt: Option<Instant>,
}

impl Steady {
    fn new(wall: UnixNanos, at: Instant) -> Self {
        Self {
            wall,
            at,
            leapt: None,
        }
    }

    /// `wall`, or what it would be without a leap that is not believed yet. `at` never goes back.
    fn believe(&mut self, wall: UnixNanos, at: Instant) -> UnixNanos {
        let steady = self.wall + at.duration_since(self.at);
        if wall > steady + LEAP {
            let since = *self.leapt.get_or_insert(at);
            if at.duration_since(since) < LEAP_LASTS {
                return steady;
            }
        }
        *self = Self::new(wall, at);
        wall
    }
}

/// Writes spans again by trace, file by file, once the flow's checkpoint has them. Begins after the flow was
/// restored, since a replay reads them in order of arrival.
pub(super) async fn clustering(store: Store, stop: CancellationToken) -> Result<()> {
    while !pause(CLUSTER_EVERY, &stop).await {
        while !stop.is_cancelled() {
            match store.cluster_next().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(StoreError::Closing) => break,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "spans stay in order of arrival for now");
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Waits; says whether it was asked to stop.
async fn pause(duration: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(duration, stop.cancelled())
        .await
        .is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use highwater_lag::{Config, LagEngine};
    use highwater_model::UnixNanos;
    use highwater_model::broker::{
        GroupFacts, PartitionOffsets, Sample, TopicFacts, TopicPartition,
    };
    use parking_lot::RwLock;

    use super::{LAG_FORMAT_2, LAG_FORMAT_3, LagCheckpoint, Steady, lag_memory, lag_row};

    #[test]
    fn a_clock_that_is_set_ahead_is_believed_when_it_stays_there() {
        let (start, begun) = (UnixNanos(1_700_000_000_000_000_000), Instant::now());
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut clock = Steady::new(start, begun);
        let mut at = |minute: u64, ahead: Duration| {
            let wall = start + minutes(minute) + ahead;
            let believed = clock.believe(wall, begun + minutes(minute));
            Duration::from_nanos(believed.0 - start.0)
        };
        let year = minutes(365 * 24 * 60);
        assert_eq!(at(1, Duration::ZERO), minutes(1));
        assert_eq!(at(2, minutes(59)), minutes(61), "summer time");
        assert_eq!(at(3, Duration::ZERO), minutes(3), "and back");
        assert_eq!(at(4, year), minutes(4));
        assert_eq!(at(5, Duration::ZERO), minutes(5));
        for minute in 20..30 {
            assert_eq!(at(minute, year), minutes(minute));
        }
        assert_eq!(at(30, year), minutes(30) + year);
        assert_eq!(at(31, year), minutes(31) + year);
    }

    /// An engine that has seen a group twice.
    fn engine() -> LagEngine {
        let place = TopicPartition {
            topic: "orders".into(),
            partition: 3,
        };
        let mut engine = LagEngine::new(Config::default());
        for second in [0, 15] {
            let at = UnixNanos(1_700_000_000_000_000_000 + second * 1_000_000_000);
            let offsets = PartitionOffsets {
                log_start: Ok(0),
                end: Ok(100 + second as i64),
                last_stable: Ok(100),
                read_at: at,
            };
            let group = GroupFacts {
                broker_state: Ok("Stable".into()),
                kind: "classic".into(),
                members: Ok(Vec::new()),
                committed: [(place.clone(), Ok(Some(40)))].into(),
                error: None,
                read_at: at,
            };
            let topic = TopicFacts {
                partitions: 4,
                internal: false,
                retention_ms: None,
                compacted: Some(false),
                dead_letter_enabled: false,
            };
            let sample = Sample {
                cluster: "kafka".into(),
                cluster_id: None,
                started: at,
                finished: at,
                brokers: Vec::new(),
                topics: [("orders".into(), topic)].into(),
                partitions: [(place.clone(), offsets)].into(),
                groups: [("billing".into(), group)].into(),
            };
            engine.step(&sample, at);
        }
        engine
    }

    #[test]
    fn lags_memory_is_read_back_as_it_was_also_from_before_its_format_changed() {
        let engine = engine();
        let json = serde_json::to_vec(engine.checkpoint()).unwrap();
        assert_eq!(&lag_memory(&json).unwrap(), engine.checkpoint());
        // As the version before wrote it; of another cluster than this.
        let before = include_bytes!("../../lag/tests/rules/data/checkpoint-before-clocks.postcard");
        let plain = lag_memory(&[&[LAG_FORMAT_2], &before[..]].concat()).unwrap();
        let compressed = zstd::encode_all(&before[..], 1).unwrap();
        let compressed = lag_memory(&[&[LAG_FORMAT_3], &compressed[..]].concat()).unwrap();
        assert_eq!(plain, compressed);
        assert!(plain != LagCheckpoint::default());
        let shared = Arc::new(RwLock::new(engine));
        let now = lag_row(&shared).unwrap().value;
        assert_eq!(&lag_memory(&now).unwrap(), shared.read().checkpoint());
        assert!(
            now.len() * 3 < json.len(),
            "{} of {}",
            now.len(),
            json.len()
        );
    }

    #[test]
    fn what_is_no_memory_is_an_error_and_no_panic() {
        for bytes in [
            &b""[..],
            b"\x02",
            b"\x02\xff\xff\xff\xff\xff",
            b"\x03",
            b"\x03\xff\xff\xff\xff\xff",
            b"\x04",
            b"\x04\xff\xff\xff\xff\xff",
            b"{",
            // The format before.
            b"\x01\x00",
        ] {
            assert!(lag_memory(bytes).is_err(), "{bytes:?}");
        }
    }
}
