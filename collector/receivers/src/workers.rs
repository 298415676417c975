//! What decoding needs, kept from one request to the next, and a bound on how many are decoded at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_model::normalise::Rules;
use highwater_model::otlp::Decoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::compression::Decompressors;

/// Decoders and decompressors, some hundred KiB each.
pub(crate) struct Worker {
    pub(crate) decoder: Decoder,
    pub(crate) decompressors: Decompressors,
}

/// As many as requests are decoded at once. Decoding keeps a core busy, so more than two a core would only hold more
/// buffers.
#[derive(Clone)]
pub(crate) struct Workers(Arc<Shared>);

struct Shared {
    rules: Arc<Rules>,
    permits: Arc<Semaphore>,
    // The mutex is std and held for a push or a pop.
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    pub(crate) fn new(rules: Rules) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Shared {
            rules: Arc::new(rules),
            permits: Arc::new(Semaphore::new(cores * 2)),
            idle: Mutex::default(),
        }))
    }

    /// Waits, in order, until a request may be decoded; it may be until the permit is dropped.
    pub(crate) async fn take(&self) -> (Worker, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.ok();
        let idle = self.idle().pop();
        let worker = idle.unwrap_or_else(|| Worker {
            decoder: Decoder::new(Arc::clone(&self.0.rules)),
            decompressors: Decompressors::new(),
        });
        (worker, permit)
    }

    /// Keeps a worker for the next request. One that is not given back, because its request panicked, is made anew.
    pub(crate) fn give_back(&self, worker: Worker) {
        self.idle().push(worker);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
