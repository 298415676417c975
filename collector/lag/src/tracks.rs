//! The windows of a group's partitions, in few bytes each.
//!
//! A hundred thousand partitions of groups keep a window each, and all are looked at once a sample. As structures in a map
//! they take 250 bytes and more. Yet the partitions of a group are read at the same times, most of them do what their
//! neighbour does, and many do nothing at all: written as what differs from the neighbour, a partition where nothing
//! moves takes a dozen bytes however long its window is. They are opened a group at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_model::UnixNanos;
use highwater_model::broker::TopicPartition;

use crate::points::{Point, Points};
use crate::track::{Found, Rewind, Track};
use crate::types::State;
use crate::varint::{Numbers, write, zigzag};

/// The steps from point to point are those of the partition before.
const SAME_STEPS: u8 = 1;
/// The steps are others, at the same times.
const SAME_TIMES: u8 = 1 << 1;
/// Options that are there.
const MOVED: u8 = 1 << 2;
const FOUND: u8 = 1 << 3;
const STATE: u8 = 1 << 4;
/// What was found.
const REWIND: u8 = 1;
const LOST: u8 = 1 << 1;
const EMPTY: u8 = 1 << 2;
const READABLE: u8 = 1 << 3;

/// The windows of a group's partitions, by topic and number.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Tracks {
    /// Each topic, and how many partitions of it follow.
    topics: Box<[(Arc<str>, usize)]>,
    bytes: Box<[u8]>,
}

impl Tracks {
    /// All of them, to be looked at and changed.
    pub(crate) fn open(&self) -> BTreeMap<TopicPartition, Track> {
        let mut reader = Reader {
            bytes: Numbers(&self.bytes),
            before: Neighbour::default(),
            times: Vec::new(),
        };
        let topics = self.topics.iter();
        let places = topics.flat_map(|(topic, partitions)| std::iter::repeat_n(topic, *partitions));
        places
            .map(|topic| {
                let (partition, track) = reader.track();
                let topic = Arc::clone(topic);
                (TopicPartition { topic, partition }, track)
            })
            .collect()
    }
}

impl From<BTreeMap<TopicPartition, Track>> for Tracks {
    fn from(tracks: BTreeMap<TopicPartition, Track>) -> Self {
        let mut topics: Vec<(Arc<str>, usize)> = Vec::new();
        let mut writer = Writer {
            bytes: Vec::with_capacity(16 * tracks.len()),
            before: Neighbour::default(),
            times: Vec::new(),
            own_times: Vec::new(),
        };
        for (place, track) in tracks {
            match topics.last_mut() {
                Some((topic, partitions)) if *topic == place.topic => *partitions += 1,
                _ => topics.push((place.topic, 1)),
            }
            writer.track(place.partition, track);
        }
        Self {
            topics: topics.into(),
            bytes: writer.bytes.into(),
        }
    }
}

/// What the partition before was: numbers are written as the difference to its own.
struct Neighbour {
    partition: i32,
    points: Points,
    still_since: UnixNanos,
    /// Of the last one that has them.
    moved_at: UnixNanos,
    state_since: UnixNanos,
}

impl Default for Neighbour {
    fn default() -> Self {
        Self {
            partition: 0,
            points: Points::new(Point {
                at: UnixNanos(0),
                committed: 0,
                end: 0,
            }),
            still_since: UnixNanos(0),
            moved_at: UnixNanos(0),
            state_since: UnixNanos(0),
        }
    }
}

/// One after the other. [`Reader`] takes the same in the same order.
struct Writer {
    bytes: Vec<u8>,
    before: Neighbour,
    /// From each point of the partition before to the next.
    times: Vec<u64>,
    /// Of the partition that is being written.
    own_times: Vec<u64>,
}

impl Writer {
    fn track(&mut self, partition: i32, track: Track) {
        let found = track.found();
        let same_steps = track.points.same_steps(&self.before.points);
        let same_times = same_steps || self.same_times(&track.points);
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        self.bytes.push(
            flag(same_steps, SAME_STEPS)
                | flag(same_times, SAME_TIMES)
                | flag(track.moved_at.is_some(), MOVED)
                | flag(found != Found::default(), FOUND)
                | flag(track.state.is_some(), STATE),
        );
        let (first, last) = (track.points.first(), track.points.last());
        let before = self.before.points.first();
        self.signed(i64::from(partition) - i64::from(self.before.partition));
        self.instant(first.at, before.at);
        self.signed(first.committed.wrapping_sub(before.committed));
        self.signed(first.end.wrapping_sub(first.committed));
        if !same_times {
            self.number(self.own_times.len() as u64);
            for &time in &self.own_times {
                write(&mut self.bytes, time);
            }
            std::mem::swap(&mut self.times, &mut self.own_times);
        }
        if !same_steps {
            self.moves(&track.points);
        }
        self.instant(track.still_since, self.before.still_since);
        self.signed(track.end_when_still.wrapping_sub(last.end));
        if let Some(moved_at) = track.moved_at {
            self.instant(moved_at, self.before.moved_at);
            self.before.moved_at = moved_at;
        }
        if let Some((state, since)) = track.state {
            self.bytes.push(state as u8);
            self.instant(since, self.before.state_since);
            self.before.state_since = since;
        }
        if found != Found::default() {
            self.found(found, last);
        }
        self.before.partition = partition;
        self.before.still_since = track.still_since;
        self.before.points = track.points;
    }

    /// The points are at the times of those of the partition before. Notes their own.
    fn same_times(&mut self, points: &Points) -> bool {
        self.own_times.clear();
        let mut before = points.first().at;
        self.own_times.extend(points.iter().skip(1).map(|point| {
            let time = point.at.0.wrapping_sub(before.0);
            before = point.at;
            time
        }));
        self.own_times == self.times
    }

    /// How often nothing moved, then what moved, and so on.
    fn moves(&mut self, points: &Points) {
        let (mut before, mut still) = (points.first(), 0);
        for point in points.iter().skip(1) {
            let committed = point.committed.wrapping_sub(before.committed);
            let end = point.end.wrapping_sub(before.end);
            before = point;
            if (committed, end) == (0, 0) {
                still += 1;
                continue;
            }
            self.number(still);
            self.signed(committed);
            self.signed(end);
            still = 0;
        }
        if still > 0 {
            self.number(still);
        }
    }

    fn found(&mut self, found: Found, last: Point) {
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        self.bytes.push(
            flag(found.rewind.is_some(), REWIND)
                | flag(found.lost.is_some(), LOST)
                | flag(found.empty.is_some(), EMPTY)
                | flag(found.readable_at.is_some(), READABLE),
        );
        if let Some(rewind) = found.rewind {
            self.instant(rewind.at, last.at);
            self.number(rewind.by);
        }
        if let Some((at, messages)) = found.lost {
            self.instant(at, last.at);
            self.number(messages);
        }
        if let Some((committed, end)) = found.empty {
            self.signed(committed.wrapping_sub(last.committed));
            self.signed(end.wrapping_sub(last.end));
        }
        if let Some(readable_at) = found.readable_at {
            self.signed(readable_at.wrapping_sub(last.committed));
        }
    }

    fn number(&mut self, number: u64) {
        write(&mut self.bytes, number);
    }

    fn signed(&mut self, number: i64) {
        self.number(zigzag(number));
    }

    fn instant(&mut self, at: UnixNanos, before: UnixNanos) {
        self.signed(at.0.wrapping_sub(before.0).cast_signed());
    }
}

/// Reads what a [`Writer`] wrote.
struct Reader<'a> {
    bytes: Numbers<'a>,
    before: Neighbour,
    /// From each point of the partition before to the next.
    times: Vec<u64>,
}

impl Reader<'_> {
    fn track(&mut self) -> (i32, Track) {
        let flags = self.byte();
        let there = |flag: u8| flags & flag != 0;
        let before = self.before.points.first();
        let partition = i64::from(self.before.partition).wrapping_add(self.signed()) as i32;
        let at = self.instant(before.at);
        let committed = before.committed.wrapping_add(self.signed());
        let end = committed.wrapping_add(self.signed());
        let first = Point { at, committed, end };
        if !there(SAME_TIMES) {
            // A time takes a byte at least.
            let times = (self.number() as usize).min(self.bytes.0.len());
            self.times.clear();
            for _ in 0..times {
                let time = self.number();
                self.times.push(time);
            }
        }
        let points = if there(SAME_STEPS) {
            self.before.points.stepping_from(first)
        } else {
            self.points(first)
        };
        let last = points.last();
        let still_since = self.instant(self.before.still_since);
        let end_when_still = last.end.wrapping_add(self.signed());
        let moved_at = there(MOVED).then(|| {
            self.before.moved_at = self.instant(self.before.moved_at);
            self.before.moved_at
        });
        let state = there(STATE).then(|| {
            let state = State::from_code(self.byte()).unwrap_or(State::Unknown);
            self.before.state_since = self.instant(self.before.state_since);
            (state, self.before.state_since)
        });
        self.before.partition = partition;
        self.before.still_since = still_since;
        if there(SAME_STEPS) {
            self.before.points.start_at(first);
        } else {
            self.before.points = points.clone();
        }
        let mut track = Track::over(points);
        track.still_since = still_since;
        track.end_when_still = end_when_still;
        track.moved_at = moved_at;
        track.state = state;
        if there(FOUND) {
            let read = self.found(last);
            track.find(|found| *found = read);
        }
        (partition, track)
    }

    fn points(&mut self, first: Point) -> Points {
        let times = std::mem::take(&mut self.times);
        let (mut points, mut still) = (Points::new(first), 0);
        let mut moves = false;
        for &time in &times {
            if still == 0 && !moves {
                still = self.number();
                moves = true;
            }
            let last = points.last();
            let at = UnixNanos(last.at.0.wrapping_add(time));
            if still > 0 {
                still -= 1;
                points.push(Point { at, ..last });
                continue;
            }
            moves = false;
            points.push(Point {
                at,
                committed: last.committed.wrapping_add(self.signed()),
                end: last.end.wrapping_add(self.signed()),
            });
        }
        self.times = times;
        points
    }

    fn found(&mut self, last: Point) -> Found {
        let flags = self.byte();
        let there = |flag: u8| flags & flag != 0;
        Found {
            rewind: there(REWIND).then(|| Rewind {
                at: self.instant(last.at),
                by: self.number(),
            }),
            lost: there(LOST).then(|| (self.instant(last.at), self.number())),
            empty: there(EMPTY).then(|| {
                let committed = last.committed.wrapping_add(self.signed());
                (committed, last.end.wrapping_add(self.signed()))
            }),
            readable_at: there(READABLE).then(|| last.committed.wrapping_add(self.signed())),
        }
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

    fn instant(&mut self, before: UnixNanos) -> UnixNanos {
        UnixNanos(before.0.wrapping_add(self.signed().cast_unsigned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::testing::by_place;

    use super::*;

    fn instant() -> impl Strategy<Value = UnixNanos> {
        prop_oneof![
            any::<u64>(),
            1_700_000_000_000_000_000..1_700_001_000_000_000_000_u64
        ]
        .prop_map(UnixNanos)
    }

    fn offset() -> impl Strategy<Value = i64> {
        prop_oneof![Just(0), 0..1_000_000_i64, any::<i64>()]
    }

    /// At times that partitions share, or at some of their own.
    fn times() -> impl Strategy<Value = Vec<UnixNanos>> {
        let shared = |polls: u64| {
            (0..polls)
                .map(|poll| UnixNanos(15_000_000_123 * poll))
                .collect()
        };
        let own = prop::collection::btree_set(instant(), 1..8);
        prop_oneof![
            (1..12_u64).prop_map(shared),
            own.prop_map(|times| times.into_iter().collect())
        ]
    }

    fn points() -> impl Strategy<Value = Points> {
        let offsets = prop_oneof![(0..3_i64, 0..3_i64), (offset(), offset())];
        (times(), prop::collection::vec(offsets, 12)).prop_map(|(times, offsets)| {
            let mut points = times
                .into_iter()
                .zip(offsets)
                .map(|(at, (committed, end))| Point { at, committed, end });
            let mut packed = Points::new(points.next().unwrap());
            points.for_each(|point| packed.push(point));
            packed
        })
    }

    fn found() -> impl Strategy<Value = Found> {
        let some = (
            prop::option::of((instant(), any::<u64>())),
            prop::option::of((instant(), any::<u64>())),
            prop::option::of((offset(), offset())),
            prop::option::of(offset()),
        )
            .prop_map(|(rewind, lost, empty, readable_at)| Found {
                rewind: rewind.map(|(at, by)| Rewind { at, by }),
                lost,
                empty,
                readable_at,
            });
        prop_oneof![Just(Found::default()), some]
    }

    fn track() -> impl Strategy<Value = Track> {
        let state = (prop::sample::select(State::ALL.to_vec()), instant());
        (
            points(),
            prop::option::of((instant(), offset())),
            prop::option::of(instant()),
            prop::option::of(state),
            found(),
        )
            .prop_map(|(points, still, moved_at, state, found)| {
                let mut track = Track::over(points);
                if let Some((since, end)) = still {
                    (track.still_since, track.end_when_still) = (since, end);
                }
                track.moved_at = moved_at;
                track.state = state;
                track.find(|note| *note = found);
                track
            })
    }

    fn place(partition: i32) -> TopicPartition {
        let topic = "orders".into();
        TopicPartition { topic, partition }
    }

    proptest! {
        #[test]
        fn windows_come_back_as_they_were_whatever_they_are(
            tracks in by_place(track(), 8),
        ) {
            let packed = Tracks::from(tracks.clone());
            prop_assert_eq!(packed.open(), tracks);
        }

        #[test]
        fn bytes_that_are_no_windows_are_no_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            partitions in 0..20_usize,
        ) {
            let topics = Box::from([("orders".into(), partitions)]);
            let packed = Tracks { topics, bytes: bytes.into() };
            prop_assert!(packed.open().len() <= partitions);
        }
    }

    /// A hundred partitions over twenty samples, of which each appends and commits so much.
    fn group(appended: impl Fn(i32, u64) -> i64) -> BTreeMap<TopicPartition, Track> {
        let sampled = |partition: i32, poll: u64| Point {
            at: UnixNanos(1_700_000_000_000_000_000 + poll * 15_000_123_456),
            committed: 40 + appended(partition, poll),
            end: 100 + appended(partition, poll + 1),
        };
        let window = Duration::from_secs(300);
        let track = |partition| {
            let mut track = Track::new(sampled(partition, 0));
            for poll in 1..20 {
                track.observe(sampled(partition, poll), UnixNanos(0), window, window);
            }
            track.state = Some((State::Ok, sampled(partition, 1).at));
            (place(partition), track)
        };
        (0..100).map(track).collect()
    }

    #[test]
    fn where_nothing_moves_a_partition_takes_a_dozen_bytes() {
        let packed = Tracks::from(group(|_, _| 0));
        // The first of them has the times, for all.
        assert!(
            packed.bytes.len() <= 200 + 100 * 12,
            "{}",
            packed.bytes.len()
        );
    }

    #[test]
    fn where_it_moves_a_sample_takes_five_bytes() {
        let moving = group(|partition, poll| poll as i64 * i64::from(1_000 + partition));
        let packed = Tracks::from(moving);
        assert!(
            packed.bytes.len() <= 200 + 100 * (16 + 20 * 5),
            "{}",
            packed.bytes.len()
        );
    }
}
