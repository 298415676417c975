//! The lines of a waterfall: spans, linked traces, what is folded, what lies on the critical path.
//!
//! Pure. The server sends spans parents before children with their depth; all that follows from that order is here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use highwater_shared::traces::{Trace, TraceSpan};

/// Traces shown inline at most.
pub(crate) const INLINE_AT_MOST: usize = 8;

/// A trace joined by a link, as a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Joined {
    /// The other trace.
    pub(crate) trace_id: String,
    /// `to`: this trace links to it; `from`: it links here.
    pub(crate) direction: String,
    /// Service of the other span, when known.
    pub(crate) service: Option<String>,
    /// Name of the other span, when known.
    pub(crate) name: Option<String>,
    /// The other span, when known.
    pub(crate) span_id: Option<String>,
    /// Its spans stand below.
    pub(crate) shown: bool,
}

/// What a line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A span: which trace (0 is the page's own) and which of its spans.
    Span(usize, usize),
    /// A linked trace.
    Linked(Joined),
}

/// A line of the waterfall.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Line {
    /// What it is.
    pub(crate) what: What,
    /// Nesting; 0 for a root.
    pub(crate) depth: u32,
    /// Index after the last line nested in it.
    pub(crate) end: usize,
    /// Start in nanoseconds from [`Lines::origin`].
    pub(crate) start: u64,
    /// Duration in nanoseconds.
    pub(crate) duration: u64,
    /// Time in broker before it, in nanoseconds.
    pub(crate) wait: u64,
    /// Colour, 0 to 7, by service in order of first appearance.
    pub(crate) hue: usize,
    /// It failed.
    pub(crate) error: bool,
    /// It lies on the critical path.
    pub(crate) critical: bool,
    /// The wait before it lies on the critical path.
    pub(crate) critical_wait: bool,
    /// A call out of what sends spans: the other side sends none.
    pub(crate) external: bool,
}

impl Line {
    /// Returns the end of the span, in nanoseconds from the origin.
    pub(crate) fn stop(&self) -> u64 {
        self.start.saturating_add(self.duration)
    }
}

/// All lines of a trace, with linked traces that are shown inline.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Lines {
    /// The traces: the page's own first.
    pub(crate) traces: Vec<Arc<Trace>>,
    /// Lines, parents before children.
    pub(crate) lines: Vec<Line>,
    /// First start, in nanoseconds since the epoch.
    pub(crate) origin: u64,
    /// First start to last end, in nanoseconds.
    pub(crate) length: u64,
    /// Services in order of first appearance.
    pub(crate) services: Vec<String>,
    /// Lines whose span failed, in order.
    pub(crate) errors: Vec<usize>,
    by_span: HashMap<String, usize>,
}

impl Lines {
    /// Lays out `trace`, with the spans of those `inline` traces that are linked to it.
    pub(crate) fn new(trace: &Arc<Trace>, inline: &[Arc<Trace>]) -> Self {
        let mut traces = vec![Arc::clone(trace)];
        traces.extend(inline.iter().take(INLINE_AT_MOST).cloned());
        let shown: HashMap<&str, usize> = traces
            .iter()
            .enumerate()
            .skip(1)
            .map(|(i, t)| (t.trace_id.as_str(), i))
            .collect();
        let all = || traces.iter().flat_map(|t| &t.spans);
        let origin = all()
            .map(|s| s.start.0)
            .chain([trace.start.0])
            .min()
            .unwrap_or(trace.start.0);
        let stop = all()
            .map(|s| s.start.0.saturating_add(s.duration_ns))
            .chain([trace.start.0.saturating_add(trace.duration_ns)])
            .max()
            .unwrap_or(origin);

        let mut lines = Self {
            origin,
            length: stop - origin,
            ..Self::default()
        };
        let mut joined = BTreeSet::new();
        for (i, span) in trace.spans.iter().enumerate() {
            lines.push_span(0, i, span, span.depth);
            for (link, direction) in span
                .links
                .iter()
                .map(|l| (l, "to"))
                .chain(span.linked_from.iter().map(|l| (l, "from")))
            {
                if link.trace_id == trace.trace_id || !joined.insert(link.trace_id.clone()) {
                    continue;
                }
                let joined = Joined {
                    trace_id: link.trace_id.clone(),
                    direction: direction.to_owned(),
                    service: link.service.clone(),
                    name: link.name.clone(),
                    span_id: Some(link.span_id.clone()),
                    shown: false,
                };
                lines.push_linked(joined, span.depth + 1, &traces, &shown);
            }
        }
        // Links whose span was not sent stand at the end.
        for link in &trace.linked {
            if joined.insert(link.trace_id.clone()) {
                let joined = Joined {
                    trace_id: link.trace_id.clone(),
                    direction: link.direction.clone(),
                    service: link.service.clone(),
                    name: link.name.clone(),
                    span_id: None,
                    shown: false,
                };
                lines.push_linked(joined, 0, &traces, &shown);
            }
        }
        lines.close();
        lines.mark_critical();
        lines.traces = traces;
        lines
    }

    /// Returns the span of a line; `None` for a linked trace.
    pub(crate) fn span(&self, line: usize) -> Option<&TraceSpan> {
        match self.lines.get(line)?.what {
            What::Span(trace, span) => self.traces.get(trace)?.spans.get(span),
            What::Linked(_) => None,
        }
    }

    /// Returns what folding remembers of a line: its span, or the linked trace.
    pub(crate) fn key(&self, line: usize) -> String {
        match self.lines.get(line).map(|l| &l.what) {
            Some(What::Linked(joined)) => joined.trace_id.clone(),
            Some(What::Span(..)) => self
                .span(line)
                .map(|s| s.span_id.clone())
                .unwrap_or_default(),
            None => String::new(),
        }
    }

    /// Finds the line of a span.
    pub(crate) fn line_of(&self, span_id: &str) -> Option<usize> {
        self.by_span.get(span_id).copied()
    }

    /// Returns the lines not hidden in a folded one, in order.
    pub(crate) fn visible(&self, folded: &BTreeSet<String>) -> Vec<usize> {
        let mut visible = Vec::with_capacity(self.lines.len());
        let mut at = 0;
        while let Some(line) = self.lines.get(at) {
            visible.push(at);
            let shut = !folded.is_empty() && line.end > at + 1 && folded.contains(&self.key(at));
            at = if shut { line.end.max(at + 1) } else { at + 1 };
        }
        visible
    }

    /// Returns the lines that `line` is nested in, the nearest first.
    pub(crate) fn ancestors(&self, line: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut depth = self.lines.get(line).map_or(0, |l| l.depth);
        for at in (0..line).rev() {
            if depth == 0 {
                break;
            }
            if self.lines[at].depth < depth && self.lines[at].end > line {
                depth = self.lines[at].depth;
                found.push(at);
            }
        }
        found
    }

    /// Returns the lines whose service, name, attribute or error contains `text`, ignoring case.
    pub(crate) fn find(&self, text: &str) -> Vec<usize> {
        let text = text.trim().to_lowercase();
        if text.is_empty() {
            return Vec::new();
        }
        let has = |hay: &str| hay.to_lowercase().contains(&text);
        (0..self.lines.len())
            .filter(|&line| match &self.lines[line].what {
                What::Linked(joined) => {
                    has(&joined.trace_id)
                        || joined.service.as_deref().is_some_and(has)
                        || joined.name.as_deref().is_some_and(has)
                }
                What::Span(..) => self.span(line).is_some_and(|span| {
                    has(&span.service)
                        || has(&span.name)
                        || has(&span.span_id)
                        || span
                            .error
                            .as_ref()
                            .is_some_and(|e| has(&e.kind) || has(&e.message))
                        || span.attributes.iter().any(|a| has(&a.key) || has(&a.value))
                }),
            })
            .collect()
    }

    /// Returns when spans run, as [`super::axis::Axis`] wants it.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (u64, u64)> {
        self.lines
            .iter()
            .filter(|l| matches!(l.what, What::Span(..)))
            .map(|l| (l.start, l.stop()))
    }

    fn push_span(&mut self, trace: usize, index: usize, span: &TraceSpan, depth: u32) {
        let hue = self
            .services
            .iter()
            .position(|s| *s == span.service)
            .unwrap_or_else(|| {
                self.services.push(span.service.clone());
                self.services.len() - 1
            });
        let at = self.lines.len();
        if span.status == "error" {
            self.errors.push(at);
        }
        self.by_span.entry(span.span_id.clone()).or_insert(at);
        let start = span.start.0 - self.origin;
        self.lines.push(Line {
            what: What::Span(trace, index),
            depth,
            end: at + 1,
            start,
            duration: span.duration_ns,
            wait: span.in_broker_ns.unwrap_or(0).min(start),
            hue: hue % 8,
            error: span.status == "error",
            critical: false,
            critical_wait: false,
            external: span.kind == "client" && span.attributes.iter().any(is_peer),
        });
    }

    fn push_linked(
        &mut self,
        joined: Joined,
        depth: u32,
        traces: &[Arc<Trace>],
        shown: &HashMap<&str, usize>,
    ) {
        let inline = shown.get(joined.trace_id.as_str()).copied();
        let start = inline
            .and_then(|i| traces.get(i))
            .map(|t| t.start.0.saturating_sub(self.origin))
            .or_else(|| self.lines.last().map(Line::stop))
            .unwrap_or(0);
        self.lines.push(Line {
            what: What::Linked(Joined {
                shown: inline.is_some(),
                ..joined
            }),
            depth,
            end: 0,
            start,
            duration: 0,
            wait: 0,
            hue: 0,
            error: false,
            critical: false,
            critical_wait: false,
            external: false,
        });
        if let Some(i) = inline
            && let Some(trace) = traces.get(i)
        {
            for (index, span) in trace.spans.iter().enumerate() {
                self.push_span(i, index, span, span.depth.saturating_add(depth + 1));
            }
        }
    }

    /// Finds where each line's subtree ends; a call with a span on its other side is not external.
    fn close(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.lines.len() {
            let depth = self.lines[at].depth;
            while let Some(&top) = open.last()
                && self.lines[top].depth >= depth
            {
                self.lines[top].end = at;
                open.pop();
            }
            if matches!(self.lines[at].what, What::Span(..))
                && let Some(&parent) = open.last()
            {
                self.lines[parent].external = false;
            }
            open.push(at);
        }
        let end = self.lines.len();
        for top in open {
            self.lines[top].end = end;
        }
    }

    /// Marks the chain of work and waits that ends last.
    ///
    /// Walks back from the last end: in a span, to the child that ended last before the moment reached; from a span's
    /// start over its wait to its producer. Every span is entered once at most.
    fn mark_critical(&mut self) {
        let own = |line: &Line| matches!(line.what, What::Span(0, _));
        let Some(last) = (0..self.lines.len())
            .filter(|&i| own(&self.lines[i]))
            .max_by_key(|&i| (self.lines[i].stop(), i))
        else {
            return;
        };
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut parent = vec![None; self.lines.len()];
        let mut open: Vec<usize> = Vec::new();
        for (at, parent) in parent.iter_mut().enumerate() {
            while let Some(&top) = open.last()
                && self.lines[top].end <= at
            {
                open.pop();
            }
            if own(&self.lines[at]) {
                if let Some(&up) = open.last() {
                    children.entry(up).or_default().push(at);
                    *parent = Some(up);
                }
                open.push(at);
            }
        }
        for list in children.values_mut() {
            list.sort_by_key(|&i| std::cmp::Reverse(self.lines[i].stop()));
        }
        // Down from a span: what in it ended last before `until`, and before that.
        let mut work = Vec::new();
        let mut up = Some((last, self.lines[last].stop()));
        while let Some((at, until)) = up {
            work.push((at, until));
            self.lines[at].critical = true;
            self.lines[at].critical_wait = self.lines[at].wait > 0;
            let start = self.lines[at].start;
            let reached = start.saturating_sub(self.lines[at].wait).min(until);
            up = parent[at].map(|p| (p, reached));
        }
        while let Some((at, mut until)) = work.pop() {
            let from = self.lines[at].start;
            for &child in children.get(&at).map_or(&[][..], Vec::as_slice) {
                let line = &mut self.lines[child];
                if line.critical || line.stop() > until || line.start < from {
                    continue;
                }
                line.critical = true;
                line.critical_wait = line.wait > 0;
                until = line.start.saturating_sub(line.wait);
                work.push((child, line.stop()));
            }
        }
    }
}

/// Whether an attribute names the other side of a call.
fn is_peer(attribute: &highwater_shared::traces::Attribute) -> bool {
    matches!(
        attribute.key.as_str(),
        "peer.service" | "server.address" | "net.peer.name" | "http.url" | "url.full"
    )
}

#[cfg(test)]
mod tests {
    use highwater_shared::Instant;
    use highwater_shared::traces::SpanLink;

    use super::*;

    const T0: u64 = 1_700_000_000_000_000_000;

    fn span(
        id: &str,
        depth: u32,
        service: &str,
        start: u64,
        duration: u64,
        wait: Option<u64>,
    ) -> TraceSpan {
        TraceSpan {
            span_id: id.to_owned(),
            parent_span_id: None,
            depth,
            service: service.to_owned(),
            name: format!("{id} work"),
            kind: "internal".to_owned(),
            start: Instant(T0 + start),
            duration_ns: duration,
            status: "unset".to_owned(),
            error: None,
            messaging: None,
            in_broker_ns: wait,
            clock_skew: false,
            missing_parent: false,
            attributes: Vec::new(),
            resource: Vec::new(),
            scope: String::new(),
            events: Vec::new(),
            links: Vec::new(),
            linked_from: Vec::new(),
        }
    }

    fn trace(id: &str, spans: Vec<TraceSpan>) -> Arc<Trace> {
        Arc::new(Trace {
            trace_id: id.to_owned(),
            start: Instant(T0),
            duration_ns: 1_000,
            spans,
            hops: Vec::new(),
            correlations: Vec::new(),
            linked: Vec::new(),
            notices: Vec::new(),
            truncated: false,
        })
    }

    /// shop: a request that sends; billing waits 500 and works; stock waits 10 and works.
    fn order() -> Arc<Trace> {
        let mut send = span("send", 1, "shop", 30, 10, None);
        send.linked_from = vec![SpanLink {
            trace_id: "other".to_owned(),
            span_id: "far".to_owned(),
            service: Some("mail".to_owned()),
            name: None,
        }];
        let mut bill = span("bill", 2, "billing", 540, 300, Some(500));
        bill.status = "error".to_owned();
        trace(
            "t",
            vec![
                span("root", 0, "shop", 0, 50, None),
                span("read", 1, "shop", 5, 20, None),
                send,
                span("stock", 2, "stock", 50, 20, Some(10)),
                bill,
                span("pay", 3, "billing", 600, 200, None),
                span("quick", 3, "billing", 545, 3, None),
            ],
        )
    }

    fn names(lines: &Lines, which: &[usize]) -> Vec<String> {
        which.iter().map(|&i| lines.key(i)).collect()
    }

    #[test]
    fn a_linked_trace_is_one_line_under_its_span() {
        let lines = Lines::new(&order(), &[]);
        assert_eq!(
            names(&lines, &lines.visible(&BTreeSet::new())),
            [
                "root", "read", "send", "other", "stock", "bill", "pay", "quick"
            ]
        );
        assert_eq!(lines.lines[3].depth, 2);
        assert_eq!(lines.lines[3].end, 4);
    }

    #[test]
    fn inline_spans_stand_under_their_link_and_widen_the_range() {
        let other = trace(
            "other",
            vec![
                span("far", 0, "mail", 2_000, 100, None),
                span("far2", 1, "mail", 2_010, 5, None),
            ],
        );
        let lines = Lines::new(&order(), &[other]);
        assert_eq!(
            names(&lines, &(2..7).collect::<Vec<_>>()),
            ["send", "other", "far", "far2", "stock"]
        );
        assert_eq!(lines.lines[4].depth, 3);
        assert_eq!(lines.length, 2_100);
        assert_eq!(lines.line_of("far2"), Some(5));
    }

    #[test]
    fn folding_hides_what_is_nested_and_nothing_else() {
        let lines = Lines::new(&order(), &[]);
        let folded = BTreeSet::from(["bill".to_owned()]);
        assert_eq!(
            names(&lines, &lines.visible(&folded)),
            ["root", "read", "send", "other", "stock", "bill"]
        );
        let folded = BTreeSet::from(["root".to_owned()]);
        assert_eq!(names(&lines, &lines.visible(&folded)), ["root"]);
        assert_eq!(names(&lines, &lines.ancestors(6)), ["bill", "send", "root"]);
    }

    #[test]
    fn the_critical_path_goes_over_the_wait_to_the_producer() {
        let lines = Lines::new(&order(), &[]);
        let critical: Vec<_> = (0..lines.lines.len())
            .filter(|&i| lines.lines[i].critical)
            .collect();
        assert_eq!(
            names(&lines, &critical),
            ["root", "read", "send", "bill", "pay", "quick"]
        );
        let waits: Vec<_> = (0..lines.lines.len())
            .filter(|&i| lines.lines[i].critical_wait)
            .collect();
        assert_eq!(names(&lines, &waits), ["bill"]);
    }

    #[test]
    fn services_keep_the_hue_of_their_first_appearance() {
        let lines = Lines::new(&order(), &[]);
        assert_eq!(lines.services, ["shop", "stock", "billing"]);
        assert_eq!(lines.lines[7].hue, 2);
        assert_eq!(names(&lines, &lines.errors), ["bill"]);
        assert_eq!(names(&lines, &lines.find("PAY")), ["pay"]);
        assert!(lines.find("  ").is_empty());
    }

    #[test]
    fn a_hundred_thousand_nested_spans_are_laid_out_without_recursion() {
        let spans = (0..100_000_u32)
            .map(|i| {
                span(
                    &i.to_string(),
                    i,
                    "deep",
                    u64::from(i),
                    200_000 - u64::from(i),
                    None,
                )
            })
            .collect();
        let lines = Lines::new(&trace("deep", spans), &[]);
        assert_eq!(lines.visible(&BTreeSet::from(["5".to_owned()])).len(), 6);
        assert_eq!(lines.lines[0].end, 100_000);
    }
}
