//! How threads share the cores: an answer that somebody waits for comes first.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};

/// How much ingest gives way to the answers of pages, where both want a core: as `nice` has it.
const INGEST_NICE: i32 = 9;

/// How long a thread that answers works at a time, where others wait for its core. Linux lets who wants little go
/// first: with its usual slice, a thread that has just been woken waits until another one's is over, each time that a
/// step of an answer goes from thread to thread. The least that Linux grants.
const SLICE: Duration = Duration::from_micros(100);

/// Threads that take spans in, and those that answer pages.
///
/// Pages have threads of their own: on shared ones each step of an answer would wait behind requests being decoded and
/// commits being counted, some milliseconds each. And ingest gives way to them: senders wait for an answer anyway, and a
/// person should not.
pub(super) fn start() -> Result<(Runtime, Runtime)> {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    // Of one thread only, as Linux has it; where it is refused, answers come a little later. Set, not added: a thread
    // begins with what the one has that starts it, and so do the threads of SQLite that read for it.
    let set_nice = |nice| {
        let _ = rustix::process::setpriority_process(None, nice);
    };
    let ingest = threads("ingest", move || set_nice(nice + INGEST_NICE))?;
    let pages = threads("pages", move || {
        set_nice(nice);
        shorten_slice(nice);
    })?;
    Ok((ingest, pages))
}

fn threads(name: &str, begin: impl Fn() + Send + Sync + 'static) -> Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .on_thread_start(begin)
        .build()
        .context("cannot start threads")
}

/// Gives the calling thread [`SLICE`]. Linux before 6.12 knows no slices, and changes nothing.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no crate with a safe call knows of a thread's slice"
)]
fn shorten_slice(nice: i32) {
    /// `struct sched_attr` of sched_setattr(2), as its first version had it.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    // SAFETY: it takes a number and gives one; 0 is the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // Whoever has chosen another one for this process knows better.
    if policy != libc::SCHED_OTHER {
        return;
    }
    let mut attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime: SLICE.as_nanos() as u64,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of what outlives the call and is laid out as it says; where it knows fewer, it
    // writes how many into `size`.
    let _refused = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            0 as libc::c_long,
            &raw mut attributes,
            0 as libc::c_long,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn shorten_slice(_nice: i32) {}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test fails where it stands")]
mod tests {
    use super::*;

    /// What the kernel says of the calling thread: its priority, 120 without niceness, and its slice in nanoseconds.
    fn own() -> Option<(i64, i64)> {
        let text = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let number = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        Some((number("prio ")?, number("se.slice ")?))
    }

    /// The kernel is of a version that has slices.
    fn has_slices() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
        let (major, minor) = (numbers.next(), numbers.next());
        (major.unwrap().unwrap(), minor.unwrap().unwrap()) >= (6, 12)
    }

    #[test]
    fn ingest_gives_way_and_answers_have_short_slices_and_so_have_the_threads_they_start() {
        let Some((usual_priority, usual_slice)) = own() else {
            eprintln!("this kernel does not say how it schedules");
            return;
        };
        let (ingest, pages) = start().unwrap();
        let of = |runtime: &Runtime| runtime.block_on(runtime.spawn(async { own().unwrap() }));
        let (priority, slice) = of(&ingest).unwrap();
        assert_eq!(priority, usual_priority + i64::from(INGEST_NICE));
        assert_eq!(slice, usual_slice);
        let short = if has_slices() {
            SLICE.as_nanos() as i64
        } else {
            usual_slice
        };
        assert_eq!(of(&pages).unwrap(), (usual_priority, short));
        let started = pages.spawn(async { std::thread::spawn(own).join().unwrap().unwrap() });
        assert_eq!(
            pages.block_on(started).unwrap(),
            (usual_priority, short),
            "of a thread that a page's thread has started"
        );
    }
}
