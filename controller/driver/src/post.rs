//! Notifications: who has been told of which decision, and who is being told.
//!
//! Decisions are told after they are saved, one after the other for each receiver, by tasks that no turn waits for. How
//! far each receiver has been told goes into the status with the next save: whoever comes after a crash goes on from
//! there, and may tell again, under the same id, what was delivered and not yet saved.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_core::decision::Decision;
use penstock_crds::words::{clean, sentence};
use penstock_crds::{DecisionRecord, NotificationStatus, Receiver, ReceiverKind, stamp};
use penstock_signals::RolloutName;
use penstock_signals::notice::Notice;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::task::JoinHandle;

use crate::ask::hook::{Hooks, Keys, Message, Target};
use crate::clock::now;

/// Notices that wait for one receiver at most; older ones are given up for newer ones.
const WAITING: usize = 64;
/// A notice is sent so often at most.
const ATTEMPTS: u32 = 8;
/// Pause after the first attempt; twice as long after each further one.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest answer that is read of a receiver, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Deliveries by kind of receiver and result.
pub type Tallies = Family<Vec<(&'static str, String)>, Counter>;

/// Rings for a Rollout: something about its notifications is to be saved.
pub type Ring = Arc<dyn Fn() + Send + Sync>;

/// A receiver, and where its Secrets stand.
#[derive(Clone, Debug)]
pub struct Recipient<K> {
    /// Who.
    pub receiver: Receiver,
    /// Its Secrets.
    pub keys: K,
}

/// What delivers.
#[derive(Debug)]
pub struct Post {
    hooks: Hooks,
    /// Where there is more of each Rollout, without `/` at the end.
    page: Option<String>,
    tallies: Tallies,
    lanes: Mutex<BTreeMap<(RolloutName, String), Lane>>,
}

/// The way to one receiver.
#[derive(Debug)]
struct Lane {
    receiver: Receiver,
    waiting: VecDeque<Notice>,
    /// The number of the last decision that was looked at.
    offered: u64,
    /// The number of the last one that is done with.
    done: u64,
    lost: u64,
    failure: Option<String>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl Post {
    /// Makes one. `page`: the address of the on-call page, for links.
    pub fn new(hooks: Hooks, page: Option<&str>, tallies: Tallies) -> Post {
        let page = page.map(|page| page.trim_end_matches('/').to_owned());
        Post { hooks, page, tallies, lanes: Mutex::default() }
    }

    /// Makes ways to receivers that there are none to yet. They go on from what is saved; who is new is told of
    /// decisions after `decided`.
    pub fn begin<'a>(
        &self,
        rollout: &RolloutName,
        receivers: impl Iterator<Item = &'a Receiver> + Clone,
        saved: &[NotificationStatus],
        decided: u64,
    ) {
        let mut lanes = self.lanes();
        lanes.retain(|(of, name), _| of != rollout || receivers.clone().any(|r| r.name == *name));
        for receiver in receivers {
            let key = (rollout.clone(), receiver.name.clone());
            let lane = lanes.entry(key).or_insert_with(|| {
                let before = saved.iter().find(|status| status.receiver == receiver.name);
                let number = |n: i64| u64::try_from(n).unwrap_or(0);
                // A memory that was lost counts anew.
                let done = before.map_or(decided, |status| number(status.done)).min(decided);
                let lost = before.map_or(0, |status| number(status.lost));
                let failure = before.and_then(|status| status.failure.clone());
                let (receiver, waiting) = (receiver.clone(), VecDeque::new());
                Lane { receiver, waiting, offered: done, done, lost, failure, task: None }
            });
            if lane.receiver != *receiver {
                // What waits is sent again as it is wanted from here on.
                lane.receiver = receiver.clone();
                lane.task.take().iter().for_each(JoinHandle::abort);
            }
        }
    }

    /// How it stands with the receivers of a Rollout.
    pub fn standing(&self, rollout: &RolloutName) -> Vec<NotificationStatus> {
        let lanes = self.lanes();
        let mine = lanes.iter().filter(|((of, _), _)| of == rollout);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let status = |((_, name), lane): (&(RolloutName, String), &Lane)| NotificationStatus {
            receiver: name.clone(),
            done: number(lane.done),
            lost: number(lane.lost),
            failure: lane.failure.clone(),
        };
        mine.map(status).collect()
    }

    /// Has receivers told of saved decisions that they have not been told of. Returns at once.
    pub fn offer<K: Keys + Clone + Send + Sync + 'static>(
        self: &Arc<Self>,
        rollout: &RolloutName,
        recipients: Vec<Recipient<K>>,
        decisions: &[Decision],
        ring: &Ring,
    ) {
        for recipient in recipients {
            let key = (rollout.clone(), recipient.receiver.name.clone());
            let mut lanes = self.lanes();
            let Some(lane) = lanes.get_mut(&key) else { continue };
            self.fill(lane, &key, &recipient.receiver, decisions);
            let idle = lane.task.as_ref().is_none_or(JoinHandle::is_finished);
            if idle && !lane.waiting.is_empty() {
                let (post, ring) = (Arc::clone(self), Arc::clone(ring));
                lane.task = Some(tokio::spawn(async move { post.deliver(key, recipient, ring).await }));
            }
        }
    }

    fn fill(
        &self,
        lane: &mut Lane,
        (rollout, name): &(RolloutName, String),
        receiver: &Receiver,
        decisions: &[Decision],
    ) {
        let offered = lane.offered;
        let new = decisions.iter().filter(|decision| decision.number > offered);
        let Some(first) = new.clone().next() else { return };
        let missed = first.number - offered - 1;
        if missed > 0 {
            self.lose(lane, receiver, missed, "more decisions than a status keeps have come meanwhile");
        }
        for decision in new.clone().filter(|decision| receiver.events.contains(&decision.what)) {
            if lane.waiting.len() >= WAITING {
                lane.waiting.pop_front();
                tracing::warn!(%rollout, receiver = name, "a notice is given up: too many wait");
                self.lose(lane, receiver, 1, "too many notices wait");
            }
            lane.waiting.push_back(self.notice(rollout, decision));
        }
        lane.offered = decisions.last().map_or(offered, |decision| decision.number).max(offered);
    }

    fn lose(&self, lane: &mut Lane, receiver: &Receiver, how_many: u64, why: &str) {
        lane.lost = lane.lost.saturating_add(how_many);
        lane.failure = Some(format!("given up: {why}"));
        self.tally(receiver.kind, "lost", how_many);
    }

    fn tally(&self, kind: ReceiverKind, result: &str, by: u64) {
        let labels = vec![("kind", kind.as_str().to_owned()), ("result", result.to_owned())];
        self.tallies.get_or_create(&labels).inc_by(by);
    }

    fn notice(&self, rollout: &RolloutName, decision: &Decision) -> Notice {
        let record = DecisionRecord::from(decision);
        let page = |page: &String| format!("{page}/r/{}/{}", rollout.namespace, rollout.name);
        Notice {
            rollout: rollout.clone(),
            number: decision.number,
            at: decision.at.0,
            time: stamp(decision.at).map(|time| time.0.to_string()).unwrap_or_default(),
            sentence: sentence(&record),
            what: record.what,
            why: clean(&decision.why),
            who: clean(&decision.who),
            revision: record.revision,
            weight: decision.weight.map(penstock_core::split::Weight::percent),
            link: self.page.as_ref().map(page),
        }
    }

    /// Delivers until nothing waits.
    async fn deliver<K: Keys>(&self, key: (RolloutName, String), recipient: Recipient<K>, ring: Ring) {
        let kind = recipient.receiver.kind;
        loop {
            let Some(notice) = self.next(&key) else { return };
            let told = self.insist(&key, &recipient, &notice, &ring).await;
            if let Some(lane) = self.lanes().get_mut(&key) {
                if lane.waiting.front().is_some_and(|waiting| waiting.number == notice.number) {
                    lane.waiting.pop_front();
                }
                lane.done = notice.number;
                match told {
                    Ok(()) => {
                        lane.failure = None;
                        self.tally(kind, "delivered", 1);
                    }
                    Err(why) => {
                        let (rollout, receiver) = &key;
                        tracing::error!(%rollout, receiver, id = notice.id(), "a notice is given up: {why}");
                        self.lose(lane, &recipient.receiver, 1, &why);
                    }
                }
            }
            ring();
        }
    }

    /// What is to be delivered next. Without anything, whoever comes with more begins anew.
    fn next(&self, key: &(RolloutName, String)) -> Option<Notice> {
        let mut lanes = self.lanes();
        let lane = lanes.get_mut(key)?;
        let next = lane.waiting.front().cloned();
        if next.is_none() {
            lane.task = None;
        }
        next
    }

    /// Sends a notice until it is taken, at most [`ATTEMPTS`] times. Errors: why it was not.
    async fn insist<K: Keys>(
        &self,
        key: &(RolloutName, String),
        recipient: &Recipient<K>,
        notice: &Notice,
        ring: &Ring,
    ) -> Result<(), String> {
        let mut pause = AGAIN;
        for attempt in 1.. {
            let Err(why) = self.send(recipient, notice).await else { return Ok(()) };
            self.tally(recipient.receiver.kind, "failed", 1);
            if attempt >= ATTEMPTS {
                return Err(why);
            }
            if let Some(lane) = self.lanes().get_mut(key).filter(|lane| lane.failure.is_none()) {
                let (rollout, receiver) = key;
                tracing::warn!(%rollout, receiver, "a notice is not taken yet: {why}");
                lane.failure = Some(format!("not yet: {why}"));
                ring();
            }
            // A little by chance: many that fail together don't come back together.
            tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn send<K: Keys>(&self, recipient: &Recipient<K>, notice: &Notice) -> Result<(), String> {
        let Receiver { kind, webhook, template, .. } = &recipient.receiver;
        let target = Target::of(webhook, &recipient.keys).await?;
        let template = template.as_deref();
        let (content_type, body) = match kind {
            ReceiverKind::Slack => ("application/json", notice.slack(template)),
            ReceiverKind::Teams => ("application/json", notice.teams(template)),
            ReceiverKind::Webhook => ("application/cloudevents+json", notice.cloud_event(template)),
        };
        let body = body.to_string().into_bytes();
        let message = Message { id: &notice.id(), content_type, body, at: now(), limit: MAX_ANSWER };
        match self.hooks.post(&target, message).await {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, _)) => Err(format!("it answers HTTP {status}")),
            Err(why) => Err(format!("it {why}")),
        }
    }

    /// A Rollout is gone.
    pub fn forget(&self, rollout: &RolloutName) {
        self.lanes().retain(|(of, _), _| of != rollout);
    }

    /// Stops all deliveries, where they are: somebody else goes on with them.
    pub fn stop(&self) {
        self.lanes().clear();
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<(RolloutName, String), Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who are told of a Rollout: its own receivers, and those of all Rollouts but for the ones whose names it uses.
pub fn recipients<K: Clone>(
    own: &[Receiver],
    keys: &K,
    of_all: &[Receiver],
    common: &K,
) -> Vec<Recipient<K>> {
    let mine = own.iter().map(|r| Recipient { receiver: r.clone(), keys: keys.clone() });
    let others = of_all.iter().filter(|r| !own.iter().any(|o| o.name == r.name));
    mine.chain(others.map(|r| Recipient { receiver: r.clone(), keys: common.clone() })).collect()
}
