//! A span with its origin in view.

use std::borrow::Cow;

use super::OriginFacts;
use crate::sent::{Key, Known, Sent};

/// A span, what its origin tells, and its attributes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) span: &'a Sent<'a>,
    pub(super) origin: &'a OriginFacts,
}

impl<'a> View<'a> {
    /// The first of `keys` that holds text (or an integer, as digits).
    pub(super) fn text(&self, keys: &[Key]) -> Option<Cow<'a, str>> {
        text(&self.span.attributes, keys)
    }

    /// The first of `keys` that holds an integer in any form.
    pub(super) fn int(&self, keys: &[Key]) -> Option<i64> {
        int(&self.span.attributes, keys)
    }

    /// Whether any of `keys` is true.
    pub(super) fn flag(&self, keys: &[Key]) -> bool {
        keys.iter()
            .filter_map(|key| self.span.attributes.get(*key))
            .any(|value| value.is_true())
    }

    /// Whether any of `keys` was sent at all.
    pub(super) fn has(&self, keys: &[Key]) -> bool {
        keys.iter()
            .any(|key| self.span.attributes.get(*key).is_some())
    }

    /// The scope's name.
    pub(super) fn scope(&self) -> &'a str {
        &self.origin.scope
    }

    /// The last word of the span's name: the operation in the older `{destination} {operation}`.
    pub(super) fn last_word(&self) -> &'a str {
        self.span.name.rsplit(' ').next().unwrap_or_default()
    }
}

/// The first of `keys` that holds text (or an integer, as digits).
pub(super) fn text<'a>(attributes: &Known<'a>, keys: &[Key]) -> Option<Cow<'a, str>> {
    keys.iter()
        .filter_map(|key| attributes.get(*key))
        .find_map(|value| value.text())
}

/// The first of `keys` that holds an integer in any form.
pub(super) fn int(attributes: &Known<'_>, keys: &[Key]) -> Option<i64> {
    keys.iter()
        .filter_map(|key| attributes.get(*key))
        .find_map(|value| value.int())
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

/// `text` in lower case; almost all of what is sent is that already.
pub(super) fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        text
    }
}
