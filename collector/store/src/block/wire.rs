//! A walk over a stored OTLP message: which fields it has, and which attributes, without decoding it.

use super::fingerprint::{self, Fingerprint};

/// `attributes` of a span, as its key stands on the wire.
pub(crate) const ATTRIBUTE: u8 = 9 << 3 | 2;

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    /// Key and value, as sent.
    pub(crate) whole: &'a [u8],
    /// What is in it, where it is length-delimited or of a fixed width; the varint's own bytes otherwise.
    pub(crate) value: &'a [u8],
}

/// Reads a varint; gives it and how many bytes it took.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    // Nearly all keys and lengths are one byte.
    match bytes.first()? {
        byte @ ..0x80 => Some((u64::from(*byte), 1)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Takes the first field of `bytes`; `None` where there is none that can be read.
// Thirty fields a span are cut: the call alone was a tenth of it.
#[inline(always)]
pub(crate) fn next<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let (key, at) = varint(bytes)?;
    let rest = &bytes[at..];
    let (skip, len) = match key & 7 {
        0 => (0, varint(rest)?.1),
        1 => (0, 8),
        5 => (0, 4),
        2 => {
            let (len, at) = varint(rest)?;
            (at, usize::try_from(len).ok()?)
        }
        _ => return None,
    };
    let end = at.checked_add(skip)?.checked_add(len)?;
    let (whole, left) = bytes.split_at_checked(end)?;
    *bytes = left;
    Some(Field {
        number: key >> 3,
        whole,
        value: &whole[at + skip..],
    })
}

fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || next(&mut bytes))
}

/// Appends the fingerprints of the attributes in a field of a span: its own, an event's or a link's.
pub(crate) fn span_attributes(field: Field<'_>, out: &mut Vec<Fingerprint>) {
    match field.number {
        9 => key_value(field.value, out),
        11 => nested(field.value, 3, out),
        13 => nested(field.value, 4, out),
        _ => {}
    }
}

/// Appends the fingerprints of the attributes of a resource and scope.
pub(crate) fn origin_attributes(origin: &[u8], out: &mut Vec<Fingerprint>) {
    for field in fields(origin) {
        match field.number {
            1 => nested(field.value, 1, out),
            2 => nested(field.value, 3, out),
            _ => {}
        }
    }
}

fn nested(message: &[u8], number: u64, out: &mut Vec<Fingerprint>) {
    let attributes = fields(message).filter(|field| field.number == number);
    attributes.for_each(|field| key_value(field.value, out));
}

fn key_value(message: &[u8], out: &mut Vec<Fingerprint>) {
    let (mut key, mut any): (&[u8], bool) = (&[], false);
    for field in fields(message) {
        match field.number {
            1 => key = field.value,
            2 => {
                any_value(key, field.value, true, out);
                any |= !field.value.is_empty();
            }
            _ => {}
        }
    }
    // A value that is missing, or has nothing in it, is the empty text.
    if !any {
        out.push(fingerprint::attribute_text(key, b""));
    }
}

fn any_value(key: &[u8], message: &[u8], arrays: bool, out: &mut Vec<Fingerprint>) {
    if message.is_empty() && !arrays {
        out.push(fingerprint::attribute_text(key, b""));
    }
    for Field { number, value, .. } in fields(message) {
        match number {
            1 => out.push(fingerprint::attribute_text(key, value)),
            2 => {
                let truth = varint(value).is_some_and(|(value, _)| value != 0);
                let word = if truth { "true" } else { "false" };
                out.push(fingerprint::attribute_text(key, word.as_bytes()));
            }
            3 => {
                let int = varint(value).map_or(0, |(value, _)| value as i64);
                out.push(fingerprint::attribute_number(key, int as f64));
            }
            4 => {
                let bits = value.try_into().map_or(0, u64::from_le_bytes);
                out.push(fingerprint::attribute_number(key, f64::from_bits(bits)));
            }
            5 if arrays => {
                let elements = fields(value).filter(|field| field.number == 1);
                elements.for_each(|field| any_value(key, field.value, false, out));
            }
            7 => {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                out.push(fingerprint::attribute_text(key, hex.as_bytes()));
            }
            _ => {}
        }
    }
}
