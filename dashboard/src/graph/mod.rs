//! The flow map's geometry: pure, so that it is tested without a browser.
//!
//! Position comes from the collector and stays; what is worked out here is how it is drawn: shapes, curves, arrows,
//! labels that cover nothing, the part of the map in the window, and who is up- or downstream of whom.

pub(crate) mod edges;
pub(crate) mod labels;
pub(crate) mod shapes;
pub(crate) mod view;
pub(crate) mod walk;
