//! The desk where alerts are worked on: the engine over time, with a memory, a rule book and a post office.
//!
//! Owns: the one engine of the process, the rules of file and form, when its memory is written, what becomes a message
//! and when that is tried again, and trying a rule on stored history.
//! Refuses to know: what a rule means (`alerts`), what a channel's messages look like (`notifiers`), SQL (`store`), HTTP.
//!
//! Invariants:
//! - What fires, what happened and what is to be sent are written in one transaction, before anything is sent: a
//!   restart neither forgets an alert nor tells it twice.
//! - A message is sent at least once, with a key by which the other side can tell a repetition.
//! - A channel that does not answer keeps no other one waiting.
//! - A rule that cannot be read is named and left out; the others count.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests panic on surprise"))]

mod attempt;
mod book;
mod desk;
mod letters;
mod place;
mod post;
mod silenced;

pub use attempt::{Attempt, AttemptedGroup};
pub use book::{Book, BookError};
pub use desk::{Desk, DeskError, Options, RulesView, View};
pub use letters::HourOfGroup;
pub use place::{href, in_words, of_group};
pub use post::{ChannelView, TestOutcome};
