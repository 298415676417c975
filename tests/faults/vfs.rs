//! SQLite's own way to the disk, with a [`Disk`] between: what is written under a watched folder is noted, and fails
//! when the disk says so. Other files pass.
//!
//! The one room with `unsafe` among the tests: SQLite calls it through tables of C functions.
#![allow(
    unsafe_code,
    reason = "SQLite's file systems are tables of C functions"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libsqlite3_sys as ffi;
use libsqlite3_sys::{sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Disk, Outcome};

/// The folders that are watched.
static WATCHED: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());
/// The file system below, as an address: SQLite keeps it as long as the process runs.
static BELOW: OnceLock<usize> = OnceLock::new();

/// A watched folder; others may be watched beside it.
pub(crate) struct Watch {
    folder: PathBuf,
    pub(crate) disk: Arc<Disk>,
}

impl Watch {
    /// From here on what SQLite does to the files of `folder` goes through a disk of its own.
    pub(crate) fn new(folder: &Path, seed: u64) -> Self {
        install();
        let folder = folder.canonicalize().unwrap();
        let disk = Arc::new(Disk::of(&folder, seed));
        watched(|all| all.insert(folder.clone(), Arc::clone(&disk)));
        Self { folder, disk }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched(|all| all.remove(&self.folder));
    }
}

fn watched<T>(work: impl FnOnce(&mut BTreeMap<PathBuf, Arc<Disk>>) -> T) -> T {
    work(&mut WATCHED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The disk that a path is on, and its name there.
fn disk_of(path: &CStr) -> Option<(Arc<Disk>, String)> {
    let path = Path::new(path.to_str().ok()?);
    let disk = watched(|all| all.get(path.parent()?).cloned())?;
    let name = path.file_name()?.to_str()?;
    // The log's index is memory that happens to have a name; SQLite makes it again.
    (!name.ends_with("-shm")).then(|| (disk, name.to_owned()))
}

/// Makes this file system the one that SQLite takes when none is named.
fn install() {
    BELOW.get_or_init(|| {
        // SAFETY: both may be called at any time from any thread; null asks for the default one.
        let below = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(ptr::null())
        };
        assert!(!below.is_null());
        // SAFETY: SQLite gave it, and never frees a file system.
        let below_now = unsafe { *below };
        // What is not replaced here is called with this table instead of the one below; the Unix functions look at
        // nothing of it but `pAppData`, which is copied.
        let above = Box::leak(Box::new(sqlite3_vfs {
            szOsFile: below_now.szOsFile + size_of::<File>() as c_int,
            zName: c"faults".as_ptr(),
            pNext: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            ..below_now
        }));
        // SAFETY: the table lives for ever, and every function in it does what SQLite asks of it.
        let code = unsafe { ffi::sqlite3_vfs_register(above, 1) };
        assert_eq!(code, ffi::SQLITE_OK);
        below as usize
    });
}

fn below() -> *mut sqlite3_vfs {
    BELOW.get().copied().unwrap_or(0) as *mut sqlite3_vfs
}

/// A file of a watched folder. The one below stands right behind it: SQLite gave room for both.
#[repr(C)]
struct File {
    base: sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    disk: Arc<Disk>,
    name: String,
}

/// The file below.
fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    file.cast::<File>().wrapping_add(1).cast()
}

/// What is known of a file.
///
/// # Safety
/// `file` was opened by [`open`] and not closed since.
unsafe fn handle<'a>(file: *mut sqlite3_file) -> &'a Handle {
    // SAFETY: `open` put a box there, which `close` takes; SQLite uses no file after it closed it.
    unsafe { &*(*file.cast::<File>()).handle }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let on = if name.is_null() {
        None
    } else {
        // SAFETY: SQLite gives a name that ends with a zero.
        disk_of(unsafe { CStr::from_ptr(name) })
    };
    let Some((disk, short_name)) = on else {
        // SAFETY: the arguments are those that SQLite gave; the room is larger than what is asked for.
        return unsafe { below_open(name, file, flags, out) };
    };
    let log = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
    if !disk.opened(&short_name, log) {
        // SAFETY: SQLite gave room for a file; null says that there is nothing to close.
        unsafe { (*file).pMethods = ptr::null() };
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: as above; the room behind `File` is as large as the file system below asked for.
    let code = unsafe { below_open(name, behind(file), flags, out) };
    let handle = Box::new(Handle {
        disk,
        name: short_name,
    });
    // SAFETY: the room is SQLite's, for a file of the size that this file system says.
    unsafe {
        if code == ffi::SQLITE_OK {
            (*file.cast::<File>()).handle = Box::into_raw(handle);
            (*file).pMethods = &raw const METHODS;
        } else {
            (*file).pMethods = ptr::null();
        }
    }
    code
}

/// # Safety
/// As SQLite calls `xOpen`.
unsafe fn below_open(
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the table below is never freed, and is called with itself.
    unsafe {
        match (*below()).xOpen {
            Some(open) => open(below(), name, file, flags, out),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite gives a name that ends with a zero.
    let on = disk_of(unsafe { CStr::from_ptr(name) });
    if let Some((disk, name)) = &on
        && !disk.deleted(name)
    {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: the table below is never freed, and is called with itself.
    unsafe {
        match (*below()).xDelete {
            Some(delete) => delete(below(), name, sync),
            None => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the box was put there by `open`.
    unsafe {
        drop(Box::from_raw((*file.cast::<File>()).handle));
        let below = behind(file);
        match (*(*below).pMethods).xClose {
            Some(close) => close(below),
            None => ffi::SQLITE_OK,
        }
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives `amount` bytes, and the file is open.
    let (handle, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount as usize);
        (handle(file), bytes)
    };
    let (outcome, amount) = match handle.disk.write(&handle.name, at as u64, bytes) {
        Outcome::Done => (ffi::SQLITE_OK, amount),
        Outcome::Failed(code) => return code,
        // What the system says of a write that took less than it was given.
        Outcome::Short(taken) => (ffi::SQLITE_FULL, taken as c_int),
    };
    let below = behind(file);
    // SAFETY: the file below is open, and gets no more bytes than there are.
    let code = unsafe {
        match (*(*below).pMethods).xWrite {
            Some(write) => write(below, from, amount, at),
            None => ffi::SQLITE_IOERR_WRITE,
        }
    };
    if code == ffi::SQLITE_OK {
        outcome
    } else {
        code
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let bytes = at as u64..at as u64 + amount as u64;
    if !handle.disk.reads(&handle.name, bytes) {
        return ffi::SQLITE_IOERR_READ;
    }
    let below = behind(file);
    // SAFETY: the file below is open, and the arguments are those that SQLite gave.
    unsafe {
        match (*(*below).pMethods).xRead {
            Some(read) => read(below, to, amount, at),
            None => ffi::SQLITE_IOERR_READ,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    match handle.disk.truncate(&handle.name, size as u64) {
        Outcome::Done => {}
        Outcome::Failed(code) => return code,
        Outcome::Short(_) => return ffi::SQLITE_IOERR_TRUNCATE,
    }
    let below = behind(file);
    // SAFETY: the file below is open.
    unsafe {
        match (*(*below).pMethods).xTruncate {
            Some(truncate) => truncate(below, size),
            None => ffi::SQLITE_IOERR_TRUNCATE,
        }
    }
}

/// The disk notes what would be safe now; the real one is not waited for.
unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    match handle.disk.sync(&handle.name) {
        Outcome::Done => ffi::SQLITE_OK,
        Outcome::Failed(code) => code,
        Outcome::Short(_) => ffi::SQLITE_IOERR_FSYNC,
    }
}

/// Functions that only pass on.
macro_rules! passes_on {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $type),*) -> c_int {
            let below = behind(file);
            // SAFETY: the file below is open, and the arguments are those that SQLite gave.
            unsafe {
                match (*(*below).pMethods).$method {
                    Some(method) => method(below, $($argument),*),
                    None => ffi::SQLITE_IOERR,
                }
            }
        }
    )*};
}

passes_on! {
    file_size = xFileSize(size: *mut i64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(out: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap = xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    let below = behind(file);
    // SAFETY: the file below is open.
    unsafe {
        if let Some(barrier) = (*(*below).pMethods).xShmBarrier {
            barrier(below);
        }
    }
}

/// The second version: no file is mapped, so that every write is seen.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
