//! Alerts: from facts and time to what fires, who is told, and in which words.
//!
//! Owns: rules and their spelling, what each watch means, pending, firing and resolved with hysteresis, inhibition,
//! silences, acknowledgement, and the sentence of an alert.
//! Refuses to know: brokers, clocks, disks, channels' wire formats. Facts and time are arguments; two engines that are
//! fed alike say the same.
//!
//! Invariants:
//! - Unknown is neither fine nor a breach: it starts nothing and ends nothing.
//! - What is to be kept over a restart is [`Memory`]: an engine that goes on from it neither forgets nor fires twice.
//! - A resolve is told to exactly those who were told that it fires.
//! - Alerts, causes, silences and counts are bounded; what was not kept is counted.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests panic on surprise"))]

mod alert;
mod counts;
mod defaults;
mod describe;
mod engine;
mod facts;
mod judge;
mod look;
mod memory;
mod parse;
mod rest;
mod rule;
mod selector;
mod sentences;
mod silence;
mod spec;
mod survey;
mod tell;
mod track;
mod trial;
mod watch;
mod words;

pub use alert::{
    Acknowledgement, Alert, AlertId, Event, EventKind, Notice, NoticeKind, Outcome, Phase, Subject,
};
pub use defaults::default_rules;
pub use engine::{Engine, EngineError, Options};
pub use facts::{
    ClusterFacts, CollectorFacts, EdgeFacts, Facts, GroupFacts, QueueFacts, ServiceFacts,
};
pub use memory::Memory;
pub use rule::{Origin, Rule, RuleError, RuleSet, Severity};
pub use selector::{Globs, Selector};
pub use silence::{Ended, Maintenance, MaintenanceSpec, Matchers, Silence, SilenceError};
pub use spec::{RuleFile, RuleSpec};
pub use trial::{Firing, NotInHistory, Point, Trial, trial};
pub use watch::{About, Unit, Watch};
