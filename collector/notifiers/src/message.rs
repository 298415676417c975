//! What is to be said, whatever the channel.

use std::collections::BTreeMap;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};

/// One message about one or several alerts. It is kept as JSON until it is delivered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Tells this message from any other: one that is sent again has the same key.
    pub key: String,
    /// What happened.
    pub kind: Kind,
    /// When.
    pub at: UnixNanos,
    /// The alerts, the worst first.
    pub alerts: Vec<Item>,
    /// How many more alerts it is about that are not listed.
    #[serde(default)]
    pub omitted: usize,
}

/// What happened to the alerts of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// They began to fire, or still do.
    Fired,
    /// They are over.
    Resolved,
    /// Nothing: somebody wants to see whether messages arrive.
    Test,
}

impl Kind {
    /// Returns its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// How bad an alert is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look, today.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// Returns its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One alert of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Names this firing: the same when it fires and when it is resolved.
    pub id: String,
    /// The name of its rule.
    pub rule: String,
    /// The id of its rule.
    pub rule_id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter, or was.
    pub sentence: String,
    /// Since when.
    pub since: UnixNanos,
    /// When it was over; `None` while it fires.
    #[serde(default)]
    pub resolved_at: Option<UnixNanos>,
    /// The page that explains it.
    pub url: String,
    /// What to do about it, where the rule says so.
    #[serde(default)]
    pub runbook: Option<String>,
    /// What it is about: cluster, group, topic, service.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The last hour as text; `None` where nothing is known of it.
    #[serde(default)]
    pub last_hour: Option<String>,
}

impl Message {
    /// Returns the message in a line, for a subject or a notification; not escaped, at most 200 characters.
    pub(crate) fn title(&self) -> String {
        let number = self.alerts.len() + self.omitted;
        let title = match (self.kind, self.alerts.as_slice()) {
            (Kind::Test, _) => "Test of this channel by Highwater".to_owned(),
            (Kind::Fired, [only]) if number == 1 => {
                format!("{}: {}", capital(only.severity), only.sentence)
            }
            (Kind::Resolved, [only]) if number == 1 => format!("Resolved: {}", only.sentence),
            (Kind::Fired, alerts) => {
                // Of those that are not listed the severity is not known here.
                let critical = alerts
                    .iter()
                    .filter(|alert| alert.severity == Severity::Critical)
                    .count();
                let worst = alerts.first().map_or("", |alert| &alert.sentence);
                if critical == 0 {
                    format!("{number} alerts: {worst}")
                } else {
                    format!("{number} alerts, {critical} of them critical: {worst}")
                }
            }
            (Kind::Resolved, _) => format!("Resolved: {number} alerts"),
        };
        crate::text::one_line(&title, 200)
    }

    /// Returns "and 12 more alerts", for the end of a list that shows `shown` of the alerts; `None` when it shows all.
    pub(crate) fn more(&self, shown: usize) -> Option<String> {
        match (self.alerts.len() + self.omitted).saturating_sub(shown) {
            0 => None,
            1 => Some("and 1 more alert".to_owned()),
            more => Some(format!("and {more} more alerts")),
        }
    }
}

fn capital(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// 2026-03-17T03:00:00Z.
    pub(crate) const AT: UnixNanos = UnixNanos(1_773_716_400_000_000_000);

    pub(crate) fn item(id: &str) -> Item {
        Item {
            id: id.to_owned(),
            rule: "Time lag over 1 m".to_owned(),
            rule_id: "time-lag".to_owned(),
            severity: Severity::Critical,
            sentence: "billing is 12,400 messages (3 m 20 s) behind on orders.".to_owned(),
            since: AT,
            resolved_at: None,
            url: "http://127.0.0.1:8844/groups/prod/billing?range=1h&at=1".to_owned(),
            runbook: Some("https://runbooks.example/lag".to_owned()),
            labels: [
                ("cluster", "prod"),
                ("group", "billing"),
                ("topic", "orders"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            last_hour: Some("12,400 ▁▂▅▇ over the last hour, from 0".to_owned()),
        }
    }

    pub(crate) fn message(kind: Kind, alerts: Vec<Item>) -> Message {
        Message {
            key: "fired/prod/1".to_owned(),
            kind,
            at: AT,
            alerts,
            omitted: 0,
        }
    }

    #[test]
    fn a_message_comes_back_from_the_outbox_as_it_was() {
        let mut message = message(Kind::Resolved, vec![item("a")]);
        message.alerts[0].resolved_at = Some(AT);
        message.omitted = 3;
        let kept = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<Message>(&kept).unwrap(), message);
    }

    #[test]
    fn a_title_says_what_happened_in_one_bounded_line() {
        let mut fired = message(Kind::Fired, vec![item("a")]);
        assert_eq!(
            fired.title(),
            "Critical: billing is 12,400 messages (3 m 20 s) behind on orders."
        );
        fired.alerts[0].sentence = "a\r\nBcc: everybody@example.com\u{2028}".repeat(50);
        let title = fired.title();
        assert!(!title.contains(char::is_control), "{title:?}");
        assert_eq!(title.chars().count(), 200);
        fired = message(Kind::Fired, vec![item("a"), item("b")]);
        fired.omitted = 5;
        assert!(fired.title().starts_with("7 alerts, 2 of them critical: "));
        assert_eq!(fired.more(2).as_deref(), Some("and 5 more alerts"));
        fired.kind = Kind::Resolved;
        assert_eq!(fired.title(), "Resolved: 7 alerts");
        assert_eq!(fired.more(7), None);
    }
}
