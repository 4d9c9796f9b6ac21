//! From what the rollout machine remembers and saw to the status that people and tools read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as Stamp};
use penstock_core::observation::{Observation, Pods};
use penstock_core::revision::Revision;
use penstock_core::split::Weight;
use penstock_core::state::{self, Cause, Hold, State};
use penstock_core::strategy::{Check, Metric, Strategy};
use penstock_core::time::Time;
use penstock_core::verdict::{self, Finding};

use crate::status::{
    DecisionRecord, Measurement, Phase, RevisionStatus, Role, RolloutStatus, SplitStatus, Verdict, stamp,
};

/// What a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The generation of the spec that was worked on.
    pub generation: i64,
    /// The label selector of the pods, as text.
    pub selector: &'a str,
    /// The spec.
    pub strategy: &'a Strategy,
    /// What the machine remembers.
    pub state: &'a State,
    /// What was seen of the world.
    pub seen: &'a Observation,
    /// What the metrics say.
    pub findings: &'a [Finding],
    /// The present.
    pub now: Time,
}

/// Writes the status. What is gone from sight but still of interest is taken from the one before.
pub fn report(account: Account<'_>, before: &RolloutStatus) -> RolloutStatus {
    let Account { state, strategy, .. } = account;
    let release = state.release.as_ref();
    let phase = phase(state);
    let revisions = revisions(account, before);
    let sum = |of: fn(&RevisionStatus) -> i32| revisions.iter().map(of).fold(0, i32::saturating_add);
    let mut status = RolloutStatus {
        observed_generation: Some(account.generation),
        stable_revision: state.stable.as_ref().map(ToString::to_string),
        canary_revision: release.map(|r| r.revision.to_string()),
        phase,
        message: Some(message(strategy, state)),
        step: release.map(|r| number(r.step)),
        steps: release.map(|r| number(r.steps.len())),
        step_since: release.and_then(|r| r.step_since).and_then(stamp),
        split: Some(split(account)),
        replicas: Some(sum(|r| r.scale)),
        ready_replicas: Some(sum(|r| r.ready)),
        selector: Some(account.selector.to_owned()),
        conditions: Vec::new(),
        measurements: measurements(account, before),
        decisions: state.decisions.iter().map(DecisionRecord::from).collect(),
        revisions,
        machine: serde_json::to_value(state).ok(),
    };
    status.conditions = conditions(account, &status, before);
    status
}

/// The status of a spec that is refused: what runs is told as before, with the refusal on top.
pub fn refused(generation: i64, problems: &str, now: Time, before: &RolloutStatus) -> RolloutStatus {
    let mut status = RolloutStatus {
        observed_generation: Some(generation),
        phase: Phase::Invalid,
        message: Some(problems.to_owned()),
        ..before.clone()
    };
    let spoken = |kind, holds| Spoken { kind, holds, reason: "InvalidSpec", message: problems };
    let all = [("Ready", false), ("Reconciling", false), ("Stalled", true)]
        .map(|(kind, holds)| spoken(kind, holds));
    let keeps = |old: &&Condition| all.iter().all(|new| new.kind != old.type_);
    let rest: Vec<Condition> = before.conditions.iter().filter(keeps).cloned().collect();
    let new = all.iter().map(|c| c.condition(generation, now, before));
    status.conditions = new.chain(rest).collect();
    status
}

fn phase(state: &State) -> Phase {
    let hold = state.release.as_ref().and_then(|r| r.hold.as_ref());
    let held = |h: &Hold| h.told && !matches!(h.cause, Cause::Clock | Cause::Person | Cause::Paused);
    match state.phase() {
        state::Phase::Deploying => Phase::Deploying,
        state::Phase::Healthy => Phase::Stable,
        state::Phase::Progressing if hold.is_some_and(held) => Phase::Held,
        state::Phase::Progressing => Phase::Progressing,
        state::Phase::Paused => Phase::Paused,
        state::Phase::Aborted => Phase::Aborted,
    }
}

fn message(strategy: &Strategy, state: &State) -> String {
    let Some(release) = &state.release else {
        let stable = state.stable.as_ref().map_or("none", Revision::as_str);
        return match &state.refused {
            Some(refused) => {
                let aborted = &refused.revision;
                format!("revision {aborted} was aborted ({}); {stable} has all traffic", refused.why)
            }
            None => format!("revision {stable} has all traffic"),
        };
    };
    let why = release.hold.as_ref().map(|h| format!("; {}", h.why)).unwrap_or_default();
    let revision = &release.revision;
    if state.stable.is_none() {
        return format!("first revision {revision} is on its way{why}");
    }
    let (step, steps) = (release.step, strategy.steps.len());
    let at = if step < steps {
        format!("at step {} of {steps}", step + 1)
    } else {
        format!("after all {steps} steps")
    };
    format!("revision {revision} has {} {at}{why}", state.canary_weight())
}

fn split(account: Account<'_>) -> SplitStatus {
    let split = &account.state.split;
    let applied = |proxies: &BTreeMap<String, Option<penstock_core::observation::Report>>| {
        !proxies.is_empty() && proxies.values().all(|r| r.as_ref().is_some_and(|r| r.split == *split))
    };
    SplitStatus {
        weight: percent(account.state.canary_weight()),
        generation: i64::try_from(split.generation.0).unwrap_or(i64::MAX),
        acknowledged: account.seen.proxies.as_ref().is_some_and(applied),
        weights: split.weights.iter().map(|(r, w)| (r.to_string(), percent(*w))).collect(),
    }
}

fn revisions(account: Account<'_>, before: &RolloutStatus) -> Vec<RevisionStatus> {
    let Some(seen) = &account.seen.revisions else {
        return before.revisions.clone();
    };
    let mut all: Vec<RevisionStatus> =
        seen.iter().map(|(revision, pods)| revision_status(account.state, revision, pods)).collect();
    all.sort_by(|a, b| (a.role, &b.created, &a.name).cmp(&(b.role, &a.created, &b.name)));
    all
}

fn revision_status(state: &State, revision: &Revision, pods: &Pods) -> RevisionStatus {
    let role = if state.stable.as_ref() == Some(revision) {
        Role::Stable
    } else if state.release.as_ref().is_some_and(|r| r.revision == *revision) {
        Role::Canary
    } else {
        Role::Old
    };
    RevisionStatus {
        name: revision.to_string(),
        role,
        scale: count(pods.scale),
        ready: count(pods.ready),
        restarts: count(pods.restarts),
        weight: percent(state.split.weight(revision)),
        created: stamp(pods.created),
        trouble: pods.trouble.clone(),
        pods: Vec::new(),
    }
}

/// The measurements of the release under way; after its end, its last ones.
fn measurements(account: Account<'_>, before: &RolloutStatus) -> Vec<Measurement> {
    if account.findings.is_empty() {
        return before.measurements.clone();
    }
    let metrics = &account.strategy.analysis.metrics;
    let of = |f: &Finding| metrics.iter().find(|m| m.name == f.metric).map(|m| measurement(m, f));
    account.findings.iter().filter_map(of).collect()
}

fn measurement(metric: &Metric, finding: &Finding) -> Measurement {
    let share = |seen: penstock_core::sample::Counts| {
        let percent = 100.0 * seen.bad as f64 / seen.total.max(1) as f64;
        format!("{} %", (percent * 100.0).round() / 100.0)
    };
    let seen = finding.seen.filter(|seen| seen.total > 0);
    Measurement {
        metric: finding.metric.clone(),
        verdict: match finding.verdict {
            verdict::Verdict::Good => Verdict::Good,
            verdict::Verdict::Bad => Verdict::Bad,
            verdict::Verdict::NoData | verdict::Verdict::Doubt => Verdict::NoData,
        },
        value: seen.map(share).or(finding.value.map(|v| v.to_string())),
        limit: Some(limit(&metric.check)),
        total: finding.seen.map(|s| i64::try_from(s.total).unwrap_or(i64::MAX)),
        bad: finding.seen.map(|s| i64::try_from(s.bad).unwrap_or(i64::MAX)),
        message: Some(finding.why.clone()),
        time: finding.at.and_then(stamp),
    }
}

fn limit(check: &Check) -> String {
    let share = |max: f64| format!("at most {} %", (max * 1e6).round() / 1e4);
    match check {
        Check::ErrorRate { max } => format!("{} failed", share(*max)),
        Check::Latency { limit, max } => format!("{} slower than {}", share(*max), state::spoken(*limit)),
        Check::Value { min, max, .. } => match (min, max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => "anything".to_owned(),
        },
    }
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

/// The conditions of kstatus (`Ready`, `Reconciling`, `Stalled`), and where a release stands.
fn conditions(account: Account<'_>, status: &RolloutStatus, before: &RolloutStatus) -> Vec<Condition> {
    let phase = status.phase;
    let moves = matches!(phase, Phase::Deploying | Phase::Progressing | Phase::Held | Phase::Paused);
    let reason = phase.as_str();
    let message = status.message.as_deref().unwrap_or_default();
    let all = [
        ("Ready", phase == Phase::Stable),
        ("Reconciling", moves),
        ("Stalled", phase == Phase::Aborted),
        ("Progressing", moves),
        ("Paused", phase == Phase::Paused),
        ("Aborted", phase == Phase::Aborted),
    ];
    let each = |(kind, holds): (&'static str, bool)| Spoken { kind, holds, reason, message };
    all.map(|c| each(c).condition(account.generation, account.now, before)).into()
}

fn percent(weight: Weight) -> i32 {
    i32::from(weight.percent())
}

fn count(pods: u32) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
