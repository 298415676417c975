//! A stage: a real Kafka, the collector that watches it, and a shop at work on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use highwater_shared::lag::{GroupDetail, GroupSummary};
use highwater_shop::ledger::Ledger;
use highwater_shop::{Config, Shop};
use highwater_tests::highwater::Highwater;
use highwater_tests::kafka::{self, Kafka};
use highwater_tests::process::eventually;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// For what takes a few polls.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// For what a busy machine takes its time with.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A stage keeps two cores busy: more than two at once would only wait for each other, whatever the machine has.
static ROOM: Semaphore = Semaphore::const_new(2);

/// Settings that tests differ from an operator's by: what takes minutes there is judged in seconds here.
pub(crate) const SETTINGS: &str = "[lag]\nwindow = '15s'\nmark = '5s'\n";

#[derive(Debug)]
enum Broker {
    Shared(&'static Kafka),
    Own(Kafka),
}

/// What a test plays on. The shop closes with [`Stage::close`]; the rest ends when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) highwater: Highwater,
    pub(crate) shop: Arc<Shop>,
    /// Before the name of every topic and group of this stage's shop.
    pub(crate) prefix: String,
    broker: Broker,
    _data: TempDir,
    _room: SemaphorePermit<'static>,
}

impl Stage {
    /// Sets a stage on the Kafka that all tests share: topics and groups of this shop begin with `name.`.
    pub(crate) async fn shared(name: &str, pace: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::shared_with(name, SETTINGS, pace).await
    }

    /// As [`Stage::shared`], with settings of its own for the collector.
    pub(crate) async fn shared_with(
        name: &str,
        settings: &str,
        pace: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let kafka = tokio::task::spawn_blocking(kafka::shared).await?;
        Self::set(Broker::Shared(kafka), format!("{name}."), settings, pace).await
    }

    /// Sets a stage on a Kafka of its own, where nothing else is.
    pub(crate) async fn alone(pace: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::alone_with(SETTINGS, pace).await
    }

    /// As [`Stage::alone`], with settings of its own for the collector.
    pub(crate) async fn alone_with(settings: &str, pace: impl FnOnce(&mut Config)) -> Result<Self> {
        let kafka = tokio::task::spawn_blocking(Kafka::start).await??;
        Self::set(Broker::Own(kafka), String::new(), settings, pace).await
    }

    async fn set(
        broker: Broker,
        prefix: String,
        text: &str,
        pace: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let room = ROOM.acquire().await?;
        let bootstrap = match &broker {
            Broker::Shared(kafka) => kafka.bootstrap(),
            Broker::Own(kafka) => kafka.bootstrap(),
        };
        let data = tempfile::tempdir()?;
        let settings: PathBuf = data.path().join("settings.toml");
        std::fs::write(&settings, text)?;
        let cluster = format!("--kafka=demo={bootstrap}");
        let config = format!("--config={}", settings.display());
        let highwater =
            Highwater::start(data.path(), &[&cluster, &config, "--poll-interval=1s"]).await?;
        let mut config = Config {
            prefix,
            ..Config::new(bootstrap, highwater.otlp_grpc.clone())
        };
        pace(&mut config);
        let prefix = config.prefix.clone();
        let shop = Shop::open(config).await?;
        Ok(Self {
            highwater,
            shop,
            prefix,
            broker,
            _data: data,
            _room: room,
        })
    }

    /// Returns `127.0.0.1:PORT` of the broker.
    pub(crate) fn bootstrap(&self) -> String {
        match &self.broker {
            Broker::Shared(kafka) => kafka.bootstrap(),
            Broker::Own(kafka) => kafka.bootstrap(),
        }
    }

    /// Returns the broker, to stop and start it; an error where others use it too.
    pub(crate) fn kafka(&mut self) -> Result<&mut Kafka> {
        match &mut self.broker {
            Broker::Own(kafka) => Ok(kafka),
            Broker::Shared(_) => anyhow::bail!("other tests use this Kafka"),
        }
    }

    /// Returns the name of a topic or group of this stage's shop on the broker.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Takes orders, waits until all groups have handled and committed everything and all spans are acknowledged, and
    /// returns the ledger.
    pub(crate) async fn play(&self, orders: u64) -> Result<Ledger> {
        self.shop.take_orders(Some(orders)).await;
        self.shop.drained(PATIENCE).await?;
        self.shop.flush().await;
        let ledger = self.shop.ledger().await?;
        ensure!(
            ledger.failed_sends == 0 && !ledger.truncated,
            "the ledger is not whole"
        );
        Ok(ledger)
    }

    /// Takes orders in the background until the shop closes.
    pub(crate) fn open_doors(&self) {
        let shop = Arc::clone(&self.shop);
        tokio::spawn(async move { shop.take_orders(None).await });
    }

    /// Returns a group, by its name in the plan.
    pub(crate) async fn group(&self, name: &str) -> Result<GroupDetail> {
        self.highwater
            .get(&format!("/api/v1/groups/demo/{}", self.named(name)))
            .await
    }

    /// Waits until a group is as `is` says; the message of a failure holds what it was last.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&GroupSummary) -> bool,
    ) -> Result<GroupDetail> {
        eventually(&format!("{name} {what}"), PATIENCE, || async {
            let group = self.group(name).await?;
            ensure!(is(&group.summary), "{:#?}", group.summary);
            Ok(group)
        })
        .await
    }

    /// Closes the shop and lets the collector drain; anything it complained about fails the test.
    pub(crate) async fn close(self) -> Result<()> {
        self.shop.close().await;
        let (code, output) = self.highwater.interrupt().await?;
        ensure!(code == Some(0), "{code:?}: {}", output.join("\n"));
        let complaint = output
            .iter()
            .find(|line| line.contains("ERROR") || line.contains("panicked"));
        ensure!(
            complaint.is_none(),
            "highwater printed:\n{}",
            output.join("\n")
        );
        Ok(())
    }
}

/// Returns the nanoseconds since 1970 now.
pub(crate) fn now() -> highwater_shared::Instant {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map(|age| u64::try_from(age.as_nanos()));
    highwater_shared::Instant(nanos.unwrap_or(Ok(0)).unwrap_or(0))
}

/// Returns a span as JSON over OTLP: of `service`, ending now.
pub(crate) fn span_json(service: &str, trace_id: u128, span_id: u64) -> serde_json::Value {
    let end = now().0;
    serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": [{
            "traceId": format!("{trace_id:032x}"),
            "spanId": format!("{span_id:016x}"),
            "name": "work",
            "kind": 1,
            "startTimeUnixNano": (end - 1_000_000).to_string(),
            "endTimeUnixNano": end.to_string(),
        }]}],
    }]})
}

/// Sends one request of spans as JSON and waits for its acknowledgement.
pub(crate) async fn send_json(otlp_http: &str, body: &serde_json::Value) -> Result<()> {
    let client = reqwest::Client::new();
    let answer = client
        .post(format!("{otlp_http}/v1/traces"))
        .json(body)
        .send()
        .await?;
    answer
        .error_for_status()
        .context("the spans were not taken")?;
    Ok(())
}
