//! JSON with numbered lines and colours.

use leptos::prelude::*;

/// Lines drawn at most; the API sends 64 KiB of a value at most.
const LINES_AT_MOST: usize = 2_000;

/// What a piece of a line is; names its class in `.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    /// A key.
    Key,
    /// A string.
    Text,
    /// A number, `true`, `false`, `null`.
    Value,
    /// Brackets, commas, space.
    Rest,
}

impl Token {
    const fn class(self) -> &'static str {
        match self {
            Self::Key => "k",
            Self::Text => "s",
            Self::Value => "n",
            Self::Rest => "",
        }
    }
}

/// Divides a line of indented JSON into tokens. A string is never looked into, so what it holds cannot mislead.
fn tokens(line: &str) -> Vec<(Token, &str)> {
    let mut found = Vec::new();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let token = match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                if line[at.min(line.len())..].trim_start().starts_with(':') {
                    Token::Key
                } else {
                    Token::Text
                }
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                while at < bytes.len() && !matches!(bytes[at], b',' | b']' | b'}' | b' ') {
                    at += 1;
                }
                Token::Value
            }
            _ => {
                while at < bytes.len()
                    && bytes[at] != b'"'
                    && !bytes[at].is_ascii_alphanumeric()
                    && bytes[at] != b'-'
                {
                    at += 1;
                }
                Token::Rest
            }
        };
        // Every arm stops at an ASCII byte or the end, so this is a boundary; a broken string may end inside none.
        while at < bytes.len() && !line.is_char_boundary(at) {
            at += 1;
        }
        found.push((token, &line[start..at]));
    }
    found
}

/// Draws indented JSON.
pub(crate) fn json_view(text: &str) -> impl IntoView + use<> {
    let count = text.lines().count();
    let lines = text
        .lines()
        .take(LINES_AT_MOST)
        .map(|line| {
            let tokens = tokens(line)
                .into_iter()
                .map(|(token, text)| view! { <i class=token.class()>{text.to_owned()}</i> })
                .collect_view();
            view! { <span>{tokens}</span> }
        })
        .collect_view();
    view! {
        <pre class="json" tabindex="0" aria-label="Decoded value">
            {lines}
            {(count > LINES_AT_MOST).then(|| view! { <span><i class="m">{format!("{} more lines", count - LINES_AT_MOST)}</i></span> })}
        </pre>
    }
}

/// Draws text or hex with numbered lines.
pub(crate) fn text_view(text: &str) -> impl IntoView + use<> {
    let lines = text
        .lines()
        .take(LINES_AT_MOST)
        .map(|line| view! { <span>{line.to_owned()}</span> })
        .collect_view();
    view! { <pre class="json" tabindex="0" aria-label="Decoded value">{lines}</pre> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_strings_and_numbers_are_told_apart() {
        let kinds: Vec<_> = tokens(r#"  "total": -12.5e3,"#)
            .into_iter()
            .map(|t| t.0)
            .collect();
        assert_eq!(
            kinds,
            [
                Token::Rest,
                Token::Key,
                Token::Rest,
                Token::Value,
                Token::Rest
            ]
        );
        let found = tokens(r#"  "a": "x\": 1, {","#);
        assert_eq!(found[3], (Token::Text, r#""x\": 1, {""#));
        assert_eq!(tokens("    null").last(), Some(&(Token::Value, "null")));
    }

    #[test]
    fn broken_and_foreign_text_is_drawn_whole() {
        for line in [
            "\"open",
            "\"open\\",
            "ü€ \"ß\\ü",
            "}{][,:",
            "\"\\",
            "tr\u{fe}ue",
            "",
        ] {
            let whole: String = tokens(line).into_iter().map(|t| t.1).collect();
            assert_eq!(whole, line);
        }
    }
}
