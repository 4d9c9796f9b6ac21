//! HTTP/2 connections that do harm: each is ended or borne, what is held for it is bounded, and others are served.

use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, INITIAL_WINDOW_SIZE, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, ask, block, frame, get, headers, string,
};
use crate::harness::tape::OK;
use crate::harness::{Rig, wait_for};

/// How much a proxy may grow, in KiB.
const GROWTH: u64 = 24 << 10;
/// The most streams that a connection may have at a time.
const MAX_STREAMS: u64 = 256;

fn stream(n: usize) -> u32 {
    2 * n as u32 + 1
}

/// Whether a connection still serves: a ping is answered, and so is a request.
fn serves(h2: &mut H2, id: u32) -> bool {
    h2.send(get(id, "/after")) && {
        let answer = h2.answer(id);
        answer.whole && answer.status() == 200
    }
}

/// Attacks by a connection of its own; then others must be served, and nothing may be left of it.
fn survive(rig: &Rig, attack: impl FnOnce(&mut H2)) {
    assert_eq!(rig.shop.get("/").text(), "ok");
    let before = rig.shop.proxy.memory();
    let mut h2 = H2::connect(rig.shop.port);
    attack(&mut h2);
    assert_eq!(rig.shop.get("/").text(), "ok", "others are served");
    let grown = rig.shop.proxy.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    drop(h2);
    wait_for("nothing is left in flight", || {
        (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(())
    });
    assert!(serves(&mut H2::connect(rig.shop.port), 1));
}

#[test]
fn rapid_resets_are_stopped_or_cost_the_endpoint_little() {
    let rig = Rig::new();
    survive(&rig, |h2| {
        let sent = h2.flood(1000, |n| {
            (n * 100..n * 100 + 100)
                .flat_map(|n| {
                    [get(stream(n), "/reset"), frame(RST_STREAM, 0, stream(n), &8u32.to_be_bytes())].concat()
                })
                .collect()
        });
        let error = h2.goodbye();
        assert!(sent < 1000 || error.is_some(), "100,000 resets were taken without a word");
    });
    let heard = rig.tape.take().len();
    assert!(heard < 10_000, "the endpoint heard {heard} requests");
}

/// What makes a proxy reset a stream.
type Fault<'f> = &'f dyn Fn(u32) -> Vec<u8>;

/// The client makes the proxy reset streams itself: each stays at the endpoint unless that counts, too.
#[test]
fn a_proxy_that_is_made_to_reset_stops_it() {
    let update = |id: u32, by: u32| frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes());
    let faults: [(&str, Fault); 4] = [
        ("a window opened by nothing", &|id| update(id, 0)),
        ("a window opened too far", &|id| update(id, 0x7fff_ffff)),
        ("data behind the end", &|id| frame(DATA, 0, id, b"late")),
        ("a stream that depends on itself", &|id| {
            frame(PRIORITY, 0, id, &[id.to_be_bytes().as_slice(), &[1]].concat())
        }),
    ];
    for (name, fault) in faults {
        let rig = Rig::new();
        survive(&rig, |h2| {
            let sent = h2.flood(300, |n| {
                (n * 100..n * 100 + 100)
                    .flat_map(|n| [get(stream(n), "/reset"), fault(stream(n))].concat())
                    .collect()
            });
            assert!(sent < 300, "{name}: it was made to 30,000 times");
        });
        let heard = rig.tape.take().len();
        assert!(heard < 10_000, "{name}: the endpoint heard {heard} requests");
    }
}

#[test]
fn fields_without_end_are_stopped() {
    let rig = Rig::new();
    let begin = |h2: &mut H2| h2.send(frame(HEADERS, END_STREAM, 1, &block(&ask("GET", "/flood"))));
    survive(&rig, |h2| {
        begin(h2);
        let more = block(&[("x-long", &"y".repeat(16_000))]);
        let sent = h2.flood(20_000, |_| frame(CONTINUATION, 0, 1, &more));
        assert!(sent < 1000, "{sent} frames were taken");
    });
    survive(&rig, |h2| {
        begin(h2);
        let sent = h2.flood(20_000, |_| frame(CONTINUATION, 0, 1, &[]).repeat(50));
        assert!(sent < 20_000, "{sent} times 50 empty frames were taken");
    });
    survive(&rig, |h2| {
        begin(h2);
        let small = block(&[("x", "")]);
        let sent = h2.flood(20_000, |_| frame(CONTINUATION, 0, 1, &small).repeat(50));
        assert!(sent < 20_000, "{sent} times 50 small frames were taken");
    });
    assert!(rig.tape.take().iter().all(|h| h.message.as_ref().is_ok_and(|m| m.word(1) != "/flood")));
}

/// One entry of the table, and many bytes that each refer to it: 16 KiB on the wire, 60 MiB as fields.
#[test]
fn a_small_block_does_not_become_large_fields() {
    let rig = Rig::new();
    survive(&rig, |h2| {
        let large = [&[0x40][..], &string(b"x-bomb"), &string(&[b'y'; 3_900])].concat();
        let first = [block(&ask("GET", "/first")), large].concat();
        h2.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &first));
        assert_eq!(h2.answer(1).status(), 200);
        for n in 1..50 {
            let bomb = [block(&ask("GET", "/bomb")), vec![0xbe; 16_000]].concat();
            if !h2.send(frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &bomb)) {
                return;
            }
            let answer = h2.answer(stream(n));
            assert!(matches!(answer.status(), 0 | 431) || answer.reset.is_some(), "{answer:?}");
            if answer.goaway.is_some() {
                return;
            }
        }
    });
    assert!(rig.tape.take().iter().all(|h| h.message.as_ref().is_ok_and(|m| m.word(1) != "/bomb")));
}

/// Each asks for an answer that is never read.
#[test]
fn what_has_to_be_answered_is_not_piled_up() {
    let rig = Rig::new();
    for (name, one) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty settings", frame(SETTINGS, 0, 0, &[])),
        ("windows opened and closed", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0])),
    ] {
        survive(&rig, |h2| {
            let sent = h2.flood(20_000, |_| one.repeat(100));
            println!("{name}: {sent} of 20,000 times 100 were taken");
        });
    }
}

#[test]
fn what_has_no_meaning_is_borne_or_ends_the_connection() {
    let rig = Rig::new();
    for (name, one) in [
        ("unknown frames", frame(0xbe, 0xff, 0, b"whatever")),
        ("priorities", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("small windows", frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
        ("acknowledgements", frame(PING, ACK, 0, &[0; 8])),
    ] {
        survive(&rig, |h2| {
            let sent = h2.flood(1000, |_| one.repeat(100));
            println!("{name}: {sent} of 1,000 times 100 were taken");
            if sent == 1000 && h2.send(get(5, "/after")) {
                let answer = h2.answer(5);
                assert!(
                    answer.status() == 200 || answer.goaway.is_some() || !answer.whole,
                    "{name}: {answer:?}"
                );
            }
        });
    }
}

#[test]
fn a_body_of_nothing_is_nothing() {
    let rig = Rig::new();
    for (name, piece) in [("empty frames", &[][..]), ("frames of padding", &[255; 256][..])] {
        let flags = if piece.is_empty() { 0 } else { 8 };
        survive(&rig, |h2| {
            h2.send(headers(1, 0, &ask("POST", "/nothing")));
            let sent = h2.flood(1000, |_| frame(DATA, flags, 1, piece).repeat(100));
            if sent == 1000 && h2.send(frame(DATA, END_STREAM, 1, b"x")) {
                let answer = h2.answer(1);
                assert!(
                    answer.status() == 200 || answer.goaway.is_some() || answer.reset.is_some(),
                    "{name}: {answer:?}"
                );
            }
        });
    }
    let bodies: Vec<String> =
        rig.tape.take().into_iter().filter_map(|h| h.message.ok()).map(|m| m.text()).collect();
    assert!(bodies.iter().all(|body| body.is_empty() || body == "x"), "{bodies:?}");
}

#[test]
fn streams_beyond_the_bound_are_refused_and_the_others_served() {
    let (sender, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let rig = Rig::doing(move |request, client| {
        if request.word(1) == "/held" {
            go_on.lock().unwrap().recv().ok();
        }
        client.try_send(OK)
    });
    let mut h2 = H2::connect(rig.shop.port);
    for n in 0..600 {
        assert!(h2.send(get(stream(n), "/held")));
    }
    let mut refused = 0;
    while refused < 600 - MAX_STREAMS {
        let frame = h2.next().unwrap();
        assert_eq!((frame.kind, frame.error()), (RST_STREAM, 7), "REFUSED_STREAM: {frame:?}");
        refused += 1;
    }
    wait_for("the others are in flight", || {
        (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == MAX_STREAMS).then_some(())
    });
    assert_eq!(rig.shop.get("/").text(), "ok");
    drop(sender);
    let mut ended = 0;
    while ended < MAX_STREAMS {
        ended += u64::from(h2.next().unwrap().ends());
    }
    assert!(serves(&mut h2, stream(600)));
}

/// A client that reads nothing of hundreds of answers.
#[test]
fn windows_that_stay_closed_hold_the_endpoint_back() {
    let rig = Rig::doing(|request, client| {
        if request.word(1) != "/long" {
            return client.try_send(OK);
        }
        let length = 4 << 20;
        client.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))
            && client.try_send(vec![b'x'; length])
    });
    assert_eq!(rig.shop.get("/").text(), "ok");
    let before = rig.shop.proxy.memory();
    let mut h2 = H2::with(rig.shop.port, &[(INITIAL_WINDOW_SIZE, 0)]);
    let count = 100;
    for n in 0..count {
        assert!(h2.send(get(stream(n), "/long")));
    }
    for _ in 0..count {
        let frame = h2.next().unwrap();
        assert_eq!((frame.kind, frame.status()), (HEADERS, 200));
    }
    assert_eq!(rig.shop.get("/").text(), "ok", "others are served");
    let grown = rig.shop.proxy.memory().saturating_sub(before);
    assert!(grown < 2 * GROWTH, "{grown} KiB for 400 MiB that wait");
    h2.reads = false;
    for _ in 0..1000 {
        assert!(h2.open(1, 1));
    }
    let mut body = 0;
    while body < 1000 {
        let frame = h2.next().unwrap();
        assert_eq!((frame.kind, frame.stream), (DATA, 1));
        body += frame.payload.len();
    }
    assert_eq!(body, 1000, "byte by byte, as the window opens");
    drop(h2);
    wait_for("nothing is left in flight", || {
        (rig.shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(())
    });
}

/// What RFC 9113 calls a connection error ends it, with a word.
#[test]
fn frames_that_are_forbidden_end_the_connection() {
    let rig = Rig::new();
    let update = |id: u32, by: u32| frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes());
    for (name, bytes) in [
        ("data on the connection", frame(DATA, 0, 0, b"x")),
        ("data on a stream that is not open", frame(DATA, 0, 1, b"x")),
        ("a head on the connection", frame(HEADERS, END_STREAM | END_HEADERS, 0, &block(&ask("GET", "/")))),
        ("a head on an even stream", get(2, "/")),
        ("a stream that goes back", [get(5, "/"), get(3, "/")].concat()),
        ("fields without a head", frame(CONTINUATION, END_HEADERS, 1, &[])),
        (
            "a frame amid fields",
            [frame(HEADERS, END_STREAM, 1, &block(&ask("GET", "/"))), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("a ping that is too short", frame(PING, 0, 0, &[0; 7])),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("settings of an odd length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("a window beyond 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("a frame size below the least", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("a push by a client", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("the connection's window opened by nothing", update(0, 0)),
        ("the connection's window opened too far", update(0, 0x7fff_ffff)),
        ("a reset of the connection", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("a reset of a stream that is not open", frame(RST_STREAM, 0, 7, &[0; 4])),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 20_000])),
        (
            "padding longer than its frame",
            [headers(1, 0, &ask("POST", "/")), frame(DATA, 8, 1, &[200, 0])].concat(),
        ),
        ("fields that can not be read", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 10])),
        ("a table's entry that is not there", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xfe])),
        ("no HTTP/2 at all", b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n".to_vec()),
    ] {
        let mut h2 = H2::connect(rig.shop.port);
        h2.send(&bytes);
        let mut said = None;
        while let Some(frame) = h2.next() {
            assert!(!frame.ends() || frame.stream == 5, "{name}: {frame:?}");
            if frame.kind == GOAWAY {
                said = Some(frame.error());
            }
        }
        assert!(said.is_some_and(|error| error != 0), "{name}: {said:?}");
    }
    assert_eq!(rig.shop.get("/").text(), "ok");
    let heard: Vec<_> = rig.tape.take().into_iter().filter_map(|h| h.message.ok()).map(|m| m.line).collect();
    assert!(heard.iter().all(|line| line == "GET / HTTP/1.1"), "{heard:?}");
}
