//! What the edges of the map say, as `labels=` in the address chooses it.

use highwater_shared::topology::{Edge, EdgeKind, Percentiles};
use leptos::prelude::*;

use crate::components::menu::Menu;
use crate::format::{duration_ns, percent, rate};
use crate::state::query::Query;

/// What can be said of an edge: its name in the address, and how a person reads it.
const WORDS: [(&str, &str); 5] = [
    ("rate", "Rate"),
    ("p50", "p50 in broker"),
    ("p95", "p95 in broker"),
    ("p99", "p99 in broker"),
    ("errors", "Errors"),
];

/// What edges say: rate, p50, p95, p99, errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Labels([bool; 5]);

impl Labels {
    /// The rate on the producer's side, p95 in the broker on the consumer's.
    pub(super) const USUAL: Self = Self([true, false, true, false, false]);

    /// Reads `rate,p95`; nothing is the default, `none` is none; what is not known is left out.
    pub(super) fn read(text: Option<&str>) -> Self {
        let Some(text) = text else {
            return Self::USUAL;
        };
        Self(WORDS.map(|(word, _)| text.split(',').any(|part| part.trim() == word)))
    }

    /// Writes it as it stands in the address; `None` for the default.
    fn write(self) -> Option<String> {
        if self == Self::USUAL {
            return None;
        }
        let words: Vec<&str> = WORDS
            .iter()
            .zip(self.0)
            .filter_map(|((word, _), on)| on.then_some(*word))
            .collect();
        Some(if words.is_empty() {
            "none".to_owned()
        } else {
            words.join(",")
        })
    }

    /// Returns whether edges say anything.
    pub(super) fn any(self) -> bool {
        self.0.contains(&true)
    }

    /// Says of an edge what was chosen, as far as it is known.
    pub(super) fn of(self, edge: &Edge) -> Option<String> {
        let [says_rate, p50, p95, p99, errors] = self.0;
        let delivers = edge.kind == EdgeKind::Delivers;
        let mut said = Vec::new();
        let asked = [p50, p95, p99];
        // The rate of a delivery is nearly always that of its topic: it is said where nothing else is asked of it.
        if says_rate && !(delivers && asked.contains(&true)) {
            said.extend(edge.rate.filter(|r| *r > 0.0).map(rate));
        }
        if delivers && let Some(of) = edge.latency.in_broker {
            said.extend(percentiles(asked, of));
        }
        if errors && let (Some(failed), Some(all)) = (edge.errors, edge.messages) {
            let share = percent(failed, all).filter(|_| failed > 0);
            said.extend(share.map(|share| format!("{share} failed")));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// Percentiles from the lowest on, without their names: a longer label would find no room.
fn percentiles(asked: [bool; 3], of: Percentiles) -> Option<String> {
    let times: Vec<String> = [of.p50_ns, of.p95_ns, of.p99_ns]
        .into_iter()
        .zip(asked)
        .filter(|(_, asked)| *asked)
        .map(|(ns, _)| duration_ns(ns))
        .collect();
    (!times.is_empty()).then(|| times.join(" / "))
}

/// The control that chooses.
#[component]
pub(super) fn LabelsMenu() -> impl IntoView {
    let query = Query::get_context();
    let open = RwSignal::new(false);
    let labels = Memo::new(move |_| Labels::read(query.get("labels").as_deref()));
    view! {
        <Menu open=open class="ctl" tip="What the edges say" popup="dialog"
            button=ViewFn::from(|| "Labels")
            children=ViewFn::from(move || view! {
                <div role="dialog" aria-label="What the edges say">
                    {WORDS.iter().enumerate().map(|(at, (_, name))| view! {
                        <label class="mi check">
                            <input type="checkbox" prop:checked=move || labels.get().0[at]
                                on:change=move |_| {
                                    let mut next = labels.get_untracked();
                                    next.0[at] = !next.0[at];
                                    query.set("labels", next.write().as_deref());
                                }/>{*name}
                        </label>
                    }).collect_view()}
                </div>
            }) />
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::topology::Latency;

    use super::*;

    fn edge(kind: EdgeKind) -> Edge {
        Edge {
            id: "e".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            kind,
            instrumented: true,
            messages: Some(40),
            records: None,
            errors: Some(1),
            rate: Some(62.0),
            rate_source: None,
            latency: Latency {
                produce: None,
                in_broker: Some(Percentiles {
                    p50_ns: 1_000_000,
                    p95_ns: 2_000_000,
                    p99_ns: 3_000_000,
                    samples: 40,
                }),
                process: None,
            },
        }
    }

    fn said(labels: Option<&str>, kind: EdgeKind) -> Option<String> {
        let said = Labels::read(labels).of(&edge(kind));
        said.map(|said| said.replace('\u{a0}', " "))
    }

    #[test]
    fn edges_say_what_the_address_asks_for() {
        let delivers = |labels| said(labels, EdgeKind::Delivers).unwrap_or_default();
        assert_eq!(
            said(None, EdgeKind::Produces).as_deref(),
            Some("62.0/s"),
            "the default"
        );
        assert_eq!(delivers(None), "2 ms");
        assert_eq!(delivers(Some("rate")), "62.0/s");
        assert_eq!(delivers(Some("p50,p99")), "1 ms / 3 ms");
        assert_eq!(delivers(Some("errors")), "2.5% failed");
        assert_eq!(said(Some("p95"), EdgeKind::Produces), None);
        assert_eq!(said(Some("none"), EdgeKind::Delivers), None);
    }

    #[test]
    fn what_is_chosen_stands_in_the_address_and_the_default_does_not() {
        assert_eq!(Labels::USUAL.write(), None);
        assert_eq!(Labels::read(Some("none")).write().as_deref(), Some("none"));
        let written = Labels::read(Some("p99, rate,colour")).write();
        assert_eq!(written.as_deref(), Some("rate,p99"));
    }
}
