//! What the benches of the whole binary share.

pub(crate) mod figures;
pub(crate) mod load;
pub(crate) mod requests;
pub(crate) mod rest;
pub(crate) mod sender;
pub(crate) mod usage;
