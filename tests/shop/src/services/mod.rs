//! The services: what each does with a record, and what they share.

pub(crate) mod audit;
pub(crate) mod billing;
pub(crate) mod listeners;
pub(crate) mod shipping;
pub(crate) mod storefront;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use crate::book::{Book, Handled};
use crate::config::Config;
use crate::dials::Mode;
use crate::intake::{Record, Work};
use crate::ledger::{Place, Republished};
use crate::orders::Dice;
use crate::outlet::{Outgoing, Outlet};
use crate::plan::{Group, Topic};
use crate::spring::{self, Failure, Header};
use crate::telemetry::{self, Telemetry};

/// What every member of every service has.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) config: Config,
    pub(crate) dice: Dice,
    pub(crate) book: Arc<Book>,
    pub(crate) telemetry: Telemetry,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) dial: watch::Receiver<Mode>,
}

impl Bench {
    pub(crate) fn mode(&self) -> Mode {
        *self.dial.borrow()
    }

    /// Does a piece of simulated work below `parent`, with a span of its own.
    pub(crate) async fn work(
        &self,
        parent: &Context,
        order: &str,
        name: &'static str,
        kind: SpanKind,
        typical: Duration,
        attributes: Vec<KeyValue>,
    ) {
        let span = self.telemetry.start_work(parent, name, kind, attributes);
        self.spend(order, name, typical).await;
        telemetry::succeeded(&span);
    }

    /// Lets the time of a piece of simulated work pass.
    pub(crate) async fn spend(&self, order: &str, name: &str, typical: Duration) {
        let usual = self
            .dice
            .time(order, name, typical)
            .mul_f64(self.config.work);
        let time = match self.mode() {
            Mode::Slow => usual + Duration::from_millis(250),
            Mode::Draining => Duration::ZERO,
            Mode::Normal | Mode::Paused | Mode::Failing => usual,
        };
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// Sends a business message about `order`.
    pub(crate) async fn publish(
        &self,
        parent: &Context,
        topic: &Topic,
        key: &str,
        order: &str,
        value: &[u8],
    ) -> Result<Place, KafkaError> {
        let topic = self.config.named(topic.name);
        let headers = vec![
            ("correlation-id".to_owned(), Some(order.as_bytes().to_vec())),
            (
                "content-type".to_owned(),
                Some(b"application/json".to_vec()),
            ),
        ];
        self.outlet
            .send(
                parent,
                Outgoing {
                    topic: &topic,
                    key,
                    value,
                    order,
                    headers,
                },
            )
            .await
    }
}

/// What a service does with one record.
pub(crate) trait Handle: Send + Sync + 'static {
    /// Handles the record below the span of this attempt.
    fn handle(
        &self,
        bench: &Bench,
        span: &Context,
        record: &Record,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What goes wrong when this service is made to fail.
    fn broken(&self) -> Failure;
}

/// What becomes of a record whose last attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovery {
    /// It is skipped, as Spring's default error handler does.
    Skip,
    /// It goes to `retry`, or straight to `dead` where another attempt would be senseless.
    Publish {
        /// Where it waits for its next attempt; `None` where this was the last.
        retry: Option<Topic>,
        /// Where it is given up.
        dead: Topic,
    },
}

/// A member that handles record by record: a span for each attempt, attempts in place, then recovery.
pub(crate) struct Listener<H> {
    pub(crate) bench: Bench,
    pub(crate) group: &'static Group,
    pub(crate) client: String,
    /// Attempts in place.
    pub(crate) attempts: u32,
    /// How long a record waits before its first attempt, counted from its timestamp.
    pub(crate) delay: Duration,
    pub(crate) recovery: Recovery,
    pub(crate) handler: H,
}

/// Between two attempts in place.
const BACK_OFF: Duration = Duration::from_millis(40);

impl<H: Handle> Work for Listener<H> {
    async fn handle(&self, records: Vec<Record>) {
        for record in records {
            self.wait_until_due(&record).await;
            if let Err((failure, span)) = self.attempts(&record).await {
                self.recover(&record, &failure, &span).await;
            }
        }
    }
}

impl<H: Handle> Listener<H> {
    /// Attempts in place; returns the last failure with the span of its attempt.
    async fn attempts(&self, record: &Record) -> Result<(), (Failure, Context)> {
        let group = self.bench.config.named(self.group.name);
        let mut attempt = 1;
        loop {
            let span = self
                .bench
                .telemetry
                .start_process(record, self.group, &group, &self.client);
            let outcome = if self.bench.mode() == Mode::Failing {
                self.bench
                    .spend(&record.order, "fail", Duration::from_millis(5))
                    .await;
                Err(self.handler.broken())
            } else {
                self.handler.handle(&self.bench, &span, record).await
            };
            telemetry::ended(&span, &outcome);
            self.bench.book.handled(Handled {
                order: &record.order,
                group: self.group,
                place: record.place.clone(),
                failed: outcome.is_err(),
            });
            match outcome {
                Ok(()) => return Ok(()),
                Err(failure) if attempt == self.attempts || !failure.worth_retrying => {
                    return Err((failure, span));
                }
                Err(_) => tokio::time::sleep(BACK_OFF.mul_f64(self.bench.config.work)).await,
            }
            attempt += 1;
        }
    }

    async fn recover(&self, record: &Record, failure: &Failure, span: &Context) {
        let Recovery::Publish { retry, dead } = self.recovery else {
            return;
        };
        let topic = match retry {
            Some(retry) if failure.worth_retrying => retry,
            _ => dead,
        };
        let group = self.bench.config.named(self.group.name);
        let topic = self.bench.config.named(topic.name);
        let origin = spring::Origin {
            topic: &record.place.topic,
            partition: record.place.partition,
            offset: record.place.offset,
            timestamp: record.timestamp,
            group: &group,
        };
        let headers = spring::published(&record.headers, &origin, failure);
        let place = persist(|| self.republish(span, record, &topic, headers.clone())).await;
        let (first_topic, partition, offset) = spring::first_origin(&headers).unwrap_or_default();
        self.bench.book.republished(Republished {
            order: record.order.clone(),
            topic: place.topic,
            partition: place.partition,
            offset: place.offset,
            group,
            service: self.group.service.to_owned(),
            cause: failure.class.to_owned(),
            message: failure.message.clone(),
            origin: Place {
                topic: first_topic,
                partition,
                offset,
            },
        });
    }

    async fn republish(
        &self,
        span: &Context,
        record: &Record,
        topic: &str,
        headers: Vec<Header>,
    ) -> Result<Place, KafkaError> {
        let outgoing = Outgoing {
            topic,
            key: &record.key,
            value: &record.value,
            order: &record.order,
            headers,
        };
        self.bench.outlet.send(span, outgoing).await
    }

    async fn wait_until_due(&self, record: &Record) {
        let delay = self.delay.mul_f64(self.bench.config.work);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let sent = Duration::from_millis(u64::try_from(record.timestamp).unwrap_or(0));
        // Never longer than the delay itself, whatever the clocks say.
        let wait = (sent + delay).saturating_sub(now).min(delay);
        if !wait.is_zero() && self.bench.mode() != Mode::Draining {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Sends until the broker acknowledges: a record that is not handed on would be lost once its offset is committed.
pub(crate) async fn persist<F>(mut send: impl FnMut() -> F) -> Place
where
    F: Future<Output = Result<Place, KafkaError>>,
{
    loop {
        match send().await {
            Ok(place) => return place,
            Err(error) => {
                tracing::warn!(%error, "cannot hand a record on; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Serialises what is sent; a value of ours always can be.
pub(crate) fn json(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
