//! The book that the ledger is taken from, kept while the shop runs.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::ledger::{
    Committed, Consumed, Delivery, Edge, Ledger, Place, Produced, RecordStory, Republished,
};
use crate::plan::{self, Role};

/// A record that the broker has acknowledged.
pub(crate) struct Sent<'a> {
    pub(crate) order: &'a str,
    pub(crate) service: &'static str,
    pub(crate) place: Place,
}

/// A call of a handler that has returned.
pub(crate) struct Handled<'a> {
    pub(crate) order: &'a str,
    pub(crate) group: &'static plan::Group,
    pub(crate) place: Place,
    pub(crate) failed: bool,
}

/// What happened so far. The mutex is std because nothing is awaited while it is held.
#[derive(Debug)]
pub(crate) struct Book {
    config: Config,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    orders: u64,
    produced: BTreeMap<(&'static str, String, i32), (u64, i64)>,
    consumed: BTreeMap<(&'static str, String), Reading>,
    retries: VecDeque<Republished>,
    dead_letters: VecDeque<Republished>,
    /// Sends by the group that could not handle a record: (group, topic) to records.
    republished: BTreeMap<(String, String), u64>,
    stories: HashMap<String, Vec<RecordStory>>,
    /// The order of their first appearance, to let the oldest go.
    known: VecDeque<String>,
    failed_sends: u64,
    truncated: bool,
}

#[derive(Debug)]
struct Reading {
    group: &'static plan::Group,
    attempts: u64,
    failures: u64,
    seen: BTreeMap<i32, Offsets>,
}

/// A set of offsets, as runs: handlers see offsets nearly in order, so a long run of the shop stays small.
#[derive(Debug, Default)]
struct Offsets {
    /// Start to end, the end excluded.
    runs: BTreeMap<i64, i64>,
}

impl Offsets {
    fn insert(&mut self, offset: i64) {
        let before = self
            .runs
            .range(..=offset)
            .next_back()
            .map(|(start, end)| (*start, *end));
        let start = match before {
            Some((_, end)) if end > offset => return,
            Some((start, end)) if end == offset => start,
            _ => offset,
        };
        let end = self.runs.remove(&(offset + 1)).unwrap_or(offset + 1);
        self.runs.insert(start, end);
    }

    fn len(&self) -> u64 {
        self.runs
            .iter()
            .map(|(start, end)| end.abs_diff(*start))
            .sum()
    }
}

impl Book {
    pub(crate) fn new(config: Config) -> Book {
        Book {
            config,
            pages: Mutex::default(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A handler that panicked in here left at worst one count short; the shop goes on.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an order whose record is acknowledged.
    pub(crate) fn placed(&self) {
        self.pages().orders += 1;
    }

    /// Notes a send that the producer gave up.
    pub(crate) fn send_failed(&self) {
        self.pages().failed_sends += 1;
    }

    /// Notes an acknowledged record.
    pub(crate) fn sent(&self, sent: Sent<'_>) {
        let mut pages = self.pages();
        let key = (sent.service, sent.place.topic.clone(), sent.place.partition);
        let row = pages.produced.entry(key).or_insert((0, -1));
        row.0 += 1;
        row.1 = row.1.max(sent.place.offset);
        pages.story(sent.order, &sent.place, self.config.keep).from = Some(sent.service.to_owned());
    }

    /// Notes an acknowledged record of a retry or dead-letter topic.
    pub(crate) fn republished(&self, republished: Republished) {
        let mut pages = self.pages();
        let key = (republished.group.clone(), republished.topic.clone());
        *pages.republished.entry(key).or_default() += 1;
        let role = plan::role(self.config.bare(&republished.topic));
        let list = if role == Role::Retry {
            &mut pages.retries
        } else {
            &mut pages.dead_letters
        };
        list.push_back(republished);
        if list.len() > self.config.keep {
            list.pop_front();
            pages.truncated = true;
        }
    }

    /// Notes a call of a handler.
    pub(crate) fn handled(&self, handled: Handled<'_>) {
        let mut pages = self.pages();
        let failures = u64::from(handled.failed);
        let reading = pages
            .consumed
            .entry((handled.group.name, handled.place.topic.clone()))
            .or_insert_with(|| Reading {
                group: handled.group,
                attempts: 0,
                failures: 0,
                seen: BTreeMap::new(),
            });
        reading.attempts += 1;
        reading.failures += failures;
        reading
            .seen
            .entry(handled.place.partition)
            .or_default()
            .insert(handled.place.offset);

        let group = self.config.named(handled.group.name);
        let story = pages.story(handled.order, &handled.place, self.config.keep);
        match story
            .deliveries
            .iter_mut()
            .find(|delivery| delivery.group == group)
        {
            Some(delivery) => {
                delivery.attempts += 1;
                delivery.failures += failures;
            }
            None => story.deliveries.push(Delivery {
                group,
                service: handled.group.service.to_owned(),
                attempts: 1,
                failures,
                instrumented: handled.group.instrumented,
            }),
        }
    }

    /// Returns one more than the last acknowledged offset of every partition.
    pub(crate) fn ends(&self) -> BTreeMap<(String, i32), i64> {
        let pages = self.pages();
        let mut ends = BTreeMap::new();
        for ((_, topic, partition), (_, last)) in &pages.produced {
            let end = ends.entry((topic.clone(), *partition)).or_insert(0);
            *end = (*end).max(last + 1);
        }
        ends
    }

    /// Returns how many acknowledged records each group has not handled yet, by the shop's own count.
    pub(crate) fn waiting(&self) -> BTreeMap<String, u64> {
        let pages = self.pages();
        let produced = |topic: &str| -> u64 {
            let rows = pages.produced.iter().filter(|((_, of, _), _)| of == topic);
            rows.map(|(_, (records, _))| records).sum()
        };
        plan::GROUPS
            .iter()
            .map(|group| {
                let waiting = group.topics.iter().map(|topic| {
                    let topic = self.config.named(topic.name);
                    let seen = pages.consumed.get(&(group.name, topic.clone()));
                    let seen: u64 =
                        seen.map_or(0, |reading| reading.seen.values().map(Offsets::len).sum());
                    produced(&topic).saturating_sub(seen)
                });
                (self.config.named(group.name), waiting.sum())
            })
            .collect()
    }

    /// Returns how many orders have been placed.
    pub(crate) fn orders(&self) -> u64 {
        self.pages().orders
    }

    /// Returns the ledger; `committed` is what the broker says.
    pub(crate) fn ledger(&self, committed: Vec<Committed>) -> Ledger {
        let pages = self.pages();
        let produced =
            pages
                .produced
                .iter()
                .map(|((service, topic, partition), (records, last))| Produced {
                    service: (*service).to_owned(),
                    topic: topic.clone(),
                    partition: *partition,
                    records: *records,
                    last_offset: *last,
                });
        let consumed = pages
            .consumed
            .iter()
            .map(|((group, topic), reading)| Consumed {
                group: self.config.named(group),
                topic: topic.clone(),
                service: reading.group.service.to_owned(),
                attempts: reading.attempts,
                failures: reading.failures,
                records: reading.seen.values().map(Offsets::len).sum(),
                instrumented: reading.group.instrumented,
            });
        let mut ledger = Ledger {
            seed: self.config.seed,
            orders: pages.orders,
            produced: produced.collect(),
            consumed: consumed.collect(),
            committed,
            retries: pages.retries.iter().cloned().collect(),
            dead_letters: pages.dead_letters.iter().cloned().collect(),
            orders_detail: pages
                .stories
                .iter()
                .map(|(order, stories)| (order.clone(), stories.clone()))
                .collect(),
            edges: Vec::new(),
            failed_sends: pages.failed_sends,
            truncated: pages.truncated,
        };
        ledger.edges = self.edges(&ledger, &pages);
        ledger
    }

    /// Draws the map that the rows of `ledger` make.
    fn edges(&self, ledger: &Ledger, pages: &Pages) -> Vec<Edge> {
        let cluster = &self.config.cluster;
        let service = |name: &str| match self.config.namespace.as_str() {
            "" => format!("service:{name}"),
            namespace => format!("service:{namespace}/{name}"),
        };
        let topic = |name: &str| format!("topic:{cluster}/{name}");
        let group = |name: &str| format!("group:{cluster}/{name}");
        let role = |name: &str| plan::role(self.config.bare(name));
        let edge =
            |kind: &str, from: String, to: String, messages, records, errors, instrumented| Edge {
                id: format!("{kind} {from}>{to}"),
                kind: kind.to_owned(),
                from,
                to,
                messages,
                records,
                errors,
                instrumented,
            };

        let mut edges = Vec::new();
        let produces: BTreeSet<(&str, &str)> = ledger
            .produced
            .iter()
            .filter(|row| role(&row.topic) == Role::Business)
            .map(|row| (row.service.as_str(), row.topic.as_str()))
            .collect();
        for (from, to) in produces {
            let rows = ledger
                .produced
                .iter()
                .filter(|row| row.service == from && row.topic == to);
            let records = rows.map(|row| row.records).sum();
            edges.push(edge(
                "produces",
                service(from),
                topic(to),
                Some(records),
                records,
                0,
                true,
            ));
        }
        for ((from, to), records) in &pages.republished {
            let kind = if role(to) == Role::Retry {
                "retries"
            } else {
                "dead_letters"
            };
            edges.push(edge(
                kind,
                group(from),
                topic(to),
                Some(*records),
                *records,
                0,
                true,
            ));
        }
        let mut consumes: BTreeMap<(&str, &str, bool), (u64, u64, u64)> = BTreeMap::new();
        for row in &ledger.consumed {
            let messages = row.instrumented.then_some(row.attempts);
            let (from, to) = (topic(&row.topic), group(&row.group));
            edges.push(edge(
                "delivers",
                from,
                to,
                messages,
                row.records,
                row.failures,
                row.instrumented,
            ));
            let sum = consumes
                .entry((&row.group, &row.service, row.instrumented))
                .or_default();
            sum.0 += row.attempts;
            sum.1 += row.records;
            sum.2 += row.failures;
        }
        for ((from, to, instrumented), (attempts, records, failures)) in consumes {
            // Nobody knows the service of a group that sends no spans.
            if instrumented {
                edges.push(edge(
                    "consumes",
                    group(from),
                    service(to),
                    Some(attempts),
                    records,
                    failures,
                    true,
                ));
            }
        }
        edges.sort_by(|one, other| one.id.cmp(&other.id));
        edges
    }
}

impl Pages {
    /// Returns the story of a record of `order`, begun now if it is new; lets the oldest order go over `keep`.
    fn story(&mut self, order: &str, place: &Place, keep: usize) -> &mut RecordStory {
        if !self.stories.contains_key(order) {
            self.known.push_back(order.to_owned());
            if self.known.len() > keep
                && let Some(oldest) = self.known.pop_front()
            {
                self.stories.remove(&oldest);
                self.truncated = true;
            }
        }
        let stories = self.stories.entry(order.to_owned()).or_default();
        // A consumer may be faster than the delivery report, so either may begin the story.
        let index = match stories.iter().position(|story| story.place == *place) {
            Some(index) => index,
            None => {
                stories.push(RecordStory {
                    place: place.clone(),
                    from: None,
                    deliveries: Vec::new(),
                });
                stories.len() - 1
            }
        };
        &mut stories[index]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it stands")]
    use super::*;

    fn place(topic: &str, offset: i64) -> Place {
        Place {
            topic: topic.to_owned(),
            partition: 0,
            offset,
        }
    }

    #[test]
    fn offsets_in_any_order_and_twice_are_counted_once() {
        let mut offsets = Offsets::default();
        for offset in [5, 3, 4, 4, 9, 5, 10, 8, 0] {
            offsets.insert(offset);
        }
        assert_eq!(offsets.len(), 7);
        assert_eq!(offsets.runs, BTreeMap::from([(0, 1), (3, 6), (8, 11)]));
    }

    #[test]
    fn a_record_handled_before_its_delivery_report_is_one_record() {
        let book = Book::new(Config::new("", ""));
        let record = place("orders", 0);
        for failed in [true, false] {
            book.handled(Handled {
                order: "ORD-0001",
                group: &plan::FRAUD,
                place: record.clone(),
                failed,
            });
        }
        book.sent(Sent {
            order: "ORD-0001",
            service: plan::STOREFRONT,
            place: record,
        });
        let ledger = book.ledger(Vec::new());
        let hops = ledger.hops("ORD-0001");
        assert_eq!(hops.len(), 1);
        assert_eq!(
            (hops[0].from.as_deref(), hops[0].to.as_deref()),
            (Some("storefront"), Some("fraud"))
        );
        let edge = ledger
            .edges
            .iter()
            .find(|edge| edge.kind == "delivers")
            .unwrap();
        assert_eq!((edge.messages, edge.records, edge.errors), (Some(2), 1, 1));
        assert_eq!(edge.id, "delivers topic:demo/orders>group:demo/fraud");
    }

    #[test]
    fn only_the_latest_orders_are_kept_in_detail_and_sums_are_of_all() {
        let book = Book::new(Config {
            keep: 2,
            ..Config::new("", "")
        });
        for offset in 0..5 {
            let order = crate::orders::name(offset as u64);
            book.sent(Sent {
                order: &order,
                service: plan::STOREFRONT,
                place: place("orders", offset),
            });
        }
        let ledger = book.ledger(Vec::new());
        assert!(ledger.truncated);
        assert_eq!(
            ledger.orders_detail.keys().collect::<Vec<_>>(),
            ["ORD-0003", "ORD-0004"]
        );
        assert_eq!(ledger.records_of("orders"), 5);
    }
}
