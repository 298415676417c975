//! Who is told: inhibition, silences, reminders, and one notice for each channel, kind and cluster.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;

use crate::alert::{Alert, AlertId, Notice, NoticeKind, Phase};
use crate::memory::{Entry, Key};
use crate::rule::{Rule, Severity};
use crate::silence::{Maintenance, Silence};
use crate::watch::Watch;

/// What fires and says it already, by cluster and group.
#[derive(Default)]
struct Inhibitors {
    unreachable: BTreeMap<Arc<str>, AlertId>,
    stopped: BTreeMap<(Arc<str>, Arc<str>), AlertId>,
    data_loss: BTreeMap<(Arc<str>, Arc<str>), AlertId>,
    time_lag: BTreeMap<(Arc<str>, Arc<str>), AlertId>,
}

impl Inhibitors {
    fn note(&mut self, alert: &Alert) {
        let Some(cluster) = &alert.subject.cluster else {
            return;
        };
        let fires = alert.phase == Phase::Firing;
        if alert.watch == Watch::BrokerUnreachable {
            // Already while it is pending: what the outage causes is not to be told before the outage.
            self.unreachable
                .entry(Arc::clone(cluster))
                .or_insert_with(|| alert.id.clone());
            return;
        }
        let Some(group) = alert.subject.group.as_ref().filter(|_| fires) else {
            return;
        };
        let map = match (alert.watch, alert.severity) {
            (Watch::Stopped, _) => &mut self.stopped,
            (Watch::DataLoss, _) => &mut self.data_loss,
            (Watch::TimeLag, Severity::Critical) => &mut self.time_lag,
            _ => return,
        };
        map.entry((Arc::clone(cluster), Arc::clone(group)))
            .or_insert_with(|| alert.id.clone());
    }

    fn of(&self, alert: &Alert) -> Option<&AlertId> {
        let cluster = alert.subject.cluster.as_ref()?;
        if alert.watch != Watch::BrokerUnreachable
            && let Some(id) = self.unreachable.get(cluster)
        {
            return Some(id);
        }
        let place = (
            Arc::clone(cluster),
            Arc::clone(alert.subject.group.as_ref()?),
        );
        match alert.watch {
            Watch::OffsetLag => self
                .stopped
                .get(&place)
                .or_else(|| self.time_lag.get(&place)),
            Watch::TimeLag | Watch::FallingBehind | Watch::Stalled => self.stopped.get(&place),
            Watch::RetentionMargin => self.data_loss.get(&place),
            _ => None,
        }
    }
}

/// Marks alerts that a worse one says already.
pub(crate) fn mark_inhibited(entries: &mut BTreeMap<Key, Entry>) {
    let mut inhibitors = Inhibitors::default();
    for alert in entries.values().filter_map(|entry| entry.alert.as_ref()) {
        inhibitors.note(alert);
    }
    for alert in entries
        .values_mut()
        .filter_map(|entry| entry.alert.as_mut())
    {
        alert.inhibited_by = inhibitors.of(alert).cloned();
    }
}

/// Marks alerts that a silence or a maintenance window is about.
pub(crate) fn mark_silenced(
    entries: &mut BTreeMap<Key, Entry>,
    silences: &[Silence],
    maintenance: &[Maintenance],
    now: UnixNanos,
) {
    let silences: Vec<_> = silences
        .iter()
        .filter(|silence| silence.is_active(now))
        .collect();
    let maintenance: Vec<_> = maintenance
        .iter()
        .filter(|window| window.is_active(now))
        .collect();
    for entry in entries.values_mut() {
        let Some(alert) = entry.alert.as_mut() else {
            continue;
        };
        let silence = silences
            .iter()
            .find(|silence| silence.matchers.matches(alert, &entry.concerns))
            .map(|silence| &silence.id);
        let window = || {
            maintenance
                .iter()
                .find(|window| window.matches(alert, &entry.concerns))
                .map(|window| window.id())
        };
        alert.silenced_by = silence.or_else(window).cloned();
    }
}

/// Channel, kind, whether it is a reminder, cluster.
type Envelope = (Arc<str>, NoticeKind, bool, Option<Arc<str>>);

/// Collects notices: one for each envelope.
#[derive(Default)]
struct Notices(BTreeMap<Envelope, Vec<Alert>>);

impl Notices {
    fn add(&mut self, channel: &Arc<str>, kind: NoticeKind, reminder: bool, alert: &Alert) {
        let cluster = alert.subject.cluster.clone();
        self.0
            .entry((Arc::clone(channel), kind, reminder, cluster))
            .or_default()
            .push(alert.clone());
    }

    fn finish(self) -> Vec<Notice> {
        self.0
            .into_iter()
            .map(|((channel, kind, reminder, cluster), mut alerts)| {
                alerts.sort_by_key(|alert| (Reverse(alert.severity), alert.fired_at));
                Notice {
                    channel,
                    kind,
                    reminder,
                    cluster,
                    alerts,
                }
            })
            .collect()
    }
}

/// Decides who is told of what, and notes it in the alerts.
pub(crate) fn notices(
    entries: &mut BTreeMap<Key, Entry>,
    resolved: &[Alert],
    rules: &[Rule],
    channels: &[Arc<str>],
    remind_after: Duration,
    now: UnixNanos,
) -> Vec<Notice> {
    let rules: BTreeMap<&str, &Rule> = rules.iter().map(|rule| (&*rule.id, rule)).collect();
    let mut notices = Notices::default();
    for alert in entries
        .values_mut()
        .filter_map(|entry| entry.alert.as_mut())
    {
        let quiet = alert.silenced_by.is_some()
            || alert.inhibited_by.is_some()
            || alert.acknowledged.is_some();
        if alert.phase != Phase::Firing || quiet {
            continue;
        }
        let Some(rule) = rules.get(&*alert.rule) else {
            continue;
        };
        // A clock that went back does not put a reminder off.
        alert.told_at = alert.told_at.map(|at| at.min(now));
        let overdue = alert.severity == Severity::Critical
            && alert.told_at.is_some_and(|at| now >= at + remind_after);
        let to_tell: Vec<(Arc<str>, bool)> = channels
            .iter()
            .filter(|channel| rule.tell.is_empty() || rule.tell.contains(channel))
            .filter_map(|channel| {
                let before = alert.told.contains(channel);
                (!before || overdue).then(|| (Arc::clone(channel), before))
            })
            .collect();
        if to_tell.is_empty() {
            continue;
        }
        alert.told_at = Some(now);
        alert
            .told
            .extend(to_tell.iter().map(|(channel, _)| Arc::clone(channel)));
        for (channel, reminder) in &to_tell {
            notices.add(channel, NoticeKind::Fired, *reminder, alert);
        }
    }
    for alert in resolved {
        for channel in alert
            .told
            .iter()
            .filter(|channel| channels.contains(channel))
        {
            notices.add(channel, NoticeKind::Resolved, false, alert);
        }
    }
    notices.finish()
}
