//! What fires, what is about to, and what is over.

use std::sync::Arc;

use highwater_shared::alerts::{Alert, Alerts, Phase, Severity};
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

use super::{Desk, acts, words};
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::emphasised;
use crate::components::search::safe_path;
use crate::components::spark::sparkline;
use crate::components::surface::{Blank, Note, Tone};
use crate::format::{ago, clock_short, count_full, plural};
use crate::state::clock::{Second, now};
use crate::state::keys::on_keys;
use crate::state::live::Live;

/// Alerts drawn of a list before somebody asks for all.
const DRAWN: usize = 50;
/// Kept quiet: so many stand in the open.
const QUIET_IN_THE_OPEN: usize = 3;
/// Rules are looked at every few seconds; after this long without, it is said.
const STALE_NS: u64 = 120_000_000_000;

/// The cards of what fires, is pending, and was resolved.
#[component]
pub(super) fn Firing() -> impl IntoView {
    let desk = Desk::get_context();
    view! {
        {loaded("alerts", desk.alerts, || view! { <section class="card">{skeleton_rows(4)}</section> }, move |alerts| view! { <Lists alerts=alerts/> })}
    }
}

/// Returns whether nobody is told of it: it is silenced, or another explains it.
fn is_quiet(alert: &Alert) -> bool {
    alert.silenced_by.is_some() || alert.inhibited_by.is_some()
}

#[component]
fn Lists(
    /// All alerts.
    alerts: Signal<Arc<Alerts>>,
) -> impl IntoView {
    let desk = Desk::get_context();
    let of = move |wanted: fn(&Alert) -> bool| {
        Memo::new(move |_| {
            alerts.with(|a| {
                a.alerts
                    .iter()
                    .filter(|a| wanted(a))
                    .cloned()
                    .collect::<Vec<_>>()
            })
        })
    };
    let firing = of(|a| a.phase == Phase::Firing && !is_quiet(a));
    let quiet = of(|a| a.phase == Phase::Firing && is_quiet(a));
    let pending = of(|a| a.phase == Phase::Pending);
    let resolved = of(|a| a.phase == Phase::Resolved);
    move_by_keys();

    let badge = move || {
        firing.with(|f| {
            let class = match f.iter().map(|a| a.severity).min() {
                Some(Severity::Critical) => "badge crit",
                Some(Severity::Warning) => "badge warn",
                None => return None,
            };
            Some(view! { <span class=class>{count_full(f.len() as u64)}</span> })
        })
    };
    let seen = move || {
        firing.with(|f| {
            let seen = f.iter().filter(|a| a.acknowledged.is_some()).count();
            words::acknowledged(seen as u64, f.len() as u64)
        })
    };
    let none = Memo::new(move |_| firing.with(Vec::is_empty));
    let omitted = move || alerts.with(|a| a.omitted);
    view! {
        <section class="card" aria-label="Firing" data-testid="firing">
            <header>
                <h2>"Firing"</h2>
                {badge}
                <span class="sub">{seen}</span>
                <span class="right row hide-m">
                    {move || Some(desk.who.name()).filter(|n| !n.is_empty()).map(|name| view! {
                        <button class="btn ghost s" title="Acts are recorded under this name: change it" on:click=move |_| desk.who.ask()>{format!("as {name}")}</button>
                    })}
                </span>
            </header>
            {stale(alerts)}
            {move || none.get().then(|| view! { <NothingFires alerts=alerts quiet=Signal::derive(move || quiet.with(Vec::len))/> })}
            {list(firing, alerts)}
            {folded(quiet, alerts)}
            {move || (omitted() > 0).then(|| view! {
                <div class="alnote"><Note tone=Tone::Warning>{format!("{} more were not kept: there are too many at once.", plural(omitted(), "alert", "alerts"))}</Note></div>
            })}
        </section>
        {section("Pending", pending, alerts)}
        {section("Resolved in the last hour", resolved, alerts)}
    }
}

/// Says that the rules have not been looked at for long.
fn stale(alerts: Signal<Arc<Alerts>>) -> impl IntoView {
    let live = Live::get_context();
    let second = Second::get_context();
    let since = Memo::new(move |_| {
        let now = second.now();
        // A paused page shows what was, and its age is no news.
        let at = alerts.with(|a| a.checked_at)?;
        (!live.stopped.get() && now.0.saturating_sub(at.0) > STALE_NS).then_some(at)
    });
    move || {
        since.get().map(|at| view! {
            <div class="alnote"><Note tone=Tone::Warning><b>{format!("The rules were last checked at {}.", clock_short(at, now()))}</b>" What has begun to fire since then is not known."</Note></div>
        })
    }
}

/// Says that nothing fires, and how one knows.
#[component]
fn NothingFires(
    /// All alerts.
    alerts: Signal<Arc<Alerts>>,
    /// How many fire and are kept quiet.
    quiet: Signal<usize>,
) -> impl IntoView {
    let second = Second::get_context();
    let checked = Memo::new(move |_| alerts.with(|a| a.checked_at.is_some()));
    let when = move || {
        let now = second.now();
        alerts.with(|a| a.checked_at).map(|at| {
            let age = ago(at, now);
            format!("The rules were last checked {age}.")
        })
    };
    move || {
        if checked.get() {
            let title = if quiet.get() > 0 {
                "Nothing fires that is not kept quiet."
            } else {
                "Nothing fires."
            };
            view! { <div class="calm"><Blank icon=Icon::Done title=title><p class="fs12 t2">{when}</p></Blank></div> }.into_any()
        } else {
            view! {
                <Blank icon=Icon::Unknown title="What fires is not known yet">
                    <p class="fs12 t2">"The rules have not been checked since the collector started."</p>
                </Blank>
            }
            .into_any()
        }
    }
}

/// A card of alerts that need nobody now; absent when there is none.
fn section(title: &'static str, rows: Memo<Vec<Alert>>, all: Signal<Arc<Alerts>>) -> impl IntoView {
    let there = Memo::new(move |_| rows.with(|r| !r.is_empty()));
    move || {
        there.get().then(|| view! {
            <section class="card" aria-label=title>
                <header><h2>{title}</h2><span class="badge">{move || count_full(rows.with(Vec::len) as u64)}</span></header>
                {list(rows, all)}
            </section>
        })
    }
}

/// The alerts that are silenced or explained by another, folded when there are many.
fn folded(rows: Memo<Vec<Alert>>, all: Signal<Arc<Alerts>>) -> impl IntoView {
    let open = RwSignal::new(None::<bool>);
    let count = Memo::new(move |_| rows.with(Vec::len));
    let is_open = move || open.get().unwrap_or(count.get() <= QUIET_IN_THE_OPEN);
    let there = Memo::new(move |_| count.get() > 0);
    move || {
        there.get().then(|| view! {
            <button class="quietbar" aria-expanded=move || is_open().to_string() on:click=move |_| open.set(Some(!is_open()))>
                {Icon::Silence.draw("i-s t3")}
                <span>{move || {
                    let n = count.get() as u64;
                    let fire = plural(n, "more alert fires and is", "more alerts fire and are");
                    format!("{fire} kept quiet: silenced, or explained by another")
                }}</span>
                <span class="right">{move || if is_open() { Icon::ChevronUp.draw("t3") } else { Icon::ChevronDown.draw("t3") }}</span>
            </button>
            {move || is_open().then(|| view! { <div class="quietrows">{list(rows, all)}</div> })}
        })
    }
}

/// The rows of a list; the first of many.
fn list(rows: Memo<Vec<Alert>>, all: Signal<Arc<Alerts>>) -> impl IntoView {
    let whole = RwSignal::new(false);
    let drawn = Signal::derive(move || {
        rows.with(|rows| {
            let n = if whole.get() { rows.len() } else { DRAWN };
            rows.iter().take(n).cloned().collect::<Vec<_>>()
        })
    });
    let rest = Memo::new(move |_| {
        let n = rows.with(Vec::len);
        if whole.get() {
            0
        } else {
            n.saturating_sub(DRAWN)
        }
    });
    let there = Memo::new(move |_| rows.with(|r| !r.is_empty()));
    move || {
        there.get().then(|| view! {
            <div role="list">{keyed(drawn, |a: &Alert| a.id.clone(), move |alert| row(alert, all))}</div>
            {move || (rest.get() > 0).then(|| view! {
                <div class="alnote"><button class="btn s" on:click=move |_| whole.set(true)>{format!("Show {} more", count_full(rest.get() as u64))}</button></div>
            })}
        })
    }
}

/// Returns the icon of an alert: how bad, or that it is not or no longer so.
fn icon(alert: &Alert) -> impl IntoView + use<> {
    let (icon, class, word) = match (alert.phase, alert.severity) {
        (Phase::Resolved, _) => (Icon::Done, "c-ok", "Resolved"),
        (Phase::Pending, Severity::Critical) => (Icon::Clock, "t3", "Critical, pending"),
        (Phase::Pending, Severity::Warning) => (Icon::Clock, "t3", "Warning, pending"),
        (Phase::Firing, Severity::Critical) => (Icon::Critical, "c-crit", "Critical"),
        (Phase::Firing, Severity::Warning) => (Icon::Warning, "c-warn", "Warning"),
    };
    view! { <span class="fireicon" title=word>{icon.draw(class)}<span class="vh">{word}</span></span> }
}

/// A row: sentence, facts, marks, the last hour, and what can be done.
fn row(alert: Memo<Alert>, all: Signal<Arc<Alerts>>) -> impl IntoView + use<> {
    // Only what changes is drawn anew: whoever stands on the link keeps the focus.
    let sentence =
        Memo::new(move |_| alert.with(|a| (a.sentence.clone(), words::names(&a.subject))));
    let said = move || {
        let (sentence, names) = sentence.get();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        emphasised(&sentence, &names).into_any()
    };
    let look = Memo::new(move |_| alert.with(|a| (a.phase, a.severity, is_quiet(a))));
    let mark = move || {
        look.with(|_| ());
        alert.with_untracked(icon)
    };
    let marked = Memo::new(move |_| {
        alert.with(|a| {
            (
                a.acknowledged.clone(),
                a.silenced_by.clone(),
                a.inhibited_by.clone(),
                a.flapping,
                a.unknown_since,
                a.unknown_reason.clone(),
            )
        })
    });
    let spark =
        Memo::new(move |_| alert.with(|a| (a.last_hour.clone(), a.over, a.severity, a.phase)));
    let class = move || match look.get() {
        (Phase::Firing, _, false) => "fire",
        _ => "fire quiet",
    };
    view! {
        <div class=class role="listitem" data-testid="alert" data-alert=move || alert.with(|a| a.id.clone())>
            {mark}
            <div class="grow">
                <a class="firelink" href=move || alert.with(|a| safe_path(&a.href))>{said}</a>
                <p class="m">{under(alert)}</p>
                {move || {
                    // Read, not only tracked: a memo that nobody reads is not computed.
                    marked.with(|_| ());
                    alert.with_untracked(|a| marks(a, all))
                }}
            </div>
            {move || spark.with(|(points, over, severity, phase)| {
                let class = match (phase, severity) {
                    (Phase::Firing, Severity::Critical) => "crit",
                    (Phase::Firing, Severity::Warning) => "warn",
                    _ => "",
                };
                if points.iter().any(Option::is_some) {
                    sparkline(points, *over, class, 108.0, 24.0).into_any()
                } else {
                    view! { <span></span> }.into_any()
                }
            })}
            {buttons(alert)}
        </div>
    }
}

/// The line under the sentence: its rule, how long, who was told.
fn under(alert: Memo<Alert>) -> impl IntoView + use<> {
    let desk = Desk::get_context();
    let second = Second::get_context();
    let facts = Memo::new(move |_| alert.with(|a| words::facts(a, second.now())));
    let runbook = Memo::new(move |_| alert.with(|a| a.runbook.clone()));
    let open = move |_| {
        let rule = alert.with_untracked(|a| a.rule.clone());
        desk.open_rule(Some(&rule));
    };
    let dot = || view! { <span aria-hidden="true">" · "</span> };
    view! {
        <button class="rulelink" title="Open the rule" on:click=open>{move || alert.with(|a| a.rule_name.clone())}</button>
        <span title=move || alert.with(|a| a.pending_since.to_string())>
            {move || facts.get().into_iter().map(|fact| view! { {dot()}{fact} }).collect_view()}
        </span>
        {move || runbook.get().map(|to| view! {
            {dot()}
            {if to.starts_with("https://") || to.starts_with("http://") {
                view! { <a href=to target="_blank" rel="noopener noreferrer">"runbook"</a> }.into_any()
            } else {
                view! { <span class="anywhere">{format!("runbook {to}")}</span> }.into_any()
            }}
        })}
    }
}

/// The marks of an alert: seen, kept quiet, explained, flapping, unknown.
fn marks(alert: &Alert, all: Signal<Arc<Alerts>>) -> Option<impl IntoView + use<>> {
    let desk = Desk::get_context();
    let at = now();
    let mut marks: Vec<AnyView> = Vec::new();
    if let Some(act) = &alert.acknowledged {
        let text = format!("acknowledged by {} at {}", act.by, clock_short(act.at, at));
        marks.push(view! { <span class="badge" title="The name as it was typed">{Icon::Tick.draw("i-xs")}{text}</span> }.into_any());
    }
    if let Some(id) = &alert.silenced_by {
        let silence = desk.silences.data.with(|s| {
            let s = s.as_ref()?.silences.iter().find(|s| s.id == *id)?;
            Some(format!(
                "silenced by {} until {}",
                s.author,
                clock_short(s.ends, at)
            ))
        });
        let text = silence.unwrap_or_else(|| "silenced".to_owned());
        marks.push(
            view! { <span class="badge">{Icon::Silence.draw("i-xs")}{text}</span> }.into_any(),
        );
    }
    if let Some(id) = &alert.inhibited_by {
        let other = all.with_untracked(|a| a.alerts.iter().find(|a| a.id == *id).cloned());
        let (name, href) = other.map_or_else(
            || ("another alert".to_owned(), None),
            |a| {
                let name = format!("{}, {}", a.rule_name, words::about(&a.subject));
                (name, Some(safe_path(&a.href)))
            },
        );
        let name = match href {
            Some(href) => view! { <a href=href>{name}</a> }.into_any(),
            None => name.into_any(),
        };
        marks.push(
            view! { <span class="badge">{Icon::Link.draw("i-xs")}<span>"explained by "{name}</span></span> }
                .into_any(),
        );
    }
    if alert.flapping {
        marks.push(view! { <span class="badge warn" title="It comes and goes: it stays until it has been quiet for longer">{Icon::Retry.draw("i-xs")}"flapping"</span> }.into_any());
    }
    if let Some(since) = alert.unknown_since {
        let why = alert.unknown_reason.clone().unwrap_or_default();
        let text = format!("unknown since {}", clock_short(since, at));
        marks.push(view! { <span class="badge line" title=why.clone()>{Icon::Unknown.draw("i-xs")}{text}</span> }.into_any());
        if !why.is_empty() {
            marks.push(view! { <span class="fs11 t3 anywhere">{why}</span> }.into_any());
        }
    }
    (!marks.is_empty()).then(|| view! { <div class="firemarks">{marks}</div> })
}

/// What can be done with an alert that fires.
fn buttons(alert: Memo<Alert>) -> impl IntoView + use<> {
    let desk = Desk::get_context();
    let busy = RwSignal::new(false);
    // Nobody is told of what is quiet: there is nothing to acknowledge or to silence.
    let state = Memo::new(move |_| {
        alert.with(|a| {
            (
                a.phase == Phase::Firing,
                a.acknowledged.is_some(),
                is_quiet(a),
            )
        })
    });
    let id = move || alert.with_untracked(|a| a.id.clone());
    let about = move || alert.with_untracked(|a| words::about(&a.subject));
    view! {
        <span class="row fireacts">{move || {
            let (firing, seen, quiet) = state.get();
            firing.then(|| view! {
                {match (seen, quiet) {
                    (true, _) => view! {
                        <button class="btn s" disabled=busy aria-label=format!("Take the acknowledgement of {} back", about())
                            on:click=move |_| acts::take_back(desk, id(), busy)>"Take back"</button>
                    }.into_any(),
                    (false, false) => view! {
                        <button class="btn s" data-testid="acknowledge" disabled=busy aria-label=format!("Acknowledge {}", about())
                            on:click=move |_| acts::acknowledge(desk, id(), busy)>"Acknowledge"</button>
                    }.into_any(),
                    (false, true) => ().into_any(),
                }}
                {(!quiet).then(|| view! {
                    <button class="btn s" data-testid="silence" aria-label=format!("Silence {}", about())
                        on:click=move |_| desk.open_silence(Some(&id()))>{Icon::Silence.draw("")}"Silence"</button>
                })}
            })
        }}</span>
    }
}

/// `j` and `k` go over the alerts, and from the last one on to the rules' table, whose rows they move over as well.
fn move_by_keys() {
    on_keys(|ev| {
        let down = match ev.key().as_str() {
            "j" => true,
            "k" => false,
            _ => return false,
        };
        let Ok(found) = document().query_selector_all("a.firelink") else {
            return false;
        };
        let links: Vec<web_sys::HtmlElement> = (0..found.length())
            .filter_map(|i| found.item(i)?.dyn_into().ok())
            .collect();
        let active = document().active_element();
        let row = active
            .as_ref()
            .and_then(|e| e.closest("tr.dr").ok().flatten());
        let next = if let Some(row) = row {
            let first = row
                .previous_element_sibling()
                .is_none_or(|r| !r.class_list().contains("dr"));
            // Within the table its own keys move; above its first row stands the last alert.
            if down || !first {
                return false;
            }
            links.last()
        } else {
            let at = active
                .as_ref()
                .and_then(|e| e.closest(".fire").ok().flatten())
                .and_then(|fire| links.iter().position(|l| fire.contains(Some(l))));
            match (at, down) {
                (None, _) => links.first(),
                (Some(at), true) => links.get(at + 1),
                (Some(at), false) => links.get(at.saturating_sub(1)),
            }
        };
        next.is_some_and(|link| link.focus().is_ok())
    });
}
