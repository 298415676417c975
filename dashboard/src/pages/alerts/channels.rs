//! Where alerts are told, and what was told.

use std::sync::Arc;

use highwater_shared::alerts::{Channel, Channels, Delivery, TestResult};
use leptos::prelude::*;

use super::{Desk, acts, words};
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::snippet::Snippet;
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table, TableFilter};
use crate::format::{clock, clock_short, count_full};
use crate::state::clock::{Second, now};
use crate::state::query::segment;

const HOUR: u64 = 3_600_000_000_000;

/// What makes a channel known.
const EXAMPLE: &str = "# highwater.toml\n# The address is a secret: name a variable or a file.\n[[channel]]\nname = \"#oncall\"\nkind = \"slack\"\nurl_env = \"SLACK_WEBHOOK_URL\"";

/// What came of a test.
#[derive(Clone, PartialEq)]
pub(super) enum Tested {
    /// It is under way.
    Asking,
    /// The channel answered, or did not.
    Answered(TestResult),
    /// The collector did not send it.
    Refused(String),
}

/// Sends a test to a channel and puts what came of it into `tested`.
pub(super) fn test(desk: Desk, channel: &str, tested: impl Fn(Tested) + 'static) {
    tested(Tested::Asking);
    let url = format!("/api/v1/channels/{}/test", segment(channel));
    acts::act::<TestResult>(desk, url, serde_json::json!({}), "", move |answer| {
        desk.channels.refetch();
        tested(match answer {
            Ok(result) => Tested::Answered(result),
            Err(error) => Tested::Refused(error.sentence()),
        });
    });
}

/// Draws what came of a test.
pub(super) fn tested_mark(tested: &Tested) -> impl IntoView + use<> {
    match tested {
        Tested::Asking => view! { <span class="t3">"Sending…"</span> }.into_any(),
        Tested::Answered(result) if result.delivered => {
            let said = result.detail.clone();
            view! { <span class="tested">{Icon::Done.draw("i-s c-ok")}<span class="anywhere">"Delivered"{(!said.is_empty()).then(|| format!(": {said}"))}</span></span> }.into_any()
        }
        Tested::Answered(TestResult { detail: why, .. }) | Tested::Refused(why) => {
            view! { <span class="tested">{Icon::Critical.draw("i-s c-crit")}<span class="anywhere">{format!("Not delivered: {why}")}</span></span> }.into_any()
        }
    }
}

/// The channels and the newest deliveries.
#[component]
pub(super) fn ChannelList() -> impl IntoView {
    let desk = Desk::get_context();
    view! {
        <div class="content alcontent">
            {loaded("channels", desk.channels, || view! { <section class="card">{skeleton_rows(4)}</section> }, move |channels| view! { <Body channels=channels/> })}
        </div>
    }
}

#[component]
fn Body(
    /// Channels and deliveries.
    channels: Signal<Arc<Channels>>,
) -> impl IntoView {
    let rows = Signal::derive(move || channels.with(|c| c.channels.clone()));
    let deliveries = Signal::derive(move || channels.with(|c| c.deliveries.clone()));
    let none = Memo::new(move |_| rows.with(Vec::is_empty));
    move || {
        if none.get() && deliveries.with_untracked(Vec::is_empty) {
            return view! { <section class="card"><NoChannel/></section> }.into_any();
        }
        view! {
            <section class="card" aria-label="Channels" data-testid="channels">
                <header><h2>"Channels"</h2><span class="sub">"set in highwater.toml"</span></header>
                {move || none.get().then(|| view! { <NoChannel/> })}
                {keyed(rows, |c: &Channel| c.name.clone(), row)}
            </section>
            <section class="card" aria-label="Deliveries">
                <header><h2>"Deliveries"</h2><span class="sub">"the newest 100"</span><span class="row right"><TableFilter placeholder="Filter"/></span></header>
                <Table name="deliveries" rows=deliveries id=|d: &Delivery| d.id.to_string() columns=columns() text=text in_url=true test="delivery-row" class="deltbl"
                    empty=ViewFn::from(|| view! { <p class="fs12 t3 nosilence">"Nothing was sent yet."</p> })/>
            </section>
        }
        .into_any()
    }
}

/// Says how a channel is set.
#[component]
fn NoChannel() -> impl IntoView {
    view! {
        <Blank icon=Icon::Send title="No channel is set">
            <p class="fs12 t2">"Alerts stand on this page and are told nobody. Set a channel in "<span class="mono">"highwater.toml"</span>" and start Highwater again: a webhook, Alertmanager, Slack, PagerDuty or e-mail."</p>
            <div class="chexample"><Snippet text=EXAMPLE what="example of a channel"/></div>
        </Blank>
    }
}

/// Returns how a person reads a kind.
pub(super) fn kind_name(kind: &str) -> &str {
    match kind {
        "webhook" => "Webhook",
        "alertmanager" => "Alertmanager",
        "slack" => "Slack",
        "pagerduty" => "PagerDuty",
        "email" => "E-mail",
        other => other,
    }
}

/// A channel.
fn row(channel: Memo<Channel>) -> impl IntoView {
    let desk = Desk::get_context();
    let second = Second::get_context();
    let tested = RwSignal::new(None::<Tested>);
    let busy = move || tested.with(|t| *t == Some(Tested::Asking));
    let problem = Memo::new(move |_| channel.with(|c| c.problem.clone()));
    let delivered = Memo::new(move |_| {
        let now = second.now();
        channel.with(|c| match c.delivered_at {
            Some(at) => {
                let age = now.0.saturating_sub(at.0);
                if age < HOUR {
                    format!("delivered {} ago", words::coarse(age))
                } else {
                    format!("delivered {}", clock_short(at, now))
                }
            }
            None => "nothing delivered yet".to_owned(),
        })
    });
    let waiting = Memo::new(move |_| channel.with(|c| c.waiting));
    let icon = move || {
        if problem.with(Option::is_some) {
            Icon::Critical.draw("c-crit").into_any()
        } else if channel.with(|c| c.delivered_at.is_some()) {
            Icon::Done.draw("c-ok").into_any()
        } else {
            Icon::Ring.draw("t3").into_any()
        }
    };
    let press = move |_| {
        let name = channel.with_untracked(|c| c.name.clone());
        test(desk, &name, move |result| {
            tested.try_set(Some(result));
        });
    };
    view! {
        <div class="chrow" data-testid="channel-row">
            {icon}
            <div class="chname">
                <span class="row"><b class="med anywhere">{move || channel.with(|c| c.name.clone())}</b><span class="badge">{move || channel.with(|c| kind_name(&c.kind).to_owned())}</span></span>
                <span class="fs11 t3 mono anywhere">{move || channel.with(|c| c.target.clone())}</span>
                {move || problem.get().map(|p| view! { <span class="fs12 c-crit anywhere">{p}</span> })}
                {move || tested.get().map(|t| view! { <span class="fs12" role="status">{tested_mark(&t)}</span> })}
            </div>
            <span class="fs12 t2 num chwhen">{delivered}</span>
            <span class="fs12 num chwait" class:c-warn=move || { waiting.get() > 0 } class:t3=move || waiting.get() == 0>{move || format!("{} waiting", count_full(waiting.get()))}</span>
            <button class="btn s chtest" data-testid="test-channel" disabled=busy on:click=press>{Icon::Send.draw("")}"Send a test"</button>
        </div>
    }
}

/// What the filter looks at.
fn text(d: &Delivery) -> String {
    format!(
        "{} {} {} {} {}",
        d.channel, d.kind, d.state, d.sentence, d.detail
    )
}

/// The columns of the deliveries.
fn columns() -> Vec<Column<Delivery>> {
    vec![
        Column::new("at", "When", |d: &Delivery| view! { <span title=d.created_at.to_string()>{clock(d.created_at, now())}</span> })
            .class("num t2")
            .sort(|d| SortKey::Number(d.created_at.0 as f64)),
        Column::new("channel", "Channel", |d: &Delivery| view! { <b class="med">{d.channel.clone()}</b> })
            .sort(|d| SortKey::Text(d.channel.clone())),
        Column::new("state", "State", |d: &Delivery| {
            let (icon, class, word) = match d.state.as_str() {
                "delivered" => (Icon::Done, "i-s c-ok", "Delivered"),
                "failed" => (Icon::Critical, "i-s c-crit", "Given up"),
                _ => (Icon::Clock, "i-s c-warn", "Waiting"),
            };
            let tip = d.next_at.map(|at| format!("Next attempt {}", clock(at, now()))).unwrap_or_default();
            view! { <span class="state quiet sev" title=tip>{icon.draw(class)}{word}</span> }
        })
        .sort(|d| SortKey::Text(d.state.clone())),
        Column::new("kind", "What", |d: &Delivery| {
            let word = words::event_word(&d.kind);
            if d.alerts > 1 { format!("{word}, {} alerts", d.alerts) } else { word }
        })
        .class("t2"),
        Column::new("sentence", "Sentence", |d: &Delivery| {
            view! { <span title=d.sentence.clone()>{d.sentence.clone()}</span> }
        })
        .class("t2 cutsentence"),
        Column::new("attempts", "Attempts", |d: &Delivery| d.attempts)
            .right()
            .class("t2")
            .sort(|d| SortKey::Number(f64::from(d.attempts))),
        Column::new("detail", "Answer", |d: &Delivery| view! { <span title=d.detail.clone()>{d.detail.clone()}</span> }).class("t3 cutdetail"),
    ]
}

#[cfg(test)]
mod tests {
    use super::kind_name;

    #[test]
    fn a_kind_not_known_here_is_still_named() {
        assert_eq!(kind_name("pagerduty"), "PagerDuty");
        assert_eq!(kind_name("carrier-pigeon"), "carrier-pigeon");
    }
}
