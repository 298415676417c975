//! The side panel: figures of a node or an edge, and where to go from there.

use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::topology::{
    Edge, EdgeDetail, EdgeKind, ExampleTrace, HistogramBucket, Node, NodeKind, Percentiles,
    Topology,
};
use leptos::html::Div;
use leptos::prelude::*;

use super::model::{edge_word, failed, kind_mark, kind_word, node_name, node_sentence};
use crate::api::fetch;
use crate::components::chart::width_of;
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::loaded;
use crate::components::marks::{
    Kind, dead_letters_href, emphasised, entity_plain, group_href, known, level_icon, state_class,
    state_icon, trace_href, unknown,
};
use crate::components::surface::{Blank, Panel};
use crate::format::{
    ago, count_full, duration_fine, duration_ms, duration_ns, plural, rate, short_id,
};
use crate::state::clock::Second;
use crate::state::query::Query;

/// The panel for what `selected` names: a node's id, or `edge:` and an edge's.
#[component]
pub(super) fn Details(
    /// The topology.
    topology: Signal<Arc<Topology>>,
    /// What is shown.
    selected: Memo<Option<String>>,
    /// Shows something else.
    select: Callback<String>,
    /// Shows nothing.
    close: Callback<()>,
    /// Focuses the map on a node.
    focus: Callback<String>,
) -> impl IntoView {
    move || {
        let id = selected.get()?;
        Some(match id.strip_prefix("edge:") {
            Some(edge) => {
                view! { <EdgePanel id=edge.to_owned() topology select close focus/> }.into_any()
            }
            None => view! { <NodePanel id=id topology select close focus/> }.into_any(),
        })
    }
}

/// Says that the selection is not on the map any more.
fn gone() -> impl IntoView {
    view! {
        <Blank icon=Icon::Search title="Not on the map">
            <p class="fs12 t2">"It had no traffic in this range, or is of another environment or cluster."</p>
        </Blank>
    }
}

/// Returns the search for the traces of a node; a topic's or group's name is quoted by the query language where needed.
fn traces_query(node: &Node) -> Option<String> {
    let field = match node.kind {
        NodeKind::Service => "service",
        NodeKind::Topic | NodeKind::RetryTopic | NodeKind::DeadLetterTopic => "topic",
        NodeKind::Group => "group",
        NodeKind::Unknown => return None,
    };
    Some(format!(
        "{field} = \"{}\"",
        node.name.replace(['"', '\\'], "")
    ))
}

/// A node's panel.
#[component]
fn NodePanel(
    id: String,
    topology: Signal<Arc<Topology>>,
    select: Callback<String>,
    close: Callback<()>,
    focus: Callback<String>,
) -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let ids = StoredValue::new(id);
    let node = Memo::new(move |_| {
        topology.with(|t| {
            t.nodes
                .iter()
                .find(|n| ids.with_value(|id| *id == n.id))
                .cloned()
        })
    });
    let kind = Signal::derive(move || {
        node.with(|n| {
            n.as_ref().map_or_else(String::new, |n| {
                let place = n
                    .cluster
                    .as_ref()
                    .or(n.namespace.as_ref().filter(|s| !s.is_empty()));
                place.map_or_else(
                    || kind_word(n).to_owned(),
                    |p| format!("{}, {p}", kind_word(n)),
                )
            })
        })
    });
    let name =
        Memo::new(move |_| node.with(|n| n.as_ref().map_or_else(|| ids.get_value(), node_name)));
    let mark = Memo::new(move |_| node.with(|n| n.as_ref().map_or(Kind::Unknown, kind_mark)));
    let label = Signal::derive(move || format!("{} {}", kind.get(), name.get()));
    let page = Memo::new(move |_| {
        node.with(|n| {
            let n = n.as_ref()?;
            let cluster = n.cluster.as_deref()?;
            match n.kind {
                NodeKind::Group => Some(("Open lag", group_href(query, cluster, &n.name))),
                NodeKind::DeadLetterTopic => Some((
                    "Open dead letters",
                    dead_letters_href(query, cluster, &n.name),
                )),
                _ => None,
            }
        })
    });
    let traces = Memo::new(move |_| {
        let q = node.with(|n| n.as_ref().and_then(traces_query))?;
        Some(query.link("/traces", &[("q", &q)]))
    });
    // Its edges, against and with the flow.
    let edges = move |out: bool| {
        Memo::new(move |_| {
            topology.with(|t| {
                let mut all: Vec<(Edge, Option<Node>)> = t
                    .edges
                    .iter()
                    .filter(|e| ids.with_value(|id| if out { e.from == *id } else { e.to == *id }))
                    .map(|e| {
                        let other = if out { &e.to } else { &e.from };
                        (e.clone(), t.nodes.iter().find(|n| n.id == *other).cloned())
                    })
                    .collect();
                all.sort_by(|a, b| {
                    b.0.rate
                        .unwrap_or_default()
                        .total_cmp(&a.0.rate.unwrap_or_default())
                });
                all
            })
        })
    };
    let (into, out) = (edges(false), edges(true));
    let list = move |heading: &'static str, all: Memo<Vec<(Edge, Option<Node>)>>| {
        let some = Memo::new(move |_| all.with(|a| !a.is_empty()));
        move || {
            some.get().then(|| view! {
                <section>
                    <h3 class="h3">{heading}<span class="t3">"last 5\u{a0}m"</span></h3>
                    {keyed(all, |e: &(Edge, Option<Node>)| e.0.id.clone(), move |e| edge_line(e, select))}
                </section>
            })
        }
    };
    view! {
        <Panel label=label kind=kind on_close=close
            title=ViewFn::from(move || view! { {move || mark.get().icon().draw(mark.get().class())}<span>{name}</span> })
            actions=ViewFn::from(move || view! {
                {move || page.get().map(|(word, href)| view! { <a class="btn s primary" href=href>{word}</a> })}
                <button class="btn s" title="Show only its neighbours (o)" on:click=move |_| focus.run(ids.get_value())>{Icon::Focus.draw("")}"Focus"</button>
                {move || traces.get().map(|href| view! { <a class="btn s" href=href>{Icon::Traces.draw("")}"Traces"</a> })}
            })>
            {move || if node.with(Option::is_none) { Some(gone()) } else { None }}
            {move || node.get().map(|n| {
                let lag = n.lag.clone();
                let icon = match &lag {
                    Some(l) => state_icon(l.state).draw(state_class(l.state, n.level)).into_any(),
                    None if n.level == Level::Ok => ().into_any(),
                    None => level_icon(n.level).into_any(),
                };
                view! {
                    <section>
                        <p class="sentence">{icon}{emphasised(&node_sentence(&n), &[&name.get()])}</p>
                        {lag.map(|l| view! {
                            <dl class="kv facts2">
                                <dt>"Messages"</dt><dd class="num">{known(l.lag_messages.map(count_full), &l.reason)}</dd>
                                <dt>"Time lag"</dt><dd class="num">{known(l.time_lag_ms.map(crate::format::time_lag), &l.reason)}" of a mark of "{duration_ms(l.mark_ms)}</dd>
                            </dl>
                        })}
                        {n.inferred.then(|| view! {
                            <p class="fs12 t3 gap">"Spans name no group here: it is inferred from what the broker tells."</p>
                        })}
                    </section>
                    {n.work.map(|work| view! {
                        <section>
                            <h3 class="h3">"Work"<span class="t3">{format!("last 5\u{a0}m, {}", plural(work.samples, "span", "spans"))}</span></h3>
                            {three(&[("Process", "sw-group", Some(work))])}
                        </section>
                    })}
                }
            })}
            {list("Comes in", into)}
            {list("Goes out", out)}
            {move || node.with(|n| n.as_ref().map(|n| {
                let source = match n.rate_source.as_deref() {
                    Some("spans") => "Rate from spans",
                    Some("offsets") => "Rate from the broker's offsets",
                    _ => "No rate is known",
                };
                let seen = n.last_seen.map(|at| format!("; last seen {}", ago(at, second.now()))).unwrap_or_default();
                view! { <section class="fs11 t3">{format!("{source}{seen}.")}</section> }
            }))}
        </Panel>
    }
}

/// A line of a node's panel: an edge, its other end, its rate and p95.
fn edge_line(line: Memo<(Edge, Option<Node>)>, select: Callback<String>) -> impl IntoView {
    let name = move || {
        line.with(|(edge, other)| match other {
            Some(n) => entity_plain(kind_mark(n), &node_name(n)),
            None => entity_plain(Kind::Unknown, &edge.to),
        })
    };
    let p95 = move || {
        line.with(|(edge, _)| {
            let l = &edge.latency;
            let p = l.in_broker.or(l.produce).or(l.process)?;
            Some(format!("p95 {}", duration_ns(p.p95_ns)))
        })
    };
    view! {
        <button class="ex edge" on:click=move |_| select.run(line.with_untracked(|(edge, _)| format!("edge:{}", edge.id)))>
            <span class="ell">{name}</span>
            <span>{move || line.with(|(edge, _)| edge.rate.map(rate))}</span>
            <span class="t3">{p95}</span>
            {Icon::ChevronRight.draw("")}
        </button>
    }
}

/// The table of latencies: a row a part, p50, p95, p99.
fn three(rows: &[(&'static str, &'static str, Option<Percentiles>)]) -> impl IntoView + use<> {
    let rows = rows.to_vec();
    view! {
        <div class="three">
            <span>"Part"</span><span>"p50"</span><span>"p95"</span><span>"p99"</span>
            {rows.into_iter().map(|(name, swatch, p)| {
                let cell = move |of: fn(&Percentiles) -> u64| match p {
                    Some(p) => duration_ns(of(&p)).into_any(),
                    None => unknown("No span of the last 5 minutes covers it").into_any(),
                };
                view! {
                    <span><i class=format!("sw {swatch}")></i>{name}</span>
                    <span>{cell(|p| p.p50_ns)}</span>
                    <span>{cell(|p| p.p95_ns)}</span>
                    <span>{cell(|p| p.p99_ns)}</span>
                }
            }).collect_view()}
        </div>
    }
}

/// An edge's panel.
#[component]
fn EdgePanel(
    id: String,
    topology: Signal<Arc<Topology>>,
    select: Callback<String>,
    close: Callback<()>,
    focus: Callback<String>,
) -> impl IntoView {
    let query = Query::get_context();
    let asked = id.clone();
    let detail = fetch::<EdgeDetail>(&["topology"], move || {
        Some(query.api("/topology/edge", &[("id", &asked)]))
    });
    let ids = StoredValue::new(id);
    let edge = Memo::new(move |_| {
        topology.with(|t| {
            t.edges
                .iter()
                .find(|e| ids.with_value(|id| *id == e.id))
                .cloned()
        })
    });
    let node = move |of: fn(&Edge) -> &String| {
        Memo::new(move |_| {
            let id = edge.with(|e| e.as_ref().map(|e| of(e).clone()))?;
            topology.with(|t| t.nodes.iter().find(|n| n.id == id).cloned())
        })
    };
    let (from, to) = (node(|e| &e.from), node(|e| &e.to));
    let kind = Signal::derive(move || {
        edge.with(|e| e.as_ref().map_or("Edge", |e| edge_word(e.kind)).to_owned())
    });
    let name = |n: Memo<Option<Node>>| {
        n.with(|n| n.as_ref().map_or_else(|| "Unknown".to_owned(), node_name))
    };
    let label = Signal::derive(move || format!("Edge {} to {}", name(from), name(to)));
    // The group the edge belongs to: it has the lag, the mark and a page.
    let group = Memo::new(move |_| {
        [to.get(), from.get()]
            .into_iter()
            .flatten()
            .find(|n| n.kind == NodeKind::Group)
    });
    let page = Memo::new(move |_| {
        if let Some(n) = to.get().filter(|n| n.kind == NodeKind::DeadLetterTopic) {
            return Some((
                "Open dead letters",
                dead_letters_href(query, n.cluster.as_deref()?, &n.name),
            ));
        }
        let n = group.get()?;
        Some((
            "Open lag",
            group_href(query, n.cluster.as_deref()?, &n.name),
        ))
    });
    let traces = Memo::new(move |_| {
        let parts: Vec<String> = [from.get(), to.get()]
            .iter()
            .flatten()
            .filter_map(traces_query)
            .collect();
        (!parts.is_empty()).then(|| query.link("/traces", &[("q", &parts.join(" and "))]))
    });
    let end = move |n: Memo<Option<Node>>| {
        move || {
            n.get().map(|n| {
                let (mark, id) = (kind_mark(&n), n.id.clone());
                view! {
                    <button class="entb" title=format!("Show {}", node_name(&n)) on:click=move |_| select.run(id.clone())>
                        {entity_plain(mark, &node_name(&n))}
                    </button>
                }
            })
        }
    };
    let retried = move || {
        let id = group.with(|g| g.as_ref().map(|g| g.id.clone()))?;
        topology.with(|t| {
            let all: f64 = t
                .edges
                .iter()
                .filter(|e| e.kind == EdgeKind::Retries && e.from == id)
                .filter_map(|e| e.rate)
                .sum();
            (all > 0.0).then(|| rate(all))
        })
    };
    view! {
        <Panel label=label kind=kind on_close=close
            title=ViewFn::from(move || view! { {end(from)}{Icon::ArrowRight.draw("i-s t3")}{end(to)} })
            actions=ViewFn::from(move || view! {
                {move || page.get().map(|(word, href)| view! { <a class="btn s primary" href=href>{word}</a> })}
                <button class="btn s" title="Show only its neighbours (o)"
                    on:click=move |_| if let Some(n) = to.get_untracked() { focus.run(n.id) }>{Icon::Focus.draw("")}"Focus"</button>
                {move || traces.get().map(|href| view! { <a class="btn s" href=href>{Icon::Traces.draw("")}"Traces"</a> })}
            })>
            {move || if edge.with(Option::is_none) { Some(gone()) } else { None }}
            {move || edge.get().map(|e| {
                let lag = group.get().filter(|_| e.kind == EdgeKind::Delivers).and_then(|g| Some((g.level, g.lag?)));
                let taken = from.get().filter(|n| matches!(n.kind, NodeKind::Topic | NodeKind::RetryTopic)).and_then(|n| n.rate);
                let failing = e.errors > Some(0);
                view! {
                    <section>
                        {lag.map(|(level, lag)| view! {
                            <p class="sentence">{state_icon(lag.state).draw(state_class(lag.state, level))}{emphasised(&lag.reason, &[&name(from), &name(to)])}</p>
                        })}
                        {(!e.instrumented).then(|| view! {
                            <p class="fs12 t3">"Known from the broker's offsets only: nobody sends spans for it, so no latency can be told."</p>
                        })}
                        <div class="row num four">
                            {(e.kind == EdgeKind::Delivers).then(|| view! {
                                <span class="fs12"><span class="t3">"In "</span><b>{known(taken.map(rate), "What the topic takes is not known")}</b></span>
                            })}
                            <span class="fs12"><span class="t3">{if e.kind == EdgeKind::Delivers { "Out " } else { "Rate " }}</span><b>{known(e.rate.map(rate), "No rate is known")}</b></span>
                            {move || retried().map(|r| view! { <span class="fs12"><span class="t3">"Retried "</span><b>{r}</b></span> })}
                            <span class="fs12"><span class="t3">"Failed "</span><b class=if failing { "c-crit" } else { "" }>{known(failed(&e), "No spans tell")}</b></span>
                        </div>
                    </section>
                }
            })}
            {loaded("this edge", detail, || view! { <div class="edgeskel" aria-busy="true"></div> }, move |detail| {
                let mark = Signal::derive(move || group.with(|g| g.as_ref().and_then(|g| g.lag.as_ref()).map(|l| l.mark_ms)));
                edge_sections(query, detail, mark)
            })}
        </Panel>
    }
}

/// What the API adds to an edge: latencies, histogram, examples.
fn edge_sections(
    query: Query,
    detail: Signal<Arc<EdgeDetail>>,
    mark_ms: Signal<Option<u64>>,
) -> impl IntoView {
    let of = move || {
        detail.with(|d| match d.histogram_of.as_str() {
            "in_broker" => "Time in broker",
            "produce" => "Produce time",
            _ => "Process time",
        })
    };
    let latency = Memo::new(move |_| detail.with(|d| d.edge.latency.clone()));
    let samples = move || {
        latency.with(|l| {
            [l.in_broker, l.process, l.produce]
                .into_iter()
                .flatten()
                .map(|p| p.samples)
                .next()
                .unwrap_or_default()
        })
    };
    let examples = Memo::new(move |_| detail.with(|d| d.examples.clone()));
    view! {
        <section>
            <h3 class="h3">"Latency"<span class="t3">{move || format!("last 5\u{a0}m, {}", plural(samples(), "message", "messages"))}</span></h3>
            {move || latency.with(|l| three(&[
                ("Produce", "sw-service", l.produce),
                ("In broker", "sw-water", l.in_broker),
                ("Process", "sw-group", l.process),
            ]))}
        </section>
        {move || detail.with(|d| !d.histogram.is_empty()).then(|| view! {
            <section>
                <h3 class="h3">{of}<span class="t3">"messages by time, last 5\u{a0}m"</span></h3>
                <Histogram detail mark_ms/>
            </section>
        })}
        <section>
            <h3 class="h3">"Example traces"</h3>
            {move || {
                let all = examples.get();
                if all.is_empty() {
                    view! { <p class="fs12 t3">"No trace of this edge is stored for this range."</p> }.into_any()
                } else {
                    all.into_iter().map(|e| example(query, e)).collect_view().into_any()
                }
            }}
        </section>
        <section class="fs11 t3">{move || detail.with(|d| {
            let spans = d.edge.messages.map_or_else(|| "No spans tell of it".to_owned(), |m| format!("{} in the range, from spans", plural(m, "message", "messages")));
            let records = d.edge.records.map(|r| format!("; {} by offset", plural(r, "record", "records"))).unwrap_or_default();
            format!("{spans}{records}. Rates and latencies are of the last 5\u{a0}m.")
        })}</section>
    }
}

/// A trace worth opening.
fn example(query: Query, e: ExampleTrace) -> impl IntoView {
    let (icon, word, class) = match e.label.as_str() {
        "error" => (Icon::Critical.draw("c-crit"), "Error", "c-crit"),
        "slow" => (Icon::Warning.draw("c-warn"), "Slow", "t2"),
        "fastest" => (Icon::Ring.draw("t3"), "Fastest", "t2"),
        _ => (Icon::Ring.draw("t3"), "Typical", "t2"),
    };
    let (trace, span) = (e.trace_id.clone(), e.span_id.clone());
    view! {
        <a class="ex" href=move || trace_href(query, &trace, Some(&span)) data-testid="example-trace">
            <span class="row exl">{icon}<span class=class>{word}</span></span>
            <span class="mono ell">{short_id(&e.trace_id)}</span>
            <span>{duration_fine(e.duration_ns)}</span>
            {Icon::ChevronRight.draw("")}
        </a>
    }
}

/// Height of the histogram.
const HEIGHT: f64 = 92.0;
/// Its bars stand on this line.
const BASE: f64 = 76.0;

/// How long messages took: a bar a bucket, with the mark where the time is that in the broker.
#[component]
fn Histogram(detail: Signal<Arc<EdgeDetail>>, mark_ms: Signal<Option<u64>>) -> impl IntoView {
    let node = NodeRef::<Div>::new();
    let width = width_of(node);
    let bars =
        Memo::new(move |_| detail.with(|d| (d.histogram.clone(), d.histogram_of == "in_broker")));
    let said = move || {
        bars.with(|(bars, _)| {
            let total: u64 = bars.iter().map(|b| b.count).sum();
            let most = bars.iter().max_by_key(|b| b.count);
            most.map_or_else(String::new, |b| {
                format!(
                    "Histogram of {total} messages; most took {} to {}",
                    duration_ns(b.from_ns),
                    duration_ns(b.to_ns)
                )
            })
        })
    };
    let drawn = move || {
        let width = width.get();
        if width < 40.0 {
            return None;
        }
        Some(bars.with(|(bars, in_broker)| {
            let mark = mark_ms
                .get()
                .filter(|_| *in_broker)
                .map(|m| m.saturating_mul(1_000_000));
            bars_view(bars, mark, width)
        }))
    };
    view! {
        <div class="chart" node_ref=node>
            <svg class="ch" width=width height=HEIGHT role="img" aria-label=said>{drawn}</svg>
        </div>
    }
}

/// Draws the bars, the mark, and at most four ticks.
fn bars_view(bars: &[HistogramBucket], mark: Option<u64>, width: f64) -> impl IntoView + use<> {
    let step = width / bars.len().max(1) as f64;
    let most = bars.iter().map(|b| b.count).max().unwrap_or(1).max(1) as f64;
    // Where a time stands: its bucket, and its share of it.
    let place = |t: u64| {
        bars.iter()
            .enumerate()
            .find(|(_, b)| t < b.to_ns)
            .map_or(width, |(i, b)| {
                let share =
                    t.saturating_sub(b.from_ns) as f64 / (b.to_ns - b.from_ns).max(1) as f64;
                (i as f64 + share.clamp(0.0, 1.0)) * step
            })
    };
    let rects: Vec<_> = bars
        .iter()
        .enumerate()
        .map(|(i, b)| {
            let h = if b.count == 0 { 0.0 } else { (b.count as f64 / most * 60.0).max(1.0) };
            let above = mark.is_some_and(|m| b.from_ns >= m);
            let tip = format!("{} to {}: {}", duration_ns(b.from_ns), duration_ns(b.to_ns), plural(b.count, "message", "messages"));
            view! {
                <rect class=if above { "bar crit" } else { "bar wait" } x=i as f64 * step + 0.5 y=BASE - h width=(step - 1.5).max(1.0) height=h>
                    <title>{tip}</title>
                </rect>
            }
        })
        .collect();
    let first = bars.first().map_or(0, |b| b.from_ns);
    let last = bars.last().map_or(0, |b| b.to_ns);
    let third = |n: usize| {
        bars.get(bars.len() * n / 3)
            .map(|b| (place(b.from_ns), b.from_ns))
    };
    let inner: Vec<_> = if bars.len() >= 6 {
        [third(1), third(2)].into_iter().flatten().collect()
    } else {
        Vec::new()
    };
    let mark = mark.map(place).filter(|x| *x > 0.0 && *x < width).zip(mark);
    view! {
        {rects}
        <path class="base" d=format!("M0 {BASE}H{width}")></path>
        {mark.map(|(x, m)| {
            let (anchor, tx) = if x > width / 2.0 { ("end", x - 4.0) } else { ("start", x + 4.0) };
            view! {
                <path class="mark" d=format!("M{x:.1} 6V{BASE}")></path>
                <text class="markt" x=tx y="14" text-anchor=anchor>{format!("mark {}", duration_ns(m))}</text>
            }
        })}
        <text x="0" y="88">{duration_ns(first)}</text>
        {inner.into_iter().map(|(x, t)| view! { <text x=x y="88" text-anchor="middle">{duration_ns(t)}</text> }).collect_view()}
        <text x=width y="88" text-anchor="end">{duration_ns(last)}</text>
    }
}
