//! The gauge: a group's level against its mark.

use highwater_shared::Level;
use leptos::prelude::*;

use crate::format::{duration_ms, gauge_level, time_lag};

/// Returns the class that colours a level; empty for what is fine.
pub(crate) const fn level_class(level: Level) -> &'static str {
    match level {
        Level::Critical => "crit",
        Level::Warning => "warn",
        Level::Ok => "",
        Level::Unknown => "unk",
    }
}

/// Draws a gauge of `height` px; `lag_ms` `None` is a dashed tube.
pub(crate) fn gauge(
    lag_ms: Option<u64>,
    mark_ms: u64,
    level: Level,
    height: f64,
) -> impl IntoView + use<> {
    let class = format!(
        "gauge {}",
        if lag_ms.is_none() {
            "unk"
        } else {
            level_class(level)
        }
    );
    let tip = match lag_ms {
        Some(lag) => format!("{} of a mark of {}", time_lag(lag), duration_ms(mark_ms)),
        None => format!(
            "Time lag is not known; the mark is {}",
            duration_ms(mark_ms)
        ),
    };
    let tube = height - 1.0;
    let filled = lag_ms.map_or(0.0, |lag| gauge_level(lag, mark_ms) * tube);
    // A lag that is not zero is seen.
    let filled = if lag_ms.is_some_and(|lag| lag > 0) {
        filled.max(1.5)
    } else {
        filled
    };
    let mark_y = 0.5 + tube * 0.3;
    view! {
        <svg class=class width="14" height=height viewBox=format!("0 0 14 {height}") role="img" aria-label=tip>
            <title>{tip.clone()}</title>
            <rect class="tube" x="3.5" y="0.5" width="7" height=tube rx="2"></rect>
            <rect class="lvl" x="3.5" y=0.5 + tube - filled width="7" height=filled rx="2"></rect>
            <path class="mk" d=format!("M1 {mark_y}h12")></path>
        </svg>
    }
}
