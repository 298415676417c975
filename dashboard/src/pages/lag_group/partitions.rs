//! The partitions of a group: heat map with numbers, and how far retention is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use highwater_shared::lag::{GroupDetail, GroupHistory, MemberPartition, PartitionLag, State};
use leptos::prelude::*;

use crate::api::Fetched;
use crate::components::chart::heat_class;
use crate::components::copy::{csv_line, save};
use crate::components::icons::Icon;
use crate::components::marks::{known, state_class, state_icon, state_word};
use crate::components::surface::Card;
use crate::format::{bounded_lag, clock_short, count_full, duration_ms, signed, time_lag};
use crate::pages::lag::{raw, state_name};
use crate::state::clock::now;

/// Columns of the heat map at most.
const COLUMNS: usize = 30;
/// Partitions drawn at most; the worst are kept.
const PARTITIONS_AT_MOST: usize = 256;

/// Writes partition numbers in runs: `0-3, 7`; with their topic when there are several.
pub(super) fn listed(partitions: &[MemberPartition], with_topic: bool) -> String {
    let mut sorted: Vec<(&str, i32)> = partitions
        .iter()
        .map(|p| (p.topic.as_str(), p.partition))
        .collect();
    sorted.sort_unstable();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    let mut said = "";
    while at < sorted.len() {
        let (topic, first) = sorted[at];
        let mut last = first;
        while at + 1 < sorted.len() && sorted[at + 1] == (topic, last.saturating_add(1)) {
            last += 1;
            at += 1;
        }
        at += 1;
        let run = if last > first {
            format!("{first}-{last}")
        } else {
            first.to_string()
        };
        out.push(if with_topic && topic != said {
            format!("{topic} {run}")
        } else {
            run
        });
        said = topic;
    }
    out.join(", ")
}

/// Sums lag and commits a second of a member's partitions; `None` where it has none, or one of them is not known.
pub(super) fn of_member(partitions: &[PartitionLag], member: &str) -> (Option<u64>, Option<f64>) {
    let own = || {
        partitions
            .iter()
            .filter(|p| p.member.as_deref() == Some(member))
    };
    if own().next().is_none() {
        return (None, None);
    }
    (
        own().map(|p| p.lag_messages).sum(),
        own().map(|p| p.out_per_s).sum(),
    )
}

/// What to call members in little room: the client id that a classic member's id begins with, where no other member has
/// the same.
fn member_names<'m>(ids: impl Iterator<Item = &'m str>) -> HashMap<&'m str, &'m str> {
    let ids: BTreeSet<&str> = ids.collect();
    let names = || ids.iter().map(|id| (*id, client_of(id).unwrap_or(id)));
    let mut uses: HashMap<&str, u32> = HashMap::new();
    for (_, name) in names() {
        *uses.entry(name).or_default() += 1;
    }
    names()
        .filter(|(_, name)| uses.get(name) == Some(&1))
        .collect()
}

/// The client id in `CLIENT-ID-UUID`, as a classic group's coordinator makes member ids.
fn client_of(member_id: &str) -> Option<&str> {
    const UUID: usize = 36;
    let (client, uuid) = member_id.split_at_checked(member_id.len().checked_sub(UUID)?)?;
    let is_uuid = uuid.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    client
        .strip_suffix('-')
        .filter(|client| is_uuid && !client.is_empty())
}

/// Merges steps into at most [`COLUMNS`] cells: the worst of each, `None` only where nothing was read.
fn cells(steps: &[Option<u64>]) -> Vec<Option<u64>> {
    let width = steps.len().div_ceil(COLUMNS).max(1);
    steps
        .chunks(width)
        .map(|chunk| chunk.iter().flatten().copied().max())
        .collect()
}

/// Returns the partitions to draw, in their order: all, or the worst when there are too many.
fn drawn(partitions: &[PartitionLag]) -> Vec<&PartitionLag> {
    let mut all: Vec<&PartitionLag> = partitions.iter().collect();
    if all.len() > PARTITIONS_AT_MOST {
        all.sort_by_key(|p| {
            (
                p.state,
                std::cmp::Reverse(p.time_lag_ms),
                std::cmp::Reverse(p.lag_messages),
            )
        });
        all.truncate(PARTITIONS_AT_MOST);
    }
    all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    all
}

/// The heat map: a row a partition.
#[component]
pub(super) fn Heat(
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
    /// Its history; the numbers stand without it.
    history: Fetched<GroupHistory>,
) -> impl IntoView {
    let sub = Signal::derive(move || {
        detail.with(|d| {
            let read = match d.summary.partitions_total {
                Some(total) => format!("{} of {total} read", d.summary.partitions_read),
                None => "not known".to_owned(),
            };
            if d.partitions.len() > PARTITIONS_AT_MOST {
                format!("{read}; the worst {PARTITIONS_AT_MOST} are shown")
            } else {
                read
            }
        })
    });
    let heading = move || {
        history.data.with(|h| match h {
            Some(h) => {
                let step = h
                    .step_ms
                    .saturating_mul(h.points.len().div_ceil(COLUMNS).max(1) as u64);
                format!(
                    "{} to {}, each {}",
                    clock_short(h.window.from, now()),
                    clock_short(h.window.to, now()),
                    duration_ms(step)
                )
            }
            None => "Time lag".to_owned(),
        })
    };
    let legend = move || {
        let mark = detail.with(|d| d.summary.mark_ms);
        view! {
            <span class="row fs11 t3 heatlegend">"0\u{a0}s "
                <span class="row"><i class="h0"></i><i class="h1"></i><i class="h2"></i><i class="h3c"></i><i class="h4"></i><i class="mk"></i><i class="h5"></i><i class="h6"></i></span>
                {format!("{}+", time_lag(mark.saturating_mul(3)))}
            </span>
        }
    };
    view! {
        <Card title="Partitions" sub=sub actions=move || view! {
            {legend}
            <button class="btn s" title="Download every partition as CSV" data-testid="partitions-csv" on:click=move |_| detail.with_untracked(|d| {
                save(&format!("highwater-{}.csv", d.summary.group), "text/csv;charset=utf-8", &csv(d));
            })>{Icon::Download.draw("")}"CSV"</button>
        }>
            <div class="body heatbody">
                <div class="heat">
                    <span class="hh">"Part."</span><span class="hh" title="The worst time lag of each step">{heading}</span><span class="hh num r">"Lag"</span><span class="hh num r">"Time"</span><span class="hh">"Member"</span>
                    {move || {
                        let history = history.data.get();
                        let rows: HashMap<(&str, i32), &[Option<u64>]> = history
                            .as_deref()
                            .map(|h| h.partitions.iter().map(|p| ((p.topic.as_str(), p.partition), p.time_lag_ms.as_slice())).collect())
                            .unwrap_or_default();
                        detail.with(|d| {
                            let members = member_names(d.partitions.iter().filter_map(|p| p.member.as_deref()));
                            let topics = d.partitions.iter().map(|p| p.topic.as_str()).collect::<BTreeSet<_>>().len();
                            let mut said = "";
                            drawn(&d.partitions).into_iter().map(|p| {
                                let head = (topics > 1 && p.topic != said).then(|| view! { <span class="heattopic t2">{p.topic.clone()}</span> });
                                said = &p.topic;
                                let steps = rows.get(&(p.topic.as_str(), p.partition)).copied().unwrap_or_default();
                                view! { {head}{row(p, &members, steps, d.summary.mark_ms)} }
                            }).collect_view()
                        })
                    }}
                </div>
            </div>
        </Card>
    }
}

/// Writes every partition as CSV: raw numbers, the unit in the header, empty for unknown.
fn csv(detail: &GroupDetail) -> String {
    const HEADER: [&str; 14] = [
        "topic",
        "partition",
        "state",
        "committed_offset",
        "log_start_offset",
        "end_offset",
        "lag_messages",
        "lag_by_tools",
        "lost_messages",
        "time_lag_seconds",
        "in_per_s",
        "out_per_s",
        "member",
        "reason",
    ];
    let mut text = csv_line(&HEADER.map(str::to_owned));
    for p in &detail.partitions {
        text.push_str(&csv_line(&[
            p.topic.clone(),
            p.partition.to_string(),
            state_name(p.state),
            raw(p.committed_offset),
            raw(p.log_start_offset),
            raw(p.end_offset),
            raw(p.lag_messages),
            raw(p.lag_by_tools),
            raw(p.lost_messages),
            raw(p.time_lag_ms.map(|ms| ms as f64 / 1_000.0)),
            raw(p.in_per_s),
            raw(p.out_per_s),
            p.member.clone().unwrap_or_default(),
            p.reason.clone(),
        ]));
    }
    text
}

/// A row of the heat map.
fn row(
    p: &PartitionLag,
    members: &HashMap<&str, &str>,
    steps: &[Option<u64>],
    mark_ms: u64,
) -> impl IntoView + use<> {
    let spoken = format!(
        "partition {} of {}: {}, {}",
        p.partition,
        p.topic,
        state_word(p.state),
        match p.lag_messages {
            Some(lag) => format!("{} messages behind", count_full(lag)),
            None => "lag not known".to_owned(),
        }
    );
    let offsets = |name: &str, value: Option<i64>| {
        format!(
            "{name} {}",
            value.map_or_else(|| "not known".to_owned(), signed)
        )
    };
    let tip = [
        p.reason.clone(),
        offsets("committed", p.committed_offset),
        offsets("end", p.end_offset),
        offsets("log start", p.log_start_offset),
    ]
    .into_iter()
    .filter(|t| !t.is_empty())
    .collect::<Vec<_>>()
    .join("\n");
    let over = p.time_lag_ms.is_some_and(|ms| ms > mark_ms);
    let lag = p.lag_messages.map(|lag| {
        let bound = if p.lag_is_upper_bound && lag > 0 {
            "≤\u{a0}"
        } else {
            ""
        };
        format!("{bound}{}", count_full(lag))
    });
    let mark = (p.state != State::Ok).then(|| {
        let level = if over {
            highwater_shared::Level::Critical
        } else {
            highwater_shared::Level::Warning
        };
        state_icon(p.state).draw(&format!("i-xs {}", state_class(p.state, level)))
    });
    let clock = (p.clock_suspect.is_some()).then(|| Icon::Clock.draw("i-xs c-warn"));
    let member = p.member.clone().unwrap_or_else(|| "none".to_owned());
    let short = members.get(&*member).copied().unwrap_or(&member).to_owned();
    view! {
        <span class="t3 row heatno" title=tip.clone()>{p.partition}{mark}{clock}</span>
        <span class="c" role="img" aria-label=spoken title=tip>
            {cells(steps).into_iter().map(|lag| view! { <i class=heat_class(lag, mark_ms)></i> }).collect_view()}
        </span>
        <span class="r">{known(lag, &p.reason)}</span>
        <span class=if over { "r c-crit semi" } else { "r" }>{known(p.time_lag_ms.map(|ms| bounded_lag(ms, p.time_lag_bound)), &p.reason)}</span>
        <span class="mono t2 ell" title=member>{short}</span>
    }
}

/// The partition that is nearest to losing records, and how far that is.
fn nearest(partitions: &[PartitionLag]) -> Option<(&PartitionLag, f64)> {
    partitions
        .iter()
        .filter_map(|p| {
            let (start, committed, end) = (p.log_start_offset?, p.committed_offset?, p.end_offset?);
            let kept = end.saturating_sub(start);
            (kept > 0).then(|| {
                (
                    p,
                    (committed.saturating_sub(start) as f64 / kept as f64).clamp(0.0, 1.0),
                )
            })
        })
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Where the group reads between the log's start and its end.
#[component]
pub(super) fn Retention(
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
) -> impl IntoView {
    let sub = Signal::derive(move || {
        detail.with(|d| match d.summary.retention_ms {
            Some(ms) if ms >= 0 => format!(
                "records are deleted after {}",
                duration_ms(ms.unsigned_abs())
            ),
            Some(_) => "records are kept without limit".to_owned(),
            None => "retention not known".to_owned(),
        })
    });
    view! {
        <Card title="Retention margin" sub=sub
            actions=move || view! { <b class="fs12">{move || detail.with(|d| d.summary.retention_left_ms.map(duration_ms))}</b> }>
            <div class="body">
                {move || detail.with(|d| match nearest(&d.partitions) {
                    None => view! { <p class="fs12 t2">"No partition has both a commit and its ends read."</p> }.into_any(),
                    Some((p, at)) => {
                        let group = d.summary.group.clone();
                        let spoken = format!("{group} reads at {} of what {} partition {} keeps", crate::format::percent((at * 1_000.0) as u64, 1_000).unwrap_or_default(), p.topic, p.partition);
                        view! {
                            <div class="fs11 t3 row retrow"><span>{format!("{} partition {}, the nearest to its log start", p.topic, p.partition)}</span></div>
                            <div class="retbar" role="img" aria-label=spoken>
                                <i class="lost"></i>
                                <i class="at" style:left=format!("{:.2}%", at * 100.0)></i>
                            </div>
                            <div class="row fs11 t3 num retrow">
                                <span>{format!("log start {}", p.log_start_offset.map(signed).unwrap_or_default())}</span>
                                <span class="c-group">{format!("{group} reads at {}", p.committed_offset.map(signed).unwrap_or_default())}</span>
                                <span>{format!("end {}", p.end_offset.map(signed).unwrap_or_default())}</span>
                            </div>
                        }.into_any()
                    }
                })}
            </div>
        </Card>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(topic: &str, partition: i32) -> MemberPartition {
        MemberPartition {
            topic: topic.to_owned(),
            partition,
        }
    }

    #[test]
    fn partitions_are_listed_in_runs() {
        let all = [
            member("b", 7),
            member("a", 1),
            member("a", 0),
            member("a", 2),
            member("a", 9),
        ];
        assert_eq!(listed(&all, true), "a 0-2, 9, b 7");
        assert_eq!(listed(&all[1..], false), "0-2, 9");
        assert_eq!(listed(&[], true), "");
        assert_eq!(
            listed(&[member("a", i32::MAX)], false),
            i32::MAX.to_string()
        );
    }

    #[test]
    fn members_are_called_by_their_client_where_that_tells_them_apart() {
        let uuid = "3b1a6f0e-1111-4222-8333-0123456789ab";
        let other = "4b1a6f0e-1111-4222-8333-0123456789ab";
        assert_eq!(client_of(&format!("billing-1-{uuid}")), Some("billing-1"));
        assert_eq!(client_of(uuid), None);
        assert_eq!(client_of("billing-1"), None);
        let [one, two, mail] = [
            format!("rdkafka-{uuid}"),
            format!("rdkafka-{other}"),
            format!("mail-{uuid}"),
        ];
        let names = member_names([&*one, &*mail, &*two, &*mail].into_iter());
        assert_eq!(names.get(&*mail), Some(&"mail"));
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_cell_is_the_worst_of_its_steps_and_open_only_where_nothing_was_read() {
        let steps: Vec<_> = (0..60)
            .map(|i| {
                if (10..14).contains(&i) || i == 20 {
                    None
                } else {
                    Some(i)
                }
            })
            .collect();
        let cells = cells(&steps);
        assert_eq!(cells.len(), 30);
        assert_eq!(
            (cells[0], cells[5], cells[6], cells[10]),
            (Some(1), None, None, Some(21))
        );
        assert!(super::cells(&[]).is_empty());
    }
}
