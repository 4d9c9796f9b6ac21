//! Puts right what stands otherwise than it was saved: an edit by hand, a memory older than the world.

use std::time::Duration;

use super::{MACHINE, Turn, moves::anchor};
use crate::decision::What;
use crate::observation::Route;
use crate::split::{Generation, Split, Weight};

/// Somebody who keeps editing is answered no more often than this.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);

impl Turn<'_> {
    pub(super) fn repair(&mut self) {
        let newest = self.newest_generation();
        if newest > self.state.split.generation {
            return self.catch_up(newest);
        }
        let seen = self.seen;
        let edited = |found: &&Split| {
            found.generation == self.state.split.generation && !found.same_traffic(&self.state.split)
        };
        let Route::Found(found) = &seen.route else { return };
        let rested = self.state.repaired.is_none_or(|at| self.now.since(at) >= REPAIR_PAUSE);
        if rested && edited(&found) && !self.state.split.weights.is_empty() {
            self.state.repaired = Some(self.now);
            let (weights, marked) = (self.state.split.weights.clone(), self.state.split.marked.clone());
            self.split(weights, marked);
            let why = format!("the weights were edited from outside ({}); they are put back", shares(found));
            self.decide(What::Repaired, None, MACHINE, why);
        }
    }

    fn newest_generation(&self) -> Generation {
        let route = match &self.seen.route {
            Route::Found(split) => split.generation,
            Route::Unknown | Route::Absent => Generation::default(),
        };
        let reports = self.seen.proxies.iter().flatten().filter_map(|(_, report)| report.as_ref());
        reports.map(|r| r.split.generation).fold(route, Generation::max)
    }

    /// The world is ahead of what is remembered: memory was lost. The next split goes above the newest one, and
    /// the canary gets no more than it is seen to have: it may have been aborted since.
    fn catch_up(&mut self, newest: Generation) {
        self.state.split.generation = newest;
        let Some(stable) = self.state.stable.clone() else { return };
        let Some(release) = &mut self.state.release else {
            let weights = self.state.split.weights.clone();
            self.split(weights, None);
            return self.decide(
                What::Repaired,
                None,
                MACHINE,
                "a newer split than remembered was in service",
            );
        };
        let seen = match &self.seen.route {
            Route::Found(split) => split.weight(&release.revision),
            Route::Unknown | Route::Absent => Weight::NONE,
        };
        let canary = release.revision.clone();
        let weight = seen.min(self.state.split.weight(&canary));
        release.step = anchor(&release.steps, weight);
        release.step_since = None;
        release.asked = None;
        release.weight_since = None;
        release.judge.begin_step();
        self.split([(stable, weight.rest()), (canary.clone(), weight)], None);
        let why = "a newer split than remembered was in service; the release goes on from the lower weight";
        self.decide(What::Repaired, Some(canary), MACHINE, why);
    }
}

fn shares(split: &Split) -> String {
    let each: Vec<String> =
        split.weights.iter().map(|(revision, weight)| format!("{revision} {weight}")).collect();
    each.join(", ")
}
