//! What counts are kept under: raw identities, as spans name them.
//!
//! Nodes are told only when somebody asks (see `resolve`), so a cluster's id that becomes known later, or a group that
//! can be inferred now, changes the whole map and not only what comes after.

use std::sync::Arc;

use highwater_model::ServiceKey;
use serde::{Deserialize, Serialize};

/// A topic as a span names it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct TopicRef {
    pub(crate) system: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) address: Option<Arc<str>>,
}

/// Where a consumer reads: topic, group, and the client id where no group is named.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Reader {
    pub(crate) topic: TopicRef,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) client: Option<Arc<str>>,
}

/// What a series counts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Key {
    /// Spans of a service; `process` is the work of its server spans.
    Seen { service: ServiceKey },
    /// service -> topic. `via`: what the same service was handling when it sent.
    Produce {
        service: ServiceKey,
        topic: TopicRef,
        via: Option<Reader>,
    },
    /// topic -> group -> service.
    Consume { service: ServiceKey, reader: Reader },
    /// service -> service.
    Call {
        caller: ServiceKey,
        callee: ServiceKey,
    },
}

/// The name that what exceeds a bound is counted under.
pub(crate) const OTHER: &str = "(other)";

impl Key {
    /// The environment a map must be of to show it.
    pub(crate) fn environment(&self) -> &Arc<str> {
        match self {
            Self::Seen { service }
            | Self::Produce { service, .. }
            | Self::Consume { service, .. } => &service.environment,
            Self::Call { caller, .. } => &caller.environment,
        }
    }

    /// The same with every name folded.
    pub(crate) fn folded(&self, environment: Arc<str>) -> Self {
        let other: Arc<str> = OTHER.into();
        let service = ServiceKey {
            environment,
            namespace: "".into(),
            name: other.clone(),
        };
        let topic = TopicRef {
            system: other.clone(),
            name: other.clone(),
            cluster_id: None,
            address: None,
        };
        match self {
            Self::Seen { .. } => Self::Seen { service },
            Self::Produce { .. } => Self::Produce {
                service,
                topic,
                via: None,
            },
            Self::Consume { .. } => Self::Consume {
                service,
                reader: Reader {
                    topic,
                    group: Some(other),
                    client: None,
                },
            },
            Self::Call { .. } => Self::Call {
                caller: service.clone(),
                callee: service,
            },
        }
    }
}
