//! What changed, told to every open page. No page data travels here: a page fetches again with its ETag.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use highwater_model::UnixNanos;
use highwater_shared::{Change, Instant};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::ApiState;

/// Changes a page may be behind before it is told to catch up with everything.
const BACKLOG: usize = 256;

/// Topics of changes.
pub mod topic {
    /// Nodes, edges or their numbers.
    pub const TOPOLOGY: &str = "topology";
    /// Lag of groups.
    pub const GROUPS: &str = "groups";
    /// State of clusters.
    pub const BROKERS: &str = "brokers";
    /// Depth of dead-letter topics.
    pub const DEAD_LETTERS: &str = "dead_letters";
    /// Alerts, rules, silences, deliveries.
    pub const ALERTS: &str = "alerts";
    /// Spans were committed.
    pub const TRACES: &str = "traces";
    /// Counters and store.
    pub const STATUS: &str = "status";
}

/// The bus between the rooms and the pages.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Change>,
    latest: Mutex<BTreeMap<&'static str, Change>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            latest: Mutex::default(),
        }
    }
}

impl Events {
    /// Tells every open page that `topic` changed at `now`.
    pub fn publish(&self, topic: &'static str, now: UnixNanos) {
        let change = {
            let mut latest = self.latest.lock();
            let version = latest.get(topic).map_or(1, |change| change.version + 1);
            let change = Change {
                topic: topic.to_owned(),
                version,
                at: Instant(now.0),
            };
            latest.insert(topic, change.clone());
            change
        };
        // Nobody listening is fine.
        let _ = self.sender.send(change);
    }

    /// The version of `topic`, 0 before its first change.
    #[must_use]
    pub fn version(&self, topic: &str) -> u64 {
        self.latest
            .lock()
            .get(topic)
            .map_or(0, |change| change.version)
    }
}

/// The event stream: first the newest change of each topic, so that a page that reconnects misses nothing.
pub(crate) async fn stream(
    State(state): State<ApiState>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = &state.events;
    let receiver = BroadcastStream::new(events.sender.subscribe());
    let first: Vec<Change> = events.latest.lock().values().cloned().collect();
    let live = receiver.map(|change| match change {
        Ok(change) => event(&change),
        // The page was too slow: it reads everything again.
        Err(_) => Event::default().event("resync").data("{}"),
    });
    let first = stream::iter(first.into_iter().map(|change| event(&change)));
    let until = state.shutdown.clone().cancelled_owned();
    Sse::new(first.chain(live).map(Ok).take_until(until))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

fn event(change: &Change) -> Event {
    Event::default()
        .event("change")
        .id(change.version.to_string())
        .json_data(change)
        .unwrap_or_else(|_| Event::default().event("resync").data("{}"))
}
