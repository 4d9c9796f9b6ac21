//! From what the rollout machine remembers and saw to the status that people and tools read.

mod standing;

use std::collections::BTreeMap;

use penstock_core::observation::{Observation, Pods, Report};
use penstock_core::revision::Revision;
use penstock_core::split::{Split, Weight};
use penstock_core::state::{self, Cause, Hold, State};
use penstock_core::strategy::{Check, Metric, Strategy};
use penstock_core::time::Time;
use penstock_core::verdict::{self, Finding};

use crate::status::{
    Columns, DecisionRecord, Measurement, NotificationStatus, Phase, RevisionStatus, Role, RolloutStatus,
    SplitStatus, Verdict, stamp,
};
use standing::Standing;

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
    /// How it stands with those who are told.
    pub notifications: &'a [NotificationStatus],
    /// What is in the way beside that, the most important first.
    pub troubles: &'a [Trouble],
    /// Why the spec as it stands is refused, while an earlier one is worked on.
    pub problem: Option<&'a str>,
    /// The present.
    pub now: Time,
}

/// Something that is in the way of a Rollout, as whoever works on it has met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One word for machines, in CamelCase: `ServiceConflict`.
    pub reason: &'static str,
    /// What it is, and what to do.
    pub message: String,
    /// Whether nothing goes on until a person does something.
    pub stalls: bool,
}

/// Writes the status. What is gone from sight but still of interest is taken from the one before.
pub fn report(account: Account<'_>, before: &RolloutStatus) -> RolloutStatus {
    let Account { state, strategy, .. } = account;
    let release = state.release.as_ref();
    let revisions = revisions(account, before);
    let sum = |of: fn(&RevisionStatus) -> i32| revisions.iter().map(of).fold(0, i32::saturating_add);
    let mut status = RolloutStatus {
        observed_generation: Some(account.generation),
        stable_revision: state.stable.as_ref().map(ToString::to_string),
        canary_revision: release.map(|r| r.revision.to_string()),
        phase: phase(state),
        message: Some(message(strategy, state)),
        step: release.map(|r| number(r.step)),
        steps: release.map(|r| number(r.steps.len())),
        step_since: release.and_then(|r| r.step_since).and_then(stamp),
        split: Some(split(account, before)),
        replicas: Some(sum(|r| r.scale)),
        ready_replicas: Some(sum(|r| r.ready)),
        updated_replicas: Some(updated(state, &revisions)),
        selector: Some(account.selector.to_owned()),
        columns: None,
        conditions: Vec::new(),
        measurements: measurements(account, before),
        decisions: state.decisions.iter().map(DecisionRecord::from).collect(),
        revisions,
        notifications: account.notifications.to_vec(),
        worked_on: None,
        machine: serde_json::to_value(state).ok(),
    };
    let standing = Standing::of(account, &status, before);
    status.columns = Some(columns(&status));
    status.conditions = standing.conditions(account, before);
    status.phase = standing.phase;
    status.message = Some(standing.message);
    status
}

/// The status of a spec that is refused where no earlier one is worked on: else it is [`Account::problem`].
pub fn refused(generation: i64, problems: &str, now: Time, before: &RolloutStatus) -> RolloutStatus {
    standing::untended(Phase::Invalid, standing::INVALID, problems).status(generation, now, before)
}

/// The status of a Rollout that is not tended until a person has taken away what is in the way.
pub fn barred(generation: i64, trouble: &Trouble, now: Time, before: &RolloutStatus) -> RolloutStatus {
    standing::untended(Phase::Stalled, trouble.reason, &trouble.message).status(generation, now, before)
}

fn phase(state: &State) -> Phase {
    let hold = state.release.as_ref().and_then(|r| r.hold.as_ref());
    let held = |h: &Hold| {
        h.told
            && !matches!(h.cause, Cause::Clock | Cause::Person | Cause::Paused | Cause::Gate | Cause::Frozen)
    };
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
            None => format!("revision {stable} has all traffic{}", instead(strategy, state)),
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

/// An undo is told of: the template wants something else.
fn instead(strategy: &Strategy, state: &State) -> String {
    let undo = state.undo.as_ref().filter(|undo| undo.instead_of == strategy.revision);
    undo.map(|undo| format!(", by order instead of the template's {}", undo.instead_of)).unwrap_or_default()
}

/// Pods of the revision that is released, or of the one that has been.
fn updated(state: &State, revisions: &[RevisionStatus]) -> i32 {
    let released = state.release.as_ref().map(|release| &release.revision);
    let wanted = released.or(state.refused.as_ref().map(|r| &r.revision)).or(state.stable.as_ref());
    let of = |r: &&RevisionStatus| wanted.is_some_and(|wanted| wanted.as_str() == r.name);
    revisions.iter().find(of).map_or(0, |r| r.scale)
}

fn columns(status: &RolloutStatus) -> Columns {
    let step = |(step, steps): (i32, i32)| format!("{}/{steps}", step.saturating_add(1).min(steps));
    let released = status.canary_revision.as_ref().filter(|_| status.stable_revision.is_some());
    Columns {
        step: released.and(status.step.zip(status.steps)).map(step),
        weight: released.and(status.split.as_ref()).map(|split| format!("{}%", split.weight)),
        ready: status.ready_replicas.zip(status.replicas).map(|(ready, all)| format!("{ready}/{all}")),
    }
}

fn split(account: Account<'_>, before: &RolloutStatus) -> SplitStatus {
    let split = &account.state.split;
    let generation = i64::try_from(split.generation.0).unwrap_or(i64::MAX);
    let last =
        before.split.as_ref().is_some_and(|split| split.generation == generation && split.acknowledged);
    let seen = account.seen.proxies.as_ref();
    SplitStatus {
        weight: percent(account.state.canary_weight()),
        generation,
        acknowledged: seen.map_or(last, |proxies| apply(proxies, split).unwrap_or(last)),
        weights: split.weights.iter().map(|(r, w)| (r.to_string(), percent(*w))).collect(),
    }
}

/// Whether all proxies apply a split. `None`: all that answer do, and one does not answer.
fn apply(proxies: &BTreeMap<String, Option<Report>>, split: &Split) -> Option<bool> {
    if proxies.is_empty() || proxies.values().flatten().any(|report| report.split != *split) {
        return Some(false);
    }
    proxies.values().all(Option::is_some).then_some(true)
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
        traffic: None,
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

fn percent(weight: Weight) -> i32 {
    i32::from(weight.percent())
}

fn count(pods: u32) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
