use proptest::prelude::*;

use super::*;
use crate::http1::Parsed;
use crate::http1::framing::Framing;

const TRUSTED: Onward<'_> = Onward { peer: "192.0.2.1", trusted: true, request_id: None, trace_parent: None };

fn passed(text: &str, onward: &Onward<'_>) -> String {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes()), Ok(Parsed::Complete(text.len())), "{text:?}");
    let mut out = Vec::new();
    request(&mut out, text.as_bytes(), &head, onward);
    String::from_utf8(out).unwrap()
}

fn answered(text: &str, back: Back) -> String {
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text.as_bytes()), Ok(Parsed::Complete(text.len())), "{text:?}");
    let mut out = Vec::new();
    response(&mut out, text.as_bytes(), &head, back);
    String::from_utf8(out).unwrap()
}

const BACK: Back = Back { version: Version::Http11, close: false, body: BodyGoes::AsItComes };

#[test]
fn lines_pass_as_they_stand() {
    let text = "GET /a?b HTTP/1.1\r\nHost: shop\r\nX-Own:  a b \r\nx-own: c\r\n\r\n";
    let lines = &text[..text.len() - 2];
    assert_eq!(passed(text, &TRUSTED), format!("{lines}x-forwarded-for: 192.0.2.1\r\n\r\n"));
}

#[test]
fn what_is_between_neighbours_stays_there() {
    let text = "GET / HTTP/1.1\r\nhost: shop\r\nConnection: close, X-Private\r\nx-private: 1\r\na: 1\r\nkeep-alive: 5\r\n\
                proxy-connection: x\r\nte: gzip, Trailers;q=0.5\r\nupgrade: h2c\r\nhttp2-settings: x\r\nx-public: 2\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nhost: shop\r\na: 1\r\nx-public: 2\r\nte: trailers\r\nconnection: te\r\n\
                    x-forwarded-for: 192.0.2.1\r\n\r\n";
    assert_eq!(passed(text, &TRUSTED), expected);
}

#[test]
fn trust_and_framing_can_not_be_nominated_away() {
    let text = "POST / HTTP/1.1\r\nhost: shop\r\nconnection: host, content-length, x-forwarded-for, x-forwarded-proto, \
                cookie, authorization\r\ncontent-length: 1\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\n\
                cookie: a\r\nauthorization: b\r\n\r\n";
    let got = passed(text, &TRUSTED);
    for kept in [
        "host: shop",
        "content-length: 1",
        "x-forwarded-for: 10.0.0.1, 192",
        "x-forwarded-proto: https",
        "cookie: a",
        "authorization: b",
    ] {
        assert!(got.contains(&format!("\r\n{kept}")), "{kept}: {got}");
    }
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let text = "GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nforwarded: for=a\r\n\
                x-real-ip: b\r\nx-own: 1\r\n\r\n";
    let onward = Onward { trusted: false, ..TRUSTED };
    let expected = "GET / HTTP/1.1\r\nhost: shop\r\nx-own: 1\r\nx-forwarded-for: 192.0.2.1\r\n\r\n";
    assert_eq!(passed(text, &onward), expected);
}

#[test]
fn the_client_is_appended_to_those_before() {
    let text = "GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: 10.0.0.1\r\na: b\r\nX-Forwarded-For: 10.0.0.2\r\n\r\n";
    let expected =
        "GET / HTTP/1.1\r\nhost: shop\r\na: b\r\nx-forwarded-for: 10.0.0.1, 10.0.0.2, 192.0.2.1\r\n\r\n";
    assert_eq!(passed(text, &TRUSTED), expected);
}

#[test]
fn an_upgrade_is_asked_for_again() {
    let text =
        "GET / HTTP/1.1\r\nhost: shop\r\nconnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let got = passed(text, &TRUSTED);
    assert!(got.contains("\r\nupgrade: websocket\r\nconnection: upgrade\r\n"), "{got}");
}

#[test]
fn the_targets_authority_wins_over_host() {
    let got = passed("GET http://other:81/a?b HTTP/1.1\r\nhost: shop\r\nx: 1\r\n\r\n", &TRUSTED);
    assert_eq!(got, "GET /a?b HTTP/1.1\r\nhost: other:81\r\nx: 1\r\nx-forwarded-for: 192.0.2.1\r\n\r\n");
    let first = |text: &str| passed(text, &TRUSTED).split(" HTTP").next().map(str::to_owned);
    assert_eq!(first("GET http://other?b HTTP/1.1\r\nhost: a\r\n\r\n").as_deref(), Some("GET /?b"));
    assert_eq!(first("GET http://other HTTP/1.1\r\nhost: a\r\n\r\n").as_deref(), Some("GET /"));
    assert_eq!(first("OPTIONS http://other HTTP/1.1\r\nhost: a\r\n\r\n").as_deref(), Some("OPTIONS *"));
}

#[test]
fn old_clients_are_spoken_for() {
    let got = passed("GET / HTTP/1.0\r\nexpect: 100-continue\r\nconnection: keep-alive\r\n\r\n", &TRUSTED);
    assert_eq!(got, "GET / HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 192.0.2.1\r\n\r\n");
}

#[test]
fn traces_and_ids_are_begun_where_there_are_none() {
    let onward = Onward { request_id: Some("7"), trace_parent: Some("00-1-2-00"), ..TRUSTED };
    let got = passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n", &onward);
    assert!(got.contains("x-request-id: 7\r\ntraceparent: 00-1-2-00\r\n"), "{got}");
    let got = passed("GET / HTTP/1.1\r\nhost: a\r\nX-Request-Id: own\r\ntraceparent: mine\r\n\r\n", &onward);
    assert!(!got.contains("7\r\n") && !got.contains("00-1"), "{got}");
}

#[test]
fn an_answer_passes_without_what_is_between_neighbours() {
    let text = "HTTP/1.0 201 Made it\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: 5\r\nset-cookie: a\r\n\
                set-cookie: b\r\ncontent-length: 2\r\n\r\n";
    let expected = "HTTP/1.1 201 Made it\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(answered(text, BACK), expected);
    let closed = answered(text, Back { close: true, ..BACK });
    assert!(closed.ends_with("content-length: 2\r\nconnection: close\r\n\r\n"), "{closed}");
    let kept = answered(text, Back { version: Version::Http10, ..BACK });
    assert!(kept.ends_with("connection: keep-alive\r\n\r\n"), "{kept}");
}

#[test]
fn a_body_without_a_length_goes_in_chunks() {
    let got = answered("HTTP/1.1 200 OK\r\na: b\r\n\r\n", Back { body: BodyGoes::InChunks, ..BACK });
    assert_eq!(got, "HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(answered(chunked, BACK), chunked);
    let back = Back { version: Version::Http10, close: true, body: BodyGoes::UntilClose };
    assert_eq!(answered(chunked, back), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
}

#[test]
fn answers_that_have_no_body_name_no_length() {
    let text = "HTTP/1.1 204 No\r\ncontent-length: 5\r\na: b\r\n\r\n";
    assert_eq!(answered(text, BACK), "HTTP/1.1 204 No\r\na: b\r\n\r\n");
    let text = "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(answered(text, BACK), text);
}

#[test]
fn a_change_of_protocol_and_interim_answers_pass() {
    let got = answered("HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", BACK);
    assert_eq!(got, "HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    assert_eq!(answered(hints, Back { close: true, ..BACK }), hints);
}

#[test]
fn another_version_gets_no_framing_of_this_one() {
    let text = "HTTP/1.1 200 OK\r\nConnection: x-hop, close\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\nupgrade: h2c\r\na: b\r\n\r\n";
    let mut head = ResponseHead::default();
    head.parse(text.as_bytes()).unwrap();
    let names: Vec<_> =
        passing(text.as_bytes(), &head).map(|field| field.name.text(text.as_bytes())).collect();
    assert_eq!(names, ["a"]);
}

proptest! {
    /// What we pass on, another proxy of our kind takes, and changes nothing but the list of addresses.
    #[test]
    fn what_is_passed_on_is_a_good_request(
        path in "/[a-z/]{0,9}(\\?[a-z=&]{0,9})?",
        fields in prop::collection::vec("[a-zA-Z-]{1,12}: ?[ -~]{0,12}", 0..6),
        body in prop_oneof![Just(""), Just("content-length: 5\r\n"), Just("transfer-encoding: chunked\r\n")],
        connection in prop_oneof![Just(""), Just("connection: close, x-a\r\n"), Just("te: trailers\r\n")],
        authority in prop_oneof![Just(""), Just("http://shop:80")],
        version in prop_oneof![Just("1.1"), Just("1.0")],
    ) {
        let fields: String = fields.iter().map(|f| format!("{f}\r\n")).collect();
        let text = format!("POST {authority}{path} HTTP/{version}\r\nhost: a\r\n{fields}{body}{connection}\r\n");
        let mut head = RequestHead::default();
        let Ok(parsed) = head.parse(text.as_bytes()) else { return Ok(()) };
        prop_assert_eq!(parsed, Parsed::Complete(text.len()));
        let framing = head.framing().unwrap();
        let mut once = Vec::new();
        request(&mut once, text.as_bytes(), &head, &TRUSTED);
        prop_assert_eq!(head.parse(&once), Ok(Parsed::Complete(once.len())));
        prop_assert_eq!(head.framing().unwrap(), framing);
        prop_assert!(matches!(framing, Framing::None | Framing::Length(5) | Framing::Chunked));
        prop_assert_eq!(head.version, Version::Http11);
        prop_assert!(!head.fields.facts.close && head.fields.facts.hosts == 1);
        let mut twice = Vec::new();
        request(&mut twice, &once, &head, &TRUSTED);
        let strip = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let mut lines: Vec<String> = text.split("\r\n").filter(|l| !l.starts_with("x-forwarded-for")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        prop_assert_eq!(strip(&once), strip(&twice));
    }
}
