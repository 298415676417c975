//! A span as the normaliser reads it: borrowed, each attribute looked at once.
//!
//! It is made from a span's bytes in one walk ([`Sent::read`]: the hot path, nothing is copied and nothing is
//! allocated for what is not read), or from a decoded span ([`Sent::of`]: pages and tests). Both give the same.

mod keys;
mod read;
mod value;

use crate::ids::{SpanId, TraceId};
use crate::normalise::{MAX_LINKS, Rules, link_place};
use crate::otlp::DecodeError;
use crate::raw::{Attributes, RawEvent, RawSpan, SpanKind, StatusCode};
use crate::span::Link;
use crate::time::UnixNanos;

pub(crate) use keys::{Key, keys};
pub(crate) use value::ValueRef;

/// Message headers that an SDK was told to record.
pub(crate) const HEADER: &str = "messaging.header.";
/// Attributes that may carry a correlation id, strongest first; SDKs that write something else into a conversation
/// id are left out by the normaliser.
pub(crate) const CORRELATION_SOURCES: [&str; 13] = [
    "cloudevents.correlationid",
    "cloudevents.event_correlationid",
    "nservicebus.conversation_id",
    "nservicebus.correlation_id",
    "messaging.message.conversation_id",
    "messaging.conversation_id",
    "baggage.correlation-id",
    "baggage.correlation_id",
    "baggage.correlation.id",
    "correlation_id",
    "correlation.id",
    "correlationId",
    "correlation-id",
];

/// The name of an exception's event.
const EXCEPTION: &str = "exception";

/// What is read of a span.
#[derive(Default, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
    pub(crate) status: StatusCode,
    pub(crate) status_message: &'a str,
    pub(crate) attributes: Known<'a>,
    /// What may carry a correlation: recorded headers, [`CORRELATION_SOURCES`], what the operator named. In order,
    /// repeated keys included.
    pub(crate) correlating: Vec<(&'a str, ValueRef<'a>)>,
    /// The last exception: a handler may record some that it got over before the one that ended it.
    pub(crate) exception: Option<Known<'a>>,
    /// At most [`MAX_LINKS`]; invalid ones are left out.
    pub(crate) links: Vec<Link>,
}

/// The attributes that the normaliser knows; of equal keys the first.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// By key: one past the place in `values`, 0 for none.
    place: [u8; keys::COUNT],
    values: Vec<ValueRef<'a>>,
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self {
            place: [0; keys::COUNT],
            values: Vec::new(),
        }
    }
}

impl<'a> Known<'a> {
    /// Keeps `value` if its key is known and new.
    #[inline]
    fn add(&mut self, key: &[u8], value: impl FnOnce() -> ValueRef<'a>) {
        let Some(key) = Key::of(key) else { return };
        let place = &mut self.place[key.index()];
        if *place == 0 {
            self.values.push(value());
            // There are fewer keys than a u8 counts.
            *place = self.values.len() as u8;
        }
    }

    pub(crate) fn of(attributes: &'a Attributes) -> Self {
        let mut known = Self::default();
        for (key, value) in attributes {
            known.add(key.as_bytes(), || value.into());
        }
        known
    }

    fn clear(&mut self) {
        self.place = [0; keys::COUNT];
        self.values.clear();
    }

    /// The value sent under `key`.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<ValueRef<'a>> {
        let place = usize::from(self.place[key.index()]);
        Some(self.values[place.checked_sub(1)?])
    }
}

/// Whether an attribute may carry a correlation.
#[inline]
fn correlates(key: &[u8], rules: &Rules) -> bool {
    let is = |name: &str| name.as_bytes() == key;
    // All sources end so, and most attributes do not.
    (key.ends_with(b"d") && CORRELATION_SOURCES.iter().any(|name| is(name)))
        || key.starts_with(HEADER.as_bytes())
        || rules.correlation_attributes.iter().any(|name| is(name))
}

impl<'a> Sent<'a> {
    /// Reads an encoded `opentelemetry.proto.trace.v1.Span` in place of what was read before. It takes and refuses
    /// what prost does.
    ///
    /// `false` is a span whose array comes in several parts, which protobuf merges and no SDK sends: it has to be
    /// decoded whole.
    ///
    /// # Errors
    /// As [`crate::otlp::decode_span`].
    pub(crate) fn read(&mut self, bytes: &'a [u8], rules: &Rules) -> Result<bool, DecodeError> {
        self.clear();
        read::span(self, bytes, rules)
    }

    /// As new, but for the memory it holds.
    fn clear(&mut self) {
        let (mut attributes, mut correlating) = (
            std::mem::take(&mut self.attributes),
            std::mem::take(&mut self.correlating),
        );
        attributes.clear();
        correlating.clear();
        *self = Self {
            attributes,
            correlating,
            ..Self::default()
        };
    }

    /// The same of a decoded span.
    pub(crate) fn of(span: &'a RawSpan, rules: &Rules) -> Self {
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent_span_id,
            name: &span.name,
            kind: span.kind,
            start: span.start,
            end: span.end,
            status: span.status,
            status_message: &span.status_message,
            attributes: Known::of(&span.attributes),
            correlating: span
                .attributes
                .iter()
                .filter(|(key, _)| correlates(key.as_bytes(), rules))
                .map(|(key, value)| (key.as_str(), value.into()))
                .collect(),
            exception: span
                .events
                .iter()
                .rev()
                .find(|event| event.name == EXCEPTION)
                .map(|event: &RawEvent| Known::of(&event.attributes)),
            links: span
                .links
                .iter()
                .take(MAX_LINKS)
                .map(|link| link_place(link.trace_id, link.span_id, &Known::of(&link.attributes)))
                .collect(),
        }
    }
}
