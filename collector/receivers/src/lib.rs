//! OTLP receivers: gRPC and HTTP in, span batches out.
//!
//! Owns: the two protocols, admission (size, memory, token), decompression and decoding, and what a sender is told.
//! Refuses to know: the store, the flow, what a span means.
//!
//! - An acknowledged span is committed: a request is answered after the pipeline's acknowledgement.
//! - What cannot be taken now is refused as retryable; nothing is dropped in silence.
//! - The size limit is held after decompression, and the bytes of all requests in flight share one budget, so
//!   neither a bomb nor a crowd can take the memory.

mod admission;
mod counters;
mod grpc;
mod gzip;
mod http;
mod ingest;
mod json;
mod status;

use std::sync::Arc;
use std::time::Duration;

use highwater_model::normalise::Rules;
use highwater_pipeline::Sender;

pub use crate::counters::{Counters, CountersSnapshot};
pub use crate::grpc::serve_grpc;
pub use crate::http::serve_http;

/// How requests are admitted.
#[derive(Clone)]
pub struct Options {
    /// A request's size, compressed and decompressed; default 64 MiB, as OTLP recommends.
    pub max_request_bytes: usize,
    /// Bytes of all requests in flight together, from their arrival to their answer; default 256 MiB. What would go
    /// beyond is refused as retryable.
    pub max_in_flight_bytes: usize,
    /// A request whose body stands still for so long is given up; default 30 s.
    pub body_idle_timeout: Duration,
    /// Asked for as `Authorization: Bearer TOKEN` when set.
    pub auth_token: Option<String>,
    /// Browser origins that may send (`https://shop.example`, or `*`); none by default.
    pub cors_origins: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_request_bytes: 64 << 20,
            max_in_flight_bytes: 256 << 20,
            body_idle_timeout: Duration::from_secs(30),
            auth_token: None,
            cors_origins: Vec::new(),
        }
    }
}

/// What both receivers share. The pipeline's writer ends when the last one is dropped.
pub struct ReceiverContext {
    sender: Sender,
    rules: Arc<Rules>,
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
            rules: Arc::new(rules),
            budget: admission::Budget::new(options.max_in_flight_bytes),
            options,
            counters: Arc::default(),
        }
    }

    /// What was received and refused, for Health and `/metrics`.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// A listener could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The gRPC server ended.
    #[error("cannot serve OTLP over gRPC")]
    Grpc(#[source] tonic::transport::Error),
    /// The HTTP server ended.
    #[error("cannot serve OTLP over HTTP")]
    Http(#[source] std::io::Error),
    /// An origin that is not one.
    #[error("cors_origins: {origin:?} is not an origin such as https://shop.example")]
    Origin {
        /// As configured.
        origin: String,
    },
}
