//! Steady traffic: so many requests a second, whatever becomes of them.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::account::{Account, End, Outcome};
use super::service::REVISION;

/// How often due requests are sent.
const TICK: Duration = Duration::from_millis(2);
/// Largest answer that is read.
const LARGEST_BODY: usize = 1024 * 1024;

/// What traffic to make.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Where to.
    pub(crate) url: Uri,
    /// Requests a second: 1 to 100,000.
    pub(crate) rate: u32,
    /// Most requests under way; those beyond are counted and not sent.
    pub(crate) in_flight: usize,
    /// Connections that are kept for further requests.
    pub(crate) kept: usize,
    /// A request without an answer after so long has failed.
    pub(crate) timeout: Duration,
    /// A request that takes longer is slow.
    pub(crate) slow: Duration,
}

/// Traffic that flows until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    pacing: JoinHandle<()>,
    in_flight: u32,
}

#[derive(Debug)]
struct Shared {
    traffic: Traffic,
    client: Client<HttpConnector, Empty<Bytes>>,
    begun: Instant,
    places: Semaphore,
    account: Mutex<Account>,
}

impl Load {
    /// Begins, with a first window of this name. To be used inside a tokio runtime.
    pub(crate) fn start(window: &str, traffic: Traffic) -> Load {
        let in_flight = u32::try_from(traffic.in_flight).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            client: client(traffic.kept),
            begun: Instant::now(),
            places: Semaphore::new(traffic.in_flight.min(Semaphore::MAX_PERMITS)),
            account: Mutex::new(Account::new(window, traffic.slow)),
            traffic,
        });
        Load { pacing: tokio::spawn(pace(Arc::clone(&shared))), shared, in_flight }
    }

    /// Begins the next window.
    pub(crate) fn begin(&self, window: &str) {
        self.shared.account().begin(window, self.elapsed());
    }

    /// What has become of the requests until now.
    pub(crate) fn account(&self) -> Account {
        self.shared.account().clone()
    }

    /// Time since the beginning, as the account tells times.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Sends no more, waits for what is under way, and gives the account.
    pub(crate) async fn stop(self) -> Account {
        self.pacing.abort();
        let all = self.shared.places.acquire_many(self.in_flight);
        // Each request has its own timeout: this one only guards against the unknown.
        let _ = tokio::time::timeout(self.shared.traffic.timeout + Duration::from_secs(1), all).await;
        self.account()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.pacing.abort();
    }
}

/// An open loop: what is due is sent, also when answers are late.
async fn pace(shared: Arc<Shared>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done: u64 = 0;
    loop {
        tick.tick().await;
        let due = due(shared.begun.elapsed(), shared.traffic.rate).saturating_sub(done);
        done += due;
        let sent = (0..due).take_while(|_| send(&shared)).count() as u64;
        if sent < due {
            shared.account().unsent(due - sent);
        }
    }
}

fn due(elapsed: Duration, rate: u32) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
}

/// `false`: too many are under way.
fn send(shared: &Arc<Shared>) -> bool {
    let Ok(place) = shared.places.try_acquire() else { return false };
    place.forget();
    let window = shared.account().sent();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let outcome = request(&shared.client, &shared.traffic).await;
        shared.account().ended(window, outcome, shared.begun.elapsed());
        shared.places.add_permits(1);
    });
    true
}

async fn request(client: &Client<HttpConnector, Empty<Bytes>>, traffic: &Traffic) -> Outcome {
    let begun = Instant::now();
    let mut revision = None;
    let end = within(traffic.timeout, exchange(client, traffic.url.clone(), &mut revision)).await;
    Outcome { revision, latency: begun.elapsed(), end }
}

async fn within(timeout: Duration, exchange: impl Future<Output = End>) -> End {
    tokio::time::timeout(timeout, exchange).await.unwrap_or(End::TimedOut)
}

async fn exchange(
    client: &Client<HttpConnector, Empty<Bytes>>,
    url: Uri,
    revision: &mut Option<String>,
) -> End {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = url;
    let Ok(response) = client.request(request).await else { return End::Broken };
    *revision = revision_in(response.headers());
    let server_error = response.status().is_server_error();
    match Limited::new(response.into_body(), LARGEST_BODY).collect().await {
        Ok(_) if server_error => End::ServerError,
        Ok(_) => End::Good,
        Err(_) => End::Broken,
    }
}

fn revision_in(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(REVISION)?.to_str().ok()?;
    Some(name.chars().take(63).collect())
}

fn client(kept: usize) -> Client<HttpConnector, Empty<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(kept)
        .pool_idle_timeout(Duration::from_secs(10))
        .pool_timer(TokioTimer::new())
        .build(connector)
}

impl Shared {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::service::tests::{Running, settings};

    fn traffic(port: u16, rate: u32) -> Traffic {
        let url = format!("http://127.0.0.1:{port}/").parse().unwrap();
        Traffic {
            url,
            rate,
            in_flight: 256,
            kept: 256,
            timeout: Duration::from_secs(5),
            slow: Duration::from_millis(100),
        }
    }

    #[test]
    fn a_pace_owes_nothing_over_any_time() {
        assert_eq!(due(Duration::from_millis(999), 1_000), 999);
        assert_eq!(due(Duration::from_secs(3_600), 7), 25_200);
    }

    #[tokio::test]
    async fn the_share_that_fails_and_who_failed_is_measured() {
        let service = Running::start(settings(|s| s.fail_share = 0.2)).await;
        let load = Load::start("v3", traffic(service.port, 1_000));
        while load.account().whole().all.ended < 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        load.begin("v4");
        let now = load.elapsed();
        let account = load.stop().await;
        assert!(account.windows()[1].begun <= now);
        let whole = account.whole();
        assert_eq!((whole.all.broken, whole.all.timed_out, whole.sent), (0, 0, whole.all.ended));
        let share = whole.revisions["v9"].failed_share();
        assert!((0.1..0.3).contains(&share), "{share}");
        assert!(whole.borne("v9").is_some());
    }

    #[tokio::test]
    async fn a_service_that_is_gone_is_a_failure_and_no_answer_a_timeout() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let hurried = Traffic { timeout: Duration::from_millis(50), in_flight: 4, ..traffic(port, 200) };
        let load = Load::start("silent", hurried);
        while load.account().whole().unsent == 0 || load.account().whole().all.timed_out == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let whole = load.stop().await.whole();
        assert_eq!(whole.all.failed, whole.all.ended);
        drop(silent);
        let load = Load::start("gone", traffic(port, 200));
        while load.account().whole().all.broken == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(load.stop().await.whole().revisions.is_empty());
    }
}
