//! Can I trust what I see?

use leptos::prelude::*;

use crate::components::page::Page;

/// Can I trust what I see?
#[component]
pub(crate) fn Health() -> impl IntoView {
    view! { <Page title="Health">""</Page> }
}
