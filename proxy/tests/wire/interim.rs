//! Answers before the answer, and bodies that wait for one: RFC 9110 sections 10.1.1 and 15.2.

use crate::harness::Rig;
use crate::harness::strict::{Broken, Kind, Message};
use crate::harness::tape::OK;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n";

#[test]
fn early_hints_reach_the_client_before_the_answer_does() {
    let (sender, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let rig = Rig::doing(move |_, client| {
        client.try_send(HINTS);
        go_on.lock().unwrap().recv().unwrap();
        client.try_send(HINTS) && client.try_send("HTTP/1.1 102 Processing\r\n\r\n") && client.try_send(OK)
    });
    let mut client = rig.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        let hints = client.answer();
        assert_eq!(hints.line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.all("link"), ["</a.css>; rel=preload", "</b.js>"]);
        sender.send(()).unwrap();
        let statuses: Vec<u16> = (0..3).map(|_| client.answer().status()).collect();
        assert_eq!(statuses, [103, 102, 200]);
    }
    rig.shop.wait_counted("v1", "2xx", "none", 2);
}

/// RFC 9110 section 15.2: a server does not send them to a client of 1.0.
#[test]
fn an_old_client_gets_the_answer_only() {
    let rig = Rig::doing(|_, client| client.try_send(format!("{HINTS}HTTP/1.1 100 Continue\r\n\r\n{OK}")));
    let mut client = rig.client();
    client.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n");
    assert_eq!((client.answer().status(), client.is_closed()), (200, true));
}

#[test]
fn an_interim_answer_that_nobody_expected_does_no_harm() {
    let rig = Rig::doing(|_, client| client.try_send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")));
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        let mut answer = client.answer();
        if answer.status() == 100 {
            answer = client.answer();
        }
        assert_eq!(answer.text(), "ok");
    }
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

/// Reads the head, and says what the endpoint thinks of it.
fn asked(interim: &'static str, answer: &'static str) -> Rig {
    Rig::raw(move |tape, client| {
        let head = client.strict_head(Kind::Request);
        let expects = head.as_ref().is_ok_and(|head| head.one("expect") == Some("100-continue"));
        if expects {
            client.try_send(interim);
        }
        if answer.contains(" 4") {
            tape.keep(client, head);
            client.try_send(answer);
            return false;
        }
        let body = head.map(|head| Message { body: client.read_exact(5), ..head });
        let good = body.is_ok();
        tape.keep(client, body);
        good && client.try_send(answer)
    })
}

#[test]
fn a_body_that_is_expected_is_sent_once_it_is_asked_for() {
    let rig = asked("HTTP/1.1 100 Continue\r\n\r\n", OK);
    let mut client = rig.client();
    for n in 1..=3 {
        client.send(EXPECTING);
        assert_eq!(client.answer().status(), 100);
        client.send("hello");
        assert_eq!((client.answer().text(), rig.tape.messages()[0].text()), ("ok".into(), "hello".into()));
        rig.shop.wait_counted("v1", "2xx", "none", n);
    }
}

#[test]
fn a_client_that_does_not_wait_is_served_too() {
    let rig = asked("HTTP/1.1 100 Continue\r\n\r\n", OK);
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(&format!("{EXPECTING}hello"));
        let mut answer = client.answer();
        if answer.status() == 100 {
            answer = client.answer();
        }
        assert_eq!((answer.text(), rig.tape.messages()[0].text()), ("ok".into(), "hello".into()));
    }
}

/// RFC 9110 section 10.1.1: a client does not wait for ever, and no server has to say 100.
#[test]
fn an_endpoint_that_says_nothing_gets_the_body_all_the_same() {
    let rig = Rig::raw(|tape, client| {
        let head = client.strict_head(Kind::Request);
        let body = head.map(|head| Message { body: client.read_exact(5), ..head });
        tape.keep(client, body);
        client.try_send(OK)
    });
    let mut client = rig.client();
    client.send(EXPECTING);
    let mut answer = Err(Broken::Closed);
    // A careful client sends the body after a while; one that does not is told to by the proxy.
    client.stream.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
    if let Ok(first) = client.strict_head(Kind::Response) {
        assert_eq!(first.status(), 100);
    }
    client.stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    client.send("hello");
    while answer.as_ref().map_or(true, |answer: &Message| answer.status() == 100) {
        answer = Ok(client.answer());
    }
    assert_eq!((answer.unwrap().text(), rig.tape.messages()[0].text()), ("ok".into(), "hello".into()));
}

/// What comes behind it may be the body that is not wanted, or the next request: nobody knows.
#[test]
fn a_body_that_is_refused_is_no_request() {
    let rig = asked("", "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
    for expected in ["GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n", ""] {
        let mut client = rig.client();
        let length = 38;
        client.send(&format!(
            "POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ));
        assert_eq!(client.answer().status(), 417);
        client.try_send(expected);
        client.try_send("GET /next HTTP/1.1\r\nhost: shop\r\n\r\n");
        while client.strict(Kind::Response).is_ok() {}
        let heard = rig.tape.take();
        let smuggled =
            heard.iter().filter_map(|h| h.message.as_ref().ok()).any(|m| m.line.contains("smuggled"));
        assert!(!smuggled, "{heard:?}");
    }
}

#[test]
fn an_expectation_that_nobody_knows_is_refused_or_left_to_the_endpoint() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\nexpect: a-miracle\r\n\r\n");
    let status = client.answer().status();
    let heard = rig.tape.messages();
    match status {
        417 => assert!(heard.is_empty()),
        200 => assert_eq!(heard[0].one("expect"), Some("a-miracle")),
        other => panic!("{other}"),
    }
}
