//! A group's lag over time, beside what its consumers did in that time.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_flow::FINEST_STEP_NS;
use highwater_model::UnixNanos;
use highwater_shared::lag as wire;

use crate::ApiState;
use crate::lag::{GroupsParams, consumers};
use crate::problem::ApiError;
use crate::range::Range;
use crate::respond::json;
use crate::topology::instant;
use crate::{changes, landmark, why};

/// Points of a chart, at most.
const POINTS: u64 = 120;
/// Events given, the newest of the range.
const EVENTS: u32 = 100;
/// Steps people can read.
const STEPS_S: [u64; 14] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400,
];

/// The smallest readable step that gives at most [`POINTS`] points and is not below the poll interval.
fn step_ns(range: Range, poll_ms: u64) -> u64 {
    let least = (range.to.since(range.from) / POINTS).max(poll_ms * 1_000_000);
    let seconds = STEPS_S
        .into_iter()
        .find(|step| step * 1_000_000_000 >= least);
    seconds.unwrap_or(STEPS_S[13]) * 1_000_000_000
}

pub(crate) async fn history(
    State(state): State<ApiState>,
    Path((cluster, group)): Path<(String, String)>,
    Query(params): Query<GroupsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let step = step_ns(range, state.about.poll_interval_ms);
    let first = range.from.0 / step;
    let steps = (range.to.0.div_ceil(step) - first) as usize;
    let at = |index: usize| UnixNanos((first + index as u64) * step);
    let rows = state
        .store
        .history()
        .lag_rows(&cluster, &group, range.from, range.to, None)
        .await
        .map_err(ApiError::internal("reading the lag's history"))?;

    // The last reading of a step stands for it.
    type Cell = Option<(Option<u64>, Option<u64>)>;
    let mut partitions: BTreeMap<(String, i32), Vec<Cell>> = BTreeMap::new();
    for row in &rows {
        let index = ((row.at.0 / step).saturating_sub(first) as usize).min(steps.saturating_sub(1));
        let cells = partitions
            .entry((row.topic.to_string(), row.partition))
            .or_insert_with(|| vec![None; steps]);
        if let Some(cell) = cells.get_mut(index) {
            let messages = row.committed.zip(row.end).map(|(committed, end)| {
                let from = committed.max(row.log_start.unwrap_or(committed));
                u64::try_from(end - from).unwrap_or(0)
            });
            *cell = Some((messages, row.time_lag_ms));
        }
    }
    let points = (0..steps)
        .map(|index| {
            let read = || partitions.values().filter_map(|cells| cells[index]);
            wire::LagPoint {
                at: instant(at(index)),
                lag_messages: read()
                    .filter_map(|(messages, _)| messages)
                    .fold(None, |sum, n| Some(sum.unwrap_or(0) + n)),
                time_lag_ms: read().filter_map(|(_, time)| time).max(),
            }
        })
        .collect();
    let partitions = partitions
        .into_iter()
        .map(|((topic, partition), cells)| wire::PartitionHistory {
            topic,
            partition,
            time_lag_ms: cells
                .into_iter()
                .map(|cell| cell.and_then(|(_, time)| time))
                .collect(),
        })
        .collect();

    let process = process(&state, &cluster, &group, first, step, steps).await?;
    // Where none failed, a search for the newest that did would look at all of them.
    let failed = process
        .iter()
        .any(|point| point.errors.is_none_or(|errors| errors > 0));
    let handlings = why::handlings(&state, &cluster, &group, range, failed).await?;
    let history = wire::GroupHistory {
        window: highwater_shared::Window {
            from: instant(at(0)),
            to: instant(at(steps)),
            rate_from: instant(range.from),
        },
        step_ms: step / 1_000_000,
        points,
        partitions,
        process,
        slowest: handlings.slowest,
        failing: handlings.failing,
        events: events(&state, &cluster, &group, range).await?,
        why: handlings.why,
    };
    json(&headers, &history)
}

/// Process time of each step, from the same sketches as the map. Where steps are finer than the flow's, those of one wide
/// step have its percentiles, and the first of them its counts, so that they add up.
async fn process(
    state: &ApiState,
    cluster: &str,
    group: &str,
    first: u64,
    step: u64,
    steps: usize,
) -> Result<Vec<wire::ProcessPoint>, ApiError> {
    let environment = state.environment_of(cluster);
    let (cluster, group) = (cluster.to_owned(), group.to_owned());
    let state = state.clone();
    let wide = step.max(FINEST_STEP_NS);
    let first_wide = first * step / wide;
    let wides = ((first + steps as u64) * step).div_ceil(wide) - first_wide;
    let work = tokio::task::spawn_blocking(move || {
        let from = UnixNanos(first_wide * wide);
        let flow = state.flow.read();
        flow.group_work(&environment, &cluster, &group, from, wide, wides as usize)
    })
    .await
    .map_err(ApiError::internal("computing process times"))?;
    let told: Vec<_> = work
        .iter()
        .flatten()
        .map(|work| (work, work.process.percentiles()))
        .collect();
    let point = |index: usize| {
        let at = (first + index as u64) * step;
        let (work, percentiles) = told.get((at / wide - first_wide) as usize).copied().unzip();
        let percentiles = percentiles.flatten();
        let counts = index == 0 || at.is_multiple_of(wide);
        let count = |number: u64| if counts { number } else { 0 };
        wire::ProcessPoint {
            at: instant(UnixNanos(at)),
            p95_ns: percentiles.map(|p| p.p95_ns),
            p99_ns: percentiles.map(|p| p.p99_ns),
            messages: work.map(|work| count(work.attempts)),
            errors: work.map(|work| count(work.errors)),
        }
    };
    Ok((0..steps).map(point).collect())
}

/// What happened to the group and to who reads for it, oldest first.
async fn events(
    state: &ApiState,
    cluster: &str,
    group: &str,
    range: Range,
) -> Result<Vec<wire::GroupEvent>, ApiError> {
    let failed = || ApiError::internal("reading what happened beside the lag");
    let history = state.store.history();
    let environment = state.environment_of(cluster);
    let consumers = consumers(state, range, environment.clone()).await?;
    let services = consumers.get(&(cluster.into(), group.into()));
    let mut events = Vec::new();
    for service in services.into_iter().flatten() {
        let subject = landmark::of_service(&environment, service);
        let deploys = history
            .landmarks(&subject, range.from, range.to, EVENTS)
            .await
            .map_err(failed())?;
        let deploys = deploys
            .into_iter()
            .filter(|of| of.kind == landmark::DEPLOYED);
        events.extend(deploys.map(|deploy| wire::GroupEvent {
            at: instant(deploy.at),
            kind: wire::GroupEventKind::Deployed,
            text: format!("{service} {}", deploy.text),
        }));
    }
    let subject = landmark::of_group(cluster, group);
    let own = history
        .landmarks(&subject, range.from, range.to, EVENTS)
        .await
        .map_err(failed())?;
    events.extend(own.into_iter().filter_map(|own| {
        Some(wire::GroupEvent {
            at: instant(own.at),
            kind: changes::kind(&own.kind)?,
            text: own.text,
        })
    }));
    let about = highwater_alerting::of_group(cluster, group);
    let alerts = history
        .alert_events_of(&about, range.from, range.to, EVENTS)
        .await
        .map_err(failed())?;
    events.extend(alerts.into_iter().filter_map(|alert| {
        let kind = changes::kind(&alert.kind)?;
        Some(wire::GroupEvent {
            at: instant(alert.at),
            kind,
            text: state.desk.rule_name(&alert.rule).unwrap_or(alert.rule),
        })
    }));
    events.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
    // The newest: they are what is asked for at the present.
    let more = events.len().saturating_sub(EVENTS as usize);
    events.drain(..more);
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::{Range, step_ns};
    use highwater_model::UnixNanos;

    #[test]
    fn steps_are_readable_and_bounded() {
        let range = |minutes: u64| Range {
            from: UnixNanos(0),
            to: UnixNanos(minutes * 60_000_000_000),
        };
        assert_eq!(step_ns(range(60), 15_000), 30_000_000_000);
        assert_eq!(step_ns(range(5), 15_000), 15_000_000_000);
        assert_eq!(step_ns(range(1), 1_000), 1_000_000_000);
        assert_eq!(step_ns(range(24 * 60), 15_000), 1_800_000_000_000);
    }
}
