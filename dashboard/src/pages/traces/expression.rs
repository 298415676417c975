//! The language of searches, checked while it is typed.
//!
//! `name op value`, `and`, `or`, `not` or `!`, brackets; `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `in (a, b)`. The server
//! has the last word; this says at once, and where, what it would refuse.

use std::ops::Range;

/// What is wrong with an expression, and where, in bytes of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    /// The part that is wrong; empty at the end of the text.
    pub(crate) at: Range<usize>,
    /// Why, in a sentence.
    pub(crate) why: String,
}

/// Brackets nested at most.
const DEPTH_AT_MOST: usize = 32;

/// A piece of an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    /// A name or value without quotes.
    Word(String),
    /// A value in quotes.
    Quoted,
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`.
    Operator(&'static str),
    /// `!`
    Bang,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
}

/// Divides the text into tokens and their places.
fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Wrong> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let next = bytes.get(at + 1).copied();
        let (token, length) = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'(' => (Token::Open, 1),
            b')' => (Token::Close, 1),
            b',' => (Token::Comma, 1),
            b'!' if next == Some(b'=') => (Token::Operator("!="), 2),
            b'!' => (Token::Bang, 1),
            b'<' if next == Some(b'=') => (Token::Operator("<="), 2),
            b'<' => (Token::Operator("<"), 1),
            b'>' if next == Some(b'=') => (Token::Operator(">="), 2),
            b'>' => (Token::Operator(">"), 1),
            b'=' if next == Some(b'=') => (Token::Operator("="), 2),
            b'=' => (Token::Operator("="), 1),
            b'~' => (Token::Operator("~"), 1),
            quote @ (b'"' | b'\'') => {
                let mut end = at + 1;
                while end < bytes.len() && bytes[end] != quote {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                if end >= bytes.len() {
                    return Err(Wrong {
                        at: start..bytes.len(),
                        why: "The quote is not closed.".to_owned(),
                    });
                }
                (Token::Quoted, end + 1 - at)
            }
            _ => {
                let mut end = at;
                while end < bytes.len()
                    && !bytes[end].is_ascii_whitespace()
                    && !b"()=!<>~,\"'".contains(&bytes[end])
                {
                    end += 1;
                }
                (Token::Word(text[at..end].to_owned()), end - at)
            }
        };
        at += length;
        found.push((token, start..at));
    }
    Ok(found)
}

/// Reads an expression from its tokens.
struct Reader {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    fn place(&self) -> Range<usize> {
        self.tokens
            .get(self.at)
            .map_or(self.end..self.end, |t| t.1.clone())
    }

    fn wrong<T>(&self, why: &str) -> Result<T, Wrong> {
        Err(Wrong {
            at: self.place(),
            why: why.to_owned(),
        })
    }

    /// Takes the keyword if it is next.
    fn keyword(&mut self, word: &str) -> bool {
        let next = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(next);
        next
    }

    fn any(&mut self, depth: usize) -> Result<(), Wrong> {
        self.every(depth)?;
        while self.keyword("or") {
            self.every(depth)?;
        }
        Ok(())
    }

    fn every(&mut self, depth: usize) -> Result<(), Wrong> {
        self.one(depth)?;
        while self.keyword("and") {
            self.one(depth)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), Wrong> {
        if depth > DEPTH_AT_MOST {
            return self.wrong("The brackets are nested too deep.");
        }
        let mut turns = 0;
        while matches!(self.peek(), Some(Token::Bang))
            || matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case("not"))
        {
            self.at += 1;
            turns += 1;
            if turns > DEPTH_AT_MOST {
                return self.wrong("There are too many negations.");
            }
        }
        match self.peek() {
            Some(Token::Open) => {
                let open = self.place();
                self.at += 1;
                self.any(depth + 1)?;
                if self.peek() != Some(&Token::Close) {
                    if self.at >= self.tokens.len() {
                        return Err(Wrong {
                            at: open,
                            why: "This bracket is not closed.".to_owned(),
                        });
                    }
                    return self.wrong("Here belongs and, or, or a closing bracket.");
                }
                self.at += 1;
                Ok(())
            }
            Some(Token::Word(name)) => {
                let name = name.clone();
                if ["and", "or", "in"].contains(&name.to_ascii_lowercase().as_str()) {
                    return self.wrong("Here belongs a condition, like status = error.");
                }
                self.at += 1;
                self.compared(&name)
            }
            Some(Token::Quoted) => {
                self.at += 1;
                self.compared("")
            }
            Some(_) => self.wrong("Here belongs a name, like status or duration."),
            None => self.wrong("Here belongs a condition, like status = error."),
        }
    }

    fn compared(&mut self, name: &str) -> Result<(), Wrong> {
        if self.keyword("in") {
            if self.peek() != Some(&Token::Open) {
                return self.wrong("After in belongs a list in brackets: in (a, b).");
            }
            self.at += 1;
            loop {
                self.value(name)?;
                match self.peek() {
                    Some(Token::Comma) => self.at += 1,
                    Some(Token::Close) => {
                        self.at += 1;
                        return Ok(());
                    }
                    _ => return self.wrong("Here belongs a comma or a closing bracket."),
                }
            }
        }
        match self.peek() {
            Some(Token::Operator(_)) => {
                self.at += 1;
                self.value(name)
            }
            _ => self.wrong("Here belongs a comparison: =, !=, <, <=, >, >=, ~ or in (a, b)."),
        }
    }

    fn value(&mut self, name: &str) -> Result<(), Wrong> {
        match self.peek() {
            Some(Token::Quoted) => {}
            Some(Token::Word(word)) => {
                let why = match name {
                    "duration" | "in_broker" if !is_duration(word) => {
                        "A duration has a number and a unit: 200ms, 1.5s, 2m."
                    }
                    "spans" | "errors" if word.parse::<u64>().is_err() => {
                        "Here belongs a whole number."
                    }
                    "status" if !["error", "ok", "unset"].contains(&word.as_str()) => {
                        "A status is error, ok or unset."
                    }
                    _ => "",
                };
                if !why.is_empty() {
                    return self.wrong(why);
                }
            }
            _ => return self.wrong("Here belongs a value."),
        }
        self.at += 1;
        Ok(())
    }
}

/// Whether a word is a number with a unit of time.
fn is_duration(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = &word[digits.len()..];
    digits.parse::<f64>().is_ok_and(|n| n >= 0.0)
        && ["ns", "us", "µs", "ms", "s", "m", "h", "d"].contains(&unit)
}

/// Checks an expression; an empty one is right and means all.
///
/// # Errors
///
/// [`Wrong`]: the first part that cannot be read, and why.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(());
    }
    let mut reader = Reader {
        tokens,
        at: 0,
        end: text.len(),
    };
    reader.any(0)?;
    match reader.peek() {
        None => Ok(()),
        Some(Token::Close) => reader.wrong("This bracket was not opened."),
        Some(_) => reader.wrong("Here belongs and or or."),
    }
}

/// Returns whether a list of conditions joined by `and` has `condition`.
pub(crate) fn has(text: &str, condition: &str) -> bool {
    text.split(" and ").any(|part| part.trim() == condition)
}

/// Adds a condition, or takes it away.
pub(crate) fn toggled(text: &str, condition: &str) -> String {
    if has(text, condition) {
        return text
            .split(" and ")
            .map(str::trim)
            .filter(|part| *part != condition)
            .collect::<Vec<_>>()
            .join(" and ");
    }
    let text = text.trim();
    if text.is_empty() {
        condition.to_owned()
    } else if text.to_ascii_lowercase().contains(" or ") {
        format!("({text}) and {condition}")
    } else {
        format!("{text} and {condition}")
    }
}

/// Finds where a server's sentence says the mistake is: `at character 12`, counted from 1.
pub(crate) fn place_in(sentence: &str, text: &str) -> Option<Range<usize>> {
    let after = ["character ", "column ", "position "]
        .iter()
        .find_map(|word| sentence.split_once(word).map(|s| s.1))?;
    let number: usize = after
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .ok()?;
    let start = text
        .char_indices()
        .nth(number.saturating_sub(1))
        .map_or(text.len(), |c| c.0);
    let end = text[start..]
        .char_indices()
        .find(|(i, c)| *i > 0 && c.is_whitespace())
        .map_or(text.len(), |(i, _)| start + i);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_expressions_pass() {
        for text in [
            "",
            "   ",
            "status = error",
            "group=billing and topic=orders",
            "!(status = error or duration > 200ms) and in_broker >= 1.5s",
            "service in (billing, \"my service\") and not http.route ~ \"/v[12]/.*\"",
            "order.id = A-1048-7731",
            "url.full = https://shop.example/checkout",
            "errors > 0 or spans <= 3",
            "name = 'it is'",
            "team = päyments",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        for (text, part, why) in [
            ("status =", "", "value"),
            ("status error", "error", "comparison"),
            ("duration > fast", "fast", "unit"),
            ("duration > 5", "5", "unit"),
            ("(status = error", "(", "not closed"),
            ("status = error)", ")", "not opened"),
            ("status = error topic = a", "topic", "and or or"),
            ("and status = error", "and", "condition"),
            ("service in billing", "billing", "list"),
            ("service in (a b)", "b", "comma"),
            ("name = \"open", "\"open", "quote"),
            ("spans > many", "many", "whole number"),
            ("status = bad", "bad", "error, ok"),
            ("= 5", "=", "name"),
            ("a = 1 or", "", "condition"),
        ] {
            let wrong = check(text).expect_err(text);
            assert_eq!(&text[wrong.at.clone()], part, "{text}: {wrong:?}");
            assert!(wrong.why.contains(why), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn hostile_text_is_refused_and_breaks_nothing() {
        assert!(check(&"(".repeat(100_000)).is_err());
        assert!(check(&"!".repeat(100_000)).is_err());
        assert!(check("\u{0}").is_err());
        assert!(check("ä = \"ö\\").is_err());
        assert!(check("a = \"\\ü\" b").is_err());
    }

    #[test]
    fn conditions_are_added_and_taken_away() {
        assert_eq!(toggled("", "status = error"), "status = error");
        assert_eq!(toggled("a = 1", "b = 2"), "a = 1 and b = 2");
        assert_eq!(toggled("a = 1 and b = 2", "b = 2"), "a = 1");
        assert_eq!(
            toggled("a = 1 or c = 3", "b = 2"),
            "(a = 1 or c = 3) and b = 2"
        );
    }

    #[test]
    fn a_servers_place_is_found_in_its_sentence() {
        assert_eq!(
            place_in("a value is missing at character 8", "status = x"),
            Some(7..8)
        );
        assert_eq!(place_in("wrong at character 99", "abc"), Some(3..3));
        assert_eq!(place_in("no place", "abc"), None);
    }
}
