//! A real Prometheus, as `tests/prometheus/install` builds it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::Server;
use crate::{PATIENCE, installed, port, wait_until};

/// Time between two scrapes, and the longest time that one may take: no more than a busy machine needs.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(500);

/// One server with its own data.
#[derive(Debug)]
pub struct Prometheus {
    server: Option<Server>,
    port: u16,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these `host:port`, and waits until it is ready.
    pub async fn start(targets: &[String]) -> Result<Prometheus> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("prometheus.yml"), config(targets))?;
        let mut prometheus = Prometheus { folder, port: port::free()?, server: None };
        prometheus.restart().await?;
        Ok(prometheus)
    }

    /// Its base address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it; its port refuses connections from here on.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        server.signal(Signal::TERM)?;
        server.wait(PATIENCE)?;
        Ok(())
    }

    /// Stops it in mid-thought: it accepts connections and never answers, until [`Prometheus::thaw`].
    pub fn freeze(&self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Ends [`Prometheus::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Starts it again on the same port with the same data, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let log = self.folder.path().join("log");
        let mut server = Server::start("prometheus", &mut self.command()?, &log)?;
        let address = format!("127.0.0.1:{}", self.port);
        wait_until("prometheus is ready", PATIENCE, async || {
            server.check_alive()?;
            ready(&address).await
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    /// What it says of its targets, for whoever waits for numbers in vain.
    pub async fn targets(&self) -> String {
        let asked = crate::client::get(&format!("127.0.0.1:{}", self.port), "/api/v1/targets").await;
        asked.map_or_else(
            |error| format!("{error:#}"),
            |(_, body)| String::from_utf8_lossy(&body).into_owned(),
        )
    }

    fn running(&self) -> Result<&Server> {
        self.server.as_ref().context("prometheus isn't running")
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(installed::program("prometheus", "github.com/prometheus/prometheus")?);
        command
            .current_dir(self.folder.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            // Scraping begins at the second look at the targets; 5 s apart unless told otherwise.
            .arg("--scrape.discovery-reload-interval=50ms")
            .arg("--log.level=warn");
        Ok(command)
    }
}

fn config(targets: &[String]) -> String {
    let targets = targets.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", ");
    let interval = SCRAPE_INTERVAL.as_millis();
    format!(
        "global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms}}\n\
         scrape_configs:\n- job_name: proxies\n  static_configs: [{{targets: [{targets}]}}]\n"
    )
}

async fn ready(address: &str) -> Result<()> {
    let (status, _) = crate::client::get(address, "/-/ready").await?;
    if status != 200 {
        bail!("answers HTTP {status}");
    }
    Ok(())
}
