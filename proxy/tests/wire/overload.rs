//! More than the proxy has room for: each is told so at once, what is held stays bounded, and as soon as the crowd is
//! gone everything is as it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::frames::{GOAWAY, H2, get};
use crate::harness::strict::{Broken, Kind};
use crate::harness::tape::OK;
use crate::harness::{Client, Rig, wait_for};

const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
/// How much a proxy may grow under any crowd here, in KiB.
const GROWTH: u64 = 24 << 10;

/// Clients that have a place each, as an answer shows.
fn crowd(rig: &Rig, size: usize) -> Vec<Client> {
    let one = |_| {
        let mut client = rig.client();
        client.send(GET);
        assert_eq!(client.answer().text(), "ok");
        client
    };
    (0..size).map(one).collect()
}

/// Waits until a new client is served.
fn recovers(rig: &Rig) {
    wait_for("a new client is served", || {
        let mut client = rig.client();
        client.try_send(GET);
        client.strict(Kind::Response).is_ok_and(|answer| answer.text() == "ok").then_some(())
    });
}

#[test]
fn connections_beyond_the_bound_are_told_to_come_back() {
    let rig = Rig::with(&["--max-connections", "4"], |_, client| client.try_send(OK));
    let first = crowd(&rig, 4);
    for _ in 0..50 {
        let mut client = rig.client();
        client.send(GET);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.one("retry-after")), (503, Some("1")), "{answer:?}");
        assert_eq!(
            (answer.one("connection"), client.strict(Kind::Response)),
            (Some("close"), Err(Broken::Closed))
        );
    }
    rig.shop.wait_counted("", "5xx", "proxy", 50);
    drop(first);
    recovers(&rig);
}

/// RFC 9113 section 6.8: nothing of what it has sent was taken.
#[test]
fn a_client_of_http_2_beyond_the_bound_is_told_to_go_away() {
    let rig = Rig::with(&["--max-connections", "4"], |_, client| client.try_send(OK));
    let first = crowd(&rig, 4);
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    let frame = h2.next().unwrap();
    assert_eq!((frame.kind, frame.error(), &frame.payload[..4]), (GOAWAY, 11, &[0; 4][..]), "{frame:?}");
    assert_eq!(h2.goodbye(), None);
    drop(first);
    recovers(&rig);
}

/// Clients that say nothing take no place for ever: neither those that are served, nor those that are turned away.
#[test]
fn silent_connections_beyond_the_bound_go_by_themselves() {
    let rig = Rig::with(&["--max-connections", "4", "--head-timeout", "1s"], |_, client| client.try_send(OK));
    let silent: Vec<Client> = (0..600).map(|_| rig.client()).collect();
    recovers(&rig);
    for mut client in silent {
        assert!(client.is_closed());
    }
}

/// Connections, requests and slow bodies at once, more of each than there is room for.
#[test]
fn a_crowd_is_bounded_and_gone_at_once() {
    let held = Arc::new(AtomicBool::new(true));
    let holds = Arc::clone(&held);
    let options = ["--max-connections", "300", "--max-in-flight", "100"];
    let rig = Rig::with(&options, move |request, client| {
        while request.word(1) == "/slow" && holds.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        client.try_send(OK)
    });
    let before = rig.shop.proxy.memory();
    let mut all = crowd(&rig, 300);
    let body = vec![b'x'; 16 << 10];
    for (n, client) in all.iter_mut().enumerate() {
        if n % 2 == 0 {
            client.send("GET /slow HTTP/1.1\r\nhost: shop\r\n\r\n");
        } else {
            client.send("POST /slow HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\n");
            client.try_send(&body);
        }
    }
    let full = || rig.shop.proxy.rollout("shop").is_some_and(|shop| shop.in_flight["v1"] == 100);
    wait_for("as many are in flight as may be", || full().then_some(()));
    rig.shop.wait_counted("", "5xx", "proxy", 200);
    for _ in 0..200 {
        let mut client = rig.client();
        client.send(GET);
        assert_eq!((client.answer().status(), client.is_closed()), (503, true));
    }
    assert!(full(), "those that have a place keep it");
    let grown = rig.shop.proxy.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    held.store(false, Ordering::SeqCst);
    drop(all);
    recovers(&rig);
    wait_for("none is in flight", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
    assert_eq!(rig.shop.get("/").text(), "ok");
}

/// A limit of open files that is lower than that of connections bounds these; what is in use stays so.
#[test]
fn few_open_files_are_survived() {
    let rig = Rig::within_files(200);
    wait_for("it is said", || rig.shop.proxy.log().contains("fewer connections than wanted").then_some(()));
    let mut first = crowd(&rig, 40);
    let more: Vec<Client> = (0..300).map(|_| rig.client()).collect();
    for client in &mut first {
        client.send(GET);
        assert_eq!(client.answer().text(), "ok", "who has a place keeps it");
    }
    drop(more);
    recovers(&rig);
    assert_eq!(rig.shop.proxy.status().problems, Vec::<String>::new());
}

/// None is left for connections to endpoints, nor for accepting: what is under way goes on, and all is well afterwards.
#[test]
fn no_open_files_at_all_are_survived() {
    let rig = Rig::within_files(60);
    let mut first = crowd(&rig, 1);
    // Only one is served; the others take descriptors while they are turned away.
    let mut more: Vec<Client> = (0..400).map(|_| rig.client()).collect();
    let sent = more.iter_mut().filter_map(|client| client.try_send(GET).then_some(())).count();
    assert!(sent > 0);
    first[0].send(GET);
    assert_eq!(first[0].answer().text(), "ok");
    drop((first, more));
    recovers(&rig);
}

#[test]
fn a_head_that_takes_too_long_is_given_up() {
    let rig = Rig::with(&["--head-timeout", "1s"], |_, client| client.try_send(OK));
    let mut slow = rig.client();
    slow.send("GET / HTTP/1.1\r\nho");
    let mut idle = crowd(&rig, 1);
    let mut silent = rig.client();
    let mut trickling = rig.client();
    let mut head = "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y'));
    // Bytes one by one are no excuse.
    wait_for("it is given up", || (!trickling.try_send([head.next()?])).then_some(()));
    assert_eq!((slow.answer().status(), slow.is_closed()), (408, true));
    assert!(idle[0].is_closed() && silent.is_closed(), "who sends nothing is owed no word");
    assert_eq!(rig.shop.get("/").text(), "ok");
    rig.shop.wait_counted("", "4xx", "client", 2);
}

/// A client of HTTP/2 that does not answer a ping is gone.
#[test]
fn a_silent_client_of_http_2_is_asked_whether_it_is_there() {
    let rig = Rig::with(&["--head-timeout", "1s"], |_, client| client.try_send(OK));
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    assert_eq!(h2.answer(1).text(), "ok");
    h2.wait_for_ping();
    h2.send(get(3, "/"));
    assert_eq!(h2.answer(3).text(), "ok");
}
