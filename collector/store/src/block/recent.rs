//! The spans stored of late, so that a resend is recognised without reading.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use highwater_model::{SpanId, TraceId};
use xxhash_rust::xxh3::xxh3_128;

/// What makes two spans the same: trace id, span id, and half the hash of the bytes. 80 bits of a hash over them: that a
/// span shares them with one of the two million before it happens once in a hundred thousand years at full rate, and a
/// third less memory is taken than with 128.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity([u8; 10]);

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl From<u128> for Identity {
    fn from(hash: u128) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, ..] = hash.to_le_bytes();
        Self([a, b, c, d, e, f, g, h, i, j])
    }
}

pub(crate) fn identity(trace: TraceId, span: SpanId, hash: u32) -> Identity {
    let mut bytes = [0; 28];
    bytes[..16].copy_from_slice(&trace.0);
    bytes[16..24].copy_from_slice(&span.0);
    bytes[24..].copy_from_slice(&hash.to_le_bytes());
    xxh3_128(&bytes).into()
}

/// Identities are hashes already; hashing them again buys nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(crate) type IdentitySet = HashSet<Identity, BuildHasherDefault<Folded>>;

/// At most `capacity` identities, the newest: two sets of half of it, of which the older is dropped whole.
#[derive(Debug)]
pub(crate) struct Recent {
    half: usize,
    newer: IdentitySet,
    older: IdentitySet,
}

impl Recent {
    pub(crate) fn new(capacity: usize) -> Self {
        let half = (capacity / 2).max(1);
        // Made at its size: a table that grows is there twice meanwhile. Memory that is not used yet is not taken.
        let set = || IdentitySet::with_capacity_and_hasher(half, BuildHasherDefault::default());
        Self {
            half,
            newer: set(),
            older: set(),
        }
    }

    pub(crate) fn contains(&self, identity: Identity) -> bool {
        self.newer.contains(&identity) || self.older.contains(&identity)
    }

    pub(crate) fn insert(&mut self, identity: Identity) {
        if self.newer.len() >= self.half {
            // Swapped and cleared, not made anew: the memory is used again.
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.insert(identity);
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_newest_half_is_always_known_and_memory_is_bounded() {
        let mut recent = Recent::new(100);
        for identity in 0..1_000_u128 {
            recent.insert(identity.into());
            for known in identity.saturating_sub(49)..=identity {
                assert!(recent.contains(known.into()));
            }
            assert!(recent.newer.len() + recent.older.len() <= 100);
        }
        assert!(!recent.contains(0.into()));
    }
}
