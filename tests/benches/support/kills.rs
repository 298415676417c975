//! Kills the binary under load and looks for what it acknowledged: the bench's long form and the tests' short one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use highwater_tests::highwater::Highwater;
use tokio::task::JoinSet;

use crate::requests::{Requests, SPANS_A_TRACE, span_id, trace_id};
use crate::sender::Sender;

/// Spans a request: few, so that many commits are under way.
pub(crate) const PER_REQUEST: u64 = 20;
/// Earlier requests looked at again each round.
const SAMPLE: usize = 20;

/// Of all that were ever acknowledged, so many requests are looked at again at the end: by then most were clustered.
const LOOKED_AT_LAST: usize = 5_000;
/// Every so many lives one may last [`LONGER`] times as long: what is full is clustered from the third second of a life on.
const LONG_LIVES: u64 = 10;
const LONGER: u64 = 4;

/// Traces asked for at once.
const READS: usize = 4;

/// How it is killed.
pub(crate) struct Kills {
    /// How often.
    pub(crate) rounds: u64,
    /// Connections that send.
    pub(crate) connections: usize,
    /// Requests under way on each.
    pub(crate) in_flight: usize,
    /// The longest time between a start and its kill; every tenth may be four times as long.
    pub(crate) longest: Duration,
    /// Of the random moments.
    pub(crate) seed: u64,
}

/// Sends, kills and looks; gives how many spans were acknowledged. Fails when one of them is gone.
pub(crate) async fn run(kills: &Kills) -> Result<u64> {
    let data = tempfile::tempdir()?;
    let requests = Arc::new(Requests::new(PER_REQUEST));
    let next = Arc::new(AtomicU64::new(0));
    let mut highwater = Highwater::start(data.path(), &[]).await?;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let (mut before, mut lost, mut looked_at) = (0, 0_u64, 0_u64);
    let mut random = kills.seed;
    for round in 1..=kills.rounds {
        // Knuth's: the moments only have to differ, and to come again with the seed.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let longest = u64::try_from(kills.longest.as_millis()).unwrap_or(u64::MAX);
        let longest = match round % LONG_LIVES {
            0 => longest.saturating_mul(LONGER),
            _ => longest,
        };
        let life = Duration::from_millis((random >> 33) % longest.max(1));
        let mut senders = JoinSet::new();
        for _ in 0..kills.connections {
            let sender = Sender::connect(&highwater.otlp_grpc).await?;
            for _ in 0..kills.in_flight {
                let (sender, requests) = (sender.clone(), Arc::clone(&requests));
                let (next, acknowledged) = (Arc::clone(&next), Arc::clone(&acknowledged));
                senders.spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        // A failure says nothing about whether it was stored: it is not counted.
                        if sender.send(requests.body(number)).await.is_ok() {
                            lock(&acknowledged).push(number);
                        }
                    }
                });
            }
        }
        // The random moment: how long this life lasts.
        tokio::time::sleep(life).await;
        let killed = Instant::now();
        highwater = highwater.kill_and_restart().await?;
        let back = killed.elapsed();
        // What the new process has acknowledged meanwhile counts as well.
        senders.shutdown().await;
        let all = lock(&acknowledged).clone();
        let step = (before / SAMPLE).max(1);
        let earlier = all[..before]
            .iter()
            .skip(round as usize % step)
            .step_by(step);
        let wanted: Vec<u64> = all[before..].iter().chain(earlier).copied().collect();
        let missing = missing(&highwater, &wanted).await?;
        looked_at += wanted.len() as u64 * PER_REQUEST;
        lost += missing;
        println!(
            "round {round}: killed after {life:.0?}, back in {back:.0?}, {} spans acknowledged, {missing} missing",
            (all.len() - before) as u64 * PER_REQUEST
        );
        before = all.len();
    }
    let all = lock(&acknowledged).clone();
    let step = all.len().div_ceil(LOOKED_AT_LAST).max(1);
    let last: Vec<u64> = all.into_iter().step_by(step).collect();
    println!("a last look at {} requests out of all", last.len());
    looked_at += last.len() as u64 * PER_REQUEST;
    lost += missing(&highwater, &last).await?;
    let (code, output) = highwater.interrupt().await?;
    ensure!(code == Some(0), "{code:?}: {}", output.join("\n"));
    let spans = before as u64 * PER_REQUEST;
    println!(
        "{} kills, {spans} spans acknowledged, {looked_at} looked at: acknowledged - recovered = {lost}",
        kills.rounds
    );
    ensure!(lost == 0, "{lost} acknowledged spans are lost");
    Ok(spans)
}

fn lock(acknowledged: &Mutex<Vec<u64>>) -> std::sync::MutexGuard<'_, Vec<u64>> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many spans of these requests the API does not give. Request N has span N % 5 of its round's traces.
pub(crate) async fn missing(highwater: &Highwater, wanted: &[u64]) -> Result<u64> {
    let mut traces: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in wanted {
        let (round, role) = (number / SPANS_A_TRACE, number % SPANS_A_TRACE);
        for nth in 0..PER_REQUEST {
            let roles = traces.entry(round * PER_REQUEST + nth).or_default();
            roles.push(role);
        }
    }
    futures::stream::iter(traces)
        .map(|(trace, roles)| missing_of(highwater, trace, roles))
        .buffer_unordered(READS)
        .try_fold(0, async |sum, missing| Ok(sum + missing))
        .await
}

async fn missing_of(highwater: &Highwater, trace: u64, roles: Vec<u64>) -> Result<u64> {
    let id = hex(&trace_id(trace));
    let answer = highwater.get(&format!("/api/v1/traces/{id}")).await;
    let body: serde_json::Value = match answer {
        Ok(body) => body,
        // Not one of its spans is there.
        Err(error) if error.to_string().contains("404") => return Ok(roles.len() as u64),
        Err(error) => return Err(error),
    };
    let spans = body["spans"].as_array().context("a trace without spans")?;
    let is_stored = |role: &u64| {
        let span = hex(&span_id(trace, *role));
        spans.iter().any(|stored| stored["span_id"] == *span)
    };
    Ok(roles.iter().filter(|role| !is_stored(role)).count() as u64)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
