//! An open loop: requests are due at a steady rate whatever becomes of those before. A request that finds all
//! connections busy waits, and its latency counts from when it was due, so that a stall is seen by every request that
//! it delays (no coordinated omission).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Connection, Failure};

/// Longest latency that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;
/// How long answers that are due at the end are waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) connections: usize,
    /// Requests in a second.
    pub(crate) rate: u32,
    pub(crate) time: Duration,
    /// The first requests are not counted: connections are opened, caches filled.
    pub(crate) warm_up: Duration,
}

/// Latencies in microseconds, from when a request was due to the last byte of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Latencies> {
        Ok(Latencies(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    /// In microseconds.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        self.0.value_at_quantile(q) as f64
    }

    /// Of all, in microseconds.
    pub(crate) fn longest(&self) -> f64 {
        self.0.max() as f64
    }

    /// Requests slower than this many microseconds.
    pub(crate) fn slower_than(&self, limit: u64) -> u64 {
        self.0.len() - self.0.count_between(0, limit)
    }

    /// All requests.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

#[derive(Debug)]
struct Shared {
    queue: RefCell<VecDeque<Instant>>,
    idle: RefCell<VecDeque<Rc<Notify>>>,
    latencies: RefCell<Histogram<u64>>,
    failures: RefCell<BTreeMap<Failure, u64>>,
    counted_from: Instant,
}

/// Sends them. A failed request is an error. Runs on the local set of the caller.
pub(crate) async fn run(plan: Plan, request: Vec<u8>) -> Result<Latencies> {
    let begin = Instant::now();
    let shared = Rc::new(Shared {
        queue: RefCell::default(),
        idle: RefCell::default(),
        latencies: RefCell::new(Latencies::new()?.0),
        failures: RefCell::default(),
        counted_from: begin + plan.warm_up,
    });
    let request: Rc<[u8]> = request.into();
    let mut connections = JoinSet::new();
    for _ in 0..plan.connections {
        let connection = Connection::open(plan.to).await.map_err(|why| anyhow::anyhow!(why.words()))?;
        connections.spawn_local(work(connection, Rc::clone(&request), Rc::clone(&shared)));
    }
    offer(plan, &shared).await?;
    settle(&shared, plan.connections).await?;
    drop(connections);
    let failures = shared.failures.take();
    if let Some((why, n)) = failures.iter().next() {
        bail!("{n} requests have failed: {}", why.words());
    }
    let latencies = Latencies(shared.latencies.replace(Latencies::new()?.0));
    let due = u64::from(plan.rate) * plan.time.as_millis() as u64 / 1000;
    if latencies.count() < due * 99 / 100 {
        bail!("only {} of {due} requests were counted", latencies.count());
    }
    Ok(latencies)
}

/// Makes requests due, one after the other.
async fn offer(plan: Plan, shared: &Shared) -> Result<()> {
    let pause = Duration::from_secs(1) / plan.rate.max(1);
    #[allow(deprecated, reason = "the other way is unsafe code; an OwnedFd keeps its descriptor")]
    let timer = AsyncFd::new(timer(pause)?)?;
    let (begin, all) = (Instant::now(), plan.warm_up + plan.time);
    let mut made: u32 = 0;
    let total = (all.as_secs_f64() * f64::from(plan.rate)) as u32;
    while made < total {
        let due = begin + pause * made;
        if due > Instant::now() {
            let mut ready = timer.readable().await?;
            rustix::io::read(&timer, &mut [0u8; 8]).ok();
            ready.clear_ready();
            continue;
        }
        made += 1;
        shared.queue.borrow_mut().push_back(due);
        let idle = shared.idle.borrow_mut().pop_front();
        if let Some(idle) = idle {
            idle.notify_one();
        }
    }
    Ok(())
}

/// Fires each `pause`, exact to microseconds.
fn timer(pause: Duration) -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let pause = Timespec::try_from(pause).ok().context("odd rate")?;
    let times = Itimerspec { it_interval: pause, it_value: pause };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}

/// Waits until nothing is due and all connections rest.
async fn settle(shared: &Shared, connections: usize) -> Result<()> {
    let rest = async {
        let busy = || {
            let failed: u64 = shared.failures.borrow().values().sum();
            failed == 0 && (!shared.queue.borrow().is_empty() || shared.idle.borrow().len() < connections)
        };
        while busy() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, rest).await.context("requests without end")
}

async fn work(mut connection: Connection, request: Rc<[u8]>, shared: Rc<Shared>) {
    let wake = Rc::new(Notify::new());
    loop {
        let due = shared.queue.borrow_mut().pop_front();
        let Some(due) = due else {
            shared.idle.borrow_mut().push_back(Rc::clone(&wake));
            wake.notified().await;
            continue;
        };
        match connection.send(&request).await {
            Ok(answer) if due >= shared.counted_from => {
                let took = due.elapsed().as_micros() as u64;
                shared.latencies.borrow_mut().saturating_record(took.max(1));
                if answer.closes {
                    *shared.failures.borrow_mut().entry(Failure::NoAnswer).or_default() += 1;
                    return;
                }
            }
            Ok(_) => {}
            Err(failure) => {
                *shared.failures.borrow_mut().entry(failure).or_default() += 1;
                return;
            }
        }
    }
}
