//! The OpenAPI document, generated from the wire types and the table of routes.

use axum::response::{IntoResponse, Response};
use highwater_shared as wire;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use crate::routes::{OPERATIONS, Operation};

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

/// Parameters without which there is no answer.
const NEEDED: &[&str] = &["id", "value"];
/// Parameters that are whole numbers; every other one is text.
const NUMBERS: &[&str] = &["hops", "limit", "partition", "from_offset"];
/// The name of the one way to sign in.
const TOKEN: &str = "token";

pub(crate) async fn document() -> Response {
    axum::Json(build()).into_response()
}

fn build() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for operation in OPERATIONS {
        paths = paths.path(
            operation.path,
            PathItem::new(operation.method.clone(), describe(operation)),
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
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.description = Some(
        "What --auth-token says. Asked for only when one is set; a browser may sign in with a cookie instead."
            .to_owned(),
    );
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(TOKEN, SecurityScheme::Http(token))
        .build();
    // Without a token set, nothing is asked for: hence the empty alternative.
    let security = [
        SecurityRequirement::default(),
        SecurityRequirement::new(TOKEN, [] as [&str; 0]),
    ];
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .security(Some(security))
        .components(Some(components))
        .build()
}

/// What generated clients call an operation: `topologyEdge` for `/api/v1/topology/edge`, `groupsByClusterByGroup` for
/// a path with two parameters, `postRules` for what is not a question.
fn operation_id(method: &HttpMethod, path: &str) -> String {
    let mut id = String::from(match method {
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        _ => "",
    });
    for part in path.trim_start_matches("/api/v1/").split('/') {
        let (by, word) = match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(parameter) => ("By", parameter),
            None => ("", part),
        };
        id.push_str(by);
        for word in word.split(|c: char| !c.is_ascii_alphanumeric()) {
            let (first, rest) = word.split_at(word.len().min(1));
            if id.is_empty() {
                id.push_str(first);
            } else {
                id.push_str(&first.to_ascii_uppercase());
            }
            id.push_str(rest);
        }
    }
    id
}

fn describe(operation: &Operation) -> utoipa::openapi::path::Operation {
    let text = || Some(String::schema());
    let of = |name: &str| {
        Some(if NUMBERS.contains(&name) {
            u64::schema()
        } else {
            String::schema()
        })
    };
    let mut builder = OperationBuilder::new()
        .operation_id(Some(operation_id(&operation.method, operation.path)))
        .summary(Some(operation.summary));
    if let Some(request) = operation.request {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(request)))
            .build();
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True))
            .build();
        builder = builder.request_body(Some(body));
    }
    for segment in operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    {
        let parameter = ParameterBuilder::new()
            .name(segment)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(of(segment));
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
            .required(if NEEDED.contains(name) {
                Required::True
            } else {
                Required::False
            })
            .description(said)
            .schema(of(name));
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
    };
    let mut right = answer(operation.schema, kind, operation.summary);
    if operation.query.contains(&"format") {
        for kind in ["text/vnd.graphviz", "text/plain"] {
            right = right.content(kind, ContentBuilder::new().schema(text()).build());
        }
    }
    builder
        .response("200", right)
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
        wire::lag::Changes,
        wire::lag::GroupMembers,
        wire::lag::Topics,
        wire::search::SearchResults,
        wire::traces::Traces,
        wire::traces::Trace,
        wire::traces::Journeys,
        wire::traces::Journey,
        wire::dead_letters::DeadLetters,
        wire::dead_letters::Records,
        wire::alerts::Alerts,
        wire::alerts::AlertSummary,
        wire::alerts::AlertHistory,
        wire::alerts::ActRequest,
        wire::alerts::Rules,
        wire::alerts::TrialRequest,
        wire::alerts::Trial,
        wire::alerts::EnabledRequest,
        wire::alerts::Silences,
        wire::alerts::SilenceRequest,
        wire::alerts::Channels,
        wire::alerts::TestResult,
        wire::status::Brokers,
        wire::status::Status,
        wire::Change,
        wire::problem::Problem,
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::build;
    use crate::routes::OPERATIONS;

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
