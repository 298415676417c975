//! Loading, failing, and the data when it is there.

use std::sync::Arc;

use leptos::prelude::*;

use super::icons::Icon;
use crate::api::{ApiError, Fetched};

/// Grey bars in the shape of what is coming; seen only when it takes longer than a moment.
pub(crate) fn skeleton_rows(rows: usize) -> impl IntoView + use<> {
    view! {
        <div class="skels" aria-busy="true" aria-label="Loading">
            {(0..rows).map(|i| view! {
                <div class="skelrow">
                    <span class="skel sk-dot"></span>
                    <span class=format!("skel sk-{}", i % 4)></span>
                    <span class="skel sk-num"></span>
                    <span class="skel sk-spark"></span>
                </div>
            }).collect_view()}
        </div>
    }
}

/// Says what failed, what still works, and tries again.
pub(crate) fn error_box(what: &str, error: &ApiError, again: impl Fn() + 'static) -> AnyView {
    let title = if error.is_missing() {
        format!("No {what} here")
    } else {
        format!("Cannot read {what}")
    };
    let sentence = error.sentence();
    view! {
        <div class="blank left" role="alert">
            <span class="row c-crit">{Icon::Critical.draw("c-crit")}<b class="fs14">{title}</b></span>
            <p class="fs12 t2">{sentence}</p>
            <div class="row"><button class="btn" on:click=move |_| again()>"Try again"</button></div>
        </div>
    }
    .into_any()
}

/// Shows `skeleton` until the first answer, what failed if there is none, and `children` with the newest answer.
///
/// `children` runs once; it gets a signal, so that a newer answer changes cells and does not build the page anew. A
/// failure while there is an answer is a line above it: the answer stays.
pub(crate) fn loaded<T, V>(
    what: &'static str,
    fetched: Fetched<T>,
    skeleton: impl Into<ViewFn>,
    children: impl Fn(Signal<Arc<T>>) -> V + Send + 'static,
) -> impl IntoView
where
    T: Send + Sync + PartialEq + 'static,
    V: IntoView + 'static,
{
    let skeleton = skeleton.into();
    let there = Memo::new(move |_| fetched.data.with(Option::is_some));
    let failed = Memo::new(move |_| !there.get() && fetched.error.with(Option::is_some));
    move || {
        if there.get() {
            let Some(first) = fetched.data.get_untracked() else {
                return ().into_any();
            };
            // A copy of its own: the view must not see the data go before it goes itself.
            let current = RwSignal::new(first);
            Effect::new(move || {
                if let Some(data) = fetched.data.get()
                    && !Arc::ptr_eq(&data, &current.get_untracked())
                {
                    current.set(data);
                }
            });
            view! {
                {move || fetched.error.get().map(|error| view! {
                    <div class="banner warn stale" role="status">
                        {Icon::Warning.draw("c-warn")}
                        <span><b>{format!("Cannot read {what} anew.")}</b>" "<span class="t2">{error.sentence()}</span></span>
                        <button class="btn s right" on:click=move |_| fetched.refetch()>"Try now"</button>
                    </div>
                })}
                {children(current.into())}
            }
            .into_any()
        } else if failed.get() {
            (move || {
                fetched
                    .error
                    .get()
                    .map(|error| error_box(what, &error, move || fetched.refetch()))
            })
            .into_any()
        } else {
            skeleton.run().into_any()
        }
    }
}
