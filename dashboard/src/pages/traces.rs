//! Which traces show this?

mod expression;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use highwater_shared::lag::Topics;
use highwater_shared::traces::{TraceSummary, Traces as Wire};
use leptos::prelude::*;

use self::expression::{Completion, check, complete, has, refusal, toggled};
use crate::api::{ApiError, Fetched, fetch};
use crate::app::CollectorStatus;
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{Kind, trace_href};
use crate::components::more::More;
use crate::components::page::{Layout, Page};
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table};
use crate::format::{
    BEFORE_ACK, clock_ms, count, count_full, duration_fine, in_broker, percent, plural, short_id,
};
use crate::state::clock::now;
use crate::state::keys::on_keys;
use crate::state::query::{Query, segment};

/// Traces a page of the list holds, unless the address says otherwise.
const PAGE: &str = "100";
/// Conditions offered for a press.
const OFFERED: [(&str, &str); 3] = [
    ("Errors", "status = error"),
    ("Over 1\u{a0}s", "duration > 1s"),
    ("In broker over 1\u{a0}s", "in_broker > 1s"),
];
/// Traces loaded at most before the page asks to narrow the search.
const LOADED_AT_MOST: usize = 2_000;

/// The page.
#[component]
pub(crate) fn Traces() -> impl IntoView {
    let query = Query::get_context();
    let address = move |cursor: Option<&str>| {
        let q = query.get("q").unwrap_or_default();
        let limit = query.get("limit").unwrap_or_else(|| PAGE.to_owned());
        let mut own = vec![("limit", limit.as_str())];
        if !q.is_empty() {
            own.push(("q", q.as_str()));
        }
        if let Some(cursor) = cursor {
            own.push(("cursor", cursor));
        }
        query.api("/traces", &own)
    };
    let first = fetch::<Wire>(&["traces"], move || Some(address(None)));
    let more = More::<Wire>::new(move || address(None));
    let load_more = move || {
        let cursor = more.pages.with_untracked(|pages| match pages.last() {
            Some(last) => last.next_cursor.clone(),
            None => first
                .data
                .with_untracked(|d| d.as_ref().and_then(|d| d.next_cursor.clone())),
        });
        if let Some(cursor) = cursor {
            more.load(untrack(|| address(Some(&cursor))));
        }
    };
    view! {
        <Page title="Traces" layout=Layout::Bench>
            <QueryBar first=first/>
            <div class="tracesbox">
                {loaded("traces", first, || skeleton_rows(16), move |traces| view! {
                    <Results traces=traces more=more load_more=Callback::new(move |()| load_more()) />
                })}
            </div>
        </Page>
    }
}

/// The expression, what is wrong with it, and conditions to add.
#[component]
fn QueryBar(
    /// The search under way; its refusal is shown here.
    first: Fetched<Wire>,
) -> impl IntoView {
    let query = Query::get_context();
    let input = NodeRef::<leptos::html::Input>::new();
    let in_force = query.memo("q");
    let typed = RwSignal::new(in_force.get_untracked().unwrap_or_default());
    // Back and forward put the expression of that entry into the bar.
    Effect::new(move || typed.set(in_force.get().unwrap_or_default()));
    let tried = RwSignal::new(false);
    let search = move || {
        let text = typed.get_untracked().trim().to_owned();
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let path = format!("/traces/{}", segment(&text.to_ascii_lowercase()));
            query.go(&untrack(|| query.link(&path, &[])), false);
        } else if check(&text).is_ok() {
            tried.set(false);
            query.change(&[("q", Some(&text)), ("cursor", None)], false);
        } else {
            tried.set(true);
        }
    };
    let wrong = Memo::new(move |_| {
        let text = typed.get().trim().to_owned();
        let refused = || {
            // The server refused what is in force.
            let error = first.error.get()?;
            let ApiError::Problem(problem) = error else {
                return None;
            };
            if problem.status != 400 || in_force.get().unwrap_or_default() != text {
                return None;
            }
            Some(refusal(&problem.detail, &text))
        };
        match check(&text) {
            // Half an expression is not wrong while it is being written.
            Err(wrong) if tried.get() || wrong.at.end < text.len() => Some((text, wrong)),
            Err(_) => None,
            Ok(()) => refused().map(|wrong| (text, wrong)),
        }
    });
    let offers = offers(query, typed);
    let chosen = RwSignal::new(0_usize);
    // Open while the field has the focus and something was typed: a list that opens by itself is in the way.
    let open = RwSignal::new(false);
    let offered = Memo::new(move |_| if open.get() { offers.get() } else { Vec::new() });
    let accept = move |at: usize| {
        let Some(completion) = offered.with_untracked(|o| o.get(at).cloned()) else {
            return false;
        };
        typed.set(completion.text);
        chosen.set(0);
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
        }
        true
    };
    let step = move |by: usize| {
        let all = offered.with_untracked(Vec::len);
        chosen.update(|at| *at = (*at + by).checked_rem(all).unwrap_or(0));
        all > 0
    };
    on_keys(move |ev| {
        if ev.key() != "f" {
            return false;
        }
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
            input.select();
        }
        true
    });
    view! {
        <div class="qbar" role="search">
            <div class="pagebar">
                <label class="query" class:wrong=move || wrong.with(Option::is_some)>
                    {Icon::Search.draw("i-s")}
                    <input node_ref=input aria-label="Condition, or a trace id" data-testid="trace-query" spellcheck="false" autocomplete="off" maxlength="2000"
                        placeholder="status = error and group = billing, in_broker > 10s, order.id = …, or a trace id"
                        aria-invalid=move || wrong.with(Option::is_some).to_string() aria-describedby="qwrong"
                        prop:value=typed
                        role="combobox" aria-autocomplete="list" aria-controls="query-offers"
                        aria-expanded=move || (!offered.with(Vec::is_empty)).to_string()
                        aria-activedescendant=move || (!offered.with(Vec::is_empty)).then(|| format!("offer-{}", chosen.get()))
                        on:blur=move |_| open.set(false)
                        on:input=move |ev| {
                            typed.set(event_target_value(&ev));
                            chosen.set(0);
                            open.set(true);
                        }
                        on:keydown=move |ev| {
                            match ev.key().as_str() {
                                "Enter" => {
                                    open.set(false);
                                    search();
                                }
                                "Tab" if !ev.shift_key() && accept(chosen.get_untracked()) => {}
                                "ArrowDown" if step(1) => {}
                                "ArrowUp" if step(offered.with_untracked(Vec::len).saturating_sub(1)) => {}
                                "Escape" if !offered.with_untracked(Vec::is_empty) => open.set(false),
                                "Escape" => {
                                    if let Some(input) = input.get_untracked() {
                                        let _ = input.blur();
                                    }
                                }
                                _ => return,
                            }
                            ev.prevent_default();
                        }/>
                    {move || (!typed.with(String::is_empty)).then(|| view! {
                        <button class="btn ghost s icon" aria-label="Clear the search" on:click=move |_| { typed.set(String::new()); search(); }>{Icon::Close.draw("")}</button>
                    })}
                </label>
                <button class="btn primary" on:click=move |_| search()>"Search"</button>
                <span class="row chips">
                    {OFFERED.map(|(name, condition)| view! {
                        <button class="fchip" title=condition aria-pressed=move || has(&in_force.get().unwrap_or_default(), condition).to_string()
                            on:click=move |_| {
                                typed.set(toggled(&in_force.get_untracked().unwrap_or_default(), condition));
                                search();
                            }>{name}</button>
                    })}
                </span>
            </div>
            <Show when=move || !offered.with(Vec::is_empty)>
                <div class="searchpop offers" id="query-offers" role="listbox" aria-label="Completions" on:pointerdown=move |ev| ev.prevent_default()>
                    {move || offered.get().into_iter().enumerate().map(|(at, offer)| view! {
                        <div class="sr" role="option" id=format!("offer-{at}") data-testid="query-offer"
                            aria-selected=move || (chosen.get() == at).to_string()
                            on:click=move |_| { accept(at); }>
                            <span></span><span class="mono ell">{offer.word}</span><span></span>
                            <span class=move || if chosen.get() == at { "kbd" } else { "kbd none" }>"Tab"</span>
                        </div>
                    }).collect_view()}
                </div>
            </Show>
            <div class="qwrong" id="qwrong" role="status">
                {move || wrong.get().map(|(text, wrong)| {
                    let Range { start, end } = wrong.at;
                    let rest = text.get(end..).unwrap_or_default().to_owned();
                    let before = text.get(..start).unwrap_or_default().to_owned();
                    let part = match text.get(start..end) {
                        Some(part) if !part.is_empty() => part.to_owned(),
                        _ => "\u{a0}\u{a0}".to_owned(),
                    };
                    view! {
                        <div class="row fs12">{Icon::Critical.draw("i-s c-crit")}<code class="mono t2 nowrap ell">{before}<u>{part}</u>{rest}</code><span class="c-crit">{wrong.why}</span></div>
                    }
                })}
            </div>
        </div>
    }
}

/// How what is typed may go on, with the names of services, topics and groups that are known.
fn offers(query: Query, typed: RwSignal<String>) -> Memo<Vec<Completion>> {
    let status = expect_context::<CollectorStatus>();
    // Asked for once somebody begins to write.
    let writing = Memo::new(move |before: Option<&bool>| {
        before == Some(&true) || !typed.with(String::is_empty)
    });
    let topics = fetch::<Topics>(&[], move || {
        writing.get().then(|| query.api("/topics", &[]))
    });
    let known = move |name: &str| -> Vec<String> {
        let distinct: BTreeSet<String> = match name {
            "service" => status
                .with(|s| s.services.iter().map(|s| s.name.clone()).collect())
                .unwrap_or_default(),
            "topic" | "group" => topics.data.with(|topics| {
                let all = topics.iter().flat_map(|topics| &topics.topics);
                if name == "topic" {
                    all.map(|t| t.topic.clone()).collect()
                } else {
                    all.flat_map(|t| t.groups.clone()).collect()
                }
            }),
            _ => BTreeSet::new(),
        };
        distinct.into_iter().collect()
    };
    Memo::new(move |_| complete(&typed.get(), known))
}

/// The list, how much was searched, and the way on.
#[component]
fn Results(
    /// The first page.
    traces: Signal<Arc<Wire>>,
    /// Pages after it.
    more: More<Wire>,
    /// Loads the next page.
    load_more: Callback<()>,
) -> impl IntoView {
    let query = Query::get_context();
    let rows = Signal::derive(move || {
        let mut seen = std::collections::HashSet::new();
        let mut rows = Vec::new();
        let first = traces.get();
        more.pages.with(|pages| {
            for page in std::iter::once(&first).chain(pages) {
                rows.extend(
                    page.traces
                        .iter()
                        .filter(|t| seen.insert(t.trace_id.clone()))
                        .cloned(),
                );
            }
        });
        rows
    });
    let last = Signal::derive(move || {
        more.pages
            .with(|p| p.last().cloned())
            .unwrap_or_else(|| traces.get())
    });
    let more_there = move || last.with(|l| l.next_cursor.is_some());
    let searched = move || {
        let pages: u64 = more.pages.with(|p| p.iter().map(|p| p.searched).sum());
        traces.with(|t| {
            let all = plural(t.total, "span", "spans");
            // A page looks at some spans that the one before had looked at too: their sum alone would say "all" too early.
            let looked = t.searched.saturating_add(pages).min(t.total);
            match (more_there(), looked) {
                (false, looked) if looked >= t.total => {
                    format!("searched all of {all} in the range")
                }
                (true, looked) if looked >= t.total => {
                    format!("not all of {all} in the range searched yet")
                }
                _ => format!("searched {} of {all} in the range", count(looked)),
            }
        })
    };
    let partial = move || last.with(|l| l.partial);
    let full = move || rows.with(Vec::len) >= LOADED_AT_MOST;
    view! {
        <div class="reshead row">
            <b class="num">{move || {
                let n = rows.with(Vec::len) as u64;
                if more_there() { format!("{} so far", plural(n, "trace", "traces")) } else { plural(n, "trace", "traces") }
            }}</b>
            <span class="t3 fs12 num" role="status">{searched}", newest first"</span>
            {move || (partial() && !full()).then(|| view! {
                <span class="badge warn" title="The search stopped at its cost limit. Older traces of the range were not looked at: search further, or narrow the range.">"stopped early"</span>
            })}
        </div>
        <Table name="traces" rows=rows id=|t: &TraceSummary| t.trace_id.clone() columns=columns(query)
            text=|t: &TraceSummary| format!("{} {} {}", t.service, t.operation, t.trace_id)
            in_url=true fill=true test="trace-row" data="data-trace"
            open=Callback::new(move |t: TraceSummary| query.go(&untrack(|| trace_href(query, &t.trace_id, None)), false))
            empty=ViewFn::from(move || nothing(query, Signal::derive(more_there), load_more))/>
        <div class="resmore">
            {move || more.error.get().map(|e| view! { <span class="c-crit fs12">{e.sentence()}</span> })}
            {move || (more_there() && rows.with(|r| !r.is_empty())).then(|| if full() {
                view! { <span class="t3 fs12">{format!("{} are loaded. Narrow the search to see others.", count_full(LOADED_AT_MOST as u64))}</span> }.into_any()
            } else {
                view! {
                    <button class="btn" data-testid="more-traces" disabled=move || more.pending.get() on:click=move |_| load_more.run(())>
                        {move || if more.pending.get() { "Searching…" } else { "Search further back" }}
                    </button>
                }.into_any()
            })}
        </div>
    }
}

/// The columns.
fn columns(query: Query) -> Vec<Column<TraceSummary>> {
    vec![
        Column::new("root", "Root", move |t: &TraceSummary| {
            let href = trace_href(query, &t.trace_id, None);
            view! { <a class="ent" href=href title=t.trace_id.clone()><span class="semi">{t.service.clone()}</span><span class="t2 reg cutop">{t.operation.clone()}</span></a> }
        })
        .sort(|t| SortKey::Text(format!("{} {}", t.service, t.operation)))
        .csv("trace_id", |t| t.trace_id.clone()),
        Column::new("through", "Through", |t: &TraceSummary| through(t)).tip("Topics and other services, in order of appearance"),
        Column::new("split", "Where the time went", |t: &TraceSummary| split(t)).tip("Hatched: the longest time in a broker, of the whole"),
        Column::new("duration", "Duration", |t: &TraceSummary| view! { <span class="semi">{duration_fine(t.duration_ns)}</span> })
            .right()
            .sort(|t| SortKey::Number(t.duration_ns as f64))
            .csv("duration_seconds", |t| (t.duration_ns as f64 / 1e9).to_string()),
        Column::new("in_broker", "In broker", |t: &TraceSummary| match t.in_broker_ns {
            Some(ns) => view! { <span class:t3=ns == 0 title=(ns == 0).then_some(BEFORE_ACK)>{in_broker(ns)}</span> }.into_any(),
            None => view! { <span class="t3">"none"</span> }.into_any(),
        })
        .right()
        .tip("Longest time of one message in a broker")
        .sort(|t| SortKey::count(t.in_broker_ns))
        .csv("in_broker_seconds", |t| t.in_broker_ns.map(|ns| (ns as f64 / 1e9).to_string()).unwrap_or_default()),
        Column::new("spans", "Spans", |t: &TraceSummary| count_full(t.spans.into()))
            .right()
            .sort(|t| SortKey::Number(t.spans.into()))
            .csv("spans", |t| t.spans.to_string()),
        Column::new("errors", "Errors", |t: &TraceSummary| {
            if t.errors > 0 {
                view! { <span class="state c-crit">{Icon::Critical.draw("i-xs")}{count_full(t.errors.into())}</span> }.into_any()
            } else {
                view! { <span class="t3">"0"</span> }.into_any()
            }
        })
        .right()
        .sort(|t| SortKey::Number(t.errors.into()))
        .csv("errors", |t| t.errors.to_string()),
        Column::new("correlation", "Correlation", move |t: &TraceSummary| {
            t.correlations.first().map(|c| {
                let href = query.link(&format!("/journeys/{}/{}", segment(&c.key), segment(&c.value)), &[]);
                let more = t.correlations.len() - 1;
                view! {
                    <a class="mono cutid" href=href title=format!("Journey of {} = {}", c.key, c.value)>{c.value.clone()}</a>
                    {(more > 0).then(|| view! { <span class="t3">{format!(" +{more}")}</span> })}
                }
            })
        })
        .csv("correlation", |t| t.correlations.iter().map(|c| format!("{}={}", c.key, c.value)).collect::<Vec<_>>().join(" ")),
        Column::new("trace", "Trace", |t: &TraceSummary| view! { <span class="mono t3" title=t.trace_id.clone()>{short_id(&t.trace_id)}</span> }),
        Column::new("began", "Began", |t: &TraceSummary| clock_ms(t.start, now()))
            .right()
            .class("t2")
            .sort(|t| SortKey::Number(t.start.0 as f64))
            .csv("began", |t| t.start.to_string()),
    ]
}

/// The way a trace took: its topics and the services after the root.
fn through(t: &TraceSummary) -> impl IntoView + use<> {
    const SHOWN: usize = 2;
    let title = format!(
        "Services: {}\nTopics: {}",
        t.services.join(", "),
        t.topics.join(", ")
    );
    let more = t.topics.len().saturating_sub(SHOWN) + t.services.len().saturating_sub(1 + SHOWN);
    let topics = t.topics.iter().take(SHOWN).map(|name| {
        view! { <span class="row tight">{Kind::Topic.icon().draw(Kind::Topic.class())}<span class="cutname">{name.clone()}</span></span> }
    }).collect_view();
    let services = t.services.iter().skip(1).take(SHOWN).map(|name| {
        view! { <span class="row tight">{Kind::Service.icon().draw(Kind::Service.class())}<span class="cutname">{name.clone()}</span></span> }
    }).collect_view();
    view! {
        <span class="path" title=title>{topics}{services}{(more > 0).then(|| view! { <span class="t3">{format!("+{more}")}</span> })}</span>
    }
}

/// A bar: how much of the trace its longest wait was.
fn split(t: &TraceSummary) -> impl IntoView + use<> {
    let waited = t.in_broker_ns.unwrap_or(0).min(t.duration_ns);
    let share = waited as f64 / t.duration_ns.max(1) as f64 * 100.0;
    let spoken = format!(
        "{} in a broker",
        percent(waited, t.duration_ns).unwrap_or_else(|| "0%".to_owned())
    );
    view! {
        <span class="durb"><span class="tr" role="img" aria-label=spoken.clone() title=spoken>
            <i class="w" style:left="0%" style:width=format!("{share:.1}%")></i>
            <i class="c" style:left=format!("{share:.1}%") style:width=format!("{:.1}%", 100.0 - share)></i>
        </span></span>
    }
}

/// Says what was not found, and offers the next step.
fn nothing(query: Query, more_there: Signal<bool>, load_more: Callback<()>) -> AnyView {
    let q = query.get("q");
    let title = if q.is_some() {
        "No trace matches"
    } else {
        "No trace in this range"
    };
    view! {
        <Blank icon=Icon::Traces title=title>
            <p class="fs12 t2">{match q {
                Some(q) => view! { <span class="mono anywhere">{q}</span>" was not seen in this range." }.into_any(),
                None => "No span with a start in this range has arrived.".into_any(),
            }}</p>
            <div class="row">
                {move || more_there.get().then(|| view! { <button class="btn primary" on:click=move |_| load_more.run(())>"Search further back"</button> })}
                {(query.get("from").as_deref() != Some("now-7d")).then(|| view! {
                    <button class="btn" class:primary=move || !more_there.get()
                        on:click=move |_| query.change(&[("from", Some("now-7d")), ("to", None)], false)>"Search the last 7\u{a0}d"</button>
                })}
                {query.get("q").is_some().then(|| view! { <button class="btn" on:click=move |_| query.set("q", None)>"Clear"</button> })}
            </div>
        </Blank>
    }
    .into_any()
}
