//! Clients of a real Kafka, as tests need them: topics, producers, commits, members; the probe; Kafka's own tools.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::executor::block_on;
use highwater_brokers::{KafkaConfig, KafkaProbe};
use highwater_lag::{GroupLag, LagEngine};
use highwater_model::UnixNanos;
use highwater_model::broker::{Sample, TopicPartition};
use highwater_tests::kafka::Kafka;
use highwater_tests::oracle;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long a condition may take to come true on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn now() -> UnixNanos {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixNanos(since_epoch.as_nanos() as u64)
}

/// A name that no other test of this run has.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: Mutex<u32> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    format!("probe-{stem}-{}", *next)
}

pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap).create().unwrap()
}

pub(crate) fn create_topic(bootstrap: &str, topic: &str, partitions: i32) {
    create_topic_with(bootstrap, topic, partitions, &[]);
}

/// A topic with settings of its own: `cleanup.policy`, `retention.ms`.
pub(crate) fn create_topic_with(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let made = block_on(admin(bootstrap).create_topics([&new], &AdminOptions::new())).unwrap();
    made[0].as_ref().unwrap();
}

/// Raises a topic's number of partitions to `total`.
pub(crate) fn add_partitions(bootstrap: &str, topic: &str, total: usize) {
    let more = NewPartitions::new(topic, total);
    let made = block_on(admin(bootstrap).create_partitions([&more], &AdminOptions::new())).unwrap();
    made[0].as_ref().unwrap();
}

pub(crate) fn delete_topic(bootstrap: &str, topic: &str) {
    let gone = block_on(admin(bootstrap).delete_topics(&[topic], &AdminOptions::new())).unwrap();
    gone[0].as_ref().unwrap();
}

/// Deletes what a partition holds below `before`, as retention does.
pub(crate) fn delete_records(bootstrap: &str, topic: &str, partition: i32, before: i64) {
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(topic, partition, Offset::Offset(before))
        .unwrap();
    block_on(admin(bootstrap).delete_records(&cut, &AdminOptions::new())).unwrap();
}

pub(crate) fn producer(bootstrap: &str) -> BaseProducer {
    client(bootstrap).set("linger.ms", "5").create().unwrap()
}

/// Sends `count` records to one partition and waits until they are acknowledged.
pub(crate) fn produce(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for index in 0..count {
        let value = format!("{{\"n\":{index}}}");
        let record = BaseRecord::<str, str>::to(topic)
            .partition(partition)
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Sends records to partition 0, each made so long ago.
pub(crate) fn produce_aged(
    producer: &BaseProducer,
    topic: &str,
    ages: impl IntoIterator<Item = Duration>,
) {
    let stamps = ages.into_iter().map(|age| now() - age);
    produce_stamped(producer, topic, stamps);
}

/// Sends records to partition 0, each with the time that its producer says it was made.
pub(crate) fn produce_stamped(
    producer: &BaseProducer,
    topic: &str,
    stamps: impl IntoIterator<Item = UnixNanos>,
) {
    for stamp in stamps {
        let record = BaseRecord::<str, str>::to(topic)
            .partition(0)
            .timestamp(stamp.as_millis() as i64)
            .payload("x");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Sends `count` records with one key to partition 0: a compacted topic takes none without.
pub(crate) fn produce_keyed(producer: &BaseProducer, topic: &str, count: usize) {
    for index in 0..count {
        let value = index.to_string();
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("key")
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Commits offsets for a group without joining it, as any offset tool can.
pub(crate) fn commit(bootstrap: &str, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let consumer: BaseConsumer = client(bootstrap).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for &(partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = consumer.commit(&list, CommitMode::Sync) {
        // A new broker makes its offsets topic at the first commit.
        assert!(Instant::now() < deadline, "commit for {group}: {error}");
    }
}

/// A real member of a group, polled until dropped.
pub(crate) struct Member {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins, and waits until every one of `partitions` is assigned. Commits nothing.
    pub(crate) fn join(
        bootstrap: &str,
        group: &str,
        topic: &str,
        protocol: &str,
        partitions: usize,
    ) -> Self {
        Self::start(bootstrap, group, topic, protocol, partitions, |_| {})
    }

    /// As [`Self::join`], and reads from the start of each partition, committing ten times a second. Hears of new
    /// partitions within half a second.
    pub(crate) fn read(
        bootstrap: &str,
        group: &str,
        topic: &str,
        protocol: &str,
        partitions: usize,
    ) -> Self {
        Self::start(bootstrap, group, topic, protocol, partitions, |config| {
            config
                .set("enable.auto.commit", "true")
                .set("auto.commit.interval.ms", "100")
                .set("auto.offset.reset", "earliest")
                .set("topic.metadata.refresh.interval.ms", "500");
        })
    }

    fn start(
        bootstrap: &str,
        group: &str,
        topic: &str,
        protocol: &str,
        partitions: usize,
        settings: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let mut config = client(bootstrap);
        config
            .set("group.id", group)
            .set("group.protocol", protocol)
            .set("client.id", "the-member")
            .set("enable.auto.commit", "false");
        settings(&mut config);
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (assigned, wait) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut told = None;
                while !stop.load(Ordering::Relaxed) {
                    consumer.poll(Duration::from_millis(50));
                    let count = consumer.assignment().unwrap().count();
                    if told.replace(count) != Some(count) {
                        assigned.send(count).ok();
                    }
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while wait.recv_timeout(PATIENCE).unwrap() != partitions {
            assert!(Instant::now() < deadline, "{group} got no assignment");
        }
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn probe(bootstrap: &str) -> KafkaProbe {
    KafkaProbe::connect(KafkaConfig::new("kafka", [bootstrap])).unwrap()
}

/// Polls until the sample holds what is awaited.
pub(crate) fn poll_until(
    probe: &mut KafkaProbe,
    what: &str,
    done: impl Fn(&Sample) -> bool,
) -> Sample {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe.poll(now()) {
            Ok(sample) if done(&sample) => return sample,
            other => assert!(Instant::now() < deadline, "waiting for {what}: {other:?}"),
        }
    }
}

pub(crate) fn group(engine: &LagEngine, name: &str) -> GroupLag {
    engine.groups()[&(Arc::from("kafka"), Arc::from(name))]
        .as_ref()
        .clone()
}

pub(crate) fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        partition,
    }
}

/// What Kafka's own tool says of these groups.
pub(crate) fn oracle_lag(kafka: &Kafka, groups: &[&str]) -> BTreeMap<oracle::Place, Option<i64>> {
    let arguments: Vec<&str> = groups.iter().flat_map(|group| ["--group", group]).collect();
    oracle::lag(&kafka.bootstrap(), &arguments).unwrap()
}
