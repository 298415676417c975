//! From any SDK's span to one vocabulary.
//!
//! **Rule 0: keys are coalesced; nothing is gated on `schema_url` or a version.** Real SDKs mix generations (the Java
//! agent sends `messaging.destination.partition.id` beside `messaging.client_id`, aiokafka sends
//! `messaging.operation.type` beside `messaging.kafka.message.offset`), so every field is a list of keys, newest
//! first, and the first that holds a usable value wins.
//!
//! What a span is *for* is decided by operation words first and by its kind only as a fallback, because kinds
//! changed between generations (a receive was CONSUMER and is CLIENT). Where an SDK is known to say one thing and do
//! another, the scope's name decides, and the module that does it says why:
//! `operation` what it does, `destination` where, `fields` which message, `cluster` on which broker,
//! `failure` whether it failed, `correlation` what business it belongs to.
//!
//! Everything is bounded: names to [`MAX_NAME`] bytes, correlation values to [`MAX_CORRELATIONS`], links to
//! [`MAX_LINKS`].

mod cluster;
mod correlation;
mod destination;
mod failure;
mod fields;
mod operation;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use crate::ids::{SpanId, TraceId};
use crate::raw::{Origin, RawSpan, SpanKind};
use crate::sent::{Known, Sent, keys};
use crate::span::{Link, Messaging, Operation, ServiceKey, Span};
use crate::words::Words;
use values::{View, cut};

/// Destinations, groups, ids and keys are cut to so many bytes: Kafka's own limit for a topic is 249, queue URLs
/// and Pulsar names are longer.
pub const MAX_NAME: usize = 1024;
/// Links kept of one span.
pub const MAX_LINKS: usize = 4096;
/// Correlation values kept of one span: a batch receive holds one a record, and Kafka's default poll is 500.
pub const MAX_CORRELATIONS: usize = 512;

/// What the operator may choose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Span attributes that are business identities (`order.id`). Each keeps its name as the journey's key.
    pub correlation_attributes: Vec<String>,
    /// Message headers that carry a correlation id, in order; `-` and `_` are the same, and so are the cases.
    pub correlation_headers: Vec<String>,
    /// Takes `messaging.message.conversation_id` for a correlation id even from the SDKs that write something else
    /// there (pika, aio-pika, amqplib, JMS: request-reply; boto3sqs: the batch entry; Celery: the task).
    pub reply_ids_correlate: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            correlation_attributes: Vec::new(),
            correlation_headers: [
                "correlation-id",
                "x-correlation-id",
                "ce_correlationid",
                "correlationid",
            ]
            .map(str::to_owned)
            .to_vec(),
            reply_ids_correlate: false,
        }
    }
}

/// What all spans of one origin share, read once.
#[derive(Clone, Debug)]
pub struct OriginFacts {
    service: ServiceKey,
    version: Option<Arc<str>>,
    instance: Option<Arc<str>>,
    scope: Arc<str>,
    /// The messaging system that the scope's name tells.
    system: Option<&'static str>,
    /// A conversation id of this scope's spans is no correlation id.
    conversation_is_something_else: bool,
}

impl OriginFacts {
    /// Reads them.
    #[must_use]
    pub fn read(origin: &Origin) -> Self {
        Self::read_with(origin, &mut Words::unshared())
    }

    pub(crate) fn read_with(origin: &Origin, words: &mut Words) -> Self {
        let known = Known::of(&origin.resource);
        let mut text =
            |keys: &[_]| values::text(&known, keys).map(|text| words.share(cut(&text, 256)));
        let environment = text(&keys![
            "deployment.environment.name",
            "deployment.environment"
        ]);
        let namespace = text(&keys!["service.namespace"]);
        let name = text(&keys!["service.name"]);
        let instance = text(&keys!["service.instance.id"]);
        let version = text(&keys!["service.version"]);
        let scope = words.share(cut(&origin.scope_name, 256));
        Self {
            service: ServiceKey {
                environment: environment.unwrap_or_else(|| words.share("default")),
                namespace: namespace.unwrap_or_else(|| words.share("")),
                name: name.unwrap_or_else(|| words.share("unknown_service")),
            },
            version,
            instance,
            system: destination::system_of_scope(&scope),
            conversation_is_something_else: correlation::conversation_is_something_else(&scope),
            scope,
        }
    }

    /// Which version of its service sent it, where it says so.
    pub(crate) fn release(&self) -> Option<(&ServiceKey, &Arc<str>)> {
        self.version
            .as_ref()
            .map(|version| (&self.service, version))
    }
}

/// Reads the meaning of one span.
///
/// Pure and total: any span gives a result. Where many spans share an origin, [`normalise_from`] reads it once.
#[must_use]
pub fn normalise(origin: &Origin, span: &RawSpan, rules: &Rules) -> Span {
    normalise_from(&OriginFacts::read(origin), span, rules)
}

/// [`normalise`] with the origin read before.
#[must_use]
pub fn normalise_from(origin: &OriginFacts, span: &RawSpan, rules: &Rules) -> Span {
    let mut sent = Sent::of(span, rules);
    of_sent(origin, &mut sent, rules, &mut Words::unshared())
}

/// [`normalise`] of a span as it was sent, its recurring text shared through `words`.
pub(crate) fn of_sent(
    origin: &OriginFacts,
    span: &mut Sent<'_>,
    rules: &Rules,
    words: &mut Words,
) -> Span {
    let links = std::mem::take(&mut span.links);
    let view = View { span, origin };
    let mut messaging = messaging(&view, words);
    if let Some(messaging) = &mut messaging {
        messaging.duration_is_work =
            operation::duration_is_work(&view, messaging.operation, !links.is_empty());
    }
    let error = match &messaging {
        Some(messaging) if messaging.backoff => None,
        Some(_) => failure::of_message(&view, words),
        None => failure::of_any(&view, words),
    };
    let correlations = correlation::of(&view, rules, words);
    Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent: span.parent,
        service: origin.service.clone(),
        instance: origin.instance.clone(),
        scope: origin.scope.clone(),
        name: words.share(cut(span.name, 256)),
        kind: span.kind,
        start: span.start,
        end: span.end.max(span.start),
        status: span.status,
        error,
        links: placed(links, messaging.as_ref()),
        correlations,
        messaging,
    }
}

fn messaging(view: &View<'_>, words: &mut Words) -> Option<Messaging> {
    let system = destination::system(view)?;
    let classified = operation::classify(view, system)?;
    let place = destination::place(view, system, classified, words);
    let operation = place.operation.unwrap_or(classified);
    let message = fields::message(view, system, place.destination.as_deref());
    let consumer_side = matches!(
        operation,
        Operation::Receive | Operation::Process | Operation::Settle
    );
    let group = place
        .group
        .or_else(|| consumer_side.then(|| fields::group(view, words)).flatten());
    Some(Messaging {
        operation,
        duration_is_work: false,
        backoff: system == "kafka" && consumer_side && failure::is_backoff(view),
        destination: place.destination,
        group,
        partition: place.partition.or(message.partition),
        offset: message.offset,
        message_id: message.id,
        client_id: fields::client_id(view, words),
        key: fields::key(view),
        batch_count: fields::batch_count(view),
        tombstone: fields::tombstone(view),
        body_size: fields::body_size(view),
        cluster: cluster::hint(view, system, words),
        system: words.share(system),
    })
}

/// A link with what it says of its message.
///
/// Batch spans may carry what belongs to one message on its link (the Java agent with its opt-in): that is read
/// before the span's own.
pub(crate) fn link_place(trace_id: TraceId, span_id: SpanId, attributes: &Known<'_>) -> Link {
    Link {
        trace_id,
        span_id,
        partition: fields::partition(attributes),
        offset: fields::offset(attributes),
    }
}

/// Where the whole batch is of one partition the link names only the offset and the span the partition. Links without
/// attributes are the rule elsewhere.
fn placed(mut links: Vec<Link>, messaging: Option<&Messaging>) -> Vec<Link> {
    let shared = messaging.and_then(|messaging| messaging.partition);
    for link in &mut links {
        if link.offset.is_some() {
            link.partition = link.partition.or(shared);
        }
    }
    links
}

/// Whether the kind alone makes a span a hop.
fn is_message_kind(kind: SpanKind) -> bool {
    matches!(kind, SpanKind::Producer | SpanKind::Consumer)
}
