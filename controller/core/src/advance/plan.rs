//! From what is remembered to what is to be done: target states only.

use std::collections::BTreeMap;

use super::room::Target;
use super::{LOOK_AGAIN, MACHINE, Turn};
use crate::decision::{Action, What};
use crate::observation::{Pods, Route};
use crate::revision::Revision;
use crate::state::Cause;
use crate::strategy::Step;
use crate::time::Time;

impl Turn<'_> {
    pub(super) fn plan(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.state.split.weights.is_empty() && !self.route_stands() {
            actions.push(Action::Route(self.state.split.clone()));
        }
        let seen = self.seen;
        if let Some(revisions) = &seen.revisions {
            actions.extend(self.scale_up(revisions));
            actions.extend(self.drain(revisions));
            actions.extend(self.forget(revisions));
        }
        actions
    }

    fn route_stands(&self) -> bool {
        matches!(&self.seen.route, Route::Found(found) if *found == self.state.split)
    }

    fn scale_up(&mut self, revisions: &BTreeMap<Revision, Pods>) -> Vec<Action> {
        let stable = self.state.stable.as_ref().map(|r| (r.clone(), self.stable_target(r, revisions)));
        if stable.as_ref().is_some_and(|(_, target)| target.pods < self.strategy.replicas) {
            self.state.lent = Some(self.state.split.generation);
        }
        let canary = self.state.release.as_ref().map(|r| {
            let pods = self.canary_target(r, revisions);
            (r.revision.clone(), Target { pods, since: r.generation })
        });
        // No room is no order: one to have no pods could come late, when there is room and traffic.
        let canary = canary.filter(|(_, target)| target.pods > 0 || self.strategy.replicas == 0);
        let stands = |revision: &Revision, target: &Target| {
            let right = |pods: &Pods| pods.scale == target.pods && pods.generation >= target.since;
            revisions.get(revision).is_some_and(right)
        };
        let wanted = stable.into_iter().chain(canary).filter(|(revision, target)| !stands(revision, target));
        wanted.map(|(revision, target)| self.scale(&revision, target.pods)).collect()
    }

    fn scale(&self, revision: &Revision, replicas: u32) -> Action {
        Action::Scale { revision: revision.clone(), replicas, generation: self.state.split.generation }
    }

    /// What is neither stable nor canary goes, when it is certain that nothing reaches it.
    fn drain(&mut self, revisions: &BTreeMap<Revision, Pods>) -> Vec<Action> {
        let idle: Vec<Revision> = revisions
            .iter()
            .filter(|(revision, pods)| {
                pods.scale > 0 && !self.is_needed(revision) && self.is_unreached(revision)
            })
            .map(|(revision, _)| revision.clone())
            .collect();
        let mut actions = Vec::new();
        for revision in idle {
            if !self.told_of_drain(&revision) {
                let why = "no proxy sends to it and nothing is in flight";
                self.decide(What::Drained, Some(revision.clone()), MACHINE, why);
            }
            actions.push(self.scale(&revision, 0));
        }
        actions
    }

    /// Old revisions beyond the limit, the oldest first.
    fn forget(&self, revisions: &BTreeMap<Revision, Pods>) -> Vec<Action> {
        let refused = self.state.refused.as_ref().map(|r| &r.revision);
        let gone = |(revision, pods): &(&Revision, &Pods)| {
            pods.scale == 0 && pods.present == 0 && !self.is_needed(revision) && refused != Some(*revision)
        };
        let mut old: Vec<(&Revision, &Pods)> = revisions.iter().filter(gone).collect();
        old.sort_by_key(|(revision, pods)| (std::cmp::Reverse(self.rank(revision)), pods.created));
        let surplus = old.len().saturating_sub(self.strategy.history_limit);
        let unreached = |(revision, _): &(&Revision, &Pods)| self.is_unreached(revision);
        old.into_iter().take(surplus).filter(unreached).map(|(r, _)| self.delete(r)).collect()
    }

    fn delete(&self, revision: &Revision) -> Action {
        Action::Delete { revision: revision.clone(), generation: self.state.split.generation }
    }

    /// Place in the history: 0 for the revision that was stable last.
    fn rank(&self, revision: &Revision) -> usize {
        self.state.history.iter().position(|r| r == revision).unwrap_or(usize::MAX)
    }

    fn is_needed(&self, revision: &Revision) -> bool {
        let canary = self.state.release.as_ref().map(|r| &r.revision);
        self.state.stable.as_ref() == Some(revision)
            || canary == Some(revision)
            || self.state.split.sends_to(revision)
    }

    /// Every proxy confirms the present split, which gives it nothing, and has nothing in flight to it.
    fn is_unreached(&self, revision: &Revision) -> bool {
        if self.state.split.sends_to(revision) {
            return false;
        }
        let reports = self.seen.proxies.iter().flatten().filter_map(|(_, report)| report.as_ref());
        let in_flight: u64 = reports.filter_map(|r| r.in_flight.get(revision)).sum();
        !self.rules.confirmed_drain || self.acknowledged() && in_flight == 0
    }

    fn told_of_drain(&self, revision: &Revision) -> bool {
        let about = |d: &&crate::decision::Decision| d.revision.as_ref() == Some(revision);
        self.state.decisions.iter().rev().find(about).is_some_and(|d| d.what == What::Drained)
    }

    pub(super) fn wake_at(&self) -> Option<Time> {
        let soon = self.looks_again().then(|| self.now + LOOK_AGAIN);
        let Some(release) = &self.state.release else { return soon };
        let analysis = &self.strategy.analysis;
        let judged = self.state.stable.is_some() && !analysis.metrics.is_empty();
        let measure = judged.then(|| release.judge.due(analysis, self.now));
        let pause = match (release.steps.get(release.step), release.step_since) {
            (Some(Step::Pause(Some(time))), Some(since)) => Some(since + *time).filter(|end| *end > self.now),
            _ => None,
        };
        let waits = [release.waiting.as_ref().map(|w| w.since), release.unacknowledged];
        let frozen = self.frozen(release).and_then(|frozen| frozen.until).filter(|at| *at > self.now);
        let gate = self.gate_due(release);
        let deadline = waits.into_iter().flatten().map(|since| since + self.strategy.progress_deadline);
        let gain = release.waiting.as_ref().and_then(|w| w.gain).map(|gain| gain.since + self.lasting());
        let due = deadline.chain(gain).filter(|at| *at > self.now).min();
        let told = |hold: &crate::state::Hold| hold.told || hold.cause == Cause::Clock;
        let tell = release.hold.as_ref().filter(|h| !told(h)).map(|h| h.since + self.patience());
        let all = [soon, measure, pause, due, tell, frozen, gate];
        // What is due already is under way: a question that was sent in this turn, for instance.
        let later = |at| if at > self.now { at } else { self.now + LOOK_AGAIN };
        all.into_iter().flatten().map(later).min()
    }

    /// Whether something is under way that nobody announces: proxies that follow, requests that end.
    fn looks_again(&self) -> bool {
        if self.state.split.weights.is_empty() {
            return false;
        }
        let draining = |(revision, pods): (&Revision, &Pods)| pods.scale > 0 && !self.is_needed(revision);
        let drains = self.seen.revisions.as_ref().is_none_or(|all| all.iter().any(draining));
        drains || !self.acknowledged() || !self.route_stands()
    }
}
