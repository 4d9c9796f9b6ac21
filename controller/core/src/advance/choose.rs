//! What is to be released: the first revision, a new one, a newer one in its place, or none.

use super::{MACHINE, Turn};
use crate::decision::What;
use crate::observation::Route;
use crate::revision::Revision;
use crate::split::Weight;
use crate::state::Release;

impl Turn<'_> {
    /// A state that knows nothing does not make a first deploy of what is already in service: what the router's
    /// object says is taken over, the revision with most traffic as the stable one.
    pub(super) fn adopt(&mut self) {
        let Route::Found(found) = &self.seen.route else { return };
        if self.state.stable.is_some() || !self.state.split.weights.is_empty() {
            return;
        }
        let Some((stable, _)) = found.weights.iter().max_by_key(|(_, weight)| **weight) else { return };
        self.state.stable = Some(stable.clone());
        self.state.split = found.clone();
        self.decide(
            What::Repaired,
            Some(stable.clone()),
            MACHINE,
            "nothing was remembered: the split in service is taken over",
        );
    }

    pub(super) fn choose(&mut self) {
        self.forget_outdated();
        match self.state.stable.clone() {
            None => self.choose_first(),
            Some(stable) => self.choose_canary(&stable),
        }
    }

    /// A refusal and an undo last as long as what they are about is wanted.
    fn forget_outdated(&mut self) {
        if self.state.undo.as_ref().is_some_and(|u| u.instead_of != self.strategy.revision) {
            self.state.undo = None;
        }
        let wanted = self.wanted().clone();
        if self.state.refused.as_ref().is_some_and(|r| r.revision != wanted) {
            self.state.refused = None;
        }
    }

    /// Once the first revision has traffic it becomes stable first, whatever is wanted by then.
    fn choose_first(&mut self) {
        let wanted = self.wanted().clone();
        let chosen = self.state.release.as_ref().map(|r| &r.revision);
        if chosen == Some(&wanted) || !self.state.split.weights.is_empty() {
            return;
        }
        self.split([], None);
        self.begin(wanted);
    }

    fn choose_canary(&mut self, stable: &Revision) {
        let wanted = self.wanted().clone();
        let running = self.state.release.as_ref().map(|r| r.revision.clone());
        if running.as_ref() == Some(&wanted) {
            return;
        }
        if wanted == *stable {
            return self.revert(running);
        }
        if self.state.refused.is_some() {
            return;
        }
        if let Some(old) = running {
            let why = format!("revision {wanted} takes its place; it starts when no proxy sends to {old}");
            self.end_release();
            self.all_to_stable();
            self.decide(What::Superseded, Some(old), MACHINE, why);
        }
        self.split([(stable.clone(), Weight::ALL), (wanted.clone(), Weight::NONE)], None);
        self.begin(wanted.clone());
        let why = format!("{} steps against stable revision {stable}", self.strategy.steps.len());
        self.decide(What::Started, Some(wanted), MACHINE, why);
    }

    fn revert(&mut self, running: Option<Revision>) {
        let Some(canary) = running else { return };
        self.end_release();
        self.all_to_stable();
        self.decide(What::Reverted, Some(canary), MACHINE, "the stable revision is wanted again");
    }

    fn begin(&mut self, revision: Revision) {
        self.state.release =
            Some(Release::new(revision, self.state.split.generation, &self.strategy.steps, self.now));
    }
}
