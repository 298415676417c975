//! One bucket of one series: counts, latencies and the records it is of.
//!
//! A bucket that is being counted into is open. Once its time is over it is sealed: kept as bytes, a tenth of the size,
//! and opened again should a late span belong to it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::records::Records;
use crate::series::{Delta, Timed};
use crate::sketch::Sketch;

/// Latencies of one bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) produce: Sketch,
    pub(crate) in_broker: Sketch,
    pub(crate) process: Sketch,
}

impl Latencies {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.produce.merge(&other.produce);
        self.in_broker.merge(&other.in_broker);
        self.process.merge(&other.process);
    }
}

/// What of a bucket takes room. Records come first: they are asked for most.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Detail {
    records: Records,
    latencies: Latencies,
}

/// An open bucket with some bins and runs. They are few: those of the last minutes.
const OPEN_SIZE: usize = 1_024;

#[derive(Clone, Debug)]
enum Kept {
    Open(Box<Detail>),
    Sealed(Box<[u8]>),
}

/// One bucket.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) unplaced: u64,
    kept: Kept,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            messages: 0,
            errors: 0,
            unplaced: 0,
            kept: Kept::Open(Box::default()),
        }
    }
}

/// Bytes that this module wrote: they can be read.
fn read<'b, T: Deserialize<'b> + Default>(bytes: &'b [u8]) -> T {
    postcard::take_from_bytes(bytes).map_or_else(|_| T::default(), |(value, _)| value)
}

impl Cell {
    fn open(&mut self) -> &mut Detail {
        if let Kept::Sealed(bytes) = &self.kept {
            self.kept = Kept::Open(Box::new(read(bytes)));
        }
        match &mut self.kept {
            Kept::Open(detail) => detail,
            Kept::Sealed(_) => unreachable!("it was opened a moment ago"),
        }
    }

    /// Keeps the rest of it small until it is opened again.
    pub(crate) fn seal(&mut self) {
        if let Kept::Open(detail) = &self.kept
            && let Ok(bytes) = postcard::to_allocvec(&**detail)
        {
            self.kept = Kept::Sealed(bytes.into());
        }
    }

    /// Forgets its latencies. What the store has of them stays there.
    pub(crate) fn drop_latencies(&mut self) {
        self.open().latencies = Latencies::default();
        self.seal();
    }

    /// Bytes it takes beside itself, nearly.
    pub(crate) fn size(&self) -> usize {
        match &self.kept {
            Kept::Open(_) => OPEN_SIZE,
            Kept::Sealed(bytes) => bytes.len(),
        }
    }

    /// The distinct records of it, without how often each came.
    pub(crate) fn add_records_to(&self, records: &mut Records) {
        match &self.kept {
            Kept::Open(detail) => records.union(&detail.records),
            Kept::Sealed(bytes) => records.union(&read(bytes)),
        }
    }

    /// Adds its latencies to others.
    pub(crate) fn add_latencies_to(&self, latencies: &mut Latencies) {
        match &self.kept {
            Kept::Open(detail) => latencies.merge(&detail.latencies),
            Kept::Sealed(bytes) => latencies.merge(&read::<Detail>(bytes).latencies),
        }
    }

    /// Adds what one span counts for.
    pub(crate) fn add(&mut self, delta: &Delta, took_ns: u64) {
        self.messages += u64::from(delta.messages);
        self.errors += u64::from(delta.errors);
        self.unplaced += u64::from(delta.unplaced);
        let Detail { records, latencies } = self.open();
        match delta.timed {
            Timed::No => {}
            Timed::Produce => latencies.produce.add(took_ns),
            Timed::Process => latencies.process.add(took_ns),
        }
        for &ns in &delta.in_broker {
            latencies.in_broker.add(ns);
        }
        for &(partition, offset) in &delta.records {
            records.insert(partition, offset);
        }
    }

    /// Takes back what was added.
    pub(crate) fn subtract(&mut self, delta: &Delta, took_ns: u64) {
        self.messages = self.messages.saturating_sub(u64::from(delta.messages));
        self.errors = self.errors.saturating_sub(u64::from(delta.errors));
        self.unplaced = self.unplaced.saturating_sub(u64::from(delta.unplaced));
        let Detail { records, latencies } = self.open();
        match delta.timed {
            Timed::No => {}
            Timed::Produce => latencies.produce.remove(took_ns),
            Timed::Process => latencies.process.remove(took_ns),
        }
        for &ns in &delta.in_broker {
            latencies.in_broker.remove(ns);
        }
        for &(partition, offset) in &delta.records {
            records.remove(partition, offset);
        }
    }

    /// Adds all of another.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.messages += other.messages;
        self.errors += other.errors;
        self.unplaced += other.unplaced;
        let mut other = other;
        let Detail { records, latencies } = self.open();
        let added = other.open();
        records.merge(&added.records);
        latencies.merge(&added.latencies);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0 && self.errors == 0
    }
}

/// As it is stored: the order of fields is that of the first version.
#[derive(Serialize, Deserialize)]
struct Stored<S, R> {
    messages: u64,
    errors: u64,
    unplaced: u64,
    produce: S,
    in_broker: S,
    process: S,
    records: R,
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let opened;
        let Detail { records, latencies } = match &self.kept {
            Kept::Open(detail) => &**detail,
            Kept::Sealed(bytes) => {
                opened = read(bytes);
                &opened
            }
        };
        Stored {
            messages: self.messages,
            errors: self.errors,
            unplaced: self.unplaced,
            produce: &latencies.produce,
            in_broker: &latencies.in_broker,
            process: &latencies.process,
            records,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::<Sketch, Records>::deserialize(deserializer)?;
        Ok(Self {
            messages: stored.messages,
            errors: stored.errors,
            unplaced: stored.unplaced,
            kept: Kept::Open(Box::new(Detail {
                records: stored.records,
                latencies: Latencies {
                    produce: stored.produce,
                    in_broker: stored.in_broker,
                    process: stored.process,
                },
            })),
        })
    }
}

/// The sum of some buckets, for answers over a long time: their counts and records, not their latencies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) unplaced: u64,
    records: Box<[u8]>,
}

impl Total {
    pub(crate) fn of<'c>(cells: impl Iterator<Item = &'c Cell>) -> Self {
        let mut total = Self::default();
        let mut records = Records::default();
        for cell in cells {
            total.messages += cell.messages;
            total.errors += cell.errors;
            total.unplaced += cell.unplaced;
            cell.add_records_to(&mut records);
        }
        // Encoding into memory cannot fail for this type.
        total.records = postcard::to_allocvec(&records).unwrap_or_default().into();
        total
    }

    pub(crate) fn add_records_to(&self, records: &mut Records) {
        records.union(&read(&self.records));
    }

    /// Bytes it takes beside itself.
    pub(crate) fn size(&self) -> usize {
        self.records.len()
    }
}
