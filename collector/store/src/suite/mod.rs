//! What every engine must do: the facts are generic over how a store is opened, and each engine runs them all.

mod clock;
mod cluster;
mod damage;
mod find;
mod formats;
mod inspect;
mod properties;
mod room;
mod sqlite;
mod writing;

pub(crate) use inspect::of_format;

use std::future::Future;

use crate::options::Options;
use crate::spans::{SpanReader, SpanWriter};

/// Opens one and the same data again and again; dropped with it.
pub(crate) trait Engine {
    type Store: SpanWriter + SpanReader;

    /// New, empty data.
    fn new(options: Options) -> Self;

    /// Opens it, as a start of the process does.
    fn open(&self) -> impl Future<Output = Self::Store>;

    /// Ends it, as a stop of the process does.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()>;

    /// Waits for what the engine does in the background.
    fn settle(&self, store: &Self::Store) -> impl Future<Output = ()>;
}

/// Small files, blocks and segments, so that a test has many.
pub(crate) fn small() -> Options {
    Options {
        partition_width: Some(std::time::Duration::from_secs(600)),
        partition_spans: u64::MAX,
        seal_spans: 20,
        block_spans: 4,
        ..Options::default()
    }
}

/// Runs facts against an engine, a test each.
macro_rules! facts {
    ($engine:ty: $($module:ident::$fact:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $fact() {
                $crate::suite::$module::$fact::<$engine>().await;
            }
        )*
    };
}
pub(crate) use facts;
