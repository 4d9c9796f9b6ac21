//! A client that counts every request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::backend::REVISION_HEADER;

/// Longest body that is read, in bytes.
const MAX_BODY: usize = 32 << 20;

/// Requests in flight at the same time; more wait, and are late in the count of latency.
const MAX_IN_FLIGHT: usize = 512;

/// A request that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that have ended.
    pub ended: u64,
    /// Those without an answer, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Answers by revision (empty: the answer named none).
    pub revisions: BTreeMap<String, Answers>,
}

/// Answers of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// All of them.
    pub total: u64,
    /// Those with status 500 and above.
    pub failed: u64,
}

impl Tally {
    /// Requests that got no answer, or one of status 500 and above.
    pub fn failed(&self) -> u64 {
        self.lost.values().sum::<u64>() + self.revisions.values().map(|a| a.failed).sum::<u64>()
    }

    /// Answers of a revision.
    pub fn of(&self, revision: &str) -> Answers {
        self.revisions.get(revision).cloned().unwrap_or_default()
    }
}

/// Open-loop load: requests leave at a steady rate, whether or not the ones before have been answered.
#[derive(Debug)]
pub struct Client {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    load: JoinHandle<()>,
}

impl Client {
    /// Sends `rate` requests a second until [`Client::stop`], for `at_most` this long.
    pub fn start(target: SocketAddr, rate: u32, at_most: Duration) -> Client {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let load =
            Load { target, pause: Duration::from_secs(1) / rate.max(1), until: Instant::now() + at_most };
        let load = tokio::spawn(load.run(tally.clone(), stopped));
        Client { tally, stop, load }
    }

    /// What became of the requests that have ended so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().map(|t| t.clone()).unwrap_or_default()
    }

    /// Sends no more, waits for the answers that are due, and counts.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.send(true).ok();
        let deadline = DEADLINE + Duration::from_secs(5);
        timeout(deadline, self.load).await.context("requests without end")?.context("the load failed")?;
        let tally = self.tally.lock().map_err(|_| anyhow::anyhow!("the tally is poisoned"))?;
        Ok(tally.clone())
    }
}

/// Sends so many requests one after the other, and counts.
pub async fn send(target: SocketAddr, requests: u32) -> Tally {
    let pool = pool();
    let tally = Mutex::new(Tally::default());
    for _ in 0..requests {
        count(&tally, request(&pool, target).await);
    }
    tally.into_inner().unwrap_or_default()
}

/// One GET of `host:port` at `path`: status and body.
pub async fn get(address: &str, path: &str) -> Result<(u16, Bytes)> {
    let request = Request::get(format!("http://{address}{path}")).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = pool().request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        anyhow::Ok((status, body.map_err(|e| anyhow::anyhow!(e))?.to_bytes()))
    };
    timeout(Duration::from_secs(5), exchange).await.context("no answer within 5 s")?
}

/// One request with a body: status and body of its answer.
pub async fn ask(request: Request<Full<Bytes>>) -> Result<(u16, Bytes)> {
    let client: Pool<HttpConnector, Full<Bytes>> = Pool::builder(TokioExecutor::new()).build(connector());
    let exchange = async {
        let response = client.request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        anyhow::Ok((status, body.map_err(|e| anyhow::anyhow!(e))?.to_bytes()))
    };
    timeout(Duration::from_secs(10), exchange).await.context("no answer within 10 s")?
}

pub(crate) type Connections = Pool<HttpConnector, Empty<Bytes>>;

pub(crate) fn pool() -> Connections {
    // A connection kept open that the server has just closed would count as a failure of the server.
    Pool::builder(TokioExecutor::new()).retry_canceled_requests(true).build(connector())
}

/// A new connection for each request.
pub(crate) fn no_pool() -> Connections {
    Pool::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

struct Load {
    target: SocketAddr,
    pause: Duration,
    until: Instant,
}

impl Load {
    async fn run(self, tally: Arc<Mutex<Tally>>, mut stopped: watch::Receiver<bool>) {
        let (pool, permits) = (pool(), Arc::new(Semaphore::new(MAX_IN_FLIGHT)));
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        loop {
            tokio::select! {
                _ = stopped.changed() => break,
                () = sleep_until(self.until) => break,
                _ = ticks.tick() => {}
            }
            let Ok(permit) = permits.clone().acquire_owned().await else { break };
            let (pool, tally, target) = (pool.clone(), tally.clone(), self.target);
            requests.spawn(async move {
                count(&tally, request(&pool, target).await);
                drop(permit);
            });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }
}

/// Revision and status, or why there is no answer.
pub(crate) type Outcome = Result<(String, u16), String>;

pub(crate) async fn request(pool: &Connections, target: SocketAddr) -> Outcome {
    let request = Request::get(format!("http://{target}/")).body(Empty::new()).map_err(|e| e.to_string())?;
    let exchange = async {
        let response = pool.request(request).await.map_err(|e| root_cause(&e))?;
        let revision = response.headers().get(REVISION_HEADER).and_then(|r| r.to_str().ok());
        let (revision, status) = (revision.unwrap_or_default().to_owned(), response.status().as_u16());
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        body.map_err(|e| root_cause(e.as_ref()))?;
        Ok((revision, status))
    };
    timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn count(tally: &Mutex<Tally>, outcome: Outcome) {
    let Ok(mut tally) = tally.lock() else { return };
    tally.ended += 1;
    match outcome {
        Ok((revision, status)) => {
            let answers = tally.revisions.entry(revision).or_default();
            answers.total += 1;
            answers.failed += u64::from(status >= 500);
        }
        Err(why) => *tally.lost.entry(why).or_default() += 1,
    }
}
