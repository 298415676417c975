//! Live updates: one event stream a tab.
//!
//! The stream says what changed, never the data: a page fetches again with its `ETag`. A browser opens six connections
//! to one host, all its tabs together, and a stream holds one for as long as it is open. So only what is looked at has
//! one: it is closed when the tab is hidden and when the page is left (a browser keeps the page it left alive, to come
//! back to it, and its stream with it), and opened when the page is looked at again. A stream that fails is tried again
//! with growing pauses. Whoever listens fetches again after a gap, because changes in it were not heard.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_shared::Change;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

use super::query::Query;

/// State of the event stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Connection {
    /// Not yet open.
    Connecting,
    /// Open.
    Open,
    /// Lost; tried again by itself.
    Reconnecting,
    /// Closed because the tab is hidden.
    Hidden,
}

/// How long a hidden tab keeps its stream: longer than a look at another one.
const HIDDEN_FOR: Duration = Duration::from_secs(2);
/// Longest pause before the stream is tried again.
const LONGEST_PAUSE_S: u64 = 30;

/// The live updates of a tab.
#[derive(Clone, Copy)]
pub(crate) struct Live {
    /// State of the stream.
    pub(crate) connection: RwSignal<Connection>,
    /// Newest version heard, by topic.
    versions: RwSignal<BTreeMap<String, u64>>,
    /// Rises when changes may have been missed: the stream was away.
    generation: RwSignal<u64>,
    /// Changes held back while paused.
    pub(crate) waiting: RwSignal<u64>,
    /// Browser time of the newest data shown, in milliseconds.
    pub(crate) fetched_ms: RwSignal<f64>,
    /// The person paused, or the range does not move.
    pub(crate) paused: Memo<bool>,
    /// The person paused.
    pub(crate) stopped: Memo<bool>,
    query: Query,
    source: StoredValue<Option<Source>, LocalStorage>,
    pause_s: StoredValue<u64>,
}

/// The stream and its callbacks, which must live as long.
struct Source {
    stream: EventSource,
    _open: Closure<dyn FnMut()>,
    _error: Closure<dyn FnMut()>,
    message: Closure<dyn FnMut(MessageEvent)>,
    resync: Closure<dyn FnMut()>,
}

/// The stream's events: something changed; the stream was too slow and everything may have changed.
const CHANGE: &str = "change";
const RESYNC: &str = "resync";

impl Drop for Source {
    fn drop(&mut self) {
        self.stream.set_onopen(None);
        self.stream.set_onerror(None);
        let message = self.message.as_ref().unchecked_ref();
        let resync = self.resync.as_ref().unchecked_ref();
        let _ = self
            .stream
            .remove_event_listener_with_callback(CHANGE, message);
        let _ = self
            .stream
            .remove_event_listener_with_callback(RESYNC, resync);
        self.stream.close();
    }
}

impl Live {
    /// Opens the stream and makes it known below. Called once, inside the router.
    pub(crate) fn provide() -> Self {
        let query = Query::get_context();
        let live = Self {
            connection: RwSignal::new(Connection::Connecting),
            versions: RwSignal::new(BTreeMap::new()),
            generation: RwSignal::new(0),
            waiting: RwSignal::new(0),
            fetched_ms: RwSignal::new(0.0),
            paused: Memo::new(move |_| {
                query.get("live").as_deref() == Some("0") || !query.is_relative()
            }),
            stopped: Memo::new(move |_| query.get("live").as_deref() == Some("0")),
            query,
            source: StoredValue::new_local(None),
            pause_s: StoredValue::new(1),
        };
        provide_context(live);
        if document().hidden() {
            // Opened beside the page that is read: it listens once it is looked at.
            live.close();
        } else {
            live.open();
        }
        live.follow_visibility();
        Effect::new(move |was: Option<bool>| {
            let paused = live.paused.get();
            if was == Some(true) && !paused {
                live.waiting.set(0);
                live.generation.update(|n| *n += 1);
            }
            paused
        });
        live
    }

    /// Finds the live updates.
    pub(crate) fn get_context() -> Self {
        expect_context()
    }

    /// Returns a number that rises when one of `topics` changed or changes may have been missed; tracked.
    pub(crate) fn version(self, topics: &[&str]) -> u64 {
        let heard = self.versions.with(|versions| {
            topics
                .iter()
                .filter_map(|topic| versions.get(*topic))
                .fold(0_u64, |sum, version| sum.wrapping_add(*version))
        });
        heard.wrapping_add(self.generation.get() << 40)
    }

    /// Pauses or goes on, in the address.
    pub(crate) fn toggle(self) {
        let query = self.query;
        if self.paused.get_untracked() {
            // An absolute range cannot be live: going on means going back to now.
            let absolute = !untrack(|| query.is_relative());
            if absolute {
                query.change(&[("live", None), ("from", None), ("to", None)], false);
            } else {
                query.set("live", None);
            }
        } else {
            query.set("live", Some("0"));
        }
    }

    /// Opens the stream.
    fn open(self) {
        let Ok(stream) = EventSource::new("/api/v1/events") else {
            self.connection.set(Connection::Reconnecting);
            return;
        };
        let open = Closure::<dyn FnMut()>::new(move || {
            let before = self.connection.get_untracked();
            self.pause_s.set_value(1);
            self.connection.set(Connection::Open);
            if before != Connection::Connecting {
                self.generation.update(|n| *n += 1);
            }
        });
        let error = Closure::<dyn FnMut()>::new(move || {
            self.connection.set(Connection::Reconnecting);
            let closed = self.source.with_value(|source| {
                source
                    .as_ref()
                    .is_some_and(|s| s.stream.ready_state() == EventSource::CLOSED)
            });
            // The browser tries again by itself unless the answer was no event stream.
            if closed {
                let pause = self.pause_s.get_value();
                self.pause_s.set_value((pause * 2).min(LONGEST_PAUSE_S));
                set_timeout(
                    move || {
                        if self.connection.try_get_untracked() == Some(Connection::Reconnecting) {
                            self.open();
                        }
                    },
                    Duration::from_secs(pause),
                );
            }
        });
        let message = Closure::<dyn FnMut(MessageEvent)>::new(move |ev: MessageEvent| {
            let Some(text) = ev.data().as_string() else {
                return;
            };
            let Ok(change) = serde_json::from_str::<Change>(&text) else {
                return;
            };
            // What the stream names is bounded by what the dashboard knows.
            const KNOWN: [&str; 7] = [
                "alerts",
                "topology",
                "groups",
                "brokers",
                "dead_letters",
                "traces",
                "status",
            ];
            if KNOWN.contains(&change.topic.as_str()) {
                self.versions.update(|versions| {
                    versions.insert(change.topic, change.version);
                });
            }
        });
        stream.set_onopen(Some(open.as_ref().unchecked_ref()));
        stream.set_onerror(Some(error.as_ref().unchecked_ref()));
        let resync = Closure::<dyn FnMut()>::new(move || self.generation.update(|n| *n += 1));
        let _ = stream.add_event_listener_with_callback(CHANGE, message.as_ref().unchecked_ref());
        let _ = stream.add_event_listener_with_callback(RESYNC, resync.as_ref().unchecked_ref());
        let source = Source {
            stream,
            _open: open,
            _error: error,
            message,
            resync,
        };
        self.source.set_value(Some(source));
    }

    /// Closes the stream of what is not looked at.
    fn close(self) {
        self.source.try_set_value(None);
        self.connection.try_set(Connection::Hidden);
    }

    /// Opens the stream of what is looked at again.
    fn reopen(self) {
        if self.connection.get_untracked() == Connection::Hidden {
            self.connection.set(Connection::Reconnecting);
            self.open();
        }
    }

    /// Closes the stream of a tab that is hidden and of a page that is left, opens it when it is looked at.
    fn follow_visibility(self) {
        let visibility = window_event_listener_untyped("visibilitychange", move |_| {
            if document().hidden() {
                set_timeout(
                    move || {
                        if document().hidden() {
                            self.close();
                        }
                    },
                    HIDDEN_FOR,
                );
            } else {
                self.reopen();
            }
        });
        // Not after a pause: a page that is kept to come back to is frozen, and its timers with it.
        let left = window_event_listener_untyped("pagehide", move |_| self.close());
        let back = window_event_listener_untyped("pageshow", move |_| {
            if !document().hidden() {
                self.reopen();
            }
        });
        on_cleanup(move || {
            visibility.remove();
            left.remove();
            back.remove();
        });
    }
}
