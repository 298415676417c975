//! What is written to a channel: alerts as messages.

use std::sync::Arc;
use std::time::Duration;

use highwater_alerts::{Alert, Notice, NoticeKind, Phase, Severity};
use highwater_model::UnixNanos;
use highwater_notifiers::{Item, Kind, Message, Severity as Said, Unit, last_hour};
use highwater_store::NewDelivery;

use crate::place::{href, labels};

/// Alerts that one message tells; the others are counted in it.
pub(crate) const ALERTS_IN_A_MESSAGE: usize = 50;

/// The time lag of a group by the minute over the last hour, in milliseconds: cluster, group, now.
pub type HourOfGroup = dyn Fn(&str, &str, UnixNanos) -> Vec<Option<u64>> + Send + Sync;

/// Writes messages.
pub(crate) struct Letters {
    /// Before the path of a page.
    public_url: String,
    hour_of_group: Arc<HourOfGroup>,
}

impl Letters {
    pub(crate) fn new(public_url: &str, hour_of_group: Arc<HourOfGroup>) -> Self {
        Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            hour_of_group,
        }
    }

    /// A message to be kept until it has arrived.
    pub(crate) fn delivery(&self, notice: &Notice, now: UnixNanos) -> NewDelivery {
        let kind = match notice.kind {
            NoticeKind::Fired => Kind::Fired,
            NoticeKind::Resolved => Kind::Resolved,
        };
        let message = self.message(kind, &notice.alerts, now);
        NewDelivery {
            channel: notice.channel.to_string(),
            created_at: now,
            kind: kind.as_str().to_owned(),
            message: encoded(&message),
            alerts: u32::try_from(notice.alerts.len()).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn message(&self, kind: Kind, alerts: &[Alert], now: UnixNanos) -> Message {
        let first = alerts.first().map_or("none", |alert| alert.id.as_str());
        let told = alerts.iter().take(ALERTS_IN_A_MESSAGE);
        Message {
            key: format!("{first}-{}-{}", kind.as_str(), now.0),
            kind,
            at: now,
            alerts: told.map(|alert| self.item(alert, now)).collect(),
            omitted: alerts.len().saturating_sub(ALERTS_IN_A_MESSAGE),
        }
    }

    fn item(&self, alert: &Alert, now: UnixNanos) -> Item {
        let hour = self.hour_of(alert, now);
        let points: Vec<(UnixNanos, Option<f64>)> = (0_u64..)
            .zip(&hour)
            .map(|(minute, value)| {
                let back = (hour.len() as u64).saturating_sub(minute + 1);
                let at = now - Duration::from_secs(60 * back);
                (at, value.map(|ms| ms as f64))
            })
            .collect();
        Item {
            id: alert.id.to_string(),
            rule: alert.rule_name.to_string(),
            rule_id: alert.rule.to_string(),
            severity: match alert.severity {
                Severity::Warning => Said::Warning,
                Severity::Critical => Said::Critical,
            },
            sentence: match (&alert.phase, &alert.why_resolved) {
                (Phase::Resolved, Some(why)) => why.clone(),
                _ => alert.sentence.clone(),
            },
            since: alert.fired_at.unwrap_or(alert.pending_since),
            resolved_at: alert.resolved_at,
            url: format!("{}{}", self.public_url, href(alert)),
            runbook: alert.runbook.as_deref().map(str::to_owned),
            labels: labels(alert),
            last_hour: last_hour(&points, now, Unit::Millis).map(|hour| format!("time lag {hour}")),
        }
    }

    fn hour_of(&self, alert: &Alert, now: UnixNanos) -> Vec<Option<u64>> {
        match (&alert.subject.cluster, &alert.subject.group) {
            (Some(cluster), Some(group)) => (self.hour_of_group)(cluster, group, now),
            _ => Vec::new(),
        }
    }

    /// A message that tells nothing but that messages arrive.
    pub(crate) fn test(&self, now: UnixNanos) -> Message {
        let id = format!("test-{}", now.0);
        Message {
            key: id.clone(),
            kind: Kind::Test,
            at: now,
            alerts: vec![Item {
                id,
                rule: "Test".to_owned(),
                rule_id: "test".to_owned(),
                severity: Said::Warning,
                sentence: "This is a test: alerts of Highwater arrive here.".to_owned(),
                since: now,
                resolved_at: None,
                url: format!("{}/alerts?tab=channels", self.public_url),
                runbook: None,
                labels: [].into(),
                last_hour: None,
            }],
            omitted: 0,
        }
    }
}

/// As it is kept. These types are maps and lists of plain values: they always encode.
pub(crate) fn encoded<T: serde::Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
