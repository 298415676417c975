//! What happened to a group, beside its curve: deploys, rebalances, offsets that went back, alerts.

use std::sync::Arc;

use highwater_shared::Instant;
use highwater_shared::lag::{GroupEvent, GroupEventKind, GroupHistory};
use leptos::prelude::*;

use crate::components::chart::Flag;
use crate::format::{age_text, clock};
use crate::state::clock::now;

/// Events listed under the chart, the newest.
const LISTED: usize = 6;
/// A change of state that comes so long after an event is told together with it.
const SOON_MS: u64 = 15 * 60 * 1_000;

/// Says an event in a word or two.
fn word(event: &GroupEvent) -> String {
    match event.kind {
        // The version is the last word of `billing 4.18.0`.
        GroupEventKind::Deployed => format!(
            "{} deployed",
            event.text.rsplit(' ').next().unwrap_or_default()
        ),
        GroupEventKind::Rebalanced => "rebalanced".to_owned(),
        GroupEventKind::Rewound => "went back".to_owned(),
        GroupEventKind::Fired => "fired".to_owned(),
        GroupEventKind::Resolved => "resolved".to_owned(),
    }
}

/// Says an event in full.
fn text(event: &GroupEvent) -> String {
    match event.kind {
        GroupEventKind::Deployed => format!("{} deployed", event.text),
        GroupEventKind::Rebalanced => format!("Rebalanced: {}", event.text),
        GroupEventKind::Rewound => format!("Committed offsets went back: {}", event.text),
        GroupEventKind::Fired => format!("Alert fired: {}", event.text),
        GroupEventKind::Resolved => format!("Alert resolved: {}", event.text),
    }
}

/// Returns the events as flags of a chart.
pub(super) fn flags(events: &[GroupEvent]) -> Vec<Flag> {
    events
        .iter()
        .map(|event| Flag {
            at: event.at.as_millis() as f64,
            word: word(event),
            text: format!("{} {}", clock(event.at, now()), text(event)),
        })
        .collect()
}

/// Says what happened shortly before `since`: `began 3 m after billing 4.18.0 was deployed`. That it came after is all that is
/// said; whether it is the reason is the reader's to judge.
pub(crate) fn shortly_before(events: &[GroupEvent], since: Instant) -> Option<String> {
    let event = events.iter().rev().find(|event| {
        event.at <= since
            && since.as_millis() - event.at.as_millis() <= SOON_MS
            && matches!(
                event.kind,
                GroupEventKind::Deployed | GroupEventKind::Rebalanced | GroupEventKind::Rewound
            )
    })?;
    let (at_once, what) = match event.kind {
        GroupEventKind::Deployed => ("as", format!("{} was deployed", event.text)),
        GroupEventKind::Rebalanced => ("with", format!("a rebalance ({})", event.text)),
        _ => ("as", format!("its offsets went back ({})", event.text)),
    };
    let after = since.as_millis() - event.at.as_millis();
    Some(match after {
        0..1_000 => format!("began {at_once} {what}"),
        after => format!("began {} after {what}", age_text(after * 1_000_000)),
    })
}

/// The newest events as a list: what a chart has no room for, and what a screen reader reads.
#[component]
pub(super) fn EventList(
    /// The group's history.
    history: Signal<Arc<GroupHistory>>,
) -> impl IntoView {
    let events = Memo::new(move |_| history.with(|h| h.events.clone()));
    view! {
        {move || events.with(|events| (!events.is_empty()).then(|| view! {
            <ol class="evlist" aria-label="What happened, newest first" data-testid="group-events">
                {events.iter().rev().take(LISTED).map(|event| view! {
                    <li class=class(event.kind)><span class="t3 num">{clock(event.at, now())}</span>" "{text(event)}</li>
                }).collect_view()}
                {(events.len() > LISTED).then(|| view! { <li class="t3">{format!("and {} before", events.len() - LISTED)}</li> })}
            </ol>
        }))}
    }
}

fn class(kind: GroupEventKind) -> &'static str {
    match kind {
        GroupEventKind::Fired => "c-crit",
        _ => "t2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seconds: u64, kind: GroupEventKind, text: &str) -> GroupEvent {
        GroupEvent {
            at: Instant(seconds * 1_000_000_000),
            kind,
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_came_shortly_before_is_told_and_no_alert_is_a_cause() {
        let events = [
            event(100, GroupEventKind::Deployed, "billing 4.18.0"),
            event(200, GroupEventKind::Fired, "time-lag"),
        ];
        let after = |seconds: u64| shortly_before(&events, Instant(seconds * 1_000_000_000));
        assert_eq!(
            after(280).as_deref(),
            Some("began 3\u{a0}m after billing 4.18.0 was deployed")
        );
        assert_eq!(
            after(100).as_deref(),
            Some("began as billing 4.18.0 was deployed")
        );
        assert_eq!(after(99), None);
        assert_eq!(after(100 + 16 * 60), None);
    }

    #[test]
    fn a_flag_names_the_version_and_its_text_the_service() {
        let deployed = event(100, GroupEventKind::Deployed, "billing 4.18.0");
        assert_eq!(word(&deployed), "4.18.0 deployed");
        assert_eq!(text(&deployed), "billing 4.18.0 deployed");
    }
}
