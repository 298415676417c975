//! Toasts: what came of an act. They go after a while; what failed stays until it is closed.

use std::time::Duration;

use leptos::prelude::*;

use super::icons::Icon;
use crate::api::ApiError;

/// How long a result is shown; longer while the pointer or the focus is on it.
const SHOWN_FOR: Duration = Duration::from_secs(6);
/// Toasts at once; the oldest goes.
const AT_MOST: usize = 4;

/// What a toast offers: the word on its button, and what it does.
type Offer = (&'static str, Callback<()>);

/// A toast.
#[derive(Clone)]
struct Toast {
    id: u64,
    text: String,
    failed: bool,
    offer: Option<Offer>,
}

/// Where acts say what came of them.
#[derive(Clone, Copy)]
pub(crate) struct Toasts {
    shown: RwSignal<Vec<Toast>>,
    next: StoredValue<u64>,
    /// The toast that the pointer or the focus is on.
    kept: RwSignal<Option<u64>>,
}

impl Toasts {
    /// Makes them known below. Called once.
    pub(crate) fn provide() -> Self {
        let toasts = Self {
            shown: RwSignal::new(Vec::new()),
            next: StoredValue::new(0),
            kept: RwSignal::new(None),
        };
        provide_context(toasts);
        toasts
    }

    /// Finds them.
    pub(crate) fn get_context() -> Self {
        expect_context()
    }

    /// Says that something was done.
    pub(crate) fn done(self, text: impl Into<String>) {
        self.push(text.into(), false, None);
    }

    /// Says that something was done, and offers to take it back.
    pub(crate) fn done_or(self, text: impl Into<String>, offer: &'static str, act: Callback<()>) {
        self.push(text.into(), false, Some((offer, act)));
    }

    /// Says that something was not done, and why.
    pub(crate) fn failed(self, what: &str, error: &ApiError) {
        let why = match error {
            ApiError::Unreachable => "The collector does not answer.".to_owned(),
            other => other.sentence(),
        };
        self.push(format!("{what} {why}"), true, None);
    }

    fn push(self, text: String, failed: bool, offer: Option<Offer>) {
        let id = self.next.get_value();
        self.next.set_value(id + 1);
        self.shown.update(|shown| {
            if shown.len() >= AT_MOST {
                shown.remove(0);
            }
            shown.push(Toast {
                id,
                text,
                failed,
                offer,
            });
        });
        if !failed {
            self.close_later(id);
        }
    }

    fn close_later(self, id: u64) {
        set_timeout(
            move || match self.kept.try_get_untracked() {
                Some(kept) if kept == Some(id) => self.close_later(id),
                Some(_) => self.close(id),
                None => {}
            },
            SHOWN_FOR,
        );
    }

    fn close(self, id: u64) {
        self.shown.try_update(|shown| shown.retain(|t| t.id != id));
    }
}

/// The toasts, over every page.
#[component]
pub(crate) fn ToastList() -> impl IntoView {
    let toasts = Toasts::get_context();
    view! {
        <div class="toasts acts" role="status" aria-live="polite" data-testid="toasts">
            <For each=move || toasts.shown.get() key=|toast| toast.id children=move |toast| {
                let Toast { id, text, failed, offer } = toast;
                let icon = if failed { Icon::Critical.draw("c-crit") } else { Icon::Done.draw("c-ok") };
                view! {
                    <div class="toast"
                        on:pointerenter=move |_| toasts.kept.set(Some(id)) on:pointerleave=move |_| toasts.kept.set(None)
                        on:focusin=move |_| toasts.kept.set(Some(id)) on:focusout=move |_| toasts.kept.set(None)>
                        {icon}
                        <span>{text}</span>
                        {offer.map(|(word, act)| view! {
                            <button class="btn s" on:click=move |_| { act.run(()); toasts.close(id); }>{word}</button>
                        })}
                        <button class="btn ghost s icon" aria-label="Close this message" on:click=move |_| toasts.close(id)>{Icon::Close.draw("")}</button>
                    </div>
                }
            }/>
        </div>
    }
}
