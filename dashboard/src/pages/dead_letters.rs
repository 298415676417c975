//! What died, why, and how many alike?

use leptos::prelude::*;

use crate::components::page::Page;

/// What died, why, and how many alike?
#[component]
pub(crate) fn DeadLetters() -> impl IntoView {
    view! { <Page title="Dead letters">""</Page> }
}
