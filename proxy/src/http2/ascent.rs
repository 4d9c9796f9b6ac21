//! A request by HTTP/2 to an endpoint of HTTP/2, and the way back.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::request::is_idempotent;
use penstock_proxy_core::http2::{Broken, Reason};
use penstock_proxy_core::limit::BodyLimit;

use crate::deliver::{Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::To;
use crate::grpc;
use crate::http1::coming::{MAX_INTERIM, bad_answer};
use crate::http2::caller::{Caller, Taker};
use crate::http2::incoming::{Cut, Incoming, Piece, Upload};
use crate::http2::link::Stream;
use crate::http2::outlet::{Outlet, Shut};
use crate::http2::pool::{Ask, Connection};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// A request made ready for an endpoint of HTTP/2.
#[derive(Debug)]
pub(crate) struct Ascent {
    worker: Rc<Worker>,
    /// As long as it can be sent: one with a body is sent once.
    request: Option<Request<()>>,
    idempotent: bool,
    incoming: Option<Incoming>,
    upload: Upload,
    /// Some of the body has been taken.
    begun: bool,
    losses: u32,
}

impl Ascent {
    pub(crate) fn new(worker: &Rc<Worker>, request: Request<()>, incoming: Option<Incoming>) -> Ascent {
        let upload = if incoming.is_none() { Upload::Ended } else { Upload::Held };
        let idempotent = is_idempotent(request.method().as_str().as_bytes());
        let (worker, request) = (Rc::clone(worker), Some(request));
        Ascent { worker, request, idempotent, incoming, upload, begun: false, losses: 0 }
    }

    /// Where the body of the request stands.
    pub(crate) fn upload(&self) -> Upload {
        self.upload
    }

    /// Sends the request to an endpoint and waits for the head of the response.
    pub(crate) async fn attempt(
        &mut self,
        to: To<'_>,
        caller: &mut Caller<'_>,
    ) -> Result<Box<Ascended>, Failed> {
        let worker = Rc::clone(&self.worker);
        let ask = Ask { fresh: to.fresh, hurry: to.hurry };
        let connection = match worker.pool.find(to.address).filter(|_| !to.fresh) {
            Some(open) => open,
            None => {
                let opening = Box::pin(worker.pool.connect(to.address, ask));
                caller.watched(opening).await?.map_err(Failed::NotTaken)?
            }
        };
        let whole = self.incoming.is_none();
        let taken = if whole { None } else { self.request.take() };
        let request = taken.as_ref().or(self.request.as_ref());
        let request = request.ok_or_else(|| Failed::Lost("the request is gone".into()))?;
        let sent = connection.send(request, whole);
        let stream = sent.map_err(|broken| self.dead(broken, true, &connection))?;
        let mut outlet = self.incoming.is_some().then(|| Outlet::new(stream.clone()));
        let came = poll_fn(|cx| self.poll_answer(cx, &stream, &mut outlet, caller, &connection)).await;
        came.map(|response| Box::new(Ascended { response, stream, _connection: connection, outlet }))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        outlet: &mut Option<Outlet>,
        caller: &mut Caller<'_>,
        connection: &Connection,
    ) -> Poll<Result<Response<()>, Failed>> {
        if let Err(refusal) = self.poll_upload(cx, outlet) {
            return Poll::Ready(Err(Failed::Refused(refusal)));
        }
        while let Some(interim) = stream.interim() {
            if caller.count_interim() > MAX_INTERIM {
                return Poll::Ready(Err(bad_answer("too many interim answers")));
            }
            let (parts, ()) = interim.into_parts();
            caller.inform(parts.status.as_u16(), parts.headers);
        }
        match stream.poll_answer(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(broken)) => Poll::Ready(Err(self.dead(broken, is_untaken(broken), connection))),
            Poll::Pending => caller.poll_watch(cx).map(Err),
        }
    }

    /// Passes on what the client sends. An endpoint that takes nothing more may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>, outlet: &mut Option<Outlet>) -> Result<(), Refusal> {
        while let (Some(open), Some(incoming)) = (&mut *outlet, &mut self.incoming) {
            match open.poll_room(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Shut)) => {
                    *outlet = None;
                    return Ok(());
                }
            }
            let piece = incoming.poll_piece(cx);
            (self.begun, self.upload) = (self.begun | piece.is_ready(), Upload::Held);
            let given = match piece {
                Poll::Pending => {
                    self.upload = Upload::Awaited;
                    return Ok(());
                }
                Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                    let last = incoming.is_ended();
                    self.ended_if(last);
                    open.give(data, last)
                }
                Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => {
                    self.ended_if(true);
                    open.end(Some(trailers))
                }
                Poll::Ready(None) => {
                    self.ended_if(true);
                    open.end(None)
                }
                Poll::Ready(Some(Err(cut))) => {
                    open.cut(Reason::CANCEL);
                    return Err(self.cut(cut));
                }
            };
            if given.is_err() {
                *outlet = None;
            }
        }
        Ok(())
    }

    fn ended_if(&mut self, ended: bool) {
        if ended {
            (self.incoming, self.upload) = (None, Upload::Ended);
        }
    }

    fn cut(&mut self, cut: Cut) -> Refusal {
        self.upload = Upload::Broken;
        match cut {
            Cut::Broken => Refusal::GoneClient,
            Cut::TooLong => Refusal::TooLong,
        }
    }

    fn dead(&mut self, broken: Broken, untaken: bool, connection: &Connection) -> Failed {
        let again = self.request.is_some() && (untaken || self.idempotent);
        self.losses += 1;
        let again = again && !self.begun && self.losses <= MAX_LOSSES;
        failed(broken, again, untaken, connection)
    }
}

/// What it means that a request has failed. `again`: it can be sent again. An endpoint that says that it has not looked
/// at it is alive, and may look at it by another connection.
pub(crate) fn failed(broken: Broken, again: bool, untaken: bool, connection: &Connection) -> Failed {
    if again && is_untaken(broken) {
        return Failed::Stale;
    }
    let cut_off = matches!(broken, Broken::Lost(kind) if is_cut_off(&io::Error::from(kind)));
    let standing = Standing { again, unsent: untaken, reused: connection.is_reused(), cut_off };
    standing.failed(broken.into())
}

/// Whether an endpoint says that it has not looked at the request: RFC 9113 sections 6.8 and 8.7.
pub(crate) fn is_untaken(broken: Broken) -> bool {
    matches!(broken, Broken::Untaken(_))
}

/// The head of a response, and where the rest of it comes from.
#[derive(Debug)]
pub(crate) struct Ascended {
    response: Response<()>,
    stream: Stream,
    /// Counts as a stream.
    _connection: Connection,
    outlet: Option<Outlet>,
}

impl Ascended {
    /// Passes the response on to the client.
    pub(crate) async fn pass_on(self, ascent: &mut Ascent, caller: &mut Caller<'_>, mut record: Record) {
        let Ascended { response, stream, outlet: up, _connection } = self;
        record.answered(response.status().as_u16());
        let incoming = Incoming::new(stream, BodyLimit::default());
        let grpc = grpc::is_grpc(response.headers());
        if grpc && incoming.is_none() && grpc::is_failure(Some(response.headers())) {
            record.blame(Culprit::Upstream);
        }
        let down = caller.answer(&response, incoming.is_none());
        let (Some(down), Some(incoming)) = (down, incoming) else { return record.finish() };
        let mut passing = Passing { ascent, up, down, incoming, last: None, over: false };
        match poll_fn(|cx| passing.poll(cx)).await {
            Ok(()) => {
                if grpc && passing.last.is_none_or(|failed| failed) {
                    record.blame(Culprit::Upstream);
                }
                record.finish();
            }
            Err(culprit) => record.blame(culprit),
        }
    }
}

/// A response on its way, and the rest of its request.
struct Passing<'p> {
    ascent: &'p mut Ascent,
    up: Option<Outlet>,
    down: Taker<'p>,
    incoming: Incoming,
    /// Whether the trailers say that a call of gRPC has failed; `None`: there are none.
    last: Option<bool>,
    over: bool,
}

impl Passing<'_> {
    /// Errors: whose fault the end is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Culprit>> {
        if self.ascent.poll_upload(cx, &mut self.up).is_err() {
            self.down.outlet.cut(Reason::CANCEL);
            return Poll::Ready(Err(Culprit::Client));
        }
        loop {
            match self.down.poll_room(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Ready(Ok(())) => {}
            }
            let given = match self.incoming.poll_piece(cx) {
                Poll::Pending => return self.down.outlet.poll_shut(cx).map(|Shut| Err(Culprit::Client)),
                Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                    self.over = self.incoming.is_ended();
                    self.down.outlet.give(data, self.over)
                }
                Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => self.end(Some(trailers)),
                Poll::Ready(None) => self.end(None),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(self.cut())),
            };
            if self.over || given.is_err() {
                return Poll::Ready(given.map_err(|Shut| Culprit::Client));
            }
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Shut> {
        self.over = true;
        self.last = trailers.as_ref().map(|trailers| grpc::is_failure(Some(trailers)));
        self.down.outlet.end(trailers)
    }

    /// An answer that breaks off because the client broke off its own body is the client's doing.
    fn cut(&mut self) -> Culprit {
        self.down.outlet.cut(Reason::INTERNAL_ERROR);
        if self.ascent.upload() == Upload::Broken { Culprit::Client } else { Culprit::Upstream }
    }
}
