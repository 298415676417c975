//! Silences and maintenance windows.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_alerts::{Alert, Globs, Maintenance, Matchers, Phase, Silence};
use highwater_model::UnixNanos;
use highwater_shared::alerts as wire;

use crate::ApiState;
use crate::alerts::{act_of, name};
use crate::events::topic;
use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::instant;

pub(crate) async fn silences(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now = state.now();
    let alerts = state.desk.view().alerts;
    let mut silences = state.desk.silences();
    // Those that count, those to come, those that are over.
    silences.sort_by_key(|silence| {
        let rank = match (silence.is_active(now), silence.starts > now) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        (rank, silence.ends)
    });
    let maintenance = state.desk.maintenance();
    json(
        &headers,
        &wire::Silences {
            silences: silences
                .iter()
                .map(|one| to_wire(one, &alerts, now))
                .collect(),
            maintenance: maintenance.iter().map(|one| window(one, now)).collect(),
        },
    )
}

pub(crate) async fn silence(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Json(request): Json<wire::SilenceRequest>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let matchers = request.matchers;
    let silence = Silence {
        id: format!("{:x}", now.0).into(),
        matchers: Matchers {
            rule: globs(matchers.rule),
            cluster: globs(matchers.cluster),
            group: globs(matchers.group),
            topic: globs(matchers.topic),
            service: globs(matchers.service),
        },
        starts: request.starts.map_or(now, |at| UnixNanos(at.0)),
        ends: UnixNanos(request.ends.0),
        author: name(&request.author)?.into(),
        comment: request.comment,
        created_at: now,
        ended: None,
    };
    let answer = to_wire(&silence, &[], now);
    state
        .desk
        .silence(silence, now)
        .await
        .map_err(ApiError::of_desk)?;
    state.events.publish(topic::ALERTS, now);
    json(&headers, &answer)
}

pub(crate) async fn end(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(request): Json<wire::ActRequest>,
) -> Result<Response, ApiError> {
    let now = state.now();
    let by = name(&request.by)?;
    state
        .desk
        .end_silence(&id, by, now)
        .await
        .map_err(ApiError::of_desk)?;
    state.events.publish(topic::ALERTS, now);
    let silences = state.desk.silences();
    let ended = silences.iter().find(|silence| *silence.id == *id);
    let ended = ended.ok_or_else(|| ApiError::NotFound(format!("There is no silence {id}.")))?;
    json(&headers, &to_wire(ended, &[], now))
}

/// Several globs may stand in one field, by comma.
fn globs(text: Option<String>) -> Globs {
    let text = text.unwrap_or_default();
    let globs = text
        .split(',')
        .map(str::trim)
        .filter(|glob| !glob.is_empty());
    Globs(globs.map(str::to_owned).collect())
}

fn text(globs: &Globs) -> Option<String> {
    (!globs.is_empty()).then(|| globs.0.join(", "))
}

fn matchers_to_wire(matchers: &Matchers) -> wire::Matchers {
    wire::Matchers {
        rule: text(&matchers.rule),
        cluster: text(&matchers.cluster),
        group: text(&matchers.group),
        topic: text(&matchers.topic),
        service: text(&matchers.service),
    }
}

fn to_wire(silence: &Silence, alerts: &[Alert], now: UnixNanos) -> wire::Silence {
    let kept = alerts.iter().filter(|alert| {
        alert.phase == Phase::Firing && alert.silenced_by.as_ref() == Some(&silence.id)
    });
    wire::Silence {
        id: silence.id.to_string(),
        matchers: matchers_to_wire(&silence.matchers),
        starts: instant(silence.starts),
        ends: instant(silence.ends),
        author: silence.author.to_string(),
        comment: silence.comment.clone(),
        ended: silence
            .ended
            .as_ref()
            .map(|ended| act_of(&ended.by, ended.at)),
        active: silence.is_active(now),
        silences_now: kept.count() as u64,
    }
}

fn window(window: &Maintenance, now: UnixNanos) -> wire::Maintenance {
    let spec = window.spec();
    let mut when = format!("{} {} to {} UTC", spec.days.join(", "), spec.from, spec.to);
    for (what, globs) in window.matchers().lists() {
        if let Some(globs) = text(globs) {
            when.push_str(&format!(", {what} {globs}"));
        }
    }
    wire::Maintenance {
        name: spec.name.clone(),
        when,
        active: window.is_active(now),
    }
}
