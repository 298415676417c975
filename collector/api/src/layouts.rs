//! Layouts by topology version: computed once, and the newest one seeds the next, so that nodes keep their places.

use std::collections::VecDeque;
use std::sync::Arc;

use highwater_flow::layout::Layout;
use parking_lot::Mutex;

/// Enough for a few open pages with filters of their own.
const KEPT: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Layouts(Mutex<VecDeque<(String, Arc<Layout>)>>);

impl Layouts {
    pub(crate) fn get(&self, version: &str) -> Option<Arc<Layout>> {
        self.0
            .lock()
            .iter()
            .find(|(known, _)| known == version)
            .map(|(_, layout)| Arc::clone(layout))
    }

    pub(crate) fn newest(&self) -> Option<Arc<Layout>> {
        self.0.lock().back().map(|(_, layout)| Arc::clone(layout))
    }

    pub(crate) fn put(&self, version: String, layout: Arc<Layout>) {
        let mut kept = self.0.lock();
        kept.retain(|(known, _)| *known != version);
        kept.push_back((version, layout));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}
