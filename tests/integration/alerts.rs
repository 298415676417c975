//! Alerts on a real Kafka: what is done to consumers and broker against what fires and what is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use highwater_shared::alerts::{Act, Alert, AlertHistory, Alerts, Phase, Rules, Trial};
use highwater_shop::dials::Mode;
use highwater_tests::browser::Browser;
use highwater_tests::process::eventually;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::stage::{PATIENCE, SETTINGS, Stage};

const SECRET: &str = "a secret of the tests";

/// Rules that judge in seconds what an operator's judge in minutes.
const RULES: &str = "
[[rule]]
id = 'time-lag'
watch = 'time_lag'
over = '3s'
for = '2s'
clear_for = '3s'
severity = 'critical'

[[rule]]
id = 'stopped'
watch = 'stopped'
for = '1s'
clear_for = '3s'

[[rule]]
id = 'broker-unreachable'
watch = 'broker_unreachable'
for = '1s'
clear_for = '2s'
severity = 'critical'

[[rule]]
id = 'broken'
watch = 'time_lag'
over = 'soon'
";

/// An HTTP server that believes only what is signed.
struct Sink {
    url: String,
    received: Arc<parking_lot::Mutex<Vec<Value>>>,
}

/// Computes the signature by what the documentation says.
fn signature(t: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

impl Sink {
    async fn open() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/alerts", listener.local_addr()?);
        let received = Arc::default();
        let take = |State(received): State<Arc<parking_lot::Mutex<Vec<Value>>>>,
                    headers: HeaderMap,
                    body: axum::body::Bytes| async move {
            let signed = headers["x-highwater-signature"].to_str().unwrap();
            let (t, v1) = signed.split_once(',').unwrap();
            let (t, v1) = (&t["t=".len()..], &v1["v1=".len()..]);
            assert_eq!(v1, signature(t, &body), "the signature is wrong");
            received.lock().push(serde_json::from_slice(&body).unwrap());
        };
        let router = Router::new()
            .route("/alerts", post(take))
            .with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, received })
    }

    /// Messages of a kind about an alert.
    fn told(&self, kind: &str, alert: &str) -> usize {
        let received = self.received.lock();
        let of = |message: &&Value| {
            let alerts = message["alerts"].as_array().unwrap();
            message["kind"] == kind && alerts.iter().any(|one| one["id"] == alert)
        };
        received.iter().filter(of).count()
    }
}

/// Settings with rules and a channel, and the files that they name.
fn settings(sink: &Sink) -> Result<(TempDir, String)> {
    let files = tempfile::tempdir()?;
    let (rules, secret) = (files.path().join("rules.toml"), files.path().join("secret"));
    std::fs::write(&rules, RULES)?;
    std::fs::write(&secret, SECRET)?;
    let text = format!(
        "rules = '{}'\n{SETTINGS}\n[[channel]]\nname = 'sink'\nkind = 'webhook'\nurl = '{}'\nsecret_file = '{}'\n",
        rules.display(),
        sink.url,
        secret.display()
    );
    Ok((files, text))
}

async fn alerts(stage: &Stage) -> Result<Vec<Alert>> {
    let all: Alerts = stage.highwater.get("/api/v1/alerts").await?;
    Ok(all.alerts)
}

/// Waits for an alert of a rule on a group of the stage, in a phase.
async fn until(stage: &Stage, rule: &str, group: &str, phase: Phase) -> Result<Alert> {
    let group = stage.named(group);
    eventually(
        &format!("{rule} of {group} {phase:?}"),
        PATIENCE,
        || async {
            let alerts = alerts(stage).await?;
            let of = |alert: &&Alert| {
                let about = alert
                    .subject
                    .group
                    .as_deref()
                    .or(alert.subject.cluster.as_deref());
                alert.rule == rule && about == Some(group.as_str()) && alert.phase == phase
            };
            let found = alerts.iter().find(of).cloned();
            found.with_context(|| format!("{alerts:#?}"))
        },
    )
    .await
}

async fn send(stage: &Stage, path: &str, body: &Value) -> Result<(u16, Value)> {
    let url = format!("{}/api/v1/{path}", stage.highwater.dashboard);
    let answer = reqwest::Client::new().post(url).json(body).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn history(stage: &Stage) -> Result<AlertHistory> {
    stage
        .highwater
        .get("/api/v1/alerts/history?limit=1000")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_group_fires_once_over_a_kill_and_its_end_is_told_to_who_was_told() -> Result<()> {
    let sink = Sink::open().await?;
    let (_files, text) = settings(&sink)?;
    let mut stage = Stage::shared_with("alerting", &text, |config| config.rate = 20.0).await?;
    stage.open_doors();
    stage
        .until("billing", "reads", |group| group.out_per_s > Some(0.0))
        .await?;

    stage.shop.turn("billing", Mode::Paused)?;
    let fired = until(&stage, "time-lag", "billing", Phase::Firing).await?;
    assert!(fired.sentence.contains("billing"), "{}", fired.sentence);
    assert!(fired.href.starts_with("/lag/demo/"), "{}", fired.href);
    eventually("the sink is told", PATIENCE, || async {
        ensure!(sink.told("fired", &fired.id) == 1);
        Ok(())
    })
    .await?;

    // Somebody sees it; then the collector is killed as a power cut would.
    let path = format!("alerts/{}/acknowledge", fired.id);
    let (status, _) = send(&stage, &path, &json!({"by": "  "})).await?;
    assert_eq!(status, 400, "a name is needed");
    let browser = Browser::start().await?;
    browser
        .driver
        .goto(format!("{}/alerts", stage.highwater.dashboard))
        .await?;
    let row = format!("[data-alert='{}']", fired.id);
    let said = browser.css(&row).await?.text().await?;
    assert!(
        said.contains("billing") && said.contains("told sink"),
        "{said}"
    );
    browser
        .click(&format!("{row} [data-testid=acknowledge]"))
        .await?;
    browser.find("ask-name").await?.send_keys("ada").await?;
    browser.find("ask-take").await?.click().await?;
    eventually("the page says who has seen it", PATIENCE, || async {
        let said = browser.css(&row).await?.text().await?;
        ensure!(said.contains("ada"), "{said}");
        Ok(())
    })
    .await?;
    browser.no_errors().await?;
    browser.quit().await?;
    stage.highwater = stage.highwater.kill_and_restart().await?;
    let again = until(&stage, "time-lag", "billing", Phase::Firing).await?;
    assert_eq!((&again.id, again.fired_at), (&fired.id, fired.fired_at));
    let by = again
        .acknowledged
        .as_ref()
        .map(|Act { by, .. }| by.as_str());
    assert_eq!(by, Some("ada"));

    stage.shop.turn("billing", Mode::Draining)?;
    let over = until(&stage, "time-lag", "billing", Phase::Resolved).await?;
    assert_eq!(over.id, fired.id);
    eventually("the sink is told the end", PATIENCE, || async {
        ensure!(sink.told("resolved", &fired.id) == 1);
        Ok(())
    })
    .await?;
    assert_eq!(sink.told("fired", &fired.id), 1, "told once, kill or not");
    let kinds: Vec<String> = history(&stage)
        .await?
        .events
        .into_iter()
        .filter(|event| event.alert == fired.id)
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["resolved", "acknowledged", "fired"]);

    // The same rule over what was stored says the same.
    let spec = json!({"id": "time-lag", "watch": "time_lag", "over": "3s", "for": "2s", "clear_for": "3s",
                      "group": [stage.named("billing")]});
    let (status, trial) = send(&stage, "rules/try", &json!({"spec": spec, "hours": 1})).await?;
    assert_eq!(status, 200, "{trial}");
    let trial: Trial = serde_json::from_value(trial)?;
    assert!(!trial.firings.is_empty(), "{trial:?}");
    assert_eq!(
        trial.drawn.as_deref(),
        Some(&*format!("demo/{}", stage.named("billing")))
    );

    // The bad rule of the file is named, and cost nothing else.
    let rules: Rules = stage.highwater.get("/api/v1/rules").await?;
    assert!(
        rules
            .problems
            .iter()
            .any(|one| one.contains("broken") && one.contains("soon")),
        "{:?}",
        rules.problems
    );
    stage.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_broker_is_one_alert() -> Result<()> {
    let sink = Sink::open().await?;
    let (_files, text) = settings(&sink)?;
    let mut stage = Stage::alone_with(&text, |config| config.rate = 20.0).await?;
    stage.open_doors();
    for group in ["billing", "inventory", "fraud", "shipping"] {
        stage
            .until(group, "reads", |group| group.out_per_s > Some(0.0))
            .await?;
    }
    let before: BTreeSet<String> = firing(&stage).await?;

    stage.kafka()?.stop()?;
    let down = until(&stage, "broker-unreachable", "demo", Phase::Firing).await?;
    // For as long as every group would need to be called behind, stopped or unknown, nothing else fires at any second.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..20 {
        second.tick().await;
        let during: BTreeSet<String> = firing(&stage).await?;
        let new: Vec<&String> = during.difference(&before).collect();
        assert_eq!(new, ["broker-unreachable demo"]);
    }
    stage.kafka()?.start_again()?;
    let up = until(&stage, "broker-unreachable", "demo", Phase::Resolved).await?;
    assert_eq!(up.id, down.id);
    eventually("the end is told", PATIENCE, || async {
        ensure!(sink.told("resolved", &down.id) == 1 && sink.told("fired", &down.id) == 1);
        Ok(())
    })
    .await?;
    stage.shop.close().await;
    stage.highwater.interrupt().await?;
    Ok(())
}

/// Rule and subject of what fires and is told.
async fn firing(stage: &Stage) -> Result<BTreeSet<String>> {
    let alerts = alerts(stage).await?;
    let told = alerts
        .into_iter()
        .filter(|alert| alert.phase == Phase::Firing && alert.inhibited_by.is_none());
    Ok(told
        .map(|alert| {
            let subject = alert.subject;
            let about = subject.group.or(subject.topic).or(subject.cluster);
            format!("{} {}", alert.rule, about.unwrap_or_default())
        })
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_form_counts_at_once_is_kept_and_gives_way() -> Result<()> {
    let sink = Sink::open().await?;
    let (_files, text) = settings(&sink)?;
    let mut stage = Stage::shared_with("ruling", &text, |config| config.rate = 20.0).await?;
    stage.open_doors();
    stage
        .until("fraud", "reads", |group| group.out_per_s > Some(0.0))
        .await?;
    let group = stage.named("fraud");
    let wrong = json!({"id": "fraud", "watch": "offset_lag", "over": "many"});
    let (status, problem) = send(&stage, "rules", &wrong).await?;
    assert_eq!(status, 400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("over") && detail.contains("many"),
        "{detail}"
    );

    let spec = json!({"id": "fraud", "watch": "offset_lag", "over": "20", "for": "1s", "clear_for": "1s",
                      "severity": "warning", "group": [group]});
    let (status, saved) = send(&stage, "rules", &spec).await?;
    assert_eq!((status, &saved["origin"]), (200, &json!("form")), "{saved}");
    // A silence keeps it from being told, not from being seen.
    let ends = crate::stage::now().0 + 3_600_000_000_000;
    let silence = json!({"matchers": {"rule": "fraud"}, "ends": highwater_shared::Instant(ends),
                         "author": "ada", "comment": "a rehearsal"});
    let (status, silence) = send(&stage, "silences", &silence).await?;
    assert_eq!(status, 200, "{silence}");
    stage.shop.turn("fraud", Mode::Paused)?;
    let fired = until(&stage, "fraud", "fraud", Phase::Firing).await?;
    assert_eq!(fired.silenced_by.as_deref(), silence["id"].as_str());
    assert_eq!(sink.told("fired", &fired.id), 0);
    stage.highwater = stage.highwater.drain_and_restart().await?;
    let again = until(&stage, "fraud", "fraud", Phase::Firing).await?;
    assert_eq!(
        (&again.id, again.silenced_by),
        (&fired.id, fired.silenced_by)
    );
    let path = format!("silences/{}/end", silence["id"].as_str().unwrap());
    let (status, ended) = send(&stage, &path, &json!({"by": "grace"})).await?;
    assert_eq!((status, &ended["ended"]["by"]), (200, &json!("grace")));
    eventually("it is told when its silence ends", PATIENCE, || async {
        ensure!(sink.told("fired", &fired.id) == 1);
        Ok(())
    })
    .await?;

    let history = history(&stage).await?;
    let of_silence = |kind: &str| {
        let found = history.events.iter().find(|event| event.kind == kind);
        found.map(|event| (event.by.as_deref(), event.subject.as_str(), event.severity))
    };
    assert_eq!(
        of_silence("silenced"),
        Some((Some("ada"), "rule = fraud", None))
    );
    assert_eq!(
        of_silence("unsilenced"),
        Some((Some("grace"), "rule = fraud", None))
    );

    let url = format!("{}/api/v1/rules/fraud", stage.highwater.dashboard);
    let answer = reqwest::Client::new().delete(url).send().await?;
    assert_eq!(answer.status().as_u16(), 200);
    until(&stage, "fraud", "fraud", Phase::Resolved).await?;
    let (status, answer) = send(&stage, "channels/sink/test", &json!({})).await?;
    assert_eq!(
        (status, &answer["delivered"]),
        (200, &json!(true)),
        "{answer}"
    );
    let (status, _) = send(&stage, "channels/nobody/test", &json!({})).await?;
    assert_eq!(status, 404);
    stage.close().await
}
