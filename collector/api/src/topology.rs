//! The flow map: topology, layout, and what the side panel adds to an edge.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use highwater_flow as flow;
use highwater_flow::layout;
use highwater_model::UnixNanos;
use highwater_shared::topology as wire;
use highwater_shared::{Instant, Level};
use highwater_store::query::Field;
use serde::Deserialize;

use crate::ApiState;
use crate::find::spans;
use crate::problem::ApiError;
use crate::range::RangeParams;
use crate::respond::json;
use crate::views::{level, percentiles, window};

/// Bars of the side panel's histogram.
const HISTOGRAM_BARS: usize = 12;
/// Traces looked at for examples.
const EXAMPLE_POOL: usize = 200;
const MAX_HOPS: u32 = 5;

#[derive(Debug, Deserialize)]
pub(crate) struct TopologyParams {
    #[serde(flatten)]
    range: RangeParams,
    env: Option<String>,
    cluster: Option<String>,
    focus: Option<String>,
    hops: Option<String>,
    format: Option<String>,
    id: Option<String>,
}

/// The map that the parameters ask for.
async fn query(state: &ApiState, params: &TopologyParams) -> Result<Arc<flow::Topology>, ApiError> {
    let now = state.now();
    let range = params.range.resolve(now)?;
    let hops = match params.hops.as_deref() {
        None | Some("") => 1,
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|hops| (1..=MAX_HOPS).contains(hops))
            .ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "hops = {text:?} is not a number from 1 to {MAX_HOPS}"
                ))
            })?,
    };
    let query = flow::TopologyQuery {
        from: range.from,
        to: range.to,
        environment: state.environment(params.env.as_deref()),
        clusters: list(params.cluster.as_deref()),
        focus: params.focus.clone().filter(|focus| !focus.is_empty()),
        hops,
    };
    state.map(query).await
}

pub(crate) fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or("")
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(crate) async fn topology(
    State(state): State<ApiState>,
    Query(params): Query<TopologyParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let topology = to_wire(&state, &*query(&state, &params).await?);
    let text = match params.format.as_deref() {
        None | Some("" | "json") => return json(&headers, &topology),
        Some("dot") => (dot(&topology), "text/vnd.graphviz; charset=utf-8"),
        Some("mermaid") => (mermaid(&topology), "text/plain; charset=utf-8"),
        Some(other) => {
            return Err(ApiError::BadRequest(format!(
                "format = {other:?} is none of json, dot, mermaid"
            )));
        }
    };
    Ok((
        [(header::CONTENT_TYPE, HeaderValue::from_static(text.1))],
        text.0,
    )
        .into_response())
}

pub(crate) async fn layout(
    State(state): State<ApiState>,
    Query(params): Query<TopologyParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let topology = query(&state, &params).await?;
    let cached = state.layouts.get(&topology.version);
    let placed = match cached {
        Some(placed) => placed,
        None => {
            let seed = state.layouts.newest();
            let version = topology.version.clone();
            let placed =
                tokio::task::spawn_blocking(move || layout::layout(&topology, seed.as_deref()))
                    .await
                    .map_err(ApiError::internal("laying out the map"))?;
            let placed = Arc::new(placed);
            state.layouts.put(version, Arc::clone(&placed));
            placed
        }
    };
    json(&headers, &layout_to_wire(&placed))
}

pub(crate) async fn edge(
    State(state): State<ApiState>,
    Query(params): Query<TopologyParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = params
        .id
        .clone()
        .ok_or_else(|| ApiError::BadRequest("id is missing: which edge?".to_owned()))?;
    let topology = query(&state, &params).await?;
    let edge = topology
        .edge(&id)
        .ok_or_else(|| ApiError::NotFound(format!("No edge {id:?} in this range.")))?;
    let (histogram_of, bars) = edge.histogram(HISTOGRAM_BARS);
    let histogram = bars
        .into_iter()
        .map(|bar| wire::HistogramBucket {
            from_ns: bar.from_ns,
            to_ns: bar.to_ns,
            count: bar.count,
        })
        .collect();
    let detail = wire::EdgeDetail {
        window: window(topology.window),
        histogram,
        histogram_of: histogram_of.to_owned(),
        examples: examples(&state, edge, &topology).await?,
        edge: edge_to_wire(edge),
    };
    json(&headers, &detail)
}

/// Example traces of an edge: errors first, then the slowest, a typical one, the fastest.
async fn examples(
    state: &ApiState,
    edge: &flow::Edge,
    topology: &flow::Topology,
) -> Result<Vec<wire::ExampleTrace>, ApiError> {
    // Names that spans carry; who is unknown or inferred is named by none.
    let name = |id: &str| {
        let node = topology
            .node(id)
            .filter(|node| node.kind != flow::NodeKind::Unknown && !node.inferred)?;
        Some(node.name.to_string())
    };
    let (from, to) = (name(&edge.from), name(&edge.to));
    let wanted = match edge.kind {
        flow::EdgeKind::Produces => [(Field::Service, from), (Field::Topic, to)],
        flow::EdgeKind::Delivers => [(Field::Topic, from), (Field::Group, to)],
        flow::EdgeKind::Consumes => [(Field::Group, from), (Field::Service, to)],
        flow::EdgeKind::Retries | flow::EdgeKind::DeadLetters => {
            [(Field::Topic, to), (Field::Service, None)]
        }
        flow::EdgeKind::Calls => [(Field::Service, to), (Field::Topic, None)],
        flow::EdgeKind::Derives => [(Field::Topic, from), (Field::Service, None)],
    };
    let mut fields: Vec<(Field, String)> = wanted
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)))
        .collect();
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    if matches!(
        edge.kind,
        flow::EdgeKind::Produces | flow::EdgeKind::Retries | flow::EdgeKind::DeadLetters
    ) {
        fields.push((Field::Kind, "producer".to_owned()));
    }
    let hits = spans(
        &state.store,
        (topology.window.from, topology.window.to),
        fields,
        EXAMPLE_POOL,
    )
    .await?;
    let mut found: Vec<wire::ExampleTrace> = hits
        .iter()
        .map(|hit| wire::ExampleTrace {
            label: if hit.error { "error" } else { "typical" }.to_owned(),
            trace_id: hit.trace_id.to_hex(),
            span_id: hit.span_id.to_hex(),
            duration_ns: hit.duration_ns,
            start: instant(hit.start),
        })
        .collect();
    found.sort_by_key(|example| std::cmp::Reverse(example.duration_ns));
    let (errors, mut fine): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|example| example.label == "error");
    let mut chosen: Vec<wire::ExampleTrace> = errors.into_iter().take(2).collect();
    if !fine.is_empty() {
        let mut fastest = fine.pop();
        if let Some(fastest) = &mut fastest {
            fastest.label = "fastest".to_owned();
        }
        let typical = (fine.len() > 1).then(|| fine.remove(fine.len() / 2));
        let slow = (!fine.is_empty()).then(|| fine.remove(0)).map(|mut slow| {
            slow.label = "slow".to_owned();
            slow
        });
        chosen.extend(slow.into_iter().chain(typical).chain(fastest));
    }
    Ok(chosen)
}

/// Maps the flow's map to the wire, with lag and depth put on the nodes they belong to.
pub(crate) fn to_wire(state: &ApiState, topology: &flow::Topology) -> wire::Topology {
    let nodes = topology
        .nodes
        .iter()
        .map(|node| node_to_wire(state, node))
        .collect();
    wire::Topology {
        window: window(topology.window),
        version: topology.version.clone(),
        nodes,
        edges: topology.edges.iter().map(edge_to_wire).collect(),
        truncated: topology.truncated,
    }
}

fn node_to_wire(state: &ApiState, node: &flow::Node) -> wire::Node {
    let cluster = node.cluster.as_deref();
    let lag = (node.kind == flow::NodeKind::Group)
        .then(|| state.lag_of(cluster?, &node.name))
        .flatten();
    let dead_letters = (node.kind == flow::NodeKind::DeadLetterTopic)
        .then(|| state.dead_letters.topic(cluster?, &node.name))
        .flatten();
    let level = match (&lag, &dead_letters) {
        (Some(lag), _) => level(lag.state, lag.time_lag_ms, lag.mark_ms),
        (None, Some(dead)) => crate::dead_letters::level(dead),
        (None, None) if node.kind == flow::NodeKind::Group => Level::Unknown,
        (None, None) => Level::Ok,
    };
    wire::Node {
        id: node.id.to_string(),
        kind: match node.kind {
            flow::NodeKind::Service => wire::NodeKind::Service,
            flow::NodeKind::Topic => wire::NodeKind::Topic,
            flow::NodeKind::RetryTopic => wire::NodeKind::RetryTopic,
            flow::NodeKind::DeadLetterTopic => wire::NodeKind::DeadLetterTopic,
            flow::NodeKind::Group => wire::NodeKind::Group,
            flow::NodeKind::Unknown => wire::NodeKind::Unknown,
        },
        name: node.name.to_string(),
        cluster: node.cluster.as_deref().map(str::to_owned),
        namespace: node.namespace.as_deref().map(str::to_owned),
        instrumented: node.instrumented,
        inferred: node.inferred,
        last_seen: node.last_seen.map(instant),
        rate: node.rate,
        rate_source: node.rate_source.map(source),
        work: node.work.percentiles().map(percentiles),
        partitions: node.partitions,
        lag,
        dead_letters: dead_letters.map(|dead| wire::NodeDeadLetters {
            retained: dead.retained,
            arrivals_per_hour: dead.arrivals_per_hour,
        }),
        level,
    }
}

fn edge_to_wire(edge: &flow::Edge) -> wire::Edge {
    wire::Edge {
        id: edge.id.to_string(),
        from: edge.from.to_string(),
        to: edge.to.to_string(),
        kind: match edge.kind {
            flow::EdgeKind::Produces => wire::EdgeKind::Produces,
            flow::EdgeKind::Delivers => wire::EdgeKind::Delivers,
            flow::EdgeKind::Consumes => wire::EdgeKind::Consumes,
            flow::EdgeKind::Retries => wire::EdgeKind::Retries,
            flow::EdgeKind::DeadLetters => wire::EdgeKind::DeadLetters,
            flow::EdgeKind::Calls => wire::EdgeKind::Calls,
            flow::EdgeKind::Derives => wire::EdgeKind::Derives,
        },
        instrumented: edge.instrumented,
        messages: edge.messages,
        records: edge.records,
        errors: edge.instrumented.then_some(edge.errors),
        rate: edge.rate,
        rate_source: edge.rate_source.map(source),
        latency: wire::Latency {
            produce: edge.latency.produce.percentiles().map(percentiles),
            in_broker: edge.latency.in_broker.percentiles().map(percentiles),
            process: edge.latency.process.percentiles().map(percentiles),
        },
    }
}

fn source(source: flow::RateSource) -> String {
    match source {
        flow::RateSource::Spans => "spans",
        flow::RateSource::Offsets => "offsets",
    }
    .to_owned()
}

pub(crate) fn instant(at: UnixNanos) -> Instant {
    Instant(at.0)
}

fn layout_to_wire(layout: &layout::Layout) -> wire::Layout {
    wire::Layout {
        version: layout.version.clone(),
        width: layout.width,
        height: layout.height,
        nodes: layout
            .nodes
            .iter()
            .map(|node| wire::PlacedNode {
                id: node.id.to_string(),
                x: node.x,
                y: node.y,
                w: node.w,
                h: node.h,
                dock: node.dock.as_deref().map(str::to_owned),
            })
            .collect(),
        edges: layout
            .edges
            .iter()
            .map(|edge| wire::PlacedEdge {
                id: edge.id.to_string(),
                points: edge.points.clone(),
            })
            .collect(),
    }
}

/// A rate as a label: a slow one is not rounded to none.
fn per_second(rate: f64) -> String {
    if rate == 0.0 {
        "0/s".to_owned()
    } else if rate < 0.1 {
        format!("{rate:.3}/s")
    } else {
        format!("{rate:.1}/s")
    }
}

/// Graphviz: quoted, so that a name from outside cannot end its string.
fn dot(topology: &wire::Topology) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::from("digraph highwater {\n  rankdir=LR;\n");
    for node in &topology.nodes {
        let shape = match node.kind {
            wire::NodeKind::Service => "box, style=rounded",
            wire::NodeKind::Topic | wire::NodeKind::RetryTopic => "cylinder",
            wire::NodeKind::DeadLetterTopic => "octagon",
            wire::NodeKind::Group => "box",
            wire::NodeKind::Unknown => "box, style=dashed",
        };
        out.push_str(&format!(
            "  {} [label={}, shape={shape}];\n",
            quote(&node.id),
            quote(&node.name)
        ));
    }
    for edge in &topology.edges {
        let style = if edge.instrumented { "solid" } else { "dashed" };
        let label = edge.rate.map_or_else(|| "?".to_owned(), per_second);
        out.push_str(&format!(
            "  {} -> {} [label={}, style={style}];\n",
            quote(&edge.from),
            quote(&edge.to),
            quote(&label)
        ));
    }
    out.push_str("}\n");
    out
}

/// Mermaid: nodes are numbered, names are labels with everything but letters, digits and a few signs as entities.
fn mermaid(topology: &wire::Topology) -> String {
    let escape = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_./ ".contains(c) {
                    c.to_string()
                } else {
                    format!("#{};", c as u32)
                }
            })
            .collect()
    };
    let mut out = String::from("flowchart LR\n");
    let number = |id: &str| topology.nodes.iter().position(|node| node.id == id);
    for (at, node) in topology.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            wire::NodeKind::Service => ("(", ")"),
            wire::NodeKind::Topic | wire::NodeKind::RetryTopic => ("[(", ")]"),
            wire::NodeKind::DeadLetterTopic => ("{{", "}}"),
            wire::NodeKind::Group | wire::NodeKind::Unknown => ("[", "]"),
        };
        out.push_str(&format!("  n{at}{open}\"{}\"{close}\n", escape(&node.name)));
    }
    for edge in &topology.edges {
        if let (Some(from), Some(to)) = (number(&edge.from), number(&edge.to)) {
            let arrow = if edge.instrumented { "-->" } else { "-.->" };
            out.push_str(&format!("  n{from} {arrow} n{to}\n"));
        }
    }
    out
}
