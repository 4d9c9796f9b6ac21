//! People: what they order, apply, and edit by hand.

use std::time::Duration;

use super::world::{Nature, World};
use crate::observation::{Order, OrderKind};
use crate::revision::Revision;
use crate::split::Weight;
use crate::strategy::{Analysis, CanaryScale, Check, Gate, Metric, Step, Strategy};

impl World {
    pub(super) fn people(&mut self) {
        use Nature::{CrashLooping, Failing, Healthy, NeverReady, Slow};
        if self.strike("order") {
            let kind = self.any_order();
            self.order(kind);
        }
        if self.strike("template changes") {
            let natures = [Healthy, Healthy, Healthy, Healthy, Failing, Slow, NeverReady, CrashLooping];
            match self.rng.u8(0..4) {
                0 => {
                    self.strategy.revision =
                        self.state.stable.clone().unwrap_or(self.strategy.revision.clone())
                }
                1 => {
                    let kept: Vec<&Revision> = self.pods.keys().collect();
                    if let Some(any) = self.rng.choice(kept) {
                        self.strategy.revision = any.clone();
                    }
                }
                _ => {
                    let nature = self.rng.choice(natures).unwrap_or(Healthy);
                    self.new_revision(nature);
                }
            }
        }
        if self.strike("freeze") {
            self.frozen_until = self.now + Duration::from_secs(self.rng.u64(1..25));
        }
        if self.edits && self.strike("route edited by hand") {
            self.edit();
        }
        if self.strike("spec changes") {
            match self.rng.u8(0..5) {
                0 => self.strategy.paused = !self.strategy.paused,
                1 => self.strategy.replicas = self.rng.u32(1..=6),
                2 => self.strategy.steps = steps(&mut self.rng),
                3 => (self.strategy.max_surge, self.strategy.max_unavailable) = room(&mut self.rng),
                _ => self.strategy.marks_canary = !self.strategy.marks_canary,
            }
        }
    }

    /// Somebody swaps the weights that stand in the router's object.
    fn edit(&mut self) {
        let Some(route) = &mut self.route else { return };
        let swapped: Vec<Weight> = route.weights.values().rev().copied().collect();
        route.weights.values_mut().zip(swapped).for_each(|(weight, other)| *weight = other);
    }

    /// In the calm: whatever waits for a person gets its word.
    pub(super) fn person_on_call(&mut self) {
        let Some(release) = &self.state.release else { return };
        if self.state.phase() != crate::state::Phase::Paused || !self.orders.is_empty() {
            return;
        }
        let kind = if release.paused.is_some() { OrderKind::Resume } else { OrderKind::Promote };
        self.order(kind);
    }

    fn any_order(&mut self) -> OrderKind {
        let kept: Vec<Revision> = self.pods.keys().cloned().collect();
        if self.state.release.as_ref().is_some_and(|r| r.paused.is_some()) && self.rng.bool() {
            return OrderKind::Resume;
        }
        match self.rng.u8(0..12) {
            0..=2 => OrderKind::Abort,
            3..=4 => OrderKind::Promote,
            5 => OrderKind::PromoteFull,
            6..=7 => OrderKind::Pause,
            8 => OrderKind::Resume,
            9..=10 => OrderKind::Retry,
            _ => OrderKind::Undo(self.rng.choice(kept).filter(|_| self.ordered.is_multiple_of(2))),
        }
    }

    fn order(&mut self, kind: OrderKind) {
        self.ordered += 1;
        let id = format!("order-{}", self.ordered);
        self.orders.push(Order { id, kind, who: "ann".into(), reason: String::new(), at: self.now });
    }
}

fn steps(rng: &mut fastrand::Rng) -> Vec<Step> {
    let mut weight = 0;
    let mut steps = Vec::new();
    for _ in 0..rng.u8(0..4) {
        if rng.u8(0..4) == 0 {
            steps.push(Step::SetCanaryScale(scale(rng)));
        }
        // Between 1 and 4 % of this little traffic is too little to judge by in the time that there is.
        if rng.u8(0..2) == 0 {
            steps.push(gate(rng));
        }
        weight = rng.u8(weight..=100).max(if rng.u8(0..10) == 0 { weight } else { 5 });
        weight = if (1..5).contains(&weight) { 5 } else { weight };
        steps.push(Step::SetWeight(Weight::new(weight).unwrap()));
        let pause = match rng.u8(0..8) {
            0 => Step::Pause(None),
            _ => Step::Pause(Some(Duration::from_secs(rng.u64(0..6)))),
        };
        steps.push(pause);
    }
    steps
}

fn gate(rng: &mut fastrand::Rng) -> Step {
    let timeout = (rng.u8(0..4) == 0).then(|| Duration::from_secs(rng.u64(5..30)));
    Step::Gate(Gate { interval: Duration::from_secs(rng.u64(1..=3)), timeout })
}

/// `maxSurge` and `maxUnavailable`: half of all worlds have none, and both are never zero.
fn room(rng: &mut fastrand::Rng) -> (Option<u32>, u32) {
    let surge = rng.u32(0..4);
    let unavailable = rng.u32(u32::from(surge == 0)..3);
    (rng.bool().then_some(surge), unavailable)
}

fn scale(rng: &mut fastrand::Rng) -> CanaryScale {
    match rng.u8(0..3) {
        0 => CanaryScale::Pods(rng.u32(1..=6)),
        1 => CanaryScale::Weight(Weight::new(rng.u8(1..=100)).unwrap()),
        _ => CanaryScale::MatchTraffic,
    }
}

/// The first spec of a world.
pub(super) fn strategy(rng: &mut fastrand::Rng) -> Strategy {
    let errors = Metric { name: "errors".into(), check: Check::ErrorRate { max: 0.01 } };
    let limit = Duration::from_millis(500);
    let slow = Metric { name: "slow".into(), check: Check::Latency { limit, max: 0.01 } };
    let query = "q".to_owned();
    let own = Metric { name: "own".into(), check: Check::Value { query, min: None, max: Some(5.0) } };
    let metrics = if rng.bool() { vec![errors, slow] } else { vec![errors, slow, own] };
    let (max_surge, max_unavailable) = room(rng);
    Strategy {
        revision: Revision::new("r0").unwrap(),
        replicas: rng.u32(1..=6),
        steps: steps(rng),
        paused: false,
        marks_canary: rng.u8(0..4) == 0,
        analysis: Analysis {
            interval: Duration::from_secs(rng.u64(1..=3)),
            min_requests: rng.u64(4..=20), /* with up to three proxies, four requests show one that fails */
            alpha: 0.001,
            failure_limit: rng.u32(0..3),
            metrics,
        },
        progress_deadline: Duration::from_secs(30),
        max_surge,
        max_unavailable,
        history_limit: rng.usize(0..4),
    }
}
