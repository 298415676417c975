//! Pages of a topic's records, newest first over all its partitions.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::record::{DeadLetter, RecordSource, SourceError, SourceRecord};

/// Records a page holds at most.
const MAX_LIMIT: usize = 500;
/// Records looked at for one page when a text is searched for.
const MAX_SCANNED: usize = 2_000;
/// A page ends early once its records hold this much: the next page goes on from there.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// A cursor longer than this was not made here.
const MAX_CURSOR: usize = 64 * 1024;

/// Which records to read.
#[derive(Clone, Debug, Default)]
pub struct PageQuery {
    /// One partition only.
    pub partition: Option<i32>,
    /// Begin at this offset of `partition` and go back from it: the record at it is the first of the page.
    pub from_offset: Option<i64>,
    /// Records wanted, 1 to 500.
    pub limit: usize,
    /// Keep records that have this text in key, value, headers or error, in either case of ASCII letters.
    pub text: Option<String>,
    /// Go on where a page ended; then `partition` and `from_offset` are not looked at.
    pub cursor: Option<Cursor>,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first: by timestamp between partitions, by offset within one.
    pub records: Vec<DeadLetter>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<Cursor>,
    /// Records looked at; more than returned when a text is searched for.
    pub scanned: usize,
}

/// Where to go on: for each partition not yet at its end, one past the next offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<(i32, i64)>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, before)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("_")?;
            }
            write!(f, "{partition}-{before}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        if text.len() > MAX_CURSOR {
            return Err(ReadError::BadCursor);
        }
        let mut positions: Vec<(i32, i64)> = Vec::new();
        for part in text.split('_') {
            let (partition, before) = part.split_once('-').ok_or(ReadError::BadCursor)?;
            let partition = partition.parse().map_err(|_| ReadError::BadCursor)?;
            let before = before.parse().map_err(|_| ReadError::BadCursor)?;
            if partition < 0 || before < 0 {
                return Err(ReadError::BadCursor);
            }
            positions.push((partition, before));
        }
        positions.sort_unstable();
        if positions.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(ReadError::BadCursor);
        }
        Ok(Self(positions))
    }
}

/// Why a page could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ReadError {
    /// The cursor was not made here.
    #[error("the cursor is not one that this page gave out")]
    BadCursor,
    /// `from_offset` needs `partition`.
    #[error("from_offset needs a partition")]
    OffsetWithoutPartition,
    /// No such partition.
    #[error("the topic has no partition {partition}")]
    NoPartition {
        /// The one asked for.
        partition: i32,
    },
    /// No such cluster, or no topic of it that is known to hold dead letters: others are not shown.
    #[error("{topic} of {cluster} is not known to hold dead letters")]
    NotDeadLetters {
        /// The cluster asked for.
        cluster: String,
        /// The topic asked for.
        topic: String,
    },
    /// The broker did not give the records.
    #[error("cannot read records: {source}")]
    Source {
        /// Why.
        #[from]
        source: SourceError,
    },
    /// The reading thread ended early.
    #[error("the read was cut short")]
    Cancelled,
}

/// A partition to read, as the last poll saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The partition.
    pub partition: i32,
    /// First offset still kept.
    pub log_start: i64,
    /// One past the last record.
    pub end: i64,
}

/// One partition on its way back from the end.
struct Walk {
    partition: i32,
    /// One past the newest offset not yet fetched; `None`: the end as of now.
    before: Option<i64>,
    /// Nothing older is left to fetch.
    exhausted: bool,
    /// Fetched and not yet given out, newest first.
    fetched: VecDeque<SourceRecord>,
}

impl Walk {
    /// Fetches until there is a record to give out or nothing is left.
    fn fetch(
        &mut self,
        source: &dyn RecordSource,
        topic: &str,
        limit: usize,
    ) -> Result<(), SourceError> {
        while self.fetched.is_empty() && !self.exhausted {
            let page = source.read_before(topic, self.partition, self.before, limit)?;
            match (page.next, self.before) {
                (None, _) => self.exhausted = true,
                // A source that stands still would be asked for ever.
                (Some(next), Some(before)) if next >= before && page.records.is_empty() => {
                    return Err(SourceError {
                        reason: format!(
                            "nothing of {topic}/{} came in the time allowed",
                            self.partition
                        )
                        .into(),
                    });
                }
                (next, _) => self.before = next,
            }
            self.fetched.extend(page.records);
        }
        Ok(())
    }

    /// One past the newest offset not yet given out; `None` when none is left.
    fn position(&self) -> Option<i64> {
        match self.fetched.front() {
            Some(record) => Some(record.offset.saturating_add(1)),
            None if self.exhausted => None,
            // Never asked: the page was full before its turn came, which cannot be with a first fetch of each.
            None => self.before,
        }
    }
}

/// Reads one page. Blocks for as long as the source does; reads about as many records as it returns, or 2,000 when a
/// text is searched for.
///
/// `partitions` are the topic's as of the last poll; those that were empty then are not asked. A partition that has
/// grown since is read from its end as of now.
///
/// # Errors
/// When the query makes no sense or the source cannot be read.
pub fn read_page(
    source: &dyn RecordSource,
    topic: &str,
    partitions: &[PartitionBounds],
    query: &PageQuery,
) -> Result<Page, ReadError> {
    let mut walks = walks(partitions, query)?;
    let limit = query.limit.clamp(1, MAX_LIMIT);
    let needle = query
        .text
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_ascii_lowercase);
    let wanted = if needle.is_some() {
        limit.max(100)
    } else {
        limit
    };
    // One partition has all of the page; of many each is asked for its share, and for more when that is used up.
    let share = if walks.len() == 1 {
        wanted
    } else {
        (wanted / walks.len().max(1) + 1).clamp(4, 100)
    };

    let mut page = Page::default();
    let mut bytes = 0_usize;
    while page.records.len() < limit && page.scanned < MAX_SCANNED && bytes < MAX_PAGE_BYTES {
        for walk in &mut walks {
            walk.fetch(source, topic, share)?;
        }
        // Within a partition the order is the offsets', whatever the timestamps say.
        let newest = walks
            .iter_mut()
            .filter(|walk| !walk.fetched.is_empty())
            .max_by_key(|walk| {
                let timestamp = walk.fetched.front().and_then(|record| record.timestamp);
                (timestamp, std::cmp::Reverse(walk.partition))
            });
        let Some(record) = newest.and_then(|walk| walk.fetched.pop_front()) else {
            break;
        };
        page.scanned += 1;
        bytes += record.bytes();
        let decoded = DeadLetter::decode(&record);
        if needle
            .as_ref()
            .is_none_or(|needle| decoded.contains(needle))
        {
            page.records.push(decoded);
        }
    }
    let mut positions: Vec<(i32, i64)> = walks
        .iter()
        .filter_map(|walk| Some((walk.partition, walk.position()?)))
        .collect();
    positions.sort_unstable();
    page.next = (!positions.is_empty()).then_some(Cursor(positions));
    Ok(page)
}

/// Where each partition's walk begins.
fn walks(partitions: &[PartitionBounds], query: &PageQuery) -> Result<Vec<Walk>, ReadError> {
    if query.cursor.is_none() {
        if query.from_offset.is_some() && query.partition.is_none() {
            return Err(ReadError::OffsetWithoutPartition);
        }
        if let Some(partition) = query.partition
            && !partitions
                .iter()
                .any(|bounds| bounds.partition == partition)
        {
            return Err(ReadError::NoPartition { partition });
        }
    }
    let begin = |bounds: &PartitionBounds| {
        let before = match &query.cursor {
            Some(Cursor(positions)) => {
                let at = positions
                    .binary_search_by_key(&bounds.partition, |(partition, _)| *partition)
                    .ok()?;
                Some(positions[at].1)
            }
            None if query.partition.is_some_and(|p| p != bounds.partition) => return None,
            None => query.from_offset.map(|offset| offset.saturating_add(1)),
        };
        let empty = bounds.end <= bounds.log_start
            || before.is_some_and(|before| before <= bounds.log_start);
        (!empty).then_some(Walk {
            partition: bounds.partition,
            before,
            exhausted: false,
            fetched: VecDeque::new(),
        })
    };
    Ok(partitions.iter().filter_map(begin).collect())
}

#[cfg(test)]
mod tests;
