//! The newest word of every cluster, published whole by the pollers and read by the handlers.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_model::broker::{ClusterState, ClusterStatus, Sample};
use parking_lot::RwLock;

/// State and newest sample of each configured cluster, by name.
#[derive(Debug, Default)]
pub struct Clusters {
    entries: RwLock<BTreeMap<Arc<str>, Entry>>,
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whether it can be read.
    pub status: ClusterStatus,
    /// The newest sample; kept through an outage, with its own times.
    pub sample: Option<Arc<Sample>>,
}

impl Clusters {
    /// Publishes a state; returns whether it differs from the last one in more than its times.
    pub fn set_status(&self, status: ClusterStatus) -> bool {
        let mut entries = self.entries.write();
        match entries.get_mut(&status.name) {
            Some(entry) => {
                let changed = entry.status.state != status.state
                    || entry.status.incomplete != status.incomplete;
                entry.status = status;
                changed
            }
            None => {
                entries.insert(
                    Arc::clone(&status.name),
                    Entry {
                        status,
                        sample: None,
                    },
                );
                true
            }
        }
    }

    /// Publishes a sample of a cluster whose state was published before.
    pub fn set_sample(&self, sample: Arc<Sample>) {
        if let Some(entry) = self.entries.write().get_mut(&sample.cluster) {
            entry.sample = Some(sample);
        }
    }

    /// All clusters, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Entry> {
        self.entries.read().values().cloned().collect()
    }

    /// One cluster.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.read().get(name).cloned()
    }

    /// Some cluster could be read at least once.
    #[must_use]
    pub fn any_read(&self) -> bool {
        self.entries
            .read()
            .values()
            .any(|entry| entry.sample.is_some())
    }

    /// Clusters that cannot be read now, with the reason.
    #[must_use]
    pub fn unreachable(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.entries
            .read()
            .values()
            .filter_map(|entry| match &entry.status.state {
                ClusterState::Unreachable { reason } => {
                    Some((Arc::clone(&entry.status.name), Arc::clone(reason)))
                }
                _ => None,
            })
            .collect()
    }
}
