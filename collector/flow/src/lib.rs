//! The flow: spans and broker facts in, the map of producers, topics, groups and consumers out.
//!
//! Owns: stitching across traces, counts and latency sketches by edge and time bucket, the resolution of what spans
//! name to clusters and groups, the map and its layout. Refuses to know: IO, clocks, async, SQL, HTTP, and who asks.
//!
//! Invariants:
//! - Counts are kept under raw identities; nodes are told when a map is asked for.
//! - The same spans and samples give the same map, whatever the order and the batches they came in.
//! - Everything is bounded, and what a bound cost is counted in [`Stats`].
//! - A checkpoint and the blocks after it give the map that was there before.
//!
//! A span's way: `names` gives what it names a number, `table` keeps it with its references, `touched` says whom it
//! changes and `evaluate` what it adds, `series` adds it up by time; `snapshot` sums a range, `resolve` names its nodes, `topology` is what comes out.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod aggregates;
mod cell;
mod checkpoint;
mod evaluate;
mod facts;
mod flow;
mod identities;
mod intern;
pub mod journey;
mod key;
pub mod layout;
mod names;
pub mod records;
mod resolve;
mod series;
pub mod sketch;
mod snapshot;
mod sums;
mod table;
pub mod topology;
mod touched;
pub mod trace;
mod work;

pub use checkpoint::{Checkpoint, RestoreError, Row};
pub use flow::{ClusterConfig, Config, Flow, Stats};
pub use sketch::{Percentiles, Sketch};
pub use topology::{Edge, EdgeKind, Node, NodeKind, RateSource, Topology, TopologyQuery, Window};
pub use work::{FINEST_STEP_NS, GroupWork};
