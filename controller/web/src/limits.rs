//! How often, and who is refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most clients that are told apart; further ones share what is left for all.
const CLIENTS: usize = 1024;

/// So many a second, and so many at once, for each client.
#[derive(Debug)]
pub(crate) struct Rate<K> {
    each_second: f64,
    at_once: f64,
    left: Mutex<BTreeMap<Option<K>, (f64, Instant)>>,
}

impl<K: Ord + Clone> Rate<K> {
    pub(crate) fn new(each_second: f64, at_once: f64) -> Rate<K> {
        Rate { each_second, at_once, left: Mutex::default() }
    }

    /// Whether one more may come.
    pub(crate) fn take(&self, client: &K) -> bool {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: &K, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |(left, at): (f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * self.each_second).min(self.at_once)
        };
        if left.len() >= CLIENTS {
            left.retain(|_, known| filled(*known) < self.at_once);
        }
        let key = Some(client.clone());
        let key = if left.len() < CLIENTS || left.contains_key(&key) { key } else { None };
        let known = left.entry(key).or_insert((self.at_once, now));
        let has = filled(*known);
        *known = (if has >= 1.0 { has - 1.0 } else { has }, now);
        has >= 1.0
    }
}

/// What was refused, told once a second at most.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    counts: Mutex<(BTreeMap<&'static str, u64>, Option<Instant>)>,
}

impl Refused {
    /// One more of `what` was refused.
    pub(crate) fn tell(&self, what: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.0.entry(what).or_default() += 1;
        if counts.1.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
            let all: Vec<String> = counts.0.iter().map(|(what, n)| format!("{n} {what}")).collect();
            tracing::warn!("too much at once: the page has refused {}", all.join(", "));
            *counts = (BTreeMap::new(), Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_at_once_and_then_so_many_a_second() {
        let (rate, begun) = (Rate::new(10.0, 3.0), Instant::now());
        let took = |client: u32, millis| rate.take_at(&client, begun + Duration::from_millis(millis));
        assert_eq!([took(1, 0), took(1, 0), took(1, 0), took(1, 0)], [true, true, true, false]);
        assert!(took(2, 0), "another client has its own");
        assert_eq!([took(1, 99), took(1, 101), took(1, 102)], [false, true, false]);
    }

    #[test]
    fn more_clients_than_are_told_apart_share_one_rate() {
        let (rate, now) = (Rate::new(1.0, 2.0), Instant::now());
        let all: Vec<bool> = (0..5000).map(|client: u32| rate.take_at(&client, now)).collect();
        assert_eq!(all.iter().filter(|took| **took).count(), CLIENTS + 2);
        assert!(rate.left.lock().unwrap().len() <= CLIENTS + 1);
    }
}
