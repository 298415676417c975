//! A button that opens a small surface under it: lists and forms of the top bar.

use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::icons::Icon;
use crate::state::keys::on_keys;

/// A control of the top bar or a page bar with its pop-over.
///
/// `Esc`, a press outside and `close` end it; the focus goes back to the button.
#[component]
pub(crate) fn Menu(
    /// Open or not; whoever holds it can open it by key.
    open: RwSignal<bool>,
    /// Classes of the button.
    class: &'static str,
    /// Tip of the button.
    tip: &'static str,
    /// `listbox` or `dialog`.
    popup: &'static str,
    /// What the button shows.
    button: ViewFn,
    /// What opens.
    children: ViewFn,
) -> impl IntoView {
    let root = NodeRef::<leptos::html::Div>::new();
    let trigger = NodeRef::<leptos::html::Button>::new();
    let close = move || {
        if open.get_untracked() {
            open.set(false);
            if let Some(trigger) = trigger.get_untracked() {
                let _ = trigger.focus();
            }
        }
    };
    on_keys(move |ev| {
        if ev.key() == "Escape" && open.get_untracked() {
            close();
            return true;
        }
        false
    });
    let outside = window_event_listener(leptos::ev::pointerdown, move |ev| {
        if !open.get_untracked() {
            return;
        }
        let inside = root.get_untracked().is_some_and(|root| {
            ev.target()
                .and_then(|t| t.dyn_into::<web_sys::Node>().ok())
                .is_some_and(|node| root.contains(Some(&node)))
        });
        if !inside {
            open.set(false);
        }
    });
    on_cleanup(move || outside.remove());
    view! {
        <div class="menuroot" node_ref=root>
            <button class=class node_ref=trigger title=tip aria-haspopup=popup
                aria-expanded=move || open.get().to_string()
                on:click=move |_| open.update(|o| *o = !*o)>
                {button.run()}
                {Icon::ChevronDown.draw("")}
            </button>
            <Show when=move || open.get()>
                <div class="menu">{children.run()}</div>
            </Show>
        </div>
    }
}
