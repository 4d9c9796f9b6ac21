//! Answers that the proxy makes itself. They name the culprit.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use penstock_proxy_api::Culprit;

use crate::body::Body;
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
    /// The head can't be forwarded.
    BadHead(&'static str),
    /// The client has not sent the body in time.
    SlowClient,
    /// The client broke off.
    GoneClient,
    /// No endpoint took a connection.
    Refused(std::io::Error),
    /// The connection was lost before the response's head.
    Lost(hyper::Error),
    /// A change of protocol that nobody asked for.
    Unasked,
    /// No head of a response in time.
    Timeout,
}

impl Refusal {
    /// Ends the record and answers.
    pub(crate) fn answer(&self, mut record: Record) -> Response<Body> {
        let (status, culprit) = self.verdict();
        record.head(status);
        record.blame(culprit);
        let text = format!("penstock-proxy: {}: {}\n", record.rollout(), self.reason());
        let mut response = Response::new(Body::Text(Some(Bytes::from(text))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CULPRIT, HeaderValue::from_static(culprit.as_str()));
        if matches!(self, Refusal::Overload) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn verdict(&self) -> (StatusCode, Culprit) {
        match self {
            Refusal::Connect => (StatusCode::METHOD_NOT_ALLOWED, Culprit::Client),
            Refusal::NoRule => (StatusCode::NOT_FOUND, Culprit::Proxy),
            Refusal::NoWeight | Refusal::NoEndpoint | Refusal::Overload => {
                (StatusCode::SERVICE_UNAVAILABLE, Culprit::Proxy)
            }
            Refusal::BadHead(_) | Refusal::GoneClient => (StatusCode::BAD_REQUEST, Culprit::Client),
            Refusal::SlowClient => (StatusCode::REQUEST_TIMEOUT, Culprit::Client),
            Refusal::Refused(_) | Refusal::Lost(_) | Refusal::Unasked => {
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
            Refusal::BadHead(what) => format!("the request has {what}"),
            Refusal::SlowClient => "the request's body did not come in time".into(),
            Refusal::GoneClient => "the request's body broke off".into(),
            Refusal::Refused(error) => format!("no endpoint takes a connection: {error}"),
            Refusal::Lost(error) => format!("the endpoint broke off before it answered: {error}"),
            Refusal::Unasked => "the endpoint changed the protocol unasked".into(),
            Refusal::Timeout => "the endpoint did not answer in time".into(),
        }
    }
}
