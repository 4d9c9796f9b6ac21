//! Programs that are measured: pinned to cores, stopped when dropped, and also when this process dies.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Memory of a program, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Of it what is not read from files: the program's own code is.
    pub(crate) data: u64,
}

/// One running program and its children.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on these cores. What it says goes to `log`.
    pub(crate) fn start(program: &Path, arguments: &[&OsStr], cores: &str, log: PathBuf) -> Result<Process> {
        let out = File::create(&log).context("create a log")?;
        let mut command = pinned(program, cores);
        command.args(arguments).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Process { child, log })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with its last words if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = self.said();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            bail!("it has ended, {status}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "));
        }
        Ok(())
    }

    /// CPU time so far, user and kernel, children included. Exact to 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let ticks: u64 = self.pids().into_iter().map(ticks).sum::<Result<u64>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
    }

    /// What is in memory: all of the largest process, and what its relatives have of their own.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut all: Vec<Pages> = self.pids().into_iter().map(Pages::of).collect::<Result<_>>()?;
        all.sort_unstable_by_key(|pages| pages.resident);
        let Some(largest) = all.pop() else { return Ok(Memory::default()) };
        let own = |figure: fn(&Pages) -> u64| all.iter().map(figure).sum::<u64>();
        Ok(Memory {
            resident: largest.resident + own(|pages| pages.own),
            data: largest.anonymous + own(|pages| pages.own.min(pages.anonymous)),
        })
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn pids(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(id).chain(children).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM).ok();
        let until = Instant::now() + PATIENCE;
        while !self.ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A command that runs on these cores and ends when this process does.
pub(crate) fn pinned(program: &Path, cores: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", cores]).arg(program);
    command
}

/// Fields 14 and 15 of /proc/PID/stat (proc(5)), counted behind the name, which may hold anything.
fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a measured process is gone")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("odd stat")?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).context("odd stat");
    Ok(field(11)? + field(12)?)
}

/// Memory of one process, in bytes (/proc/PID/smaps_rollup, proc(5)).
#[derive(Clone, Copy, Debug)]
struct Pages {
    resident: u64,
    own: u64,
    anonymous: u64,
}

impl Pages {
    fn of(pid: u32) -> Result<Pages> {
        let text =
            fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("a measured process is gone")?;
        let sum = |wanted: &[&str]| -> u64 {
            let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
            let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kib.sum::<u64>() << 10
        };
        let own = sum(&["Private_Clean:", "Private_Dirty:"]);
        Ok(Pages { resident: sum(&["Rss:"]), own, anonymous: sum(&["Anonymous:"]) })
    }
}
