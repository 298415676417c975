//! Silences and maintenance windows: alerts are shown then, and nobody is told.

use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::alert::Alert;
use crate::selector::{Globs, LONGEST_GLOB, MOST_GLOBS};

const DAY_NS: u64 = 86_400 * 1_000_000_000;
const MINUTE_NS: u64 = 60 * 1_000_000_000;
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const LONGEST_TEXT: usize = 1_000;

/// Why a silence or a maintenance window is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SilenceError {
    /// It ends before it starts.
    #[error("the silence ends before it starts, or at once")]
    EndsBeforeStart,
    /// It ended already.
    #[error("the silence would have ended already")]
    EndsInThePast,
    /// It is too long.
    #[error("a silence lasts 30 days at most")]
    TooLong,
    /// It names nothing.
    #[error(
        "the silence names nothing, and would silence everything; say rule = [\"*\"] if that is meant"
    )]
    NamesNothing,
    /// A text is missing or too long.
    #[error("{key}: {why}")]
    Text {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// There are too many.
    #[error("there are {0} silences already: end some first")]
    TooMany(usize),
    /// The id is taken.
    #[error("there is a silence {0} already")]
    Taken(Arc<str>),
    /// A maintenance window's value is wrong.
    #[error("maintenance {name}: {key} = {value:?}: {why}")]
    Maintenance {
        /// Its name.
        name: String,
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Which alerts a silence is about: those that match every list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matchers {
    /// Rules, by id.
    pub rule: Globs,
    /// Clusters.
    pub cluster: Globs,
    /// Groups.
    pub group: Globs,
    /// Topics.
    pub topic: Globs,
    /// Services.
    pub service: Globs,
}

impl Matchers {
    /// Every list, and what it is of.
    #[must_use]
    pub fn lists(&self) -> [(&'static str, &Globs); 5] {
        [
            ("rule", &self.rule),
            ("cluster", &self.cluster),
            ("group", &self.group),
            ("topic", &self.topic),
            ("service", &self.service),
        ]
    }

    /// Whether `alert` matches. `groups`, `topics` and `services` are all those that it concerns, where there are
    /// more than it names.
    pub(crate) fn matches(&self, alert: &Alert, concerns: &Concerns) -> bool {
        let one_or_all = |globs: &Globs, one: Option<&Arc<str>>, all: &[Arc<str>]| {
            if all.is_empty() {
                globs.matches_option(one.map(|name| &**name))
            } else {
                globs.matches_any(all)
            }
        };
        let subject = &alert.subject;
        self.rule.matches(&alert.rule)
            && self.cluster.matches_option(subject.cluster.as_deref())
            && one_or_all(&self.group, subject.group.as_ref(), &concerns.groups)
            && one_or_all(&self.topic, subject.topic.as_ref(), &concerns.topics)
            && one_or_all(&self.service, subject.service.as_ref(), &concerns.services)
    }

    fn check(&self) -> Result<(), SilenceError> {
        if self.lists().iter().all(|(_, globs)| globs.is_empty()) {
            return Err(SilenceError::NamesNothing);
        }
        for (key, globs) in self.lists() {
            let too_long = globs
                .0
                .iter()
                .any(|glob| glob.is_empty() || glob == "!" || glob.len() > LONGEST_GLOB);
            if globs.0.len() > MOST_GLOBS || too_long {
                return Err(SilenceError::Text {
                    key,
                    why: format!("at most {MOST_GLOBS} globs of 1 to {LONGEST_GLOB} bytes"),
                });
            }
        }
        Ok(())
    }
}

/// Names an alert concerns beyond its subject: a group's topics, a queue's groups.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Concerns {
    pub(crate) groups: Vec<Arc<str>>,
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) services: Vec<Arc<str>>,
}

/// That somebody ended a silence before its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Who, as claimed.
    pub by: Arc<str>,
    /// When.
    pub at: UnixNanos,
}

/// A silence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// Names it.
    pub id: Arc<str>,
    /// Which alerts.
    pub matchers: Matchers,
    /// From.
    pub starts: UnixNanos,
    /// To, at most 30 days after `starts`.
    pub ends: UnixNanos,
    /// Who made it, as claimed.
    pub author: Arc<str>,
    /// Why.
    pub comment: String,
    /// When it was made.
    pub created_at: UnixNanos,
    /// Who ended it before its end, and when.
    pub ended: Option<Ended>,
}

impl Silence {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: UnixNanos) -> bool {
        self.ended.is_none() && self.starts <= now && now < self.ends
    }

    pub(crate) fn check(&self, now: UnixNanos) -> Result<(), SilenceError> {
        if self.ends <= self.starts {
            return Err(SilenceError::EndsBeforeStart);
        }
        if self.ends <= now {
            return Err(SilenceError::EndsInThePast);
        }
        if self.ends > self.starts + LONGEST {
            return Err(SilenceError::TooLong);
        }
        for (key, text, required) in [
            ("id", &*self.id, true),
            ("author", &*self.author, true),
            ("comment", &*self.comment, false),
        ] {
            if required && text.trim().is_empty() {
                let why = "is missing".to_owned();
                return Err(SilenceError::Text { key, why });
            }
            if text.len() > LONGEST_TEXT {
                let why = format!("is longer than {LONGEST_TEXT} bytes");
                return Err(SilenceError::Text { key, why });
            }
        }
        self.matchers.check()
    }
}

/// A recurring window, as written: `[[maintenance]]`. Times are UTC.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceSpec {
    /// What pages call it.
    pub name: String,
    /// Days on which it starts: `mon` to `sun`; none: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// From, UTC: `02:00`.
    pub from: String,
    /// To, UTC: `04:00`; `24:00` is midnight. Before `from`, it is of the next day.
    pub to: String,
    /// Globs of rules, by id.
    #[serde(default, skip_serializing_if = "Globs::is_empty")]
    pub rule: Globs,
    /// Globs of clusters.
    #[serde(default, skip_serializing_if = "Globs::is_empty")]
    pub cluster: Globs,
    /// Globs of groups.
    #[serde(default, skip_serializing_if = "Globs::is_empty")]
    pub group: Globs,
    /// Globs of topics.
    #[serde(default, skip_serializing_if = "Globs::is_empty")]
    pub topic: Globs,
    /// Globs of services.
    #[serde(default, skip_serializing_if = "Globs::is_empty")]
    pub service: Globs,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The epoch was a Thursday.
const EPOCH_DAY: u64 = 3;

/// A recurring window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maintenance {
    spec: MaintenanceSpec,
    id: Arc<str>,
    matchers: Matchers,
    /// By day of the week, Monday first.
    days: [bool; 7],
    /// Minutes after midnight.
    from_minute: u64,
    /// Minutes that it lasts, from 1 to 1,440.
    minutes: u64,
}

impl Maintenance {
    /// Reads a window. An empty selection is everything: a window in a file is written with care.
    ///
    /// # Errors
    /// Names the window, the key and the value.
    pub fn from_spec(spec: MaintenanceSpec) -> Result<Self, SilenceError> {
        let wrong = |key, value: &str, why| SilenceError::Maintenance {
            name: spec.name.chars().take(100).collect(),
            key,
            value: value.chars().take(100).collect(),
            why,
        };
        if spec.name.trim().is_empty() || spec.name.len() > 100 {
            return Err(wrong("name", &spec.name, "1 to 100 bytes are needed"));
        }
        let mut days = [spec.days.is_empty(); 7];
        for day in &spec.days {
            let index = DAYS
                .iter()
                .position(|name| *name == day.to_ascii_lowercase());
            let Some(index) = index else {
                return Err(wrong("days", day, "not a day such as mon or sun"));
            };
            days[index] = true;
        }
        let from_minute = minute(&spec.from)
            .filter(|minute| *minute < 1_440)
            .ok_or_else(|| wrong("from", &spec.from, "not a time of the day such as 02:00"))?;
        let to_minute = minute(&spec.to)
            .ok_or_else(|| wrong("to", &spec.to, "not a time of the day such as 04:00"))?;
        let minutes = (to_minute + 1_440 - from_minute) % 1_440;
        let minutes = match (minutes, to_minute) {
            (0, 1_440) => 1_440,
            (0, _) => return Err(wrong("to", &spec.to, "it ends when it begins")),
            (minutes, _) => minutes,
        };
        let matchers = Matchers {
            rule: spec.rule.clone(),
            cluster: spec.cluster.clone(),
            group: spec.group.clone(),
            topic: spec.topic.clone(),
            service: spec.service.clone(),
        };
        match matchers.check() {
            Ok(()) | Err(SilenceError::NamesNothing) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            id: format!("maintenance:{}", spec.name).into(),
            matchers,
            days,
            from_minute,
            minutes,
            spec,
        })
    }

    /// As written.
    #[must_use]
    pub const fn spec(&self) -> &MaintenanceSpec {
        &self.spec
    }

    /// Which alerts.
    #[must_use]
    pub const fn matchers(&self) -> &Matchers {
        &self.matchers
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn is_active(&self, now: UnixNanos) -> bool {
        let day = now.0 / DAY_NS;
        let minute = now.0 % DAY_NS / MINUTE_NS;
        let starts_on = |day: u64| self.days[usize::try_from((day + EPOCH_DAY) % 7).unwrap_or(0)];
        let today = starts_on(day)
            && minute >= self.from_minute
            && minute < self.from_minute + self.minutes;
        // One that passes midnight began yesterday.
        let yesterday =
            day > 0 && starts_on(day - 1) && minute + 1_440 < self.from_minute + self.minutes;
        today || yesterday
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn matches(&self, alert: &Alert, concerns: &Concerns) -> bool {
        self.matchers.matches(alert, concerns)
    }
}

/// Minutes after midnight of `02:00`, up to `24:00`.
fn minute(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())?
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= 1_440).then_some(hours * 60 + minutes)
}
