//! The one integration binary: the real `highwater`, a real Kafka, a real Chromium.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails where it stands"
)]

mod captures;
mod kafka_probe;
mod otlp;
mod pages;
mod shop;
mod stage;
