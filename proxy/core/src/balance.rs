//! Which endpoint of a revision: the less loaded of two, past those that refused lately.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A moment: milliseconds since the proxy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// For how long an endpoint that refused a connection is passed over, in milliseconds.
pub const SKIP: u64 = 1000;

/// One address of a revision. It outlives tables: load and refusals are remembered across reloads.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    outstanding: AtomicU32,
    skip_until: AtomicU64,
}

/// A request's place at an endpoint; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Endpoint>);

impl Endpoint {
    /// An endpoint that nothing is known of.
    pub fn new(address: SocketAddr) -> Arc<Endpoint> {
        Arc::new(Endpoint { address, outstanding: AtomicU32::new(0), skip_until: AtomicU64::new(0) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it has not answered yet.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Remembers that it refused a connection.
    pub fn refused(&self, now: Tick) {
        self.skip_until.store(now.0 + SKIP, Ordering::Relaxed);
    }

    /// Remembers that it accepted a connection.
    pub fn accepted(&self) {
        if self.skip_until.load(Ordering::Relaxed) != 0 {
            self.skip_until.store(0, Ordering::Relaxed);
        }
    }

    fn is_skipped(&self, now: Tick) -> bool {
        self.skip_until.load(Ordering::Relaxed) > now.0
    }
}

impl Place {
    /// Whose place it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a place at the less loaded of two endpoints picked by `random`. Endpoints that refused lately are taken
/// only when all others have been `tried`; `None` when all have been.
pub fn choose(endpoints: &[Arc<Endpoint>], random: u64, now: Tick, tried: &[SocketAddr]) -> Option<Place> {
    let fresh = |e: &&Arc<Endpoint>| !tried.contains(&e.address);
    let usable = |e: &&Arc<Endpoint>| fresh(e) && !e.is_skipped(now);
    let (a, b) = two(endpoints, random)?;
    let pair = [a, b].into_iter().filter(usable).min_by_key(|e| e.outstanding());
    let chosen = pair
        .or_else(|| endpoints.iter().filter(usable).min_by_key(|e| e.outstanding()))
        .or_else(|| endpoints.iter().filter(fresh).min_by_key(|e| e.outstanding()))?;
    chosen.outstanding.fetch_add(1, Ordering::Relaxed);
    Some(Place(Arc::clone(chosen)))
}

/// Two endpoints, different ones if there are as many.
fn two(endpoints: &[Arc<Endpoint>], random: u64) -> Option<(&Arc<Endpoint>, &Arc<Endpoint>)> {
    let count = endpoints.len() as u64;
    if count < 2 {
        return endpoints.first().map(|only| (only, only));
    }
    let a = (random & 0xffff_ffff) % count;
    let b = (a + 1 + (random >> 32) % (count - 1)) % count;
    Some((endpoints.get(a as usize)?, endpoints.get(b as usize)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count).map(|i| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 8000 + i)))).collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let endpoints = endpoints(2);
        let _busy = choose(&endpoints[..1], 0, Tick(0), &[]).unwrap();
        for random in [0, 1, 1 << 32, u64::MAX] {
            let place = choose(&endpoints, random, Tick(0), &[]).unwrap();
            assert_eq!(place.endpoint().address(), endpoints[1].address());
        }
    }

    #[test]
    fn an_endpoint_that_refused_is_passed_over_for_a_second() {
        let endpoints = endpoints(2);
        endpoints[0].refused(Tick(500));
        for random in 0..50 {
            let place = choose(&endpoints, random, Tick(1499), &[]).unwrap();
            assert_eq!(place.endpoint().address(), endpoints[1].address());
        }
        let later = |random| choose(&endpoints, random, Tick(1500), &[]).unwrap().endpoint().address();
        assert!((0..50).any(|random| later(random) == endpoints[0].address()));
    }

    #[test]
    fn when_all_refused_one_is_tried_all_the_same() {
        let endpoints = endpoints(3);
        endpoints.iter().for_each(|e| e.refused(Tick(0)));
        assert!(choose(&endpoints, 7, Tick(1), &[]).is_some());
    }

    #[test]
    fn a_place_is_given_back() {
        let endpoints = endpoints(1);
        let place = choose(&endpoints, 0, Tick(0), &[]).unwrap();
        assert_eq!(endpoints[0].outstanding(), 1);
        drop(place);
        assert_eq!(endpoints[0].outstanding(), 0);
    }

    proptest! {
        #[test]
        fn every_endpoint_is_tried_once_and_then_none(count in 0..20u16, randoms in any::<[u64; 20]>()) {
            let endpoints = endpoints(count);
            let mut tried = Vec::new();
            for random in &randoms[..usize::from(count)] {
                let place = choose(&endpoints, *random, Tick(0), &tried).unwrap();
                prop_assert!(!tried.contains(&place.endpoint().address()));
                tried.push(place.endpoint().address());
            }
            prop_assert!(choose(&endpoints, 1, Tick(0), &tried).is_none());
        }
    }
}
