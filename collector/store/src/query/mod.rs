//! The small language of a search: `service = billing and duration > 200ms and not order.id in (17, 18)`.
//!
//! A condition is `name op value`; conditions are joined by `and`, `or`, `not` or `!`, and brackets; standing side by
//! side means `and`. Operators: `=`, `!=`, `<`, `<=`, `>`, `>=`, `~` (a regular expression that matches anywhere),
//! `in (a, b)`. A word alone is searched for in names, messages and attribute values. Values with spaces stand in
//! quotes; a name in quotes is always an attribute's.
//!
//! **What matches:** a trace, when one span of it satisfies the whole expression. A name that speaks of the trace
//! (`trace`, `spans`, `errors`, `trace_duration`) has the trace's value for each of its spans.
//!
//! **What is missing:** a condition on something that a span does not have is false, `!=` too; `not a = b` is true.
//!
//! Pure: no store, no clock.

mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::ops::Range;

use highwater_model::TraceId;
use highwater_model::raw::SpanKind;
use regex::Regex;

pub(crate) use eval::{SpanFacts, TraceContext, Truth};
pub use parser::{MAX_CONDITIONS, MAX_LENGTH, parse};

/// An expression that cannot be understood, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} (at {})", at.start + 1)]
pub struct ParseError {
    /// Bytes of the text that are wrong; empty at its end where something is missing.
    pub at: Range<usize>,
    /// Why, in a sentence without a full stop.
    pub message: String,
}

/// What a condition speaks of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    /// `trace`: the trace's id.
    Trace,
    /// `span`: the span's id.
    Span,
    /// `environment`, `env`.
    Environment,
    /// `namespace`: the service's.
    Namespace,
    /// `service`.
    Service,
    /// `operation`, `name`: the span's name.
    Operation,
    /// `kind`: the span's.
    Kind,
    /// `topic`, `destination`.
    Topic,
    /// `group`.
    Group,
    /// `correlation`: any correlation value.
    Correlation,
    /// `status`: `error` when the span failed, `ok` when it was set so, else `unset`.
    Status,
    /// `duration`: the span's.
    Duration,
    /// `in_broker`: from the end of the span that sent the message to the start of this one, where both are in the trace.
    InBroker,
    /// `trace_duration`: from the trace's first start to its last end.
    TraceDuration,
    /// `spans`: how many the trace has.
    Spans,
    /// `errors`: how many spans of the trace failed.
    Errors,
    /// Any other name: an attribute of the span, its resource, scope, events or links.
    Attribute(String),
}

/// How a value is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// What is asked of a field's value.
#[derive(Clone, Debug)]
pub enum Test {
    /// `=` and `in`: it is one of these.
    OneOf(Vec<Literal>),
    /// `!=`: it is there, and it is not this.
    Not(Literal),
    /// An order, between numbers. Nanoseconds where the field is a duration.
    Order(Comparison, f64),
    /// `~`
    Matches(Regex),
}

/// A value as written.
#[derive(Clone, PartialEq, Debug)]
pub struct Literal {
    /// The text. Lower case for ids and the words of `status` and `kind`.
    pub text: String,
    /// Its value, where it is a number, or a duration where the field is one.
    pub number: Option<f64>,
}

impl Literal {
    /// A text that is compared as it stands.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        let number = text.parse().ok();
        Self { text, number }
    }
}

/// `name op value`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The name.
    pub field: Field,
    /// Operator and value.
    pub test: Test,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// All of these; true when empty.
    All(Vec<Self>),
    /// One of these; false when empty.
    Any(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// One condition.
    Is(Condition),
    /// The words stand, in whatever case, in a name, a message or an attribute's value.
    Text(String),
}

impl Expr {
    /// `field = value`.
    #[must_use]
    pub fn equals(field: Field, value: impl Into<String>) -> Self {
        Self::Is(Condition {
            field,
            test: Test::OneOf(vec![Literal::text(value)]),
        })
    }

    /// `status = error`.
    #[must_use]
    pub fn failed() -> Self {
        Self::equals(Field::Status, "error")
    }

    /// `trace = id`.
    #[must_use]
    pub fn trace(id: TraceId) -> Self {
        Self::equals(Field::Trace, id.to_hex())
    }

    /// The span's duration, in nanoseconds.
    #[must_use]
    pub fn duration(comparison: Comparison, nanos: u64) -> Self {
        Self::Is(Condition {
            field: Field::Duration,
            test: Test::Order(comparison, nanos as f64),
        })
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut all) => {
                all.push(other);
                Self::All(all)
            }
            one => Self::All(vec![one, other]),
        }
    }

    /// Whether a span's own bytes can tell more than its block's head.
    pub(crate) fn needs_body(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::needs_body),
            Self::Not(inner) => inner.needs_body(),
            Self::Text(_) => true,
            Self::Is(condition) => {
                matches!(condition.field, Field::Namespace | Field::Attribute(_))
            }
        }
    }

    /// The conditions that every match satisfies: those joined by `and` at the top.
    pub(crate) fn required(&self) -> Vec<&Condition> {
        match self {
            Self::Is(condition) => vec![condition],
            Self::All(all) => all.iter().flat_map(Self::required).collect(),
            Self::Any(_) | Self::Not(_) | Self::Text(_) => Vec::new(),
        }
    }
}

impl Condition {
    /// The one value that the field must have.
    pub(crate) fn only(&self) -> Option<&str> {
        match &self.test {
            Test::OneOf(values) if values.len() == 1 => Some(&values[0].text),
            _ => None,
        }
    }
}

pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}
