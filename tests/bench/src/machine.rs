//! The machine: its cores, who runs on which, and how a reader recognises it.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Files that the largest measurement needs: 10,000 connections of clients, and as many to backends.
const FILES: u64 = 65_536;

/// Cores by their use. With one core, all share it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// Where the measured proxy runs.
    pub(crate) proxy: String,
    /// Where clients and backends run.
    pub(crate) load: String,
    /// All of them.
    pub(crate) all: String,
    /// Open files that a process may have.
    pub(crate) files: u64,
}

impl Machine {
    /// Looks at this machine, allows as many open files as it may, and moves this process to the cores of the load.
    pub(crate) fn prepare() -> Result<Machine> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let last = cores - 1;
        let load = if cores == 1 { "0".into() } else { format!("1-{last}") };
        let mut set = CpuSet::new();
        (usize::from(cores > 1)..cores).for_each(|core| set.set(core));
        sched_setaffinity(None, &set).context("move to the cores of the load")?;
        Ok(Machine { cores, proxy: "0".into(), load, all: format!("0-{last}"), files: allow_files() })
    }

    /// What a reader has to know to compare: one fact a line, no names of hosts.
    pub(crate) fn facts(&self) -> Vec<String> {
        let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let gib = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / (1 << 20);
        let virtualised =
            field("/proc/cpuinfo", "flags").is_some_and(|f| f.split(' ').any(|f| f == "hypervisor"));
        let kernel = read("/proc/sys/kernel/osrelease");
        let release = kernel.split('-').next().unwrap_or_default();
        let mut facts = vec![
            format!(
                "{model}, {} cores, {gib} GiB{}",
                self.cores,
                if virtualised { ", virtual machine" } else { "" }
            ),
            format!(
                "Linux {release}, TCP congestion control {}",
                read("/proc/sys/net/ipv4/tcp_congestion_control")
            ),
        ];
        let priority = read("/proc/self/autogroup");
        if let Some((_, nice)) = priority.split_once("nice ").filter(|(_, nice)| *nice != "0") {
            facts.push(format!("scheduled before other work: autogroup with nice {nice}"));
        }
        facts
    }

    /// The average number of runnable tasks in the last minute: above the number of cores others are at work, too.
    pub(crate) fn load_average() -> String {
        read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
    }
}

fn allow_files() -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum;
    let more = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    let within = Rlimit { current: Some(hard.unwrap_or(FILES).min(FILES)), maximum: hard };
    if hard.is_none_or(|hard| hard >= FILES) || setrlimit(Resource::Nofile, more).is_err() {
        setrlimit(Resource::Nofile, within).ok();
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
