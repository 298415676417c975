//! Searches of the store, as the pages need them.

use highwater_model::{SpanId, TraceId, UnixNanos};
use highwater_store::query::{self, Expr, Field};
use highwater_store::search::{SearchPage, SearchQuery};
use highwater_store::{SpanReader, Store};

use crate::ApiState;
use crate::problem::ApiError;
use crate::range::Range;

/// A span that matches.
#[derive(Clone, Debug)]
pub(crate) struct SpanHit {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) start: UnixNanos,
    pub(crate) duration_ns: u64,
    pub(crate) error: bool,
}

/// A page of traces that match an expression, newest first.
pub(crate) async fn traces(
    state: &ApiState,
    range: Range,
    q: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> Result<SearchPage, ApiError> {
    let mut search = SearchQuery::new(range.from, range.to);
    search.limit = limit;
    if let Some(q) = q.filter(|q| !q.trim().is_empty()) {
        search.filter =
            query::parse(q).map_err(|error| ApiError::BadRequest(format!("q = {q:?}: {error}")))?;
    }
    if let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) {
        let parsed = cursor
            .parse()
            .map_err(|error| ApiError::BadRequest(format!("cursor = {cursor:?}: {error}")))?;
        search.cursor = Some(parsed);
    }
    state
        .store
        .search(&search)
        .await
        .map_err(ApiError::internal("searching traces"))
}

/// Spans of the newest `traces` traces in which one satisfies all of `fields`.
pub(crate) async fn spans(
    store: &Store,
    (from, to): (UnixNanos, UnixNanos),
    fields: Vec<(Field, String)>,
    traces: usize,
) -> Result<Vec<SpanHit>, ApiError> {
    let mut search = SearchQuery::new(from, to);
    search.limit = traces.min(SearchQuery::MAX_LIMIT);
    for (field, value) in fields {
        search = search.and(Expr::equals(field, value));
    }
    let page = store
        .search(&search)
        .await
        .map_err(ApiError::internal("searching example traces"))?;
    let hits = page.hits.iter().flat_map(|hit| {
        hit.matched
            .iter()
            .filter_map(|at| hit.spans.get(*at))
            .map(|span| SpanHit {
                trace_id: span.trace_id,
                span_id: span.span_id,
                start: span.start,
                duration_ns: span.duration_ns(),
                error: span.error.is_some(),
            })
    });
    Ok(hits.collect())
}
