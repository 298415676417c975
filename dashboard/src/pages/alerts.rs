//! What fires, who was told, which rule?

mod acts;
mod channels;
mod draft;
mod file;
mod firing;
mod history;
mod rule;
mod rules;
mod silence;
mod silences;
mod trial;
mod words;

use highwater_shared::alerts::{Alerts as Wire, Channels, Rules, Silences};
use leptos::prelude::*;

use self::acts::{AskName, Who};
use crate::api::{Fetched, fetch_of_now};
use crate::components::icons::Icon;
use crate::components::page::{Layout, Page};
use crate::components::tabs::{Tab, Tabs};
use crate::components::toast::Toasts;
use crate::format::count_full;
use crate::state::query::Query;

pub(crate) use self::words::silence_of_group;

/// What the parts of the page share.
#[derive(Clone, Copy)]
struct Desk {
    query: Query,
    alerts: Fetched<Wire>,
    rules: Fetched<Rules>,
    silences: Fetched<Silences>,
    channels: Fetched<Channels>,
    who: Who,
    toasts: Toasts,
}

impl Desk {
    fn get_context() -> Self {
        expect_context()
    }

    /// Opens a rule at the side; `None` closes it.
    fn open_rule(self, id: Option<&str>) {
        self.query.change(&[("rule", id), ("silence", None)], true);
    }

    /// Opens the form of a silence: `new`, or prefilled from an alert by its id; `None` closes it.
    fn open_silence(self, of: Option<&str>) {
        self.query.change(&[("silence", of), ("rule", None)], true);
    }

    /// Asks again for what an act may have changed.
    fn refetch(self) {
        self.alerts.refetch();
        self.rules.refetch();
        self.silences.refetch();
    }
}

/// What stands at the side.
#[derive(Clone, PartialEq, Eq)]
enum Side {
    /// A rule by its id, or `new`.
    Rule(String),
    /// A silence: `new`, or of an alert by its id.
    Silence(String),
}

/// The page.
#[component]
pub(crate) fn Alerts() -> impl IntoView {
    let query = Query::get_context();
    let desk = Desk {
        query,
        alerts: fetch_of_now(&["alerts"], || Some("/api/v1/alerts".to_owned())),
        rules: fetch_of_now(&["alerts"], || Some("/api/v1/rules".to_owned())),
        silences: fetch_of_now(&["alerts"], || Some("/api/v1/silences".to_owned())),
        channels: fetch_of_now(&["alerts"], || Some("/api/v1/channels".to_owned())),
        who: Who::new(),
        toasts: Toasts::get_context(),
    };
    provide_context(desk);
    let tab = Memo::new(move |_| match query.get("tab").as_deref() {
        Some("history") => "history",
        Some("channels") => "channels",
        _ => "now",
    });
    let fired = Signal::derive(move || {
        desk.rules.data.with(|rules| {
            let rules = rules.as_ref()?;
            let fired: u64 = rules.rules.iter().map(|r| r.fired_7d).sum();
            Some(format!("{} fired in 7\u{a0}d", count_full(fired)))
        })
    });
    let channels = Signal::derive(move || {
        desk.channels
            .data
            .with(|c| c.as_ref().map(|c| c.channels.len().to_string()))
    });
    let tabs = vec![
        Tab {
            id: "now",
            title: "Now",
            count: Signal::derive(|| None),
        },
        Tab {
            id: "history",
            title: "History",
            count: fired,
        },
        Tab {
            id: "channels",
            title: "Channels",
            count: channels,
        },
    ];
    let choose = Callback::new(move |id: &'static str| {
        // A filter and a sort belong to the table they were made for.
        query.change(
            &[
                ("tab", (id != "now").then_some(id)),
                ("f", None),
                ("sort", None),
            ],
            false,
        );
    });
    let side = Memo::new(move |_| match (query.get("rule"), query.get("silence")) {
        (Some(id), _) => Some(Side::Rule(id)),
        (None, Some(of)) => Some(Side::Silence(of)),
        (None, None) => None,
    });
    // One filled button a page: with a form open, its own.
    let new_rule_class = move || {
        if side.with(Option::is_some) {
            "btn"
        } else {
            "btn primary"
        }
    };
    view! {
        <Page title="Alerts" layout=Layout::Bench>
            <div class="pagebar">
                <Tabs label="Alerts" tabs=tabs chosen=tab on_choose=choose/>
                <span class="right row albtns">
                    <button class="btn" data-testid="new-silence" on:click=move |_| desk.open_silence(Some("new"))>{Icon::Silence.draw("")}"New silence"</button>
                    <button class=new_rule_class data-testid="new-rule" on:click=move |_| desk.open_rule(Some("new"))>{Icon::Plus.draw("")}"New rule"</button>
                </span>
            </div>
            <div class="al livealerts">
                <div class="altab" id="tab-panel" role="tabpanel" aria-label=tab>
                    {move || match tab.get() {
                        "history" => view! { <history::History/> }.into_any(),
                        "channels" => view! { <channels::ChannelList/> }.into_any(),
                        _ => view! { <Now/> }.into_any(),
                    }}
                </div>
                {move || side.get().map(|side| match side {
                    Side::Rule(id) => view! { <rule::RulePanel id=id/> }.into_any(),
                    Side::Silence(of) => view! { <silence::SilencePanel of=of/> }.into_any(),
                })}
            </div>
            <AskName/>
        </Page>
    }
}

/// What fires, the rules, and what is kept quiet.
#[component]
fn Now() -> impl IntoView {
    view! {
        <div class="content alcontent">
            <firing::Firing/>
            <rules::RuleList/>
            <silences::SilenceList/>
        </div>
    }
}
