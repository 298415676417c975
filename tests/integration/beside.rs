//! What stands beside a group's curve: what happened to it, and why it is behind, on a real Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use highwater_shared::lag::{
    ChangeRecord, Changes, GroupDetail, GroupEvent, GroupEventKind, GroupHistory,
};
use highwater_shop::dials::Mode;
use highwater_tests::process::eventually;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::stage::{PATIENCE, Stage, send_json, span_json};

/// Waits for an event of a group that begins so, and returns it. There may be others before it: the members of a shop
/// that opens do not all come at once.
async fn event(stage: &Stage, group: &str, kind: GroupEventKind, text: &str) -> Result<GroupEvent> {
    let path = format!("/api/v1/groups/demo/{}{group}/history", stage.prefix);
    eventually(&format!("{group}: {kind:?}, {text}"), PATIENCE, || async {
        let history: GroupHistory = stage.highwater.get(&path).await?;
        let found = history
            .events
            .iter()
            .find(|event| event.kind == kind && event.text.starts_with(text));
        match found {
            Some(event) => Ok(event.clone()),
            None => anyhow::bail!("{:?}", history.events),
        }
    })
    .await
}

fn consumer(stage: &Stage, group: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", stage.bootstrap())
        .set("group.id", format!("{}{group}", stage.prefix))
        .set("enable.auto.commit", "false")
        // As the shop's: members of one group must agree.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_a_group_stands_beside_its_curve_and_outlives_a_kill() -> Result<()> {
    let mut stage = Stage::shared("beside", |config| config.rate = 20.0).await?;
    stage.open_doors();
    let known = |group: &highwater_shared::lag::GroupSummary| {
        // Only of a group that was settled before can be told what a rebalance changed.
        let settled = group.broker_state.as_deref() == Some("Stable");
        group.members == Some(2) && settled && group.services == ["billing"]
    };
    stage
        .until("billing", "is read by a service", known)
        .await?;

    // Another version of its service.
    let mut span = span_json("billing", 7, 7);
    let attributes = &mut span["resourceSpans"][0]["resource"]["attributes"];
    if let Some(attributes) = attributes.as_array_mut() {
        let version =
            serde_json::json!({"key": "service.version", "value": {"stringValue": "9.9.9"}});
        attributes.push(version);
    }
    send_json(&stage.highwater.otlp_http, &span).await?;
    let deployed = event(&stage, "billing", GroupEventKind::Deployed, "billing 9.9.9").await?;

    // Another member.
    let member = consumer(&stage, "billing")?;
    let topic = format!("{}orders", stage.prefix);
    member.subscribe(&[&topic])?;
    let seen = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&seen);
    let polled = tokio::task::spawn_blocking(move || {
        let patience = Instant::now() + PATIENCE;
        while !until.load(Ordering::Relaxed) && Instant::now() < patience {
            member.poll(Duration::from_millis(100));
        }
    });
    // On a busy machine the shop's second member may have been seen in the middle of its rebalance only: "1 before".
    let third = "3\u{a0}members, ";
    let rebalanced = event(&stage, "billing", GroupEventKind::Rebalanced, third).await;
    seen.store(true, Ordering::Relaxed);
    polled.await?;
    rebalanced?;

    // Offsets that go back, as a tool sets them.
    let reader = consumer(&stage, "reader")?;
    for offset in [3, 1] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(offset))?;
        tokio::task::block_in_place(|| reader.commit(&list, CommitMode::Sync))?;
        stage
            .until("reader", "has its offset read", |group| {
                group.read_at.is_some() && group.out_per_s.is_some()
            })
            .await?;
    }
    let back = "2\u{a0}messages back on 1\u{a0}partition";
    event(&stage, "reader", GroupEventKind::Rewound, back).await?;

    // What was found one by one stands in one list, newest first, with whose it is.
    let told: Changes = stage.highwater.get("/api/v1/changes?limit=500").await?;
    let group = |name: &str| format!("{}{name}", stage.prefix);
    let newest = |kind, subject: &str, text: &str| {
        let same = |change: &ChangeRecord| {
            change.kind == kind && change.subject == subject && change.text.starts_with(text)
        };
        told.changes.iter().position(same)
    };
    let back = newest(GroupEventKind::Rewound, &group("reader"), back);
    let rebalanced = newest(GroupEventKind::Rebalanced, &group("billing"), third);
    let version = newest(GroupEventKind::Deployed, "billing", "9.9.9");
    ensure!(
        back.is_some() && back < rebalanced && rebalanced < version,
        "{:?}",
        told.changes
    );
    let in_order = told.changes.windows(2).all(|two| two[0].at >= two[1].at);
    ensure!(in_order && !told.more, "{:?}", told.changes);

    // A kill forgets nothing, and the version that runs on is no new deploy.
    stage.highwater = stage.highwater.kill_and_restart().await?;
    assert_eq!(
        event(&stage, "billing", GroupEventKind::Deployed, "billing 9.9.9").await?,
        deployed
    );
    send_json(&stage.highwater.otlp_http, &span).await?;
    let path = format!("/api/v1/groups/demo/{}billing/history", stage.prefix);
    stage.until("billing", "is read again", known).await?;
    let history: GroupHistory = stage.highwater.get(&path).await?;
    let deploys = history
        .events
        .iter()
        .filter(|event| event.kind == GroupEventKind::Deployed);
    assert_eq!(deploys.count(), 1, "{:?}", history.events);
    stage.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_groups_page_has_its_failures_and_what_spans_say_of_its_lag() -> Result<()> {
    let stage = Stage::shared("why", |config| config.rate = 20.0).await?;
    stage.open_doors();
    stage.shop.turn("billing", Mode::Failing)?;
    let group = format!("/api/v1/groups/demo/{}billing", stage.prefix);
    eventually("failures beside the lag", PATIENCE, || async {
        let history: GroupHistory = stage.highwater.get(&format!("{group}/history")).await?;
        ensure!(history.failing.len() == 5, "{:?}", history.failing);
        ensure!(history.slowest.len() == 5, "{:?}", history.slowest);
        ensure!(history.why.handlings >= 20, "{:?}", history.why);
        let told: f64 = history.why.time.iter().map(|share| share.share).sum();
        ensure!((0.9..=1.01).contains(&told), "{:?}", history.why.time);
        ensure!(
            history
                .failing
                .iter()
                .all(|failed| !failed.error.is_empty())
        );
        let detail: GroupDetail = stage.highwater.get(&group).await?;
        let Some(observed) = detail.observed else {
            anyhow::bail!("spans tell nothing of its lag");
        };
        ensure!(observed.messages >= 20, "{observed:?}");
        ensure!(observed.p50_ms <= observed.p95_ms, "{observed:?}");
        ensure!(observed.disagrees.is_none(), "{observed:?}");
        Ok(())
    })
    .await?;
    stage.close().await
}
