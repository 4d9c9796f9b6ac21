//! A connection of HTTP/2: bytes in, bytes out, and its streams.
//!
//! `heard` is what a peer's frames mean, `asked` what streams want, `stream` what is known of one.
//!
//! A stream belongs to one task, which is woken when there is something new for it. Whoever moves the bytes is the
//! driver: it is woken when a stream has made some.

mod asked;
mod heard;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::io::{self, IoSlice};
use std::task::{Context, Waker};

use self::stream::{Ending, Stream};
use super::frame::{Frame, PREFACE, kind, setting};
use super::hpack::Decoder;
use super::outgoing::Outgoing;
use super::{Broken, Limits, MAX_OUTGOING, Reason};
use crate::quick::Quick;

/// Windows that nobody has changed (RFC 9113 section 6.9.2).
const WINDOW: u32 = 65_535;
const MAX_WINDOW: i64 = 0x7fff_ffff;
const MAX_ID: u32 = 0x7fff_ffff;
/// Most bytes of one block of fields, and most frames that it comes in.
const MAX_BLOCK: usize = 128 << 10;
const MAX_CONTINUATIONS: u32 = 100;
/// Most interim answers that wait to be looked at.
const MAX_INTERIM: usize = 40;
/// Streams that were reset here and may still be heard of.
const MAX_RESET: usize = 256;
/// How many useless things a peer may do at once, and in a second. Each costs more than it looks: an answer, or a
/// request that was begun for nothing.
const MAX_STRAIN: u64 = 1000;
const STRAIN_PER_SECOND: u64 = 500;
/// How often a peer may break the rules of single streams, beyond those that come to their end.
const MAX_FAULTS: u32 = 1000;
/// A stream that its peer resets within so many milliseconds was begun for nothing.
const PREMATURE: u64 = 1000;
/// What the pings carry that this side sends.
const PING: [u8; 8] = *b"penstock";
const LAST_PING: [u8; 8] = *b"farewell";

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens streams.
    Client,
    /// Answers them.
    Server,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    limits: Limits,
    /// The clock of its owner, in milliseconds.
    now: u64,
    /// How much of the preface has come.
    preface: usize,
    settled: bool,
    out: Outgoing,
    decoder: Decoder,
    encoded: Vec<u8>,
    /// The peer allows a smaller table than the usual one.
    table_size: Option<usize>,
    streams: HashMap<u32, Box<Stream>, BuildHasherDefault<Quick>>,
    /// Streams of which the end of both directions is still to come.
    open: u32,
    /// The last stream that the peer opened, and the next one to be opened here.
    last: u32,
    next: u32,
    /// Requests that nobody has looked at.
    arrived: VecDeque<u32>,
    block: Option<Block>,
    reset: VecDeque<u32>,
    /// What the peer may still send, and what of it has been taken since that was last said.
    receivable: i64,
    taken: u32,
    /// What may still be sent.
    window: i64,
    initial_window: i64,
    max_streams: u32,
    /// Streams that wait for the connection's window, and for room in what is to be written.
    held: VecDeque<u32>,
    crowd: VecDeque<u32>,
    faults: u32,
    strain: u64,
    strain_at: u64,
    ping: Ping,
    farewell: Farewell,
    /// The peer opens no streams any more, or takes none beyond this one.
    leaving: Option<u32>,
    /// Why nothing comes and goes any more.
    broken: Option<Broken>,
    /// Handles by which streams can be opened.
    users: usize,
    driver: Option<Waker>,
    driving: bool,
}

/// A block of fields of which more is to come.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
    frames: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    None,
    Sent,
    Answered,
}

/// How far it is with telling the peer that the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    None,
    /// The peer has been told, and may have sent more before it heard that.
    Told,
    /// No stream beyond this one is looked at.
    Last(u32),
}

impl Session {
    /// A new connection. Its first bytes wait to be written.
    pub fn new(role: Role, limits: Limits) -> Session {
        let mut session = Session {
            role,
            limits,
            now: 0,
            preface: if role == Role::Client { PREFACE.len() } else { 0 },
            settled: false,
            out: Outgoing::default(),
            decoder: Decoder::default(),
            encoded: Vec::new(),
            table_size: None,
            streams: HashMap::default(),
            open: 0,
            last: 0,
            next: 1,
            arrived: VecDeque::new(),
            block: None,
            reset: VecDeque::new(),
            receivable: i64::from(WINDOW.max(limits.connection_window)),
            taken: 0,
            window: i64::from(WINDOW),
            initial_window: i64::from(WINDOW),
            max_streams: u32::MAX,
            held: VecDeque::new(),
            crowd: VecDeque::new(),
            faults: 0,
            strain: 0,
            strain_at: 0,
            ping: Ping::None,
            farewell: Farewell::None,
            leaving: None,
            broken: None,
            users: 0,
            driver: None,
            driving: false,
        };
        session.greet();
        session
    }

    fn greet(&mut self) {
        if self.role == Role::Client {
            self.out.bytes(PREFACE);
        }
        let head = u32::try_from(self.limits.head).unwrap_or(u32::MAX);
        let mut settings = vec![(setting::INITIAL_WINDOW_SIZE, self.limits.stream_window)];
        settings.push((setting::MAX_HEADER_LIST_SIZE, head));
        settings.push(match self.role {
            Role::Client => (setting::ENABLE_PUSH, 0),
            Role::Server => (setting::MAX_CONCURRENT_STREAMS, self.limits.streams),
        });
        let one = |(name, value): (u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.into_iter().flat_map(one).collect();
        self.out.frame(kind::SETTINGS, 0, 0, &payload);
        if let Some(more) = self.limits.connection_window.checked_sub(WINDOW).filter(|more| *more > 0) {
            self.out.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    // What the driver does.

    /// Says what time it is, in milliseconds.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        let rested = now.saturating_sub(self.strain_at).saturating_mul(STRAIN_PER_SECOND) / 1000;
        if rested > 0 {
            (self.strain, self.strain_at) = (self.strain.saturating_sub(rested), now);
        }
    }

    /// The driver looks after everything now, and is woken for what comes after it has paused.
    pub fn drive(&mut self) {
        self.driving = true;
    }

    /// The driver has done everything.
    pub fn pause(&mut self, cx: &Context<'_>) {
        self.driving = false;
        if self.driver.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// Wakes the driver, once for all that it has to do.
    fn stir(&mut self) {
        if !std::mem::replace(&mut self.driving, true)
            && let Some(waker) = &self.driver
        {
            waker.wake_by_ref();
        }
    }

    /// Whether more is to be read: not while what has been sent is not taken.
    pub fn wants_more(&self) -> bool {
        self.broken.is_none() && self.out.len() < MAX_OUTGOING
    }

    /// Takes what has come, whole frames of it. Returns how much that was.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        if self.preface < PREFACE.len() {
            let due = &PREFACE[self.preface..];
            let come = bytes.len().min(due.len());
            if bytes[..come] != due[..come] {
                self.fail(Reason::PROTOCOL_ERROR);
                return bytes.len();
            }
            (self.preface, used) = (self.preface + come, come);
        }
        while self.broken.is_none() {
            let rest = &bytes[used..];
            match Frame::first(rest) {
                Ok(None) => return used,
                Ok(Some(frame)) => {
                    used += super::frame::HEAD + frame.payload.len();
                    self.take(&frame);
                }
                Err(reason) => self.fail(reason),
            }
        }
        bytes.len()
    }

    /// What is to be written, if that is one piece.
    pub fn outgoing(&self) -> Option<&[u8]> {
        self.out.whole()
    }

    /// What is to be written, in pieces.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        self.out.slices()
    }

    /// Whether everything has been written.
    pub fn is_flushed(&self) -> bool {
        self.out.len() == 0
    }

    /// So much has been written.
    pub fn written(&mut self, count: usize) {
        self.out.consume(count);
        self.let_in();
    }

    /// Wakes the next stream that waits for room, if there is some. It wakes the one after it: each may fill the room.
    fn let_in(&mut self) {
        while self.out.len() < MAX_OUTGOING / 2 {
            let Some(id) = self.crowd.pop_front() else { return };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.in_crowd = false;
                return stream.wake();
            }
        }
    }

    /// The connection has broken off, or the peer has ended it.
    pub fn lose(&mut self, kind: io::ErrorKind) {
        self.out.clear();
        self.end(Broken::Lost(kind));
    }

    /// Whether nothing can come of it any more, once everything has been written.
    pub fn is_over(&self) -> bool {
        let done = self.open == 0 && self.arrived.is_empty();
        self.broken.is_some()
            || done && (matches!(self.farewell, Farewell::Last(_)) || self.leaving.is_some())
            || done && self.role == Role::Client && self.users == 0
    }

    /// Whether the peer has begun as it must.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Why this side has ended it, because of what the peer did.
    pub fn ended_here(&self) -> Option<Reason> {
        match self.broken? {
            Broken::Here(reason) => Some(reason),
            Broken::ByPeer(_) | Broken::Untaken(_) | Broken::Lost(_) => None,
        }
    }

    /// Whether the peer is to hear the last words although it may still be sending: not where nothing passes any more,
    /// and who does too much is not listened to for a moment longer.
    pub fn takes_leave(&self) -> bool {
        match self.broken {
            Some(Broken::Lost(_)) => false,
            Some(Broken::Here(reason)) => reason != Reason::ENHANCE_YOUR_CALM,
            Some(Broken::ByPeer(_) | Broken::Untaken(_)) | None => true,
        }
    }

    /// Tells the peer that it may open no more streams. Those under way come to their end.
    pub fn shut_down(&mut self) {
        if self.farewell == Farewell::None && self.broken.is_none() {
            self.farewell = Farewell::Told;
            self.goodbye(MAX_ID, Reason::NO_ERROR);
            self.out.frame(kind::PING, 0, 0, &LAST_PING);
            self.stir();
        }
    }

    /// Asks the peer whether it is still there. Whether that could be asked: not twice at a time.
    pub fn ping(&mut self) -> bool {
        let free = self.ping != Ping::Sent && self.broken.is_none();
        if free {
            self.ping = Ping::Sent;
            self.out.frame(kind::PING, 0, 0, &PING);
        }
        free
    }

    /// Whether it has answered since this was last asked.
    pub fn has_answered(&mut self) -> bool {
        let answered = self.ping == Ping::Answered;
        if answered {
            self.ping = Ping::None;
        }
        answered
    }

    fn goodbye(&mut self, last: u32, reason: Reason) {
        let payload = [last.to_be_bytes(), reason.0.to_be_bytes()].concat();
        self.out.frame(kind::GOAWAY, 0, 0, &payload);
    }

    /// Ends the connection, with a word.
    fn fail(&mut self, reason: Reason) {
        if self.broken.is_none() {
            self.goodbye(self.last, reason);
            self.end(Broken::Here(reason));
        }
    }

    fn end(&mut self, broken: Broken) {
        if self.broken.is_some() {
            return;
        }
        self.broken = Some(broken);
        for stream in self.streams.values_mut() {
            if !stream.closed {
                (stream.closed, stream.broken) = (true, Some(broken));
                stream.pending.clear();
            }
            stream.wake();
        }
        self.open = 0;
        self.arrived.clear();
        self.streams.retain(|_, stream| stream.handles > 0);
        self.stir();
    }

    fn strain(&mut self) {
        self.strain += 1;
        if self.strain > MAX_STRAIN {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// The peer has broken the rules of one stream.
    fn blame(&mut self) {
        self.faults += 1;
        if self.faults > MAX_FAULTS {
            self.fail(Reason::ENHANCE_YOUR_CALM);
        }
    }

    // What ends.

    /// Resets a stream.
    fn break_off(&mut self, id: u32, reason: Reason) {
        if self.broken.is_some() {
            return;
        }
        self.out.frame(kind::RST_STREAM, 0, id, &reason.0.to_be_bytes());
        if self.reset.len() == MAX_RESET {
            self.reset.pop_front();
        }
        self.reset.push_back(id);
        self.break_stream(id, Broken::Here(reason));
        self.stir();
    }

    fn break_stream(&mut self, id: u32, broken: Broken) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.broken.is_none() && !(stream.received && stream.sent) {
            stream.broken = Some(broken);
        }
        stream.pending.clear();
        stream.ending = Ending::More;
        stream.wake();
        self.closed(id);
    }

    fn close_if_done(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(|stream| stream.received && stream.sent) {
            // Who mostly asks and is answered may give up a request now and then.
            (self.strain, self.faults) = (self.strain.saturating_sub(1), self.faults.saturating_sub(1));
            self.closed(id);
        }
    }

    fn closed(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !std::mem::replace(&mut stream.closed, true) {
            self.open = self.open.saturating_sub(1);
        }
        if stream.handles == 0 && stream.request.is_none() {
            self.remove(id);
        }
        if self.is_over() {
            self.stir();
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if stream.is_held {
            self.held.retain(|other| *other != id);
        }
        if stream.in_crowd {
            self.crowd.retain(|other| *other != id);
        }
        self.credit(stream.kept() as u32);
    }

    /// So much that came has been taken, or never will be.
    fn credit(&mut self, count: u32) {
        self.taken = self.taken.saturating_add(count);
        let whole = WINDOW.max(self.limits.connection_window);
        if self.taken >= whole / 2 && self.broken.is_none() {
            self.receivable += i64::from(self.taken);
            let more = std::mem::take(&mut self.taken);
            self.out.frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
            self.stir();
        }
    }

    /// So much of a stream's body has been taken: the peer may send as much more.
    fn give_window(&mut self, id: u32, count: u32) {
        if count == 0 {
            return;
        }
        self.credit(count);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.taken += count;
        if !stream.received && stream.broken.is_none() && stream.taken >= self.limits.stream_window / 2 {
            stream.receivable += i64::from(stream.taken);
            let more = std::mem::take(&mut stream.taken);
            self.out.frame(kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            self.stir();
        }
    }
}
