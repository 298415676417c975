//! Messages out: how an alert leaves the house.
//!
//! **Owns:** five kinds of channel (webhook, Alertmanager, Slack, PagerDuty, e-mail), their wire formats, where their
//! secrets are, and which failure is worth another attempt.
//! **Refuses to know:** rules, the alert engine, SQL. What is to be said comes as a [`Message`]; who keeps it until it
//! is delivered is somebody else's concern.
//!
//! # Invariants
//! - A secret is in no error, no log line and no `Debug`; what a server answers is searched for it.
//! - The same message sent twice can be told by its key, in every format that has a place for it.
//! - What is sent is bounded by the limits of who receives it, and escaped for its format; what does not fit is counted,
//!   not dropped in silence.
//! - No redirect is followed: a message goes where the operator said.
//! - Of an answer only so many bytes are read.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that fails should panic")
)]

mod alertmanager;
mod email;
mod error;
mod http;
mod message;
mod notifier;
mod pagerduty;
mod retry;
mod secret;
mod settings;
mod slack;
mod sparkline;
mod text;
mod webhook;

pub use error::{ChannelError, DeliveryError, SecretError};
pub use message::{Item, Kind, Message, Severity};
pub use notifier::{Delivered, Notifier};
pub use retry::backoff;
pub use settings::{Channel, ChannelKind, ChannelSettings, Security};
pub use sparkline::{Unit, last_hour};
