//! A namespace with controllers of its own: processes of this machine, with the very rights that `penstock install
//! --watch-namespace` gives. They can be killed, stopped and robbed of their lease as often as a test likes, and no
//! kubelet waits longer from one start to the next.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::process::{Pid, Signal};
use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;

use super::container::resident;
use super::kubectl::{self, kubectl};
use super::setup::{CONTROLLER, penstock, program};
use super::shop::Shop;
use crate::server::Server;
use crate::{PATIENCE, client, port, wait_until};

/// Name of the lease, and of the controller's account.
pub const LEASE: &str = "penstock-controller";

/// What controllers need to look after one namespace, or all of them.
#[derive(Debug)]
pub struct Realm {
    /// `None`: all of them.
    namespace: Option<String>,
    own: String,
    logs: PathBuf,
    arguments: Vec<String>,
    kubeconfig: TempDir,
    token: String,
}

impl Realm {
    /// Rights and an account for controllers that look after the namespace of a shop. `more` are further arguments of
    /// theirs.
    pub async fn open(shop: &Shop, more: &[&str]) -> Result<Realm> {
        let (namespace, own) = (shop.name.clone(), format!("{}-own", shop.name));
        let printed = penstock(&["install", "--namespace", &own, "--watch-namespace", &namespace]).await?;
        let read = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
        let read = kubectl::run(&read, Some(printed)).await?;
        let objects = Deserializer::from_str(&read).into_iter::<Value>().collect::<Result<Vec<_>, _>>()?;
        let lists = objects.into_iter().flat_map(|object| match object["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![object],
        });
        let wanted = ["Namespace", "ServiceAccount", "Role", "RoleBinding"];
        let wanted: Vec<Value> =
            lists.filter(|object| wanted.iter().any(|kind| object["kind"] == *kind)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": wanted});
        kubectl::feed(&["apply", "--server-side", "-f", "-"], &list).await?;

        Realm::of(shop, Some(namespace), own, more).await
    }

    /// The rights and the account of the cluster's own controllers, which have to be away meanwhile. `more` are further
    /// arguments of those that take their place.
    pub async fn everywhere(shop: &Shop, more: &[&str]) -> Result<Realm> {
        Realm::of(shop, None, CONTROLLER.0.to_owned(), more).await
    }

    async fn of(shop: &Shop, namespace: Option<String>, own: String, more: &[&str]) -> Result<Realm> {
        let arguments = [&["--router-image", &shop.place.images.proxy], more].concat();
        let token = kubectl(&["-n", &own, "create", "token", LEASE]).await?.trim().to_owned();
        let realm = Realm {
            namespace,
            own,
            logs: shop.folder.clone(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            kubeconfig: tempfile::tempdir()?,
            token,
        };
        realm.log_in().await?;
        Ok(realm)
    }

    /// A kubeconfig of the controllers' account.
    async fn log_in(&self) -> Result<()> {
        let admin = std::env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
        let file = self.kubeconfig();
        std::fs::copy(&admin, &file).with_context(|| admin.clone())?;
        let at = format!("--kubeconfig={}", file.display());
        let token = format!("--token={}", self.token);
        kubectl(&[&at, "config", "set-credentials", "controller", &token]).await?;
        kubectl(&[&at, "config", "set-context", "--current", "--user=controller"]).await?;
        Ok(())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.path().join("kubeconfig")
    }

    /// The way to the API server with the controllers' account and rights.
    pub async fn config(&self) -> Result<Config> {
        let file = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
    }

    /// The token of the controllers' account.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The namespace of the controllers themselves.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Starts one.
    pub fn start(&self, name: &str) -> Result<Controller> {
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let mut command = Command::new(program()?);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(["controller", "--name", name]);
        command.args(["--own-namespace", &self.own]);
        if let Some(namespace) = &self.namespace {
            command.args(["--watch-namespace", namespace]);
        }
        command.args(["--metrics", &metrics.to_string()]).args(&self.arguments);
        let log = self.logs.join(format!("controller-{name}.log"));
        let server = Server::start(&format!("controller {name}"), &mut command, &log)?;
        Ok(Controller { name: name.to_owned(), metrics: metrics.to_string(), server, begun: Instant::now() })
    }

    /// Who holds the lease; empty: nobody.
    pub async fn holder(&self) -> Result<String> {
        kubectl(&["-n", &self.own, "get", "lease", LEASE, "-o", "jsonpath={.spec.holderIdentity}"]).await
    }

    /// Makes somebody else the holder of the lease, whoever has it.
    pub async fn steal(&self, holder: &str) -> Result<()> {
        let patch = json!({"spec": {"holderIdentity": holder}}).to_string();
        kubectl(&["-n", &self.own, "patch", "lease", LEASE, "--type=merge", "-p", &patch]).await?;
        Ok(())
    }

    /// Takes away what was given.
    pub async fn close(self) -> Result<()> {
        if self.namespace.is_none() {
            return Ok(());
        }
        kubectl(&["delete", "namespace", &self.own, "--wait=false"]).await?;
        Ok(())
    }
}

/// A controller as a process. It is killed with its value.
#[derive(Debug)]
pub struct Controller {
    /// Its name among several.
    pub name: String,
    metrics: String,
    server: Server,
    begun: Instant,
}

impl Controller {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server.signal(signal)
    }

    /// SIGKILL; it is gone afterwards.
    pub fn kill(mut self) -> Result<()> {
        self.server.signal(Signal::KILL)?;
        self.server.wait(PATIENCE)?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> Result<()> {
        wait_until(&format!("the controller {} ends", self.name), PATIENCE, async || {
            if self.server.check_alive().is_err() { Ok(()) } else { bail!("it runs") }
        })
        .await
    }

    /// Waits until it leads, and has taken a turn. Returns how long after its start that was.
    pub async fn turns(&self) -> Result<Duration> {
        wait_until(&format!("the controller {} takes a turn", self.name), PATIENCE, async || {
            let seen = self.metrics().await?;
            let taken = seen.of("penstock_controller_leader") > 0.0
                && seen.of("penstock_controller_turn_duration_seconds_count") > 0.0;
            if taken { Ok(self.begun.elapsed()) } else { bail!("it has not") }
        })
        .await
    }

    /// Whether it leads.
    pub async fn leads(&self) -> Result<bool> {
        Ok(self.metrics().await?.of("penstock_controller_leader") > 0.0)
    }

    /// Waits until it knows all that it has to know.
    pub async fn is_ready(&self) -> Result<()> {
        wait_until(&format!("the controller {} is ready", self.name), PATIENCE, async || {
            match self.get("/readyz").await? {
                (200, _) => Ok(()),
                (status, why) => bail!("{status}: {why}"),
            }
        })
        .await
    }

    /// All that it tells of itself.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::of_controller(&self.metrics).await
    }

    /// What it answers at a path of its listener: status and text.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let (status, body) = client::get(&self.metrics, path).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Memory that it has in use, in bytes: its resident set.
    pub fn memory(&self) -> Result<u64> {
        let process = i32::try_from(self.server.pid()).ok().and_then(Pid::from_raw);
        resident(process.context("its process")?)
    }
}

/// Series of a controller.
#[derive(Clone, Debug, Default)]
pub struct Metrics(String);

impl Metrics {
    /// Reads those of the controller whose listener this is.
    pub async fn of_controller(address: &str) -> Result<Metrics> {
        let (status, body) = client::get(address, "/metrics").await?;
        anyhow::ensure!(status == 200, "/metrics answers {status}");
        Ok(Metrics(String::from_utf8_lossy(&body).into_owned()))
    }

    /// The value of a series without labels; 0 where it is not there.
    pub fn of(&self, name: &str) -> f64 {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next()?.parse().ok();
        self.0.lines().find_map(value).unwrap_or(0.0)
    }

    /// How many series of a name have this in their labels, and the value 1.
    pub fn count(&self, name: &str, labels: &str) -> usize {
        let lines = self.0.lines().filter(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with('{')));
        lines.filter(|line| line.contains(labels) && line.ends_with("} 1")).count()
    }

    /// Cumulative counts of a histogram without labels: upper edge in its unit, and how many are no greater.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let bucket = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (edge, rest) = rest.split_once("\"}")?;
            let edge = if edge == "+Inf" { f64::INFINITY } else { edge.parse().ok()? };
            Some((edge, rest.split_whitespace().next()?.parse().ok()?))
        };
        self.0.lines().filter_map(bucket).collect()
    }
}
