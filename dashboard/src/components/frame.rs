//! The frame around every page: rail and top bar.

use highwater_shared::Level;
use highwater_shared::alerts::AlertSummary;
use highwater_shared::dead_letters::DeadLetters;
use highwater_shared::lag::Groups;
use highwater_shared::status::Brokers;
use leptos::prelude::*;

use super::icons::Icon;
use super::page::Heading;
use super::range::{Environment, TimeRange};
use super::search::SearchBox;
use super::shortcuts::ShortcutList;
use super::surface::{Banner, Tone};
use crate::api::{ApiError, fetch};
use crate::app::{CollectorStatus, FiringNow};
use crate::format::{age_text, clock, count_full};
use crate::state::clock::{Second, browser_ms, now};
use crate::state::live::{Connection, Live};
use crate::state::query::Query;
use crate::state::settings::Settings;

/// The pages of the rail: path, name, key, icon, test id.
const PAGES: [(&str, &str, &str, Icon, &str); 6] = [
    ("/", "Overview", "g o", Icon::Overview, "nav-overview"),
    ("/map", "Flow map", "g m", Icon::Map, "nav-map"),
    ("/traces", "Traces", "g t", Icon::Traces, "nav-traces"),
    ("/lag", "Lag", "g l", Icon::Group, "nav-lag"),
    (
        "/dead-letters",
        "Dead letters",
        "g d",
        Icon::DeadLetter,
        "nav-dead-letters",
    ),
    ("/alerts", "Alerts", "g a", Icon::Alert, "nav-alerts"),
];

/// Returns whether `path` belongs to the page at `root`.
fn belongs(path: &str, root: &str) -> bool {
    if root == "/" {
        return path == "/";
    }
    // A journey is reached from a trace and by search.
    let path = if path.starts_with("/journeys") {
        "/traces"
    } else {
        path
    };
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A count on the rail: how many, how loud, and what they are.
#[derive(Clone, PartialEq, Default)]
struct Count {
    number: usize,
    /// `crit`, `warn`, or none where it is only worth a look.
    class: &'static str,
    label: String,
}

/// Returns the count of what fires: red when one of it is critical, amber when all are warnings.
fn firing_count(summary: Option<&AlertSummary>) -> Count {
    let Some(summary) = summary else {
        return Count::default();
    };
    let fire = if summary.firing == 1 {
        "alert fires"
    } else {
        "alerts fire"
    };
    Count {
        number: usize::try_from(summary.firing).unwrap_or(usize::MAX),
        class: match summary.level {
            Level::Critical => "crit",
            Level::Warning => "warn",
            Level::Ok | Level::Unknown => "",
        },
        label: format!(
            "{} {fire}, {} not acknowledged",
            count_full(summary.firing),
            count_full(summary.unacknowledged)
        ),
    }
}

/// The rail at the left.
#[component]
pub(crate) fn Rail() -> impl IntoView {
    let query = Query::get_context();
    // The rail counts everything, whatever the page filters.
    let groups = fetch::<Groups>(&["groups"], || Some("/api/v1/groups".to_owned()));
    let letters = fetch::<DeadLetters>(&["dead_letters"], || {
        Some("/api/v1/dead-letters".to_owned())
    });
    let behind = Memo::new(move |_| {
        let number = groups.data.with(|g| {
            g.as_ref().map_or(0, |g| {
                g.groups
                    .iter()
                    .filter(|g| g.level == Level::Critical)
                    .count()
            })
        });
        Count {
            number,
            class: "crit",
            label: format!("{number} above their mark"),
        }
    });
    let growing = Memo::new(move |_| {
        let number = letters.data.with(|d| {
            d.as_ref().map_or(0, |d| {
                d.topics
                    .iter()
                    .filter(|t| t.arrivals_per_hour.is_some_and(|a| a > 0.0))
                    .count()
            })
        });
        Count {
            number,
            class: "",
            label: format!("{number} growing"),
        }
    });
    let summary = expect_context::<FiringNow>();
    let firing = Memo::new(move |_| summary.0.data.with(|s| firing_count(s.as_deref())));
    let item = move |(path, name, keys, icon, test): (
        &'static str,
        &'static str,
        &'static str,
        Icon,
        &'static str,
    )| {
        let count = move || match path {
            "/lag" => behind.get(),
            "/dead-letters" => growing.get(),
            "/alerts" => firing.get(),
            _ => Count::default(),
        };
        view! {
            // A phone shows what somebody on call looks at; the rest is reached by links.
            <li class=if matches!(path, "/map" | "/traces" | "/settings/health") { "desk" } else { "" }>
                <a class="nav" href=move || query.link(path, &[]) title=format!("{name} ({keys})") data-testid=test
                    aria-current=move || belongs(&query.path(), path).then_some("page")>
                    {icon.draw("")}
                    <span>{name}</span>
                    {move || {
                        let count = count();
                        (count.number > 0).then(|| view! {
                            <span class=format!("cnt {}", count.class) aria-label=count.label.clone() title=count.label>
                                {if count.number > 99 { "99+".to_owned() } else { count.number.to_string() }}
                            </span>
                        })
                    }}
                </a>
            </li>
        }
    };
    view! {
        <nav class="rail" aria-label="Main">
            <a class="logo" href=move || query.link("/", &[]) aria-label="Highwater, to the overview">
                <svg viewBox="0 0 24 24" aria-hidden="true">
                    <path fill="currentColor" d="M4 2.5h3.4v19H4zM16.6 2.5H20v19h-3.4z"></path>
                    <path fill="var(--accent)" d="M8.6 15.2c1.1-1 2.3-1 3.4 0s2.3 1 3.4 0v6.3H8.6z"></path>
                    <path fill="currentColor" d="M7.4 9.4h15.1v2.2H7.4z"></path>
                </svg>
            </a>
            <ul>{PAGES.into_iter().map(item).collect_view()}</ul>
            <ul class="end">{item(("/settings/health", "Health", "g s", Icon::Health, "nav-health"))}</ul>
        </nav>
    }
}

/// The bar at the top: where one is, search, filters, live.
#[component]
pub(crate) fn TopBar() -> impl IntoView {
    let heading = expect_context::<Heading>();
    let settings = Settings::get_context();
    let keys = RwSignal::new(false);
    view! {
        <header class="topbar">
            <div class="crumbs">
                {move || {
                    let crumbs = heading.crumbs();
                    view! {
                        {crumbs.above.into_iter().map(|(name, href)| view! {
                            <a href=href>{name}</a><span class="sep" aria-hidden="true">"/"</span>
                        }).collect_view()}
                        <h1 class="ell">{crumbs.title}</h1>
                    }
                }}
            </div>
            <SearchBox/>
            <Environment/>
            <TimeRange/>
            <LiveControl/>
            <button class="btn ghost icon thm" title="Theme (\\)" aria-label="Switch theme"
                on:click=move |_| settings.switch_theme()>{Icon::Theme.draw("")}</button>
            <button class="btn ghost icon hlp" title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts"
                on:click=move |_| keys.set(true)>{Icon::Help.draw("")}</button>
        </header>
        <ShortcutList open=keys/>
    }
}

/// Says over every page that the collector or a cluster does not answer, and what that means for what is shown.
#[component]
pub(crate) fn Lost() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let brokers = fetch::<Brokers>(&["brokers"], || Some("/api/v1/brokers".to_owned()));
    let collector = Memo::new(move |_| status.0.error.with(|e| *e == Some(ApiError::Unreachable)));
    let clusters = Memo::new(move |_| {
        brokers.data.with(|b| {
            b.iter()
                .flat_map(|b| &b.clusters)
                .filter(|c| c.state == "unreachable")
                .map(|c| (c.name.clone(), c.since, c.reason.clone()))
                .collect::<Vec<_>>()
        })
    });
    view! {
        <div class="banners">
            {move || collector.get().then(|| view! {
                <Banner tone=Tone::Critical>
                    <span><b>"The collector does not answer."</b>" "<span class="t2">"What is shown stays as it was, until it does."</span></span>
                    <button class="btn s right" on:click=move |_| status.0.refetch()>"Try now"</button>
                </Banner>
            })}
            {move || clusters.get().into_iter().map(|(name, since, reason)| view! {
                <Banner tone=Tone::Critical>
                    <span class="ell" title=reason><b>{format!("{name} does not answer since {}.", clock(since, now()))}</b>" "
                        <span class="t2">"Until it does, its lag and dead letters are not known; traces are not affected."</span></span>
                    <a class="btn s right" href=move || query.link("/settings/health", &[])>"Details"</a>
                </Banner>
            }).collect_view()}
        </div>
    }
}

/// Live, paused or reconnecting, and how old the newest data on the page is.
#[component]
fn LiveControl() -> impl IntoView {
    let live = Live::get_context();
    let second = Second::get_context();
    let lost = move || matches!(live.connection.get(), Connection::Reconnecting);
    view! {
        <button class="ctl live" data-testid="live"
            class:paused=move || live.paused.get()
            class:lost=move || lost() && !live.paused.get()
            aria-pressed=move || (!live.paused.get()).to_string()
            title=move || if live.paused.get() { "Go on with live updates (p)" } else { "Pause live updates (p)" }
            on:click=move |_| live.toggle()>
            <span class="dot"></span>
            {move || if live.paused.get() { "Paused" } else if lost() { "Reconnecting" } else { "Live" }}
            <span class="t3 upd num">{move || {
                second.now();
                let waiting = live.waiting.get();
                if live.paused.get() {
                    return if waiting > 0 { format!("{waiting} new") } else { String::new() };
                }
                let at = live.fetched_ms.get();
                if at <= 0.0 {
                    return String::new();
                }
                let age = ((browser_ms() - at).max(0.0) * 1e6) as u64;
                format!("{} ago", age_text(age))
            }}</span>
        </button>
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::Level;
    use highwater_shared::alerts::AlertSummary;

    use super::{belongs, firing_count};

    #[test]
    fn the_count_of_alerts_is_as_loud_as_the_worst_of_them() {
        let mut summary = AlertSummary {
            firing: 4,
            unacknowledged: 1,
            level: Level::Critical,
            newest: None,
            newest_id: None,
        };
        let count = firing_count(Some(&summary));
        assert_eq!((count.number, count.class), (4, "crit"));
        assert_eq!(count.label, "4 alerts fire, 1 not acknowledged");
        summary.level = Level::Warning;
        assert_eq!(firing_count(Some(&summary)).class, "warn");
        assert_eq!(firing_count(None).number, 0, "not known is no count");
    }

    #[test]
    fn the_rail_marks_the_page_and_its_children() {
        assert!(belongs("/", "/"));
        assert!(!belongs("/map", "/"));
        assert!(belongs("/lag/kafka/billing", "/lag"));
        assert!(!belongs("/lagoon", "/lag"));
        assert!(belongs("/journeys/correlation/ORD-1", "/traces"));
    }
}
