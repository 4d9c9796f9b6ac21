//! Real servers as child processes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How much of a log is printed when a test fails, in bytes.
const LOG_TAIL: u64 = 8 << 10;

/// A child process in a process group of its own. Killed on drop, with everything it started.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a command; what it prints goes to the end of the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Server> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Server { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Errors: it has ended by itself; with the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log ends:\n{}", self.name, self.log_tail()),
        }
    }

    /// Sends a signal to it and to what it started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) else {
            bail!("{} has no valid process id", self.name);
        };
        kill_process_group(group, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Waits until it has ended. Errors: it hasn't within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > deadline {
                bail!("{} still runs after {deadline:?}; its log ends:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        self.read_tail().unwrap_or_else(|e| format!("(no log: {e})"))
    }

    fn read_tail(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        let from = file.metadata()?.len().saturating_sub(LOG_TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that was waited for may have left its number to another one.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL).ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test runner shows it under the failed test")]
            {
                eprintln!("--- log of {} ends:\n{}", self.name, self.log_tail());
            }
        }
    }
}

/// A binary of this workspace, built beside the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test runs in target/PROFILE/deps")?;
    let path = profile.join(name);
    if !path.is_file() {
        bail!("{} is missing; build it in the same profile: cargo build -p {name}", path.display());
    }
    Ok(path)
}
