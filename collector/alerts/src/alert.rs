//! What the engine says.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::rule::Severity;
use crate::watch::{Unit, Watch};

/// Names one alert for good: a hash, in hex, of its rule, its subject and when it began. The same from pending to
/// resolved and over a restart; another one when the rule fires again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(pub Arc<str>);

impl AlertId {
    pub(crate) fn new(rule: &str, subject: &Subject, began: UnixNanos) -> Self {
        // Names are separated by a byte that no UTF-8 text holds, so that no two subjects spell alike.
        let mut bytes = Vec::with_capacity(96);
        let names = [
            Some(rule),
            subject.cluster.as_deref(),
            subject.group.as_deref(),
            subject.topic.as_deref(),
            subject.service.as_deref(),
        ];
        for name in names {
            bytes.push(if name.is_some() { 0xff } else { 0xfe });
            bytes.extend_from_slice(name.unwrap_or_default().as_bytes());
        }
        bytes.push(0xff);
        bytes.extend_from_slice(&began.0.to_be_bytes());
        Self(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes)).into())
    }

    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an alert is about. An alert of a group names its worst partition in `topic` and `partition`; those may change
/// while it fires.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The cluster.
    pub cluster: Option<Arc<str>>,
    /// The group.
    pub group: Option<Arc<str>>,
    /// The topic.
    pub topic: Option<Arc<str>>,
    /// The partition.
    pub partition: Option<i32>,
    /// The service.
    pub service: Option<Arc<str>>,
}

/// Where an alert is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Above its threshold, not yet for long enough.
    Pending,
    /// Firing.
    Firing,
    /// Over.
    Resolved,
}

/// Who has seen an alert.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The name, as claimed.
    pub by: Arc<str>,
    /// When.
    pub at: UnixNanos,
}

/// An alert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Names it for good.
    pub id: AlertId,
    /// The rule's id.
    pub rule: Arc<str>,
    /// The rule's name.
    pub rule_name: Arc<str>,
    /// What the rule watches.
    pub watch: Watch,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Where it is in its life.
    pub phase: Phase,
    /// The condition holds since.
    pub pending_since: UnixNanos,
    /// When it fired.
    pub fired_at: Option<UnixNanos>,
    /// When it was over.
    pub resolved_at: Option<UnixNanos>,
    /// The last known value, in the unit's measure; `None` where the watch has none, or it is not known.
    pub value: Option<f64>,
    /// The threshold, in the unit's measure.
    pub over: Option<f64>,
    /// The unit of both.
    pub unit: Option<Unit>,
    /// The last known state of things, in a sentence that a tired person understands.
    pub sentence: String,
    /// Why it is over, in a sentence.
    pub why_resolved: Option<String>,
    /// Who has seen it.
    pub acknowledged: Option<Acknowledgement>,
    /// The silence, or `maintenance:NAME`, that keeps it from being told.
    pub silenced_by: Option<Arc<str>>,
    /// The worse alert that says it already.
    pub inhibited_by: Option<AlertId>,
    /// Nothing is known of it since then, and why; what is shown is what was known before.
    pub unknown_since: Option<(UnixNanos, Arc<str>)>,
    /// It fired three times or more within an hour, and so clears more slowly.
    pub flapping: bool,
    /// Channels that were told that it fires.
    pub told: BTreeSet<Arc<str>>,
    /// When one was last told.
    pub told_at: Option<UnixNanos>,
    /// Where to read what to do.
    pub runbook: Option<Arc<str>>,
}

/// What happened to an alert.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It fired.
    Fired,
    /// It is over.
    Resolved,
    /// Somebody has seen it.
    Acknowledged,
    /// Somebody took that back.
    Unacknowledged,
}

/// Something that happened, for the history of alerts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: UnixNanos,
    /// What.
    pub kind: EventKind,
    /// The alert.
    pub alert: AlertId,
    /// Its rule's id.
    pub rule: Arc<str>,
    /// What it is about.
    pub subject: Subject,
    /// How bad.
    pub severity: Severity,
    /// The alert's sentence; of a resolved one, why it is over.
    pub sentence: String,
    /// Who did it, as claimed; `None` when nobody did.
    pub by: Option<Arc<str>>,
}

/// What a notice says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// These fire.
    Fired,
    /// These are over.
    Resolved,
}

/// A message to be sent: one for a channel, a kind and a cluster in a step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The channel's name.
    pub channel: Arc<str>,
    /// What it says.
    pub kind: NoticeKind,
    /// The channel was told before: nobody has acknowledged these since.
    pub reminder: bool,
    /// The cluster of its alerts; `None` of those that have none.
    pub cluster: Option<Arc<str>>,
    /// The alerts, the worst first.
    pub alerts: Vec<Alert>,
}

/// What a step brought.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be sent.
    pub notices: Vec<Notice>,
    /// Alerts beyond the bound, which are not kept and of which nobody was told.
    pub not_kept: usize,
}
