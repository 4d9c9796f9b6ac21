//! A backend that keeps what it hears, and a proxy before it.

use std::io::Write;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};

use super::strict::{Broken, Kind, Message};
use super::{Backend, Client, Folder, Proxy, Shop, Split};

/// What reached a backend.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The connection that it came by.
    pub connection: u16,
    pub message: Result<Message, Broken>,
}

/// All that reached a backend, in order.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<Heard>>>);

impl Tape {
    /// A backend that reads whole requests, keeps them, and then does as told.
    pub fn backend(
        &self,
        behaviour: impl Fn(&Message, &mut Client) -> bool + Send + Sync + 'static,
    ) -> Backend {
        let tape = self.clone();
        Backend::with_heads(move |client| {
            let message = client.strict(Kind::Request);
            tape.keep(client, message.clone());
            message.is_ok_and(|message| behaviour(&message, client))
        })
    }

    /// Keeps what was read from a connection.
    pub fn keep(&self, client: &Client, message: Result<Message, Broken>) {
        let connection = client.stream.peer_addr().map_or(0, |address| address.port());
        self.0.lock().unwrap().push(Heard { connection, message });
    }

    /// What has been heard since the last time, except for connections that end between requests.
    pub fn take(&self) -> Vec<Heard> {
        let mut heard = std::mem::take(&mut *self.0.lock().unwrap());
        heard.retain(|heard| heard.message != Err(Broken::Closed));
        heard
    }

    /// Whole requests that have been heard since the last time; anything else is a failure.
    pub fn messages(&self) -> Vec<Message> {
        self.take().into_iter().map(|heard| heard.message.unwrap()).collect()
    }
}

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// One thread of a proxy before a backend that keeps what it hears.
pub struct Rig {
    pub tape: Tape,
    pub shop: Shop,
}

impl Rig {
    /// The backend answers everything with `ok`.
    pub fn new() -> Rig {
        Rig::doing(|_, client| client.try_send(OK))
    }

    pub fn doing(behaviour: impl Fn(&Message, &mut Client) -> bool + Send + Sync + 'static) -> Rig {
        Rig::with(&[], behaviour)
    }

    pub fn with(
        args: &[&str],
        behaviour: impl Fn(&Message, &mut Client) -> bool + Send + Sync + 'static,
    ) -> Rig {
        let tape = Tape::default();
        let shop = Shop::of(tape.backend(behaviour), &[&["--threads", "1"], args].concat());
        Rig { tape, shop }
    }

    /// The backend does everything itself, from the request's first byte on.
    pub fn raw(behaviour: impl Fn(&Tape, &mut Client) -> bool + Send + Sync + 'static) -> Rig {
        let tape = Tape::default();
        let kept = tape.clone();
        let backend = Backend::with_heads(move |client| behaviour(&kept, client));
        Rig { tape, shop: Shop::of(backend, &["--threads", "1"]) }
    }

    /// The proxy may have so many files open. The backend answers everything with `ok`.
    pub fn within_files(files: u32) -> Rig {
        let tape = Tape::default();
        let backend = tape.backend(|_, client| client.try_send(OK));
        let start = |folder: &Folder| Proxy::within_files(folder, files, &["--threads", "1"]);
        Rig { shop: Shop::started(Split::new(1, 100, 0), backend, Backend::named("v2"), start), tape }
    }

    pub fn client(&self) -> Client {
        self.shop.client()
    }
}

impl Client {
    /// Reads a message, strictly.
    pub fn strict(&mut self, kind: Kind) -> Result<Message, Broken> {
        Message::read(&mut self.reader, kind)
    }

    /// Reads the head of a message, strictly.
    pub fn strict_head(&mut self, kind: Kind) -> Result<Message, Broken> {
        Message::read_head(&mut self.reader, kind)
    }

    /// Reads a whole response that is as it should be.
    pub fn answer(&mut self) -> Message {
        self.strict(Kind::Response).unwrap()
    }

    /// Sends to a peer that may have closed; whether it has not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the sending side.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// From here on, the end of the connection is a reset.
    pub fn reset_at_end(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

/// Runs every case of a table, and fails with all that went wrong.
pub fn run_table<C>(cases: &[C], name: impl Fn(&C) -> String, mut run: impl FnMut(&C) -> Result<(), String>) {
    let failed: Vec<String> =
        cases.iter().filter_map(|case| run(case).err().map(|why| format!("{}: {why}", name(case)))).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
