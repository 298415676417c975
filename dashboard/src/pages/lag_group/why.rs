//! Why a group is behind: its process time on the axis of its lag, what its slowest handlings wait for, what fails, and
//! the key or partition that stands out.

use std::sync::Arc;

use highwater_shared::lag::{
    FailedTrace, GroupDetail, GroupHistory, ObservedLag, SlowTrace, TimeShare,
};
use leptos::prelude::*;

use super::events::flags;
use super::range_ms;
use crate::components::chart::{LineChart, Series, Unit};
use crate::components::icons::Icon;
use crate::components::marks::trace_href;
use crate::components::surface::Card;
use crate::format::{clock, count_full, duration_fine, duration_ns, plural, short_id};
use crate::state::clock::now;
use crate::state::query::Query;

/// Process time on the same time axis, and the slowest traces.
#[component]
pub(super) fn Why(
    /// The address.
    query: Query,
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
    /// Its history.
    history: Signal<Arc<GroupHistory>>,
) -> impl IntoView {
    let range = Memo::new(move |_| history.with(|h| range_ms(h)));
    let seen = Memo::new(move |_| history.with(|h| h.process.iter().any(|p| p.p95_ns.is_some())));
    let series = Signal::derive(move || {
        history.with(|h| {
            let line =
                |name: &str,
                 class,
                 value: fn(&highwater_shared::lag::ProcessPoint) -> Option<u64>| {
                    Series {
                        name: name.to_owned(),
                        class,
                        filled: false,
                        points: h
                            .process
                            .iter()
                            .map(|p| (p.at.as_millis() as f64, value(p).map(|v| v as f64)))
                            .collect(),
                    }
                };
            vec![
                line("p99", "l2", |p| p.p99_ns),
                line("p95", "l1", |p| p.p95_ns),
            ]
        })
    });
    let failed = move || {
        history.with(|h| {
            let (errors, messages) = h.process.iter().fold((0_u64, 0_u64), |(e, m), p| {
                (
                    e.saturating_add(p.errors.unwrap_or(0)),
                    m.saturating_add(p.messages.unwrap_or(0)),
                )
            });
            crate::format::percent(errors, messages).map(|share| (errors, messages, share))
        })
    };
    let spoken = Signal::derive(move || {
        let last = history.with(|h| h.process.iter().rev().find_map(|p| p.p95_ns));
        detail.with(|d| match last {
            Some(p95) => format!(
                "Process time of {} over the range; p95 at its end {}",
                d.summary.group,
                duration_ns(p95)
            ),
            None => format!("Process time of {} is not known: no spans", d.summary.group),
        })
    });
    let flags = Signal::derive(move || history.with(|h| flags(&h.events)));
    let failing = Memo::new(move |_| history.with(|h| h.failing.clone()));
    let slowest = Memo::new(move |_| history.with(|h| h.slowest.clone()));
    view! {
        <Card title="Why" sub="process time of this group's consumers, same time axis, from spans"
            actions=move || view! { <span class="legend">
                <span><i></i>"p95"</span><span><i class="dash2"></i>"p99"</span>
                {move || failed().map(|(errors, messages, share)| view! {
                    <span class:c-crit=move || { errors != 0 } title=format!("{} of {} attempts", count_full(errors), count_full(messages))>
                        {format!("{share} failed")}
                    </span>
                })}
            </span> }>
            {move || if seen.get() {
                view! {
                    <div class="chartbox"><LineChart series=series range=range unit=Unit::Nanos flags=flags height=128.0 label=spoken/></div>
                }.into_any()
            } else {
                view! {
                    <div class="blank short">{Icon::Uninstrumented.draw("")}<b class="fs14">"No span of this group's consumers"</b>
                        <p class="fs12 t2">"Instrument the consumer, and its process time and slowest traces appear here."</p></div>
                }.into_any()
            }}
            <Reasons detail=detail history=history/>
            {move || (!slowest.with(Vec::is_empty)).then(|| view! { <SlowTraces query=query slowest=slowest/> })}
            {move || (!failing.with(Vec::is_empty)).then(|| view! { <Failing query=query failing=failing/> })}
        </Card>
    }
}

/// The slowest traces of the group in the range.
#[component]
fn SlowTraces(
    /// The address.
    query: Query,
    /// The traces.
    slowest: Memo<Vec<SlowTrace>>,
) -> impl IntoView {
    view! {
        <table class="tbl rows27" aria-label="Slowest traces">
            <thead><tr><th class="w30"></th><th>"Slowest traces"</th><th class="r">"Process"</th><th class="hide-m">"Longest child"</th><th class="r hide-m">"Took"</th><th class="r">"Began"</th></tr></thead>
            <tbody>{move || slowest.get().into_iter().map(|t| {
                let href = trace_href(query, &t.trace_id, Some(&t.span_id));
                view! {
                    <tr data-testid="slow-trace" data-trace=t.trace_id.clone()>
                        <td>{if t.error {
                            view! { <span title="Failed">{Icon::Critical.draw("i-s c-crit")}<span class="vh">"failed"</span></span> }.into_any()
                        } else {
                            Icon::Ring.draw("i-s t3").into_any()
                        }}</td>
                        <td><a class="mono" href=href title=t.trace_id.clone()>{short_id(&t.trace_id)}</a></td>
                        <td class="r semi">{duration_fine(t.process_ns)}</td>
                        <td class="t2 cut hide-m">{t.longest_child.clone().unwrap_or_else(|| "none".to_owned())}</td>
                        <td class="r hide-m">{t.longest_child_ns.map(duration_fine)}</td>
                        <td class="r t2">{clock(t.start, now())}</td>
                    </tr>
                }
            }).collect_view()}</tbody>
        </table>
    }
}

/// The newest failed handlings of the group in the range.
#[component]
fn Failing(
    /// The address.
    query: Query,
    /// The handlings.
    failing: Memo<Vec<FailedTrace>>,
) -> impl IntoView {
    view! {
        <table class="tbl rows27" aria-label="Newest failures">
            <thead><tr><th class="w30"></th><th>"Newest failures"</th><th>"Error"</th><th class="r hide-m">"Process"</th><th class="r hide-m">"Began"</th></tr></thead>
            <tbody>{move || failing.get().into_iter().map(|t| {
                let href = trace_href(query, &t.trace_id, Some(&t.span_id));
                let error = if t.message.is_empty() { t.error.clone() } else { format!("{}: {}", t.error, t.message) };
                view! {
                    <tr data-testid="failed-trace" data-trace=t.trace_id.clone()>
                        <td><span title="Failed">{Icon::Critical.draw("i-s c-crit")}<span class="vh">"failed"</span></span></td>
                        <td><a class="mono" href=href title=t.trace_id.clone()>{short_id(&t.trace_id)}</a></td>
                        <td class="t2 cut error" title=error.clone()>{error.clone()}</td>
                        <td class="r semi hide-m">{duration_fine(t.process_ns)}</td>
                        <td class="r t2 hide-m">{clock(t.start, now())}</td>
                    </tr>
                }
            }).collect_view()}</tbody>
        </table>
    }
}

/// What stands out, a line each; nothing where nothing does.
#[component]
fn Reasons(
    /// The group.
    detail: Signal<Arc<GroupDetail>>,
    /// Its history.
    history: Signal<Arc<GroupHistory>>,
) -> impl IntoView {
    let why = Memo::new(move |_| history.with(|h| h.why.clone()));
    let lines = Memo::new(move |_| why.with(sentences));
    let disagrees = Memo::new(move |_| {
        detail.with(|d| {
            d.observed
                .as_ref()
                .and_then(|seen: &ObservedLag| seen.disagrees.clone())
        })
    });
    view! {
        {move || why.with(|why| (!why.time.is_empty()).then(|| view! {
            <div class="whytime" data-testid="why-time">
                <p class="fs12">{where_time_goes(&why.time)}
                    <span class="t3">{format!(" Of the {} of its newest {}.",
                        plural(u64::from(why.slow_handlings), "slowest handling", "slowest handlings"), count_full(why.handlings.into()))}</span></p>
                <div class="sharebar" aria-hidden="true">{why.time.iter().enumerate().map(|(at, share)| view! {
                    <i class=share_class(at, share) style:width=format!("{:.1}%", share.share.clamp(0.0, 1.0) * 100.0) title=format!("{} {}", call(share), percent(share.share))></i>
                }).collect_view()}</div>
                <p class="legend fs11 t2">{why.time.iter().enumerate().map(|(at, share)| view! {
                    <span><i class=share_class(at, share)></i>{call(share)}" "<b>{percent(share.share)}</b></span>
                }).collect_view()}</p>
            </div>
        }))}
        {move || lines.get().into_iter().map(|line| view! { <p class="whyline fs12" data-testid="why-line">{Icon::Warning.draw("i-s c-warn")}<span>{line}</span></p> }).collect_view()}
        {move || disagrees.get().map(|text| view! { <p class="whyline fs12" data-testid="why-disagrees">{Icon::Unknown.draw("i-s c-warn")}<span>{text}</span></p> })}
    }
}

fn call(share: &TimeShare) -> String {
    share
        .call
        .clone()
        .unwrap_or_else(|| "the handler itself".to_owned())
}

fn percent(share: f64) -> String {
    format!("{:.0}\u{a0}%", share * 100.0)
}

fn share_class(at: usize, share: &TimeShare) -> &'static str {
    match (share.call.is_some(), at) {
        (false, _) => "own",
        (true, 0) => "s1",
        (true, 1) => "s2",
        (true, _) => "s3",
    }
}

/// Says where most of the time goes.
fn where_time_goes(time: &[TimeShare]) -> String {
    match time.first() {
        Some(first) if first.call.is_some() => {
            format!(
                "{} of the time is in {}.",
                percent(first.share),
                call(first)
            )
        }
        Some(first) => format!(
            "{} of the time is the handler's own: no span tells what it does.",
            percent(first.share)
        ),
        None => String::new(),
    }
}

/// Says which partition and which key stand out.
fn sentences(why: &highwater_shared::lag::Why) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(hot) = &why.hot_partition {
        lines.push(format!(
            "Partition {} of {} takes {} of what comes in on its {} partitions: its key decides, more consumers do not help it.",
            hot.partition,
            hot.topic,
            percent(hot.share),
            hot.of
        ));
    }
    if let Some(hot) = &why.hot_key {
        lines.push(format!(
            "Key {} is that of {} of the newest {} handlings.",
            hot.key,
            count_full(hot.handlings.into()),
            count_full(hot.of.into())
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_share_is_said_and_the_handler_s_own_is_not_a_call() {
        let share = |call: Option<&str>, share| TimeShare {
            call: call.map(str::to_owned),
            share,
        };
        let psp = [
            share(Some("psp-gateway POST /v2/charge"), 0.96),
            share(None, 0.04),
        ];
        assert_eq!(
            where_time_goes(&psp),
            "96\u{a0}% of the time is in psp-gateway POST /v2/charge."
        );
        assert_eq!(share_class(1, &psp[1]), "own");
        assert!(where_time_goes(&[share(None, 1.0)]).contains("handler's own"));
        assert_eq!(where_time_goes(&[]), "");
    }
}
