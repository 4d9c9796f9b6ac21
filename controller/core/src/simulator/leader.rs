//! A controller: takes turns, may hold an old memory, may die between any two effects.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks;
use super::proxy::counted;
use super::world::{Late, Look, Nature, World};
use crate::advance::{gate_question, questions, step_under};
use crate::decision::Action;
use crate::gate::{GateAnswer, GateQuestion, GateWord};
use crate::observation::{Frozen, Observation, Route};
use crate::sample::{Answer, NoData, Question, Reading, Sample};
use crate::state::State;
use crate::strategy::{Check, Strategy};

/// What a controller keeps from turn to turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leader {
    /// What it read when it last read: a stale read shows it again.
    memory: Option<(u64, State)>,
}

impl World {
    pub(crate) fn lead(&mut self) -> Result<(), String> {
        self.turn(0)?;
        if self.strike("second leader acts") {
            self.turn(1)?;
        }
        Ok(())
    }

    fn turn(&mut self, index: usize) -> Result<(), String> {
        let stale = self.strike("state read stale");
        let remembered = self.leaders[index].memory.clone().filter(|_| stale);
        let (read, state) = remembered.unwrap_or_else(|| (self.version, self.state.clone()));
        self.leaders[index].memory = Some((read, state.clone()));
        let strategy = self.strategy.clone();
        let asked = questions(&strategy, &state, self.now);
        if let Some(question) = gate_question(&strategy, &state, self.now) {
            self.ask_gate(&question);
        }
        let observation = self.observe(&asked);
        let next = step_under(self.promise.rules, &strategy, &state, &observation, self.now);
        let busy = next.state != state || !next.actions.is_empty();
        self.quiet = if busy { 0 } else { self.quiet + 1 };
        checks::room(self, &next)?;
        let frozen = observation.frozen.is_some();
        let saved = next.state == state || self.store(read, next.state, frozen)?;
        if saved { self.act(next.actions) } else { Ok(()) }
    }

    /// Saves, with what can go wrong. True: it is known to be saved.
    fn store(&mut self, read: u64, state: State, frozen: bool) -> Result<bool, String> {
        let ready = self.pods.iter().map(|(r, p)| (r.clone(), p.ready)).collect();
        let Strategy { replicas, max_surge, max_unavailable, .. } = self.strategy;
        let look = Look { ready, replicas, missing: max_surge.map_or(0, |_| max_unavailable), frozen };
        if self.strike("save lost") {
            return Ok(false);
        }
        if self.strike("save late") {
            let at = self.now + Duration::from_secs(self.rng.u64(1..5));
            self.late.push((at, Late::Save { read, state: Box::new(state), look }));
            return Ok(false);
        }
        let saved = self.save(read, state, &look)?;
        Ok(saved && !self.strike("save done but reported as failed"))
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            if self.strike("crash between effects") {
                return Ok(());
            }
            if self.strike("write lost") {
                continue;
            }
            if self.strike("write doubled") {
                let at = self.now + Duration::from_secs(self.rng.u64(1..6));
                self.late.push((at, Late::Act(action.clone())));
            }
            let long = self.strike("write stale by long");
            if long || self.strike("write late") {
                let delay = if long { self.rng.u64(10..40) } else { self.rng.u64(1..6) };
                self.late.push((self.now + Duration::from_secs(delay), Late::Act(action)));
                continue;
            }
            self.apply(&action);
        }
        Ok(())
    }

    fn observe(&mut self, asked: &[Question]) -> Observation {
        let revisions = if self.strike("revisions not seen") { None } else { Some(self.pods.clone()) };
        let unseen = self.strike("route not seen");
        let route = match &self.route {
            _ if unseen => Route::Unknown,
            None => Route::Absent,
            Some(split) => Route::Found(split.clone()),
        };
        let proxies = if self.strike("proxies not known") { None } else { Some(self.reports()) };
        let answers = self.answer(asked);
        let until = self.frozen_until;
        let frozen = (until > self.now).then(|| Frozen { until: Some(until), why: "frozen".into() });
        let gate = self.gate_answers.pop_front();
        Observation { revisions, route, proxies, answers, gate, frozen, orders: self.orders.clone() }
    }

    /// Whatever is asked is answered now, later, twice or never, and what was said is kept to be compared.
    fn ask_gate(&mut self, question: &GateQuestion) {
        let asked = question.asked.clone();
        let (silent, no) = (self.strike("gate says nothing"), self.strike("gate says no"));
        let word = match () {
            () if silent => GateWord::Unknown("HTTP 500".into()),
            () if no => GateWord::NoGo("the drill has failed".into()),
            () if self.hostile && self.rng.u8(0..3) > 0 => GateWord::Wait("not yet".into()),
            () => GateWord::Go("well".into()),
        };
        if matches!(word, GateWord::Go(_)) {
            self.said_go.insert(asked.clone());
        }
        if matches!(word, GateWord::NoGo(_)) {
            self.said_no.insert(asked.revision.clone());
        }
        let answer = GateAnswer { asked, gate: "g".into(), word };
        if self.strike("gate answer doubled") {
            self.gate_answers.push_back(answer.clone());
        }
        if self.strike("gate answer late") {
            self.gate_answers.push_back(answer);
        } else if !self.strike("gate answer lost") {
            self.gate_answers.push_front(answer);
        }
    }

    fn reports(&mut self) -> BTreeMap<String, Option<crate::observation::Report>> {
        let mut all = BTreeMap::new();
        for index in 0..self.proxies.len() {
            let missing = self.strike("report missing");
            let old = if self.strike("report old") { self.rng.usize(0..4) } else { 0 };
            let reports = &self.proxies[index].reports;
            let report = reports.get(old).or(reports.back()).cloned();
            all.insert(format!("p{index}"), report.filter(|_| !missing));
        }
        all
    }

    fn answer(&mut self, asked: &[Question]) -> Vec<Answer> {
        let mut answers = Vec::new();
        if !asked.is_empty() && self.strike("metrics lost between") {
            return answers;
        }
        for question in asked {
            let result =
                if self.strike("no metrics") { Err(NoData("empty".into())) } else { self.sample(question) };
            let answer =
                Answer { metric: question.metric.clone(), revision: question.revision.clone(), result };
            if self.strike("metrics doubled") {
                answers.push(answer.clone());
            }
            answers.push(answer);
        }
        answers
    }

    fn sample(&mut self, question: &Question) -> Result<Sample, NoData> {
        let back = if self.strike("metrics late") { self.rng.usize(1..10) } else { 0 };
        let half = self.strike("metrics half");
        let metric = self.strategy.analysis.metrics.iter().find(|m| m.name == question.metric);
        let check = metric.map(|m| m.check.clone()).ok_or(NoData("no such metric".into()))?;
        let (at, proxies) =
            self.scrapes.get(back).or(self.scrapes.back()).ok_or(NoData("no scrape".into()))?;
        if matches!(check, Check::Value { .. }) {
            let bad = matches!(self.natures.get(&question.revision), Some(Nature::Failing | Nature::Slow));
            return Ok(Sample { at: *at, value: Reading::Value(if bad { 10.0 } else { 1.0 }) });
        }
        let shown = proxies.iter().enumerate().skip(usize::from(half));
        let of = |(i, ended): (usize, &std::collections::BTreeMap<_, _>)| {
            ended.get(&question.revision).map(|e| (format!("p{i}"), counted(&check, *e)))
        };
        let instances: BTreeMap<String, _> = shown.filter_map(of).collect();
        if instances.is_empty() {
            return Err(NoData("no series".into()));
        }
        // Of half an answer it is said what is missing, or not.
        let told = half && self.rng.bool();
        let missing = told.then(|| ("p0".to_owned(), NoData("cut off".into()))).into_iter().collect();
        Ok(Sample { at: *at, value: Reading::Counts { instances, edge: None, missing } })
    }
}
