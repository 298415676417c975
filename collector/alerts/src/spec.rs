//! How a rule is spelt: one schema for `[[rule]]` of a file and for what a form posts.

use serde::{Deserialize, Serialize};

use crate::silence::MaintenanceSpec;

/// A rule as written. Values are plain strings, so that one bad rule is named and the others stay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// `[a-z0-9-]{1,64}`; the same id replaces a built-in rule.
    pub id: String,
    /// What pages call it; made from the rest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it watches: `time_lag`.
    pub watch: String,
    /// The threshold, in a unit that fits `watch`: `1m`, `10k`, `1/min`, `5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// It fires after at least this long: `2m`. The default is the watch's own.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// It is clear at this or under; half of `over` when absent. For `retention_margin`: at this or over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_under: Option<String>,
    /// It resolves after having been clear for this long: `5m`. The default is the watch's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_for: Option<String>,
    /// The window of a watch that counts: `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// `warning` (the default) or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Globs of clusters: `*`, `?`, and `!` before one excludes; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// Globs of groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<String>,
    /// Globs of topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topic: Vec<String>,
    /// Globs of services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service: Vec<String>,
    /// Channels to tell; none: every channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<String>,
    /// Where to read what to do: `https://...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Whether it is on.
    #[serde(default = "on", skip_serializing_if = "is_on")]
    pub enabled: bool,
}

const fn on() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_on(enabled: &bool) -> bool {
    *enabled
}

impl RuleSpec {
    /// A rule of which all but id and watch is left to the defaults.
    #[must_use]
    pub fn new(id: &str, watch: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: None,
            watch: watch.to_owned(),
            over: None,
            hold: None,
            clear_under: None,
            clear_for: None,
            within: None,
            severity: None,
            cluster: Vec::new(),
            group: Vec::new(),
            topic: Vec::new(),
            service: Vec::new(),
            tell: Vec::new(),
            runbook: None,
            enabled: true,
        }
    }
}

/// A file of rules: `[[rule]]` and `[[maintenance]]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Rules.
    #[serde(default)]
    pub rule: Vec<RuleSpec>,
    /// Maintenance windows.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceSpec>,
}
