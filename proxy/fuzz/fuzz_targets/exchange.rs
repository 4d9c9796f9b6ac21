//! Whole requests: where the proxy's reader and hyper's both accept one, they must agree about every part of it.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use penstock_fuzz::chunked;
use penstock_proxy_core::http1::Parsed;
use penstock_proxy_core::http1::chunked::{Chunks, Piece};
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::RequestHead;
use tokio::io::AsyncWriteExt;

/// Method, fields and body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    let Some(ours) = ours(bytes) else { return };
    let Some(theirs) = theirs(bytes) else { return };
    assert_eq!(sorted(ours), sorted(theirs));
});

/// Fields of one name keep their order, others need not.
fn sorted(mut seen: Seen) -> Seen {
    seen.fields.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    seen.fields.sort_by(|a, b| a.0.cmp(&b.0));
    seen
}

fn ours(bytes: &[u8]) -> Option<Seen> {
    let mut head = RequestHead::default();
    let Ok(Parsed::Complete(length)) = head.parse(bytes) else { return None };
    let rest = &bytes[length..];
    let body = match head.framing().ok()? {
        Framing::None => Vec::new(),
        Framing::Length(length) => rest.get(..usize::try_from(length).ok()?)?.to_vec(),
        Framing::Chunked => chunks(rest)?,
        Framing::UntilClose => panic!("a request ends before its connection does"),
    };
    let fields = head.fields.iter().map(|f| (f.name.bytes(bytes).to_vec(), f.value.bytes(bytes).to_vec()));
    Some(Seen { method: head.method.bytes(bytes).to_vec(), fields: fields.collect(), body })
}

fn chunks(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut chunks, mut at) = (Chunks::default(), 0);
    let mut data = Vec::new();
    loop {
        match chunks.next(&bytes[at..]).ok()? {
            Piece::More => return None,
            Piece::End => break,
            Piece::Data(n) => {
                data.extend(&bytes[at..at + n]);
                at += n;
            }
            Piece::Frame(n) | Piece::Extension(n) | Piece::Trailers(n) => at += n,
        }
    }
    assert!(chunked(bytes).is_none_or(|(theirs, ..)| theirs == data));
    Some(data)
}

/// The first request that hyper sees.
fn theirs(bytes: &[u8]) -> Option<Seen> {
    let seen = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let kept = Rc::clone(&kept);
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let fields = head.headers.iter().map(|(n, v)| (n.as_str().into(), v.as_bytes().to_vec()));
                let (method, body) = (head.method.as_str().into(), body.to_bytes().to_vec());
                kept.borrow_mut().get_or_insert(Seen { method, fields: fields.collect(), body });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        if client.write_all(&bytes[..bytes.len().min(1 << 19)]).await.is_err()
            || client.shutdown().await.is_err()
        {
            return;
        }
        let connection = hyper::server::conn::http1::Builder::new();
        connection.serve_connection(TokioIo::new(server), service).await.ok();
    });
    seen.take()
}
