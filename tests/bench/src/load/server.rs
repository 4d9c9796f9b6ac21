//! Backends that do what figures of speed have no use for: close without a word, answer in halves, go away.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// From the last answer to the end of its connection, of which nothing was said: whoever sends a request meanwhile
/// loses it.
const SILENCE: Duration = Duration::from_millis(1);
/// Longest request.
const MAX_REQUEST: usize = 16 << 10;

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Closes a connection after so many answers, without having said so. 0: never.
    pub(crate) answers: usize,
    /// Answers with a body of this length; 0: its name.
    pub(crate) body: usize,
    /// Sends the second half of each body only when told to go on.
    pub(crate) in_halves: bool,
}

/// A server in this process. It is gone when dropped, connections included.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    manners: Cell<Manners>,
    halves: Cell<usize>,
    go_on: watch::Sender<bool>,
    leaving: watch::Sender<bool>,
    connections: RefCell<JoinSet<()>>,
}

impl Server {
    /// Starts one. Runs on the local set of the caller.
    pub(crate) async fn start(name: &str, port: u16, manners: Manners) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let shared = Rc::new(Shared {
            name: name.into(),
            manners: Cell::new(manners),
            halves: Cell::new(0),
            go_on: watch::Sender::new(false),
            leaving: watch::Sender::new(false),
            connections: RefCell::default(),
        });
        let address = listener.local_addr()?;
        let accepting = tokio::task::spawn_local(accept(listener, Rc::clone(&shared)));
        Ok(Server { address, shared, accepting })
    }

    /// Changes how it behaves from the next answer on.
    pub(crate) fn manners(&self, manners: Manners) {
        self.shared.manners.set(manners);
    }

    /// Answers of which one half has been sent.
    pub(crate) fn halves(&self) -> usize {
        self.shared.halves.get()
    }

    /// Sends all second halves.
    pub(crate) fn go_on(&self) {
        self.shared.go_on.send_replace(true);
    }

    /// Stops as a pod does: no new connections, each old one until it has answered what it is at.
    pub(crate) async fn leave(self) {
        self.accepting.abort();
        self.shared.leaving.send_replace(true);
        let mut connections = self.shared.connections.take();
        while connections.join_next().await.is_some() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        let mut connections = shared.connections.borrow_mut();
        while connections.try_join_next().is_some() {}
        connections.spawn_local(serve(stream, Rc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Rc<Shared>) {
    let (mut leaving, mut buffer, mut answers) = (shared.leaving.subscribe(), Vec::new(), 0);
    loop {
        while let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            if write(&mut stream, &shared).await.is_err() {
                return;
            }
            answers += 1;
            if answers == shared.manners.get().answers {
                sleep(SILENCE).await;
                return;
            }
            if *leaving.borrow() {
                return;
            }
        }
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut buffer) => read,
            _ = leaving.wait_for(|leaving| *leaving) => return,
        };
        if !matches!(read, Ok(1..)) || buffer.len() > MAX_REQUEST {
            return;
        }
    }
}

fn answer(shared: &Shared) -> Vec<u8> {
    let body = match shared.manners.get().body {
        0 => shared.name.clone().into_bytes(),
        length => vec![b'x'; length],
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

async fn write(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    let answer = answer(shared);
    if !shared.manners.get().in_halves {
        return stream.write_all(&answer).await;
    }
    let (first, second) = answer.split_at(answer.len() / 2);
    stream.write_all(first).await?;
    shared.halves.set(shared.halves.get() + 1);
    shared.go_on.subscribe().wait_for(|go_on| *go_on).await.ok();
    stream.write_all(second).await
}
