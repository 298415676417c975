//! From a receiver's request to a committed block: a bounded queue, one writer, one commit for many requests.
//!
//! Owns: the order of commits and the moment of acknowledgement. A request is acknowledged after its spans are
//! committed, or is answered "try again" with nothing of it kept in memory.
//! Refuses to know: protocols, SQL, and what a span means.

mod latency;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use highwater_model::Batch;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use latency::LatencyHistogram;

/// How many spans one commit takes at most, unless a single request is larger.
const SPANS_PER_COMMIT: usize = 8_192;

/// What a commit made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The block that holds the spans.
    pub block: u64,
    /// Spans stored.
    pub stored: usize,
    /// Spans that were there already.
    pub duplicates: usize,
}

/// Makes batches durable. The one writer calls it, never twice at once.
pub trait Commit: Send + 'static {
    /// Commits all of `batches` or nothing. When it returns `Ok`, the spans survive a power cut.
    ///
    /// # Errors
    /// When nothing was committed; the senders are told to try again.
    fn commit(
        &mut self,
        batches: &[Batch],
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send;
}

/// Nothing of the request was committed; sending it again is right.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the spans could not be committed: {reason}")]
pub struct CommitError {
    /// Why, for logs and the Health page.
    pub reason: Arc<str>,
}

/// The queue is full; sending again later is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More spans wait than the queue holds.
    #[error("the queue of {capacity} spans is full")]
    Full {
        /// Spans it holds.
        capacity: usize,
    },
    /// The collector is shutting down.
    #[error("the collector is shutting down")]
    Closed,
}

/// Resolves when the request's spans are committed.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Committed, CommitError>>);

impl Future for Ack {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(CommitError {
                    reason: "the writer stopped before the commit".into(),
                })
            })
        })
    }
}

/// Something that is kept until a request is committed or refused, such as its part of a memory budget.
pub type Held = Box<dyn Send>;

struct Job {
    batch: Batch,
    held: Held,
    done: oneshot::Sender<Result<Committed, CommitError>>,
}

/// What the pipeline counted since the process started.
#[derive(Debug)]
pub struct Stats {
    capacity: usize,
    queued: AtomicUsize,
    committed: AtomicU64,
    duplicates: AtomicU64,
    commits: AtomicU64,
    latency: Mutex<LatencyHistogram>,
    write_error: Mutex<Option<Failure>>,
}

/// A commit that failed.
#[derive(Debug)]
struct Failure {
    reason: Arc<str>,
    at: Instant,
}

impl Stats {
    /// Spans that wait for the writer.
    #[must_use]
    pub fn queued_spans(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Spans the queue holds at most.
    #[must_use]
    pub fn capacity_spans(&self) -> usize {
        self.capacity
    }

    /// Spans committed; a resend is not counted again.
    #[must_use]
    pub fn committed_spans(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Resends recognised.
    #[must_use]
    pub fn duplicate_spans(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Commits made.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The `q`-quantile of the time from taking a group of requests to its commit, in nanoseconds.
    #[must_use]
    pub fn commit_quantile_ns(&self, q: f64) -> Option<u64> {
        self.latency.lock().quantile(q)
    }

    /// Why the last commit failed; `None` when it succeeded.
    #[must_use]
    pub fn write_error(&self) -> Option<Arc<str>> {
        let error = self.write_error.lock();
        error.as_ref().map(|failure| Arc::clone(&failure.reason))
    }

    /// [`Self::write_error`], where the last commit failed less than `age` ago. Whether the next one would succeed is not
    /// known before it is tried.
    #[must_use]
    pub fn write_error_within(&self, age: Duration) -> Option<Arc<str>> {
        let error = self.write_error.lock();
        let failure = error
            .as_ref()
            .filter(|failure| failure.at.elapsed() < age)?;
        Some(Arc::clone(&failure.reason))
    }
}

/// The receivers' end: cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    jobs: mpsc::UnboundedSender<Job>,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("spans", &self.batch.spans.len())
            .finish()
    }
}

impl Sender {
    /// Queues a request. An empty one is queued too: its acknowledgement is in order like any other.
    ///
    /// The bound is in spans. A request larger than the whole queue is taken when nothing else waits, since it
    /// could never be taken otherwise.
    ///
    /// # Errors
    /// [`Refused`] when the queue is full or the collector is shutting down; the caller answers "try again".
    pub fn try_send(&self, batch: Batch) -> Result<Ack, Refused> {
        self.try_send_holding(batch, Box::new(()))
    }

    /// [`Self::try_send`], keeping `held` as long as the batch is kept. A sender that goes away before its answer
    /// drops its [`Ack`], but not what its spans hold.
    ///
    /// # Errors
    /// As there.
    pub fn try_send_holding(&self, batch: Batch, held: Held) -> Result<Ack, Refused> {
        let spans = batch.spans.len();
        let capacity = self.stats.capacity;
        self.stats
            .queued
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
                (queued == 0 || queued + spans <= capacity).then_some(queued + spans)
            })
            .map_err(|_| Refused::Full { capacity })?;
        let (done, ack) = oneshot::channel();
        self.jobs.send(Job { batch, held, done }).map_err(|_| {
            self.stats.queued.fetch_sub(spans, Ordering::AcqRel);
            Refused::Closed
        })?;
        Ok(Ack(ack))
    }

    /// The pipeline's counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }
}

/// The writer's end: ends when every [`Sender`] is gone and the queue is empty.
#[derive(Debug)]
pub struct Writer {
    jobs: mpsc::UnboundedReceiver<Job>,
    stats: Arc<Stats>,
}

/// Makes a queue of at most `capacity` spans. The channel itself is unbounded, because its bound is in spans, not
/// in requests, and is held by the sender.
#[must_use]
pub fn pipeline(capacity: usize) -> (Sender, Writer) {
    let (sender, jobs) = mpsc::unbounded_channel();
    let stats = Arc::new(Stats {
        capacity,
        queued: AtomicUsize::new(0),
        committed: AtomicU64::new(0),
        duplicates: AtomicU64::new(0),
        commits: AtomicU64::new(0),
        latency: Mutex::new(LatencyHistogram::default()),
        write_error: Mutex::new(None),
    });
    (
        Sender {
            jobs: sender,
            stats: Arc::clone(&stats),
        },
        Writer { jobs, stats },
    )
}

/// The first pause after a failed commit; doubled up to [`LONGEST_PAUSE`], so that a full disk is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Writer {
    /// Commits what comes until every sender is gone.
    pub async fn run(mut self, mut commit: impl Commit) {
        let mut pause = FIRST_PAUSE;
        while let Some(first) = self.jobs.recv().await {
            let mut spans = first.batch.spans.len();
            let (mut batches, mut acks) = (vec![first.batch], vec![(first.done, first.held)]);
            // Whatever waits goes into the same commit: the fsync is what costs, not the rows.
            while spans < SPANS_PER_COMMIT {
                let Ok(job) = self.jobs.try_recv() else { break };
                spans += job.batch.spans.len();
                batches.push(job.batch);
                acks.push((job.done, job.held));
            }
            let started = Instant::now();
            let outcome = commit.commit(&batches).await;
            self.stats.queued.fetch_sub(spans, Ordering::AcqRel);
            match &outcome {
                Ok(committed) => {
                    pause = FIRST_PAUSE;
                    self.stats
                        .committed
                        .fetch_add(committed.stored as u64, Ordering::Relaxed);
                    self.stats
                        .duplicates
                        .fetch_add(committed.duplicates as u64, Ordering::Relaxed);
                    self.stats.commits.fetch_add(1, Ordering::Relaxed);
                    self.stats.latency.lock().record(started.elapsed());
                    *self.stats.write_error.lock() = None;
                }
                Err(error) => {
                    tracing::error!(spans, requests = acks.len(), %error, "commit failed; senders are told to try again");
                    *self.stats.write_error.lock() = Some(Failure {
                        reason: Arc::clone(&error.reason),
                        at: Instant::now(),
                    });
                }
            }
            let failed = outcome.is_err();
            drop(batches);
            for (ack, held) in acks {
                // Given back first: whoever is answered may send again at once.
                drop(held);
                // A sender that went away does not want its answer; the spans are kept all the same.
                let _ = ack.send(outcome.clone());
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::time::Duration;

    use highwater_model::{Batch, BatchSpan};
    use tokio::sync::Semaphore;

    use super::{Commit, CommitError, Committed, Refused, pipeline};

    /// A committer that waits for a permit before each commit, and fails when told to: a real store cannot be
    /// made to pause at a chosen moment.
    struct Gate {
        permits: Arc<Semaphore>,
        fail: bool,
        sizes: Arc<parking_lot::Mutex<Vec<usize>>>,
    }

    impl Commit for Gate {
        async fn commit(&mut self, batches: &[Batch]) -> Result<Committed, CommitError> {
            self.permits.acquire().await.unwrap().forget();
            if self.fail {
                self.fail = false;
                return Err(CommitError {
                    reason: "no space left on device".into(),
                });
            }
            let stored = batches.iter().map(|batch| batch.spans.len()).sum();
            self.sizes.lock().push(batches.len());
            Ok(Committed {
                block: 1,
                stored,
                duplicates: 0,
            })
        }
    }

    fn batch(spans: usize) -> Batch {
        let origin = highwater_model::raw::Origin::default();
        let raw = highwater_model::raw::RawSpan {
            trace_id: highwater_model::TraceId([1; 16]),
            span_id: highwater_model::SpanId([1; 8]),
            parent_span_id: None,
            flags: 0,
            name: "s".into(),
            kind: highwater_model::raw::SpanKind::Internal,
            start: highwater_model::UnixNanos(1),
            end: highwater_model::UnixNanos(2),
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: highwater_model::raw::StatusCode::Unset,
            status_message: String::new(),
        };
        let span = highwater_model::normalise::normalise(
            &origin,
            &raw,
            &highwater_model::normalise::Rules::default(),
        );
        let one = BatchSpan {
            span,
            raw: Default::default(),
            origin: 0,
            hash: 0,
        };
        Batch {
            origins: vec![],
            spans: vec![one; spans],
            releases: vec![],
        }
    }

    #[tokio::test]
    async fn requests_that_wait_share_one_commit() {
        let (sender, writer) = pipeline(1_000);
        let permits = Arc::new(Semaphore::new(0));
        let sizes = Arc::default();
        let gate = Gate {
            permits: Arc::clone(&permits),
            fail: false,
            sizes: Arc::clone(&sizes),
        };
        let acks: Vec<_> = (0..10)
            .map(|_| sender.try_send(batch(3)).unwrap())
            .collect();
        let run = tokio::spawn(writer.run(gate));
        permits.add_permits(10);
        for ack in acks {
            assert_eq!(ack.await.unwrap().block, 1);
        }
        assert_eq!(*sizes.lock(), [10], "ten requests, one commit");
        let stats = Arc::clone(sender.stats());
        drop(sender);
        run.await.unwrap();
        assert_eq!(stats.committed_spans(), 30);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_takes_again_after_a_commit() {
        let (sender, writer) = pipeline(10);
        let permits = Arc::new(Semaphore::new(0));
        let gate = Gate {
            permits: Arc::clone(&permits),
            fail: false,
            sizes: Arc::default(),
        };
        let ack = sender.try_send(batch(8)).unwrap();
        assert_eq!(
            sender.try_send(batch(3)).unwrap_err(),
            Refused::Full { capacity: 10 }
        );
        tokio::spawn(writer.run(gate));
        permits.add_permits(2);
        ack.await.unwrap();
        sender.try_send(batch(3)).unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_commit_answers_retryable_and_the_next_one_succeeds() {
        let (sender, writer) = pipeline(10);
        let permits = Arc::new(Semaphore::new(2));
        let gate = Gate {
            permits,
            fail: true,
            sizes: Arc::default(),
        };
        tokio::spawn(writer.run(gate));
        let error = sender.try_send(batch(1)).unwrap().await.unwrap_err();
        assert_eq!(&*error.reason, "no space left on device");
        assert!(sender.stats().write_error().is_some());
        let late = |age| sender.stats().write_error_within(age);
        assert!(late(Duration::from_secs(3_600)).is_some());
        assert!(late(Duration::ZERO).is_none(), "long ago");
        sender.try_send(batch(1)).unwrap().await.unwrap();
        assert!(sender.stats().write_error().is_none());
        assert_eq!(sender.stats().committed_spans(), 1);
    }

    #[tokio::test]
    async fn a_request_larger_than_the_queue_is_taken_when_nothing_waits() {
        let (sender, writer) = pipeline(2);
        let permits = Arc::new(Semaphore::new(1));
        tokio::spawn(writer.run(Gate {
            permits,
            fail: false,
            sizes: Arc::default(),
        }));
        assert_eq!(sender.try_send(batch(5)).unwrap().await.unwrap().stored, 5);
    }
}
