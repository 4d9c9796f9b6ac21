//! What ends a release against its will: the judge's word, a gate's, or the progress deadline.

use std::time::Duration;

use super::{MACHINE, Turn, moment};
use crate::state::{Gain, Release, Waiting, spoken};
use crate::time::Time;
use crate::verdict::Verdict;

impl Turn<'_> {
    /// Comes before anything that moves a release on, and depends on nothing else.
    pub(super) fn guard(&mut self) {
        self.time_the_waits();
        if self.state.stable.is_none() {
            return;
        }
        if let Some(why) = self.breach().or_else(|| self.no_go()).or_else(|| self.overdue()) {
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
        (!why.is_empty()).then(|| why.join("; ") + &self.restarts(release))
    }

    /// Nobody waits while paused or frozen, or while the world can't be seen.
    fn time_the_waits(&mut self) {
        let (pods, proxies) = (self.awaits_pods(), self.awaits_proxies());
        let (now, lasting, seen) = (self.now, self.lasting(), self.seen.revisions.is_some());
        let canary = self.state.release.as_ref().map(|r| r.revision.clone());
        let ready = canary.map_or(0, |r| self.ready(&r));
        let frozen = self.state.release.as_ref().is_some_and(|release| self.frozen(release).is_some());
        let paused = self.strategy.paused || frozen;
        let Some(release) = &mut self.state.release else { return };
        let paused = paused || release.paused.is_some();
        release.unacknowledged = if proxies && !paused { release.unacknowledged.or(Some(now)) } else { None };
        release.waiting = match release.waiting.take() {
            _ if paused => None,
            None => pods.then_some(Waiting { since: now, ready, gain: None }),
            Some(waiting) if !seen => Some(Waiting { since: now, gain: None, ..waiting }),
            Some(waiting) => waiting.goes_on(Look { enough: !pods, ready, now, lasting }),
        };
    }

    /// How long something has to last to be progress. Not longer than a tenth of the patience that a person has.
    pub(super) fn lasting(&self) -> Duration {
        (self.strategy.progress_deadline / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn overdue(&self) -> Option<String> {
        let release = self.state.release.as_ref()?;
        let waiting = release.waiting.as_ref().map(|w| w.since).filter(|_| self.awaits_pods());
        let pods = waiting.map(|since| (since, self.pods_missing(release)));
        let proxies = release.unacknowledged.map(|since| (since, self.proxies_missing()));
        let late = |(since, _): &(Time, String)| self.now.since(*since) >= self.strategy.progress_deadline;
        let (since, what) = pods.into_iter().chain(proxies).find(late)?;
        let waited = spoken(self.now.since(since));
        Some(format!("no progress for {waited} (progressDeadlineSeconds): {what}"))
    }

    /// Whether pods that have restarted have been ready for a while: traffic would come between two falls.
    pub(super) fn has_lasting_pods(&self, release: &Release) -> Result<(), String> {
        let restarts = self.pods(&release.revision).map_or(0, |pods| pods.restarts);
        if restarts == 0 || release.waiting.is_none() {
            return Ok(());
        }
        let lasting = spoken(self.lasting());
        Err(format!("the pods are ready, and have to stay so for {lasting}{}", self.restarts(release)))
    }

    /// Restarts of the canary's pods, with what they die of, as far as there are any.
    pub(super) fn restarts(&self, release: &Release) -> String {
        let Some(pods) = self.pods(&release.revision).filter(|pods| pods.restarts > 0) else {
            return String::new();
        };
        let times = if pods.restarts == 1 { "once".into() } else { format!("{} times", pods.restarts) };
        let trouble = pods.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        format!("; its pods restarted {times}{trouble}")
    }

    pub(super) fn awaits_pods(&self) -> bool {
        let Some(release) = &self.state.release else { return false };
        self.seen.revisions.is_some() && !self.has_pods(release)
    }

    /// Whether enough pods are ready for the next weight, and safe from what was decided before this release.
    pub(super) fn has_pods(&self, release: &Release) -> bool {
        if self.holds_back(release) {
            return true;
        }
        let Some(pods) = self.pods(&release.revision) else { return false };
        pods.ready >= self.pods_needed(release) && pods.generation >= release.generation
    }

    pub(super) fn awaits_proxies(&self) -> bool {
        self.seen.proxies.is_some() && !self.acknowledged()
    }

    pub(super) fn pods_missing(&self, release: &Release) -> String {
        let (ready, needed) = (self.ready(&release.revision), self.pods_needed(release));
        let trouble = self.pods(&release.revision).and_then(|p| p.trouble.as_ref());
        let trouble = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
        let restarts = self.restarts(release);
        let trouble = if restarts.is_empty() { trouble } else { restarts };
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

/// One look at pods that are waited for.
#[derive(Clone, Copy)]
struct Look {
    enough: bool,
    ready: u32,
    now: Time,
    lasting: Duration,
}

impl Waiting {
    /// The wait after one more look; `None`: it is over.
    fn goes_on(self, look: Look) -> Option<Waiting> {
        let Look { enough, ready, now, lasting } = look;
        let better = enough || ready > self.ready;
        let begun = self.gain.unwrap_or(Gain { ready, since: now });
        let gain = better.then(|| Gain { ready: begun.ready.min(ready), ..begun });
        match gain {
            Some(gain) if now.since(gain.since) < lasting => Some(Waiting { gain: Some(gain), ..self }),
            Some(_) if enough => None,
            Some(gain) => Some(Waiting { since: now, ready: gain.ready, gain: None }),
            None => Some(Waiting { gain: None, ..self }),
        }
    }
}
