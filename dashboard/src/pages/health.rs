//! Can I trust what I see?

use std::sync::Arc;

use highwater_shared::Instant;
use highwater_shared::status::{Brokers, Cluster, Forecast, ServiceStatus, Status};
use leptos::prelude::*;

use crate::api::fetch;
use crate::app::CollectorStatus;
use crate::components::copy::CopyButton;
use crate::components::icons::Icon;
use crate::components::loading::{loaded, skeleton_rows};
use crate::components::marks::{Kind, entity, known, map_href};
use crate::components::page::Page;
use crate::components::surface::{Card, Fig};
use crate::components::table::{Column, SortKey, Table};
use crate::format::{
    age_text, ago, bytes, clock, count, count_full, duration_ms, duration_ns, percent, plural, rate,
};
use crate::state::clock::{Second, now};
use crate::state::query::Query;

/// Share of the queue from which it is worth a look.
const QUEUE_FULL_FROM: f64 = 0.5;
/// Free space from which the disk is worth a look, in bytes.
const DISK_LOW_BELOW: u64 = 2 << 30;

/// How bad a sentence is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tone {
    Critical,
    Warning,
}

/// What is not as it should be, worst first; what is lost before what is late.
fn troubles(status: &Status, brokers: Option<&Brokers>) -> Vec<(Tone, String)> {
    let mut found = Vec::new();
    let ingest = &status.ingest;
    if let Some(error) = &ingest.write_error {
        found.push((
            Tone::Critical,
            format!("Spans cannot be written: {error}. Senders are asked to try again."),
        ));
    }
    for cluster in brokers.map_or(&[][..], |b| &b.clusters) {
        match cluster.state.as_str() {
            "ok" => {}
            "connecting" => found.push((
                Tone::Warning,
                format!("{} is being connected to.", cluster.name),
            )),
            _ => found.push((Tone::Critical, format!("{} is not read.", cluster.name))),
        }
    }
    let rejected: u64 = ingest.rejected.values().sum();
    if rejected > 0 {
        found.push((
            Tone::Warning,
            format!(
                "{} refused since the start; the reasons stand below.",
                plural(rejected, "span was", "spans were")
            ),
        ));
    }
    if ingest.queue_capacity > 0
        && ingest.queue_spans as f64 > QUEUE_FULL_FROM * ingest.queue_capacity as f64
    {
        found.push((
            Tone::Warning,
            "More spans arrive than are written: the queue is filling.".to_owned(),
        ));
    }
    if status
        .store
        .free_bytes
        .is_some_and(|free| free < DISK_LOW_BELOW)
    {
        found.push((
            Tone::Critical,
            format!(
                "The disk has only {} left.",
                bytes(status.store.free_bytes.unwrap_or(0))
            ),
        ));
    }
    if status.flow.truncated {
        found.push((
            Tone::Warning,
            "The map has more nodes or edges than are kept apart; the rest is folded into (other)."
                .to_owned(),
        ));
    }
    found.sort_by_key(|t| t.0);
    found
}

/// The page.
#[component]
pub(crate) fn Health() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let brokers = fetch::<Brokers>(&["brokers"], || Some("/api/v1/brokers".to_owned()));
    view! {
        <Page title="Health">
            <div class="content hcontent">
                {loaded("status", status.0, || skeleton_rows(14), move |status| view! {
                    <Summary status=status brokers=brokers.data.into()/>
                    <Figures status=status/>
                    <Card title="Brokers" sub=Signal::derive(move || status.with(|s| format!("offsets every {}", duration_ms(s.poll_interval_ms))))>
                        {loaded("brokers", brokers, || skeleton_rows(2), move |brokers| view! { {move || brokers.with(|b| clusters(b))} })}
                    </Card>
                    <div class="grid-3">
                        <Ingest status=status/>
                        <StoreCard status=status/>
                        <Collector status=status/>
                    </div>
                    <Card title="Services seen" sub="by their spans">
                        <Services status=status query=query/>
                    </Card>
                })}
            </div>
        </Page>
    }
}

/// The sentence at the top.
#[component]
fn Summary(
    /// The status.
    status: Signal<Arc<Status>>,
    /// The clusters, when known.
    brokers: Signal<Option<Arc<Brokers>>>,
) -> impl IntoView {
    let troubles = Memo::new(move |_| status.with(|s| brokers.with(|b| troubles(s, b.as_deref()))));
    let none_set = move || status.with(|s| s.clusters.is_empty());
    view! {
        <p class="say row healthsay" role="status">
            {move || match troubles.with(|t| t.first().map(|t| t.0)) {
                Some(Tone::Critical) => Icon::Critical.draw("c-crit"),
                Some(_) => Icon::Warning.draw("c-warn"),
                None => Icon::Done.draw("c-ok"),
            }}
            <span>{move || troubles.with(|t| match t.len() {
                0 if none_set() => "Every span that came was kept. ".to_owned(),
                0 => "Everything is read, and every span that came was kept. ".to_owned(),
                _ => t.iter().map(|t| t.1.clone()).collect::<Vec<_>>().join(" "),
            })}
            {move || none_set().then(|| view! { <span class="t2">"No broker is set: lag and dead letters need "<span class="mono">"--kafka HOST:PORT"</span>"."</span> })}</span>
        </p>
    }
}

/// The strip of figures.
#[component]
fn Figures(
    /// The status.
    status: Signal<Arc<Status>>,
) -> impl IntoView {
    let with = move |part: fn(&Status) -> String| Signal::derive(move || status.with(|s| part(s)));
    let value = move |part: fn(&Status) -> String| -> Children {
        Box::new(move || (move || status.with(|s| part(s))).into_any())
    };
    view! {
        <div class="strip">
            <Fig label="Spans in" source="over the last minute" value=value(|s| rate(s.ingest.spans_per_s))/>
            <Fig label="Acknowledged in" source=with(|s| match s.ingest.commit_p50_ns {
                Some(p50) => format!("p99; p50 {}", duration_ns(p50)),
                None => "nothing committed yet".to_owned(),
            }) value=Box::new(move || (move || status.with(|s| known(s.ingest.commit_p99_ns.map(duration_ns), "Nothing was committed yet"))).into_any())/>
            <Fig label="Refused, asked again" source="spans, requests; since the start"
                value=value(|s| format!("{}, {}", count(s.ingest.rejected.values().sum()), count(s.ingest.refused_retryable)))/>
            <Fig label="Queue" source=with(|s| format!("{} of {} spans", count_full(s.ingest.queue_spans), count_full(s.ingest.queue_capacity)))
                value=value(|s| percent(s.ingest.queue_spans, s.ingest.queue_capacity).unwrap_or_else(|| "0%".to_owned()))/>
            <Fig label="Store" source=with(|s| match s.store.free_bytes {
                Some(free) => format!("{} free on its disk", bytes(free)),
                None => "free space not known".to_owned(),
            }) value=value(|s| bytes(s.store.bytes))/>
            <Fig label="Spans kept" source=with(|s| format!("for {}, at most {}", duration_ms(s.store.retention_ms), bytes(s.store.retention_bytes)))
                value=value(|s| count(s.store.spans))/>
        </div>
    }
}

/// The state of a cluster: icon, word.
fn cluster_state(cluster: &Cluster) -> impl IntoView + use<> {
    let (icon, colour, word) = match cluster.state.as_str() {
        "ok" => (Icon::Ok, "c-ok", "OK"),
        "connecting" => (Icon::Clock, "c-info", "Connecting"),
        "unreachable" => (Icon::Critical, "c-crit", "Unreachable"),
        _ => (Icon::Unknown, "c-unk", "Unknown"),
    };
    let class = if cluster.state == "ok" {
        "state quiet"
    } else {
        "state"
    };
    view! { <span class=class data-testid="cluster-state">{icon.draw(colour)}{word}</span> }
}

/// The clusters, each with its reason under it.
fn clusters(brokers: &Brokers) -> AnyView {
    let second = Second::get_context();
    if brokers.clusters.is_empty() {
        return view! {
            <div class="body fs12 t2">"None set. Start Highwater with "<span class="mono">"--kafka HOST:PORT"</span>", or write "<span class="mono">"[[kafka]]"</span>" into highwater.toml; it only reads."</div>
        }
        .into_any();
    }
    let why = |c: &Cluster| {
        c.reason
            .clone()
            .unwrap_or_else(|| "It has not been read yet".to_owned())
    };
    let rows = brokers.clusters.iter().map(|c| {
        let last = c.last_read;
        let since = c.since;
        let brokers_tip = c.brokers.join("\n");
        view! {
            <tr data-testid="cluster-row" data-cluster=c.name.clone()>
                <td><span class="row tight">{Icon::Cluster.draw("i-s t3")}<b class="med" title=c.cluster_id.clone().map(|id| format!("cluster id {id}")).unwrap_or_default()>{c.name.clone()}</b></span></td>
                <td class="t2">{c.system.clone()}</td>
                <td class="t2">{c.environment.clone()}</td>
                <td class="t2 mono cut" title=c.bootstrap.join("\n")>{c.bootstrap.join(", ")}</td>
                <td class="r" title=brokers_tip>{known((!c.brokers.is_empty()).then(|| c.brokers.len().to_string()), &why(c))}</td>
                <td class="r">{known(c.topics.map(count_full), &why(c))}</td>
                <td class="r">{known(c.partitions.map(count_full), &why(c))}</td>
                <td class="r">{known(c.groups.map(count_full), &why(c))}</td>
                <td>{cluster_state(c)}<span class="t3">{move || format!(" for {}", age_text(second.now().0.saturating_sub(since.0)))}</span></td>
                <td class="r t2">{move || last.map_or_else(|| "never".to_owned(), |at| ago(at, second.now()))}</td>
                <td class="r t2">{known(c.last_poll_ns.map(duration_ns), &why(c))}</td>
            </tr>
        }
    }).collect_view();
    let notes = brokers
        .clusters
        .iter()
        .filter_map(|c| {
            let reason = c.reason.clone()?;
            Some(view! {
                <div class="note warn brokernote">{Icon::Warning.draw("")}<div class="anywhere"><b>{c.name.clone()}</b>": "{reason}" Ingest goes on meanwhile."</div></div>
            })
        })
        .collect_view();
    view! {
        <div class="tblwrap"><table class="tbl rows33" aria-label="Clusters">
            <thead><tr><th>"Cluster"</th><th>"Kind"</th><th>"Environment"</th><th>"Bootstrap"</th><th class="r">"Brokers"</th><th class="r">"Topics"</th><th class="r">"Partitions"</th><th class="r">"Groups"</th><th>"State"</th><th class="r">"Last read"</th><th class="r">"A poll takes"</th></tr></thead>
            <tbody>{rows}</tbody>
        </table></div>
        {notes}
    }
    .into_any()
}

/// A list of names and values; a value at zero is quiet.
fn facts(rows: Vec<(&'static str, String, &'static str)>) -> impl IntoView {
    view! {
        <dl class="kv facts2">
            {rows.into_iter().map(|(name, value, tip)| view! { <dt title=tip>{name}</dt><dd class="num" title=tip>{value}</dd> }).collect_view()}
        </dl>
    }
}

/// Ingest: what came, what was refused and why.
#[component]
fn Ingest(
    /// The status.
    status: Signal<Arc<Status>>,
) -> impl IntoView {
    let rejected = Memo::new(move |_| status.with(|s| s.ingest.rejected.clone()));
    view! {
        <Card title="Ingest" sub="since the start">
            <div class="body">
                {move || status.with(|s| {
                    let i = &s.ingest;
                    facts(vec![
                        ("Requests", count_full(i.requests), "OTLP export requests, gRPC and HTTP"),
                        ("Spans received", count_full(i.spans_received), "Spans in them"),
                        ("Spans committed", count_full(i.spans_committed), "A resend counts once"),
                        ("Resends recognised", count_full(i.duplicates), "Stored once"),
                        ("Asked to try again", count_full(i.refused_retryable), "Requests answered as retryable: nothing of them is lost"),
                        ("Not aggregated", count_full(i.not_aggregated), "Stored, but too far ahead or too old to count on the map"),
                        ("Metric points refused", count_full(i.metrics_rejected), "Highwater takes spans only"),
                        ("Log records refused", count_full(i.logs_rejected), "Highwater takes spans only"),
                    ])
                })}
                <h3 class="h3 subhead">"Spans refused, by reason"</h3>
                {move || if rejected.with(|r| r.is_empty()) {
                    view! { <p class="fs12 t2">"None."</p> }.into_any()
                } else {
                    view! { <dl class="kv facts2">{rejected.get().into_iter().map(|(reason, n)| view! { <dt class="anywhere wrap">{reason}</dt><dd class="num c-warn">{count_full(n)}</dd> }).collect_view()}</dl> }.into_any()
                }}
            </div>
        </Card>
    }
}

/// The store.
#[component]
fn StoreCard(
    /// The status.
    status: Signal<Arc<Status>>,
) -> impl IntoView {
    let share = Memo::new(move |_| {
        status.with(|s| s.store.bytes as f64 / s.store.retention_bytes.max(1) as f64 * 100.0)
    });
    view! {
        <Card title="Store" sub="spans, by arrival">
            <div class="body">
                {move || status.with(|s| {
                    let st = &s.store;
                    let each = st.bytes.checked_div(st.spans).map_or_else(|| "none".to_owned(), bytes);
                    facts(vec![
                        ("Size", format!("{} of {}", bytes(st.bytes), bytes(st.retention_bytes)), "Of what may be kept"),
                        ("Bytes a span", each, "All files divided by the spans kept"),
                        ("Partition files", count_full(st.partitions), "The oldest is unlinked whole when its time has come"),
                        ("Oldest", st.oldest.map_or_else(|| "none".to_owned(), |at| clock(at, now())), "Oldest arrival kept"),
                        ("Newest", st.newest.map_or_else(|| "none".to_owned(), |at| clock(at, now())), "Newest arrival"),
                        ("Kept for", duration_ms(st.retention_ms), "[store] retention"),
                        ("Grows by", st.forecast.as_ref().map_or_else(|| crate::format::UNKNOWN.to_owned(), |f| format!("{} a day", bytes(f.bytes_per_day))), "Spans of the last day, or since the first; unknown in the first ten minutes"),
                        ("Full", st.forecast.as_ref().map_or_else(|| crate::format::UNKNOWN.to_owned(), |f| full_at(f, now())), "When the oldest spans begin to go, if as many come every day"),
                        ("Free on its disk", st.free_bytes.map_or_else(|| crate::format::UNKNOWN.to_owned(), bytes), ""),
                    ])
                })}
                <div class="meter storemeter" role="img" aria-label=move || format!("{:.0}% of the size it may have", share.get())><i style:width=move || format!("{:.1}%", share.get().min(100.0))></i></div>
                <p class="mono fs11 t3 anywhere">{move || status.with(|s| s.store.path.clone())}</p>
            </div>
        </Card>
    }
}

/// When the oldest spans begin to go, and why.
fn full_at(forecast: &Forecast, now: Instant) -> String {
    let limit = match forecast.limit.as_str() {
        "age" => "the time they are kept",
        "size" => "the size they may have",
        _ => "what must stay free of the disk",
    };
    let left = forecast.at.0.saturating_sub(now.0);
    if left == 0 {
        return format!("now: {limit} is reached");
    }
    format!("in {}: {limit}", age_text(left))
}

/// The collector: version, listeners, flow.
#[component]
fn Collector(
    /// The status.
    status: Signal<Arc<Status>>,
) -> impl IntoView {
    let second = Second::get_context();
    let address = move |name: &'static str, part: fn(&Status) -> &String| {
        let text = Signal::derive(move || status.with(|s| part(s).clone()));
        view! { <dt>{name}</dt><dd class="mono row tight">{text}<CopyButton text=text what="address"/></dd> }
    };
    view! {
        <Card title="This collector">
            <div class="body">
                <dl class="kv collkv">
                    <dt>"Highwater"</dt><dd>{move || status.with(|s| s.version.clone())}</dd>
                    <dt>"Started"</dt><dd class="num">{move || {
                        let now = second.now();
                        status.with(|s| format!("{}, up {}", clock(s.started_at, now), age_text(now.0.saturating_sub(s.started_at.0))))
                    }}</dd>
                    {address("Dashboard, API", |s| &s.listeners.dashboard)}
                    {address("OTLP over gRPC", |s| &s.listeners.otlp_grpc)}
                    {address("OTLP over HTTP", |s| &s.listeners.otlp_http)}
                    <dt>"Environments"</dt><dd>{move || status.with(|s| if s.environments.is_empty() { "none seen".to_owned() } else { s.environments.join(", ") })}</dd>
                    <dt>"Map"</dt><dd class="num">{move || status.with(|s| format!("{} nodes, {} edges", count_full(s.flow.nodes), count_full(s.flow.edges)))}</dd>
                    <dt title="Spans kept, so that later ones can be stitched to them">"Kept for stitching"</dt><dd class="num">{move || status.with(|s| count_full(s.flow.pending))}</dd>
                </dl>
                <p class="fs12 t3 colllinks">
                    <a href="/metrics" target="_blank" rel="noreferrer">"Metrics"</a>" · "<a href="/api/openapi.json" target="_blank" rel="noreferrer">"API description"</a>
                </p>
            </div>
        </Card>
    }
}

/// The services seen.
#[component]
fn Services(
    /// The status.
    status: Signal<Arc<Status>>,
    /// The address.
    query: Query,
) -> impl IntoView {
    let second = Second::get_context();
    let rows = Signal::derive(move || status.with(|s| s.services.clone()));
    let columns = vec![
        Column::new("service", "Service", move |s: &ServiceStatus| {
            let id = if s.namespace.is_empty() {
                format!("service:{}", s.name)
            } else {
                format!("service:{}/{}", s.namespace, s.name)
            };
            entity(Kind::Service, &s.name, map_href(query, &id))
        })
        .sort(|s| SortKey::Text(s.name.clone()))
        .csv("service", |s| s.name.clone()),
        Column::new("namespace", "Namespace", |s: &ServiceStatus| {
            s.namespace.clone()
        })
        .class("t2")
        .sort(|s| SortKey::Text(s.namespace.clone()))
        .csv("namespace", |s| s.namespace.clone()),
        Column::new("environment", "Environment", |s: &ServiceStatus| {
            s.environment.clone()
        })
        .class("t2")
        .sort(|s| SortKey::Text(s.environment.clone()))
        .csv("environment", |s| s.environment.clone()),
        Column::new("spans", "Spans", |s: &ServiceStatus| count_full(s.spans))
            .right()
            .tip("Since the store's begin or the process's start, whichever is later")
            .sort(|s| SortKey::Number(s.spans as f64))
            .csv("spans", |s| s.spans.to_string()),
        Column::new("seen", "Last span", move |s: &ServiceStatus| {
            let at = s.last_seen;
            move || ago(at, second.now())
        })
        .right()
        .class("t2")
        .sort(|s| SortKey::Number(s.last_seen.0 as f64))
        .csv("last_span", |s| s.last_seen.to_string()),
    ];
    view! {
        <Table name="services" rows=rows id=|s: &ServiceStatus| format!("{}/{}/{}", s.environment, s.namespace, s.name) columns=columns
            text=|s: &ServiceStatus| format!("{} {} {}", s.name, s.namespace, s.environment) class="rows29" in_url=true
            empty=ViewFn::from(|| view! { <div class="body fs12 t2">"None yet: no span has arrived since the start."</div> })/>
    }
}

#[cfg(test)]
mod tests {
    use highwater_shared::Instant;
    use highwater_shared::status::{FlowStatus, Ingest as IngestStatus, Listeners, Store};

    use super::*;

    fn status() -> Status {
        Status {
            version: "0".to_owned(),
            started_at: Instant(0),
            now: Instant(0),
            first_run: false,
            listeners: Listeners {
                dashboard: String::new(),
                otlp_grpc: String::new(),
                otlp_http: String::new(),
            },
            ingest: IngestStatus::default(),
            store: Store::default(),
            flow: FlowStatus::default(),
            environments: Vec::new(),
            clusters: vec!["kafka".to_owned()],
            services: Vec::new(),
            poll_interval_ms: 15_000,
        }
    }

    #[test]
    fn what_is_lost_is_said_before_what_is_late() {
        let mut s = status();
        assert!(troubles(&s, None).is_empty());
        s.ingest.rejected.insert("no trace id".to_owned(), 3);
        s.ingest.queue_capacity = 10;
        s.ingest.queue_spans = 9;
        s.ingest.write_error = Some("the disk is full".to_owned());
        let found = troubles(&s, None);
        assert_eq!(found.len(), 3);
        assert!(found[0].1.contains("disk is full"), "{found:?}");
        assert!(found[1].1.contains("3 spans were refused"), "{found:?}");
    }
}
