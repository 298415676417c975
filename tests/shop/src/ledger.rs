//! The ledger: what the shop truly did, the oracle of the tests.
//!
//! It is written from delivery reports and from calls of handlers, never from spans, and read back from the broker where
//! the broker knows better (committed offsets).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a shop did, up to the moment the ledger was asked for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The seed of the run.
    pub seed: u64,
    /// Orders whose record the broker has acknowledged.
    pub orders: u64,
    /// Records that the broker has acknowledged, by producing service, topic and partition.
    pub produced: Vec<Produced>,
    /// Records handed to handlers, by group, topic and service.
    pub consumed: Vec<Consumed>,
    /// Offsets committed for every partition of every group, as the broker says.
    pub committed: Vec<Committed>,
    /// Records published to a retry topic, in order of their acknowledgement.
    pub retries: Vec<Republished>,
    /// Records published to a dead-letter topic, in order of their acknowledgement.
    pub dead_letters: Vec<Republished>,
    /// Every record of an order, by correlation id; the latest orders only, see `truncated`.
    pub orders_detail: BTreeMap<String, Vec<RecordStory>>,
    /// The edges that a map of this shop must show.
    pub edges: Vec<Edge>,
    /// Sends that the producer gave up.
    pub failed_sends: u64,
    /// Older orders, retries or dead letters were let go; sums are still of all.
    pub truncated: bool,
}

/// Records of one service on one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Produced {
    /// The service that sent them.
    pub service: String,
    /// Where they went.
    pub topic: String,
    /// Where they went.
    pub partition: i32,
    /// How many.
    pub records: u64,
    /// The offset of the last of them.
    pub last_offset: i64,
}

/// What one group did with one topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Consumed {
    /// The group.
    pub group: String,
    /// What it read.
    pub topic: String,
    /// The service its members belong to.
    pub service: String,
    /// Calls of the handler; a record of a batch counts for itself.
    pub attempts: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Distinct (partition, offset).
    pub records: u64,
    /// Its service sends spans.
    pub instrumented: bool,
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Committed {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset the group will read; null where it has never committed.
    pub offset: Option<i64>,
    /// One more than the last offset this shop produced; null where it produced nothing.
    pub end: Option<i64>,
}

/// A record that was published again because it could not be handled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Republished {
    /// The order's correlation id.
    pub order: String,
    /// The topic it was published to.
    pub topic: String,
    /// The partition it was published to.
    pub partition: i32,
    /// The offset it got.
    pub offset: i64,
    /// The group that could not handle it.
    pub group: String,
    /// The service of that group.
    pub service: String,
    /// The class of the cause.
    pub cause: String,
    /// The message of the cause.
    pub message: String,
    /// Where its first original stands.
    pub origin: Place,
}

/// A record's place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A record of an order: who sent it, who got it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordStory {
    /// Where it is.
    pub place: Place,
    /// The service that sent it; null where its delivery report is still to come.
    pub from: Option<String>,
    /// What the groups that read it did with it.
    pub deliveries: Vec<Delivery>,
}

/// What one group did with one record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The group.
    pub group: String,
    /// Its service.
    pub service: String,
    /// Calls of the handler.
    pub attempts: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Its service sends spans.
    pub instrumented: bool,
}

/// One hop of an order, flat.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hop {
    /// The service that sent the record.
    pub from: Option<String>,
    /// The record.
    pub place: Place,
    /// The group that read it; `None` where nobody did.
    pub group: Option<String>,
    /// The service of that group.
    pub to: Option<String>,
    /// Both ends send spans.
    pub instrumented: bool,
}

/// An edge of the map.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edge {
    /// `KIND FROM>TO`.
    pub id: String,
    /// `produces`, `delivers`, `consumes`, `retries`, `dead_letters`.
    pub kind: String,
    /// The node it leaves.
    pub from: String,
    /// The node it enters.
    pub to: String,
    /// Acknowledged sends, or calls of the handler; null where no spans can tell.
    pub messages: Option<u64>,
    /// Distinct (partition, offset).
    pub records: u64,
    /// Calls of the handler that failed.
    pub errors: u64,
    /// Spans say so.
    pub instrumented: bool,
}

impl Ledger {
    /// Returns the hops of an order, one a delivery, and one for each record that nobody read.
    #[must_use]
    pub fn hops(&self, order: &str) -> Vec<Hop> {
        let stories = self
            .orders_detail
            .get(order)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut hops = Vec::new();
        for story in stories {
            let hop = |delivery: Option<&Delivery>| Hop {
                from: story.from.clone(),
                place: story.place.clone(),
                group: delivery.map(|delivery| delivery.group.clone()),
                to: delivery.map(|delivery| delivery.service.clone()),
                instrumented: delivery.is_none_or(|delivery| delivery.instrumented),
            };
            if story.deliveries.is_empty() {
                hops.push(hop(None));
            }
            hops.extend(story.deliveries.iter().map(|delivery| hop(Some(delivery))));
        }
        hops.sort();
        hops
    }

    /// Returns how many records a topic got, over all partitions and producers.
    #[must_use]
    pub fn records_of(&self, topic: &str) -> u64 {
        self.produced
            .iter()
            .filter(|row| row.topic == topic)
            .map(|row| row.records)
            .sum()
    }

    /// Returns what `group` did with `topic`.
    #[must_use]
    pub fn consumed_by(&self, group: &str, topic: &str) -> Option<&Consumed> {
        self.consumed
            .iter()
            .find(|row| row.group == group && row.topic == topic)
    }

    /// Says whether every group has committed everything this shop produced for it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.committed.iter().all(|row| match row.end {
            Some(end) => row.offset.is_some_and(|offset| offset >= end),
            None => true,
        })
    }
}
