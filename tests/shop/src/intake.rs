//! A member of a consumer group: polls, obeys its service's dial, and commits what was handled.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::trace::SpanContext;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, StreamConsumer,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::dials::Mode;
use crate::ledger::Place;
use crate::plan::Group;
use crate::spring::Header;
use crate::telemetry;

/// A record that was read.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<Header>,
    /// The order's correlation id; empty where the record has none.
    pub(crate) order: String,
}

impl Record {
    /// Returns the value of the last header called `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .rev()
            .find(|(header, _)| header == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Returns the span that sent it.
    pub(crate) fn sent_by(&self) -> Option<SpanContext> {
        telemetry::sender(self.header("traceparent")?)
    }

    fn read(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let headers = headers.iter();
            headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect()
        });
        let mut record = Record {
            place: Place {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
            },
            timestamp: message.timestamp().to_millis().unwrap_or(0),
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            value: message.payload().unwrap_or_default().to_vec(),
            headers,
            order: String::new(),
        };
        record.order = record
            .header("correlation-id")
            .unwrap_or_default()
            .to_owned();
        record
    }
}

/// What a member does with records.
pub(crate) trait Work: Send + Sync + 'static {
    /// How many records it takes at once.
    const BATCH: usize = 1;

    /// Handles records to the end: when it returns, they are committed.
    fn handle(&self, records: Vec<Record>) -> impl Future<Output = ()> + Send;
}

/// How long a batch waits for its next record.
const LINGER: Duration = Duration::from_millis(150);

/// The part of a member that librdkafka calls back.
struct Callbacks {
    paused: AtomicBool,
    assigned: AtomicUsize,
}

impl ClientContext for Callbacks {}

impl ConsumerContext for Callbacks {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // New partitions come unpaused; pausing them here comes before the first record.
        if let Rebalance::Assign(partitions) = rebalance
            && self.paused.load(Ordering::SeqCst)
            && let Err(error) = consumer.pause(partitions)
        {
            tracing::warn!(%error, "cannot pause new partitions");
        }
        // Counted, not asked for: a consumer that closes while its broker is away would never answer.
        let change = |by: fn(usize, usize) -> usize, partitions: usize| {
            let counted = self.assigned.load(Ordering::SeqCst);
            self.assigned
                .store(by(counted, partitions), Ordering::SeqCst);
        };
        match rebalance {
            Rebalance::Assign(partitions) => change(usize::saturating_add, partitions.count()),
            Rebalance::Revoke(partitions) => change(usize::saturating_sub, partitions.count()),
            Rebalance::Error(_) => {}
        }
    }
}

/// A member of a consumer group.
pub(crate) struct Member {
    consumer: Arc<StreamConsumer<Callbacks>>,
    /// Behind the consumer: fields are dropped in their order.
    leave: Leave,
    dial: watch::Receiver<Mode>,
    stop: CancellationToken,
    name: String,
}

/// How long a member may take to leave its group: a broker that is away is given up after the session's timeout.
const LEAVING: Duration = Duration::from_secs(15);

/// A thread that lets a consumer leave its group once nobody else has it.
///
/// Leaving waits for the broker, and librdkafka waits for ever when a consumer that takes partitions over one by one is
/// given some while it closes (its issue 4527), as after a broker's restart. The end of a runtime waits for its
/// threads, those for work that blocks too: so this is a thread that nobody has to wait for.
struct Leave {
    /// Dropped, it is the sign.
    sign: mpsc::Sender<()>,
    left: oneshot::Receiver<()>,
}

impl Leave {
    fn prepare(name: &str, consumer: Arc<StreamConsumer<Callbacks>>) -> Result<Leave> {
        let (sign, signed) = mpsc::channel();
        let (leaves, left) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("leave-{name}"))
            .spawn(move || {
                // An error means that the sender is gone, which is what is waited for.
                let _ = signed.recv();
                drop(consumer);
                let _ = leaves.send(());
            })
            .with_context(|| format!("cannot start a thread for {name}"))?;
        Ok(Leave { sign, left })
    }

    /// Leaves now, if the caller's was the last hold of the consumer beside this one; says whether it did in time.
    async fn now(self) -> bool {
        drop(self.sign);
        tokio::time::timeout(LEAVING, self.left).await.is_ok()
    }
}

/// Counts the partitions that a member has.
pub(crate) struct Assigned(Arc<StreamConsumer<Callbacks>>);

impl Assigned {
    /// Returns how many partitions the member has now.
    pub(crate) fn partitions(&self) -> usize {
        self.0.context().assigned.load(Ordering::SeqCst)
    }
}

impl Member {
    /// Joins the group as member `number`.
    pub(crate) fn join(
        group: &Group,
        number: usize,
        config: &Config,
        dial: watch::Receiver<Mode>,
        stop: CancellationToken,
    ) -> Result<Member> {
        let name = client(group, number);
        let paused = *dial.borrow() == Mode::Paused;
        let callbacks = Callbacks {
            paused: AtomicBool::new(paused),
            assigned: AtomicUsize::new(0),
        };
        let consumer: StreamConsumer<Callbacks> = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka)
            .set("client.id", &name)
            .set("group.id", config.named(group.name))
            .set("auto.offset.reset", "earliest")
            // Stored when handled, committed a moment later and at every rebalance.
            .set("enable.auto.offset.store", "false")
            .set("auto.commit.interval.ms", "500")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.wait.max.ms", "100")
            .create_with_context(callbacks)
            .with_context(|| format!("cannot create consumer {name}"))?;
        let topics: Vec<String> = group
            .topics
            .iter()
            .map(|topic| config.named(topic.name))
            .collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .with_context(|| format!("{name} cannot subscribe to {topics:?}"))?;
        let consumer = Arc::new(consumer);
        Ok(Member {
            leave: Leave::prepare(&name, Arc::clone(&consumer))?,
            consumer,
            dial,
            stop,
            name,
        })
    }

    /// Returns a view of what this member is assigned.
    pub(crate) fn assigned(&self) -> Assigned {
        Assigned(Arc::clone(&self.consumer))
    }

    /// Works until asked to stop.
    pub(crate) async fn run<W: Work>(mut self, work: Arc<W>) {
        let mut records = Vec::with_capacity(W::BATCH);
        let mut asked = false;
        while !asked {
            self.obey();
            records.clear();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                // An error means that the shop is gone, and then `stop` is set as well.
                _ = self.dial.changed() => continue,
                read = self.consumer.recv() => match read {
                    Ok(message) => records.push(Record::read(&message)),
                    Err(error) => self.complain(&error),
                },
            }
            while !records.is_empty() && records.len() < W::BATCH {
                // A pause does not cut a batch short: what was read is handled.
                match tokio::time::timeout(LINGER, self.consumer.recv()).await {
                    Ok(Ok(message)) => records.push(Record::read(&message)),
                    Ok(Err(error)) => self.complain(&error),
                    Err(_) => break,
                }
            }
            if records.is_empty() {
                continue;
            }
            let ends: Vec<Place> = records.iter().map(|record| record.place.clone()).collect();
            tokio::select! {
                biased;
                () = work.handle(std::mem::take(&mut records)) => {}
                // Work that cannot end, because the broker is away, must not keep the shop from ending: its
                // records stay uncommitted and come again.
                () = self.too_late() => {
                    tracing::warn!(member = self.name, "left work undone");
                    break;
                }
            }
            for place in ends {
                if let Err(error) =
                    self.consumer
                        .store_offset(&place.topic, place.partition, place.offset)
                {
                    // The partition went to another member meanwhile, which handles the record again.
                    self.complain(&error);
                }
            }
            asked = self.stop.is_cancelled();
        }
        self.commit();
        drop(self.consumer);
        if !self.leave.now().await {
            tracing::warn!(member = self.name, "did not leave its group in time");
        }
    }

    /// Follows the dial.
    fn obey(&mut self) {
        let paused = *self.dial.borrow_and_update() == Mode::Paused;
        if self
            .consumer
            .context()
            .paused
            .swap(paused, Ordering::SeqCst)
            == paused
        {
            return;
        }
        let done = self.consumer.assignment().and_then(|assignment| {
            if paused {
                self.consumer.pause(&assignment)
            } else {
                self.consumer.resume(&assignment)
            }
        });
        if let Err(error) = done {
            self.complain(&error);
        }
        if paused {
            self.commit();
        }
    }

    fn commit(&self) {
        match self.consumer.commit_consumer_state(CommitMode::Async) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => self.complain(&error),
        }
    }

    /// Returns a while after the shop was asked to stop.
    async fn too_late(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }

    fn complain(&self, error: &KafkaError) {
        tracing::warn!(member = self.name, %error, "the broker objects");
    }
}

/// Returns the client id of member `number` of a group.
pub(crate) fn client(group: &Group, number: usize) -> String {
    format!("{}-{}", group.name, number + 1)
}
