//! A record as it is read, as it is shown, and where it is read from.

use std::sync::Arc;

use highwater_model::UnixNanos;

use crate::headers::{Analysis, DecodedHeader, analyse, decode_headers};
use crate::payload::Payload;
use crate::trace_link::TraceParent;

/// A record as the broker keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceRecord {
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp; `None` where the broker has none. For Spring it is that of the failure.
    pub timestamp: Option<UnixNanos>,
    /// `create_time` or `log_append_time`.
    pub timestamp_type: Option<&'static str>,
    /// The key; `None` when null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; names repeat, values may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl SourceRecord {
    /// Bytes of key, value and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        part(&self.key)
            + part(&self.value)
            + self
                .headers
                .iter()
                .map(|(name, value)| name.len() + part(value))
                .sum::<usize>()
    }
}

/// Records of one partition, read back from some offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcePage {
    /// Newest first, by falling offset.
    pub records: Vec<SourceRecord>,
    /// Exclusive bound to go on from; `None` when nothing older is kept.
    pub next: Option<i64>,
}

/// Why records could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{reason}")]
pub struct SourceError {
    /// In a sentence fit for a page.
    pub reason: Arc<str>,
}

/// One cluster's records. Calls block for a bounded time; the service makes them from a blocking thread.
pub trait RecordSource: Send + Sync + 'static {
    /// Reads the newest records below `before` (`None`: the end as of now) of one partition, at most `limit`.
    ///
    /// Offsets may have gaps (compaction, transaction markers): a source looks further back over them. It may stop early
    /// for its own reasons (a cap on bytes), and then says where to go on.
    ///
    /// # Errors
    /// When the broker cannot be asked, or a deadline passed with nothing read.
    fn read_before(
        &self,
        topic: &str,
        partition: i32,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SourcePage, SourceError>;

    /// Reads the oldest record that a partition keeps; `None` when it keeps none.
    ///
    /// # Errors
    /// As [`RecordSource::read_before`].
    fn oldest(&self, topic: &str, partition: i32) -> Result<Option<SourceRecord>, SourceError>;
}

/// A record with everything in it decoded and bounded: what the reader panel shows.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Its timestamp; for Spring that of the failure.
    pub timestamp: Option<UnixNanos>,
    /// `create_time` or `log_append_time`.
    pub timestamp_type: Option<&'static str>,
    /// The key; `None` when null.
    pub key: Option<Payload>,
    /// The value; `None` for a tombstone, and for share groups' pointer records.
    pub value: Option<Payload>,
    /// Headers in order, repeats kept, at most 256.
    pub headers: Vec<DecodedHeader>,
    /// Headers left out because there were more than 256.
    pub headers_omitted: u32,
    /// What the headers tell of where it came from and why it died.
    pub analysis: Analysis,
    /// The trace context it carries.
    pub traceparent: Option<TraceParent>,
}

impl DeadLetter {
    /// Decodes a record. Linear in its bytes; what it keeps is bounded.
    #[must_use]
    pub fn decode(record: &SourceRecord) -> Self {
        let (headers, headers_omitted) = decode_headers(&record.headers);
        Self {
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: record.timestamp_type,
            key: record.key.as_deref().map(Payload::decode),
            value: record.value.as_deref().map(Payload::decode),
            headers,
            headers_omitted,
            analysis: analyse(&record.headers),
            traceparent: TraceParent::from_headers(&record.headers),
        }
    }

    /// Whether `needle` (lower case) occurs in key, value, a header or the error, ignoring ASCII case.
    #[must_use]
    pub fn contains(&self, needle: &str) -> bool {
        let has = |text: &str| text.to_ascii_lowercase().contains(needle);
        let payload = |payload: &Option<Payload>| payload.as_ref().is_some_and(|p| has(&p.text));
        payload(&self.key)
            || payload(&self.value)
            || self
                .headers
                .iter()
                .any(|header| has(&header.name) || has(&header.text))
            || self
                .analysis
                .error
                .as_ref()
                .is_some_and(|error| has(&error.cause) || error.message.as_deref().is_some_and(has))
    }
}
