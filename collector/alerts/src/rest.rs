//! What the facts of a step did not speak of: its rule is gone, it is gone itself, or nothing is known of it.

use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;

use crate::alert::Subject;
use crate::facts::Facts;
use crate::memory::Key;
use crate::rule::Rule;
use crate::survey::{RETIRED_AFTER, Sight, Survey, forget_if_old, is_retired, sight};
use crate::watch::About;
use crate::words;

/// A queue that is not recognised for so long, on a cluster that is read, is gone. After a start, queues are recognised
/// one after another.
const QUEUE_GONE_AFTER: Duration = Duration::from_secs(300);

/// What to do with something that no look was taken at.
enum Fate {
    Over(String),
    Unknown(Arc<str>),
    /// Unknown, and over if it stays so until then.
    Fading(Arc<str>),
}

/// Settles what the facts did not speak of: its rule is gone, it is gone itself, or nothing is known of it.
pub(crate) fn settle(survey: &mut Survey<'_>, rules: &[Rule], facts: &Facts) {
    let rest: Vec<Key> = survey
        .entries
        .iter()
        .filter(|(_, entry)| !entry.looked)
        .map(|(key, _)| key.clone())
        .collect();
    for key in rest {
        let watched = survey.entries.get(&key).and_then(|entry| {
            let alert = entry.alert.as_ref();
            alert.map(|alert| alert.watch)
        });
        let Some(rule) = rules.iter().find(|rule| rule.id == key.rule) else {
            survey.resolve(&key, "Its rule was removed.".to_owned());
            continue;
        };
        if !rule.enabled {
            survey.resolve(&key, "Its rule was switched off.".to_owned());
            continue;
        }
        if watched.is_some_and(|watch| watch != rule.watch) {
            survey.resolve(&key, "Its rule watches something else now.".to_owned());
            continue;
        }
        let unknown_since = survey
            .entries
            .get(&key)
            .and_then(|entry| entry.alert.as_ref()?.unknown_since.as_ref())
            .map(|(since, _)| *since);
        match fate(rule, &key.subject, unknown_since, facts, survey.now) {
            Fate::Over(why) => survey.resolve(&key, why),
            Fate::Unknown(why) => {
                survey.unknown(rule, &key, &why);
            }
            Fate::Fading(why) => {
                let since = survey.unknown(rule, &key, &why);
                forget_if_old(survey, &key, since);
            }
        }
    }
}

fn fate(
    rule: &Rule,
    subject: &Subject,
    unknown_since: Option<UnixNanos>,
    facts: &Facts,
    now: UnixNanos,
) -> Fate {
    let cluster = subject.cluster.as_deref().unwrap_or_default();
    let named = |name: &Option<Arc<str>>| words::name(name.as_deref().unwrap_or_default());
    let uncovered = || Fate::Over("Its rule no longer covers it.".to_owned());
    let is = |known: &Arc<str>, name: &Option<Arc<str>>| name.as_ref() == Some(known);
    match rule.watch.about() {
        About::Cluster | About::Group | About::Queue
            if matches!(sight(facts, cluster), Sight::NotConfigured) =>
        {
            Fate::Over(format!("{} is no longer configured.", words::name(cluster)))
        }
        About::Cluster | About::Collector => uncovered(),
        About::Group | About::Queue => {
            let read = match sight(facts, cluster) {
                Sight::Read(known) => known.last_read,
                Sight::Blind(why) => return Fate::Unknown(why),
                Sight::NotConfigured => return uncovered(),
            };
            let queue = rule.watch.about() == About::Queue;
            let present = if queue {
                facts
                    .queues
                    .iter()
                    .any(|known| *known.cluster == *cluster && is(&known.topic, &subject.topic))
            } else {
                facts
                    .groups
                    .iter()
                    .any(|known| *known.cluster == *cluster && is(&known.group, &subject.group))
            };
            if present {
                return uncovered();
            }
            let (name, patience) = if queue {
                (named(&subject.topic), QUEUE_GONE_AFTER)
            } else {
                (named(&subject.group), Duration::ZERO)
            };
            // A read that came after it was first missed decides: facts of one moment may have been put together
            // while a poll was under way.
            let gone = unknown_since.is_some_and(|since| {
                read.is_some_and(|read| read > since) && now >= since + patience
            });
            if gone {
                Fate::Over(format!(
                    "{name} is no longer there on {}.",
                    words::name(cluster)
                ))
            } else {
                Fate::Unknown(format!("{name} is not among what was read last").into())
            }
        }
        About::Edge if !rule.selector.service.is_empty() => {
            Fate::Fading("no attempt was seen".into())
        }
        About::Edge => {
            let present = facts.edges.iter().any(|known| {
                *known.cluster == *cluster
                    && is(&known.group, &subject.group)
                    && is(&known.topic, &subject.topic)
            });
            if present {
                uncovered()
            } else {
                Fate::Fading("no attempt was seen".into())
            }
        }
        About::Service => {
            let known = facts
                .services
                .iter()
                .find(|known| is(&known.service, &subject.service));
            match known {
                Some(known) if is_retired(known.last_span_at, now) => Fate::Over(format!(
                    "{} has sent no span for {} and counts as retired.",
                    named(&subject.service),
                    words::duration(RETIRED_AFTER)
                )),
                Some(_) => uncovered(),
                None => Fate::Fading("the service is not known".into()),
            }
        }
    }
}
