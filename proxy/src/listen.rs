//! The threads of the data plane: accept connections and serve requests on them.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::TcpKeepalive;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::exchange::exchange;
use crate::lane::Lane;
use crate::runtime::{self, LocalExecutor};
use crate::worker::{Shared, Worker};

/// How long a client may take to send a head, and to begin the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head of a request: 431 above it, and above 100 headers, which is hyper's own limit; another one would
/// cost an allocation for each request. hyper answers a target above 64 KiB with 414 before that.
const MAX_HEAD: usize = 96 << 10;
const MAX_STREAMS: u32 = 256;
/// After how long a silence the kernel asks whether a client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long a connection that was accepted before the end may take to send its first bytes after it.
const LATECOMERS: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(5);

/// Serve this Rollout on this socket until told to stop.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) lane: Arc<Lane>,
    pub(crate) socket: std::net::TcpListener,
    pub(crate) stop: CancellationToken,
}

/// Runs one thread of the data plane until it has drained.
pub(crate) fn run(thread: usize, shared: Arc<Shared>, orders: UnboundedReceiver<Listen>) -> io::Result<()> {
    runtime::local()?.block_on(work(Rc::new(Worker::new(thread, shared)), orders));
    Ok(())
}

async fn work(worker: Rc<Worker>, mut orders: UnboundedReceiver<Listen>) {
    let drain = worker.shared.drain.clone();
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(listen) => drop(worker.tasks.spawn_local(accept(Rc::clone(&worker), listen))),
                None => break,
            },
            () = drain.cancelled() => break,
        }
    }
    drain.cancelled().await;
    worker.tasks.close();
    worker.tasks.wait().await;
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        sleep(SWEEP).await;
        worker.pool.sweep();
    }
}

async fn accept(worker: Rc<Worker>, listen: Listen) {
    let Listen { lane, socket, stop } = listen;
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, rollout = lane.rollout, "socket can't be used"),
    };
    loop {
        let connections = Arc::clone(&worker.shared.connections);
        let accepted = tokio::select! {
            biased;
            accepted = next(&listener, connections) => accepted,
            () = stop.cancelled() => return,
        };
        let Some((stream, place)) = accepted else { continue };
        let (worker, lane, stop) = (Rc::clone(&worker), Arc::clone(&lane), stop.clone());
        let tasks = worker.tasks.clone();
        tasks.spawn_local(async move {
            serve(stream, lane, worker, stop).await;
            drop(place);
        });
    }
}

/// The next connection, when there is a place for it. Clients wait in the kernel's queue until then.
async fn next(
    listener: &TcpListener,
    connections: Arc<tokio::sync::Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = connections.acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

async fn serve(stream: TcpStream, lane: Arc<Lane>, worker: Rc<Worker>, stop: CancellationToken) {
    let shared = Arc::clone(&worker.shared);
    let _open = shared.open_connection();
    let version = tokio::select! {
        version = timeout(HEAD_TIMEOUT, version(&stream)) => version,
        () = late(&stop) => return,
    };
    let Ok(Ok(version)) = version else { return };
    let Some(peer) = peer(&stream) else { return };
    let (on_lane, on_worker) = (Arc::clone(&lane), Rc::clone(&worker));
    let service = service_fn(move |request: Request<Incoming>| {
        let (lane, worker, peer) = (Arc::clone(&on_lane), Rc::clone(&on_worker), peer.clone());
        async move {
            let mut response = exchange(&lane, &worker, &peer, request).await;
            if worker.shared.is_leaving() {
                send_away(&mut response, version);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    let ended = match version {
        Version::Http1 => {
            let connection = http1_builder().serve_connection(io, service).with_upgrades();
            tokio::pin!(connection);
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = stop.cancelled() => { connection.as_mut().graceful_shutdown(); connection.await }
            }
        }
        Version::Http2 => {
            let connection = http2_builder().serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                ended = &mut connection => ended,
                () = stop.cancelled() => { connection.as_mut().graceful_shutdown(); connection.await }
            }
        }
    };
    if let Err(error) = ended {
        lane.note_connection_error(worker.thread, &error);
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.max_buf_size(2 * MAX_HEAD).max_header_size(MAX_HEAD).auto_date_header(false);
    builder
}

fn http2_builder() -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS);
    builder.adaptive_window(true).auto_date_header(false);
    builder.keep_alive_interval(HEAD_TIMEOUT).keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Tells an HTTP/1 client to open its next connection elsewhere. HTTP/2 clients are told so by GOAWAY, which costs them
/// no request, when this proxy listens no more.
fn send_away(response: &mut Response<Body>, version: Version) {
    if version == Version::Http1 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Ends when a connection that has sent nothing yet need not be waited for any more.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LATECOMERS).await;
}

/// Looks at the first bytes without taking them: no method of HTTP/1 begins as HTTP/2's preface does.
async fn version(stream: &TcpStream) -> io::Result<Version> {
    let mut start = [0; 4];
    loop {
        let read = stream.peek(&mut start).await?;
        match &start[..read] {
            b"PRI " => return Ok(Version::Http2),
            b"" => return Err(io::ErrorKind::UnexpectedEof.into()),
            some if !b"PRI ".starts_with(some) => return Ok(Version::Http1),
            _ => sleep(Duration::from_millis(2)).await,
        }
    }
}

/// The client's address, as x-forwarded-for says it.
fn peer(stream: &TcpStream) -> Option<HeaderValue> {
    stream.set_nodelay(true).ok()?;
    socket2::SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)).ok()?;
    let address = stream.peer_addr().ok()?.ip().to_canonical();
    HeaderValue::from_str(&address.to_string()).ok()
}
