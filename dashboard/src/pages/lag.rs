//! Which groups are behind, and is it getting worse?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::lag::{GroupSummary, Groups, State};
use leptos::prelude::*;

use crate::api::fetch;
use crate::app::CollectorStatus;
use crate::components::gauge::{gauge, level_class};
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{
    Kind, entity, group_href, known, state_class, state_icon, state_mark, state_word, unknown,
};
use crate::components::page::{Layout, Page};
use crate::components::spark::lag_spark;
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table, TableFilter};
use crate::format::{ago, bounded_lag, count_full, duration_ms, plural, rate, signed};
use crate::state::clock::Second;
use crate::state::query::Query;

/// A row: a group with what tells it apart.
#[derive(Clone, PartialEq)]
struct Row {
    /// The group's name; with the cluster before it when two clusters have a group of that name.
    id: String,
    group: GroupSummary,
}

/// Makes rows of groups.
fn rows_of<'a>(groups: impl IntoIterator<Item = &'a GroupSummary>) -> Vec<Row> {
    let groups: Vec<_> = groups.into_iter().collect();
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for group in &groups {
        *names.entry(&group.group).or_default() += 1;
    }
    groups
        .iter()
        .map(|g| Row {
            id: match names.get(g.group.as_str()) {
                Some(1) => g.group.clone(),
                _ => format!("{}/{}", g.cluster, g.group),
            },
            group: (*g).clone(),
        })
        .collect()
}

/// Returns how a state stands in the address: `falling_behind`.
pub(super) fn state_name(state: State) -> String {
    serde_json::to_value(state)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Returns how many groups are above their mark.
fn above_mark(groups: &[GroupSummary]) -> u64 {
    groups
        .iter()
        .filter(|g| g.time_lag_ms.is_some_and(|lag| lag > g.mark_ms))
        .count() as u64
}

/// Writes when a group has caught up: `now`, a time, `never`; `None` when that cannot be told. A group that is OK and
/// reads as fast as is written always has a little on its way.
pub(super) fn drains(
    state: State,
    lag_messages: Option<u64>,
    drain_ms: Option<u64>,
    out_per_s: Option<f64>,
) -> Option<String> {
    match (lag_messages, drain_ms) {
        (Some(0), _) | (_, Some(0)) => Some("now".to_owned()),
        (Some(_), _) if state == State::Ok && out_per_s > Some(0.0) => Some("keeps up".to_owned()),
        (_, Some(ms)) => Some(duration_ms(ms)),
        (Some(_), None) if out_per_s.is_some() => Some("never".to_owned()),
        _ => None,
    }
}

/// The page.
#[component]
pub(crate) fn Lag() -> impl IntoView {
    let query = Query::get_context();
    let groups = fetch::<Groups>(&["groups", "brokers"], move || {
        Some(query.api("/groups", &[]))
    });
    view! {
        <Page title="Lag" layout=Layout::Bench>
            {loaded("groups", groups, || view! { <div class="pagebar"></div>{skeleton_rows(14)} }, move |groups| view! { <List groups=groups/> })}
        </Page>
    }
}

/// Chips, sentence and table.
#[component]
fn List(
    /// The groups.
    groups: Signal<Arc<Groups>>,
) -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let wanted = Memo::new(move |_| {
        query
            .get("state")
            .unwrap_or_default()
            .split(',')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    });
    let rows = Signal::derive(move || {
        let wanted = wanted.get();
        groups.with(|groups| {
            rows_of(
                groups
                    .groups
                    .iter()
                    .filter(|g| wanted.is_empty() || wanted.contains(&state_name(g.state))),
            )
        })
    });
    let sentence = move || {
        groups.with(|g| {
            let all = g.groups.len() as u64;
            match above_mark(&g.groups) {
                0 => format!("No group of {} is above its mark.", count_full(all)),
                1 => format!("1 of {} is above its mark.", plural(all, "group", "groups")),
                n => format!(
                    "{} of {} are above their mark.",
                    count_full(n),
                    plural(all, "group", "groups")
                ),
            }
        })
    };
    let worst = move || {
        groups.with(|g| {
            g.groups
                .first()
                .filter(|g| g.state != State::Ok)
                .map(|g| g.reason.clone())
        })
    };
    let read_at = move || {
        let now = second.now();
        groups
            .with(|g| g.groups.iter().filter_map(|g| g.read_at).max())
            .map(|at| format!("offsets read {}", ago(at, now)))
    };
    view! {
        <div class="pagebar" role="toolbar" aria-label="Filter groups">
            <div class="row chips">{chips(query, groups, wanted)}</div>
            <span class="right row"><TableFilter placeholder="Group, topic, service"/></span>
        </div>
        <div class="lagbox">
            <p class="fs14 lagsay">
                <b>{sentence}</b>" "<span class="t2">{worst}</span>
                <span class="t3 fs12 lagread num">{read_at}</span>
            </p>
            <Table name="groups" rows=rows id=|row: &Row| row.id.clone() text=text columns=columns(query)
                in_url=true fill=true test="group-row" data="data-group" class="lagtbl"
                open=Callback::new(move |row: Row| query.go(&untrack(|| group_href(query, &row.group.cluster, &row.group.group)), false))
                empty=ViewFn::from(nothing)/>
        </div>
    }
}

/// A chip for all, and one for each state that a group is in.
fn chips(
    query: Query,
    groups: Signal<Arc<Groups>>,
    wanted: Memo<BTreeSet<String>>,
) -> impl IntoView {
    let counts = Memo::new(move |_| {
        groups.with(|g| {
            // The first of a state is its worst: its colour is the chip's.
            let mut counts: BTreeMap<State, (u64, Level)> = BTreeMap::new();
            for group in &g.groups {
                counts.entry(group.state).or_insert((0, group.level)).0 += 1;
            }
            counts
        })
    });
    let toggle = move |name: &str| {
        let mut states = wanted.get_untracked();
        if !states.remove(name) {
            states.insert(name.to_owned());
        }
        let text = states.into_iter().collect::<Vec<_>>().join(",");
        query.set("state", Some(&text));
    };
    view! {
        <button class="fchip" aria-pressed=move || wanted.with(BTreeSet::is_empty).to_string() on:click=move |_| query.set("state", None)>
            "All"<span class="n">{move || counts.with(|c| c.values().map(|c| c.0).sum::<u64>())}</span>
        </button>
        {move || counts.get().into_iter().map(|(state, (count, level))| {
            let name = state_name(state);
            let pressed = { let name = name.clone(); move || wanted.with(|w| w.contains(&name)).to_string() };
            view! {
                <button class="fchip" aria-pressed=pressed on:click=move |_| toggle(&name)>
                    {state_icon(state).draw(&format!("i-s {}", state_class(state, level)))}
                    {state_word(state)}<span class="n">{count}</span>
                </button>
            }
        }).collect_view()}
    }
}

/// What the filter looks at.
fn text(row: &Row) -> String {
    let g = &row.group;
    format!(
        "{} {} {} {}",
        g.group,
        g.cluster,
        g.topics.join(" "),
        g.services.join(" ")
    )
}

/// Writes a number for a CSV; empty when unknown.
pub(super) fn raw<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// The columns.
fn columns(query: Query) -> Vec<Column<Row>> {
    vec![
        Column::new("state", "State", |row: &Row| state_mark(row.group.state, row.group.level, &row.group.reason))
            .sort(|row| SortKey::Number(-(row.group.state as u8 as f64)))
            .csv("state", |row| state_name(row.group.state)),
        Column::new("group", "Group", move |row: &Row| {
            let g = &row.group;
            let href = group_href(query, &g.cluster, &g.group);
            view! {
                {entity(Kind::Group, &g.group, href)}
                {g.services.is_empty().then(|| view! { <span class="badge line notinst" title="No span names this group: known from its offsets only">"not instrumented"</span> })}
            }
        })
        .sort(|row| SortKey::Text(row.group.group.clone()))
        .csv("group", |row| row.group.group.clone()),
        Column::new("topics", "Topics", |row: &Row| topics(&row.group.topics))
            .class("t2")
            .csv("topics", |row| row.group.topics.join(" ")),
        Column::new("lag", "Lag, messages", |row: &Row| {
            let g = &row.group;
            let tip = match g.lag_by_tools {
                Some(tools) => format!("Messages that can still be read. Kafka's own tool says {}.", signed(tools)),
                None => String::new(),
            };
            view! { <span title=tip>{known(g.lag_messages.map(count_full), &g.reason)}</span> }
        })
        .right()
        .tip("Messages not yet consumed that can still be read")
        .sort(|row| SortKey::count(row.group.lag_messages))
        .csv("lag_messages", |row| raw(row.group.lag_messages)),
        Column::new("lag_time", "Lag, time", |row: &Row| lag_time(&row.group))
            .right()
            .tip("Age of the oldest message not yet consumed; the gauge shows it against the group's mark")
            .sort(|row| SortKey::count(row.group.time_lag_ms))
            .csv("time_lag_seconds", |row| raw(row.group.time_lag_ms.map(|ms| ms as f64 / 1_000.0))),
        Column::new("trend", "Trend", |row: &Row| {
            let g = &row.group;
            let class = match g.state {
                State::Rewound => "info",
                _ => level_class(g.level),
            };
            lag_spark(&g.spark_ms, g.mark_ms, class, 112.0, 22.0)
        })
        .tip("Time lag over the range, scaled to the mark; open where it was not read"),
        Column::new("in", "In", |row: &Row| known(row.group.in_per_s.map(rate), &row.group.reason))
            .right()
            .class("t2")
            .tip("Produced to its partitions, over the last 5 minutes of the range, from offsets")
            .sort(|row| SortKey::number(row.group.in_per_s))
            .csv("in_per_s", |row| raw(row.group.in_per_s)),
        Column::new("out", "Out", |row: &Row| known(row.group.out_per_s.map(rate), &row.group.reason))
            .right()
            .class("t2")
            .tip("Committed by it, over the last 5 minutes of the range, from offsets")
            .sort(|row| SortKey::number(row.group.out_per_s))
            .csv("out_per_s", |row| raw(row.group.out_per_s)),
        Column::new("drain", "Drains in", |row: &Row| {
            let g = &row.group;
            let drains = drains(g.state, g.lag_messages, g.drain_ms, g.out_per_s);
            let never = drains.as_deref() == Some("never");
            view! { <span class=if never { level_text(g.level) } else { "" }>{known(drains, &g.reason)}</span> }
        })
        .right()
        .tip("Time to reach zero at the present rates")
        .sort(|row| SortKey::count(row.group.drain_ms))
        .csv("drain_seconds", |row| raw(row.group.drain_ms.map(|ms| ms as f64 / 1_000.0))),
        Column::new("retention", "Retention left", |row: &Row| retention_left(&row.group))
            .right()
            .tip("Time until the oldest message it has not read is deleted")
            .sort(|row| SortKey::count(row.group.retention_left_ms))
            .csv("retention_left_seconds", |row| raw(row.group.retention_left_ms.map(|ms| ms as f64 / 1_000.0))),
        Column::new("members", "Members", |row: &Row| {
            known(row.group.members.map(|m| count_full(m.into())), "The group could not be described")
        })
        .right()
        .class("t2")
        .sort(|row| SortKey::number(row.group.members))
        .csv("members", |row| raw(row.group.members)),
        Column::new("partitions", "Partitions", |row: &Row| {
            let g = &row.group;
            let Some(total) = g.partitions_total else {
                return known(None::<String>, &g.reason).into_any();
            };
            let text = format!("{} of {total}", g.partitions_read);
            if g.partitions_read < total {
                view! { <span class="unknown" title=g.reason.clone()>{text}</span> }.into_any()
            } else {
                text.into_any()
            }
        })
        .right()
        .class("t2")
        .tip("Partitions whose offsets were read, of those it has")
        .csv("partitions_read", |row| row.group.partitions_read.to_string()),
        // Only in the file: what a reader of it needs to join and to explain an empty field.
        Column::new("cluster", "Cluster", |row: &Row| row.group.cluster.clone())
            .class("t3")
            .sort(|row| SortKey::Text(row.group.cluster.clone()))
            .csv("cluster", |row| row.group.cluster.clone()),
    ]
}

/// Writes how long the oldest unread message of a group is still kept.
pub(super) fn retention_left(g: &GroupSummary) -> AnyView {
    match (g.retention_left_ms, g.retention_ms, g.lag_messages) {
        (Some(left), _, _) => duration_ms(left).into_any(),
        (None, Some(ms), _) if ms < 0 => "no limit".into_any(),
        (None, _, Some(0)) => view! { <span class="t3">"all read"</span> }.into_any(),
        _ => unknown(
            "The retention of its topics, or the age of its oldest unread message, is not known",
        )
        .into_any(),
    }
}

/// Names the first topic and counts the others.
fn topics(topics: &[String]) -> impl IntoView + use<> {
    let title = topics.join("\n");
    topics.first().map(|first| {
        let more = topics.len() - 1;
        let text = if more > 0 { format!("{first} +{more}") } else { first.clone() };
        view! { <span class="ent" title=title>{Kind::Topic.icon().draw(Kind::Topic.class())}{text}</span> }
    })
}

/// How a figure is written that a level is told of.
fn level_text(level: Level) -> &'static str {
    match level_class(level) {
        "crit" => "c-crit semi",
        "warn" => "c-warn semi",
        _ => "n",
    }
}

/// The time lag with its gauge.
fn lag_time(g: &GroupSummary) -> impl IntoView + use<> {
    let text = match g.time_lag_ms {
        Some(ms) => {
            view! { <span class=level_text(g.level)>{bounded_lag(ms, g.time_lag_bound)}</span> }
                .into_any()
        }
        None => unknown(&g.reason).into_any(),
    };
    view! { <span class="lagcell">{text}{gauge(g.time_lag_ms, g.mark_ms, g.level, 20.0)}</span> }
}

/// Says what to do where there is no group.
fn nothing() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let none_set = move || status.with(|s| s.clusters.is_empty()).unwrap_or(false);
    view! {
        <Blank icon=Icon::Group title="No consumer group to show">
            {move || if query.get("state").is_some() {
                view! {
                    <p class="fs12 t2">"No group is in the chosen state."</p>
                    <div class="row"><button class="btn primary" on:click=move |_| query.set("state", None)>"Show all groups"</button></div>
                }.into_any()
            } else if none_set() {
                view! { <p class="fs12 t2">"No broker is set. Start Highwater with "<span class="mono">"--kafka HOST:PORT"</span>", and every group's lag appears here."</p> }.into_any()
            } else {
                view! { <p class="fs12 t2">"The clusters that are set have no consumer group with a commit or a member, in this environment."</p> }.into_any()
            }}
        </Blank>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_cannot_catch_up_never_drains_and_unknown_is_not_never() {
        let drains = |lag, ms, out| drains(State::FallingBehind, lag, ms, out);
        assert_eq!(drains(Some(0), None, Some(0.0)).as_deref(), Some("now"));
        assert_eq!(drains(Some(9), None, Some(0.0)).as_deref(), Some("never"));
        assert_eq!(
            drains(Some(9), Some(60_000), Some(2.0)).as_deref(),
            Some("1\u{a0}m")
        );
        assert_eq!(drains(Some(9), None, None), None);
        assert_eq!(drains(None, None, Some(1.0)), None);
        let fine = super::drains(State::Ok, Some(9), None, Some(20.0));
        assert_eq!(fine.as_deref(), Some("keeps up"));
    }

    #[test]
    fn two_clusters_may_have_a_group_of_one_name() {
        let group = |cluster: &str, name: &str| -> GroupSummary {
            serde_json::from_value(serde_json::json!({
                "cluster": cluster, "group": name, "state": "ok", "state_since": null, "reason": "", "level": "ok",
                "mark_ms": 60_000, "lag_messages": null, "lag_by_tools": null, "time_lag_ms": 60_001,
                "time_lag_bound": null, "in_per_s": null, "out_per_s": null, "rate_from": null, "drain_ms": null,
                "retention_left_ms": null, "retention_ms": null, "read_at": null,
                "topics": [], "partitions_read": 0, "partitions_total": 0, "members": null, "broker_state": null,
                "protocol": "classic", "services": [], "spark_ms": []
            }))
            .unwrap()
        };
        let groups = [
            group("eu", "billing"),
            group("us", "billing"),
            group("us", "mail"),
        ];
        let ids: Vec<_> = rows_of(&groups).into_iter().map(|r| r.id).collect();
        assert_eq!(ids, ["eu/billing", "us/billing", "mail"]);
        assert_eq!(above_mark(&groups), 3);
        assert_eq!(state_name(State::BeyondEnd), "beyond_end");
    }
}
