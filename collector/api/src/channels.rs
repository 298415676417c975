//! Where alerts are told, and what was delivered.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use highwater_notifiers::Message;
use highwater_shared::alerts as wire;
use highwater_store::{DeliveryRow, DeliveryState};

use crate::ApiState;
use crate::events::topic;
use crate::problem::ApiError;
use crate::respond::json;
use crate::topology::instant;

/// The newest deliveries that a page shows.
const DELIVERIES: u32 = 100;

pub(crate) async fn channels(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let channels = state
        .desk
        .channel_views()
        .await
        .map_err(ApiError::of_desk)?;
    let deliveries = state
        .desk
        .deliveries(DELIVERIES)
        .await
        .map_err(ApiError::of_desk)?;
    json(
        &headers,
        &wire::Channels {
            channels: channels
                .into_iter()
                .map(|channel| wire::Channel {
                    name: channel.name,
                    kind: channel.kind.to_owned(),
                    target: channel.target,
                    delivered_at: channel.delivered_at.map(instant),
                    waiting: channel.waiting,
                    problem: channel.problem,
                })
                .collect(),
            deliveries: deliveries.into_iter().map(delivery).collect(),
        },
    )
}

pub(crate) async fn test(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let outcome = state
        .desk
        .test(&name, state.clock)
        .await
        .map_err(ApiError::of_desk)?;
    state.events.publish(topic::ALERTS, state.now());
    json(
        &headers,
        &wire::TestResult {
            delivered: outcome.delivered,
            detail: outcome.detail,
        },
    )
}

fn delivery(row: DeliveryRow) -> wire::Delivery {
    let message = serde_json::from_slice::<Message>(&row.message).ok();
    wire::Delivery {
        id: row.id,
        channel: row.channel,
        kind: row.kind,
        created_at: instant(row.created_at),
        state: match row.state {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
        .to_owned(),
        attempts: row.attempts,
        last_at: row.last_at.map(instant),
        next_at: row.next_at.map(instant),
        detail: row.detail.unwrap_or_default(),
        alerts: row.alerts,
        sentence: message
            .and_then(|message| Some(message.alerts.first()?.sentence.clone()))
            .unwrap_or_default(),
    }
}
