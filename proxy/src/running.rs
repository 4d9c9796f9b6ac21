//! What runs for one Rollout: its lane, its table and its port.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use penstock_proxy_core::balance::Endpoint;
use penstock_proxy_core::cohort;
use penstock_proxy_core::limit::Limit;
use penstock_proxy_core::route::Routes;
use penstock_proxy_core::split::Turn;
use penstock_proxy_core::table::{Revision, Rule, Table, Turns};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::assemble::Draft;
use crate::config::backend::Reach;
use crate::config::route::Backend;
use crate::lane::{Entry, Lane};
use crate::listen::Listen;
use crate::ports;
use crate::series::{Key, edges};
use crate::worker::Shared;

/// Namespace and name of a Rollout.
pub(crate) type Name = (String, String);

/// A Rollout that is served, or was until a moment ago.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) lane: Arc<Lane>,
    /// What it does; `None`: its route is gone.
    pub(crate) draft: Option<Draft>,
    turns: Vec<Turns>,
    endpoints: BTreeMap<SocketAddr, Arc<Endpoint>>,
    pub(crate) listening: Option<Listening>,
}

#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
}

impl Listening {
    /// Stops accepting.
    pub(crate) fn end(self, shared: &Shared) {
        shared.ports.close(self.address);
        self.stop.cancel();
    }
}

impl Running {
    pub(crate) fn new(draft: &Draft, shared: &Shared, board: &Board) -> Running {
        let (namespace, rollout) = draft.key().clone();
        let unrouted = board.registry.get(key(draft.key(), ""), &edges(&draft.route.limits));
        let limit = Limit::new(shared.limits.in_flight);
        let lane = Arc::new(Lane { namespace, rollout, entry: ArcSwap::default(), limit, unrouted });
        let (turns, endpoints) = (Vec::new(), BTreeMap::new());
        Running { lane, draft: None, turns, endpoints, listening: None }
    }

    /// Puts a new table into effect. Counters of splits and what is known of endpoints live on.
    pub(crate) fn swap(&mut self, draft: &Draft, board: &Board) {
        let edges = edges(&draft.route.limits);
        let name = draft.key();
        board.registry.get(key(name, ""), &edges);
        let table = self.table(draft);
        let series = table.revisions.iter().map(|r| board.registry.get(key(name, &r.name), &edges)).collect();
        let (namespace, rollout) = name;
        tracing::info!(namespace, rollout, generation = table.generation, weights = %weights(&table), "table in effect");
        self.lane.entry.store(Arc::new(Entry { table, series }));
    }

    fn table(&mut self, draft: &Draft) -> Table {
        let route = &draft.route;
        let revisions = self.revisions(draft);
        let rules = (0..route.rules.len()).map(|i| self.rule(draft, i, &revisions)).collect();
        let matches = route.rules.iter().enumerate();
        let matches = matches.flat_map(|(i, rule)| rule.matches.iter().cloned().map(move |m| (m, i)));
        Table {
            generation: route.generation,
            routes: Routes::new(matches.collect()),
            revisions,
            rules,
            split: route.split,
            marked: route.marked.clone(),
        }
    }

    fn revisions(&mut self, draft: &Draft) -> Vec<Revision> {
        let before = std::mem::take(&mut self.endpoints);
        let mut endpoint = |address: &SocketAddr| {
            let known = before.get(address).cloned().unwrap_or_else(|| Endpoint::new(*address));
            Arc::clone(self.endpoints.entry(*address).or_insert(known))
        };
        let backends = draft.route.backends.iter().zip(&draft.reach);
        let revision = |(backend, reach): (&Backend, &Reach)| Revision {
            name: backend.revision.clone(),
            endpoints: reach.endpoints.iter().map(&mut endpoint).collect(),
            ready: reach.ready,
            down: reach.down.clone(),
            protocol: reach.protocol,
        };
        backends.map(revision).collect()
    }

    fn rule(&mut self, draft: &Draft, index: usize, revisions: &[Revision]) -> Rule {
        while self.turns.len() <= index {
            let turn = || Arc::new(Turn::starting_at(RandomState::new().hash_one(index)));
            self.turns.push(Turns { split: turn(), fallback: turn(), phase: 0 });
        }
        let source = &draft.route.rules[index];
        let mut turns = self.turns[index].clone();
        turns.phase = phase(draft.route.generation, &source.backends);
        let mut rule = Rule::new(source.backends.clone(), revisions, turns);
        rule.timeout = source.timeout;
        rule.sticky = draft.route.sticky.clone().filter(|_| draft.route.split == Some(index));
        rule
    }

    /// Opens the port, if it is not open, and closes the one before.
    pub(crate) fn listen(
        &mut self,
        draft: &Draft,
        shared: &Shared,
        threads: &[UnboundedSender<Listen>],
    ) -> Result<(), ports::PortError> {
        let address = SocketAddr::new(shared.limits.address, draft.port);
        if self.listening.as_ref().is_some_and(|l| l.address == address) || shared.drain.is_cancelled() {
            return Ok(());
        }
        let sockets = shared.ports.open(address, threads.len())?;
        let stop = shared.drain.child_token();
        for (thread, socket) in threads.iter().cycle().zip(sockets) {
            thread.send(Listen { lane: Arc::clone(&self.lane), socket, stop: stop.clone() }).ok();
        }
        let before = self.listening.replace(Listening { address, stop });
        before.into_iter().for_each(|l| l.end(shared));
        Ok(())
    }
}

/// The key of a revision's series; of requests that got none, if it is empty.
pub(crate) fn key(name: &Name, revision: &str) -> Key {
    Key { namespace: name.0.clone(), rollout: name.1.clone(), revision: revision.into() }
}

/// The same weights of the same generation begin at the same place, whatever else changes.
fn phase(generation: u64, backends: &[(usize, u32)]) -> u64 {
    let weights: Vec<u8> = backends.iter().flat_map(|(_, weight)| weight.to_le_bytes()).collect();
    cohort::hash(&[&generation.to_le_bytes(), &weights])
}

fn weights(table: &Table) -> String {
    let rule = table.split.and_then(|split| table.rules.get(split));
    let weight = |(revision, weight): &(usize, u32)| format!("{}={weight}", table.revisions[*revision].name);
    rule.map(|rule| rule.backends.iter().map(weight).collect::<Vec<_>>().join(" ")).unwrap_or_default()
}
