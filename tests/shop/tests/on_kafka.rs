//! The shop on a real Kafka: its ledger against Kafka's own tools, and against the spans it sent.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails where it stands"
)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "written as public modules of the tests' library"
)]
#[path = "../../support/guard.rs"]
mod guard;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "written as public modules of the tests' library"
)]
#[path = "../../support/kafka.rs"]
mod kafka;
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_shop::dials::Mode;
use highwater_shop::ledger::{Hop, Ledger};
use highwater_shop::orders::{Dice, Fate, name};
use highwater_shop::{Config, Shop};
use kafka::{Kafka, tools};
use rdkafka::message::{Headers, Message};
use sink::Sink;

const PATIENCE: Duration = Duration::from_secs(60);

/// A quick shop of its own on the shared Kafka.
async fn open(prefix: &str, sink: &Sink) -> Arc<Shop> {
    let config = Config {
        prefix: format!("{prefix}."),
        rate: 300.0,
        work: 0.05,
        ..Config::new(kafka::shared().bootstrap(), sink.endpoint())
    };
    Shop::open(config).await.unwrap()
}

/// `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID ...` of every group with this prefix.
fn described(kafka: &Kafka, prefix: &str) -> BTreeMap<(String, String, i32), Vec<String>> {
    let text = kafka
        .tool(tools::GROUPS, &["--describe", "--all-groups"])
        .unwrap();
    let rows = text.lines().map(|line| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    rows.filter(|row| row.len() >= 7 && row[0].starts_with(prefix))
        .map(|row| {
            (
                (row[0].clone(), row[1].clone(), row[2].parse().unwrap()),
                row[3..].to_vec(),
            )
        })
        .collect()
}

fn sum_by<K: Ord>(rows: impl IntoIterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in rows {
        *sums.entry(key).or_default() += count;
    }
    sums.retain(|_, sum| *sum > 0);
    sums
}

fn assert_agrees_with_the_tools(ledger: &Ledger, prefix: &str) {
    let ends = kafka::shared()
        .tool(tools::OFFSETS, &["--time", "-1"])
        .unwrap();
    let by_tool = sum_by(
        ends.lines()
            .filter(|line| line.starts_with(prefix))
            .map(|line| {
                let mut parts = line.split(':');
                let (topic, partition, end) = (
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                );
                (
                    (topic.to_owned(), partition.parse::<i32>().unwrap()),
                    end.parse::<u64>().unwrap(),
                )
            }),
    );
    let by_ledger = sum_by(
        ledger
            .produced
            .iter()
            .map(|row| ((row.topic.clone(), row.partition), row.records)),
    );
    assert_eq!(by_ledger, by_tool, "records by partition");

    let described = described(kafka::shared(), prefix);
    let mut compared = 0;
    for row in &ledger.committed {
        let Some(offset) = row.offset else {
            assert_eq!(row.end, None, "{row:?} was never committed but has records");
            continue;
        };
        let columns = &described[&(row.group.clone(), row.topic.clone(), row.partition)];
        assert_eq!(columns[0], offset.to_string(), "{row:?}");
        assert_eq!(columns[2], "0", "lag of {row:?}");
        assert_ne!(columns[3], "-", "a member has {row:?}");
        compared += 1;
    }
    assert!(compared > 15, "{compared} partitions were compared");
}

fn assert_agrees_with_the_spans(ledger: &Ledger, sink: &Sink) {
    let sent = sum_by(
        sink.sends()
            .into_iter()
            .map(|send| ((send.service, send.topic), 1)),
    );
    let produced = sum_by(
        ledger
            .produced
            .iter()
            .map(|row| ((row.service.clone(), row.topic.clone()), row.records)),
    );
    assert_eq!(sent, produced, "producer spans against delivery reports");

    let attempts = sink.attempts();
    let by_spans = sum_by(
        attempts
            .iter()
            .map(|at| ((at.group.clone(), at.topic.clone()), 1)),
    );
    let failed_by_spans = sum_by(
        attempts
            .iter()
            .map(|at| ((at.group.clone(), at.topic.clone()), u64::from(at.failed))),
    );
    let rows = || ledger.consumed.iter().filter(|row| row.instrumented);
    assert_eq!(
        by_spans,
        sum_by(rows().map(|row| ((row.group.clone(), row.topic.clone()), row.attempts)))
    );
    assert_eq!(
        failed_by_spans,
        sum_by(rows().map(|row| ((row.group.clone(), row.topic.clone()), row.failures)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_agrees_with_kafkas_tools_with_the_spans_and_with_fate() {
    const ORDERS: u64 = 300;
    let sink = Sink::start().await;
    let shop = open("agree", &sink).await;
    shop.take_orders(Some(ORDERS)).await;
    shop.drained(PATIENCE).await.unwrap();
    shop.turn("all", Mode::Paused).unwrap();
    shop.flush().await;
    let ledger = shop.ledger().await.unwrap();

    assert_eq!(ledger.orders, ORDERS);
    assert_eq!(ledger.failed_sends, 0);
    assert_agrees_with_the_tools(&ledger, "agree.");
    assert_agrees_with_the_spans(&ledger, &sink);

    // Every order ends where its fate says.
    let dice = Dice::new(ledger.seed);
    let with = |fates: &[Fate]| -> BTreeSet<String> {
        (1..=ORDERS)
            .filter(|number| fates.contains(&dice.fate(*number)))
            .map(name)
            .collect()
    };
    let orders = |rows: &[highwater_shop::ledger::Republished]| -> BTreeSet<String> {
        rows.iter().map(|row| row.order.clone()).collect()
    };
    assert_eq!(
        orders(&ledger.retries),
        with(&[Fate::Late, Fate::Impossible])
    );
    assert_eq!(
        orders(&ledger.dead_letters),
        with(&[Fate::Impossible, Fate::Senseless])
    );
    assert_eq!(
        ledger.records_of("agree.payments"),
        with(&[Fate::Charged, Fate::Late]).len() as u64
    );
    assert_eq!(ledger.records_of("agree.shipments"), ORDERS);
    assert_eq!(
        ledger
            .consumed_by("agree.orders-audit", "agree.orders")
            .unwrap()
            .records,
        ORDERS
    );

    // One order's way, whole.
    let late = with(&[Fate::Late]).into_iter().next().unwrap();
    let ways: BTreeSet<String> = ledger.hops(&late).iter().map(way).collect();
    let expected = [
        "storefront > orders > billing",
        "storefront > orders > inventory",
        "storefront > orders > fraud",
        "storefront > orders > orders-audit",
        "billing > orders.billing.retry > billing-retry",
        "billing > payments > notifications",
        "inventory > stock.reserved > shipping",
        "shipping > shipments > notifications",
    ];
    assert_eq!(ways, expected.map(str::to_owned).into());
    shop.close().await;
}

fn way(hop: &Hop) -> String {
    let bare = |name: &str| name.trim_start_matches("agree.").to_owned();
    let from = hop.from.as_deref().unwrap();
    format!(
        "{from} > {} > {}",
        bare(&hop.place.topic),
        bare(hop.group.as_deref().unwrap_or("nobody"))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_carry_springs_headers_and_lead_back_to_their_origin() {
    let sink = Sink::start().await;
    let shop = open("dead", &sink).await;
    shop.take_orders(Some(200)).await;
    shop.drained(PATIENCE).await.unwrap();
    let ledger = shop.ledger().await.unwrap();
    assert!(!ledger.dead_letters.is_empty());

    let records = read("dead.orders.billing.dlt", 2, ledger.dead_letters.len());
    for letter in &ledger.dead_letters {
        let record = &records[&(letter.partition, letter.offset)];
        let all = |name: &str| -> Vec<Vec<u8>> {
            let headers = record.headers().unwrap().iter();
            headers
                .filter(|header| header.key == name)
                .map(|header| header.value.unwrap().to_vec())
                .collect()
        };
        // The first original is the origin: the order's record, whatever came between.
        assert_eq!(all("kafka_dlt-original-topic")[0], b"dead.orders");
        assert_eq!(
            all("kafka_dlt-original-partition")[0],
            letter.origin.partition.to_be_bytes()
        );
        assert_eq!(
            all("kafka_dlt-original-offset")[0],
            letter.origin.offset.to_be_bytes()
        );
        assert_eq!(
            all("kafka_dlt-exception-cause-fqcn"),
            [letter.cause.as_bytes().to_vec()]
        );
        assert_eq!(all("correlation-id"), [letter.order.as_bytes().to_vec()]);
        let over_retry = letter.group == "dead.billing-retry";
        assert_eq!(
            all("kafka_dlt-original-topic").len(),
            if over_retry { 2 } else { 1 },
            "{letter:?}"
        );
        let story = &ledger.orders_detail[&letter.order];
        assert!(
            story.iter().any(|record| record.place == letter.origin),
            "{letter:?}"
        );
    }
    shop.close().await;
}

/// Reads a whole topic with a consumer of its own.
fn read(
    topic: &str,
    partitions: i32,
    records: usize,
) -> BTreeMap<(i32, i64), rdkafka::message::OwnedMessage> {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka::shared().bootstrap())
        .set("group.id", "reads-for-itself")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, rdkafka::Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut read = BTreeMap::new();
    while read.len() < records {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {records} records of {topic}",
            read.len()
        );
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.unwrap().detach();
            read.insert((message.partition(), message.offset()), message);
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_service_stays_a_member_and_works_off_what_waits_when_resumed() {
    let sink = Sink::start().await;
    let shop = open("pause", &sink).await;
    shop.turn("fraud", Mode::Paused).unwrap();
    shop.take_orders(Some(60)).await;

    // All others go on to their ends; fraud has not begun.
    let others_done = |waiting: &BTreeMap<String, u64>| {
        waiting
            .iter()
            .all(|(group, count)| (group == "pause.fraud") || *count == 0)
    };
    wait_for("the other groups to be done", || {
        others_done(&shop.status().waiting)
    })
    .await;
    assert_eq!(shop.status().waiting["pause.fraud"], 60);
    let rows = described(kafka::shared(), "pause.fraud");
    assert_eq!(rows.len(), 6);
    assert!(
        rows.values()
            .all(|columns| columns[3].starts_with("fraud-1")),
        "{rows:?}"
    );

    shop.turn("fraud", Mode::Normal).unwrap();
    shop.drained(PATIENCE).await.unwrap();
    let ledger = shop.ledger().await.unwrap();
    let fraud = ledger.consumed_by("pause.fraud", "pause.orders").unwrap();
    assert_eq!((fraud.records, fraud.attempts, fraud.failures), (60, 60, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_made_to_fail_sends_what_it_gets_to_the_dead_letters() {
    let sink = Sink::start().await;
    let shop = open("fail", &sink).await;
    shop.turn("billing", Mode::Failing).unwrap();
    shop.take_orders(Some(20)).await;
    shop.drained(PATIENCE).await.unwrap();
    shop.flush().await;
    let ledger = shop.ledger().await.unwrap();
    assert_eq!(ledger.dead_letters.len(), 20);
    assert!(
        ledger
            .dead_letters
            .iter()
            .all(|letter| letter.cause == "java.net.ConnectException")
    );
    assert_eq!(ledger.records_of("fail.payments"), 0);
    // Three attempts in place, one more from the retry topic.
    let billing = ledger.consumed_by("fail.billing", "fail.orders").unwrap();
    assert_eq!(
        (billing.records, billing.attempts, billing.failures),
        (20, 60, 60)
    );
    assert_agrees_with_the_spans(&ledger, &sink);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_outlives_a_restart_of_its_broker() {
    let mut kafka = Kafka::start().unwrap();
    let sink = Sink::start().await;
    let config = Config {
        rate: 100.0,
        work: 0.05,
        ..Config::new(kafka.bootstrap(), sink.endpoint())
    };
    let shop = Shop::open(config).await.unwrap();
    let taking = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move { shop.take_orders(Some(200)).await }
    });
    wait_for("the first orders", || shop.status().orders > 30).await;
    tokio::task::block_in_place(|| {
        kafka.kill().unwrap();
        kafka.start_again().unwrap();
    });
    tokio::time::timeout(PATIENCE, taking)
        .await
        .unwrap()
        .unwrap();
    shop.drained(PATIENCE).await.unwrap();
    let ledger = shop.ledger().await.unwrap();
    assert_eq!(ledger.orders, 200);
    assert_eq!(
        ledger.consumed_by("inventory", "orders").unwrap().records,
        ledger.records_of("orders")
    );
    shop.close().await;
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            std::time::Instant::now() < deadline,
            "waited {PATIENCE:?} for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
