//! What belongs to the person and not to the page: name, theme, density, single keys, panel width. Kept in the browser.

use leptos::prelude::*;
use web_sys::Storage;

/// The browser's storage; `None` where it is switched off.
fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

/// Reads a setting.
pub(crate) fn read(key: &str) -> Option<String> {
    storage()?
        .get_item(&format!("highwater.{key}"))
        .ok()
        .flatten()
}

/// Keeps a setting; a browser that refuses loses it at the end of the visit.
pub(crate) fn keep(key: &str, value: &str) {
    if let Some(storage) = storage() {
        let _ = storage.set_item(&format!("highwater.{key}"), value);
    }
}

/// The person's settings.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// `dark`, `light`; empty follows the system.
    pub(crate) theme: RwSignal<String>,
    /// `compact`, or empty.
    pub(crate) density: RwSignal<String>,
    /// The zone clocks are in where the address names none: empty for UTC, `local`.
    pub(crate) zone: RwSignal<String>,
    /// Under which name acts are recorded: claimed, not proven. Empty until it is asked for.
    pub(crate) name: RwSignal<String>,
    /// Single keys act (WCAG 2.1.4 asks that they can be switched off).
    pub(crate) keys: RwSignal<bool>,
}

impl Settings {
    /// Reads the settings, keeps them on the document element, and makes them known below.
    pub(crate) fn provide() -> Self {
        let settings = Self {
            theme: RwSignal::new(read("theme").unwrap_or_default()),
            density: RwSignal::new(read("density").unwrap_or_default()),
            zone: RwSignal::new(read("zone").unwrap_or_default()),
            name: RwSignal::new(read("name").unwrap_or_default()),
            keys: RwSignal::new(read("keys").as_deref() != Some("off")),
        };
        Effect::new(move || mark("data-theme", &settings.theme.get()));
        Effect::new(move || mark("data-density", &settings.density.get()));
        provide_context(settings);
        settings
    }

    /// Finds the settings.
    pub(crate) fn get_context() -> Self {
        expect_context()
    }

    /// Changes dark to light and back; from then on the system's choice is not followed.
    pub(crate) fn switch_theme(self) {
        let theme = self.theme.get_untracked();
        let light = match theme.as_str() {
            "light" => true,
            "dark" => false,
            _ => window()
                .match_media("(prefers-color-scheme: light)")
                .ok()
                .flatten()
                .is_some_and(|query| query.matches()),
        };
        let next = if light { "dark" } else { "light" };
        keep("theme", next);
        self.theme.set(next.to_owned());
    }

    /// Changes the row height.
    pub(crate) fn switch_density(self) {
        let next = if self.density.get_untracked() == "compact" {
            ""
        } else {
            "compact"
        };
        keep("density", next);
        self.density.set(next.to_owned());
    }

    /// Chooses the zone clocks are in.
    pub(crate) fn choose_zone(self, zone: &str) {
        keep("zone", zone);
        self.zone.set(zone.to_owned());
    }

    /// Takes the name under which acts are recorded.
    pub(crate) fn call_me(self, name: &str) {
        keep("name", name);
        self.name.set(name.to_owned());
    }

    /// Switches single keys on or off.
    pub(crate) fn switch_keys(self) {
        let on = !self.keys.get_untracked();
        keep("keys", if on { "on" } else { "off" });
        self.keys.set(on);
    }
}

/// Writes a data attribute on the document element, or removes it.
fn mark(name: &str, value: &str) {
    if let Some(root) = document().document_element() {
        let _ = if value.is_empty() {
            root.remove_attribute(name)
        } else {
            root.set_attribute(name, value)
        };
    }
}
