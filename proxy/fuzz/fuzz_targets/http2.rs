//! A connection of HTTP/2, at either end: whatever comes, in whatever pieces, is survived, what is held for it is
//! bounded, and both cuts lead to the same.
#![no_main]

use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use penstock_proxy_core::http2::session::{Role, Session};
use penstock_proxy_core::http2::{Limits, MAX_OUTGOING};

const LIMITS: Limits =
    Limits { head: 8 << 10, streams: 20, stream_window: 70_000, connection_window: 100_000 };
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let chunk = if how & 2 == 0 { usize::MAX } else { usize::from(how >> 2) + 1 };
    let first = if role == Role::Server { PREFACE } else { &[] };
    let all = [first, SETTINGS, bytes].concat();
    let whole = play(role, &all, usize::MAX);
    let pieces = play(role, &all, chunk);
    // What is given up, or ended, by what came with it is not looked at.
    assert!(whole.0.iter().all(|request| pieces.0.contains(request)), "{whole:?} and {pieces:?}");
    assert_eq!(whole.1, pieces.1, "the same end");
});

/// What was asked for, and whether the connection goes on.
fn play(role: Role, bytes: &[u8], chunk: usize) -> (Vec<String>, bool) {
    let mut session = Session::new(role, LIMITS);
    session.join();
    let cx = Context::from_waker(Waker::noop());
    let mut open = Vec::new();
    if role == Role::Client {
        for whole in [true, false] {
            open.extend(session.open(&Request::new(()), whole));
        }
    }
    let (mut begin, mut end, mut asked) = (0, 0, Vec::new());
    while end < bytes.len() && session.wants_more() {
        end = bytes.len().min(end.saturating_add(chunk));
        begin += session.receive(&bytes[begin..end]);
        assert!(begin <= end);
        while let Some((id, request)) = session.accept() {
            asked.push(format!("{request:?}"));
            open.push(id);
        }
        // As much as may come at once is more than what is written at once.
        let most = MAX_OUTGOING + 20 * bytes.len() + 4096;
        let waits: usize = session.slices().iter().map(|slice| slice.len()).sum();
        assert!(waits <= most, "{waits} bytes wait to be written");
        session.written(waits);
    }
    let lives = session.wants_more();
    for id in open {
        while let Poll::Ready(Some(Ok(data))) = session.poll_data(id, &cx) {
            assert!(!data.is_empty());
        }
        let _ = session.trailers(id);
        if role == Role::Server {
            session.send_response(id, &Response::new(()), true);
        } else {
            let _ = session.poll_answer(id, &cx);
        }
        session.release(id);
    }
    (asked, lives)
}
