//! Would the rule have fired? Asked of stored history while it is being written.

use std::time::Duration;

use gloo_net::http::Method;
use highwater_shared::alerts::{RuleSpec, Trial, TrialRequest, Watch};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::send;
use crate::components::chart::{LineChart, Series, Unit};
use crate::components::icons::Icon;
use crate::format::{count_full, plural};

/// Asked this long after the last change.
const PAUSE: Duration = Duration::from_millis(500);
/// Groups offered to be drawn.
const GROUPS: usize = 200;

/// What is known of the trial.
#[derive(Clone, PartialEq)]
enum State {
    Asking,
    Answered(Box<Trial>),
    Refused(String),
}

/// Returns "2 times in 24 h for billing".
fn verdict(trial: &Trial, hours: u32) -> (String, String) {
    let span = if hours.is_multiple_of(24) && hours > 24 {
        format!("{}\u{a0}d", hours / 24)
    } else {
        format!("{hours}\u{a0}h")
    };
    let drawn = trial.drawn.as_deref().map(name_of);
    let times = match trial.firings.len() {
        0 => "Never".to_owned(),
        1 => "Once".to_owned(),
        n => format!("{n} times"),
    };
    match drawn {
        Some(name) => (times, format!("in {span} for {name}")),
        None => (String::new(), String::new()),
    }
}

/// Returns a group's name without its cluster.
fn name_of(id: &str) -> String {
    id.split_once('/').map_or(id, |(_, group)| group).to_owned()
}

/// Says what holds for the groups that are not drawn: "3 other groups match: 0 times each."
fn others(trial: &Trial) -> Option<String> {
    let others: Vec<u64> = trial
        .groups
        .iter()
        .filter(|g| Some(&g.id) != trial.drawn.as_ref())
        .map(|g| g.firings)
        .collect();
    let (least, most) = (others.iter().min()?, others.iter().max()?);
    let match_ = plural(
        others.len() as u64,
        "other group matches",
        "other groups match",
    );
    let each = if others.len() == 1 { "" } else { " each" };
    Some(if least == most {
        format!("{match_}: {}{each}.", plural(*least, "time", "times"))
    } else {
        format!(
            "{match_}: {} to {} times, {} in all.",
            count_full(*least),
            count_full(*most),
            count_full(others.iter().sum())
        )
    })
}

/// Returns how a chart writes the trial's numbers.
fn unit_of(trial: &Trial) -> Unit {
    match trial.unit.as_deref() {
        Some("ms") => Unit::Millis,
        _ => Unit::Count,
    }
}

/// The section of the form.
#[component]
pub(super) fn WouldHaveFired(
    /// The rule as it stands in the form.
    spec: Memo<RuleSpec>,
    /// What it watches.
    watch: Memo<Option<Watch>>,
) -> impl IntoView {
    let hours = RwSignal::new(24_u32);
    let group = RwSignal::new(None::<String>);
    let state = RwSignal::new(State::Asking);
    let run = StoredValue::new(0_u64);
    let can = Memo::new(move |_| watch.with(|w| w.as_ref().is_some_and(|w| w.can_be_tried)));
    // Without its threshold there is no rule yet to try.
    let lacks = Memo::new(move |_| {
        watch.with(|w| w.as_ref().is_some_and(|w| w.unit.is_some()))
            && spec.with(|s| s.over.is_none())
    });
    let question = Memo::new(move |_| {
        // Where it is told, and whether it is on, does not change when it fires.
        let spec = RuleSpec {
            name: None,
            tell: Vec::new(),
            runbook: None,
            severity: None,
            enabled: None,
            ..spec.get()
        };
        (spec, hours.get(), group.get())
    });
    Effect::new(move |before: Option<()>| {
        let (spec, hours, group) = question.get();
        if !can.get() || lacks.get() {
            return;
        }
        let this = run.try_update_value(|n| {
            *n += 1;
            *n
        });
        let ask = move || {
            if run.try_get_value() != this {
                return;
            }
            spawn_local(async move {
                let request = TrialRequest { spec, hours, group };
                let answer = send::<Trial>(Method::POST, "/api/v1/rules/try", &request).await;
                // An answer to an older question is dropped.
                if run.try_get_value() != this {
                    return;
                }
                match answer {
                    Ok(Some(trial)) => state.set(State::Answered(Box::new(trial))),
                    Ok(None) => {}
                    Err(error) => state.set(State::Refused(error.sentence())),
                }
            });
        };
        if before.is_none() {
            ask();
        } else {
            set_timeout(ask, PAUSE);
        }
    });
    let chosen_hours = move |h: u32| move || (hours.get() == h).to_string();
    view! {
        <section class="trial" aria-label="Would have fired">
            <div class="row trialhead">
                <h3 class="h3">"Would have fired"</h3>
                {move || state.with(|s| match s {
                    State::Answered(trial) if can.get() && !lacks.get() => {
                        let (times, of) = verdict(trial, hours.get());
                        Some(view! { <span class="fs12 t2 num" role="status" data-testid="verdict"><b class="t1">{times}</b>" "{of}</span> })
                    }
                    _ => None,
                })}
                {move || can.get().then(|| view! {
                    <span class="seg tiny right" role="group" aria-label="Look back">
                        <button aria-pressed=chosen_hours(24) on:click=move |_| hours.set(24)>"24\u{a0}h"</button>
                        <button aria-pressed=chosen_hours(168) on:click=move |_| hours.set(168)>"7\u{a0}d"</button>
                    </span>
                })}
            </div>
            {move || {
                if !can.get() {
                    let what = watch.with(|w| w.as_ref().map(|w| w.label.clone())).unwrap_or_else(|| "this".to_owned());
                    return view! { <p class="fs12 t3 formhint">{format!("It cannot be tried: no history is kept of {what}. It counts from when it is saved.")}</p> }.into_any();
                }
                if lacks.get() {
                    return view! { <p class="fs12 t3 formhint">"Say a threshold, and stored history tells when it would have fired."</p> }.into_any();
                }
                match state.get() {
                    State::Asking => view! { <div class="skel trialskel" aria-busy="true" aria-label="Loading"></div> }.into_any(),
                    State::Refused(why) => view! { <p class="fs12 t2 trialwhy" data-testid="trial-refused">{Icon::Warning.draw("i-s c-warn")}<span class="anywhere">{why}</span></p> }.into_any(),
                    State::Answered(trial) => answered(*trial, group).into_any(),
                }
            }}
        </section>
    }
}

/// The chart, the choice of a group, and what is said of the others.
fn answered(trial: Trial, group: RwSignal<Option<String>>) -> impl IntoView {
    let ms = |at: highwater_shared::Instant| at.as_millis() as f64;
    let (from, to) = (ms(trial.from), ms(trial.to));
    let drawn = trial.drawn.clone();
    let unit = unit_of(&trial);
    let series = vec![Series {
        name: drawn.as_deref().map(name_of).unwrap_or_default(),
        class: "l1",
        filled: false,
        points: trial.points.iter().map(|p| (ms(p.at), p.value)).collect(),
    }];
    let shades: Vec<(f64, f64)> = trial
        .firings
        .iter()
        .map(|f| (ms(f.from), f.to.map_or(to, ms)))
        .collect();
    let over = trial.over;
    let label = format!(
        "{} over the time looked at{}: it would have fired {}",
        drawn.as_deref().map(name_of).unwrap_or_default(),
        over.map(|o| format!(", against the mark of {}", unit.write(o)))
            .unwrap_or_default(),
        plural(trial.firings.len() as u64, "time", "times")
    );
    let chart = trial.points.iter().any(|p| p.value.is_some()).then(|| view! {
        <LineChart series=Signal::derive(move || series.clone()) range=Signal::derive(move || (from, to)) unit=unit
            mark=Signal::derive(move || over) shades=Signal::derive(move || shades.clone()) height=128.0 label=label/>
    });
    let choice = (trial.groups.len() > 1).then(|| {
        let options = trial
            .groups
            .iter()
            .take(GROUPS)
            .map(|g| {
                let text = format!("{} ({})", g.id, g.firings);
                view! { <option value=g.id.clone() selected=Some(&g.id) == drawn.as_ref()>{text}</option> }
            })
            .collect_view();
        view! {
            <span class="selbox">
                <select class="ctl" aria-label="Group that is drawn" on:change=move |ev| group.set(Some(event_target_value(&ev)))>{options}</select>
                {Icon::ChevronDown.draw("")}
            </span>
        }
    });
    let nobody = trial.groups.is_empty() && trial.reason.is_none();
    view! {
        {chart}
        <div class="row trialfoot">
            <span class="fs12 t2 grow">
                {others(&trial)}
                {nobody.then_some("Nothing matches the selectors now.")}
            </span>
            {choice}
        </div>
        {trial.reason.map(|why| view! { <p class="fs12 t2 trialwhy">{Icon::Info.draw("i-s t3")}<span class="anywhere">{why}</span></p> })}
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::Instant;
    use highwater_shared::alerts::{TrialFiring, TrialGroup};

    use super::*;

    fn trial(firings: &[(&str, u64)]) -> Trial {
        let first = firings.first();
        Trial {
            from: Instant(0),
            to: Instant(1),
            groups: firings
                .iter()
                .map(|(id, n)| TrialGroup {
                    id: (*id).to_owned(),
                    firings: *n,
                })
                .collect(),
            drawn: first.map(|(id, _)| (*id).to_owned()),
            points: Vec::new(),
            firings: (0..first.map_or(0, |(_, n)| *n))
                .map(|i| TrialFiring {
                    from: Instant(i),
                    to: None,
                })
                .collect(),
            over: None,
            unit: Some("ms".to_owned()),
            reason: None,
        }
    }

    #[test]
    fn the_verdict_is_of_the_group_that_is_drawn() {
        let said = |trial: &Trial, hours| {
            let (times, of) = verdict(trial, hours);
            format!("{times} {of}").replace('\u{a0}', " ")
        };
        let two = trial(&[("kafka/billing", 2), ("kafka/loyalty", 0)]);
        assert_eq!(said(&two, 24), "2 times in 24 h for billing");
        assert_eq!(said(&trial(&[("kafka/a", 1)]), 168), "Once in 7 d for a");
        assert_eq!(said(&trial(&[("kafka/a", 0)]), 24), "Never in 24 h for a");
        assert_eq!(said(&trial(&[]), 24), " ", "nothing matched: no verdict");
    }

    #[test]
    fn the_other_groups_are_counted_and_the_drawn_one_is_not() {
        let all = |firings: &[(&str, u64)]| others(&trial(firings));
        assert_eq!(
            all(&[("k/a", 2), ("k/b", 0), ("k/c", 0), ("k/d", 0)]).as_deref(),
            Some("3 other groups match: 0 times each.")
        );
        assert_eq!(
            all(&[("k/a", 2), ("k/b", 1)]).as_deref(),
            Some("1 other group matches: 1 time.")
        );
        assert_eq!(
            all(&[("k/a", 5), ("k/b", 3), ("k/c", 0)]).as_deref(),
            Some("2 other groups match: 0 to 3 times, 3 in all.")
        );
        assert_eq!(all(&[("k/a", 5)]), None);
    }
}
