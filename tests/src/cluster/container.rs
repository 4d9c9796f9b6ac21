//! The process of a container, on a node of ours.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::kubectl::kubectl;
use super::node::Node;
use crate::{PATIENCE, wait_until};

impl Node {
    /// The process of a pod's first container.
    pub async fn process(&self, namespace: &str, pod: &str) -> Result<Process> {
        wait_until(&format!("the container of {pod} runs"), PATIENCE, async || {
            let container = "{.status.containerStatuses[0]";
            let path = format!("jsonpath={container}.containerID}} {container}.state.running.startedAt}}");
            let told = kubectl(&["-n", namespace, "get", "pod", pod, "-o", &path]).await?;
            let (id, started) = told.trim().split_once(' ').context("it does not run")?;
            let id = id.strip_prefix("containerd://").context("it has no container")?;
            match first_of(id)? {
                Some(process) if !started.is_empty() => Ok(Process(process)),
                _ => bail!("{id} has no process that runs"),
            }
        })
        .await
    }
}

/// The first process of a container, as its cgroup and its namespace tell.
fn first_of(container: &str) -> Result<Option<Pid>> {
    for entry in std::fs::read_dir("/proc").context("/proc")? {
        let entry = entry?;
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Those that end meanwhile have no files.
        let file = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_first = |status: &str| {
            let line = status.lines().find(|line| line.starts_with("NSpid:"));
            line.and_then(|line| line.split_whitespace().last()) == Some("1")
        };
        if file("cgroup").contains(container) && is_first(&file("status")) {
            return Ok(Pid::from_raw(process));
        }
    }
    Ok(None)
}

/// The resident set of a process, in bytes.
pub(super) fn resident(process: Pid) -> Result<u64> {
    let file = format!("/proc/{}/status", process.as_raw_nonzero());
    let text = std::fs::read_to_string(&file).context(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes << 10)
}

/// A process of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(Pid);

impl Process {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.0, signal).with_context(|| format!("send {signal:?} to {:?}", self.0))
    }

    /// Memory that it has in use, in bytes: its resident set.
    pub fn memory(&self) -> Result<u64> {
        resident(self.0)
    }
}
