//! Traces: search, and one trace with its links both ways.

use std::collections::{BTreeMap, HashSet};

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_flow::trace as flow;
use highwater_model::raw::{Attributes, SpanKind, StatusCode, Value};
use highwater_model::{Operation, Span, SpanId, TraceId};
use highwater_shared::traces as wire;
use highwater_store::search::TraceHit;
use highwater_store::{SpanReader, StoredSpan, Wanted};
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;
use crate::range::RangeParams;
use crate::respond::json;
use crate::topology::instant;

/// Spans of one trace sent at most; a page of more would not help anybody.
pub(crate) const MAX_SPANS: usize = 100_000;
/// A trace of so few is assembled sooner than another thread would begin to.
const FEW_SPANS: usize = 256;
/// Other traces looked into, to name the ends of links.
const MAX_LINKED: usize = 64;
/// Of these, read at once.
const LINKED_AT_ONCE: usize = 4;
/// Spans that link to a trace, looked at.
const MAX_REVERSE: usize = 2_000;
const MAX_TRACES: usize = 200;
const DEFAULT_TRACES: usize = 50;
/// Text of an attribute's value is cut here.
const MAX_VALUE: usize = 4_096;

#[derive(Debug, Deserialize)]
pub(crate) struct TracesParams {
    #[serde(flatten)]
    range: RangeParams,
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(crate) async fn traces(
    State(state): State<ApiState>,
    Query(params): Query<TracesParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let limit = params.limit.unwrap_or(DEFAULT_TRACES).clamp(1, MAX_TRACES);
    let page = crate::find::traces(
        &state,
        range,
        params.q.as_deref(),
        limit,
        params.cursor.as_deref(),
    )
    .await?;
    let of_hit = |hit: &TraceHit| {
        let spans: Vec<&Span> = hit.spans.iter().collect();
        summary(hit.trace_id, &flow::summarise(&spans))
    };
    let answer = wire::Traces {
        window: highwater_shared::Window {
            from: instant(range.from),
            to: instant(range.to),
            rate_from: instant(range.from),
        },
        traces: page.hits.iter().map(of_hit).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        searched: page.searched,
        total: page.total,
        partial: page.partial,
    };
    json(&headers, &answer)
}

pub(crate) async fn trace(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let trace_id = TraceId::from_hex(&id).ok_or_else(|| {
        ApiError::BadRequest(format!(
            "{id:?} is not a trace id: 32 hexadecimal digits, not all 0"
        ))
    })?;
    let wanted = [
        (Wanted::Trace(trace_id), MAX_SPANS),
        (Wanted::LinkingTo(trace_id, None), MAX_REVERSE),
    ];
    let found = state.store.find(&wanted).await;
    let found = found.map_err(ApiError::internal("reading the trace"))?;
    let [of_trace, linking] = found.try_into().unwrap_or_default();
    let (stored, truncated) = (of_trace.spans, of_trace.truncated);
    if stored.is_empty() {
        return Err(ApiError::NotFound(format!("No trace {id} is stored.")));
    }
    let foreign = foreign_spans(&state, trace_id, &stored, linking.spans).await?;
    let few = stored.len() + foreign.len() <= FEW_SPANS;
    let assemble = move || {
        let spans: Vec<&Span> = stored.iter().map(|stored| &stored.span).collect();
        let foreign: Vec<&Span> = foreign.iter().map(|stored| &stored.span).collect();
        let view = flow::assemble(trace_id, &spans, &foreign);
        to_wire(&view, &stored, truncated)
    };
    let body = if few {
        assemble()
    } else {
        tokio::task::spawn_blocking(assemble)
            .await
            .map_err(ApiError::internal("assembling the trace"))?
    };
    json(&headers, &body)
}

/// The spans that links of this trace point to, and those that link here.
async fn foreign_spans(
    state: &ApiState,
    id: TraceId,
    spans: &[StoredSpan],
    mut linking: Vec<StoredSpan>,
) -> Result<Vec<StoredSpan>, ApiError> {
    let mut targets: BTreeMap<TraceId, HashSet<SpanId>> = BTreeMap::new();
    for link in spans
        .iter()
        .flat_map(|stored| &stored.span.links)
        .filter(|link| link.trace_id != id)
    {
        if targets.len() < MAX_LINKED || targets.contains_key(&link.trace_id) {
            targets
                .entry(link.trace_id)
                .or_default()
                .insert(link.span_id);
        }
    }
    linking.retain(|stored| stored.span.trace_id != id);
    let targets: Vec<(TraceId, HashSet<SpanId>)> = targets.into_iter().collect();
    for targets in targets.chunks(LINKED_AT_ONCE) {
        let wanted: Vec<(Wanted, usize)> = targets
            .iter()
            .map(|(trace, _)| (Wanted::Trace(*trace), MAX_SPANS))
            .collect();
        let found = state
            .store
            .find(&wanted)
            .await
            .map_err(ApiError::internal("reading linked traces"))?;
        for ((_, wanted), linked) in targets.iter().zip(found) {
            linking.extend(
                linked
                    .spans
                    .into_iter()
                    .filter(|stored| wanted.contains(&stored.span.span_id)),
            );
        }
    }
    Ok(linking)
}

pub(crate) fn summary(id: TraceId, summary: &flow::Summary) -> wire::TraceSummary {
    let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| text.to_string()).collect();
    wire::TraceSummary {
        trace_id: id.to_hex(),
        service: summary.service.to_string(),
        operation: summary.operation.to_string(),
        start: instant(summary.start),
        duration_ns: summary.duration_ns(),
        spans: summary.spans,
        errors: summary.errors,
        services: texts(&summary.services),
        topics: texts(&summary.topics),
        in_broker_ns: summary.in_broker_ns,
        correlations: correlations(&summary.correlations),
    }
}

fn correlations(values: &[highwater_model::Correlation]) -> Vec<wire::CorrelationValue> {
    values
        .iter()
        .map(|value| wire::CorrelationValue {
            key: value.key.to_string(),
            value: value.value.to_string(),
        })
        .collect()
}

fn to_wire(view: &flow::TraceView, stored: &[StoredSpan], truncated: bool) -> wire::Trace {
    wire::Trace {
        trace_id: view.trace_id.to_hex(),
        start: instant(view.summary.start),
        duration_ns: view.summary.duration_ns(),
        spans: view
            .rows
            .iter()
            .filter_map(|row| Some(span(row, stored.get(row.index)?)))
            .collect(),
        hops: view.hops.iter().map(|h| hop(h, view.trace_id)).collect(),
        correlations: correlations(&view.summary.correlations),
        linked: view
            .linked
            .iter()
            .map(|linked| wire::LinkedTrace {
                trace_id: linked.trace_id.to_hex(),
                direction: linked.direction.as_str().to_owned(),
                links: linked.links,
                service: linked.service.as_deref().map(str::to_owned),
                name: linked.name.as_deref().map(str::to_owned),
            })
            .collect(),
        notices: view.notices.clone(),
        truncated,
    }
}

fn span(row: &flow::Row, stored: &StoredSpan) -> wire::TraceSpan {
    let (span, raw) = (&stored.span, &stored.raw);
    wire::TraceSpan {
        span_id: span.span_id.to_hex(),
        parent_span_id: span.parent.map(|parent| parent.to_hex()),
        depth: row.depth,
        service: span.service.name.to_string(),
        name: span.name.to_string(),
        kind: kind(span.kind).to_owned(),
        start: instant(span.start),
        duration_ns: span.duration_ns(),
        status: match (span.error.is_some(), span.status) {
            (true, _) | (_, StatusCode::Error) => "error",
            (_, StatusCode::Ok) => "ok",
            (_, StatusCode::Unset) => "unset",
        }
        .to_owned(),
        error: span.error.as_ref().map(error),
        messaging: span.messaging.as_ref().map(|m| wire::SpanMessaging {
            system: m.system.to_string(),
            operation: operation(m.operation).to_owned(),
            destination: m.destination.as_deref().map(str::to_owned),
            group: m.group.as_deref().map(str::to_owned),
            partition: m.partition,
            offset: m.offset,
            batch_count: m.batch_count,
        }),
        in_broker_ns: row.in_broker_ns,
        clock_skew: row.clock_skew,
        missing_parent: row.missing_parent,
        attributes: attributes(&raw.attributes),
        resource: attributes(&stored.origin.resource),
        scope: match stored.origin.scope_version.as_str() {
            "" => stored.origin.scope_name.clone(),
            version => format!("{} {version}", stored.origin.scope_name),
        },
        events: raw
            .events
            .iter()
            .map(|event| wire::SpanEvent {
                at: instant(event.time),
                name: event.name.clone(),
                attributes: attributes(&event.attributes),
            })
            .collect(),
        links: row.links.iter().map(link).collect(),
        linked_from: row.linked_from.iter().map(link).collect(),
    }
}

/// Span ids are given where the span is one of this trace's.
fn hop(hop: &flow::Hop, trace: TraceId) -> wire::Hop {
    let own = |span: Option<(TraceId, SpanId)>| {
        span.filter(|(of, _)| *of == trace)
            .map(|(_, span)| span.to_hex())
    };
    wire::Hop {
        producer: hop.producer.as_deref().map(str::to_owned),
        topic: hop.topic.to_string(),
        group: hop.group.as_deref().map(str::to_owned),
        consumer: hop.consumer.as_deref().map(str::to_owned),
        producer_span_id: own(hop.producer_span),
        consumer_span_id: own(hop.consumer_span),
        in_broker_ns: hop.in_broker_ns,
        process_ns: hop.process_ns,
        error: hop.error,
        partition: hop.partition,
        offset: hop.offset,
    }
}

pub(crate) fn error(error: &highwater_model::span::ErrorInfo) -> wire::SpanError {
    wire::SpanError {
        kind: error.kind.to_string(),
        message: error.message.to_string(),
    }
}

fn link(end: &flow::LinkEnd) -> wire::SpanLink {
    wire::SpanLink {
        trace_id: end.trace_id.to_hex(),
        span_id: end.span_id.to_hex(),
        service: end.service.as_deref().map(str::to_owned),
        name: end.name.as_deref().map(str::to_owned),
    }
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Send => "send",
        Operation::Receive => "receive",
        Operation::Process => "process",
        Operation::Settle => "settle",
    }
}

fn attributes(attributes: &Attributes) -> Vec<wire::Attribute> {
    attributes
        .iter()
        .map(|(key, value)| {
            let (kind, mut text) = text(value);
            if text.len() > MAX_VALUE {
                let cut = (0..=MAX_VALUE)
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0);
                text.truncate(cut);
                text.push('…');
            }
            wire::Attribute {
                key: key.clone(),
                value: text,
                kind: kind.to_owned(),
            }
        })
        .collect()
}

fn text(value: &Value) -> (&'static str, String) {
    match value {
        Value::Empty => ("empty", String::new()),
        Value::Str(text) => ("string", text.clone()),
        Value::Int(number) => ("int", number.to_string()),
        Value::Double(number) => ("double", number.to_string()),
        Value::Bool(yes) => ("bool", yes.to_string()),
        Value::Bytes(bytes) => (
            "bytes",
            bytes
                .iter()
                .take(MAX_VALUE / 2)
                .map(|b| format!("{b:02x}"))
                .collect(),
        ),
        Value::Array(_) | Value::Map(_) => {
            let kind = if matches!(value, Value::Array(_)) {
                "array"
            } else {
                "map"
            };
            (kind, plain(value, 0).to_string())
        }
    }
}

/// Nested values as JSON; deeper than any sane attribute it says so.
fn plain(value: &Value, depth: usize) -> serde_json::Value {
    match value {
        _ if depth > 16 => "…".into(),
        Value::Array(items) => items.iter().map(|item| plain(item, depth + 1)).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), plain(value, depth + 1)))
                .collect(),
        ),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Empty => serde_json::Value::Null,
        Value::Str(_) | Value::Bytes(_) => text(value).1.into(),
    }
}
