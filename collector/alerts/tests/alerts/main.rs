//! What the alert engine does, named after the fact. One binary.
#![allow(clippy::unwrap_used, reason = "tests panic on surprise")]

mod clusters;
mod phases;
mod properties;
mod queues;
mod rules;
mod support;
mod telling;
