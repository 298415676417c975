//! What cannot be read of a partition: set aside, said once, and left out by every reader.
//!
//! A damaged block costs its own spans and nothing else: no search fails because of it, and it is read no second time
//! in the life of the process. It stays in its file, for `highwater store check` and for whoever may know how to save it. The
//! next start knows nothing of it: what a disk did not read for a while is then there again.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;

use highwater_model::UnixNanos;
use parking_lot::Mutex;

use super::inspect::Finding;
use super::retain::files;
use crate::error::{Result, StoreError};

/// The damage of one partition.
#[derive(Debug)]
pub(super) struct Damage {
    file: String,
    /// No await happens while it is held. `None`: of the file, and not of one block.
    found: Mutex<BTreeMap<Option<u64>, String>>,
}

impl Damage {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: super::inspect::name(file),
            found: Mutex::default(),
        }
    }

    /// Sets a block aside.
    pub(super) fn of_block(&self, block: u64, reason: &dyn Display) {
        self.add(Some(block), reason);
    }

    /// Notes what is wrong with the file beside its blocks; the first reason stays.
    pub(super) fn of_file(&self, reason: &dyn Display) {
        self.add(None, reason);
    }

    fn add(&self, block: Option<u64>, reason: &dyn Display) {
        let new = {
            let mut found = self.found.lock();
            let new = !found.contains_key(&block);
            found.entry(block).or_insert_with(|| reason.to_string());
            new
        };
        if new {
            let reason = tracing::field::display(reason);
            match block {
                Some(block) => tracing::error!(
                    file = self.file,
                    block,
                    reason,
                    "a block is damaged and left out; \"highwater store check\" says more"
                ),
                None => tracing::error!(
                    file = self.file,
                    reason,
                    "a file is damaged; \"highwater store check\" says more"
                ),
            }
        }
    }

    /// Whether a block is set aside.
    pub(super) fn has(&self, block: u64) -> bool {
        self.found.lock().contains_key(&Some(block))
    }

    /// How many blocks are set aside.
    pub(super) fn blocks(&self) -> u64 {
        self.found.lock().keys().flatten().count() as u64
    }

    /// Whether there is anything.
    pub(super) fn any(&self) -> bool {
        !self.found.lock().is_empty()
    }

    /// Sets the block of a [`StoreError::Damaged`] aside and gives `None` for it; other errors stay errors.
    pub(super) fn leave_out<T>(&self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Damaged { block, source }) => {
                self.of_block(block, &source);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// All of it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let found = self.found.lock();
        let findings = found.iter().map(|(block, what)| Finding {
            file: self.file.clone(),
            block: *block,
            what: what.clone(),
        });
        findings.collect()
    }
}

/// Moves a damaged database out of the way, with its log, so that it can still be opened; gives its new name.
pub(super) fn set_aside(file: &Path, now: UnixNanos) -> Result<String> {
    let seconds = now.0 / 1_000_000_000;
    let aside = file.with_extension(format!("db.damaged-{seconds}"));
    for (from, to) in files(file).into_iter().zip(files(&aside)) {
        match std::fs::rename(&from, to) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::SetAside { file: from, source });
            }
            _ => {}
        }
    }
    Ok(super::inspect::name(&aside))
}

/// A file that claims to be so much longer has a damaged header; it is not believed.
const MOST_CUT: u64 = 1 << 30;

/// Gives a file that ends before its own header says the length it should have, with zeroes, and gives how many bytes
/// that were. SQLite reads nothing of a file that is too short; so it loses no more than what was cut off. A length that
/// its log would give it anyway does no harm.
pub(super) fn lengthen(file: &Path) -> Option<u64> {
    let should = length_by_header(file)?;
    let is = file.metadata().ok()?.len();
    let missing = should
        .checked_sub(is)
        .filter(|missing| (1..=MOST_CUT).contains(missing))?;
    let open = OpenOptions::new().write(true).open(file).ok()?;
    open.set_len(should).ok()?;
    // A power cut while the log was moved leaves a file that is too short, and a log that has what is missing.
    let [_, log, _] = files(file);
    let has_log = log.metadata().is_ok_and(|log| log.len() > 0);
    (!has_log).then_some(missing)
}

/// What SQLite's header says: the page size at byte 16, the number of pages at 28, which counts where the change
/// counters at 24 and 92 agree.
fn length_by_header(file: &Path) -> Option<u64> {
    let mut header = [0; 100];
    let mut open = File::open(file).ok()?;
    open.read_exact(&mut header).ok()?;
    if !header.starts_with(b"SQLite format 3\0") || header[24..28] != header[92..96] {
        return None;
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    Some(page * u64::from(pages))
}
