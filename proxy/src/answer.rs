//! Passes what an endpoint answers to the client.

use http::{Response, StatusCode};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use penstock_proxy_api::Culprit;

use crate::body::{Body, Lease, Progress, Streamed};
use crate::pool::Connection;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::{grpc, headers};

/// The head of a response, and what is needed for the rest of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
    pub(crate) progress: Progress,
}

impl Answer {
    /// Makes it the client's response. The record travels in its body.
    pub(crate) fn pass_on(self, mut record: Record) -> Response<Body> {
        let status = self.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Refusal::Unasked.answer(record);
        }
        record.head(status);
        if status.is_server_error() {
            record.blame(Culprit::Upstream);
        }
        self.stream(record)
    }

    fn stream(self, record: Record) -> Response<Body> {
        let (mut parts, incoming) = self.response.into_parts();
        let grpc = grpc::is_grpc(&parts.headers);
        headers::response(&mut parts);
        let lease = Lease { _connection: self.connection, progress: self.progress };
        let mut streamed = Streamed { incoming, grpc, open: Some((record, lease)) };
        if streamed.incoming.is_end_stream() {
            streamed.end(Some(&parts.headers));
        }
        Response::from_parts(parts, Body::Streamed(Box::new(streamed)))
    }
}
