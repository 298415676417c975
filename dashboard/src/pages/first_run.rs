//! What do I do first? Changes by itself when the first span comes.

use highwater_shared::status::{Listeners, Status};
use leptos::prelude::*;

use crate::app::CollectorStatus;
use crate::components::icons::Icon;
use crate::components::page::Page;
use crate::components::snippet::Snippet;
use crate::format::{clock, count_full, plural};
use crate::state::clock::now;
use crate::state::query::Query;

/// A language or tool that sends spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    /// Nothing but environment variables: any SDK.
    Any,
    Java,
    Python,
    Node,
    Go,
    Collector,
}

impl Sender {
    const ALL: [Self; 6] = [
        Self::Any,
        Self::Java,
        Self::Python,
        Self::Node,
        Self::Go,
        Self::Collector,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Any => "Any SDK",
            Self::Java => "Java",
            Self::Python => "Python",
            Self::Node => "Node",
            Self::Go => "Go",
            Self::Collector => "OTel Collector",
        }
    }
}

/// Returns an address without its scheme, and with a host that can be connected to: `0.0.0.0` listens, it is no place to go.
fn reachable(address: &str, page_host: &str) -> String {
    let bare = address
        .trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/');
    for any in ["0.0.0.0:", "[::]:"] {
        if let Some(port) = bare.strip_prefix(any) {
            let host = if page_host.is_empty() {
                "127.0.0.1"
            } else {
                page_host
            };
            return format!("{host}:{port}");
        }
    }
    bare.to_owned()
}

/// Returns what to copy for a sender. A line that begins with `#` or `//` is drawn as a comment.
fn snippet(sender: Sender, grpc: &str, http: &str) -> String {
    match sender {
        Sender::Any => format!(
            "# before any service that has an OpenTelemetry SDK or agent\n\
             export OTEL_SERVICE_NAME=billing\n\
             export OTEL_TRACES_EXPORTER=otlp\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n\
             export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n\
             # or over gRPC\n\
             # export OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc}\n\
             # export OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        ),
        Sender::Java => format!(
            "# any JVM, no code change; links and receive spans make asynchronous hops exact\n\
             export OTEL_SERVICE_NAME=billing\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n\
             export OTEL_INSTRUMENTATION_MESSAGING_EXPERIMENTAL_RECEIVE_TELEMETRY_ENABLED=true\n\
             export OTEL_INSTRUMENTATION_KAFKA_EXPERIMENTAL_SPAN_ATTRIBUTES=true\n\
             java -javaagent:opentelemetry-javaagent.jar -jar billing.jar"
        ),
        Sender::Python => format!(
            "pip install opentelemetry-distro opentelemetry-exporter-otlp\n\
             # finds aiokafka, confluent-kafka, kafka-python\n\
             opentelemetry-bootstrap -a install\n\
             \n\
             export OTEL_SERVICE_NAME=fraud\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT=http://{grpc}\n\
             opentelemetry-instrument python -m fraud"
        ),
        Sender::Node => format!(
            "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node\n\
             \n\
             export OTEL_SERVICE_NAME=storefront\n\
             export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n\
             export NODE_OPTIONS=\"--require @opentelemetry/auto-instrumentations-node/register\"\n\
             node server.js"
        ),
        Sender::Go => format!(
            "exp, err := otlptracegrpc.New(ctx,\n\
             \x20   otlptracegrpc.WithEndpoint(\"{grpc}\"), otlptracegrpc.WithInsecure())\n\
             tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(res))\n\
             otel.SetTracerProvider(tp)\n\
             \n\
             // franz-go\n\
             k := kotel.NewKotel(kotel.WithTracer(kotel.NewTracer()))\n\
             cl, err := kgo.NewClient(kgo.WithHooks(k.Hooks()...))"
        ),
        Sender::Collector => format!(
            "exporters:\n\
             \x20 otlp/highwater:\n\
             \x20   endpoint: {grpc}\n\
             \x20   tls: {{ insecure: true }}\n\
             service:\n\
             \x20 pipelines:\n\
             \x20   # beside the exporters you have\n\
             \x20   traces: {{ exporters: [otlp/highwater] }}"
        ),
    }
}

/// What makes the brokers known: the flag, and the same in the file.
const KAFKA_FLAG: &str = "highwater --kafka localhost:9092";
const KAFKA_FILE: &str = "# highwater.toml; it only reads: Describe on topics, groups and the cluster\n[[kafka]]\nname = \"kafka-eu-1\"\nbootstrap = [\"kafka-1:9092\", \"kafka-2:9092\"]";

/// The page.
#[component]
pub(crate) fn FirstRun() -> impl IntoView {
    let query = Query::get_context();
    let status = expect_context::<CollectorStatus>();
    let sender = RwSignal::new(Sender::Any);
    let host = window().location().hostname().unwrap_or_default();
    let at = move |part: fn(&Listeners) -> &String| {
        let host = host.clone();
        Memo::new(move |_| {
            status
                .with(|s| reachable(part(&s.listeners), &host))
                .unwrap_or_default()
        })
    };
    let grpc = at.clone()(|l| &l.otlp_grpc);
    let http = at(|l| &l.otlp_http);
    let text = Signal::derive(move || snippet(sender.get(), &grpc.get(), &http.get()));
    let spans = Memo::new(move |_| status.with(|s| s.ingest.spans_received).unwrap_or(0));
    let has_brokers = Memo::new(move |_| status.with(|s| !s.clusters.is_empty()).unwrap_or(false));
    let done = |yes: bool| if yes { "stp done" } else { "stp" };
    view! {
        <Page title="First steps">
            <div class="first">
                <div class="firsthead">
                    <div>
                        <h2>{move || if spans.get() > 0 { "The first spans have arrived" } else { "Nothing has flowed in yet" }}</h2>
                        <p class="t2 fs14">"Send spans from one producer and one consumer of the same topic, and the first flow appears here by itself. Add a broker, and lag and dead letters appear too, even for services that send no spans."</p>
                    </div>
                    {picture()}
                </div>
                <div class="firstgrid">
                    <div>
                        <section class=move || done(spans.get() > 0)>
                            <span class="no">{move || if spans.get() > 0 { Icon::Tick.draw("i-s").into_any() } else { "1".into_any() }}</span>
                            <div class="card">
                                <div class="sum"><b>"Point an SDK at this collector"</b><span class="t2">"OpenTelemetry, any version, gRPC or HTTP"</span></div>
                                <div class="stepbody">
                                    <div class="row sendrow">
                                        <div class="seg" role="group" aria-label="Sender">
                                            {Sender::ALL.map(|this| view! {
                                                <button aria-pressed=move || (sender.get() == this).to_string() on:click=move |_| sender.set(this)>{this.title()}</button>
                                            })}
                                        </div>
                                        <span class="right fs12 t3 nowrap">"gRPC "<span class="mono addr">{grpc}</span>"\u{a0} HTTP "<span class="mono addr">{http}</span></span>
                                    </div>
                                    <Snippet text=text what="snippet"/>
                                </div>
                            </div>
                        </section>
                        <section class=move || done(has_brokers.get())>
                            <span class="no">{move || if has_brokers.get() { Icon::Tick.draw("i-s").into_any() } else { "2".into_any() }}</span>
                            <div class="card">
                                <div class="sum"><b>"Name a Kafka cluster"</b><span class="t2">"for lag and dead letters; it only reads"</span></div>
                                <div class="stepbody col">
                                    {move || if has_brokers.get() {
                                        view! { <p class="fs12 t2">{move || status.with(|s| format!("Set: {}.", s.clusters.join(", ")))}" "<a href=move || query.link("/settings/health", &[])>"Is it read?"</a></p> }.into_any()
                                    } else {
                                        view! { <Snippet text=Signal::stored(KAFKA_FLAG.to_owned()) what="command"/><Snippet text=Signal::stored(KAFKA_FILE.to_owned()) what="configuration"/> }.into_any()
                                    }}
                                </div>
                            </div>
                        </section>
                        <section class="stp">
                            <span class="no">"3"</span>
                            <div class="card"><div class="sum"><b>"Open the flow map"</b><span class="t2">"once both sides of a topic have been seen"</span>
                                {move || (spans.get() > 0).then(|| view! { <a class="btn primary right" href=move || query.link("/map", &[])>"Open the flow map"</a> })}
                            </div></div>
                        </section>
                    </div>
                    <aside class="col firstside">
                        {waiting(status, grpc, http)}
                        <section class="card"><header><h2>"Try it without a system of your own"</h2></header><div class="body">
                            <p class="fs12 t2 try">"Plays a small shop on a real Kafka, with a slow consumer and a dead-letter topic. From a clone of the repository:"</p>
                            <Snippet text=Signal::stored("cargo xtask demo".to_owned()) what="command"/>
                        </div></section>
                        <section class="card"><header><h2>"It does not arrive?"</h2></header><ul class="body col fs12 t2 helplist">
                            <li>"Can the service reach the port? A container does not reach this machine's 127.0.0.1: start with "<span class="mono">"--otlp-http 0.0.0.0:4318"</span>"."</li>
                            <li>"Does its sampler drop everything?"</li>
                            <li><a href=move || query.link("/settings/health", &[])>"What was refused, and why"</a></li>
                        </ul></section>
                    </aside>
                </div>
            </div>
        </Page>
    }
}

/// What has come so far.
fn waiting(status: CollectorStatus, grpc: Memo<String>, http: Memo<String>) -> impl IntoView {
    let with = move |part: fn(&Status) -> String| move || status.with(part).unwrap_or_default();
    let listening = || view! { <dd class="row tight">{Icon::Ok.draw("i-s c-ok")}"listening"</dd> };
    view! {
        <section class="card"><header><h2>"Waiting for data"</h2><span class="dots right" aria-hidden="true"><i></i><i></i><i></i></span></header>
            <div class="body" aria-live="polite"><dl class="kv waitkv">
                <dt>"Spans"</dt><dd class="num">{with(|s| format!("{} since {}", count_full(s.ingest.spans_received), clock(s.started_at, now())))}</dd>
                <dt class="mono">{move || format!("gRPC :{}", port(&grpc.get()))}</dt>{listening()}
                <dt class="mono">{move || format!("HTTP :{}", port(&http.get()))}</dt>{listening()}
                <dt>"Refused"</dt><dd class="num">{with(|s| count_full(s.ingest.rejected.values().sum()))}</dd>
                <dt>"Clusters"</dt><dd>{with(|s| if s.clusters.is_empty() { "none set".to_owned() } else { plural(s.clusters.len() as u64, "set", "set") })}</dd>
            </dl></div>
        </section>
    }
}

/// Returns the port of an address.
fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(_, port)| port)
}

/// The flow to come, in dashes.
fn picture() -> impl IntoView {
    view! {
        <svg class="firstpic" viewBox="0 0 420 128" width="100%" aria-hidden="true">
            <g class="ghost">
                <rect x="6" y="46" width="82" height="36" rx="6"></rect>
                <path d="M140 46H218A6 18 0 0 1 218 82H140A6 18 0 0 1 140 46M218 46A6 18 0 0 0 218 82"></path>
                <rect x="276" y="14" width="138" height="36" rx="4"></rect>
                <rect x="276" y="78" width="138" height="36" rx="4"></rect>
                <path d="M88 64H130M224 60C250 60 246 32 272 32M224 68C250 68 246 96 272 96"></path>
            </g>
            <g class="words"><text x="24" y="68">"producer"</text><text x="158" y="68">"topic"</text><text x="306" y="36">"group, service"</text><text x="306" y="100">"group, service"</text></g>
            <g>
                <rect class="tube" x="285" y="20" width="7" height="24" rx="2"></rect><rect class="lvl" x="285" y="38" width="7" height="6" rx="2"></rect><path class="mk" d="M282 27h13"></path>
                <rect class="tube" x="285" y="84" width="7" height="24" rx="2"></rect><rect class="lvl" x="285" y="104" width="7" height="4" rx="2"></rect><path class="mk" d="M282 91h13"></path>
            </g>
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_hold_the_real_addresses() {
        for sender in Sender::ALL {
            let text = snippet(sender, "10.0.0.5:14317", "10.0.0.5:14318");
            assert!(text.contains("10.0.0.5:1431"), "{sender:?}: {text}");
        }
        assert!(
            snippet(Sender::Any, "g:1", "h:2").contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://h:2\n")
        );
    }

    #[test]
    fn an_address_for_all_interfaces_becomes_the_pages_host() {
        assert_eq!(reachable("0.0.0.0:4318", "hw.example"), "hw.example:4318");
        assert_eq!(reachable("http://[::]:4317", ""), "127.0.0.1:4317");
        assert_eq!(
            reachable("http://127.0.0.1:4318/", "hw.example"),
            "127.0.0.1:4318"
        );
        assert_eq!(port("[::1]:4317"), "4317");
    }
}
