//! Clients and endpoints that are slow, or send without end: what the proxy holds for them is bounded.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::frames::{DATA, H2, INITIAL_WINDOW_SIZE, RST_STREAM, get};
use crate::harness::strict::{Kind, Message};
use crate::harness::tape::OK;
use crate::harness::{Client, Rig, wait_for};

/// More than kernel and proxy hold together for one exchange.
const FAR_TOO_MUCH: u64 = 256 << 20;
/// How much a proxy may grow, whatever one peer does, in KiB.
const GROWTH: u64 = 24 << 10;

/// Sends until the peer takes no more for a while; how much that was.
fn fill(client: &mut Client, total: &AtomicU64) -> u64 {
    client.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let part = vec![b'x'; 64 << 10];
    while total.load(Ordering::SeqCst) < FAR_TOO_MUCH {
        let Ok(written) = std::io::Write::write(&mut client.stream, &part) else { break };
        total.fetch_add(written as u64, Ordering::SeqCst);
    }
    client.stream.set_write_timeout(None).unwrap();
    total.load(Ordering::SeqCst)
}

/// A client that does not read makes the endpoint wait.
#[test]
fn an_answer_is_taken_no_faster_than_the_client_reads() {
    for length in ["x: until the end", "content-length: 268435456"] {
        let total = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&total);
        let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n");
        let rig = Rig::doing(move |request, client| {
            if request.word(1) != "/long" {
                return client.try_send(OK);
            }
            client.try_send(&head);
            fill(client, &counted);
            // The rest comes when the client reads again.
            while counted.load(Ordering::SeqCst) < FAR_TOO_MUCH && client.try_send([b'x'; 1 << 10]) {
                counted.fetch_add(1 << 10, Ordering::SeqCst);
            }
            false
        });
        let before = rig.shop.proxy.memory();
        let mut client = rig.client();
        client.send("GET /long HTTP/1.1\r\nhost: shop\r\n\r\n");
        client.strict_head(Kind::Response).unwrap();
        let mut last = u64::MAX;
        wait_for("the endpoint waits", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = total.load(Ordering::SeqCst);
            (std::mem::replace(&mut last, now) == now).then_some(())
        });
        assert!(last < FAR_TOO_MUCH / 4, "{last} bytes are held");
        let grown = rig.shop.proxy.memory().saturating_sub(before);
        assert!(grown < GROWTH, "{grown} KiB");
        assert_eq!(rig.shop.get("/").text(), "ok", "others are served");
        let mut part = vec![0; 1 << 20];
        assert!(client.reader.read(&mut part).unwrap() > 0, "and it goes on");
    }
}

/// An endpoint that does not read makes the client wait.
#[test]
fn a_body_is_taken_no_faster_than_the_endpoint_reads() {
    let (sender, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let rig = Rig::raw(move |_, client| {
        let Ok(head) = client.strict_head(Kind::Request) else { return false };
        if head.word(1) == "/long" {
            go_on.lock().unwrap().recv().ok();
            return false;
        }
        client.try_send(OK)
    });
    let before = rig.shop.proxy.memory();
    let mut client = rig.client();
    client.send(&format!("POST /long HTTP/1.1\r\nhost: shop\r\ncontent-length: {FAR_TOO_MUCH}\r\n\r\n"));
    let held = fill(&mut client, &AtomicU64::new(0));
    assert!(held < FAR_TOO_MUCH / 4, "{held} bytes are held");
    let grown = rig.shop.proxy.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    assert_eq!(rig.shop.get("/").text(), "ok", "others are served");
    drop(sender);
}

#[test]
fn slow_heads_and_bodies_hold_nobody_up() {
    let rig = Rig::new();
    let mut slow: Vec<Client> = (0..200).map(|_| rig.client()).collect();
    let request = "POST /slow HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello";
    for byte in request[..request.len() - 1].bytes() {
        slow.iter_mut().step_by(2).for_each(|client| assert!(client.try_send([byte])));
    }
    let head = request.find("length").unwrap();
    slow.iter_mut().skip(1).step_by(2).for_each(|client| client.send(&request[..head]));
    for _ in 0..20 {
        assert_eq!(rig.shop.get("/").text(), "ok");
    }
    slow.iter_mut().step_by(2).for_each(|client| client.send("o"));
    slow.iter_mut().skip(1).step_by(2).for_each(|client| client.send(&request[head..]));
    slow.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "ok"));
    let heard = rig.tape.messages();
    assert_eq!(heard.iter().filter(|m| m.text() == "hello").count(), 200);
}

fn status(rig: &Rig, request: impl AsRef<[u8]>) -> u16 {
    let mut client = rig.client();
    let mut sender = Client::over(client.stream.try_clone().unwrap());
    let request = request.as_ref().to_vec();
    let sending = std::thread::spawn(move || sender.try_send(request));
    let answer = client.strict(Kind::Response);
    let closed = client.is_closed();
    sending.join().unwrap();
    assert!(closed, "the rest of it is no request");
    answer.as_ref().map_or(0, Message::status)
}

#[test]
fn heads_are_bounded_in_every_direction() {
    let rig = Rig::new();
    let before = rig.shop.proxy.memory();
    let long = |count: usize| "a".repeat(count);
    let (line, end) = ("GET / HTTP/1.1\r\nhost: shop\r\n", "\r\n\r\n");
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for count in [200_000, 5_000_000] {
        assert_eq!(status(&rig, format!("GET /{} HTTP/1.1\r\nhost: shop{end}", long(count))), 414, "{count}");
        assert_eq!(
            status(&rig, format!("GET /?{} HTTP/1.1\r\nhost: shop{end}", long(count))),
            414,
            "{count}"
        );
        assert_eq!(status(&rig, format!("{line}x: {}{end}", long(count))), 431, "a value of {count}");
        assert_eq!(status(&rig, format!("{line}{}: y{end}", long(count))), 431, "a name of {count}");
        assert_eq!(status(&rig, format!("{line}{}\r\n", fields(count / 10))), 431, "{} fields", count / 10);
        let method = status(&rig, format!("{} / HTTP/1.1\r\nhost: shop{end}", long(count)));
        assert!(matches!(method, 400 | 414 | 431 | 501), "a method of {count}: {method}");
        let folded = status(&rig, format!("{line}x: y{}{end}", "\r\n z".repeat(count)));
        assert!(matches!(folded, 400 | 431), "{count} folded lines: {folded}");
        let empty = status(&rig, "\r\n".repeat(count) + line + "\r\n");
        assert!(matches!(empty, 400 | 414 | 431), "{count} empty lines: {empty}");
    }
    assert!(rig.tape.take().is_empty());
    let grown = rig.shop.proxy.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
}

#[test]
fn what_is_within_bounds_passes() {
    let rig = Rig::new();
    let (path, value) = ("p".repeat(8_000), "v".repeat(16_000));
    let fields: String = (0..80).map(|n| format!("x-{n}: y\r\n")).collect();
    let mut client = rig.client();
    for _ in 0..3 {
        client.send(&format!("GET /{path} HTTP/1.1\r\nhost: shop\r\nx-long: {value}\r\n{fields}\r\n"));
        assert_eq!(client.answer().status(), 200);
        let heard = rig.tape.messages().remove(0);
        assert_eq!((heard.word(1).len(), heard.one("x-long").map(str::len)), (8_001, Some(16_000)));
        assert!((0..80).all(|n| heard.one(&format!("x-{n}")) == Some("y")));
    }
}

#[test]
fn a_client_that_leaves_amid_many_requests_takes_none_of_them_along() {
    let rig = Rig::new();
    for _ in 0..20 {
        let mut client = rig.client();
        client.try_send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(50));
        client.reset_at_end();
    }
    let shop = &rig.shop;
    wait_for("none is in flight", || (shop.proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
    assert_eq!(shop.get("/").text(), "ok");
    let blamed = ["2xx", "5xx", "none"].map(|code| shop.counted("v1", code, "upstream"));
    assert_eq!(blamed, [0, 0, 0]);
}

/// A client that takes nothing of its answer is given up, and counts as the one that broke off. One that takes a little
/// now and then is not.
#[test]
fn who_takes_nothing_for_too_long_is_given_up() {
    let rig = Rig::with(&["--stall-timeout", "2s"], |request, client| {
        if request.word(1) != "/long" {
            return client.try_send(OK);
        }
        let length = 32 << 20;
        client.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"))
            && client.try_send(vec![b'x'; length])
    });
    let mut idle = rig.client();
    let mut slow = rig.client();
    for client in [&mut idle, &mut slow] {
        client.send("GET /long HTTP/1.1\r\nhost: shop\r\n\r\n");
        client.strict_head(Kind::Response).unwrap();
    }
    let mut h2 = H2::with(rig.shop.port, &[(INITIAL_WINDOW_SIZE, 0)]);
    for stream in [1, 3, 5] {
        assert!(h2.send(get(stream, "/long")));
        assert_eq!(h2.next().unwrap().status(), 200);
    }
    h2.reads = false;
    let (mut part, room) = (vec![0; 4 << 20], 256 << 10);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(500));
        slow.reader.read_exact(&mut part[..2 << 20]).unwrap();
        assert!(h2.open(0, room) && h2.open(5, room));
    }
    rig.shop.wait_counted("v1", "2xx", "client", 3);
    let (mut reset, mut body) = (Vec::new(), 0);
    while reset.len() < 2 || body < 12 * room as usize {
        let frame = h2.next().unwrap();
        match (frame.kind, frame.stream) {
            (RST_STREAM, stream) => reset.push((stream, frame.error())),
            (DATA, 5) => body += frame.payload.len(),
            (_, stream) => panic!("a frame of stream {stream}: {frame:?}"),
        }
    }
    reset.sort_unstable();
    assert_eq!((reset, body), (vec![(1, 8), (3, 8)], 12 * room as usize));
    slow.reader.read_exact(&mut part).unwrap();
    let mut left = 0;
    while let Ok(count @ 1..) = idle.reader.read(&mut part) {
        left += count;
    }
    assert!(left < 32 << 20, "it is cut off");
}
