//! One business transaction across traces: which spans belong to a correlation id, and the story they tell.
//!
//! Ids stand on only some hops, so a journey is id, parents and links together, followed **span by span**:
//! - A span that carries the id begins it. One that carries several ids belongs to several journeys and joins none.
//! - From a span that sends, or a linked receive of one message: to each span linked to it, and to its children; from
//!   those to their descendants.
//! - Up through ancestors as far as a span over several messages. On the way up only what is about one message brings
//!   its descendants along; siblings under a batch, or under a job that happens to send many, are strangers.
//! - A span whose parent was never sent, where its trace leaves no doubt.
//! - From a consumer with one link: to the span that sent its message.
//! - Links *of* sending and settling spans are not followed, and no span that carries another id is entered.
//!
//! Closing over whole traces instead merged up to 25 unrelated orders in real captures.
//!
//! Pure: the caller reads the store. [`Journey::start`] with the spans that carry the id, then as long as
//! [`Journey::needs`] is not empty, [`Journey::feed`] each; [`Journey::tell`] at the end.

mod story;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use highwater_model::{Correlation, Operation, Span, TraceId};

use crate::trace::stitch::{Key, consumes, is_batch, key, operation, parent_key, sends};

pub use story::{Facts, JourneyView, Lane, LaneKind, NoFacts, Reader, State, Step, StepKind};

/// How far a journey is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Traces read.
    pub traces: usize,
    /// Spans held, those of other journeys in the same traces included.
    pub spans: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            traces: 200,
            spans: 20_000,
        }
    }
}

/// What has to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// Every span of a trace.
    Trace(TraceId),
    /// Spans of any trace that link to this one.
    LinksTo {
        /// Its trace.
        trace: TraceId,
        /// The span.
        span: highwater_model::SpanId,
    },
}

/// How a span came to belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinedBy {
    /// It carries the id.
    Id,
    /// Its parent or child belongs.
    Parent,
    /// A link joins it.
    Link,
}

impl JoinedBy {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Parent => "parent",
            Self::Link => "link",
        }
    }
}

/// How far a member reaches on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reach {
    /// To its parent, and over its one link to who sent its message.
    up: bool,
    /// To its children, and from a sending span to the spans linked to it.
    down: bool,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    by: JoinedBy,
    reach: Reach,
}

/// A journey being followed.
#[derive(Debug)]
pub struct Journey {
    id: Correlation,
    bounds: Bounds,
    spans: HashMap<Key, Arc<Span>>,
    children: HashMap<Key, Vec<Key>>,
    /// By linked span: the spans that link to it.
    linked_from: HashMap<Key, Vec<Key>>,
    members: HashMap<Key, Member>,
    /// Traces asked for, and whether they came.
    traces: HashMap<TraceId, bool>,
    asked_links: HashSet<Key>,
    /// Members to reach on from, once their trace is here.
    parked: BTreeMap<TraceId, Vec<(Key, Reach)>>,
    needs: VecDeque<Need>,
    truncated: bool,
}

impl Journey {
    /// Begins with the spans that carry the id; others among them are left out.
    #[must_use]
    pub fn start(id: Correlation, carrying: Vec<Span>, bounds: Bounds) -> Self {
        let mut journey = Self {
            id,
            bounds,
            spans: HashMap::new(),
            children: HashMap::new(),
            linked_from: HashMap::new(),
            members: HashMap::new(),
            traces: HashMap::new(),
            asked_links: HashSet::new(),
            parked: BTreeMap::new(),
            needs: VecDeque::new(),
            truncated: false,
        };
        let mut seeds: Vec<Key> = Vec::new();
        for span in carrying {
            if span.correlations.contains(&journey.id) {
                seeds.extend(journey.hold(span));
            }
        }
        // A fixed order: which join comes first decides how a span is said to have been joined.
        seeds.sort_unstable();
        for seed in seeds {
            let both = Reach {
                up: true,
                down: true,
            };
            journey.join(seed, JoinedBy::Id, both);
        }
        journey
    }

    /// What to read next, each once; empty when the journey is complete or a bound was reached.
    pub fn needs(&mut self) -> Vec<Need> {
        if self.needs.is_empty() && self.traces.values().all(|came| *came) {
            self.adopt_orphans();
        }
        self.needs.drain(..).collect()
    }

    /// Takes what was read for a need. Spans beyond the bound are dropped, and the journey says so.
    pub fn feed(&mut self, need: Need, spans: Vec<Span>) {
        match need {
            Need::Trace(trace) => {
                for span in spans {
                    if span.trace_id == trace {
                        self.hold(span);
                    }
                }
                self.traces.insert(trace, true);
                // Spans that came by a link before their trace did have their children now.
                for (member, reach) in self.parked.remove(&trace).unwrap_or_default() {
                    self.reach_on(member, reach);
                }
            }
            Need::LinksTo { trace, span } => {
                let target = (trace, span);
                let mut linking: Vec<Key> = Vec::new();
                for span in spans {
                    let at = key(&span);
                    if self.hold(span).is_some() || self.spans.contains_key(&at) {
                        linking.push(at);
                    }
                }
                linking.sort_unstable();
                linking.dedup();
                for from in linking {
                    self.follow_reverse(target, from);
                }
            }
        }
    }

    /// Whether a bound cut it short.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The spans that belong, by start, with how each was joined.
    #[must_use]
    pub fn members(&self) -> Vec<(&Span, JoinedBy)> {
        let mut members: Vec<(&Span, JoinedBy)> = self
            .members
            .iter()
            .filter_map(|(key, member)| Some((&**self.spans.get(key)?, member.by)))
            .collect();
        members.sort_by_key(|(span, _)| (span.start, key(span)));
        members
    }

    /// Tells the story as of `now`.
    #[must_use]
    pub fn tell(&self, facts: &dyn Facts, now: highwater_model::UnixNanos) -> JourneyView {
        story::tell(&self.id, &self.members(), self.truncated, facts, now)
    }

    /// Keeps a span; its key if it was not held and there was room.
    fn hold(&mut self, span: Span) -> Option<Key> {
        let at = key(&span);
        if self.spans.contains_key(&at) {
            return None;
        }
        if self.spans.len() >= self.bounds.spans {
            self.truncated = true;
            return None;
        }
        if let Some(parent) = parent_key(&span) {
            self.children.entry(parent).or_default().push(at);
        }
        for link in &span.links {
            let target = (link.trace_id, link.span_id);
            let from = self.linked_from.entry(target).or_default();
            if from.last() != Some(&at) {
                from.push(at);
            }
        }
        self.spans.insert(at, Arc::new(span));
        Some(at)
    }

    /// Makes a span a member and reaches on from it, as far as that is new.
    fn join(&mut self, at: Key, by: JoinedBy, reach: Reach) {
        let mut work = vec![(at, by, reach)];
        while let Some((at, by, reach)) = work.pop() {
            let Some(span) = self.spans.get(&at).cloned() else {
                continue;
            };
            if self.belongs_elsewhere(&span) || operation(&span) == Some(Operation::Settle) {
                continue;
            }
            let by = if span.correlations.contains(&self.id) {
                JoinedBy::Id
            } else {
                by
            };
            // A span over several messages belongs, and joins nothing.
            let reach = if is_batch(&span) {
                Reach::default()
            } else {
                reach
            };
            let member = self.members.entry(at).or_insert(Member {
                by,
                reach: Reach::default(),
            });
            let new = Reach {
                up: reach.up && !member.reach.up,
                down: reach.down && !member.reach.down,
            };
            member.reach.up |= new.up;
            member.reach.down |= new.down;
            if new == Reach::default() {
                continue;
            }
            match self.traces.get(&at.0) {
                Some(true) => work.extend(self.neighbours(at, &span, new)),
                asked => {
                    if asked.is_none() && !self.ask_for_trace(at.0) {
                        continue;
                    }
                    self.parked.entry(at.0).or_default().push((at, new));
                }
            }
        }
    }

    fn reach_on(&mut self, at: Key, reach: Reach) {
        if let Some(span) = self.spans.get(&at).cloned() {
            for (next, by, reach) in self.neighbours(at, &span, reach) {
                self.join(next, by, reach);
            }
        }
    }

    /// Joins spans whose parents were never sent, in traces that leave no doubt whose they are.
    ///
    /// Spring's own tracing never exports the parent of the span that puts a record which cannot be read into its
    /// dead-letter topic. Where a trace holds no batch and every other span that sends is a member, what hangs in the
    /// air there is this journey's too.
    fn adopt_orphans(&mut self) {
        if self.truncated {
            return;
        }
        let mut doubtful: HashSet<TraceId> = HashSet::new();
        let mut orphans: Vec<Key> = Vec::new();
        for (at, span) in &self.spans {
            let member = self.members.contains_key(at);
            let orphan = parent_key(span).is_some_and(|parent| !self.spans.contains_key(&parent));
            if is_batch(span) || (sends(span) && !member && !orphan) {
                doubtful.insert(at.0);
            } else if orphan && !member && self.traces.contains_key(&at.0) {
                orphans.push(*at);
            }
        }
        let with_members: HashSet<TraceId> = self.members.keys().map(|at| at.0).collect();
        orphans.retain(|at| with_members.contains(&at.0) && !doubtful.contains(&at.0));
        orphans.sort_unstable();
        for orphan in orphans {
            self.join(
                orphan,
                JoinedBy::Parent,
                Reach {
                    up: true,
                    down: true,
                },
            );
        }
    }

    /// Whether it carries other values of the journey's key, and not this one.
    fn belongs_elsewhere(&self, span: &Span) -> bool {
        let mut of_key = span
            .correlations
            .iter()
            .filter(|c| c.key == self.id.key)
            .peekable();
        of_key.peek().is_some() && of_key.all(|c| c.value != self.id.value)
    }

    fn ask_for_trace(&mut self, trace: TraceId) -> bool {
        if self.traces.contains_key(&trace) {
            return true;
        }
        if self.traces.len() >= self.bounds.traces || self.spans.len() >= self.bounds.spans {
            self.truncated = true;
            return false;
        }
        self.traces.insert(trace, false);
        self.needs.push_back(Need::Trace(trace));
        true
    }

    /// The spans next to a member whose trace is here.
    fn neighbours(&mut self, at: Key, span: &Span, reach: Reach) -> Vec<(Key, JoinedBy, Reach)> {
        let mut next: Vec<(Key, JoinedBy, Reach)> = Vec::new();
        if reach.down {
            for &child in self.children.get(&at).into_iter().flatten() {
                let Some(under) = self.spans.get(&child) else {
                    continue;
                };
                // A poll inside a handler fetches messages of whoever.
                let polls = operation(under) == Some(Operation::Receive)
                    && !sends(span)
                    && !self.one_message(under);
                let down = !polls;
                // Its link may lead to a producer that is not its parent.
                let reach = Reach { up: true, down };
                next.push((child, JoinedBy::Parent, reach));
            }
            // kotel with LinkSpans: process links to the receive of its message, and only that to the producer.
            let received = operation(span) == Some(Operation::Receive) && span.links.len() == 1;
            if sends(span) || (received && self.one_message(span)) {
                if self.asked_links.insert(at) {
                    self.needs.push_back(Need::LinksTo {
                        trace: at.0,
                        span: at.1,
                    });
                }
                for &from in self.linked_from.get(&at).into_iter().flatten() {
                    if self.may_link(from) {
                        next.push((
                            from,
                            JoinedBy::Link,
                            Reach {
                                up: true,
                                down: true,
                            },
                        ));
                    }
                }
            }
        }
        if reach.up {
            if let Some(parent) = parent_key(span)
                && let Some(over) = self.spans.get(&parent)
            {
                let down = self.one_message(over);
                next.push((parent, JoinedBy::Parent, Reach { up: true, down }));
            }
            next.extend(self.sender(span));
        }
        next
    }

    /// Over its one link: the span that sent a consumer's message, or the receive of it.
    fn sender(&mut self, span: &Span) -> Option<(Key, JoinedBy, Reach)> {
        if sends(span) || operation(span) == Some(Operation::Settle) {
            return None;
        }
        // More than one would have made it a batch.
        let link = span.links.first()?;
        let target = (link.trace_id, link.span_id);
        let Some(found) = self.spans.get(&target) else {
            // Asked for, it comes back here: the span reaches on again once the trace is here.
            if self.traces.get(&target.0) != Some(&true) && self.ask_for_trace(target.0) {
                let again = Reach {
                    up: true,
                    down: false,
                };
                self.parked
                    .entry(target.0)
                    .or_default()
                    .push((key(span), again));
            }
            return None;
        };
        let one = sends(found) || (consumes(found) && self.one_message(found));
        one.then_some((
            target,
            JoinedBy::Link,
            Reach {
                up: true,
                down: true,
            },
        ))
    }

    /// From a sending member to a span that links to it.
    fn follow_reverse(&mut self, target: Key, from: Key) {
        let down = self
            .members
            .get(&target)
            .is_some_and(|member| member.reach.down);
        let links = self.spans.get(&from).is_some_and(|span| {
            span.links
                .iter()
                .any(|link| (link.trace_id, link.span_id) == target)
        });
        if down && links && self.may_link(from) {
            self.join(
                from,
                JoinedBy::Link,
                Reach {
                    up: true,
                    down: true,
                },
            );
        }
    }

    /// Links of sending and settling spans say nothing about one message.
    fn may_link(&self, from: Key) -> bool {
        self.spans
            .get(&from)
            .is_some_and(|span| !sends(span) && operation(span) != Some(Operation::Settle))
    }

    /// Everything under this span is about one message, or about what carries the id.
    fn one_message(&self, span: &Span) -> bool {
        if is_batch(span) {
            return false;
        }
        if span.correlations.contains(&self.id) {
            return true;
        }
        let Some(messaging) = &span.messaging else {
            return false;
        };
        match messaging.operation {
            Operation::Create | Operation::Send | Operation::Process => true,
            Operation::Receive => {
                messaging.batch_count == Some(1)
                    || messaging.offset.is_some()
                    || messaging.message_id.is_some()
                    || span.links.len() == 1
                    || parent_key(span)
                        .and_then(|parent| self.spans.get(&parent))
                        .is_some_and(|parent| sends(parent))
            }
            Operation::Settle => false,
        }
    }
}

#[cfg(test)]
mod tests;
