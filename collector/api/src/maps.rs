//! Maps just computed: a page asks for map, layout, groups and status at once, and many pages ask for the same.

use std::collections::VecDeque;
use std::sync::Arc;

use highwater_flow::{Topology, TopologyQuery};
use highwater_model::UnixNanos;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::ApiState;
use crate::events::topic;
use crate::problem::ApiError;

/// Enough for a few open pages with filters of their own.
const KEPT: usize = 16;
/// Ranges of one second are one range: buckets are ten times wider.
const SECOND: u64 = 1_000_000_000;
/// How old a map may be where it need not be of now.
const LATE: u64 = 5 * SECOND;

/// What a map is of: the query and the present, both by the second, and what had been announced by then. A page that
/// was told of a change is never given the map before it; and the rates of a range that is not over change with the
/// clock alone.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    query: TopologyQuery,
    present: UnixNanos,
    version: u64,
}

impl Key {
    fn of(query: &TopologyQuery, now: UnixNanos, version: u64) -> Self {
        let floor = |at: UnixNanos| UnixNanos(at.0 - at.0 % SECOND);
        Self {
            query: TopologyQuery {
                from: floor(query.from),
                to: floor(query.to),
                ..query.clone()
            },
            present: floor(now),
            version,
        }
    }
}

type Map = Arc<OnceCell<Arc<Topology>>>;

#[derive(Debug, Default)]
pub(crate) struct Maps(Mutex<VecDeque<(Key, Map)>>);

impl Maps {
    fn place(&self, key: Key) -> Map {
        let mut kept = self.0.lock();
        if let Some((_, map)) = kept.iter().find(|(known, _)| *known == key) {
            return Arc::clone(map);
        }
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        let map = Map::default();
        kept.push_back((key, Arc::clone(&map)));
        map
    }
}

impl ApiState {
    /// Computes a map off the async threads, since that is linear in the buckets of the range; whoever asks for the
    /// same at the same time waits for the same computation.
    pub(crate) async fn map(&self, query: TopologyQuery) -> Result<Arc<Topology>, ApiError> {
        let version = self.events.version(topic::TOPOLOGY);
        self.map_by(Key::of(&query, self.now(), version), query)
            .await
    }

    /// A map that may be some seconds old, of a range that ends now: who reads what changes slowly.
    pub(crate) async fn map_of_late(
        &self,
        query: TopologyQuery,
    ) -> Result<Arc<Topology>, ApiError> {
        let floor = |at: UnixNanos| UnixNanos(at.0 - at.0 % LATE);
        let mut late = query.clone();
        (late.from, late.to) = (floor(query.from), floor(query.to));
        self.map_by(Key::of(&late, floor(self.now()), 0), query)
            .await
    }

    async fn map_by(&self, key: Key, query: TopologyQuery) -> Result<Arc<Topology>, ApiError> {
        let now = self.now();
        let map = self.maps.place(key);
        let computed = map.get_or_try_init(|| async {
            let state = self.clone();
            tokio::task::spawn_blocking(move || Arc::new(state.flow.read().topology(&query, now)))
                .await
        });
        computed
            .await
            .map(Arc::clone)
            .map_err(ApiError::internal("computing the map"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn one_question_has_one_answer_until_something_changed() {
        let maps = Maps::default();
        let query = TopologyQuery::default();
        let key = |version| Key::of(&query, UnixNanos(SECOND), version);
        let first = maps.place(key(1));
        assert!(Arc::ptr_eq(&first, &maps.place(key(1))));
        assert!(!Arc::ptr_eq(&first, &maps.place(key(2))));
        let later = Key::of(&query, UnixNanos(2 * SECOND), 1);
        assert!(!Arc::ptr_eq(&first, &maps.place(later)), "a rate is of now");
        for version in 3..100 {
            maps.place(key(version));
        }
        assert_eq!(maps.0.lock().len(), KEPT);
    }
}
