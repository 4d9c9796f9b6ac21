//! The whole ring on this machine: `penstock local` over a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use penstock_crds::RolloutStatus;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::{NAMESPACE, ROLLOUT};
use crate::server::{self, Server};
use crate::{PATIENCE, port, wait_until};

/// Marks every process of a folder, so that none is left behind.
const MARK: &str = "PENSTOCK_TEST_FOLDER";

/// What to release, and how it is judged.
#[derive(Clone, Debug)]
pub struct Release {
    /// The version that its answers name.
    pub version: String,
    /// Share of failing requests.
    pub fail_percent: u32,
    /// Share of slow requests.
    pub slow_percent: u32,
    /// How slow they are.
    pub slow_by: Duration,
    /// `spec.analysis`.
    pub analysis: Value,
    /// `spec.strategy.canary.steps`.
    pub steps: Value,
}

impl Release {
    /// A healthy one that goes to 20 % for 4 s, 50 % for 2 s, 100 %, judged by this analysis.
    pub fn healthy(version: &str, analysis: Value) -> Release {
        let pause = |duration: &str| json!({"pause": {"duration": duration}});
        Release {
            version: version.to_owned(),
            fail_percent: 0,
            slow_percent: 0,
            slow_by: Duration::ZERO,
            analysis,
            steps: json!([{"setWeight": 20}, pause("4s"), {"setWeight": 50}, pause("2s")]),
        }
    }
}

/// A folder, and the `penstock local` that runs it. All its processes end with it.
#[derive(Debug)]
pub struct Local {
    server: Option<Server>,
    port: u16,
    folder: TempDir,
}

impl Local {
    /// Starts one over an empty folder.
    pub async fn start() -> Result<Local> {
        let mut local = Local { server: None, port: port::free()?, folder: tempfile::tempdir()? };
        local.restart().await?;
        Ok(local)
    }

    /// Starts it again, with whatever it left behind.
    pub async fn restart(&mut self) -> Result<()> {
        let mut command = penstock(self.folder.path())?;
        command.arg("local").env(MARK, self.folder.path());
        let log = self.folder.path().join("penstock-local.log");
        self.server = Some(Server::start("penstock local", &mut command, &log)?);
        wait_until("penstock local has a proxy", PATIENCE, async || self.admin()).await?;
        Ok(())
    }

    /// Its process.
    pub fn server(&mut self) -> Result<&mut Server> {
        self.server.as_mut().context("penstock local isn't running")
    }

    /// Where clients reach the Rollout.
    pub fn apex(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `host:port` of the proxy's admin listener.
    pub fn admin(&self) -> Result<String> {
        let file = self.folder.path().join(".penstock/proxy.json");
        let record: Value =
            serde_json::from_slice(&std::fs::read(&file).with_context(|| file.display().to_string())?)?;
        Ok(record["admin"].as_str().context("the proxy's record names no admin listener")?.to_owned())
    }

    /// Saves the manifest of a release, which applies it.
    pub fn apply(&self, release: &Release) -> Result<()> {
        let file = self.folder.path().join("checkout.json");
        let new = self.folder.path().join(".checkout.json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(&self.manifest(release)?)?)?;
        std::fs::rename(new, file)?;
        Ok(())
    }

    /// The status as `penstock get` tells it.
    pub fn status(&self) -> Result<RolloutStatus> {
        let output = self.command(&["get", ROLLOUT, "-n", NAMESPACE, "-o", "json"])?;
        let object: Value = serde_json::from_str(&output).context("read what penstock get says")?;
        serde_json::from_value(object["status"].clone()).context("read the status")
    }

    /// Runs `penstock` with these arguments over the folder. Errors: it ends with another code than 0.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = penstock(self.folder.path())?.args(arguments).output()?;
        if !output.status.success() {
            bail!("penstock {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the status is as wanted; `Err` says what is still missing.
    pub async fn reaches(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        wait_until(what, deadline, async || {
            let status = self.status()?;
            if wanted(&status) { Ok(status) } else { Err(anyhow::anyhow!("{}", brief(&status))) }
        })
        .await
    }

    fn manifest(&self, release: &Release) -> Result<Value> {
        let env = |name: &str, value: String| json!({"name": name, "value": value});
        Ok(json!({
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {
                "name": ROLLOUT,
                "namespace": NAMESPACE,
                "annotations": {(penstock_driver::local::listen::LOCAL_PORT): self.port.to_string()},
            },
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": ROLLOUT}},
                "template": {
                    "metadata": {"labels": {"app": ROLLOUT}},
                    "spec": {"containers": [{
                        "name": "web",
                        "image": format!("checkout:{}", release.version),
                        "command": [server::binary("penstock-test-pod")?],
                        "env": [
                            env("VERSION", release.version.clone()),
                            env("FAIL_PERCENT", release.fail_percent.to_string()),
                            env("SLOW_PERCENT", release.slow_percent.to_string()),
                            env("SLOW_MILLIS", release.slow_by.as_millis().to_string()),
                            env(MARK, self.folder.path().display().to_string()),
                        ],
                        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                        "ports": [{"containerPort": 8080}],
                    }]},
                },
                "service": {"name": ROLLOUT, "port": 80, "targetPort": 8080},
                "strategy": {"canary": {"steps": release.steps}},
                "analysis": release.analysis,
            },
        }))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.signal(Signal::TERM).ok();
            server.wait(PATIENCE).ok();
        }
        // After a SIGKILL pods and proxy have outlived it, as they should.
        for process in marked(self.folder.path()) {
            kill_process(process, Signal::KILL).ok();
        }
    }
}

/// A status in one line.
pub fn brief(status: &RolloutStatus) -> String {
    let split = status.split.as_ref().map(|s| format!("{} % acknowledged {}", s.weight, s.acknowledged));
    let measurements = status
        .measurements
        .iter()
        .map(|m| format!("{} {:?} {}", m.metric, m.verdict, m.message.as_deref().unwrap_or_default()));
    format!(
        "{} {:?} step {:?}, {}; {}",
        status.phase.as_str(),
        status.message,
        status.step,
        split.unwrap_or_default(),
        measurements.collect::<Vec<_>>().join("; ")
    )
}

fn penstock(folder: &Path) -> Result<Command> {
    let mut command = Command::new(server::binary("penstock")?);
    command.arg("--dir").arg(folder);
    Ok(command)
}

/// Processes of this folder: those that carry its mark.
fn marked(folder: &Path) -> Vec<Pid> {
    let mark = format!("{MARK}={}", folder.display());
    let of_folder = |process: &PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let numbers = processes.filter(of_folder).filter_map(|p| p.file_name()?.to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}
