//! What a map is summed up from: series over a range, then nodes and edges.

use std::sync::Arc;

use crate::cell::Latencies;
use crate::records::Records;
use crate::series::{Part, Series};
use crate::sketch::Sketch;
use crate::topology::{NodeKind, Window};

/// Sums over a range.
#[derive(Clone, Default)]
pub(crate) struct Sum {
    pub(crate) messages: u64,
    pub(crate) errors: u64,
    pub(crate) unplaced: u64,
    pub(crate) recent: u64,
    pub(crate) last: u64,
    pub(crate) records: Records,
    pub(crate) latencies: Latencies,
}

impl Sum {
    pub(crate) fn of(series: &Series, window: &Window, now: u64) -> Self {
        let (from, to) = (window.from.0, window.to.0);
        let mut sum = Self::default();
        let Some((start, end)) = series.last(from, to) else {
            return sum;
        };
        sum.last = end.min(now.max(start));
        series.parts(from, to, window.rate_from.0, |part| match part {
            Part::Total(total) => {
                sum.messages += total.messages;
                sum.errors += total.errors;
                sum.unplaced += total.unplaced;
                total.add_records_to(&mut sum.records);
            }
            Part::Bucket(start, cell) => {
                sum.messages += cell.messages;
                sum.errors += cell.errors;
                sum.unplaced += cell.unplaced;
                cell.add_records_to(&mut sum.records);
                if start >= window.rate_from.0 {
                    sum.recent += cell.messages;
                    cell.add_latencies_to(&mut sum.latencies);
                }
            }
        });
        sum
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0 && self.errors == 0
    }

    /// Adds all but the records, whose topic must be known: see [`EdgeSum`].
    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.errors += other.errors;
        self.unplaced += other.unplaced;
        self.recent += other.recent;
        self.last = self.last.max(other.last);
        self.latencies.merge(&other.latencies);
    }
}

#[derive(Default)]
pub(crate) struct NodeSum {
    pub(crate) kind: Option<NodeKind>,
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) instrumented: bool,
    pub(crate) inferred: bool,
    pub(crate) last: u64,
    pub(crate) handled: Option<u64>,
    pub(crate) offsets_rate: Option<f64>,
    pub(crate) work: Sketch,
    pub(crate) partitions: Option<u32>,
}

#[derive(Default)]
pub(crate) struct EdgeSum {
    pub(crate) instrumented: bool,
    pub(crate) offsets_rate: Option<f64>,
    pub(crate) sum: Sum,
    /// By topic: a group hands its service the records of all its topics, and each topic has an offset 0. Nearly
    /// always one.
    pub(crate) records: Vec<(Arc<str>, Records)>,
}

impl EdgeSum {
    pub(crate) fn add_records(&mut self, topic: &Arc<str>, records: &Records) {
        match self.records.iter_mut().find(|(of, _)| of == topic) {
            Some((_, known)) => known.union(records),
            None => self.records.push((topic.clone(), records.clone())),
        }
    }

    /// How many distinct ones over all topics; `None` when a topic had too many scattered ones to tell.
    pub(crate) fn distinct(&self) -> Option<u64> {
        self.records
            .iter()
            .map(|(_, records)| records.distinct())
            .sum()
    }
}
