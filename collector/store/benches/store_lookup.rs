//! Finds spans among many: traces by id, journeys by correlation value, traces by one attribute.
//!
//! `cargo xtask bench store_lookup --spans 20000000`. Once idle, once while a writer writes and spans are clustered;
//! every time another value, as a person asks. CPU is the process's, so that of the idle rounds is the look-ups'.
//! Then the time to open the store again.

#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater_store::{Options, SearchQuery, SpanReader, SpanWriter, Store, parse};
use support::{BEGIN, RARE, argument, arrival, commit, mix, percentile, process_cpu};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let spans = argument("--spans", 1_000_000);
    let lookups = argument("--lookups", 200);
    let per_commit = argument("--commit", 8_192);
    let dir = support::data_dir("store-lookup");
    let store = Store::open(&dir, Options::default(), BEGIN).await?;
    for first in (0..spans).step_by(usize::try_from(per_commit)?) {
        let batches = commit(first..spans.min(first + per_commit));
        store.write(&batches, arrival(first)).await?;
        if (first / per_commit).is_multiple_of(64) {
            store
                .history()
                .save_flow(&[], &[], store.last_block())
                .await?;
            while store.cluster_next().await?.is_some() {}
        }
    }
    store
        .history()
        .save_flow(&[], &[], store.last_block())
        .await?;
    store.settle().await?;
    let stats = store.stats();
    println!(
        "{} spans, of which {} by trace, {} partitions, {:.1} bytes a span",
        stats.spans,
        stats.spans - stats.unclustered_spans,
        stats.partitions,
        stats.bytes as f64 / stats.spans as f64
    );
    println!("idle");
    rounds(&store, spans, lookups).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        async move {
            let (mut first, started) = (spans, Instant::now());
            while !stop.load(Ordering::Acquire) {
                let batches =
                    tokio::task::spawn_blocking(move || commit(first..first + per_commit));
                store.write(&batches.await?, arrival(first)).await?;
                first += per_commit;
            }
            Outcome::Ok((first - spans) as f64 / started.elapsed().as_secs_f64())
        }
    });
    println!("while a writer writes");
    rounds(&store, spans, lookups).await?;
    stop.store(true, Ordering::Release);
    println!(
        "  {:.0} spans/s were made and written meanwhile",
        writing.await??
    );

    store.close().await;
    let started = Instant::now();
    let store = Store::open(&dir, Options::default(), BEGIN).await?;
    println!("open again: {:.2?}", started.elapsed());
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn rounds(store: &Store, spans: u64, lookups: u64) -> Outcome<()> {
    // Of whole cohorts, so that each trace has all its spans.
    let traces = spans / (support::COHORT * support::SPANS_A_TRACE) * support::COHORT;
    let traces = traces.max(1);
    measure("trace by id", lookups, async |n| {
        let found = store
            .trace(support::trace_id(mix(n) % traces), 1_000)
            .await?;
        assert!(!found.spans.is_empty());
        Ok(())
    })
    .await?;
    measure("correlation", lookups, async |n| {
        let value = support::order(mix(n) % traces);
        let found = store.by_correlation(&value, 1_000).await?;
        assert!(!found.spans.is_empty());
        Ok(())
    })
    .await?;
    let whole = |expression: &str| -> Outcome<SearchQuery> {
        let mut query = SearchQuery::new(BEGIN, arrival(spans) + Duration::from_secs(3_600));
        query.limit = 20;
        query.filter = parse(expression)?;
        Ok(query)
    };
    measure("one attribute, of one span", lookups, async |n| {
        let rare = mix(n) % (spans / RARE).max(1);
        let page = store
            .search(&whole(&format!("rare = \"rare {rare}\""))?)
            .await?;
        assert_eq!(page.hits.len(), 1);
        Ok(())
    })
    .await?;
    measure(
        "first 20 of an attribute that many have",
        lookups / 10,
        async |n| {
            let value = mix(n) % 50;
            let page = store
                .search(&whole(&format!("attribute.7 = \"value {value} of 7\""))?)
                .await?;
            assert_eq!(page.hits.len(), 20);
            Ok(())
        },
    )
    .await?;
    measure("first 20 of service and status", lookups / 10, async |n| {
        let expression = format!("service = service-{} and status = error", n % 4 * 2);
        let page = store.search(&whole(&expression)?).await?;
        assert_eq!(page.hits.len(), 20);
        Ok(())
    })
    .await
}

async fn measure(what: &str, lookups: u64, look: impl AsyncFn(u64) -> Outcome<()>) -> Outcome<()> {
    let (mut times, cpu) = (Vec::new(), process_cpu());
    for n in 0..lookups.max(1) {
        let started = Instant::now();
        look(n).await?;
        times.push(started.elapsed());
    }
    let cpu = (process_cpu() - cpu).as_secs_f64() * 1e3 / times.len() as f64;
    println!(
        "  {what:<40} p50 {:>8.2?}  p95 {:>8.2?}  {cpu:.1} CPU-ms",
        percentile(&mut times, 50),
        percentile(&mut times, 95)
    );
    Ok(())
}
