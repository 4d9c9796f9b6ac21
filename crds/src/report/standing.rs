//! Where a Rollout stands, in the words of kstatus.
//!
//! Exactly one of `Ready`, `Reconciling` and `Stalled` holds. `Reconciling`: it is on its way, or waits for something
//! that may come by itself, or for the person who promotes (kstatus: InProgress). `Stalled`: it gets no further until
//! a person does something (Failed). `Ready`: what is wanted has all traffic, every proxy has said so, and all of its
//! pods are ready (Current).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as Stamp};
use penstock_core::state::{self, Cause, spoken};
use penstock_core::time::Time;

use super::Account;
use crate::status::{Phase, RevisionStatus, Role, RolloutStatus, stamp};

/// Longest message, in characters: what is told is to be read.
const LONGEST: usize = 2000;

pub(super) const INVALID: &str = "InvalidSpec";

/// Troubles with which clients are not served, although the revision has all traffic.
const UNSERVED: [&str; 2] = ["Adopting", "RouterNotReady"];

/// Which of the three holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Ready,
    Reconciling,
    Stalled,
}

/// Where a Rollout stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    pub(super) message: String,
    holds: Holds,
    reason: &'static str,
    /// What the rollout machine says, whatever stands in its way.
    machine: Phase,
}

impl Standing {
    /// `status` is told but for its conditions.
    pub(super) fn of(account: Account<'_>, status: &RolloutStatus, before: &RolloutStatus) -> Standing {
        let machine = status.phase;
        let message = status.message.clone().unwrap_or_default();
        let stalls = account.troubles.iter().find(|trouble| trouble.stalls);
        let aborted = machine == Phase::Aborted;
        let told = stalls.filter(|_| !aborted && account.problem.is_none());
        let (holds, reason, message) = match (account.problem, told) {
            (Some(problem), _) => (Holds::Stalled, INVALID, problem.to_owned()),
            (None, Some(trouble)) => {
                (Holds::Stalled, trouble.reason, format!("{}; {message}", trouble.message))
            }
            (None, None) if aborted => (Holds::Stalled, "Aborted", message),
            (None, None) => unhindered(account, status, before, message),
        };
        let others = account.troubles.iter().filter(|trouble| told != Some(trouble));
        let message = others.fold(message, |all, trouble| format!("{all}; {}", trouble.message));
        let phase = match holds {
            Holds::Stalled if reason == INVALID => Phase::Invalid,
            Holds::Stalled if !aborted => Phase::Stalled,
            Holds::Stalled | Holds::Ready | Holds::Reconciling => machine,
        };
        Standing { phase, message: message.chars().take(LONGEST).collect(), holds, reason, machine }
    }

    /// The conditions of kstatus, and where a release stands.
    pub(super) fn conditions(&self, account: Account<'_>, before: &RolloutStatus) -> Vec<Condition> {
        let all = [
            ("Ready", self.holds == Holds::Ready),
            ("Reconciling", self.holds == Holds::Reconciling),
            ("Stalled", self.holds == Holds::Stalled),
            ("Progressing", self.holds == Holds::Reconciling),
            ("Paused", self.machine == Phase::Paused),
            ("Aborted", self.machine == Phase::Aborted),
        ];
        let (reason, message) = (self.reason, self.message.as_str());
        let each = |(kind, holds)| Spoken { kind, holds, reason, message };
        let mut conditions: Vec<Condition> =
            all.map(|c| each(c).condition(account.generation, account.now, before)).into();
        conditions.extend(notified(account, before));
        conditions
    }
}

/// Whether those are told who want to be. Nothing of a release depends on it.
fn notified(account: Account<'_>, before: &RolloutStatus) -> Option<Condition> {
    if account.notifications.is_empty() {
        return None;
    }
    let failing = account.notifications.iter().filter_map(|n| Some((n, n.failure.as_ref()?)));
    let told: Vec<String> = failing.map(|(n, why)| format!("{}: {why}", n.receiver)).collect();
    let message: String = told.join("; ").chars().take(LONGEST).collect();
    let (holds, reason) = (told.is_empty(), if told.is_empty() { "Delivered" } else { "DeliveryFailed" });
    let spoken = Spoken { kind: "Notified", holds, reason, message: &message };
    Some(spoken.condition(account.generation, account.now, before))
}

/// A Rollout that nobody tends.
#[derive(Debug)]
pub(super) struct Untended {
    phase: Phase,
    reason: &'static str,
    message: String,
}

pub(super) fn untended(phase: Phase, reason: &'static str, message: &str) -> Untended {
    Untended { phase, reason, message: message.chars().take(LONGEST).collect() }
}

impl Untended {
    /// What was told before stays, with this on top.
    pub(super) fn status(self, generation: i64, now: Time, before: &RolloutStatus) -> RolloutStatus {
        let Untended { phase, reason, message } = self;
        let spoken = |(kind, holds)| Spoken { kind, holds, reason, message: &message };
        let all = [("Ready", false), ("Reconciling", false), ("Stalled", true)].map(spoken);
        let keeps = |old: &&Condition| all.iter().all(|new| new.kind != old.type_);
        let rest = before.conditions.iter().filter(keeps).cloned();
        let conditions = all.iter().map(|c| c.condition(generation, now, before)).chain(rest).collect();
        let (observed_generation, message) = (Some(generation), Some(message.clone()));
        RolloutStatus { observed_generation, phase, message, conditions, ..before.clone() }
    }
}

/// Where it stands with nothing in its way but what the machine knows.
fn unhindered(
    account: Account<'_>,
    status: &RolloutStatus,
    before: &RolloutStatus,
    message: String,
) -> (Holds, &'static str, String) {
    if status.phase == Phase::Stable {
        return match unsettled(account, status, before) {
            Some((reason, why)) => (Holds::Reconciling, reason, format!("{message}; {why}")),
            None => (Holds::Ready, "Stable", message),
        };
    }
    if nothing_wanted(account) {
        return (Holds::Ready, "NoReplicas", "spec.replicas is 0: nothing runs".to_owned());
    }
    match overdue(account) {
        Some(why) => (Holds::Stalled, "ProgressDeadlineExceeded", format!("{why}; {message}")),
        None => (Holds::Reconciling, waits_for(account).unwrap_or(status.phase.as_str()), message),
    }
}

/// What a release that stands still waits for, if it is no person.
fn waits_for(account: Account<'_>) -> Option<&'static str> {
    let hold = account.state.release.as_ref()?.hold.as_ref()?;
    match hold.cause {
        Cause::Frozen => Some("Frozen"),
        Cause::Gate if hold.told => Some("Gated"),
        Cause::Gate
        | Cause::Clock
        | Cause::Person
        | Cause::Paused
        | Cause::Pods
        | Cause::Proxies
        | Cause::NoData
        | Cause::Doubt
        | Cause::NoReplicas => None,
    }
}

/// Why what has all traffic is not ready all the same: proxies that have not followed, pods that are missing.
fn unsettled(
    account: Account<'_>,
    status: &RolloutStatus,
    before: &RolloutStatus,
) -> Option<(&'static str, String)> {
    // Its message is told among the troubles.
    if let Some(trouble) = account.troubles.iter().find(|trouble| UNSERVED.contains(&trouble.reason)) {
        return Some((trouble.reason, "clients are not served by it yet".to_owned()));
    }
    let split = status.split.as_ref()?;
    if !split.acknowledged && !was_acknowledged(split.generation, before) {
        let why = format!("split {} is not acknowledged by all proxies yet", split.generation);
        return Some(("ProxiesNotReady", why));
    }
    let wanted = i32::try_from(account.strategy.replicas).unwrap_or(i32::MAX);
    let stable = status.revisions.iter().find(|r| r.role == Role::Stable);
    // Before the pods were seen for the first time nothing is known of them.
    let ready = match (stable, &account.seen.revisions) {
        (Some(stable), _) => stable.ready,
        (None, Some(_)) => 0,
        (None, None) => return None,
    };
    let told = |stable: &RevisionStatus| stable.trouble.as_ref().map(|trouble| format!(": {trouble}"));
    let trouble = stable.and_then(told).unwrap_or_default();
    (ready < wanted).then(|| ("PodsNotReady", format!("{ready} of {wanted} pods are ready{trouble}")))
}

/// A proxy that restarts, once all have followed, does not make what is ready unready.
fn was_acknowledged(generation: i64, before: &RolloutStatus) -> bool {
    let same = before.split.as_ref().is_some_and(|split| split.generation == generation);
    let told = |c: &Condition| c.type_ == "Reconciling" && c.reason == "ProxiesNotReady";
    let ended = matches!(before.phase, Phase::Stable | Phase::Stalled);
    same && ended && !before.conditions.iter().any(told)
}

/// A first revision without pods has nothing to wait for.
fn nothing_wanted(account: Account<'_>) -> bool {
    account.state.phase() == state::Phase::Deploying && account.strategy.replicas == 0
}

/// A first revision can't be aborted: that it takes too long is told.
fn overdue(account: Account<'_>) -> Option<String> {
    let release = account.state.release.as_ref().filter(|_| account.state.stable.is_none())?;
    let waits = [release.waiting.as_ref().map(|waiting| waiting.since), release.unacknowledged];
    let deadline = account.strategy.progress_deadline;
    let late = waits.into_iter().flatten().any(|since| account.now.since(since) >= deadline);
    late.then(|| format!("no progress for {} (progressDeadlineSeconds)", spoken(deadline)))
}

/// One condition before it has its times.
struct Spoken<'a> {
    kind: &'static str,
    holds: bool,
    reason: &'a str,
    message: &'a str,
}

impl Spoken<'_> {
    fn condition(&self, generation: i64, now: Time, before: &RolloutStatus) -> Condition {
        let status = if self.holds { "True" } else { "False" };
        let same = before.conditions.iter().find(|c| c.type_ == self.kind && c.status == status);
        let moment = || stamp(now).map_or(Stamp(Default::default()), |t| Stamp(t.0));
        Condition {
            type_: self.kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
            observed_generation: Some(generation),
            last_transition_time: same.map_or_else(moment, |c| c.last_transition_time.clone()),
        }
    }
}
