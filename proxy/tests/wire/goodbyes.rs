//! How HTTP/2 connections end: RFC 9113 section 6.8.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::frames::{END_STREAM, GOAWAY, H2, PING, ask, frame, get, headers};
use crate::harness::tape::OK;
use crate::harness::{Rig, wait_for};

/// A backend that answers `/held` when told to.
fn held() -> (Rig, Arc<AtomicBool>) {
    let open = Arc::<AtomicBool>::default();
    let gate = Arc::clone(&open);
    let rig = Rig::doing(move |request, client| {
        if request.word(1) == "/held" {
            wait_for("the gate opens", || gate.load(Ordering::SeqCst).then_some(()));
        }
        client.try_send(OK)
    });
    (rig, open)
}

#[test]
fn a_drain_says_goaway_and_finishes_what_has_begun() {
    let (mut rig, open) = held();
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    assert_eq!(h2.answer(1).text(), "ok");
    h2.send(get(3, "/held"));
    wait_for("it is in flight", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
    rig.shop.proxy.signal("TERM");
    let goaway = h2.next().unwrap();
    assert_eq!((goaway.kind, goaway.error()), (GOAWAY, 0), "NO_ERROR");
    open.store(true, Ordering::SeqCst);
    let answer = h2.answer(3);
    assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
    while let Some(frame) = h2.next() {
        assert_eq!((frame.kind, frame.error()), (GOAWAY, 0), "{frame:?}");
        let last = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
        assert!(last >= 3, "the last one that was served is at least {last}");
    }
    assert!(rig.shop.proxy.wait_exit().success());
}

#[test]
fn a_connection_without_streams_ends_at_once_in_a_drain() {
    let (mut rig, _) = held();
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    assert_eq!(h2.answer(1).text(), "ok");
    rig.shop.proxy.signal("TERM");
    assert_eq!(h2.goodbye(), Some(0));
    assert!(rig.shop.proxy.wait_exit().success());
}

#[test]
fn a_client_that_says_goaway_gets_what_it_has_asked_for() {
    let (rig, open) = held();
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/held"));
    wait_for("it is in flight", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 1).then_some(()));
    h2.send(frame(GOAWAY, 0, 0, &[0; 8]));
    open.store(true, Ordering::SeqCst);
    assert_eq!(h2.answer(1).text(), "ok");
}

/// A reset would take away what the client has not read.
#[test]
fn a_client_that_goes_on_sending_after_its_goaway_reads_everything_to_a_clean_end() {
    let (rig, _) = held();
    let mut h2 = H2::connect(rig.shop.port);
    h2.send(get(1, "/"));
    h2.send(frame(GOAWAY, 0, 0, &[0; 8]));
    rig.shop.wait_counted("v1", "2xx", "none", 1);
    for _ in 0..20 {
        assert!(h2.send(frame(PING, 0, 0, b"anything")));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut all = Vec::new();
    assert!(h2.stream.read_to_end(&mut all).is_ok(), "{all:?}");
    assert!(all.ends_with(b"ok"), "{all:?}");
}

/// A connection that ends in the middle takes all its streams along.
#[test]
fn a_client_that_is_gone_is_not_worked_for() {
    let (rig, open) = held();
    let mut h2 = H2::connect(rig.shop.port);
    (0..20).for_each(|n| assert!(h2.send(headers(2 * n + 1, END_STREAM, &ask("GET", "/held")))));
    wait_for("they are in flight", || (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 20).then_some(()));
    drop(h2);
    rig.shop.wait_counted("v1", "none", "client", 20);
    assert_eq!(rig.shop.proxy.rollout("shop").unwrap().in_flight["v1"], 0);
    open.store(true, Ordering::SeqCst);
    wait_for("connections to the endpoint are closed", || (rig.shop.v1.closed() == 20).then_some(()));
}
