//! The time line of a journey: a row a trace, waits hatched and folded.

use leptos::html::Div;
use leptos::prelude::*;

use highwater_shared::traces::{Journey as Wire, Step};

use super::{View, kind_mark};
use crate::components::icons::Icon;
use crate::components::marks::trace_href;
use crate::components::measure::measure;
use crate::components::surface::Card;
use crate::format::{clock, duration_fine, duration_ns, plural, short_id};
use crate::pages::trace::axis::Axis;
use crate::state::clock::now;

/// Traces drawn at most; all of them are among the steps.
const TRACES_AT_MOST: usize = 40;

/// Returns the work of a step as a time span from the journey's start: start and end.
fn work(journey: &Wire, step: &Step) -> (u64, u64) {
    let start = step.at.0.saturating_sub(journey.start.0);
    (start, start.saturating_add(step.duration_ns.unwrap_or(0)))
}

/// Builds the axis: waits in which nothing of the journey runs are folded.
fn axis(journey: &Wire, width: f64) -> Axis {
    let busy = journey
        .steps
        .iter()
        .filter(|s| s.kind != "waiting")
        .map(|s| work(journey, s));
    let end = journey
        .steps
        .iter()
        .map(|s| work(journey, s).1)
        .max()
        .unwrap_or(0)
        .max(journey.end.0.saturating_sub(journey.start.0));
    Axis::new(0, end, busy, true, width)
}

fn share(x: f64) -> String {
    format!("{:.3}%", x * 100.0)
}

/// The card.
#[component]
pub(super) fn Timeline(
    /// The page.
    view: View,
) -> impl IntoView {
    let View {
        query,
        journey,
        only,
        ..
    } = view;
    let node = NodeRef::<Div>::new();
    let size = measure(node);
    let axis = Memo::new(move |_| journey.with(|j| axis(j, size.get().0.max(300.0))));
    let sub = Signal::derive(move || {
        journey.with(|j| {
            let spans: u64 = j.traces.iter().map(|t| u64::from(t.spans)).sum();
            format!(
                "{}, {}, {} from {}; waits are folded",
                plural(j.traces.len() as u64, "trace", "traces"),
                plural(spans, "span", "spans"),
                duration_fine(j.end.0.saturating_sub(j.start.0)),
                clock(j.start, now())
            )
        })
    });
    let toggle = move |id: &str| {
        let on = only.get_untracked().as_deref() == Some(id);
        query.set("trace", (!on).then_some(id));
    };
    let names = move || {
        journey.with(|j| {
            j.traces.iter().take(TRACES_AT_MOST).enumerate().map(|(i, t)| {
                let id = t.trace_id.clone();
                let pressed = { let id = id.clone(); move || (only.get().as_deref() == Some(id.as_str())).to_string() };
                let href = trace_href(query, &t.trace_id, None);
                view! {
                    <div class="tlname">
                        <button class="tn" title="Show only this trace's steps" aria-pressed=pressed on:click=move |_| toggle(&id)>{i + 1}</button>
                        <a class="mono" href=href title=t.trace_id.clone()>{short_id(&t.trace_id).chars().take(8).collect::<String>()}</a>
                        <span class="t3 ell" title=format!("{} {}", t.service, t.operation)>{format!("{}, {}", t.service, plural(u64::from(t.spans), "span", "spans"))}</span>
                        {(t.errors > 0).then(|| view! { <span title=plural(u64::from(t.errors), "error", "errors")>{Icon::Critical.draw("i-xs c-crit")}</span> })}
                    </div>
                }
            }).collect_view()
        })
    };
    let heads = move || {
        axis.with(|axis| {
            let start = journey.with(|j| j.start);
            axis.pieces().iter().map(|p| {
                let at = highwater_shared::Instant(start.0.saturating_add(p.from));
                if p.folded {
                    view! { <span class="tlfold num" style:left=share(p.left + p.width / 2.0)>{duration_ns(p.to - p.from)}</span> }.into_any()
                } else if p.width * size.get_untracked().0.max(300.0) > 64.0 {
                    view! { <span class="tltick t3 num" style:left=share(p.left)>{clock(at, now())}</span> }.into_any()
                } else {
                    ().into_any()
                }
            }).collect_view()
        })
    };
    let bands = move || {
        axis.with(|axis| {
        axis.pieces()
            .iter()
            .filter(|p| p.folded)
            .map(|p| view! { <i class="tlband" style:left=share(p.left) style:width=share(p.width)></i> })
            .collect_view()
    })
    };
    let rows = move || {
        journey.with(|j| {
            axis.with(|axis| {
                j.traces
                    .iter()
                    .take(TRACES_AT_MOST)
                    .map(|t| {
                        let bars = j
                            .steps
                            .iter()
                            .enumerate()
                            .filter(|(_, s)| s.trace_id == t.trace_id)
                            .map(|(i, s)| bar(view, j, axis, i, s))
                            .collect_view();
                        view! { <div class="tlrow">{bars}</div> }
                    })
                    .collect_view()
            })
        })
    };
    let hidden = move || journey.with(|j| j.traces.len().saturating_sub(TRACES_AT_MOST) as u64);
    let spoken = move || {
        journey.with(|j| {
            format!(
                "Time line of {}",
                plural(j.traces.len() as u64, "trace", "traces")
            )
        })
    };
    view! {
        <Card title="Time line" sub=sub actions=|| view! {
            <span class="legend">
                <span><i class="lgwait"></i>"In broker"</span>
                <span>{Icon::Retry.draw("i-xs c-crit")}"Retry"</span>
                <span>{Icon::DeadLetter.draw("i-xs c-dlq")}"Dead letter"</span>
            </span>
        }>
            <div class="tl">
                <div class="tlnames">{names}</div>
                <div class="tlbars" node_ref=node role="img" aria-label=spoken>{bands}<div class="tlhead">{heads}</div>{rows}</div>
            </div>
            {move || (hidden() > 0).then(|| view! { <p class="fs11 t3 tlmore">{format!("{} are not drawn; their steps stand below.", plural(hidden(), "more trace", "more traces"))}</p> })}
        </Card>
    }
}

/// A step's wait and work on the time line.
fn bar(
    view: View,
    journey: &Wire,
    axis: &Axis,
    index: usize,
    step: &Step,
) -> impl IntoView + use<> {
    let (start, end) = work(journey, step);
    let waiting = step.kind == "waiting";
    let wait = step.in_broker_ns.unwrap_or(0).min(start);
    let (w0, x0, x1) = (axis.place(start - wait), axis.place(start), axis.place(end));
    // The colour of who works: who sends when producing, who receives when handling.
    let lane = if step.kind == "produced" || step.kind == "retried" || step.kind == "dead_lettered"
    {
        &step.from
    } else {
        &step.to
    };
    let hue = journey
        .lanes
        .iter()
        .filter(|l| l.kind == "service")
        .position(|l| l.id == *lane)
        .unwrap_or(7)
        % 8;
    let class = move |base: String| {
        move || {
            if view.hover.get() == Some(index) {
                format!("{base} on")
            } else {
                base.clone()
            }
        }
    };
    let wait_class = if waiting { "wt pend" } else { "wt" };
    let mark =
        kind_mark(&step.kind).filter(|_| !matches!(step.kind.as_str(), "failed" | "waiting"));
    view! {
        {(wait > 0).then(|| view! { <span class=wait_class title=format!("{} in broker", duration_fine(wait)) style:left=share(w0) style:width=share(x0 - w0)></span> })}
        {(!waiting).then(|| view! {
            <span class=class(format!("sp hue{hue}{}", if step.kind == "failed" { " err" } else { "" })) title=step.sentence.clone() style:left=share(x0) style:width=share(x1 - x0)></span>
        })}
        {mark.map(|(icon, class)| view! { <span class="tlmark" style:left=share(x1) title=step.sentence.clone()>{icon.draw(&format!("i-s {class}"))}</span> })}
    }
}
