//! The process of a container, on a node of ours.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::kubectl::kubectl;
use super::node::Node;
use crate::{PATIENCE, wait_until};

impl Node {
    /// The process of a pod's first container.
    pub async fn process(&self, namespace: &str, pod: &str) -> Result<Process> {
        wait_until(&format!("the container of {pod} runs"), PATIENCE, async || {
            let path = "jsonpath={.status.containerStatuses[0].containerID}";
            let id = kubectl(&["-n", namespace, "get", "pod", pod, "-o", path]).await?;
            let id = id.trim().strip_prefix("containerd://").context("it has no container")?.to_owned();
            let output = Command::new("ctr").args(["tasks", "ls"]).kill_on_drop(true).output().await?;
            let tasks = String::from_utf8_lossy(&output.stdout).into_owned();
            let running = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let process = running.filter(|task| task.first() == Some(&id.as_str())).find_map(|task| {
                let runs = task.get(2) == Some(&"RUNNING");
                Pid::from_raw(task.get(1)?.parse().ok()?).filter(|_| runs)
            });
            let Some(process) = process else { bail!("{id} has no process that runs") };
            Ok(Process(process))
        })
        .await
    }
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
