//! A client of HTTP/2 in front of an endpoint of HTTP/1.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::is_idempotent;
use penstock_proxy_core::http1::response::ResponseHead;

use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::To;
use crate::http1::coming::{Coming, MAX_INTERIM, bad_answer, ended};
use crate::http1::descending::fields;
use crate::http1::pour::{Pour, Stopped};
use crate::http1::upstream::Upstream;
use crate::http2::caller::Caller;
use crate::http2::incoming::Upload;
use crate::reach;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// A request made ready for an endpoint of HTTP/1.
pub(crate) struct Descent {
    pub(super) worker: Rc<Worker>,
    pub(super) pour: Pour,
    to_head: bool,
    idempotent: bool,
    /// The endpoint takes nothing more of the request.
    pub(super) stopped: bool,
    losses: u32,
}

impl Descent {
    /// The request with this method, whose head has been written for an endpoint of HTTP/1.
    pub(crate) fn new(worker: &Rc<Worker>, method: &str, pour: Pour) -> Descent {
        Descent {
            worker: Rc::clone(worker),
            pour,
            to_head: method == "HEAD",
            idempotent: is_idempotent(method.as_bytes()),
            stopped: false,
            losses: 0,
        }
    }

    /// Where the body of the request stands.
    pub(crate) fn upload(&self) -> Upload {
        self.pour.upload()
    }

    /// Sends the request to an endpoint and waits for the head of the response.
    pub(crate) async fn attempt(&mut self, to: To<'_>, caller: &mut Caller<'_>) -> Result<Answered, Failed> {
        let mut upstream = self.reach(&to, caller).await?;
        upstream.expect_stalls(self.pour.is_long(AT_ONCE));
        let mut coming = Coming::new(self.worker.take_answer());
        let came = poll_fn(|cx| self.poll_answer(cx, &mut upstream, &mut coming, caller)).await;
        match came {
            Ok((length, framing)) => Ok(Answered { upstream, head: coming.head, length, framing }),
            Err(failed) => {
                self.worker.give_answer(coming.head);
                Err(failed)
            }
        }
    }

    async fn reach(&self, to: &To<'_>, caller: &mut Caller<'_>) -> Result<Box<Upstream>, Failed> {
        let surely = !self.idempotent || !self.pour.is_whole();
        if !to.fresh
            && let Some(kept) = self.worker.kept.take(to.address, surely)
        {
            return Ok(kept);
        }
        let opening = Upstream::open(to.address, reach::patience(to.hurry), self.worker.buffers.clone());
        caller.watched(Box::pin(opening)).await?.map_err(Failed::NotTaken)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        coming: &mut Coming,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<(usize, Framing), Failed>> {
        if let Err(failed) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match look(upstream, coming, self.to_head, caller) {
                Ok(Some(found)) => return Poll::Ready(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            let began = !upstream.side.inlet.is_empty() || caller.has_heard();
            match coming.poll_fill(cx, upstream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.dead(upstream, ended(), began))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dead(upstream, error, began))),
                Poll::Pending => return caller.poll_watch(cx).map(Err),
            }
        }
    }

    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
    ) -> Result<(), Failed> {
        if self.stopped {
            return Ok(());
        }
        match self.pour.poll(cx, &mut upstream.side) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Stopped::Client)) => Err(Failed::Refused(Refusal::GoneClient)),
            Poll::Ready(Err(Stopped::TooLong)) => Err(Failed::Refused(Refusal::TooLong)),
            Poll::Ready(Err(Stopped::Endpoint(error))) if self.pour.is_unsent() => {
                Err(self.dead(upstream, error, false))
            }
            Poll::Ready(Err(Stopped::Endpoint(_))) => {
                self.stopped = true;
                Ok(())
            }
        }
    }

    fn dead(&mut self, upstream: &Upstream, error: io::Error, began: bool) -> Failed {
        let unsent = self.pour.is_unsent();
        self.losses += u32::from(!unsent);
        let again = unsent || self.idempotent && self.pour.is_whole() && !began;
        let again = again && self.losses <= MAX_LOSSES;
        if again {
            self.pour.rewind();
            self.stopped = false;
        }
        let standing = Standing { again, unsent, reused: upstream.reused, cut_off: is_cut_off(&error) };
        standing.failed(error.into())
    }
}

impl Drop for Descent {
    fn drop(&mut self) {
        self.worker.buffers.give_head(self.pour.take_memory());
    }
}

/// Looks for the head of the final response. The client is told of those before it.
fn look(
    upstream: &mut Upstream,
    coming: &mut Coming,
    to_head: bool,
    caller: &mut Caller<'_>,
) -> Result<Option<(usize, Framing)>, Failed> {
    while let Some((length, framing)) = coming.look(upstream, to_head)? {
        if coming.head.status == 101 {
            return Err(Failed::Refused(Refusal::Unasked));
        }
        if !coming.head.is_interim() {
            return Ok(Some((length, framing)));
        }
        if caller.count_interim() > MAX_INTERIM {
            return Err(bad_answer("too many interim answers"));
        }
        caller.inform(coming.head.status, fields(upstream.side.inlet.bytes(), &coming.head, length));
        coming.skip(upstream, length);
    }
    Ok(None)
}

/// The head of a response, as it came.
pub(crate) struct Answered {
    pub(super) upstream: Box<Upstream>,
    pub(super) head: Box<ResponseHead>,
    pub(super) length: usize,
    pub(super) framing: Framing,
}
