//! The stores: spans in append-only blocks, aggregates, lag and alerts in `history.db`.
//!
//! **Owns:** files and their formats, what is durable and when, what is found by which key, the language of searches.
//! **Refuses to know:** protocols, what a flow row, a lag or an alert means, HTTP, configuration files.
//!
//! # Invariants
//! - Only this crate holds SQL.
//! - What [`SpanWriter::write`] says is stored survives a power cut; what it says failed left nothing behind.
//! - A span is stored as it was sent, once; what is derived from it is read again from it.
//! - Blocks are appended and never changed; a file goes whole: when its time is over, or when all its spans stand in
//!   another one, by trace.
//! - Block ids rise for the life of a data directory, whatever was removed or lost.
//! - A reader never makes the writer wait, nor the writer a reader.
//! - What is read from a file is checked: a damaged one is an error, not a panic.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that fails should panic")
)]

mod block;
mod engine;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
mod options;
pub mod query;
pub mod search;
pub mod spans;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod testing;

pub use engine::{
    BackedUp, Checked, Clustered, Exported, FileUsage, Finding, Forecast, Inspection, Limit,
    Retired, SpansUsage, Stats, Store, TracePart, Usage,
};
pub use error::{Result, StoreError};
pub use history::{
    AlertEvent, AlertEventCount, AlertRecords, DeliveryOutcome, DeliveryRow, DeliveryState,
    DueDelivery, EndRow, FlowCheckpoint, FlowRow, History, LagRow, Landmark, NewDelivery,
    StoredAlertEvent,
};
pub use options::Options;
pub use query::{Expr, ParseError, parse};
pub use search::{Cursor, SearchPage, SearchQuery, TraceHit};
pub use spans::{Found, SpanReader, SpanWriter, StoredSpan, Wanted, Written};
