//! Child processes of a test run: found, started, read line by line, stopped by id.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::guard::Guarded;

/// Returns a binary of this workspace: named by `variable`, which `cargo xtask test` sets, else in the target directory.
///
/// # Errors
///
/// When it was not built, with the command that builds it.
pub fn binary(variable: &str, name: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    // target/debug/deps/integration-HASH -> target/debug/NAME
    let own = std::env::current_exe()?;
    let mut beside = own.ancestors().skip(1).map(|folder| folder.join(name));
    beside.find(|path| path.is_file()).with_context(|| {
        format!("{name} is not built: run \"cargo build -p {package}\" or \"cargo xtask test\"")
    })
}

/// A child whose output is kept. It ends when this value is dropped or the test run is killed (see [`crate::guard`]).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Guarded,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command` with its output collected, both streams in the order of their lines.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(name: &str, command: &Command) -> Result<Self> {
        let (output, writer) = std::io::pipe()?;
        let errors = writer.try_clone()?;
        let child = Guarded::start(command, |shell| {
            shell.stdout(writer).stderr(errors);
        })
        .with_context(|| format!("cannot start {name}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let lines = Arc::clone(&lines);
            let output = BufReader::new(File::from(std::os::fd::OwnedFd::from(output)));
            move || {
                for line in output.lines().map_while(std::io::Result::ok) {
                    lines
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            reader: Some(reader),
        })
    }

    /// Waits for a line that starts with `prefix` and returns what follows it, trimmed.
    ///
    /// # Errors
    ///
    /// When the process ends first or the deadline passes, with what it printed.
    pub async fn line_after(&mut self, prefix: &str, deadline: Duration) -> Result<String> {
        let until = Instant::now() + deadline;
        loop {
            let ended = self.child.exited()?;
            if ended.is_some() {
                // What it printed last is still on its way.
                self.read_to_the_end();
            }
            let lines = self.output();
            let found = lines.iter().find_map(|line| line.strip_prefix(prefix));
            if let Some(rest) = found {
                return Ok(rest.trim().to_owned());
            }
            let printed = || lines.join("\n");
            if let Some(status) = ended {
                bail!("{} ended with {status}:\n{}", self.name, printed());
            }
            if Instant::now() > until {
                bail!(
                    "{} printed no line with {prefix:?} in {deadline:?}:\n{}",
                    self.name,
                    printed()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it printed so far, both streams.
    #[must_use]
    pub fn output(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it at once (SIGKILL), as a power cut would.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        Ok(())
    }

    /// Asks it to end (SIGINT, as Ctrl-C does) and returns its exit code.
    ///
    /// # Errors
    ///
    /// When it does not end in `deadline`, with what it printed.
    pub async fn interrupt(&mut self, deadline: Duration) -> Result<Option<i32>> {
        self.child
            .signal("INT")
            .with_context(|| format!("cannot interrupt {}", self.name))?;
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.exited()? {
                self.read_to_the_end();
                return Ok(status.code());
            }
            if Instant::now() > until {
                bail!(
                    "{} did not end in {deadline:?}:\n{}",
                    self.name,
                    self.output().join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the last lines of a process that has ended.
    fn read_to_the_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has lost lines, which whoever looks for them will say.
            let _ = reader.join();
        }
    }
}

/// Polls `probe` until it gives a value; says what was awaited when it does not come.
///
/// # Errors
///
/// When `deadline` passes; the last reason `probe` gave is in the message.
pub async fn eventually<T, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let until = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() > until => {
                return Err(reason.context(format!("waited {deadline:?} for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
