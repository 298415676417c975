//! What changed: deploys, rebalances, offsets that went back and alerts of every group, and which of them came before a
//! group fell behind.

use std::sync::Arc;

use highwater_shared::lag::{ChangeRecord, Changes, GroupEvent, GroupEventKind, GroupSummary};
use leptos::prelude::*;

use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::marks::{group_href, map_href};
use crate::components::surface::Blank;
use crate::format::{clock, clock_short};
use crate::pages::lag_group::shortly_before;
use crate::state::clock::now;
use crate::state::query::Query;

/// Rows of the card.
const FEW: usize = 6;

/// A row of the card: alerts of one rule that fired at once, or were over at once, stand together.
#[derive(Clone, PartialEq)]
struct Row {
    change: ChangeRecord,
    /// So many others.
    others: usize,
}

fn rows(changes: &[ChangeRecord]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for change in changes {
        let is_alert = matches!(
            change.kind,
            GroupEventKind::Fired | GroupEventKind::Resolved
        );
        let same = |row: &&mut Row| {
            let first = &row.change;
            (first.at, first.kind, &first.text) == (change.at, change.kind, &change.text)
        };
        match rows.iter_mut().rev().find(same).filter(|_| is_alert) {
            Some(row) => row.others += 1,
            None => rows.push(Row {
                change: change.clone(),
                others: 0,
            }),
        }
    }
    rows
}

/// Says a change after the name that it is of.
fn words(row: &Row) -> String {
    let change = &row.change;
    let of = || {
        // Its cluster is where the link leads.
        let cluster = change.cluster.as_deref().unwrap_or_default();
        let subject = change.subject.strip_suffix(&format!(" on {cluster}"));
        let subject = subject.unwrap_or(&change.subject);
        match row.others {
            0 => subject.to_owned(),
            others => format!("{subject} and {others} more"),
        }
    };
    match change.kind {
        GroupEventKind::Deployed => format!("{} deployed", change.text),
        GroupEventKind::Rebalanced => format!("rebalanced: {}", change.text),
        GroupEventKind::Rewound => format!("offsets went {}", change.text),
        GroupEventKind::Fired => format!("fired for {}", of()),
        GroupEventKind::Resolved => format!("is over for {}", of()),
    }
}

/// What a change is of: an alert is known by its rule.
fn name(change: &ChangeRecord) -> &str {
    match change.kind {
        GroupEventKind::Fired | GroupEventKind::Resolved => &change.text,
        _ => &change.subject,
    }
}

fn icon(kind: GroupEventKind) -> Icon {
    match kind {
        GroupEventKind::Deployed => Icon::Release,
        GroupEventKind::Rebalanced => Icon::Retry,
        GroupEventKind::Rewound => Icon::Rewound,
        GroupEventKind::Fired | GroupEventKind::Resolved => Icon::Alert,
    }
}

/// Says what came shortly before a group got into its state: `began 3 m after billing 4.18.0 was deployed`.
pub(super) fn before(changes: &Changes, group: &GroupSummary) -> Option<String> {
    // Oldest first, as a group's own page has them.
    let events: Vec<GroupEvent> = changes
        .changes
        .iter()
        .rev()
        .filter_map(|change| {
            let text = match change.kind {
                GroupEventKind::Deployed if group.services.contains(&change.subject) => {
                    format!("{} {}", change.subject, change.text)
                }
                GroupEventKind::Rebalanced | GroupEventKind::Rewound
                    if change.subject == group.group
                        && change.cluster.as_ref() == Some(&group.cluster) =>
                {
                    change.text.clone()
                }
                _ => return None,
            };
            Some(GroupEvent {
                at: change.at,
                kind: change.kind,
                text,
            })
        })
        .collect();
    shortly_before(&events, group.state_since?)
}

/// The newest changes.
pub(super) fn changes_view(query: Query, data: Signal<Arc<Changes>>) -> impl IntoView {
    let all = Memo::new(move |_| data.with(|d| rows(&d.changes)));
    let few = Signal::derive(move || all.with(|all| all.iter().take(FEW).cloned().collect()));
    let place = move |change: &ChangeRecord| match (change.kind, &change.cluster) {
        (GroupEventKind::Fired | GroupEventKind::Resolved, _) => {
            query.link("/alerts", &[("tab", "history")])
        }
        (GroupEventKind::Deployed, _) | (_, None) => {
            map_href(query, &format!("service:{}", change.subject))
        }
        (_, Some(cluster)) => group_href(query, cluster, &change.subject),
    };
    let row = move |row: Memo<Row>| {
        let change = Memo::new(move |_| row.with(|row| row.change.clone()));
        view! {
            <li class="chg">
                <time title=move || change.with(|c| clock(c.at, now()))>{move || change.with(|c| clock_short(c.at, now()))}</time>
                {move || icon(change.with(|c| c.kind)).draw("")}
                <span class="t2"><a class="name" href=move || change.with(|c| place(c))>{move || change.with(|c| name(c).to_owned())}</a>" "{move || row.with(words)}</span>
            </li>
        }
    };
    let rest = move || {
        let more = data.with(|d| d.more);
        match all.with(Vec::len).saturating_sub(FEW) {
            0 => None,
            rest if more => Some(format!("over {rest} before")),
            rest => Some(format!("{rest} before")),
        }
    };
    move || {
        if data.with(|d| d.changes.is_empty()) {
            return view! {
                <Blank icon=Icon::Release title="Nothing changed in this time">
                    <p class="fs12 t2">"Deploys are told by another service.version, rebalances and offsets that went back by the brokers, alerts by their rules."</p>
                </Blank>
            }
            .into_any();
        }
        view! {
            <ul class="chgs" data-testid="changes">
                {keyed(few, |Row { change: c, .. }: &Row| format!("{} {:?} {} {}", c.at.0, c.kind, c.subject, c.text), row)}
                {move || rest().map(|rest| view! { <li class="chg t3"><span></span><span></span><span>{rest}</span></li> })}
            </ul>
        }
        .into_any()
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::Instant;

    use super::*;

    fn change(seconds: u64, kind: GroupEventKind, subject: &str, text: &str) -> ChangeRecord {
        ChangeRecord {
            at: Instant(seconds * 1_000_000_000),
            kind,
            cluster: (kind != GroupEventKind::Deployed).then(|| "k".to_owned()),
            subject: subject.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_change_is_told_after_its_name() {
        let told = |change: &ChangeRecord| {
            let row = rows(std::slice::from_ref(change)).remove(0);
            format!("{} {}", name(change), words(&row))
        };
        let deployed = change(1, GroupEventKind::Deployed, "billing", "4.18.0");
        assert_eq!(told(&deployed), "billing 4.18.0 deployed");
        let moved = change(
            1,
            GroupEventKind::Rebalanced,
            "billing",
            "3 members, 2 before",
        );
        assert_eq!(told(&moved), "billing rebalanced: 3 members, 2 before");
        let back = "12\u{a0}messages back on 1 partition";
        let back = change(1, GroupEventKind::Rewound, "billing", back);
        assert_eq!(
            told(&back),
            "billing offsets went 12\u{a0}messages back on 1 partition"
        );
        let fired = change(
            1,
            GroupEventKind::Fired,
            "billing on k",
            "Time lag over 1 m",
        );
        assert_eq!(told(&fired), "Time lag over 1 m fired for billing");
    }

    #[test]
    fn alerts_of_one_rule_at_once_are_one_row() {
        let fired = |seconds, subject: &str| {
            change(seconds, GroupEventKind::Fired, subject, "Group stopped")
        };
        let moved = |subject: &str| change(5, GroupEventKind::Rebalanced, subject, "1 member");
        let all = [
            fired(5, "billing on k"),
            moved("billing"),
            moved("mail"),
            fired(5, "mail on k"),
            fired(4, "audit on k"),
        ];
        let said: Vec<String> = rows(&all).iter().map(words).collect();
        assert_eq!(
            said,
            [
                "fired for billing and 1 more",
                "rebalanced: 1 member",
                "rebalanced: 1 member",
                "fired for audit",
            ]
        );
    }

    #[test]
    fn only_its_own_changes_come_before_a_groups_state() {
        let group: GroupSummary = serde_json::from_value(serde_json::json!({
            "cluster": "k", "group": "billing", "state": "falling_behind", "state_since": "1970-01-01T00:05:00Z",
            "reason": "", "level": "ok", "mark_ms": 60_000, "lag_messages": null, "lag_by_tools": null,
            "time_lag_ms": null, "time_lag_bound": null, "in_per_s": null, "out_per_s": null, "rate_from": null,
            "drain_ms": null, "retention_left_ms": null, "retention_ms": null, "read_at": null, "topics": [],
            "partitions_read": 0, "partitions_total": 0, "members": null, "broker_state": null,
            "protocol": "classic", "services": ["payments"], "spark_ms": []
        }))
        .unwrap();
        let of = |changes: &[ChangeRecord]| {
            let changes = changes.to_vec();
            before(
                &Changes {
                    changes,
                    more: false,
                },
                &group,
            )
        };
        let others = [
            change(299, GroupEventKind::Rewound, "shipping", "1 message back"),
            change(240, GroupEventKind::Deployed, "shipping", "2.0"),
        ];
        assert_eq!(of(&others), None);
        let own = change(180, GroupEventKind::Deployed, "payments", "4.18.0");
        assert_eq!(
            of(&[others[0].clone(), own]).as_deref(),
            Some("began 2\u{a0}m after payments 4.18.0 was deployed")
        );
    }
}
