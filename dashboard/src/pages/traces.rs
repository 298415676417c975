//! Which traces show this?

use leptos::prelude::*;

use crate::components::page::Page;

/// Which traces show this?
#[component]
pub(crate) fn Traces() -> impl IntoView {
    view! { <Page title="Traces">""</Page> }
}
