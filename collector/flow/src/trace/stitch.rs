//! Who sent what a span handled: shared by the trace view and the journey.

use std::collections::{HashMap, HashSet};

use highwater_model::{Messaging, Operation, Span, SpanId, TraceId};

/// A span's identity. Span ids alone are unique only within a trace.
pub(crate) type Key = (TraceId, SpanId);

/// Chains of receives are followed this far: a process linked to its receive linked to the producer is two.
const MAX_CHAIN: usize = 4;

pub(crate) fn key(span: &Span) -> Key {
    (span.trace_id, span.span_id)
}

pub(crate) fn parent_key(span: &Span) -> Option<Key> {
    // A span that names itself as its parent is a root.
    let parent = span.parent.filter(|parent| *parent != span.span_id)?;
    Some((span.trace_id, parent))
}

pub(crate) fn operation(span: &Span) -> Option<Operation> {
    span.messaging.as_ref().map(|messaging| messaging.operation)
}

/// Makes or hands over a message.
pub(crate) fn sends(span: &Span) -> bool {
    matches!(operation(span), Some(Operation::Create | Operation::Send))
}

/// Fetches or works on messages.
pub(crate) fn consumes(span: &Span) -> bool {
    matches!(
        operation(span),
        Some(Operation::Receive | Operation::Process)
    )
}

/// A span over several messages: nothing that belongs to one of them may be read out of it.
///
/// Links to one span twice are one; several values of one correlation key are several messages.
pub(crate) fn is_batch(span: &Span) -> bool {
    if span
        .messaging
        .as_ref()
        .and_then(|messaging| messaging.batch_count)
        .is_some_and(|count| count > 1)
    {
        return true;
    }
    let several_links = span.links.first().is_some_and(|first| {
        span.links
            .iter()
            .any(|link| (link.trace_id, link.span_id) != (first.trace_id, first.span_id))
    });
    // A record span of aiokafka is a child of its producer and linked to the batch it came in: that is one link.
    several_links || has_several_values(span)
}

/// Two values of one correlation key stand on the span.
fn has_several_values(span: &Span) -> bool {
    let mut first: Vec<(&str, &str)> = Vec::new();
    for correlation in &span.correlations {
        match first.iter().find(|(key, _)| *key == &*correlation.key) {
            Some((_, value)) if *value != &*correlation.value => return true,
            Some(_) => {}
            None => first.push((&correlation.key, &correlation.value)),
        }
    }
    false
}

/// Whether the two can be the ends of one message. Only Kafka's topics are called the same on both sides.
fn same_destination(producer: &Messaging, consumer: &Messaging) -> bool {
    match (&producer.destination, &consumer.destination) {
        (Some(sent), Some(taken))
            if &*producer.system == "kafka" && producer.system == consumer.system =>
        {
            sent == taken
        }
        _ => true,
    }
}

/// Whether `producer` sent what `consumer` handles, given that a parent or a link joins them.
pub(crate) fn fits(producer: &Span, consumer: &Span) -> bool {
    match (&producer.messaging, &consumer.messaging) {
        (Some(sent), Some(taken)) => sends(producer) && same_destination(sent, taken),
        _ => false,
    }
}

/// Spans by identity.
pub(crate) struct Index<'a> {
    by_key: HashMap<Key, &'a Span>,
}

impl<'a> Index<'a> {
    /// Of equal ids the first counts.
    pub(crate) fn new(spans: impl Iterator<Item = &'a Span>) -> Self {
        let mut by_key = HashMap::new();
        for span in spans {
            by_key.entry(key(span)).or_insert(span);
        }
        Self { by_key }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&'a Span> {
        self.by_key.get(&key).copied()
    }

    /// Producers that a consumer's own parent and links name, each once.
    pub(crate) fn direct_producers(&self, consumer: &Span) -> Vec<&'a Span> {
        if !consumes(consumer) {
            return Vec::new();
        }
        let mut seen = HashSet::new();
        let links = consumer
            .links
            .iter()
            .map(|link| (link.trace_id, link.span_id));
        parent_key(consumer)
            .into_iter()
            .chain(links)
            .filter(|key| seen.insert(*key))
            .filter_map(|key| self.get(key))
            .filter(|producer| fits(producer, consumer))
            .collect()
    }

    /// The same, and where there are none those of the receive that the consumer is a child of or linked to.
    pub(crate) fn producers(&self, consumer: &Span) -> Vec<&'a Span> {
        let direct = self.direct_producers(consumer);
        if !direct.is_empty() || !consumes(consumer) {
            return direct;
        }
        let mut at = self.receive_of(consumer);
        for _ in 0..MAX_CHAIN {
            let Some(receive) = at else {
                break;
            };
            let found = self.direct_producers(receive);
            if !found.is_empty() {
                return found;
            }
            at = self.receive_of(receive);
        }
        Vec::new()
    }

    /// The receive of the one message that a consumer span is a child of or linked to.
    fn receive_of(&self, consumer: &Span) -> Option<&'a Span> {
        let link = match consumer.links.as_slice() {
            [link] => Some((link.trace_id, link.span_id)),
            _ => None,
        };
        parent_key(consumer)
            .into_iter()
            .chain(link)
            .filter_map(|key| self.get(key))
            .find(|span| operation(span) == Some(Operation::Receive) && !is_batch(span))
    }
}

/// When a message reached its consumer: a poll begins with the waiting, so its end is the delivery.
pub(crate) fn delivered(consumer: &Span) -> highwater_model::UnixNanos {
    match &consumer.messaging {
        Some(m) if m.operation == Operation::Receive && !m.duration_is_work => consumer.end,
        _ => consumer.start,
    }
}

/// The span covers a handler's work.
pub(crate) fn works(span: &Span) -> bool {
    span.messaging
        .as_ref()
        .is_some_and(|messaging| consumes(span) && messaging.duration_is_work && !messaging.backoff)
}

/// Spring's wait for a record that is not due: no attempt.
pub(crate) fn waits(span: &Span) -> bool {
    span.messaging
        .as_ref()
        .is_some_and(|messaging| messaging.backoff)
}
