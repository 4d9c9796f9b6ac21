//! Traffic of which every request is remembered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::client::{self, Connections};

/// Traffic ends by itself after this time, unless it says otherwise.
const AT_MOST: Duration = Duration::from_secs(150);
/// Requests in flight at the same time.
const MAX_IN_FLIGHT: usize = 256;

/// One request that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When it was sent, in milliseconds since the Unix epoch.
    pub sent: u64,
    /// When its answer was read to the end.
    pub ended: u64,
    /// Which version answered, and with what status; or why there is no answer.
    pub answer: Result<(String, u16), String>,
}

impl Exchange {
    /// Whether it had no answer, or one of status 500 and above.
    pub fn failed(&self) -> bool {
        !matches!(&self.answer, Ok((_, status)) if *status < 500)
    }

    /// Which version answered; empty: none.
    pub fn version(&self) -> &str {
        self.answer.as_ref().map_or("", |(version, _)| version)
    }
}

/// All requests so far, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record(pub Vec<Exchange>);

impl Record {
    /// Requests that failed.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|exchange| exchange.failed()).count()
    }

    /// Answers of a version.
    pub fn of(&self, version: &str) -> usize {
        self.0.iter().filter(|exchange| exchange.version() == version).count()
    }

    /// Requests that were sent at or after this time and have ended before that one.
    pub fn between(&self, from: u64, to: u64) -> Record {
        let inside = |exchange: &&Exchange| exchange.sent >= from && exchange.ended < to;
        Record(self.0.iter().filter(inside).cloned().collect())
    }

    /// Requests that were under way at any of these moments.
    pub fn under_way_at(&self, moments: [u64; 2]) -> Record {
        let open =
            |exchange: &&Exchange| moments.iter().any(|at| exchange.sent < *at && exchange.ended >= *at);
        Record(self.0.iter().filter(open).cloned().collect())
    }

    /// From the end of a version's first bad answer to the sending of the last request that it got. `None`: it gave no
    /// bad answer.
    pub fn from_bad_to_quiet(&self, version: &str) -> Option<Duration> {
        let own = || self.0.iter().filter(|exchange| exchange.version() == version);
        let bad = own().filter(|exchange| exchange.failed()).map(|exchange| exchange.ended).min()?;
        let last = own().map(|exchange| exchange.sent).max()?;
        Some(Duration::from_millis(last.saturating_sub(bad)))
    }

    /// From this time to the sending of the last request that a version got; zero when it got none since.
    pub fn quiet_after(&self, from: u64, version: &str) -> Duration {
        let own = self.0.iter().filter(|exchange| exchange.version() == version);
        let last = own.map(|exchange| exchange.sent).max().unwrap_or(from);
        Duration::from_millis(last.saturating_sub(from))
    }

    /// How many requests, and what became of them, in a line.
    pub fn summary(&self) -> String {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for exchange in &self.0 {
            let outcome = match &exchange.answer {
                Ok((version, status)) => format!("{version} {status}"),
                Err(why) => why.clone(),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
        format!("{} requests, {} failed: {outcomes:?}", self.0.len(), self.failed())
    }

    /// The first requests that failed, one in a line, with their times.
    pub fn failures(&self) -> String {
        let failed = self.0.iter().filter(|exchange| exchange.failed()).take(20);
        failed.map(|e| format!("sent {}, ended {}: {:?}\n", e.sent, e.ended, e.answer)).collect()
    }
}

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub struct Traffic {
    record: Arc<Mutex<Record>>,
    stop: watch::Sender<bool>,
    load: JoinHandle<()>,
}

impl Traffic {
    /// So many requests a second, whether or not those before were answered.
    pub fn steady(target: SocketAddr, rate: u32) -> Traffic {
        Traffic::load(Load { target, rate, at_most: AT_MOST, pools: vec![client::pool()] })
    }

    /// The same, with a new connection for every second request.
    pub fn mixed(target: SocketAddr, rate: u32, at_most: Duration) -> Traffic {
        Traffic::load(Load { target, rate, at_most, pools: vec![client::pool(), client::no_pool()] })
    }

    fn load(load: Load) -> Traffic {
        Traffic::start(|record, stopped| load.run(record, stopped))
    }

    /// One request after the other: what is recorded is in the order in which the proxy has seen it.
    pub fn one_by_one(target: SocketAddr) -> Traffic {
        Traffic::start(|record, stopped| one_by_one(target, record, stopped))
    }

    fn start<F>(load: impl FnOnce(Arc<Mutex<Record>>, watch::Receiver<bool>) -> F) -> Traffic
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let record = Arc::new(Mutex::new(Record::default()));
        let (stop, stopped) = watch::channel(false);
        let load = tokio::spawn(load(Arc::clone(&record), stopped));
        Traffic { record, stop, load }
    }

    /// What has ended so far.
    pub fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has ended so far, but for the first `skipped`.
    pub fn record_from(&self, skipped: usize) -> Record {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        Record(record.0.get(skipped..).unwrap_or_default().to_vec())
    }

    /// Answers of a version so far.
    pub fn of(&self, version: &str) -> usize {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).of(version)
    }

    /// Sends no more, and waits for the answers that are due.
    pub async fn stop(self) -> Result<Record> {
        self.stop.send(true).ok();
        tokio::time::timeout(Duration::from_secs(40), self.load).await.context("requests without end")??;
        Ok(Arc::into_inner(self.record)
            .context("the load still records")?
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

/// The present, in milliseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Requests at a steady rate, by these connections in turn.
struct Load {
    target: SocketAddr,
    rate: u32,
    at_most: Duration,
    pools: Vec<Connections>,
}

impl Load {
    async fn run(self, record: Arc<Mutex<Record>>, mut stopped: watch::Receiver<bool>) {
        let (permits, end) = (Arc::new(Semaphore::new(MAX_IN_FLIGHT)), Instant::now() + self.at_most);
        let mut ticks = interval(Duration::from_secs(1) / self.rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        for pool in self.pools.iter().cycle() {
            tokio::select! {
                _ = stopped.changed() => break,
                () = sleep_until(end) => break,
                _ = ticks.tick() => {}
            }
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            let (pool, record, target) = (pool.clone(), Arc::clone(&record), self.target);
            requests.spawn(async move {
                exchange(&pool, target, &record).await;
                drop(permit);
            });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }
}

async fn one_by_one(target: SocketAddr, record: Arc<Mutex<Record>>, stopped: watch::Receiver<bool>) {
    let (pool, end) = (client::pool(), Instant::now() + AT_MOST);
    while !*stopped.borrow() && Instant::now() < end {
        exchange(&pool, target, &record).await;
    }
}

async fn exchange(pool: &Connections, target: SocketAddr, record: &Mutex<Record>) {
    let sent = now();
    let answer = client::request(pool, target).await;
    let exchange = Exchange { sent, ended: now(), answer };
    record.lock().unwrap_or_else(PoisonError::into_inner).0.push(exchange);
}
