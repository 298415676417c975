//! Steps from facts to facts.

use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use thiserror::Error;

use crate::alert::{Acknowledgement, Alert, AlertId, Event, EventKind, Outcome, Phase, Subject};
use crate::facts::Facts;
use crate::memory::{Entry, Key, Memory};
use crate::rest;
use crate::rule::{Rule, Severity};
use crate::silence::{Ended, Maintenance, Silence, SilenceError};
use crate::survey::{self, Survey};
use crate::tell;

/// How long an ended silence is shown.
const SILENCE_SHOWN: Duration = Duration::from_secs(7 * 86_400);
const MOST_SILENCES: usize = 1_000;
const LONGEST_NAME: usize = 200;

/// How the engine judges, apart from its rules.
#[derive(Clone, Debug)]
pub struct Options {
    /// A critical alert that nobody acknowledged is told again after this long.
    pub remind_after: Duration,
    /// Time between two looks counts when they are no further apart. At least three poll intervals.
    pub longest_gap: Duration,
    /// How long a resolved alert is shown.
    pub keep_resolved: Duration,
    /// What spans no longer tell of an edge or a service is let go after this long.
    pub forget_after: Duration,
    /// Alerts that are kept, the worst of more.
    pub most_alerts: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            remind_after: Duration::from_secs(4 * 3_600),
            longest_gap: Duration::from_secs(300),
            keep_resolved: Duration::from_secs(3_600),
            forget_after: Duration::from_secs(3_600),
            most_alerts: 10_000,
        }
    }
}

/// Why something a person asked for is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EngineError {
    /// There is no such alert.
    #[error("there is no alert {0}")]
    NoAlert(AlertId),
    /// It does not fire.
    #[error("alert {0} does not fire, so there is nothing to acknowledge")]
    NotFiring(AlertId),
    /// Nobody has acknowledged it.
    #[error("alert {0} is not acknowledged")]
    NotAcknowledged(AlertId),
    /// A name is needed.
    #[error("a name of 1 to {LONGEST_NAME} bytes is needed")]
    Name,
    /// There is no such silence.
    #[error("there is no silence {0}")]
    NoSilence(Arc<str>),
    /// It is over.
    #[error("silence {0} is over already")]
    SilenceOver(Arc<str>),
    /// The silence is wrong.
    #[error(transparent)]
    Silence(#[from] SilenceError),
}

/// Decides what fires and who is told. Holds about a kilobyte an alert.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Rule>,
    channels: Vec<Arc<str>>,
    maintenance: Vec<Maintenance>,
    options: Options,
    memory: Memory,
}

impl Engine {
    /// An engine that goes on from `memory`. `channels` are those that a rule tells which names none.
    #[must_use]
    pub fn new(
        rules: Vec<Rule>,
        channels: Vec<Arc<str>>,
        options: Options,
        memory: Memory,
    ) -> Self {
        Self {
            rules,
            channels,
            maintenance: Vec::new(),
            options,
            memory,
        }
    }

    /// Changes the rules. Alerts of rules that are gone or off resolve at the next step.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    /// Changes the channels. One that is new is told of what fires at the next step.
    pub fn set_channels(&mut self, channels: Vec<Arc<str>>) {
        self.channels = channels;
    }

    /// Changes the maintenance windows.
    pub fn set_maintenance(&mut self, maintenance: Vec<Maintenance>) {
        self.maintenance = maintenance;
    }

    /// When a pending alert fires, should all stay as it is; `None` for one that is not pending, or of which nothing is
    /// known at present.
    #[must_use]
    pub fn fires_at(&self, alert: &Alert) -> Option<UnixNanos> {
        let is_on_its_way = alert.phase == Phase::Pending && alert.unknown_since.is_none();
        let rule = self.rules().iter().find(|rule| rule.id == alert.rule)?;
        is_on_its_way.then(|| alert.pending_since + rule.hold)
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Rules that tell a channel which does not exist: rule and channel.
    pub fn unknown_channels(&self) -> impl Iterator<Item = (&Rule, &Arc<str>)> {
        self.rules.iter().flat_map(|rule| {
            let unknown = rule
                .tell
                .iter()
                .filter(|channel| !self.channels.contains(channel));
            unknown.map(move |channel| (rule, channel))
        })
    }

    /// What is to be kept over a restart.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What is pending, what fires, and what resolved within the last hour.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.memory
            .entries
            .values()
            .filter_map(|entry| entry.alert.as_ref())
            .chain(&self.memory.resolved)
    }

    /// Silences: those to come, those that hold, and those that ended within a week.
    #[must_use]
    pub fn silences(&self) -> &[Silence] {
        &self.memory.silences
    }

    /// Takes the facts of a moment. Every rule looks at every partition that it covers; what is fine takes no memory.
    #[must_use = "events are to be kept and notices to be sent"]
    pub fn step(&mut self, facts: &Facts, now: UnixNanos) -> Outcome {
        let Self {
            rules,
            channels,
            maintenance,
            options,
            memory,
        } = self;
        memory.counts.observe(facts, now);
        let mut survey = Survey::new(&mut memory.entries, options, now);
        survey::look_at_all(&mut survey, rules, facts, &memory.counts);
        rest::settle(&mut survey, rules, facts);
        let (fired, mut resolved) = survey.finish();
        let not_kept = keep_the_worst(memory, options.most_alerts);

        tell::mark_inhibited(&mut memory.entries);
        tell::mark_silenced(&mut memory.entries, &memory.silences, maintenance, now);
        let mut events = Vec::new();
        for key in fired {
            // One that was not kept fired for nobody.
            if let Some(alert) = memory
                .entries
                .get(&key)
                .and_then(|entry| entry.alert.as_ref())
            {
                events.push(event(alert, EventKind::Fired, None, now));
            }
        }
        events.extend(
            resolved
                .iter()
                .map(|alert| event(alert, EventKind::Resolved, None, now)),
        );
        let notices = tell::notices(
            &mut memory.entries,
            &resolved,
            rules,
            channels,
            options.remind_after,
            now,
        );
        resolved.append(&mut memory.resolved);
        resolved.retain(|alert| {
            let at = alert.resolved_at.unwrap_or(now);
            at <= now && now <= at + options.keep_resolved
        });
        resolved.truncate(options.most_alerts);
        memory.resolved = resolved;
        memory.entries.retain(|_, entry| {
            entry.looked = false;
            entry.alert.is_some() || !entry.track.is_idle(now)
        });
        forget_silences(&mut memory.silences, now);
        memory.stepped_at = Some(now);
        Outcome {
            events,
            notices,
            not_kept,
        }
    }

    fn firing(&mut self, id: &AlertId) -> Result<&mut Alert, EngineError> {
        let alert = self
            .memory
            .entries
            .values_mut()
            .filter_map(|entry| entry.alert.as_mut())
            .find(|alert| alert.id == *id);
        match alert {
            Some(alert) if alert.phase == Phase::Firing => Ok(alert),
            Some(_) => Err(EngineError::NotFiring(id.clone())),
            None if self.memory.resolved.iter().any(|alert| alert.id == *id) => {
                Err(EngineError::NotFiring(id.clone()))
            }
            None => Err(EngineError::NoAlert(id.clone())),
        }
    }

    /// Notes that somebody has seen an alert: it goes on firing, with the name, and nobody is reminded.
    ///
    /// # Errors
    /// There is no such alert, it does not fire, or the name is none.
    pub fn acknowledge(
        &mut self,
        id: &AlertId,
        by: &str,
        now: UnixNanos,
    ) -> Result<Event, EngineError> {
        let by = claimed_name(by)?;
        let alert = self.firing(id)?;
        alert.acknowledged = Some(Acknowledgement {
            by: Arc::clone(&by),
            at: now,
        });
        Ok(event(alert, EventKind::Acknowledged, Some(by), now))
    }

    /// Takes an acknowledgement back.
    ///
    /// # Errors
    /// There is no such alert, it does not fire, nobody has acknowledged it, or the name is none.
    pub fn unacknowledge(
        &mut self,
        id: &AlertId,
        by: &str,
        now: UnixNanos,
    ) -> Result<Event, EngineError> {
        let by = claimed_name(by)?;
        let alert = self.firing(id)?;
        if alert.acknowledged.take().is_none() {
            return Err(EngineError::NotAcknowledged(id.clone()));
        }
        Ok(event(alert, EventKind::Unacknowledged, Some(by), now))
    }

    /// Adds a silence. It counts from the next step on; its `created_at` is now.
    ///
    /// # Errors
    /// It ends before it starts or is over, lasts over 30 days, names nothing, has no author, or there are too many.
    pub fn silence(&mut self, silence: Silence) -> Result<(), EngineError> {
        let now = silence.created_at;
        silence.check(now)?;
        let silences = &mut self.memory.silences;
        if silences.iter().any(|known| known.id == silence.id) {
            return Err(SilenceError::Taken(Arc::clone(&silence.id)).into());
        }
        if silences.len() >= MOST_SILENCES {
            // What is over makes room for what is to be.
            silences.retain(|known| known.ended.is_none() && known.ends > now);
        }
        if silences.len() >= MOST_SILENCES {
            return Err(SilenceError::TooMany(MOST_SILENCES).into());
        }
        silences.push(silence);
        Ok(())
    }

    /// Ends a silence before its end.
    ///
    /// # Errors
    /// There is no such silence, it is over, or the name is none.
    pub fn end_silence(&mut self, id: &str, by: &str, now: UnixNanos) -> Result<(), EngineError> {
        let by = claimed_name(by)?;
        let silence = self
            .memory
            .silences
            .iter_mut()
            .find(|silence| *silence.id == *id)
            .ok_or_else(|| EngineError::NoSilence(id.into()))?;
        if silence.ended.is_some() || silence.ends <= now {
            return Err(EngineError::SilenceOver(id.into()));
        }
        silence.ended = Some(Ended { by, at: now });
        Ok(())
    }
}

fn claimed_name(by: &str) -> Result<Arc<str>, EngineError> {
    let by = by.trim();
    if by.is_empty() || by.len() > LONGEST_NAME {
        return Err(EngineError::Name);
    }
    Ok(by.into())
}

fn event(alert: &Alert, kind: EventKind, by: Option<Arc<str>>, now: UnixNanos) -> Event {
    let why = alert.why_resolved.as_ref();
    Event {
        at: now,
        kind,
        alert: alert.id.clone(),
        rule: Arc::clone(&alert.rule),
        subject: alert.subject.clone(),
        severity: alert.severity,
        sentence: why
            .filter(|_| kind == EventKind::Resolved)
            .unwrap_or(&alert.sentence)
            .clone(),
        by,
    }
}

/// Drops alerts beyond the bound, and says how many. Those that somebody was told of stay longest: their end has to be
/// told too. Then the critical ones before warnings, the older before the younger.
fn keep_the_worst(memory: &mut Memory, most: usize) -> usize {
    let entries = &mut memory.entries;
    if entries.len() <= most {
        return 0;
    }
    let rank = |key: &Key, entry: &Entry| {
        let alert = entry.alert.as_ref();
        (
            alert.is_none(),
            alert.is_none_or(|alert| alert.told.is_empty()),
            alert.is_none_or(|alert| alert.phase != Phase::Firing),
            alert.is_none_or(|alert| alert.severity != Severity::Critical),
            alert.map(|alert| alert.pending_since),
            key.clone(),
        )
    };
    let mut ranked: Vec<_> = entries
        .iter()
        .map(|(key, entry)| rank(key, entry))
        .collect();
    ranked.sort_unstable();
    let mut dropped = 0;
    for (no_alert, .., key) in ranked.drain(most..) {
        entries.remove(&key);
        dropped += usize::from(!no_alert);
    }
    dropped
}

fn forget_silences(silences: &mut Vec<Silence>, now: UnixNanos) {
    silences.retain(|silence| {
        let over = silence
            .ended
            .as_ref()
            .map_or(silence.ends, |ended| ended.at);
        now <= over + SILENCE_SHOWN
    });
}

/// The subject of an alert on a cluster's group.
pub(crate) fn subject(
    cluster: Option<&Arc<str>>,
    group: Option<&Arc<str>>,
    topic: Option<&Arc<str>>,
    service: Option<&Arc<str>>,
) -> Subject {
    Subject {
        cluster: cluster.cloned(),
        group: group.cloned(),
        topic: topic.cloned(),
        partition: None,
        service: service.cloned(),
    }
}
