//! Durations and counts in words, as the pages write them.

/// A no-break space between a number and its unit.
const SPACE: char = '\u{a0}';

/// At most two units: `412 µs`, `4.2 ms`, `46 ms`, `2.08 s`, `3 m 20 s`, `13 h 10 m`, `2 d 4 h`.
pub(crate) fn duration(ns: u64) -> String {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    const M: u64 = 60 * S;
    const H: u64 = 60 * M;
    const D: u64 = 24 * H;
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big}{SPACE}{unit}")
        } else {
            format!("{big}{SPACE}{unit} {small}{SPACE}{small_unit}")
        }
    };
    // Rounded as the pages round: a figure and its sentence say the same.
    let round = |unit: u64| ns.saturating_add(unit / 2) / unit;
    match ns {
        0 => format!("0{SPACE}ms"),
        1..US => format!("{ns}{SPACE}ns"),
        US..MS => format!("{}{SPACE}µs", ns / US),
        MS..=9_949_999 => format!("{:.1}{SPACE}ms", ns as f64 / MS as f64),
        9_950_000..S => format!("{}{SPACE}ms", round(MS).min(999)),
        S..=9_994_999_999 => format!("{:.2}{SPACE}s", ns as f64 / S as f64),
        9_995_000_000..M => format!("{:.1}{SPACE}s", (ns as f64 / S as f64).min(59.9)),
        M..H if round(S) < 3_600 => two(round(S) / 60, "m", round(S) % 60, "s"),
        M..D if round(M) < 1_440 => two(round(M) / 60, "h", round(M) % 60, "m"),
        _ => two(round(H) / 24, "d", round(H) % 24, "h"),
    }
}

/// `412 KiB`, `80 MiB`.
pub(crate) fn bytes(bytes: usize) -> String {
    match bytes >> 20 {
        0 => format!("{}{SPACE}KiB", bytes.div_ceil(1 << 10)),
        mib => format!("{mib}{SPACE}MiB"),
    }
}

/// `1 span`, `2 spans`, `12,400 spans`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{}{SPACE}{}", grouped(n), if n == 1 { one } else { many })
}

/// Digits in groups of three.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `a`, `a and b`, `a, b and c`, `a, b and 4 more`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, second, third] => format!("{first}, {second} and {third}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (ns, text) in [
            (0, "0 ms"),
            (999, "999 ns"),
            (412_000, "412 µs"),
            (4_200_000, "4.2 ms"),
            (46_000_000, "46 ms"),
            (999_999_999, "999 ms"),
            (2_080_000_000, "2.08 s"),
            (12_400_000_000, "12.4 s"),
            (59_999_999_999, "59.9 s"),
            (200_000_000_000, "3 m 20 s"),
            (3_600_000_000_000, "1 h"),
            (47_400_000_000_000, "13 h 10 m"),
            (187_200_000_000_000, "2 d 4 h"),
        ] {
            assert_eq!(duration(ns).replace(SPACE, " "), text);
        }
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn counts_and_lists_read_as_prose() {
        assert_eq!(count(1, "span", "spans").replace(SPACE, " "), "1 span");
        assert_eq!(
            count(12_400, "span", "spans").replace(SPACE, " "),
            "12,400 spans"
        );
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b", "c", "d"]), "a, b and 2 more");
    }
}
