//! Why is this group behind, since when, and will it recover?

mod events;
mod partitions;
mod say;
mod why;

use std::sync::Arc;

use highwater_shared::lag::{GroupDetail, GroupHistory, GroupMembers, State};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use self::events::EventList;
pub(crate) use self::events::shortly_before;
use self::partitions::{Heat, Retention};
use self::why::Why;
use super::alerts::silence_of_group;
use super::lag::{drains, retention_left};
use crate::api::{Fetched, fetch};
use crate::components::chart::{Hover, LineChart, Series, Unit};
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{known, map_href, state_mark};
use crate::components::page::Page;
use crate::components::surface::{Card, Fig};
use crate::format::{
    age_text, bounded_lag, count_full, duration_ms, plural, rate, signed, time_lag,
};
use crate::state::clock::{Second, now};
use crate::state::query::{Query, segment};

/// What the parts of the page share.
#[derive(Clone, Copy)]
struct Parts {
    query: Query,
    detail: Signal<Arc<GroupDetail>>,
    history: Fetched<GroupHistory>,
    members: Fetched<GroupMembers>,
}

/// The page.
#[component]
pub(crate) fn LagGroup() -> impl IntoView {
    let query = Query::get_context();
    let params = use_params_map();
    let param =
        move |name: &'static str| Memo::new(move |_| params.read().get(name).unwrap_or_default());
    let (cluster, group) = (param("cluster"), param("group"));
    let path = move |rest: &str| {
        format!(
            "/groups/{}/{}{rest}",
            segment(&cluster.get()),
            segment(&group.get())
        )
    };
    let detail = fetch::<GroupDetail>(&["groups", "brokers"], move || {
        Some(query.api(&path(""), &[]))
    });
    let history =
        fetch::<GroupHistory>(&["groups"], move || Some(query.api(&path("/history"), &[])));
    let members =
        fetch::<GroupMembers>(&["groups"], move || Some(query.api(&path("/members"), &[])));
    let above = Signal::derive(move || vec![("Lag".to_owned(), query.link("/lag", &[]))]);
    Hover::provide();
    view! {
        <Page title=group above=above>
            <div class="content lagcontent">
                {loaded("group", detail, || skeleton_rows(12), move |detail| {
                    let parts = Parts { query, detail, history, members };
                    view! { <Sentence parts=parts/> <Figures parts=parts/> <Body parts=parts/> }
                })}
            </div>
        </Page>
    }
}

/// What is the matter, in sentences, and where to go from here.
#[component]
fn Sentence(
    /// The page.
    parts: Parts,
) -> impl IntoView {
    let Parts {
        query,
        detail,
        history,
        ..
    } = parts;
    let began = move || {
        let since = detail.with(|d| {
            d.summary
                .state_since
                .filter(|_| d.summary.state != State::Ok)
        })?;
        history
            .data
            .with(|h| shortly_before(&h.as_ref()?.events, since))
            .map(|began| format!("It {began}."))
    };
    let slow = move || {
        let q = detail.with(|d| format!("group = {}", say::quoted(&d.summary.group)));
        query.link("/traces", &[("q", &q)])
    };
    let silence = move || {
        let of = detail.with(|d| silence_of_group(&d.summary.cluster, &d.summary.group));
        query.link("/alerts", &[("silence", &of)])
    };
    let on_map = move || {
        detail.with(|d| {
            map_href(
                query,
                &format!("group:{}/{}", d.summary.cluster, d.summary.group),
            )
        })
    };
    view! {
        <div class="row top sayrow">
            <div class="grow">
                <p class="say">{move || detail.with(|d| say::pieces(&d.summary).into_iter().map(|(text, strong)| if strong {
                    view! { <b>{text}</b> }.into_any()
                } else {
                    text.into_any()
                }).collect_view())}</p>
                <p class="t2 saymore">{move || detail.with(|d| say::more(&d.summary, now()))}
                    {move || began().map(|text| format!(" {text}"))}</p>
            </div>
            <div class="row acts">
                <a class="btn primary" href=slow>{Icon::Traces.draw("")}"See its traces"</a>
                <a class="btn" href=on_map>{Icon::Map.draw("")}"On the map"</a>
                <a class="btn" href=silence data-testid="silence-group">{Icon::Silence.draw("")}"Silence"</a>
            </div>
        </div>
    }
}

/// The strip of figures.
#[component]
fn Figures(
    /// The page.
    parts: Parts,
) -> impl IntoView {
    let detail = parts.detail;
    let second = Second::get_context();
    let with =
        move |part: fn(&GroupDetail) -> String| Signal::derive(move || detail.with(|d| part(d)));
    let since = Signal::derive(move || {
        let now = second.now();
        detail.with(|d| {
            let worst = format!(
                "worst of {}",
                plural(d.partitions.len() as u64, "partition", "partitions")
            );
            match d.summary.state_since {
                Some(at) => format!("for {}, {worst}", age_text(now.0.saturating_sub(at.0))),
                None => worst,
            }
        })
    });
    let read = Signal::derive(move || {
        let now = second.now();
        detail.with(|d| match d.summary.read_at {
            Some(at) => format!("from offsets, {}", crate::format::ago(at, now)),
            None => "not read".to_owned(),
        })
    });
    view! {
        <div class="strip">
            <Fig label="State" source=since value=Box::new(move || (move || detail.with(|d| state_mark(d.summary.state, d.summary.level, &d.summary.reason))).into_any())/>
            <Fig label="Time lag" source=with(|d| {
                let mark = format!("mark {}", duration_ms(d.summary.mark_ms));
                match &d.observed {
                    Some(seen) => format!("{mark}; spans say {}", time_lag(seen.p50_ms)),
                    None => mark,
                }
            })
                value=Box::new(move || (move || detail.with(|d| {
                    let s = &d.summary;
                    let class = match crate::components::gauge::level_class(s.level) {
                        "crit" => "c-crit",
                        "warn" => "c-warn",
                        _ => "",
                    };
                    view! { <span class=class>{known(s.time_lag_ms.map(|ms| bounded_lag(ms, s.time_lag_bound)), &s.reason)}</span> }
                })).into_any())/>
            <Fig label="Offset lag, messages"
                source=with(|d| match d.summary.lag_by_tools {
                    Some(tools) => format!("Kafka's own tool says {}", signed(tools)),
                    None => "not read".to_owned(),
                })
                value=Box::new(move || (move || detail.with(|d| known(d.summary.lag_messages.map(count_full), &d.summary.reason))).into_any())/>
            <Fig label="In, out" source=with(|d| match d.summary.rate_from.zip(d.summary.read_at) {
                Some((from, to)) => format!("over {}, from offsets", age_text(to.0.saturating_sub(from.0))),
                None => "from offsets".to_owned(),
            })
                value=Box::new(move || (move || detail.with(|d| {
                    let s = &d.summary;
                    view! { {known(s.in_per_s.map(rate), &s.reason)}" "<span class="t3 reg">"·"</span>" "{known(s.out_per_s.map(rate), &s.reason)} }
                })).into_any())/>
            <Fig label="Drains in" source="at the present rates"
                value=Box::new(move || (move || detail.with(|d| {
                    let s = &d.summary;
                    known(drains(s.state, s.lag_messages, s.drain_ms, s.out_per_s), &s.reason)
                })).into_any())/>
            <Fig label="Retention left"
                source=Signal::derive(move || detail.with(|d| match d.summary.retention_ms {
                    Some(ms) if ms >= 0 => format!("of {}", duration_ms(ms.unsigned_abs())),
                    Some(_) => "records are kept without limit".to_owned(),
                    None => read.get(),
                }))
                value=Box::new(move || (move || detail.with(|d| retention_left(&d.summary))).into_any())/>
        </div>
    }
}

/// Charts at the left, partitions and members at the right.
#[component]
fn Body(
    /// The page.
    parts: Parts,
) -> impl IntoView {
    let Parts {
        query,
        detail,
        history,
        members,
    } = parts;
    view! {
        <div class="grid-lg">
            <div class="col big">
                {loaded("lag history", history, || view! { <section class="card" aria-busy="true" aria-label="Loading the lag"><header><h2>"Lag"</h2></header><div class="chartskel"></div></section> }, move |history| view! {
                    <LagCharts detail=detail history=history/>
                    <Why query=query detail=detail history=history/>
                })}
            </div>
            <div class="col big">
                <Heat detail=detail history=history/>
                <Members detail=detail members=members/>
                <Retention detail=detail/>
            </div>
        </div>
    }
}

/// Returns the range of a history in milliseconds since the epoch.
fn range_ms(history: &GroupHistory) -> (f64, f64) {
    (
        history.window.from.as_millis() as f64,
        history.window.to.as_millis() as f64,
    )
}

/// Lag in time against the mark, and in messages, on one time axis.
#[component]
fn LagCharts(
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
    /// Its history.
    history: Signal<Arc<GroupHistory>>,
) -> impl IntoView {
    let range = Memo::new(move |_| history.with(|h| range_ms(h)));
    let series =
        move |name: &'static str,
              class: &'static str,
              value: fn(&highwater_shared::lag::LagPoint) -> Option<u64>| {
            Signal::derive(move || {
                history.with(|h| {
                    vec![Series {
                        name: name.to_owned(),
                        class,
                        filled: true,
                        points: h
                            .points
                            .iter()
                            .map(|p| (p.at.as_millis() as f64, value(p).map(|v| v as f64)))
                            .collect(),
                    }]
                })
            })
        };
    let mark = Signal::derive(move || Some(detail.with(|d| d.summary.mark_ms as f64)));
    let spoken =
        Signal::derive(move || history.with(|h| detail.with(|d| say::chart(&d.summary, h))));
    let flags = Signal::derive(move || history.with(|h| events::flags(&h.events)));
    let sub = Signal::derive(move || {
        history.with(|h| format!("every {}, from offsets", duration_ms(h.step_ms)))
    });
    view! {
        <Card title="Lag" sub=sub>
            <div class="chartbox">
                <h3 class="h3">"Time"<span class="t3">"age of the oldest message not yet consumed"</span></h3>
                <LineChart series=series("time lag", "l1", |p| p.time_lag_ms) range=range unit=Unit::Millis mark=mark flags=flags worded=true height=196.0 label=spoken/>
                <h3 class="h3">"Messages"<span class="t3">"that can still be read"</span></h3>
                <LineChart series=series("messages", "l3", |p| p.lag_messages) range=range unit=Unit::Count flags=flags height=104.0
                    label=Signal::derive(move || detail.with(|d| format!("Messages behind of {} over the range", d.summary.group)))/>
                <EventList history=history/>
            </div>
        </Card>
    }
}

/// The members, or why they are not known.
#[component]
fn Members(
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
    /// Its members.
    members: Fetched<GroupMembers>,
) -> impl IntoView {
    let sub = Signal::derive(move || {
        let state = detail.with(|d| {
            d.summary
                .broker_state
                .clone()
                .unwrap_or_else(|| "state not known".to_owned())
                .to_lowercase()
        });
        let protocol = detail.with(|d| d.summary.protocol.clone());
        let count = members
            .data
            .with(|m| m.as_ref().and_then(|m| m.members.as_ref().map(Vec::len)));
        match count {
            Some(n) => format!("{n}, {state}; {protocol} protocol"),
            None => format!("{state}; {protocol} protocol"),
        }
    });
    view! {
        <Card title="Members" sub=sub>
            {loaded("members", members, || skeleton_rows(3), move |members| view! { {move || members.with(|m| match &m.members {
                None => view! {
                    <div class="body"><div class="note warn">{Icon::Unknown.draw("")}<div><b>"Members are not known. "</b>{m.reason.clone()}</div></div></div>
                }.into_any(),
                Some(list) if list.is_empty() => view! {
                    <div class="body"><p class="fs12 t2">{match detail.with(|d| d.summary.state) {
                        State::Stopped => "None: nobody reads for this group.",
                        _ => "None at the moment.",
                    }}</p></div>
                }.into_any(),
                Some(list) => view! {
                    <div class="memberbox"><table class="tbl rows26" aria-label="Members">
                        <thead><tr><th>"Client"</th><th>"Host"</th><th class="r">"Partitions"</th><th class="r" title="Messages that can still be read on its partitions">"Lag"</th><th class="r" title="Committed a second on its partitions, from offsets">"Out"</th></tr></thead>
                        <tbody>{list.iter().map(|m| {
                            let topics = m.partitions.iter().map(|p| p.topic.as_str()).collect::<std::collections::BTreeSet<_>>();
                            let numbers = partitions::listed(&m.partitions, topics.len() > 1);
                            view! {
                                <tr>
                                    <td class="mono" title=m.member_id.clone()>{m.client_id.clone()}</td>
                                    <td class="t2">{m.host.clone()}</td>
                                    <td class="r cut" title=partitions::listed(&m.partitions, true)>{if numbers.is_empty() { "none".to_owned() } else { numbers }}</td>
                                    {detail.with(|d| {
                                        let (lag, out) = partitions::of_member(&d.partitions, &m.member_id);
                                        view! {
                                            <td class="r">{known(lag.map(count_full), "A partition of it could not be read")}</td>
                                            <td class="r t2">{known(out.map(rate), "Not known yet")}</td>
                                        }
                                    })}
                                </tr>
                            }
                        }).collect_view()}</tbody>
                    </table></div>
                }.into_any(),
            })} })}
        </Card>
    }
}
