//! The engine's memory as earlier versions kept it.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_model::UnixNanos;
use serde::Deserialize;

use super::{Checkpoint, Cluster};
use crate::history::EndHistory;

/// A [`Checkpoint`] of the time before clocks were judged, in a format that is read field by field.
#[derive(Debug, Deserialize)]
pub struct CheckpointBefore {
    clusters: BTreeMap<Arc<str>, Cluster<Partition>>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    ends: Vec<(UnixNanos, i64)>,
    log_since: UnixNanos,
    log_start: Option<i64>,
    log_start_before: Option<i64>,
    last_stable: Option<i64>,
    stable_since: UnixNanos,
    seeded: bool,
    asked: Option<(UnixNanos, UnixNanos)>,
}

impl From<Partition> for super::Partition {
    fn from(before: Partition) -> Self {
        Self {
            ends: EndHistory::from_before(before.ends, before.seeded),
            log_since: before.log_since,
            log_start: before.log_start,
            log_start_before: before.log_start_before,
            last_stable: before.last_stable,
            stable_since: before.stable_since,
            seeded: before.seeded,
            asked: before.asked,
            ..Self::default()
        }
    }
}

impl From<CheckpointBefore> for Checkpoint {
    fn from(before: CheckpointBefore) -> Self {
        let clusters = before.clusters.into_iter().map(|(name, cluster)| {
            let partitions = cluster.partitions.into_iter();
            let cluster = Cluster {
                last_sample: cluster.last_sample,
                partitions: partitions.map(|(key, of)| (key, of.into())).collect(),
                groups: cluster.groups,
            };
            (name, cluster)
        });
        Self {
            clusters: clusters.collect(),
        }
    }
}
