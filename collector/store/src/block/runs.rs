//! The index of the open segment, in memory, and its packed form on disk.

use super::bytes::{Corrupt, Reader, put};
use super::fingerprint::{Fingerprint, KINDS, Kind};

/// A fingerprint and the block that holds it, as (fingerprint << 32 | block - base): sorted by fingerprint, then block.
pub(crate) type Entry = u64;

const fn entry(fingerprint: Fingerprint, block: u32) -> Entry {
    (fingerprint as u64) << 32 | block as u64
}

/// Sorted runs: small ones are merged, so that many small blocks do not make many; finding is a binary search a run.
///
/// One sorted vector would cost a move of everything a commit; a hash table costs five times the memory. Merging on
/// to ever longer runs cost a tenth of the write path, and saved a look-up some ten microseconds.
#[derive(Clone, Debug, Default)]
struct Runs(Vec<Vec<Entry>>);

/// A run of so many entries is not merged any more: a full partition has about two hundred.
const LONG_RUN: usize = 2_048;

impl Runs {
    fn push(&mut self, mut run: Vec<Entry>) {
        if run.is_empty() {
            return;
        }
        run.sort_unstable();
        let merges = |last: &Vec<Entry>, len: usize| last.len() < (2 * len).min(LONG_RUN);
        while self.0.last().is_some_and(|last| merges(last, run.len())) {
            let Some(last) = self.0.pop() else { break };
            run = merge(&last, &run);
        }
        self.0.push(run);
    }

    fn find(&self, fingerprint: Fingerprint, base: u64, out: &mut Vec<u64>) {
        let low = entry(fingerprint, 0);
        for run in &self.0 {
            let from = run.partition_point(|entry| *entry < low);
            let equal = run[from..]
                .iter()
                .take_while(|entry| (**entry >> 32) as Fingerprint == fingerprint);
            out.extend(equal.map(|entry| base + (*entry & u64::from(u32::MAX))));
        }
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut all = self.0.concat();
        // The stable sort finds the runs and merges them.
        all.sort();
        all
    }
}

fn merge(left: &[Entry], right: &[Entry]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (left.get(i), right.get(j)) {
        if a <= b {
            merged.push(*a);
            i += 1;
        } else {
            merged.push(*b);
            j += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    merged
}

/// The distinct keys of one block, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(pub(crate) [Vec<Fingerprint>; KINDS]);

impl Keys {
    pub(crate) fn add(&mut self, kind: Kind, fingerprint: Fingerprint) {
        self.0[kind as usize].push(fingerprint);
    }

    /// Sorts, and drops what is there twice.
    pub(crate) fn settle(&mut self) {
        for keys in &mut self.0 {
            keys.sort_unstable();
            keys.dedup();
        }
    }
}

/// The keys of a range of blocks.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Entries count blocks from here. A segment holds far fewer than 2^32 blocks.
    base: u64,
    last: u64,
    spans: u64,
    kinds: [Runs; KINDS],
}

impl Index {
    /// An empty index; its first block will be `base` or later.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            last: base,
            spans: 0,
            kinds: Default::default(),
        }
    }

    pub(crate) fn push(&mut self, block: u64, spans: u64, keys: &Keys) {
        let relative = u32::try_from(block.saturating_sub(self.base)).unwrap_or(u32::MAX);
        for (runs, keys) in self.kinds.iter_mut().zip(&keys.0) {
            runs.push(keys.iter().map(|key| entry(*key, relative)).collect());
        }
        self.last = block;
        self.spans += spans;
    }

    /// Appends the blocks that may hold the key.
    pub(crate) fn find(&self, kind: Kind, fingerprint: Fingerprint, out: &mut Vec<u64>) {
        self.kinds[kind as usize].find(fingerprint, self.base, out);
    }

    pub(crate) const fn spans(&self) -> u64 {
        self.spans
    }

    pub(crate) const fn first_block(&self) -> u64 {
        self.base
    }

    pub(crate) const fn last_block(&self) -> u64 {
        self.last
    }

    /// The rows of `ix`: (kind, bucket, entries).
    pub(crate) fn pack(&self) -> Vec<(Kind, Fingerprint, Vec<u8>)> {
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let mut buckets = BucketWriter::default();
            let mut row = |(lowest, entries)| rows.push((kind, lowest, entries));
            for entry in self.kinds[kind as usize].sorted() {
                let full = buckets.push((entry >> 32) as Fingerprint, entry as u32);
                full.into_iter().for_each(&mut row);
            }
            buckets.finish().into_iter().for_each(row);
        }
        rows
    }
}

/// A bucket of about 1 KB, of which a look-up reads and searches one for each key and segment. With four times as many
/// entries, what is little else takes twice as long; the more rows cost the writer nothing that can be measured.
const ENTRIES_PER_BUCKET: usize = 256;

/// Packs entries, which come in order, into buckets: each with the lowest fingerprint that it may hold.
#[derive(Debug, Default)]
pub(crate) struct BucketWriter {
    bytes: Vec<u8>,
    entries: usize,
    /// Of the bucket; 0 for the first one.
    lowest: Fingerprint,
    last: Fingerprint,
}

impl BucketWriter {
    /// Adds an entry; gives a bucket that is full. It has whole fingerprints only: a look-up reads one.
    pub(crate) fn push(
        &mut self,
        fingerprint: Fingerprint,
        block: u32,
    ) -> Option<(Fingerprint, Vec<u8>)> {
        let is_full = self.entries >= ENTRIES_PER_BUCKET && fingerprint != self.last;
        let full = is_full.then(|| {
            self.entries = 0;
            self.last = 0;
            let lowest = std::mem::replace(&mut self.lowest, fingerprint);
            let room = Vec::with_capacity(ENTRIES_PER_BUCKET * 5);
            (lowest, std::mem::replace(&mut self.bytes, room))
        });
        put(&mut self.bytes, u64::from(fingerprint - self.last));
        put(&mut self.bytes, block.into());
        self.last = fingerprint;
        self.entries += 1;
        full
    }

    /// The last bucket, if there is one.
    pub(crate) fn finish(self) -> Option<(Fingerprint, Vec<u8>)> {
        (self.entries > 0).then_some((self.lowest, self.bytes))
    }
}

/// The entries of a packed bucket of the segment that begins at `base`: fingerprint and block, in order.
pub(crate) fn entries(
    bucket: &[u8],
    base: u64,
) -> impl Iterator<Item = Result<(Fingerprint, u64), Corrupt>> {
    let mut reader = Reader::new(bucket);
    let mut at = 0_u64;
    let mut read = move |reader: &mut Reader<'_>| {
        at = at.saturating_add(reader.number()?);
        let fingerprint = Fingerprint::try_from(at);
        let fingerprint = fingerprint.map_err(|_| Corrupt("a fingerprint is too large"))?;
        Ok((fingerprint, base.saturating_add(reader.number()?)))
    };
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let entry = read(&mut reader);
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry)
    })
}

/// Appends the blocks of `fingerprint` in a packed bucket of the segment that begins at `base`.
pub(crate) fn find_packed(
    bucket: &[u8],
    fingerprint: Fingerprint,
    base: u64,
    out: &mut Vec<u64>,
) -> Result<(), Corrupt> {
    let mut reader = Reader::new(bucket);
    let mut at = 0_u64;
    while !reader.is_empty() {
        at = at.saturating_add(reader.number()?);
        let block = reader.number()?;
        if at > u64::from(fingerprint) {
            break;
        }
        if at == u64::from(fingerprint) {
            out.push(base.saturating_add(block));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Index, Keys, find_packed};
    use crate::block::fingerprint::Kind;
    use proptest::prelude::*;

    proptest! {
        /// Keys from a small range, so that they repeat and fill buckets beyond their size.
        #[test]
        fn packed_and_open_index_find_what_was_pushed(
            blocks in prop::collection::vec(prop::collection::vec(0_u32..40, 0..30), 1..200),
            base in 1_u64..1_000_000,
        ) {
            let mut index = Index::new(base);
            for (i, fingerprints) in blocks.iter().enumerate() {
                let mut keys = Keys::default();
                for fingerprint in fingerprints {
                    keys.add(Kind::Correlation, *fingerprint);
                }
                keys.settle();
                index.push(base + i as u64, fingerprints.len() as u64, &keys);
            }
            let rows = index.pack();
            for wanted in 0_u32..41 {
                let expected: Vec<u64> = (0..)
                    .zip(&blocks)
                    .filter(|(_, block)| block.contains(&wanted))
                    .map(|(i, _)| base + i)
                    .collect();
                let mut open = Vec::new();
                index.find(Kind::Correlation, wanted, &mut open);
                open.sort_unstable();
                prop_assert_eq!(&open, &expected);
                let mut packed = Vec::new();
                if let Some((_, _, bucket)) = rows.iter().rev().find(|(_, lowest, _)| *lowest <= wanted) {
                    find_packed(bucket, wanted, base, &mut packed).unwrap();
                }
                prop_assert_eq!(&packed, &expected);
            }
            let mut none = Vec::new();
            index.find(Kind::Trace, 1, &mut none);
            prop_assert!(none.is_empty());
        }
    }
}
