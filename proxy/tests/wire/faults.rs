//! Whose fault it was.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Folder, Hole, Shop, Split, free_port, wait_for};

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let shop = Shop::open(Split::new(1, 100, 0));
    shop.folder.endpoints("shop-v1", &[free_port(), shop.v1.port(), free_port()]);
    wait_for("three endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 3).then_some(()));
    let mut client = shop.client();
    for _ in 0..50 {
        assert_eq!(client.get("/", "").text(), "v1");
    }
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 200, "nothing had been sent");
}

#[test]
fn an_endpoint_that_goes_away_costs_no_request() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let other = Backend::named("v1");
    shop.folder.endpoints("shop-v1", &[shop.v1.port(), other.port()]);
    wait_for("two endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 2).then_some(()));
    let mut client = shop.client();
    (0..20).for_each(|_| assert_eq!(client.get("/", "").status(), 200));
    other.stop();
    shop.folder.endpoints("shop-v1", &[shop.v1.port()]);
    (0..200).for_each(|_| assert_eq!(client.get("/", "").status(), 200));
}

/// Its process was killed, and nobody has taken it out of the slice: connections are closed, new ones refused.
#[test]
fn an_endpoint_that_dies_costs_no_request_that_may_be_repeated() {
    let dead = Arc::<AtomicBool>::default();
    let dies = Arc::clone(&dead);
    let mortal = Backend::doing(move |_, client| {
        let alive = !dies.load(Ordering::SeqCst);
        if alive {
            client.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nmortal");
        }
        alive
    });
    let shop = Shop::open(Split::new(1, 100, 0));
    shop.folder.endpoints("shop-v1", &[shop.v1.port(), mortal.port()]);
    wait_for("two endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 2).then_some(()));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = shop.client();
            thread::spawn(move || (0..1000).for_each(|_| assert_eq!(client.get("/", "").status(), 200)))
        })
        .collect();
    wait_for("both serve", || (shop.v1.requests() > 50 && mortal.requests() > 50).then_some(()));
    dead.store(true, Ordering::SeqCst);
    mortal.stop();
    clients.into_iter().for_each(|client| client.join().unwrap());
    shop.wait_counted("v1", "2xx", "none", 4000);
    assert_eq!(shop.proxy.rollout("shop").unwrap().endpoints["v1"], 2, "the slice says what it said");
}

/// It breaks off requests on new connections, too, and then refuses them.
#[test]
fn a_request_that_a_dying_endpoint_breaks_off_is_taken_elsewhere() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let dying: Vec<_> = (0..2).map(|_| Dying::new()).collect();
    shop.folder.endpoints("shop-v1", &[dying[0].port, shop.v1.port(), dying[1].port]);
    wait_for("three endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 3).then_some(()));
    let mut client = shop.client();
    wait_for("both have died", || {
        assert_eq!(client.get("/", "").text(), "v1");
        dying.iter().all(|d| d.requests.load(Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn a_request_that_a_living_endpoint_breaks_off_has_failed() {
    let rude = Backend::doing(|_, _| false);
    let shop = Shop::open(Split::new(1, 100, 0));
    shop.folder.endpoints("shop-v1", &[rude.port(), shop.v1.port()]);
    wait_for("two endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 2).then_some(()));
    let statuses: Vec<_> = (0..50).map(|_| shop.get("/").status()).collect();
    let failed = statuses.iter().filter(|status| **status == 502).count() as u64;
    assert_eq!(failed, rude.requests(), "{statuses:?}");
    assert!(failed > 0, "it was never asked");
    shop.wait_counted("v1", "5xx", "upstream", failed);
}

#[test]
fn a_request_that_brings_endpoints_down_does_so_to_few() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let dying: Vec<_> = (0..7).map(|_| Dying::new()).collect();
    shop.folder.endpoints("shop-v1", &dying.iter().map(|d| d.port).collect::<Vec<_>>());
    wait_for("seven endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 7).then_some(()));
    assert_eq!(shop.get("/").status(), 502);
    let died: u64 = dying.iter().map(|d| d.requests.load(Ordering::SeqCst)).sum();
    assert_eq!(died, 4);
}

/// Refuses connections from the first request on, and breaks that off.
struct Dying {
    port: u16,
    requests: Arc<AtomicU64>,
}

impl Dying {
    fn new() -> Dying {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::<AtomicU64>::default());
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // A process that another test starts at this moment holds the socket, too, until it is another program.
            socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
            use std::io::Read;
            let read = stream.read(&mut [0; 1024]).unwrap_or(0);
            count.fetch_add(u64::from(read > 0), Ordering::SeqCst);
        });
        Dying { port, requests }
    }
}

/// Its host is gone, and nobody has taken it out of the slice.
#[test]
fn an_endpoint_that_does_not_even_refuse_is_passed_over() {
    let (hole, shop) = (Hole::new(), Shop::open(Split::new(1, 100, 0)));
    shop.folder.endpoints("shop-v1", &[hole.port(), shop.v1.port()]);
    wait_for("two endpoints", || (shop.proxy.rollout("shop")?.endpoints["v1"] == 2).then_some(()));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = shop.client();
            thread::spawn(move || {
                let mut slow = 0;
                for _ in 0..300 {
                    let begun = Instant::now();
                    assert_eq!(client.get("/", "").text(), "v1");
                    slow += usize::from(begun.elapsed() >= Duration::from_millis(500));
                }
                client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
                assert_eq!(client.response().status(), 200, "nothing had been sent");
                slow
            })
        })
        .collect();
    let slow: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    println!("{slow} of 2400 requests waited for the endpoint that is gone");
    assert!((1..=24).contains(&slow), "{slow} slow requests");
    shop.wait_counted("v1", "2xx", "none", 2408);
}

#[test]
fn many_requests_at_once_wait_for_an_endpoint_that_is_gone_together() {
    let (hole, shop) = (Hole::new(), Shop::open(Split::new(1, 100, 0)));
    shop.folder.endpoints_of("shop-v1", &[hole.port()], ", appProtocol: kubernetes.io/h2c");
    wait_for("the only endpoint is gone", || (shop.get("/").status() == 502).then_some(()));
    let begun = Instant::now();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = shop.client();
            thread::spawn(move || assert_eq!(client.get("/", "").status(), 502))
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let one_after_another = Duration::from_millis(3500) * 10;
    assert!(begun.elapsed() < one_after_another, "{:?}", begun.elapsed());
}

/// A release may end while requests wait for a connection to its last endpoint.
#[test]
fn who_waits_for_an_endpoint_of_a_revision_that_is_gone_since_goes_to_another_one() {
    let (hole, shop) = (Hole::new(), Shop::open(Split::new(1, 50, 50)));
    for ports in [&[][..], &[hole.port()]] {
        shop.folder.endpoints("shop-v2", ports);
        let known = || (shop.proxy.rollout("shop")?.endpoints["v2"] as usize == ports.len()).then_some(());
        wait_for("the hole instead of a backend", known);
    }
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = shop.client();
            thread::spawn(move || client.get("/", ""))
        })
        .collect();
    wait_for("some wait", || (shop.proxy.rollout("shop")?.in_flight["v2"] == 4).then_some(()));
    let without = Split::new(2, 100, 0).port(shop.port).yaml();
    let without = without.replace("        - {name: shop-v2, port: 80, weight: 0}\n", "");
    assert!(!without.contains("shop-v2"));
    shop.folder.put("route.yaml", &without);
    shop.proxy.wait_generation("shop", 2);
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "v1".into()));
    }
    shop.wait_counted("v2", "none", "upstream", 4);
}

#[test]
fn a_revision_whose_endpoints_all_refuse_is_blamed_and_clients_notice_nothing() {
    let shop = Shop::open(Split::new(1, 50, 50));
    shop.folder.endpoints("shop-v2", &[free_port(), free_port()]);
    wait_for("two endpoints", || (shop.proxy.rollout("shop")?.endpoints["v2"] == 2).then_some(()));
    let mut client = shop.client();
    let served: Vec<_> = (0..20).map(|_| client.get("/", "")).collect();
    assert!(served.iter().all(|r| r.status() == 200 && r.text().starts_with("v1")), "{served:?}");
    shop.wait_counted("v2", "none", "upstream", 10);
    shop.wait_counted("v1", "2xx", "none", 20);
    assert_eq!(shop.proxy.metric("penstock_fallovers_total", &[("revision", "v2")]), Some(10.0));
    assert!(shop.proxy.rollout("shop").unwrap().in_flight.values().all(|n| *n == 0));
}

/// A Rollout whose second revision has one endpoint, and that refuses: it has refused at least once when this returns,
/// and is said to have become something else within a second of that.
fn refused_and_then(becomes: impl Fn(&Folder, u16)) -> Shop {
    loop {
        let shop = Shop::open(Split::new(1, 50, 50));
        let port = free_port();
        shop.folder.endpoints("shop-v2", &[port]);
        let fell_over =
            || shop.proxy.metric("penstock_fallovers_total", &[("revision", "v2")]).unwrap_or(0.0) > 0.0;
        let begun = wait_for("it has refused", || {
            let begun = Instant::now();
            assert_eq!(shop.get("/").status(), 200);
            fell_over().then_some(begun)
        });
        becomes(&shop.folder, port);
        shop.folder.route(&Split::new(2, 50, 50).port(shop.port));
        shop.proxy.wait_generation("shop", 2);
        if begun.elapsed() < Duration::from_millis(900) {
            return shop;
        }
    }
}

/// News of an endpoint that goes away come later than its port is closed.
#[test]
fn what_an_endpoint_refuses_that_goes_away_is_none_of_its_revisions_faults() {
    let gone = |folder: &Folder, _: u16| folder.endpoints("shop-v2", &[]);
    let going = |folder: &Folder, port: u16| {
        let conditions = "{ready: false, serving: true, terminating: true}";
        folder.endpoints_that_are("shop-v2", &[port], "", conditions);
    };
    for shop in [refused_and_then(gone), refused_and_then(going)] {
        thread::sleep(Duration::from_secs(2));
        assert_eq!(shop.counted("v2", "none", "upstream"), 0);
        assert!(shop.proxy.rollout("shop").unwrap().in_flight.values().all(|n| *n == 0));
    }
}

/// One that has crashed is to come back.
#[test]
fn what_an_endpoint_refuses_that_is_not_ready_any_more_is_its_revisions_fault() {
    let shop = refused_and_then(|folder, port| {
        let conditions = "{ready: false, serving: false, terminating: false}";
        folder.endpoints_that_are("shop-v2", &[port], "", conditions);
    });
    wait_for("it is blamed", || (shop.counted("v2", "none", "upstream") > 0).then_some(()));
}

#[test]
fn a_request_that_no_revision_takes_fails_and_says_so() {
    let shop = Shop::open(Split::new(1, 50, 50));
    shop.folder.endpoints("shop-v1", &[free_port()]);
    shop.folder.endpoints("shop-v2", &[free_port()]);
    wait_for("nobody takes any", || (shop.get("/").status() == 502).then_some(()));
    let failed = shop.get("/");
    assert_eq!(failed.header("x-penstock-culprit"), Some("upstream"));
    let text = failed.text();
    assert!(text.starts_with("penstock-proxy: default/shop: no endpoint takes a connection"), "{text}");
}

#[test]
fn a_marked_request_does_not_go_elsewhere() {
    let marks =
        "{matches: [{headers: [{name: x-canary, value: always}]}], backendRefs: [{name: shop-v2, port: 80}]}";
    let shop =
        Shop::open(Split::new(1, 50, 50).annotation("penstock.dev/mark", "x-canary=always").and_rule(marks));
    shop.folder.endpoints("shop-v2", &[free_port()]);
    wait_for("the mark fails", || {
        (shop.client().get("/", "x-canary: always\r\n").status() == 502).then_some(())
    });
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let silent = Backend::doing(|_, client| {
        wait_for("the proxy hangs up", || client.is_closed().then_some(()));
        false
    });
    let split = Split::new(1, 100, 0).field("timeouts: {request: 200ms}");
    let shop = Shop::with(split, silent, Backend::named("v2"), &[]);
    let response = shop.get("/");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (504, Some("upstream")));
    shop.wait_counted("v1", "5xx", "upstream", 1);
    wait_for("the request is cancelled", || (shop.v1.closed() == 1).then_some(()));
}

#[test]
fn a_route_without_a_timeout_takes_the_proxys() {
    let silent = Backend::doing(|_, client| !client.is_closed());
    let shop = Shop::of(silent, &["--request-timeout", "150ms"]);
    assert_eq!(shop.get("/").status(), 504);
}

#[test]
fn a_slow_client_is_not_the_endpoints_fault() {
    let split = Split::new(1, 100, 0).field("timeouts: {request: 200ms}");
    let shop = Shop::with(split, Backend::named("v1"), Backend::named("v2"), &[]);
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhe");
    let response = client.response();
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (408, Some("client")));
    shop.wait_counted("v1", "4xx", "client", 1);
}

#[test]
fn a_client_that_hangs_up_is_not_the_canarys_fault() {
    let silent = Backend::doing(|_, client| !client.is_closed());
    let shop = Shop::of(silent, &[]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    wait_for("it has arrived", || (shop.v1.requests() == 1).then_some(()));
    drop(client);
    shop.wait_counted("v1", "none", "client", 1);
    wait_for("the request is cancelled", || (shop.v1.closed() == 1).then_some(()));
    assert_eq!(shop.proxy.rollout("shop").unwrap().in_flight["v1"], 0);
    let count = shop.proxy.metric("penstock_request_latency_seconds_count", &[("revision", "v1")]);
    assert_eq!(count, Some(0.0));
}

#[test]
fn a_client_that_breaks_off_its_body_is_to_blame() {
    let shop = Shop::of(Backend::named("v1"), &[]);
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhe");
    wait_for("it has arrived", || (shop.v1.requests() == 1).then_some(()));
    drop(client);
    wait_for(&shop.proxy.metrics(), || {
        let counted = shop.counted("v1", "none", "client") + shop.counted("v1", "4xx", "client");
        (counted == 1).then_some(())
    });
}

#[test]
fn a_client_that_leaves_amid_the_answer_is_to_blame() {
    let endless = Backend::doing(|_, client| {
        client.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        use std::io::Write;
        while client.stream.write_all(b"5\r\nhello\r\n").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        false
    });
    let shop = Shop::of(endless, &[]);
    let mut client = shop.client();
    client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.read_exact(100);
    drop(client);
    shop.wait_counted("v1", "2xx", "client", 1);
    wait_for("the answer is cancelled", || (shop.v1.closed() == 1).then_some(()));
}

#[test]
fn a_body_cut_short_is_the_endpoints_fault_and_the_client_sees_it() {
    for head in ["content-length: 50", "transfer-encoding: chunked"] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n");
        let cut = Backend::doing(move |_, client| {
            client.send(&text);
            false
        });
        let shop = Shop::of(cut, &[]);
        let mut client = shop.client();
        let response = client.get("/", "");
        assert_eq!(response.status(), 200);
        assert!(!response.complete, "{head}");
        shop.wait_counted("v1", "2xx", "upstream", 1);
    }
}

#[test]
fn an_error_of_the_endpoint_is_passed_on_and_counted() {
    let shop =
        Shop::of(Backend::answering("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\nx-own: 1\r\n\r\noops"), &[]);
    let response = shop.get("/");
    assert_eq!(
        (response.status(), response.header("x-own"), response.text().as_str()),
        (500, Some("1"), "oops")
    );
    assert_eq!(response.header("x-penstock-culprit"), None, "the endpoint speaks for itself");
    shop.wait_counted("v1", "5xx", "upstream", 1);
    let fine = Shop::of(Backend::answering("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"), &[]);
    assert_eq!(fine.get("/").status(), 404);
    fine.wait_counted("v1", "4xx", "none", 1);
}

#[test]
fn a_connection_that_dies_before_the_answer_is_blamed_on_the_endpoint() {
    let shop = Shop::of(Backend::doing(|_, _| false), &[]);
    let mut client = shop.client();
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
    let response = client.response();
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (502, Some("upstream")));
    shop.wait_counted("v1", "5xx", "upstream", 1);
    assert_eq!(shop.v1.requests(), 1, "what has been sent is not sent twice");
}

#[test]
fn garbage_instead_of_an_answer_is_blamed_on_the_endpoint() {
    let shop = Shop::of(Backend::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n"), &[]);
    assert_eq!(shop.get("/").status(), 502);
    shop.wait_counted("v1", "5xx", "upstream", 1);
}

/// Each connection answers one request, then dies without a word when the next one comes.
#[test]
fn a_kept_connection_that_died_costs_no_request() {
    let turns = AtomicU64::new(0);
    let dying = Backend::doing(move |_, client| {
        if turns.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return false;
        }
        client.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nv1");
        true
    });
    let shop = Shop::of(dying, &["--threads", "1"]);
    let mut client = shop.client();
    for n in 0..20 {
        assert_eq!(client.get("/", "").status(), 200, "request {n}");
    }
    shop.wait_counted("v1", "2xx", "none", 20);
}

#[test]
fn connections_that_were_closed_while_idle_cost_no_request() {
    let closing = Backend::doing(|_, client| {
        client.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nv1");
        false
    });
    let shop = Shop::of(closing, &[]);
    let mut client = shop.client();
    for _ in 0..200 {
        assert_eq!(client.get("/", "").status(), 200);
    }
}

#[test]
fn too_many_requests_are_turned_away() {
    let silent = Backend::doing(|_, client| !client.is_closed());
    let shop = Shop::of(silent, &["--max-in-flight", "2"]);
    let mut waiting = [shop.client(), shop.client()];
    waiting.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n"));
    wait_for("two in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 2).then_some(()));
    let response = shop.get("/");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (503, Some("proxy")));
    assert_eq!(response.header("retry-after"), Some("1"));
    shop.wait_counted("", "5xx", "proxy", 1);
    drop(waiting);
    wait_for("none in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
}

#[test]
fn no_rule_is_the_proxys_fault() {
    let split = Split::new(1, 100, 0).field("matches: [{path: {value: /shop}}]");
    let shop = Shop::with(split, Backend::named("v1"), Backend::named("v2"), &[]);
    let response = shop.get("/stall");
    assert_eq!((response.status(), response.header("x-penstock-culprit")), (404, Some("proxy")));
    shop.wait_counted("", "4xx", "proxy", 1);
}

#[test]
fn connections_without_requests_harm_nobody() {
    let shop = Shop::open(Split::new(1, 100, 0));
    let idle: Vec<_> = (0..50).map(|_| TcpStream::connect(("127.0.0.1", shop.port)).unwrap()).collect();
    assert_eq!(shop.get("/").text(), "v1");
    drop(idle);
    assert_eq!(shop.get("/").text(), "v1");
}
