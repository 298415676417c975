//! The OpenAPI document, generated from the wire types and one table of paths.

use axum::response::{IntoResponse, Response};
use highwater_shared as wire;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

/// A path of the API: what it is for, its query parameters, the schema of its answer.
struct Operation {
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    schema: &'static str,
}

const RANGE: &[(&str, &str)] = &[
    (
        "from",
        "Start of the range: RFC 3339, or relative such as now-1h. Default now-1h.",
    ),
    ("to", "End of the range. Default now."),
    (
        "env",
        "The environment; the first one configured when left out.",
    ),
    ("cluster", "Clusters, by comma; all when left out."),
    ("focus", "A node id: only what lies around it."),
    ("hops", "How far around, 1 to 5. Default 1."),
    ("format", "json, dot or mermaid."),
    ("id", "The edge's id."),
    ("q", "What to search for."),
    ("limit", "How many, at most."),
    ("cursor", "next_cursor of the page before."),
    ("partition", "One partition only."),
    (
        "from_offset",
        "Begin at this offset of the partition and go back.",
    ),
    ("value", "The correlation value."),
];

const MAP: &[&str] = &["from", "to", "env", "cluster", "focus", "hops"];

const OPERATIONS: &[Operation] = &[
    op(
        "/api/v1/topology",
        "The flow map",
        &["from", "to", "env", "cluster", "focus", "hops", "format"],
        "Topology",
    ),
    op(
        "/api/v1/topology/layout",
        "Where the map's nodes and edges stand",
        MAP,
        "Layout",
    ),
    op(
        "/api/v1/topology/edge",
        "One edge: histogram and example traces",
        &["id", "from", "to", "env", "cluster"],
        "EdgeDetail",
    ),
    op(
        "/api/v1/groups",
        "Consumer groups, worst first",
        &["from", "to", "env", "cluster"],
        "Groups",
    ),
    op(
        "/api/v1/groups/{cluster}/{group}",
        "One group with its partitions",
        &["from", "to"],
        "GroupDetail",
    ),
    op(
        "/api/v1/groups/{cluster}/{group}/history",
        "Lag and process time over the range",
        &["from", "to"],
        "GroupHistory",
    ),
    op(
        "/api/v1/groups/{cluster}/{group}/members",
        "Members and what they read",
        &[],
        "GroupMembers",
    ),
    op("/api/v1/topics", "Topics", &["env", "cluster"], "Topics"),
    op(
        "/api/v1/topics/{cluster}/{topic}",
        "One topic",
        &[],
        "TopicSummary",
    ),
    op(
        "/api/v1/search",
        "The one search box",
        &["q", "env", "from", "to"],
        "SearchResults",
    ),
    op(
        "/api/v1/traces",
        "Traces that match an expression, newest first",
        &["q", "from", "to", "limit", "cursor"],
        "Traces",
    ),
    op(
        "/api/v1/traces/{trace_id}",
        "One trace, with its links both ways",
        &[],
        "Trace",
    ),
    op(
        "/api/v1/journeys",
        "Keys under which a correlation value was found",
        &["value"],
        "Journeys",
    ),
    op(
        "/api/v1/journeys/{key}/{value}",
        "One journey over all its traces",
        &[],
        "Journey",
    ),
    op(
        "/api/v1/dead-letters",
        "Dead-letter topics, deepest first",
        &["cluster"],
        "DeadLetters",
    ),
    op(
        "/api/v1/dead-letters/{cluster}/{topic}",
        "One dead-letter topic",
        &[],
        "DeadLetterTopic",
    ),
    op(
        "/api/v1/dead-letters/{cluster}/{topic}/records",
        "Its records, newest first, decoded",
        &["partition", "from_offset", "limit", "q", "cursor"],
        "Records",
    ),
    op("/api/v1/brokers", "State of each cluster", &[], "Brokers"),
    op("/api/v1/status", "Ingest, store, versions", &[], "Status"),
    op(
        "/api/v1/events",
        "Server-sent events: what changed",
        &[],
        "Change",
    ),
];

const fn op(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    schema: &'static str,
) -> Operation {
    Operation {
        path,
        summary,
        query,
        schema,
    }
}

pub(crate) async fn document() -> Response {
    axum::Json(build()).into_response()
}

fn build() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for operation in OPERATIONS {
        paths = paths.path(
            operation.path,
            PathItem::new(HttpMethod::Get, describe(operation)),
        );
    }
    let mut schemas = Vec::new();
    roots(&mut schemas);
    let info = InfoBuilder::new()
        .title("Highwater")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Durations are integers with the unit in the name. Unknown is null, never 0. Errors are RFC 9457 problem documents.",
        ))
        .build();
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components))
        .build()
}

fn describe(operation: &Operation) -> utoipa::openapi::path::Operation {
    let text = || Some(String::schema());
    let mut builder = OperationBuilder::new().summary(Some(operation.summary));
    for segment in operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    {
        let parameter = ParameterBuilder::new()
            .name(segment)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(text());
        builder = builder.parameter(parameter);
    }
    for name in operation.query {
        let said = RANGE
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, said)| *said);
        let parameter = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(said)
            .schema(text());
        builder = builder.parameter(parameter);
    }
    let kind = if operation.path.ends_with("/events") {
        "text/event-stream"
    } else {
        "application/json"
    };
    let answer = |schema: &str, kind: &str, said: &str| {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(schema)))
            .build();
        ResponseBuilder::new()
            .description(said)
            .content(kind, content)
            .build()
    };
    builder
        .response("200", answer(operation.schema, kind, operation.summary))
        .response(
            "default",
            answer(
                "Problem",
                "application/problem+json",
                "What was wrong and what to do",
            ),
        )
        .build()
}

/// The answers' schemas and all they refer to.
fn roots(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    macro_rules! add {
        ($($root:ty),* $(,)?) => {$(
            schemas.push((<$root>::name().into_owned(), <$root>::schema()));
            <$root as ToSchema>::schemas(schemas);
        )*};
    }
    add!(
        wire::topology::Topology,
        wire::topology::Layout,
        wire::topology::EdgeDetail,
        wire::lag::Groups,
        wire::lag::GroupDetail,
        wire::lag::GroupHistory,
        wire::lag::GroupMembers,
        wire::lag::Topics,
        wire::search::SearchResults,
        wire::traces::Traces,
        wire::traces::Trace,
        wire::traces::Journeys,
        wire::traces::Journey,
        wire::dead_letters::DeadLetters,
        wire::dead_letters::Records,
        wire::status::Brokers,
        wire::status::Status,
        wire::Change,
        wire::problem::Problem,
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{OPERATIONS, build};

    #[test]
    fn every_answer_has_its_schema_and_nothing_refers_to_nowhere() {
        let document = serde_json::to_value(build()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for operation in OPERATIONS {
            assert!(
                schemas.contains_key(operation.schema),
                "{}",
                operation.schema
            );
        }
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                schemas.contains_key(name),
                "{name} is referred to and not there"
            );
        }
    }
}
