//! What one group's consumers did over time.

use highwater_model::UnixNanos;

use crate::aggregates::Aggregate;
use crate::cell::Latencies;
use crate::flow::Flow;
use crate::key::Key;
use crate::resolve::{Group, Resolver};
use crate::series::Tier;
use crate::sketch::Sketch;

/// Nanoseconds of a bucket of the last hours. Steps that are finer tell nothing more.
pub const FINEST_STEP_NS: u64 = Tier::Hot.width();

/// What a group's consumers did in one step.
#[derive(Clone, Default, Debug)]
pub struct GroupWork {
    /// Handlings, failed ones too.
    pub attempts: u64,
    /// Failed handlings.
    pub errors: u64,
    /// How long a handling took, in nanoseconds.
    pub process: Sketch,
    /// How long messages waited in the broker before they were handled, in nanoseconds.
    pub in_broker: Sketch,
}

impl Flow {
    /// The work of a group in `steps` steps of `step_ns` nanoseconds from `from`. A bucket belongs to the step that it
    /// starts in, so that counts add up to those of the whole range. `None` for a group that no span tells of.
    ///
    /// Cost: linear in the series of the environment and in the group's buckets within the range.
    #[must_use]
    pub fn group_work(
        &self,
        environment: &str,
        cluster: &str,
        group: &str,
        from: UnixNanos,
        step_ns: u64,
        steps: usize,
    ) -> Option<Vec<GroupWork>> {
        let mut told = false;
        let mut work = vec![GroupWork::default(); steps];
        let step_ns = step_ns.max(1);
        let resolver = Resolver::new(
            &self.facts,
            environment,
            self.aggregates.iter().map(|a| &a.key),
        );
        let to = from.0.saturating_add(step_ns.saturating_mul(steps as u64));
        for Aggregate { key, series, .. } in self.aggregates.iter() {
            let Key::Consume { reader, .. } = key else {
                continue;
            };
            if **key.environment() != *environment {
                continue;
            }
            let of = resolver.cluster(&reader.topic);
            let same = *of == *cluster
                && match resolver.group(&of, reader) {
                    Group::Named(name) | Group::Inferred(name) => *name == *group,
                    Group::Unknown => false,
                };
            if !same {
                continue;
            }
            told = true;
            for (bucket, cell) in series.range(from.0, to) {
                let index = bucket.saturating_sub(from.0) / step_ns;
                if let Some(step) = work.get_mut(index as usize) {
                    step.attempts += cell.messages;
                    step.errors += cell.errors;
                    let mut latencies = Latencies::default();
                    cell.add_latencies_to(&mut latencies);
                    step.process.merge(&latencies.process);
                    step.in_broker.merge(&latencies.in_broker);
                }
            }
        }
        told.then_some(work)
    }
}
