//! Reads records by partition and offset range, without a group and without commits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_model::UnixNanos;
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message, Timestamp};
use rdkafka::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use super::context::Context;
use super::ffi::serve;
use super::reason;

/// librdkafka reads assigned partitions only with a group id. No group of this name is ever joined or committed to: the
/// broker does not come to know it.
const READER: &str = "highwater-reader";

/// Topics that one client reads. It keeps every partition of each for as long as it lives, 1.6 KB a partition.
const TOPICS: usize = 8;

/// One wait for a message.
const SLICE: Duration = Duration::from_millis(200);

/// What a record's timestamp means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampKind {
    /// Set by the producer; may be wrong.
    CreateTime,
    /// Set by the broker as it appended.
    LogAppendTime,
    /// The record has none.
    NotAvailable,
}

/// A record as the broker keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRecord {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Its time; `None` when it has none.
    pub timestamp: Option<UnixNanos>,
    /// What the time means.
    pub timestamp_kind: TimestampKind,
    /// The key; `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is Kafka's null, a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; names may repeat; `None` is Kafka's null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl BrokerRecord {
    fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let (timestamp, timestamp_kind) = match message.timestamp() {
            Timestamp::CreateTime(ms) if ms >= 0 => {
                (Some(UnixNanos::from_millis(ms)), TimestampKind::CreateTime)
            }
            Timestamp::LogAppendTime(ms) if ms >= 0 => (
                Some(UnixNanos::from_millis(ms)),
                TimestampKind::LogAppendTime,
            ),
            _ => (None, TimestampKind::NotAvailable),
        };
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp,
            timestamp_kind,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// Bytes of key, value and headers.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers.sum::<usize>()
    }
}

/// Bounds of one read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Records at most.
    pub max_records: usize,
    /// Bytes of keys, values and headers at most; one record is returned even if larger.
    pub max_bytes: usize,
    /// The read ends by this, with what it has.
    pub timeout: Duration,
    /// Leave out records of open and aborted transactions. Dead letters are read without.
    pub committed_only: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            max_records: 100,
            max_bytes: 8 << 20,
            timeout: Duration::from_secs(10),
            committed_only: false,
        }
    }
}

/// Why a read ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadStop {
    /// Everything asked for was read.
    Complete,
    /// `max_records` or `max_bytes` was reached; more may follow.
    Full,
    /// The time was up; more may follow.
    TimedOut,
}

/// Records of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordPage {
    /// The records: by rising offset from [`KafkaRecords::read`], by falling offset from
    /// [`KafkaRecords::read_before`].
    pub records: Vec<BrokerRecord>,
    /// Where to go on: the next offset for `read`, the exclusive bound for `read_before`; `None` when nothing is left.
    pub next: Option<i64>,
    /// Why it ended.
    pub stop: ReadStop,
    /// First offset kept when the read began.
    pub log_start: i64,
    /// High watermark when the read began.
    pub end: i64,
}

/// Oldest and newest record of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edges {
    /// The oldest record kept; `None` when there is none, or it was not found in time.
    pub oldest: Option<BrokerRecord>,
    /// The newest; `None` when there is none, or it was not found in time.
    pub newest: Option<BrokerRecord>,
}

/// Why records could not be read. The text is a sentence for a page.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// librdkafka refuses a setting.
    #[error("{0}")]
    Config(Arc<str>),
    /// The cluster does not answer.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// There is no such topic or partition.
    #[error("{topic} has no partition {partition} in this cluster")]
    NoSuchPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The broker refused, in its words.
    #[error("cannot {step} {topic}/{partition}: {reason}")]
    Refused {
        /// What was asked.
        step: &'static str,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's words.
        reason: Arc<str>,
    },
}

/// A reader of records. Calls block; one at a time goes to the broker.
pub struct KafkaRecords {
    config: KafkaConfig,
    /// Kept between reads, of a few topics; a read that failed leaves none, so that the next begins afresh.
    idle: Mutex<[Option<Client>; 2]>,
}

/// A client and the topics it has read.
struct Client {
    consumer: BaseConsumer<Context>,
    topics: BTreeSet<String>,
}

impl Client {
    /// It has read the topic, or may read one more.
    fn takes(&self, topic: &str) -> bool {
        self.topics.len() < TOPICS || self.topics.contains(topic)
    }
}

/// A bounded read under way.
struct Reading<'a> {
    consumer: &'a BaseConsumer<Context>,
    bootstrap: &'a str,
    topic: &'a str,
    partition: i32,
    deadline: Instant,
}

impl KafkaRecords {
    /// Prepares a reader. Nothing is sent before the first read.
    #[must_use]
    pub fn new(config: KafkaConfig) -> Self {
        Self {
            config,
            idle: Mutex::new([None, None]),
        }
    }

    /// Reads records with offsets in `from..to` (`to` `None`: the end as of now), oldest first.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses. Running out of time is no error: see [`RecordPage::stop`].
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        to: Option<i64>,
        options: ReadOptions,
    ) -> Result<RecordPage, RecordError> {
        self.with(topic, partition, options, |reading| {
            let (log_start, end) = reading.watermarks()?;
            let from = from.max(log_start);
            let to = to.map_or(end, |to| to.min(end));
            let mut records = Vec::new();
            let (next, stop) = reading.range(from, to, options, &mut records)?;
            Ok(RecordPage {
                records,
                next: (next < to).then_some(next),
                stop,
                log_start,
                end,
            })
        })
    }

    /// Reads the newest records below `before` (`None`: the end as of now), newest first.
    ///
    /// Where offsets are missing (compaction, transaction markers) it looks further back, until it has
    /// `max_records`, reaches the log start, or runs out of time.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_before(
        &self,
        topic: &str,
        partition: i32,
        before: Option<i64>,
        options: ReadOptions,
    ) -> Result<RecordPage, RecordError> {
        self.with(topic, partition, options, |reading| {
            let (log_start, end) = reading.watermarks()?;
            let bound = before.map_or(end, |before| before.min(end));
            let (records, bound, stop) = reading.newest(log_start, bound, options)?;
            Ok(RecordPage {
                records,
                next: (bound > log_start).then_some(bound),
                stop,
                log_start,
                end,
            })
        })
    }

    /// Reads the oldest and the newest record of a partition: their times are the ages of what it keeps.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn edges(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<Edges, RecordError> {
        let one = ReadOptions {
            max_records: 1,
            timeout,
            ..ReadOptions::default()
        };
        self.with(topic, partition, one, |reading| {
            let (log_start, end) = reading.watermarks()?;
            let mut oldest = Vec::new();
            reading.range(log_start, end, one, &mut oldest)?;
            let (newest, _, _) = reading.newest(log_start, end, one)?;
            Ok(Edges {
                oldest: oldest.into_iter().next(),
                newest: newest.into_iter().next(),
            })
        })
    }

    /// Looks for a record that a read_committed consumer would get at or after `from`, up to the end as of now.
    ///
    /// `Ok(Some(offset))` is the first; `Ok(None)` says that nothing is there to read (only transaction markers,
    /// aborted records or holes), and up to which end that holds.
    ///
    /// # Errors
    /// As [`Self::read`]; also when the time was up before the answer was known.
    pub fn first_readable(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
    ) -> Result<(Option<i64>, i64), RecordError> {
        let options = ReadOptions {
            max_records: 1,
            timeout,
            committed_only: true,
            ..ReadOptions::default()
        };
        let page = self.read(topic, partition, from, None, options)?;
        match (page.records.first(), page.stop) {
            (Some(record), _) => Ok((Some(record.offset), page.end)),
            (None, ReadStop::Complete) => Ok((None, page.end)),
            (None, _) => Err(RecordError::Refused {
                step: "read",
                topic: topic.to_owned(),
                partition,
                reason: Arc::from("no answer within the time allowed"),
            }),
        }
    }

    /// Runs `work` with a client that has the wanted isolation; keeps the client when the work succeeds.
    fn with<T>(
        &self,
        topic: &str,
        partition: i32,
        options: ReadOptions,
        work: impl FnOnce(&Reading<'_>) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let slot = usize::from(options.committed_only);
        // The lock is held for the whole read: at most one read at a time weighs on the broker.
        let mut idle = self.idle.lock();
        let mut client = match idle[slot].take().filter(|client| client.takes(topic)) {
            Some(client) => client,
            None => Client {
                consumer: self.consumer(options.committed_only)?,
                topics: BTreeSet::new(),
            },
        };
        client.topics.insert(topic.to_owned());
        let done = work(&Reading {
            consumer: &client.consumer,
            bootstrap: &self.config.bootstrap_servers(),
            topic,
            partition,
            deadline: Instant::now() + options.timeout,
        });
        match &done {
            Ok(_) => idle[slot] = Some(client),
            Err(_) => {
                drop(idle);
                drop(client);
            }
        }
        done
    }

    fn consumer(&self, committed_only: bool) -> Result<BaseConsumer<Context>, RecordError> {
        let isolation = if committed_only {
            "read_committed"
        } else {
            "read_uncommitted"
        };
        let mut config = self.config.client_config();
        config
            .set("group.id", READER)
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            // A page is small: what the library fetches ahead would be thrown away.
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.max.bytes", "4194304")
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.wait.max.ms", "50");
        BaseConsumer::from_config_and_context(&config, Context::default())
            .map_err(|error| RecordError::Config(reason::refused_setting(&error).into()))
    }
}

impl Reading<'_> {
    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn refused(&self, step: &'static str, error: &KafkaError) -> RecordError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
            ) => RecordError::NoSuchPartition {
                topic: self.topic.to_owned(),
                partition: self.partition,
            },
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut,
            ) => {
                serve(self.consumer);
                let heard = self.consumer.context().last_error();
                RecordError::Unreachable(
                    reason::unreachable(
                        self.bootstrap,
                        heard.as_ref(),
                        "no answer within the time allowed",
                    )
                    .into(),
                )
            }
            _ => RecordError::Refused {
                step,
                topic: self.topic.to_owned(),
                partition: self.partition,
                reason: Arc::from(error.to_string()),
            },
        }
    }

    /// Log start and high watermark.
    fn watermarks(&self) -> Result<(i64, i64), RecordError> {
        self.consumer
            .fetch_watermarks(self.topic, self.partition, self.remaining())
            .map_err(|error| self.refused("find the ends of", &error))
    }

    /// Reads `from..to` into `records`. Returns where it stopped, and why; every record below that was read.
    fn range(
        &self,
        from: i64,
        to: i64,
        options: ReadOptions,
        records: &mut Vec<BrokerRecord>,
    ) -> Result<(i64, ReadStop), RecordError> {
        if from >= to {
            return Ok((to.max(from), ReadStop::Complete));
        }
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(self.topic, self.partition, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(|error| self.refused("assign", &error))?;
        let read = self.assigned(from, to, options, records);
        // Nothing may be fetched while the client is idle.
        self.consumer
            .unassign()
            .map_err(|error| self.refused("release", &error))?;
        read
    }

    /// Reads the newest records below `bound`, newest first. Returns them, the new bound, and why it stopped.
    fn newest(
        &self,
        log_start: i64,
        mut bound: i64,
        options: ReadOptions,
    ) -> Result<(Vec<BrokerRecord>, i64, ReadStop), RecordError> {
        let mut records: Vec<BrokerRecord> = Vec::new();
        let mut bytes = 0;
        let mut step = i64::try_from(options.max_records)
            .unwrap_or(i64::MAX)
            .max(1);
        let mut stop = ReadStop::Complete;
        while bound > log_start && records.len() < options.max_records {
            let from = bound.saturating_sub(step).max(log_start);
            let mut found = Vec::new();
            let left = ReadOptions {
                // All of the span is needed, since the newest of it comes last.
                max_records: usize::MAX,
                max_bytes: options.max_bytes.saturating_sub(bytes).max(1),
                ..options
            };
            let (next, ended) = self.range(from, bound, left, &mut found)?;
            if ended != ReadStop::Complete && next < bound {
                if ended == ReadStop::TimedOut || step == 1 {
                    // What was read is the older part of the span: it cannot be handed on without a gap.
                    stop = ended;
                    break;
                }
                // Too many bytes: take a shorter span.
                step = (step / 4).max(1);
                continue;
            }
            found.reverse();
            let room = options.max_records - records.len();
            let cut = found.len() > room;
            found.truncate(room);
            let size: usize = found.iter().map(BrokerRecord::size).sum();
            if !records.is_empty() && bytes + size > options.max_bytes {
                // One record alone may be larger than all, but not on top of others.
                stop = ReadStop::Full;
                break;
            }
            bytes += size;
            bound = if cut {
                found.last().map_or(from, |record| record.offset)
            } else {
                from
            };
            records.extend(found);
            if bytes >= options.max_bytes {
                stop = ReadStop::Full;
                break;
            }
            step = step.saturating_mul(2).min(100_000);
        }
        if records.len() >= options.max_records && bound > log_start {
            stop = ReadStop::Full;
        }
        Ok((records, bound, stop))
    }

    fn assigned(
        &self,
        from: i64,
        to: i64,
        options: ReadOptions,
        records: &mut Vec<BrokerRecord>,
    ) -> Result<(i64, ReadStop), RecordError> {
        let mut next = from;
        let mut bytes = 0;
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return Ok((next, ReadStop::TimedOut));
            }
            let message = match self.consumer.poll(remaining.min(SLICE)) {
                None => continue,
                Some(Ok(message)) => message,
                // The end as the isolation level sees it: nothing more comes, though offsets up to `to` may exist.
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == self.partition => {
                    return Ok((to, ReadStop::Complete));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => continue,
                Some(Err(error)) => match error.rdkafka_error_code() {
                    // The reader's group needs no coordinator: only committing would. A lost connection is tried again
                    // until the time is up.
                    Some(
                        RDKafkaErrorCode::GroupAuthorizationFailed
                        | RDKafkaErrorCode::BrokerTransportFailure
                        | RDKafkaErrorCode::OperationTimedOut
                        | RDKafkaErrorCode::Resolve,
                    ) => continue,
                    // The log moved on under the read: what is below its start is gone.
                    Some(
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                    ) => {
                        return Ok((to, ReadStop::Complete));
                    }
                    _ => return Err(self.refused("read", &error)),
                },
            };
            if message.partition() != self.partition || message.topic() != self.topic {
                continue;
            }
            if message.offset() >= to {
                return Ok((to, ReadStop::Complete));
            }
            let record = BrokerRecord::from_message(&message);
            if !records.is_empty() && bytes + record.size() > options.max_bytes {
                return Ok((next, ReadStop::Full));
            }
            bytes += record.size();
            next = record.offset + 1;
            records.push(record);
            if next >= to {
                return Ok((to, ReadStop::Complete));
            }
            if records.len() >= options.max_records {
                return Ok((next, ReadStop::Full));
            }
        }
    }
}
