//! The normalised span and the words every room shares.
//!
//! Owns: ids, time, raw and normalised spans, messaging semantics, a broker's facts, names of topics and nodes.
//! Refuses to know: IO, clocks, async, SQL, HTTP. Everything here is data or a pure function.

pub mod batch;
pub mod broker;
mod committed;
pub mod ids;
pub mod names;
pub mod normalise;
pub mod otlp;
pub mod pairs;
pub mod raw;
mod sent;
pub mod span;
pub mod time;
pub mod words;

pub use batch::{Batch, BatchSpan, CommittedBlock};
pub use ids::{SpanId, TraceId};
pub use span::{Correlation, Messaging, Operation, ServiceKey, Span};
pub use time::UnixNanos;
pub use words::Words;
