//! What was received, and what was not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use highwater_model::otlp::Rejected;

/// Counts since the start of the process. All of them only rise.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    spans_received: AtomicU64,
    refused_retryable: AtomicU64,
    refused_bad: AtomicU64,
    refused_too_large: AtomicU64,
    refused_too_slow: AtomicU64,
    refused_connections: AtomicU64,
    refused_unauthenticated: AtomicU64,
    metrics_rejected: AtomicU64,
    logs_rejected: AtomicU64,
    // The mutex is std and held for an addition: spans are rejected seldom, and never across an await.
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// [`Counters`] at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CountersSnapshot {
    /// Requests, of all signals, however they ended.
    pub requests: u64,
    /// Spans in requests that could be read; a span that is sent again is counted again.
    pub spans_received: u64,
    /// Spans rejected from requests whose rest was kept, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Requests answered "try again": a full queue, a failed commit, no memory left for more.
    pub refused_retryable: u64,
    /// Requests that could not be read.
    pub refused_bad: u64,
    /// Requests above the size limit.
    pub refused_too_large: u64,
    /// Requests whose body did not arrive in time.
    pub refused_too_slow: u64,
    /// Connections turned away because so many were open.
    pub refused_connections: u64,
    /// Requests without the token.
    pub refused_unauthenticated: u64,
    /// Metric points refused.
    pub metrics_rejected: u64,
    /// Log records refused.
    pub logs_rejected: u64,
}

impl Counters {
    /// Reads all of them; each is exact, together they are of about the same moment.
    #[must_use]
    pub fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            requests: self.requests.load(Relaxed),
            spans_received: self.spans_received.load(Relaxed),
            rejected: self
                .rejected
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            refused_retryable: self.refused_retryable.load(Relaxed),
            refused_bad: self.refused_bad.load(Relaxed),
            refused_too_large: self.refused_too_large.load(Relaxed),
            refused_too_slow: self.refused_too_slow.load(Relaxed),
            refused_connections: self.refused_connections.load(Relaxed),
            refused_unauthenticated: self.refused_unauthenticated.load(Relaxed),
            metrics_rejected: self.metrics_rejected.load(Relaxed),
            logs_rejected: self.logs_rejected.load(Relaxed),
        }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Counts a readable request's spans. A reason is logged when it occurs for the first time and not again: a
    /// sender that is wrong is wrong in every request, and Health shows the count.
    pub(crate) fn spans(&self, received: u64, rejected: &Rejected) {
        self.spans_received.fetch_add(received, Relaxed);
        if rejected.count == 0 {
            return;
        }
        let mut all = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in &rejected.reasons {
            let total = all.entry(reason).or_default();
            if *total == 0 {
                tracing::warn!(
                    reason,
                    count,
                    "spans rejected; the rest of the request is kept"
                );
            }
            *total += count;
        }
    }

    pub(crate) fn retryable(&self, why: &str) {
        if self.refused_retryable.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(why, "a request was refused as retryable");
        }
    }

    pub(crate) fn bad(&self, why: &str) {
        if self.refused_bad.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(why, "a request could not be read");
        }
    }

    pub(crate) fn too_large(&self, limit: usize) {
        if self.refused_too_large.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(limit, "a request was larger than the limit");
        }
    }

    pub(crate) fn too_slow(&self) {
        if self.refused_too_slow.fetch_add(1, Relaxed) == 0 {
            tracing::warn!("a request's body did not arrive in time");
        }
    }

    pub(crate) fn connection_refused(&self) {
        if self.refused_connections.fetch_add(1, Relaxed) == 0 {
            tracing::warn!("a connection was turned away: too many are open");
        }
    }

    pub(crate) fn unauthenticated(&self) {
        if self.refused_unauthenticated.fetch_add(1, Relaxed) == 0 {
            tracing::warn!("a request came without the token");
        }
    }

    pub(crate) fn metrics(&self, points: u64) {
        if self.metrics_rejected.fetch_add(points, Relaxed) == 0 && points > 0 {
            tracing::warn!(points, "metrics were sent; only traces are taken");
        }
    }

    pub(crate) fn logs(&self, records: u64) {
        if self.logs_rejected.fetch_add(records, Relaxed) == 0 && records > 0 {
            tracing::warn!(records, "logs were sent; only traces are taken");
        }
    }
}
