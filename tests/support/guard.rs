//! Child processes that cannot outlive their owner.
//!
//! A test run, or a demo, that is killed must not leave brokers and servers behind. `Guarded` starts a program with a
//! watchdog that holds the reading end of a pipe: when the owner ends in any way, `kill -9` included, the pipe closes and
//! the watchdog ends the program. Only `std` and `sh` are needed, so that `xtask` can use this file too.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The shell becomes the program by `exec`, so the child's pid is the program's own. Before that it leaves a watchdog
/// behind: every line it reads names a signal to pass on, `done` dismisses it, and the end of the pipe means that the
/// owner is gone: it asks the program to end, and makes it end after ten seconds.
const SCRIPT: &str = r#"
exec 3<&0
(
    trap '' HUP INT TERM
    while read -r word <&3; do
        case "$word" in
            done) exit 0 ;;
            *) kill -s "$word" $$ ;;
        esac
    done
    kill -s TERM $$ || exit 0
    tenths=0
    while kill -s 0 $$ && [ "$tenths" -lt 100 ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    kill -s KILL $$
) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"#;

/// A running program that ends when this value is dropped or its owner's process ends.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    /// The writing end of the watchdog's pipe; `None` once it is dismissed.
    leash: Option<ChildStdin>,
}

impl Guarded {
    /// Starts `command`; its stdin is replaced by nothing, its stdout and stderr go where `configure` sends them.
    ///
    /// The program gets a process group of its own: Ctrl-C in a terminal reaches only the owner, which can then end its
    /// children in order.
    ///
    /// # Errors
    ///
    /// When no shell can be started. A program that does not exist shows as exit status 127.
    pub fn start(command: &Command, configure: impl FnOnce(&mut Command)) -> io::Result<Guarded> {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(SCRIPT)
            .arg("guarded")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            shell.current_dir(directory);
        }
        configure(&mut shell);
        let mut child = shell.stdin(Stdio::piped()).process_group(0).spawn()?;
        let leash = child.stdin.take();
        Ok(Guarded { child, leash })
    }

    /// Returns the program's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes the reading end of the program's stdout, where `configure` made it a pipe; once.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns how the program ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// When the operating system cannot say.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss();
        }
        Ok(status)
    }

    /// Sends the signal called `name` (`TERM`, `INT`, `STOP`...).
    ///
    /// # Errors
    ///
    /// When the program has ended already.
    pub fn signal(&mut self, name: &str) -> io::Result<()> {
        match &mut self.leash {
            Some(leash) => {
                writeln!(leash, "{name}")?;
                leash.flush()
            }
            None => Err(io::Error::other("the program has ended")),
        }
    }

    /// Asks the program to end and waits for it; after `deadline` makes it end.
    ///
    /// # Errors
    ///
    /// When the operating system cannot say how it ended.
    pub fn stop(&mut self, deadline: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        // A program that ended this instant is no failure: the wait below says so.
        let _ = self.signal("TERM");
        match self.wait(deadline)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Waits for the program to end by itself, at most until `deadline`; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// When the operating system cannot say.
    pub fn wait(&mut self, deadline: Duration) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(Some(status));
            }
            if started.elapsed() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the program at once, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        let status = self.child.wait()?;
        self.dismiss();
        Ok(status)
    }

    /// Lets the program go on without this value and its owner; returns its process id, or `None` if it has ended.
    pub fn release(mut self) -> Option<u32> {
        if !matches!(self.exited(), Ok(None)) {
            return None;
        }
        self.dismiss();
        let id = self.id();
        std::mem::forget(self);
        Some(id)
    }

    fn dismiss(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            // The watchdog may be gone with the program's process group.
            let _ = writeln!(leash, "done");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !matches!(self.exited(), Ok(Some(_))) {
            let _ = self.kill();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it stands")]
mod tests {
    use super::*;

    fn is_alive(pid: u32) -> bool {
        // A zombie counts as ended: its owner, a killed shell, cannot collect it any more.
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[test]
    fn a_guarded_program_is_its_own_pid_and_ends_when_asked() {
        let mut sleeper = Guarded::start(Command::new("sleep").arg("600"), |_| ()).unwrap();
        let name = std::fs::read_to_string(format!("/proc/{}/comm", sleeper.id()));
        assert!(sleeper.exited().unwrap().is_none(), "{name:?}");
        let status = sleeper.stop(Duration::from_secs(10)).unwrap();
        assert!(!status.success(), "ended by a signal: {status}");
        assert!(!is_alive(sleeper.id()));
    }

    #[test]
    fn the_exit_status_of_the_program_is_kept() {
        let mut failing =
            Guarded::start(Command::new("sh").args(["-c", "exit 7"]), |_| ()).unwrap();
        let status = failing.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(7));
    }

    #[test]
    fn a_closed_leash_ends_the_program_as_a_killed_owner_would() {
        let mut sleeper = Guarded::start(Command::new("sleep").arg("600"), |_| ()).unwrap();
        let pid = sleeper.id();
        // The operating system closes the pipe like this when the owner is killed.
        drop(sleeper.leash.take());
        let status = sleeper.wait(Duration::from_secs(10)).unwrap();
        assert!(status.is_some(), "the watchdog ended process {pid}");
    }
}
