//! How a shop runs.

/// How a shop runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bootstrap servers of the Kafka it works on.
    pub kafka: String,
    /// Where its services send their spans, over gRPC: `http://HOST:PORT`.
    pub otlp: String,
    /// Put before the name of every topic and group, so that several shops share a Kafka.
    pub prefix: String,
    /// `deployment.environment.name` of every service.
    pub environment: String,
    /// `service.namespace` of every service.
    pub namespace: String,
    /// What the map calls the cluster: only used in the ids of the ledger's edges.
    pub cluster: String,
    /// Equal seeds give equal orders, equal failures and equal amounts of work.
    pub seed: u64,
    /// Orders a second, at most.
    pub rate: f64,
    /// How long the simulated work takes: 1 is a real shop's pace, 0 is none.
    pub work: f64,
    /// The number of the first order: 1 is `ORD-0001`.
    pub first_order: u64,
    /// How many orders and dead letters the ledger keeps in detail; its sums are of all.
    pub keep: usize,
}

impl Config {
    /// Returns the settings of the demo, on this Kafka, with spans sent to `otlp` (`http://HOST:PORT`).
    #[must_use]
    pub fn new(kafka: impl Into<String>, otlp: impl Into<String>) -> Config {
        Config {
            kafka: kafka.into(),
            otlp: otlp.into(),
            prefix: String::new(),
            environment: "default".to_owned(),
            namespace: "shop".to_owned(),
            cluster: "demo".to_owned(),
            seed: 1,
            rate: 20.0,
            work: 1.0,
            first_order: 1,
            keep: 20_000,
        }
    }

    /// Returns the name of a topic or group on the broker.
    #[must_use]
    pub fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the name in the plan of a topic or group of the broker.
    #[must_use]
    pub fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.prefix).unwrap_or(name)
    }
}
