//! A block: the spans of one commit, or a part of them, as two compressed blobs and the keys that find them.
//!
//! Pure: bytes in, bytes out. What is read is checked at every step, since a file may be damaged.

pub(crate) mod body;
pub(crate) mod bytes;
pub(crate) mod encode;
pub(crate) mod fingerprint;
pub(crate) mod gathered;
pub(crate) mod head;
mod interner;
pub(crate) mod pieces;
pub(crate) mod recent;
pub(crate) mod runs;
pub(crate) mod wire;

pub use bytes::Corrupt;
