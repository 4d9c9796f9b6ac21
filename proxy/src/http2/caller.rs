//! Who sent a request by HTTP/2: hears the answer, may cancel it, and waits no longer than the deadline.

use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderMap, Response, StatusCode};
use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http2::Reason;

use crate::deliver::{Failed, unless};
use crate::http1::alarm::{Alarm, NEVER, Stall};
use crate::http2::link::Stream;
use crate::http2::outlet::{Outlet, Shut};
use crate::refusal::Refusal;
use crate::worker::Worker;

/// The client's end of a stream.
#[derive(Debug)]
pub(crate) struct Caller<'c> {
    stream: Stream,
    alarm: &'c Alarm,
    worker: &'c Rc<Worker>,
    /// So many interim answers have come for it.
    interim: u32,
}

impl<'c> Caller<'c> {
    pub(crate) fn new(worker: &'c Rc<Worker>, alarm: &'c Alarm, stream: Stream) -> Caller<'c> {
        Caller { stream, alarm, worker, interim: 0 }
    }

    /// Waits for the head of the answer no longer than this.
    pub(crate) fn until(&self, deadline: Option<Tick>) {
        self.alarm.set(deadline.unwrap_or(NEVER));
    }

    /// Waits for something else than the client, but no longer than the client and the time allow.
    pub(crate) async fn watched<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Failed> {
        unless(what, |cx| self.poll_watch(cx)).await
    }

    /// Looks after the client and the time, as long as there is no answer.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Failed> {
        if self.stream.poll_broken(cx).is_ready() {
            return Poll::Ready(Failed::Refused(Refusal::Hangup));
        }
        if self.alarm.has_rung() && self.alarm.is_over(self.worker.now()) {
            return Poll::Ready(Failed::Refused(Refusal::Timeout));
        }
        Poll::Pending
    }

    /// Counts an interim answer.
    pub(crate) fn count_interim(&mut self) -> u32 {
        self.interim += 1;
        self.interim
    }

    /// Whether an endpoint has begun to answer.
    pub(crate) fn has_heard(&self) -> bool {
        self.interim > 0
    }

    /// Tells the client of an interim answer, 103 for instance. 100 is our own business with the endpoint.
    pub(crate) fn inform(&mut self, status: u16, fields: HeaderMap) {
        let Ok(status) = StatusCode::from_u16(status) else { return };
        if matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        // Who can't be told any more is noticed where the answer is.
        self.stream.send_interim(&response);
    }

    /// Answers. `end`: that is all. Else, who takes the body; `None`: the client is gone.
    pub(crate) fn answer(&mut self, response: &Response<()>, end: bool) -> Option<Taker<'c>> {
        let sent = self.stream.send_response(response, end);
        self.answered(sent)
    }

    /// The same, of fields whose names may have large letters.
    pub(crate) fn answer_with<'f>(
        &mut self,
        status: StatusCode,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        end: bool,
    ) -> Option<Taker<'c>> {
        let sent = self.stream.send_answer(status, fields, end);
        self.answered(sent)
    }

    fn answered(&self, sent: bool) -> Option<Taker<'c>> {
        self.alarm.set(NEVER);
        let outlet = sent.then(|| Outlet::new(self.stream.clone()))?;
        Some(Taker { outlet, alarm: self.alarm, worker: self.worker, stall: Stall::default() })
    }
}

/// Takes the body of an answer, at its own pace.
#[derive(Debug)]
pub(crate) struct Taker<'c> {
    pub(crate) outlet: Outlet,
    alarm: &'c Alarm,
    worker: &'c Rc<Worker>,
    stall: Stall,
}

impl Taker<'_> {
    /// Waits until there is room for more. Errors: there will be none; a client that makes none for too long is given
    /// up.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Shut>> {
        let room = self.outlet.poll_room(cx);
        if self.stall.is_over(self.alarm, self.worker, room.is_pending(), || false) {
            self.outlet.cut(Reason::CANCEL);
            return Poll::Ready(Err(Shut));
        }
        room
    }
}
