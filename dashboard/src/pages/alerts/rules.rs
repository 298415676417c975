//! The rules: what is watched, how loud, whether it is on.

use std::sync::Arc;

use gloo_net::http::Method;
use highwater_shared::alerts::{Rule, Rules, Severity};
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;

use super::{Desk, words};
use crate::api::{Done, send};
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::surface::{Blank, Note, Tone};
use crate::components::table::{Column, SortKey, Table, TableFilter};
use crate::state::query::segment;

/// Body of `POST /api/v1/rules/{id}/enabled`.
#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

/// Draws how bad a rule is when it fires.
pub(super) fn severity_mark(severity: Severity) -> impl IntoView {
    let (icon, class, word) = match severity {
        Severity::Critical => (Icon::Critical, "i-s c-crit", "Critical"),
        Severity::Warning => (Icon::Warning, "i-s c-warn", "Warning"),
    };
    view! { <span class="state quiet sev">{icon.draw(class)}{word}</span> }
}

/// The card of all rules.
#[component]
pub(super) fn RuleList() -> impl IntoView {
    let desk = Desk::get_context();
    let sub = move || {
        desk.rules.data.with(|rules| {
            rules
                .as_ref()
                .map(|r| words::counted(&r.rules, r.file.as_deref()))
        })
    };
    view! {
        <section class="card rulecard" aria-label="Rules">
            <header>
                <h2>"Rules"</h2>
                <span class="sub">{sub}</span>
                <span class="row right"><TableFilter placeholder="Filter"/></span>
            </header>
            {loaded("rules", desk.rules, || skeleton_rows(8), move |rules| view! { <Body rules=rules/> })}
        </section>
    }
}

#[component]
fn Body(
    /// All rules.
    rules: Signal<Arc<Rules>>,
) -> impl IntoView {
    let desk = Desk::get_context();
    let rows = Signal::derive(move || rules.with(|r| r.rules.clone()));
    let selected = Signal::derive(move || desk.query.get("rule"));
    let problems = Memo::new(move |_| rules.with(|r| r.problems.clone()));
    view! {
        {move || problems.get().into_iter().map(|problem| view! {
            <div class="alnote"><Note tone=Tone::Warning><b>"A rule cannot be read, and does not count."</b>" "<span class="anywhere">{problem}</span></Note></div>
        }).collect_view()}
        <Table name="rules" rows=rows id=|r: &Rule| r.spec.id.clone() columns=columns(desk) text=text in_url=true bare=true
            test="rule-row" data="data-rule" class="ruletbl" selected=selected
            open=Callback::new(move |rule: Rule| desk.open_rule(Some(&rule.spec.id)))
            empty=ViewFn::from(move || view! {
                <Blank icon=Icon::Alert title="No rule">
                    <p class="fs12 t2">"Without a rule nothing ever fires."</p>
                    <div class="row"><button class="btn" on:click=move |_| desk.open_rule(Some("new"))>"Make a rule"</button></div>
                </Blank>
            })/>
    }
}

/// What the filter looks at.
fn text(rule: &Rule) -> String {
    format!(
        "{} {} {} {} {}",
        rule.name, rule.spec.id, rule.spec.watch, rule.watches, rule.origin
    )
}

/// The columns.
fn columns(desk: Desk) -> Vec<Column<Rule>> {
    vec![
        Column::new("rule", "Rule", |rule: &Rule| {
            let class = if rule.enabled { "med" } else { "med t3" };
            view! { <b class=class title=rule.spec.id.clone()>{rule.name.clone()}</b> }
        })
        .sort(|rule| SortKey::Text(rule.name.clone())),
        Column::new("watches", "Watches", |rule: &Rule| rule.watches.clone())
            .class("t2")
            .sort(|rule| SortKey::Text(rule.watches.clone())),
        Column::new("over", "Fires over", |rule: &Rule| rule.fires_over.clone()).class("t2"),
        Column::new("severity", "Severity", |rule: &Rule| {
            severity_mark(rule.severity)
        })
        .sort(|rule| SortKey::Number(-(rule.severity as u8 as f64))),
        Column::new("now", "Now", |rule: &Rule| {
            let class = match (rule.firing, rule.severity) {
                (0, _) => "t3",
                (_, Severity::Critical) => "c-crit semi",
                (_, Severity::Warning) => "c-warn semi",
            };
            view! { <span class=class>{rule.firing}</span> }
        })
        .right()
        .tip("Alerts that fire now")
        .sort(|rule| SortKey::Number(rule.firing as f64)),
        Column::new("fired", "7\u{a0}d", |rule: &Rule| rule.fired_7d)
            .right()
            .class("t2")
            .tip("Times it fired in the last 7 days")
            .sort(|rule| SortKey::Number(rule.fired_7d as f64)),
        Column::new("from", "From", move |rule: &Rule| {
            let file = desk
                .rules
                .data
                .with(|r| r.as_ref().and_then(|r| r.file.clone()));
            let word = words::origin(&rule.origin, None);
            let tip = match (rule.origin.as_str(), file) {
                ("file", Some(file)) => file,
                ("form", _) => "Made here".to_owned(),
                _ => String::new(),
            };
            view! { <span title=tip>{word}</span> }
        })
        .class("t3")
        .sort(|rule| SortKey::Text(rule.origin.clone())),
        Column::new("on", "On", move |rule: &Rule| switch(desk, rule)).right(),
    ]
}

/// The switch of a rule.
fn switch(desk: Desk, rule: &Rule) -> impl IntoView + use<> {
    let busy = RwSignal::new(false);
    let (id, name, on) = (rule.spec.id.clone(), rule.name.clone(), rule.enabled);
    let label = format!("{name}, on or off");
    let flip = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        let url = format!("/api/v1/rules/{}/enabled", segment(&id));
        let name = name.clone();
        spawn_local(async move {
            let answer = send::<Done>(Method::POST, &url, &Enabled { enabled: !on }).await;
            busy.try_set(false);
            match answer {
                Ok(_) => {
                    desk.refetch();
                    let now = if on { "off" } else { "on" };
                    desk.toasts.done(format!("{name} is {now}"));
                }
                Err(error) => desk.toasts.failed("The rule stays as it is.", &error),
            }
        });
    };
    view! {
        <button class="switch" role="switch" data-testid="rule-switch" aria-checked=on.to_string() aria-label=label
            aria-busy=move || busy.get().to_string() on:click=flip><i></i></button>
    }
}
