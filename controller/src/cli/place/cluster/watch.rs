//! Rollouts of a cluster as they change.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::StreamExt;
use kube::Error;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::{MissedTickBehavior, interval};

use super::trouble;
use super::{Cluster, Saved, Scope, Show, Target, saved};
use crate::cli::paint::complain;
use crate::cli::place::NotFound;

/// Changes are gathered for so long before they are shown, and ages go on as often.
const PACE: Duration = Duration::from_millis(250);

/// What is known by namespace and name.
type Known = BTreeMap<(String, String), Saved>;

/// Rollouts as a watch tells of them.
#[derive(Default)]
struct Sight {
    /// What is there; `None` until all was told once.
    known: Option<Known>,
    /// What is told again from the beginning.
    again: Known,
}

impl Cluster {
    /// Shows Rollouts whenever they change, until there is an error.
    pub(super) async fn follow(&self, target: Option<&Target>, scope: &Scope, show: Show<'_>) -> Result<()> {
        let (namespace, filter) = match target {
            // What is not there, or may not be seen, is told better this way.
            Some(target) => {
                let one = self.get(target).await?;
                let filter = watcher::Config::default().fields(&format!("metadata.name={}", one.name()));
                (Some(one.namespace().to_owned()), filter)
            }
            None => (self.namespace(scope)?.map(str::to_owned), watcher::Config::default()),
        };
        let events = watcher(self.rollouts(namespace.as_deref()), filter).default_backoff();
        let mut events = pin!(events);
        let mut sight = Sight::default();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => sight.take(event),
                    Some(Err(error)) => self.bear(&error, namespace.as_deref(), sight.known.is_some())?,
                    None => return Ok(()),
                },
                _ = pace.tick() => {
                    let Some(known) = &sight.known else { continue };
                    if let (Some(target), true) = (target, known.is_empty()) {
                        bail!(NotFound(format!("the Rollout {} was deleted", target.name)));
                    }
                    show(known.values().cloned().collect())?;
                }
            }
        }
    }

    /// What began well is tried again; what can't begin is an error.
    fn bear(&self, error: &watcher::Error, namespace: Option<&str>, begun: bool) -> Result<()> {
        let told = match error {
            watcher::Error::InitialListFailed(error) => self.told("list", namespace, error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                self.told("watch", namespace, error)
            }
            // Too old a place to go on from: the next answer is a whole one.
            watcher::Error::WatchError(status) if status.code == 410 => return Ok(()),
            watcher::Error::WatchError(status) => self.told("watch", namespace, &Error::Api(status.clone())),
            watcher::Error::NoResourceVersion => anyhow::anyhow!("{} can't be watched", self.cluster),
        };
        if !begun {
            return Err(told);
        }
        complain(&format!("{told:#}; trying again"));
        Ok(())
    }

    fn told(&self, verb: &str, namespace: Option<&str>, error: &Error) -> anyhow::Error {
        trouble::explain(error, &self.doing(verb, namespace))
    }
}

impl Sight {
    fn take(&mut self, event: Event<DynamicObject>) {
        let entry = |object: DynamicObject| {
            let saved = saved(object);
            ((saved.namespace().to_owned(), saved.name().to_owned()), saved)
        };
        match event {
            Event::Init => self.again.clear(),
            Event::InitApply(object) => self.again.extend([entry(object)]),
            Event::InitDone => self.known = Some(std::mem::take(&mut self.again)),
            Event::Apply(object) => self.known.get_or_insert_default().extend([entry(object)]),
            Event::Delete(object) => {
                self.known.get_or_insert_default().remove(&entry(object).0);
            }
        }
    }
}
