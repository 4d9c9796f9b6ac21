//! Answers that come before the end of the request, ends that come before the end of an answer, and orders kept.

use crate::harness::strict::{Broken, Framing, Kind};
use crate::harness::tape::OK;
use crate::harness::{Client, Rig, open_to, wait_for};

const LONG: usize = 8 << 20;

fn upload(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {length}\r\n\r\n")
}

/// Answers by the head alone, and goes on reading, or does not.
fn hasty(answer: &'static str, reads_on: bool) -> Rig {
    Rig::raw(move |tape, client| {
        let head = client.strict_head(Kind::Request);
        let good = head.is_ok();
        tape.keep(client, head);
        if !good || !client.try_send(answer) {
            return false;
        }
        reads_on && std::io::copy(&mut client.reader, &mut std::io::sink()).is_ok_and(|_| false)
    })
}

const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";

#[test]
fn an_answer_to_half_a_body_arrives() {
    for reads_on in [true, false] {
        let rig = hasty(TOO_LARGE, reads_on);
        let mut client = rig.client();
        client.send(&upload(LONG));
        client.try_send(vec![b'x'; 100_000]);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big"), "reads on: {reads_on}");
        rig.shop.wait_counted("v1", "4xx", "none", 1);
        assert_eq!(rig.shop.proxy.rollout("shop").unwrap().in_flight["v1"], 0);
    }
}

/// A reset would take the answer away from a client that has not read it yet (RFC 9112 section 9.6).
#[test]
fn an_answer_is_not_lost_to_a_client_that_sends_first_and_reads_then() {
    for reads_on in [true, false] {
        for _ in 0..10 {
            let rig = hasty(TOO_LARGE, reads_on);
            let mut client = rig.client();
            client.send(&upload(1 << 20));
            let sent = client.try_send(vec![b'x'; 1 << 20]);
            let answer = client.strict(Kind::Response);
            assert_eq!(answer.map(|a| a.status()), Ok(413), "reads on: {reads_on}, sent all: {sent}");
        }
    }
}

/// The rest of a body that nobody wants is not the next request.
#[test]
fn the_rest_of_a_body_is_never_a_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(1000);
    for fields in ["connection: close\r\n", ""] {
        let answer = format!("HTTP/1.1 413 Too Large\r\n{fields}content-length: 3\r\n\r\nbig");
        let rig = hasty(Box::leak(answer.into_boxed_str()), true);
        let mut client = rig.client();
        client.send(&upload(smuggled.len() + 10));
        client.try_send("0123456789");
        assert_eq!(client.answer().status(), 413);
        client.try_send(&smuggled);
        client.try_send("GET /next HTTP/1.1\r\nhost: shop\r\n\r\n");
        while client.strict(Kind::Response).is_ok() {}
        drop(client);
        assert_eq!(rig.shop.get("/last").status(), 413);
        let lines: Vec<String> =
            rig.tape.take().into_iter().filter_map(|heard| heard.message.ok()).map(|m| m.line).collect();
        assert!(lines.iter().all(|line| !line.contains("smuggled")), "{lines:?}");
    }
}

#[test]
fn an_answer_may_run_beside_the_body_that_it_answers() {
    let rig = Rig::raw(|tape, client| {
        let head = client.strict_head(Kind::Request);
        let good = head.is_ok();
        tape.keep(client, head);
        if !good {
            return false;
        }
        client.try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            let part = client.read_exact(3);
            let part = String::from_utf8(part).unwrap();
            client.try_send(format!("3\r\n{part}\r\n"));
        }
        client.try_send("0\r\n\r\n")
    });
    for _ in 0..2 {
        let mut client = rig.client();
        client.send(&upload(60));
        for n in 0..20 {
            client.send(&format!("{n:03}"));
            if n == 0 {
                assert_eq!(client.strict_head(Kind::Response).unwrap().framing, Framing::Chunked);
            }
            assert_eq!(String::from_utf8(client.read_exact(8)).unwrap(), format!("3\r\n{n:03}\r\n"));
        }
        assert_eq!(client.read_exact(5), b"0\r\n\r\n");
    }
}

#[test]
fn a_large_body_goes_both_ways_at_once_and_nobody_waits_for_ever() {
    let rig = Rig::raw(|_, client| {
        let Ok(_) = client.strict_head(Kind::Request) else { return false };
        client.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n"));
        let (mut left, mut part) = (LONG, vec![0; 64 << 10]);
        while left > 0 {
            let Ok(read) = std::io::Read::read(&mut client.reader, &mut part) else { return false };
            if read == 0 || !client.try_send(&part[..read]) {
                return false;
            }
            left -= read;
        }
        true
    });
    for _ in 0..2 {
        let mut client = rig.client();
        let body: Vec<u8> = (0..LONG).map(|n| (n * 31 % 251) as u8).collect();
        let mut sender = Client::over(client.stream.try_clone().unwrap());
        let sent = body.clone();
        let sending = std::thread::spawn(move || sender.try_send(upload(LONG)) && sender.try_send(sent));
        assert!(client.answer().body == body);
        assert!(sending.join().unwrap());
    }
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let rig = Rig::doing(|request, client| match request.word(0) {
        "HEAD" => client.try_send("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
        "PUT" => client.try_send("HTTP/1.1 204 No Content\r\n\r\n"),
        "POST" => client.try_send(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            request.body.len(),
            request.text()
        )),
        _ => {
            client.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", &request.word(1)[1..]))
        }
    });
    let all: String = (100..200)
        .map(|n| match n % 5 {
            0 => "HEAD / HTTP/1.1\r\nhost: shop\r\n\r\n".into(),
            1 => format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\n\r\n{n}"),
            2 => format!(
                "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{n}\r\n0\r\n\r\n"
            ),
            3 => "PUT / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n".into(),
            _ => format!("GET /{n} HTTP/1.1\r\nhost: shop\r\n\r\n"),
        })
        .collect();
    for piece in [all.len(), 1000, 37, 7] {
        let mut client = rig.client();
        let mut sender = Client::over(client.stream.try_clone().unwrap());
        let bytes = all.clone();
        let sending =
            std::thread::spawn(move || bytes.as_bytes().chunks(piece).all(|piece| sender.try_send(piece)));
        for n in 100..200 {
            let kind = if n % 5 == 0 { Kind::HeadResponse } else { Kind::Response };
            let answer = client.strict(kind).unwrap();
            let expected = if matches!(n % 5, 0 | 3) { String::new() } else { n.to_string() };
            assert_eq!(
                (answer.status(), answer.text()),
                (if n % 5 == 3 { 204 } else { 200 }, expected),
                "{n}"
            );
        }
        assert!(sending.join().unwrap());
    }
    assert_eq!(rig.tape.messages().len(), 400);
}

#[test]
fn a_request_behind_one_that_closes_is_not_answered() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send(
        "GET /1 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\nGET /2 HTTP/1.1\r\nhost: shop\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(client.strict(Kind::Response), Err(Broken::Closed));
    assert_eq!(rig.tape.messages().len(), 1);
}

/// A client may end its sending side behind its last request; it gets the answer, or is taken for gone.
#[test]
fn a_client_that_has_ended_its_side_is_answered_or_taken_for_gone() {
    let rig = Rig::new();
    for _ in 0..20 {
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        client.finish();
        match client.strict(Kind::Response) {
            Ok(answer) => assert_eq!(answer.text(), "ok"),
            Err(Broken::Closed) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    wait_for("none is in flight", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
    let blamed = ["2xx", "5xx", "none"].map(|code| rig.shop.counted("v1", code, "upstream"));
    assert_eq!(blamed, [0, 0, 0], "{}", rig.shop.proxy.metrics());
}

#[test]
fn half_a_request_is_none() {
    let rig = Rig::new();
    for half in ["GET / HT", "GET / HTTP/1.1\r\nho", "GET / HTTP/1.1\r\nhost: shop\r\n"] {
        let mut client = rig.client();
        client.send(half);
        client.finish();
        assert!(client.strict(Kind::Response).map_or(true, |answer| answer.status() == 400), "{half:?}");
    }
    for half in [
        "content-length: 5\r\n\r\nhell",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let mut client = rig.client();
        client.send(&format!("POST / HTTP/1.1\r\nhost: shop\r\n{half}"));
        client.finish();
        assert!(client.strict(Kind::Response).map_or(true, |answer| answer.status() == 400), "{half:?}");
    }
    assert_eq!(rig.shop.get("/").text(), "ok");
    let whole: Vec<_> = rig.tape.take().into_iter().filter_map(|heard| heard.message.ok()).collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
}

#[test]
fn an_endpoint_that_has_ended_its_side_is_asked_no_more() {
    let rig = Rig::doing(|_, client| {
        client.try_send(OK);
        client.finish();
        true
    });
    let mut client = rig.client();
    for _ in 0..50 {
        client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(client.answer().text(), "ok");
        wait_for("its side has ended", || (open_to(rig.shop.v1.port()) == 0).then_some(()));
    }
}
