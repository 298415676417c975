//! What stands beside a group's curve: what happened to it, and why it is behind, on a real Kafka.

use std::time::Duration;

use anyhow::{Result, ensure};
use highwater_shared::lag::{GroupDetail, GroupEvent, GroupEventKind, GroupHistory};
use highwater_shop::dials::Mode;
use highwater_tests::process::eventually;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::stage::{PATIENCE, Stage, send_json, span_json};

/// Waits for an event of a group, and returns it.
async fn event(stage: &Stage, group: &str, kind: GroupEventKind) -> Result<GroupEvent> {
    let path = format!("/api/v1/groups/demo/{}{group}/history", stage.prefix);
    let mut found = None;
    let seen = &mut found;
    let wanted = async {
        loop {
            let history: GroupHistory = stage.highwater.get(&path).await?;
            if let Some(event) = history.events.into_iter().find(|event| event.kind == kind) {
                *seen = Some(event);
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, wanted).await;
    ensure!(in_time.is_ok(), "{group}: no {kind:?} in {PATIENCE:?}");
    in_time??;
    found.ok_or_else(|| anyhow::anyhow!("{group}: no {kind:?}"))
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
        group.members == Some(2) && group.services == ["billing"]
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
    let deployed = event(&stage, "billing", GroupEventKind::Deployed).await?;
    assert_eq!(deployed.text, "billing 9.9.9");

    // Another member.
    let member = consumer(&stage, "billing")?;
    let topic = format!("{}orders", stage.prefix);
    member.subscribe(&[&topic])?;
    let polled = tokio::task::spawn_blocking(move || {
        let until = std::time::Instant::now() + Duration::from_secs(8);
        while std::time::Instant::now() < until {
            member.poll(Duration::from_millis(100));
        }
    });
    let rebalanced = event(&stage, "billing", GroupEventKind::Rebalanced).await?;
    assert_eq!(rebalanced.text, "3 members, 2 before");
    polled.await?;

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
    let rewound = event(&stage, "reader", GroupEventKind::Rewound).await?;
    assert_eq!(rewound.text, "2\u{a0}messages back on 1 partition");

    // A kill forgets nothing, and the version that runs on is no new deploy.
    stage.highwater = stage.highwater.kill_and_restart().await?;
    assert_eq!(
        event(&stage, "billing", GroupEventKind::Deployed).await?,
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
