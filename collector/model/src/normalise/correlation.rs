//! Which business transaction a span belongs to.

use std::borrow::Cow;
use std::sync::Arc;

use super::values::View;
use super::{MAX_CORRELATIONS, Rules};
use crate::sent::{CORRELATION_SOURCES, HEADER, ValueRef};
use crate::span::Correlation;
use crate::words::Words;

/// The key of every default source: an id is the same id, whichever header carried it.
const KEY: &str = "correlation";
const MAX_VALUE: usize = 256;
/// What some SDKs write something else into.
const CONVERSATION: [&str; 2] = [
    "messaging.message.conversation_id",
    "messaging.conversation_id",
];

/// Collects the span's correlations.
///
/// Attributes that the operator named all count, each under its own name. Of the default sources the first that
/// holds a value counts, in order: headers, CloudEvents, NServiceBus, the conversation id, baggage, plain names.
/// Taking more than one would join a journey with whatever else an SDK puts into a weaker one.
pub(super) fn of(view: &View<'_>, rules: &Rules, words: &mut Words) -> Vec<Correlation> {
    let mut found = Vec::new();
    let sent = &view.span.correlating;
    if sent.is_empty() {
        return found;
    }
    for name in &rules.correlation_attributes {
        let named = sent.iter().filter(|(key, _)| key == name);
        collect(&mut found, name, named.map(|(_, value)| *value), words);
    }
    let named = found.len();
    let conversation = rules.reply_ids_correlate || !view.origin.conversation_is_something_else;
    let counts = |key: &str| conversation || !CONVERSATION.contains(&key);
    // Each attribute's place among the sources, and not each source among the attributes: most spans have one that counts.
    let mut values: Vec<(usize, ValueRef<'_>)> = sent
        .iter()
        .filter(|(key, _)| counts(key))
        .filter_map(|(key, value)| Some((source(key, rules)?, *value)))
        .collect();
    values.sort_by_key(|(source, _)| *source);
    for of_one in values.chunk_by(|a, b| a.0 == b.0) {
        collect(
            &mut found,
            KEY,
            of_one.iter().map(|(_, value)| *value),
            words,
        );
        if found.len() > named {
            break;
        }
    }
    found
}

/// Which of the default sources an attribute is: headers first, as the operator put them.
fn source(key: &str, rules: &Rules) -> Option<usize> {
    let headers = &rules.correlation_headers;
    // No other source begins like a header.
    match key.strip_prefix(HEADER) {
        Some(header) => headers.iter().position(|name| same(header, name)),
        None => {
            let place = CORRELATION_SOURCES.iter().position(|name| *name == key)?;
            Some(headers.len() + place)
        }
    }
}

/// The scopes that write an AMQP or JMS correlation id (often request-reply), a batch entry's id or a task's id.
pub(super) fn conversation_is_something_else(scope: &str) -> bool {
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

fn collect<'a>(
    found: &mut Vec<Correlation>,
    name: &str,
    values: impl Iterator<Item = ValueRef<'a>>,
    words: &mut Words,
) {
    let mut key: Option<Arc<str>> = None;
    let mut add = |value: ValueRef<'_>| {
        let value = match value {
            ValueRef::Str(text) => Cow::Borrowed(text),
            ValueRef::Int(number) => Cow::Owned(number.to_string()),
            _ => return,
        };
        // A longer value is left out, not cut: two that share a beginning are not one journey.
        if value.is_empty() || value.len() > MAX_VALUE || found.len() >= MAX_CORRELATIONS {
            return;
        }
        let key = key.get_or_insert_with(|| words.share(name));
        if !found
            .iter()
            .any(|known: &Correlation| known.key == *key && *known.value == *value)
        {
            found.push(Correlation {
                key: Arc::clone(key),
                value: (&*value).into(),
            });
        }
    };
    for value in values {
        match value {
            ValueRef::Array(items) => items.take(MAX_CORRELATIONS).for_each(&mut add),
            single => add(single),
        }
    }
}
