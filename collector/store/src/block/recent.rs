//! The spans stored of late, so that a resend is recognised without reading.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use highwater_model::{SpanId, TraceId};
use xxhash_rust::xxh3::xxh3_128;

/// What makes two spans the same: trace id, span id, and half the hash of the bytes. 128 bits of a hash over them,
/// so that two different spans are not taken for one.
pub(crate) type Identity = u128;

pub(crate) fn identity(trace: TraceId, span: SpanId, hash: u32) -> Identity {
    let mut bytes = [0; 28];
    bytes[..16].copy_from_slice(&trace.0);
    bytes[16..24].copy_from_slice(&span.0);
    bytes[24..].copy_from_slice(&hash.to_le_bytes());
    xxh3_128(&bytes)
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

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64 ^ (value >> 64) as u64;
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
            recent.insert(identity);
            for known in identity.saturating_sub(49)..=identity {
                assert!(recent.contains(known));
            }
            assert!(recent.newer.len() + recent.older.len() <= 100);
        }
        assert!(!recent.contains(0));
    }
}
