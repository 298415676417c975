//! The pages, one a module.

pub(crate) mod alerts;
pub(crate) mod dead_letters;
pub(crate) mod first_run;
pub(crate) mod health;
pub(crate) mod journey;
pub(crate) mod lag;
pub(crate) mod lag_group;
pub(crate) mod map;
pub(crate) mod overview;
pub(crate) mod trace;
pub(crate) mod traces;
