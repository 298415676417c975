//! One trace for reading: its spans in the order they are drawn, its hops, what is linked to it, and what a reader must
//! know. Pure; linear in spans and links but for the sorting, and without recursion: a trace of 100,000 spans in one
//! chain is as good as any.

pub(crate) mod hops;
pub(crate) mod stitch;
pub(crate) mod words;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use highwater_model::{Correlation, Operation, Span, SpanId, TraceId, UnixNanos};

pub use hops::Hop;
use stitch::{
    Index, Key, consumes, delivered, is_batch, key, operation, parent_key, sends, waits, works,
};

/// Links shown of one span, in each direction; the rest are counted in [`Row::links_omitted`].
const MAX_LINKS: usize = 256;
/// Linked traces listed.
const MAX_LINKED: usize = 500;

/// A trace, assembled.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceView {
    /// The trace.
    pub trace_id: TraceId,
    /// Parents before children, siblings by start.
    pub rows: Vec<Row>,
    /// Hops that begin or end in the trace, in order of time.
    pub hops: Vec<Hop>,
    /// Traces that links join to it, those with most links first, at most 500.
    pub linked: Vec<LinkedTrace>,
    /// What a reader must know, in sentences.
    pub notices: Vec<String>,
    /// The trace in a line.
    pub summary: Summary,
}

/// A span as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index into the spans that were given.
    pub index: usize,
    /// Nesting as drawn; 0 for a root.
    pub depth: u32,
    /// It stands under its producer because a link, not a parent, joins them.
    pub joined_by_link: bool,
    /// Producer's end to delivery; 0 when negative. The longest where it took several messages; `None` without a
    /// producer, and for every delivery of a message but the first, which would count the back-off too.
    pub in_broker_ns: Option<u64>,
    /// This handler starts before its producer *starts*: a clock is wrong.
    pub clock_skew: bool,
    /// Its parent was never received.
    pub missing_parent: bool,
    /// Links it has.
    pub links: Vec<LinkEnd>,
    /// Links that point at it.
    pub linked_from: Vec<LinkEnd>,
    /// Links left out of the two lists.
    pub links_omitted: u32,
}

/// The other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The other trace, or this one.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// Its service, when it is known.
    pub service: Option<Arc<str>>,
    /// Its name, when it is known.
    pub name: Option<Arc<str>>,
}

/// Which way a link between traces points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// This trace links to the other.
    To,
    /// The other links to this one.
    From,
}

impl Direction {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::From => "from",
        }
    }
}

/// A trace joined by links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// Which way.
    pub direction: Direction,
    /// How many links.
    pub links: u32,
    /// Service of the first linked span that is known.
    pub service: Option<Arc<str>>,
    /// Its name.
    pub name: Option<Arc<str>>,
}

/// A trace in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Service of the first root, or of the earliest span; empty without spans.
    pub service: Arc<str>,
    /// Its operation.
    pub operation: Arc<str>,
    /// First start.
    pub start: UnixNanos,
    /// Last end.
    pub end: UnixNanos,
    /// Spans, duplicates left out.
    pub spans: u32,
    /// Failed spans.
    pub errors: u32,
    /// Services in order of appearance.
    pub services: Vec<Arc<str>>,
    /// Topics in order of appearance.
    pub topics: Vec<Arc<str>>,
    /// Longest time in a broker; `None` where no stitch is known.
    pub in_broker_ns: Option<u64>,
    /// Business identities.
    pub correlations: Vec<Correlation>,
}

impl Summary {
    /// Nanoseconds from first start to last end.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end.since(self.start)
    }
}

/// Assembles a trace.
///
/// `spans` are the trace's, in any order; spans of other traces among them are drawn too ("show inline"). `foreign` are
/// spans that links point to or that link here: they are not drawn, but name links, end hops and measure waits.
#[must_use]
pub fn assemble(trace_id: TraceId, spans: &[&Span], foreign: &[&Span]) -> TraceView {
    let own = deduplicate(spans);
    let drawn: HashSet<Key> = own.iter().map(|(_, span)| key(span)).collect();
    let foreign: Vec<&Span> = {
        let mut seen = HashSet::new();
        let outside = foreign.iter().copied();
        outside
            .filter(|span| !drawn.contains(&key(span)) && seen.insert(key(span)))
            .collect()
    };
    let own_spans: Vec<&Span> = own.iter().map(|(_, span)| *span).collect();
    let index = Index::new(own_spans.iter().copied().chain(foreign.iter().copied()));

    let placement = place(&own_spans);
    let waits = waits_of(&own_spans, &index);
    let mut linked_from = reverse_links(&own_spans, &foreign, &drawn);
    let hops = hops::hops(&own_spans, &foreign, &index);

    let mut rows = Vec::with_capacity(own.len());
    let mut missing = 0_usize;
    for (at, depth) in placement.order {
        let (position, span) = own[at];
        let missing_parent = parent_key(span).is_some_and(|parent| !drawn.contains(&parent));
        missing += usize::from(missing_parent);
        let from = linked_from.remove(&key(span)).unwrap_or_default();
        let links: Vec<LinkEnd> = span
            .links
            .iter()
            .take(MAX_LINKS)
            .map(|link| {
                link_end(
                    index.get((link.trace_id, link.span_id)),
                    link.trace_id,
                    link.span_id,
                )
            })
            .collect();
        let omitted =
            span.links.len().saturating_sub(MAX_LINKS) + from.len().saturating_sub(MAX_LINKS);
        rows.push(Row {
            index: position,
            depth,
            joined_by_link: placement.by_link[at],
            in_broker_ns: waits.in_broker[at],
            clock_skew: waits.skewed[at],
            missing_parent,
            links,
            linked_from: from
                .iter()
                .take(MAX_LINKS)
                .map(|span| link_end(Some(span), span.trace_id, span.span_id))
                .collect(),
            links_omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        });
    }

    let mut summary = summarise_own(&own_spans);
    summary.in_broker_ns = hops.iter().filter_map(|hop| hop.in_broker_ns).max();
    TraceView {
        trace_id,
        linked: linked_traces(trace_id, &own_spans, &foreign, &drawn, &index),
        notices: notices(
            missing,
            spans.len() - own.len(),
            placement.cycles,
            &waits.skews,
        ),
        rows,
        hops,
        summary,
    }
}

/// The trace in a line, for lists: what [`assemble`] gives as its summary when nothing foreign is known.
#[must_use]
pub fn summarise(spans: &[&Span]) -> Summary {
    let own: Vec<&Span> = deduplicate(spans)
        .into_iter()
        .map(|(_, span)| span)
        .collect();
    let index = Index::new(own.iter().copied());
    let mut summary = summarise_own(&own);
    summary.in_broker_ns = waits_of(&own, &index).in_broker.into_iter().flatten().max();
    summary
}

fn link_end(span: Option<&Span>, trace_id: TraceId, span_id: SpanId) -> LinkEnd {
    LinkEnd {
        trace_id,
        span_id,
        service: span.map(|span| span.service.name.clone()),
        name: span.map(|span| span.name.clone()),
    }
}

/// Spans by start, each once, with their places in what was given.
///
/// A span sent twice differs at most in its end: the later one is the finished one. The two halves of a Zipkin shared
/// span have one id and different kinds: both stay.
fn deduplicate<'a>(spans: &[&'a Span]) -> Vec<(usize, &'a Span)> {
    let mut at: HashMap<_, usize> = HashMap::with_capacity(spans.len());
    let mut kept: Vec<(usize, &Span)> = Vec::with_capacity(spans.len());
    for (position, &span) in spans.iter().enumerate() {
        match at.entry((key(span), span.kind, &span.service)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(kept.len());
                kept.push((position, span));
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                if kept[*entry.get()].1.end < span.end {
                    kept[*entry.get()] = (position, span);
                }
            }
        }
    }
    kept.sort_by_key(|(position, span)| (span.start, span.trace_id, span.span_id, *position));
    kept
}

struct Placement {
    /// (span, depth) in drawing order.
    order: Vec<(usize, u32)>,
    by_link: Vec<bool>,
    /// Circles of parents that were cut.
    cycles: usize,
}

/// Orders spans (given by start) as a forest.
fn place(spans: &[&Span]) -> Placement {
    let mut first: HashMap<Key, usize> = HashMap::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        first.entry(key(span)).or_insert(at);
    }
    let mut parents: Vec<Option<usize>> = Vec::with_capacity(spans.len());
    let mut by_link = Vec::with_capacity(spans.len());
    for (at, &span) in spans.iter().enumerate() {
        let (parent, linked) = parent_of(at, span, spans, &first);
        parents.push(parent);
        by_link.push(linked);
    }
    let mut cycles = 0;
    cut_cycles(&mut parents, |at| {
        by_link[at] = false;
        cycles += 1;
    });

    // Children in order of start, as lists in one array: by counting, since spans come by start.
    let mut begin = vec![0_usize; spans.len() + 1];
    for parent in parents.iter().flatten() {
        begin[parent + 1] += 1;
    }
    for at in 0..spans.len() {
        begin[at + 1] += begin[at];
    }
    let mut children = vec![0_usize; begin[spans.len()]];
    let mut filled = begin.clone();
    for (at, parent) in parents.iter().enumerate() {
        if let Some(parent) = *parent {
            children[filled[parent]] = at;
            filled[parent] += 1;
        }
    }
    let mut order = Vec::with_capacity(spans.len());
    let mut stack: Vec<(usize, u32)> = Vec::new();
    for root in (0..spans.len()).filter(|at| parents[*at].is_none()) {
        stack.push((root, 0));
        while let Some((at, depth)) = stack.pop() {
            order.push((at, depth));
            let own = &children[begin[at]..begin[at + 1]];
            stack.extend(own.iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    Placement {
        order,
        by_link,
        cycles,
    }
}

/// The span that `span` is drawn under, and whether a link says so.
fn parent_of(
    at: usize,
    span: &Span,
    spans: &[&Span],
    first: &HashMap<Key, usize>,
) -> (Option<usize>, bool) {
    // The second half of a shared span stands under the first.
    if let Some(twin) = first.get(&key(span)).copied().filter(|twin| *twin != at) {
        return (Some(twin), false);
    }
    let parent = parent_key(span).and_then(|parent| first.get(&parent).copied());
    let producer = || {
        // A span over several messages belongs under none of them.
        if !consumes(span) || is_batch(span) {
            return None;
        }
        span.links.iter().find_map(|link| {
            let producer = *first.get(&(link.trace_id, link.span_id))?;
            stitch::fits(spans[producer], span).then_some(producer)
        })
    };
    match parent {
        None => match producer() {
            Some(producer) => (Some(producer), true),
            None => (None, false),
        },
        // Its receive is of another message as much as of this one: with the producer's trace inline it stands there.
        Some(parent) if operation(spans[parent]) == Some(Operation::Receive) => match producer() {
            Some(producer) if spans[producer].trace_id != span.trace_id => (Some(producer), true),
            _ => (Some(parent), false),
        },
        Some(parent) => (Some(parent), false),
    }
}

/// Makes a forest of `parents`: the earliest span of each circle becomes a root.
fn cut_cycles(parents: &mut [Option<usize>], mut cut: impl FnMut(usize)) {
    // 0: not seen; otherwise the walk that saw it.
    let mut seen = vec![0_usize; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut at = start;
        while seen[at] == 0 {
            seen[at] = walk;
            match parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if seen[at] != walk || parents[at].is_none() {
            continue;
        }
        // `at` is on a circle that this walk closed. Spans are by start: the least index is the earliest.
        let mut earliest = at;
        let mut around = at;
        while let Some(parent) = parents[around].filter(|parent| *parent != at) {
            earliest = earliest.min(parent);
            around = parent;
        }
        parents[earliest] = None;
        cut(earliest);
    }
}

struct Waits {
    in_broker: Vec<Option<u64>>,
    skewed: Vec<bool>,
    /// The most that a consumer's clock is behind a producer's, by (consumer, producer).
    skews: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

/// Time in broker and skew of each span (given by start).
fn waits_of(spans: &[&Span], index: &Index<'_>) -> Waits {
    let mut found = Waits {
        in_broker: vec![None; spans.len()],
        skewed: vec![false; spans.len()],
        skews: BTreeMap::new(),
    };
    // By producer and reader: the message was delivered there before.
    let mut delivered_before: HashSet<(Key, &str)> = HashSet::new();
    for (at, &span) in spans.iter().enumerate() {
        if !consumes(span) {
            continue;
        }
        let batch = is_batch(span);
        let reader = span
            .messaging
            .as_ref()
            .and_then(|messaging| messaging.group.as_deref())
            .unwrap_or(&span.service.name);
        for producer in index.direct_producers(span) {
            // A poll over many messages does not take the first delivery from the span that handles one.
            if batch || delivered_before.insert((key(producer), reader)) {
                let wait = delivered(span).since(producer.end);
                found.in_broker[at] = found.in_broker[at].max(Some(wait));
            }
            let handles = operation(span) == Some(Operation::Process) || works(span);
            if handles && !waits(span) && span.start < producer.start {
                found.skewed[at] = true;
                let pair = (span.service.name.clone(), producer.service.name.clone());
                let most = found.skews.entry(pair).or_default();
                *most = (*most).max(producer.start.since(span.start));
            }
        }
    }
    found
}

/// By span: those that link to it.
fn reverse_links<'a>(
    own: &[&'a Span],
    foreign: &[&'a Span],
    drawn: &HashSet<Key>,
) -> HashMap<Key, Vec<&'a Span>> {
    let mut from: HashMap<Key, Vec<&Span>> = HashMap::new();
    for &span in own.iter().chain(foreign) {
        for link in &span.links {
            let target = (link.trace_id, link.span_id);
            if !drawn.contains(&target) {
                continue;
            }
            let sources = from.entry(target).or_default();
            // Equal links of one span come one after the other often enough.
            if sources.last().is_none_or(|last| key(last) != key(span)) {
                sources.push(span);
            }
        }
    }
    from
}

/// Traces that links join to this one.
fn linked_traces(
    trace_id: TraceId,
    own: &[&Span],
    foreign: &[&Span],
    drawn: &HashSet<Key>,
    index: &Index<'_>,
) -> Vec<LinkedTrace> {
    let mut linked: BTreeMap<(TraceId, Direction), LinkedTrace> = BTreeMap::new();
    let mut add = |other: TraceId, direction: Direction, span: Option<&Span>| {
        let entry = linked.entry((other, direction)).or_insert(LinkedTrace {
            trace_id: other,
            direction,
            links: 0,
            service: None,
            name: None,
        });
        entry.links = entry.links.saturating_add(1);
        if let Some(span) = span.filter(|_| entry.service.is_none()) {
            entry.service = Some(span.service.name.clone());
            entry.name = Some(span.name.clone());
        }
    };
    for span in own.iter().filter(|span| span.trace_id == trace_id) {
        for link in span.links.iter().filter(|link| link.trace_id != trace_id) {
            add(
                link.trace_id,
                Direction::To,
                index.get((link.trace_id, link.span_id)),
            );
        }
    }
    for span in own
        .iter()
        .chain(foreign)
        .filter(|span| span.trace_id != trace_id)
    {
        for link in span.links.iter().filter(|link| link.trace_id == trace_id) {
            if drawn.contains(&(link.trace_id, link.span_id)) {
                add(span.trace_id, Direction::From, Some(span));
            }
        }
    }
    let mut linked: Vec<LinkedTrace> = linked.into_values().collect();
    linked.sort_by_key(|trace| {
        (
            std::cmp::Reverse(trace.links),
            trace.direction,
            trace.trace_id,
        )
    });
    linked.truncate(MAX_LINKED);
    linked
}

/// `own` by start, each span once.
fn summarise_own(own: &[&Span]) -> Summary {
    let root = own
        .iter()
        .find(|span| parent_key(span).is_none())
        .or(own.first());
    let mut services: Vec<Arc<str>> = Vec::new();
    let mut topics: Vec<Arc<str>> = Vec::new();
    let mut correlations: Vec<Correlation> = Vec::new();
    let mut seen_services: HashSet<&str> = HashSet::new();
    let mut seen_topics: HashSet<&str> = HashSet::new();
    let mut seen_correlations: HashSet<&Correlation> = HashSet::new();
    for span in own {
        if seen_services.insert(&span.service.name) {
            services.push(span.service.name.clone());
        }
        if let Some(messaging) = &span.messaging
            && (sends(span) || consumes(span))
            && let Some(topic) = &messaging.destination
            && seen_topics.insert(topic)
        {
            topics.push(topic.clone());
        }
        for correlation in &span.correlations {
            if seen_correlations.insert(correlation) {
                correlations.push(correlation.clone());
            }
        }
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Summary {
        service: root.map_or_else(|| "".into(), |span| span.service.name.clone()),
        operation: root.map_or_else(|| "".into(), |span| span.name.clone()),
        start: own.first().map_or(UnixNanos(0), |span| span.start),
        end: own.iter().map(|span| span.end).max().unwrap_or_default(),
        spans: number(own.len()),
        errors: number(own.iter().filter(|span| span.error.is_some()).count()),
        services,
        topics,
        in_broker_ns: None,
        correlations,
    }
}

fn notices(
    missing: usize,
    duplicates: usize,
    cycles: usize,
    skews: &BTreeMap<(Arc<str>, Arc<str>), u64>,
) -> Vec<String> {
    let mut notices = Vec::new();
    for ((behind, ahead), by) in skews.iter().take(5) {
        notices.push(format!(
            "The clock of {behind} is at least {} behind that of {ahead}: it handles messages before they are sent.",
            words::duration(*by)
        ));
    }
    match missing {
        0 => {}
        1 => notices.push("The parent of 1\u{a0}span was never received.".to_owned()),
        _ => notices.push(format!(
            "The parents of {} were never received.",
            words::count(missing, "span", "spans")
        )),
    }
    if duplicates > 0 {
        notices.push(format!(
            "{} came more than once and {} drawn once.",
            words::count(duplicates, "span", "spans"),
            if duplicates == 1 { "is" } else { "are" }
        ));
    }
    if cycles > 0 {
        notices.push(format!(
            "{} of spans that name each other as parents {} cut at the earliest span.",
            words::count(cycles, "circle", "circles"),
            if cycles == 1 { "was" } else { "were" }
        ));
    }
    notices
}

#[cfg(test)]
pub(crate) mod test_spans;
#[cfg(test)]
mod tests;
