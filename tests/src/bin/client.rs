//! A client in a pod: it calls one address at a steady rate, and tells of every request what became of it.
//!
//! `TARGET` (host:port) is resolved by name, and called `RATE` times a second for at most `AT_MOST` seconds, with a new
//! connection for every second request. It counts from the first good answer on: what comes before is nobody's fault.
//! `GET /record?from=N` on port 8080 answers all requests but the first N, as JSON; `POST /stop` answers when the last
//! request has ended, and none follows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_tests::Traffic;
use penstock_tests::client::send;
use penstock_tests::cluster::caller::CONTROL;
use penstock_tests::traffic::Record;
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Between two attempts to get a first answer.
const PAUSE: Duration = Duration::from_millis(50);

enum Calls {
    Waiting,
    Running(Traffic),
    Ended(Record),
}

type Shared = Arc<Mutex<Calls>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let calls: Shared = Arc::new(Mutex::new(Calls::Waiting));
    let listener = TcpListener::bind(("0.0.0.0", CONTROL)).await.context("listen")?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = begin(Arc::clone(&calls)) => match done {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
        () = serve(listener, calls) => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn begin(calls: Shared) -> Result<Infallible> {
    let target = variable("TARGET")?;
    let rate = variable("RATE")?.parse().context("RATE")?;
    let at_most = Duration::from_secs(variable("AT_MOST")?.parse().context("AT_MOST")?);
    let target = first_answer(&target).await;
    *calls.lock().await = Calls::Running(Traffic::mixed(target, rate, at_most));
    std::future::pending().await
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// The address behind a name, as soon as a request to it has been answered well.
async fn first_answer(target: &str) -> SocketAddr {
    loop {
        let address = lookup_host(target).await.ok().and_then(|mut found| found.next());
        if let Some(address) = address
            && send(address, 1).await.failed() == 0
        {
            return address;
        }
        sleep(PAUSE).await;
    }
}

async fn serve(listener: TcpListener, calls: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let calls = Arc::clone(&calls);
        let service = service_fn(move |request| answer(Arc::clone(&calls), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(calls: Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = match request.uri().path() {
        "/record" => Ok(record(&calls, from(&request)).await),
        "/stop" => stop(&calls).await,
        _ => Err(anyhow::anyhow!("there is /record and /stop")),
    };
    let told = told.and_then(|record| Ok(serde_json::to_vec(&record)?));
    let mut response = Response::default();
    match told {
        Ok(text) => *response.body_mut() = Full::from(text),
        Err(error) => {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            *response.body_mut() = Full::from(format!("{error:#}\n"));
        }
    }
    Ok(response)
}

fn from(request: &Request<Incoming>) -> usize {
    let number = request.uri().query().and_then(|query| query.strip_prefix("from="));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

async fn record(calls: &Shared, from: usize) -> Record {
    match &*calls.lock().await {
        Calls::Waiting => Record::default(),
        Calls::Running(traffic) => traffic.record_from(from),
        Calls::Ended(record) => Record(record.0.get(from..).unwrap_or_default().to_vec()),
    }
}

/// Answers nothing: the record holds it.
async fn stop(calls: &Shared) -> Result<Record> {
    let mut calls = calls.lock().await;
    match std::mem::replace(&mut *calls, Calls::Waiting) {
        Calls::Waiting => anyhow::bail!("not one request was answered well"),
        Calls::Running(traffic) => *calls = Calls::Ended(traffic.stop().await?),
        Calls::Ended(record) => *calls = Calls::Ended(record),
    }
    Ok(Record::default())
}
