//! What pages are made of. Each takes its look from `style/app.css` and reads no page's data by itself.

pub(crate) mod announce;
pub(crate) mod chart;
pub(crate) mod copy;
pub(crate) mod frame;
pub(crate) mod gauge;
pub(crate) mod icons;
pub(crate) mod json;
pub(crate) mod keyed;
pub(crate) mod loading;
pub(crate) mod marks;
pub(crate) mod measure;
pub(crate) mod menu;
pub(crate) mod more;
pub(crate) mod page;
pub(crate) mod range;
pub(crate) mod search;
pub(crate) mod shortcuts;
pub(crate) mod snippet;
pub(crate) mod spark;
pub(crate) mod stack;
pub(crate) mod surface;
pub(crate) mod table;
pub(crate) mod tabs;
pub(crate) mod toast;
