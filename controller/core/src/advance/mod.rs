//! One turn of the machine, one file per phase, in the order in which they are called.

mod choose;
mod gates;
mod guard;
mod moves;
mod orders;
mod plan;
mod refusal;
mod repair;
mod room;

pub use gates::gate_question;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decision::{Action, Decision, What};
use crate::observation::{Observation, Pods, Report};
use crate::revision::Revision;
use crate::sample::{Asks, Question};
use crate::split::{Split, Weight};
use crate::state::{DECISIONS, Release, State};
use crate::strategy::{Check, Metric, Strategy};
use crate::time::Time;
use crate::verdict::{Finding, Moment};

pub use refusal::refusal;

/// While proxies or pods are awaited, the world is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Who decides when no person does.
const MACHINE: &str = "penstock";

/// The outcome of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// What to remember. To be saved, on the condition that nobody else has saved since it was read, before any
    /// action is carried out; without the save there are no actions.
    pub state: State,
    /// Target states to bring about.
    pub actions: Vec<Action>,
    /// When to take the next turn, if nothing happens before. `None`: nothing is awaited.
    pub wake_at: Option<Time>,
    /// What was decided in this turn; `state` keeps the last ones too.
    pub decisions: Vec<Decision>,
}

/// The four rules that the promise rests on. Tests switch them off to see what each is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A weight rises only onto enough ready pods.
    pub(crate) ready_first: bool,
    /// A revision shrinks away only when it is confirmed that nothing reaches it.
    pub(crate) confirmed_drain: bool,
    /// What is not known never counts as good.
    pub(crate) known_good: bool,
}

impl Rules {
    pub(crate) const ALL: Rules = Rules { ready_first: true, confirmed_drain: true, known_good: true };
}

/// What is to be measured now, if anything.
pub fn questions(strategy: &Strategy, state: &State, now: Time) -> Vec<Question> {
    let (Some(stable), Some(release)) = (&state.stable, &state.release) else {
        return Vec::new();
    };
    if release.judge.due(&strategy.analysis, now) > now {
        return Vec::new();
    }
    let ask = |metric: &Metric| Question {
        metric: metric.name.clone(),
        revision: release.revision.clone(),
        stable: stable.clone(),
        asks: match &metric.check {
            Check::ErrorRate { .. } => Asks::Errors,
            Check::Latency { limit, .. } => Asks::SlowerThan(*limit),
            Check::Value { query, .. } => Asks::Value(query.clone()),
        },
    };
    strategy.analysis.metrics.iter().map(ask).collect()
}

/// Decides. A spurious call does no harm: without news it returns the same state and the same target states.
pub fn step(strategy: &Strategy, state: &State, observation: &Observation, now: Time) -> Next {
    step_under(Rules::ALL, strategy, state, observation, now)
}

/// What each metric says of the canary under way; without one, what it said when the last release ended.
pub fn findings(strategy: &Strategy, state: &State, observation: &Observation, now: Time) -> Vec<Finding> {
    let Some(release) = state.release.as_ref().filter(|_| state.stable.is_some()) else {
        return state.findings.clone();
    };
    release.judge.findings(&strategy.analysis, moment(release, &state.split, observation, now))
}

pub(crate) fn step_under(
    rules: Rules,
    strategy: &Strategy,
    state: &State,
    observation: &Observation,
    now: Time,
) -> Next {
    let mut turn =
        Turn { rules, strategy, seen: observation, now, state: state.clone(), decisions: Vec::new() };
    turn.adopt();
    turn.repair();
    turn.take_answers();
    turn.take_gate();
    let orders = turn.obey();
    turn.choose();
    turn.guard();
    turn.advance();
    let mut actions = turn.plan();
    actions.extend(orders.into_iter().map(Action::Clear));
    let wake_at = turn.wake_at();
    turn.state.decisions.extend(turn.decisions.iter().cloned());
    let surplus = turn.state.decisions.len().saturating_sub(DECISIONS);
    turn.state.decisions.drain(..surplus);
    Next { state: turn.state, actions, wake_at, decisions: turn.decisions }
}

/// A turn under way.
struct Turn<'a> {
    rules: Rules,
    strategy: &'a Strategy,
    seen: &'a Observation,
    now: Time,
    state: State,
    decisions: Vec<Decision>,
}

impl Turn<'_> {
    fn take_answers(&mut self) {
        let Some(release) = &mut self.state.release else { return };
        let moment = moment(release, &self.state.split, self.seen, self.now);
        release.judge.take(&self.strategy.analysis, &release.revision, &self.seen.answers, moment);
    }

    /// The revision that is wanted: the template's, or the one that an order wants instead of it.
    fn wanted(&self) -> &Revision {
        match &self.state.undo {
            Some(undo) if undo.instead_of == self.strategy.revision => &undo.to,
            _ => &self.strategy.revision,
        }
    }

    /// Whether every proxy applies the very split that was decided last. One without weights is never sent.
    fn acknowledged(&self) -> bool {
        let none_yet = self.state.split.weights.is_empty();
        let applies =
            |report: &Report| report.split == self.state.split || none_yet && report.split.weights.is_empty();
        let all = |proxies: &BTreeMap<String, _>| {
            !proxies.is_empty() && proxies.values().all(|r: &Option<_>| r.as_ref().is_some_and(applies))
        };
        self.seen.proxies.as_ref().is_some_and(all)
    }

    /// Ready pods of a revision; none where they can't be seen.
    fn ready(&self, revision: &Revision) -> u32 {
        self.pods(revision).map_or(0, |pods| pods.ready)
    }

    fn pods(&self, revision: &Revision) -> Option<&Pods> {
        self.seen.revisions.as_ref().and_then(|all| all.get(revision))
    }

    /// Decides on a split. The one before is void as soon as this one is saved.
    fn split(&mut self, weights: impl IntoIterator<Item = (Revision, Weight)>, marked: Option<Revision>) {
        let generation = self.state.split.generation.next();
        self.state.split = Split { generation, weights: weights.into_iter().collect(), marked };
    }

    /// All traffic to stable, none to anyone else.
    fn all_to_stable(&mut self) {
        let Some(stable) = self.state.stable.clone() else { return };
        let wanted = Split { weights: [(stable.clone(), Weight::ALL)].into(), ..Split::default() };
        if !self.state.split.same_traffic(&wanted) {
            self.split([(stable, Weight::ALL)], None);
        }
    }

    /// Takes the release away, and remembers what the metrics said at its end.
    fn end_release(&mut self) -> Option<Release> {
        self.state.findings = findings(self.strategy, &self.state, self.seen, self.now);
        self.state.release.take()
    }

    fn decide(&mut self, what: What, revision: Option<Revision>, who: &str, why: impl Into<String>) {
        let weight = revision.as_ref().map(|r| self.state.split.weight(r));
        let (at, who, why) = (self.now, who.to_owned(), why.into());
        self.state.decided = self.state.decided.saturating_add(1);
        let number = self.state.decided;
        self.decisions.push(Decision { number, at, what, why, who, revision, weight, order: None });
    }
}

fn moment<'a>(release: &Release, split: &Split, seen: &'a Observation, now: Time) -> Moment<'a> {
    let proxies = seen.proxies.as_ref();
    let traffic = split.sends_to(&release.revision);
    Moment { now, weight_since: release.weight_since, traffic, proxies }
}
