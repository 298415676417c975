//! The application: what all pages share, the frame, and which path shows which page.

use highwater_shared::alerts::AlertSummary;
use highwater_shared::status::Status;
use leptos::prelude::*;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use crate::api::{Fetched, fetch, fetch_always};
use crate::components::announce::Announcer;
use crate::components::frame::{Lost, Rail, TopBar};
use crate::components::icons::Icon;
use crate::components::loading::skeleton_rows;
use crate::components::page::{Heading, Page};
use crate::components::surface::Blank;
use crate::components::toast::{ToastList, Toasts};
use crate::pages;
use crate::state::clock::{Second, set_collector_now};
use crate::state::live::Live;
use crate::state::query::Query;
use crate::state::settings::Settings;
use crate::state::zone::{self, Zone};

/// The collector's status, which the frame and several pages show.
#[derive(Clone, Copy)]
pub(crate) struct CollectorStatus(pub(crate) Fetched<Status>);

impl CollectorStatus {
    /// Returns a part of the status; `None` before the first answer; tracked.
    pub(crate) fn with<V>(self, part: impl FnOnce(&Status) -> V) -> Option<V> {
        self.0.data.with(|status| status.as_deref().map(part))
    }
}

/// What fires, which the frame of every page shows, also of one that looks at the past.
#[derive(Clone, Copy)]
pub(crate) struct FiringNow(pub(crate) Fetched<AlertSummary>);

/// The whole dashboard.
#[component]
pub(crate) fn App() -> impl IntoView {
    view! {
        <Router>
            <Frame/>
        </Router>
    }
}

/// Everything inside the router.
#[component]
fn Frame() -> impl IntoView {
    let settings = Settings::provide();
    Heading::provide();
    let query = Query::provide();
    // Clocks stand everywhere: in another zone everything is drawn again.
    let drawn_in = Memo::new(move |_| {
        let named = query.get("tz").unwrap_or_else(|| settings.zone.get());
        let zone = Zone::read(&named);
        zone::set(zone.clone());
        zone
    });
    Second::provide();
    Live::provide();
    Toasts::provide();
    let status = CollectorStatus(fetch::<Status>(&["status"], || {
        Some("/api/v1/status".to_owned())
    }));
    provide_context(status);
    provide_context(FiringNow(fetch_always::<AlertSummary>(&["alerts"], || {
        Some("/api/v1/alerts/summary".to_owned())
    })));
    Effect::new(move || {
        if let Some(now) = status.with(|s| s.now) {
            set_collector_now(now);
        }
    });
    view! {
        <a class="skip" href="#main">"Skip to the page"</a>
        <Rail/>
        <Announcer/>
        {move || {
            // Read, not only tracked: a memo that nobody reads is not computed.
            drawn_in.with(|_| ());
            view! { <Pages/> }
        }}
        <ToastList/>
    }
}

/// The top bar and the page.
#[component]
fn Pages() -> impl IntoView {
    view! {
        <div class="frame">
            <TopBar/>
            <Lost/>
            <Routes fallback=NotFound>
                <Route path=path!("/") view=Home/>
                <Route path=path!("/map") view=pages::map::Map/>
                <Route path=path!("/traces") view=pages::traces::Traces/>
                <Route path=path!("/traces/:trace_id") view=pages::trace::Trace/>
                <Route path=path!("/journeys/:value") view=pages::journey::FindJourney/>
                <Route path=path!("/journeys/:key/:value") view=pages::journey::Journey/>
                <Route path=path!("/lag") view=pages::lag::Lag/>
                <Route path=path!("/lag/:cluster/:group") view=pages::lag_group::LagGroup/>
                <Route path=path!("/dead-letters") view=pages::dead_letters::DeadLetters/>
                <Route path=path!("/dead-letters/:cluster/:topic") view=pages::dead_letters::DeadLetters/>
                <Route path=path!("/alerts") view=pages::alerts::Alerts/>
                <Route path=path!("/settings/health") view=pages::health::Health/>
                <Route path=path!("/settings") view=pages::health::Health/>
                <Route path=path!("/first-run") view=pages::first_run::FirstRun/>
            </Routes>
        </div>
    }
}

/// The overview, or what to do first while nothing has arrived.
#[component]
fn Home() -> impl IntoView {
    let status = expect_context::<CollectorStatus>();
    let first_run = Memo::new(move |_| match status.with(|s| s.first_run) {
        Some(first) => Some(first),
        // Without a status the overview says what failed.
        None => status.0.error.with(Option::is_some).then_some(false),
    });
    move || match first_run.get() {
        None => view! { <Page title="Overview">{skeleton_rows(6)}</Page> }.into_any(),
        Some(true) => view! { <pages::first_run::FirstRun/> }.into_any(),
        Some(false) => view! { <pages::overview::Overview/> }.into_any(),
    }
}

/// A path that leads nowhere.
#[component]
fn NotFound() -> impl IntoView {
    let query = Query::get_context();
    view! {
        <Page title="No such page">
            <Blank icon=Icon::Search title="There is no such page">
                <p class="fs12 t2">"The address may be from another version of Highwater."</p>
                <div class="row"><a class="btn primary" href=move || query.link("/", &[])>"Open the overview"</a></div>
            </Blank>
        </Page>
    }
}
