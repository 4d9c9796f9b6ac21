//! HTTP/2 in front of HTTP/1 (RFC 9113 section 8): what would mean something else in HTTP/1 is refused.

use crate::harness::frames::{
    Answer, DATA, END_HEADERS, END_STREAM, H2, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, ask, block, frame,
    get, headers,
};
use crate::harness::strict::{Framing, Message};
use crate::harness::tape::{OK, run_table};
use crate::harness::{Client, Rig, wait_for};

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn with<'a>(more: &[(&'a str, &'a str)]) -> Fields<'a> {
    [ask("GET", "/a"), more.to_vec()].concat()
}

/// The fields of a request with one of them, by name, changed or left out.
fn but<'a>(name: &str, value: Option<&'a str>) -> Fields<'a> {
    let change =
        |(n, v): (&'a str, &'a str)| if n == name { value.map(|value| (n, value)) } else { Some((n, v)) };
    ask("GET", "/a").into_iter().filter_map(change).collect()
}

fn send(rig: &Rig, bytes: impl AsRef<[u8]>) -> Answer {
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(bytes);
    h2.answer(1)
}

/// Refused by a status, a reset or the end of the connection; the endpoint hears nothing of it that is whole.
fn refused(rig: &Rig, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    let answer = send(rig, bytes);
    let heard: Vec<_> = rig.tape.take().into_iter().filter_map(|h| h.message.ok()).collect();
    let refused = !answer.whole || (400..600).contains(&answer.status());
    if refused && heard.is_empty() {
        Ok(())
    } else {
        Err(format!("{answer:?}; the endpoint heard {heard:?}"))
    }
}

#[test]
fn what_would_be_another_request_in_http_1_never_becomes_one() {
    let rig = Rig::new();
    let smuggled = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop";
    let cases: Vec<(&str, Fields<'_>)> = vec![
        ("CRLF in a value", with(&[("x", smuggled)])),
        ("LF in a value", with(&[("x", "y\nz: 1")])),
        ("CR in a value", with(&[("x", "y\rz: 1")])),
        ("NUL in a value", with(&[("x", "y\0z")])),
        ("CRLF in a name", with(&[("x: y\r\nz", "1")])),
        ("a colon in a name", with(&[("x:y", "1")])),
        ("a blank in a name", with(&[("x y", "1")])),
        ("a blank behind a name", with(&[("transfer-encoding ", "chunked")])),
        ("capitals in a name", with(&[("X", "1")])),
        ("no name", with(&[("", "1")])),
        ("CRLF in the path", but(":path", Some("/a HTTP/1.1\r\nhost: other\r\n\r\nGET /smuggled"))),
        ("a blank in the path", but(":path", Some("/a HTTP/1.1 /b"))),
        ("LF in the path", but(":path", Some("/a\nb"))),
        ("a control character in the path", but(":path", Some("/a\x01"))),
        ("an empty path", but(":path", Some(""))),
        ("a path without a slash", but(":path", Some("a"))),
        ("a star without OPTIONS", but(":path", Some("*"))),
        ("CRLF in the method", but(":method", Some("GET / HTTP/1.1\r\nhost: shop\r\n\r\nGET"))),
        ("a blank in the method", but(":method", Some("GET /smuggled HTTP/1.1 GET"))),
        ("no letter in the method", but(":method", Some(""))),
        ("CRLF in the authority", but(":authority", Some("shop\r\nx: y"))),
        ("a path in the authority", but(":authority", Some("shop/b"))),
        ("a blank in the authority", but(":authority", Some("shop other"))),
        ("userinfo in the authority", but(":authority", Some("user@shop"))),
        ("CRLF in the scheme", but(":scheme", Some("http\r\nx: y"))),
        ("a blank before a value", with(&[("x", " y")])),
        ("a tab behind a value", with(&[("x", "y\t")])),
        ("nobody who is asked", but(":authority", None)),
        ("no method", but(":method", None)),
        ("no scheme", but(":scheme", None)),
        ("no path", but(":path", None)),
        ("two methods", with(&[(":method", "POST")])),
        ("two paths", with(&[(":path", "/b")])),
        ("two authorities", with(&[(":authority", "other")])),
        ("a pseudo-field behind a field", [vec![("x", "y")], ask("GET", "/a")].concat()),
        ("a pseudo-field that nobody knows", with(&[(":protocol-of-mine", "x")])),
        ("a status", with(&[(":status", "200")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("another TE than trailers", with(&[("te", "gzip")])),
        ("a length that is no number", with(&[("content-length", "x")])),
        ("a length with a sign", with(&[("content-length", "+0")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a length, and no body", with(&[("content-length", "5")])),
        ("two hosts", with(&[("host", "shop"), ("host", "other")])),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "shop:80")]),
        (
            "CONNECT with a protocol",
            [but(":method", Some("CONNECT")), vec![(":protocol", "websocket")]].concat(),
        ),
    ];
    run_table(
        &cases,
        |(name, _)| (*name).to_owned(),
        |(_, fields)| refused(&rig, headers(1, END_STREAM, fields)),
    );
    assert_eq!(rig.shop.get("/").text(), "ok");
    let heard = rig.tape.messages();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

/// Whoever believes one of them does not see what the other one believes.
#[test]
fn an_authority_and_a_host_that_differ_do_not_both_arrive() {
    let rig = Rig::new();
    let answer = send(&rig, headers(1, END_STREAM, &with(&[("host", "other")])));
    let heard = rig.tape.messages();
    match answer.status() {
        200 => assert_eq!(heard[0].all("host"), ["shop"]),
        _ => assert!(heard.is_empty(), "{answer:?} {heard:?}"),
    }
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_never_arrives_whole() {
    let rig = Rig::new();
    for (length, data) in [("5", "hell"), ("5", "hello!"), ("0", "x"), ("5", ""), ("1000000", "x")] {
        let fields = [ask("POST", "/a"), vec![("content-length", length)]].concat();
        let bytes = [headers(1, 0, &fields), frame(DATA, END_STREAM, 1, data.as_bytes())].concat();
        assert_eq!(refused(&rig, bytes), Ok(()), "{length} {data:?}");
    }
    assert_eq!(rig.shop.get("/").text(), "ok");
}

#[test]
fn trailers_with_pseudo_fields_or_framing_are_refused_or_dropped() {
    let rig = Rig::new();
    for (name, value) in
        [(":path", "/b"), (":status", "200"), ("X", "y"), ("connection", "x"), ("x", "y\r\nz: 1")]
    {
        let bytes = [
            headers(1, 0, &ask("POST", "/a")),
            frame(DATA, 0, 1, b"hi"),
            headers(1, END_STREAM, &[(name, value)]),
        ];
        let answer = send(&rig, bytes.concat());
        let heard: Vec<_> = rig.tape.take().into_iter().filter_map(|h| h.message.ok()).collect();
        let harmless = heard.iter().all(|m| m.trailers.is_empty() && m.word(1) == "/a");
        assert!(harmless, "{name}: {answer:?} {heard:?}");
    }
}

fn heard(rig: &Rig, bytes: impl AsRef<[u8]>) -> Message {
    let answer = send(rig, bytes);
    assert_eq!((answer.status(), answer.text().as_str(), answer.whole), (200, "ok", true));
    rig.tape.messages().remove(0)
}

#[test]
fn a_request_becomes_one_of_http_1() {
    let rig = Rig::new();
    let fields = [
        ask("GET", "/a?b"),
        vec![("cookie", "a=1"), ("x-own", "1"), ("cookie", "b=2"), ("x-own", "2"), ("te", "trailers")],
    ];
    let request = heard(&rig, headers(1, END_STREAM, &fields.concat()));
    assert_eq!((request.line.as_str(), request.one("host")), ("GET /a?b HTTP/1.1", Some("shop")));
    assert_eq!((request.one("cookie"), request.all("x-own")), (Some("a=1; b=2"), vec!["1", "2"]));
    assert_eq!((request.one("te"), request.framing), (Some("trailers"), Framing::None));
    assert_eq!(request.one("x-forwarded-for"), Some("127.0.0.1"));
    let star = heard(&rig, headers(1, END_STREAM, &ask("OPTIONS", "*")));
    assert_eq!(star.line, "OPTIONS * HTTP/1.1");
    let host = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "by-name")];
    assert_eq!(heard(&rig, headers(1, END_STREAM, &host)).all("host"), ["by-name"]);
}

#[test]
fn a_body_becomes_a_length_or_chunks() {
    let rig = Rig::new();
    let sized = [ask("POST", "/a"), vec![("content-length", "5")]].concat();
    let request = heard(&rig, [headers(1, 0, &sized), frame(DATA, END_STREAM, 1, b"hello")].concat());
    assert_eq!((request.framing, request.text().as_str()), (Framing::Length(5), "hello"));
    let open =
        [headers(1, 0, &ask("POST", "/a")), frame(DATA, 0, 1, b"hel"), frame(DATA, END_STREAM, 1, b"lo")];
    let request = heard(&rig, open.concat());
    assert_eq!((request.framing, request.text().as_str()), (Framing::Chunked, "hello"));
    let trailers = [
        headers(1, 0, &ask("POST", "/a")),
        frame(DATA, 0, 1, b"hi"),
        headers(1, END_STREAM, &[("x-sum", "7")]),
    ];
    let request = heard(&rig, trailers.concat());
    assert_eq!(
        (request.text().as_str(), request.trailers),
        ("hi", vec![("x-sum".to_owned(), "7".to_owned())])
    );
}

#[test]
fn answers_of_every_kind_end_as_they_should() {
    let answers = [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n",
            "hello",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", ""),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 1\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
        ),
    ];
    let rig = Rig::doing(move |request, client| {
        let index: usize = request.word(1)[1..].parse().unwrap();
        client.try_send(answers[index].1)
    });
    let mut h2 = H2::connect(rig.shop.port);
    for (n, (method, text, body)) in answers.iter().enumerate() {
        let id = 2 * n as u32 + 1;
        h2.send(headers(id, END_STREAM, &ask(method, &format!("/{n}"))));
        let answer = h2.answer(id);
        let status: u16 = text[9..12].parse().unwrap();
        assert_eq!((answer.status(), answer.text().as_str(), answer.whole), (status, *body, true), "{text}");
        assert_eq!(answer.statuses.len(), 1 + usize::from(text.contains("x-sum")), "{text}");
    }
}

/// RFC 9113 section 8.1: as many as there are, each before the answer. 100 is between the proxy and the endpoint.
#[test]
fn early_hints_come_first() {
    let (sender, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let hints = "HTTP/1.1 103 Early Hints\r\nconnection: x-hop\r\nx-hop: 1\r\nlink: </a>\r\n\r\n";
    let rig = Rig::doing(move |_, client| {
        client.try_send(format!("HTTP/1.1 100 Continue\r\n\r\n{hints}"));
        go_on.lock().unwrap().recv().unwrap();
        client.try_send(format!("HTTP/1.1 102 Processing\r\n\r\n{hints}{OK}"))
    });
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    let early = h2.next().unwrap();
    assert_eq!((early.kind, early.flags, early.status()), (HEADERS, END_HEADERS, 103));
    sender.send(()).unwrap();
    let answer = h2.answer(1);
    assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
    assert_eq!(answer.statuses, [102, 103, 200]);
}

/// RFC 9113 section 8.1: END_STREAM says that all of it has come.
#[test]
fn an_answer_that_is_cut_ends_with_a_reset() {
    let cut = |head: &'static str, resets: bool| {
        Rig::doing(move |_, client: &mut Client| {
            if resets {
                client.reset_at_end();
            }
            client.try_send(format!("HTTP/1.1 200 OK\r\n{head}"));
            false
        })
    };
    for head in [
        "content-length: 50\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
        "content-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        for resets in [false, true] {
            let rig = cut(head, resets);
            let answer = send(&rig, get(1, "/"));
            let told = answer.reset.is_some() || answer.status() == 502;
            assert!(told && (!answer.whole || answer.status() == 502), "{head:?} {resets}: {answer:?}");
        }
    }
}

#[test]
fn a_request_that_the_client_breaks_off_never_arrives_whole() {
    for error in [8u32, 0] {
        break_off(error);
    }
}

/// Breaks one request off by a reset with this error, and another one by the end of the connection.
fn break_off(error: u32) {
    let rig = Rig::new();
    let mut h2 = H2::connect(rig.shop.port);
    for id in [1, 3] {
        h2.send([headers(id, 0, &ask("POST", "/a")), frame(DATA, 0, id, b"hello")].concat());
    }
    wait_for("both have arrived", || (rig.shop.v1.requests() == 2).then_some(()));
    h2.send(frame(RST_STREAM, 0, 1, &error.to_be_bytes()));
    let counted = || rig.shop.counted("v1", "none", "client") + rig.shop.counted("v1", "4xx", "client");
    wait_for("it is the client's doing", || (counted() == 1).then_some(()));
    drop(h2);
    wait_for("so is the other one", || (counted() == 2).then_some(()));
    wait_for("the endpoint is told", || (rig.shop.v1.closed() == 2).then_some(()));
    let whole: Vec<_> = rig.tape.take().into_iter().filter_map(|h| h.message.ok()).collect();
    assert_eq!(whole, []);
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let rig = Rig::raw(|_, client| {
        client.strict_head(crate::harness::strict::Kind::Request).is_ok_and(|_| {
            client.try_send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig");
            false
        })
    });
    let mut h2 = H2::connect(rig.shop.port);
    for id in [1, 3, 5] {
        h2.send(headers(id, 0, &ask("POST", "/a")));
        h2.send(frame(DATA, 0, id, b"the first part"));
        let answer = h2.answer(id);
        assert_eq!((answer.status(), answer.text().as_str(), answer.whole), (413, "big", true));
    }
}

#[test]
fn a_stream_that_nobody_reads_holds_no_other_one_up() {
    let rig = Rig::raw(|_, client| {
        let Ok(head) = client.strict_head(crate::harness::strict::Kind::Request) else { return false };
        if head.word(1) == "/stuck" {
            std::io::Read::read_exact(&mut client.reader, &mut vec![0; 1 << 26]).ok();
            return false;
        }
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") && head.framing == Framing::Chunked {
            body.extend(client.read_exact(1));
        }
        client.try_send(OK)
    });
    // Answers that the client does not read, and windows that are its own to open.
    let mut h2 = H2::with(rig.shop.port, &[(INITIAL_WINDOW_SIZE, 0)]);
    assert!(h2.send(get(1, "/a")));
    assert_eq!(h2.next().unwrap().status(), 200);
    h2.send(headers(3, END_STREAM, &ask("HEAD", "/b")));
    let head = h2.next().unwrap();
    assert_eq!((head.kind, head.stream, head.status()), (HEADERS, 3, 200));
    let large = frame(HEADERS, END_HEADERS, 5, &block(&ask("POST", "/c")));
    h2.send([large, frame(DATA, END_STREAM, 5, b"x")].concat());
    assert_eq!(h2.next().unwrap().stream, 5);
    assert!(h2.open(1, 2));
    assert_eq!(h2.answer(1).text(), "ok");
}
