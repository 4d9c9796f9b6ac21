//! Pods as processes of this machine.
//!
//! The supervisor starts them, asks whether they are ready, starts them again, and takes them away. They outlive it: a
//! new supervisor of the same folder adopts them, and no request is lost in between. Dropping it leaves them running.

mod adopt;
mod expand;
mod life;
mod plan;
pub(crate) mod ports;
mod probe;
mod record;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::PodTemplateSpec;
use penstock_core::observation::Pods;
use penstock_core::revision::Revision;
use penstock_core::split::Generation;
use penstock_core::time::Time;
use penstock_crds::PodStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::life::Life;
use self::plan::Plan;
use self::ports::Ports;
use self::table::{Leave, Name, Table, Wanted};
use super::files::FileError;
use super::home::{Home, Key};
use super::logs;
use super::process::Process;

pub use self::record::{Record, records};

/// Most pods of one revision.
pub const MOST: u32 = 100;

/// How fast things go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the removal of an endpoint to the SIGTERM of its pod.
    pub quiet: Duration,
    /// Before the first restart; each further one waits twice as long.
    pub backoff_first: Duration,
    /// The longest wait before a restart.
    pub backoff_most: Duration,
    /// A pod that was ready for so long begins anew with the first wait.
    pub healthy: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            quiet: Duration::from_secs(1),
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(30),
            healthy: Duration::from_secs(60),
        }
    }
}

impl Pace {
    fn backoff(&self, fell: u32) -> Duration {
        self.backoff_first.saturating_mul(2_u32.saturating_pow(fell.min(20))).min(self.backoff_most)
    }
}

/// What is wanted of one revision: what a ReplicaSet's spec is on a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The Rollout.
    pub key: Key,
    /// The revision.
    pub revision: Revision,
    /// What its pods are. It never changes for a revision.
    pub template: PodTemplateSpec,
    /// How many.
    pub replicas: u32,
    /// The split that this was decided with.
    pub generation: Generation,
    /// When the revision was made.
    pub created: Time,
    /// What its pods speak: `kubernetes.io/h2c`; HTTP/1.1 when left out.
    pub app_protocol: Option<String>,
    /// A pod counts as ready when it has been so for this long.
    pub min_ready: Duration,
}

/// Keeps the pods of a folder running. To be used inside a tokio runtime, one per folder.
#[derive(Debug)]
pub struct Supervisor {
    table: Arc<Table>,
    ports: Arc<Ports>,
    pace: Pace,
    lives: Mutex<JoinSet<()>>,
}

impl Supervisor {
    /// Adopts the pods that an earlier run has left, and ends what they have left behind.
    ///
    /// Adopted pods keep their endpoints. Those of groups that are not named by [`Supervisor::scale`] later go on as
    /// they are, until [`Supervisor::retain`] says that nobody wants them.
    /// Errors: the folder cannot be read or written.
    pub fn open(home: &Home, pace: Pace) -> Result<Supervisor, FileError> {
        let (table, ports) = (Arc::new(Table::new(home)), Arc::new(Ports::new()));
        let supervisor = Supervisor { table, ports, pace, lives: Mutex::default() };
        supervisor.adopt()?;
        Ok(supervisor)
    }

    /// Brings a group to its number of pods, as a target: doing it twice is doing it once. An older generation than
    /// the one known changes nothing.
    ///
    /// What cannot be started is told by [`Supervisor::look`]. Errors: a pod cannot be written down.
    pub fn scale(&self, group: Group) -> Result<(), FileError> {
        let name = (group.key, group.revision);
        let plan = Plan::read(&group.template, self.table.home.dir()).map(Arc::new);
        let plan = plan
            .and_then(|plan| if group.replicas > MOST { Err(too_many(group.replicas)) } else { Ok(plan) });
        let Group { replicas, generation, created, app_protocol, min_ready, .. } = group;
        let wanted = Wanted { replicas, generation, created, app_protocol, min_ready, plan };
        if !self.table.want(name.clone(), wanted) {
            return Ok(());
        }
        for _ in 0..self.table.balance(&name) {
            self.add(&name)?;
        }
        Ok(())
    }

    /// Gives a revision up, with its pods.
    pub fn delete(&self, key: &Key, revision: &Revision) {
        self.table.retain(|name| (&name.0, &name.1) != (key, revision));
    }

    /// Gives all groups up that are not named, with their pods.
    pub fn retain(&self, keep: &BTreeSet<(Key, Revision)>) {
        self.table.retain(|name| keep.contains(name));
    }

    /// Every revision that is wanted or has pods; one that is kept with 0 pods is there.
    pub fn look(&self) -> BTreeMap<Key, BTreeMap<Revision, Pods>> {
        self.table.look()
    }

    /// The pods of a revision one by one.
    pub fn pods(&self, key: &Key, revision: &Revision) -> Vec<PodStatus> {
        self.table.pods(&(key.clone(), revision.clone()))
    }

    /// Changes whenever a pod does: it comes, gets ready or unready, falls, goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.table.changes()
    }

    /// Takes all pods away, within this time and a second or two. `true`: none is left.
    pub async fn stop_all(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within + Duration::from_secs(5);
        let mut changes = self.changes();
        self.table.bid_all(Leave::Within(within));
        while !self.table.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changes.changed()).await.is_err() {
                return false;
            }
        }
        true
    }

    fn add(&self, name: &Name) -> Result<(), FileError> {
        let record = self.new_record(name)?;
        if let Err(error) = logs::prune(&self.table.home, |pod| self.table.knows(pod)) {
            tracing::warn!(%error, "cannot remove old logs");
        }
        let port = record.port;
        self.live(name.clone(), record, None).inspect_err(|_| self.ports.give_back(port))
    }

    fn new_record(&self, (key, revision): &Name) -> Result<Record, FileError> {
        let refuse = |why| {
            FileError::new("give a port to a pod of", self.table.home.dir(), std::io::Error::other(why))
        };
        Ok(Record {
            name: format!("{}-{revision}-{}", key.name(), suffix()),
            namespace: key.namespace().to_owned(),
            rollout: key.name().to_owned(),
            revision: revision.clone(),
            port: self.ports.take().map_err(refuse)?,
            created: now(),
            mark: None,
            process: None,
            restarts: 0,
            ready: false,
            ready_since: None,
            leaving: false,
            trouble: None,
        })
    }

    fn live(&self, group: Name, record: Record, process: Option<Process>) -> Result<(), FileError> {
        let pod = record.name.clone();
        let leave = self.table.add(group.clone(), record)?;
        let (table, ports, pace) = (Arc::clone(&self.table), Arc::clone(&self.ports), self.pace);
        let life = Life { table, ports, pace, group, pod, leave, fell: 0, grace: Duration::from_secs(30) };
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        while lives.try_join_next().is_some() {}
        lives.spawn(life.live(process));
        Ok(())
    }
}

fn too_many(replicas: u32) -> String {
    format!(
        "{replicas} pods are asked for: local mode runs at most {MOST} of a revision; write fewer replicas"
    )
}

/// Without vowels, as Kubernetes has it: no words by accident.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
