//! Time ranges of requests: RFC 3339 instants or `now-1h`.

use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_shared::Instant;
use serde::Deserialize;

use crate::problem::ApiError;

/// The parameters that every list and chart takes.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RangeParams {
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

/// A half-open range, `from` before `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
}

const DEFAULT_RANGE: Duration = Duration::from_secs(3_600);

impl RangeParams {
    /// Resolves against `now`; one hour up to now when nothing is said.
    pub(crate) fn resolve(&self, now: UnixNanos) -> Result<Range, ApiError> {
        let instant = |key: &str, text: &Option<String>, default: UnixNanos| {
            match text.as_deref() {
            None | Some("") => Ok(default),
            Some(text) => parse_instant(text, now).ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "{key} = {text:?} is neither an instant such as 2026-03-17T03:12:40Z nor relative such as now-1h"
                ))
            }),
        }
        };
        let to = instant("to", &self.to, now)?;
        let from = instant("from", &self.from, to - DEFAULT_RANGE)?;
        if from >= to {
            return Err(ApiError::BadRequest(format!(
                "from ({}) is not before to ({})",
                Instant(from.0),
                Instant(to.0)
            )));
        }
        Ok(Range { from, to })
    }
}

fn parse_instant(text: &str, now: UnixNanos) -> Option<UnixNanos> {
    let Some(rest) = text.trim().strip_prefix("now") else {
        return Instant::parse(text.trim()).map(|instant| UnixNanos(instant.0));
    };
    if rest.is_empty() {
        return Some(now);
    }
    // A '+' in a query string arrives as a space.
    let (back, amount) = match rest.as_bytes()[0] {
        b'-' => (true, &rest[1..]),
        b'+' | b' ' => (false, &rest[1..]),
        _ => return None,
    };
    let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = amount[..digits].parse().ok()?;
    let seconds = match &amount[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let shift = Duration::from_secs(number.checked_mul(seconds)?);
    Some(if back { now - shift } else { now + shift })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::RangeParams;
    use highwater_model::UnixNanos;

    const NOW: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

    fn resolve(from: &str, to: &str) -> Result<(i64, i64), String> {
        let params = RangeParams {
            from: Some(from.into()),
            to: Some(to.into()),
        };
        let relative = |t: UnixNanos| (t.0 as i64 - NOW.0 as i64) / 1_000_000_000;
        params
            .resolve(NOW)
            .map(|r| (relative(r.from), relative(r.to)))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn relative_ranges_are_of_now() {
        assert_eq!(resolve("", "").unwrap(), (-3_600, 0));
        assert_eq!(resolve("now-15m", "now").unwrap(), (-900, 0));
        assert_eq!(resolve("now-2d", "now-1d").unwrap(), (-172_800, -86_400));
        assert_eq!(resolve("2023-11-14T22:13:10Z", "now").unwrap(), (-10, 0));
    }

    #[test]
    fn nonsense_is_refused_with_the_key_named() {
        for (from, to, key) in [
            ("yesterday", "", "from"),
            ("now-1y", "", "from"),
            ("", "nowish", "to"),
            ("now", "now-1h", "not before"),
        ] {
            let error = resolve(from, to).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        assert!(resolve("now-99999999999999999999d", "").is_err());
        assert!(resolve("now-ä", "").is_err());
    }
}
