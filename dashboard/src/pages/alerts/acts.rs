//! What a person does here, under the name that was typed once.

use gloo_net::http::Method;
use highwater_shared::alerts::ActRequest;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Desk;
use crate::api::{ApiError, Done, send};
use crate::components::icons::Icon;
use crate::state::query::segment;
use crate::state::settings::Settings;

/// Characters of a name.
pub(super) const NAME_AT_MOST: usize = 80;

/// What waits for a name.
type Waiting = Box<dyn FnOnce(String)>;

/// Under which name acts are recorded; asked for before the first.
#[derive(Clone, Copy)]
pub(super) struct Who {
    settings: Settings,
    asking: RwSignal<bool>,
    waiting: StoredValue<Option<Waiting>, LocalStorage>,
}

impl Who {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::get_context(),
            asking: RwSignal::new(false),
            waiting: StoredValue::new_local(None),
        }
    }

    /// Returns the name; empty before it was asked for; tracked.
    pub(super) fn name(self) -> String {
        self.settings.name.get()
    }

    /// Returns the name once: for a field that begins with it.
    pub(super) fn name_now(self) -> String {
        self.settings.name.get_untracked()
    }

    /// Takes a name that was typed elsewhere.
    pub(super) fn call_me(self, name: &str) {
        let name: String = name.trim().chars().take(NAME_AT_MOST).collect();
        if !name.is_empty() && name != self.settings.name.get_untracked() {
            self.settings.call_me(&name);
        }
    }

    /// Calls `act` with the name, after asking for it where there is none yet.
    pub(super) fn named(self, act: impl FnOnce(String) + 'static) {
        let name = self.settings.name.get_untracked();
        if name.is_empty() {
            self.waiting.set_value(Some(Box::new(act)));
            self.asking.set(true);
        } else {
            act(name);
        }
    }

    /// Asks for another name.
    pub(super) fn ask(self) {
        self.waiting.set_value(None);
        self.asking.set(true);
    }
}

/// The dialog that asks for a name.
#[component]
pub(super) fn AskName() -> impl IntoView {
    let who = Desk::get_context().who;
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let input = NodeRef::<leptos::html::Input>::new();
    Effect::new(move || {
        let Some(dialog) = dialog.get() else { return };
        if who.asking.get() && !dialog.open() {
            let _ = dialog.show_modal();
            if let Some(input) = input.get_untracked() {
                input.set_value(&who.settings.name.get_untracked());
                input.select();
            }
        } else if !who.asking.get() && dialog.open() {
            dialog.close();
        }
    });
    let take = move |ev: leptos::ev::SubmitEvent| {
        ev.prevent_default();
        let typed = input.get_untracked().map(|i| i.value()).unwrap_or_default();
        if typed.trim().is_empty() {
            return;
        }
        who.call_me(&typed);
        let waiting = who.waiting.try_update_value(Option::take).flatten();
        who.asking.set(false);
        if let Some(act) = waiting {
            act(who.settings.name.get_untracked());
        }
    };
    view! {
        <dialog class="keys ask" node_ref=dialog aria-labelledby="ask-title"
            on:close=move |_| { who.asking.set(false); who.waiting.set_value(None); }>
            <form on:submit=take>
                <header class="row">
                    <h2 id="ask-title">"Who are you?"</h2>
                    <button type="button" class="btn ghost s icon right" aria-label="Close (Esc)" on:click=move |_| who.asking.set(false)>{Icon::Close.draw("")}</button>
                </header>
                <div class="askbody">
                    <label class="field">
                        <span class="lbl">"Name"</span>
                        <input class="input" node_ref=input data-testid="ask-name" autocomplete="nickname" maxlength=NAME_AT_MOST required=true/>
                        <span class="hint">"Stands beside what you acknowledge and silence. Kept in this browser, and stored as claimed: nobody checks it."</span>
                    </label>
                    <div class="row askacts"><button class="btn primary" data-testid="ask-take">"Go on as this"</button></div>
                </div>
            </form>
        </dialog>
    }
}

/// Sends an act, then calls `then` with its answer, or says `failed` and why.
pub(super) fn act<T: DeserializeOwned + 'static>(
    desk: Desk,
    url: String,
    body: impl Serialize + 'static,
    failed: &'static str,
    then: impl FnOnce(Result<T, ApiError>) + 'static,
) {
    spawn_local(async move {
        match send::<T>(Method::POST, &url, &body).await {
            Ok(Some(answer)) => {
                desk.refetch();
                then(Ok(answer));
            }
            // On the way to the form to sign in.
            Ok(None) => {}
            Err(error) => {
                if !failed.is_empty() {
                    desk.toasts.failed(failed, &error);
                }
                then(Err(error));
            }
        }
    });
}

/// Acknowledges an alert or takes that back; `busy` is true meanwhile.
pub(super) fn acknowledge(desk: Desk, alert: String, busy: RwSignal<bool>) {
    desk.who.named(move |by| {
        busy.try_set(true);
        let url = format!("/api/v1/alerts/{}/acknowledge", segment(&alert));
        let body = ActRequest { by: by.clone() };
        act::<Done>(desk, url, body, "It is not acknowledged.", move |answer| {
            busy.try_set(false);
            if answer.is_ok() {
                let undo = Callback::new(move |()| take_back(desk, alert.clone(), busy));
                desk.toasts
                    .done_or(format!("Acknowledged as {by}"), "Undo", undo);
            }
        });
    });
}

/// Takes an acknowledgement back.
pub(super) fn take_back(desk: Desk, alert: String, busy: RwSignal<bool>) {
    desk.who.named(move |by| {
        busy.try_set(true);
        let url = format!("/api/v1/alerts/{}/unacknowledge", segment(&alert));
        act::<Done>(
            desk,
            url,
            ActRequest { by },
            "It is still acknowledged.",
            move |answer| {
                busy.try_set(false);
                if answer.is_ok() {
                    desk.toasts.done("No longer acknowledged");
                }
            },
        );
    });
}
