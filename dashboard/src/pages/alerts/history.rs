//! What happened to alerts in the page's range, newest first.

use std::collections::HashSet;

use highwater_shared::alerts::{AlertEvent, AlertHistory};
use leptos::prelude::*;

use super::rules::severity_mark;
use super::{Desk, words};
use crate::api::fetch;
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::more::More;
use crate::components::range::range_name;
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table, TableFilter};
use crate::format::clock;
use crate::state::clock::now;
use crate::state::query::Query;

/// Events a page holds.
const PAGE: &str = "100";

/// Returns what tells events apart.
fn id(event: &AlertEvent) -> String {
    format!("{} {} {}", event.at, event.kind, event.alert)
}

/// The table of events.
#[component]
pub(super) fn History() -> impl IntoView {
    let desk = Desk::get_context();
    let query = Query::get_context();
    let address = move |cursor: Option<&str>| {
        let mut own = vec![("limit", PAGE)];
        own.extend(cursor.map(|c| ("cursor", c)));
        query.api("/alerts/history", &own)
    };
    let first = fetch::<AlertHistory>(&["alerts"], move || Some(address(None)));
    let more = More::<AlertHistory>::new(move || address(None));
    let rows = Memo::new(move |_| {
        let mut seen = HashSet::new();
        let first = first.data.get();
        more.pages.with(|pages| {
            first
                .iter()
                .chain(pages)
                .flat_map(|page| &page.events)
                .filter(|e| seen.insert(id(e)))
                .cloned()
                .collect::<Vec<_>>()
        })
    });
    let next = move || {
        more.pages.with(|pages| match pages.last() {
            Some(last) => last.next_cursor.clone(),
            None => first
                .data
                .with(|d| d.as_ref().and_then(|d| d.next_cursor.clone())),
        })
    };
    let load = move || {
        if let Some(url) = untrack(|| next().map(|cursor| address(Some(&cursor)))) {
            more.load(url);
        }
    };
    view! {
        <div class="content alcontent">
            <section class="card" aria-label="History">
                <header>
                    <h2>"What happened"</h2>
                    <span class="sub">{move || format!("{}, newest first", range_name(query))}</span>
                    <span class="row right"><TableFilter placeholder="Filter"/></span>
                </header>
                {loaded("the history of alerts", first, || skeleton_rows(10), move |_| view! {
                    <Table name="events" rows=rows id=id columns=columns(desk) text=text in_url=true test="event-row" class="histtbl"
                        empty=ViewFn::from(move || view! {
                            <Blank icon=Icon::Alert title="Nothing happened in this range">
                                <p class="fs12 t2">"No alert fired, ended, or was acknowledged or silenced."</p>
                                <div class="row"><button class="btn" on:click=move |_| query.change(&[("from", Some("now-7d")), ("to", None), ("live", None)], false)>"Look at the last 7\u{a0}d"</button></div>
                            </Blank>
                        })/>
                })}
                <div class="resmore">
                    {move || more.error.get().map(|e| view! { <span class="c-crit fs12">{e.sentence()}</span> })}
                    {move || next().map(|_| view! {
                        <button class="btn" disabled=move || more.pending.get() on:click=move |_| load()>
                            {move || if more.pending.get() { "Reading…" } else { "Read older events" }}
                        </button>
                    })}
                </div>
            </section>
        </div>
    }
}

/// What the filter looks at.
fn text(event: &AlertEvent) -> String {
    format!(
        "{} {} {} {} {} {}",
        event.kind,
        event.subject,
        event.sentence,
        event.rule,
        event.rule_name.as_deref().unwrap_or_default(),
        event.by.as_deref().unwrap_or_default()
    )
}

/// Returns the icon of what happened.
fn kind_icon(event: &AlertEvent) -> impl IntoView + use<> {
    use highwater_shared::alerts::Severity;
    match (event.kind.as_str(), event.severity) {
        ("fired", Some(Severity::Critical)) => Icon::Critical.draw("i-s c-crit"),
        ("fired", Some(Severity::Warning)) => Icon::Warning.draw("i-s c-warn"),
        ("resolved", _) => Icon::Done.draw("i-s c-ok"),
        ("acknowledged", _) => Icon::Tick.draw("i-s t2"),
        ("silenced", _) => Icon::Silence.draw("i-s t2"),
        _ => Icon::Ring.draw("i-s t3"),
    }
}

/// The columns.
fn columns(desk: Desk) -> Vec<Column<AlertEvent>> {
    vec![
        Column::new("at", "When", |e: &AlertEvent| view! { <span title=e.at.to_string()>{clock(e.at, now())}</span> })
            .class("num t2")
            .sort(|e| SortKey::Number(e.at.0 as f64))
            .csv("at", |e| e.at.to_string()),
        Column::new("kind", "What", |e: &AlertEvent| view! { <span class="state quiet sev">{kind_icon(e)}{words::event_word(&e.kind)}</span> })
            .sort(|e| SortKey::Text(e.kind.clone()))
            .csv("what", |e| e.kind.clone()),
        Column::new("subject", "About", |e: &AlertEvent| view! { <b class="med">{e.subject.clone()}</b> })
            .sort(|e| SortKey::Text(e.subject.clone()))
            .csv("about", |e| e.subject.clone()),
        Column::new("sentence", "Sentence of then", |e: &AlertEvent| view! { <span title=e.sentence.clone()>{e.sentence.clone()}</span> })
            .class("t2 cutsentence")
            .csv("sentence", |e| e.sentence.clone()),
        Column::new("rule", "Rule", move |e: &AlertEvent| match e.rule_name.clone() {
            Some(name) => {
                let rule = e.rule.clone();
                view! { <button class="rulelink" title="Open the rule" on:click=move |_| desk.open_rule(Some(&rule))>{name}</button> }.into_any()
            }
            // Of a silence, globs of rules.
            None if e.severity.is_none() => view! { <span class="t3">{e.rule.clone()}</span> }.into_any(),
            None => view! { <span class="t3" title="The rule is no longer there">{e.rule.clone()}</span> }.into_any(),
        })
        .class("t2")
        .sort(|e| SortKey::Text(e.rule_name.clone().unwrap_or_else(|| e.rule.clone())))
        .csv("rule", |e| e.rule.clone()),
        Column::new("severity", "Severity", |e: &AlertEvent| e.severity.map(severity_mark))
            .sort(|e| e.severity.map_or(SortKey::Unknown, |severity| SortKey::Number(-(severity as u8 as f64))))
            .csv("severity", |e| e.severity.map(|severity| format!("{severity:?}").to_lowercase()).unwrap_or_default()),
        Column::new("by", "By", |e: &AlertEvent| e.by.clone())
            .class("t2")
            .tip("The name that was typed, as claimed")
            .sort(|e| e.by.clone().map_or(SortKey::Unknown, SortKey::Text))
            .csv("by", |e| e.by.clone().unwrap_or_default()),
    ]
}
