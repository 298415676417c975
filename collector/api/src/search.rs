//! The one box: traces, journeys, groups, topics, services, dead letters.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_flow as flow;
use highwater_model::{Span, TraceId, UnixNanos};
use highwater_shared::search::{SearchHit, SearchResults};
use highwater_store::SpanReader;
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;
use crate::range::RangeParams;
use crate::respond::json;

/// Of a kind.
const MOST: usize = 5;
const LONGEST_QUERY: usize = 256;
/// Spans of a trace looked at to find the one it began with.
const TRACE_SPANS: usize = 1_000;

#[derive(Debug, Deserialize)]
pub(crate) struct SearchParams {
    q: Option<String>,
    env: Option<String>,
    #[serde(flatten)]
    range: RangeParams,
}

pub(crate) async fn search(
    State(state): State<ApiState>,
    Query(params): Query<SearchParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let q = params.q.unwrap_or_default().trim().to_owned();
    if q.chars().count() > LONGEST_QUERY {
        return Err(ApiError::BadRequest(format!(
            "q is longer than {LONGEST_QUERY} characters"
        )));
    }
    let mut hits = Vec::new();
    if !q.is_empty() {
        trace(&state, &q, &mut hits).await?;
        journeys(&state, &q, &mut hits).await?;
        let range = params.range.resolve(state.now())?;
        named(
            &state,
            &q,
            range.from,
            range.to,
            state.environment(params.env.as_deref()),
            &mut hits,
        )
        .await?;
        // A single exact match is first and chosen; among equals the kinds keep their order.
        hits.sort_by_key(|hit: &SearchHit| !hit.exact);
    }
    json(&headers, &SearchResults { q, hits })
}

async fn trace(state: &ApiState, q: &str, hits: &mut Vec<SearchHit>) -> Result<(), ApiError> {
    let Some(id) = TraceId::from_hex(q) else {
        return Ok(());
    };
    let stored = state
        .store
        .trace(id, TRACE_SPANS)
        .await
        .map_err(ApiError::internal("looking the trace up"))?;
    if !stored.spans.is_empty() {
        let spans: Vec<&Span> = stored.spans.iter().map(|stored| &stored.span).collect();
        let trace = flow::trace::summarise(&spans);
        hits.push(SearchHit {
            kind: "trace".to_owned(),
            title: id.to_hex(),
            subtitle: format!("{} {}", trace.service, trace.operation),
            href: format!("/traces/{id}"),
            exact: true,
        });
    }
    Ok(())
}

async fn journeys(state: &ApiState, q: &str, hits: &mut Vec<SearchHit>) -> Result<(), ApiError> {
    for key in crate::journeys::keys_of(state, q)
        .await?
        .into_iter()
        .take(MOST)
    {
        hits.push(SearchHit {
            kind: "journey".to_owned(),
            title: q.to_owned(),
            subtitle: format!("Journey by {key}"),
            href: format!("/journeys/{}/{}", encode(&key), encode(q)),
            exact: true,
        });
    }
    Ok(())
}

/// Groups, topics, services and dead-letter topics whose name contains the query.
async fn named(
    state: &ApiState,
    q: &str,
    from: UnixNanos,
    to: UnixNanos,
    environment: String,
    hits: &mut Vec<SearchHit>,
) -> Result<(), ApiError> {
    let lower = q.to_lowercase();
    let fits = |name: &str| name.to_lowercase().contains(&lower);
    let exact = |name: &str| name.to_lowercase() == lower;
    {
        let lag = state.lag.read();
        let groups = lag
            .groups()
            .iter()
            .filter(|((_, group), _)| fits(group))
            .take(MOST);
        hits.extend(groups.map(|((cluster, group), lag)| SearchHit {
            kind: "group".to_owned(),
            title: group.to_string(),
            subtitle: lag.reason.clone(),
            href: format!("/lag/{}/{}", encode(cluster), encode(group)),
            exact: exact(group),
        }));
    }
    let query = flow::TopologyQuery {
        from,
        to,
        environment,
        ..Default::default()
    };
    let topology = state.map(query).await?;
    let nodes = |wanted: fn(flow::NodeKind) -> bool| {
        topology.nodes.iter().filter(move |node| wanted(node.kind))
    };
    let mut on_map =
        |kind: &str, wanted: fn(flow::NodeKind) -> bool, subtitle: fn(&flow::Node) -> String| {
            hits.extend(
                nodes(wanted)
                    .filter(|node| fits(&node.name))
                    .take(MOST)
                    .map(|node| SearchHit {
                        kind: kind.to_owned(),
                        title: node.name.to_string(),
                        subtitle: subtitle(node),
                        href: format!("/map?sel={}", encode(&node.id)),
                        exact: exact(&node.name),
                    }),
            );
        };
    let on_cluster = |node: &flow::Node| {
        format!(
            "on {}",
            node.cluster.as_deref().unwrap_or("an unknown cluster")
        )
    };
    on_map(
        "topic",
        |kind| matches!(kind, flow::NodeKind::Topic | flow::NodeKind::RetryTopic),
        on_cluster,
    );
    on_map(
        "service",
        |kind| kind == flow::NodeKind::Service,
        |node| {
            node.namespace.as_deref().map_or_else(
                || "Service".to_owned(),
                |namespace| format!("Service in {namespace}"),
            )
        },
    );
    let dead = state.dead_letters.topics();
    hits.extend(
        dead.iter()
            .filter(|topic| fits(&topic.topic))
            .take(MOST)
            .map(|topic| SearchHit {
                kind: "dead_letter_topic".to_owned(),
                title: topic.topic.to_string(),
                subtitle: match topic.retained {
                    Some(1) => format!("1 dead letter on {}", topic.cluster),
                    Some(retained) => format!("{retained} dead letters on {}", topic.cluster),
                    None => format!("Depth unknown, on {}", topic.cluster),
                },
                href: format!(
                    "/dead-letters/{}/{}",
                    encode(&topic.cluster),
                    encode(&topic.topic)
                ),
                exact: exact(&topic.topic),
            }),
    );
    Ok(())
}

/// Percent-encodes a path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(byte as char);
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
}
