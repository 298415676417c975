//! The shop: a workload that really happens.
//!
//! Six services produce and consume over a real Kafka and send spans as a well instrumented system does; a seventh sends
//! none. What it did stands in its [`ledger`], written from delivery reports and calls of handlers: the oracle that the
//! collector's answers are compared with. [`plan`] draws who talks to whom.
//!
//! Owns: the demo's workload. Refuses to know: the collector, beyond an address to send spans to.

mod book;
mod broker;
pub mod config;
pub mod control;
pub mod dials;
mod intake;
pub mod ledger;
pub mod orders;
mod outlet;
pub mod plan;
mod services;
mod spring;
mod telemetry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::book::Book;
pub use crate::config::Config;
use crate::control::Status;
use crate::dials::{Dials, Mode, UnknownAction};
use crate::intake::{Assigned, Member, client};
use crate::ledger::Ledger;
use crate::orders::Dice;
use crate::outlet::Outlet;
use crate::plan::Group;
use crate::services::audit::Audit;
use crate::services::billing::Charge;
use crate::services::listeners::{Fraud, Inventory, Notifications};
use crate::services::shipping::Shipping;
use crate::services::storefront::Storefront;
use crate::services::{Bench, Handle, Listener, Recovery};
use crate::telemetry::Telemetry;

/// A running shop. Its services are tasks of this process; nothing else is shared between them.
pub struct Shop {
    config: Config,
    book: Arc<Book>,
    dials: Dials,
    benches: BTreeMap<&'static str, Bench>,
    storefront: Arc<Storefront>,
    stop: CancellationToken,
    members: TaskTracker,
    /// How many calls of `take_orders` are under way.
    taking: AtomicUsize,
}

impl std::fmt::Debug for Shop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shop")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Shop {
    /// Opens the shop: creates its topics where they are missing, and returns once every group has its partitions.
    /// No order is taken yet. Takes about two seconds on a Kafka that is up.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached, a topic cannot be created, or a group has not got its partitions in a minute.
    pub async fn open(config: Config) -> Result<Arc<Shop>> {
        let broker = broker::prepare(&config).await?;
        let book = Arc::new(Book::new(config.clone()));
        let dials = Dials::new();
        let stop = CancellationToken::new();

        let mut benches = BTreeMap::new();
        for service in plan::services() {
            if service == plan::AUDIT.service {
                continue;
            }
            let telemetry = Telemetry::start(service, &config, broker.clone())?;
            let outlet = Outlet::new(service, &config, telemetry.clone(), Arc::clone(&book))?;
            let bench = Bench {
                config: config.clone(),
                dice: Dice::new(config.seed),
                book: Arc::clone(&book),
                telemetry,
                outlet: Arc::new(outlet),
                dial: dials.watch(service),
            };
            benches.insert(service, bench);
        }
        let Some(front) = benches.get(plan::STOREFRONT).cloned() else {
            bail!("the plan has no storefront");
        };
        let storefront = Arc::new(Storefront::new(front, stop.clone()));
        let shop = Shop {
            config,
            book,
            dials,
            benches,
            storefront,
            stop,
            members: TaskTracker::new(),
            taking: AtomicUsize::new(0),
        };
        shop.staff().await?;
        Ok(Arc::new(shop))
    }

    /// Takes `orders` orders at the configured rate and returns when the broker has acknowledged them all; endless
    /// without a number, until the shop closes.
    pub async fn take_orders(&self, orders: Option<u64>) {
        self.taking.fetch_add(1, Ordering::SeqCst);
        self.storefront.take(orders).await;
        self.taking.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until every group has handled and committed all there is; for when no orders are being taken.
    ///
    /// # Errors
    ///
    /// When that is not so after `deadline`: says which groups lag; or when the broker cannot be asked.
    pub async fn drained(&self, deadline: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            // A record is committed after what its handler sends is acknowledged: if nothing was sent while all groups
            // were found at their ends, nothing is under way.
            let before = self.book.ends();
            let ledger = self.ledger().await?;
            if ledger.is_drained() && before == self.book.ends() {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!(
                    "not drained after {deadline:?}; records that wait: {:?}",
                    self.book.waiting()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Turns the dial of a service, or of every service when it is `all`.
    ///
    /// # Errors
    ///
    /// When there is no such service.
    pub fn turn(&self, service: &str, mode: Mode) -> Result<(), UnknownAction> {
        self.dials.turn(service, mode)
    }

    /// Lets a service go on as another version of itself: what its spans name as `service.version`.
    ///
    /// # Errors
    ///
    /// When there is no such service, or its spans cannot be sent.
    pub fn release(&self, service: &str, version: &str) -> Result<()> {
        let Some(bench) = self.benches.get(service) else {
            bail!("there is no service {service:?}");
        };
        bench.telemetry.release(version)
    }

    /// Returns how the shop is doing.
    pub fn status(&self) -> Status {
        Status {
            orders: self.book.orders(),
            taking_orders: self.taking.load(Ordering::SeqCst) > 0,
            services: self.dials.modes(),
            waiting: self.book.waiting(),
        }
    }

    /// Returns what the shop did so far. Asks the broker for committed offsets.
    ///
    /// # Errors
    ///
    /// When the broker does not answer.
    pub async fn ledger(&self) -> Result<Ledger> {
        let config = self.config.clone();
        let ends = self.book.ends();
        let committed =
            tokio::task::spawn_blocking(move || broker::committed(&config, &ends)).await??;
        Ok(self.book.ledger(committed))
    }

    /// Sends the spans that wait; afterwards every span that has ended was offered to the collector.
    pub async fn flush(&self) {
        self.telemetry(Telemetry::flush).await;
    }

    /// Closes: no more orders, members leave their groups with what they handled committed, the last spans are sent.
    /// What waits in topics stays there.
    pub async fn close(&self) {
        self.stop.cancel();
        self.storefront.finish().await;
        self.members.close();
        if tokio::time::timeout(Duration::from_secs(20), self.members.wait())
            .await
            .is_err()
        {
            tracing::warn!("members were still at work when the shop closed");
        }
        let outlets: Vec<Arc<Outlet>> = self
            .benches
            .values()
            .map(|bench| Arc::clone(&bench.outlet))
            .collect();
        let flushed = tokio::task::spawn_blocking(move || {
            for outlet in outlets {
                outlet.flush(Duration::from_secs(5));
            }
        });
        if let Err(error) = flushed.await {
            tracing::warn!(%error, "flushing the producers panicked");
        }
        self.telemetry(Telemetry::shut_down).await;
    }

    /// Lets every service's telemetry do something that blocks, side by side.
    async fn telemetry(&self, act: fn(&Telemetry)) {
        let acts: Vec<_> = self
            .benches
            .values()
            .map(|bench| {
                let telemetry = bench.telemetry.clone();
                tokio::task::spawn_blocking(move || act(&telemetry))
            })
            .collect();
        for act in acts {
            if let Err(error) = act.await {
                tracing::warn!(%error, "sending spans panicked");
            }
        }
    }

    /// Starts the members of every group and waits until all partitions have one.
    async fn staff(&self) -> Result<()> {
        let publish = |retry| Recovery::Publish {
            retry,
            dead: plan::BILLING_DLT,
        };
        let mut views = Vec::new();
        self.listen(
            &plan::BILLING,
            3,
            Duration::ZERO,
            publish(Some(plan::BILLING_RETRY)),
            || Charge::First,
            &mut views,
        )?;
        self.listen(
            &plan::RETRY,
            1,
            Duration::from_secs(2),
            publish(None),
            || Charge::Again,
            &mut views,
        )?;
        self.listen(
            &plan::INVENTORY,
            3,
            Duration::ZERO,
            Recovery::Skip,
            || Inventory,
            &mut views,
        )?;
        self.listen(
            &plan::FRAUD,
            3,
            Duration::ZERO,
            Recovery::Skip,
            || Fraud,
            &mut views,
        )?;
        self.listen(
            &plan::NOTIFICATIONS,
            3,
            Duration::ZERO,
            Recovery::Skip,
            || Notifications,
            &mut views,
        )?;
        for number in 0..plan::SHIPPING.members {
            let bench = self.bench(&plan::SHIPPING)?;
            let work = Shipping {
                bench,
                group: &plan::SHIPPING,
                client: client(&plan::SHIPPING, number),
            };
            self.hire(&plan::SHIPPING, number, work, &mut views)?;
        }
        for number in 0..plan::AUDIT.members {
            let work = Audit {
                book: Arc::clone(&self.book),
                group: &plan::AUDIT,
                work: self.config.work,
            };
            self.hire(&plan::AUDIT, number, work, &mut views)?;
        }

        let deadline = Instant::now() + Duration::from_secs(60);
        for group in &plan::GROUPS {
            let partitions: usize = group
                .topics
                .iter()
                .map(|topic| topic.partitions.unsigned_abs() as usize)
                .sum();
            loop {
                let members = views.iter().filter(|(of, _)| *of == group.name);
                let assigned: usize = members.map(|(_, view)| view.partitions()).sum();
                if assigned == partitions {
                    break;
                }
                if Instant::now() > deadline {
                    bail!(
                        "group {} has {assigned} of its {partitions} partitions after a minute",
                        group.name
                    );
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn listen<H: Handle>(
        &self,
        group: &'static Group,
        attempts: u32,
        delay: Duration,
        recovery: Recovery,
        handler: impl Fn() -> H,
        views: &mut Vec<(&'static str, Assigned)>,
    ) -> Result<()> {
        for number in 0..group.members {
            let bench = self.bench(group)?;
            let client = client(group, number);
            let work = Listener {
                bench,
                group,
                client,
                attempts,
                delay,
                recovery,
                handler: handler(),
            };
            self.hire(group, number, work, views)?;
        }
        Ok(())
    }

    fn bench(&self, group: &Group) -> Result<Bench> {
        match self.benches.get(group.service) {
            Some(bench) => Ok(bench.clone()),
            None => bail!(
                "service {} of group {} has no bench",
                group.service,
                group.name
            ),
        }
    }

    fn hire<W: intake::Work>(
        &self,
        group: &'static Group,
        number: usize,
        work: W,
        views: &mut Vec<(&'static str, Assigned)>,
    ) -> Result<()> {
        let dial = self.dials.watch(group.service);
        let member = Member::join(group, number, &self.config, dial, self.stop.clone())?;
        views.push((group.name, member.assigned()));
        self.members.spawn(member.run(Arc::new(work)));
        Ok(())
    }
}
