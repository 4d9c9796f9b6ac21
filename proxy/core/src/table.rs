//! What a proxy does for one Rollout: rules, revisions and their endpoints. Immutable; a request uses one table
//! from beginning to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::Endpoint;
use crate::cohort::{self, Sticky};
use crate::head::Head;
use crate::route::Routes;
use crate::split::{Split, Turn};

/// One immutable table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Number of the split; 0 for a route without one.
    pub generation: u64,
    /// What rules send to.
    pub revisions: Vec<Revision>,
    /// What requests fall under.
    pub rules: Vec<Rule>,
    /// Which request falls under which rule.
    pub routes: Routes,
    /// The rule whose weights are the Rollout's split.
    pub split: Option<usize>,
    /// The revision that marked requests go to.
    pub marked: Option<String>,
}

/// A revision as one rule or several see it.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How many of the endpoints are ready; the others are served only for want of a ready one.
    pub ready: u32,
    /// Where it can't be reached, but is to be again: endpoints that are neither ready nor on their way out.
    pub down: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 for gRPC.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge.
    H2c,
}

/// A rule: what becomes of the requests that fall under it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// How long a response's head may take; `None`: the proxy's own limit. Zero: for ever.
    pub timeout: Option<Duration>,
    /// Index of each revision, and its weight.
    pub backends: Vec<(usize, u32)>,
    /// Where the key of sticky users is found.
    pub sticky: Option<Sticky>,
    split: Option<Split>,
    /// The same among those that can be reached, when not all can be.
    fallback: Option<Split>,
}

/// The revision chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its index in the table.
    pub revision: usize,
    /// The revision without endpoints that it stands in for, if it does.
    pub instead_of: Option<usize>,
}

/// Where a rule stands in its sequences. The counters survive changes of the table.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Of the split.
    pub split: Arc<Turn>,
    /// Of the split among those that can be reached.
    pub fallback: Arc<Turn>,
    /// Where in the sequence this split begins.
    pub phase: u64,
}

impl Table {
    /// The rule that a request falls under.
    pub fn route(&self, head: &impl Head) -> Option<&Rule> {
        self.rules.get(self.routes.rule(head)?)
    }
}

impl Revision {
    /// Whether an endpoint is gone, or on its way out. That it takes nothing any more says nothing about the revision;
    /// of one that has crashed it does.
    pub fn has_let_go(&self, address: SocketAddr) -> bool {
        let is_ready = self.ready > 0 && self.endpoints.iter().any(|e| e.address() == address);
        !is_ready && !self.down.contains(&address)
    }
}

impl Rule {
    /// A rule over `backends`, pairs of a revision's index and its weight.
    pub fn new(backends: Vec<(usize, u32)>, revisions: &[Revision], turns: Turns) -> Rule {
        let weights: Vec<u32> = backends.iter().map(|(_, weight)| *weight).collect();
        let reachable = reachable(&backends, revisions);
        let fallback =
            (reachable != weights).then(|| Split::new(&reachable, turns.fallback, turns.phase)).flatten();
        Rule {
            timeout: None,
            split: Split::new(&weights, turns.split, turns.phase),
            fallback,
            backends,
            sticky: None,
        }
    }

    /// The revision of a request: by its key if it is sticky and has one, else by turns. A revision without
    /// endpoints is replaced by another one with weight, if there is one with endpoints.
    pub fn choose(&self, head: &impl Head, revisions: &[Revision]) -> Option<Choice> {
        let key = self.sticky.as_ref().and_then(|sticky| sticky.key(head));
        let first = match key {
            Some(key) => self.by_key(key, revisions, false)?,
            None => self.split.as_ref()?.next(),
        };
        let revision = self.backends.get(first)?.0;
        let Some(fallback) = self.fallback.as_ref().filter(|_| !is_reachable(revisions, revision)) else {
            return Some(Choice { revision, instead_of: None });
        };
        let second = key.and_then(|k| self.by_key(k, revisions, true)).unwrap_or_else(|| fallback.next());
        Some(Choice { revision: self.backends.get(second)?.0, instead_of: Some(revision) })
    }

    /// Where a request goes that no endpoint of `from` takes, which may be of an older table: the revision with most
    /// weight among the others that have endpoints and speak the same. `None`: there is none.
    pub fn refuge(&self, from: &Revision, revisions: &[Revision]) -> Option<usize> {
        let others = self.backends.iter().filter(|(other, weight)| {
            let speaks = |r: &Revision| r.name != from.name && r.protocol == from.protocol;
            *weight > 0 && revisions.get(*other).is_some_and(speaks) && is_reachable(revisions, *other)
        });
        others.max_by_key(|(_, weight)| *weight).map(|(other, _)| *other)
    }

    fn by_key(&self, key: &[u8], revisions: &[Revision], reachable: bool) -> Option<usize> {
        let candidates = self.backends.iter().map(|(revision, weight)| {
            let name = revisions.get(*revision).map_or("", |r| r.name.as_str());
            let counts = !reachable || is_reachable(revisions, *revision);
            (name, if counts { *weight } else { 0 })
        });
        cohort::of(key, candidates)
    }
}

fn is_reachable(revisions: &[Revision], revision: usize) -> bool {
    revisions.get(revision).is_some_and(|r| !r.endpoints.is_empty())
}

fn reachable(backends: &[(usize, u32)], revisions: &[Revision]) -> Vec<u32> {
    backends.iter().map(|(r, weight)| if is_reachable(revisions, *r) { *weight } else { 0 }).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn revision(name: &str, endpoints: u16) -> Revision {
        let address = |i| SocketAddr::from(([127, 0, 0, 1], 9000 + i));
        let endpoints: Vec<_> = (0..endpoints).map(|i| Endpoint::new(address(i))).collect();
        let ready = endpoints.len() as u32;
        Revision { name: name.into(), endpoints, ready, down: Vec::new(), protocol: Protocol::Http }
    }

    fn counts(rule: &Rule, revisions: &[Revision], requests: usize) -> (Vec<usize>, usize) {
        let mut got = vec![0; revisions.len()];
        let mut fell_over = 0;
        for _ in 0..requests {
            let choice = rule.choose(&http::Request::new(()), revisions).unwrap();
            got[choice.revision] += 1;
            fell_over += usize::from(choice.instead_of.is_some());
        }
        (got, fell_over)
    }

    #[test]
    fn a_revision_without_endpoints_gives_its_share_to_the_others_by_weight() {
        let revisions = [revision("v1", 1), revision("v2", 0), revision("v3", 1)];
        let rule = Rule::new(vec![(0, 60), (1, 20), (2, 20)], &revisions, Turns::default());
        assert_eq!(counts(&rule, &revisions, 1000), (vec![750, 0, 250], 200));
    }

    #[test]
    fn nothing_falls_over_to_a_revision_without_weight() {
        let revisions = [revision("v1", 0), revision("v2", 1)];
        let rule = Rule::new(vec![(0, 100), (1, 0)], &revisions, Turns::default());
        assert_eq!(counts(&rule, &revisions, 10), (vec![10, 0], 0));
    }

    #[test]
    fn a_refuge_has_endpoints_weight_and_the_same_protocol() {
        let mut revisions = [revision("v1", 1), revision("v2", 1), revision("v3", 1), revision("v4", 0)];
        let rule = Rule::new(vec![(0, 60), (1, 20), (2, 0), (3, 20)], &revisions, Turns::default());
        assert_eq!(rule.refuge(&revisions[1], &revisions), Some(0));
        assert_eq!(rule.refuge(&revisions[0], &revisions), Some(1));
        assert_eq!(rule.refuge(&revision("gone since", 1), &revisions), Some(0));
        revisions[1].protocol = Protocol::H2c;
        assert_eq!(rule.refuge(&revisions[0], &revisions), None);
    }

    #[test]
    fn a_new_table_goes_on_where_the_old_one_was() {
        let revisions = [revision("v1", 1), revision("v2", 1)];
        let turns = Turns::default();
        let mut got = 0;
        for _ in 0..500 {
            let rule = Rule::new(vec![(0, 90), (1, 10)], &revisions, turns.clone());
            got += counts(&rule, &revisions, 2).0[1];
        }
        assert_eq!(got, 100);
    }

    #[test]
    fn a_key_decides_for_those_who_have_one() {
        let revisions = [revision("v1", 1), revision("v2", 1)];
        let mut rule = Rule::new(vec![(0, 50), (1, 50)], &revisions, Turns::default());
        rule.sticky = Some(Sticky::Header(http::HeaderName::from_static("x-user")));
        let headers = http::Request::builder().header("x-user", "ada").body(()).unwrap();
        let first = rule.choose(&headers, &revisions);
        assert!((0..20).all(|_| rule.choose(&headers, &revisions) == first));
        assert_eq!(counts(&rule, &revisions, 100).0, vec![50, 50]);
    }

    #[test]
    fn no_weight_at_all_chooses_nothing() {
        let revisions = [revision("v1", 1)];
        let rule = Rule::new(vec![(0, 0)], &revisions, Turns::default());
        assert_eq!(rule.choose(&http::Request::new(()), &revisions), None);
    }
}
