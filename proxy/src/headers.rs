//! What a proxy changes in a head: RFC 9110 section 7.6, RFC 9112 section 3.2, RFC 9113 section 8.2.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version, request, response};
use penstock_proxy_core::http1::target::is_host;

use penstock_proxy_core::http1::field::Kind;

use crate::reach::Wire;
use crate::record::Record;
use crate::trace;
use crate::worker::Worker;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most names that a Connection header may nominate.
const MAX_NOMINATED: usize = 64;

/// A head that can't be forwarded, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadHead(pub(crate) &'static str);

/// Who sends a request.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The client's address.
    pub(crate) peer: &'a HeaderValue,
    /// Whether it is believed what it says of others.
    pub(crate) trusted: bool,
    pub(crate) worker: &'a Worker,
}

/// Makes the head of a client's request one for an endpoint.
pub(crate) fn request(
    parts: &mut request::Parts,
    who: &Who<'_>,
    wire: Wire,
    record: &mut Record,
) -> Result<(), BadHead> {
    name(&mut parts.headers, who.worker, record);
    neighbour(parts, who.peer, who.trusted, wire)
}

/// Names by which the request is found again.
fn name(headers: &mut HeaderMap, worker: &Worker, record: &mut Record) {
    let (id, parent) = (trace::request_id(worker), trace::parent(worker));
    let parent = parent.as_ref().and_then(trace::Hex::text);
    record.name(id.text(), parent);
    set_missing(headers, REQUEST_ID, id.text());
    set_missing(headers, TRACE_PARENT, parent);
}

fn set_missing(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok())
        && !headers.contains_key(&name)
    {
        headers.insert(name, value);
    }
}

fn neighbour(
    parts: &mut request::Parts,
    peer: &HeaderValue,
    trusted: bool,
    wire: Wire,
) -> Result<(), BadHead> {
    let authority = authority(parts)?;
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let trailers = has_token(&parts.headers, &TE, b"trailers");
    remove_hop_by_hop(&mut parts.headers);
    if !trusted {
        remove_forwarded(&mut parts.headers);
    }
    append_forwarded_for(&mut parts.headers, peer);
    match wire {
        Wire::Http1 => to_http1(parts, authority, trailers),
        Wire::Http2 => to_http2(parts, authority, trailers),
    }
}

/// What proxies before this one say of the client.
fn remove_forwarded(headers: &mut HeaderMap) {
    let said = |name: &&HeaderName| {
        matches!(Kind::of(name.as_str().as_bytes()), Kind::Forwarded | Kind::ForwardedFor)
    };
    let names: Vec<HeaderName> = headers.keys().filter(said).cloned().collect();
    names.iter().for_each(|name| drop(headers.remove(name)));
}

/// Makes the head of an endpoint's response one for the client.
pub(crate) fn response(parts: &mut response::Parts) {
    remove_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
}

/// Who is asked: the target's authority before the Host header (RFC 9112 section 3.2.2).
fn authority(parts: &request::Parts) -> Result<Option<HeaderValue>, BadHead> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadHead("more than one Host header"));
    }
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(BadHead("an invalid target"));
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(BadHead("an invalid Host header"));
    }
    if let Some(authority) = parts.uri.authority() {
        if !is_host(authority.as_str().as_bytes()) {
            return Err(BadHead("an invalid authority"));
        }
        return HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| BadHead("invalid authority"));
    }
    match host {
        None if parts.version == Version::HTTP_11 => Err(BadHead("no Host header")),
        host => Ok(host.cloned()),
    }
}

fn to_http1(
    parts: &mut request::Parts,
    authority: Option<HeaderValue>,
    trailers: bool,
) -> Result<(), BadHead> {
    if parts.uri.authority().is_some() {
        parts.uri = origin_form(&parts.uri);
        parts.headers.insert(HOST, authority.ok_or(BadHead("no authority"))?);
    }
    join_cookies(&mut parts.headers);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        parts.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

fn to_http2(
    parts: &mut request::Parts,
    authority: Option<HeaderValue>,
    trailers: bool,
) -> Result<(), BadHead> {
    let authority = match &authority {
        Some(host) => Authority::try_from(host.as_bytes()).map_err(|_| BadHead("invalid Host header"))?,
        None => Authority::from_static("localhost"),
    };
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path);
    parts.uri = uri.build().map_err(|_| BadHead("invalid target"))?;
    parts.headers.remove(HOST);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    parts.version = Version::HTTP_2;
    Ok(())
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

/// RFC 9110 section 7.6.1: the nominated headers, and those that are always between two neighbours only.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// The headers that Connection names. What is for the other end can't be nominated away.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &CONNECTION)
        .filter(|token| matches!(Kind::of(token), Kind::Other))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .take(MAX_NOMINATED)
        .collect()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    let bare = |token: &[u8]| token.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_vec();
    headers.contains_key(name) && tokens(headers, name).any(|t| bare(t).eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// HTTP/2 clients may split cookies, HTTP/1 servers may not know (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let before: Vec<&[u8]> = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    if before.is_empty() {
        headers.insert(FORWARDED_FOR, peer.clone());
        return;
    }
    let all = [before, vec![peer.as_bytes()]].concat().join(&b", "[..]);
    if let Ok(all) = HeaderValue::from_bytes(&all) {
        headers.insert(FORWARDED_FOR, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(build: request::Builder, wire: Wire) -> Result<request::Parts, BadHead> {
        let (mut parts, ()) = build.body(()).unwrap().into_parts();
        neighbour(&mut parts, &HeaderValue::from_static("192.0.2.1"), true, wire)?;
        Ok(parts)
    }

    fn get(uri: &str) -> request::Builder {
        http::Request::builder().uri(uri).header("host", "shop")
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let request = get("/")
            .header("connection", "close, X-Private, content-length")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("te", "gzip, trailers;q=0.5")
            .header("upgrade", "h2c")
            .header("content-length", "0")
            .header("x-public", "2");
        let parts = forwarded(request, Wire::Http1).unwrap();
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "content-length", "host", "te", "x-forwarded-for", "x-public"]);
        assert_eq!(parts.headers["te"], "trailers");
        assert_eq!(parts.headers["connection"], "te");
    }

    #[test]
    fn the_client_is_appended_to_those_before() {
        let request = get("/").header("x-forwarded-for", "10.0.0.1").header("x-forwarded-for", "10.0.0.2");
        let parts = forwarded(request, Wire::Http1).unwrap();
        assert_eq!(parts.headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 192.0.2.1");
        assert_eq!(forwarded(get("/"), Wire::Http1).unwrap().headers["x-forwarded-for"], "192.0.2.1");
    }

    #[test]
    fn length_and_chunks_together_are_chunks() {
        let request = get("/").header("content-length", "9").header("transfer-encoding", "chunked");
        assert!(!forwarded(request, Wire::Http1).unwrap().headers.contains_key("content-length"));
    }

    #[test]
    fn the_targets_authority_wins_over_host() {
        let parts = forwarded(get("http://other:81/a?b"), Wire::Http1).unwrap();
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers["host"]),
            ("/a?b", &"other:81".parse().unwrap())
        );
    }

    #[test]
    fn http_2_gets_an_authority_and_http_1_a_host_and_one_cookie_line() {
        let parts = forwarded(get("/a?b").header("te", "trailers"), Wire::Http2).unwrap();
        assert_eq!(parts.uri, "http://shop/a?b");
        assert!(!parts.headers.contains_key("host") && !parts.headers.contains_key("connection"));
        let request = http::Request::builder().version(Version::HTTP_2).uri("http://shop/");
        let parts = forwarded(request.header("cookie", "a=1").header("cookie", "b=2"), Wire::Http1).unwrap();
        assert_eq!(
            (&parts.headers["host"], &parts.headers["cookie"]),
            (&"shop".parse().unwrap(), &"a=1; b=2".parse().unwrap())
        );
    }

    #[test]
    fn a_request_without_one_host_is_refused() {
        let none = http::Request::builder().uri("/");
        assert_eq!(forwarded(none, Wire::Http1).unwrap_err(), BadHead("no Host header"));
        let two = get("/").header("host", "other");
        assert_eq!(forwarded(two, Wire::Http1).unwrap_err(), BadHead("more than one Host header"));
        let old = http::Request::builder().version(Version::HTTP_10).uri("/");
        assert!(forwarded(old, Wire::Http1).is_ok());
    }
}
