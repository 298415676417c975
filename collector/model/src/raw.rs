//! A span as it was sent, after decoding and before any meaning is read into it.

use crate::ids::{SpanId, TraceId};
use crate::time::UnixNanos;

/// An OTLP attribute value.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Value {
    /// Present without a value, which OTLP allows.
    #[default]
    Empty,
    /// UTF-8 text.
    Str(String),
    /// A signed 64-bit integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// Opaque bytes.
    Bytes(Vec<u8>),
    /// An array, possibly of mixed types.
    Array(Vec<Value>),
    /// A key-value list.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(items: [&str; N]) -> Self {
        Self::Array(items.map(Self::from).to_vec())
    }
}

/// Attributes in the order in which they were sent; keys may repeat, the first wins.
pub type Attributes = Vec<(String, Value)>;

/// The resource and scope that a span was sent under.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Origin {
    /// Attributes of the resource (`service.name`, ...).
    pub resource: Attributes,
    /// Name of the instrumentation scope.
    pub scope_name: String,
    /// Version of the instrumentation scope.
    pub scope_version: String,
    /// Attributes of the scope.
    pub scope: Attributes,
    /// Kept for display only: meaning never depends on a schema version.
    pub schema_url: String,
}

/// OTLP's span kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SpanKind {
    /// Kind 0.
    #[default]
    Unspecified,
    /// Kind 1.
    Internal,
    /// Kind 2.
    Server,
    /// Kind 3.
    Client,
    /// Kind 4.
    Producer,
    /// Kind 5.
    Consumer,
}

/// OTLP's span status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum StatusCode {
    /// Not set.
    #[default]
    Unset,
    /// Explicitly fine.
    Ok,
    /// Failed.
    Error,
}

/// A timed event on a span.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RawEvent {
    /// When it happened.
    pub time: UnixNanos,
    /// `exception` for exceptions.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A link to another span, in this trace or another.
#[derive(Clone, PartialEq, Debug)]
pub struct RawLink {
    /// The linked span's trace.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
    /// Per-message attributes, where an SDK writes them on the link.
    pub attributes: Attributes,
}

/// A decoded span with nothing interpreted.
#[derive(Clone, PartialEq, Debug)]
pub struct RawSpan {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// W3C flags: bit 0 sampled, bit 1 random; test bits, never compare.
    pub flags: u32,
    /// The span's name as sent.
    pub name: String,
    /// The kind as sent.
    pub kind: SpanKind,
    /// Start.
    pub start: UnixNanos,
    /// End; may be before the start when a clock is wrong.
    pub end: UnixNanos,
    /// Attributes as sent.
    pub attributes: Attributes,
    /// Events in order.
    pub events: Vec<RawEvent>,
    /// Links in order; invalid ones are left out by the decoder.
    pub links: Vec<RawLink>,
    /// Status code.
    pub status: StatusCode,
    /// Status description, empty when none.
    pub status_message: String,
}

/// Looks an attribute up; the first of equal keys wins.
#[must_use]
pub fn attribute<'a>(attributes: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
}
