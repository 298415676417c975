//! The block reader, and everything that a reader of the store calls on what it read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| highwater_store::fuzzing::block(data));
