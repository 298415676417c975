//! A histogram of durations with a fixed size, for the collector's own health.

use std::time::Duration;

/// Buckets grow by an eighth of a power of two from 1 µs: 9% wide, good to an hour.
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    counts: [u64; BUCKETS],
    total: u64,
}

const BUCKETS: usize = 256;

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl LatencyHistogram {
    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = (duration.as_nanos() as f64 / 1_000.0).max(1.0);
        let bucket = ((micros.log2() * 8.0) as usize).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The upper edge of the bucket that holds the `q`-quantile, in nanoseconds; `None` when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| (((bucket + 1) as f64 / 8.0).exp2() * 1_000.0) as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LatencyHistogram;
    use std::time::Duration;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for ms in 1..=100 {
            histogram.record(Duration::from_millis(ms));
        }
        let p50 = histogram.quantile(0.5).map_or(0.0, |ns| ns as f64 / 1e6);
        assert!((50.0..=55.0).contains(&p50), "{p50}");
    }
}
