//! The collector's clock as the browser knows it.

use std::cell::Cell;
use std::time::Duration;

use highwater_shared::Instant;
use leptos::prelude::*;

thread_local! {
    /// Collector's clock less the browser's, in milliseconds, from the last `/api/v1/status`.
    static SKEW_MS: Cell<f64> = const { Cell::new(0.0) };
}

/// Returns the browser's clock in milliseconds.
pub(crate) fn browser_ms() -> f64 {
    js_sys::Date::now()
}

/// Takes over the collector's clock.
pub(crate) fn set_collector_now(now: Instant) {
    SKEW_MS.with(|skew| skew.set(now.as_millis() as f64 - browser_ms()));
}

/// Returns the present by the collector's clock, so that ages are right on a laptop whose clock is not.
pub(crate) fn now() -> Instant {
    let millis = browser_ms() + SKEW_MS.with(Cell::get);
    Instant((millis.max(0.0) as u64).saturating_mul(1_000_000))
}

/// A signal that rises every second, for ages on the page; still in a hidden tab.
#[derive(Clone, Copy)]
pub(crate) struct Second(RwSignal<u64>);

impl Second {
    /// Starts the clock. Called once.
    pub(crate) fn provide() -> Self {
        let second = Self(RwSignal::new(0));
        let handle = set_interval_with_handle(
            move || {
                if !document().hidden() {
                    second.0.update(|n| *n += 1);
                }
            },
            Duration::from_secs(1),
        );
        if let Ok(handle) = handle {
            on_cleanup(move || handle.clear());
        }
        provide_context(second);
        second
    }

    /// Finds the clock.
    pub(crate) fn get_context() -> Self {
        expect_context()
    }

    /// Returns the present by the collector's clock, tracked: again every second.
    pub(crate) fn now(self) -> Instant {
        self.0.track();
        now()
    }
}
