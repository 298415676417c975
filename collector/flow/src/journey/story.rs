//! What a journey's spans tell, in sentences: steps, lifelines, and where it stands.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use highwater_model::names::{TopicKind, service_id, topic_id};
use highwater_model::span::{ErrorInfo, Messaging};
use highwater_model::{Correlation, Span, SpanId, TraceId, UnixNanos};

use super::JoinedBy;
use crate::trace::hops::{Delivery, deliveries};
use crate::trace::stitch::{Index, Key, consumes, is_batch, key, parent_key, sends, works};
use crate::trace::words;
use crate::trace::{Summary, summarise};

/// A group that reads a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The group, where it has a name.
    pub group: Option<Arc<str>>,
    /// The service behind it, where spans tell.
    pub service: Option<Arc<str>>,
}

/// What the spans of one journey cannot tell, from whoever knows the whole flow. Every answer may be "not known".
pub trait Facts {
    /// The configured name of the cluster that a span speaks of.
    fn cluster(&self, _messaging: &Messaging) -> Option<Arc<str>> {
        None
    }

    /// What a topic is for.
    fn kind(&self, topic: &str) -> TopicKind {
        TopicKind::from_name(topic)
    }

    /// Groups that handle this topic now and show it by spans. A message that one of them has not handled waits for it.
    /// Groups without spans must be left out: they would be waited for in vain.
    fn readers(&self, _topic: &str) -> Vec<Reader> {
        Vec::new()
    }
}

/// Nothing is known but the spans.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

impl Facts for NoFacts {}

/// Where a journey stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// A message waits for a group that reads its topic.
    InProgress,
    /// Every message seen sent was handled by every group seen.
    Done,
    /// A handler failed, and nothing has tried again or given up since.
    Failed,
    /// A message was given up.
    DeadLettered,
}

impl State {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// A message was sent.
    Produced,
    /// It was handled.
    Handled,
    /// Sending or handling failed.
    Failed,
    /// It was put aside to be tried again.
    Retried,
    /// It was given up.
    DeadLettered,
    /// It waits to be handled.
    Waiting,
}

impl StepKind {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Produced => "produced",
            Self::Handled => "handled",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::DeadLettered => "dead_lettered",
            Self::Waiting => "waiting",
        }
    }
}

/// What a lifeline stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// A service.
    Service,
    /// A topic.
    Topic(TopicKind),
}

impl LaneKind {
    /// The word the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Topic(TopicKind::Topic) => "topic",
            Self::Topic(TopicKind::RetryTopic) => "retry_topic",
            Self::Topic(TopicKind::DeadLetterTopic) => "dead_letter_topic",
        }
    }
}

/// A lifeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Node id, as on the map.
    pub id: String,
    /// What it stands for.
    pub kind: LaneKind,
    /// Name.
    pub name: Arc<str>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What happened.
    pub kind: StepKind,
    /// In a sentence: "billing handled orders in 41 ms".
    pub sentence: String,
    /// Start.
    pub at: UnixNanos,
    /// Duration; `None` for waiting, and where no span covers the work.
    pub duration_ns: Option<u64>,
    /// Time in broker before it, on the first attempt.
    pub in_broker_ns: Option<u64>,
    /// Lane it leaves.
    pub from: String,
    /// Lane it enters; the topic itself for a wait of a group whose service is unknown.
    pub to: String,
    /// Group.
    pub group: Option<Arc<str>>,
    /// Partition.
    pub partition: Option<i32>,
    /// Offset.
    pub offset: Option<i64>,
    /// Error class and message.
    pub error: Option<ErrorInfo>,
    /// How its span was joined; of a wait, the producer's.
    pub joined_by: JoinedBy,
    /// The trace.
    pub trace_id: TraceId,
    /// The span; of a wait, the producer's.
    pub span_id: SpanId,
}

/// A journey, told.
#[derive(Clone, Debug, PartialEq)]
pub struct JourneyView {
    /// The business identity.
    pub id: Correlation,
    /// Where it stands now, in a sentence.
    pub sentence: String,
    /// Where it stands.
    pub state: State,
    /// First start.
    pub start: UnixNanos,
    /// Last end.
    pub end: UnixNanos,
    /// Traces with the journey's spans in them, by start: only those spans are counted.
    pub traces: Vec<(TraceId, Summary)>,
    /// Steps, by start; waits last.
    pub steps: Vec<Step>,
    /// Services and topics in order of first appearance.
    pub lanes: Vec<Lane>,
    /// There were more spans than could be followed.
    pub truncated: bool,
}

/// Tells the story of `members`, which come by start.
pub(super) fn tell(
    id: &Correlation,
    members: &[(&Span, JoinedBy)],
    truncated: bool,
    facts: &dyn Facts,
    now: UnixNanos,
) -> JourneyView {
    let spans: Vec<&Span> = members.iter().map(|(span, _)| *span).collect();
    let index = Index::new(spans.iter().copied());
    let deliveries = deliveries(&spans, &[], &index);
    let mut teller = Teller {
        joined: members.iter().map(|(span, by)| (key(span), *by)).collect(),
        clusters: clusters(&spans, facts),
        facts,
        steps: Vec::new(),
        lanes: BTreeMap::new(),
    };
    teller.sent(&spans, &deliveries, &index);
    for delivery in &deliveries {
        teller.handled(delivery);
    }
    let mut waits = waits(&deliveries, facts);
    waits.sort_by_key(|wait| (wait.since, wait.topic.clone()));
    let (state, sentence) = stands(&teller.steps, &deliveries, &waits, facts, now);
    teller
        .steps
        .sort_by_key(|step| (step.at, step.trace_id, step.span_id));
    for wait in &waits {
        teller.waits(wait, now);
    }
    let lanes = lanes(&teller.steps, &teller.lanes);
    let mut traces: BTreeMap<TraceId, Vec<&Span>> = BTreeMap::new();
    for span in &spans {
        traces.entry(span.trace_id).or_default().push(span);
    }
    let mut traces: Vec<(TraceId, Summary)> = traces
        .into_iter()
        .map(|(trace, spans)| (trace, summarise(&spans)))
        .collect();
    traces.sort_by_key(|(trace, summary)| (summary.start, *trace));
    JourneyView {
        id: id.clone(),
        sentence,
        state,
        start: spans.first().map_or(UnixNanos(0), |span| span.start),
        end: spans.iter().map(|span| span.end).max().unwrap_or_default(),
        traces,
        steps: teller.steps,
        lanes,
        truncated,
    }
}

/// The cluster of each topic: what any span of it tells. A topic of unknown cluster is that of the others of its name.
fn clusters(spans: &[&Span], facts: &dyn Facts) -> HashMap<Arc<str>, Arc<str>> {
    let mut clusters = HashMap::new();
    for messaging in spans.iter().filter_map(|span| span.messaging.as_ref()) {
        if let Some(topic) = &messaging.destination
            && !clusters.contains_key(topic)
            && let Some(cluster) = facts.cluster(messaging)
        {
            clusters.insert(topic.clone(), cluster);
        }
    }
    clusters
}

struct Teller<'a> {
    joined: HashMap<Key, JoinedBy>,
    clusters: HashMap<Arc<str>, Arc<str>>,
    facts: &'a dyn Facts,
    steps: Vec<Step>,
    lanes: BTreeMap<String, Lane>,
}

impl Teller<'_> {
    /// Steps of messages sent, each once, and of sends that failed.
    fn sent(&mut self, spans: &[&Span], deliveries: &[Delivery<'_>], index: &Index<'_>) {
        let mut told: HashSet<Key> = HashSet::new();
        for delivery in deliveries {
            let Some(producer) = delivery.producer else {
                continue;
            };
            if !told.insert(key(producer)) {
                continue;
            }
            let Some(topic) = producer
                .messaging
                .as_ref()
                .and_then(|m| m.destination.clone())
            else {
                continue;
            };
            let name = &producer.service.name;
            let topic_kind = self.facts.kind(&topic);
            // What is put aside is put aside by a group; anything else its service sends for itself.
            let group = (topic_kind != TopicKind::Topic)
                .then(|| gives_up(producer, deliveries, index))
                .flatten();
            let (kind, sentence) = match topic_kind {
                TopicKind::Topic => (StepKind::Produced, format!("{name} sent to {topic}")),
                TopicKind::RetryTopic => (
                    StepKind::Retried,
                    format!("{name} put it aside in {topic} to try again"),
                ),
                TopicKind::DeadLetterTopic => (
                    StepKind::DeadLettered,
                    format!("{name} gave up and sent it to {topic}"),
                ),
            };
            let (from, to) = (self.service(producer), self.topic(&topic));
            let (partition, offset) = delivery.record();
            self.steps.push(Step {
                kind,
                sentence,
                duration_ns: Some(producer.duration_ns()),
                group,
                partition,
                offset,
                ..self.step(producer, from, to)
            });
        }
        for span in spans
            .iter()
            .filter(|span| sends(span) && !told.contains(&key(span)))
        {
            let Some((error, topic)) = span
                .error
                .as_ref()
                .zip(span.messaging.as_ref().and_then(|m| m.destination.clone()))
            else {
                continue;
            };
            let (from, to) = (self.service(span), self.topic(&topic));
            self.steps.push(Step {
                kind: StepKind::Failed,
                sentence: format!(
                    "{} could not send to {topic}: {}",
                    span.service.name,
                    short(&error.kind)
                ),
                duration_ns: Some(span.duration_ns()),
                error: Some(error.clone()),
                ..self.step(span, from, to)
            });
        }
    }

    /// Steps of one reader's attempts at one message.
    fn handled(&mut self, delivery: &Delivery<'_>) {
        let Some(topic) = delivery.topic().cloned() else {
            return;
        };
        let (partition, offset) = delivery.record();
        let several = delivery.attempts.len() > 1;
        for (number, span) in delivery.attempts.iter().enumerate() {
            let name = &span.service.name;
            let covered = works(span).then(|| span.duration_ns());
            let attempt = if several {
                format!(" (attempt {})", number + 1)
            } else {
                String::new()
            };
            let (kind, sentence) = match &span.error {
                Some(error) => (
                    StepKind::Failed,
                    format!("{name} failed on {topic}: {}{attempt}", short(&error.kind)),
                ),
                None => {
                    let batch = span.messaging.as_ref().and_then(|m| m.batch_count);
                    let batch = match batch.filter(|_| is_batch(span)) {
                        Some(count) => format!(" in a batch of {count}"),
                        None if is_batch(span) => " in a batch".to_owned(),
                        None => String::new(),
                    };
                    let sentence = match covered {
                        Some(ns) if batch.is_empty() => {
                            format!("{name} handled {topic} in {}{attempt}", words::duration(ns))
                        }
                        Some(_) => format!("{name} handled {topic}{batch}"),
                        None => format!("{name} took it from {topic}{batch}"),
                    };
                    (StepKind::Handled, sentence)
                }
            };
            let (from, to) = (self.topic(&topic), self.service(span));
            self.steps.push(Step {
                kind,
                sentence,
                duration_ns: covered,
                in_broker_ns: (number == 0).then(|| delivery.in_broker_ns()).flatten(),
                group: delivery.group.clone(),
                partition,
                offset,
                error: span.error.clone(),
                ..self.step(span, from, to)
            });
        }
    }

    fn waits(&mut self, wait: &Wait<'_>, now: UnixNanos) {
        let from = self.topic(&wait.topic);
        let known = wait.reader.service.as_deref();
        // The lane of its service, if that already is on the page.
        let to = self
            .lanes
            .values()
            .find(|lane| lane.kind == LaneKind::Service && Some(&*lane.name) == known)
            .map_or_else(|| from.clone(), |lane| lane.id.clone());
        let step = Step {
            kind: StepKind::Waiting,
            sentence: format!(
                "waits in {} for {}, {} so far",
                wait.topic,
                wait.reader.name(),
                words::duration(now.since(wait.since))
            ),
            at: wait.since,
            duration_ns: None,
            group: wait.reader.group.clone(),
            partition: wait.record.0,
            offset: wait.record.1,
            ..self.step(wait.producer, from, to)
        };
        self.steps.push(step);
    }

    /// A step of `span` with nothing told yet.
    fn step(&self, span: &Span, from: String, to: String) -> Step {
        Step {
            kind: StepKind::Handled,
            sentence: String::new(),
            at: span.start,
            duration_ns: None,
            in_broker_ns: None,
            from,
            to,
            group: None,
            partition: None,
            offset: None,
            error: None,
            joined_by: self
                .joined
                .get(&key(span))
                .copied()
                .unwrap_or(JoinedBy::Parent),
            trace_id: span.trace_id,
            span_id: span.span_id,
        }
    }

    fn service(&mut self, span: &Span) -> String {
        let id = service_id(&span.service.namespace, &span.service.name);
        let lane = Lane {
            id: id.clone(),
            kind: LaneKind::Service,
            name: span.service.name.clone(),
        };
        self.lanes.entry(id.clone()).or_insert(lane);
        id
    }

    fn topic(&mut self, topic: &Arc<str>) -> String {
        let cluster = self.clusters.get(topic).map_or("unknown", |name| &**name);
        let id = topic_id(cluster, topic);
        let lane = Lane {
            id: id.clone(),
            kind: LaneKind::Topic(self.facts.kind(topic)),
            name: topic.clone(),
        };
        self.lanes.entry(id.clone()).or_insert(lane);
        id
    }
}

/// Lifelines in order of first appearance.
fn lanes(steps: &[Step], known: &BTreeMap<String, Lane>) -> Vec<Lane> {
    let mut seen: HashSet<&str> = HashSet::new();
    steps
        .iter()
        .flat_map(|step| [&step.from, &step.to])
        .filter(|id| seen.insert(id))
        .filter_map(|id| known.get(id).cloned())
        .collect()
}

/// A send looks this far up for the handler around it.
const MAX_UP: usize = 32;

/// The group for which `producer` puts a message aside: that of the handler it is nested in, else that of its service's
/// last failed attempt before it.
fn gives_up(producer: &Span, deliveries: &[Delivery<'_>], index: &Index<'_>) -> Option<Arc<str>> {
    let group = |span: &Span| {
        let own = span.messaging.as_ref().and_then(|m| m.group.clone());
        let made = |of: &&Delivery<'_>| of.attempts.iter().any(|at| key(at) == key(span));
        own.or_else(|| deliveries.iter().find(made).and_then(|of| of.group.clone()))
    };
    let above = std::iter::successors(Some(producer), |span| index.get(parent_key(span)?));
    if let Some(handler) = above.skip(1).take(MAX_UP).find(|span| consumes(span)) {
        return group(handler);
    }
    deliveries
        .iter()
        .flat_map(|of| &of.attempts)
        .filter(|at| at.service == producer.service && at.error.is_some())
        .filter(|at| at.start <= producer.start)
        .max_by_key(|at| at.start)
        .and_then(|at| group(at))
}

impl Reader {
    /// The name people know it by.
    fn name(&self) -> &str {
        self.service
            .as_deref()
            .or(self.group.as_deref())
            .unwrap_or("its consumer")
    }

    /// Whether this is who made the attempts of a delivery.
    fn is(&self, delivery: &Delivery<'_>) -> bool {
        match (&self.group, &delivery.group) {
            (Some(own), Some(seen)) => own == seen,
            // Many SDKs name no group: then the service tells.
            _ => {
                let service = delivery.attempts.last().map(|span| &span.service.name);
                self.service
                    .as_ref()
                    .is_some_and(|own| Some(own) == service)
            }
        }
    }
}

/// A message that a reader has not handled.
struct Wait<'a> {
    producer: &'a Span,
    topic: Arc<str>,
    reader: Reader,
    since: UnixNanos,
    record: (Option<i32>, Option<i64>),
}

/// Messages that wait: for readers the flow knows of, and for groups of the journey that handled its other messages of
/// the same topic. What lies in a dead-letter topic waits for nobody.
fn waits<'a>(deliveries: &[Delivery<'a>], facts: &dyn Facts) -> Vec<Wait<'a>> {
    let mut by_producer: BTreeMap<Key, Vec<&Delivery<'a>>> = BTreeMap::new();
    let mut expected: HashMap<Arc<str>, Vec<Reader>> = HashMap::new();
    for delivery in deliveries {
        let Some(topic) = delivery.topic() else {
            continue;
        };
        let readers = expected
            .entry(topic.clone())
            .or_insert_with(|| facts.readers(topic));
        if let Some(attempt) = delivery.attempts.last()
            && !readers.iter().any(|reader| reader.is(delivery))
        {
            readers.push(Reader {
                group: delivery.group.clone(),
                service: Some(attempt.service.name.clone()),
            });
        }
        if let Some(producer) = delivery.producer {
            by_producer.entry(key(producer)).or_default().push(delivery);
        }
    }
    let mut waits = Vec::new();
    for deliveries in by_producer.values() {
        let Some((delivery, producer)) = deliveries.first().and_then(|d| Some((d, d.producer?)))
        else {
            continue;
        };
        let Some(topic) = delivery.topic() else {
            continue;
        };
        if facts.kind(topic) == TopicKind::DeadLetterTopic {
            continue;
        }
        for reader in expected.get(topic).into_iter().flatten() {
            let handled = deliveries
                .iter()
                .any(|delivery| !delivery.attempts.is_empty() && reader.is(delivery));
            if !handled {
                waits.push(Wait {
                    producer,
                    topic: topic.clone(),
                    reader: reader.clone(),
                    since: producer.end,
                    record: delivery.record(),
                });
            }
        }
    }
    waits
}

/// Where the journey stands, and the sentence that says it.
fn stands(
    steps: &[Step],
    deliveries: &[Delivery<'_>],
    waits: &[Wait<'_>],
    facts: &dyn Facts,
    now: UnixNanos,
) -> (State, String) {
    let still = match waits.len() {
        0 => String::new(),
        1 => format!(
            " It still waits in {} for {}.",
            waits[0].topic,
            waits[0].reader.name()
        ),
        n => format!(" {n} of its messages still wait."),
    };
    let given_up = steps
        .iter()
        .filter(|step| step.kind == StepKind::DeadLettered)
        .max_by_key(|step| step.at);
    if let Some(last) = given_up {
        let why = steps
            .iter()
            .filter(|step| {
                step.kind == StepKind::Failed && step.to == last.from && step.at <= last.at
            })
            .max_by_key(|step| step.at)
            .and_then(|step| step.error.as_ref())
            .map_or_else(String::new, |error| format!(": {}", short(&error.kind)));
        return (
            State::DeadLettered,
            format!("{}{why}.{still}", last.sentence),
        );
    }
    let failed = deliveries
        .iter()
        .filter(|delivery| {
            delivery
                .attempts
                .last()
                .is_some_and(|span| span.error.is_some())
        })
        .filter(|delivery| !handed_on(delivery, deliveries, facts))
        .max_by_key(|delivery| delivery.attempts.last().map(|span| span.start));
    if let Some(delivery) = failed
        && let (Some(span), Some(topic)) = (delivery.attempts.last(), delivery.topic())
    {
        let error = span
            .error
            .as_ref()
            .map_or("error", |error| short(&error.kind));
        let times = match delivery.attempts.len() {
            1 => String::new(),
            n => format!(" {n} times, last"),
        };
        let sentence = format!(
            "{} failed on {topic}{times} with {error}; nothing has handled it since.{still}",
            span.service.name
        );
        return (State::Failed, sentence);
    }
    if let Some(step) = failed_send(steps) {
        return (State::Failed, format!("{}.{still}", step.sentence));
    }
    if let Some(longest) = waits.first() {
        let age = words::duration(now.since(longest.since));
        let names: Vec<&str> = {
            let distinct: BTreeSet<&str> = waits.iter().map(|wait| wait.reader.name()).collect();
            distinct.into_iter().collect()
        };
        let sentence = if waits.len() == 1 {
            format!(
                "It waits in {} for {}: {age} so far.",
                longest.topic, names[0]
            )
        } else {
            format!(
                "It waits for {}: longest in {} for {}, {age} so far.",
                words::list(&names),
                longest.topic,
                longest.reader.name()
            )
        };
        return (State::InProgress, sentence);
    }
    (State::Done, done(deliveries))
}

/// The last send that failed and was not made good by a later one from the same service to the same topic.
fn failed_send(steps: &[Step]) -> Option<&Step> {
    let failed = |step: &&Step| step.kind == StepKind::Failed && step.to.starts_with("topic:");
    let made_good = |failed: &Step| {
        steps.iter().any(|step| {
            let sent = matches!(step.kind, StepKind::Produced | StepKind::Retried);
            sent && step.from == failed.from && step.to == failed.to && step.at >= failed.at
        })
    };
    steps
        .iter()
        .filter(failed)
        .filter(|step| !made_good(step))
        .max_by_key(|step| step.at)
}

/// Whether a failed delivery was put into a retry or dead-letter topic after it failed.
fn handed_on(failed: &Delivery<'_>, deliveries: &[Delivery<'_>], facts: &dyn Facts) -> bool {
    let Some(attempt) = failed.attempts.last() else {
        return false;
    };
    deliveries.iter().any(|delivery| {
        delivery.producer.is_some_and(|producer| {
            producer.service == attempt.service
                && producer.start >= attempt.start
                && delivery
                    .topic()
                    .is_some_and(|topic| facts.kind(topic) != TopicKind::Topic)
        })
    })
}

fn done(deliveries: &[Delivery<'_>]) -> String {
    let messages: BTreeSet<Key> = deliveries
        .iter()
        .filter_map(|d| d.producer.map(key))
        .collect();
    let topics: BTreeSet<&Arc<str>> = deliveries.iter().filter_map(Delivery::topic).collect();
    let last = deliveries
        .iter()
        .flat_map(|delivery| {
            delivery
                .attempts
                .last()
                .map(|span| (span.end, &span.service.name))
        })
        .max();
    let first = deliveries
        .iter()
        .filter_map(|d| d.producer.or(d.first).map(|span| span.start))
        .min();
    let sent: Vec<&str> = topics.iter().map(|topic| &***topic).collect();
    match (last, first) {
        (Some((end, by)), Some(start)) => format!(
            "Done in {}: {} over {}, the last handled by {by}.",
            words::duration(end.since(start)),
            words::count(messages.len().max(1), "message", "messages"),
            words::count(topics.len(), "topic", "topics"),
        ),
        _ if !sent.is_empty() => format!(
            "Sent to {}; nothing is known to read it.",
            words::list(&sent)
        ),
        _ => "Its spans tell of no message.".to_owned(),
    }
}

/// The last part of a class: `GatewayTimeoutException`.
fn short(class: &str) -> &str {
    class
        .rsplit('.')
        .next()
        .filter(|last| !last.is_empty())
        .unwrap_or(class)
}
