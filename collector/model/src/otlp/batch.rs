//! From a request's bytes to its batch.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::wire::Fields;
use super::{
    DecodeError, ExportTraceServiceRequest, INVALID_SPAN_ID, INVALID_TRACE_ID, MALFORMED_SPAN,
    MAX_ORIGIN_BYTES, MAX_SPAN_BYTES, MAX_SPANS, ORIGIN_TOO_LARGE, Rejected, SPAN_TOO_LARGE,
    count_spans, decode_origin, encode_origin, read_span_with,
};
use crate::batch::{Batch, BatchSpan};
use crate::normalise::{OriginFacts, Rules};
use crate::sent::Sent;
use crate::words::Words;

/// Reads requests, one after the other, and shares the text that recurs among them. Costs about 64 KiB, so it is
/// kept, not made for each request.
#[derive(Debug)]
pub struct Decoder {
    rules: Arc<Rules>,
    words: Words,
}

impl Decoder {
    /// Reads by these rules.
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            words: Words::default(),
        }
    }

    /// An empty batch, for a request that is no protobuf.
    pub fn builder(&mut self) -> BatchBuilder<'_> {
        BatchBuilder::with(&self.rules, Lent::Lent(&mut self.words))
    }

    /// Reads an encoded `ExportTraceServiceRequest`. The batch's spans are slices of `body`, which they keep alive.
    ///
    /// # Errors
    /// A request whose frame, resource or scope is malformed, or that holds more than [`MAX_SPANS`]. A span that
    /// cannot be read is rejected alone.
    pub fn batch(&mut self, body: &Bytes) -> Result<(Batch, Rejected), DecodeError> {
        let mut builder = self.builder();
        builder.push_request(body)?;
        Ok(builder.finish())
    }
}

#[derive(Debug)]
enum Lent<'a> {
    Own(Words),
    Lent(&'a mut Words),
}

impl Lent<'_> {
    fn get(&mut self) -> &mut Words {
        match self {
            Self::Own(words) => words,
            Self::Lent(words) => words,
        }
    }
}

/// Collects spans into a [`Batch`], keeping each distinct origin once.
///
/// A Collector does not merge equal resources (85 `resource_spans` of 5 services in one captured request), so
/// origins are matched by their bytes.
#[derive(Debug)]
pub struct BatchBuilder<'a> {
    rules: &'a Rules,
    words: Lent<'a>,
    batch: Batch,
    facts: Vec<OriginFacts>,
    known: HashMap<Bytes, u32>,
    rejected: Rejected,
    seen: usize,
}

impl<'a> BatchBuilder<'a> {
    /// An empty batch that shares text with no other; see [`Decoder::builder`].
    #[must_use]
    pub fn new(rules: &'a Rules) -> Self {
        Self::with(rules, Lent::Own(Words::default()))
    }

    fn with(rules: &'a Rules, words: Lent<'a>) -> Self {
        Self {
            rules,
            words,
            batch: Batch::default(),
            facts: Vec::new(),
            known: HashMap::new(),
            rejected: Rejected::default(),
            seen: 0,
        }
    }

    /// Adds an origin blob (see [`encode_origin`]) and returns the index for [`Self::push_span`].
    ///
    /// # Errors
    /// Malformed protobuf.
    pub fn push_origin(&mut self, blob: Bytes) -> Result<u32, DecodeError> {
        if let Some(index) = self.known.get(&blob) {
            return Ok(*index);
        }
        let facts = OriginFacts::read_with(&decode_origin(&blob)?, self.words.get());
        let index = u32::try_from(self.facts.len()).map_err(|_| DecodeError::TooManySpans)?;
        if let Some((service, version)) = facts.release() {
            let release = (service.clone(), Arc::clone(version));
            if self.batch.releases.last() != Some(&release) {
                self.batch.releases.push(release);
            }
        }
        self.facts.push(facts);
        self.batch.origins.push(blob.clone());
        self.known.insert(blob, index);
        Ok(index)
    }

    /// Adds one encoded span; a span that cannot be read is counted as rejected.
    ///
    /// # Errors
    /// [`DecodeError::TooManySpans`] only.
    pub fn push_span(&mut self, origin: u32, raw: Bytes) -> Result<(), DecodeError> {
        self.push_span_with(origin, &raw, || raw.clone(), &mut Sent::default())
    }

    fn push_span_with<'s>(
        &mut self,
        origin: u32,
        raw: &'s [u8],
        owned: impl FnOnce() -> Bytes,
        sent: &mut Sent<'s>,
    ) -> Result<(), DecodeError> {
        self.count_span()?;
        let Some(facts) = self.facts.get(origin as usize) else {
            self.rejected.add(MALFORMED_SPAN);
            return Ok(());
        };
        if raw.len() > MAX_SPAN_BYTES {
            self.rejected.add(SPAN_TOO_LARGE);
            return Ok(());
        }
        match read_span_with(facts, raw, self.rules, self.words.get(), sent) {
            Ok(span) => self.batch.spans.push(BatchSpan {
                span,
                origin,
                hash: xxhash_rust::xxh3::xxh3_64(raw),
                raw: owned(),
            }),
            Err(DecodeError::TraceId) => self.rejected.add(INVALID_TRACE_ID),
            Err(DecodeError::SpanId) => self.rejected.add(INVALID_SPAN_ID),
            Err(_) => self.rejected.add(MALFORMED_SPAN),
        }
        Ok(())
    }

    /// Counts a span that could not even be encoded.
    ///
    /// # Errors
    /// [`DecodeError::TooManySpans`] only.
    pub fn reject(&mut self, reason: &'static str) -> Result<(), DecodeError> {
        self.count_span()?;
        self.rejected.add(reason);
        Ok(())
    }

    /// What was collected.
    #[must_use]
    pub fn finish(self) -> (Batch, Rejected) {
        (self.batch, self.rejected)
    }

    fn count_span(&mut self) -> Result<(), DecodeError> {
        self.seen += 1;
        if self.seen > MAX_SPANS {
            return Err(DecodeError::TooManySpans);
        }
        Ok(())
    }

    fn push_request(&mut self, body: &Bytes) -> Result<(), DecodeError> {
        // Counting looks at each span's length only; growing would move each span twice, at some 700 bytes.
        let spans = usize::try_from(count_spans(body)?).unwrap_or(usize::MAX);
        if spans > MAX_SPANS {
            return Err(DecodeError::TooManySpans);
        }
        self.batch.spans.reserve_exact(spans);
        let (mut fields, mut sent) = (Fields::new(body), Sent::default());
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.push_resource_spans(body, field.bytes()?, &mut sent)?;
            }
        }
        Ok(())
    }

    fn push_resource_spans<'b>(
        &mut self,
        body: &'b Bytes,
        message: &'b [u8],
        sent: &mut Sent<'b>,
    ) -> Result<(), DecodeError> {
        let resource = part(message)?;
        for scope_spans in resource.children {
            let scope = part(scope_spans)?;
            if scope.children.is_empty() {
                continue;
            }
            let schema_url = if scope.schema_url.is_empty() {
                resource.schema_url
            } else {
                scope.schema_url
            };
            if resource.head.len() + scope.head.len() + schema_url.len() > MAX_ORIGIN_BYTES {
                for _ in &scope.children {
                    self.reject(ORIGIN_TOO_LARGE)?;
                }
                continue;
            }
            let origin =
                self.push_origin(encode_origin(&resource.head, &scope.head, schema_url))?;
            for span in scope.children {
                self.push_span_with(origin, span, || body.slice_ref(span), sent)?;
            }
        }
        Ok(())
    }
}

/// [`Decoder::batch`] of a single request.
///
/// # Errors
/// As there.
pub fn batch_from_bytes(body: Bytes, rules: &Rules) -> Result<(Batch, Rejected), DecodeError> {
    let mut builder = BatchBuilder::new(rules);
    builder.push_request(&body)?;
    Ok(builder.finish())
}

/// The same for a request that is decoded already: re-encodes it. An infallible form for what our own code made.
///
/// Spans of a malformed or oversized part are counted as rejected.
#[must_use]
pub fn batch_from_request(request: &ExportTraceServiceRequest, rules: &Rules) -> (Batch, Rejected) {
    let spans = || {
        request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len())
            .sum::<usize>()
    };
    batch_from_bytes(request.encode_to_vec().into(), rules).unwrap_or_else(|_| {
        let count = spans() as u64;
        let rejected = Rejected {
            count,
            reasons: BTreeMap::from([(MALFORMED_SPAN, count)]),
        };
        (Batch::default(), rejected)
    })
}

/// `ResourceSpans` and `ScopeSpans`, which have the same shape.
///
/// Protobuf allows any order of fields and lets a message field occur more than once, which merges. So what is
/// repeated is concatenated (that *is* the merge), and spans are visited after what they belong to is known.
#[derive(Default)]
struct Part<'a> {
    head: Cow<'a, [u8]>,
    children: Vec<&'a [u8]>,
    schema_url: &'a str,
}

fn part(message: &[u8]) -> Result<Part<'_>, DecodeError> {
    let mut part = Part::default();
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => {
                let head = field.bytes()?;
                if part.head.is_empty() {
                    part.head = Cow::Borrowed(head);
                } else {
                    // One byte above the limit tells that it was exceeded; more need not be kept.
                    let room = (MAX_ORIGIN_BYTES + 1).saturating_sub(part.head.len());
                    part.head
                        .to_mut()
                        .extend_from_slice(&head[..head.len().min(room)]);
                }
            }
            2 => {
                if part.children.len() >= MAX_SPANS {
                    return Err(DecodeError::TooManySpans);
                }
                part.children.push(field.bytes()?);
            }
            3 => part.schema_url = field.text()?,
            _ => {}
        }
    }
    Ok(part)
}
