//! How a release goes on: through its steps, as far as pods, proxies, judge and people allow.

use std::time::Duration;

use super::{MACHINE, Turn, moment};
use crate::decision::What;
use crate::observation::{Pods, Route};
use crate::split::Weight;
use crate::state::{Cause, Hold, Release, spoken};
use crate::strategy::{CanaryScale, Step};
use crate::verdict::{Finding, Verdict};

/// What happens to a release next.
pub(super) enum Move {
    /// It stays where it is.
    Wait(Cause, String),
    /// The step is over.
    Pass,
    /// The step is over, which is worth a word.
    Told(String),
    /// The canary gets this weight.
    Raise(Weight, String),
    /// The canary becomes stable.
    Complete(String),
}

use Move::{Complete, Pass, Raise, Told, Wait};

/// A step of the way that has its reason to wait, or the reason why it need not.
type Gate = Result<String, Move>;

impl Turn<'_> {
    pub(super) fn advance(&mut self) {
        if self.state.stable.is_none() {
            return self.deploy();
        }
        self.follow_new_steps();
        self.unmark();
        // Each pass goes to a later step, so this ends; the bound only says so.
        for _ in 0..=self.strategy.steps.len() + 1 {
            self.start_clocks();
            let Some(release) = &self.state.release else { return };
            match self.next_move(release) {
                Pass => self.pass(),
                Told(why) => {
                    let revision = release.revision.clone();
                    self.decide(What::Passed, Some(revision), MACHINE, why);
                    self.pass();
                }
                Wait(cause, why) => return self.hold(cause, why),
                Raise(weight, why) => return self.raise(weight, &why),
                Complete(why) => return self.complete(&why),
            }
        }
    }

    /// The first revision: traffic as soon as a pod is ready, stable as soon as the proxies say so. It is not
    /// known whether anything is in service as long as the router's object can't be seen.
    fn deploy(&mut self) {
        let Some(release) = &self.state.release else { return };
        let revision = release.revision.clone();
        if !self.state.split.weights.is_empty() {
            if self.acknowledged() {
                self.state.stable = Some(revision.clone());
                self.state.release = None;
                self.decide(What::Deployed, Some(revision), MACHINE, "the first revision has all traffic");
            }
            return;
        }
        let one_ready = |pods: &Pods| pods.ready > 0 && pods.generation >= release.generation;
        let ready = self.pods(&revision).is_some_and(one_ready) || !self.rules.ready_first;
        if ready && self.seen.route == Route::Absent {
            self.split([(revision, Weight::ALL)], None);
        } else {
            let why = self.pods_missing(release);
            self.hold(Cause::Pods, why);
        }
    }

    /// When the steps are not those that were counted, the count begins anew at the present weight.
    fn follow_new_steps(&mut self) {
        let weight = self.state.canary_weight();
        let Some(release) = &mut self.state.release else { return };
        if release.steps != self.strategy.steps {
            release.steps.clone_from(&self.strategy.steps);
            release.step = anchor(&release.steps, weight);
            release.step_since = None;
            release.asked = None;
        }
    }

    /// A mark that the strategy no longer wants is taken away.
    fn unmark(&mut self) {
        if self.state.split.marked.is_some() && !self.strategy.marks_canary {
            let weights = self.state.split.weights.clone();
            self.split(weights, None);
        }
    }

    fn start_clocks(&mut self) {
        if !self.acknowledged() {
            return;
        }
        let now = self.now;
        if let Some(release) = &mut self.state.release {
            release.weight_since.get_or_insert(now);
            release.step_since.get_or_insert(now);
        }
    }

    /// The rules of going on, first match.
    fn next_move(&self, release: &Release) -> Move {
        let weight = self.state.split.weight(&release.revision);
        if self.strategy.paused {
            return Wait(Cause::Paused, "spec.paused is true".into());
        }
        if let Some(who) = &release.paused {
            return Wait(Cause::Paused, format!("paused by {who}"));
        }
        if let Some(frozen) = self.frozen(release) {
            return Wait(Cause::Frozen, frozen.why.clone());
        }
        if self.strategy.replicas == 0 {
            return Wait(Cause::NoReplicas, "spec.replicas is 0: there is nothing to release onto".into());
        }
        if !self.acknowledged() {
            return Wait(Cause::Proxies, self.proxies_missing());
        }
        let step = release.steps.get(release.step).filter(|_| release.full.is_none());
        match step {
            Some(Step::SetWeight(to)) => self.move_to(release, weight, *to),
            Some(Step::Pause(time)) => self.leave_pause(release, *time),
            Some(Step::Gate(_)) => self.pass_gate(release),
            Some(Step::SetCanaryScale(_)) if self.rules.ready_first && !self.has_pods(release) => {
                Wait(Cause::Pods, self.pods_missing(release))
            }
            Some(Step::SetCanaryScale(_)) => {
                let told = |()| Told(format!("setCanaryScale: {}", self.pods_ready(release)));
                self.has_lasting_pods(release).map_or_else(lacking, told)
            }
            None if weight < Weight::ALL => self.move_to(release, weight, Weight::ALL),
            // The revision before goes when this one is stable: all pods must be there by then.
            None if self.rules.ready_first && !self.has_pods(release) => {
                Wait(Cause::Pods, self.pods_missing(release))
            }
            None => {
                let gate =
                    self.has_lasting_pods(release).map_err(lacking).and_then(|()| self.approve(release));
                gate.map_or_else(|wait| wait, Complete)
            }
        }
    }

    fn move_to(&self, release: &Release, from: Weight, to: Weight) -> Move {
        let to = to.max(from);
        let marks = self.strategy.marks_canary && self.state.split.marked.is_none();
        if to == from && !marks {
            return Pass;
        }
        if self.rules.ready_first && !self.has_pods(release) {
            return Wait(Cause::Pods, self.pods_missing(release));
        }
        let lasting = self.has_lasting_pods(release).map_err(lacking);
        let word = |()| if from == Weight::NONE { self.prepare(release) } else { self.approve(release) };
        lasting.and_then(word).map_or_else(|wait| wait, |why| Raise(to, why + &self.few_pods(release, to)))
    }

    fn pods_ready(&self, release: &Release) -> String {
        let ready = CanaryScale::Pods(self.ready(&release.revision));
        format!("{ready} ready{}", self.restarts(release))
    }

    /// A person may want fewer pods than the weight would have: that is told.
    fn few_pods(&self, release: &Release, to: Weight) -> String {
        let replicas = self.strategy.replicas;
        let pods = release.scale().pods(to, replicas);
        let share = CanaryScale::MatchTraffic.pods(to, replicas);
        if pods >= share {
            return String::new();
        }
        format!("; setCanaryScale gives it {}, its share would be {share}", CanaryScale::Pods(pods))
    }

    /// Before the first request the counters' beginnings must be known, or its failures could be missed.
    fn prepare(&self, release: &Release) -> Gate {
        if release.full.is_some() || !self.rules.known_good {
            return Ok("its pods are ready".into());
        }
        let begun = release.judge.has_beginnings(&self.strategy.analysis);
        begun.map(|()| "its pods are ready".into()).map_err(|why| Wait(Cause::NoData, why))
    }

    fn leave_pause(&self, release: &Release, time: Option<Duration>) -> Move {
        let Some(time) = time else {
            return Wait(Cause::Person, "waits for a person: promote goes on, abort goes back".into());
        };
        let since = release.step_since.unwrap_or(self.now);
        if self.now.since(since) < time {
            return Wait(Cause::Clock, format!("{} at this step", spoken(time)));
        }
        let passes =
            self.state.split.weight(&release.revision) == Weight::NONE && self.state.split.marked.is_none();
        if passes { Pass } else { self.approve(release).map_or_else(|wait| wait, |_| Pass) }
    }

    /// Good is needed to go on, of every metric, unless a person said otherwise.
    fn approve(&self, release: &Release) -> Gate {
        if let Some(who) = release.full.as_ref().or(release.waved.as_ref()) {
            return Ok(format!("ordered by {who}"));
        }
        let findings = release
            .judge
            .findings(&self.strategy.analysis, moment(release, &self.state.split, self.seen, self.now));
        let blocks = |f: &&Finding| match f.verdict {
            Verdict::Good => false,
            Verdict::NoData => self.rules.known_good,
            Verdict::Doubt | Verdict::Bad => true,
        };
        if let Some(finding) = findings.iter().find(blocks) {
            let cause = if finding.verdict == Verdict::NoData { Cause::NoData } else { Cause::Doubt };
            let restarts = self.restarts(release);
            return Err(Wait(cause, format!("{}: {}{restarts}", finding.metric, finding.why)));
        }
        let numbers: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.metric, f.why)).collect();
        let why = if numbers.is_empty() { "no metrics are asked for".into() } else { numbers.join("; ") };
        Ok(why + &self.restarts(release))
    }

    fn pass(&mut self) {
        let acknowledged = self.acknowledged();
        let now = self.now;
        if let Some(release) = &mut self.state.release {
            release.step += 1;
            release.asked = None;
            release.step_since = acknowledged.then_some(now);
        }
    }

    fn raise(&mut self, to: Weight, why: &str) {
        let Some(stable) = self.state.stable.clone() else { return };
        let Some(release) = &mut self.state.release else { return };
        release.waved = None;
        release.hold = None;
        release.waiting = None;
        release.weight_since = None;
        release.step_since = None;
        release.judge.begin_step();
        let canary = release.revision.clone();
        let marked = self.strategy.marks_canary.then(|| canary.clone());
        self.split([(stable, to.rest()), (canary.clone(), to)], marked);
        self.decide(What::Advanced, Some(canary), MACHINE, why);
    }

    fn complete(&mut self, why: &str) {
        let Some(release) = self.end_release() else { return };
        let canary = release.revision;
        self.state.lent = None;
        if let Some(old) = self.state.stable.replace(canary.clone()) {
            self.state.history.retain(|r| *r != old && *r != canary);
            self.state.history.insert(0, old);
            self.state.history.truncate(self.strategy.history_limit.max(1));
        }
        self.split([(canary.clone(), Weight::ALL)], None);
        self.decide(What::Completed, Some(canary), MACHINE, why);
    }

    /// How long something may take before it is worth a word: a few measurements.
    pub(super) fn patience(&self) -> Duration {
        self.strategy.analysis.interval.saturating_mul(3).max(Duration::from_secs(3))
    }

    /// Remembers why it waits, and tells of it once per cause when it takes longer than usual.
    fn hold(&mut self, cause: Cause, why: String) {
        let (now, patience) = (self.now, self.patience());
        let Some(release) = &mut self.state.release else { return };
        let revision = release.revision.clone();
        let same = release.hold.take().filter(|h| h.cause == cause);
        let since = same.as_ref().map_or(now, |h| h.since);
        let told = same.is_some_and(|h| h.told);
        let tell = !told && tells(cause, now.since(since), patience);
        release.hold = Some(Hold { cause, why: why.clone(), since, told: told || tell });
        if tell {
            self.decide(told_as(cause), Some(revision), MACHINE, why);
        }
    }
}

fn lacking(why: String) -> Move {
    Wait(Cause::Pods, why)
}

/// The step to be at with a weight: the last one that leads no higher.
pub(super) fn anchor(steps: &[Step], weight: Weight) -> usize {
    let reached = |step: &Step| matches!(step, Step::SetWeight(w) if *w <= weight);
    let last = steps.iter().rposition(reached);
    last.filter(|_| weight > Weight::NONE).unwrap_or(0)
}

fn told_as(cause: Cause) -> What {
    match cause {
        Cause::Person | Cause::Paused => What::Paused,
        Cause::Gate => What::Gated,
        Cause::Frozen => What::Frozen,
        Cause::Clock | Cause::Pods | Cause::Proxies | Cause::NoData | Cause::Doubt | Cause::NoReplicas => {
            What::Held
        }
    }
}

fn tells(cause: Cause, held: Duration, patience: Duration) -> bool {
    match cause {
        Cause::Clock => false,
        Cause::Person | Cause::Paused | Cause::Frozen => true,
        Cause::Pods | Cause::Proxies | Cause::NoData | Cause::Doubt | Cause::NoReplicas | Cause::Gate => {
            held >= patience
        }
    }
}
