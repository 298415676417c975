//! What the integration tests stand on: the binary, the shop, a real Kafka, a real browser.

pub mod browser;
pub mod captures;
pub mod fetched;
pub mod guard;
pub mod highwater;
pub mod kafka;
pub mod oracle;
pub mod process;
