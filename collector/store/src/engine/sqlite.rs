//! How a SQLite file is opened, and brought to the present format.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::error::{Result, StoreError};

/// Numbered SQL; the n-th brings a file to format n.
pub(crate) type Migrations = &'static [&'static str];

pub(crate) const CATALOG: Migrations = &[
    include_str!("../../../../migrations/sqlite/catalog/0001_partitions.sql"),
    include_str!("../../../../migrations/sqlite/catalog/0002_settled.sql"),
];
pub(crate) const PARTITION: Migrations = &[
    include_str!("../../../../migrations/sqlite/partition/0001_blocks.sql"),
    include_str!("../../../../migrations/sqlite/partition/0002_attributes.sql"),
    include_str!("../../../../migrations/sqlite/partition/0003_index_by_key.sql"),
];
pub(crate) const HISTORY: Migrations = &[
    include_str!("../../../../migrations/sqlite/history/0001_history.sql"),
    include_str!("../../../../migrations/sqlite/history/0002_alerts.sql"),
    include_str!("../../../../migrations/sqlite/history/0003_landmarks.sql"),
];

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
}

/// As [`open_writer`]; a file that is made gives pages back to the disk when it is asked to.
pub(crate) async fn open_shrinking(
    file: &Path,
    migrations: Migrations,
) -> Result<SqliteConnection> {
    let options = options(file)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        // Each poll of a large cluster writes to a page of every group once: no cache holds them all, and a larger one
        // only fills.
        .pragma("cache_size", "-2048");
    open_with(options, file, migrations).await
}

/// Opens a file to write, makes it if it is not there, and brings it to the present format.
///
/// FULL: a commit is on the disk when it returns. 16 KB pages: blobs are large, and a commit writes few of them.
pub(crate) async fn open_writer(file: &Path, migrations: Migrations) -> Result<SqliteConnection> {
    let options = options(file).pragma("cache_size", "-8192");
    open_with(options, file, migrations).await
}

async fn open_with(
    options: SqliteConnectOptions,
    file: &Path,
    migrations: Migrations,
) -> Result<SqliteConnection> {
    let opened = options
        .create_if_missing(true)
        .page_size(16 * 1024)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // The log is cut back after a checkpoint, lest one large commit keep its size for ever.
        .pragma("journal_size_limit", "67108864")
        .connect()
        .await;
    let mut connection = opened.map_err(|source| open_error(file, source))?;
    migrate(&mut connection, file, migrations).await?;
    Ok(connection)
}

/// Moves the log into the file, as far as readers let it, and closes. What stays in the log is not lost: it is
/// moved with the next close, so a failure here is nothing to report.
pub(crate) async fn close_writer(mut connection: SqliteConnection) {
    let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await;
    let _ = connection.close().await;
}

/// A pool that can only read. It opens no connection until it is asked.
pub(crate) fn open_readers(file: &Path, connections: u32) -> SqlitePool {
    let options = options(file).read_only(true).pragma("cache_size", "-4096");
    SqlitePoolOptions::new()
        .max_connections(connections.max(1))
        .min_connections(0)
        .idle_timeout(Duration::from_secs(60))
        .acquire_timeout(Duration::from_secs(30))
        // A connection in the same process does not go stale.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Opens a file of a data directory beside whoever writes to it, only to read; gives its format too.
///
/// With SQLite's log a reader in another process makes no writer wait. It may make the log's index anew where the
/// writer has gone, so it needs the right to write to the directory.
pub(crate) async fn open_reader(
    file: &Path,
    migrations: Migrations,
) -> Result<(SqliteConnection, i64)> {
    let opened = options(file).read_only(true).connect().await;
    let mut connection = opened.map_err(|source| open_error(file, source))?;
    let found = format(&mut connection, file, migrations).await?;
    Ok((connection, found))
}

fn open_error(file: &Path, source: sqlx::Error) -> StoreError {
    StoreError::Open {
        file: file.to_owned(),
        source,
    }
}

/// The format a file has; an error when this version does not know it.
async fn format(
    connection: &mut SqliteConnection,
    file: &Path,
    migrations: Migrations,
) -> Result<i64> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(|source| open_error(file, source))?;
    let known = migrations.len() as i64;
    if found > known {
        return Err(StoreError::Newer {
            file: file.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

async fn migrate(
    connection: &mut SqliteConnection,
    file: &Path,
    migrations: Migrations,
) -> Result<()> {
    let found = format(connection, file, migrations).await?;
    let missing = (1..).zip(migrations).skip(found.max(0) as usize);
    for (version, script) in missing {
        apply(connection, script, version)
            .await
            .map_err(|source| StoreError::Migrate {
                file: file.to_owned(),
                version,
                source,
            })?;
    }
    Ok(())
}

async fn apply(
    connection: &mut SqliteConnection,
    script: &'static str,
    version: i64,
) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    transaction.execute(script).await?;
    // A pragma takes no parameter; the number is ours.
    let pragma = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
    transaction.execute(pragma).await?;
    transaction.commit().await
}

/// Whether what was written cannot be had back: SQLite found that the file is not what it wrote, or the disk does not give
/// a place of it.
///
/// A disk that fails to read for a moment is no different from one with a bad sector. So nothing that is done for damage
/// may be for ever: what is left out is left out until the next start, and files are kept.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| {
        // SQLITE_CORRUPT and SQLITE_NOTADB, with their extended codes.
        matches!(code & 0xff, 11 | 26)
            // SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ and SQLITE_IOERR_CORRUPTFS; other errors of the disk are of writing,
            // or of nothing that a file lacks.
            || matches!(code, 266 | 522 | 8458)
    }) || matches!(error, sqlx::Error::ColumnDecode { .. })
}

/// An unsigned number as SQLite can hold it. Instants beyond the year 2262 are cut; exact ones are in the blocks.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back from [`int`].
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
