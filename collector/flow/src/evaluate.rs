//! What one span adds to the counts, given all that is known.
//!
//! [`evaluate`] is a pure function of the table; [`crate::touched`] names every entry whose value a new span can
//! change. As long as the second covers the first, arrival order leaves no trace: an entry is evaluated again whenever
//! something it looks at arrives, its old contribution is taken out and the new one put in. The rules are those of the
//! messaging model; each function says which.

use std::collections::HashSet;

use highwater_model::Operation;
use smallvec::{SmallVec, smallvec};

use crate::identities::Ident;
use crate::names::{Located, ReaderId, ServiceId};
use crate::series::{Delta, Timed};
use crate::table::{At, Message, Role, Table, call_delta};

/// How far up a send looks for the handler around it, and how far down a handler looks for its sends.
pub(crate) const MAX_DEPTH: usize = 32;

/// What a span is counted under: see [`crate::key::Key`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Under {
    Produce(ServiceId, ReaderId, Option<Located>),
    Consume(ServiceId, Located),
    Call(ServiceId, ServiceId),
}

/// Spans at hand; nearly always one or two.
type Spans<'t> = SmallVec<[At<'t>; 2]>;
type Records = SmallVec<[(i32, i64); 1]>;

/// What an entry adds, and under what; `None` for nothing.
pub(crate) fn evaluate(table: &Table, at: At<'_>) -> Option<(Under, Delta)> {
    let (under, delta) = match at.entry.role {
        Role::Producer => produce(table, at),
        Role::Consumer => consume(table, at),
        Role::Server => call(table, at),
        Role::Client | Role::Plain => None,
    }?;
    (!delta.is_empty()).then_some((under, delta))
}

// ---- producing ------------------------------------------------------------------------------------------------

fn produce(table: &Table, at: At<'_>) -> Option<(Under, Delta)> {
    let message = at.is(Role::Producer)?;
    if counted_elsewhere(table, at, message) {
        return None;
    }
    let delta = if at.entry.failed {
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
            timed: Timed::Produce,
            records: record.into_iter().collect(),
            ..Delta::default()
        }
    };
    let via = handler_around(table, at)
        .and_then(|handler| Some(located(table, handler, handler.is(Role::Consumer)?, None)));
    let under = Under::Produce(at.entry.service, message.reading.reader, via);
    Some((under, delta))
}

/// One message, two producer spans: the create is counted, its send is not; of two nested sends of one service to one
/// topic (a framework's and a client's instrumentation at once) the inner is, because its context travels.
fn counted_elsewhere(table: &Table, at: At<'_>, message: &Message) -> bool {
    if message.facts.operation != Operation::Send {
        return false;
    }
    let same = |other: At<'_>, operation| {
        other.is(Role::Producer).is_some_and(|m| {
            m.facts.operation == operation && m.reading.name == message.reading.name
        })
    };
    at.targets()
        .filter_map(|target| table.get(target))
        .any(|other| same(other, Operation::Create))
        || table.refs(at.ident()).any(|inner| {
            same(inner, Operation::Send)
                && inner.entry.parent == Some(at.ident())
                && inner.entry.service == at.entry.service
        })
}

/// The nearest consuming span above, in the same service and trace.
pub(crate) fn handler_around<'t>(table: &'t Table, at: At<'_>) -> Option<At<'t>> {
    let service = at.entry.service;
    let mut above = table.get(at.entry.parent?)?;
    for _ in 0..MAX_DEPTH {
        if above.entry.service != service {
            return None;
        }
        if above.entry.role == Role::Consumer {
            return Some(above);
        }
        above = table.get(above.entry.parent?)?;
    }
    None
}

// ---- consuming ------------------------------------------------------------------------------------------------

fn consume(table: &Table, at: At<'_>) -> Option<(Under, Delta)> {
    let message = at.is(Role::Consumer)?;
    if message.facts.backoff || yields(table, at, message) {
        return None;
    }
    let producers = producers_of(table, at, message);
    let Attempts {
        count,
        records,
        open,
    } = attempts(table, at, message, &producers);
    let timed = if message.facts.work && count > 0 {
        Timed::Process
    } else {
        Timed::No
    };
    let delta = Delta {
        messages: count,
        errors: if at.entry.failed { count } else { 0 },
        unplaced: count.saturating_sub(records.len() as u32),
        timed,
        in_broker: producers
            .iter()
            .filter(|producer| {
                open.as_ref()
                    .is_none_or(|open| open.contains(&producer.ident()))
            })
            .filter_map(|producer| time_in_broker(table, at, message, *producer))
            .collect(),
        records,
    };
    let reader = located(table, at, message, Some(&producers));
    Some((Under::Consume(at.entry.service, reader), delta))
}

/// The same consumer: the group where both name one, else the service.
fn same_consumer(a: At<'_>, b: At<'_>) -> bool {
    let (Some(x), Some(y)) = (a.is(Role::Consumer), b.is(Role::Consumer)) else {
        return false;
    };
    x.reading.same_topic(&y.reading)
        && match (x.reading.group, y.reading.group) {
            (Some(x), Some(y)) => x == y,
            _ => a.entry.service == b.entry.service,
        }
}

/// Whether other spans stand for what this receive fetched: those under it, process spans linked to it, or a batch's
/// per-message receives linked to it. A receive inside a process span (two instrumentations at once) yields too.
fn yields(table: &Table, at: At<'_>, message: &Message) -> bool {
    if message.facts.operation != Operation::Receive {
        return false;
    }
    let stands_for = |other: At<'_>| {
        same_consumer(at, other)
            && (other.entry.parent == Some(at.ident())
                || is_process(other)
                || (!message.facts.named
                    && other.is(Role::Consumer).is_some_and(|m| m.facts.named)))
    };
    table.refs(at.ident()).any(stands_for)
        || at
            .entry
            .parent
            .and_then(|parent| table.get(parent))
            .is_some_and(|parent| is_process(parent) && same_consumer(at, parent))
}

fn is_process(at: At<'_>) -> bool {
    at.is(Role::Consumer)
        .is_some_and(|m| m.facts.operation == Operation::Process)
}

/// What a consuming span is counted for.
struct Attempts {
    count: u32,
    records: Records,
    /// The linked messages that are counted here; `None` for all.
    open: Option<HashSet<Ident>>,
}

/// Attempts that a consuming span is counted for, and the records it is known to be of.
fn attempts(table: &Table, at: At<'_>, message: &Message, producers: &[At<'_>]) -> Attempts {
    let (facts, links) = (&message.facts, &message.links);
    let handled = |target: Ident| {
        table.refs(target).any(|other| {
            other.ident() != at.ident() && is_process(other) && same_consumer(at, other)
        })
    };
    if facts.operation == Operation::Process || facts.work {
        let count = (links.len() as u32).max(facts.batch.unwrap_or(1)).max(1);
        return Attempts {
            count,
            records: records(message, producers, count, |_| true),
            open: None,
        };
    }
    if facts.named || links.is_empty() {
        // One message, or a batch that names none of its messages. Where a process span of the same message is known,
        // that is the attempt.
        let count = if facts.named {
            1
        } else {
            facts.batch.unwrap_or(1)
        };
        let elsewhere = count == 1
            && at.targets().any(|target| {
                table
                    .get(target)
                    .is_none_or(|target| target.entry.role == Role::Producer)
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
    let open: HashSet<Ident> = links
        .iter()
        .map(|link| link.to)
        .filter(|&target| {
            !handled(target)
                && !table
                    .get(target)
                    .is_some_and(|target| same_consumer(at, target))
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
    producers: &[At<'_>],
    count: u32,
    wanted: impl Fn(Ident) -> bool,
) -> Records {
    if count == 0 {
        return Records::new();
    }
    if count == 1
        && let Some(record) = message.record()
    {
        return smallvec![record];
    }
    let mut found = Records::new();
    let mut covered: HashSet<Ident> = HashSet::new();
    for link in &message.links {
        if let Some(record) = link.record
            && wanted(link.to)
        {
            found.push(record);
            covered.insert(link.to);
        }
    }
    for producer in producers {
        if wanted(producer.ident())
            && !covered.contains(&producer.ident())
            && let Some(record) = producer.is(Role::Producer).and_then(Message::record)
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
fn producers_of<'t>(table: &'t Table, at: At<'t>, message: &Message) -> Spans<'t> {
    let direct = |of: At<'t>| -> Spans<'t> {
        of.targets()
            .filter_map(|target| table.get(target))
            .filter(|target| {
                target
                    .is(Role::Producer)
                    .is_some_and(|m| m.reading.same_topic(&message.reading))
            })
            .collect()
    };
    let found = direct(at);
    if !found.is_empty() {
        return found;
    }
    if message.facts.operation == Operation::Process {
        for receive in at.targets().filter_map(|target| table.get(target)) {
            if same_consumer(at, receive) {
                let through = direct(receive);
                // A batch receive cannot tell which of its producers this message came from.
                if through.len() == 1 {
                    return through;
                }
            }
        }
    }
    let mut beside: Spans<'t> = table
        .producers_beside(at)
        .filter(|producer| {
            producer.is(Role::Producer).is_some_and(|m| {
                m.reading.same_topic(&message.reading) && !m.reading.other_cluster(&message.reading)
            })
        })
        .collect();
    // Two records at one place: the clusters differ, and this span does not say which is its own.
    if beside.len() > 1 {
        beside.clear();
    }
    beside
}

/// Where a consuming span reads, its cluster taken from the stitched producer where it names no cluster id.
fn located<'t>(
    table: &'t Table,
    at: At<'t>,
    message: &Message,
    producers: Option<&Spans<'t>>,
) -> Located {
    let reading = &message.reading;
    let mut located = Located {
        reader: reading.reader,
        from: None,
    };
    if reading.cluster.is_some() {
        return located;
    }
    let found;
    let producers = match producers {
        Some(producers) => producers,
        None => {
            found = producers_of(table, at, message);
            &found
        }
    };
    let sent_to = || {
        producers
            .iter()
            .filter_map(|producer| producer.is(Role::Producer))
            .map(|m| &m.reading)
    };
    let by_id = sent_to().find(|sent| sent.cluster.is_some());
    let by_address = || sent_to().find(|sent| sent.has_address && !reading.has_address);
    located.from = by_id.or_else(by_address).map(|sent| sent.reader);
    located
}

/// Time one message waited in the broker; `None` where it is no first delivery or a clock is wrong.
fn time_in_broker(table: &Table, at: At<'_>, message: &Message, producer: At<'_>) -> Option<u64> {
    let (entry, sent) = (at.entry, producer.entry);
    if sent.failed {
        return None;
    }
    let is_process = message.facts.operation == Operation::Process;
    if is_process && entry.start < sent.start {
        // Skew: only a process span cannot start before its message was sent.
        return None;
    }
    let handles = is_process || message.facts.work;
    let earlier = |other: At<'_>| {
        other.entry.start < entry.start
            || (other.entry.start == entry.start && table.id(other.ident()) < table.id(at.ident()))
    };
    let redelivered = |other: At<'_>| {
        earlier(other)
            && same_consumer(at, other)
            && other.is(Role::Consumer).is_some_and(|m| {
                (m.facts.operation == Operation::Process || m.facts.work) == handles
                    && !yields(table, other, m)
                    && producers_of(table, other, m)
                        .iter()
                        .any(|sent| sent.ident() == producer.ident())
            })
    };
    if any_consumer_of(table, producer, redelivered) {
        return None;
    }
    // A fetch starts when the waiting starts: its end is the delivery. A handler starts with the message in hand.
    let delivered = if handles { entry.start } else { entry.end };
    Some(delivered.since(sent.end))
}

/// Whether it is so for a consuming span that may be stitched to a producer: directly, through a receive, or by
/// offset.
fn any_consumer_of(table: &Table, producer: At<'_>, wanted: impl Fn(At<'_>) -> bool) -> bool {
    let consumes = |at: &At<'_>| at.entry.role == Role::Consumer;
    table
        .refs(producer.ident())
        .filter(consumes)
        .any(|first| wanted(first) || table.refs(first.ident()).filter(consumes).any(&wanted))
        || table.lone_consumers_beside(producer).any(&wanted)
}

// ---- calling --------------------------------------------------------------------------------------------------

fn call(table: &Table, at: At<'_>) -> Option<(Under, Delta)> {
    let caller = table.get(at.entry.parent?)?;
    (caller.entry.role == Role::Client).then(|| {
        (
            Under::Call(caller.entry.service, at.entry.service),
            call_delta(at.entry),
        )
    })
}
