use std::sync::Arc;
use std::time::Duration;

use highwater_model::UnixNanos;

use super::{EndRow, FlowRow, LagRow};
use crate::engine::Store;
use crate::options::Options;
use crate::testing::at;

async fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), Options::default(), at(0))
        .await
        .unwrap()
}

fn row(bucket: u64, key: &str, value: &str) -> FlowRow {
    FlowRow {
        bucket,
        key: key.into(),
        value: value.into(),
    }
}

#[tokio::test]
async fn a_checkpoint_comes_back_after_a_restart_with_its_latest_rows() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir).await;
    let empty = first.history().load_flow(0).await.unwrap();
    assert_eq!((empty.pending, empty.last_block), (None, 0));
    let history = first.history();
    let many: Vec<_> = (0..1_700)
        .map(|i| row(10, &format!("k{i:04}"), "old"))
        .collect();
    history.save_flow(&many, b"half", 7).await.unwrap();
    let changed = [row(10, "k0003", "new"), row(20, "k0003", "later")];
    history.save_flow(&changed, b"", 9).await.unwrap();
    first.close().await;
    let second = store(&dir).await;
    let loaded = second.history().load_flow(0).await.unwrap();
    assert_eq!(
        (loaded.pending.as_deref(), loaded.last_block),
        (Some(&b""[..]), 9)
    );
    assert_eq!(loaded.rows.len(), 1_701);
    assert_eq!(loaded.rows[3], row(10, "k0003", "new"));
    assert_eq!(
        second.history().load_flow(11).await.unwrap().rows,
        [row(20, "k0003", "later")]
    );
    assert_eq!(
        second.history().delete_flow_before(20).await.unwrap(),
        1_700
    );
    assert_eq!(second.history().load_flow(0).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn block_numbers_go_on_after_the_checkpoint_even_when_the_blocks_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir).await;
    first.history().save_flow(&[], b"", 500).await.unwrap();
    first.close().await;
    let second = store(&dir).await;
    assert_eq!(crate::spans::SpanReader::last_block(&second), 500);
}

fn lag(group: &str, topic: &str, partition: i32, at: UnixNanos, n: i64) -> LagRow {
    LagRow {
        cluster: "kafka".into(),
        group: group.into(),
        topic: topic.into(),
        partition,
        at,
        committed: (n % 5 != 0).then_some(1_000 + n),
        end: Some(1_100 + i64::from(partition)),
        log_start: (partition != 1).then_some(10),
        time_lag_ms: (n % 3 != 0).then_some(n.unsigned_abs() * 100),
        state: (n % 4) as u8,
    }
}

#[tokio::test]
async fn lag_comes_back_as_it_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history();
    let mut all = Vec::new();
    for poll in 0..20_u64 {
        let mut rows = Vec::new();
        for group in ["audit", "billing"] {
            for topic in ["orders", "payments"] {
                for partition in 0..3 {
                    rows.push(lag(group, topic, partition, at(poll * 15), poll as i64));
                }
            }
        }
        // A topic that no group reads, and another cluster with the same names.
        let lonely = lag("", "lonely", 0, at(poll * 15), 1);
        let elsewhere = LagRow {
            cluster: "kafka-2".into(),
            committed: Some(1),
            ..lag("billing", "orders", 0, at(poll * 15), 1)
        };
        // However they come: group by group, as lag gives them, or not.
        let mut given = rows.clone();
        if poll % 2 == 1 {
            given.sort_by_key(|row| row.partition);
        }
        let appended = given.into_iter().chain([lonely, elsewhere]);
        history.append_lag(appended).await.unwrap();
        all.extend(rows);
    }
    all.sort_by(|a, b| {
        (a.at, &a.group, &a.topic, a.partition).cmp(&(b.at, &b.group, &b.topic, b.partition))
    });
    let of = |group: &str, from: u64, to: u64| -> Vec<LagRow> {
        let wanted = |row: &&LagRow| &*row.group == group && row.at >= at(from) && row.at < at(to);
        all.iter().filter(wanted).cloned().collect()
    };
    let got = history
        .lag_rows("kafka", "billing", at(0), at(1_000), None)
        .await
        .unwrap();
    assert_eq!(got, of("billing", 0, 1_000));
    let got = history
        .lag_rows("kafka", "audit", at(30), at(60), None)
        .await
        .unwrap();
    assert_eq!(got, of("audit", 30, 60));
    assert!(
        history
            .lag_rows("kafka", "nobody", at(0), at(99), None)
            .await
            .unwrap()
            .is_empty()
    );

    let minute = Some(Duration::from_secs(60));
    let got = history
        .lag_rows("kafka", "billing", at(0), at(300), minute)
        .await
        .unwrap();
    let instants: std::collections::BTreeSet<_> = got.iter().map(|row| row.at).collect();
    assert_eq!(instants, [0, 60, 120, 180, 240].map(at).into());

    let since = history.lag_since("kafka", at(270)).await.unwrap();
    let expected: Vec<_> = all
        .iter()
        .filter(|row| row.at >= at(270))
        .cloned()
        .collect();
    assert_eq!(since, expected);

    let ends = history
        .ends("kafka", "orders", Some(2), at(0), at(16))
        .await
        .unwrap();
    let expected: Vec<_> = [0, 15]
        .map(|s| EndRow {
            topic: Arc::from("orders"),
            partition: 2,
            at: at(s),
            end: Some(1_102),
            log_start: Some(10),
        })
        .into();
    assert_eq!(ends, expected);
    let since = history.ends_since("kafka", at(285)).await.unwrap();
    assert_eq!(since.len(), 7);
    assert!(since.iter().any(|row| &*row.topic == "lonely"));
}

#[tokio::test]
async fn lag_older_than_the_retention_goes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        history_retention: Duration::from_secs(60),
        ..Options::default()
    };
    let store = Store::open(dir.path(), options, at(0)).await.unwrap();
    let history = store.history();
    for poll in 0..20 {
        history
            .append_lag([lag("billing", "orders", 0, at(poll * 15), 1)])
            .await
            .unwrap();
    }
    store.retain(at(300)).await.unwrap();
    let got = history
        .lag_rows("kafka", "billing", at(0), at(999), None)
        .await
        .unwrap();
    assert_eq!(got.len(), 4);
    let got = history
        .ends("kafka", "orders", None, at(0), at(999))
        .await
        .unwrap();
    assert_eq!(got.len(), 4);
}

#[tokio::test]
async fn history_can_be_used_from_any_task() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let history = store.history().clone();
    let task = tokio::spawn(async move {
        history
            .append_lag([lag("billing", "orders", 0, at(0), 1)])
            .await?;
        history.save_flow(&[row(1, "k", "v")], b"p", 1).await?;
        history.delete_flow_before(0).await?;
        history.lag_since("kafka", at(0)).await
    });
    assert_eq!(task.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn history_that_is_too_large_loses_its_oldest_lag_and_nothing_of_the_flow() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        history_bytes: 400_000,
        ..Options::default()
    };
    let store = Store::open(dir.path(), options, at(0)).await.unwrap();
    let history = store.history();
    let flow: Vec<_> = (0..500)
        .map(|i| row(10, &format!("k{i:04}"), "value"))
        .collect();
    history.save_flow(&flow, b"half", 7).await.unwrap();
    let polls = 200_u64;
    for poll in 0..polls {
        let rows: Vec<_> = (0..400)
            .map(|partition| LagRow {
                cluster: "kafka".into(),
                group: "billing".into(),
                topic: "orders".into(),
                partition,
                at: at(poll * 15),
                committed: Some((poll * 7_919) as i64 * i64::from(partition)),
                end: Some((poll * 104_729) as i64 * i64::from(partition)),
                log_start: Some(0),
                time_lag_ms: Some(poll),
                state: 0,
            })
            .collect();
        history.append_lag(rows).await.unwrap();
    }
    let file = dir.path().join("history.db");
    let now = at(polls * 15);
    let polls_kept = async || {
        let rows = history.lag_since("kafka", at(0)).await.unwrap();
        let mut kept: Vec<_> = rows.iter().map(|row| row.at).collect();
        kept.dedup();
        kept
    };
    assert_eq!(polls_kept().await.len() as u64, polls);
    history.retain(now).await.unwrap();
    let kept = polls_kept().await;
    assert!(
        !kept.is_empty() && (kept.len() as u64) < polls,
        "{}",
        kept.len()
    );
    assert_eq!(kept.last(), Some(&at((polls - 1) * 15)), "the newest stay");
    assert_eq!(history.load_flow(0).await.unwrap().rows.len(), 500);
    history.retain(now).await.unwrap();
    assert_eq!(polls_kept().await, kept, "no more goes than must");
    // The log is moved into the file when it is closed.
    store.close().await;
    assert!(file.metadata().unwrap().len() <= 400_000);
}

#[tokio::test]
async fn landmarks_are_kept_once_and_a_version_outlives_what_else_is_forgotten() {
    use super::Landmark;
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        history_retention: Duration::from_secs(3_600),
        ..Options::default()
    };
    let store = Store::open(dir.path(), options, at(0)).await.unwrap();
    let landmark = |seconds, kind: &str, text: &str| Landmark {
        subject: "billing".into(),
        at: at(seconds),
        kind: kind.into(),
        text: text.into(),
    };
    let all = [
        landmark(10, "deployed", "4.17.0"),
        landmark(20, "rebalanced", "3 members, 2 before"),
        landmark(8_000, "rewound", "2 messages back on 1 partition"),
    ];
    let history = store.history();
    history.add_landmarks(&all).await.unwrap();
    history.add_landmarks(&all[1..]).await.unwrap();
    let found = history.landmarks("billing", at(0), at(9_000), 2).await;
    assert_eq!(found.unwrap(), [all[2].clone(), all[1].clone()]);
    let newest = history.newest_landmarks(at(10), at(8_000), 10).await;
    assert_eq!(newest.unwrap(), [all[1].clone(), all[0].clone()]);
    let newest = history.newest_landmarks(at(0), at(9_000), 1).await;
    assert_eq!(newest.unwrap(), [all[2].clone()]);
    let found = history.landmarks("audit", at(0), at(9_000), 10).await;
    assert_eq!(found.unwrap(), []);
    history.retain(at(9_000)).await.unwrap();
    let found = history.landmarks("billing", at(0), at(9_000), 10).await;
    assert_eq!(found.unwrap(), [all[2].clone(), all[0].clone()]);
    let versions = history.landmarks_of(["version", "deployed"]).await;
    assert_eq!(versions.unwrap(), [all[0].clone()]);
}
