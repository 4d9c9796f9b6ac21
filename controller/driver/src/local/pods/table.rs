//! All groups and pods of a folder, in one place: what is told here is written down and published in this order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_core::observation::Pods;
use penstock_core::revision::Revision;
use penstock_core::split::Generation;
use penstock_core::time::Time;
use penstock_crds::PodStatus;
use tokio::sync::watch;

use super::now;
use super::plan::Plan;
use super::record::{self, Record};
use crate::local::endpoints::{Endpoints, Published};
use crate::local::files::FileError;
use crate::local::home::{Home, Key};

/// Names a group: the pods of one revision of one Rollout.
pub(super) type Name = (Key, Revision);

/// What is wanted of a group.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) replicas: u32,
    pub(super) generation: Generation,
    pub(super) created: Time,
    pub(super) app_protocol: Option<String>,
    pub(super) min_ready: Duration,
    /// What is started, or why nothing can be.
    pub(super) plan: Result<Arc<Plan>, String>,
}

/// How fast a pod has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It stays.
    Not,
    /// Its endpoint first, then a quiet time, then the process with all its grace.
    Gently,
    /// At once, with this much grace at most.
    Within(Duration),
}

#[derive(Debug)]
struct Entry {
    group: Name,
    record: Record,
    leave: watch::Sender<Leave>,
    /// Whether its files say what the record says.
    settled: bool,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<Name, Wanted>,
    pods: BTreeMap<String, Entry>,
}

/// See above.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) home: Home,
    endpoints: Endpoints,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Table {
    pub(super) fn new(home: &Home) -> Table {
        let (endpoints, state) = (Endpoints::new(home), Mutex::default());
        Table { home: home.clone(), endpoints, state, changed: watch::Sender::new(0) }
    }

    /// Counts up with every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// `false`: something later is wanted already.
    pub(super) fn want(&self, group: Name, wanted: Wanted) -> bool {
        let mut state = self.state();
        if state.groups.get(&group).is_some_and(|later| later.generation > wanted.generation) {
            return false;
        }
        let min_ready = wanted.min_ready;
        state.groups.insert(group, wanted);
        drop(state);
        self.tell();
        self.tell_after(min_ready);
        true
    }

    /// Wants nothing of the groups that are not kept.
    pub(super) fn retain(&self, keep: impl Fn(&Name) -> bool) {
        let mut state = self.state();
        state.groups.retain(|group, _| keep(group));
        let gone = state.pods.values().filter(|entry| !keep(&entry.group));
        gone.for_each(|entry| bid(entry, Leave::Gently));
        drop(state);
        self.tell();
    }

    /// How many pods a group lacks; those that it has too many are told to leave, the least useful first.
    pub(super) fn balance(&self, group: &Name) -> usize {
        let state = self.state();
        let Some(wanted) = state.groups.get(group).filter(|wanted| wanted.plan.is_ok()) else { return 0 };
        let replicas = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
        let mut stay: Vec<&Entry> =
            state.pods.values().filter(|e| e.group == *group && *e.leave.borrow() == Leave::Not).collect();
        // Ready before not ready, old before young: who comes last leaves first.
        stay.sort_by_key(|entry| (!entry.record.ready, entry.record.created, entry.record.name.clone()));
        stay.iter().skip(replicas).for_each(|entry| bid(entry, Leave::Gently));
        replicas.saturating_sub(stay.len())
    }

    /// Adds a pod and writes it down. The receiver says when it has to leave.
    pub(super) fn add(&self, group: Name, record: Record) -> Result<watch::Receiver<Leave>, FileError> {
        record::write(&self.home, &record)?;
        let leave = if record.leaving { Leave::Gently } else { Leave::Not };
        let (leave, told) = watch::channel(leave);
        let name = record.name.clone();
        self.state().pods.insert(name, Entry { group, record, leave, settled: true });
        self.tell();
        Ok(told)
    }

    /// Changes what is known of a pod. Its endpoint is published or withdrawn before this returns; `false`: it
    /// could not be, and will be tried again with the next change.
    pub(super) fn set(&self, pod: &str, change: impl FnOnce(&mut Record)) -> bool {
        let mut state = self.state();
        let State { groups, pods } = &mut *state;
        let Some(entry) = pods.get_mut(pod) else { return true };
        let before = entry.record.clone();
        change(&mut entry.record);
        if entry.record == before && entry.settled {
            return true;
        }
        if entry.record.ready != before.ready {
            entry.record.ready_since = entry.record.ready.then(now);
            self.tell_after(groups.get(&entry.group).map(|wanted| wanted.min_ready).unwrap_or_default());
        }
        let published = self.settle(groups.get(&entry.group), entry, before.ready);
        entry.settled = published.is_ok();
        if let Err(error) = &published {
            tracing::warn!(pod, %error, "cannot write down what became of a pod");
            entry.record.trouble.get_or_insert_with(|| error.to_string());
        }
        drop(state);
        self.tell();
        published.is_ok()
    }

    fn settle(&self, wanted: Option<&Wanted>, entry: &Entry, was_ready: bool) -> Result<(), FileError> {
        let Entry { group: (key, revision), record, settled, .. } = entry;
        if record.ready != was_ready || !settled {
            if record.leaving {
                self.endpoints.withdraw(key, revision, &record.name)?;
            } else {
                let app_protocol = wanted.and_then(|wanted| wanted.app_protocol.as_deref());
                let (pod, port, ready) = (record.name.as_str(), record.port, record.ready);
                self.endpoints.publish(Published { key, revision, pod, port, app_protocol, ready })?;
            }
        }
        record::write(&self.home, record)
    }

    /// Forgets a pod that is gone, with its files.
    pub(super) fn forget(&self, pod: &str) {
        let removed = self.state().pods.remove(pod);
        if let Some(Entry { group: (key, revision), .. }) = removed {
            let done =
                self.endpoints.withdraw(&key, &revision, pod).and_then(|()| record::remove(&self.home, pod));
            if let Err(error) = done {
                tracing::warn!(pod, %error, "cannot remove the files of a pod that is gone");
            }
        }
        self.tell();
    }

    pub(super) fn bid_all(&self, leave: Leave) {
        self.state().pods.values().for_each(|entry| bid(entry, leave));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().pods.is_empty()
    }

    pub(super) fn knows(&self, pod: &str) -> bool {
        self.state().pods.contains_key(pod)
    }

    pub(super) fn record(&self, pod: &str) -> Option<Record> {
        self.state().pods.get(pod).map(|entry| entry.record.clone())
    }

    /// What is started for a group; `None`: not known, or nothing can be.
    pub(super) fn plan(&self, group: &Name) -> Option<Arc<Plan>> {
        self.state().groups.get(group)?.plan.as_ref().ok().cloned()
    }

    /// Every group that is wanted or has pods.
    pub(super) fn look(&self) -> BTreeMap<Key, BTreeMap<Revision, Pods>> {
        let state = self.state();
        let mut seen: BTreeMap<Key, BTreeMap<Revision, Pods>> = BTreeMap::new();
        let names = state.groups.keys().chain(state.pods.values().map(|entry| &entry.group));
        for name in names {
            seen.entry(name.0.clone())
                .or_default()
                .entry(name.1.clone())
                .or_insert_with(|| group(&state, name));
        }
        seen
    }

    pub(super) fn pods(&self, name: &Name) -> Vec<PodStatus> {
        let state = self.state();
        state.pods.values().filter(|entry| entry.group == *name).map(|entry| status(&entry.record)).collect()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// By then a pod that got ready counts.
    fn tell_after(&self, min_ready: Duration) {
        if min_ready.is_zero() {
            return;
        }
        let changed = self.changed.clone();
        tokio::spawn(async move {
            tokio::time::sleep(min_ready + Duration::from_millis(5)).await;
            changed.send_modify(|count| *count = count.wrapping_add(1));
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pod that leaves never stays again; it can only be told to hurry.
fn bid(entry: &Entry, leave: Leave) {
    entry.leave.send_if_modified(|told| {
        let hurries = *told == Leave::Not || (*told == Leave::Gently && leave != Leave::Gently);
        if hurries {
            *told = leave;
        }
        hurries
    });
}

fn group(state: &State, name: &Name) -> Pods {
    let wanted = state.groups.get(name);
    let records: Vec<&Record> = state.pods.values().filter(|e| e.group == *name).map(|e| &e.record).collect();
    let count = |keep: &dyn Fn(&Record) -> bool| {
        u32::try_from(records.iter().filter(|r| keep(r)).count()).unwrap_or(u32::MAX)
    };
    let (min_ready, now) = (wanted.map(|wanted| wanted.min_ready).unwrap_or_default(), now());
    let oldest = records.iter().map(|record| record.created).min().unwrap_or_default();
    Pods {
        scale: wanted.map_or(0, |wanted| wanted.replicas),
        generation: wanted.map(|wanted| wanted.generation).unwrap_or_default(),
        ready: count(&|record| record.ready_for(min_ready, now)),
        present: count(&|_| true),
        restarts: records.iter().fold(0, |sum, record| sum.saturating_add(record.restarts)),
        created: wanted.map_or(oldest, |wanted| wanted.created),
        trouble: trouble(wanted, &records, now),
    }
}

/// What can't be started; else the first pod's trouble; else what has no effect here.
fn trouble(wanted: Option<&Wanted>, records: &[&Record], now: Time) -> Option<String> {
    let plan = wanted.map(|wanted| wanted.plan.as_ref());
    if let Some(Err(refused)) = plan {
        return Some(refused.clone());
    }
    let mut troubled = records.iter().filter_map(|record| record.trouble.clone());
    let others = |n: usize| if n > 0 { format!(" (and {n} more pods)") } else { String::new() };
    if let Some(first) = troubled.next() {
        return Some(first + &others(troubled.count()));
    }
    let min_ready = wanted.map(|wanted| wanted.min_ready).unwrap_or_default();
    if let Some(young) = records.iter().find(|record| record.ready && !record.ready_for(min_ready, now)) {
        return Some(format!("{} is ready, and counts when it has been so for {min_ready:?}", young.name));
    }
    let left_out = plan.and_then(Result::ok).map(|plan| plan.left_out.join("; ")).unwrap_or_default();
    (!left_out.is_empty()).then(|| format!("in local mode {left_out}"))
}

fn status(record: &Record) -> PodStatus {
    PodStatus {
        name: record.name.clone(),
        ready: record.ready,
        restarts: i32::try_from(record.restarts).unwrap_or(i32::MAX),
        address: Some(format!("127.0.0.1:{}", record.port)),
        trouble: record.trouble.clone(),
    }
}
