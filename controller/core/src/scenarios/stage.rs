//! A stage for scenarios: a world in which everything works, unless a scenario says otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::advance::{Next, gate_question, questions, step};
use crate::decision::{Action, Decision, What};
use crate::gate::{GateAnswer, GateQuestion, GateWord};
use crate::observation::{Frozen, Observation, Order, OrderKind, Pods, Report, Route};
use crate::revision::Revision;
use crate::sample::{Answer, Asks, Counts, NoData, Reading, Sample};
use crate::split::Weight;
use crate::state::{Cause, State};
use crate::strategy::{Analysis, Check, Metric, Step, Strategy};
use crate::time::Time;

pub(super) fn rev(name: &str) -> Revision {
    Revision::new(name).unwrap()
}

pub(super) fn weight(percent: u8) -> Step {
    Step::SetWeight(Weight::new(percent).unwrap())
}

pub(super) fn pause(secs: u64) -> Step {
    Step::Pause(Some(Duration::from_secs(secs)))
}

/// What the metric source does.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Counts as the requests were.
    Works,
    /// Says this instead of numbers.
    Silent(&'static str),
    /// Shows the same old numbers again and again.
    Stuck,
    /// Shows one proxy of two.
    Half,
    /// Shows one proxy of two, and says that this one is missing.
    Missing(&'static str),
}

pub(super) struct Stage {
    pub(super) strategy: Strategy,
    pub(super) state: State,
    pub(super) now: Time,
    pub(super) pods: BTreeMap<Revision, Pods>,
    /// Pods never get ready.
    pub(super) broken: bool,
    /// The canary's pods are ready for a second in so many, and fall then.
    pub(super) flaps: Option<u64>,
    /// One more pod of the canary gets ready in so many seconds.
    pub(super) slow: Option<u64>,
    /// Pods can't be seen.
    pub(super) blind: bool,
    /// The proxies do not follow.
    pub(super) deaf: bool,
    pub(super) in_flight: BTreeMap<Revision, u64>,
    pub(super) source: Source,
    /// The canary's share of failed requests, in percent.
    pub(super) failing: u64,
    /// Requests a second in all.
    pub(super) rate: u64,
    pub(super) orders: Vec<Order>,
    /// What the gate says; `None`: it hangs.
    pub(super) gate: Option<GateWord>,
    /// Every question to a gate.
    pub(super) gate_asked: Vec<GateQuestion>,
    pub(super) frozen: Option<Frozen>,
    pub(super) told: Vec<Decision>,
    route: Route,
    proxies: BTreeMap<String, Option<Report>>,
    counted: BTreeMap<Revision, Counts>,
    stuck: Option<(Time, Counts)>,
}

impl Stage {
    /// Stable revision `v1`, four pods, steps 10, 25, 50, 100 with five seconds each.
    pub(super) fn new() -> Stage {
        let proxies = ["a", "b"].map(|name| (name.to_owned(), Some(Report::default()))).into();
        let mut stage = Stage {
            strategy: strategy(),
            state: State::default(),
            now: Time(1_000_000),
            pods: BTreeMap::new(),
            broken: false,
            flaps: None,
            slow: None,
            blind: false,
            deaf: false,
            in_flight: BTreeMap::new(),
            source: Source::Works,
            failing: 0,
            rate: 1000,
            orders: Vec::new(),
            gate: None,
            gate_asked: Vec::new(),
            frozen: None,
            told: Vec::new(),
            route: Route::Absent,
            proxies,
            counted: BTreeMap::new(),
            stuck: None,
        };
        stage.run(20);
        stage
    }

    pub(super) fn apply(&mut self, revision: &str) -> &mut Stage {
        self.strategy.revision = rev(revision);
        self
    }

    pub(super) fn order(&mut self, kind: OrderKind) -> &mut Stage {
        let id = format!("order-{}", self.state.handled.len() + self.orders.len());
        self.orders.push(Order { id, kind, who: "ann".into(), reason: String::new(), at: self.now });
        self
    }

    /// So many seconds go by, a turn in each.
    pub(super) fn run(&mut self, secs: u64) -> &mut Stage {
        (0..secs).for_each(|_| _ = self.turn());
        self
    }

    /// Seconds go by until it is so. Panics when it never gets so.
    pub(super) fn until(&mut self, what: &str, so: impl Fn(&Stage) -> bool) -> &mut Stage {
        for _ in 0..600 {
            if so(self) {
                return self;
            }
            self.turn();
        }
        panic!("never: {what}; {:?} {:?}", self.state, self.told);
    }

    pub(super) fn until_weight(&mut self, percent: u8) -> &mut Stage {
        self.until("the weight", |s| s.weight() == percent)
    }

    pub(super) fn turn(&mut self) -> Next {
        self.now = self.now + Duration::from_secs(1);
        self.live();
        let seen = self.look();
        let next = step(&self.strategy, &self.state, &seen, self.now);
        self.told.extend(next.decisions.iter().cloned());
        self.state = next.state.clone();
        next.actions.iter().for_each(|action| self.act(action));
        next
    }

    pub(super) fn look(&mut self) -> Observation {
        let answers = self.answers();
        let gate = self.ask_gate();
        Observation {
            revisions: Some(self.pods.clone()).filter(|_| !self.blind),
            route: self.route.clone(),
            proxies: Some(self.proxies.clone()),
            answers,
            gate,
            frozen: self.frozen.clone(),
            orders: self.orders.clone(),
        }
    }

    fn ask_gate(&mut self) -> Option<GateAnswer> {
        let question = gate_question(&self.strategy, &self.state, self.now)?;
        self.gate_asked.push(question.clone());
        let word = self.gate.clone()?;
        Some(GateAnswer { asked: question.asked, gate: "ci".into(), word })
    }

    fn live(&mut self) {
        let (broken, flaps) = (self.broken, self.flaps);
        let canary = self.state.release.as_ref().map(|r| r.revision.clone());
        for (revision, pods) in &mut self.pods {
            pods.present = pods.scale;
            let (is_canary, before) = (canary.as_ref() == Some(revision), pods.ready);
            let falls = flaps.is_some_and(|every| !(self.now.0 / 1000).is_multiple_of(every));
            pods.ready = match self.slow {
                _ if is_canary && (broken || falls) => 0,
                Some(every) if is_canary => {
                    let more = u32::from((self.now.0 / 1000).is_multiple_of(every));
                    pods.scale.min(before + more)
                }
                Some(_) | None => pods.scale,
            };
            if is_canary && falls {
                pods.restarts += before;
                pods.trouble = Some("exit code 1".into());
            }
        }
        let rate = self.rate;
        let Route::Found(split) = &self.route else { return };
        for (revision, weight) in &split.weights {
            let counts = self.counted.entry(revision.clone()).or_default();
            let requests = rate * u64::from(weight.percent()) / 100;
            counts.total += requests;
            counts.bad += if canary.as_ref() == Some(revision) { requests * self.failing / 100 } else { 0 };
        }
    }

    fn answers(&mut self) -> Vec<Answer> {
        let asked = questions(&self.strategy, &self.state, self.now);
        asked
            .into_iter()
            .map(|question| {
                let result = self.sample(&question.revision, &question.asks);
                Answer { metric: question.metric, revision: question.revision, result }
            })
            .collect()
    }

    fn sample(&mut self, revision: &Revision, asks: &Asks) -> Result<Sample, NoData> {
        let counts = self.counted.get(revision).copied().unwrap_or_default();
        let (at, counts) = match &self.source {
            Source::Silent(why) => return Err(NoData((*why).to_owned())),
            Source::Stuck => *self.stuck.get_or_insert((self.now, counts)),
            Source::Works | Source::Half | Source::Missing(_) => (self.now, counts),
        };
        if matches!(asks, Asks::Value(_)) {
            return Ok(Sample { at, value: Reading::Value(self.failing as f64) });
        }
        let half = Counts { total: counts.total / 2, bad: counts.bad / 2 };
        let mut instances = BTreeMap::from([("a".to_owned(), half), ("b".to_owned(), half)]);
        let mut missing = BTreeMap::new();
        if matches!(self.source, Source::Half | Source::Missing(_)) {
            instances.remove("b");
        }
        if let Source::Missing(name) = self.source {
            missing.insert(name.to_owned(), NoData(format!("proxy {name} can't be reached")));
        }
        Ok(Sample { at, value: Reading::Counts { instances, edge: None, missing } })
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Route(split) => {
                self.route = Route::Found(split.clone());
                if !self.deaf {
                    self.acknowledge();
                }
            }
            Action::Scale { revision, replicas, generation } => {
                let created = self.now;
                let pods = self.pods.entry(revision.clone()).or_insert(Pods { created, ..Pods::default() });
                (pods.scale, pods.generation) = (*replicas, *generation);
            }
            Action::Delete { revision, .. } => _ = self.pods.remove(revision),
            Action::Clear(id) => self.orders.retain(|order| order.id != *id),
        }
    }

    /// A proxy is gone for good.
    pub(super) fn lose(&mut self, proxy: &str) {
        self.proxies.remove(proxy);
    }

    /// Nothing was ever routed.
    pub(super) fn forget_route(&mut self) {
        self.route = Route::Absent;
        self.proxies.values_mut().for_each(|r| *r = Some(Report::default()));
    }

    /// The proxies apply what stands in the route.
    pub(super) fn acknowledge(&mut self) {
        let Route::Found(split) = &self.route else { return };
        let report = Report { split: split.clone(), in_flight: self.in_flight.clone() };
        self.proxies.values_mut().for_each(|r| *r = Some(report.clone()));
    }

    /// Somebody writes other weights into the route.
    pub(super) fn edit(&mut self, edit: impl Fn(&mut crate::split::Split)) {
        if let Route::Found(split) = &mut self.route {
            edit(split);
        }
        self.acknowledge();
    }

    /// The canary's share in percent.
    pub(super) fn weight(&self) -> u8 {
        self.state.canary_weight().percent()
    }

    /// What the proxies send to a revision, in percent.
    pub(super) fn sent(&self, revision: &str) -> u8 {
        let Route::Found(split) = &self.route else { return 0 };
        split.weight(&rev(revision)).percent()
    }

    pub(super) fn scale(&self, revision: &str) -> u32 {
        self.pods.get(&rev(revision)).map_or(0, |p| p.scale)
    }

    pub(super) fn stable(&self) -> &str {
        self.state.stable.as_ref().map_or("", Revision::as_str)
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.state.release.as_ref()?.hold.as_ref().map(|h| h.cause)
    }

    pub(super) fn why(&self) -> &str {
        let hold = self.state.release.as_ref().and_then(|r| r.hold.as_ref());
        hold.map_or("", |h| h.why.as_str())
    }

    pub(super) fn last(&self, what: What) -> &Decision {
        self.told.iter().rfind(|d| d.what == what).unwrap_or_else(|| panic!("no {what:?} in {:?}", self.told))
    }

    pub(super) fn count(&self, what: What) -> usize {
        self.told.iter().filter(|d| d.what == what).count()
    }
}

fn strategy() -> Strategy {
    Strategy {
        revision: rev("v1"),
        replicas: 4,
        steps: vec![weight(10), pause(5), weight(25), pause(5), weight(50), pause(5), weight(100), pause(5)],
        paused: false,
        marks_canary: false,
        analysis: Analysis {
            interval: Duration::from_secs(1),
            min_requests: 50,
            alpha: 0.001,
            failure_limit: 0,
            metrics: vec![Metric { name: "errors".into(), check: Check::ErrorRate { max: 0.01 } }],
        },
        progress_deadline: Duration::from_secs(60),
        max_surge: None,
        max_unavailable: 0,
        history_limit: 2,
    }
}
