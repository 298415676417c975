//! The spans that others may still refer to: a bounded table by (trace, span), with references both ways.
//!
//! Stitches work in either order of arrival because a reference is kept from the moment the referring span is seen,
//! whether or not what it refers to is there yet. Two lanes, each first in, first out: spans of messages, which a
//! consumer may refer to days later, and all others, which only lead from a send up to the handler around it and are
//! kept in forty bytes.

use std::collections::{BTreeSet, HashSet, VecDeque};

use highwater_model::raw::SpanKind;
use highwater_model::{Operation, Span, SpanId, UnixNanos};

use crate::aggregates::{Aggregates, SeriesId};
use crate::identities::{Ident, Identities, Place, Places, Slot, SpanRef};
use crate::names::{Names, Reading, ServiceId, Used};
use crate::series::{Delta, Timed};

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkTo {
    pub(crate) to: Ident,
    pub(crate) record: Option<(i32, i64)>,
}

/// What a span says of its message, beside what other spans say too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) operation: Operation,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Names one message: by offset or id.
    pub(crate) named: bool,
    pub(crate) batch: Option<u32>,
    pub(crate) work: bool,
    pub(crate) backoff: bool,
}

/// The messaging half of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) reading: Reading,
    pub(crate) facts: Facts,
    /// Each span once, and never itself.
    pub(crate) links: Box<[LinkTo]>,
}

impl Message {
    pub(crate) fn record(&self) -> Option<(i32, i64)> {
        Some((self.facts.partition?, self.facts.offset?))
    }

    /// Where the same record is looked for on the other side when no context travelled.
    fn place(&self) -> Option<Place> {
        let (partition, offset) = self.record()?;
        Some(Place {
            topic: self.reading.name,
            partition,
            offset,
        })
    }
}

/// What every span is kept as.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ident: Ident,
    pub(crate) parent: Option<Ident>,
    pub(crate) service: ServiceId,
    pub(crate) role: Role,
    pub(crate) failed: bool,
    /// The series it is counted in.
    pub(crate) counted_in: Option<SeriesId>,
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
}

impl Entry {
    /// When it counts: a message exists once it is sent; a handling, from its start.
    pub(crate) fn counts_at(&self) -> UnixNanos {
        match self.role {
            Role::Producer => self.end,
            _ => self.start,
        }
    }

    pub(crate) fn took_ns(&self) -> u64 {
        self.end.since(self.start)
    }
}

/// What a span of a message is kept as.
#[derive(Clone, Debug)]
struct Hop {
    entry: Entry,
    message: Message,
    /// What it added to the series it is counted in.
    delta: Delta,
}

/// A span and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'t> {
    pub(crate) slot: Slot,
    pub(crate) entry: &'t Entry,
    message: Option<&'t Message>,
}

impl<'t> At<'t> {
    pub(crate) fn ident(&self) -> Ident {
        self.entry.ident
    }

    /// Of a producer or a consumer.
    pub(crate) fn message(&self) -> Option<&'t Message> {
        self.message
    }

    pub(crate) fn is(&self, role: Role) -> Option<&'t Message> {
        self.message.filter(|_| self.entry.role == role)
    }

    /// Parent and linked spans, each once.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Ident> + Clone + use<'t> {
        let parent = self.entry.parent;
        let links = self.message.map_or(&[][..], |message| &message.links);
        let linked = links.iter().map(|link| link.to);
        parent
            .into_iter()
            .chain(linked.filter(move |to| Some(*to) != parent))
    }

    /// Where its record is looked up: a producer's, or a consumer's that came without any context.
    fn place(&self) -> Option<Place> {
        let message = self.message?;
        let alone = self.entry.parent.is_none() && message.links.is_empty();
        (self.entry.role == Role::Producer || alone)
            .then(|| message.place())
            .flatten()
    }
}

/// What an entry is stored and restored as.
pub(crate) struct Stored {
    pub(crate) id: SpanRef,
    pub(crate) parent: Option<SpanId>,
    pub(crate) service: ServiceId,
    pub(crate) role: Role,
    pub(crate) failed: bool,
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
    pub(crate) message: Option<(Reading, Facts)>,
    pub(crate) links: Vec<(SpanRef, Option<(i32, i64)>)>,
    pub(crate) counted: Option<(SeriesId, Delta)>,
}

/// Where a lane begins, and what of it the store does not have yet.
#[derive(Clone, Default, Debug)]
pub(crate) struct Lane {
    /// Place of the front.
    pub(crate) first: u64,
    /// Segments changed since the last checkpoint.
    dirty: BTreeSet<u64>,
    /// The one changed last: nearly always the next one too.
    last_dirty: Option<u64>,
}

impl Lane {
    fn changed(&mut self, place: u64) {
        let segment = place / SEGMENT;
        if self.last_dirty != Some(segment) {
            self.last_dirty = Some(segment);
            self.dirty.insert(segment);
        }
    }

    pub(crate) fn take_dirty(&mut self) -> BTreeSet<u64> {
        self.last_dirty = None;
        std::mem::take(&mut self.dirty)
    }

    /// The place from the front of a slot in this lane.
    fn index(&self, slot: Slot) -> usize {
        (slot.0.wrapping_sub(self.first as u32) & PLACE) as usize
    }
}

/// Spans looked up ahead: what that brings into the cache stays there until it is used.
pub(crate) const WARMED: usize = 64;

const LANE: u32 = 1 << 31;
const PLACE: u32 = LANE - 1;
/// A lane never holds more: places must stay told apart.
const MOST: usize = 1 << 30;

impl Slot {
    fn new(lane: usize, place: u64) -> Self {
        Self((place as u32 & PLACE) | if lane == 0 { 0 } else { LANE })
    }

    /// 0: spans of messages; 1: others.
    pub(crate) fn lane(self) -> usize {
        usize::from(self.0 & LANE != 0)
    }

    /// Its place, less the high bits.
    pub(crate) fn place(self) -> usize {
        (self.0 & PLACE) as usize
    }
}

/// The lane of a role.
pub(crate) fn lane_of(role: Role) -> usize {
    usize::from(!matches!(role, Role::Producer | Role::Consumer))
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Table {
    hops: VecDeque<Hop>,
    others: VecDeque<Entry>,
    pub(crate) lanes: [Lane; 2],
    identities: Identities,
    places: Places,
    /// Links of all entries together.
    links: usize,
    /// References not kept because their target had too many.
    pub(crate) capped: u64,
}

impl Table {
    pub(crate) fn get(&self, ident: Ident) -> Option<At<'_>> {
        self.at(self.identities.slot(ident)?)
    }

    pub(crate) fn at(&self, slot: Slot) -> Option<At<'_>> {
        let lane = slot.lane();
        let index = self.lanes[lane].index(slot);
        if lane == 0 {
            self.hops.get(index).map(|hop| At {
                slot,
                entry: &hop.entry,
                message: Some(&hop.message),
            })
        } else {
            self.others.get(index).map(|entry| At {
                slot,
                entry,
                message: None,
            })
        }
    }

    /// What an entry added, and to which series; of a request, nothing but itself.
    pub(crate) fn counted(&self, slot: Slot) -> Option<(SeriesId, Delta)> {
        let at = self.at(slot)?;
        let series = at.entry.counted_in?;
        let delta = match slot.lane() {
            0 => self.hops.get(self.lanes[0].index(slot))?.delta.clone(),
            _ => call_delta(at.entry),
        };
        Some((series, delta))
    }

    /// Whether an entry has added just this.
    pub(crate) fn is_counted(&self, slot: Slot, series: SeriesId, delta: &Delta) -> bool {
        self.at(slot)
            .is_some_and(|at| at.entry.counted_in == Some(series))
            && (slot.lane() == 1
                || self
                    .hops
                    .get(self.lanes[0].index(slot))
                    .is_some_and(|hop| hop.delta == *delta))
    }

    /// Changes what an entry has added, which the next checkpoint then writes again.
    pub(crate) fn set_counted(&mut self, slot: Slot, counted: Option<(SeriesId, Delta)>) {
        let lane = slot.lane();
        let index = self.lanes[lane].index(slot);
        let (series, delta) = counted.unzip();
        if lane == 0 {
            let Some(hop) = self.hops.get_mut(index) else {
                return;
            };
            hop.entry.counted_in = series;
            hop.delta = delta.unwrap_or_default();
        } else {
            let Some(entry) = self.others.get_mut(index) else {
                return;
            };
            entry.counted_in = series;
        }
        let place = self.lanes[lane].first + index as u64;
        self.lanes[lane].changed(place);
    }

    /// Spans that name `ident` as parent or in a link.
    pub(crate) fn refs(&self, ident: Ident) -> impl Iterator<Item = At<'_>> {
        self.identities
            .refs(ident)
            .iter()
            .filter_map(|slot| self.at(*slot))
    }

    /// Producers of the record of `at`, by offset: a lone consumer's, or others of a producer's.
    pub(crate) fn producers_beside(&self, at: At<'_>) -> impl Iterator<Item = At<'_>> {
        self.beside(at).filter(|at| at.entry.role == Role::Producer)
    }

    /// Consumers that came without context of the record of `at`, by offset.
    pub(crate) fn lone_consumers_beside(&self, at: At<'_>) -> impl Iterator<Item = At<'_>> {
        self.beside(at).filter(|at| at.entry.role == Role::Consumer)
    }

    /// Everything known at the place of a lone consumer or a producer, itself too.
    fn beside(&self, at: At<'_>) -> impl Iterator<Item = At<'_>> {
        at.place()
            .map_or(&[][..], |place| self.places.at(place))
            .iter()
            .filter_map(|slot| self.at(*slot))
    }

    /// How many spans a lane holds.
    pub(crate) fn lane_len(&self, lane: usize) -> usize {
        match lane {
            0 => self.hops.len(),
            _ => self.others.len(),
        }
    }

    /// Spans of a lane, by place from the front.
    pub(crate) fn range(&self, lane: usize, from: u64, to: u64) -> impl Iterator<Item = At<'_>> {
        let first = self.lanes[lane].first;
        (from..to).filter_map(move |index| self.at(Slot::new(lane, first + index)))
    }

    pub(crate) fn id(&self, ident: Ident) -> SpanRef {
        self.identities.id(ident)
    }

    /// Whether anything names `ident`.
    pub(crate) fn is_named(&self, ident: Ident) -> bool {
        !self.identities.refs(ident).is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.hops.len() + self.others.len()
    }

    /// Looks up what taking these spans in will look up, and what judging them then reads of the spans they name, with
    /// nothing between one and the next, so that the waits for memory overlap: the table is far larger than a cache.
    pub(crate) fn warm(&self, spans: &[&Span]) {
        let ids = spans.iter().flat_map(|span| {
            let (trace, own) = (span.trace_id, Some(span.span_id));
            let ids = [own, span.parent].into_iter().flatten();
            ids.map(move |span| SpanRef { trace, span })
        });
        let linked = spans
            .iter()
            .flat_map(|span| &span.links)
            .map(|link| SpanRef {
                trace: link.trace_id,
                span: link.span_id,
            });
        let known = ids.chain(linked).filter_map(|id| self.identities.find(id));
        let failed = known
            .filter_map(|ident| self.get(ident))
            .filter(|at| at.entry.failed);
        std::hint::black_box(failed.count());
    }

    /// As [`Table::warm`], of the next spans that [`Table::evict`] lets go.
    fn warm_front(&self, lane: usize, spans: usize) {
        let first = self.lanes[lane].first;
        let oldest = (first..first + spans as u64).filter_map(|at| self.at(Slot::new(lane, at)));
        let named = oldest.flat_map(|at| at.targets().chain([at.ident()]));
        let known = named.filter_map(|ident| self.identities.find(self.identities.id(ident)));
        std::hint::black_box(known.count());
    }

    /// Takes a span in. Returns `None` for one that is there already.
    pub(crate) fn insert(&mut self, span: &Span, names: &mut Names) -> Option<Slot> {
        let id = SpanRef {
            trace: span.trace_id,
            span: span.span_id,
        };
        let ident = self.identities.of(id);
        if self.identities.slot(ident).is_some() {
            return None;
        }
        let messaging = span.messaging.as_ref();
        let reading = messaging.and_then(|messaging| names.reading(messaging));
        let role = match (messaging.zip(reading), span.kind) {
            (Some((messaging, _)), _) => match messaging.operation {
                Operation::Create | Operation::Send => Role::Producer,
                Operation::Receive | Operation::Process => Role::Consumer,
                Operation::Settle => Role::Plain,
            },
            // Part of a message's way, though it names no topic: no request to a service.
            (None, _) if messaging.is_some() => Role::Plain,
            (None, SpanKind::Client) => Role::Client,
            (None, SpanKind::Server) => Role::Server,
            (None, _) => Role::Plain,
        };
        let message =
            messaging
                .zip(reading)
                .filter(|_| lane_of(role) == 0)
                .map(|(messaging, reading)| {
                    let facts = Facts {
                        operation: messaging.operation,
                        partition: messaging.partition.filter(|&p| p >= 0),
                        offset: messaging.offset.filter(|&o| o >= 0),
                        named: messaging.offset.is_some() || messaging.message_id.is_some(),
                        batch: messaging.batch_count,
                        work: messaging.duration_is_work,
                        backoff: messaging.backoff,
                    };
                    (reading, facts)
                });
        let entry = Entry {
            ident,
            parent: None,
            service: names.service(&span.service),
            role,
            failed: span.error.is_some(),
            counted_in: None,
            start: span.start,
            end: span.end.max(span.start),
        };
        let links = span.links.iter().map(|link| {
            let to = SpanRef {
                trace: link.trace_id,
                span: link.span_id,
            };
            (to, link.partition.zip(link.offset))
        });
        Some(self.put(entry, span.parent, message, links, Delta::default()))
    }

    /// Puts a stored entry back.
    pub(crate) fn restore(&mut self, stored: Stored) {
        let ident = self.identities.of(stored.id);
        if self.identities.slot(ident).is_some() {
            return;
        }
        let (counted_in, delta) = stored.counted.unzip();
        let entry = Entry {
            ident,
            parent: None,
            service: stored.service,
            role: stored.role,
            failed: stored.failed,
            counted_in,
            start: stored.start,
            end: stored.end,
        };
        let links = stored.links.into_iter();
        let delta = delta.unwrap_or_default();
        self.put(entry, stored.parent, stored.message, links, delta);
    }

    /// Puts an entry at the back of its lane, with its references.
    fn put(
        &mut self,
        mut entry: Entry,
        parent: Option<SpanId>,
        message: Option<(Reading, Facts)>,
        links: impl ExactSizeIterator<Item = (SpanRef, Option<(i32, i64)>)>,
        delta: Delta,
    ) -> Slot {
        let lane = usize::from(message.is_none());
        let place = self.lanes[lane].first + self.lane_len(lane) as u64;
        let slot = Slot::new(lane, place);
        let ident = entry.ident;
        self.lanes[lane].changed(place);
        self.identities.arrive(ident, slot);
        entry.parent = parent.map(|span| {
            let trace = self.identities.id(ident).trace;
            let parent = self.identities.of(SpanRef { trace, span });
            self.name(parent, slot);
            parent
        });
        let Some((reading, facts)) = message else {
            self.others.push_back(entry);
            return slot;
        };
        let links = self.link(&entry, links, slot);
        self.hops.push_back(Hop {
            entry,
            message: Message {
                reading,
                facts,
                links,
            },
            delta,
        });
        if let Some(place) = self.at(slot).and_then(|at| at.place()) {
            self.places.put(place, slot);
        }
        slot
    }

    fn name(&mut self, ident: Ident, by: Slot) {
        if !self.identities.name(ident, by) {
            self.capped += 1;
        }
    }

    /// Each linked span once, and never the span itself.
    fn link(
        &mut self,
        entry: &Entry,
        links: impl ExactSizeIterator<Item = (SpanRef, Option<(i32, i64)>)>,
        slot: Slot,
    ) -> Box<[LinkTo]> {
        if links.len() == 0 {
            return Box::default();
        }
        let mut kept = Vec::with_capacity(links.len());
        let mut seen = HashSet::with_capacity(links.len());
        let own = self.identities.id(entry.ident);
        for (id, record) in links {
            if id == own || !seen.insert(id) {
                continue;
            }
            let to = self.identities.of(id);
            // The parent knows already.
            if entry.parent != Some(to) {
                self.name(to, slot);
            }
            kept.push(LinkTo { to, record });
        }
        self.links += kept.len();
        kept.into()
    }

    /// Lets the oldest of a lane go until `keep` are left, and at most twice as many links. What they added to the
    /// counts stays. Returns how many went.
    pub(crate) fn evict(&mut self, lane: usize, keep: usize) -> u64 {
        let keep = keep.min(MOST);
        let mut gone = 0_u64;
        while self.lane_len(lane) > keep || (lane == 0 && self.links > 2 * keep) {
            if gone.is_multiple_of(WARMED as u64) {
                self.warm_front(lane, WARMED.min(self.lane_len(lane).saturating_sub(keep)));
            }
            let first = self.lanes[lane].first;
            let slot = Slot::new(lane, first);
            if let Some((place, slot)) = self.at(slot).and_then(|at| at.place()).zip(Some(slot)) {
                self.places.remove(place, slot);
            }
            let (entry, links) = if lane == 0 {
                match self.hops.pop_front() {
                    Some(hop) => (hop.entry, hop.message.links),
                    None => break,
                }
            } else {
                match self.others.pop_front() {
                    Some(entry) => (entry, Box::default()),
                    None => break,
                }
            };
            self.links -= links.len();
            self.lanes[lane].changed(first);
            self.lanes[lane].first += 1;
            gone += 1;
            self.identities.leave(entry.ident);
            if let Some(parent) = entry.parent {
                self.identities.unname(parent, slot);
            }
            for link in &links {
                if entry.parent != Some(link.to) {
                    self.identities.unname(link.to, slot);
                }
            }
        }
        gone
    }

    /// Says which names and series are in use.
    pub(crate) fn mark(&self, names: &mut Used, counted_in: &mut [bool]) {
        let hops = self.hops.iter().map(|hop| &hop.entry);
        for entry in hops.chain(&self.others) {
            names.service(entry.service);
            if let Some(series) = entry.counted_in {
                Aggregates::mark(counted_in, series);
            }
        }
        for hop in &self.hops {
            names.reader(hop.message.reading.reader);
        }
    }
}

/// What a request is counted as.
pub(crate) fn call_delta(entry: &Entry) -> Delta {
    Delta {
        messages: 1,
        errors: u32::from(entry.failed),
        timed: Timed::Process,
        ..Delta::default()
    }
}
