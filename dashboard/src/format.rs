//! Numbers, units and time as every page writes them.
//!
//! Pure, but for the zone of clocks. A no-break space stands between number and unit, so that a figure is never broken over two lines.

use highwater_shared::Instant;
use highwater_shared::lag::Bound;
use highwater_shared::time::civil;

use crate::state::zone;

/// Between a number and its unit.
const NBSP: char = '\u{a0}';

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Writes `value` with one decimal below 10, none above, and drops a zero decimal.
fn short(value: f64) -> String {
    if value < 9.95 {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    } else {
        format!("{value:.0}")
    }
}

/// Writes two units, the second padded to two digits and left out when zero.
fn two_units(nanos: u64, big: u64, big_name: &str, small: u64, small_name: &str) -> String {
    let small_per_big = big / small;
    let total = (nanos + small / 2) / small;
    let (whole, part) = (total / small_per_big, total % small_per_big);
    if part == 0 {
        format!("{whole}{NBSP}{big_name}")
    } else if small == SECOND {
        format!("{whole}{NBSP}{big_name}{NBSP}{part:02}{NBSP}{small_name}")
    } else {
        format!("{whole}{NBSP}{big_name}{NBSP}{part}{NBSP}{small_name}")
    }
}

/// Writes a duration of one thing, three figures and two units at most: `412 µs`, `4.2 ms`, `2.08 s`, `3 m 20 s`, `2 d 4 h`.
pub(crate) fn duration_ns(nanos: u64) -> String {
    // The bounds are where rounding would carry into the next unit.
    if nanos < MICRO {
        format!("{nanos}{NBSP}ns")
    } else if nanos < 999_500 {
        format!("{}{NBSP}µs", short(nanos as f64 / MICRO as f64))
    } else if nanos < 999_500_000 {
        format!("{}{NBSP}ms", short(nanos as f64 / MILLI as f64))
    } else if nanos < 59_950 * MILLI {
        let seconds = nanos as f64 / SECOND as f64;
        let text = if seconds < 9.995 {
            format!("{seconds:.2}")
        } else {
            format!("{seconds:.1}")
        };
        let text = if nanos.is_multiple_of(SECOND) {
            (nanos / SECOND).to_string()
        } else {
            text
        };
        format!("{text}{NBSP}s")
    } else {
        long(nanos)
    }
}

/// Writes a minute and more.
fn long(nanos: u64) -> String {
    if nanos < HOUR - SECOND / 2 {
        two_units(nanos, MINUTE, "m", SECOND, "s")
    } else if nanos < DAY - 30 * SECOND {
        two_units(nanos, HOUR, "h", MINUTE, "m")
    } else {
        two_units(nanos, DAY, "d", HOUR, "h")
    }
}

/// Writes a duration of a trace: like [`duration_ns`], with tenths of a second up to an hour: `3 m 20.1 s`.
pub(crate) fn duration_fine(nanos: u64) -> String {
    if (59_950 * MILLI..HOUR - SECOND / 20).contains(&nanos) {
        let tenths = (nanos + SECOND / 20) / (SECOND / 10);
        let (minutes, rest) = (tenths / 600, tenths % 600);
        if rest == 0 {
            return format!("{minutes}{NBSP}m");
        }
        return format!("{minutes}{NBSP}m{NBSP}{:04.1}{NBSP}s", rest as f64 / 10.0);
    }
    duration_ns(nanos)
}

/// Writes a duration given in milliseconds.
pub(crate) fn duration_ms(millis: u64) -> String {
    duration_ns(millis.saturating_mul(MILLI))
}

/// Writes a time lag. It comes from offsets sampled every few seconds, so it carries no more figures than that: `0.6 s`, `18 s`, `3 m 20 s`.
pub(crate) fn time_lag(millis: u64) -> String {
    if millis == 0 {
        format!("0{NBSP}s")
    } else if millis < 50 {
        format!("<0.1{NBSP}s")
    } else if millis < 9_950 {
        format!("{:.1}{NBSP}s", millis as f64 / 1_000.0)
    } else if millis < 59_500 {
        format!("{}{NBSP}s", (millis + 500) / 1_000)
    } else {
        long(millis.saturating_mul(MILLI))
    }
}

/// Writes a time lag with how sure it is: `≥ 3 m 20 s`.
pub(crate) fn bounded_lag(millis: u64, bound: Option<Bound>) -> String {
    let text = time_lag(millis);
    match bound {
        Some(Bound::AtLeast) => format!("≥{NBSP}{text}"),
        Some(Bound::AtMost) => format!("≤{NBSP}{text}"),
        Some(Bound::Exact) | None => text,
    }
}

/// Writes a count: in full to 9,999, then three figures with k, M, G.
pub(crate) fn count(value: u64) -> String {
    if value < 10_000 {
        return count_full(value);
    }
    scaled(value as f64, 3)
}

/// Writes `value` from 1,000 up with `figures` figures and k, M, G or T.
fn scaled(value: f64, figures: usize) -> String {
    let mut scaled = value / 1_000.0;
    let mut unit = 'k';
    for next in ['M', 'G', 'T'] {
        // 999.5k has three figures only as 1.00M.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1_000.0;
        unit = next;
    }
    let whole = if scaled >= 99.95 {
        3
    } else if scaled >= 9.995 {
        2
    } else {
        1
    };
    format!("{scaled:.*}{unit}", figures.saturating_sub(whole))
}

/// Writes a count in full: `88,213,407`.
pub(crate) fn count_full(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a signed count in full, as `lag_by_tools` and offsets need: `-12`.
pub(crate) fn signed(value: i64) -> String {
    let text = count_full(value.unsigned_abs());
    if value < 0 { format!("-{text}") } else { text }
}

/// Writes "1 record", "2 records": `count` in full with the noun.
pub(crate) fn plural(count: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        count_full(count),
        if count == 1 { one } else { many }
    )
}

/// Writes a rate given a second: `/s` from 1/s up, `/min` below, `/h` below 1/min.
pub(crate) fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return "0/s".to_owned();
    }
    if per_second >= 999.5 {
        let figures = if per_second < 9_950.0 { 2 } else { 3 };
        format!("{}/s", scaled(per_second, figures))
    } else if per_second >= 99.95 {
        format!("{per_second:.0}/s")
    } else if per_second >= 0.995 {
        format!("{per_second:.1}/s")
    } else if per_second * 60.0 >= 0.995 {
        format!("{:.1}/min", per_second * 60.0)
    } else {
        let per_hour = per_second * 3_600.0;
        if per_hour < 0.1 {
            "<0.1/h".to_owned()
        } else {
            format!("{per_hour:.1}/h")
        }
    }
}

/// Writes bytes: `1.4 KiB`.
pub(crate) fn bytes(value: u64) -> String {
    if value < 1_024 {
        return format!("{value}{NBSP}B");
    }
    let mut scaled = value as f64 / 1_024.0;
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB", "PiB"] {
        if scaled < 1_023.5 {
            break;
        }
        scaled /= 1_024.0;
        unit = next;
    }
    format!("{}{NBSP}{unit}", short(scaled))
}

/// Writes `part` of `whole` in percent with two figures; `<0.1%`; 100% only when exact. `None` when `whole` is 0.
pub(crate) fn percent(part: u64, whole: u64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let share = part as f64 / whole as f64 * 100.0;
    Some(if part == 0 {
        "0%".to_owned()
    } else if part == whole {
        "100%".to_owned()
    } else if share < 0.1 {
        "<0.1%".to_owned()
    } else if share < 9.95 {
        format!("{share:.1}%")
    } else if share > 99.0 && share < 100.0 {
        ">99%".to_owned()
    } else {
        format!("{share:.0}%")
    })
}

/// Writes an id in a list: 12 characters and an ellipsis.
pub(crate) fn short_id(id: &str) -> String {
    match id.char_indices().nth(12) {
        Some((at, _)) => format!("{}…", &id[..at]),
        None => id.to_owned(),
    }
}

/// Writes a position in a topic: `7 @ 88,213,407`.
pub(crate) fn position(partition: i32, offset: i64) -> String {
    format!("{partition}{NBSP}@{NBSP}{}", signed(offset))
}

/// Writes a place to nanoseconds as hours, minutes and seconds of its day.
fn time_of_day(at: Instant) -> (u64, u64, u64) {
    let seconds = at.0 / SECOND % 86_400;
    (seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Writes the day: `17 Mar`, with the year when it is not that of `now`.
fn day(at: Instant, now: Instant) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil(at.0 / DAY);
    let name = MONTHS[(month.clamp(1, 12) - 1) as usize];
    if year == civil(now.0 / DAY).0 {
        format!("{day} {name}")
    } else {
        format!("{day} {name} {year}")
    }
}

/// Writes a moment on the 24 h clock of the person's zone; with the date only when it is not today: `03:12:40`, `16 Mar 03:12:40`.
pub(crate) fn clock(at: Instant, now: Instant) -> String {
    let (at, now) = (zone::shown(at), zone::shown(now));
    let (h, m, s) = time_of_day(at);
    let time = format!("{h:02}:{m:02}:{s:02}");
    if at.0 / DAY == now.0 / DAY {
        time
    } else {
        format!("{} {time}", day(at, now))
    }
}

/// Writes a moment without seconds, for axes and ranges.
pub(crate) fn clock_short(at: Instant, now: Instant) -> String {
    let (at, now) = (zone::shown(at), zone::shown(now));
    let (h, m, _) = time_of_day(at);
    let time = format!("{h:02}:{m:02}");
    if at.0 / DAY == now.0 / DAY {
        time
    } else {
        format!("{} {time}", day(at, now))
    }
}

/// Writes a moment with milliseconds, for traces and records.
pub(crate) fn clock_ms(at: Instant, now: Instant) -> String {
    format!("{}.{:03}", clock(at, now), at.0 / MILLI % 1_000)
}

/// Writes how long ago: relative below an hour, else the clock. A moment ahead of `now` (clocks differ) is "just now".
pub(crate) fn ago(at: Instant, now: Instant) -> String {
    let age = now.0.saturating_sub(at.0);
    if age < SECOND {
        "just now".to_owned()
    } else if age < HOUR {
        format!("{} ago", age_text(age))
    } else {
        clock(at, now)
    }
}

/// Writes a time in a broker. 0 is no measure: the message was delivered before its producer had the acknowledgement.
pub(crate) fn in_broker(nanos: u64) -> String {
    match nanos {
        0 => "before the ack".to_owned(),
        nanos => duration_fine(nanos),
    }
}

/// What [`in_broker`] means where it is no time.
pub(crate) const BEFORE_ACK: &str = "Delivered before the producer had the broker's acknowledgement: the time in the broker cannot be told apart from the send";

/// Writes an age in whole seconds below a minute, then in two units.
pub(crate) fn age_text(nanos: u64) -> String {
    if nanos < MINUTE {
        format!("{}{NBSP}s", nanos / SECOND)
    } else {
        long(nanos)
    }
}

/// Returns the height of a gauge's level, 0 to 1, for a lag against its mark.
///
/// Linear to the mark, which stands at 0.7; then logarithmic, so that the top is ten times the mark.
pub(crate) fn gauge_level(lag_ms: u64, mark_ms: u64) -> f64 {
    let ratio = lag_ms as f64 / mark_ms.max(1) as f64;
    if ratio <= 1.0 {
        0.7 * ratio
    } else {
        0.7 + 0.3 * ratio.log10().min(1.0)
    }
}

/// Writes what stands for a figure that is not known.
pub(crate) const UNKNOWN: &str = "—?";

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(NBSP, " ")
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (nanos, text) in [
            (0, "0 ns"),
            (412_000, "412 µs"),
            (4_200_000, "4.2 ms"),
            (46_000_000, "46 ms"),
            (999_700, "1 ms"),
            (999_700_000, "1.00 s"),
            (2_080_000_000, "2.08 s"),
            (30 * SECOND, "30 s"),
            (18_240_000_000, "18.2 s"),
            (MINUTE, "1 m"),
            (59_970 * MILLI, "1 m"),
            (200 * SECOND, "3 m 20 s"),
            (662 * SECOND, "11 m 02 s"),
            (3_599 * SECOND + 900 * MILLI, "1 h"),
            (2 * HOUR, "2 h"),
            (13 * HOUR + 10 * MINUTE + 20 * SECOND, "13 h 10 m"),
            (52 * HOUR, "2 d 4 h"),
        ] {
            assert_eq!(plain(&duration_ns(nanos)), text, "{nanos}");
        }
        assert_eq!(
            plain(&duration_fine(200 * SECOND + 100 * MILLI)),
            "3 m 20.1 s"
        );
        assert_eq!(
            plain(&duration_fine(234 * SECOND + 90 * MILLI)),
            "3 m 54.1 s"
        );
        assert_eq!(plain(&duration_fine(182 * SECOND)), "3 m 02.0 s");
    }

    #[test]
    fn time_lag_is_no_finer_than_its_samples() {
        for (millis, text) in [
            (0, "0 s"),
            (20, "<0.1 s"),
            (600, "0.6 s"),
            (2_040, "2.0 s"),
            (9_980, "10 s"),
            (18_400, "18 s"),
            (59_700, "1 m"),
            (200_000, "3 m 20 s"),
            (47_400_000, "13 h 10 m"),
        ] {
            assert_eq!(plain(&time_lag(millis)), text, "{millis}");
        }
        assert_eq!(
            plain(&bounded_lag(200_000, Some(Bound::AtLeast))),
            "≥ 3 m 20 s"
        );
    }

    #[test]
    fn counts_are_full_to_9999_then_three_figures() {
        for (value, text) in [
            (0, "0"),
            (9_999, "9,999"),
            (12_400, "12.4k"),
            (431_300, "431k"),
            (999_600, "1.00M"),
            (1_400_000, "1.40M"),
            (88_213_407, "88.2M"),
        ] {
            assert_eq!(count(value), text, "{value}");
        }
        assert_eq!(count_full(88_213_407), "88,213,407");
        assert_eq!(signed(-1_204), "-1,204");
        assert_eq!(plural(1, "record", "records"), "1 record");
        assert_eq!(plural(2_000, "record", "records"), "2,000 records");
    }

    #[test]
    fn rates_choose_their_unit() {
        for (value, text) in [
            (0.0, "0/s"),
            (62.0, "62.0/s"),
            (0.999, "1.0/s"),
            (140.2, "140/s"),
            (1_240.0, "1.2k/s"),
            (12_400.0, "12.4k/s"),
            (0.085, "5.1/min"),
            (0.01, "36.0/h"),
            (0.000_01, "<0.1/h"),
            (f64::NAN, "0/s"),
        ] {
            assert_eq!(rate(value), text, "{value}");
        }
    }

    #[test]
    fn percent_is_whole_only_when_exact() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(0, 9).as_deref(), Some("0%"));
        assert_eq!(percent(24, 1_000).as_deref(), Some("2.4%"));
        assert_eq!(percent(1, 100_000).as_deref(), Some("<0.1%"));
        assert_eq!(percent(999, 1_000).as_deref(), Some(">99%"));
        assert_eq!(percent(7, 7).as_deref(), Some("100%"));
        assert_eq!(percent(14, 100).as_deref(), Some("14%"));
    }

    #[test]
    fn bytes_and_ids_and_positions() {
        assert_eq!(plain(&bytes(1_434)), "1.4 KiB");
        assert_eq!(plain(&bytes(50 << 30)), "50 GiB");
        assert_eq!(plain(&bytes(12)), "12 B");
        assert_eq!(short_id("4f2c9d1be07a11"), "4f2c9d1be07a…");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(plain(&position(7, 88_213_407)), "7 @ 88,213,407");
    }

    #[test]
    fn clocks_tell_the_date_only_when_it_is_not_today() {
        let at = |text: &str| Instant::parse(text).unwrap();
        let now = at("2026-03-17T03:12:40Z");
        assert_eq!(clock(at("2026-03-17T02:38:01Z"), now), "02:38:01");
        assert_eq!(clock(at("2026-03-16T23:59:59Z"), now), "16 Mar 23:59:59");
        assert_eq!(
            clock(at("2025-12-31T23:59:59Z"), now),
            "31 Dec 2025 23:59:59"
        );
        assert_eq!(
            clock_ms(at("2026-03-17T02:38:01.0421Z"), now),
            "02:38:01.042"
        );
        assert_eq!(plain(&ago(at("2026-03-17T03:12:28Z"), now)), "12 s ago");
        assert_eq!(plain(&ago(at("2026-03-17T03:10:28Z"), now)), "2 m 12 s ago");
        assert_eq!(ago(at("2026-03-17T01:10:28Z"), now), "01:10:28");
        assert_eq!(ago(at("2026-03-17T03:12:41Z"), now), "just now");
    }

    #[test]
    fn the_mark_is_always_at_seventy_percent() {
        assert!((gauge_level(60_000, 60_000) - 0.7).abs() < 1e-9);
        assert!((gauge_level(30_000, 60_000) - 0.35).abs() < 1e-9);
        assert!((gauge_level(600_000, 60_000) - 1.0).abs() < 1e-9);
        assert!((gauge_level(u64::MAX, 60_000) - 1.0).abs() < 1e-9);
        assert!(gauge_level(0, 0).abs() < 1e-9);
    }
}
