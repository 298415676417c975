//! Which topics hold dead letters, strongest evidence first: the operator's mapping, the topic's configuration, the
//! headers of its records, its name.

use std::sync::Arc;

use highwater_model::broker::TopicFacts;
use highwater_model::names::TopicKind;

use crate::headers::{Analysis, Framework};

/// What gave a dead-letter topic away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecognisedBy {
    /// The operator said so.
    Mapping,
    /// `errors.deadletterqueue.group.enable` (KIP-1191).
    TopicConfig,
    /// Known headers in its newest records.
    Headers,
    /// Its name.
    Name,
}

impl RecognisedBy {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapping => "mapping",
            Self::TopicConfig => "topic_config",
            Self::Headers => "headers",
            Self::Name => "name",
        }
    }
}

/// A topic that holds dead letters, or messages waiting to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognition {
    /// What gave it away.
    pub by: RecognisedBy,
    /// [`TopicKind::DeadLetterTopic`] or [`TopicKind::RetryTopic`], which is no backlog and kept apart.
    pub kind: TopicKind,
}

/// What an operator says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedTopic {
    /// The configured cluster; every one when `None`.
    pub cluster: Option<Arc<str>>,
    /// The topic; `*` stands for any text.
    pub topic: String,
    /// What it is; [`TopicKind::Topic`] says that it is *not* a dead-letter topic, whatever else points to it.
    pub kind: TopicKind,
    /// Where its records come from, where the operator says so.
    pub origins: Vec<Arc<str>>,
    /// Who gives them up, where the operator says so.
    pub groups: Vec<Arc<str>>,
}

impl MappedTopic {
    /// Whether it speaks of this topic.
    #[must_use]
    pub fn matches(&self, cluster: &str, topic: &str) -> bool {
        self.cluster.as_deref().is_none_or(|name| name == cluster) && glob(&self.topic, topic)
    }
}

/// Matches `*` against any text; linear in practice, quadratic at worst.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            p = at + 1;
            t = from + 1;
            star = Some((at, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Tells whether a topic holds dead letters or retries; `None` for an ordinary one.
///
/// `sampled` are its newest records' headers, read by [`crate::analyse`]; empty when none were read. All of them must
/// say "dead letter" and none may come from the topic itself: a record sent back keeps its headers, and an ordinary topic
/// may hold a few such.
#[must_use]
pub fn recognise(
    cluster: &str,
    topic: &str,
    facts: Option<&TopicFacts>,
    sampled: &[Analysis],
    mapping: &[MappedTopic],
) -> Option<Recognition> {
    if let Some(mapped) = mapping.iter().find(|m| m.matches(cluster, topic)) {
        return (mapped.kind != TopicKind::Topic).then_some(Recognition {
            by: RecognisedBy::Mapping,
            kind: mapped.kind,
        });
    }
    if facts.is_some_and(|facts| facts.internal) {
        return None;
    }
    if facts.is_some_and(|facts| facts.dead_letter_enabled) {
        return Some(Recognition {
            by: RecognisedBy::TopicConfig,
            kind: TopicKind::DeadLetterTopic,
        });
    }
    let named = TopicKind::from_name(topic);
    if !sampled.is_empty()
        && sampled
            .iter()
            .all(|analysis| is_dead_letter(topic, analysis))
    {
        // Retry topics carry the same headers as dead-letter topics: only their names tell them apart.
        let kind = match named {
            TopicKind::RetryTopic => TopicKind::RetryTopic,
            TopicKind::Topic | TopicKind::DeadLetterTopic => TopicKind::DeadLetterTopic,
        };
        return Some(Recognition {
            by: RecognisedBy::Headers,
            kind,
        });
    }
    (named != TopicKind::Topic).then_some(Recognition {
        by: RecognisedBy::Name,
        kind: named,
    })
}

/// Whether a record's headers say that it died somewhere else.
pub(crate) fn is_dead_letter(topic: &str, analysis: &Analysis) -> bool {
    let Some(framework) = analysis.framework else {
        return false;
    };
    let Some(origin) = analysis
        .origin
        .as_ref()
        .and_then(|hop| hop.topic.as_deref())
    else {
        // `x-error: none` alone on an ordinary message means nothing.
        return framework != Framework::AdHoc;
    };
    origin != topic
}

/// Guesses a dead-letter topic's origin topic and group from its name, against the topics and groups that exist.
///
/// `orders-dlt` is from `orders`; `orders.billing.dlt` from `orders` by `billing`; `error.orders.billing` the same;
/// `%DLQ%billing` by `billing`. What does not exist is not guessed.
#[must_use]
pub fn origin_by_name(
    topic: &str,
    topic_exists: impl Fn(&str) -> bool,
    group_exists: impl Fn(&str) -> bool,
) -> (Option<String>, Option<String>) {
    const SUFFIXES: [&str; 11] = [
        "-dead-letter",
        ".dead-letter",
        "-deadletter",
        ".deadletter",
        "-dlt",
        ".dlt",
        "_dlt",
        "-dlq",
        ".dlq",
        "_dlq",
        "-errors",
    ];
    const PREFIXES: [&str; 4] = ["dead-letter-topic-", "dlq.", "%dlq%", "error."];
    let lower = topic.to_ascii_lowercase();
    // Lower-casing ASCII keeps every byte's place, so an index into one is an index into the other.
    let stem = SUFFIXES
        .iter()
        .find(|suffix| lower.ends_with(**suffix))
        .map(|suffix| &topic[..topic.len() - suffix.len()])
        .or_else(|| {
            let prefix = PREFIXES.iter().find(|p| lower.starts_with(**p))?;
            Some(&topic[prefix.len()..])
        });
    let Some(stem) = stem.filter(|stem| !stem.is_empty()) else {
        return (None, None);
    };
    if topic_exists(stem) {
        return (Some(stem.to_owned()), None);
    }
    for (at, separator) in stem.char_indices() {
        if matches!(separator, '.' | '-' | '_')
            && topic_exists(&stem[..at])
            && group_exists(&stem[at + 1..])
        {
            return (Some(stem[..at].to_owned()), Some(stem[at + 1..].to_owned()));
        }
    }
    (None, group_exists(stem).then(|| stem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Hop;

    fn spring_from(topic: &str) -> Analysis {
        Analysis {
            framework: Some(Framework::Spring),
            origin: Some(Hop {
                topic: Some(topic.to_owned()),
                ..Hop::default()
            }),
            ..Analysis::default()
        }
    }

    fn mapped(topic: &str, kind: TopicKind) -> MappedTopic {
        MappedTopic {
            cluster: None,
            topic: topic.to_owned(),
            kind,
            origins: Vec::new(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn evidence_is_taken_strongest_first() {
        let enabled = TopicFacts {
            dead_letter_enabled: true,
            ..TopicFacts::default()
        };
        let sampled = [spring_from("orders")];
        let mapping = [mapped("graveyard*", TopicKind::DeadLetterTopic)];
        let by = |topic: &str, facts, sampled: &[Analysis], mapping: &[MappedTopic]| {
            recognise("kafka", topic, facts, sampled, mapping).map(|r| r.by)
        };
        assert_eq!(
            by("graveyard-1", Some(&enabled), &sampled, &mapping),
            Some(RecognisedBy::Mapping)
        );
        assert_eq!(
            by("parcels", Some(&enabled), &sampled, &mapping),
            Some(RecognisedBy::TopicConfig)
        );
        assert_eq!(
            by("orders-dlt", None, &sampled, &mapping),
            Some(RecognisedBy::Headers)
        );
        assert_eq!(
            by("orders-dlt", None, &[], &mapping),
            Some(RecognisedBy::Name)
        );
        assert_eq!(by("orders", None, &[], &mapping), None);
    }

    #[test]
    fn a_mapping_can_say_that_a_topic_holds_no_dead_letters() {
        let mapping = [mapped("orders-dlt", TopicKind::Topic)];
        assert_eq!(
            recognise(
                "kafka",
                "orders-dlt",
                None,
                &[spring_from("orders")],
                &mapping
            ),
            None
        );
    }

    #[test]
    fn a_mapping_of_one_cluster_leaves_the_others_alone() {
        let mut of_eu = mapped("graveyard", TopicKind::DeadLetterTopic);
        of_eu.cluster = Some("eu".into());
        assert!(recognise("eu", "graveyard", None, &[], std::slice::from_ref(&of_eu)).is_some());
        assert!(recognise("us", "graveyard", None, &[], &[of_eu]).is_none());
    }

    #[test]
    fn records_sent_back_do_not_make_their_topic_a_dead_letter_topic() {
        assert_eq!(
            recognise("kafka", "orders", None, &[spring_from("orders")], &[]),
            None
        );
        let mixed = [spring_from("payments"), Analysis::default()];
        assert_eq!(recognise("kafka", "orders", None, &mixed, &[]), None);
    }

    #[test]
    fn a_retry_topic_stays_one_though_its_headers_are_those_of_a_dead_letter() {
        let retry = recognise(
            "kafka",
            "payments-retry-400",
            None,
            &[spring_from("payments")],
            &[],
        );
        assert_eq!(retry.unwrap().kind, TopicKind::RetryTopic);
    }

    #[test]
    fn an_internal_topic_is_left_alone() {
        let internal = TopicFacts {
            internal: true,
            dead_letter_enabled: true,
            ..TopicFacts::default()
        };
        assert_eq!(
            recognise("kafka", "__state-dlt", Some(&internal), &[], &[]),
            None
        );
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, matches) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*-errors", "connect-erp-errors", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn origins_are_read_from_names_only_when_they_exist() {
        let topic = |name: &str| matches!(name, "orders" | "order-items" | "payments.eu");
        let group = |name: &str| name == "billing";
        let some = |text: &str| Some(text.to_owned());
        for (name, origin) in [
            ("orders-dlt", (some("orders"), None)),
            ("orders.DLT", (some("orders"), None)),
            ("orders.billing.dlt", (some("orders"), some("billing"))),
            (
                "order-items-billing-dlq",
                (some("order-items"), some("billing")),
            ),
            (
                "payments.eu.billing.dlt",
                (some("payments.eu"), some("billing")),
            ),
            ("error.orders.billing", (some("orders"), some("billing"))),
            ("%DLQ%billing", (None, some("billing"))),
            ("dlq.orders", (some("orders"), None)),
            ("parcels-dlt", (None, None)),
            ("-dlt", (None, None)),
            ("orders", (None, None)),
        ] {
            assert_eq!(origin_by_name(name, topic, group), origin, "{name}");
        }
    }
}
