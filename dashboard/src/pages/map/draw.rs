//! Nodes and edges as SVG.

use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::lag::State;
use highwater_shared::topology::NodeKind;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::model::{HANDLE, Line, Placed, Scene, is_silent, kind_word, node_name};
use crate::components::icons::Icon;
use crate::components::marks::state_word;
use crate::format::gauge_level;
use crate::graph::edges::{arrow, particle_gap, path, width};
use crate::graph::shapes::{cut_corners, cylinder, fit, rounded};

/// Returns the classes of a node: its kind, and how it stands.
fn node_class(placed: &Placed) -> String {
    let node = &placed.node;
    let kind = if is_silent(node) {
        "ext"
    } else {
        match node.kind {
            NodeKind::Service => "service",
            NodeKind::Topic | NodeKind::RetryTopic => "topic",
            NodeKind::DeadLetterTopic => "dlq",
            NodeKind::Group => "group",
            NodeKind::Unknown => "ext",
        }
    };
    format!("node {kind} {}", status_class(placed))
}

/// Returns the class of how a node stands.
fn status_class(placed: &Placed) -> &'static str {
    let state = placed.node.lag.as_ref().map(|l| l.state);
    match (placed.node.level, state) {
        (_, Some(State::DataLoss)) | (Level::Critical, _) => "crit",
        (_, Some(State::Rewound)) => "info",
        (Level::Warning, _) => "warn",
        _ => "",
    }
}

/// Returns what a screen reader says of a node: name and numbers as they are seen, then kind and state.
fn node_label(placed: &Placed) -> String {
    let node = &placed.node;
    let (behind, state) = match &node.lag {
        Some(lag) => (
            if lag.lag_messages.is_some() {
                " behind"
            } else {
                ""
            },
            format!(", {}", state_word(lag.state)),
        ),
        None => ("", String::new()),
    };
    let kind = kind_word(node).to_lowercase();
    format!("{} {}{behind}, {kind}{state}", node_name(node), placed.line)
}

/// Draws a node at the origin of its group.
fn node_shape(placed: &Placed) -> AnyView {
    let (node, rect) = (&placed.node, placed.rect);
    let (w, h) = (rect.w, rect.h);
    let (name_y, line_y) = (h / 2.0 - 3.0, h / 2.0 + 10.5);
    let status = status_class(placed);
    let name = node_name(node);
    let text = |x: f64, room: f64| {
        view! {
            <text class="nm" x=x y=name_y>{fit(&name, room, 11.0, true)}</text>
            <text class=format!("mt {status}") x=x y=line_y>{fit(&placed.line, room, 10.0, !status.is_empty())}</text>
        }
    };
    match node.kind {
        NodeKind::Topic | NodeKind::RetryTopic => {
            let (outline, end) = cylinder(w, h);
            view! {
                <path class="sh" d=outline></path>
                <path class="sh end" d=end></path>
                {text(12.0, w - 28.0)}
            }
            .into_any()
        }
        NodeKind::DeadLetterTopic => view! {
            <path class="sh" d=cut_corners(w, h)></path>
            <g class="ig c-dlq" transform=format!("translate(8 {}) scale(.75)", h / 2.0 - 14.0) inner_html=Icon::DeadLetter.inner()></g>
            <text class="nm" x="24" y=name_y>{fit(&name, w - 34.0, 11.0, true)}</text>
            <text class=format!("mt {status}") x="24" y=line_y>{fit(&placed.line, w - 34.0, 10.0, !status.is_empty())}</text>
        }
        .into_any(),
        NodeKind::Group => {
            let corners = if placed.docked { [4.0, 0.0, 0.0, 4.0] } else { [3.0; 4] };
            let tube = h - 12.0;
            let lag = node.lag.as_ref();
            let level = lag
                .and_then(|l| Some((l.time_lag_ms?, l.mark_ms)))
                .map(|(time, mark)| {
                    let drawn = gauge_level(time, mark) * tube;
                    if time > 0 { drawn.max(1.5) } else { drawn }
                });
            let mark = 6.0 + tube * 0.3;
            view! {
                <path class="sh" d=rounded(w, h, corners)></path>
                <rect class=if level.is_some() { "gt" } else { "gt unk" } x="9" y="6" width="7" height=tube rx="2"></rect>
                {level.map(|level| view! {
                    <rect class="gl" x="9" y=6.0 + tube - level width="7" height=level rx="2"></rect>
                    <path class="gm" d=format!("M6.5 {mark}h12")></path>
                })}
                {text(24.0, w - 30.0)}
            }
            .into_any()
        }
        NodeKind::Service | NodeKind::Unknown => {
            let corners = if placed.has_docks { [0.0, 6.0, 6.0, 0.0] } else { [6.0; 4] };
            view! {
                <path class="sh" d=rounded(w, h, corners)></path>
                {text(10.0, w - 16.0)}
            }
            .into_any()
        }
    }
}

/// What drawing needs to know besides the scene.
#[derive(Clone, Copy)]
pub(super) struct Pointers {
    /// The scene.
    pub(super) scene: Memo<Arc<Scene>>,
    /// What the side panel shows.
    pub(super) selected: Memo<Option<String>>,
    /// The node under the pointer.
    pub(super) hovered: RwSignal<Option<String>>,
    /// The node the arrow keys stand on.
    pub(super) active: RwSignal<Option<String>>,
    /// Up- and downstream of the node under the pointer; `None` without one.
    pub(super) related: Memo<Option<Arc<std::collections::HashSet<String>>>>,
    /// Opens the side panel.
    pub(super) select: Callback<String>,
}

/// Draws a node and keeps it up to date.
pub(super) fn node_view(id: String, at: Pointers) -> impl IntoView {
    let Pointers {
        scene,
        selected,
        hovered,
        active,
        related,
        select,
    } = at;
    let mine = id.clone();
    let placed = Memo::new(move |_| scene.with(|s| s.nodes.get(&mine).cloned()));
    let ids = StoredValue::new(id.clone());
    let is = move |other: &Option<String>| ids.with_value(|id| other.as_deref() == Some(id));
    let node = NodeRef::<leptos::svg::G>::new();
    // The keyboard stands here: the browser's focus follows.
    Effect::new(move |was: Option<bool>| {
        let now = active.with(is);
        if now
            && was == Some(false)
            && let Some(node) = node.get()
        {
            let _ = node.unchecked_ref::<web_sys::SvgElement>().focus();
        }
        now
    });
    let first = move || {
        active.with(Option::is_none)
            && scene.with(|s| ids.with_value(|id| s.nodes.keys().next() == Some(id)))
    };
    view! {
        <g node_ref=node role="button" data-testid="map-node" data-id=id
            class=move || placed.with(|p| p.as_ref().map(node_class).unwrap_or_default())
            class:sel=move || selected.with(is)
            class:dim=move || related.with(|r| r.as_ref().is_some_and(|r| ids.with_value(|id| !r.contains(id))))
            tabindex=move || if active.with(is) || first() { "0" } else { "-1" }
            aria-label=move || placed.with(|p| p.as_ref().map(node_label))
            aria-pressed=move || selected.with(is).to_string()
            style:transform=move || placed.with(|p| p.as_ref().map(|p| format!("translate({}px, {}px)", p.rect.x, p.rect.y)).unwrap_or_default())
            on:pointermove=move |ev| {
                // When the map moves under a pointer at rest, nobody pointed at anything.
                let moved = ev.movement_x() != 0 || ev.movement_y() != 0;
                if moved && !hovered.with_untracked(is) {
                    hovered.set(Some(ids.get_value()));
                }
            }
            on:pointerleave=move |_| if hovered.with_untracked(Option::is_some) { hovered.set(None) }
            on:focus=move |_| if !active.with_untracked(is) { active.set(Some(ids.get_value())) }
            on:click=move |_| select.run(ids.get_value())
            on:keydown=move |ev| if matches!(ev.key().as_str(), "Enter" | " ") {
                ev.prevent_default();
                ev.stop_propagation();
                select.run(ids.get_value());
            }>
            {move || placed.with(|p| p.as_ref().map(|p| view! {
                <g aria-hidden="true">
                    <title>{format!("{}: {}", node_name(&p.node), p.line)}</title>
                    {node_shape(p)}
                </g>
            }))}
        </g>
    }
}

/// Draws an edge with its arrow, and what a press on it hits.
pub(super) fn edge_view(id: String, at: Pointers) -> impl IntoView {
    let Pointers {
        scene,
        selected,
        related,
        select,
        ..
    } = at;
    let mine = id.clone();
    let line = Memo::new(move |_| scene.with(|s| s.edges.get(&mine).cloned()));
    let key = format!("edge:{id}");
    let chosen = Memo::new(move |_| selected.with(|s| s.as_deref() == Some(key.as_str())));
    let dim = Memo::new(move |_| {
        related.with(|r| {
            r.as_ref().is_some_and(|r| {
                line.with(|l| {
                    l.as_ref()
                        .is_some_and(|l| !r.contains(&l.edge.from) || !r.contains(&l.edge.to))
                })
            })
        })
    });
    let d =
        Memo::new(move |_| line.with(|l| l.as_ref().map(|l| path(&l.points)).unwrap_or_default()));
    let class = |base: &str, l: &Line| {
        let dash = if l.edge.instrumented { "" } else { " dash" };
        format!("{base} {}{dash}", l.tone.class())
    };
    let pressed = format!("edge:{id}");
    let press = Callback::new(move |()| select.run(pressed.clone()));
    let spot = move |axis: usize| line.with(|l| l.as_ref().and_then(|l| l.handle).map(|h| h[axis]));
    view! {
        <g class="edgeg" class:dim=dim>
            {move || chosen.get().then(|| view! { <path class="edge sel" d=d stroke-width="12" stroke-linecap="round"></path> })}
            {move || line.with(|l| l.as_ref().map(|l| {
                let w = width(l.edge.rate);
                view! {
                    <path class=class("edge", l) d=d stroke-width=format!("{w:.1}")></path>
                    <path class=format!("arrow {}", l.tone.class()) d=arrow(&l.points, w)></path>
                }
            }))}
            <path class="edgehit" d=d on:click=move |_| press.run(())></path>
            <circle class="edgehit" data-testid="map-edge" data-id=id r=HANDLE
                cx=move || spot(0) cy=move || spot(1) on:click=move |_| press.run(())></circle>
        </g>
    }
}

/// What the particles of an edge are drawn from.
#[derive(Clone, PartialEq)]
struct Particles {
    path: String,
    gap: f64,
    thick: bool,
    hot: bool,
    from: String,
    to: String,
}

/// Draws the particles of an edge.
pub(super) fn flow_view(id: String, at: Pointers) -> impl IntoView {
    let particles = Memo::new(move |_| {
        at.scene.with(|s| {
            s.edges.get(&id).map(|l| Particles {
                path: path(&l.points),
                gap: particle_gap(l.edge.rate.unwrap_or_default()),
                thick: l.edge.rate >= Some(800.0),
                hot: l.tone.alerts(),
                from: l.edge.from.clone(),
                to: l.edge.to.clone(),
            })
        })
    });
    let dim = Memo::new(move |_| {
        at.related.with(|r| {
            r.as_ref().is_some_and(|r| {
                particles.with(|p| {
                    p.as_ref()
                        .is_some_and(|p| !r.contains(&p.from) || !r.contains(&p.to))
                })
            })
        })
    });
    let part = move |of: fn(&Particles) -> String| {
        Memo::new(move |_| particles.with(|p| p.as_ref().map(of)))
    };
    view! {
        <path class="flow" class:hot=move || particles.with(|p| p.as_ref().is_some_and(|p| p.hot)) class:dim=dim
            d=part(|p| p.path.clone())
            stroke-width=part(|p| if p.thick { "2" } else { "1.6" }.to_owned())
            stroke-dasharray=part(|p| format!("0 {:.2}", p.gap))></path>
    }
}
