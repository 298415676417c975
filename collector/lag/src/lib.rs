//! Consumer lag: from offset samples to messages, time, states and sentences.
//!
//! Owns: what lag means (readable lag beside the tools' number), the history of ends that time lag is read from, the
//! states of partitions and groups and their reasons.
//! Refuses to know: brokers, clocks, disks. Time is an argument; two engines that are fed alike say the same.
//!
//! Invariants:
//! - Unknown is never 0: what could not be read is `None`, with the reason.
//! - Time lag is never negative and is never extrapolated beyond what is known: it is bounded then, and says so.
//! - From polls alone one sees that an offset has not moved, not that nobody committed: no sentence says "has not
//!   committed".
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests panic on surprise"))]

mod assess;
mod clock;
mod engine;
mod history;
mod packed;
mod points;
mod reasons;
#[cfg(test)]
mod testing;
mod track;
mod tracks;
mod types;
mod varint;
pub mod words;

pub use engine::{Checkpoint, CheckpointBefore, LagEngine, MarkerQuestion, Reading};
pub use packed::Partitions;
pub use types::{
    Bound, Config, GroupLag, OpenTransaction, PartitionLag, Rewound, Seen, Skew, State, TimeLag,
    Why,
};
