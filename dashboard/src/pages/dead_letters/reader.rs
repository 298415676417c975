//! The record reader: why it died, what it holds, where it came from, and its trace.

use highwater_shared::dead_letters::{Header, Origin, Payload, Record, RecordError};
use highwater_shared::traces::Journeys;
use leptos::prelude::*;

use crate::api::fetch;
use crate::components::copy::CopyButton;
use crate::components::icons::Icon;
use crate::components::json::{json_view, text_view};
use crate::components::marks::{Kind, entity, entity_plain, group_href, trace_href};
use crate::components::stack::stack_trace;
use crate::components::surface::Panel;
use crate::format::{bytes, clock_ms, position, short_id};
use crate::state::clock::now;
use crate::state::query::{Query, encode, segment};

/// Longest key that is looked up as a correlation id.
const KEY_AT_MOST: usize = 200;

/// How a value is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum As {
    Json,
    Text,
    Hex,
}

impl As {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Text => "Text",
            Self::Hex => "Hex",
        }
    }
}

/// Returns the ways a payload can be read, the collector's own first.
///
/// What it read as JSON it also indented, so the record's bytes are gone: no hex of it. Hex can be read as text.
fn ways(payload: &Payload) -> Vec<As> {
    match payload.encoding.as_str() {
        "json" => vec![As::Json, As::Text],
        "hex" if from_hex(&payload.text).is_some() => vec![As::Hex, As::Text],
        "hex" => vec![As::Hex],
        _ => vec![As::Text, As::Hex],
    }
}

/// Reads hex digits in pairs, with or without spaces.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| {
        digits
            .chunks_exact(2)
            .filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
            .collect()
    })
}

/// Writes bytes as hex, 16 a line.
fn to_hex(text: &str) -> String {
    text.as_bytes()
        .chunks(16)
        .map(|line| {
            line.iter()
                .map(|b| format!("{b:02x}"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the payload's text read in one of its [`ways`].
fn read(payload: &Payload, way: As) -> String {
    match (payload.encoding.as_str(), way) {
        ("hex", As::Text) => from_hex(&payload.text)
            .unwrap_or_default()
            .iter()
            .map(|&b| {
                if (0x20..0x7f).contains(&b) || b == b'\n' {
                    char::from(b)
                } else {
                    '·'
                }
            })
            .collect(),
        ("text", As::Hex) => to_hex(&payload.text),
        _ => payload.text.clone(),
    }
}

/// The panel of a record.
#[component]
pub(super) fn Reader(
    /// The record.
    record: Memo<Option<Record>>,
    /// The cluster its topic is in.
    cluster: Memo<String>,
    /// Goes to the next (1) or previous (-1) record.
    on_step: Callback<isize>,
) -> impl IntoView {
    let query = Query::get_context();
    // The key of a record is often what its order is known by.
    let key = Memo::new(move |_| {
        record.with(|r| {
            let key = r.as_ref()?.key.as_ref()?;
            (key.encoding == "text" && (1..=KEY_AT_MOST).contains(&key.text.len()))
                .then(|| key.text.clone())
        })
    });
    let journeys = fetch::<Journeys>(&[], move || {
        key.get()
            .map(|k| format!("/api/v1/journeys?value={}", encode(&k)))
    });
    let journey = move || {
        journeys.data.with(|j| j.as_ref().and_then(|j| j.found.first().cloned())).map(|found| {
            let href = query.link(&format!("/journeys/{}/{}", segment(&found.key), segment(&found.value)), &[]);
            view! { <a class="btn s" href=href data-testid="record-journey-link">{Icon::Journey.draw("")}"Journey"</a> }
        })
    };
    let trace = move || {
        record.with(|r| r.as_ref().and_then(|r| r.trace.clone())).map(|t| {
            let how = match t.found_by.as_str() {
                "origin_offset" => "Found by the offset the record came from",
                _ => "Found by the record's traceparent header",
            };
            if t.stored {
                let href = trace_href(query, &t.trace_id, t.span_id.as_deref());
                view! { <a class="btn s primary" href=href title=how data-testid="record-trace-link">{Icon::Traces.draw("")}{format!("Trace {}", short_id(&t.trace_id))}</a> }.into_any()
            } else {
                view! { <span class="fs11 t3" title=how>{format!("Trace {} is not in the store", short_id(&t.trace_id))}</span> }.into_any()
            }
        })
    };
    let title = move || record.with(|r| r.as_ref().map(|r| position(r.partition, r.offset)));
    let since = move || {
        record
            .with(|r| r.as_ref().and_then(|r| r.timestamp))
            .map(|at| format!("dead since {}", clock_ms(at, now())))
    };
    view! {
        <Panel
            label=Signal::derive(move || format!("Record {}", title().unwrap_or_default()))
            kind=Signal::derive(move || match record.with(|r| r.as_ref().and_then(|r| r.framework.clone())) {
                Some(framework) => format!("dead letter, written by {}", framework_name(&framework)),
                None => "dead letter".to_owned(),
            })
            title=ViewFn::from(move || view! { <span class="mono">{title}</span><span class="fs12 t3 reg">{since}</span> })
            actions=ViewFn::from(move || view! {
                {trace}{journey}
                <span class="row right tight">
                    <button class="btn ghost s icon" aria-label="Previous record (k)" title="Previous record (k)" on:click=move |_| on_step.run(-1)>{Icon::ChevronUp.draw("")}</button>
                    <button class="btn ghost s icon" aria-label="Next record (j)" title="Next record (j)" on:click=move |_| on_step.run(1)>{Icon::ChevronDown.draw("")}</button>
                </span>
            })
            on_close=Callback::new(move |()| query.replace("record", None))>
            {move || record.get().map(|r| body(query, r, &cluster.get()))}
        </Panel>
    }
}

/// Names a framework as its makers do.
fn framework_name(framework: &str) -> &str {
    match framework {
        "spring" => "Spring Kafka",
        "spring_retry" => "Spring Kafka's retry topics",
        "connect" => "Kafka Connect",
        "streams" => "Kafka Streams",
        "share_group" => "a share group",
        "smallrye" => "SmallRye",
        "watermill" => "Watermill",
        "ad_hoc" => "a convention of its own",
        other => other,
    }
}

/// The sections of a record.
fn body(query: Query, record: Record, cluster: &str) -> impl IntoView + use<> {
    let attempts = record.origin.as_ref().and_then(|o| o.attempts);
    let group = record.origin.as_ref().and_then(|o| o.group.clone());
    view! {
        {record.error.as_ref().map(|e| error(e, group.as_deref(), attempts))}
        <Value payload=record.value.clone() query=query/>
        {record.origin.as_ref().map(|o| origin(query, o, cluster))}
        {record.key.clone().map(|key| view! {
            <section><h3 class="h3">"Key"<span class="t3">{bytes(key.bytes)}</span><span class="right"><CopyButton text=key.text.clone() what="key"/></span></h3>
                <p class="mono fs12 anywhere">{key.text.clone()}</p></section>
        })}
        <section>
            <h3 class="h3">"Headers"<span class="t3">{record.headers.len()}", decoded"</span></h3>
            <dl class="kv attrs headers">{record.headers.iter().map(header).collect_view()}</dl>
        </section>
    }
}

/// A header.
fn header(header: &Header) -> impl IntoView + use<> {
    let long = header.text.contains('\n');
    let first = header.text.lines().next().unwrap_or_default().to_owned();
    let shown = if long {
        format!("{first} …")
    } else {
        header.text.clone()
    };
    view! {
        <dt title=header.name.clone()>{header.name.clone()}</dt>
        <dd title=header.text.clone()>{shown}{(header.encoding != "text").then(|| view! { <span class="t3">{format!("  {}", header.encoding)}</span> })}</dd>
    }
}

/// Why it died.
fn error(error: &RecordError, group: Option<&str>, attempts: Option<u32>) -> impl IntoView + use<> {
    let (name, _) = super::class_name(&error.cause);
    let mut around = String::new();
    if let Some(group) = group {
        around.push_str(&format!(" in {group}"));
    }
    if let Some(attempts) = attempts {
        around.push_str(&format!(
            ", {} made",
            if attempts == 1 {
                "1 attempt".to_owned()
            } else {
                format!("{attempts} attempts")
            }
        ));
    }
    let wrapped = error.class.clone().filter(|class| *class != error.cause);
    let stack = error.stack_trace.clone();
    let open = RwSignal::new(false);
    view! {
        <section>
            <div class="note crit">{Icon::Critical.draw("")}
                <div class="anywhere"><b title=error.cause.clone()>{name}</b>{around}
                    {error.message.clone().map(|m| view! { <br/>{m} })}
                    {wrapped.map(|class| view! { <br/><span class="t3 fs11">"Thrown as "<span class="mono">{class}</span></span> })}
                    {stack.is_some().then(|| view! {
                        <br/><button class="linkish" aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|o| *o = !*o)>
                            {move || if open.get() { "Hide the stack trace" } else { "Stack trace" }}
                        </button>
                    })}
                </div>
            </div>
            {move || open.get().then(|| stack.as_deref().map(stack_trace))}
        </section>
    }
}

/// The value, with the ways it can be read.
#[component]
fn Value(
    /// The value; `None` is a tombstone.
    payload: Option<Payload>,
    /// The address: `as=`.
    query: Query,
) -> impl IntoView {
    let Some(payload) = payload else {
        return view! { <section><h3 class="h3">"Value"</h3><p class="fs12 t2">"None: the record is a tombstone."</p></section> }.into_any();
    };
    let ways = ways(&payload);
    let own = ways[0];
    let allowed = ways.clone();
    let way = Memo::new(move |_| {
        query
            .get("as")
            .and_then(|name| allowed.iter().copied().find(|w| w.name() == name))
            .unwrap_or(own)
    });
    let size = bytes(payload.bytes);
    let truncated = payload.truncated;
    let copied = {
        let payload = payload.clone();
        Signal::derive(move || read(&payload, way.get()))
    };
    view! {
        <section class="valuehead">
            <div class="row"><h3 class="h3">"Value"<span class="t3">{size}</span></h3>
                <span class="row right tight">
                    <span class="fs11 t3">"Read as"</span>
                    <span class="seg small" role="group" aria-label="Read the value as">
                        {ways.into_iter().map(|this| view! {
                            <button aria-pressed=move || (way.get() == this).to_string()
                                on:click=move |_| query.replace("as", (this != own).then_some(this.name()))>{this.title()}</button>
                        }).collect_view()}
                    </span>
                    <CopyButton text=copied what="value"/>
                </span>
            </div>
        </section>
        <div class="valuebox" data-testid="record-value">
            {move || {
                let text = read(&payload, way.get());
                if way.get() == As::Json { json_view(&text).into_any() } else { text_view(&text).into_any() }
            }}
            {truncated.then(|| view! { <p class="fs11 t3 cutnote">"Cut: only the first part is shown."</p> })}
        </div>
    }
    .into_any()
}

/// Where it came from.
fn origin(query: Query, origin: &Origin, cluster: &str) -> impl IntoView + use<> {
    let place = match (origin.partition, origin.offset) {
        (Some(partition), Some(offset)) => Some(position(partition, offset)),
        _ => None,
    };
    view! {
        <section>
            <h3 class="h3">"Origin"</h3>
            <dl class="kv">
                {origin.topic.clone().map(|t| view! { <dt>"Topic"</dt><dd>{entity_plain(Kind::Topic, &t)}</dd> })}
                {place.map(|p| view! { <dt>"Partition, offset"</dt><dd class="mono">{p}</dd> })}
                {origin.timestamp.map(|at| view! { <dt>"Written"</dt><dd class="num">{clock_ms(at, now())}</dd> })}
                {origin.group.clone().map(|g| view! { <dt>"Given up by"</dt><dd>{entity(Kind::Group, &g, group_href(query, cluster, &g))}</dd> })}
                {origin.attempts.map(|n| view! { <dt>"Attempts"</dt><dd class="num">{n}</dd> })}
            </dl>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(encoding: &str, text: &str) -> Payload {
        Payload {
            encoding: encoding.to_owned(),
            text: text.to_owned(),
            bytes: text.len() as u64,
            truncated: false,
        }
    }

    #[test]
    fn a_value_is_read_only_in_ways_that_keep_its_bytes() {
        assert_eq!(ways(&payload("json", "{}")), [As::Json, As::Text]);
        assert_eq!(ways(&payload("text", "a")), [As::Text, As::Hex]);
        assert_eq!(ways(&payload("hex", "0a ff")), [As::Hex, As::Text]);
        assert_eq!(
            ways(&payload("hex", "0a f")),
            [As::Hex],
            "half a byte is no text"
        );
    }

    #[test]
    fn hex_and_text_turn_into_each_other() {
        assert_eq!(read(&payload("hex", "41 2d 00 ff"), As::Text), "A-··");
        assert_eq!(read(&payload("text", "Aü"), As::Hex), "41 c3 bc");
        assert_eq!(read(&payload("text", "Aü"), As::Text), "Aü");
    }
}
