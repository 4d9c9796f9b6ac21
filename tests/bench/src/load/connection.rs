//! One HTTP/1.1 connection of a client that believes nothing: an answer is a whole head, a length, and all of the body.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::process::Process;

/// A request without an answer for so long has failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest head.
const MAX_HEAD: usize = 16 << 10;

/// Why a request has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection.
    Refused,
    /// The connection ended before the answer began.
    NoAnswer,
    /// It ended within the answer.
    CutShort,
    /// The answer is none that HTTP knows, or has no length.
    Garbled,
    /// Another status than 200.
    Status(u16),
    /// Nothing came for ten seconds.
    TooLate,
}

impl Failure {
    /// In words.
    pub(crate) fn words(self) -> String {
        match self {
            Failure::Refused => "connection refused".into(),
            Failure::NoAnswer => "closed without an answer".into(),
            Failure::CutShort => "answer cut short".into(),
            Failure::Garbled => "garbled answer".into(),
            Failure::Status(status) => format!("status {status}"),
            Failure::TooLate => format!("no answer within {} s", DEADLINE.as_secs()),
        }
    }
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// The server uses this connection no more.
    pub(crate) closes: bool,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr) -> Result<Connection, Failure> {
        let stream = timeout(DEADLINE, TcpStream::connect(to)).await;
        let stream = stream.map_err(|_| Failure::TooLate)?.map_err(|_| Failure::Refused)?;
        stream.set_nodelay(true).map_err(|_| Failure::Refused)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        timeout(DEADLINE, self.exchange(request)).await.unwrap_or(Err(Failure::TooLate))
    }

    /// Whether the server has closed it, as far as can be seen from here.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Ok(0)) || !self.buffer.is_empty()
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.stream.write_all(request).await.map_err(|_| Failure::NoAnswer)?;
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Failure::Garbled);
            }
            let begun = if self.buffer.is_empty() { Failure::NoAnswer } else { Failure::CutShort };
            self.more(begun).await?;
        };
        let head = Head::parse(&self.buffer[..end]).ok_or(Failure::Garbled)?;
        while self.buffer.len() < end + head.length {
            self.more(Failure::CutShort).await?;
        }
        if head.status != 200 {
            return Err(Failure::Status(head.status));
        }
        let body = self.buffer[end..end + head.length].to_vec();
        self.buffer.drain(..end + head.length);
        Ok(Answer { body, closes: head.closes })
    }

    async fn more(&mut self, at_the_end: Failure) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(at_the_end),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    closes: bool,
}

impl Head {
    /// Of an answer with a Content-Length: the backends send no other.
    fn parse(head: &[u8]) -> Option<Head> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (mut length, mut closes) = (None, false);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse().ok()?);
            }
            closes |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        }
        Some(Head { status, length: length?, closes })
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A GET of `path` with more header lines, each with its line end.
pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\n{headers}\r\n").into_bytes()
}

/// Waits until a server answers well, or has ended.
pub(crate) async fn wait_until_it_answers(to: SocketAddr, server: &mut Process) -> Result<()> {
    let mut last = Failure::Refused;
    for _ in 0..1000 {
        match one(to).await {
            Ok(_) => return Ok(()),
            Err(failure) => last = failure,
        }
        server.check().context("a server that is to be measured")?;
        sleep(Duration::from_millis(20)).await;
    }
    bail!("a server at {to} gives no good answer: {}", last.words())
}

/// Waits until a server accepts connections, or has ended.
pub(crate) async fn wait_until_it_listens(to: SocketAddr, server: &mut Process) -> Result<()> {
    for _ in 0..1000 {
        if TcpStream::connect(to).await.is_ok() {
            return Ok(());
        }
        server.check().context("a server that is to be measured")?;
        sleep(Duration::from_millis(20)).await;
    }
    bail!("no server listens at {to}")
}

async fn one(to: SocketAddr) -> Result<Answer, Failure> {
    Connection::open(to).await?.send(&get("/", "")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_without_length_or_with_an_odd_one_is_garbled() {
        for head in
            ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "hello\r\n\r\n"]
        {
            assert_eq!(Head::parse(head.as_bytes()), None, "{head:?}");
        }
        let good = b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        assert_eq!(Head::parse(good), Some(Head { status: 503, length: 3, closes: true }));
    }
}
