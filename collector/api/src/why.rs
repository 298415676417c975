//! Why a group is behind, as far as its spans and its partitions tell: the slowest and the failed of its newest
//! handlings, what they wait for, a key or a partition that stands out, and whether spans and offsets agree.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_flow::FINEST_STEP_NS;
use highwater_lag as engine;
use highwater_lag::words;
use highwater_model::{Operation, Span, SpanId, UnixNanos};
use highwater_shared::lag as wire;
use highwater_store::query::{Expr, Field};
use highwater_store::search::{SearchQuery, TraceHit};
use highwater_store::{SpanReader, Store};

use crate::ApiState;
use crate::problem::ApiError;
use crate::range::Range;
use crate::topology::instant;

/// Slowest and failed handlings listed.
const LISTED: usize = 5;
/// The newest traces of the range, of which the slowest are taken.
const POOL: usize = 500;
/// Of so many of the slowest it is told where their time goes.
const SLOW: usize = 20;
/// Calls listed.
const CALLS: usize = 4;
/// A key stands out when it is of so many of the handlings, and of so many times its share were all alike.
const HOT_KEY: (f64, f64) = (0.3, 3.0);
/// Fewer handlings with a key tell nothing.
const KEYS_NEEDED: u32 = 20;
/// A partition stands out when it takes so much of what comes in, and so many times what it would were all alike.
const HOT_PARTITION: (f64, f64) = (0.25, 1.8);
/// What spans say is of the last minute: a lag that grows is not told as it was minutes ago.
const OBSERVED: Duration = Duration::from_secs(60);
/// Fewer messages tell nothing of a disagreement.
const OBSERVED_NEEDED: u64 = 20;
/// Less than this apart, or less than three times, is commits that come every few seconds and clocks that differ.
const DISAGREE_MS: u64 = 30_000;

/// What the newest handlings of a group tell.
#[derive(Debug, Default)]
pub(crate) struct Handlings {
    pub(crate) slowest: Vec<wire::SlowTrace>,
    pub(crate) failing: Vec<wire::FailedTrace>,
    pub(crate) why: wire::Why,
}

/// Looks at the newest handlings of a group in the range. `failed`: some of them may have.
pub(crate) async fn handlings(
    state: &ApiState,
    cluster: &str,
    group: &str,
    range: Range,
    failed: bool,
) -> Result<Handlings, ApiError> {
    let of_group = || Expr::equals(Field::Group, group);
    let hits = search(&state.store, range, of_group(), POOL).await?;
    let failing = if failed {
        search(&state.store, range, of_group().and(Expr::failed()), LISTED).await?
    } else {
        Vec::new()
    };
    let mut handled = work_of(&hits);
    handled.sort_by_key(|(_, span)| std::cmp::Reverse(span.duration_ns()));
    let slow = handled.get(..SLOW).unwrap_or(&handled);
    let told = Handlings {
        slowest: slow
            .iter()
            .take(LISTED)
            .map(|(hit, span)| slow_trace(hit, span))
            .collect(),
        why: wire::Why {
            handlings: count(handled.len()),
            slow_handlings: count(slow.len()),
            time: time_shares(slow),
            hot_key: hot_key(handled.iter().map(|(_, span)| *span)),
            hot_partition: state
                .lag
                .read()
                .groups()
                .get(&(cluster.into(), group.into()))
                .and_then(|lag| hot_partition(lag)),
        },
        failing: failing.iter().filter_map(failure).collect(),
    };
    Ok(told)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

async fn search(
    store: &Store,
    range: Range,
    filter: Expr,
    limit: usize,
) -> Result<Vec<TraceHit>, ApiError> {
    let mut search = SearchQuery::new(range.from, range.to);
    search.limit = limit.min(SearchQuery::MAX_LIMIT);
    let page = store
        .search(&search.and(filter))
        .await
        .map_err(ApiError::internal("looking at the group's handlings"))?;
    Ok(page.hits)
}

/// The spans that cover a handler's work; where no span of the group does, every span of it.
fn work_of(hits: &[TraceHit]) -> Vec<(&TraceHit, &Span)> {
    let matched: Vec<(&TraceHit, &Span)> = hits
        .iter()
        .flat_map(|hit| {
            let spans = hit.matched.iter().filter_map(|at| hit.spans.get(*at));
            spans.map(move |span| (hit, span))
        })
        .collect();
    let is_work = |span: &Span| span.messaging.as_ref().is_some_and(|m| m.duration_is_work);
    let work: Vec<_> = matched
        .iter()
        .copied()
        .filter(|(_, span)| is_work(span))
        .collect();
    if work.is_empty() { matched } else { work }
}

fn slow_trace(hit: &TraceHit, span: &Span) -> wire::SlowTrace {
    let child = steps(&hit.spans, span.span_id).max_by_key(|child| child.duration_ns());
    wire::SlowTrace {
        trace_id: hit.trace_id.to_hex(),
        span_id: span.span_id.to_hex(),
        process_ns: span.duration_ns(),
        error: span.error.is_some(),
        longest_child: child.map(|child| call(&hit.spans, span, child)),
        longest_child_ns: child.map(Span::duration_ns),
        start: instant(span.start),
    }
}

fn failure(hit: &TraceHit) -> Option<wire::FailedTrace> {
    let span = hit.matched.last().and_then(|at| hit.spans.get(*at))?;
    let error = span.error.as_ref()?;
    Some(wire::FailedTrace {
        trace_id: hit.trace_id.to_hex(),
        span_id: span.span_id.to_hex(),
        process_ns: span.duration_ns(),
        error: error.kind.to_string(),
        message: error.message.to_string(),
        start: instant(span.start),
    })
}

fn children(spans: &[Span], of: SpanId) -> impl Iterator<Item = &Span> {
    spans.iter().filter(move |span| span.parent == Some(of))
}

/// What a handler did itself, or waited for. Who handles a message that it sent has it for a parent too, and does so
/// in its own time.
fn steps(spans: &[Span], of: SpanId) -> impl Iterator<Item = &Span> {
    children(spans, of).filter(|span| {
        !matches!(
            span.messaging.as_ref().map(|m| m.operation),
            Some(Operation::Process | Operation::Receive)
        )
    })
}

/// What a child of a handler is a call of: the service that answered it where its span is there, else what the handler's
/// own service calls it.
fn call(spans: &[Span], handler: &Span, child: &Span) -> String {
    let answered = children(spans, child.span_id).find(|span| span.service != child.service);
    let by = answered.unwrap_or(child);
    if by.service == handler.service {
        return by.name.to_string();
    }
    format!("{} {}", by.service.name, by.name)
}

/// Where the time of handlings goes: for each call the time in which one of it was under way, for the handler itself the
/// time in which none was.
fn time_shares(handled: &[(&TraceHit, &Span)]) -> Vec<wire::TimeShare> {
    let total: u64 = handled.iter().map(|(_, span)| span.duration_ns()).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut by_call: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for (hit, span) in handled {
        let mut stretches: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        let mut any = Vec::new();
        for child in steps(&hit.spans, span.span_id) {
            let stretch = (
                child.start.0.max(span.start.0),
                child.end.0.min(span.end.0).max(span.start.0),
            );
            any.push(stretch);
            let call = call(&hit.spans, span, child);
            stretches.entry(call).or_default().push(stretch);
        }
        for (call, stretches) in stretches {
            *by_call.entry(Some(call)).or_default() += covered(stretches);
        }
        *by_call.entry(None).or_default() += span.duration_ns().saturating_sub(covered(any));
    }
    let mut shares: Vec<wire::TimeShare> = by_call
        .into_iter()
        .map(|(call, ns)| wire::TimeShare {
            call,
            share: ns as f64 / total as f64,
        })
        .filter(|share| share.share >= 0.005)
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares.truncate(CALLS);
    shares
}

/// The length of the union of stretches of time.
fn covered(mut stretches: Vec<(u64, u64)>) -> u64 {
    stretches.sort_unstable();
    let (mut sum, mut until) = (0, 0);
    for (from, to) in stretches {
        let from = from.max(until);
        if to > from {
            sum += to - from;
            until = to;
        }
    }
    sum
}

/// The key that much of the handlings are of.
fn hot_key<'s>(handled: impl Iterator<Item = &'s Span>) -> Option<wire::HotKey> {
    let mut keys: HashMap<&str, u32> = HashMap::new();
    for span in handled {
        if let Some(key) = span.messaging.as_ref().and_then(|m| m.key.as_deref()) {
            *keys.entry(key).or_default() += 1;
        }
    }
    let of: u32 = keys.values().sum();
    // Of equals the lesser name: the same answer each time.
    let (key, handlings) = keys
        .iter()
        .max_by_key(|(key, n)| (**n, std::cmp::Reverse(**key)))?;
    let share = f64::from(*handlings) / f64::from(of);
    let stands_out = share >= HOT_KEY.0 && share * keys.len() as f64 >= HOT_KEY.1;
    (of >= KEYS_NEEDED && stands_out).then(|| wire::HotKey {
        key: (*key).to_owned(),
        handlings: *handlings,
        of,
    })
}

/// The partition that much of what comes in goes to, beside the others of its topic.
fn hot_partition(lag: &engine::GroupLag) -> Option<wire::HotPartition> {
    let mut topics: BTreeMap<Arc<str>, Vec<(i32, f64)>> = BTreeMap::new();
    for (place, lag) in lag.partitions.iter() {
        // One that is not known leaves the shares of the others unknown.
        let rate = lag.in_per_s.unwrap_or(f64::NAN);
        let partitions = topics.entry(place.topic).or_default();
        partitions.push((place.partition, rate));
    }
    let hot = topics.into_iter().filter_map(|(topic, partitions)| {
        let total: f64 = partitions.iter().map(|(_, rate)| rate).sum();
        let (partition, rate) = *partitions.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let (share, of) = (rate / total, partitions.len());
        let stands_out = share >= HOT_PARTITION.0 && share * of as f64 >= HOT_PARTITION.1;
        (of > 1 && stands_out).then(|| wire::HotPartition {
            topic: topic.to_string(),
            partition,
            share,
            of: count(of),
        })
    });
    hot.max_by(|a, b| a.share.total_cmp(&b.share))
}

/// How long the messages that a group handled lately waited in the broker, and whether that fits its offsets.
pub(crate) async fn observed(
    state: &ApiState,
    cluster: &str,
    group: &str,
    lag: &engine::GroupLag,
    to: UnixNanos,
) -> Result<Option<wire::ObservedLag>, ApiError> {
    let environment = state.environment_of(cluster);
    let (cluster, group) = (cluster.to_owned(), group.to_owned());
    // Whole buckets, the youngest with them.
    let from = UnixNanos(to.0 - to.0 % FINEST_STEP_NS + FINEST_STEP_NS) - OBSERVED;
    let flow_of = state.clone();
    let work = tokio::task::spawn_blocking(move || {
        let flow = flow_of.flow.read();
        flow.group_work(
            &environment,
            &cluster,
            &group,
            from,
            OBSERVED.as_nanos() as u64,
            1,
        )
    })
    .await
    .map_err(ApiError::internal("computing how long messages waited"))?;
    let waited = work
        .and_then(|work| work.into_iter().next())
        .and_then(|work| work.in_broker.percentiles());
    Ok(waited.map(|waited| {
        let (p50_ms, p95_ms) = (waited.p50_ns / 1_000_000, waited.p95_ns / 1_000_000);
        wire::ObservedLag {
            p50_ms,
            p95_ms,
            messages: waited.samples,
            from: instant(from),
            to: instant(to),
            disagrees: (waited.samples >= OBSERVED_NEEDED)
                .then(|| disagreement(p50_ms, p95_ms, lag))
                .flatten(),
        }
    }))
}

/// What it may mean that spans and offsets tell different times; `None` where they agree, or cannot be compared.
///
/// Only partitions that move are compared: of one that stands still no message is handled, so no span tells of it.
fn disagreement(p50_ms: u64, p95_ms: u64, lag: &engine::GroupLag) -> Option<String> {
    let moving = || {
        lag.partitions
            .values()
            .filter(|lag| lag.out_per_s.is_some_and(|rate| rate > 0.0))
    };
    let exact = |lag: engine::PartitionLag| {
        lag.time_lag
            .filter(|time| time.bound == engine::Bound::Exact)
            .map(engine::TimeLag::millis)
    };
    let times: Vec<u64> = moving().map(exact).collect::<Option<_>>()?;
    let (least, most) = (*times.iter().min()?, *times.iter().max()?);
    let apart = |more: u64, less: u64| more > less.saturating_mul(3).saturating_add(DISAGREE_MS);
    let said = |ms| words::duration(Duration::from_millis(ms));
    if apart(least, p95_ms) {
        return Some(format!(
            "Offsets say {}, spans {}: it commits long after it has handled, or some of its consumers send no spans.",
            said(least),
            said(p95_ms)
        ));
    }
    apart(p50_ms, most).then(|| {
        format!(
            "Spans say {}, offsets {}: it commits before it has handled, or a clock is wrong.",
            said(p50_ms),
            said(most)
        )
    })
}

#[cfg(test)]
mod tests;
