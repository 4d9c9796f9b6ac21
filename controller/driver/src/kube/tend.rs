//! The life of one Rollout on a cluster: turn after turn, as long as there is anything to wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_core::time::Time;
use penstock_crds::{RolloutStatus, Trouble, barred, refused};
use penstock_signals::RolloutName;
use tokio::sync::SemaphorePermit;

use super::cluster::Cluster;
use super::give_back::give_back_of;
use super::rollouts::Entry;
use super::wakers::Bell;
use super::world::{KubeWorld, Unfit, put_status, typed};
use crate::clock::now;
use crate::turn::{Memory, turn};

/// Turns of one Rollout come no faster, whatever happens.
const PACE: Duration = Duration::from_millis(20);
/// What failed is tried again after this at first, and after ten times as long in the end.
const AGAIN: Duration = Duration::from_secs(1);
/// What failed is not tried again sooner, however long it has been due: an API server that refuses is short of room.
const SOONEST: Duration = Duration::from_millis(250);
/// While a Service waits to be taken over, routers are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// While there are no routers, whoever waits for them looks at least this often; their news come sooner.
const LOOK_ON: Duration = Duration::from_secs(30);
/// How long a Rollout that waits for nothing stays at hand.
const LINGER: Duration = Duration::from_secs(5);

/// How a visit ended.
enum Then {
    /// It is looked at again then, or when its bell rings.
    Wait(Option<Duration>),
    /// There is nothing left to do.
    Gone,
}

/// Tends a Rollout until there is nothing to wait for.
pub(super) async fn tend(cluster: Arc<Cluster>, key: RolloutName, bell: Arc<Bell>) {
    let mut life = Life {
        cluster: Arc::clone(&cluster),
        key: key.clone(),
        bell: Arc::clone(&bell),
        world: None,
        failures: 0,
        told: Vec::new(),
    };
    let (mut calm, waited) = room(&cluster, &key, &bell).await;
    let mut planned = waited;
    loop {
        let (began, rung) = (Instant::now(), bell.heard());
        let due = rung.into_iter().chain(planned).min().unwrap_or(began).min(began);
        let then = life.visit(due).await;
        cluster.metrics.turned(began.elapsed());
        // A first look that finds nothing to do is the last one for long.
        let done = calm.is_some() && matches!(then, Then::Wait(None));
        if done {
            life.settle().await;
        }
        drop(calm.take());
        planned = if let Then::Wait(Some(pause)) = &then { Some(Instant::now() + *pause) } else { None };
        tokio::time::sleep(PACE).await;
        match then {
            Then::Gone => {
                if cluster.wakers.leave(&key, &bell) {
                    return;
                }
            }
            Then::Wait(Some(pause)) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = bell.rings() => {}
            },
            Then::Wait(None) => {
                let linger = if done { Duration::ZERO } else { LINGER };
                let rung = tokio::time::timeout(linger, bell.rings()).await.is_ok();
                if !rung && cluster.wakers.leave(&key, &bell) {
                    return;
                }
            }
        }
    }
}

/// Waits for room, if the Rollout says that nothing is under way: what it says is looked at anew with all news.
/// Returns since when it was due.
async fn room<'a>(
    cluster: &'a Cluster,
    key: &RolloutName,
    bell: &Bell,
) -> (Option<SemaphorePermit<'a>>, Option<Instant>) {
    let mut room = std::pin::pin!(cluster.calm.acquire());
    let mut due = None;
    loop {
        due = due.or(bell.heard());
        if !cluster.rollouts.get(key).is_some_and(|entry| entry.calm) {
            return (None, due);
        }
        tokio::select! {
            permit = &mut room => return (permit.ok(), due),
            () = bell.rings() => {}
        }
    }
}

struct Life {
    cluster: Arc<Cluster>,
    key: RolloutName,
    bell: Arc<Bell>,
    world: Option<(KubeWorld, Memory)>,
    /// Turns in a row in which something failed.
    failures: u32,
    told: Vec<String>,
}

impl Life {
    async fn visit(&mut self, due: Instant) -> Then {
        let Some(entry) = self.cluster.rollouts.get(&self.key) else { return self.gone().await };
        if entry.deleting {
            // Its objects go with it, or stay behind as they are: nothing is made anew, nothing is divided.
            self.world = None;
            return Then::Gone;
        }
        // Another one of the same name has nothing to do with the one before.
        self.world.take_if(|(world, _)| world.uid() != entry.uid);
        let clash = self.cluster.rollouts.clash(&self.key, &entry);
        if clash.is_some() {
            self.cluster.stands_back(&self.key);
        }
        if !self.open(&entry, clash.clone()).await {
            return self.pause(true);
        }
        let Some((world, memory)) = &mut self.world else { return Then::Wait(None) };
        world.stand_back(clash);
        if let Some(state) = world.take(&entry) {
            *memory = Memory::new(state);
        }
        let new = memory.state.stable.is_none();
        world.furnish(new).await;
        if new && world.is_barred() {
            let saved = world.save_bar().await;
            let _ = saved.inspect_err(|error| tracing::debug!(rollout = %self.key, %error, "troubles"));
            return self.pause(true);
        }
        let strategy = world.strategy().clone();
        let turned = turn(world, &strategy, memory, now()).await;
        self.cluster.metrics.decided(due.elapsed());
        if turned.outdated {
            if !world.read().await {
                return Then::Wait(Some(PACE));
            }
            if let Some(entry) = self.cluster.rollouts.get(&self.key) {
                world.take(&entry);
            }
            // What was decided and could not be saved was never decided.
            *memory = Memory::new(world.saved_state());
            return Then::Wait(Some(PACE));
        }
        world.tidy().await;
        let (troubled, over) = (world.is_troubled(), world.is_over());
        let ready_at = world.ready_at;
        if turned.troubles != self.told {
            turned.troubles.iter().for_each(|trouble| tracing::error!(rollout = %self.key, "{trouble}"));
            self.told.clone_from(&turned.troubles);
        }
        let soonest = now() + by_chance(SOONEST);
        let orders_at = world.has_orders().then_some(soonest);
        let wake_at = turned.wake_at.into_iter().chain(ready_at).chain(orders_at).min();
        let released = memory.state.release.is_some();
        let adopting = world.is_adopting();
        if !turned.troubles.is_empty() || troubled {
            // A release is judged when it is due, whatever else fails.
            let failed = !over || !turned.troubles.is_empty();
            let Then::Wait(Some(pause)) = self.pause(failed) else { return Then::Wait(None) };
            let sooner = wake_at.filter(|_| released || turned.troubles.is_empty());
            return within(pause, sooner.map(|at| at.max(soonest)));
        }
        if adopting {
            return within(LOOK_AGAIN, wake_at);
        }
        self.failures = 0;
        if world.lacks_routers() {
            // Their bell rings only for those who are tended, and the status has to say when they are there.
            return within(LOOK_ON, wake_at);
        }
        Then::Wait(wake_at.map(until))
    }

    /// Waits until what stands around the Rollout is put right.
    async fn settle(&mut self) {
        if let Some((world, _)) = &mut self.world {
            world.furnishing_done().await;
        }
    }

    /// Returns whether there is a world to take a turn in.
    async fn open(&mut self, entry: &Arc<Entry>, clash: Option<String>) -> bool {
        if self.world.is_some() {
            return true;
        }
        // One that has run before goes on beside its neighbour, and only what is new is refused.
        let opened = match clash.filter(|_| entry.new) {
            Some(clash) => Err(Unfit::Refused(clash)),
            None => {
                KubeWorld::open(Arc::clone(&self.cluster), self.key.clone(), entry, Arc::clone(&self.bell))
            }
        };
        match opened {
            Ok((world, state)) => {
                self.world = Some((world, Memory::new(state)));
                true
            }
            Err(unfit) => {
                let why = match unfit {
                    Unfit::Refused(why) => why,
                    Unfit::NoPort => "the routers of this namespace have no port left: move some Rollouts to another namespace".to_owned(),
                };
                self.refuse(entry, &why).await;
                false
            }
        }
    }

    /// Says in the status why a Rollout is not tended. What runs is left as it is.
    async fn refuse(&self, entry: &Entry, why: &str) {
        tell(&self.cluster, &self.key, entry, |generation, before| refused(generation, why, now(), before))
            .await;
    }

    async fn gone(&mut self) -> Then {
        if self.world.take().is_some() {
            tracing::info!(rollout = %self.key, "deleted");
        }
        self.cluster.post.forget(&self.key);
        give_back_of(&self.cluster, &self.key).await;
        self.cluster.release(&self.key);
        self.cluster.metrics.forget(&self.key);
        Then::Gone
    }

    /// Longer from failure to failure, and a little by chance: many that fail together don't come back together.
    fn pause(&mut self, failed: bool) -> Then {
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        let pause =
            AGAIN.mul_f64(1.5_f64.powi(i32::try_from(self.failures.min(6)).unwrap_or(6) - 1).min(10.0));
        Then::Wait(Some(by_chance(pause)))
    }
}

/// Says in the status of a Rollout what keeps it from being tended.
pub(super) async fn tell_bar(cluster: &Cluster, key: &RolloutName, bar: &Trouble) {
    if let Some(entry) = cluster.rollouts.get(key) {
        tell(cluster, key, &entry, |generation, before| barred(generation, bar, now(), before)).await;
    }
}

async fn tell(
    cluster: &Cluster,
    key: &RolloutName,
    entry: &Entry,
    status: impl FnOnce(i64, &RolloutStatus) -> RolloutStatus,
) {
    let before = typed(entry).ok().and_then(|rollout| rollout.status).unwrap_or_default();
    let generation = entry.object().pointer("/metadata/generation").and_then(serde_json::Value::as_i64);
    let status = status(generation.unwrap_or(0), &before);
    cluster.metrics.stands(key, &status);
    if status == before {
        return;
    }
    tracing::warn!(rollout = %key, "not tended: {}", status.message.as_deref().unwrap_or_default());
    match put_status(cluster, key, &entry.uid, Some(entry.version.clone()), &status).await {
        Ok(written) => cluster.rollouts.put(written),
        Err(error) => tracing::debug!(rollout = %key, error = error.why, "it can't be told yet"),
    }
}

/// Waits no longer than this, and not beyond `wake_at`.
fn within(pause: Duration, wake_at: Option<Time>) -> Then {
    Then::Wait(Some(wake_at.map_or(pause, |at| until(at).min(pause))))
}

/// A fifth more or less.
fn by_chance(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}

fn until(at: Time) -> Duration {
    at.since(now())
}
