//! Where is this order now, and what does it wait for?

mod sequence;
mod timeline;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use highwater_shared::Instant;
use highwater_shared::traces::{Journey as Wire, Journeys, Step};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::api::fetch;
use crate::components::copy::save;
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{dead_letters_href, group_href};
use crate::components::page::Page;
use crate::components::surface::Blank;
use crate::format::{clock, clock_ms, duration_fine};
use crate::state::clock::{Second, now};
use crate::state::query::{Query, encode, segment};

/// Branches named at most.
const BRANCHES_AT_MOST: usize = 7;

/// What the parts of the page share.
#[derive(Clone, Copy)]
struct View {
    query: Query,
    journey: Signal<Arc<Wire>>,
    /// The trace whose steps alone are shown.
    only: Memo<Option<String>>,
    /// Number of each trace, from 1, by id.
    numbers: Memo<Arc<HashMap<String, usize>>>,
    /// The step under the pointer.
    hover: RwSignal<Option<usize>>,
}

/// Divides `topic:CLUSTER/NAME` into cluster and name.
fn lane_place(id: &str) -> Option<(&str, &str)> {
    id.split_once(':')?.1.split_once('/')
}

/// Returns the class and icon of a step's kind, where it has one.
fn kind_mark(kind: &str) -> Option<(Icon, &'static str)> {
    match kind {
        "failed" => Some((Icon::Critical, "c-crit")),
        "retried" => Some((Icon::Retry, "c-crit")),
        "dead_lettered" => Some((Icon::DeadLetter, "c-dlq")),
        "waiting" => Some((Icon::Clock, "c-warn")),
        _ => None,
    }
}

/// A consumer's part of the journey, as it stands.
#[derive(Clone, PartialEq, Debug)]
struct Branch {
    /// The group, or the service where no group is known.
    name: String,
    /// Kind of its last step.
    kind: String,
    /// How often it began.
    attempts: usize,
    /// When its last step was.
    at: Instant,
}

/// Returns how each consumer's part stands, in order of their last step.
fn branches(journey: &Wire) -> Vec<Branch> {
    let names: HashMap<&str, &str> = journey
        .lanes
        .iter()
        .map(|l| (l.id.as_str(), l.name.as_str()))
        .collect();
    let consumer = |step: &Step| -> Option<String> {
        let lane = match step.kind.as_str() {
            "handled" | "failed" | "waiting" => &step.to,
            "retried" | "dead_lettered" => &step.from,
            _ => return None,
        };
        step.group
            .clone()
            .or_else(|| names.get(lane.as_str()).map(|n| (*n).to_owned()))
    };
    let mut found: BTreeMap<String, Branch> = BTreeMap::new();
    // Attempts are of one message: a consumer of two topics that handled one message of each tried each once. What a
    // consumer failed and sent to a retry topic is the same message there.
    let mut tries = HashMap::new();
    let mut failed = HashMap::new();
    let mut sent_on = HashMap::new();
    for step in &journey.steps {
        let Some(name) = consumer(step) else { continue };
        let read = (&step.from, step.partition, step.offset);
        let mut tried = 0;
        match step.kind.as_str() {
            kind @ ("handled" | "failed") => {
                let message = *sent_on.get(&(name.clone(), &step.from)).unwrap_or(&read);
                let count = tries.entry((name.clone(), message)).or_insert(0_usize);
                *count += 1;
                tried = *count;
                if kind == "failed" {
                    failed.insert(name.clone(), message);
                }
            }
            "retried" => {
                if let Some(&message) = failed.get(&name) {
                    sent_on.insert((name.clone(), &step.to), message);
                }
            }
            _ => {}
        }
        let branch = found.entry(name.clone()).or_insert(Branch {
            name,
            kind: String::new(),
            attempts: 0,
            at: step.at,
        });
        branch.attempts = branch.attempts.max(tried);
        branch.kind.clone_from(&step.kind);
        branch.at = step.at;
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|b| b.at);
    found
}

/// Says how a branch stands.
fn standing(branch: &Branch) -> String {
    let again = if branch.attempts > 1 {
        format!(", {} attempts", branch.attempts)
    } else {
        String::new()
    };
    let what = match branch.kind.as_str() {
        "handled" => "handled",
        "failed" => "failed",
        "retried" => "failed, sent to be tried again",
        "dead_lettered" => "given up, in dead letters",
        "waiting" => "waiting",
        other => other,
    };
    format!("{what}{again}")
}

/// The page of a journey.
#[component]
pub(crate) fn Journey() -> impl IntoView {
    let query = Query::get_context();
    let params = use_params_map();
    let param =
        move |name: &'static str| Memo::new(move |_| params.read().get(name).unwrap_or_default());
    let (key, value) = (param("key"), param("value"));
    let journey = fetch::<Wire>(&["traces"], move || {
        Some(format!(
            "/api/v1/journeys/{}/{}",
            segment(&key.get()),
            segment(&value.get())
        ))
    });
    let title = Signal::derive(move || match key.get().as_str() {
        "correlation" => value.get(),
        key => format!("{key} = {}", value.get()),
    });
    // There is no list of journeys: they are found through traces and the search box.
    let above = Signal::derive(move || vec![("Traces".to_owned(), query.link("/traces", &[]))]);
    view! {
        <Page title=title above=above>
            <div class="content jcontent">
                {loaded("journey", journey, || skeleton_rows(14), move |journey| {
                    let view = View {
                        query,
                        journey,
                        only: query.memo("trace"),
                        numbers: Memo::new(move |_| journey.with(|j| {
                            Arc::new(j.traces.iter().enumerate().map(|(i, t)| (t.trace_id.clone(), i + 1)).collect())
                        })),
                        hover: RwSignal::new(None),
                    };
                    view! {
                        <Stand view=view/>
                        <timeline::Timeline view=view/>
                        <sequence::Steps view=view/>
                    }
                })}
            </div>
        </Page>
    }
}

/// Where it stands now: the sentence, where to go, and each consumer's part.
#[component]
fn Stand(
    /// The page.
    view: View,
) -> impl IntoView {
    let View { query, journey, .. } = view;
    let second = Second::get_context();
    let state = move || {
        journey.with(|j| match j.state.as_str() {
            "done" => (
                Icon::Done,
                "c-ok",
                "Done: every message seen sent was handled by every group seen",
            ),
            "failed" => (Icon::Critical, "c-crit", "Failed"),
            "dead_lettered" => (Icon::DeadLetter, "c-dlq", "In dead letters"),
            _ => (Icon::Clock, "c-info", "In progress"),
        })
    };
    let actions = move || {
        journey.with(|j| {
        let waiting = j.steps.iter().rev().find(|s| s.kind == "waiting").and_then(|s| {
            let (cluster, _) = lane_place(&s.from)?;
            let group = s.group.clone()?;
            Some((group_href(query, cluster, &group), group))
        });
        let dead = j.steps.iter().rev().find(|s| s.kind == "dead_lettered").and_then(|s| {
            let (cluster, topic) = lane_place(&s.to)?;
            let key = j.value.clone();
            let href = dead_letters_href(query, cluster, topic);
            Some(format!("{href}{}q={}", if href.contains('?') { '&' } else { '?' }, encode(&key)))
        });
        let first = waiting.is_some();
        view! {
            {waiting.map(|(href, group)| view! { <a class="btn primary" href=href>{Icon::Group.draw("")}{format!("Open lag of {group}")}</a> })}
            {dead.map(|href| view! { <a class="btn" class:primary=!first href=href>{Icon::DeadLetter.draw("")}"The dead letter"</a> })}
        }
    })
    };
    view! {
        <div class="stand">
            <div>
                <div class="row fs11 t3 standhead">
                    {move || { let (icon, class, word) = state(); view! { <span class="row tight" title=word>{icon.draw(&format!("i-s {class}"))}{word.split(':').next().unwrap_or(word)}</span> } }}
                    <span class="num">{move || format!("as of {}", clock(second.now(), now()))}</span>
                </div>
                <p class="say" data-testid="journey-sentence">{move || journey.with(|j| j.sentence.clone())}</p>
                <p class="t2 saymore">{move || journey.with(|j| {
                    let traces = crate::format::plural(j.traces.len() as u64, "trace", "traces");
                    let steps = crate::format::plural(j.steps.len() as u64, "step", "steps");
                    let took = duration_fine(j.end.0.saturating_sub(j.start.0));
                    format!("{steps} in {traces}, {took} from {} to {}.", clock_ms(j.start, now()), clock_ms(j.end, now()))
                })}</p>
                {move || journey.with(|j| j.truncated).then(|| view! {
                    <div class="note warn standnote">{Icon::Warning.draw("")}<div>"There were more spans than could be followed: the journey is not whole."</div></div>
                })}
                <div class="row standacts">
                    {actions}
                    <button class="btn" on:click=move |_| download(journey)>{Icon::Download.draw("")}"JSON"</button>
                </div>
            </div>
            <div>
                <div class="row fs11 t3 standhead">"Consumers"</div>
                {move || {
                    let all = journey.with(|j| branches(j));
                    let more = all.len().saturating_sub(BRANCHES_AT_MOST);
                    view! {
                        {all.into_iter().rev().take(BRANCHES_AT_MOST).rev().map(|b| {
                            let (icon, class) = kind_mark(&b.kind).unwrap_or((Icon::Done, "c-ok"));
                            view! {
                                <div class="branch">{icon.draw(&format!("i-s {class}"))}<b class="ell" title=b.name.clone()>{b.name.clone()}</b><span class="t2 ell">{standing(&b)}</span><span class="t3 num">{clock(b.at, now())}</span></div>
                            }
                        }).collect_view()}
                        {(more > 0).then(|| view! { <p class="fs11 t3">{format!("and {more} before them")}</p> })}
                    }
                }}
            </div>
        </div>
    }
}

/// Saves the journey as the API gave it.
fn download(journey: Signal<Arc<Wire>>) {
    journey.with_untracked(|j| {
        if let Ok(text) = serde_json::to_string_pretty(&**j) {
            let name: String = j
                .value
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || c == '-' {
                        c
                    } else {
                        '_'
                    }
                })
                .take(80)
                .collect();
            save(&format!("journey-{name}.json"), "application/json", &text);
        }
    });
}

/// Looks under which key a value is known, and goes to its journey.
#[component]
pub(crate) fn FindJourney() -> impl IntoView {
    let query = Query::get_context();
    let params = use_params_map();
    let value = Memo::new(move |_| params.read().get("value").unwrap_or_default());
    let found = fetch::<Journeys>(&["traces"], move || {
        Some(format!("/api/v1/journeys?value={}", encode(&value.get())))
    });
    let href = move |key: &str, value: &str| {
        query.link(
            &format!("/journeys/{}/{}", segment(key), segment(value)),
            &[],
        )
    };
    Effect::new(move || {
        let only = found
            .data
            .with(|f| match f.as_ref().map(|f| f.found.as_slice()) {
                Some([one]) => Some(one.clone()),
                _ => None,
            });
        if let Some(one) = only {
            query.go(&untrack(|| href(&one.key, &one.value)), true);
        }
    });
    view! {
        <Page title=value>
            {loaded("journeys", found, || skeleton_rows(6), move |found| view! {
                {move || if found.with(|f| f.found.is_empty()) {
                    view! {
                        <Blank icon=Icon::Journey title="Not seen">
                            <p class="fs12 t2"><span class="mono anywhere">{value}</span>" is no correlation id of any span in the store. It appears by itself when the first span with it comes."</p>
                            <div class="row"><a class="btn primary" href=move || query.link("/traces", &[])>"Search traces"</a></div>
                        </Blank>
                    }.into_any()
                } else {
                    view! {
                        <div class="content">
                            <p class="say">{move || format!("{} is known under several keys.", value.get())}</p>
                            <div class="card">{move || found.with(|f| f.found.iter().map(|c| view! {
                                <a class="li" href=href(&c.key, &c.value)><span>{c.key.clone()}</span><span class="mono t2">{c.value.clone()}</span></a>
                            }).collect_view())}</div>
                        </div>
                    }.into_any()
                }}
            })}
        </Page>
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::traces::Lane;

    use super::*;

    fn step(kind: &str, from: &str, to: &str, group: Option<&str>, at: u64) -> Step {
        Step {
            kind: kind.to_owned(),
            sentence: String::new(),
            at: Instant(at),
            duration_ns: None,
            in_broker_ns: None,
            from: from.to_owned(),
            to: to.to_owned(),
            group: group.map(str::to_owned),
            partition: None,
            offset: None,
            error: None,
            joined_by: "id".to_owned(),
            trace_id: "t".to_owned(),
            span_id: "s".to_owned(),
        }
    }

    #[test]
    fn each_consumer_stands_where_its_last_step_left_it() {
        let lane = |id: &str| Lane {
            id: id.to_owned(),
            kind: "service".to_owned(),
            name: id.to_uppercase(),
        };
        let journey = Wire {
            key: "correlation".to_owned(),
            value: "A-1".to_owned(),
            sentence: String::new(),
            state: "in_progress".to_owned(),
            start: Instant(0),
            end: Instant(9),
            traces: Vec::new(),
            steps: vec![
                step("produced", "shop", "orders", None, 1),
                step("handled", "orders", "stock", None, 2),
                step("handled", "payments", "stock", None, 2),
                step("failed", "orders", "billing", Some("billing"), 3),
                step("retried", "billing", "retry", Some("billing"), 4),
                step("handled", "retry", "billing", Some("billing"), 6),
                step("waiting", "mails", "mail", Some("mail"), 7),
            ],
            lanes: vec![lane("stock")],
            truncated: false,
        };
        let all: Vec<_> = branches(&journey)
            .iter()
            .map(|b| format!("{}: {}", b.name, standing(b)))
            .collect();
        assert_eq!(
            all,
            [
                "STOCK: handled",
                "billing: handled, 2 attempts",
                "mail: waiting"
            ]
        );
    }

    #[test]
    fn a_lane_says_its_cluster() {
        assert_eq!(
            lane_place("topic:kafka/orders/eu"),
            Some(("kafka", "orders/eu"))
        );
        assert_eq!(lane_place("service:shop"), None);
    }
}
