//! The control port: what can be done to the running shop, and asked of it, over loopback HTTP.
//!
//! `POST /pause/billing` (also `resume`, `slow`, `fail`, `drain`; service `all`), `GET /status`, `GET /ledger`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::Shop;
use crate::dials::Mode;

/// How a shop is doing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Orders whose record the broker has acknowledged.
    pub orders: u64,
    /// Orders are still being taken.
    pub taking_orders: bool,
    /// How each service works.
    pub services: BTreeMap<String, Mode>,
    /// Acknowledged records that each group has not handled yet, by the shop's own count.
    pub waiting: BTreeMap<String, u64>,
}

/// Returns the routes of a shop.
pub fn router(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/ledger", get(ledger))
        .route("/{action}/{service}", post(turn))
        .with_state(shop)
}

async fn status(State(shop): State<Arc<Shop>>) -> Json<Status> {
    Json(shop.status())
}

async fn ledger(State(shop): State<Arc<Shop>>) -> Response {
    match shop.ledger().await {
        Ok(ledger) => Json(ledger).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
    }
}

async fn turn(
    State(shop): State<Arc<Shop>>,
    Path((action, service)): Path<(String, String)>,
) -> Response {
    let turned = action
        .parse::<Mode>()
        .and_then(|mode| shop.turn(&service, mode).map(|()| mode));
    match turned {
        Ok(mode) => {
            tracing::info!(service, ?mode, "turned");
            format!("{service}: {action}\n").into_response()
        }
        Err(error) => (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    }
}
