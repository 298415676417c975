//! A real shop on a real Kafka: what the collector says against the shop's ledger and Kafka's own tools.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use highwater_shared::Instant;
use highwater_shared::dead_letters::{DeadLetters, Record, Records};
use highwater_shared::lag::{GroupDetail, GroupHistory, State};
use highwater_shared::status::{Brokers, Cluster};
use highwater_shared::topology::{Edge, EdgeKind, Node, NodeKind, Topology};
use highwater_shared::traces::{Journey, Step, Trace};
use highwater_shop::dials::Mode;
use highwater_shop::ledger::{Ledger, RecordStory};
use highwater_shop::plan;
use highwater_tests::browser::Browser;
use highwater_tests::oracle;
use highwater_tests::process::eventually;

use crate::stage::{PATIENCE, SOON, Stage, now, send_json, span_json};

/// Orders until every fate came up: charged, late, impossible, senseless.
const EVERY_FATE: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn every_partitions_lag_by_tools_equals_kafkas_own_tool_once_the_shop_is_paused() -> Result<()>
{
    let stage = Stage::shared("tools", |config| {
        config.rate = 200.0;
        config.work = 0.0;
    })
    .await?;
    stage.play(100).await?;
    // Two services stop, the others go on: some groups have lag, and what they send piles up for others.
    for service in ["fraud", "notifications"] {
        stage.shop.turn(service, Mode::Paused)?;
    }
    stage.shop.take_orders(Some(150)).await;
    let idle = [stage.named("fraud"), stage.named("notifications")];
    eventually(
        "the services that are not paused to be done",
        PATIENCE,
        || async {
            let mut waiting = stage.shop.status().waiting;
            waiting.retain(|group, records| *records > 0 && !idle.contains(group));
            ensure!(waiting.is_empty(), "{waiting:?} wait");
            Ok(())
        },
    )
    .await?;
    stage.shop.turn("all", Mode::Paused)?;
    let committed = eventually("the last commits", SOON, || async {
        let ledger = stage.shop.ledger().await?;
        let mut rows = ledger
            .committed
            .iter()
            .filter(|row| !idle.contains(&row.group));
        ensure!(
            rows.all(|row| row.end.is_none() || row.offset == row.end),
            "{:?}",
            ledger.committed
        );
        Ok(ledger.committed)
    })
    .await?;

    // Nothing moves any more: what the tool prints stays true, and the collector's next reading must say the same.
    let paused = now();
    let bootstrap = stage.bootstrap();
    let theirs = tokio::task::spawn_blocking(move || oracle::lag(&bootstrap, &["--all-groups"]));
    let mut theirs = theirs.await??;
    theirs.retain(|(group, ..), _| group.starts_with(&stage.prefix));
    let mut ours = BTreeMap::new();
    for group in plan::GROUPS {
        let group = read_after(&stage, group.name, paused).await?;
        ours.extend(group.partitions.into_iter().map(|partition| {
            let place = (
                group.summary.group.clone(),
                partition.topic,
                partition.partition,
            );
            (place, partition.lag_by_tools)
        }));
    }
    assert_eq!(ours, theirs);

    // The comparison was of something: every partition that the shop wrote to, some of them with lag.
    let written = committed.iter().filter(|row| row.end.is_some()).count();
    ensure!(
        written > 20 && theirs.len() >= written,
        "{written} written, {} compared",
        theirs.len()
    );
    for group in &idle {
        let lag: i64 = theirs
            .iter()
            .filter(|(place, _)| place.0 == *group)
            .filter_map(|row| *row.1)
            .sum();
        ensure!(lag >= 140, "{group} is paused and {lag} behind");
    }
    stage.close().await
}

/// Waits until the whole group was read after `since`.
async fn read_after(stage: &Stage, name: &str, since: Instant) -> Result<GroupDetail> {
    eventually(&format!("{name} to be read again"), SOON, || async {
        let group = stage.group(name).await?;
        let mut read = group
            .partitions
            .iter()
            .filter_map(|partition| partition.read_at);
        ensure!(
            group.summary.read_at > Some(since) && read.all(|at| at > since),
            "{group:?}"
        );
        Ok(group)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_counts_dead_letters_and_hop_lists_equal_the_ledger() -> Result<()> {
    let stage = Stage::shared("ledger", |config| {
        config.rate = 100.0;
        config.work = 0.05;
    })
    .await?;
    let ledger = stage.play(EVERY_FATE).await?;
    ensure!(
        !ledger.dead_letters.is_empty() && !ledger.retries.is_empty(),
        "nothing went wrong"
    );

    map_equals(&stage, &ledger).await?;
    dead_letters_equal(&stage, &ledger).await?;
    ensure!(ledger.orders_detail.len() as u64 == EVERY_FATE);
    let orders = stream::iter(&ledger.orders_detail)
        .map(|(order, stories)| journey_equals(&stage, order, stories))
        .buffer_unordered(4);
    orders.try_collect::<()>().await?;
    stage.close().await
}

/// What the ledger knows of an edge.
type Counts = (Option<u64>, Option<u64>, u64, bool);

/// Waits until the map has the ledger's edges with the ledger's counts, and no others; then nothing may change.
async fn map_equals(stage: &Stage, ledger: &Ledger) -> Result<()> {
    let topic = |name: &str| format!("topic:demo/{}", stage.named(name));
    let mut expected: BTreeMap<String, Counts> = BTreeMap::new();
    for edge in &ledger.edges {
        let mut id = edge.id.clone();
        if edge.kind == "dead_letters" {
            // A retry topic's group is one consumer with the group it was made from: that one gives records up.
            id = id.replace("billing-retry>", "billing>");
        }
        // Without spans nobody can tell how many records there were.
        let records = edge.instrumented.then_some(edge.records);
        let sum = expected.entry(id).or_insert((
            edge.messages.map(|_| 0),
            records.map(|_| 0),
            0,
            edge.instrumented,
        ));
        sum.0 = sum.0.zip(edge.messages).map(|(sum, more)| sum + more);
        sum.1 = sum.1.zip(records).map(|(sum, more)| sum + more);
        sum.2 += edge.errors;
    }
    // Who sends no spans still has a service behind it, which nobody can name.
    let audit = stage.named("orders-audit");
    let unseen = format!("consumes group:demo/{audit}>unknown:service/demo/{audit}");
    expected.insert(unseen, (None, None, 0, false));
    // What handlers send makes one topic of another.
    let derived: BTreeSet<String> = [
        ("orders", "payments"),
        ("orders.billing.retry", "payments"),
        ("orders", "stock.reserved"),
        ("stock.reserved", "shipments"),
    ]
    .map(|(from, to)| format!("derives {}>{}", topic(from), topic(to)))
    .into();

    eventually("the map to equal the ledger", SOON, || async {
        let map = own_map(stage, "/api/v1/topology").await?;
        let (derives, edges): (Vec<Edge>, Vec<Edge>) = map
            .edges
            .into_iter()
            .partition(|edge| edge.kind == EdgeKind::Derives);
        let counts = |edge: Edge| {
            // Without spans it is not known how many failed; the ledger's edge of that kind has none.
            ensure!(edge.errors.is_some() == edge.instrumented, "{edge:?}");
            let errors = edge.errors.unwrap_or(0);
            anyhow::Ok((
                edge.id,
                (edge.messages, edge.records, errors, edge.instrumented),
            ))
        };
        let seen: BTreeMap<String, Counts> =
            edges.into_iter().map(counts).collect::<Result<_>>()?;
        ensure!(
            seen == expected,
            "edge: (ledger, map)\n{}",
            difference(&expected, &seen)
        );
        let derives: BTreeSet<String> = derives.into_iter().map(|edge| edge.id).collect();
        ensure!(derives == derived, "{derives:#?}");
        let kinds: BTreeMap<&str, NodeKind> = map
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node.kind))
            .collect();
        ensure!(kinds.get(topic("orders.billing.retry").as_str()) == Some(&NodeKind::RetryTopic));
        ensure!(
            kinds.get(topic("orders.billing.dlt").as_str()) == Some(&NodeKind::DeadLetterTopic)
        );
        Ok(())
    })
    .await
}

/// Returns the rows that are not the same on both sides, one a line.
fn difference<V: PartialEq + std::fmt::Debug>(
    left: &BTreeMap<String, V>,
    right: &BTreeMap<String, V>,
) -> String {
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| left.get(*key) != right.get(*key));
    let lines = differ.map(|key| format!("{key}: ({:?}, {:?})", left.get(key), right.get(key)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the map without what other shops left on the same Kafka.
async fn own_map(stage: &Stage, path: &str) -> Result<Topology> {
    let mut map: Topology = stage.highwater.get(path).await?;
    // Services are only this stage's: nobody else sends spans to its collector.
    let own = |id: &str| id.starts_with("service:") || id.contains(&format!("/{}", stage.prefix));
    map.nodes.retain(|node| own(&node.id));
    map.edges.retain(|edge| own(&edge.from) && own(&edge.to));
    Ok(map)
}

async fn dead_letters_equal(stage: &Stage, ledger: &Ledger) -> Result<()> {
    let topic = stage.named("orders.billing.dlt");
    let deep = ledger.dead_letters.len() as u64;
    let summary = eventually("the depth of the dead letters", SOON, || async {
        let all: DeadLetters = stage.highwater.get("/api/v1/dead-letters").await?;
        let own = all
            .topics
            .into_iter()
            .find(|row| row.topic == topic)
            .context("not recognised")?;
        let counted: u64 = own.causes.iter().map(|cause| cause.count).sum();
        ensure!(
            own.retained == Some(deep) && counted == deep,
            "{deep} expected: {own:#?}"
        );
        Ok(own)
    })
    .await?;
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for letter in &ledger.dead_letters {
        *causes.entry(&letter.cause).or_default() += 1;
    }
    let seen = summary
        .causes
        .iter()
        .map(|cause| (cause.cause.as_str(), cause.count))
        .collect();
    assert_eq!(causes, seen);
    assert_eq!(summary.origin_topics, [stage.named("orders")]);

    // Page by page, and no record twice.
    let mut records: BTreeMap<(i32, i64), Record> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/dead-letters/demo/{topic}/records?limit=4&cursor={cursor}");
        let page: Records = stage.highwater.get(&path).await?;
        for record in page.records {
            let place = (record.partition, record.offset);
            ensure!(
                records.insert(place, record).is_none(),
                "{place:?} came twice"
            );
        }
        match page.next_cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    ensure!(
        records.len() as u64 == deep,
        "{} of {deep} records",
        records.len()
    );
    for letter in &ledger.dead_letters {
        let record = &records[&(letter.partition, letter.offset)];
        let told = || format!("{letter:#?}\n{record:#?}");
        let error = record.error.as_ref().with_context(told)?;
        ensure!(error.cause == letter.cause, "{}", told());
        ensure!(
            error
                .message
                .as_deref()
                .is_some_and(|text| text.contains(&letter.message)),
            "{}",
            told()
        );
        ensure!(
            record
                .framework
                .as_deref()
                .is_some_and(|name| name.starts_with("spring")),
            "{}",
            told()
        );
        let origin = record.origin.as_ref().with_context(told)?;
        let place = (origin.topic.as_deref(), origin.partition, origin.offset);
        let truth = &letter.origin;
        ensure!(
            place
                == (
                    Some(truth.topic.as_str()),
                    Some(truth.partition),
                    Some(truth.offset)
                ),
            "{}",
            told()
        );
        ensure!(
            record
                .value
                .as_ref()
                .is_some_and(|value| value.text.contains(&letter.order)),
            "{}",
            told()
        );
        let trace = record.trace.as_ref().with_context(told)?;
        ensure!(trace.stored, "{}", told());
        let trace: Trace = stage
            .highwater
            .get(&format!("/api/v1/traces/{}", trace.trace_id))
            .await?;
        ensure!(
            trace
                .correlations
                .iter()
                .any(|correlation| correlation.value == letter.order),
            "the trace is of another order: {}",
            told()
        );
    }
    Ok(())
}

/// Who sent a record, and where it lies.
type Sent = (String, String, Option<i32>, Option<i64>);
/// The group that handled a record, its service, and where the record lies.
type Handling = (String, String, String, Option<i32>, Option<i64>);

/// Compares the journey of an order with every record and every delivery of its ledger.
async fn journey_equals(stage: &Stage, order: &str, stories: &[RecordStory]) -> Result<()> {
    let service = |name: &str| format!("service:shop/{name}");
    let topic = |name: &str| format!("topic:demo/{name}");
    let mut sent: BTreeSet<Sent> = BTreeSet::new();
    let mut handled: BTreeMap<Handling, (u64, u64)> = BTreeMap::new();
    for story in stories {
        let place = &story.place;
        let (partition, offset) = (Some(place.partition), Some(place.offset));
        let from = story
            .from
            .as_deref()
            .with_context(|| format!("{place:?} was sent by nobody"))?;
        sent.insert((service(from), topic(&place.topic), partition, offset));
        for delivery in story
            .deliveries
            .iter()
            .filter(|delivery| delivery.instrumented)
        {
            let reader = (delivery.group.clone(), service(&delivery.service));
            handled.insert(
                (reader.0, reader.1, topic(&place.topic), partition, offset),
                (delivery.attempts, delivery.failures),
            );
        }
    }

    let journey: Journey = stage
        .highwater
        .get(&format!("/api/v1/journeys/correlation/{order}"))
        .await?;
    let mut told_sent: BTreeSet<Sent> = BTreeSet::new();
    let mut told_handled: BTreeMap<Handling, (u64, u64)> = BTreeMap::new();
    for step in &journey.steps {
        let Step {
            from,
            to,
            partition,
            offset,
            ..
        } = step;
        match step.kind.as_str() {
            "produced" | "retried" | "dead_lettered" => {
                let row = (from.clone(), to.clone(), *partition, *offset);
                ensure!(told_sent.insert(row), "{order}: told twice: {step:?}");
            }
            "handled" | "failed" => {
                let group = step
                    .group
                    .clone()
                    .with_context(|| format!("{order}: {step:?}"))?;
                let row = (group, to.clone(), from.clone(), *partition, *offset);
                let counts = told_handled.entry(row).or_default();
                counts.0 += 1;
                counts.1 += u64::from(step.kind == "failed");
            }
            other => anyhow::bail!("{order}: a step is {other}: {step:?}"),
        }
    }
    ensure!(
        told_sent == sent,
        "{order}: sent\ntold {told_sent:#?}\ntrue {sent:#?}"
    );
    ensure!(
        told_handled == handled,
        "{order}: handled\ntold {told_handled:#?}\ntrue {handled:#?}"
    );
    let given_up = sent.iter().any(|row| row.1.ends_with(".dlt"));
    let state = if given_up { "dead_lettered" } else { "done" };
    ensure!(
        journey.state == state,
        "{order} is {}: {}",
        journey.state,
        journey.sentence
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slowed_consumers_lag_climbs_its_state_changes_and_it_drains() -> Result<()> {
    let stage = Stage::shared("slow", |config| {
        config.rate = 40.0;
        config.work = 0.1;
    })
    .await?;
    stage.open_doors();
    let fine = |group: &highwater_shared::lag::GroupSummary| group.state == State::Ok;
    stage
        .until("billing", "keeps up", |group| {
            fine(group) && group.out_per_s > Some(5.0)
        })
        .await?;

    stage.shop.turn("billing", Mode::Slow)?;
    let behind = stage
        .until("billing", "falls behind", |group| {
            group.state == State::FallingBehind && group.time_lag_ms > Some(5_000)
        })
        .await?
        .summary;
    ensure!(!behind.reason.is_empty(), "{behind:?}");
    ensure!(
        behind.lag_messages > Some(50) && behind.in_per_s > behind.out_per_s,
        "{behind:?}"
    );
    ensure!(
        behind.level == highwater_shared::Level::Critical,
        "the mark is at 5 s: {behind:?}"
    );
    // Only the slowed one: the others read the same topic at their own pace.
    for group in ["inventory", "fraud", "orders-audit"] {
        let group = stage.group(group).await?.summary;
        ensure!(fine(&group), "{group:?}");
    }
    let map = own_map(&stage, "/api/v1/topology").await?;
    let id = format!("group:demo/{}", stage.named("billing"));
    let node = map
        .nodes
        .iter()
        .find(|node| node.id == id)
        .context("billing is on the map")?;
    let lag = node.lag.as_ref().context("a group's node shows its lag")?;
    ensure!(
        lag.lag_messages > Some(50) && lag.state != State::Ok,
        "{lag:?}"
    );

    stage.shop.turn("billing", Mode::Draining)?;
    stage
        .until("billing", "drains", |group| {
            fine(group) && group.lag_messages < Some(20) && group.time_lag_ms < Some(2_000)
        })
        .await?;
    // The climb and the drain stay in its history.
    let path = format!(
        "/api/v1/groups/demo/{}/history?from=now-1m",
        stage.named("billing")
    );
    let history: GroupHistory = stage.highwater.get(&path).await?;
    let lags: Vec<u64> = history
        .points
        .iter()
        .filter_map(|point| point.lag_messages)
        .collect();
    let (top, highest) = lags
        .iter()
        .enumerate()
        .max_by_key(|(_, lag)| **lag)
        .context("no history")?;
    ensure!(
        *highest > 50 && lags[..top].iter().any(|lag| lag * 4 < *highest),
        "{lags:?}"
    );
    ensure!(!history.slowest.is_empty(), "its slowest traces are there");
    stage.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_after_kill_9_and_restart_equals_the_map_before() -> Result<()> {
    let mut stage = Stage::shared("kill", |config| {
        config.rate = 150.0;
        config.work = 0.02;
    })
    .await?;
    let from = now();
    stage.play(150).await?;
    // Killed at once, most likely before its first checkpoint: all of it comes from the stored spans.
    let before = map_at(&stage, from, now()).await?;
    stage.highwater = stage.highwater.kill_and_restart().await?;
    same_map(&stage, from, &before, "after kill -9").await?;
    let before = settled_map(&stage, from).await?;
    // Drained, all of it comes from the checkpoint.
    stage.highwater = stage.highwater.drain_and_restart().await?;
    same_map(&stage, from, &before, "after a clean restart").await?;
    // Killed after a checkpoint, it comes from both.
    stage.play(100).await?;
    let before = settled_map(&stage, from).await?;
    stage.highwater = stage.highwater.kill_and_restart().await?;
    same_map(&stage, from, &before, "after a checkpoint and kill -9").await?;
    stage.close().await
}

/// What spans say of a map in a fixed range. Rates and sizes from offsets are of now and change.
#[derive(PartialEq, Debug)]
struct SpanMap {
    /// The end of the range that was asked for.
    to: Instant,
    /// All of the range had passed: a rate is over what has passed of it.
    passed: bool,
    nodes: BTreeMap<String, (NodeKind, String, bool, bool, String)>,
    edges: BTreeMap<String, String>,
    rates: BTreeMap<String, Option<f64>>,
}

async fn map_at(stage: &Stage, from: Instant, to: Instant) -> Result<SpanMap> {
    let asked = now();
    let map = own_map(stage, &format!("/api/v1/topology?from={from}&to={to}")).await?;
    ensure!(map.edges.len() > 15, "{} edges", map.edges.len());
    let node = |node: Node| {
        let work = format!("{:?}", node.work);
        (
            node.id,
            (node.kind, node.name, node.instrumented, node.inferred, work),
        )
    };
    let rate = |edge: &Edge| {
        let by_spans = edge.rate_source.as_deref() == Some("spans");
        (edge.id.clone(), edge.rate.filter(|_| by_spans))
    };
    let edge = |edge: Edge| {
        let Edge {
            messages,
            records,
            errors,
            latency,
            ..
        } = edge;
        (
            edge.id,
            format!("{messages:?} {records:?} {errors:?} {latency:?}"),
        )
    };
    Ok(SpanMap {
        to,
        passed: asked > map.window.to,
        nodes: map.nodes.into_iter().map(node).collect(),
        rates: map.edges.iter().map(rate).collect(),
        edges: map.edges.into_iter().map(edge).collect(),
    })
}

/// Returns the map from `from` to now once its range, which snaps outward, has passed: nothing of it may change then.
async fn settled_map(stage: &Stage, from: Instant) -> Result<SpanMap> {
    let to = now();
    eventually("the range to pass", SOON, || async {
        let map = map_at(stage, from, to).await?;
        ensure!(map.passed, "it ends later");
        Ok(map)
    })
    .await
}

async fn same_map(stage: &Stage, from: Instant, before: &SpanMap, when: &str) -> Result<()> {
    // Spans are there at once; groups without spans come back with the first reading of the broker.
    eventually(&format!("the same map {when}"), SOON, || async {
        let after = map_at(stage, from, before.to).await?;
        let mut differ = difference(&before.edges, &after.edges);
        differ += &difference(&before.nodes, &after.nodes);
        if before.passed {
            differ += &difference(&before.rates, &after.rates);
        }
        ensure!(differ.is_empty(), "(before, after)\n{differ}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_stopped_and_started_pages_say_so_ingest_goes_on_lag_returns() -> Result<()> {
    let mut stage = Stage::alone(|config| {
        config.rate = 100.0;
        config.work = 0.0;
    })
    .await?;
    stage.play(50).await?;
    stage.shop.turn("fraud", Mode::Paused)?;
    stage.shop.take_orders(Some(60)).await;
    stage
        .until("fraud", "is 60 behind", |group| {
            group.lag_messages == Some(60)
        })
        .await?;
    let browser = Browser::start().await?;
    let dashboard = stage.highwater.dashboard.clone();

    tokio::task::block_in_place(|| stage.kafka()?.stop().map_err(anyhow::Error::from))?;
    let lost = eventually("the cluster to be called unreachable", PATIENCE, || async {
        let cluster = cluster(&stage).await?;
        ensure!(cluster.state == "unreachable", "{cluster:?}");
        Ok(cluster)
    })
    .await?;
    let reason = lost.reason.clone().context("a reason")?;
    ensure!(lost.last_read.is_some(), "it was read before: {lost:?}");
    // Unknown is never zero: not on groups, not on the map, not in the metrics.
    let group = stage
        .until("fraud", "is unknown", |group| {
            group.state == State::Unknown && group.lag_messages.is_none()
        })
        .await?;
    ensure!(
        group.summary.time_lag_ms.is_none() && !group.summary.reason.is_empty(),
        "{group:?}"
    );
    let metrics = stage.highwater.text("/metrics").await?;
    ensure!(
        !metrics
            .lines()
            .any(|line| line.starts_with("kafka_consumergroup_lag{") && line.ends_with(" 0")),
        "{metrics}"
    );
    let map = own_map(&stage, "/api/v1/topology").await?;
    let node = map
        .nodes
        .iter()
        .find(|node| node.id == "group:demo/fraud")
        .context("no fraud")?;
    ensure!(
        node.lag
            .as_ref()
            .is_some_and(|lag| lag.lag_messages.is_none()),
        "{node:?}"
    );
    // Pages say so, with the reason.
    browser
        .driver
        .goto(format!("{dashboard}/settings/health"))
        .await?;
    browser.says("unreachable").await?;
    browser
        .says(
            reason
                .split_whitespace()
                .next()
                .context("an empty reason")?,
        )
        .await?;
    browser.driver.goto(format!("{dashboard}/lag")).await?;
    browser.find("group-row").await?;
    browser.says("unknown").await?;
    browser.screenshot("lag-kafka-stopped-dark").await?;

    // Ingest goes on.
    for span in 1..=20 {
        send_json(
            &stage.highwater.otlp_http,
            &span_json("meanwhile", 0x0def, span),
        )
        .await?;
    }
    let trace: Trace = stage
        .highwater
        .get(&format!("/api/v1/traces/{:032x}", 0x0def))
        .await?;
    ensure!(trace.spans.len() == 20, "{} spans", trace.spans.len());

    tokio::task::block_in_place(|| stage.kafka()?.start_again().map_err(anyhow::Error::from))?;
    stage
        .until("fraud", "is 60 behind again", |group| {
            group.lag_messages == Some(60)
        })
        .await?;
    ensure!(cluster(&stage).await?.state == "ok");
    browser
        .driver
        .goto(format!("{dashboard}/settings/health"))
        .await?;
    browser.settled().await?;
    ensure!(
        !browser.text().await?.to_lowercase().contains("unreachable"),
        "Health still complains"
    );
    browser.quit().await?;
    // It goes on: what is ordered now is read, and counted on top of what waits.
    stage.shop.take_orders(Some(20)).await;
    stage
        .until("fraud", "is 80 behind", |group| {
            group.lag_messages == Some(80)
        })
        .await?;
    stage
        .until("inventory", "has read up", |group| {
            group.lag_messages == Some(0)
        })
        .await?;
    stage.close().await
}

async fn cluster(stage: &Stage) -> Result<Cluster> {
    let brokers: Brokers = stage.highwater.get("/api/v1/brokers").await?;
    brokers
        .clusters
        .into_iter()
        .find(|cluster| cluster.name == "demo")
        .context("no cluster demo")
}
