//! The side panel: everything about the chosen span.

use highwater_shared::traces::{Attribute, SpanEvent, SpanLink, SpanMessaging, TraceSpan};
use leptos::prelude::*;

use super::View;
use super::rows::Lines;
use crate::components::copy::CopyButton;
use crate::components::icons::Icon;
use crate::components::marks::{Kind, entity, entity_plain, trace_href};
use crate::components::stack::stack_trace;
use crate::components::surface::Panel;
use crate::format::{
    BEFORE_ACK, clock_ms, count_full, duration_fine, in_broker, position, short_id, signed,
};
use crate::state::clock::now;
use crate::state::query::Query;

/// What the panel shows of the span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tab {
    /// Where its time went, its message, its error.
    Message,
    /// Attributes of span and resource.
    Attributes,
    /// Events.
    Events,
    /// Links, both ways.
    Links,
    /// As the API sent it.
    Raw,
}

impl Tab {
    const ALL: [Self; 5] = [
        Self::Message,
        Self::Attributes,
        Self::Events,
        Self::Links,
        Self::Raw,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Message => "Overview",
            Self::Attributes => "Attributes",
            Self::Events => "Events",
            Self::Links => "Links",
            Self::Raw => "Raw",
        }
    }

    /// Returns how many things it holds; `None` where that says nothing.
    fn count(self, span: &TraceSpan) -> Option<usize> {
        match self {
            Self::Attributes => Some(span.attributes.len()),
            Self::Events => Some(span.events.len()),
            Self::Links => Some(span.links.len() + span.linked_from.len()),
            Self::Message | Self::Raw => None,
        }
    }
}

/// A span, and what of the trace the panel needs beside it.
#[derive(Clone, PartialEq)]
struct Chosen {
    span: TraceSpan,
    hue: usize,
    /// Start after that of the trace, in nanoseconds.
    after: u64,
    /// Duration of its producer's span.
    produced: Option<u64>,
}

/// Finds the producer's duration of a consumer span: its parent as drawn, or what it links to in this trace.
fn producer_of(lines: &Lines, at: usize, span: &TraceSpan) -> Option<u64> {
    span.in_broker_ns?;
    let parent = lines.ancestors(at).into_iter().next();
    let linked = span
        .links
        .iter()
        .find_map(|link| lines.line_of(&link.span_id));
    parent
        .into_iter()
        .chain(linked)
        .filter(|&line| lines.span(line).is_some_and(|s| s.kind == "producer"))
        .find_map(|line| lines.lines.get(line).map(|l| l.duration))
}

/// The panel of the chosen span.
#[component]
pub(super) fn Detail(
    /// The page.
    view: View,
) -> impl IntoView {
    let chosen = Memo::new(move |_| {
        let at = view.selected.get()?;
        view.lines.with(|lines| {
            let span = lines.span(at)?;
            Some(Chosen {
                span: span.clone(),
                hue: lines.lines[at].hue,
                after: lines.lines[at].start,
                produced: producer_of(lines, at, span),
            })
        })
    });
    let open = Memo::new(move |_| chosen.with(Option::is_some));
    let tab = RwSignal::new(Tab::Message);
    move || {
        open.get().then(|| {
            view! {
                <Panel
                    label=Signal::derive(move || chosen.with(|c| c.as_ref().map(|c| format!("Span {} in {}", c.span.name, c.span.service)).unwrap_or_default()))
                    kind=Signal::derive(move || chosen.with(|c| c.as_ref().map(|c| format!("{} span", c.span.kind)).unwrap_or_default()))
                    title=ViewFn::from(move || view! { {move || chosen.get().map(|c| view! {
                        <span class=format!("sw hue{}", c.hue)></span>{c.span.service}" "<span class="t2 reg">{c.span.name}</span>
                    })} })
                    actions=ViewFn::from(move || view! { {move || chosen.get().map(facts)} })
                    on_close=Callback::new(move |()| view.query.replace("span", None))>
                    <div class="ptabs"><div class="tabs" role="tablist">
                        {Tab::ALL.map(|this| view! {
                            <button role="tab" aria-selected=move || (tab.get() == this).to_string() on:click=move |_| tab.set(this)>
                                {this.title()}
                                {move || chosen.with(|c| c.as_ref().and_then(|c| this.count(&c.span))).map(|n| view! { <span class="n">{n}</span> })}
                            </button>
                        })}
                    </div></div>
                    {move || chosen.get().map(|c| match tab.get() {
                        Tab::Message => overview(view, &c).into_any(),
                        Tab::Attributes => attributes(&c.span).into_any(),
                        Tab::Events => events(&c.span).into_any(),
                        Tab::Links => links(view, &c.span).into_any(),
                        Tab::Raw => raw(&c.span).into_any(),
                    })}
                </Panel>
            }
        })
    }
}

/// How it ended, when it started, how long it took.
fn facts(chosen: Chosen) -> impl IntoView {
    let span = chosen.span;
    let state = match span.status.as_str() {
        "error" => {
            view! { <span class="state c-crit">{Icon::Critical.draw("")}"Error"</span> }.into_any()
        }
        "ok" => view! { <span class="state quiet">{Icon::Ok.draw("c-ok")}"OK"</span> }.into_any(),
        _ => ().into_any(),
    };
    view! {
        <div class="row fs12 wrap spanfacts">
            {state}
            <span class="t3" title=clock_ms(span.start, now())>
                {format!("started at {}, took {}", duration_fine(chosen.after), duration_fine(span.duration_ns))}
            </span>
        </div>
    }
}

/// Where its time went, the message, the error, notices.
fn overview(view: View, chosen: &Chosen) -> impl IntoView + use<> {
    let span = &chosen.span;
    let notices = [
        (span.clock_skew, "It starts before its producer starts: a clock is wrong. Times are shown as they came."),
        (span.missing_parent, "Its parent was never received."),
    ]
    .into_iter()
    .filter(|n| n.0)
    .map(|n| view! { <section><div class="note warn">{Icon::Warning.draw("")}<div>{n.1}</div></div></section> })
    .collect_view();
    let error = error_section(chosen);
    let links = (!span.links.is_empty() || !span.linked_from.is_empty()).then(|| links(view, span));
    view! {
        {notices}
        {span.in_broker_ns.map(|wait| time_parts(chosen, wait))}
        {span.messaging.as_ref().map(|m| message(view.query, m, span))}
        {error}
        {links}
        <section>
            <h3 class="h3">"Span"</h3>
            <dl class="kv">
                <dt>"Span id"</dt><dd class="mono row tight">{span.span_id.clone()}<CopyButton text=span.span_id.clone() what="span id"/></dd>
                {span.parent_span_id.clone().map(|p| view! { <dt>"Parent"</dt><dd class="mono">{p}</dd> })}
                <dt>"Began"</dt><dd class="num">{clock_ms(span.start, now())}</dd>
                {(!span.scope.is_empty()).then(|| view! { <dt>"Instrumented by"</dt><dd class="mono">{span.scope.clone()}</dd> })}
            </dl>
        </section>
    }
}

/// The three parts of a message's time, as a bar and in figures.
fn time_parts(chosen: &Chosen, wait: u64) -> impl IntoView + use<> {
    let process = chosen.span.duration_ns;
    let produced = chosen.produced;
    let total = produced
        .unwrap_or(0)
        .saturating_add(wait)
        .saturating_add(process)
        .max(1);
    let share = |part: u64| format!("{:.2}%", part as f64 / total as f64 * 100.0);
    let spoken = format!(
        "Produce {}, in broker {}, process {}",
        produced.map_or_else(|| "unknown".to_owned(), duration_fine),
        in_broker(wait),
        duration_fine(process)
    );
    let hue = format!("hue{} fill", chosen.hue);
    view! {
        <section>
            <h3 class="h3">"Where this message's time went"</h3>
            <div class="bar3" role="img" aria-label=spoken>
                {produced.map(|p| view! { <i class="prod" style:width=share(p)></i> })}
                <i class="w" style:width=share(wait)></i>
                <i class=hue style:width=share(process)></i>
            </div>
            <dl class="kv parts">
                <dt>"Produce"</dt><dd>{crate::components::marks::known(produced.map(duration_fine), "The producer's span is not in this trace")}</dd>
                <dt>"In broker"</dt><dd class="semi" title=(wait == 0).then_some(BEFORE_ACK)>{in_broker(wait)}</dd>
                <dt>"Process"</dt><dd>{duration_fine(process)}</dd>
            </dl>
        </section>
    }
}

/// Looks for an attribute that says which cluster or key.
fn attribute<'a>(span: &'a TraceSpan, keys: &[&str]) -> Option<&'a str> {
    keys.iter()
        .find_map(|key| span.attributes.iter().find(|a| a.key == *key))
        .map(|a| a.value.as_str())
}

/// The message: topic, position, group.
fn message(query: Query, messaging: &SpanMessaging, span: &TraceSpan) -> impl IntoView + use<> {
    let key = attribute(
        span,
        &["messaging.kafka.message.key", "messaging.message.key"],
    )
    .map(str::to_owned);
    let place = match (messaging.partition, messaging.offset) {
        (Some(partition), Some(offset)) => Some(position(partition, offset)),
        (Some(partition), None) => Some(format!("partition {partition}")),
        (None, Some(offset)) => Some(format!("offset {}", signed(offset))),
        (None, None) => None,
    };
    let group = messaging.group.clone();
    view! {
        <section>
            <h3 class="h3">"Message"</h3>
            <dl class="kv">
                {messaging.destination.clone().map(|topic| view! {
                    <dt>"Topic"</dt><dd>{entity_plain(Kind::Topic, &topic)}" "<span class="t3">{messaging.system.clone()}</span></dd>
                })}
                <dt>"Operation"</dt><dd>{messaging.operation.clone()}</dd>
                {place.map(|place| view! { <dt>"Partition, offset"</dt><dd class="mono">{place}</dd> })}
                {messaging.batch_count.map(|n| view! { <dt>"Batch"</dt><dd>{crate::format::plural(u64::from(n), "message", "messages")}</dd> })}
                {key.map(|key| view! { <dt>"Key"</dt><dd class="mono">{key}</dd> })}
                {group.map(|group| {
                    // The span does not say which cluster; the list of groups does.
                    let href = { let group = group.clone(); query.link("/lag", &[("f", &group)]) };
                    view! { <dt>"Group"</dt><dd>{entity(Kind::Group, &group, href)}</dd> }
                })}
            </dl>
        </section>
    }
}

/// Why it failed: the error, and the stack trace of its exception event.
fn error_section(chosen: &Chosen) -> Option<impl IntoView + use<>> {
    let span = &chosen.span;
    let error = span.error.clone()?;
    let exception = span.events.iter().find(|e| e.name == "exception");
    let stack = exception
        .and_then(|e| {
            e.attributes
                .iter()
                .find(|a| a.key == "exception.stacktrace")
        })
        .map(|a| a.value.clone());
    let at = exception.map(|e| duration_fine(e.at.0.saturating_sub(span.start.0)));
    Some(view! {
        <section>
            <h3 class="h3">"Error"{at.map(|at| view! { <span class="t3">{format!("at +{at}")}</span> })}</h3>
            <div class="note crit">{Icon::Critical.draw("")}<div class="anywhere"><b>{error.kind}</b><br/>{error.message}</div></div>
            {stack.map(|stack| stack_trace(&stack))}
        </section>
    })
}

/// Attributes in a list, filterable by the browser's own find: nothing is hidden.
fn attribute_list(attributes: &[Attribute]) -> impl IntoView + use<> {
    view! {
        <dl class="kv attrs wide">
            {attributes.iter().map(|a| view! {
                <dt title=format!("{} ({})", a.key, a.kind)>{a.key.clone()}</dt>
                <dd title=a.value.clone()>{a.value.clone()}</dd>
            }).collect_view()}
        </dl>
    }
}

/// Attributes of span and resource.
fn attributes(span: &TraceSpan) -> impl IntoView + use<> {
    let none = span.attributes.is_empty();
    view! {
        <section>
            <h3 class="h3">"Span"<span class="t3">{count_full(span.attributes.len() as u64)}</span></h3>
            {if none { view! { <p class="fs12 t3">"It has no attributes."</p> }.into_any() } else { attribute_list(&span.attributes).into_any() }}
        </section>
        <section>
            <h3 class="h3">"Resource"<span class="t3">{count_full(span.resource.len() as u64)}</span></h3>
            {attribute_list(&span.resource)}
        </section>
    }
}

/// Events in order.
fn events(span: &TraceSpan) -> impl IntoView + use<> {
    let start = span.start.0;
    let one = move |event: &SpanEvent| {
        let stack = event
            .attributes
            .iter()
            .find(|a| a.key == "exception.stacktrace")
            .map(|a| a.value.clone());
        let rest: Vec<_> = event
            .attributes
            .iter()
            .filter(|a| a.key != "exception.stacktrace")
            .cloned()
            .collect();
        view! {
            <section>
                <h3 class="h3">{event.name.clone()}<span class="t3">{format!("at +{}", duration_fine(event.at.0.saturating_sub(start)))}</span></h3>
                {attribute_list(&rest)}
                {stack.map(|stack| stack_trace(&stack))}
            </section>
        }
    };
    if span.events.is_empty() {
        view! { <section><p class="fs12 t3">"It has no events."</p></section> }.into_any()
    } else {
        span.events.iter().map(one).collect_view().into_any()
    }
}

/// Links, both ways.
fn links(view: View, span: &TraceSpan) -> impl IntoView + use<> {
    let line = move |link: &SpanLink, from: bool| {
        let name = match (&link.service, &link.name) {
            (Some(service), Some(name)) => format!("{service}, {name}"),
            (Some(service), None) => service.clone(),
            _ => format!("span {}", short_id(&link.span_id)),
        };
        let here = view.lines.with_untracked(|l| l.line_of(&link.span_id));
        let href = trace_href(view.query, &link.trace_id, Some(&link.span_id));
        let trace = format!("trace {}", short_id(&link.trace_id));
        view! {
            <a class="row fs12 linkrow" href=href on:click=move |ev| {
                if let Some(line) = here {
                    ev.prevent_default();
                    view.select(line);
                }
            }>
                {if from { Icon::ArrowLeft } else { Icon::ArrowRight }.draw("i-s t3")}
                <span class="t2">{if from { "from" } else { "to" }}</span>
                <span class="ell">{name}</span>
                <span class="t3 mono right">{if here.is_some() { "in this trace".to_owned() } else { trace }}</span>
            </a>
        }
    };
    let none = span.links.is_empty() && span.linked_from.is_empty();
    view! {
        <section>
            <h3 class="h3">"Links"</h3>
            {none.then(|| view! { <p class="fs12 t3">"It has no links, and none points at it."</p> })}
            <div class="col linkcol">
                {span.links.iter().map(|l| line(l, false)).collect_view()}
                {span.linked_from.iter().map(|l| line(l, true)).collect_view()}
            </div>
        </section>
    }
}

/// The span as the API sent it.
fn raw(span: &TraceSpan) -> impl IntoView + use<> {
    let text = serde_json::to_string_pretty(span).unwrap_or_default();
    view! {
        <section class="rawsec">
            <div class="row"><h3 class="h3">"JSON"</h3><span class="right"><CopyButton text=text.clone() what="span as JSON"/></span></div>
            {crate::components::json::json_view(&text)}
        </section>
    }
}
