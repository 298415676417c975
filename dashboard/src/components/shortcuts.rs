//! The list of keys, and the keys that work everywhere.

use std::cell::Cell;
use std::rc::Rc;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::copy::copy_text;
use super::icons::Icon;
use crate::state::clock::browser_ms;
use crate::state::keys::on_keys;
use crate::state::live::Live;
use crate::state::query::Query;
use crate::state::settings::Settings;

/// Pages reached by `g` and a letter.
const GO: [(&str, &str); 7] = [
    ("o", "/"),
    ("m", "/map"),
    ("t", "/traces"),
    ("l", "/lag"),
    ("d", "/dead-letters"),
    ("a", "/alerts"),
    ("s", "/settings/health"),
];
/// The letter follows `g` within this time.
const CHORD_MS: f64 = 1_500.0;

/// What keys do, and which they are.
type Line = (&'static str, &'static [&'static str]);

/// The keys listed: heading, then what they do and which they are.
const LIST: [(&str, &[Line]); 4] = [
    (
        "Everywhere",
        &[
            ("Search", &["/"]),
            ("Overview", &["g", "o"]),
            ("Flow map", &["g", "m"]),
            ("Traces", &["g", "t"]),
            ("Lag", &["g", "l"]),
            ("Dead letters", &["g", "d"]),
            ("Alerts", &["g", "a"]),
            ("Health", &["g", "s"]),
            ("Time range", &["t"]),
            ("Environment and cluster", &["c"]),
            ("Pause or go on", &["p"]),
            ("Copy a link to this view", &["y"]),
            ("Dark or light", &["\\"]),
            ("This list", &["?"]),
        ],
    ),
    (
        "Lists and tables",
        &[
            ("Next, previous row or alert", &["j", "k"]),
            ("Open", &["⏎"]),
            ("Sort by this column", &["s"]),
            ("Filter", &["f"]),
            ("Download as CSV", &["x"]),
            ("Close the panel", &["Esc"]),
        ],
    ),
    (
        "Flow map",
        &[
            ("Against, with the flow", &["←", "→"]),
            ("Node above, below", &["↑", "↓"]),
            ("Open the panel", &["⏎"]),
            ("Focus on this node", &["o"]),
            ("Hops around the focus", &["1", "…", "5"]),
            ("Next, previous alerting", &["e", "E"]),
            ("Zoom, fit", &["+", "−", "0"]),
            ("Map or table", &["T"]),
        ],
    ),
    (
        "Trace",
        &[
            ("Span before, after", &["↑", "↓"]),
            ("Fold, unfold", &["←", "→"]),
            ("Next, previous error", &["n", "N"]),
            ("Fold waits", &["w"]),
            ("Follow the link", &["l"]),
            ("Zoom to this span", &["z"]),
            ("Whole trace", &["0"]),
        ],
    ),
];

/// The dialog with the list, and the keys that work on every page.
#[component]
pub(crate) fn ShortcutList(
    /// Open or not.
    open: RwSignal<bool>,
) -> impl IntoView {
    let query = Query::get_context();
    let live = Live::get_context();
    let settings = Settings::get_context();
    let said = RwSignal::new(String::new());
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let chord = Rc::new(Cell::new(f64::NEG_INFINITY));
    on_keys(move |ev| {
        let key = ev.key();
        let waiting = browser_ms() - chord.get() < CHORD_MS;
        chord.set(f64::NEG_INFINITY);
        if waiting && let Some((_, path)) = GO.iter().find(|(k, _)| *k == key) {
            let to = untrack(|| query.link(path, &[]));
            query.go(&to, false);
            return true;
        }
        match key.as_str() {
            "g" => chord.set(browser_ms()),
            "?" => open.set(true),
            "p" => live.toggle(),
            "\\" => settings.switch_theme(),
            "y" => {
                let href = window().location().href().unwrap_or_default();
                spawn_local(async move {
                    let done = copy_text(&href).await;
                    said.try_set(if done {
                        "Link copied".to_owned()
                    } else {
                        "The browser does not let us copy".to_owned()
                    });
                });
            }
            _ => return false,
        }
        true
    });
    Effect::new(move || {
        let Some(dialog) = dialog.get() else { return };
        if open.get() && !dialog.open() {
            let _ = dialog.show_modal();
        } else if !open.get() && dialog.open() {
            dialog.close();
        }
    });
    Effect::new(move || {
        if !said.with(String::is_empty) {
            set_timeout(
                move || {
                    said.try_set(String::new());
                },
                std::time::Duration::from_secs(6),
            );
        }
    });
    view! {
        <dialog class="keys" node_ref=dialog aria-labelledby="keys-title" on:close=move |_| open.set(false)>
            <header class="row">
                <h2 id="keys-title">"Keyboard"</h2>
                <button class="switch right" role="switch" aria-checked=move || settings.keys.get().to_string()
                    on:click=move |_| settings.switch_keys()><i></i>"Single keys"</button>
                <button class="switch" role="switch" aria-checked=move || (settings.density.get() == "compact").to_string()
                    on:click=move |_| settings.switch_density()><i></i>"Compact rows"</button>
                <button class="btn ghost s icon" aria-label="Close (Esc)" autofocus on:click=move |_| open.set(false)>{Icon::Close.draw("")}</button>
            </header>
            <div class="kg">
                {LIST.iter().map(|(heading, keys)| view! {
                    <section>
                        <h3>{*heading}</h3>
                        <dl>
                            {keys.iter().map(|(what, keys)| view! {
                                <dt>{*what}</dt>
                                <dd>{keys.iter().map(|k| view! { <span class="kbd">{*k}</span> }).collect_view()}</dd>
                            }).collect_view()}
                        </dl>
                    </section>
                }).collect_view()}
            </div>
        </dialog>
        <div class="toasts" role="status" aria-live="polite">
            {move || (!said.with(String::is_empty)).then(|| view! { <div class="toast">{Icon::Done.draw("c-ok")}<span>{said}</span></div> })}
        </div>
    }
}
