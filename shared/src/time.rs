//! Instants on the wire: RFC 3339 in UTC with nanoseconds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since the Unix epoch; `2026-11-21T03:52:00.000000000Z` in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

/// Year, month, day of a day number since the epoch. Howard Hinnant's `civil_from_days`, for years from 1970.
#[must_use]
pub fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

/// Day number since the epoch; the inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let yoe = y % 400;
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (year, month, day) = civil(seconds / 86_400);
        let s = seconds % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            s / 3_600,
            s / 60 % 60,
            s % 60,
            self.0 % 1_000_000_000
        )
    }
}

impl Instant {
    /// Reads RFC 3339 with `Z` or a numeric offset; `None` when malformed or before 1970 or after 2500.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, len: usize| -> Option<u64> {
            let part = bytes.get(from..from + len)?;
            part.iter().try_fold(0_u64, |n, b| {
                b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if separators
            .iter()
            .any(|&(at, byte)| bytes.get(at) != Some(&byte))
            || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
            || !(1970..=2500).contains(&year)
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let mut rest = &bytes[19..];
        let mut nanos = 0_u64;
        if rest.first() == Some(&b'.') {
            let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            for i in 0..9 {
                nanos = nanos * 10
                    + if i < digits {
                        u64::from(rest[1 + i] - b'0')
                    } else {
                        0
                    };
            }
            rest = &rest[1 + digits..];
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        let seconds = match rest {
            [b'Z' | b'z'] => seconds,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let digit = |b: &u8| b.is_ascii_digit().then(|| u64::from(b - b'0'));
                let shift =
                    (digit(h1)? * 10 + digit(h2)?) * 3_600 + (digit(m1)? * 10 + digit(m2)?) * 60;
                if *sign == b'+' {
                    seconds.checked_sub(shift)?
                } else {
                    seconds + shift
                }
            }
            _ => return None,
        };
        seconds
            .checked_mul(1_000_000_000)?
            .checked_add(nanos)
            .map(Self)
    }

    /// Milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant"))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Instant {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .description(Some("RFC 3339, UTC, nanoseconds"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Instant {}

#[cfg(test)]
mod tests {
    use super::Instant;

    #[test]
    fn instants_survive_a_round_trip() {
        for nanos in [
            0,
            1,
            951_782_400_000_000_000,
            1_709_164_800_123_456_789,
            4_102_444_799_999_999_999,
        ] {
            assert_eq!(
                Instant::parse(&Instant(nanos).to_string()),
                Some(Instant(nanos))
            );
        }
        assert_eq!(
            Instant(1_709_164_800_000_000_000).to_string(),
            "2024-02-29T00:00:00.000000000Z"
        );
    }

    #[test]
    fn offsets_are_converted_and_nonsense_refused() {
        assert_eq!(
            Instant::parse("2024-02-29T01:00:00+01:00"),
            Instant::parse("2024-02-29T00:00:00Z")
        );
        for bad in [
            "",
            "yesterday",
            "2024-13-01T00:00:00Z",
            "2024-02-29T00:00:00",
            "2024-02-29T00:00:00.Z",
        ] {
            assert_eq!(Instant::parse(bad), None, "{bad}");
        }
    }
}
