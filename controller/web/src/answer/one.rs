//! One Rollout in words.

use penstock_core::strategy::{Check, Step, Strategy};
use penstock_core::time::Time;
use penstock_crds::words::{self, Urgency, clean, sentence};
use penstock_crds::{DecisionRecord, Measurement, RevisionStatus, Role, RolloutStatus, Verdict, time_of};
use penstock_signals::RolloutName;
use serde_json::{Value, json};

use super::offer::{offers, strategy};
use super::status;

/// How it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The present.
    pub(crate) now: Time,
    /// Whether who looks may give orders.
    pub(crate) may_order: bool,
    /// Since when anything could have been measured.
    pub(crate) measured_since: Time,
}

/// One Rollout in words.
pub(crate) fn one(object: &Value, name: &RolloutName, seen: Seen) -> Value {
    let status = status(object);
    let strategy = strategy(object, &status);
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    json!({
        "v": 1,
        "namespace": name.namespace,
        "name": name.name,
        "phase": status.phase.as_str(),
        "urgency": Urgency::of(&status).as_str(),
        "message": clean(status.message.as_deref().unwrap_or("nothing was decided yet")),
        "unseen": generation.zip(status.observed_generation).is_some_and(|(new, old)| old < new),
        "weight": status.split.as_ref().map(|split| split.weight),
        "acknowledged": status.split.as_ref().map(|split| split.acknowledged),
        "stable": status.stable_revision,
        "canary": status.canary_revision.as_ref().filter(|_| status.stable_revision.is_some()),
        "step": status.step,
        "stepSince": status.step_since.as_ref().map(|time| time_of(time).0),
        "stepEnds": step_ends(&status, strategy.as_ref()).map(|time| time.0),
        "started": started(&status).map(|time| time.0),
        "steps": steps(&status, strategy.as_ref()),
        "limits": limits(strategy.as_ref()),
        "metrics": status.measurements.iter().map(metric).collect::<Vec<_>>(),
        "revisions": status.revisions.iter().filter(|r| shown(r)).map(revision).collect::<Vec<_>>(),
        "decisions": decisions(&status.decisions),
        "weights": weights(&status),
        "orders": offers(object, &status, seen.now),
        "mayOrder": seen.may_order,
        "gone": gone(&status, seen.measured_since),
    })
}

/// The steps, and where it stands among them.
fn steps(status: &RolloutStatus, strategy: Option<&Strategy>) -> Vec<Value> {
    let known: &[Step] = strategy.map_or(&[], |strategy| &strategy.steps);
    let same = status.steps.is_none_or(|n| usize::try_from(n).is_ok_and(|n| n == known.len()));
    let at = status.step.and_then(|step| usize::try_from(step).ok());
    let standing = |n: usize| match at {
        Some(at) if n < at => "done",
        Some(at) if n == at => "now",
        Some(_) | None => "to-come",
    };
    let each = |(n, step): (usize, &Step)| {
        let weight = if let Step::SetWeight(weight) = step { Some(weight.percent()) } else { None };
        json!({"what": words::step(step), "weight": weight, "standing": standing(n)})
    };
    if same { known.iter().enumerate().map(each).collect() } else { Vec::new() }
}

/// When the time of the present step is over; it may be held longer.
fn step_ends(status: &RolloutStatus, strategy: Option<&Strategy>) -> Option<Time> {
    let step = strategy?.steps.get(usize::try_from(status.step?).ok()?)?;
    let Step::Pause(Some(duration)) = step else { return None };
    Some(time_of(status.step_since.as_ref()?) + *duration)
}

/// When the last release began.
fn started(status: &RolloutStatus) -> Option<Time> {
    let begun = status.decisions.iter().rev().find(|decision| decision.what == "Started")?;
    begun.time.as_ref().map(time_of)
}

/// What the charts draw in.
fn limits(strategy: Option<&Strategy>) -> Value {
    let checks = strategy.map(|strategy| strategy.analysis.metrics.as_slice()).unwrap_or_default();
    let errors = checks.iter().find_map(|metric| match &metric.check {
        Check::ErrorRate { max } => Some(tidy(max * 100.0)),
        Check::Latency { .. } | Check::Value { .. } => None,
    });
    let latency = checks.iter().find_map(|metric| match &metric.check {
        Check::Latency { limit, max } => Some((limit.as_secs_f64() * 1000.0, tidy((1.0 - max) * 100.0))),
        Check::ErrorRate { .. } | Check::Value { .. } => None,
    });
    let quantile = latency.map_or(99.0, |(_, quantile)| quantile);
    json!({"errors": errors, "latency": latency.map(|(limit, _)| limit), "quantile": format!("p{quantile}")})
}

/// Without the dust of binary fractions.
fn tidy(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn metric(measurement: &Measurement) -> Value {
    let Measurement { metric, verdict, value, limit, total, bad, message, time } = measurement;
    json!({
        "name": clean(metric),
        "verdict": match verdict {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::NoData => "no data",
        },
        "value": value.as_deref().map(clean),
        "limit": limit.as_deref().map(clean),
        "total": total,
        "bad": bad,
        "message": message.as_deref().map(clean),
        "time": time.as_ref().map(|time| time_of(time).0),
    })
}

fn shown(revision: &RevisionStatus) -> bool {
    revision.role != Role::Old || revision.scale > 0 || revision.weight > 0
}

fn revision(revision: &RevisionStatus) -> Value {
    let pods: Vec<Value> = revision
        .pods
        .iter()
        .map(|pod| {
            json!({"name": clean(&pod.name), "ready": pod.ready, "restarts": pod.restarts,
                   "address": pod.address.as_deref().map(clean), "trouble": pod.trouble.as_deref().map(clean)})
        })
        .collect();
    json!({
        "name": clean(&revision.name),
        "role": match revision.role {
            Role::Stable => "stable",
            Role::Canary => "canary",
            Role::Old => "old",
        },
        "weight": revision.weight,
        "scale": revision.scale,
        "ready": revision.ready,
        "restarts": revision.restarts,
        "created": revision.created.as_ref().map(|time| time_of(time).0),
        "trouble": revision.trouble.as_deref().map(clean),
        "pods": pods,
    })
}

/// The latest first, each with an id that a link can name.
fn decisions(all: &[DecisionRecord]) -> Vec<Value> {
    let each = |decision: &DecisionRecord| {
        let at = decision.time.as_ref().map(|time| time_of(time).0);
        json!({
            "id": format!("{}-{}", at.unwrap_or(0), clean(&decision.what).to_lowercase()),
            "time": at,
            "what": clean(&decision.what),
            "sentence": sentence(decision),
            "who": clean(&decision.who),
            "person": decision.order.is_some(),
            "weight": decision.weight,
            "revision": decision.revision,
            "tone": tone(&decision.what),
        })
    };
    all.iter().rev().map(each).collect()
}

fn tone(what: &str) -> &'static str {
    match what {
        "Aborted" => "bad",
        "Completed" | "Deployed" => "good",
        "Held" | "Gated" | "Frozen" | "Paused" | "Refused" | "Repaired" => "wait",
        _ => "plain",
    }
}

/// The canary's share over time as the decisions tell it: also from before anything was measured.
fn weights(status: &RolloutStatus) -> Vec<(u64, i32)> {
    let of_canary = |decision: &DecisionRecord| {
        let at = time_of(decision.time.as_ref()?).0;
        match decision.what.as_str() {
            "Started" | "Advanced" | "Promoted" | "Passed" | "Held" | "Gated" | "Frozen" | "Paused"
            | "Resumed" => Some((at, decision.weight?)),
            "Aborted" | "Completed" | "Reverted" | "Superseded" | "Deployed" => Some((at, 0)),
            _ => None,
        }
    };
    status.decisions.iter().filter_map(of_canary).collect()
}

/// What can't be shown any more, as a sentence.
fn gone(status: &RolloutStatus, since: Time) -> Option<String> {
    let earlier = started(status)? < since;
    let under_way = status.canary_revision.is_some();
    (earlier && under_way).then(|| {
        "Penstock was started during this release: what was measured before is not kept. Weights and decisions are."
            .to_owned()
    })
}
