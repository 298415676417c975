//! Spans as the semantic conventions of today want them: one tracer provider a service, as in one process each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};

use crate::config::Config;
use crate::intake::Record;
use crate::ledger::Place;
use crate::plan::Group;
use crate::spring::Failure;

/// The address and the identity of the broker, as spans name it.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: i64,
    pub(crate) cluster_id: Option<String>,
}

impl Broker {
    pub(crate) fn new(bootstrap: &str, cluster_id: Option<String>) -> Broker {
        let first = bootstrap.split(',').next().unwrap_or(bootstrap);
        let (host, port) = first.rsplit_once(':').unwrap_or((first, "9092"));
        Broker {
            host: host.to_owned(),
            port: port.parse().unwrap_or(9092),
            cluster_id,
        }
    }
}

/// The spans of one service.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    /// The newest last: what was begun under an earlier one is sent by it.
    releases: Arc<Mutex<Vec<Release>>>,
    config: Config,
    broker: Broker,
    service: &'static str,
}

/// One version of a service.
#[derive(Clone, Debug)]
struct Release {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Release {
    fn start(service: &'static str, version: &str, config: &Config) -> Result<Release> {
        // A collector that is away for a few seconds loses no span: the tests compare them with the ledger.
        let retry = opentelemetry_otlp::RetryPolicy::recommended()
            .with_max_retries(10)
            .with_max_delay(Duration::from_secs(2));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&config.otlp)
            .with_timeout(Duration::from_secs(10))
            .with_retry_policy(retry)
            .build()
            .with_context(|| format!("cannot send spans to {}", config.otlp))?;
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(Duration::from_millis(500))
            .with_max_queue_size(65_536)
            .build();
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.namespace", config.namespace.clone()),
                KeyValue::new("service.version", version.to_owned()),
                KeyValue::new(
                    "service.instance.id",
                    format!("{service}-{}", std::process::id()),
                ),
                KeyValue::new("deployment.environment.name", config.environment.clone()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter)
                    .with_batch_config(batches)
                    .build(),
            )
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("highwater-shop");
        Ok(Release { provider, tracer })
    }
}

impl Telemetry {
    /// Begins to send the spans of `service`; needs tokio's runtime for the connection, which is made when first used.
    pub(crate) fn start(
        service: &'static str,
        config: &Config,
        broker: Broker,
    ) -> Result<Telemetry> {
        let first = Release::start(service, env!("CARGO_PKG_VERSION"), config)?;
        Ok(Telemetry {
            releases: Arc::new(Mutex::new(vec![first])),
            config: config.clone(),
            broker,
            service,
        })
    }

    /// Spans that are begun from now on are of another version of the service.
    pub(crate) fn release(&self, version: &str) -> Result<()> {
        let next = Release::start(self.service, version, &self.config)?;
        self.releases().push(next);
        Ok(())
    }

    fn releases(&self) -> MutexGuard<'_, Vec<Release>> {
        // Nothing panics while it is held; if something did, the list is as good as before.
        self.releases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_span(&self, builder: SpanBuilder, parent: &Context) -> Context {
        let newest = self.releases().last().map(|release| release.tracer.clone());
        match newest {
            Some(tracer) => parent.with_span(tracer.build_with_context(builder, parent)),
            None => parent.clone(),
        }
    }

    /// Sends what waits. Blocks: not for an async thread.
    pub(crate) fn flush(&self) {
        let releases = self.releases().clone();
        for release in releases {
            if let Err(error) = release.provider.force_flush() {
                tracing::warn!(service = self.service, %error, "cannot send spans");
            }
        }
    }

    /// Sends what waits and ends. Blocks: not for an async thread.
    pub(crate) fn shut_down(&self) {
        let releases = self.releases().clone();
        for release in releases {
            let ended = release
                .provider
                .shutdown_with_timeout(Duration::from_secs(10));
            if let Err(error) = ended {
                tracing::warn!(service = self.service, %error, "cannot send the last spans");
            }
        }
    }

    /// Starts a span below `parent` that is no message's.
    pub(crate) fn start_work(
        &self,
        parent: &Context,
        name: &'static str,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
    ) -> Context {
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes);
        self.start_span(builder, parent)
    }

    /// Starts the span of a send to `topic`; [`acknowledged`] or [`failed`] ends it.
    pub(crate) fn start_send(
        &self,
        parent: &Context,
        topic: &str,
        key: &str,
        order: &str,
        bytes: usize,
        client: &str,
    ) -> Context {
        let mut attributes = self.messaging("send", topic, client);
        attributes.extend([
            KeyValue::new("messaging.kafka.message.key", key.to_owned()),
            KeyValue::new(
                "messaging.message.body.size",
                i64::try_from(bytes).unwrap_or(i64::MAX),
            ),
            correlation([order.to_owned()]),
        ]);
        let builder = SpanBuilder::from_name(format!("send {topic}"))
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        self.start_span(builder, parent)
    }

    /// Starts the span of one delivery attempt of one record, a child of the send that its headers name.
    pub(crate) fn start_process(
        &self,
        record: &Record,
        group: &Group,
        group_name: &str,
        client: &str,
    ) -> Context {
        let parent = match record.sent_by() {
            Some(sender) => Context::new().with_remote_span_context(sender),
            None => Context::new(),
        };
        let mut attributes = self.messaging("process", &record.place.topic, client);
        attributes.extend([
            KeyValue::new("messaging.consumer.group.name", group_name.to_owned()),
            KeyValue::new(
                "messaging.destination.partition.id",
                record.place.partition.to_string(),
            ),
            KeyValue::new("messaging.kafka.offset", record.place.offset),
            KeyValue::new("messaging.kafka.message.key", record.key.clone()),
            correlation([record.order.clone()]),
        ]);
        debug_assert_eq!(group.service, self.service);
        let builder = SpanBuilder::from_name(format!("process {}", record.place.topic))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes);
        self.start_span(builder, &parent)
    }

    /// Starts the span of a batch: a trace of its own that links to every send in it.
    pub(crate) fn start_batch(
        &self,
        records: &[Record],
        group_name: &str,
        client: &str,
    ) -> Context {
        let topic = records
            .first()
            .map_or("", |record| record.place.topic.as_str());
        let mut attributes = self.messaging("process", topic, client);
        attributes.extend([
            KeyValue::new("messaging.consumer.group.name", group_name.to_owned()),
            KeyValue::new(
                "messaging.batch.message_count",
                i64::try_from(records.len()).unwrap_or(i64::MAX),
            ),
            correlation(records.iter().map(|record| record.order.clone())),
        ]);
        let links = records
            .iter()
            .filter_map(|record| Some(Link::new(record.sent_by()?, identity(&record.place), 0)))
            .collect();
        let builder = SpanBuilder::from_name(format!("process {topic}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes)
            .with_links(links);
        self.start_span(builder, &Context::new())
    }

    fn messaging(&self, operation: &'static str, topic: &str, client: &str) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.operation.type", operation),
            KeyValue::new("messaging.destination.name", topic.to_owned()),
            KeyValue::new("messaging.client.id", client.to_owned()),
            KeyValue::new("server.address", self.broker.host.clone()),
            KeyValue::new("server.port", self.broker.port),
        ];
        if let Some(cluster_id) = &self.broker.cluster_id {
            attributes.push(KeyValue::new(
                "messaging.kafka.cluster.id",
                cluster_id.clone(),
            ));
        }
        attributes
    }
}

/// Ends the span of a send that the broker has acknowledged.
pub(crate) fn acknowledged(span: &Context, place: &Place) {
    span.span().set_attributes(identity(place));
    span.span().end();
}

/// Ends a span that is no message's, or of a message that was handled.
pub(crate) fn succeeded(span: &Context) {
    span.span().end();
}

/// Ends a span with an error.
pub(crate) fn failed(span: &Context, class: &str, message: &str, stack_trace: Option<String>) {
    let span = span.span();
    span.set_attribute(KeyValue::new("error.type", class.to_owned()));
    let mut exception = vec![
        KeyValue::new("exception.type", class.to_owned()),
        KeyValue::new("exception.message", message.to_owned()),
    ];
    exception.extend(stack_trace.map(|trace| KeyValue::new("exception.stacktrace", trace)));
    span.add_event("exception", exception);
    span.set_status(Status::error(message.to_owned()));
    span.end();
}

/// Ends the span of an attempt.
pub(crate) fn ended(span: &Context, outcome: &Result<(), Failure>) {
    match outcome {
        Ok(()) => succeeded(span),
        Err(failure) => failed(
            span,
            failure.class,
            &failure.message,
            Some(failure.stack_trace()),
        ),
    }
}

/// Returns what travels with a record to name its sender: the value of `traceparent`.
pub(crate) fn traceparent(span: &Context) -> String {
    let span = span.span();
    let context = span.span_context();
    format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags().to_u8()
    )
}

/// Reads the value of `traceparent`.
pub(crate) fn sender(traceparent: &str) -> Option<SpanContext> {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    (version == "00" && context.is_valid()).then_some(context)
}

fn identity(place: &Place) -> Vec<KeyValue> {
    vec![
        KeyValue::new(
            "messaging.destination.partition.id",
            place.partition.to_string(),
        ),
        KeyValue::new("messaging.kafka.offset", place.offset),
    ]
}

/// The record header `correlation-id`, as instrumentations copy headers to spans: one value a record.
fn correlation(orders: impl IntoIterator<Item = String>) -> KeyValue {
    let values: Vec<StringValue> = orders.into_iter().map(StringValue::from).collect();
    KeyValue::new(
        "messaging.header.correlation_id",
        Value::Array(Array::String(values)),
    )
}
