//! The keyboard: single keys, never while a text field has the focus.

use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::settings::Settings;

/// Whether a key press was used; a press that nobody used goes to the browser.
pub(crate) type Used = bool;

/// Returns whether typing goes into a field, so that single keys must not act.
pub(crate) fn in_text_field(ev: &KeyboardEvent) -> bool {
    let Some(target) = ev
        .target()
        .and_then(|t| t.dyn_into::<web_sys::Element>().ok())
    else {
        return false;
    };
    match target.tag_name().to_ascii_uppercase().as_str() {
        "TEXTAREA" | "SELECT" => true,
        "INPUT" => !matches!(
            target.get_attribute("type").as_deref(),
            Some("checkbox" | "radio" | "button")
        ),
        _ => target
            .get_attribute("contenteditable")
            .is_some_and(|v| v != "false"),
    }
}

/// Calls `act` for every key press outside text fields and without Ctrl, Alt or Meta, as long as the owner lives.
///
/// `act` says whether it used the press; then nobody else gets it, the browser neither. A press that an element
/// already took (`prevent_default`) is not offered. Does nothing when the person switched single keys off, except for
/// `Escape`, arrows and Enter, which are no character keys.
pub(crate) fn on_keys(act: impl Fn(&KeyboardEvent) -> Used + 'static) {
    let settings = Settings::get_context();
    let handle = window_event_listener(leptos::ev::keydown, move |ev| {
        if ev.default_prevented()
            || ev.ctrl_key()
            || ev.alt_key()
            || ev.meta_key()
            || ev.is_composing()
        {
            return;
        }
        let key = ev.key();
        if key != "Escape" && in_text_field(&ev) {
            return;
        }
        if key.chars().count() == 1 && !settings.keys.get_untracked() {
            return;
        }
        if modal_open() && key != "Escape" {
            return;
        }
        if act(&ev) {
            ev.prevent_default();
            ev.stop_immediate_propagation();
        }
    });
    on_cleanup(move || handle.remove());
}

/// Whether a dialog is open, which owns the keyboard.
fn modal_open() -> bool {
    document()
        .query_selector("dialog[open]")
        .is_ok_and(|found| found.is_some())
}
