//! HTTP/2 by hand: frames as RFC 9113 has them, and those that it forbids.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error that a RST_STREAM or GOAWAY names.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status that stands first in a HEADERS. Valid as long as the peer has no table to refer to.
    pub fn status(&self) -> u16 {
        let updates = self.payload.iter().take_while(|b| **b & 0xe0 == 0x20).count();
        match self.payload[updates..] {
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8a, ..] => 206,
            [0x8b, ..] => 304,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x8e, ..] => 500,
            [0x08 | 0x18 | 0x48, length, ref value @ ..] => literal(length, value),
            _ => 0,
        }
    }
}

/// A status as a string, in Huffman's code or not.
fn literal(length: u8, value: &[u8]) -> u16 {
    let value = &value[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return String::from_utf8_lossy(value).parse().unwrap_or(0);
    }
    let bits: String = value.iter().map(|b| format!("{b:08b}")).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let (digit, width) = match five {
            0..=2 => (five, 5),
            _ => (u16::from_str_radix(&bits[at..at + 6], 2).unwrap() - 22, 6),
        };
        (at, number) = (at + width, number * 10 + digit);
    }
    number
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that leave no trace in any table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| [&[0][..], &string(name.as_bytes()), &string(value.as_bytes())].concat())
        .collect()
}

pub fn string(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend(text);
    out
}

/// The head of a request on a stream.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// What an ordinary request begins with.
pub fn ask<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "shop")]
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &ask("GET", path))
}

/// One connection.
pub struct H2 {
    pub stream: TcpStream,
    /// Whether windows are opened for what comes.
    pub reads: bool,
}

impl H2 {
    pub fn connect(port: u16) -> H2 {
        H2::with(port, &[])
    }

    /// A connection with these settings, and no table for fields.
    pub fn with(port: u16, settings: &[(u16, u32)]) -> H2 {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut h2 = H2 { stream, reads: true };
        let all = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        let payload: Vec<u8> =
            all.iter().flat_map(|(n, v)| [&n.to_be_bytes()[..], &v.to_be_bytes()].concat()).collect();
        h2.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &payload)].concat());
        h2
    }

    /// Whether the peer has taken it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends the same again and again, without reading, until the peer takes no more, or as often as told.
    pub fn flood(&mut self, times: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let sent = (0..times).position(|n| !self.send(bytes(n))).unwrap_or(times);
        self.stream.set_write_timeout(None).unwrap();
        sent
    }

    /// The next frame that is no matter of course; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            match (frame.kind, frame.flags & ACK) {
                (SETTINGS, 0) => drop(self.send(self::frame(SETTINGS, ACK, 0, &[]))),
                (PING, 0) => drop(self.send(self::frame(PING, ACK, 0, &frame.payload))),
                (SETTINGS | PING | WINDOW_UPDATE, _) => {}
                (DATA, _) if self.reads && !frame.payload.is_empty() => {
                    self.open(0, frame.payload.len() as u32);
                    self.open(frame.stream, frame.payload.len() as u32);
                    return Some(frame);
                }
                _ => return Some(frame),
            }
        }
    }

    /// Waits for a ping, and answers it.
    pub fn wait_for_ping(&mut self) {
        loop {
            let frame = self.read().unwrap();
            if (frame.kind, frame.flags & ACK) == (PING, 0) {
                self.send(self::frame(PING, ACK, 0, &frame.payload));
                return;
            }
        }
    }

    /// Opens a window.
    pub fn open(&mut self, stream: u32, by: u32) -> bool {
        self.send(frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes()))
    }

    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("silence where a frame or the end should be")
            }
            Err(_) => None,
        }
    }

    /// All that belongs to a stream until it ends, in whatever way.
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        while let Some(frame) = self.next() {
            match frame.kind {
                GOAWAY => answer.goaway = Some(frame.error()),
                _ if frame.stream != stream => continue,
                RST_STREAM => {
                    answer.reset = Some(frame.error());
                    return answer;
                }
                HEADERS => answer.statuses.push(frame.status()),
                DATA => answer.body.extend(&frame.payload),
                _ => continue,
            }
            if frame.ends() {
                answer.whole = true;
                return answer;
            }
        }
        answer
    }

    /// Reads until the connection ends; the error of the last GOAWAY.
    pub fn goodbye(&mut self) -> Option<u32> {
        let mut error = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                error = Some(frame.error());
            }
        }
        error
    }
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The first value of each block of fields; 0 for one that is no status: trailers.
    pub statuses: Vec<u16>,
    pub body: Vec<u8>,
    /// It ended as it should.
    pub whole: bool,
    pub reset: Option<u32>,
    pub goaway: Option<u32>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.statuses.iter().copied().find(|status| *status >= 200).unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
