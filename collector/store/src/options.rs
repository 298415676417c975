//! What the operator, and a test, may choose.

use std::time::Duration;

use highwater_model::normalise::Rules;

/// How the store behaves. The defaults are the ones measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How spans are normalised when they are read back: the same rules the receivers use.
    pub rules: Rules,
    /// Spans are kept this long after they arrive; the partition's width is the precision.
    pub retention: Duration,
    /// Span files are kept up to this many bytes in all, the oldest removed first. The file that is written to is
    /// never removed.
    pub retention_bytes: u64,
    /// So much of the disk stays free: below it the oldest spans go, and when only the newest are left, writes are
    /// refused until there is room. `None`: the lesser of 1 GiB and a 50th of the disk.
    pub min_free_bytes: Option<u64>,
    /// Aggregates and lag history may take so many bytes; beyond it the oldest lag history goes.
    pub history_bytes: u64,
    /// Aggregates and lag history are kept this long.
    pub history_retention: Duration,
    /// A partition holds the arrivals of this long. `None`: a 24th of the retention, at least an hour.
    pub partition_width: Option<Duration>,
    /// The file that arrivals are written to ends with so many spans; its spans are then clustered by trace, which
    /// takes memory for each.
    pub partition_spans: u64,
    /// How much the clustering gives way to ingest: niceness beyond that of the threads that start it, of which 10
    /// leaves it a tenth of a core that ingest wants.
    pub background_nice: i32,
    /// A segment's index is packed and written once it has so many spans.
    pub seal_spans: u64,
    /// Identities of spans kept in memory to recognise resends; 13 bytes each.
    pub recent_spans: usize,
    /// A block holds at most so many spans: reading one span decompresses its block.
    pub block_spans: usize,
    /// A block is closed once it holds so many bytes.
    pub block_bytes: usize,
    /// Connections that read one partition at once.
    pub readers: u32,
    /// Decoded blocks kept in memory, in bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_bytes: 50 << 30,
            min_free_bytes: None,
            history_bytes: 2 << 30,
            history_retention: Duration::from_secs(90 * 24 * 3600),
            partition_width: None,
            partition_spans: 300_000,
            background_nice: 10,
            seal_spans: 500_000,
            // Seven eighths of two tables of a power of two: one more would double the memory.
            recent_spans: 1_835_008,
            block_spans: 1_024,
            block_bytes: 2 << 20,
            readers: 4,
            cache_bytes: 32 << 20,
        }
    }
}

impl Options {
    /// Nanoseconds of arrivals that a partition holds; at least one.
    pub(crate) fn width_ns(&self) -> u64 {
        let width = self
            .partition_width
            .unwrap_or_else(|| (self.retention / 24).max(Duration::from_secs(3600)));
        u64::try_from(width.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// A partition also ends when it holds so many bytes, so that retention by size has something to remove.
    pub(crate) fn partition_bytes(&self) -> u64 {
        (self.retention_bytes / 16).max(1 << 20)
    }
}
