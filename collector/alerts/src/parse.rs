//! Values as people write them, and nothing else.

use std::time::Duration;

use crate::watch::Unit;

/// What a value of this unit looks like.
pub(crate) const fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Duration => "a duration such as 90s or 1m 30s",
        Unit::Count => "a count such as 10000 or 10k",
        Unit::Rate => "a rate such as 1/min, 5/s or 20/h",
        Unit::Percent => "a share such as 5%",
    }
}

/// Reads a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not {}", example(Unit::Duration));
    // `0` is what one writes for "at once".
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    if text.len() > 64 {
        return Err(wrong());
    }
    humantime::parse_duration(text.trim()).map_err(|_| wrong())
}

/// Reads a value into its unit's measure.
pub(crate) fn number(unit: Unit, text: &str) -> Result<f64, String> {
    let wrong = || format!("not {}", example(unit));
    let text = text.trim();
    let value = match unit {
        Unit::Duration => duration(text)?.as_millis() as f64,
        Unit::Count => count(text).ok_or_else(wrong)?,
        Unit::Percent => {
            let share = text.strip_suffix('%').and_then(decimal).ok_or_else(wrong)?;
            if share > 100.0 {
                return Err("more than 100%".to_owned());
            }
            share
        }
        Unit::Rate => {
            let (amount, per) = text.split_once('/').ok_or_else(wrong)?;
            let times = match per.trim() {
                "s" | "sec" => 3_600.0,
                "min" | "m" => 60.0,
                "h" => 1.0,
                _ => return Err(wrong()),
            };
            count(amount).ok_or_else(wrong)? * times
        }
    };
    Ok(value)
}

fn count(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, times) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    Some(decimal(digits)? * times)
}

/// A plain number that is not negative: what the standard parser also takes ("inf", "1e9", "nan") is a slip here.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if text.is_empty() || text.len() > 18 || !plain {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_their_units() {
        for (unit, text, value) in [
            (Unit::Duration, "1m 30s", 90_000.0),
            (Unit::Duration, "0", 0.0),
            (Unit::Count, "10k", 10_000.0),
            (Unit::Count, "1.5M", 1_500_000.0),
            (Unit::Rate, "1/min", 60.0),
            (Unit::Rate, "5/s", 18_000.0),
            (Unit::Rate, "20/h", 20.0),
            (Unit::Percent, "2.5%", 2.5),
        ] {
            assert_eq!(number(unit, text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (unit, text) in [
            (Unit::Duration, "abc"),
            (Unit::Duration, "-5s"),
            (Unit::Duration, "10"),
            (Unit::Count, "inf"),
            (Unit::Count, "-1"),
            (Unit::Count, ""),
            (Unit::Count, "k"),
            (Unit::Count, "1m"),
            (Unit::Rate, "5"),
            (Unit::Rate, "5/d"),
            (Unit::Percent, "5"),
            (Unit::Percent, "101%"),
            (Unit::Percent, "NaN%"),
        ] {
            assert!(number(unit, text).is_err(), "{text}");
        }
    }
}
