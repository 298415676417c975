//! Names of topics and nodes.

use serde::{Deserialize, Serialize};

/// What a topic is for, as far as can be told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicKind {
    /// An ordinary topic.
    Topic,
    /// Messages waiting to be tried again.
    RetryTopic,
    /// Messages that were given up.
    DeadLetterTopic,
}

impl TopicKind {
    /// Tells the kind from the name alone; headers and configuration are stronger (see the deadletters room).
    #[must_use]
    pub fn from_name(topic: &str) -> Self {
        let lower = topic.to_ascii_lowercase();
        const DEAD: [&str; 10] = [
            "-dlt",
            ".dlt",
            ".dlq",
            "-dlq",
            "_dlq",
            "_dlt",
            ".dead-letter",
            "-dead-letter",
            "-deadletter",
            ".deadletter",
        ];
        if DEAD.iter().any(|suffix| lower.ends_with(suffix))
            || lower.starts_with("dead-letter-topic-")
            || lower.starts_with("dlq.")
            || lower.starts_with("%dlq%")
            || (lower.starts_with("error.") && lower.matches('.').count() >= 2)
        {
            return Self::DeadLetterTopic;
        }
        let numbered = lower.trim_end_matches(|c: char| c.is_ascii_digit());
        let stem = if numbered.len() < lower.len() {
            numbered.strip_suffix(['-', '.', '_']).unwrap_or(&lower)
        } else {
            &lower
        };
        if ["-retry", ".retry", "_retry"]
            .iter()
            .any(|suffix| stem.ends_with(suffix))
        {
            return Self::RetryTopic;
        }
        Self::Topic
    }
}

/// `service:NAMESPACE/NAME`, or `service:NAME` without a namespace.
#[must_use]
pub fn service_id(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("service:{name}")
    } else {
        format!("service:{namespace}/{name}")
    }
}

/// `topic:CLUSTER/NAME`.
#[must_use]
pub fn topic_id(cluster: &str, topic: &str) -> String {
    format!("topic:{cluster}/{topic}")
}

/// `group:CLUSTER/NAME`.
#[must_use]
pub fn group_id(cluster: &str, group: &str) -> String {
    format!("group:{cluster}/{group}")
}

#[cfg(test)]
mod tests {
    use super::TopicKind::{self, DeadLetterTopic, RetryTopic, Topic};

    #[test]
    fn topic_kind_follows_the_known_suffixes() {
        for (name, kind) in [
            ("orders", Topic),
            ("orders-dlt", DeadLetterTopic),
            ("orders.DLT", DeadLetterTopic),
            ("error.orders.billing", DeadLetterTopic),
            ("error.log", Topic),
            ("%DLQ%billing", DeadLetterTopic),
            ("orders-retry", RetryTopic),
            ("orders-retry-400", RetryTopic),
            ("orders.retry", RetryTopic),
            ("retry", Topic),
            ("orders-2", Topic),
        ] {
            assert_eq!(TopicKind::from_name(name), kind, "{name}");
        }
    }
}
