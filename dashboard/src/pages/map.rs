//! Where do events flow, and where do they back up?

use leptos::prelude::*;

use crate::components::page::Page;

/// Where do events flow, and where do they back up?
#[component]
pub(crate) fn Map() -> impl IntoView {
    view! { <Page title="Flow map">""</Page> }
}
