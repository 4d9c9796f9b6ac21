//! The record of one request: begun first, travels with the response's body, finished by Drop at the latest.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::balance::Place;
use penstock_proxy_core::head::Head;
use penstock_proxy_core::limit::Permit;

use crate::access::{Line, Note, Part};
use crate::blame::Blame;
use crate::lane::Desk;
use crate::series::{End, Series};
use crate::worker::Worker;

/// What is known of a request. As long as nothing is, its end is the client's doing: only a client that hangs up
/// ends a request before anybody else does.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    lane: Rc<Desk>,
    /// That of the revision, when there is one.
    series: Option<Arc<Series>>,
    begun: Instant,
    status: Option<StatusCode>,
    latency: Option<Duration>,
    culprit: Option<Culprit>,
    held: Held,
    /// For the access log, if there is one.
    note: Option<Box<Note>>,
}

/// What a request holds until it ends.
#[derive(Debug, Default)]
struct Held {
    permit: Option<Permit>,
    place: Option<Place>,
}

impl Record {
    /// Begins the record of a request that has just arrived.
    pub(crate) fn begin(worker: &Rc<Worker>, lane: &Rc<Desk>) -> Record {
        let (lane, series) = (Rc::clone(lane), None);
        let (worker, begun) = (Rc::clone(worker), Instant::now());
        worker.set_clock(begun);
        Record {
            worker,
            lane,
            series,
            begun,
            status: None,
            latency: None,
            culprit: None,
            held: Held::default(),
            note: None,
        }
    }

    /// Takes note of a request that came from `client`, if there is an access log.
    pub(crate) fn describe(&mut self, head: &impl Head, client: &str) {
        if !self.worker.shared.access.is_on() {
            return;
        }
        let mut note = self.worker.take_note();
        note.set(Part::Client, &[client.as_bytes()]);
        note.set(Part::Method, &[head.method().as_bytes()]);
        match head.query() {
            Some(query) => note.set(Part::Target, &[head.path().as_bytes(), b"?", query.as_bytes()]),
            None => note.set(Part::Target, &[head.path().as_bytes()]),
        }
        let named =
            [(Part::Host, "host"), (Part::RequestId, "x-request-id"), (Part::TraceParent, "traceparent")];
        for (part, name) in named {
            head.values(name).take(1).for_each(|value| note.set(part, &[value]));
        }
        self.note = Some(note);
    }

    /// Takes note of the names that the proxy gives a request that has none.
    pub(crate) fn name(&mut self, request_id: Option<&str>, trace_parent: Option<&str>) {
        let Some(note) = &mut self.note else { return };
        for (part, given) in [(Part::RequestId, request_id), (Part::TraceParent, trace_parent)] {
            if let Some(given) = given.filter(|_| note.get(part).is_empty()) {
                note.set(part, &[given.as_bytes()]);
            }
        }
    }

    /// Writes the request into the access log, if it is one of those.
    fn log(&mut self, end: End) {
        let Some(note) = self.note.take() else { return };
        let access = &self.worker.shared.access;
        let failed = matches!(end.culprit, Culprit::Upstream | Culprit::Proxy);
        if !access.wants(failed, || self.worker.random()) {
            return self.worker.give_note(note);
        }
        access.offer(Line {
            at: SystemTime::now(),
            note: *note,
            series: Arc::clone(self.series()),
            endpoint: self.held.place.as_ref().map(|place| place.endpoint().address()),
            status: end.status.map(|status| status.as_u16()),
            culprit: end.culprit.as_str(),
            latency: end.latency,
            duration: self.begun.elapsed(),
        });
    }

    /// Whose request it is, in words.
    pub(crate) fn rollout(&self) -> String {
        let key = self.series().key();
        format!("{}/{}", key.namespace, key.rollout)
    }

    /// The request belongs to a revision, and is in flight to it.
    pub(crate) fn choose(&mut self, series: &Arc<Series>, permit: Permit) {
        series.begin(self.worker.thread);
        self.series = Some(Arc::clone(series));
        self.held.permit = Some(permit);
    }

    /// No endpoint of the revision took the request, not one of those that were `tried`: that is a failure of it, which
    /// is counted in a moment. It belongs to another one now.
    pub(crate) fn fall_over(&mut self, series: &Arc<Series>, tried: Vec<SocketAddr>) {
        let latency = self.begun.elapsed();
        series.begin(self.worker.thread);
        let failed = Arc::clone(self.series());
        self.series = Some(Arc::clone(series));
        failed.fell_over(self.worker.thread);
        failed.leave(self.worker.thread);
        let end = End { status: None, culprit: Culprit::Upstream, latency };
        Blame { lane: Rc::clone(&self.lane), series: failed, tried, end }.settle_soon(&self.worker);
    }

    /// The request holds a place at an endpoint.
    pub(crate) fn place(&mut self, place: Place) {
        self.held.place = Some(place);
    }

    /// The address of the endpoint that it holds a place at, and whether that is on trial.
    pub(crate) fn endpoint(&self) -> Option<(SocketAddr, bool)> {
        self.held.place.as_ref().map(|place| (place.endpoint().address(), place.is_trial()))
    }

    /// The endpoint that it holds a place at has answered.
    pub(crate) fn taken(&self) {
        self.held.place.iter().for_each(|place| place.endpoint().answered());
    }

    /// The endpoint that it holds a place at can't be reached.
    pub(crate) fn not_taken(&self) {
        let shared = &self.worker.shared;
        let (begun, now) = (shared.tick(self.begun), shared.now());
        self.held.place.iter().for_each(|place| place.endpoint().failed(begun, now));
    }

    fn series(&self) -> &Arc<Series> {
        self.series.as_ref().unwrap_or(&self.lane.unrouted)
    }

    /// The head of the response is there: its status, and how long it took.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.status = Some(status);
        let now = Instant::now();
        self.worker.set_clock(now);
        self.latency = Some(now.saturating_duration_since(self.begun));
    }

    /// The same for a response of an endpoint. A failure is its fault.
    pub(crate) fn answered(&mut self, status: u16) {
        let Ok(status) = StatusCode::from_u16(status) else { return };
        self.head(status);
        if status.is_server_error() {
            self.blame(Culprit::Upstream);
        }
    }

    /// Says whose fault the end is. The first word counts.
    pub(crate) fn blame(&mut self, culprit: Culprit) {
        self.culprit.get_or_insert(culprit);
    }

    /// It ended well, unless somebody has been blamed.
    pub(crate) fn finish(mut self) {
        self.blame(Culprit::None);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let cut_off = if self.worker.shared.is_aborting() { Culprit::Proxy } else { Culprit::Client };
        let end = End {
            status: self.status,
            culprit: self.culprit.unwrap_or(cut_off),
            latency: self.latency.unwrap_or_else(|| self.begun.elapsed()),
        };
        self.series().end(self.worker.thread, end);
        self.log(end);
    }
}
