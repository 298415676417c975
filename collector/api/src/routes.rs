//! The paths of `/api/v1`: router and OpenAPI document are made of this one table, so that no path is served that the
//! document does not name, and none is named that is not served.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};
use utoipa::openapi::path::HttpMethod;

use crate::{
    ApiState, alerts, changes, channels, dead_letters, events, journeys, lag, lag_history, rules,
    search, silences, status, topology, traces,
};

/// A path of the API: what it is for, its query parameters, the schemas of its question and its answer.
pub(crate) struct Operation {
    pub(crate) method: HttpMethod,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [&'static str],
    /// What is sent with it; `None` where nothing is.
    pub(crate) request: Option<&'static str>,
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
        "/api/v1/changes",
        "Deploys, rebalances, offsets that went back and alerts, newest first",
        &["from", "to", "env", "cluster", "limit"],
        "Changes",
        || get(changes::changes),
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
        "/api/v1/alerts",
        "What fires, what is about to, and what was resolved within the hour",
        &["cluster"],
        "Alerts",
        || get(alerts::alerts),
    ),
    op(
        "/api/v1/alerts/summary",
        "How many alerts fire",
        &[],
        "AlertSummary",
        || get(alerts::summary),
    ),
    op(
        "/api/v1/alerts/history",
        "What happened to alerts, newest first",
        &["from", "to", "limit", "cursor"],
        "AlertHistory",
        || get(alerts::history),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/alerts/{id}/acknowledge",
        "Somebody has seen it: no reminders",
        Some("ActRequest"),
        "Alert",
        || post(alerts::acknowledge),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/alerts/{id}/unacknowledge",
        "Takes that back",
        Some("ActRequest"),
        "Alert",
        || post(alerts::unacknowledge),
    ),
    op(
        "/api/v1/rules",
        "The alert rules, and what a rule can watch",
        &[],
        "Rules",
        || get(rules::rules),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/rules",
        "Saves a rule of the form: a new one, or one that replaces that of the file",
        Some("RuleSpec"),
        "Rule",
        || post(rules::save),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/rules/try",
        "Would it have fired? On stored history",
        Some("TrialRequest"),
        "Trial",
        || post(rules::attempt),
    ),
    act(
        HttpMethod::Delete,
        "/api/v1/rules/{id}",
        "Removes a rule of the form; one of the file below it counts again",
        None,
        "Rules",
        || delete(rules::remove),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/rules/{id}/enabled",
        "Turns a rule on or off",
        Some("EnabledRequest"),
        "Rule",
        || post(rules::enable),
    ),
    op(
        "/api/v1/silences",
        "Silences and maintenance windows",
        &[],
        "Silences",
        || get(silences::silences),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/silences",
        "Keeps alerts from being told for a while",
        Some("SilenceRequest"),
        "Silence",
        || post(silences::silence),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/silences/{id}/end",
        "Ends a silence now",
        Some("ActRequest"),
        "Silence",
        || post(silences::end),
    ),
    op(
        "/api/v1/channels",
        "Where alerts are told, and what was delivered",
        &[],
        "Channels",
        || get(channels::channels),
    ),
    act(
        HttpMethod::Post,
        "/api/v1/channels/{name}/test",
        "Sends a test message",
        None,
        "TestResult",
        || post(channels::test),
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
        method: HttpMethod::Get,
        path,
        summary,
        query,
        request: None,
        schema,
        handler,
    }
}

/// An operation that changes something.
const fn act(
    method: HttpMethod,
    path: &'static str,
    summary: &'static str,
    request: Option<&'static str>,
    schema: &'static str,
    handler: fn() -> MethodRouter<ApiState>,
) -> Operation {
    Operation {
        method,
        path,
        summary,
        query: &[],
        request,
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
