//! What the index finds blocks by: five kinds of keys, each a hash of four bytes.

use highwater_model::{Span, TraceId};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Four bytes of a hash: two keys may share it, so what it finds is verified on the block.
pub(crate) type Fingerprint = u32;

/// What a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The spans of a trace.
    Trace = 0,
    /// The spans with a correlation value, whatever its key.
    Correlation = 1,
    /// The spans that link to a trace.
    LinkTarget = 2,
    /// The spans that name a record: topic, partition, offset.
    Record = 3,
    /// The spans with an attribute of a value: their own, or their resource's, scope's, events' or links'.
    Attribute = 4,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 5;

impl Kind {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; KINDS] = [
        Self::Trace,
        Self::Correlation,
        Self::LinkTarget,
        Self::Record,
        Self::Attribute,
    ];

    fn of(self, bytes: &[u8]) -> Fingerprint {
        // The upper half: the hash's best bits, and the seed keeps kinds apart.
        (xxh3_64_with_seed(bytes, self as u64) >> 32) as Fingerprint
    }
}

pub(crate) fn trace(id: TraceId) -> Fingerprint {
    Kind::Trace.of(&id.0)
}

pub(crate) fn correlation(value: &str) -> Fingerprint {
    Kind::Correlation.of(value.as_bytes())
}

pub(crate) fn link_target(trace: TraceId) -> Fingerprint {
    Kind::LinkTarget.of(&trace.0)
}

pub(crate) fn record(topic: &str, partition: i32, offset: i64) -> Fingerprint {
    let mut bytes = Vec::with_capacity(topic.len() + 12);
    bytes.extend_from_slice(&partition.to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(topic.as_bytes());
    Kind::Record.of(&bytes)
}

/// An attribute whose value is a text. One that reads as a number counts as the number: 1.50 is found as 1.5, as a
/// search compares them.
pub(crate) fn attribute_text(key: &[u8], value: &[u8]) -> Fingerprint {
    match number(value) {
        Some(number) => attribute_number(key, number),
        None => attribute(key, value),
    }
}

/// An attribute whose value is a number.
pub(crate) fn attribute_number(key: &[u8], value: f64) -> Fingerprint {
    if value.is_nan() {
        return attribute(key, value.to_string().as_bytes());
    }
    // Plus zero: there is one zero.
    attribute(key, &(value + 0.0).to_bits().to_le_bytes())
}

fn attribute(key: &[u8], value: &[u8]) -> Fingerprint {
    // Short ones, which is nearly all, in one go.
    let mut bytes = [0; 128];
    let len = key.len() + 1 + value.len();
    if len <= bytes.len() {
        bytes[..key.len()].copy_from_slice(key);
        bytes[key.len() + 1..len].copy_from_slice(value);
        return Kind::Attribute.of(&bytes[..len]);
    }
    let mut hash = Xxh3::with_seed(Kind::Attribute as u64);
    hash.update(key);
    hash.update(&[0]);
    hash.update(value);
    (hash.digest() >> 32) as Fingerprint
}

fn number(text: &[u8]) -> Option<f64> {
    // Most texts are no numbers, and their first letter tells: digits, signs, blanks, `inf`, `nan`.
    let first = *text.first()?;
    let may = first.is_ascii_digit()
        || b"+-.iInN".contains(&first)
        || first.is_ascii_whitespace()
        || first >= 0x80;
    if !may {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// The records that the links of a span name, where an SDK writes partition and offset there.
pub(crate) fn linked_records(span: &Span) -> impl Iterator<Item = Fingerprint> {
    let messaging = span.messaging.as_ref();
    let topic = messaging.and_then(|messaging| messaging.destination.as_deref());
    topic.into_iter().flat_map(move |topic| {
        let links = span.links.iter();
        links.filter_map(|link| Some(record(topic, link.partition?, link.offset?)))
    })
}
