//! What do I do first?

use leptos::prelude::*;

use crate::components::page::Page;

/// What do I do first?
#[component]
pub(crate) fn FirstRun() -> impl IntoView {
    view! { <Page title="First run">""</Page> }
}
