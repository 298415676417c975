//! Numbers as sentences say them (the dashboard's rules: full counts, two units of time, a no-break space before a unit).

use std::time::Duration;

use crate::types::{Bound, TimeLag};

/// Between a number and its unit.
pub const NBSP: char = '\u{a0}';

/// `12,400`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12,400 messages`, `1 message`.
#[must_use]
pub fn messages(number: u64) -> String {
    plural(number, "message")
}

/// A number of things whose plural has an s: `12 members`, `1 member`.
#[must_use]
pub fn plural(number: u64, unit: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{}{NBSP}{unit}{s}", count(number))
}

/// `2 d 4 h`, `13 h 10 m`, `3 m 20 s`, `12 s`; `under 1 s` below that.
#[must_use]
pub fn duration(duration: Duration) -> String {
    // Rounded as the pages round: a figure and its sentence say the same.
    let exact = duration.as_secs();
    let seconds = if exact == 0 {
        0
    } else {
        exact.saturating_add(u64::from(duration.subsec_millis() >= 500))
    };
    let minutes = if seconds < 3_600 {
        seconds / 60
    } else {
        seconds.saturating_add(30) / 60
    };
    let hours = if minutes < 1_440 {
        minutes / 60
    } else {
        seconds.saturating_add(1_800) / 3_600
    };
    let days = hours / 24;
    let pair = |large: u64, large_unit: char, small: u64, small_unit: char| {
        if small == 0 {
            format!("{large}{NBSP}{large_unit}")
        } else {
            format!("{large}{NBSP}{large_unit} {small}{NBSP}{small_unit}")
        }
    };
    if days > 0 {
        pair(days, 'd', hours % 24, 'h')
    } else if hours > 0 {
        pair(hours, 'h', minutes % 60, 'm')
    } else if minutes > 0 {
        pair(minutes, 'm', seconds % 60, 's')
    } else if seconds > 0 {
        format!("{seconds}{NBSP}s")
    } else {
        format!("under 1{NBSP}s")
    }
}

/// `12,400 messages (3 m 20 s)`.
#[must_use]
pub fn amount(lag: Option<u64>, time_lag: Option<TimeLag>) -> String {
    let Some(lag) = lag else {
        return "an unknown number of messages".to_owned();
    };
    let time = match time_lag {
        Some(time) if lag > 0 => {
            let qualifier = match time.bound {
                Bound::Exact => "",
                Bound::AtLeast => "at least ",
                Bound::AtMost => "at most ",
            };
            format!(" ({qualifier}{})", duration(time.duration))
        }
        _ => String::new(),
    };
    format!("{}{time}", messages(lag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(NBSP, " ")
    }

    #[test]
    fn counts_are_full_with_separators() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(12_400), "12,400");
        assert_eq!(count(88_213_407), "88,213,407");
        assert_eq!(plain(&messages(1)), "1 message");
    }

    #[test]
    fn durations_have_two_units_at_most_and_no_zero_second_one() {
        for (seconds, text) in [
            (0, "under 1 s"),
            (12, "12 s"),
            (200, "3 m 20 s"),
            (3_600, "1 h"),
            (47_400, "13 h 10 m"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(plain(&duration(Duration::from_secs(seconds))), text);
        }
        for (millis, text) in [
            (999, "under 1 s"),
            (63_700, "1 m 4 s"),
            (3_599_600, "1 h"),
            (86_399_000, "1 d"),
        ] {
            assert_eq!(plain(&duration(Duration::from_millis(millis))), text);
        }
    }
}
