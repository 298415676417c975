//! Which business transaction a span belongs to.

use std::sync::Arc;

use super::values::View;
use super::{MAX_CORRELATIONS, Rules};
use crate::raw::Value;
use crate::span::Correlation;

/// The key of every default source: an id is the same id, whichever header carried it.
const KEY: &str = "correlation";
const MAX_VALUE: usize = 256;
const HEADER: &str = "messaging.header.";

/// Collects the span's correlations.
///
/// Attributes that the operator named all count, each under its own name. Of the default sources the first that
/// holds a value counts, in order: headers, CloudEvents, NServiceBus, the conversation id, baggage, plain names.
/// Taking more than one would join a journey with whatever else an SDK puts into a weaker one.
pub(super) fn of(view: &View<'_>, rules: &Rules) -> Vec<Correlation> {
    let mut found = Vec::new();
    for name in &rules.correlation_attributes {
        collect(&mut found, name, view, |key| key == name);
    }
    let named = found.len();
    let mut default = |matches: &dyn Fn(&str) -> bool| {
        collect(&mut found, KEY, view, matches);
        found.len() > named
    };
    for name in &rules.correlation_headers {
        if default(&|key| key.strip_prefix(HEADER).is_some_and(|key| same(key, name))) {
            return found;
        }
    }
    let mut sources: Vec<&str> = vec![
        "cloudevents.correlationid",
        "cloudevents.event_correlationid",
        "nservicebus.conversation_id",
        "nservicebus.correlation_id",
    ];
    if rules.reply_ids_correlate || !conversation_is_something_else(view.scope) {
        sources.extend([
            "messaging.message.conversation_id",
            "messaging.conversation_id",
        ]);
    }
    sources.extend([
        "baggage.correlation-id",
        "baggage.correlation_id",
        "baggage.correlation.id",
        "correlation_id",
        "correlation.id",
        "correlationId",
        "correlation-id",
    ]);
    for source in sources {
        if default(&|key| key == source) {
            break;
        }
    }
    found
}

/// The scopes that write an AMQP or JMS correlation id (often request-reply), a batch entry's id or a task's id.
fn conversation_is_something_else(scope: &str) -> bool {
    ["pika", "amqplib", "rabbit", "jms", "boto3sqs", "celery"]
        .iter()
        .any(|part| scope.contains(part))
}

/// `correlation-id` and `correlation_id` are one header: the Java agent writes `_` for `-`.
fn same(a: &str, b: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'-' => b'_',
        other => other.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| plain(a) == plain(b))
}

fn collect(
    found: &mut Vec<Correlation>,
    name: &str,
    view: &View<'_>,
    matches: impl Fn(&str) -> bool,
) {
    let mut key: Option<Arc<str>> = None;
    let mut add = |value: &Value| {
        let value = match value {
            Value::Str(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            _ => return,
        };
        // A longer value is left out, not cut: two that share a beginning are not one journey.
        if value.is_empty() || value.len() > MAX_VALUE || found.len() >= MAX_CORRELATIONS {
            return;
        }
        let correlation = Correlation {
            key: key.get_or_insert_with(|| name.into()).clone(),
            value: value.into(),
        };
        if !found.contains(&correlation) {
            found.push(correlation);
        }
    };
    for (_, value) in view.attributes.iter().filter(|(name, _)| matches(name)) {
        match value {
            Value::Array(items) => items.iter().take(MAX_CORRELATIONS).for_each(&mut add),
            single => add(single),
        }
    }
}
