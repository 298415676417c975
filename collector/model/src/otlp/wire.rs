//! A borrowed walk over protobuf's wire format: fields are slices of the request, nothing is copied.
//!
//! It takes and refuses exactly what prost takes and refuses, unknown groups and the bound on nesting included;
//! a property test and a fuzz target compare the two.

/// What is wrong with the bytes. Small, because every step of the walk may return it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// Messages may be nested so deep, as prost has it; what is deeper is refused, so no stack overflows.
pub(crate) const MAX_NESTING: u32 = 100;

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    /// A varint.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Four bytes, little-endian.
    Fixed32(u32),
    /// A length-delimited field: a message, a string or bytes.
    Bytes(&'a [u8]),
    /// A group, which only an unknown field can be; its content was skipped.
    Group,
}

const NOT_TEXT: Malformed = Malformed("a text is not UTF-8");

impl<'a> Field<'a> {
    /// A message or bytes.
    #[inline]
    pub(crate) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a number stands where bytes belong")),
        }
    }

    /// Text.
    #[inline]
    pub(crate) fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| NOT_TEXT)
    }

    /// Text that was looked at but is not needed as such: most of a span's is not.
    #[inline]
    pub(crate) fn text_bytes(self) -> Result<&'a [u8]> {
        let bytes = self.bytes()?;
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() {
            Ok(bytes)
        } else {
            Err(NOT_TEXT)
        }
    }

    /// An integer, a boolean or an enum's number.
    #[inline]
    pub(crate) fn varint(self) -> Result<u64> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(Malformed("a varint is missing")),
        }
    }

    /// A `fixed64` or a double's bits.
    #[inline]
    pub(crate) fn fixed64(self) -> Result<u64> {
        match self {
            Self::Fixed64(number) => Ok(number),
            _ => Err(Malformed("a fixed64 is missing")),
        }
    }

    /// A `fixed32`.
    #[inline]
    pub(crate) fn fixed32(self) -> Result<u32> {
        match self {
            Self::Fixed32(number) => Ok(number),
            _ => Err(Malformed("a fixed32 is missing")),
        }
    }
}

/// The fields of one message, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    nesting: u32,
}

impl<'a> Fields<'a> {
    /// Of a message that stands alone.
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            nesting: MAX_NESTING,
        }
    }

    /// Of a message that stands in one of these fields.
    #[inline]
    pub(crate) fn nested(&self, field: Field<'a>) -> Result<Self> {
        Ok(Self {
            rest: field.bytes()?,
            nesting: one_deeper(self.nesting)?,
        })
    }

    /// The next field with its number; `None` at the end.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = key(&mut self.rest)?;
        let field = match wire_type {
            0 => Field::Varint(varint(&mut self.rest)?),
            1 => Field::Fixed64(u64::from_le_bytes(*fixed(&mut self.rest)?)),
            2 => Field::Bytes(delimited(&mut self.rest)?),
            5 => Field::Fixed32(u32::from_le_bytes(*fixed(&mut self.rest)?)),
            3 => {
                skip_group(&mut self.rest, number, self.nesting)?;
                Field::Group
            }
            _ => return Err(Malformed("a field has an unknown wire type")),
        };
        Ok(Some((number, field)))
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What prost says of a field that is not known: at the deepest level none may stand.
    #[inline]
    pub(crate) fn unknown(&self) -> Result<()> {
        one_deeper(self.nesting).map(|_| ())
    }
}

#[inline]
fn one_deeper(nesting: u32) -> Result<u32> {
    nesting
        .checked_sub(1)
        .ok_or(Malformed("messages are nested too deep"))
}

#[cold]
fn skip_group(rest: &mut &[u8], group: u32, nesting: u32) -> Result<()> {
    let inside = one_deeper(nesting)?;
    loop {
        let (number, wire_type) = key(rest)?;
        if wire_type == 4 {
            return if number == group {
                Ok(())
            } else {
                Err(Malformed("a group ends that has not begun"))
            };
        }
        one_deeper(inside)?;
        match wire_type {
            0 => {
                varint(rest)?;
            }
            1 => {
                fixed::<8>(rest)?;
            }
            2 => {
                delimited(rest)?;
            }
            3 => skip_group(rest, number, inside)?,
            5 => {
                fixed::<4>(rest)?;
            }
            _ => return Err(Malformed("a field has an unknown wire type")),
        }
    }
}

/// A field's number and wire type.
#[inline(always)]
fn key(rest: &mut &[u8]) -> Result<(u32, u8)> {
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed("a field number is too large"))?;
    match key >> 3 {
        0 => Err(Malformed("a field has number 0")),
        number => Ok((number, (key & 7) as u8)),
    }
}

#[inline]
fn fixed<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N]> {
    let (number, after) = rest
        .split_first_chunk()
        .ok_or(Malformed("a number is cut off"))?;
    *rest = after;
    Ok(number)
}

#[inline(always)]
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = varint(rest)?;
    let (bytes, after) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(Malformed("a field is longer than its message"))?;
    *rest = after;
    Ok(bytes)
}

#[inline(always)]
fn varint(rest: &mut &[u8]) -> Result<u64> {
    match rest.split_first() {
        // Most numbers on the wire are keys and short lengths.
        Some((byte, after)) if *byte < 0x80 => {
            *rest = after;
            Ok(u64::from(*byte))
        }
        _ => long_varint(rest),
    }
}

#[inline(never)]
fn long_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // The tenth byte holds the last bit of 64.
            if index == 9 && *byte > 1 {
                break;
            }
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed("a varint does not end"))
}

/// The standard library's check looks at what is left of the words byte by byte, and text here is 5 to 40 bytes long.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().all(u8::is_ascii);
    };
    let (words, _) = bytes.as_chunks();
    // The last word overlaps the one before.
    let all = words.iter().fold(u64::from_ne_bytes(*last), |all, word| {
        all | u64::from_ne_bytes(*word)
    });
    all & HIGH_BITS == 0
}

#[cfg(test)]
mod tests {
    use super::is_ascii;

    #[test]
    fn a_byte_above_127_is_found_wherever_it_stands() {
        for length in 0..40 {
            let mut text = vec![b'x'; length];
            assert!(is_ascii(&text));
            for at in 0..length {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "{at} of {length}");
                text[at] = b'x';
            }
        }
    }
}
