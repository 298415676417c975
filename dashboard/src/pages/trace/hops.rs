//! The strip of hops: the way through topics and services with the waits between.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use highwater_shared::traces::{Hop, Trace as Wire};
use leptos::prelude::*;

use super::View;
use super::rows::Lines;
use crate::components::marks::{Kind, entity_plain};
use crate::format::{BEFORE_ACK, duration_fine, in_broker, plural, position};

/// Hops in the strip at most; the rest is counted at its end.
const HOPS_AT_MOST: usize = 12;
/// Side branches named at the end of the strip.
const BRANCHES_AT_MOST: usize = 2;
/// A wait longer than this is hatched.
const WAIT_FROM_NS: u64 = 1_000_000_000;

/// Hops looked at; the strip is a summary, the rest is in the waterfall.
const HOPS_LOOKED_AT: usize = 500;

/// A way through the hops, and what is left beside it.
#[derive(Clone, PartialEq, Debug, Default)]
struct Way {
    /// Indices of hops, in order.
    hops: Vec<usize>,
    /// The hop of the chosen span.
    current: Option<usize>,
    /// Topic, how many hops from it are not on the way, and the first of them.
    branches: Vec<(String, u64, usize)>,
}

/// Finds, for each hop, the hop whose handling sent it: the innermost consumer that its producer is nested in.
fn senders(lines: &Lines, hops: &[Hop]) -> Vec<Option<usize>> {
    let line = |span: &Option<String>| span.as_deref().and_then(|s| lines.line_of(s));
    // Several groups may handle in one span of a batch; the first hop stands for it.
    let mut handled_in: HashMap<usize, usize> = HashMap::new();
    for (i, hop) in hops.iter().enumerate() {
        if let Some(consumer) = line(&hop.consumer_span_id) {
            handled_in.entry(consumer).or_insert(i);
        }
    }
    hops.iter()
        .map(|hop| {
            lines
                .ancestors(line(&hop.producer_span_id)?)
                .into_iter()
                .find_map(|up| handled_in.get(&up).copied())
        })
        .collect()
}

/// Returns the hop that a line belongs to: the last one whose consumer it is nested in, or whose producer it is.
fn hop_of(lines: &Lines, hops: &[Hop], selected: usize) -> Option<usize> {
    let mut around = lines.ancestors(selected);
    around.insert(0, selected);
    around.iter().find_map(|&line| {
        let span = lines.span(line)?.span_id.as_str();
        hops.iter()
            .position(|h| h.consumer_span_id.as_deref() == Some(span))
            .or_else(|| {
                hops.iter()
                    .position(|h| h.producer_span_id.as_deref() == Some(span))
            })
    })
}

/// Finds the way through `about` (or the failing, or the slowest hop): back to its first producer, on over the slowest.
fn way(lines: &Lines, hops: &[Hop], senders: &[Option<usize>], selected: Option<usize>) -> Way {
    let slowness = |h: &Hop| {
        h.in_broker_ns
            .unwrap_or(0)
            .saturating_add(h.process_ns.unwrap_or(0))
    };
    let current = selected.and_then(|line| hop_of(lines, hops, line));
    let about = current.or_else(|| {
        (0..hops.len()).max_by_key(|&i| (hops[i].error, slowness(&hops[i]), std::cmp::Reverse(i)))
    });
    let Some(about) = about else {
        return Way::default();
    };
    let mut chain = vec![about];
    while chain.len() < HOPS_AT_MOST
        && let Some(before) = senders[chain[0]].filter(|before| !chain.contains(before))
    {
        chain.insert(0, before);
    }
    while chain.len() < HOPS_AT_MOST
        && let Some(&last) = chain.last()
        && let Some(next) = (0..hops.len())
            .filter(|i| senders[*i] == Some(last) && !chain.contains(i))
            .max_by_key(|&i| (slowness(&hops[i]), std::cmp::Reverse(i)))
    {
        chain.push(next);
    }
    let mut branches: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for i in (0..hops.len()).filter(|i| !chain.contains(i)) {
        branches.entry(hops[i].topic.as_str()).or_insert((0, i)).0 += 1;
    }
    let mut branches: Vec<_> = branches
        .into_iter()
        .map(|(topic, (count, first))| (topic.to_owned(), count, first))
        .collect();
    branches.sort_by_key(|b| b.2);
    Way {
        hops: chain,
        current,
        branches,
    }
}

/// The strip.
#[component]
pub(super) fn HopStrip(
    /// The page.
    view: View,
    /// The trace.
    trace: Signal<Arc<Wire>>,
) -> impl IntoView {
    let hops = move |t: &Wire| t.hops.len().min(HOPS_LOOKED_AT);
    // Apart from the selection: it is asked for at every key press.
    let sent_by =
        Memo::new(move |_| trace.with(|t| view.lines.with(|l| senders(l, &t.hops[..hops(t)]))));
    let way = Memo::new(move |_| {
        let selected = view.selected.get();
        let sent_by = sent_by.get();
        trace.with(|t| {
            let hops = &t.hops[..hops(t).min(sent_by.len())];
            view.lines
                .with(|l| way(l, hops, &sent_by[..hops.len()], selected))
        })
    });
    let pick = move |span: Option<&str>| {
        if let Some(line) = span.and_then(|s| view.lines.with_untracked(|l| l.line_of(s))) {
            view.select(line);
        }
    };
    move || {
        let way = way.get();
        let trace = trace.get();
        if way.hops.is_empty() {
            // The grid of the page has a row for the strip in any case.
            return view! { <div></div> }.into_any();
        }
        let chain: Vec<Hop> = way
            .hops
            .iter()
            .filter_map(|&i| trace.hops.get(i))
            .cloned()
            .collect();
        let last = chain.len() - 1;
        let first_producer = chain.first().map(|hop| {
            let span = hop.producer_span_id.clone();
            let took = span.as_deref().and_then(|s| {
                view.lines.with_untracked(|l| {
                    l.line_of(s)
                        .and_then(|i| l.lines.get(i))
                        .map(|l| l.duration)
                })
            });
            service_box(hop.producer.as_deref(), took, false, false, move || {
                pick(span.as_deref())
            })
        });
        view! {
            <nav class="hops" aria-label="Hops">
                {first_producer}
                {chain.into_iter().zip(way.hops.iter().copied()).enumerate().map(|(n, (hop, index))| {
                    let producer_span = hop.producer_span_id.clone();
                    let consumer_span = hop.consumer_span_id.clone();
                    let where_ = match (hop.partition, hop.offset) {
                        (Some(partition), Some(offset)) => position(partition, offset),
                        (Some(partition), None) => format!("partition {partition}"),
                        _ => String::new(),
                    };
                    let short = hop.partition.map_or_else(String::new, |p| format!("p {p}"));
                    let wait = hop.in_broker_ns;
                    let nobody = hop.consumer.is_none() && hop.consumer_span_id.is_none();
                    view! {
                        <span class="lnk"></span>
                        <button class="hop topic" title=format!("{} {where_}", hop.topic) on:click=move |_| pick(producer_span.as_deref())>
                            {entity_plain(Kind::Topic, &hop.topic)}<span class="t3">{short}</span>
                        </button>
                        <span class=match wait {
                            Some(0) => "lnk early",
                            Some(WAIT_FROM_NS..) => "lnk wait",
                            _ => "lnk",
                        }>
                            {wait.map(|w| view! { <span title=(w == 0).then_some(BEFORE_ACK)>{in_broker(w)}</span> })}
                        </span>
                        {if nobody && n == last {
                            view! { <span class="hop nobody t3">"nobody yet"</span> }.into_any()
                        } else {
                            service_box(
                                hop.consumer.as_deref(),
                                hop.process_ns,
                                hop.error,
                                way.current == Some(index),
                                move || pick(consumer_span.as_deref()),
                            )
                        }}
                    }
                }).collect_view()}
                {(!way.branches.is_empty()).then(|| {
                    let more = way.branches.len().saturating_sub(BRANCHES_AT_MOST) as u64;
                    view! {
                        <span class="branches fs11 t2 nowrap">
                            {way.branches.iter().take(BRANCHES_AT_MOST).map(|(topic, count, first)| {
                                let hop = trace.hops.get(*first);
                                let span = hop.and_then(|h| h.consumer_span_id.clone().or_else(|| h.producer_span_id.clone()));
                                view! { <button class="linkish" on:click=move |_| pick(span.as_deref())>{format!("+{count} from {topic}")}</button> }
                            }).collect_view()}
                            {(more > 0).then(|| view! { <span class="t3">{format!("and {}", plural(more, "more topic", "more topics"))}</span> })}
                        </span>
                    }
                })}
            </nav>
        }
        .into_any()
    }
}

/// A service of the strip.
fn service_box(
    name: Option<&str>,
    took: Option<u64>,
    error: bool,
    current: bool,
    on_click: impl Fn() + 'static,
) -> AnyView {
    let name = name.map(str::to_owned);
    let text = match (took, error) {
        (Some(took), true) => format!("{}, failed", duration_fine(took)),
        (Some(took), false) => duration_fine(took),
        (None, true) => "failed".to_owned(),
        (None, false) => "\u{a0}".to_owned(),
    };
    view! {
        <button class=if error { "hop service crit" } else { "hop service" } aria-current=current.then_some("true")
            on:click=move |_| on_click()>
            {match name.as_deref() {
                Some(name) => entity_plain(Kind::Service, name).into_any(),
                None => entity_plain(Kind::Unknown, "Unknown").into_any(),
            }}
            <span class="t3">{text}</span>
        </button>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use highwater_shared::Instant;
    use highwater_shared::traces::TraceSpan;

    use super::*;

    fn span(id: &str, depth: u32) -> TraceSpan {
        TraceSpan {
            span_id: id.to_owned(),
            parent_span_id: None,
            depth,
            service: "s".to_owned(),
            name: id.to_owned(),
            kind: "internal".to_owned(),
            start: Instant(1),
            duration_ns: 1,
            status: "unset".to_owned(),
            error: None,
            messaging: None,
            in_broker_ns: None,
            clock_skew: false,
            missing_parent: false,
            attributes: Vec::new(),
            resource: Vec::new(),
            scope: String::new(),
            events: Vec::new(),
            links: Vec::new(),
            linked_from: Vec::new(),
        }
    }

    fn hop(topic: &str, producer: &str, consumer: Option<&str>, wait: u64) -> Hop {
        Hop {
            producer: None,
            topic: topic.to_owned(),
            group: None,
            consumer: None,
            producer_span_id: Some(producer.to_owned()),
            consumer_span_id: consumer.map(str::to_owned),
            in_broker_ns: Some(wait),
            process_ns: None,
            error: false,
            partition: None,
            offset: None,
        }
    }

    #[test]
    fn the_way_goes_over_every_hop_to_the_chosen_one_and_counts_the_rest() {
        let trace = Arc::new(Wire {
            trace_id: "t".to_owned(),
            start: Instant(1),
            duration_ns: 1,
            spans: vec![
                span("send", 0),
                span("stock", 1),
                span("bill", 1),
                span("again-send", 2),
                span("again", 3),
                span("pay-send", 4),
                span("ledger", 5),
                span("mail", 5),
            ],
            hops: vec![
                hop("orders", "send", Some("stock"), 1),
                hop("orders", "send", Some("bill"), 900),
                hop("retry", "again-send", Some("again"), 30),
                hop("payments", "pay-send", Some("ledger"), 2),
                hop("payments", "pay-send", Some("mail"), 3),
            ],
            correlations: Vec::new(),
            linked: Vec::new(),
            notices: Vec::new(),
            truncated: false,
        });
        let lines = Lines::new(&trace, &[]);
        let senders = senders(&lines, &trace.hops);
        assert_eq!(senders, [None, None, Some(1), Some(2), Some(2)]);
        let found = way(&lines, &trace.hops, &senders, lines.line_of("ledger"));
        assert_eq!(found.hops, [1, 2, 3]);
        assert_eq!(found.current, Some(3));
        assert_eq!(
            found.branches,
            [("orders".to_owned(), 1, 0), ("payments".to_owned(), 1, 4)]
        );
        // Nothing chosen: through the slowest hop, on over the slower branch.
        assert_eq!(way(&lines, &trace.hops, &senders, None).hops, [1, 2, 4]);
        assert_eq!(way(&lines, &[], &[], None), Way::default());
    }
}
