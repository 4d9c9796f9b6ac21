//! A request that came by HTTP/2 as one of HTTP/1 (RFC 9113 section 8): one pass over its fields, straight into bytes.

use http::header::HOST;
use http::{HeaderValue, Method, Request};

use crate::head::Head;
use crate::http1::field::Kind;
use crate::http1::framing::Framing;
use crate::http1::rewrite::{Onward, line};
use crate::http1::target::is_host;
use crate::http2::request::RequestHead;

/// A head that can't be passed on, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead(pub &'static str);

/// Appends the head of a request as it goes to an endpoint of HTTP/1.1, and says how its body goes. `body`: it has one.
pub fn request(
    out: &mut Vec<u8>,
    request: &RequestHead,
    body: bool,
    onward: &Onward<'_>,
) -> Result<Framing, BadHead> {
    let authority = asked(request)?.ok_or(BadHead("neither an authority nor a Host header"))?;
    request_line(out, request);
    line(out, b"host", authority);
    let mut seen = Seen::default();
    for (kind, name, value) in request.fields() {
        match name {
            b"cookie" if std::mem::replace(&mut seen.cookie, true) => {}
            b"cookie" => cookies(out, request),
            _ => field(out, kind, name, value, onward, &mut seen),
        }
    }
    let framing = framing(out, request, body);
    forwarded_for(out, request, onward, seen.forwarded_for);
    if seen.te_trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    if let Some(id) = onward.request_id.filter(|_| !seen.request_id) {
        line(out, b"x-request-id", id.as_bytes());
    }
    if let Some(trace) = onward.trace_parent.filter(|_| !seen.trace_parent) {
        line(out, b"traceparent", trace.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

/// Who is asked: `:authority` before `Host`, of which there is one at most.
fn asked(request: &RequestHead) -> Result<Option<&[u8]>, BadHead> {
    let hosts = request.fields().filter(|(kind, ..)| *kind == Kind::Host).map(|(_, _, host)| host);
    let any_target = request.target() == "*";
    who(hosts, request.authority(), any_target && request.method() != "OPTIONS")
}

/// The same of a request of another library.
pub fn authority<B>(request: &Request<B>) -> Result<Option<&[u8]>, BadHead> {
    let hosts = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let odd = request.uri().path() == "*" && *request.method() != Method::OPTIONS;
    who(hosts, request.uri().authority().map(|authority| authority.as_str().as_bytes()), odd)
}

fn who<'a>(
    mut hosts: impl Iterator<Item = &'a [u8]>,
    authority: Option<&'a [u8]>,
    odd: bool,
) -> Result<Option<&'a [u8]>, BadHead> {
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadHead("more than one Host header"));
    }
    if host.is_some_and(|host| !is_host(host)) {
        return Err(BadHead("an invalid Host header"));
    }
    if odd {
        return Err(BadHead("an invalid target"));
    }
    let Some(authority) = authority else { return Ok(host) };
    if is_host(authority) { Ok(Some(authority)) } else { Err(BadHead("an invalid authority")) }
}

fn request_line(out: &mut Vec<u8>, request: &RequestHead) {
    let target = request.target();
    out.extend_from_slice(request.method().as_bytes());
    out.push(b' ');
    out.extend_from_slice(if target.is_empty() { b"/" } else { target.as_bytes() });
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// What has been among the fields.
#[derive(Default)]
struct Seen {
    te_trailers: bool,
    request_id: bool,
    trace_parent: bool,
    forwarded_for: bool,
    cookie: bool,
}

fn field(out: &mut Vec<u8>, kind: Kind, name: &[u8], value: &[u8], onward: &Onward<'_>, seen: &mut Seen) {
    match kind {
        Kind::Host
        | Kind::Connection
        | Kind::HopByHop
        | Kind::Upgrade
        | Kind::TransferEncoding
        | Kind::Expect => return,
        Kind::ForwardedFor => return seen.forwarded_for = true,
        Kind::Forwarded if !onward.trusted => return,
        Kind::Te => return seen.te_trailers |= value.eq_ignore_ascii_case(b"trailers"),
        Kind::RequestId => seen.request_id = true,
        Kind::TraceParent => seen.trace_parent = true,
        Kind::Other | Kind::EndToEnd | Kind::Forwarded | Kind::ContentLength => {}
    }
    line(out, name, value);
}

/// HTTP/2 clients may split cookies, HTTP/1 servers may not know (RFC 9113 section 8.2.3).
fn cookies(out: &mut Vec<u8>, request: &RequestHead) {
    out.extend_from_slice(b"cookie: ");
    for (n, value) in request.values("cookie").enumerate() {
        out.extend_from_slice(if n == 0 { b"" } else { b"; " });
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n");
}

/// How the body goes. What a request says of its length has been passed on with its fields.
fn framing(out: &mut Vec<u8>, request: &RequestHead, body: bool) -> Framing {
    match (body, request.length) {
        (true, Some(length)) => Framing::Length(length),
        (true, None) => {
            line(out, b"transfer-encoding", b"chunked");
            Framing::Chunked
        }
        (false, length) => {
            if length.is_none() && matches!(request.method(), "POST" | "PUT" | "PATCH") {
                line(out, b"content-length", b"0");
            }
            Framing::None
        }
    }
}

fn forwarded_for(out: &mut Vec<u8>, request: &RequestHead, onward: &Onward<'_>, there: bool) {
    out.extend_from_slice(b"x-forwarded-for: ");
    if onward.trusted && there {
        let before = request.fields().filter(|(kind, ..)| *kind == Kind::ForwardedFor);
        for (_, _, value) in before.filter(|(_, _, value)| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(onward.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;

    fn written(builder: Builder, body: bool, trusted: bool) -> Result<(String, Framing), BadHead> {
        let onward = Onward { peer: "192.0.2.1", trusted, request_id: Some("id"), trace_parent: None };
        let mut out = Vec::new();
        let framing = request(&mut out, &builder.body(()).unwrap().into(), body, &onward)?;
        Ok((String::from_utf8(out).unwrap(), framing))
    }

    fn get(uri: &str) -> Builder {
        Request::builder().uri(uri)
    }

    #[test]
    fn the_authority_is_the_host_and_cookies_are_one_line() {
        let request = get("http://shop/a?b").header("host", "other").header("cookie", "a=1");
        let request = request.header("x-own", "1").header("cookie", "b=2").header("te", "trailers");
        let (text, framing) = written(request, false, true).unwrap();
        let expected = "GET /a?b HTTP/1.1\r\nhost: shop\r\ncookie: a=1; b=2\r\nx-own: 1\r\n\
                        x-forwarded-for: 192.0.2.1\r\nte: trailers\r\nconnection: te\r\nx-request-id: id\r\n\r\n";
        assert_eq!((text.as_str(), framing), (expected, Framing::None));
    }

    #[test]
    fn a_body_has_a_length_or_comes_in_chunks() {
        let post = || get("http://shop/").method("POST");
        let framed = |request, body| written(request, body, true).map(|(_, framing)| framing);
        assert_eq!(framed(post().header("content-length", "5"), true), Ok(Framing::Length(5)));
        assert_eq!(framed(post(), true), Ok(Framing::Chunked));
        assert!(written(post(), false, true).unwrap().0.contains("content-length: 0\r\n"));
    }

    #[test]
    fn who_is_not_trusted_says_nothing_of_others() {
        let request =
            || get("http://shop/").header("x-forwarded-for", "10.0.0.1").header("forwarded", "for=x");
        let (trusted, _) = written(request(), false, true).unwrap();
        assert!(trusted.contains("x-forwarded-for: 10.0.0.1, 192.0.2.1\r\n") && trusted.contains("for=x"));
        let (other, _) = written(request(), false, false).unwrap();
        assert!(other.contains("x-forwarded-for: 192.0.2.1\r\n") && !other.contains("for=x"), "{other}");
    }

    #[test]
    fn what_is_between_neighbours_or_framing_of_http_1_never_passes() {
        let request = get("http://shop/").header("expect", "100-continue").header("upgrade", "h2c");
        let request = request.header("connection", "close").header("transfer-encoding", "chunked");
        let (text, _) = written(request.header("keep-alive", "1"), false, true).unwrap();
        assert_eq!(
            text,
            "GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: 192.0.2.1\r\nx-request-id: id\r\n\r\n"
        );
    }

    #[test]
    fn who_is_asked_must_be_clear() {
        let bad = |request| written(request, false, true).unwrap_err().0;
        assert_eq!(bad(get("/").header("host", "a").header("host", "b")), "more than one Host header");
        assert_eq!(bad(get("/").header("host", "a b")), "an invalid Host header");
        assert_eq!(bad(get("http://user@shop/")), "an invalid authority");
        assert_eq!(bad(get("*")), "an invalid target");
        assert_eq!(bad(get("/")), "neither an authority nor a Host header");
    }
}
