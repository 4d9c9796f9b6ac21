//! What the API server told of a Rollout, from the first word to the last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use penstock_crds::{Rollout, RolloutStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::local::brief;
use crate::traffic::now;

/// A state of a Rollout.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was told, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The Rollout; none: it was deleted.
    pub rollout: Option<Rollout>,
}

impl Seen {
    /// Its status; that of a new Rollout when it has none.
    pub fn status(&self) -> RolloutStatus {
        self.rollout.as_ref().and_then(|rollout| rollout.status.clone()).unwrap_or_default()
    }
}

/// All that is told of one Rollout. Ends with its value.
#[derive(Debug)]
pub struct Journal {
    seen: Arc<Mutex<Vec<Seen>>>,
    told: watch::Receiver<usize>,
    following: JoinHandle<()>,
}

impl Journal {
    /// Follows a Rollout, whether or not it exists yet.
    pub fn follow(client: Client, namespace: &str, name: &str) -> Journal {
        let (seen, (tell, told)) = (Arc::new(Mutex::new(Vec::new())), watch::channel(0));
        let api: Api<Rollout> = Api::namespaced(client, namespace);
        let following = tokio::spawn(follow(api, name.to_owned(), Arc::clone(&seen), tell));
        Journal { seen, told, following }
    }

    /// All states so far.
    pub fn states(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last state.
    pub fn last(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Waits until a state is as wanted, beginning with the present one.
    pub async fn reaches(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let mut told = self.told.clone();
        let search = async {
            let mut from = self.told.borrow().saturating_sub(1);
            loop {
                told.borrow_and_update();
                let states = self.states();
                if let Some(found) = states.iter().skip(from).find(|seen| wanted(seen)) {
                    return Ok(found.clone());
                }
                from = states.len();
                told.changed().await.context("the Rollout is not followed any more")?;
            }
        };
        match timeout(patience, search).await {
            Ok(found) => found,
            Err(_) => bail!("waited {patience:?} in vain until {what}; at last: {}", self.summary()),
        }
    }

    /// Where it stands, in a line.
    pub fn summary(&self) -> String {
        self.last().map_or_else(
            || "nothing was told".to_owned(),
            |seen| match &seen.rollout {
                Some(_) => brief(&seen.status()),
                None => "deleted".to_owned(),
            },
        )
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(api: Api<Rollout>, name: String, seen: Arc<Mutex<Vec<Seen>>>, tell: watch::Sender<usize>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(watcher(api, config).backoff(Soon));
    while let Some(event) = events.next().await {
        let rollout = match event {
            Ok(watcher::Event::Apply(rollout) | watcher::Event::InitApply(rollout)) => Some(rollout),
            Ok(watcher::Event::Delete(_)) => None,
            // The watch comes back by itself.
            Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => continue,
        };
        let mut states = seen.lock().unwrap_or_else(PoisonError::into_inner);
        states.push(Seen { at: now(), rollout });
        tell.send_replace(states.len());
    }
}

/// Watches are tried again soon: what happens first after an API server is back is of interest.
pub(super) struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}
