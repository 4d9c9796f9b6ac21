//! Random valid exchanges over HTTP/2, many at a time, to endpoints of HTTP/1 and of HTTP/2: both ends must see the
//! same, byte for byte.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::exchanges::{ADDED, Told, body, by_name, fields, latin, seeds};
use crate::harness::Rig;
use crate::harness::strict::{Field, Message};
use crate::http2::{Body, Spawn, runtime, shop};

const STREAMS: usize = 40;

/// One direction of an exchange.
#[derive(Clone, Debug, Default)]
struct Sent {
    fields: Vec<Field>,
    body: Vec<u8>,
    trailers: Vec<Field>,
    /// It says how long the body is.
    sized: bool,
}

#[derive(Clone, Debug)]
struct Exchange {
    method: &'static str,
    request: Sent,
    status: u16,
    answer: Sent,
}

fn sent(rng: &mut Rng, bodiless: bool) -> Sent {
    let fields = fields(rng, 5);
    let sized = rng.bool();
    let trailers =
        if sized || bodiless || rng.bool() { Vec::new() } else { crate::exchanges::fields(rng, 2) };
    Sent { fields, body: if bodiless { Vec::new() } else { body(rng) }, trailers, sized: sized && !bodiless }
}

fn exchange(rng: &mut Rng) -> Exchange {
    let method = ["GET", "GET", "POST", "PUT", "DELETE", "HEAD", "BREW"][rng.usize(..7)];
    let status = [200, 200, 201, 204, 304, 500][rng.usize(..6)];
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    Exchange {
        method,
        request: sent(rng, matches!(method, "GET" | "HEAD")),
        status,
        answer: sent(rng, bodiless),
    }
}

fn map(fields: &[Field]) -> HeaderMap {
    let one = |(n, v): &Field| {
        let name = HeaderName::from_bytes(n.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(&latin(v)).unwrap())
    };
    let mut map = HeaderMap::new();
    fields.iter().map(one).for_each(|(name, value)| {
        map.append(name, value);
    });
    map
}

/// Frames of random sizes, and the trailers.
fn frames(sent: &Sent, mut rng: Rng) -> Body {
    let mut frames = Vec::new();
    let mut rest = Bytes::copy_from_slice(&sent.body);
    while !rest.is_empty() {
        let largest = [1, 100, 20_000, 100_000][rng.usize(..4)].max(sent.body.len() / 200);
        let size = rng.usize(1..=rest.len().min(largest));
        frames.push(Frame::data(rest.split_to(size)));
    }
    if !sent.trailers.is_empty() {
        frames.push(Frame::trailers(map(&sent.trailers)));
    }
    let stream =
        futures_util::stream::unfold((frames.into_iter(), rng), |(mut frames, mut rng)| async move {
            if rng.u8(..4) == 0 {
                tokio::task::yield_now().await;
            }
            frames.next().map(|frame| (Ok::<_, Infallible>(frame), (frames, rng)))
        });
    BodyExt::boxed(StreamBody::new(stream))
}

fn head(map: &mut HeaderMap, sent: &Sent) {
    map.extend(self::map(&sent.fields));
    if sent.sized {
        map.insert("content-length", sent.body.len().into());
    }
}

/// What has arrived, in words of our own.
async fn arrived(headers: &HeaderMap, body: Incoming) -> Message {
    let fields = |map: &HeaderMap| -> Vec<Field> {
        let value = |v: &HeaderValue| v.as_bytes().iter().map(|b| char::from(*b)).collect();
        map.iter().map(|(n, v)| (n.to_string(), value(v))).collect()
    };
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().map(fields).unwrap_or_default();
    Message { fields: fields(headers), trailers, body: collected.to_bytes().to_vec(), ..Message::default() }
}

fn same(what: &str, sent: &Sent, got: &Message) {
    let mut fields = by_name(&got.fields);
    fields.retain(|name, _| name != "host" && !ADDED.contains(&name.as_str()));
    assert_eq!(fields, by_name(&sent.fields), "{what}");
    assert!(got.body == sent.body, "{what}: {} of {} bytes", got.body.len(), sent.body.len());
    assert_eq!(by_name(&got.trailers), by_name(&sent.trailers), "{what}");
}

/// Sends all exchanges at once over one connection, and looks at their answers.
async fn ask_all(port: u16, all: &Arc<Vec<Exchange>>, rng: &mut Rng) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(Spawn);
    let window = [65_535, 70_000, 1 << 20][rng.usize(..3)];
    builder.initial_stream_window_size(window).initial_connection_window_size(window);
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let one = |(n, exchange): (usize, &Exchange)| {
        let mut request = Request::builder().method(exchange.method).uri(format!("http://shop:{port}/{n}"));
        head(request.headers_mut().unwrap(), &exchange.request);
        let request = request.body(frames(&exchange.request, rng.fork())).unwrap();
        let (mut client, exchange) = (client.clone(), exchange.clone());
        tokio::spawn(async move {
            client.ready().await.unwrap();
            let (head, body) = client.send_request(request).await.unwrap().into_parts();
            assert_eq!(head.status, exchange.status);
            same(&format!("answer {n}"), &exchange.answer, &arrived(&head.headers, body).await);
        })
    };
    for task in all.iter().enumerate().map(one).collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn exchanges(seed: u64) -> (Arc<Vec<Exchange>>, Rng) {
    let mut rng = Rng::with_seed(seed);
    let all = (0..STREAMS).map(|_| exchange(&mut rng)).collect();
    (Arc::new(all), rng)
}

/// The answer as HTTP/1 writes it.
fn wire(exchange: &Exchange) -> Vec<u8> {
    let Exchange { method, status, answer, .. } = exchange;
    let mut out = format!("HTTP/1.1 {status} Status\r\n").into_bytes();
    let lines = |fields: &[Field]| {
        fields.iter().flat_map(|(n, v)| latin(&format!("{n}: {v}\r\n"))).collect::<Vec<_>>()
    };
    out.extend(lines(&answer.fields));
    let bodiless = *method == "HEAD" || matches!(status, 204 | 304);
    if bodiless {
        out.extend(*b"\r\n");
    } else if answer.sized {
        out.extend(format!("content-length: {}\r\n\r\n", answer.body.len()).bytes());
        out.extend(&answer.body);
    } else {
        out.extend(*b"transfer-encoding: chunked\r\n\r\n");
        if !answer.body.is_empty() {
            out.extend(
                format!("{:x}\r\n", answer.body.len())
                    .bytes()
                    .chain(answer.body.iter().copied())
                    .chain(*b"\r\n"),
            );
        }
        out.extend([&b"0\r\n"[..], &lines(&answer.trailers), b"\r\n"].concat());
    }
    out
}

fn to_http_1(seed: u64) {
    let (all, mut rng) = exchanges(seed);
    let at_endpoint = Arc::clone(&all);
    let rig = Rig::doing(move |request, client| {
        let n: usize = request.word(1)[1..].parse().unwrap();
        client.try_send(wire(&at_endpoint[n]))
    });
    runtime().block_on(ask_all(rig.shop.port, &all, &mut rng));
    let mut heard = rig.tape.messages();
    heard.sort_by_key(|message| message.word(1)[1..].parse::<usize>().unwrap());
    assert_eq!(heard.len(), STREAMS);
    for (n, (exchange, heard)) in all.iter().zip(&heard).enumerate() {
        assert_eq!(heard.line, format!("{} /{n} HTTP/1.1", exchange.method));
        same(&heard.line, &exchange.request, heard);
    }
}

async fn endpoint(all: Arc<Vec<Exchange>>, rng: Rng) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let rng = Arc::new(Mutex::new(rng));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (all, rng) = (Arc::clone(&all), Arc::clone(&rng));
            let service = service_fn(move |request: Request<Incoming>| {
                let (all, rng) = (Arc::clone(&all), rng.lock().unwrap().fork());
                async move { Ok::<_, Infallible>(answer(&all, request, rng).await) }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(Spawn);
            builder.auto_date_header(false);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

async fn answer(all: &[Exchange], request: Request<Incoming>, rng: Rng) -> Response<Body> {
    let (request, body) = request.into_parts();
    let exchange = &all[request.uri.path()[1..].parse::<usize>().unwrap()];
    same(request.uri.path(), &exchange.request, &arrived(&request.headers, body).await);
    assert_eq!(request.method, exchange.method);
    let mut response = Response::builder().status(exchange.status);
    head(response.headers_mut().unwrap(), &exchange.answer);
    response.body(frames(&exchange.answer, rng)).unwrap()
}

fn to_http_2(seed: u64) {
    let (all, mut rng) = exchanges(seed);
    let runtime = runtime();
    let port = runtime.block_on(endpoint(Arc::clone(&all), rng.fork()));
    let (_folder, _proxy, port) = shop(port, ", appProtocol: kubernetes.io/h2c");
    runtime.block_on(ask_all(port, &all, &mut rng));
}

#[test]
fn random_streams_arrive_at_endpoints_of_http_1_as_they_were_sent() {
    for seed in seeds() {
        let _told = Told(seed);
        to_http_1(seed);
    }
}

#[test]
fn random_streams_arrive_at_endpoints_of_http_2_as_they_were_sent() {
    for seed in seeds() {
        let _told = Told(seed);
        to_http_2(seed);
    }
}
