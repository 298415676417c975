//! Where do events flow, and where do they back up?

mod canvas;
mod draw;
mod labels;
mod legend;
mod model;
mod panel;
mod tables;

use std::sync::Arc;

use highwater_shared::topology::{Layout, Topology};
use leptos::prelude::*;

use self::canvas::Canvas;
use self::labels::{Labels, LabelsMenu};
use self::model::{Scene, Toggles, hidden, node_name};
use self::panel::Details;
use self::tables::{Edges, Nodes};
use crate::api::{Fetched, fetch};
use crate::components::icons::Icon;
use crate::components::loading::{error_box, loaded};
use crate::components::page::{Layout as PageLayout, Page};
use crate::components::range::range_name;
use crate::components::surface::{Banner, Blank, Tone};
use crate::components::table::TableFilter;
use crate::format::plural;
use crate::state::keys::on_keys;
use crate::state::query::Query;

/// Nodes that can be read at once.
const READABLE: usize = 300;
/// Hops around the focus, when the address names none.
const HOPS: u8 = 1;

/// The flow map: drawn, and as a table.
#[component]
pub(crate) fn Map() -> impl IntoView {
    let query = Query::get_context();
    // What a node's neighbourhood is asked for; both answers must be about the same.
    let own = move || {
        let mut own = Vec::new();
        if let Some(focus) = query.get("focus") {
            own.push(("focus".to_owned(), focus));
            own.push(("hops".to_owned(), hops(query).to_string()));
        }
        own
    };
    let ask = move |path: &'static str| {
        let own = own();
        let own: Vec<(&str, &str)> = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Some(query.api(path, &own))
    };
    let topology = fetch::<Topology>(&["topology", "groups", "dead_letters"], move || {
        ask("/topology")
    });
    let layout = fetch::<Layout>(&[], move || ask("/topology/layout"));
    // The layout is asked for again only when nodes or edges came or went.
    Effect::new(move || {
        let version = topology
            .data
            .with(|t| t.as_ref().map(|t| t.version.clone()));
        let drawn = layout
            .data
            .with_untracked(|l| l.as_ref().map(|l| l.version.clone()));
        if version.is_some()
            && drawn.is_some()
            && version != drawn
            && !layout.pending.get_untracked()
        {
            layout.refetch();
        }
    });

    let table = Memo::new(move |_| query.get("view").as_deref() == Some("table"));
    let toggle_table = move || {
        let to = if table.get_untracked() {
            None
        } else {
            Some("table")
        };
        query.change(&[("view", to), ("sort", None), ("f", None)], false);
    };
    let active = RwSignal::new(None::<String>);
    let selected = query.memo("sel");
    let focus = Callback::new(move |id: String| {
        query.change(&[("focus", Some(&id)), ("hops", None), ("z", None)], false);
    });
    let focused = query.memo("focus");
    on_keys(move |ev| match ev.key().as_str() {
        "T" => {
            toggle_table();
            true
        }
        "o" => {
            let at = active
                .get_untracked()
                .or_else(|| selected.get_untracked().filter(|s| !s.starts_with("edge:")));
            match at {
                Some(id) => focus.run(id),
                None => return false,
            }
            true
        }
        key @ ("1" | "2" | "3" | "4" | "5") if focused.get_untracked().is_some() => {
            query.change(&[("hops", (key != "1").then_some(key)), ("z", None)], false);
            true
        }
        "Escape" if focused.get_untracked().is_some() && selected.get_untracked().is_none() => {
            query.change(&[("focus", None), ("hops", None), ("z", None)], false);
            true
        }
        _ => false,
    });

    view! {
        <Page title="Flow map" layout=PageLayout::Bench>
            <Tools table=table toggle=Callback::new(move |()| toggle_table()) topology=topology/>
            {loaded("the flow map", topology, skeleton, move |data| view! {
                <Body data layout table active selected focus/>
            })}
        </Page>
    }
}

/// Returns the hops around the focus; tracked.
fn hops(query: Query) -> u8 {
    query
        .get("hops")
        .and_then(|h| h.parse().ok())
        .filter(|h| (1..=5).contains(h))
        .unwrap_or(HOPS)
}

/// Returns what the toggles say; tracked.
fn toggles(query: Query) -> Toggles {
    Toggles {
        idle: query.get("idle").as_deref() == Some("1"),
        uninstrumented: query.get("uninst").as_deref() != Some("0"),
        labels: Labels::read(query.get("labels").as_deref()),
    }
}

/// What stands there before the map: the canvas, empty.
fn skeleton() -> impl IntoView {
    view! { <div class="mapwrap"><div class="mapcol"><div class="canvas" aria-busy="true" aria-label="Loading the map"></div></div></div> }
}

/// The page bar.
#[component]
fn Tools(table: Memo<bool>, toggle: Callback<()>, topology: Fetched<Topology>) -> impl IntoView {
    let query = Query::get_context();
    let nodes_listed = Memo::new(move |_| query.get("list").as_deref() == Some("nodes"));
    let focused = query.memo("focus");
    let name = move |id: &str| {
        topology.data.with(|t| {
            t.as_ref()
                .and_then(|t| t.nodes.iter().find(|n| n.id == id).map(node_name))
                .unwrap_or_else(|| id.to_owned())
        })
    };
    let switch = move |key: &'static str,
                       on_value: Option<&'static str>,
                       off_value: Option<&'static str>,
                       word: &'static str,
                       on: Memo<bool>| {
        view! {
            <button class="switch" role="switch" aria-checked=move || on.get().to_string()
                on:click=move |_| query.set(key, if on.get_untracked() { off_value } else { on_value })>
                <i></i>{word}
            </button>
        }
    };
    let hidden = Memo::new(move |_| {
        topology.data.with(|t| {
            let (idle, silent) = hidden(t.as_deref()?, toggles(query));
            let parts: Vec<String> = [(idle, "idle"), (silent, "not instrumented")]
                .into_iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}"))
                .collect();
            (!parts.is_empty()).then(|| format!("{} hidden", parts.join(", ")))
        })
    });
    let idle = Memo::new(move |_| toggles(query).idle);
    let uninstrumented = Memo::new(move |_| toggles(query).uninstrumented);
    let motion = Memo::new(move |_| query.get("motion").as_deref() != Some("0"));
    view! {
        <div class="pagebar" role="toolbar" aria-label="Map tools">
            <div class="seg" role="group" aria-label="View">
                <button aria-pressed=move || (!table.get()).to_string() on:click=move |_| if table.get_untracked() { toggle.run(()) }>
                    {Icon::Map.draw("i-s")}"Map"
                </button>
                <button aria-pressed=move || table.get().to_string() title="The same data as a table (T)" data-testid="map-table"
                    on:click=move |_| if !table.get_untracked() { toggle.run(()) }>
                    {Icon::Table.draw("i-s")}"Table"
                </button>
            </div>
            <Show when=move || table.get()>
                <div class="seg" role="group" aria-label="Rows">
                    <button aria-pressed=move || (!nodes_listed.get()).to_string() on:click=move |_| query.change(&[("list", None), ("sort", None)], false)>"Edges"</button>
                    <button aria-pressed=move || nodes_listed.get().to_string() on:click=move |_| query.change(&[("list", Some("nodes")), ("sort", None)], false)>"Nodes"</button>
                </div>
                <TableFilter placeholder="service, topic or group"/>
            </Show>
            {move || focused.get().map(|id| view! {
                <span class="tok"><span class="k">"Around"</span>{name(&id)}
                    <button class="x" aria-label="Show the whole map (Esc)" title="Show the whole map (Esc)"
                        on:click=move |_| query.change(&[("focus", None), ("hops", None), ("z", None)], false)>{Icon::Close.draw("i-xs")}</button>
                </span>
                <div class="seg" role="group" aria-label="Hops around it">
                    {(1..=5_u8).map(|n| view! {
                        <button aria-pressed=move || (hops(query) == n).to_string() title=format!("{} ({n})", plural(u64::from(n), "hop", "hops"))
                            on:click=move |_| query.change(&[("hops", (n != HOPS).then_some(n.to_string()).as_deref()), ("z", None)], false)>{n}</button>
                    }).collect_view()}
                </div>
            })}
            <Show when=move || !table.get()>
                <span class="right row switches">
                    {move || hidden.get().map(|text| view! { <span class="badge" data-testid="map-hidden">{text}</span> })}
                    <LabelsMenu/>
                    {switch("idle", Some("1"), None, "Idle", idle)}
                    {switch("uninst", None, Some("0"), "Not instrumented", uninstrumented)}
                    {switch("motion", None, Some("0"), "Motion", motion)}
                </span>
            </Show>
        </div>
    }
}

/// Map or table, and the side panel.
#[component]
fn Body(
    data: Signal<Arc<Topology>>,
    layout: Fetched<Layout>,
    table: Memo<bool>,
    active: RwSignal<Option<String>>,
    selected: Memo<Option<String>>,
    focus: Callback<String>,
) -> impl IntoView {
    let query = Query::get_context();
    let select = Callback::new(move |id: String| query.replace("sel", Some(&id)));
    let close = Callback::new(move |()| query.replace("sel", None));
    let scene = Memo::new(move |_| {
        let toggles = toggles(query);
        Arc::new(layout.data.with(|l| {
            l.as_ref()
                .map_or_else(Scene::default, |l| data.with(|t| Scene::new(t, l, toggles)))
        }))
    });
    let motion = Memo::new(move |_| query.get("motion").as_deref() != Some("0"));
    let nodes_listed = Memo::new(move |_| query.get("list").as_deref() == Some("nodes"));
    let none = Memo::new(move |_| data.with(|t| t.nodes.is_empty()));
    let too_many = Memo::new(move |_| {
        let n = scene.with(|s| s.nodes.len());
        (n > READABLE).then_some(n)
    });
    let worst = move || scene.with(|s| s.alerting().into_iter().next());
    view! {
        <div class="mapbody">
            {move || data.with(|t| t.truncated).then(|| view! {
                <Banner tone=Tone::Warning>
                    <span><b>"There are more nodes or edges than the map holds."</b>" "<span class="t2">"The rest is counted in (other); a cluster or a shorter range shows more."</span></span>
                </Banner>
            })}
            <div class="mapwrap">
                <div class="mapcol">
                    {move || {
                        if none.get() {
                            return view! { <Nothing/> }.into_any();
                        }
                        if table.get() {
                            return if nodes_listed.get() {
                                view! { <Nodes topology=data selected select/> }.into_any()
                            } else {
                                view! { <Edges topology=data selected select/> }.into_any()
                            };
                        }
                        view! {
                            <div class="mapbox">
                                {move || match (layout.data.with(Option::is_some), layout.error.get()) {
                                    (false, Some(error)) => Some(error_box("where things stand on the map", &error, move || layout.refetch())),
                                    _ => None,
                                }}
                                <Canvas scene selected select motion active/>
                                {move || too_many.get().map(|n| view! {
                                    <div class="hud top toomany" role="status">
                                        <span><b>{format!("{} nodes", crate::format::count_full(n as u64))}</b><span class="t2">" are too many to read at once."</span></span>
                                        {move || worst().map(|id| view! { <button class="btn s" on:click=move |_| focus.run(id.clone())>"Focus on what alerts"</button> })}
                                        <button class="btn s" on:click=move |_| query.set("view", Some("table"))>"Show as table"</button>
                                    </div>
                                })}
                            </div>
                        }.into_any()
                    }}
                </div>
                <Details topology=data selected select close focus/>
            </div>
        </div>
    }
}

/// Says that nothing flowed, and what to do.
#[component]
fn Nothing() -> impl IntoView {
    let query = Query::get_context();
    view! {
        <Blank icon=Icon::Map title="Nothing flowed in this range">
            <p class="fs12 t2">{move || format!("No span and no broker told of traffic in the {}.", range_name(query))}</p>
            <div class="row">
                <button class="btn primary" on:click=move |_| query.change(&[("from", Some("now-24h")), ("to", None)], false)>"Show the last 24\u{a0}h"</button>
                <a class="btn" href=move || query.link("/first-run", &[])>"How to send spans"</a>
            </div>
        </Blank>
    }
}
