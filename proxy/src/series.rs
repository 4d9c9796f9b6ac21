//! What is counted for one revision: sharded by thread, so that requests never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use penstock_proxy_api::Culprit;
use penstock_proxy_api::metric::LATENCY_EDGES;

/// Most limits of a Rollout that get an edge of their own.
pub(crate) const MAX_LIMITS: usize = 16;
const MAX_BUCKETS: usize = LATENCY_EDGES.len() + MAX_LIMITS + 1;

/// Values of the label `code`, in the order of [`Class`].
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const NO_HEAD: usize = CLASSES.len() - 1;
const CULPRITS: usize = Culprit::ALL.len();

/// Whose series: a revision of a Rollout. The revision is empty for requests that got none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) rollout: String,
    pub(crate) revision: String,
}

/// All that is counted for one revision.
#[derive(Debug)]
pub(crate) struct Series {
    key: Key,
    shards: Box<[Shard]>,
    latency: ArcSwap<Latency>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    requests: [[AtomicU64; CULPRITS]; CLASSES.len()],
    begun: AtomicU64,
    ended: AtomicU64,
    fell_over: AtomicU64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) status: Option<StatusCode>,
    pub(crate) culprit: Culprit,
    pub(crate) latency: Duration,
}

impl Series {
    pub(crate) fn new(key: Key, threads: usize, edges: &[f64]) -> Arc<Series> {
        let shards = (0..threads).map(|_| Shard::default()).collect();
        let latency = ArcSwap::from_pointee(Latency::new(threads, edges));
        Arc::new(Series { key, shards, latency })
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Counts a request as in flight.
    pub(crate) fn begin(&self, thread: usize) {
        self.shards[thread].begun.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a request as ended.
    pub(crate) fn end(&self, thread: usize, end: End) {
        self.count(thread, end);
        self.leave(thread);
    }

    /// A request is in flight no more; what became of it is counted apart.
    pub(crate) fn leave(&self, thread: usize) {
        self.shards[thread].ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts what became of a request.
    pub(crate) fn count(&self, thread: usize, end: End) {
        let shard = &self.shards[thread];
        let class = end.status.map_or(NO_HEAD, |status| usize::from(status.as_u16() / 100).clamp(1, 5) - 1);
        add(&shard.requests[class][end.culprit as usize]);
        if end.culprit != Culprit::Client {
            self.latency.load().observe(thread, end.latency);
        }
    }

    /// Counts a request that would have been this revision's and went to another one.
    pub(crate) fn fell_over(&self, thread: usize) {
        add(&self.shards[thread].fell_over);
    }

    /// New edges begin a new histogram at zero: what fell between old edges can't be told apart any more.
    pub(crate) fn set_edges(&self, edges: &[f64]) {
        if *self.latency.load().edges != *edges {
            self.latency.store(Arc::new(Latency::new(self.shards.len(), edges)));
        }
    }

    /// Requests in flight; those without a revision never are. Ends are read before beginnings: what this misses has begun since.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended: u64 = self.shards.iter().map(|s| s.ended.load(Ordering::SeqCst)).sum();
        let begun: u64 = self.shards.iter().map(|s| s.begun.load(Ordering::SeqCst)).sum();
        begun.saturating_sub(ended)
    }

    /// Requests that ended: by class, then by culprit.
    pub(crate) fn requests(&self, class: usize, culprit: Culprit) -> u64 {
        self.shards.iter().map(|s| s.requests[class][culprit as usize].load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn fallovers(&self) -> u64 {
        self.shards.iter().map(|s| s.fell_over.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn latency(&self) -> Arc<Latency> {
        self.latency.load_full()
    }
}

/// A histogram with fixed edges.
#[derive(Debug)]
pub(crate) struct Latency {
    edges: Box<[f64]>,
    nanoseconds: Box<[u64]>,
    shards: Box<[LatencyShard]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct LatencyShard {
    buckets: [AtomicU64; MAX_BUCKETS],
    sum: AtomicU64,
}

impl Latency {
    fn new(threads: usize, edges: &[f64]) -> Latency {
        let edges = &edges[..edges.len().min(MAX_BUCKETS - 1)];
        let nanoseconds = edges.iter().map(|e| (e * 1e9).round() as u64).collect();
        let shards = (0..threads).map(|_| LatencyShard::default()).collect();
        Latency { edges: edges.into(), nanoseconds, shards }
    }

    fn observe(&self, thread: usize, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.nanoseconds.partition_point(|edge| *edge < nanoseconds);
        let shard = &self.shards[thread];
        add(&shard.buckets[bucket]);
        shard.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Upper edges in seconds, without the last one, which is infinite.
    pub(crate) fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// How many were at most as slow as each edge; the last one counts all.
    pub(crate) fn cumulative(&self) -> Vec<u64> {
        let count = |i: usize| self.shards.iter().map(|s| s.buckets[i].load(Ordering::Relaxed)).sum::<u64>();
        (0..=self.edges.len())
            .scan(0, |below, i| {
                *below += count(i);
                Some(*below)
            })
            .collect()
    }

    /// Sum in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.shards.iter().map(|s| s.sum.load(Ordering::Relaxed) as f64).sum::<f64>() / 1e9
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The edges of a Rollout: the fixed ones and its `limits`, in ascending order.
pub(crate) fn edges(limits: &[f64]) -> Vec<f64> {
    let mut edges: Vec<f64> = LATENCY_EDGES.iter().chain(limits.iter().take(MAX_LIMITS)).copied().collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: u16, culprit: Culprit, millis: u64) -> End {
        let status = StatusCode::from_u16(status).ok();
        End { status, culprit, latency: Duration::from_millis(millis) }
    }

    #[test]
    fn requests_are_summed_over_threads() {
        let series = Series::new(Key::default(), 2, &edges(&[0.3]));
        series.begin(0);
        series.begin(1);
        assert_eq!(series.in_flight(), 2);
        series.end(0, end(200, Culprit::None, 300));
        series.end(1, end(0, Culprit::Client, 9));
        assert_eq!(series.in_flight(), 0);
        assert_eq!(series.requests(1, Culprit::None), 1);
        assert_eq!(series.requests(NO_HEAD, Culprit::Client), 1);
        let latency = series.latency();
        let at = latency.edges().iter().position(|e| *e == 0.3).unwrap();
        assert_eq!(latency.cumulative()[at - 1..=at], [0, 1], "the limit itself is within the limit");
        assert_eq!(latency.cumulative().last(), Some(&1), "a client that hangs up has no latency");
    }

    #[test]
    fn edges_are_ascending_bounded_and_contain_the_limits() {
        let limits: Vec<f64> = (1..100).map(|i| f64::from(i) / 7.0).collect();
        let edges = edges(&limits);
        assert!(edges.is_sorted() && edges.len() < MAX_BUCKETS);
        assert!(edges.contains(&limits[0]) && edges.contains(&30.0));
    }
}
