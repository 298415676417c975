//! Facts of a disk that fills: nothing acknowledged is lost, and writing goes on by itself once there is room.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::small;
use crate::engine::{Limit, Store};
use crate::error::StoreError;
use crate::options::Options;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, text, trace_id, with};

/// A file system of 24 MiB, in memory. `None`, which is said, where the process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("skipped: no file system can be mounted here: {other:?}");
                None
            }
        }
    }

    /// Takes room until so many bytes are left.
    fn fill(&self, left: u64) {
        let free = crate::engine::free_bytes(self.0.path());
        let filler = vec![7; usize::try_from(free.saturating_sub(left)).unwrap()];
        std::fs::write(self.0.path().join("filler"), filler).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Spans that do not compress: 100 of about a kilobyte.
async fn write(store: &Store, n: u64) -> crate::error::Result<()> {
    let spans: Vec<_> = (0..100)
        .map(|span| {
            let noise = (0..60).map(|i| {
                let seed = [n, span, i].map(u64::to_le_bytes).concat();
                format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&seed))
            });
            let noise = text(&noise.collect::<String>());
            (
                origin("shop"),
                with(plain(n, span, at(n)), &[("noise", noise)]),
            )
        })
        .collect();
    store.write(&[batch(&spans)], at(n)).await.map(|_| ())
}

async fn is_whole(store: &Store, n: u64) -> bool {
    store.trace(trace_id(n), 1_000).await.unwrap().spans.len() == 100
}

async fn open(dir: &Path, options: &Options) -> Store {
    Store::open(dir, options.clone(), at(0)).await.unwrap()
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let options = Options {
        min_free_bytes: Some(0),
        seal_spans: 300,
        partition_width: Some(Duration::from_secs(1 << 30)),
        ..small()
    };
    let dir = disk.0.path().join("data");
    let store = open(&dir, &options).await;
    write(&store, 0).await.unwrap();
    let mut acknowledged = vec![0];
    for round in 0..3 {
        disk.fill(1 << 20);
        let mut refused = 0;
        // Until it is full, and then some: every attempt fails whole.
        for n in (round * 1_000 + 1).. {
            match write(&store, n).await {
                Ok(()) => acknowledged.push(n),
                Err(error) => {
                    assert!(
                        matches!(
                            error,
                            StoreError::WriteSpans { .. } | StoreError::Open { .. }
                        ),
                        "{error:?}"
                    );
                    assert!(!is_whole(&store, n).await);
                    refused += 1;
                }
            }
            if refused == 3 {
                break;
            }
        }
        for n in &acknowledged {
            assert!(is_whole(&store, *n).await, "round {round}, trace {n}");
        }
        disk.make_room();
        write(&store, 500_000 + round).await.unwrap();
        acknowledged.push(500_000 + round);
    }
    store.settle().await.unwrap();
    store.close().await;
    let store = open(&dir, &options).await;
    for n in &acknowledged {
        assert!(is_whole(&store, *n).await, "after a start, trace {n}");
    }
    store.close().await;
}

#[tokio::test]
async fn below_the_floor_the_oldest_go_and_then_writes_are_refused() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let options = Options {
        min_free_bytes: Some(8 << 20),
        partition_width: Some(Duration::from_secs(10)),
        ..small()
    };
    let dir = disk.0.path().join("data");
    let store = open(&dir, &options).await;
    for n in 0..40 {
        write(&store, n).await.unwrap();
    }
    let before = store.stats().partitions;
    assert!(before >= 4, "{before}");
    disk.fill(6 << 20);
    let retired = store.retain(at(40)).await.unwrap();
    assert!(retired.partitions > 0);
    assert!(!is_whole(&store, 0).await);
    assert!(is_whole(&store, 39).await, "the newest stay");
    assert!(store.stats().partitions >= 1);
    // Nothing is left to go, and next to nothing is free.
    disk.make_room();
    disk.fill(1 << 20);
    while store.stats().partitions > 1 {
        store.retain(at(40)).await.unwrap();
    }
    let error = write(&store, 41).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error:?}");
    assert!(is_whole(&store, 39).await);
    disk.make_room();
    write(&store, 41).await.unwrap();
    assert!(is_whole(&store, 41).await);
    store.close().await;
}

#[tokio::test]
async fn a_forecast_says_what_is_reached_first() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        retention: Duration::from_secs(7 * 86_400),
        min_free_bytes: Some(0),
        ..small()
    };
    let store = open(dir.path(), &options).await;
    assert_eq!(store.forecast(at(0)), None);
    write(&store, 0).await.unwrap();
    assert_eq!(store.forecast(at(60)), None, "a minute tells nothing");
    for n in (0..7_200).step_by(600) {
        write(&store, n).await.unwrap();
    }
    let by_age = store.forecast(at(7_200)).unwrap();
    let files: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap())
        .filter(|file| file.file_name().to_string_lossy().starts_with("spans-"))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert_eq!(by_age.bytes_per_day, files * 12);
    assert_eq!(by_age.limit, Limit::Age);
    assert_eq!(by_age.at, at(7 * 86_400));
    store.close().await;
    let small = Options {
        retention_bytes: files * 2,
        ..options
    };
    let store = open(dir.path(), &small).await;
    let by_size = store.forecast(at(7_200)).unwrap();
    assert_eq!(by_size.limit, Limit::Size);
    assert!(
        by_size.at > at(7_200) && by_size.at < at(86_400),
        "{by_size:?}"
    );
    assert_eq!(
        store.forecast(at(3 * 86_400)),
        None,
        "nothing came for a day"
    );
}

#[tokio::test]
async fn nothing_is_clustered_where_it_would_fill_the_disk() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let options = Options {
        partition_spans: 1_000,
        min_free_bytes: Some(64 << 10),
        ..small()
    };
    let store = open(disk.0.path(), &options).await;
    for n in 0..25 {
        write(&store, n).await.unwrap();
    }
    let last = store.last_block();
    store.history().save_flow(&[], b"", last).await.unwrap();
    let before = store.stats();
    disk.fill(1 << 20);
    assert_eq!(store.cluster_next().await.unwrap(), None);
    assert_eq!(store.stats().partitions, before.partitions);
    disk.make_room();
    let clustered = store.cluster_next().await.unwrap();
    assert_eq!(clustered.map(|clustered| clustered.spans), Some(1_000));
    for n in 0..25 {
        assert!(is_whole(&store, n).await, "trace {n}");
    }
}
