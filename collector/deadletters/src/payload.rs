//! Keys and values for people: JSON, else text, else hexadecimal, each bounded.

use serde::de::IgnoredAny;

/// Text of a key or value is cut here.
pub(crate) const MAX_PAYLOAD_TEXT: usize = 64 * 1024;

/// How bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON object or array, indented; order, repeats and digits as sent.
    Json,
    /// UTF-8 without control characters.
    Text,
    /// Lower-case hexadecimal digits: everything else.
    Hex,
}

impl Encoding {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }
}

/// Bytes, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// How they were read.
    pub encoding: Encoding,
    /// At most 64 KiB.
    pub text: String,
    /// Bytes in the record.
    pub bytes: u64,
    /// The text was cut.
    pub truncated: bool,
}

impl Payload {
    /// Decodes bytes of any origin. Linear; memory is bounded by 64 KiB.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (encoding, text, truncated) = decode(bytes);
        Self {
            encoding,
            text,
            bytes: bytes.len() as u64,
            truncated,
        }
    }
}

fn decode(bytes: &[u8]) -> (Encoding, String, bool) {
    if let Some(text) = printable(bytes) {
        let trimmed = text.trim_start();
        // A bare number or string is valid JSON too, but reads no better indented.
        if trimmed.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok() {
            let (text, truncated) = indent_json(trimmed, MAX_PAYLOAD_TEXT);
            return (Encoding::Json, text, truncated);
        }
        let (text, truncated) = cut(text, MAX_PAYLOAD_TEXT);
        return (Encoding::Text, text.to_owned(), truncated);
    }
    let (text, truncated) = hex_text(bytes, MAX_PAYLOAD_TEXT);
    (Encoding::Hex, text, truncated)
}

/// The bytes as text a person can read: UTF-8 with no control characters but tab and line ends.
pub(crate) fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.chars()
        .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
        .then_some(text)
}

/// Hexadecimal digits of as many whole bytes as fit.
pub(crate) fn hex_text(bytes: &[u8], max: usize) -> (String, bool) {
    let shown = bytes.len().min(max / 2);
    (hex::encode(&bytes[..shown]), shown < bytes.len())
}

/// Cuts at a character's edge, at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> (&str, bool) {
    if text.len() <= max {
        return (text, false);
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], true)
}

/// Indents JSON that is known to be valid, by its tokens: a parse into values would lose repeats of a key and digits
/// of long numbers. Stops at `max` bytes, so that deep nesting cannot make a small record large.
fn indent_json(json: &str, max: usize) -> (String, bool) {
    let mut out = String::with_capacity(json.len().min(max) + json.len().min(max) / 4);
    let mut depth = 0_usize;
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                while let Some(inner) = chars.next() {
                    out.push(inner);
                    match inner {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                    if out.len() > max {
                        break;
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
        if out.len() > max {
            let end = cut(&out, max).0.len();
            out.truncate(end);
            return (out, true);
        }
    }
    (out, false)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_with_order_repeats_and_digits_kept() {
        let payload = Payload::decode(
            br#"{"z":1,"a":12345678901234567890.10,"z":[],"t":"x, {\"y\"}","n":{ "k" : [1,2] }}"#,
        );
        assert_eq!(payload.encoding, Encoding::Json);
        assert_eq!(
            payload.text,
            "{\n  \"z\": 1,\n  \"a\": 12345678901234567890.10,\n  \"z\": [],\n  \"t\": \"x, {\\\"y\\\"}\",\n  \"n\": {\n    \"k\": [\n      1,\n      2\n    ]\n  }\n}"
        );
        assert!(!payload.truncated);
    }

    #[test]
    fn broken_json_is_text() {
        let payload = Payload::decode(b"{broken 3");
        assert_eq!(
            (payload.encoding, payload.text.as_str()),
            (Encoding::Text, "{broken 3")
        );
    }

    #[test]
    fn a_bare_number_is_text() {
        assert_eq!(Payload::decode(b"17").encoding, Encoding::Text);
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal() {
        let payload = Payload::decode(&[0, 0, 0, 0, 212, b'a']);
        assert_eq!(
            (payload.encoding, payload.text.as_str()),
            (Encoding::Hex, "00000000d461")
        );
        assert_eq!(Payload::decode(&[0xff, 0xfe]).encoding, Encoding::Hex);
    }

    #[test]
    fn every_encoding_is_cut_at_64_kib() {
        for bytes in [
            vec![b'a'; 300_000],
            vec![0xff; 300_000],
            format!("[{}1]", "1,".repeat(100_000)).into_bytes(),
            "é".repeat(100_000).into_bytes(),
        ] {
            let payload = Payload::decode(&bytes);
            assert!(payload.text.len() <= MAX_PAYLOAD_TEXT);
            assert!(payload.truncated);
            assert_eq!(payload.bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn deep_nesting_neither_overflows_nor_grows() {
        assert_eq!(
            Payload::decode(&vec![b'['; 100_000]).encoding,
            Encoding::Text
        );
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let payload = Payload::decode(nested.as_bytes());
        assert!(payload.truncated && payload.text.len() <= MAX_PAYLOAD_TEXT);
    }

    #[test]
    fn an_empty_value_is_empty_text() {
        let payload = Payload::decode(b"");
        assert_eq!(
            (payload.encoding, payload.text.as_str()),
            (Encoding::Text, "")
        );
    }
}
