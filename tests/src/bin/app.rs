//! An application to release, as its environment says: a real HTTP server with real faults.
//!
//! `HOST` (127.0.0.1), `PORT` and `VERSION`; `FAIL_SHARE` (percent of requests answered 500), `SLOW_SHARE` and
//! `SLOW_MS`, `NEVER_READY`, `READY_AFTER`, `UNREADY_AFTER` and `CRASH_AFTER` (milliseconds), `DEAF` (SIGTERM is
//! ignored), `ABRUPT` (SIGTERM ends it at once). Every answer names `VERSION` in `x-revision`. With SIGTERM it answers
//! what is in flight and ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use penstock_tests::backend::REVISION_HEADER;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

struct Application {
    version: String,
    fail_share: u64,
    slow_share: u64,
    slow: Duration,
    ready_after: Duration,
    unready_after: Option<Duration>,
    never_ready: bool,
    born: Instant,
    served: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let application = Arc::new(Application::from_environment()?);
    let port = u16::try_from(number("PORT")?).context("PORT")?;
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let listener = TcpListener::bind((host.as_str(), port)).await.context("listen")?;
    let terminate = signal(SignalKind::terminate())?;
    let crash_after = number("CRASH_AFTER")?;
    tokio::select! {
        () = serve(listener, application, terminate, flag("DEAF")) => Ok(()),
        () = sleep(Duration::from_millis(crash_after)), if crash_after > 0 => std::process::exit(3),
    }
}

async fn serve(listener: TcpListener, application: Arc<Application>, mut terminate: Signal, deaf: bool) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv(), if !deaf => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let application = Arc::clone(&application);
        let service = service_fn(move |request| answer(Arc::clone(&application), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connections.watch(connection));
    }
    if flag("ABRUPT") {
        return;
    }
    drop(listener);
    connections.shutdown().await;
}

async fn answer(
    application: Arc<Application>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let asks_for_readiness = request.uri().path() == "/healthz";
    request.into_body().collect().await.ok();
    let status = if asks_for_readiness { application.readiness() } else { application.work().await };
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok\n")));
    *response.status_mut() = status;
    if let Ok(version) = application.version.parse() {
        response.headers_mut().insert(REVISION_HEADER, version);
    }
    Ok(response)
}

impl Application {
    fn from_environment() -> Result<Application> {
        Ok(Application {
            version: std::env::var("VERSION").unwrap_or_default(),
            fail_share: number("FAIL_SHARE")?,
            slow_share: number("SLOW_SHARE")?,
            slow: Duration::from_millis(number("SLOW_MS")?),
            ready_after: Duration::from_millis(number("READY_AFTER")?),
            unready_after: Some(number("UNREADY_AFTER")?).filter(|n| *n > 0).map(Duration::from_millis),
            never_ready: flag("NEVER_READY"),
            born: Instant::now(),
            served: AtomicU64::new(0),
        })
    }

    fn readiness(&self) -> StatusCode {
        let age = self.born.elapsed();
        let ready =
            !self.never_ready && age >= self.ready_after && self.unready_after.is_none_or(|at| age < at);
        if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }

    async fn work(&self) -> StatusCode {
        let number = self.served.fetch_add(1, Relaxed);
        if is_among(number, self.slow_share) {
            sleep(self.slow).await;
        }
        if is_among(number, self.fail_share) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }
}

/// Whether request `number` is one of the evenly spread `percent`.
fn is_among(number: u64, percent: u64) -> bool {
    let share = |n: u64| n.saturating_mul(percent) / 100;
    share(number.saturating_add(1)) > share(number)
}

fn number(name: &str) -> Result<u64> {
    let text = std::env::var(name).unwrap_or_else(|_| "0".to_owned());
    text.parse().with_context(|| format!("{name} is `{text}`: write a whole number"))
}

fn flag(name: &str) -> bool {
    std::env::var_os(name).is_some()
}
