//! What needs me now?

mod attention;
mod board;
mod changes;

use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::dead_letters::{DeadLetterTopic, DeadLetters};
use highwater_shared::lag::{Changes, Groups};
use highwater_shared::status::Brokers;
use highwater_shared::topology::{Edge, EdgeKind, Node, NodeKind, Topology};
use leptos::prelude::*;

use self::attention::{Answers, Item, Subject, Urgency, items};
use self::board::{board, state_counts};
use self::changes::changes_view;
use crate::api::fetch;
use crate::app::CollectorStatus;
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{
    Kind, dead_letters_href, emphasised, entity_plain, group_href, known, map_href, state_class,
    state_icon, unknown,
};
use crate::components::page::Page;
use crate::components::range::range_name;
use crate::components::spark::lag_spark;
use crate::components::surface::{Blank, Card};
use crate::format::{ago, bytes, count_full, duration_ms, duration_ns, plural, rate};
use crate::state::clock::{Second, now};
use crate::state::keys::on_keys;
use crate::state::query::Query;

/// Rows of the small cards.
const FEW: usize = 4;
/// Rows of the attention list.
const MANY: usize = 12;

/// The overview.
#[component]
pub(crate) fn Overview() -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let status = expect_context::<CollectorStatus>();
    let groups = fetch::<Groups>(&["groups"], move || Some(query.api("/groups", &[])));
    let letters = fetch::<DeadLetters>(&["dead_letters"], move || {
        Some(query.api("/dead-letters", &[]))
    });
    let topology = fetch::<Topology>(&["topology"], move || Some(query.api("/topology", &[])));
    let changes = fetch::<Changes>(&["groups", "alerts"], move || {
        Some(query.api("/changes", &[]))
    });
    let brokers = fetch::<Brokers>(&["brokers"], move || Some(query.api("/brokers", &[])));

    let attention = Memo::new(move |_| {
        let (groups, letters, changes, brokers, status) = (
            groups.data.get(),
            letters.data.get(),
            changes.data.get(),
            brokers.data.get(),
            status.0.data.get(),
        );
        let answers = Answers {
            groups: groups.as_deref(),
            letters: letters.as_deref(),
            changes: changes.as_deref(),
            brokers: brokers.as_deref(),
            status: status.as_deref(),
        };
        items(answers, now())
    });
    // Until both have answered, "nothing needs attention" would be a guess.
    let told = Memo::new(move |_| {
        let answered = |there: bool, failed: bool| there || failed;
        answered(
            groups.data.with(Option::is_some),
            groups.error.with(Option::is_some),
        ) && answered(
            letters.data.with(Option::is_some),
            letters.error.with(Option::is_some),
        )
    });
    let blind = Memo::new(move |_| {
        groups.error.with(Option::is_some) || letters.error.with(Option::is_some)
    });
    let place = move |subject: &Subject| match subject {
        Subject::Group { cluster, group, .. } => group_href(query, cluster, group),
        Subject::DeadLetters { cluster, topic } => dead_letters_href(query, cluster, topic),
        Subject::Health => query.link("/settings/health", &[]),
    };
    on_keys(move |ev| {
        // Only when nothing else has the focus: Enter on a link opens that link.
        let free = document()
            .active_element()
            .is_none_or(|e| matches!(e.tag_name().to_ascii_uppercase().as_str(), "BODY" | "MAIN"));
        if ev.key() != "Enter" || !free {
            return false;
        }
        let first = attention.with_untracked(|a| a.first().map(|i| i.subject.clone()));
        match first {
            Some(subject) => {
                query.go(&untrack(|| place(&subject)), false);
                true
            }
            None => false,
        }
    });

    let urgent =
        move || attention.with(|a| a.iter().filter(|i| i.urgency <= Urgency::Critical).count());
    let watched =
        move || attention.with(|a| a.iter().filter(|i| i.urgency > Urgency::Critical).count());
    view! {
            <Page title="Overview">
                <div class="content">
                    <section class="card" aria-labelledby="ov-board">
                        <header>
                            <h2 id="ov-board">"Groups against their mark"</h2>
                            <span class="sub">"time lag as a share of each group's own threshold, worst first"</span>
                            <span class="row right hide-m wide">{move || groups.data.get().map(|g| state_counts(Signal::derive(move || Arc::clone(&g))))}</span>
                        </header>
                        {loaded("consumer groups", groups, || view! { <div class="board" aria-busy="true"></div> }, move |data| view! {
                            {move || if data.with(|g| g.groups.is_empty()) {
                                view! { <NoGroups/> }.into_any()
                            } else {
                                board(data, query).into_any()
                            }}
                        })}
                    </section>
                    <div class="grid-ov">
    <div class="col stack">
                        <section class="card" aria-labelledby="ov-attention">
                            <header>
                                <h2 id="ov-attention">"Needs attention"</h2>
                                {move || { let n = urgent(); (n > 0).then(|| view! { <span class="badge crit">{n}" urgent"</span> }) }}
                                {move || { let n = watched(); (n > 0).then(|| view! { <span class="badge">{n}" to watch"</span> }) }}
                                <span class="row right"><a class="btn ghost s" href=move || query.link("/lag", &[])>"All groups"</a></span>
                            </header>
                            {move || {
                                if !told.get() {
                                    return skeleton_rows(5).into_any();
                                }
                                if attention.with(Vec::is_empty) && blind.get() {
                                    return view! {
                                        <Blank icon=Icon::Unknown title="What needs attention cannot be told">
                                            <p class="fs12 t2">"Groups or dead letters could not be read: what failed stands beside."</p>
                                        </Blank>
                                    }.into_any();
                                }
                                if attention.with(Vec::is_empty) {
                                    return view! {
                                        <Blank icon=Icon::Done title="Nothing needs attention">
                                            <p class="fs12 t2">"Every group is below its mark, no dead letter arrives, and every cluster answers."</p>
                                        </Blank>
                                    }.into_any();
                                }
                                let rest = attention.with(Vec::len).saturating_sub(MANY);
                                view! {
                                    <div class="atts" role="list" data-testid="attention">
                                        {keyed(Signal::derive(move || attention.with(|a| a.iter().take(MANY).cloned().collect())), |i: &Item| i.id.clone(), move |item| row(item, Signal::derive(move || item.with(|i| place(&i.subject)))))}
                                    </div>
                                    {(rest > 0).then(|| view! { <footer><a href=move || query.link("/lag", &[])>{format!("{rest} more")}</a></footer> })}
                                }.into_any()
                            }}
                        </section>
                        <Card title="Slowest hops" sub="p95, last 5\u{a0}m">
                            {loaded("the flow map", topology, || skeleton_rows(3), move |data| hops_view(query, data))}
                        </Card>
                        </div>
                        <div class="col stack">
                        <Card title="What changed" sub=Signal::derive(move || range_name(query))>
                            {loaded("what changed", changes, || skeleton_rows(4), move |data| changes_view(query, data))}
                        </Card>
                        <Card title="Dead letters growing" sub=Signal::derive(move || letters.data.with(|d| d.as_ref().map_or_else(String::new, |d| {
                                format!("{} of {}", d.topics.iter().filter(|t| grows(t)).count(), plural(d.topics.len() as u64, "queue", "queues"))
                            }))) actions=ViewFnOnce::from(move || view! { <a class="btn ghost s" href=move || query.link("/dead-letters", &[])>"All queues"</a> })>
                            {loaded("dead letters", letters, || skeleton_rows(3), move |data| letters_view(query, second, data))}
                        </Card>
                        <Card title="Not instrumented" sub="seen by the broker only">
                            {loaded("the flow map", topology, || skeleton_rows(3), move |data| silent_view(query, data))}
                        </Card>
                        <Collector brokers/>
                        </div>
                    </div>
                </div>
            </Page>
        }
}

/// Says why there is no group.
#[component]
fn NoGroups() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let none = move || status.with(|s| s.clusters.is_empty()).unwrap_or(false);
    view! {
        <Blank icon=Icon::Group title="No consumer group is known">
            <p class="fs12 t2">{move || if none() {
                "Lag is read from the brokers. Start Highwater with --kafka HOST:PORT, or name the cluster in highwater.toml."
            } else {
                "The clusters of this filter have no group with commits, or have not been read yet."
            }}</p>
            <div class="row"><a class="btn primary" href=move || query.link("/settings/health", &[])>"Open Health"</a></div>
        </Blank>
    }
}

/// A row of the attention list.
fn row(item: Memo<Item>, href: Signal<String>) -> impl IntoView {
    let inside = move || {
        let item = item.get();
        let icon = match (&item.subject, item.urgency) {
            (Subject::Group { state, .. }, Urgency::Unknown | Urgency::Notice) => {
                state_icon(*state).draw(state_class(*state, Level::Ok))
            }
            (Subject::Group { state, .. }, Urgency::Loss) => state_icon(*state).draw("c-crit"),
            (_, Urgency::Loss | Urgency::Critical) => Icon::Critical.draw("c-crit"),
            (_, Urgency::Warning) => Icon::Warning.draw("c-warn"),
            (_, Urgency::Unknown) => Icon::Unknown.draw("c-unk"),
            (_, Urgency::Notice) => Icon::Info.draw("c-info"),
        };
        let colour = match item.urgency {
            Urgency::Loss | Urgency::Critical => "crit",
            Urgency::Warning => "warn",
            Urgency::Unknown => "",
            Urgency::Notice => "info",
        };
        let names: Vec<&str> = item.names.iter().map(String::as_str).collect();
        let figure = match item.figure {
            Some(figure) => figure.into_any(),
            None => unknown(&item.sentence).into_any(),
        };
        view! {
            {icon}
            <div>
                <p class="s">{emphasised(&item.sentence, &names)}</p>
                <p class="m">{item.facts.into_iter().map(|f| view! { <span>{f}</span> }).collect_view()}</p>
            </div>
            <div class="spk">{item.spark.map(|(points, mark)| lag_spark(&points, mark, colour, 108.0, 26.0))}</div>
            <div class="v">{figure}<small>{item.caption}</small></div>
            {Icon::ChevronRight.draw("")}
        }
    };
    view! { <div role="listitem"><a class="att" href=href data-testid="attention-row">{inside}</a></div> }
}

/// Whether records arrive in a dead-letter topic.
fn grows(topic: &DeadLetterTopic) -> bool {
    topic.arrivals_per_hour.is_some_and(|a| a > 0.0)
}

/// Dead-letter topics: the growing ones first, the rest in a line.
fn letters_view(query: Query, second: Second, data: Signal<Arc<DeadLetters>>) -> impl IntoView {
    let sorted = Memo::new(move |_| {
        let mut topics = data.with(|d| d.topics.clone());
        topics.sort_by(|a, b| {
            b.arrivals_per_hour
                .unwrap_or_default()
                .total_cmp(&a.arrivals_per_hour.unwrap_or_default())
        });
        topics
    });
    let first = Signal::derive(move || {
        sorted.with(|t| t.iter().take(FEW + 1).cloned().collect::<Vec<_>>())
    });
    let rest = move || {
        sorted.with(|t| {
            let rest = t.get(FEW + 1..).unwrap_or_default();
            (!rest.is_empty()).then(|| {
                let sum: u64 = rest.iter().filter_map(|t| t.retained).sum();
                let queues = plural(rest.len() as u64, "other queue", "other queues");
                view! { <div class="li"><span class="t2">{queues}</span><span class="t3">{count_full(sum)}" kept"</span></div> }
            })
        })
    };
    let letter = move |t: Memo<DeadLetterTopic>| {
        let href = move || t.with(|t| dead_letters_href(query, &t.cluster, &t.topic));
        let name = move || t.with(|t| t.topic.clone());
        let kept = move || {
            t.with(|t| {
                let kept = t.retained.map_or_else(
                    || "depth not known".to_owned(),
                    |n| format!("{} kept", count_full(n)),
                );
                let oldest = t
                    .oldest_at
                    .map(|at| format!(", oldest {}", ago(at, second.now())));
                kept + &oldest.unwrap_or_default()
            })
        };
        let right = move || {
            t.with(|t| match t.arrivals_per_hour {
                Some(a) if a > 0.0 => {
                    view! { <b class="c-dlq">{format!("+{}", rate(a / 3_600.0))}</b> }.into_any()
                }
                Some(_) => view! { <span class="t3">"not growing"</span> }.into_any(),
                None => {
                    unknown(t.reason.as_deref().unwrap_or("Its offsets are not known")).into_any()
                }
            })
        };
        view! {
            <div class="li tall">
                <span class="ell">
                    <a class="ent" href=href>{Icon::DeadLetter.draw("c-dlq")}{name}</a>
                    <span class="sub t3 fs11">{kept}</span>
                </span>
                {right}
            </div>
        }
    };
    move || {
        if sorted.with(Vec::is_empty) {
            return view! {
                <Blank icon=Icon::DeadLetter title="No dead-letter topic is known">
                    <p class="fs12 t2">"Topics are recognised by their name, their configuration, or the headers of their records."</p>
                </Blank>
            }
            .into_any();
        }
        view! { {keyed(first, |t: &DeadLetterTopic| format!("{}/{}", t.cluster, t.topic), letter)}{rest} }.into_any()
    }
}

/// Who moves messages and sends no spans.
fn silent_view(query: Query, data: Signal<Arc<Topology>>) -> impl IntoView {
    let rows = Memo::new(move |_| data.with(|t| silent(t)));
    let few =
        Signal::derive(move || rows.with(|r| r.iter().take(FEW).cloned().collect::<Vec<_>>()));
    let rest = Memo::new(move |_| rows.with(Vec::len).saturating_sub(FEW));
    let none = Memo::new(move |_| rows.with(Vec::is_empty));
    move || {
        if none.get() {
            return view! {
                <Blank icon=Icon::Done title="Everybody seen sends spans">
                    <p class="fs12 t2">"Each producer and each group of this range is known from spans."</p>
                </Blank>
            }
            .into_any();
        }
        view! {
            {keyed(few, |s: &Silent| s.id.clone(), move |s| view! {
                <div class="li tall">
                    <span class="ell">
                        <a class="ent" href=move || s.with(|s| map_href(query, &s.id))>{Icon::Uninstrumented.draw("c-ext")}{move || s.with(|s| s.name.clone())}</a>
                        <span class="sub t3 fs11">{move || s.with(|s| s.what.clone())}</span>
                    </span>
                    <span class="t2">{move || s.with(|s| s.rate.map(rate))}</span>
                    <a href=move || query.link("/first-run", &[])>"Instrument"</a>
                </div>
            })}
            {move || (rest.get() > 0).then(|| view! {
                <div class="li"><span class="t2">{rest}" more"</span><a href=query.link("/map", &[("view", "table"), ("list", "nodes"), ("sort", "spans")])>"Show all"</a></div>
            })}
        }
        .into_any()
    }
}

/// Somebody who sends no spans.
#[derive(Clone, PartialEq)]
struct Silent {
    id: String,
    name: String,
    what: String,
    rate: Option<f64>,
}

/// Returns who sends no spans, fastest first.
fn silent(t: &Topology) -> Vec<Silent> {
    let topic = |n: &Node, into: bool| {
        let ids: Vec<&str> = t
            .edges
            .iter()
            .filter(|e| if into { e.to == n.id } else { e.from == n.id })
            .map(|e| if into { e.from.as_str() } else { e.to.as_str() })
            .collect();
        t.nodes
            .iter()
            .filter(|n| {
                matches!(
                    n.kind,
                    NodeKind::Topic | NodeKind::RetryTopic | NodeKind::DeadLetterTopic
                ) && ids.contains(&n.id.as_str())
            })
            .map(|n| n.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut all: Vec<_> = t
        .nodes
        .iter()
        .filter(|n| !n.instrumented)
        .filter_map(|n| match n.kind {
            NodeKind::Group => Some(Silent {
                id: n.id.clone(),
                name: n.name.clone(),
                what: format!("commits on {}, sends no spans", topic(n, true)),
                rate: n.rate,
            }),
            NodeKind::Unknown if n.id.starts_with("unknown:producer/") => Some(Silent {
                id: n.id.clone(),
                name: "unknown producer".to_owned(),
                what: format!("{} grows, no producer spans", topic(n, false)),
                rate: n.rate,
            }),
            _ => None,
        })
        .collect();
    all.sort_by(|a, b| {
        b.rate
            .unwrap_or_default()
            .total_cmp(&a.rate.unwrap_or_default())
    });
    all
}

/// The slowest hops, by time in the broker.
fn hops_view(query: Query, data: Signal<Arc<Topology>>) -> impl IntoView {
    let rows = Memo::new(move |_| {
        data.with(|t| {
            let find = |id: &str| t.nodes.iter().find(|n| n.id == id).cloned();
            let mut all: Vec<&Edge> = t
                .edges
                .iter()
                .filter(|e| e.kind == EdgeKind::Delivers && e.latency.in_broker.is_some())
                .collect();
            all.sort_by_key(|e| std::cmp::Reverse(e.latency.in_broker.map(|p| p.p95_ns)));
            all.into_iter()
                .take(FEW)
                .filter_map(|e| Some((e.clone(), find(&e.from)?, find(&e.to)?)))
                .collect::<Vec<_>>()
        })
    });
    let none = Memo::new(move |_| rows.with(Vec::is_empty));
    let hop = move |hop: Memo<(Edge, Node, Node)>| {
        let part = move |of: fn(&Edge) -> Option<u64>, why: &'static str| {
            move || hop.with(|(edge, ..)| known(of(edge).map(duration_ns), why))
        };
        view! {
            <tr>
                <td><a class="hoplink" href=move || hop.with(|(e, ..)| query.link("/map", &[("sel", &format!("edge:{}", e.id))]))>
                    {move || hop.with(|(_, from, to)| view! {
                        {entity_plain(Kind::Topic, &from.name)}<span class="t3">" to "</span>{entity_plain(Kind::Group, &to.name)}
                    })}
                </a></td>
                <td class=move || hop.with(|(_, _, to)| match to.level {
                    Level::Critical => "r c-crit semi",
                    Level::Warning => "r c-warn semi",
                    _ => "r",
                })>{part(|e| e.latency.in_broker.map(|p| p.p95_ns), "Not measured")}</td>
                <td class="r">{part(|e| e.latency.process.map(|p| p.p95_ns), "No span covers the handler's work")}</td>
            </tr>
        }
    };
    move || {
        if none.get() {
            return view! {
                <Blank icon=Icon::Clock title="No hop was measured">
                    <p class="fs12 t2">"The time in the broker needs spans of both sides, in the last 5\u{a0}m."</p>
                </Blank>
            }
            .into_any();
        }
        view! {
            <table class="tbl hopstbl" aria-label="Slowest hops">
                <thead><tr><th scope="col">"Hop"</th><th class="r" scope="col">"In broker"</th><th class="r" scope="col">"Process"</th></tr></thead>
                <tbody>{keyed(rows, |r: &(Edge, Node, Node)| r.0.id.clone(), hop)}</tbody>
            </table>
        }
        .into_any()
    }
}

/// How the collector itself is.
#[component]
fn Collector(brokers: crate::api::Fetched<Brokers>) -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let status = expect_context::<CollectorStatus>();
    let lost = move || {
        brokers.data.with(|b| {
            b.as_ref().map_or(0, |b| {
                b.clusters
                    .iter()
                    .filter(|c| c.state == "unreachable")
                    .count()
            })
        })
    };
    let healthy = move || {
        status.with(|s| {
            s.ingest.write_error.is_none()
                && s.ingest.rejected.values().all(|n| *n == 0)
                && !s.flow.truncated
        })
    };
    view! {
        <section class="card" aria-label="Collector">
            <header>
                <h2>"Collector"</h2>
                {move || match (healthy(), lost()) {
                    (None, _) => ().into_any(),
                    (Some(true), 0) => view! { <span class="state quiet">{Icon::Done.draw("c-ok")}"Healthy"</span> }.into_any(),
                    _ => view! { <span class="state">{Icon::Warning.draw("c-warn")}"Look at it"</span> }.into_any(),
                }}
                <span class="row right"><a class="btn ghost s" href=move || query.link("/settings/health", &[])>"Health"</a></span>
            </header>
            {loaded("the collector's status", status.0, || skeleton_rows(3), move |s| view! {
                <div class="body"><dl class="kv num">
                    <dt>"Spans in"</dt>
                    <dd>{move || s.with(|s| {
                        let commit = s.ingest.commit_p99_ns.map(|p| format!(", committed within {} (p99)", duration_ns(p))).unwrap_or_default();
                        format!("{}{commit}", rate(s.ingest.spans_per_s))
                    })}</dd>
                    <dt>"Refused"</dt>
                    <dd>{move || s.with(|s| {
                        let counts = [
                            (s.ingest.rejected.values().sum::<u64>(), "span", "spans"),
                            (s.ingest.refused_retryable, "request asked to come again", "requests asked to come again"),
                        ];
                        let said: Vec<String> = counts
                            .into_iter()
                            .filter(|(n, ..)| *n > 0)
                            .map(|(n, one, many)| plural(n, one, many))
                            .collect();
                        if said.is_empty() {
                            "nothing".into_any()
                        } else {
                            view! { <span class="c-warn">{said.join(", ")}</span> }.into_any()
                        }
                    })}</dd>
                    <dt>"Brokers"</dt>
                    <dd>{move || brokers.data.get().map(|b| {
                        if b.clusters.is_empty() {
                            return "none configured".into_any();
                        }
                        b.clusters.iter().enumerate().map(|(i, c)| {
                            let sep = if i > 0 { "; " } else { "" };
                            let text = match (c.state.as_str(), c.last_read) {
                                ("ok", Some(at)) => format!("{} read {}", c.name, ago(at, second.now())),
                                ("unreachable", _) => format!("{} does not answer", c.name),
                                _ => format!("{} is being connected", c.name),
                            };
                            view! { {sep}<span class=if c.state == "unreachable" { "c-crit" } else { "" }>{text}</span> }
                        }).collect_view().into_any()
                    })}</dd>
                    <dt>"Store"</dt>
                    <dd>{move || s.with(|s| format!("{} of {}, kept for {}", bytes(s.store.bytes), bytes(s.store.retention_bytes), duration_ms(s.store.retention_ms)))}</dd>
                </dl></div>
            })}
        </section>
    }
}
