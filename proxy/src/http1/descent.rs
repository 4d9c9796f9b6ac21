//! A client of HTTP/2 in front of an endpoint of HTTP/1.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{Method, request};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::is_idempotent;
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::line;

use crate::body::Upload;
use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::To;
use crate::http1::coming::{Coming, MAX_INTERIM, bad_answer, ended};
use crate::http1::descending::Descended;
use crate::http1::pour::{Pour, Stopped};
use crate::http1::upstream::Upstream;
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
    /// The request with this head, which has been made one for an endpoint of HTTP/1.
    pub(crate) fn new(worker: &Rc<Worker>, parts: &request::Parts, incoming: Incoming) -> Box<Descent> {
        let mut out = worker.buffers.head();
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        let chunked = incoming.is_some() && !parts.headers.contains_key(CONTENT_LENGTH);
        write_head(&mut out, parts, chunked, incoming.is_some());
        Box::new(Descent {
            worker: Rc::clone(worker),
            pour: Pour::new(out, incoming, chunked),
            to_head: parts.method == Method::HEAD,
            idempotent: is_idempotent(parts.method.as_str().as_bytes()),
            stopped: false,
            losses: 0,
        })
    }

    /// Where the body of the request stands.
    pub(crate) fn upload(&self) -> Upload {
        self.pour.upload()
    }

    /// Sends the request to an endpoint and waits for the head of the response.
    pub(crate) async fn attempt(&mut self, to: To<'_>) -> Result<Answered, Failed> {
        let mut upstream = self.reach(&to).await?;
        upstream.expect_stalls(self.pour.is_long(AT_ONCE));
        let mut coming = Coming::new(self.worker.take_answer());
        let mut interim = 0;
        let came = poll_fn(|cx| self.poll_answer(cx, &mut upstream, &mut coming, &mut interim)).await;
        match came {
            Ok((length, framing)) => Ok(Answered { upstream, head: coming.head, length, framing }),
            Err(failed) => {
                self.worker.give_answer(coming.head);
                Err(failed)
            }
        }
    }

    async fn reach(&self, to: &To<'_>) -> Result<Box<Upstream>, Failed> {
        let surely = !self.idempotent || !self.pour.is_whole();
        if !to.fresh
            && let Some(kept) = self.worker.kept.take(to.address, surely)
        {
            return Ok(kept);
        }
        let opening = Upstream::open(to.address, reach::patience(to.hurry), self.worker.buffers.clone());
        Box::pin(opening).await.map_err(Failed::NotTaken)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        coming: &mut Coming,
        interim: &mut u32,
    ) -> Poll<Result<(usize, Framing), Failed>> {
        if let Err(failed) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match look(upstream, coming, self.to_head, interim) {
                Ok(Some(found)) => return Poll::Ready(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            let began = !upstream.side.inlet.is_empty() || *interim > 0;
            match coming.poll_fill(cx, upstream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.dead(upstream, ended(), began))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dead(upstream, error, began))),
                Poll::Pending => return Poll::Pending,
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

/// Looks for the head of the final response. A client of HTTP/2 is not told of others: hyper can't.
fn look(
    upstream: &mut Upstream,
    coming: &mut Coming,
    to_head: bool,
    interim: &mut u32,
) -> Result<Option<(usize, Framing)>, Failed> {
    while let Some((length, framing)) = coming.look(upstream, to_head)? {
        if coming.head.status == 101 {
            return Err(Failed::Refused(Refusal::Unasked));
        }
        if !coming.head.is_interim() {
            return Ok(Some((length, framing)));
        }
        *interim += 1;
        if *interim > MAX_INTERIM {
            return Err(bad_answer("too many interim answers"));
        }
        coming.skip(upstream, length);
    }
    Ok(None)
}

fn write_head(out: &mut Vec<u8>, parts: &request::Parts, chunked: bool, body: bool) {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.is_empty() { "/" } else { target };
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in
        parts.headers.iter().filter(|(name, _)| *name != EXPECT && *name != TRANSFER_ENCODING)
    {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let means_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    if chunked {
        line(out, b"transfer-encoding", b"chunked");
    } else if !body && means_body && !parts.headers.contains_key(CONTENT_LENGTH) {
        line(out, b"content-length", b"0");
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a response, as it came.
pub(crate) struct Answered {
    upstream: Box<Upstream>,
    head: Box<ResponseHead>,
    length: usize,
    framing: Framing,
}

impl Answered {
    /// With the rest of its request.
    pub(crate) fn of(self, descent: Box<Descent>) -> Descended {
        let Answered { upstream, head, length, framing } = self;
        Descended { descent, upstream, head, length, framing }
    }
}
