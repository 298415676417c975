//! What all pages share: the address, live updates, keys, and the person's settings.

pub(crate) mod clock;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod query;
pub(crate) mod settings;
pub(crate) mod zone;
