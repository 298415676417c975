//! From a request's bytes to its batch.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::wire::Fields;
use super::{
    DecodeError, ExportTraceServiceRequest, INVALID_SPAN_ID, INVALID_TRACE_ID, MALFORMED_SPAN,
    MAX_COPIED_BYTES, MAX_ORIGIN_BYTES, MAX_SPAN_BYTES, MAX_SPANS, ORIGIN_TOO_LARGE,
    ORIGINS_TOO_LARGE, Rejected, SPAN_TOO_LARGE, count_spans, decode_origin, encode_origin,
    read_span_with,
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
        self.batch_within(body, |_| Ok(()))
    }

    /// [`Self::batch`], in memory that is asked for: `take` gets the bytes that the batch comes to hold beside `body`,
    /// piece by piece, those of its spans before they are made.
    ///
    /// # Errors
    /// As there, and what `take` fails with: the batch is then given up.
    pub fn batch_within<E: From<DecodeError>>(
        &mut self,
        body: &Bytes,
        take: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(Batch, Rejected), E> {
        let mut builder = self.builder();
        builder.push_request(body, take)?;
        Ok(builder.finish())
    }
}

/// What the scopes of one `ResourceSpans` share, and the origins that were made of it so far.
#[derive(Debug)]
pub struct ResourceHead<'a> {
    resource: &'a [u8],
    schema_url: &'a str,
    /// By the encoding of what is the scope's own, which is a slice of the origin's blob. A sender may repeat a scope
    /// for each span, and looking for the whole blob would read the resource again each time.
    known: HashMap<Bytes, u32>,
}

impl<'a> ResourceHead<'a> {
    /// Of an encoded `Resource` and its schema; either may be empty.
    #[must_use]
    pub fn new(resource: &'a [u8], schema_url: &'a str) -> Self {
        Self {
            resource,
            schema_url,
            known: HashMap::new(),
        }
    }

    /// Where in an origin's blob that begins with this resource the scope's own part is.
    fn encoded_length(&self) -> usize {
        match self.resource.len() {
            0 => 0,
            length => 1 + encoded_len_varint(length as u64) + length,
        }
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
    /// Bytes of resources that were copied for one more scope.
    copied: usize,
    /// Bytes of the origins, and of the spans that are no slices of a request.
    own_bytes: usize,
    /// Of [`Self::held`], what was told already.
    told: usize,
}

/// What is held for an origin beside its blob, roughly: its facts, and its places in the lists.
const ORIGIN_OVERHEAD: usize = size_of::<OriginFacts>() + 3 * size_of::<(Bytes, u32)>();

/// Growth of a batch is told in steps of so many bytes, so that not each span asks for memory.
const STEP: usize = 64 << 10;

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
            copied: 0,
            own_bytes: 0,
            told: 0,
        }
    }

    /// Adds the origin of a scope (an encoded `InstrumentationScope` and its own schema, either may be empty) and
    /// returns the index for [`Self::push_span`], or the reason for which the scope's spans are to be rejected: see
    /// [`MAX_ORIGIN_BYTES`] and [`MAX_COPIED_BYTES`].
    ///
    /// # Errors
    /// Malformed protobuf.
    pub fn push_scope(
        &mut self,
        head: &mut ResourceHead<'_>,
        scope: &[u8],
        schema_url: &str,
    ) -> Result<Result<u32, &'static str>, DecodeError> {
        let (inherited, whole_url) = if schema_url.is_empty() {
            (head.schema_url.len(), head.schema_url)
        } else {
            (0, schema_url)
        };
        if head.resource.len() + scope.len() + whole_url.len() > MAX_ORIGIN_BYTES {
            return Ok(Err(ORIGIN_TOO_LARGE));
        }
        let own = encode_origin(&[], scope, schema_url);
        if let Some(index) = head.known.get(&own) {
            return Ok(Ok(*index));
        }
        // The first copy is no longer than what was sent; each further one makes a request grow in memory.
        let copied = if head.known.is_empty() {
            0
        } else {
            head.resource.len() + inherited
        };
        if self.copied + copied > MAX_COPIED_BYTES {
            return Ok(Err(ORIGINS_TOO_LARGE));
        }
        self.copied += copied;
        let index = self.push_origin(encode_origin(head.resource, scope, whole_url))?;
        let from = head.encoded_length();
        let kept = self.batch.origins[index as usize].slice(from..from + own.len());
        head.known.insert(kept, index);
        Ok(Ok(index))
    }

    /// Bytes that the batch has come to hold, beside the request whose slices its spans are, since this was last
    /// told; `None` while it is too little to be worth counting.
    pub fn grown(&mut self) -> Option<usize> {
        (self.held() - self.told >= STEP).then(|| self.tell())
    }

    /// The same at the end, be it ever so little.
    pub fn tell(&mut self) -> usize {
        let held = self.held();
        held - std::mem::replace(&mut self.told, held)
    }

    fn held(&self) -> usize {
        self.batch.spans.capacity() * size_of::<BatchSpan>() + self.own_bytes
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
        self.own_bytes += blob.len() + ORIGIN_OVERHEAD;
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
        let spans = self.batch.spans.len();
        self.push_span_with(origin, &raw, || raw.clone(), &mut Sent::default())?;
        if self.batch.spans.len() > spans {
            self.own_bytes += raw.len();
        }
        Ok(())
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

    fn push_request<E: From<DecodeError>>(
        &mut self,
        body: &Bytes,
        mut take: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        // Counting looks at each span's length only; growing would move each span twice, at some 700 bytes. And a span
        // of 30 bytes becomes one of 700, so that memory is asked for before it is needed.
        let spans = usize::try_from(count_spans(body)?).unwrap_or(usize::MAX);
        if spans > MAX_SPANS {
            return Err(DecodeError::TooManySpans.into());
        }
        take(spans * size_of::<BatchSpan>())?;
        self.batch.spans.reserve_exact(spans);
        self.told = self.held();
        let (mut fields, mut sent) = (Fields::new(body), Sent::default());
        while let Some((number, field)) = fields.next().map_err(DecodeError::from)? {
            if number == 1 {
                let message = field.bytes().map_err(DecodeError::from)?;
                self.push_resource_spans(body, message, &mut sent, &mut take)?;
            }
        }
        take(self.tell())
    }

    fn push_resource_spans<'b, E: From<DecodeError>>(
        &mut self,
        body: &'b Bytes,
        message: &'b [u8],
        sent: &mut Sent<'b>,
        take: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let resource = part(message)?;
        let mut head = ResourceHead::new(&resource.head, resource.schema_url);
        for scope_spans in resource.children {
            let scope = part(scope_spans)?;
            if scope.children.is_empty() {
                continue;
            }
            match self.push_scope(&mut head, &scope.head, scope.schema_url)? {
                Ok(origin) => {
                    for span in scope.children {
                        self.push_span_with(origin, span, || body.slice_ref(span), sent)?;
                    }
                }
                Err(reason) => {
                    for _ in &scope.children {
                        self.reject(reason)?;
                    }
                }
            }
            if let Some(more) = self.grown() {
                take(more)?;
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
    builder.push_request(&body, |_| Ok::<_, DecodeError>(()))?;
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
