//! How many pods each side has: all that it takes, or as many as there is room for.
//!
//! Without `max_surge` stable keeps all of its pods for as long as there is a canary, so that an abort needs nobody.
//! With it there are never more than `replicas + max_surge` pods, so stable lends: of its pods, those that its share of
//! the traffic does not need, and only when every proxy has acknowledged that share. An abort takes the traffic back at
//! once all the same, and what was lent with it.

use std::collections::BTreeMap;

use super::Turn;
use crate::observation::Pods;
use crate::revision::Revision;
use crate::split::{Generation, Weight};
use crate::state::Release;

type Revisions = BTreeMap<Revision, Pods>;

/// What stable is to have, and since which decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) pods: u32,
    /// Decisions before this one are not to be carried out any more.
    pub(super) since: Generation,
}

impl Turn<'_> {
    /// Ready pods that the release needs for its next weight, or as many as its steps ask for.
    pub(super) fn pods_needed(&self, release: &Release) -> u32 {
        let all = self.pods_wanted(release);
        let goal = release.goal(self.state.split.weight(&release.revision));
        if self.state.stable.is_none() || goal < Weight::ALL || self.strategy.max_surge.is_none() {
            return all;
        }
        // The last ones may have no room as long as the revision before is there.
        all.saturating_sub(self.strategy.max_unavailable).max(1).min(all)
    }

    /// Pods that the canary would have with all the room that it wants.
    fn pods_wanted(&self, release: &Release) -> u32 {
        if self.state.stable.is_none() {
            return self.strategy.replicas;
        }
        if self.holds_back(release) {
            return 0;
        }
        let goal = release.goal(self.state.split.weight(&release.revision));
        release.scale().pods(goal, self.strategy.replicas)
    }

    /// Pods that the canary is to have now.
    pub(super) fn canary_target(&self, release: &Release, revisions: &Revisions) -> u32 {
        let wanted = self.pods_wanted(release);
        let (Some(stable), Some(most)) = (&self.state.stable, self.most()) else { return wanted };
        let none = Pods::default();
        let kept = revisions.get(stable).unwrap_or(&none);
        let taken = there(kept).max(self.stable_pods(stable, revisions).saturating_add(leaving(kept)));
        let now = revisions.get(&release.revision).unwrap_or(&none);
        let taken = taken.saturating_add(self.others(revisions)).saturating_add(leaving(now));
        wanted.min(most.saturating_sub(taken).max(now.scale))
    }

    /// Pods that stable is to have now.
    pub(super) fn stable_target(&self, stable: &Revision, revisions: &Revisions) -> Target {
        let pods = self.stable_pods(stable, revisions);
        // What was lent comes back with a decision that no earlier one can undo.
        let lent = self.state.lent.filter(|_| pods >= self.strategy.replicas);
        let since = lent.map(|lent| lent.next().min(self.state.split.generation)).unwrap_or_default();
        Target { pods, since }
    }

    fn stable_pods(&self, stable: &Revision, revisions: &Revisions) -> u32 {
        let replicas = self.strategy.replicas;
        let Some(most) = self.most() else { return replicas };
        let none = Pods::default();
        let now = revisions.get(stable).unwrap_or(&none);
        let others = self.others(revisions);
        let release = self.state.release.as_ref();
        let lends = |release| most.saturating_sub(others).saturating_sub(self.pods_wanted(release));
        let wanted = release.map_or(replicas, |r| lends(r).max(self.least_stable()).min(replicas));
        if wanted < now.scale {
            return if self.acknowledged() { wanted } else { now.scale.min(replicas).max(wanted) };
        }
        let serves = now.ready >= replicas.saturating_sub(self.strategy.max_unavailable);
        let canary = release.and_then(|r| revisions.get(&r.revision)).map_or(0, there);
        let room = most.saturating_sub(others).saturating_sub(canary).saturating_sub(leaving(now));
        // Too few for the traffic get all that are wanted at once, room or not.
        if serves { wanted.min(room.max(now.scale)) } else { wanted }
    }

    /// Pods of stable that its share of the traffic needs, but for those that may be missing.
    fn least_stable(&self) -> u32 {
        let share = self.state.stable.as_ref().map_or(Weight::NONE, |s| self.state.split.weight(s));
        let (replicas, missing) = (self.strategy.replicas, self.strategy.max_unavailable);
        share.of(replicas).saturating_sub(missing).max(1).min(replicas)
    }

    /// Most pods that may exist; `None`: as many as it takes.
    fn most(&self) -> Option<u32> {
        self.strategy.max_surge.map(|surge| self.strategy.replicas.saturating_add(surge))
    }

    /// Pods that exist of revisions that are neither stable nor canary.
    fn others(&self, revisions: &Revisions) -> u32 {
        let canary = self.state.release.as_ref().map(|r| &r.revision);
        let other =
            |revision: &Revision| Some(revision) != canary && self.state.stable.as_ref() != Some(revision);
        let pods = revisions.iter().filter(|(revision, _)| other(revision)).map(|(_, pods)| there(pods));
        pods.fold(0, u32::saturating_add)
    }

    /// Why the canary gets no more pods, if it is for want of room.
    pub(super) fn room_missing(&self, release: &Release) -> Option<String> {
        let (revisions, most) = (self.seen.revisions.as_ref()?, self.most()?);
        let (needed, target) = (self.pods_needed(release), self.canary_target(release, revisions));
        if self.state.stable.is_none() || target >= needed {
            return None;
        }
        let least = self.least_stable();
        if needed.saturating_add(least) > most {
            return Some(format!(
                "{needed} pods of it and {least} that the stable revision needs are more than the {most} that \
                 maxSurge allows: write smaller steps, or a larger maxSurge or maxUnavailable"
            ));
        }
        Some(format!("maxSurge allows {most} pods: it waits for others to go"))
    }
}

/// Those that are asked for, or that are still there.
fn there(pods: &Pods) -> u32 {
    pods.scale.max(pods.present)
}

/// Those that are on their way out.
fn leaving(pods: &Pods) -> u32 {
    pods.present.saturating_sub(pods.scale)
}
