//! OTLP receivers: gRPC and HTTP in, span batches out.
//!
//! Owns: the two protocols, admission (size, memory, token), decompression and decoding, what a sender is told, and how the
//! connections of a port are served, the dashboard's too.
//! Refuses to know: the store, the flow, what a span means.
//!
//! - An acknowledged span is committed: a request is answered after the pipeline's acknowledgement.
//! - What cannot be taken now is refused as retryable; nothing is dropped in silence.
//! - The size limit is held after decompression, and the bytes of all requests in flight share one budget, from their
//!   arrival until their spans are committed. So neither a bomb nor a crowd can take the memory.
//! - No sender can starve the others: who floods is refused while there is room left for the rest, connections that
//!   never ask for anything make room, on a port that is full so does the address with the most connections, and every
//!   step of a request has its time.

mod admission;
mod compression;
mod counters;
mod grpc;
mod http;
mod ingest;
mod json;
mod serve;
mod status;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use highwater_model::normalise::Rules;
use highwater_pipeline::Sender;

pub use crate::counters::{Counters, CountersSnapshot};
pub use crate::grpc::serve_grpc;
pub use crate::http::{serve_http, serve_pages};

/// How requests are admitted.
#[derive(Clone)]
pub struct Options {
    /// A request's size, compressed and decompressed; default 64 MiB, as OTLP recommends.
    pub max_request_bytes: usize,
    /// Bytes of all requests in flight together, from their arrival to their commit, with what they are decompressed
    /// and decoded to; default 128 MiB. What would go beyond is refused as retryable, and a sender with several
    /// requests in flight may hold no more than is free.
    pub max_in_flight_bytes: usize,
    /// Connections of one port open at once; default 4,096.
    pub max_connections: usize,
    /// A connection on which no request's head arrives for so long is closed; default 60 s.
    pub head_timeout: Duration,
    /// A request whose body stands still for so long is given up; default 30 s.
    pub body_idle_timeout: Duration,
    /// A request whose body has not arrived after so long is given up, however it trickles; default 2 min.
    pub body_timeout: Duration,
    /// Asked for as `Authorization: Bearer TOKEN` when set.
    pub auth_token: Option<String>,
    /// Browser origins that may send (`https://shop.example`, or `*`); none by default.
    pub cors_origins: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            max_in_flight_bytes: 128 << 20,
            max_connections: 4096,
            head_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(120),
            auth_token: None,
            cors_origins: Vec::new(),
        }
    }
}

/// What both receivers share. The pipeline's writer ends when the last one is dropped.
pub struct ReceiverContext {
    sender: Sender,
    workers: workers::Workers,
    options: Options,
    budget: admission::Budget,
    counters: Arc<Counters>,
}

impl ReceiverContext {
    /// Puts it together; nothing listens yet.
    #[must_use]
    pub fn new(sender: Sender, rules: Rules, options: Options) -> Self {
        Self {
            sender,
            workers: workers::Workers::new(rules),
            budget: admission::Budget::new(options.max_in_flight_bytes),
            options,
            counters: Arc::default(),
        }
    }

    /// Requests in flight, for Health and `/metrics`.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        InFlight(self.budget.clone())
    }

    fn limits(&self) -> serve::Limits {
        serve::Limits {
            head: self.options.head_timeout,
            connections: self.options.max_connections,
        }
    }

    fn patience(&self) -> admission::Patience {
        admission::Patience {
            idle: self.options.body_idle_timeout,
            whole: self.options.body_timeout,
        }
    }

    /// What was received and refused, for Health and `/metrics`.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// What the requests in flight hold; whoever reads it does not keep the pipeline's writer running.
#[derive(Clone)]
pub struct InFlight(admission::Budget);

impl InFlight {
    /// Bytes, from a request's arrival to its commit, with what it is decompressed and decoded to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.held()
    }

    /// [`Options::max_in_flight_bytes`].
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.0.total()
    }
}

/// A receiver could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An origin that is not one.
    #[error("cors_origins: {origin:?} is not an origin such as https://shop.example")]
    Origin {
        /// As configured.
        origin: String,
    },
}
