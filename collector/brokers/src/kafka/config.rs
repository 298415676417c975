//! How a cluster is reached and how often it is asked what.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;

/// Properties that are this room's to set: a reader that joins a group or commits would change what it measures.
const OURS: [&str; 4] = [
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
];

/// A cluster to read.
#[derive(Clone)]
pub struct KafkaConfig {
    /// The name that ids and pages use: `[A-Za-z0-9._-]+`.
    pub name: Arc<str>,
    /// The environment the cluster belongs to.
    pub environment: Arc<str>,
    /// Bootstrap addresses, `host:port`.
    pub bootstrap: Vec<Arc<str>>,
    /// Any librdkafka property: SASL, TLS, timeouts. `bootstrap.servers`, `group.id` and auto commit are ignored.
    pub properties: BTreeMap<String, String>,
    /// Groups to read even if the broker does not list them: some clusters deny listing.
    pub groups: Vec<Arc<str>>,
    /// Each call to the cluster ends by this.
    pub request_timeout: Duration,
    /// Groups are listed again after this; at every poll while groups come and go.
    pub list_groups_every: Duration,
    /// Topic configurations are read again after this; a new topic's at once.
    pub topic_configs_every: Duration,
    /// The client is replaced after this: librdkafka never frees a topic it has heard of.
    pub recycle_every: Duration,
    /// Groups read at most; those beyond, by name, are listed as unknown with this as the reason.
    pub max_groups: usize,
    /// Partitions read at most; those beyond, by topic, are unknown with this as the reason.
    pub max_partitions: usize,
}

impl KafkaConfig {
    /// A cluster with the default intervals and limits, in the environment `default`.
    #[must_use]
    pub fn new(
        name: impl Into<Arc<str>>,
        bootstrap: impl IntoIterator<Item = impl Into<Arc<str>>>,
    ) -> Self {
        Self {
            name: name.into(),
            environment: "default".into(),
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            properties: BTreeMap::new(),
            groups: Vec::new(),
            request_timeout: Duration::from_secs(10),
            list_groups_every: Duration::from_secs(60),
            topic_configs_every: Duration::from_secs(300),
            recycle_every: Duration::from_secs(6 * 3600),
            max_groups: 10_000,
            max_partitions: 200_000,
        }
    }

    /// The addresses as one string.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap.join(",")
    }

    /// What librdkafka is given: our defaults, then the operator's properties, then what must hold.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "highwater")
            // A cluster that came back is seen within seconds.
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            // A topic's deletion is seen by the next poll.
            .set("topic.metadata.refresh.interval.ms", "60000");
        for (key, value) in &self.properties {
            if !OURS.contains(&key.as_str()) {
                config.set(key, value);
            }
        }
        config
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false");
        config
    }
}

impl fmt::Debug for KafkaConfig {
    /// Properties may hold passwords: only their names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("name", &self.name)
            .field("environment", &self.environment)
            .field("bootstrap", &self.bootstrap)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::KafkaConfig;

    #[test]
    fn properties_pass_through_but_not_those_that_would_join_a_group_or_commit() {
        let mut config = KafkaConfig::new("main", ["a:9092", "b:9092"]);
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("reconnect.backoff.max.ms", "500"),
            ("group.id", "billing"),
            ("enable.auto.commit", "true"),
            ("allow.auto.create.topics", "true"),
        ] {
            config.properties.insert(key.to_owned(), value.to_owned());
        }
        let client = config.client_config();
        assert_eq!(client.get("bootstrap.servers"), Some("a:9092,b:9092"));
        assert_eq!(client.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(client.get("reconnect.backoff.max.ms"), Some("500"));
        assert_eq!(client.get("group.id"), None);
        assert_eq!(client.get("enable.auto.commit"), Some("false"));
        assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn debug_output_shows_no_property_value() {
        let mut config = KafkaConfig::new("main", ["a:9092"]);
        config
            .properties
            .insert("sasl.password".to_owned(), "hunter2".to_owned());
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"));
    }
}
