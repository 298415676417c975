//! From the pieces of a block to its spans.

use highwater_model::SpanId;

use super::{COLUMNS, END, FIELD, KEY, Known, PARENT, SPAN, START, TRACE, put_attribute};
use crate::block::bytes::{Corrupt, Reader};
use crate::block::fingerprint::Fingerprint;
use crate::block::gathered::{Gathered, GatheredSpan, Numbers};
use crate::block::wire;

/// A damaged block must not ask for more memory than a block can be.
const MAX_PLACES: usize = 1 << 24;

/// The spans of a block, as [`super::PiecesBuilder`] left them.
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

    pub(super) fn places_of(&self, index: usize) -> Result<&[u32], Corrupt> {
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
