//! Heads of requests: read the same by a second, naive reader, in any pieces; and passed on without a fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_fuzz::{Head, cuts, head};
use penstock_proxy_core::http1::field::MAX_FIELDS;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::{MAX_HEAD, RequestHead};
use penstock_proxy_core::http1::rewrite::{self, Onward};
use penstock_proxy_core::http1::{Parsed, may_be_complete};

const PEER: &str = "192.0.2.7";

fuzz_target!(|bytes: &[u8]| {
    let mut ours = RequestHead::default();
    let Ok(Parsed::Complete(length)) = ours.parse(bytes) else { return };
    let begin = bytes.iter().position(|b| !b"\r\n".contains(b)).expect("a request begins somewhere");
    let theirs = head(&bytes[begin..]).expect("what is accepted has no fault");
    assert_eq!(begin + theirs.length, length);
    same(bytes, &ours, &theirs);
    in_pieces(bytes, length);
    passes_on(bytes, &ours, &theirs);
});

fn same(bytes: &[u8], ours: &RequestHead, theirs: &Head<'_>) {
    let words: Vec<&[u8]> = theirs.line.split(|b| *b == b' ').collect();
    assert_eq!(words[..2], [ours.method.bytes(bytes), ours.line_target.bytes(bytes)]);
    assert!(words.len() == 3 && (words[2] == b"HTTP/1.1" || words[2] == b"HTTP/1.0"));
    let fields: Vec<_> = ours.fields.iter().map(|f| (f.name.bytes(bytes), f.value.bytes(bytes))).collect();
    assert_eq!(fields, theirs.fields);
    let framing = theirs.framing().expect("one framing, without a fault");
    match (ours.framing().expect("it was checked"), framing) {
        (Framing::None, penstock_fuzz::Framing::Unsaid | penstock_fuzz::Framing::Length(0)) => {}
        (Framing::Length(ours), penstock_fuzz::Framing::Length(theirs)) => assert_eq!(ours, theirs),
        (Framing::Chunked, penstock_fuzz::Framing::Chunked) => assert_eq!(words[2], b"HTTP/1.1"),
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    }
    assert!(theirs.values("host").len() == 1 || words[2] == b"HTTP/1.0");
}

/// Half of a good head is a beginning, never a fault and never a whole.
fn in_pieces(bytes: &[u8], length: usize) {
    let mut again = RequestHead::default();
    for cut in cuts(&bytes[..length], 4) {
        let part = again.parse(&bytes[..cut.min(length - 1)]);
        assert_eq!(part, Ok(Parsed::Partial), "the first {cut} bytes");
        assert!(may_be_complete(&bytes[..length], cut.min(length - 1)));
    }
    assert_eq!(again.parse(&bytes[..length]), Ok(Parsed::Complete(length)));
}

fn passes_on(bytes: &[u8], ours: &RequestHead, theirs: &Head<'_>) {
    for trusted in [false, true] {
        let onward = Onward { peer: PEER, trusted, request_id: Some("id"), trace_parent: None };
        let mut out = Vec::new();
        rewrite::request(&mut out, bytes, ours, &onward);
        let passed = head(&out).expect("what is passed on has no fault");
        assert_eq!(passed.length, out.len());
        assert_eq!(passed.framing(), theirs.framing());
        assert_eq!(passed.values("host").len(), 1);
        let words: Vec<&[u8]> = passed.line.split(|b| *b == b' ').collect();
        assert!(words.len() == 3 && words[0] == ours.method.bytes(bytes) && words[2] == b"HTTP/1.1");
        assert!(passed.values("x-forwarded-for").concat().ends_with(PEER.as_bytes()));
        for name in ["keep-alive", "proxy-connection", "http2-settings"] {
            assert!(passed.values(name).is_empty(), "{name}");
        }
        for value in passed.values("connection") {
            let known = |token: &[u8]| [&b"te"[..], b"upgrade"].contains(&penstock_fuzz::trim(token));
            assert!(value.split(|b| *b == b',').all(known), "{}", String::from_utf8_lossy(value));
        }
        let mut again = RequestHead::default();
        if ours.method.bytes(bytes) != b"CONNECT" {
            let read = again.parse(&out);
            // What is added may be more than a head of ours has.
            let many = passed.fields.len() > MAX_FIELDS || out.len() > MAX_HEAD;
            let refused = many && read.is_err_and(|e| e.status() == 431);
            assert!(read == Ok(Parsed::Complete(out.len())) || refused, "{read:?}");
        }
    }
}
