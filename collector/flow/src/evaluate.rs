//! What one span adds to the counts, given all that is known.
//!
//! [`evaluate`] is a pure function of the table; [`touched_by`] names every entry whose value a new span can change.
//! As long as the second covers the first, arrival order leaves no trace: an entry is evaluated again whenever
//! something it looks at arrives, its old contribution is taken out and the new one put in. The rules are those of the
//! messaging model; each function says which.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_model::Operation;

use crate::key::{Key, Reader, TopicRef};
use crate::series::Delta;
use crate::table::{Applied, Entry, Message, Role, SpanRef, Table};

/// How far up a send looks for the handler around it, and how far down a handler looks for its sends.
const MAX_DEPTH: usize = 32;
/// Descendants looked at for one new span.
const MAX_DESCENDANTS: usize = 4_096;

/// What `entry` adds; `None` for nothing.
pub(crate) fn evaluate(table: &Table, entry: &Entry) -> Option<Applied> {
    match entry.role {
        Role::Producer => produce(table, entry),
        Role::Consumer => consume(table, entry),
        Role::Server => call(table, entry),
        Role::Client | Role::Plain => None,
    }
}

fn applied(key: Key, at: highwater_model::UnixNanos, delta: Delta) -> Option<Applied> {
    (delta.messages > 0 || delta.errors > 0).then(|| Applied {
        key: Arc::new(key),
        at,
        delta,
    })
}

// ---- producing ------------------------------------------------------------------------------------------------

fn produce(table: &Table, entry: &Entry) -> Option<Applied> {
    let message = entry.message.as_deref()?;
    if counted_elsewhere(table, entry, message) {
        return None;
    }
    let delta = if entry.failed {
        // A producer span in error produced no message.
        Delta {
            errors: 1,
            ..Delta::default()
        }
    } else {
        let record = message.record();
        Delta {
            messages: 1,
            unplaced: u32::from(record.is_none()),
            produce: Some(entry.end.since(entry.start)),
            records: record.into_iter().collect(),
            ..Delta::default()
        }
    };
    let via = handler_around(table, entry).map(|handler| Reader {
        topic: topic_of(table, handler),
        group: handler
            .message
            .as_ref()
            .and_then(|m| m.reader.group.clone()),
        client: handler
            .message
            .as_ref()
            .and_then(|m| m.reader.client.clone()),
    });
    applied(
        Key::Produce {
            service: (*entry.service).clone(),
            topic: message.reader.topic.clone(),
            via,
        },
        entry.end,
        delta,
    )
}

/// One message, two producer spans: the create is counted, its send is not; of two nested sends of one service to one
/// topic (a framework's and a client's instrumentation at once) the inner is, because its context travels.
fn counted_elsewhere(table: &Table, entry: &Entry, message: &Message) -> bool {
    let same = |other: &&Entry| {
        other
            .is(Role::Producer)
            .is_some_and(|m| m.reader.topic.name == message.reader.topic.name)
    };
    if message.operation == Operation::Send {
        let of_create = entry
            .targets()
            .into_iter()
            .filter_map(|target| table.get(target))
            .filter(same)
            .any(|other| {
                other
                    .message
                    .as_ref()
                    .is_some_and(|m| m.operation == Operation::Create)
            });
        if of_create {
            return true;
        }
        return table.refs(entry.id).filter(same).any(|inner| {
            inner.parent_ref() == Some(entry.id)
                && inner.service == entry.service
                && inner
                    .message
                    .as_ref()
                    .is_some_and(|m| m.operation == Operation::Send)
        });
    }
    false
}

/// The nearest consuming span above, in the same service and trace.
fn handler_around<'t>(table: &'t Table, entry: &Entry) -> Option<&'t Entry> {
    let mut at = table.get(entry.parent_ref()?)?;
    for _ in 0..MAX_DEPTH {
        if at.service != entry.service {
            return None;
        }
        if at.role == Role::Consumer {
            return Some(at);
        }
        at = table.get(at.parent_ref()?)?;
    }
    None
}

// ---- consuming ------------------------------------------------------------------------------------------------

fn consume(table: &Table, entry: &Entry) -> Option<Applied> {
    let message = entry.message.as_deref()?;
    if message.backoff || yields(table, entry, message) {
        return None;
    }
    let producers = producers_of(table, entry);
    let Attempts {
        count,
        records,
        open,
    } = attempts(table, entry, message, &producers);
    let delta = Delta {
        messages: count,
        errors: if entry.failed { count } else { 0 },
        unplaced: count.saturating_sub(records.len() as u32),
        produce: None,
        process: (message.work && count > 0).then(|| entry.end.since(entry.start)),
        in_broker: producers
            .iter()
            .filter(|producer| open.as_ref().is_none_or(|open| open.contains(&producer.id)))
            .filter_map(|producer| time_in_broker(table, entry, message, producer))
            .collect(),
        records,
    };
    applied(
        Key::Consume {
            service: (*entry.service).clone(),
            reader: Reader {
                topic: topic_of(table, entry),
                group: message.reader.group.clone(),
                client: message.reader.client.clone(),
            },
        },
        entry.start,
        delta,
    )
}

fn same_topic(a: &Message, b: &Message) -> bool {
    a.reader.topic.name == b.reader.topic.name && a.reader.topic.system == b.reader.topic.system
}

/// The same consumer: the group where both name one, else the service.
fn same_consumer(a: &Entry, b: &Entry) -> bool {
    let (Some(x), Some(y)) = (a.is(Role::Consumer), b.is(Role::Consumer)) else {
        return false;
    };
    same_topic(x, y)
        && match (&x.reader.group, &y.reader.group) {
            (Some(x), Some(y)) => x == y,
            _ => a.service == b.service,
        }
}

/// Whether other spans stand for what this receive fetched: those under it, process spans linked to it, or a batch's
/// per-message receives linked to it. A receive inside a process span (two instrumentations at once) yields too.
fn yields(table: &Table, entry: &Entry, message: &Message) -> bool {
    if message.operation != Operation::Receive {
        return false;
    }
    let stands_for = |other: &Entry| {
        same_consumer(entry, other)
            && (other.parent_ref() == Some(entry.id)
                || is_process(other)
                || (!message.named && other.is(Role::Consumer).is_some_and(|m| m.named)))
    };
    if table.refs(entry.id).any(stands_for) {
        return true;
    }
    entry
        .parent_ref()
        .and_then(|parent| table.get(parent))
        .is_some_and(|parent| is_process(parent) && same_consumer(entry, parent))
}

fn is_process(entry: &Entry) -> bool {
    entry
        .is(Role::Consumer)
        .is_some_and(|m| m.operation == Operation::Process)
}

/// What a consuming span is counted for.
struct Attempts {
    count: u32,
    records: Vec<(i32, i64)>,
    /// The linked messages that are counted here; `None` for all.
    open: Option<HashSet<SpanRef>>,
}

/// Attempts that a consuming span is counted for, and the records it is known to be of.
fn attempts(table: &Table, entry: &Entry, message: &Message, producers: &[&Entry]) -> Attempts {
    let links = &message.links;
    let handled = |target: SpanRef| {
        table
            .refs(target)
            .any(|other| other.id != entry.id && is_process(other) && same_consumer(entry, other))
    };
    if message.operation == Operation::Process || message.work {
        let count = (links.len() as u32).max(message.batch.unwrap_or(1)).max(1);
        return Attempts {
            count,
            records: records(message, producers, count, |_| true),
            open: None,
        };
    }
    if message.named || links.is_empty() {
        // One message, or a batch that names none of its messages. Where a process span of the same message is known,
        // that is the attempt.
        let count = if message.named {
            1
        } else {
            message.batch.unwrap_or(1)
        };
        let elsewhere = count == 1
            && entry.targets().into_iter().any(|target| {
                table
                    .get(target)
                    .is_none_or(|target| target.role == Role::Producer)
                    && handled(target)
            });
        let count = if elsewhere { 0 } else { count };
        return Attempts {
            count,
            records: records(message, producers, count, |_| true),
            open: None,
        };
    }
    // A batch's links lead to what was sent, or to the batch's own per-message receives, which count themselves.
    let open: HashSet<SpanRef> = links
        .iter()
        .map(|link| link.to)
        .filter(|&target| {
            !handled(target)
                && !table
                    .get(target)
                    .is_some_and(|target| same_consumer(entry, target))
        })
        .collect();
    let count = open.len() as u32;
    Attempts {
        count,
        records: records(message, producers, count, |target| open.contains(&target)),
        open: Some(open),
    }
}

/// Records a consuming span is of: its own, else its links', else its producers'.
fn records(
    message: &Message,
    producers: &[&Entry],
    count: u32,
    wanted: impl Fn(SpanRef) -> bool,
) -> Vec<(i32, i64)> {
    if count == 0 {
        return Vec::new();
    }
    if count == 1
        && let Some(record) = message.record()
    {
        return vec![record];
    }
    let mut found: Vec<(i32, i64)> = Vec::new();
    let mut covered: HashSet<SpanRef> = HashSet::new();
    for link in &message.links {
        if let Some(record) = link.record
            && wanted(link.to)
        {
            found.push(record);
            covered.insert(link.to);
        }
    }
    for producer in producers {
        if wanted(producer.id)
            && !covered.contains(&producer.id)
            && let Some(record) = producer.message.as_ref().and_then(|m| m.record())
        {
            found.push(record);
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(count as usize);
    found
}

/// Producers a consuming span is stitched to: its parent and links, each once; where none of these is a producer,
/// those of the receive it came through; where it has no context at all, the one at its offset.
fn producers_of<'t>(table: &'t Table, entry: &Entry) -> Vec<&'t Entry> {
    let Some(message) = entry.is(Role::Consumer) else {
        return Vec::new();
    };
    let direct = |of: &Entry| -> Vec<&'t Entry> {
        of.targets()
            .into_iter()
            .filter_map(|target| table.get(target))
            .filter(|target| {
                target
                    .is(Role::Producer)
                    .is_some_and(|m| same_topic(m, message))
            })
            .collect()
    };
    let found = direct(entry);
    if !found.is_empty() {
        return found;
    }
    for target in entry.targets() {
        if message.operation == Operation::Process
            && let Some(receive) = table.get(target)
            && receive.role == Role::Consumer
            && same_consumer(entry, receive)
        {
            let through = direct(receive);
            // A batch receive cannot tell which of its producers this message came from.
            if through.len() == 1 {
                return through;
            }
        }
    }
    let mut at: Vec<&Entry> = table
        .producers_at(entry)
        .filter(|producer| {
            producer.is(Role::Producer).is_some_and(|m| {
                same_topic(m, message)
                    && match (&m.reader.topic.cluster_id, &message.reader.topic.cluster_id) {
                        (Some(a), Some(b)) => a == b,
                        _ => true,
                    }
            })
        })
        .collect();
    // Two records at one place: the clusters differ, and this span does not say which is its own.
    if at.len() > 1 {
        at.clear();
    }
    at
}

/// The topic a consuming span reads, its cluster taken from the stitched producer where it names no cluster id.
fn topic_of(table: &Table, entry: &Entry) -> TopicRef {
    let Some(message) = entry.message.as_deref() else {
        return TopicRef {
            system: "".into(),
            name: "".into(),
            cluster_id: None,
            address: None,
        };
    };
    let mut topic = message.reader.topic.clone();
    if topic.cluster_id.is_none() {
        let producers = producers_of(table, entry);
        let sent_to = |producer: &&Entry| producer.message.as_ref().map(|m| m.reader.topic.clone());
        if let Some(id) = producers
            .iter()
            .filter_map(sent_to)
            .find_map(|t| t.cluster_id)
        {
            topic.cluster_id = Some(id);
        } else if topic.address.is_none() {
            topic.address = producers.iter().filter_map(sent_to).find_map(|t| t.address);
        }
    }
    topic
}

/// Time one message waited in the broker; `None` where it is no first delivery or a clock is wrong.
fn time_in_broker(
    table: &Table,
    entry: &Entry,
    message: &Message,
    producer: &Entry,
) -> Option<u64> {
    if producer.failed {
        return None;
    }
    let is_process = message.operation == Operation::Process;
    if is_process && entry.start < producer.start {
        // Skew: only a process span cannot start before its message was sent.
        return None;
    }
    let order = (entry.start, entry.id);
    let redelivered = consumers_of(table, producer).into_iter().any(|other| {
        (other.start, other.id) < order
            && same_consumer(entry, other)
            && other.is(Role::Consumer).is_some_and(|m| {
                !yields(table, other, m)
                    && (m.operation == Operation::Process || m.work) == (is_process || message.work)
            })
            && producers_of(table, other)
                .iter()
                .any(|sent| sent.id == producer.id)
    });
    if redelivered {
        return None;
    }
    // A fetch starts when the waiting starts: its end is the delivery. A handler starts with the message in hand.
    let delivered = if is_process || message.work {
        entry.start
    } else {
        entry.end
    };
    Some(delivered.since(producer.end))
}

/// Consuming spans that may be stitched to a producer, directly, through a receive, or by offset.
fn consumers_of<'t>(table: &'t Table, producer: &Entry) -> Vec<&'t Entry> {
    let mut found: Vec<&Entry> = Vec::new();
    for first in table.refs(producer.id) {
        if first.role == Role::Consumer {
            found.push(first);
            found.extend(
                table
                    .refs(first.id)
                    .filter(|second| second.role == Role::Consumer),
            );
        }
    }
    found.extend(table.lone_consumers_of(producer));
    found
}

// ---- calling --------------------------------------------------------------------------------------------------

fn call(table: &Table, entry: &Entry) -> Option<Applied> {
    let caller = table.get(entry.parent_ref()?)?;
    if caller.role != Role::Client {
        return None;
    }
    applied(
        Key::Call {
            caller: (*caller.service).clone(),
            callee: (*entry.service).clone(),
        },
        entry.start,
        Delta {
            messages: 1,
            errors: u32::from(entry.failed),
            process: Some(entry.end.since(entry.start)),
            ..Delta::default()
        },
    )
}

// ---- what a new span changes ----------------------------------------------------------------------------------

/// Adds to `touched` every entry whose value the arrival of `entry` can change, itself included.
pub(crate) fn touched_by(table: &Table, entry: &Entry, touched: &mut HashSet<SpanRef>) {
    touched.insert(entry.id);
    let mut add = |entry: &Entry| {
        if matches!(entry.role, Role::Producer | Role::Consumer | Role::Server) {
            touched.insert(entry.id);
        }
    };
    // Those that name it, and, where it is part of a message's way, those that came through them.
    for child in table.refs(entry.id) {
        add(child);
        if entry.role == Role::Producer && child.role == Role::Consumer {
            table.refs(child.id).for_each(&mut add);
        }
        // A receive under a process span now yields: another delivery of its message may be the first one.
        if entry.role == Role::Consumer && child.role == Role::Consumer {
            for sent in child.targets() {
                table.refs(sent).for_each(&mut add);
            }
        }
    }
    if matches!(entry.role, Role::Producer | Role::Consumer) {
        table.at_place_of(entry).for_each(&mut add);
        for target in entry.targets() {
            if let Some(target) = table.get(target) {
                add(target);
                // Come through a receive: the receive's producers have other consumers too.
                if target.role == Role::Consumer {
                    for sent in target.targets() {
                        for other in table.refs(sent) {
                            add(other);
                            table.refs(other.id).for_each(&mut add);
                        }
                    }
                }
            }
            // Others of the same message: redeliveries, and the receive or process of it.
            for sibling in table.refs(target) {
                add(sibling);
                if sibling.role == Role::Consumer {
                    table.refs(sibling.id).for_each(&mut add);
                }
            }
        }
    }
    sends_below(table, entry, touched);
}

/// Adds the sends of the same service below `entry`, down to the next handler: what they are attributed to can change.
pub(crate) fn sends_below(table: &Table, entry: &Entry, touched: &mut HashSet<SpanRef>) {
    let mut level = vec![entry];
    let mut seen = 0;
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for above in level {
            for child in table.refs(above.id) {
                if child.service != entry.service || child.parent_ref() != Some(above.id) {
                    continue;
                }
                seen += 1;
                if seen > MAX_DESCENDANTS {
                    return;
                }
                if child.role == Role::Producer {
                    touched.insert(child.id);
                }
                if child.role != Role::Consumer {
                    next.push(child);
                }
            }
        }
        if next.is_empty() {
            return;
        }
        level = next;
    }
}
