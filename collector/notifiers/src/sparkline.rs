//! The last hour in a line of text, for who reads it on a phone at night.

use std::time::Duration;

use highwater_model::UnixNanos;

const HOUR: Duration = Duration::from_secs(3_600);

/// A bar stands for five minutes.
const BARS: usize = 12;

const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Nothing is known of these five minutes.
const GAP: char = '·';

/// What numbers mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A number of things: `12,400`.
    Count,
    /// Milliseconds: `3 m 20 s`.
    Millis,
    /// A number of things each second: `62.0/s`.
    PerSecond,
    /// A part of one: `2.4%`.
    Part,
}

/// Returns the hour before `now` as text, such as "12,400 ▁▁▂▃▅▇ over the last hour, from 0": its latest value, a bar
/// for five minutes each with the highest value in them, scaled from zero, and its first value. `·` where nothing is known; `None` when nothing
/// is known of the whole hour. A value that is not a number is not known.
#[must_use]
pub fn last_hour(
    points: &[(UnixNanos, Option<f64>)],
    now: UnixNanos,
    unit: Unit,
) -> Option<String> {
    let begin = now - HOUR;
    let mut known: Vec<(UnixNanos, f64)> = points
        .iter()
        .filter(|(at, _)| *at > begin && *at <= now)
        .filter_map(|(at, value)| Some((*at, (*value)?)))
        .filter(|(_, value)| value.is_finite())
        .map(|(at, value)| (at, value.max(0.0)))
        .collect();
    known.sort_by_key(|(at, _)| *at);
    let ((first_at, first), (last_at, last)) = (*known.first()?, *known.last()?);
    let bar_ns = HOUR.as_nanos() as u64 / BARS as u64;
    let bar = |at: UnixNanos| ((at.since(begin).saturating_sub(1)) / bar_ns) as usize;
    let mut bars = [None::<f64>; BARS];
    for (at, value) in &known {
        if let Some(bar) = bars.get_mut(bar(*at)) {
            *bar = Some(bar.map_or(*value, |highest| highest.max(*value)));
        }
    }
    let highest = bars.iter().flatten().copied().fold(0.0, f64::max);
    let line: String = bars
        .iter()
        .map(|bar| bar.map_or(GAP, |value| height(value, highest)))
        .collect();
    let mut text = words(last, unit);
    if bar(last_at) + 1 < BARS {
        // Said as of when: it is not the value of now.
        let age = words(now.since(last_at) as f64 / 1e6, Unit::Millis);
        text = format!("{text} ({age} ago)");
    }
    text = format!("{text} {line} over the last hour");
    if known.len() > 1 && first_at < last_at {
        text = format!("{text}, from {}", words(first, unit));
    }
    if highest > first && highest > last {
        text = format!("{text}, at most {}", words(highest, unit));
    }
    Some(text)
}

fn height(value: f64, highest: f64) -> char {
    if highest <= 0.0 {
        return HEIGHTS[0];
    }
    let step = (value / highest * (HEIGHTS.len() - 1) as f64).round() as usize;
    HEIGHTS[step.min(HEIGHTS.len() - 1)]
}

/// A value as pages write it, with no-break spaces.
fn words(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => thousands(value.round() as u64),
        Unit::Millis => duration(value.round() as u64),
        Unit::PerSecond if value >= 1.0 || value == 0.0 => format!("{value:.1}/s"),
        Unit::PerSecond if value * 60.0 >= 1.0 => format!("{:.1}/min", value * 60.0),
        Unit::PerSecond => format!("{:.1}/h", value * 3_600.0),
        Unit::Part if value > 0.0 && value < 0.001 => "<0.1%".to_owned(),
        Unit::Part => format!("{:.1}%", value * 100.0),
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two units at most, no zero second unit above an hour.
fn duration(millis: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    if millis < 1_000 {
        return format!("{millis}\u{a0}ms");
    }
    let at = UNITS
        .iter()
        .position(|(_, length)| millis >= *length)
        .unwrap_or(UNITS.len() - 1);
    let (name, length) = UNITS[at];
    let mut text = format!("{}\u{a0}{name}", millis / length);
    if let Some((name, smaller)) = UNITS.get(at + 1) {
        let rest = millis % length / smaller;
        if rest > 0 || at > 1 {
            text.push_str(&format!("\u{a0}{rest}\u{a0}{name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::testing::AT;

    fn minutes(values: &[Option<f64>]) -> Vec<(UnixNanos, Option<f64>)> {
        let at = |n: usize| AT - HOUR + Duration::from_secs(60 * (n as u64 + 1));
        let points = values.iter().enumerate();
        points.map(|(n, value)| (at(n), *value)).collect()
    }

    #[test]
    fn an_hour_is_twelve_bars_with_its_last_and_first_value() {
        let rising: Vec<_> = (0..60).map(|n| Some(f64::from(n) * 210.0)).collect();
        assert_eq!(
            last_hour(&minutes(&rising), AT, Unit::Count).unwrap(),
            "12,390 ▁▂▃▃▄▄▅▆▆▇▇█ over the last hour, from 0"
        );
        let flat = vec![Some(0.0); 60];
        assert_eq!(
            last_hour(&minutes(&flat), AT, Unit::Millis).unwrap(),
            "0\u{a0}ms ▁▁▁▁▁▁▁▁▁▁▁▁ over the last hour, from 0\u{a0}ms"
        );
        let peak: Vec<_> = (0..60)
            .map(|n| Some(if n == 30 { 200e3 } else { 1e3 }))
            .collect();
        assert_eq!(
            last_hour(&minutes(&peak), AT, Unit::Millis).unwrap(),
            "1\u{a0}s ▁▁▁▁▁▁█▁▁▁▁▁ over the last hour, from 1\u{a0}s, at most 3\u{a0}m\u{a0}20\u{a0}s"
        );
    }

    #[test]
    fn what_is_unknown_is_a_gap_and_never_zero() {
        let mut values = vec![None; 60];
        assert_eq!(last_hour(&minutes(&values), AT, Unit::Count), None);
        assert_eq!(last_hour(&[], AT, Unit::Count), None);
        values[31] = Some(5.0);
        values[20] = Some(f64::NAN);
        assert_eq!(
            last_hour(&minutes(&values), AT, Unit::Count).unwrap(),
            "5 (28\u{a0}m\u{a0}0\u{a0}s ago) ······█····· over the last hour"
        );
        // Neither of an earlier hour nor of the future.
        let other = [(AT - HOUR, Some(1.0)), (AT + HOUR, Some(1.0))];
        assert_eq!(last_hour(&other, AT, Unit::Count), None);
    }

    #[test]
    fn numbers_are_written_as_on_pages() {
        for (value, unit, expected) in [
            (999.0, Unit::Count, "999"),
            (1_234_567.0, Unit::Count, "1,234,567"),
            (47_400_000.0, Unit::Millis, "13\u{a0}h\u{a0}10\u{a0}m"),
            (3_600_000.0, Unit::Millis, "1\u{a0}h"),
            (187_200_000.0, Unit::Millis, "2\u{a0}d\u{a0}4\u{a0}h"),
            (62.0, Unit::PerSecond, "62.0/s"),
            (0.085, Unit::PerSecond, "5.1/min"),
            (0.01, Unit::PerSecond, "36.0/h"),
            (0.024, Unit::Part, "2.4%"),
            (0.0001, Unit::Part, "<0.1%"),
            (f64::MAX, Unit::Count, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(words(value, unit), expected);
        }
    }
}
