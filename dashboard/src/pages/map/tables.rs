//! The map as tables: all nodes and edges with the same numbers.

use std::sync::Arc;

use highwater_shared::topology::{Edge, EdgeKind, Node, Percentiles, Topology};
use leptos::prelude::*;

use super::model::{edge_word, failed, kind_mark, kind_word, node_name};
use crate::components::icons::Icon;
use crate::components::marks::{Kind, entity_plain, known, state_mark, unknown};
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table};
use crate::format::{count, duration_ns, rate, time_lag};

/// An edge with its two nodes.
#[derive(Clone, PartialEq)]
struct Row {
    edge: Edge,
    from: Option<Node>,
    to: Option<Node>,
}

impl Row {
    fn end(node: Option<&Node>, id: &str) -> (Kind, String) {
        node.map_or_else(
            || (Kind::Unknown, id.to_owned()),
            |n| (kind_mark(n), node_name(n)),
        )
    }

    fn from(&self) -> (Kind, String) {
        Self::end(self.from.as_ref(), &self.edge.from)
    }

    fn to(&self) -> (Kind, String) {
        Self::end(self.to.as_ref(), &self.edge.to)
    }

    /// The group or dead-letter topic whose waiting messages the row tells.
    fn waiting(&self) -> Option<u64> {
        let to = self.to.as_ref()?;
        to.lag
            .as_ref()
            .and_then(|l| l.lag_messages)
            .or_else(|| to.dead_letters.as_ref().and_then(|d| d.retained))
    }

    fn waits(&self) -> bool {
        self.to
            .as_ref()
            .is_some_and(|n| n.lag.is_some() || n.dead_letters.is_some())
    }
}

const NO_SPANS: &str = "No span of this edge was seen in the last 5 minutes";

fn latency(percentiles: Option<Percentiles>, of: fn(&Percentiles) -> u64) -> AnyView {
    known(percentiles.map(|p| duration_ns(of(&p))), NO_SPANS)
}

fn wait_key(row: &Row, of: fn(&Percentiles) -> u64) -> SortKey {
    SortKey::count(main_latency(&row.edge).map(|p| of(&p)))
}

/// The latency a row tells: the time in the broker where there is one, else produce or process.
fn main_latency(edge: &Edge) -> Option<Percentiles> {
    let latency = &edge.latency;
    match edge.kind {
        // A delivery's wait; what the topic's producers took, told beside it, is no latency of this group.
        EdgeKind::Delivers => latency.in_broker,
        _ => latency.in_broker.or(latency.produce).or(latency.process),
    }
}

/// Writes nanoseconds as seconds, for CSV.
fn seconds(percentiles: Option<Percentiles>, of: fn(&Percentiles) -> u64) -> String {
    percentiles
        .map(|p| format!("{:.6}", of(&p) as f64 / 1e9))
        .unwrap_or_default()
}

fn number(value: Option<impl std::fmt::Display>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// All edges.
#[component]
pub(super) fn Edges(
    /// The topology.
    #[prop(into)]
    topology: Signal<Arc<Topology>>,
    /// What the side panel shows.
    selected: Memo<Option<String>>,
    /// Opens the side panel.
    select: Callback<String>,
) -> impl IntoView {
    let rows = Signal::derive(move || {
        topology.with(|t| {
            let nodes: std::collections::HashMap<&str, &Node> =
                t.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
            let find = |id: &str| nodes.get(id).map(|n| (*n).clone());
            t.edges
                .iter()
                .map(|e| Row {
                    edge: e.clone(),
                    from: find(&e.from),
                    to: find(&e.to),
                })
                .collect::<Vec<_>>()
        })
    });
    let chosen = Signal::derive(move || {
        selected
            .get()
            .and_then(|s| s.strip_prefix("edge:").map(str::to_owned))
    });
    let columns = vec![
        Column::new("from", "From", |r: &Row| {
            let (k, n) = r.from();
            entity_plain(k, &n)
        })
        .sort(|r| SortKey::Text(r.from().1))
        .csv("from", |r| r.edge.from.clone()),
        Column::new("to", "To", |r: &Row| {
            let (k, n) = r.to();
            entity_plain(k, &n)
        })
        .sort(|r| SortKey::Text(r.to().1))
        .csv("to", |r| r.edge.to.clone()),
        Column::new("kind", "Kind", |r: &Row| {
            let text = edge_word(r.edge.kind).trim_start_matches("Edge, ");
            let dashed = if r.edge.instrumented {
                ""
            } else {
                ", from offsets"
            };
            view! { <span class="t2">{text}{dashed}</span> }
        })
        .sort(|r| SortKey::Text(format!("{:?}", r.edge.kind)))
        .csv("kind", |r| format!("{:?}", r.edge.kind).to_lowercase()),
        Column::new("state", "State", |r: &Row| {
            r.to.as_ref().and_then(|n| {
                n.lag
                    .as_ref()
                    .map(|l| state_mark(l.state, n.level, &l.reason))
            })
        })
        .sort(|r| {
            // Worst first when descending.
            r.to.as_ref()
                .and_then(|n| n.lag.as_ref())
                .map_or(SortKey::Unknown, |l| {
                    SortKey::Number(-(l.state as u8 as f64))
                })
        })
        .csv("state", |r| {
            r.to.as_ref()
                .and_then(|n| n.lag.as_ref())
                .map(|l| format!("{:?}", l.state).to_lowercase())
                .unwrap_or_default()
        }),
        Column::new("rate", "Rate", |r: &Row| {
            known(r.edge.rate.map(rate), NO_SPANS)
        })
        .right()
        .class("t2")
        .tip("Messages a second over the last 5 minutes")
        .sort(|r| SortKey::number(r.edge.rate))
        .csv("rate_per_s", |r| number(r.edge.rate)),
        Column::new("messages", "Messages", |r: &Row| {
            known(r.edge.messages.map(count), "No spans tell")
        })
        .right()
        .tip("Messages in the range; for groups, processing attempts")
        .sort(|r| SortKey::count(r.edge.messages))
        .csv("messages", |r| number(r.edge.messages)),
        Column::new("p50", "p50", |r: &Row| {
            latency(main_latency(&r.edge), |p| p.p50_ns)
        })
        .right()
        .tip("Time in broker; produce or process time where none was measured")
        .sort(|r| wait_key(r, |p| p.p50_ns))
        .csv("p50_s", |r| seconds(main_latency(&r.edge), |p| p.p50_ns)),
        Column::new("p95", "p95", |r: &Row| {
            latency(main_latency(&r.edge), |p| p.p95_ns)
        })
        .right()
        .sort(|r| wait_key(r, |p| p.p95_ns))
        .csv("p95_s", |r| seconds(main_latency(&r.edge), |p| p.p95_ns)),
        Column::new("p99", "p99", |r: &Row| {
            latency(main_latency(&r.edge), |p| p.p99_ns)
        })
        .right()
        .sort(|r| wait_key(r, |p| p.p99_ns))
        .csv("p99_s", |r| seconds(main_latency(&r.edge), |p| p.p99_ns)),
        Column::new("errors", "Failed", |r: &Row| {
            known(failed(&r.edge), "No spans tell")
        })
        .right()
        .tip("Failed attempts of all in the range")
        .sort(|r| {
            SortKey::number(
                r.edge
                    .messages
                    .filter(|m| *m > 0)
                    .and_then(|m| Some(r.edge.errors? as f64 / m as f64)),
            )
        })
        .csv("errors", |r| number(r.edge.errors)),
        Column::new("waiting", "Waiting", |r: &Row| {
            if r.waits() {
                known(r.waiting().map(count), "The broker's offsets are not known")
            } else {
                ().into_any()
            }
        })
        .right()
        .tip("Messages that wait for the group, or dead letters kept")
        .sort(|r| SortKey::count(r.waiting()))
        .csv("waiting", |r| number(r.waiting())),
    ];
    view! {
        <Table name="edges" rows=rows id=|r: &Row| r.edge.id.clone() columns=columns
            text=|r: &Row| format!("{} {}", r.from().1, r.to().1) sort="-state" in_url=true fill=true
            open=Callback::new(move |r: Row| select.run(format!("edge:{}", r.edge.id)))
            selected=chosen test="edge-row" empty=nothing />
    }
}

/// All nodes.
#[component]
pub(super) fn Nodes(
    /// The topology.
    #[prop(into)]
    topology: Signal<Arc<Topology>>,
    /// What the side panel shows.
    selected: Memo<Option<String>>,
    /// Opens the side panel.
    select: Callback<String>,
) -> impl IntoView {
    let rows = Signal::derive(move || topology.with(|t| t.nodes.clone()));
    let lag_ms = |n: &Node| n.lag.as_ref().and_then(|l| l.time_lag_ms);
    let messages = |n: &Node| {
        n.lag
            .as_ref()
            .and_then(|l| l.lag_messages)
            .or_else(|| n.dead_letters.as_ref().and_then(|d| d.retained))
    };
    let columns = vec![
        Column::new("name", "Node", |n: &Node| entity_plain(kind_mark(n), &node_name(n)))
            .sort(|n| SortKey::Text(node_name(n))).csv("id", |n| n.id.clone()),
        Column::new("kind", "Kind", |n: &Node| view! { <span class="t2">{kind_word(n)}</span> })
            .sort(|n| SortKey::Text(kind_word(n).to_owned())).csv("kind", |n| kind_word(n).to_lowercase()),
        Column::new("place", "Cluster or namespace", |n: &Node| view! { <span class="t2">{n.cluster.clone().or_else(|| n.namespace.clone()).unwrap_or_default()}</span> })
            .sort(|n| SortKey::Text(n.cluster.clone().or_else(|| n.namespace.clone()).unwrap_or_default()))
            .csv("cluster_or_namespace", |n| n.cluster.clone().or_else(|| n.namespace.clone()).unwrap_or_default()),
        Column::new("state", "State", |n: &Node| n.lag.as_ref().map(|l| state_mark(l.state, n.level, &l.reason)))
            .sort(|n| n.lag.as_ref().map_or(SortKey::Unknown, |l| SortKey::Number(-(l.state as u8 as f64))))
            .csv("state", |n| n.lag.as_ref().map(|l| format!("{:?}", l.state).to_lowercase()).unwrap_or_default()),
        Column::new("spans", "Spans", |n: &Node| view! { <span class="t2">{if n.instrumented { "yes" } else if n.inferred { "inferred" } else { "none" }}</span> })
            .tip("Whether spans name it").sort(|n| SortKey::Number(f64::from(u8::from(n.instrumented))))
            .csv("instrumented", |n| n.instrumented.to_string()),
        Column::new("rate", "Rate", |n: &Node| known(n.rate.map(rate), "Neither spans nor offsets tell"))
            .right().tip("Messages a second over the last 5 minutes").sort(|n| SortKey::number(n.rate)).csv("rate_per_s", |n| number(n.rate)),
        Column::new("p95", "Work p95", |n: &Node| n.work.map(|w| duration_ns(w.p95_ns)))
            .right().sort(|n| SortKey::count(n.work.map(|w| w.p95_ns))).csv("work_p95_s", |n| seconds(n.work, |p| p.p95_ns)),
        Column::new("lag", "Time lag", move |n: &Node| match &n.lag {
            Some(l) => match l.time_lag_ms {
                Some(ms) => view! { <span>{time_lag(ms)}</span> }.into_any(),
                None => unknown(&l.reason).into_any(),
            },
            None => ().into_any(),
        })
        .right().sort(move |n| SortKey::count(lag_ms(n))).csv("time_lag_s", move |n| lag_ms(n).map(|ms| format!("{:.3}", ms as f64 / 1e3)).unwrap_or_default()),
        Column::new("waiting", "Waiting", move |n: &Node| {
            if n.lag.is_some() || n.dead_letters.is_some() { known(messages(n).map(count), "The broker's offsets are not known") } else { ().into_any() }
        })
        .right().sort(move |n| SortKey::count(messages(n))).csv("waiting_messages", move |n| number(messages(n))),
    ];
    let chosen = Signal::derive(move || selected.get());
    view! {
        <Table name="nodes" rows=rows id=|n: &Node| n.id.clone() columns=columns
            text=|n: &Node| format!("{} {}", node_name(n), kind_word(n)) sort="-state" in_url=true fill=true
            open=Callback::new(move |n: Node| select.run(n.id)) selected=chosen test="node-row" empty=nothing />
    }
}

fn nothing() -> impl IntoView {
    view! {
        <Blank icon=Icon::Map title="Nothing flowed">
            <p class="fs12 t2">"No span and no broker told of traffic in this range."</p>
        </Blank>
    }
}
