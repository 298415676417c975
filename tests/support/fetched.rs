//! Servers that alerts are delivered to in tests: brought once below `target/`, by their packages' ordinary clients.
//!
//! Prometheus Alertmanager comes from Debian and is unpacked, not installed; an SMTP server comes from PyPI into a virtual
//! environment of its own. Only `std` is needed, because `xtask` includes this file too.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The SMTP server under test.
pub const AIOSMTPD: &str = "aiosmtpd==1.4.6";

const ALERTMANAGER: &str = "prometheus-alertmanager";

/// Where Debian's build of it expects its templates.
const TEMPLATES: &str = "/usr/share/prometheus/alertmanager";

/// Returns the command that runs Prometheus Alertmanager; brings it from Debian the first time (10 MB).
///
/// # Errors
///
/// When Debian's package client is missing, or cannot bring it.
pub fn alertmanager() -> io::Result<Command> {
    let home = home("alertmanager");
    once(&home, |home| {
        let download = || {
            run(Command::new("apt-get")
                .args(["download", "-qq", ALERTMANAGER])
                .current_dir(home))
        };
        // A new machine may have an old list of packages, or none.
        if download().is_err() {
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            download()?;
        }
        let package = fs::read_dir(home)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension() == Some(OsStr::new("deb")))
            .ok_or_else(|| io::Error::other("apt-get has brought no package"))?;
        run(Command::new("dpkg").arg("-x").arg(&package).arg(home))?;
        read_templates_here(&home.join("usr/bin").join(ALERTMANAGER))?;
        fs::remove_file(package)
    })?;
    let mut command = Command::new(home.join("usr/bin").join(ALERTMANAGER));
    command.current_dir(home.join(&TEMPLATES[1..]));
    Ok(command)
}

/// Debian's build reads two templates from a fixed folder, where only an installation puts them. In the unpacked program
/// that path is changed to the current folder, in the same number of bytes; nothing else is, and the machine stays as it is.
fn read_templates_here(program: &Path) -> io::Result<()> {
    let mut bytes = fs::read(program)?;
    let fixed = TEMPLATES.as_bytes();
    let mut here = vec![b'/'; fixed.len()];
    here[0] = b'.';
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .windows(fixed.len())
        .position(|window| window == fixed)
    {
        at += found;
        bytes[at..at + fixed.len()].copy_from_slice(&here);
    }
    fs::write(program, bytes)
}

/// Returns a Python that has an SMTP server; brings it from PyPI the first time.
///
/// # Errors
///
/// When Python is missing, or PyPI cannot be reached.
pub fn smtp_python() -> io::Result<PathBuf> {
    let home = home("smtp");
    once(&home, |home| {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(home))?;
        run(Command::new(home.join("bin/python")).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            AIOSMTPD,
        ]))
    })?;
    Ok(home.join("bin/python"))
}

/// Returns a folder below the workspace's `target`.
fn home(name: &str) -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory
        .ancestors()
        .find(|directory| directory.join("Cargo.lock").is_file())
        .unwrap_or(crate_directory)
        .join("target")
        .join(name)
}

/// Fills a folder, once for all processes; one that was left half full is filled again.
fn once(home: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let ready = home.join("ready");
    if ready.is_file() {
        return Ok(());
    }
    fs::create_dir_all(home)?;
    let lock = File::create(home.with_extension("lock"))?;
    lock.lock()?;
    if ready.is_file() {
        return Ok(());
    }
    fill(home)?;
    fs::write(ready, "")
}

fn run(command: &mut Command) -> io::Result<()> {
    let line = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::other(format!("cannot run {line}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{line} ended with {}\n{printed}",
        output.status
    )))
}
