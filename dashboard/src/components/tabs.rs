//! Tabs: one of a few views of a page.

use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

/// A tab.
#[derive(Clone, Copy)]
pub(crate) struct Tab {
    /// How the address names it.
    pub(crate) id: &'static str,
    /// What it says.
    pub(crate) title: &'static str,
    /// What it counts, if anything: "38 in 7 d".
    pub(crate) count: Signal<Option<String>>,
}

/// A list of tabs; arrows move between them, and only the chosen one is a tab stop.
///
/// What a tab shows is an element with `role="tabpanel"` and the id `tab-panel`.
#[component]
pub(crate) fn Tabs(
    /// What they divide, for screen readers.
    label: &'static str,
    /// The tabs.
    tabs: Vec<Tab>,
    /// Id of the chosen one.
    chosen: Memo<&'static str>,
    /// Called with the id of another.
    on_choose: Callback<&'static str>,
) -> impl IntoView {
    let ids: Vec<_> = tabs.iter().map(|tab| tab.id).collect();
    let step = move |ev: leptos::ev::KeyboardEvent| {
        let at = ids.iter().position(|id| *id == chosen.get_untracked());
        let at = at.unwrap_or_default();
        let next = match ev.key().as_str() {
            "ArrowRight" => (at + 1) % ids.len(),
            "ArrowLeft" => (at + ids.len() - 1) % ids.len(),
            _ => return,
        };
        ev.prevent_default();
        on_choose.run(ids[next]);
        let list = ev
            .current_target()
            .and_then(|t| t.dyn_into::<web_sys::Element>().ok());
        let button = list.and_then(|list| list.children().item(next as u32));
        if let Some(button) = button.and_then(|b| b.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = button.focus();
        }
    };
    view! {
        <div class="tabs" role="tablist" aria-label=label on:keydown=step>
            {tabs.into_iter().map(|tab| {
                let is_chosen = move || chosen.get() == tab.id;
                view! {
                    <button role="tab" aria-controls="tab-panel" data-testid=format!("tab-{}", tab.id)
                        aria-selected=move || is_chosen().to_string()
                        tabindex=move || if is_chosen() { "0" } else { "-1" }
                        on:click=move |_| on_choose.run(tab.id)>
                        {tab.title}
                        {move || tab.count.get().map(|n| view! { " "<span class="n">{n}</span> })}
                    </button>
                }
            }).collect_view()}
        </div>
    }
}
