//! Spans on their way from some blocks to others, in pieces that are numbered over all of them.
//!
//! What a piece says is looked at once for each block it comes from and once for each it goes to, not once a span.

use highwater_model::SpanId;

use super::interner::Interner;
use super::pieces::{COLUMNS, Cut, END, Known, PARENT, SPAN, START, TRACE, cut};

/// Spans of several blocks.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pieces: Interner,
    /// Of each span, in order: what the head fills; [`PARENT`] and the halves of its id; [`COLUMNS`] and the number of
    /// a piece.
    places: Vec<u32>,
    scratch: Vec<u8>,
}

/// One of the spans gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatheredSpan {
    from: usize,
    to: usize,
    bytes: usize,
}

impl GatheredSpan {
    /// Its bytes, as it was sent.
    pub(crate) const fn bytes(self) -> usize {
        self.bytes
    }
}

/// Which number a piece of one has in the other: of a block among those gathered, or of those gathered in a block.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Vec<u32>);

const UNKNOWN: u32 = u32::MAX;

impl Numbers {
    pub(super) fn get(&self, piece: u32) -> Option<u32> {
        let number = self.0.get(piece as usize).copied();
        number.filter(|number| *number != UNKNOWN)
    }

    pub(super) fn set(&mut self, piece: u32, number: u32) {
        let place = piece as usize;
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), UNKNOWN);
        }
        self.0[place] = number;
    }

    /// One of the two is another now.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Which numbers the texts and origins of a block have in the block that its spans are moved to.
#[derive(Debug, Default)]
pub(crate) struct Renumbered {
    pub(super) texts: Numbers,
    pub(super) origins: Numbers,
}

impl Renumbered {
    /// They are moved to another block from here on.
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.origins.clear();
    }
}

impl Gathered {
    /// Forgets all spans, and keeps the room that they took.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.places.clear();
    }

    /// Adds a span of a block that has no pieces.
    pub(super) fn add_raw(&mut self, raw: &[u8], known: Known) -> GatheredSpan {
        let mut span = self.begin();
        cut(raw, known, |cut, whole| match cut {
            Cut::Known(place) => span.known(place),
            Cut::Parent(id) => span.parent(id),
            Cut::Piece => {
                span.piece(|out| out.extend_from_slice(whole));
            }
        });
        span.end()
    }

    pub(super) fn begin(&mut self) -> Adding<'_> {
        Adding {
            from: self.places.len(),
            bytes: 0,
            gathered: self,
        }
    }

    pub(super) fn places(&self, span: GatheredSpan) -> impl Iterator<Item = u32> {
        self.places[span.from..span.to].iter().copied()
    }

    /// The hash of its newest piece, and how it begins. What no other span has is numbered last, one after the other: it
    /// stands beside that piece.
    pub(crate) fn newest(&self, span: GatheredSpan) -> Option<(u64, Option<u8>)> {
        let mut places = self.places[span.from..span.to].iter().copied();
        let mut newest = None;
        while let Some(place) = places.next() {
            if place == PARENT {
                places.nth(1);
            } else if place >= COLUMNS {
                newest = newest.max(Some(place - COLUMNS));
            }
        }
        let (bytes, hash) = self.piece(newest?);
        Some((hash, bytes.first().copied()))
    }

    /// The id behind [`PARENT`].
    pub(super) fn parent(places: &mut impl Iterator<Item = u32>) -> SpanId {
        let mut half = || u64::from(places.next().unwrap_or(0));
        SpanId((half() << 32 | half()).to_be_bytes())
    }

    /// A piece and its hash.
    pub(super) fn piece(&self, piece: u32) -> (&[u8], u64) {
        (self.pieces.get(piece), self.pieces.hash(piece))
    }
}

/// A span that is being added.
pub(super) struct Adding<'a> {
    gathered: &'a mut Gathered,
    from: usize,
    bytes: usize,
}

impl Adding<'_> {
    pub(super) fn known(&mut self, place: u32) {
        self.bytes += match place {
            TRACE => 18,
            SPAN => 10,
            START | END => 9,
            _ => 0,
        };
        self.gathered.places.push(place);
    }

    pub(super) fn parent(&mut self, id: SpanId) {
        let id = u64::from_be_bytes(id.0);
        let halves = [PARENT, (id >> 32) as u32, id as u32];
        self.gathered.places.extend(halves);
        self.bytes += 10;
    }

    /// Adds a piece that `write` writes out; gives its number.
    pub(super) fn piece(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let gathered = &mut *self.gathered;
        gathered.scratch.clear();
        write(&mut gathered.scratch);
        let (number, _) = gathered.pieces.intern(&gathered.scratch);
        self.piece_again(number);
        number
    }

    pub(super) fn piece_again(&mut self, number: u32) {
        self.bytes += self.gathered.pieces.len_of(number);
        self.gathered.places.push(COLUMNS + number);
    }

    pub(super) fn end(self) -> GatheredSpan {
        GatheredSpan {
            from: self.from,
            to: self.gathered.places.len(),
            bytes: self.bytes,
        }
    }
}
