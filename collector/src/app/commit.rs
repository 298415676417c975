//! What the writer does with a group of requests: store, then count.

use std::sync::Arc;

use highwater_api::Services;
use highwater_flow::Flow;
use highwater_model::Batch;
use highwater_pipeline::{Commit, CommitError, Committed};
use highwater_store::{SpanWriter, Store};
use parking_lot::RwLock;

use super::landmarks::Landmarks;
use super::now;

/// Stores spans and feeds what was stored to the flow, so that the map never shows what a power cut could take.
pub(super) struct Committer {
    pub(super) store: Store,
    pub(super) flow: Arc<RwLock<Flow>>,
    pub(super) services: Arc<Services>,
    pub(super) landmarks: Arc<Landmarks>,
}

impl Commit for Committer {
    async fn commit(&mut self, batches: &[Batch]) -> Result<Committed, CommitError> {
        let arrived = now();
        let written = self
            .store
            .write(batches, arrived)
            .await
            .map_err(|error| CommitError {
                reason: chain(&error).into(),
            })?;
        for batch in batches {
            self.landmarks.note_releases(&batch.releases, arrived);
        }
        let stored = written.kept.iter().filter(|kept| **kept).count();
        if stored > 0 {
            let spans = batches
                .iter()
                .flat_map(|batch| &batch.spans)
                .zip(&written.kept)
                .filter(|(_, kept)| **kept)
                .map(|(span, _)| &span.span);
            self.services.note(spans.clone(), arrived);
            self.flow.write().apply(spans, written.block, arrived);
        }
        Ok(Committed {
            block: written.block,
            stored,
            duplicates: written.duplicates,
        })
    }
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
