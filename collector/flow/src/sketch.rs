//! Latency sketches: DDSketch with one fixed mapping, so that any two merge.
//!
//! After Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees"
//! (VLDB 2019). Bin `i >= 1` holds the values in `(g^(i-2), g^(i-1)]` with `g = 1.01 / 0.99`; bin 0 holds zero. 2,048
//! bins reach from 1 ns to 19 years, so none is ever collapsed. Bins are counters: what was added can be taken out
//! again exactly, which re-attribution needs.

use serde::{Deserialize, Serialize};

/// Relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Bins of the mapping.
pub const BINS: u16 = 2048;
/// Version of the mapping and of the encoding; sketches of another version do not merge and are refused.
pub const VERSION: u8 = 1;

const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// A distribution of durations, in nanoseconds.
///
/// Sparse: only bins that hold something are kept, six to eight bytes each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Sketch {
    /// `(bin, count)`, ascending by bin; no count is 0.
    bins: Vec<(u16, u64)>,
}

/// Percentiles of a sketch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percentiles {
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// 95th, in nanoseconds.
    pub p95_ns: u64,
    /// 99th, in nanoseconds.
    pub p99_ns: u64,
    /// How many samples.
    pub samples: u64,
}

/// A bar of a histogram: `from_ns < value <= to_ns`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Lower bound.
    pub from_ns: u64,
    /// Upper bound.
    pub to_ns: u64,
    /// Samples.
    pub count: u64,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u8,
    bins: Vec<(u16, u64)>,
}

impl From<Sketch> for Wire {
    fn from(sketch: Sketch) -> Self {
        Self {
            version: VERSION,
            bins: sketch.bins,
        }
    }
}

impl TryFrom<Wire> for Sketch {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        if wire.version != VERSION {
            return Err("the sketch has another version");
        }
        let ascending = wire.bins.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = wire
            .bins
            .iter()
            .all(|&(bin, count)| bin < BINS && count > 0);
        if ascending && sound {
            Ok(Self { bins: wire.bins })
        } else {
            Err("the sketch's bins are malformed")
        }
    }
}

fn bin_of(value_ns: u64) -> u16 {
    if value_ns == 0 {
        return 0;
    }
    let index = ((value_ns as f64).ln() / GAMMA.ln()).ceil();
    // A u64 is at most e^44.4; what lies above the last bin (19 years) is counted in it.
    (index as u16).saturating_add(1).min(BINS - 1)
}

fn upper(bin: u16) -> f64 {
    if bin == 0 {
        0.0
    } else {
        GAMMA.powi(i32::from(bin) - 1)
    }
}

fn value_of(bin: u16) -> u64 {
    if bin == 0 {
        0
    } else {
        (2.0 * upper(bin) / (GAMMA + 1.0)).round() as u64
    }
}

impl Sketch {
    /// Adds one value.
    pub fn add(&mut self, value_ns: u64) {
        let bin = bin_of(value_ns);
        match self.bins.binary_search_by_key(&bin, |&(bin, _)| bin) {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(1),
            Err(at) => self.bins.insert(at, (bin, 1)),
        }
    }

    /// Takes one value out that was added before; does nothing when its bin is empty.
    pub fn remove(&mut self, value_ns: u64) {
        let bin = bin_of(value_ns);
        if let Ok(at) = self.bins.binary_search_by_key(&bin, |&(bin, _)| bin) {
            self.bins[at].1 -= 1;
            if self.bins[at].1 == 0 {
                self.bins.remove(at);
            }
        }
    }

    /// Adds all of `other`: the result equals the sketch of both inputs together.
    pub fn merge(&mut self, other: &Self) {
        if self.bins.is_empty() {
            self.bins.clone_from(&other.bins);
            return;
        }
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut left, mut right) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (Some(&&(a, n)), Some(&&(b, m))) => {
                    if a == b {
                        merged.push((a, n.saturating_add(m)));
                        left.next();
                        right.next();
                    } else if a < b {
                        merged.push((a, n));
                        left.next();
                    } else {
                        merged.push((b, m));
                        right.next();
                    }
                }
                (Some(&&pair), None) => {
                    merged.push(pair);
                    left.next();
                }
                (None, Some(&&pair)) => {
                    merged.push(pair);
                    right.next();
                }
                (None, None) => break,
            }
        }
        self.bins = merged;
    }

    /// How many values it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bins
            .iter()
            .fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Returns the value at quantile `q` (0 to 1) in nanoseconds, within 1% of the exact one; `None` when empty.
    ///
    /// By nearest rank: the least value that at least a share `q` of all do not exceed. So the p99 of four is the
    /// slowest of them, and no slow outlier hides behind a small number.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // 0.95 * 20 is a little more than 19 in floating point.
        let share = q.clamp(0.0, 1.0) * count as f64 - 1e-9;
        let rank = (share.ceil() as u64).saturating_sub(1);
        let mut seen = 0u64;
        for &(bin, n) in &self.bins {
            seen = seen.saturating_add(n);
            if seen > rank {
                return Some(value_of(bin));
            }
        }
        self.bins.last().map(|&(bin, _)| value_of(bin))
    }

    /// Median, 95th and 99th; `None` when empty.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        Some(Percentiles {
            p50_ns: self.quantile(0.50)?,
            p95_ns: self.quantile(0.95)?,
            p99_ns: self.quantile(0.99)?,
            samples: self.count(),
        })
    }

    /// Folds the bins into at most `bars` bars of equal width on a logarithmic axis, from the least value to the
    /// greatest; bars in between may be empty. Zeros stand in a bar of their own, first.
    #[must_use]
    pub fn histogram(&self, bars: usize) -> Vec<Bar> {
        let mut out = Vec::new();
        let mut rest = self.bins.as_slice();
        if let Some(&(0, count)) = rest.first() {
            out.push(Bar {
                from_ns: 0,
                to_ns: 0,
                count,
            });
            rest = &rest[1..];
        }
        let (Some(&(first, _)), Some(&(last, _))) = (rest.first(), rest.last()) else {
            return out;
        };
        let bars = bars.saturating_sub(out.len()).max(1);
        let width = usize::from(last - first + 1).div_ceil(bars).max(1);
        let total = usize::from(last - first + 1).div_ceil(width);
        let base = out.len();
        for bar in 0..total {
            let low = usize::from(first) + bar * width;
            let high = (low + width - 1).min(usize::from(BINS - 1));
            out.push(Bar {
                from_ns: upper(low as u16 - 1).round() as u64,
                to_ns: upper(high as u16).round() as u64,
                count: 0,
            });
        }
        for &(bin, count) in rest {
            out[base + usize::from(bin - first) / width].count += count;
        }
        out
    }
}
