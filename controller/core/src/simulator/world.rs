//! The world: pods, proxies with traffic, objects with versions, people.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::faults::Faults;
use super::leader::Leader;
use super::people::strategy;
use super::proxy::{Ended, Proxy};
use super::{Promise, checks};
use crate::decision::{Action, Decision};
use crate::gate::{GateAnswer, GateName};
use crate::observation::{Order, Pods};
use crate::revision::Revision;
use crate::split::Split;
use crate::state::State;
use crate::strategy::Strategy;
use crate::time::Time;

/// What a revision is really like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Healthy,
    /// Every other request of each proxy fails.
    Failing,
    /// Every other request of each proxy is slow.
    Slow,
    NeverReady,
    CrashLooping,
}

/// What a leader saw when it decided.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Ready pods of each revision.
    pub(crate) ready: BTreeMap<Revision, u32>,
    /// Pods that were asked for.
    pub(crate) replicas: u32,
    /// Those of them that may be missing at the end.
    pub(crate) missing: u32,
    /// Whether nothing was to be promoted.
    pub(crate) frozen: bool,
}

/// Something that happens later.
#[derive(Clone, Debug)]
pub(crate) enum Late {
    Act(Action),
    Save { read: u64, state: Box<State>, look: Look },
}

pub(crate) struct World {
    pub(crate) promise: Promise,
    pub(crate) rng: fastrand::Rng,
    pub(crate) faults: Faults,
    /// Whether somebody edits the router's object by hand in this world.
    pub(crate) edits: bool,
    pub(crate) hostile: bool,
    pub(crate) now: Time,
    pub(crate) strategy: Strategy,
    pub(crate) natures: BTreeMap<Revision, Nature>,
    pub(crate) version: u64,
    pub(crate) state: State,
    pub(crate) older: VecDeque<(u64, State)>,
    pub(crate) route: Option<Split>,
    pub(crate) pods: BTreeMap<Revision, Pods>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) orders: Vec<Order>,
    pub(crate) ordered: u32,
    pub(crate) late: Vec<(Time, Late)>,
    /// Counters as they were at the last ticks: what a metric source may show.
    pub(crate) scrapes: VecDeque<(Time, Vec<Ended>)>,
    pub(crate) leaders: Vec<Leader>,
    /// Answers of gates that are on their way.
    pub(crate) gate_answers: VecDeque<GateAnswer>,
    /// Gates that have really said go, and those that have said no-go.
    pub(crate) said_go: BTreeSet<GateName>,
    pub(crate) said_no: BTreeSet<Revision>,
    pub(crate) frozen_until: Time,
    pub(crate) told: Vec<Decision>,
    pub(crate) quiet: u32,
}

const TICK: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn new(seed: u64, promise: Promise) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let proxies = vec![Proxy::default(); rng.usize(1..=3)];
        let mut world = World {
            promise,
            faults: Faults::new(*rng.choice(&[15, 40, 100]).unwrap_or(&100)),
            edits: rng.u8(0..10) == 0,
            hostile: true,
            now: Time(1_000_000),
            strategy: strategy(&mut rng),
            natures: BTreeMap::new(),
            version: 0,
            state: State::default(),
            older: VecDeque::new(),
            route: None,
            pods: BTreeMap::new(),
            proxies,
            orders: Vec::new(),
            ordered: 0,
            late: Vec::new(),
            scrapes: VecDeque::new(),
            leaders: vec![Leader::default(), Leader::default()],
            gate_answers: VecDeque::new(),
            said_go: BTreeSet::new(),
            said_no: BTreeSet::new(),
            frozen_until: Time(0),
            told: Vec::new(),
            quiet: 0,
            rng,
        };
        world.new_revision(Nature::Healthy);
        world
    }

    /// One second: people, late effects, pods, proxies with traffic, leaders, checks.
    pub(crate) fn tick(&mut self) -> Result<(), String> {
        self.now = self.now + TICK;
        if self.hostile {
            self.people();
        } else {
            self.person_on_call();
        }
        self.late_effects()?;
        self.live();
        self.traffic();
        self.lead()?;
        checks::traffic(self)
    }

    /// From here on nothing goes wrong any more, and the wanted revision is left to itself.
    pub(crate) fn calm(&mut self) {
        self.hostile = false;
        self.strategy.paused = false;
        self.frozen_until = self.now;
    }

    pub(crate) fn strike(&mut self, fault: &'static str) -> bool {
        self.hostile && self.faults.strike(&mut self.rng, fault)
    }

    pub(super) fn new_revision(&mut self, nature: Nature) {
        let name = format!("r{}", self.natures.len() + 1);
        let revision = Revision::new(name).unwrap();
        self.natures.insert(revision.clone(), nature);
        self.strategy.revision = revision;
    }

    fn late_effects(&mut self) -> Result<(), String> {
        let (due, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= self.now);
        self.late = wait;
        for (_, late) in due {
            match late {
                Late::Act(action) => self.apply(&action),
                Late::Save { read, state, look } => _ = self.save(read, *state, &look)?,
            }
        }
        Ok(())
    }

    /// Writes the state, if it is still the one that was read. `look`: what it was decided on.
    pub(crate) fn save(&mut self, read: u64, state: State, look: &Look) -> Result<bool, String> {
        if read != self.version {
            return Ok(false);
        }
        let before = std::mem::replace(&mut self.state, state);
        checks::saved(self, &before, look)?;
        self.older.push_back((self.version, before));
        self.older.truncate(8);
        if self.older.len() > 4 {
            self.older.pop_front();
        }
        self.version += 1;
        Ok(true)
    }

    /// Receivers refuse what is older than what they know.
    pub(crate) fn apply(&mut self, action: &Action) {
        let strict = self.promise.generations;
        match action {
            Action::Route(split) => {
                let newer = self.route.as_ref().is_none_or(|r| r.generation <= split.generation);
                if newer || !strict {
                    self.route = Some(split.clone());
                }
            }
            Action::Scale { revision, replicas, generation } => {
                let created = self.now;
                let pods = self.pods.entry(revision.clone()).or_insert(Pods { created, ..Pods::default() });
                if pods.generation <= *generation || !strict {
                    pods.scale = *replicas;
                    pods.generation = *generation;
                }
            }
            Action::Delete { revision, generation } => {
                let older =
                    self.pods.get(revision).is_some_and(|p| p.generation <= *generation && p.scale == 0);
                if older || !strict {
                    self.pods.remove(revision);
                }
            }
            Action::Clear(id) => self.orders.retain(|order| order.id != *id),
        }
    }

    /// Pods start, get ready, die.
    fn live(&mut self) {
        let natures = self.natures.clone();
        let hostile = self.hostile;
        for (revision, pods) in &mut self.pods {
            let nature = natures.get(revision).copied().unwrap_or(Nature::Healthy);
            pods.present = if pods.scale > pods.present {
                pods.scale
            } else {
                pods.present - u32::from(pods.present > pods.scale)
            };
            pods.ready = pods.ready.min(pods.scale);
            let rises = match nature {
                Nature::NeverReady => false,
                Nature::CrashLooping => self.rng.u8(0..4) == 0,
                Nature::Healthy | Nature::Failing | Nature::Slow => self.rng.bool(),
            };
            if rises && pods.ready < pods.scale {
                pods.ready += 1;
            }
            let dies = hostile && self.faults.strike(&mut self.rng, "pod dies");
            if (dies || nature == Nature::CrashLooping && self.rng.u8(0..3) == 0) && pods.ready > 0 {
                pods.ready -= 1;
                pods.restarts += 1;
            }
        }
    }

    /// Proxies read the route, requests come and end.
    fn traffic(&mut self) {
        for index in 0..self.proxies.len() {
            let restarts = self.strike("proxy restarts");
            let late = self.strike("route reaches proxy late") && !restarts;
            let strict = self.promise.generations;
            let route = self.route.clone().filter(|_| !late);
            let natures = &self.natures;
            let proxy = &mut self.proxies[index];
            if restarts {
                *proxy = Proxy::default();
            }
            if let Some(route) = route
                && (route.generation >= proxy.split.generation || !strict)
            {
                proxy.split = route;
            }
            proxy.end_requests(natures);
            proxy.begin_requests(&mut self.rng);
            proxy.reports.push_front(proxy.report());
            proxy.reports.truncate(4);
        }
        let counters = self.proxies.iter().map(|p| p.ended.clone()).collect();
        self.scrapes.push_front((self.now, counters));
        self.scrapes.truncate(10);
    }

    /// Whether nothing more will happen: the same for a while, and nothing under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.quiet > 12 && self.late.is_empty() && self.orders.is_empty()
    }

    pub(crate) fn story(&self, why: &str) -> String {
        let lines: Vec<String> = self
            .told
            .iter()
            .map(|d| {
                format!(
                    "{} {:?} {:?} {:?} by {}: {}",
                    d.at.0 / 1000,
                    d.what,
                    d.revision,
                    d.weight,
                    d.who,
                    d.why
                )
            })
            .collect();
        format!(
            "at {} s: {why}\nstate {:?}\nroute {:?}\npods {:?}\nnatures {:?}\nwanted {} steps {:?}\n{}",
            self.now.0 / 1000,
            State { decisions: Vec::new(), ..self.state.clone() },
            self.route,
            self.pods,
            self.natures,
            self.strategy.revision,
            self.strategy.steps,
            lines.join("\n")
        )
    }
}
