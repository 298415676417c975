//! Alerts: what fires, the rules, silences, channels and what was told to whom.

use crate::{Instant, Level, wire};

wire! {
    /// How bad it is when a rule fires.
    #[derive(Copy, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "snake_case")]
    pub enum Severity {
        /// Wakes somebody.
        Critical,
        /// Can wait for the morning.
        Warning,
    }

    /// Where an alert stands.
    #[derive(Copy, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum Phase {
        /// Over its threshold, not yet for long enough.
        Pending,
        /// Fires.
        Firing,
        /// Is over.
        Resolved,
    }

    /// `GET /api/v1/alerts`.
    pub struct Alerts {
        /// When the rules were last looked at; null before the first time.
        pub checked_at: Option<Instant>,
        /// Firing first, critical before warning, oldest first; then pending; then resolved within the last hour.
        pub alerts: Vec<Alert>,
        /// Alerts that were not kept because there were too many.
        pub omitted: u64,
    }

    /// `GET /api/v1/alerts/summary`: what stands in the frame of every page.
    pub struct AlertSummary {
        /// Fires, is neither silenced nor inhibited.
        pub firing: u64,
        /// Of these, nobody has acknowledged so many.
        pub unacknowledged: u64,
        /// The worst of `firing`: critical or warning, else ok; unknown before the rules were looked at.
        pub level: Level,
        /// The newest that fires, in a sentence.
        pub newest: Option<String>,
        /// Its id.
        pub newest_id: Option<String>,
    }

    /// What an alert is about; what does not apply is null.
    pub struct Subject {
        /// The cluster's configured name.
        pub cluster: Option<String>,
        /// The group.
        pub group: Option<String>,
        /// The topic or dead-letter topic.
        pub topic: Option<String>,
        /// The partition that is worst.
        pub partition: Option<i32>,
        /// The service.
        pub service: Option<String>,
    }

    /// Somebody's act, by the name that was typed: claimed, not proven.
    pub struct Act {
        /// The name.
        pub by: String,
        /// When.
        pub at: Instant,
    }

    /// An alert.
    pub struct Alert {
        /// Stable over restarts.
        pub id: String,
        /// The rule.
        pub rule: String,
        /// The rule's name when it fired.
        pub rule_name: String,
        /// What the rule watches: `time_lag`.
        pub watch: String,
        /// How bad.
        pub severity: Severity,
        /// Where it stands.
        pub phase: Phase,
        /// What it is about.
        pub subject: Subject,
        /// A sentence that a tired person understands.
        pub sentence: String,
        /// The page that explains it: a path of the dashboard.
        pub href: String,
        /// What was done is described there.
        pub runbook: Option<String>,
        /// Over the threshold since.
        pub pending_since: Instant,
        /// When it fires, should all stay as it is; null where it is not pending, or nothing is known of it at present.
        pub fires_at: Option<Instant>,
        /// Fires since.
        pub fired_at: Option<Instant>,
        /// Is over since.
        pub resolved_at: Option<Instant>,
        /// Why it is over.
        pub why_resolved: Option<String>,
        /// The value of now, in `unit`; null where there is none, or it is unknown.
        pub value: Option<f64>,
        /// The rule's threshold, in `unit`.
        pub over: Option<f64>,
        /// `ms`, `messages`, `per_s`, `percent`, `partitions`, `changes`, `spans`; null without a value.
        pub unit: Option<String>,
        /// The value by the minute over the last hour, oldest first, up to 60; null where it was unknown. Empty where no
        /// history is kept of it.
        pub last_hour: Vec<Option<f64>>,
        /// Somebody has seen it.
        pub acknowledged: Option<Act>,
        /// The silence that keeps it from being told.
        pub silenced_by: Option<String>,
        /// The alert that explains it, and is told instead.
        pub inhibited_by: Option<String>,
        /// Nothing is known since then; the alert stays as it was.
        pub unknown_since: Option<Instant>,
        /// Why nothing is known.
        pub unknown_reason: Option<String>,
        /// It comes and goes; it is kept until it has been quiet for longer.
        pub flapping: bool,
        /// Channels that were told.
        pub told: Vec<String>,
    }

    /// `POST /api/v1/alerts/{id}/acknowledge`, and what ends a silence.
    pub struct ActRequest {
        /// Who: up to 80 characters, stored as claimed.
        pub by: String,
    }

    /// `GET /api/v1/alerts/history`.
    pub struct AlertHistory {
        /// Newest first.
        pub events: Vec<AlertEvent>,
        /// Pass back for the next page; null at the end.
        pub next_cursor: Option<String>,
    }

    /// Something that happened to an alert.
    pub struct AlertEvent {
        /// When.
        pub at: Instant,
        /// `fired`, `resolved`, `acknowledged`, `unacknowledged`; of a silence: `silenced`, `unsilenced`.
        pub kind: String,
        /// The alert; the silence, where it is of one.
        pub alert: String,
        /// The rule; empty where it is of a silence that names several or none.
        pub rule: String,
        /// The rule's name, where the rule still exists.
        pub rule_name: Option<String>,
        /// What it is about, in words: `billing on kafka`.
        pub subject: String,
        /// How bad; null for a silence.
        pub severity: Option<Severity>,
        /// The sentence of then.
        pub sentence: String,
        /// Who acted, as claimed.
        pub by: Option<String>,
    }

    /// A rule as the file `--rules` and the form say it: `[[rule]]`.
    #[derive(Default)]
    #[serde(default)]
    pub struct RuleSpec {
        /// Letters, digits, dashes.
        pub id: String,
        /// For people; made from the rest when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        /// What is watched: one of `watches`.
        pub watch: String,
        /// The threshold, in the watch's unit: `1m`, `10k`, `1/min`, `5%`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub over: Option<String>,
        /// Fires when it has been so for this long.
        #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
        pub hold: Option<String>,
        /// Is over when below this.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub clear_under: Option<String>,
        /// For this long.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub clear_for: Option<String>,
        /// What is counted, is counted over this.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub within: Option<String>,
        /// How bad: `critical` or `warning`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub severity: Option<String>,
        /// Globs of clusters; `!` excludes; empty is all.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub cluster: Vec<String>,
        /// Globs of groups.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub group: Vec<String>,
        /// Globs of topics.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub topic: Vec<String>,
        /// Globs of services.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub service: Vec<String>,
        /// Channels; empty is every one.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub tell: Vec<String>,
        /// Where it is described what to do.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub runbook: Option<String>,
        /// On; true when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enabled: Option<bool>,
    }

    /// `GET /api/v1/rules`.
    pub struct Rules {
        /// In the order of file and form, built-in ones last.
        pub rules: Vec<Rule>,
        /// What can be watched: what a form offers.
        pub watches: Vec<Watch>,
        /// Rules that cannot be read, with the reason.
        pub problems: Vec<String>,
        /// The file's path, where there is one.
        pub file: Option<String>,
    }

    /// A rule.
    pub struct Rule {
        /// As written.
        pub spec: RuleSpec,
        /// Its name.
        pub name: String,
        /// `built_in`, `file`, `form`.
        pub origin: String,
        /// What it looks at, in words: `group in shop.*`.
        pub watches: String,
        /// When it fires, in words: `1 m for 2 m`.
        pub fires_over: String,
        /// How bad.
        pub severity: Severity,
        /// On.
        pub enabled: bool,
        /// Fires now.
        pub firing: u64,
        /// Fired in the last 7 days.
        pub fired_7d: u64,
    }

    /// `POST /api/v1/rules/{id}/enabled`.
    pub struct EnabledRequest {
        /// On or off.
        pub enabled: bool,
    }

    /// Something that a rule can watch.
    pub struct Watch {
        /// On the wire: `time_lag`.
        pub id: String,
        /// For people: `time lag`.
        pub label: String,
        /// `duration`, `count`, `rate`, `percent`; null without a threshold.
        pub unit: Option<String>,
        /// What it watches: `group`, `queue`, `edge`, `cluster`, `service`, `collector`.
        pub of: String,
        /// The least, not the most, is worst: `under` instead of `over`.
        pub less_is_worse: bool,
        /// Can be tried on stored history.
        pub can_be_tried: bool,
        /// What it means, in a sentence.
        pub help: String,
    }

    /// `POST /api/v1/rules/try`: would it have fired?
    pub struct TrialRequest {
        /// The rule, saved or not.
        pub spec: RuleSpec,
        /// Look back this far, in hours: 1 to 168.
        pub hours: u32,
        /// Draw this group (`cluster/group`); the one with most firings when left out.
        #[serde(default)]
        pub group: Option<String>,
    }

    /// The answer.
    pub struct Trial {
        /// What was looked at.
        pub from: Instant,
        /// Until.
        pub to: Instant,
        /// Every group that matches, most firings first.
        pub groups: Vec<TrialGroup>,
        /// The group that is drawn.
        pub drawn: Option<String>,
        /// Its value over time; null where it was unknown.
        pub points: Vec<TrialPoint>,
        /// When it would have fired.
        pub firings: Vec<TrialFiring>,
        /// The threshold, in `unit`.
        pub over: Option<f64>,
        /// `ms`, `messages`.
        pub unit: Option<String>,
        /// Why nothing can be said, or less than was asked for.
        pub reason: Option<String>,
    }

    /// A group of a trial.
    pub struct TrialGroup {
        /// `cluster/group`.
        pub id: String,
        /// Times it would have fired.
        pub firings: u64,
    }

    /// A value at a time.
    pub struct TrialPoint {
        /// When.
        pub at: Instant,
        /// In `unit`; null unknown.
        pub value: Option<f64>,
    }

    /// A time of firing.
    pub struct TrialFiring {
        /// Since.
        pub from: Instant,
        /// Until; null: still.
        pub to: Option<Instant>,
    }

    /// `GET /api/v1/silences`.
    pub struct Silences {
        /// Those that count now first, then those to come, then those that ended within a day.
        pub silences: Vec<Silence>,
        /// Maintenance windows of the rules' file, in words.
        pub maintenance: Vec<Maintenance>,
    }

    /// What is not told for a while.
    pub struct Silence {
        /// Its id.
        pub id: String,
        /// Globs: every one given must match.
        pub matchers: Matchers,
        /// From.
        pub starts: Instant,
        /// To.
        pub ends: Instant,
        /// Who, as claimed.
        pub author: String,
        /// Why.
        pub comment: String,
        /// Ended before its end.
        pub ended: Option<Act>,
        /// Counts now.
        pub active: bool,
        /// Alerts it keeps from being told now.
        pub silences_now: u64,
    }

    /// What a silence is about.
    #[derive(Default)]
    #[serde(default)]
    pub struct Matchers {
        /// Glob of rule ids.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub rule: Option<String>,
        /// Glob of clusters.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster: Option<String>,
        /// Glob of groups.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub group: Option<String>,
        /// Glob of topics.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub topic: Option<String>,
        /// Glob of services.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub service: Option<String>,
    }

    /// `POST /api/v1/silences`.
    pub struct SilenceRequest {
        /// What.
        pub matchers: Matchers,
        /// From; now when left out.
        #[serde(default)]
        pub starts: Option<Instant>,
        /// To: at most 30 days on.
        pub ends: Instant,
        /// Who.
        pub author: String,
        /// Why.
        pub comment: String,
    }

    /// A window of every week in which nothing is told.
    pub struct Maintenance {
        /// Its name.
        pub name: String,
        /// When and what, in words: `Saturdays 02:00 to 04:00 UTC, cluster prod-*`.
        pub when: String,
        /// Counts now.
        pub active: bool,
    }

    /// `GET /api/v1/channels`.
    pub struct Channels {
        /// As configured.
        pub channels: Vec<Channel>,
        /// The newest deliveries of all of them, newest first, up to 100.
        pub deliveries: Vec<Delivery>,
    }

    /// Where alerts are told.
    pub struct Channel {
        /// Its name.
        pub name: String,
        /// `webhook`, `alertmanager`, `slack`, `pagerduty`, `email`.
        pub kind: String,
        /// Where it goes, without a secret: a host, an address.
        pub target: String,
        /// When something was last delivered.
        pub delivered_at: Option<Instant>,
        /// Waiting to be delivered.
        pub waiting: u64,
        /// What went wrong last, if it was not delivered since.
        pub problem: Option<String>,
    }

    /// A message to a channel.
    pub struct Delivery {
        /// Its id.
        pub id: i64,
        /// The channel.
        pub channel: String,
        /// `fired`, `resolved`, `test`.
        pub kind: String,
        /// When it was to be told.
        pub created_at: Instant,
        /// `pending`, `delivered`, `failed`.
        pub state: String,
        /// Attempts.
        pub attempts: u32,
        /// Of the last attempt.
        pub last_at: Option<Instant>,
        /// The next attempt.
        pub next_at: Option<Instant>,
        /// What the other side said.
        pub detail: String,
        /// Alerts in it.
        pub alerts: u32,
        /// Its first sentence.
        pub sentence: String,
    }

    /// `POST /api/v1/channels/{name}/test`.
    pub struct TestResult {
        /// It was taken.
        pub delivered: bool,
        /// What the other side said.
        pub detail: String,
    }
}
