//! A disk that may fail: what is on it for sure, what is only on its way, and what is left when the power goes.
//!
//! SQLite may count on this much and no more: what was written before a sync that succeeded is there. Of later writes
//! any may be there, or none, or the first sectors of one. A sync that fails has lost what it was for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libsqlite3_sys as ffi;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// What SQLite does to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Write,
    Truncate,
    Sync,
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// An error of the device.
    Device,
    /// No room; of a write the first half is taken.
    Full,
    /// The power goes: nothing is done any more.
    PowerCut,
}

/// Operations that fail: of those that it is about, `count` from the `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) how: How,
    /// `None`: any.
    pub(crate) kind: Option<Kind>,
    /// What the file's name begins with.
    pub(crate) file: &'static str,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// A place that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct BadPlace {
    /// What the file's name begins with.
    pub(crate) file: &'static str,
    pub(crate) bytes: Range<u64>,
}

/// What became of an operation.
pub(crate) enum Outcome {
    Done,
    Failed(i32),
    /// Only so many bytes were taken.
    Short(usize),
}

/// A folder's files as they are on the disk.
pub(crate) struct Disk {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    files: BTreeMap<String, Contents>,
    /// Removed, and not yet for sure.
    removed: BTreeMap<String, Vec<u8>>,
    fault: Option<Fault>,
    /// Operations that the fault is about, so far.
    seen: u64,
    failed: u64,
    off: bool,
    bad: Option<BadPlace>,
    random: Random,
}

#[derive(Default)]
struct Contents {
    /// There for sure.
    durable: Vec<u8>,
    /// Since the last sync.
    pending: Vec<Change>,
    /// A log that was made: its first sync is one of the folder too.
    syncs_folder: bool,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Contents {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(at, bytes) => {
                let end = at + bytes.len();
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                self.durable[*at..end].copy_from_slice(bytes);
            }
            Change::Truncate(size) => self.durable.resize(*size, 0),
        }
    }
}

impl Disk {
    /// A disk with the files that are in `folder` now.
    pub(crate) fn of(folder: &Path, seed: u64) -> Self {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let durable = std::fs::read(entry.path()).unwrap();
            let contents = Contents {
                durable,
                ..Contents::default()
            };
            files.insert(name, contents);
        }
        Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                files,
                removed: BTreeMap::new(),
                fault: None,
                seen: 0,
                failed: 0,
                off: false,
                bad: None,
                random: Random(seed),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this fails, instead of what failed before.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        state.seen = 0;
        state.failed = 0;
    }

    /// From now on this cannot be read, and all else can. Reads are none of the operations that a [`Fault`] is about.
    pub(crate) fn spoil(&self, bad: Option<BadPlace>) {
        self.state().bad = bad;
    }

    /// Whether the disk gives these bytes of a file.
    pub(crate) fn reads(&self, name: &str, bytes: Range<u64>) -> bool {
        let state = self.state();
        let bad = state.bad.as_ref();
        !bad.is_some_and(|bad| {
            name.starts_with(bad.file) && bytes.start < bad.bytes.end && bad.bytes.start < bytes.end
        })
    }

    /// Operations that the fault was about, and how many of them failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.seen, state.failed)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().off
    }

    /// Whether a file may be opened.
    pub(crate) fn opened(&self, name: &str, log: bool) -> bool {
        let mut state = self.state();
        if state.off {
            return false;
        }
        if !self.folder.join(name).exists() {
            // What was there under this name was removed, by the store itself.
            let made = Contents {
                syncs_folder: log,
                ..Contents::default()
            };
            if let Some(gone) = state.files.insert(name.to_owned(), made) {
                state.removed.insert(name.to_owned(), gone.durable);
            }
        }
        true
    }

    /// Whether a file may be removed.
    pub(crate) fn deleted(&self, name: &str) -> bool {
        let mut state = self.state();
        if state.off {
            return false;
        }
        if let Some(gone) = state.files.remove(name) {
            state.removed.insert(name.to_owned(), gone.durable);
        }
        true
    }

    pub(crate) fn write(&self, name: &str, at: u64, bytes: &[u8]) -> Outcome {
        let at = at as usize;
        self.change(name, Kind::Write, |how| match how {
            None => (Some(Change::Write(at, bytes.to_vec())), Outcome::Done),
            Some(How::Full) => {
                let taken = &bytes[..bytes.len() / 2];
                let change = Change::Write(at, taken.to_vec());
                (Some(change), Outcome::Short(taken.len()))
            }
            // Under way when the power went.
            Some(How::PowerCut) => {
                let change = Change::Write(at, bytes.to_vec());
                (Some(change), Outcome::Failed(ffi::SQLITE_IOERR_WRITE))
            }
            Some(How::Device) => (None, Outcome::Failed(ffi::SQLITE_IOERR_WRITE)),
        })
    }

    pub(crate) fn truncate(&self, name: &str, size: u64) -> Outcome {
        let change = Change::Truncate(size as usize);
        self.change(name, Kind::Truncate, |how| match how {
            None => (Some(change), Outcome::Done),
            Some(_) => (None, Outcome::Failed(ffi::SQLITE_IOERR_TRUNCATE)),
        })
    }

    fn change(
        &self,
        name: &str,
        kind: Kind,
        work: impl FnOnce(Option<How>) -> (Option<Change>, Outcome),
    ) -> Outcome {
        let state = &mut *self.state();
        if state.off {
            return Outcome::Failed(ffi::SQLITE_IOERR);
        }
        let (change, outcome) = work(state.fails(name, kind));
        let file = state.files.entry(name.to_owned()).or_default();
        file.pending.extend(change);
        outcome
    }

    pub(crate) fn sync(&self, name: &str) -> Outcome {
        let state = &mut *self.state();
        if state.off {
            return Outcome::Failed(ffi::SQLITE_IOERR);
        }
        let fails = state.fails(name, Kind::Sync);
        let Some(file) = state.files.get_mut(name) else {
            return Outcome::Done;
        };
        match fails {
            None => {
                for change in std::mem::take(&mut file.pending) {
                    file.apply(&change);
                }
                if std::mem::take(&mut file.syncs_folder) {
                    state.removed.clear();
                }
                Outcome::Done
            }
            Some(How::PowerCut) => Outcome::Failed(ffi::SQLITE_IOERR_FSYNC),
            Some(_) => {
                // As Linux has it: the next sync says nothing of what this one lost.
                for change in std::mem::take(&mut file.pending) {
                    if state.random.below(2) == 0 {
                        file.apply(&change);
                    }
                }
                Outcome::Failed(ffi::SQLITE_IOERR_FSYNC)
            }
        }
    }

    /// Writes what is left after the power went into another folder.
    pub(crate) fn survives_in(&self, folder: &Path) {
        let state = &mut *self.state();
        let random = &mut state.random;
        for (name, contents) in &state.removed {
            // A removal that did not reach the disk; not of what was made again since.
            if !state.files.contains_key(name) && random.below(2) == 0 {
                std::fs::write(folder.join(name), contents).unwrap();
            }
        }
        for (name, contents) in &mut state.files {
            // Removed by the store itself, which the disk is not told of.
            if !self.folder.join(name).exists() && random.below(2) == 0 {
                continue;
            }
            let mode = random.below(4);
            let pending = std::mem::take(&mut contents.pending);
            let whole = random.below(pending.len() as u64 + 1) as usize;
            for (nth, mut change) in pending.into_iter().enumerate() {
                let there = match mode {
                    0 => false,
                    1 => nth < whole,
                    2 => true,
                    _ => random.below(2) == 0,
                };
                let torn = if mode == 1 {
                    nth == whole
                } else {
                    there && random.below(4) == 0
                };
                if torn && let Change::Write(_, bytes) = &mut change {
                    let sectors = random.below((bytes.len() / SECTOR + 1) as u64) as usize;
                    bytes.truncate(sectors * SECTOR);
                }
                if there || torn {
                    contents.apply(&change);
                }
            }
            if name != "lock" {
                std::fs::write(folder.join(name), &contents.durable).unwrap();
            }
        }
    }
}

impl State {
    fn fails(&mut self, name: &str, kind: Kind) -> Option<How> {
        let fault = self.fault?;
        if fault.kind.is_some_and(|about| about != kind) || !name.starts_with(fault.file) {
            return None;
        }
        let place = self.seen;
        self.seen += 1;
        if place < fault.first || place - fault.first >= fault.count {
            return None;
        }
        self.failed += 1;
        self.off |= fault.how == How::PowerCut;
        Some(fault.how)
    }
}

/// splitmix64: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (n ^ (n >> 31)) % limit.max(1)
    }
}
