//! One step's looks: every rule on everything it selects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;

use crate::alert::{Alert, AlertId, Phase, Subject};
use crate::counts::Counts;
use crate::engine::{Options, subject};
use crate::facts::{ClusterFacts, Facts, GroupFacts, QueueFacts};
use crate::judge::{self, Verdict};
use crate::look::GroupLook;
use crate::memory::{Entry, Key};
use crate::rule::Rule;
use crate::sentences;
use crate::silence::Concerns;
use crate::track::{Change, Level};
use crate::watch::{About, Watch};
use crate::words;

/// Names an alert remembers of what it concerns.
const MOST_CONCERNS: usize = 100;
/// A service that was silent for so long is retired, and no alert.
pub(crate) const RETIRED_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// What a look found, with what is only needed if there is an alert.
struct Find<W, C> {
    subject: Subject,
    verdict: Verdict,
    /// Why nothing can be said, where the facts say it.
    why_unknown: Option<Arc<str>>,
    sentence: W,
    concerns: C,
}

/// The looks of one step.
pub(crate) struct Survey<'a> {
    pub(crate) entries: &'a mut BTreeMap<Key, Entry>,
    options: &'a Options,
    pub(crate) now: UnixNanos,
    fired: Vec<Key>,
    resolved: Vec<Alert>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(
        entries: &'a mut BTreeMap<Key, Entry>,
        options: &'a Options,
        now: UnixNanos,
    ) -> Self {
        Self {
            entries,
            options,
            now,
            fired: Vec::new(),
            resolved: Vec::new(),
        }
    }

    /// What fired, and what resolved.
    pub(crate) fn finish(self) -> (Vec<Key>, Vec<Alert>) {
        (self.fired, self.resolved)
    }

    fn remembered(&self, key: &Key) -> Option<&Concerns> {
        self.entries.get(key).map(|entry| &entry.concerns)
    }

    fn take<W, C>(&mut self, rule: &Rule, key: Key, find: Find<W, C>)
    where
        W: FnOnce() -> String,
        C: FnOnce() -> Concerns,
    {
        let now = self.now;
        if !self.entries.contains_key(&key) {
            // What is fine and was fine costs no memory.
            if !matches!(find.verdict.level, Level::Breach(_)) {
                return;
            }
            self.entries.insert(key.clone(), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.looked = true;
        let change = entry
            .track
            .look(rule, self.options.longest_gap, find.verdict.level, now);
        match change {
            Change::Dropped => {
                entry.alert = None;
                return;
            }
            Change::Began | Change::Fired if entry.alert.is_none() => {
                entry.alert = Some(new_alert(rule, &key, now));
            }
            _ => {}
        }
        let Some(alert) = entry.alert.as_mut() else {
            return;
        };
        describe(alert, rule);
        if find.verdict.level == Level::Unknown {
            let why = find
                .why_unknown
                .unwrap_or_else(|| find.verdict.why_unknown.into());
            note_unknown(alert, &why, now);
            return;
        }
        alert.unknown_since = None;
        alert.value = find.verdict.value;
        alert.subject = find.subject;
        alert.sentence = words::sentence(&(find.sentence)());
        remember(&mut entry.concerns, (find.concerns)());
        if alert.phase == Phase::Pending {
            alert.pending_since = now - entry.track.held.unwrap_or_default();
        }
        match change {
            Change::Fired => {
                alert.phase = Phase::Firing;
                alert.fired_at = Some(now);
                alert.flapping = entry.track.is_flapping();
                self.fired.push(key);
            }
            Change::Resolved => {
                let why = words::why_clear(rule, entry.track.clear_for(rule));
                self.resolve(&key, why);
            }
            _ => {}
        }
    }

    /// Ends what an entry has, for a reason that is not its own figure.
    pub(crate) fn resolve(&mut self, key: &Key, why: String) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.track.end();
        let Some(mut alert) = entry.alert.take() else {
            return;
        };
        // What never fired has nothing to resolve.
        if alert.phase == Phase::Firing {
            alert.phase = Phase::Resolved;
            alert.resolved_at = Some(self.now);
            alert.unknown_since = None;
            alert.why_resolved = Some(words::sentence(&why));
            self.resolved.push(alert);
        }
    }

    /// Nothing is known of it this time. Says since when that is so.
    pub(crate) fn unknown(&mut self, rule: &Rule, key: &Key, why: &Arc<str>) -> UnixNanos {
        let (now, gap) = (self.now, self.options.longest_gap);
        let Some(entry) = self.entries.get_mut(key) else {
            return now;
        };
        entry.track.look(rule, gap, Level::Unknown, now);
        entry
            .alert
            .as_mut()
            .map_or(now, |alert| note_unknown(alert, why, now))
    }
}

fn note_unknown(alert: &mut Alert, why: &Arc<str>, now: UnixNanos) -> UnixNanos {
    // A clock that went back does not make it unknown since tomorrow.
    let since = alert
        .unknown_since
        .as_ref()
        .map_or(now, |(since, _)| (*since).min(now));
    alert.unknown_since = Some((since, words::sentence(why).into()));
    since
}

fn new_alert(rule: &Rule, key: &Key, now: UnixNanos) -> Alert {
    Alert {
        id: AlertId::new(&key.rule, &key.subject, now),
        rule: Arc::clone(&rule.id),
        rule_name: Arc::clone(&rule.name),
        watch: rule.watch,
        severity: rule.severity,
        subject: key.subject.clone(),
        phase: Phase::Pending,
        pending_since: now,
        fired_at: None,
        resolved_at: None,
        value: None,
        over: rule.threshold,
        unit: rule.watch.unit(),
        sentence: String::new(),
        why_resolved: None,
        acknowledged: None,
        silenced_by: None,
        inhibited_by: None,
        unknown_since: None,
        flapping: false,
        told: BTreeSet::new(),
        told_at: None,
        runbook: rule.runbook.clone(),
    }
}

/// A rule may have been edited since the alert began.
fn describe(alert: &mut Alert, rule: &Rule) {
    alert.rule_name = Arc::clone(&rule.name);
    alert.severity = rule.severity;
    alert.over = rule.threshold;
    alert.runbook.clone_from(&rule.runbook);
}

/// Keeps names that were known before where none are now: that a span tells of a service may take a while after a start.
fn remember(concerns: &mut Concerns, now: Concerns) {
    for (known, names) in [
        (&mut concerns.groups, now.groups),
        (&mut concerns.topics, now.topics),
        (&mut concerns.services, now.services),
    ] {
        if !names.is_empty() {
            *known = names.into_iter().take(MOST_CONCERNS).collect();
        }
    }
}

/// What a cluster's figures are worth.
pub(crate) enum Sight<'a> {
    Read(&'a ClusterFacts),
    Blind(Arc<str>),
    NotConfigured,
}

pub(crate) fn sight<'a>(facts: &'a Facts, cluster: &str) -> Sight<'a> {
    match facts.clusters.iter().find(|known| *known.name == *cluster) {
        None => Sight::NotConfigured,
        Some(known) => match (&known.unreachable, known.last_read) {
            (Some(why), _) => Sight::Blind(Arc::clone(why)),
            (None, None) => Sight::Blind(format!("{cluster} has not been read yet").into()),
            (None, Some(_)) => Sight::Read(known),
        },
    }
}

/// Looks at everything that a rule selects.
pub(crate) fn look_at_all(survey: &mut Survey<'_>, rules: &[Rule], facts: &Facts, counts: &Counts) {
    let rules = || rules.iter().filter(|rule| rule.enabled);
    let of_groups: Vec<&Rule> = rules()
        .filter(|rule| rule.watch.about() == About::Group)
        .collect();
    for group in &facts.groups {
        look_at_group(survey, &of_groups, group, facts, counts);
    }
    for rule in rules() {
        match rule.watch.about() {
            About::Group => {}
            About::Queue => look_at_queues(survey, rule, facts, counts),
            About::Edge => look_at_edges(survey, rule, facts),
            About::Cluster => look_at_clusters(survey, rule, facts),
            About::Service => look_at_services(survey, rule, facts),
            About::Collector => {
                let verdict = judge::collector(rule, counts, survey.now);
                let find = Find {
                    subject: Subject::default(),
                    why_unknown: None,
                    sentence: || sentences::collector(rule, &verdict),
                    concerns: Concerns::default,
                    verdict: verdict.clone(),
                };
                survey.take(rule, key(rule, Subject::default()), find);
            }
        }
    }
}

fn key(rule: &Rule, subject: Subject) -> Key {
    Key {
        rule: Arc::clone(&rule.id),
        subject,
    }
}

/// The names now, or those of before where there are none now.
fn now_or_before<'a>(now: &'a [Arc<str>], before: Option<&'a Vec<Arc<str>>>) -> &'a [Arc<str>] {
    match before {
        Some(before) if now.is_empty() => before,
        _ => now,
    }
}

fn look_at_group(
    survey: &mut Survey<'_>,
    rules: &[&Rule],
    group: &GroupFacts,
    facts: &Facts,
    counts: &Counts,
) {
    let now = survey.now;
    // Opened for the first rule that looks, and once for all of them.
    let mut partitions = None;
    for rule in rules {
        let select = &rule.selector;
        if !select.cluster.matches(&group.cluster) || !select.group.matches(&group.group) {
            continue;
        }
        // The backlog of a share group is unknown by nature, which is no news.
        if rule.watch == Watch::NoData && &*group.lag.kind == "share" {
            continue;
        }
        let key = key(
            rule,
            subject(Some(&group.cluster), Some(&group.group), None, None),
        );
        let before = survey.remembered(&key);
        let services = now_or_before(&group.services, before.map(|known| &known.services));
        let topics = now_or_before(&group.lag.topics, before.map(|known| &known.topics));
        if !select.service.matches_any(services)
            || (!select.topic.is_empty() && !select.topic.matches_any(topics))
        {
            continue;
        }
        let seen = match sight(facts, &group.cluster) {
            Sight::NotConfigured => continue,
            Sight::Blind(why) => Err(why),
            Sight::Read(cluster) => Ok(cluster),
        };
        let partitions = partitions.get_or_insert_with(|| group.lag.partitions.open());
        let look = GroupLook::of(&group.lag, partitions, &select.topic);
        let (verdict, why_unknown) = match seen {
            Err(why) => (Verdict::unknown(""), Some(why)),
            Ok(cluster) => {
                let verdict = judge_group(rule, group, &look, counts, cluster, now);
                let reason = &group.lag.reason;
                let told = verdict.level == Level::Unknown && !reason.is_empty();
                (verdict, told.then(|| reason.as_str().into()))
            }
        };
        let mut subject = key.subject.clone();
        if let Some((place, _)) = judge::worst_partition(rule, &look) {
            subject.topic = Some(Arc::clone(&place.topic));
            subject.partition = Some(place.partition);
        }
        let find = Find {
            subject,
            why_unknown,
            sentence: || sentences::group(rule, group, &look, &verdict, now),
            concerns: || Concerns {
                groups: Vec::new(),
                topics: group.lag.topics.clone(),
                services: group.services.clone(),
            },
            verdict: verdict.clone(),
        };
        survey.take(rule, key, find);
    }
}

fn judge_group(
    rule: &Rule,
    group: &GroupFacts,
    look: &GroupLook<'_>,
    counts: &Counts,
    cluster: &ClusterFacts,
    now: UnixNanos,
) -> Verdict {
    if rule.watch == Watch::RebalanceStorm {
        let place = (Arc::clone(&group.cluster), Arc::clone(&group.group));
        return judge::rebalances(rule, &place, counts, now);
    }
    let mut verdict = judge::group(rule, look, now);
    // What was so before an outage has to hold again after it: the first polls settle.
    if let Level::Breach(Some(since)) = verdict.level {
        verdict.level = Level::Breach(Some(since.max(cluster.since)));
    }
    verdict
}

fn look_at_queues(survey: &mut Survey<'_>, rule: &Rule, facts: &Facts, counts: &Counts) {
    let now = survey.now;
    let select = &rule.selector;
    for queue in &facts.queues {
        if !select.cluster.matches(&queue.cluster) || !select.topic.matches(&queue.topic) {
            continue;
        }
        let key = key(
            rule,
            subject(Some(&queue.cluster), None, Some(&queue.topic), None),
        );
        let before = survey.remembered(&key);
        let groups = now_or_before(&queue.groups, before.map(|known| &known.groups));
        if !select.group.matches_any(groups) {
            continue;
        }
        let place = (Arc::clone(&queue.cluster), Arc::clone(&queue.topic));
        let (verdict, why_unknown) = match sight(facts, &queue.cluster) {
            Sight::NotConfigured => continue,
            Sight::Blind(why) => (Verdict::unknown(""), Some(why)),
            Sight::Read(_) => (judge::queue(rule, queue, &place, counts, now), None),
        };
        let find = Find {
            subject: key.subject.clone(),
            why_unknown,
            sentence: || sentences::queue(rule, queue, &place, counts, &verdict, now),
            concerns: || queue_concerns(queue),
            verdict: verdict.clone(),
        };
        survey.take(rule, key, find);
    }
}

fn queue_concerns(queue: &QueueFacts) -> Concerns {
    Concerns {
        groups: queue.groups.clone(),
        ..Concerns::default()
    }
}

fn look_at_edges(survey: &mut Survey<'_>, rule: &Rule, facts: &Facts) {
    let select = &rule.selector;
    for edge in &facts.edges {
        if !select.cluster.matches(&edge.cluster)
            || !select.group.matches(&edge.group)
            || !select.topic.matches(&edge.topic)
        {
            continue;
        }
        let key = key(
            rule,
            subject(
                Some(&edge.cluster),
                Some(&edge.group),
                Some(&edge.topic),
                None,
            ),
        );
        let before = survey.remembered(&key);
        let services = now_or_before(&edge.services, before.map(|known| &known.services));
        if !select.service.matches_any(services) {
            continue;
        }
        // Spans tell of an edge, so that its cluster cannot be read changes nothing.
        let verdict = judge::edge(rule, edge);
        let blank = verdict.level == Level::Unknown;
        let find = Find {
            subject: key.subject.clone(),
            why_unknown: None,
            sentence: || sentences::edge(rule, edge, &verdict),
            concerns: || Concerns {
                services: edge.services.clone(),
                ..Concerns::default()
            },
            verdict: verdict.clone(),
        };
        survey.take(rule, key.clone(), find);
        if blank {
            let why = verdict.why_unknown.into();
            let since = survey.unknown(rule, &key, &why);
            forget_if_old(survey, &key, since);
        }
    }
}

/// Spans that have stopped may never come again: what is unknown for long is let go, and says so.
pub(crate) fn forget_if_old(survey: &mut Survey<'_>, key: &Key, since: UnixNanos) {
    let patience = survey.options.forget_after;
    if survey.now > since + patience {
        let why = format!(
            "Nothing has been known of it for {}.",
            words::duration(patience)
        );
        survey.resolve(key, why);
    }
}

fn look_at_clusters(survey: &mut Survey<'_>, rule: &Rule, facts: &Facts) {
    let now = survey.now;
    for cluster in &facts.clusters {
        if !rule.selector.cluster.matches(&cluster.name) {
            continue;
        }
        let key = key(rule, subject(Some(&cluster.name), None, None, None));
        let find = Find {
            subject: key.subject.clone(),
            verdict: judge::cluster(cluster),
            why_unknown: None,
            sentence: || sentences::cluster(cluster, now),
            concerns: Concerns::default,
        };
        survey.take(rule, key, find);
    }
}

fn look_at_services(survey: &mut Survey<'_>, rule: &Rule, facts: &Facts) {
    let now = survey.now;
    for service in &facts.services {
        if !rule.selector.service.matches(&service.service) || is_retired(service.last_span_at, now)
        {
            continue;
        }
        let key = key(rule, subject(None, None, None, Some(&service.service)));
        let find = Find {
            subject: key.subject.clone(),
            verdict: judge::service(rule, service, now),
            why_unknown: None,
            sentence: || sentences::service(service, now),
            concerns: Concerns::default,
        };
        survey.take(rule, key, find);
    }
}

pub(crate) fn is_retired(last_span_at: UnixNanos, now: UnixNanos) -> bool {
    now > last_span_at + RETIRED_AFTER
}
