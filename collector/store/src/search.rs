//! What a search asks, and what it answers.

use std::fmt;
use std::str::FromStr;

use highwater_model::{Span, TraceId, UnixNanos};

use crate::query::Expr;

/// A search for traces.
#[derive(Clone, Debug)]
pub struct SearchQuery {
    /// Spans that start at or after this.
    pub from: UnixNanos,
    /// Spans that start before this.
    pub to: UnixNanos,
    /// What one span of a trace must satisfy; `None`: any.
    pub filter: Option<Expr>,
    /// Traces wanted, at most [`SearchQuery::MAX_LIMIT`].
    pub limit: usize,
    /// Goes on after an earlier page.
    pub cursor: Option<Cursor>,
    /// Stops after looking at so many spans, those of the traces that are given included; what is under way then, such as one
    /// trace, is ended first. The page then is `partial`, and its cursor goes on from there.
    pub max_spans: u64,
}

impl SearchQuery {
    /// A page has at most so many traces.
    pub const MAX_LIMIT: usize = 500;

    /// Any trace of a range, 50 a page, looking at up to a million spans.
    #[must_use]
    pub fn new(from: UnixNanos, to: UnixNanos) -> Self {
        Self {
            from,
            to,
            filter: None,
            limit: 50,
            cursor: None,
            max_spans: 1_000_000,
        }
    }

    /// Narrows it.
    #[must_use]
    pub fn and(mut self, filter: Expr) -> Self {
        self.filter = Some(match self.filter.take() {
            Some(before) => before.and(filter),
            None => filter,
        });
        self
    }
}

/// Where a page ended: the next one has the traces below it in the order of the search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// Start of the newest matching span.
    pub start: UnixNanos,
    /// Its trace.
    pub trace: TraceId,
}

/// As it stands in a URL: `1773716000000000000-4f2c...`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start.0, self.trace.to_hex())
    }
}

/// A cursor that was not made by a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a cursor of a search")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (start, trace) = text.split_once('-').ok_or(NoCursor)?;
        let start = UnixNanos(start.parse().map_err(|_| NoCursor)?);
        // All zero is no trace id, but the cursor of a page that stopped between two traces.
        let trace = match trace {
            "00000000000000000000000000000000" => TraceId::default(),
            trace => TraceId::from_hex(trace).ok_or(NoCursor)?,
        };
        Ok(Self { start, trace })
    }
}

/// A trace that was found.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceHit {
    /// The trace.
    pub trace_id: TraceId,
    /// Start of its newest matching span: what the page is ordered by.
    pub newest: UnixNanos,
    /// All its spans, by start, whether or not they match, at most [`TraceHit::MAX_SPANS`].
    pub spans: Vec<Span>,
    /// Which of `spans` match, rising.
    pub matched: Vec<usize>,
    /// It has more spans than are given.
    pub truncated: bool,
}

impl TraceHit {
    /// More spans of a trace are not given.
    pub const MAX_SPANS: usize = 20_000;
}

/// A page of traces.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SearchPage {
    /// Newest first.
    pub hits: Vec<TraceHit>,
    /// Goes on after this page; `None` at the end of the range.
    pub next: Option<Cursor>,
    /// Spans looked at for this page.
    pub searched: u64,
    /// Spans in the blocks that touch the range.
    pub total: u64,
    /// Stopped at `max_spans` before the page was full.
    pub partial: bool,
}

#[cfg(test)]
mod tests {
    use super::{Cursor, NoCursor};
    use highwater_model::{TraceId, UnixNanos};

    #[test]
    fn a_cursor_survives_a_url_and_rubbish_is_refused() {
        for trace in [TraceId::default(), TraceId([7; 16])] {
            let cursor = Cursor {
                start: UnixNanos(u64::MAX),
                trace,
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for rubbish in ["", "-", "1-", "x-07", "1-0707"] {
            assert_eq!(rubbish.parse::<Cursor>(), Err(NoCursor));
        }
    }
}
