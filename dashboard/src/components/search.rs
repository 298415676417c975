//! The one search box.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use highwater_shared::search::{SearchHit, SearchResults};
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::AbortController;

use super::icons::Icon;
use crate::api;
use crate::state::keys::on_keys;
use crate::state::query::{Query, encode};
use crate::state::settings;

/// Searches remembered.
const REMEMBERED: usize = 8;
/// Asked this long after the last key.
const PAUSE: Duration = Duration::from_millis(150);

/// Groups of results: the API's kinds, in the order shown, with their headings.
const GROUPS: [(&str, &str, Icon, &str); 6] = [
    ("trace", "Traces", Icon::Traces, "t3"),
    ("journey", "Journeys", Icon::Journey, "t3"),
    ("group", "Groups", Icon::Group, "c-group"),
    ("topic", "Topics", Icon::Topic, "c-topic"),
    ("service", "Services", Icon::Service, "c-service"),
    (
        "dead_letter_topic",
        "Dead letters",
        Icon::DeadLetter,
        "c-dlq",
    ),
];

/// What the list shows.
#[derive(Clone, PartialEq)]
enum Shown {
    /// The last searches.
    Recent,
    /// Waiting for the answer.
    Asking,
    /// What was found.
    Found(Arc<SearchResults>),
    /// What failed.
    Failed(String),
}

/// Returns the last searches.
fn recent() -> Vec<String> {
    settings::read("searches")
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Remembers a search.
fn remember(text: &str) {
    let mut all = recent();
    all.retain(|t| t != text);
    all.insert(0, text.chars().take(200).collect());
    all.truncate(REMEMBERED);
    if let Ok(text) = serde_json::to_string(&all) {
        settings::keep("searches", &text);
    }
}

/// Returns the hits in the order shown: a single exact match first, then by group.
fn ordered(results: &SearchResults) -> Vec<SearchHit> {
    let mut hits = Vec::with_capacity(results.hits.len());
    let mut exact = results.hits.iter().filter(|h| h.exact);
    if let (Some(only), None) = (exact.next(), exact.next()) {
        hits.push(only.clone());
    }
    for (kind, ..) in GROUPS {
        for hit in results.hits.iter().filter(|h| h.kind == kind).take(5) {
            if !hits.contains(hit) {
                hits.push(hit.clone());
            }
        }
    }
    hits
}

/// Returns where a hit leads: only pages of the dashboard.
pub(crate) fn safe_path(href: &str) -> String {
    if href.starts_with('/') && !href.starts_with("//") {
        href.to_owned()
    } else {
        "/".to_owned()
    }
}

/// Splits `text` around the first place that matches `query`, so that it can be marked.
fn marked(text: &str, query: &str) -> (String, String, String) {
    let query = query.trim();
    // ASCII folding keeps byte positions.
    let at = text.to_ascii_lowercase().find(&query.to_ascii_lowercase());
    match at {
        Some(at) if !query.is_empty() => (
            text[..at].to_owned(),
            text[at..at + query.len()].to_owned(),
            text[at + query.len()..].to_owned(),
        ),
        _ => (text.to_owned(), String::new(), String::new()),
    }
}

/// The search box of the top bar.
#[component]
pub(crate) fn SearchBox() -> impl IntoView {
    let query = Query::get_context();
    let input = NodeRef::<leptos::html::Input>::new();
    let open = RwSignal::new(false);
    let text = RwSignal::new(String::new());
    let shown = RwSignal::new(Shown::Recent);
    let chosen = RwSignal::new(0_usize);
    // Of all time, in place of the page's range: for what is typed now.
    let all_time = RwSignal::new(false);
    let run = Rc::new(Cell::new(0_u64));
    let abort: StoredValue<Option<AbortController>, LocalStorage> = StoredValue::new_local(None);
    let run = StoredValue::new_local(run);

    on_keys(move |ev| {
        if ev.key() != "/" {
            return false;
        }
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
            input.select();
        }
        true
    });

    let hits = Memo::new(move |_| match shown.get() {
        Shown::Found(results) => ordered(&results),
        _ => Vec::new(),
    });
    let places = Memo::new(move |_| -> Vec<String> {
        match shown.get() {
            Shown::Found(_) => hits.with(|h| h.iter().map(|h| safe_path(&h.href)).collect()),
            _ => Vec::new(),
        }
    });

    let ask = move |now: bool| {
        let typed = text.get_untracked().trim().to_owned();
        let this = run.with_value(|run| {
            run.set(run.get() + 1);
            run.get()
        });
        chosen.set(0);
        abort.update_value(|a| {
            if let Some(a) = a.take() {
                a.abort();
            }
        });
        if typed.is_empty() {
            shown.set(Shown::Recent);
            return;
        }
        let fire = move || {
            if run.try_with_value(|run| run.get()) != Some(this) {
                return;
            }
            if !matches!(shown.get_untracked(), Shown::Found(_)) {
                shown.set(Shown::Asking);
            }
            let controller = AbortController::new().ok();
            abort.update_value(|a| a.clone_from(&controller));
            let own = [("q", typed.as_str())];
            let url = untrack(|| {
                if all_time.get() {
                    query.api_of_all_time("/search", &own)
                } else {
                    query.api("/search", &own)
                }
            });
            spawn_local(async move {
                let answer = api::get::<SearchResults>(&url, controller.as_ref()).await;
                if run.try_with_value(|run| run.get()) != Some(this) {
                    return;
                }
                match answer {
                    Ok(Some(results)) => shown.set(Shown::Found(results)),
                    Ok(None) => {}
                    Err(error) => shown.set(Shown::Failed(error.sentence())),
                }
            });
        };
        if now {
            fire();
        } else {
            set_timeout(fire, PAUSE);
        }
    };
    let go = move |path: &str| {
        let typed = text.get_untracked().trim().to_owned();
        if !typed.is_empty() {
            remember(&typed);
        }
        open.set(false);
        if let Some(input) = input.get_untracked() {
            let _ = input.blur();
        }
        query.go(path, false);
    };
    // What the query alone tells: an id can be opened before the answer is there.
    let direct = move || {
        let typed = text.get_untracked().trim().to_ascii_lowercase();
        let hex = typed.bytes().all(|b| b.is_ascii_hexdigit());
        (hex && typed.len() == 32).then(|| format!("/traces/{typed}"))
    };

    let on_key = move |ev: leptos::ev::KeyboardEvent| {
        let count = match shown.get_untracked() {
            Shown::Recent => recent().len(),
            _ => places.with_untracked(Vec::len),
        };
        match ev.key().as_str() {
            "ArrowDown" => {
                ev.prevent_default();
                open.set(true);
                chosen.update(|c| *c = (*c + 1).checked_rem(count).unwrap_or(0));
            }
            "ArrowUp" => {
                ev.prevent_default();
                chosen.update(|c| {
                    *c = (*c + count.saturating_sub(1))
                        .checked_rem(count)
                        .unwrap_or(0)
                });
            }
            "Enter" => {
                ev.prevent_default();
                let at = chosen.get_untracked();
                match shown.get_untracked() {
                    Shown::Recent => {
                        if let Some(before) = recent().get(at) {
                            text.set(before.clone());
                            ask(true);
                        }
                    }
                    Shown::Found(_) => {
                        let place = places.with_untracked(|p| p.get(at).cloned());
                        if let Some(place) = place.or_else(direct) {
                            go(&place);
                        }
                    }
                    _ => {
                        if let Some(place) = direct() {
                            go(&place);
                        }
                    }
                }
            }
            "Tab"
                if !ev.shift_key()
                    && !all_time.get_untracked()
                    && !text.with_untracked(|t| t.trim().is_empty()) =>
            {
                ev.prevent_default();
                all_time.set(true);
                open.set(true);
                ask(true);
            }
            "Escape" => {
                ev.prevent_default();
                ev.stop_propagation();
                open.set(false);
                if let Some(input) = input.get_untracked() {
                    let _ = input.blur();
                }
            }
            _ => {}
        }
    };

    view! {
        <div class="search" role="search">
            {Icon::Search.draw("")}
            <input type="search" node_ref=input data-testid="search" role="combobox" aria-label="Search everything"
                aria-autocomplete="list" aria-controls="search-list" autocomplete="off" spellcheck="false" maxlength="400"
                aria-expanded=move || open.get().to_string()
                aria-activedescendant=move || open.get().then(|| format!("search-{}", chosen.get()))
                placeholder="Trace or correlation id, service, topic, group"
                prop:value=text
                on:focus=move |_| open.set(true)
                on:blur=move |_| set_timeout(move || { open.try_set(false); }, Duration::from_millis(150))
                on:input=move |ev| { text.set(event_target_value(&ev)); all_time.set(false); open.set(true); ask(false); }
                on:keydown=on_key/>
            <span class="kbd" aria-hidden="true">"/"</span>
            <Show when=move || open.get()>
                <div class="searchpop" id="search-list" role="listbox" aria-label="Results"
                    on:pointerdown=move |ev| ev.prevent_default()>
                    {move || match shown.get() {
                        Shown::Recent => {
                            let all = recent();
                            if all.is_empty() {
                                view! { <p class="mnote">"Paste a trace id or a correlation id, or type the name of a service, topic or group."</p> }.into_any()
                            } else {
                                view! {
                                    <div class="sg">"Last searches"</div>
                                    {all.into_iter().enumerate().map(|(i, before)| {
                                        let label = before.clone();
                                        view! {
                                            <div class="sr" role="option" id=format!("search-{i}")
                                                aria-selected=move || (chosen.get() == i).to_string()
                                                on:click=move |_| { text.set(before.clone()); ask(true); }>
                                                {Icon::Clock.draw("t3")}<span class="ell">{label}</span><span></span><span></span>
                                            </div>
                                        }
                                    }).collect_view()}
                                }.into_any()
                            }
                        }
                        Shown::Asking => view! { <p class="mnote" aria-busy="true">"Searching"</p> }.into_any(),
                        Shown::Failed(why) => view! { <p class="mnote">{Icon::Critical.draw("c-crit")}{why}</p> }.into_any(),
                        Shown::Found(_) => found(hits, chosen, text, all_time.get_untracked(), go).into_any(),
                    }}
                    <div class="sf">
                        <span><span class="kbd">"↑"</span>" "<span class="kbd">"↓"</span>" choose"</span>
                        <span><span class="kbd">"⏎"</span>" open"</span>
                        {move || if all_time.get() {
                            view! { <span>"searched all time"</span> }.into_any()
                        } else {
                            view! { <span><span class="kbd">"Tab"</span>" search all time"</span> }.into_any()
                        }}
                        <span class="right"><span class="kbd">"Esc"</span>" close"</span>
                    </div>
                </div>
            </Show>
        </div>
    }
}

/// The list of hits under their headings.
fn found(
    hits: Memo<Vec<SearchHit>>,
    chosen: RwSignal<usize>,
    text: RwSignal<String>,
    all_time: bool,
    go: impl Fn(&str) + Copy + 'static,
) -> impl IntoView {
    let all = hits.get();
    if all.is_empty() {
        let typed = text.get_untracked();
        let href = format!("/traces?q={}", encode(typed.trim()));
        return view! {
            <p class="mnote">{format!(
                "Nothing is called or carries {} {}.",
                typed.trim(),
                if all_time { "at any time" } else { "in this range" }
            )}" "
                <a href=href.clone() on:click=move |ev| { ev.prevent_default(); go(&href); }>"Search traces for it"</a>
            </p>
        }
        .into_any();
    }
    let query = text.get_untracked();
    let mut before = "";
    all.into_iter()
        .enumerate()
        .map(|(i, hit)| {
            let (kind, heading, icon, class) = GROUPS
                .into_iter()
                .find(|(kind, ..)| *kind == hit.kind)
                .unwrap_or(("", "Other", Icon::Search, "t3"));
            let heading = (kind != before).then_some(heading);
            before = kind;
            let (head, mark, tail) = marked(&hit.title, &query);
            let href = safe_path(&hit.href);
            let place = href.clone();
            view! {
                {heading.map(|h| view! { <div class="sg">{h}</div> })}
                <a class="sr" role="option" id=format!("search-{i}") tabindex="-1" href=href
                    data-testid="search-hit"
                    aria-selected=move || (chosen.get() == i).to_string()
                    on:click=move |ev| { ev.prevent_default(); go(&place); }>
                    {icon.draw(class)}
                    <span class="ell">{head}<mark>{mark}</mark>{tail}</span>
                    <span class="t3 ell">{hit.subtitle}</span>
                    <span class=move || if chosen.get() == i { "kbd" } else { "kbd none" }>"⏎"</span>
                </a>
            }
        })
        .collect_view()
        .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(kind: &str, title: &str, exact: bool) -> SearchHit {
        SearchHit {
            kind: kind.to_owned(),
            title: title.to_owned(),
            subtitle: String::new(),
            href: "/".to_owned(),
            exact,
        }
    }

    #[test]
    fn a_single_exact_match_comes_first_then_groups_in_order() {
        let results = SearchResults {
            q: "billing".to_owned(),
            hits: vec![
                hit("service", "billing", true),
                hit("topic", "orders.billing", false),
                hit("journey", "billing-1", false),
            ],
        };
        let titles: Vec<_> = ordered(&results).into_iter().map(|h| h.title).collect();
        assert_eq!(titles, ["billing", "billing-1", "orders.billing"]);
    }

    #[test]
    fn a_hit_leads_nowhere_but_into_the_dashboard() {
        assert_eq!(safe_path("/lag/k/g?x=1"), "/lag/k/g?x=1");
        assert_eq!(safe_path("//evil.example"), "/");
        assert_eq!(safe_path("javascript:alert(1)"), "/");
    }

    #[test]
    fn a_match_is_marked_without_cutting_letters() {
        assert_eq!(
            marked("Ünder Orders", "orders"),
            ("Ünder ".to_owned(), "Orders".to_owned(), String::new())
        );
        assert_eq!(
            marked("abc", "ü"),
            ("abc".to_owned(), String::new(), String::new())
        );
        assert_eq!(
            marked("abc", " "),
            ("abc".to_owned(), String::new(), String::new())
        );
    }
}
