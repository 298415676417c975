//! The map itself: pan, zoom, hover, keys.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use leptos::html::Div;
use leptos::prelude::*;

use super::draw::{Pointers, edge_view, flow_view, node_view};
use super::legend::{EXTENT, Legend};
use super::model::Scene;
use crate::components::icons::Icon;
use crate::graph::edges::is_curve;
use crate::graph::labels::{HEIGHT, Placed as Label, Wanted, place};
use crate::graph::shapes::Rect;
use crate::graph::view::{View, bounds};
use crate::graph::walk::{Way, step, stream};
use crate::state::keys::on_keys;
use crate::state::query::Query;

/// Above this many visible edges particles are off.
const MOTION_EDGES: usize = 300;
/// A step of the zoom keys and buttons.
const ZOOM_STEP: f64 = 1.25;
/// The pointer moved this far: a drag, not a click.
const DRAG_PX: f64 = 4.0;
/// The view goes into the address this long after it last moved.
const SETTLED: Duration = Duration::from_millis(400);

/// The map: SVG under pan and zoom, legend, zoom buttons.
#[component]
pub(super) fn Canvas(
    /// What is drawn.
    scene: Memo<Arc<Scene>>,
    /// What the side panel shows.
    selected: Memo<Option<String>>,
    /// Opens the side panel.
    select: Callback<String>,
    /// Particles run.
    motion: Memo<bool>,
    /// The node the arrow keys stand on.
    active: RwSignal<Option<String>>,
) -> impl IntoView {
    let query = Query::get_context();
    let node = NodeRef::<Div>::new();
    let size = size_of(node);
    let hovered = RwSignal::new(None::<String>);
    // The address holds a view only when the person made one; else the map is fitted.
    let asked = query.memo("z");
    let own = RwSignal::new(None::<View>);
    Effect::new(move || own.set(asked.get().and_then(|z| View::read(&z))));
    let extent = Memo::new(move |_| scene.with(|s| bounds(s.nodes.values().map(|n| n.rect))));
    let chosen_place = move || {
        let id = selected.get_untracked()?;
        scene.with_untracked(|s| match id.strip_prefix("edge:") {
            Some(edge) => {
                let line = s.edges.get(edge)?;
                bounds([
                    s.nodes.get(&line.edge.from)?.rect,
                    s.nodes.get(&line.edge.to)?.rect,
                ])
            }
            None => s.nodes.get(&id).map(|n| n.rect),
        })
    };
    // The map is fitted when it or its extent is new. When only the window changes (the side panel opens), it keeps its
    // zoom and moves as little as needed: all of it stays in sight, or where it is too large, what is selected.
    let fitted = Memo::new(move |before: Option<&Option<(Rect, View)>>| {
        let (w, h) = size.get();
        let bounds = extent.get().filter(|_| w > 1.0 && h > 1.0)?;
        let whole = View::fit(bounds, w, h);
        let view = match before.copied().flatten() {
            Some((of, view)) if of == bounds && whole.k > view.k * 1.01 => whole,
            Some((of, view)) if of == bounds && whole.k >= view.k * 0.99 => {
                view.reveal(bounds, w, h)
            }
            Some((of, view)) if of == bounds => match chosen_place() {
                Some(rect) => view.reveal(rect, w, h),
                None => view,
            },
            _ => whole,
        };
        Some((bounds, view))
    });
    let view = Memo::new(move |_| {
        own.get()
            .or_else(|| fitted.get().map(|(_, view)| view))
            .unwrap_or_default()
    });
    let covered = Memo::new(move |_| {
        let Some((_, view)) = fitted.get() else {
            return false;
        };
        let corner = Rect {
            x: 0.0,
            y: size.get().1 - EXTENT.1,
            w: EXTENT.0,
            h: EXTENT.1,
        };
        scene.with(|s| {
            s.nodes.values().any(|n| {
                let r = n.rect;
                let on_screen = Rect {
                    x: view.x + r.x * view.k,
                    y: view.y + r.y * view.k,
                    w: r.w * view.k,
                    h: r.h * view.k,
                };
                on_screen.overlaps(&corner)
            })
        })
    });
    // The first fit is where the map is, not a move.
    let shown = RwSignal::new(false);
    Effect::new(move || {
        if fitted.with(Option::is_some) && !shown.get_untracked() {
            set_timeout(
                move || {
                    shown.try_set(true);
                },
                SETTLED,
            );
        }
    });
    let timer = StoredValue::new_local(None::<TimeoutHandle>);
    let settle = move || {
        timer.update_value(|t| {
            if let Some(t) = t.take() {
                t.clear();
            }
            *t = set_timeout_with_handle(
                move || {
                    let text = own.try_get_untracked().flatten().map(View::write);
                    query.replace("z", text.as_deref());
                },
                SETTLED,
            )
            .ok();
        });
    };
    on_cleanup(move || {
        timer.try_update_value(|t| {
            if let Some(t) = t.take() {
                t.clear();
            }
        });
    });
    let look = move |to: View| {
        own.set(Some(to));
        settle();
    };
    let zoom = move |factor: f64| {
        let (w, h) = size.get_untracked();
        look(view.get_untracked().zoom(factor, w / 2.0, h / 2.0));
    };
    let fit = move || {
        own.set(None);
        settle();
    };
    // What the keys stand on, and what the panel shows, is in the window.
    let reveal = move |id: &str| {
        let rect = scene.with_untracked(|s| s.nodes.get(id).map(|n| n.rect));
        let (w, h) = size.get_untracked();
        if let Some(rect) = rect {
            let now = view.get_untracked();
            let to = now.reveal(rect, w, h);
            if to != now {
                look(to);
            }
        }
    };

    let related = Memo::new(move |_| {
        let id = hovered.get()?;
        scene.with(|s| {
            let all = stream(&id, s.pairs());
            Some(Arc::new(
                all.into_iter().map(str::to_owned).collect::<HashSet<_>>(),
            ))
        })
    });
    let at = Pointers {
        scene,
        selected,
        hovered,
        active,
        related,
        select,
    };

    // Panning: from anywhere; a press that did not move is a click.
    let grab = StoredValue::new(None::<(f64, f64, View)>);
    let dragged = RwSignal::new(false);
    let chosen = Callback::new(move |id: String| {
        if !dragged.get_untracked() {
            select.run(id);
        }
    });
    let at = Pointers {
        select: chosen,
        ..at
    };

    on_keys(move |ev| {
        let key = ev.key();
        let way = match key.as_str() {
            "ArrowLeft" => Some(Way::Left),
            "ArrowRight" => Some(Way::Right),
            "ArrowUp" => Some(Way::Up),
            "ArrowDown" => Some(Way::Down),
            _ => None,
        };
        if let Some(way) = way {
            let next = scene.with_untracked(|s| {
                let places = s.places();
                match active.get_untracked().filter(|id| places.contains_key(id)) {
                    Some(at) => step(&at, way, &places, s.pairs()).map(str::to_owned),
                    None => places.keys().next().cloned(),
                }
            });
            if let Some(next) = next {
                reveal(&next);
                active.set(Some(next));
            }
            return true;
        }
        match key.as_str() {
            "+" | "=" => zoom(ZOOM_STEP),
            "-" => zoom(1.0 / ZOOM_STEP),
            "0" => fit(),
            "e" | "E" => {
                let all = scene.with_untracked(|s| s.alerting());
                if all.is_empty() {
                    return true;
                }
                let at = active
                    .get_untracked()
                    .and_then(|id| all.iter().position(|a| *a == id));
                let next = match (at, key.as_str()) {
                    (None, _) => 0,
                    (Some(i), "e") => (i + 1) % all.len(),
                    (Some(i), _) => (i + all.len() - 1) % all.len(),
                };
                reveal(&all[next]);
                active.set(Some(all[next].clone()));
            }
            _ => return false,
        }
        true
    });

    let edge_ids = Memo::new(move |_| {
        scene.with(|s| {
            s.edges
                .iter()
                .filter(|(_, l)| is_curve(&l.points))
                .map(|(id, _)| id.clone())
                .collect::<Vec<_>>()
        })
    });
    let flow_ids = Memo::new(move |_| {
        scene.with(|s| {
            let drawn = s.edges.values().filter(|l| is_curve(&l.points)).count();
            if !motion.get() || drawn > MOTION_EDGES {
                return Vec::new();
            }
            s.edges
                .iter()
                .filter(|(_, l)| l.flows && is_curve(&l.points))
                .map(|(id, _)| id.clone())
                .collect()
        })
    });
    let node_ids = Memo::new(move |_| scene.with(|s| s.nodes.keys().cloned().collect::<Vec<_>>()));
    let labels = Memo::new(move |_| {
        scene.with(|s| {
            let wanted = s
                .edges
                .values()
                .filter(|l| is_curve(&l.points))
                .filter_map(|l| {
                    Some(Wanted {
                        id: l.edge.id.clone(),
                        text: l.label.clone()?,
                        pill: l.tone.alerts(),
                        points: l.points.clone(),
                    })
                })
                .collect();
            let nodes: Vec<_> = s.nodes.values().map(|n| n.rect).collect();
            place(wanted, &nodes)
        })
    });
    let said = move || {
        scene.with(|s| {
            format!(
                "Flow map, {} nodes, {} edges. Arrow keys follow the flow, Enter opens; press T for the same data as a table.",
                s.nodes.len(),
                s.edges.len()
            )
        })
    };

    view! {
        <div class="canvas" node_ref=node data-testid="map-canvas"
            class:grabbing=dragged
            on:pointerdown=move |ev| {
                if ev.button() == 0 {
                    dragged.set(false);
                    grab.set_value(Some((f64::from(ev.client_x()), f64::from(ev.client_y()), view.get_untracked())));
                }
            }
            on:pointermove=move |ev| {
                let Some((x, y, from)) = grab.get_value() else { return };
                let (dx, dy) = (f64::from(ev.client_x()) - x, f64::from(ev.client_y()) - y);
                if !dragged.get_untracked() && dx.hypot(dy) > DRAG_PX {
                    dragged.set(true);
                    if let Some(node) = node.get_untracked() {
                        let _ = node.set_pointer_capture(ev.pointer_id());
                    }
                }
                if dragged.get_untracked() {
                    own.set(Some(from.pan(dx, dy)));
                }
            }
            on:pointerup=move |_| {
                grab.set_value(None);
                if dragged.get_untracked() {
                    settle();
                    // After the click that ends this drag.
                    set_timeout(move || { dragged.try_set(false); }, Duration::ZERO);
                }
            }
            on:pointercancel=move |_| { grab.set_value(None); dragged.set(false); }
            on:wheel=move |ev| {
                ev.prevent_default();
                let now = view.get_untracked();
                // A wheel in lines moves about 16 px a line.
                let px = if ev.delta_mode() == 1 { 16.0 } else { 1.0 };
                let to = if ev.ctrl_key() || ev.meta_key() {
                    let rect = node.get_untracked().map(|n| n.get_bounding_client_rect());
                    let (left, top) = rect.map_or((0.0, 0.0), |r| (r.left(), r.top()));
                    let factor = (-ev.delta_y() * px * 0.002).exp().clamp(0.5, 2.0);
                    now.zoom(factor, f64::from(ev.client_x()) - left, f64::from(ev.client_y()) - top)
                } else if ev.shift_key() {
                    now.pan(-ev.delta_y() * px, -ev.delta_x() * px)
                } else {
                    now.pan(-ev.delta_x() * px, -ev.delta_y() * px)
                };
                look(to);
            }>
            <svg role="application" aria-label=said class=move || format!("lod{}", view.get().detail())>
                <g class="world" class:glide=move || shown.get() && own.with(Option::is_none) style:transform=move || { let v = view.get(); format!("translate({:.2}px, {:.2}px) scale({:.4})", v.x, v.y, v.k) }>
                    <g><For each=move || edge_ids.get() key=Clone::clone children=move |id| edge_view(id, at)/></g>
                    <g aria-hidden="true"><For each=move || flow_ids.get() key=Clone::clone children=move |id| flow_view(id, at)/></g>
                    <g><For each=move || node_ids.get() key=Clone::clone children=move |id| node_view(id, at)/></g>
                    <g aria-hidden="true">{move || labels.get().into_iter().map(|label| label_view(label, at)).collect_view()}</g>
                </g>
            </svg>
            <Legend covers=covered/>
            <div class="hud zoom">
                <button class="btn ghost s icon" aria-label="Zoom out (-)" title="Zoom out (-)" on:click=move |_| zoom(1.0 / ZOOM_STEP)>{Icon::Minus.draw("")}</button>
                <span class="fs11 t2 num zoomed" data-testid="zoom">{move || format!("{:.0}%", view.get().k * 100.0)}</span>
                <button class="btn ghost s icon" aria-label="Zoom in (+)" title="Zoom in (+)" on:click=move |_| zoom(ZOOM_STEP)>{Icon::Plus.draw("")}</button>
                <span class="vr"></span>
                <button class="btn ghost s icon" aria-label="Fit (0)" title="Fit (0)" on:click=move |_| fit()>{Icon::Fit.draw("")}</button>
            </div>
        </div>
    }
}

/// Draws an edge's label.
fn label_view(label: Label, at: Pointers) -> impl IntoView {
    let id = label.id.clone();
    let tone = at
        .scene
        .with_untracked(|s| s.edges.get(&id).map(|l| l.tone.class()).unwrap_or_default());
    let dim = Memo::new(move |_| {
        at.related.with(|r| {
            r.as_ref().is_some_and(|r| {
                at.scene.with(|s| {
                    s.edges
                        .get(&id)
                        .is_some_and(|l| !r.contains(&l.edge.from) || !r.contains(&l.edge.to))
                })
            })
        })
    });
    let class = format!("elab {tone} {}", if label.pill { "pill" } else { "" });
    let lit = move || at.related.with(Option::is_some) && !dim.get();
    view! {
        <g class="elabg" class:dim=dim class:lit=lit class:alert=label.pill>
            {label.pill.then(|| view! {
                <rect class=format!("epill {tone}") x=label.x - label.w / 2.0 y=label.y - 3.5 - HEIGHT / 2.0 width=label.w height=HEIGHT rx="8"></rect>
            })}
            <text class=class x=label.x y=label.y text-anchor="middle">{label.text}</text>
        </g>
    }
}

/// Returns an element's width and height, followed as they change.
fn size_of(node: NodeRef<Div>) -> Memo<(f64, f64)> {
    let width = crate::components::chart::width_of(node);
    let height = RwSignal::new(0.0);
    let measure = move || {
        if let Some(node) = node.get_untracked() {
            height.set(f64::from(node.client_height()));
        }
    };
    Effect::new(move || {
        node.track();
        width.track();
        measure();
    });
    let handle = window_event_listener(leptos::ev::resize, move |_| measure());
    on_cleanup(move || handle.remove());
    Memo::new(move |_| (width.get(), height.get()))
}
