//! Lag: groups, a group, its history, its members; topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_flow as flow;
use highwater_lag as engine;
use highwater_model::broker::{Known, TopicPartition};
use highwater_model::names::TopicKind;
use highwater_shared::lag as wire;
use highwater_shared::topology::NodeLag;
use serde::Deserialize;

use crate::ApiState;
use crate::problem::ApiError;
use crate::range::{Range, RangeParams};
use crate::respond::json;
use crate::topology::{instant, list};
use crate::views::{bound, level, millis, state};
use crate::why;

/// The rate window of lag: as long as the map's.
const RATE_WINDOW: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, Deserialize)]
pub(crate) struct GroupsParams {
    #[serde(flatten)]
    pub(crate) range: RangeParams,
    env: Option<String>,
    cluster: Option<String>,
}

fn window(range: Range) -> highwater_shared::Window {
    highwater_shared::Window {
        from: instant(range.from),
        to: instant(range.to),
        rate_from: instant(range.from.max(range.to - RATE_WINDOW)),
    }
}

/// Which services were seen consuming in which group, from the map of the range.
pub(crate) type Consumers = BTreeMap<(Arc<str>, Arc<str>), Vec<String>>;

pub(crate) async fn consumers(
    state: &ApiState,
    range: Range,
    environment: String,
) -> Result<Consumers, ApiError> {
    let query = flow::TopologyQuery {
        from: range.from,
        to: range.to,
        environment,
        ..Default::default()
    };
    let topology = state.map(query).await?;
    let mut consumers = Consumers::new();
    for edge in topology
        .edges
        .iter()
        .filter(|edge| edge.kind == flow::EdgeKind::Consumes && edge.instrumented)
    {
        let (Some(group), Some(service)) = (topology.node(&edge.from), topology.node(&edge.to))
        else {
            continue;
        };
        if let (Some(cluster), flow::NodeKind::Service) = (&group.cluster, service.kind) {
            let key = (Arc::clone(cluster), Arc::clone(&group.name));
            consumers
                .entry(key)
                .or_default()
                .push(service.name.to_string());
        }
    }
    Ok(consumers)
}

pub(crate) async fn groups(
    State(state): State<ApiState>,
    Query(params): Query<GroupsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let environment = state.environment(params.env.as_deref());
    let clusters = list(params.cluster.as_deref());
    let consumers = consumers(&state, range, environment.clone()).await?;
    let wanted = |cluster: &str| {
        state.in_environment(cluster, &environment)
            && (clusters.is_empty() || clusters.iter().any(|name| name == cluster))
    };
    let mut groups: Vec<wire::GroupSummary> = state
        .lag
        .read()
        .groups()
        .iter()
        .filter(|((cluster, _), _)| wanted(cluster))
        .map(|((cluster, group), lag)| summary(&state, cluster, group, lag, range, &consumers))
        .collect();
    groups.sort_by(|a, b| {
        // Worst first: the state, then the level against the mark.
        let share =
            |g: &wire::GroupSummary| g.time_lag_ms.map(|ms| ms as f64 / g.mark_ms.max(1) as f64);
        (a.state, share(b))
            .partial_cmp(&(b.state, share(a)))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    json(
        &headers,
        &wire::Groups {
            window: window(range),
            groups,
        },
    )
}

fn summary(
    api: &ApiState,
    cluster: &Arc<str>,
    group: &Arc<str>,
    lag: &engine::GroupLag,
    range: Range,
    consumers: &Consumers,
) -> wire::GroupSummary {
    let mark_ms = millis(api.marks.of(group));
    let time_lag_ms = lag.time_lag.map(engine::TimeLag::millis);
    wire::GroupSummary {
        cluster: cluster.to_string(),
        group: group.to_string(),
        state: state(lag.state),
        state_since: Some(instant(lag.state_since)),
        reason: lag.reason.clone(),
        level: level(state(lag.state), time_lag_ms, mark_ms),
        mark_ms,
        lag_messages: lag.lag_messages,
        lag_by_tools: lag.lag_by_tools,
        time_lag_ms,
        time_lag_bound: lag.time_lag.map(|lag| bound(lag.bound)),
        in_per_s: lag.in_per_s,
        out_per_s: lag.out_per_s,
        rate_from: lag.rate_from.map(instant),
        drain_ms: lag.drain.map(millis),
        retention_left_ms: lag.retention_left.map(millis),
        retention_ms: lag.retention_ms,
        read_at: lag.read_at.map(instant),
        topics: lag.topics.iter().map(|topic| topic.to_string()).collect(),
        partitions_read: lag.partitions_read,
        partitions_total: lag.partitions_total,
        members: lag.members,
        broker_state: lag.broker_state.as_deref().map(str::to_owned),
        protocol: lag.kind.to_string(),
        services: consumers
            .get(&(Arc::clone(cluster), Arc::clone(group)))
            .cloned()
            .unwrap_or_default(),
        spark_ms: api.sparks.points(cluster, group, range.from, range.to),
    }
}

fn partition(group: &str, key: &TopicPartition, lag: &engine::PartitionLag) -> wire::PartitionLag {
    wire::PartitionLag {
        topic: key.topic.to_string(),
        partition: key.partition,
        state: state(lag.state),
        reason: lag.reason(group, key),
        committed_offset: lag.committed,
        log_start_offset: lag.log_start,
        end_offset: lag.end,
        last_stable_offset: lag.last_stable,
        member: lag.member.as_deref().map(str::to_owned),
        lag_messages: lag.lag_messages,
        lag_is_upper_bound: lag.lag_is_upper_bound,
        lag_by_tools: lag.lag_by_tools,
        lost_messages: lag.lost_messages,
        clock_suspect: lag.clock_suspect.map(|skew| match skew {
            engine::Skew::Ahead => wire::Skew::Ahead,
            engine::Skew::Behind => wire::Skew::Behind,
        }),
        time_lag_ms: lag.time_lag.map(engine::TimeLag::millis),
        time_lag_bound: lag.time_lag.map(|lag| bound(lag.bound)),
        in_per_s: lag.in_per_s,
        out_per_s: lag.out_per_s,
        rate_from: lag.rate_from.map(instant),
        drain_ms: lag.drain.map(millis),
        read_at: lag.read_at.map(instant),
    }
}

/// A group with the names of its cluster and its own.
type Found = (Arc<str>, Arc<str>, Arc<engine::GroupLag>);

fn find(state: &ApiState, cluster: &str, group: &str) -> Result<Found, ApiError> {
    let lag = state.lag.read();
    lag.groups()
        .get_key_value(&(Arc::from(cluster), Arc::from(group)))
        .map(|((cluster, group), lag)| (Arc::clone(cluster), Arc::clone(group), Arc::clone(lag)))
        .ok_or_else(|| {
            let why = match state.clusters.get(cluster) {
                None => format!("There is no cluster {cluster:?}."),
                Some(entry) if entry.sample.is_none() => {
                    format!("{cluster} could not be read yet.")
                }
                Some(_) => format!("{cluster} has no group {group:?}."),
            };
            ApiError::NotFound(why)
        })
}

pub(crate) async fn group(
    State(state): State<ApiState>,
    Path((cluster, group)): Path<(String, String)>,
    Query(params): Query<GroupsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let (cluster, group, lag) = find(&state, &cluster, &group)?;
    let environment = state.environment_of(&cluster);
    let consumers = consumers(&state, range, environment).await?;
    let observed = why::observed(&state, &cluster, &group, &lag, range.to).await?;
    let detail = wire::GroupDetail {
        window: window(range),
        summary: summary(&state, &cluster, &group, &lag, range, &consumers),
        partitions: lag
            .partitions
            .iter()
            .map(|(key, lag)| partition(&group, &key, &lag))
            .collect(),
        observed,
    };
    json(&headers, &detail)
}

pub(crate) async fn members(
    State(state): State<ApiState>,
    Path((cluster, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (cluster, group, _) = find(&state, &cluster, &group)?;
    let sample = state.clusters.get(&cluster).and_then(|entry| entry.sample);
    let facts = sample.as_ref().and_then(|sample| sample.groups.get(&group));
    let members = match facts.map(|facts| &facts.members) {
        Some(Ok(members)) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|member| (&member.client_id, &member.member_id));
            let members = members
                .into_iter()
                .map(|member| wire::Member {
                    member_id: member.member_id.to_string(),
                    client_id: member.client_id.to_string(),
                    host: member.host.trim_start_matches('/').to_owned(),
                    partitions: member
                        .assignment
                        .iter()
                        .map(|at| wire::MemberPartition {
                            topic: at.topic.to_string(),
                            partition: at.partition,
                        })
                        .collect(),
                })
                .collect();
            wire::GroupMembers {
                members: Some(members),
                reason: None,
            }
        }
        Some(Err(reason)) => wire::GroupMembers {
            members: None,
            reason: Some(reason.to_string()),
        },
        None => wire::GroupMembers {
            members: None,
            reason: Some("The group was not in the last read.".to_owned()),
        },
    };
    json(&headers, &members)
}

pub(crate) async fn topics(
    State(state): State<ApiState>,
    Query(params): Query<GroupsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let environment = state.environment(params.env.as_deref());
    let clusters = list(params.cluster.as_deref());
    let mut topics = Vec::new();
    for entry in state.clusters.all() {
        let name = &entry.status.name;
        let wanted = *entry.status.environment == *environment
            && (clusters.is_empty() || clusters.iter().any(|cluster| **cluster == **name));
        if let (true, Some(sample)) = (wanted, &entry.sample) {
            let names = sample
                .topics
                .iter()
                .filter(|(_, facts)| !facts.internal)
                .map(|(topic, _)| topic);
            topics.extend(names.map(|topic| topic_summary(&state, name, topic, sample)));
        }
    }
    json(&headers, &wire::Topics { topics })
}

pub(crate) async fn topic(
    State(state): State<ApiState>,
    Path((cluster, topic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let sample = state.clusters.get(&cluster).and_then(|entry| entry.sample);
    let found = sample.filter(|sample| sample.topics.contains_key(topic.as_str()));
    let sample =
        found.ok_or_else(|| ApiError::NotFound(format!("{cluster} has no topic {topic:?}.")))?;
    json(
        &headers,
        &topic_summary(&state, &sample.cluster, &topic.as_str().into(), &sample),
    )
}

fn topic_summary(
    state: &ApiState,
    cluster: &Arc<str>,
    topic: &Arc<str>,
    sample: &highwater_model::broker::Sample,
) -> wire::TopicSummary {
    let first = TopicPartition {
        topic: Arc::clone(topic),
        partition: i32::MIN,
    };
    let offsets = || {
        sample
            .partitions
            .range(first.clone()..)
            .take_while(|(at, _)| at.topic == *topic)
            .map(|(_, o)| o)
    };
    // One partition that is unknown makes the sum unknown.
    let sum = |of: fn(&highwater_model::broker::PartitionOffsets) -> Known<i64>| {
        offsets()
            .map(|o| of(o).ok().and_then(|n| u64::try_from(n).ok()))
            .sum::<Option<u64>>()
    };
    let ends = sum(|o| o.end.clone());
    let starts = sum(|o| o.log_start.clone());
    let facts = sample.topics.get(topic).cloned().unwrap_or_default();
    let kind = match state.flow.read().topic_kind(cluster, topic) {
        TopicKind::Topic => "topic",
        TopicKind::RetryTopic => "retry_topic",
        TopicKind::DeadLetterTopic => "dead_letter_topic",
    };
    let reads = |group: &highwater_model::broker::GroupFacts| {
        group.committed.topics().any(|(read, _)| read == topic)
    };
    let rate = ends.and_then(|_| state.lag.read().topic_rate(cluster, topic));
    wire::TopicSummary {
        cluster: cluster.to_string(),
        topic: topic.to_string(),
        kind: kind.to_owned(),
        partitions: facts.partitions,
        retained: ends
            .zip(starts)
            .map(|(ends, starts)| ends.saturating_sub(starts)),
        end_offsets: ends,
        in_per_s: rate.map(|(per_s, _)| per_s),
        rate_from: rate.map(|(_, from)| instant(from)),
        retention_ms: facts.retention_ms,
        compacted: facts.compacted,
        groups: sample
            .groups
            .iter()
            .filter(|(_, facts)| reads(facts))
            .map(|(name, _)| name.to_string())
            .collect(),
    }
}

impl ApiState {
    /// A group's lag as a node of the map shows it.
    pub(crate) fn lag_of(&self, cluster: &str, group: &str) -> Option<NodeLag> {
        let lag = self.lag.read();
        let lag = lag.groups().get(&(Arc::from(cluster), Arc::from(group)))?;
        Some(NodeLag {
            state: state(lag.state),
            reason: lag.reason.clone(),
            lag_messages: lag.lag_messages,
            time_lag_ms: lag.time_lag.map(engine::TimeLag::millis),
            mark_ms: millis(self.marks.of(group)),
        })
    }

    /// The environment a configured cluster belongs to.
    pub(crate) fn environment_of(&self, cluster: &str) -> String {
        self.clusters.get(cluster).map_or_else(
            || "default".to_owned(),
            |entry| entry.status.environment.to_string(),
        )
    }

    pub(crate) fn in_environment(&self, cluster: &str, environment: &str) -> bool {
        self.environment_of(cluster) == environment
    }
}
