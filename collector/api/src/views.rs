//! Small mappings that several pages share.

use std::time::Duration;

use highwater_flow as flow;
use highwater_lag as lag;
use highwater_shared::lag as wire;
use highwater_shared::topology::Percentiles;
use highwater_shared::{Level, Window};

use crate::topology::instant;

/// From here to the mark a group is worth a look.
const WARNING_SHARE: f64 = 0.5;

pub(crate) fn window(window: flow::Window) -> Window {
    Window {
        from: instant(window.from),
        to: instant(window.to),
        rate_from: instant(window.rate_from),
    }
}

pub(crate) fn percentiles(of: flow::Percentiles) -> Percentiles {
    Percentiles {
        p50_ns: of.p50_ns,
        p95_ns: of.p95_ns,
        p99_ns: of.p99_ns,
        samples: of.samples,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn state(state: lag::State) -> wire::State {
    match state {
        lag::State::DataLoss => wire::State::DataLoss,
        lag::State::Stopped => wire::State::Stopped,
        lag::State::Stalled => wire::State::Stalled,
        lag::State::BeyondEnd => wire::State::BeyondEnd,
        lag::State::FallingBehind => wire::State::FallingBehind,
        lag::State::Rewound => wire::State::Rewound,
        lag::State::Unknown => wire::State::Unknown,
        lag::State::NoCommit => wire::State::NoCommit,
        lag::State::Ok => wire::State::Ok,
    }
}

pub(crate) fn bound(bound: lag::Bound) -> wire::Bound {
    match bound {
        lag::Bound::Exact => wire::Bound::Exact,
        lag::Bound::AtLeast => wire::Bound::AtLeast,
        lag::Bound::AtMost => wire::Bound::AtMost,
    }
}

/// The colour of a group: its level against its mark; data loss is always critical, whatever the level.
pub(crate) fn level(state: wire::State, time_lag_ms: Option<u64>, mark_ms: u64) -> Level {
    let behind = match time_lag_ms {
        Some(time) if time > mark_ms => Level::Critical,
        Some(time) if time as f64 > mark_ms as f64 * WARNING_SHARE => Level::Warning,
        _ => Level::Ok,
    };
    match state {
        wire::State::DataLoss => Level::Critical,
        wire::State::Unknown => Level::Unknown,
        wire::State::Stopped | wire::State::Stalled if behind == Level::Critical => Level::Critical,
        wire::State::Stopped
        | wire::State::Stalled
        | wire::State::BeyondEnd
        | wire::State::FallingBehind
        | wire::State::Rewound
            if behind == Level::Ok =>
        {
            Level::Warning
        }
        _ => behind,
    }
}

#[cfg(test)]
mod tests {
    use super::{level, wire::State};
    use highwater_shared::Level;

    #[test]
    fn level_follows_the_mark_and_the_state_only_warns() {
        assert_eq!(level(State::Ok, Some(0), 60_000), Level::Ok);
        assert_eq!(level(State::Ok, Some(40_000), 60_000), Level::Warning);
        assert_eq!(
            level(State::FallingBehind, Some(70_000), 60_000),
            Level::Critical
        );
        assert_eq!(
            level(State::FallingBehind, Some(1_000), 60_000),
            Level::Warning
        );
        assert_eq!(level(State::DataLoss, Some(0), 60_000), Level::Critical);
        assert_eq!(level(State::Unknown, None, 60_000), Level::Unknown);
    }
}
