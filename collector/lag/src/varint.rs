//! Numbers in as few bytes as they take.

/// A number of 64 bits in groups of seven.
pub(crate) const LONGEST: usize = 10;

/// Small numbers of either sign become small ones.
pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
pub(crate) fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(crate) fn read(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().enumerate().take(LONGEST) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// Takes numbers off bytes that were written in this process: what is missing cannot be, and would be 0.
pub(crate) struct Numbers<'a>(pub(crate) &'a [u8]);

impl Numbers<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, left)) = self.0.split_first() else {
            return 0;
        };
        self.0 = left;
        byte
    }

    pub(crate) fn number(&mut self) -> u64 {
        let Some((number, left)) = read(self.0) else {
            return 0;
        };
        self.0 = left;
        number
    }

    pub(crate) fn signed(&mut self) -> i64 {
        unzigzag(self.number())
    }
}
