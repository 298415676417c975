//! Text to tokens.

use std::ops::Range;

use super::ParseError;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A bare word.
    Word(String),
    /// What stood in quotes.
    Quoted(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    In,
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Match,
}

/// Characters that end a bare word.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || "()=<>!~,\"'".contains(c)
}

pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (token, len) = match c {
            '"' | '\'' => quoted(text, at, c)?,
            _ => symbol(&text[at..]).unwrap_or_else(|| word(&text[at..])),
        };
        tokens.push((token, at..at + len));
        at += len;
    }
    Ok(tokens)
}

fn symbol(rest: &str) -> Option<(Token, usize)> {
    // Longer ones first.
    const SYMBOLS: [(&str, Token); 14] = [
        ("!=", Token::Unequal),
        ("<=", Token::AtMost),
        (">=", Token::AtLeast),
        ("==", Token::Equal),
        ("=~", Token::Match),
        ("&&", Token::And),
        ("||", Token::Or),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
        ("!", Token::Not),
        ("=", Token::Equal),
        ("<", Token::Less),
        (">", Token::More),
    ];
    SYMBOLS
        .into_iter()
        .chain([("~", Token::Match)])
        .find(|(symbol, _)| rest.starts_with(symbol))
        .map(|(symbol, token)| (token, symbol.len()))
}

fn word(rest: &str) -> (Token, usize) {
    let len = rest.find(ends_word).unwrap_or(rest.len());
    let word = &rest[..len];
    let token = match word.to_ascii_lowercase().as_str() {
        "and" => Token::And,
        "or" => Token::Or,
        "not" => Token::Not,
        "in" => Token::In,
        _ => Token::Word(word.to_owned()),
    };
    (token, len)
}

/// A backslash takes the next character as it is.
fn quoted(text: &str, at: usize, quote: char) -> Result<(Token, usize), ParseError> {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\\' => {
                if let Some((_, escaped)) = chars.next() {
                    value.push(escaped);
                }
            }
            _ if c == quote => return Ok((Token::Quoted(value), offset + 2)),
            _ => value.push(c),
        }
    }
    Err(ParseError {
        at: at..text.len(),
        message: format!("the closing {quote} is missing"),
    })
}
