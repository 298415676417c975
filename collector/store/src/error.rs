//! What can go wrong in the store, a variant a step.

use std::path::PathBuf;

pub use crate::block::Corrupt;

/// The store could not do what was asked. Nothing is half done when it is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory could not be made or written to.
    #[error("cannot write to the data directory {dir}")]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error("another highwater is using {dir}")]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A file was written by a later version of Highwater.
    #[error(
        "{file} was written by a newer highwater (format {found}, this one knows {known}); start the newer version, or give another --data-dir"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The last format known here.
        known: i64,
    },
    /// There are span files, but no list of them.
    #[error(
        "{dir} holds span files but no catalog.db; restore catalog.db, or move the spans-*.db files away"
    )]
    NoCatalog {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no store to look at.
    #[error("{dir} holds no store: there is no catalog.db in it")]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// A backup is written to a new or an empty directory only.
    #[error("{dir} is not empty; a backup is written to a new or an empty directory")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A file could not be copied.
    #[error("cannot copy {file}")]
    Copy {
        /// The file that was to be copied.
        file: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A database file could not be opened.
    #[error("cannot open {file}")]
    Open {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("cannot bring {file} to format {version}")]
    Migrate {
        /// The file.
        file: PathBuf,
        /// The format it should have got.
        version: i64,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The list of partitions could not be read or changed.
    #[error("cannot {step} in catalog.db")]
    Catalog {
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Blocks could not be compressed.
    #[error("cannot compress {spans} spans")]
    Compress {
        /// How many.
        spans: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Blocks could not be committed; none of them was.
    #[error("cannot write {spans} spans")]
    WriteSpans {
        /// How many.
        spans: usize,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A segment's index could not be written; it stays in memory.
    #[error("cannot write the index of a segment")]
    WriteIndex {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// An index is not what was written; what it would find is looked for in every block.
    #[error("the index of segment {segment} is damaged")]
    DamagedIndex {
        /// Its first block.
        segment: u64,
        /// What is wrong.
        #[source]
        source: Corrupt,
    },
    /// A partition could not be clustered; it stays as it was.
    #[error("cannot cluster spans by trace")]
    Cluster {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The disk is nearly full. Sending again later is right: room is made, or an operator makes it.
    #[error("the disk has {free} bytes left, and {floor} must stay free (min_free)")]
    NoRoom {
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// Nobody waits for the answer any more.
    #[error("the search was given up")]
    GivenUp,
    /// The store is being closed.
    #[error("the store is being closed")]
    Closing,
    /// A query on the span store failed.
    #[error("cannot read {what}")]
    Read {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// What is stored cannot be understood.
    #[error("block {block} is damaged")]
    Damaged {
        /// The block.
        block: u64,
        /// How.
        #[source]
        source: Corrupt,
    },
    /// History could not be written; nothing of the call was.
    #[error("cannot write {what} to history.db")]
    WriteHistory {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// History could not be read.
    #[error("cannot read {what} from history.db")]
    ReadHistory {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row of history cannot be understood.
    #[error("a row of {what} in history.db is damaged")]
    DamagedHistory {
        /// What.
        what: &'static str,
        /// How.
        #[source]
        source: Corrupt,
    },
    /// A damaged file could not be set aside.
    #[error("{file} is damaged, and cannot be moved out of the way")]
    SetAside {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The list of span files is damaged.
    #[error(
        "{file} is damaged; restore it from a backup, or move the whole data directory away and start with an empty one"
    )]
    DamagedCatalog {
        /// The file.
        file: PathBuf,
        /// How.
        #[source]
        source: Box<StoreError>,
    },
    /// A retired file could not be removed.
    #[error("cannot remove {file}")]
    Remove {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime is shutting down, or a decoder panicked.
    #[error("work in the background was cut off")]
    Background(#[source] tokio::task::JoinError),
}

/// What the store answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

impl StoreError {
    /// Whether what was written to a file cannot be had back from it; see [`crate::engine::sqlite::is_damage`].
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::DamagedIndex { .. } => true,
            Self::Open { source, .. }
            | Self::Migrate { source, .. }
            | Self::Read { source, .. }
            | Self::ReadHistory { source, .. }
            | Self::Catalog { source, .. }
            | Self::WriteSpans { source, .. }
            | Self::Copy { source, .. }
            | Self::Cluster { source } => crate::engine::sqlite::is_damage(source),
            _ => false,
        }
    }

    /// The error with its causes, in a line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with its causes, in a line; a cause that its error has said already is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
