//! Who leads, by a Lease of Kubernetes: one controller acts, the others stand by.
//!
//! The lease only keeps controllers from doing the same work twice. That nothing goes wrong when two lead for a
//! while (a process that was stopped and wakes up late) rests on conditional writes and generations, not on it.
//!
//! A holder is known by its name: a container that restarts in its pod takes its own lease back at once. A lease is
//! over when it was not renewed for its duration by the *observer's* clock, so clocks need not agree. It is given
//! back at the end, and who waits sees that at once by a watch.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Client};
use tokio::sync::watch;

/// Name of the lease.
pub(super) const NAME: &str = "penstock-controller";
/// Who has not renewed it for so long has lost it.
const DURATION: Duration = Duration::from_secs(4);
/// Time between two renewals.
const RENEWAL: Duration = Duration::from_secs(1);
/// Time between two attempts while the API server says no.
const AGAIN: Duration = Duration::from_millis(500);
/// A renewal takes no longer, or counts as failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes part in the election of a leader.
pub(super) struct Candidate {
    api: Api<Lease>,
    name: String,
    leads: watch::Sender<bool>,
}

impl Candidate {
    /// Takes part as `name`, in a namespace.
    pub(super) fn new(client: Client, namespace: &str, name: String) -> Candidate {
        Candidate { api: Api::namespaced(client, namespace), name, leads: watch::channel(false).0 }
    }

    /// Whether it leads, from now on.
    pub(super) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Stands by or leads until it is dropped.
    pub(super) async fn run(&self) {
        loop {
            let lease = self.win().await;
            tracing::info!(candidate = self.name, "leads");
            self.leads.send_replace(true);
            self.hold(lease).await;
            self.leads.send_replace(false);
            tracing::warn!(
                candidate = self.name,
                "leads no longer: another one does, or the API server gives no answer"
            );
        }
    }

    /// Gives the lease back, so that another one leads at once. Errors are told: then it runs out.
    pub(super) async fn resign(&self) {
        self.leads.send_replace(false);
        let given = tokio::time::timeout(PATIENCE, async {
            let Some(mut lease) = self.api.get_opt(NAME).await? else { return Ok(()) };
            if holder(&lease) == Some(self.name.as_str()) {
                let spec = lease.spec.get_or_insert_default();
                (spec.holder_identity, spec.renew_time) = (None, None);
                self.api.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        });
        match given.await {
            Ok(Ok(())) => tracing::info!(candidate = self.name, "gave the lease back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease can't be given back: it runs out"),
            Err(_) => tracing::warn!("the lease can't be given back in time: it runs out"),
        }
    }

    /// Waits until the lease is ours.
    async fn win(&self) -> Lease {
        let mut told = String::new();
        loop {
            match self.stand_by().await {
                Ok(lease) => return lease,
                Err(error) => {
                    let why = error.to_string();
                    if why != told {
                        tracing::warn!(error = why, "the lease can't be read or written; it is tried again");
                        told = why;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Watches the lease until it is ours. Each event is a renewal: without one for its duration, it is over.
    async fn stand_by(&self) -> Result<Lease, watcher::Error> {
        let mut stream = pin!(watch_object(self.api.clone(), NAME));
        let mut known: Option<Lease> = None;
        loop {
            let attempt = match tokio::time::timeout(DURATION, stream.next()).await {
                Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok(None))) => self.create().await,
                Ok(Some(Ok(Some(lease)))) => {
                    let free = holder(&lease).is_none_or(|holder| holder == self.name);
                    known = Some(lease.clone());
                    if free { self.write(lease).await } else { Ok(None) }
                }
                Ok(None) | Err(_) => match known.clone() {
                    Some(lease) => self.write(lease).await,
                    None => Ok(None),
                },
            };
            if let Some(lease) = attempt.map_err(watcher::Error::WatchFailed)? {
                return Ok(lease);
            }
        }
    }

    async fn create(&self) -> Result<Option<Lease>, kube::Error> {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(None)) };
        won(self.api.create(&PostParams::default(), &lease).await)
    }

    /// Keeps the lease; returns when it is lost.
    async fn hold(&self, mut lease: Lease) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEWAL).await;
            // A process that was stopped may wake up here long after: the lease is somebody else's by then.
            if renewed.elapsed() >= DURATION {
                return;
            }
            let began = Instant::now();
            match tokio::time::timeout(PATIENCE, self.write(lease.clone())).await {
                Ok(Ok(Some(new))) => (lease, renewed) = (new, began),
                Ok(Ok(None)) => match self.api.get(NAME).await {
                    Ok(there) if holder(&there) == Some(self.name.as_str()) => lease = there,
                    Ok(_) => return,
                    Err(error) => tracing::debug!(%error, "lease"),
                },
                Ok(Err(error)) => tracing::debug!(%error, "the lease can't be renewed"),
                Err(_) => tracing::debug!("the lease can't be renewed in time"),
            }
        }
    }

    /// `None`: somebody else has written in between.
    async fn write(&self, mut lease: Lease) -> Result<Option<Lease>, kube::Error> {
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        won(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let same = before.filter(|spec| spec.holder_identity.as_ref() == Some(&self.name));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.name.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: same.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(same.is_none()))),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn won(written: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match written {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}
