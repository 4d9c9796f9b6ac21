//! Changes of protocol: RFC 9110 section 7.8, and WebSocket over it.

use std::io::Read;

use crate::harness::strict::{Broken, Kind};
use crate::harness::tape::OK;
use crate::harness::{Client, Rig, wait_for};

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: a\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: b\r\n\r\n";

/// An endpoint that changes the protocol, and then does as told.
fn tunnel(then: impl Fn(&mut Client) + Send + Sync + 'static) -> Rig {
    Rig::doing(move |request, client| {
        if request.all("upgrade").is_empty() {
            return client.try_send(OK);
        }
        client.try_send(SWITCH);
        then(client);
        false
    })
}

fn echo(client: &mut Client) {
    let mut part = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.reader.read(&mut part) {
        if !client.try_send(&part[..read]) {
            return;
        }
    }
}

fn open(rig: &Rig) -> Client {
    let mut client = rig.client();
    client.send(ASK);
    let answer = client.strict_head(Kind::Response).unwrap();
    assert_eq!((answer.status(), answer.one("upgrade")), (101, Some("websocket")));
    assert!(answer.one("connection").is_some_and(|v| v.eq_ignore_ascii_case("upgrade")), "{answer:?}");
    assert_eq!(answer.one("sec-websocket-accept"), Some("b"));
    client
}

#[test]
fn much_goes_both_ways_at_once() {
    let rig = tunnel(echo);
    let mut client = open(&rig);
    let heard = rig.tape.messages().remove(0);
    assert_eq!((heard.one("upgrade"), heard.one("sec-websocket-key")), (Some("websocket"), Some("a")));
    assert!(heard.one("connection").is_some_and(|v| v.to_lowercase().contains("upgrade")));
    let bytes: Vec<u8> = (0..8usize << 20).map(|n| (n * 31 % 251) as u8).collect();
    let mut sender = Client::over(client.stream.try_clone().unwrap());
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || sender.try_send(sent));
    assert!(client.read_exact(bytes.len()) == bytes);
    assert!(sending.join().unwrap());
}

#[test]
fn early_bytes_of_both_sides_arrive_once() {
    let rig = Rig::doing(|_, client| {
        client.try_send(format!("{SWITCH}first"));
        echo(client);
        false
    });
    let early = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    for _ in 0..20 {
        let mut client = rig.client();
        client.send(&format!("{ASK}{early}"));
        assert_eq!(client.strict_head(Kind::Response).unwrap().status(), 101);
        assert_eq!(client.read_exact(5), b"first");
        assert_eq!(client.read_exact(early.len()), early.as_bytes());
    }
}

/// What looks like a request in a tunnel is none.
#[test]
fn nothing_in_a_tunnel_is_looked_at() {
    let rig = tunnel(echo);
    let mut client = open(&rig);
    let odd = b"\0\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n\xff";
    client.try_send(odd);
    assert_eq!(client.read_exact(odd.len()), odd);
    assert_eq!(rig.tape.messages().len(), 1);
}

#[test]
fn a_side_that_ends_leaves_the_other_one_open() {
    let rig = tunnel(|client| {
        let mut all = String::new();
        client.reader.read_to_string(&mut all).unwrap();
        client.try_send(format!("got {all}"));
    });
    let mut client = open(&rig);
    client.send("all of it");
    client.finish();
    assert_eq!(client.read_exact(13), b"got all of it");
    assert!(client.is_closed());
    rig.shop.wait_counted("v1", "1xx", "none", 1);

    let rig = tunnel(|client| {
        client.send("bye");
        client.finish();
        echo(client);
    });
    let mut client = open(&rig);
    assert_eq!(client.read_exact(3), b"bye");
    assert!(client.is_closed());
    assert!(client.try_send("still here"), "its own side is open");
}

#[test]
fn a_side_that_breaks_off_ends_the_tunnel_and_what_it_holds() {
    let rig = tunnel(echo);
    let mut client = open(&rig);
    client.send("hello");
    client.read_exact(5);
    assert_eq!(rig.shop.proxy.rollout("shop").unwrap().in_flight["v1"], 1);
    client.reset_at_end();
    drop(client);
    wait_for("it is over", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
    wait_for("the endpoint's side is closed", || (rig.shop.v1.closed() == 1).then_some(()));

    let rig = tunnel(|client| client.reset_at_end());
    let mut client = open(&rig);
    assert!(client.is_closed());
    drop(client);
    wait_for("it is over", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
}

#[test]
fn a_tunnels_connection_is_never_used_again() {
    let rig = tunnel(|client| {
        client.read_exact(1);
    });
    for _ in 0..5 {
        let mut client = open(&rig);
        client.send("x");
        assert!(client.is_closed());
        let mut plain = rig.client();
        plain.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(plain.answer().text(), "ok");
    }
}

#[test]
fn a_change_that_the_endpoint_does_not_make_is_a_request_like_any_other() {
    let rig = Rig::new();
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(ASK);
        assert_eq!(client.answer().text(), "ok");
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(rig.tape.messages().len(), 6);
    let rig = Rig::doing(|_, client| {
        client.try_send("HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: 2\r\n\r\nno")
    });
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(ASK);
        assert_eq!((client.answer().status(), rig.tape.messages().len()), (426, 1));
    }
}

#[test]
fn an_old_client_can_not_change_the_protocol() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send(&ASK.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(rig.tape.messages()[0].all("upgrade"), Vec::<&str>::new());
}

#[test]
fn a_change_that_nobody_has_asked_for_opens_no_tunnel() {
    for asked in [
        "GET / HTTP/1.1\r\nhost: shop\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: shop\r\nupgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let rig = Rig::doing(|_, client| client.try_send(SWITCH));
        let mut client = rig.client();
        client.send(asked);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.one("x-penstock-culprit")), (502, Some("upstream")), "{asked:?}");
        client.try_send("GET /next HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert!(client.strict(Kind::Response).map_or(true, |answer| answer.status() == 502));
    }
}

#[test]
fn connect_opens_no_tunnel() {
    let rig = Rig::new();
    for target in ["shop:80", "127.0.0.1:22", "/ws"] {
        let mut client = rig.client();
        client.send(&format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"));
        assert!((400..600).contains(&client.answer().status()), "{target}");
        client.try_send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        assert!(
            matches!(client.strict(Kind::Response), Err(Broken::Closed)) || client.is_closed(),
            "{target}"
        );
    }
    assert!(rig.tape.take().is_empty());
}
