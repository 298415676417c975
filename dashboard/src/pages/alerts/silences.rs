//! What is not told for a while, by whom and why.

use std::sync::Arc;

use highwater_shared::alerts::{ActRequest, Maintenance, Silence, Silences};
use leptos::prelude::*;

use super::{Desk, acts, words};
use crate::api::Done;
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::{loaded, skeleton_rows};
use crate::state::clock::Second;
use crate::state::query::segment;

/// The card of silences and maintenance windows.
#[component]
pub(super) fn SilenceList() -> impl IntoView {
    let desk = Desk::get_context();
    let active = move || {
        desk.silences
            .data
            .with(|s| Some(s.as_ref()?.silences.iter().filter(|s| s.active).count()))
    };
    view! {
        <section class="card" aria-label="Silences" data-testid="silences">
            <header><h2>"Silences"</h2>{move || active().map(|n| view! { <span class="badge">{n}</span> })}</header>
            {loaded("silences", desk.silences, || skeleton_rows(2), move |silences| view! { <Body silences=silences/> })}
        </section>
    }
}

#[component]
fn Body(
    /// All silences.
    silences: Signal<Arc<Silences>>,
) -> impl IntoView {
    let rows = Signal::derive(move || silences.with(|s| s.silences.clone()));
    let windows = Signal::derive(move || silences.with(|s| s.maintenance.clone()));
    let none =
        Memo::new(move |_| silences.with(|s| s.silences.is_empty() && s.maintenance.is_empty()));
    view! {
        {keyed(rows, |s: &Silence| s.id.clone(), row)}
        {keyed(windows, |m: &Maintenance| m.name.clone(), window_row)}
        {move || none.get().then(|| view! { <p class="fs12 t3 nosilence">"Nothing is silenced."</p> })}
    }
}

/// A silence.
fn row(silence: Memo<Silence>) -> impl IntoView {
    let desk = Desk::get_context();
    let second = Second::get_context();
    let busy = RwSignal::new(false);
    let matchers = move || {
        let parts = silence.with(|s| words::matchers(&s.matchers));
        if parts.is_empty() {
            "everything".to_owned()
        } else {
            parts.join(", ")
        }
    };
    let covers = Memo::new(move |_| silence.with(|s| words::covers(s, second.now())));
    let why = move || {
        silence.with(|s| {
            if s.comment.is_empty() {
                s.author.clone()
            } else {
                format!("{}: {}", s.author, s.comment)
            }
        })
    };
    let can_end = Memo::new(move |_| {
        let now = second.now();
        silence.with(|s| s.ended.is_none() && s.ends > now)
    });
    let end = move |_| {
        let id = silence.with_untracked(|s| s.id.clone());
        desk.who.named(move |by| {
            busy.try_set(true);
            let url = format!("/api/v1/silences/{}/end", segment(&id));
            acts::act::<Done>(
                desk,
                url,
                ActRequest { by },
                "The silence goes on.",
                move |answer| {
                    busy.try_set(false);
                    if answer.is_ok() {
                        desk.toasts.done("The silence has ended");
                    }
                },
            );
        });
    };
    view! {
        <div class="li silence" class:past=move || !can_end.get() data-testid="silence-row">
            <span class="row silwhat">{Icon::Silence.draw("i-s t3")}<span class="anywhere"><b class="med">{matchers}</b>" "<span class="t2">{covers}</span></span></span>
            <span class="t3 anywhere silwhy">{why}</span>
            {move || if can_end.get() {
                view! { <button class="btn s" disabled=busy data-testid="end-silence" on:click=end>"End now"</button> }.into_any()
            } else {
                view! { <span></span> }.into_any()
            }}
        </div>
    }
}

/// A maintenance window.
fn window_row(window: Memo<Maintenance>) -> impl IntoView {
    view! {
        <div class="li silence">
            <span class="row silwhat">{Icon::Clock.draw("i-s t3")}<span class="anywhere"><b class="med">{move || window.with(|w| w.name.clone())}</b>" "<span class="t2">{move || window.with(|w| w.when.clone())}</span></span></span>
            <span class="t3 silwhy">{move || if window.with(|w| w.active) { "maintenance, counts now" } else { "maintenance" }}</span>
            <span></span>
        </div>
    }
}
