//! Facts of earlier formats: each file is brought to the present one by itself, so any mixture of them is read whole,
//! written on and clustered.

use std::path::Path;
use std::time::Duration;

use super::inspect::{FIRST_COMMITS, FORMATS, of_format};
use super::small;
use super::sqlite::span_files;
use crate::engine::{Inspection, Store, sqlite};
use crate::options::Options;
use crate::query::parse;
use crate::search::SearchQuery;
use crate::spans::{SpanReader, SpanWriter, Wanted};
use crate::testing::{at, batch, origin, plain, text, trace_id, with};

fn options() -> Options {
    Options {
        retention: Duration::from_secs(1 << 31),
        ..small()
    }
}

const PARTITIONS: usize = 4;

async fn migrated(file: &Path, migrations: sqlite::Migrations) {
    let connection = sqlite::open_writer(file, migrations).await.unwrap();
    sqlite::close_writer(connection).await;
}

async fn format_of(file: &Path, migrations: sqlite::Migrations) -> i64 {
    let (_, format) = sqlite::open_reader(file, migrations).await.unwrap();
    format
}

/// By its id, its attribute, its record and its link.
async fn is_found_in_every_way(store: &Store, n: u64) {
    let found = store.trace(trace_id(n), 100).await.unwrap().spans;
    assert_eq!(found.len(), 5, "trace {n}");
    let query = SearchQuery {
        filter: parse(&format!("order.id = order-{n}")).unwrap(),
        ..SearchQuery::new(at(0), at(10_000_000))
    };
    let page = store.search(&query).await.unwrap();
    assert_eq!(page.hits.len(), 1, "order {n}");
    assert_eq!(page.hits[0].matched.len(), 5, "order {n}");
    if n < FIRST_COMMITS {
        let (span, topic, partition, offset) = found
            .iter()
            .find_map(|stored| {
                let messaging = stored.span.messaging.as_ref()?;
                let topic = messaging.destination.clone()?;
                Some((stored, topic, messaging.partition?, messaging.offset?))
            })
            .unwrap();
        let record = store.by_offset(&topic, partition, offset, 100).await;
        assert!(record.unwrap().spans.contains(span), "record {n}");
        let linking = store
            .find_one(Wanted::LinkingTo(trace_id(n + 1), None), 100)
            .await
            .unwrap();
        assert_eq!(linking.spans.len(), 1, "link to {n} and one");
    }
}

async fn write(store: &Store, n: u64) {
    let attributes = [("order.id", text(&format!("order-{n}")))];
    let spans: Vec<_> = (0..5)
        .map(|span| (origin("shop"), with(plain(n, span, at(n)), &attributes)))
        .collect();
    store.write(&[batch(&spans)], at(n * 60)).await.unwrap();
}

#[tokio::test]
async fn any_mixture_of_formats_is_read_written_on_and_clustered() {
    // A start that was cut off has brought the catalog, and then some of the partitions, to the present format.
    for format in FORMATS {
        for done in [0, 1, 3, PARTITIONS + 1] {
            is_read_written_on_and_clustered(format, done).await;
        }
    }
}

async fn is_read_written_on_and_clustered(format: &str, done: usize) {
    let dir = of_format(format);
    let files = span_files(dir.path());
    assert_eq!(files.len(), PARTITIONS);
    let catalog = dir.path().join("catalog.db");
    if done > 0 {
        migrated(&catalog, sqlite::CATALOG).await;
    }
    for file in files.iter().take(done.saturating_sub(1)) {
        migrated(file, sqlite::PARTITION).await;
    }
    let formats = async || {
        let mut formats = vec![format_of(&catalog, sqlite::CATALOG).await];
        for file in &files {
            formats.push(format_of(file, sqlite::PARTITION).await);
        }
        formats
    };
    let (catalog_now, partition_now) = (sqlite::CATALOG.len(), sqlite::PARTITION.len());
    let before: usize = format[1..].parse().unwrap();
    // A fixture has the newest format that each of its files had then.
    let at_first = |file: usize, now: usize| if file < done { now } else { before.min(now) } as i64;
    let mut expected = vec![at_first(0, catalog_now)];
    expected.extend((1..=PARTITIONS).map(|file| at_first(file, partition_now)));
    assert_eq!(formats().await, expected);
    let inspection = Inspection::new(dir.path()).unwrap();
    assert_eq!(inspection.check().await.unwrap().findings, []);

    let store = Store::open(dir.path(), options(), at(0)).await.unwrap();
    let mut expected = vec![partition_now as i64; PARTITIONS + 1];
    expected[0] = catalog_now as i64;
    assert_eq!(formats().await, expected);
    let mut all: Vec<u64> = (0..FIRST_COMMITS).collect();
    for n in &all {
        is_found_in_every_way(&store, *n).await;
    }
    for n in 1_000..1_040 {
        write(&store, n).await;
        all.push(n);
    }
    let last = store.last_block();
    store.history().save_flow(&[], b"flow", last).await.unwrap();
    store.settle().await.unwrap();
    // All but the file that is written to.
    let unclustered = store.stats().unclustered_spans;
    assert!(unclustered <= 50, "{:?}", store.stats());
    for n in &all {
        is_found_in_every_way(&store, *n).await;
    }
    store.close().await;
    assert_eq!(inspection.check().await.unwrap().findings, []);
    let store = Store::open(dir.path(), options(), at(0)).await.unwrap();
    assert_eq!(store.stats().spans, all.len() as u64 * 5);
    for n in &all {
        is_found_in_every_way(&store, *n).await;
    }
    assert_eq!(store.damage(), []);
    store.close().await;
}
