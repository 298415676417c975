//! Facts of writing: what is there after it, and what is there once.

use highwater_model::raw::StatusCode;

use super::{Engine, small};
use crate::options::Options;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, trace_id};

pub(super) async fn what_is_written_is_found_as_it_was_sent<E: Engine>() {
    let engine = E::new(small());
    let store = engine.open().await;
    let sent: Vec<_> = (0..10)
        .map(|i| (origin("shop"), plain(1, i, at(i))))
        .collect();
    let written = store.write(&[batch(&sent)], at(20)).await.unwrap();
    assert_eq!(written.stored, [10]);
    assert_eq!(written.duplicates, 0);
    assert_eq!(store.last_block(), written.block);
    let found = store.trace(trace_id(1), 100).await.unwrap();
    assert!(!found.truncated);
    let raw: Vec<_> = found
        .spans
        .iter()
        .map(|stored| (Clone::clone(&*stored.origin), stored.raw.clone()))
        .collect();
    assert_eq!(raw, sent);
    assert!(found.spans.iter().all(|stored| stored.arrived == at(20)));
    assert!(
        store
            .trace(trace_id(2), 100)
            .await
            .unwrap()
            .spans
            .is_empty()
    );
}

pub(super) async fn an_empty_write_writes_nothing<E: Engine>() {
    let engine = E::new(small());
    let store = engine.open().await;
    let written = store.write(&[batch(&[])], at(0)).await.unwrap();
    assert_eq!((written.block, written.stored), (0, vec![0]));
    assert!(store.scan_after(0, 10).await.unwrap().is_empty());
}

pub(super) async fn a_resend_is_stored_once<E: Engine>() {
    let engine = E::new(small());
    let store = engine.open().await;
    let spans: Vec<_> = (0..3)
        .map(|i| (origin("shop"), plain(1, i, at(i))))
        .collect();
    let request = batch(&spans);
    let first = store
        .write(&[request.clone(), request.clone()], at(10))
        .await
        .unwrap();
    assert_eq!(first.stored, [3, 0], "a resend within one commit");
    assert_eq!(first.kept, [true, true, true, false, false, false]);
    let again = store
        .write(std::slice::from_ref(&request), at(11))
        .await
        .unwrap();
    assert_eq!(
        (again.stored, again.duplicates, again.block),
        (vec![0], 3, first.block)
    );
    engine.close(store).await;
    let store = engine.open().await;
    let after_restart = store.write(&[request], at(12)).await.unwrap();
    assert_eq!(after_restart.duplicates, 3, "recognised after a restart");
    assert_eq!(store.trace(trace_id(1), 100).await.unwrap().spans.len(), 3);
}

pub(super) async fn a_resend_too_late_to_be_recognised_is_read_once<E: Engine>() {
    let engine = E::new(Options {
        recent_spans: 2,
        ..small()
    });
    let store = engine.open().await;
    let old = batch(&[(origin("shop"), plain(1, 1, at(0)))]);
    store
        .write(std::slice::from_ref(&old), at(0))
        .await
        .unwrap();
    for i in 0..10 {
        let other = batch(&[(origin("shop"), plain(2, i, at(1)))]);
        store.write(&[other], at(1)).await.unwrap();
    }
    assert_eq!(store.write(&[old], at(2)).await.unwrap().stored, [1]);
    assert_eq!(store.trace(trace_id(1), 100).await.unwrap().spans.len(), 1);
}

pub(super) async fn equal_ids_with_other_content_are_both_kept<E: Engine>() {
    let engine = E::new(small());
    let store = engine.open().await;
    let ok = plain(1, 1, at(0));
    let mut failed = ok.clone();
    failed.status = StatusCode::Error;
    for span in [ok, failed] {
        store
            .write(&[batch(&[(origin("shop"), span)])], at(0))
            .await
            .unwrap();
    }
    assert_eq!(store.trace(trace_id(1), 100).await.unwrap().spans.len(), 2);
}

pub(super) async fn a_restart_finds_everything_and_goes_on<E: Engine>() {
    let engine = E::new(small());
    let mut blocks = Vec::new();
    for start in 0..4 {
        let store = engine.open().await;
        if let Some(last) = blocks.last() {
            assert_eq!(store.last_block(), *last);
        }
        // Some segments are sealed, some are not; some partitions are full, one is not.
        for i in 0..8 {
            let n = start * 8 + i;
            let spans: Vec<_> = (0..5)
                .map(|span| (origin("shop"), plain(n, span, at(n))))
                .collect();
            let written = store.write(&[batch(&spans)], at(n * 60)).await.unwrap();
            blocks.push(written.block);
        }
        for n in 0..(start + 1) * 8 {
            assert_eq!(store.trace(trace_id(n), 100).await.unwrap().spans.len(), 5);
        }
        engine.close(store).await;
    }
    assert!(blocks.is_sorted_by(|a, b| a < b), "{blocks:?}");
}

pub(super) async fn a_scan_gives_every_committed_block_once_and_in_order<E: Engine>() {
    let engine = E::new(small());
    let store = engine.open().await;
    let mut expected = Vec::new();
    for n in 0..30 {
        let spans: Vec<_> = (0..6)
            .map(|span| (origin("shop"), plain(n, span, at(n))))
            .collect();
        let request = batch(&spans);
        expected.extend(request.spans.iter().map(|one| one.span.clone()));
        store.write(&[request], at(n * 60)).await.unwrap();
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let blocks = store.scan_after(after, 7).await.unwrap();
        assert!(blocks.len() <= 7);
        let Some(last) = blocks.last() else { break };
        assert!(blocks.is_sorted_by(|a, b| a.block < b.block));
        assert!(blocks[0].block > after);
        after = last.block;
        seen.extend(blocks.iter().flat_map(|block| block.spans.iter().cloned()));
    }
    assert_eq!(after, store.last_block());
    assert_eq!(seen, expected);
}

pub(super) async fn readers_and_a_writer_work_side_by_side<E: Engine>()
where
    E::Store: Clone,
{
    let engine = E::new(small());
    let store = engine.open().await;
    let reader = store.clone();
    let (acknowledged, mut seen) = tokio::sync::watch::channel(0_u64);
    // Whatever is acknowledged is found at once, while segments are sealed and partitions begun.
    let reading = tokio::spawn(async move {
        while seen.changed().await.is_ok() {
            let n = *seen.borrow();
            for n in [n, n.div_ceil(2), 1] {
                let found = reader.trace(trace_id(n), 10).await.unwrap();
                assert_eq!(found.spans.len(), 5, "trace {n}");
            }
        }
    });
    for n in 1..100 {
        let spans: Vec<_> = (0..5)
            .map(|span| (origin("shop"), plain(n, span, at(n))))
            .collect();
        store.write(&[batch(&spans)], at(n * 30)).await.unwrap();
        acknowledged.send(n).unwrap();
    }
    drop(acknowledged);
    reading.await.unwrap();
    engine.settle(&store).await;
    for n in 1..100 {
        assert_eq!(store.trace(trace_id(n), 10).await.unwrap().spans.len(), 5);
    }
}
