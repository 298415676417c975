//! The page bar of a trace and the line of facts under it.

use std::sync::Arc;

use highwater_shared::traces::Trace as Wire;
use leptos::prelude::*;

use super::View;
use crate::components::copy::{CopyButton, save};
use crate::components::icons::Icon;
use crate::components::surface::{Note, Tone};
use crate::format::{clock_ms, count_full, duration_fine, percent, plural, short_id};
use crate::state::clock::now;
use crate::state::query::segment;

/// Find, errors, switches, copy and download.
#[component]
pub(super) fn Tools(
    /// The page.
    view: View,
    /// Where the text to find is typed.
    find_box: NodeRef<leptos::html::Input>,
) -> impl IntoView {
    let query = view.query;
    let find = query.memo("find");
    let found = move || view.found.with(|f| f.len());
    let errors = Memo::new(move |_| view.lines.with(|l| l.errors.len()));
    let at_error = move || {
        let at = view.selected.get()?;
        view.lines
            .with(|l| l.errors.binary_search(&at).ok())
            .map(|i| i + 1)
    };
    let link = Signal::derive(|| window().location().href().unwrap_or_default());
    view! {
        <div class="pagebar" role="toolbar" aria-label="Trace tools">
            <label class="query find">
                {Icon::Search.draw("i-s")}
                <input node_ref=find_box aria-label="Find in this trace" placeholder="Find in this trace"
                    prop:value=move || find.get().unwrap_or_default()
                    on:input=move |ev| query.replace("find", Some(&event_target_value(&ev)))
                    on:keydown=move |ev| {
                        match ev.key().as_str() {
                            "Enter" => view.next_of(&view.found.get_untracked(), ev.shift_key()),
                            "Escape" => {
                                if let Some(input) = find_box.get_untracked() {
                                    let _ = input.blur();
                                }
                            }
                            _ => return,
                        }
                        ev.prevent_default();
                        ev.stop_propagation();
                    }/>
                {move || if find.get().is_some() {
                    view! { <span class="fs11 t3 num nowrap" role="status">{move || format!("{} found", count_full(found() as u64))}</span> }.into_any()
                } else {
                    view! { <span class="kbd" aria-hidden="true">"f"</span> }.into_any()
                }}
            </label>
            {move || (errors.get() > 0).then(|| view! {
                <span class="ctl errnav">
                    {Icon::Critical.draw("c-crit")}
                    <span class="num">{move || match at_error() {
                        Some(at) => format!("{at} of {}", plural(errors.get() as u64, "error", "errors")),
                        None => plural(errors.get() as u64, "error", "errors"),
                    }}</span>
                    <button class="btn ghost s icon" aria-label="Previous error (N)" title="Previous error (N)"
                        on:click=move |_| view.next_of(&view.lines.get_untracked().errors, true)>{Icon::ChevronUp.draw("")}</button>
                    <button class="btn ghost s icon" aria-label="Next error (n)" title="Next error (n)"
                        on:click=move |_| view.next_of(&view.lines.get_untracked().errors, false)>{Icon::ChevronDown.draw("")}</button>
                </span>
            })}
            <button class="switch" role="switch" title="Fold waits (w)" aria-checked=move || view.fold_waits.get().to_string()
                on:click=move |_| view.toggle_waits()><i></i>"Fold waits"</button>
            <button class="switch" role="switch" aria-checked=move || view.critical.get().to_string()
                title="The chain of work and waits that ends last" on:click=move |_| view.toggle_critical()><i></i>"Critical path"</button>
            <span class="right row tight">
                {move || query.get("zoom").map(|_| view! {
                    <button class="btn" title="Show the whole trace (0)" on:click=move |_| view.zoom(None)>{Icon::Fit.draw("")}"Whole trace"</button>
                })}
                <CopyButton text=link what="link to this view" label="Copy link"/>
                <button class="btn s" title="Download this trace as JSON" on:click=move |_| download(view)>{Icon::Download.draw("")}"JSON"</button>
            </span>
        </div>
    }
}

/// Saves the trace as the API gave it.
fn download(view: View) {
    view.lines.with_untracked(|lines| {
        if let Some(trace) = lines.traces.first()
            && let Ok(text) = serde_json::to_string_pretty(&**trace)
        {
            save(
                &format!("trace-{}.json", trace.trace_id),
                "application/json",
                &text,
            );
        }
    });
}

/// The facts: id, when, how long, how much of it in brokers, errors, notices, journeys.
#[component]
pub(super) fn Head(
    /// The page.
    view: View,
    /// The trace.
    trace: Signal<Arc<Wire>>,
) -> impl IntoView {
    let query = view.query;
    let id = Memo::new(move |_| trace.with(|t| t.trace_id.clone()));
    let waited = Memo::new(move |_| {
        view.lines.with(|l| {
            let waited: u64 = l
                .lines
                .iter()
                .filter(|l| l.critical_wait)
                .map(|l| l.wait)
                .sum();
            (waited > 0)
                .then(|| percent(waited.min(l.length), l.length))
                .flatten()
        })
    });
    let errors = Memo::new(move |_| view.lines.with(|l| l.errors.len() as u64));
    let notices = Memo::new(move |_| trace.with(|t| t.notices.clone()));
    let truncated = Memo::new(move |_| trace.with(|t| t.truncated));
    let open = RwSignal::new(false);
    let correlations = Memo::new(move |_| trace.with(|t| t.correlations.clone()));
    view! {
        <div>
            <div class="thead">
                <div class="grow facts nowrap">
                    <span class="row tight">
                        <b class="mono" title=id>{move || short_id(&id.get())}</b>
                        <CopyButton text=id what="trace id"/>
                    </span>
                    <span>"began "<b>{move || clock_ms(trace.with(|t| t.start), now())}</b></span>
                    <span>"took "<b>{move || duration_fine(trace.with(|t| t.duration_ns))}</b></span>
                    {move || waited.get().map(|share| view! {
                        <span title="Of the critical path's time"><b>{share}</b>" in broker"</span>
                    })}
                    <span><b>{move || count_full(trace.with(|t| t.spans.len()) as u64)}</b>" spans"</span>
                    {move || (errors.get() > 0).then(|| view! { <b class="c-crit">{plural(errors.get(), "error", "errors")}</b> })}
                </div>
                {move || {
                    let count = notices.with(Vec::len) as u64;
                    (count > 0).then(|| view! {
                        <button class="badge warn chipbtn" aria-expanded=move || open.get().to_string()
                            title=notices.get().join("\n") on:click=move |_| open.update(|o| *o = !*o)>
                            {Icon::Warning.draw("i-xs")}{plural(count, "notice", "notices")}
                        </button>
                    })
                }}
                {move || truncated.get().then(|| view! {
                    <span class="badge warn" title="The trace has more spans than are sent to a page">"cut short"</span>
                })}
                {move || correlations.get().into_iter().take(2).map(|c| {
                    let path = format!("/journeys/{}/{}", segment(&c.key), segment(&c.value));
                    view! {
                        <a class="btn s" href=move || query.link(&path, &[]) title=format!("{} = {}", c.key, c.value)>
                            {Icon::Journey.draw("")}<span class="ell journeyof">"Journey of "{c.value.clone()}</span>
                        </a>
                    }
                }).collect_view()}
            </div>
            <Show when=move || open.get() && notices.with(|n| !n.is_empty())>
                <div class="notices">
                    {move || notices.get().into_iter().map(|notice| view! { <Note tone=Tone::Warning>{notice}</Note> }).collect_view()}
                </div>
            </Show>
        </div>
    }
}
