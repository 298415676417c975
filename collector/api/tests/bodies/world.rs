//! A collector at a fixed instant: the rooms as the binary builds them, a real capture received over HTTP, and polls made
//! by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use highwater_alerting::{Desk, Options as DeskOptions};
use highwater_alerts::{Facts, GroupFacts, QueueFacts};
use highwater_api::{
    About, Access, ApiState, Clusters, Events, Marks, Rooms, Services, Sparks, topic,
};
use highwater_deadletters::DeadLetters;
use highwater_flow::{ClusterConfig, Flow};
use highwater_lag::{LagEngine, TimeLag};
use highwater_model::{Batch, Span, UnixNanos};
use highwater_notifiers::{Channel, ChannelSettings};
use highwater_pipeline::{Commit, CommitError, Committed, Stats};
use highwater_receivers::{Counters, ReceiverContext, serve_http};
use highwater_shared::status::Listeners;
use highwater_store::{Options, SpanWriter, Store};
use http_body_util::BodyExt;
use parking_lot::RwLock;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::facts;
use crate::records::Memory;

/// What the clock says: half a minute after the capture's last span.
pub(crate) const NOW: UnixNanos = UnixNanos(1_795_226_880_000_000_000);
/// The capture: Spring Kafka with retries and dead letters, traced by Micrometer.
const CAPTURE: &str = "spring-micrometer";
/// Asked for where a token is.
pub(crate) const TOKEN: &str = "s3cret";
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two spans by JSON, one of them without an id, and a service of another environment.
const BY_JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
  {"key":"service.name","value":{"stringValue":"billing"}},
  {"key":"service.namespace","value":{"stringValue":"shop"}},
  {"key":"deployment.environment.name","value":{"stringValue":"staging"}}]},
  "scopeSpans":[{"spans":[
  {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /invoices","kind":2,
   "startTimeUnixNano":"1795226870000000000","endTimeUnixNano":"1795226870250000000"},
  {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"","name":"lost","kind":1,
   "startTimeUnixNano":"1795226870000000000","endTimeUnixNano":"1795226870250000000"}]}]}]}"#;
/// A sender that does not know that only traces are taken.
const METRICS: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
  {"name":"jvm.memory.used","gauge":{"dataPoints":[{"asInt":"1"},{"asInt":"2"}]}}]}]}]}"#;

/// The rooms, and the way to ask them.
pub(crate) struct World {
    router: Router,
    _data: TempDir,
}

/// An answer as it came.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl World {
    /// A collector that was just started, with nothing received and no cluster configured.
    pub(crate) async fn empty() -> Self {
        Self::new(None, false).await
    }

    /// The whole: spans, lag, dead letters, clusters.
    pub(crate) async fn full() -> Self {
        Self::new(None, true).await
    }

    /// As [`World::empty`], with [`TOKEN`] asked for.
    pub(crate) async fn guarded() -> Self {
        Self::new(Some(TOKEN.to_owned()), false).await
    }

    async fn new(token: Option<String>, filled: bool) -> Self {
        let data = TempDir::new().unwrap();
        let store = Store::open(data.path(), Options::default(), NOW)
            .await
            .unwrap();
        let known = filled.then(|| ClusterConfig {
            name: facts::CLUSTER.into(),
            environment: facts::ENVIRONMENT.into(),
            addresses: Vec::new(),
        });
        let config = highwater_flow::Config {
            clusters: known.into_iter().collect(),
            ..Default::default()
        };
        let lag_config = highwater_lag::Config {
            exact_gap: facts::POLL_INTERVAL * 4,
            ..Default::default()
        };
        let idle = highwater_pipeline::pipeline(50_000).0;
        let sparks = Arc::new(Sparks::default());
        let hour = Arc::clone(&sparks);
        let channel = filled.then(|| Channel::from_settings(nowhere(), |_| None).unwrap());
        let desk = DeskOptions {
            rules: None,
            channels: channel.into_iter().collect(),
            public_url: "http://127.0.0.1:8844".to_owned(),
            hour_of_group: Arc::new(move |cluster, group, now| {
                hour.points(cluster, group, now - Duration::from_secs(3_600), now)
            }),
            engine: highwater_alerts::Options::default(),
        };
        let desk = Desk::open(store.history().clone(), desk).await.unwrap();
        let rooms = Rooms {
            store: store.clone(),
            flow: Arc::new(RwLock::new(Flow::new(config))),
            lag: Arc::new(RwLock::new(LagEngine::new(lag_config))),
            sparks,
            marks: Marks {
                default: Duration::from_secs(60),
                globs: vec![("*.fraud".to_owned(), Duration::from_secs(10))],
            },
            clusters: Arc::new(Clusters::default()),
            dead_letters: Arc::new(DeadLetters::new(Default::default())),
            desk,
            services: Arc::new(Services::default()),
            events: Arc::new(Events::default()),
            // Replaced by those of a receiver that receives, where there is one.
            pipeline: Arc::clone(idle.stats()),
            counters: Arc::default(),
            in_flight: ReceiverContext::new(idle, Default::default(), Default::default())
                .in_flight(),
            access: Access {
                token,
                loopback: true,
            },
            about: About {
                version: "0.0.0",
                started: NOW - Duration::from_secs(600),
                listeners: Listeners {
                    dashboard: "http://127.0.0.1:8844".to_owned(),
                    otlp_grpc: "http://127.0.0.1:4317".to_owned(),
                    otlp_http: "http://127.0.0.1:4318".to_owned(),
                },
                data_dir: "/var/lib/highwater".to_owned(),
                retention_ms: 604_800_000,
                retention_bytes: 50 << 30,
                poll_interval_ms: 15_000,
            },
            shutdown: CancellationToken::new(),
            clock: || NOW,
        };
        let rooms = if filled { fill(rooms).await } else { rooms };
        Self {
            router: highwater_api::router(ApiState::new(rooms)),
            _data: data,
        }
    }

    /// Asks as a page of this host does.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).header(header::HOST, "localhost:8844"))
            .await
    }

    /// Asks anything.
    pub(crate) async fn ask(&self, request: axum::http::request::Builder) -> Answer {
        let response = self.send(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect();
        let body = tokio::time::timeout(PATIENCE, body).await.unwrap().unwrap();
        Answer {
            status,
            headers,
            body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        }
    }

    /// Reads an endless answer until it has said `times` times what begins so.
    pub(crate) async fn listen(&self, path: &str, line: &str, times: usize) -> Answer {
        let request = Request::get(path).header(header::HOST, "localhost:8844");
        let response = self.send(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = response.into_body();
        let mut said = String::new();
        while said.lines().filter(|said| said.starts_with(line)).count() < times {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
            let data = frame.unwrap().unwrap().unwrap().into_data().unwrap();
            said.push_str(std::str::from_utf8(&data).unwrap());
        }
        Answer {
            status,
            headers,
            body: said,
        }
    }

    /// Does something as a page of this host does.
    pub(crate) async fn act(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:8844")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap();
        Answer {
            status,
            headers,
            body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        }
    }

    async fn send(&self, request: axum::http::request::Builder) -> Response<Body> {
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }
}

impl Answer {
    pub(crate) fn kind(&self) -> &str {
        self.header(header::CONTENT_TYPE)
    }

    /// A header's text; empty when there is none.
    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// Lets spans and polls in, as the binary does.
async fn fill(rooms: Rooms) -> Rooms {
    let (pipeline, counters) = receive(&rooms).await;
    let records = Memory::of_capture(&fixture("records.jsonl"));
    rooms
        .dead_letters
        .add_source(facts::CLUSTER, Arc::new(records));
    for status in [facts::readable(), facts::unreachable(), facts::connecting()] {
        rooms.clusters.set_status(status);
    }
    for n in 0..facts::POLLS {
        poll(&rooms, n).await;
    }
    rooms.dead_letters.refresh(NOW).await;
    alert(&rooms).await;
    let landmarks = facts::landmarks();
    rooms
        .store
        .history()
        .add_landmarks(&landmarks)
        .await
        .unwrap();
    rooms.events.publish(topic::STATUS, NOW);
    Rooms {
        pipeline,
        counters,
        ..rooms
    }
}

/// A channel to a port that nothing listens on.
fn nowhere() -> ChannelSettings {
    serde_json::from_value(serde_json::json!({
        "name": "oncall", "kind": "alertmanager", "url": "http://127.0.0.1:9",
    }))
    .unwrap()
}

/// Shows the polls' outcome to the alert engine, long enough for some of it to fire.
async fn alert(rooms: &Rooms) {
    for ago in [240, 180, 120, 60, 0] {
        let facts = facts_of(rooms);
        rooms
            .desk
            .step(&facts, NOW - Duration::from_secs(ago))
            .await
            .unwrap();
    }
}

fn facts_of(rooms: &Rooms) -> Facts {
    let lag = rooms.lag.read();
    let groups = lag.groups().iter();
    Facts {
        clusters: vec![highwater_alerts::ClusterFacts {
            name: facts::CLUSTER.into(),
            environment: facts::ENVIRONMENT.into(),
            unreachable: None,
            since: NOW - Duration::from_secs(3_600),
            last_read: Some(NOW),
        }],
        groups: groups
            .map(|((cluster, group), lag)| GroupFacts {
                cluster: Arc::clone(cluster),
                group: Arc::clone(group),
                services: Vec::new(),
                lag: Arc::clone(lag),
                membership: None,
            })
            .collect(),
        queues: rooms
            .dead_letters
            .topics()
            .into_iter()
            .map(|queue| QueueFacts {
                cluster: queue.cluster,
                topic: queue.topic,
                groups: queue.groups,
                retained: queue.retained,
                arrived_total: queue.retained,
                per_hour: queue.arrivals_per_hour,
                oldest_at: queue.oldest_at,
                causes: queue.causes.into_iter().map(|cause| cause.cause).collect(),
                read_at: queue.read_at,
            })
            .collect(),
        ..Facts::default()
    }
}

fn fixture(what: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(format!("{CAPTURE}.{what}"))
}

/// Receives the capture over HTTP, one request of it twice, and what cannot be taken.
async fn receive(rooms: &Rooms) -> (Arc<Stats>, Arc<Counters>) {
    let (sender, writer) = highwater_pipeline::pipeline(50_000);
    let stats = Arc::clone(sender.stats());
    let writer = tokio::spawn(writer.run(Committer {
        store: rooms.store.clone(),
        flow: Arc::clone(&rooms.flow),
        services: Arc::clone(&rooms.services),
    }));
    let context = Arc::new(ReceiverContext::new(
        sender,
        Default::default(),
        Default::default(),
    ));
    let counters = Arc::clone(context.counters());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve_http(listener, context, stop.clone()));

    const PROTOBUF: &str = "application/x-protobuf";
    const JSON: &str = "application/json";
    let capture = std::fs::read(fixture("otlp")).unwrap();
    // Requests as they were sent: a length in four bytes, big endian, then the message.
    let mut rest = capture.as_slice();
    let mut first = None;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let (request, after) = body.split_at(u32::from_be_bytes(*length) as usize);
        post(address, "/v1/traces", PROTOBUF, request).await;
        first.get_or_insert(request);
        rest = after;
    }
    post(address, "/v1/traces", PROTOBUF, first.unwrap()).await;
    post(address, "/v1/traces", JSON, BY_JSON.as_bytes()).await;
    post(address, "/v1/metrics", JSON, METRICS.as_bytes()).await;

    stop.cancel();
    tokio::time::timeout(PATIENCE, server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    tokio::time::timeout(PATIENCE, writer)
        .await
        .unwrap()
        .unwrap();
    rooms.events.publish(topic::TRACES, NOW);
    (stats, counters)
}

/// One request on a connection of its own.
async fn post(address: std::net::SocketAddr, path: &str, kind: &str, body: &[u8]) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Stores spans, then shows them to the flow, at the tests' instant.
struct Committer {
    store: Store,
    flow: Arc<RwLock<Flow>>,
    services: Arc<Services>,
}

impl Commit for Committer {
    async fn commit(&mut self, batches: &[Batch]) -> Result<Committed, CommitError> {
        let written = self.store.write(batches, NOW).await.unwrap();
        let spans: Vec<Span> = batches
            .iter()
            .flat_map(|batch| &batch.spans)
            .zip(&written.kept)
            .filter(|(_, kept)| **kept)
            .map(|(span, _)| span.span.clone())
            .collect();
        if !spans.is_empty() {
            self.services.note(&spans, NOW);
            self.flow.write().apply(&spans, written.block, NOW);
        }
        Ok(Committed {
            block: written.block,
            stored: spans.len(),
            duplicates: written.duplicates,
        })
    }
}

/// Poll `n`: lag, flow, dead letters, history and small charts take it.
async fn poll(rooms: &Rooms, n: u32) {
    let (sample, at) = (Arc::new(facts::sample(n)), facts::polled_at(n));
    rooms.dead_letters.observe(&sample);
    rooms.lag.write().step(&sample, at);
    {
        let mut flow = rooms.flow.write();
        flow.observe(&sample);
        for (cluster, topic, kind) in rooms.dead_letters.kinds() {
            flow.set_topic_kind(&cluster, &topic, Some(kind));
        }
    }
    let reading = {
        let lag = rooms.lag.read();
        for ((cluster, group), lag) in lag.groups() {
            let time_lag_ms = lag.time_lag.map(TimeLag::millis);
            rooms.sparks.push(cluster, group, at, time_lag_ms);
        }
        lag.reading(&sample.cluster, at)
    };
    rooms
        .store
        .history()
        .append_lag(reading.rows())
        .await
        .unwrap();
    rooms.clusters.set_sample(sample);
    for topic in [topic::GROUPS, topic::DEAD_LETTERS, topic::TOPOLOGY] {
        rooms.events.publish(topic, at);
    }
}
