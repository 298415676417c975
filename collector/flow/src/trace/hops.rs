//! The hops of a trace: a message through a topic to a group, each counted once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use highwater_model::span::Link;
use highwater_model::{Operation, Span, SpanId, TraceId, UnixNanos};

use super::stitch::{
    Index, Key, consumes, delivered, is_batch, key, operation, parent_key, sends, waits, works,
};

/// A message through a topic to a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// Service that sent it; `None` when no span of it is known.
    pub producer: Option<Arc<str>>,
    /// The producer's trace and span.
    pub producer_span: Option<(TraceId, SpanId)>,
    /// Topic.
    pub topic: Arc<str>,
    /// Group; `None` when no span names it.
    pub group: Option<Arc<str>>,
    /// Service that handled it; `None` while nobody has.
    pub consumer: Option<Arc<str>>,
    /// The consumer's trace and span: of several attempts the last.
    pub consumer_span: Option<(TraceId, SpanId)>,
    /// Producer's end to the first delivery; 0 when negative; `None` without both ends.
    pub in_broker_ns: Option<u64>,
    /// Handling time of the last attempt; `None` where no span covers it.
    pub process_ns: Option<u64>,
    /// The last attempt failed.
    pub error: bool,
    /// Attempts seen; 0 while nobody has handled it.
    pub attempts: u32,
    /// Partition.
    pub partition: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
}

/// Who handles a message, told as well as the span allows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Reader {
    Group(Arc<str>),
    Service(Arc<str>, Arc<str>),
}

fn reader(span: &Span) -> Reader {
    match span.messaging.as_ref().and_then(|m| m.group.clone()) {
        Some(group) => Reader::Group(group),
        None => Reader::Service(span.service.namespace.clone(), span.service.name.clone()),
    }
}

/// How much a consumer span says about one message: a handler most, a batch least.
fn rank(span: &Span) -> u8 {
    match (operation(span), is_batch(span)) {
        (Some(Operation::Process), false) => 3,
        (Some(Operation::Process), true) => 2,
        (_, false) => 1,
        (_, true) => 0,
    }
}

/// A message on its way to one reader, with the spans that tell of it.
pub(crate) struct Delivery<'a> {
    /// Who sent it, when known.
    pub(crate) producer: Option<&'a Span>,
    /// Spans of the reader that say most about this message, by start: attempts. Empty while nobody has handled it.
    pub(crate) attempts: Vec<&'a Span>,
    /// The span that tells when it was first delivered.
    pub(crate) first: Option<&'a Span>,
    /// The group, from any of the reader's spans.
    pub(crate) group: Option<Arc<str>>,
}

impl<'a> Delivery<'a> {
    fn new(producer: Option<&'a Span>, mut consumers: Vec<&'a Span>) -> Self {
        // A poll over several messages does not tell when this one was delivered, unless nothing else does.
        let first = consumers
            .iter()
            .min_by_key(|span| (is_batch(span), delivered(span), key(span)))
            .copied();
        let group = consumers
            .iter()
            .find_map(|span| span.messaging.as_ref().and_then(|m| m.group.clone()));
        let best = consumers.iter().map(|span| rank(span)).max();
        consumers.retain(|span| Some(rank(span)) == best);
        consumers.sort_by_key(|span| (span.start, key(span)));
        Self {
            producer,
            attempts: consumers,
            first,
            group,
        }
    }

    /// The topic, as the producer names it, else the consumer.
    pub(crate) fn topic(&self) -> Option<&'a Arc<str>> {
        let of = |span: &&'a Span| span.messaging.as_ref()?.destination.as_ref();
        self.producer
            .as_ref()
            .and_then(of)
            .or_else(|| self.attempts.last().and_then(of))
    }

    /// Producer's end to the first delivery; 0 when negative; `None` without both ends.
    pub(crate) fn in_broker_ns(&self) -> Option<u64> {
        let (producer, first) = self.producer.zip(self.first)?;
        Some(delivered(first).since(producer.end))
    }

    /// Partition and offset, as far as an end or the link between them tells.
    pub(crate) fn record(&self) -> (Option<i32>, Option<i64>) {
        let last = self.attempts.last().copied();
        // What a batch says of itself is not said of this message; its link to the producer may name the record.
        let own = last
            .filter(|span| !is_batch(span))
            .and_then(|span| span.messaging.as_ref());
        let link = last.zip(self.producer).and_then(|(span, producer)| {
            let at = |link: &&Link| (link.trace_id, link.span_id) == key(producer);
            span.links.iter().find(at)
        });
        let sent = self.producer.and_then(|span| span.messaging.as_ref());
        let partition = own
            .and_then(|m| m.partition)
            .or_else(|| link.and_then(|link| link.partition))
            .or_else(|| sent.and_then(|m| m.partition));
        let offset = own
            .and_then(|m| m.offset)
            .or_else(|| link.and_then(|link| link.offset))
            .or_else(|| sent.and_then(|m| m.offset));
        (partition, offset)
    }

    fn begins(&self) -> UnixNanos {
        self.producer
            .or(self.first)
            .map_or(UnixNanos(0), |span| span.start)
    }

    fn hop(&self) -> Option<Hop> {
        let last = self.attempts.last().copied();
        let (partition, offset) = self.record();
        Some(Hop {
            producer: self.producer.map(|span| span.service.name.clone()),
            producer_span: self.producer.map(key),
            topic: self.topic()?.clone(),
            group: self.group.clone(),
            consumer: last.map(|span| span.service.name.clone()),
            consumer_span: last.map(key),
            in_broker_ns: self.in_broker_ns(),
            process_ns: last.filter(|span| works(span)).map(Span::duration_ns),
            error: last.is_some_and(|span| span.error.is_some()),
            attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
            partition,
            offset,
        })
    }
}

/// Hops that begin or end in `own`, in order of time.
pub(super) fn hops(own: &[&Span], foreign: &[&Span], index: &Index<'_>) -> Vec<Hop> {
    deliveries(own, foreign, index)
        .iter()
        .filter_map(Delivery::hop)
        .collect()
}

/// Every message that `own` spans send or handle, once for each reader, in order of time. `foreign` are spans of other
/// traces that links point to or from.
pub(crate) fn deliveries<'a>(
    own: &[&'a Span],
    foreign: &[&'a Span],
    index: &Index<'a>,
) -> Vec<Delivery<'a>> {
    let own_keys: HashSet<Key> = own.iter().map(|span| key(span)).collect();
    let covered = receives_with_children(own, foreign);

    // Consumers by message and reader: by the producer where one is known, else by the record.
    let mut by_producer: BTreeMap<(Key, Reader), Vec<&Span>> = BTreeMap::new();
    let mut by_record: HashMap<(Arc<str>, i32, i64, Reader), Vec<&Span>> = HashMap::new();
    let mut deliveries: Vec<Delivery<'a>> = Vec::new();
    for (is_own, &span) in own
        .iter()
        .map(|span| (true, span))
        .chain(foreign.iter().map(|span| (false, span)))
    {
        if !consumes(span) || waits(span) {
            continue;
        }
        let producers = index.producers(span);
        for producer in &producers {
            if is_own || own_keys.contains(&key(producer)) {
                by_producer
                    .entry((key(producer), reader(span)))
                    .or_default()
                    .push(span);
            }
        }
        if !producers.is_empty() || !is_own || covered.contains(&key(span)) {
            continue;
        }
        let Some(messaging) = &span.messaging else {
            continue;
        };
        match (
            &messaging.destination,
            messaging.partition,
            messaging.offset,
        ) {
            (Some(topic), Some(partition), Some(offset)) => by_record
                .entry((topic.clone(), partition, offset, reader(span)))
                .or_default()
                .push(span),
            (Some(_), ..) => deliveries.push(Delivery::new(None, vec![span])),
            (None, ..) => {}
        }
    }

    let mut sent: HashSet<Key> = HashSet::new();
    for ((producer, _), consumers) in by_producer {
        sent.insert(producer);
        deliveries.push(Delivery::new(index.get(producer), consumers));
    }
    let told = by_record.into_values();
    deliveries.extend(told.map(|consumers| Delivery::new(None, consumers)));
    let waiting = waiting(own, &sent, index).into_iter();
    deliveries.extend(waiting.map(|span| Delivery::new(Some(span), Vec::new())));
    deliveries.sort_by_key(|delivery| {
        (
            delivery.begins(),
            delivery.producer.map(key),
            delivery.attempts.last().map(|span| key(span)),
        )
    });
    deliveries
}

/// Receives whose messages are told one by one by other spans: their children, and spans linked to them.
fn receives_with_children(own: &[&Span], foreign: &[&Span]) -> HashSet<Key> {
    own.iter()
        .chain(foreign)
        .filter(|span| consumes(span))
        .flat_map(|span| {
            let links = span.links.iter().map(|link| (link.trace_id, link.span_id));
            parent_key(span).into_iter().chain(links)
        })
        .collect()
}

/// Messages sent that no span handles. Create and send of one message are one, and so are nested producer spans.
fn waiting<'a>(own: &[&'a Span], sent: &HashSet<Key>, index: &Index<'a>) -> Vec<&'a Span> {
    let mut left_out: HashSet<Key> = HashSet::new();
    for span in own.iter().filter(|span| sends(span)) {
        let others = parent_key(span)
            .into_iter()
            .chain(span.links.iter().map(|link| (link.trace_id, link.span_id)));
        for other in others.filter_map(|key| index.get(key)) {
            let same = |s: &Span| s.messaging.as_ref().and_then(|m| m.destination.clone());
            if !sends(other) || same(other) != same(span) {
                continue;
            }
            // The one that a consumer names stands; without one the context is create's, else the inner span's.
            let inner_stands = if sent.contains(&key(other)) {
                false
            } else {
                sent.contains(&key(span)) || operation(other) != Some(Operation::Create)
            };
            left_out.insert(if inner_stands { key(other) } else { key(span) });
        }
    }
    own.iter()
        .copied()
        .filter(|span| {
            sends(span)
                && span.error.is_none()
                && !sent.contains(&key(span))
                && !left_out.contains(&key(span))
        })
        .collect()
}
