//! Highwater's dashboard: one page in the browser, client side.
//!
//! Owns: what a person sees and does. Refuses to know: how a figure comes about; every number comes from the API, in
//! the types of `highwater_shared`.
//!
//! # How a page is written
//!
//! A page is a component in `pages/`, shown by a route in [`app`]. It wraps its content in
//! [`components::page::Page`], which puts its name into the top bar; asks with [`api::fetch`], naming the topics of the
//! event stream that make it ask again; and shows the answer in [`components::loading::loaded`], whose closure runs
//! once and gets a signal, so that newer data changes cells and moves nothing.
//!
//! ```ignore
//! #[component]
//! pub(crate) fn Brokers() -> impl IntoView {
//!     let query = Query::get_context();
//!     let brokers = fetch::<Brokers>(&["brokers"], move || Some(query.api("/brokers", &[])));
//!     view! {
//!         <Page title="Brokers">
//!             <div class="content">
//!                 {loaded("brokers", brokers, || skeleton_rows(3), move |brokers| view! {
//!                     <Card title="Clusters">{move || brokers.get().clusters.len()}</Card>
//!                 })}
//!             </div>
//!         </Page>
//!     }
//! }
//! ```
//!
//! - **The address is the state.** [`state::query::Query`]: `get("f")` is tracked; `set` makes a history entry,
//!   `replace` does not (for `sel`); `link(path, ..)` keeps range and environment; `api(path, ..)` adds them.
//! - **Tables** are [`components::table::Table`]: sorting, filter, CSV, keys, virtual rows, no jumping.
//! - **Unknown** is [`components::marks::unknown`] with its reason, never 0.
//! - **Keys**: [`state::keys::on_keys`]; it ends with its owner, and never acts in a text field.
//! - **Style**: classes of `style/app.css`; what a mockup writes as `style="..."` is a class in `style/product.css`
//!   or, when it depends on data, Leptos' `style:name=` (the Content-Security-Policy forbids style attributes).
//! - **Test ids** (`data-testid`) stand on what a browser test presses.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
#![allow(
    unreachable_pub,
    reason = "the component macro of Leptos writes `pub` for `pub(crate)`"
)]

mod api;
mod app;
mod components;
mod format;
mod graph;
mod pages;
mod state;

/// Starts the dashboard in the page's body.
fn main() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
}
