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
        collect(&mut found, name, sent, words, |key| key == name);
    }
    let named = found.len();
    let conversation = rules.reply_ids_correlate || !view.origin.conversation_is_something_else;
    let of = |key: &str| rank(key, rules).filter(|_| conversation || !CONVERSATION.contains(&key));
    // As most spans have it.
    if let [(key, _)] = &sent[..] {
        if of(key).is_some() {
            collect(&mut found, KEY, sent, words, |_| true);
        }
        return found;
    }
    let mut next = sent.iter().filter_map(|(key, _)| of(key)).min();
    while let Some(rank) = next {
        collect(&mut found, KEY, sent, words, |key| of(key) == Some(rank));
        if found.len() > named {
            break;
        }
        let ranks = sent.iter().filter_map(|(key, _)| of(key));
        next = ranks.filter(|other| *other > rank).min();
    }
    found
}

/// The place of an attribute among the default sources: headers first, as the operator put them.
fn rank(key: &str, rules: &Rules) -> Option<usize> {
    let headers = &rules.correlation_headers;
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

fn collect(
    found: &mut Vec<Correlation>,
    name: &str,
    sent: &[(&str, ValueRef<'_>)],
    words: &mut Words,
    matches: impl Fn(&str) -> bool,
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
    for (_, value) in sent.iter().filter(|(key, _)| matches(key)) {
        match value {
            ValueRef::Array(items) => items.take(MAX_CORRELATIONS).for_each(&mut add),
            single => add(*single),
        }
    }
}
