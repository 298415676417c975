//! From spans to the pieces of a block.

use highwater_model::SpanId;
use xxhash_rust::xxh3::xxh3_64;

use super::{COLUMNS, Cut, FIELD, KEY, Known, PARENT, REST, cut};
use crate::block::bytes::{put, put_bytes, put_len};
use crate::block::fingerprint::Fingerprint;
use crate::block::gathered::{Gathered, GatheredSpan, Numbers};
use crate::block::interner::Interner;
use crate::block::wire::{self, ATTRIBUTE};

/// A parent is looked for among so many spans before.
const PARENTS: usize = 64;

/// The columns of a block are filled again by the next one, unless they are more than any sender means to have.
const KEPT_COLUMNS: usize = 1_024;

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
pub(super) fn field_of(piece: &[u8]) -> wire::Field<'_> {
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

/// The key of an attribute and what stands behind it, where it stands as [`super::put_attribute`] writes it, and every encoder:
/// the key first, lengths in as few bytes as they take.
pub(super) fn canonical_attribute<'a>(field: wire::Field<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let short = |field: wire::Field<'_>| {
        field.whole.len() == 1 + put_len(field.value.len() as u64) + field.value.len()
    };
    let mut value = field.value;
    let key = wire::next(&mut value)?;
    let canonical =
        field.whole[0] == ATTRIBUTE && key.whole[0] == 0x0a && short(field) && short(key);
    canonical.then_some((key.value, value))
}
