//! The minimap: the whole trace on the same folded axis; dragging over it zooms.

use std::fmt::Write as _;

use leptos::prelude::*;

use super::View;
use super::rows::{Lines, What};
use crate::format::duration_fine;

/// Height in pixels.
const HEIGHT: f64 = 36.0;
/// Lines drawn at most, errors apart.
const LINES_AT_MOST: usize = 700;
/// A drag narrower than this share of the width is a click.
const DRAG_FROM: f64 = 0.01;

/// What is drawn, by class: `M..H..` of all lines of one colour.
fn paths(lines: &Lines, axis: &super::Axis) -> Vec<(String, String)> {
    let mut paths: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let spans: Vec<_> = lines
        .lines
        .iter()
        .filter(|l| matches!(l.what, What::Span(..)))
        .collect();
    let each = spans.len().div_ceil(LINES_AT_MOST).max(1);
    let step = (HEIGHT - 6.0) / spans.len().max(22) as f64;
    for (i, line) in spans.iter().enumerate() {
        if i % each != 0 && !(line.error && i % (each / 8).max(1) == 0) {
            continue;
        }
        let y = 3.0 + i as f64 * step;
        let x0 = axis.place(line.start) * 1_000.0;
        let x1 = (axis.place(line.stop()) * 1_000.0).max(x0 + 2.0);
        if line.wait > 0 {
            let from = axis.place(line.start - line.wait.min(line.start)) * 1_000.0;
            let path = paths.entry("mwait".to_owned()).or_default();
            let _ = write!(path, "M{from:.1} {y:.1}H{x0:.1}");
        }
        let class = if line.error {
            // Drawn last, over the others.
            "zerr".to_owned()
        } else {
            format!("mhue{}", line.hue)
        };
        let path = paths.entry(class).or_default();
        let _ = write!(path, "M{x0:.1} {y:.1}H{x1:.1}");
    }
    paths.into_iter().collect()
}

/// The minimap.
#[component]
pub(super) fn Minimap(
    /// The page.
    view: View,
) -> impl IntoView {
    let node = NodeRef::<leptos::html::Div>::new();
    let drag = RwSignal::new(None::<(f64, f64)>);
    let share = move |ev: &web_sys::PointerEvent| {
        let rect = node.get_untracked()?.get_bounding_client_rect();
        (rect.width() > 0.0)
            .then(|| ((f64::from(ev.client_x()) - rect.left()) / rect.width()).clamp(0.0, 1.0))
    };
    let paths = Memo::new(move |_| view.lines.with(|l| view.whole.with(|axis| paths(l, axis))));
    let shown = Memo::new(move |_| {
        let (from, to) = view.axis.with(super::Axis::range);
        view.whole
            .with(|w| (w.place(from) * 1_000.0, w.place(to) * 1_000.0))
    });
    let spoken = move || {
        let (from, to) = view.axis.with(super::Axis::range);
        format!("{} to {}", duration_fine(from), duration_fine(to))
    };
    // Moves or scales what is shown, by keys.
    let nudge = move |by: f64, scale: f64| {
        let (from, to) = view.axis.with_untracked(super::Axis::range);
        let length = view.lines.with_untracked(|l| l.length);
        let width = ((to - from) as f64 * scale).clamp(1_000.0, length.max(1_000) as f64);
        let middle = (from + to) as f64 / 2.0 + by * (to - from) as f64;
        let start = (middle - width / 2.0).clamp(0.0, (length as f64 - width).max(0.0));
        if width >= length as f64 {
            view.zoom(None);
        } else {
            view.zoom(Some((start as u64, (start + width) as u64)));
        }
    };
    view! {
        <div class="mini">
            <div node_ref=node class="minibox" role="slider" tabindex="0" aria-label="Part of the trace that is shown; drag to zoom"
                aria-valuemin="0" aria-valuemax="1000" aria-valuenow=move || shown.get().0.round()
                aria-valuetext=spoken
                on:pointerdown=move |ev| {
                    if ev.button() != 0 {
                        return;
                    }
                    if let (Some(x), Some(node)) = (share(&ev), node.get_untracked()) {
                        let _ = node.set_pointer_capture(ev.pointer_id());
                        drag.set(Some((x, x)));
                    }
                }
                on:pointermove=move |ev| {
                    if let (Some((from, _)), Some(x)) = (drag.get_untracked(), share(&ev)) {
                        drag.set(Some((from, x)));
                    }
                }
                on:pointercancel=move |_| drag.set(None)
                on:pointerup=move |_| {
                    let Some((a, b)) = drag.get_untracked() else { return };
                    drag.set(None);
                    let (from, to) = (a.min(b), a.max(b));
                    if to - from < DRAG_FROM {
                        view.zoom(None);
                        return;
                    }
                    let range = view.whole.with_untracked(|w| (w.moment(from), w.moment(to)));
                    view.zoom((range.0 < range.1).then_some(range));
                }
                on:keydown=move |ev| {
                    match ev.key().as_str() {
                        "ArrowLeft" => nudge(-0.1, 1.0),
                        "ArrowRight" => nudge(0.1, 1.0),
                        "+" | "=" => nudge(0.0, 0.5),
                        "-" => nudge(0.0, 2.0),
                        "Home" | "0" => view.zoom(None),
                        _ => return,
                    }
                    ev.prevent_default();
                    ev.stop_propagation();
                }>
                <svg viewBox="0 0 1000 36" width="100%" height="36" preserveAspectRatio="none" aria-hidden="true">
                    {move || view.whole.with(|w| w.pieces().iter().filter(|p| p.folded).map(|p| view! {
                        <rect class="mfold" x=p.left * 1_000.0 y="0" width=p.width * 1_000.0 height="36"></rect>
                    }).collect_view())}
                    {move || paths.get().into_iter().map(|(class, d)| view! { <path class=format!("ml {class}") d=d></path> }).collect_view()}
                    {move || {
                        let (from, to) = shown.get();
                        let hidden = from > 0.5 || to < 999.5;
                        view! {
                            {hidden.then(|| view! {
                                <rect class="mdim" x="0" y="0" width=from height="36"></rect>
                                <rect class="mdim" x=to y="0" width=(1_000.0 - to).max(0.0) height="36"></rect>
                            })}
                            <rect class="mwin" x=from + 0.5 y="0.5" width=(to - from - 1.0).max(1.0) height="35" vector-effect="non-scaling-stroke"></rect>
                        }
                    }}
                    {move || drag.get().map(|(a, b)| view! {
                        <rect class="mdrag" x=a.min(b) * 1_000.0 y="0" width=(a - b).abs() * 1_000.0 height="36"></rect>
                    })}
                </svg>
            </div>
        </div>
    }
}
