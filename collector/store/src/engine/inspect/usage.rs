//! What is stored, by file, and how fast it grows.

use std::time::Duration;

use highwater_model::UnixNanos;
use sqlx::{Connection, Row};

use super::{Finding, Inspection, bytes_of, name};
use crate::engine::sqlite::{self, int, unsigned};
use crate::error::{Result, StoreError};

/// Growth is that of the last day.
const DAY: Duration = Duration::from_secs(86_400);

/// One file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileUsage {
    /// Its name, without its directory.
    pub file: String,
    /// Bytes, its log included.
    pub bytes: u64,
    /// What it holds, where that is spans, and can be read.
    pub spans: Option<SpansUsage>,
}

/// The spans of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpansUsage {
    /// They stand by trace, not in order of arrival.
    pub by_trace: bool,
    /// How many.
    pub spans: u64,
    /// In so many blocks.
    pub blocks: u64,
    /// First arrival, about: a block that was written by trace counts by its last arrival.
    pub oldest: Option<UnixNanos>,
    /// Last arrival.
    pub newest: Option<UnixNanos>,
}

/// What a data directory holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Usage {
    /// The files: the catalog, the history, then spans as their files were begun.
    pub files: Vec<FileUsage>,
    /// Bytes of all files, history included.
    pub bytes: u64,
    /// Bytes of the files that hold spans.
    pub span_bytes: u64,
    /// Spans.
    pub spans: u64,
    /// Blocks.
    pub blocks: u64,
    /// First arrival kept, about: a block that was written by trace counts by its last arrival.
    pub oldest: Option<UnixNanos>,
    /// Last arrival.
    pub newest: Option<UnixNanos>,
    /// Spans that arrived in the day before the measurement, about: a block counts by its last arrival.
    pub day_spans: u64,
    /// Bytes that the file system has left for this user; `None` when it does not say.
    pub free_bytes: Option<u64>,
    /// Files whose spans could not be counted, since they are damaged. Their bytes are counted.
    pub findings: Vec<Finding>,
}

impl Usage {
    /// Bytes of span files for each span; `None` without spans.
    #[must_use]
    pub fn bytes_a_span(&self) -> Option<f64> {
        (self.spans > 0).then(|| self.span_bytes as f64 / self.spans as f64)
    }

    /// Bytes of spans that a day adds, as of `now`: the last day's, or what there is of it made up to a day. `None`
    /// before there is an hour to tell from, and when nothing arrived.
    #[must_use]
    pub fn bytes_a_day(&self, now: UnixNanos) -> Option<f64> {
        let watched = now.0.checked_sub(self.oldest?.0)?;
        let watched = Duration::from_nanos(watched).min(DAY);
        if watched < Duration::from_secs(3_600) || self.day_spans == 0 {
            return None;
        }
        let days = watched.as_secs_f64() / DAY.as_secs_f64();
        Some(self.day_spans as f64 * self.bytes_a_span()? / days)
    }
}

impl Inspection {
    /// Measures files and counts what is in them. Reads the list of blocks, not the blocks.
    ///
    /// # Errors
    /// When the catalog cannot be read. A damaged file is in the answer instead.
    pub async fn usage(&self, now: UnixNanos) -> Result<Usage> {
        let mut usage = Usage::default();
        for file in [self.catalog(), self.history()] {
            usage.files.push(FileUsage {
                file: name(&file),
                bytes: bytes_of(&file),
                spans: None,
            });
        }
        for listed in self.list().await?.partitions {
            let file = self.partition(&listed);
            let day = now - DAY;
            let read = count(&file, day).await;
            let (spans, day_spans) = match read {
                Ok((spans, day_spans)) => (Some(spans), day_spans),
                Err(error) => match self.unread(&listed, error).await? {
                    Some(finding) => {
                        usage.findings.push(finding);
                        (None, 0)
                    }
                    None => continue,
                },
            };
            let spans = spans.map(|spans| SpansUsage {
                by_trace: listed.settled,
                ..spans
            });
            let bytes = bytes_of(&file);
            usage.span_bytes += bytes;
            usage.day_spans += day_spans;
            if let Some(spans) = spans {
                usage.spans += spans.spans;
                usage.blocks += spans.blocks;
                usage.oldest = usage.oldest.into_iter().chain(spans.oldest).min();
                usage.newest = usage.newest.max(spans.newest);
            }
            usage.files.push(FileUsage {
                file: name(&file),
                bytes,
                spans,
            });
        }
        usage.bytes = usage.files.iter().map(|file| file.bytes).sum();
        usage.free_bytes = rustix::fs::statvfs(&self.dir)
            .ok()
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(usage)
    }
}

/// What a partition holds, and how many spans of it arrived from `day` on.
async fn count(file: &std::path::Path, day: UnixNanos) -> Result<(SpansUsage, u64)> {
    let (mut connection, _) = sqlite::open_reader(file, sqlite::PARTITION).await?;
    let row = sqlx::query(
        "SELECT coalesce(sum(spans), 0), count(*), min(arrived), max(arrived), \
         coalesce(sum(CASE WHEN arrived >= ? THEN spans ELSE 0 END), 0) FROM meta",
    )
    .bind(int(day.0))
    .fetch_one(&mut connection)
    .await;
    let _ = connection.close().await;
    let row = row.map_err(|source| StoreError::Read {
        what: "the list of blocks",
        source,
    })?;
    let instant = |value: Option<i64>| value.map(|at| UnixNanos(unsigned(at)));
    let spans = SpansUsage {
        by_trace: false,
        spans: unsigned(row.get(0)),
        blocks: unsigned(row.get(1)),
        oldest: instant(row.get(2)),
        newest: instant(row.get(3)),
    };
    Ok((spans, unsigned(row.get(4))))
}
