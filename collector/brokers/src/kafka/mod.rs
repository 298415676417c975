//! Apache Kafka and what speaks its protocol, through librdkafka.

pub mod config;
mod context;
mod ffi;
pub mod poller;
pub mod probe;
mod reason;
pub mod records;
