//! What a group has committed, in few bytes a partition.
//!
//! A hundred thousand partitions of groups are read at every poll, and pages keep them until the next. In a map of its own
//! each took 55 bytes, twice while the next poll was read; here it takes twelve.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::broker::{Known, TopicPartition};

/// Committed offsets by topic and partition. `Ok(None)` = assigned or asked for, but never committed; unknown carries the
/// reason.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Each topic, and where its partitions end.
    topics: Box<[(Arc<str>, usize)]>,
    partitions: Box<[i32]>,
    /// One a partition; 0 where there is none.
    offsets: Box<[i64]>,
    /// Partitions without an offset, by their place among all: none (`None`), or unknown for this reason.
    others: Box<[(usize, Option<Arc<str>>)]>,
}

impl Committed {
    /// How many partitions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Each topic and its partitions, in order.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &[i32])> {
        let mut from = 0;
        self.topics.iter().map(move |(topic, to)| {
            let partitions = self.partitions.get(from..*to).unwrap_or_default();
            from = *to;
            (topic, partitions)
        })
    }

    /// Each partition in order, and what is committed on it.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, Known<Option<i64>>)> {
        let places = self.topics().flat_map(|(topic, partitions)| {
            partitions.iter().map(|&partition| TopicPartition {
                topic: Arc::clone(topic),
                partition,
            })
        });
        let mut others = self.others.iter().peekable();
        places
            .zip(&self.offsets)
            .enumerate()
            .map(move |(index, (place, &offset))| {
                let other = others.next_if(|(other, _)| *other == index);
                (place, known(offset, other))
            })
    }

    /// All of them, to be looked at more than once.
    #[must_use]
    pub fn open(&self) -> BTreeMap<TopicPartition, Known<Option<i64>>> {
        self.iter().collect()
    }

    /// What is committed on one partition; `None` when the group has nothing to do with it.
    #[must_use]
    pub fn get(&self, place: &TopicPartition) -> Option<Known<Option<i64>>> {
        let index = self.index(place)?;
        let other = self
            .others
            .binary_search_by_key(&index, |(index, _)| *index);
        let other = other.ok().and_then(|at| self.others.get(at));
        Some(known(*self.offsets.get(index)?, other))
    }

    /// The partition is among them.
    #[must_use]
    pub fn contains(&self, place: &TopicPartition) -> bool {
        self.index(place).is_some()
    }

    /// Adds those that are missing; those that are there stay as they are.
    pub fn add_missing(
        &mut self,
        others: impl IntoIterator<Item = (TopicPartition, Known<Option<i64>>)>,
    ) {
        let mut missing = others
            .into_iter()
            .filter(|(place, _)| !self.contains(place))
            .peekable();
        if missing.peek().is_some() {
            *self = missing.chain(self.iter()).collect();
        }
    }

    fn index(&self, place: &TopicPartition) -> Option<usize> {
        let topic = self
            .topics
            .binary_search_by(|(topic, _)| topic.cmp(&place.topic))
            .ok()?;
        let from = match topic.checked_sub(1) {
            Some(before) => self.topics.get(before)?.1,
            None => 0,
        };
        let partitions = self.partitions.get(from..self.topics.get(topic)?.1)?;
        Some(from + partitions.binary_search(&place.partition).ok()?)
    }
}

fn known(offset: i64, other: Option<&(usize, Option<Arc<str>>)>) -> Known<Option<i64>> {
    match other {
        None => Ok(Some(offset)),
        Some((_, None)) => Ok(None),
        Some((_, Some(why))) => Err(Arc::clone(why)),
    }
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<BTreeMap<TopicPartition, Known<Option<i64>>>> for Committed {
    fn from(committed: BTreeMap<TopicPartition, Known<Option<i64>>>) -> Self {
        let mut topics: Vec<(Arc<str>, usize)> = Vec::new();
        let mut partitions = Vec::with_capacity(committed.len());
        let mut offsets = Vec::with_capacity(committed.len());
        let mut others = Vec::new();
        for (index, (place, committed)) in committed.into_iter().enumerate() {
            match topics.last_mut() {
                Some((topic, to)) if *topic == place.topic => *to += 1,
                _ => topics.push((place.topic, index + 1)),
            }
            partitions.push(place.partition);
            offsets.push(match committed {
                Ok(Some(offset)) => offset,
                Ok(None) => {
                    others.push((index, None));
                    0
                }
                Err(why) => {
                    others.push((index, Some(why)));
                    0
                }
            });
        }
        Self {
            topics: topics.into(),
            partitions: partitions.into(),
            offsets: offsets.into(),
            others: others.into(),
        }
    }
}

/// Of two with one place the later counts.
impl FromIterator<(TopicPartition, Known<Option<i64>>)> for Committed {
    fn from_iter<I>(committed: I) -> Self
    where
        I: IntoIterator<Item = (TopicPartition, Known<Option<i64>>)>,
    {
        committed.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl<const N: usize> From<[(TopicPartition, Known<Option<i64>>); N]> for Committed {
    fn from(committed: [(TopicPartition, Known<Option<i64>>); N]) -> Self {
        committed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = TopicPartition> {
        ("[a-c]", -1..5_i32).prop_map(|(topic, partition)| TopicPartition {
            topic: topic.into(),
            partition,
        })
    }

    fn committed() -> impl Strategy<Value = Known<Option<i64>>> {
        prop_oneof![
            any::<i64>().prop_map(|offset| Ok(Some(offset))),
            Just(Ok(None)),
            "[a-b]".prop_map(|why| Err(why.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_was_committed_is_what_is_read(
            map in prop::collection::btree_map(place(), committed(), 0..12),
            more in prop::collection::vec((place(), committed()), 0..4),
            other in place(),
        ) {
            let mut map = map;
            let mut packed = Committed::from(map.clone());
            prop_assert_eq!(&packed.open(), &map);
            prop_assert_eq!((packed.len(), packed.is_empty()), (map.len(), map.is_empty()));
            for place in map.keys().chain([&other]) {
                prop_assert_eq!(packed.get(place), map.get(place).cloned());
                prop_assert_eq!(packed.contains(place), map.contains_key(place));
            }
            let places = packed.topics().flat_map(|(topic, partitions)| {
                partitions.iter().map(move |partition| (topic, partition))
            });
            prop_assert!(places.eq(map.keys().map(|place| (&place.topic, &place.partition))));
            packed.add_missing(more.clone());
            for (place, committed) in more.into_iter().rev() {
                // Of two that are missing the later counts.
                map.entry(place).or_insert(committed);
            }
            prop_assert_eq!(packed.open(), map);
        }
    }
}
