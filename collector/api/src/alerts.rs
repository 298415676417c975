//! What fires, what happened to it, and who has seen it.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_alerting::{DeskError, href};
use highwater_alerts::{Alert, EngineError, Phase, Severity, Unit, Watch};
use highwater_model::UnixNanos;
use highwater_shared::alerts as wire;
use highwater_shared::{Instant, Level};
use serde::Deserialize;

use crate::ApiState;
use crate::events::topic;
use crate::problem::ApiError;
use crate::range::RangeParams;
use crate::respond::json;
use crate::topology::{instant, list};

/// Events of a page of history.
const EVENTS: u32 = 100;
const MOST_EVENTS: u32 = 1_000;
/// A small chart is of this long.
const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Longest name that is taken for somebody's.
const LONGEST_NAME: usize = 80;

impl ApiError {
    /// What the desk refused: what was asked for is wrong or missing, or the store failed.
    pub(crate) fn of_desk(error: DeskError) -> Self {
        match error {
            DeskError::Book(highwater_alerting::BookError::Missing(what)) => Self::NotFound(what),
            DeskError::NoChannel(_) => Self::NotFound(error.to_string()),
            DeskError::Engine(EngineError::NoAlert(_) | EngineError::NoSilence(_)) => {
                Self::NotFound(sentence(&error.to_string()))
            }
            DeskError::Book(_) | DeskError::Engine(_) => {
                Self::BadRequest(sentence(&error.to_string()))
            }
            DeskError::Store(error) => Self::internal("keeping alerts")(error),
            DeskError::Channel(error) => Self::internal("telling alerts")(error),
        }
    }
}

/// An error's words as a sentence of a page.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = if words.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

/// A name as it was typed: whoever can open the page can type any.
pub(crate) fn name(typed: &str) -> Result<&str, ApiError> {
    let name = typed.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control)
    {
        return Err(ApiError::BadRequest(format!(
            "by: say who you are, in 1 to {LONGEST_NAME} characters."
        )));
    }
    Ok(name)
}

#[derive(Debug, Deserialize)]
pub(crate) struct AlertsParams {
    cluster: Option<String>,
}

pub(crate) async fn alerts(
    State(state): State<ApiState>,
    Query(params): Query<AlertsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now = state.now();
    let clusters = list(params.cluster.as_deref());
    let view = state.desk.view();
    let wanted = |alert: &&Alert| {
        let cluster = alert.subject.cluster.as_deref();
        clusters.is_empty() || cluster.is_none_or(|name| clusters.iter().any(|c| c == name))
    };
    let mut alerts: Vec<&Alert> = view.alerts.iter().filter(wanted).collect();
    alerts.sort_by_key(|alert| order(alert));
    json(
        &headers,
        &wire::Alerts {
            checked_at: view.checked_at.map(instant),
            alerts: alerts
                .into_iter()
                .map(|alert| to_wire(&state, alert, now))
                .collect(),
            omitted: view.not_kept as u64,
        },
    )
}

/// Firing, pending, resolved; the worst and then the oldest first, of what is over the newest.
fn order(alert: &Alert) -> (u8, std::cmp::Reverse<Severity>, u64) {
    let worst = std::cmp::Reverse(alert.severity);
    match alert.phase {
        Phase::Firing => (0, worst, alert.fired_at.map_or(0, |at| at.0)),
        Phase::Pending => (1, worst, alert.pending_since.0),
        Phase::Resolved => (
            2,
            std::cmp::Reverse(Severity::Critical),
            u64::MAX - alert.resolved_at.map_or(0, |at| at.0),
        ),
    }
}

pub(crate) async fn summary(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = state.desk.view();
    let firing: Vec<&Alert> = view.alerts.iter().filter(|alert| is_told(alert)).collect();
    let newest = firing.iter().max_by_key(|alert| alert.fired_at);
    let level = match firing.iter().map(|alert| alert.severity).max() {
        Some(Severity::Critical) => Level::Critical,
        Some(Severity::Warning) => Level::Warning,
        None if view.checked_at.is_none() => Level::Unknown,
        None => Level::Ok,
    };
    json(
        &headers,
        &wire::AlertSummary {
            firing: firing.len() as u64,
            unacknowledged: firing
                .iter()
                .filter(|alert| alert.acknowledged.is_none())
                .count() as u64,
            level,
            newest: newest.map(|alert| alert.sentence.clone()),
            newest_id: newest.map(|alert| alert.id.to_string()),
        },
    )
}

/// It fires, and nothing keeps it from being told.
fn is_told(alert: &Alert) -> bool {
    alert.phase == Phase::Firing && alert.silenced_by.is_none() && alert.inhibited_by.is_none()
}

#[derive(Debug, Deserialize)]
pub(crate) struct HistoryParams {
    #[serde(flatten)]
    range: RangeParams,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub(crate) async fn history(
    State(state): State<ApiState>,
    Query(params): Query<HistoryParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let range = params.range.resolve(state.now())?;
    let limit = params.limit.unwrap_or(EVENTS).clamp(1, MOST_EVENTS);
    let before = match params.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
        None => None,
        Some(cursor) => Some(cursor.parse::<i64>().map_err(|_| {
            ApiError::BadRequest(format!("cursor = {cursor:?} is none that was given out."))
        })?),
    };
    let history = state.store.history();
    let events = history
        .alert_events(range.from, range.to, limit, before)
        .await
        .map_err(ApiError::internal("reading the history of alerts"))?;
    let more = events.len() as u32 == limit;
    let next_cursor = events
        .last()
        .filter(|_| more)
        .map(|last| last.id.to_string());
    let events = events.into_iter().map(|stored| {
        let event = stored.event;
        wire::AlertEvent {
            at: instant(event.at),
            kind: event.kind,
            alert: event.alert,
            rule_name: state.desk.rule_name(&event.rule),
            rule: event.rule,
            subject: event.subject,
            severity: match event.severity.as_str() {
                "critical" => Some(wire::Severity::Critical),
                "warning" => Some(wire::Severity::Warning),
                _ => None,
            },
            sentence: event.sentence,
            by: event.by_whom,
        }
    });
    json(
        &headers,
        &wire::AlertHistory {
            events: events.collect(),
            next_cursor,
        },
    )
}

pub(crate) async fn acknowledge(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<wire::ActRequest>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let done = state.desk.acknowledge(&id, name(&request.by)?, now).await;
    acted(&state, &headers, &done.map_err(ApiError::of_desk)?, now)
}

pub(crate) async fn unacknowledge(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<wire::ActRequest>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let done = state.desk.unacknowledge(&id, name(&request.by)?, now).await;
    acted(&state, &headers, &done.map_err(ApiError::of_desk)?, now)
}

fn acted(
    state: &ApiState,
    headers: &HeaderMap,
    alert: &Alert,
    now: UnixNanos,
) -> Result<Response, ApiError> {
    state.events.publish(topic::ALERTS, now);
    json(headers, &to_wire(state, alert, now))
}

pub(crate) fn severity(severity: Severity) -> wire::Severity {
    match severity {
        Severity::Critical => wire::Severity::Critical,
        Severity::Warning => wire::Severity::Warning,
    }
}

/// What a value of a watch is counted in.
pub(crate) fn unit(watch: Watch) -> Option<&'static str> {
    Some(match (watch.unit()?, watch) {
        (Unit::Duration, _) => "ms",
        (Unit::Percent, _) => "percent",
        (Unit::Rate, _) => "per_h",
        (Unit::Count, Watch::RebalanceStorm) => "changes",
        (Unit::Count, Watch::CollectorRefuses) => "requests",
        (Unit::Count, _) => "messages",
    })
}

fn to_wire(state: &ApiState, alert: &Alert, now: UnixNanos) -> wire::Alert {
    let text = |text: &std::sync::Arc<str>| text.to_string();
    let subject = &alert.subject;
    let last_hour = match (&subject.cluster, &subject.group) {
        (Some(cluster), Some(group)) => state
            .sparks
            .points(cluster, group, now - HOUR, now)
            .into_iter()
            .map(|point| point.map(|ms| ms as f64))
            .collect(),
        _ => Vec::new(),
    };
    wire::Alert {
        id: alert.id.to_string(),
        rule: alert.rule.to_string(),
        rule_name: alert.rule_name.to_string(),
        watch: alert.watch.as_str().to_owned(),
        severity: severity(alert.severity),
        phase: match alert.phase {
            Phase::Pending => wire::Phase::Pending,
            Phase::Firing => wire::Phase::Firing,
            Phase::Resolved => wire::Phase::Resolved,
        },
        subject: wire::Subject {
            cluster: subject.cluster.as_ref().map(text),
            group: subject.group.as_ref().map(text),
            topic: subject.topic.as_ref().map(text),
            partition: subject.partition,
            service: subject.service.as_ref().map(text),
        },
        sentence: alert.sentence.clone(),
        href: href(alert),
        runbook: alert.runbook.as_ref().map(text),
        pending_since: instant(alert.pending_since),
        fires_at: state.desk.fires_at(alert).map(instant),
        fired_at: alert.fired_at.map(instant),
        resolved_at: alert.resolved_at.map(instant),
        why_resolved: alert.why_resolved.clone(),
        value: alert.value,
        over: alert.over,
        unit: unit(alert.watch).map(str::to_owned),
        last_hour,
        acknowledged: alert
            .acknowledged
            .as_ref()
            .map(|act| act_of(&act.by, act.at)),
        silenced_by: alert.silenced_by.as_ref().map(text),
        inhibited_by: alert.inhibited_by.as_ref().map(ToString::to_string),
        unknown_since: alert.unknown_since.as_ref().map(|(at, _)| instant(*at)),
        unknown_reason: alert.unknown_since.as_ref().map(|(_, why)| why.to_string()),
        flapping: alert.flapping,
        told: alert.told.iter().map(text).collect(),
    }
}

pub(crate) fn act_of(by: &str, at: UnixNanos) -> wire::Act {
    wire::Act {
        by: by.to_owned(),
        at: Instant(at.0),
    }
}
