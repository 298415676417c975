//! Polls one cluster on a thread of its own, and says what it read or why it could not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use highwater_model::UnixNanos;
use highwater_model::broker::{ClusterState, ClusterStatus, Sample, TopicPartition};
use parking_lot::{Condvar, Mutex};

use super::config::KafkaConfig;
use super::probe::{EndAtTime, KafkaProbe, ProbeError};

/// Rounds of questions answered after one sample; what is asked then waits for the next.
const QUESTION_ROUNDS: usize = 8;
/// First wait after a failure.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// How often to poll.
#[derive(Clone, Copy, Debug)]
pub struct PollerOptions {
    /// From the start of one poll to the start of the next. Stretched to twice what a poll takes, so that a slow
    /// cluster is busy with us half of the time at most.
    pub interval: Duration,
    /// Longest wait between attempts while the cluster cannot be read.
    pub max_back_off: Duration,
    /// Every wait is varied by up to this share, so that several pollers do not beat together. 0 to 1.
    pub jitter: f64,
}

impl Default for PollerOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            max_back_off: Duration::from_secs(15),
            jitter: 0.1,
        }
    }
}

/// What a listener wants to know of the past: where a partition ended at a time.
pub type Questions = Vec<(TopicPartition, UnixNanos)>;

/// What a poller says.
#[derive(Debug)]
pub enum PollerEvent {
    /// The cluster was read.
    Sample {
        /// What was read.
        sample: Box<Sample>,
        /// The cluster's state, `Ok`.
        status: ClusterStatus,
    },
    /// The cluster could not be read.
    Lost {
        /// Why, in a sentence.
        reason: Arc<str>,
        /// When the attempt failed.
        at: UnixNanos,
        /// The cluster's state, `Unreachable`.
        status: ClusterStatus,
    },
    /// Answers to questions.
    Ends {
        /// The cluster's name.
        cluster: Arc<str>,
        /// The answers; what could not be answered is left out.
        ends: Vec<EndAtTime>,
    },
}

struct Shared {
    stop: AtomicBool,
    wake: Mutex<Wake>,
    woken: Condvar,
    status: Mutex<ClusterStatus>,
}

#[derive(Default)]
struct Wake {
    poll_now: bool,
}

/// A running poller. Dropping it tells it to stop, without waiting.
pub struct Poller {
    shared: Arc<Shared>,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts polling. `listener` is called on the poller's thread; what it returns for a sample or for answers is
    /// asked of the cluster at once (at most eight rounds a sample), and answered with [`PollerEvent::Ends`].
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        config: KafkaConfig,
        options: PollerOptions,
        listener: impl FnMut(PollerEvent) -> Questions + Send + 'static,
    ) -> std::io::Result<Self> {
        let status = ClusterStatus {
            name: Arc::clone(&config.name),
            system: Arc::from("kafka"),
            environment: Arc::clone(&config.environment),
            bootstrap: config.bootstrap.clone(),
            cluster_id: None,
            state: ClusterState::Connecting,
            since: wall_clock(),
            last_read: None,
            last_poll_ns: None,
            incomplete: None,
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            wake: Mutex::default(),
            woken: Condvar::new(),
            status: Mutex::new(status),
        });
        let probe = KafkaProbe::unconnected(config);
        let cancel = probe.cancel_flag();
        let thread = std::thread::Builder::new()
            .name("kafka-poller".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(probe, options, &shared, listener)
            })?;
        Ok(Self {
            shared,
            cancel,
            thread: Some(thread),
        })
    }

    /// The cluster's state.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.shared.status.lock().clone()
    }

    /// Polls now instead of at the end of the interval.
    pub fn poll_now(&self) {
        self.shared.wake.lock().poll_now = true;
        self.shared.woken.notify_all();
    }

    /// Tells the poller to stop, without waiting. A call under way ends within a fraction of a second, one that reads
    /// the list of topics within the request timeout.
    pub fn request_stop(&self) {
        self.cancel.store(true, Ordering::Relaxed);
        // The lock makes sure that a poller between its check and its wait is not missed.
        let wake = self.shared.wake.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(wake);
        self.shared.woken.notify_all();
    }

    /// Stops and waits until the thread has ended, `deadline` at most. Says whether it has. Blocks.
    pub fn stop(mut self, deadline: Duration) -> bool {
        self.request_stop();
        let Some(thread) = self.thread.take() else {
            return true;
        };
        let until = Instant::now() + deadline;
        while !thread.is_finished() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        thread.join().is_ok()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.request_stop();
    }
}

fn wall_clock() -> UnixNanos {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

fn run(
    mut probe: KafkaProbe,
    options: PollerOptions,
    shared: &Shared,
    mut listener: impl FnMut(PollerEvent) -> Questions,
) {
    let cluster = Arc::clone(&probe.config().name);
    let mut back_off = FIRST_BACK_OFF;
    // A jitter needs no good randomness, only to differ between pollers and over time.
    let mut seed = wall_clock().0 | 1;
    let mut waiting = Questions::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let wait = match probe.poll(wall_clock()) {
            Ok(sample) => {
                back_off = FIRST_BACK_OFF;
                let status = read(shared, &sample, probe.listing_error(), begun.elapsed());
                waiting.extend(listener(PollerEvent::Sample {
                    sample: Box::new(sample),
                    status,
                }));
                waiting = answer(&mut probe, &cluster, shared, waiting, &mut listener);
                after_success(options.interval, begun.elapsed())
            }
            Err(ProbeError::Stopped) => break,
            Err(error) => {
                let reason: Arc<str> = Arc::from(error.to_string());
                let at = wall_clock();
                let status = lost(shared, &reason, at);
                // Nothing can be asked of a cluster that does not answer.
                let _unasked = listener(PollerEvent::Lost { reason, at, status });
                let wait = back_off;
                back_off = (back_off * 2).min(options.max_back_off.max(FIRST_BACK_OFF));
                wait
            }
        };
        let wait = jittered(wait, options.jitter, &mut seed);
        let mut wake = shared.wake.lock();
        let until = Instant::now() + wait;
        while !wake.poll_now && !shared.stop.load(Ordering::Relaxed) {
            if shared.woken.wait_until(&mut wake, until).timed_out() {
                break;
            }
        }
        wake.poll_now = false;
    }
    tracing::debug!(%cluster, "poller stopped");
}

/// Asks, and asks what the answers make the listener ask. Says what was not asked.
fn answer(
    probe: &mut KafkaProbe,
    cluster: &Arc<str>,
    shared: &Shared,
    mut questions: Questions,
    listener: &mut impl FnMut(PollerEvent) -> Questions,
) -> Questions {
    for _ in 0..QUESTION_ROUNDS {
        if questions.is_empty() || shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let ends = match probe.offsets_at_times(&questions) {
            Ok(ends) if !ends.is_empty() => ends,
            Ok(_) => return Questions::new(),
            Err(error) => {
                tracing::debug!(%cluster, %error, "earlier ends could not be asked");
                return Questions::new();
            }
        };
        questions = listener(PollerEvent::Ends {
            cluster: Arc::clone(cluster),
            ends,
        });
    }
    questions
}

fn read(
    shared: &Shared,
    sample: &Sample,
    incomplete: Option<&str>,
    took: Duration,
) -> ClusterStatus {
    let mut status = shared.status.lock();
    if status.state != ClusterState::Ok {
        tracing::info!(
            cluster = %status.name, groups = sample.groups.len(), partitions = sample.partitions.len(),
            "cluster is read"
        );
        status.state = ClusterState::Ok;
        status.since = sample.finished;
    }
    status.cluster_id.clone_from(&sample.cluster_id);
    status.incomplete = incomplete.map(Arc::from);
    status.last_read = Some(sample.finished);
    status.last_poll_ns = Some(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    status.clone()
}

fn lost(shared: &Shared, reason: &Arc<str>, at: UnixNanos) -> ClusterStatus {
    let mut status = shared.status.lock();
    if !matches!(status.state, ClusterState::Unreachable { .. }) {
        tracing::warn!(cluster = %status.name, %reason, "cluster cannot be read");
        status.since = at;
    }
    status.state = ClusterState::Unreachable {
        reason: Arc::clone(reason),
    };
    status.clone()
}

/// How long to wait after a poll that took `took`.
fn after_success(interval: Duration, took: Duration) -> Duration {
    interval.max(took * 2).saturating_sub(took)
}

/// Varies `wait` by up to `share` of it, both ways (xorshift; Marsaglia 2003).
fn jittered(wait: Duration, share: f64, seed: &mut u64) -> Duration {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    let unit = (*seed >> 11) as f64 / (1_u64 << 53) as f64;
    wait.mul_f64((1.0 + share.clamp(0.0, 1.0) * (2.0 * unit - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_slow_cluster_is_polled_half_of_the_time_at_most() {
        let second = Duration::from_secs;
        assert_eq!(after_success(second(15), second(1)), second(14));
        assert_eq!(after_success(second(15), second(10)), second(10));
        assert_eq!(after_success(second(15), second(40)), second(40));
    }

    #[test]
    fn jitter_stays_within_its_share_and_varies() {
        let mut seed = 7;
        let waits: Vec<Duration> = (0..1_000)
            .map(|_| jittered(Duration::from_secs(10), 0.1, &mut seed))
            .collect();
        assert!(
            waits
                .iter()
                .all(|wait| (9.0..=11.0).contains(&wait.as_secs_f64()))
        );
        let least = waits.iter().min().unwrap();
        let most = waits.iter().max().unwrap();
        assert!(*most - *least > Duration::from_millis(1_500));
    }

    #[test]
    fn a_dead_broker_is_a_state_with_a_sentence_within_the_deadline_and_stopping_is_quick() {
        // A port that was free a moment ago refuses connections.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = KafkaConfig::new("dead", [format!("127.0.0.1:{port}")]);
        let (told, heard) = mpsc::channel();
        let begun = Instant::now();
        let poller = Poller::start(config, PollerOptions::default(), move |event| {
            told.send(event).ok();
            Questions::new()
        })
        .unwrap();
        let event = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        let PollerEvent::Lost { reason, status, .. } = event else {
            panic!("{event:?}");
        };
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(
            reason.starts_with(&format!(
                "cannot reach 127.0.0.1:{port}: connection refused"
            )),
            "{reason}"
        );
        assert_eq!(status.state, ClusterState::Unreachable { reason });
        assert_eq!(poller.status().last_read, None);
        let stopping = Instant::now();
        assert!(poller.stop(Duration::from_secs(10)));
        assert!(stopping.elapsed() < Duration::from_secs(5));
    }
}
