//! Puts what a source holds into effect: knows all Rollouts. Runs on a thread of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::board::{Board, Shown, View};
use crate::config::assemble::{Draft, Memory};
use crate::config::object::Object;
use crate::config::source::Source;
use crate::listen::Listen;
use crate::running::{Name, Running, key};
use crate::worker::Shared;

/// How soon a port that is in use is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often to look for series that nobody needs.
const FORGET: Duration = Duration::from_secs(10);

/// Most problems that are shown at a time.
const MAX_PROBLEMS: usize = 200;

/// The one who knows all Rollouts.
#[derive(Debug)]
pub(crate) struct Control<S> {
    source: S,
    /// The addresses that slices name this proxy by.
    own: Vec<IpAddr>,
    memory: Memory,
    lanes: BTreeMap<Name, Running>,
    shared: Arc<Shared>,
    board: Arc<Board>,
    threads: Vec<UnboundedSender<Listen>>,
    told: BTreeSet<String>,
    /// Something has to be tried again, whether or not anything changes.
    unsettled: bool,
    /// When series were last forgotten.
    forgotten: Instant,
}

impl<S: Source> Control<S> {
    pub(crate) fn new(
        source: S,
        own: Vec<IpAddr>,
        shared: Arc<Shared>,
        board: Arc<Board>,
        threads: Vec<UnboundedSender<Listen>>,
    ) -> Control<S> {
        let (lanes, told) = (BTreeMap::new(), BTreeSet::new());
        let memory = Memory::default();
        let forgotten = Instant::now();
        // Until slices have been looked at, they may.
        board.list(!own.is_empty());
        Control { source, own, memory, lanes, shared, board, threads, told, unsettled: true, forgotten }
    }

    /// Puts what the source holds into effect, if anything has `changed` or has to be tried again.
    pub(crate) fn turn(&mut self, changed: bool) {
        if self.board.is_draining() {
            self.board.list(self.is_listed());
        }
        if !self.source.is_complete() {
            return self.explain();
        }
        if changed || self.unsettled {
            self.put_into_effect();
        }
        if self.forgotten.elapsed() >= FORGET {
            self.forget_series();
        }
    }

    fn is_listed(&self) -> bool {
        let leads = |object: &Object| matches!(object, Object::Slice(slice) if slice.leads_to(&self.own));
        self.source.contents().objects.iter().any(|(_, _, object)| leads(object))
    }

    /// Says why there is no table yet.
    fn explain(&mut self) {
        let problems = self.source.contents().problems;
        self.tell(&problems);
        self.board.explain(problems);
    }

    fn put_into_effect(&mut self) {
        let (drafts, mut problems) = self.memory.assemble(&self.source.contents(), Instant::now());
        let drafts = self.settle_claims(drafts, &mut problems);
        self.retire(&drafts);
        for draft in drafts {
            self.serve(draft, &mut problems);
        }
        self.lanes.retain(|name, running| running.draft.is_some() || in_flight(&self.board, name) > 0);
        let settled = |running: &Running| running.draft.is_some() && running.listening.is_some();
        self.unsettled = self.memory.is_waiting() || !self.lanes.values().all(settled);
        bound(&mut problems);
        self.tell(&problems);
        self.show(problems);
    }

    /// Turns whenever there is something to look at, until the proxy stops.
    pub(crate) fn run(mut self) {
        while let Some(changed) = self.source.wait(RETRY) {
            self.turn(changed);
        }
    }

    /// One route for each Rollout, one Rollout for each port: who has it keeps it, then the first file's wins.
    fn settle_claims(&self, drafts: Vec<Draft>, problems: &mut Vec<String>) -> Vec<Draft> {
        let (mut names, mut ports): (HashMap<Name, usize>, HashMap<u16, usize>) = Default::default();
        let (holders, others): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| self.holds(draft));
        let mut settled: Vec<Draft> = Vec::new();
        for draft in holders.into_iter().chain(others) {
            let whose = |n: Option<&usize>| n.and_then(|n| settled.get(*n)).map(Draft::place);
            if let Some(other) = whose(names.get(draft.key())) {
                let (place, (namespace, rollout)) = (draft.place(), draft.key());
                problems.push(format!(
                    "{place}: Rollout {namespace}/{rollout} has a route already, in {other}; remove one"
                ));
            } else if let Some(other) = whose(ports.get(&draft.port)) {
                let (place, port) = (draft.place(), draft.port);
                problems
                    .push(format!("{place}: port {port} belongs to {other} already; choose another port"));
            } else {
                names.insert(draft.key().clone(), settled.len());
                ports.insert(draft.port, settled.len());
                settled.push(draft);
            }
        }
        settled
    }

    fn holds(&self, draft: &Draft) -> bool {
        let running = self.lanes.get(draft.key());
        let held = running.and_then(|r| r.draft.as_ref());
        held.is_some_and(|held| held.id == draft.id && held.port == draft.port)
    }

    /// Stops serving Rollouts that have no route any more.
    fn retire(&mut self, drafts: &[Draft]) {
        let wanted: HashSet<&Name> = drafts.iter().map(Draft::key).collect();
        for (name, running) in self.lanes.iter_mut().filter(|(name, _)| !wanted.contains(*name)) {
            if running.draft.take().is_some() {
                tracing::info!(namespace = name.0, rollout = name.1, "route is gone, no longer served");
            }
            running.listening.take().into_iter().for_each(|l| l.end(&self.shared));
            running.lane.entry.store(Arc::default());
        }
    }

    fn serve(&mut self, draft: Draft, problems: &mut Vec<String>) {
        let (shared, board) = (&self.shared, &self.board);
        if !self.lanes.contains_key(draft.key()) {
            self.lanes.insert(draft.key().clone(), Running::new(&draft, shared, board));
        }
        let Some(running) = self.lanes.get_mut(draft.key()) else { return };
        let same = running.draft.as_ref().is_some_and(|before| before.same_table(&draft));
        if !same {
            running.swap(&draft, board);
        }
        if let Err(problem) = running.listen(&draft, shared, &self.threads) {
            problems.push(format!("{}: {problem}", draft.place()));
        }
        running.draft = Some(draft);
    }

    fn forget_series(&mut self) {
        self.forgotten = Instant::now();
        let mut used = BTreeSet::new();
        for (name, running) in &self.lanes {
            used.insert(key(name, ""));
            let entry = running.lane.entry.load();
            used.extend(entry.series.iter().map(|series| series.key().clone()));
        }
        self.board.registry.forget(&used, Instant::now());
    }

    /// Logs each problem once.
    fn tell(&mut self, problems: &[String]) {
        let problems: BTreeSet<String> = problems.iter().cloned().collect();
        problems.difference(&self.told).for_each(|problem| tracing::warn!("{problem}"));
        self.told = problems;
    }

    fn show(&self, problems: Vec<String>) {
        let shown = |running: &Running| Shown {
            lane: Arc::clone(&running.lane),
            listen: running.listening.as_ref().map(|l| l.address),
        };
        let lanes = self.lanes.values().map(shown).collect();
        self.board.show(View { lanes, problems });
    }
}

/// Keeps the first problems and says how many more there are.
fn bound(problems: &mut Vec<String>) {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        problems.truncate(MAX_PROBLEMS);
        problems.push(format!("and {more} more problems; correct these first"));
    }
}

fn in_flight(board: &Board, name: &Name) -> u64 {
    let all = board.registry.all();
    all.iter()
        .filter(|s| (&s.key().namespace, &s.key().rollout) == (&name.0, &name.1))
        .map(|s| s.in_flight())
        .sum()
}
