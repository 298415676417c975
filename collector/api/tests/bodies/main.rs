//! Every answer of the API as it was last reviewed: a real capture and polls made by hand behind a clock that stands
//! still. A body that changes changes a file under `tests/snapshots`, where it is read like code.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p highwater-api --test bodies`, then read the diff.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod document;
mod facts;
mod records;
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::{Request, StatusCode, header};
use document::Document;
use serde_json::Value;
use world::{Answer, TOKEN, World};

/// A question and the name of the file that keeps its answer.
type Case = (&'static str, &'static str);

const MAP: &[Case] = &[
    ("topology", "/api/v1/topology"),
    ("topology-dot", "/api/v1/topology?format=dot"),
    ("topology-mermaid", "/api/v1/topology?format=mermaid"),
    (
        "topology-around-a-group",
        "/api/v1/topology?focus=group:kafka/spring-micrometer.receipts&hops=1&from=now-5m",
    ),
    (
        "topology-of-another-environment",
        "/api/v1/topology?env=staging",
    ),
    ("layout", "/api/v1/topology/layout"),
    (
        "edge-delivers",
        "/api/v1/topology/edge?id=delivers%20topic:kafka/spring-micrometer.orders%3Egroup:kafka/spring-micrometer.fraud",
    ),
    (
        "edge-dead-letters",
        "/api/v1/topology/edge?id=dead_letters%20group:kafka/spring-micrometer.fraud%3Etopic:kafka/spring-micrometer.orders-dlt",
    ),
    (
        "edge-known-from-offsets",
        "/api/v1/topology/edge?id=delivers%20topic:kafka/shipments%3Egroup:kafka/shipping",
    ),
];

const LAG: &[Case] = &[
    ("groups", "/api/v1/groups?from=now-5m"),
    ("changes", "/api/v1/changes"),
    ("changes-newest", "/api/v1/changes?limit=1&cluster=kafka"),
    (
        "group-behind",
        "/api/v1/groups/kafka/spring-micrometer.receipts?from=now-5m",
    ),
    (
        "group-ok",
        "/api/v1/groups/kafka/spring-micrometer.fraud?from=now-5m",
    ),
    ("group-stopped", "/api/v1/groups/kafka/shipping?from=now-5m"),
    (
        "group-partly-unknown",
        "/api/v1/groups/kafka/checkout?from=now-5m",
    ),
    ("group-unknown", "/api/v1/groups/kafka/audit?from=now-5m"),
    (
        "history",
        "/api/v1/groups/kafka/spring-micrometer.receipts/history?from=now-2m",
    ),
    (
        "history-unknown",
        "/api/v1/groups/kafka/checkout/history?from=now-1m",
    ),
    (
        "members",
        "/api/v1/groups/kafka/spring-micrometer.receipts/members",
    ),
    ("members-unknown", "/api/v1/groups/kafka/audit/members"),
    ("topics", "/api/v1/topics"),
    ("topic", "/api/v1/topics/kafka/shipments"),
    ("topic-unknown", "/api/v1/topics/kafka/carts"),
];

/// The trace of an order that was tried three times and given up.
const TRACES: &[Case] = &[
    ("traces", "/api/v1/traces?limit=3"),
    (
        "traces-that-match",
        "/api/v1/traces?limit=2&q=topic%20%3D%20spring-micrometer.orders-dlt",
    ),
    ("traces-none", "/api/v1/traces?q=service%20%3D%20nobody"),
    ("trace", "/api/v1/traces/4de09004a55182932dae33cabe04d42d"),
    (
        "trace-of-one-span",
        "/api/v1/traces/5b8efff798038103d269b633813fc60c",
    ),
    ("journeys", "/api/v1/journeys?value=ORD-0020"),
    ("journeys-none", "/api/v1/journeys?value=nothing"),
    ("journey", "/api/v1/journeys/correlation/ORD-0020"),
    ("search-by-name", "/api/v1/search?q=fraud"),
    (
        "search-by-trace",
        "/api/v1/search?q=4de09004a55182932dae33cabe04d42d",
    ),
    ("search-by-correlation", "/api/v1/search?q=ORD-0020"),
    ("search-dead-letters", "/api/v1/search?q=dlt"),
    ("search-nothing", "/api/v1/search?q="),
];

const DEAD_LETTERS: &[Case] = &[
    ("dead-letters", "/api/v1/dead-letters"),
    (
        "dead-letter-topic",
        "/api/v1/dead-letters/kafka/spring-micrometer.orders-dlt",
    ),
    (
        "records",
        "/api/v1/dead-letters/kafka/spring-micrometer.orders-dlt/records?limit=2",
    ),
    (
        "records-of-a-partition",
        "/api/v1/dead-letters/kafka/spring-micrometer.orders-dlt/records?partition=2&from_offset=0",
    ),
];

const ALERTS: &[Case] = &[
    ("alerts", "/api/v1/alerts"),
    ("alerts-summary", "/api/v1/alerts/summary"),
    ("alerts-history", "/api/v1/alerts/history?limit=3"),
    ("rules", "/api/v1/rules"),
    ("silences", "/api/v1/silences"),
    ("channels", "/api/v1/channels"),
];

/// Method and body of what is done to alerts, in this order, on one collector; `ALERT` is the id of the first alert,
/// `SILENCE` that of the last silence.
const ACTS: &[(Case, &str, &str)] = &[
    (
        ("act-acknowledge", "/api/v1/alerts/ALERT/acknowledge"),
        "post",
        r#"{"by": "ada"}"#,
    ),
    (
        ("act-unacknowledge", "/api/v1/alerts/ALERT/unacknowledge"),
        "post",
        r#"{"by": "grace"}"#,
    ),
    (
        ("act-save-rule", "/api/v1/rules"),
        "post",
        r#"{"id": "receipts", "watch": "offset_lag", "over": "1k", "for": "1m", "group": ["*.receipts"]}"#,
    ),
    (
        ("act-disable-rule", "/api/v1/rules/receipts/enabled"),
        "post",
        r#"{"enabled": false}"#,
    ),
    (
        ("act-try-rule", "/api/v1/rules/try"),
        "post",
        r#"{"spec": {"id": "receipts", "watch": "offset_lag", "over": "5", "for": "30s", "group": ["*.receipts"]}, "hours": 1}"#,
    ),
    (
        ("act-try-without-history", "/api/v1/rules/try"),
        "post",
        r#"{"spec": {"id": "new", "watch": "dead_letters_new", "over": "5"}, "hours": 1}"#,
    ),
    (("act-remove-rule", "/api/v1/rules/receipts"), "delete", ""),
    (
        ("act-silence", "/api/v1/silences"),
        "post",
        r#"{"matchers": {"group": "shipping"}, "ends": "2026-11-21T06:00:00.000000000Z", "author": "ada", "comment": "a rehearsal"}"#,
    ),
    (
        ("act-end-silence", "/api/v1/silences/SILENCE/end"),
        "post",
        r#"{"by": "grace"}"#,
    ),
    (("act-test", "/api/v1/channels/oncall/test"), "post", ""),
];

/// What is wrong with something to be done.
const WRONG_ACTS: &[(Case, &str, &str, u16)] = &[
    (
        ("problem-rule", "/api/v1/rules"),
        "post",
        r#"{"id": "receipts", "watch": "offset_lag", "over": "soon"}"#,
        400,
    ),
    (
        ("problem-built-in-rule", "/api/v1/rules/time-lag"),
        "delete",
        "",
        404,
    ),
    (
        ("problem-no-name", "/api/v1/alerts/ALERT/acknowledge"),
        "post",
        r#"{"by": ""}"#,
        400,
    ),
    (
        ("problem-no-alert", "/api/v1/alerts/0/acknowledge"),
        "post",
        r#"{"by": "ada"}"#,
        404,
    ),
    (
        ("problem-silence-of-all", "/api/v1/silences"),
        "post",
        r#"{"matchers": {}, "ends": "2026-11-21T06:00:00.000000000Z", "author": "ada", "comment": ""}"#,
        400,
    ),
    (
        ("problem-no-channel", "/api/v1/channels/nobody/test"),
        "post",
        "",
        404,
    ),
];

const HEALTH: &[Case] = &[
    ("brokers", "/api/v1/brokers"),
    ("status", "/api/v1/status"),
    ("metrics", "/metrics"),
    ("healthz", "/healthz"),
    ("readyz", "/readyz"),
    ("openapi", "/api/openapi.json"),
];

const EVENTS: Case = ("events", "/api/v1/events");

const EMPTY: &[Case] = &[
    ("empty-topology", "/api/v1/topology"),
    ("empty-layout", "/api/v1/topology/layout"),
    ("empty-groups", "/api/v1/groups"),
    ("empty-changes", "/api/v1/changes"),
    ("empty-topics", "/api/v1/topics"),
    ("empty-traces", "/api/v1/traces"),
    ("empty-dead-letters", "/api/v1/dead-letters"),
    ("empty-brokers", "/api/v1/brokers"),
    ("empty-status", "/api/v1/status"),
    ("empty-metrics", "/metrics"),
];

/// What is wrong with a question, and the status that says so.
const PROBLEMS: &[(Case, u16)] = &[
    (("problem-from", "/api/v1/traces?from=yesterday"), 400),
    (("problem-range", "/api/v1/groups?from=now&to=now-1h"), 400),
    (("problem-hops", "/api/v1/topology?hops=9"), 400),
    (("problem-format", "/api/v1/topology?format=png"), 400),
    (("problem-edge-id", "/api/v1/topology/edge"), 400),
    (("problem-limit", "/api/v1/traces?limit=many"), 400),
    (("problem-q", "/api/v1/traces?q=duration%20%3E"), 400),
    (("problem-cursor", "/api/v1/traces?cursor=x"), 400),
    (("problem-trace-id", "/api/v1/traces/xyz"), 400),
    (("problem-value", "/api/v1/journeys"), 400),
    (
        (
            "problem-offset-without-partition",
            "/api/v1/dead-letters/kafka/spring-micrometer.orders-dlt/records?from_offset=1",
        ),
        400,
    ),
    (
        (
            "problem-no-edge",
            "/api/v1/topology/edge?id=delivers%20a%3Eb",
        ),
        404,
    ),
    (
        (
            "problem-no-trace",
            "/api/v1/traces/00000000000000000000000000000001",
        ),
        404,
    ),
    (("problem-no-group", "/api/v1/groups/kafka/nobody"), 404),
    (("problem-no-cluster", "/api/v1/groups/nowhere/nobody"), 404),
    (
        ("problem-unread-cluster", "/api/v1/groups/kafka-2/nobody"),
        404,
    ),
    (("problem-no-topic", "/api/v1/topics/kafka/nothing"), 404),
    (
        ("problem-no-journey", "/api/v1/journeys/correlation/nothing"),
        404,
    ),
    (
        (
            "problem-no-dead-letters",
            "/api/v1/dead-letters/kafka/shipments",
        ),
        404,
    ),
    (
        (
            "problem-no-source",
            "/api/v1/dead-letters/kafka-2/orders-dlt/records",
        ),
        404,
    ),
    (
        (
            "problem-broker-away",
            "/api/v1/dead-letters/kafka/carts-dlt/records",
        ),
        503,
    ),
];

/// A path that is none.
const NO_PATH: Case = ("problem-no-path", "/api/v1/nothing");
const WRONG_METHOD: Case = ("problem-method", "/api/v1/topology");
const FOREIGN_HOST: Case = ("problem-host", "/api/v1/topology");
const FOREIGN_ORIGIN: Case = ("problem-origin", "/api/v1/topology");
const NO_TOKEN: Case = ("problem-token", "/api/v1/topology");

/// What no test can hold still: measured, or of the machine.
const MEASURED: &[&str] = &[
    "/ingest/commit_p50_ns",
    "/ingest/commit_p99_ns",
    "/store/bytes",
    "/store/free_bytes",
];
const MEASURED_METRICS: &[&str] = &["highwater_commit_seconds{", "highwater_store_bytes "];

/// Compares with the file of this name; a JSON body is compared as JSON.
fn reviewed((name, path): (&str, &str), body: &Body) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(path);
    // Whether serde_json keeps the order of members depends on who else is built.
    settings.set_sort_maps(true);
    settings.bind(|| match body {
        Body::Json(value) => insta::assert_json_snapshot!(name, value),
        Body::Text(text) => insta::assert_snapshot!(name, text),
    });
}

enum Body {
    Json(Value),
    Text(String),
}

impl Body {
    /// Reads a body and covers what was measured.
    fn of(answer: &Answer) -> Self {
        if !answer.kind().contains("json") {
            return Self::Text(cover_metrics(&answer.body));
        }
        let mut value: Value = serde_json::from_str(&answer.body).unwrap();
        for pointer in MEASURED {
            match value.pointer_mut(pointer) {
                Some(number) if number.is_number() => *number = "[measured]".into(),
                _ => {}
            }
        }
        if value.get("openapi").is_some() {
            value["info"]["version"] = "[version]".into();
        }
        Self::Json(value)
    }
}

fn cover_metrics(text: &str) -> String {
    let cover = |line: &str| {
        let measured = MEASURED_METRICS.iter().any(|name| line.starts_with(name));
        match line.rsplit_once(' ') {
            Some((series, _)) if measured => format!("{series} [measured]\n"),
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(cover).collect()
}

/// Asks each, and holds the answer against the OpenAPI document and the reviewed file.
async fn review(world: &World, cases: &[Case]) {
    let mut document = document(world).await;
    for &(name, path) in cases {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        agrees(&mut document, path, &answer);
        reviewed((name, path), &Body::of(&answer));
    }
}

async fn document(world: &World) -> Document {
    Document::read(&world.get("/api/openapi.json").await.body)
}

/// The answer, and the question's parameters, are what the document says; what it does not name is not judged.
fn agrees(document: &mut Document, path: &str, answer: &Answer) {
    if document.path_of(path).is_none() {
        return;
    }
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let given: BTreeSet<&str> = query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .filter(|name| !name.is_empty())
        .collect();
    let named = document.parameters(path);
    for name in &given {
        assert!(
            named.contains_key(name),
            "{path}: the document does not name {name}"
        );
    }
    let complete = named
        .iter()
        .all(|(name, needed)| !needed || given.contains(name));
    assert!(
        complete || answer.status == StatusCode::BAD_REQUEST,
        "{path}: the document says that more is needed"
    );
    if let Some(schema) = document.schema_of(path, answer.status.as_u16(), answer.kind()) {
        let body = serde_json::from_str(&answer.body).unwrap();
        let wrong = document.refute(&schema, &body);
        assert_eq!(wrong, None, "{path} is not a {schema}");
    }
}

#[tokio::test]
async fn maps_are_as_reviewed() {
    review(&World::full().await, MAP).await;
}

#[tokio::test]
async fn lag_is_as_reviewed() {
    review(&World::full().await, LAG).await;
}

#[tokio::test]
async fn traces_and_journeys_are_as_reviewed() {
    review(&World::full().await, TRACES).await;
}

#[tokio::test]
async fn dead_letters_are_as_reviewed() {
    review(&World::full().await, DEAD_LETTERS).await;
}

#[tokio::test]
async fn alerts_are_as_reviewed() {
    review(&World::full().await, ALERTS).await;
}

#[tokio::test]
async fn what_is_done_to_alerts_is_as_reviewed() {
    let world = World::full().await;
    let mut document = document(&world).await;
    let alerts: Value = serde_json::from_str(&world.get("/api/v1/alerts").await.body).unwrap();
    let alert = alerts["alerts"][0]["id"].as_str().unwrap().to_owned();
    let mut silence = String::new();
    let acts = ACTS
        .iter()
        .map(|&(case, method, body)| (case, method, body, 200));
    for ((name, path), method, body, status) in acts.chain(WRONG_ACTS.iter().copied()) {
        let path = path.replace("ALERT", &alert).replace("SILENCE", &silence);
        let answer = world.act(&method.to_uppercase(), &path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        if let Some(schema) = document.request_of(method, &path) {
            let sent = serde_json::from_str(body).unwrap();
            assert_eq!(document.refute(&schema, &sent), None, "{path}");
        }
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        let schema = document
            .schema_of_act(method, &path, status, answer.kind())
            .unwrap();
        assert_eq!(
            document.refute(&schema, &said),
            None,
            "{path} is not a {schema}"
        );
        if name == "act-silence" {
            silence = said["id"].as_str().unwrap().to_owned();
        }
        reviewed((name, &path), &Body::of(&answer));
    }
}

#[tokio::test]
async fn health_is_as_reviewed() {
    review(&World::full().await, HEALTH).await;
}

#[tokio::test]
async fn a_collector_that_knows_nothing_is_as_reviewed() {
    review(&World::empty().await, EMPTY).await;
}

#[tokio::test]
async fn an_event_stream_begins_with_the_newest_change_of_each_topic() {
    let world = World::full().await;
    // All topics but the brokers': their state did not change.
    let answer = world.listen(EVENTS.1, "data: ", 5).await;
    assert_eq!(answer.kind(), "text/event-stream");
    let mut document = document(&world).await;
    for data in answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        let change = serde_json::from_str(data).unwrap();
        let schema = document.schema_of(EVENTS.1, 200, answer.kind()).unwrap();
        assert_eq!(document.refute(&schema, &change), None);
    }
    reviewed(EVENTS, &Body::Text(answer.body));
}

#[tokio::test]
async fn problems_are_as_reviewed() {
    let world = World::full().await;
    let mut document = document(&world).await;
    for &(case, status) in PROBLEMS {
        let answer = world.get(case.1).await;
        assert_eq!(answer.status.as_u16(), status, "{}", case.1);
        agrees(&mut document, case.1, &answer);
        reviewed(case, &Body::of(&answer));
    }
    let answer = world.get(NO_PATH.1).await;
    problem(NO_PATH, 404, &answer, &mut document);
    let local = |request: axum::http::request::Builder| request.header(header::HOST, "localhost");
    let answer = world.ask(local(Request::post(WRONG_METHOD.1))).await;
    problem(WRONG_METHOD, 405, &answer, &mut document);
    assert_eq!(answer.header(header::ALLOW), "GET,HEAD");
    let foreign = Request::get(FOREIGN_HOST.1).header(header::HOST, "evil.example");
    let answer = world.ask(foreign).await;
    problem(FOREIGN_HOST, 403, &answer, &mut document);
    let foreign = Request::get(FOREIGN_ORIGIN.1).header(header::ORIGIN, "https://evil.example");
    let answer = world.ask(local(foreign)).await;
    problem(FOREIGN_ORIGIN, 403, &answer, &mut document);
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let world = World::guarded().await;
    let token = |token: &str| {
        Request::get("/api/openapi.json")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    };
    let answer = world.ask(token(TOKEN)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut document = Document::read(&answer.body);
    assert_eq!(
        world.ask(token("wrong")).await.status,
        StatusCode::UNAUTHORIZED
    );
    for path in document.paths().chain(["/metrics", "/api/openapi.json"]) {
        // A brace is no character of a path.
        let path = path.replace(['{', '}'], "");
        assert_eq!(
            world.get(&path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    let answer = world.get(NO_TOKEN.1).await;
    problem(NO_TOKEN, 401, &answer, &mut document);
    assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer");
}

fn problem(case: Case, status: u16, answer: &Answer, document: &mut Document) {
    assert_eq!(answer.status.as_u16(), status, "{}", case.0);
    assert_eq!(answer.kind(), "application/problem+json", "{}", case.0);
    let body = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(document.refute("Problem", &body), None, "{}", case.0);
    reviewed(case, &Body::of(answer));
}

#[tokio::test]
async fn the_document_refutes_what_it_does_not_say() {
    let world = World::full().await;
    let mut document = document(&world).await;
    let right: Value = serde_json::from_str(&world.get("/api/v1/topology").await.body).unwrap();
    assert_eq!(document.refute("Topology", &right), None);
    let but = |tell: &dyn Fn(&mut Value)| {
        let mut wrong = right.clone();
        tell(&mut wrong);
        wrong
    };
    let lies = [
        but(&|map| {
            map.as_object_mut().unwrap().remove("version");
        }),
        but(&|map| map["nodes"][0]["colour"] = "red".into()),
        but(&|map| map["edges"][0]["instrumented"] = Value::Null),
        but(&|map| map["window"]["to"] = "now".into()),
    ];
    for lie in lies {
        assert!(document.refute("Topology", &lie).is_some(), "{lie}");
    }
}

/// All that are asked and answered with 200.
fn answered() -> impl Iterator<Item = Case> {
    [
        MAP,
        LAG,
        TRACES,
        DEAD_LETTERS,
        ALERTS,
        HEALTH,
        EMPTY,
        &[EVENTS],
    ]
    .into_iter()
    .flatten()
    .copied()
}

#[tokio::test]
async fn no_operation_is_without_a_reviewed_answer() {
    let document = document(&World::empty().await).await;
    let reviewed: BTreeSet<&str> = answered()
        .filter_map(|(_, path)| document.path_of(path))
        .collect();
    let served: BTreeSet<&str> = document.questions().collect();
    assert_eq!(served, reviewed);
    let done: BTreeSet<(String, String)> = ACTS
        .iter()
        .map(|((_, path), method, _)| {
            let path = document.path_of(path).unwrap();
            ((*method).to_owned(), path.to_owned())
        })
        .collect();
    assert_eq!(document.acts(), done);
}

#[test]
fn no_reviewed_answer_is_of_a_question_that_nobody_asks() {
    let asked: BTreeSet<String> = answered()
        .chain(PROBLEMS.iter().map(|(case, _)| *case))
        .chain(ACTS.iter().map(|(case, ..)| *case))
        .chain(WRONG_ACTS.iter().map(|(case, ..)| *case))
        .chain([
            NO_PATH,
            WRONG_METHOD,
            FOREIGN_HOST,
            FOREIGN_ORIGIN,
            NO_TOKEN,
        ])
        .map(|(name, _)| format!("{name}.snap"))
        .collect();
    let kept: BTreeSet<String> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            // What a failed run leaves beside.
            .filter(|name| name.ends_with(".snap"))
            .collect();
    assert_eq!(kept, asked);
}
