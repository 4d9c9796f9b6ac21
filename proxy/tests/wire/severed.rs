//! Answers of HTTP/2 endpoints that are cut: their clients, of HTTP/1 and of HTTP/2, see it.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, RST_STREAM, SETTINGS, ask, frame, get, headers,
    string,
};
use crate::harness::strict::{Broken, Kind};
use crate::harness::{Client, Folder, Proxy, get as get_once, wait_for};

const PREFACE: usize = 24;

/// An answer by hand, and whether the endpoint closes the connection behind it.
type Answer = (Vec<u8>, bool);

/// A head with status 200; with a length, if one is given.
fn head(id: u32, flags: u8, length: Option<&str>) -> Vec<u8> {
    let length =
        length.map(|length| [&[0][..], &string(b"content-length"), &string(length.as_bytes())].concat());
    frame(HEADERS, flags | END_HEADERS, id, &[vec![0x88], length.unwrap_or_default()].concat())
}

/// Answers by hand, and what they are called.
type Case = (&'static str, fn(u32) -> Answer);

/// An endpoint of HTTP/2 that answers every request by `answer`, which is told the stream.
fn endpoint(answer: fn(u32) -> Answer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, answer));
        }
    });
    port
}

fn serve(mut stream: TcpStream, answer: fn(u32) -> Answer) {
    if stream.read_exact(&mut [0; PREFACE]).is_err() {
        return;
    }
    let mut peer = H2 { stream, reads: false };
    peer.send(frame(SETTINGS, 0, 0, &[]));
    while let Some(frame) = peer.next() {
        if frame.kind == HEADERS {
            let (bytes, closes) = answer(frame.stream);
            if !peer.send(bytes) || closes {
                return;
            }
        }
    }
}

/// A proxy before an endpoint that answers like this.
fn shop(answer: fn(u32) -> Answer) -> (Folder, Proxy, u16) {
    crate::http2::shop(endpoint(answer), ", appProtocol: kubernetes.io/h2c")
}

fn begun(id: u32, length: Option<&str>) -> Vec<u8> {
    [head(id, 0, length), frame(DATA, 0, id, b"hello")].concat()
}

const CUT: [Case; 6] = [
    ("a reset", |id| ([begun(id, None), frame(RST_STREAM, 0, id, &2u32.to_be_bytes())].concat(), false)),
    ("a reset that says no error", |id| {
        ([begun(id, None), frame(RST_STREAM, 0, id, &[0; 4])].concat(), false)
    }),
    ("the end of the connection", |id| (begun(id, None), true)),
    ("the end of the connection, with a length", |id| (begun(id, Some("10")), true)),
    ("a goodbye, and the end", |id| ([begun(id, None), frame(GOAWAY, 0, 0, &[0; 8])].concat(), true)),
    ("an end before the length", |id| {
        ([begun(id, Some("10")), frame(DATA, END_STREAM, id, b"")].concat(), false)
    }),
];

#[test]
fn a_cut_answer_of_http_2_never_looks_whole() {
    for (name, answer) in CUT {
        let (_folder, proxy, port) = shop(answer);
        let mut client = Client::connect(port);
        client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
        match client.strict(Kind::Response) {
            Ok(answer) => assert_eq!(answer.status(), 502, "{name}"),
            Err(end) => assert!(matches!(end, Broken::Cut(_) | Broken::Closed), "{name}: {end:?}"),
        }
        let mut h2 = H2::connect(port);
        h2.send(get(1, "/"));
        let answer = h2.answer(1);
        let told = answer.reset.is_some() && !answer.whole || answer.status() == 502;
        assert!(told, "{name}: {answer:?}");
        let rollout = proxy.rollout("shop").unwrap();
        assert_eq!(rollout.in_flight["v1"], 0, "{name}");
        let blamed = ["2xx", "5xx"].map(|code| {
            let labels = [("revision", "v1"), ("code", code), ("culprit", "upstream")];
            proxy.metric("penstock_requests_total", &labels).unwrap() as u64
        });
        assert_eq!(blamed.iter().sum::<u64>(), 2, "{name}: the endpoint is to blame");
    }
}

/// A connection error of one endpoint is no end of what others answer.
#[test]
fn frames_that_an_endpoint_may_not_send_are_its_failure() {
    let forbidden: [Case; 5] = [
        ("data before a head", |id| (frame(DATA, END_STREAM, id, b"x"), false)),
        ("a head on a stream that nobody opened", |id| (head(id + 2, END_STREAM, None), false)),
        ("a push", |id| (frame(5, END_HEADERS, id, &[0, 0, 0, 2, 0x88]), false)),
        ("fields that can't be read", |id| (frame(HEADERS, END_HEADERS | END_STREAM, id, &[0xff; 9]), false)),
        ("no status", |id| {
            let field = [&[0][..], &string(b"x"), &string(b"y")].concat();
            (frame(HEADERS, END_HEADERS | END_STREAM, id, &field), false)
        }),
    ];
    for (name, answer) in forbidden {
        let (folder, proxy, port) = shop(answer);
        for _ in 0..2 {
            let mut client = Client::connect(port);
            client.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
            let answer = client.answer();
            assert_eq!(
                (answer.status(), answer.one("x-penstock-culprit")),
                (502, Some("upstream")),
                "{name}: {answer:?}"
            );
        }
        let good = endpoint(|id| ([head(id, 0, None), frame(DATA, END_STREAM, id, b"ok")].concat(), false));
        folder.endpoints_of("shop-v1", &[good], ", appProtocol: kubernetes.io/h2c");
        wait_for("the good one serves", || {
            let answer = get_once(port, "/");
            (answer.status() == 200 && answer.text() == "ok").then_some(())
        });
        drop(proxy);
    }
}

/// By a reset without an error, an endpoint says that it needs no more of the request.
#[test]
fn an_answer_of_http_2_that_is_whole_is_whole() {
    let whole: [fn(u32) -> Answer; 2] = [
        |id| ([begun(id, None), frame(DATA, END_STREAM, id, b" world")].concat(), false),
        |id| {
            let end = [frame(DATA, END_STREAM, id, b" world"), frame(RST_STREAM, 0, id, &[0; 4])];
            ([begun(id, Some("11")), end.concat()].concat(), false)
        },
    ];
    for answer in whole {
        let (_folder, _proxy, port) = shop(answer);
        let mut h2 = H2::connect(port);
        for id in [1, 3, 5] {
            let mut client = Client::connect(port);
            client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100\r\n\r\nhalf");
            assert_eq!(client.answer().text(), "hello world");
            h2.send([headers(id, 0, &ask("POST", "/")), frame(DATA, 0, id, b"half")].concat());
            let answer = h2.answer(id);
            assert_eq!((answer.text().as_str(), answer.whole), ("hello world", true));
        }
    }
}
