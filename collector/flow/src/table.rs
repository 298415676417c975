//! The spans that others may still refer to: a bounded table by (trace, span), with references both ways.
//!
//! Stitches work in either order of arrival because a reference is kept from the moment the referring span is seen,
//! whether or not what it refers to is there yet. Two lanes, each first in, first out: spans of messages, which a
//! consumer may refer to days later, and all others, which only lead from a send up to the handler around it.

use std::collections::hash_map::Entry as Entries;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use highwater_model::raw::SpanKind;
use highwater_model::{Operation, ServiceKey, Span, SpanId, TraceId, UnixNanos};

use crate::key::{Key, Reader, TopicRef};
use crate::series::Delta;

/// A span's identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SpanRef {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// References kept to one span; a batch of more is stitched as far as this.
pub(crate) const MAX_REFS: usize = 1_024;

/// Entries encoded together in a checkpoint.
pub(crate) const SEGMENT: u64 = 1_024;

/// What a span is to the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Makes or sends messages of a topic.
    Producer,
    /// Fetches or handles messages of a topic.
    Consumer,
    /// A request to another service.
    Client,
    /// A request from another service.
    Server,
    /// Anything else.
    Plain,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LinkTo {
    pub(crate) to: SpanRef,
    pub(crate) record: Option<(i32, i64)>,
}

/// The messaging half of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) operation: Operation,
    pub(crate) reader: Arc<Reader>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Names one message: by offset or id.
    pub(crate) named: bool,
    pub(crate) batch: Option<u32>,
    pub(crate) work: bool,
    pub(crate) backoff: bool,
    pub(crate) links: Vec<LinkTo>,
}

impl Message {
    pub(crate) fn record(&self) -> Option<(i32, i64)> {
        Some((self.partition?, self.offset?))
    }

    /// Where the same record is looked for on the other side when no context travelled.
    fn place(&self) -> Option<Place> {
        let (partition, offset) = self.record()?;
        Some(Place {
            topic: self.reader.topic.name.clone(),
            partition,
            offset,
        })
    }
}

/// A record's place.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
}

/// What an entry has added to the counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applied {
    pub(crate) key: Arc<Key>,
    pub(crate) at: UnixNanos,
    pub(crate) delta: Delta,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) id: SpanRef,
    pub(crate) parent: Option<SpanId>,
    pub(crate) service: Arc<ServiceKey>,
    pub(crate) role: Role,
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
    pub(crate) failed: bool,
    pub(crate) message: Option<Box<Message>>,
    pub(crate) applied: Option<Box<Applied>>,
    /// Place in its lane.
    pub(crate) seq: u64,
}

impl Entry {
    pub(crate) fn parent_ref(&self) -> Option<SpanRef> {
        self.parent.map(|span| SpanRef {
            trace: self.id.trace,
            span,
        })
    }

    /// Parent and linked spans, each once.
    pub(crate) fn targets(&self) -> Vec<SpanRef> {
        let links = self.message.as_ref().map_or(&[][..], |m| &m.links[..]);
        let mut targets = Vec::with_capacity(links.len() + 1);
        targets.extend(self.parent_ref());
        targets.extend(links.iter().map(|link| link.to));
        if targets.len() > 2 {
            let mut seen = HashSet::with_capacity(targets.len());
            targets.retain(|target| seen.insert(*target));
        } else if targets.len() == 2 && targets[0] == targets[1] {
            targets.pop();
        }
        targets
    }

    pub(crate) fn is(&self, role: Role) -> Option<&Message> {
        (self.role == role).then_some(self.message.as_deref()?)
    }

    /// A record that came without any context: only its offset can join it.
    fn place_of_lone_consumer(&self) -> Option<Place> {
        let message = self.is(Role::Consumer)?;
        if self.parent.is_some() || !message.links.is_empty() {
            return None;
        }
        message.place()
    }

    fn place_of_producer(&self) -> Option<Place> {
        self.is(Role::Producer)?.place()
    }

    pub(crate) fn lane(&self) -> usize {
        usize::from(!matches!(self.role, Role::Producer | Role::Consumer))
    }
}

/// A list that mostly holds one: most spans have one child that matters.
#[derive(Clone, Debug)]
enum Few {
    One(SpanRef),
    Many(Vec<SpanRef>),
}

impl Few {
    fn as_slice(&self) -> &[SpanRef] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Adds one; false when there are too many.
    fn push(&mut self, id: SpanRef) -> bool {
        match self {
            Self::One(one) => *self = Self::Many(vec![*one, id]),
            Self::Many(many) if many.len() < MAX_REFS => many.push(id),
            Self::Many(_) => return false,
        }
        true
    }

    /// Takes one out; true when none is left.
    fn remove(&mut self, id: SpanRef) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(many) => {
                many.retain(|other| *other != id);
                many.is_empty()
            }
        }
    }
}

fn push<K: Eq + Hash>(map: &mut HashMap<K, Few>, key: K, id: SpanRef) -> bool {
    match map.entry(key) {
        Entries::Occupied(mut few) => few.get_mut().push(id),
        Entries::Vacant(empty) => {
            empty.insert(Few::One(id));
            true
        }
    }
}

fn remove<K: Eq + Hash>(map: &mut HashMap<K, Few>, key: &K, id: SpanRef) {
    if map.get_mut(key).is_some_and(|few| few.remove(id)) {
        map.remove(key);
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Lane {
    pub(crate) order: VecDeque<SpanRef>,
    /// `seq` of the front.
    pub(crate) first: u64,
    /// Segments changed since the last checkpoint.
    pub(crate) dirty: BTreeSet<u64>,
}

/// Keeps one copy of equal values.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T: Eq + Hash>(HashSet<Arc<T>>);

impl<T: Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Interner<T> {
    pub(crate) fn get(&mut self, value: T) -> Arc<T> {
        if let Some(found) = self.0.get(&value) {
            return found.clone();
        }
        let value = Arc::new(value);
        self.0.insert(value.clone());
        value
    }

    /// Forgets what nobody else holds.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Table {
    entries: HashMap<SpanRef, Entry>,
    refs: HashMap<SpanRef, Few>,
    places: HashMap<Place, Few>,
    pub(crate) lanes: [Lane; 2],
    pub(crate) services: Interner<ServiceKey>,
    pub(crate) readers: Interner<Reader>,
    /// References not kept because their target had too many.
    pub(crate) capped: u64,
}

impl Table {
    pub(crate) fn get(&self, id: SpanRef) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Changes an entry, which the next checkpoint then writes again.
    pub(crate) fn set_applied(&mut self, id: SpanRef, applied: Option<Box<Applied>>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.applied = applied;
            let (lane, seq) = (entry.lane(), entry.seq);
            self.lanes[lane].dirty.insert(seq / SEGMENT);
        }
    }

    /// Spans that name `id` as parent or in a link.
    pub(crate) fn refs(&self, id: SpanRef) -> impl Iterator<Item = &Entry> {
        self.refs
            .get(&id)
            .map_or(&[][..], Few::as_slice)
            .iter()
            .filter_map(|id| self.entries.get(id))
    }

    /// The producer of a lone consumer's record, by offset.
    pub(crate) fn producers_at(&self, consumer: &Entry) -> impl Iterator<Item = &Entry> {
        self.at(consumer.place_of_lone_consumer())
            .filter(|entry| entry.role == Role::Producer)
    }

    /// Lone consumers of a producer's record, by offset.
    pub(crate) fn lone_consumers_of(&self, producer: &Entry) -> impl Iterator<Item = &Entry> {
        self.at(producer.place_of_producer())
            .filter(|entry| entry.role == Role::Consumer)
    }

    /// Everything known at the place of a lone consumer or a producer.
    pub(crate) fn at_place_of(&self, entry: &Entry) -> impl Iterator<Item = &Entry> {
        self.at(entry
            .place_of_lone_consumer()
            .or_else(|| entry.place_of_producer()))
    }

    fn at(&self, place: Option<Place>) -> impl Iterator<Item = &Entry> {
        place
            .and_then(|place| self.places.get(&place))
            .map_or(&[][..], Few::as_slice)
            .iter()
            .filter_map(|id| self.entries.get(id))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a span in. Returns false for one that is there already.
    pub(crate) fn insert(&mut self, span: &Span) -> bool {
        let id = SpanRef {
            trace: span.trace_id,
            span: span.span_id,
        };
        if self.entries.contains_key(&id) {
            return false;
        }
        let message = self.message(span);
        let role = match (&message, span.kind) {
            (Some(message), _) => match message.operation {
                Operation::Create | Operation::Send => Role::Producer,
                Operation::Receive | Operation::Process => Role::Consumer,
                Operation::Settle => Role::Plain,
            },
            // Part of a message's way, though it names no topic: no request to a service.
            (None, _) if span.messaging.is_some() => Role::Plain,
            (None, SpanKind::Client) => Role::Client,
            (None, SpanKind::Server) => Role::Server,
            (None, _) => Role::Plain,
        };
        let mut entry = Entry {
            id,
            parent: span.parent,
            service: self.services.get(span.service.clone()),
            role,
            start: span.start,
            end: span.end.max(span.start),
            failed: span.error.is_some(),
            message: message
                .filter(|_| matches!(role, Role::Producer | Role::Consumer))
                .map(Box::new),
            applied: None,
            seq: 0,
        };
        let lane = &mut self.lanes[entry.lane()];
        entry.seq = lane.first + lane.order.len() as u64;
        self.put(entry);
        true
    }

    fn message(&mut self, span: &Span) -> Option<Message> {
        let messaging = span.messaging.as_ref()?;
        let mut topic = TopicRef {
            system: messaging.system.clone(),
            name: messaging.destination.clone()?,
            cluster_id: None,
            address: None,
        };
        topic.set_cluster(&messaging.cluster);
        let consumes = matches!(messaging.operation, Operation::Receive | Operation::Process);
        let group = messaging.group.clone().filter(|_| consumes);
        let client = messaging
            .client_id
            .clone()
            .filter(|_| consumes && group.is_none());
        let mut seen = HashSet::new();
        let own = SpanRef {
            trace: span.trace_id,
            span: span.span_id,
        };
        let links = span
            .links
            .iter()
            .map(|link| LinkTo {
                to: SpanRef {
                    trace: link.trace_id,
                    span: link.span_id,
                },
                record: link.partition.zip(link.offset),
            })
            .filter(|link| link.to != own && seen.insert(link.to))
            .collect();
        Some(Message {
            operation: messaging.operation,
            reader: self.readers.get(Reader {
                topic,
                group,
                client,
            }),
            partition: messaging.partition.filter(|&p| p >= 0),
            offset: messaging.offset.filter(|&o| o >= 0),
            named: messaging.offset.is_some() || messaging.message_id.is_some(),
            batch: messaging.batch_count,
            work: messaging.duration_is_work,
            backoff: messaging.backoff,
            links,
        })
    }

    /// Puts an entry at the back of its lane, with its references.
    pub(crate) fn put(&mut self, entry: Entry) {
        let lane = &mut self.lanes[entry.lane()];
        lane.order.push_back(entry.id);
        lane.dirty.insert(entry.seq / SEGMENT);
        for target in entry.targets() {
            if !push(&mut self.refs, target, entry.id) {
                self.capped += 1;
            }
        }
        if let Some(place) = entry
            .place_of_lone_consumer()
            .or_else(|| entry.place_of_producer())
        {
            push(&mut self.places, place, entry.id);
        }
        self.entries.insert(entry.id, entry);
    }

    /// Lets the oldest of a lane go until `keep` are left. What they added to the counts stays. Returns how many went.
    pub(crate) fn evict(&mut self, lane: usize, keep: usize) -> u64 {
        let mut gone = 0;
        while self.lanes[lane].order.len() > keep {
            let state = &mut self.lanes[lane];
            let Some(id) = state.order.pop_front() else {
                break;
            };
            state.dirty.insert(state.first / SEGMENT);
            state.first += 1;
            gone += 1;
            let Some(entry) = self.entries.remove(&id) else {
                continue;
            };
            for target in entry.targets() {
                remove(&mut self.refs, &target, id);
            }
            if let Some(place) = entry
                .place_of_lone_consumer()
                .or_else(|| entry.place_of_producer())
            {
                remove(&mut self.places, &place, id);
            }
        }
        gone
    }
}
