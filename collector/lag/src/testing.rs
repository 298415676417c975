//! What tests of packing share.

use std::collections::BTreeMap;
use std::fmt::Debug;

use highwater_model::broker::TopicPartition;
use proptest::prelude::*;

/// Partitions of two topics, fewer than `most`, and something of each.
pub(crate) fn by_place<T: Debug>(
    of: impl Strategy<Value = T>,
    most: usize,
) -> impl Strategy<Value = BTreeMap<TopicPartition, T>> {
    let place = ("[ab]", any::<i32>()).prop_map(|(topic, partition)| TopicPartition {
        topic: topic.into(),
        partition,
    });
    prop::collection::btree_map(place, of, 0..most)
}
