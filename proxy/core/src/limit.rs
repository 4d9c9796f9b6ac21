//! How many requests one Rollout may have in flight, how many connections a proxy may have, and how long a body may be.

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

/// Files that are open whatever happens: those of the runtime, listeners, watches.
const OWN_FILES: u64 = 64;
/// Most connections that are being told that there is no place for them.
const MAX_TURNED_AWAY: u64 = 256;

/// Places for connections of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Of those that are served.
    pub served: usize,
    /// Of those that are told that there is none.
    pub turned_away: usize,
}

impl Places {
    /// At most `wanted` connections, and fewer where only so many files may be open: each takes one, and a quarter is left
    /// to connections to endpoints, without which a request is refused. One is served however few there are.
    pub fn within(wanted: usize, files: Option<u64>) -> Places {
        let Some(files) = files else {
            return Places { served: wanted.max(1), turned_away: at_most(MAX_TURNED_AWAY) };
        };
        let turned_away = (files / 16).clamp(1, MAX_TURNED_AWAY);
        let rest = files.saturating_sub(OWN_FILES + turned_away);
        Places { served: wanted.min(at_most(rest - rest / 4)).max(1), turned_away: at_most(turned_away) }
    }
}

fn at_most(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// How long the body of a request may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyLimit(Option<u64>);

impl BodyLimit {
    /// At most so many bytes; `None`: as long as it likes.
    pub fn new(bytes: Option<u64>) -> BodyLimit {
        BodyLimit(bytes)
    }

    /// Whether a body of this length may pass, or so much of a longer one.
    pub fn allows(self, length: u64) -> bool {
        self.0.is_none_or(|most| length <= most)
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

    #[test]
    fn places_are_as_many_as_files_allow() {
        assert_eq!(Places::within(100, None), Places { served: 100, turned_away: 256 });
        assert_eq!(Places::within(100_000, Some(1_000_000)).served, 100_000);
        assert_eq!(Places::within(100_000, Some(1024)), Places { served: 672, turned_away: 64 });
        assert_eq!(Places::within(100, Some(10)), Places { served: 1, turned_away: 1 });
        assert_eq!(Places::within(0, None).served, 1);
    }

    #[test]
    fn a_body_up_to_its_limit_passes() {
        assert!(BodyLimit::default().allows(u64::MAX));
        let limit = BodyLimit::new(Some(5));
        assert!(limit.allows(5) && !limit.allows(6) && !BodyLimit::new(Some(0)).allows(1));
    }
}
