//! Can I trust what I see?

use std::sync::Arc;

use highwater_shared::Instant;
use highwater_shared::status::{
    Brokers, Cluster, Damage, Forecast, Ingest as IngestStatus, ServiceStatus, Status, Store,
};
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
/// Share of what requests in flight may hold from which it is worth a look.
const IN_FLIGHT_FULL_FROM: f64 = 0.8;
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
    if let Some(damaged) = damaged(&status.store) {
        found.push((
            Tone::Critical,
            format!("{damaged}; what can be done stands below."),
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
    let refused: u64 = refusals(ingest).iter().map(|refusal| refusal.1).sum();
    if refused > 0 {
        found.push((
            Tone::Warning,
            format!(
                "{} turned away since the start; the reasons stand below.",
                plural(
                    refused,
                    "request or connection was",
                    "requests or connections were"
                )
            ),
        ));
    }
    if ingest.in_flight_limit_bytes > 0
        && ingest.in_flight_bytes as f64 > IN_FLIGHT_FULL_FROM * ingest.in_flight_limit_bytes as f64
    {
        found.push((
            Tone::Warning,
            format!(
                "Requests in flight hold {} of the {} they may: senders are about to be asked to try again.",
                bytes(ingest.in_flight_bytes),
                bytes(ingest.in_flight_limit_bytes)
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
    if let Some(coarser) = &status.flow.coarser {
        found.push((Tone::Warning, coarser.clone()));
    }
    found.sort_by_key(|t| t.0);
    found
}

/// How many of what were refused for good, and why; what was asked to come again is no loss and stands elsewhere.
fn refusals(ingest: &IngestStatus) -> [(&'static str, u64, &'static str); 5] {
    [
        (
            "Could not be read",
            ingest.refused_bad,
            "Requests that are no OTLP, or broken",
        ),
        (
            "Larger than the limit",
            ingest.refused_too_large,
            "Requests above [receiver] max_request",
        ),
        (
            "Did not arrive in time",
            ingest.refused_too_slow,
            "Requests whose body stood still for 30\u{a0}s, or took more than 2\u{a0}m",
        ),
        (
            "Without the token",
            ingest.refused_unauthenticated,
            "Requests without the --auth-token, or with a wrong one",
        ),
        (
            "Connections turned away",
            ingest.refused_connections,
            "More were open than [receiver] max_connections",
        ),
    ]
}

/// Says what of the store cannot be read, without a full stop.
fn damaged(store: &Store) -> Option<String> {
    let files = |n: u64| plural(n, "span file", "span files");
    match (store.damaged_blocks, store.damaged_files) {
        (_, 0) => None,
        (0, n) => Some(format!("Something of {} cannot be read", files(n))),
        (blocks, n) => Some(format!(
            "{} of {} cannot be read",
            plural(blocks, "block", "blocks"),
            files(n)
        )),
    }
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
                value=value(|s| match (s.ingest.rejected.values().sum(), s.ingest.refused_retryable) {
                    (0, 0) => "none".to_owned(),
                    (refused, again) => format!("{}, {}", count(refused), count(again)),
                })/>
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
        let brokers_tip = c.brokers.as_ref().map(|b| b.join("\n"));
        view! {
            <tr data-testid="cluster-row" data-cluster=c.name.clone()>
                <td><span class="row tight">{Icon::Cluster.draw("i-s t3")}<b class="med" title=c.cluster_id.clone().map(|id| format!("cluster id {id}")).unwrap_or_default()>{c.name.clone()}</b></span></td>
                <td class="t2">{c.system.clone()}</td>
                <td class="t2">{c.environment.clone()}</td>
                <td class="t2 mono cut" title=c.bootstrap.join("\n")>{c.bootstrap.join(", ")}</td>
                <td class="r" title=brokers_tip>{known(c.brokers.as_ref().map(|b| b.len().to_string()), &why(c))}</td>
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

/// A name, its value and its tip.
type Fact = (&'static str, AnyView, &'static str);

fn fact(name: &'static str, value: impl IntoView + 'static, tip: &'static str) -> Fact {
    (name, value.into_any(), tip)
}

/// A list of names and values.
fn facts(rows: impl IntoIterator<Item = Fact>) -> impl IntoView {
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
    view! {
        <Card title="Ingest" sub="since the start">
            <div class="body">
                {move || status.with(|s| arrived(&s.ingest))}
                <h3 class="h3 subhead">"Refused"</h3>
                {move || status.with(|s| refused(&s.ingest))}
            </div>
        </Card>
    }
}

/// What came.
fn arrived(i: &IngestStatus) -> AnyView {
    let in_flight = fact(
        "In flight",
        format!(
            "{} of {}",
            bytes(i.in_flight_bytes),
            bytes(i.in_flight_limit_bytes)
        ),
        "Bytes of requests between arrival and commit, now; beyond [receiver] max_in_flight senders are asked to try again",
    );
    if i.requests == 0 {
        return view! {
            <p class="fs12 t2">"Nothing has arrived since the start."</p>
            {facts([in_flight])}
        }
        .into_any();
    }
    let mut rows = vec![
        fact(
            "Requests",
            count_full(i.requests),
            "OTLP export requests, gRPC and HTTP",
        ),
        fact(
            "Spans received",
            count_full(i.spans_received),
            "Spans in them",
        ),
        fact(
            "Spans committed",
            count_full(i.spans_committed),
            "A resend counts once",
        ),
    ];
    let seldom = [
        ("Resends recognised", i.duplicates, "Stored once"),
        (
            "Asked to try again",
            i.refused_retryable,
            "Requests answered as retryable: nothing of them is lost",
        ),
        (
            "Not on the map",
            i.not_aggregated,
            "Spans that are stored, but too far ahead or too old to count on the map",
        ),
    ];
    rows.extend(told(seldom));
    rows.push(in_flight);
    facts(rows).into_any()
}

/// Counts that are worth a line.
fn told(
    counts: impl IntoIterator<Item = (&'static str, u64, &'static str)>,
) -> impl Iterator<Item = Fact> {
    counts
        .into_iter()
        .filter(|(_, n, _)| *n > 0)
        .map(|(name, n, tip)| fact(name, count_full(n), tip))
}

/// What was refused, by reason.
fn refused(i: &IngestStatus) -> AnyView {
    let others = [
        (
            "Metric points",
            i.metrics_rejected,
            "Highwater takes spans only",
        ),
        ("Log records", i.logs_rejected, "Highwater takes spans only"),
    ];
    let all: Vec<Fact> = told(refusals(i).into_iter().chain(others)).collect();
    if all.is_empty() && i.rejected.is_empty() {
        return view! { <p class="fs12 t2">"Nothing: no span, no request, no connection."</p> }
            .into_any();
    }
    let spans = i.rejected.iter().map(|(reason, n)| {
        let (reason, n) = (reason.clone(), count_full(*n));
        view! { <dt class="anywhere wrap">"Spans: "{reason}</dt><dd class="num c-warn">{n}</dd> }
    });
    view! {
        {(!i.rejected.is_empty()).then(|| view! { <dl class="kv facts2">{spans.collect_view()}</dl> })}
        {(!all.is_empty()).then(|| facts(all))}
    }
    .into_any()
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
                {move || status.with(|s| kept(&s.store))}
                <div class="meter storemeter" role="img" aria-label=move || format!("{:.0}% of the size it may have", share.get())><i style:width=move || format!("{:.1}%", share.get().min(100.0))></i></div>
                <p class="mono fs11 t3 anywhere">{move || status.with(|s| s.store.path.clone())}</p>
                {move || status.with(|s| damage(&s.store))}
            </div>
        </Card>
    }
}

/// What the store holds.
fn kept(st: &Store) -> impl IntoView + use<> {
    let none = || "none".to_owned();
    let at = |at: Option<Instant>| at.map_or_else(none, |at| clock(at, now()));
    // Beside the mark of what is not known: a reason in a tip alone is not read on a phone.
    let foretold = |said: Option<String>| match said {
        Some(said) => said.into_any(),
        None => {
            let why = no_forecast(st, now());
            view! { <span class="t3">{why}" "</span>{known(None, why)} }.into_any()
        }
    };
    let forecast = st.forecast.as_ref();
    facts([
        fact(
            "Size",
            format!("{} of {}", bytes(st.bytes), bytes(st.retention_bytes)),
            "Of what may be kept",
        ),
        fact(
            "Bytes a span",
            st.bytes.checked_div(st.spans).map_or_else(none, bytes),
            "All files divided by the spans kept",
        ),
        fact(
            "Partition files",
            count_full(st.partitions),
            "The oldest is unlinked whole when its time has come",
        ),
        fact("Oldest", at(st.oldest), "Oldest arrival kept"),
        fact("Newest", at(st.newest), "Newest arrival"),
        fact(
            "Kept for",
            duration_ms(st.retention_ms),
            "[store] retention",
        ),
        fact(
            "Grows by",
            foretold(forecast.map(|f| format!("{} a day", bytes(f.bytes_per_day)))),
            "Spans of the last day, or since the first",
        ),
        fact(
            "Full",
            foretold(forecast.map(|f| full_at(f, now()))),
            "When the oldest spans begin to go, if as many come every day",
        ),
        fact(
            "Free on its disk",
            known(st.free_bytes.map(bytes), "The file system does not say"),
            "",
        ),
    ])
}

/// Arrivals over this time, in nanoseconds, tell how the store grows.
const FORECAST_FROM_NS: u64 = 600_000_000_000;

/// Why nothing is foretold.
fn no_forecast(store: &Store, now: Instant) -> &'static str {
    match store.oldest {
        None => "no spans yet",
        Some(oldest) if now.0.saturating_sub(oldest.0) < FORECAST_FROM_NS => {
            "told after 10\u{a0}m of spans"
        }
        Some(_) => "no span came for a day",
    }
}

/// What is damaged, what that costs, and what to do.
fn damage(store: &Store) -> AnyView {
    let Some(said) = damaged(store) else {
        return view! { <p class="fs11 t3" data-testid="no-damage">"No damage was met since the start."</p> }.into_any();
    };
    let more = store
        .damaged_files
        .saturating_sub(store.damage.len() as u64);
    let files = store.damage.iter().map(|of: &Damage| {
        let lost = match of.blocks {
            Some(n) => format!("without the spans of {}", plural(n, "block", "blocks")),
            None => "it is not known how many spans are missing".to_owned(),
        };
        view! { <li class="anywhere"><span class="mono">{of.file.clone()}</span>": "{lost}" ("{of.found.join("; ")}")"</li> }
    }).collect_view();
    view! {
        <div class="note crit damagenote" data-testid="damage">{Icon::Critical.draw("")}
            <div>
                <b>{said}". "</b>"What was in there is missing from every answer; all other spans are kept and found."
                <ul>{files}{(more > 0).then(|| view! { <li>{format!("and {}", plural(more, "more file", "more files"))}</li> })}</ul>
                "Look at the disk, then run "<span class="mono nowrap">"highwater store check"</span>": it reads every file and names each damaged block. Retention removes a damaged file when its time has come."
            </div>
        </div>
    }
    .into_any()
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
                    <dt title="Of the map, in memory; beyond its limit the past becomes coarser">"History"</dt><dd class="num" title=move || status.with(|s| s.flow.coarser.clone().unwrap_or_default())>{move || status.with(|s| format!(
                        "{} of {}{}",
                        bytes(s.flow.history_bytes),
                        bytes(s.flow.history_limit_bytes),
                        if s.flow.coarser.is_some() { ", made coarser" } else { "" }
                    ))}</dd>
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
    use highwater_shared::status::{FlowStatus, Listeners};

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

    #[test]
    fn damage_and_refusals_are_said_in_words() {
        let mut s = status();
        assert_eq!(damaged(&s.store), None);
        s.store.damaged_files = 1;
        assert_eq!(
            damaged(&s.store).as_deref(),
            Some("Something of 1 span file cannot be read")
        );
        s.store.damaged_blocks = 3;
        s.ingest.refused_too_slow = 2;
        s.flow.coarser = Some("To stay within 80\u{a0}MiB, the map keeps less.".to_owned());
        let found = troubles(&s, None);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].0, Tone::Critical);
        assert!(found[0].1.contains("3 blocks of 1 span file"), "{found:?}");
        assert!(
            found[1].1.contains("2 requests or connections were"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_not_foretold_says_why() {
        let mut store = Store::default();
        assert_eq!(no_forecast(&store, Instant(1)), "no spans yet");
        store.oldest = Some(Instant(1));
        assert!(no_forecast(&store, Instant(1)).contains("10\u{a0}m"));
        assert!(no_forecast(&store, Instant(86_400_000_000_000)).contains("a day"));
    }
}
