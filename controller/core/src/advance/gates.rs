//! What keeps a release from going on beside pods, proxies and measurements: gates and freezes.

use super::{Turn, moves::Move};
use crate::gate::{Asked, GateName, GateQuestion, GateWord};
use crate::observation::Frozen;
use crate::split::Weight;
use crate::state::{Cause, Release, State, spoken};
use crate::strategy::{Gate, Step, Strategy};
use crate::time::Time;

/// Which gate is to be asked now, if any.
pub fn gate_question(strategy: &Strategy, state: &State, now: Time) -> Option<GateQuestion> {
    let (stable, release) = (state.stable.as_ref()?, state.release.as_ref()?);
    let gate = release.gate_ahead()?;
    let still = strategy.paused || release.paused.is_some() || release.full.is_some();
    let frozen = release.hold.as_ref().is_some_and(|hold| hold.cause == Cause::Frozen);
    let since = release.step_since?;
    if still || frozen || release.asked.as_ref().is_some_and(|asked| asked.at + gate.interval > now) {
        return None;
    }
    let later = release.steps.iter().skip(release.step);
    let next =
        later.filter_map(|s| if let Step::SetWeight(weight) = s { Some(*weight) } else { None }).next();
    let weight = state.split.weight(&release.revision);
    let asked =
        GateName { revision: release.revision.clone(), release: release.generation, step: release.step };
    let next = next.unwrap_or(Weight::ALL).max(weight);
    Some(GateQuestion { asked, stable: stable.clone(), steps: release.steps.len(), weight, next, since })
}

impl Release {
    /// The gate that it stands at.
    fn gate_ahead(&self) -> Option<Gate> {
        match self.steps.get(self.step) {
            Some(Step::Gate(gate)) => Some(*gate),
            Some(Step::SetWeight(_) | Step::Pause(_) | Step::SetCanaryScale(_)) | None => None,
        }
    }
}

impl Turn<'_> {
    /// Hears what the gate says that the release stands at. What is said of another one is void.
    pub(super) fn take_gate(&mut self) {
        let (Some(answer), Some(release)) = (&self.seen.gate, &mut self.state.release) else { return };
        let GateName { revision, release: generation, step } = &answer.asked;
        let asked =
            *revision == release.revision && *generation == release.generation && *step == release.step;
        if asked && release.gate_ahead().is_some() {
            release.asked = Some(Asked::then(release.asked.take(), answer, self.now));
        }
    }

    /// A gate that says no, or has said wait for too long. A person who ordered all steps at once has the last word.
    pub(super) fn no_go(&self) -> Option<String> {
        let release = self.state.release.as_ref().filter(|r| r.full.is_none())?;
        let (gate, asked) = (release.gate_ahead()?, release.asked.as_ref()?);
        match (&asked.word, gate.timeout) {
            (GateWord::NoGo(why), _) => Some(format!("gate {} says no-go: {why}", asked.gate)),
            (GateWord::Wait(why), Some(timeout)) if asked.waited >= timeout => {
                let waited = spoken(asked.waited);
                Some(format!("gate {} has said wait for {waited} (timeoutSeconds): {why}", asked.gate))
            }
            (GateWord::Go(_) | GateWord::Wait(_) | GateWord::Unknown(_), _) => None,
        }
    }

    /// A go counts in the turn that hears it; later it would be of another moment, and the gate is asked again.
    pub(super) fn pass_gate(&self, release: &Release) -> Move {
        let Some(asked) = &release.asked else {
            return Move::Wait(Cause::Gate, "the gate has not answered yet".into());
        };
        let gate = &asked.gate;
        match &asked.word {
            GateWord::Go(why) if asked.at == self.now && self.seen.gate.is_some() => {
                Move::Told(format!("gate {gate} says go: {why}"))
            }
            GateWord::Go(_) => Move::Wait(Cause::Gate, format!("gate {gate} is asked again")),
            GateWord::Wait(why) => Move::Wait(Cause::Gate, format!("gate {gate} says wait: {why}")),
            GateWord::NoGo(why) => Move::Wait(Cause::Gate, format!("gate {gate} says no-go: {why}")),
            GateWord::Unknown(why) => Move::Wait(Cause::NoData, format!("no word from gate {gate}: {why}")),
        }
    }

    /// The freeze that holds this release. An order of a person to go on, or back to an older revision, goes before it.
    pub(super) fn frozen(&self, release: &Release) -> Option<&Frozen> {
        let undone = self.state.undo.as_ref().is_some_and(|undo| undo.to == release.revision);
        let ordered = undone || release.waved.is_some() || release.full.is_some();
        self.seen.frozen.as_ref().filter(|_| !ordered && self.state.stable.is_some())
    }

    /// Whether no pods are wanted yet: it waits before its first step, and has none.
    pub(super) fn holds_back(&self, release: &Release) -> bool {
        let Some(stable) = &self.state.stable else { return false };
        let ahead = release.steps.get(..=release.step);
        let gated = ahead.is_some_and(|steps| steps.iter().all(|step| matches!(step, Step::Gate(_))));
        let waits = gated && release.full.is_none() || self.frozen(release).is_some();
        let none = self.pods(&release.revision).is_none_or(|pods| pods.scale == 0);
        waits && none && !self.state.split.sends_to(&release.revision) && *stable != release.revision
    }

    /// When a gate is to be asked. `None`: there is none, or it is not its time.
    pub(super) fn gate_due(&self, release: &Release) -> Option<Time> {
        let gate = release.gate_ahead()?;
        let begun =
            release.step_since?.max(release.hold.as_ref().map(|hold| hold.since)?) + super::LOOK_AGAIN;
        let due = release.asked.as_ref().map_or(begun, |asked| asked.at + gate.interval);
        // What was asked and is not answered yet is asked again by whoever asks, so this only keeps it going.
        Some(if due > self.now { due } else { self.now + gate.interval })
    }
}
