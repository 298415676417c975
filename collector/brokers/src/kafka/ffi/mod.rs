//! The one module with `unsafe`: librdkafka's admin calls that rust-rdkafka does not wrap.
//!
//! Everything that librdkafka hands out is held by [`Owned`], which destroys it once. Every call has a queue of its own,
//! so that an answer which comes too late is thrown away by the library with that queue and can never be taken for
//! another call's. Nothing here outlives [`Admin`], which holds the client.
//!
//! Error codes are read as plain integers: a newer broker may send a code that this library's enum lacks, and a Rust
//! enum must not hold one.
#![expect(
    unsafe_code,
    reason = "librdkafka's admin calls have no safe wrapper in rust-rdkafka 0.39"
)]

mod decode;
mod owned;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_model::broker::{Committed, GroupMember, Known, TopicPartition};
use rdkafka::bindings as rd;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientConfig, metadata::Metadata};

use super::context::Context;
use decode::{
    Names, array, c_string, c_strings, code_text, committed_offsets, config_entries,
    described_group, error_text, event_error, kind, optional_text, partition_error, partition_list,
    text, topic_partition,
};
use owned::Owned;

/// How often a wait looks at its cancel flag and serves the client's own events.
const SLICE: Duration = Duration::from_millis(100);
/// How long all brokers may be down before a call is given up: time for every address of a name to be tried.
const DOWN_GRACE: Duration = Duration::from_secs(3);
/// Partitions in one ListOffsets call. The library merges answers in quadratic time, so calls are kept small.
const LIST_OFFSETS_BATCH: usize = 1_000;
/// Groups in one DescribeConsumerGroups call.
const DESCRIBE_BATCH: usize = 100;
/// Topics in one DescribeConfigs call: an answer carries about forty entries a topic.
const CONFIGS_BATCH: usize = 200;
/// Calls under way at once.
const WINDOW: usize = 30;

/// Why a call failed, in the library's or the broker's words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    /// The words.
    pub(crate) message: Arc<str>,
}

impl CallError {
    fn new(message: impl Into<Arc<str>>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

type Queue = Owned<rd::rd_kafka_queue_t>;
type Options = Owned<rd::rd_kafka_AdminOptions_t>;
type Event = Owned<rd::rd_kafka_event_t>;
type PartitionList = Owned<rd::rd_kafka_topic_partition_list_t>;

/// A group as ListConsumerGroups names it.
#[derive(Clone, Debug)]
pub(crate) struct ListedGroup {
    /// `classic` or `consumer`; the broker's word is not told by versions before 3.8, and then it is `classic`.
    pub(crate) kind: &'static str,
}

/// What ListConsumerGroups said.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupListing {
    /// By name, so that a group listed twice stands once.
    pub(crate) groups: BTreeMap<Arc<str>, ListedGroup>,
    /// Brokers that did not answer, in their words. Not empty: groups may be missing.
    pub(crate) errors: Vec<String>,
}

/// A group as DescribeConsumerGroups tells it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedGroup {
    pub(crate) kind: &'static str,
    pub(crate) state: Arc<str>,
    pub(crate) members: Vec<GroupMember>,
}

/// The cluster as DescribeCluster tells it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedCluster {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) brokers: Vec<(i32, Arc<str>)>,
}

/// An answer of ListOffsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedOffset {
    /// The offset; -1 when asked by time and no record is that young.
    pub(crate) offset: i64,
}

/// Which transactions a reader of offsets sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// Ask for the log start.
pub(crate) const EARLIEST: i64 = -2;
/// Ask for the end.
pub(crate) const LATEST: i64 = -1;

/// Serves what waits in a client's queue, to its context. For clients that expect no messages now.
pub(crate) fn serve(client: &BaseConsumer<Context>) {
    // One call serves one event, and does not tell an event from an empty queue: an empty one costs a microsecond.
    for _ in 0..32 {
        let _event = client.poll(Duration::ZERO);
    }
}

/// A client for admin calls. A consumer that joins no group: a producer's metadata requests may create topics.
pub(crate) struct Admin {
    client: BaseConsumer<Context>,
    cancel: Arc<AtomicBool>,
}

impl Admin {
    /// Makes a client; nothing is sent yet.
    pub(crate) fn new(
        config: &ClientConfig,
        context: Context,
        cancel: Arc<AtomicBool>,
    ) -> KafkaResult<Self> {
        let client = BaseConsumer::from_config_and_context(config, context)?;
        Ok(Self { client, cancel })
    }

    /// What the client heard about its connections.
    pub(crate) fn context(&self) -> &Context {
        self.client.context()
    }

    /// All topics with their partitions. Blocks for `timeout` at most.
    pub(crate) fn metadata(&self, timeout: Duration) -> KafkaResult<Metadata> {
        self.client.fetch_metadata(None, timeout)
    }

    /// Why the list of all topics leaves one out, in the broker's words; `None` when it is there after all. Blocks for
    /// `timeout` at most.
    pub(crate) fn topic_error(&self, topic: &str, timeout: Duration) -> Option<Arc<str>> {
        let metadata = match self.client.fetch_metadata(Some(topic), timeout) {
            Ok(metadata) => metadata,
            Err(error) => return Some(Arc::from(error.to_string())),
        };
        let code = metadata.topics().first()?.error()?;
        if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
            return Some(Arc::from("the topic is gone"));
        }
        Some(code_text(code as c_int))
    }

    /// Names of groups that ListConsumerGroups leaves out: neither classic consumers nor of the `consumer` protocol.
    /// That is how share groups show, for which the library has no call. Blocks for `timeout` at most.
    pub(crate) fn other_groups(&self, timeout: Duration) -> KafkaResult<BTreeSet<Arc<str>>> {
        let list = self.client.client().fetch_group_list(None, timeout)?;
        // A broker describes a group of another protocol as if it were not there.
        Ok(list
            .groups()
            .iter()
            .filter(|group| group.protocol_type().is_empty() && group.members().is_empty())
            .filter(|group| matches!(group.state(), "Dead" | ""))
            .map(|group| Arc::from(group.name()))
            .collect())
    }

    /// Serves the client's own queue: logs, errors, token refreshes.
    pub(crate) fn serve(&self) {
        serve(&self.client);
    }

    fn native(&self) -> *mut rd::rd_kafka_t {
        self.client.client().native_ptr()
    }

    fn queue(&self) -> Result<Queue, CallError> {
        // SAFETY: the client is alive while `self` is; the queue is destroyed by `Owned` within this call's frame, so
        // before the client.
        unsafe {
            Owned::new(
                rd::rd_kafka_queue_new(self.native()),
                rd::rd_kafka_queue_destroy,
                "a queue",
            )
        }
    }

    fn options(
        &self,
        op: rd::rd_kafka_admin_op_t,
        isolation: Option<Isolation>,
        index: usize,
        remaining: Duration,
    ) -> Result<Options, CallError> {
        // SAFETY: the client is alive; the options are destroyed by `Owned`.
        let options = unsafe {
            Owned::new(
                rd::rd_kafka_AdminOptions_new(self.native(), op),
                rd::rd_kafka_AdminOptions_destroy,
                "options",
            )?
        };
        let timeout_ms = c_int::try_from(remaining.as_millis())
            .unwrap_or(c_int::MAX)
            .clamp(1, 3_600_000);
        let mut errstr = [0 as c_char; 512];
        // SAFETY: options are alive, the buffer's length is told, and a timeout within the range documented (1 ms to
        // 1 h) is accepted. The opaque is only a number for us: the library carries it and never follows it.
        unsafe {
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options.ptr(),
                timeout_ms,
                errstr.as_mut_ptr(),
                errstr.len(),
            );
            rd::rd_kafka_AdminOptions_set_opaque(
                options.ptr(),
                ptr::without_provenance_mut(index + 1),
            );
        }
        if let Some(isolation) = isolation {
            let level = match isolation {
                Isolation::ReadUncommitted => {
                    rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
                }
                Isolation::ReadCommitted => {
                    rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
                }
            };
            // SAFETY: options are alive; the returned error is null or ours to destroy.
            let refused = unsafe {
                Owned::new(
                    rd::rd_kafka_AdminOptions_set_isolation_level(options.ptr(), level),
                    rd::rd_kafka_error_destroy,
                    "",
                )
            };
            if let Ok(error) = refused {
                return Err(CallError::new(error_text(error.ptr())));
            }
        }
        Ok(options)
    }

    /// Runs `count` calls with [`WINDOW`] under way, and hands each result to `finish` as it comes.
    ///
    /// `start(index, options, queue)` sends one; an error of it, of the call, or the deadline's passing goes to
    /// `finish` for that index. Every index is finished exactly once.
    fn run(
        &self,
        op: rd::rd_kafka_admin_op_t,
        isolation: Option<Isolation>,
        count: usize,
        deadline: Instant,
        mut start: impl FnMut(usize, &Options, &Queue) -> Result<(), CallError>,
        mut finish: impl FnMut(usize, Result<&Event, CallError>),
    ) {
        let begun = Instant::now();
        let queue = match self.queue() {
            Ok(queue) => queue,
            Err(error) => {
                for index in 0..count {
                    finish(index, Err(error.clone()));
                }
                return;
            }
        };
        let mut under_way = BTreeSet::new();
        let mut next = 0;
        let gave_up = loop {
            while next < count && under_way.len() < WINDOW {
                let remaining = deadline.saturating_duration_since(Instant::now());
                let sent = self
                    .options(op, isolation, next, remaining)
                    .and_then(|options| start(next, &options, &queue));
                match sent {
                    Ok(()) => {
                        under_way.insert(next);
                    }
                    Err(error) => finish(next, Err(error)),
                }
                next += 1;
            }
            if under_way.is_empty() {
                return;
            }
            self.serve();
            let now = Instant::now();
            if self.cancel.load(Ordering::Relaxed) {
                break CallError::new("stopped");
            }
            // The library gives up by itself at the deadline; the slice leaves it time to say so.
            if now >= deadline + SLICE {
                break CallError::new("no answer within the time allowed");
            }
            if now >= begun + DOWN_GRACE && self.context().all_down() {
                break CallError::new("all brokers are down");
            }
            // SAFETY: the queue is alive; the event, if one comes, is ours to destroy.
            let event = unsafe {
                Owned::new(
                    rd::rd_kafka_queue_poll(queue.ptr(), SLICE.as_millis() as c_int),
                    rd::rd_kafka_event_destroy,
                    "",
                )
            };
            let Ok(event) = event else { continue };
            // SAFETY: the event is alive; what comes back is the number set in `options`, or null for an event that
            // no call of ours asked for.
            let opaque = unsafe { rd::rd_kafka_event_opaque(event.ptr()) }.addr();
            let Some(index) = opaque.checked_sub(1) else {
                continue;
            };
            if under_way.remove(&index) {
                match event_error(&event) {
                    Some(error) => finish(index, Err(error)),
                    None => {
                        self.context().answered();
                        finish(index, Ok(&event));
                    }
                }
            }
        };
        for index in under_way.into_iter().chain(next..count) {
            finish(index, Err(gave_up.clone()));
        }
    }

    /// Asks who is in the cluster. The first call of a poll: it tells whether anybody answers.
    pub(crate) fn describe_cluster(
        &self,
        deadline: Instant,
    ) -> Result<DescribedCluster, CallError> {
        let mut answer = Err(CallError::new("not asked"));
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER,
            None,
            1,
            deadline,
            |_, options, queue| {
                // SAFETY: client, options and queue are alive; the library copies the options.
                unsafe { rd::rd_kafka_DescribeCluster(self.native(), options.ptr(), queue.ptr()) };
                Ok(())
            },
            |_, event| {
                answer = event.map(|event| {
                    // SAFETY: the event is alive for this closure and everything read belongs to it; `array` checks
                    // what it is given; strings are copied.
                    unsafe {
                        let result = rd::rd_kafka_event_DescribeCluster_result(event.ptr());
                        if result.is_null() {
                            return DescribedCluster {
                                id: None,
                                brokers: Vec::new(),
                            };
                        }
                        let mut count = 0;
                        let nodes = rd::rd_kafka_DescribeCluster_result_nodes(result, &mut count);
                        DescribedCluster {
                            id: optional_text(rd::rd_kafka_DescribeCluster_result_cluster_id(
                                result,
                            )),
                            brokers: array(nodes, count)
                                .iter()
                                .map(|&node| {
                                    let host = text(rd::rd_kafka_Node_host(node));
                                    let port = rd::rd_kafka_Node_port(node);
                                    (
                                        rd::rd_kafka_Node_id(node),
                                        Arc::from(format!("{host}:{port}")),
                                    )
                                })
                                .collect(),
                        }
                    }
                });
            },
        );
        answer
    }

    /// Lists the consumer groups of every broker.
    pub(crate) fn list_groups(&self, deadline: Instant) -> Result<GroupListing, CallError> {
        let mut answer = Err(CallError::new("not asked"));
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
            None,
            1,
            deadline,
            |_, options, queue| {
                // SAFETY: client, options and queue are alive; the library copies the options.
                unsafe {
                    rd::rd_kafka_ListConsumerGroups(self.native(), options.ptr(), queue.ptr());
                }
                Ok(())
            },
            |_, event| {
                answer = event.map(|event| {
                    // SAFETY: the event is alive for this closure and everything read belongs to it.
                    unsafe {
                        let mut listing = GroupListing::default();
                        let result = rd::rd_kafka_event_ListConsumerGroups_result(event.ptr());
                        if result.is_null() {
                            return listing;
                        }
                        let mut count = 0;
                        let valid =
                            rd::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
                        for &group in array(valid, count) {
                            listing.groups.insert(
                                text(rd::rd_kafka_ConsumerGroupListing_group_id(group)),
                                ListedGroup {
                                    kind: kind(rd::rd_kafka_ConsumerGroupListing_type(group)),
                                },
                            );
                        }
                        let errors =
                            rd::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
                        listing.errors = array(errors, count)
                            .iter()
                            .map(|&error| error_text(error))
                            .collect();
                        listing
                    }
                });
            },
        );
        answer
    }

    /// Describes groups, a hundred a call.
    pub(crate) fn describe_groups(
        &self,
        groups: &[Arc<str>],
        deadline: Instant,
    ) -> HashMap<Arc<str>, Known<DescribedGroup>> {
        let mut answer = HashMap::with_capacity(groups.len());
        let mut names = Names::default();
        let batches: Vec<&[Arc<str>]> = groups.chunks(DESCRIBE_BATCH).collect();
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            None,
            batches.len(),
            deadline,
            |index, options, queue| {
                let names = c_strings(batches[index])?;
                let mut pointers: Vec<*const c_char> =
                    names.iter().map(|name| name.as_ptr()).collect();
                // SAFETY: client, options, queue and the names are alive for the call, which copies them.
                unsafe {
                    rd::rd_kafka_DescribeConsumerGroups(
                        self.native(),
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        options.ptr(),
                        queue.ptr(),
                    );
                }
                Ok(())
            },
            |index, event| match event {
                // SAFETY: the event is alive for this closure and everything read belongs to it.
                Ok(event) => unsafe {
                    let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.ptr());
                    if result.is_null() {
                        return;
                    }
                    let mut count = 0;
                    let described =
                        rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                    for &group in array(described, count) {
                        let name = text(rd::rd_kafka_ConsumerGroupDescription_group_id(group));
                        answer.insert(name, described_group(group, &mut names));
                    }
                },
                Err(error) => {
                    for name in batches[index] {
                        answer.insert(Arc::clone(name), Err(Arc::clone(&error.message)));
                    }
                }
            },
        );
        answer
    }

    /// Reads all committed offsets of each group, thirty groups under way, and hands each to `each` as it comes.
    pub(crate) fn group_offsets(
        &self,
        groups: &[Arc<str>],
        deadline: Instant,
        mut each: impl FnMut(&Arc<str>, Known<Committed>),
    ) {
        let mut names = Names::default();
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            None,
            groups.len(),
            deadline,
            |index, options, queue| {
                let name = c_string(&groups[index])?;
                // SAFETY: null partitions ask for all; the request is destroyed by `Owned` after the call, which
                // copies it; client, options and queue are alive.
                unsafe {
                    let request = Owned::new(
                        rd::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null()),
                        rd::rd_kafka_ListConsumerGroupOffsets_destroy,
                        "a request",
                    )?;
                    let mut requests = [request.ptr()];
                    rd::rd_kafka_ListConsumerGroupOffsets(
                        self.native(),
                        requests.as_mut_ptr(),
                        requests.len(),
                        options.ptr(),
                        queue.ptr(),
                    );
                }
                Ok(())
            },
            |index, event| {
                let offsets = match event {
                    // SAFETY: the event is alive for this closure and everything read belongs to it.
                    Ok(event) => unsafe { committed_offsets(event, &mut names) },
                    Err(error) => Err(error.message),
                };
                each(&groups[index], offsets);
            },
        );
    }

    /// Asks where partitions begin, end, or stood at a time (milliseconds, 0 and later).
    pub(crate) fn list_offsets(
        &self,
        asked: &[(TopicPartition, i64)],
        isolation: Isolation,
        deadline: Instant,
    ) -> HashMap<TopicPartition, Known<ListedOffset>> {
        let mut answer = HashMap::with_capacity(asked.len());
        let mut names = Names::default();
        let batches: Vec<&[(TopicPartition, i64)]> = asked.chunks(LIST_OFFSETS_BATCH).collect();
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            Some(isolation),
            batches.len(),
            deadline,
            |index, options, queue| {
                let list = partition_list(batches[index])?;
                // SAFETY: client, list, options and queue are alive for the call, which copies list and options.
                unsafe {
                    rd::rd_kafka_ListOffsets(self.native(), list.ptr(), options.ptr(), queue.ptr());
                }
                Ok(())
            },
            |index, event| match event {
                // SAFETY: the event is alive for this closure and everything read belongs to it.
                Ok(event) => unsafe {
                    let result = rd::rd_kafka_event_ListOffsets_result(event.ptr());
                    if result.is_null() {
                        return;
                    }
                    let mut count = 0;
                    let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
                    for &info in array(infos, count) {
                        let partition = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                        let error = partition_error(partition);
                        let offset = match error {
                            Some(reason) => Err(reason),
                            None => Ok(ListedOffset {
                                offset: (*partition).offset,
                            }),
                        };
                        answer.insert(topic_partition(partition, &mut names), offset);
                    }
                },
                Err(error) => {
                    for (partition, _) in batches[index] {
                        answer.insert(partition.clone(), Err(Arc::clone(&error.message)));
                    }
                }
            },
        );
        answer
    }

    /// Reads the configuration of topics, restricted to the `keys` of interest.
    pub(crate) fn topic_configs(
        &self,
        topics: &[Arc<str>],
        keys: &[&str],
        deadline: Instant,
    ) -> HashMap<Arc<str>, Known<HashMap<String, String>>> {
        let mut answer = HashMap::with_capacity(topics.len());
        let batches: Vec<&[Arc<str>]> = topics.chunks(CONFIGS_BATCH).collect();
        self.run(
            rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            None,
            batches.len(),
            deadline,
            |index, options, queue| {
                let names = c_strings(batches[index])?;
                let mut resources = Vec::with_capacity(names.len());
                for name in &names {
                    // SAFETY: the name is alive and copied; the resource is destroyed by `Owned`.
                    resources.push(unsafe {
                        Owned::new(
                            rd::rd_kafka_ConfigResource_new(
                                rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                                name.as_ptr(),
                            ),
                            rd::rd_kafka_ConfigResource_destroy,
                            "a resource",
                        )?
                    });
                }
                let mut pointers: Vec<_> = resources.iter().map(Owned::ptr).collect();
                // SAFETY: client, resources, options and queue are alive for the call, which copies them.
                unsafe {
                    rd::rd_kafka_DescribeConfigs(
                        self.native(),
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        options.ptr(),
                        queue.ptr(),
                    );
                }
                Ok(())
            },
            |index, event| match event {
                // SAFETY: the event is alive for this closure and everything read belongs to it.
                Ok(event) => unsafe {
                    let result = rd::rd_kafka_event_DescribeConfigs_result(event.ptr());
                    if result.is_null() {
                        return;
                    }
                    let mut count = 0;
                    let resources =
                        rd::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
                    for &resource in array(resources, count) {
                        let name = text(rd::rd_kafka_ConfigResource_name(resource));
                        // No error text means no error: the code itself may be one that the enum lacks.
                        let error =
                            optional_text(rd::rd_kafka_ConfigResource_error_string(resource));
                        let entries = match error {
                            Some(reason) => Err(reason),
                            None => Ok(config_entries(resource, keys)),
                        };
                        answer.insert(name, entries);
                    }
                },
                Err(error) => {
                    for name in batches[index] {
                        answer.insert(Arc::clone(name), Err(Arc::clone(&error.message)));
                    }
                }
            },
        );
        answer
    }
}
