//! From raw identities to nodes: which cluster, which group.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use highwater_model::names;

use crate::facts::Facts;
use crate::key::{Key, OTHER, Reader, TopicRef};

/// The name of a cluster that cannot be told.
pub(crate) const UNKNOWN: &str = "unknown";

/// Who reads a topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Group {
    /// A group that spans name.
    Named(Arc<str>),
    /// The only one it can be.
    Inferred(Arc<str>),
    /// Nobody can tell.
    Unknown,
}

/// Resolves what spans of one environment say.
pub(crate) struct Resolver<'f> {
    facts: &'f Facts,
    environment: &'f str,
    /// Cluster ids that belong to no configured cluster, by topic: more than one keeps its topics apart.
    strangers: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Groups that spans name, by cluster and topic.
    with_spans: BTreeSet<(Arc<str>, Arc<str>, Arc<str>)>,
}

impl<'f> Resolver<'f> {
    /// Reads all keys, of every environment: a group with spans in one is not without spans in another.
    pub(crate) fn new<'k>(
        facts: &'f Facts,
        environment: &'f str,
        keys: impl Iterator<Item = &'k Key> + Clone,
    ) -> Self {
        let mut resolver = Self {
            facts,
            environment,
            strangers: HashMap::new(),
            with_spans: BTreeSet::new(),
        };
        let topics = keys.clone().filter_map(|key| match key {
            Key::Produce { topic, .. } => Some(topic),
            Key::Consume { reader, .. } => Some(&reader.topic),
            _ => None,
        });
        for topic in topics {
            if let Some(id) = &topic.cluster_id
                && resolver.by_id(id).is_none()
            {
                resolver
                    .strangers
                    .entry(topic.name.clone())
                    .or_default()
                    .insert(id.clone());
            }
        }
        for key in keys {
            if let Key::Consume { reader, .. } = key
                && let Some(group) = &reader.group
            {
                let cluster = resolver.cluster(&reader.topic);
                resolver
                    .with_spans
                    .insert((cluster, reader.topic.name.clone(), group.clone()));
            }
        }
        resolver
    }

    fn by_id(&self, id: &str) -> Option<&Arc<str>> {
        self.facts
            .clusters
            .iter()
            .find(|(_, facts)| facts.id.as_deref() == Some(id))
            .map(|(name, _)| name)
    }

    /// The cluster of a topic: by id, by address, else the only one that has the topic, else `unknown`. (That of the
    /// stitched producer is in the reference already.)
    pub(crate) fn cluster(&self, topic: &TopicRef) -> Arc<str> {
        let clusters = &self.facts.clusters;
        if let Some(id) = &topic.cluster_id {
            if let Some(name) = self.by_id(id) {
                return name.clone();
            }
            // Every configured cluster has told its id and this is none of them.
            if clusters.values().all(|facts| facts.id.is_some()) {
                let several = self
                    .strangers
                    .get(&topic.name)
                    .is_some_and(|ids| ids.len() > 1);
                return if several { id.clone() } else { UNKNOWN.into() };
            }
        }
        if let Some(address) = &topic.address {
            let mut named = clusters
                .iter()
                .filter(|(_, facts)| facts.answers_to(address));
            if let (Some((name, _)), None) = (named.next(), named.next()) {
                return name.clone();
            }
        }
        // One of this environment first; else one of any.
        for own in [true, false] {
            let mut having = clusters.iter().filter(|(_, facts)| {
                facts.topics.contains_key(&topic.name)
                    && (!own || &*facts.environment == self.environment)
            });
            if let (Some((name, _)), None) = (having.next(), having.next()) {
                return name.clone();
            }
        }
        UNKNOWN.into()
    }

    /// Whether spans name this group for this topic.
    pub(crate) fn has_spans(&self, cluster: &Arc<str>, topic: &Arc<str>, group: &Arc<str>) -> bool {
        self.with_spans
            .contains(&(cluster.clone(), topic.clone(), group.clone()))
    }

    /// The group that a retry topic's group was made from (Spring: `G-retry-400`, `G-dlt`), where that group is known;
    /// else the group itself.
    pub(crate) fn base_group(&self, cluster: &Arc<str>, group: Arc<str>) -> Arc<str> {
        let stem = group.trim_end_matches(|c: char| c.is_ascii_digit());
        let base = group
            .strip_suffix("-dlt")
            .or_else(|| group.strip_suffix("-retry"))
            .or_else(|| stem.strip_suffix("-retry-"));
        let Some(base) = base else {
            return group;
        };
        let by_broker = self
            .facts
            .clusters
            .get(cluster)
            .and_then(|facts| facts.groups.get_key_value(base))
            .map(|(name, _)| name.clone());
        let by_spans = || {
            self.with_spans
                .iter()
                .find(|(at, _, name)| at == cluster && **name == *base)
                .map(|(_, _, name)| name.clone())
        };
        by_broker.or_else(by_spans).unwrap_or(group)
    }

    /// Groups that read a topic and that no span names.
    pub(crate) fn silent_groups(&self, cluster: &Arc<str>, topic: &Arc<str>) -> Vec<Arc<str>> {
        let Some(facts) = self.facts.clusters.get(cluster) else {
            return Vec::new();
        };
        facts
            .groups
            .iter()
            .filter(|(group, state)| {
                state.reads.contains_key(topic) && !self.has_spans(cluster, topic, group)
            })
            .map(|(group, _)| group.clone())
            .collect()
    }

    /// The group of a reader: as named; else by its client id among the members; else the only one without spans.
    pub(crate) fn group(&self, cluster: &Arc<str>, reader: &Reader) -> Group {
        if let Some(group) = &reader.group {
            return Group::Named(group.clone());
        }
        let topic = &reader.topic.name;
        if let (Some(client), Some(facts)) = (&reader.client, self.facts.clusters.get(cluster)) {
            let mut members = facts.groups.iter().filter(|(_, state)| {
                state.clients.contains(client) && state.reads.contains_key(topic)
            });
            if let (Some((group, _)), None) = (members.next(), members.next()) {
                return Group::Inferred(group.clone());
            }
        }
        match <[Arc<str>; 1]>::try_from(self.silent_groups(cluster, topic)) {
            Ok([only]) => Group::Inferred(only),
            Err(_) => Group::Unknown,
        }
    }
}

/// Ids of nodes that stand for somebody who sends no spans.
pub(crate) fn unknown_producer_id(cluster: &str, topic: &str) -> String {
    format!("unknown:producer/{cluster}/{topic}")
}

pub(crate) fn unknown_group_id(cluster: &str, topic: &str) -> String {
    format!("unknown:group/{cluster}/{topic}")
}

pub(crate) fn unknown_service_id(cluster: &str, group: &str) -> String {
    format!("unknown:service/{cluster}/{group}")
}

/// The id that a node beyond the bound is folded into.
pub(crate) fn folded_id(id: &str, cluster: Option<&str>) -> String {
    let cluster = cluster.unwrap_or(UNKNOWN);
    match id.split_once(':').map_or("", |(kind, _)| kind) {
        "topic" => names::topic_id(cluster, OTHER),
        "group" => names::group_id(cluster, OTHER),
        "unknown" => unknown_group_id(cluster, OTHER),
        _ => names::service_id("", OTHER),
    }
}
