//! The limit of a request's body: RFC 9110 section 15.5.14.

use crate::harness::frames::{DATA, END_STREAM, H2, ask, frame, get, headers};
use crate::harness::strict::{Broken, Kind};
use crate::harness::tape::OK;
use crate::harness::{Client, Rig};

const LIMIT: [&str; 2] = ["--max-body", "1000"];

fn rig() -> Rig {
    Rig::with(&LIMIT, |_, client| client.try_send(OK))
}

fn sized(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {length}\r\n\r\n")
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n";

/// In chunks of 100 bytes.
fn chunks(count: usize) -> String {
    format!("64\r\n{}\r\n", "x".repeat(100)).repeat(count)
}

fn too_long(client: &mut Client) {
    let answer = client.answer();
    assert_eq!((answer.status(), answer.one("x-penstock-culprit")), (413, Some("client")), "{answer:?}");
    assert_eq!(client.strict(Kind::Response), Err(Broken::Closed), "the rest of it is no request");
}

#[test]
fn a_body_up_to_the_limit_passes_however_it_is_framed() {
    let rig = rig();
    let mut client = rig.client();
    for _ in 0..2 {
        client.send(&(sized(1000) + &"x".repeat(1000)));
        assert_eq!(client.answer().text(), "ok");
        client.send(&(CHUNKED.to_owned() + &chunks(10) + "0\r\n\r\n"));
        assert_eq!(client.answer().text(), "ok");
    }
    assert!(rig.tape.messages().iter().all(|message| message.body.len() == 1000));
}

#[test]
fn a_longer_one_is_refused_before_the_endpoint_hears_of_it() {
    let rig = rig();
    for expects in ["", "expect: 100-continue\r\n"] {
        let mut client = rig.client();
        client.send(&format!("POST / HTTP/1.1\r\nhost: shop\r\n{expects}content-length: 1001\r\n\r\n"));
        too_long(&mut client);
    }
    assert!(rig.tape.take().is_empty());
    rig.shop.wait_counted("v1", "4xx", "client", 2);
}

/// Whoever does not say how long it will be is stopped where it becomes too long.
#[test]
fn chunks_beyond_the_limit_never_arrive_whole() {
    let rig = rig();
    for (sent, end) in [(11, "0\r\n\r\n"), (10, "1\r\nx\r\n0\r\n\r\n"), (0, "fffffff\r\nx"), (500, "")] {
        let mut client = rig.client();
        client.try_send(CHUNKED.to_owned() + &chunks(sent) + end);
        too_long(&mut client);
    }
    let whole: Vec<_> = rig.tape.take().into_iter().filter_map(|heard| heard.message.ok()).collect();
    assert_eq!(whole, []);
    assert_eq!(rig.shop.get("/").text(), "ok");
    assert_eq!(rig.shop.counted("v1", "5xx", "upstream"), 0, "it is not the endpoint's fault");
}

#[test]
fn without_a_limit_a_body_is_as_long_as_it_likes() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send(&(sized(3 << 20) + &"x".repeat(3 << 20)));
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(rig.tape.messages()[0].body.len(), 3 << 20);
}

#[test]
fn the_limit_holds_for_http_2_as_well() {
    let rig = rig();
    let mut h2 = H2::connect(rig.shop.port);
    let data = |id: u32, flags: u8, length: usize| frame(DATA, flags, id, &vec![b'x'; length]);
    let sized = |length: &'static str| [ask("POST", "/"), vec![("content-length", length)]].concat();
    h2.send([headers(1, 0, &sized("1000")), data(1, END_STREAM, 1000)].concat());
    assert_eq!(h2.answer(1).text(), "ok");
    h2.send([headers(3, 0, &ask("POST", "/")), data(3, 0, 600), data(3, END_STREAM, 400)].concat());
    assert_eq!(h2.answer(3).text(), "ok");
    assert_eq!(rig.tape.messages().len(), 2);
    h2.send(headers(5, 0, &sized("1001")));
    assert_eq!(h2.answer(5).status(), 413);
    h2.send([headers(7, 0, &ask("POST", "/")), data(7, 0, 600), data(7, 0, 401)].concat());
    assert_eq!(h2.answer(7).status(), 413);
    let whole: Vec<_> = rig.tape.take().into_iter().filter_map(|heard| heard.message.ok()).collect();
    assert_eq!(whole, []);
    h2.send(get(9, "/"));
    assert_eq!(h2.answer(9).text(), "ok", "the connection goes on");
}
