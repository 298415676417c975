//! Which groups are behind, and is it getting worse?

use leptos::prelude::*;

use crate::components::page::Page;

/// Which groups are behind, and is it getting worse?
#[component]
pub(crate) fn Lag() -> impl IntoView {
    view! { <Page title="Lag">""</Page> }
}
