//! The head of a block: what a search and the index are made of, in columns.
//!
//! A column holds one field of every span, so that equal and near values stand together and compress; texts stand
//! once in a table. Instants and offsets are differences to the span before.

use highwater_model::raw::{SpanKind, StatusCode};
use highwater_model::{Span, SpanId, TraceId, UnixNanos};

use super::bytes::{Corrupt, MAX_BLOB, Reader, put, put_bytes, put_signed};
use super::fingerprint::{self, Kind};
use super::gathered::Numbers;
use super::interner::Interner;
use super::pieces::Known;
use super::recent::{Identity, identity};
use super::runs::Keys;

const VERSION: u8 = 2;
/// The first format: a body of joined spans, whose places the head tells; longer hashes; records of its own.
const JOINED: u8 = 1;

/// A row takes at least so many bytes: its id, its hash, and one for each other column.
const ROW_BYTES: usize = 8 + 4 + 15;

/// No text: the index of nothing.
const NONE: u32 = u32::MAX;

/// One span, as its columns tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    trace: u32,
    pub(crate) span_id: SpanId,
    /// The lower half of the hash of the span's bytes: it tells apart spans of the same ids only.
    pub(crate) hash: u32,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    /// Nanoseconds.
    pub(crate) duration: u64,
    environment: u32,
    service: u32,
    operation: u32,
    pub(crate) kind: SpanKind,
    pub(crate) status: StatusCode,
    /// The normaliser found an error.
    pub(crate) failed: bool,
    destination: u32,
    group: u32,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// Where its correlation values end in the table; they begin where the row's before end.
    correlations_end: u32,
    links_end: u32,
    /// Index of its origin in the body.
    pub(crate) origin: u32,
    /// Index of its arrival, where the head has arrivals.
    arrival: u32,
}

/// The texts of a head, each once and all in one: a string for each would be an allocation a span, for its values of a
/// correlation.
#[derive(Clone, Debug, Default)]
struct Texts {
    all: String,
    /// Where each ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len() as u32);
    }

    fn get(&self, index: u32) -> &str {
        let index = index as usize;
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[from as usize..self.ends[index] as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|index| self.get(index))
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.all.clear();
        self.ends.clear();
    }

    /// What they take in memory.
    fn weight(&self) -> usize {
        self.all.len() + 4 * self.ends.len()
    }
}

/// The decoded head of a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    texts: Texts,
    traces: Vec<TraceId>,
    rows: Vec<Row>,
    /// Values only; the key is read from the span when it is needed.
    correlations: Vec<u32>,
    /// Fingerprints of the traces linked to.
    links: Vec<fingerprint::Fingerprint>,
    /// Fingerprints of the records that links name, of the whole block; in the first format of all records.
    records: Vec<fingerprint::Fingerprint>,
    /// When its spans arrived, where that was at several instants.
    arrivals: Vec<u64>,
    /// Bytes of all its spans as they were sent.
    sent_bytes: u64,
    /// Where the bytes of each span end among the body's, in the first format.
    places: Vec<u64>,
}

/// One span of a head, with its texts looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowView<'a> {
    head: &'a Head,
    index: usize,
    pub(crate) row: &'a Row,
}

impl<'a> RowView<'a> {
    pub(crate) fn trace(&self) -> TraceId {
        self.head.traces[self.row.trace as usize]
    }

    pub(crate) fn environment(&self) -> &'a str {
        self.head.texts.get(self.row.environment)
    }

    pub(crate) fn service(&self) -> &'a str {
        self.head.texts.get(self.row.service)
    }

    pub(crate) fn operation(&self) -> &'a str {
        self.head.texts.get(self.row.operation)
    }

    pub(crate) fn destination(&self) -> Option<&'a str> {
        self.head.text(self.row.destination)
    }

    pub(crate) fn group(&self) -> Option<&'a str> {
        self.head.text(self.row.group)
    }

    pub(crate) fn correlations(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let head = self.head;
        let from = self.before(|row| u64::from(row.correlations_end)) as usize;
        head.correlations[from..self.row.correlations_end as usize]
            .iter()
            .map(|text| head.texts.get(*text))
    }

    pub(crate) fn link_fingerprints(&self) -> &'a [fingerprint::Fingerprint] {
        let from = self.before(|row| u64::from(row.links_end)) as usize;
        &self.head.links[from..self.row.links_end as usize]
    }

    /// Where its bytes are among the body's, in the first format.
    pub(crate) fn place(&self) -> std::ops::Range<usize> {
        let end = |index: usize| self.head.places.get(index).copied().unwrap_or(0) as usize;
        match self.index {
            0 => 0..end(0),
            index => end(index - 1)..end(index),
        }
    }

    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// The id of another span of the block.
    pub(crate) fn span_id_of(&self, index: usize) -> Option<SpanId> {
        self.head.rows.get(index).map(|row| row.span_id)
    }

    /// When it arrived, where the block's spans did not arrive at once.
    pub(crate) fn arrived(&self) -> Option<UnixNanos> {
        let arrived = self.head.arrivals.get(self.row.arrival as usize);
        arrived.copied().map(UnixNanos)
    }

    /// No span is larger than all of its block are, nor than a block may be: a damaged body, which can name one of its
    /// pieces again and again, must not ask for more memory.
    pub(crate) fn sent_bytes_at_most(&self) -> usize {
        let sent = usize::try_from(self.head.sent_bytes).unwrap_or(usize::MAX);
        sent.min(MAX_BLOB)
    }

    /// What the body need not say again.
    pub(crate) fn known(&self) -> Known {
        Known {
            trace: self.trace(),
            span: self.row.span_id,
            start: self.row.start,
            end: self.row.start.wrapping_add(self.row.duration),
        }
    }

    fn record(&self) -> Option<fingerprint::Fingerprint> {
        let topic = self.destination()?;
        Some(fingerprint::record(
            topic,
            self.row.partition?,
            self.row.offset?,
        ))
    }

    pub(crate) fn identity(&self) -> Identity {
        identity(self.trace(), self.row.span_id, self.row.hash)
    }

    fn before(&self, end: impl Fn(&Row) -> u64) -> u64 {
        match self.index {
            0 => 0,
            index => end(&self.head.rows[index - 1]),
        }
    }
}

impl Head {
    /// Forgets everything, and keeps the room.
    fn clear(&mut self) {
        self.texts.clear();
        self.traces.clear();
        self.rows.clear();
        for table in [&mut self.correlations, &mut self.links, &mut self.records] {
            table.clear();
        }
        self.arrivals.clear();
        self.sent_bytes = 0;
        self.places.clear();
    }

    fn text(&self, index: u32) -> Option<&str> {
        (index != NONE).then(|| self.texts.get(index))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = RowView<'_>> {
        (0..self.rows.len()).map(|index| self.row(index))
    }

    pub(crate) fn row(&self, index: usize) -> RowView<'_> {
        RowView {
            head: self,
            index,
            row: &self.rows[index],
        }
    }

    /// Bytes of all its spans, as they were sent.
    pub(crate) const fn body_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The body is of the first format.
    pub(crate) const fn tells_places(&self) -> bool {
        !self.places.is_empty()
    }

    /// The services of its spans, each once, in order of appearance.
    pub(crate) fn services(&self) -> Vec<&str> {
        let mut seen = vec![false; self.texts.len()];
        let mut services = Vec::new();
        for row in &self.rows {
            let seen = &mut seen[row.service as usize];
            if !std::mem::replace(seen, true) {
                services.push(self.texts.get(row.service));
            }
        }
        services
    }

    /// What it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.rows.len() * size_of::<Row>()
            + self.texts.weight()
            + self.traces.len() * 16
            + 4 * (self.correlations.len() + self.links.len() + self.records.len())
            + 8 * (self.arrivals.len() + self.places.len())
    }

    /// The keys that find this block, with the `attributes` of its body.
    pub(crate) fn keys(&self, attributes: Vec<fingerprint::Fingerprint>) -> Keys {
        let mut keys = Keys::default();
        for trace in &self.traces {
            keys.add(Kind::Trace, fingerprint::trace(*trace));
        }
        for value in &self.correlations {
            let text = self.texts.get(*value);
            keys.add(Kind::Correlation, fingerprint::correlation(text));
        }
        for link in &self.links {
            keys.add(Kind::LinkTarget, *link);
        }
        for record in &self.records {
            keys.add(Kind::Record, *record);
        }
        for record in self.rows().filter_map(|row| row.record()) {
            keys.add(Kind::Record, record);
        }
        keys.0[Kind::Attribute as usize] = attributes;
        keys.settle();
        keys
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * self.rows.len() + 256);
        out.push(VERSION);
        put(&mut out, self.texts.len() as u64);
        for text in self.texts.iter() {
            put_bytes(&mut out, text.as_bytes());
        }
        put(&mut out, self.traces.len() as u64);
        for trace in &self.traces {
            out.extend_from_slice(&trace.0);
        }
        for table in [&self.correlations, &self.links, &self.records] {
            put(&mut out, table.len() as u64);
            for value in table {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        put(&mut out, self.sent_bytes);
        put(&mut out, self.arrivals.len() as u64);
        let mut before = 0;
        for arrived in &self.arrivals {
            put_signed(&mut out, arrived.wrapping_sub(before) as i64);
            before = *arrived;
        }
        put(&mut out, self.rows.len() as u64);
        let rows = &self.rows;
        for row in rows {
            out.extend_from_slice(&row.span_id.0);
        }
        for row in rows {
            out.extend_from_slice(&row.hash.to_le_bytes());
        }
        let mut before = 0;
        for row in rows {
            put_signed(&mut out, row.start.wrapping_sub(before) as i64);
            before = row.start;
        }
        for row in rows {
            put(&mut out, row.duration);
        }
        for row in rows {
            out.push(kind_code(row.kind));
        }
        for row in rows {
            out.push(status_code(row.status) | u8::from(row.failed) << 2);
        }
        let columns: [fn(&Row) -> u32; 6] = [
            |row| row.trace,
            |row| row.environment,
            |row| row.service,
            |row| row.operation,
            |row| row.origin,
            |row| row.arrival,
        ];
        for column in columns {
            rows.iter()
                .for_each(|row| put(&mut out, column(row).into()));
        }
        let columns: [fn(&Row) -> u32; 2] = [|row| row.destination, |row| row.group];
        for column in columns {
            for row in rows {
                put(&mut out, u64::from(column(row).wrapping_add(1)));
            }
        }
        for row in rows {
            put(
                &mut out,
                row.partition.map_or(0, |p| u64::from(p as u32) + 1),
            );
        }
        let mut before = 0;
        for row in rows {
            match row.offset {
                None => out.push(0),
                Some(offset) => {
                    out.push(1);
                    put_signed(&mut out, offset.wrapping_sub(before));
                    before = offset;
                }
            }
        }
        let columns: [fn(&Row) -> u64; 2] = [
            |row| row.correlations_end.into(),
            |row| row.links_end.into(),
        ];
        for column in columns {
            let mut before = 0;
            for row in rows {
                put(&mut out, column(row) - before);
                before = column(row);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION && version != JOINED {
            return Err(Corrupt("a block's head has an unknown version"));
        }
        let count = reader.count()?;
        let mut texts = Texts::default();
        texts.ends.reserve(count);
        for _ in 0..count {
            texts.push(reader.text()?);
        }
        let count = reader.count()?;
        let traces = (0..count)
            .map(|_| reader.array().map(TraceId))
            .collect::<Result<Vec<_>, _>>()?;
        let mut table = || {
            let count = reader.count()?;
            (0..count)
                .map(|_| reader.array().map(u32::from_le_bytes))
                .collect::<Result<Vec<_>, _>>()
        };
        let (correlations, links, records) = (table()?, table()?, table()?);
        if correlations
            .iter()
            .any(|text| *text as usize >= texts.len())
        {
            return Err(Corrupt("an index points past its table"));
        }
        let (mut sent_bytes, mut arrivals) = (0, Vec::new());
        if version == VERSION {
            sent_bytes = reader.number()?;
            let mut before = 0_u64;
            for _ in 0..reader.count()? {
                before = before.wrapping_add(reader.signed()? as u64);
                arrivals.push(before);
            }
        }
        let count = reader.count_of(ROW_BYTES)?;
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(Row {
                span_id: SpanId(reader.array()?),
                ..Row::EMPTY
            });
        }
        let sizes = Sizes {
            texts: texts.len(),
            traces: traces.len(),
            correlations: correlations.len(),
            links: links.len(),
            arrivals: arrivals.len(),
        };
        decode_columns(&mut reader, &mut rows, version, &sizes)?;
        let mut places = Vec::new();
        if version == JOINED {
            for _ in &rows {
                sent_bytes = sent_bytes.saturating_add(reader.number()?);
                places.push(sent_bytes);
            }
        }
        Ok(Self {
            texts,
            traces,
            rows,
            correlations,
            links,
            records,
            arrivals,
            sent_bytes,
            places,
        })
    }
}

impl Row {
    const EMPTY: Self = Self {
        trace: 0,
        span_id: SpanId([0; 8]),
        hash: 0,
        start: 0,
        duration: 0,
        environment: 0,
        service: 0,
        operation: 0,
        kind: SpanKind::Unspecified,
        status: StatusCode::Unset,
        failed: false,
        destination: NONE,
        group: NONE,
        partition: None,
        offset: None,
        correlations_end: 0,
        links_end: 0,
        origin: 0,
        arrival: 0,
    };
}

/// A column that holds an index, to be written into a row.
type IndexColumn = fn(&mut Row) -> &mut u32;

/// Lengths of a head's tables, which its columns point into.
struct Sizes {
    texts: usize,
    traces: usize,
    correlations: usize,
    links: usize,
    arrivals: usize,
}

fn decode_columns(
    reader: &mut Reader<'_>,
    rows: &mut [Row],
    version: u8,
    sizes: &Sizes,
) -> Result<(), Corrupt> {
    for row in rows.iter_mut() {
        row.hash = u32::from_le_bytes(reader.array()?);
        if version == JOINED {
            reader.take(4)?;
        }
    }
    let mut before = 0_u64;
    for row in rows.iter_mut() {
        before = before.wrapping_add(reader.signed()? as u64);
        row.start = before;
    }
    for row in rows.iter_mut() {
        row.duration = reader.number()?;
    }
    for row in rows.iter_mut() {
        row.kind = kind_of(reader.byte()?)?;
    }
    for row in rows.iter_mut() {
        let byte = reader.byte()?;
        row.status = status_of(byte & 3)?;
        row.failed = byte & 4 != 0;
    }
    let columns: [(IndexColumn, usize); 6] = [
        (|row| &mut row.trace, sizes.traces),
        (|row| &mut row.environment, sizes.texts),
        (|row| &mut row.service, sizes.texts),
        (|row| &mut row.operation, sizes.texts),
        // The body checks it against its own table.
        (|row| &mut row.origin, u32::MAX as usize),
        (|row| &mut row.arrival, sizes.arrivals.max(1)),
    ];
    let columns = match version {
        JOINED => &columns[..5],
        _ => &columns[..],
    };
    for (column, limit) in columns {
        for row in rows.iter_mut() {
            *column(row) = reader.index(*limit)?;
        }
    }
    let columns: [IndexColumn; 2] = [|row| &mut row.destination, |row| &mut row.group];
    for column in columns {
        for row in rows.iter_mut() {
            *column(row) = reader.index(sizes.texts + 1)?.wrapping_sub(1);
        }
    }
    for row in rows.iter_mut() {
        row.partition = match reader.index(u32::MAX as usize)? {
            0 => None,
            one_more => Some((one_more - 1) as i32),
        };
    }
    let mut before = 0_i64;
    for row in rows.iter_mut() {
        if reader.byte()? != 0 {
            before = before.wrapping_add(reader.signed()?);
            row.offset = Some(before);
        }
    }
    let columns: [(IndexColumn, usize); 2] = [
        (|row| &mut row.correlations_end, sizes.correlations),
        (|row| &mut row.links_end, sizes.links),
    ];
    for (column, limit) in columns {
        let mut end = 0_u32;
        for row in rows.iter_mut() {
            end = end.saturating_add(reader.index(limit + 1)?);
            if end as usize > limit {
                return Err(Corrupt("a range ends past its table"));
            }
            *column(row) = end;
        }
    }
    Ok(())
}

const KINDS: [SpanKind; 6] = [
    SpanKind::Unspecified,
    SpanKind::Internal,
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
];
const STATUSES: [StatusCode; 3] = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];

fn kind_code(kind: SpanKind) -> u8 {
    KINDS.iter().position(|other| *other == kind).unwrap_or(0) as u8
}

fn kind_of(code: u8) -> Result<SpanKind, Corrupt> {
    let kind = KINDS.get(usize::from(code)).copied();
    kind.ok_or(Corrupt("a span's kind is unknown"))
}

fn status_code(status: StatusCode) -> u8 {
    let position = STATUSES.iter().position(|other| *other == status);
    position.unwrap_or(0) as u8
}

fn status_of(code: u8) -> Result<StatusCode, Corrupt> {
    let status = STATUSES.get(usize::from(code)).copied();
    status.ok_or(Corrupt("a span's status is unknown"))
}

/// Collects spans into a [`Head`].
#[derive(Debug, Default)]
pub(crate) struct HeadBuilder {
    head: Head,
    texts: Interner,
    traces: Interner,
    arrivals: Interner,
}

impl HeadBuilder {
    /// Adds a span that took `bytes` bytes as it was sent; gives what the body need not say again.
    pub(crate) fn push(&mut self, span: &Span, hash: u64, origin: u32, bytes: usize) -> Known {
        let messaging = span.messaging.as_ref();
        let destination = messaging.and_then(|messaging| messaging.destination.as_deref());
        let group = messaging.and_then(|messaging| messaging.group.as_deref());
        for correlation in &span.correlations {
            let value = self.text(&correlation.value);
            self.head.correlations.push(value);
        }
        let targets = span.links.iter().map(|link| link.trace_id);
        self.head
            .links
            .extend(targets.map(fingerprint::link_target));
        self.head.records.extend(fingerprint::linked_records(span));
        let row = Row {
            trace: self.trace(span.trace_id),
            span_id: span.span_id,
            hash: hash as u32,
            start: span.start.0,
            duration: span.duration_ns(),
            environment: self.text_again(&span.service.environment, |row| row.environment),
            service: self.text_again(&span.service.name, |row| row.service),
            operation: self.text(&span.name),
            kind: span.kind,
            status: span.status,
            failed: span.error.is_some(),
            destination: destination.map_or(NONE, |text| self.text(text)),
            group: group.map_or(NONE, |text| self.text(text)),
            // The normaliser leaves negative ones out; the column could not hold them.
            partition: messaging
                .and_then(|messaging| messaging.partition)
                .filter(|partition| *partition >= 0),
            offset: messaging.and_then(|messaging| messaging.offset),
            correlations_end: self.head.correlations.len() as u32,
            links_end: self.head.links.len() as u32,
            origin,
            arrival: 0,
        };
        self.add(row, bytes)
    }

    /// Adds a span of another block, which arrived at `arrived`. `records` are those that its links name: a block
    /// has them without saying whose they are. `numbers` are of its block's texts and of this block.
    pub(crate) fn push_row(
        &mut self,
        from: RowView<'_>,
        arrived: UnixNanos,
        records: impl IntoIterator<Item = fingerprint::Fingerprint>,
        origin: u32,
        bytes: usize,
        numbers: &mut Numbers,
    ) -> Known {
        self.head.records.extend(records);
        for value in from.correlations() {
            let value = self.text(value);
            self.head.correlations.push(value);
        }
        self.head.links.extend_from_slice(from.link_fingerprints());
        let row = Row {
            trace: self.trace(from.trace()),
            environment: self.text_of(from.head, from.row.environment, numbers),
            service: self.text_of(from.head, from.row.service, numbers),
            operation: self.text_of(from.head, from.row.operation, numbers),
            destination: self.text_of(from.head, from.row.destination, numbers),
            group: self.text_of(from.head, from.row.group, numbers),
            correlations_end: self.head.correlations.len() as u32,
            links_end: self.head.links.len() as u32,
            origin,
            arrival: self.arrival(arrived),
            ..*from.row
        };
        self.add(row, bytes)
    }

    fn add(&mut self, row: Row, bytes: usize) -> Known {
        let known = Known {
            trace: self.head.traces[row.trace as usize],
            span: row.span_id,
            start: row.start,
            end: row.start.wrapping_add(row.duration),
        };
        self.head.rows.push(row);
        self.head.sent_bytes += bytes as u64;
        known
    }

    pub(crate) fn len(&self) -> usize {
        self.head.rows.len()
    }

    /// The head of the spans so far, after which there are no more.
    pub(crate) fn finish(&mut self) -> &Head {
        self.head.records.sort_unstable();
        self.head.records.dedup();
        &self.head
    }

    /// Forgets the spans, and keeps the room that they took for those of the next block.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        for interner in [&mut self.texts, &mut self.traces, &mut self.arrivals] {
            interner.clear();
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        let (index, new) = self.texts.intern(text.as_bytes());
        if new {
            self.head.texts.push(text);
        }
        index
    }

    /// A text that is most likely that of the span before: a sender's spans come together.
    fn text_again(&mut self, text: &str, column: fn(&Row) -> u32) -> u32 {
        match self.head.rows.last().map(column) {
            Some(before) if self.head.texts.get(before) == text => before,
            _ => self.text(text),
        }
    }

    /// A text of another block: what it says is looked at once.
    fn text_of(&mut self, head: &Head, text: u32, numbers: &mut Numbers) -> u32 {
        if text == NONE {
            return NONE;
        }
        numbers.get(text).unwrap_or_else(|| {
            let own = self.text(head.texts.get(text));
            numbers.set(text, own);
            own
        })
    }

    fn arrival(&mut self, arrived: UnixNanos) -> u32 {
        let last = self.head.rows.last().map(|row| row.arrival);
        if let Some(last) = last
            && self.head.arrivals.get(last as usize) == Some(&arrived.0)
        {
            return last;
        }
        let (arrival, new) = self.arrivals.intern(&arrived.0.to_le_bytes());
        if new {
            self.head.arrivals.push(arrived.0);
        }
        arrival
    }

    fn trace(&mut self, trace: TraceId) -> u32 {
        // By trace, as a settled block is, it is nearly always that of the span before.
        let last = self.head.rows.last().map(|row| row.trace);
        if let Some(last) = last
            && self.head.traces.get(last as usize) == Some(&trace)
        {
            return last;
        }
        let (index, new) = self.traces.intern(&trace.0);
        if new {
            self.head.traces.push(trace);
        }
        index
    }
}
