//! One attempt to have a request answered by an endpoint of HTTP/1.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::rewrite::{self, Back, BodyGoes};

use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::To;
use crate::http1::alarm::NEVER;
use crate::http1::call::{RawAnswer, RawCall};
use crate::http1::coming::{Coming, MAX_INTERIM, bad_answer, ended};
use crate::http1::pipe::Broke;
use crate::http1::upstream::Upstream;
use crate::reach;
use crate::refusal::Refusal;

impl RawCall<'_> {
    pub(super) async fn attempt_raw(&mut self, to: To<'_>) -> Result<RawAnswer, Failed> {
        let mut upstream = self.reach(&to).await?;
        upstream.expect_stalls(self.facts.upgrades || self.up.is_long(AT_ONCE));
        let mut coming = Coming::new(self.connection.worker.take_answer());
        let came = poll_fn(|cx| self.poll_answer(cx, &mut upstream, &mut coming)).await;
        match came {
            Ok((length, framing)) => Ok(RawAnswer { upstream, head: coming.head, length, framing }),
            Err(failed) => {
                self.connection.worker.give_answer(coming.head);
                Err(failed)
            }
        }
    }

    /// A kept connection, or a new one.
    async fn reach(&mut self, to: &To<'_>) -> Result<Box<Upstream>, Failed> {
        let worker = &self.connection.worker;
        let surely = !self.facts.idempotent || !self.up.is_whole();
        if !to.fresh
            && let Some(kept) = worker.kept.take(to.address, surely)
        {
            return Ok(kept);
        }
        let opening = Upstream::open(to.address, reach::patience(to.hurry), worker.buffers.clone());
        Box::pin(self.watched(opening)).await?.map_err(Failed::NotTaken)
    }

    /// Sends the request and waits for the head of the response: its length, and how long its body is.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        coming: &mut Coming,
    ) -> Poll<Result<(usize, Framing), Failed>> {
        if let Err(failed) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match self.look(upstream, coming) {
                Ok(Some(found)) => return Poll::Ready(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            match coming.poll_fill(cx, upstream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.dead(upstream, ended()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dead(upstream, error))),
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(_)) = self.down.poll_write_out(cx, &mut self.connection.client) {
            return Poll::Ready(Err(Failed::Refused(Refusal::Hangup)));
        }
        self.poll_watch(cx).map(Err)
    }

    /// Passes on what the client sends. An endpoint that takes nothing more may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Result<(), Failed> {
        if self.up_stopped {
            return Ok(());
        }
        match self.up.poll(cx, &mut self.connection.client, &mut upstream.side) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Broke::Sink(error))) if self.up.is_unsent() => Err(self.dead(upstream, error)),
            Poll::Ready(Err(Broke::Sink(_))) => {
                self.up_stopped = true;
                Ok(())
            }
            Poll::Ready(Err(Broke::Framing(what))) => Err(Failed::Refused(Refusal::BadHead(what))),
            Poll::Ready(Err(Broke::TooLong)) => Err(Failed::Refused(Refusal::TooLong)),
            Poll::Ready(Err(Broke::Source | Broke::Cut)) => Err(Failed::Refused(Refusal::GoneClient)),
        }
    }

    /// Looks for the head of the final response in what the endpoint has sent.
    fn look(
        &mut self,
        upstream: &mut Upstream,
        coming: &mut Coming,
    ) -> Result<Option<(usize, Framing)>, Failed> {
        while let Some((length, framing)) = coming.look(upstream, self.facts.to_head)? {
            if coming.head.status == 101 && !self.facts.upgrades {
                return Err(Failed::Refused(Refusal::Unasked));
            }
            if !coming.head.is_interim() {
                return Ok(Some((length, framing)));
            }
            self.pass_interim(upstream, coming, length)?;
        }
        Ok(None)
    }

    /// Passes 100, 103 and the like on to a client that knows them.
    fn pass_interim(
        &mut self,
        upstream: &mut Upstream,
        coming: &mut Coming,
        length: usize,
    ) -> Result<(), Failed> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(bad_answer("too many interim answers"));
        }
        let continues = coming.head.status == 100;
        let told = continues && !self.facts.expects;
        if continues {
            (self.facts.expects, self.continue_at) = (false, NEVER);
        }
        if self.facts.version == Version::Http11 && !told {
            let back = Back { version: Version::Http11, close: false, body: BodyGoes::AsItComes };
            rewrite::response(self.down.push(), upstream.side.inlet.bytes(), &coming.head, back);
        }
        coming.skip(upstream, length);
        Ok(())
    }

    /// What it means that the connection to the endpoint broke before the response.
    fn dead(&mut self, upstream: &Upstream, error: io::Error) -> Failed {
        let unsent = self.up.is_unsent();
        let began = !upstream.side.inlet.is_empty() || self.interim > 0;
        let again = unsent || self.facts.idempotent && self.up.is_whole() && !began;
        self.losses += u32::from(!unsent);
        let again = again && self.losses <= MAX_LOSSES;
        if again {
            self.up.rewind();
            self.up_stopped = false;
        }
        let standing = Standing { again, unsent, reused: upstream.reused, cut_off: is_cut_off(&error) };
        standing.failed(error.into())
    }
}
