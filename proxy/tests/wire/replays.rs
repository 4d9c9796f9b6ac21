//! Requests that are sent again: only what nobody can notice (RFC 9110 section 9.2.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::strict::{Broken, Kind, Message};
use crate::harness::tape::{OK, run_table};
use crate::harness::{Client, Rig, open_to, wait_for};

/// How an endpoint ends a kept connection, with a request on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It closes when it has read the request.
    Closes,
    Resets,
    /// It has begun an answer.
    Begins,
}

/// An endpoint that answers one request of a connection, and breaks the next one off.
fn fickle(end: End) -> Rig {
    Rig::raw(move |tape, client| {
        let Ok(first) = client.strict(Kind::Request) else { return false };
        tape.keep(client, Ok(first));
        client.try_send(OK);
        let second = client.strict(Kind::Request);
        if second == Err(Broken::Closed) {
            return false;
        }
        tape.keep(client, second);
        match end {
            End::Closes => {}
            End::Resets => client.reset_at_end(),
            End::Begins => drop(client.try_send("HTTP/1.1 2")),
        }
        false
    })
}

/// Sends a request on a kept connection that is broken off: the answer, and how often an endpoint got it.
fn lose(end: End, request: &str) -> (Result<Message, Broken>, usize) {
    let rig = fickle(end);
    let mut client = rig.client();
    client.send("GET /warm HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    client.send(request);
    let answer = client.strict(Kind::Response);
    let heard = rig.tape.take();
    (answer, heard.iter().filter(|h| h.message.as_ref().is_ok_and(|m| m.word(1) == "/lost")).count())
}

#[test]
fn what_may_be_repeated_is_repeated_once_and_nothing_else_ever() {
    let request = |method: &str, rest: &str| format!("{method} /lost HTTP/1.1\r\nhost: shop\r\n{rest}");
    let cases = [
        ("GET", request("GET", "\r\n"), true),
        ("OPTIONS", request("OPTIONS", "\r\n"), true),
        ("DELETE", request("DELETE", "\r\n"), true),
        ("PUT without a body", request("PUT", "content-length: 0\r\n\r\n"), true),
        ("POST", request("POST", "content-length: 2\r\n\r\nhi"), false),
        ("POST without a body", request("POST", "content-length: 0\r\n\r\n"), false),
        ("PATCH", request("PATCH", "content-length: 2\r\n\r\nhi"), false),
        ("a method that nobody knows", request("BUY", "\r\n"), false),
    ];
    let ends = [End::Closes, End::Resets, End::Begins];
    let all: Vec<_> = cases.iter().flat_map(|case| ends.map(|end| (case, end))).collect();
    run_table(
        &all,
        |((name, ..), end)| format!("{name} {end:?}"),
        |((_, request, safe), end)| {
            let (answer, sent) = lose(*end, request);
            let status = answer.as_ref().map_or(0, Message::status);
            let expected = if *safe && *end != End::Begins { (200, 2) } else { (502, 1) };
            if (status, sent) == expected { Ok(()) } else { Err(format!("{answer:?}, sent {sent} times")) }
        },
    );
}

/// The head has been sent already, and maybe acted upon.
#[test]
fn a_body_that_has_begun_is_not_sent_again() {
    for method in ["POST", "PUT"] {
        let rig = Rig::raw(|tape, client| {
            let head = client.strict_head(Kind::Request);
            let warm = head.as_ref().is_ok_and(|head| head.word(1) == "/warm");
            tape.keep(client, head);
            warm && client.try_send(OK)
        });
        let mut client = rig.client();
        client.send("GET /warm HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
        client.send(&format!("{method} / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5000000\r\n\r\nhalf"));
        assert_eq!(client.answer().status(), 502);
        assert_eq!(rig.tape.messages().iter().filter(|m| m.word(0) == method).count(), 1);
    }
}

/// Kept connections of an endpoint that was restarted are dead, all of them, and it knows nothing of what was sent.
#[test]
fn connections_that_ended_while_nobody_used_them_cost_no_request_of_any_kind() {
    let over = Arc::<AtomicBool>::default();
    let ends = Arc::clone(&over);
    let rig = Rig::doing(move |request, client| {
        client.try_send(OK);
        let before = request.word(0) == "GET";
        if before {
            wait_for("the end", || ends.load(Ordering::SeqCst).then_some(()));
        }
        !before
    });
    let mut clients: Vec<Client> = (0..8).map(|_| rig.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "ok"));
    rig.tape.take();
    over.store(true, Ordering::SeqCst);
    wait_for("all have ended", || (open_to(rig.shop.v1.port()) == 0).then_some(()));
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(rig.tape.messages().len(), 8);
}
