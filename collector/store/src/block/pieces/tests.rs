//! What goes in comes out, and what is damaged is told.

#![allow(clippy::unwrap_used, reason = "tests")]

use highwater_model::{SpanId, TraceId};
use proptest::prelude::*;

use super::builder::{canonical_attribute, field_of};
use super::{COLUMNS, Known, PARENT, Pieces, PiecesBuilder, put_attribute};
use crate::block::bytes::{put, put_bytes};
use crate::block::gathered::{Gathered, Numbers};
use crate::block::wire::{self, ATTRIBUTE};

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
