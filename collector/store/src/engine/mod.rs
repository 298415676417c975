//! The embedded engine: append-only blocks in SQLite files, one file a span of arrivals.
//!
//! `catalog` lists the files; `partition` is one of them; `store` writes and seals; `cluster` writes again by trace;
//! `merge` keeps their index in few places; `retain` retires; `room` watches the disk; `read` loads blocks and scans
//! them; `find` finds by key; `find_traces` searches. Writing holds one connection under one async mutex. Reading goes
//! through a pool of each file, and through decoded blocks in a cache: with SQLite's log, neither waits for the other.

mod cache;
mod catalog;
mod cluster;
mod damage;
mod find;
mod find_traces;
mod inspect;
mod merge;
mod partition;
mod read;
mod retain;
mod room;
pub(crate) mod sqlite;
mod store;

pub use cluster::Clustered;
pub use inspect::{
    BackedUp, Checked, Exported, FileUsage, Finding, Inspection, SpansUsage, TracePart, Usage,
};
pub use retain::Retired;
pub use room::{Forecast, Limit};
pub use store::{Stats, Store};

/// What a test must know to fill a disk.
#[cfg(test)]
pub(crate) fn free_bytes(dir: &std::path::Path) -> u64 {
    room::disk(dir).map_or(0, |disk| disk.free)
}
