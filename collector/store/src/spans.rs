//! What a span store can do, whichever engine it is. Writing and reading are separate: a reader cannot write, and an
//! engine may have many of the one and one of the other.

use std::future::Future;
use std::sync::Arc;

use highwater_model::raw::{Origin, RawSpan};
use highwater_model::{Batch, CommittedBlock, Span, SpanId, TraceId, UnixNanos};

use crate::error::Result;
use crate::search::{SearchPage, SearchQuery};

/// A span with all that was sent with it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredSpan {
    /// Its resource and scope; spans of one block share it.
    pub origin: Arc<Origin>,
    /// As sent.
    pub raw: RawSpan,
    /// As understood.
    pub span: Span,
    /// When its request arrived.
    pub arrived: UnixNanos,
}

/// Spans found by a key: each stored span once, by start, then by span id.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// The spans.
    pub spans: Vec<StoredSpan>,
    /// There were more than asked for; those given are from the newest blocks.
    pub truncated: bool,
}

/// What spans are found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The spans of a trace.
    Trace(TraceId),
    /// Those that carry a correlation value, whatever its key.
    Correlation(Arc<str>),
    /// Those that link to a trace, or to one span of it.
    LinkingTo(TraceId, Option<SpanId>),
    /// Those that name a record by topic, partition and offset, on themselves or on a link.
    Record(Arc<str>, i32, i64),
}

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// The last block written; the last one there was when everything was a resend.
    pub block: u64,
    /// Spans stored of each batch.
    pub stored: Vec<usize>,
    /// Spans left out because they were there already.
    pub duplicates: usize,
    /// For each span of each batch, in order: stored, and not a resend.
    pub kept: Vec<bool>,
}

/// Makes spans durable.
pub trait SpanWriter: Send + Sync {
    /// Writes the spans of all batches in one transaction; what it says is stored survives a power cut.
    ///
    /// A span that was written before (same ids, same bytes) is left out. `now` is the arrival. One write runs at a
    /// time; a second one waits.
    ///
    /// # Errors
    /// When nothing was written. The same batches can be written again later.
    fn write(
        &self,
        batches: &[Batch],
        now: UnixNanos,
    ) -> impl Future<Output = Result<Written>> + Send;
}

/// Finds spans. Cheap to clone; reading never makes a writer wait.
pub trait SpanReader: Clone + Send + Sync + 'static {
    /// What each of several keys finds, at most so many spans of each. What they share is read once: ask for what is
    /// wanted together in one call.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn find(&self, wanted: &[(Wanted, usize)]) -> impl Future<Output = Result<Vec<Found>>> + Send;

    /// What one key finds, at most `limit` spans.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn find_one(&self, wanted: Wanted, limit: usize) -> impl Future<Output = Result<Found>> + Send {
        async move {
            let found = self.find(&[(wanted, limit)]).await?;
            Ok(found.into_iter().next().unwrap_or_default())
        }
    }

    /// The spans of a trace, at most `limit`.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn trace(&self, id: TraceId, limit: usize) -> impl Future<Output = Result<Found>> + Send {
        self.find_one(Wanted::Trace(id), limit)
    }

    /// The spans that carry a correlation value, whatever its key.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn by_correlation(
        &self,
        value: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Found>> + Send {
        self.find_one(Wanted::Correlation(value.into()), limit)
    }

    /// The spans that name a record, on themselves or on a link: who sent it, and who read it.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn by_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Found>> + Send {
        self.find_one(Wanted::Record(topic.into(), partition, offset), limit)
    }

    /// The traces that match, the newest first. Dropping the future stops the search.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn search(&self, query: &SearchQuery) -> impl Future<Output = Result<SearchPage>> + Send;

    /// Up to `limit` blocks after `block`, in order of commit: how the flow is rebuilt.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn scan_after(
        &self,
        block: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<CommittedBlock>>> + Send;

    /// The last block committed; 0 when there is none.
    fn last_block(&self) -> u64;
}
