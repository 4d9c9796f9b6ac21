//! A receiver of webhooks on loopback that behaves as it is told, and remembers what it heard.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest request that is read.
const LONGEST: usize = 1 << 20;

/// How a receiver answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and body.
    Says(u16, String),
    /// With a redirect to this address.
    Redirects(String),
    /// Not at all: it reads, and keeps the connection.
    Hangs,
    /// It sends its head a byte now and then, and never comes to its end.
    Drips,
    /// With a body of so many bytes.
    Floods(usize),
    /// It closes the connection.
    Closes,
}

/// What was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Method and path.
    pub line: String,
    /// Headers, their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Heard {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The value of a header; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Whether the signature is that of this key, by HMAC as RFC 2104 writes it down.
    pub fn is_signed_with(&self, key: &[u8]) -> bool {
        let mut block = [0_u8; 64];
        let key = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
        block[..key.len()].copy_from_slice(&key);
        let pad = |with: u8| block.map(|byte| byte ^ with);
        let signed = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(signed).chain_update(&self.body);
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner.finalize()).finalize();
        self.header("webhook-signature") == format!("v1,{}", base64(&outer))
    }
}

/// Base64 as RFC 4648 has it.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * n) & 63) as usize] as char;
            text.push(if n > chunk.len() { '=' } else { letter });
        }
    }
    text
}

#[derive(Debug)]
struct Shared {
    heard: Vec<Heard>,
    /// How the next ones are answered, and then all.
    next: VecDeque<Answer>,
    answer: Answer,
}

/// A receiver. It ends with its value.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts one that answers like this. To be called inside a runtime.
    pub async fn start(answer: Answer) -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Receiver::on(listener, answer)
    }

    /// As [`Receiver::start`], at an address that is known.
    pub async fn at(address: SocketAddr, answer: Answer) -> Result<Receiver> {
        Receiver::on(TcpListener::bind(address).await?, answer)
    }

    fn on(listener: TcpListener, answer: Answer) -> Result<Receiver> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared { heard: Vec::new(), next: VecDeque::new(), answer }));
        let kept = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&kept);
                // What goes wrong with one connection is the sender's to notice.
                tokio::spawn(async move { drop(serve(stream, &shared).await) });
            }
        });
        Ok(Receiver { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address for a spec.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it answers like this.
    pub fn answers(&self, answer: Answer) {
        let mut shared = lock(&self.shared);
        shared.next.clear();
        shared.answer = answer;
    }

    /// A gate's answer from now on.
    pub fn says(&self, answer: &str, reason: &str) {
        self.answers(gate(answer, reason));
    }

    /// The next one is answered like this, before the others.
    pub fn answers_next(&self, answer: Answer) {
        lock(&self.shared).next.push_back(answer);
    }

    /// All that was heard.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.shared).heard.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer of a gate.
pub fn gate(answer: &str, reason: &str) -> Answer {
    Answer::Says(200, serde_json::json!({"answer": answer, "reason": reason}).to_string())
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) -> Result<()> {
    let heard = hear(&mut stream).await?;
    let answer = {
        let mut shared = lock(shared);
        shared.heard.push(heard);
        shared.next.pop_front().unwrap_or_else(|| shared.answer.clone())
    };
    let head = |status: &str, more: &str, length: usize| {
        format!("HTTP/1.1 {status} x\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n")
    };
    match answer {
        Answer::Says(status, body) => {
            let text = head(&status.to_string(), "content-type: application/json\r\n", body.len()) + &body;
            stream.write_all(text.as_bytes()).await?;
        }
        Answer::Redirects(to) => {
            stream.write_all(head("307", &format!("location: {to}\r\n"), 0).as_bytes()).await?;
        }
        Answer::Hangs => std::future::pending().await,
        Answer::Drips => loop {
            stream.write_all(b"H").await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        },
        Answer::Floods(bytes) => {
            stream.write_all(head("200", "", bytes).as_bytes()).await?;
            for _ in 0..bytes / 4096 {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Answer::Closes => {}
    }
    stream.shutdown().await?;
    Ok(())
}

async fn hear(stream: &mut TcpStream) -> Result<Heard> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8(bytes[..end].to_vec())?;
    let mut lines = head.split("\r\n");
    let line = lines.next().context("no request")?.to_owned();
    let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(pair).collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
    while bytes.len() < end + 4 + length {
        more(stream, &mut bytes).await?;
    }
    Ok(Heard { line, headers, body: bytes[end + 4..end + 4 + length].to_vec() })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<()> {
    if stream.read_buf(bytes).await? == 0 || bytes.len() > LONGEST {
        bail!("the request broke off, or is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_specification() {
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
