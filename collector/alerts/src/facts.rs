//! What the engine is told at a step. Other rooms found it out; here it is only data.

use std::sync::Arc;
use std::time::Duration;

use highwater_lag::GroupLag;
use highwater_model::UnixNanos;

/// Everything known at one moment.
///
/// What is missing is unknown, with two exceptions: a cluster that is not listed is no longer configured, and a group
/// or queue that is not listed is gone when its cluster could be read.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every configured cluster, read or not.
    pub clusters: Vec<ClusterFacts>,
    /// Consumer groups.
    pub groups: Vec<GroupFacts>,
    /// Dead-letter queues.
    pub queues: Vec<QueueFacts>,
    /// Edges from a topic to a group, from spans.
    pub edges: Vec<EdgeFacts>,
    /// Services that have sent spans.
    pub services: Vec<ServiceFacts>,
    /// The collector itself.
    pub collector: CollectorFacts,
}

/// Whether a cluster can be read.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The configured name.
    pub name: Arc<str>,
    /// The environment it belongs to.
    pub environment: Arc<str>,
    /// Why it cannot be read; `None` when it can, or when that is not known yet.
    pub unreachable: Option<Arc<str>>,
    /// In this state since.
    pub since: UnixNanos,
    /// The last successful read; `None` when there was none since the start.
    pub last_read: Option<UnixNanos>,
}

/// A consumer group.
#[derive(Clone, Debug)]
pub struct GroupFacts {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// Its name.
    pub group: Arc<str>,
    /// Services that consume as it.
    pub services: Vec<Arc<str>>,
    /// What the lag room says of it.
    pub lag: Arc<GroupLag>,
    /// A hash of its members and their assignments, the same in every process; `None` unknown.
    pub membership: Option<u64>,
}

/// A dead-letter queue.
#[derive(Clone, Debug)]
pub struct QueueFacts {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// Its topic.
    pub topic: Arc<str>,
    /// Groups whose messages end here.
    pub groups: Vec<Arc<str>>,
    /// Messages kept; `None` unknown.
    pub retained: Option<u64>,
    /// The sum of its end offsets: every message that ever arrived; `None` unknown.
    pub arrived_total: Option<u64>,
    /// Arrivals an hour; `None` unknown.
    pub per_hour: Option<f64>,
    /// When the oldest message kept arrived; `None` unknown, or none is kept.
    pub oldest_at: Option<UnixNanos>,
    /// Causes among its messages.
    pub causes: Vec<Arc<str>>,
    /// When its messages were read; `None` not yet.
    pub read_at: Option<UnixNanos>,
}

/// How a group handled a topic's messages, from spans.
#[derive(Clone, Debug)]
pub struct EdgeFacts {
    /// The cluster.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// Services that consume as it.
    pub services: Vec<Arc<str>>,
    /// Attempts in `window`.
    pub attempts: u64,
    /// Those that failed.
    pub errors: u64,
    /// The 95th percentile of the time in the broker; `None` unknown.
    pub wait_p95: Option<Duration>,
    /// How far back these figures go.
    pub window: Duration,
}

/// A service that has sent spans.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// Its name.
    pub service: Arc<str>,
    /// When it last sent one.
    pub last_span_at: UnixNanos,
}

/// The collector itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct CollectorFacts {
    /// Requests with spans refused since the process started.
    pub refused_requests_total: u64,
}
