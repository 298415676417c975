//! Clients of a real Kafka, as tests need them: topics, producers, commits, members; the probe; Kafka's own tools.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::executor::block_on;
use highwater_brokers::{EndAtTime, KafkaConfig, KafkaProbe, KafkaRecords};
use highwater_lag::{GroupLag, LagEngine, MarkerQuestion};
use highwater_model::UnixNanos;
use highwater_model::broker::{Sample, TopicPartition};
use highwater_tests::kafka::{self, Kafka, tools};
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

/// A topic on a broker and a group that reads it, which no other test of this run has.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Scene {
    /// On the broker that all tests share, with a topic of so many partitions.
    pub(crate) fn shared(topic: &str, partitions: i32, group: &str) -> Self {
        Self::on(kafka::shared(), topic, partitions, group)
    }

    /// As [`Self::shared`], on a broker of the test's own.
    pub(crate) fn on(kafka: &Kafka, topic: &str, partitions: i32, group: &str) -> Self {
        let scene = Self::without_topic(kafka, topic, group);
        scene.create_topic(partitions);
        scene
    }

    /// Names alone: the topic is yet to be made.
    pub(crate) fn without_topic(kafka: &Kafka, topic: &str, group: &str) -> Self {
        Self {
            bootstrap: kafka.bootstrap(),
            topic: unique(topic),
            group: unique(group),
        }
    }

    /// The same topic, and another group.
    pub(crate) fn of_group(&self, group: &str) -> Self {
        Self {
            group: unique(group),
            ..self.clone()
        }
    }

    /// The same group, and another topic that is yet to be made.
    pub(crate) fn of_topic(&self, topic: &str) -> Self {
        Self {
            topic: unique(topic),
            ..self.clone()
        }
    }

    /// Topic and group, for sentences.
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.topic, &self.group)
    }

    pub(crate) fn place(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::from(self.topic.as_str()),
            partition,
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    pub(crate) fn kafka_config(&self) -> KafkaConfig {
        KafkaConfig::new("kafka", [self.bootstrap.as_str()])
    }

    pub(crate) fn probe(&self) -> KafkaProbe {
        KafkaProbe::connect(self.kafka_config()).unwrap()
    }

    pub(crate) fn records(&self) -> KafkaRecords {
        KafkaRecords::new(self.kafka_config())
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    pub(crate) fn create_topic(&self, partitions: i32) {
        self.create_topic_with(partitions, &[]);
    }

    /// A topic with settings of its own: `cleanup.policy`, `retention.ms`.
    pub(crate) fn create_topic_with(&self, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let made = block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        made[0].as_ref().unwrap();
    }

    /// Raises the topic's number of partitions to `total`.
    pub(crate) fn add_partitions(&self, total: usize) {
        let more = NewPartitions::new(&self.topic, total);
        let made = block_on(
            self.admin()
                .create_partitions([&more], &AdminOptions::new()),
        )
        .unwrap();
        made[0].as_ref().unwrap();
    }

    pub(crate) fn delete_topic(&self) {
        let topics = [self.topic.as_str()];
        let gone = block_on(self.admin().delete_topics(&topics, &AdminOptions::new())).unwrap();
        gone[0].as_ref().unwrap();
    }

    /// Deletes what a partition holds below `before`, as retention does.
    pub(crate) fn delete_records(&self, partition: i32, before: i64) {
        let cut = self.offsets(&[(partition, before)]);
        block_on(self.admin().delete_records(&cut, &AdminOptions::new())).unwrap();
    }

    fn offsets(&self, offsets: &[(i32, i64)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &(partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .unwrap();
        }
        list
    }

    pub(crate) fn producer(&self) -> BaseProducer {
        self.client().set("linger.ms", "5").create().unwrap()
    }

    /// A producer in the middle of a transaction.
    pub(crate) fn producer_in_transaction(&self) -> BaseProducer {
        let mut config = self.client();
        config.set("transactional.id", &self.group);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        producer
    }

    /// Sends so many records to each partition and waits until they are acknowledged. The producer is a new one: one that
    /// was there before hears later of partitions that were added.
    pub(crate) fn produce(&self, counts: &[(i32, usize)]) {
        self.produce_by(&self.producer(), counts);
    }

    /// As [`Self::produce`], by a producer that is there.
    pub(crate) fn produce_by(&self, producer: &BaseProducer, counts: &[(i32, usize)]) {
        for &(partition, count) in counts {
            for index in 0..count {
                let value = format!("{{\"n\":{index}}}");
                let record = BaseRecord::<str, str>::to(&self.topic)
                    .partition(partition)
                    .payload(&value);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Sends records to partition 0, each made so long ago.
    pub(crate) fn produce_aged(&self, ages: impl IntoIterator<Item = Duration>) {
        self.produce_stamped(ages.into_iter().map(|age| now() - age));
    }

    /// Sends records to partition 0, each with the time that its producer says it was made.
    pub(crate) fn produce_stamped(&self, stamps: impl IntoIterator<Item = UnixNanos>) {
        let producer = self.producer();
        for stamp in stamps {
            let record = BaseRecord::<str, str>::to(&self.topic)
                .partition(0)
                .timestamp(stamp.as_millis() as i64)
                .payload("x");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Sends `count` records with one key to partition 0: a compacted topic takes none without.
    pub(crate) fn produce_keyed(&self, count: usize) {
        let producer = self.producer();
        for index in 0..count {
            let value = index.to_string();
            let record = BaseRecord::to(&self.topic)
                .partition(0)
                .key("key")
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Commits offsets for the group without joining it, as any offset tool can.
    pub(crate) fn commit(&self, offsets: &[(i32, i64)]) {
        let mut config = self.client();
        config.set("group.id", &self.group);
        let consumer: BaseConsumer = config.create().unwrap();
        let list = self.offsets(offsets);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = consumer.commit(&list, CommitMode::Sync) {
            // A new broker makes its offsets topic at the first commit.
            let group = &self.group;
            assert!(Instant::now() < deadline, "commit for {group}: {error}");
        }
    }

    /// Moves the group's offsets by Kafka's own tool.
    pub(crate) fn reset(&self, how: &[&str]) {
        let place = ["--group", &self.group, "--topic", &self.topic];
        let arguments = [&place, &["--reset-offsets"][..], how, &["--execute"]].concat();
        kafka::tool(&self.bootstrap, tools::GROUPS, &arguments).unwrap();
    }

    /// What Kafka's own tool says of the lag of the group's partitions, in their order.
    pub(crate) fn oracle_lag(&self) -> Vec<Option<i64>> {
        let lags = oracle::lag(&self.bootstrap, &["--group", &self.group]).unwrap();
        lags.into_values().collect()
    }

    /// Joins the group as a real member, and waits until so many partitions are assigned. Commits nothing.
    pub(crate) fn join(&self, protocol: &str, partitions: usize) -> Background {
        self.member(protocol, partitions, |_| {})
    }

    /// As [`Self::join`], and reads from the start of each partition, committing ten times a second. Hears of new
    /// partitions within half a second.
    pub(crate) fn read(&self, protocol: &str, partitions: usize) -> Background {
        self.member(protocol, partitions, |config| {
            config
                .set("enable.auto.commit", "true")
                .set("auto.commit.interval.ms", "100")
                .set("auto.offset.reset", "earliest")
                .set("topic.metadata.refresh.interval.ms", "500");
        })
    }

    fn member(
        &self,
        protocol: &str,
        partitions: usize,
        settings: impl FnOnce(&mut ClientConfig),
    ) -> Background {
        let mut config = self.client();
        config
            .set("group.id", &self.group)
            .set("group.protocol", protocol)
            .set("client.id", "the-member")
            .set("enable.auto.commit", "false");
        settings(&mut config);
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.topic]).unwrap();
        let (assigned, wait) = mpsc::channel();
        let member = Background::start(move |stop| {
            let mut told = None;
            while !stop.load(Ordering::Relaxed) {
                consumer.poll(Duration::from_millis(50));
                let count = consumer.assignment().unwrap().count();
                if told.replace(count) != Some(count) {
                    assigned.send(count).ok();
                }
            }
        });
        let (deadline, group) = (Instant::now() + PATIENCE, &self.group);
        while wait.recv_timeout(PATIENCE).unwrap() != partitions {
            assert!(Instant::now() < deadline, "{group} got no assignment");
        }
        member
    }
}

/// A thread at work until dropped: a member of a group, a load.
#[must_use]
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts what ends soon after it is told to stop.
    pub(crate) fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || work(&stop)
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
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

/// Hands an engine what the broker answered of the past.
pub(crate) fn seed(engine: &mut LagEngine, cluster: &str, ends: Vec<EndAtTime>) {
    let ends = ends
        .into_iter()
        .map(|end| (end.partition, end.at, end.offset));
    engine.seed(cluster, ends);
}

/// Polls until the engine asks for a bounded read for this group. The broker is shared: other tests' groups are in the
/// sample too.
pub(crate) fn marker_question(
    scene: &Scene,
    mut poll: impl FnMut() -> Vec<MarkerQuestion>,
) -> MarkerQuestion {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "waiting for the question");
        let ours = poll()
            .into_iter()
            .find(|question| *question.group == *scene.group);
        if let Some(question) = ours {
            return question;
        }
    }
}
