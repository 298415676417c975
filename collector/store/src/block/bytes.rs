//! Variable-length integers, and a reader that never runs past its end.

use std::cell::RefCell;

/// What was read is not what was written: a damaged file, or a writer of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

/// Appends `value` in 1 to 10 bytes, small values short.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put`] takes for `value`.
pub(crate) const fn put_len(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends a signed value; those near zero are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, left) = self
            .left
            .split_at_checked(len)
            .ok_or(Corrupt("it ends too early"))?;
        self.left = left;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Corrupt> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Corrupt> {
        // Nearly all are one byte.
        if let [byte @ ..0x80, left @ ..] = self.left {
            self.left = left;
            return Ok(u64::from(*byte));
        }
        self.long_number()
    }

    fn long_number(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Corrupt("a number is too long"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Corrupt> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things of which each takes at least one byte: so it cannot be more than what is left, and a
    /// damaged count cannot ask for memory.
    pub(crate) fn count(&mut self) -> Result<usize, Corrupt> {
        self.count_of(1)
    }

    /// A count of things of which each takes at least `least` bytes.
    pub(crate) fn count_of(&mut self, least: usize) -> Result<usize, Corrupt> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left.len() / least => Ok(count),
            _ => Err(Corrupt("a count is larger than what it counts")),
        }
    }

    /// A number below `limit`.
    pub(crate) fn index(&mut self, limit: usize) -> Result<u32, Corrupt> {
        let index = self.number()?;
        if (index as usize) < limit {
            u32::try_from(index).map_err(|_| Corrupt("an index is too large"))
        } else {
            Err(Corrupt("an index points past its table"))
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let len = self.count()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Corrupt("a text is not UTF-8"))
    }
}

/// A compressed blob says its length first, so that its buffer is made once, at its size.
pub(super) const MAX_BLOB: usize = 1 << 30;

thread_local! {
    // Their tables are made once a thread.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses with zstd level 1, as measured: a level more costs twice the time for 4% of the size.
pub(crate) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let packed = COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            none => {
                let compressor = none.insert(zstd::bulk::Compressor::new(1)?);
                // Four bytes that tell a damaged part from a whole one; blocks without them are read as well.
                compressor.include_checksum(true)?;
                compressor
            }
        };
        compressor.compress(bytes)
    })?;
    let mut out = Vec::with_capacity(4 + packed.len());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(out)
}

/// The inverse of [`compress`].
pub(crate) fn decompress(blob: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut reader = Reader::new(blob);
    let len = u32::from_le_bytes(reader.array()?) as usize;
    if len > MAX_BLOB {
        return Err(Corrupt("a compressed part is too large"));
    }
    // Asked before the buffer is made: a damaged length must not cost its memory.
    if let Ok(Some(told)) = zstd::zstd_safe::get_frame_content_size(reader.left)
        && told != len as u64
    {
        return Err(Corrupt("a compressed part has another length than it says"));
    }
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(reader.left, len)
    });
    let bytes = bytes.map_err(|_| Corrupt("a compressed part cannot be read"))?;
    if bytes.len() != len {
        return Err(Corrupt("a compressed part has another length than it says"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Corrupt, Reader, compress, decompress, put, put_bytes, put_len, put_signed};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(bits: u64, shift in 0..64, signed: i64, blob: Vec<u8>) {
            // Of every length, which a number of 64 random bits is not.
            let unsigned = bits >> shift;
            let mut out = Vec::new();
            put(&mut out, unsigned);
            prop_assert_eq!(out.len(), put_len(unsigned));
            put_signed(&mut out, signed);
            put_bytes(&mut out, &blob);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Ok(unsigned));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.bytes(), Ok(&blob[..]));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_an_error_or_a_value(blob: Vec<u8>) {
            let _ = decompress(&blob);
            let mut reader = Reader::new(&blob);
            while reader.bytes().is_ok() && !reader.is_empty() {}
        }
    }

    #[test]
    fn a_compressed_part_that_lies_about_its_length_is_refused() {
        let mut blob = compress(b"hello hello hello").unwrap_or_default();
        assert_eq!(decompress(&blob).as_deref(), Ok(&b"hello hello hello"[..]));
        blob[0] += 1;
        assert!(matches!(decompress(&blob), Err(Corrupt(_))));
    }
}
