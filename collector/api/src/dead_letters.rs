//! Dead letters: topics and records.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_deadletters as dead;
use highwater_model::{Span, TraceId};
use highwater_shared::Level;
use highwater_shared::dead_letters as wire;
use highwater_store::{SpanReader, Store, StoreError};
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::{instant, list};

/// Spans looked at for the trace of one record.
const JOIN_LIMIT: usize = 200;
const DEFAULT_RECORDS: usize = 50;

#[derive(Debug, Deserialize)]
pub(crate) struct TopicsParams {
    cluster: Option<String>,
}

pub(crate) async fn topics(
    State(state): State<ApiState>,
    Query(params): Query<TopicsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let clusters = list(params.cluster.as_deref());
    let topics = state
        .dead_letters
        .topics()
        .iter()
        .filter(|topic| clusters.is_empty() || clusters.iter().any(|name| **name == *topic.cluster))
        .map(to_wire)
        .collect();
    json(&headers, &wire::DeadLetters { topics })
}

pub(crate) async fn topic(
    State(state): State<ApiState>,
    Path((cluster, topic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = state
        .dead_letters
        .topic(&cluster, &topic)
        .ok_or_else(|| not_found(&cluster, &topic))?;
    json(&headers, &to_wire(&found))
}

fn not_found(cluster: &str, topic: &str) -> ApiError {
    ApiError::NotFound(format!(
        "{topic} of {cluster} is not known to hold dead letters. Name it under [dead_letters] topics if it does."
    ))
}

/// Growing is worth a look, growing while nothing is known of it too; a standing heap is not.
pub(crate) fn level(topic: &dead::TopicSummary) -> Level {
    match (topic.retained, topic.arrivals_per_hour) {
        (None, _) => Level::Unknown,
        (Some(0), _) => Level::Ok,
        (Some(_), Some(rate)) if rate > 0.0 => Level::Warning,
        (Some(_), _) => Level::Ok,
    }
}

fn to_wire(topic: &dead::TopicSummary) -> wire::DeadLetterTopic {
    let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| text.to_string()).collect();
    wire::DeadLetterTopic {
        cluster: topic.cluster.to_string(),
        topic: topic.topic.to_string(),
        recognised_by: topic.recognised_by.as_str().to_owned(),
        origin_topics: texts(&topic.origin_topics),
        groups: texts(&topic.groups),
        retained: topic.retained,
        undriven: None,
        untriaged: None,
        arrivals_per_hour: topic.arrivals_per_hour,
        oldest_at: topic.oldest_at.map(instant),
        newest_at: topic.newest_at.map(instant),
        causes: topic
            .causes
            .iter()
            .map(|cause| wire::CauseCount {
                cause: cause.cause.to_string(),
                count: cause.count,
                sampled: topic.sampled,
            })
            .collect(),
        read_at: topic.read_at.map(instant),
        reason: topic.reason.as_deref().map(str::to_owned),
        level: level(topic),
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct RecordsParams {
    partition: Option<i32>,
    from_offset: Option<i64>,
    limit: Option<usize>,
    q: Option<String>,
    cursor: Option<String>,
}

pub(crate) async fn records(
    State(state): State<ApiState>,
    Path((cluster, topic)): Path<(String, String)>,
    Query(params): Query<RecordsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cursor = params.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let query = dead::PageQuery {
        partition: params.partition,
        from_offset: params.from_offset,
        limit: params.limit.unwrap_or(DEFAULT_RECORDS).clamp(1, 500),
        text: params.q.filter(|text| !text.is_empty()),
        cursor: cursor.map(str::parse).transpose().map_err(read_error)?,
    };
    let page = state
        .dead_letters
        .records(&cluster, &topic, query)
        .await
        .map_err(read_error)?;
    let cluster_id = state.dead_letters.cluster_id(&cluster);
    let lookup = Lookup(&state.store);
    let mut records = Vec::with_capacity(page.records.len());
    for record in &page.records {
        let trace = dead::trace_of(record, cluster_id.as_deref(), &lookup)
            .await
            .map_err(ApiError::internal("finding a record's trace"))?;
        records.push(record_to_wire(record, trace));
    }
    let retained = state
        .dead_letters
        .topic(&cluster, &topic)
        .and_then(|topic| topic.retained);
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    json(
        &headers,
        &wire::Records {
            records,
            next_cursor,
            retained,
        },
    )
}

fn read_error(error: dead::ReadError) -> ApiError {
    match error {
        dead::ReadError::BadCursor
        | dead::ReadError::OffsetWithoutPartition
        | dead::ReadError::NoPartition { .. } => ApiError::BadRequest(error.to_string()),
        dead::ReadError::NotDeadLetters { cluster, topic } => not_found(&cluster, &topic),
        other => ApiError::Unavailable(other.to_string()),
    }
}

/// The store, as the dead letters' room asks it.
struct Lookup<'a>(&'a Store);

impl dead::SpanLookup for Lookup<'_> {
    type Error = StoreError;

    async fn by_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Vec<Span>, StoreError> {
        let found = self
            .0
            .by_offset(topic, partition, offset, JOIN_LIMIT)
            .await?;
        Ok(found.spans.into_iter().map(|stored| stored.span).collect())
    }

    async fn has_trace(&self, trace: TraceId) -> Result<bool, StoreError> {
        Ok(!self.0.trace(trace, 1).await?.spans.is_empty())
    }
}

fn record_to_wire(record: &dead::DeadLetter, trace: Option<dead::RecordTrace>) -> wire::Record {
    let payload = |payload: &dead::Payload| wire::Payload {
        encoding: payload.encoding.as_str().to_owned(),
        text: payload.text.clone(),
        bytes: payload.bytes,
        truncated: payload.truncated,
    };
    let analysis = &record.analysis;
    wire::Record {
        partition: record.partition,
        offset: record.offset,
        timestamp: record.timestamp.map(instant),
        timestamp_type: record.timestamp_type.map(str::to_owned),
        key: record.key.as_ref().map(payload),
        value: record.value.as_ref().map(payload),
        headers: record
            .headers
            .iter()
            .map(|header| wire::Header {
                name: header.name.clone(),
                encoding: header.encoding.as_str().to_owned(),
                text: header.text.clone(),
            })
            .collect(),
        framework: analysis
            .framework
            .map(|framework| framework.as_str().to_owned()),
        origin: analysis.origin.as_ref().map(|origin| wire::Origin {
            topic: origin.topic.clone(),
            partition: origin.partition,
            offset: origin.offset,
            timestamp: origin.timestamp.map(instant),
            group: origin.group.clone(),
            attempts: analysis.attempts,
        }),
        error: analysis.error.as_ref().map(|error| wire::RecordError {
            cause: error.cause.clone(),
            class: error.class.clone(),
            message: error.message.clone(),
            stack_trace: error.stack_trace.clone(),
        }),
        trace: trace.map(|trace| wire::RecordTrace {
            trace_id: trace.trace_id.to_hex(),
            span_id: trace.span_id.map(|span| span.to_hex()),
            found_by: trace.found_by.as_str().to_owned(),
            stored: trace.stored,
        }),
    }
}
