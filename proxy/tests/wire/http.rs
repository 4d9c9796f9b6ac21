//! HTTP/1.1 as its RFCs have it.

use crate::harness::{Backend, Client, Shop, Split};

#[test]
fn what_is_between_neighbours_is_not_passed_on() {
    let shop = Shop::of(Backend::echo(), &[]);
    let mut client = shop.client();
    let seen = client.get("/a?b=c", "connection: keep-alive, x-private\r\nx-private: 1\r\nkeep-alive: 5\r\nx-forwarded-for: 10.0.0.9\r\nX-Own: yes\r\n").text();
    assert!(seen.starts_with("GET /a?b=c HTTP/1.1\n"), "{seen}");
    assert!(!seen.contains("x-private") && !seen.contains("keep-alive"), "{seen}");
    assert!(seen.contains("x-own: yes") && seen.contains("host: shop"), "{seen}");
    assert!(seen.contains("x-forwarded-for: 10.0.0.9, 127.0.0.1"), "{seen}");
}

#[test]
fn an_answer_is_passed_on_as_it_is() {
    let shop = Shop::of(
        Backend::answering(
            "HTTP/1.1 201 Made\r\nconnection: x-hop\r\nx-hop: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok",
        ),
        &[],
    );
    let response = shop.get("/");
    assert_eq!(response.first_line, "HTTP/1.1 201 Made");
    assert_eq!(response.header("x-hop"), None);
    assert_eq!(response.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
}

#[test]
fn bodies_stream_in_both_directions() {
    let shop = Shop::of(Backend::echo(), &[]);
    let mut client = shop.client();
    let body = "0123456789".repeat(50_000);
    client.send(&format!("POST /big HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let response = client.response();
    assert!(response.complete && response.text().contains(&body));
    client.send("POST /small HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.send("6\r\n world\r\n0\r\n\r\n");
    assert!(client.response().text().contains("hello world"));
}

#[test]
fn an_answer_arrives_while_it_is_being_made() {
    let (sender, step) = std::sync::mpsc::channel::<()>();
    let step = std::sync::Mutex::new(step);
    let slow = Backend::doing(move |_, client| {
        client.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
        step.lock().unwrap().recv().unwrap();
        client.send("3\r\ntwo\r\n0\r\n\r\n");
        true
    });
    let shop = Shop::of(slow, &[]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.read_exact(8), b"3\r\none\r\n");
    sender.send(()).unwrap();
    assert_eq!(client.read_exact(13), b"3\r\ntwo\r\n0\r\n\r\n");
}

#[test]
fn trailers_pass_in_both_directions() {
    let shop = Shop::of(
        Backend::doing(|request, client| {
            assert_eq!(request.header("te"), Some("trailers"));
            assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())]);
            client.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-check\r\n\r\n2\r\nok\r\n0\r\nx-check: 9\r\n\r\n");
            true
        }),
        &[],
    );
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
    let response = client.response();
    assert_eq!(response.trailers, [("x-check".to_owned(), "9".to_owned())]);
    shop.wait_counted("v1", "2xx", "none", 1);
}

#[test]
fn answers_without_a_body_end_at_once() {
    let bodiless = Backend::doing(|request, client| {
        client.send(match request.word(0) {
            "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
            "PUT" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
        });
        true
    });
    let shop = Shop::of(bodiless, &[]);
    let mut client = shop.client();
    client.send("HEAD / HTTP/1.1\r\nhost: shop\r\n\r\n");
    let response = client.head();
    assert_eq!((response.status(), response.header("content-length")), (200, Some("1000")));
    client.send("PUT / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.head().status(), 204);
    assert_eq!(client.get("/", "if-none-match: \"a\"\r\n").status(), 304);
    shop.wait_counted("v1", "2xx", "none", 2);
    shop.wait_counted("v1", "3xx", "none", 1);
}

#[test]
fn a_websocket_passes_with_its_early_bytes() {
    let socket = Backend::with_heads(|client| {
        let Some(head) = client.read_head() else { return false };
        assert_eq!((head.header("connection"), head.header("upgrade")), (Some("upgrade"), Some("websocket")));
        client.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nearly",
        );
        let mut got = client.read_exact(5);
        got.extend(client.read_exact(4));
        client.send(&String::from_utf8(got).unwrap());
        false
    });
    let shop = Shop::of(socket, &[]);
    let mut client = shop.client();
    client.send("GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nquick");
    let response = client.head();
    assert_eq!((response.status(), response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.read_exact(5), b"early");
    assert_eq!(
        shop.proxy.rollout("shop").unwrap().in_flight["v1"],
        1,
        "it is in flight as long as it is open"
    );
    client.send("ping");
    assert_eq!(client.read_exact(9), b"quickping");
    assert!(client.is_closed());
    drop(client);
    shop.wait_counted("v1", "1xx", "none", 1);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer() {
    let shop = Shop::of(Backend::named("v1"), &[]);
    let mut client = shop.client();
    let response = client.get("/", "connection: upgrade\r\nupgrade: websocket\r\n");
    assert_eq!((response.status(), response.text().as_str()), (200, "v1"));
    assert_eq!(client.get("/", "").text(), "v1");
}

#[test]
fn a_protocol_nobody_asked_for_is_refused() {
    let shop = Shop::of(
        Backend::answering("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        &[],
    );
    let response = shop.get("/");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (502, Some("upstream")));
}

#[test]
fn a_body_is_asked_for_when_the_endpoint_wants_it() {
    let wanting = Backend::with_heads(|client| {
        let Some(head) = client.read_head() else { return false };
        assert_eq!(head.header("expect"), Some("100-continue"));
        client.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = client.read_exact(5);
        client.send(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}",
            String::from_utf8(body).unwrap()
        ));
        true
    });
    let shop = Shop::of(wanting, &[]);
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_body_that_is_not_wanted_is_not_asked_for() {
    let refusing = Backend::with_heads(|client| {
        let Some(_) = client.read_head() else { return false };
        client.send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
        false
    });
    let shop = Shop::of(refusing, &[]);
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status(), 413);
    shop.wait_counted("v1", "4xx", "none", 1);
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let shop = Shop::of(Backend::echo(), &[]);
    let mut client = shop.client();
    client.send(&(0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: shop\r\n\r\n")).collect::<String>());
    for n in 0..10 {
        assert!(client.response().text().starts_with(&format!("GET /{n} ")), "{n}");
    }
}

#[test]
fn old_clients_are_served() {
    let shop = Shop::of(Backend::named("v1"), &[]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (200, "v1"));
    assert!(client.is_closed());
}

#[test]
fn what_can_not_be_understood_is_refused() {
    let shop = Shop::of(Backend::named("v1"), &[]);
    let refused = |text: &str| {
        let mut client = Client::connect(shop.port);
        client.send(text);
        client.response().status()
    };
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "a".repeat(70_000);
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400, "no host");
    assert_eq!(refused("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"), 400, "two hosts");
    assert_eq!(refused("BAD\x01 / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"), 400);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")), 431);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}{long}\r\n\r\n")), 431);
    assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")), 414);
    assert_eq!(refused("CONNECT shop:80 HTTP/1.1\r\nhost: shop:80\r\n\r\n"), 405);
    assert_eq!(shop.v1.requests(), 0);
    assert_eq!(shop.get("/").text(), "v1");
}

#[test]
fn length_and_chunks_together_can_not_smuggle() {
    let shop = Shop::of(Backend::echo(), &[]);
    let mut client = shop.client();
    client.send("POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n");
    let response = client.response();
    assert!(
        response.status() == 400 || !response.text().contains("content-length: 4"),
        "{}",
        response.text()
    );
}

#[test]
fn a_target_with_an_authority_becomes_a_path() {
    let shop = Shop::with(Split::new(1, 100, 0), Backend::echo(), Backend::named("v2"), &[]);
    let mut client = shop.client();
    client.send("GET http://other.example/x?y HTTP/1.1\r\nhost: shop\r\n\r\n");
    let seen = client.response().text();
    assert!(seen.starts_with("GET /x?y HTTP/1.1\n") && seen.contains("host: other.example"), "{seen}");
    client.send("OPTIONS * HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert!(client.response().text().starts_with("OPTIONS * HTTP/1.1\n"));
}
