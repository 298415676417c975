//! The store on a disk that fails: power cuts, torn writes, errors, places that cannot be read. Tests and nothing else.
//!
//! A package of its own: the file system between is SQLite's default one for the whole process, and what these tests
//! need is built in a fraction of the time that the integration binary takes.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod cuts;
mod disk;
mod errors;
mod reads;
mod vfs;
mod work;
