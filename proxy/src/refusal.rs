//! Answers that the proxy makes itself. They name the culprit.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::request::BadRequest;
use penstock_proxy_core::http1::rewrite::line;

use crate::deliver::Cause;
use crate::record::Record;

const CULPRIT: HeaderName = HeaderName::from_static(penstock_proxy_api::HEADER_CULPRIT);

/// Why a request is not forwarded.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// CONNECT asks for a tunnel.
    Connect,
    /// No rule matches.
    NoRule,
    /// The rule sends nothing anywhere.
    NoWeight,
    /// No revision of the rule has an endpoint.
    NoEndpoint,
    /// Too many requests in flight.
    Overload,
    /// Too many connections.
    Crowd,
    /// The request's body is longer than it may be.
    TooLong,
    /// The head can't be forwarded.
    BadHead(&'static str),
    /// The head can't even be read.
    Unreadable(BadRequest),
    /// The client has not sent the head in time.
    SlowHead,
    /// The client has not sent the body in time.
    SlowClient,
    /// The client broke off its body.
    GoneClient,
    /// The client hung up: nobody hears the answer.
    Hangup,
    /// No endpoint took a connection.
    Refused(std::io::Error),
    /// The connection was lost before the response's head.
    Lost(Cause),
    /// The response can't be passed on.
    BadAnswer(&'static str),
    /// A change of protocol that nobody asked for.
    Unasked,
    /// No head of a response in time.
    Timeout,
}

/// What a client is told.
struct Said {
    status: StatusCode,
    text: String,
    headers: Vec<(HeaderName, &'static str)>,
}

impl Refusal {
    /// Ends the record and answers by HTTP/2: a head and a body.
    pub(crate) fn answer(&self, mut record: Record) -> (Response<()>, Bytes) {
        let said = self.say(&mut record);
        let mut response = Response::new(());
        *response.status_mut() = said.status;
        let headers = response.headers_mut();
        for (name, value) in said.headers {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(said.text.len()));
        (response, Bytes::from(said.text))
    }

    /// The same in bytes of HTTP/1. `close`: the connection ends with it. `to_head`: it answers HEAD.
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &mut Record, close: bool, to_head: bool) {
        let said = self.say(record);
        let reason = said.status.canonical_reason().unwrap_or_default();
        let status = format!("HTTP/1.1 {} {reason}\r\n", said.status.as_u16());
        out.extend_from_slice(status.as_bytes());
        for (name, value) in said.headers {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
        line(out, b"content-length", said.text.len().to_string().as_bytes());
        if close {
            line(out, b"connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        if !to_head {
            out.extend_from_slice(said.text.as_bytes());
        }
    }

    /// What the client is told. Takes note of it in the record.
    fn say(&self, record: &mut Record) -> Said {
        let (status, culprit) = self.verdict();
        record.head(status);
        record.blame(culprit);
        let text = format!("penstock-proxy: {}: {}\n", record.rollout(), self.reason());
        let mut headers = vec![(CONTENT_TYPE, "text/plain; charset=utf-8"), (CULPRIT, culprit.as_str())];
        if matches!(self, Refusal::Overload | Refusal::Crowd) {
            headers.push((RETRY_AFTER, "1"));
        }
        if matches!(self, Refusal::Connect) {
            headers.push((ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        Said { status, text, headers }
    }

    fn verdict(&self) -> (StatusCode, Culprit) {
        match self {
            Refusal::Connect => (StatusCode::METHOD_NOT_ALLOWED, Culprit::Client),
            Refusal::NoRule => (StatusCode::NOT_FOUND, Culprit::Proxy),
            Refusal::NoWeight | Refusal::NoEndpoint | Refusal::Overload | Refusal::Crowd => {
                (StatusCode::SERVICE_UNAVAILABLE, Culprit::Proxy)
            }
            Refusal::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, Culprit::Client),
            Refusal::BadHead(_) | Refusal::GoneClient | Refusal::Hangup => {
                (StatusCode::BAD_REQUEST, Culprit::Client)
            }
            Refusal::Unreadable(bad) => {
                (StatusCode::from_u16(bad.status()).unwrap_or(StatusCode::BAD_REQUEST), Culprit::Client)
            }
            Refusal::SlowClient | Refusal::SlowHead => (StatusCode::REQUEST_TIMEOUT, Culprit::Client),
            Refusal::Refused(_) | Refusal::Lost(_) | Refusal::Unasked | Refusal::BadAnswer(_) => {
                (StatusCode::BAD_GATEWAY, Culprit::Upstream)
            }
            Refusal::Timeout => (StatusCode::GATEWAY_TIMEOUT, Culprit::Upstream),
        }
    }

    fn reason(&self) -> String {
        match self {
            Refusal::Connect => "CONNECT is not served".into(),
            Refusal::NoRule => "no rule matches the request".into(),
            Refusal::NoWeight => "the rule has no backend with weight".into(),
            Refusal::NoEndpoint => "no endpoint is ready".into(),
            Refusal::Overload => "too many requests in flight".into(),
            Refusal::Crowd => "too many connections".into(),
            Refusal::TooLong => "the request's body is longer than it may be".into(),
            Refusal::BadHead(what) => format!("the request has {what}"),
            Refusal::Unreadable(bad) => format!("the request has {}", bad.what()),
            Refusal::SlowHead => "the request's head did not come in time".into(),
            Refusal::SlowClient => "the request's body did not come in time".into(),
            Refusal::GoneClient => "the request's body broke off".into(),
            Refusal::Hangup => "the client hung up".into(),
            Refusal::Refused(error) => format!("no endpoint takes a connection: {error}"),
            Refusal::Lost(error) => format!("the endpoint broke off before it answered: {error}"),
            Refusal::BadAnswer(what) => format!("the endpoint's answer has {what}"),
            Refusal::Unasked => "the endpoint changed the protocol unasked".into(),
            Refusal::Timeout => "the endpoint did not answer in time".into(),
        }
    }
}
