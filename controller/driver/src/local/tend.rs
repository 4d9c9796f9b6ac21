//! The life of one Rollout in a folder: turn after turn until it is deleted.

use std::sync::Arc;
use std::time::Duration;

use penstock_core::state::State;
use penstock_core::time::Time;
use tokio::sync::watch;

use super::home::Key;
use super::routes;
use super::store::StoreError;
use super::world::{Applied, LocalWorld, Site, rollout_name};
use crate::clock::now;
use crate::turn::{Memory, turn};

/// What can't be opened is tried again after this.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long requests of a deleted Rollout may take to end.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// Tends a Rollout until `wanted` says that it is deleted, and takes it down then.
pub(super) async fn tend(
    site: Arc<Site>,
    key: Key,
    mut wanted: watch::Receiver<Option<Applied>>,
    mut touched: watch::Receiver<u64>,
) {
    let mut pods = site.supervisor.changes();
    let Some((mut world, state)) = open(&site, &key, &mut wanted).await else {
        return take_down(&site, &key).await;
    };
    let mut memory = Memory::new(state);
    let mut told = Vec::new();
    loop {
        let strategy = world.strategy().clone();
        let turned = turn(&mut world, &strategy, &mut memory, now()).await;
        if turned.troubles != told {
            turned.troubles.iter().for_each(|trouble| tracing::error!(rollout = %key, "{trouble}"));
            told = turned.troubles;
        }
        if turned.outdated {
            match world.read() {
                Ok(state) => memory = Memory::new(state),
                Err(error) => tracing::error!(rollout = %key, %error, "the state can't be read again"),
            }
        }
        let answered = Arc::clone(&world.answered);
        tokio::select! {
            () = until(turned.wake_at) => {}
            () = answered.notified() => {}
            _ = pods.changed() => {}
            _ = touched.changed() => {}
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let applied = wanted.borrow_and_update().clone();
                match applied {
                    Some(applied) => world.apply(applied),
                    None => return take_down(&site, &key).await,
                }
            }
        }
    }
}

/// `None`: it was deleted before it could be opened.
async fn open(
    site: &Arc<Site>,
    key: &Key,
    wanted: &mut watch::Receiver<Option<Applied>>,
) -> Option<(LocalWorld, State)> {
    let mut told = String::new();
    loop {
        let applied = wanted.borrow_and_update().clone()?;
        match LocalWorld::open(Arc::clone(site), key.clone(), applied) {
            Ok(opened) => return Some(opened),
            Err(error) if error.to_string() == told => {}
            Err(error) => {
                told = error.to_string();
                tracing::error!(rollout = %key, "{told}");
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => std::future::pending().await,
    }
}

/// A Rollout that is deleted: first its route goes, then, when its last request has ended, its pods.
pub(super) async fn take_down(site: &Site, key: &Key) {
    site.post.forget(&rollout_name(key));
    tracing::info!(rollout = %key, "deleted: it is taken down");
    let gone = routes::remove(&site.home, key);
    let _ = gone.inspect_err(|error| tracing::error!(rollout = %key, %error, "deletion"));
    let _ = tokio::time::timeout(LAST_REQUESTS, last_request_ended(site, key)).await;
    for revision in site.supervisor.look().remove(key).unwrap_or_default().into_keys() {
        site.supervisor.delete(key, &revision);
    }
    if let Err(error) = forget(site, key) {
        tracing::error!(rollout = %key, %error, "deletion");
    }
}

async fn last_request_ended(site: &Site, key: &Key) {
    loop {
        let reports = site.status.status(std::slice::from_ref(&site.admin)).await;
        let statuses: Vec<_> = reports.into_values().flatten().collect();
        let mine = |r: &&penstock_proxy_api::RolloutStatus| {
            r.namespace == key.namespace() && r.name == key.name() && (r.listen.is_some() || busy(r))
        };
        if !statuses.is_empty() && !statuses.iter().any(|s| s.rollouts.iter().any(|r| mine(&r))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn busy(rollout: &penstock_proxy_api::RolloutStatus) -> bool {
    rollout.in_flight.values().any(|n| *n > 0)
}

fn forget(site: &Site, key: &Key) -> Result<(), StoreError> {
    for revision in site.revisions.list(key)?.revisions.into_keys() {
        site.revisions.remove(key, &revision)?;
    }
    site.orders.forget(key)?;
    site.shelf.remove(key);
    site.store.delete(key)
}
