//! The one integration binary: the real `highwater`, a real Kafka, a real Chromium, real receivers of alerts.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails where it stands"
)]

mod alerts;
mod beside;
mod captures;
mod kafka_clients;
mod kafka_probe;
#[path = "../benches/support/kills.rs"]
mod kills;
mod lag_rules;
mod notifiers;
mod otlp;
mod pages;
#[path = "../benches/support/requests.rs"]
mod requests;
#[path = "../benches/support/sender.rs"]
mod sender;
mod shop;
mod stage;
mod store;
