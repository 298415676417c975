//! What it costs to read a large cluster: seconds and CPU seconds a poll, and memory, of the whole binary.
//!
//! `cargo xtask bench poll [--groups 1000] [--topics 100] [--partitions 100]`. A real Kafka gets that many topics of that
//! many partitions with ten records each, and groups of which each has committed on every partition of one topic. The
//! collector polls it; the sum of its groups' lag must be what was committed, or there are no figures.

#[path = "support/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use highwater_shared::lag::Groups;
use highwater_shared::status::Brokers;
use highwater_tests::highwater::Highwater;
use highwater_tests::kafka::Kafka;
use highwater_tests::process::binary;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use usage::Usage;

/// Records on each partition, and where each group has committed.
const RECORDS: i64 = 10;
const COMMITTED: i64 = 4;
/// A broker of ten thousand partitions needs more than the half GiB of those in the tests.
const BROKER_HEAP_MIB: u32 = 3_072;
/// Files that a broker of ten thousand partitions holds open.
const OPEN_FILES: u64 = 200_000;
/// How long the cluster may take to be made, and to be read for the first time.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Parser)]
struct Arguments {
    /// Consumer groups
    #[arg(long, default_value_t = 1_000)]
    groups: usize,
    /// Topics
    #[arg(long, default_value_t = 100)]
    topics: usize,
    /// Partitions of each topic
    #[arg(long, default_value_t = 100)]
    partitions: i32,
    /// Polls that are measured
    #[arg(long, default_value_t = 20)]
    polls: usize,
    /// Between two polls, in seconds
    #[arg(long, default_value_t = 3)]
    interval_s: u64,
    /// Another build of the binary, measured beside this one
    #[arg(long)]
    against: Option<PathBuf>,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let limit = rustix::process::Rlimit {
        current: Some(OPEN_FILES),
        maximum: Some(OPEN_FILES),
    };
    // Only root may raise it; a smaller cluster needs none of it.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    let kafka = Kafka::start_with_heap(BROKER_HEAP_MIB)?;
    let bootstrap = kafka.bootstrap();
    let began = Instant::now();
    tokio::task::block_in_place(|| fill(&bootstrap, &arguments))?;
    println!(
        "cluster    {} groups, {} partitions, made in {:.0?}",
        arguments.groups,
        arguments.topics * arguments.partitions as usize,
        began.elapsed()
    );
    let this = binary("HIGHWATER_BIN", "highwater", "highwater")?;
    for (name, binary) in [("this", Some(this)), ("against", arguments.against.clone())] {
        if let Some(binary) = binary {
            let figures = measure(&binary, &bootstrap, &arguments).await?;
            println!("{name:<10} {figures}");
        }
    }
    Ok(())
}

/// Makes topics, records and commits.
fn fill(bootstrap: &str, arguments: &Arguments) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let names: Vec<String> = (0..arguments.topics)
        .map(|topic| format!("bench-{topic:03}"))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    // The controller takes no request of ten thousand partitions at once.
    for names in names.chunks(10) {
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|name| NewTopic::new(name, arguments.partitions, TopicReplication::Fixed(1)))
            .collect();
        let made = futures::executor::block_on(admin.create_topics(&topics, &options))?;
        for topic in made {
            topic.map_err(|(topic, code)| anyhow::anyhow!("cannot make {topic}: {code}"))?;
        }
    }
    let producer: BaseProducer = config.clone().set("linger.ms", "50").create()?;
    for name in &names {
        for partition in 0..arguments.partitions {
            for _ in 0..RECORDS {
                let record = BaseRecord::<str, str>::to(name)
                    .partition(partition)
                    .payload("{}");
                producer.send(record).map_err(|(error, _)| error)?;
            }
        }
        producer.flush(PATIENCE)?;
    }
    for group in 0..arguments.groups {
        let consumer: BaseConsumer = config
            .clone()
            .set("group.id", format!("bench-group-{group:04}"))
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..arguments.partitions {
            let topic = &names[group % names.len()];
            list.add_partition_offset(topic, partition, Offset::Offset(COMMITTED))?;
        }
        let until = Instant::now() + PATIENCE;
        // A new broker makes its offsets topic at the first commit.
        while let Err(error) = consumer.commit(&list, CommitMode::Sync) {
            ensure!(Instant::now() < until, "cannot commit: {error}");
        }
    }
    Ok(())
}

/// Lets one binary poll, and says what it took.
async fn measure(
    binary: &std::path::Path,
    bootstrap: &str,
    arguments: &Arguments,
) -> Result<String> {
    let data = tempfile::tempdir()?;
    let interval = format!("--poll-interval={}s", arguments.interval_s);
    let kafka = format!("--kafka={bootstrap}");
    let highwater = Highwater::start_binary(binary, data.path(), &[&kafka, &interval]).await?;
    let wanted =
        i64::try_from(arguments.groups)? * i64::from(arguments.partitions) * (RECORDS - COMMITTED);
    let until = Instant::now() + PATIENCE;
    loop {
        let groups: Groups = highwater.get("/api/v1/groups").await?;
        let sum: Option<i64> = groups.groups.iter().map(|group| group.lag_by_tools).sum();
        if groups.groups.len() == arguments.groups && sum == Some(wanted) {
            break;
        }
        ensure!(
            Instant::now() < until,
            "{} groups with a lag of {sum:?}, where {} with {wanted} were made",
            groups.groups.len(),
            arguments.groups
        );
        // A list of a thousand groups is not asked for more often than a page asks.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The first polls ask for what is asked once: topics' settings, where partitions ended long ago.
    let mut seconds = Vec::new();
    let (mut last, mut before) = (None, None);
    while seconds.len() < arguments.polls + 3 {
        let brokers: Brokers = highwater.get("/api/v1/brokers").await?;
        let cluster = brokers.clusters.first().context("no cluster")?;
        if cluster.last_read != last
            && let Some(poll) = cluster.last_poll_ns
        {
            last = cluster.last_read;
            seconds.push(poll as f64 / 1e9);
            if seconds.len() == 3 {
                before = Some(Usage::of(highwater.id())?.cpu_s);
            }
        }
        ensure!(
            Instant::now() < until + PATIENCE,
            "polled {} times only",
            seconds.len()
        );
        // Often enough to miss no poll, seldom enough that asking is not what is measured.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let usage = Usage::of(highwater.id())?;
    let mut polls = seconds.split_off(3);
    polls.sort_by(f64::total_cmp);
    let cpu = (usage.cpu_s - before.context("nothing was measured")?) / polls.len() as f64;
    let worst = polls.last().copied().unwrap_or_default();
    highwater.interrupt().await?;
    Ok(format!(
        "poll p50 {:.2} s, worst of {} {worst:.2} s, {cpu:.2} CPU seconds a poll, {} MiB at most",
        polls[polls.len() / 2],
        polls.len(),
        usage.peak_kib / 1_024,
    ))
}
