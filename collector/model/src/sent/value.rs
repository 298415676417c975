//! An attribute's value, borrowed, and how leniently it is read.

use std::borrow::Cow;

use super::read;
use crate::raw::Value;

/// A value as far as the normaliser reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueRef<'a> {
    /// Text.
    Str(&'a str),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// An array.
    Array(Items<'a>),
    /// What nothing is read out of: no value, bytes, a list of pairs.
    Other,
}

/// The items of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Items<'a> {
    /// As encoded: an `ArrayValue` that was read before, so it has no errors.
    Wire(&'a [u8]),
    /// As decoded.
    Decoded(&'a [Value]),
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Str(text) => Self::Str(text),
            Value::Int(number) => Self::Int(*number),
            Value::Double(number) => Self::Double(*number),
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Array(items) => Self::Array(Items::Decoded(items)),
            Value::Empty | Value::Bytes(_) | Value::Map(_) => Self::Other,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        match self {
            Self::Wire(rest) => read::next_item(rest),
            Self::Decoded(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(first.into())
            }
        }
    }
}

impl<'a> ValueRef<'a> {
    /// Text that is not empty; an integer as digits; of an array its first element.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Array(mut items) => match items.next()? {
                // One level only: an array of arrays is no list of names.
                Self::Array(_) => None,
                item => item.text(),
            },
            Self::Str(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// A number, or a string of digits: kafkajs and Spring send offsets as strings.
    pub(crate) fn int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::Str(text) => text.trim().parse().ok(),
            // JSON senders that have no integers; above 2^53 such a value is not exact, so it is refused.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            Self::Double(number)
                if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
            {
                Some(number as i64)
            }
            _ => None,
        }
    }

    /// Whether it is true, or the word.
    pub(crate) fn is_true(self) -> bool {
        match self {
            Self::Bool(flag) => flag,
            Self::Str(text) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}
