//! The partitions of a group as they were judged, in few bytes each.
//!
//! A hundred thousand partitions of groups are judged at every sample, and few are looked at before the next. As
//! structures with their sentences they took 490 bytes each, twice while the sample before was still being written to
//! history; here they take some 70, and are opened a group at a time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

use crate::types::{
    Bound, OpenTransaction, PartitionLag, Rewound, Seen, Skew, State, TimeLag, Why,
};
use crate::varint::{Numbers, write, zigzag};

/// The partitions of a group, by topic and number.
#[derive(Clone, PartialEq, Default)]
pub struct Partitions {
    /// Instants are written as differences to this one.
    base: UnixNanos,
    /// Each topic, and how many partitions of it follow.
    topics: Box<[(Arc<str>, usize)]>,
    /// Members, and reasons why something is unknown: each once.
    texts: Box<[Arc<str>]>,
    bytes: Box<[u8]>,
}

impl Partitions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.iter().map(|(_, partitions)| partitions).sum()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Each in order, read as it is reached.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, PartitionLag)> {
        let mut reader = Reader {
            base: self.base,
            texts: &self.texts,
            bytes: Numbers(&self.bytes),
            there: 0,
        };
        let topics = self.topics.iter();
        let places = topics.flat_map(|(topic, partitions)| std::iter::repeat_n(topic, *partitions));
        places.map(move |topic| {
            let (partition, lag) = reader.partition();
            let topic = Arc::clone(topic);
            (TopicPartition { topic, partition }, lag)
        })
    }

    /// What is said of each, in order.
    pub fn values(&self) -> impl Iterator<Item = PartitionLag> {
        self.iter().map(|(_, lag)| lag)
    }

    /// All of them, to be looked at more than once.
    #[must_use]
    pub fn open(&self) -> BTreeMap<TopicPartition, PartitionLag> {
        self.iter().collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, place: &TopicPartition) -> Option<PartitionLag> {
        self.iter()
            .find_map(|(other, lag)| (other == *place).then_some(lag))
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<BTreeMap<TopicPartition, PartitionLag>> for Partitions {
    fn from(partitions: BTreeMap<TopicPartition, PartitionLag>) -> Self {
        let base = partitions.values().next().map_or(UnixNanos(0), |lag| {
            lag.seen().map_or(lag.state_since, |seen| seen.at)
        });
        let mut writer = Writer {
            base,
            texts: Vec::new(),
            numbers: HashMap::new(),
            bytes: Vec::with_capacity(80 * partitions.len()),
            one: Vec::new(),
            there: 0,
            options: 0,
        };
        let mut topics: Vec<(Arc<str>, usize)> = Vec::new();
        for (place, lag) in &partitions {
            match topics.last_mut() {
                Some((topic, partitions)) if *topic == place.topic => *partitions += 1,
                _ => topics.push((Arc::clone(&place.topic), 1)),
            }
            writer.partition(place.partition, lag);
        }
        Self {
            base,
            topics: topics.into(),
            texts: writer.texts.into(),
            bytes: writer.bytes.into(),
        }
    }
}

/// One after the other: which of its options are there, a bit each; then its numbers, each in as few bytes as it takes.
/// [`Reader`] takes the same in the same order.
struct Writer {
    base: UnixNanos,
    texts: Vec<Arc<str>>,
    /// The place of each among the texts.
    numbers: HashMap<Arc<str>, usize>,
    bytes: Vec<u8>,
    /// The partition that is being written.
    one: Vec<u8>,
    there: u64,
    options: u32,
}

impl Writer {
    fn partition(&mut self, partition: i32, lag: &PartitionLag) {
        (self.there, self.options) = (0, 0);
        self.one.clear();
        self.one.push(lag.state as u8);
        self.signed(partition.into());
        self.instant(lag.state_since);
        // Offsets of a partition are near each other, and so are the ways to count between them.
        let start = lag.log_start.unwrap_or(0);
        let committed = lag.committed.unwrap_or(0);
        let end = lag.end.unwrap_or(0);
        let behind = end.wrapping_sub(committed);
        self.option(lag.log_start, Self::signed);
        self.option(lag.committed, |writer, committed| {
            writer.signed(committed.wrapping_sub(start));
        });
        self.option(lag.end, |writer, _| writer.signed(behind));
        self.option(lag.last_stable, |writer, stable| {
            writer.signed(end.wrapping_sub(stable));
        });
        self.option(lag.lag_by_tools, |writer, lag| {
            writer.signed(behind.wrapping_sub(lag));
        });
        self.option(lag.lag_messages, |writer, lag| {
            writer.signed(behind.wrapping_sub(lag.cast_signed()));
        });
        self.option(lag.lost_messages, Self::number);
        self.option(lag.open_transaction, |writer, open| {
            writer.number(open.messages);
            writer.instant(open.since);
        });
        self.option(lag.time_lag, |writer, time| {
            writer.one.push(time.bound as u8);
            writer.duration(time.duration);
        });
        self.option(lag.in_per_s, Self::float);
        self.option(lag.out_per_s, Self::float);
        self.option(lag.rate_from, Self::instant);
        self.option(lag.drain, Self::duration);
        self.option(lag.retention_left, Self::duration);
        self.option(lag.moved_at, Self::instant);
        self.option(lag.rewound, |writer, rewound| {
            writer.number(rewound.messages);
            writer.instant(rewound.at);
        });
        self.option(lag.read_at, Self::instant);
        self.option(lag.member.as_ref(), Self::text);
        self.bit(lag.lag_is_upper_bound);
        self.bit(lag.nothing_readable);
        self.option(lag.clock_suspect, |writer, skew| {
            writer.one.push(skew as u8);
        });
        self.option(lag.seen(), |writer, seen| {
            writer.instant(seen.at);
            writer.instant(seen.still_since);
            writer.bit(seen.abandoned);
            writer.bit(seen.end_moved_on);
            writer.bit(seen.drains);
            writer.option(seen.retention_ms, Self::signed);
        });
        match &lag.why {
            Why::Offsets(_) => {}
            Why::NoCommit => self.one.push(0),
            Why::Empty => self.one.push(1),
            Why::Unknown(why) => {
                self.one.push(2);
                self.text(why);
            }
            Why::GroupUnknown(why) => {
                self.one.push(3);
                self.text(why);
            }
        }
        write(&mut self.bytes, self.there);
        self.bytes.extend_from_slice(&self.one);
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bit(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn bit(&mut self, bit: bool) {
        self.there |= u64::from(bit) << self.options;
        self.options += 1;
    }

    fn number(&mut self, number: u64) {
        write(&mut self.one, number);
    }

    fn signed(&mut self, number: i64) {
        self.number(zigzag(number));
    }

    fn instant(&mut self, at: UnixNanos) {
        self.signed(self.base.0.wrapping_sub(at.0).cast_signed());
    }

    fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(duration.subsec_nanos().into());
    }

    /// The low bits of most rates are 0: they come first.
    fn float(&mut self, number: f64) {
        self.number(number.to_bits().swap_bytes());
    }

    fn text(&mut self, text: &Arc<str>) {
        let next = self.texts.len();
        let index = *self.numbers.entry(Arc::clone(text)).or_insert(next);
        if index == next {
            self.texts.push(Arc::clone(text));
        }
        self.number(index as u64);
    }
}

/// Reads what a [`Writer`] wrote.
struct Reader<'a> {
    base: UnixNanos,
    texts: &'a [Arc<str>],
    bytes: Numbers<'a>,
    there: u64,
}

impl Reader<'_> {
    fn partition(&mut self) -> (i32, PartitionLag) {
        self.there = self.number();
        let state = State::from_code(self.byte()).unwrap_or(State::Unknown);
        let partition = self.signed() as i32;
        let state_since = self.instant();
        let log_start = self.option(Self::signed);
        let start = log_start.unwrap_or(0);
        let committed = self.option(|reader| reader.signed().wrapping_add(start));
        let from = committed.unwrap_or(0);
        let end = self.option(|reader| reader.signed().wrapping_add(from));
        let end_or_0 = end.unwrap_or(0);
        let behind = end_or_0.wrapping_sub(from);
        let mut lag = PartitionLag {
            state,
            why: Why::NoCommit,
            state_since,
            committed,
            log_start,
            end,
            last_stable: self.option(|reader| end_or_0.wrapping_sub(reader.signed())),
            lag_by_tools: self.option(|reader| behind.wrapping_sub(reader.signed())),
            lag_messages: self
                .option(|reader| behind.wrapping_sub(reader.signed()).cast_unsigned()),
            lost_messages: self.option(Self::number),
            open_transaction: self.option(|reader| OpenTransaction {
                messages: reader.number(),
                since: reader.instant(),
            }),
            time_lag: self.option(|reader| TimeLag {
                bound: match reader.byte() {
                    0 => Bound::Exact,
                    1 => Bound::AtLeast,
                    _ => Bound::AtMost,
                },
                duration: reader.duration(),
            }),
            in_per_s: self.option(Self::float),
            out_per_s: self.option(Self::float),
            rate_from: self.option(Self::instant),
            drain: self.option(Self::duration),
            retention_left: self.option(Self::duration),
            moved_at: self.option(Self::instant),
            rewound: self.option(|reader| Rewound {
                messages: reader.number(),
                at: reader.instant(),
            }),
            read_at: self.option(Self::instant),
            member: self.option(Self::text),
            lag_is_upper_bound: self.bit(),
            nothing_readable: self.bit(),
            clock_suspect: self.option(|reader| match reader.byte() {
                0 => Skew::Ahead,
                _ => Skew::Behind,
            }),
        };
        let seen = self.option(|reader| Seen {
            at: reader.instant(),
            still_since: reader.instant(),
            abandoned: reader.bit(),
            end_moved_on: reader.bit(),
            drains: reader.bit(),
            retention_ms: reader.option(Self::signed),
        });
        lag.why = match seen {
            Some(seen) => Why::Offsets(seen),
            None => match self.byte() {
                0 => Why::NoCommit,
                1 => Why::Empty,
                2 => Why::Unknown(self.text()),
                _ => Why::GroupUnknown(self.text()),
            },
        };
        (partition, lag)
    }

    fn option<T>(&mut self, get: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bit().then(|| get(self))
    }

    fn bit(&mut self) -> bool {
        let bit = self.there & 1 == 1;
        self.there >>= 1;
        bit
    }

    fn byte(&mut self) -> u8 {
        self.bytes.byte()
    }

    fn number(&mut self) -> u64 {
        self.bytes.number()
    }

    fn signed(&mut self) -> i64 {
        self.bytes.signed()
    }

    fn instant(&mut self) -> UnixNanos {
        UnixNanos(self.base.0.wrapping_sub(self.signed().cast_unsigned()))
    }

    fn duration(&mut self) -> Duration {
        let seconds = self.number();
        Duration::new(seconds, self.number() as u32)
    }

    fn float(&mut self) -> f64 {
        f64::from_bits(self.number().swap_bytes())
    }

    fn text(&mut self) -> Arc<str> {
        let index = self.number() as usize;
        self.texts.get(index).map_or_else(|| "".into(), Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::by_place;

    use super::*;

    fn instant() -> impl Strategy<Value = UnixNanos> {
        prop_oneof![
            Just(0),
            any::<u64>(),
            1_700_000_000_000_000_000..1_700_001_000_000_000_000_u64
        ]
        .prop_map(UnixNanos)
    }

    fn duration() -> impl Strategy<Value = Duration> {
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns))
    }

    fn offset() -> impl Strategy<Value = Option<i64>> {
        prop::option::of(prop_oneof![any::<i64>(), 0..1_000_000_i64])
    }

    fn text() -> impl Strategy<Value = Arc<str>> {
        "[a-c]{0,2}".prop_map(Arc::from)
    }

    fn why() -> impl Strategy<Value = Why> {
        let seen = (
            instant(),
            instant(),
            any::<[bool; 3]>(),
            prop::option::of(any::<i64>()),
        )
            .prop_map(|(at, still_since, flags, retention_ms)| Seen {
                at,
                still_since,
                abandoned: flags[0],
                end_moved_on: flags[1],
                drains: flags[2],
                retention_ms,
            });
        prop_oneof![
            seen.prop_map(Why::Offsets),
            Just(Why::NoCommit),
            Just(Why::Empty),
            text().prop_map(Why::Unknown),
            text().prop_map(Why::GroupUnknown),
        ]
    }

    fn numbers() -> impl Strategy<Value = PartitionLag> {
        let rate = || prop::option::of(0.0..1e9_f64);
        (
            prop::option::of(any::<u64>()),
            offset(),
            prop::option::of(any::<u64>()),
            prop::option::of((any::<u64>(), instant())),
            prop::option::of((
                duration(),
                prop::sample::select(vec![Bound::Exact, Bound::AtLeast, Bound::AtMost]),
            )),
            (rate(), rate(), prop::option::of(instant())),
            (prop::option::of(duration()), prop::option::of(duration())),
            prop::option::of(instant()),
            prop::option::of((any::<u64>(), instant())),
            any::<[bool; 2]>(),
        )
            .prop_map(
                |(lag, tools, lost, open, time, rates, left, moved_at, rewound, flags)| {
                    PartitionLag {
                        lag_messages: lag,
                        lag_by_tools: tools,
                        lost_messages: lost,
                        open_transaction: open
                            .map(|(messages, since)| OpenTransaction { messages, since }),
                        time_lag: time.map(|(duration, bound)| TimeLag { duration, bound }),
                        in_per_s: rates.0,
                        out_per_s: rates.1,
                        rate_from: rates.2,
                        drain: left.0,
                        retention_left: left.1,
                        moved_at,
                        rewound: rewound.map(|(messages, at)| Rewound { at, messages }),
                        lag_is_upper_bound: flags[0],
                        nothing_readable: flags[1],
                        ..PartitionLag::unknown(Why::NoCommit, UnixNanos(0))
                    }
                },
            )
    }

    fn partition() -> impl Strategy<Value = PartitionLag> {
        (
            prop::sample::select(State::ALL.to_vec()),
            why(),
            instant(),
            (offset(), offset(), offset(), offset()),
            prop::option::of(text()),
            prop::option::of(instant()),
            prop::option::of(prop::sample::select(vec![Skew::Ahead, Skew::Behind])),
            numbers(),
        )
            .prop_map(
                |(state, why, state_since, offsets, member, read_at, clock, numbers)| {
                    PartitionLag {
                        state,
                        why,
                        state_since,
                        log_start: offsets.0,
                        committed: offsets.1,
                        end: offsets.2,
                        last_stable: offsets.3,
                        member,
                        read_at,
                        clock_suspect: clock,
                        ..numbers
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_was_judged_is_what_is_read(
            judged in by_place(partition(), 6),
        ) {
            let packed = Partitions::from(judged.clone());
            prop_assert_eq!(packed.len(), judged.len());
            prop_assert_eq!(packed.is_empty(), judged.is_empty());
            for (place, lag) in &judged {
                let found = packed.get(place);
                prop_assert_eq!(found.as_ref(), Some(lag));
            }
            prop_assert_eq!(packed.open(), judged);
        }
    }
}
