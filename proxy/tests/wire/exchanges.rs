//! Random valid exchanges in random pieces: both ends must see the same, byte for byte.
//!
//! `PENSTOCK_SEED=n` runs one seed again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use crate::harness::strict::{Field, Kind, Message};
use crate::harness::{Client, Rig};

/// Exchanges of one seed, all on one connection.
const EXCHANGES: usize = 40;
const SEEDS: u64 = 6;

/// A message to send.
#[derive(Clone, Debug)]
struct Sent {
    line: String,
    fields: Vec<Field>,
    body: Vec<u8>,
    trailers: Vec<Field>,
    wire: Vec<u8>,
}

/// A request, and the answer to it.
#[derive(Clone, Debug)]
struct Exchange {
    request: Sent,
    interim: Vec<u8>,
    answer: Sent,
    closes: bool,
}

fn name(rng: &mut Rng) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789!#$%&'*+.^_`|~-";
    let pick = |rng: &mut Rng| char::from(letters.as_bytes()[rng.usize(..letters.len())]);
    format!("x-{}", (0..rng.usize(1..20)).map(|_| pick(rng)).collect::<String>())
}

fn value(rng: &mut Rng) -> String {
    let length = [0, 1, 5, 40, 200, 2000][rng.usize(..6)];
    let any = |rng: &mut Rng| match rng.u8(..10) {
        0 => ' ',
        1 => '\t',
        2 => char::from(rng.u8(0x80..)),
        _ => char::from(rng.u8(0x21..0x7f)),
    };
    (0..length).map(|_| any(rng)).collect::<String>().trim_matches([' ', '\t']).to_owned()
}

pub fn fields(rng: &mut Rng, most: usize) -> Vec<Field> {
    let mut all: Vec<Field> = (0..rng.usize(..=most)).map(|_| (name(rng), value(rng))).collect();
    if let Some(again) = all.first().cloned().filter(|_| rng.bool()) {
        all.push((again.0.to_uppercase(), value(rng)));
    }
    all
}

pub fn body(rng: &mut Rng) -> Vec<u8> {
    let length = match rng.u8(..10) {
        0..3 => 0,
        3..7 => rng.usize(1..300),
        7..9 => rng.usize(300..20_000),
        _ => rng.usize(20_000..300_000),
    };
    let odd = rng.bool();
    (0..length).map(|_| if odd { b"\r\n0;: "[rng.usize(..6)] } else { rng.u8(..) }).collect()
}

/// Latin-1, as fields are.
pub fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn field_lines(fields: &[Field], rng: &mut Rng) -> Vec<u8> {
    let blanks = |rng: &mut Rng| ["", " ", "  ", "\t", " \t "][rng.usize(..5)];
    let line = |(n, v): &Field, rng: &mut Rng| format!("{n}:{}{v}{}\r\n", blanks(rng), blanks(rng));
    fields.iter().flat_map(|field| latin(&line(field, rng))).collect()
}

fn chunks(body: &[u8], trailers: &[Field], rng: &mut Rng) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let largest = [1, 10, 1000, 100_000][rng.usize(..4)];
        let size = rng.usize(1..=rest.len().min(largest));
        let extension = ["", ";a", ";a=b", ";a=\"b;\""][rng.usize(..4)];
        // More extensions than data are refused.
        let extension = if size > extension.len() { extension } else { "" };
        let size_text = if rng.bool() { format!("{size:x}") } else { format!("{size:04X}") };
        out.extend(
            format!("{size_text}{extension}\r\n").bytes().chain(rest[..size].iter().copied()).chain(*b"\r\n"),
        );
        rest = &rest[size..];
    }
    out.extend(*b"0\r\n");
    out.extend(field_lines(trailers, rng));
    out.extend(*b"\r\n");
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    None,
    Length,
    Chunked,
    Close,
}

fn message(line: String, host: bool, frame: Frame, rng: &mut Rng) -> Sent {
    let mut fields = fields(rng, 12);
    let body = if frame == Frame::None { Vec::new() } else { body(rng) };
    // All trailers together are at most 8 KiB.
    let trailers = if frame == Frame::Chunked && rng.bool() { self::fields(rng, 2) } else { Vec::new() };
    let mut framed = fields.clone();
    if host {
        framed.insert(rng.usize(..=framed.len()), ("Host".into(), "shop".into()));
        fields.push(("host".into(), "shop".into()));
    }
    match frame {
        Frame::Length => {
            framed.insert(rng.usize(..=framed.len()), ("Content-Length".into(), body.len().to_string()))
        }
        Frame::Chunked => {
            framed.insert(rng.usize(..=framed.len()), ("Transfer-Encoding".into(), "chunked".into()))
        }
        Frame::Close | Frame::None => {}
    }
    let rest = if frame == Frame::Chunked { chunks(&body, &trailers, rng) } else { body.clone() };
    let wire =
        [line.clone().into_bytes(), b"\r\n".to_vec(), field_lines(&framed, rng), b"\r\n".to_vec(), rest];
    Sent { line, fields, body, trailers, wire: wire.concat() }
}

fn exchange(n: usize, rng: &mut Rng) -> Exchange {
    let method = ["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "BREW"][rng.usize(..8)];
    let frame = if matches!(method, "GET" | "HEAD") {
        Frame::None
    } else {
        [Frame::Length, Frame::Chunked][rng.usize(..2)]
    };
    let request = message(format!("{method} /{n} HTTP/1.1"), true, frame, rng);
    let (status, frame) = match (method, rng.u8(..10)) {
        ("HEAD", _) => ("200 OK", Frame::None),
        (_, 0) => ("204 No Content", Frame::None),
        (_, 1) => ("304 Not Modified", Frame::None),
        (_, 2) => ("500 Oops, an Error", Frame::Length),
        (_, 3) => ("200 OK", Frame::Close),
        (_, 4..7) => ("201 Made", Frame::Chunked),
        _ => ("200 OK", Frame::Length),
    };
    let interim = if rng.u8(..8) == 0 {
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec()
    } else {
        Vec::new()
    };
    let answer = message(format!("HTTP/1.1 {status}"), false, frame, rng);
    Exchange { request, interim, answer, closes: frame == Frame::Close }
}

/// Sends in pieces of random sizes.
fn in_pieces(client: &mut Client, bytes: &[u8], rng: &mut Rng) -> bool {
    let largest = [1, 7, 100, 5_000, 100_000][rng.usize(..5)].max(bytes.len() / 300);
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = rng.usize(1..=rest.len().min(largest));
        if !client.try_send(&rest[..size]) {
            return false;
        }
        rest = &rest[size..];
    }
    true
}

/// Values by name, in lower case.
pub fn by_name(fields: &[Field]) -> BTreeMap<String, Vec<&str>> {
    let mut all = BTreeMap::<String, Vec<&str>>::new();
    for (name, value) in fields {
        all.entry(name.to_lowercase()).or_default().push(value);
    }
    all
}

/// What a proxy may add.
pub const ADDED: [&str; 11] = [
    "connection",
    "content-length",
    "forwarded",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "via",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
];

fn same(sent: &Sent, got: &Message) {
    let mut fields = by_name(&got.fields);
    fields.retain(|name, _| !ADDED.contains(&name.as_str()));
    assert_eq!(got.line, sent.line);
    assert_eq!(fields, by_name(&sent.fields), "{}", sent.line);
    assert!(got.body == sent.body, "{}: {} of {} bytes", sent.line, got.body.len(), sent.body.len());
    assert_eq!(by_name(&got.trailers), by_name(&sent.trailers), "{}", sent.line);
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let exchanges: Arc<Vec<Exchange>> = Arc::new((0..EXCHANGES).map(|n| exchange(n, &mut rng)).collect());
    let (all, pieces) = (Arc::clone(&exchanges), Mutex::new(rng.fork()));
    let rig = Rig::doing(move |request, client| {
        let exchange = &all[request.word(1)[1..].parse::<usize>().unwrap()];
        let mut rng = pieces.lock().unwrap().fork();
        let bytes = [&exchange.interim[..], &exchange.answer.wire].concat();
        in_pieces(client, &bytes, &mut rng) && !exchange.closes
    });
    let mut client = rig.client();
    let mut sender = Client::over(client.stream.try_clone().unwrap());
    let (all, mut random) = (Arc::clone(&exchanges), rng.fork());
    let sending = std::thread::spawn(move || {
        let wire: Vec<u8> = all.iter().flat_map(|exchange| exchange.request.wire.clone()).collect();
        in_pieces(&mut sender, &wire, &mut random)
    });
    for exchange in exchanges.iter() {
        let kind =
            if exchange.request.line.starts_with("HEAD") { Kind::HeadResponse } else { Kind::Response };
        if !exchange.interim.is_empty() {
            assert_eq!(client.strict(Kind::Response).unwrap().line, "HTTP/1.1 103 Early Hints");
        }
        same(&exchange.answer, &client.strict(kind).unwrap());
    }
    assert!(sending.join().unwrap());
    let heard = rig.tape.messages();
    assert_eq!(heard.len(), EXCHANGES);
    exchanges.iter().zip(&heard).for_each(|(exchange, heard)| same(&exchange.request, heard));
}

/// Seeds to run: one that is named, or some that differ each time.
pub fn seeds() -> Vec<u64> {
    match std::env::var("PENSTOCK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..SEEDS).map(|_| fastrand::u64(..)).collect(),
    }
}

/// Says which seed it was.
pub struct Told(pub u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with PENSTOCK_SEED={}", self.0);
        }
    }
}

#[test]
fn random_exchanges_arrive_as_they_were_sent() {
    for seed in seeds() {
        let _told = Told(seed);
        println!("seed {seed}");
        run(seed);
    }
}
