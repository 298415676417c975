//! Byte strings, each once, numbered in order of appearance.

use xxhash_rust::xxh3::xxh3_64;

const EMPTY: u32 = u32::MAX;
const LEAST_SLOTS: usize = 256;

/// An open-addressed table over one arena: no allocation a string, and a string is compared only where half
/// its hash is the same. The standard map costs three times as much here, a look-up for every attribute of every span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    /// A power of two of them, at most half taken: the upper half of a string's hash, and its number.
    slots: Vec<(u32, u32)>,
    entries: Vec<Entry>,
    arena: Vec<u8>,
}

/// Sixteen bytes, since most look-ups of a full block wait for memory. What is interned is far below 4 GiB: a request's
/// size is bounded.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    from: u32,
    len: u32,
}

impl Interner {
    /// The number of `bytes`, and whether they are new.
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> (u32, bool) {
        self.intern_hashed(bytes, xxh3_64(bytes))
    }

    /// As [`Interner::intern`], where another interner has the hash already.
    pub(crate) fn intern_hashed(&mut self, bytes: &[u8], hash: u64) -> (u32, bool) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let tag = (hash >> 32) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (other, index) = self.slots[slot];
            if index == EMPTY {
                break;
            }
            if other == tag && self.is(index, bytes) {
                return (index, false);
            }
            slot = (slot + 1) & mask;
        }
        let index = self.entries.len() as u32;
        self.slots[slot] = (tag, index);
        let from = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        self.entries.push(Entry {
            hash,
            from,
            len: bytes.len() as u32,
        });
        (index, true)
    }

    /// What may be the number of bytes with this hash, from a look at the first two places it may have, of which the
    /// second nearly always comes with the first. Looked up for many at once, the waits for memory overlap, which are most
    /// of the time that [`Interner::intern`] takes.
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let first = hash as usize & mask;
        let mut two = [first, (first + 1) & mask]
            .into_iter()
            .map(|slot| self.slots[slot]);
        let found = two.find(|(tag, index)| *tag == (hash >> 32) as u32 && *index != EMPTY);
        found.map(|(_, index)| index)
    }

    /// Whether `bytes` have this number.
    pub(crate) fn is(&self, index: u32, bytes: &[u8]) -> bool {
        same(self.get(index), bytes)
    }

    /// The bytes with a number.
    pub(crate) fn get(&self, index: u32) -> &[u8] {
        let entry = self.entries[index as usize];
        &self.arena[entry.from as usize..][..entry.len as usize]
    }

    /// How many bytes have a number.
    pub(crate) fn len_of(&self, index: u32) -> usize {
        self.entries[index as usize].len as usize
    }

    pub(crate) fn hash(&self, index: u32) -> u64 {
        self.entries[index as usize].hash
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.entries.len() as u32).map(|index| self.get(index))
    }

    /// Forgets all of them. The room stays for what comes next, unless it was for far more than there was.
    pub(crate) fn clear(&mut self) {
        if self.slots.len() > LEAST_SLOTS.max(self.entries.len() * 16) {
            *self = Self::default();
            return;
        }
        self.slots.fill((0, EMPTY));
        self.entries.clear();
        self.arena.clear();
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(LEAST_SLOTS);
        self.slots.clear();
        self.slots.resize(slots, (0, EMPTY));
        for (index, entry) in (0..).zip(&self.entries) {
            let mut slot = entry.hash as usize & (slots - 1);
            while self.slots[slot].1 != EMPTY {
                slot = (slot + 1) & (slots - 1);
            }
            self.slots[slot] = ((entry.hash >> 32) as u32, index);
        }
    }
}

/// Whether two strings are equal, sixteen bytes at a time: most have some thirty, for which a call of the system's
/// comparison takes longer than to compare them.
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // The last bytes overlap with those before them, so that nothing is left over.
    if let (Some(a_last), Some(b_last)) = (a.last_chunk::<16>(), b.last_chunk::<16>()) {
        let ((a, _), (b, _)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        return a_last == b_last && a.iter().zip(b).all(|(a, b)| a == b);
    }
    if let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        return a_last == b_last && a.first_chunk::<8>() == b.first_chunk::<8>();
    }
    a == b
}

#[cfg(test)]
mod tests {
    use super::{Interner, same, xxh3_64};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_are_the_same_where_every_byte_is(
            a in prop::collection::vec(any::<u8>(), 0..70),
            at: prop::sample::Index,
            changed: u8,
            cut in 0_usize..3,
        ) {
            prop_assert!(same(&a, &a.clone()));
            let mut b = a.clone();
            if !b.is_empty() {
                let at = at.index(b.len());
                b[at] = changed;
            }
            b.truncate(a.len() - cut.min(a.len()));
            prop_assert_eq!(same(&a, &b), a == b);
        }

        #[test]
        fn equal_bytes_have_one_number_and_come_back(
            strings in prop::collection::vec(prop::collection::vec(0_u8..3, 0..6), 0..2_000),
        ) {
            let mut interner = Interner::default();
            let mut order: Vec<Vec<u8>> = Vec::new();
            for string in &strings {
                let expected = order.iter().position(|known| known == string);
                let guess = interner.guess(xxh3_64(string));
                let (index, new) = interner.intern(string);
                prop_assert!(guess.is_none_or(|guess| guess == index));
                prop_assert_eq!(new, expected.is_none());
                prop_assert_eq!(index as usize, expected.unwrap_or(order.len()));
                if new {
                    order.push(string.clone());
                }
            }
            prop_assert_eq!(interner.len(), order.len());
            prop_assert!(interner.iter().eq(order.iter().map(|string| &string[..])));
            interner.clear();
            prop_assert_eq!(interner.len(), 0);
            for string in strings.iter().rev() {
                let was_there = interner.iter().any(|known| known == &string[..]);
                prop_assert_eq!(interner.intern(string).1, !was_there);
            }
        }
    }
}
