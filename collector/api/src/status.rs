//! Status of the collector and its clusters; health of the process.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use highwater_flow as flow;
use highwater_model::UnixNanos;
use highwater_model::broker::ClusterState;
use highwater_shared::status as wire;
use highwater_store::{Finding, Limit};

use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::instant;
use crate::{ApiState, Entry};

pub(crate) async fn status(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    json(&headers, &read(&state).await?)
}

/// Everything Health shows.
pub(crate) async fn read(state: &ApiState) -> Result<wire::Status, ApiError> {
    let now = state.now();
    let received = state.counters.snapshot();
    let pipeline = &state.pipeline;
    let stats = state.store.stats();
    let flow = flow_status(state, now).await?;
    let (flow_stats, environments) = {
        let flow = state.flow.read();
        (flow.stats(), flow.environments())
    };
    let services = state.services.all();
    let about = &state.about;
    let mut named: Vec<String> = state
        .clusters
        .all()
        .iter()
        .map(|e| e.status.environment.to_string())
        .collect();
    named.extend(
        environments
            .iter()
            .map(|environment| environment.to_string()),
    );
    named.extend(services.iter().map(|service| service.environment.clone()));
    let mut known = std::collections::BTreeSet::new();
    named.retain(|environment| known.insert(environment.clone()));
    Ok(wire::Status {
        version: about.version.to_owned(),
        started_at: instant(about.started),
        now: instant(now),
        first_run: stats.spans == 0 && !state.clusters.any_read(),
        listeners: about.listeners.clone(),
        ingest: wire::Ingest {
            requests: received.requests,
            spans_received: received.spans_received,
            spans_committed: pipeline.committed_spans(),
            duplicates: pipeline.duplicate_spans(),
            rejected: received
                .rejected
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            refused_retryable: received.refused_retryable,
            refused_bad: received.refused_bad,
            refused_too_large: received.refused_too_large,
            refused_too_slow: received.refused_too_slow,
            refused_unauthenticated: received.refused_unauthenticated,
            refused_connections: received.refused_connections,
            metrics_rejected: received.metrics_rejected,
            logs_rejected: received.logs_rejected,
            not_aggregated: flow_stats.ahead + flow_stats.too_old,
            spans_per_s: state.services.rate(now),
            in_flight_bytes: state.in_flight.bytes() as u64,
            in_flight_limit_bytes: state.in_flight.limit_bytes() as u64,
            queue_spans: pipeline.queued_spans() as u64,
            queue_capacity: pipeline.capacity_spans() as u64,
            commit_p50_ns: pipeline.commit_quantile_ns(0.5),
            commit_p99_ns: pipeline.commit_quantile_ns(0.99),
            write_error: pipeline.write_error().map(|reason| reason.to_string()),
        },
        store: wire::Store {
            path: about.data_dir.clone(),
            bytes: stats.bytes,
            spans: stats.spans,
            partitions: stats.partitions,
            oldest: stats.oldest.map(instant),
            newest: stats.newest.map(instant),
            retention_ms: about.retention_ms,
            retention_bytes: about.retention_bytes,
            free_bytes: stats.free_bytes,
            forecast: state.store.forecast(now).map(|forecast| wire::Forecast {
                bytes_per_day: forecast.bytes_per_day,
                limit: match forecast.limit {
                    Limit::Age => "age",
                    Limit::Size => "size",
                    Limit::Disk => "disk",
                }
                .to_owned(),
                at: instant(forecast.at),
            }),
            damaged_blocks: stats.damaged_blocks,
            damaged_files: stats.damaged_files,
            damage: damage(state.store.damage()),
        },
        flow,
        environments: named,
        clusters: state
            .clusters
            .all()
            .iter()
            .map(|entry| entry.status.name.to_string())
            .collect(),
        services,
        poll_interval_ms: about.poll_interval_ms,
    })
}

/// Files whose damage is listed, and what is said of one of them.
const DAMAGED_FILES: usize = 100;
const FOUND_IN_A_FILE: usize = 10;

/// Findings by file.
fn damage(findings: Vec<Finding>) -> Vec<wire::Damage> {
    let mut files = BTreeMap::<String, wire::Damage>::new();
    for Finding { file, block, what } in findings {
        let of_file = files.entry(file.clone()).or_insert_with(|| wire::Damage {
            file,
            blocks: Some(0),
            found: Vec::new(),
        });
        // What is wrong with more than a block may hide blocks that nobody counts.
        of_file.blocks = of_file.blocks.zip(block).map(|(blocks, _)| blocks + 1);
        if of_file.found.len() < FOUND_IN_A_FILE && !of_file.found.contains(&what) {
            of_file.found.push(what);
        }
    }
    files.into_values().take(DAMAGED_FILES).collect()
}

/// The map of the last hour in numbers, and what the flow keeps for it.
async fn flow_status(state: &ApiState, now: UnixNanos) -> Result<wire::FlowStatus, ApiError> {
    let query = flow::TopologyQuery {
        from: now - Duration::from_secs(3_600),
        to: now,
        environment: state.environment(None),
        ..Default::default()
    };
    let topology = state.map(query).await?;
    let flow = state.flow.read();
    Ok(wire::FlowStatus {
        nodes: topology.nodes.len() as u64,
        edges: topology.edges.len() as u64,
        pending: flow.pending() as u64,
        truncated: topology.truncated,
        history_bytes: flow.history_bytes() as u64,
        history_limit_bytes: flow.history_limit_bytes() as u64,
        coarser: flow.coarser(),
    })
}

pub(crate) async fn brokers(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let clusters = state.clusters.all().iter().map(cluster).collect();
    json(&headers, &wire::Brokers { clusters })
}

fn cluster(entry: &Entry) -> wire::Cluster {
    let status = &entry.status;
    let (word, reason) = match &status.state {
        ClusterState::Connecting => ("connecting", None),
        ClusterState::Ok => (
            "ok",
            status.incomplete.as_ref().map(|why| {
                format!("Not all groups could be listed, those known before are shown: {why}.")
            }),
        ),
        ClusterState::Unreachable { reason } => ("unreachable", Some(reason.to_string())),
    };
    let sample = entry.sample.as_deref();
    let topics = sample.map(|sample| sample.topics.values().filter(|facts| !facts.internal));
    wire::Cluster {
        name: status.name.to_string(),
        system: status.system.to_string(),
        environment: status.environment.to_string(),
        bootstrap: status
            .bootstrap
            .iter()
            .map(|address| address.to_string())
            .collect(),
        cluster_id: status.cluster_id.as_deref().map(str::to_owned),
        state: word.to_owned(),
        reason,
        since: instant(status.since),
        last_read: status.last_read.map(instant),
        last_poll_ns: status.last_poll_ns,
        brokers: sample.map(|s| {
            s.brokers
                .iter()
                .map(|(_, address)| address.to_string())
                .collect()
        }),
        topics: topics.clone().map(|topics| topics.count() as u64),
        partitions: topics.map(|topics| topics.map(|facts| u64::from(facts.partitions)).sum()),
        groups: sample.map(|sample| sample.groups.len() as u64),
    }
}

/// The process runs.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// A write that failed counts against readiness for so long. Who sends only where it is ready would otherwise never bring
/// the spans whose commit tells that it is again.
const UNREADY: Duration = Duration::from_secs(5);

/// Spans can be taken: no write has failed of late.
pub(crate) async fn readyz(State(state): State<ApiState>) -> Response {
    let problem = match state.pipeline.write_error_within(UNREADY) {
        Some(reason) => format!("the store cannot be written: {reason}\n"),
        None if state.shutdown.is_cancelled() => "shutting down\n".to_owned(),
        None => return "ready\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
}

#[cfg(test)]
mod tests {
    use super::{Finding, damage};

    fn finding(file: &str, block: Option<u64>, what: &str) -> Finding {
        Finding {
            file: file.to_owned(),
            block,
            what: what.to_owned(),
        }
    }

    #[test]
    fn damage_is_told_by_file_and_blocks_that_nobody_can_count_are_not_counted() {
        let found = damage(vec![
            finding("spans-2.db", Some(7), "its checksum is wrong"),
            finding("spans-2.db", Some(9), "its checksum is wrong"),
            finding("spans-1.db", None, "it ended 4096 bytes too early"),
            finding("spans-1.db", Some(3), "its checksum is wrong"),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].file, "spans-1.db");
        assert_eq!((found[0].blocks, found[0].found.len()), (None, 2));
        assert_eq!((found[1].blocks, found[1].found.len()), (Some(2), 1));
    }
}
