//! A backend that does as told.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::message::{Client, Response};

/// What a backend does with a request; whether it goes on with the connection.
type Behaviour = dyn Fn(&Response, &mut Client) -> bool + Send + Sync;

pub struct Backend {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    closed: Arc<AtomicU64>,
}

impl Backend {
    /// Answers everything at an address with its name.
    pub fn at(address: IpAddr, name: &'static str) -> Backend {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let behaviour = move |client: &mut Client| {
            let read = client.try_read(true).is_some();
            read && client.stream.write_all(answer.as_bytes()).is_ok()
        };
        Backend::listening(TcpListener::bind((address, 0)).unwrap(), behaviour)
    }

    /// Answers everything with its name.
    pub fn named(name: &'static str) -> Backend {
        Backend::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    }

    /// Answers everything with these bytes.
    pub fn answering(bytes: impl Into<String>) -> Backend {
        let bytes = bytes.into();
        Backend::doing(move |_, client| {
            client.send(&bytes);
            true
        })
    }

    /// Repeats the request it got as the body of its answer.
    pub fn echo() -> Backend {
        Backend::doing(|request, client| {
            let fields =
                |all: &[(String, String)]| all.iter().map(|(n, v)| format!("{n}: {v}\n")).collect::<String>();
            let (head, trailers) = (fields(&request.headers), fields(&request.trailers));
            let text = format!("{}\n{head}\n{}\n{trailers}", request.first_line, request.text());
            client.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()));
            true
        })
    }

    pub fn doing(behaviour: impl Fn(&Response, &mut Client) -> bool + Send + Sync + 'static) -> Backend {
        Backend::with_heads(move |client| {
            let Some(request) = client.try_read(true) else { return false };
            behaviour(&request, client)
        })
    }

    /// Does everything itself, from the request's head on.
    pub fn with_heads(behaviour: impl Fn(&mut Client) -> bool + Send + Sync + 'static) -> Backend {
        Backend::listening(TcpListener::bind("127.0.0.1:0").unwrap(), behaviour)
    }

    fn listening(
        listener: TcpListener,
        behaviour: impl Fn(&mut Client) -> bool + Send + Sync + 'static,
    ) -> Backend {
        let behaviour = move |_: &Response, client: &mut Client| behaviour(client);
        let address = listener.local_addr().unwrap();
        let (requests, stopped) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let closed = Arc::<AtomicU64>::default();
        let accepting = Accepting {
            behaviour: Arc::new(behaviour),
            requests: Arc::clone(&requests),
            closed: Arc::clone(&closed),
        };
        let over = Arc::clone(&stopped);
        thread::spawn(move || accepting.run(&listener, &over));
        Backend { address, requests, stopped, closed }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections that have ended.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::SeqCst)
    }

    /// Stops listening; connections go on.
    pub fn stop(&self) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            let connect = || TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
            connect().ok();
            while connect().is_ok() {
                thread::yield_now();
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Accepting {
    behaviour: Arc<Behaviour>,
    requests: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

impl Accepting {
    fn run(&self, listener: &TcpListener, stopped: &AtomicBool) {
        while let Ok((stream, _)) = listener.accept() {
            if stopped.load(Ordering::SeqCst) {
                return;
            }
            let (behaviour, requests) = (Arc::clone(&self.behaviour), Arc::clone(&self.requests));
            let closed = Arc::clone(&self.closed);
            thread::spawn(move || {
                let mut client = Client::over(stream);
                while wait_for_bytes(&client.stream) {
                    requests.fetch_add(1, Ordering::SeqCst);
                    if !behaviour(&Response::default(), &mut client) {
                        break;
                    }
                }
                drop(client);
                closed.fetch_add(1, Ordering::SeqCst);
            });
        }
    }
}

fn wait_for_bytes(stream: &TcpStream) -> bool {
    stream.peek(&mut [0]).is_ok_and(|read| read > 0)
}

/// An address that swallows attempts to connect, as one does whose host is gone: its queue is full.
pub struct Hole {
    listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Hole {
    pub fn new() -> Hole {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let queued = std::iter::from_fn(connect).take(16).collect::<Vec<_>>();
        assert!(queued.len() < 16, "the queue is never full");
        Hole { listener, _queued: queued }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().as_socket().unwrap().port()
    }
}
