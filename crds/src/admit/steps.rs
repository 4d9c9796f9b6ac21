//! The steps of a release.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::split::Weight;
use penstock_core::strategy::{CanaryScale, Step};

use super::{outside, within};
use crate::facts::Webhook;
use crate::refusal::Refusals;
use crate::rollout::{CanaryScaleSpec, PauseSpec, StepSpec};

const PATH: &str = "spec.strategy.canary.steps";
const DEFAULT_WEIGHTS: [u8; 5] = [10, 25, 50, 75, 100];
const DEFAULT_PAUSE: Duration = Duration::from_secs(300);
const MOST_STEPS: usize = 100;

pub(super) fn default() -> Option<Vec<Step>> {
    let weights: Option<Vec<Weight>> = DEFAULT_WEIGHTS.into_iter().map(|w| Weight::new(w).ok()).collect();
    Some(weights?.into_iter().flat_map(|w| [Step::SetWeight(w), Step::Pause(Some(DEFAULT_PAUSE))]).collect())
}

pub(super) fn admit(steps: &[StepSpec], refusals: &mut Refusals) -> Option<Vec<Step>> {
    if steps.len() > MOST_STEPS {
        refusals.add(PATH, format!("{} steps", steps.len()), format!("write at most {MOST_STEPS}"));
        return None;
    }
    let mut reached = Reached { weight: Weight::NONE, scale: CanaryScale::MatchTraffic };
    let steps: Vec<_> = steps
        .iter()
        .enumerate()
        .map(|(n, step)| {
            let path = format!("{PATH}[{n}]");
            let step = admit_step(&path, step, refusals)?;
            reached.take(&path, &step, refusals)?;
            Some(step)
        })
        .collect();
    steps.into_iter().collect()
}

/// The webhooks of gates by the index of their step.
pub(super) fn gates(steps: &[StepSpec], refusals: &mut Refusals) -> Option<BTreeMap<usize, Webhook>> {
    outside::gates(PATH, steps, refusals)
}

/// Where the steps so far lead to.
struct Reached {
    weight: Weight,
    scale: CanaryScale,
}

impl Reached {
    fn take(&mut self, path: &str, step: &Step, refusals: &mut Refusals) -> Option<()> {
        match step {
            Step::SetWeight(weight) => {
                rises(&format!("{path}.setWeight"), *weight, self.weight, refusals)?;
                self.weight = *weight;
                let remedy = "write a setCanaryScale step with this weight or matchTrafficWeight before it";
                self.carried(&format!("{path}.setWeight"), remedy, refusals)
            }
            Step::SetCanaryScale(scale) => {
                self.scale = *scale;
                let remedy = format!("write {} or more, or matchTrafficWeight: true", self.weight.percent());
                self.carried(&format!("{path}.setCanaryScale.weight"), &remedy, refusals)
            }
            Step::Pause(_) | Step::Gate(_) => Some(()),
        }
    }

    /// With all traffic there are all pods; else a share of the pods has to carry the share of the traffic.
    fn carried(&self, path: &str, remedy: &str, refusals: &mut Refusals) -> Option<()> {
        let CanaryScale::Weight(pods) = self.scale else { return Some(()) };
        if pods >= self.weight || self.weight == Weight::ALL {
            return Some(());
        }
        let problem = format!("{} of the traffic for {pods} of the pods", self.weight);
        refusals.add(path, problem, remedy);
        None
    }
}

fn rises(path: &str, weight: Weight, highest: Weight, refusals: &mut Refusals) -> Option<()> {
    if weight >= highest {
        return Some(());
    }
    let problem = format!("{} comes after {}: weights never fall", weight.percent(), highest.percent());
    refusals.add(path, problem, format!("write {} or more, or remove the step", highest.percent()));
    None
}

fn admit_step(path: &str, step: &StepSpec, refusals: &mut Refusals) -> Option<Step> {
    match (step.set_weight, step.pause.as_ref(), step.set_canary_scale.as_ref(), step.gate.as_ref()) {
        (Some(percent), None, None, None) => {
            weight(&format!("{path}.setWeight"), percent, 0, refusals).map(Step::SetWeight)
        }
        (None, Some(spec), None, None) => pause(&format!("{path}.pause"), spec, refusals).map(Step::Pause),
        (None, None, None, Some(spec)) => {
            outside::gate(&format!("{path}.gate"), spec, refusals).map(Step::Gate)
        }
        (None, None, Some(spec), None) => {
            scale(&format!("{path}.setCanaryScale"), spec, refusals).map(Step::SetCanaryScale)
        }
        (None, None, None, None) => {
            let remedy = "write `setWeight: 10`, `pause: {duration: 5m}`, `setCanaryScale: {replicas: 3}` or \
                 `gate: {webhook: {url: https://HOST/PATH}}`";
            refusals.add(path, "a step without setWeight, pause, setCanaryScale and gate", remedy);
            None
        }
        _ => {
            refusals.add(path, "several things in one step", "write each as an item of its own");
            None
        }
    }
}

fn weight(path: &str, percent: i32, least: i64, refusals: &mut Refusals) -> Option<Weight> {
    let percent: u8 = within(path, percent, least..=100, refusals)?;
    Weight::new(percent).ok()
}

/// `Some(None)`: until a person promotes; `None`: refused.
fn pause(path: &str, spec: &PauseSpec, refusals: &mut Refusals) -> Option<Option<Duration>> {
    let Some(text) = spec.duration.as_ref() else { return Some(None) };
    refusals.take(&format!("{path}.duration"), text.parse()).map(Some)
}

fn scale(path: &str, spec: &CanaryScaleSpec, refusals: &mut Refusals) -> Option<CanaryScale> {
    match (spec.replicas, spec.weight, spec.match_traffic_weight) {
        (Some(pods), None, None) => {
            within(&format!("{path}.replicas"), pods, 1..=i32::MAX.into(), refusals).map(CanaryScale::Pods)
        }
        (None, Some(percent), None) => {
            weight(&format!("{path}.weight"), percent, 1, refusals).map(CanaryScale::Weight)
        }
        (None, None, Some(true)) => Some(CanaryScale::MatchTraffic),
        (None, None, Some(false)) => {
            let remedy = "write true, or `replicas: 3` or `weight: 25` instead";
            refusals.add(format!("{path}.matchTrafficWeight"), "false says nothing", remedy);
            None
        }
        _ => {
            let remedy = "write one of `replicas: 3`, `weight: 25` and `matchTrafficWeight: true`";
            refusals.add(path, "not one of replicas, weight and matchTrafficWeight", remedy);
            None
        }
    }
}
