//! One look at a consumer group, from present facts or from stored history. Both are judged by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_lag::{Bound, GroupLag, PartitionLag, State, TimeLag};
use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

use crate::selector::Globs;

/// A group as a rule sees it: whole, or only its partitions of some topics.
#[derive(Debug)]
pub(crate) struct GroupLook<'a> {
    pub(crate) lag_messages: Option<u64>,
    pub(crate) time_lag: Option<TimeLag>,
    /// Worst state.
    pub(crate) state: Option<State>,
    /// In that state since.
    pub(crate) state_since: UnixNanos,
    /// Some of its lag is not known: what is known is a part.
    pub(crate) partial: bool,
    /// Facts beyond what history keeps; `None` in a trial.
    pub(crate) facts: Option<GroupView<'a>>,
}

/// The present facts behind a look.
#[derive(Debug)]
pub(crate) struct GroupView<'a> {
    pub(crate) group: &'a GroupLag,
    /// All of its partitions.
    pub(crate) opened: &'a BTreeMap<TopicPartition, PartitionLag>,
    /// Those in view.
    pub(crate) partitions: Vec<(&'a TopicPartition, &'a PartitionLag)>,
    /// All of its partitions are in view.
    pub(crate) whole: bool,
}

/// Where a group stands in one state.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Standing {
    /// It is in that state since then.
    In(UnixNanos),
    /// It is not.
    Out,
    /// It cannot be told.
    Unknown,
}

impl<'a> GroupLook<'a> {
    /// Looks at the partitions of the topics that match.
    ///
    /// `opened` are the group's partitions.
    pub(crate) fn of(
        group: &'a GroupLag,
        opened: &'a BTreeMap<TopicPartition, PartitionLag>,
        topics: &Globs,
    ) -> Self {
        let partitions: Vec<_> = opened
            .iter()
            .filter(|(place, _)| topics.matches(&place.topic))
            .collect();
        let whole = topics.is_empty() || partitions.len() == opened.len();
        let partial = partitions
            .iter()
            .any(|(_, lag)| lag.lag_messages.is_none() && lag.state != State::NoCommit);
        let (lag_messages, time_lag, state, state_since) = if whole {
            (
                group.lag_messages,
                group.time_lag,
                Some(group.state),
                group.state_since,
            )
        } else {
            let worst = partitions
                .iter()
                .map(|(_, lag)| lag)
                .min_by_key(|lag| (lag.state, lag.state_since));
            (
                partitions
                    .iter()
                    .filter_map(|(_, lag)| lag.lag_messages)
                    .reduce(u64::saturating_add),
                partitions
                    .iter()
                    .filter_map(|(_, lag)| lag.time_lag)
                    .max_by_key(|time| (time.duration, time.bound == Bound::Exact)),
                worst.map(|lag| lag.state),
                worst.map_or(UnixNanos(0), |lag| lag.state_since),
            )
        };
        Self {
            lag_messages,
            time_lag,
            state,
            state_since,
            partial,
            facts: Some(GroupView {
                group,
                opened,
                partitions,
                whole,
            }),
        }
    }

    /// Whether it is in `state`. A group shows only its worst state, so its partitions are asked where they are known.
    pub(crate) fn standing(&self, state: State) -> Standing {
        if let Some(view) = &self.facts
            && !view.partitions.is_empty()
        {
            let since = view
                .partitions
                .iter()
                .filter(|(_, lag)| lag.state == state)
                .map(|(_, lag)| lag.state_since)
                .min();
            let unknown = view
                .partitions
                .iter()
                .any(|(_, lag)| lag.state == State::Unknown);
            return match since {
                Some(since) => Standing::In(since),
                None if unknown => Standing::Unknown,
                None => Standing::Out,
            };
        }
        match self.state {
            None | Some(State::Unknown) => Standing::Unknown,
            Some(worst) if worst == state => Standing::In(self.state_since),
            // A worse state hides this one.
            Some(worst) if worst < state => Standing::Unknown,
            Some(_) => Standing::Out,
        }
    }
}

impl<'a> GroupView<'a> {
    /// The partition of which `rank` is greatest, of those that have one; of equal ones the first.
    pub(crate) fn worst<R: PartialOrd>(
        &self,
        rank: impl Fn(&PartitionLag) -> Option<R>,
    ) -> Option<(&'a TopicPartition, &'a PartitionLag)> {
        let mut worst: Option<(R, (&'a TopicPartition, &'a PartitionLag))> = None;
        for &(place, lag) in &self.partitions {
            let Some(rank) = rank(lag) else {
                continue;
            };
            if worst.as_ref().is_none_or(|(best, _)| rank > *best) {
                worst = Some((rank, (place, lag)));
            }
        }
        worst.map(|(_, partition)| partition)
    }

    /// Its topics, in order.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        if self.whole && !self.group.topics.is_empty() {
            return self.group.topics.clone();
        }
        let mut topics: Vec<Arc<str>> = self
            .partitions
            .iter()
            .map(|(place, _)| Arc::clone(&place.topic))
            .collect();
        topics.dedup();
        topics
    }
}
