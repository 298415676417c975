//! A borrowed walk over protobuf's wire format: fields are slices of the request, nothing is copied.
//!
//! Only what OTLP uses is understood: varints, the two fixed widths and length-delimited fields. Groups, which
//! proto3 does not have, are malformed.

use bytes::{Buf, Bytes};

use super::DecodeError;

/// A field's value as it stands on the wire.
pub(super) enum Field {
    /// A varint or a fixed-width number; none of those matter to the walk.
    Number,
    /// A length-delimited field: a message, a string or bytes.
    Bytes(Bytes),
}

/// Reads the next field of `buffer`, and advances it. `None` at the end.
pub(super) fn next_field(buffer: &mut Bytes) -> Result<Option<(u32, Field)>, DecodeError> {
    if !buffer.has_remaining() {
        return Ok(None);
    }
    let key = varint(buffer)?;
    let number =
        u32::try_from(key >> 3).map_err(|_| DecodeError::Wire("a field number is too large"))?;
    if number == 0 {
        return Err(DecodeError::Wire("a field has number 0"));
    }
    let field = match key & 7 {
        0 => {
            varint(buffer)?;
            Field::Number
        }
        1 => {
            skip(buffer, 8)?;
            Field::Number
        }
        5 => {
            skip(buffer, 4)?;
            Field::Number
        }
        2 => {
            let length = usize::try_from(varint(buffer)?)
                .ok()
                .filter(|length| *length <= buffer.remaining())
                .ok_or(DecodeError::Wire("a field is longer than its message"))?;
            Field::Bytes(buffer.split_to(length))
        }
        _ => return Err(DecodeError::Wire("a field has an unknown wire type")),
    };
    Ok(Some((number, field)))
}

fn skip(buffer: &mut Bytes, length: usize) -> Result<(), DecodeError> {
    if buffer.remaining() < length {
        return Err(DecodeError::Wire("a number is cut off"));
    }
    buffer.advance(length);
    Ok(())
}

fn varint(buffer: &mut Bytes) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for (index, byte) in buffer.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            buffer.advance(index + 1);
            return Ok(value);
        }
    }
    Err(DecodeError::Wire("a varint does not end"))
}
