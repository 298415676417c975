//! What is known of one dead-letter topic between two polls: depth, arrivals, ages, causes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use highwater_model::UnixNanos;
use highwater_model::broker::{Known, PartitionOffsets};
use highwater_model::names::TopicKind;

use crate::headers::analyse;
use crate::reader::PartitionBounds;
use crate::recognise::{RecognisedBy, Recognition, is_dead_letter};
use crate::record::SourceRecord;

/// Arrivals are counted over this long.
const ARRIVALS_WINDOW_NS: u64 = 5 * 60 * 1_000_000_000;
/// Two samples closer than this give no rate.
const ARRIVALS_LEAST_NS: u64 = 5 * 1_000_000_000;
/// Newest records whose causes are counted.
pub(crate) const SAMPLED: usize = 200;

/// An error class and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseCount {
    /// The class to group by; `unknown` where headers tell none.
    pub cause: Arc<str>,
    /// Records with it, of those sampled.
    pub count: u64,
}

/// A dead-letter or retry topic as the list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSummary {
    /// The configured cluster.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// [`TopicKind::DeadLetterTopic`], or [`TopicKind::RetryTopic`], which is no backlog.
    pub kind: TopicKind,
    /// What gave it away.
    pub recognised_by: RecognisedBy,
    /// Topics its records came from: the mapping's, the newest records', else by its name.
    pub origin_topics: Vec<Arc<str>>,
    /// Groups its records were given up by, likewise.
    pub groups: Vec<Arc<str>>,
    /// sum(end - log start); `None` where a partition's offsets are unknown.
    pub retained: Option<u64>,
    /// From offsets, over the last 5 minutes or as much of them as was seen; `None` with fewer than two samples.
    pub arrivals_per_hour: Option<f64>,
    /// How much of the 5 minutes the rate is over, in nanoseconds.
    pub arrivals_window_ns: Option<u64>,
    /// Timestamp of the oldest kept record.
    pub oldest_at: Option<UnixNanos>,
    /// Timestamp of the newest.
    pub newest_at: Option<UnixNanos>,
    /// Error classes of the newest records, most frequent first.
    pub causes: Vec<CauseCount>,
    /// How many of the newest records were read for `causes`, at most 200.
    pub sampled: u64,
    /// When its offsets were read.
    pub read_at: Option<UnixNanos>,
    /// Why something above is unknown, in a sentence.
    pub reason: Option<Arc<str>>,
}

/// What is kept of a sampled record: payloads are dropped as soon as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Brief {
    partition: i32,
    offset: i64,
    timestamp: Option<UnixNanos>,
    cause: Arc<str>,
    origin: Option<Arc<str>>,
    group: Option<Arc<str>>,
    /// Its headers are a dead letter's.
    dead: bool,
}

impl Brief {
    pub(crate) fn of(topic: &str, record: &SourceRecord) -> Self {
        let analysis = analyse(&record.headers);
        let dead = is_dead_letter(topic, &analysis);
        let origin = analysis.origin.unwrap_or_default();
        Self {
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            cause: analysis
                .error
                .map_or("unknown".into(), |error| error.cause.into()),
            origin: origin.topic.map(Into::into),
            group: origin.group.map(Into::into),
            dead,
        }
    }
}

/// A range of offsets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What has to be read for a summary to be true again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Newest records not yet seen.
    pub(crate) newest: Vec<Range>,
    /// Partitions, with their log starts, whose first record is not known.
    pub(crate) oldest: Vec<(i32, i64)>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_empty() && self.oldest.is_empty()
    }
}

/// One topic between polls.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) recognition: Recognition,
    mapped_origins: Vec<Arc<str>>,
    mapped_groups: Vec<Arc<str>>,
    named_origin: Option<Arc<str>>,
    named_group: Option<Arc<str>>,
    bounds: BTreeMap<i32, (i64, i64)>,
    retained: Known<u64>,
    read_at: Option<UnixNanos>,
    /// (when, sum of ends), oldest first.
    ends: VecDeque<(UnixNanos, i64)>,
    briefs: Vec<Brief>,
    /// One past the last offset whose records were looked at.
    seen: BTreeMap<i32, i64>,
    /// By partition: the log start it was read at, and the first record's timestamp.
    oldest: BTreeMap<i32, (i64, Option<UnixNanos>)>,
    pub(crate) read_error: Option<Arc<str>>,
    pub(crate) not_before: UnixNanos,
}

impl TopicState {
    pub(crate) fn new(recognition: Recognition) -> Self {
        Self {
            recognition,
            mapped_origins: Vec::new(),
            mapped_groups: Vec::new(),
            named_origin: None,
            named_group: None,
            bounds: BTreeMap::new(),
            retained: Err("its offsets were not read yet".into()),
            read_at: None,
            ends: VecDeque::new(),
            briefs: Vec::new(),
            seen: BTreeMap::new(),
            oldest: BTreeMap::new(),
            read_error: None,
            not_before: UnixNanos(0),
        }
    }

    pub(crate) fn set_mapped(&mut self, origins: Vec<Arc<str>>, groups: Vec<Arc<str>>) {
        self.mapped_origins = origins;
        self.mapped_groups = groups;
    }

    pub(crate) fn set_named(&mut self, origin: Option<Arc<str>>, group: Option<Arc<str>>) {
        self.named_origin = origin;
        self.named_group = group;
    }

    /// Takes a poll's offsets of all partitions.
    pub(crate) fn observe<'a>(
        &mut self,
        expected: u32,
        partitions: impl Iterator<Item = (i32, &'a PartitionOffsets)>,
    ) {
        let mut retained = 0_u64;
        let mut ends = 0_i64;
        let mut unknown: Option<Arc<str>> = None;
        let mut count = 0_u32;
        let mut read_at = None;
        for (partition, offsets) in partitions {
            count += 1;
            match (&offsets.log_start, &offsets.end) {
                (Ok(log_start), Ok(end)) => {
                    retained += u64::try_from(end.saturating_sub(*log_start)).unwrap_or(0);
                    ends = ends.saturating_add(*end);
                    self.move_bounds(partition, *log_start, *end);
                    read_at = read_at.max(Some(offsets.read_at));
                }
                (Err(reason), _) | (_, Err(reason)) => {
                    unknown.get_or_insert_with(|| reason.clone());
                }
            }
        }
        if count < expected && unknown.is_none() {
            unknown = Some(
                format!(
                    "the offsets of {} of {expected} partitions were not read",
                    expected - count
                )
                .into(),
            );
        }
        self.read_at = read_at.or(self.read_at);
        if let Some(reason) = unknown {
            self.retained = Err(reason);
            return;
        }
        self.retained = Ok(retained);
        if let Some(at) = read_at {
            self.push_ends(at, ends);
        }
    }

    fn move_bounds(&mut self, partition: i32, log_start: i64, end: i64) {
        let before = self.bounds.insert(partition, (log_start, end));
        // An end that goes back is a topic made anew: nothing read from it before holds.
        if before.is_some_and(|(_, old_end)| end < old_end) {
            self.seen.remove(&partition);
            self.oldest.remove(&partition);
            self.briefs.retain(|brief| brief.partition != partition);
        }
        self.briefs
            .retain(|brief| brief.partition != partition || brief.offset >= log_start);
    }

    fn push_ends(&mut self, at: UnixNanos, ends: i64) {
        if self.ends.back().is_some_and(|(_, last)| ends < *last) {
            self.ends.clear();
        }
        if self.ends.back().is_none_or(|(last, _)| at > *last) {
            self.ends.push_back((at, ends));
        }
        // Keep one sample at or beyond the window's edge, so that the rate is over all of it.
        while self
            .ends
            .get(1)
            .is_some_and(|(second, _)| at.since(*second) >= ARRIVALS_WINDOW_NS)
        {
            self.ends.pop_front();
        }
    }

    /// What has to be read now that the bounds have moved.
    pub(crate) fn work(&self) -> Work {
        let mut work = Work::default();
        for (&partition, &(log_start, end)) in &self.bounds {
            let seen = self.seen.get(&partition).copied().unwrap_or(0);
            if seen < end && log_start < end {
                let least = end.saturating_sub(SAMPLED as i64);
                work.newest.push(Range {
                    partition,
                    from: seen.max(log_start).max(least),
                    to: end,
                });
            }
            let known = self.oldest.get(&partition);
            if log_start < end && known.is_none_or(|(at, _)| *at != log_start) {
                work.oldest.push((partition, log_start));
            }
        }
        work
    }

    /// Takes what was read of a range of newest records.
    pub(crate) fn take_newest(&mut self, range: Range, briefs: Vec<Brief>) {
        self.seen.insert(range.partition, range.to);
        // Headers are stronger than a name.
        if self.recognition.by == RecognisedBy::Name && briefs.iter().any(|brief| brief.dead) {
            self.recognition.by = RecognisedBy::Headers;
        }
        // The end may have moved on while it was read: what comes again replaces what is there.
        let least = briefs.iter().map(|brief| brief.offset).min();
        self.briefs.retain(|brief| {
            brief.partition != range.partition || least.is_none_or(|least| brief.offset < least)
        });
        self.briefs.extend(briefs);
        self.briefs.sort_by_key(|brief| {
            std::cmp::Reverse((brief.timestamp, brief.offset, brief.partition))
        });
        self.briefs.truncate(SAMPLED);
    }

    /// Takes the timestamp of a partition's first record, as of a log start.
    pub(crate) fn take_oldest(&mut self, partition: i32, log_start: i64, at: Option<UnixNanos>) {
        self.oldest.insert(partition, (log_start, at));
    }

    /// The partitions as of the last poll.
    pub(crate) fn bounds(&self) -> Vec<PartitionBounds> {
        self.bounds
            .iter()
            .map(|(&partition, &(log_start, end))| PartitionBounds {
                partition,
                log_start,
                end,
            })
            .collect()
    }

    pub(crate) fn summary(&self, cluster: &Arc<str>, topic: &Arc<str>) -> TopicSummary {
        let mut causes: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        for brief in &self.briefs {
            *causes.entry(&brief.cause).or_default() += 1;
        }
        let mut causes: Vec<CauseCount> = causes
            .into_iter()
            .map(|(cause, count)| CauseCount {
                cause: cause.clone(),
                count,
            })
            .collect();
        causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
        let rate =
            self.ends
                .front()
                .zip(self.ends.back())
                .and_then(|(&(from, first), &(to, last))| {
                    let window = to.since(from);
                    let arrived = (last - first) as f64;
                    (window >= ARRIVALS_LEAST_NS)
                        .then(|| (arrived * 3.6e12 / window as f64, window))
                });
        let oldest_at = self
            .oldest
            .iter()
            .filter(|(partition, _)| {
                self.bounds
                    .get(partition)
                    .is_some_and(|(log_start, end)| log_start < end)
            })
            .filter_map(|(_, (_, at))| *at)
            .min();
        TopicSummary {
            cluster: cluster.clone(),
            topic: topic.clone(),
            kind: self.recognition.kind,
            recognised_by: self.recognition.by,
            origin_topics: distinct(
                &self.mapped_origins,
                self.briefs.iter().filter_map(|brief| brief.origin.as_ref()),
                self.named_origin.as_ref(),
            ),
            groups: distinct(
                &self.mapped_groups,
                self.briefs.iter().filter_map(|brief| brief.group.as_ref()),
                self.named_group.as_ref(),
            ),
            retained: self.retained.as_ref().ok().copied(),
            arrivals_per_hour: rate.map(|(rate, _)| rate),
            arrivals_window_ns: rate.map(|(_, window)| window),
            oldest_at,
            newest_at: self.briefs.iter().filter_map(|brief| brief.timestamp).max(),
            causes,
            sampled: self.briefs.len() as u64,
            read_at: self.read_at,
            reason: self
                .retained
                .as_ref()
                .err()
                .or(self.read_error.as_ref())
                .cloned(),
        }
    }
}

/// The mapping's word, else what records say, most frequent first, else the name's.
fn distinct<'a>(
    mapped: &[Arc<str>],
    read: impl Iterator<Item = &'a Arc<str>>,
    named: Option<&Arc<str>>,
) -> Vec<Arc<str>> {
    if !mapped.is_empty() {
        return mapped.to_vec();
    }
    let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for value in read {
        *counts.entry(value).or_default() += 1;
    }
    let mut values: Vec<(&Arc<str>, usize)> = counts.into_iter().collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    if values.is_empty() {
        return named.cloned().into_iter().collect();
    }
    values
        .into_iter()
        .take(20)
        .map(|(value, _)| value.clone())
        .collect()
}

#[cfg(test)]
mod tests;
