//! Tests of the normaliser.
