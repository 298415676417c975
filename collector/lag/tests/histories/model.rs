//! Lag by its meaning, slowly: everything ever seen is kept, and every figure is read from all of it anew.
//!
//! Written from what the states, figures and bounds are said to mean, and not from how the engine gets there: nothing
//! here is carried from one sample to the next but what was seen and what was said.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use highwater_lag::{
    Bound, Config, GroupLag, OpenTransaction, PartitionLag, Partitions, Rewound, State, TimeLag,
    Why,
};
use highwater_model::UnixNanos;
use highwater_model::broker::{GroupFacts, PartitionOffsets, Sample, TopicPartition};

/// What came to pass, in order.
enum Seen {
    Sample(Box<Sample>),
    /// The broker's word on where a partition ended at a time.
    Past(TopicPartition, UnixNanos, i64),
    /// A bounded read at a group's committed offset: nothing to read up to `end`, or something.
    Read {
        group: Arc<str>,
        place: TopicPartition,
        committed: i64,
        readable: bool,
        end: i64,
    },
}

/// A group with its partitions opened.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Opened {
    /// Without them.
    pub(crate) group: GroupLag,
    pub(crate) partitions: BTreeMap<TopicPartition, PartitionLag>,
}

impl Opened {
    pub(crate) fn of(group: &GroupLag) -> Self {
        Self {
            partitions: group.partitions.open(),
            group: GroupLag {
                partitions: Partitions::default(),
                ..group.clone()
            },
        }
    }
}

impl Deref for Opened {
    type Target = GroupLag;

    fn deref(&self) -> &GroupLag {
        &self.group
    }
}

impl DerefMut for Opened {
    fn deref_mut(&mut self) -> &mut GroupLag {
        &mut self.group
    }
}

/// What was said of every group at one time.
pub(crate) type Said = BTreeMap<Arc<str>, Opened>;

pub(crate) struct Model {
    config: Config,
    seen: Vec<Seen>,
    said: Vec<(UnixNanos, Said)>,
}

/// One moment at which both offsets of a group's partition were known.
#[derive(Clone, Copy)]
struct Reading {
    at: UnixNanos,
    committed: i64,
    end: i64,
    /// Which log of that name it was.
    log: usize,
    lost: u64,
}

impl Reading {
    fn lag(&self) -> i64 {
        (self.end - self.committed).max(0)
    }
}

/// What is known of a partition's log.
#[derive(Default)]
struct LogSeen {
    /// How many logs of this name there were before.
    number: usize,
    /// The last one known, and the one known before this sample.
    start: Option<i64>,
    start_before: Option<i64>,
    /// Time and end, of records that still are.
    ends: Vec<(UnixNanos, i64)>,
    /// Those that the broker told.
    told: BTreeSet<UnixNanos>,
}

fn since(later: UnixNanos, earlier: UnixNanos) -> Duration {
    Duration::from_nanos(later.since(earlier))
}

fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            seen: Vec::new(),
            said: Vec::new(),
        }
    }

    pub(crate) fn past(&mut self, place: TopicPartition, at: UnixNanos, end: i64) {
        self.seen.push(Seen::Past(place, at, end));
    }

    pub(crate) fn read(
        &mut self,
        group: Arc<str>,
        place: TopicPartition,
        committed: i64,
        readable: bool,
        end: i64,
    ) {
        self.seen.push(Seen::Read {
            group,
            place,
            committed,
            readable,
            end,
        });
    }

    /// What is to be said after a poll that failed: nothing is known of now.
    pub(crate) fn lost(&mut self, now: UnixNanos) -> Said {
        let mut said = self.said.last().map(|(_, said)| said.clone());
        for (name, group) in said.iter_mut().flatten() {
            for lag in group.partitions.values_mut() {
                *lag = unknown(lag);
            }
            group.group = GroupLag {
                state: State::Unknown,
                lag_messages: None,
                lag_by_tools: None,
                time_lag: None,
                in_per_s: None,
                out_per_s: None,
                rate_from: None,
                drain: None,
                retention_left: None,
                partitions_read: 0,
                members: None,
                broker_state: None,
                ..group.group.clone()
            };
            self.date(name, group, now);
        }
        self.said.push((now, said.unwrap_or_default()));
        self.said.last().unwrap().1.clone()
    }

    /// What is to be said after a sample.
    pub(crate) fn sample(&mut self, sample: &Sample, now: UnixNanos) -> Said {
        self.seen.push(Seen::Sample(Box::new(sample.clone())));
        let mut said = Said::new();
        for (name, facts) in &sample.groups {
            let mut group = self.group(sample, name, facts, now);
            self.date(name, &mut group, now);
            said.insert(Arc::clone(name), group);
        }
        self.said.push((now, said.clone()));
        said
    }

    /// Sets since when each state holds: since the earliest of the last times at which the same was said.
    fn date(&self, name: &Arc<str>, group: &mut Opened, now: UnixNanos) {
        let before = || {
            self.said
                .iter()
                .rev()
                .map(|(at, said)| (*at, said.get(name)))
        };
        let run =
            before().take_while(|(_, said)| said.is_some_and(|said| said.state == group.state));
        group.state_since = run.last().map_or(now, |(at, _)| at);
        for (place, lag) in &mut group.partitions {
            let run = before().take_while(|(_, said)| {
                said.and_then(|said| said.partitions.get(place))
                    .is_some_and(|said| said.state == lag.state)
            });
            lag.state_since = run.last().map_or(now, |(at, _)| at);
        }
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Sample(sample) => Some(&**sample),
            _ => None,
        })
    }

    /// What is known of a log now.
    fn log(&self, place: &TopicPartition) -> LogSeen {
        let mut log = LogSeen::default();
        for seen in &self.seen {
            self.log_seen(&mut log, seen, place);
        }
        log
    }

    fn log_seen(&self, log: &mut LogSeen, seen: &Seen, place: &TopicPartition) {
        match seen {
            Seen::Sample(sample) => self.log_sampled(log, sample, place),
            Seen::Past(of, at, end) if of == place => {
                let after = log.ends.iter().position(|(seen, _)| seen >= at);
                // Ends never fall as time goes on, and our own last reading is the newest.
                if let Some(after) = after
                    && log.ends[after].0 != *at
                    && log.ends[after].1 >= *end
                    && (after == 0 || log.ends[after - 1].1 <= *end)
                {
                    log.ends.insert(after, (*at, *end));
                    log.told.insert(*at);
                }
            }
            _ => {}
        }
    }

    fn log_sampled(&self, log: &mut LogSeen, sample: &Sample, place: &TopicPartition) {
        if !sample.topics.contains_key(&place.topic) {
            *log = LogSeen {
                number: log.number + 1,
                ..LogSeen::default()
            };
        }
        let Some(read) = sample.partitions.get(place) else {
            return;
        };
        if let Ok(start) = read.log_start {
            // Retention only moves a log's start on.
            if log.start.is_some_and(|before| start < before) {
                *log = LogSeen {
                    number: log.number + 1,
                    ..LogSeen::default()
                };
            }
            log.start_before = log.start;
            log.start = Some(start);
        }
        if let Ok(end) = read.end {
            log.ends.retain(|(_, before)| *before <= end);
            // Of a stretch in which nothing came, only its first and its last reading of our own are anything.
            if let [.., (at, first), (_, last)] = log.ends[..]
                && !log.told.contains(&at)
                && (first, last) == (end, end)
            {
                log.ends.pop();
            }
            log.ends.push((read.read_at, end));
        }
        let reads = |(name, group): (&Arc<str>, &GroupFacts)| match group.error {
            None => group.committed.contains(place),
            // As far as is known it reads what it read.
            Some(_) => self.had(name, place, sample.finished),
        };
        if !sample.groups.iter().any(reads) {
            // Nobody reads it: two windows of its past are enough.
            let from = sample.finished - self.config.window * 2;
            let baseline = log.ends.iter().rposition(|(at, _)| *at <= from);
            log.ends.drain(..baseline.unwrap_or(0));
        }
    }

    /// Whether the group had that partition when its offsets were read last before then.
    fn had(&self, name: &Arc<str>, place: &TopicPartition, before: UnixNanos) -> bool {
        let mut had = false;
        for sample in self.samples().take_while(|sample| sample.finished < before) {
            had = match sample.groups.get(name) {
                Some(group) if group.error.is_some() => had,
                Some(group) => group.committed.contains(place),
                None => false,
            };
        }
        had
    }

    /// Every moment at which both offsets were known, since the group has had that partition without a break.
    fn readings(&self, name: &Arc<str>, place: &TopicPartition) -> Vec<Reading> {
        let (mut readings, mut log) = (Vec::new(), LogSeen::default());
        for seen in &self.seen {
            self.log_seen(&mut log, seen, place);
            let Seen::Sample(sample) = seen else { continue };
            let Some(facts) = sample.groups.get(name) else {
                readings.clear();
                continue;
            };
            if facts.error.is_some() {
                continue;
            }
            let Some(commit) = facts.committed.get(place) else {
                readings.clear();
                continue;
            };
            let read = sample.partitions.get(place);
            if let (Ok(Some(committed)), Some(Ok(end))) = (commit, read.map(|read| &read.end)) {
                let start = read.and_then(|read| read.log_start.as_ref().ok());
                // The start of the sample before: between this one's two readings both may have moved.
                let lost = match (log.start_before, start) {
                    (Some(before), Some(&start)) => distance(committed, before.min(start)),
                    _ => 0,
                };
                readings.push(Reading {
                    at: sample.finished,
                    committed,
                    end: *end,
                    log: log.number,
                    lost,
                });
            }
        }
        readings
    }

    /// The last readings between which nobody looked away for longer than a window.
    fn run<'a>(&self, readings: &'a [Reading]) -> &'a [Reading] {
        let outage = self.config.window.max(self.config.exact_gap);
        let gap = readings
            .windows(2)
            .rposition(|pair| since(pair[1].at, pair[0].at) > outage);
        &readings[gap.map_or(0, |gap| gap + 1)..]
    }

    /// The last readings over which rates and trends are: over the window, and of one log read forwards.
    fn stretch<'a>(&self, readings: &'a [Reading]) -> &'a [Reading] {
        let run = self.run(readings);
        let broken = run.windows(2).rposition(|pair| {
            pair[1].committed < pair[0].committed
                || pair[1].end < pair[0].end
                || pair[1].log != pair[0].log
        });
        let run = &run[broken.map_or(0, |broken| broken + 1)..];
        let Some(last) = run.last() else { return run };
        let baseline = run
            .iter()
            .rposition(|reading| reading.at <= last.at - self.config.window);
        &run[baseline.unwrap_or(0)..]
    }

    fn moved_at(&self, readings: &[Reading]) -> Option<UnixNanos> {
        let outage = self.config.window.max(self.config.exact_gap);
        let seen_to_move = |pair: &&[Reading]| {
            pair[0].committed != pair[1].committed && since(pair[1].at, pair[0].at) <= outage
        };
        let last = readings.windows(2).rfind(seen_to_move);
        last.map(|pair| pair[1].at)
    }

    fn group(
        &self,
        sample: &Sample,
        name: &Arc<str>,
        facts: &GroupFacts,
        now: UnixNanos,
    ) -> Opened {
        if facts.error.is_some() {
            let before = self.said.last().and_then(|(_, said)| said.get(name));
            let partitions = before.map(|group| &group.partitions).into_iter().flatten();
            let partitions = partitions.map(|(place, lag)| (place.clone(), unknown(lag)));
            return summary(sample, facts, &self.config, partitions.collect(), now);
        }
        let members = facts.members.as_ref().ok().map(Vec::len);
        let moved = facts.committed.iter().any(|(place, _)| {
            let moved = self.moved_at(&self.readings(name, &place));
            moved.is_some_and(|at| since(now, at) < self.config.window)
        });
        // Since it is there without a break.
        let mut had_members = false;
        for sample in self.samples() {
            had_members = sample.groups.get(name).is_some_and(|group| {
                had_members
                    || group
                        .members
                        .as_ref()
                        .is_ok_and(|members| !members.is_empty())
            });
        }
        // One without members that still moves assigns itself partitions.
        let abandoned = members == Some(0) && (had_members || !moved);
        let partitions = facts.committed.iter().map(|(place, _)| {
            let lag = self.partition(sample, name, facts, &place, abandoned, moved, now);
            (place, lag)
        });
        summary(sample, facts, &self.config, partitions.collect(), now)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a model keeps nothing between its steps"
    )]
    fn partition(
        &self,
        sample: &Sample,
        name: &Arc<str>,
        facts: &GroupFacts,
        place: &TopicPartition,
        abandoned: bool,
        moved: bool,
        now: UnixNanos,
    ) -> PartitionLag {
        let members = facts.members.as_ref().ok();
        let member = members
            .and_then(|all| all.iter().find(|member| member.assignment.contains(place)))
            .map(|member| Arc::clone(&member.member_id));
        let readings = self.readings(name, place);
        let read = sample.partitions.get(place);
        let commit = facts.committed.get(place).unwrap();
        let nothing = PartitionLag {
            committed: commit.as_ref().ok().copied().flatten(),
            log_start: read.and_then(|read| read.log_start.clone().ok()),
            end: read.and_then(|read| read.end.clone().ok()),
            last_stable: read.and_then(|read| read.last_stable.clone().ok()),
            member,
            moved_at: self.moved_at(&readings),
            read_at: read.map(|read| read.read_at),
            ..PartitionLag::unknown(Why::NoCommit, now)
        };
        match (&commit, read) {
            (Ok(Some(committed)), Some(read)) if read.end.is_ok() => self.known(
                Known {
                    sample,
                    name,
                    place,
                    committed: *committed,
                    end: *read.end.as_ref().unwrap(),
                    read,
                    race: read.read_at < facts.read_at,
                    readings: &readings,
                    now,
                },
                abandoned,
                moved,
                nothing,
            ),
            // Without a commit, an empty log holds nothing to read wherever the group will start.
            (Ok(None), Some(read)) if read.end.is_ok() && read.end == read.log_start => {
                PartitionLag {
                    state: State::Ok,
                    lag_messages: Some(0),
                    ..nothing
                }
            }
            (Ok(None), _) => PartitionLag {
                state: State::NoCommit,
                ..nothing
            },
            _ => nothing,
        }
    }

    fn known(
        &self,
        known: Known<'_>,
        abandoned: bool,
        moved: bool,
        nothing: PartitionLag,
    ) -> PartitionLag {
        let Known {
            committed,
            end,
            readings,
            now,
            ..
        } = known;
        let (window, last) = (self.config.window, readings.last().unwrap());
        let within = |reading: &&Reading| since(last.at, reading.at) <= window;
        let lost = readings
            .iter()
            .rfind(|reading| within(reading) && reading.lost > 0);
        let back = readings
            .windows(2)
            .rfind(|pair| pair[1].committed < pair[0].committed && within(&&pair[1]));
        let rewound = back.map(|pair| Rewound {
            at: pair[1].at,
            messages: distance(pair[1].committed, pair[0].committed),
        });

        let topic = known.sample.topics.get(&known.place.topic);
        let compacted = topic.and_then(|topic| topic.compacted) == Some(true);
        let position = committed.max(*known.read.log_start.as_ref().unwrap_or(&0));
        let beyond_end = committed > end && !known.race;
        // Of bounded reads counts the last that found nothing, where it looked at this offset.
        let empty_to = self.reads(&known, false).filter(|(at, _)| *at == committed);
        let empty_to = empty_to
            .map(|(_, upto)| upto)
            .filter(|upto| *upto > committed);
        let nothing_readable = empty_to.is_some_and(|upto| upto >= end);
        let waiting = self
            .reads(&known, true)
            .is_some_and(|(at, _)| at == committed);

        let stable = known
            .read
            .last_stable
            .as_ref()
            .ok()
            .map(|stable| (*stable).min(end));
        let open = stable.filter(|stable| *stable < end && committed <= *stable);
        let (lag_messages, open_transaction) = match open {
            _ if beyond_end => (None, None),
            _ if nothing_readable => (Some(0), None),
            Some(stable) => {
                let reach = stable.max(position);
                let open = OpenTransaction {
                    messages: distance(reach, end),
                    since: self.stable_since(known.place),
                };
                (Some(distance(position, reach)), Some(open))
            }
            None => (Some(distance(position, end)), None),
        };
        let shown_empty = empty_to.map_or(0, |upto| distance(committed, upto));
        let lag_messages = lag_messages.map(|lag| lag.saturating_sub(shown_empty));

        let log = self.log(known.place);
        let time_lag = match lag_messages {
            Some(0) => Some(TimeLag {
                duration: Duration::ZERO,
                bound: Bound::Exact,
            }),
            Some(_) => self.age(&log.ends, empty_to.unwrap_or(position).max(position), now),
            None => None,
        };

        let stretch = self.stretch(readings);
        let rates = rates(stretch);
        let of_log = || end_rate(&log.ends, window);
        let in_per_s = rates
            .map(|(appended, _)| appended)
            .or_else(|| of_log().map(|(rate, _)| rate));
        let rate_from = match rates {
            Some(_) => Some(stretch[0].at),
            None => of_log().map(|(_, from)| from),
        };
        let drain = match (lag_messages, rates) {
            (Some(0), _) => Some(Duration::ZERO),
            (Some(lag), Some((appended, read))) if read > appended => {
                let seconds = lag as f64 / (read - appended);
                (seconds < 365.0 * 86_400.0).then(|| Duration::from_secs_f64(seconds))
            }
            _ => None,
        };
        let retention = topic.and_then(|topic| topic.retention_ms);
        let retention = retention.and_then(|ms| u64::try_from(ms).ok());
        let retention_left = match (lag_messages, retention, time_lag) {
            (Some(1..), Some(ms), Some(age)) if !compacted => {
                Some(Duration::from_millis(ms).saturating_sub(age.duration))
            }
            _ => None,
        };

        let run = self.run(readings);
        let moved_last = run
            .windows(2)
            .rposition(|pair| pair[0].committed != pair[1].committed);
        // Who owes nothing does not stand still: it begins with the last reading at which nothing waited.
        let rested = self.rested(&known);
        let rested = run
            .iter()
            .rposition(|reading| Some(reading.at) == rested)
            .unwrap_or(0);
        let still = &run[moved_last.map_or(0, |moved| moved + 1).max(rested)..];
        // Only of the log that is: records of one that is gone tell nothing of this one.
        let ends = still.iter().filter(|reading| reading.log == last.log);
        let end_moved = ends.map(|reading| reading.end).min().unwrap() < end;
        let stuck = since(now, still[0].at) >= window && (end_moved || waiting);
        let state = if lost.is_some() {
            State::DataLoss
        } else if beyond_end {
            State::BeyondEnd
        } else if lag_messages.unwrap() <= self.config.allowed_lag {
            State::Ok
        } else if abandoned || (stuck && !moved) {
            State::Stopped
        } else if stuck {
            State::Stalled
        } else if falls_behind(stretch, window) {
            State::FallingBehind
        } else if rewound.is_some() {
            State::Rewound
        } else {
            State::Ok
        };
        PartitionLag {
            state,
            lag_messages,
            lag_is_upper_bound: compacted && lag_messages.is_some_and(|lag| lag > 0),
            lag_by_tools: Some(end - committed),
            lost_messages: lost.map(|reading| reading.lost),
            open_transaction,
            nothing_readable,
            // Every timestamp of these histories is right.
            clock_suspect: None,
            time_lag,
            in_per_s,
            out_per_s: rates.map(|(_, read)| read),
            rate_from,
            drain,
            retention_left,
            rewound,
            ..nothing
        }
    }

    /// When the partition was last read with nothing to read for the group.
    fn rested(&self, known: &Known<'_>) -> Option<UnixNanos> {
        self.said.iter().rev().find_map(|(_, said)| {
            let lag = said.get(known.name)?.partitions.get(known.place)?;
            lag.read_at.filter(|_| lag.lag_messages == Some(0))
        })
    }

    /// The last bounded read with that answer, as far as it is of the log that is: where it looked, and up to where.
    fn reads(&self, known: &Known<'_>, wanted: bool) -> Option<(i64, i64)> {
        let (mut found, mut before) = (None, None::<(usize, i64)>);
        let mut log = LogSeen::default();
        for seen in &self.seen {
            self.log_seen(&mut log, seen, known.place);
            match seen {
                Seen::Read {
                    group,
                    place,
                    committed,
                    readable,
                    end,
                } if group == known.name && place == known.place && *readable == wanted => {
                    found = Some((*committed, *end));
                }
                Seen::Sample(sample) => {
                    let group = sample.groups.get(known.name);
                    let let_go = group.is_none_or(|group| {
                        group.error.is_none() && !group.committed.contains(known.place)
                    });
                    if let_go {
                        (found, before) = (None, None);
                    }
                    let both_known = group.is_some_and(|group| {
                        matches!(group.committed.get(known.place), Some(Ok(Some(_))))
                    });
                    let read = sample.partitions.get(known.place);
                    if let Some(Ok(end)) = read.map(|read| &read.end)
                        && both_known
                    {
                        // Cut or made anew: what was found was of other records.
                        if before.is_some_and(|before| before.0 != log.number || before.1 > *end) {
                            found = None;
                        }
                        before = Some((log.number, *end));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Since when the last stable offset is said to stand where it stands.
    fn stable_since(&self, place: &TopicPartition) -> UnixNanos {
        let (mut since, mut stands) = (UnixNanos(0), None);
        for sample in self.samples() {
            if !sample.topics.contains_key(&place.topic) {
                stands = None;
            }
            if let Some(read) = sample.partitions.get(place) {
                let stable = read.last_stable.as_ref().ok().copied();
                if stands != stable {
                    (since, stands) = (read.read_at, stable);
                }
            }
        }
        since
    }

    /// How long ago the record at `offset` was appended: when the end passed it.
    fn age(&self, ends: &[(UnixNanos, i64)], offset: i64, now: UnixNanos) -> Option<TimeLag> {
        let lag = |at, bound| {
            Some(TimeLag {
                duration: since(now, at),
                bound,
            })
        };
        let after = ends.iter().position(|(_, end)| *end > offset)?;
        if after == 0 {
            // It is older than all that is known; one reading alone tells nothing.
            return (ends.len() > 1).then(|| lag(ends[0].0, Bound::AtLeast))?;
        }
        let ((from, low), (to, high)) = (ends[after - 1], ends[after]);
        let gap = since(to, from);
        if gap > self.config.exact_gap && gap > since(now, from) / 5 {
            return lag(from, Bound::AtMost);
        }
        let share = (offset - low) as f64 / (high - low) as f64;
        lag(from + gap.mul_f64(share), Bound::Exact)
    }
}

/// A partition of a group of which all offsets are known.
struct Known<'a> {
    sample: &'a Sample,
    name: &'a Arc<str>,
    place: &'a TopicPartition,
    committed: i64,
    end: i64,
    read: &'a PartitionOffsets,
    race: bool,
    readings: &'a [Reading],
    now: UnixNanos,
}

/// Appended and committed a second from the first to the last.
fn rates(stretch: &[Reading]) -> Option<(f64, f64)> {
    let (first, last) = (stretch.first()?, stretch.last()?);
    let span = since(last.at, first.at).as_secs_f64();
    let a_second = |from: i64, to: i64| (to - from) as f64 / span;
    (span > 0.0).then(|| {
        (
            a_second(first.end, last.end),
            a_second(first.committed, last.committed),
        )
    })
}

/// Appended a second over the window before the last reading of the end (or less, where less is known), and from when.
fn end_rate(ends: &[(UnixNanos, i64)], window: Duration) -> Option<(f64, UnixNanos)> {
    let (&first, &last) = (ends.first()?, ends.last()?);
    let from = first.0.max(last.0 - window);
    let after = ends.iter().position(|(at, _)| *at > from)?;
    let ((a, low), (b, high)) = (ends[after - 1], ends[after]);
    let share = since(from, a).as_secs_f64() / since(b, a).as_secs_f64();
    let at_from = low as f64 + share * (high - low) as f64;
    Some((
        (last.1 as f64 - at_from) / since(last.0, from).as_secs_f64(),
        from,
    ))
}

/// The lag never fell by more than five seconds' records, rose more than once, and each third of it is higher than the
/// one before; told after a fifth of the window.
fn falls_behind(stretch: &[Reading], window: Duration) -> bool {
    let Some((appended, _)) = rates(stretch) else {
        return false;
    };
    let span = since(stretch[stretch.len() - 1].at, stretch[0].at);
    if stretch.len() < 4 || span < window / 5 {
        return false;
    }
    let swing = appended * 5.0;
    let lags: Vec<i64> = stretch.iter().map(Reading::lag).collect();
    let fell = (0..lags.len())
        .any(|late| (0..late).any(|early| ((lags[early] - lags[late]) as f64) > swing));
    let mean = |part: &[i64]| part.iter().sum::<i64>() as f64 / part.len() as f64;
    let third = lags.len() / 3;
    let (early, rest) = lags.split_at(third);
    let (middle, late) = rest.split_at(rest.len() - third);
    let (early, middle, late) = (mean(early), mean(middle), mean(late));
    let rises = lags.windows(2).filter(|pair| pair[0] < pair[1]).count();
    !fell && rises > 1 && early < middle && middle < late && late - early > swing
}

/// Offsets as they were read last, and nothing of now.
fn unknown(last: &PartitionLag) -> PartitionLag {
    let last = last.clone();
    PartitionLag {
        committed: last.committed,
        log_start: last.log_start,
        end: last.end,
        last_stable: last.last_stable,
        member: last.member,
        moved_at: last.moved_at,
        read_at: last.read_at,
        ..PartitionLag::unknown(Why::NoCommit, last.state_since)
    }
}

fn total<T: std::iter::Sum<T>>(values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let mut known = values.flatten().peekable();
    known.peek().is_some().then_some(())?;
    Some(known.sum())
}

fn summary(
    sample: &Sample,
    facts: &GroupFacts,
    config: &Config,
    partitions: BTreeMap<TopicPartition, PartitionLag>,
    now: UnixNanos,
) -> Opened {
    let all = || partitions.values();
    let topics = partitions.keys().map(|key| Arc::clone(&key.topic));
    let topics: BTreeSet<Arc<str>> = topics.collect();
    let facts_of = || topics.iter().filter_map(|topic| sample.topics.get(topic));
    let worst = all().map(|lag| lag.state).min().unwrap_or(State::Ok);
    // Caught up when the last one is; never while one of them never is.
    let waits = all().filter(|lag| lag.lag_messages != Some(0));
    let caught_up = waits.map(|lag| lag.drain).reduce(|a, b| Some(a?.max(b?)));
    let nothing_read = partitions.is_empty() || facts.error.is_some();
    let group = GroupLag {
        state: if facts.error.is_some() {
            State::Unknown
        } else {
            worst
        },
        reason: String::new(),
        state_since: now,
        mark: config.mark,
        lag_messages: total(all().map(|lag| lag.lag_messages)),
        lag_by_tools: total(all().map(|lag| lag.lag_by_tools)),
        time_lag: all()
            .filter_map(|lag| lag.time_lag)
            .max_by_key(|age| (age.duration, age.bound == Bound::Exact)),
        in_per_s: total(all().map(|lag| lag.in_per_s)),
        out_per_s: total(all().map(|lag| lag.out_per_s)),
        rate_from: all().filter_map(|lag| lag.rate_from).min(),
        drain: if nothing_read {
            None
        } else {
            caught_up.unwrap_or(Some(Duration::ZERO))
        },
        retention_left: all().filter_map(|lag| lag.retention_left).min(),
        retention_ms: {
            let known: Vec<i64> = facts_of().filter_map(|topic| topic.retention_ms).collect();
            let limited = known.iter().copied().filter(|ms| *ms >= 0).min();
            limited.or(known.first().copied())
        },
        read_at: facts.error.is_none().then_some(facts.read_at),
        moved_at: all().filter_map(|lag| lag.moved_at).max(),
        partitions_read: all().filter(|lag| lag.lag_by_tools.is_some()).count() as u32,
        partitions_total: match () {
            () if facts.error.is_some() => None,
            () if topics.is_empty() => Some(0),
            () => total(facts_of().map(|topic| Some(topic.partitions))),
        },
        members: facts
            .members
            .as_ref()
            .ok()
            .map(|members| members.len() as u32),
        broker_state: facts.broker_state.as_ref().ok().cloned(),
        kind: Arc::clone(&facts.kind),
        topics: topics.into_iter().collect(),
        partitions: Partitions::default(),
    };
    Opened { group, partitions }
}
