//! The alert rules: what counts, what a form saves, and whether a rule would have fired.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_alerting::Attempt;
use highwater_alerts::{About, Origin, Phase, Rule, RuleSpec, Unit, Watch};
use highwater_model::UnixNanos;
use highwater_shared::alerts as wire;

use crate::ApiState;
use crate::alerts::{severity, unit};
use crate::events::topic;
use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::instant;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Back to where a rule is tried at most: hours.
const LONGEST_TRIAL: u32 = 168;

pub(crate) async fn rules(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    json(&headers, &all(&state).await?)
}

async fn all(state: &ApiState) -> Result<wire::Rules, ApiError> {
    let view = state
        .desk
        .rules(state.now() - WEEK)
        .await
        .map_err(ApiError::of_desk)?;
    let firing = firing(state);
    let fired = |id: &str| {
        let count = view.fired.iter().find(|(rule, _)| rule == id);
        count.map_or(0, |(_, count)| *count)
    };
    let mut rules: Vec<&Rule> = view.rules.iter().collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.origin));
    Ok(wire::Rules {
        rules: rules
            .into_iter()
            .map(|rule| to_wire(rule, &firing, fired(&rule.id)))
            .collect(),
        watches: Watch::ALL.into_iter().map(watch).collect(),
        problems: view.problems,
        file: view.file.map(|file| file.display().to_string()),
    })
}

/// The rules of what fires, one entry an alert.
fn firing(state: &ApiState) -> Vec<String> {
    let alerts = state.desk.view().alerts.into_iter();
    alerts
        .filter(|alert| alert.phase == Phase::Firing)
        .map(|alert| alert.rule.to_string())
        .collect()
}

pub(crate) async fn save(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Json(request): Json<wire::RuleSpec>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let saved = state
        .desk
        .save_rule(spec(request), now)
        .await
        .map_err(ApiError::of_desk)?;
    one(&state, &headers, &saved, now).await
}

pub(crate) async fn enable(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<wire::EnabledRequest>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let rule = state.desk.enable_rule(&id, request.enabled, now).await;
    one(&state, &headers, &rule.map_err(ApiError::of_desk)?, now).await
}

async fn one(
    state: &ApiState,
    headers: &HeaderMap,
    rule: &Rule,
    now: UnixNanos,
) -> Result<Response, ApiError> {
    state.events.publish(topic::ALERTS, now);
    let fired = state
        .desk
        .rules(now - WEEK)
        .await
        .map_err(ApiError::of_desk)?
        .fired;
    let fired = fired.iter().find(|(id, _)| **id == *rule.id);
    json(
        headers,
        &to_wire(rule, &firing(state), fired.map_or(0, |(_, count)| *count)),
    )
}

pub(crate) async fn remove(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now = state.now();
    state
        .desk
        .remove_rule(&id, now)
        .await
        .map_err(ApiError::of_desk)?;
    state.events.publish(topic::ALERTS, now);
    json(&headers, &all(&state).await?)
}

pub(crate) async fn attempt(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Json(request): Json<wire::TrialRequest>,
) -> Result<Response, ApiError> {
    let hours = request.hours.clamp(1, LONGEST_TRIAL);
    let back = Duration::from_secs(u64::from(hours) * 3_600);
    let groups: Vec<_> = state.lag.read().groups().keys().cloned().collect();
    let tried = state
        .desk
        .attempt(
            spec(request.spec),
            groups,
            request.group.as_deref(),
            back,
            state.now(),
        )
        .await
        .map_err(ApiError::of_desk)?;
    json(&headers, &attempt_to_wire(tried))
}

fn attempt_to_wire(tried: Attempt) -> wire::Trial {
    wire::Trial {
        from: instant(tried.from),
        to: instant(tried.to),
        groups: tried
            .groups
            .into_iter()
            .map(|group| wire::TrialGroup {
                id: group.id,
                firings: group.firings,
            })
            .collect(),
        drawn: tried.drawn,
        points: tried
            .points
            .into_iter()
            .map(|(at, value)| wire::TrialPoint {
                at: instant(at),
                value,
            })
            .collect(),
        firings: tried
            .firings
            .into_iter()
            .map(|firing| wire::TrialFiring {
                from: instant(firing.from),
                to: firing.to.map(instant),
            })
            .collect(),
        over: tried.rule.threshold,
        unit: unit(tried.rule.watch).map(str::to_owned),
        reason: tried.reason,
    }
}

fn spec(spec: wire::RuleSpec) -> RuleSpec {
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    RuleSpec {
        id: spec.id,
        name: filled(spec.name),
        watch: spec.watch,
        over: filled(spec.over),
        hold: filled(spec.hold),
        clear_under: filled(spec.clear_under),
        clear_for: filled(spec.clear_for),
        within: filled(spec.within),
        severity: filled(spec.severity),
        cluster: spec.cluster,
        group: spec.group,
        topic: spec.topic,
        service: spec.service,
        tell: spec.tell,
        runbook: filled(spec.runbook),
        enabled: spec.enabled.unwrap_or(true),
    }
}

fn spec_to_wire(spec: &RuleSpec) -> wire::RuleSpec {
    let spec = spec.clone();
    wire::RuleSpec {
        id: spec.id,
        name: spec.name,
        watch: spec.watch,
        over: spec.over,
        hold: spec.hold,
        clear_under: spec.clear_under,
        clear_for: spec.clear_for,
        within: spec.within,
        severity: spec.severity,
        cluster: spec.cluster,
        group: spec.group,
        topic: spec.topic,
        service: spec.service,
        tell: spec.tell,
        runbook: spec.runbook,
        enabled: Some(spec.enabled),
    }
}

fn to_wire(rule: &Rule, firing: &[String], fired_7d: u64) -> wire::Rule {
    wire::Rule {
        spec: spec_to_wire(rule.spec()),
        name: rule.name.to_string(),
        origin: match rule.origin {
            Origin::BuiltIn => "built_in",
            Origin::File => "file",
            Origin::Form => "form",
        }
        .to_owned(),
        watches: rule.looks_at(),
        fires_over: rule.fires_when(),
        severity: severity(rule.severity),
        enabled: rule.enabled,
        firing: firing.iter().filter(|id| **id == *rule.id).count() as u64,
        fired_7d,
    }
}

fn watch(watch: Watch) -> wire::Watch {
    wire::Watch {
        id: watch.as_str().to_owned(),
        label: watch.label().to_owned(),
        unit: watch.unit().map(|unit| {
            match unit {
                Unit::Duration => "duration",
                Unit::Count => "count",
                Unit::Rate => "rate",
                Unit::Percent => "percent",
            }
            .to_owned()
        }),
        of: match watch.about() {
            About::Group => "group",
            About::Queue => "queue",
            About::Edge => "edge",
            About::Cluster => "cluster",
            About::Service => "service",
            About::Collector => "collector",
        }
        .to_owned(),
        less_is_worse: watch.less_is_worse(),
        can_be_tried: watch.in_history(),
        help: watch.help().to_owned(),
    }
}
