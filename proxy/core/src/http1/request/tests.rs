use proptest::prelude::*;

use super::*;
use crate::http1::may_be_complete;

fn told(text: &str) -> Result<RequestHead, BadRequest> {
    let mut head = RequestHead::default();
    match head.parse(text.as_bytes())? {
        Parsed::Complete(length) => {
            assert_eq!(length, text.len());
            Ok(head)
        }
        Parsed::Partial => Err(BadRequest::Malformed("partial")),
    }
}

fn status(text: &str) -> u16 {
    told(text).map_or_else(BadRequest::status, |_| 200)
}

#[test]
fn a_request_is_taken_apart() {
    let text = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: shop\r\nX-User:\t ada \r\nx-empty:\r\nContent-Length: 12\r\n\r\n";
    let head = told(text).unwrap();
    let told = head.with(text.as_bytes());
    assert_eq!((told.method(), told.path(), told.query()), ("POST", "/a/b", Some("c=d")));
    assert_eq!(told.values("x-user").collect::<Vec<_>>(), [b"ada"]);
    assert_eq!(told.values("x-empty").collect::<Vec<_>>(), [b""]);
    assert_eq!(told.values("x-none").count(), 0);
    assert_eq!(head.framing(), Ok(Framing::Length(12)));
    assert!(head.keeps_alive());
}

#[test]
fn bytes_after_the_head_are_not_part_of_it() {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /b"), Ok(Parsed::Complete(27)));
}

#[test]
fn heads_that_two_readers_could_read_in_two_ways_are_refused() {
    for text in [
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : a\r\n\r\n",
        "GET / HTTP/1.1\r\n host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / http/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1x\r\nhost: a\r\n\r\n",
        "GET /\r\nhost: a\r\n\r\n",
        "G\u{e9}T / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /#a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://u:p@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        assert_eq!(status(text), 400, "{text:?}");
    }
}

#[test]
fn a_request_has_one_host() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(status(text), 400, "{text:?}");
    }
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(status("GET / HTTP/1.1\r\nhost:\r\n\r\n"), 200);
}

#[test]
fn framing_is_strict() {
    let of = |fields: &str| status(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    assert_eq!(of("content-length: 1\r\ntransfer-encoding: chunked\r\n"), 400);
    assert_eq!(of("content-length: 1\r\ncontent-length: 1\r\n"), 400);
    assert_eq!(of("content-length: 1, 1\r\n"), 400);
    assert_eq!(of("content-length: +1\r\n"), 400);
    assert_eq!(of("transfer-encoding: chunked, chunked\r\n"), 400);
    assert_eq!(of("transfer-encoding: gzip, chunked\r\n"), 501);
    assert_eq!(of("transfer-encoding: \x0bchunked\r\n"), 400);
    assert_eq!(status("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), 400);
}

#[test]
fn everything_has_a_bound() {
    let fields: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")), 431);
    let long = "a".repeat(MAX_HEAD);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")), 431);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}")), 431);
    assert_eq!(status(&format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")), 414);
    assert_eq!(status(&format!("GET /{long}")), 414);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(MAX_TARGET))), 414);
    assert_eq!(status(&format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n")), 431);
    let names: String = (0..40).map(|n| format!("x-{n},")).collect();
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: {names}\r\n\r\n")), 400);
}

#[test]
fn other_versions_are_told_from_garbage() {
    assert_eq!(status("GET / HTTP/2.0\r\nhost: a\r\n\r\n"), 505);
    assert_eq!(status("GET / HTTP/1.2\r\nhost: a\r\n\r\n"), 505);
    assert_eq!(status("GET / HTTP/11\r\nhost: a\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTQ/1.1\r\nhost: a\r\n\r\n"), 400);
}

#[test]
fn connections_are_kept_as_their_version_has_it() {
    let kept = |version: &str, connection: &str| {
        told(&format!("GET / HTTP/{version}\r\nhost: a\r\nconnection: {connection}\r\n\r\n"))
            .unwrap()
            .keeps_alive()
    };
    assert!(kept("1.1", "x") && kept("1.0", "Keep-Alive"));
    assert!(!kept("1.1", "x, Close") && !kept("1.0", "x") && !kept("1.0", "keep-alive, close"));
}

#[test]
fn only_http_1_1_changes_protocols_and_expects() {
    let text = |version: &str, protocol: &str| {
        format!(
            "GET / HTTP/{version}\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\nexpect: 100-Continue\r\n\r\n"
        )
    };
    let asks = |version: &str, protocol: &str| {
        let text = text(version, protocol);
        let head = told(&text).unwrap();
        (head.upgrade(text.as_bytes()).is_some(), head.expects_continue(text.as_bytes()))
    };
    assert_eq!(asks("1.1", "websocket"), (true, true));
    assert_eq!(asks("1.1", "websocket, h2c"), (false, true));
    assert_eq!(asks("1.0", "websocket"), (false, false));
}

#[test]
fn an_end_is_found_wherever_the_bytes_are_cut() {
    let text = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for seen in 0..text.len() {
        assert!(may_be_complete(text, seen), "{seen}");
        assert!(!may_be_complete(&text[..text.len() - 1], seen.min(text.len() - 1)), "{seen}");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut head = RequestHead::default();
        if let Ok(Parsed::Complete(length)) = head.parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn a_head_that_is_cut_is_partial_or_refused_and_never_another_one(
        fields in prop::collection::vec("[a-z]{1,6}: [a-z ]{0,6}", 0..5), cut in any::<usize>(),
    ) {
        let fields: String = fields.iter().map(|f| format!("{f}\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let whole = told(&text).map(|_| ());
        let mut head = RequestHead::default();
        let part = head.parse(&text.as_bytes()[..cut % text.len()]);
        prop_assert!(part == Ok(Parsed::Partial) || whole.is_err(), "{:?}", part);
    }
}
