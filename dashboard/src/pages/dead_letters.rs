//! What died, why, and how many alike?

mod reader;
mod records;

use std::sync::Arc;

use highwater_shared::Level;
use highwater_shared::dead_letters::{DeadLetterTopic, DeadLetters as Wire};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::api::fetch;
use crate::app::CollectorStatus;
use crate::components::icons::Icon;
use crate::components::keyed::keyed;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{
    Kind, dead_letters_href, entity, entity_plain, group_href, known, map_href, unknown,
};
use crate::components::page::{Layout, Page};
use crate::components::surface::Blank;
use crate::format::{UNKNOWN, age_text, ago, count_full, percent, rate};
use crate::state::clock::Second;
use crate::state::query::Query;

/// A topic as the address names it.
type Place = (String, String);

/// The page: topics at the left, one topic's causes and records, and the reader.
#[component]
pub(crate) fn DeadLetters() -> impl IntoView {
    let query = Query::get_context();
    let params = use_params_map();
    let named = Memo::new(move |_| {
        let params = params.read();
        Some((params.get("cluster")?, params.get("topic")?))
    });
    let topics = fetch::<Wire>(&["dead_letters", "brokers"], move || {
        Some(query.api("/dead-letters", &[]))
    });
    let above = Signal::derive(move || match named.get() {
        Some(_) => vec![("Dead letters".to_owned(), query.link("/dead-letters", &[]))],
        None => Vec::new(),
    });
    let title = Signal::derive(move || {
        named
            .get()
            .map_or_else(|| "Dead letters".to_owned(), |(_, topic)| topic)
    });
    view! {
        <Page title=title above=above layout=Layout::Fill>
            {loaded("dead letters", topics, || skeleton_rows(12), move |topics| view! { <Bench topics=topics named=named/> })}
        </Page>
    }
}

/// The three columns.
#[component]
fn Bench(
    /// The topics.
    topics: Signal<Arc<Wire>>,
    /// The topic the address names; without one the first is shown.
    named: Memo<Option<Place>>,
) -> impl IntoView {
    let shown = Memo::new(move |_| {
        named.get().or_else(|| {
            topics.with(|t| {
                t.topics
                    .first()
                    .map(|t| (t.cluster.clone(), t.topic.clone()))
            })
        })
    });
    let none = Memo::new(move |_| shown.with(Option::is_none));
    move || {
        if none.get() {
            view! { <Nothing/> }.into_any()
        } else {
            view! {
                <div class="dl3 live3">
                    <List topics=topics shown=shown/>
                    <Topic topics=topics shown=shown/>
                </div>
            }
            .into_any()
        }
    }
}

/// Says how dead-letter topics are found, where there is none.
#[component]
fn Nothing() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    view! {
        <Blank icon=Icon::DeadLetter title="No dead-letter topic">
            {move || if status.with(|s| s.clusters.is_empty()).unwrap_or(false) {
                view! { <p class="fs12 t2">"No broker is set. Start Highwater with "<span class="mono">"--kafka HOST:PORT"</span>", and topics of dead letters are found by themselves."</p> }.into_any()
            } else {
                view! { <p class="fs12 t2">"No topic of the clusters that are set looks like one: by its name (.dlt, .dlq, -dlq, …), its settings, or the headers of its records."</p> }.into_any()
            }}
            <div class="row"><a class="btn" href=move || query.link("/settings/health", &[])>"Is every broker read?"</a></div>
        </Blank>
    }
}

/// Writes arrivals; `None` when not known.
fn arrivals(topic: &DeadLetterTopic) -> Option<String> {
    topic.arrivals_per_hour.map(|per_hour| {
        if per_hour > 0.0 {
            format!("+{}", rate(per_hour / 3_600.0))
        } else {
            "none".to_owned()
        }
    })
}

/// Returns the class of what grows.
const fn growing(level: Level) -> &'static str {
    match level {
        Level::Critical => "c-crit",
        Level::Warning => "c-warn",
        Level::Ok | Level::Unknown => "",
    }
}

/// The topics, those with records first.
#[component]
fn List(
    /// The topics.
    topics: Signal<Arc<Wire>>,
    /// The one shown.
    shown: Memo<Option<Place>>,
) -> impl IntoView {
    let open = RwSignal::new(false);
    let split = Memo::new(move |_| {
        let shown = shown.get();
        topics.with(|t| {
            t.topics.iter().cloned().partition::<Vec<_>, _>(|t| {
                t.retained != Some(0)
                    || shown
                        .as_ref()
                        .is_some_and(|(cluster, topic)| *cluster == t.cluster && *topic == t.topic)
            })
        })
    });
    let heading = move || {
        topics.with(|t| {
            let known: u64 = t.topics.iter().filter_map(|t| t.retained).sum();
            let more = if t.topics.iter().any(|t| t.retained.is_none()) {
                "≥\u{a0}"
            } else {
                ""
            };
            format!("{}, {more}{} retained", t.topics.len(), count_full(known))
        })
    };
    view! {
        <aside class="dlqs" aria-label="Dead-letter topics">
            <div class="grph"><span>"Dead-letter topics"</span><span class="t3 num">{heading}</span></div>
            {keyed(Signal::derive(move || split.with(|s| s.0.clone())), key, move |topic| item(topic, shown))}
            {move || {
                let empty = split.with(|s| s.1.len());
                (empty > 0).then(|| view! {
                    <button class="dlqi emptyq" aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|o| *o = !*o)>
                        <span class="t2">{format!("{} empty", if empty == 1 { "1 more is".to_owned() } else { format!("{empty} more are") })}</span>
                        {move || if open.get() { Icon::ChevronUp.draw("t3") } else { Icon::ChevronDown.draw("t3") }}
                    </button>
                })
            }}
            {move || open.get().then(|| keyed(Signal::derive(move || split.with(|s| s.1.clone())), key, move |topic| item(topic, shown)))}
            <p class="fs11 t3 foundby">"Found by mapping, topic setting, headers and name. Retry topics are not backlog and stand on the map."</p>
        </aside>
    }
}

/// Returns what tells topics apart.
fn key(topic: &DeadLetterTopic) -> String {
    format!("{}/{}", topic.cluster, topic.topic)
}

/// A topic of the list; its numbers change in place.
fn item(topic: Memo<DeadLetterTopic>, shown: Memo<Option<Place>>) -> impl IntoView + use<> {
    let query = Query::get_context();
    let second = Second::get_context();
    let current = move || {
        let here = shown.with(|s| {
            topic.with(|t| {
                s.as_ref()
                    .is_some_and(|(cluster, name)| *cluster == t.cluster && *name == t.topic)
            })
        });
        here.then_some("true")
    };
    let class = move || topic.with(|t| growing(t.level));
    let name = move || topic.with(|t| t.topic.clone());
    let depth = move || {
        topic.with(|t| match t.retained {
            Some(n) => view! { <b class=class>{count_full(n)}</b> }.into_any(),
            None => unknown(
                t.reason
                    .as_deref()
                    .unwrap_or("Its offsets could not be read"),
            )
            .into_any(),
        })
    };
    let oldest = move || {
        let now = second.now();
        topic.with(|t| match t.oldest_at {
            Some(at) => format!("oldest {}", age_text(now.0.saturating_sub(at.0))),
            None => "\u{a0}".to_owned(),
        })
    };
    view! {
        <a class="dlqi" data-testid="dlq-row" data-topic=name aria-current=current
            href=move || topic.with(|t| dead_letters_href(query, &t.cluster, &t.topic))
            title=move || topic.with(|t| format!("{} in {}", t.topic, t.cluster))>
            <span class="row dlqname">{Icon::DeadLetter.draw("i-s c-dlq")}<b class="ell med">{name}</b></span>
            {depth}
            <span class="t3">{oldest}</span>
            <span class=move || format!("t3 {}", class())>{move || topic.with(|t| arrivals(t).unwrap_or_else(|| UNKNOWN.to_owned()))}</span>
        </a>
    }
}

/// One topic: what it is, its causes, its records and the reader.
#[component]
fn Topic(
    /// The topics.
    topics: Signal<Arc<Wire>>,
    /// The one shown.
    shown: Memo<Option<Place>>,
) -> impl IntoView {
    let topic = Memo::new(move |_| {
        let (cluster, name) = shown.get()?;
        topics.with(|t| {
            t.topics
                .iter()
                .find(|t| t.cluster == cluster && t.topic == name)
                .cloned()
        })
    });
    let there = Memo::new(move |_| topic.with(Option::is_some));
    move || {
        if there.get() {
            view! { <records::Records topic=topic/> }.into_any()
        } else {
            view! {
                <section class="dlmain"><Blank icon=Icon::DeadLetter title="No such dead-letter topic">
                    <p class="fs12 t2">{move || shown.get().map(|(cluster, topic)| format!("{topic} of {cluster} is not known to hold dead letters."))}</p>
                </Blank></section>
            }
            .into_any()
        }
    }
}

/// The head of a topic: names and numbers.
fn head(topic: Memo<Option<DeadLetterTopic>>) -> impl IntoView {
    let query = Query::get_context();
    let second = Second::get_context();
    let number = move |part: fn(&DeadLetterTopic) -> Option<String>| {
        move || {
            topic.with(|t| {
                t.as_ref().map(|t| {
                    known(
                        part(t),
                        t.reason.as_deref().unwrap_or("It could not be read"),
                    )
                })
            })
        }
    };
    let level = move || topic.with(|t| t.as_ref().map_or("", |t| growing(t.level)));
    let age = move |part: fn(&DeadLetterTopic) -> Option<highwater_shared::Instant>| {
        move || {
            let now = second.now();
            topic.with(|t| {
                t.as_ref().map(|t| match (part(t), t.retained) {
                    (Some(at), _) => {
                        view! { <span title=at.to_string()>{ago(at, now)}</span> }.into_any()
                    }
                    (None, Some(0)) => "none".into_any(),
                    (None, _) => unknown(
                        t.reason
                            .as_deref()
                            .unwrap_or("Its records were not read yet"),
                    )
                    .into_any(),
                })
            })
        }
    };
    view! {
        <div class="dlhead">
            <div class="row">
                <h2 class="row dltitle">{Icon::DeadLetter.draw("c-dlq")}{move || topic.with(|t| t.as_ref().map(|t| t.topic.clone()))}</h2>
                <span class="fs12 t3 ell">{move || topic.get().map(|t| origin(query, &t))}</span>
                <a class="btn ghost s right" href=move || topic.with(|t| t.as_ref().map(|t| map_href(query, &format!("topic:{}/{}", t.cluster, t.topic))).unwrap_or_default())>
                    {Icon::Map.draw("")}"On the map"
                </a>
            </div>
            <div class="nums">
                <div><b class=level>{number(|t| t.retained.map(count_full))}</b>"retained"</div>
                <div><b class=level>{number(arrivals)}</b>"arriving, last 5\u{a0}m"</div>
                <div><b>{age(|t| t.oldest_at)}</b>"oldest"</div>
                <div><b>{age(|t| t.newest_at)}</b>"newest"</div>
                <div class="right"><b>{move || topic.with(|t| t.as_ref().map(|t| recognised(&t.recognised_by)))}</b>"recognised by"</div>
            </div>
            {move || topic.with(|t| t.as_ref().and_then(|t| t.reason.clone())).map(|reason| view! {
                <div class="note warn dlnote">{Icon::Warning.draw("")}<div>{reason}</div></div>
            })}
        </div>
    }
}

/// Where its records came from and who gave them up.
fn origin(query: Query, topic: &DeadLetterTopic) -> impl IntoView + use<> {
    let topics = topic
        .origin_topics
        .iter()
        .take(2)
        .map(|name| view! { {entity_plain(Kind::Topic, name)}" " })
        .collect_view();
    let groups = topic
        .groups
        .iter()
        .take(2)
        .map(|name| view! { {entity(Kind::Group, name, group_href(query, &topic.cluster, name))}" " })
        .collect_view();
    view! {
        {(!topic.origin_topics.is_empty()).then(|| view! { "from "{topics} })}
        {(!topic.groups.is_empty()).then(|| view! { "by "{groups} })}
    }
}

/// Says how a topic was recognised.
fn recognised(by: &str) -> String {
    match by {
        "mapping" => "configuration",
        "topic_config" => "topic setting",
        "headers" => "headers",
        "name" => "name",
        other => other,
    }
    .to_owned()
}

/// The causes of the newest records; a press narrows the records to one.
fn causes(topic: Memo<Option<DeadLetterTopic>>) -> impl IntoView {
    let query = Query::get_context();
    let causes = Memo::new(move |_| {
        topic.with(|t| t.as_ref().map(|t| t.causes.clone()).unwrap_or_default())
    });
    let sampled = move || causes.with(|c| c.first().map_or(0, |c| c.sampled));
    view! {
        <div class="causes">
            {move || (!causes.with(Vec::is_empty)).then(|| view! {
                <table class="tbl two" aria-label="Causes">
                    <thead><tr><th>"Cause"</th><th class="sharecol">"Share"</th><th class="r" title="Of the newest records that were looked at">{move || format!("Of the newest {}", count_full(sampled()))}</th></tr></thead>
                    <tbody>{move || causes.get().into_iter().map(|c| {
                        let (short, package) = class_name(&c.cause);
                        let share = c.count as f64 / c.sampled.max(1) as f64 * 100.0;
                        let name = c.cause.clone();
                        let selected = { let name = name.clone(); move || (query.get("cause").as_deref() == Some(name.as_str())).then_some("true") };
                        let pressed = { let name = name.clone(); move || (query.get("cause").as_deref() == Some(name.as_str())).to_string() };
                        let press = move |_| {
                            let on = untrack(|| query.get("cause")).as_deref() == Some(name.as_str());
                            query.change(&[("cause", (!on).then_some(name.as_str())), ("record", None)], false);
                        };
                        view! {
                            <tr class="link" aria-selected=selected data-testid="cause-row" on:click=press>
                                <td><button class="causeb" aria-pressed=pressed title=c.cause.clone()><b class="mono fs12">{short}</b><span class="sub">{package}</span></button></td>
                                <td class="sharecol"><span class="meter"><i class="dlqm" style:width=format!("{share:.1}%")></i></span></td>
                                <td class="r"><span class="semi fs14">{count_full(c.count)}</span><span class="sub">{percent(c.count, c.sampled)}</span></td>
                            </tr>
                        }
                    }).collect_view()}</tbody>
                </table>
            })}
        </div>
    }
}

/// Divides a class name into its own name and its package.
fn class_name(class: &str) -> (String, String) {
    if class == "unknown" {
        return (
            "Unknown".to_owned(),
            "The headers tell no cause.".to_owned(),
        );
    }
    match class.rsplit_once('.') {
        Some((package, name)) if !name.is_empty() && !name.contains(' ') => {
            (name.to_owned(), package.to_owned())
        }
        _ => (class.to_owned(), "\u{a0}".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::class_name;

    #[test]
    fn a_class_stands_before_its_package() {
        assert_eq!(
            class_name("com.shop.PaymentDeclinedException"),
            ("PaymentDeclinedException".to_owned(), "com.shop".to_owned())
        );
        assert_eq!(class_name("Timeout.").0, "Timeout.");
        assert_eq!(class_name("unknown").0, "Unknown");
    }
}
