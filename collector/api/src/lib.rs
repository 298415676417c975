//! The API and the embedded dashboard.
//!
//! Owns: HTTP on `--listen`, the mapping from the rooms' types to the wire's, who may ask, server-sent events, metrics,
//! the OpenAPI document. Refuses to know: SQL, broker protocols, how a span is read.
//!
//! Invariants: every list has a limit; every error is an RFC 9457 problem document; unknown is `null`, never 0;
//! computations that are linear in the data run off the async threads.

mod alerts;
mod assets;
mod changes;
mod channels;
mod clusters;
mod dead_letters;
mod events;
mod exposition;
mod find;
mod guard;
mod journeys;
mod lag;
mod lag_history;
pub mod landmark;
mod layouts;
mod maps;
mod marks;
mod metrics;
mod openapi;
mod problem;
mod range;
mod respond;
mod routes;
mod rules;
mod search;
mod services;
mod silences;
mod sparks;
mod status;
mod topology;
mod traces;
mod views;
mod why;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use highwater_alerting::Desk;
use highwater_deadletters::DeadLetters;
use highwater_flow::Flow;
use highwater_lag::LagEngine;
use highwater_model::UnixNanos;
use highwater_pipeline::Stats;
use highwater_receivers::{Counters, InFlight};
use highwater_shared::status::Listeners;
use highwater_store::Store;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

pub use clusters::{Clusters, Entry};
pub use events::{Events, topic};
pub use guard::Access;
pub use marks::Marks;
pub use services::Services;
pub use sparks::Sparks;

/// What the pages say of this process.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the binary.
    pub version: &'static str,
    /// Start of the process.
    pub started: UnixNanos,
    /// Where it listens.
    pub listeners: Listeners,
    /// Where it keeps its data.
    pub data_dir: String,
    /// Spans are kept this long.
    pub retention_ms: u64,
    /// Spans are kept up to this size.
    pub retention_bytes: u64,
    /// Between two polls of a cluster.
    pub poll_interval_ms: u64,
}

/// The rooms, as the handlers read them; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    rooms: Arc<Rooms>,
    layouts: Arc<layouts::Layouts>,
    maps: Arc<maps::Maps>,
}

/// See [`ApiState`].
pub struct Rooms {
    /// Spans and history.
    pub store: Store,
    /// The flow.
    pub flow: Arc<RwLock<Flow>>,
    /// Lag of now.
    pub lag: Arc<RwLock<LagEngine>>,
    /// Time lag by the minute.
    pub sparks: Arc<Sparks>,
    /// Marks of groups.
    pub marks: Marks,
    /// The newest word of every cluster.
    pub clusters: Arc<Clusters>,
    /// Dead letters.
    pub dead_letters: Arc<DeadLetters>,
    /// Alerts.
    pub desk: Arc<Desk>,
    /// Services seen.
    pub services: Arc<Services>,
    /// What changed.
    pub events: Arc<Events>,
    /// The pipeline's counters.
    pub pipeline: Arc<Stats>,
    /// The receivers' counters.
    pub counters: Arc<Counters>,
    /// What the requests in flight hold.
    pub in_flight: InFlight,
    /// Who may ask.
    pub access: Access,
    /// This process.
    pub about: About,
    /// Ends streams when the collector drains.
    pub shutdown: CancellationToken,
    /// What "now" is: the wall clock of the binary, a fixed instant of a test.
    pub clock: fn() -> UnixNanos,
}

impl std::ops::Deref for ApiState {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.rooms
    }
}

impl ApiState {
    /// Puts the rooms behind the handlers.
    #[must_use]
    pub fn new(rooms: Rooms) -> Self {
        Self {
            rooms: Arc::new(rooms),
            layouts: Arc::default(),
            maps: Arc::default(),
        }
    }

    fn now(&self) -> UnixNanos {
        (self.rooms.clock)()
    }

    /// The environment asked for; else the first one configured, else the first one seen.
    fn environment(&self, asked: Option<&str>) -> String {
        if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
            return asked.to_owned();
        }
        let configured = self
            .clusters
            .all()
            .first()
            .map(|entry| entry.status.environment.to_string());
        configured
            .or_else(|| {
                self.flow
                    .read()
                    .environments()
                    .first()
                    .map(|environment| environment.to_string())
            })
            .unwrap_or_else(|| "default".to_owned())
    }
}

/// Serves everything on `listener` until `stop`; event streams end then, other answers are finished. At most so many
/// `connections` are open at once.
pub async fn serve(
    listener: tokio::net::TcpListener,
    state: ApiState,
    connections: usize,
    stop: CancellationToken,
) {
    highwater_receivers::serve_pages(listener, router(state), connections, stop).await;
}

/// Everything on `--listen`.
pub fn router(state: ApiState) -> Router {
    // Streams are not compressed: an event must leave at once.
    let compressed = SizeAbove::new(1_024)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES);
    routes::router()
        .route("/api/openapi.json", get(openapi::document))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/login", post(guard::sign_in))
        .layer(CompressionLayer::new().compress_when(compressed))
        // Files are compressed already.
        .fallback(get(assets::serve))
        .layer(middleware::from_fn(problems))
        .layer(middleware::from_fn_with_state(state.clone(), guard::check))
        .layer(middleware::map_response(|mut response: Response| async {
            assets::secure(response.headers_mut());
            response
        }))
        .with_state(state)
}

/// Turns the plain answers of the framework (a parameter that cannot be read, a method that is not allowed) into
/// problem documents.
async fn problems(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let known = request.extensions().get::<MatchedPath>().is_some();
    let response = next.run(request).await;
    let status = response.status();
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    if !(status.is_client_error() && path.starts_with("/api/"))
        || kind == "application/problem+json"
    {
        return response;
    }
    let message = axum::body::to_bytes(response.into_body(), 4_096)
        .await
        .unwrap_or_default();
    let message = String::from_utf8_lossy(&message).into_owned();
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => problem::ApiError::MethodNotAllowed,
        StatusCode::NOT_FOUND if !known => {
            problem::ApiError::NotFound(format!("There is no {path}."))
        }
        // What is left names the parameter first.
        _ => problem::ApiError::BadRequest(
            message
                .trim_start_matches("Failed to deserialize query string: ")
                .to_owned(),
        ),
    };
    axum::response::IntoResponse::into_response(error)
}
