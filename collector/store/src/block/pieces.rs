//! The spans of a block, cut into their fields: each distinct field once, and of each span only which ones it has.
//!
//! Nine of ten bytes of a span were in the spans before it too. A general compressor finds that out byte by byte,
//! again in every span; here a span's fields are looked up whole, and a compressor gets a tenth of the bytes.
//!
//! - A **piece** is one field of a span as it stands on the wire. Pieces of one attribute, or of one field number,
//!   make a **column**: its distinct values in order of appearance, and for each span that has it, which one.
//! - A **shape** is the order of columns in a span. Spans of one code path have one shape.
//! - Ids and instants that the head tells are not stored again: their place in the shape is enough.
//!
//! What comes out is byte for byte what went in, whatever it was: what cannot be cut is a piece as a whole.

use highwater_model::{SpanId, TraceId};
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{Corrupt, Reader, put, put_bytes, put_len};
use super::fingerprint::Fingerprint;
use super::gathered::{Gathered, GatheredSpan, Numbers};
use super::interner::Interner;
use super::wire::{self, ATTRIBUTE};

/// Places in a shape that the head fills.
pub(super) const TRACE: u32 = 0;
pub(super) const SPAN: u32 = 1;
pub(super) const START: u32 = 2;
pub(super) const END: u32 = 3;
/// The parent is a span so many before this one.
pub(super) const PARENT: u32 = 4;
/// From here on: columns.
pub(super) const COLUMNS: u32 = 5;

/// A parent is looked for among so many spans before.
const PARENTS: usize = 64;

/// Pieces of a span, of its field with a number, or of an attribute with a key: how a column's name begins.
const REST: u8 = 0;
const FIELD: u8 = 1;
const KEY: u8 = 2;

/// The columns of a block are filled again by the next one, unless they are more than any sender means to have.
const KEPT_COLUMNS: usize = 1_024;

/// A damaged block must not ask for more memory than a block can be.
const MAX_PLACES: usize = 1 << 24;

/// What the head tells of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    /// Nanoseconds since 1970.
    pub(crate) end: u64,
}

/// Collects the spans of a block.
#[derive(Debug, Default)]
pub(crate) struct PiecesBuilder {
    pieces: Interner,
    /// Column and value of each piece.
    places: Vec<(u32, u32)>,
    names: Interner,
    columns: Vec<Column>,
    /// Of the block before, emptied; the first one last.
    spare: Vec<Column>,
    shapes: Interner,
    shape: Vec<u8>,
    shape_refs: Vec<u8>,
    parents: Vec<u8>,
    ids: Vec<SpanId>,
    attributes: Vec<Fingerprint>,
    parts: Vec<Part>,
    /// Scratch: the name of a new piece's column.
    name: Vec<u8>,
}

#[derive(Debug, Default)]
struct Column {
    count: u32,
    lengths: Vec<u8>,
    values: Vec<u8>,
    refs: Vec<u8>,
}

impl Column {
    fn clear(&mut self) {
        self.count = 0;
        for bytes in [&mut self.lengths, &mut self.values, &mut self.refs] {
            bytes.clear();
        }
    }

    /// Bytes it is written in, about.
    fn len(&self) -> usize {
        self.lengths.len() + self.values.len() + self.refs.len() + 16
    }
}

/// A value that was not there before is always the next one.
fn put_ref(out: &mut Vec<u8>, index: u32, new: bool) {
    put(out, if new { 0 } else { u64::from(index) + 1 });
}

/// What a part of a span is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// What the head tells, by its place.
    Known(u32),
    /// The parent's id.
    Parent(SpanId),
    Piece,
}

/// Cuts a span into its parts, in their order; together they are all of it.
pub(super) fn cut<'a>(raw: &'a [u8], known: Known, mut each: impl FnMut(Cut, &'a [u8])) {
    let mut left = raw;
    while let Some(field) = wire::next(&mut left) {
        let cut = match (field.whole[0], field.value) {
            (0x0a, value) if value == known.trace.0 && field.whole.len() == 18 => Cut::Known(TRACE),
            (0x12, value) if value == known.span.0 && field.whole.len() == 10 => Cut::Known(SPAN),
            (0x39, value) if value == known.start.to_le_bytes() => Cut::Known(START),
            (0x41, value) if value == known.end.to_le_bytes() => Cut::Known(END),
            (0x22, value) if field.whole.len() == 10 => match value.try_into() {
                Ok(id) => Cut::Parent(SpanId(id)),
                Err(_) => Cut::Piece,
            },
            _ => Cut::Piece,
        };
        each(cut, field.whole);
    }
    if !left.is_empty() {
        each(Cut::Piece, left);
    }
}

/// A part of the span that is being added.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where it ends.
    to: usize,
    /// What the head fills; [`PARENT`]; [`COLUMNS`] for a piece, of whichever column.
    place: u32,
    /// Of a piece; 0 of others.
    hash: u64,
    guess: Option<u32>,
}

/// A piece as a field; one without a number where it could not be cut.
fn field_of(piece: &[u8]) -> wire::Field<'_> {
    let mut left = piece;
    let field = wire::next(&mut left).filter(|_| left.is_empty());
    field.unwrap_or(wire::Field {
        number: 0,
        whole: piece,
        value: piece,
    })
}

impl PiecesBuilder {
    /// Adds a span.
    pub(crate) fn push(&mut self, raw: &[u8], known: Known) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        let mut to = 0;
        cut(raw, known, |cut, whole| {
            to += whole.len();
            let (place, hash) = match cut {
                Cut::Known(place) => (place, 0),
                Cut::Parent(_) => (PARENT, 0),
                Cut::Piece => (COLUMNS, xxh3_64(whole)),
            };
            parts.push(Part {
                to,
                place,
                hash,
                guess: None,
            });
        });
        // All of them first, so that the waits for memory overlap.
        for part in parts.iter_mut().filter(|part| part.place == COLUMNS) {
            part.guess = self.pieces.guess(part.hash);
        }
        self.shape.clear();
        let mut from = 0;
        for part in &parts {
            let whole = &raw[from..part.to];
            from = part.to;
            // A parent's id is the last eight of its ten bytes.
            let place = match (part.place, whole.last_chunk()) {
                (PARENT, Some(id)) => self.parent_or(SpanId(*id), whole),
                (COLUMNS, _) => self.guessed_piece(whole, part),
                (known, _) => known,
            };
            put(&mut self.shape, place.into());
        }
        self.parts = parts;
        self.end_span(known);
    }

    /// Adds a span of another block. `numbers` are of these `gathered` and of this block.
    pub(crate) fn push_gathered(
        &mut self,
        gathered: &Gathered,
        span: GatheredSpan,
        known: Known,
        numbers: &mut Numbers,
    ) {
        self.shape.clear();
        let mut places = gathered.places(span);
        while let Some(place) = places.next() {
            let place = match place {
                PARENT => {
                    let id = Gathered::parent(&mut places);
                    let mut whole = [0x22, 8, 0, 0, 0, 0, 0, 0, 0, 0];
                    whole[2..].copy_from_slice(&id.0);
                    self.parent_or(id, &whole)
                }
                known if known < COLUMNS => known,
                piece => self.gathered_piece(gathered, piece - COLUMNS, numbers),
            };
            put(&mut self.shape, place.into());
        }
        self.end_span(known);
    }

    fn end_span(&mut self, known: Known) {
        let (shape, new) = self.shapes.intern(&self.shape);
        put_ref(&mut self.shape_refs, shape, new);
        self.ids.push(known.span);
    }

    /// Notes the parent, as one of the spans before where it is one.
    fn parent_or(&mut self, id: SpanId, whole: &[u8]) -> u32 {
        let before = &self.ids[self.ids.len().saturating_sub(PARENTS)..];
        match before.iter().rposition(|span| *span == id) {
            Some(place) => {
                put(&mut self.parents, (before.len() - place) as u64);
                PARENT
            }
            None => {
                let (piece, new) = self.pieces.intern(whole);
                self.note(piece, new, whole)
            }
        }
    }

    fn guessed_piece(&mut self, whole: &[u8], part: &Part) -> u32 {
        match part.guess {
            Some(piece) if self.pieces.is(piece, whole) => self.refer(piece, false),
            _ => {
                let (piece, new) = self.pieces.intern_hashed(whole, part.hash);
                self.note(piece, new, whole)
            }
        }
    }

    fn gathered_piece(&mut self, gathered: &Gathered, piece: u32, numbers: &mut Numbers) -> u32 {
        if let Some(own) = numbers.get(piece) {
            return self.refer(own, false);
        }
        let (bytes, hash) = gathered.piece(piece);
        let (own, new) = self.pieces.intern_hashed(bytes, hash);
        numbers.set(piece, own);
        self.note(own, new, bytes)
    }

    /// Notes a piece in its column; gives the column's place.
    fn note(&mut self, piece: u32, new: bool, whole: &[u8]) -> u32 {
        if new {
            let place = self.new_piece(field_of(whole));
            self.places.push(place);
        }
        self.refer(piece, new)
    }

    fn refer(&mut self, piece: u32, new: bool) -> u32 {
        let (column, value) = self.places[piece as usize];
        put_ref(&mut self.columns[column as usize].refs, value, new);
        COLUMNS + column
    }

    fn new_piece(&mut self, field: wire::Field<'_>) -> (u32, u32) {
        wire::span_attributes(field, &mut self.attributes);
        self.name.clear();
        let value = match canonical_attribute(field) {
            Some((key, value)) => {
                self.name.push(KEY);
                self.name.extend_from_slice(key);
                value
            }
            None if field.number > 0 => {
                let (_, tag) = wire::varint(field.whole).unwrap_or_default();
                let (tag, value) = field.whole.split_at(tag);
                self.name.push(FIELD);
                self.name.extend_from_slice(tag);
                value
            }
            None => {
                self.name.push(REST);
                field.whole
            }
        };
        let (column, new) = self.names.intern(&self.name);
        if new {
            self.columns.push(self.spare.pop().unwrap_or_default());
        }
        let to = &mut self.columns[column as usize];
        put(&mut to.lengths, value.len() as u64);
        to.values.extend_from_slice(value);
        to.count += 1;
        (column, to.count - 1)
    }

    /// The fingerprints of all attributes; some may be there more than once.
    pub(crate) fn attributes(&self) -> &[Fingerprint] {
        &self.attributes
    }

    /// Forgets the spans, and keeps the room that they took for those of the next block.
    pub(crate) fn clear(&mut self) {
        if self.columns.len() > KEPT_COLUMNS {
            *self = Self::default();
            return;
        }
        for interner in [&mut self.pieces, &mut self.names, &mut self.shapes] {
            interner.clear();
        }
        for bytes in [&mut self.shape_refs, &mut self.parents] {
            bytes.clear();
        }
        self.places.clear();
        self.ids.clear();
        self.attributes.clear();
        self.spare.clear();
        for mut column in self.columns.drain(..).rev() {
            column.clear();
            self.spare.push(column);
        }
    }

    pub(crate) fn finish(&self, out: &mut Vec<u8>) {
        let columns = self.names.iter().zip(&self.columns);
        out.reserve(
            columns
                .map(|(name, column)| name.len() + column.len())
                .sum(),
        );
        put(out, self.columns.len() as u64);
        for (name, column) in self.names.iter().zip(&self.columns) {
            put_bytes(out, name);
            put(out, column.count.into());
            put_bytes(out, &column.lengths);
            put_bytes(out, &column.values);
        }
        put(out, self.shapes.len() as u64);
        for shape in self.shapes.iter() {
            put_bytes(out, shape);
        }
        put_bytes(out, &self.shape_refs);
        put_bytes(out, &self.parents);
        for column in &self.columns {
            put_bytes(out, &column.refs);
        }
    }
}

/// The key of an attribute and what stands behind it, where it stands as [`put_attribute`] writes it, and every encoder:
/// the key first, lengths in as few bytes as they take.
fn canonical_attribute<'a>(field: wire::Field<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let short = |field: wire::Field<'_>| {
        field.whole.len() == 1 + put_len(field.value.len() as u64) + field.value.len()
    };
    let mut value = field.value;
    let key = wire::next(&mut value)?;
    let canonical =
        field.whole[0] == ATTRIBUTE && key.whole[0] == 0x0a && short(field) && short(key);
    canonical.then_some((key.value, value))
}

/// An attribute's begin, up to its value of `value` bytes.
fn put_attribute(out: &mut Vec<u8>, key: &[u8], value: usize) {
    let length = put_len(key.len() as u64);
    out.push(ATTRIBUTE);
    put(out, (1 + length + key.len() + value) as u64);
    out.push(0x0a);
    put_bytes(out, key);
}

/// The spans of a block, as [`PiecesBuilder`] left them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    names: Vec<Range>,
    /// The column of parents that are no span of the block.
    parents: Option<u32>,
    pieces: Vec<Piece>,
    /// Of each span, in order: what the head fills, or [`COLUMNS`] and the number of a piece.
    places: Vec<u32>,
    /// Where a span's places end.
    ends: Vec<u32>,
}

type Range = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Piece {
    column: u32,
    value: Range,
}

impl Pieces {
    /// Reads what stands in `bytes` from `from` on.
    pub(crate) fn decode(bytes: Vec<u8>, from: usize) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes.get(from..).unwrap_or_default());
        let range = |reader: &mut Reader<'_>| -> Result<Range, Corrupt> {
            let len = reader.bytes()?.len();
            let end = bytes.len() - reader.remaining();
            Ok(((end - len) as u32, end as u32))
        };
        if u32::try_from(bytes.len()).is_err() {
            return Err(Corrupt("a block is too large"));
        }
        let count = reader.count()?;
        let (mut names, mut pieces) = (Vec::with_capacity(count), Vec::new());
        let mut parent_column = None;
        let mut first_pieces = Vec::with_capacity(count);
        for column in 0..count as u32 {
            let (from, to) = range(&mut reader)?;
            if bytes[from as usize..to as usize] == [FIELD, 0x22] {
                parent_column = Some(column);
            }
            names.push((from, to));
            first_pieces.push(pieces.len() as u32);
            let values = reader.count()?;
            let mut lengths = Reader::new(reader.bytes()?);
            // Each length takes a byte at least, and no block has more pieces than places.
            let most = lengths
                .remaining()
                .min(MAX_PLACES.saturating_sub(pieces.len()));
            pieces.reserve(values.min(most));
            let (mut at, end) = range(&mut reader)?;
            for _ in 0..values {
                let to = u64::from(at).saturating_add(lengths.number()?);
                if to > u64::from(end) {
                    return Err(Corrupt("a value ends past its column"));
                }
                pieces.push(Piece {
                    column,
                    value: (at, to as u32),
                });
                at = to as u32;
            }
        }
        let count = reader.count()?;
        let shapes = (0..count)
            .map(|_| {
                let mut shape = Reader::new(reader.bytes()?);
                let mut places = Vec::new();
                while !shape.is_empty() {
                    places.push(shape.index(COLUMNS as usize + names.len())?);
                }
                Ok(places)
            })
            .collect::<Result<Vec<_>, Corrupt>>()?;
        let mut shape_refs = Reader::new(reader.bytes()?);
        let mut parents = Reader::new(reader.bytes()?);
        let mut columns = (0..names.len())
            .map(|column| {
                let next = first_pieces.get(column + 1).copied();
                Ok(ColumnReader {
                    refs: Reader::new(reader.bytes()?),
                    seen: 0,
                    first: first_pieces[column],
                    end: next.unwrap_or(pieces.len() as u32),
                })
            })
            .collect::<Result<Vec<_>, Corrupt>>()?;
        // Made once: a span and each of its pieces take a byte here at least, and what the head fills is six places, with
        // the distance to a parent.
        let spans = shape_refs.remaining().min(MAX_PLACES);
        let pieces_of_spans: usize = columns.iter().map(|column| column.refs.remaining()).sum();
        let mut places = Vec::with_capacity((6 * spans + pieces_of_spans).min(MAX_PLACES));
        let mut ends = Vec::with_capacity(spans);
        let mut shapes_seen = 0;
        while !shape_refs.is_empty() {
            let shape = take_ref(&mut shape_refs, &mut shapes_seen)?;
            let shape = shapes
                .get(shape as usize)
                .ok_or(Corrupt("a span has an unknown shape"))?;
            if places.len() + shape.len() > MAX_PLACES {
                return Err(Corrupt("a block has too many fields"));
            }
            for &place in shape {
                let Some(column) = place.checked_sub(COLUMNS) else {
                    places.push(place);
                    if place == PARENT {
                        let before = parents.number()?;
                        places.push(u32::try_from(before).unwrap_or(u32::MAX));
                    }
                    continue;
                };
                places.push(COLUMNS + columns[column as usize].next()?);
            }
            ends.push(places.len() as u32);
        }
        Ok(Self {
            bytes,
            names,
            parents: parent_column,
            pieces,
            places,
            ends,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What it takes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.pieces.len() * 12 + self.places.len() * 4 + self.ends.len() * 4
    }

    /// Appends the bytes of span `index`, of which there are at most `at_most`. `known` is what the head tells of it;
    /// `id_of` the id of another span.
    pub(crate) fn raw(
        &self,
        index: usize,
        known: Known,
        at_most: usize,
        id_of: impl Fn(usize) -> Option<SpanId>,
        out: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let mut places = self.places_of(index)?.iter();
        while let Some(place) = places.next() {
            match *place {
                TRACE => {
                    out.extend_from_slice(&[0x0a, 16]);
                    out.extend_from_slice(&known.trace.0);
                }
                SPAN => {
                    out.extend_from_slice(&[0x12, 8]);
                    out.extend_from_slice(&known.span.0);
                }
                START => {
                    out.push(0x39);
                    out.extend_from_slice(&known.start.to_le_bytes());
                }
                END => {
                    out.push(0x41);
                    out.extend_from_slice(&known.end.to_le_bytes());
                }
                PARENT => {
                    let before = places.next().copied().unwrap_or(0) as usize;
                    let parent = self.parent(index, before, &id_of)?;
                    out.extend_from_slice(&[0x22, 8]);
                    out.extend_from_slice(&parent.0);
                }
                piece => self.piece(self.pieces[(piece - COLUMNS) as usize], out),
            }
            if out.len() > at_most {
                return Err(Corrupt("a span is larger than its block"));
            }
        }
        Ok(())
    }

    /// Adds span `index` to those gathered. `numbers` are of this block and of them.
    pub(crate) fn gather(
        &self,
        index: usize,
        id_of: impl Fn(usize) -> Option<SpanId>,
        gathered: &mut Gathered,
        numbers: &mut Numbers,
    ) -> Result<GatheredSpan, Corrupt> {
        let mut span = gathered.begin();
        let mut places = self.places_of(index)?.iter();
        while let Some(place) = places.next() {
            match *place {
                PARENT => {
                    let before = places.next().copied().unwrap_or(0) as usize;
                    span.parent(self.parent(index, before, &id_of)?);
                }
                known if known < COLUMNS => span.known(known),
                place => {
                    let number = place - COLUMNS;
                    // Asked first: nearly every piece was seen before, and a parent's id never gets a number.
                    if let Some(known) = numbers.get(number) {
                        span.piece_again(known);
                        continue;
                    }
                    let piece = self.pieces[number as usize];
                    match self.parent_id(piece) {
                        Some(id) => span.parent(id),
                        None => {
                            let piece = span.piece(|out| self.piece(piece, out));
                            numbers.set(number, piece);
                        }
                    }
                }
            }
        }
        Ok(span.end())
    }

    /// The parent's id, where a piece is one.
    fn parent_id(&self, piece: Piece) -> Option<SpanId> {
        if self.parents != Some(piece.column) {
            return None;
        }
        let (from, to) = piece.value;
        match &self.bytes[from as usize..to as usize] {
            [8, id @ ..] => id.try_into().ok().map(SpanId),
            _ => None,
        }
    }

    fn places_of(&self, index: usize) -> Result<&[u32], Corrupt> {
        let missing = Corrupt("a span is missing in its block's body");
        let from = match index {
            0 => 0,
            _ => *self.ends.get(index - 1).ok_or(missing)?,
        };
        let to = *self.ends.get(index).ok_or(missing)?;
        Ok(&self.places[from as usize..to as usize])
    }

    fn parent(
        &self,
        index: usize,
        before: usize,
        id_of: impl Fn(usize) -> Option<SpanId>,
    ) -> Result<SpanId, Corrupt> {
        let parent = index.checked_sub(before).and_then(id_of);
        parent.ok_or(Corrupt("a span's parent is missing"))
    }

    fn piece(&self, piece: Piece, out: &mut Vec<u8>) {
        let slice = |(from, to): Range| &self.bytes[from as usize..to as usize];
        let value = slice(piece.value);
        match slice(self.names[piece.column as usize]) {
            [KEY, key @ ..] => put_attribute(out, key, value.len()),
            [_, tag @ ..] => out.extend_from_slice(tag),
            [] => {}
        }
        out.extend_from_slice(value);
    }

    /// The fingerprints of all attributes, as the builder knew them.
    pub(crate) fn attributes(&self, out: &mut Vec<Fingerprint>) {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            self.attributes_of(*piece, &mut bytes, out);
        }
    }

    fn attributes_of(&self, piece: Piece, bytes: &mut Vec<u8>, out: &mut Vec<Fingerprint>) {
        bytes.clear();
        self.piece(piece, bytes);
        if let Some(field) = wire::next(&mut &bytes[..]) {
            wire::span_attributes(field, out);
        }
    }

    /// Of each span, whether an attribute of its own has the fingerprint. Looks at each distinct piece once.
    pub(crate) fn with_attribute(&self, wanted: Fingerprint) -> Vec<bool> {
        let (mut bytes, mut found) = (Vec::new(), Vec::new());
        let has = |piece: &Piece| {
            found.clear();
            self.attributes_of(*piece, &mut bytes, &mut found);
            found.contains(&wanted)
        };
        let has: Vec<bool> = self.pieces.iter().map(has).collect();
        let mut from = 0;
        let span = |end: &u32| {
            let mut places = self.places[from as usize..*end as usize].iter();
            from = *end;
            while let Some(place) = places.next() {
                match place.checked_sub(COLUMNS) {
                    Some(piece) if has[piece as usize] => return true,
                    Some(_) => {}
                    // Its distance follows, which is no place.
                    None if *place == PARENT => {
                        places.next();
                    }
                    None => {}
                }
            }
            false
        };
        self.ends.iter().map(span).collect()
    }
}

/// The references of the spans into a column, as they are read.
struct ColumnReader<'a> {
    refs: Reader<'a>,
    /// Values that were there so far.
    seen: u32,
    /// Its pieces, from and to.
    first: u32,
    end: u32,
}

impl ColumnReader<'_> {
    /// The piece of the next span that has one of this column.
    fn next(&mut self) -> Result<u32, Corrupt> {
        let value = take_ref(&mut self.refs, &mut self.seen)?;
        let piece = self.first.checked_add(value);
        piece
            .filter(|piece| *piece < self.end)
            .ok_or(Corrupt("a span has an unknown value"))
    }
}

#[inline]
fn take_ref(reader: &mut Reader<'_>, seen: &mut u32) -> Result<u32, Corrupt> {
    match reader.number()? {
        0 => {
            *seen += 1;
            Ok(*seen - 1)
        }
        one_more => u32::try_from(one_more - 1).map_err(|_| Corrupt("an index is too large")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use highwater_model::{SpanId, TraceId};
    use proptest::prelude::*;

    use super::{
        ATTRIBUTE, COLUMNS, Gathered, Known, Numbers, PARENT, Pieces, PiecesBuilder,
        canonical_attribute, field_of, put, put_attribute, put_bytes, wire,
    };

    const KNOWN: Known = Known {
        trace: TraceId([7; 16]),
        span: SpanId([9; 8]),
        start: 5,
        end: 6,
    };

    fn there_and_back(raw: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let mut builder = PiecesBuilder::default();
        raw.iter().for_each(|raw| builder.push(raw, KNOWN));
        let mut bytes = vec![1, 2, 3];
        builder.finish(&mut bytes);
        let pieces = Pieces::decode(bytes, 3)?;
        prop_assert_eq!(pieces.len(), raw.len());
        for (i, raw) in raw.iter().enumerate() {
            let mut out = Vec::new();
            pieces.raw(i, KNOWN, raw.len(), |_| Some(KNOWN.span), &mut out)?;
            prop_assert_eq!(&out, raw);
        }
        let (mut attributes, mut known) = (Vec::new(), builder.attributes().to_vec());
        pieces.attributes(&mut attributes);
        attributes.sort_unstable();
        known.sort_unstable();
        prop_assert_eq!(attributes, known);
        Ok(())
    }

    /// Fields that look like a span's, right and slightly wrong, so that every way to keep a piece is taken.
    fn field() -> impl Strategy<Value = Vec<u8>> {
        let some = |bytes: &[u8]| Just(bytes.to_vec());
        let id = |tag: u8, len: usize, byte: u8| {
            let mut field = vec![tag, len as u8];
            field.extend(std::iter::repeat_n(byte, len));
            Just(field)
        };
        prop_oneof![
            id(0x0a, 16, 7),
            id(0x0a, 16, 8),
            id(0x12, 8, 9),
            id(0x22, 8, 9),
            id(0x22, 8, 3),
            some(&[0x39, 5, 0, 0, 0, 0, 0, 0, 0]),
            some(&[0x39, 6, 0, 0, 0, 0, 0, 0, 0]),
            some(&[0x41, 6, 0, 0, 0, 0, 0, 0, 0]),
            some(&[0x30, 0x82, 0]),
            // An attribute; one whose length takes a byte too many; one with its value first; one without a key.
            some(&[0x4a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']),
            some(&[0x4a, 0x88, 0, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']),
            some(&[0x4a, 7, 0x12, 2, 0x18, 4, 0x0a, 1, b'k']),
            some(&[0x4a, 4, 0x12, 2, 0x18, 4]),
            some(&[0x4a, 0]),
            // The key's length takes a byte too many; the field's own tag does; an empty key; keys and values whose lengths
            // take a byte and two.
            some(&[0x4a, 9, 0x0a, 0x81, 0, b'k', 0x12, 3, 0x0a, 1, b'v',]),
            some(&[0xca, 0, 3, 0x0a, 1, b'k']),
            some(&[0x4a, 2, 0x0a, 0]),
            (120_usize..130, 120_usize..130).prop_map(|(key, value)| {
                let mut field = Vec::new();
                put_attribute(&mut field, &vec![b'k'; key], value);
                field.resize(field.len() + value, 0);
                field
            }),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    /// As an attribute is found to stand as it is written: it is written, and compared.
    fn written_again<'a>(field: wire::Field<'a>) -> Option<(&'a [u8], &'a [u8])> {
        let mut behind = field.value;
        let key = wire::next(&mut behind)?;
        let mut message = vec![0x0a];
        put_bytes(&mut message, key.value);
        message.extend_from_slice(behind);
        let mut attribute = vec![ATTRIBUTE];
        put_bytes(&mut attribute, &message);
        (key.number == 1 && attribute == field.whole).then_some((key.value, behind))
    }

    #[test]
    fn a_parent_is_the_nearest_with_its_id_of_the_64_spans_before() {
        let id = |number: usize| SpanId((number as u64).to_be_bytes());
        let with_parent = |ids: &[usize], parent: usize| {
            let mut builder = PiecesBuilder::default();
            for (place, own) in ids.iter().enumerate() {
                let known = Known {
                    span: id(*own),
                    ..KNOWN
                };
                let field = [&[0x22, 8][..], &id(parent).0].concat();
                let raw = if place + 1 == ids.len() {
                    &field[..]
                } else {
                    &[]
                };
                builder.push(raw, known);
            }
            let mut bytes = Vec::new();
            builder.finish(&mut bytes);
            let pieces = Pieces::decode(bytes, 0).unwrap();
            let mut raw = Vec::new();
            let last = ids.len() - 1;
            pieces
                .raw(last, KNOWN, 10, |place| Some(id(ids[place])), &mut raw)
                .unwrap();
            assert_eq!(raw[2..], id(parent).0);
            pieces.places_of(last).unwrap().to_vec()
        };
        for before in [1, 2, 63, 64] {
            let ids: Vec<usize> = (0..=before).collect();
            assert_eq!(with_parent(&ids, 0), [PARENT, before as u32]);
        }
        let ids: Vec<usize> = (0..=65).collect();
        assert_eq!(with_parent(&ids, 0), [COLUMNS]);
        assert_eq!(with_parent(&[7, 7, 1], 7), [PARENT, 1]);
    }

    #[test]
    fn a_value_longer_than_any_number_is_an_error_and_not_one_that_ends_before_it_begins() {
        let mut bytes = Vec::new();
        // One column of two values; with the length of the second the sum goes round.
        put(&mut bytes, 1);
        put_bytes(&mut bytes, &[0]);
        put(&mut bytes, 2);
        let mut lengths = vec![3];
        put(&mut lengths, u64::MAX);
        put_bytes(&mut bytes, &lengths);
        put_bytes(&mut bytes, &[5; 8]);
        let error = Pieces::decode(bytes, 0).err();
        assert_eq!(
            error.map(|error| error.0),
            Some("a value ends past its column")
        );
    }

    #[test]
    fn a_body_that_names_a_piece_again_and_again_asks_for_no_more_memory_than_its_block() {
        let mut bytes = Vec::new();
        // One column, of one value of 1,000 bytes; one shape, which has it 2,000 times.
        put(&mut bytes, 1);
        put_bytes(&mut bytes, &[0]);
        put(&mut bytes, 1);
        put_bytes(&mut bytes, &[0xe8, 7]);
        put_bytes(&mut bytes, &[5; 1_000]);
        put(&mut bytes, 1);
        put_bytes(&mut bytes, &[5; 2_000]);
        put_bytes(&mut bytes, &[0]);
        put_bytes(&mut bytes, &[]);
        put_bytes(&mut bytes, &[1; 2_000]);
        let pieces = Pieces::decode(bytes, 0).unwrap();
        let mut out = Vec::new();
        let whole = pieces.raw(0, KNOWN, 2_000_000, |_| None, &mut out);
        assert_eq!((whole, out.len()), (Ok(()), 2_000_000));
        out.clear();
        assert!(pieces.raw(0, KNOWN, 50_000, |_| None, &mut out).is_err());
        assert!(out.len() <= 51_000);
    }

    proptest! {
        #[test]
        fn an_attribute_stands_as_it_is_written_or_does_not(piece in field()) {
            let field = field_of(&piece);
            prop_assert_eq!(canonical_attribute(field), written_again(field));
        }

        #[test]
        fn any_bytes_come_back_as_they_were(
            spans in prop::collection::vec(prop::collection::vec(field(), 0..8), 0..20),
        ) {
            let raw: Vec<Vec<u8>> = spans.into_iter().map(|fields| fields.concat()).collect();
            there_and_back(&raw)?;
        }

        #[test]
        fn a_block_of_gathered_spans_is_the_block_of_those_that_were_sent(
            spans in prop::collection::vec((prop::collection::vec(field(), 0..8), 0..3_usize), 0..40),
            apart in prop::collection::vec(any::<bool>(), 40),
        ) {
            let raw: Vec<(Vec<u8>, usize)> =
                spans.into_iter().map(|(fields, block)| (fields.concat(), block)).collect();
            let blocks: Vec<Pieces> = (0..3)
                .map(|block| {
                    let mut builder = PiecesBuilder::default();
                    let own = raw.iter().filter(|(_, of)| *of == block);
                    own.for_each(|(raw, _)| builder.push(raw, KNOWN));
                    let mut bytes = Vec::new();
                    builder.finish(&mut bytes);
                    Pieces::decode(bytes, 0)
                })
                .collect::<Result<_, _>>()?;
            let mut sent = PiecesBuilder::default();
            let mut moved = PiecesBuilder::default();
            let (mut gathered, mut to) = (Gathered::default(), Numbers::default());
            let mut from: [Numbers; 3] = Default::default();
            let mut next = [0; 3];
            for ((raw, block), apart) in raw.iter().zip(apart) {
                if apart {
                    gathered = Gathered::default();
                    from.iter_mut().chain([&mut to]).for_each(Numbers::clear);
                }
                let index = next[*block];
                next[*block] += 1;
                // Every other span as if its block had no pieces.
                let span = if index % 2 == 0 {
                    blocks[*block].gather(index, |_| Some(KNOWN.span), &mut gathered, &mut from[*block])?
                } else {
                    gathered.add_raw(raw, KNOWN)
                };
                prop_assert_eq!(span.bytes(), raw.len());
                sent.push(raw, KNOWN);
                moved.push_gathered(&gathered, span, KNOWN, &mut to);
            }
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            sent.finish(&mut expected);
            moved.finish(&mut found);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn damaged_pieces_are_an_error_and_never_a_panic(
            bytes in prop::collection::vec(0_u8..12, 0..200),
        ) {
            if let Ok(pieces) = Pieces::decode(bytes, 0) {
                for i in 0..=pieces.len() {
                    let _ = pieces.raw(i, KNOWN, 1 << 20, |_| None, &mut Vec::new());
                }
                pieces.attributes(&mut Vec::new());
            }
        }
    }
}
