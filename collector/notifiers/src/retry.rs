//! When a message is tried again.

use std::time::Duration;

const FIRST: [u64; 5] = [1, 5, 30, 120, 600];

/// The pause of every further attempt.
const LATER: Duration = Duration::from_secs(1_800);

/// After so many attempts a day has passed: whoever is told then is told of yesterday.
const LAST: u32 = 53;

/// A server may ask for at most so long a pause: one that says "in a month" would else silence a channel.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Returns how long to wait after the `attempt`-th failed attempt, the first being 1: 1 s, 5 s, 30 s, 2 m, 10 m, then
/// 30 m each. `None`: it is given up, 24 h after the first.
#[must_use]
pub fn backoff(attempt: u32) -> Option<Duration> {
    if attempt > LAST {
        return None;
    }
    let seconds = FIRST.get(attempt.saturating_sub(1) as usize);
    Some(seconds.map_or(LATER, |seconds| Duration::from_secs(*seconds)))
}

/// Reads a `Retry-After` in seconds or as a date, at most an hour; `None` when it says nothing that is understood.
pub(crate) fn retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    let value = value.trim();
    let pause = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            at.duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_message_is_tried_for_a_day_ever_more_rarely() {
        let pauses: Vec<_> = (1..).map_while(backoff).collect();
        assert_eq!(
            pauses[..6],
            [1, 5, 30, 120, 600, 1_800].map(Duration::from_secs)
        );
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        let whole: Duration = pauses.iter().sum();
        let day = Duration::from_secs(24 * 3600);
        assert!(
            whole >= day && whole < day + Duration::from_secs(3600),
            "{whole:?}"
        );
        assert_eq!(backoff(0), backoff(1));
        assert_eq!(backoff(u32::MAX), None);
    }

    #[test]
    fn a_server_says_when_but_not_for_ever() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("99999999"), Some(3_600));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for unknown in ["", "soon", "-1", "1e9"] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
    }
}
