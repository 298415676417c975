//! Where is this order now, and what does it wait for?

use leptos::prelude::*;

use crate::components::page::Page;

/// Where is this order now, and what does it wait for?
#[component]
pub(crate) fn Journey() -> impl IntoView {
    view! { <Page title="Journey">""</Page> }
}

/// Finds the key a value was seen under, and goes to its journey.
#[component]
pub(crate) fn FindJourney() -> impl IntoView {
    view! { <Page title="Journey">""</Page> }
}
