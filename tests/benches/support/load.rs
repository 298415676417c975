//! Requests sent as fast as they are acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use highwater_tests::highwater::Highwater;
use tokio::task::JoinSet;

use super::requests::{Requests, SPANS_A_TRACE};
use super::sender::Sender;

/// How it is sent.
#[derive(Args, Clone, Copy)]
pub(crate) struct Shape {
    /// Connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Spans a request
    #[arg(long, default_value_t = 512)]
    pub(crate) per_request: u64,
}

/// What was sent so far, shared with whoever reads meanwhile.
#[derive(Clone)]
pub(crate) struct Load {
    requests: Arc<Requests>,
    shape: Shape,
    next: Arc<AtomicU64>,
    pace: Option<Pace>,
}

/// No request is sent before its time: one each `each`, since `begun` and from the number `first` on.
#[derive(Clone, Copy)]
struct Pace {
    begun: Instant,
    first: u64,
    each: Duration,
}

impl Pace {
    /// Waiting is what a pace is.
    async fn wait_for(self, number: u64) {
        let turn = u32::try_from(number.saturating_sub(self.first)).unwrap_or(u32::MAX);
        tokio::time::sleep_until((self.begun + self.each * turn).into()).await;
    }
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) acks: Vec<Duration>,
    pub(crate) raw_bytes: u64,
    pub(crate) retried: u64,
}

impl Load {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            requests: Arc::new(Requests::new(shape.per_request)),
            shape,
            next: Arc::default(),
            pace: None,
        }
    }

    /// The same load, from now on at so many spans a second and no more.
    pub(crate) fn at(&self, spans_a_second: u64) -> Self {
        let each = self.shape.per_request as f64 / spans_a_second.max(1) as f64;
        Self {
            pace: Some(Pace {
                begun: Instant::now(),
                first: self.next.load(Ordering::Relaxed),
                each: Duration::from_secs_f64(each),
            }),
            ..self.clone()
        }
    }

    /// Sends so many more spans, in whole traces; fewer when `stop` says so.
    pub(crate) async fn send(
        &self,
        highwater: &Highwater,
        spans: u64,
        stop: &Arc<AtomicBool>,
    ) -> Result<Sent> {
        let more = spans
            .div_ceil(self.shape.per_request)
            .next_multiple_of(SPANS_A_TRACE);
        let total = self.next.load(Ordering::Relaxed).saturating_add(more);
        let mut senders = JoinSet::new();
        for _ in 0..self.shape.connections {
            let sender = Sender::connect(&highwater.otlp_grpc).await?;
            for _ in 0..self.shape.in_flight {
                let stop = Arc::clone(stop);
                senders.spawn(self.clone().send_until(total, sender.clone(), stop));
            }
        }
        let mut sent = Sent::default();
        while let Some(one) = senders.join_next().await {
            let one = one??;
            sent.acks.extend(one.acks);
            sent.raw_bytes += one.raw_bytes;
            sent.retried += one.retried;
        }
        // Each sender took one number more than it sent.
        self.next.fetch_min(total, Ordering::Relaxed);
        Ok(sent)
    }

    async fn send_until(self, total: u64, sender: Sender, stop: Arc<AtomicBool>) -> Result<Sent> {
        let mut sent = Sent::default();
        while !stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                break;
            }
            let body = self.requests.body(number);
            if let Some(pace) = self.pace {
                pace.wait_for(number).await;
            }
            sent.raw_bytes += body.len() as u64;
            let begun = Instant::now();
            sent.retried += sender.send(body).await?;
            sent.acks.push(begun.elapsed());
        }
        Ok(sent)
    }

    /// How many traces are whole and acknowledged for sure: what is under way is not counted.
    pub(crate) fn whole_traces(&self) -> u64 {
        let under_way = (self.shape.connections * self.shape.in_flight) as u64;
        let sent = self.next.load(Ordering::Relaxed);
        sent.saturating_sub(2 * under_way) / SPANS_A_TRACE * self.shape.per_request
    }
}
