//! Builds a map: sums every series over the range, resolves it to nodes and edges, adds what only brokers know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use highwater_model::names::{TopicKind, group_id, service_id, topic_id};
use highwater_model::{ServiceKey, UnixNanos};

use crate::aggregates::Aggregate;
use crate::flow::Flow;
use crate::key::{Key, OTHER, Reader};
use crate::resolve::{
    Group, Resolver, folded_id, unknown_group_id, unknown_producer_id, unknown_service_id,
};
use crate::series::{MINUTE, SECOND};
use crate::sketch::Sketch;
use crate::sums::{EdgeSum, NodeSum, Sum};
use crate::topology::{
    Edge, EdgeKind, Latency, Node, NodeKind, RateSource, Topology, TopologyQuery, Window,
};

/// Rates and latencies are of this long before the end of the range.
const RATE_WINDOW: u64 = 5 * MINUTE;

type EdgeKey = (EdgeKind, Arc<str>, Arc<str>);
/// Groups in which a service reads a topic: by the ids of both.
type Readers = HashMap<(Arc<str>, Arc<str>), BTreeSet<Arc<str>>>;

struct Builder<'f> {
    flow: &'f Flow,
    resolver: Resolver<'f>,
    window: Window,
    /// The end of what can have been seen.
    until: u64,
    nodes: HashMap<Arc<str>, NodeSum>,
    edges: HashMap<EdgeKey, EdgeSum>,
    readers: Readers,
}

/// The topic that a retry or dead-letter topic's name was made from.
fn base_topic(topic: &str) -> Option<&str> {
    const SUFFIXES: [&str; 11] = [
        "-dlt",
        "-dlq",
        "_dlt",
        "_dlq",
        "-deadletter",
        ".deadletter",
        "-dead-letter",
        ".dead-letter",
        "-retry",
        "_retry",
        ".retry",
    ];
    let numbered = topic.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = match numbered.strip_suffix(['-', '.', '_']) {
        Some(stem) if numbered.len() < topic.len() => stem,
        _ => topic,
    };
    SUFFIXES.iter().chain(&[".dlt", ".dlq"]).find_map(|suffix| {
        let at = stem.len().checked_sub(suffix.len())?;
        let (base, end) = (stem.get(..at)?, stem.get(at..)?);
        (end.eq_ignore_ascii_case(suffix) && !base.is_empty()).then_some(base)
    })
}

impl Flow {
    /// Start of the earliest bucket that an environment has.
    fn first_bucket(&self, environment: &str) -> Option<u64> {
        self.aggregates
            .iter()
            .filter(|aggregate| **aggregate.key.environment() == *environment)
            .filter_map(|aggregate| aggregate.series.first())
            .min()
    }

    /// The range that a query is answered for: snapped outward to the edges of the buckets kept for that time.
    #[must_use]
    pub fn window(&self, from: UnixNanos, to: UnixNanos) -> Window {
        let floor = |at: u64| self.widths.tier(at).floor(at);
        let from_ns = floor(from.0.min(to.0));
        let tier = self.widths.tier(to.0);
        let to_ns = match floor(to.0) {
            edge if edge == to.0 && edge > from_ns => edge,
            edge => edge + tier.width(),
        };
        let rate_from = floor(to.0.saturating_sub(RATE_WINDOW)).max(from_ns);
        Window {
            from: UnixNanos(from_ns),
            to: UnixNanos(to_ns),
            rate_from: UnixNanos(rate_from),
        }
    }

    /// The map of a range. `now`: the present, so that a rate is not taken over time that has not been yet.
    ///
    /// Cost: linear in the buckets within the range.
    #[must_use]
    pub fn topology(&self, query: &TopologyQuery, now: UnixNanos) -> Topology {
        let mut window = self.window(query.from, query.to);
        // A rate is taken over time that was watched: the first minute of a collector is not five.
        let first = self.first_bucket(&query.environment);
        window.rate_from.0 = first.map_or(window.rate_from.0, |first| {
            window.rate_from.0.max(first).min(window.to.0)
        });
        let mut builder = Builder {
            flow: self,
            resolver: Resolver::new(
                &self.facts,
                &query.environment,
                self.aggregates.iter().map(|a| &a.key),
            ),
            window,
            until: window.to.0.min(now.0.max(self.now)),
            nodes: HashMap::new(),
            edges: HashMap::new(),
            readers: HashMap::new(),
        };
        builder.spans(&query.environment);
        builder.brokers(&query.environment);
        let truncated = builder.fold(self.config.max_nodes) || self.stats.folded > 0;
        let mut topology = builder.finish();
        topology.truncated = truncated;
        if topology.edges.len() > self.config.max_edges {
            topology.truncated = true;
            topology
                .edges
                .sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.id.cmp(&b.id)));
            topology.edges.truncate(self.config.max_edges);
            topology.edges.sort_by(|a, b| a.id.cmp(&b.id));
        }
        if !query.clusters.is_empty() {
            let keep = in_clusters(&topology, &query.clusters);
            topology.retain(&keep);
        }
        if let Some(focus) = &query.focus {
            let keep = topology.around(focus, query.hops);
            topology.retain(&keep);
        }
        topology.version = Topology::hash(&topology.nodes, &topology.edges);
        topology
    }
}

/// Topics and groups of the clusters, and the services at their edges.
fn in_clusters(topology: &Topology, clusters: &[String]) -> BTreeSet<Arc<str>> {
    let of_cluster = |node: &&Node| {
        node.cluster
            .as_ref()
            .is_some_and(|cluster| clusters.iter().any(|c| **c == **cluster))
    };
    let own: BTreeSet<Arc<str>> = topology
        .nodes
        .iter()
        .filter(of_cluster)
        .map(|node| node.id.clone())
        .collect();
    let service = |id: &Arc<str>| topology.node(id).is_some_and(|n| n.cluster.is_none());
    let mut keep = own.clone();
    for edge in &topology.edges {
        if own.contains(&edge.from) && service(&edge.to) {
            keep.insert(edge.to.clone());
        }
        if own.contains(&edge.to) && service(&edge.from) {
            keep.insert(edge.from.clone());
        }
    }
    keep
}

impl Builder<'_> {
    fn seconds(&self) -> f64 {
        let ns = self.until.saturating_sub(self.window.rate_from.0);
        (ns as f64 / SECOND as f64).max(1.0)
    }

    fn node(&mut self, id: &Arc<str>, kind: NodeKind, name: &Arc<str>, last: u64) -> &mut NodeSum {
        let node = self.nodes.entry(id.clone()).or_default();
        node.kind = Some(kind);
        node.name = name.clone();
        node.last = node.last.max(last);
        node
    }

    fn service(&mut self, service: &ServiceKey, last: u64) -> Arc<str> {
        let id: Arc<str> = service_id(&service.namespace, &service.name).into();
        let node = self.node(&id, NodeKind::Service, &service.name, last);
        node.namespace = Some(service.namespace.clone()).filter(|n| !n.is_empty());
        node.instrumented = true;
        id
    }

    fn topic(&mut self, cluster: &Arc<str>, topic: &Arc<str>, last: u64) -> Arc<str> {
        let id: Arc<str> = topic_id(cluster, topic).into();
        let kind = NodeKind::of_topic(self.flow.topic_kind(cluster, topic));
        let partitions = self
            .flow
            .facts
            .clusters
            .get(cluster)
            .and_then(|facts| facts.topics.get(topic))
            .map(|state| state.partitions);
        let node = self.node(&id, kind, topic, last);
        node.cluster = Some(cluster.clone());
        node.partitions = partitions;
        id
    }

    /// The node that a reader's messages go to, and whether the group is really known.
    fn group(&mut self, cluster: &Arc<str>, reader: &Reader, last: u64) -> Arc<str> {
        let group = self.resolver.group(cluster, reader);
        let (id, kind, name): (Arc<str>, _, Arc<str>) = match &group {
            Group::Named(name) | Group::Inferred(name) => (
                group_id(cluster, name).into(),
                NodeKind::Group,
                name.clone(),
            ),
            Group::Unknown => (
                unknown_group_id(cluster, &reader.topic.name).into(),
                NodeKind::Unknown,
                "unknown group".into(),
            ),
        };
        let named_elsewhere = self
            .nodes
            .get(&id)
            .is_some_and(|node| node.instrumented && !node.inferred);
        let node = self.node(&id, kind, &name, last);
        node.cluster = Some(cluster.clone());
        node.instrumented = true;
        // Named by some spans and inferred for others: it is named.
        node.inferred = matches!(group, Group::Inferred(_)) && !named_elsewhere;
        id
    }

    /// `topic` is that of the records in `sum`.
    fn edge(
        &mut self,
        kind: EdgeKind,
        from: &Arc<str>,
        to: &Arc<str>,
        topic: &Arc<str>,
        sum: &Sum,
    ) {
        let edge = self
            .edges
            .entry((kind, from.clone(), to.clone()))
            .or_default();
        edge.instrumented = true;
        edge.sum.add(sum);
        edge.add_records(topic, &sum.records);
    }

    // ---- what spans say ----

    fn spans(&mut self, environment: &str) {
        let mut sends = Vec::new();
        for Aggregate { key, series, .. } in self.flow.aggregates.iter() {
            if **key.environment() != *environment {
                continue;
            }
            let sum = Sum::of(series, &self.window, self.until);
            if sum.is_empty() {
                continue;
            }
            match key {
                Key::Seen { service } => {
                    let id = self.service(service, sum.last);
                    if let Some(node) = self.nodes.get_mut(&id) {
                        node.work.merge(&sum.latencies.process);
                        let served = sum.latencies.process.count();
                        if served > 0 {
                            node.handled = Some(node.handled.unwrap_or(0) + served);
                        }
                    }
                }
                Key::Produce {
                    service,
                    topic,
                    via,
                } => sends.push((service, topic, via.as_ref(), sum)),
                Key::Consume { service, reader } => self.consume(service, reader, &sum),
                Key::Call { caller, callee } => {
                    let from = self.service(caller, sum.last);
                    let to = self.service(callee, sum.last);
                    // A call has no records.
                    self.edge(EdgeKind::Calls, &from, &to, &to, &sum);
                }
            }
        }
        // Who sends to a retry or dead-letter topic may have to be told by who reads the topic before it; and sends
        // that all failed make no topic: they are shown where it is known from elsewhere.
        sends.sort_by_key(|(_, _, _, sum)| sum.messages == 0);
        for (service, topic, via, sum) in sends {
            let cluster = self.resolver.cluster(topic);
            let known = sum.messages > 0
                || self.nodes.contains_key(&*topic_id(&cluster, &topic.name))
                || self
                    .flow
                    .facts
                    .clusters
                    .get(&cluster)
                    .is_some_and(|facts| facts.topics.contains_key(&topic.name));
            if known {
                self.produce(service, &cluster, &topic.name, via, &sum);
            }
        }
    }

    fn produce(
        &mut self,
        service: &ServiceKey,
        cluster: &Arc<str>,
        topic: &Arc<str>,
        via: Option<&Reader>,
        sum: &Sum,
    ) {
        let to = self.topic(cluster, topic, sum.last);
        if let Some(node) = self.nodes.get_mut(&to) {
            node.instrumented = true;
            node.handled = Some(node.handled.unwrap_or(0) + sum.recent);
        }
        let sender = self.service(service, sum.last);
        let kind = match self.flow.topic_kind(cluster, topic) {
            TopicKind::Topic => EdgeKind::Produces,
            TopicKind::RetryTopic => EdgeKind::Retries,
            TopicKind::DeadLetterTopic => EdgeKind::DeadLetters,
        };
        if kind == EdgeKind::Produces {
            self.edge(kind, &sender, &to, &to, sum);
            if let Some(via) = via {
                self.derive(via, topic, &to, sum);
            }
            return;
        }
        let group = self
            .recovered_for(via, &sender, cluster, topic)
            .map(|(cluster, group)| {
                let id: Arc<str> = group_id(&cluster, &group).into();
                let node = self.node(&id, NodeKind::Group, &group, sum.last);
                node.cluster = Some(cluster);
                node.instrumented = true;
                id
            });
        self.edge(kind, &group.unwrap_or(sender), &to, &to, sum);
    }

    /// The group whose error handler sent to a retry or dead-letter topic: that of the handler the send happened in;
    /// where none is known (a poison record has no handler), the only group in which this service reads the topic
    /// that the name was made from. The groups of retry topics are one consumer to a person: their base group.
    fn recovered_for(
        &self,
        via: Option<&Reader>,
        service: &Arc<str>,
        cluster: &Arc<str>,
        topic: &Arc<str>,
    ) -> Option<(Arc<str>, Arc<str>)> {
        if let Some(via) = via {
            let cluster = self.resolver.cluster(&via.topic);
            return match self.resolver.group(&cluster, via) {
                Group::Named(group) | Group::Inferred(group) => {
                    let group = self.resolver.base_group(&cluster, group);
                    Some((cluster, group))
                }
                Group::Unknown => None,
            };
        }
        let origin = topic_id(cluster, base_topic(topic)?);
        let readers = self.readers.get(&(service.clone(), origin.into()))?;
        let groups: BTreeSet<Arc<str>> = readers
            .iter()
            .map(|group| self.resolver.base_group(cluster, group.clone()))
            .collect();
        let mut groups = groups.into_iter();
        match (groups.next(), groups.next()) {
            (Some(group), None) => Some((cluster.clone(), group)),
            _ => None,
        }
    }

    /// topic -> topic through a service; a stream processor's own topics are neither source nor result.
    fn derive(&mut self, via: &Reader, topic: &Arc<str>, to: &Arc<str>, sum: &Sum) {
        let private = |name: &str| name.ends_with("-repartition") || name.ends_with("-changelog");
        if private(topic) || private(&via.topic.name) || sum.messages == 0 {
            return;
        }
        let cluster = self.resolver.cluster(&via.topic);
        let from = self.topic(&cluster, &via.topic.name, sum.last);
        if let Some(node) = self.nodes.get_mut(&from) {
            node.instrumented = true;
        }
        self.edge(EdgeKind::Derives, &from, to, to, sum);
    }

    fn consume(&mut self, service: &ServiceKey, reader: &Reader, sum: &Sum) {
        let cluster = self.resolver.cluster(&reader.topic);
        let topic = self.topic(&cluster, &reader.topic.name, sum.last);
        let group = self.group(&cluster, reader, sum.last);
        let service = self.service(service, sum.last);
        for id in [&group, &service] {
            if let Some(node) = self.nodes.get_mut(id) {
                node.handled = Some(node.handled.unwrap_or(0) + sum.recent);
            }
        }
        if let Some(node) = self.nodes.get_mut(&service) {
            node.work.merge(&sum.latencies.process);
        }
        if let Some(node) = self.nodes.get_mut(&topic) {
            node.instrumented = true;
        }
        if let Some(node) = self.nodes.get(&group)
            && node.kind == Some(NodeKind::Group)
        {
            let name = node.name.clone();
            self.readers
                .entry((service.clone(), topic.clone()))
                .or_default()
                .insert(name);
        }
        self.edge(EdgeKind::Delivers, &topic, &group, &topic, sum);
        self.edge(EdgeKind::Consumes, &group, &service, &topic, sum);
    }

    // ---- what only brokers say ----

    fn brokers(&mut self, environment: &str) {
        let produced = self.produced_anywhere();
        let named: BTreeSet<Arc<str>> = self
            .nodes
            .values()
            .filter_map(|node| node.cluster.clone())
            .collect();
        let facts = &self.flow.facts;
        let (from, to) = (self.window.from.0, self.window.to.0);
        let rate_from = self.window.rate_from.0;
        for (cluster, facts) in &facts.clusters {
            if *facts.environment != *environment && !named.contains(cluster) {
                continue;
            }
            for (group, state) in &facts.groups {
                for (topic, moves) in &state.reads {
                    let internal = facts.topics.get(topic).is_some_and(|t| t.internal);
                    let known: Arc<str> = group_id(cluster, group).into();
                    let topic_node: Arc<str> = topic_id(cluster, topic).into();
                    let drawn = self.edges.contains_key(&(
                        EdgeKind::Delivers,
                        topic_node.clone(),
                        known.clone(),
                    ));
                    if internal || drawn || self.resolver.has_spans(cluster, topic, group) {
                        continue;
                    }
                    let last = moves.grew.map_or(0, |(_, last)| last.min(self.until));
                    let rate = moves.rate(rate_from, to);
                    let topic_id = self.topic(cluster, topic, 0);
                    let node = self.node(&known, NodeKind::Group, group, last);
                    node.cluster = Some(cluster.clone());
                    if !node.instrumented {
                        node.offsets_rate = add(node.offsets_rate, rate);
                    }
                    let silent = !node.instrumented;
                    self.dashed(EdgeKind::Delivers, &topic_id, &known, rate);
                    // Some spans of this topic belong to a group that cannot be told, perhaps to this one: its
                    // service may well send spans.
                    let doubtful = self.nodes.contains_key(&*unknown_group_id(cluster, topic));
                    if silent && !doubtful {
                        let id: Arc<str> = unknown_service_id(cluster, group).into();
                        let node = self.node(&id, NodeKind::Unknown, &"unknown".into(), last);
                        node.cluster = Some(cluster.clone());
                        self.dashed(EdgeKind::Consumes, &known, &id, rate);
                    }
                }
            }
            for (topic, state) in &facts.topics {
                let rate = state.ends.rate(rate_from, to);
                if let Some(node) = self.nodes.get_mut(&*topic_id(cluster, topic)) {
                    node.offsets_rate = rate;
                }
                if state.internal
                    || !state.ends.grew_in(from, to)
                    || produced.contains(&(cluster.clone(), topic.clone()))
                {
                    continue;
                }
                let last = state.ends.grew.map_or(0, |(_, last)| last.min(self.until));
                let to = self.topic(cluster, topic, last);
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.offsets_rate = rate;
                }
                let id: Arc<str> = unknown_producer_id(cluster, topic).into();
                let node = self.node(&id, NodeKind::Unknown, &"unknown".into(), last);
                node.cluster = Some(cluster.clone());
                self.dashed(EdgeKind::Produces, &id, &to, rate);
            }
        }
    }

    /// Topics that producer spans of any environment name in the range.
    fn produced_anywhere(&self) -> BTreeSet<(Arc<str>, Arc<str>)> {
        self.flow
            .aggregates
            .iter()
            .filter_map(|aggregate| match &aggregate.key {
                Key::Produce { topic, .. } => Some((topic, &aggregate.series)),
                _ => None,
            })
            .filter(|(_, series)| {
                series
                    .range(self.window.from.0, self.window.to.0)
                    .any(|(_, cell)| cell.messages > 0)
            })
            .map(|(topic, _)| (self.resolver.cluster(topic), topic.name.clone()))
            .collect()
    }

    fn dashed(&mut self, kind: EdgeKind, from: &Arc<str>, to: &Arc<str>, rate: Option<f64>) {
        let edge = self
            .edges
            .entry((kind, from.clone(), to.clone()))
            .or_default();
        edge.offsets_rate = add(edge.offsets_rate, rate);
    }

    // ---- bounds ----

    /// Folds the quietest nodes above the bound into `(other)`. Returns whether there were any.
    fn fold(&mut self, max_nodes: usize) -> bool {
        if self.nodes.len() <= max_nodes {
            return false;
        }
        let mut traffic: HashMap<&Arc<str>, u64> = HashMap::new();
        for ((_, from, to), edge) in &self.edges {
            for id in [from, to] {
                *traffic.entry(id).or_default() += edge.sum.messages;
            }
        }
        let mut order: Vec<Arc<str>> = self.nodes.keys().cloned().collect();
        order.sort_by(|a, b| traffic.get(b).cmp(&traffic.get(a)).then_with(|| a.cmp(b)));
        // Room is left for the folded nodes themselves.
        let keep: BTreeSet<Arc<str>> = order
            .into_iter()
            .take(max_nodes.saturating_sub(64))
            .collect();
        let renamed: BTreeMap<Arc<str>, Arc<str>> = self
            .nodes
            .iter()
            .filter(|(id, _)| !keep.contains(*id))
            .map(|(id, node)| (id.clone(), folded_id(id, node.cluster.as_deref()).into()))
            .collect();
        for (id, into) in &renamed {
            let Some(node) = self.nodes.remove(id) else {
                continue;
            };
            let folded = self.nodes.entry(into.clone()).or_default();
            folded.kind = folded.kind.or(node.kind);
            folded.name = OTHER.into();
            folded.cluster = folded.cluster.clone().or(node.cluster);
            folded.instrumented |= node.instrumented;
            folded.last = folded.last.max(node.last);
            folded.handled = match (folded.handled, node.handled) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
            folded.work.merge(&node.work);
        }
        for ((kind, from, to), edge) in std::mem::take(&mut self.edges) {
            let from = renamed.get(&from).cloned().unwrap_or(from);
            let to = renamed.get(&to).cloned().unwrap_or(to);
            let folded = self.edges.entry((kind, from, to)).or_default();
            folded.instrumented |= edge.instrumented;
            folded.offsets_rate = add(folded.offsets_rate, edge.offsets_rate);
            folded.sum.add(&edge.sum);
            for (topic, records) in &edge.records {
                folded.add_records(topic, records);
            }
        }
        true
    }

    // ---- the end ----

    fn finish(self) -> Topology {
        let seconds = self.seconds();
        // What a topic's producers took, for the edges that leave it.
        let mut produce: HashMap<Arc<str>, Sketch> = HashMap::new();
        for ((kind, _, to), edge) in &self.edges {
            if matches!(
                kind,
                EdgeKind::Produces | EdgeKind::Retries | EdgeKind::DeadLetters
            ) {
                produce
                    .entry(to.clone())
                    .or_default()
                    .merge(&edge.sum.latencies.produce);
            }
        }
        let mut nodes: Vec<Node> = self
            .nodes
            .into_iter()
            .map(|(id, node)| {
                let spans = node.handled.map(|n| n as f64 / seconds);
                let (rate, rate_source) = rate(spans, node.offsets_rate);
                Node {
                    id,
                    kind: node.kind.unwrap_or(NodeKind::Unknown),
                    name: node.name,
                    cluster: node.cluster,
                    namespace: node.namespace,
                    instrumented: node.instrumented,
                    inferred: node.inferred,
                    last_seen: (node.last > 0).then_some(UnixNanos(node.last)),
                    rate,
                    rate_source,
                    work: node.work,
                    partitions: node.partitions,
                }
            })
            .collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let mut edges: Vec<Edge> = self
            .edges
            .into_iter()
            .map(|((kind, from, to), edge)| {
                let records = edge.distinct();
                let sum = edge.sum;
                let spans = edge.instrumented.then(|| sum.recent as f64 / seconds);
                let (rate, rate_source) = rate(spans, edge.offsets_rate);
                let complete = edge.instrumented && sum.unplaced == 0;
                Edge {
                    id: format!("{} {from}>{to}", kind.as_str()).into(),
                    kind,
                    instrumented: edge.instrumented,
                    messages: edge.instrumented.then_some(sum.messages),
                    records: records.filter(|_| complete),
                    errors: sum.errors,
                    rate,
                    rate_source,
                    latency: Latency {
                        produce: if kind == EdgeKind::Delivers {
                            produce.get(&from).cloned().unwrap_or_default()
                        } else {
                            sum.latencies.produce
                        },
                        in_broker: sum.latencies.in_broker,
                        process: sum.latencies.process,
                    },
                    from,
                    to,
                }
            })
            .collect();
        edges.sort_by(|a, b| a.id.cmp(&b.id));
        Topology {
            window: self.window,
            version: String::new(),
            nodes,
            edges,
            truncated: false,
        }
    }
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn rate(spans: Option<f64>, offsets: Option<f64>) -> (Option<f64>, Option<RateSource>) {
    match (spans, offsets) {
        (Some(rate), _) => (Some(rate), Some(RateSource::Spans)),
        (None, Some(rate)) => (Some(rate), Some(RateSource::Offsets)),
        (None, None) => (None, None),
    }
}
