//! What needs me now?

use leptos::prelude::*;

use crate::components::page::Page;

/// What needs me now?
#[component]
pub(crate) fn Overview() -> impl IntoView {
    view! { <Page title="Overview">""</Page> }
}
