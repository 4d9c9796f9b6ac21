//! What is between two neighbours only, and what nobody can take away by saying that it is: RFC 9110 section 7.6.1.

use crate::harness::Rig;
use crate::harness::strict::Message;

fn heard(rig: &Rig, fields: &str) -> Message {
    let mut client = rig.client();
    client.send(&format!("GET / HTTP/1.1\r\nhost: shop\r\n{fields}\r\n"));
    assert_eq!(client.answer().status(), 200, "{fields:?}");
    rig.tape.messages().remove(0)
}

#[test]
fn fields_for_the_proxy_alone_go_no_further() {
    let rig = Rig::new();
    for (fields, gone) in [
        ("connection: x-private\r\nx-private: 1\r\n", "x-private"),
        ("connection: keep-alive, X-Private\r\nx-private: 1\r\n", "x-private"),
        ("x-private: 1\r\nX-PRIVATE: 2\r\nconnection: x-private\r\n", "x-private"),
        ("connection: a\r\nconnection: b,x-private\r\nx-private: 1\r\n", "x-private"),
        ("connection: , ,x-private,\r\nx-private: 1\r\n", "x-private"),
        ("connection: \t x-private \t\r\nx-private: 1\r\n", "x-private"),
        ("keep-alive: timeout=5\r\n", "keep-alive"),
        ("proxy-connection: keep-alive\r\n", "proxy-connection"),
        ("te: gzip\r\nconnection: te\r\n", "te"),
        ("te: deflate\r\n", "te"),
        ("upgrade: websocket\r\n", "upgrade"),
        ("connection: keep-alive\r\nupgrade: websocket\r\n", "upgrade"),
    ] {
        let heard = heard(&rig, &format!("{fields}x-kept: 1\r\n"));
        assert_eq!(heard.all(gone), Vec::<&str>::new(), "{fields:?}");
        assert_eq!(heard.one("x-kept"), Some("1"), "{fields:?}");
        assert!(heard.all("connection").iter().all(|v| !v.contains("x-private")), "{fields:?} {heard:?}");
    }
}

/// Whoever could name them away could hide who he is, or where a message ends.
#[test]
fn naming_fields_in_connection_strips_none_that_others_rely_on() {
    let rig = Rig::new();
    let all = "x-forwarded-for, host, content-length, x-forwarded-proto, x-forwarded-host, forwarded, x-request-id, \
               traceparent, transfer-encoding";
    let names: Vec<String> =
        all.split(", ").map(str::to_owned).chain([all.to_owned(), all.to_uppercase()]).collect();
    for name in names {
        let mut client = rig.client();
        client.send(&format!(
            "POST / HTTP/1.1\r\nhost: shop\r\nconnection: {name}\r\ncontent-length: 5\r\n\r\nhello"
        ));
        assert_eq!(client.answer().status(), 200, "{name}");
        let heard = rig.tape.messages().remove(0);
        assert_eq!((heard.one("host"), heard.text().as_str()), (Some("shop"), "hello"), "{name}");
        let forwarded = heard.all("x-forwarded-for").join(", ");
        assert!(forwarded.ends_with("127.0.0.1"), "{name}: {heard:?}");
    }
}

#[test]
fn the_clients_address_is_the_last_one_whatever_it_says_itself() {
    let rig = Rig::new();
    for fields in [
        "",
        "x-forwarded-for: 10.0.0.9\r\n",
        "x-forwarded-for: 10.0.0.9, 10.0.0.8\r\nX-Forwarded-For: 10.0.0.7\r\n",
        "x-forwarded-for:\r\n",
        "x-forwarded-for: nonsense; \"\r\n",
    ] {
        let heard = heard(&rig, fields);
        let all = heard.all("x-forwarded-for").join(", ");
        assert!(all == "127.0.0.1" || all.ends_with(", 127.0.0.1"), "{fields:?}: {all:?}");
    }
}

#[test]
fn names_in_connection_are_all_heeded_or_refused() {
    let rig = Rig::new();
    for count in [30, 100, 5_000] {
        let names: String = (0..count).map(|n| format!("x-{n},")).collect();
        let mut client = rig.client();
        client.send(&format!("GET / HTTP/1.1\r\nhost: shop\r\nconnection: {names}x-last\r\nx-7: 1\r\nx-last: 2\r\nx-kept: 3\r\n\r\n"));
        let (status, heard) = (client.answer().status(), rig.tape.take());
        match status {
            200 => {
                let heard = heard[0].message.as_ref().unwrap();
                assert_eq!(
                    (heard.one("x-7"), heard.one("x-last"), heard.one("x-kept")),
                    (None, None, Some("3"))
                );
            }
            400 | 431 => assert!(count > 30 && heard.is_empty(), "{count}: {heard:?}"),
            other => panic!("{count}: {other}"),
        }
    }
}

#[test]
fn only_trailers_are_left_of_te() {
    let rig = Rig::new();
    for (te, expected) in [
        ("trailers", Some("trailers")),
        ("Trailers", Some("trailers")),
        ("trailers, gzip", Some("trailers")),
        ("gzip;q=0.5, trailers", Some("trailers")),
        ("gzip, deflate", None),
        ("", None),
    ] {
        let heard = heard(&rig, &format!("te: {te}\r\nconnection: te\r\n"));
        assert_eq!(heard.one("te").map(str::to_ascii_lowercase).as_deref(), expected, "{te:?}");
        let named = heard.all("connection").join(",").to_ascii_lowercase().contains("te");
        assert_eq!(named, expected.is_some(), "who sends TE says so in Connection: {heard:?}");
    }
}

/// An endpoint that changed to HTTP/2 would speak to the client behind the proxy's back.
#[test]
fn a_change_to_http_2_is_never_passed_on() {
    let rig = Rig::new();
    let settings = "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    for fields in [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n",
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: H2C\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c, websocket\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: websocket, h2c\r\n",
        "connection: upgrade\r\nconnection: http2-settings\r\nupgrade: websocket\r\nupgrade: h2c\r\n",
    ] {
        let heard = heard(&rig, &format!("{fields}{settings}"));
        assert!(
            heard.all("upgrade").iter().all(|v| !v.to_lowercase().contains("h2c")),
            "{fields:?} {heard:?}"
        );
        assert_eq!(heard.all("http2-settings"), Vec::<&str>::new(), "{fields:?}");
    }
}

#[test]
fn an_answers_own_hop_ends_at_the_proxy() {
    let rig = Rig::doing(|_, client| {
        client.try_send(
            "HTTP/1.1 200 Fine by me\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
             proxy-connection: keep-alive\r\nset-cookie: a=1\r\nx-kept: 1\r\nset-cookie: b=2\r\nServer: own\r\n\
             connection: x-other\r\nx-other: 1\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nok",
        )
    });
    let mut client = rig.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.line, "HTTP/1.1 200 Fine by me");
        for gone in ["x-hop", "keep-alive", "proxy-connection", "x-other", "connection", "upgrade"] {
            assert_eq!(answer.all(gone), Vec::<&str>::new(), "{gone}");
        }
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!((answer.one("server"), answer.text().as_str()), (Some("own"), "ok"));
    }
}

#[test]
fn an_answer_can_not_name_its_own_framing_away() {
    let rig = Rig::doing(|_, client| {
        client.try_send("HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nok")
    });
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(client.answer().text(), "ok");
    }
}

/// One client's wish to close is no reason to close what others use.
#[test]
fn connections_to_endpoints_outlive_those_of_clients() {
    let rig = Rig::new();
    for _ in 0..10 {
        heard(&rig, "connection: close\r\n");
        let mut old = rig.client();
        old.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n");
        assert_eq!(old.answer().text(), "ok");
    }
    assert_eq!(rig.shop.v1.closed(), 0);
}

#[test]
fn a_client_that_wants_to_close_is_told_so_and_closed() {
    let rig = Rig::new();
    for (version, fields, kept) in [
        ("1.1", "", true),
        ("1.1", "connection: close\r\n", false),
        ("1.1", "connection: x, CLOSE\r\n", false),
        ("1.1", "connection: keep-alive\r\n", true),
        ("1.0", "", false),
        ("1.0", "connection: close\r\n", false),
    ] {
        let mut client = rig.client();
        client.send(&format!("GET / HTTP/{version}\r\nhost: shop\r\n{fields}\r\n"));
        assert_eq!(client.answer().text(), "ok");
        if kept {
            client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
            assert_eq!(client.answer().text(), "ok", "{version} {fields:?}");
        } else {
            assert!(client.is_closed(), "{version} {fields:?}");
        }
    }
}
