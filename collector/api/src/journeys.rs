//! Journeys: one business transaction over all its traces.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_flow::{EdgeKind, NodeKind, Topology, TopologyQuery, journey as flow};
use highwater_model::names::TopicKind;
use highwater_model::span::Link;
use highwater_model::{Correlation, Messaging, Span, TraceId};
use highwater_shared::traces as wire;
use highwater_store::{Found, SpanReader, Wanted};
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::instant;
use crate::traces::{error, summary};

/// Spans that carry an id, looked at to find its keys.
const KEY_SPANS: usize = 500;
/// Spans that carry an id, taken to begin a journey.
const SEED_SPANS: usize = 5_000;
/// Spans read for one need of a journey.
const NEED_SPANS: usize = 20_000;
/// Spans that link to a trace, read along with it.
const LINKS_AHEAD: usize = 2_000;
/// Of those, a journey reads on until it has so many.
const AHEAD_KEPT: usize = 20_000;
/// Needs of a journey read at once: each may hold that many spans.
const NEEDS_AT_ONCE: usize = 4;
const LONGEST_VALUE: usize = 256;

/// Keys under which a value was found.
pub(crate) async fn keys_of(state: &ApiState, value: &str) -> Result<Vec<String>, ApiError> {
    if value.is_empty() || value.len() > LONGEST_VALUE {
        return Ok(Vec::new());
    }
    let found = state
        .store
        .by_correlation(value, KEY_SPANS)
        .await
        .map_err(ApiError::internal("looking a correlation id up"))?;
    let of_value = |correlation: &&Correlation| *correlation.value == *value;
    let keys: BTreeSet<String> = found
        .spans
        .iter()
        .flat_map(|stored| stored.span.correlations.iter().filter(of_value))
        .map(|correlation| correlation.key.to_string())
        .collect();
    Ok(keys.into_iter().collect())
}

#[derive(Debug, Deserialize)]
pub(crate) struct FindParams {
    value: Option<String>,
}

pub(crate) async fn find(
    State(state): State<ApiState>,
    Query(params): Query<FindParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let value = params
        .value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ApiError::BadRequest("value is missing: whose journey?".to_owned()))?;
    let keys = keys_of(&state, &value).await?;
    let found = keys
        .into_iter()
        .map(|key| wire::CorrelationValue {
            key,
            value: value.clone(),
        })
        .collect();
    json(&headers, &wire::Journeys { found })
}

pub(crate) async fn journey(
    State(state): State<ApiState>,
    Path((key, value)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let failed = || ApiError::internal("following a journey");
    let id = Correlation {
        key: key.as_str().into(),
        value: value.as_str().into(),
    };
    let carrying = state
        .store
        .by_correlation(&value, SEED_SPANS)
        .await
        .map_err(failed())?;
    let seeds: Vec<Span> = spans(carrying)
        .into_iter()
        .filter(|span| span.correlations.contains(&id))
        .collect();
    if seeds.is_empty() {
        return Err(ApiError::NotFound(format!(
            "No stored span carries {key} = {value:?}."
        )));
    }
    let mut journey = flow::Journey::start(id, seeds, flow::Bounds::default());
    follow(&state, &mut journey).await.map_err(failed())?;
    let view = journey.tell(&Known::read(&state).await?, state.now());
    json(&headers, &to_wire(&view))
}

/// Reads what the journey needs until it needs no more.
async fn follow(
    state: &ApiState,
    journey: &mut flow::Journey,
) -> Result<(), highwater_store::StoreError> {
    // What links to a trace is asked for along with it: nearly always that is the next need.
    let mut linking: HashMap<TraceId, Vec<Span>> = HashMap::new();
    let mut kept = 0;
    loop {
        let needs = journey.needs();
        if needs.is_empty() {
            return Ok(());
        }
        let mut unread = Vec::new();
        for need in needs {
            match need {
                flow::Need::LinksTo { trace, span } if linking.contains_key(&trace) => {
                    let to = |link: &Link| (link.trace_id, link.span_id) == (trace, span);
                    let came = linking.get(&trace).into_iter().flatten();
                    let came = came.filter(|from| from.links.iter().any(to));
                    journey.feed(need, came.cloned().collect());
                }
                _ => unread.push(need),
            }
        }
        for needs in unread.chunks(NEEDS_AT_ONCE) {
            let ahead = kept < AHEAD_KEPT;
            let mut wanted = Vec::with_capacity(2 * needs.len());
            for need in needs {
                match *need {
                    flow::Need::Trace(trace) => {
                        wanted.push((Wanted::Trace(trace), NEED_SPANS));
                        wanted
                            .extend(ahead.then_some((Wanted::LinkingTo(trace, None), LINKS_AHEAD)));
                    }
                    flow::Need::LinksTo { trace, span } => {
                        wanted.push((Wanted::LinkingTo(trace, Some(span)), NEED_SPANS));
                    }
                }
            }
            let mut found = state.store.find(&wanted).await?.into_iter();
            for need in needs {
                journey.feed(*need, spans(found.next().unwrap_or_default()));
                if let flow::Need::Trace(trace) = *need
                    && ahead
                {
                    let links = found.next().unwrap_or_default();
                    // Too many: each span's own are then asked for when they are needed.
                    if !links.truncated {
                        kept += links.spans.len();
                        linking.insert(trace, spans(links));
                    }
                }
            }
        }
    }
}

fn spans(found: Found) -> Vec<Span> {
    found.spans.into_iter().map(|stored| stored.span).collect()
}

/// A group counts as a reader while it handled something in this time.
const READING: Duration = Duration::from_secs(900);

/// What the whole flow knows beyond the spans of one journey.
struct Known {
    /// Clusters that have a topic.
    clusters: HashMap<Arc<str>, Vec<Arc<str>>>,
    kinds: HashMap<Arc<str>, TopicKind>,
    /// By topic: instrumented groups that handle it now.
    readers: HashMap<Arc<str>, Vec<flow::Reader>>,
}

impl Known {
    /// Reads the map of the last quarter of an hour.
    async fn read(state: &ApiState) -> Result<Self, ApiError> {
        let now = state.now();
        let query = TopologyQuery {
            from: now - READING,
            to: now,
            environment: state.environment(None),
            ..TopologyQuery::default()
        };
        let topology = state.map_of_late(query).await?;
        let state = state.clone();
        tokio::task::spawn_blocking(move || Self::of(&state, &topology))
            .await
            .map_err(ApiError::internal("computing the map"))
    }

    fn of(state: &ApiState, topology: &Topology) -> Self {
        let mut known = Self {
            clusters: HashMap::new(),
            kinds: HashMap::new(),
            readers: HashMap::new(),
        };
        let flow = state.flow.read();
        for entry in state.clusters.all() {
            let Some(sample) = &entry.sample else {
                continue;
            };
            for topic in sample.topics.keys() {
                known
                    .clusters
                    .entry(Arc::clone(topic))
                    .or_default()
                    .push(Arc::clone(&sample.cluster));
                known
                    .kinds
                    .insert(Arc::clone(topic), flow.topic_kind(&sample.cluster, topic));
            }
        }
        drop(flow);
        let edges = |kind| {
            topology
                .edges
                .iter()
                .filter(move |edge| edge.kind == kind && edge.instrumented)
        };
        let mut services = HashMap::new();
        for consumer in edges(EdgeKind::Consumes) {
            services.entry(&consumer.from).or_insert(&consumer.to);
        }
        for delivery in edges(EdgeKind::Delivers) {
            let (Some(topic), Some(group)) =
                (topology.node(&delivery.from), topology.node(&delivery.to))
            else {
                continue;
            };
            if group.kind != NodeKind::Group {
                continue;
            }
            let service = services.get(&delivery.to).copied();
            let service = service.and_then(|service| topology.node(service));
            let service = service.map(|node| Arc::clone(&node.name));
            let reader = flow::Reader {
                group: Some(Arc::clone(&group.name)),
                service,
            };
            known
                .readers
                .entry(Arc::clone(&topic.name))
                .or_default()
                .push(reader);
        }
        known
    }
}

impl flow::Facts for Known {
    fn cluster(&self, messaging: &Messaging) -> Option<Arc<str>> {
        // Two clusters with the topic: which one it was cannot be told here.
        match self
            .clusters
            .get(messaging.destination.as_ref()?)?
            .as_slice()
        {
            [only] => Some(Arc::clone(only)),
            _ => None,
        }
    }

    fn kind(&self, topic: &str) -> TopicKind {
        self.kinds
            .get(topic)
            .copied()
            .unwrap_or_else(|| TopicKind::from_name(topic))
    }

    fn readers(&self, topic: &str) -> Vec<flow::Reader> {
        self.readers.get(topic).cloned().unwrap_or_default()
    }
}

fn to_wire(view: &flow::JourneyView) -> wire::Journey {
    wire::Journey {
        key: view.id.key.to_string(),
        value: view.id.value.to_string(),
        sentence: view.sentence.clone(),
        state: view.state.as_str().to_owned(),
        start: instant(view.start),
        end: instant(view.end),
        traces: view
            .traces
            .iter()
            .map(|(id, of)| summary(*id, of))
            .collect(),
        steps: view.steps.iter().map(step).collect(),
        lanes: view
            .lanes
            .iter()
            .map(|lane| wire::Lane {
                id: lane.id.clone(),
                kind: lane.kind.as_str().to_owned(),
                name: lane.name.to_string(),
            })
            .collect(),
        truncated: view.truncated,
    }
}

fn step(step: &flow::Step) -> wire::Step {
    wire::Step {
        kind: step.kind.as_str().to_owned(),
        sentence: step.sentence.clone(),
        at: instant(step.at),
        duration_ns: step.duration_ns,
        in_broker_ns: step.in_broker_ns,
        from: step.from.clone(),
        to: step.to.clone(),
        group: step.group.as_deref().map(str::to_owned),
        partition: step.partition,
        offset: step.offset,
        error: step.error.as_ref().map(error),
        joined_by: step.joined_by.as_str().to_owned(),
        trace_id: step.trace_id.to_hex(),
        span_id: step.span_id.to_hex(),
    }
}
