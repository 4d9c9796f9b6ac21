//! Endpoints of HTTP/2 behind clients of either version: trailers, early hints, limits, requests that were not taken.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::harness::frames::{DATA, END_STREAM, H2, HEADERS, ask, frame, get, headers};
use crate::harness::strict::Kind;
use crate::harness::{Client, wait_for};
use crate::http2::{runtime, shop};

/// A request as an endpoint has heard it.
#[derive(Clone, Debug)]
struct Heard {
    path: String,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

type Tape = Arc<Mutex<Vec<Heard>>>;

/// An endpoint that says 103 twice, hears all of the request, and answers `ok`. It does not look at the first `refused`
/// streams.
async fn endpoint(tape: Tape, refused: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicU32::new(refused));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tape, left) = (Arc::clone(&tape), Arc::clone(&left));
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let take = |left: u32| left.checked_sub(1);
                    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                        respond.send_reset(Reason::REFUSED_STREAM);
                    } else {
                        tokio::spawn(answer(request, respond, Arc::clone(&tape)));
                    }
                }
            });
        }
    });
    port
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, tape: Tape) {
    for _ in 0..2 {
        let hints = Response::builder().status(StatusCode::EARLY_HINTS).header("link", "</a>");
        respond.send_informational(hints.body(()).unwrap()).unwrap();
    }
    let path = request.uri().path().to_owned();
    let mut stream = request.into_body();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let Ok(data) = data else { return };
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend(data);
    }
    let Ok(trailers) = stream.trailers().await else { return };
    tape.lock().unwrap().push(Heard { path, body, trailers });
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

const H2C: &str = ", appProtocol: kubernetes.io/h2c";
const POST: &str =
    "POST /a HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n4\r\n you\r\n0\r\n";

/// The final answer, and how many hints came before it.
fn with_hints(client: &mut Client) -> (String, usize) {
    for hints in 0.. {
        let answer = client.strict(Kind::Response).unwrap();
        if answer.status() != 103 {
            return (answer.text(), hints);
        }
        assert_eq!(answer.all("link"), ["</a>"]);
    }
    unreachable!("hints end")
}

#[test]
fn trailers_and_hints_pass_between_http_1_and_http_2() {
    let (runtime, tape) = (runtime(), Tape::default());
    let (_folder, _proxy, port) = shop(runtime.block_on(endpoint(Arc::clone(&tape), 0)), H2C);
    let mut client = Client::connect(port);
    for trailers in ["x-sum: 7\r\ncontent-length: 9\r\nx-more: a\r\n", ""] {
        client.send(&format!("{POST}{trailers}\r\n"));
        assert_eq!(with_hints(&mut client), ("ok".into(), 2));
        let heard = tape.lock().unwrap().pop().unwrap();
        assert_eq!((heard.path.as_str(), heard.body.as_slice()), ("/a", &b"hi you"[..]));
        let fields: Vec<_> =
            heard.trailers.iter().flatten().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let expected: &[(&str, &[u8])] = &[("x-sum", b"7"), ("x-more", b"a")];
        assert_eq!(fields, if trailers.is_empty() { &[][..] } else { expected });
    }
    client.send("POST /b HTTP/1.0\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(with_hints(&mut client), ("ok".into(), 0), "a client of 1.0 knows no hints");
    assert_eq!(tape.lock().unwrap().pop().unwrap().body, b"hi");
}

#[test]
fn hints_pass_from_http_2_to_http_2() {
    let (runtime, tape) = (runtime(), Tape::default());
    let (_folder, _proxy, port) = shop(runtime.block_on(endpoint(tape, 0)), H2C);
    let mut h2 = H2::connect(port);
    h2.send(headers(1, 0, &ask("POST", "/a")));
    let early = h2.next().unwrap();
    assert_eq!((early.kind, early.status()), (HEADERS, 103), "before the body has been sent");
    h2.send(frame(DATA, END_STREAM, 1, b"hi"));
    let answer = h2.answer(1);
    assert_eq!((answer.text().as_str(), answer.statuses, answer.whole), ("ok", vec![103, 200], true));
}

/// RFC 9113 section 8.7: it was not looked at, and so it may be sent again, whatever it asks for.
#[test]
fn a_stream_that_the_endpoint_has_not_looked_at_is_sent_again() {
    let (runtime, tape) = (runtime(), Tape::default());
    let (_folder, proxy, port) = shop(runtime.block_on(endpoint(Arc::clone(&tape), 1)), H2C);
    let mut h2 = H2::connect(port);
    h2.send(headers(1, END_STREAM, &ask("POST", "/a")));
    assert_eq!(h2.answer(1).status(), 200);
    assert_eq!(tape.lock().unwrap().len(), 1);
    wait_for("none is in flight", || (proxy.rollout("shop")?.in_flight["v1"] == 0).then_some(()));
}

#[test]
fn the_limit_of_bodies_holds_in_front_of_http_2() {
    let (runtime, tape) = (runtime(), Tape::default());
    let endpoint = runtime.block_on(endpoint(Arc::clone(&tape), 0));
    let (_folder, _proxy, port) = crate::http2::shop_with(endpoint, H2C, &["--max-body", "10"]);
    let mut client = Client::connect(port);
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 11\r\n\r\n");
    assert_eq!(client.answer().status(), 413);
    let mut client = Client::connect(port);
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\nb\r\n");
    let mut statuses = (0..).map_while(|_| Some(client.strict(Kind::Response).ok()?.status()));
    assert_eq!(statuses.find(|status| *status != 103), Some(413));
    let mut h2 = H2::connect(port);
    h2.send(headers(1, 0, &[ask("POST", "/"), vec![("content-length", "11")]].concat()));
    assert_eq!(h2.answer(1).status(), 413);
    h2.send([headers(3, 0, &ask("POST", "/")), frame(DATA, 0, 3, b"hello, there")].concat());
    assert_eq!(h2.answer(3).status(), 413);
    h2.send(get(5, "/"));
    assert_eq!(h2.answer(5).text(), "ok");
    let heard = tape.lock().unwrap().clone();
    assert_eq!(heard.len(), 1, "{heard:?}");
}
