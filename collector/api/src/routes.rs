//! The paths of `/api/v1`: router and OpenAPI document are made of this one table, so that no path is served that the
//! document does not name, and none is named that is not served.

use axum::Router;
use axum::routing::{MethodRouter, get};

use crate::{
    ApiState, dead_letters, events, journeys, lag, lag_history, search, status, topology, traces,
};

/// A path of the API: what it is for, its query parameters, the schema of its answer.
pub(crate) struct Operation {
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [&'static str],
    pub(crate) schema: &'static str,
    handler: fn() -> MethodRouter<ApiState>,
}

const MAP: &[&str] = &["from", "to", "env", "cluster", "focus", "hops"];

pub(crate) const OPERATIONS: &[Operation] = &[
    op(
        "/api/v1/topology",
        "The flow map",
        &["from", "to", "env", "cluster", "focus", "hops", "format"],
        "Topology",
        || get(topology::topology),
    ),
    op(
        "/api/v1/topology/layout",
        "Where the map's nodes and edges stand",
        MAP,
        "Layout",
        || get(topology::layout),
    ),
    op(
        "/api/v1/topology/edge",
        "One edge: histogram and example traces",
        &["id", "from", "to", "env", "cluster"],
        "EdgeDetail",
        || get(topology::edge),
    ),
    op(
        "/api/v1/groups",
        "Consumer groups, worst first",
        &["from", "to", "env", "cluster"],
        "Groups",
        || get(lag::groups),
    ),
    op(
        "/api/v1/groups/{cluster}/{group}",
        "One group with its partitions",
        &["from", "to"],
        "GroupDetail",
        || get(lag::group),
    ),
    op(
        "/api/v1/groups/{cluster}/{group}/history",
        "Lag and process time over the range",
        &["from", "to"],
        "GroupHistory",
        || get(lag_history::history),
    ),
    op(
        "/api/v1/groups/{cluster}/{group}/members",
        "Members and what they read",
        &[],
        "GroupMembers",
        || get(lag::members),
    ),
    op(
        "/api/v1/topics",
        "Topics",
        &["env", "cluster"],
        "Topics",
        || get(lag::topics),
    ),
    op(
        "/api/v1/topics/{cluster}/{topic}",
        "One topic",
        &[],
        "TopicSummary",
        || get(lag::topic),
    ),
    op(
        "/api/v1/search",
        "The one search box",
        &["q", "env", "from", "to"],
        "SearchResults",
        || get(search::search),
    ),
    op(
        "/api/v1/traces",
        "Traces that match an expression, newest first",
        &["q", "from", "to", "limit", "cursor"],
        "Traces",
        || get(traces::traces),
    ),
    op(
        "/api/v1/traces/{trace_id}",
        "One trace, with its links both ways",
        &[],
        "Trace",
        || get(traces::trace),
    ),
    op(
        "/api/v1/journeys",
        "Keys under which a correlation value was found",
        &["value"],
        "Journeys",
        || get(journeys::find),
    ),
    op(
        "/api/v1/journeys/{key}/{value}",
        "One journey over all its traces",
        &[],
        "Journey",
        || get(journeys::journey),
    ),
    op(
        "/api/v1/dead-letters",
        "Dead-letter topics, deepest first",
        &["cluster"],
        "DeadLetters",
        || get(dead_letters::topics),
    ),
    op(
        "/api/v1/dead-letters/{cluster}/{topic}",
        "One dead-letter topic",
        &[],
        "DeadLetterTopic",
        || get(dead_letters::topic),
    ),
    op(
        "/api/v1/dead-letters/{cluster}/{topic}/records",
        "Its records, newest first, decoded",
        &["partition", "from_offset", "limit", "q", "cursor"],
        "Records",
        || get(dead_letters::records),
    ),
    op(
        "/api/v1/brokers",
        "State of each cluster",
        &[],
        "Brokers",
        || get(status::brokers),
    ),
    op(
        "/api/v1/status",
        "Ingest, store, versions",
        &[],
        "Status",
        || get(status::status),
    ),
    op(
        "/api/v1/events",
        "Server-sent events: what changed",
        &[],
        "Change",
        || get(events::stream),
    ),
];

const fn op(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    schema: &'static str,
    handler: fn() -> MethodRouter<ApiState>,
) -> Operation {
    Operation {
        path,
        summary,
        query,
        schema,
        handler,
    }
}

/// All of them, each under its whole path.
pub(crate) fn router() -> Router<ApiState> {
    OPERATIONS.iter().fold(Router::new(), |router, operation| {
        router.route(operation.path, (operation.handler)())
    })
}
