//! The real proxy.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use penstock_proxy_api::{RolloutStatus, Status};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::config::{NAMESPACE, ROLLOUT};
use crate::server::{self, Server};
use crate::{Config, PATIENCE, client, port, wait_until};

/// One `penstock-proxy`.
#[derive(Debug)]
pub struct Proxy {
    admin: String,
    server: Server,
    _log: TempDir,
}

impl Proxy {
    /// Starts one that reads `config`, and waits until it is ready.
    pub async fn start(config: &Config, instance: &str) -> Result<Proxy> {
        let admin = format!("127.0.0.1:{}", port::free()?);
        let log = tempfile::tempdir()?;
        let mut command = command(config.folder(), &admin, instance)?;
        let server = Server::start("penstock-proxy", &mut command, &log.path().join("log"))?;
        let mut proxy = Proxy { admin, server, _log: log };
        proxy.wait_until_ready().await?;
        Ok(proxy)
    }

    /// `host:port` of its admin listener: `/metrics`, `/status`.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Its process.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// What it reports.
    pub async fn status(&self) -> Result<Status> {
        let (status, body) = client::get(&self.admin, "/status").await?;
        if status != 200 {
            bail!("/status answers HTTP {status}");
        }
        serde_json::from_slice(&body).context("read /status")
    }

    /// What it reports of the Rollout under test.
    pub async fn rollout(&self) -> Result<RolloutStatus> {
        let status = self.status().await?;
        let ours = |r: &RolloutStatus| r.namespace == NAMESPACE && r.name == ROLLOUT;
        let found = status.rollouts.iter().find(|r| ours(r)).cloned();
        found.with_context(|| format!("no {NAMESPACE}/{ROLLOUT} in {status:?}"))
    }

    /// Waits until it applies this generation or a later one.
    pub async fn applies(&self, generation: u64) -> Result<RolloutStatus> {
        wait_until(&format!("the proxy applies split {generation}"), PATIENCE, async || {
            let rollout = self.rollout().await?;
            if rollout.generation < generation {
                bail!("it applies {rollout:?}");
            }
            Ok(rollout)
        })
        .await
    }

    /// Asks it to drain, and waits until it has ended.
    pub fn stop(mut self) -> Result<()> {
        self.server.signal(Signal::TERM)?;
        self.server.wait(PATIENCE)?;
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let (admin, server) = (&self.admin, &mut self.server);
        wait_until("the proxy is ready", PATIENCE, async || {
            server.check_alive()?;
            match client::get(admin, "/readyz").await? {
                (200, _) => Ok(()),
                (status, body) => bail!("HTTP {status}: {}", String::from_utf8_lossy(&body)),
            }
        })
        .await
    }
}

fn command(config: &Path, admin: &str, instance: &str) -> Result<Command> {
    let mut command = Command::new(server::binary("penstock-proxy")?);
    command.arg("run").arg("--config").arg(config).args(["--admin", admin, "--instance", instance]);
    Ok(command)
}
