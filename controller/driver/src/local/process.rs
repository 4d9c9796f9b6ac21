//! Processes that outlive us, and are known again.
//!
//! A process is started in a group of its own with its output in a file, so that our death does not touch it.
//! Two marks in its environment, which its children inherit, say whose it is: nothing that we start can be
//! lost, even when we die between starting it and writing that down.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, RefreshKind, System, UpdateKind};

use super::home::Home;

/// Variable with the canonical path of our folder.
pub const HOME: &str = "PENSTOCK_HOME";
/// Variable with the mark of one start of one process.
pub const MARK: &str = "PENSTOCK_PROCESS";

/// How long we may take to see that a process has ended.
const POLL: Duration = Duration::from_millis(50);

/// What to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// A path, or a name to be found in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables on top of our own environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// Unique among all starts; see [`new_mark`].
    pub mark: String,
}

/// A process that was started, by us or by one of us before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number, which is its group's too.
    pub pid: u32,
    /// When it began, in seconds since the Unix epoch: tells it from a later process with the same number.
    pub started: u64,
    /// Its mark.
    pub mark: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Not known: it was no child of ours.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("an exit code that is not known (it was started by an earlier run)"),
        }
    }
}

/// A mark that no other start has: what it is, and a random part.
pub fn new_mark(what: &str) -> String {
    format!("{what}/{:016x}", fastrand::u64(..))
}

/// Starts a process that goes on when we die.
///
/// Errors: of the operating system, for instance that the program does not exist.
pub fn start(home: &Home, start: &Start, log: File) -> io::Result<Process> {
    let errors = log.try_clone()?;
    let child = Command::new(&start.program)
        .args(&start.args)
        .envs(&start.env)
        .env(HOME, home.own())
        .env(MARK, &start.mark)
        .current_dir(&start.dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    let started = started(child.id()).unwrap_or_default();
    Ok(Process { pid: child.id(), started, mark: start.mark.clone() })
}

impl Process {
    /// How it ended; `None` while it runs. It stays a zombie, and its number its own, until [`Process::bury`].
    pub fn exit(&self) -> Option<Exit> {
        let pid = self.pid()?;
        if let Some(exit) = peek(pid) {
            return Some(exit);
        }
        // A child may end between the two looks: then the third one has its code.
        if self.same_process() { None } else { Some(peek(pid).unwrap_or(Exit::Unknown)) }
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> Exit {
        loop {
            if let Some(exit) = self.exit() {
                return exit;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end, with all that it started; after `grace` ends them by force. Nothing of it is left.
    pub async fn stop(&self, grace: Duration) -> Exit {
        let deadline = Instant::now() + grace;
        if self.exit().is_none() {
            self.signal_group(Signal::TERM);
        }
        while Instant::now() < deadline && (self.exit().is_none() || !self.offspring().is_empty()) {
            tokio::time::sleep(POLL).await;
        }
        self.kill().await
    }

    /// Ends it and all that it started by force.
    pub async fn kill(&self) -> Exit {
        if self.exit().is_none() {
            self.signal_group(Signal::KILL);
        }
        let exit = self.ended().await;
        self.bury();
        exit
    }

    /// After its end: ends what it left behind, and gives its number back.
    pub fn bury(&self) {
        let Some(pid) = self.pid() else { return };
        let ours = peek(pid).is_some();
        if ours {
            // Its zombie keeps the group's number from being used again.
            self.signal_group(Signal::KILL);
        }
        end_marked(|mark| mark == self.mark, Some(self.pid));
        if ours {
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    /// Whether it runs and the number is still its own, by its start or by its mark.
    ///
    /// What cannot be seen for want of file descriptors is taken to run: nobody starts it a second time.
    pub fn same_process(&self) -> bool {
        let system = processes(Some(self.pid));
        let Some(process) = system.as_ref().and_then(|s| s.process(sysinfo::Pid::from_u32(self.pid))) else {
            return self.pid().is_some_and(exists);
        };
        // The system's notion of when it was booted may move by a second or two.
        let same_start = process.start_time().abs_diff(self.started) <= 2;
        let same = same_start || variable(process, MARK).as_deref() == Some(self.mark.as_str());
        same && process.status() != ProcessStatus::Zombie
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    fn offspring(&self) -> Vec<u32> {
        let marked = marked(|mark| mark == self.mark);
        marked.into_iter().map(|found| found.pid).filter(|&pid| pid != self.pid).collect()
    }
}

/// The leader among the processes with this mark: the one that was started, not what it started in turn.
pub fn find(mark: &str) -> Option<Process> {
    let leads = |found: &Process| {
        let pid = found.pid();
        pid.is_some() && rustix::process::getpgid(pid).ok() == pid
    };
    marked(|m| m == mark).into_iter().filter(leads).min_by_key(|found| (found.started, found.pid))
}

/// Ends every process of this folder whose mark is not kept: what processes left behind that died while
/// nobody watched.
pub fn sweep(home: &Home, keep: impl Fn(&str) -> bool) -> usize {
    let Some(system) = processes(None) else { return 0 };
    let ours = |p: &&sysinfo::Process| {
        variable(p, HOME).is_some_and(|own| own.as_str() == home.own().to_string_lossy())
    };
    let stray =
        |p: &sysinfo::Process| variable(p, MARK).filter(|mark| !keep(mark)).map(|mark| described(p, mark));
    let strays: Vec<Process> =
        system.processes().values().filter(alive).filter(ours).filter_map(stray).collect();
    strays.iter().filter(|stray| kill_one(stray)).count()
}

fn end_marked(matches: impl Fn(&str) -> bool, except: Option<u32>) {
    const ROUNDS: usize = 5;
    for _ in 0..ROUNDS {
        let mut found = marked(&matches);
        found.retain(|process| Some(process.pid) != except);
        if found.is_empty() {
            return;
        }
        found.iter().for_each(|process| {
            kill_one(process);
        });
    }
}

fn kill_one(process: &Process) -> bool {
    let Some(pid) = process.pid().filter(|_| process.pid != std::process::id()) else { return false };
    rustix::process::kill_process(pid, Signal::KILL).is_ok()
}

/// Processes that run and whose mark matches. Those of other users cannot be seen.
fn marked(matches: impl Fn(&str) -> bool) -> Vec<Process> {
    let Some(system) = processes(None) else { return Vec::new() };
    let read =
        |p: &sysinfo::Process| variable(p, MARK).filter(|mark| matches(mark)).map(|mark| described(p, mark));
    system.processes().values().filter(alive).filter_map(read).collect()
}

fn alive(process: &&sysinfo::Process) -> bool {
    process.status() != ProcessStatus::Zombie
}

fn described(process: &sysinfo::Process, mark: String) -> Process {
    Process { pid: process.pid().as_u32(), started: process.start_time(), mark }
}

fn started(pid: u32) -> Option<u64> {
    processes(Some(pid))?.process(sysinfo::Pid::from_u32(pid)).map(sysinfo::Process::start_time)
}

fn variable(process: &sysinfo::Process, name: &str) -> Option<String> {
    let value = |entry: &OsString| entry.to_str()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    process.environ().iter().find_map(value)
}

fn exists(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// One process, or all. `None`: the system does not tell.
fn processes(pid: Option<u32>) -> Option<System> {
    let mut system = System::new_with_specifics(RefreshKind::nothing()).ok()?;
    let kind = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always).without_tasks();
    match pid {
        Some(pid) => system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[sysinfo::Pid::from_u32(pid)]),
            true,
            kind,
        ),
        None => system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind),
    };
    Some(system)
}

/// How a child of ours has ended, leaving it a zombie.
fn peek(pid: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), options).ok().flatten().map(|status| exit_of(&status))
}

fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    let by_signal = status.terminating_signal().map(Exit::Signal);
    status.exit_status().map(Exit::Code).or(by_signal).unwrap_or(Exit::Unknown)
}
