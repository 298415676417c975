//! What the index finds blocks by: four kinds of keys, each a hash of four bytes.

use highwater_model::{Span, TraceId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

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
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [
        Self::Trace,
        Self::Correlation,
        Self::LinkTarget,
        Self::Record,
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

/// The records that a span names: its own, and those of its links, where an SDK writes partition and offset there.
pub(crate) fn records(span: &Span) -> impl Iterator<Item = Fingerprint> {
    let messaging = span.messaging.as_ref();
    let topic = messaging.and_then(|messaging| messaging.destination.as_deref());
    let own = messaging.map(|messaging| (messaging.partition, messaging.offset));
    topic.into_iter().flat_map(move |topic| {
        own.into_iter()
            .chain(span.links.iter().map(|link| (link.partition, link.offset)))
            .filter_map(move |(partition, offset)| Some(record(topic, partition?, offset?)))
    })
}
