//! Whether a span satisfies an expression, as far as is known of it.
//!
//! A search looks at a block's head first, then at the span itself, then at its whole trace, and goes on to the next
//! only where the answer still is "maybe": so each step reads no more than it must.

use std::borrow::Cow;
use std::collections::HashMap;

use highwater_model::raw::{Origin, RawSpan, SpanKind, StatusCode, Value};
use highwater_model::{Operation, Span, SpanId, TraceId, UnixNanos};

use super::{Condition, Expr, Field, Literal, Test, kind_name};
use crate::block::head::RowView;

/// Three-valued: what is not known yet may still be either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Truth {
    Yes,
    No,
    Maybe,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// What is known of a trace as a whole.
#[derive(Debug, Default)]
pub(crate) struct TraceContext {
    spans: u64,
    errors: u64,
    duration: u64,
    /// Of each span by its place, since real traces use a span id twice.
    in_broker: Vec<Option<u64>>,
}

impl TraceContext {
    pub(crate) fn of<'a>(spans: impl Iterator<Item = &'a Span> + Clone) -> Self {
        let mut context = Self::default();
        let (mut first, mut last) = (u64::MAX, 0);
        let mut sent = HashMap::new();
        for span in spans.clone() {
            context.spans += 1;
            context.errors += u64::from(span.error.is_some());
            first = first.min(span.start.0);
            last = last.max(span.end.0);
            let operation = span.messaging.as_ref().map(|messaging| messaging.operation);
            if matches!(operation, Some(Operation::Send | Operation::Create)) {
                sent.insert(span.span_id, span.end);
            }
        }
        context.duration = last.saturating_sub(first);
        context.in_broker = spans.map(|span| in_broker(span, &sent)).collect();
        context
    }
}

/// From the end of the span that sent the message to its delivery; the longest, where a span has several.
fn in_broker(span: &Span, sent: &HashMap<SpanId, UnixNanos>) -> Option<u64> {
    // A receive's start is the start of waiting, its end the delivery.
    let delivered = match span.messaging.as_ref()?.operation {
        Operation::Process => span.start,
        Operation::Receive => span.end,
        _ => return None,
    };
    let here = span
        .links
        .iter()
        .filter(|link| link.trace_id == span.trace_id);
    let producers = span.parent.into_iter().chain(here.map(|link| link.span_id));
    producers
        .filter_map(|id| sent.get(&id))
        .map(|end| delivered.since(*end))
        .max()
}

/// A span, as far as it is known.
pub(crate) struct SpanFacts<'a> {
    trace: TraceId,
    span: SpanId,
    environment: &'a str,
    service: &'a str,
    operation: &'a str,
    destination: Option<&'a str>,
    group: Option<&'a str>,
    kind: SpanKind,
    status: StatusCode,
    failed: bool,
    duration: u64,
    row: Option<RowView<'a>>,
    detail: Option<(&'a Origin, &'a RawSpan, &'a Span)>,
    /// Its trace, and its place there.
    context: Option<(&'a TraceContext, usize)>,
}

impl<'a> SpanFacts<'a> {
    /// What a block's head tells.
    pub(crate) fn from_row(row: RowView<'a>) -> Self {
        Self {
            trace: row.trace(),
            span: row.row.span_id,
            environment: row.environment(),
            service: row.service(),
            operation: row.operation(),
            destination: row.destination(),
            group: row.group(),
            kind: row.row.kind,
            status: row.row.status,
            failed: row.row.failed,
            duration: row.row.duration,
            row: Some(row),
            detail: None,
            context: None,
        }
    }

    /// What the span itself tells.
    pub(crate) fn from_span(origin: &'a Origin, raw: &'a RawSpan, span: &'a Span) -> Self {
        let messaging = span.messaging.as_ref();
        Self {
            trace: span.trace_id,
            span: span.span_id,
            environment: &span.service.environment,
            service: &span.service.name,
            operation: &span.name,
            destination: messaging.and_then(|messaging| messaging.destination.as_deref()),
            group: messaging.and_then(|messaging| messaging.group.as_deref()),
            kind: span.kind,
            status: span.status,
            failed: span.error.is_some(),
            duration: span.duration_ns(),
            row: None,
            detail: Some((origin, raw, span)),
            context: None,
        }
    }

    /// The same, with its trace known, where it is the `index`th: no answer is "maybe" then.
    pub(crate) fn in_trace(self, context: &'a TraceContext, index: usize) -> Self {
        Self {
            context: Some((context, index)),
            ..self
        }
    }

    pub(crate) fn truth(&self, expr: &Expr) -> Truth {
        match expr {
            Expr::All(all) => self.fold(all, Truth::No, Truth::Yes),
            Expr::Any(any) => self.fold(any, Truth::Yes, Truth::No),
            Expr::Not(inner) => match self.truth(inner) {
                Truth::Yes => Truth::No,
                Truth::No => Truth::Yes,
                Truth::Maybe => Truth::Maybe,
            },
            Expr::Is(condition) => self.condition(condition),
            Expr::Text(words) => self.words(words),
        }
    }

    /// Ends at the first `decisive` one.
    fn fold(&self, parts: &[Expr], decisive: Truth, otherwise: Truth) -> Truth {
        let mut truth = otherwise;
        for part in parts {
            match self.truth(part) {
                found if found == decisive => return decisive,
                Truth::Maybe => truth = Truth::Maybe,
                _ => {}
            }
        }
        truth
    }

    fn condition(&self, Condition { field, test }: &Condition) -> Truth {
        let number = |value: Option<u64>| value.is_some_and(|n| number_satisfies(n, test)).into();
        match field {
            Field::Trace => text_satisfies(&self.trace.to_hex(), test).into(),
            Field::Span => text_satisfies(&self.span.to_hex(), test).into(),
            Field::Environment => text_satisfies(self.environment, test).into(),
            Field::Service => text_satisfies(self.service, test).into(),
            Field::Operation => text_satisfies(self.operation, test).into(),
            Field::Kind => text_satisfies(kind_name(self.kind), test).into(),
            Field::Topic => self
                .destination
                .is_some_and(|text| text_satisfies(text, test))
                .into(),
            Field::Group => self
                .group
                .is_some_and(|text| text_satisfies(text, test))
                .into(),
            Field::Status => text_satisfies(self.status_word(), test).into(),
            Field::Duration => number(Some(self.duration)),
            Field::Namespace => match self.detail {
                Some((_, _, span)) => text_satisfies(&span.service.namespace, test).into(),
                None => Truth::Maybe,
            },
            Field::Correlation => self.correlation(test),
            Field::InBroker => match self.context {
                Some((context, index)) => number(context.in_broker.get(index).copied().flatten()),
                None => Truth::Maybe,
            },
            Field::TraceDuration => match self.context {
                Some((context, _)) => number(Some(context.duration)),
                None => Truth::Maybe,
            },
            Field::Spans => match self.context {
                Some((context, _)) => number(Some(context.spans)),
                None => Truth::Maybe,
            },
            Field::Errors => match self.context {
                Some((context, _)) => number(Some(context.errors)),
                None => Truth::Maybe,
            },
            Field::Attribute(name) => match self.detail {
                Some((origin, raw, _)) => attribute_satisfies(origin, raw, name, test).into(),
                None => Truth::Maybe,
            },
        }
    }

    fn status_word(&self) -> &'static str {
        match (self.failed, self.status) {
            (true, _) => "error",
            (false, StatusCode::Ok) => "ok",
            // A status of error that the normaliser forgave, Spring's back-off, is not shown as one.
            (false, _) => "unset",
        }
    }

    fn correlation(&self, test: &Test) -> Truth {
        let values: Vec<&str> = match (self.detail, self.row) {
            (Some((_, _, span)), _) => span.correlations.iter().map(|c| &*c.value).collect(),
            (None, Some(row)) => row.correlations().collect(),
            (None, None) => return Truth::Maybe,
        };
        any_satisfies(
            values.into_iter().map(|value| (Cow::Borrowed(value), None)),
            test,
        )
        .into()
    }

    fn words(&self, words: &str) -> Truth {
        let names = [
            Some(self.service),
            Some(self.operation),
            self.destination,
            self.group,
        ];
        if names
            .into_iter()
            .flatten()
            .any(|name| contains(name, words))
        {
            return Truth::Yes;
        }
        let Some((origin, raw, span)) = self.detail else {
            return Truth::Maybe;
        };
        let events = raw.events.iter().map(|event| event.name.as_str());
        let error = span
            .error
            .iter()
            .flat_map(|error| [&*error.kind, &*error.message]);
        let correlations = span
            .correlations
            .iter()
            .map(|correlation| &*correlation.value);
        let mut texts = events
            .chain(error)
            .chain(correlations)
            .chain([raw.status_message.as_str(), &origin.scope_name]);
        let found = texts.any(|text| contains(text, words))
            || attributes(origin, raw)
                .any(|(_, value)| values(value).iter().any(|(text, _)| contains(text, words)));
        found.into()
    }
}

/// Every attribute of a span: its own, its resource's, its scope's, its events' and its links'.
fn attributes<'a>(
    origin: &'a Origin,
    raw: &'a RawSpan,
) -> impl Iterator<Item = &'a (String, Value)> {
    let events = raw.events.iter().map(|event| &event.attributes);
    let links = raw.links.iter().map(|link| &link.attributes);
    [&raw.attributes, &origin.resource, &origin.scope]
        .into_iter()
        .chain(events)
        .chain(links)
        .flat_map(|attributes| attributes.iter())
}

fn attribute_satisfies(origin: &Origin, raw: &RawSpan, name: &str, test: &Test) -> bool {
    let named = attributes(origin, raw)
        .filter(|(key, _)| key == name)
        .flat_map(|(_, value)| values(value));
    // What SDKs show as attributes of the scope, though OTLP has fields for it.
    let scope = match name {
        "otel.scope.name" | "otel.library.name" => Some(&origin.scope_name),
        "otel.scope.version" | "otel.library.version" => Some(&origin.scope_version),
        _ => None,
    };
    let scope = scope
        .filter(|text| !text.is_empty())
        .map(|text| (Cow::Borrowed(text.as_str()), None));
    any_satisfies(named.chain(scope), test)
}

/// An attribute's value as text and number; an array's elements one by one; a map has neither.
fn values(value: &Value) -> Vec<(Cow<'_, str>, Option<f64>)> {
    match value {
        Value::Str(text) => vec![(Cow::Borrowed(text.as_str()), text.trim().parse().ok())],
        Value::Int(int) => vec![(int.to_string().into(), Some(*int as f64))],
        Value::Double(double) => vec![(double.to_string().into(), Some(*double))],
        Value::Bool(bool) => vec![(if *bool { "true" } else { "false" }.into(), None)],
        Value::Bytes(bytes) => {
            vec![(
                bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                None,
            )]
        }
        Value::Empty => vec![("".into(), None)],
        // One level: OTLP allows arrays in arrays, nobody asks for them.
        Value::Array(elements) => elements
            .iter()
            .filter(|element| !matches!(element, Value::Array(_)))
            .flat_map(values)
            .collect(),
        Value::Map(_) => Vec::new(),
    }
}

/// One value is enough; but `!=` asks that there is one, and that none is equal.
fn any_satisfies<'a>(
    mut values: impl Iterator<Item = (Cow<'a, str>, Option<f64>)>,
    test: &Test,
) -> bool {
    match test {
        Test::OneOf(literals) => values.any(|value| {
            literals
                .iter()
                .any(|literal| equal(&value.0, value.1, literal))
        }),
        Test::Not(literal) => {
            let mut there = false;
            for value in values {
                if equal(&value.0, value.1, literal) {
                    return false;
                }
                there = true;
            }
            there
        }
        Test::Order(comparison, than) => {
            values.any(|(_, number)| number.is_some_and(|number| comparison.holds(number, *than)))
        }
        Test::Matches(regex) => values.any(|(text, _)| regex.is_match(&text)),
    }
}

/// As texts; or as numbers, so that 1.50 is 1.5.
fn equal(text: &str, number: Option<f64>, literal: &Literal) -> bool {
    text == literal.text
        || matches!((number, literal.number), (Some(left), Some(right)) if left == right)
}

fn text_satisfies(text: &str, test: &Test) -> bool {
    match test {
        Test::OneOf(literals) => literals.iter().any(|literal| literal.text == text),
        Test::Not(literal) => literal.text != text,
        Test::Matches(regex) => regex.is_match(text),
        // The parser refuses it; an expression made in code simply does not match.
        Test::Order(..) => false,
    }
}

fn number_satisfies(value: u64, test: &Test) -> bool {
    let value = value as f64;
    match test {
        Test::OneOf(literals) => literals.iter().any(|literal| literal.number == Some(value)),
        Test::Not(literal) => literal.number.is_some_and(|number| number != value),
        Test::Order(comparison, than) => comparison.holds(value, *than),
        Test::Matches(_) => false,
    }
}

fn contains(text: &str, words: &str) -> bool {
    if words.is_empty() {
        return true;
    }
    if words.is_ascii() {
        // Without an allocation: this runs over every attribute of a range.
        let (text, words) = (text.as_bytes(), words.as_bytes());
        text.windows(words.len())
            .any(|window| window.eq_ignore_ascii_case(words))
    } else {
        text.to_lowercase().contains(&words.to_lowercase())
    }
}
