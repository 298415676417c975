//! Probes: what brokers say, in one vocabulary.
//!
//! Owns: talking to a broker. Offsets, groups, members, topics and records come in; [`highwater_model::broker::Sample`]s
//! and [`BrokerRecord`]s go out. Only this room knows a broker's protocol.
//! Refuses to know: what lag means, where samples are kept, pages.
//!
//! Invariants:
//! - Every call ends by a deadline; a dead broker is an error with a sentence, never a hang.
//! - What could not be read carries the reason; it is never 0 and never left out in silence.
//! - A group's committed offsets are read before its partitions' ends.
//! - Nothing is written to a broker: no commits, no group is joined, no topic is made by asking for it.
//! - All `unsafe` of this room is in `kafka::ffi`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests panic on surprise"))]

pub mod kafka;

pub use kafka::config::KafkaConfig;
pub use kafka::poller::{Poller, PollerEvent, PollerOptions, Questions};
pub use kafka::probe::{EndAtTime, KafkaProbe, ProbeError};
pub use kafka::records::{
    BrokerRecord, Edges, KafkaRecords, ReadOptions, ReadStop, RecordError, RecordPage,
    TimestampKind,
};
