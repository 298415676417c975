//! The steps, and beside them the sequence diagram on the same rows.

use leptos::html::Div;
use leptos::prelude::*;

use highwater_shared::traces::{Journey as Wire, Lane, Step};

use super::{View, kind_mark};
use crate::components::icons::Icon;
use crate::components::marks::trace_href;
use crate::components::measure::measure;
use crate::format::{clock_ms, count_full, duration_fine, in_broker, plural};
use crate::state::clock::now;

/// Height of a row and of the head, in pixels; `.step` and `.seq .hd` have the same.
const ROW: f64 = 30.0;
const HEAD: f64 = 36.0;
/// A lifeline is at least this far from the next.
const LANE_AT_LEAST: f64 = 74.0;
/// Steps drawn before the page asks whether to draw them all.
const STEPS_AT_FIRST: usize = 250;
/// A wait longer than this is written bold.
const LONG_WAIT_NS: u64 = 1_000_000_000;

/// Cuts a name to what fits; a topic's end says more than its beginning.
fn fitted(lane: &Lane, width: f64) -> String {
    let room = (width / 6.4) as usize;
    let length = lane.name.chars().count();
    if length <= room || room < 3 {
        return lane.name.clone();
    }
    if lane.kind == "service" {
        lane.name.chars().take(room - 1).chain(['…']).collect()
    } else {
        std::iter::once('…')
            .chain(lane.name.chars().skip(length - room + 1))
            .collect()
    }
}

/// Returns the class of a message's line.
fn message_class(kind: &str) -> &'static str {
    match kind {
        "failed" | "retried" | "dead_lettered" => "crit",
        "waiting" => "warn",
        _ => "",
    }
}

/// Writes what stands over a message's line, and its class.
fn label(step: &Step) -> Option<(String, &'static str)> {
    match step.kind.as_str() {
        "retried" => Some(("retry".to_owned(), "crit")),
        "dead_lettered" => Some(("dead letter".to_owned(), "crit")),
        kind => step.in_broker_ns.map(|ns| {
            let class = match kind {
                "waiting" => "warn",
                "failed" => "crit",
                _ if ns >= LONG_WAIT_NS => "w",
                _ => "",
            };
            (in_broker(ns), class)
        }),
    }
}

/// The card: steps at the left, lifelines at the right.
#[component]
pub(super) fn Steps(
    /// The page.
    view: View,
) -> impl IntoView {
    let View { journey, only, .. } = view;
    let all = RwSignal::new(false);
    let node = NodeRef::<Div>::new();
    let size = measure(node);
    let chosen = Memo::new(move |_| {
        let only = only.get();
        journey.with(|j| {
            j.steps
                .iter()
                .enumerate()
                .filter(|(_, s)| only.as_deref().is_none_or(|id| s.trace_id == id))
                .map(|(i, _)| i)
                .collect::<Vec<_>>()
        })
    });
    let drawn = Memo::new(move |_| {
        let limit = if all.get() {
            usize::MAX
        } else {
            STEPS_AT_FIRST
        };
        chosen.with(|c| c.iter().take(limit).copied().collect::<Vec<_>>())
    });
    let heading = move || {
        let (shown, total) = (
            chosen.with(Vec::len) as u64,
            journey.with(|j| j.steps.len()) as u64,
        );
        if shown < total {
            format!(
                "{} of {}, of one trace",
                count_full(shown),
                count_full(total)
            )
        } else {
            format!(
                "{}, in order of time; the number is the trace",
                count_full(total)
            )
        }
    };
    let rows = move || {
        let drawn = drawn.get();
        journey.with(|j| {
            drawn
                .iter()
                .filter_map(|&i| Some(row(view, i, j.steps.get(i)?)))
                .collect_view()
        })
    };
    view! {
        <section class="card seqcard" aria-label="Steps">
            <div class="seq">
                <div class="steps">
                    <div class="hd"><b class="stepsh">"Steps"</b><span>{heading}</span>
                        {move || only.get().map(|_| view! { <button class="btn ghost s right" on:click=move |_| view.query.set("trace", None)>"All traces"</button> })}
                    </div>
                    <div role="list">{rows}</div>
                </div>
                <div class="seqbox" node_ref=node>{move || journey.with(|j| diagram(view, j, &drawn.get(), size.get().0))}</div>
            </div>
            {move || {
                let more = chosen.with(Vec::len) - drawn.with(Vec::len);
                (more > 0).then(|| view! { <div class="resmore"><button class="btn" on:click=move |_| all.set(true)>{format!("Show {}", plural(more as u64, "more step", "more steps"))}</button></div> })
            }}
        </section>
    }
}

/// A step of the list: a link to its span.
fn row(view: View, index: usize, step: &Step) -> impl IntoView + use<> {
    let number = view
        .numbers
        .with_untracked(|n| n.get(&step.trace_id).copied());
    let href = trace_href(view.query, &step.trace_id, Some(&step.span_id));
    let waiting = step.kind == "waiting";
    let outcome = match step.kind.as_str() {
        "failed" => view! { <span class="c-crit">"failed"</span> }.into_any(),
        "retried" => view! { <span class="c-crit">"retry"</span> }.into_any(),
        "dead_lettered" => view! { <span class="c-dlq">"dead letter"</span> }.into_any(),
        "waiting" => view! { <span class="c-warn semi">{step.in_broker_ns.map(|ns| format!("{} so far", duration_fine(ns)))}</span> }.into_any(),
        _ => view! { <span class="t2">{step.duration_ns.map(duration_fine)}</span> }.into_any(),
    };
    let mark = kind_mark(&step.kind).map(|(icon, class)| icon.draw(&format!("i-xs {class}")));
    let linked = (step.joined_by == "link").then(|| view! { <span title="Joined by a link between traces">{Icon::Link.draw("i-xs t3")}</span> });
    let error = step
        .error
        .as_ref()
        .map(|e| e.message.clone())
        .unwrap_or_default();
    let tip = if error.is_empty() {
        step.sentence.clone()
    } else {
        format!("{}\n{error}", step.sentence)
    };
    view! {
        <a class="step" role="listitem" data-testid="journey-step" href=href title=tip
            aria-current=waiting.then_some("step") class:cur=waiting
            on:pointerenter=move |_| view.hover.set(Some(index)) on:pointerleave=move |_| view.hover.set(None)
            on:focus=move |_| view.hover.set(Some(index)) on:blur=move |_| view.hover.set(None)>
            <time>{if waiting { "now".to_owned() } else { clock_ms(step.at, now()) }}</time>
            <span class="tn">{number}</span>
            <span class="row tight stepsay"><span class="ell" class:semi=waiting>{step.sentence.clone()}</span>{mark}{linked}</span>
            {outcome}
        </a>
    }
}

/// The lifelines and the messages between them.
fn diagram(view: View, journey: &Wire, drawn: &[usize], width: f64) -> impl IntoView + use<> {
    let lanes = &journey.lanes;
    let count = lanes.len().max(1) as f64;
    let lane_width = (width / count).max(LANE_AT_LEAST);
    let width = lane_width * count;
    let height = HEAD + ROW * drawn.len() as f64;
    let x_of = |id: &str| {
        lanes
            .iter()
            .position(|l| l.id == id)
            .map(|i| (i as f64 + 0.5) * lane_width)
    };
    let heads = lanes
        .iter()
        .enumerate()
        .map(|(i, lane)| {
            let x = (i as f64 + 0.5) * lane_width;
            let class = match lane.kind.as_str() {
                "service" => "lh service",
                "dead_letter_topic" => "lh dlq",
                _ => "lh topic",
            };
            let half = lane_width / 2.0 - 6.0;
            view! {
                <path class="life" d=format!("M{x:.1} {HEAD}V{height}")></path>
                <text class="h" x=x y="22" text-anchor="middle">{fitted(lane, lane_width - 8.0)}<title>{format!("{} {}", lane.kind.replace('_', " "), lane.name)}</title></text>
                <path class=class d=format!("M{:.1} {}H{:.1}", x - half, HEAD - 0.5, x + half)></path>
            }
        })
        .collect_view();
    let rows = drawn
        .iter()
        .enumerate()
        .filter_map(|(n, &index)| {
            let step = journey.steps.get(index)?;
            let top = HEAD + ROW * n as f64;
            let y = top + ROW / 2.0;
            let class = message_class(&step.kind);
            let hit = move || if view.hover.get() == Some(index) { "seqhit on" } else { "seqhit" };
            let base = view! {
                <rect class=hit x="0" y=top width=width height=ROW></rect>
                {(step.kind == "waiting").then(|| view! { <rect class="seqnow" x="0" y=top width=width height=ROW></rect> })}
                <path class="rowl" d=format!("M0 {:.1}H{width}", top + ROW - 0.5)></path>
            };
            let (Some(from), Some(to)) = (x_of(&step.from), x_of(&step.to)) else {
                return Some(base.into_any());
            };
            let dir = if to >= from { 1.0 } else { -1.0 };
            let line = if (from - to).abs() < 1.0 {
                // A service that sends to itself: a small loop.
                format!("M{from:.1} {:.1}h18v10h-12", y - 5.0)
            } else {
                format!("M{from:.1} {y}H{:.1}", to - dir * 6.0)
            };
            let tip = if (from - to).abs() < 1.0 { (from + 1.0, y + 5.0, -1.0) } else { (to - dir, y, dir) };
            let arrow = format!("M{:.1} {:.1}l{} -3.6v7.2z", tip.0, tip.1, -7.0 * tip.2);
            let middle = (from + to) / 2.0;
            let text = label(step).map(|(text, class)| view! { <text class=format!("lb {class}") x=middle y=y - 5.0 text-anchor="middle">{text}</text> });
            Some(
                view! {
                    {base}
                    <path class=format!("msg {class}") d=line></path>
                    <path class=format!("arr {class}") d=arrow></path>
                    <circle class=format!("dot {class}") cx=from cy=if (from - to).abs() < 1.0 { y - 5.0 } else { y } r="3"></circle>
                    {text}
                }
                .into_any(),
            )
        })
        .collect_view();
    let spoken = format!(
        "Sequence diagram of the {} listed on the left over {}",
        plural(drawn.len() as u64, "step", "steps"),
        plural(lanes.len() as u64, "lifeline", "lifelines")
    );
    view! {
        <svg class="seqsvg" width=width height=height viewBox=format!("0 0 {width} {height}") role="img" aria-label=spoken>
            {rows}
            <path class="rowl head" d=format!("M0 {}H{width}", HEAD - 0.5)></path>
            {heads}
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_end_and_a_service_its_beginning() {
        let lane = |kind: &str, name: &str| Lane {
            id: String::new(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        assert_eq!(
            fitted(&lane("retry_topic", "orders.billing.retry-1"), 64.0),
            "…g.retry-1"
        );
        assert_eq!(
            fitted(&lane("service", "notification-service"), 64.0),
            "notificat…"
        );
        assert_eq!(fitted(&lane("topic", "orders"), 64.0), "orders");
    }
}
