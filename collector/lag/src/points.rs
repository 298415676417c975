//! Samples of a group's partition, in few bytes each.
//!
//! A hundred thousand partitions of groups keep some twenty samples each: at 24 bytes a sample, in a buffer that
//! doubles, that alone would be 77 MB. Differences from sample to sample take seven bytes where nothing moves, and nine
//! to eleven where something does.

use highwater_model::UnixNanos;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::varint::{LONGEST, read, unzigzag, write, zigzag};

/// Room is made for so many more bytes at a time: doubling would leave a third of it empty.
const GROWTH: usize = 32;

/// One sample of a group's partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at: UnixNanos,
    pub(crate) committed: i64,
    pub(crate) end: i64,
}

impl Point {
    pub(crate) fn lag(self) -> i64 {
        self.end.saturating_sub(self.committed).max(0)
    }
}

/// Samples in the order of their times, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Points {
    first: Point,
    last: Point,
    len: usize,
    /// From each point to the next: time, committed offset and end, each as the difference.
    steps: Vec<u8>,
}

impl Points {
    pub(crate) fn new(point: Point) -> Self {
        Self {
            first: point,
            last: point,
            len: 1,
            steps: Vec::new(),
        }
    }

    pub(crate) fn first(&self) -> Point {
        self.first
    }

    pub(crate) fn last(&self) -> Point {
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// From point to point it goes as in `other`, wherever either begins.
    pub(crate) fn same_steps(&self, other: &Self) -> bool {
        self.steps == other.steps
    }

    /// The same steps from another first point.
    pub(crate) fn stepping_from(&self, first: Point) -> Self {
        let mut points = self.clone();
        points.start_at(first);
        points
    }

    /// Goes the same steps from another first point.
    pub(crate) fn start_at(&mut self, first: Point) {
        let (from, to) = (self.first, self.last);
        self.first = first;
        self.last = Point {
            at: UnixNanos(first.at.0.wrapping_add(to.at.0.wrapping_sub(from.at.0))),
            committed: first
                .committed
                .wrapping_add(to.committed.wrapping_sub(from.committed)),
            end: first.end.wrapping_add(to.end.wrapping_sub(from.end)),
        };
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Point> {
        let (mut point, mut steps) = (self.first, self.steps.as_slice());
        std::iter::once(point).chain(std::iter::from_fn(move || {
            let (next, rest) = step(point, steps)?;
            (point, steps) = (next, rest);
            Some(point)
        }))
    }

    pub(crate) fn push(&mut self, point: Point) {
        let room = self.steps.capacity() - self.steps.len();
        if room < 3 * LONGEST {
            self.steps.reserve_exact(GROWTH);
        }
        write(&mut self.steps, point.at.0.wrapping_sub(self.last.at.0));
        let signed = |to: i64, from: i64| zigzag(to.wrapping_sub(from));
        write(
            &mut self.steps,
            signed(point.committed, self.last.committed),
        );
        write(&mut self.steps, signed(point.end, self.last.end));
        self.last = point;
        self.len += 1;
    }

    /// Lets go of the points before the last one at or before `from`; the two youngest stay.
    pub(crate) fn keep_from(&mut self, from: UnixNanos) {
        let mut gone = 0;
        while self.len > 2
            && let Some((second, rest)) = step(self.first, &self.steps[gone..])
            && second.at <= from
        {
            gone = self.steps.len() - rest.len();
            self.first = second;
            self.len -= 1;
        }
        self.steps.drain(..gone);
    }

    /// Lets go of the second point: the first is what rates are from.
    pub(crate) fn remove_second(&mut self) {
        let kept: Vec<Point> = self.iter().collect();
        let [first, _, rest @ ..] = kept.as_slice() else {
            return;
        };
        *self = Self::new(*first);
        for &point in rest {
            self.push(point);
        }
    }
}

/// The point after `point`, and the steps after it.
fn step(point: Point, steps: &[u8]) -> Option<(Point, &[u8])> {
    let (time, steps) = read(steps)?;
    let (committed, steps) = read(steps)?;
    let (end, steps) = read(steps)?;
    let next = Point {
        at: UnixNanos(point.at.0.wrapping_add(time)),
        committed: point.committed.wrapping_add(unzigzag(committed)),
        end: point.end.wrapping_add(unzigzag(end)),
    };
    Some((next, steps))
}

/// As a list of points where people may read it, as it was before; as the bytes they are elsewhere.
impl Serialize for Points {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.iter())
        } else {
            (self.first, Bytes(&self.steps)).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let points = Vec::<Point>::deserialize(deserializer)?;
            let missing = || serde::de::Error::custom("a window without a point");
            let (&first, rest) = points.split_first().ok_or_else(missing)?;
            let mut kept = Self::new(first);
            for &point in rest {
                kept.push(point);
            }
            return Ok(kept);
        }
        let (first, steps) = <(Point, Vec<u8>)>::deserialize(deserializer)?;
        let mut kept = Self::new(first);
        let mut rest = steps.as_slice();
        while let Some((next, after)) = step(kept.last, rest) {
            (kept.last, rest) = (next, after);
            kept.len += 1;
        }
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("half a step in a window"));
        }
        kept.steps = steps;
        Ok(kept)
    }
}

/// Bytes in one piece, where a slice of them would be a list of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = Point> {
        let offset = || prop_oneof![0_i64..1_000, any::<i64>()];
        (any::<u64>(), offset(), offset()).prop_map(|(at, committed, end)| Point {
            at: UnixNanos(at),
            committed,
            end,
        })
    }

    proptest! {
        #[test]
        fn points_come_back_as_they_were_whatever_they_are(
            points in prop::collection::vec(point(), 1..40),
            from in any::<u64>(),
        ) {
            let mut points = points;
            points.sort_by_key(|point| point.at);
            let mut packed = Points::new(points[0]);
            points[1..].iter().for_each(|&point| packed.push(point));
            let mut plain = std::collections::VecDeque::from(points);
            while plain.len() > 2 && plain[1].at <= UnixNanos(from) {
                plain.pop_front();
            }
            packed.keep_from(UnixNanos(from));
            prop_assert!(packed.iter().eq(plain.iter().copied()));
            let json = serde_json::to_string(&packed).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Points>(&json).unwrap(), &packed);
            let bytes = postcard::to_allocvec(&packed).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<Points>(&bytes).unwrap(), &packed);
            packed.remove_second();
            plain.remove(1);
            prop_assert!(packed.iter().eq(plain.iter().copied()));
            prop_assert_eq!(packed.len(), plain.len());
            prop_assert_eq!((packed.first(), packed.last()), (plain[0], plain[plain.len() - 1]));
        }

        #[test]
        fn bytes_that_are_no_points_are_an_error_and_no_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(points) = postcard::from_bytes::<Points>(&bytes) {
                prop_assert_eq!(points.iter().count(), points.len());
            }
        }
    }

    #[test]
    fn where_nothing_moves_a_sample_takes_seven_bytes() {
        let mut points = Points::new(Point {
            at: UnixNanos(1_700_000_000_000_000_000),
            committed: 1 << 40,
            end: 1 << 40,
        });
        for _ in 0..20 {
            let last = points.last();
            let at = UnixNanos(last.at.0 + 15_000_123_456);
            points.push(Point { at, ..last });
        }
        assert_eq!(points.steps.len(), 20 * 7);
    }
}
