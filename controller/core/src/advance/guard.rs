//! What ends a release against its will: the judge's word, or the progress deadline.

use super::{MACHINE, Turn, moment};
use crate::state::{Release, Waiting, spoken};
use crate::verdict::Verdict;

impl Turn<'_> {
    /// Comes before anything that moves a release on, and depends on nothing else.
    pub(super) fn guard(&mut self) {
        if self.state.stable.is_none() {
            return;
        }
        if let Some(why) = self.breach() {
            return self.abort(MACHINE, &why);
        }
        self.time_the_wait();
        if let Some(why) = self.overdue() {
            self.abort(MACHINE, &why);
        }
    }

    /// A proven breach of a limit. A person who ordered all steps at once has the last word over it.
    fn breach(&self) -> Option<String> {
        let release = self.state.release.as_ref().filter(|r| r.full.is_none())?;
        let findings = release
            .judge
            .findings(&self.strategy.analysis, moment(release, &self.state.split, self.seen, self.now));
        let bad = findings.iter().filter(|f| f.verdict == Verdict::Bad);
        let why: Vec<String> = bad.map(|f| format!("{}: {}", f.metric, f.why)).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// Nobody waits while paused, or while the world can't be seen.
    fn time_the_wait(&mut self) {
        let waits = self.awaits_pods() || self.awaits_proxies();
        let paused = self.strategy.paused;
        let now = self.now;
        let canary = self.state.release.as_ref().map(|r| r.revision.clone());
        let ready = canary.map_or(0, |r| self.ready(&r));
        let Some(release) = &mut self.state.release else { return };
        if !waits || paused || release.paused.is_some() {
            release.waiting = None;
            return;
        }
        match &mut release.waiting {
            Some(waiting) if ready <= waiting.ready => {}
            waiting => *waiting = Some(Waiting { since: now, ready }),
        }
    }

    fn overdue(&self) -> Option<String> {
        let release = self.state.release.as_ref()?;
        let waited = self.now.since(release.waiting.as_ref()?.since);
        if waited < self.strategy.progress_deadline {
            return None;
        }
        let what = if self.awaits_pods() { self.pods_missing(release) } else { self.proxies_missing() };
        Some(format!("no progress for {} (progressDeadlineSeconds): {what}", spoken(waited)))
    }

    pub(super) fn awaits_pods(&self) -> bool {
        let Some(release) = &self.state.release else { return false };
        self.seen.revisions.is_some() && !self.has_pods(release)
    }

    /// Whether enough pods are ready for the next weight, and safe from what was decided before this release.
    pub(super) fn has_pods(&self, release: &Release) -> bool {
        let Some(pods) = self.pods(&release.revision) else { return false };
        pods.ready >= self.pods_needed(release) && pods.generation >= release.generation
    }

    pub(super) fn awaits_proxies(&self) -> bool {
        self.seen.proxies.is_some() && !self.acknowledged()
    }

    pub(super) fn pods_missing(&self, release: &Release) -> String {
        let (ready, needed) = (self.ready(&release.revision), self.pods_needed(release));
        let trouble = self
            .pods(&release.revision)
            .and_then(|p| p.trouble.as_ref())
            .map(|t| format!("; {t}"))
            .unwrap_or_default();
        let room = self.room_missing(release).map(|why| format!("; {why}")).unwrap_or_default();
        format!("{ready} of {needed} pods of revision {} are ready{room}{trouble}", release.revision)
    }

    pub(super) fn proxies_missing(&self) -> String {
        let generation = self.state.split.generation;
        let Some(proxies) = self.seen.proxies.as_ref().filter(|p| !p.is_empty()) else {
            return "no proxy is known to serve this Rollout".into();
        };
        let behind = proxies.iter().filter(|(_, r)| r.as_ref().is_none_or(|r| r.split != self.state.split));
        let names: Vec<&str> = behind.map(|(name, _)| name.as_str()).take(5).collect();
        format!("split {generation} is not acknowledged by {}", names.join(", "))
    }
}
