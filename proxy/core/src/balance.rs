//! Which endpoint of a revision: the less loaded of two, past those that could not be reached lately.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A moment: milliseconds since the proxy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// For how long an endpoint is passed over the first time that it can't be reached, in milliseconds. Each further
/// time it is twice as long, up to [`MAX_SKIP`].
pub const SKIP: u64 = 1000;
/// The longest time for which an endpoint is passed over, in milliseconds.
pub const MAX_SKIP: u64 = 10_000;

/// So many endpoints one after the other are near each other.
const NEAR: usize = 64;
/// After so many first attempts, the first of those that are near is left behind for the one after the last.
const STAY: u64 = 16;
/// A first attempt looks for its endpoint from one of so many on.
const BEGIN: u64 = 8;

/// One address of a revision. It outlives tables: load and failures are remembered across reloads.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    outstanding: AtomicU32,
    /// Failed attempts since the last good one. Those that were under way at the same time count as one.
    failures: AtomicU32,
    failed_at: AtomicU64,
    skip_until: AtomicU64,
}

/// A request's place at an endpoint; given back when dropped.
#[derive(Debug)]
pub struct Place {
    endpoint: Arc<Endpoint>,
    trial: bool,
}

impl Endpoint {
    /// An endpoint that nothing is known of.
    pub fn new(address: SocketAddr) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            address,
            outstanding: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            failed_at: AtomicU64::new(0),
            skip_until: AtomicU64::new(0),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that it has not answered yet.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Remembers that it could not be reached by an attempt that began at `begun`.
    pub fn failed(&self, begun: Tick, now: Tick) {
        let before = self.failures.load(Ordering::Relaxed);
        let again = before > 0 && begun.0 <= self.failed_at.load(Ordering::Relaxed);
        let failures = if again { before } else { before.saturating_add(1) };
        self.failures.store(failures, Ordering::Relaxed);
        self.failed_at.store(now.0, Ordering::Relaxed);
        let skip = SKIP.saturating_mul(1 << (failures - 1).min(16)).min(MAX_SKIP);
        self.skip_until.store(now.0 + skip, Ordering::Relaxed);
    }

    /// Remembers that it answered.
    pub fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.skip_until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it has nothing under way, and answered when it was last asked.
    fn has_nothing_to_do(&self) -> bool {
        self.outstanding() == 0 && self.failures.load(Ordering::Relaxed) == 0
    }

    fn is_skipped(&self, now: Tick) -> bool {
        self.skip_until.load(Ordering::Relaxed) > now.0
    }

    /// Takes a place. An endpoint that failed gets one request to show that it is back; others pass it over meanwhile.
    fn place(self: &Arc<Endpoint>, now: Tick) -> Place {
        let trial = self.failures.load(Ordering::Relaxed) != 0;
        if trial {
            self.skip_until.store(now.0 + SKIP, Ordering::Relaxed);
        }
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Place { endpoint: Arc::clone(self), trial }
    }
}

impl Place {
    /// Whose place it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether the endpoint has failed, and is tried again: what was known of it before may not hold.
    pub fn is_trial(&self) -> bool {
        self.trial
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.endpoint.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a place for a first attempt, the one with this number (`turn`) of the thread.
///
/// A connection that was used a moment ago costs less than one that has been idle: what the kernel knows of it is still
/// in the processor's cache. So of many endpoints one is preferred that is near those taken last, if it has nothing to
/// do, and those that are near move on with each turn, so that all get their share.
pub fn choose_first(endpoints: &[Arc<Endpoint>], turn: u64, random: u64, now: Tick) -> Option<Place> {
    let near = near(endpoints, turn, random).find(|e| e.has_nothing_to_do());
    near.map(|e| e.place(now)).or_else(|| choose(endpoints, random, now, &[]))
}

/// Some of those that are near; none where there are not many.
fn near(endpoints: &[Arc<Endpoint>], turn: u64, random: u64) -> impl Iterator<Item = &Arc<Endpoint>> {
    let count = endpoints.len() as u64;
    let looked_at = if endpoints.len() > 2 * NEAR { NEAR as u64 } else { 0 };
    let place = move |n: u64| (turn / STAY + random % BEGIN + n) % count;
    (0..looked_at).filter_map(move |n| endpoints.get(place(n) as usize))
}

/// Takes a place at the less loaded of two endpoints picked by `random`. Endpoints that failed lately are taken
/// only when all others have been `tried`; `None` when all have been.
pub fn choose(endpoints: &[Arc<Endpoint>], random: u64, now: Tick, tried: &[SocketAddr]) -> Option<Place> {
    let fresh = |e: &&Arc<Endpoint>| !tried.contains(&e.address);
    let usable = |e: &&Arc<Endpoint>| fresh(e) && !e.is_skipped(now);
    let (a, b) = two(endpoints, random)?;
    let pair = [a, b].into_iter().filter(usable).min_by_key(|e| e.outstanding());
    let chosen = pair
        .or_else(|| endpoints.iter().filter(usable).min_by_key(|e| e.outstanding()))
        .or_else(|| endpoints.iter().filter(fresh).min_by_key(|e| e.outstanding()))?;
    Some(chosen.place(now))
}

/// Whether there is an endpoint beside `address` that could be tried as well: neither `tried` nor passed over.
pub fn has_other(endpoints: &[Arc<Endpoint>], now: Tick, tried: &[SocketAddr], address: SocketAddr) -> bool {
    let other =
        |e: &&Arc<Endpoint>| e.address != address && !tried.contains(&e.address) && !e.is_skipped(now);
    endpoints.iter().any(|e| other(&e))
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
    use std::collections::{BTreeMap, VecDeque};

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
    fn an_endpoint_that_failed_is_passed_over_for_a_second() {
        let endpoints = endpoints(2);
        endpoints[0].failed(Tick(400), Tick(500));
        for random in 0..50 {
            let place = choose(&endpoints, random, Tick(1499), &[]).unwrap();
            assert_eq!(place.endpoint().address(), endpoints[1].address());
        }
        let later = |random| choose(&endpoints, random, Tick(1500), &[]).unwrap().endpoint().address();
        assert!((0..50).any(|random| later(random) == endpoints[0].address()));
    }

    #[test]
    fn the_longer_an_endpoint_fails_the_longer_it_is_passed_over() {
        let endpoint = &endpoints(1)[0];
        let mut now = Tick(0);
        let mut skips = Vec::new();
        for _ in 0..8 {
            endpoint.failed(now, Tick(now.0 + 500));
            now = Tick(now.0 + 500);
            let begun = now.0;
            while endpoint.is_skipped(now) {
                now.0 += 500;
            }
            skips.push(now.0 - begun);
        }
        assert_eq!(skips, [1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]);
        endpoint.answered();
        endpoint.failed(now, now);
        assert!(endpoint.is_skipped(Tick(now.0 + 999)) && !endpoint.is_skipped(Tick(now.0 + 1000)));
    }

    #[test]
    fn attempts_that_fail_together_count_as_one() {
        let endpoint = &endpoints(1)[0];
        (0..50).for_each(|i| endpoint.failed(Tick(100 + i), Tick(600 + i)));
        assert!(endpoint.is_skipped(Tick(1648)) && !endpoint.is_skipped(Tick(1649)));
    }

    #[test]
    fn one_request_at_a_time_tries_whether_an_endpoint_is_back() {
        let endpoints = endpoints(2);
        let _busy: Vec<_> = (0..9).map(|_| endpoints[1].place(Tick(0))).collect();
        endpoints[0].failed(Tick(0), Tick(0));
        let trials = (0..50).map(|random| choose(&endpoints, random, Tick(1000), &[]).unwrap());
        let trials: Vec<_> =
            trials.filter(|place| place.endpoint().address() == endpoints[0].address()).collect();
        assert_eq!(trials.len(), 1);
        assert!(trials[0].is_trial());
        endpoints[0].answered();
        let place = choose(&endpoints, 0, Tick(1001), &[]).unwrap();
        assert_eq!((place.endpoint().address(), place.is_trial()), (endpoints[0].address(), false));
    }

    #[test]
    fn others_are_those_neither_tried_nor_passed_over() {
        let endpoints = endpoints(3);
        let [a, b, c] = [0, 1, 2].map(|i| endpoints[i].address());
        assert!(has_other(&endpoints, Tick(0), &[b], a));
        assert!(!has_other(&endpoints, Tick(0), &[b, c], a));
        endpoints[2].failed(Tick(0), Tick(0));
        assert!(!has_other(&endpoints, Tick(1), &[b], a));
        assert!(has_other(&endpoints, Tick(1000), &[b], a));
    }

    #[test]
    fn when_all_failed_one_is_tried_all_the_same() {
        let endpoints = endpoints(3);
        endpoints.iter().for_each(|e| e.failed(Tick(0), Tick(0)));
        assert!(choose(&endpoints, 7, Tick(1), &[]).is_some());
    }

    #[test]
    fn all_of_many_endpoints_get_their_share() {
        let endpoints = endpoints(1000);
        let mut random = 1_u64;
        let mut taken = BTreeMap::new();
        let shares = 8;
        let mut under_way = VecDeque::new();
        // From any turn on, the highest one included.
        for turn in (0..shares * 1000 * STAY).map(|turn| turn.wrapping_add(u64::MAX - 10_000)) {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let place = choose_first(&endpoints, turn, random >> 16, Tick(0)).unwrap();
            *taken.entry(place.endpoint().address()).or_insert(0_u64) += 1;
            under_way.push_back(place);
            if under_way.len() > 32 {
                under_way.pop_front();
            }
        }
        let (least, most) = (taken.values().min().unwrap(), taken.values().max().unwrap());
        assert_eq!(taken.len(), 1000);
        let average = shares * STAY;
        assert!(
            *least > average / 2 && *most < average * 2,
            "between {least} and {most}, {average} on average"
        );
    }

    #[test]
    fn few_endpoints_take_turns_of_many_requests_and_never_two_at_once() {
        let endpoints = endpoints(1000);
        let busy: Vec<_> =
            (0..40).map(|n| choose_first(&endpoints, n, n.wrapping_mul(77), Tick(0)).unwrap()).collect();
        let mut addresses: Vec<_> = busy.iter().map(|place| place.endpoint().address()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 40, "one that is at work is not near");
        let last = endpoints[NEAR + 5].address();
        assert!(busy.iter().filter(|place| place.endpoint().address() > last).count() < 4);
    }

    #[test]
    fn an_endpoint_that_failed_is_not_preferred_for_being_near() {
        let endpoints = endpoints(1000);
        endpoints[..NEAR].iter().for_each(|e| e.failed(Tick(0), Tick(0)));
        let place = choose_first(&endpoints, 0, 3, Tick(1)).unwrap();
        assert!(!endpoints[..NEAR].iter().any(|e| Arc::ptr_eq(e, place.endpoint())));
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
