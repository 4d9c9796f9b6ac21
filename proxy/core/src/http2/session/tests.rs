use std::collections::BTreeMap;

use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;

use super::*;
use crate::head::Head;

const LIMITS: Limits =
    Limits { head: 16 << 10, streams: 8, stream_window: 70_000, connection_window: 100_000 };

fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Both ends, and what is between them.
struct Pair {
    client: Session,
    server: Session,
}

impl Pair {
    fn new() -> Pair {
        let (mut client, mut server) =
            (Session::new(Role::Client, LIMITS), Session::new(Role::Server, LIMITS));
        client.join();
        server.tick(0);
        let mut pair = Pair { client, server };
        pair.settle();
        pair
    }

    /// Moves bytes until there are none. Returns whether there were any.
    fn settle(&mut self) -> bool {
        let mut any = false;
        while carry(&mut self.client, &mut self.server, usize::MAX)
            | carry(&mut self.server, &mut self.client, usize::MAX)
        {
            any = true;
        }
        any
    }
}

/// Carries what one side has written to the other, in chunks of a size. Returns whether there was any.
fn carry(from: &mut Session, to: &mut Session, chunk: usize) -> bool {
    let mut bytes = Vec::new();
    while !from.is_flushed() {
        let written = match from.outgoing() {
            Some(piece) => piece.to_vec(),
            None => from.slices().iter().flat_map(|slice| slice.to_vec()).collect(),
        };
        let count = written.len().min(chunk);
        bytes.extend_from_slice(&written[..count]);
        from.written(count);
    }
    let (mut begin, mut end) = (0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end.saturating_add(chunk));
        begin += to.receive(&bytes[begin..end]);
    }
    assert_eq!(begin, bytes.len(), "whole frames are taken");
    !bytes.is_empty()
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://shop{path}"))
        .header("x-own", path)
        .body(())
        .unwrap()
}

fn response(status: u16) -> Response<()> {
    Response::builder().status(status).header("content-type", "text/plain").body(()).unwrap()
}

/// All that has come of a body.
fn body(session: &mut Session, id: u32) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        match session.poll_data(id, &idle()) {
            Poll::Ready(Some(Ok(data))) => all.extend_from_slice(&data),
            Poll::Ready(None) => return (all, true),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return (all, false),
        }
    }
}

fn broken(session: &mut Session, id: u32) -> Option<Broken> {
    match session.poll_broken(id, &idle()) {
        Poll::Ready(broken) => Some(broken),
        Poll::Pending => None,
    }
}

#[test]
fn a_request_and_its_answer_arrive_whole() {
    let mut pair = Pair::new();
    let id = pair.client.open(&request("POST", "/a?b"), false).unwrap();
    assert!(pair.client.send_data(id, Bytes::from_static(b"hello"), false));
    assert!(
        pair.client
            .send_trailers(id, [("x-end".parse().unwrap(), "1".parse().unwrap())].into_iter().collect())
    );
    pair.settle();
    let (stream, head) = pair.server.accept().unwrap();
    assert_eq!((head.method(), head.authority(), head.target()), ("POST", Some(&b"shop"[..]), "/a?b"));
    assert_eq!(head.values("x-own").collect::<Vec<_>>(), [b"/a?b"]);
    assert_eq!(head.to_request().unwrap().uri(), "http://shop/a?b");
    assert_eq!(body(&mut pair.server, stream), (b"hello".to_vec(), true));
    assert_eq!(pair.server.trailers(stream).unwrap()["x-end"], "1");
    pair.server.send_interim(stream, &response(103));
    assert!(pair.server.send_response(stream, &response(200), false));
    assert!(pair.server.send_data(stream, Bytes::from_static(b"world"), true));
    pair.settle();
    assert_eq!(pair.client.interim(id).unwrap().status(), 103);
    let Poll::Ready(Ok(answer)) = pair.client.poll_answer(id, &idle()) else { panic!() };
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/plain".parse().unwrap())
    );
    assert_eq!(body(&mut pair.client, id), (b"world".to_vec(), true));
    pair.server.release(stream);
    pair.client.release(id);
    assert!(pair.client.streams.is_empty() && pair.server.streams.is_empty());
    assert_eq!((pair.client.open, pair.server.open), (0, 0));
}

#[test]
fn a_body_goes_no_faster_than_it_is_taken() {
    let mut pair = Pair::new();
    let id = pair.client.open(&request("POST", "/"), false).unwrap();
    pair.client.send_data(id, Bytes::from(vec![b'x'; 1 << 20]), true);
    pair.settle();
    let (stream, _) = pair.server.accept().unwrap();
    assert!(pair.client.poll_room(id, &idle()).is_pending());
    let mut all = 0;
    loop {
        let (some, ended) = body(&mut pair.server, stream);
        assert!(some.len() <= LIMITS.stream_window as usize);
        all += some.len();
        if ended {
            break;
        }
        pair.settle();
    }
    assert_eq!(all, 1 << 20);
}

/// Windows that settings open let through what they let through after the acknowledgement.
#[test]
fn settings_are_acknowledged_before_anything_goes_by_them() {
    let mut pair = Pair::new();
    let window = |size: u32| {
        let mut settings = vec![0, 0, 6, kind::SETTINGS, 0, 0, 0, 0, 0, 0, 4];
        settings.extend_from_slice(&size.to_be_bytes());
        settings
    };
    pair.server.receive(&window(0));
    let id = pair.client.open(&request("GET", "/"), true).unwrap();
    pair.settle();
    let (served, _) = pair.server.accept().unwrap();
    assert!(pair.server.send_response(served, &response(200), false));
    assert!(pair.server.send_data(served, Bytes::from_static(b"abc"), true));
    pair.settle();
    assert_eq!(body(&mut pair.client, id), (vec![], false));
    pair.server.receive(&[window(70_000), window(1)].concat());
    let written: Vec<u8> = pair.server.slices().iter().flat_map(|slice| slice.to_vec()).collect();
    let data = written.iter().position(|byte| *byte == b'a').unwrap();
    assert_eq!(&written[..9], [0, 0, 0, kind::SETTINGS, 1, 0, 0, 0, 0]);
    assert_eq!(&written[data..data + 3], b"abc", "the first settings let all of it through");
}

#[test]
fn what_nobody_takes_of_one_body_leaves_room_for_others_in_the_end() {
    let mut pair = Pair::new();
    let mut left = Vec::new();
    for _ in 0..5 {
        let id = pair.client.open(&request("POST", "/"), false).unwrap();
        pair.client.send_data(id, Bytes::from(vec![b'x'; 60_000]), true);
        pair.settle();
        let (stream, _) = pair.server.accept().unwrap();
        pair.server.release(stream);
        pair.settle();
        left.push(id);
    }
    let id = pair.client.open(&request("POST", "/"), false).unwrap();
    pair.client.send_data(id, Bytes::from(vec![b'x'; 60_000]), true);
    pair.settle();
    let (stream, _) = pair.server.accept().unwrap();
    assert_eq!(body(&mut pair.server, stream), (vec![b'x'; 60_000], true));
    for id in left {
        assert_eq!(broken(&mut pair.client, id), Some(Broken::ByPeer(Reason::CANCEL)));
    }
}

#[test]
fn streams_beyond_the_bound_have_not_been_looked_at() {
    let mut pair = Pair::new();
    assert_eq!(pair.client.max_streams(), 8);
    pair.client.max_streams = 100;
    let ids: Vec<u32> = (0..10).map(|_| pair.client.open(&request("GET", "/"), true).unwrap()).collect();
    pair.settle();
    let refused = Broken::Untaken(Reason::REFUSED_STREAM);
    assert_eq!(broken(&mut pair.client, ids[7]), None);
    assert_eq!(broken(&mut pair.client, ids[8]), Some(refused));
    assert_eq!(broken(&mut pair.client, ids[9]), Some(refused));
}

#[test]
fn a_farewell_lets_streams_end_and_refuses_those_beyond() {
    let mut pair = Pair::new();
    let id = pair.client.open(&request("GET", "/"), true).unwrap();
    pair.settle();
    let (stream, _) = pair.server.accept().unwrap();
    pair.server.shut_down();
    carry(&mut pair.server, &mut pair.client, usize::MAX);
    assert!(pair.client.check_open().is_err());
    pair.settle();
    assert!(!pair.server.is_over(), "one is under way");
    pair.server.send_response(stream, &response(200), true);
    pair.settle();
    assert!(matches!(pair.client.poll_answer(id, &idle()), Poll::Ready(Ok(_))));
    assert!(pair.server.is_over() && pair.server.is_flushed());
}

#[test]
fn a_connection_that_breaks_off_breaks_its_streams_but_not_what_has_come_whole() {
    let mut pair = Pair::new();
    let ids = [0; 2].map(|_| pair.client.open(&request("GET", "/"), true).unwrap());
    pair.settle();
    let (stream, _) = pair.server.accept().unwrap();
    pair.server.send_response(stream, &response(200), false);
    pair.server.send_data(stream, Bytes::from_static(b"whole"), true);
    pair.settle();
    pair.client.lose(io::ErrorKind::UnexpectedEof);
    assert!(matches!(pair.client.poll_answer(ids[0], &idle()), Poll::Ready(Ok(_))));
    assert_eq!(body(&mut pair.client, ids[0]), (b"whole".to_vec(), true));
    let lost = Broken::Lost(io::ErrorKind::UnexpectedEof);
    assert!(matches!(pair.client.poll_answer(ids[1], &idle()), Poll::Ready(Err(broken)) if broken == lost));
}

#[test]
fn a_head_that_is_too_large_is_answered_and_does_no_harm() {
    let mut pair = Pair::new();
    let mut large = request("GET", "/");
    large.headers_mut().insert("x-large", "y".repeat(40_000).parse().unwrap());
    let id = pair.client.open(&large, true).unwrap();
    let next = pair.client.open(&request("GET", "/next"), true).unwrap();
    pair.settle();
    let Poll::Ready(Ok(answer)) = pair.client.poll_answer(id, &idle()) else { panic!() };
    assert_eq!(answer.status(), 431);
    let (stream, head) = pair.server.accept().unwrap();
    assert_eq!((stream, head.path()), (next, "/next"));
}

#[test]
fn an_answer_without_a_body_has_none() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        for length in [0, 3] {
            let mut pair = Pair::new();
            let id = pair.client.open(&request(method, "/"), true).unwrap();
            pair.settle();
            let (stream, _) = pair.server.accept().unwrap();
            let mut answer = response(status);
            answer.headers_mut().insert("content-length", "3".parse().unwrap());
            pair.server.send_response(stream, &answer, false);
            pair.server.send_data(stream, Bytes::from(vec![b'x'; length]), true);
            pair.settle();
            let refused = broken(&mut pair.client, id) == Some(Broken::Here(Reason::PROTOCOL_ERROR));
            assert_eq!(refused, length > 0, "{method} {status}");
        }
    }
}

#[test]
fn who_waited_and_is_gone_is_not_remembered() {
    let mut pair = Pair::new();
    for _ in 0..50 {
        let id = pair.client.open(&request("POST", "/"), false).unwrap();
        pair.client.send_data(id, Bytes::from(vec![b'x'; 200_000]), false);
        pair.settle();
        pair.server.accept().unwrap();
        pair.client.send_reset(id, Reason::CANCEL);
        pair.client.release(id);
    }
    assert!(pair.client.held.is_empty() && pair.client.streams.is_empty());
}

/// Asks `times`; every `each`th request is given up at once. Returns whether the connection goes on.
fn gives_up(times: usize, each: usize) -> bool {
    let mut pair = Pair::new();
    for n in 0..times {
        let Ok(id) = pair.client.open(&request("GET", "/"), true) else { return false };
        pair.settle();
        let Some((stream, _)) = pair.server.accept() else { return false };
        if n % each == 0 {
            pair.client.send_reset(id, Reason::CANCEL);
        } else {
            pair.server.send_response(stream, &response(200), true);
        }
        pair.settle();
        pair.server.release(stream);
        pair.client.release(id);
    }
    pair.server.broken.is_none()
}

#[test]
fn requests_may_be_given_up_now_and_then_but_not_all_of_them() {
    assert!(gives_up(5000, 2));
    assert!(!gives_up(5000, 1));
}

/// What a test does to one of two ends.
#[derive(Clone, Debug)]
enum Act {
    Ask { body: usize },
    Answer { whole: bool },
    Send { stream: usize, size: usize, last: bool },
    Take { stream: usize },
    Reset { stream: usize },
    Carry { chunk: usize },
}

fn act() -> impl Strategy<Value = (bool, Act)> {
    let stream = || 0..12_usize;
    let act = prop_oneof![
        (0..30_000_usize).prop_map(|body| Act::Ask { body }),
        any::<bool>().prop_map(|whole| Act::Answer { whole }),
        (stream(), 0..100_000_usize, any::<bool>()).prop_map(|(stream, size, last)| Act::Send {
            stream,
            size,
            last
        }),
        stream().prop_map(|stream| Act::Take { stream }),
        stream().prop_map(|stream| Act::Take { stream }),
        stream().prop_map(|stream| Act::Reset { stream }),
        (1..50_000_usize).prop_map(|chunk| Act::Carry { chunk }),
        (1..50_000_usize).prop_map(|chunk| Act::Carry { chunk }),
    ];
    (any::<bool>(), act)
}

/// What one end has given to a stream, and what the other has got of it.
#[derive(Debug, Default)]
struct Way {
    given: usize,
    got: usize,
    ended: bool,
    over: bool,
}

proptest! {
    /// Whatever two ends do, what arrives is what was sent, in order and up to its end, and neither thinks ill of the
    /// other.
    #[test]
    fn two_ends_understand_each_other(acts in proptest::collection::vec(act(), 1..120)) {
        let mut pair = Pair::new();
        let mut asked = Vec::new();
        let mut ways: BTreeMap<(u32, bool), Way> = BTreeMap::new();
        let mut answered = Vec::new();
        let byte = |at: usize| (at % 251) as u8;
        let piece = |at: usize, size: usize| Bytes::from((at..at + size).map(byte).collect::<Vec<u8>>());
        for (by_client, act) in acts {
            match act {
                Act::Ask { body } => {
                    let Ok(id) = pair.client.open(&request("POST", "/"), body == 0) else { continue };
                    asked.push(id);
                    let way = Way { given: body, ended: body == 0, ..Way::default() };
                    ways.insert((id, true), way);
                    if body > 0 {
                        prop_assert!(pair.client.send_data(id, piece(0, body), false));
                    }
                }
                Act::Answer { whole } => {
                    if let Some((id, _)) = pair.server.accept()
                        && pair.server.send_response(id, &response(200), whole)
                    {
                        answered.push(id);
                        ways.insert((id, false), Way { ended: whole, ..Way::default() });
                    }
                }
                Act::Send { stream, size, last } => {
                    let (list, session) = if by_client { (&asked, &mut pair.client) } else { (&answered, &mut pair.server) };
                    let Some(id) = list.get(stream) else { continue };
                    let way = ways.get_mut(&(*id, by_client)).unwrap();
                    if !matches!(session.poll_room(*id, &idle()), Poll::Ready(Ok(()))) {
                        continue;
                    }
                    if session.send_data(*id, piece(way.given, size), last) {
                        way.given += size;
                        way.ended |= last;
                    }
                }
                Act::Take { stream } => {
                    let (list, session) = if by_client { (&answered, &mut pair.client) } else { (&asked, &mut pair.server) };
                    let Some(id) = list.get(stream) else { continue };
                    let Some(way) = ways.get_mut(&(*id, !by_client)) else { continue };
                    let (some, whole) = body(session, *id);
                    prop_assert_eq!(&some[..], &piece(way.got, some.len())[..]);
                    way.got += some.len();
                    if whole {
                        way.over = true;
                        prop_assert!(way.ended && way.got == way.given, "{:?}", way);
                    }
                }
                Act::Reset { stream } => {
                    let (list, session) = if by_client { (&asked, &mut pair.client) } else { (&answered, &mut pair.server) };
                    if let Some(id) = list.get(stream) {
                        session.send_reset(*id, Reason::CANCEL);
                    }
                }
                Act::Carry { chunk } => {
                    let Pair { client, server } = &mut pair;
                    if by_client { carry(client, server, chunk) } else { carry(server, client, chunk) };
                }
            }
            prop_assert_eq!(pair.client.broken, None);
            prop_assert_eq!(pair.server.broken, None);
            prop_assert!(pair.client.open <= 8 && pair.server.open <= 8);
        }
        // Everything comes to its end.
        let mut moves = true;
        while moves {
            moves = pair.settle();
            while let Some((id, _)) = pair.server.accept() {
                moves |= pair.server.send_response(id, &response(200), true);
            }
            for id in &asked {
                body(&mut pair.server, *id);
                body(&mut pair.client, *id);
            }
        }
        for id in asked {
            pair.client.release(id);
            pair.server.release(id);
        }
        pair.settle();
        prop_assert!(pair.client.streams.is_empty() && pair.server.streams.is_empty());
        prop_assert_eq!((pair.client.open, pair.server.open), (0, 0));
        prop_assert_eq!((pair.client.broken, pair.server.broken), (None, None));
    }

    /// Whatever comes, nothing panics, and what is held for it is bounded.
    #[test]
    fn nothing_that_comes_does_harm(
        by_server in any::<bool>(),
        frames in proptest::collection::vec((0..11_u8, any::<u8>(), 0..9_u32, proptest::collection::vec(any::<u8>(), 0..40)), 0..60),
    ) {
        let role = if by_server { Role::Client } else { Role::Server };
        let mut session = Session::new(role, LIMITS);
        session.join();
        let mut bytes = if by_server { Vec::new() } else { PREFACE.to_vec() };
        bytes.extend(super::super::frame::head(0, kind::SETTINGS, 0, 0));
        for (kind, flags, stream, payload) in frames {
            bytes.extend(super::super::frame::head(payload.len(), kind, flags, stream));
            bytes.extend(payload);
        }
        let _ = session.open(&request("GET", "/"), false);
        session.receive(&bytes);
        while let Some((id, _)) = session.accept() {
            session.send_response(id, &response(200), true);
            session.release(id);
        }
        prop_assert!(session.open <= 9);
        prop_assert!(session.out.len() < 4 * MAX_OUTGOING);
    }
}
