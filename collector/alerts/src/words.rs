//! Numbers and names as sentences say them (the dashboard's rules: full counts, two units of time, a no-break space
//! before a unit).

use std::time::Duration;

use highwater_lag::words::NBSP;
pub(crate) use highwater_lag::words::{amount, count, plural as counted};

use crate::rule::Rule;
use crate::watch::{Unit, Watch};

/// Characters of a sentence. Names come from outside.
const LONGEST_SENTENCE: usize = 600;
const LONGEST_NAME: usize = 120;

/// As lag says durations, but that one under a second is told: `200 ms`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}{NBSP}ms", duration.subsec_millis());
    }
    highwater_lag::words::duration(duration)
}

/// `62.5/s`, `5.1/min`, `1/h`.
pub(crate) fn rate(per_hour: f64) -> String {
    let (number, unit) = if per_hour >= 3_600.0 {
        (per_hour / 3_600.0, "s")
    } else if per_hour >= 60.0 {
        (per_hour / 60.0, "min")
    } else {
        (per_hour, "h")
    };
    format!("{}/{unit}", short(number))
}

/// `2.4%`, `<0.1%`; 100% only when exact.
pub(crate) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.1 {
        "<0.1%".to_owned()
    } else if share >= 10.0 {
        let rounded = share.round();
        let shown = if rounded >= 100.0 && share < 100.0 {
            99.0
        } else {
            rounded
        };
        format!("{shown:.0}%")
    } else {
        format!("{}%", short(share))
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A value in its unit.
pub(crate) fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Duration => duration(millis(value)),
        // Saturates, and no count is negative.
        Unit::Count if value.fract() == 0.0 => count(value as u64),
        Unit::Count => short(value),
        Unit::Rate => rate(value),
        Unit::Percent => percent(value),
    }
}

/// A duration of a value in milliseconds; saturates.
pub(crate) fn millis(value: f64) -> Duration {
    Duration::from_millis(value.max(0.0) as u64)
}

/// A name from outside, short and without control characters.
pub(crate) fn name(text: &str) -> String {
    shortened(text, LONGEST_NAME)
}

/// A whole sentence: bounded, and without control characters.
pub(crate) fn sentence(text: &str) -> String {
    shortened(text, LONGEST_SENTENCE)
}

fn shortened(text: &str, longest: usize) -> String {
    let mut short: String = text
        .chars()
        .take(longest)
        .map(|letter| if is_shown(letter) { letter } else { '\u{fffd}' })
        .collect();
    if text.chars().nth(longest).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Control characters, and those that turn the direction of writing, would let a name forge what stands around it.
fn is_shown(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

/// What a rule is called that has no name: `Time lag over 1 m`.
pub(crate) fn rule_name(
    watch: Watch,
    over: Option<f64>,
    hold: Duration,
    within: Option<Duration>,
) -> String {
    let label = watch.label();
    let window = within.map_or_else(String::new, |within| format!(" in {}", duration(within)));
    match (watch, watch.unit().zip(over)) {
        (Watch::DeadLettersNew | Watch::CollectorRefuses, Some((_, 0.0)))
        | (Watch::DeadLetterCause, _) => label.to_owned(),
        (Watch::FallingBehind, Some((unit, over))) => {
            format!("Falling behind, drains in over {}", value(unit, over))
        }
        (_, Some((unit, over))) if watch.less_is_worse() => {
            format!("{label} under {}", value(unit, over))
        }
        (_, Some((unit, over))) => format!("{label} over {}{window}", value(unit, over)),
        (_, None) if hold.is_zero() => label.to_owned(),
        (_, None) => format!("{label} for {}", duration(hold)),
    }
}

/// Why an alert is over that has been clear for long enough.
pub(crate) fn why_clear(rule: &Rule, clear_for: Duration) -> String {
    let held = if clear_for.is_zero() {
        String::new()
    } else {
        format!(" for {}", duration(clear_for))
    };
    match rule.watch.unit().zip(rule.clear_under) {
        Some((unit, clear)) if rule.watch.less_is_worse() => {
            format!("It has been at {} or over{held}.", value(unit, clear))
        }
        Some((unit, clear)) => format!("It has been at {} or under{held}.", value(unit, clear)),
        None if clear_for.is_zero() => "It is clear.".to_owned(),
        None => format!("It has been clear{held}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_pages_write_them() {
        let plain = |text: String| text.replace(NBSP, " ");
        assert_eq!(plain(counted(12_400, "message")), "12,400 messages");
        assert_eq!(plain(duration(Duration::from_secs(200))), "3 m 20 s");
        assert_eq!(plain(duration(Duration::from_secs(47_400))), "13 h 10 m");
        assert_eq!(plain(duration(Duration::from_millis(86_399_600))), "1 d");
        assert_eq!(plain(duration(Duration::MAX)), "213503982334601 d 7 h");
        assert_eq!(rate(306.0), "5.1/min");
        assert_eq!(rate(18_000.0), "5/s");
        assert_eq!(percent(99.9), "99%");
        assert_eq!(percent(100.0), "100%");
        assert_eq!(percent(0.05), "<0.1%");
        assert_eq!(value(Unit::Count, 1e300), count(u64::MAX));
    }

    #[test]
    fn a_name_from_outside_cannot_break_a_line_or_turn_its_direction() {
        assert_eq!(name("a\nb\u{202e}c\u{0}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(name(&"x".repeat(10_000)).chars().count(), LONGEST_NAME);
    }

    #[test]
    fn a_rule_without_a_name_is_called_by_what_it_does() {
        let plain = |watch, over, hold, within| {
            let (hold, within) = (Duration::from_secs(hold), within);
            rule_name(watch, over, hold, within).replace(NBSP, " ")
        };
        let ten = Some(Duration::from_secs(600));
        assert_eq!(
            plain(Watch::TimeLag, Some(60_000.0), 120, None),
            "Time lag over 1 m"
        );
        assert_eq!(
            plain(Watch::Stalled, None, 120, None),
            "Group stalled for 2 m"
        );
        assert_eq!(
            plain(Watch::RetentionMargin, Some(43_200_000.0), 0, None),
            "Retention left under 12 h"
        );
        assert_eq!(
            plain(Watch::RebalanceStorm, Some(5.0), 0, ten),
            "Rebalances over 5 in 10 m"
        );
        assert_eq!(
            plain(Watch::DeadLettersNew, Some(0.0), 0, ten),
            "New dead letters"
        );
    }
}
