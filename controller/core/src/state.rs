//! What the machine remembers from one turn to the next. It is saved before anything is done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::gate::Asked;
use crate::revision::Revision;
use crate::split::{Generation, Split, Weight};
use crate::strategy::{CanaryScale, Step};
use crate::time::Time;
use crate::verdict::{Finding, Judge};

/// Decisions that are kept.
pub const DECISIONS: usize = 20;
/// Orders whose handling is remembered.
pub const HANDLED: usize = 64;

/// Everything that is known of one Rollout beside its spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The revision that is trusted with all traffic.
    pub stable: Option<Revision>,
    /// The split that was decided last.
    pub split: Split,
    /// The release under way.
    pub release: Option<Release>,
    /// The revision that was aborted and is not tried again.
    pub refused: Option<Refused>,
    /// An older revision that is wanted instead of the template's.
    pub undo: Option<Undo>,
    /// Revisions that were stable before, the latest first.
    pub history: Vec<Revision>,
    /// The last orders that were handled, by their ids, the latest last.
    pub handled: Vec<String>,
    /// How many decisions there have been.
    pub decided: u64,
    /// The last decisions, the latest last.
    pub decisions: Vec<Decision>,
    /// What the metrics said when the last release ended.
    pub findings: Vec<Finding>,
    /// When the router's object was put right last.
    pub repaired: Option<Time>,
    /// The split with which pods of the stable revision were lent to the canary last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lent: Option<Generation>,
}

/// A revision on its way to 100 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The canary.
    pub revision: Revision,
    /// When the release began.
    pub started: Time,
    /// The split that it began with. Its pods must have heard of it before it gets traffic: then nothing that was
    /// decided earlier can take them away.
    pub generation: Generation,
    /// The way it goes, as it was when `step` was counted.
    pub steps: Vec<Step>,
    /// Which of the steps is under way; the number of steps when all are behind.
    pub step: usize,
    /// Since when this step's clock runs. `None`: the split is not acknowledged yet.
    pub step_since: Option<Time>,
    /// Since when every proxy applies the present weight. `None`: not yet.
    pub weight_since: Option<Time>,
    /// The wait for pods under way.
    pub waiting: Option<Waiting>,
    /// Since when it is waited for proxies to apply the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<Time>,
    /// What the gate has said that it stands at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// What it waits for, when it can't go on.
    pub hold: Option<Hold>,
    /// A person paused it.
    pub paused: Option<String>,
    /// A person ordered the next move without the judge's word.
    pub waved: Option<String>,
    /// A person ordered all steps at once.
    pub full: Option<String>,
    /// What has been measured.
    pub judge: Judge,
}

impl Release {
    /// A release at its very beginning.
    pub fn new(revision: Revision, generation: Generation, steps: &[Step], now: Time) -> Release {
        Release {
            revision,
            started: now,
            generation,
            steps: steps.to_vec(),
            step: 0,
            step_since: None,
            weight_since: None,
            waiting: None,
            unacknowledged: None,
            asked: None,
            hold: None,
            paused: None,
            waved: None,
            full: None,
            judge: Judge::default(),
        }
    }

    /// The weight that the step under way leads to, from `present`.
    pub fn goal(&self, present: Weight) -> Weight {
        if self.full.is_some() {
            return Weight::ALL;
        }
        match self.steps.get(self.step) {
            Some(Step::SetWeight(weight)) => present.max(*weight),
            Some(Step::Pause(_) | Step::SetCanaryScale(_) | Step::Gate(_)) => present,
            None => Weight::ALL,
        }
    }

    /// How many pods the steps up to the one under way ask for.
    pub fn scale(&self) -> CanaryScale {
        let scale = |step: &Step| match step {
            Step::SetCanaryScale(scale) => Some(*scale),
            Step::SetWeight(_) | Step::Pause(_) | Step::Gate(_) => None,
        };
        let so_far = self.steps.iter().take(self.step.saturating_add(1));
        so_far.rev().find_map(scale).unwrap_or(CanaryScale::MatchTraffic)
    }
}

/// A wait for pods, which the progress deadline ends. What lasts is progress; what comes and goes is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Since when nothing has got better for good.
    pub since: Time,
    /// Most pods that were ready for a while.
    pub ready: u32,
    /// More are ready, or enough: progress, if it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Gain>,
}

/// Something that has got better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gain {
    /// So many pods have been ready all the while.
    pub ready: u32,
    /// Since when.
    pub since: Time,
}

/// Why a release stands where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// For what kind of thing.
    pub cause: Cause,
    /// In words, with numbers.
    pub why: String,
    /// Since when for this cause.
    pub since: Time,
    /// Whether a decision has told of it.
    pub told: bool,
}

/// Kinds of holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The step's time is not over.
    Clock,
    /// A person has to promote.
    Person,
    /// Paused by an order or in the spec.
    Paused,
    /// Pods are not ready.
    Pods,
    /// A proxy has not acknowledged the split.
    Proxies,
    /// There is not enough to judge by.
    NoData,
    /// What is measured is above a limit, without being proof yet.
    Doubt,
    /// The Rollout asks for no pods.
    NoReplicas,
    /// A gate has not said go.
    Gate,
    /// Nothing is promoted for a time.
    Frozen,
}

/// An aborted revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Which one.
    pub revision: Revision,
    /// Why it was aborted.
    pub why: String,
    /// When.
    pub at: Time,
}

/// An older revision is wanted for as long as the template stays what it was when this was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// What is wanted.
    pub to: Revision,
    /// The template's revision that it stands in for.
    pub instead_of: Revision,
}

/// Where a Rollout stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The first revision is on its way.
    Deploying,
    /// The wanted revision has all traffic.
    Healthy,
    /// A canary is on its way.
    Progressing,
    /// A canary stands still until a person or a gate says so, or a freeze is over.
    Paused,
    /// The wanted revision was aborted; stable has all traffic.
    Aborted,
}

impl State {
    /// Where the Rollout stands.
    pub fn phase(&self) -> Phase {
        let stands = |release: &Release| {
            release.hold.as_ref().is_some_and(|hold| match hold.cause {
                Cause::Paused | Cause::Person | Cause::Frozen => true,
                Cause::Gate => hold.told,
                Cause::Clock
                | Cause::Pods
                | Cause::Proxies
                | Cause::NoData
                | Cause::Doubt
                | Cause::NoReplicas => false,
            })
        };
        match (&self.stable, &self.release) {
            (None, _) => Phase::Deploying,
            (_, Some(release)) if stands(release) => Phase::Paused,
            (_, Some(_)) => Phase::Progressing,
            (_, None) if self.refused.is_some() => Phase::Aborted,
            (_, None) => Phase::Healthy,
        }
    }

    /// The canary's share of the traffic; none without a canary.
    pub fn canary_weight(&self) -> Weight {
        self.release.as_ref().map_or(Weight::NONE, |r| self.split.weight(&r.revision))
    }
}

/// `1h30m`, `5m`, `1.5s`, `250ms`: the way a person writes it.
pub fn spoken(time: Duration) -> String {
    let (secs, millis) = (time.as_secs(), time.subsec_millis());
    let whole = [(secs / 3600, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
    let parts: String = whole.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    match (secs, millis) {
        (0, 0) => "0s".into(),
        (0, ms) => format!("{ms}ms"),
        (s, ms) if s < 10 && ms >= 100 => format!("{s}.{}s", ms / 100),
        _ => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a version wrote it that knew no scale, no gain, no missing proxies and no times of counters.
    const BEFORE: &str = r#"{
        "stable": "v1",
        "split": {"generation": 7, "weights": {"v1": 90, "v2": 10}},
        "release": {
            "revision": "v2", "started": 1000, "generation": 5, "step": 1, "stepSince": null, "weightSince": 4000,
            "steps": [{"SetWeight": 10}, {"Pause": {"secs": 5, "nanos": 0}}],
            "waiting": {"since": 4000, "ready": 1}, "hold": null, "paused": null, "waved": null, "full": null,
            "judge": {"asked": 5000, "metrics": {"errors": {
                "check": {"ErrorRate": {"max": 0.01}}, "begun": true, "at": 5000, "silent": null, "whole": true,
                "edge": null, "counters": {"a": {"total": 9, "bad": 1}},
                "bets": {"measurements": 0, "wealth": []}, "bet": {"total": 9, "bad": 1},
                "seen": {"total": 9, "bad": 1}, "value": null, "badInRow": 0
            }}}
        },
        "refused": null, "undo": null, "history": ["v0"], "handled": ["order-1"], "findings": [], "repaired": null,
        "decisions": [
            {"at": 1000, "what": "Passed", "why": "", "who": "penstock", "revision": "v2", "weight": 10}
        ]
    }"#;

    #[test]
    fn the_memory_of_an_earlier_version_is_read() {
        let state: State = serde_json::from_str(BEFORE).unwrap();
        let release = state.release.as_ref().unwrap();
        assert_eq!(release.waiting.as_ref().map(|w| (w.ready, w.gain)), Some((1, None)));
        assert_eq!((release.scale(), state.lent), (CanaryScale::MatchTraffic, None));
        let again: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(again, state);
    }
}
