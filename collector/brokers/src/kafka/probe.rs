//! Reads a cluster's groups, offsets and topics into a [`Sample`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_model::UnixNanos;
use highwater_model::broker::{
    Committed, GroupFacts, Known, PartitionOffsets, Sample, TopicFacts, TopicPartition,
};

use super::config::KafkaConfig;
use super::context::Context;
use super::ffi::{Admin, DescribedGroup, EARLIEST, Isolation, LATEST, ListedOffset};
use super::reason;

/// Topic settings that lag and dead letters need.
const RETENTION: &str = "retention.ms";
const CLEANUP: &str = "cleanup.policy";
const DEAD_LETTER_ENABLE: &str = "errors.deadletterqueue.group.enable";

/// Topics that members have and the list of topics lacks: asked about one by one, at most so many a poll.
const HIDDEN_TOPICS: usize = 32;

/// While the set of groups changed this recently, they are listed at every poll.
const GROUPS_IN_MOTION: Duration = Duration::from_secs(60);

/// Why a cluster could not be read. The text is a sentence for a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// librdkafka refuses a setting: trying again does not help.
    #[error("{reason}")]
    Config {
        /// The setting, without its value.
        reason: Arc<str>,
    },
    /// Nobody answers, or not in time.
    #[error("{reason}")]
    Unreachable {
        /// What happened and what to do.
        reason: Arc<str>,
    },
    /// The cluster answers, but not to this.
    #[error("the cluster answered, but {step} failed: {reason}")]
    Step {
        /// What was asked.
        step: &'static str,
        /// The broker's words.
        reason: Arc<str>,
    },
    /// The probe was told to stop.
    #[error("stopped")]
    Stopped,
}

/// Where a partition ended at a time, told by the broker's time index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndAtTime {
    /// The partition.
    pub partition: TopicPartition,
    /// The time asked for.
    pub at: UnixNanos,
    /// Offset of the first record as young as that; `None` when no record is: the partition ended where it ends now.
    pub offset: Option<i64>,
}

#[derive(Clone, Default)]
struct TopicConfig {
    retention_ms: Option<i64>,
    compacted: Option<bool>,
    dead_letter_enabled: bool,
}

/// Reads one cluster. Calls block: run it on a thread of its own ([`super::poller::Poller`] does).
pub struct KafkaProbe {
    config: KafkaConfig,
    cancel: Arc<AtomicBool>,
    client: Option<(Admin, Instant)>,
    groups: BTreeMap<Arc<str>, Arc<str>>,
    groups_listed: Option<Instant>,
    groups_changed: Instant,
    listing_error: Option<Arc<str>>,
    configs: HashMap<Arc<str>, TopicConfig>,
    configs_read: Option<Instant>,
}

impl KafkaProbe {
    /// Prepares a probe. Nothing is sent before the first poll.
    ///
    /// # Errors
    /// [`ProbeError::Config`] when librdkafka refuses a setting.
    pub fn connect(config: KafkaConfig) -> Result<Self, ProbeError> {
        let mut probe = Self::unconnected(config);
        probe.client()?;
        Ok(probe)
    }

    /// As [`Self::connect`], leaving a refused setting to be the first poll's error.
    pub(crate) fn unconnected(config: KafkaConfig) -> Self {
        Self {
            config,
            cancel: Arc::new(AtomicBool::new(false)),
            client: None,
            groups: BTreeMap::new(),
            groups_listed: None,
            groups_changed: Instant::now(),
            listing_error: None,
            configs: HashMap::new(),
            configs_read: None,
        }
    }

    /// A flag that ends calls under way within a fraction of a second when set.
    #[must_use]
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// The cluster's configuration.
    #[must_use]
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Why the last listing of groups failed or is incomplete, if so. Groups known from before, and those named in the
    /// configuration, are read all the same.
    #[must_use]
    pub fn listing_error(&self) -> Option<&str> {
        self.listing_error.as_deref()
    }

    /// Reads everything once. `now` is the time at the call; later instants in the sample are counted from it.
    ///
    /// Costs, on a cluster of one broker with few groups: about ten requests. Blocks for some
    /// [`KafkaConfig::request_timeout`]s at worst, about three seconds when connections are refused.
    ///
    /// # Errors
    /// When the cluster as a whole cannot be read. A group or partition that cannot be read is no error: it carries
    /// its reason in the sample.
    pub fn poll(&mut self, now: UnixNanos) -> Result<Sample, ProbeError> {
        let polled = self.poll_once(now);
        if polled.is_err() {
            // A new client tries to connect at once instead of waiting out the old one's back-off.
            self.client = None;
        }
        polled
    }

    /// Asks where partitions ended at earlier times, in one call for each time a partition is asked about. Needs only
    /// the right to describe.
    ///
    /// Partitions that could not be asked are left out.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn offsets_at_times(
        &mut self,
        questions: &[(TopicPartition, UnixNanos)],
    ) -> Result<Vec<EndAtTime>, ProbeError> {
        let timeout = self.config.request_timeout;
        let client = self.client()?;
        // A call holds a partition once, each with its own time: the n-th question of every partition shares a call.
        let mut sorted = questions.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut calls: Vec<Vec<(TopicPartition, UnixNanos)>> = Vec::new();
        let mut nth = 0;
        for (index, question) in sorted.iter().enumerate() {
            let again = index > 0 && sorted[index - 1].0 == question.0;
            nth = if again { nth + 1 } else { 0 };
            if calls.len() <= nth {
                calls.push(Vec::new());
            }
            calls[nth].push(question.clone());
        }
        let mut answers = Vec::with_capacity(sorted.len());
        for call in calls {
            let asked: Vec<(TopicPartition, i64)> = call
                .iter()
                .map(|(partition, at)| {
                    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
                    (partition.clone(), millis)
                })
                .collect();
            let deadline = Instant::now() + timeout;
            let ends = client.list_offsets(&asked, Isolation::ReadUncommitted, deadline);
            for (partition, at) in call {
                if let Some(Ok(ListedOffset { offset })) = ends.get(&partition) {
                    answers.push(EndAtTime {
                        partition,
                        at,
                        offset: (*offset >= 0).then_some(*offset),
                    });
                }
            }
        }
        answers.sort_unstable_by(|a, b| (&a.partition, a.at).cmp(&(&b.partition, b.at)));
        Ok(answers)
    }

    fn client(&mut self) -> Result<&Admin, ProbeError> {
        let recycle = self.config.recycle_every;
        if self
            .client
            .as_ref()
            .is_some_and(|(_, made)| made.elapsed() >= recycle)
        {
            self.client = None;
        }
        if self.client.is_none() {
            let client = Admin::new(
                &self.config.client_config(),
                Context::default(),
                Arc::clone(&self.cancel),
            )
            .map_err(|error| ProbeError::Config {
                reason: reason::refused_setting(&error).into(),
            })?;
            self.client = Some((client, Instant::now()));
        }
        match &self.client {
            Some((client, _)) => Ok(client),
            None => Err(ProbeError::Stopped),
        }
    }

    fn poll_once(&mut self, now: UnixNanos) -> Result<Sample, ProbeError> {
        let begun = Instant::now();
        let clock = || now + begun.elapsed();
        let timeout = self.config.request_timeout;
        let bootstrap = self.config.bootstrap_servers();
        let cancel = Arc::clone(&self.cancel);

        let client = self.client()?;
        client.serve();
        let cluster = client
            .describe_cluster(Instant::now() + timeout)
            .map_err(|error| {
                if cancel.load(Ordering::Relaxed) {
                    return ProbeError::Stopped;
                }
                client.serve();
                let heard = client.context().last_error();
                ProbeError::Unreachable {
                    reason: reason::unreachable(&bootstrap, heard.as_ref(), &error.message).into(),
                }
            })?;
        let metadata = client.metadata(timeout).map_err(|error| ProbeError::Step {
            step: "listing topics",
            reason: error.to_string().into(),
        })?;
        let mut topics = BTreeMap::new();
        // Partition -> why its offsets cannot be read, if that is known already.
        let mut partitions: BTreeMap<TopicPartition, Option<Arc<str>>> = BTreeMap::new();
        for topic in metadata.topics() {
            let name: Arc<str> = Arc::from(topic.name());
            for partition in topic.partitions() {
                let trouble = if partition.leader() < 0 {
                    Some(Arc::from("the partition has no leader"))
                } else {
                    None
                };
                let key = TopicPartition {
                    topic: Arc::clone(&name),
                    partition: partition.id(),
                };
                partitions.insert(key, trouble);
            }
            topics.insert(
                Arc::clone(&name),
                TopicFacts {
                    partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX),
                    internal: is_internal(&name),
                    ..TopicFacts::default()
                },
            );
        }
        drop(metadata);

        self.list_groups_if_due()?;
        let mut groups = self.read_groups(&clock)?;
        let hidden = self.hidden_topics(&topics, &groups)?;
        self.read_topic_configs(&mut topics)?;
        let partitions = self.read_partitions(&topics, partitions, &groups, &clock)?;
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ProbeError::Stopped);
        }
        for group in groups.values_mut() {
            complete_assignments(group, &hidden);
        }
        Ok(Sample {
            cluster: Arc::clone(&self.config.name),
            cluster_id: cluster.id,
            started: now,
            finished: clock(),
            brokers: cluster.brokers,
            topics,
            partitions,
            groups,
        })
    }

    /// Lists groups when the list is old, or when it changed lately.
    fn list_groups_if_due(&mut self) -> Result<(), ProbeError> {
        let moving = self.groups_changed.elapsed() < GROUPS_IN_MOTION;
        let due = self
            .groups_listed
            .is_none_or(|at| moving || at.elapsed() >= self.config.list_groups_every);
        if !due {
            return Ok(());
        }
        let timeout = self.config.request_timeout;
        let configured = self.config.groups.clone();
        let client = self.client()?;
        // First those of every protocol, then the consumers': a group that is gone in between is then in neither.
        let others = client.other_groups(timeout);
        let listed = client.list_groups(Instant::now() + timeout);

        let mut found: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        let mut trouble = None;
        match listed {
            Ok(listing) => {
                for (name, group) in listing.groups {
                    found.insert(name, Arc::from(group.kind));
                }
                match others {
                    Ok(others) => {
                        for name in others {
                            found.entry(name).or_insert_with(|| Arc::from("share"));
                        }
                    }
                    Err(error) => trouble = Some(Arc::from(error.to_string())),
                }
                if !listing.errors.is_empty() {
                    trouble = Some(Arc::from(listing.errors.join("; ")));
                }
            }
            Err(error) => trouble = Some(error.message),
        }
        if trouble.is_some() {
            // Some brokers did not answer: the groups they own are not gone.
            for (name, kind) in &self.groups {
                found
                    .entry(Arc::clone(name))
                    .or_insert_with(|| Arc::clone(kind));
            }
        }
        for name in configured {
            found.entry(name).or_insert_with(|| Arc::from("classic"));
        }
        if let Some(trouble) = &trouble {
            tracing::warn!(cluster = %self.config.name, reason = %trouble, "groups could not all be listed");
        }
        if found.keys().ne(self.groups.keys()) {
            self.groups_changed = Instant::now();
        }
        self.groups = found;
        self.listing_error = trouble;
        self.groups_listed = Some(Instant::now());
        Ok(())
    }

    /// Describes every group and reads its committed offsets.
    fn read_groups(
        &mut self,
        clock: &impl Fn() -> UnixNanos,
    ) -> Result<BTreeMap<Arc<str>, GroupFacts>, ProbeError> {
        let timeout = self.config.request_timeout;
        let max_groups = self.config.max_groups;
        let known = self.groups.clone();
        let client = self.client()?;

        let mut facts = BTreeMap::new();
        let mut asked = Vec::new();
        for (index, (name, kind)) in known.into_iter().enumerate() {
            let mut group = GroupFacts {
                broker_state: Err(Arc::from("not asked")),
                kind: Arc::clone(&kind),
                members: Err(Arc::from("not asked")),
                committed: Committed::default(),
                error: None,
                read_at: clock(),
            };
            if index >= max_groups {
                group.error = Some(Arc::from(format!(
                    "the cluster has more than {max_groups} groups, and those beyond are not read"
                )));
            } else {
                asked.push(Arc::clone(&name));
            }
            facts.insert(name, group);
        }

        let consumers: Vec<Arc<str>> = asked
            .iter()
            .filter(|name| {
                facts
                    .get(*name)
                    .is_some_and(|group| &*group.kind != "share")
            })
            .cloned()
            .collect();
        let mut described = client.describe_groups(&consumers, Instant::now() + timeout);
        client.group_offsets(&asked, Instant::now() + timeout, |name, committed| {
            let Some(group) = facts.get_mut(name) else {
                return;
            };
            group.read_at = clock();
            match committed {
                Ok(committed) => group.committed = committed,
                Err(reason) => group.error = Some(reason),
            }
        });
        for name in &asked {
            if let Some(group) = facts.get_mut(name) {
                describe(group, described.remove(name));
            }
        }
        Ok(facts)
    }

    /// Topics that members are assigned and the cluster does not list, and why: a topic that is gone, or one that this
    /// user may not see, whose commits the broker leaves out too.
    fn hidden_topics(
        &mut self,
        topics: &BTreeMap<Arc<str>, TopicFacts>,
        groups: &BTreeMap<Arc<str>, GroupFacts>,
    ) -> Result<BTreeMap<Arc<str>, Arc<str>>, ProbeError> {
        let missing: BTreeSet<Arc<str>> = groups
            .values()
            .filter_map(|group| group.members.as_ref().ok())
            .flatten()
            .flat_map(|member| &member.assignment)
            .filter(|partition| !topics.contains_key(&partition.topic))
            .map(|partition| Arc::clone(&partition.topic))
            .collect();
        let timeout = self.config.request_timeout;
        let client = self.client()?;
        let mut hidden = BTreeMap::new();
        for (index, topic) in missing.into_iter().enumerate() {
            let why = if index < HIDDEN_TOPICS {
                client.topic_error(&topic, timeout)
            } else {
                None
            };
            let why = why.unwrap_or_else(|| Arc::from("the cluster did not list the topic"));
            hidden.insert(topic, why);
        }
        Ok(hidden)
    }

    /// Fills in configurations: all of them when old, a new topic's at once.
    fn read_topic_configs(
        &mut self,
        topics: &mut BTreeMap<Arc<str>, TopicFacts>,
    ) -> Result<(), ProbeError> {
        let timeout = self.config.request_timeout;
        let all = self
            .configs_read
            .is_none_or(|at| at.elapsed() >= self.config.topic_configs_every);
        let asked: Vec<Arc<str>> = topics
            .iter()
            .filter(|(name, facts)| !facts.internal && (all || !self.configs.contains_key(*name)))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let read = if asked.is_empty() {
            HashMap::new()
        } else {
            self.client()?.topic_configs(
                &asked,
                &[RETENTION, CLEANUP, DEAD_LETTER_ENABLE],
                Instant::now() + timeout,
            )
        };
        let mut unread = 0_usize;
        for (name, entries) in read {
            match entries {
                Ok(entries) => {
                    let config = TopicConfig {
                        retention_ms: entries.get(RETENTION).and_then(|ms| ms.parse().ok()),
                        compacted: entries
                            .get(CLEANUP)
                            .map(|policy| policy.contains("compact")),
                        dead_letter_enabled: entries
                            .get(DEAD_LETTER_ENABLE)
                            .is_some_and(|on| on == "true"),
                    };
                    self.configs.insert(name, config);
                }
                Err(_) => {
                    unread += 1;
                    // Known before: kept. Otherwise unknown until the next round of all.
                    self.configs.entry(name).or_default();
                }
            }
        }
        if unread > 0 {
            tracing::debug!(cluster = %self.config.name, topics = unread, "topic configurations could not be read");
        }
        if all {
            self.configs_read = Some(Instant::now());
        }
        self.configs.retain(|name, _| topics.contains_key(name));
        for (name, facts) in topics {
            if let Some(config) = self.configs.get(name) {
                facts.retention_ms = config.retention_ms;
                facts.compacted = config.compacted;
                facts.dead_letter_enabled = config.dead_letter_enabled;
            }
        }
        Ok(())
    }

    /// Reads log starts, ends and last stable offsets: of every topic, of internal ones only where a group reads them.
    fn read_partitions(
        &mut self,
        topics: &BTreeMap<Arc<str>, TopicFacts>,
        partitions: BTreeMap<TopicPartition, Option<Arc<str>>>,
        groups: &BTreeMap<Arc<str>, GroupFacts>,
        clock: &impl Fn() -> UnixNanos,
    ) -> Result<BTreeMap<TopicPartition, PartitionOffsets>, ProbeError> {
        let timeout = self.config.request_timeout;
        let max_partitions = self.config.max_partitions;
        let client = self.client()?;
        let is_internal = |topic: &Arc<str>| topics.get(topic).is_some_and(|facts| facts.internal);
        let consumed: BTreeSet<(&Arc<str>, i32)> = groups
            .values()
            .flat_map(|group| group.committed.topics())
            .filter(|(topic, _)| is_internal(topic))
            .flat_map(|(topic, partitions)| partitions.iter().map(move |&at| (topic, at)))
            .collect();
        let mut asked = Vec::new();
        let mut refused: BTreeMap<TopicPartition, Arc<str>> = BTreeMap::new();
        for (partition, trouble) in partitions {
            let place = (&partition.topic, partition.partition);
            if is_internal(&partition.topic) && !consumed.contains(&place) {
                continue;
            }
            if let Some(trouble) = trouble {
                refused.insert(partition, trouble);
            } else if asked.len() >= max_partitions {
                let trouble = format!(
                    "the cluster has more than {max_partitions} partitions, and those beyond are not read"
                );
                refused.insert(partition, Arc::from(trouble));
            } else {
                asked.push((partition, EARLIEST));
            }
        }

        // The end last: what was readable when the last stable offset was read is below it.
        let starts =
            client.list_offsets(&asked, Isolation::ReadUncommitted, Instant::now() + timeout);
        for (_, spec) in &mut asked {
            *spec = LATEST;
        }
        let stable =
            client.list_offsets(&asked, Isolation::ReadCommitted, Instant::now() + timeout);
        let ends =
            client.list_offsets(&asked, Isolation::ReadUncommitted, Instant::now() + timeout);
        let read_at = clock();

        let mut offsets: BTreeMap<TopicPartition, PartitionOffsets> = asked
            .into_iter()
            .map(|(partition, _)| {
                let read = PartitionOffsets {
                    log_start: known(starts.get(&partition)),
                    end: known(ends.get(&partition)),
                    last_stable: known(stable.get(&partition)),
                    read_at,
                };
                (partition, read)
            })
            .collect();
        offsets.extend(refused.into_iter().map(|(partition, trouble)| {
            let read = PartitionOffsets {
                log_start: Err(Arc::clone(&trouble)),
                end: Err(Arc::clone(&trouble)),
                last_stable: Err(trouble),
                read_at,
            };
            (partition, read)
        }));
        Ok(offsets)
    }
}

/// Kafka's own topics. Metadata as librdkafka gives it does not say.
fn is_internal(topic: &str) -> bool {
    matches!(
        topic,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state" | "__cluster_metadata"
    )
}

fn known(listed: Option<&Known<ListedOffset>>) -> Known<i64> {
    match listed {
        Some(Ok(ListedOffset { offset })) if *offset >= 0 => Ok(*offset),
        Some(Ok(_)) => Err(Arc::from("the broker named no offset")),
        Some(Err(reason)) => Err(Arc::clone(reason)),
        None => Err(Arc::from("the broker's answer leaves the partition out")),
    }
}

/// Adds what describing told.
fn describe(group: &mut GroupFacts, described: Option<Known<DescribedGroup>>) {
    if &*group.kind == "share" {
        // The broker lists it and describes it as no consumer group. One with commits is of Kafka Streams' protocol
        // (KIP-1071); a share group has none that this call could show.
        let commits = !group.committed.is_empty();
        group.kind = Arc::from(if commits { "streams" } else { "share" });
        group.broker_state = Err(Arc::from(
            "the Kafka client cannot describe a group of this protocol",
        ));
        if !commits {
            group.error = Some(Arc::from(
                "it is a share group, whose position is kept record by record, and the Kafka client has no call to read it",
            ));
        }
        group.members = group.broker_state.clone().map(|_| Vec::new());
        return;
    }
    match described {
        Some(Ok(described)) => {
            group.kind = Arc::from(described.kind);
            group.broker_state = Ok(described.state);
            group.members = Ok(described.members);
        }
        Some(Err(reason)) => {
            group.broker_state = Err(Arc::clone(&reason));
            group.members = Err(reason);
        }
        None => {
            let reason: Arc<str> = Arc::from("the broker's answer leaves the group out");
            group.broker_state = Err(Arc::clone(&reason));
            group.members = Err(reason);
        }
    }
}

/// A partition that a member has, and that has no commit, is known to have none; unless its topic is hidden: then so are
/// its commits.
fn complete_assignments(group: &mut GroupFacts, hidden: &BTreeMap<Arc<str>, Arc<str>>) {
    if group.error.is_some() {
        return;
    }
    if let Ok(members) = &group.members {
        let assigned = members.iter().flat_map(|member| &member.assignment);
        group.committed.add_missing(assigned.map(|partition| {
            let none = match hidden.get(&partition.topic) {
                Some(why) => Err(Arc::clone(why)),
                None => Ok(None),
            };
            (partition.clone(), none)
        }));
    }
}

#[cfg(test)]
mod tests {
    use highwater_model::broker::GroupMember;

    use super::*;

    fn facts() -> GroupFacts {
        GroupFacts {
            broker_state: Err(Arc::from("not asked")),
            kind: Arc::from("classic"),
            members: Ok(vec![GroupMember {
                member_id: Arc::from("m"),
                client_id: Arc::from("c"),
                host: Arc::from("/127.0.0.1"),
                assignment: vec![partition(0), partition(1)],
            }]),
            committed: Committed::from([(partition(0), Ok(Some(7)))]),
            error: None,
            read_at: UnixNanos(1),
        }
    }

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::from("orders"),
            partition,
        }
    }

    #[test]
    fn an_assigned_partition_without_a_commit_is_none_and_not_unknown() {
        let mut group = facts();
        complete_assignments(&mut group, &BTreeMap::new());
        assert_eq!(group.committed.get(&partition(0)), Some(Ok(Some(7))));
        assert_eq!(group.committed.get(&partition(1)), Some(Ok(None)));
    }

    #[test]
    fn an_assigned_partition_of_a_hidden_topic_is_unknown_and_not_none() {
        let mut group = facts();
        let why: Arc<str> = Arc::from("Broker: Topic authorization failed");
        let hidden = BTreeMap::from([(partition(1).topic, Arc::clone(&why))]);
        complete_assignments(&mut group, &hidden);
        assert_eq!(group.committed.get(&partition(0)), Some(Ok(Some(7))));
        assert_eq!(group.committed.get(&partition(1)), Some(Err(why)));
    }

    #[test]
    fn a_group_whose_offsets_could_not_be_read_gets_no_commit_facts() {
        let mut group = facts();
        group.committed = Committed::default();
        group.error = Some(Arc::from("Group authorization failed"));
        complete_assignments(&mut group, &BTreeMap::new());
        assert!(group.committed.is_empty());
    }

    #[test]
    fn an_offset_that_the_broker_did_not_name_is_unknown_and_never_zero() {
        assert!(known(None).is_err());
        assert!(known(Some(&Ok(ListedOffset { offset: -1 }))).is_err());
        let refused: Arc<str> = Arc::from("Broker: Leader not available");
        assert_eq!(known(Some(&Err(Arc::clone(&refused)))), Err(refused));
        assert_eq!(known(Some(&Ok(ListedOffset { offset: 0 }))), Ok(0));
    }

    #[test]
    fn a_refused_setting_is_named_without_its_value() {
        let mut config = KafkaConfig::new("main", ["127.0.0.1:1"]);
        config
            .properties
            .insert("sasl.pasword".to_owned(), "hunter2".to_owned());
        let Err(ProbeError::Config { reason }) = KafkaProbe::connect(config) else {
            panic!("accepted");
        };
        assert!(reason.contains("sasl.pasword"), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}
