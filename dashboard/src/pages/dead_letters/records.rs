//! The records of a dead-letter topic, newest first.

use std::collections::HashSet;

use highwater_shared::dead_letters::{DeadLetterTopic, Record, Records as Wire};
use leptos::prelude::*;

use super::reader::Reader;
use crate::api::fetch;
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::trace_href;
use crate::components::more::More;
use crate::components::surface::Blank;
use crate::components::table::{Column, SortKey, Table};
use crate::format::{clock_ms, count_full, position, short_id};
use crate::state::clock::now;
use crate::state::keys::on_keys;
use crate::state::query::{Query, segment};

/// Records a page holds.
const PAGE: &str = "50";
/// Characters of a key in the list.
const KEY_AT_MOST: usize = 28;

/// Returns how a record stands in the address: `partition:offset`.
pub(super) fn place_of(record: &Record) -> String {
    format!("{}:{}", record.partition, record.offset)
}

/// Reads `partition:offset`.
fn place(text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.split_once(':')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// Returns the class to group a record by.
fn cause_of(record: &Record) -> &str {
    record
        .error
        .as_ref()
        .map_or("unknown", |e| e.cause.as_str())
}

/// The middle column and, when a record is chosen, the reader.
#[component]
pub(super) fn Records(
    /// The topic.
    topic: Memo<Option<DeadLetterTopic>>,
) -> impl IntoView {
    let query = Query::get_context();
    let path = Memo::new(move |_| {
        topic.with(|t| {
            t.as_ref().map(|t| {
                format!(
                    "/dead-letters/{}/{}/records",
                    segment(&t.cluster),
                    segment(&t.topic)
                )
            })
        })
    });
    let cause = query.memo("cause");
    let typed = query.memo("q");
    let address = move |cursor: Option<&str>| {
        let path = path.get()?;
        // The server looks for a text in all of a record: a cause's class is in its headers.
        let text = typed
            .get()
            .or_else(|| cause.get().filter(|c| c != "unknown"));
        let mut own = vec![("limit", PAGE)];
        if let Some(text) = &text {
            own.push(("q", text.as_str()));
        }
        if let Some(cursor) = cursor {
            own.push(("cursor", cursor));
        }
        Some(query.api(&path, &own))
    };
    let first = fetch::<Wire>(&["dead_letters"], move || address(None));
    let more = More::<Wire>::new(move || address(None).unwrap_or_default());
    let rows = Memo::new(move |_| {
        let cause = cause.get();
        let mut seen = HashSet::new();
        let mut rows: Vec<Record> = Vec::new();
        let first = first.data.get();
        more.pages.with(|pages| {
            for page in first.iter().chain(pages) {
                rows.extend(
                    page.records
                        .iter()
                        .filter(|r| cause.as_deref().is_none_or(|c| cause_of(r) == c))
                        .filter(|r| seen.insert((r.partition, r.offset)))
                        .cloned(),
                );
            }
        });
        rows
    });
    let next = move || {
        more.pages.with(|pages| match pages.last() {
            Some(last) => last.next_cursor.clone(),
            None => first
                .data
                .with(|d| d.as_ref().and_then(|d| d.next_cursor.clone())),
        })
    };
    let load = move || {
        if let Some(url) = untrack(|| next().and_then(|cursor| address(Some(&cursor)))) {
            more.load(url);
        }
    };

    // The chosen record: of the list, or, from a link, asked for alone.
    let chosen_place = query.memo("record");
    let listed = Memo::new(move |_| {
        let wanted = chosen_place.get()?;
        rows.with(|rows| rows.iter().find(|r| place_of(r) == wanted).cloned())
    });
    let alone = fetch::<Wire>(&[], move || {
        let (partition, offset) = place(&chosen_place.get()?)?;
        if listed.with(Option::is_some) || first.data.with(Option::is_none) {
            return None;
        }
        let (partition, offset) = (partition.to_string(), offset.to_string());
        let path = path.get()?;
        Some(query.api(
            &path,
            &[
                ("limit", "1"),
                ("partition", &partition),
                ("from_offset", &offset),
            ],
        ))
    });
    let chosen = Memo::new(move |_| {
        listed.get().or_else(|| {
            let wanted = chosen_place.get()?;
            alone.data.with(|d| {
                d.as_ref()
                    .and_then(|d| d.records.iter().find(|r| place_of(r) == wanted).cloned())
            })
        })
    });
    let step = move |by: isize| {
        let next = rows.with_untracked(|rows| {
            let wanted = chosen_place.get_untracked()?;
            let at = rows.iter().position(|r| place_of(r) == wanted)?;
            rows.get(at.checked_add_signed(by)?).map(place_of)
        });
        if let Some(next) = next {
            query.replace("record", Some(&next));
        }
    };
    on_keys(move |ev| {
        let by = match ev.key().as_str() {
            "j" => 1,
            "k" => -1,
            _ => return false,
        };
        // Without a record open the keys move over the rows.
        let open = chosen.with_untracked(Option::is_some);
        if open {
            step(by);
        }
        open
    });
    let open = Memo::new(move |_| chosen.with(Option::is_some));
    let lost = move || {
        chosen_place.get().is_some()
            && !open.get()
            && (alone.data.with(Option::is_some) || alone.error.with(Option::is_some))
    };
    let cluster = Memo::new(move |_| {
        topic.with(|t| t.as_ref().map(|t| t.cluster.clone()).unwrap_or_default())
    });
    view! {
        <section class="dlmain" aria-label="Records">
            {super::head(topic)}
            {super::causes(topic)}
            <div class="dlrecs">
                <div class="row dlbar">
                    <b class="nowrap num">{move || {
                        let n = rows.with(Vec::len) as u64;
                        let text = if n == 1 { "1 record".to_owned() } else { format!("{} records", count_full(n)) };
                        if next().is_some() { format!("{text} so far") } else { text }
                    }}</b>
                    <span class="t3 fs12 ell">{move || match cause.get() {
                        Some(cause) => super::class_name(&cause).0,
                        None => "newest first".to_owned(),
                    }}</span>
                    {move || cause.get().map(|_| view! { <button class="btn ghost s" on:click=move |_| query.set("cause", None)>{Icon::Close.draw("")}"All causes"</button> })}
                    <RecordSearch/>
                </div>
                {move || lost().then(|| view! {
                    <div class="note warn dlnote">{Icon::Warning.draw("")}<div>{format!("Record {} is no longer in the topic.", chosen_place.get().unwrap_or_default())}</div></div>
                })}
                {loaded("records", first, || skeleton_rows(10), move |_| view! {
                    <Table name="records" rows=rows id=place_of columns=columns(query) text=place_of fill=true bare=true
                        class="rows29" test="record-row" data="data-record" selected=Signal::derive(move || chosen_place.get())
                        open=Callback::new(move |r: Record| query.replace("record", Some(&place_of(&r))))
                        empty=ViewFn::from(move || nothing(query, next().is_some()))/>
                })}
                <div class="resmore">
                    {move || more.error.get().map(|e| view! { <span class="c-crit fs12">{e.sentence()}</span> })}
                    {move || next().map(|_| view! {
                        <button class="btn" disabled=move || more.pending.get() on:click=move |_| load()>
                            {move || if more.pending.get() { "Reading…" } else { "Read older records" }}
                        </button>
                    })}
                </div>
            </div>
        </section>
        {move || open.get().then(|| view! { <Reader record=chosen cluster=cluster on_step=Callback::new(step)/> })}
    }
}

/// The text to look for in records; sent on Enter, because the topic is read for it.
#[component]
fn RecordSearch() -> impl IntoView {
    let query = Query::get_context();
    let input = NodeRef::<leptos::html::Input>::new();
    let in_force = query.memo("q");
    on_keys(move |ev| {
        if ev.key() != "f" {
            return false;
        }
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
        }
        true
    });
    view! {
        <label class="query right recsearch">
            {Icon::Filter.draw("i-s")}
            <input node_ref=input aria-label="Find records by text in key, value, headers or error; Enter searches" placeholder="key, header, text" maxlength="200" spellcheck="false"
                prop:value=move || in_force.get().unwrap_or_default()
                on:change=move |ev| query.change(&[("q", Some(event_target_value(&ev).trim())), ("record", None)], false)
                on:keydown=move |ev| if ev.key() == "Escape" {
                    ev.prevent_default();
                    if let Some(input) = input.get_untracked() {
                        let _ = input.blur();
                    }
                }/>
            <span class="kbd" aria-hidden="true">"f"</span>
        </label>
    }
}

/// The columns.
fn columns(query: Query) -> Vec<Column<Record>> {
    vec![
        Column::new("position", "Partition @ offset", |r: &Record| position(r.partition, r.offset))
            .right()
            .class("mono")
            .sort(|r| SortKey::Number(r.offset as f64)),
        Column::new("time", "Dead since", |r: &Record| match r.timestamp {
            Some(at) => clock_ms(at, now()).into_any(),
            None => view! { <span class="t3">"no timestamp"</span> }.into_any(),
        })
        .class("t2")
        .tip("The record's timestamp")
        .sort(|r| SortKey::number(r.timestamp.map(|t| t.0 as f64))),
        Column::new("key", "Key", |r: &Record| match &r.key {
            Some(key) => {
                let short: String = key.text.chars().take(KEY_AT_MOST).collect();
                view! { <span class="mono" title=key.text.clone()>{short}</span> }.into_any()
            }
            None => view! { <span class="t3">"none"</span> }.into_any(),
        }),
        Column::new("cause", "Cause", |r: &Record| {
            let (name, _) = super::class_name(cause_of(r));
            let message = r.error.as_ref().and_then(|e| e.message.clone()).unwrap_or_default();
            view! { <span class="cutname ib" title=message>{name}</span> }
        })
        .sort(|r| SortKey::Text(cause_of(r).to_owned())),
        Column::new("origin", "Origin", |r: &Record| r.origin.as_ref().and_then(|o| {
            Some(view! { <span title=o.topic.clone().unwrap_or_default()>{position(o.partition?, o.offset?)}</span> })
        }))
        .right()
        .class("mono t2")
        .tip("Where the record was read from before it died"),
        Column::new("trace", "Trace", move |r: &Record| match &r.trace {
            Some(t) if t.stored => {
                let href = trace_href(query, &t.trace_id, t.span_id.as_deref());
                view! { <a class="mono" href=href title=t.trace_id.clone()>{short_id(&t.trace_id)}</a> }.into_any()
            }
            Some(t) => view! { <span class="mono t3" title="Named by the record, but no span of it is in the store">{short_id(&t.trace_id)}</span> }.into_any(),
            None => view! { <span class="t3">"no trace"</span> }.into_any(),
        }),
    ]
}

/// Says what was not found.
fn nothing(query: Query, more: bool) -> AnyView {
    let filtered = query.get("q").is_some() || query.get("cause").is_some();
    view! {
        <Blank icon=Icon::DeadLetter title=if filtered { "No record matches" } else { "The topic is empty" }>
            <p class="fs12 t2">{match (filtered, more) {
                (true, true) => "None of the records read so far. Older ones may.",
                (true, false) => "None of the records kept in the topic.",
                (false, _) => "No record is kept in it. New dead letters appear here by themselves.",
            }}</p>
            {filtered.then(|| view! { <div class="row"><button class="btn" on:click=move |_| query.change(&[("q", None), ("cause", None)], false)>"Show all records"</button></div> })}
        </Blank>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_record_is_found_by_its_place_in_the_address() {
        assert_eq!(place("3:88213407"), Some((3, 88_213_407)));
        for bad in ["", "3", "a:1", "1:b", "99999999999:1"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
