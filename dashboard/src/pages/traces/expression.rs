//! The language of searches, checked while it is typed.
//!
//! `name op value`, `and`, `or`, `not` or `!`, brackets; `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `in (a, b)`; conditions side
//! by side mean `and`; a word alone is looked for everywhere. The server has the last word: this says at once, and where,
//! what it is sure to refuse, and lets pass what it is not sure of.

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
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Operator,
    /// `~`
    Match,
    /// `and`, `&&`.
    And,
    /// `or`, `||`.
    Or,
    /// `in`.
    In,
    /// `not`, `!`.
    Not,
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
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let start = at;
        let next = bytes.get(at + 1).copied();
        let (token, length) = match bytes[at] {
            b'(' => (Token::Open, 1),
            b')' => (Token::Close, 1),
            b',' => (Token::Comma, 1),
            b'!' | b'<' | b'>' | b'=' if next == Some(b'=') => (Token::Operator, 2),
            b'=' if next == Some(b'~') => (Token::Match, 2),
            b'~' => (Token::Match, 1),
            b'<' | b'>' | b'=' => (Token::Operator, 1),
            b'!' => (Token::Not, 1),
            b'&' if next == Some(b'&') => (Token::And, 2),
            b'|' if next == Some(b'|') => (Token::Or, 2),
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
                let ends = |c: char| c.is_whitespace() || "()=!<>~,\"'".contains(c);
                let length = text[at..].find(ends).unwrap_or(text.len() - at);
                let word = &text[at..at + length];
                let token = match word.to_ascii_lowercase().as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    "in" => Token::In,
                    _ => Token::Word(word.to_owned()),
                };
                (token, length)
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

    /// Takes a token if it is next.
    fn take(&mut self, token: &Token) -> bool {
        let next = self.peek() == Some(token);
        self.at += usize::from(next);
        next
    }

    fn any(&mut self, depth: usize) -> Result<(), Wrong> {
        self.every(depth)?;
        while self.take(&Token::Or) {
            self.every(depth)?;
        }
        Ok(())
    }

    fn every(&mut self, depth: usize) -> Result<(), Wrong> {
        self.one(depth)?;
        loop {
            match self.peek() {
                Some(Token::And) => self.at += 1,
                // Side by side means and.
                Some(Token::Not | Token::Open | Token::Word(_) | Token::Quoted) => {}
                _ => return Ok(()),
            }
            self.one(depth)?;
        }
    }

    fn one(&mut self, depth: usize) -> Result<(), Wrong> {
        let mut depth = depth;
        loop {
            if depth > DEPTH_AT_MOST {
                return self.wrong("Brackets and negations are nested too deep.");
            }
            if !self.take(&Token::Not) {
                break;
            }
            depth += 1;
        }
        match self.peek() {
            Some(Token::Open) => {
                let open = self.place();
                self.at += 1;
                self.any(depth + 1)?;
                if self.take(&Token::Close) {
                    Ok(())
                } else if self.at >= self.tokens.len() {
                    Err(Wrong {
                        at: open,
                        why: "This bracket is not closed.".to_owned(),
                    })
                } else {
                    self.wrong("Here belongs and, or, or a closing bracket.")
                }
            }
            Some(Token::Word(name)) => {
                let name = name.to_ascii_lowercase();
                self.at += 1;
                self.compared(&name)
            }
            Some(Token::Quoted) => {
                self.at += 1;
                self.compared("")
            }
            Some(Token::And | Token::Or | Token::In) | None => {
                self.wrong("Here belongs a condition, like status = error.")
            }
            Some(_) => self.wrong("Here belongs a name, like status or duration."),
        }
    }

    fn compared(&mut self, name: &str) -> Result<(), Wrong> {
        if self.take(&Token::In) {
            if !self.take(&Token::Open) {
                return self.wrong("After in belongs a list in brackets: in (a, b).");
            }
            loop {
                self.value(name)?;
                if self.take(&Token::Close) {
                    return Ok(());
                }
                if !self.take(&Token::Comma) {
                    return self.wrong("Here belongs a comma or a closing bracket.");
                }
            }
        }
        if self.take(&Token::Operator) {
            return self.value(name);
        }
        if self.take(&Token::Match) {
            // A regular expression is none of the field's values.
            return self.value("");
        }
        // A word alone is a text to look for.
        Ok(())
    }

    fn value(&mut self, name: &str) -> Result<(), Wrong> {
        match self.peek() {
            Some(Token::Quoted) => {}
            Some(Token::Word(word)) => {
                let why = match name {
                    "duration" | "in_broker" | "trace_duration" if !is_duration(word) => {
                        "A duration has a number and a unit: 200ms, 1.5s, 2m."
                    }
                    "spans" | "errors" if word.parse::<u64>().is_err() => {
                        "Here belongs a whole number."
                    }
                    "status"
                        if !["error", "ok", "unset"]
                            .contains(&word.to_ascii_lowercase().as_str()) =>
                    {
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

/// Whether a word is a duration: `200ms`, `1.5s`, `1m30s`, `0`.
fn is_duration(word: &str) -> bool {
    const UNITS: [&str; 10] = ["ns", "us", "µs", "μs", "ms", "s", "m", "min", "h", "d"];
    let word = word.to_ascii_lowercase();
    let mut left = word.as_str();
    while !left.is_empty() && left != "0" {
        let number = left.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let unit = number.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.');
        let digits = &left[..left.len() - number.len()];
        if digits.parse::<f64>().is_err() || !UNITS.contains(&&number[..number.len() - unit.len()])
        {
            return false;
        }
        left = unit;
    }
    !word.is_empty()
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
        Some(_) => reader.wrong("Here belongs a condition, like status = error."),
    }
}

/// Names of conditions, each with the operator that nearly always follows it.
const NAMES: [(&str, &str); 10] = [
    ("status", "="),
    ("service", "="),
    ("group", "="),
    ("topic", "="),
    ("operation", "="),
    ("duration", ">"),
    ("in_broker", ">"),
    ("spans", ">"),
    ("errors", ">"),
    ("trace", "="),
];
/// Completions offered at once.
const OFFERED_AT_MOST: usize = 8;

/// How an expression may go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Completion {
    /// What is read in the list.
    pub(crate) word: String,
    /// The expression with it.
    pub(crate) text: String,
}

/// Returns how the end of an expression may go on: names of conditions, words between them, values that `values` knows
/// of a name.
pub(crate) fn complete(text: &str, values: impl Fn(&str) -> Vec<String>) -> Vec<Completion> {
    let Ok(mut before) = tokens(text) else {
        return Vec::new();
    };
    let begun = before.pop_if(|(token, at)| {
        at.end == text.len() && matches!(token, Token::Word(_) | Token::And | Token::Or | Token::In)
    });
    let from = begun.map_or(text.len(), |(_, at)| at.start);
    let (kept, begun) = text.split_at(from);
    let begun = begun.to_lowercase();
    let written = |word: &str, after: &str| Completion {
        word: word.to_owned(),
        text: format!("{kept}{after} "),
    };
    let found: Vec<Completion> = match valued(&before) {
        Some(name) => {
            let mut known = if name == "status" {
                ["error", "ok", "unset"].map(str::to_owned).to_vec()
            } else {
                values(&name)
            };
            known.retain(|value| {
                let value = value.to_lowercase();
                value.starts_with(&begun) && value != begun
            });
            known
                .iter()
                .map(|value| written(value, &quoted(value)))
                .collect()
        }
        // Nothing is begun: a list that opens by itself would only be in the way.
        None if begun.is_empty() => Vec::new(),
        None => {
            let names = NAMES
                .iter()
                .filter(|(name, _)| name.starts_with(&begun))
                .map(|(name, operator)| written(name, &format!("{name} {operator}")));
            let joins = ["and", "or"]
                .into_iter()
                .filter(|join| !before.is_empty() && join.starts_with(&begun) && *join != begun)
                .map(|join| written(join, join));
            names.chain(joins).collect()
        }
    };
    found.into_iter().take(OFFERED_AT_MOST).collect()
}

/// The name whose value the tokens lead to: `name =`, `name in (a,`.
fn valued(before: &[(Token, Range<usize>)]) -> Option<String> {
    let name = |at: usize| match &before.get(at)?.0 {
        Token::Word(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    let last = before.len().checked_sub(1)?;
    if before[last].0 == Token::Operator {
        return name(last.checked_sub(1)?);
    }
    if !matches!(before[last].0, Token::Open | Token::Comma) {
        return None;
    }
    let open = before
        .iter()
        .rposition(|(token, _)| *token == Token::Open)?;
    (before.get(open.checked_sub(1)?)?.0 == Token::In)
        .then(|| name(open.checked_sub(2)?))
        .flatten()
}

/// Writes a value as an expression takes it.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !"()=!<>~,\"'&|".contains(c);
    let word = ["and", "or", "not", "in"].contains(&value.to_ascii_lowercase().as_str());
    if !value.is_empty() && !word && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
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

/// Reads a server's refusal of `text`: `q = "...": a value is missing here (at 9)`, the place in bytes from 1.
///
/// Without a place the whole text is wrong.
pub(crate) fn refusal(detail: &str, text: &str) -> Wrong {
    let told = detail
        .strip_prefix(&format!("q = {text:?}: "))
        .unwrap_or(detail);
    let (told, place) = match told.rsplit_once(" (at ") {
        Some((before, after)) => (before, after.trim_end_matches(')').parse::<usize>().ok()),
        None => (told, None),
    };
    let mut letters = told.trim_end_matches('.').chars();
    let why = match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => "The collector refuses this search.".to_owned(),
    };
    let at = match place.map(|p| p.saturating_sub(1)) {
        Some(start) if text.is_char_boundary(start) => {
            let rest = &text[start..];
            let length = rest
                .char_indices()
                .find(|(i, c)| *i > 0 && (c.is_whitespace() || "(),".contains(*c)))
                .map_or(rest.len(), |(i, _)| i);
            start..start + length
        }
        _ => 0..text.len(),
    };
    Wrong { at, why }
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
            "status = ERROR && kind = consumer",
            "group=billing and topic=orders",
            "group = billing topic = orders",
            "timeout",
            "\"card declined\" service = billing",
            "!(status = error or duration > 200ms) and in_broker >= 1.5s",
            "trace_duration > 1m30s or duration > 0 || duration > 1.5H",
            "duration < 5min",
            "status ~ ^err or status =~ set$",
            // Whitespace as the server knows it: no space breaks here, a form, a line, and a vertical tab.
            "status = error\u{a0}and\u{3000}spans > 3\u{c}or errors = 1\u{b}",
            "service in (billing, \"my service\") and not http.route =~ \"/v[12]/.*\"",
            "order.id = A-1048-7731",
            "url.full = https://shop.example/checkout",
            "errors > 0 or spans <= 3",
            "name = 'it is'",
            "team = päyments",
            "a & b | c",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        for (text, part, why) in [
            ("status =", "", "value"),
            ("duration > fast", "fast", "unit"),
            ("duration > 5", "5", "unit"),
            ("duration > 5s5", "5s5", "unit"),
            ("(status = error", "(", "not closed"),
            ("status = error)", ")", "not opened"),
            ("and status = error", "and", "condition"),
            ("service in billing", "billing", "list"),
            ("service in (a b)", "b", "comma"),
            ("name = \"open", "\"open", "quote"),
            ("spans > many", "many", "whole number"),
            ("status = bad", "bad", "error, ok"),
            ("= 5", "=", "name"),
            ("a = 1 or", "", "condition"),
            ("a = , b", ",", "value"),
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
        assert!(check("ä = \"ö\\").is_err());
        assert!(check("duration > ü").is_err());
        assert_eq!(check("\u{0} \"\\ü\" b"), Ok(()));
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
    fn a_servers_refusal_says_where() {
        let text = "http.route ~ [ and a = 1";
        let wrong = refusal(
            "q = \"http.route ~ [ and a = 1\": not a regular expression: unclosed (at 14)",
            text,
        );
        assert_eq!(&text[wrong.at], "[");
        assert_eq!(wrong.why, "Not a regular expression: unclosed.");
        assert_eq!(refusal("too much (at 99)", "abc").at, 0..3);
        assert_eq!(refusal("", "abc").at, 0..3);
        assert_eq!(
            refusal("ünused (at 2)", "ü").at,
            0..2,
            "a place inside a letter is no place"
        );
    }

    #[test]
    fn names_values_and_joins_are_completed_where_they_may_stand() {
        let texts = |text: &str| -> Vec<String> {
            let known = |name: &str| match name {
                "group" => vec!["billing".to_owned(), "billing retry".to_owned()],
                _ => Vec::new(),
            };
            let found = complete(text, known);
            found.into_iter().map(|found| found.text).collect()
        };
        assert_eq!(texts("st"), ["status = "]);
        assert_eq!(texts("du"), ["duration > "]);
        assert_eq!(texts("status = er"), ["status = error "]);
        assert_eq!(texts("status = error a"), ["status = error and "]);
        assert_eq!(
            texts("group = b"),
            ["group = billing ", "group = \"billing retry\" "]
        );
        assert_eq!(
            texts("not (group in (x, "),
            [
                "not (group in (x, billing ",
                "not (group in (x, \"billing retry\" "
            ]
        );
        for nothing in [
            "",
            "order.id = ",
            "group = \"bil",
            "status = error",
            "(",
            "x ) ",
        ] {
            assert!(texts(nothing).is_empty(), "{nothing}");
        }
    }
}
