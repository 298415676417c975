//! Facts of damage: what is damaged costs itself, is said, and nothing panics.

use std::path::Path;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};

use super::sqlite::Sqlite;
use super::{Engine, small};
use crate::engine::{Inspection, Store};
use crate::options::Options;
use crate::query::parse;
use crate::search::SearchQuery;
use crate::spans::{SpanReader, SpanWriter};
use crate::testing::{at, batch, origin, plain, text, trace_id, with};

const TRACES: u64 = 24;

/// One file, with two segments on disk and one open; a block holds four of a trace's five spans, or one.
fn options() -> Options {
    Options {
        partition_width: Some(Duration::from_secs(1 << 30)),
        seal_spans: 50,
        // Damage is met on the disk, not hidden by what is in memory.
        cache_bytes: 0,
        ..small()
    }
}

async fn write(store: &Store, n: u64) {
    let spans: Vec<_> = (0..5)
        .map(|i| {
            let order = format!("order-{n}");
            // Large enough for pages of their own, and not compressible.
            let noise: String = (0..400_u64)
                .map(|k| {
                    format!(
                        "{:016x}",
                        (n * 5 + i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (k * k * k))
                    )
                })
                .collect();
            let attributes = [("order.id", text(&order)), ("noise", text(&noise))];
            (origin("shop"), with(plain(n, i, at(n)), &attributes))
        })
        .collect();
    store.write(&[batch(&spans)], at(n)).await.unwrap();
}

async fn filled() -> Sqlite {
    let engine = Sqlite::new(options());
    let store = engine.open().await;
    for n in 0..TRACES {
        write(&store, n).await;
    }
    store.settle().await.unwrap();
    store.close().await;
    engine
}

async fn connect(file: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    options.connect().await.unwrap()
}

/// Opens, reads everything in every way, and writes on. Gives how many spans were found.
async fn read_everything(dir: &Path) -> (usize, Store) {
    let store = Store::open(dir, options(), at(0)).await.unwrap();
    let mut found = 0;
    for n in 0..TRACES {
        found += store.trace(trace_id(n), 100).await.unwrap().spans.len();
    }
    store.scan_after(0, 1_000).await.unwrap();
    for expression in ["order.id = \"order-7\"", "service = shop"] {
        let query = SearchQuery {
            filter: parse(expression).unwrap(),
            ..SearchQuery::new(at(0), at(10_000))
        };
        store.search(&query).await.unwrap();
    }
    (found, store)
}

#[tokio::test]
async fn bytes_flipped_in_a_head_or_body_cost_that_block_and_are_said() {
    let engine = filled().await;
    let file = engine.dir.path().join("spans-000001.db");
    let mut connection = connect(&file).await;
    // One block of a sealed segment, one of the open one.
    for (table, column) in [("head", "columns"), ("body", "spans")] {
        for block in [3_i64, 2 * TRACES as i64 - 1] {
            let sql = format!("SELECT {column} FROM {table} WHERE block = ?");
            let blob: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(block)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            let set = format!("UPDATE {table} SET {column} = ? WHERE block = ?");
            for step in 0..24 {
                let place = step * (blob.len() - 1) / 23;
                let mut damaged = blob.clone();
                damaged[place] ^= 0x10;
                sqlx::query(sqlx::AssertSqlSafe(set.clone()))
                    .bind(&damaged)
                    .bind(block)
                    .execute(&mut connection)
                    .await
                    .unwrap();
                let checked = Inspection::new(engine.dir.path())
                    .unwrap()
                    .check()
                    .await
                    .unwrap();
                let blocks: Vec<_> = checked.findings.iter().map(|found| found.block).collect();
                assert_eq!(
                    blocks,
                    [Some(block as u64)],
                    "{table} byte {place}: {checked:?}"
                );

                let (found, store) = read_everything(engine.dir.path()).await;
                let of_block = if block % 2 == 1 { 4 } else { 1 };
                assert_eq!(
                    found,
                    TRACES as usize * 5 - of_block,
                    "{table} byte {place}"
                );
                let damage = store.damage();
                assert_eq!(damage.len(), 1, "{damage:?}");
                assert_eq!(damage[0].block, Some(block as u64));
                assert_eq!(damage[0].file, "spans-000001.db");
                let stats = store.stats();
                assert_eq!((stats.damaged_blocks, stats.damaged_files), (1, 1));
                store.close().await;
            }
            sqlx::query(sqlx::AssertSqlSafe(set))
                .bind(&blob)
                .bind(block)
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
    connection.close().await.unwrap();
    let (found, store) = read_everything(engine.dir.path()).await;
    assert_eq!((found, store.damage()), (TRACES as usize * 5, Vec::new()));
}

#[tokio::test]
async fn a_damaged_index_costs_time_and_no_span() {
    let engine = filled().await;
    let mut connection = connect(&engine.dir.path().join("spans-000001.db")).await;
    // A number that does not end.
    sqlx::query("UPDATE ix SET entries = x'ffffffffffffffffffffffff'")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let (found, store) = read_everything(engine.dir.path()).await;
    assert_eq!(found, TRACES as usize * 5);
    assert_eq!(store.damage().len(), 1);
    store.close().await;
    let checked = Inspection::new(engine.dir.path())
        .unwrap()
        .check()
        .await
        .unwrap();
    assert!(!checked.findings.is_empty());
    assert!(
        checked
            .findings
            .iter()
            .all(|found| found.what.contains("index of segment"))
    );
}

#[tokio::test]
async fn a_replay_goes_on_behind_damaged_blocks() {
    let engine = filled().await;
    let mut connection = connect(&engine.dir.path().join("spans-000001.db")).await;
    sqlx::query("UPDATE head SET columns = x'00' WHERE block BETWEEN 5 AND 20")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = Store::open(engine.dir.path(), options(), at(0))
        .await
        .unwrap();
    let (mut after, mut replayed) = (0, Vec::new());
    loop {
        let blocks = store.scan_after(after, 4).await.unwrap();
        let Some(last) = blocks.last() else { break };
        after = last.block;
        replayed.extend(blocks.iter().map(|block| block.block));
    }
    let expected: Vec<u64> = (1..5).chain(21..=2 * TRACES).collect();
    assert_eq!(replayed, expected);
}

/// Damages each page of a file in turn; other files and what is written later stay whole, and nothing panics.
async fn each_page(damage: impl Fn(&mut Vec<u8>, usize)) -> Vec<usize> {
    const PAGE: usize = 16 * 1024;
    let engine = filled().await;
    let whole = std::fs::read(engine.dir.path().join("spans-000001.db")).unwrap();
    let mut lost = Vec::new();
    for page in 0..whole.len() / PAGE {
        let damaged = Sqlite::new(options());
        for entry in std::fs::read_dir(engine.dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), damaged.dir.path().join(entry.file_name())).unwrap();
        }
        let mut bytes = whole.clone();
        damage(&mut bytes, page * PAGE);
        std::fs::write(damaged.dir.path().join("spans-000001.db"), bytes).unwrap();
        let inspection = Inspection::new(damaged.dir.path()).unwrap();
        let checked = inspection.check().await.unwrap();
        let (found, store) = read_everything(damaged.dir.path()).await;
        lost.push(TRACES as usize * 5 - found);
        if found < TRACES as usize * 5 {
            assert!(!checked.findings.is_empty(), "page {page}: {found} found");
        }
        // The first try may meet the damage; then another file is begun.
        let request = batch(&[(origin("shop"), plain(900, 0, at(900)))]);
        let mut written = store.write(std::slice::from_ref(&request), at(900)).await;
        if written.is_err() {
            written = store.write(&[request], at(901)).await;
        }
        assert_eq!(written.unwrap().stored, [1], "page {page}");
        let stored = store.trace(trace_id(900), 10).await.unwrap();
        assert_eq!(stored.spans.len(), 1, "page {page}");
        store.close().await;
    }
    lost
}

#[tokio::test]
async fn a_page_of_zeroes_costs_what_was_on_it() {
    let lost = each_page(|bytes, at| bytes[at..at + 16 * 1024].fill(0)).await;
    // The first seven pages are the roots of the schema and of six trees: with one goes what it leads to. The others
    // hold a few blocks each.
    let (roots, leaves) = lost.split_at(7);
    assert_eq!(roots[0], TRACES as usize * 5);
    assert!(leaves.iter().all(|lost| *lost <= 10), "{lost:?}");
    assert!(leaves.iter().any(|lost| *lost > 0), "{lost:?}");
}

#[tokio::test]
async fn a_file_that_ends_early_costs_what_was_behind_its_end() {
    let lost = each_page(|bytes, at| bytes.truncate(at)).await;
    assert_eq!(lost[0], TRACES as usize * 5);
    let last = lost.last().copied().unwrap();
    assert!(last <= 10, "{lost:?}");
}

#[tokio::test]
async fn a_damaged_history_is_set_aside_and_stops_no_start() {
    const PAGE: usize = 16 * 1024;
    let engine = filled().await;
    let store = engine.open().await;
    let rows: Vec<_> = (0..200)
        .map(|n: u64| crate::history::FlowRow {
            bucket: n,
            key: n.to_be_bytes().to_vec(),
            value: vec![7; 300],
        })
        .collect();
    let last = store.last_block();
    let history = store.history();
    history.save_flow(&rows, b"pending", last).await.unwrap();
    let memory = vec![7; 300];
    let saved = history.save_alerts(&[("engine", &memory)], &[], &[]).await;
    saved.unwrap();
    let landmark = crate::Landmark {
        subject: "billing".into(),
        at: at(5),
        kind: "version".into(),
        text: "4.17.0".into(),
    };
    let landmarks = [landmark];
    history.add_landmarks(&landmarks).await.unwrap();
    store.close().await;
    let whole = std::fs::read(engine.dir.path().join("history.db")).unwrap();
    let mut set_aside = 0;
    for page in 0..whole.len() / PAGE {
        for cut in [false, true] {
            let damaged = Sqlite::new(options());
            for entry in std::fs::read_dir(engine.dir.path()).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), damaged.dir.path().join(entry.file_name())).unwrap();
            }
            let mut bytes = whole.clone();
            if cut {
                bytes.truncate(page * PAGE + 100);
            } else {
                bytes[page * PAGE..][..PAGE].fill(0xa5);
            }
            std::fs::write(damaged.dir.path().join("history.db"), &bytes).unwrap();
            let (found, store) = read_everything(damaged.dir.path()).await;
            assert_eq!(found, TRACES as usize * 5, "page {page}");
            let saved = store.history().load_flow(0).await.unwrap();
            let damage = store.damage();
            if damage.is_empty() {
                // A page that a start does not need: of lag, or free.
                assert_eq!((saved.rows.len(), saved.last_block), (200, last));
                let alerts = store.history().load_alerts().await.unwrap();
                assert_eq!(alerts.memory["engine"], memory, "page {page}");
                let kept = store.history().landmarks_of(["version"; 2]).await.unwrap();
                assert_eq!(kept, landmarks, "page {page}");
            } else {
                set_aside += 1;
                assert_eq!(saved.pending, None, "page {page}");
                assert_eq!(damage[0].file, "history.db");
                let aside = format!("history.db.damaged-{}", at(0).0 / 1_000_000_000);
                assert!(damage[0].what.contains(&aside), "{damage:?}");
                let kept = std::fs::read(damaged.dir.path().join(aside)).unwrap();
                // SQLite may have given it the length that its header says.
                assert!(kept.len() >= bytes.len());
                // The new one is written to, and is no damage at the next start.
                let history = store.history();
                history.save_flow(&rows, b"again", last).await.unwrap();
                store.close().await;
                let again = damaged.open().await;
                assert_eq!(again.damage(), []);
                let saved = again.history().load_flow(0).await.unwrap();
                assert_eq!(saved.pending.as_deref(), Some(&b"again"[..]));
                again.close().await;
            }
        }
    }
    assert!(set_aside >= 6, "{set_aside}");
}

#[tokio::test]
async fn a_damaged_catalog_says_what_can_be_done() {
    let engine = filled().await;
    let file = engine.dir.path().join("catalog.db");
    let whole = std::fs::read(&file).unwrap();
    for page in 0..2 {
        let mut bytes = whole.clone();
        bytes[page * 16 * 1024..][..16 * 1024].fill(0xa5);
        std::fs::write(&file, &bytes).unwrap();
        let error = Store::open(engine.dir.path(), options(), at(0)).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("catalog.db is damaged; restore it"),
            "{error}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "it is left as it is");
    }
}

#[tokio::test]
async fn a_file_whose_size_is_not_told_is_not_removed() {
    let engine = filled().await;
    let file = engine.dir.path().join("spans-000001.db");
    let aside = engine.dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    // Asking for its size gives an error, and not that there is none.
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let error = Store::open(engine.dir.path(), options(), at(0))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("spans-000001.db"),
        "{}",
        error.chain()
    );
    assert!(file.is_symlink(), "it was removed");
    std::fs::rename(&aside, &file).unwrap();
    let (found, store) = read_everything(engine.dir.path()).await;
    assert_eq!(found as u64, TRACES * 5);
    store.close().await;
}

#[tokio::test]
async fn a_start_goes_on_where_retention_fails() {
    let engine = filled().await;
    engine
        .change(
            "history.db",
            "INSERT INTO landmark (subject, at, kind, text) VALUES ('shop', 1, 'rebalance', ''); \
             CREATE TRIGGER refuse BEFORE DELETE ON landmark BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .await;
    let (found, store) = read_everything(engine.dir.path()).await;
    assert_eq!(found as u64, TRACES * 5);
    store.retain(at(0)).await.unwrap_err();
    store.close().await;
}
