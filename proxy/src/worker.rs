//! What belongs to one thread of the data plane, and what all threads share.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::cohort;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::epoch::Epochs;
use crate::pool::Pool;

/// Bounds and times of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Where Rollouts are served.
    pub(crate) address: IpAddr,
    /// Threads of the data plane.
    pub(crate) threads: usize,
    /// How long a response's head may take, where the route doesn't say.
    pub(crate) request_timeout: Duration,
    /// Most requests in flight for one Rollout.
    pub(crate) in_flight: u64,
    /// Most connections of clients.
    pub(crate) connections: usize,
}

/// What the threads of the data plane share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) epochs: Epochs,
    /// Cancelled when the proxy begins to drain.
    pub(crate) drain: CancellationToken,
    pub(crate) connections: Arc<Semaphore>,
    started: Instant,
    aborting: AtomicBool,
}

/// One thread of the data plane.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) thread: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    /// Listeners, connections and relays.
    pub(crate) tasks: TaskTracker,
    random: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Arc<Shared> {
        let epochs = Epochs::new(limits.threads);
        let connections = Arc::new(Semaphore::new(limits.connections));
        let (drain, started) = (CancellationToken::new(), Instant::now());
        Arc::new(Shared { limits, epochs, drain, connections, started, aborting: AtomicBool::new(false) })
    }

    /// From here on, requests that end without a word are cut off by the proxy.
    pub(crate) fn abort(&self) {
        self.aborting.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::SeqCst)
    }

    /// Connections of clients that are open.
    pub(crate) fn open_connections(&self) -> usize {
        self.limits.connections.saturating_sub(self.connections.available_permits())
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Worker {
    pub(crate) fn new(thread: usize, shared: Arc<Shared>) -> Worker {
        let seed = cohort::hash(&[&std::process::id().to_le_bytes(), &thread.to_le_bytes()]);
        Worker {
            thread,
            shared,
            pool: Pool::default(),
            tasks: TaskTracker::new(),
            random: Cell::new(seed | 1),
        }
    }

    /// A random number, good enough to pick endpoints (xorshift64*).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
