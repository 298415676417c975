//! What history keeps of silences.

use std::time::{Duration, UNIX_EPOCH};

use highwater_alerts::{Globs, Silence};
use highwater_model::UnixNanos;
use highwater_store::AlertEvent;

/// That a silence was made, or was ended before its end, whichever came last. It is of no one alert, and of no severity.
pub(crate) fn of_silence(silence: &Silence) -> AlertEvent {
    let (kind, at, by, until) = match &silence.ended {
        None => ("silenced", silence.created_at, &silence.author, "Until"),
        Some(ended) => ("unsilenced", ended.at, &ended.by, "Ended before"),
    };
    let matchers = &silence.matchers;
    let lists = matchers.lists().into_iter();
    let named = lists.filter(|(_, globs)| !globs.is_empty());
    let subject: Vec<String> = named
        .map(|(what, globs)| format!("{what} = {}", globs.0.join(", ")))
        .collect();
    let mut sentence = format!("{until} {}", minute(silence.ends));
    if !silence.comment.trim().is_empty() {
        sentence.push_str(": ");
        sentence.push_str(silence.comment.trim());
    }
    AlertEvent {
        at,
        alert: silence.id.to_string(),
        kind: kind.to_owned(),
        rule: only(&matchers.rule).unwrap_or_default(),
        cluster: only(&matchers.cluster),
        subject: subject.join(", "),
        severity: String::new(),
        sentence,
        by_whom: Some(by.to_string()),
    }
}

fn only(globs: &Globs) -> Option<String> {
    match globs.0.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// `2026-03-17 03:00 UTC`.
fn minute(at: UnixNanos) -> String {
    let text =
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.0)).to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use highwater_alerts::{Ended, Matchers};

    use super::*;

    fn silence(matchers: Matchers) -> Silence {
        Silence {
            id: "s1".into(),
            matchers,
            starts: UnixNanos(0),
            ends: UnixNanos(1_773_716_400_000_000_000),
            author: "ana".into(),
            comment: " deploying ".into(),
            created_at: UnixNanos(7),
            ended: None,
        }
    }

    fn globs(globs: &[&str]) -> Globs {
        Globs(globs.iter().map(|glob| (*glob).to_owned()).collect())
    }

    #[test]
    fn a_silence_is_told_by_what_it_names_its_end_and_why() {
        let matchers = Matchers {
            rule: globs(&["lag"]),
            group: globs(&["bill*", "!billing-test"]),
            ..Matchers::default()
        };
        let event = of_silence(&silence(matchers));
        assert_eq!(event.subject, "rule = lag, group = bill*, !billing-test");
        assert_eq!(event.sentence, "Until 2026-03-17 03:00 UTC: deploying");
        assert_eq!(
            (event.kind.as_str(), event.rule.as_str()),
            ("silenced", "lag")
        );
        assert_eq!((event.at, event.cluster), (UnixNanos(7), None));
        assert_eq!(event.by_whom.as_deref(), Some("ana"));
    }

    #[test]
    fn a_silence_of_several_rules_is_of_none_and_one_cluster_is_named() {
        let matchers = Matchers {
            rule: globs(&["lag", "stopped"]),
            cluster: globs(&["prod"]),
            ..Matchers::default()
        };
        let ended = Ended {
            by: "ben".into(),
            at: UnixNanos(9),
        };
        let event = of_silence(&Silence {
            ended: Some(ended),
            ..silence(matchers)
        });
        assert_eq!(
            (event.kind.as_str(), event.at),
            ("unsilenced", UnixNanos(9))
        );
        assert_eq!(event.by_whom.as_deref(), Some("ben"));
        assert_eq!(
            (event.rule.as_str(), event.cluster.as_deref()),
            ("", Some("prod"))
        );
        assert_eq!(event.severity, "");
        assert_eq!(
            event.sentence,
            "Ended before 2026-03-17 03:00 UTC: deploying"
        );
    }
}
