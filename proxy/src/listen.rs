//! The threads of the data plane: accept connections and serve requests on them.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http1::connection::Peer;
use crate::http1::porch::Porch;
use crate::http1::side::Side;
use crate::lane::{Desk, Lane};
use crate::worker::{Shared, Worker};
use crate::{http1, http2, runtime};

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

/// What the connections of a listener have of it.
#[derive(Clone, Debug)]
struct Listener {
    stop: CancellationToken,
    porch: Rc<Porch>,
}

/// Runs one thread of the data plane until it has drained.
pub(crate) fn run(thread: usize, shared: Arc<Shared>, orders: UnboundedReceiver<Listen>) -> io::Result<()> {
    runtime::local()?.block_on(work(Rc::new(Worker::new(thread, shared)), orders));
    Ok(())
}

async fn work(worker: Rc<Worker>, mut orders: UnboundedReceiver<Listen>) {
    let drain = worker.shared.drain.clone();
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::task::spawn_local(Rc::clone(&worker.alarms).run(Arc::clone(&worker.shared)));
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
        worker.sweep();
    }
}

async fn accept(worker: Rc<Worker>, listen: Listen) {
    let Listen { lane, socket, stop } = listen;
    let desk = Desk::new(Arc::clone(&lane), worker.random());
    let listener = Listener { stop: stop.clone(), porch: Rc::default() };
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, rollout = lane.rollout, "socket can't be used"),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = next(&socket) => accepted,
            () = stop.cancelled() => return listener.porch.stop(),
            () = worker.shared.handed_over.cancelled() => break,
        };
        let Some((stream, place)) = accepted.and_then(|stream| Some((stream, place(&worker.shared)?))) else {
            continue;
        };
        let (worker, lane, listener) = (Rc::clone(&worker), Rc::clone(&desk), listener.clone());
        let tasks = worker.tasks.clone();
        tasks.spawn_local(async move {
            match place {
                Place::Served(_place) => serve(stream, lane, worker, listener).await,
                Place::TurnedAway(_place) => Box::pin(turn_away(stream, lane, worker, listener)).await,
            }
        });
    }
    // Whoever is connected already is not sent away as abruptly.
    drop(socket);
    stop.cancelled().await;
    listener.porch.stop();
}

/// What becomes of a connection, as long as this is held.
enum Place {
    Served(OwnedSemaphorePermit),
    /// There is no place, and it is told so.
    TurnedAway(OwnedSemaphorePermit),
}

/// A place for a connection. `None`: so many are being turned away that this one is closed without a word.
fn place(shared: &Shared) -> Option<Place> {
    let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
    of(&shared.connections).map(Place::Served).or_else(|| of(&shared.exits).map(Place::TurnedAway))
}

/// The next connection. Without descriptors, clients wait in the kernel's queue until there are some.
async fn next(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Tells a client that there is no place for it.
async fn turn_away(stream: TcpStream, lane: Rc<Desk>, worker: Rc<Worker>, listener: Listener) {
    let Some(peer) = peer(&stream, &worker) else { return };
    let mut client = Side::new(stream, &worker.buffers);
    if let Ok(Ok(_)) = timeout(LATECOMERS, version(&mut client)).await {
        http1::connection::turn_away(client, lane, worker, peer, listener.porch).await;
    }
}

async fn serve(stream: TcpStream, lane: Rc<Desk>, worker: Rc<Worker>, listener: Listener) {
    let shared = Arc::clone(&worker.shared);
    let _open = shared.open_connection();
    let Some(peer) = peer(&stream, &worker) else { return };
    let mut client = Side::new(stream, &worker.buffers);
    let version = tokio::select! {
        version = timeout(shared.limits.head_timeout, version(&mut client)) => version,
        () = late(&listener.stop) => return,
    };
    match version {
        Ok(Ok(Version::Http1)) => {
            http1::connection::serve(client, lane, worker, peer, listener.porch).await;
        }
        Ok(Ok(Version::Http2)) => {
            Box::pin(http2::connection::serve(client, lane, worker, peer, listener.porch)).await;
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Ends when a connection that has sent nothing yet need not be waited for any more.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LATECOMERS).await;
}

/// Looks at the first bytes: no method of HTTP/1 begins as HTTP/2's preface does.
async fn version(client: &mut Side) -> io::Result<Version> {
    loop {
        match client.inlet.bytes() {
            _ if client.speaks_http2() => return Ok(Version::Http2),
            some if !b"PRI ".starts_with(some) => return Ok(Version::Http1),
            _ => {}
        }
        if poll_fn(|cx| client.poll_fill(cx, false)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Who the client is.
fn peer(stream: &TcpStream, worker: &Worker) -> Option<Peer> {
    stream.set_nodelay(true).ok()?;
    socket2::SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)).ok()?;
    Some(Peer::new(stream.peer_addr().ok()?.ip(), worker))
}
