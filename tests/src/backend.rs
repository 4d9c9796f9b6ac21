//! A service to release: a real HTTP server whose faults are set by the test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Header of every answer: which revision gave it.
pub const REVISION_HEADER: &str = "x-revision";

/// One pod of a revision. Ends with its value.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    listening: AbortHandle,
}

#[derive(Debug)]
struct Behaviour {
    revision: String,
    served: AtomicU64,
    failed: AtomicU64,
    slowed: AtomicU64,
    failing_percent: AtomicU32,
    slow_percent: AtomicU32,
    slow_millis: AtomicU64,
}

impl Backend {
    /// Starts a healthy one on a free port.
    pub async fn start(revision: &str) -> Result<Backend> {
        Backend::start_on(0, revision).await
    }

    /// Starts a healthy one on this port of loopback.
    pub async fn start_on(port: u16, revision: &str) -> Result<Backend> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let behaviour = Arc::new(Behaviour {
            revision: revision.to_owned(),
            served: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            slowed: AtomicU64::new(0),
            failing_percent: AtomicU32::new(0),
            slow_percent: AtomicU32::new(0),
            slow_millis: AtomicU64::new(0),
        });
        let address = listener.local_addr()?;
        let listening = tokio::spawn(listen(listener, behaviour.clone())).abort_handle();
        Ok(Backend { address, behaviour, listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes this share of the requests from here on fail with status 500, evenly spread.
    pub fn fail(&self, percent: u32) {
        self.behaviour.failing_percent.store(percent, Relaxed);
    }

    /// Makes this share of the requests from here on take so long, evenly spread.
    pub fn slow(&self, percent: u32, latency: Duration) {
        self.behaviour.slow_millis.store(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.behaviour.slow_percent.store(percent, Relaxed);
    }

    /// Requests so far.
    pub fn served(&self) -> u64 {
        self.behaviour.served.load(Relaxed)
    }

    /// Those of them that were made to fail.
    pub fn failed(&self) -> u64 {
        self.behaviour.failed.load(Relaxed)
    }

    /// Those of them that were made slow.
    pub fn slowed(&self) -> u64 {
        self.behaviour.slowed.load(Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, behaviour: Arc<Behaviour>) {
    // Connections end with the listener: a dropped set aborts its tasks.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, behaviour.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, behaviour: Arc<Behaviour>) {
    let service = service_fn(|request| answer(&behaviour, request));
    // A client that hangs up is none of our business.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(
    behaviour: &Behaviour,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    request.into_body().collect().await.ok();
    let number = behaviour.served.fetch_add(1, Relaxed);
    if hits(number, behaviour.slow_percent.load(Relaxed)) {
        behaviour.slowed.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(behaviour.slow_millis.load(Relaxed))).await;
    }
    let fails = hits(number, behaviour.failing_percent.load(Relaxed));
    behaviour.failed.fetch_add(u64::from(fails), Relaxed);
    let mut response = Response::new(Full::new(Bytes::from_static(b"served\n")));
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    if let Ok(revision) = behaviour.revision.parse() {
        response.headers_mut().insert(REVISION_HEADER, revision);
    }
    Ok(response)
}

/// Whether request `number` is among the evenly spread `percent`: the last of each share.
fn hits(number: u64, percent: u32) -> bool {
    let share = |n: u64| n.saturating_mul(u64::from(percent)) / 100;
    share(number + 1) > share(number)
}
