//! Surfaces: card, strip of figures, note, banner, blank, side panel.

use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::icons::Icon;
use crate::state::keys::{in_text_field, on_keys};
use crate::state::settings;

/// A card with a title, a quiet subtitle, actions at the right, and a body.
#[component]
pub(crate) fn Card(
    /// Title.
    #[prop(into)]
    title: Signal<String>,
    /// What is said quietly beside it.
    #[prop(into, optional)]
    sub: Signal<String>,
    /// Stands at the right of the header.
    #[prop(into, optional)]
    actions: ViewFnOnce,
    /// More classes.
    #[prop(optional)]
    class: &'static str,
    /// The body; wrap it in `<div class="body">` for padding.
    children: Children,
) -> impl IntoView {
    view! {
        <section class=format!("card {class}") aria-label=title>
            <header>
                <h2>{title}</h2>
                <span class="sub">{sub}</span>
                <span class="row right hide-m">{actions.run()}</span>
            </header>
            {children()}
        </section>
    }
}

/// A figure of a strip: label, value, and where it comes from.
#[component]
pub(crate) fn Fig(
    /// What it is.
    #[prop(into)]
    label: Signal<String>,
    /// The value.
    value: Children,
    /// Window and source.
    #[prop(into, optional)]
    source: Signal<String>,
) -> impl IntoView {
    view! {
        <div class="fig">
            <div class="l">{label}</div>
            <div class="v">{value()}</div>
            <div class="s" title=source>{source}</div>
        </div>
    }
}

/// How loud a note or banner is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// Something failed.
    Critical,
    /// Something is not right.
    Warning,
}

impl Tone {
    /// Returns its class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Critical => "crit",
            Self::Warning => "warn",
        }
    }

    /// Returns its icon.
    pub(crate) const fn icon(self) -> Icon {
        match self {
            Self::Critical => Icon::Critical,
            Self::Warning => Icon::Warning,
        }
    }
}

/// A note in its place.
#[component]
pub(crate) fn Note(
    /// How loud.
    tone: Tone,
    /// What it says.
    children: Children,
) -> impl IntoView {
    view! { <div class=format!("note {}", tone.class())>{tone.icon().draw("")}<div>{children()}</div></div> }
}

/// A banner over the whole page.
#[component]
pub(crate) fn Banner(
    /// How loud.
    tone: Tone,
    /// What it says, and its actions.
    children: Children,
) -> impl IntoView {
    let colour = match tone {
        Tone::Critical => "c-crit",
        Tone::Warning => "c-warn",
    };
    view! {
        <div class=format!("banner {}", tone.class()) role="status">
            {tone.icon().draw(colour)}
            {children()}
        </div>
    }
}

/// Says that there is nothing, and offers the next step.
#[component]
pub(crate) fn Blank(
    /// Icon.
    icon: Icon,
    /// What is not there, in a few words.
    #[prop(into)]
    title: String,
    /// A sentence with what to do, and buttons.
    children: Children,
) -> impl IntoView {
    view! {
        <div class="blank">
            {icon.draw("")}
            <b class="fs14">{title}</b>
            {children()}
        </div>
    }
}

/// Narrowest side panel.
const PANEL_MIN: f64 = 320.0;
/// Widest side panel.
const PANEL_MAX: f64 = 640.0;

/// The side panel: details of the selection. `Esc` closes it; its width is dragged and remembered.
///
/// Opening moves the focus to the title; closing gives it back to what had it.
#[component]
pub(crate) fn Panel(
    /// What it is about, for screen readers.
    #[prop(into)]
    label: Signal<String>,
    /// Kind of the thing, in small letters above the title.
    #[prop(into)]
    kind: Signal<String>,
    /// Title.
    title: ViewFn,
    /// Buttons under the title.
    #[prop(into, optional)]
    actions: ViewFn,
    /// Stands under the sections and stays in sight: the buttons of a form.
    #[prop(into, optional)]
    foot: ViewFn,
    /// Called to close it.
    on_close: Callback<()>,
    /// Sections.
    children: Children,
) -> impl IntoView {
    let heading = NodeRef::<leptos::html::H2>::new();
    // What had the focus gets it back; on the map that is no HTML but an SVG element, which takes the focus as well.
    let before = StoredValue::new_local(document().active_element());
    Effect::new(move |_| {
        if let Some(heading) = heading.get() {
            let _ = heading.focus();
        }
    });
    let leave = move || {
        before.with_value(|e| {
            if let Some(e) = e {
                let _ = e.unchecked_ref::<web_sys::HtmlElement>().focus();
            }
        });
        on_close.run(());
    };
    on_keys(move |ev| {
        if ev.key() != "Escape" {
            return false;
        }
        // In a field the first press only leaves it: a form half written must not be gone by one key.
        if in_text_field(ev) {
            if let Some(field) = document().active_element() {
                let _ = field.unchecked_ref::<web_sys::HtmlElement>().blur();
            }
        } else {
            leave();
        }
        true
    });
    let width = RwSignal::new(
        settings::read("panel")
            .and_then(|w| w.parse::<f64>().ok())
            .filter(|w| (PANEL_MIN..=PANEL_MAX).contains(w)),
    );
    let grip = NodeRef::<leptos::html::Div>::new();
    let dragging = RwSignal::new(false);
    let resize = move |to: f64| {
        let to = to.clamp(PANEL_MIN, PANEL_MAX).round();
        width.set(Some(to));
        settings::keep("panel", &to.to_string());
    };
    view! {
        <aside class="panel" aria-label=label data-testid="panel"
            style:width=move || width.get().map(|w| format!("{w}px")).unwrap_or_default()>
            <div node_ref=grip class="grip" role="separator" aria-orientation="vertical" tabindex="0"
                aria-label="Width of the panel" aria-valuemin=PANEL_MIN aria-valuemax=PANEL_MAX
                aria-valuenow=move || width.get().unwrap_or(372.0)
                on:pointerdown=move |ev| {
                    ev.prevent_default();
                    if let Some(grip) = grip.get_untracked() {
                        let _ = grip.set_pointer_capture(ev.pointer_id());
                    }
                    dragging.set(true);
                }
                on:pointermove=move |ev| {
                    if dragging.get_untracked() {
                        let right = window().inner_width().ok().and_then(|w| w.as_f64()).unwrap_or(0.0);
                        resize(right - f64::from(ev.client_x()));
                    }
                }
                on:pointerup=move |_| dragging.set(false)
                on:keydown=move |ev| {
                    let step = match ev.key().as_str() {
                        "ArrowLeft" => 16.0,
                        "ArrowRight" => -16.0,
                        _ => return,
                    };
                    ev.prevent_default();
                    ev.stop_propagation();
                    resize(width.get_untracked().unwrap_or(372.0) + step);
                }></div>
            <header>
                <div class="row top">
                    <div class="grow">
                        <div class="fs11 t3 kind">{kind}</div>
                        <h2 node_ref=heading tabindex="-1" class="row ptitle">{title.run()}</h2>
                    </div>
                    <button class="btn ghost s icon close" aria-label="Close the panel (Esc)" title="Close (Esc)"
                        on:click=move |_| leave()>{Icon::Close.draw("")}</button>
                </div>
                <div class="row wrap pacts">{actions.run()}</div>
            </header>
            <div class="scroll">{children()}</div>
            <div class="pfoot">{foot.run()}</div>
        </aside>
    }
}
