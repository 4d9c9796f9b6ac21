//! A proxy that goes, goes in peace.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Shop, Split, get, wait_for};

fn held() -> (Backend, Arc<AtomicBool>) {
    let open = Arc::<AtomicBool>::default();
    let gate = Arc::clone(&open);
    let backend = Backend::doing(move |_, client| {
        wait_for("the gate opens", || gate.load(Ordering::SeqCst).then_some(()));
        client.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nv1");
        true
    });
    (backend, open)
}

#[test]
fn requests_in_flight_are_finished_and_no_more_are_taken() {
    let (backend, open) = held();
    let mut shop = Shop::of(backend, &[]);
    let (mut busy, mut idle) = (shop.client(), shop.client());
    busy.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    wait_for("it is in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
    shop.proxy.signal("TERM");
    wait_for("no more are taken", || TcpStream::connect(("127.0.0.1", shop.port)).is_err().then_some(()));
    assert!(shop.proxy.status().draining);
    assert_eq!(get(shop.proxy.admin, "/readyz").status(), 503);
    assert_eq!(get(shop.proxy.admin, "/healthz").status(), 200);
    assert!(idle.is_closed());
    open.store(true, Ordering::SeqCst);
    let response = busy.response();
    assert_eq!((response.text().as_str(), response.header("connection")), ("v1", Some("close")));
    assert!(busy.is_closed());
    assert!(shop.proxy.wait_exit().success());
}

#[test]
fn a_request_that_does_not_end_is_waited_for_no_longer_than_told() {
    let (backend, _open) = held();
    let mut shop = Shop::of(backend, &["--drain-timeout", "300ms"]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    wait_for("it is in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
    let begun = Instant::now();
    shop.proxy.signal("TERM");
    assert!(shop.proxy.wait_exit().success());
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (backend, _open) = held();
    let mut shop = Shop::of(backend, &["--drain-timeout", "10m"]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    wait_for("it is in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
    shop.proxy.signal("INT");
    wait_for("it drains", || shop.proxy.status().draining.then_some(()));
    shop.proxy.signal("INT");
    shop.proxy.wait_exit();
}

#[test]
fn with_a_delay_requests_are_served_until_it_is_over() {
    let mut shop = Shop::of(Backend::named("v1"), &["--drain-delay", "2s"]);
    shop.proxy.signal("TERM");
    wait_for("it is not ready", || (get(shop.proxy.admin, "/readyz").status() == 503).then_some(()));
    assert_eq!(shop.get("/").text(), "v1");
    assert!(shop.proxy.wait_exit().success());
}

#[test]
fn while_it_goes_http_1_clients_are_sent_away_with_their_answers() {
    let mut shop = Shop::of(Backend::named("v1"), &["--drain-delay", "2s"]);
    let mut before = shop.client();
    let response = before.get("/", "");
    assert_eq!((response.status(), response.header("connection")), (200, None));
    shop.proxy.signal("TERM");
    wait_for("it is not ready", || (get(shop.proxy.admin, "/readyz").status() == 503).then_some(()));
    for mut client in [before, shop.client()] {
        let response = client.get("/", "");
        assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
        assert!(client.is_closed());
    }
    assert!(shop.proxy.wait_exit().success());
}

#[test]
fn a_connection_that_was_accepted_may_send_its_request_a_little_late() {
    let mut shop = Shop::of(Backend::named("v1"), &[]);
    let mut late = shop.client();
    let connections = || shop.proxy.metric("penstock_proxy_connections", &[]);
    wait_for("it is accepted", || (connections() == Some(1.0)).then_some(()));
    shop.proxy.signal("TERM");
    wait_for("no more are taken", || TcpStream::connect(("127.0.0.1", shop.port)).is_err().then_some(()));
    let response = late.get("/", "");
    assert_eq!((response.status(), response.header("connection")), (200, Some("close")));
    assert!(shop.proxy.wait_exit().success());
}

/// Clients that keep their connection until they are told to close it, and then open another one: to the proxy that
/// goes, too, until word of its going has reached them.
#[test]
fn clients_that_keep_connections_lose_no_request_when_one_of_two_proxies_goes() {
    let mut going = Shop::of(Backend::named("v1"), &["--drain-delay", "2s"]);
    let staying = Shop::of(Backend::named("v1"), &[]);
    let (known, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let ports = [going.port, staying.port];
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (known, over) = (Arc::clone(&known), Arc::clone(&over));
            thread::spawn(move || {
                let port = || ports[usize::from(known.load(Ordering::SeqCst))];
                let mut client = crate::harness::Client::connect(port());
                while !over.load(Ordering::SeqCst) {
                    let response = client.get("/", "");
                    assert_eq!(response.status(), 200);
                    if response.header("connection") == Some("close") {
                        client = crate::harness::Client::connect(port());
                    }
                }
            })
        })
        .collect();
    wait_for("requests flow", || (going.v1.requests() > 200).then_some(()));
    going.proxy.signal("TERM");
    wait_for("it is not ready", || (get(going.proxy.admin, "/readyz").status() == 503).then_some(()));
    let before = going.v1.requests();
    wait_for("word takes its time", || (going.v1.requests() > before + 100).then_some(()));
    known.store(true, Ordering::SeqCst);
    assert!(going.proxy.wait_exit().success());
    wait_for("all are elsewhere", || (staying.v1.requests() > 200).then_some(()));
    over.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

/// Clients that open a connection for each request: as long as one is accepted, it is answered.
#[test]
fn no_accepted_connection_is_dropped_by_a_drain() {
    let mut shop = Shop::open(Split::new(1, 100, 0));
    let port = shop.port;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let mut served = 0;
                while let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                    let mut client = crate::harness::Client::over(stream);
                    use std::io::Write;
                    if client
                        .stream
                        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
                        .is_err()
                    {
                        break;
                    }
                    match client.try_read(false) {
                        Some(response) => assert_eq!(response.status(), 200),
                        None => break,
                    }
                    served += 1;
                }
                served
            })
        })
        .collect();
    wait_for("requests flow", || (shop.v1.requests() > 200).then_some(()));
    shop.proxy.signal("TERM");
    assert!(shop.proxy.wait_exit().success());
    assert!(clients.into_iter().map(|c| c.join().unwrap()).sum::<u64>() >= 200);
}

/// A busy machine: when the proxy gets to it, both its end and requests on idle connections are there.
#[test]
fn what_was_sent_before_the_end_is_answered() {
    let mut shop = Shop::open(Split::new(1, 100, 0));
    let mut clients: Vec<_> = (0..100).map(|_| shop.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        assert_eq!(client.try_read(false).map(|r| r.status()), Some(200));
    }
    shop.proxy.signal("STOP");
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n"));
    shop.proxy.signal("TERM");
    shop.proxy.signal("CONT");
    let answered =
        clients.iter_mut().filter_map(|client| client.try_read(false)).filter(|r| r.status() == 200);
    assert_eq!(answered.count(), 100);
    assert!(shop.proxy.wait_exit().success());
}
