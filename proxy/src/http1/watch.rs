//! What ends the wait for an answer before it comes: the client, or the time.

use std::task::{Context, Poll};

use penstock_proxy_core::balance::Tick;

use crate::deliver::{Failed, unless};
use crate::http1::alarm::NEVER;
use crate::http1::call::RawCall;
use crate::http1::pipe::Waits;
use crate::refusal::Refusal;

/// How long a client that has ended its side is still answered, in milliseconds: it may have hung up, or just have
/// nothing more to say.
pub(super) const HALF_CLOSED: u64 = 500;

impl RawCall<'_> {
    /// Waits for something else than the client's request, but no longer than the client and the time allow.
    pub(crate) async fn watched<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Failed> {
        unless(what, |cx| self.poll_watch(cx)).await
    }

    /// Looks after the client and the time.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Failed> {
        self.poll_client(cx);
        if self.gone_at == Tick(0) {
            return Poll::Ready(Failed::Refused(Refusal::Hangup));
        }
        if self.connection.alarm.has_rung() {
            let now = self.connection.worker.now();
            if self.connection.alarm.is_over(now) {
                return self.ring(now);
            }
        }
        Poll::Pending
    }

    /// Reads ahead, which shows whether the client is still there.
    fn poll_client(&mut self, cx: &mut Context<'_>) {
        let client = &mut self.connection.client;
        if !self.up.is_read() && !self.up_stopped && !self.up.is_unsent() {
            return;
        }
        while !client.ended && client.inlet.has_room() {
            match client.poll_fill(cx, false) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => {
                    self.gone_at = Tick(self.connection.worker.now().0 + HALF_CLOSED);
                    return self.set_alarm();
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => {
                    client.ended = true;
                    self.gone_at = Tick(0);
                }
            }
        }
    }

    pub(super) fn set_alarm(&self) {
        self.connection.alarm.set(self.deadline.min(self.gone_at).min(self.continue_at));
    }

    /// Something is due.
    fn ring(&mut self, now: Tick) -> Poll<Failed> {
        if self.gone_at <= now {
            return Poll::Ready(Failed::Refused(Refusal::Hangup));
        }
        if self.deadline <= now {
            let by_client = !self.up.is_done() && !self.up_stopped && self.up.waits_for() == Waits::Source;
            let refusal =
                if by_client && !self.up.is_unsent() { Refusal::SlowClient } else { Refusal::Timeout };
            return Poll::Ready(Failed::Refused(refusal));
        }
        if self.continue_at <= now {
            (self.facts.expects, self.continue_at) = (false, NEVER);
            self.down.push().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.connection.alarm.bell().ring();
        }
        self.set_alarm();
        Poll::Pending
    }
}
