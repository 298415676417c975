//! The engine over time, and everything that people do to alerts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_alerts::{
    Alert, AlertId, Engine, EngineError, Event, Facts, Maintenance, Memory, Notice,
    Options as EngineOptions, Outcome, Rule, RuleSpec, Silence,
};
use highwater_model::UnixNanos;
use highwater_notifiers::{Channel, ChannelError, Notifier};
use highwater_store::{AlertEvent, History, NewDelivery, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::book::{Book, BookError};
use crate::letters::{HourOfGroup, Letters, encoded};
use crate::place::in_words;
use crate::silenced::of_silence;

/// What conditions hold and since when is written this often where nothing happens; what happens is written at once.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// The engine's memory, by name.
const ENGINE: &str = "engine";
/// The form's rules, by name.
const FORM: &str = "form";

/// What can go wrong at the desk.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A rule, or the file of rules.
    #[error(transparent)]
    Book(#[from] BookError),
    /// An act that the engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Something could not be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Channels cannot be reached from here.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// There is no such channel.
    #[error("There is no channel {0}.")]
    NoChannel(String),
}

/// How the desk works.
pub struct Options {
    /// The file of rules.
    pub rules: Option<PathBuf>,
    /// Where alerts are told.
    pub channels: Vec<Channel>,
    /// Before the path of a page in a message: `http://127.0.0.1:8844`.
    pub public_url: String,
    /// What a message tells of the last hour.
    pub hour_of_group: Arc<HourOfGroup>,
    /// How the engine judges.
    pub engine: EngineOptions,
}

/// The one desk of a process.
pub struct Desk {
    work: Mutex<Work>,
    /// Held while something is written, so that what happened later is not written before.
    keeping: AsyncMutex<()>,
    pub(crate) history: History,
    pub(crate) notifier: Notifier,
    pub(crate) channels: Vec<Channel>,
    pub(crate) letters: Letters,
    pub(crate) engine_options: EngineOptions,
    /// Something is to be sent.
    pub(crate) posted: Notify,
}

struct Work {
    engine: Engine,
    book: Book,
    maintenance: Vec<Maintenance>,
    events: Vec<AlertEvent>,
    notices: Vec<Notice>,
    checked_at: Option<UnixNanos>,
    kept_at: Option<UnixNanos>,
    not_kept: usize,
}

/// What pages show, as of one moment.
pub struct View {
    /// Alerts: pending, firing, and resolved within the hour.
    pub alerts: Vec<Alert>,
    /// The last step.
    pub checked_at: Option<UnixNanos>,
    /// Alerts beyond the engine's bound.
    pub not_kept: usize,
}

/// The rule book, as of one moment.
pub struct RulesView {
    /// The rules that count.
    pub rules: Vec<Rule>,
    /// What cannot be read.
    pub problems: Vec<String>,
    /// The file.
    pub file: Option<PathBuf>,
    /// Times each rule has fired since the instant asked for, by id.
    pub fired: Vec<(String, u64)>,
}

impl Desk {
    /// Takes up the work where it was left.
    ///
    /// # Errors
    /// When the file of rules cannot be read, or the store cannot. A memory that cannot be understood is begun anew,
    /// and said so in the log.
    pub async fn open(history: History, options: Options) -> Result<Arc<Self>, DeskError> {
        let kept = history.load_alerts().await?.memory;
        let memory = kept
            .get(ENGINE)
            .and_then(|bytes| understood::<Memory>(ENGINE, bytes));
        let form = kept
            .get(FORM)
            .and_then(|bytes| understood::<Vec<RuleSpec>>(FORM, bytes));
        let mut book = Book::open(options.rules, form.unwrap_or_default())?;
        let (rules, maintenance) = book.assemble();
        let names = options
            .channels
            .iter()
            .map(|channel| Arc::from(channel.name()));
        let mut engine = Engine::new(
            rules,
            names.collect(),
            options.engine.clone(),
            memory.unwrap_or_default(),
        );
        engine.set_maintenance(maintenance.clone());
        Ok(Arc::new(Self {
            work: Mutex::new(Work {
                engine,
                book,
                maintenance,
                events: Vec::new(),
                notices: Vec::new(),
                checked_at: None,
                kept_at: None,
                not_kept: 0,
            }),
            keeping: AsyncMutex::new(()),
            history,
            notifier: Notifier::new(options.channels.clone())?,
            channels: options.channels,
            letters: Letters::new(&options.public_url, options.hour_of_group),
            engine_options: options.engine,
            posted: Notify::new(),
        }))
    }

    /// Looks at the facts, and keeps what came of it. Says whether something happened that pages should show.
    ///
    /// # Errors
    /// When it could not be kept: nothing is lost or sent then, and the next step keeps it.
    pub async fn step(&self, facts: &Facts, now: UnixNanos) -> Result<bool, DeskError> {
        let (happened, due) = {
            let work = &mut *self.work.lock();
            if work.book.reread() {
                work.assemble();
            }
            let outcome = work.engine.step(facts, now);
            work.checked_at = Some(now);
            work.not_kept = outcome.not_kept;
            let happened = !outcome.events.is_empty() || !outcome.notices.is_empty();
            work.take(outcome);
            let kept = work
                .kept_at
                .map_or(u64::MAX, |at| now.0.saturating_sub(at.0));
            (happened, u128::from(kept) >= KEEP_EVERY.as_nanos())
        };
        if happened || due || self.work.lock().has_unkept() {
            self.keep(now).await?;
        }
        Ok(happened)
    }

    /// Writes the engine's memory, what happened and what is to be sent, in one transaction.
    pub(crate) async fn keep(&self, now: UnixNanos) -> Result<(), DeskError> {
        let _keeping = self.keeping.lock().await;
        let (memory, form, events, notices) = {
            let work = &mut *self.work.lock();
            (
                encoded(work.engine.memory()),
                encoded(work.book.form()),
                std::mem::take(&mut work.events),
                std::mem::take(&mut work.notices),
            )
        };
        let deliveries: Vec<NewDelivery> = notices
            .iter()
            .map(|notice| self.letters.delivery(notice, now))
            .collect();
        let memory = [(ENGINE, memory.as_slice()), (FORM, form.as_slice())];
        match self
            .history
            .save_alerts(&memory, &events, &deliveries)
            .await
        {
            Ok(_) => {
                self.work.lock().kept_at = Some(now);
                if !deliveries.is_empty() {
                    self.posted.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                // What was not written comes before what has happened since.
                let work = &mut *self.work.lock();
                work.events.splice(0..0, events);
                work.notices.splice(0..0, notices);
                Err(error.into())
            }
        }
    }

    /// Alerts as they are now.
    #[must_use]
    pub fn view(&self) -> View {
        let work = self.work.lock();
        View {
            alerts: work.engine.alerts().cloned().collect(),
            checked_at: work.checked_at,
            not_kept: work.not_kept,
        }
    }

    /// The name of a rule that there is.
    #[must_use]
    pub fn rule_name(&self, id: &str) -> Option<String> {
        let work = self.work.lock();
        let rule = work.engine.rules().iter().find(|rule| *rule.id == *id)?;
        Some(rule.name.to_string())
    }

    /// When a pending alert fires, should all stay as it is.
    #[must_use]
    pub fn fires_at(&self, alert: &Alert) -> Option<UnixNanos> {
        self.work.lock().engine.fires_at(alert)
    }

    /// Notes that somebody has seen an alert.
    ///
    /// # Errors
    /// When there is no such alert, or it does not fire; when it could not be kept.
    pub async fn acknowledge(
        &self,
        id: &str,
        by: &str,
        now: UnixNanos,
    ) -> Result<Alert, DeskError> {
        self.act(now, |engine| {
            engine.acknowledge(&AlertId(id.into()), by, now)
        })
        .await?;
        self.alert(id)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// As [`Self::acknowledge`].
    pub async fn unacknowledge(
        &self,
        id: &str,
        by: &str,
        now: UnixNanos,
    ) -> Result<Alert, DeskError> {
        self.act(now, |engine| {
            engine.unacknowledge(&AlertId(id.into()), by, now)
        })
        .await?;
        self.alert(id)
    }

    fn alert(&self, id: &str) -> Result<Alert, DeskError> {
        let work = self.work.lock();
        let found = work
            .engine
            .alerts()
            .find(|alert| alert.id.as_str() == id)
            .cloned();
        found.ok_or(DeskError::Engine(EngineError::NoAlert(AlertId(id.into()))))
    }

    /// Silences, those that ended long ago left out.
    #[must_use]
    pub fn silences(&self) -> Vec<Silence> {
        self.work.lock().engine.silences().to_vec()
    }

    /// Maintenance windows of the file.
    #[must_use]
    pub fn maintenance(&self) -> Vec<Maintenance> {
        self.work.lock().maintenance.clone()
    }

    /// Begins a silence.
    ///
    /// # Errors
    /// When it has no end, is too long, or nobody's; when it could not be kept.
    pub async fn silence(&self, silence: Silence, now: UnixNanos) -> Result<(), DeskError> {
        let begun = of_silence(&silence);
        {
            let work = &mut *self.work.lock();
            work.engine.silence(silence)?;
            work.events.push(begun);
        }
        self.keep(now).await
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// When there is no such silence; when it could not be kept.
    pub async fn end_silence(&self, id: &str, by: &str, now: UnixNanos) -> Result<(), DeskError> {
        {
            let work = &mut *self.work.lock();
            work.engine.end_silence(id, by, now)?;
            let silences = work.engine.silences();
            let ended = silences.iter().find(|silence| *silence.id == *id);
            work.events.extend(ended.map(of_silence));
        }
        self.keep(now).await
    }

    async fn act(
        &self,
        now: UnixNanos,
        act: impl FnOnce(&mut Engine) -> Result<Event, EngineError>,
    ) -> Result<(), DeskError> {
        {
            let work = &mut *self.work.lock();
            let event = act(&mut work.engine)?;
            work.events.push(row(&event));
        }
        self.keep(now).await
    }

    /// The rules, and how often each has fired since `since`.
    ///
    /// # Errors
    /// When history cannot be read.
    pub async fn rules(&self, since: UnixNanos) -> Result<RulesView, DeskError> {
        let counts = self.history.count_alert_events(since).await?;
        let fired = counts.into_iter().filter(|count| count.kind == "fired");
        let work = self.work.lock();
        Ok(RulesView {
            rules: work.engine.rules().to_vec(),
            problems: work.problems(),
            file: work.book.path().map(Into::into),
            fired: fired.map(|count| (count.rule, count.events)).collect(),
        })
    }

    /// Saves a rule of the form, and lets it count at once.
    ///
    /// # Errors
    /// When it cannot be understood, naming the key; when it could not be kept.
    pub async fn save_rule(&self, spec: RuleSpec, now: UnixNanos) -> Result<Rule, DeskError> {
        let id = spec.id.clone();
        {
            let work = &mut *self.work.lock();
            work.book.save(spec)?;
            work.assemble();
        }
        self.keep(now).await?;
        self.rule(&id)
    }

    /// Turns a rule on or off; one of the file is covered by the form's.
    ///
    /// # Errors
    /// When there is no such rule; when it could not be kept.
    pub async fn enable_rule(
        &self,
        id: &str,
        enabled: bool,
        now: UnixNanos,
    ) -> Result<Rule, DeskError> {
        let spec = RuleSpec {
            enabled,
            ..self.rule(id)?.spec().clone()
        };
        self.save_rule(spec, now).await
    }

    /// Removes a rule of the form; what it covered counts again.
    ///
    /// # Errors
    /// When there is no such rule of the form; when it could not be kept.
    pub async fn remove_rule(&self, id: &str, now: UnixNanos) -> Result<(), DeskError> {
        {
            let work = &mut *self.work.lock();
            work.book.remove(id, work.engine.rules())?;
            work.assemble();
        }
        self.keep(now).await
    }

    /// One rule.
    ///
    /// # Errors
    /// When there is no such rule.
    pub fn rule(&self, id: &str) -> Result<Rule, DeskError> {
        let work = self.work.lock();
        let found = work
            .engine
            .rules()
            .iter()
            .find(|rule| *rule.id == *id)
            .cloned();
        found.ok_or_else(|| BookError::Missing(format!("There is no rule {id}.")).into())
    }
}

impl Work {
    fn assemble(&mut self) {
        let (rules, maintenance) = self.book.assemble();
        self.engine.set_rules(rules);
        self.engine.set_maintenance(maintenance.clone());
        self.maintenance = maintenance;
    }

    /// What is wrong with the rules, in sentences.
    fn problems(&self) -> Vec<String> {
        let nobody = self.engine.unknown_channels().map(|(rule, channel)| {
            format!(
                "rule {}: tell = {channel:?}: there is no such channel",
                rule.id
            )
        });
        self.book.problems().into_iter().chain(nobody).collect()
    }

    fn take(&mut self, outcome: Outcome) {
        self.events.extend(outcome.events.iter().map(row));
        self.notices.extend(outcome.notices);
    }

    fn has_unkept(&self) -> bool {
        !self.events.is_empty() || !self.notices.is_empty()
    }
}

fn row(event: &Event) -> AlertEvent {
    AlertEvent {
        at: event.at,
        alert: event.alert.as_str().to_owned(),
        kind: event.kind.as_str().to_owned(),
        rule: event.rule.to_string(),
        cluster: event.subject.cluster.as_deref().map(str::to_owned),
        subject: in_words(&event.subject),
        severity: event.severity.as_str().to_owned(),
        sentence: event.sentence.clone(),
        by_whom: event.by.as_deref().map(str::to_owned),
    }
}

fn understood<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::warn!(%error, name, "what was kept of alerts cannot be read; it begins anew"))
        .ok()
}
