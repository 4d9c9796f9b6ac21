//! Passes what an endpoint answers to the client.

use std::rc::Rc;

use http::{Response, StatusCode};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use penstock_proxy_api::Culprit;

use crate::body::{Body, Progress, Streamed};
use crate::pool::Connection;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{grpc, headers, upgrade};

/// The head of a response, and what is needed for the rest of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
    pub(crate) progress: Progress,
    /// The client's side of a change of protocol, if it asked for one.
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl Answer {
    /// Makes it the client's response. The record travels in its body.
    pub(crate) fn pass_on(self, worker: &Rc<Worker>, mut record: Record) -> Response<Body> {
        let status = self.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(worker, record);
        }
        record.head(status);
        if status.is_server_error() {
            record.blame(Culprit::Upstream);
        }
        self.stream(worker, record)
    }

    fn stream(self, worker: &Rc<Worker>, record: Record) -> Response<Body> {
        let (mut parts, incoming) = self.response.into_parts();
        let grpc = grpc::is_grpc(&parts.headers);
        headers::response(&mut parts);
        let lease = self.connection.lease(worker, self.progress);
        let mut streamed = Streamed { incoming, grpc, open: Some((record, lease)) };
        if streamed.incoming.is_end_stream() {
            streamed.end(Some(&parts.headers));
        }
        Response::from_parts(parts, Body::Streamed(Box::new(streamed)))
    }

    fn switch(mut self, worker: &Rc<Worker>, mut record: Record) -> Response<Body> {
        let Some(client) = self.upgrade.take() else {
            return Refusal::Unasked.answer(record);
        };
        record.head(StatusCode::SWITCHING_PROTOCOLS);
        let endpoint = hyper::upgrade::on(&mut self.response);
        worker.tasks.spawn_local(upgrade::relay(client, endpoint, record));
        let (mut parts, _) = self.response.into_parts();
        headers::switched(&mut parts);
        Response::from_parts(parts, Body::Text(None))
    }
}
