//! Dead letters: which topics hold them, what they say, and how deep they lie.
//!
//! Owns: recognising dead-letter and retry topics, the header vocabularies of the frameworks that write them, decoding
//! of keys, values and headers for people, pages of records newest first, summaries kept fresh in the background, and
//! the way from a record to its trace.
//!
//! Refuses to know: a broker's protocol (records come through [`RecordSource`]), SQL (spans come through
//! [`SpanLookup`]), the wire types of the API. What is read from a topic is never trusted: everything is bounded
//! before it is decoded, and nothing here panics on it.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that panics has failed")
)]

mod cause;
mod headers;
mod kafka;
mod payload;
mod reader;
mod recognise;
mod record;
mod service;
mod summary;
#[cfg(test)]
mod test_records;
mod trace_link;

pub use cause::{Cause, in_stack_trace, normalise_message};
pub use headers::{
    Analysis, DecodedHeader, Framework, HeaderEncoding, Hop, RecordError, analyse, decode_headers,
};
pub use payload::{Encoding, Payload};
pub use reader::{Cursor, Page, PageQuery, PartitionBounds, ReadError, read_page};
pub use recognise::{MappedTopic, RecognisedBy, Recognition, origin_by_name, recognise};
pub use record::{DeadLetter, RecordSource, SourceError, SourcePage, SourceRecord};
pub use service::{Config, DeadLetters, RefreshReport};
pub use summary::{CauseCount, TopicSummary};
pub use trace_link::{FoundBy, RecordTrace, SpanLookup, TraceParent, choose_span, trace_of};
