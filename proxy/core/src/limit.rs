//! How many requests one Rollout may have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound on the requests in flight.
#[derive(Debug)]
pub struct Limit {
    in_flight: AtomicU64,
    max: u64,
}

/// The right to one request; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Limit>);

impl Limit {
    /// At most `max` requests at a time.
    pub fn new(max: u64) -> Arc<Limit> {
        Arc::new(Limit { in_flight: AtomicU64::new(0), max })
    }

    /// Takes a permit; `None` when the bound is reached. Never waits.
    pub fn acquire(self: &Arc<Limit>) -> Option<Permit> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::clone(self));
        (before < self.max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_permits_come_back() {
        let limit = Limit::new(2);
        let first = limit.acquire().unwrap();
        let _second = limit.acquire().unwrap();
        assert!(limit.acquire().is_none());
        assert!(limit.acquire().is_none());
        drop(first);
        assert!(limit.acquire().is_some());
    }
}
