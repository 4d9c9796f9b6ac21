//! All series, those of revisions that have left included, until they are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::series::{Key, Series};

/// How long the series of a revision are kept after it has left and its last request has ended: long enough for
/// everybody to have read their last values.
const KEPT: Duration = Duration::from_secs(600);

/// The series of all revisions. Requests never come here: they hold their series.
#[derive(Debug)]
pub(crate) struct Registry {
    threads: usize,
    series: Mutex<BTreeMap<Key, Entry>>,
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// Since when nobody needs it.
    idle: Option<Instant>,
}

impl Registry {
    pub(crate) fn new(threads: usize) -> Registry {
        Registry { threads, series: Mutex::default() }
    }

    /// The series of `key`, made at zero if there are none.
    pub(crate) fn get(&self, key: Key, edges: &[f64]) -> Arc<Series> {
        let mut all = self.lock();
        let new = || Entry { series: Series::new(key.clone(), self.threads, edges), idle: None };
        let entry = all.entry(key.clone()).or_insert_with(new);
        entry.series.set_edges(edges);
        entry.idle = None;
        Arc::clone(&entry.series)
    }

    /// Forgets what has been out of use for long enough.
    pub(crate) fn forget(&self, used: &BTreeSet<Key>, now: Instant) {
        self.lock().retain(|key, entry| {
            if used.contains(key) || entry.series.in_flight() > 0 {
                entry.idle = None;
                return true;
            }
            now.duration_since(*entry.idle.get_or_insert(now)) < KEPT
        });
    }

    /// All series, in the order of their keys.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        self.lock().values().map(|entry| Arc::clone(&entry.series)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use penstock_proxy_api::Culprit;

    use super::*;
    use crate::series::{End, edges};

    #[test]
    fn series_are_forgotten_long_after_the_last_request() {
        let (registry, start) = (Registry::new(1), Instant::now());
        let key = Key { revision: "v1".into(), ..Key::default() };
        let series = registry.get(key.clone(), &edges(&[]));
        series.begin(0);
        registry.forget(&BTreeSet::new(), start);
        registry.forget(&BTreeSet::new(), start + KEPT * 2);
        assert_eq!(registry.all().len(), 1, "a request is in flight");
        let end = End { status: Some(StatusCode::OK), culprit: Culprit::None, latency: Duration::ZERO };
        series.end(0, end);
        registry.forget(&BTreeSet::new(), start + KEPT * 2);
        registry.forget(&BTreeSet::from([key]), start + KEPT * 4);
        registry.forget(&BTreeSet::new(), start + KEPT * 4);
        assert_eq!(registry.all().len(), 1, "it was in use until a moment ago");
        registry.forget(&BTreeSet::new(), start + KEPT * 5);
        assert!(registry.all().is_empty());
    }
}
