//! What a proxy changes in a head for, or from, an endpoint of HTTP/2: RFC 9110 section 7.6, RFC 9113 section 8.

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version, response};
use penstock_proxy_core::http1::descend::{self, BadHead};
use penstock_proxy_core::http1::field::Kind;

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

/// Who sends a request.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The client's address.
    pub(crate) peer: &'a str,
    /// Whether it is believed what it says of others.
    pub(crate) trusted: bool,
    pub(crate) worker: &'a Worker,
}

/// Makes the head of a client's request one for an endpoint of HTTP/2.
pub(crate) fn request(request: &mut Request<()>, who: &Who<'_>, record: &mut Record) -> Result<(), BadHead> {
    name(request.headers_mut(), who.worker, record);
    neighbour(request, who.peer, who.trusted)
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
    if let Some(value) = value
        && !headers.contains_key(&name)
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}

fn neighbour(request: &mut Request<()>, peer: &str, trusted: bool) -> Result<(), BadHead> {
    target(request)?;
    let old = request.version() != Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(HOST);
    // A request that came by HTTP/2 has none of these.
    if old {
        let trailers = has_token(headers, &TE, b"trailers");
        remove_hop_by_hop(headers);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    if !trusted {
        remove_forwarded(headers);
    }
    append_forwarded_for(headers, peer)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}

/// What proxies before this one say of the client.
fn remove_forwarded(headers: &mut HeaderMap) {
    let said = |name: &&HeaderName| {
        matches!(Kind::of(name.as_str().as_bytes()), Kind::Forwarded | Kind::ForwardedFor)
    };
    let names: Vec<HeaderName> = headers.keys().filter(said).cloned().collect();
    names.iter().for_each(|name| drop(headers.remove(name)));
}

/// Makes the head of an endpoint's response one for a client of HTTP/1.
pub(crate) fn response(parts: &mut response::Parts) {
    remove_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
}

/// The whole target, as HTTP/2 wants it.
fn target(request: &mut Request<()>) -> Result<(), BadHead> {
    let authority = descend::authority(request)?;
    let uri = request.uri();
    if uri.authority().is_some() && uri.scheme() == Some(&Scheme::HTTP) && uri.path_and_query().is_some() {
        return Ok(());
    }
    if authority.is_none() && request.version() != Version::HTTP_10 {
        return Err(BadHead("no Host header"));
    }
    let authority = match authority {
        Some(host) => Authority::try_from(host).map_err(|_| BadHead("an invalid Host header"))?,
        None => Authority::from_static("localhost"),
    };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let whole = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path);
    *request.uri_mut() = whole.build().map_err(|_| BadHead("an invalid target"))?;
    Ok(())
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

fn append_forwarded_for(headers: &mut HeaderMap, peer: &str) -> Result<(), BadHead> {
    let before = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let all: Vec<&[u8]> = before.chain([peer.as_bytes()]).collect();
    let all = if all.len() == 1 {
        HeaderValue::from_str(peer)
    } else {
        HeaderValue::from_bytes(&all.join(&b", "[..]))
    };
    headers.insert(FORWARDED_FOR, all.map_err(|_| BadHead("no address"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;

    fn forwarded(builder: Builder) -> Result<Request<()>, BadHead> {
        let mut request = builder.body(()).unwrap();
        neighbour(&mut request, "192.0.2.1", true)?;
        Ok(request)
    }

    fn get(uri: &str) -> Builder {
        Request::builder().uri(uri).header("host", "shop")
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
        let request = forwarded(request).unwrap();
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "te", "x-forwarded-for", "x-public"]);
        assert_eq!(request.headers()["te"], "trailers");
    }

    #[test]
    fn the_client_is_appended_to_those_before() {
        let request = get("/").header("x-forwarded-for", "10.0.0.1").header("x-forwarded-for", "10.0.0.2");
        let request = forwarded(request).unwrap();
        assert_eq!(request.headers()["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 192.0.2.1");
        assert_eq!(forwarded(get("/")).unwrap().headers()["x-forwarded-for"], "192.0.2.1");
    }

    #[test]
    fn the_targets_authority_wins_over_host_which_becomes_one() {
        assert_eq!(*forwarded(get("http://other:81/a?b")).unwrap().uri(), "http://other:81/a?b");
        let request = forwarded(get("/a?b").header("te", "trailers")).unwrap();
        assert_eq!(*request.uri(), "http://shop/a?b");
        assert!(!request.headers().contains_key("host"));
    }

    #[test]
    fn a_request_without_one_host_is_refused() {
        let none = Request::builder().uri("/");
        assert_eq!(forwarded(none).unwrap_err(), BadHead("no Host header"));
        let two = get("/").header("host", "other");
        assert_eq!(forwarded(two).unwrap_err(), BadHead("more than one Host header"));
        let old = Request::builder().version(Version::HTTP_10).uri("/");
        assert_eq!(*forwarded(old).unwrap().uri(), "http://localhost/");
    }
}
