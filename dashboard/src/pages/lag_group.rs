//! Why is this group behind, since when, and will it recover?

use leptos::prelude::*;

use crate::components::page::Page;

/// Why is this group behind, since when, and will it recover?
#[component]
pub(crate) fn LagGroup() -> impl IntoView {
    view! { <Page title="Lag of a group">""</Page> }
}
