//! What the engine remembers, to be kept over a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Subject};
use crate::counts::Counts;
use crate::silence::{Concerns, Silence};
use crate::track::Track;

/// A rule and what it looks at: there is one alert for each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) rule: Arc<str>,
    /// Without the worst partition, which changes.
    pub(crate) subject: Subject,
}

/// One rule on one subject.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) track: Track,
    /// Pending or firing; `None` between two firings that follow each other closely.
    pub(crate) alert: Option<Alert>,
    pub(crate) concerns: Concerns,
    /// This step's facts spoke of it.
    #[serde(skip)]
    pub(crate) looked: bool,
}

/// What the engine remembers: alerts, how long conditions hold, counts, silences. Serialisable; an engine that goes on
/// from it neither forgets nor fires twice.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    #[serde(with = "highwater_model::pairs")]
    pub(crate) entries: BTreeMap<Key, Entry>,
    /// The latest first.
    pub(crate) resolved: Vec<Alert>,
    pub(crate) counts: Counts,
    pub(crate) silences: Vec<Silence>,
    /// The last step.
    pub(crate) stepped_at: Option<UnixNanos>,
}
