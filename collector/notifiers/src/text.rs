//! Text on its way out: bounded, and escaped for where it goes.

use std::time::{Duration, UNIX_EPOCH};

use highwater_model::UnixNanos;

/// Returns `text` in one line of at most `max` characters: what ends a line or cannot be seen becomes a space.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let visible = |c: char| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            ' '
        } else {
            c
        }
    };
    cut(&text.chars().map(visible).collect::<String>(), max)
}

/// Returns at most `max` characters of `text`; an ellipsis says that there was more.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns `text` with every character that `escape` names replaced, in at most `max` characters; a replacement is
/// never cut in two.
pub(crate) fn escaped(
    text: &str,
    max: usize,
    escape: impl Fn(char) -> Option<&'static str>,
) -> String {
    let mut out = String::new();
    let mut room = max.saturating_sub(1);
    for c in text.chars() {
        let replacement = escape(c);
        let length = replacement.map_or(1, str::len);
        if length > room {
            out.push('…');
            return out;
        }
        room -= length;
        match replacement {
            Some(replacement) => out.push_str(replacement),
            None => out.push(c),
        }
    }
    out
}

/// Whether an address may become a link: nothing but HTTP, so that no page is asked to run what it says.
pub(crate) fn link(url: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Returns an instant as `2026-03-17T03:00:00.000Z`.
pub(crate) fn rfc3339(at: UnixNanos) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(at.0);
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_so_and_is_never_longer() {
        assert_eq!(cut("höhe", 4), "höhe");
        assert_eq!(cut("höher", 4), "höh…");
        assert_eq!(one_line("a\r\nb\u{7}", 9), "a  b ");
        let amp = |c: char| (c == '&').then_some("&amp;");
        assert_eq!(escaped("a&b", 99, amp), "a&amp;b");
        assert_eq!(escaped("a&&b", 8, amp), "a&amp;…");
    }

    #[test]
    fn only_http_becomes_a_link() {
        assert!(link("https://a.example/x").is_some());
        for bad in ["javascript:alert(1)", "file:///etc/passwd", "/groups", ""] {
            assert!(link(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn any_instant_can_be_written() {
        assert_eq!(rfc3339(UnixNanos(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(UnixNanos(u64::MAX)).starts_with("2554-"));
    }
}
