//! The post office: what was decided is sent, and tried again until it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_alerts::{Alert, Phase};
use highwater_model::UnixNanos;
use highwater_notifiers::{Channel, ChannelKind, Kind, Message, backoff};
use highwater_store::{DeliveryOutcome, DeliveryRow, DeliveryState, DueDelivery, NewDelivery};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::desk::{Desk, DeskError};
use crate::letters::{ALERTS_IN_A_MESSAGE, encoded};

/// Messages taken from the store at once.
const AT_ONCE: u32 = 200;
/// Without a word from the desk, it is looked this often whether something is due again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Alertmanager forgets what it is not told again; see its `resolve_timeout`.
const TELL_AGAIN_EVERY: Duration = Duration::from_secs(60);
/// Attempts for which the store holds later messages of the channel back.
const OVERTAKEN_AFTER: u32 = 5;
/// No channel has this name.
const TELLING_AGAIN: &str = "";
/// Deliveries looked through for a channel's state.
const LOOK_BACK: u32 = 200;

/// A channel, as pages show it.
#[derive(Debug)]
pub struct ChannelView {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`...
    pub kind: &'static str,
    /// Where it goes, without a secret.
    pub target: String,
    /// When something last arrived.
    pub delivered_at: Option<UnixNanos>,
    /// Waiting to be sent.
    pub waiting: u64,
    /// What went wrong last, unless something arrived since.
    pub problem: Option<String>,
}

/// What came of a test.
#[derive(Debug)]
pub struct TestOutcome {
    /// It was taken.
    pub delivered: bool,
    /// What the other side said.
    pub detail: String,
}

impl Desk {
    /// Sends what is due until `stop`: each channel by itself, and in order. What is under way then is sent again by
    /// the next process.
    pub async fn deliver(
        self: Arc<Self>,
        clock: fn() -> UnixNanos,
        stop: impl Future<Output = ()>,
    ) {
        let mut told_again = clock();
        let mut stop = std::pin::pin!(stop);
        let mut busy: BTreeSet<String> = BTreeSet::new();
        let mut sending: JoinSet<String> = JoinSet::new();
        // What is to be tried again becomes due by the clock alone: nothing else says so.
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = self.posted.notified() => {}
                Some(done) = sending.join_next() => match done {
                    Ok(channel) => { busy.remove(&channel); }
                    Err(error) => {
                        tracing::error!(%error, "sending ended; it goes on with the next message");
                        busy.clear();
                    }
                },
                _ = look.tick() => {}
            }
            let now = clock();
            let due = match self.history.due_deliveries(now, AT_ONCE).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "what is to be told cannot be read; it is tried again");
                    continue;
                }
            };
            let mut channels: BTreeMap<String, Vec<DueDelivery>> = BTreeMap::new();
            for delivery in due {
                channels
                    .entry(delivery.channel.clone())
                    .or_default()
                    .push(delivery);
            }
            for (channel, due) in channels {
                if busy.insert(channel.clone()) {
                    let desk = Arc::clone(&self);
                    sending.spawn(async move {
                        desk.send_all(&due, clock).await;
                        channel
                    });
                }
            }
            if now.0.saturating_sub(told_again.0) >= TELL_AGAIN_EVERY.as_nanos() as u64
                && busy.insert(TELLING_AGAIN.to_owned())
            {
                told_again = now;
                let desk = Arc::clone(&self);
                sending.spawn(async move {
                    desk.tell_again(now).await;
                    TELLING_AGAIN.to_owned()
                });
            }
        }
    }

    /// Sends to one channel, until something is to be tried again.
    async fn send_all(&self, due: &[DueDelivery], clock: fn() -> UnixNanos) {
        for delivery in due {
            let outcome = self.send(delivery, clock).await;
            let again = matches!(outcome, DeliveryOutcome::Retry { .. });
            if let Err(error) = self
                .history
                .note_delivery(delivery.id, &outcome, clock())
                .await
            {
                tracing::error!(%error, "a delivery could not be noted; it may be repeated");
            }
            if again {
                return;
            }
        }
    }

    async fn send(&self, delivery: &DueDelivery, clock: fn() -> UnixNanos) -> DeliveryOutcome {
        let message: Message = match serde_json::from_slice(&delivery.message) {
            Ok(message) => message,
            Err(error) => {
                let detail = format!("it was kept in a form that cannot be read: {error}");
                return DeliveryOutcome::Failed { detail };
            }
        };
        // From then on later messages overtake it: nobody is to hear of a beginning after its end.
        if delivery.attempts >= OVERTAKEN_AFTER
            && message.kind == Kind::Fired
            && self.is_over(&message)
        {
            let detail = "it was over before it could be told".to_owned();
            return DeliveryOutcome::Failed { detail };
        }
        match self.notifier.deliver(&delivery.channel, &message).await {
            Ok(delivered) => DeliveryOutcome::Delivered {
                detail: delivered.status,
            },
            Err(error) => {
                let detail = error.to_string();
                let wait = backoff(delivery.attempts + 1).filter(|_| error.retryable());
                tracing::warn!(
                    channel = delivery.channel,
                    attempt = delivery.attempts + 1,
                    detail,
                    again_in_s = wait.map(|wait| wait.as_secs()),
                    "an alert could not be told"
                );
                match wait {
                    Some(wait) => DeliveryOutcome::Retry {
                        at: clock() + error.retry_after().map_or(wait, |asked| asked.max(wait)),
                        detail,
                    },
                    None => DeliveryOutcome::Failed { detail },
                }
            }
        }
    }

    fn is_over(&self, message: &Message) -> bool {
        let alerts = self.view().alerts;
        let fires = |id: &str| {
            let mut firing = alerts.iter().filter(|alert| alert.phase == Phase::Firing);
            firing.any(|alert| alert.id.as_str() == id)
        };
        !message.alerts.iter().any(|item| fires(&item.id))
    }

    /// Alertmanager takes an alert that it does not hear of for one that is over.
    async fn tell_again(&self, now: UnixNanos) {
        let alerts = self.view().alerts;
        for channel in self
            .channels
            .iter()
            .filter(|one| one.kind() == ChannelKind::Alertmanager)
        {
            let firing: Vec<Alert> = alerts
                .iter()
                .filter(|alert| alert.phase == Phase::Firing && alert.told.contains(channel.name()))
                .cloned()
                .collect();
            for part in firing.chunks(ALERTS_IN_A_MESSAGE) {
                let message = self.letters.message(Kind::Fired, part, now);
                if let Err(error) = self.notifier.deliver(channel.name(), &message).await {
                    tracing::warn!(channel = channel.name(), %error, "what fires could not be told again");
                }
            }
        }
    }

    /// Sends a test message now, and keeps what came of it.
    ///
    /// # Errors
    /// When there is no such channel, or it could not be kept.
    pub async fn test(
        &self,
        channel: &str,
        clock: fn() -> UnixNanos,
    ) -> Result<TestOutcome, DeskError> {
        if !self.channels.iter().any(|known| known.name() == channel) {
            return Err(DeskError::NoChannel(channel.to_owned()));
        }
        let now = clock();
        let message = self.letters.test(now);
        let answer = self.notifier.deliver(channel, &message).await;
        let (delivered, detail) = match answer {
            Ok(delivered) => (true, delivered.status),
            Err(error) => (false, error.to_string()),
        };
        // Kept when it is over: nobody else sends it, and it is not tried again.
        let delivery = NewDelivery {
            channel: channel.to_owned(),
            created_at: now,
            kind: Kind::Test.as_str().to_owned(),
            message: encoded(&message),
            alerts: 0,
        };
        let outcome = if delivered {
            DeliveryOutcome::Delivered {
                detail: detail.clone(),
            }
        } else {
            DeliveryOutcome::Failed {
                detail: detail.clone(),
            }
        };
        self.history
            .record_delivery(&delivery, &outcome, clock())
            .await?;
        Ok(TestOutcome { delivered, detail })
    }

    /// The channels, and how they do.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn channel_views(&self) -> Result<Vec<ChannelView>, DeskError> {
        let mut views = Vec::new();
        for channel in &self.channels {
            let rows = self
                .history
                .deliveries(Some(channel.name()), LOOK_BACK)
                .await?;
            views.push(view(channel, &rows));
        }
        Ok(views)
    }

    /// The newest deliveries of all channels.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn deliveries(&self, limit: u32) -> Result<Vec<DeliveryRow>, DeskError> {
        Ok(self.history.deliveries(None, limit).await?)
    }
}

const fn kind_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook => "webhook",
        ChannelKind::Alertmanager => "alertmanager",
        ChannelKind::Slack => "slack",
        ChannelKind::Pagerduty => "pagerduty",
        ChannelKind::Email => "email",
    }
}

fn view(channel: &Channel, rows: &[DeliveryRow]) -> ChannelView {
    let delivered_at = rows
        .iter()
        .filter(|row| row.state == DeliveryState::Delivered)
        .filter_map(|row| row.last_at)
        .max();
    let problem = rows
        .iter()
        .filter(|row| row.state != DeliveryState::Delivered && row.last_at > delivered_at)
        .max_by_key(|row| row.last_at)
        .and_then(|row| row.detail.clone());
    ChannelView {
        name: channel.name().to_owned(),
        kind: kind_name(channel.kind()),
        target: channel.destination().unwrap_or_default(),
        delivered_at,
        waiting: rows
            .iter()
            .filter(|row| row.state == DeliveryState::Pending)
            .count() as u64,
        problem,
    }
}
