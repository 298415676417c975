//! Tokens to an expression.

use std::ops::Range;

use highwater_model::{SpanId, TraceId};
use regex::RegexBuilder;

use super::lexer::{Token, tokens};
use super::{Comparison, Condition, Expr, Field, Literal, ParseError, Test};

/// A longer text is refused, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// More conditions are refused.
pub const MAX_CONDITIONS: usize = 256;
/// Brackets and negations within each other: recursion has a bound.
const MAX_DEPTH: usize = 32;
/// A compiled regular expression may take so much memory. Less where this is fuzzed, since compiling them is not what is
/// tried there, and takes a hundred times as long as all else.
const MAX_REGEX_BYTES: usize = if cfg!(feature = "fuzzing") {
    16 << 10
} else {
    1 << 20
};
/// More regular expressions are refused: each may take some 20 ms to compile.
const MAX_REGEXES: usize = 16;

/// Reads an expression; `None` when it is blank.
///
/// # Errors
/// Where it is wrong and why. Also when it is longer than [`MAX_LENGTH`] or has more than [`MAX_CONDITIONS`] or
/// 16 regular expressions.
pub fn parse(text: &str) -> Result<Option<Expr>, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(ParseError {
            at: text.floor_char_boundary(MAX_LENGTH)..text.len(),
            message: format!("an expression has at most {MAX_LENGTH} bytes"),
        });
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        tokens,
        at: 0,
        end: text.len(),
        conditions: 0,
        regexes: 0,
    };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(Some(expr)),
        Some(Token::Close) => Err(parser.wrong("there is no bracket open that this could close")),
        Some(_) => Err(parser.wrong("a name or a word is expected here")),
    }
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
    conditions: usize,
    regexes: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn range(&self) -> Range<usize> {
        let range = self.tokens.get(self.at).map(|(_, range)| range.clone());
        range.unwrap_or(self.end..self.end)
    }

    fn wrong(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            at: self.range(),
            message: message.into(),
        }
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Expr, ParseError> {
        let mut parts = vec![self.all(depth)?];
        while self.take(&Token::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, ParseError> {
        let mut parts = vec![self.unary(depth)?];
        loop {
            match self.peek() {
                Some(Token::And) => self.at += 1,
                Some(Token::Not | Token::Open | Token::Word(_) | Token::Quoted(_)) => {}
                _ => return Ok(joined(parts, Expr::All)),
            }
            parts.push(self.unary(depth)?);
        }
    }

    fn unary(&mut self, depth: usize) -> Result<Expr, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!(
                "brackets and negations go at most {MAX_DEPTH} deep"
            )));
        }
        if self.take(&Token::Not) {
            return Ok(Expr::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let inner = self.any(depth + 1)?;
            if !self.take(&Token::Close) {
                return Err(self.wrong("a closing bracket is missing here"));
            }
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Expr, ParseError> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(self.wrong(format!("at most {MAX_CONDITIONS} conditions")));
        }
        let range = self.range();
        let (name, field) = match self.peek() {
            Some(Token::Word(name)) => (name.clone(), field_of(name)),
            Some(Token::Quoted(name)) => (name.clone(), Field::Attribute(name.clone())),
            None => return Err(self.wrong("a name or a word is missing here")),
            Some(_) => return Err(self.wrong("a name or a word is expected here")),
        };
        self.at += 1;
        let operator = self.peek().cloned();
        let test = match operator {
            Some(Token::Equal) => {
                self.at += 1;
                Test::OneOf(vec![self.value(&field)?])
            }
            Some(Token::Unequal) => {
                self.at += 1;
                Test::Not(self.value(&field)?)
            }
            Some(Token::In) => {
                self.at += 1;
                Test::OneOf(self.list(&field)?)
            }
            Some(Token::Less) => self.order(&field, &range, Comparison::Less)?,
            Some(Token::AtMost) => self.order(&field, &range, Comparison::AtMost)?,
            Some(Token::More) => self.order(&field, &range, Comparison::More)?,
            Some(Token::AtLeast) => self.order(&field, &range, Comparison::AtLeast)?,
            Some(Token::Match) => self.regex(&field, &range)?,
            _ if name.is_empty() => {
                self.at -= 1;
                return Err(self.wrong("there is nothing in the quotes"));
            }
            _ => return Ok(Expr::Text(name)),
        };
        Ok(Expr::Is(Condition { field, test }))
    }

    fn order(
        &mut self,
        field: &Field,
        name: &Range<usize>,
        comparison: Comparison,
    ) -> Result<Test, ParseError> {
        if unit(field) == Unit::Text {
            return Err(ParseError {
                at: name.clone(),
                message: "this is a text: it has =, !=, ~ and in, but no order".into(),
            });
        }
        self.at += 1;
        let at = self.range();
        let value = self.value(field)?;
        let number = value.number.ok_or_else(|| ParseError {
            at,
            message: "a number is expected here".into(),
        })?;
        Ok(Test::Order(comparison, number))
    }

    fn regex(&mut self, field: &Field, name: &Range<usize>) -> Result<Test, ParseError> {
        if !matches!(unit(field), Unit::Text | Unit::Either) {
            return Err(ParseError {
                at: name.clone(),
                message: "this is a number: it has no regular expression".into(),
            });
        }
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            return Err(self.wrong(format!("at most {MAX_REGEXES} regular expressions")));
        }
        self.at += 1;
        let at = self.range();
        let pattern = self.text()?;
        let regex = RegexBuilder::new(&pattern)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .build()
            .map_err(|error| ParseError {
                at,
                message: format!("not a regular expression: {}", last_line(&error)),
            })?;
        Ok(Test::Matches(regex))
    }

    fn list(&mut self, field: &Field) -> Result<Vec<Literal>, ParseError> {
        if !self.take(&Token::Open) {
            return Err(self.wrong("a list in brackets is expected after in"));
        }
        let mut values = vec![self.value(field)?];
        while self.take(&Token::Comma) {
            values.push(self.value(field)?);
        }
        if !self.take(&Token::Close) {
            return Err(self.wrong("a comma or a closing bracket is missing here"));
        }
        Ok(values)
    }

    fn text(&mut self) -> Result<String, ParseError> {
        let text = match self.tokens.get(self.at) {
            Some((Token::Word(text) | Token::Quoted(text), _)) => text.clone(),
            None => return Err(self.wrong("a value is missing here")),
            Some(_) => return Err(self.wrong("a value is expected here")),
        };
        self.at += 1;
        Ok(text)
    }

    fn value(&mut self, field: &Field) -> Result<Literal, ParseError> {
        let at = self.range();
        let text = self.text()?;
        literal(field, text).map_err(|message| ParseError { at, message })
    }
}

fn joined(mut parts: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => join(parts),
    }
}

/// A regular expression's error draws a picture first.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn field_of(name: &str) -> Field {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Field::Trace,
        "span" => Field::Span,
        "environment" | "env" => Field::Environment,
        "namespace" => Field::Namespace,
        "service" => Field::Service,
        "operation" | "name" => Field::Operation,
        "kind" => Field::Kind,
        "topic" | "destination" => Field::Topic,
        "group" => Field::Group,
        "correlation" => Field::Correlation,
        "status" => Field::Status,
        "duration" => Field::Duration,
        "in_broker" => Field::InBroker,
        "trace_duration" => Field::TraceDuration,
        "spans" => Field::Spans,
        "errors" => Field::Errors,
        _ => Field::Attribute(name.to_owned()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Text,
    Duration,
    Count,
    /// An attribute: whatever it is.
    Either,
}

fn unit(field: &Field) -> Unit {
    match field {
        Field::Duration | Field::InBroker | Field::TraceDuration => Unit::Duration,
        Field::Spans | Field::Errors => Unit::Count,
        Field::Attribute(_) => Unit::Either,
        _ => Unit::Text,
    }
}

fn literal(field: &Field, text: String) -> Result<Literal, String> {
    let lower = text.to_ascii_lowercase();
    let one_of = |words: &[&str]| {
        if words.contains(&lower.as_str()) {
            Ok(Literal::text(lower.clone()))
        } else {
            Err(format!("one of {} is expected here", words.join(", ")))
        }
    };
    match field {
        Field::Status => one_of(&["ok", "error", "unset"]),
        Field::Kind => one_of(&[
            "internal",
            "server",
            "client",
            "producer",
            "consumer",
            "unspecified",
        ]),
        Field::Trace if TraceId::from_hex(&text).is_none() => {
            Err("a trace id has 32 hexadecimal digits".into())
        }
        Field::Span if SpanId::from_hex(&text).is_none() => {
            Err("a span id has 16 hexadecimal digits".into())
        }
        Field::Trace | Field::Span => Ok(Literal::text(lower)),
        _ => match unit(field) {
            Unit::Text | Unit::Either => Ok(Literal::text(text)),
            Unit::Duration => match nanos(&lower) {
                Some(nanos) => Ok(Literal {
                    text,
                    number: Some(nanos),
                }),
                None => Err("a duration with its unit is expected here: 200ms, 5s, 1m30s".into()),
            },
            Unit::Count => match text.parse::<u64>() {
                Ok(count) => Ok(Literal {
                    text,
                    number: Some(count as f64),
                }),
                Err(_) => Err("a whole number is expected here".into()),
            },
        },
    }
}

/// Reads `1m30s`, `200ms`, `1.5h`, or `0`, as nanoseconds.
fn nanos(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let mut left = text;
    let mut sum = 0.0;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = left[..digits].parse().ok()?;
        left = &left[digits..];
        let end = left
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(left.len());
        let unit = match &left[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return None,
        };
        sum += number * unit;
        left = &left[end..];
    }
    (!text.is_empty()).then_some(sum)
}
