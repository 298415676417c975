//! The storefront: takes orders from customers and puts them on `orders`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Bench;
use crate::dials::Mode;
use crate::plan::ORDERS;
use crate::telemetry;

/// Orders that may wait for the broker at once; more customers than that wait outside.
const AT_ONCE: usize = 512;

pub(crate) struct Storefront {
    bench: Bench,
    next: AtomicU64,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Storefront {
    pub(crate) fn new(bench: Bench, stop: CancellationToken) -> Storefront {
        let next = AtomicU64::new(bench.config.first_order);
        Storefront {
            bench,
            next,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Takes `orders` orders at the shop's rate, or endless ones; returns when all are acknowledged.
    ///
    /// While the storefront is made to fail its customers get an error, and those orders do not count.
    pub(crate) async fn take(self: &Arc<Self>, orders: Option<u64>) {
        let mut left = orders.unwrap_or(u64::MAX);
        let mut dial = self.bench.dial.clone();
        let pause = Duration::from_secs_f64(1.0 / self.bench.config.rate.clamp(0.01, 100_000.0));
        let mut ticks = tokio::time::interval_at(Instant::now(), pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut skipped = 0;
        while left > 0 {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            match *dial.borrow_and_update() {
                Mode::Paused => continue,
                Mode::Slow if skipped < 4 => {
                    skipped += 1;
                    continue;
                }
                Mode::Failing => {
                    let this = Arc::clone(self);
                    self.tasks.spawn(async move { this.refuse().await });
                    continue;
                }
                Mode::Slow | Mode::Normal | Mode::Draining => skipped = 0,
            }
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                break;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let this = Arc::clone(self);
            self.tasks.spawn(async move {
                this.order(number).await;
                drop(slot);
            });
            left -= 1;
        }
        // Acknowledged, each of them: the ledger of a drained shop is then complete.
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        tokio::select! {
            _ = self.slots.acquire_many(all) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Waits for what is under way, a while.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(10), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("orders were still under way when the shop closed");
        }
    }

    async fn order(&self, number: u64) {
        let order = self.bench.dice.order(number);
        let request = self.request(&order.order);
        let priced = self.bench.work(
            &request,
            &order.order,
            "price basket",
            SpanKind::Internal,
            Duration::from_millis(3),
            vec![KeyValue::new(
                "shop.items",
                i64::try_from(order.items.len()).unwrap_or(0),
            )],
        );
        priced.await;
        let value = serde_json::to_vec(&order).unwrap_or_default();
        match self
            .bench
            .publish(&request, &ORDERS, &order.customer, &order.order, &value)
            .await
        {
            Ok(_) => {
                respond(&request, 202);
                telemetry::succeeded(&request);
                self.bench.book.placed();
            }
            Err(error) => {
                respond(&request, 503);
                telemetry::failed(&request, "503", &error.to_string(), None);
            }
        }
    }

    /// Answers a customer with an error; no order comes of it.
    async fn refuse(&self) {
        let request = self.request("");
        self.bench
            .spend("", "refuse", Duration::from_millis(2))
            .await;
        respond(&request, 500);
        telemetry::failed(&request, "500", "the storefront was made to fail", None);
    }

    fn request(&self, order: &str) -> Context {
        let mut attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/orders"),
            KeyValue::new("url.path", "/orders"),
            KeyValue::new("url.scheme", "https"),
        ];
        if !order.is_empty() {
            attributes.push(KeyValue::new("correlation_id", order.to_owned()));
        }
        self.bench.telemetry.start_work(
            &Context::new(),
            "POST /orders",
            SpanKind::Server,
            attributes,
        )
    }
}

fn respond(request: &Context, status: i64) {
    use opentelemetry::trace::TraceContextExt as _;
    request
        .span()
        .set_attribute(KeyValue::new("http.response.status_code", status));
}
