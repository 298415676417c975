//! All groups as gauges across one mark line.

use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::lag::{GroupSummary, Groups, State};
use leptos::prelude::*;

use super::attention::{board_figure, board_line};
use crate::components::gauge::level_class;
use crate::components::keyed::keyed;
use crate::components::marks::{group_href, state_class, state_icon, state_word};
use crate::format::{gauge_level, plural, time_lag};
use crate::state::query::Query;

/// Groups named on the board.
const NAMED: usize = 6;
/// Above this many groups the fine ones merge into a distribution.
const EACH: usize = 60;
/// Columns of the distribution.
const BINS: usize = 20;

/// Returns the class and height in percent of a group's tube; `None` is a dashed one.
fn tube(g: &GroupSummary) -> (&'static str, Option<f64>) {
    let class = match g.state {
        State::Rewound if g.level != Level::Critical => "info",
        _ => level_class(g.level),
    };
    match g.time_lag_ms {
        Some(lag) => (
            if class == "unk" { "" } else { class },
            Some((gauge_level(lag, g.mark_ms) * 100.0).max(if lag > 0 { 1.0 } else { 0.0 })),
        ),
        None => ("unk", None),
    }
}

/// Returns how many groups are in each state, worst first.
fn states(groups: &[GroupSummary]) -> Vec<(State, Level, usize)> {
    let mut all: Vec<(State, Level, usize)> = Vec::new();
    for g in groups {
        match all.iter_mut().find(|(s, ..)| *s == g.state) {
            Some(entry) => {
                entry.2 += 1;
                // The worst level colours the icon.
                entry.1 = match (entry.1, g.level) {
                    (Level::Critical, _) | (_, Level::Critical) => Level::Critical,
                    (Level::Warning, _) | (_, Level::Warning) => Level::Warning,
                    (a, _) => a,
                };
            }
            None => all.push((g.state, g.level, 1)),
        }
    }
    all.sort_by_key(|(s, ..)| *s);
    all
}

/// Splits the groups into those named, those drawn slim, and the distribution of the rest.
fn split(groups: &[GroupSummary]) -> (Vec<GroupSummary>, Vec<GroupSummary>, Vec<usize>) {
    // Named is what is not fine; without any, the first few stand for all.
    let bad = groups
        .iter()
        .filter(|g| g.state != State::Ok || g.level != Level::Ok)
        .count();
    let named = bad.clamp(groups.len().min(3), NAMED);
    let (named, rest) = groups.split_at(named.min(groups.len()));
    let mut rest = rest.to_vec();
    rest.sort_by(|a, b| {
        let over =
            |g: &GroupSummary| g.time_lag_ms.unwrap_or_default() as f64 / g.mark_ms.max(1) as f64;
        over(b).total_cmp(&over(a))
    });
    let mut bins = Vec::new();
    if groups.len() > EACH {
        bins = vec![0; BINS];
        rest.retain(|g| {
            let fine = g.state == State::Ok && g.level == Level::Ok;
            if fine {
                let level = gauge_level(g.time_lag_ms.unwrap_or_default(), g.mark_ms);
                bins[((level / 0.7 * BINS as f64) as usize).min(BINS - 1)] += 1;
            }
            !fine
        });
        bins.reverse();
    }
    (named.to_vec(), rest, bins)
}

/// The counts of states, for the card's header.
pub(super) fn state_counts(groups: Signal<Arc<Groups>>) -> impl IntoView {
    move || {
        groups.with(|g| {
            states(&g.groups)
                .into_iter()
                .map(|(state, level, n)| {
                    let word = if state == State::Ok { "OK".to_owned() } else { state_word(state).to_lowercase() };
                    let class = if state == State::Ok { "state quiet" } else { "state" };
                    view! { <span class=class>{state_icon(state).draw(state_class(state, level))}{n}" "{word}</span> }
                })
                .collect_view()
        })
    }
}

/// The board.
pub(super) fn board(groups: Signal<Arc<Groups>>, query: Query) -> impl IntoView {
    let parts = Memo::new(move |_| groups.with(|g| split(&g.groups)));
    let named = Signal::derive(move || parts.with(|(named, ..)| named.clone()));
    let big = move |g: Memo<GroupSummary>| {
        let inside = move || {
            g.with(|g| {
                let (class, height) = tube(g);
                let icon = state_icon(g.state).draw(&format!("i-xs {}", state_class(g.state, g.level)));
                let figure = if height.is_some() { "num semi" } else { "unknown semi" };
                view! {
                    <span class=format!("tube {class}")>{height.map(|h| view! { <i style:height=format!("{h:.0}%")></i> })}</span>
                    <span class="txt">
                        <span class="row bigf">{icon}<span class=figure>{board_figure(g)}</span></span>
                        <span class="nm">{g.group.clone()}</span>
                        <span class="vl">{board_line(g)}</span>
                    </span>
                }
            })
        };
        view! {
            <a class="big" href=move || g.with(|g| group_href(query, &g.cluster, &g.group)) title=move || g.with(|g| g.reason.clone())>{inside}</a>
        }
    };
    view! {
        <div class="board">
            <span class="axis top">"10×"</span><span class="axis m">"mark"</span><span class="axis zero">"0"</span><span class="markline"></span>
                        {keyed(named, |g: &GroupSummary| format!("{}/{}", g.cluster, g.group), big)}
            {move || parts.with(|(_, rest, bins)| (!rest.is_empty() || !bins.is_empty()).then(|| {
                let count: usize = rest.len() + bins.iter().sum::<usize>();
                let most = bins.iter().copied().max().unwrap_or(1).max(1);
                view! {
                    <div class="rest" role="img" aria-label=plural(count as u64, "more group", "more groups")>
                        {rest.iter().map(|g| {
                            let (class, height) = tube(g);
                            let lag = g.time_lag_ms.map_or_else(|| "not known".to_owned(), time_lag);
                            let tip = format!("{}: {lag}, {}", g.group, state_word(g.state).to_lowercase());
                            view! { <span class=format!("tube {class}") title=tip>{height.map(|h| view! { <i style:height=format!("{h:.0}%")></i> })}</span> }
                        }).collect_view()}
                        {bins.iter().enumerate().map(|(i, n)| {
                            let from = (BINS - 1 - i) * 100 / BINS;
                            let tip = format!("{} at {from} to {}% of their mark", plural(*n as u64, "group", "groups"), from + 100 / BINS);
                            // Here the height is how many, not how far: the column says how far.
                            view! { <span class="tube bin" title=tip><i style:height=format!("{}%", n * 100 / most)></i></span> }
                        }).collect_view()}
                    </div>
                }
            }))}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, state: State, level: Level, lag_ms: Option<u64>) -> GroupSummary {
        serde_json::from_value(serde_json::json!({
            "cluster": "k", "group": name, "state": state, "state_since": null, "reason": "", "level": level,
            "mark_ms": 60_000, "lag_messages": null, "lag_by_tools": null, "time_lag_ms": lag_ms,
            "time_lag_bound": null, "in_per_s": null, "out_per_s": null, "rate_from": null, "drain_ms": null, "read_at": null,
            "topics": [], "partitions_read": 0, "partitions_total": 0, "members": null, "broker_state": null,
            "protocol": "classic", "services": [], "spark_ms": []
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_fine_is_named_up_to_six() {
        let mut groups: Vec<_> = (0..8)
            .map(|i| {
                group(
                    &format!("b{i}"),
                    State::Stopped,
                    Level::Critical,
                    Some(99_000),
                )
            })
            .collect();
        groups.extend((0..4).map(|i| group(&format!("f{i}"), State::Ok, Level::Ok, Some(i))));
        let (named, rest, bins) = split(&groups);
        assert_eq!((named.len(), rest.len(), bins.len()), (6, 6, 0));
        assert_eq!(rest[0].group, "b6", "the rest is worst first");
    }

    #[test]
    fn few_groups_and_none_are_drawn() {
        assert_eq!(split(&[]), (vec![], vec![], vec![]));
        let one = [group("a", State::Ok, Level::Ok, Some(0))];
        assert_eq!(split(&one).0.len(), 1);
    }

    #[test]
    fn many_fine_groups_merge_into_a_distribution() {
        let groups: Vec<_> = (0..100)
            .map(|i| group(&format!("g{i}"), State::Ok, Level::Ok, Some(i * 500)))
            .collect();
        let (named, rest, bins) = split(&groups);
        assert_eq!((named.len(), rest.len()), (3, 0));
        assert_eq!(bins.iter().sum::<usize>(), 97);
    }

    #[test]
    fn an_unknown_lag_has_no_level() {
        assert_eq!(
            tube(&group("u", State::Unknown, Level::Unknown, None)),
            ("unk", None)
        );
        assert_eq!(
            tube(&group("z", State::Ok, Level::Ok, Some(0))),
            ("", Some(0.0))
        );
    }

    #[test]
    fn states_are_counted_worst_first() {
        let groups = [
            group("a", State::Ok, Level::Ok, Some(0)),
            group("b", State::FallingBehind, Level::Warning, Some(0)),
            group("c", State::FallingBehind, Level::Critical, Some(0)),
        ];
        assert_eq!(
            states(&groups),
            [
                (State::FallingBehind, Level::Critical, 2),
                (State::Ok, Level::Ok, 1)
            ]
        );
    }
}
