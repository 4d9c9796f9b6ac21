//! What a peer's frames mean.

use http::{Response, StatusCode};

use super::super::frame::{Frame, flag, kind, setting};
use super::super::head::Gathered;
use super::super::request::Reading;
use super::super::{Broken, MAX_FRAME, Reason};
use super::stream::Stream;
use super::{
    Block, Farewell, LAST_PING, MAX_BLOCK, MAX_CONTINUATIONS, MAX_ID, MAX_INTERIM, MAX_WINDOW, PING,
    PREMATURE, Ping, Role, Session,
};

/// What went wrong with a frame.
enum Fault {
    Connection(Reason),
    Stream(u32, Reason),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        Fault::Connection(reason)
    }
}

impl Session {
    pub(super) fn take(&mut self, frame: &Frame<'_>) {
        match self.look_at(frame) {
            Ok(()) => {}
            Err(Fault::Connection(reason)) => self.fail(reason),
            Err(Fault::Stream(id, reason)) => {
                self.break_off(id, reason);
                if reason == Reason::REFUSED_STREAM { self.strain() } else { self.blame() }
            }
        }
    }

    fn look_at(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if let Some(block) = &self.block
            && (frame.kind != kind::CONTINUATION || frame.stream != block.stream)
        {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        if !self.settled && frame.kind != kind::SETTINGS {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        match frame.kind {
            kind::DATA => self.data(frame),
            kind::HEADERS => self.headers(frame),
            kind::CONTINUATION => self.continuation(frame),
            kind::PRIORITY => self.priority(frame),
            kind::RST_STREAM => self.rst_stream(frame),
            kind::SETTINGS => self.settings(frame),
            kind::PING => self.pinged(frame),
            kind::GOAWAY => self.goaway(frame),
            kind::WINDOW_UPDATE => self.window_update(frame),
            kind::PUSH_PROMISE => Err(Reason::PROTOCOL_ERROR.into()),
            _ => Ok(()),
        }
    }

    /// Whether a stream has never been open.
    fn is_new(&self, id: u32) -> bool {
        let by_client = id % 2 == 1;
        let next = if self.role == Role::Client { self.next } else { self.last.saturating_add(1) };
        id == 0 || !by_client || id >= next
    }

    fn data(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let id = frame.stream;
        if self.is_new(id) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let size = frame.payload.len() as u32;
        self.receivable -= i64::from(size);
        if self.receivable < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR.into());
        }
        let data = frame.unpadded()?;
        let ends = frame.has(flag::END_STREAM);
        if data.is_empty() && !ends {
            self.strain();
        }
        // What nobody takes is as if it had been taken.
        let padding = size - data.len() as u32;
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.broken.is_none()) else {
            self.credit(size);
            // What was on its way when the stream was ended here is nobody's fault.
            let ended_here = self.reset.contains(&id) || self.farewell != Farewell::None;
            return if ended_here { Ok(()) } else { Err(Fault::Stream(id, Reason::STREAM_CLOSED)) };
        };
        if stream.received || self.role == Role::Client && !stream.answered {
            self.credit(size);
            return Err(Fault::Stream(id, Reason::STREAM_CLOSED));
        }
        stream.receivable -= i64::from(size);
        if stream.receivable < 0 {
            self.credit(size);
            return Err(Fault::Stream(id, Reason::FLOW_CONTROL_ERROR));
        }
        if let Some(due) = stream.due {
            let left = due.checked_sub(data.len() as u64).filter(|left| !ends || *left == 0);
            if left.is_none() {
                self.credit(size);
                return Err(Fault::Stream(id, Reason::PROTOCOL_ERROR));
            }
            stream.due = left;
        }
        stream.keep(data);
        stream.received = ends;
        stream.wake();
        if ends {
            self.close_if_done(id);
        }
        self.give_window(id, padding);
        Ok(())
    }

    fn headers(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mut block = frame.unpadded()?;
        if frame.stream.is_multiple_of(2) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let mut depends_on_itself = false;
        if frame.has(flag::PRIORITY) {
            let (priority, rest) = block.split_first_chunk::<5>().ok_or(Reason::FRAME_SIZE_ERROR)?;
            depends_on_itself = depends_on(priority) == frame.stream;
            block = rest;
        }
        let ends = frame.has(flag::END_STREAM);
        if frame.has(flag::END_HEADERS) {
            self.fields(frame.stream, ends, block)?;
        } else {
            self.block = Some(Block { stream: frame.stream, ends, bytes: block.to_vec(), frames: 1 });
        }
        if depends_on_itself { Err(Fault::Stream(frame.stream, Reason::PROTOCOL_ERROR)) } else { Ok(()) }
    }

    fn continuation(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mut block = self.block.take().ok_or(Reason::PROTOCOL_ERROR)?;
        block.bytes.extend_from_slice(frame.payload);
        block.frames += 1;
        if block.bytes.len() > MAX_BLOCK || block.frames > MAX_CONTINUATIONS {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        if frame.has(flag::END_HEADERS) {
            return self.fields(block.stream, block.ends, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of fields. It is read whatever becomes of it: the next ones refer to it.
    fn fields(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        if self.role == Role::Server && self.is_new(id) {
            let mut reading = Reading::new(self.limits.head);
            self.decoder.decode(block, |found| reading.take(found))?;
            return self.open_stream(id, ends, reading);
        }
        let mut gathered = Gathered::new(self.limits.head);
        self.decoder.decode(block, |found| gathered.take(found))?;
        if self.is_new(id) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.broken.is_none()) else {
            let known = self.role == Role::Client || self.reset.contains(&id);
            return if known { Ok(()) } else { Err(Reason::STREAM_CLOSED.into()) };
        };
        if stream.received {
            return Err(Fault::Stream(id, Reason::STREAM_CLOSED));
        }
        let malformed = Fault::Stream(id, Reason::PROTOCOL_ERROR);
        if gathered.rules.is_too_large() {
            return Err(Fault::Stream(id, Reason::ENHANCE_YOUR_CALM));
        }
        if self.role == Role::Client && !stream.answered {
            return self.answered(id, ends, gathered);
        }
        let trailers = gathered.trailers().map_err(|_| Fault::Stream(id, Reason::PROTOCOL_ERROR))?;
        if !ends || stream.due.is_some_and(|due| due > 0) {
            return Err(malformed);
        }
        (stream.trailers, stream.received) = (Some(trailers), true);
        stream.wake();
        self.close_if_done(id);
        Ok(())
    }

    /// A request.
    fn open_stream(&mut self, id: u32, ends: bool, reading: Reading) -> Result<(), Fault> {
        self.last = id;
        if let Farewell::Last(last) = self.farewell
            && id > last
        {
            return Ok(());
        }
        if self.open >= self.limits.streams {
            return Err(Fault::Stream(id, Reason::REFUSED_STREAM));
        }
        let mut stream = Stream::new(self.now, self.limits.stream_window, self.initial_window);
        let too_large = reading.rules.is_too_large();
        if !too_large {
            let request = reading.finish().map_err(|_| Fault::Stream(id, Reason::PROTOCOL_ERROR))?;
            stream.due = request.length;
            if ends && stream.due.is_some_and(|due| due > 0) {
                return Err(Fault::Stream(id, Reason::PROTOCOL_ERROR));
            }
            stream.request = Some(request);
        }
        stream.received = ends;
        self.streams.insert(id, stream);
        self.open += 1;
        if too_large {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            self.send_response(id, &answer, true);
            self.strain();
        } else {
            self.arrived.push_back(id);
        }
        Ok(())
    }

    /// The head of an answer.
    fn answered(&mut self, id: u32, ends: bool, gathered: Gathered) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let due = gathered.rules.length;
        let malformed = || Fault::Stream(id, Reason::PROTOCOL_ERROR);
        let response = gathered.response().map_err(|_| malformed())?;
        let status = response.status();
        if status.is_informational() {
            if ends || status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(malformed());
            }
            if stream.interim.len() >= MAX_INTERIM {
                return Err(Fault::Stream(id, Reason::ENHANCE_YOUR_CALM));
            }
            stream.interim.push_back(response);
            stream.wake();
            return Ok(());
        }
        let bodiless = stream.to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        stream.due = if bodiless { Some(0) } else { due };
        if ends && stream.due.is_some_and(|due| due > 0) {
            return Err(malformed());
        }
        (stream.answer, stream.answered, stream.received) = (Some(response), true, ends);
        stream.wake();
        if ends {
            self.close_if_done(id);
        }
        Ok(())
    }

    fn priority(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let priority: &[u8; 5] = frame.payload.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)?;
        if frame.stream == 0 {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        if depends_on(priority) != frame.stream {
            return Ok(());
        }
        Err(if self.is_new(frame.stream) {
            Reason::PROTOCOL_ERROR.into()
        } else {
            Fault::Stream(frame.stream, Reason::PROTOCOL_ERROR)
        })
    }

    fn rst_stream(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (id, reason) = (frame.stream, Reason(frame.number()?));
        if self.is_new(id) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.broken.is_none()) else {
            return Ok(());
        };
        let premature = !stream.sent && self.now.saturating_sub(stream.opened) < PREMATURE;
        let refused = self.role == Role::Client && reason == Reason::REFUSED_STREAM && !stream.answered;
        let broken = if refused { Broken::Untaken(reason) } else { Broken::ByPeer(reason) };
        self.break_stream(id, broken);
        if premature && self.role == Role::Server {
            self.strain();
        }
        Ok(())
    }

    fn settings(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        if frame.has(flag::ACK) {
            let acknowledges = frame.payload.is_empty() && self.settled;
            return if acknowledges { Ok(()) } else { Err(Reason::FRAME_SIZE_ERROR.into()) };
        }
        let (settings, []) = frame.payload.as_chunks::<6>() else {
            return Err(Reason::FRAME_SIZE_ERROR.into());
        };
        let before = self.initial_window;
        for [a, b, c, d, e, f] in settings {
            self.setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]))?;
        }
        if self.settled {
            self.strain();
        }
        self.settled = true;
        self.out.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        if self.initial_window > before {
            self.pump_all();
        }
        Ok(())
    }

    /// Windows have opened. What they let through comes after the acknowledgement: that is due at once (RFC 9113 section
    /// 6.5.3), and its reader may take what comes before it for what the settings of before let through.
    fn pump_all(&mut self) {
        let mut waiting = Vec::new();
        for (id, stream) in &self.streams {
            if !stream.is_idle() {
                waiting.push(*id);
            }
        }
        // The oldest first: what has waited longest gets the window of the connection.
        waiting.sort_unstable();
        waiting.into_iter().for_each(|id| self.pump(id));
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Reason> {
        match name {
            setting::HEADER_TABLE_SIZE => {
                let least = self.table_size.unwrap_or(usize::MAX).min(value as usize);
                self.table_size = Some(least).filter(|least| *least < 4096);
            }
            setting::ENABLE_PUSH if value > 1 || value == 1 && self.role == Role::Client => {
                return Err(Reason::PROTOCOL_ERROR);
            }
            setting::MAX_CONCURRENT_STREAMS => self.max_streams = value,
            setting::INITIAL_WINDOW_SIZE => return self.change_windows(i64::from(value)),
            setting::MAX_FRAME_SIZE if !(MAX_FRAME as u32..1 << 24).contains(&value) => {
                return Err(Reason::PROTOCOL_ERROR);
            }
            _ => {}
        }
        Ok(())
    }

    fn change_windows(&mut self, initial: i64) -> Result<(), Reason> {
        if initial > MAX_WINDOW {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let more = initial - std::mem::replace(&mut self.initial_window, initial);
        for stream in self.streams.values_mut() {
            stream.window += more;
            if stream.window > MAX_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
        }
        Ok(())
    }

    fn pinged(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let payload: [u8; 8] = frame.payload.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)?;
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        if !frame.has(flag::ACK) {
            self.out.frame(kind::PING, flag::ACK, 0, &payload);
            self.strain();
        } else if payload == PING && self.ping == Ping::Sent {
            self.ping = Ping::Answered;
        } else if payload == LAST_PING && self.farewell == Farewell::Told {
            self.farewell = Farewell::Last(self.last);
            self.goodbye(self.last, Reason::NO_ERROR);
        }
        Ok(())
    }

    fn goaway(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (head, _) = frame.payload.split_first_chunk::<8>().ok_or(Reason::FRAME_SIZE_ERROR)?;
        if frame.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let [a, b, c, d, e, f, g, h] = *head;
        let last = u32::from_be_bytes([a, b, c, d]) & MAX_ID;
        let reason = Reason(u32::from_be_bytes([e, f, g, h]));
        self.leaving = Some(self.leaving.map_or(last, |before| before.min(last)));
        if self.role == Role::Client {
            let mut beyond = Vec::new();
            for (id, stream) in &mut self.streams {
                if *id > last && !stream.closed {
                    beyond.push(*id);
                }
            }
            beyond.sort_unstable();
            beyond.into_iter().for_each(|id| self.break_stream(id, Broken::Untaken(reason)));
        }
        Ok(())
    }

    fn window_update(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (id, more) = (frame.stream, i64::from(frame.number()? & 0x7fff_ffff));
        if id == 0 {
            self.window += more;
            if more == 0 {
                return Err(Reason::PROTOCOL_ERROR.into());
            }
            if self.window > MAX_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR.into());
            }
            self.release_held();
            return Ok(());
        }
        if self.is_new(id) {
            return Err(Reason::PROTOCOL_ERROR.into());
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.broken.is_none()) else {
            if more == 0 {
                self.blame();
            }
            return Ok(());
        };
        stream.window += more;
        if more == 0 {
            return Err(Fault::Stream(id, Reason::PROTOCOL_ERROR));
        }
        if stream.window > MAX_WINDOW {
            return Err(Fault::Stream(id, Reason::FLOW_CONTROL_ERROR));
        }
        if !stream.is_idle() {
            self.pump(id);
        }
        Ok(())
    }
}

fn depends_on(priority: &[u8; 5]) -> u32 {
    let [a, b, c, d, _] = *priority;
    u32::from_be_bytes([a, b, c, d]) & MAX_ID
}
