//! The waterfall: a tree of spans with their bars. Only the rows in sight are in the page.

use std::sync::Arc;

use leptos::html::Div;
use leptos::prelude::*;

use super::View;
use super::axis::Axis;
use super::rows::{Joined, Line, Lines, What};
use crate::components::icons::Icon;
use crate::components::marks::trace_href;
use crate::components::measure::measure;
use crate::format::{duration_fine, short_id};

/// Height of a row in pixels; `.wf-row` in the style sheet has the same.
const ROW_PX: f64 = 25.0;
/// Rows kept above and below those in sight.
const SPARE_ROWS: usize = 12;
/// Indentation a level, in pixels, and where it stops growing.
const INDENT_PX: u32 = 13;
const INDENT_AT_MOST: u32 = 14;
/// Width of a character of a label, in pixels, on the safe side.
const CHARACTER_PX: f64 = 6.3;

/// Axis and rows.
#[component]
pub(super) fn Waterfall(
    /// The page.
    view: View,
) -> impl IntoView {
    let body = NodeRef::<Div>::new();
    let bars = NodeRef::<Div>::new();
    let size = measure(body);
    let bars_size = measure(bars);
    let top = RwSignal::new(0.0);
    Effect::new(move || {
        let width = bars_size.get().0;
        if width > 0.0 {
            view.width.set(width);
        }
    });
    // The chosen row comes into sight.
    Effect::new(move || {
        let Some(line) = view.selected.get() else {
            return;
        };
        let height = size.get().1;
        let at = view.visible.with(|v| v.binary_search(&line).ok());
        if let (Some(at), Some(body)) = (at, body.get_untracked())
            && height > 0.0
        {
            let y = at as f64 * ROW_PX;
            let scrolled = f64::from(body.scroll_top());
            if y < scrolled || y + ROW_PX > scrolled + height {
                body.set_scroll_top((y - height / 2.0).max(0.0) as i32);
            }
        }
    });
    let in_sight = Memo::new(move |_| {
        let count = view.visible.with(|v| v.len());
        let first = (top.get() / ROW_PX) as usize;
        let shown = (size.get().1 / ROW_PX).ceil().max(20.0) as usize;
        let from = first.saturating_sub(SPARE_ROWS).min(count);
        (from, (first + shown + SPARE_ROWS).min(count))
    });
    let count = move || view.visible.with(|v| v.len());
    let rows = move || {
        let lines = view.lines.get();
        let of = Arc::as_ptr(&lines) as usize;
        let (from, to) = in_sight.get();
        view.visible.with(|v| {
            v.get(from..to)
                .unwrap_or_default()
                .iter()
                .enumerate()
                .map(|(i, &line)| (of, from + i, line))
                .collect::<Vec<_>>()
        })
    };
    view! {
        <div class="wf" role="treegrid" aria-label="Spans" aria-rowcount=count>
            <div class="wf-axis">
                <div class="wf-th">"Service and operation"</div>
                <div node_ref=bars>{move || ticks(view)}</div>
            </div>
            <div class="wf-body" node_ref=body on:scroll=move |_| {
                if let Some(body) = body.get_untracked() {
                    top.set(f64::from(body.scroll_top()));
                }
            }>
                <div class="wf-all" style:height=move || format!("{}px", count() as f64 * ROW_PX)>
                    <div class="wf-grid">{move || grid(view)}</div>
                    <div class="wf-pad" style:height=move || format!("{}px", in_sight.get().0 as f64 * ROW_PX)></div>
                    <For each=rows key=|row| *row let((_, at, line))>
                        {row(view, at, line)}
                    </For>
                </div>
            </div>
        </div>
    }
}

/// The labels of the axis: ticks, and the lengths of folded waits.
fn ticks(view: View) -> impl IntoView {
    let width = view.width.get();
    view.axis.with(|axis| {
        let folds = axis
            .pieces()
            .iter()
            .filter(|p| p.folded)
            .map(|p| {
                let middle = p.left + p.width / 2.0;
                view! {
                    <span class="tk fold" style:left=share(middle) title="Folded wait: the scale changes here (w)">
                        {Icon::Break.draw("i-xs")}{crate::format::duration_ns(p.to - p.from)}
                    </span>
                }
            })
            .collect_view();
        let ticks = axis
            .ticks(width)
            .into_iter()
            .map(|tick| {
                let class = if tick.x * width < 10.0 { "tk st num" } else { "tk num" };
                view! { <span class=class style:left=share(tick.x)>{tick.label}</span> }
            })
            .collect_view();
        (ticks, folds)
    })
}

/// The lines under the ticks, and the bands of folded waits.
fn grid(view: View) -> impl IntoView {
    let width = view.width.get();
    view.axis.with(|axis| {
        let bands = axis
            .pieces()
            .iter()
            .filter(|p| p.folded)
            .map(|p| view! { <span class="fold" style:left=share(p.left) style:width=share(p.width)></span> })
            .collect_view();
        let ticks = axis
            .ticks(width)
            .into_iter()
            .map(|tick| view! { <i style:left=share(tick.x)></i> })
            .collect_view();
        (ticks, bands)
    })
}

/// Writes a fraction as a CSS percentage.
fn share(x: f64) -> String {
    format!("{:.3}%", x * 100.0)
}

/// A row: of a span, or of a linked trace.
fn row(view: View, at: usize, index: usize) -> AnyView {
    let lines = view.lines.get_untracked();
    let Some(line) = lines.lines.get(index).cloned() else {
        return ().into_any();
    };
    let nested = line.end > index + 1;
    let key = lines.key(index);
    let folded = {
        let key = key.clone();
        Memo::new(move |_| view.folded.with(|f| f.contains(&key)))
    };
    let chosen = Memo::new(move |_| view.selected.get() == Some(index));
    let hit = Memo::new(move |_| view.found.with(|f| f.binary_search(&index).is_ok()));
    let indent = format!("{}px", 12 + INDENT_PX * line.depth.min(INDENT_AT_MOST));
    let linked = matches!(line.what, What::Linked(_));
    let class = move || {
        let mut class = "wf-row".to_owned();
        if linked {
            class.push_str(" linked");
        }
        if hit.get() {
            class.push_str(" hit");
        }
        class
    };
    let chevron = if nested {
        view! {
            <button class="cvb" tabindex="-1" aria-label=move || if folded.get() { "Unfold" } else { "Fold" }
                on:click=move |ev| {
                    ev.stop_propagation();
                    view.fold(index, !folded.get_untracked());
                }>
                {move || if folded.get() { Icon::ChevronRight.draw("cv") } else { Icon::ChevronDown.draw("cv") }}
            </button>
        }
        .into_any()
    } else {
        view! { <span class="cv"></span> }.into_any()
    };
    let (name, cells) = match &line.what {
        What::Linked(joined) => (
            linked_name(joined).into_any(),
            linked_cell(view, &line, joined.clone()),
        ),
        What::Span(..) => {
            let name = lines.span(index).map(|span| {
                let error = line.error;
                let joined = span
                    .links
                    .iter()
                    .chain(&span.linked_from)
                    .next()
                    .is_some();
                let skew = span.clock_skew;
                let missing = span.missing_parent;
                view! {
                    <span class="svc">{span.service.clone()}</span>
                    <span class="op" title=span.name.clone()>{span.name.clone()}</span>
                    {error.then(|| view! { <span title="Failed">{Icon::Critical.draw("c-crit")}</span> })}
                    {joined.then(|| view! { <span title="Has links (l)">{Icon::Link.draw("t3")}</span> })}
                    {skew.then(|| view! { <span title="Starts before its producer starts: a clock is wrong">{Icon::Clock.draw("c-warn")}</span> })}
                    {missing.then(|| view! { <span title="Its parent was never received">{Icon::Unknown.draw("c-unk")}</span> })}
                }
            });
            let line = line.clone();
            (
                name.into_any(),
                (move || bars(view, index, &line)).into_any(),
            )
        }
    };
    view! {
        <div class=class role="row" data-testid="span-row" data-span=key aria-rowindex=at + 1 attr:aria-level=line.depth + 1
            aria-selected=move || chosen.get().then_some("true")
            aria-expanded=move || nested.then(|| (!folded.get()).to_string())
            on:click=move |_| view.select(index)
            on:dblclick=move |_| view.zoom_to_selected()>
            <div class="wf-name" role="rowheader" style:padding-left=indent>
                {chevron}
                <span class=format!("sw hue{}", line.hue)></span>
                {name}
            </div>
            <div class="wf-bars" role="gridcell">{cells}</div>
        </div>
    }
    .into_any()
}

/// The name of a linked trace.
fn linked_name(joined: &Joined) -> impl IntoView + use<> {
    let icon = if joined.direction == "from" {
        Icon::ArrowLeft
    } else {
        Icon::ArrowRight
    };
    view! {
        <span class="svc">{joined.service.clone().unwrap_or_else(|| "linked trace".to_owned())}</span>
        <span class="op">{joined.name.clone().unwrap_or_default()}</span>
        <span title=if joined.direction == "from" { "Links to this trace" } else { "Linked from this trace" }>{icon.draw("t3")}</span>
    }
}

/// The line of a linked trace: shows its spans here, or opens it.
fn linked_cell(view: View, line: &Line, joined: Joined) -> AnyView {
    let Joined {
        trace_id,
        span_id,
        shown,
        ..
    } = joined;
    let start = line.start;
    let left = move || {
        let x = view.axis.with(|a| a.place(start));
        // Text at the right edge would be cut.
        share(x.min((1.0 - 340.0 / view.width.get().max(341.0)).max(0.0)))
    };
    let text = format!("Linked trace {}", short_id(&trace_id));
    let href = {
        let trace_id = trace_id.clone();
        move || trace_href(view.query, &trace_id, span_id.as_deref())
    };
    let error = {
        let trace_id = trace_id.clone();
        move || {
            view.failed
                .with(|f| f.get(&trace_id).map(crate::api::ApiError::sentence))
        }
    };
    let toggle = move |ev: leptos::ev::MouseEvent| {
        ev.stop_propagation();
        view.show_inline(&trace_id, !shown);
    };
    view! {
        <span class="dl linkline" style:left=left>
            <a href=href on:click=|ev| ev.stop_propagation()>{text}</a>
            <button class="linkish" on:click=toggle>{if shown { "hide its spans" } else { "show its spans inline" }}</button>
            {move || error().map(|e| view! { <span class="c-crit">{e}</span> })}
        </span>
    }
    .into_any()
}

/// Where the label of a bar stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Inside,
    Right,
    Left,
}

/// Finds room for a label of `text` px beside a bar from `x0` to `x1`, both in px of `width`; `from` is where the wait begins.
fn label_place(x0: f64, x1: f64, from: f64, text: f64, width: f64) -> Place {
    if x1 - x0 >= text + 6.0 {
        Place::Inside
    } else if x1 + text <= width || from < text {
        Place::Right
    } else {
        Place::Left
    }
}

/// The bars of a span: its wait in the broker, its work, and what they took.
fn bars(view: View, index: usize, line: &Line) -> AnyView {
    let width = view.width.get();
    let critical = view.critical.get();
    let lines = view.lines.get_untracked();
    let kind = failure(&lines, index, line);
    view.axis.with(|axis| {
        let (from, to) = axis.range();
        let stop = line.stop();
        let wait_from = line.start - line.wait.min(line.start);
        if stop < from || wait_from > to {
            let (class, text) = if stop < from { ("dl off", "earlier") } else { ("dl off late", "later") };
            return view! { <span class=class>{text}</span> }.into_any();
        }
        let (w0, x0, x1) = (axis.place(wait_from), axis.place(line.start), axis.place(stop));
        let took = duration_fine(line.duration);
        let label = match kind {
            Some(kind) => format!("{took}, {kind}"),
            None => took,
        };
        let mut span_class = format!("sp hue{}", line.hue);
        for (on, class) in [
            (line.external, " ext"),
            (line.error, " err"),
            (line.critical && critical, " cp"),
        ] {
            if on {
                span_class.push_str(class);
            }
        }
        let waited = (line.wait > 0).then(|| wait_bar(axis, line, w0, x0, width, critical));
        let beside = waited.as_ref().is_some_and(|w| !w.1).then(|| duration_fine(line.wait));
        let text_px = (label.chars().count() + beside.as_ref().map_or(0, |b| b.chars().count() + 16)) as f64 * CHARACTER_PX + 10.0;
        let inside_px = label.chars().count() as f64 * CHARACTER_PX + 14.0;
        let place = if (x1 - x0) * width >= inside_px && beside.is_none() {
            Place::Inside
        } else {
            label_place(x0 * width, x1 * width, w0 * width, text_px.max(inside_px), width)
        };
        let mut label_class = match place {
            Place::Inside => "dl in".to_owned(),
            Place::Right | Place::Left => "dl".to_owned(),
        };
        if place == Place::Inside && line.external {
            label_class.push_str(" x");
        }
        if line.error {
            label_class.push_str(" e");
        }
        let left = match place {
            Place::Inside => Some(share(x0)),
            Place::Right => Some(share(x1)),
            Place::Left => None,
        };
        let right = (place == Place::Left).then(|| share(1.0 - w0));
        let outside = line.start > to;
        view! {
            {waited.map(|w| w.0)}
            {(!outside).then(|| view! { <span class=span_class style:left=share(x0) style:width=share((x1 - x0).max(0.0))></span> })}
            <span class=label_class style:left=left.unwrap_or_default() style:right=right.unwrap_or_default()>
                {label}
                // On a bar the words have the bar's own ink: a quiet grey would not be read there.
                {beside.map(|b| view! { <span class:t3=place != Place::Inside>{format!(" after {b} in broker")}</span> })}
            </span>
        }
        .into_any()
    })
}

/// The hatched bar of a wait, and whether its length is written on it.
fn wait_bar(
    axis: &Axis,
    line: &Line,
    w0: f64,
    x0: f64,
    width: f64,
    critical: bool,
) -> (AnyView, bool) {
    let class = if line.critical_wait && critical {
        "wt cp"
    } else {
        "wt"
    };
    let px = (x0 - w0) * width;
    let whole = format!("{} in broker", duration_fine(line.wait));
    let short = crate::format::duration_ns(line.wait);
    let fits = |text: &str| px >= text.chars().count() as f64 * CHARACTER_PX + 18.0;
    let label = if fits(&whole) {
        Some(whole.clone())
    } else if fits(&short) {
        Some(short)
    } else {
        None
    };
    let written = label.is_some();
    // Zoomed in, the middle of what is seen of it.
    let middle = (w0.max(axis.place(axis.range().0)) + x0) / 2.0;
    let bar = view! {
        <span class=class title=whole style:left=share(w0) style:width=share((x0 - w0).max(0.0))></span>
        {label.map(|label| view! { <span class="dl w" style:left=share(middle)>{label}</span> })}
    };
    (bar.into_any(), written)
}

/// The error's class in a word, for the innermost span that failed.
fn failure(lines: &Lines, index: usize, line: &Line) -> Option<String> {
    if !line.error || line.end > index + 1 {
        return None;
    }
    let kind = &lines.span(index)?.error.as_ref()?.kind;
    let kind = kind.rsplit(['.', '$']).next().unwrap_or(kind);
    (!kind.is_empty()).then(|| kind.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_goes_inside_then_right_then_left() {
        assert_eq!(label_place(0.0, 100.0, 0.0, 60.0, 650.0), Place::Inside);
        assert_eq!(label_place(100.0, 110.0, 90.0, 60.0, 650.0), Place::Right);
        assert_eq!(label_place(630.0, 640.0, 600.0, 60.0, 650.0), Place::Left);
        assert_eq!(
            label_place(10.0, 640.0, 10.0, 700.0, 650.0),
            Place::Right,
            "a label with no room at all is cut at the right"
        );
    }
}
