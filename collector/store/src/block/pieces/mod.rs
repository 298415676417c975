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

mod builder;
mod read;
#[cfg(test)]
mod tests;

use highwater_model::{SpanId, TraceId};

use super::bytes::{put, put_bytes, put_len};
use super::wire::{self, ATTRIBUTE};

pub(crate) use builder::PiecesBuilder;
pub(crate) use read::Pieces;

/// Places in a shape that the head fills.
pub(super) const TRACE: u32 = 0;
pub(super) const SPAN: u32 = 1;
pub(super) const START: u32 = 2;
pub(super) const END: u32 = 3;
/// The parent is a span so many before this one.
pub(super) const PARENT: u32 = 4;
/// From here on: columns.
pub(super) const COLUMNS: u32 = 5;

/// Pieces of a span, of its field with a number, or of an attribute with a key: how a column's name begins.
const REST: u8 = 0;
const FIELD: u8 = 1;
const KEY: u8 = 2;

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

/// An attribute's begin, up to its value of `value` bytes.
fn put_attribute(out: &mut Vec<u8>, key: &[u8], value: usize) {
    let length = put_len(key.len() as u64);
    out.push(ATTRIBUTE);
    put(out, (1 + length + key.len() + value) as u64);
    out.push(0x0a);
    put_bytes(out, key);
}
