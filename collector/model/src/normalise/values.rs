//! Reading attribute values leniently, and a span with its scope in view.

use std::borrow::Cow;

use crate::raw::{RawSpan, Value, attribute};

/// A span, its scope and the attributes in question (its own, or one link's).
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) attributes: &'a [(String, Value)],
    pub(super) scope: &'a str,
    pub(super) span: &'a RawSpan,
}

impl<'a> View<'a> {
    /// The first of `keys` that holds text (or an integer, as digits).
    pub(super) fn text(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter()
            .filter_map(|key| attribute(self.attributes, key))
            .find_map(text)
    }

    /// The first of `keys` that holds an integer in any form.
    pub(super) fn int(&self, keys: &[&str]) -> Option<i64> {
        keys.iter()
            .filter_map(|key| attribute(self.attributes, key))
            .find_map(int)
    }

    /// Whether any of `keys` is true.
    pub(super) fn flag(&self, keys: &[&str]) -> bool {
        keys.iter()
            .filter_map(|key| attribute(self.attributes, key))
            .any(|value| match value {
                Value::Bool(flag) => *flag,
                Value::Str(text) => text.eq_ignore_ascii_case("true"),
                _ => false,
            })
    }

    /// Whether the attribute was sent at all.
    pub(super) fn has(&self, key: &str) -> bool {
        attribute(self.attributes, key).is_some()
    }

    /// The last word of the span's name: the operation in the older `{destination} {operation}`.
    pub(super) fn last_word(&self) -> &'a str {
        self.span.name.rsplit(' ').next().unwrap_or_default()
    }
}

/// Text that is not empty; an integer as digits; of an array its first element.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Str(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Int(number) => Some(Cow::Owned(number.to_string())),
        // One level only: an array of arrays is no list of names.
        Value::Array(items) => match items.first()? {
            Value::Str(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
            Value::Int(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        },
        _ => None,
    }
}

/// A number, or a string of digits: kafkajs and Spring send offsets as strings.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Str(text) => text.trim().parse().ok(),
        // JSON senders that have no integers; above 2^53 such a value is not exact, so it is refused.
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        Value::Double(number)
            if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
        {
            Some(*number as i64)
        }
        _ => None,
    }
}

/// At most `limit` bytes of `text`, never splitting a character.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
